"""The Docker image, and real containers behind MiniStack; skipped, with the reason, where no Docker engine can be had.

An engine that runs already is used. Otherwise, as root and with `dockerd` installed, one is started for these tests
and stopped again. Where the Dockerfile's base image can't be pulled, a stand-in of the same name is made from this
machine's Python; the image built on it is as large as that, so sizes are not tested. The build takes boto3 from the
package index.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import ecs_deploy
from ecs_deploy import Exit
from tests.simulator import Simulator
from tests.test_action import as_the_runner_does
from tests.test_workflows import WORKFLOWS

pytestmark = [pytest.mark.long, pytest.mark.xdist_group("docker")]  # one image for all
ROOT = Path(__file__).parent.parent
IMAGE = "ecs-deploy:under-test"
CLUSTER = f"prod-{os.getpid()}"
PREFIX = "arn:aws:ecs:us-east-1:123456789012:task-definition"


def docker(*argv: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """One docker command."""
    done = subprocess.run(["docker", *argv], capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0 or not check, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def engine() -> Iterator[None]:
    """A Docker engine behind DOCKER_HOST."""
    if shutil.which("docker") is None:
        pytest.skip("no docker command on this machine")
    if docker("version", check=False).returncode == 0:
        yield
        return
    if shutil.which("dockerd") is None or not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("no Docker engine runs, and none can be started (dockerd as root)")
    with pytest.MonkeyPatch.context() as patch, started_engine() as address:
        patch.setenv("DOCKER_HOST", address)
        if not answers(lambda: docker("version", check=False).returncode == 0):
            pytest.skip("dockerd does not start on this machine")
        yield


@contextlib.contextmanager
def started_engine() -> Iterator[str]:
    """The address of an engine of our own, that is gone afterwards with all it made."""
    with tempfile.TemporaryDirectory(prefix="docker", ignore_cleanup_errors=True) as folder:
        address = f"unix://{folder}/socket"
        places = [f"--{name}={folder}/{name}" for name in ("data-root", "exec-root", "pidfile")]
        command = ["dockerd", "--bridge=none", "--iptables=false", "--host", address, *places]
        with open(f"{folder}/log", "w") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
            try:
                yield address
            finally:
                process.terminate()
        subprocess.run(["umount", f"{folder}/exec-root/netns/default"], capture_output=True, check=False)


def answers(ask: Callable[[], bool]) -> bool:
    """True as soon as `ask` says so; False after 20 seconds."""
    deadline_s = time.monotonic() + 20
    while time.monotonic() < deadline_s:
        if ask():
            return True
        time.sleep(0.1)
    return False


# The base image


@pytest.fixture(scope="module")
def base(engine: None, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The Dockerfile's base image: there already, pulled, or a stand-in of the same name."""
    found = re.search(r"^FROM (\S+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert found is not None
    name = found[1]
    if docker("image", "inspect", name, check=False).returncode and docker("pull", "-q", name, check=False).returncode:
        make_base(name, tmp_path_factory.mktemp("base"))
    return name


def make_base(name: str, root: Path) -> None:
    """Import this machine's Python, a shell, and what both are linked with, as an image."""
    library = Path(sysconfig.get_path("stdlib", vars={"installed_base": sys.base_prefix, "base": sys.base_prefix}))
    lib = root / "usr/local/lib" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    ignored = shutil.ignore_patterns("test", "tests", "idlelib", "site-packages", "dist-packages", "__pycache__", "*.a")
    shutil.copytree(library, lib, ignore=ignored)
    python = Path(sys.executable).resolve()
    programs = [Path(found) for name in ("bash", "sh", "find", "rm", "ln") if (found := shutil.which(name))]
    places = {f"bin/{program.name}": program for program in programs}
    places |= {str(file).lstrip("/"): file for file in linked([python, *programs, *(lib / "lib-dynload").glob("*.so")])}
    for place, source in places.items():
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, root / place)
    add_python(root, python, lib / "site-packages")
    (root / "tmp").mkdir()
    for file in ("/etc/ssl/certs/ca-certificates.crt", "/etc/pip.conf"):
        if Path(file).exists():
            (root / file.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, root / file.lstrip("/"))
    with subprocess.Popen(["tar", "-C", str(root), "-c", "."], stdout=subprocess.PIPE) as tar:
        change = f"ENV PATH=/usr/local/bin:/usr/bin:/bin PIP_CERT={os.environ.get('PIP_CERT', '')}"
        command = ["docker", "import", "--change", change, "-", name]
        subprocess.run(command, stdin=tar.stdout, check=True, capture_output=True)


def linked(programs: list[Path]) -> set[Path]:
    """The shared libraries of programs, at the paths where the loader looks for them."""
    done = subprocess.run(["ldd", *map(str, programs)], capture_output=True, text=True, check=False)
    return {Path(path) for path in re.findall(r"(/\S+\.so\S*) \(0x", done.stdout)}


def add_python(root: Path, python: Path, packages: Path) -> None:
    """Python and pip in /usr/local, as in the official image."""
    bin = root / "usr/local/bin"
    bin.mkdir(parents=True)
    shutil.copy(python, bin / "python3")
    (bin / "python").symlink_to("python3")
    (bin / "pip").write_text(
        "#!/usr/local/bin/python3\nfrom pip._internal.cli.main import main\nraise SystemExit(main())\n"
    )
    (bin / "pip").chmod(0o755)
    for file in importlib.metadata.distribution("pip").files or []:
        if ".." not in file.parts and file.suffix != ".pyc":
            (packages / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(str(file.locate()), packages / file)


# The image


@pytest.fixture(scope="module")
def image(base: str) -> str:
    done = docker("build", "--network=host", "--tag", IMAGE, str(ROOT), check=False)
    if done.returncode and "NewConnectionError" in done.stdout + done.stderr:
        pytest.skip("the package index is not reached from the build")
    assert done.returncode == 0, done.stdout + done.stderr
    return IMAGE


def test_the_image_runs_without_any_variable(image: str) -> None:
    assert docker("run", "--rm", "--network=none", image, "--version").stdout == f"{ecs_deploy.__version__}\n"


def test_the_program_is_also_where_the_shell_scripts_image_has_it(image: str) -> None:
    done = docker("run", "--rm", "--network=none", "--entrypoint=/ecs-deploy", image, "--version")

    assert done.stdout == f"{ecs_deploy.__version__}\n"


def test_the_image_says_what_it_is_and_runs_as_the_user_that_the_runner_needs(image: str) -> None:
    (described,) = json.loads(docker("image", "inspect", image).stdout)

    assert described["Config"]["Entrypoint"] == ["ecs-deploy"]
    assert described["Config"]["User"] == ""
    assert described["Config"]["Labels"]["org.opencontainers.image.title"] == "ecs-deploy"
    assert described["Config"]["Labels"]["org.opencontainers.image.licenses"] == "MIT"


def test_nothing_is_compiled_when_a_container_starts(image: str) -> None:
    script = (
        "import sys, os, boto3, yaml, ecs_deploy; boto3.client('ecs', region_name='eu-west-1');"
        "print([m.__name__ for m in sys.modules.values()"
        " if getattr(m, '__cached__', None) and not os.path.exists(m.__cached__)])"
    )

    assert docker("run", "--rm", "--network=none", "--entrypoint=python", image, "-c", script).stdout == "[]\n"


def test_the_build_leaves_nothing_behind(image: str) -> None:
    done = docker("run", "--rm", "--network=none", "--entrypoint=find", image, "/tmp", "-mindepth", "1")

    assert done.stdout == ""


def test_the_image_works_as_the_action(image: str, tmp_path: Path) -> None:
    """As the runner calls it: inputs in the environment, files mounted, no arguments."""
    variables, argv = as_the_runner_does(
        "{cluster: prod, task_definition: job, image: 'shop/job:$(echo 2)', eval_image: true}"
    )
    (tmp_path / "output").touch()
    (tmp_path / "summary").touch()
    with Simulator() as sim:
        sim.task_definition("job", "shop/job:1")
        variables |= {**sim.environment(), "GITHUB_ACTIONS": "true", "GITHUB_OUTPUT": "/github/file_commands/output"}
        variables |= {"GITHUB_STEP_SUMMARY": "/github/file_commands/summary"}
        settings = [f"--env={name}={value}" for name, value in variables.items()]
        mount = f"--volume={tmp_path}:/github/file_commands"
        done = docker("run", "--rm", "--network=host", mount, *settings, image, *argv, check=False)

    assert done.returncode == Exit.OK, done.stdout + done.stderr
    assert "task-definition-arn<<ghadelimiter" in (tmp_path / "output").read_text()
    assert f"\n{PREFIX}/job:2\n" in (tmp_path / "output").read_text()
    assert "shop/job:2" in (tmp_path / "summary").read_text()


def test_the_workflows_deployment_through_the_image_succeeds(image: str) -> None:
    """The job's command word for word, but for the image's name and the Python that serves the local ECS."""
    steps = WORKFLOWS["image"]["jobs"]["image"]["steps"]
    (command,) = [shlex.split(step["run"]) for step in steps if step.get("name") == "It deploys to the local ECS"]
    assert command[0] == "python"
    assert command.count("ecs-deploy") == 1
    command = [sys.executable, *(image if part == "ecs-deploy" else part for part in command[1:])]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)

    assert done.returncode == Exit.OK, done.stderr
    assert done.stdout.endswith("\nService deployment successful.\n")


# Real containers


@pytest.fixture
def ministack(engine: None, tmp_path: Path) -> Iterator[str]:
    """MiniStack with the engine: its tasks are real containers."""
    pytest.importorskip("ministack")
    pytest.importorskip("docker")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    settings = {**os.environ, "GATEWAY_PORT": str(port), "MINISTACK_HOST": "127.0.0.1", "HOME": str(tmp_path)}
    command = [sys.executable, "-m", "ministack"]
    with open(tmp_path / "log", "w") as log, subprocess.Popen(command, env=settings, stdout=log, stderr=log) as process:
        try:
            assert answers(lambda: listens(port)), (tmp_path / "log").read_text()
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            for container in containers(running=False):
                docker("rm", "--force", container, check=False)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def containers(*, running: bool = True) -> dict[str, str]:
    """The containers of the tasks in our cluster: id and image."""
    every = [] if running else ["--all"]
    arn = f"arn:aws:ecs:us-east-1:000000000000:cluster/{CLUSTER}"
    done = docker(
        "ps", *every, "--no-trunc", f"--filter=label=com.amazonaws.ecs.cluster={arn}", "--format={{.ID}} {{.Image}}"
    )
    return dict(line.split() for line in done.stdout.splitlines())


def deploy(address: str, *argv: str) -> subprocess.CompletedProcess[str]:
    settings = {"AWS_ENDPOINT_URL": address, "AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true"}
    keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    command = [sys.executable, str(ROOT / "ecs_deploy.py"), *argv]
    return subprocess.run(
        command, env={**os.environ, **settings, **keys}, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.fixture
def world(ministack: str, base: str) -> str:
    """A service and a task definition whose containers run on the host's network; two tags of one image."""
    import boto3

    for tag in ("1", "2"):
        docker("tag", base, f"shop/web:{tag}")
    ecs = boto3.client(
        "ecs", endpoint_url=ministack, region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test"
    )
    for family, script in (("web", "import time; time.sleep(600)"), ("job", "raise SystemExit(3)")):
        command = ["python", "-c", script]
        ecs.register_task_definition(
            family=family,
            networkMode="host",
            containerDefinitions=[{"name": family, "image": "shop/web:1", "memory": 64, "command": command}],
        )
    ecs.create_cluster(clusterName=CLUSTER)
    ecs.create_service(cluster=CLUSTER, serviceName="web", taskDefinition="web", desiredCount=1)
    return ministack


def test_a_deployment_replaces_the_real_container(world: str) -> None:
    before = containers()
    assert list(before.values()) == ["shop/web:1"]

    done = deploy(world, "-c", CLUSTER, "-n", "web", "-i", "shop/web:2")

    assert done.returncode == Exit.OK, done.stderr
    after = containers()
    assert list(after.values()) == ["shop/web:2"]
    assert not set(before) & set(after)


def test_a_real_container_that_exits_fails_the_task_with_its_reason(world: str) -> None:
    """MiniStack cannot fail a service's roll-out: it calls it COMPLETED within UpdateService's answer."""
    done = deploy(
        world, "-c", CLUSTER, "-d", "job", "-i", "shop/web:2", "--run-task", "--wait-for-success", "-t", "60",
        "--propagate-exit-code",
    )  # fmt: skip

    assert done.returncode == 3, done.stderr
    assert "Essential container exited" in done.stderr
    assert "container job: exit code 3" in done.stderr
