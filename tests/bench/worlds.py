"""One deployment against the simulator in real time, and what it cost."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.bench.contenders import CLUSTER, NEW_IMAGE, OLD_IMAGE, SERVICE, Contender, Ran, run
from tests.simulator import Simulator

LATENCY_S = 0.03
DRAIN_S = 1.0
BATCH_PERCENT = 110


class Failed(Exception):
    """A contender did not do what is measured."""


@dataclass
class Watched:
    """A simulator in real time, and when each call reached it, by the monotonic clock."""

    simulator: Simulator
    calls: list[tuple[str, float]] = field(default_factory=list)
    offset_s: float = 0.0

    def note(self, _index: int, operation: str, _params: dict[str, Any]) -> None:
        now_s = time.monotonic()
        self.offset_s = now_s - self.simulator.world.now_s
        self.calls.append((operation, now_s))

    def times_of(self, operation: str) -> list[float]:
        return [at_s for name, at_s in self.calls if name == operation]

    def completed_s(self, service: str = SERVICE) -> float:
        """When the service's deployment was complete, by the monotonic clock; the future comes at once, if need be."""
        primary = self.simulator.world.services[CLUSTER, service].primary
        with self.simulator.lock:
            if primary.rollout_state != "COMPLETED":
                self.simulator.world.advance(2000)
        if primary.rollout_state != "COMPLETED":
            raise Failed(f"the deployment of {service} ended as {primary.rollout_state}")
        return float(primary.updated_s) + self.offset_s


@dataclass(frozen=True)
class Scenario:
    """A deployment: with `rolling` in batches of a tenth, else all new tasks start together."""

    start_s: float = 3.0
    tasks: int = 1
    rolling: bool = False


@dataclass(frozen=True)
class Deployment:
    """What one deployment took and cost."""

    ran: Ran
    calls: Counter[str]
    until_update_s: float
    lag_s: float


@contextmanager
def real_time() -> Iterator[Watched]:
    """An empty world as benchmarks need it: latency, whole pages, tasks that settle as soon as old ones are gone."""
    with Simulator(real_time=True, latency_s=LATENCY_S) as simulator:
        watched = Watched(simulator)
        simulator.world.page_size, simulator.world.settle_s = 100, DRAIN_S
        simulator.world.on_call = watched.note
        yield watched


def deploy(contender: Contender, scenario: Scenario) -> Deployment:
    """Have the contender deploy into a world of its own; raises `Failed` if it did not."""
    with real_time() as watched:
        world = watched.simulator.world
        limits = {"maximumPercent": BATCH_PERCENT} if scenario.rolling else {}
        old = world.task_definition(SERVICE, OLD_IMAGE, volumes=[], placementConstraints=[])
        world.service(
            CLUSTER,
            SERVICE,
            task_definition=old,
            desired_count=scenario.tasks,
            drain_s=DRAIN_S,
            deploymentConfiguration=limits,
        )
        world.image(NEW_IMAGE).starts_after(scenario.start_s)
        ran = checked(run(contender.deploy, watched.simulator.environment()), contender.name)
        updated_s = watched.times_of("UpdateService")[0]
        lag_s = ran.ended_s - watched.completed_s()
        return Deployment(ran, Counter(name for name, _ in watched.calls), updated_s - ran.began_s, lag_s)


def checked(ran: Ran, name: str) -> Ran:
    """The same, if it ended with 0; raises `Failed` with its last lines otherwise."""
    if ran.code:
        last = "\n".join(ran.output.strip().splitlines()[-8:])
        raise Failed(f"{name} ended with {ran.code}:\n{last}")
    return ran


def gaps(times: Sequence[float], longer_than_s: float) -> list[int]:
    """How many of the times stand together, between gaps that are longer than that."""
    groups: list[int] = []
    for at_s, before_s in zip(times, [float("-inf"), *times], strict=False):
        if at_s - before_s > longer_than_s:
            groups.append(0)
        groups[-1] += 1
    return groups
