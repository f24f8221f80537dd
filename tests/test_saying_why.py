"""Saying why: what counts as a failure, its reasons, and the last lines of what stopped."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.conftest import Cli
from tests.simulator import Fault, Simulator
from tests.vocabulary import BREAKER, DEPLOY, Json, last_paragraph

# --- Failure


@pytest.mark.parametrize(
    ("script", "reason", "cause"),
    [
        pytest.param(lambda image: image.crashes(exit_code=3), "exit code 3", "the application ends by itself"),
        pytest.param(lambda image: image.cannot_be_pulled(), "CannotPullContainerError", "the image cannot be pulled"),
        pytest.param(lambda image: image.out_of_memory(), "OutOfMemoryError", "ran out of memory"),
        pytest.param(
            lambda image: image.cannot_be_pulled("ResourceInitializationError: unable to pull secrets"),
            "ResourceInitializationError", "ECS could not prepare the task",
        ),
        pytest.param(lambda image: image.cannot_be_placed(), "unable to place a task", "there is no room"),
        pytest.param(
            lambda image: image.crashes(reason="exec format error"), "exec format error", "another CPU architecture"
        ),
    ],
    ids=["crashes", "no image", "out of memory", "no secrets", "no room", "wrong architecture"],
)  # fmt: skip
def test_what_ecs_gives_up_on_is_a_failure_that_says_why(
    sim: Simulator, cli: Cli, script: Any, reason: str, cause: str
) -> None:
    breaker = {"deploymentCircuitBreaker": {"enable": True, "rollback": False}}
    sim.service("prod", "web", image="app:1", deploymentConfiguration=breaker)
    script(sim.image("app:2"))

    result = cli(*DEPLOY, "-t", "300")

    assert result.code == 1
    assert reason in result.err
    assert cause in last_paragraph(result)[1]
    assert "Service deployment successful." not in result.out
    assert f"The deployment {sim.services['prod', 'web'].deployments[0].id} of service web failed" in result.err


def test_a_rollback_of_the_circuit_breaker_is_a_failure(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1", deploymentConfiguration=BREAKER)
    sim.image("app:2").crashes(after_s=2)

    result = cli(*DEPLOY, "-t", "300")

    assert result.code == 1
    assert "Service deployment successful." not in result.out
    assert "failed, and the service is going back: " in last_paragraph(result)[0]
    assert "ECS deployment circuit breaker: rolling back to deploymentId ecs-svc/" in last_paragraph(result)[0]
    assert "3 × EssentialContainerExited: Essential container in task exited" in result.err


@pytest.mark.parametrize("reuses_id", [True, False])
def test_a_rollback_that_ended_between_two_looks_is_a_failure(sim: Simulator, cli: Cli, reuses_id: bool) -> None:
    sim.world.rollback_reuses_id = reuses_id
    service = sim.service("prod", "web", image="app:1", deploymentConfiguration=BREAKER, drain_s=0)
    sim.image("app:2").crashes(after_s=1)
    sim.world.on_call = lambda index, operation, params: (
        Fault.THROTTLED if operation == "DescribeServices" and sim.world.now_s > 3 and not service.is_steady else None
    )

    result = cli(*DEPLOY, "-t", "600")

    assert result.code == 1
    assert "failed, and the service went back: " in last_paragraph(result)[0]
    assert sim.running("prod", "web") == {"app:1": 1}


def test_an_alarm_that_rolls_back_is_a_failure(sim: Simulator, cli: Cli) -> None:
    alarms = {"alarms": {"alarmNames": ["errors"], "enable": True, "rollback": True}}
    sim.service("prod", "web", image="app:1", deploymentConfiguration=alarms).alarm_fires(at_s=5)

    result = cli(*DEPLOY)

    assert result.code == 1
    assert "alarm detected; ECS is rolling back" in last_paragraph(result)[0]
    assert "Likeliest cause: a CloudWatch alarm of the service went off." in last_paragraph(result)[1]


def test_a_newer_deployment_of_somebody_else_is_superseding_and_left_alone(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")
    sim.image("app:2").starts_after(60)
    sim.world.at(5, lambda: sim.someone_deploys("prod", "web", "app:3"))

    result = cli(*DEPLOY, "--enable-rollback")

    assert result.code == 23
    assert "was superseded: " in last_paragraph(result)[0]
    assert last_paragraph(result)[1] == "Somebody else deployed in the meantime; their deployment was left alone."
    assert result.changes == ["RegisterTaskDefinition", "UpdateService"]
    assert sim.active_revisions("web") == [1, 2, 3]


@pytest.mark.parametrize("gone", ["DRAINING", "INACTIVE"])
def test_a_service_that_is_deleted_under_way_is_a_failure(sim: Simulator, cli: Cli, gone: str) -> None:
    service = sim.service("prod", "web", image="app:1", drain_s=30 if gone == "DRAINING" else 0)
    sim.image("app:2").starts_after(60)
    sim.world.at(5, service.delete)

    result = cli(*DEPLOY, "--enable-rollback")

    assert result.code == 1
    words = {"DRAINING": "the service is being deleted (DRAINING)", "INACTIVE": "the service was deleted"}
    assert f"cannot complete: {words[gone]}." in last_paragraph(result)[0]
    assert last_paragraph(result)[1] == "Create the service again, or deploy to another one."


def test_after_as_many_stopped_tasks_as_allowed_it_gives_up(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")
    sim.image("app:2").crashes(after_s=2)

    result = cli(*DEPLOY, "--fail-fast", "2", "-t", "600")

    assert result.code == 1
    assert "2 of its tasks stopped (--fail-fast)" in last_paragraph(result)[0]
    assert sim.now_s < 30


def test_a_service_that_is_gone_without_a_trace_is_a_failure(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")
    sim.image("app:2").starts_after(60)
    sim.world.at(5, lambda: sim.services.pop(("prod", "web")))

    result = cli(*DEPLOY)

    assert result.code == 1
    assert "cannot complete: the service was deleted." in last_paragraph(result)[0]


def test_a_deployment_that_is_superseded_within_the_answer_of_the_update(
    sim: Simulator, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = sim.service("prod", "web", image="app:1")
    deploy = service.deploy

    def lose_the_race(definition: Any) -> Any:
        monkeypatch.setattr(service, "deploy", deploy)
        ours = deploy(definition)
        sim.someone_deploys("prod", "web", "app:3")
        return ours

    monkeypatch.setattr(service, "deploy", lose_the_race)

    result = cli(*DEPLOY)

    assert result.code == 23
    assert f"{service.primary.id} (web:3) is the service's PRIMARY deployment now." in result.err


# --- Logs of what stopped


def logged(name: str, **more: Any) -> Json:
    """A container whose log goes to CloudWatch."""
    options = {"awslogs-group": "/ecs/web", "awslogs-region": "us-east-1", "awslogs-stream-prefix": "ecs"}
    log = {"logDriver": "awslogs", "options": options}
    return {"name": name, "image": "app:1", "memory": 64, "logConfiguration": log, **more}


NO_WAY_BACK = {"deploymentCircuitBreaker": {"enable": True, "rollback": False}}


def test_the_last_lines_of_what_stopped_are_shown(sim: Simulator, cli: Cli) -> None:
    containers = [{"name": "proxy", "image": "envoy:v1", "memory": 64}, logged("web")]
    sim.service("prod", "web", containers=containers, deploymentConfiguration=NO_WAY_BACK)
    sim.image("app:2").crashes(after_s=2).logs([f"line {number}" for number in range(30)])

    result = cli(*DEPLOY, "-t", "300", "--output", "json")

    shown = re.findall(r"^  \| (line \d+)$", result.err, re.MULTILINE)
    assert result.code == 1
    assert shown == [f"line {number}" for number in range(10, 30)]
    assert re.search(r"Last log lines of container web \(/ecs/web ecs/web/[0-9a-f]{32}\):", result.err)
    assert json.loads(result.out)["logs"][0]["lines"] == shown


def test_a_log_without_lines_is_not_shown(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", containers=[logged("web")], deploymentConfiguration=NO_WAY_BACK)
    sim.image("app:2").crashes(after_s=2)

    result = cli(*DEPLOY, "-t", "300")

    assert result.code == 1
    assert "Last log lines" not in result.err


def test_a_log_without_a_prefix_has_no_known_stream(sim: Simulator, cli: Cli) -> None:
    container = logged("web")
    del container["logConfiguration"]["options"]["awslogs-stream-prefix"]
    sim.service("prod", "web", containers=[container], deploymentConfiguration=NO_WAY_BACK)
    sim.image("app:2").crashes(after_s=2).logs(["unseen"])

    result = cli(*DEPLOY, "-t", "300")

    assert result.code == 1
    assert "exit code 1" in result.err
    assert "GetLogEvents" not in result.operations


def test_the_log_of_a_container_that_never_started_is_not_asked_for(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", containers=[logged("web")], deploymentConfiguration=NO_WAY_BACK)
    sim.image("app:2").cannot_be_pulled()

    result = cli(*DEPLOY, "-t", "300")

    assert result.code == 1
    assert "GetLogEvents" not in result.operations


def test_a_log_that_may_not_be_read_does_not_hide_the_failure(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", containers=[logged("web")], deploymentConfiguration=NO_WAY_BACK)
    sim.image("app:2").crashes(after_s=2)
    sim.deny("logs:GetLogEvents")

    result = cli(*DEPLOY, "-t", "300")

    assert result.code == 1
    assert re.search(r"The log /ecs/web ecs/web/\w+ cannot be read \(AccessDeniedException\)\.", result.err)
    assert "exit code 1" in result.err


def test_stopped_tasks_that_may_not_be_read_do_not_hide_the_failure(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1", deploymentConfiguration=NO_WAY_BACK)
    sim.image("app:2").crashes(after_s=2)
    sim.deny("ecs:ListTasks")

    result = cli(*DEPLOY, "-t", "300")

    assert result.code == 1
    assert result.err.count("The stopped tasks cannot be read. AWS denied ListTasks") == 1
    assert "Likeliest cause: ECS gave no reason" not in last_paragraph(result)[0]
