"""Plays scenarios against one simulator: with the faults, when only safety is asked for; then without them."""

from __future__ import annotations

import gc
import os
import random
import re
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import ecs_deploy
from ecs_deploy import Exit
from tests.faults.commands import FOLDER
from tests.faults.faults import Faults
from tests.faults.leavings import SETTLES_S, judge_leavings
from tests.faults.relay import Killed, Relay
from tests.faults.rules import judge, may_succeed
from tests.faults.runs import Run, report, unescaped
from tests.faults.scenarios import PROFILE, Scenario
from tests.faults.sentences import untrue
from tests.faults.witness import WatchedWorld
from tests.faults.worlds import CANARY
from tests.simulator import Simulator

A_CLOSED_PORT = 9
_MAX_WAIT = re.compile(r'"max_wait": \d+')


@dataclass(frozen=True)
class Finding:
    """What is wrong with a seed: the names of the broken rules, and all that is needed to see why."""

    seed: int
    rules: frozenset[str]
    text: str


class WorldClock:
    """The world's time as the program's clock; signals come while it is looked at, and while it sleeps."""

    def __init__(self, sim: Simulator, world: WatchedWorld) -> None:
        self._sim, self._world = sim, world

    def now(self) -> float:
        self._world.touch()
        return self._world.now_s

    def sleep(self, seconds: float) -> None:
        self._world.touch()
        with self._sim.lock:
            self._world.sleep(seconds)


class Tape(StringIO):
    """A stream of the program that is listened to."""

    def __init__(self, hear: Callable[[str], None]) -> None:
        super().__init__()
        self._hear = hear

    def write(self, text: str) -> int:
        written = super().write(text)
        self._hear(text)
        return written


def environment(sim: Simulator) -> dict[str, str]:
    """The variables that lead the program to the simulator; its secrets are canaries."""
    secrets = {"AWS_SECRET_ACCESS_KEY": f"{CANARY}-secret-key", "AWS_SESSION_TOKEN": f"{CANARY}-session-token"}
    return {**sim.environment(), **secrets}


class Campaign:
    """Plays scenarios against one simulator; the process's environment must be that of `environment`."""

    def __init__(self, sim: Simulator) -> None:
        self._sim = sim
        self._relay = Relay()
        gc.collect()
        gc.freeze()  # botocore's models stay; looking through them again and again would cost a sixth of the time

    def check(self, made: Scenario) -> Finding | None:
        """What is wrong, or None."""
        world = WatchedWorld(made, self._relay)
        self._sim.world = world
        run = self._run(world, made.argv)
        judge(run)
        judge_leavings(run, self._carry_out)
        texts, wrongs = [report(run)], run.wrongs
        if run.code != Exit.OK and not run.wrongs and may_succeed(run):
            self._calm(world)
            again = self._run(world, with_time(made.argv))
            judge(again)
            if again.code != Exit.OK:
                again.wrongs.insert(0, ("succeeds without faults", f"the same command ended with {again.code}"))
            texts, wrongs = [*texts, report(again)], again.wrongs
        rules = frozenset(rule for rule, _ in wrongs)
        return Finding(made.seed, rules, "\n=== THE SAME AGAIN, WITHOUT FAULTS\n".join(texts)) if wrongs else None

    def _calm(self, world: WatchedWorld) -> None:
        """Take the faults away; every image is good now."""
        with self._sim.lock:
            world.behaviours.clear()
            world.calm_down()
            world.advance(SETTLES_S)
            world.disturb(Faults(), ())

    def _carry_out(self, argv: Sequence[str]) -> int:
        """The exit code of a command of ecs-deploy that was offered."""
        world = self._sim.world
        assert isinstance(world, WatchedWorld)
        return self._run(world, tuple(argv)).code or 0

    def _run(self, world: WatchedWorld, argv: tuple[str, ...]) -> Run:
        run = Run(world, argv)

        def note(text: str) -> None:
            world.touch()
            world.hear(text)
            world.touch()

        def hear(text: str) -> None:
            said = unescaped(text)
            run.wrongs += [("speaks true", wrong) for wrong in untrue(world, said)]
            run.wrongs += [("offers nothing that overwrites others", wrong) for wrong in world.overwriting(said)]
            note(said)

        out, err = Tape(note if "json" in argv else hear), Tape(hear)
        random.seed(world.made.seed)  # botocore's jitter
        with (
            tempfile.TemporaryDirectory() as folder,
            _surroundings(world.made, Path(folder), self._sim.url, calm=world.is_calm),
        ):
            words = [word.replace(FOLDER, folder) for word in argv]
            clock = WorldClock(self._sim, world)
            try:
                with self._relay.installed():
                    run.code = int(ecs_deploy.main(words, env=os.environ, out=out, err=err, clock=clock))
            except Killed:
                pass
            except BaseException:
                run.wrongs.append(("knows what it does", f"an exception left main: {traceback.format_exc()}"))
            run.written = "".join(path.read_text() for path in Path(folder).glob("github-*"))
        run.out, run.err, run.calls = out.getvalue(), err.getvalue(), tuple(world.calls[world.first_call :])
        return run


@contextmanager
def _surroundings(made: Scenario, folder: Path, url: str, *, calm: bool) -> Iterator[None]:
    """The files of a scenario, and its variables in the process's environment."""
    for name, text in made.line.files:
        (folder / name).write_text(_MAX_WAIT.sub('"max_wait": 60', text) if calm else text)
    variables: dict[str, str | None] = {}
    if made.credentials == "profile":
        keys = f"aws_access_key_id = AKIAPROFILE\naws_secret_access_key = {CANARY}-profile-secret\n"
        (folder / "credentials").write_text(f"[{PROFILE}]\n{keys}aws_session_token = {CANARY}-session-token\n")
        variables["AWS_SHARED_CREDENTIALS_FILE"] = str(folder / "credentials")
        (folder / "config").write_text(f"[profile {PROFILE}]\nregion = us-east-1\n")
        variables["AWS_CONFIG_FILE"] = str(folder / "config")
        variables |= dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"))
    if made.surroundings == "github":
        files = {name: str(folder / f"github-{name}") for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
        variables |= {"GITHUB_ACTIONS": "true", "INPUT_CLUSTER": "", **files}
    elif made.surroundings == "user info in the endpoint":
        variables["AWS_ENDPOINT_URL"] = url.replace("://", f"://deployer:{CANARY}-endpoint@")
    elif made.surroundings == "user info in a proxy":
        variables["HTTP_PROXY"] = f"http://deployer:{CANARY}-proxy@127.0.0.1:{A_CLOSED_PORT}"
    before = {name: os.environ.get(name) for name in variables}
    _set(variables)
    try:
        yield
    finally:
        _set(before)


def _set(variables: dict[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def with_time(argv: tuple[str, ...]) -> tuple[str, ...]:
    """The same command with an hour to wait."""
    if "-t" not in argv or argv[0] == "app":
        return argv
    at = argv.index("-t") + 1
    return (*argv[:at], "3600", *argv[at + 1 :])
