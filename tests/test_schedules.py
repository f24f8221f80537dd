"""Rules and schedules that run the new revision: `--schedule NAME` and `--schedules`."""

from __future__ import annotations

import copy
import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ecs_deploy import Exit
from tests.conftest import Cli, Result
from tests.simulator import AwsError, Fault, Simulator
from tests.simulator.errors import Json
from tests.vocabulary import last_paragraph

ECS = "arn:aws:ecs:us-east-1:123456789012"
PROD = f"{ECS}:cluster/prod"
ROLE = "arn:aws:iam::123456789012:role/starts-tasks"
VPC = {"Subnets": ["subnet-1"], "SecurityGroups": ["sg-1"], "AssignPublicIp": "DISABLED"}
DEPLOY = ("-c", "prod", "-d", "report", "-to", "18")
KINDS = ("rule", "schedule")

# every member that the models know, and one at each level that they do not
PARAMETERS: Json = {
    "TaskCount": 2,
    "LaunchType": "FARGATE",
    "NetworkConfiguration": {"awsvpcConfiguration": {**VPC, "DualStack": "ON"}},
    "PlatformVersion": "1.4.0",
    "Group": "reports",
    "EnableECSManagedTags": True,
    "EnableExecuteCommand": False,
    "PropagateTags": "TASK_DEFINITION",
    "ReferenceId": "ref",
    "PlacementConstraints": [{"type": "distinctInstance", "expression": ""}],
    "PlacementStrategy": [{"type": "spread", "field": "host"}],
    "Patience": {"Kind": "long", "Empty": {}, "None": 0},
}
FUTURE = {"DualStack", "Patience", "Colour", "Mood"}
INPUT = json.dumps({"containerOverrides": [{"name": "report", "environment": [{"name": "KEY", "value": "hush-hush"}]}]})


def arn(family: str, revision: int | str) -> str:
    return f"{ECS}:task-definition/{family}:{revision}".rstrip(":")


def runs(definition: str, cluster: str = PROD, **members: Any) -> Json:
    """A target that runs a definition."""
    parameters = {**members.pop("EcsParameters", {}), "TaskDefinitionArn": definition}
    return {"Arn": cluster, "RoleArn": ROLE, **members, "EcsParameters": parameters}


def full_rule_target(target_id: str, definition: str) -> Json:
    parameters = {**PARAMETERS, "CapacityProviderStrategy": [{"capacityProvider": "SPOT", "weight": 1, "base": 0}]}
    return runs(
        definition, Id=target_id, Input=INPUT, EcsParameters={**parameters, "Tags": [{"Key": "a", "Value": "b"}]},
        DeadLetterConfig={"Arn": "arn:aws:sqs:us-east-1:123456789012:dead"}, Colour={"Deep": [1, 0, "x"]},
        RetryPolicy={"MaximumRetryAttempts": 3, "MaximumEventAgeInSeconds": 600},
    )  # fmt: skip


def full_schedule(sim: Simulator, name: str, definition: str, **members: Any) -> Json:
    """A schedule with everything; how it is told then."""
    parameters = {**PARAMETERS, "CapacityProviderStrategy": [{"capacityProvider": "SPOT", "weight": 1, "base": 0}]}
    target = runs(
        definition, Input=INPUT, EcsParameters={**parameters, "Tags": [{"Key": "a", "Value": "b"}]},
        DeadLetterConfig={"Arn": "arn:aws:sqs:us-east-1:123456789012:dead"}, Colour="deep",
        RetryPolicy={"MaximumRetryAttempts": 0, "MaximumEventAgeInSeconds": 60},
    )  # fmt: skip
    given = {
        "ScheduleExpression": "cron(0 3 * * ? *)",
        "ScheduleExpressionTimezone": "Europe/Vienna",
        "FlexibleTimeWindow": {"Mode": "FLEXIBLE", "MaximumWindowInMinutes": 15},
        "Description": "every night: ünïcode",
        "State": "DISABLED",
        "KmsKeyArn": "arn:aws:kms:us-east-1:123456789012:key/1",
        "StartDate": sim.world.stamp(3600.5),
        "EndDate": sim.world.stamp(7200),
        "ActionAfterCompletion": "DELETE",
        "Mood": [{"a": 1.25}],
        **members,
    }
    sim.world.scheduler.schedule(name, target, **given)
    return copy.deepcopy(sim.world.scheduler.schedules[given.pop("group", "default"), name])


@pytest.fixture
def world(sim: Simulator) -> Simulator:
    """A cluster, and the family `report` with 17 revisions, of which the last is in use."""
    sim.cluster("prod")
    for _ in range(17):
        sim.task_definition("report", "report:17")
    sim.task_definition("other", "other:1")
    sim.world.future_members = FUTURE
    return sim


def schedule_runs(sim: Simulator, name: str, group: str = "default") -> str:
    definition: str = sim.world.scheduler.schedules[group, name]["Target"]["EcsParameters"]["TaskDefinitionArn"]
    return definition


def rule_runs(sim: Simulator, name: str, bus: str = "default") -> list[str]:
    targets = sim.world.events.rules[bus, name]
    return [target["EcsParameters"]["TaskDefinitionArn"] for target in targets if "EcsParameters" in target]


def test_a_schedule_is_moved_with_all_else_as_it_was(world: Simulator, cli: Cli) -> None:
    before = full_schedule(world, "nightly", arn("report", 17))

    result = cli(*DEPLOY, "--schedule", "nightly")

    assert result.code == Exit.OK
    after = world.world.scheduler.schedules["default", "nightly"]
    before["Target"]["EcsParameters"]["TaskDefinitionArn"] = arn("report", 18)
    assert {**after, "LastModificationDate": 0} == {**before, "LastModificationDate": 0}
    assert "  ~ schedule nightly: report:17 -> 18" in result.err.splitlines()


def test_of_a_rule_only_the_targets_of_the_family_are_put(world: Simulator, cli: Cli) -> None:
    targets = [
        {"Id": "queue", "Arn": "arn:aws:sqs:us-east-1:123456789012:q", "SqsParameters": {"MessageGroupId": "g"}},
        full_rule_target("first", arn("report", 17)),
        {"Id": "function", "Arn": "arn:aws:lambda:us-east-1:123456789012:function:f", "Input": '{"a": 1}'},
        full_rule_target("second", arn("report", 3)),
        runs(arn("other", 1), Id="third"),
        runs(arn("report", 4), f"{ECS}:cluster/staging", Id="fourth"),
    ]
    world.world.events.rule("nightly", copy.deepcopy(targets))

    result = cli(*DEPLOY, "--schedule", "nightly")

    assert result.code == Exit.OK
    for place in (1, 3):
        targets[place]["EcsParameters"]["TaskDefinitionArn"] = arn("report", 18)
    assert world.world.events.rules["default", "nightly"] == targets
    assert [t["Id"] for t in result.requests("PutTargets")[0]["Targets"]] == ["first", "second"]
    assert [line for line in result.err.splitlines() if "left alone" in line] == [
        "The rule nightly runs report:4 in staging; that is left alone."
    ]


def test_all_that_run_the_family_in_the_cluster_are_found(world: Simulator, cli: Cli) -> None:
    events, scheduler = world.world.events, world.world.scheduler
    for group in ("default", "reports", "old"):
        for name in ("hourly", "daily"):
            scheduler.schedule(name, runs(arn("report", 16)), group=group)
    scheduler.schedule("elsewhere", runs(arn("report", 16), f"{ECS}:cluster/staging"))
    scheduler.schedule("others", runs(arn("other", 1)))
    scheduler.schedule("function", {"Arn": "arn:aws:lambda:us-east-1:1:function:f", "RoleArn": ROLE})
    for name in ("one", "two", "three"):
        events.rule(name, [runs(arn("report", 5), Id=f"{i}") for i in range(3)])
    events.rule("on-a-bus", [runs(arn("report", 5), Id="1")], bus="orders")

    result = cli(*DEPLOY, "--schedules")

    assert result.code == Exit.OK
    new, old = arn("report", 18), arn("report", 16)
    for group in ("default", "reports", "old"):
        assert [schedule_runs(world, name, group) for name in ("hourly", "daily")] == [new, new]
    assert [schedule_runs(world, name) for name in ("elsewhere", "others")] == [old, arn("other", 1)]
    assert not {"elsewhere", "function"} & {request["Name"] for request in result.requests("GetSchedule")}
    assert [rule_runs(world, name) for name in ("one", "two", "three")] == [[new] * 3] * 3
    assert rule_runs(world, "on-a-bus", "orders") == [arn("report", 5)]
    assert {request["MaxResults"] for request in result.requests("ListSchedules")} == {100}
    assert "  ~ schedule reports/hourly: report:16 -> 18" in result.err.splitlines()


def test_a_rule_on_a_bus_is_named_and_with_it_the_bus(world: Simulator, cli: Cli) -> None:
    for name in ("hourly", "daily"):
        world.world.events.rule(name, [runs(arn("report", 5), Id="1")], bus="orders")

    result = cli(*DEPLOY, "--schedule", "orders/hourly", "--schedules")

    assert result.code == Exit.OK
    assert [rule_runs(world, name, "orders") for name in ("hourly", "daily")] == [[arn("report", 18)]] * 2
    assert result.err.splitlines()[2:] == [
        "Changes:",
        "  ~ rule orders/hourly: report:5 -> <new revision>",
        "  ~ rule orders/daily: report:5 -> <new revision>",
        "Changes:",
        "  ~ rule orders/hourly: report:5 -> 18",
        "The rule orders/hourly runs report:18.",
        "Changes:",
        "  ~ rule orders/daily: report:5 -> 18",
        "The rule orders/daily runs report:18.",
    ]


def test_a_schedules_group_is_no_bus(world: Simulator, cli: Cli) -> None:
    world.world.scheduler.schedule("nightly", runs(arn("report", 16)), group="reports")

    result = cli(*DEPLOY, "--schedule", "reports/nightly", "--schedules")

    assert schedule_runs(world, "nightly", "reports") == arn("report", 18)
    assert result.requests("ListRuleNamesByTarget") == [{"TargetArn": PROD}]


def test_what_names_no_revision_follows_and_other_families_are_left_alone(world: Simulator, cli: Cli) -> None:
    targets = [runs(arn("report", ""), Id="1"), runs(arn("other", 1), Id="2"), runs("report", Id="3")]
    world.world.events.rule("nightly", targets)

    result = cli(*DEPLOY, "--schedule", "nightly")

    assert result.code == Exit.OK
    assert rule_runs(world, "nightly") == [arn("report", ""), arn("other", 1), "report"]
    assert "PutTargets" not in result.operations
    said = "The rule nightly runs report without a revision, so it follows by itself; it is left alone."
    assert result.err.splitlines()[-4:] == [said, said, "Changes:", "  nothing changes in rules and schedules"]


def test_a_definition_alone_without_a_cluster_takes_names(world: Simulator, cli: Cli) -> None:
    world.world.scheduler.schedule("nightly", runs(arn("report", 2), f"{ECS}:cluster/staging"))

    assert cli("-d", "report", "-to", "18", "--schedules").code == Exit.NO_CLUSTER
    assert cli("-d", "report", "-to", "18", "--schedule", "nightly").code == Exit.OK
    assert schedule_runs(world, "nightly") == arn("report", 18)


def test_all_of_them_without_a_cluster_is_a_usage_error(cli: Cli) -> None:
    result = cli("-d", "report", "-to", "18", "--schedules")

    assert (result.code, result.operations) == (Exit.NO_CLUSTER, [])
    assert result.err.splitlines() == [
        "ERROR: CLUSTER is required: --schedules looks for what runs in -c/--cluster",
        "Or name each with --schedule NAME.",
    ]


def test_without_a_cluster_none_is_named_for_what_runs_another_family(world: Simulator, cli: Cli) -> None:
    world.world.scheduler.schedule("others", runs(arn("other", 1)))

    refused = cli("-d", "report", "-to", "18", "--schedule", "others")

    assert refused.code == Exit.FAILED
    assert last_paragraph(refused) == [
        "ERROR: The schedule others does not run report",
        "It runs other:1 in prod.",
    ]


@pytest.mark.parametrize(("name", "code"), [("nightly", Exit.OK), ("schedule:nightly", Exit.AWS)])
def test_a_name_that_one_kind_refuses_may_be_the_other_kinds(world: Simulator, cli: Cli, name: str, code: int) -> None:
    """Where the kind is told, the refusal is the answer."""
    world.world.events.rule("nightly", [runs(arn("report", 16), Id="1")])
    refusal = AwsError("ValidationException", "no such name can be")
    world.world.on_call = lambda index, operation, params: refusal if operation == "GetSchedule" else None

    result = cli(*DEPLOY, "--schedule", name)

    assert result.code == code
    assert ("no such name can be" in result.err) == (code != Exit.OK)


def both_kinds(sim: Simulator) -> None:
    sim.world.events.rule("nightly", [runs(arn("report", 16), Id="1", Input="no JSON")])
    sim.world.scheduler.schedule("nightly", runs(arn("report", 16)))


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_both_a_rule_and_a_schedule_must_be_told(world: Simulator, cli: Cli, kind: str) -> None:
    both_kinds(world)

    refused = cli(*DEPLOY, "--schedule", "nightly")
    assert (refused.code, refused.changes) == (Exit.USAGE, [])
    assert last_paragraph(refused) == [
        "ERROR: There are both a rule and a schedule nightly",
        "Say which one is meant: --schedule rule:nightly or --schedule schedule:nightly",
    ]
    assert cli(*DEPLOY, "--schedule", f"{kind}:nightly").code == Exit.OK

    now = {"rule": rule_runs(world, "nightly")[0], "schedule": schedule_runs(world, "nightly")}
    assert now == {"rule": arn("report", 16), "schedule": arn("report", 16), kind: arn("report", 18)}


@pytest.mark.parametrize("kind", KINDS)
def test_one_kind_that_may_not_be_looked_up_does_no_harm_if_the_other_has_it(
    world: Simulator, cli: Cli, kind: str
) -> None:
    actions = {"rule": "events:DescribeRule", "schedule": "scheduler:GetSchedule"}
    both_kinds(world)
    world.deny(*(action for other, action in actions.items() if other != kind))

    assert cli(*DEPLOY, "--schedule", "nightly").code == Exit.OK
    world.deny(*actions.values())
    refused = cli(*DEPLOY, "--schedule", "nightly")
    assert (refused.code, refused.changes) == (Exit.AWS, [])
    assert last_paragraph(refused)[1] == "Allow events:DescribeRule in the IAM policy of these credentials."
    world.allow(actions[kind])
    unknown = cli(*DEPLOY, "--schedule", "gone")

    denied = next(action for other, action in actions.items() if other != kind)
    assert (unknown.code, unknown.changes) == (Exit.AWS, [])
    assert last_paragraph(unknown)[1] == f"Allow {denied} in the IAM policy of these credentials."


@pytest.mark.parametrize("action", ["events:ListRuleNamesByTarget", "scheduler:ListSchedules"])
def test_all_of_them_needs_both_kinds(world: Simulator, cli: Cli, action: str) -> None:
    both_kinds(world)
    world.deny(action)

    refused = cli(*DEPLOY, "--schedules")

    assert (refused.code, refused.changes) == (Exit.AWS, [])
    assert f"Allow {action} in the IAM policy" in refused.err


ELSEWHERE = (
    "A schedule outside of the default group is GROUP/NAME, a rule on another bus than the default one BUS/NAME."
)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("gone", f"There is neither a rule nor a schedule gone in us-east-1\n{ELSEWHERE}"),
        ("rule:gone", f"There is no rule gone in us-east-1\n{ELSEWHERE}"),
        ("reports/nightly", f"There is neither a rule nor a schedule reports/nightly in us-east-1\n{ELSEWHERE}"),
        ("others", "The schedule others does not run report in the cluster prod\nIt runs other:1 in prod."),
        ("staging", "The schedule staging does not run report in the cluster prod\nIt runs report:1 in staging."),
        ("function", "The schedule function does not run report in the cluster prod\nIt runs no task definition."),
        ("managed", "The rule managed is managed by batch.amazonaws.com, and only that may change it"),
    ],
)
@pytest.mark.parametrize("dry", [["--dry-run"], []], ids=["dry run", "run"])
def test_what_cannot_be_moved_is_refused_before_anything_changes(
    world: Simulator, cli: Cli, name: str, said: str, dry: list[str]
) -> None:
    world.world.scheduler.schedule("others", runs(arn("other", 1)))
    world.world.scheduler.schedule("staging", runs(arn("report", 1), f"{ECS}:cluster/staging"))
    world.world.scheduler.schedule("function", {"Arn": "arn:aws:lambda:us-east-1:1:function:f", "RoleArn": ROLE})
    world.world.events.rule("managed", [runs(arn("report", 1), Id="1")], managed_by="batch.amazonaws.com")

    refused = cli(*DEPLOY, "--schedule", name, *dry)

    assert (refused.code != Exit.OK, refused.changes) == (True, [])
    assert last_paragraph(refused) == f"ERROR: {said}".splitlines()


def test_the_dry_run_looks_everything_up_and_shows_what_changes(world: Simulator, cli: Cli) -> None:
    both_kinds(world)

    result = cli(*DEPLOY, "--schedules", "--dry-run")

    assert (result.code, result.changes) == (Exit.OK, [])
    assert "Changes:\n  ~ rule nightly: report:16 -> <new revision>" in result.err
    assert "  ~ schedule nightly: report:16 -> <new revision>" in result.err.splitlines()


def test_a_service_comes_first(world: Simulator, cli: Cli) -> None:
    both_kinds(world)
    world.service("prod", "web", family="report")
    world.image("app:bad").crashes(after_s=1)

    failed = cli("-c", "prod", "-n", "web", "-i", "app:bad", "--fail-fast", "1", "--schedules")
    assert failed.code == Exit.FAILED
    assert schedule_runs(world, "nightly") == arn("report", 16)
    done = cli("-c", "prod", "-n", "web", "-i", "app:2", "--schedules")

    assert done.code == Exit.OK
    newest = world.active_revisions("report")[-1]
    assert schedule_runs(world, "nightly") == arn("report", newest)
    assert done.operations.index("UpdateService") < done.operations.index("PutTargets")
    assert done.lines[-1] == "Service deployment successful."


@pytest.mark.parametrize("moved", [["--schedules"], ["--schedule", "rule:nightly"]], ids=["all", "one"])
def test_a_redeployment_moves_to_what_the_service_runs(world: Simulator, cli: Cli, moved: list[str]) -> None:
    both_kinds(world)
    world.service("prod", "web", family="report")

    forced = ("-c", "prod", "-n", "web", "--force-new-deployment", "--skip-deployments-check")
    result = cli(*forced, *moved)

    assert result.code == Exit.OK
    assert rule_runs(world, "nightly") == [arn("report", 18)]
    assert "RegisterTaskDefinition" not in result.operations


def several(sim: Simulator) -> list[str]:
    """Three to move, in this order."""
    sim.world.events.rule("one", [full_rule_target("a", arn("report", 16)), runs(arn("report", 15), Id="b")])
    full_schedule(sim, "two", arn("report", 14))
    sim.world.scheduler.schedule("three", runs(arn("report", 13)), group="last")
    return [word for name in ("one", "two", "last/three") for word in ("--schedule", name)]


def everything(sim: Simulator) -> Json:
    """All rules and schedules, but for when they were changed."""
    kept = {key: {**each, "LastModificationDate": 0} for key, each in sim.world.scheduler.schedules.items()}
    return copy.deepcopy({"rules": sim.world.events.rules, "schedules": kept})


def test_if_one_cannot_be_moved_the_others_are_put_back(world: Simulator, cli: Cli) -> None:
    names = several(world)
    world.service("prod", "web", family="report")
    before = everything(world)

    def refuse(_: int, operation: str, params: Json) -> AwsError | None:
        refused = operation == "UpdateSchedule" and params["Name"] == "three"
        return AwsError("ValidationException", "The StartDate cannot be in the past.") if refused else None

    world.world.on_call = refuse
    result = cli("-c", "prod", "-n", "web", "-i", "app:2", *names, "--output", "json")

    assert result.code == Exit.FAILED
    assert everything(world) == before
    assert last_paragraph(result) == [
        "ERROR: The schedule last/three could not be moved. AWS refused UpdateSchedule: The StartDate cannot be in the"
        " past. (ValidationException)",
        "The schedule two was put back: it runs report:14 again.",
        "The rule one was put back: it runs report:16, report:15 again.",
        "The service web stays deployed.",
        f"report:{world.active_revisions('report')[-1]} stays registered.",
    ]
    assert world.running("prod", "web") == {"app:2": 1}
    document = json.loads(result.out)
    assert {row["name"]: row["result"] for row in document["schedules"]} == {
        "rule one": "put back",
        "schedule two": "put back",
        "schedule last/three": "not moved",
    }
    refused = "AWS refused UpdateSchedule: The StartDate cannot be in the past. (ValidationException)"
    assert document["error"] == f"The schedule last/three could not be moved: {refused}"
    assert (document["exit_code"], document["verdict"]) == (1, "completed")


def test_entries_that_put_targets_refuses_are_errors(world: Simulator, cli: Cli) -> None:
    several(world)
    before = everything(world)
    world.world.events.refused_targets["b"] = ("ConcurrentModificationException", "try again")

    result = cli(*DEPLOY, "--schedules")

    assert result.code == Exit.FAILED
    assert everything(world) == before
    assert "The rule one could not be moved. AWS refused PutTargets of b: try again" in result.err
    assert "report:18 stays registered." in result.err


def test_each_target_that_is_refused_is_named_with_its_reason(world: Simulator, cli: Cli) -> None:
    several(world)
    refused = {"a": ("ConcurrentModificationException", "try again"), "b": ("LimitExceededException", "too many")}
    world.world.events.refused_targets |= refused

    result = cli(*DEPLOY, "--schedule", "one")

    assert result.code == Exit.FAILED
    said = "a: try again (ConcurrentModificationException); b: too many (LimitExceededException)"
    assert f"AWS refused PutTargets of {said}\nThe rule one does not run report:18.\n" in result.err
    assert result.err.endswith("report:18 stays registered.\n")


def test_what_cannot_be_put_back_is_named_with_the_command_that_does(world: Simulator, cli: Cli) -> None:
    names = several(world)
    written: list[str] = []

    def refuse(_: int, operation: str, params: Json) -> AwsError | None:
        if operation in ("UpdateSchedule", "PutTargets"):
            written.append(operation)
        return AwsError("ValidationException", "no") if len(written) > 2 and operation != "GetSchedule" else None

    world.world.on_call = refuse
    result = cli(*DEPLOY, *names, "--output", "json")

    assert result.code == Exit.FAILED
    assert {row["name"]: row["result"] for row in json.loads(result.out)["schedules"]} == {
        "rule one": "not put back",
        "schedule two": "not put back",
        "schedule last/three": "not moved",
    }
    assert (rule_runs(world, "one"), schedule_runs(world, "two")) == ([arn("report", 18)] * 2, arn("report", 18))
    assert [line for line in result.err.splitlines() if "could not be put back" in line] == [
        "Warning: The schedule two could not be put back. AWS refused UpdateSchedule: no (ValidationException)",
        "Warning: The rule one could not be put back. AWS refused DescribeRule: no (ValidationException)",
    ]
    assert "The rule one runs report:18. To put it back:\n  aws events put-targets" in result.err
    commands = [line.strip() for line in result.err.splitlines() if line.startswith("  aws ")]
    assert [command.split()[1:3] for command in commands] == [
        ["scheduler", "update-schedule"], ["events", "put-targets"], ["events", "put-targets"],
    ]  # fmt: skip
    assert "hush-hush" not in result.err
    words = shlex.split(commands[1])
    assert words[:7] == ["aws", "events", "put-targets", "--rule", "one", "--region", "us-east-1"]


def test_what_may_have_been_moved_and_cannot_be_looked_at_is_said_to_be_just_that(world: Simulator, cli: Cli) -> None:
    full_schedule(world, "two", arn("report", 14))
    written: list[str] = []

    def lost(_: int, operation: str, __: Json) -> AwsError | Fault | None:
        written.extend([operation] * (operation == "UpdateSchedule"))
        gone = AwsError("ValidationException", "no") if written and operation == "GetSchedule" else None
        return Fault.DROP_AFTER if operation == "UpdateSchedule" else gone

    world.world.on_call = lost
    result = cli(*DEPLOY, "--schedule", "two", "--output", "json")

    assert result.code == Exit.FAILED
    assert last_paragraph(result)[2:4] == [
        "Warning: The schedule two could not be put back. AWS refused GetSchedule: no (ValidationException)",
        "The schedule two may run report:18. To put it back:",
    ]
    (row,) = json.loads(result.out)["schedules"]
    assert row == {"name": "schedule two", "old": "report:14", "new": "report:18", "result": "not put back"}


def test_the_command_that_puts_it_back_names_bus_and_group(world: Simulator, cli: Cli) -> None:
    world.world.events.rule("hourly", [runs(arn("report", 5), Id="1")], bus="orders")
    for name in ("three", "four"):
        world.world.scheduler.schedule(name, runs(arn("report", 13)), group="last")
    written: list[str] = []

    def refuse(_: int, operation: str, params: Json) -> AwsError | None:
        written.extend([operation] * (operation in ("UpdateSchedule", "PutTargets")))
        return AwsError("ValidationException", "no") if len(written) > 2 and operation != "GetSchedule" else None

    world.world.on_call = refuse
    result = cli(*DEPLOY, "--schedule", "orders/hourly", "--schedule", "last/three", "--schedule", "last/four")

    swap = f"--output json --region us-east-1 | sed 's|{arn('report', 18)}\"|{arn('report', '%s')}\"|'"
    of = "--rule hourly --event-bus-name orders"
    read = f"aws events list-targets-by-rule {of} --query \"Targets[?Id=='1']\" {swap % 5}"
    members = (
        "ScheduleExpressionTimezone", "State", "ActionAfterCompletion", "ScheduleExpression", "FlexibleTimeWindow",
        "Target", "Name", "GroupName",
    )  # fmt: skip
    query = ",".join(f"{member}:{member}" for member in members)
    get = f"aws scheduler get-schedule --name three --group-name last --query '{{{query}}}' {swap % 13}"
    assert result.code == Exit.FAILED
    assert last_paragraph(result) == [
        "ERROR: The schedule last/four could not be moved. AWS refused UpdateSchedule: no (ValidationException)",
        "Warning: The schedule last/three could not be put back. AWS refused UpdateSchedule: no (ValidationException)",
        "The schedule last/three runs report:18. To put it back:",
        f'  aws scheduler update-schedule --region us-east-1 --cli-input-json "$({get})"',
        "Warning: The rule orders/hourly could not be put back. AWS refused DescribeRule: no (ValidationException)",
        "The rule orders/hourly runs report:18. To put it back:",
        f'  aws events put-targets {of} --region us-east-1 --targets "$({read})"',
        "report:18 stays registered.",
    ]


def test_a_lost_answer_leaves_no_doubt(world: Simulator, cli: Cli) -> None:
    names = several(world)
    lost = iter([Fault.DROP_AFTER])
    world.world.on_call = lambda _, operation, __: next(lost, None) if operation == "UpdateSchedule" else None

    assert cli(*DEPLOY, *names).code == Exit.OK

    assert [schedule_runs(world, "two"), schedule_runs(world, "three", "last")] == [arn("report", 18)] * 2


def test_what_others_changed_meanwhile_stays(world: Simulator, cli: Cli) -> None:
    names = several(world)
    changed: list[str] = []

    def meanwhile(_: int, operation: str, __: Json) -> None:
        if operation == "RegisterTaskDefinition":
            changed.append(operation)
            world.world.scheduler.schedules["default", "two"]["ScheduleExpression"] = "rate(5 minutes)"

    world.world.on_call = meanwhile
    assert cli(*DEPLOY, *names).code == Exit.OK

    assert changed
    assert world.world.scheduler.schedules["default", "two"]["ScheduleExpression"] == "rate(5 minutes)"
    assert schedule_runs(world, "two") == arn("report", 18)


@pytest.mark.parametrize("action", ["events:PutTargets", "scheduler:UpdateSchedule"])
def test_what_is_denied_otherwise_is_named_as_everywhere(world: Simulator, cli: Cli, action: str) -> None:
    several(world)
    world.deny(action)

    result = cli(*DEPLOY, "--schedule", "one" if action.startswith("events") else "two")

    assert result.code == Exit.FAILED
    assert last_paragraph(result)[1:] == [
        f"Allow {action} in the IAM policy of these credentials.",
        "report:18 stays registered.",
    ]


@pytest.mark.parametrize(("name", "service"), [("one", "events"), ("two", "scheduler")])
def test_a_role_that_may_not_be_passed_is_named(world: Simulator, cli: Cli, name: str, service: str) -> None:
    several(world)
    world.world.events.rules["default", "one"].append({"Id": "c", "Arn": "arn:aws:lambda:us-east-1:1:function:f"})
    world.deny("iam:PassRole")

    result = cli(*DEPLOY, "--schedule", name)

    assert result.code == Exit.FAILED
    assert last_paragraph(result)[1:] == [
        f"Allow iam:PassRole on {ROLE} for {service}.amazonaws.com in the policy of these credentials.",
        "report:18 stays registered.",
    ]


def test_pruning_keeps_what_a_schedule_goes_on_to_run(world: Simulator, cli: Cli) -> None:
    targets = [runs(arn("report", 16), Id="1"), runs(arn("report", 4), f"{ECS}:cluster/staging", Id="2")]
    world.world.events.rule("nightly", targets)

    assert cli(*DEPLOY, "--schedules", "--max-definitions", "1").code == Exit.OK

    assert world.active_revisions("report") == [4, 18]


def test_a_signal_while_it_prunes_says_nothing_of_what_was_moved(world: Simulator, cli: Cli) -> None:
    names = several(world)

    def on_call(_: int, operation: str, __: Json) -> None:
        if operation == "DeregisterTaskDefinition":
            os.kill(os.getpid(), signal.SIGTERM)

    world.world.on_call = on_call

    result = cli(*DEPLOY, *names, "--max-definitions", "1")

    assert result.code == Exit.SIGTERM
    assert [rule_runs(world, "one"), schedule_runs(world, "two")] == [[arn("report", 18)] * 2, arn("report", 18)]
    assert result.err.splitlines()[-3:] == [
        "The schedule last/three runs report:18.",
        "SIGTERM: all else is done and stays; the outdated revisions are not all deregistered.",
        "Interrupted.",
    ]


def test_secrets_in_another_target_are_never_printed(world: Simulator, cli: Cli) -> None:
    other: Json = {"Id": "hook", "Arn": "arn:aws:events:us-east-1:123456789012:api-destination/hook", "RoleArn": ROLE}
    other["HttpParameters"] = {"HeaderParameters": {"X-Caller": "knock-knock-knock"}}
    world.world.events.rule("nightly", [full_rule_target("first", arn("report", 17)), other])
    refusal = AwsError("ValidationException", "not with knock-knock-knock")
    world.world.on_call = lambda index, operation, params: refusal if operation == "PutTargets" else None

    result = cli(*DEPLOY, "--schedule", "nightly")

    assert result.code == Exit.FAILED
    assert "AWS refused PutTargets: not with *** (ValidationException)" in result.err


def test_secrets_in_the_input_are_never_printed(world: Simulator, cli: Cli) -> None:
    names = several(world)
    refused = AwsError("ValidationException", "bad input: hush-hush")
    world.world.on_call = lambda _, operation, __: refused if operation == "UpdateSchedule" else None

    result = cli(*DEPLOY, *names, "-v")

    assert result.code == Exit.FAILED
    assert "hush-hush" not in result.err
    assert "PutTargets" in result.err


def signalled(sim: Simulator, at: int) -> None:
    """Send SIGTERM to the program when its call number `at` arrives."""
    first = len(sim.calls)

    def on_call(index: int, *_: object) -> None:
        if index - first == at:
            os.kill(os.getpid(), signal.SIGTERM)

    sim.world.on_call = on_call


def test_a_signal_at_any_call_leaves_all_moved_or_none(world: Simulator, cli: Cli) -> None:
    names = several(world)
    before = everything(world)
    calls = len(cli(*DEPLOY, *names, "--dry-run").calls) + 1 + 3 * 2 + 1
    endings = set()
    for at in range(calls):
        world.world.events.rules, kept = copy.deepcopy(before["rules"]), copy.deepcopy(before["schedules"])
        world.world.scheduler.schedules = kept
        signalled(world, at)
        result = cli(*DEPLOY, *names)
        newest = arn("report", world.active_revisions("report")[-1])
        now = [*rule_runs(world, "one"), schedule_runs(world, "two"), schedule_runs(world, "three", "last")]
        assert result.code in (Exit.OK, Exit.SIGTERM)
        assert now == [newest] * 4 if result.code == Exit.OK else everything(world) == before
        put_back = " was put back: " in result.err
        assert (f"{newest.rpartition('/')[2]} stays registered." in result.err) >= put_back
        endings.add(result.code)
    assert endings == {Exit.OK, Exit.SIGTERM}


@pytest.mark.slow
def test_a_run_that_was_killed_at_any_call_is_finished_by_the_next(world: Simulator, cli: Cli) -> None:
    names = several(world)
    program = [sys.executable, str(Path(__file__).parent.parent / "ecs_deploy.py")]
    definitions = ("TaskDefinitionArn",)
    whole = masked(everything(world), definitions)
    first, survived = len(world.calls), False
    at = 0
    while not survived:
        started: list[subprocess.Popen[bytes]] = []
        begun = len(world.calls)

        def on_call(index: int, *_: object, at: int = begun + at, started: Any = started) -> None:
            if index == at:
                started[0].kill()

        world.world.on_call = on_call
        kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        environment = {**kept, **world.environment()}
        started.append(
            subprocess.Popen(
                [*program, *DEPLOY, *names], env=environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
            )
        )
        survived = started[0].wait() == 0
        assert masked(everything(world), definitions) == whole
        at += 1
    assert at > 8
    assert len(world.calls) > first
    world.world.on_call = None
    assert cli(*DEPLOY, *names).code == Exit.OK
    newest = arn("report", world.active_revisions("report")[-1])
    assert [*rule_runs(world, "one"), schedule_runs(world, "two"), schedule_runs(world, "three", "last")] == [
        newest
    ] * 4


def masked(value: Any, names: tuple[str, ...]) -> Any:
    """The same without those members' values."""
    if isinstance(value, dict):
        return {name: "" if name in names else masked(inner, names) for name, inner in value.items()}
    return [masked(item, names) for item in value] if isinstance(value, list) else value


def test_the_document_and_the_outputs_name_them(world: Simulator, cli: Cli, tmp_path: Path) -> None:
    both_kinds(world)
    output, summary = tmp_path / "output", tmp_path / "summary"
    inputs = {"INPUT_CLUSTER": "prod", "INPUT_TASK_DEFINITION": "report", "INPUT_TAG_ONLY": "18"}
    runner = {"GITHUB_ACTIONS": "true", "GITHUB_OUTPUT": str(output), "GITHUB_STEP_SUMMARY": str(summary)}

    result: Result = cli(env={**inputs, **runner, "INPUT_SCHEDULES": "true", "INPUT_OUTPUT": "json"})

    assert result.code == Exit.OK
    rows = [{"name": f"{kind} nightly", "old": "report:16", "new": "report:18", "result": "moved"} for kind in KINDS]
    assert json.loads(result.out)["schedules"] == rows
    assert "rule nightly: report:16 -> report:18, moved\nschedule nightly: report:16 -> report:18, moved" in (
        output.read_text()
    )
    assert "<code>schedule nightly</code> | <code>report:16</code> | <code>report:18</code>" in summary.read_text()
    assert "| Rule or schedule | Old revision | New revision | Result |" in summary.read_text()


def test_two_services_that_get_different_revisions_of_a_family_leave_open_which_one(world: Simulator, cli: Cli) -> None:
    both_kinds(world)
    for image in ("app:1", "tool:1"):
        world.service("prod", image[:3], family="report", containers=[{"name": "c", "image": image, "memory": 64}])

    refused = cli("-c", "prod", "-n", "app", "-n", "too", "-to", "2", "--schedules")

    assert (refused.code, refused.changes) == (Exit.FAILED, [])
    assert last_paragraph(refused) == [
        "ERROR: The services get different revisions of report; which one its schedules are to run?"
    ]


def test_services_of_other_families_or_with_one_revision_leave_nothing_open(world: Simulator, cli: Cli) -> None:
    both_kinds(world)
    shared = world.task_definition("report", "report:17")
    for name in ("one", "two"):
        world.service("prod", name, task_definition=shared)
    world.service("prod", "web", image="web:1")

    result = cli("-c", "prod", "-n", "one", "-n", "web", "-n", "two", "-to", "18", "--schedules")

    assert result.code == Exit.OK
    assert schedule_runs(world, "nightly") == world.services["prod", "one"].primary.definition.arn
    assert schedule_runs(world, "nightly") == arn("report", world.active_revisions("report")[-1])


def test_a_look_that_fails_ends_it_before_anything_changes(world: Simulator, cli: Cli) -> None:
    both_kinds(world)
    world.world.on_call = lambda _, operation, __: Fault.SERVER_ERROR if operation == "GetSchedule" else None

    refused = cli(*DEPLOY, "--schedule", "nightly")

    assert (refused.code, refused.changes) == (Exit.AWS, [])


def test_in_which_account_a_new_familys_cluster_is_must_be_told(world: Simulator, cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "definition.json"
    containers = [{"name": "fresh", "image": "app:1", "memory": 64}]
    file.write_text(json.dumps({"family": "fresh", "containerDefinitions": containers}))
    fresh = ("-d", "fresh", "--task-definition-file", str(file), "--schedules")

    refused, done = cli("-c", "prod", *fresh), cli("-c", PROD, *fresh)

    assert (refused.code, refused.changes, done.code) == (Exit.FAILED, [], Exit.OK)
    assert last_paragraph(refused) == [
        "ERROR: --schedules needs a family that has a revision, or the ARN of the cluster (-c)"
    ]
    assert f"Warning: No rule or schedule runs fresh in the cluster {PROD}." in done.err.splitlines()


def test_the_cluster_may_be_an_arn(world: Simulator, cli: Cli) -> None:
    both_kinds(world)

    assert cli("-c", PROD, "-d", "report", "-to", "18", "--schedules").code == Exit.OK

    assert [*rule_runs(world, "nightly"), schedule_runs(world, "nightly")] == [arn("report", 18)] * 2


def test_a_new_family_tells_nothing_of_the_clusters_arn(world: Simulator, cli: Cli) -> None:
    new = ("-d", "new", "--taskdef", "report", "-to", "2", "--schedules")

    refused = cli("-c", "prod", *new)
    done = cli("-c", PROD, *new)

    assert (refused.code, refused.changes) == (Exit.FAILED, [])
    assert "or the ARN of the cluster" in refused.err
    assert done.code == Exit.OK
    assert f"Warning: No rule or schedule runs new in the cluster {PROD}." in done.err


def test_what_runs_other_families_is_not_looked_at_again(world: Simulator, cli: Cli) -> None:
    both_kinds(world)
    world.world.scheduler.schedule("others", runs(arn("other", 1)))

    result = cli(*DEPLOY, "--schedules")

    assert result.code == Exit.OK
    assert [request["Name"] for request in result.requests("GetSchedule")] == ["nightly", "others", "nightly"]


def test_what_somebody_moved_or_deleted_meanwhile(world: Simulator, cli: Cli) -> None:
    both_kinds(world)
    scheduler = world.world.scheduler

    def meanwhile(_: int, operation: str, __: Json) -> None:
        if operation == "RegisterTaskDefinition":
            scheduler.schedules["default", "nightly"]["Target"]["EcsParameters"]["TaskDefinitionArn"] = arn("other", 1)

    world.world.on_call = meanwhile
    assert cli(*DEPLOY, "--schedules").code == Exit.OK
    assert schedule_runs(world, "nightly") == arn("other", 1)

    scheduler.schedule("nightly", runs(arn("report", 16)))

    def deletes(_: int, operation: str, __: Json) -> None:
        if operation == "RegisterTaskDefinition":
            scheduler.schedules.clear()

    world.world.on_call = deletes
    refused = cli(*DEPLOY, "--schedules")

    assert refused.code == Exit.FAILED
    assert "The schedule nightly could not be moved. AWS refused GetSchedule" in refused.err
    assert "The rule nightly was put back: it runs report:18 again." in refused.err


def test_a_task_that_fails_leaves_them_as_they_are(world: Simulator, cli: Cli) -> None:
    both_kinds(world)
    world.image("report:bad").exits(1, after_s=1)
    run = ("-c", "prod", "-d", "report", "--run-task", "--wait-for-success", "--schedules", "-to")

    failed = cli(*run, "bad")
    assert failed.code == Exit.FAILED
    assert schedule_runs(world, "nightly") == arn("report", 16)
    world.image("report:good").exits(0, after_s=1)
    done = cli(*run, "good")

    assert done.code == Exit.OK
    assert schedule_runs(world, "nightly") == arn("report", 19)


@pytest.mark.parametrize("fault", [Fault.DROP_AFTER, Fault.DROP_BEFORE])
def test_what_may_have_been_moved_is_looked_at_and_put_back(world: Simulator, cli: Cli, fault: Fault) -> None:
    names = several(world)
    before = everything(world)
    written: list[str] = []

    def lost(_: int, operation: str, __: Json) -> Fault | None:
        written.append(operation)
        return fault if operation == "UpdateSchedule" and written.count(operation) <= 5 else None

    world.world.on_call = lost
    result = cli(*DEPLOY, *names, "--output", "json")

    assert result.code == Exit.FAILED
    assert everything(world) == before
    sent = fault is Fault.DROP_AFTER
    done = "was put back: it runs report:14 again." if sent else "does not run report:18."
    assert last_paragraph(result)[2:] == [
        f"The schedule two {done}",
        "The rule one was put back: it runs report:16, report:15 again.",
        "report:18 stays registered.",
    ]
    results = {row["name"]: row["result"] for row in json.loads(result.out)["schedules"]}
    assert results["schedule two"] == ("put back" if sent else "not moved")
