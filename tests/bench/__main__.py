"""Measure this program beside the floor, fabfuel's `ecs deploy` and the AWS CLI, against the simulator in real time.

Rows 1 to 4 are measured one after the other, interleaved. Rows 5 to 7 take minutes of waiting, so all runs of a row go
at the same time, with 1.5 s between their beginnings; applications and the longest pruning run twice at most. Row 8 is
measured in this process and in virtual time. A full run takes half an hour; without rows 5 to 7, six minutes. Other
work on the machine lengthens every time: compare the columns, not two tables.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.bench import polls, rows
from tests.bench.contenders import contenders
from tests.bench.rows import Line, Plan, say
from tests.bench.table import as_json, as_table

Study = Callable[[Plan], Iterator[Line]]
STUDIES: list[tuple[set[int], Study]] = [
    ({1}, rows.start),
    ({2, 3}, rows.short),
    ({4}, rows.calls),
    ({5}, rows.five_minutes),
    ({6}, rows.application),
    ({7}, rows.pruning),
    ({8}, lambda _: polls.polls()),
]


def main(argv: list[str]) -> int:
    cache_home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__, allow_abbrev=False)
    parser.add_argument("--rows", default="1,2,3,4,5,6,7,8", help="which rows (default: all)")
    parser.add_argument("--runs", type=int, default=5, help="how often each is run (default: 5)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all values there")
    parser.add_argument(
        "--cache", type=Path, default=cache_home / "ecs-deploy-bench", help="where the others are installed"
    )
    options = parser.parse_args(argv)
    wanted = {int(row) for row in options.rows.split(",")}
    with TemporaryDirectory() as program:
        plan = Plan(contenders(options.cache, Path(program)), options.runs)
        lines = measured(plan, wanted, options.json)
    lines.sort(key=lambda line: line.row)
    print(as_table(lines, [contender.name for contender in plan.contenders]))
    return 0


def measured(plan: Plan, wanted: set[int], file: Path | None) -> list[Line]:
    """The lines of all wanted studies, also written to the file after each, so that an interrupted run is not lost."""
    lines: list[Line] = []
    for numbers, study in STUDIES:
        if numbers & wanted:
            say(f"row {' and '.join(map(str, sorted(numbers)))} …")
            lines += study(plan)
            if file:
                document = as_json(lines, plan.contenders, plan.runs)
                file.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    return lines


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
