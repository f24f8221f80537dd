"""Saying why: what counts as a failure, its reasons, and the last lines of what stopped."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from ecs_deploy import likely_cause
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
    told = "ECS said that the deployment failed (web:1)"
    assert last_paragraph(result)[0].partition("failed, and the service went back: ")[2] == f"{told}."
    assert sim.running("prod", "web") == {"app:1": 1}


def test_an_alarm_that_rolls_back_is_a_failure(sim: Simulator, cli: Cli) -> None:
    alarms = {"alarms": {"alarmNames": ["errors"], "enable": True, "rollback": True}}
    sim.service("prod", "web", image="app:1", deploymentConfiguration=alarms).alarm_fires(at_s=5)

    result = cli(*DEPLOY)

    assert result.code == 1
    ended = last_paragraph(result)[0].partition("failed, and the service is going back: ")[2]
    assert ended == "ECS deployment alarms: alarm detected; ECS is rolling back to web:1."
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


def test_what_ecs_marks_as_failed_without_a_word_is_said_to_be_marked(sim: Simulator, cli: Cli) -> None:
    service = sim.service("prod", "web", image="app:1")
    sim.image("app:2").starts_after(60)
    sim.world.at(5, lambda: service.primary.becomes("FAILED", "", sim.world.now_s))

    result = cli(*DEPLOY)

    assert result.code == 1
    ended = last_paragraph(result)[0].partition(" of service web ")[2]
    assert ended == "failed: ECS marked the deployment as FAILED."


def test_the_previous_definition_in_use_again_is_said_to_be_that(sim: Simulator, cli: Cli) -> None:
    service = sim.service("prod", "web", image="app:1")
    before = service.primary.definition
    sim.image("app:2").starts_after(60)
    sim.world.at(5, lambda: service.deploy(before))

    result = cli(*DEPLOY)

    assert result.code == 1
    ended = last_paragraph(result)[0].partition(" of service web ")[2]
    made = f"{service.primary.id} made the previous task definition PRIMARY again (web:1)"
    assert ended == f"failed, and the service is going back: {made}."


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


def test_a_service_counts_as_gone_when_it_was_missing_for_three_seconds(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")
    sim.image("app:2").starts_after(60)
    sim.world.at(20.5, lambda: sim.services.pop(("prod", "web")))

    assert cli(*DEPLOY).code == 1
    assert sim.now_s == 24


def test_a_deployment_that_is_superseded_within_the_answer_of_the_update(
    sim: Simulator, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = sim.service("prod", "web", image="app:1")
    deploy, ours = service.deploy, []

    def lose_the_race(definition: Any) -> Any:
        monkeypatch.setattr(service, "deploy", deploy)
        ours.append(deploy(definition))
        sim.someone_deploys("prod", "web", "app:3")
        return ours[0]

    monkeypatch.setattr(service, "deploy", lose_the_race)

    result = cli(*DEPLOY)

    assert result.code == 23
    now = f"{service.primary.id} (web:3) is the service's PRIMARY deployment now."
    said = f"ERROR: The deployment {ours[0].id} of service web was superseded: {now}"
    assert said in result.err.splitlines()


# --- The likeliest cause

TOLD = [  # what is said, the sources that it counts from, the cause, and what to do
    ("no match for platform in manifest", "stop event", "the image cannot be pulled, it is for another platform",
     "Build it for the platform of runtimePlatform, or change that member of the task definition."),
    ("CannotPullContainerError: manifest unknown", "stop event",
     "the image cannot be pulled, there is none of that name and tag",
     "Push it, or correct the image's name, and deploy again."),
    ("CannotPullContainerError: pull access denied for app", "stop event",
     "the image cannot be pulled, the registry refuses it",
     "Allow the task's execution role (or the instance's role) to pull it, or correct the image's name."),
    ("The specified log group does not exist.", "stop event", "a log group of the definition does not exist",
     "Create it, or set awslogs-create-group."),
    ("ssm: invalid parameters: /app/key", "stop event", "a secret or parameter of the definition does not exist",
     "Create it in the region that the definition names, or correct its name."),
    ("ResourceInitializationError: AccessDenied", "stop event",
     "the task's execution role is refused what the task needs (AccessDenied)",
     "Allow it in the policy of the execution role."),
    ("exec format error", "stop log", "the image was built for another CPU architecture",
     "Build for the architecture of runtimePlatform, or change that member of the task definition."),
    ("unable to place: memberOf placement constraint unsatisfied", "event",
     "no instance meets the placement constraints",
     "Correct them in the definition or the service, or add instances that meet them."),
    ("alarm detected", "rollout event", "a CloudWatch alarm of the service went off",
     "Look at the alarm and the metric behind it."),
    ("AWAITING_ACTION", "hook", "a pause hook waits for somebody",
     "Continue it with the command above, or give a longer time-out."),
    ("BAKE_TIME", "stage", "the bake time is longer than the time-out",
     "Give a time-out that is longer than the bake time."),
    ("CannotPullContainerError: i/o", "stop event", "the image cannot be pulled",
     "Check that the tag was pushed to that registry, that the execution role may pull it, and that the task's subnets"
     " reach the registry."),
    ("ResourceInitializationError: unable to pull secrets", "stop event",
     "ECS could not prepare the task (secrets, logs, volumes or network)",
     "Check the execution role's permissions and that the subnets reach Secrets Manager, SSM, ECR and CloudWatch."),
    ("OutOfMemoryError: exit code 137", "stop", "a container was killed, most often because it ran out of memory",
     "Raise the memory of the container or the task, or find what uses it."),
    ("failed container health checks", "stop event health", "the tasks run, but are not healthy",
     "Look at the health check's command or path, its grace period (healthCheckGracePeriodSeconds), and the container's"
     " log."),
    ("RESOURCE:MEMORY", "stop event", "there is no room for the new tasks",
     "Add capacity, lower the task's cpu and memory, or lower --min so that old tasks may stop first."),
    ("SpotInterruption", "stop", "the host went away", "Deploy again; nothing points at the image."),
    ("exit code 137", "stop", "a container was killed, perhaps because it ran out of memory",
     "Look at the container's log and its memory use; raise its memory if that was it."),
    ("EssentialContainerExited", "stop", "the application ends by itself soon after it starts",
     "Read the container's log; a missing variable, secret or migration is the usual reason."),
    ("", "rollout stop event hook stage health log", "unknown, ECS gave no reason so far",
     "Look at the service's events, and give a longer time-out (-t; in an application file max_wait) if it only takes"
     " long."),
]  # fmt: skip


@pytest.mark.parametrize(("said", "sources", "cause", "advice"), TOLD, ids=[row[0] for row in TOLD])
def test_a_cause_is_seen_where_it_is_told_and_nowhere_else(said: str, sources: str, cause: str, advice: str) -> None:
    found = {
        source: likely_cause({"rollout": [""], source: [said]})
        for source in ("rollout", "event", "stop", "hook", "stage", "health", "log")
    }

    assert {source for source, told in found.items() if told == (cause, advice)} == set(sources.split())


def test_tasks_that_never_get_healthy_are_the_cause_where_nothing_else_is_told(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1", health_check=True)
    sim.image("app:2").healthy_after(500)

    result = cli(*DEPLOY, "-t", "20")

    assert result.code == 22
    assert last_paragraph(result)[1] == "Likeliest cause: the tasks run, but are not healthy."


def test_a_task_that_stops_between_two_looks_is_seen_by_the_count_of_failures(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")
    sim.image("app:2").starts_after(205).crashes(after_s=1)
    looked_s: list[float] = []

    def note(index: int, operation: str, params: Json) -> None:
        if params.get("desiredStatus") == "STOPPED":
            looked_s.append(sim.now_s)

    sim.on_call = note

    assert cli(*DEPLOY, "-t", "300").code == 22
    assert 205 < looked_s[0] < 220


def test_what_a_container_adds_nothing_to_is_said_once(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1", desired_count=4)
    sim.image("app:2").cannot_be_pulled("CannotPullContainerError: no such host")

    result = cli(*DEPLOY, "--fail-fast", "4")

    assert result.code == 1
    said = r"^Task \w{8} stopped: TaskFailedToStart: CannotPullContainerError: no such host$"
    assert len(re.findall(said, result.err, re.M)) == 1


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
    lines = [f"line {number}" if number != 20 else "" for number in range(30)]
    sim.image("app:2").crashes(after_s=2).logs(lines)

    result = cli(*DEPLOY, "-t", "300", "--output", "json")

    shown = re.findall(r"^  \| (.*)$", result.err, re.MULTILINE)
    assert result.code == 1
    assert shown == lines[10:]
    assert re.search(r"Last log lines of container web \(/ecs/web ecs/web/[0-9a-f]{32}\):", result.err)
    assert json.loads(result.out)["logs"][0]["lines"] == shown


def test_of_many_reasons_the_five_most_frequent_have_their_logs(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", containers=[logged("web")])
    sim.image("app:2").crashes(after_s=1, exit_code=1).logs(["no"])
    stopped: list[str] = []

    def another_code(_index: int, _operation: str, _params: Json) -> None:
        stopped[:] = [task.arn for task in sim.tasks_of("prod") if task.stopped_s is not None]
        sim.image("app:2").crashes(after_s=1, exit_code=1 + len(stopped))

    sim.on_call = another_code

    result = cli(*DEPLOY, "-t", "300", "--fail-fast", "6", "--output", "json")

    document = json.loads(result.out)
    assert result.code == 1
    assert [task["count"] for task in document["failed_tasks"]] == [1] * 6
    assert [log["title"] for log in document["logs"]] == [task["reason"] for task in document["failed_tasks"][:5]]


def test_a_log_without_lines_is_not_shown(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", containers=[logged("web")], deploymentConfiguration=NO_WAY_BACK)
    sim.image("app:2").crashes(after_s=2)

    result = cli(*DEPLOY, "-t", "300")

    assert result.code == 1
    assert "Last log lines" not in result.err


@pytest.mark.parametrize("option", ["awslogs-stream-prefix", "awslogs-group"])
def test_a_log_without_a_prefix_or_a_group_has_no_known_stream(sim: Simulator, cli: Cli, option: str) -> None:
    container = logged("web")
    del container["logConfiguration"]["options"][option]
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
    told = re.findall(r"^The log /ecs/web ecs/web/(\w+) cannot be read \(AccessDeniedException\)\.$", result.err, re.M)
    assert told == [call["logStreamName"].rpartition("/")[2] for call in result.requests("GetLogEvents")[:2]]
    assert told[0] != told[1]
    assert "exit code 1" in result.err


def test_stopped_tasks_that_may_not_be_read_do_not_hide_the_failure(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1", deploymentConfiguration=NO_WAY_BACK)
    sim.image("app:2").crashes(after_s=2)
    sim.deny("ecs:ListTasks")

    result = cli(*DEPLOY, "-t", "300")

    assert result.code == 1
    assert result.err.count("The stopped tasks cannot be read. AWS denied ListTasks") == 1
    assert "Likeliest cause: ECS gave no reason" not in last_paragraph(result)[0]
