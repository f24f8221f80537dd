"""Row 8: what one look costs as the world grows, in this process and in virtual time, so that hundreds are cheap."""

from __future__ import annotations

import gc
import json
import os
import time
from collections.abc import Iterator
from io import StringIO
from statistics import median
from typing import Any

import botocore.session

import ecs_deploy
from tests.bench.contenders import CLUSTER, FLOOR, NEW_IMAGE, OLD_IMAGE, PROGRAM, SERVICE
from tests.bench.rows import Line
from tests.simulator import Simulator

GROWTH = {
    "1 task, no events, 1 revision": (1, 0, 1),
    "2,000 tasks": (2000, 0, 1),
    "100 events": (1, 100, 1),
    "1,000 old revisions": (1, 0, 1000),
}
START_S = 400.0


class Weighed(Simulator):
    """A simulator that knows the size of its last answer.

    While nothing happens it gives the same answer again: to count thousands of tasks would empty the CPU's caches, and
    show up in the program's time.
    """

    answer_bytes = 0
    kept: dict[str, Any] | None = None

    def is_quiet(self) -> bool:
        return 10 < self.world.now_s < START_S

    def handle(self, service: str, operation: str, params: dict[str, Any], access_key: str = "") -> dict[str, Any]:
        if self.is_quiet() and self.kept:
            return self.kept
        self.kept = super().handle(service, operation, params, access_key)
        self.answer_bytes = len(json.dumps(self.kept))
        return self.kept


class CountingClock:
    """The world's time; notes what each tick between two sleeps cost this thread alone, and a bare call beside it."""

    def __init__(self, simulator: Weighed) -> None:
        self.simulator = simulator
        self.bare: Any = botocore.session.get_session().create_client("ecs")
        self.bare_ms: list[float] = []
        self.ticks_ms: list[float] = []
        self.bytes: list[float] = []
        self._since_s = time.thread_time()

    def now(self) -> float:
        return float(self.simulator.world.now_s)

    def sleep(self, seconds: float) -> None:
        if self.simulator.is_quiet():
            self.ticks_ms.append((time.thread_time() - self._since_s) * 1000)
            self.bytes.append(float(self.simulator.answer_bytes))
            since_s = time.thread_time()
            self.bare.describe_services(cluster=CLUSTER, services=[SERVICE])
            self.bare_ms.append((time.thread_time() - since_s) * 1000)
        self.simulator.advance(seconds)
        self._since_s = time.thread_time()


def polls() -> Iterator[Line]:
    """CPU and bytes of one look: with tasks and old revisions they stay, with events bytes grow to ECS's own limit."""
    first_bytes = 0.0
    gc.disable()  # it would walk the simulator's tasks in the program's name
    for what, size in GROWTH.items():
        simulator = Weighed()
        with simulator:
            os.environ.update(simulator.environment())
            furnish(simulator, *size)
            clock = CountingClock(simulator)
            argv = ["-c", CLUSTER, "-n", SERVICE, "-i", NEW_IMAGE, "-t", "900"]
            code = ecs_deploy.main(argv, env=os.environ, out=StringIO(), err=StringIO(), clock=clock)
            assert code == 0, f"the deployment ended with {code}"
            cpu_ms = {PROGRAM: clock.ticks_ms[1:], FLOOR: clock.bare_ms[1:]}
        yield Line(8, f"CPU a poll, {what}", "ms", cpu_ms, "≤ the floor", median(cpu_ms[FLOOR]))
        first_bytes = first_bytes or median(clock.bytes)
        limit = None if size[1] else 1.3 * first_bytes
        goal = "flat: ≤ 1.3 × the first" if limit else "up to 100 events are in every answer"
        yield Line(8, f"bytes a poll, {what}", "B", {PROGRAM: clock.bytes[1:]}, goal, limit)


def furnish(simulator: Weighed, tasks: int, events: int, revisions: int) -> None:
    """A service in the middle of its life."""
    for _ in range(revisions - 1):
        simulator.world.task_definition(SERVICE, OLD_IMAGE)
    service = simulator.world.service(CLUSTER, SERVICE, OLD_IMAGE, desired_count=tasks)
    for number in range(events):
        service.add_event(f"has started 1 tasks: (task {number:032x}).")
    simulator.world.image(NEW_IMAGE).starts_after(START_S)
