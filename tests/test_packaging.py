"""What the file and the packaging say about each other, and the shape of the file."""

from __future__ import annotations

import ast
import re
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

import ecs_deploy

ROOT = Path(ecs_deploy.__file__).parent
SOURCE = (ROOT / "ecs_deploy.py").read_text("utf-8")
PYPROJECT = (ROOT / "pyproject.toml").read_text("utf-8")
BANNER = re.compile(r"^# --- (.+?) -{3,}(?: (.*))?$", re.MULTILINE)


def settings(text: str) -> dict[str, str]:
    """The `name = value` lines that the script block and pyproject.toml have in common, as they are written."""
    names = "requires-python|dependencies"
    return dict(re.findall(rf"^(?:# )?({names}) = (.+)$", text, re.MULTILINE))


def functions() -> dict[str, int]:
    """The lines of each function and method of the file, by name."""
    found = [node for node in ast.walk(ast.parse(SOURCE)) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
    return {f"{node.name} (line {node.lineno})": (node.end_lineno or 0) - node.lineno + 1 for node in found}


def test_the_script_block_says_what_pyproject_says() -> None:
    block = re.search(r"^# /// script\n((?:# .*\n)+)# ///$", SOURCE, re.MULTILINE)

    assert block is not None
    assert set(settings(block[1])) == {"requires-python", "dependencies"}
    assert settings(block[1]) == settings(PYPROJECT)


def test_the_version_stands_in_the_file_alone() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", ecs_deploy.__version__)
    assert SOURCE.count(f'"{ecs_deploy.__version__}"') == 1
    assert 'version = { attr = "ecs_deploy.__version__" }' in PYPROJECT


def test_both_commands_lead_to_the_same_function() -> None:
    assert re.findall(r'^(ecs-deploy\S*) = "(.+)"$', PYPROJECT, re.MULTILINE) == [
        ("ecs-deploy", "ecs_deploy:command"),
        ("ecs-deploy-py", "ecs_deploy:command"),
    ]
    assert callable(ecs_deploy.command)


def test_the_file_can_be_run_by_itself() -> None:
    assert SOURCE.startswith("#!/usr/bin/env python3\n")
    assert (ROOT / "ecs_deploy.py").stat().st_mode & 0o111


def test_the_docstring_is_a_map_of_the_sections() -> None:
    sections = [title for title, _ in BANNER.findall(SOURCE)]
    listed = re.findall(r"^    ([A-Z][A-Za-z ]+?)  +\S", ecs_deploy.__doc__ or "", re.MULTILINE)

    assert listed == sections


def test_functions_are_short() -> None:
    lengths = functions()
    longest = max(lengths, key=lambda name: lengths[name])

    assert statistics.median(lengths.values()) <= 12
    assert statistics.quantiles(lengths.values(), n=10)[-1] <= 35
    assert lengths[longest] <= 60, longest


def test_every_public_function_class_and_method_says_what_one_gets() -> None:
    kinds = (ast.FunctionDef, ast.ClassDef)
    top = [node for node in ast.parse(SOURCE).body if isinstance(node, kinds)]
    methods = [
        node for found in top if isinstance(found, ast.ClassDef) for node in found.body if isinstance(node, kinds)
    ]

    silent = [node.name for node in [*top, *methods] if not node.name.startswith("_") and not ast.get_docstring(node)]

    assert len(top) > 100
    assert silent == []


def test_only_the_clock_reads_the_time() -> None:
    reads = [match.start() for match in re.finditer(r"\btime\.(?:time|monotonic|sleep|perf_counter)\b", SOURCE)]
    begin, end = SOURCE.index("\n# --- Clock "), SOURCE.index("\n# --- AWS ")

    assert reads
    assert all(begin < position < end for position in reads)
    assert "datetime.now" not in SOURCE


@pytest.mark.slow
def test_importing_the_file_imports_neither_boto3_nor_botocore() -> None:
    script = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); import ecs_deploy;"
        " print(sorted({'boto3', 'botocore', 'yaml'} & set(sys.modules)))"
    )

    done = subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"


# Older Pythons


def test_every_python_since_38_can_read_the_file() -> None:
    ast.parse(SOURCE, feature_version=(3, 8))


@pytest.mark.parametrize("arguments", ["", "--help", "-c prod -n web -i app:2"])
def test_an_older_python_is_told_what_is_needed(arguments: str) -> None:
    script = (
        "import runpy, sys; sys.version_info = (3, 9, 18, 'final', 0);"
        f" sys.argv = ['ecs_deploy.py', *{arguments.split()!r}];"
        f" runpy.run_path({str(ROOT / 'ecs_deploy.py')!r}, run_name='__main__')"
    )

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)

    assert done.returncode == ecs_deploy.Exit.REQUIREMENT
    assert (done.stdout, done.stderr) == ("", "ERROR: ecs-deploy needs Python 3.10 or newer; this is 3.9\n")
