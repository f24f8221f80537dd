"""What the file and the packaging say about each other, what is published, and the shape of the file."""

from __future__ import annotations

import ast
import re
import shutil
import statistics
import subprocess
import sys
import tarfile
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path
from typing import Any

import pytest

import ecs_deploy
from tests.test_workflows import WORKFLOWS, linted

ROOT = Path(ecs_deploy.__file__).parent
SOURCE = (ROOT / "ecs_deploy.py").read_text("utf-8")
PYPROJECT = (ROOT / "pyproject.toml").read_text("utf-8")
BANNER = re.compile(r"^# --- (.+?) -{3,}(?: (.*))?$", re.MULTILINE)


def setting(text: str, name: str) -> Any:
    """What a line `name = value` of the script block or of pyproject.toml says."""
    (value,) = re.findall(rf"^(?:# )?{name} = (.+)$", text, re.MULTILINE)
    return ast.literal_eval(value)


def functions() -> dict[str, int]:
    """The lines of each function and method of the file, by name."""
    found = [node for node in ast.walk(ast.parse(SOURCE)) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
    return {f"{node.name} (line {node.lineno})": (node.end_lineno or 0) - node.lineno + 1 for node in found}


def test_the_script_block_says_what_pyproject_says_and_names_what_reads_yaml() -> None:
    block = re.search(r"^# /// script\n((?:# .*\n)+)# ///$", SOURCE, re.MULTILINE)

    assert block is not None
    assert setting(block[1], "requires-python") == setting(PYPROJECT, "requires-python")
    assert setting(block[1], "dependencies") == setting(PYPROJECT, "dependencies") + setting(PYPROJECT, "yaml")


def test_the_version_stands_in_the_file_alone() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+((a|b|rc)\d+)?", ecs_deploy.__version__)
    assert SOURCE.count(f'"{ecs_deploy.__version__}"') == 1
    assert 'dynamic = ["version"]' in PYPROJECT
    assert re.search(r'^version = |"version": ', PYPROJECT, re.MULTILINE) is None


def test_both_commands_lead_to_the_same_function() -> None:
    assert re.findall(r'^(ecs-deploy\S*) = "(.+)"$', PYPROJECT, re.MULTILINE) == [
        ("ecs-deploy", "ecs_deploy:command"),
        ("ecs-deploy-py", "ecs_deploy:command"),
    ]
    assert callable(ecs_deploy.command)


def test_the_file_can_be_run_by_itself() -> None:
    assert SOURCE.startswith("#!/usr/bin/env python3\n")
    assert (ROOT / "ecs_deploy.py").stat().st_mode & 0o111


# What is published


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel and the sdist as the release makes them, of a repository Doors/ecs-deploy."""
    pytest.importorskip("build")
    pytest.importorskip("flit_core")
    folder = tmp_path_factory.mktemp("release")
    copy = folder / "work"
    ignored = shutil.ignore_patterns("__pycache__", ".*_cache", ".venv", ".hypothesis", ".git", "*.egg-info", "dist")
    shutil.copytree(ROOT, copy, ignore=ignored)
    stamp = [sys.executable, ".github/release.py", "stamp", "Doors/ecs-deploy", f"v{ecs_deploy.__version__}"]
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder / "dist")]
    for command in (stamp, build):
        done = subprocess.run(command, cwd=copy, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    return folder / "dist"


@pytest.fixture(scope="module")
def wheel(dist: Path) -> zipfile.ZipFile:
    (file,) = dist.glob("*.whl")
    return zipfile.ZipFile(file)


@pytest.fixture(scope="module")
def metadata(wheel: zipfile.ZipFile) -> Message:
    (name,) = [name for name in wheel.namelist() if name.endswith("/METADATA")]
    return Parser().parsestr(wheel.read(name).decode())


@pytest.mark.slow
def test_the_wheel_is_the_file_and_runs_as_both_commands(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    assert [name for name in wheel.namelist() if ".dist-info/" not in name] == ["ecs_deploy.py"]
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--target", str(tmp_path)]
    subprocess.run([*install, str(wheel.filename)], check=True, capture_output=True)

    for name in ("ecs-deploy", "ecs-deploy-py"):
        command = [sys.executable, str(tmp_path / "bin" / name), "--version"]
        done = subprocess.run(
            command, cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=False
        )
        assert (done.stdout, done.stderr) == (f"{ecs_deploy.__version__}\n", "")


@pytest.mark.slow
def test_the_metadata_names_the_repository_and_every_python_that_is_tested(metadata: Message) -> None:
    urls = dict(url.split(", ") for url in metadata.get_all("Project-URL", []))
    minors = {name.rpartition(" ")[2] for name in metadata.get_all("Classifier", []) if re.search(r":: 3\.\d+$", name)}

    assert metadata["Version"] == ecs_deploy.__version__
    assert urls["Homepage"] == "https://github.com/Doors/ecs-deploy"
    assert all(url.startswith("https://github.com/Doors/ecs-deploy") for url in urls.values())
    assert minors == set(WORKFLOWS["tests"]["jobs"]["linux"]["strategy"]["matrix"]["python"])


@pytest.mark.slow
def test_the_published_readme_names_the_repository_and_has_no_link_that_only_works_beside_it(metadata: Message) -> None:
    text = str(metadata.get_payload())

    assert "OWNER" not in text
    assert "(https://github.com/Doors/ecs-deploy/blob/" in text
    assert re.findall(r"\]\((?!https?://|#)[^)]*\)", text) == []


@pytest.mark.slow
def test_twine_finds_nothing(dist: Path) -> None:
    done = linted("twine", "check", "--strict", *map(str, dist.iterdir()))

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_the_sdist_has_all_that_its_tests_need(dist: Path) -> None:
    (file,) = dist.glob("*.tar.gz")
    with tarfile.open(file) as archive:
        packed = {member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()}
    wanted = [ROOT / name for name in ("action.yml", "Dockerfile", ".dockerignore", ".ci/run", "README.md", "LICENSE")]
    for folder in ("tests", ".github"):
        wanted += [path for path in (ROOT / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts]

    assert {path.relative_to(ROOT).as_posix() for path in wanted} - packed == set()
    assert not any("__pycache__" in name for name in packed)


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a checkout: nobody tells what belongs to the repository")
def test_beside_the_file_there_is_nothing_that_nobody_looks_for() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout

    top = {name.partition("/")[0] for name in listed.splitlines()}
    dotted = {".ci", ".dockerignore", ".github", ".gitignore"}
    plain = {"Dockerfile", "LICENSE", "README.md", "action.yml", "ecs_deploy.py", "pyproject.toml", "tests"}
    assert top == dotted | plain


# The shape of the file


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
