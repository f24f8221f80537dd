"""The one table, and the same as JSON."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import asdict
from statistics import median
from typing import Any

from tests.bench.contenders import Contender
from tests.bench.rows import Line


def as_table(lines: Sequence[Line], names: Sequence[str]) -> str:
    """A Markdown table: median (least to most), the goal, and below it what needs words."""
    rows = [["", "measured", *names, "goal", "met"]]
    rows += [[str(line.row), line.what, *(cell(line, name) for name in names), *goal(line)] for line in lines]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    rows.insert(1, ["-" * width for width in widths])
    drawn = ["| " + " | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) + " |" for row in rows]
    notes = [f"- {line.row}, {line.what}, {name}: {note}" for line in lines for name, note in line.notes.items()]
    return "\n".join([*drawn, "", "Rows 5 to 7: all runs of a row at the same time. Row 8: virtual time.", "", *notes])


def cell(line: Line, name: str) -> str:
    values = line.values.get(name)
    if not values:
        return "–"
    middle, least, most = (number(value, line.unit) for value in (median(values), min(values), max(values)))
    text = middle if least == most else f"{middle} ({least} to {most})"
    return f"{text} {line.unit}".strip()


def number(value: float, unit: str) -> str:
    """As many digits as mean something."""
    return (
        f"{value:.0f}"
        if unit in ("", "B") or abs(value) >= 100
        else f"{value:.2f}"
        if abs(value) < 10
        else f"{value:.1f}"
    )


def goal(line: Line) -> tuple[str, str]:
    met = line.is_met
    limit = "" if line.limit is None or "×" not in line.goal else f" = {number(line.limit, line.unit)} {line.unit}"
    return line.goal + limit, "" if met is None else "yes" if met else "NO"


def as_json(lines: Sequence[Line], contenders: Sequence[Contender], runs: int) -> dict[str, Any]:
    """All values, not only the medians, and what they were measured on."""
    from importlib.metadata import version

    return {
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs",
        "versions": {
            "botocore": version("botocore"),
            **{contender.name: contender.version for contender in contenders if contender.version},
        },
        "runs": runs,
        "lines": [{**asdict(line), "median": medians(line), "met": line.is_met} for line in lines],
    }


def medians(line: Line) -> dict[str, float]:
    return {name: median(values) for name, values in line.values.items() if values}
