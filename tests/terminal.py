"""A terminal, emulated: what a person sees of a run, moment by moment."""

from __future__ import annotations

from collections.abc import Iterable

import pyte
import pyte.modes

Screen = list[str]


class Terminal:
    """A screen with all that has scrolled off it, as a terminal shows it that is given this text."""

    def __init__(self, columns: int, lines: int) -> None:
        self._screen = pyte.HistoryScreen(columns, lines, history=10_000, ratio=0.5)
        self._screen.set_mode(pyte.modes.LNM)
        self._stream = pyte.Stream(self._screen)

    def write(self, text: str) -> None:
        self._stream.feed(text)

    def shown(self) -> Screen:
        """Its lines from the first to the last that is not empty, those that have scrolled away included."""
        columns = range(self._screen.columns)
        scrolled = ["".join(line[column].data for column in columns) for line in self._screen.history.top]
        return "\n".join(line.rstrip() for line in [*scrolled, *self._screen.display]).rstrip("\n").split("\n")

    def lines_in(self, colour: str) -> Screen:
        """Those of its lines that begin in that colour."""
        starts = [
            *(line[0].fg for line in self._screen.history.top),
            *(self._screen.buffer[n][0].fg for n in range(self._screen.lines)),
        ]
        return [line for line, start in zip(self.shown(), starts, strict=False) if start == colour]


def progress_of(screens: Iterable[Screen]) -> list[Screen]:
    """The rows of progress at the end of each screen but the last, which shows how all ended.

    What stands above them is still there in the end, word for word: they are drawn over nothing but themselves.
    """
    *moments, ending = screens
    found = []
    for screen in moments:
        said = next((number for number, line in enumerate(screen) if line.startswith("[")), len(screen))
        assert screen[:said] == ending[:said]
        found.append(screen[said:])
    assert not [line for line in ending if line.startswith("[")]
    return found
