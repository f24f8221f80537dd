"""The parts of the README that follow from the program; `python -m tests.readme` writes them anew."""

from __future__ import annotations

import re
from pathlib import Path

import ecs_deploy

README = Path(__file__).parent.parent / "README.md"


def exit_codes() -> str:
    """The table of exit codes."""
    rows = [f"| {code.value} | {code.meaning} |" for code in ecs_deploy.Exit]
    return "\n".join(["| code | meaning |", "|---|---|", *rows])


SHARED = ("credentials", "output")


def options(word: str, *, shared: bool) -> str:
    """The options of the command with that first word by task, a table each; with or without those of all commands."""
    tables = []
    for group in ecs_deploy.OPTIONS:
        if word in group.words and (shared or not group.title.startswith(SHARED)):
            rows = [f"| {_spelling(option)} | {_escaped(option.help)} |" for option in group.options]
            tables.append(
                "\n".join([f"**{group.title.capitalize()}**", "", "| option | meaning |", "|---|---|", *rows])
            )
    return "\n\n".join(tables)


def _spelling(option: ecs_deploy.Option) -> str:
    flags = ", ".join(f"`{flag}`" for flag in option.flags)
    return _escaped(f"{flags} `{option.metavar}`" if option.metavar else flags)


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


def blocks() -> dict[str, str]:
    """The text of each block, by the name in its marker."""
    return {
        "options": options("", shared=True),
        "app options": options("app", shared=False),
        "status options": options("status", shared=False),
        "rollback options": options("rollback", shared=False),
        "replace-instances options": options("replace-instances", shared=False),
        "exit codes": exit_codes(),
    }


def written(text: str) -> str:
    """The README's text with every block as it should be; a block stands between two markers."""
    for name, block in blocks().items():
        start, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
        pattern = re.escape(start) + r".*?" + re.escape(end)
        text, count = re.subn(pattern, lambda _, b=block, s=start, e=end: f"{s}\n{b}\n{e}", text, flags=re.DOTALL)  # type: ignore[misc]
        assert count == 1, f"the README has {count} blocks of {name}"
    return text


if __name__ == "__main__":
    README.write_text(written(README.read_text(encoding="utf-8")), encoding="utf-8")
