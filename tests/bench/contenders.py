"""Who is measured: how each is installed, and the command with which it puts a new image into a service."""

from __future__ import annotations

import compileall
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
CLUSTER, SERVICE, OLD_IMAGE, NEW_IMAGE = "prod", "web", "app:1", "app:2"
PROGRAM, SCRIPT, FLOOR, FABFUEL, AWS_CLI = "ecs-deploy", "ecs_deploy.py", "floor", "fabfuel", "aws cli"
TIMEOUT_S = 900

_AWS_COMMANDS = f"""set -e
arn=$({{aws}} ecs describe-services --cluster {CLUSTER} --services {SERVICE} \
  --query 'services[0].taskDefinition' --output text)
definition=$({{aws}} ecs describe-task-definition --task-definition "$arn" \
  --query 'taskDefinition.{{{{family:family,containerDefinitions:containerDefinitions}}}}' \
  | sed s/{OLD_IMAGE}/{NEW_IMAGE}/)
arn=$({{aws}} ecs register-task-definition --cli-input-json "$definition" \
  --query taskDefinition.taskDefinitionArn --output text)
{{aws}} ecs update-service --cluster {CLUSTER} --service {SERVICE} --task-definition "$arn" > /dev/null
{{aws}} ecs wait services-stable --cluster {CLUSTER} --services {SERVICE}
"""


@dataclass(frozen=True)
class Contender:
    """One way to deploy: `start` is the command alone, `deploy` the whole command line of a deployment."""

    name: str
    start: tuple[str, ...]
    deploy: tuple[str, ...]
    poll_s: float = 1.0
    version: str = ""


@dataclass(frozen=True)
class Ran:
    """How a process ended and what it cost; the times are those of the monotonic clock."""

    began_s: float
    ended_s: float
    code: int
    cpu_s: float
    peak_mb: float
    output: str = ""

    @property
    def duration_s(self) -> float:
        return self.ended_s - self.began_s


def contenders(cache: Path, program: Path) -> list[Contender]:
    """All that could be installed; those that could not are named on stderr."""
    install_program(program)
    options = ("-c", CLUSTER, "-n", SERVICE, "-i", NEW_IMAGE, "-t", str(TIMEOUT_S))
    floor = (sys.executable, str(HERE / "floor.py"))
    file = (sys.executable, str(program / "ecs_deploy.py"))
    found = [
        Contender(PROGRAM, installed(program), (*installed(program), *options)),
        Contender(SCRIPT, file, (*file, *options)),
        Contender(FLOOR, (sys.executable, "-c", "pass"), (*floor, CLUSTER, SERVICE, NEW_IMAGE)),
    ]
    if ecs := _from_pypi(cache, "ecs-deploy", "ecs"):
        command = (ecs, "deploy", CLUSTER, SERVICE, "-i", SERVICE, NEW_IMAGE, "--no-deregister")
        deploy = (*command, "--timeout", str(TIMEOUT_S))
        found.append(Contender(FABFUEL, (ecs,), deploy, version=_version(ecs, "ecs-deploy")))
    if aws := _from_pypi(cache, "awscli", "aws"):
        script = ("bash", "-c", _AWS_COMMANDS.format(aws=aws))
        found.append(Contender(AWS_CLI, (aws,), script, poll_s=15.0, version=_version(aws, "awscli")))
    return found


def installed(program: Path) -> tuple[str, ...]:
    """The command that pip's console script is: the module is imported, so its byte code is cached."""
    load = f"import sys; sys.path.insert(0, {str(program)!r}); from ecs_deploy import command; command()"
    return (sys.executable, "-c", load)


def install_program(target: Path) -> None:
    """A copy with its byte code, so that an edit in the meantime cannot mix two versions into one table."""
    shutil.copy(HERE.parents[1] / "ecs_deploy.py", target)
    compileall.compile_file(str(target / "ecs_deploy.py"), quiet=1)


def _from_pypi(cache: Path, package: str, command: str) -> str:
    """The path of the package's command in an environment of its own; empty if it cannot be installed."""
    home = cache / package
    path = home / "bin" / command
    if not path.exists():
        print(f"installing {package} …", file=sys.stderr)
        install = [str(home / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check", package]
        for step in ([sys.executable, "-m", "venv", "--clear", str(home)], install):
            if subprocess.run(step, check=False).returncode:
                print(f"{package} cannot be installed and is left out", file=sys.stderr)
                return ""
    return str(path)


def _version(command: str, package: str) -> str:
    ask = f"from importlib.metadata import version; print(version({package!r}))"
    return subprocess.check_output([str(Path(command).parent / "python"), "-c", ask], text=True).strip()


def run(command: Sequence[str], env: dict[str, str] | None = None) -> Ran:
    """Run it in an environment without the caller's AWS settings, its output in a file as in a CI job."""
    with tempfile.TemporaryDirectory() as home:
        log = Path(home, "log")
        clean = {"PATH": os.environ["PATH"], "HOME": home, "LANG": "C.UTF-8", **(env or {})}
        launch = [sys.executable, "-S", "-E", str(HERE / "launch.py"), str(log), *command]
        measured = json.loads(subprocess.check_output(launch, env=clean, text=True))
        return Ran(**measured, output=log.read_text(errors="replace"))
