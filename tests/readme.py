"""The parts of the README that follow from the program; `python -m tests.readme` writes them anew."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import ecs_deploy

README = Path(__file__).parent.parent / "README.md"


def exit_codes() -> str:
    """The table of exit codes."""
    rows = [f"| {code.value} | {code.meaning} |" for code in ecs_deploy.Exit]
    return "\n".join(["| code | meaning |", "|---|---|", *rows])


SHARED = ("credentials", "output")


def options(parser: argparse.ArgumentParser, *, shared: bool) -> str:
    """The parser's options by task, a table each; with or without those that all commands share."""
    tables = []
    for group in parser._action_groups:
        if not shared and str(group.title).startswith(SHARED):
            continue
        rows = [f"| {_spelling(action)} | {_escaped(action.help or '')} |" for action in group._group_actions]
        if rows:
            title = (group.title or "").capitalize()
            tables.append("\n".join([f"**{title}**", "", "| option | meaning |", "|---|---|", *rows]))
    return "\n\n".join(tables)


def _spelling(action: argparse.Action) -> str:
    value = f" {action.metavar or (action.dest.upper())}" if action.nargs is None else ""
    return _escaped(", ".join(f"`{name}`" for name in action.option_strings) + (f" `{value.strip()}`" if value else ""))


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


def blocks() -> dict[str, str]:
    """The text of each block, by the name in its marker."""
    return {
        "options": options(ecs_deploy.classic_parser(), shared=True),
        "app options": options(ecs_deploy.app_parser(), shared=False),
        "replace-instances options": options(ecs_deploy.replace_instances_parser(), shared=False),
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
