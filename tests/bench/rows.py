"""The eight rows: what is measured, against whom, and the goal."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from statistics import median
from typing import TypeVar

from tests.bench.contenders import CLUSTER, FLOOR, NEW_IMAGE, PROGRAM, SCRIPT, SERVICE, Contender, run
from tests.bench.worlds import LATENCY_S, Deployment, Failed, Scenario, checked, deploy, gaps, real_time
from tests.simulator import World

BURST, PER_S = 20, 1.0
"""ECS's throttle on registering and deregistering."""
ONE_STEP = Scenario(start_s=298)
TEN_STEPS = Scenario(start_s=26.5, tasks=10, rolling=True)
STAGGER_S = 1.5
T = TypeVar("T")
K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True)
class Line:
    """One measured thing: each contender's values, and the most that the program may have where there is a goal."""

    row: int
    what: str
    unit: str
    values: Mapping[str, Sequence[float]]
    goal: str = ""
    limit: float | None = None
    notes: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_met(self) -> bool | None:
        """None where there is no goal, or the program was not measured."""
        if self.limit is None or not self.values.get(PROGRAM):
            return None
        return median(self.values[PROGRAM]) <= self.limit


@dataclass(frozen=True)
class Plan:
    """Who is measured, and how often."""

    contenders: Sequence[Contender]
    runs: int

    def named(self, name: str) -> Contender:
        return next(contender for contender in self.contenders if contender.name == name)

    def without(self, *names: str) -> list[Contender]:
        return [contender for contender in self.contenders if contender.name not in names]


def say(text: str) -> None:
    """Progress, on stderr."""
    print(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)


def attempted(act: Callable[[], T], what: str) -> T | None:
    """The result; None, and the reason on stderr, where a contender failed."""
    try:
        return act()
    except Failed as error:
        say(f"{what}: {error}")
        return None


# --- 1: start


def start(plan: Plan) -> Iterator[Line]:
    """Process start to exit, for three things that need no call; the floor is `python -c pass`."""
    for what, argument in {"--version": "--version", "--help": "--help", "a usage error": "--no-such-option"}.items():
        taken_ms: dict[str, list[float]] = defaultdict(list)
        for _ in range(plan.runs + 1):
            for contender in plan.contenders:
                argv = contender.start if contender.name == FLOOR else (*contender.start, argument)
                taken_ms[contender.name].append(run(argv).duration_s * 1000)
        warm_ms = {name: values[1:] for name, values in taken_ms.items()}
        limit_ms = 2.5 * median(warm_ms[FLOOR]) + 30
        yield Line(1, what, "ms", warm_ms, "≤ 2.5 × python -c pass + 30 ms", limit_ms)


# --- 2 and 3: a short deployment


def short(plan: Plan) -> Iterator[Line]:
    """Short deployments, each run ending at another moment of the contender's polling."""
    found: dict[str, list[Deployment]] = defaultdict(list)
    for index in range(plan.runs):
        for contender in plan.contenders:
            phase_s = contender.poll_s * index / plan.runs
            done = attempted(partial(deploy, contender, Scenario(3 + phase_s)), contender.name)
            found[contender.name] += [done] if done else []
    until_ms = {name: [d.until_update_s * 1000 for d in ds] for name, ds in found.items()}
    limit_ms = 1.15 * median(until_ms[FLOOR])
    yield Line(2, "start to UpdateService accepted", "ms", until_ms, "≤ 1.15 × the floor", limit_ms)
    lag_s = {name: [d.lag_s for d in ds] for name, ds in found.items()}
    yield Line(3, "end of the deployment to exit", "s", lag_s, "≤ 0.7 s", 0.7)


# --- 4: calls


def calls(plan: Plan) -> Iterator[Line]:
    """Calls of a short deployment as the service grows."""
    for tasks in (1, 100, 2000):
        done = {}
        for contender in plan.without(SCRIPT):
            done[contender.name] = attempted(partial(deploy, contender, Scenario(tasks=tasks)), contender.name)
        found = {name: [deployment] for name, deployment in done.items() if deployment}
        limit = calls_of(found[FLOOR])[0] + 2
        yield calls_line(f"calls, {tasks:,} tasks", found, "≤ the floor + 2", limit)


def calls_line(what: str, found: Mapping[str, Sequence[Deployment]], goal: str, limit: float) -> Line:
    notes = {name: kinds(deployments[0].calls) for name, deployments in found.items()}
    values = {name: calls_of(deployments) for name, deployments in found.items()}
    return Line(4, what, "", values, goal, limit, notes)


def calls_of(deployments: Iterable[Deployment]) -> list[float]:
    return [float(deployment.calls.total()) for deployment in deployments]


def kinds(calls: Counter[str]) -> str:
    return ", ".join(f"{count} {operation}" for operation, count in calls.most_common())


# --- 5 (and 4): five minutes


def five_minutes(plan: Plan) -> Iterator[Line]:
    """Deployments of five minutes, all at the same time; 298 s until the new task runs, or ten batches."""
    found = together(
        ((what, contender.name), partial(deploy, contender, scenario))
        for index in range(plan.runs)
        for what, scenario in {"one step": ONE_STEP, "ten steps": TEN_STEPS}.items()
        for contender in plan.without(SCRIPT)
        if what == "one step" or index == 0
    )
    for step in ("one step", "ten steps"):
        done = {name: deployments for (what, name), deployments in found.items() if what == step}
        lag_s = {name: [d.lag_s for d in ds] for name, ds in done.items()}
        yield Line(3, f"the same, five minutes, {step}", "s", lag_s)
        limit = median(calls_of(done[FLOOR])) / 2
        yield calls_line(f"calls, five minutes, {step}", done, "≤ half of the floor's", limit)
        if step == "one step":
            cpu_s = {name: [d.ran.cpu_s for d in ds] for name, ds in done.items()}
            peak_mb = {name: [d.ran.peak_mb for d in ds] for name, ds in done.items()}
            yield Line(5, "CPU over five minutes", "s", cpu_s, "≤ 1.3 × the floor", 1.3 * median(cpu_s[FLOOR]))
            yield Line(5, "peak memory", "MB", peak_mb, "≤ the floor + 6 MB", median(peak_mb[FLOOR]) + 6)


def together(jobs: Iterable[tuple[K, Callable[[], T]]]) -> dict[K, list[T]]:
    """Carry out all jobs at the same time, begun one after the other; the results by key, without those that failed."""
    begun: list[tuple[K, Future[T | None]]] = []
    with ThreadPoolExecutor(max_workers=100) as pool:
        for key, job in jobs:
            begun.append((key, pool.submit(attempted, job, str(key))))
            time.sleep(STAGGER_S)
    results: dict[K, list[T]] = {key: [] for key, _ in begun}
    for key, future in begun:
        if (result := future.result()) is not None:
            results[key].append(result)
    return results


# --- 6: an application


@dataclass(frozen=True)
class Application:
    """How long all took, how long the slowest service alone, and the calls of each tick."""

    total_s: float
    slowest_s: float
    calls_per_tick: float


def application(plan: Plan) -> Iterator[Line]:
    """Applications whose slowest service takes two minutes, under ECS's throttles, all at the same time."""
    sizes = {"1 service": (1, 1), "10 services": (10, 10), "50 services of 20 definitions": (50, 20)}
    sizes["50 services of 50 definitions"] = (50, 50)
    program = plan.named(PROGRAM)
    try:
        found = together(
            (what, partial(roll_out, program, count, families))
            for what, (count, families) in sizes.items()
            for _ in range(min(plan.runs, 2))
        )
    except NotAvailable as error:
        yield Line(6, "an application", "", {}, notes={PROGRAM: f"not available: {error}"})
        return
    for what, done in found.items():
        throttle_s = max(0, sizes[what][1] - BURST) / PER_S
        bound = "slowest service" + (f" + throttle's {throttle_s:.0f} s" if throttle_s else "")
        ratios = {PROGRAM: [application.total_s / (application.slowest_s + throttle_s) for application in done]}
        yield Line(6, f"{what}: total / {bound}", "×", ratios, "≤ 1.2", 1.2)
        ticks = {PROGRAM: [application.calls_per_tick for application in done]}
        yield Line(6, f"{what}: DescribeServices a tick", "", ticks, "1 per ten services", -(-sizes[what][0] // 10))


class NotAvailable(Exception):
    """The program has no such command."""


def roll_out(program: Contender, count: int, families: int) -> Application:
    """Deploy an application of that many services, which share so many definitions."""
    with real_time() as watched:
        world = watched.simulator.world
        world.throttles = True
        names = [f"service-{index}" for index in range(count)]
        definitions = [world.task_definition(f"family-{n}", f"app-{n}:1") for n in range(families)]
        for index, name in enumerate(names):
            world.service(CLUSTER, name, task_definition=definitions[index % families], drain_s=1.0)
        for number in range(families):
            world.image(f"app-{number}:2").starts_after(118 - 90 * (families - 1 - number) / max(families - 1, 1))
        services = [{"name": n, "containers": [f"family-{i % families}"]} for i, n in enumerate(names)]
        file = json.dumps({"version": "v1", "cluster": CLUSTER, "services": services})
        write = 'printf %s "$0" > application.json; exec "$@"'
        options = ("app", "--config", "application.json", "--image-tag", "2")
        command = ("sh", "-c", f'cd "$HOME"; {write}', file, *program.start, *options)
        ran = run(command, watched.simulator.environment())
        if ran.code == 3:
            raise NotAvailable(ran.output.strip().partition("\n")[0])
        checked(ran, "ecs-deploy app")
        updates = dict(zip(updated_services(world), watched.times_of("UpdateService"), strict=True))
        slowest_s = max(watched.completed_s(name) - updates[name] for name in names)
        looks = [at_s for at_s in watched.times_of("DescribeServices") if at_s > max(updates.values())]
        return Application(ran.duration_s, slowest_s, median(gaps(looks, 0.5)))


def updated_services(world: World) -> list[str]:
    return [str(call.params["service"]).rpartition("/")[2] for call in world.calls_of("UpdateService")]


# --- 7: pruning


@dataclass(frozen=True)
class Pruning:
    """How long pruning took over the least it can take, what it left undone, and how often ECS refused."""

    ratio: float
    left: int
    throttled: int


def pruning(plan: Plan) -> Iterator[Line]:
    """Old revisions under ECS's throttle, all at the same time."""
    program = plan.named(PROGRAM)
    found = together(
        (size, partial(prune, program, size))
        for size in (10, 100, 1000)
        for _ in range(plan.runs if size < 1000 else min(plan.runs, 2))
    )
    for size, done in found.items():
        throttled = sum(pruning.throttled for pruning in done)
        notes = {PROGRAM: f"{throttled} calls were throttled in {len(done)} runs"} if throttled else {}
        ratios = {PROGRAM: [pruning.ratio for pruning in done]}
        if size > BURST:
            yield Line(7, f"pruning {size:,}: time / throttle's bound", "×", ratios, "≤ 1.1", 1.1, notes)
        else:
            yield Line(7, f"pruning {size:,}: time / the calls' latency", "×", ratios, "(no throttle)", None, notes)
        left = {PROGRAM: [float(pruning.left) for pruning in done]}
        yield Line(7, f"pruning {size:,}: not deregistered", "", left, "none", 0)


def prune(program: Contender, size: int) -> Pruning:
    """Deploy with that many revisions to prune; the least time is ECS's throttle, or the calls' latency one by one."""
    with real_time() as watched:
        world = watched.simulator.world
        for _ in range(size - 1):
            world.task_definition(SERVICE, "app:1")
        world.service(CLUSTER, SERVICE, "app:1", drain_s=1.0)
        world.image(NEW_IMAGE).starts_after(2)
        world.throttles = True
        command = (*program.deploy, "--max-definitions", "1")
        ran = checked(run(command, watched.simulator.environment()), program.name)
        lists_s = watched.times_of("ListTaskDefinitions")
        least_s = max((size - BURST) / PER_S, (len(lists_s) + size) * LATENCY_S)
        throttled = sum(call.error_code is not None for call in world.calls)
        took_s = ran.ended_s - lists_s[0] + LATENCY_S
        return Pruning(took_s / least_s, len(world.active_revisions(SERVICE)) - 1, throttled)
