"""Deployments by the thousand: one seed makes a world, a command line and what goes wrong; and who judges the end.

`scenario(seed)` is pure. `Deployments.check(scenario)` plays it: first with the faults, when only safety is asked for;
then without them, when the same command has to succeed. Everything is judged from the simulator's own state.
"""

from __future__ import annotations

import gc
import json
import os
import random
import shlex
import signal
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from io import StringIO
from random import Random
from types import FrameType
from typing import Any

import ecs_deploy
from ecs_deploy import Exit
from tests.simulator import AwsError, Fault, Simulator, World
from tests.simulator.definitions import Definition
from tests.simulator.errors import Json
from tests.simulator.services import Deployment, Service

CLUSTER, SERVICE = "production", "doorman"
REPOSITORY = "registry.example.com:5000/doorman"
OLD_IMAGE, NEW_IMAGE, THEIR_IMAGE = f"{REPOSITORY}:1", f"{REPOSITORY}:2", f"{REPOSITORY}:9"
CANARY = "canary-5d41402a"
"""Stands in every secret value; it may appear nowhere in what the program writes."""
NO_END_CALLS = 3000
RETRY_DELAY_S = 8.0
"""The longest delay after one failed attempt: botocore waits up to 1, 2, 4 and 8 s between five attempts."""
RETRIED = ("ThrottlingException", "ServerException", "Dropped")
Script = tuple[str, dict[str, Any]]


# --- What may be ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Meddling:
    """What somebody else does: so long after our update, or, where there is none yet, before the nth reading call."""

    act: str
    after_update_s: float | None
    before_call: int


@dataclass(frozen=True)
class Faults:
    """What goes wrong between the program and AWS. `aimed`: at the nth call of an operation."""

    rates: tuple[tuple[Fault, float], ...] = ()
    throttled_every: int = 0
    throttles: bool = False
    aimed: tuple[tuple[str, int, Fault], ...] = ()
    denied: tuple[str, ...] = ()
    stale_reads: int = 0
    flickering: float = 0.0
    expired_from_call: int | None = None
    signal_at_call: tuple[int, int] | None = None
    killed_at_call: int | None = None
    killed_before_aws_acts: bool = False

    @property
    def of_calls(self) -> bool:
        """Whether a call may end otherwise than AWS meant it to."""
        return bool(
            self.rates or self.throttled_every or self.throttles or self.aimed or self.denied
            or self.expired_from_call is not None
        )  # fmt: skip


@dataclass(frozen=True)
class Scenario:
    """A world, a command line, and what goes wrong."""

    seed: int
    desired_count: int
    configuration: Json
    health_check: bool
    classic_balancer: bool
    older_revisions: int
    settle_s: float
    drain_s: float
    page_size: int
    rollback_reuses_id: bool
    new_image: tuple[Script, ...]
    old_image: tuple[Script, ...]
    argv: tuple[str, ...]
    faults: Faults = Faults()
    meddling: tuple[Meddling, ...] = ()

    def option(self, name: str) -> str | None:
        """The value of an option of the command line, None where it was not given."""
        return self.argv[self.argv.index(name) + 1] if name in self.argv else None

    @property
    def timeout_s(self) -> float:
        return float(self.option("-t") or 90)

    @property
    def is_quiet(self) -> bool:
        """Whether nothing disturbs the run but the images themselves."""
        faults = self.faults
        hit = faults.of_calls or faults.signal_at_call or faults.killed_at_call is not None
        return not (hit or self.meddling or faults.flickering or faults.stale_reads)


def scenario(seed: int) -> Scenario:
    """The scenario of that seed, always the same."""
    rng = Random(seed)
    desired_count = _desired_count(rng)
    configuration = _configuration(rng)
    health_check = rng.random() < 0.3
    return Scenario(
        seed=seed,
        desired_count=desired_count,
        configuration=configuration,
        health_check=health_check,
        classic_balancer="strategy" not in configuration and rng.random() < 0.05,
        older_revisions=rng.choice((0, 0, 0, 1, 3)),
        settle_s=rng.choice((1.0, 3.0, 10.0)),
        drain_s=rng.choice((0.0, 1.0, 4.0)),
        page_size=100 if desired_count > 12 else rng.choice((2, 3, 100)),
        rollback_reuses_id=rng.random() < 0.7,
        new_image=_behaviour(rng),
        old_image=(("crashes", {"after_s": 1}),) if rng.random() < 0.04 else (),
        argv=_command_line(rng, configuration),
        faults=_faults(rng) if rng.random() < 0.7 else Faults(),
        meddling=tuple(_meddling(rng) for _ in range(rng.choice((1, 1, 2)))) if rng.random() < 0.25 else (),
    )


def _desired_count(rng: Random) -> int:
    lowest, highest = rng.choices(((0, 0), (1, 3), (4, 12), (13, 60), (61, 200)), (8, 64, 20, 6, 2))[0]
    return rng.randint(lowest, highest)


def _configuration(rng: Random) -> Json:
    enabled, rolls_back = rng.choice(((False, False), (True, False), (True, True)))
    breaker: Json = {"enable": enabled, "rollback": rolls_back}
    if enabled and rng.random() < 0.3:
        breaker = {**breaker, "thresholdConfiguration": {"type": "COUNT", "value": rng.randint(1, 5)}}
    minimum, maximum = rng.choices(((100, 200), (50, 200), (0, 100), (100, 150)), (10, 3, 3, 3))[0]
    found: Json = {
        "deploymentCircuitBreaker": breaker, "minimumHealthyPercent": minimum, "maximumPercent": maximum,
    }  # fmt: skip
    return {**found, **_strategy(rng)} if rng.random() < 0.12 else found


def _strategy(rng: Random) -> Json:
    minutes = rng.choice((0, 0, 1))
    strategies: tuple[Json, ...] = (
        {"strategy": "BLUE_GREEN", "bakeTimeInMinutes": minutes},
        {"strategy": "LINEAR", "linearConfiguration": {"stepPercent": 50.0, "stepBakeTimeInMinutes": minutes}},
        {"strategy": "CANARY", "canaryConfiguration": {"canaryPercent": 10.0, "canaryBakeTimeInMinutes": minutes}},
    )
    return rng.choice(strategies)


def _behaviour(rng: Random) -> tuple[Script, ...]:
    """What is scripted of the new image; nothing for one that is good."""
    troubles: tuple[Script, ...] = (
        ("starts_after", {"seconds": rng.choice((5.0, 15.0, 40.0))}),
        ("crashes", {"after_s": rng.choice((0.2, 2.0, 6.0, 30.0))}),
        ("out_of_memory", {"after_s": 2.0}),
        ("cannot_be_pulled", {}),
        ("cannot_be_placed", {}),
        ("never_healthy", {}),
        ("healthy_after", {"seconds": rng.choice((8.0, 30.0))}),
        ("flaps", {"up_s": rng.choice((0.5, 4.0)), "times": rng.randint(1, 6)}),
    )
    logged: Script = ("logs", {"lines": ["opening the door", f"FATAL: no entry with {CANARY}-variable"]})
    quick: Script = ("starts_after", {"seconds": rng.choice((0.1, 1.0, 2.0))})
    return (quick, logged, *([rng.choice(troubles)] if rng.random() < 0.6 else []))


def _command_line(rng: Random, configuration: Json) -> tuple[str, ...]:
    timeouts = (90, 200) if "strategy" in configuration else (3, 10, 20, 30, 30, 45, 60)
    argv = ["-c", CLUSTER, "-n", SERVICE, "-t", str(rng.choice(timeouts)), *_edit(rng)]
    optional: tuple[tuple[float, tuple[str, ...]], ...] = (
        (0.5, ("--enable-rollback",)),
        (0.15, ("--keep-failed-revision",)),
        (0.15, ("--fail-fast", str(rng.randint(1, 5)))),
        (0.15, ("--skip-deployments-check",)),
        (0.15, ("--max-definitions", str(rng.randint(1, 4)))),
        (0.15, ("-D", str(rng.choice((0, 1, 2, 3, 5, 20))))),
        (0.1, ("-m", str(rng.choice((0, 50, 100))))),
        (0.1, ("-M", str(rng.choice((100, 150, 200))))),
        (0.15, ("--output", "json")),
        (0.2, ("-v",)),
        (0.04, ("--dry-run",)),
        (0.05, ("--use-latest-task-def",)),
        (0.1, ("-k", "AKIAGIVEN", "-s", f"{CANARY}-given-key")),
    )
    return (*argv, *(word for share, words in optional if rng.random() < share for word in words))


def _edit(rng: Random) -> tuple[str, ...]:
    edits = (
        ("-i", NEW_IMAGE),
        ("-i", OLD_IMAGE),
        ("-to", "2"),
        ("-l", f"{SERVICE}={NEW_IMAGE}"),
        ("-i", NEW_IMAGE, "--container-envvar", f"{SERVICE}=KEY={CANARY}-new-variable"),
        ("--force-new-deployment", "-i", NEW_IMAGE),
        ("--force-new-deployment",),
    )
    return rng.choices(edits, (50, 6, 10, 8, 8, 6, 12))[0]


MUTATING = ("RegisterTaskDefinition", "UpdateService", "DeregisterTaskDefinition", "StopServiceDeployment")
MAY_BE_DENIED = (
    *MUTATING, "TagResource", "DescribeTasks", "ListTasks", "ListServiceDeployments", "DescribeServiceDeployments",
    "ListTaskDefinitions",
)  # fmt: skip


def _faults(rng: Random) -> Faults:
    """One kind of trouble, or a few at once."""
    found: dict[str, Any] = {}
    for kind in rng.choices(tuple(_KINDS), tuple(_KINDS.values()), k=rng.choice((1, 1, 2, 3))):
        found |= kind(rng)
    return Faults(**found)


def _some_rates(rng: Random) -> Json:
    faults = (Fault.THROTTLED, Fault.SERVER_ERROR, Fault.DROP_BEFORE, Fault.DROP_AFTER)
    return {"rates": tuple((fault, rng.choice((0.02, 0.1, 0.3))) for fault in rng.sample(faults, rng.randint(1, 3)))}


def _aimed(rng: Random) -> Json:
    faults = (Fault.SERVER_ERROR, Fault.DROP_BEFORE, Fault.DROP_AFTER, Fault.DROP_AFTER)
    operation, fault, first = rng.choice(MUTATING), rng.choice(faults), rng.choice((0, 0, 0, 1))
    return {"aimed": tuple((operation, first + n, fault) for n in range(rng.choice((1, 2, 5, 6))))}


def _a_call(rng: Random) -> int:
    return int(rng.expovariate(1 / 10))


_KINDS: dict[Callable[[Random], Json], int] = {
    _some_rates: 5,
    _aimed: 5,
    lambda rng: {"throttled_every": 3}: 1,
    lambda rng: {"throttles": True}: 1,
    lambda rng: {"denied": (f"ecs:{rng.choice(MAY_BE_DENIED)}",)}: 2,
    lambda rng: {"denied": ("logs:GetLogEvents",)}: 1,
    lambda rng: {"stale_reads": rng.randint(1, 6)}: 3,
    lambda rng: {"flickering": 0.5}: 2,
    lambda rng: {"expired_from_call": _a_call(rng)}: 2,
    lambda rng: {"signal_at_call": (_a_call(rng), rng.choice((signal.SIGTERM, signal.SIGINT)))}: 4,
    lambda rng: {"killed_at_call": _a_call(rng), "killed_before_aws_acts": rng.random() < 0.5}: 3,
}
FLICKERING_S = 10.0
"""So long after an update a reading call may still be answered as before it, or again."""
ACTS = ("deploys", "goes back", "redeploys", "scales", "edits", "registers", "deletes")


def _meddling(rng: Random) -> Meddling:
    after_update_s = rng.choice((0.1, 1.0, 4.0, 12.0, 30.0)) if rng.random() < 0.75 else None
    return Meddling(rng.choices(ACTS, (4, 2, 2, 3, 2, 2, 2))[0], after_update_s, _a_call(rng))


# --- The world, and its witness -------------------------------------------------------------------------------------


@dataclass
class Update:
    """One UpdateService of the program that was carried out, with the PRIMARY deployments around it."""

    at_s: float
    params: Json
    before: Deployment
    after: Deployment
    answered: bool


class Killed(BaseException):
    """The end of the process at any point; nothing of the program may hold it up."""


class WatchedWorld(World):
    """A world that remembers what the program did to it and what it was shown, and in which the faults happen."""

    def __init__(self, made: Scenario) -> None:
        super().__init__(seed=made.seed)
        self.made = made
        self.page_size, self.settle_s = made.page_size, made.settle_s
        self.rollback_reuses_id = made.rollback_reuses_id
        self._furnish()
        self.watched: Service = self.services[CLUSTER, SERVICE]
        self.disturb(made.faults, made.meddling)

    def _furnish(self) -> None:
        for number in range(self.made.older_revisions):
            self.register(_definition(f"{REPOSITORY}:0.{number}", self.made.health_check))
        balancer = {"loadBalancerName": "classic", "containerName": SERVICE, "containerPort": 80}
        members: Json = {"loadBalancers": [balancer]} if self.made.classic_balancer else {}
        self.service(
            CLUSTER, SERVICE, task_definition=self.register(_definition(OLD_IMAGE, self.made.health_check)),
            desired_count=self.made.desired_count, drain_s=self.made.drain_s,
            deploymentConfiguration=dict(self.made.configuration), **members,
        )  # fmt: skip
        for image, scripts in ((NEW_IMAGE, self.made.new_image), (OLD_IMAGE, self.made.old_image)):
            for method, arguments in scripts:
                getattr(self.image(image), method)(**arguments)

    def disturb(self, faults: Faults, meddling: tuple[Meddling, ...]) -> None:
        """Begin a run: forget what the last one did, and have these faults happen."""
        self.faults, self.waiting_acts = faults, list(meddling)
        self.allow(*(f"ecs:{action}" for action in MAY_BE_DENIED), "logs:GetLogEvents")
        self.deny(*faults.denied)
        self.throttles, self.stale_reads = faults.throttles, faults.stale_reads
        self.watched.stale_reads_left = 0
        self.on_call = self._outcome
        self._rng = Random(self.made.seed + 1)
        self._counts: dict[str, int] = {}
        self.first_call, self.begun_s = len(self.calls), self.now_s
        self.old, self.old_count = self.watched.primary.definition, self.watched.desired_count
        self.old_configuration = dict(self.watched.configuration)
        self.registered: list[Definition] = []
        self.updates: list[Update] = []
        self.acts: list[str] = []
        self.theirs: list[Deployment] = []
        self.shown_primary: Deployment | None = None
        self.ever_ran = self.ever_complete = False
        self.stopped_by: tuple[int, float] | None = None
        self.wrongs: list[str] = []

    # --- What goes wrong

    def _outcome(self, number: int, operation: str, _: Json) -> Fault | AwsError | None:
        """How the call ends; `number` counts the calls of all runs."""
        index = number - self.first_call
        nth = self._counts[operation] = self._counts.get(operation, -1) + 1
        faults = self.faults
        if index >= NO_END_CALLS:
            self.wrongs += [f"no end after {index} calls"] if index == NO_END_CALLS else []
            return self._kill(acts=False)
        if faults.killed_at_call is not None and index >= faults.killed_at_call:
            return self._kill(acts=not faults.killed_before_aws_acts)
        if faults.signal_at_call and faults.signal_at_call[0] == index:
            self.stopped_by = (number, self.now_s)
            signal.pthread_kill(threading.main_thread().ident or 0, faults.signal_at_call[1])
        if faults.expired_from_call is not None and index >= faults.expired_from_call:
            return Fault.EXPIRED
        for aimed_operation, aimed_nth, fault in faults.aimed:
            if (operation, nth) == (aimed_operation, aimed_nth):
                return fault
        if faults.throttled_every and index % faults.throttled_every == faults.throttled_every - 1:
            return Fault.THROTTLED
        return self._chance(operation)

    def _kill(self, *, acts: bool) -> Fault | None:
        self.stopped_by = self.stopped_by or (len(self.calls) - 1, self.now_s)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)
        return None if acts else Fault.DROP_BEFORE

    def _chance(self, operation: str) -> Fault | None:
        for fault, share in self.faults.rates:
            if self._rng.random() < share:
                return fault
        recent = bool(self.updates) and self.now_s < self.updates[-1].at_s + FLICKERING_S
        flickers = operation == "DescribeServices" and recent and self._rng.random() < self.faults.flickering
        return Fault.STALE if flickers else None

    # --- What others do

    def act(self, what: str) -> None:
        """Somebody else does something to the service, if it is still there."""
        found = self.watched
        if found.status != "ACTIVE":
            return
        self.acts.append(what)
        if what == "deploys":
            self.someone_deploys(CLUSTER, SERVICE, THEIR_IMAGE)
        elif what == "goes back":
            found.deploy(self.old)
        elif what == "redeploys":
            found.deploy(found.primary.definition)
        elif what == "scales":
            found.scale(self._rng.choice((0, 1, 2, 4)))
        elif what == "edits":
            found.configuration = {**found.configuration, "minimumHealthyPercent": 10, "maximumPercent": 190}
        elif what == "registers":
            self.register(_definition(THEIR_IMAGE, self.made.health_check))
        else:
            self.delete_service(CLUSTER, SERVICE)
        if what in ("deploys", "goes back", "redeploys"):
            self.theirs.append(found.primary)

    def _act_in_run(self, what: str, first_call: int) -> None:
        if first_call == self.first_call:
            self.act(what)

    def _meddle_before(self, operation: str) -> None:
        """Nobody can see a deployment that begins between a look and the update, so those wait for a reading call."""
        index = len(self.calls) - self.first_call
        for due in [m for m in self.waiting_acts if m.after_update_s is None and m.before_call <= index]:
            if operation not in MUTATING:
                self.waiting_acts.remove(due)
                self.act(due.act)

    def _meddle_after_update(self) -> None:
        for due in [m for m in self.waiting_acts if m.after_update_s is not None]:
            self.waiting_acts.remove(due)
            self.timeline.after(due.after_update_s or 0, partial(self._act_in_run, due.act, self.first_call))

    # --- What is remembered of each call

    def handle(self, service: str, operation: str, params: Json, access_key: str = "") -> Json:
        """As `World.handle`, with somebody watching."""
        self._meddle_before(operation)
        before, revisions = self.watched.primary, len(self.definitions.families[SERVICE])
        if self.updates and self.now_s >= self.updates[-1].at_s + FLICKERING_S:
            self.watched.stale_reads_left = 0
        stale_reads_left = self.watched.stale_reads_left
        unused = self._unused(params.get("taskDefinition", "")) if operation == "DeregisterTaskDefinition" else True
        answer: Json | None = None
        try:
            answer = super().handle(service, operation, params, access_key)
            return answer
        finally:
            self.registered += self.definitions.families[SERVICE][revisions:]
            self._note_run()
            acted = self.calls[-1].error_code in (None, "Dropped")
            if operation == "UpdateService" and (answer is not None or before is not self.watched.primary):
                self._note_update(params, before, answered=answer is not None)
            elif operation == "DeregisterTaskDefinition" and acted and not unused:
                self.wrongs.append(f"{params['taskDefinition']} was deregistered while it was in use")
            elif operation == "StopServiceDeployment" and answer is not None:
                self._refuse_rollback_over_theirs()
            elif operation == "DescribeServices" and answer is not None:
                received = self.stopped_by is None or self.stopped_by[0] != len(self.calls) - 1
                fresh = received and not self.answers_stale and not stale_reads_left
                self.shown_primary = self.watched.primary if fresh else self.shown_primary

    def _unused(self, arn: str) -> bool:
        definition = self.definitions.find(arn)
        return (
            all(d.definition is not definition for d in self.watched.deployments) or self.watched.status == "INACTIVE"
        )

    def _note_update(self, params: Json, before: Deployment, *, answered: bool) -> None:
        if self.updates and self.watched.primary is not before:
            self._refuse_rollback_over_theirs()
        definition = self.definitions.find(params.get("taskDefinition", self.old.arn))
        if definition and definition.status != "ACTIVE":
            self.wrongs.append(f"the service was pointed at {definition.arn}, which is {definition.status}")
        self.updates.append(Update(self.now_s, params, before, self.watched.primary, answered))
        self.shown_primary = self.watched.primary if answered else self.shown_primary
        self._meddle_after_update()

    def _refuse_rollback_over_theirs(self) -> None:
        if self.shown_primary in self.theirs and self.updates and self.shown_primary is not self.updates[0].before:
            self.wrongs.append(f"rolled back over {self.shown_primary.id}, which somebody else had begun")

    def _note_run(self) -> None:
        """Whether our deployment was ever seen to run, and to be all there is."""
        ours = self.ours
        if ours is None:
            return
        checks = bool(ours.definition.health_checks)
        tasks = [task for task in ours.tasks.values() if task.runs]
        self.ever_ran = self.ever_ran or any(task.health == "HEALTHY" or not checks for task in tasks)
        alone = len(self.watched.deployments) == 1 and ours is self.watched.primary
        self.ever_complete = self.ever_complete or ours.rollout_state == "COMPLETED" or (
            self.watched.hides_rollout_state and alone and ours.running_count == self.watched.desired_count
        )  # fmt: skip

    @property
    def ours(self) -> Deployment | None:
        """The deployment that the program asked for: of its last update that is no rollback."""
        forward = [update for update in self.updates if update.params == self.updates[0].params]
        return forward[-1].after if forward else None


def _definition(image: str, health_check: bool) -> Json:
    container: Json = {
        "name": SERVICE, "image": image, "memory": 128, "essential": True, "command": ["--token", f"{CANARY}-argument"],
        "environment": [{"name": "KEY", "value": f"{CANARY}-variable"}, {"name": "COLOUR", "value": "green"}],
        "secrets": [{"name": "PASSWORD", "valueFrom": f"{CANARY}-parameter"}],
        "logConfiguration": {
            "logDriver": "awslogs",
            "options": {"awslogs-group": "/ecs/doorman", "awslogs-region": "us-east-1", "awslogs-stream-prefix": "ecs"},
        },
    }  # fmt: skip
    if health_check:
        container["healthCheck"] = {"command": ["CMD", "true"], "interval": 5, "retries": 2}
    tags = [{"key": "team", "value": "doors"}]
    return {"family": SERVICE, "containerDefinitions": [container], "ephemeralStorage": {"sizeInGiB": 21}, "tags": tags}


# --- Playing it -----------------------------------------------------------------------------------------------------


class WorldClock:
    """The world's time as the program's clock."""

    def __init__(self, sim: Simulator) -> None:
        self._sim = sim

    def now(self) -> float:
        return float(self._sim.world.now_s)

    def sleep(self, seconds: float) -> None:
        self._sim.advance(seconds)


@dataclass
class Run:
    """One run of the program; `code` is None where it was killed."""

    world: WatchedWorld
    argv: tuple[str, ...]
    code: int | None = None
    out: str = ""
    err: str = ""
    wrongs: list[str] = field(default_factory=list)


def environment(sim: Simulator) -> dict[str, str]:
    """The variables that lead the program to the simulator; its secrets are canaries."""
    secrets = {"AWS_SECRET_ACCESS_KEY": f"{CANARY}-secret-key", "AWS_SESSION_TOKEN": f"{CANARY}-session-token"}
    return {**sim.environment(), **secrets}


class Deployments:
    """Plays scenarios against one simulator; the process's environment must be that of `environment`."""

    def __init__(self, sim: Simulator) -> None:
        self._sim = sim
        self._clock = WorldClock(sim)
        gc.collect()
        gc.freeze()  # botocore's models stay; looking through them again and again would cost a sixth of the time

    def check(self, made: Scenario) -> str:
        """What is wrong, as a text with all that is needed to see why; empty if nothing is."""
        world = WatchedWorld(made)
        self._sim.world = world
        run = self._run(world, made.argv)
        judge(run)
        if run.wrongs or run.code == Exit.OK or not may_succeed(world):
            return report(run) if run.wrongs else ""
        self._calm(world)
        again = self._run(world, with_time(made.argv))
        judge(again)
        if again.code != Exit.OK:
            again.wrongs.insert(0, f"without faults the same command ended with {again.code}")
        return report(run) + "\n=== THE SAME AGAIN, WITHOUT FAULTS\n" + report(again) if again.wrongs else ""

    def _calm(self, world: WatchedWorld) -> None:
        """Take the faults away; both images are good now."""
        with self._sim.lock:
            for image in (OLD_IMAGE, NEW_IMAGE):
                world.repair(image)
            world.disturb(Faults(), ())

    def _run(self, world: WatchedWorld, argv: tuple[str, ...]) -> Run:
        run = Run(world, argv)
        out, err = StringIO(), StringIO()
        random.seed(world.made.seed)  # botocore's jitter
        try:
            with _signals():
                run.code = int(ecs_deploy.main(argv, env=os.environ, out=out, err=err, clock=self._clock))
        except Killed:
            pass
        except BaseException:
            run.wrongs.append(f"an exception left main: {traceback.format_exc()}")
        with self._sim.lock:
            run.out, run.err = out.getvalue(), err.getvalue()
        return run


@contextmanager
def _signals() -> Iterator[None]:
    """SIGUSR1 kills inside of the block; a late SIGINT or SIGTERM does nothing outside of the program."""

    def kill(_number: int, _frame: FrameType | None) -> None:
        raise Killed

    def ignore(_number: int, _frame: FrameType | None) -> None:
        pass

    handlers: dict[int, Callable[[int, FrameType | None], None]] = {
        signal.SIGUSR1: kill, signal.SIGINT: ignore, signal.SIGTERM: ignore,
    }  # fmt: skip
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def may_succeed(world: WatchedWorld) -> bool:
    """Whether the same command can succeed at all: the service is there, and its percentages let a task be replaced."""
    argv, service = world.made, world.watched
    if service.status != "ACTIVE":
        return False
    if "--dry-run" in argv.argv:
        return True
    desired = int(argv.option("-D") or service.desired_count)
    minimum = int(argv.option("-m") or service.configuration["minimumHealthyPercent"])
    maximum = int(argv.option("-M") or service.configuration["maximumPercent"])
    if minimum == maximum == 100:
        return False  # ECS refuses that
    if service.is_native:
        return True
    return desired == 0 or desired * maximum // 100 > desired or -(-desired * minimum // 100) < desired


def with_time(argv: tuple[str, ...]) -> tuple[str, ...]:
    """The same command with an hour to wait."""
    at = argv.index("-t") + 1
    return (*argv[:at], "3600", *argv[at + 1 :])


# --- Judging --------------------------------------------------------------------------------------------------------


def judge(run: Run) -> None:
    """Add to `run.wrongs` what must not be, whatever happened."""
    run.wrongs += run.world.wrongs
    run.wrongs += run.world.violations
    for rule in _RULES:
        run.wrongs += [f"{rule.__name__.strip('_').replace('_', ' ')}: {wrong}" for wrong in rule(run)]


def _says_nothing_secret_and_knows_what_it_does(run: Run) -> Iterator[str]:
    said = run.out + run.err
    if CANARY in said:
        yield f"a secret was printed: {said[max(0, said.index(CANARY) - 60) :][:120]!r}"
    if "Traceback (most recent call last)" in said or run.code == Exit.BUG:
        yield "a traceback"
    if run.code is not None and run.code not in set(Exit):
        yield f"{run.code} is no documented exit code"
    if run.code is not None and "json" in run.argv:
        document = json.loads(run.out)
        if document["exit_code"] != run.code:
            yield f"the document says {document['exit_code']}, the exit code is {run.code}"


def _exits_0_only_if_asked_for_state_was_there(run: Run) -> Iterator[str]:
    world = run.world
    if run.code != Exit.OK:
        return
    if "--dry-run" in run.argv:
        if any(call.mutates for call in world.calls[world.first_call :]):
            yield "a dry run changed something"
        return
    ours = world.ours
    if ours is None:
        yield "no update was carried out"
        return
    reached = world.ever_complete or ours.definition is world.updates[0].before.definition
    if "--skip-deployments-check" in run.argv:
        reached = reached or world.ever_ran or world.watched.desired_count == 0 or world.acts.count("scales") > 0
    if not reached:
        yield f"our deployment {ours.id} is {ours.rollout_state}, of the service's {len(world.watched.deployments)}"
    yield from _as_asked(run)


def _as_asked(run: Run) -> Iterator[str]:
    """Count and percentages are as on the command line, unless somebody else changed them."""
    world, made = run.world, run.world.made
    if not {"scales", "deletes"} & set(world.acts):
        wanted = int(made.option("-D") or world.old_count)
        if world.watched.desired_count != wanted:
            yield f"desired are {world.watched.desired_count} tasks instead of {wanted}"
    if "edits" not in world.acts:
        given = {"-m": "minimumHealthyPercent", "-M": "maximumPercent"}
        asked = {member: int(made.option(option) or -1) for option, member in given.items() if made.option(option)}
        if world.watched.configuration != {**world.old_configuration, **asked}:
            yield f"the configuration is {world.watched.configuration}"


def _exits_0_if_asked_for_state_is_there(run: Run) -> Iterator[str]:
    world = run.world
    quiet = world.made.is_quiet or world.faults == Faults()
    if quiet and not world.acts and run.code != Exit.OK and "--dry-run" not in run.argv and world.ever_complete:
        yield f"our deployment is complete, but the exit code is {run.code}"


def _exits_20_only_if_service_is_back_and_stable(run: Run) -> Iterator[str]:
    world, service = run.world, run.world.watched
    if run.code != Exit.ROLLED_BACK:
        return
    if "--enable-rollback" not in run.argv:
        yield "no rollback was asked for"
    if world.theirs or "deletes" in world.acts:
        return
    if service.primary.definition is not world.old:
        yield f"the service runs {service.primary.definition.arn}"
    if service.primary.rollout_state != "COMPLETED" and not service.hides_rollout_state:
        yield f"the PRIMARY deployment is {service.primary.rollout_state}"
    if service.desired_count != world.old_count and "scales" not in world.acts:
        yield f"desired are {service.desired_count} tasks, before it were {world.old_count}"
    if service.configuration != world.old_configuration and "edits" not in world.acts:
        yield f"the configuration is {service.configuration}, before it was {world.old_configuration}"


def _discards_the_failed_revision(run: Run) -> Iterator[str]:
    """A revision that was registered in vain is ACTIVE only where it could not be deregistered, or is in use."""
    world = run.world
    left = [d for d in world.registered if d.status == "ACTIVE" and world._unused(d.arn) and d.arn.startswith("arn")]
    ours = [d for d in left if d.containers[0]["image"] != THEIR_IMAGE]
    in_vain = not world.updates or run.code == Exit.ROLLED_BACK
    if not ours or not in_vain or run.code in (None, Exit.OK) or world.faults.expired_from_call is not None:
        return
    calls = world.calls[world.first_call :]
    tried = any(call.operation == "DeregisterTaskDefinition" and call.error_code for call in calls)
    doubtful = any(c.operation in MUTATING[:2] and c.error_code in ("Dropped", "ServerException") for c in calls)
    kept = run.code == Exit.ROLLED_BACK and "--keep-failed-revision" in run.argv
    outdated = world.faults.stale_reads or world.faults.flickering  # it may still have been shown in use
    if not tried and not kept and not doubtful and not outdated:
        yield f"{ours[0].arn} was left ACTIVE"


def _registers_once_and_points_at_old_or_new(run: Run) -> Iterator[str]:
    world = run.world
    ours = [definition for definition in world.registered if definition.containers[0]["image"] != THEIR_IMAGE]
    if len(ours) > 1 and not {"registers", "deploys"} & set(world.acts):  # which may hide the one that was lost
        yield f"{len(ours)} revisions were registered"
    theirs = [deployment.definition for deployment in world.theirs]
    if world.watched.primary.definition not in [world.old, *ours, *theirs]:
        yield f"the service points at {world.watched.primary.definition.arn}"
    for definition in ours:
        if not any(_edited(base.raw, run.argv) == definition.raw for base in world.definitions.families[SERVICE]):
            yield f"{definition.arn} is no copy with only the asked-for edits: {definition.raw}"


def _edited(raw: Json, argv: tuple[str, ...]) -> Json:
    """What the new revision must be, made from an old one in another way than the program's."""
    [container] = raw["containerDefinitions"]
    image = OLD_IMAGE if OLD_IMAGE in argv else NEW_IMAGE
    entries = container["environment"]
    if "--container-envvar" in argv:
        entries = [{**e, "value": f"{CANARY}-new-variable"} if e["name"] == "KEY" else e for e in entries]
    return {**raw, "containerDefinitions": [{**container, "image": image, "environment": entries}]}


def _says_why_it_ended(run: Run) -> Iterator[str]:
    """Each code only where there was a reason for it."""
    world, argv, faults = run.world, run.argv, run.world.faults
    signalled = world.stopped_by is not None
    if run.code in (Exit.SIGINT, Exit.SIGTERM) and not signalled:
        yield "interrupted without a signal"
    repeated = sum(update.params == world.updates[0].params for update in world.updates) > 1  # its answer was lost
    if run.code == Exit.SUPERSEDED and not world.theirs and not repeated:
        yield "superseded by nobody"
    wrong_percents = bool({"-m", "-M"} & set(argv))
    refused = wrong_percents and any(
        c.error_code == "InvalidParameterException" for c in world.calls[world.first_call :]
    )
    if run.code == Exit.AWS and not faults.of_calls and "deletes" not in world.acts and not refused:
        yield "an error of AWS without one"
    if run.code == Exit.FAILED and "--enable-rollback" in argv and world.registered and "deletes" not in world.acts:
        yield "failed, and not rolled back"
    if run.code in (Exit.ROLLED_BACK, Exit.ROLLBACK_FAILED) and "--enable-rollback" not in argv:
        yield "a rollback that was not asked for"
    if run.code == Exit.ROLLBACK_FAILED and world.made.is_quiet and not world.made.old_image and _had_time(run):
        yield "the rollback failed, though nothing kept it from succeeding"


def _had_time(run: Run) -> bool:
    """Whether the time-out is long enough for any rollback of a healthy small service."""
    world = run.world
    return run.world.made.timeout_s >= 45 and world.old_count <= 3 and may_succeed(world)


def _ends_in_time(run: Run) -> Iterator[str]:
    """Two waits, two more of the rollback, and the delays after calls that failed; after a signal only the latter."""
    world = run.world
    calls = world.calls[world.first_call :]
    waits = 4 if "--enable-rollback" in run.argv else 2
    timeout_s = float(run.argv[run.argv.index("-t") + 1])
    bound_s = waits * timeout_s + RETRY_DELAY_S * sum(call.error_code in RETRIED for call in calls)
    spent_s = world.now_s - world.begun_s
    if spent_s > bound_s + 0.01:
        yield f"it took {spent_s:.1f} s, more than {bound_s:.1f} s"
    if world.stopped_by and run.code in (Exit.SIGINT, Exit.SIGTERM):
        number, at_s = world.stopped_by
        bound_s = RETRY_DELAY_S * sum(call.error_code in RETRIED for call in world.calls[number:])
        if world.now_s - at_s > bound_s + 0.01:
            yield f"it went on for {world.now_s - at_s:.1f} s after the signal"


_RULES: tuple[Callable[[Run], Iterator[str]], ...] = (
    _says_nothing_secret_and_knows_what_it_does,
    _exits_0_only_if_asked_for_state_was_there,
    _exits_0_if_asked_for_state_is_there,
    _exits_20_only_if_service_is_back_and_stable,
    _discards_the_failed_revision,
    _registers_once_and_points_at_old_or_new,
    _says_why_it_ended,
    _ends_in_time,
)


def report(run: Run) -> str:
    """The seed, the command line, the world, the calls and the output."""
    world, made = run.world, run.world.made
    calls = [
        f"  {number:4} {call.at_s:8.2f} s  {call.operation} {json.dumps(call.params)[:160]} -> {call.status}"
        for number, call in enumerate(world.calls[world.first_call :])
    ]
    if len(calls) > 200:
        calls[100:-100] = [f"  … {len(calls) - 200} calls …"]
    return "\n".join(
        (
            f"seed {made.seed}: {len(run.wrongs)} wrong", *(f"  ✗ {wrong}" for wrong in run.wrongs),
            f"$ ecs-deploy {shlex.join(run.argv)}    -> {run.code}",
            f"{made}", f"others did: {world.acts}", "calls:", *calls, "stdout:", run.out, "stderr:", run.err,
        )
    )  # fmt: skip
