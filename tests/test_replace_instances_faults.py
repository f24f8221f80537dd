"""Killed at any call, interrupted at any point, disturbed, or two at once: in the end it is as after one quiet run.

REPLACEMENT_SEEDS=5000 python -m pytest -n 2 tests/test_replace_instances_faults.py -k seed     plays more seeds
python -m pytest -n 2 tests/test_replace_instances_faults.py -m long     kills at every single call
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any

import pytest

import ecs_deploy
from ecs_deploy import Exit
from tests.conftest import Cli, Result, _Stream
from tests.simulator import AwsError, Fault, Simulator
from tests.simulator.groups import Group
from tests.simulator.instances import Instance
from tests.test_replace_instances import REPLACE, assert_in_order, assert_replaced, by_refresh, policy, workers

SEEDS = int(os.environ.get("REPLACEMENT_SEEDS", "12"))
CHUNK = 4
EXPIRED = AwsError("ExpiredTokenException", "The security token included in the request is expired")
CHANGING = (
    "CreateOrUpdateTags",
    "SetDesiredCapacity",
    "UpdateContainerInstancesState",
    "TerminateInstanceInAutoScalingGroup",
    "DeleteTags",
    "StartInstanceRefresh",
)
Launch = Callable[[Simulator], tuple[Group, list[Instance]]]


def by_template(sim: Simulator) -> tuple[Group, list[Instance]]:
    group = workers(sim)
    old = group.members
    sim.instances.new_version("workers")
    return group, old


def by_configuration(sim: Simulator) -> tuple[Group, list[Instance]]:
    group = workers(sim, {"LaunchConfigurationName": "small-1"})
    old = group.members
    group.launch = {"LaunchConfigurationName": "small-2"}
    return group, old


def by_policy(sim: Simulator) -> tuple[Group, list[Instance]]:
    group = workers(sim, policy(sim, {"InstanceType": "m5.large"}, {"InstanceType": "c5.large"}))
    old = group.members
    sim.instances.new_version("workers")
    return group, old


def by_itself(sim: Simulator) -> tuple[Group, list[Instance]]:
    """ECS drains what the group terminates."""
    group = by_refresh(sim, protection=True)
    old = group.members
    sim.instances.new_version("workers")
    return group, old


LAUNCHES = [by_template, by_configuration, by_policy, by_itself]


# Killed, or interrupted


class Killer:
    """Ends a run at a call: nothing that it sends afterwards arrives; `after`: that call itself still does."""

    def __init__(self, sim: Simulator, at: int, *, after: bool = False, only: tuple[str, ...] = ()) -> None:
        self.sim, self.at, self.after, self.only = sim, at, after, only
        self.seen = 0
        self.struck = False
        sim.on_call = self.strike

    def strike(self, index: int, operation: str, params: dict[str, Any]) -> Fault | AwsError | None:
        if self.struck:
            return EXPIRED
        if self.only and operation not in self.only:
            return None
        self.seen += 1
        if self.seen <= self.at:
            return None
        self.struck = True
        return Fault.DROP_AFTER if self.after else EXPIRED


def assert_survives(sim: Simulator, cli: Cli, launch: Launch, killer: Callable[[Simulator], Killer]) -> bool:
    """Kill, let some time pass, run again, and hold the end against that of an undisturbed run; False if not killed."""
    sim.reset()
    sim.page_size = 100
    group, old = launch(sim)
    group.boots_s, group.registers_s = 5.0, 4.0
    sim.instances.daemon("prod", "agent")
    killed = killer(sim)
    code = cli(*REPLACE).code
    assert code == (Exit.AWS if killed.struck else Exit.OK)
    sim.on_call = None
    sim.advance((0, 7, 90)[killed.at % 3])
    again = cli(*REPLACE, *(("--take-over",) if killed.at % 2 else ()))
    assert again.code == Exit.OK, (killed.at, again.out, again.err)
    assert_replaced(sim, group, old)
    assert sim.violations == [], killed.at
    return killed.struck


@pytest.mark.parametrize(
    "launch",
    [
        by_template,
        by_itself,
        *(pytest.param(other, marks=pytest.mark.long) for other in (by_configuration, by_policy)),
    ],
)
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_killed_at_a_call_that_changes_something(sim: Simulator, cli: Cli, launch: Launch, after: bool) -> None:
    at = int(after)
    while assert_survives(sim, cli, launch, lambda world: Killer(world, at, after=after, only=CHANGING)):  # noqa: B023
        at += 2
    assert at >= (1 if launch is by_itself else 8)


def test_a_capacity_that_may_have_been_raised_is_said_where_nobody_can_look(sim: Simulator, cli: Cli) -> None:
    by_template(sim)
    Killer(sim, 0, after=True, only=("SetDesiredCapacity",))

    result = cli(*REPLACE)

    assert result.code == Exit.AWS
    assert "workers is left with a desired capacity of 3, 2 before." in result.err


@pytest.mark.long
@pytest.mark.parametrize("part", range(4))
@pytest.mark.parametrize("launch", LAUNCHES)
def test_killed_at_every_single_call(sim: Simulator, cli: Cli, launch: Launch, part: int) -> None:
    at = part
    while assert_survives(sim, cli, launch, lambda world: Killer(world, at)):  # noqa: B023
        at += 4
    assert at > 60


def interrupted_at(sim: Simulator, cli: Cli, launch: Launch, at: int, *more: str) -> bool:
    """A signal during that call, then another run; False if there was no such call."""
    sim.reset()
    sim.page_size = 100
    group, old = launch(sim)
    group.boots_s, group.registers_s = 5.0, 4.0
    calls: list[str] = []

    def strike(index: int, operation: str, params: dict[str, Any]) -> None:
        calls.append(operation)
        if len(calls) == at + 1:
            signal.raise_signal(signal.SIGTERM)

    sim.on_call = strike
    result = cli(*REPLACE, *more)
    sim.on_call = None
    assert result.code == (Exit.SIGTERM if len(calls) > at else Exit.OK), (at, result.err)
    if result.code != Exit.OK:
        left = [instance for instance in old if instance.draining and instance.lifecycle == "InService"]
        assert not any(sim.instances.kept_by(instance) for instance in left), at
        raised = group.desired > 2
        assert raised == ("is left with a desired capacity of 3, 2 before" in result.err), (at, result.err)
        assert bool(group.tags) == raised, at
        assert (group.refresh is None) or ("goes on. To cancel it:" in result.err), at
    again = cli(*REPLACE)
    assert again.code == Exit.OK, (at, again.out, again.err)
    assert_replaced(sim, group, old)
    assert sim.violations == [], at
    return result.code != Exit.OK


@pytest.mark.parametrize(
    ("launch", "step"),
    [
        (by_template, 17),
        (by_itself, 17),
        *(pytest.param(launch, 1, marks=pytest.mark.long) for launch in (by_template, by_itself)),
    ],
)
def test_a_signal_at_any_call(sim: Simulator, cli: Cli, launch: Launch, step: int) -> None:
    at = 0
    while interrupted_at(sim, cli, launch, at):
        at += step
    assert at > 40


# Two runs at once


class Baton:
    """One run goes on at a time; it passes the baton on at every call and every sleep, to whom the seed says."""

    def __init__(self, sim: Simulator, random: Random) -> None:
        self.sim, self.random = sim, random
        self.changed = threading.Condition()
        self.alive: list[int] = []
        self.wakes: dict[int, float] = {}
        self.turn = -1

    def pass_on(self) -> None:
        awake = [number for number in self.alive if number not in self.wakes]
        if awake:
            self.turn = self.random.choice(awake)
        elif self.wakes:
            self.turn = min(self.wakes, key=lambda number: self.wakes[number])
            self.sim.advance(max(0.0, self.wakes.pop(self.turn) - self.sim.world.now_s))
        self.changed.notify_all()

    def wait(self, number: int, until_s: float | None = None) -> None:
        with self.changed:
            if until_s is not None:
                self.wakes[number] = until_s
            self.pass_on()
            assert self.changed.wait_for(lambda: self.turn == number, timeout=60)

    def leave(self, number: int) -> None:
        with self.changed:
            self.alive.remove(number)
            self.pass_on()


class SharedClock:
    """The clock of one of several runs."""

    def __init__(self, baton: Baton, number: int) -> None:
        self.baton, self.number = baton, number

    def now(self) -> float:
        self.baton.wait(self.number)
        return self.baton.sim.world.now_s

    def sleep(self, seconds: float) -> None:
        self.baton.wait(self.number, self.baton.sim.world.now_s + seconds)


def side_by_side(sim: Simulator, random: Random, arguments: list[list[str]]) -> list[Result]:
    """The runs, each in a thread of its own."""
    baton = Baton(sim, random)
    baton.alive = list(range(len(arguments)))
    results: dict[int, Result] = {}

    def run(number: int) -> None:
        out, err = _Stream(None), _Stream(None)
        with baton.changed:
            assert baton.changed.wait_for(lambda: baton.turn == number, timeout=60)
        try:
            clock = SharedClock(baton, number)
            code = ecs_deploy.main(arguments[number], env=os.environ, out=out, err=err, clock=clock)
            results[number] = Result(int(code), out.getvalue(), err.getvalue())
        finally:
            baton.leave(number)

    threads = [threading.Thread(target=run, args=(number,)) for number in baton.alive]
    for thread in threads:
        thread.start()
    with baton.changed:
        baton.pass_on()
    for thread in threads:
        thread.join()
    return [results[number] for number in sorted(results)]


@pytest.mark.parametrize("launch", [by_template, by_itself, by_policy])
@pytest.mark.parametrize("seed", [*range(4), *(pytest.param(seed, marks=pytest.mark.long) for seed in range(4, 40))])
def test_two_runs_side_by_side(sim: Simulator, monkeypatch: pytest.MonkeyPatch, launch: Launch, seed: int) -> None:
    for name, value in sim.environment().items():
        monkeypatch.setenv(name, value)
    random = Random(seed)
    sim.page_size = 100
    group, old = launch(sim)
    more = [random.choice([[], ["--batch", "2"], ["--take-over"]]) for _ in range(2)]

    results = side_by_side(sim, random, [[*REPLACE, *each] for each in more])

    assert [result.code for result in results] == [Exit.OK, Exit.OK], [result.err for result in results]
    assert_replaced(sim, group, old)
    assert sum("Started instance refresh" in result.out for result in results) == (launch is by_itself)


# Seeds


class Mishaps:
    """What one seed lets go wrong: with calls, with answers, with the run itself, and by what others do."""

    def __init__(self, sim: Simulator, random: Random, group: Group) -> None:
        self.sim, self.random, self.group = sim, random, group
        self.rate = random.choice((0.0, 0.02, 0.1))
        self.kill_at = random.choice((None, random.randrange(200)))
        self.killed = False
        self.over = False
        self.calls = 0

    def while_it_runs(self, act: Callable[[], object]) -> None:
        """Have that done at some time, if the run still goes on then."""
        self.sim.world.at(self.sim.now_s + self.random.uniform(0, 120), lambda: None if self.over else act())

    def plan(self) -> None:
        if self.random.random() < 0.3:
            self.while_it_runs(partial(signal.raise_signal, signal.SIGTERM))
        others = [self.lose_an_agent, self.remove_the_tag, self.drain_one, self.deploy, self.leave_out]
        for act in self.random.sample(others, self.random.randrange(3)):
            self.while_it_runs(act)

    def lose_an_agent(self) -> None:
        """For a while."""
        instance = self.random.choice(self.sim.instances.alive())
        instance.agent_connected = False
        self.sim.world.at(self.sim.now_s + 20, lambda: setattr(instance, "agent_connected", True))

    def remove_the_tag(self) -> None:
        """An operator tidies up: harmless as long as the run lives that has set it."""
        if self.group.desired == 2:
            self.group.tags.clear()

    def drain_one(self) -> None:
        instance = self.random.choice(self.sim.instances.alive())
        if instance.container_status == "ACTIVE" and instance in self.group.outdated():
            self.sim.instances.set_status(instance, "DRAINING")

    def deploy(self) -> None:
        self.sim.someone_deploys("prod", "web", f"app:{self.random.randrange(9)}")

    def leave_out(self) -> None:
        answers = ["DescribeTasks", "DescribeServices", "DescribeContainerInstances"]
        self.sim.world.leaves_out = self.random.sample(answers, 2)

    def happen(self, index: int, operation: str, params: dict[str, Any]) -> Fault | AwsError | None:
        self.calls += 1
        if self.killed:
            return EXPIRED
        if self.calls == self.kill_at:
            self.killed = True
            return self.random.choice((EXPIRED, Fault.DROP_AFTER))
        if self.random.random() < self.rate:
            return self.random.choice((Fault.THROTTLED, Fault.SERVER_ERROR, Fault.DROP_BEFORE, Fault.DROP_AFTER))
        return None


def furnish(sim: Simulator, random: Random) -> tuple[Group, list[Instance]]:
    sim.page_size = random.choice((2, 100))
    group, old = random.choice(LAUNCHES)(sim)
    group.boots_s, group.registers_s = random.uniform(1, 40), random.uniform(0, 20)
    group.deregisters_s, group.hook_s = random.choice((0.0, 30.0)), random.choice((0.0, 0.0, 25.0))
    for number in range(random.randrange(3)):
        image = f"app-{number}:1"
        sim.image(image).starts_after(random.uniform(0, 30))
        service = sim.service("prod", f"service-{number}", image, desired_count=random.randrange(6))
        service.drain_s = random.choice((0.0, 1.0, 30.0))
    if random.random() < 0.5:
        sim.instances.daemon("prod", "agent")
    return group, old


def play(sim: Simulator, cli: Cli, seed: int) -> None:
    """Runs with mishaps, then one without, which must succeed."""
    sim.reset()
    random = Random(seed)
    group, old = furnish(sim, random)
    spot = random.random() < 0.3  # then tasks and targets may be missing through nobody's fault
    for _ in range(random.randrange(1, 4)):
        arguments = [*REPLACE, "--batch", random.choice(("1", "2", "50%")), "-t", random.choice(("20", "60", "900"))]
        mishaps = Mishaps(sim, random, group)
        mishaps.plan()
        sim.on_call = mishaps.happen
        if spot:
            mishaps.while_it_runs(lambda: sim.instances.vanish(random.choice(sim.instances.alive())))
        result = cli(*arguments)
        sim.on_call, mishaps.over, sim.world.leaves_out = None, True, []
        assert_honest(sim, result, group)
        group.launches = random.random() < 0.8
        sim.advance(random.choice((0, 3, 100)))
    group.launches = True
    group.reconcile()
    sim.advance(60)
    final = cli(*REPLACE, "-t", "900")
    assert final.code == Exit.OK, (final.out, final.err)
    assert_replaced(sim, group, old)
    if spot:
        sim.violations[:] = [violation for violation in sim.violations if " of " not in violation]
    assert sim.violations == []


def assert_honest(sim: Simulator, result: Result, group: Group) -> None:
    """Success only if nothing out of date is left; a failure says that the capacity is not as before, if it can."""
    expected = (Exit.OK, Exit.AWS, Exit.FAILED, Exit.TIMED_OUT, Exit.SIGTERM)
    assert result.code in expected, result.err
    if result.code == Exit.OK:
        assert group.outdated() == []
        assert group.desired == 2
        assert group.tags == {}
    elif group.desired > 2 and result.changes:
        assert "is left with a desired capacity of" in result.err, result.err
    assert sim.instances.killed == []


@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_a_seed_of_faults_ends_in_order(sim: Simulator, cli: Cli, first: int) -> None:
    for seed in range(first, first + CHUNK):
        try:
            play(sim, cli, seed)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error


@pytest.mark.parametrize("act", ["raise", "lower", "standby", "protect", "spot"])
@pytest.mark.parametrize("at_s", [14, 36, 70, *(pytest.param(at_s, marks=pytest.mark.long) for at_s in (3, 27, 45))])
def test_an_operator_who_does_something_else_meanwhile(sim: Simulator, cli: Cli, act: str, at_s: float) -> None:
    group = sim.instances.group("workers", "prod", desired=3)
    sim.service("prod", "web", desired_count=3)
    sim.instances.new_version("workers")

    def meddle() -> None:
        instance = group.members[-1]
        if act in ("raise", "lower"):
            group.desired += 1 if act == "raise" else -1
        elif act == "standby" and instance.lifecycle == "InService":
            instance.lifecycle, group.desired = "Standby", group.desired - 1
        elif act == "protect":
            instance.protected = True
        elif act == "spot":
            sim.instances.vanish(instance)

    sim.world.at(sim.now_s + at_s, meddle)
    result = cli(*REPLACE, "-t", "300")

    assert (result.code == Exit.OK) == (group.outdated() == []), (result.out, result.err)
    assert sim.instances.killed == []
    sim.advance(60)
    standby = [instance for instance in group.members if instance.lifecycle == "Standby"]
    if standby and result.code == Exit.OK:
        assert standby[0] not in group.outdated()
    if result.code == Exit.OK and act not in ("raise", "standby", "lower"):
        assert_in_order(sim, group, desired=3)
    assert group.tags == {} or "is left with a desired capacity of" in result.err
