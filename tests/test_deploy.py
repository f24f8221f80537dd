"""Deploying a service: what is asked, how it is followed, how it ends, and what is left behind."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest

import ecs_deploy
from tests.conftest import Cli, Result, SimClock
from tests.simulator import AwsError, Fault, Simulator

Json = dict[str, Any]
PREFIX = "arn:aws:ecs:us-east-1:123456789012:task-definition"
WEB = ("-c", "prod", "-n", "web")
DEPLOY = (*WEB, "-i", "app:2")
BREAKER = {"deploymentCircuitBreaker": {"enable": True, "rollback": True}}


def last_paragraph(result: Result) -> list[str]:
    """What stands at the end of stderr, from the last ERROR on."""
    return ("ERROR:" + result.err.rpartition("ERROR:")[2]).splitlines()


# --- Success


@pytest.mark.parametrize("desired_count", [1, 3])
def test_a_deployment_is_followed_to_its_end(sim: Simulator, cli: Cli, desired_count: int) -> None:
    sim.service("prod", "web", image="app:1", desired_count=desired_count)

    result = cli(*DEPLOY)

    assert result.code == 0
    assert result.changes == ["RegisterTaskDefinition", "UpdateService"]
    assert sim.steady("prod", "web")
    assert sim.running("prod", "web") == {"app:2": desired_count}


def test_a_service_without_rollout_states_is_done_when_the_new_tasks_are_alone(sim: Simulator, cli: Cli) -> None:
    balancer = {"loadBalancerName": "classic", "containerName": "web", "containerPort": 80}
    sim.service("prod", "web", image="app:1", desired_count=2, loadBalancers=[balancer], drain_s=20)

    result = cli(*DEPLOY)

    assert result.code == 0
    assert result.lines[-1] == "Service deployment successful."
    assert sim.running("prod", "web") == {"app:2": 2}
    assert len(sim.services["prod", "web"].deployments) == 1


def test_without_rollout_states_a_deployment_that_is_alone_but_not_yet_running_is_not_done(
    sim: Simulator, cli: Cli
) -> None:
    balancer = {"loadBalancerName": "classic", "containerName": "web", "containerPort": 80}
    one_after_the_other = {"minimumHealthyPercent": 0, "maximumPercent": 100}
    sim.service(
        "prod",
        "web",
        image="app:1",
        desired_count=2,
        loadBalancers=[balancer],
        deploymentConfiguration=one_after_the_other,
    )
    sim.image("app:2").starts_after(20)

    result = cli(*DEPLOY)

    assert result.code == 0
    assert sim.running("prod", "web") == {"app:2": 2}


@pytest.mark.parametrize("reads", [1, 5])
def test_the_update_may_not_be_visible_at_once(sim: Simulator, cli: Cli, reads: int) -> None:
    sim.service("prod", "web", image="app:1")
    sim.world.stale_reads = reads

    result = cli(*DEPLOY)

    assert result.code == 0
    assert sim.steady("prod", "web")


def test_a_deployment_that_never_becomes_visible_is_superseded_after_15_seconds(
    sim: Simulator, cli: Cli, clock: SimClock
) -> None:
    sim.service("prod", "web", image="app:1", desired_count=0)
    sim.world.stale_reads = 1000
    sim.services["prod", "web"].scale(1)

    result = cli(*WEB, "--force-new-deployment")

    assert result.code == 23
    assert clock.now() == 15


def test_the_definition_that_is_back_after_15_unseen_seconds_is_a_failure(
    sim: Simulator, cli: Cli, clock: SimClock
) -> None:
    sim.service("prod", "web", image="app:1")
    sim.world.stale_reads = 1000

    result = cli(*DEPLOY)

    assert result.code == 1
    assert clock.now() == 15
    assert "Service deployment successful." not in result.out


@pytest.mark.parametrize("strategy", [{}, {"strategy": "BLUE_GREEN"}], ids=["rolling", "blue/green"])
def test_minimum_and_maximum_are_merged_into_the_live_configuration(sim: Simulator, cli: Cli, strategy: Json) -> None:
    live = {**BREAKER, "alarms": {"alarmNames": ["errors"], "enable": True, "rollback": True}, **strategy}
    sim.service("prod", "web", image="app:1", deploymentConfiguration=live)

    result = cli(*DEPLOY, "--min", "0", "-M", "150")

    (update,) = result.requests("UpdateService")
    assert result.code == 0
    assert update["deploymentConfiguration"] == {**live, "minimumHealthyPercent": 0, "maximumPercent": 150}
    assert sim.services["prod", "web"].configuration == update["deploymentConfiguration"]


@pytest.mark.parametrize(
    ("options", "sent"),
    [
        pytest.param(["-D", "3"], {"desiredCount": 3}, id="a count"),
        pytest.param(["-D", "0"], {"desiredCount": 0}, id="zero"),
        pytest.param(["-D", "-1"], {}, id="a negative count is not given"),
        pytest.param([], {}, id="nothing"),
    ],
)
def test_a_desired_count_is_sent_only_if_given(sim: Simulator, cli: Cli, options: list[str], sent: Json) -> None:
    sim.service("prod", "web", image="app:1", desired_count=2)

    (update,) = cli(*DEPLOY, *options).requests("UpdateService")

    assert update == {"cluster": "prod", "service": "web", "taskDefinition": f"{PREFIX}/web:2", **sent}


def test_a_service_that_runs_nothing_only_waits_for_its_deployment(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1", desired_count=0)

    result = cli(*DEPLOY)

    assert result.code == 0
    assert result.lines[3:] == [
        "Skipping check for running task definition, as desired-count <= 0",
        "Waiting for service deployment to complete...",
        "Service deployment successful.",
    ]


def test_a_cluster_and_a_service_can_be_given_as_arns(sim: Simulator, cli: Cli) -> None:
    service = sim.service("prod", "web", image="app:1")

    result = cli("-c", sim.cluster_arn("prod"), "-n", service.arn, "-i", "app:2")

    assert result.code == 0
    assert sim.running("prod", "web") == {"app:2": 1}


# --- The two waits


def test_each_wait_has_the_whole_time_out(sim: Simulator, cli: Cli, clock: SimClock) -> None:
    sim.service("prod", "web", image="app:1", drain_s=25)
    sim.image("app:2").starts_after(25)

    result = cli(*DEPLOY, "-t", "30")

    assert result.code == 0
    assert 50 < clock.now() < 60
    assert sim.steady("prod", "web")


def test_the_first_wait_ends_undecided_when_no_task_runs_in_time(sim: Simulator, cli: Cli, clock: SimClock) -> None:
    sim.service("prod", "web", image="app:1")
    sim.image("app:2").starts_after(500)

    result = cli(*DEPLOY, "-t", "40")

    assert result.code == 22
    assert clock.now() == 40
    assert result.lines[-1] == "ERROR: New task definition not running within 40 seconds"
    assert "timed out: no task of the new deployment was running within 40 seconds." in last_paragraph(result)[0]
    assert f"The service still points at {PREFIX}/web:2. To go back:" in result.err
    assert f"aws ecs update-service --cluster prod --service web --task-definition {PREFIX}/web:1" in result.err


def test_the_second_wait_ends_undecided_when_the_deployment_is_not_complete(
    sim: Simulator, cli: Cli, clock: SimClock
) -> None:
    sim.service("prod", "web", image="app:1", drain_s=500)

    result = cli(*DEPLOY, "-t", "40")

    assert result.code == 22
    assert clock.now() == 43
    assert result.lines[-1] == "Waiting for service deployment to complete..."
    assert "timed out: the deployment was not complete within 40 seconds." in last_paragraph(result)[0]


@pytest.mark.parametrize(("starts_after_s", "code"), [(30.0, 0), (30.5, 22)], ids=["at the deadline", "after it"])
def test_the_last_look_is_at_the_deadline(
    sim: Simulator, cli: Cli, clock: SimClock, starts_after_s: float, code: int
) -> None:
    sim.service("prod", "web", image="app:1", desired_count=1, health_check=False)
    sim.image("app:2").starts_after(starts_after_s - 0.5)

    result = cli(*DEPLOY, "-t", "30", "--skip-deployments-check")

    assert result.code == code
    assert clock.now() == 30
    assert result.calls[-1].at_s == 30 or code == 22


def test_a_time_out_of_zero_waits_as_long_as_ecs_takes(sim: Simulator, cli: Cli, clock: SimClock) -> None:
    sim.service("prod", "web", image="app:1")
    sim.image("app:2").starts_after(400)

    result = cli(*DEPLOY, "-t", "0")

    assert result.code == 0
    assert clock.now() > 400


def test_the_deployment_itself_need_not_be_waited_for(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1", drain_s=500)

    result = cli(*DEPLOY, "--skip-deployments-check")

    assert result.code == 0
    assert result.lines[-1] == "Service updated successfully, new task definition running."
    assert "Waiting for service deployment to complete..." not in result.out
    assert not sim.steady("prod", "web")


@pytest.mark.parametrize("desired_count", [0, 1])
def test_a_forced_redeploy_need_not_be_waited_for_either(sim: Simulator, cli: Cli, desired_count: int) -> None:
    sim.service("prod", "web", image="app:1", desired_count=desired_count)

    result = cli(*WEB, "--force-new-deployment", "--skip-deployments-check")

    skipped = ["Skipping check for running task definition, as desired-count <= 0"]
    assert result.code == 0
    assert result.lines == ["Force a new deployment of the service", *(skipped if not desired_count else [])]


def test_the_first_wait_is_for_a_healthy_task_where_there_are_health_checks(
    sim: Simulator, cli: Cli, clock: SimClock
) -> None:
    sim.service("prod", "web", image="app:1", health_check=True)
    sim.image("app:2").starts_after(2).healthy_after(30)

    result = cli(*DEPLOY, "--skip-deployments-check")

    assert result.code == 0
    assert 32.5 <= clock.now() < 36
    assert {"ListTasks", "DescribeTasks"} <= set(result.operations)


def test_a_task_that_never_gets_healthy_ends_the_first_wait_undecided(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1", health_check=True)
    sim.image("app:2").never_healthy()

    result = cli(*DEPLOY, "-t", "60")

    assert result.code == 22
    assert result.lines[-1] == "ERROR: New task definition not running within 60 seconds"
    assert "Task failed container health checks" in result.err
    assert "Likeliest cause: the tasks run, but are not healthy." in result.err


@pytest.mark.parametrize(
    "containers",
    [
        pytest.param([{"healthCheck": {"command": ["NONE"]}}], id="a health check that is switched off"),
        pytest.param(
            [{}, {"essential": False, "healthCheck": {"command": ["CMD", "x"]}}], id="one that decides nothing"
        ),
    ],
)
def test_tasks_are_not_asked_for_where_no_health_check_decides(
    sim: Simulator, cli: Cli, containers: list[Json]
) -> None:
    named = [{"name": f"c{i}", "image": "app:1", "memory": 64, **more} for i, more in enumerate(containers)]
    sim.service("prod", "web", containers=named)

    result = cli(*DEPLOY, "--skip-deployments-check")

    assert result.code == 0
    assert "DescribeTasks" not in result.operations


# --- Pacing


def test_while_something_moves_it_looks_every_second(sim: Simulator, cli: Cli, clock: SimClock) -> None:
    sim.service("prod", "web", image="app:1")

    cli(*DEPLOY)

    assert set(clock.slept) == {1.0}


def test_where_nothing_moves_it_looks_less_and_less(sim: Simulator, cli: Cli, clock: SimClock) -> None:
    sim.service("prod", "web", image="app:1")
    sim.image("app:2").starts_after(1000)

    cli(*DEPLOY, "-t", "180")

    at_s = 0.0
    paces = []
    for pause_s in clock.slept:
        paces.append((at_s, pause_s))
        at_s += pause_s
    assert {pause_s for when_s, pause_s in paces if when_s < 15} == {1.0}
    assert {pause_s for when_s, pause_s in paces if 16 < when_s < 120} == {2.0}
    assert {pause_s for when_s, pause_s in paces if 120 <= when_s < 174} == {5.0}
    assert at_s == 180


def test_once_only_the_end_is_missing_it_looks_every_second(sim: Simulator, cli: Cli, clock: SimClock) -> None:
    sim.world.settle_s = 100
    sim.service("prod", "web", image="app:1")

    result = cli(*DEPLOY, "-t", "200")

    assert result.code == 0
    assert clock.now() > 100
    assert set(clock.slept) == {1.0}


def test_a_look_is_one_call_whatever_the_number_of_tasks(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1", desired_count=150)

    result = cli(*DEPLOY)

    assert result.code == 0
    assert set(result.operations[4:]) == {"DescribeServices"}


def test_on_a_throttle_it_backs_off_to_fifteen_seconds_and_recovers(sim: Simulator, cli: Cli, clock: SimClock) -> None:
    sim.service("prod", "web", image="app:1", drain_s=60)
    sim.world.on_call = lambda index, operation, params: (
        Fault.THROTTLED if operation == "DescribeServices" and 3 <= sim.world.now_s < 40 else None
    )

    result = cli(*DEPLOY)

    assert result.code == 0
    assert clock.slept[3:9] == [1.0, 2.0, 4.0, 8.0, 15.0, 15.0]
    assert set(clock.slept[9:]) <= {1.0, 2.0}
    assert "AWS throttled DescribeServices (Rate exceeded); looking again." in result.err


@pytest.mark.parametrize("fault", [Fault.SERVER_ERROR, Fault.DROP_BEFORE, Fault.DROP_AFTER, Fault.THROTTLED])
def test_a_look_that_fails_is_no_failed_deployment(sim: Simulator, cli: Cli, fault: Fault) -> None:
    sim.service("prod", "web", image="app:1")
    sim.world.on_call = lambda index, operation, params: (
        fault if operation == "DescribeServices" and 0 < sim.world.now_s < 10 else None
    )

    result = cli(*DEPLOY)

    assert result.code == 0
    assert sim.steady("prod", "web")


def test_without_any_answer_the_time_out_still_holds(sim: Simulator, cli: Cli, clock: SimClock) -> None:
    sim.service("prod", "web", image="app:1")
    sim.world.on_call = lambda index, operation, params: Fault.SERVER_ERROR if sim.world.now_s > 0 else None

    result = cli(*DEPLOY, "-t", "60")

    assert result.code == 22
    assert [call.at_s for call in result.calls if call.operation == "DescribeServices"][-1] == 60


def test_without_a_time_out_five_minutes_without_an_answer_are_the_end(
    sim: Simulator, cli: Cli, clock: SimClock
) -> None:
    sim.service("prod", "web", image="app:1")
    sim.world.on_call = lambda index, operation, params: Fault.SERVER_ERROR if sim.world.now_s > 0 else None

    result = cli(*DEPLOY, "-t", "0")

    assert result.code == 24
    assert 300 < clock.now() < 330
    assert "The outcome is unknown: deployment ecs-svc/" in result.err


@pytest.mark.parametrize("code", ["AccessDeniedException", "ExpiredTokenException", "ClusterNotFoundException"])
def test_a_look_that_can_never_succeed_ends_the_watch_with_the_outcome_unknown(
    sim: Simulator, cli: Cli, code: str
) -> None:
    sim.service("prod", "web", image="app:1")
    sim.world.on_call = lambda index, operation, params: AwsError(code, "no") if sim.world.now_s > 0 else None

    result = cli(*DEPLOY)

    assert result.code == 24
    assert f"The outcome is unknown: deployment {sim.services['prod', 'web'].primary.id} of service web" in result.err
    assert "was in progress" in result.err


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


def test_after_as_many_stopped_tasks_as_allowed_it_gives_up(sim: Simulator, cli: Cli, clock: SimClock) -> None:
    sim.service("prod", "web", image="app:1")
    sim.image("app:2").crashes(after_s=2)

    result = cli(*DEPLOY, "--fail-fast", "2", "-t", "600")

    assert result.code == 1
    assert "2 of its tasks stopped (--fail-fast)" in last_paragraph(result)[0]
    assert clock.now() < 30


@pytest.mark.parametrize("controller", ["CODE_DEPLOY", "EXTERNAL"])
def test_a_service_that_something_else_deploys_is_refused_before_anything_changes(
    sim: Simulator, cli: Cli, controller: str
) -> None:
    sim.service("prod", "web", image="app:1", deploymentController={"type": controller})

    result = cli(*DEPLOY)

    assert result.code == 1
    assert f"The service web is deployed by {controller}; UpdateService refuses" in result.err
    assert result.operations == ["DescribeServices"]


# --- Rolling back


def test_a_failed_deployment_goes_back_and_is_stable_again(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1", desired_count=2)
    sim.image("app:2").crashes(after_s=2)

    result = cli(*DEPLOY, "-t", "60", "--enable-rollback", "-D", "3", "--min", "50")

    assert result.code == 20
    assert f"Rolling back to {PREFIX}/web:1" in result.lines
    assert "Service deployment successful." not in result.out
    assert f"The service is back on {PREFIX}/web:1, and stable." in result.err
    assert "Deregistered web:2, a revision that failed." in result.err
    assert result.requests("UpdateService")[1]["desiredCount"] == 2
    assert result.requests("UpdateService")[1]["deploymentConfiguration"]["minimumHealthyPercent"] == 100
    assert sim.running("prod", "web") == {"app:1": 2}
    assert sim.active_revisions("web") == [1]


def test_the_failed_revision_is_kept_while_a_deployment_still_uses_it(sim: Simulator, cli: Cli) -> None:
    early = {"enable": True, "healthyPercent": 100, "sourceServiceRevisionCleanup": "DEFERRED"}
    configuration = {"earlySuccessCriteria": early, "maximumPercent": 400}
    sim.service("prod", "web", image="app:1", health_check=True, drain_s=100, deploymentConfiguration=configuration)
    sim.image("app:2").never_healthy()

    result = cli(*DEPLOY, "-t", "12", "--enable-rollback")

    assert result.code == 20
    assert "DeregisterTaskDefinition" not in result.operations
    assert sim.active_revisions("web") == [1, 2]


def test_the_failed_revision_can_be_kept(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")
    sim.image("app:2").crashes(after_s=2)

    result = cli(*DEPLOY, "-t", "60", "--enable-rollback", "--keep-failed-revision")

    assert result.code == 20
    assert sim.active_revisions("web") == [1, 2]


def test_a_rollback_that_ecs_began_is_waited_for(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1", deploymentConfiguration=BREAKER)
    sim.image("app:2").crashes(after_s=2)

    result = cli(*DEPLOY, "-t", "300", "--enable-rollback")

    assert result.code == 20
    assert "The service is going back already; waiting for that." in result.err
    assert result.changes == ["RegisterTaskDefinition", "UpdateService", "DeregisterTaskDefinition"]
    assert sim.steady("prod", "web")


def test_a_rollback_that_does_not_become_stable_is_said(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")
    sim.image("app:2").crashes(after_s=2)
    sim.image("app:1").crashes(after_s=2)
    sim.services["prod", "web"].configuration["minimumHealthyPercent"] = 0
    sim.services["prod", "web"].configuration["maximumPercent"] = 100

    result = cli(*DEPLOY, "-t", "30", "--enable-rollback")

    assert result.code == 21
    assert f"The rollback to {PREFIX}/web:1 did not complete" in result.err


def test_a_rollback_that_aws_refuses_is_said(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")
    sim.image("app:2").starts_after(500)
    sim.world.at(10, lambda: sim.deny("ecs:UpdateService"))

    result = cli(*DEPLOY, "-t", "30", "--enable-rollback")

    assert result.code == 21
    assert "The rollback failed. AWS denied UpdateService" in result.err


def test_a_forced_redeploy_has_nothing_to_go_back_to(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")
    sim.image("app:1").starts_after(500)

    result = cli(*WEB, "--force-new-deployment", "-t", "30", "--enable-rollback")

    assert result.code == 22
    assert "Not rolled back: there is nothing to go back to, the definition is the same." in result.err
    assert result.changes == ["UpdateService"]


def test_a_time_out_of_a_forced_redeploy_gives_no_way_back(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")
    sim.image("app:1").starts_after(500)

    result = cli(*WEB, "--force-new-deployment", "-t", "30")

    assert result.code == 22
    assert "To go back:" not in result.err


# --- When UpdateService fails


def test_a_revision_that_no_service_uses_is_deregistered(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")
    sim.deny("ecs:UpdateService")

    result = cli(*DEPLOY)

    assert result.code == 24
    assert result.changes == ["RegisterTaskDefinition", "UpdateService", "DeregisterTaskDefinition"]
    assert "Deregistered web:2, a revision that no service uses." in result.err
    assert "Allow ecs:UpdateService in the IAM policy of these credentials." in result.err
    assert sim.active_revisions("web") == [1]


def test_a_revision_that_cannot_be_deregistered_is_named(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")
    sim.deny("ecs:UpdateService", "ecs:DeregisterTaskDefinition")

    result = cli(*DEPLOY)

    assert result.code == 24
    assert f"Warning: {PREFIX}/web:2, a revision that no service uses, could not be deregistered." in result.err
    assert sim.active_revisions("web") == [1, 2]


def test_a_service_that_is_deleted_before_the_update_is_said(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")
    sim.service("prod", "other", image="app:1")
    sim.world.on_call = lambda index, operation, params: (
        sim.delete_service("prod", "web") if operation == "UpdateService" else None
    )

    result = cli(*DEPLOY)

    assert result.code == 24
    assert "The service web was not found in cluster prod, or is not ACTIVE" in result.err
    assert "The services of the cluster: other" in result.err
    assert sim.active_revisions("web") == [1]


def test_an_update_whose_answer_is_lost_is_repeated_and_makes_one_revision(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")
    lost: list[str] = []
    sim.world.on_call = lambda index, operation, params: first_time(lost, operation, "UpdateService")

    result = cli(*DEPLOY)

    assert result.code == 0
    assert result.changes == ["RegisterTaskDefinition", "UpdateService", "UpdateService"]
    assert sim.active_revisions("web") == [1, 2]
    assert sim.steady("prod", "web")


def test_a_registration_whose_answer_is_lost_makes_one_revision(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")
    lost: list[str] = []
    sim.world.on_call = lambda index, operation, params: first_time(lost, operation, "RegisterTaskDefinition")

    result = cli(*DEPLOY)

    assert result.code == 0
    assert result.changes == ["RegisterTaskDefinition", "UpdateService"]
    assert "The answer of RegisterTaskDefinition was lost; looking whether it was carried out." in result.err
    assert sim.active_revisions("web") == [1, 2]


def test_a_lost_registration_of_an_unchanged_definition_is_not_taken_for_the_one_in_use(
    sim: Simulator, cli: Cli
) -> None:
    sim.service("prod", "web", image="app:1")
    sim.deny("ecs:UpdateService")
    lost: list[str] = []
    sim.world.on_call = lambda index, operation, params: first_time(
        lost, operation, "RegisterTaskDefinition", Fault.DROP_BEFORE
    )

    result = cli(*WEB, "-i", "app:1")

    assert result.code == 24
    assert "Deregistered web:2, a revision that no service uses." in result.err
    assert sim.active_revisions("web") == [1]


def test_a_registration_that_never_arrived_is_sent_again(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")
    lost: list[str] = []
    sim.world.on_call = lambda index, operation, params: first_time(
        lost, operation, "RegisterTaskDefinition", Fault.DROP_BEFORE
    )

    result = cli(*DEPLOY)

    assert result.code == 0
    assert result.changes == ["RegisterTaskDefinition", "RegisterTaskDefinition", "UpdateService"]
    assert sim.active_revisions("web") == [1, 2]


def test_a_registration_that_is_lost_again_and_again_is_an_error(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")
    sim.world.on_call = lambda index, operation, params: (
        Fault.DROP_BEFORE if operation == "RegisterTaskDefinition" else None
    )

    result = cli(*DEPLOY)

    assert result.code == 24
    assert result.changes == ["RegisterTaskDefinition"] * 3
    assert "AWS was not reached (RegisterTaskDefinition)" in result.err


@pytest.mark.parametrize("fault", [Fault.SERVER_ERROR, Fault.EXPIRED], ids=["an error of AWS", "expired credentials"])
def test_a_lost_registration_that_cannot_be_looked_for(sim: Simulator, cli: Cli, fault: Fault) -> None:
    sim.service("prod", "web", image="app:1")
    registered: list[str] = []

    def lose(index: int, operation: str, params: Json) -> Fault | None:
        if operation == "RegisterTaskDefinition":
            registered.append(operation)
            return Fault.DROP_BEFORE if len(registered) == 1 else None
        return fault if operation == "DescribeTaskDefinition" and registered else None

    sim.world.on_call = lose

    result = cli(*DEPLOY)

    assert result.code == (24 if fault is Fault.SERVER_ERROR else 0)
    assert sim.active_revisions("web") == ([1] if fault is Fault.SERVER_ERROR else [1, 2])


def test_an_update_that_was_carried_out_but_never_answered_is_found_and_followed(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")
    sim.world.on_call = lambda index, operation, params: Fault.DROP_AFTER if operation == "UpdateService" else None

    result = cli(*DEPLOY)

    assert result.code == 0
    assert sim.active_revisions("web") == [1, 2]
    assert sim.steady("prod", "web")


def test_an_update_that_never_arrived_leaves_the_revision_and_says_so(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")
    sim.world.on_call = lambda index, operation, params: Fault.DROP_BEFORE if operation == "UpdateService" else None

    result = cli(*DEPLOY)

    assert result.code == 24
    said = f"UpdateService may have been carried out; {PREFIX}/web:2 is left as it is. Look at the service."
    assert said in result.err
    assert sim.active_revisions("web") == [1, 2]


def first_time(seen: list[str], operation: str, wanted: str, fault: Fault = Fault.DROP_AFTER) -> Fault | None:
    """The fault, for the first call of the wanted operation alone."""
    if operation != wanted or seen:
        return None
    seen.append(operation)
    return fault


# --- Pruning


def test_the_oldest_revisions_beyond_the_newest_are_deregistered_after_success(sim: Simulator, cli: Cli) -> None:
    for _ in range(11):
        sim.task_definition("web", "app:1")
    sim.service("prod", "web", image="app:1")

    result = cli(*DEPLOY, "--max-definitions", "3")

    assert result.code == 0
    assert sim.active_revisions("web") == [11, 12, 13]
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


def test_registering_and_deregistering_keep_within_the_budget_of_aws(sim: Simulator, cli: Cli, clock: SimClock) -> None:
    for _ in range(60):
        sim.task_definition("web", "app:1")
    sim.service("prod", "web", image="app:1")
    sim.world.throttles = True

    result = cli(*DEPLOY, "--max-definitions", "1")

    assert result.code == 0
    assert sim.active_revisions("web") == [62]
    assert not [call for call in result.calls if call.error_code]


# --- Dry run, JSON, verbose, secrets, the terminal

CANARY = "c4n4ry-v4lue"


@pytest.fixture
def secretive(sim: Simulator) -> Simulator:
    """A service whose definition is full of values that nobody may read."""
    container = {
        "name": "web",
        "image": "app:1",
        "memory": 64,
        "environment": [{"name": "PASSWORD", "value": f"{CANARY}-environment"}],
        "secrets": [{"name": "KEY", "valueFrom": f"{CANARY}-secret"}],
        "command": ["serve", f"--password={CANARY}-command"],
        "logConfiguration": {
            "logDriver": "splunk",
            "options": {"splunk-token": f"{CANARY}-option"},
            "secretOptions": [{"name": "splunk-token", "valueFrom": f"{CANARY}-option-secret"}],
        },
        "repositoryCredentials": {"credentialsParameter": f"{CANARY}-repository"},
    }
    sim.service("prod", "web", containers=[container])
    return sim


def test_a_dry_run_changes_nothing_and_shows_what_it_would_send(secretive: Simulator, cli: Cli) -> None:
    result = cli(*DEPLOY, "-D", "2", "--dry-run")

    assert result.code == 0
    assert result.operations == ["DescribeServices", "DescribeTaskDefinition"]
    would_register, would_send, last = result.lines[2:]
    definition = json.loads(would_register.removeprefix("Would register: "))
    assert definition["containerDefinitions"][0]["image"] == "app:2"
    assert definition["containerDefinitions"][0]["environment"] == [{"name": "PASSWORD", "value": "***"}]
    assert json.loads(would_send.removeprefix("Would send UpdateService: ")) == {
        "cluster": "prod",
        "service": "web",
        "desiredCount": 2,
        "taskDefinition": "web:<new revision>",
    }
    assert last == "Dry run: nothing was changed."
    assert CANARY not in result.out + result.err


def test_a_dry_run_of_a_definition_shows_what_it_would_register(sim: Simulator, cli: Cli) -> None:
    sim.task_definition("job", "app:1")

    result = cli("-d", "job", "-i", "app:2", "--dry-run")

    assert result.code == 0
    assert result.operations == ["DescribeTaskDefinition"]
    assert [line.partition(":")[0] for line in result.lines[2:]] == ["Would register", "Dry run"]


def test_a_dry_run_finds_the_errors_that_the_run_would_find(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")

    assert cli(*WEB, "-i", "other:2", "--dry-run").code == 14
    assert cli("-c", "prod", "-n", "nobody", "-i", "app:2", "--dry-run").code == 24


def test_verbose_prints_every_call_and_no_secret(secretive: Simulator, cli: Cli) -> None:
    edit = ["--container-envvar", f"web=NEW={CANARY}-new", "--container-secret", f"web=OTHER={CANARY}-other"]
    environment = {"AWS_SECRET_ACCESS_KEY": f"{CANARY}-key", "AWS_SESSION_TOKEN": f"{CANARY}-token"}

    result = cli(*DEPLOY, *edit, "-v", env=environment)

    said = [line for line in result.err.splitlines() if line.startswith("> ")]
    assert result.code == 0
    assert [line.split()[1] for line in said] == result.operations
    assert all(re.search(r" -> [0-9a-f]{8}-0000-4000-8000-0{12}, \d+ ms$", line) for line in said)
    assert '"image": "app:2"' in said[2]
    assert CANARY not in result.out + result.err


def test_verbose_prints_the_error_of_a_call(sim: Simulator, cli: Cli) -> None:
    sim.cluster("prod")

    result = cli("-c", "nowhere", "-n", "web", "-i", "app:2", "-v")

    assert (
        '> DescribeServices {"cluster": "nowhere", "services": ["web"]} -> ClusterNotFoundException, 0 ms' in result.err
    )


@pytest.mark.parametrize("refused", ["RegisterTaskDefinition", "UpdateService"])
def test_a_secret_in_an_error_of_aws_is_masked(secretive: Simulator, cli: Cli, refused: str) -> None:
    message = f"cannot use {CANARY}-environment with {CANARY}-new and {CANARY}-key or {CANARY}-option, says the service"
    secretive.world.on_call = lambda index, operation, params: (
        AwsError("ClientException", message) if operation == refused else None
    )

    edit = ["--container-envvar", f"web=NEW={CANARY}-new"]
    result = cli(*DEPLOY, *edit, env={"AWS_SECRET_ACCESS_KEY": f"{CANARY}-key"})

    assert result.code == 24
    assert "cannot use *** with *** and *** or ***, says the service" in result.err
    assert CANARY not in result.out + result.err


@pytest.mark.parametrize("value", ["true", "1", "web", "app"], ids=["a boolean", "short", "the service", "the image"])
def test_names_stay_readable_where_a_variable_has_the_same_text(sim: Simulator, cli: Cli, value: str) -> None:
    container = {"name": "web", "image": "app:1", "memory": 64, "environment": [{"name": "A", "value": value}]}
    sim.service("prod", "web", containers=[container])

    result = cli(*DEPLOY)

    assert result.code == 0
    assert "***" not in result.out + result.err


def test_the_json_document_is_alone_on_stdout(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")

    result = cli(*DEPLOY, "--output", "json")

    document = json.loads(result.out)
    assert result.code == 0
    assert "Service deployment successful." in result.err
    assert document["exit_code"] == 0
    assert document["verdict"] == "completed"
    assert document["cluster"] == "prod"
    assert document["service"] == "web"
    assert document["previous_task_definition"] == f"{PREFIX}/web:1"
    assert document["new_task_definition"] == f"{PREFIX}/web:2"
    assert document["deployment_id"] == sim.services["prod", "web"].primary.id
    assert document["durations"]["until_running_s"] == 3


def test_the_json_document_says_why_it_failed(sim: Simulator, cli: Cli) -> None:
    breaker = {"deploymentCircuitBreaker": {"enable": True, "rollback": False}}
    sim.service("prod", "web", image="app:1", deploymentConfiguration=breaker)
    sim.image("app:2").crashes(after_s=2)

    document = json.loads(cli(*DEPLOY, "--output=json").out)

    assert document["exit_code"] == 1
    assert document["verdict"] == "failed"
    assert document["reason"] == "ECS deployment circuit breaker: tasks failed to start."
    assert document["failed_tasks"][0]["count"] == 3


@pytest.mark.parametrize("arguments", [["--output=json", "--nonsense"], ["-n", "web", "--output", "json"]])
def test_the_json_document_tells_of_a_usage_error(cli: Cli, arguments: list[str]) -> None:
    result = cli(*arguments)

    document = json.loads(result.out)
    assert document["exit_code"] == result.code != 0
    assert document["error"] in result.err


def test_the_json_document_tells_of_a_dry_run(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")

    document = json.loads(cli(*DEPLOY, "--output", "json", "--dry-run").out)

    assert (document["exit_code"], document["verdict"]) == (0, "dry run")


def test_on_a_terminal_progress_is_one_line_that_redraws_itself(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")
    sim.image("app:2").starts_after(20)

    result = cli(*DEPLOY, tty=True, env={"TERM": "xterm", "COLUMNS": "50"})

    drawn = re.findall(r"(\[ *\d+ s\][^\r\n]*)\r\x1b\[K", result.err)
    assert result.code == 0
    assert len(drawn) > 20
    assert all(len(line) < 50 for line in drawn)
    assert not re.search(r"\[ +\d+ s\][^\r]*\n", result.err)
    assert "\x1b" not in result.out


@pytest.mark.parametrize(("tty", "term"), [(False, "xterm"), (True, "dumb")], ids=["a file", "a dumb terminal"])
def test_elsewhere_a_line_is_printed_when_something_has_changed(sim: Simulator, cli: Cli, tty: bool, term: str) -> None:
    sim.service("prod", "web", image="app:1", drain_s=5)
    sim.image("app:2").starts_after(60)

    result = cli(*DEPLOY, tty=tty, env={"TERM": term})

    told = [line.partition("] ")[2] for line in result.err.splitlines() if line.startswith("[")]
    assert "\r" not in result.err
    assert told == [
        "new: 0 running, 0 pending of 1; old: 1 running",
        "new: 0 running, 1 pending of 1; old: 1 running",
        "new: 1 running, 0 pending of 1; old: 1 running",
        "new: 1 running, 0 pending of 1; old: none left",
    ]


class Broken(io.StringIO):
    """An output that takes nothing."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self._error = error

    def write(self, text: str) -> int:
        raise self._error


@pytest.mark.parametrize("stream", ["closed", "broken", "ascii"])
def test_an_output_that_cannot_be_written_never_ends_a_deployment(
    sim: Simulator, clock: SimClock, monkeypatch: pytest.MonkeyPatch, stream: str
) -> None:
    sim.service("prod", "web", image="app:1", desired_count=1)
    sim.services["prod", "web"].add_event("ümläut")
    sim.world.at(1, lambda: sim.services["prod", "web"].add_event("日本"))
    for name, value in sim.environment().items():
        monkeypatch.setenv(name, value)
    streams: Any = {
        "closed": Broken(ValueError("I/O operation on closed file")),
        "broken": Broken(BrokenPipeError(32, "Broken pipe")),
        "ascii": io.TextIOWrapper(io.BytesIO(), "ascii"),
    }

    code = ecs_deploy.main(list(DEPLOY), env=os.environ, out=streams[stream], err=streams[stream], clock=clock)

    assert code == 0
    assert sim.steady("prod", "web")
    if stream == "ascii":
        assert b"event: (service web) \\u65e5\\u672c\n" in streams[stream].buffer.getvalue()


# --- Not found


def test_a_service_that_is_not_found_is_followed_by_those_that_are(sim: Simulator, cli: Cli) -> None:
    for number in range(23):
        sim.service("prod", f"web-{number:02}", image="app:1")

    result = cli("-c", "prod", "-n", "web", "-i", "app:2")

    names = ", ".join(f"web-{number:02}" for number in range(20))
    assert result.code == 24
    assert result.err.splitlines() == [
        "ERROR: The service web was not found in cluster prod",
        f"The services of the cluster: {names}, and 3 more",
    ]


def test_where_there_is_nothing_to_list_that_is_said(sim: Simulator, cli: Cli) -> None:
    assert "There are no clusters in us-east-1." in cli(*DEPLOY).err
    sim.cluster("prod")
    assert "There are no services of the cluster." in cli(*DEPLOY).err


@pytest.mark.parametrize("cluster", ["prod", "nowhere"])
def test_names_that_may_not_be_listed_are_left_out(sim: Simulator, cli: Cli, cluster: str) -> None:
    sim.cluster("prod")
    sim.deny("ecs:ListServices", "ecs:ListClusters")

    result = cli("-c", cluster, "-n", "web", "-i", "app:2")

    assert result.code == 24
    assert len(result.err.splitlines()) == 1
    assert "was not found in" in result.err


def test_a_deleted_service_is_not_found(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1", desired_count=0)
    sim.delete_service("prod", "web")
    sim.advance(5)

    result = cli(*DEPLOY)

    assert result.code == 24
    assert "The service web was not found in cluster prod" in result.err


# --- Interruptions


@pytest.mark.parametrize(("signum", "code", "name"), [(signal.SIGINT, 130, "SIGINT"), (signal.SIGTERM, 143, "SIGTERM")])
def test_interrupted_it_says_what_goes_on_and_how_to_undo_it(
    sim: Simulator, cli: Cli, signum: signal.Signals, code: int, name: str
) -> None:
    sim.service("prod", "web", image="app:1")
    sim.image("app:2").starts_after(60)
    sim.world.at(10, lambda: signal.raise_signal(signum))

    result = cli(*DEPLOY)

    deployment = sim.services["prod", "web"].primary.id
    assert result.code == code
    assert f"{name}: deployment {deployment} of service web goes on, to {PREFIX}/web:2." in result.err
    assert "To undo it:\n  aws ecs update-service --cluster prod --service web" in result.err
    assert result.changes == ["RegisterTaskDefinition", "UpdateService"]


def test_an_interrupted_redeploy_has_nothing_to_undo(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")
    sim.image("app:1").starts_after(60)
    sim.world.at(10, lambda: signal.raise_signal(signal.SIGINT))

    result = cli(*WEB, "--force-new-deployment", "--enable-rollback")

    assert result.code == 130
    assert "goes on" in result.err
    assert "To undo it:" not in result.err


def test_interrupted_it_sends_the_rollback_that_was_asked_for(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")
    sim.image("app:2").starts_after(60)
    sim.world.at(10, lambda: signal.raise_signal(signal.SIGTERM))

    result = cli(*DEPLOY, "--enable-rollback")

    assert result.code == 143
    assert result.requests("UpdateService")[1]["taskDefinition"] == f"{PREFIX}/web:1"
    assert "of service web was sent, and is not waited for." in result.err


def test_interrupted_it_says_that_the_rollback_was_refused(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")
    sim.image("app:2").starts_after(60)
    sim.world.at(9, lambda: sim.deny("ecs:UpdateService"))
    sim.world.at(10, lambda: signal.raise_signal(signal.SIGTERM))

    result = cli(*DEPLOY, "--enable-rollback")

    assert result.code == 143
    assert "SIGTERM: the rollback could not be sent. AWS denied UpdateService" in result.err
    assert "goes on" in result.err


def test_interrupted_it_sends_no_rollback_over_somebody_elses_deployment(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")
    sim.image("app:2").starts_after(60)
    sim.world.at(9.5, lambda: sim.someone_deploys("prod", "web", "app:3"))
    sim.world.at(9.9, lambda: signal.raise_signal(signal.SIGTERM))

    result = cli(*DEPLOY, "--enable-rollback")

    assert result.code == 143
    assert "Not rolled back: " in result.err
    assert result.changes == ["RegisterTaskDefinition", "UpdateService"]


@pytest.mark.parametrize("operation", ["RegisterTaskDefinition", "UpdateService"])
def test_a_signal_during_a_call_that_changes_something_waits_for_its_answer(
    sim: Simulator, cli: Cli, operation: str
) -> None:
    sim.service("prod", "web", image="app:1")
    sim.world.on_call = lambda index, called, params: (
        os.kill(os.getpid(), signal.SIGTERM) if called == operation else None
    )

    result = cli(*DEPLOY)

    assert result.code == 143
    assert result.calls[-1].status == "OK"
    registered = operation == "RegisterTaskDefinition"
    assert sim.active_revisions("web") == ([1] if registered else [1, 2])
    assert ("goes on" in result.err) != registered


def test_a_signal_before_anything_changed_leaves_everything_as_it_was(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")
    sim.world.on_call = lambda index, called, params: (
        os.kill(os.getpid(), signal.SIGINT) if called == "DescribeTaskDefinition" else None
    )

    result = cli(*DEPLOY)

    assert result.code == 130
    assert result.changes == []
    assert result.err.endswith("Interrupted.\n")


def test_the_handlers_of_the_caller_are_put_back(sim: Simulator, cli: Cli) -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    sim.service("prod", "web", image="app:1")

    cli(*DEPLOY)

    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_outside_the_main_thread_it_runs_without_handlers(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")
    results: list[Result] = []
    thread = threading.Thread(target=lambda: results.append(cli(*DEPLOY)))

    thread.start()
    thread.join()

    assert results[0].code == 0


def test_a_bug_is_said_to_be_one_with_a_traceback_without_secrets(
    sim: Simulator, cli: Cli, clock: SimClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    container = {"name": "web", "image": "app:1", "memory": 64}
    sim.service("prod", "web", containers=[{**container, "environment": [{"name": "PASSWORD", "value": CANARY}]}])

    def break_down(seconds: float) -> None:
        raise RuntimeError(f"the clock fell off the wall, says {CANARY}")

    monkeypatch.setattr(clock, "sleep", break_down)

    result = cli(*DEPLOY)

    assert result.code == 70
    assert "RuntimeError: the clock fell off the wall, says ***" in result.err
    assert "ERROR: This is a bug in ecs-deploy" in result.err
    assert "Check the service: the deployment may have begun." in result.err
    assert CANARY not in result.out + result.err


# --- BLUE_GREEN, LINEAR and CANARY


def blue_green(**more: Any) -> Json:
    """A deployment configuration of that strategy, with a circuit breaker that rolls back."""
    return {"strategy": "BLUE_GREEN", "bakeTimeInMinutes": 0, **BREAKER, **more}


@pytest.mark.parametrize("known_at_once", [True, False], ids=["named by the service", "to be looked for"])
def test_a_blue_green_deployment_is_followed_stage_by_stage(sim: Simulator, cli: Cli, known_at_once: bool) -> None:
    members: Json = {} if known_at_once else {"currentServiceDeployment": ""}
    sim.service("prod", "web", image="app:1", deploymentConfiguration=blue_green(bakeTimeInMinutes=1), **members)

    result = cli(*DEPLOY)

    assert result.code == 0
    assert result.lines[-1] == "Service deployment successful."
    assert sim.running("prod", "web") == {"app:2": 1}
    for words in ("stage SCALE_UP, 0 % of the traffic on the new", "stage BAKE_TIME, 100 % of the traffic on the new"):
        assert words in result.err
    assert ("ListServiceDeployments" in result.operations) != known_at_once


@pytest.mark.parametrize(
    ("configuration", "seconds"),
    [
        pytest.param({"strategy": "BLUE_GREEN", "bakeTimeInMinutes": 5}, 300, id="blue/green"),
        pytest.param(
            {"strategy": "LINEAR", "bakeTimeInMinutes": 1,
             "linearConfiguration": {"stepPercent": 30.0, "stepBakeTimeInMinutes": 2}}, 420, id="linear",
        ),
        pytest.param(
            {"strategy": "CANARY", "canaryConfiguration": {"canaryPercent": 5.0, "canaryBakeTimeInMinutes": 10}}, 600,
            id="canary",
        ),
    ],
)  # fmt: skip
def test_bake_times_beyond_the_time_out_are_said_at_the_start(
    sim: Simulator, cli: Cli, configuration: Json, seconds: int
) -> None:
    sim.service("prod", "web", image="app:1", deploymentConfiguration=configuration)

    short = cli(*DEPLOY, "--dry-run")
    long, endless = (cli(*DEPLOY, "--dry-run", "-t", timeout) for timeout in (str(seconds), "0"))

    said = f"Warning: The bake times of this service alone take {seconds} s, longer than the time-out of 90 s (-t);"
    assert said in short.err
    assert "bake times" not in long.err + endless.err
    assert (short.code, long.code, endless.code) == (0, 0, 0)


@pytest.mark.parametrize(
    "configuration",
    [
        pytest.param(
            {"strategy": "LINEAR", "linearConfiguration": {"stepPercent": 50.0, "stepBakeTimeInMinutes": 1}},
            id="linear",
        ),
        pytest.param(
            {"strategy": "CANARY", "canaryConfiguration": {"canaryPercent": 50.0, "canaryBakeTimeInMinutes": 1}},
            id="canary",
        ),
    ],
)
def test_traffic_that_moves_in_steps_is_shown(sim: Simulator, cli: Cli, configuration: Json) -> None:
    sim.service("prod", "web", image="app:1", deploymentConfiguration=configuration)

    result = cli(*DEPLOY)

    assert result.code == 0
    assert "stage PRODUCTION_TRAFFIC_SHIFT, 50 % of the traffic on the new" in result.err
    assert sim.running("prod", "web") == {"app:2": 1}


def test_a_pause_hook_that_waits_is_named_with_the_command_that_continues_it(sim: Simulator, cli: Cli) -> None:
    hooks = [{"targetType": "PAUSE", "lifecycleStages": ["POST_SCALE_UP"]}]
    service = sim.service("prod", "web", image="app:1", deploymentConfiguration=blue_green(lifecycleHooks=hooks))
    sim.world.at(30, lambda: service.release.resolve_hook(service.release.hooks[0].id, "CONTINUE"))

    result = cli(*DEPLOY)

    (hook,) = service.release.hooks
    assert result.code == 0
    assert result.err.count(f"The hook {hook.id} waits (AWAITING_ACTION). Continue with:") == 1
    assert (
        f"aws ecs continue-service-deployment --service-deployment-arn {service.release.arn}"
        f" --hook-id {hook.id} --action CONTINUE" in result.err
    )


@pytest.mark.parametrize(("rollback", "code"), [([], 1), (["--enable-rollback"], 20)], ids=["plain", "rollback"])
def test_a_blue_green_deployment_that_ecs_rolls_back_is_a_failure(
    sim: Simulator, cli: Cli, rollback: list[str], code: int
) -> None:
    sim.service("prod", "web", image="app:1", deploymentConfiguration=blue_green())
    sim.image("app:2").crashes(after_s=2)

    result = cli(*DEPLOY, "-t", "300", *rollback)

    assert result.code == code
    assert "Service deployment successful." not in result.out
    assert "ECS deployment circuit breaker: tasks failed to start." in result.err
    assert "StopServiceDeployment" not in result.operations


def test_a_blue_green_deployment_that_takes_too_long_is_rolled_back_by_ecs(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1", deploymentConfiguration=blue_green())
    sim.image("app:2").starts_after(500)

    result = cli(*DEPLOY, "-t", "30", "--enable-rollback", "-D", "2")

    assert result.code == 20
    assert f"Rolling back to {PREFIX}/web:1" in result.lines
    assert result.requests("StopServiceDeployment")[0]["stopType"] == "ROLLBACK"
    assert result.requests("UpdateService")[1:] == [{"cluster": "prod", "service": "web", "desiredCount": 1}]
    assert sim.active_revisions("web") == [1]


def test_without_the_permission_to_stop_it_the_service_is_updated_back(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1", deploymentConfiguration=blue_green())
    sim.image("app:2").starts_after(500)
    sim.deny("ecs:StopServiceDeployment")

    result = cli(*DEPLOY, "-t", "30", "--enable-rollback")

    assert result.code == 20
    assert "StopServiceDeployment is not possible, using UpdateService instead. AWS denied" in result.err
    assert [update["taskDefinition"] for update in result.requests("UpdateService")] == [
        f"{PREFIX}/web:2",
        f"{PREFIX}/web:1",
    ]


def test_without_the_permission_to_read_it_the_rollout_state_decides(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1", deploymentConfiguration=blue_green())
    sim.deny("ecs:DescribeServiceDeployments")

    result = cli(*DEPLOY)

    assert result.code == 0
    assert result.err.count("The service deployment cannot be followed. AWS denied DescribeServiceDeployments") == 1


def test_a_throttled_look_at_the_service_deployment_is_no_failed_deployment(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1", deploymentConfiguration=blue_green())
    sim.world.on_call = lambda index, operation, params: (
        Fault.THROTTLED if operation == "DescribeServiceDeployments" and sim.world.now_s < 10 else None
    )

    assert cli(*DEPLOY).code == 0


def test_a_service_deployment_that_somebody_aborts_is_a_failure(sim: Simulator, cli: Cli) -> None:
    service = sim.service("prod", "web", image="app:1", deploymentConfiguration=blue_green())
    sim.image("app:2").starts_after(500)
    sim.world.at(10, lambda: service.release.stop("ABORT"))

    result = cli(*DEPLOY)

    assert result.code == 1
    assert "Service deployment was stopped." in last_paragraph(result)[0]


@pytest.mark.parametrize("rollback", [[], ["--enable-rollback"]], ids=["plain", "rollback"])
def test_a_rollback_of_ecs_that_fails_is_said(sim: Simulator, cli: Cli, rollback: list[str]) -> None:
    service = sim.service("prod", "web", image="app:1", deploymentConfiguration=blue_green())
    sim.image("app:2").starts_after(500)

    def fail_to_roll_back() -> None:
        service.roll_back("ECS deployment alarms", "alarm detected.")
        service.release.fails("ECS could not roll back.", was_rollback=True)

    sim.world.at(10, fail_to_roll_back)

    result = cli(*DEPLOY, *rollback)

    assert result.code == 21
    assert "ECS deployment alarms: alarm detected." in last_paragraph(result)[0]
    assert result.changes == ["RegisterTaskDefinition", "UpdateService"]


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

    assert "Last log lines" not in cli(*DEPLOY, "-t", "300").err


def test_the_log_of_a_container_that_never_started_is_not_asked_for(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", containers=[logged("web")], deploymentConfiguration=NO_WAY_BACK)
    sim.image("app:2").cannot_be_pulled()

    assert "GetLogEvents" not in cli(*DEPLOY, "-t", "300").operations


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


# --- Rare answers


def test_a_service_that_is_gone_without_a_trace_is_a_failure(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")
    sim.image("app:2").starts_after(60)
    sim.world.at(5, lambda: sim.services.pop(("prod", "web")))

    result = cli(*DEPLOY)

    assert result.code == 1
    assert "cannot complete: the service was deleted." in last_paragraph(result)[0]


def test_a_rollback_is_not_sent_over_a_deployment_that_came_just_before_it(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")
    sim.image("app:2").starts_after(500)
    looks: list[float] = []

    def deploy_before_the_rollback(index: int, operation: str, params: Json) -> None:
        looks.append(sim.world.now_s) if operation == "DescribeServices" else None
        if looks.count(30) == 2 and operation == "DescribeServices":
            sim.someone_deploys("prod", "web", "app:3")

    sim.world.on_call = deploy_before_the_rollback

    result = cli(*DEPLOY, "-t", "30", "--enable-rollback")

    assert result.code == 23
    assert "Not rolled back: " in result.err
    assert result.changes == ["RegisterTaskDefinition", "UpdateService"]


def test_an_interrupted_rollback_says_that_it_was_sent(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1", drain_s=60)
    sim.image("app:2").starts_after(500)
    sim.image("app:1").starts_after(60)
    sim.services["prod", "web"].configuration["minimumHealthyPercent"] = 0
    sim.services["prod", "web"].configuration["maximumPercent"] = 100
    sim.world.at(32, lambda: signal.raise_signal(signal.SIGTERM))

    result = cli(*DEPLOY, "-t", "30", "--enable-rollback")

    assert result.code == 143
    assert "SIGTERM: the rollback was sent, and is not waited for." in result.err


def test_a_rollback_whose_end_cannot_be_seen_is_said(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1", drain_s=60)
    sim.image("app:2").starts_after(500)
    sim.image("app:1").starts_after(60)
    sim.services["prod", "web"].configuration["minimumHealthyPercent"] = 0
    sim.services["prod", "web"].configuration["maximumPercent"] = 100
    sim.world.at(32, lambda: sim.deny("ecs:DescribeServices"))

    result = cli(*DEPLOY, "-t", "30", "--enable-rollback")

    assert result.code == 21
    assert "The outcome of the rollback is unknown. AWS denied DescribeServices" in result.err


def test_an_answer_from_before_what_was_seen_already_is_passed_over(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")
    sim.image("app:2").starts_after(40)
    sim.world.on_call = lambda index, operation, params: (
        Fault.STALE if operation == "DescribeServices" and 20 < sim.world.now_s < 30 else None
    )

    result = cli(*DEPLOY)

    assert result.code == 0
    assert result.err.count("new: 0 running, 0 pending of 1; old: 1 running") == 1


def second_look_at(at_s: float, sim: Simulator, act: Any) -> Any:
    """An `on_call` that acts on the second DescribeServices of that moment: the one before a rollback."""
    looks: list[float] = []

    def on_call(index: int, operation: str, params: Json) -> Any:
        if operation == "DescribeServices":
            looks.append(sim.world.now_s)
        return act() if operation == "DescribeServices" and looks.count(at_s) == 2 else None

    return on_call


def test_a_rollback_is_sent_even_after_an_answer_of_before_the_update(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")
    sim.image("app:2").starts_after(500)
    sim.world.on_call = second_look_at(30, sim, lambda: Fault.STALE)

    result = cli(*DEPLOY, "-t", "30", "--enable-rollback")

    assert result.code == 20
    assert sim.running("prod", "web") == {"app:1": 1}


def test_a_service_that_is_deleted_before_the_rollback_cannot_be_brought_back(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")
    sim.image("app:2").starts_after(500)
    sim.world.on_call = second_look_at(30, sim, lambda: sim.delete_service("prod", "web"))

    result = cli(*DEPLOY, "-t", "30", "--enable-rollback")

    assert result.code == 21
    assert "The rollback failed. The service web was deleted" in result.err


def test_a_rollback_is_not_sent_where_our_deployment_is_gone_already(sim: Simulator, cli: Cli) -> None:
    service = sim.service("prod", "web", image="app:1")
    sim.image("app:2").starts_after(500)

    def deploy_and_forget() -> None:
        sim.someone_deploys("prod", "web", "app:3")
        del service.deployments[1:]

    sim.world.on_call = second_look_at(30, sim, deploy_and_forget)

    result = cli(*DEPLOY, "-t", "30", "--enable-rollback")

    assert result.code == 23
    assert "Not rolled back: our deployment is not the service's PRIMARY any more." in result.err


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


def test_a_blue_green_deployment_of_somebody_else_is_superseding(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1", deploymentConfiguration=blue_green())
    sim.image("app:2").starts_after(60)
    sim.world.at(10, lambda: sim.someone_deploys("prod", "web", "app:3"))

    result = cli(*DEPLOY, "--enable-rollback")

    assert result.code == 23
    assert result.changes == ["RegisterTaskDefinition", "UpdateService"]


def test_a_service_deployment_of_before_the_update_is_not_taken_for_ours(sim: Simulator, cli: Cli) -> None:
    service = sim.service("prod", "web", image="app:1", deploymentConfiguration=blue_green())
    service.members["currentServiceDeployment"] = service.release.arn

    result = cli(*DEPLOY)

    assert result.code == 0
    assert "DescribeServiceDeployments" not in result.operations
    assert sim.running("prod", "web") == {"app:2": 1}


def test_a_refused_redeploy_leaves_nothing_to_clean_up(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")
    sim.deny("ecs:UpdateService")

    result = cli(*WEB, "--force-new-deployment")

    assert result.code == 24
    assert result.changes == ["UpdateService"]


def test_a_registration_waits_while_others_use_up_the_budget_of_the_account(
    sim: Simulator, cli: Cli, clock: SimClock
) -> None:
    sim.service("prod", "web", image="app:1")
    sim.world.on_call = lambda index, operation, params: (
        Fault.THROTTLED if operation == "RegisterTaskDefinition" and sim.world.now_s < 40 else None
    )

    result = cli(*DEPLOY)

    assert result.code == 0
    assert result.requests("UpdateService")[0]["taskDefinition"] == f"{PREFIX}/web:2"
    assert sim.active_revisions("web") == [1, 2]
    assert clock.now() > 40


# --- What is said before anything is sent


def test_the_changes_of_the_service_are_printed_too(sim: Simulator, cli: Cli) -> None:
    configuration = {"minimumHealthyPercent": 100, "maximumPercent": 200}
    sim.service("prod", "web", desired_count=2, deploymentConfiguration=configuration)

    result = cli("-c", "prod", "-n", "web", "-i", "app:2", "-D", "4", "-m", "50", "-M", "200")

    assert result.code == 0
    changed = result.err.partition("Changes:\n")[2].splitlines()[:3]
    assert changed == [
        "  ~ web: image app:1 -> app:2",
        "  ~ service: desiredCount 2 -> 4",
        "  ~ service: minimumHealthyPercent 100 -> 50",
    ]


def test_tasks_that_run_but_are_not_healthy_are_told_apart_from_none_running(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", health_check=True)
    sim.image("app:2").never_healthy()

    result = cli("-c", "prod", "-n", "web", "-i", "app:2", "-t", "8")

    assert result.code == 22
    assert "no task of the new deployment was healthy within 8 seconds" in result.err


def test_a_rollback_that_fails_ends_with_the_command_that_goes_back(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")
    sim.image("app:2").crashes(after_s=2)
    sim.image("app:1").starts_after(500)

    result = cli("-c", "prod", "-n", "web", "-i", "app:2", "-t", "30", "--enable-rollback")

    assert result.code == 21
    last = result.err.rpartition("ERROR: ")[2]
    assert "failed, and so did its rollback" in last
    assert "aws ecs update-service --cluster prod --service web --task-definition" in last


def test_a_forced_redeploy_says_what_it_redeploys(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")

    result = cli("-c", "prod", "-n", "web", "--force-new-deployment")

    assert result.code == 0
    assert "Redeploying web:1: app:1" in result.err


# --- Answers that are not what they seem


def test_a_rollback_of_ecs_is_followed_by_its_service_deployment(sim: Simulator, cli: Cli) -> None:
    configuration = {
        "strategy": "BLUE_GREEN",
        "bakeTimeInMinutes": 1,
        "alarms": {"alarmNames": ["errors"], "enable": True, "rollback": True},
    }
    sim.service("prod", "web", image="app:1", deploymentConfiguration=configuration).alarm_fires(at_s=30)

    result = cli(*DEPLOY, "-t", "300", "--enable-rollback")

    assert result.code == 20
    assert sim.running("prod", "web") == {"app:1": 1}
    assert sim.steady("prod", "web")
    assert "StopServiceDeployment" not in result.operations


def test_a_service_that_is_missing_for_a_moment_is_not_taken_for_deleted(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")
    looks = iter(range(100))
    hidden = sim.world.services.copy()

    def hide(_index: int, operation: str, _params: Json) -> None:
        sim.world.services.update(hidden)
        if operation == "DescribeServices" and next(looks) == 2:
            sim.world.services.clear()

    sim.on_call = hide

    result = cli(*DEPLOY)

    assert result.code == 0


@pytest.fixture
def proxied(sim: Simulator) -> Iterator[tuple[str, list[int]]]:
    """A proxy before the local ECS that answers the calls with these numbers with a page of its own, and 200."""
    import http.server
    import threading
    import urllib.request

    broken: list[int] = []
    seen = iter(range(1000))

    class Proxy(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if next(seen) in broken:
                answer = b"<html>Please log in</html>"
            else:
                request = urllib.request.Request(sim.url, body, dict(self.headers.items()))
                answer = urllib.request.urlopen(request).read()
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", broken
        server.shutdown()


def test_a_look_that_is_answered_by_somebody_else_is_repeated(
    sim: Simulator, cli: Cli, proxied: tuple[str, list[int]]
) -> None:
    sim.service("prod", "web", image="app:1")
    url, broken = proxied
    broken += [5, 6]

    result = cli(*DEPLOY, env={"AWS_ENDPOINT_URL": url})

    assert result.code == 0
    assert "The answer of DescribeServices cannot be read" in result.err


def test_a_first_answer_that_cannot_be_read_ends_the_run(
    sim: Simulator, cli: Cli, proxied: tuple[str, list[int]]
) -> None:
    sim.service("prod", "web", image="app:1")
    url, broken = proxied
    broken += [0]

    result = cli(*DEPLOY, env={"AWS_ENDPOINT_URL": url})

    assert result.code == 24
    assert result.changes == []


def test_where_the_health_may_not_be_read_the_deployment_decides(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1", health_check=True)
    sim.deny("ecs:ListTasks")

    assert cli(*DEPLOY).code == 0
    skipping = cli("-c", "prod", "-n", "web", "-i", "app:3", "--skip-deployments-check")
    assert skipping.code == 24
    assert "Allow ecs:ListTasks" in skipping.err


def test_the_command_that_undoes_it_undoes_all_of_it(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1", deploymentConfiguration={"minimumHealthyPercent": 100})
    sim.image("app:2").starts_after(500)

    result = cli("-c", "prod", "-n", "web", "-i", "app:2", "-D", "5", "-m", "50", "-t", "10")

    undo = result.err.rpartition("To go back:\n")[2]
    assert "--desired-count 1 " in undo
    assert "--deployment-configuration '{" in undo
    assert undo.rstrip().endswith("--region us-east-1")


def test_a_native_deployment_is_undone_by_stopping_it(sim: Simulator, cli: Cli) -> None:
    configuration = {"strategy": "BLUE_GREEN", "bakeTimeInMinutes": 9}
    sim.service("prod", "web", image="app:1", deploymentConfiguration=configuration)

    result = cli(*DEPLOY, "-t", "60")

    assert result.code == 22
    assert "aws ecs stop-service-deployment --service-deployment-arn " in last_paragraph(result)[-1]
    assert "the bake time is longer than the time-out" in last_paragraph(result)[1]


def test_expired_credentials_say_that_nothing_was_rolled_back(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")
    sim.on_call = lambda index, operation, params: Fault.EXPIRED if index > 5 else None

    result = cli(*DEPLOY, "--enable-rollback")

    assert result.code == 24
    assert "was in progress, and was not rolled back" in result.err
