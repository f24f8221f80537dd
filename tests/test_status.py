"""`ecs-deploy status`: what services run, how they do, and why not better. It changes nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest

from ecs_deploy import Exit, setback_of
from tests.conftest import Cli, Result
from tests.simulator import Fault, Simulator
from tests.simulator.definitions import digest_of
from tests.simulator.services import Deployment
from tests.vocabulary import BREAKER, DEPLOY, PREFIX, WEB, Json, last_paragraph

LOGS = {"logDriver": "awslogs", "options": {"awslogs-group": "g", "awslogs-stream-prefix": "p"}}
APP: Json = {"name": "app", "image": "app:1", "memory": 64, "essential": True, "logConfiguration": LOGS}
ALL = ("-c", "prod", "--all")


@pytest.fixture
def status(cli: Cli) -> Cli:
    """`status("-c", …)` looks, and is held to have changed nothing."""

    def run(*argv: str) -> Result:
        result = cli("status", *argv)
        assert result.changes == []
        return result

    return run


def steady(sim: Simulator) -> None:
    sim.service("prod", "web", "app:1", desired_count=2)


def without_tasks(sim: Simulator) -> None:
    sim.service("prod", "web", "app:1", desired_count=0)


def a_daemon(sim: Simulator) -> None:
    sim.service("prod", "web", "app:1", desired_count=3, schedulingStrategy="DAEMON")


def behind_a_classic_balancer(sim: Simulator) -> None:
    sim.service("prod", "web", "app:1", loadBalancers=[{"loadBalancerName": "old", "containerPort": 80}])


def gone_back(sim: Simulator) -> None:
    rolling_out_badly(sim)
    sim.advance(120)


def scaling(sim: Simulator) -> None:
    sim.service("prod", "web", "app:1", desired_count=2)
    sim.scale_service("prod", "web", 4)
    sim.advance(1)


def scaling_in(sim: Simulator) -> None:
    sim.service("prod", "web", "app:1", desired_count=4, drain_s=60)
    sim.scale_service("prod", "web", 2)
    sim.advance(2)


def rolling_out(sim: Simulator) -> None:
    sim.service("prod", "web", "app:1")
    sim.someone_deploys("prod", "web", "app:2")
    sim.advance(1)


def rolling_out_badly(sim: Simulator) -> None:
    sim.service("prod", "web", "app:1", desired_count=2, deploymentConfiguration=BREAKER)
    sim.image("app:2").crashes(after_s=1)
    sim.someone_deploys("prod", "web", "app:2")
    sim.advance(5)


def going_back(sim: Simulator) -> None:
    rolling_out_badly(sim)
    sim.image("app:1").starts_after(60)
    sim.services["prod", "web"].roll_back("ECS deployment alarms", "alarm detected.")
    sim.advance(1)


def failed(sim: Simulator) -> None:
    rolling_out_badly(sim)
    sim.services["prod", "web"].configuration["deploymentCircuitBreaker"] = {"enable": True, "rollback": False}
    sim.advance(60)


def failed_with_a_log(sim: Simulator) -> None:
    breaker = {"deploymentCircuitBreaker": {"enable": True, "rollback": False}}
    sim.service("prod", "web", containers=[APP], deploymentConfiguration=breaker)
    sim.image("app:2").crashes(after_s=1).logs(["hello", "no database"])
    sim.someone_deploys("prod", "web", "app:2")
    sim.advance(60)


def going_back_without_room(sim: Simulator) -> None:
    going_back(sim)
    sim.services["prod", "web"].primary.rollout_reason = "rolling back"
    sim.services["prod", "web"].events.clear()


def crashing(sim: Simulator) -> None:
    service = sim.service("prod", "web", containers=[APP], desired_count=2)
    sim.image("app:1").crashes(after_s=1).logs(["hello", "no database"])
    for task in list(service.primary.tasks.values()):
        task.stop("EssentialContainerExited", "Essential container in task exited")
    sim.advance(8)


def a_task_stopped(sim: Simulator) -> None:
    service = sim.service("prod", "web", "app:1", desired_count=2)
    sim.image("app:1").starts_after(60)
    next(iter(service.primary.tasks.values())).stop("EssentialContainerExited", "Essential container in task exited")
    sim.advance(2)


def without_room(sim: Simulator) -> None:
    sim.service("prod", "web", "app:1", desired_count=2)
    sim.image("app:1").cannot_be_placed()
    sim.scale_service("prod", "web", 4)
    sim.advance(5)


def old_tasks_left(sim: Simulator) -> None:
    early = {"enable": True, "healthyPercent": 100, "sourceServiceRevisionCleanup": "DEFERRED"}
    sim.service("prod", "web", "app:1", drain_s=600, deploymentConfiguration={"earlySuccessCriteria": early})
    sim.someone_deploys("prod", "web", "app:2")
    sim.advance(30)


def old_tasks_gone(sim: Simulator) -> None:
    service = sim.service("prod", "web", "app:1")
    empty = Deployment("ecs-svc/0", "", service.primary.definition, 0.0)
    empty.status = "ACTIVE"
    empty.becomes("COMPLETED", "", 0.0)
    service.deployments.append(empty)


def baking(sim: Simulator) -> None:
    configuration = {"strategy": "BLUE_GREEN", "bakeTimeInMinutes": 5}
    sim.service("prod", "web", "app:1", deploymentConfiguration=configuration)
    sim.someone_deploys("prod", "web", "app:2")
    sim.advance(40)


def at_a_hook(sim: Simulator) -> None:
    hooks = [{"targetType": "PAUSE", "lifecycleStages": ["POST_SCALE_UP"]}]
    configuration = {"strategy": "CANARY", "lifecycleHooks": hooks}
    sim.service("prod", "web", "app:1", deploymentConfiguration=configuration)
    sim.someone_deploys("prod", "web", "app:2")
    sim.advance(40)


def rolling_out_after_a_failure(sim: Simulator) -> None:
    sim.service("prod", "web", "app:1")
    sim.image("app:2").crashes(after_s=1)
    sim.someone_deploys("prod", "web", "app:2")
    sim.advance(4)


def being_deleted(sim: Simulator) -> None:
    sim.service("prod", "web", "app:1", drain_s=60)
    sim.delete_service("prod", "web")
    sim.advance(1)


def deleted(sim: Simulator) -> None:
    sim.service("prod", "web", "app:1")
    sim.delete_service("prod", "web")
    sim.advance(30)


def never_there(sim: Simulator) -> None:
    sim.service("prod", "api", "app:1")


def by_code_deploy(sim: Simulator, stability: str = "STEADY_STATE") -> None:
    """Such a service has task sets instead of deployments."""
    sim.task_definition("web", "app:0")
    task_set = {
        "id": "ecs-svc/1", "status": "PRIMARY", "taskDefinition": f"{PREFIX}/web:2", "computedDesiredCount": 1,
        "runningCount": 1, "pendingCount": 0, "stabilityStatus": stability, "createdAt": 1_750_000_000.0,
    }  # fmt: skip
    controller = {"type": "CODE_DEPLOY"}
    sim.service("prod", "web", "app:1", deploymentController=controller, taskSets=[task_set])


def never_deployed(sim: Simulator) -> None:
    sim.service("prod", "web", "app:1", deploymentController={"type": "EXTERNAL"}, runningCount=0, taskDefinition="")


STATES: dict[Callable[[Simulator], None], tuple[int, str, str]] = {
    steady: (0, "steady, 2 of 2 running", ""),
    without_tasks: (0, "steady, 0 of 0 running", ""),
    a_daemon: (0, "steady, 3 of 3 running", ""),
    behind_a_classic_balancer: (0, "steady, 1 of 1 running", ", PRIMARY, since 2025-06-15 15:06:40 UTC\n"),
    by_code_deploy: (0, "steady, 1 of 1 running", "a rollback leads to: nowhere"),
    gone_back: (0, "steady, 2 of 2 running", "ECS went back to this: (service web) (deployment ecs-svc/"),
    scaling: (1, "scaling, 2 of 4 running, 2 pending", ""),
    scaling_in: (1, "scaling, 4 of 2 running", ""),
    rolling_out: (1, "rolling out, 0 of 1 running, 1 pending", "roll-out: new: 0 running, 1 pending of 1; old: 1"),
    rolling_out_badly: (1, "rolling out, 0 of 2 running", "2 × EssentialContainerExited: Essential container in task"),
    rolling_out_after_a_failure: (1, "rolling out, 0 of 1 running", ""),
    going_back: (1, "going back, 0 of 2 running", "  roll-out: back: 0 running, 2 pending of 2; others: none left;"),
    going_back_without_room: (1, "going back, 0 of 2 running", "rolling back; 0 of 2 running"),
    failed: (1, "deployment failed, 0 of 2 running", "ECS deployment circuit breaker: tasks failed to start"),
    crashing: (1, "short of tasks, 0 of 2 running", "| no database"),
    a_task_stopped: (1, "short of tasks, 1 of 2 running", "1 × EssentialContainerExited: Essential container in task"),
    without_room: (1, "short of tasks, 2 of 4 running", "Likeliest cause: there is no room for the new tasks."),
    old_tasks_gone: (0, "steady, 1 of 1 running", ""),
    old_tasks_left: (1, "old tasks left, 1 of 1 running", "also: web:1 (ecs-svc/"),
    baking: (1, "rolling out, 1 of 1 running", "stage BAKE_TIME, 100 % of the traffic on the new"),
    at_a_hook: (1, "rolling out, 1 of 1 running", "Likeliest cause: a pause hook waits for somebody."),
    being_deleted: (1, "being deleted, 1 of 0 running", "is not steady, but being deleted: 1 of 0 running."),
    never_deployed: (1, "short of tasks, 0 of 1 running", "  definition: none\n"),
    deleted: (24, "", "The service web was not found in cluster prod"),
    never_there: (24, "", "The services of the cluster: api"),
}  # fmt: skip


EXITED = "EssentialContainerExited: Essential container in task exited; container"
ALARM = "(service web) (deployment ecs-svc/…) deployment failed: alarm detected"
REASONS: dict[Callable[[Simulator], None], str] = {
    scaling: "2 of 4 running, 2 pending",
    scaling_in: "4 of 2 running",
    rolling_out: "0 of 1 running, 1 pending",
    rolling_out_badly: f"0 of 2 running; 2 tasks failed in a row; 2 × {EXITED} web: exit code 1",
    rolling_out_after_a_failure: f"0 of 1 running; 1 task failed in a row; 1 × {EXITED} web: exit code 1",
    going_back: f"{ALARM}; 0 of 2 running, 2 pending; 2 × {EXITED} web: exit code 1",
    going_back_without_room: "rolling back; 0 of 2 running, 2 pending",
    failed: f"ECS deployment circuit breaker: tasks failed to start; 0 of 2 running; 4 × {EXITED} web: exit code 1",
    crashing: f"0 of 2 running; 4 tasks failed in a row; 4 × {EXITED} app: exit code 1",
    a_task_stopped: f"1 of 2 running, 1 pending; 1 × {EXITED} web: exit code 0",
    without_room: "2 of 4 running; 2 tasks failed in a row",
    old_tasks_left: "1 of web:1 still running",
    baking: "1 of 1 running",
    at_a_hook: "1 of 1 running",
    being_deleted: "1 of 0 running",
    never_deployed: "0 of 1 running; nothing was deployed to it",
}


@pytest.mark.parametrize("world", STATES, ids=lambda world: world.__name__.replace("_", " "))
def test_what_is_said_is_the_state_that_it_is_in(
    sim: Simulator, status: Cli, world: Callable[[Simulator], None]
) -> None:
    code, headline, said = STATES[world]
    world(sim)

    result = status(*WEB)
    as_json = status(*WEB, "--output", "json")
    document = json.loads(as_json.out)
    table = status(*ALL)

    assert (result.code, as_json.code) == (code, code)
    assert table.code == (code if code == 1 else 0)
    assert not headline or f"web: {headline}" in result.out
    assert said in result.out + result.err
    (part,) = document["parts"]
    assert (part["steady"], part["exit_code"], document["exit_code"]) == (code == 0, code, code)
    assert document["verdict"] == ("not steady" if code else "steady")
    assert part["state"] == (headline.partition(",")[0] or "not there")
    assert re.sub(r"ecs-svc/\d+", "ecs-svc/…", part["reason"]) == REASONS.get(world, "")
    assert not part["reason"] or table.lines[1].endswith(f"  {part['reason']}")
    assert not headline or "  {}/{}  ".format(*re.findall(r"\d+", headline)) in table.lines[1]
    assert ("0 of 1" in table.lines[-1]) == (code == 1)


def test_a_steady_service_in_a_screenful(sim: Simulator, status: Cli) -> None:
    sim.service("prod", "web", "app:1")
    sim.someone_deploys("prod", "web", "app:2")
    sim.advance(60)

    result = status(*WEB)

    deployment = sim.services["prod", "web"].primary
    assert result.lines == [
        "web: steady, 1 of 1 running",
        f"  definition: {PREFIX}/web:2",
        f"  image of web: app:2 {digest_of('app:2')}",
        f"  deployment: {deployment.id}, COMPLETED, since 2025-06-15 15:06:40 UTC",
        "  a rollback leads to: web:1 (app:1), deployed 2025-06-15 15:06:40 UTC, SUCCESSFUL",
    ]
    assert result.err == ""
    read = [request["taskDefinition"] for request in result.requests("DescribeTaskDefinition")]
    assert read == [f"{PREFIX}/web:2", f"{PREFIX}/web:1"]


def test_a_deployment_in_progress_in_a_screenful(sim: Simulator, status: Cli) -> None:
    baking(sim)

    result = status(*WEB)

    new, old = sim.services["prod", "web"].deployments
    assert result.code == 1
    assert result.lines == [
        "web: rolling out, 1 of 1 running",
        f"  definition: {PREFIX}/web:2",
        f"  image of web: app:2 {digest_of('app:2')}",
        f"  deployment: {new.id}, IN_PROGRESS, since 2025-06-15 15:06:40 UTC",
        f"  also: web:1 ({old.id}), 1 running",
        "  roll-out: new: 1 running, 0 pending of 1; old: 1 running; stage BAKE_TIME, 100 % of the traffic on the new",
        "  a rollback leads to: web:1 (app:1), deployed 2025-06-15 15:06:40 UTC, SUCCESSFUL",
    ]
    assert result.err == "ERROR: The service web is not steady, but rolling out: 1 of 1 running.\n"


NOT_THERE: Json = {
    "name": "web", "state": "not there", "steady": False, "reason": "", "task_definition": None, "deployment_id": None,
    "rollout_state": None, "since": None, "desired_count": 0, "running_count": 0, "pending_count": 0, "went_back": None,
    "exit_code": 24,
}  # fmt: skip
RUNS: Json = {
    **NOT_THERE, "state": "steady", "steady": True, "task_definition": f"{PREFIX}/web:1", "deployment_id": "ecs-svc/…",
    "rollout_state": "COMPLETED", "since": "2025-06-15 15:06:40 UTC", "desired_count": 1, "running_count": 1,
    "exit_code": 0, "images": [{"container": "web", "image": "app:1", "digests": [digest_of("app:1")]}], "stage": None,
    "way_back": None,
}  # fmt: skip
OUT_OF_STEP: Json = {
    **RUNS, "steady": False, "exit_code": 1, "failed_tasks": [], "events": [], "logs": [], "cause": None,
}  # fmt: skip
ALARMED = "(service web) (deployment ecs-svc/…) deployment failed: alarm detected."
DOCUMENTS: dict[Callable[[Simulator], None], Json] = {
    steady: {**RUNS, "desired_count": 2, "running_count": 2},
    by_code_deploy: {**RUNS, "task_definition": f"{PREFIX}/web:2"},
    never_there: NOT_THERE,
    deleted: {**NOT_THERE, "task_definition": f"{PREFIX}/web:1"},
    going_back: {
        **OUT_OF_STEP, "state": "going back", "rollout_state": "IN_PROGRESS", "desired_count": 2, "running_count": 0,
        "pending_count": 2, "went_back": ALARMED, "events": [ALARMED], "reason": REASONS[going_back],
        "images": [{"container": "web", "image": "app:1", "digests": []}],
        "failed_tasks": [{"count": 2, "reason": f"{EXITED} web: exit code 1"}],
        "cause": "Likeliest cause: a CloudWatch alarm of the service went off. Look at the alarm and the metric behind"
        " it.",
    },
    baking: {
        **OUT_OF_STEP, "state": "rolling out", "rollout_state": "IN_PROGRESS", "task_definition": f"{PREFIX}/web:2",
        "running_count": 2, "reason": REASONS[baking], "stage": "BAKE_TIME",
        "images": [{"container": "web", "image": "app:2", "digests": [digest_of("app:2")]}],
        "way_back": {
            "task_definition": f"{PREFIX}/web:1", "known_by": "deployed 2025-06-15 15:06:40 UTC, SUCCESSFUL",
        },
    },
}  # fmt: skip


@pytest.mark.parametrize("world", DOCUMENTS, ids=lambda world: world.__name__.replace("_", " "))
def test_the_document_has_all_that_is_known(sim: Simulator, status: Cli, world: Callable[[Simulator], None]) -> None:
    world(sim)

    result = status(*WEB, "--output", "json")

    expected = DOCUMENTS[world]
    document = json.loads(re.sub(r"ecs-svc/\d+", "ecs-svc/…", result.out))
    verdict = "steady" if expected["steady"] else "not steady"
    assert result.code == expected["exit_code"]
    assert document == {"cluster": "prod", "verdict": verdict, "parts": [expected], "exit_code": result.code}


def test_the_document_says_what_the_screen_says(sim: Simulator, status: Cli) -> None:
    crashing(sim)

    result = status(*WEB, "--output", "json")

    document = json.loads(result.out)
    assert result.code == 1
    (part,) = document["parts"]
    assert document["verdict"] == "not steady"
    assert part["state"] == "short of tasks"
    assert part["task_definition"] == f"{PREFIX}/web:1"
    assert part["images"] == [{"container": "app", "image": "app:1", "digests": []}]
    assert (part["desired_count"], part["running_count"], part["pending_count"]) == (2, 0, 0)
    assert {reason["reason"].partition(";")[0] for reason in part["failed_tasks"]} == {
        "EssentialContainerExited: Essential container in task exited"
    }
    assert part["logs"][0]["lines"] == ["hello", "no database"]
    assert part["cause"].startswith("Likeliest cause: the application ends by itself")
    assert part["way_back"] is None


def test_what_the_sentence_has_said_is_not_listed_again(sim: Simulator, status: Cli) -> None:
    crashing(sim)

    result = status(*WEB)

    assert result.code == 1
    (sentence,) = [line for line in result.err.splitlines() if line.startswith("ERROR: The service web is not steady")]
    counted = re.findall(r"\d+ × [^;]*", result.err)
    assert len(counted) == len(set(counted)) > 0
    assert counted[0] in sentence


def test_each_reason_that_the_sentence_has_not_said_stands_in_a_line_of_its_own(sim: Simulator, status: Cli) -> None:
    crashing(sim)
    for exit_code in (7, 9):
        sim.image("app:1").crashes(after_s=1, exit_code=exit_code)
        sim.advance(25)

    result = status(*WEB)

    said = "The service web is not steady, but short of tasks: 0 of 2 running; 10 tasks failed in a row"
    assert result.code == 1
    assert last_paragraph(result)[:4] == [
        f"ERROR: {said}; 4 × {EXITED} app: exit code 1.",
        f"4 × {EXITED} app: exit code 7",
        f"2 × {EXITED} app: exit code 0",
        f"2 × {EXITED} app: exit code 9",
    ]


def test_what_the_events_tell_of_trouble_is_on_the_screen(sim: Simulator, status: Cli) -> None:
    failed(sim)

    result = status(*WEB)

    (deployment,) = sim.services["prod", "web"].deployments
    end = "deployment failed: tasks failed to start."
    assert result.code == 1
    assert result.lines == [
        "web: deployment failed, 0 of 2 running",
        f"  definition: {PREFIX}/web:2",
        "  image of web: app:2",
        f"  deployment: {deployment.id}, FAILED, since 2025-06-15 15:06:40 UTC",
        f"  event: (service web) (deployment {deployment.id}) {end}",
        "  a rollback leads to: web:1 (app:1), deployed 2025-06-15 15:06:40 UTC, SUCCESSFUL",
    ]


def test_each_reason_that_the_sentence_has_not_said_has_a_line(sim: Simulator, status: Cli) -> None:
    service = sim.service("prod", "web", "app:1", desired_count=4)
    sim.image("app:1").starts_after(60)
    reasons = ("no room", "no room", "no key", "no disk")
    for task, reason in zip(list(service.primary.tasks.values()), reasons, strict=True):
        task.stop("TaskFailedToStart", reason)
    sim.advance(2)

    result = status(*WEB)

    assert result.code == 1
    assert last_paragraph(result)[:3] == [
        "ERROR: The service web is not steady, but short of tasks: 0 of 4 running, 4 pending;"
        " 2 × TaskFailedToStart: no room; container web: exit code 0.",
        "1 × TaskFailedToStart: no key; container web: exit code 0",
        "1 × TaskFailedToStart: no disk; container web: exit code 0",
    ]


def test_a_throttled_look_at_tasks_is_repeated(sim: Simulator, status: Cli) -> None:
    sim.service("prod", "web", "app:1")
    looks: list[int] = []

    def throttle_once(index: int, operation: str, params: Json) -> Fault | None:
        looks.append(index) if operation == "DescribeTasks" else None
        return Fault.THROTTLED if looks == [index] else None

    sim.on_call = throttle_once

    result = status(*WEB)

    assert f"  image of web: app:1 {digest_of('app:1')}" in result.lines
    assert result.err == ""


def test_a_table_has_the_worst_first_and_asks_no_more_than_it_must(sim: Simulator, status: Cli) -> None:
    sim.page_size = 100
    for number in range(198):
        sim.service("prod", f"s{number:03}", "app:1", family="shared")
    crashing(sim)
    sim.world.service("prod", "roll", "app:1")
    sim.someone_deploys("prod", "roll", "app:3")
    sim.advance(0.6)

    result = status(*ALL)

    assert result.code == 1
    assert [re.split(" {2,}", line)[:4] for line in result.lines[:4]] == [
        ["SERVICE", "STATE", "TASKS", "DEFINITION"],
        ["web", "short of tasks", "0/2", "web:1"],
        ["roll", "rolling out", "0/1", "roll:2"],
        ["s000", "steady", "1/1", "shared:1"],
    ]
    assert result.lines[-1] == "198 of 200 services of prod steady"
    assert result.operations.count("ListServices") == 2
    assert result.operations.count("DescribeServices") == 20
    assert len(result.operations) - 22 <= 2 * 2
    assert set(result.operations) == {"ListServices", "DescribeServices", "ListTasks", "DescribeTasks"}


def test_where_ecs_went_back_the_tasks_of_what_is_there_now_count(sim: Simulator, status: Cli) -> None:
    gone_back(sim)
    sim.image("app:1").starts_after(60)
    next(iter(sim.services["prod", "web"].primary.tasks.values())).stop("TaskFailedToStart", "no room on the disk")
    sim.advance(2)

    result = status(*WEB)

    assert result.code == 1
    assert "short of tasks, 1 of 2 running" in result.lines[0]
    assert re.search(r"; 1 × TaskFailedToStart: no room on the disk", result.err)
    assert "EssentialContainerExited" not in result.err


def test_of_the_events_that_tell_of_trouble_the_newest_five_are_shown(sim: Simulator, status: Cli) -> None:
    scaling(sim)
    for number in range(7):
        sim.services["prod", "web"].add_event(f"was unable to place a task: reason {number}.")

    result = status(*WEB)

    assert result.code == 1
    assert [line for line in result.lines if line.startswith("  event: ")] == [
        f"  event: (service web) was unable to place a task: reason {number}." for number in (6, 5, 4, 3, 2)
    ]


def test_what_was_never_deployed_has_no_deployment(sim: Simulator, status: Cli) -> None:
    never_deployed(sim)

    result = status(*WEB)

    assert result.code == 1
    assert not [line for line in result.lines if line.startswith("  deployment:")]
    assert "cannot be read" not in result.err


def test_of_each_of_several_old_deployments_it_is_said_what_is_left(sim: Simulator, status: Cli) -> None:
    early = {"enable": True, "healthyPercent": 100, "sourceServiceRevisionCleanup": "DEFERRED"}
    configuration = {"earlySuccessCriteria": early, "maximumPercent": 300}
    sim.service("prod", "web", "app:1", drain_s=600, deploymentConfiguration=configuration)
    for image in ("app:2", "app:3"):
        sim.someone_deploys("prod", "web", image)
        sim.advance(30)

    result = status(*WEB, "--output", "json")

    assert result.code == 1
    (part,) = json.loads(result.out)["parts"]
    assert part["reason"] == "1 of web:2, 1 of web:1 still running"


def test_a_time_that_aws_does_not_tell_is_unknown(sim: Simulator, status: Cli) -> None:
    by_code_deploy(sim)
    del sim.services["prod", "web"].members["taskSets"][0]["createdAt"]

    result = status(*WEB)

    assert "  deployment: ecs-svc/1, COMPLETED, since an unknown time" in result.lines


@pytest.mark.parametrize(
    ("events", "left"),
    [
        (["(service web) (deployment ecs-svc/2) deployment failed: tasks failed to start."], "ecs-svc/2"),
        (["(service web) (deployment ecs-svc/1) deployment failed: tasks failed to start."], "ecs-svc/3"),
        ([], "ecs-svc/3"),
    ],
)
def test_what_ecs_left_is_what_an_event_names_or_else_what_is_listed_as_failed(events: list[str], left: str) -> None:
    back = "ECS deployment circuit breaker: rolling back to deploymentId ecs-svc/1."
    deployments = [
        {"id": "ecs-svc/1", "status": "PRIMARY", "rolloutState": "IN_PROGRESS", "rolloutStateReason": back},
        {"id": "ecs-svc/3", "status": "ACTIVE", "rolloutState": "FAILED"},
        {"id": "ecs-svc/0", "status": "ACTIVE", "rolloutState": "COMPLETED"},
    ]
    service = {"deployments": deployments, "events": [{"message": message} for message in events]}

    assert setback_of(service)[1] == left
    assert setback_of({**service, "deployments": deployments[:1], "events": []})[1] == ""


def test_that_ecs_went_back_is_known_by_its_service_deployments_where_its_events_are_gone(
    sim: Simulator, status: Cli
) -> None:
    baking(sim)
    service = sim.services["prod", "web"]
    service.release.stop("ROLLBACK")
    sim.advance(600)
    service.events.clear()

    assert "  ECS went back to this: from web:2" in status(*WEB).lines


def test_a_table_says_where_ecs_went_back(sim: Simulator, status: Cli) -> None:
    gone_back(sim)

    result = status(*ALL)

    assert result.code == 0
    assert "ECS went back: (service web) (deployment ecs-svc/" in result.lines[1]
    assert result.operations == ["ListServices", "DescribeServices"]


def test_of_what_is_being_deleted_nobody_asks_why_its_tasks_stop(sim: Simulator, status: Cli) -> None:
    being_deleted(sim)

    result = status(*ALL)

    assert result.code == 1
    assert result.operations == ["ListServices", "DescribeServices"]


def test_a_cluster_without_services_has_an_empty_table(sim: Simulator, status: Cli) -> None:
    sim.cluster("prod")

    assert status(*ALL).lines == ["0 of 0 services of prod steady"]
    assert status(*ALL).code == 0


def test_several_services_are_told_one_after_the_other(sim: Simulator, status: Cli) -> None:
    sim.service("prod", "web-admin", "admin:1")
    steady(sim)

    result = status("-c", "prod", "-n", "web-admin", "-n", "web")
    table = status(*ALL)
    missing = status(*WEB, "-n", "web-admim")

    assert (result.code, missing.code) == (0, 24)
    assert [line for line in result.lines if not line.startswith(" ")] == [
        "web-admin: steady, 1 of 1 running", "web: steady, 2 of 2 running",
    ]  # fmt: skip
    assert [line.split()[0] for line in table.lines] == ["SERVICE", "web", "web-admin", "2"]
    assert "The services of the cluster: web, web-admin" in missing.err
    sim.someone_deploys("prod", "web-admin", "admin:2")
    sim.advance(1)
    both = status(*WEB, "-n", "web-admin")
    assert (both.code, "  roll-out: new: 0 running, 1 pending of 1; old: 1 running" in both.lines) == (1, True)


def test_among_several_a_roll_out_needs_no_name_in_its_row(sim: Simulator, status: Cli) -> None:
    rolling_out(sim)
    sim.service("prod", "api", "app:1")

    result = status(*WEB, "-n", "api")

    assert result.code == 1
    assert "  roll-out: new: 0 running, 1 pending of 1; old: 1 running" in result.lines


# --- Following


def test_what_is_followed_and_fails_ends_with_its_last_log_lines(sim: Simulator, status: Cli) -> None:
    sim.service("prod", "web", containers=[APP], deploymentConfiguration=BREAKER)
    sim.image("app:2").crashes(after_s=1).logs(["hello", "no database"])
    sim.someone_deploys("prod", "web", "app:2")

    result = status(*WEB, "--wait")

    assert result.code == 1
    assert last_paragraph(result)[-3:] == [
        "  | hello",
        "  | no database",
        "Read the container's log; a missing variable, secret or migration is the usual reason.",
    ]


def test_what_is_in_progress_is_followed_to_a_good_end(sim: Simulator, cli: Cli, status: Cli) -> None:
    sim.service("prod", "web", "app:1")
    assert cli(*DEPLOY, "--no-wait").code == 0

    result = status(*WEB, "--wait")

    assert result.code == 0
    assert result.lines[:2] == ["Waiting for service deployment to complete...", "Service deployment successful."]
    assert "web: steady, 1 of 1 running" in result.lines


FOLLOWED: dict[Callable[[Simulator], None], tuple[int, str]] = {
    steady: (0, ""),
    rolling_out: (0, "Service deployment successful."),
    scaling: (0, "Service deployment successful."),
    rolling_out_badly: (1, "failed, and the service went back: ECS deployment circuit breaker"),
    going_back: (1, f"The service is back on {PREFIX}/web:1, and stable."),
    going_back_without_room: (0, "Service deployment successful."),
    failed: (1, "failed: ECS deployment circuit breaker: tasks failed to start."),
    without_room: (22, "timed out: not steady within 90 seconds"),
    failed_with_a_log: (1, "\n  | no database\nThe service still points at"),
    baking: (22, "the bake time is longer than the time-out"),
    being_deleted: (1, "cannot complete: the service is being deleted (DRAINING)"),
    never_deployed: (1, "is not steady, but short of tasks: 0 of 1 running; nothing was deployed to it."),
    never_there: (24, "was not found"),
}


@pytest.mark.parametrize("world", FOLLOWED, ids=lambda world: world.__name__.replace("_", " "))
def test_what_is_followed_ends_as_a_deployment_does(
    sim: Simulator, status: Cli, world: Callable[[Simulator], None]
) -> None:
    code, said = FOLLOWED[world]
    world(sim)

    result = status(*WEB, "--wait")

    assert result.code == code
    assert said in result.out + result.err
    assert "registered" not in result.err
    assert ("ERROR: " in result.err) == bool(code)
    assert ("ERROR: " in result.err) == bool(code)
    assert world is not steady or result.operations == status(*WEB).operations
    assert result.err.count("Likeliest cause") <= 1


def test_what_never_had_another_definition_is_offered_no_way_back(sim: Simulator, status: Cli) -> None:
    """A service of another controller has definitions only in its task sets."""
    task_set = {
        "id": "ecs-svc/1", "status": "PRIMARY", "taskDefinition": f"{PREFIX}/web:1", "computedDesiredCount": 1,
        "runningCount": 0, "pendingCount": 1, "stabilityStatus": "STABILIZING", "createdAt": 1_750_000_000.0,
    }  # fmt: skip
    sim.service("prod", "web", "app:1", deploymentController={"type": "EXTERNAL"}, taskSets=[task_set])

    result = status(*WEB, "--wait", "-t", "5")

    assert result.code == 22
    assert "web: rolling out, 0 of 1 running, 1 pending" in result.lines
    assert "update-service" not in result.err


def test_a_way_back_that_does_not_end_is_said(sim: Simulator, status: Cli) -> None:
    rolling_out_badly(sim)
    sim.image("app:1").starts_after(500)
    sim.services["prod", "web"].roll_back("ECS deployment alarms", "alarm detected.")

    result = status(*WEB, "--wait")

    assert result.code == 21
    assert f"The rollback to {PREFIX}/web:1 did not complete" in result.err


def test_a_deployment_on_top_supersedes_what_is_followed(sim: Simulator, status: Cli) -> None:
    rolling_out(sim)
    sim.image("app:2").starts_after(60)
    sim.world.at(sim.world.now_s + 1, lambda: sim.someone_deploys("prod", "web", "app:3"))

    assert status(*WEB, "--wait").code in (Exit.OK, Exit.SUPERSEDED)


# --- A gate


OTHER = "ERROR: The service web does not run just what is expected; it runs web:2 (shop/web:2, proxy, not an image)."
NOBODY = "ERROR: None of the services runs other:1."


@pytest.mark.parametrize(
    ("expected", "wrong"),
    [
        pytest.param(["shop/web:2"], "", id="the image"),
        pytest.param(["web:2"], "", id="the revision"),
        pytest.param([f"{PREFIX}/web:2"], "", id="the ARN"),
        pytest.param(["shop/web:2", "proxy"], "", id="both images"),
        pytest.param(["shop/web:2", "web:2"], "", id="image and revision"),
        pytest.param(["shop/web:1"], OTHER, id="the image before"),
        pytest.param(["web:1"], OTHER, id="the revision before"),
        pytest.param(["shop/web:2", "web:1"], OTHER, id="the image of another revision"),
        pytest.param(["shop/web"], OTHER, id="latest"),
        pytest.param(["other/web:2"], OTHER, id="another repository"),
        pytest.param(["shop/web:2", "proxy:3"], OTHER, id="one of two"),
        pytest.param(["shop/web:2", "other:1"], NOBODY, id="one that nobody runs"),
        pytest.param(["shop/web@sha256:" + "0" * 64], OTHER, id="another digest"),
        pytest.param(["DIGEST"], "", id="the digest that runs"),
    ],
)
def test_a_gate_passes_only_what_is_expected(sim: Simulator, status: Cli, expected: list[str], wrong: str) -> None:
    containers = [{"name": n, "image": i, "memory": 64} for n, i in (("web", "shop/web:1"), ("proxy", "proxy"))]
    sim.service("prod", "web", containers=[*containers, {"name": "odd", "image": "not an image", "memory": 64}])
    sim.someone_deploys("prod", "web", "shop/web:2")
    sim.advance(60)
    running = f"shop/web@{digest_of('shop/web:2')}"

    result = status(*WEB, *(f"--expect={text.replace('DIGEST', running)}" for text in expected))

    assert result.code == (Exit.FAILED if wrong else Exit.OK)
    assert [line for line in result.err.splitlines() if line.startswith("ERROR:")] == ([wrong] if wrong else [])


def test_a_gate_lets_nothing_else_run_beside_it(sim: Simulator, status: Cli) -> None:
    old_tasks_left(sim)

    result = status(*WEB, "--expect", "app:2")

    assert result.code == 1
    assert "does not run just what is expected; it runs web:2 (app:2), web:1 (app:1)." in result.err


def test_a_gate_looks_at_tasks_only_for_a_digest(sim: Simulator, status: Cli) -> None:
    steady(sim)
    seen = ["ListServices", "DescribeServices", "DescribeTaskDefinition"]

    by_tag = status(*ALL, "--expect", "app:1", "--expect", "web:1")
    by_digest = status(*ALL, "--expect", "app:1", "--expect", f"app@{digest_of('app:1')}")

    assert (by_tag.code, by_tag.operations) == (0, seen)
    assert (by_digest.code, by_digest.operations) == (0, [*seen, "ListTasks", "DescribeTasks"])


def test_a_gate_for_a_cluster_in_which_nothing_runs_does_not_pass(sim: Simulator, status: Cli) -> None:
    sim.cluster("prod")

    assert status(*ALL, "--expect", "app:2").code == 1
    assert status(*ALL).code == 0


def test_a_gate_for_several_services(sim: Simulator, status: Cli) -> None:
    sim.service("prod", "web", "app:1")
    sim.service("prod", "api", "api:1")
    without = sim.service("prod", "none", "app:1", desired_count=0)

    both = status(*WEB, "-n", "api", "--expect", "app:1", "--expect", "api:1")
    one = status(*WEB, "-n", "api", "--expect", "app:1")
    more = status(*WEB, "-n", "api", "--expect=app:1", "--expect=api:1", "--expect=other:1", "--output=json")
    nothing = status("-c", "prod", "-n", without.name, "--expect", "app:1")
    missing = status("-c", "prod", "-n", "nope", "--expect", "app:1")
    everything = status(*ALL, "--expect", f"app@{digest_of('app:1')}")
    sim.cluster("empty")
    empty = status("-c", "empty", "--all", "--expect", "app:1")

    assert (both.code, one.code, nothing.code, missing.code, everything.code, empty.code) == (0, 1, 1, 24, 1, 1)
    assert more.code == 1
    assert [(part["name"], part["expected"], part["exit_code"]) for part in json.loads(more.out)["parts"]] == [
        ("web", False, 1), ("api", True, 0),
    ]  # fmt: skip
    assert everything.err.count("does not run just what is expected") == 2
    assert "None of the services runs app:1." in empty.err
    assert "The service api does not run just what is expected; it runs api:1 (api:1)." in one.err
    assert "it runs nothing." in nothing.err


# --- What may not be seen


@pytest.mark.parametrize(
    ("action", "said"),
    [
        ("ecs:DescribeTaskDefinition", "web:1 cannot be read. AWS denied DescribeTaskDefinition"),
        ("ecs:ListTasks", "The digests that run cannot be read. AWS denied ListTasks"),
        ("ecs:ListServiceDeployments", "The earlier deployments of web cannot be read. AWS denied"),
        ("ecs:DescribeServiceRevisions", "The earlier deployments of web cannot be read. AWS denied"),
        ("ecs:ListTaskDefinitions", "The revisions of web cannot be listed. AWS denied"),
    ],
)
def test_what_may_not_be_read_is_said_and_the_rest_told(sim: Simulator, status: Cli, action: str, said: str) -> None:
    steady(sim)
    sim.deny(action)

    result = status(*WEB)

    assert result.code == 0
    assert said in result.err
    assert "web: steady, 2 of 2 running" in result.lines


def test_a_service_that_may_not_be_seen_is_24(sim: Simulator, status: Cli) -> None:
    steady(sim)
    sim.deny("ecs:DescribeServices")

    assert status(*WEB).code == 24


def test_what_cannot_be_read_just_now_keeps_nothing_else_from_being_told(sim: Simulator, status: Cli) -> None:
    baking(sim)
    looks = ("DescribeServices", "ListServices")
    sim.world.on_call = lambda index, operation, params: None if operation in looks else Fault.SERVER_ERROR

    result = status(*WEB)

    assert result.code == 1
    assert "web: rolling out, 1 of 1 running" in result.lines
    assert "  a rollback leads to: unknown" in result.lines
    assert "AWS had an error of its own in DescribeTaskDefinition" in result.err
    assert status(*WEB, "--expect", "app:2").code == 24
    sim.world.on_call = lambda index, operation, params: (
        Fault.SERVER_ERROR if operation == "DescribeTaskDefinition" else None
    )
    result = status(*WEB)
    assert result.code == 1
    assert "  a rollback leads to: unknown" in result.lines


def test_a_cluster_that_is_not_there_is_24_with_those_that_are(sim: Simulator, status: Cli) -> None:
    sim.cluster("prod")

    result = status("-c", "prdo", "--all")

    assert result.code == 24
    assert last_paragraph(result)[1] == "The clusters in us-east-1: prod"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        pytest.param([], 5, "SERVICE is required: -n/--service-name, or --all", id="nothing"),
        pytest.param(["-n", "web"], 7, "CLUSTER is required", id="no cluster"),
        pytest.param([*WEB, "--all"], 3, "--all and -n exclude each other", id="both"),
        pytest.param([*WEB, "--expect", "a b"], 13, "Unable to parse image name: a b", id="no image"),
        pytest.param([*WEB, "-i", "app:2"], 3, "unknown option: -i", id="an option of another command"),
    ],
)
def test_bad_input_is_refused_before_any_call(status: Cli, arguments: list[str], code: int, said: str) -> None:
    result = status(*arguments)

    assert (result.code, result.operations) == (code, [])
    assert said in result.err
