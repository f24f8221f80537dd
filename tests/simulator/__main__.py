"""Serve a small ready world in real time, or run one command inside of it.

python -m tests.simulator [--port N]      print the environment to use, serve until Ctrl-C
python -m tests.simulator -- COMMAND…     run the command against it, end with its exit code
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import threading
from shlex import quote
from types import FrameType

from tests.simulator.model import World
from tests.simulator.server import Simulator

REGISTRY = "docker.repo.com"
CLUSTER = "production1"
SETTLE_S = 4.0
HINTS = """\
# Cluster production1 has doorman-service (two tasks of docker.repo.com/doorman:17), api-service, green-service.
# doorman:18 works, :crash ends after 3 s, :missing cannot be pulled, :slow takes 20 s, :unhealthy is never healthy.
# Paste the lines above into another shell, and try there:
#   ecs-deploy -c production1 -n doorman-service -i docker.repo.com/doorman:18
#   ecs-deploy -c production1 -n doorman-service -i docker.repo.com/doorman:crash -t 30 --enable-rollback
#   ecs-deploy status -c production1 --all
#   ecs-deploy rollback -c production1 -n doorman-service
#   ecs-deploy -c production1 -d open-door-task -i docker.repo.com/doorman:18 --run-task --wait-for-success
"""


def furnish(world: World) -> None:
    """The small ready world."""
    world.settle_s = SETTLE_S
    for tag, line in {"17": "the doorman is at the door", "18": "the doorman is at the door, in a new coat"}.items():
        world.image(f"{REGISTRY}/doorman:{tag}").starts_after(1.5).logs([line])
    world.image(f"{REGISTRY}/doorman:crash").crashes(after_s=3).logs(["opening the door", "FATAL: no key fits"])
    world.image(f"{REGISTRY}/doorman:missing").cannot_be_pulled()
    world.image(f"{REGISTRY}/doorman:slow").starts_after(20)
    world.image(f"{REGISTRY}/doorman:unhealthy").never_healthy()
    doorman = _container("doorman", f"{REGISTRY}/doorman:17")
    doorman["healthCheck"] = {"command": ["CMD-SHELL", "exit 0"], "interval": 5, "retries": 2}
    world.service(
        CLUSTER,
        "doorman-service",
        containers=[doorman],
        desired_count=2,
        deploymentConfiguration={
            "deploymentCircuitBreaker": {"enable": False, "rollback": False},
        },
    )
    api = [_container("api", f"{REGISTRY}/api:3"), _container("proxy", f"{REGISTRY}/proxy:1")]
    world.service(CLUSTER, "api-service", containers=api, desired_count=2)
    world.service(
        CLUSTER,
        "green-service",
        f"{REGISTRY}/green:1",
        deploymentConfiguration={
            "strategy": "BLUE_GREEN",
            "bakeTimeInMinutes": 0,
        },
    )
    world.registries.parameter("api-key")
    world.task_definition("open-door-task", containers=[_container("open-door", f"{REGISTRY}/doorman:16")])


def _container(name: str, image: str) -> dict[str, object]:
    logs = {"awslogs-group": f"/ecs/{name}", "awslogs-region": "us-east-1", "awslogs-stream-prefix": "ecs"}
    return {
        "name": name,
        "image": image,
        "memory": 128,
        "essential": True,
        "environment": [{"name": "GREETING", "value": "good evening"}],
        "logConfiguration": {"logDriver": "awslogs", "options": logs},
    }


def serve(simulator: Simulator) -> int:
    """Say how to get there, and wait for Ctrl-C."""
    for name, value in simulator.environment().items():
        print(f"export {name}={quote(value)}")
    print(HINTS, end="", flush=True)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        threading.Event().wait()
        return 0
    except KeyboardInterrupt:
        return 0


def run(simulator: Simulator, command: list[str]) -> int:
    """Run a command inside the world; signals are passed on to it, and its exit code is ours.

    It has a session of its own: else it would get a terminal's Ctrl-C from the terminal, and from us a second time.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    try:
        child = subprocess.Popen(command, env={**kept, **simulator.environment()}, start_new_session=True)
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", file=sys.stderr)
        return 127

    def pass_on(number: int, frame: FrameType | None) -> None:
        child.send_signal(number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, pass_on)
    code = child.wait()
    return 128 - code if code < 0 else code


def main(argv: list[str]) -> int:
    own, separator, command = _split(argv)
    parser = argparse.ArgumentParser(
        prog="python -m tests.simulator",
        description=__doc__,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--port", type=int, default=0, help="the port to listen on (default: a free one)")
    parser.add_argument("--rate", type=float, default=1.0, help="how fast the world's time runs (default: 1)")
    options = parser.parse_args(own)
    if separator and not command:
        parser.error("a command is expected after --")
    with Simulator(port=options.port, real_time=True, rate=options.rate) as simulator:
        furnish(simulator.world)
        return run(simulator, command) if command else serve(simulator)


def _split(argv: list[str]) -> tuple[list[str], bool, list[str]]:
    """What stands before the first `--`, whether there is one, and what stands after it."""
    if "--" not in argv:
        return argv, False, []
    at = argv.index("--")
    return argv[:at], True, argv[at + 1 :]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
