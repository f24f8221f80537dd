"""The README's picture of a deployment: what a terminal shows of a run against the local ECS, as an SVG.

python -m tests.picture      run the README's main command, and write .github/deployment.svg
"""

from __future__ import annotations

import os
import re
import shlex
import struct
import sys
from html import escape
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
PICTURE = ROOT / ".github" / "deployment.svg"
COLUMNS = 96
CELL, LINE, MARGIN, BAR = 8.4, 20, 18, 34
COLOURS = {31: "#ff7b72", 32: "#7ee787", 33: "#e3b341", 34: "#79c0ff", 35: "#d2a8ff", 36: "#76e3ea"}
FONT = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"
CONTROL = re.compile(r"\x1b\[([0-9;]*)([A-Za-z])|([\r\n])")


class Cell(NamedTuple):
    """One character as the terminal shows it."""

    text: str
    style: str = ""


class Screen:
    """A terminal that knows what the program sends: text, line ends, colours, and erasing a line."""

    def __init__(self) -> None:
        self.rows: list[list[Cell]] = [[]]
        self.row = self.column = 0
        self.codes: list[int] = []

    def show(self, text: str) -> None:
        """Take what a program wrote to its terminal."""
        end = 0
        for match in CONTROL.finditer(text):
            self._print(text[end : match.start()])
            self._obey(match[3] or match[2], match[1] or "")
            end = match.end()
        self._print(text[end:])

    def _obey(self, what: str, numbers: str) -> None:
        if what == "\n":
            self._down()
        elif what == "\r":
            self.column = 0
        elif what == "K":
            del self.rows[self.row][self.column :]
        elif what == "A":
            self.row = max(0, self.row - int(numbers or 1))
        elif what == "m":
            given = [int(number or 0) for number in numbers.split(";")]
            self.codes = [*([] if 0 in given else self.codes), *(number for number in given if number)]

    def _print(self, text: str) -> None:
        for character in text:
            if self.column == COLUMNS:
                self._down()
                self.column = 0
            row = self.rows[self.row]
            row.extend(Cell(" ") for _ in range(self.column - len(row)))
            row[self.column : self.column + 1] = [Cell(character, style(self.codes))]
            self.column += 1

    def _down(self) -> None:
        self.row += 1
        if self.row == len(self.rows):
            self.rows.append([])


def style(codes: list[int]) -> str:
    """The SVG attributes of a terminal's colours."""
    colours = [COLOURS[code] for code in codes if code in COLOURS]
    parts = [f'fill="{colours[-1]}"'] if colours else []
    parts += ['font-weight="bold"'] if 1 in codes else []
    parts += ['opacity="0.6"'] if 2 in codes else []
    return " ".join(parts)


def drawn(rows: list[list[Cell]], title: str) -> str:
    """The rows as an SVG; each character has its place, whatever the reader's font."""
    width, height = COLUMNS * CELL + 2 * MARGIN, len(rows) * LINE + BAR + 1.5 * MARGIN
    dots = "".join(
        f'<circle cx="{MARGIN + 4 + 18 * n}" cy="17" r="5.5" fill="{colour}"/>'
        for n, colour in enumerate(("#ff5f57", "#febc2e", "#28c840"))
    )
    lines = "\n".join(_line(row, BAR + MARGIN + LINE * number) for number, row in enumerate(rows) if row)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" role="img"'
        f' aria-label="{escape(title)}">\n'
        f'<rect width="100%" height="100%" rx="9" fill="#161b22"/>{dots}\n'
        f'<g font-family="{FONT}" font-size="14" fill="#e6edf3" xml:space="preserve">\n{lines}\n</g>\n</svg>\n'
    )


def _line(row: list[Cell], y: float) -> str:
    """One row; characters of one style are one text."""
    starts = [number for number, cell in enumerate(row) if not number or row[number - 1].style != cell.style]
    texts = []
    for start, end in zip(starts, [*starts[1:], len(row)], strict=True):
        text = "".join(cell.text for cell in row[start:end])
        place = f'x="{MARGIN + start * CELL:g}" y="{y:g}" textLength="{len(text) * CELL:g}"'
        texts.append(f"<text {place} {row[start].style}>{escape(text, quote=False)}</text>".replace(" >", ">"))
    return "".join(texts)


def seen(command: list[str]) -> str:
    """What the command writes to a terminal of its own."""
    import fcntl
    import pty
    import termios

    pid, terminal = pty.fork()
    if not pid:
        fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", 50, COLUMNS, 0, 0))
        os.chdir(ROOT)
        os.execve(command[0], command, {**os.environ, "TERM": "xterm-256color"})
    written = b""
    while part := _read(terminal):
        written += part
    if code := os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]):
        raise SystemExit(f"it ended with {code}:\n{written.decode()}")
    return written.decode()


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # Linux says so when the last writer is gone
        return b""


def main() -> None:
    shown = re.search(
        r"^<!-- main command -->\n```sh\n.* -- \S+/(ecs-deploy .*)\n", (ROOT / "README.md").read_text(), re.M
    )
    assert shown is not None
    argv = shlex.split(shown[1])[1:]
    screen = Screen()
    screen.show(f"\x1b[32m$\x1b[0m \x1b[1m{shown[1]}\x1b[0m\r\n")
    screen.show(seen([sys.executable, "-m", "tests.simulator", "--", sys.executable, "ecs_deploy.py", *argv]))
    while not screen.rows[-1]:
        screen.rows.pop()
    PICTURE.write_text(drawn(screen.rows, "A deployment in a terminal"), encoding="utf-8")


if __name__ == "__main__":
    main()
