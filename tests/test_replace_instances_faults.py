"""Killed at any call, or under faults of all kinds: started again it ends where an undisturbed run ends.

REPLACEMENT_SEEDS=5000 python -m pytest -n 2 tests/test_replace_instances_faults.py -k seed     plays more seeds
python -m pytest -n 2 tests/test_replace_instances_faults.py -m long     kills at every single call
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from ecs_deploy import Exit
from tests.conftest import Cli, Result
from tests.simulator import AwsError, Fault, Simulator
from tests.simulator.groups import Group
from tests.simulator.instances import Instance
from tests.test_replace_instances import REPLACE, assert_replaced, policy, workers

SEEDS = int(os.environ.get("REPLACEMENT_SEEDS", "10"))
CHUNK = 5
EXPIRED = AwsError("ExpiredTokenException", "The security token included in the request is expired")
CHANGING = ("CreateTags", "DetachInstances", "UpdateContainerInstancesState", "TerminateInstances")
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


LAUNCHES = [by_template, by_configuration, by_policy]


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
    again = cli(*REPLACE)
    assert again.code == Exit.OK, (killed.at, again.out, again.err)
    assert_replaced(sim, group, old)
    assert sim.violations == [], killed.at
    return killed.struck


@pytest.mark.parametrize(
    "launch", [by_template, *(pytest.param(other, marks=pytest.mark.long) for other in (by_configuration, by_policy))]
)
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_killed_at_a_call_that_changes_something(sim: Simulator, cli: Cli, launch: Launch, after: bool) -> None:
    at = 0
    while assert_survives(sim, cli, launch, lambda world: Killer(world, at, after=after, only=CHANGING)):  # noqa: B023
        at += 1
    assert at == 8


@pytest.mark.long
@pytest.mark.parametrize("part", range(4))
def test_killed_at_every_single_call(sim: Simulator, cli: Cli, part: int) -> None:
    at = part
    while assert_survives(sim, cli, by_template, lambda world: Killer(world, at)):  # noqa: B023
        at += 4
    assert at > 60


@pytest.mark.long
@pytest.mark.parametrize("launch", [by_configuration, by_policy])
def test_killed_at_every_fourth_call(sim: Simulator, cli: Cli, launch: Launch) -> None:
    at = 0
    while assert_survives(sim, cli, launch, lambda world: Killer(world, at)):  # noqa: B023
        at += 4
    assert at > 60


@pytest.mark.long
@pytest.mark.parametrize("at", range(9))
def test_killed_while_it_puts_back_what_was_begun(sim: Simulator, cli: Cli, at: int) -> None:
    sim.page_size = 100
    group, old = by_template(sim)
    group.launches = False
    sim.advance(1)

    def after_the_time_out(index: int, operation: str, params: dict[str, Any]) -> AwsError | None:
        return EXPIRED if sim.now_s > 59 and next(calls) >= at else None

    calls = iter(range(1000))
    sim.on_call = after_the_time_out
    assert cli(*REPLACE, "-t", "50").code in (Exit.AWS, Exit.TIMED_OUT)
    sim.on_call, group.launches = None, True
    group.reconcile()

    result = cli(*REPLACE)

    assert result.code == Exit.OK
    assert_replaced(sim, group, old)


# Seeds


class Mishaps:
    """What one seed lets go wrong: with calls, with instances, and with the run itself."""

    def __init__(self, sim: Simulator, random: Random) -> None:
        self.sim, self.random = sim, random
        self.rate = random.choice((0.0, 0.02, 0.1))
        self.kill_at = random.choice((None, random.randrange(150)))
        self.killed = False
        self.over = False
        self.calls = 0

    def interrupt(self) -> None:
        """A signal, if the run still goes on."""
        if not self.over:
            signal.raise_signal(signal.SIGTERM)

    def take_away_one(self) -> None:
        """A spot instance, if the run still goes on."""
        if not self.over:
            self.sim.instances.vanish(self.random.choice(self.sim.instances.alive()))

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
    spot = random.random() < 0.3  # then tasks may be missing through nobody's fault
    for _ in range(random.randrange(1, 4)):
        arguments = [*REPLACE, "--batch", random.choice(("1", "2", "50%")), "-t", random.choice(("20", "60", "900"))]
        mishaps = Mishaps(sim, random)
        sim.on_call = mishaps.happen
        if random.random() < 0.3:
            sim.world.at(sim.now_s + random.uniform(0, 90), mishaps.interrupt)
        if spot:
            sim.world.at(sim.now_s + random.uniform(0, 90), mishaps.take_away_one)
        result = cli(*arguments)
        sim.on_call, mishaps.over = None, True
        assert_honest(sim, result, old)
        group.launches = random.random() < 0.8
        sim.advance(random.choice((0, 3, 100)))
    group.launches = True
    group.reconcile()
    final = cli(*REPLACE, "-t", "900")
    assert final.code == Exit.OK, final.err
    # an instance that is taken away after it was attached again cannot take its capacity back with it
    assert_replaced(sim, group, old, desired=group.desired if spot else 2)
    if spot:
        sim.violations[:] = [violation for violation in sim.violations if " of " not in violation]
    assert sim.violations == []


def assert_honest(sim: Simulator, result: Result, old: list[Instance]) -> None:
    """Success only if nothing old is left; a failure names every instance that it leaves detached, if it still can."""
    assert result.code in (Exit.OK, Exit.AWS, Exit.TIMED_OUT, Exit.SIGTERM), result.err
    if result.code == Exit.OK:
        assert not any(instance.state == "running" for instance in old)
    for instance in old:
        if instance.state == "running" and not instance.group and result.changes:
            assert f"{instance.id} is left detached" in result.err, result.err
    assert sim.instances.killed == []


@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_a_seed_of_faults_ends_in_order(sim: Simulator, cli: Cli, first: int) -> None:
    for seed in range(first, first + CHUNK):
        try:
            play(sim, cli, seed)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
