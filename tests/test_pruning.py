"""Pruning: which old revisions go after a success."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

from tests.conftest import Cli, SimClock
from tests.simulator import Fault, Simulator
from tests.vocabulary import DEPLOY, PREFIX, Json


def test_the_oldest_revisions_beyond_the_newest_are_deregistered_after_success(sim: Simulator, cli: Cli) -> None:
    for _ in range(11):
        sim.task_definition("web", "app:1")
    sim.service("prod", "web", image="app:1")

    result = cli(*DEPLOY, "--max-definitions", "3")

    assert result.code == 0
    assert sim.active_revisions("web") == [11, 12, 13]
    assert "Warning" not in result.err
    assert result.operations[-11:] == ["DescribeServices", *["DeregisterTaskDefinition"] * 10]
    assert result.lines[-10:] == [f"Deregistering outdated task revision: {PREFIX}/web:{n}" for n in range(1, 11)]


def test_families_whose_name_begins_the_same_are_left_alone(
    sim: Simulator, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ECS is said to take `familyPrefix` for the whole name; here it takes it for what it is called."""
    of_family = sim.definitions.of_status
    sim.service("prod", "web", image="app:1")
    for _ in range(3):
        sim.task_definition("web-admin", "app:1")

    def of_prefix(prefix: str, status: str) -> list[Any]:
        families = [family for family in sim.definitions.families if family.startswith(prefix)]
        return [found for family in families for found in of_family(family, status)]

    with monkeypatch.context() as patch:
        patch.setattr(sim.definitions, "of_status", of_prefix)
        result = cli(*DEPLOY, "--max-definitions", "1")

    assert result.code == 0
    assert sim.active_revisions("web") == [2]
    assert sim.active_revisions("web-admin") == [1, 2, 3]


def test_an_error_of_awss_own_is_no_throttle_and_sat_out_for_some_attempts_only(sim: Simulator, cli: Cli) -> None:
    sim.cluster("prod")
    sim.task_definition("job", "app:1")
    sim.on_call = lambda index, operation, params: Fault.SERVER_ERROR if operation.startswith("Deregister") else None

    result = cli("-c", "prod", "-d", "job", "-i", "app:2", "--max-definitions", "1")

    assert result.code == 0
    assert result.operations.count("DeregisterTaskDefinition") == 5
    assert "job:1 is not deregistered. AWS had an error of its own in DeregisterTaskDefinition" in result.err


def test_a_signal_ends_it_before_the_pause_for_ecss_throttle(sim: Simulator, cli: Cli, clock: SimClock) -> None:
    sim.cluster("prod")
    for _ in range(30):
        sim.task_definition("job", "app:1")
    slept: list[int] = []

    def interrupt(index: int, operation: str, params: Json) -> None:
        if params.get("taskDefinition", "").endswith("/job:22"):
            signal.raise_signal(signal.SIGTERM)
            slept.append(len(clock.slept))

    sim.on_call = interrupt

    result = cli("-c", "prod", "-d", "job", "-i", "app:2", "--max-definitions", "1")

    assert result.code == 143
    assert slept == [len(clock.slept)] != [0]


def test_revisions_that_a_deployment_uses_are_kept(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1", drain_s=500)
    for _ in range(3):
        sim.task_definition("web", "app:1")

    result = cli(*DEPLOY, "--max-definitions", "1", "--skip-deployments-check")

    assert result.code == 0
    assert sim.active_revisions("web") == [1, 5]


def test_nothing_is_pruned_after_a_failure(sim: Simulator, cli: Cli) -> None:
    for _ in range(4):
        sim.task_definition("web", "app:1")
    sim.service("prod", "web", image="app:1")
    sim.image("app:2").starts_after(500)

    result = cli(*DEPLOY, "-t", "10", "--max-definitions", "1")

    assert result.code == 22
    assert sim.active_revisions("web") == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("denied", "said"),
    [
        ("ecs:DeregisterTaskDefinition", f"Warning: {PREFIX}/web:1 is not deregistered. AWS denied"),
        ("ecs:ListTaskDefinitions", "Warning: The old revisions of web are not deregistered. AWS denied"),
    ],
)
def test_a_refused_deregistration_is_a_warning(sim: Simulator, cli: Cli, denied: str, said: str) -> None:
    sim.task_definition("web", "app:1")
    sim.service("prod", "web", image="app:1")
    sim.deny(denied)

    result = cli(*DEPLOY, "--max-definitions", "2")

    assert result.code == 0
    assert said in result.err
    assert sim.active_revisions("web") == [1, 2, 3]


def test_a_signal_says_that_only_old_revisions_are_left(sim: Simulator, cli: Cli) -> None:
    for _ in range(3):
        sim.task_definition("web", "app:1")
    sim.service("prod", "web", image="app:1")

    def on_call(_: int, operation: str, __: Json) -> None:
        if operation == "DeregisterTaskDefinition":
            os.kill(os.getpid(), signal.SIGTERM)

    sim.world.on_call = on_call

    result = cli(*DEPLOY, "--max-definitions", "1")

    assert result.code == 143
    said = "SIGTERM: all else is done and stays; the outdated revisions are not all deregistered."
    assert result.err.splitlines()[-2:] == [said, "Interrupted."]
    assert sim.active_revisions("web") == [2, 3, 4, 5]


def test_registering_and_deregistering_keep_within_the_budget_of_aws(sim: Simulator, cli: Cli) -> None:
    for _ in range(60):
        sim.task_definition("web", "app:1")
    sim.service("prod", "web", image="app:1")
    sim.world.throttles = True

    result = cli(*DEPLOY, "--max-definitions", "1")

    assert result.code == 0
    assert sim.active_revisions("web") == [62]
    assert not [call for call in result.calls if call.error_code]
