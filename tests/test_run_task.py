"""Running tasks: what is sent, how they are waited for, their logs, their exit codes, and interruptions."""

from __future__ import annotations

import json
import re
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Cli, Result, SimClock
from tests.simulator import AwsError, Fault, Simulator
from tests.vocabulary import last_paragraph

Json = dict[str, Any]
JOB = ("-c", "prod", "-d", "job", "-i", "app:2", "--run-task")
WAIT = (*JOB, "--wait-for-success")
VPC = {"awsvpcConfiguration": {"subnets": ["subnet-1"], "securityGroups": ["sg-1"], "assignPublicIp": "ENABLED"}}


@pytest.fixture
def world(sim: Simulator) -> Simulator:
    """A cluster and the family `job`; its container logs with awslogs."""
    sim.cluster("prod")
    sim.task_definition("job", containers=[logging("job")])
    return sim


def logging(name: str, **members: Any) -> Json:
    """A container whose log goes to CloudWatch."""
    options = {"awslogs-group": "/ecs/job", "awslogs-region": "us-east-1", "awslogs-stream-prefix": "ecs"}
    log = {"logDriver": "awslogs", "options": options}
    return {"name": name, "image": "app:1", "memory": 64, "logConfiguration": log, **members}


def sent(result: Result) -> Json:
    """The one RunTask request, without what every one has."""
    (request,) = result.requests("RunTask")
    return {name: v for name, v in request.items() if name not in ("cluster", "taskDefinition", "clientToken", "count")}


# --- What is sent


def test_a_task_runs_the_new_revision_once(world: Simulator, cli: Cli) -> None:
    result = cli(*JOB)

    (request,) = result.requests("RunTask")
    assert result.code == 0
    assert re.fullmatch(r"[0-9a-f]{32}", request.pop("clientToken"))
    assert request == {
        "cluster": "prod",
        "taskDefinition": "arn:aws:ecs:us-east-1:123456789012:task-definition/job:2",
        "count": 1,
    }
    assert "The end of the task is not waited for (--wait-for-success does)." in result.err


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(
            "awsvpcConfiguration={subnets=[subnet-1],securityGroups=[sg-1],assignPublicIp=ENABLED}", id="lists"
        ),
        pytest.param("awsvpcConfiguration={subnets=subnet-1,securityGroups=sg-1,assignPublicIp=ENABLED}", id="words"),
        pytest.param(json.dumps(VPC), id="JSON"),
        pytest.param("file://{folder}/vpc", id="a file of JSON"),
        pytest.param("file://{folder}/vpc-shorthand", id="a file of shorthand"),
    ],
)
def test_a_network_can_be_spelled_as_the_aws_cli_takes_it(
    world: Simulator, cli: Cli, tmp_path: Path, text: str
) -> None:
    world.definitions.families["job"][0].raw["networkMode"] = "awsvpc"
    (tmp_path / "vpc").write_text(json.dumps(VPC, indent=2))
    shorthand = "awsvpcConfiguration={subnets=[subnet-1], securityGroups=[sg-1], assignPublicIp=ENABLED}\n"
    (tmp_path / "vpc-shorthand").write_text(shorthand)

    result = cli(*JOB, "--network-configuration", text.replace("{folder}", str(tmp_path)))

    assert result.code == 0
    assert sent(result) == {"networkConfiguration": VPC}


def test_launch_type_and_platform_version_are_sent(world: Simulator, cli: Cli) -> None:
    result = cli(*JOB, "--launch-type", "fargate", "--platform-version", "1.4.0")

    assert sent(result) == {"launchType": "FARGATE", "platformVersion": "1.4.0"}


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("capacityProvider=SPOT,weight=4,base=0 capacityProvider=FARGATE,weight=1", id="shorthand"),
        pytest.param(
            '[{"capacityProvider": "SPOT", "weight": 4, "base": 0}, {"capacityProvider": "FARGATE", "weight": "1"}]',
            id="JSON",
        ),
    ],
)
def test_a_capacity_provider_strategy_is_sent(world: Simulator, cli: Cli, text: str) -> None:
    result = cli(*JOB, "--capacity-provider-strategy", text)

    assert sent(result) == {
        "capacityProviderStrategy": [
            {"capacityProvider": "SPOT", "weight": 4, "base": 0},
            {"capacityProvider": "FARGATE", "weight": 1},
        ]
    }


def test_a_single_capacity_provider_needs_no_list(world: Simulator, cli: Cli) -> None:
    result = cli(*JOB, "--capacity-provider-strategy", '{"capacityProvider": "SPOT"}')

    assert sent(result) == {"capacityProviderStrategy": [{"capacityProvider": "SPOT"}]}


@pytest.mark.parametrize("in_a_file", [True, False])
def test_overrides_and_commands_are_merged(world: Simulator, cli: Cli, tmp_path: Path, in_a_file: bool) -> None:
    world.task_definition("job", containers=[logging("job"), logging("helper")])
    environment = [{"name": "MODE", "value": "once"}]
    overrides = {"cpu": "512", "containerOverrides": [{"name": "job", "environment": environment, "command": ["old"]}]}
    (tmp_path / "overrides").write_text(json.dumps(overrides))
    text = f"file://{tmp_path}/overrides" if in_a_file else json.dumps(overrides)

    result = cli(*JOB, "--overrides", text, "--command", "job=migrate --to 'the end'", "--command", "helper=true")

    assert result.code == 0
    assert sent(result) == {
        "overrides": {
            "cpu": "512",
            "containerOverrides": [
                {"name": "job", "environment": environment, "command": ["migrate", "--to", "the end"]},
                {"name": "helper", "command": ["true"]},
            ],
        }
    }


@pytest.mark.parametrize(
    "option",
    ["--command=nobody=true", '--overrides={"containerOverrides": [{"name": "nobody"}]}', "--watch-container=nobody"],
)
def test_an_override_of_an_unknown_container_is_refused_before_anything_is_registered(
    world: Simulator, cli: Cli, option: str
) -> None:
    result = cli(*WAIT, option)

    assert result.code == 14
    assert "No container is named nobody; the task definition has: job" in result.err
    assert result.changes == []


def test_many_tasks_are_started_in_batches_of_ten(world: Simulator, cli: Cli) -> None:
    result = cli(*WAIT, "--count", "23")

    assert result.code == 0
    assert [request["count"] for request in result.requests("RunTask")] == [10, 10, 3]
    assert len({request["clientToken"] for request in result.requests("RunTask")}) == 3
    assert sum(line.startswith("Executed task: ") for line in result.lines) == 23
    assert sum(line.endswith(" executed successfully!") for line in result.lines) == 23


@pytest.mark.parametrize(
    ("members", "options", "expected"),
    [
        pytest.param(
            {"launchType": "FARGATE", "platformVersion": "1.4.0", "networkConfiguration": VPC}, [],
            {"launchType": "FARGATE", "platformVersion": "1.4.0", "networkConfiguration": VPC}, id="all that it has",
        ),
        pytest.param(
            {"capacityProviderStrategy": [{"capacityProvider": "SPOT", "weight": 1}], "networkConfiguration": VPC}, [],
            {"capacityProviderStrategy": [{"capacityProvider": "SPOT", "weight": 1}], "networkConfiguration": VPC},
            id="capacity providers",
        ),
        pytest.param(
            {"capacityProviderStrategy": [{"capacityProvider": "SPOT", "weight": 1}], "networkConfiguration": VPC},
            ["--launch-type", "FARGATE"], {"launchType": "FARGATE", "networkConfiguration": VPC},
            id="but for the launch type that is given",
        ),
        pytest.param(
            {"launchType": "FARGATE", "networkConfiguration": VPC},
            ["--network-configuration", "awsvpcConfiguration={subnets=[other]}", "--platform-version", "LATEST",
             "--capacity-provider-strategy", "capacityProvider=SPOT"],
            {"capacityProviderStrategy": [{"capacityProvider": "SPOT"}], "platformVersion": "LATEST",
             "networkConfiguration": {"awsvpcConfiguration": {"subnets": ["other"]}}},
            id="but for all that is given",
        ),
    ],
)  # fmt: skip
def test_a_task_can_borrow_the_network_of_a_service(
    world: Simulator, cli: Cli, members: Json, options: list[str], expected: Json
) -> None:
    world.service("prod", "web", **members)
    world.definitions.families["job"][0].raw["networkMode"] = "awsvpc"

    result = cli(*JOB, "--network-from-service", "web", *options)

    assert result.code == 0
    assert sent(result) == expected


def test_what_is_given_of_a_member_goes_into_what_is_borrowed(world: Simulator, cli: Cli) -> None:
    world.service("prod", "web", networkConfiguration=VPC)
    world.definitions.families["job"][0].raw["networkMode"] = "awsvpc"
    private = "networkConfiguration.awsvpcConfiguration.assignPublicIp=DISABLED"

    result = cli(*JOB, "--network-from-service", "web", "--task-set", private)

    network = {**VPC["awsvpcConfiguration"], "assignPublicIp": "DISABLED"}
    assert sent(result) == {"launchType": "EC2", "networkConfiguration": {"awsvpcConfiguration": network}}


def test_the_service_to_borrow_from_must_exist(world: Simulator, cli: Cli) -> None:
    result = cli(*JOB, "--network-from-service", "nobody")

    assert result.code == 24
    assert "The service nobody was not found in cluster prod" in result.err
    assert result.changes == []


def test_a_dry_run_shows_the_request_and_runs_nothing(world: Simulator, cli: Cli) -> None:
    command = "job=login --password hunter2-canary"

    result = cli(*JOB, "--launch-type", "FARGATE", "--command", command, "--dry-run")

    would_run = next(line for line in result.lines if line.startswith("Would send RunTask: "))
    assert result.code == 0
    assert result.changes == []
    assert json.loads(would_run.removeprefix("Would send RunTask: ")) == {
        "cluster": "prod",
        "launchType": "FARGATE",
        "count": 1,
        "overrides": {"containerOverrides": [{"name": "job", "command": ["***", "***", "***"]}]},
        "taskDefinition": "job:<new revision>",
    }
    assert "hunter2-canary" not in result.out + result.err


# --- When it does not start


@pytest.mark.parametrize(
    ("fail", "reason"),
    [
        pytest.param(lambda sim: sim.fail_run_task("RESOURCE:CPU", 1), "1 × RESOURCE:CPU", id="failures in the answer"),
        pytest.param(lambda sim: sim.image("app:2").cannot_be_placed(), "1 × RESOURCE:MEMORY", id="no room"),
        pytest.param(lambda sim: sim.fail_run_task("", 1), "1 × no reason", id="failures without a reason"),
        pytest.param(
            lambda sim: sim.fail_run_task("AGENT", 1, "not connected"), "1 × AGENT: not connected", id="with a detail"
        ),
    ],
)
def test_a_task_that_is_not_started_is_a_failure_with_its_reason(
    world: Simulator, cli: Cli, fail: Any, reason: str
) -> None:
    fail(world)

    result = cli(*WAIT)

    assert result.code == 1
    assert last_paragraph(result) == [
        f"ERROR: 0 of 1 tasks were started: {reason}",
        "Check the cluster's capacity, the launch type and the network.",
    ]
    assert "executed successfully" not in result.out


def test_fewer_tasks_than_asked_are_a_failure(world: Simulator, cli: Cli) -> None:
    world.fail_run_task("AGENT", 2)

    world.fail_run_task("RESOURCE:CPU", 1)

    result = cli(*JOB, "--count", "13")

    assert result.code == 1
    assert last_paragraph(result) == [
        "ERROR: 7 of 13 tasks were started: 2 × AGENT; 1 × RESOURCE:CPU",
        "Those that were started go on. Check the cluster's capacity, the launch type and the network.",
    ]
    assert sum(line.startswith("Executed task: ") for line in result.lines) == 7


def test_an_answer_that_is_lost_starts_no_task_twice(world: Simulator, cli: Cli) -> None:
    lost: list[int] = []

    def lose_the_first(index: int, operation: str, params: Json) -> Fault | None:
        if operation == "RunTask" and not lost:
            lost.append(index)
            return Fault.DROP_AFTER
        return None

    world.world.on_call = lose_the_first

    result = cli(*WAIT)

    first, second = result.requests("RunTask")
    assert result.code == 0
    assert first == second
    assert len(world.tasks_of("prod")) == 1


def test_where_the_reason_was_in_the_answer_that_was_lost_none_is_told(world: Simulator, cli: Cli) -> None:
    world.fail_run_task("AGENT", 2)
    lost = iter([Fault.DROP_AFTER])
    world.world.on_call = lambda _, operation, __: next(lost, None) if operation == "RunTask" else None

    result = cli(*JOB, "--count", "3")

    assert result.code == 1
    assert last_paragraph(result) == [
        "ERROR: 1 of 3 tasks were started: AWS gave no reason",
        "Those that were started go on. Check the cluster's capacity, the launch type and the network.",
    ]


def test_a_cluster_that_does_not_exist_is_followed_by_those_that_do(world: Simulator, cli: Cli) -> None:
    result = cli("-c", "nowhere", *JOB[2:])

    assert result.code == 24
    assert "The cluster nowhere was not found in us-east-1" in result.err
    assert "The clusters in us-east-1: prod" in result.err


@pytest.mark.parametrize("operation", ["RegisterTaskDefinition", "RunTask"])
def test_a_secret_of_the_overrides_is_never_printed(world: Simulator, cli: Cli, operation: str) -> None:
    environment = [{"name": "PASSWORD", "value": "c4n4ry-override"}]
    overrides = {"containerOverrides": [{"name": "job", "environment": environment}]}
    world.world.on_call = lambda index, called, params: (
        AwsError("ClientException", "cannot use c4n4ry-override, says the service") if called == operation else None
    )

    result = cli(*JOB, "--overrides", json.dumps(overrides), "-v")

    assert result.code == 24
    assert "cannot use ***, says the service" in result.err
    assert "c4n4ry" not in result.out + result.err


# --- How it ends


def test_a_task_that_ends_well_is_a_success(world: Simulator, cli: Cli) -> None:
    world.image("app:2").exits(0, after_s=20)

    result = cli(*WAIT)

    assert result.code == 0
    assert result.lines[-1] == f"Task {world.tasks_of('prod')[0].arn} executed successfully!"
    said = "EssentialContainerExited: Essential container in task exited; container job: exit code 0"
    assert result.err.splitlines()[-1] == f"Task {world.tasks_of('prod')[0].id[:8]} ended well: {said}"


@pytest.mark.parametrize(
    ("script", "said"),
    [
        pytest.param(lambda image: image.exits(3), "container job: exit code 3", id="another exit code"),
        pytest.param(lambda image: image.cannot_be_pulled(), "CannotPullContainerError", id="no image"),
        pytest.param(lambda image: image.out_of_memory(), "exit code 137, OutOfMemoryError", id="no memory"),
    ],
)
def test_a_task_that_ends_badly_is_a_failure_with_its_reason(
    world: Simulator, cli: Cli, script: Any, said: str
) -> None:
    script(world.image("app:2"))

    result = cli(*WAIT)

    (task,) = world.tasks_of("prod")
    assert result.code == 1
    assert f"ERROR: Task {task.arn} of job:2 failed: " in result.err
    assert said in result.err
    decides = "A container that decides ended with a code other than 0; --watch-container NAME lets only one decide."
    assert last_paragraph(result)[-1].startswith(decides if "code 3" in said else "Likeliest cause: ")
    assert "executed successfully" not in result.out


def test_every_essential_container_must_end_well(world: Simulator, cli: Cli) -> None:
    containers = [
        logging("job"),
        logging("broken", image="broken:1"),
        logging("helper", image="bad:1", essential=False),
    ]
    world.task_definition("job", containers=containers)
    world.image("broken:1").exits(4, after_s=2)
    world.image("bad:1").exits(5, after_s=1)

    result = cli(*WAIT)

    assert result.code == 1
    assert "container broken: exit code 4" in result.err
    assert cli(*WAIT, "--propagate-exit-code").code == 4


def test_a_container_that_decides_nothing_may_end_badly(world: Simulator, cli: Cli) -> None:
    world.task_definition("job", containers=[logging("job"), logging("helper", image="bad:1", essential=False)])
    world.image("bad:1").exits(5, after_s=1)

    result = cli(*WAIT)

    assert result.code == 0


@pytest.mark.parametrize(("watched", "code"), [("job", 0), ("helper", 1)])
def test_a_watched_container_alone_decides(world: Simulator, cli: Cli, watched: str, code: int) -> None:
    world.task_definition("job", containers=[logging("job"), logging("helper", image="bad:1", essential=False)])
    world.image("bad:1").exits(5, after_s=1)

    assert cli(*WAIT, "--watch-container", watched).code == code


@pytest.mark.parametrize(
    ("script", "code"),
    [
        pytest.param(lambda image: image.exits(42), 42, id="its exit code"),
        pytest.param(lambda image: image.exits(0), 0, id="success"),
        pytest.param(lambda image: image.cannot_be_pulled(), 1, id="it never started"),
    ],
)
def test_the_exit_code_can_be_passed_on(world: Simulator, cli: Cli, script: Any, code: int) -> None:
    script(world.image("app:2"))

    assert cli(*WAIT, "--propagate-exit-code").code == code


def test_one_bad_task_among_many_is_a_failure(world: Simulator, cli: Cli) -> None:
    world.image("app:2").flaps(up_s=2, times=1)

    result = cli(*WAIT, "--count", "3")

    assert result.code == 1
    assert sum(line.endswith(" executed successfully!") for line in result.lines) == 2


NEVER = "container job: never started"


@pytest.mark.parametrize(
    ("code", "reason", "said"),
    [("UserInitiated", "no more", "UserInitiated: no more"), ("", "", "stopped without a reason")],
    ids=["with a reason", "without"],
)
def test_a_task_that_somebody_stops_is_a_failure(world: Simulator, cli: Cli, code: str, reason: str, said: str) -> None:
    world.image("app:2").starts_after(500)
    world.world.at(5, lambda: world.tasks_of("prod")[0].stop(code, reason))

    result = cli(*WAIT)

    (task,) = world.tasks_of("prod")
    assert result.code == 1
    assert last_paragraph(result)[0] == f"ERROR: Task {task.arn} of job:2 failed: {said}; {NEVER}."


def test_a_task_that_takes_too_long_is_named_and_goes_on(world: Simulator, cli: Cli) -> None:
    world.image("app:2").exits(0, after_s=500)

    result = cli(*WAIT, "-t", "60")

    (task,) = world.tasks_of("prod")
    assert result.code == 22
    assert world.now_s == pytest.approx(60)
    assert last_paragraph(result) == [
        f"ERROR: Task {task.arn} did not stop within 60 seconds.",
        "It goes on. To stop it:",
        f"  aws ecs stop-task --cluster prod --task {task.arn} --region us-east-1",
    ]
    assert task.last_status == "RUNNING"


def test_a_task_of_which_nothing_is_heard_any_more_is_not_said_to_go_on(world: Simulator, cli: Cli) -> None:
    world.image("app:2").exits(0, after_s=30)
    world.world.on_call = lambda index, operation, params: Fault.SERVER_ERROR if world.now_s > 20 else None

    result = cli(*WAIT, "-t", "60")

    assert result.code == 22
    (task,) = world.tasks_of("prod")
    assert last_paragraph(result) == [
        f"ERROR: Task {task.arn} was not seen to stop within 60 seconds.",
        "To stop it:",
        f"  aws ecs stop-task --cluster prod --task {task.arn} --region us-east-1",
    ]


def test_a_time_out_of_zero_waits_for_as_long_as_the_task_takes(world: Simulator, cli: Cli) -> None:
    world.image("app:2").exits(0, after_s=400)

    assert cli(*WAIT, "-t", "0").code == 0
    assert world.now_s > 400


def test_the_longer_a_task_takes_the_rarer_are_the_looks(world: Simulator, cli: Cli) -> None:
    world.image("app:2").exits(0, after_s=300)

    result = cli(*WAIT, "-t", "400")

    assert result.operations.count("DescribeTasks") < 140


def test_a_task_may_not_be_visible_at_once(world: Simulator, cli: Cli) -> None:
    world.world.run_task_visible_after_s = 3
    world.image("app:2").exits(0, after_s=20)

    result = cli(*WAIT)

    assert result.code == 0
    assert "[   0 s] tasks: not visible yet" in result.err


def test_a_task_that_never_becomes_visible_is_an_error(world: Simulator, cli: Cli) -> None:
    world.world.run_task_visible_after_s = 1000

    result = cli(*WAIT)

    assert result.code == 24
    assert world.now_s == 15
    assert re.search(r"ECS does not know the task arn:\S+ any more; its end is unknown", result.err)


def test_a_task_that_ecs_has_known_is_missed_for_three_seconds(world: Simulator, cli: Cli) -> None:
    world.image("app:2").exits(0, after_s=100)
    world.world.on_call = lambda index, operation, params: (
        Fault.MISSING if operation == "DescribeTasks" and world.now_s >= 20 else None
    )

    result = cli(*WAIT)

    (task,) = world.tasks_of("prod")
    assert (result.code, world.now_s) == (24, 23)
    assert last_paragraph(result) == [f"ERROR: ECS does not know the task {task.arn} any more; its end is unknown"]


@pytest.mark.parametrize("fault", [Fault.THROTTLED, Fault.SERVER_ERROR, Fault.DROP_BEFORE])
def test_a_look_that_fails_is_no_failed_task(world: Simulator, cli: Cli, clock: SimClock, fault: Fault) -> None:
    world.image("app:2").exits(0, after_s=30)
    world.world.on_call = lambda index, operation, params: (
        fault if operation == "DescribeTasks" and 2 < world.now_s < 20 else None
    )

    result = cli(*WAIT)

    assert result.code == 0
    assert clock.slept[3:7] == [1.0, 2.0, 4.0, 8.0]


@pytest.mark.parametrize(
    ("fault", "at_s"),
    [
        pytest.param(AwsError("ExpiredTokenException", "expired"), 1, id="expired credentials"),
        pytest.param(Fault.SERVER_ERROR, 300, id="five minutes without an answer"),
    ],
)
def test_a_look_that_can_never_succeed_ends_the_wait(world: Simulator, cli: Cli, fault: Any, at_s: float) -> None:
    world.world.on_call = lambda index, operation, params: fault if world.now_s > 0 else None

    result = cli(*WAIT, "-t", "0")

    assert result.code == 24
    assert at_s <= world.now_s < at_s + 20


# --- Logs


def test_the_log_is_shown_live(world: Simulator, cli: Cli) -> None:
    world.image("app:2").exits(0, after_s=10).logs(["one", "two"])

    result = cli(*WAIT)

    shown = [line for line in result.err.splitlines() if "| " in line]
    assert shown == ["| one", "| two"]
    assert result.err.index("| two") < result.err.index("1 STOPPED")


def test_lines_that_arrive_after_the_end_are_shown_too(world: Simulator, cli: Cli) -> None:
    """CloudWatch shows what a container wrote last a moment after it has stopped."""
    world.image("app:2").exits(0, after_s=10).logs(["first"])
    asked: list[str] = []

    def arrive_late(index: int, operation: str, params: Json) -> None:
        (task,) = world.tasks_of("prod") or [None]
        if operation == "DescribeTasks" and task.stopped_s is not None and not asked:
            asked.append(operation)
            (container,) = task.containers
            late = replace(container.run, log_lines=("first", "last"))
            world.world.at(world.now_s + 1, lambda: setattr(container, "run", late))

    world.world.on_call = arrive_late

    result = cli(*WAIT)

    assert result.code == 0
    assert [line for line in result.err.splitlines() if "| " in line] == ["| first", "| last"]


def test_at_the_end_of_its_time_late_lines_are_not_waited_for(world: Simulator, cli: Cli, clock: SimClock) -> None:
    world.image("app:2").exits(0, after_s=3.5).logs(["one"])

    result = cli(*WAIT, "-t", "6")

    (task,) = world.tasks_of("prod")
    late = [call.operation for call in result.calls if call.at_s >= (task.stopped_s or 7)]
    assert result.code == 0
    assert late == ["DescribeTasks", "GetLogEvents"]
    assert (world.now_s, set(clock.slept)) == (6, {1.0})


def test_a_log_that_comes_only_after_the_end_is_shown_beside_one_that_came_before(world: Simulator, cli: Cli) -> None:
    world.task_definition("job", containers=[logging("job"), logging("helper", image="helper:1")])
    world.image("app:2").exits(0, after_s=10).logs(["one"])
    world.image("helper:1").exits(0, after_s=10).logs(["two"])

    def comes_late(index: int, operation: str, params: Json) -> AwsError | None:
        ended = all(task.stopped_s is not None and world.now_s > task.stopped_s + 1 for task in world.tasks_of("prod"))
        late = operation == "GetLogEvents" and "/helper/" in params["logStreamName"] and not ended
        return AwsError("ResourceNotFoundException", "The specified log stream does not exist.") if late else None

    world.world.on_call = comes_late

    result = cli(*WAIT)

    assert [line for line in result.err.splitlines() if "| " in line] == ["job | one", "helper | two"]


def test_lines_are_prefixed_where_there_is_more_than_one_container(world: Simulator, cli: Cli) -> None:
    plain = {"name": "silent", "image": "silent:1", "memory": 64}
    no_prefix = logging("elsewhere")
    del no_prefix["logConfiguration"]["options"]["awslogs-stream-prefix"]
    world.task_definition("job", containers=[logging("job"), logging("helper", image="helper:1"), plain, no_prefix])
    world.image("app:2").logs(["one"])
    world.image("helper:1").logs(["two"])

    result = cli(*WAIT)

    assert [line for line in result.err.splitlines() if "| " in line] == ["job | one", "helper | two"]


def test_lines_are_prefixed_where_there_is_more_than_one_task(world: Simulator, cli: Cli) -> None:
    world.image("app:2").logs(["one"])

    result = cli(*WAIT, "--count", "2")

    shown = [line for line in result.err.splitlines() if "| one" in line]
    assert sorted(shown) == sorted(f"{task.id[:8]} job | one" for task in world.tasks_of("prod"))


def test_a_log_that_may_not_be_read_is_said_once(world: Simulator, cli: Cli) -> None:
    world.image("app:2").exits(0, after_s=10).logs(["one"])
    world.deny("logs:GetLogEvents")

    result = cli(*WAIT)

    assert result.code == 0
    (task,) = world.tasks_of("prod")
    said = f"The log /ecs/job ecs/job/{task.id} cannot be read (AccessDeniedException)."
    assert [line for line in result.err.splitlines() if "cannot be read" in line] == [said]


@pytest.mark.parametrize("code", ["ResourceNotFoundException", "ThrottlingException"])
def test_a_log_that_cannot_be_read_yet_is_asked_for_again(world: Simulator, cli: Cli, code: str) -> None:
    world.image("app:2").exits(0, after_s=10).logs(["one"])
    world.world.on_call = lambda index, operation, params: (
        AwsError(code, "not yet") if operation == "GetLogEvents" and world.now_s < 6 else None
    )

    result = cli(*WAIT)

    assert result.code == 0
    assert "| one" in result.err
    assert "cannot be read" not in result.err


def test_the_json_document_tells_of_the_tasks(world: Simulator, cli: Cli) -> None:
    world.image("app:2").exits(3).logs(["fatal"])

    result = cli(*WAIT, "--output", "json")

    document = json.loads(result.out)
    assert document["exit_code"] == result.code == 1
    assert document["verdict"] == "failed"
    (task,) = world.tasks_of("prod")
    assert document["tasks"] == [task.arn]
    assert document["logs"] == [{"title": task.arn.rpartition("/")[2], "lines": ["fatal"]}]
    reason = "EssentialContainerExited: Essential container in task exited; container job: exit code 3"
    assert document["failed_tasks"] == [{"count": 1, "reason": reason}]


def test_the_json_document_has_the_last_lines_of_the_tasks_that_failed(world: Simulator, cli: Cli) -> None:
    world.task_definition("job", containers=[logging("job"), logging("helper", image="helper:1")])
    world.image("app:2").exits(3, after_s=2).logs([f"line {number}" for number in range(25)])
    world.image("helper:1").exits(0, after_s=2).logs(["other"])

    result = cli(*WAIT, "--output", "json")

    (task,) = world.tasks_of("prod")
    assert result.code == 1
    lines = [*(f"job | line {number}" for number in range(6, 25)), "helper | other"]
    assert json.loads(result.out)["logs"] == [{"title": task.id, "lines": lines}]


@pytest.mark.parametrize(
    ("options", "verdict"),
    [
        pytest.param((), "completed", id="registered"),
        pytest.param(("--run-task",), "started", id="started and left alone"),
        pytest.param(("--run-task", "--wait-for-success"), "completed", id="waited for"),
        pytest.param(("--run-task", "--dry-run"), "dry run", id="dry run"),
    ],
)
def test_the_verdict_of_a_definition_and_its_tasks(
    world: Simulator, cli: Cli, options: tuple[str, ...], verdict: str
) -> None:
    world.image("app:2").exits(0, after_s=2)

    result = cli("-c", "prod", "-d", "job", "-i", "app:2", *options, "--output", "json")

    document = json.loads(result.out)
    assert (document["exit_code"], document["verdict"]) == (0, verdict)
    assert len(document.get("tasks", [])) == ("--run-task" in options and verdict != "dry run")


@pytest.mark.parametrize(
    ("exits", "options", "verdict", "code"),
    [
        pytest.param((3,), (), "failed", 1, id="another exit code"),
        pytest.param((3,), ("--propagate-exit-code",), "failed", 3, id="its exit code"),
        pytest.param((0, 500), ("-t", "60"), "failed", 22, id="too long"),
    ],
)
def test_the_verdict_of_tasks_that_do_not_end_well(
    world: Simulator, cli: Cli, exits: tuple[int, ...], options: tuple[str, ...], verdict: str, code: int
) -> None:
    world.image("app:2").exits(*exits)

    result = cli(*WAIT, *options, "--output", "json")

    document = json.loads(result.out)
    assert (document["verdict"], document["exit_code"], result.code) == (verdict, code, code)


# --- Pruning


def test_pruning_keeps_what_a_service_of_the_cluster_runs(world: Simulator, cli: Cli) -> None:
    world.task_definition("job", "app:1")
    world.service("prod", "worker", task_definition=world.world.definitions.find("job:1"))

    result = cli(*WAIT, "--max-definitions", "1")

    assert result.code == 0
    assert world.active_revisions("job") == [1, 3]
    assert "task-definition/job:1 is kept: a service of the cluster prod uses it." in result.err


def test_without_a_cluster_only_the_newest_stay_and_it_says_that_nobody_could_tell(world: Simulator, cli: Cli) -> None:
    result = cli("-d", "job", "-i", "app:2", "--max-definitions", "1")

    assert result.code == 0
    assert world.active_revisions("job") == [2]
    said = "Warning: Nobody could tell which of the old revisions are in use: no cluster was given (-c)."
    assert said in result.err.splitlines()


# --- Interruptions


@pytest.mark.parametrize(("signum", "code", "name"), [(signal.SIGINT, 130, "SIGINT"), (signal.SIGTERM, 143, "SIGTERM")])
def test_interrupted_it_says_that_the_task_goes_on(
    world: Simulator, cli: Cli, signum: signal.Signals, code: int, name: str
) -> None:
    world.image("app:2").exits(0, after_s=60)
    world.world.at(10, lambda: signal.raise_signal(signum))

    result = cli(*WAIT, "--count", "2")

    one, other = (f"aws ecs stop-task --cluster prod --task {task.arn}" for task in world.tasks_of("prod"))
    assert result.code == code
    assert result.err.splitlines()[-5:] == [
        f"{name}: the task goes on. To stop it:",
        f"  {one} --region us-east-1",
        f"{name}: the task goes on. To stop it:",
        f"  {other} --region us-east-1",
        "Interrupted.",
    ]
    assert result.changes == ["RegisterTaskDefinition", "RunTask"]


def test_interrupted_it_can_stop_its_tasks(world: Simulator, cli: Cli) -> None:
    world.image("app:2").exits(0, after_s=60)
    world.world.at(10, lambda: signal.raise_signal(signal.SIGTERM))

    result = cli(*WAIT, "--count", "2", "--stop-on-interrupt")

    assert result.code == 143
    assert result.changes == ["RegisterTaskDefinition", "RunTask", "StopTask", "StopTask"]
    assert result.requests("StopTask")[0]["reason"] == "ecs-deploy was interrupted (SIGTERM)"
    assert [task.stays for task in world.tasks_of("prod")] == [False, False]
    assert result.err.splitlines()[-3:] == [
        *(f"SIGTERM: the task {task.arn} is being stopped." for task in world.tasks_of("prod")), "Interrupted.",
    ]  # fmt: skip


def test_interrupted_it_says_which_task_it_could_not_stop(world: Simulator, cli: Cli) -> None:
    world.image("app:2").exits(0, after_s=60)
    world.deny("ecs:StopTask")
    world.world.at(10, lambda: signal.raise_signal(signal.SIGTERM))

    result = cli(*WAIT, "--stop-on-interrupt")

    assert result.code == 143
    assert re.search(r"SIGTERM: the task arn:\S+ goes on. AWS denied StopTask", result.err)


def test_a_task_that_nobody_waits_for_is_not_named_later(world: Simulator, cli: Cli) -> None:
    world.image("app:2").exits(0, after_s=60)
    world.task_definition("job", "app:1")
    world.world.on_call = lambda index, operation, params: (
        signal.raise_signal(signal.SIGTERM) if operation == "DeregisterTaskDefinition" else None
    )

    result = cli(*JOB, "--max-definitions", "1")

    assert result.code == 143
    assert result.err.splitlines()[-3:] == [
        "The end of the task is not waited for (--wait-for-success does).",
        "SIGTERM: all else is done and stays; the outdated revisions are not all deregistered.",
        "Interrupted.",
    ]


def test_a_task_is_stopped_for_a_signal_only(world: Simulator, cli: Cli) -> None:
    world.image("app:2").exits(0, after_s=60)
    world.world.on_call = lambda index, operation, params: (
        AwsError("ExpiredTokenException", "expired") if world.now_s > 5 else None
    )

    result = cli(*WAIT, "--stop-on-interrupt")

    (task,) = world.tasks_of("prod")
    assert result.code == 24
    stop = f"aws ecs stop-task --cluster prod --task {task.arn} --region us-east-1"
    assert f"The task goes on. To stop it:\n  {stop}\n" in result.err
    assert "StopTask" not in result.operations
