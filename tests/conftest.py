"""Fixtures: a local ECS, its clock, the program as it is called from a shell; and isolation from everything else."""

from __future__ import annotations

import functools
import ipaddress
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

import botocore.endpoint
import botocore.httpsession
import botocore.parsers
import botocore.session
import pytest
from hypothesis import settings

from tests.simulator import Call, Simulator
from tests.terminal import Screen, Terminal

settings.register_profile("local", max_examples=60, deadline=None)
settings.register_profile("ci", settings.get_profile("local"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Coverage comes from tests that state what happens, not from random faults or a whole account's doings."""
    for item in items:
        if item.get_closest_marker("slow") or "faults" in item.path.name:
            item.add_marker("no_cover")


def _untraced(method: Callable[..., Any]) -> Callable[..., Any]:
    """The method without coverage's tracer, which would learn nothing there and take as long as all else."""

    @functools.wraps(method)
    def run(*values: Any, **named: Any) -> Any:
        tracer = sys.gettrace()
        sys.settrace(None)
        try:
            return method(*values, **named)
        finally:
            sys.settrace(tracer)

    return run


for _owner, _name in (
    (botocore.session.Session, "__init__"),
    (botocore.session.Session, "create_client"),
    (botocore.endpoint.Endpoint, "create_request"),
    (botocore.httpsession.URLLib3Session, "send"),
    (botocore.parsers.ResponseParser, "parse"),
):
    setattr(_owner, _name, _untraced(getattr(_owner, _name)))


FOREIGN_VARIABLES = ("AWS_", "GITHUB_", "INPUT_", "BOTO")


@pytest.fixture(autouse=True)
def isolation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing of the caller's environment gets in, and nothing gets out beyond loopback."""
    for name in [name for name in os.environ if name.startswith(FOREIGN_VARIABLES) or name == "CI"]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "no-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "no-credentials"))
    monkeypatch.setenv("HOME", str(tmp_path))
    escapes: list[str] = []
    connect = socket.socket.connect

    def connect_to_loopback(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and not _is_loopback(address[0]):
            escapes.append(str(address))
            raise OSError(f"the tests may not connect to {address}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect_to_loopback)
    yield
    assert escapes == [], "a connection beyond loopback was tried"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@pytest.fixture(scope="session")
def _simulator() -> Iterator[Simulator]:
    with Simulator() as simulator:
        yield simulator


@pytest.fixture
def sim(_simulator: Simulator) -> Iterator[Simulator]:
    """An empty world in virtual time behind HTTP; every answer of it must have been one that ECS could give."""
    _simulator.reset()
    yield _simulator
    assert _simulator.violations == []


BOOTED_S = 2_718_281.0
"""The program's clock at world time zero: monotonic, so neither zero nor the epoch of AWS's timestamps."""


class SimClock:
    """The world's time as the program's clock: to sleep is to advance it, and what `time.sleep` refuses is refused."""

    def __init__(self, sim: Simulator) -> None:
        self._sim = sim
        self.slept: list[float] = []
        self.before_sleep: Callable[[], object] = lambda: None

    def now(self) -> float:
        return BOOTED_S + self._sim.world.now_s

    def sleep(self, seconds: float) -> None:
        if not 0 <= seconds < threading.TIMEOUT_MAX:
            raise ValueError(f"nobody can sleep for {seconds} s")
        self.before_sleep()
        self.slept.append(seconds)
        self._sim.advance(seconds)


@pytest.fixture
def clock(sim: Simulator) -> SimClock:
    return SimClock(sim)


@dataclass
class Result:
    """How a run ended, what it wrote, and the API calls that it made."""

    ended_with: int
    out: str
    err: str
    calls: tuple[Call, ...] = ()
    screens: Sequence[Screen] = field(default=(), repr=False)
    """On a terminal: what it showed each time the program waited, and in the end."""
    code_was_read: bool = False

    @property
    def code(self) -> int:
        """Its exit code; where the test never reads it, it must be 0."""
        self.code_was_read = True
        return self.ended_with

    @property
    def lines(self) -> list[str]:
        """What it wrote to stdout, by line."""
        return self.out.splitlines()

    @property
    def operations(self) -> list[str]:
        """The names of its API calls, in order."""
        return [call.operation for call in self.calls]

    @property
    def changes(self) -> list[str]:
        """The names of those that change something."""
        return [call.operation for call in self.calls if call.mutates]

    def requests(self, operation: str) -> list[dict[str, Any]]:
        """What each call of that operation sent."""
        return [call.params for call in self.calls if call.operation == operation]


Cli = Callable[..., Result]
SCREEN = {"TERM": "xterm", "COLUMNS": "200", "LINES": "100"}


class _Stream(StringIO):
    """A text stream that may be shown on a terminal."""

    def __init__(self, terminal: Terminal | None) -> None:
        super().__init__()
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal is not None

    def write(self, text: str) -> int:
        if self._terminal:
            self._terminal.write(text)
        return super().write(text)


@pytest.fixture
def cli(sim: Simulator, clock: SimClock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cli]:
    """`cli("-c", "prod", …, env={…})` runs the program in this process, against `sim` and in its time.

    A variable that is None in `env` is not set. A run whose `code` the test never reads must end with 0, and none
    with a bug of the program, unless that is what is asked for.
    """
    import ecs_deploy

    results: list[Result] = []

    def run(
        *argv: str,
        env: dict[str, str | None] | None = None,
        tty: bool = False,
        stdin: str | None = None,
        bug: bool = False,
    ) -> Result:
        for name, value in {**sim.environment(), **(SCREEN if tty else {}), **(env or {})}.items():
            if value is None:
                monkeypatch.delenv(name, raising=False)
            else:
                monkeypatch.setenv(name, value)
        if stdin is not None:
            monkeypatch.setattr(sys, "stdin", StringIO(stdin))
        terminal = Terminal(int(os.environ["COLUMNS"]), int(os.environ["LINES"])) if tty else None
        screens: list[Screen] = []

        def look() -> None:
            if terminal:
                screens.append(terminal.shown())

        clock.before_sleep = look
        out, err = _Stream(terminal), _Stream(terminal)
        before = len(sim.calls)
        code = int(ecs_deploy.main(list(argv), env=os.environ, out=out, err=err, clock=clock))
        look()
        result = Result(code, out.getvalue(), err.getvalue(), tuple(sim.calls[before:]), screens)
        results.append(result)
        ended_by_bug = code == ecs_deploy.Exit.BUG or "Traceback (most recent call last)" in result.out + result.err
        assert ended_by_bug == bug, result.err
        assert not set(result.out + result.err) & set("\ue000\ue001"), "the marks around what came from elsewhere"
        return result

    yield run
    unread = [(result.ended_with, result.err) for result in results if not result.code_was_read]
    assert [run for run in unread if run[0]] == [], "a code other than 0 that the test does not look at"
