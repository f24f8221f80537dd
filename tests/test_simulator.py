"""The simulator itself, through a plain botocore client over HTTP."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from cProfile import Profile
from typing import Any

import botocore.session
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionClosedError

from tests.conftest import SimClock
from tests.simulator import AwsError, Fault, Simulator
from tests.simulator.checks import knows_everything

Client = Any
needs_native_strategies = pytest.mark.skipif(not knows_everything(), reason="this botocore does not know them")
BREAKER = {"deploymentCircuitBreaker": {"enable": True, "rollback": True}}


@pytest.fixture(scope="session")
def _session() -> botocore.session.Session:
    return botocore.session.Session()


@pytest.fixture
def client(sim: Simulator, _session: botocore.session.Session) -> Callable[..., Client]:
    """A client of any service that tries every call once."""

    def make(service: str = "ecs", access_key: str = "AKIATEST") -> Client:
        return _session.create_client(
            service,
            region_name="us-east-1",
            endpoint_url=sim.url,
            aws_access_key_id=access_key,
            aws_secret_access_key="secret",
            config=Config(retries={"total_max_attempts": 1}),
        )

    return make


@pytest.fixture
def ecs(client: Callable[..., Client]) -> Client:
    return client()


def deploy(sim: Simulator, ecs: Client, image: str, **members: Any) -> str:
    """Update prod/web to a new revision with that image, and return our deployment's id."""
    definition = sim.task_definition("web", image, **members)
    service = ecs.update_service(cluster="prod", service="web", taskDefinition=definition.arn)["service"]
    return str(service["deployments"][0]["id"])


def web(ecs: Client) -> Any:
    return ecs.describe_services(cluster="prod", services=["web"])["services"][0]


def rollouts(ecs: Client) -> list[tuple[str, str, str]]:
    return [(d["id"], d["status"], d["rolloutState"]) for d in web(ecs)["deployments"]]


def messages(ecs: Client) -> list[str]:
    return [event["message"] for event in web(ecs)["events"]]


def stopped_tasks(sim: Simulator, ecs: Client) -> list[Any]:
    sim.page_size = 100
    arns = ecs.list_tasks(cluster="prod", serviceName="web", desiredStatus="STOPPED")["taskArns"]
    return list(ecs.describe_tasks(cluster="prod", tasks=arns)["tasks"]) if arns else []


def refusal(call: Callable[..., Any], **params: Any) -> tuple[str, str]:
    with pytest.raises(ClientError) as caught:
        call(**params)
    error = caught.value.response["Error"]
    return error["Code"], error["Message"]


# --- Rolling deployments


def test_a_rolling_deployment_goes_from_in_progress_to_completed(sim: Simulator, ecs: Client) -> None:
    sim.service("prod", "web", image="app:1", desired_count=2)
    old = rollouts(ecs)[0][0]

    ours = deploy(sim, ecs, "app:2")

    assert rollouts(ecs) == [(ours, "PRIMARY", "IN_PROGRESS"), (old, "ACTIVE", "COMPLETED")]
    sim.advance(60)
    assert rollouts(ecs) == [(ours, "PRIMARY", "COMPLETED")]
    assert web(ecs)["deployments"][0]["rolloutStateReason"] == f"ECS deployment {ours} completed."
    assert sim.running("prod", "web") == {"app:2": 2}
    assert sim.steady("prod", "web")
    assert messages(ecs)[:2] == [
        "(service web) has reached a steady state.",
        f"(service web) (deployment {ours}) deployment completed.",
    ]


def test_a_new_task_is_pending_then_running_and_carries_the_deployments_id(sim: Simulator, ecs: Client) -> None:
    sim.service("prod", "web", image="app:1")
    sim.image("app:2").starts_after(10)
    ours = deploy(sim, ecs, "app:2")
    seen = []

    for _ in range(3):
        sim.advance(4)
        arn = ecs.list_tasks(cluster="prod", startedBy=ours)["taskArns"][0]
        seen.append(ecs.describe_tasks(cluster="prod", tasks=[arn])["tasks"][0]["lastStatus"])

    assert seen == ["PENDING", "PENDING", "RUNNING"]


def test_no_more_than_the_maximum_runs_and_no_fewer_than_the_minimum(sim: Simulator, ecs: Client) -> None:
    limits = {"minimumHealthyPercent": 50, "maximumPercent": 150}
    sim.service("prod", "web", image="app:1", desired_count=4, deploymentConfiguration=limits, drain_s=3)
    deploy(sim, ecs, "app:2")
    most, fewest = 0, 99

    for _ in range(60):
        sim.advance(1)
        service = web(ecs)
        most = max(most, service["runningCount"] + service["pendingCount"])
        fewest = min(fewest, sum(sim.running("prod", "web").values()))

    assert (most, fewest) == (6, 2)
    assert sim.running("prod", "web") == {"app:2": 4}


def test_the_deployment_is_not_complete_while_old_tasks_drain(sim: Simulator, ecs: Client) -> None:
    sim.service("prod", "web", image="app:1", drain_s=300)
    deploy(sim, ecs, "app:2")

    sim.advance(200)

    assert [d["runningCount"] for d in web(ecs)["deployments"]] == [1, 1]
    assert web(ecs)["deployments"][0]["rolloutState"] == "IN_PROGRESS"
    assert stopped_tasks(sim, ecs)[0]["lastStatus"] in ("DEACTIVATING", "STOPPING")
    sim.advance(200)
    assert sim.steady("prod", "web")


def test_with_health_checks_a_task_counts_when_it_is_healthy(sim: Simulator, ecs: Client) -> None:
    sim.service("prod", "web", image="app:1", health_check=True)
    sim.image("app:2").healthy_after(40)
    deploy(sim, ecs, "app:2", health_check=True)

    sim.advance(30)
    assert sim.running("prod", "web") == {"app:1": 1, "app:2": 1}
    sim.advance(30)
    assert sim.running("prod", "web") == {"app:2": 1}


def test_an_unhealthy_task_is_stopped_and_replaced(sim: Simulator, ecs: Client) -> None:
    sim.service("prod", "web", image="app:1", health_check=True)
    sim.image("app:2").never_healthy()
    deploy(sim, ecs, "app:2", health_check=True)

    sim.advance(120)

    assert {task["stoppedReason"] for task in stopped_tasks(sim, ecs)} == {"Task failed container health checks"}
    assert sim.running("prod", "web")["app:1"] == 1


def test_the_same_definition_makes_a_new_deployment_only_when_forced(sim: Simulator, ecs: Client) -> None:
    sim.service("prod", "web", image="app:1")
    before = rollouts(ecs)

    ecs.update_service(cluster="prod", service="web", taskDefinition="web:1", desiredCount=3)
    sim.advance(30)
    assert rollouts(ecs) == before
    assert sim.running("prod", "web") == {"app:1": 3}

    ecs.update_service(cluster="prod", service="web", forceNewDeployment=True)
    assert len(rollouts(ecs)) == 2


def test_a_given_deployment_configuration_replaces_the_whole_of_it(sim: Simulator, ecs: Client) -> None:
    sim.service("prod", "web", image="app:1", deploymentConfiguration=BREAKER)

    ecs.update_service(cluster="prod", service="web", deploymentConfiguration={"maximumPercent": 150})

    assert web(ecs)["deploymentConfiguration"] == {
        "deploymentCircuitBreaker": {"enable": False, "rollback": False},
        "maximumPercent": 150,
        "minimumHealthyPercent": 100,
    }


def test_somebody_elses_deployment_supersedes_ours(sim: Simulator, ecs: Client) -> None:
    sim.service("prod", "web", image="app:1")
    sim.at(3, lambda: sim.someone_deploys("prod", "web", image="app:3"))
    ours = deploy(sim, ecs, "app:2")

    sim.advance(4)
    assert (ours, "ACTIVE", "IN_PROGRESS") in rollouts(ecs)
    sim.advance(60)
    assert sim.running("prod", "web") == {"app:3": 1}


# --- Failures


def test_the_circuit_breaker_goes_back_to_the_last_completed_deployment(sim: Simulator, ecs: Client) -> None:
    sim.service("prod", "web", image="app:1", deploymentConfiguration=BREAKER, drain_s=30)
    old = rollouts(ecs)[0][0]
    sim.image("app:2").crashes(after_s=5)
    ours = deploy(sim, ecs, "app:2")

    while rollouts(ecs)[0][0] == ours:
        sim.advance(1)

    assert rollouts(ecs)[0] == (old, "PRIMARY", "IN_PROGRESS")
    primary = web(ecs)["deployments"][0]
    assert primary["rolloutStateReason"] == f"ECS deployment circuit breaker: rolling back to deploymentId {old}"
    assert f"(service web) (deployment {ours}) deployment failed: tasks failed to start." in messages(ecs)
    sim.advance(120)
    assert rollouts(ecs) == [(old, "PRIMARY", "COMPLETED")]
    assert sim.running("prod", "web") == {"app:1": 1}


def test_a_rollback_may_come_with_a_new_id(sim: Simulator, ecs: Client) -> None:
    sim.service("prod", "web", image="app:1", deploymentConfiguration=BREAKER)
    sim.rollback_reuses_id = False
    old = rollouts(ecs)[0][0]
    sim.image("app:2").cannot_be_pulled()
    ours = deploy(sim, ecs, "app:2")

    sim.advance(200)

    assert sim.steady("prod", "web")
    assert rollouts(ecs)[0][0] not in (old, ours)


def test_a_rollback_that_fails_too_is_not_rolled_back(sim: Simulator, ecs: Client) -> None:
    blocking = {**BREAKER, "minimumHealthyPercent": 0}
    sim.service("prod", "web", image="app:1", deploymentConfiguration=blocking)
    sim.image("app:1").cannot_be_pulled()
    sim.image("app:2").cannot_be_pulled()
    old = rollouts(ecs)[0][0]
    deploy(sim, ecs, "app:2")

    sim.advance(600)

    assert rollouts(ecs) == [(old, "PRIMARY", "FAILED")]
    assert service_deployment(ecs)["status"] == "ROLLBACK_FAILED"


def test_without_rollback_the_breaker_leaves_a_failed_primary(sim: Simulator, ecs: Client) -> None:
    breaker = {"deploymentCircuitBreaker": {"enable": True, "rollback": False}}
    sim.service("prod", "web", image="app:1", deploymentConfiguration=breaker)
    sim.image("app:2").cannot_be_pulled()
    ours = deploy(sim, ecs, "app:2")

    sim.advance(300)

    primary = web(ecs)["deployments"][0]
    assert (primary["id"], primary["rolloutState"], primary["failedTasks"]) == (ours, "FAILED", 3)
    assert primary["rolloutStateReason"] == "ECS deployment circuit breaker: tasks failed to start."
    assert sim.running("prod", "web") == {"app:1": 1}


def test_without_the_breaker_a_crash_loop_stays_in_progress(sim: Simulator, ecs: Client) -> None:
    sim.service("prod", "web", image="app:1", drain_s=1000)
    sim.image("app:2").crashes(after_s=5, exit_code=3, reason="OutOfDoors")
    ours = deploy(sim, ecs, "app:2")

    sim.advance(600)

    assert rollouts(ecs)[0] == (ours, "PRIMARY", "IN_PROGRESS")
    crashed = [task for task in stopped_tasks(sim, ecs) if task["startedBy"] == ours]
    assert crashed[0]["stopCode"] == "EssentialContainerExited"
    assert crashed[0]["stoppedReason"] == "Essential container in task exited"
    assert (crashed[0]["containers"][0]["exitCode"], crashed[0]["containers"][0]["reason"]) == (3, "OutOfDoors")
    assert 8 < len(crashed) < 30


def test_an_image_that_cannot_be_pulled_has_no_exit_code(sim: Simulator, ecs: Client) -> None:
    sim.service("prod", "web", image="app:1")
    sim.image("app:2").cannot_be_pulled()
    deploy(sim, ecs, "app:2")

    sim.advance(5)

    [task] = stopped_tasks(sim, ecs)
    assert task["stopCode"] == "TaskFailedToStart"
    assert task["stoppedReason"].startswith("CannotPullContainerError: pull image manifest has been retried 5 time(s)")
    assert "exitCode" not in task["containers"][0]


def test_failed_tasks_falls_back_to_zero_when_a_task_stays(sim: Simulator, ecs: Client) -> None:
    sim.service("prod", "web", image="app:1", drain_s=500)
    sim.image("app:2").flaps(up_s=2, times=2)
    deploy(sim, ecs, "app:2")
    counts = []

    for _ in range(40):
        sim.advance(1)
        counts.append(web(ecs)["deployments"][0]["failedTasks"])

    assert sorted(set(counts)) == [0, 1, 2]
    assert counts[-1] == 0


def test_an_alarm_rolls_the_deployment_back(sim: Simulator, ecs: Client) -> None:
    alarms = {"alarms": {"alarmNames": ["web-errors"], "enable": True, "rollback": True}}
    service = sim.service("prod", "web", image="app:1", deploymentConfiguration=alarms, drain_s=60)
    deploy(sim, ecs, "app:2")
    service.alarm_fires(at_s=20)

    sim.advance(21)

    assert web(ecs)["deployments"][0]["rolloutStateReason"].startswith("ECS deployment alarms: rolling back to")
    sim.advance(100)
    assert sim.running("prod", "web") == {"app:1": 1}


def test_a_task_that_no_instance_has_room_for_is_an_event(sim: Simulator, ecs: Client) -> None:
    sim.service("prod", "web", image="app:1")
    sim.image("app:2").cannot_be_placed()
    deploy(sim, ecs, "app:2")

    sim.advance(60)

    assert messages(ecs)[0].startswith("(service web) was unable to place a task because no container instance met all")
    assert sim.running("prod", "web") == {"app:1": 1}


def test_a_deleted_service_drains_and_is_then_inactive(sim: Simulator, ecs: Client) -> None:
    sim.service("prod", "web", image="app:1", drain_s=10)
    sim.delete_service("prod", "web")

    sim.advance(5)
    assert web(ecs)["status"] == "DRAINING"
    sim.advance(10)
    assert web(ecs)["status"] == "INACTIVE"
    assert refusal(ecs.update_service, cluster="prod", service="web")[0] == "ServiceNotActiveException"


# --- What the API refuses


def test_what_does_not_exist_is_named_as_aws_names_it(sim: Simulator, ecs: Client) -> None:
    sim.cluster("prod")
    answer = ecs.describe_services(cluster="prod", services=["web"])

    assert answer["failures"] == [{"arn": "arn:aws:ecs:us-east-1:123456789012:service/prod/web", "reason": "MISSING"}]
    assert refusal(ecs.describe_services, cluster="no", services=["web"]) == (
        "ClusterNotFoundException",
        "Cluster not found.",
    )
    assert refusal(ecs.update_service, cluster="prod", service="web") == (
        "ServiceNotFoundException",
        "Service not found.",
    )
    assert refusal(ecs.describe_task_definition, taskDefinition="web") == (
        "ClientException",
        "Unable to describe task definition.",
    )


def test_lists_come_in_pages_of_two(sim: Simulator, ecs: Client) -> None:
    for _ in range(5):
        sim.task_definition("web")

    pages = list(ecs.get_paginator("list_task_definitions").paginate(familyPrefix="web", sort="DESC"))

    assert [len(page["taskDefinitionArns"]) for page in pages] == [2, 2, 1]
    assert pages[0]["taskDefinitionArns"][0].endswith("/web:5")
    assert refusal(ecs.list_task_definitions, nextToken="made-up")[0] == "InvalidParameterException"


def test_batches_have_limits(sim: Simulator, ecs: Client) -> None:
    sim.cluster("prod")
    names = [str(number) for number in range(101)]

    assert refusal(ecs.describe_services, cluster="prod", services=names[:11])[0] == "InvalidParameterException"
    assert refusal(ecs.describe_tasks, cluster="prod", tasks=names)[0] == "InvalidParameterException"
    assert refusal(ecs.delete_task_definitions, taskDefinitions=names[:11])[0] == "InvalidParameterException"


def test_definitions_are_kept_as_they_came_and_checked(sim: Simulator, ecs: Client) -> None:
    web = {"name": "web", "image": "app:1", "newMember": 1}
    raw = {"family": "web", "containerDefinitions": [web]}
    ecs.meta.events.register(
        "before-call.ecs.RegisterTaskDefinition",
        lambda params, **_: params.update(body=params["body"].replace(b'"app:1"', b'"app:1", "newMember": 1')),
    )
    plain = {"family": "web", "containerDefinitions": [{"name": "web", "image": "app:1"}]}

    assert "newMember" in refusal(ecs.register_task_definition, **plain)[1]
    sim.future_members = {"newMember"}
    ecs.register_task_definition(**plain)

    assert sim.definitions.find("web").raw == raw


@pytest.mark.parametrize(
    ("member", "message"),
    [
        pytest.param({"tags": []}, "Tags can not be empty.", id="empty tags"),
        pytest.param({"tags": [{"key": "aws:x", "value": "1"}]}, "reserved prefix", id="aws: tags"),
        pytest.param({"networkMode": "overlay"}, "'overlay' is not one of", id="unknown value"),
        pytest.param(
            {
                "containerDefinitions": [
                    {
                        "name": "a",
                        "image": "b",
                        "environment": [{"name": "X", "value": "1"}],
                        "secrets": [{"name": "X", "valueFrom": "arn"}],
                    }
                ]
            },
            "secret name must be unique",
            id="one name twice",
        ),
    ],
)
def test_bad_definitions_are_refused(ecs: Client, member: dict[str, Any], message: str) -> None:
    good = {"family": "web", "containerDefinitions": [{"name": "web", "image": "app:1"}]}
    assert message in refusal(ecs.register_task_definition, **{**good, **member})[1]


def test_revision_numbers_are_never_used_again(sim: Simulator, ecs: Client) -> None:
    sim.task_definition("web")
    ecs.deregister_task_definition(taskDefinition="web:1")
    ecs.delete_task_definitions(taskDefinitions=["web:1"])

    assert sim.task_definition("web").revision == 2
    assert sim.active_revisions("web") == [2]


def test_an_inactive_revision_can_be_used_for_ten_minutes_more(sim: Simulator, ecs: Client) -> None:
    sim.service("prod", "web", image="app:1")
    sim.task_definition("web", "app:2")
    ecs.deregister_task_definition(taskDefinition="web:2")

    ecs.update_service(cluster="prod", service="web", taskDefinition="web:2")
    ecs.update_service(cluster="prod", service="web", taskDefinition="web:1")
    sim.advance(601)
    update = {"cluster": "prod", "service": "web", "taskDefinition": "web:2"}
    assert refusal(ecs.update_service, **update) == ("ClientException", "TaskDefinition is inactive")


def test_a_service_of_code_deploy_takes_no_definition(sim: Simulator, ecs: Client) -> None:
    sim.service("prod", "web", deploymentController={"type": "CODE_DEPLOY"})

    code, message = refusal(ecs.update_service, cluster="prod", service="web", taskDefinition="web:1")

    assert (code, "CODE_DEPLOY" in message) == ("InvalidParameterException", True)


def test_a_denied_action_is_named(sim: Simulator, ecs: Client) -> None:
    sim.deny("ecs:TagResource")
    definition = {"family": "web", "containerDefinitions": [{"name": "web", "image": "app:1"}]}

    code, message = refusal(ecs.register_task_definition, **definition, tags=[{"key": "a", "value": "b"}])

    assert code == "AccessDeniedException"
    assert "is not authorized to perform: ecs:TagResource on resource: " in message
    assert ecs.register_task_definition(**definition)["taskDefinition"]["revision"] == 1


# --- Running tasks


def test_a_task_runs_and_ends_with_its_code(sim: Simulator, ecs: Client) -> None:
    sim.cluster("prod")
    sim.task_definition("job", "job:1")
    sim.image("job:1").exits(3, after_s=10)
    arn = ecs.run_task(cluster="prod", taskDefinition="job", startedBy="me")["tasks"][0]["taskArn"]

    sim.advance(20)

    [task] = ecs.describe_tasks(cluster="prod", tasks=[arn])["tasks"]
    assert (task["lastStatus"], task["startedBy"], task["containers"][0]["exitCode"]) == ("STOPPED", "me", 3)
    sim.advance(3600)
    assert ecs.describe_tasks(cluster="prod", tasks=[arn])["failures"] == [{"arn": arn, "reason": "MISSING"}]


def test_a_client_token_makes_run_task_safe_to_repeat(sim: Simulator, ecs: Client) -> None:
    sim.cluster("prod")
    sim.task_definition("job")
    run = {"cluster": "prod", "taskDefinition": "job", "count": 2, "clientToken": "once"}

    first, second = ecs.run_task(**run), ecs.run_task(**run)

    assert [t["taskArn"] for t in first["tasks"]] == [t["taskArn"] for t in second["tasks"]]
    assert refusal(ecs.run_task, **{**run, "count": 1})[0] == "ConflictException"


def test_run_task_answers_failures_where_nothing_could_be_placed(sim: Simulator, ecs: Client) -> None:
    sim.cluster("prod")
    sim.task_definition("job")
    sim.fail_run_task("RESOURCE:MEMORY", count=1)

    answer = ecs.run_task(cluster="prod", taskDefinition="job", count=2)

    assert len(answer["tasks"]) == 1
    assert [failure["reason"] for failure in answer["failures"]] == ["RESOURCE:MEMORY"]


def test_awsvpc_needs_a_network_configuration(sim: Simulator, ecs: Client) -> None:
    sim.cluster("prod")
    sim.task_definition("job", networkMode="awsvpc")

    assert refusal(ecs.run_task, cluster="prod", taskDefinition="job") == (
        "InvalidParameterException",
        "Network Configuration must be provided when networkMode 'awsvpc' is specified.",
    )


def test_a_container_with_awslogs_leaves_its_lines(sim: Simulator, ecs: Client, client: Callable[..., Client]) -> None:
    options = {"awslogs-group": "/ecs/job", "awslogs-region": "us-east-1", "awslogs-stream-prefix": "ecs"}
    job = {"name": "job", "image": "job:1", "logConfiguration": {"logDriver": "awslogs", "options": options}}
    sim.cluster("prod")
    sim.task_definition("job", containers=[job])
    sim.image("job:1").logs(["one", "two", "three"])
    task_id = ecs.run_task(cluster="prod", taskDefinition="job")["tasks"][0]["taskArn"].rpartition("/")[2]
    stream = {"logGroupName": "/ecs/job", "logStreamName": f"ecs/job/{task_id}"}
    logs = client("logs")

    assert refusal(logs.get_log_events, **stream)[0] == "ResourceNotFoundException"
    sim.advance(5)
    assert [e["message"] for e in logs.get_log_events(**stream, limit=2)["events"]] == ["two", "three"]
    found = logs.filter_log_events(logGroupName="/ecs/job", filterPattern="t")["events"]
    assert [e["message"] for e in found] == ["two", "three"]


# --- Native strategies


def service_deployment(ecs: Client) -> Any:
    arn = ecs.list_service_deployments(cluster="prod", service="web")["serviceDeployments"][0]["serviceDeploymentArn"]
    return ecs.describe_service_deployments(serviceDeploymentArns=[arn])["serviceDeployments"][0]


@needs_native_strategies
def test_blue_green_goes_through_its_stages_and_bakes(sim: Simulator, ecs: Client) -> None:
    configuration = {"strategy": "BLUE_GREEN", "bakeTimeInMinutes": 5}
    sim.service("prod", "web", image="app:1", deploymentConfiguration=configuration)
    deploy(sim, ecs, "app:2")
    seen: list[tuple[str, str, float]] = []

    while not seen or seen[-1][0] != "SUCCESSFUL":
        now = service_deployment(ecs)
        target = now["targetServiceRevision"]
        state = (now["status"], now.get("lifecycleStage", ""), target["requestedProductionTrafficWeight"])
        seen += [state] if state not in seen else []
        sim.advance(20 if state[1] == "BAKE_TIME" else 0.5)

    assert [stage for _, stage, _ in seen if stage] == [
        "RECONCILE_SERVICE",
        "PRE_SCALE_UP",
        "SCALE_UP",
        "POST_SCALE_UP",
        "TEST_TRAFFIC_SHIFT",
        "POST_TEST_TRAFFIC_SHIFT",
        "PRODUCTION_TRAFFIC_SHIFT",
        "POST_PRODUCTION_TRAFFIC_SHIFT",
        "BAKE_TIME",
        "CLEAN_UP",
    ]
    assert {status: weight for status, _, weight in seen} == {"PENDING": 0, "IN_PROGRESS": 100, "SUCCESSFUL": 100}
    assert 300 < sim.now_s < 360
    assert sim.steady("prod", "web")
    assert sim.running("prod", "web") == {"app:2": 1}


@needs_native_strategies
def test_canary_shifts_a_part_first(sim: Simulator, ecs: Client) -> None:
    canary = {"canaryPercent": 10.0, "canaryBakeTimeInMinutes": 2}
    configuration = {"strategy": "CANARY", "canaryConfiguration": canary}
    sim.service("prod", "web", image="app:1", deploymentConfiguration=configuration)
    deploy(sim, ecs, "app:2")

    sim.advance(60)
    now = service_deployment(ecs)
    assert now["targetServiceRevision"]["requestedProductionTrafficWeight"] == 10
    assert now["sourceServiceRevisions"][0]["requestedProductionTrafficWeight"] == 90
    assert sim.running("prod", "web") == {"app:1": 1, "app:2": 1}
    sim.advance(120)
    assert sim.running("prod", "web") == {"app:2": 1}


@needs_native_strategies
@pytest.mark.parametrize(
    ("action", "status", "image"),
    [
        pytest.param("CONTINUE", "SUCCESSFUL", "app:2", id="continue"),
        pytest.param("ROLLBACK", "ROLLBACK_SUCCESSFUL", "app:1", id="rollback"),
    ],
)
def test_a_pause_hook_awaits_an_action(sim: Simulator, ecs: Client, action: str, status: str, image: str) -> None:
    hook = {"targetType": "PAUSE", "lifecycleStages": ["POST_SCALE_UP"]}
    configuration = {"strategy": "BLUE_GREEN", "lifecycleHooks": [hook]}
    sim.service("prod", "web", image="app:1", deploymentConfiguration=configuration)
    deploy(sim, ecs, "app:2")

    sim.advance(300)
    now = service_deployment(ecs)
    [paused] = now["lifecycleHookDetails"]
    assert (now["lifecycleStage"], paused["status"]) == ("POST_SCALE_UP", "AWAITING_ACTION")
    arn = now["serviceDeploymentArn"]
    ecs.continue_service_deployment(serviceDeploymentArn=arn, hookId=paused["hookId"], action=action)
    sim.advance(60)

    assert service_deployment(ecs)["status"] == status
    assert sim.running("prod", "web") == {image: 1}


@pytest.mark.parametrize(
    "configuration",
    [
        pytest.param({"strategy": "BLUE_GREEN", "bakeTimeInMinutes": 60}, id="blue/green"),
        pytest.param({}, id="rolling"),
    ],
)
def test_a_service_deployment_can_be_stopped(sim: Simulator, ecs: Client, configuration: dict[str, Any]) -> None:
    sim.service("prod", "web", image="app:1", deploymentConfiguration=configuration, drain_s=90)
    deploy(sim, ecs, "app:2")
    sim.advance(40)
    arn = service_deployment(ecs)["serviceDeploymentArn"]

    ecs.stop_service_deployment(serviceDeploymentArn=arn, stopType="ROLLBACK")

    assert service_deployment(ecs)["status"] == "ROLLBACK_REQUESTED"
    sim.advance(5)
    assert service_deployment(ecs)["status"] == "ROLLBACK_IN_PROGRESS"
    sim.advance(300)
    listed = ecs.list_service_deployments(cluster="prod", service="web")["serviceDeployments"]
    assert [found["status"] for found in listed] == ["ROLLBACK_SUCCESSFUL", "SUCCESSFUL"]
    assert sim.steady("prod", "web")
    assert sim.running("prod", "web") == {"app:1": 1}
    assert refusal(ecs.stop_service_deployment, serviceDeploymentArn=arn)[0] == "ConflictException"


# --- Faults


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        pytest.param(Fault.THROTTLED, "ThrottlingException", id="throttled"),
        pytest.param(Fault.SERVER_ERROR, "ServerException", id="500"),
        pytest.param(Fault.EXPIRED, "ExpiredTokenException", id="expired"),
        pytest.param(AwsError("BlockedException", "no"), "BlockedException", id="any error"),
    ],
)
def test_a_call_can_fail(sim: Simulator, ecs: Client, fault: Fault | AwsError, code: str) -> None:
    sim.on_call = lambda index, operation, params: fault if index == 1 else None

    ecs.list_clusters()
    assert refusal(ecs.list_clusters)[0] == code
    assert [call.error_code for call in sim.calls] == [None, code]


@pytest.mark.parametrize(("fault", "made"), [(Fault.DROP_BEFORE, []), (Fault.DROP_AFTER, [1])])
def test_a_connection_can_be_dropped(sim: Simulator, ecs: Client, fault: Fault, made: list[int]) -> None:
    sim.on_call = lambda index, operation, params: fault

    with pytest.raises(ConnectionClosedError):
        ecs.register_task_definition(family="web", containerDefinitions=[{"name": "web", "image": "app:1"}])

    assert sim.active_revisions("web") == made


def test_reads_after_an_update_can_be_stale(sim: Simulator, ecs: Client) -> None:
    sim.service("prod", "web", image="app:1")
    sim.stale_reads = 2
    old = rollouts(ecs)[0][0]
    ours = deploy(sim, ecs, "app:2")

    assert [rollouts(ecs)[0][0] for _ in range(3)] == [old, old, ours]
    sim.on_call = lambda index, operation, params: Fault.STALE
    assert rollouts(ecs)[0][0] == old


def test_an_answer_can_miss_what_is_there(sim: Simulator, ecs: Client) -> None:
    sim.service("prod", "web")
    [arn] = ecs.list_tasks(cluster="prod")["taskArns"]
    sim.on_call = lambda index, operation, params: Fault.MISSING

    assert ecs.describe_tasks(cluster="prod", tasks=[arn])["failures"] == [{"arn": arn, "reason": "MISSING"}]
    assert ecs.describe_services(cluster="prod", services=["web"])["failures"][0]["reason"] == "MISSING"
    sim.on_call = None
    assert ecs.describe_tasks(cluster="prod", tasks=[arn])["failures"] == []


def test_throttles_let_a_burst_through_and_refill_in_the_worlds_time(sim: Simulator, ecs: Client) -> None:
    sim.throttles = True
    for _ in range(20):
        sim.handle(
            "ecs",
            "RegisterTaskDefinition",
            {"family": "web", "containerDefinitions": [{"name": "web", "image": "app:1"}]},
        )

    assert refusal(ecs.deregister_task_definition, taskDefinition="web:1") == ("ThrottlingException", "Rate exceeded")
    sim.advance(1)
    ecs.deregister_task_definition(taskDefinition="web:1")


# --- Credentials


def test_an_assumed_role_is_good_until_it_expires(sim: Simulator, client: Callable[..., Client]) -> None:
    sim.credentials_life_s = 900
    sts = client("sts")
    issued = sts.assume_role(RoleArn="arn:aws:iam::123456789012:role/deployer", RoleSessionName="me")["Credentials"]
    ecs = client(access_key=issued["AccessKeyId"])

    ecs.list_clusters()
    sim.advance(901)
    assert refusal(ecs.list_clusters)[0] == "ExpiredTokenException"
    assert [call.access_key for call in sim.calls_of("ListClusters")] == [issued["AccessKeyId"]] * 2
    sim.deny("sts:AssumeRole")
    role = {"RoleArn": "arn:aws:iam::123456789012:role/deployer", "RoleSessionName": "me"}
    assert refusal(sts.assume_role, **role)[0] == "AccessDenied"


def test_an_instance_gets_credentials_from_its_metadata(sim: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in sim.environment(metadata=True, keys=False).items():
        monkeypatch.setenv(name, value)

    ecs: Client = botocore.session.Session().create_client("ecs")
    ecs.list_clusters()

    assert sim.calls[0].access_key.startswith("ASIA")


# --- Cost, the clock, and the command


def test_ten_minutes_of_two_hundred_tasks_cost_next_to_nothing(sim: Simulator, ecs: Client, clock: SimClock) -> None:
    sim.page_size = 10
    sim.service("prod", "web", image="app:1", desired_count=200)
    deploy(sim, ecs, "app:2")
    profile = Profile()

    profile.runcall(clock.sleep, 600)

    assert sum(row.callcount for row in profile.getstats()) < 60_000
    assert sim.running("prod", "web") == {"app:2": 200}
    assert sim.now_s == 600


@pytest.mark.parametrize("seconds", [-0.001, float("nan"), float("inf")])
def test_its_clock_refuses_what_nobody_can_sleep(clock: SimClock, seconds: float) -> None:
    with pytest.raises((ValueError, OverflowError)):
        time.sleep(seconds)
    with pytest.raises(ValueError, match="nobody can sleep"):
        clock.sleep(seconds)


def test_the_command_runs_inside_a_world_and_its_exit_code_is_kept() -> None:
    inner = "import os, sys; print(os.environ['AWS_ENDPOINT_URL']); sys.exit(7)"
    simulator = [sys.executable, "-m", "tests.simulator", "--", sys.executable, "-c", inner]

    result = subprocess.run(simulator, capture_output=True, text=True, env={**os.environ, "AWS_PROFILE": "mine"})

    assert (result.returncode, result.stdout[:17], result.stderr) == (7, "http://127.0.0.1:", "")


def test_a_signal_is_passed_on_to_the_command() -> None:
    inner = "import time; print('ready', flush=True); time.sleep(60)"
    command = [sys.executable, "-m", "tests.simulator", "--", sys.executable, "-c", inner]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()

        process.send_signal(signal.SIGTERM)

        assert process.wait(timeout=10) == 128 + signal.SIGTERM


@pytest.mark.skipif(os.name == "nt", reason="Windows has no process groups of a terminal")
def test_a_terminals_ctrl_c_reaches_the_command_once() -> None:
    inner = (
        "import signal, sys, time; came = []; signal.signal(signal.SIGINT, lambda *_: came.append(1))\n"
        "print('ready', flush=True); time.sleep(1); print(len(came))"
    )
    command = [sys.executable, "-m", "tests.simulator", "--", sys.executable, "-c", inner]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout is not None
        process.stdout.readline()

        os.killpg(process.pid, signal.SIGINT)

        assert process.stdout.read() == "1\n"
        assert process.wait(timeout=10) == 0
