"""What goes wrong between the program and AWS, what signals come, and what others do meanwhile. Pure."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from tests.simulator import Fault
from tests.simulator.errors import Json

KILL = signal.SIGKILL
GITHUB: tuple[tuple[float, int], ...] = ((0.0, signal.SIGINT), (7.5, signal.SIGTERM), (10.0, KILL))
"""How a cancelled job of GitHub ends: seconds after the first signal, and which one."""
WRITES = (
    "RegisterTaskDefinition", "UpdateService", "DeregisterTaskDefinition", "StopServiceDeployment",
    "RunTask", "StopTask",
)  # fmt: skip
MOVES = ("PutTargets", "UpdateSchedule")
MAY_BE_DENIED = (
    *WRITES, "TagResource", "DescribeTasks", "ListTasks", "ListServiceDeployments", "DescribeServiceDeployments",
    "ListTaskDefinitions", "ListServices",
)  # fmt: skip
FLICKERING_S = 10.0
"""So long after an update a reading call may still be answered as before it, or again."""
ACTS = ("deploys", "goes back", "redeploys", "scales", "edits", "registers", "deletes", "stops a task")


@dataclass(frozen=True)
class Moment:
    """When something happens: at the nth (from 0) of what the program does, or so much later.

    `of`: "call" is any call, "touch" any look at the clock and any text that is written; the name of an operation;
    "line …" a text that has these words; "update" an UpdateService that was carried out. `after`: of a call, when it
    has been carried out and its answer is on its way.
    """

    of: str
    nth: int = 0
    later_s: float = 0.0
    after: bool = False


@dataclass(frozen=True)
class Meddling:
    """What somebody else does to one of the services, by its index."""

    act: str
    moment: Moment
    service: int


@dataclass(frozen=True)
class Signals:
    """Signals from a moment on: seconds after it, and which."""

    moment: Moment
    numbers: tuple[tuple[float, int], ...]


@dataclass(frozen=True)
class Throttling:
    """From a moment on, for so long, calls are refused: all, or only those that write."""

    moment: Moment
    seconds: float
    only_writes: bool


@dataclass(frozen=True)
class Faults:
    """What goes wrong. `aimed`: at the nth call of an operation."""

    rates: tuple[tuple[Fault, float], ...] = ()
    throttled_every: int = 0
    throttles: bool = False
    throttling: Throttling | None = None
    aimed: tuple[tuple[str, int, Fault], ...] = ()
    denied: tuple[str, ...] = ()
    bad_signature_at_call: int | None = None
    stale_reads: int = 0
    flickering: float = 0.0
    stale: tuple[float, float] = (0.0, 0.0)
    """For so many seconds after an update, this share of the looks is answered as before it."""
    latency_s: tuple[float, float] = (0.0, 0.0)
    expired_from_call: int | None = None
    signals: Signals | None = None
    run_task_failures: int = 0

    @property
    def of_calls(self) -> bool:
        """Whether a call may end otherwise than AWS meant it to."""
        return bool(
            self.rates or self.throttled_every or self.throttles or self.throttling or self.denied
            or self.bad_signature_at_call is not None or self.expired_from_call is not None
            or any(fault is not Fault.MISSING for _, _, fault in self.aimed)
        )  # fmt: skip

    @property
    def of_looks(self) -> bool:
        """Whether an answer may tell what is not so."""
        return bool(self.stale_reads or self.flickering or self.stale[0] or self.aimed)


def some_faults(rng: Random) -> Faults:
    """One kind of trouble, or a few at once."""
    found: dict[str, Any] = {}
    for kind in rng.choices(tuple(_KINDS), tuple(_KINDS.values()), k=rng.choice((1, 1, 2, 3))):
        found |= kind(rng)
    return Faults(**found)


def some_meddling(rng: Random, services: int) -> tuple[Meddling, ...]:
    """What others do, once or twice."""
    return tuple(_meddling(rng, services) for _ in range(rng.choice((1, 1, 2))))


def _meddling(rng: Random, services: int) -> Meddling:
    moments = (
        Moment("update", later_s=rng.choice((0.1, 1.0, 4.0, 12.0, 30.0))),
        Moment("call", _a_call(rng)),
        Moment(rng.choice(("GetLogEvents", "ListTasks", "DescribeTasks")), rng.choice((0, 0, 1, 2))),
        Moment("update", 1, later_s=rng.choice((0.1, 1.0, 4.0))),
        Moment("line going back", later_s=rng.choice((0.1, 1.0))),
    )
    act = rng.choices(ACTS, (5, 2, 2, 3, 2, 2, 2, 2))[0]
    return Meddling(act, rng.choices(moments, (45, 20, 15, 10, 10))[0], rng.randrange(max(1, services)))


def _a_call(rng: Random) -> int:
    return int(rng.expovariate(1 / 10))


def _some_rates(rng: Random) -> Json:
    faults = (Fault.THROTTLED, Fault.SERVER_ERROR, Fault.DROP_BEFORE, Fault.DROP_AFTER)
    return {"rates": tuple((fault, rng.choice((0.02, 0.1, 0.3))) for fault in rng.sample(faults, rng.randint(1, 3)))}


def _aimed(rng: Random) -> Json:
    faults = (Fault.SERVER_ERROR, Fault.DROP_BEFORE, Fault.DROP_AFTER, Fault.DROP_AFTER)
    operation, fault, first = rng.choice(WRITES), rng.choice(faults), rng.choice((0, 0, 0, 1))
    return {"aimed": tuple((operation, first + n, fault) for n in range(rng.choice((1, 2, 5, 6))))}


def in_moving(rng: Random, faults: Faults) -> Faults:
    """The same, and now and then trouble where rules and schedules are moved: refusals, lost answers, signals."""
    operation, nth = rng.choice(MOVES), rng.choice((0, 0, 1))
    if rng.random() < 0.3:
        return replace(faults, denied=(*faults.denied, "iam:PassRole"))
    if rng.random() < 0.4:
        moment = Moment(operation, nth, after=rng.random() < 0.5)
        return replace(faults, signals=Signals(moment, rng.choice((((0.0, signal.SIGTERM),), GITHUB))))
    if rng.random() < 0.6:
        fault = rng.choice((Fault.SERVER_ERROR, Fault.DROP_BEFORE, Fault.DROP_AFTER))
        return replace(faults, aimed=tuple((operation, nth + n, fault) for n in range(rng.choice((1, 5, 6)))))
    return faults


def _missing(rng: Random) -> Json:
    """One answer in the middle of a wait that does not know what it was asked for."""
    return {"aimed": ((rng.choice(("DescribeTasks", "DescribeServices")), rng.randint(2, 12), Fault.MISSING),)}


def _throttling(rng: Random) -> Json:
    moment = rng.choice((Moment("call", _a_call(rng)), Moment("update"), Moment("update", later_s=5.0)))
    return {"throttling": Throttling(moment, rng.choice((5.0, 30.0, 120.0, 400.0, 600.0)), rng.random() < 0.6)}


def _signals(rng: Random) -> Json:
    """SIGINT, SIGTERM or GitHub's cancel, at any call, between any two, or where it hurts."""
    after = rng.random() < 0.5
    moments = (
        Moment("call", _a_call(rng), after=after),
        Moment("touch", int(rng.expovariate(1 / 25))),
        Moment("update", rng.choice((0, 0, 0, 1, 3)), later_s=rng.choice((0.3, 2.0, 7.0, 20.0))),
        Moment(rng.choice(WRITES[:4]), rng.choice((0, 0, 1, 3)), after=after),
        Moment("RunTask", rng.choice((0, 0, 1)), after=after),
        Moment(rng.choice(("GetLogEvents", "DescribeTasks", "ListTasks")), rng.choice((0, 1)), after=after),
        Moment(rng.choice(("line × ", "line Rolling back to", "line stopped: ", "line Last log lines"))),
        Moment("update", 1, later_s=rng.choice((0.0, 1.0, 5.0))),
    )
    ends: tuple[tuple[tuple[float, int], ...], ...] = (
        ((0.0, signal.SIGTERM),), ((0.0, signal.SIGINT),), GITHUB, ((0.0, signal.SIGTERM), (10.0, KILL)),
    )  # fmt: skip
    moment = rng.choices(moments, (20, 15, 20, 10, 10, 10, 15, 10))[0]
    found: Json = {"signals": Signals(moment, rng.choices(ends, (4, 3, 6, 2))[0])}
    return {**found, **_latency(rng)} if rng.random() < 0.6 else found


def _latency(rng: Random) -> Json:
    return {"latency_s": rng.choice(((0.005, 0.05), (0.1, 1.0), (0.005, 5.0), (2.0, 5.0)))}


_KINDS: dict[Callable[[Random], Json], int] = {
    _some_rates: 5,
    _aimed: 5,
    _missing: 2,
    _throttling: 5,
    lambda rng: {"throttled_every": 3}: 1,
    lambda rng: {"throttles": True}: 1,
    lambda rng: {"denied": (f"ecs:{rng.choice(MAY_BE_DENIED)}",)}: 2,
    lambda rng: {"denied": ("logs:GetLogEvents",)}: 1,
    lambda rng: {"bad_signature_at_call": _a_call(rng)}: 1,
    lambda rng: {"stale_reads": rng.randint(1, 6)}: 2,
    lambda rng: {"flickering": 0.5}: 2,
    lambda rng: {"stale": (rng.choice((15.0, 40.0, 90.0, 180.0)), rng.choice((0.5, 0.9, 1.0)))}: 3,
    _latency: 2,
    lambda rng: {"expired_from_call": _a_call(rng)}: 2,
    _signals: 20,
    lambda rng: {"signals": Signals(Moment("call", _a_call(rng), after=rng.random() < 0.5), ((0.0, KILL),))}: 1,
    lambda rng: {"run_task_failures": rng.choice((1, 3, 10))}: 1,
}
