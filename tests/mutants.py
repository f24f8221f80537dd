"""Small random changes to the program, and whether the tests notice them.

    python -m tests.mutants --seed 1 --sample 60 --jobs 2

Of each section of ecs_deploy.py a sample is drawn: an operator turned round, a constant changed, a condition fixed, a
statement or an argument dropped. Each change is made in a copy of the repository, and the tests that run its line (its
function, if the program was changed since; of a table: the functions that name it) are run there until one fails: one
case of each test before the next, the quickest first. What no test notices is printed; at the end stands how many of
each section were noticed. With --few only lines are drawn from whose tests take no more than so many seconds together:
what few tests run is what they notice least. The same seed and sample give the same changes to the same program.

Which test runs which line is measured first, which takes some minutes, and kept in .mutants/ until --measure asks for
it anew.
"""

from __future__ import annotations

import argparse
import ast
import concurrent.futures
import itertools
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import xml.etree.ElementTree
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = "ecs_deploy.py"
KEPT = ROOT / ".mutants"
READERS = tuple(
    f"tests/test_{name}.py" for name in ("action", "completion", "options", "packaging", "readme", "records")
)
"""Tests that read the program's tables as they stand."""
MOST_S = 120.0  # so much time of tests a change is tried for, the quickest first (--seconds)
TURNED: Mapping[type, tuple[str, str]] = {
    ast.Eq: ("==", "!="), ast.NotEq: ("!=", "=="), ast.Lt: ("<", "<="), ast.LtE: ("<=", "<"), ast.Gt: (">", ">="),
    ast.GtE: (">=", ">"), ast.Is: ("is", "is not"), ast.IsNot: ("is not", "is"), ast.In: ("in", "not in"),
    ast.NotIn: ("not in", "in"), ast.And: ("and", "or"), ast.Or: ("or", "and"), ast.Add: ("+", "-"),
    ast.Sub: ("-", "+"), ast.Mult: ("*", "+"), ast.Div: ("/", "*"), ast.FloorDiv: ("//", "*"), ast.Mod: ("%", "*"),
    ast.BitOr: ("|", "&"), ast.BitAnd: ("&", "|"),
}  # fmt: skip


class Change(NamedTuple):
    """The text from `start` to `end` becomes `new`."""

    kind: str
    line: int
    start: int
    end: int
    new: str


class Program:
    """A Python program, its sections (by their banners), and the changes that may be made to it."""

    def __init__(self, text: str) -> None:
        self.text, self.lines, self.tree = text, text.splitlines(), ast.parse(text)
        self._starts = list(itertools.accumulate((len(line) + 1 for line in self.lines), initial=0))
        banners = ((line, re.match(r"# --- (.+?) -{3}", said)) for line, said in enumerate(self.lines, 1))
        self._banners = [(line, found[1]) for line, found in banners if found]
        self._functions = list(_functions(self.tree, ""))
        self._statements = [node for node in ast.walk(self.tree) if isinstance(node, ast.stmt)]

    def section_of(self, line: int) -> str:
        """The section of a line; empty above the first one."""
        return ([""] + [name for start, name in self._banners if start <= line])[-1]

    def changed(self, change: Change) -> str:
        """The text after the change; all lines keep their numbers."""
        return self.text[: change.start] + change.new + self.text[change.end :]

    def changes(self) -> dict[str, dict[str, list[Change]]]:
        """All of them by section and kind; some do not compile, or change nothing."""
        found: dict[str, dict[str, list[Change]]] = defaultdict(lambda: defaultdict(list))
        for change in self._within(self.tree):
            found[self.section_of(change.line)][change.kind].append(change)
        return {section: kinds for section, kinds in found.items() if section}

    def is_one(self, change: Change) -> bool:
        """True if the changed program can be parsed, and is another one; to parse the statement around it is enough."""
        ends = [node.end_lineno or 0 for node in self.tree.body]
        start = self._starts[max((end for end in ends if end < change.line), default=0)]
        end = self._starts[min(end for end in ends if end >= change.line)]
        new = self.text[start : change.start] + change.new + self.text[change.end : end]
        try:
            return new != self.text[start:end] and bool(ast.parse(new))
        except SyntaxError:
            return False

    def functions_at(self, line: int) -> list[str]:
        """The functions around a line, with their classes, the innermost last."""
        return [name for first, last, name in self._functions if first <= line <= last]

    def naming(self, line: int) -> set[int]:
        """The lines that name what the statement at a line, or the function whose head it is, makes.

        Where that goes into another table, the lines that name that one as well.
        """
        known: set[str] = set()
        new, found = self._made_at(line), set[int]()
        while new:
            known |= new
            pattern = re.compile(rf"\b({'|'.join(map(re.escape, sorted(new)))})\b")
            found |= {number for number, said in enumerate(self.lines, 1) if pattern.search(said)}
            new = {name for each in found if not self.functions_at(each) for name in self._made_at(each)} - known
        return found

    def _made_at(self, line: int) -> set[str]:
        """The names that the statements at a line make."""
        within = (node for node in self._statements if node.lineno <= line <= (node.end_lineno or 0))
        return {name for node in within for name in _names_made(node)}

    def _within(self, node: ast.AST) -> Iterator[Change]:
        """The changes of a node and of all below it, but for annotations, docstrings and what only mypy reads."""
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            return
        yield from self._of(node)
        for name, value in ast.iter_fields(node):
            for each in value if isinstance(value, list) else [value]:
                described = isinstance(each, ast.Expr) and isinstance(each.value, ast.Constant)
                if isinstance(each, ast.AST) and name not in ("annotation", "returns", "type_params") and not described:
                    yield from self._within(each)

    def _of(self, node: ast.AST) -> Iterator[Change]:
        if isinstance(node, ast.Compare):
            for left, operator, right in zip([node.left, *node.comparators], node.ops, node.comparators, strict=False):
                yield self._turned(left, operator, right)
        elif isinstance(node, ast.BoolOp):
            for left, right in itertools.pairwise(node.values):
                yield self._turned(left, node.op, right)
        elif isinstance(node, ast.BinOp):
            yield self._turned(node.left, node.op, node.right)
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            yield self._put("operator", node, node, f"bool({ast.unparse(node.operand)})")
        elif isinstance(node, ast.Constant) and (new := _other(node.value)):
            yield self._put("constant", node, node, new)
        elif isinstance(node, ast.Call):
            yield from (self._put("argument", each, each, "**{}") for each in node.keywords)
        elif isinstance(node, (ast.Expr, ast.Assign, ast.AugAssign, ast.Raise, ast.Return, ast.Continue, ast.Break)):
            yield self._put("statement", node, node, "pass")
        if isinstance(node, (ast.If, ast.IfExp, ast.While)):
            yield from (self._put("condition", node.test, node.test, fixed) for fixed in ("True", "False"))
        if isinstance(node, ast.comprehension):
            yield from (self._put("condition", test, test, "True") for test in node.ifs)

    def _turned(self, left: ast.AST, operator: ast.AST, right: ast.AST) -> Change:
        """The operator between two operands turned round."""
        old, new = TURNED.get(type(operator), ("", ""))
        start, end = self._end(left), self._start(right)
        between = re.sub(rf"(?<!\w){re.escape(old)}(?!\w)", new, self.text[start:end], count=1) if old else ""
        return Change("operator", self.text.count("\n", 0, end) + 1, start, end, between)

    def _put(self, kind: str, first: ast.AST, last: ast.AST, new: str) -> Change:
        start, end = self._start(first), self._end(last)
        ends = "\n" * self.text.count("\n", start, end)
        new = new + ends if kind in ("statement", "argument") or not ends else f"({new}{ends})"
        return Change(kind, self.text.count("\n", 0, start) + 1, start, end, new)

    def _start(self, node: ast.AST) -> int:
        return self._place(node.lineno, node.col_offset)  # type: ignore[attr-defined]

    def _end(self, node: ast.AST) -> int:
        return self._place(node.end_lineno, node.end_col_offset)  # type: ignore[attr-defined]

    def _place(self, line: int, column: int) -> int:
        return self._starts[line - 1] + len(self.lines[line - 1].encode()[:column].decode())


def _other(value: object) -> str:
    """Another constant of the same kind."""
    if isinstance(value, bool):
        return str(not value)
    if isinstance(value, (int, float)):
        return repr(value + 1)
    return ('""' if value else '"another"') if isinstance(value, str) else ""


def _functions(node: ast.AST, within: str) -> Iterator[tuple[int, int, str]]:
    """First line of the body, last line and name of each function, the outer before the inner."""
    for each in ast.iter_child_nodes(node):
        name = f"{within}{getattr(each, 'name', '')}"
        if isinstance(each, ast.FunctionDef):
            yield each.body[0].lineno, each.end_lineno or 0, name
        yield from _functions(each, f"{name}." if isinstance(each, (ast.FunctionDef, ast.ClassDef)) else within)


def _names_made(node: ast.stmt) -> Iterator[str]:
    of_one = [node.target] if isinstance(node, (ast.AnnAssign, ast.AugAssign)) else []
    targets = node.targets if isinstance(node, ast.Assign) else of_one
    yield from (each.id for target in targets for each in ast.walk(target) if isinstance(each, ast.Name))
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        yield node.name


def drawn(
    program: Program, sample: int, seed: int, chosen: tuple[str, ...], fits: Callable[[Change], bool] = lambda _: True
) -> list[Change]:
    """So many changes that fit of each chosen section, as many of one kind as of another where there are enough."""
    found: list[Change] = []
    for section, kinds in sorted(program.changes().items()):
        if not section.startswith(chosen):
            continue
        draw = random.Random(f"{seed} {section}")
        decks = [draw.sample(changes, len(changes)) for _, changes in sorted(kinds.items())]
        dealt = (each for row in itertools.zip_longest(*decks) for each in row if each is not None and fits(each))
        found += itertools.islice(filter(program.is_one, dealt), sample)
    return found


class Measured(NamedTuple):
    """How many seconds each test took, and the tests that run each function, and each line of `text`."""

    seconds: Mapping[str, float]
    tests: Mapping[str, Sequence[str]]
    of_lines: Mapping[str, Sequence[str]]
    text: str

    def for_change(self, program: Program, change: Change) -> list[str]:
        """The tests that run its line, or its function if the program has changed: in turn, and the quickest first.

        Of what runs at import, those that run a function that names it.
        """
        names = program.functions_at(change.line)[-1:]
        found = {test for name in names for test in self.tests.get(name, ())}
        if self.text == program.text:
            found = set(self.of_lines.get(str(change.line)) or found)
        if not found:
            for line in program.naming(change.line):
                found.update(test for name in program.functions_at(line)[-1:] for test in self.tests.get(name, ()))
            found.update(test for test in self.seconds if test.startswith(READERS))
        return self._in_turn(found)

    def _in_turn(self, tests: Iterable[str]) -> list[str]:
        """A case of each test, then another of each: cases of one test tell much the same."""
        cases: dict[str, list[str]] = defaultdict(list)
        for test in sorted(tests, key=lambda test: (self.seconds.get(test, 60.0), test)):
            cases[test.partition("[")[0]].append(test)
        return [test for row in itertools.zip_longest(*cases.values()) for test in row if test]

    def take_s(self, line: int) -> float:
        """The seconds of all tests that run a line; infinite where none is known."""
        return sum(self.seconds.get(test, 60.0) for test in self.of_lines.get(str(line), ())) or float("inf")


def measured(program: Program, anew: bool) -> Measured:
    """Which test runs which function of the program, and how long it takes: looked up, or measured now."""
    kept = KEPT / "measured.json"
    if anew or not kept.exists():
        KEPT.mkdir(exist_ok=True)
        kept.write_text(json.dumps(_measure(program)))
    return Measured(*json.loads(kept.read_text()))


def _measure(program: Program) -> tuple[dict[str, float], dict[str, list[str]], dict[int, list[str]], str]:
    import coverage

    with tempfile.TemporaryDirectory() as folder:
        data, report = Path(folder, "coverage"), Path(folder, "report.xml")
        options = ["--cov=ecs_deploy", "--cov-branch", "--cov-context=test", "--cov-report=", f"--junitxml={report}"]
        command = [sys.executable, "-m", "pytest", "-q", "-n", "2", *options]
        subprocess.run(command, cwd=ROOT, env={**os.environ, "COVERAGE_FILE": str(data)}, check=False)
        seconds = {
            f"{case.get('classname', '').replace('.', '/')}.py::{case.get('name')}": float(case.get("time") or 0)
            for case in xml.etree.ElementTree.parse(report).iter("testcase")
        }
        known = coverage.CoverageData(str(data))
        known.read()
        contexts = known.contexts_by_lineno(str(ROOT / PROGRAM))
    lines = {line: sorted({each.partition("|")[0] for each in found if each}) for line, found in contexts.items()}
    tests: dict[str, set[str]] = defaultdict(set)
    for line, named in lines.items():
        for name in program.functions_at(line)[-1:]:
            tests[name].update(named)
    return seconds, {name: sorted(found) for name, found in tests.items()}, lines, program.text


class Copies:
    """Copies of the repository, one for each thread that tries changes."""

    def __init__(self, folder: Path, measured: Measured, program: Program, most_s: float) -> None:
        self._folder, self._measured, self._program, self._most_s = folder, measured, program, most_s
        self._own = threading.local()

    def notices(self, change: Change) -> str:
        """What noticed the change: the name of a test, "time-out" where one did not end; empty if nothing did."""
        if not hasattr(self._own, "place"):
            self._own.place = self._folder / str(threading.get_ident())
            left = shutil.ignore_patterns(".git", ".venv", ".mutants", "__pycache__", ".mypy_cache", ".ruff_cache")
            shutil.copytree(ROOT, self._own.place, ignore=left)
        Path(self._own.place, PROGRAM).write_text(self._program.changed(change))
        tests = self._measured.for_change(self._program, change)
        took_s = itertools.accumulate(self._measured.seconds.get(test, 60.0) for test in tests)
        return self._failed(tests[: sum(1 for so_far_s in took_s if so_far_s <= self._most_s)])

    def _failed(self, tests: Sequence[str]) -> str:
        """The first of the tests that fails in this thread's copy."""
        if not tests:
            return ""
        listed = Path(self._own.place, ".tests")
        listed.write_text("\n".join(tests))
        expected_s = sum(self._measured.seconds.get(test, 60.0) for test in tests)
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-x",
            "-p",
            "no:cacheprovider",
            "-p",
            "no:randomly",
            f"@{listed}",
        ]
        run = subprocess.Popen(
            command, cwd=self._own.place, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, start_new_session=True,
        )  # fmt: skip
        try:
            said, _ = run.communicate(timeout=120 + 6 * expected_s)
        except subprocess.TimeoutExpired:
            os.killpg(run.pid, signal.SIGKILL)
            run.communicate()
            return "time-out"
        if missing := tuple(re.findall(r"ERROR: not found: \S*/(tests/\S+?)(?:\[|\s)", said)):
            found = [test for test in tests if not test.startswith(missing)]  # a test may be called as what was changed
            if not found:
                raise SystemExit("the tests have changed since they were measured: --measure")
            return self._failed(found)
        failed = re.search(r"^(?:FAILED|ERROR) (\S+)", said, re.MULTILINE)
        return (failed[1] if failed else f"pytest ended with {run.returncode}") if run.returncode else ""


def main(argv: Sequence[str]) -> int:
    """Draw, try, and say what was noticed; the exit code is that of a run, whatever came out."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--sample", type=int, default=20, help="changes of each section")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=MOST_S, help="of tests for each change, at most")
    parser.add_argument("--few", type=float, default=0.0, help="only lines whose tests take so many seconds at most")
    parser.add_argument("--measure", action="store_true", help="which test runs which function, anew")
    parser.add_argument("--section", action="append", help="only the sections whose names begin so (repeatable)")
    options = parser.parse_args(argv)
    program = Program(Path(ROOT, PROGRAM).read_text())
    tests, begun_s = measured(program, options.measure), time.monotonic()
    if options.few and tests.text != program.text:
        parser.error("--few needs to know which test runs which line of the program as it is now: --measure")
    most_s = options.few or float("inf")
    sections = tuple(options.section or [""])
    changes = drawn(program, options.sample, options.seed, sections, lambda each: tests.take_s(each.line) <= most_s)
    tried: dict[str, list[bool]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder, concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        copies = Copies(Path(folder), tests, program, options.seconds)
        for change, noticed in zip(changes, pool.map(copies.notices, changes), strict=True):
            tried[program.section_of(change.line)].append(bool(noticed))
            if not noticed:
                print(_shown(program, change), flush=True)
    for section, results in [*sorted(tried.items()), ("all", [each for some in tried.values() for each in some])]:
        share = 100 * sum(results) / max(1, len(results))
        print(f"{section:<26} {sum(results):>4} of {len(results):>4} noticed, {share:.1f} %")
    print(f"seed {options.seed}, sample {options.sample}, {time.monotonic() - begun_s:.0f} s")
    return 0


def _shown(program: Program, change: Change) -> str:
    """The lines before and after the change."""
    before, after = program.text, program.changed(change)
    begin, end = before.rfind("\n", 0, change.start) + 1, before.find("\n", change.end)
    old, new = before[begin:end].strip(), after[begin : end + len(after) - len(before)].strip()
    section = program.section_of(change.line)
    return f"not noticed, {section}, line {change.line}, {change.kind}:\n  - {old}\n  + {new}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
