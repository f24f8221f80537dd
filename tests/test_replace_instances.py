"""`ecs-deploy replace-instances`: new instances first, then drain, then terminate; and never a task too few."""

from __future__ import annotations

import json
import re
import signal
import socket
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from ecs_deploy import Exit
from tests.conftest import Cli, Result
from tests.simulator import AwsError, Fault, Simulator
from tests.simulator.groups import Group
from tests.simulator.instances import Instance

REPLACE = ("replace-instances", "--cluster", "prod", "--asg", "workers")


@pytest.fixture
def replace(cli: Cli) -> Callable[..., Result]:
    """The command, for the group `workers` of the cluster `prod`."""
    return lambda *more, **settings: cli(*REPLACE, *more, **settings)


def workers(sim: Simulator, launch: Any = None, *, desired: int = 2, maximum: int = 20) -> Group:
    """A group behind a balancer with a service on it, and every half second a look whether both have what they need."""
    group: Group = sim.instances.group("workers", "prod", launch, desired=desired, maximum=maximum)
    group.target_groups = ["arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup/workers/1"]
    sim.service("prod", "web", desired_count=desired * 2)
    note_shortage(sim, {"workers": desired})
    return group


def by_refresh(sim: Simulator, *, desired: int = 2, protection: bool = False) -> Group:
    """The same, of a capacity provider with managed draining."""
    group = workers(sim, desired=desired)
    sim.instances.capacity_provider("workers", group, termination_protection=protection)
    return group


def note_shortage(sim: Simulator, owed: dict[str, int]) -> None:
    for service in sim.services.values():
        running = sum(service.running_images().values())
        if service.members.get("schedulingStrategy") != "DAEMON" and running < service.desired_count:
            sim.violations.append(f"{service.name}: {running} of {service.desired_count} at {sim.now_s} s")
    for name, capacity in owed.items():
        targets = sum(instance.weight or 1 for instance in sim.instances.groups[name].targets)
        if targets < capacity:
            sim.violations.append(f"{name}: {targets} of {capacity} targets at {sim.now_s} s")
    sim.world.at(sim.now_s + 0.5, lambda: note_shortage(sim, owed))


def ids(instances: list[Instance]) -> list[str]:
    return [instance.id for instance in instances]


def outdated(sim: Simulator, group: Group) -> list[Instance]:
    """The group's instances, after a new version of its template was published."""
    before = group.members
    sim.instances.new_version("workers")
    return before


def assert_replaced(sim: Simulator, group: Group, old: list[Instance], *, desired: int = 2) -> None:
    """The old instances are gone, others are in their place, no task was killed, and nothing is remembered."""
    sim.advance(60)
    assert all(instance.state == "terminated" for instance in old)
    assert_in_order(sim, group, desired=desired)
    assert all(sim.steady(*key) for key, s in sim.services.items() if "schedulingStrategy" not in s.members)


def assert_in_order(sim: Simulator, group: Group, *, desired: int = 2) -> None:
    """Every instance is current, serves, and is one of as many as at first; no task was killed, no tag is left."""
    alive = sim.instances.alive()
    assert alive == group.members
    assert group.outdated() == []
    assert [(i.lifecycle, i.container_status) for i in alive] == [("InService", "ACTIVE")] * desired
    assert group.desired == desired
    assert sim.instances.killed == []
    assert group.tags == {}
    assert all(set(instance.tags) <= {"aws:autoscaling:groupName"} for instance in alive)


def times(result: Result, operation: str) -> list[float]:
    """When each call of that operation was made."""
    return [call.at_s for call in result.calls if call.operation == operation]


def grown_to(result: Result) -> list[int]:
    """The desired capacities that were asked for."""
    return [request["DesiredCapacity"] for request in result.requests("SetDesiredCapacity")]


def policy(sim: Simulator, *overrides: dict[str, Any]) -> dict[str, Any]:
    template = {"LaunchTemplateSpecification": sim.instances.template("workers"), "Overrides": list(overrides)}
    return {"MixedInstancesPolicy": {"LaunchTemplate": template}}


def with_version(sim: Simulator, version: str) -> dict[str, Any]:
    return {"LaunchTemplate": {**sim.instances.template("workers"), "Version": version}}


# What is out of date


def test_replaces_instances_of_another_launch_configuration(sim: Simulator, replace: Callable[..., Result]) -> None:
    group = workers(sim, {"LaunchConfigurationName": "small-1"})
    sim.instances.capacity_provider("others", sim.instances.group("others", "prod", desired=0))
    old = group.members
    group.launch = {"LaunchConfigurationName": "small-2"}

    result = replace()

    assert result.code == Exit.OK
    first, second = ids(old)
    assert result.lines == [
        f"{first} is out of date: launch configuration small-1, not launch configuration small-2",
        f"{second} is out of date: launch configuration small-1, not launch configuration small-2",
        "Desired capacity of workers: 2 -> 3",
        f"In service: {group.members[0].id}",
        f"DRAINING: {first}",
        "Desired capacity of workers: 2 -> 3",
        f"Terminated: {first}",
        f"In service: {group.members[1].id}",
        f"DRAINING: {second}",
        f"Terminated: {second}",
        "Instances replaced in workers: 2",
    ]
    batch = ["SetDesiredCapacity", "UpdateContainerInstancesState", "TerminateInstanceInAutoScalingGroup"]
    tag = [operation for operation in result.changes if operation not in batch]
    assert [operation for operation in result.changes if operation in batch] == batch * 2
    assert (tag[0], tag[-1]) == ("CreateOrUpdateTags", "DeleteTags")
    assert "DescribeWarmPool" not in result.operations
    assert "DescribeContainerInstances" in result.operations[result.operations.index("DeleteTags") :]
    third, fourth = ids(group.members)
    assert result.err.splitlines() == [
        "[  10 s] workers: 0 of 2 replaced",
        "[  10 s] 2 of 3 in service",
        f"[  25 s] {third} not ACTIVE in the cluster",
        f"[  35 s] {first} is DRAINING, tasks left: none",
        "[  50 s] workers: 1 of 2 replaced",
        f"[  65 s] {fourth} not ACTIVE in the cluster",
        f"[  75 s] {second} is DRAINING, tasks left: none",
        f"[  85 s] {second} is Terminating, tasks left: none",
    ]
    assert_replaced(sim, group, old)


def test_the_tag_says_who_is_at_work_and_is_renewed_every_half_a_minute(
    sim: Simulator, replace: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: f"bücher box_1.{60 * 'x'}")
    group = workers(sim)
    old = outdated(sim, group)

    result = replace()

    assert result.code == Exit.OK
    assert times(result, "CreateOrUpdateTags") == [0, 30, 60, 90]
    tags = [tag for request in result.requests("CreateOrUpdateTags") for tag in request["Tags"]]
    key = {"ResourceId": "workers", "ResourceType": "auto-scaling-group", "Key": "ecs-deploy:replacing"}
    assert [{**tag, "Value": ""} for tag in tags] == [{**key, "Value": "", "PropagateAtLaunch": False}] * 4
    name = rf"b-cher-box_1\.{47 * 'x'}-[0-9a-f]{{8}}"
    assert re.fullmatch(f"capacity=2 by={name} beats=0", tags[0]["Value"])
    assert [tag["Value"] for tag in tags] == [tags[0]["Value"][:-1] + str(beats) for beats in range(4)]
    assert result.requests("DeleteTags") == [{"Tags": [key]}]
    assert_replaced(sim, group, old)


@pytest.mark.parametrize("version", ["$Latest", "$Default", None])
def test_replaces_instances_of_another_template_version(
    sim: Simulator, replace: Callable[..., Result], version: str | None
) -> None:
    launch = with_version(sim, version or "$Default")
    if not version:
        del launch["LaunchTemplate"]["Version"]
    group = workers(sim, launch)
    old = group.members
    sim.instances.new_version("workers", default=version != "$Latest")

    result = replace()

    assert result.code == Exit.OK
    reason = "launch template workers version 1, not launch template workers version 2"
    assert result.lines[0] == f"{old[0].id} is out of date: {reason}"
    assert_replaced(sim, group, old)


def test_leaves_instances_of_the_default_version_alone_when_only_the_latest_has_changed(
    sim: Simulator, replace: Callable[..., Result]
) -> None:
    group = workers(sim, with_version(sim, "$Default"))
    sim.instances.new_version("workers", default=False)

    result = replace()

    assert (result.code, result.lines) == (Exit.OK, ["Nothing to replace in workers."])
    assert result.changes == []
    assert "ListTasks" not in result.operations
    assert len(group.members) == 2


def test_asks_for_no_launch_templates_where_the_version_is_a_number(
    sim: Simulator, replace: Callable[..., Result]
) -> None:
    group = workers(sim, with_version(sim, "1"))
    old = group.members
    group.launch = with_version(sim, "2")

    result = replace()

    assert result.code == Exit.OK
    assert "DescribeLaunchTemplates" not in result.operations
    assert_replaced(sim, group, old)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param(
            lambda sim: {"LaunchTemplate": sim.instances.template("other")},
            "launch template workers version 1, not launch template other version 1",
            id="another template",
        ),
        pytest.param(
            lambda sim: {"LaunchConfigurationName": "small"},
            "launch template workers version 1, not launch configuration small",
            id="a launch configuration",
        ),
        pytest.param(
            lambda sim: policy(sim, {"InstanceType": "m5.large"}, {"InstanceType": "c5.large"}),
            "instance type t3.large, not c5.large or m5.large",
            id="a policy without this instance type",
        ),
        pytest.param(
            lambda sim: policy(
                sim, {"InstanceType": "t3.large", "LaunchTemplateSpecification": sim.instances.template("other")}
            ),
            "launch template workers version 1, not launch template other version 1",
            id="a policy with a template of its own for this instance type",
        ),
    ],
)
def test_replaces_instances_when_the_group_launches_from_something_else(
    sim: Simulator, replace: Callable[..., Result], change: Callable[[Simulator], Any], reason: str
) -> None:
    group = workers(sim)
    old = group.members
    group.launch = change(sim)

    result = replace()

    assert result.code == Exit.OK
    assert result.lines[:2] == [f"{instance.id} is out of date: {reason}" for instance in old]
    assert_replaced(sim, group, old)


def test_a_launch_configuration_gives_way_to_a_launch_template(sim: Simulator, replace: Callable[..., Result]) -> None:
    group = workers(sim, {"LaunchConfigurationName": "small"})
    old = group.members
    group.launch = {"LaunchTemplate": sim.instances.template("workers")}

    result = replace()

    assert result.code == Exit.OK
    reason = "launch configuration small, not launch template workers version 1"
    assert result.lines[0] == f"{old[0].id} is out of date: {reason}"
    assert_replaced(sim, group, old)


def test_an_instance_that_was_attached_by_hand_is_out_of_date(sim: Simulator, replace: Callable[..., Result]) -> None:
    group = workers(sim)
    foreign = group.members[0]
    foreign.origin = {}

    result = replace()

    assert result.code == Exit.OK
    reason = "no known launch configuration or template, not launch template workers version 1"
    assert result.lines[0] == f"{foreign.id} is out of date: {reason}"
    assert foreign.state != "running"
    assert len(group.members) == 2


def test_a_service_with_too_few_tasks_is_waited_for(sim: Simulator, replace: Callable[..., Result]) -> None:
    group = workers(sim)
    old = outdated(sim, group)
    sim.service("prod", "growing", "growing:1", desired_count=1)
    sim.image("growing:1").starts_after(50)
    sim.scale_service("prod", "growing", 2)
    sim.violations.clear()

    result = replace()

    assert result.code == Exit.OK
    assert "growing is not steady: 1 of 2 running" in result.err
    assert result.operations.count("ListServices") == 2  # at each batch; then only those that were not steady
    assert min(times(result, "SetDesiredCapacity")) >= 50
    sim.violations[:] = [violation for violation in sim.violations if not violation.startswith("growing")]
    assert_replaced(sim, group, old)


@pytest.mark.parametrize(
    "requirements", [{}, {"LaunchTemplateSpecification": {"LaunchTemplateName": "workers", "Version": "$Latest"}}]
)
def test_a_policy_that_asks_for_properties_admits_every_instance_type(
    sim: Simulator, replace: Callable[..., Result], requirements: dict[str, Any]
) -> None:
    group = workers(sim)
    wanted = {"VCpuCount": {"Min": 2}, "MemoryMiB": {"Min": 4096}}
    template = requirements and {"LaunchTemplateSpecification": sim.instances.template("workers")}
    group.launch = policy(sim, {"InstanceRequirements": wanted, **template})

    result = replace()

    assert (result.code, result.lines) == (Exit.OK, ["Nothing to replace in workers."])


def test_replaces_by_a_mixed_instances_policy_with_weights(sim: Simulator, replace: Callable[..., Result]) -> None:
    weighted = [
        {"InstanceType": "m5.large", "WeightedCapacity": "2"},
        {"InstanceType": "m5.xlarge", "WeightedCapacity": "4"},
    ]
    group = workers(sim, policy(sim, *weighted), desired=6)
    old = outdated(sim, group)
    assert [instance.weight for instance in old] == [2, 4]

    result = replace()

    assert result.code == Exit.OK
    sim.advance(60)
    assert all(instance.state == "terminated" for instance in old)
    assert group.capacity >= group.desired == 6
    assert sim.instances.killed == []


# Batches


def test_without_a_time_out_five_minutes_without_any_answer_end_it(
    sim: Simulator, replace: Callable[..., Result]
) -> None:
    group = workers(sim)
    outdated(sim, group)
    sim.on_call = lambda index, operation, params: Fault.THROTTLED if sim.now_s > 20 else None

    result = replace("-t", "0")

    assert result.code == Exit.AWS
    assert 320 < sim.now_s < 400


def test_a_time_out_where_nothing_is_waited_for_says_how_far_it_is(
    sim: Simulator, replace: Callable[..., Result]
) -> None:
    outdated(sim, workers(sim))

    result = replace("-t", "5")

    assert result.code == Exit.TIMED_OUT
    assert "ERROR: Not replaced within 5 seconds: workers: 0 of 2 replaced\nRun it again to go on.\n" in result.err


def test_ten_instances_in_two_batches_never_run_a_task_too_few(sim: Simulator, replace: Callable[..., Result]) -> None:
    group = workers(sim, desired=10)
    sim.service("prod", "api", "api:1", desired_count=7, drain_s=20)
    sim.service("prod", "slow", "slow:1", desired_count=3, drain_s=5)
    sim.image("slow:1").starts_after(40)
    sim.instances.daemon("prod", "agent")
    old = outdated(sim, group)

    result = replace("--batch", "50%")

    assert result.code == Exit.OK
    assert grown_to(result) == [15, 15]
    states = [request["containerInstances"] for request in result.requests("UpdateContainerInstancesState")]
    assert states == [[i.arn for i in old[:5]], [i.arn for i in old[5:]]]
    assert all(r["ShouldDecrementDesiredCapacity"] for r in result.requests("TerminateInstanceInAutoScalingGroup"))
    assert_replaced(sim, group, old, desired=10)
    assert sim.running("prod", "agent") == {"app:1": 10}
    assert "Somebody else changed the desired capacity" not in result.err


@pytest.mark.parametrize(
    ("batch", "capacities"),
    [
        ("1", [5, 5, 5, 5]),
        ("3", [7, 5]),
        ("9", [8]),
        ("30%", [5, 5, 5, 5]),
        ("50%", [6, 6]),
        ("100%", [8]),
        ("1%", [5] * 4),
    ],
)
def test_a_batch_is_a_number_of_instances_or_a_share_of_the_group(
    sim: Simulator, replace: Callable[..., Result], batch: str, capacities: list[int]
) -> None:
    group = workers(sim, desired=4)
    old = outdated(sim, group)

    result = replace("--batch", batch)

    assert result.code == Exit.OK
    assert grown_to(result) == capacities
    assert "Somebody else" not in result.err
    assert_replaced(sim, group, old, desired=4)


def test_instances_of_a_batch_go_as_soon_as_they_are_empty(sim: Simulator, replace: Callable[..., Result]) -> None:
    group = workers(sim, desired=3)
    old = outdated(sim, group)
    long_job_on(sim, old[2], exits_after_s=80)

    result = replace("--batch", "3")

    assert result.code == Exit.OK
    first, second, last = times(result, "TerminateInstanceInAutoScalingGroup")
    assert first == second < last
    assert "Somebody else" not in result.err
    assert_replaced(sim, group, old, desired=3)


def test_a_batch_is_no_larger_than_the_group_has_room_for(sim: Simulator, replace: Callable[..., Result]) -> None:
    group = workers(sim, desired=5, maximum=7)
    old = outdated(sim, group)

    result = replace("--batch", "4")

    assert result.code == Exit.OK
    assert grown_to(result) == [7, 7, 6]
    assert_replaced(sim, group, old, desired=5)


def test_the_time_out_is_for_each_batch(sim: Simulator, replace: Callable[..., Result]) -> None:
    group = workers(sim, desired=4)
    old = outdated(sim, group)
    begun_s = sim.now_s

    result = replace("--timeout", "60")

    assert result.code == Exit.OK
    assert sim.now_s - begun_s > 120
    assert_replaced(sim, group, old, desired=4)


def test_more_instances_than_one_call_takes(sim: Simulator, replace: Callable[..., Result]) -> None:
    group = workers(sim, desired=23, maximum=50)
    sim.page_size = 100
    old = outdated(sim, group)

    result = replace("--batch", "100%")

    assert result.code == Exit.OK
    states = [len(r["containerInstances"]) for r in result.requests("UpdateContainerInstancesState")]
    assert states == [10, 10, 3]
    assert_replaced(sim, group, old, desired=23)


def test_the_next_batch_waits_until_the_services_are_steady_again(
    sim: Simulator, replace: Callable[..., Result]
) -> None:
    group = workers(sim)
    old = outdated(sim, group)
    terminated: list[float] = []

    def deploy_when_the_first_is_terminated(index: int, operation: str, params: dict[str, Any]) -> None:
        if operation == "TerminateInstanceInAutoScalingGroup" and not terminated:
            terminated.append(sim.now_s)
            sim.service("prod", "late", "late:1", desired_count=1)
            sim.someone_deploys("prod", "late", "late:2")
            sim.image("late:2").starts_after(100)

    sim.on_call = deploy_when_the_first_is_terminated
    result = replace()

    assert result.code == Exit.OK
    assert times(result, "SetDesiredCapacity")[1] >= terminated[0] + 100
    assert "late is not steady: its deployment is not completed" in result.err
    assert_replaced(sim, group, old)


def test_changes_nothing_while_a_service_never_gets_steady(sim: Simulator, replace: Callable[..., Result]) -> None:
    group = workers(sim)
    old = outdated(sim, group)
    sim.service("prod", "ill", "ill:1", desired_count=1)
    sim.image("ill:2").cannot_be_pulled()
    sim.someone_deploys("prod", "ill", "ill:2")

    result = replace("--timeout", "121")

    assert result.code == Exit.TIMED_OUT
    assert result.changes == []
    assert result.err.splitlines()[-2:] == [
        "ERROR: Not replaced within 121 seconds: ill is not steady: its deployment is not completed",
        "Run it again to go on.",
    ]
    assert result.calls[-1].at_s == 121
    assert group.members == old


def test_hooks_and_the_draining_of_the_balancer_run_before_an_instance_is_gone(
    sim: Simulator, replace: Callable[..., Result]
) -> None:
    group = workers(sim)
    group.deregisters_s, group.hook_s = 40.0, 30.0
    old = outdated(sim, group)

    result = replace()

    assert result.code == Exit.OK
    assert f"{old[1].id} is Terminating:Wait" in result.err
    gone = times(result, "TerminateInstanceInAutoScalingGroup")[-1] + 70
    assert sim.now_s >= gone
    assert_replaced(sim, group, old)


@pytest.mark.parametrize("kind", ["target_groups", "balancers"])
def test_the_only_target_of_a_balancer_stays_until_the_next_one_serves(
    sim: Simulator, replace: Callable[..., Result], kind: str
) -> None:
    group = workers(sim, desired=1)
    group.target_groups = []
    setattr(group, kind, ["workers"])
    old = outdated(sim, group)

    assert replace().code == Exit.OK
    assert_replaced(sim, group, old, desired=1)


# What is left alone


PROTECTION = ("it is protected from scale-in", "set-instance-protection --no-protected-from-scale-in")
STANDBY = ("it is in Standby", "exit-standby")


@pytest.mark.parametrize(
    ("change", "said", "more"),
    [
        pytest.param({"protected": True}, PROTECTION, (), id="protected"),
        pytest.param({"lifecycle": "Standby"}, STANDBY, (), id="standby"),
        pytest.param({"lifecycle": "Standby"}, STANDBY, ("--include-protected",), id="standby, protected included"),
    ],
)
@pytest.mark.parametrize("count", [1, 2])
def test_what_is_left_alone_is_named_and_no_success(
    sim: Simulator,
    replace: Callable[..., Result],
    change: dict[str, Any],
    said: tuple[str, str],
    more: tuple[str, ...],
    count: int,
) -> None:
    reason, command = said
    group = sim.instances.group("workers", "prod", desired=2)
    sim.service("prod", "web", desired_count=4)
    old = outdated(sim, group)
    kept = old[:count]
    for instance in kept:
        vars(instance).update(change)
        group.desired -= instance.lifecycle == "Standby"

    result = replace(*more)

    assert result.code == Exit.FAILED
    why = "launch template workers version 1, not launch template workers version 2"
    assert result.lines[:count] == [f"{i.id} is out of date ({why}), but left alone: {reason}" for i in kept]
    left_alone = "; ".join(f"{instance.id}: {reason}" for instance in kept)
    assert f"ERROR: Out of date and left alone in workers: {left_alone}" in result.err
    assert "Run it again after this, or with --include-protected for those that are protected:\n" in result.err
    assert (
        f"  aws autoscaling {command} --auto-scaling-group-name workers --instance-ids {kept[0].id} --region us-east-1"
        in result.err
    )
    assert [instance.state for instance in old] == ["running"] * count + ["terminated"] * (2 - count)
    assert "Nothing to replace" not in result.out
    looks = [name for name in result.operations if name in ("DeleteTags", "DescribeContainerInstances")]
    assert looks[-2:] == ["DeleteTags", "DescribeContainerInstances"][count - 1 :]
    assert sim.instances.killed == []
    assert group.tags == {}


@pytest.mark.parametrize("more", [("--include-protected",), ()])
def test_protected_instances_are_replaced_if_asked_or_if_ecs_protects_them(
    sim: Simulator, replace: Callable[..., Result], more: tuple[str, ...]
) -> None:
    group = workers(sim)
    if not more:
        sim.instances.capacity_provider("workers", group, managed_draining=False, termination_protection=True)
    old = outdated(sim, group)
    old[0].protected = True

    result = replace(*more)

    assert result.code == Exit.OK
    assert_replaced(sim, group, old)


def test_what_an_operator_has_taken_out_of_the_group_is_not_ours(
    sim: Simulator, replace: Callable[..., Result]
) -> None:
    group = workers(sim)
    taken_out = sim.instances.group("others", "prod", desired=1).members[0]
    taken_out.group, taken_out.lifecycle, taken_out.container_status = "", "", "DRAINING"
    taken_out.tags["ecs-deploy:replacing"] = "workers"
    old = outdated(sim, group)

    assert replace().code == Exit.OK
    assert taken_out.state == "running"
    assert all(instance.state == "terminated" for instance in old)


def test_daemon_tasks_do_not_keep_an_instance(sim: Simulator, replace: Callable[..., Result]) -> None:
    group = workers(sim)
    sim.instances.daemon("prod", "agent")
    old = outdated(sim, group)
    seen: list[str] = []
    sim.on_call = lambda index, operation, params: seen.extend(
        task.group for instance in old for task in sim.instances.tasks_on(instance)
        if operation == "TerminateInstanceInAutoScalingGroup" and instance.id == params["InstanceId"]
    )  # fmt: skip

    result = replace()

    assert result.code == Exit.OK
    assert seen == ["service:agent"] * 2
    assert_replaced(sim, group, old)


@pytest.mark.parametrize("launch", [workers, by_refresh])
def test_a_dry_run_lists_what_is_out_of_date_and_changes_nothing(
    sim: Simulator, replace: Callable[..., Result], launch: Callable[[Simulator], Group]
) -> None:
    group = launch(sim)
    old = outdated(sim, group)

    result = replace("--dry-run")

    reason = "launch template workers version 1, not launch template workers version 2"
    assert result.code == Exit.OK
    assert result.lines == [
        *[f"{instance.id} is out of date: {reason}" for instance in old],
        "Dry run: nothing was changed.",
    ]
    assert result.changes == []
    assert result.err == ""


@pytest.mark.parametrize("more", [(), ("--dry-run",)])
@pytest.mark.parametrize("desired", [2, 0])
def test_where_nothing_is_out_of_date_there_is_nothing_to_replace(
    sim: Simulator, replace: Callable[..., Result], desired: int, more: tuple[str, ...]
) -> None:
    sim.instances.group("workers", "prod", desired=desired)

    result = replace(*more)

    assert (result.code, result.lines) == (Exit.OK, ["Nothing to replace in workers."])
    assert (result.changes, "DescribeInstanceRefreshes" in result.operations) == ([], False)


# What cannot be done


def refused(sim: Simulator, result: Result, group: Group, code: int = Exit.FAILED) -> str:
    """The message of a run that changed nothing."""
    assert result.code == code
    assert result.changes == []
    assert all(instance.lifecycle == "InService" for instance in group.members)
    return result.err


def test_a_group_that_does_not_exist(sim: Simulator, cli: Cli) -> None:
    group = workers(sim)
    sim.instances.group("others", "prod")

    result = cli("replace-instances", "-c", "prod", "--asg", "worker")

    message = refused(sim, result, group, Exit.AWS)
    assert "ERROR: The Auto Scaling group worker was not found in us-east-1" in message
    assert "The Auto Scaling groups: others, workers" in message


def test_a_cluster_that_does_not_exist(sim: Simulator, cli: Cli) -> None:
    group = workers(sim)

    result = cli("replace-instances", "-c", "production", "--asg", "workers")

    message = refused(sim, result, group, Exit.AWS)
    assert "ERROR: The cluster production was not found in us-east-1\nThe clusters in us-east-1: prod" in message


@pytest.mark.parametrize("more", [(), ("--dry-run",)])
def test_a_group_of_another_cluster(sim: Simulator, cli: Cli, more: tuple[str, ...]) -> None:
    group = workers(sim)
    sim.cluster("test")
    outdated(sim, group)

    result = cli("replace-instances", "-c", "test", "--asg", "workers", *more)

    message = refused(sim, result, group)
    assert "ERROR: No instance of workers is registered in the cluster test\n" in message
    assert "Name the cluster that the group's instances join." in message


@pytest.mark.parametrize("launch", [workers, by_refresh])
@pytest.mark.parametrize(
    ("change", "said", "help_"),
    [
        pytest.param(
            {"container_status": ""},
            "Not registered in the cluster prod: ",
            "Without it nobody can tell what runs there. Look at its ECS agent, or terminate the instance.",
            id="not in the cluster",
        ),
        pytest.param(
            {"agent_connected": False},
            "Cannot be drained, the agent is not connected: ",
            "Its tasks cannot be moved. Restart its ECS agent, or terminate the instance.",
            id="no agent",
        ),
    ],
)
def test_an_instance_that_ecs_cannot_drain(
    sim: Simulator,
    replace: Callable[..., Result],
    launch: Callable[..., Group],
    change: dict[str, Any],
    said: str,
    help_: str,
) -> None:
    group = launch(sim, desired=3)
    _, *lost = outdated(sim, group)
    for instance in lost:
        vars(instance).update(change)

    message = refused(sim, replace(), group)

    assert message == f"ERROR: {said}{', '.join(ids(lost))}\n{help_}\n"


def test_a_group_without_capacity_for_one_more(sim: Simulator, replace: Callable[..., Result]) -> None:
    group = workers(sim, maximum=2)
    outdated(sim, group)

    message = refused(sim, replace(), group)

    assert "ERROR: workers has no capacity for one more instance: 2 are desired, 2 allowed\n" in message
    assert "raise the group's maximum by one." in message


def test_a_group_that_launches_nothing(sim: Simulator, replace: Callable[..., Result]) -> None:
    group = workers(sim)
    outdated(sim, group)
    group.suspended = ["Launch"]

    message = refused(sim, replace(), group)

    assert "ERROR: workers launches no instances, its process Launch is suspended" in message
    assert "aws autoscaling resume-processes --auto-scaling-group-name workers --scaling-processes Launch" in message


def test_a_group_that_counts_in_other_units(sim: Simulator, replace: Callable[..., Result]) -> None:
    group = workers(sim)
    outdated(sim, group)
    group.capacity_type = "vcpu"

    message = refused(sim, replace(), group)

    assert "ERROR: workers counts its capacity in vcpu, which is not supported" in message
    group.capacity_type = "units"
    assert replace("--dry-run").code == Exit.OK


def test_a_tag_that_may_not_be_set_stops_the_run_before_anything_else(
    sim: Simulator, replace: Callable[..., Result]
) -> None:
    group = workers(sim)
    old = outdated(sim, group)
    sim.deny("autoscaling:CreateOrUpdateTags")

    result = replace()

    assert result.code == Exit.AWS
    assert result.changes == ["CreateOrUpdateTags", "DeleteTags"][:1]
    assert group.members == old
    assert group.desired == 2


# Warm pools


def test_old_instances_of_a_warm_pool_would_become_the_replacements(
    sim: Simulator, replace: Callable[..., Result]
) -> None:
    group = workers(sim)
    group.warm_up(2)
    outdated(sim, group)

    message = refused(sim, replace(), group)

    names = ", ".join(ids(group.warm))
    assert message.splitlines() == [
        f"ERROR: The warm pool of workers would replace old instances by old ones: {names}",
        "Delete it, and make it again afterwards:",
        "  aws autoscaling delete-warm-pool --auto-scaling-group-name workers --force-delete --region us-east-1",
    ]


def test_a_warm_pool_that_is_current_is_used(sim: Simulator, replace: Callable[..., Result]) -> None:
    group = workers(sim)
    old = outdated(sim, group)
    group.warm_up(2)
    warm = ids(group.warm)

    assert replace().code == Exit.OK
    assert ids(group.members) == warm
    assert_replaced(sim, group, old)


def test_current_instances_with_an_old_warm_pool_are_no_success(sim: Simulator, replace: Callable[..., Result]) -> None:
    group = workers(sim)
    outdated(sim, group)
    group.warm_up(2)
    for instance in group.warm:
        instance.origin = group.members[0].origin
    for instance in group.members:
        instance.origin = group.new_instance().origin

    result = replace()

    message = refused(sim, result, group)
    assert message.splitlines() == [
        f"ERROR: Out of date in the warm pool of workers: {', '.join(ids(group.warm))}",
        "They were launched from what the group had before. An instance refresh replaces them, too.",
    ]


def test_an_instance_refresh_replaces_the_warm_pool_as_well(sim: Simulator, replace: Callable[..., Result]) -> None:
    group = by_refresh(sim)
    group.warm_up(1)
    old = outdated(sim, group)

    assert replace().code == Exit.OK
    assert all(instance.state == "terminated" for instance in old)
    assert group.outdated() == []


# Answers that are not the whole truth


@pytest.mark.parametrize(
    ("operation", "at"),
    [
        ("DescribeCapacityProviders", 0),
        *((name, at) for name in ("DescribeTasks", "DescribeServices") for at in (0, 4, 8, 11)),
        *(("DescribeContainerInstances", at) for at in (0, 5, 10, 15, 20)),
    ],
)
def test_an_answer_with_something_missing_destroys_nothing(
    sim: Simulator, replace: Callable[..., Result], operation: str, at: int
) -> None:
    group = workers(sim)
    sim.page_size = 100
    sim.instances.capacity_provider("workers", group, managed_draining=False)
    sim.instances.daemon("prod", "agent")
    sim.service("prod", "slow", desired_count=4, drain_s=17)
    old = outdated(sim, group)
    seen: list[int] = []

    def leave_out(index: int, name: str, params: dict[str, Any]) -> None:
        if name == operation:
            seen.append(index)
            sim.world.leaves_out = [operation] if len(seen) == at + 1 else []

    sim.on_call = leave_out
    result = replace()

    assert result.code == Exit.OK, result.err
    assert len(seen) > at
    assert_replaced(sim, group, old)


def test_a_task_that_is_never_described_keeps_its_instance(sim: Simulator, replace: Callable[..., Result]) -> None:
    group = workers(sim)
    old = outdated(sim, group)
    sim.on_call = lambda index, operation, params: setattr(sim.world, "leaves_out", ["DescribeTasks"])
    long_job_on(sim, old[0])

    result = replace("-t", "60")

    assert result.code == Exit.TIMED_OUT
    assert f"{old[0].id} is DRAINING, tasks left: 1 × a task that was not described" in result.err
    assert (old[0].state, old[0].container_status) == ("running", "ACTIVE")
    sim.world.leaves_out = []


@pytest.mark.parametrize("never", ["DescribeContainerInstances", "DescribeCapacityProviders"])
def test_what_is_never_described_whole_is_an_error(sim: Simulator, replace: Callable[..., Result], never: str) -> None:
    group = workers(sim)
    sim.instances.capacity_provider("workers", group, managed_draining=False)
    outdated(sim, group)
    sim.on_call = lambda index, operation, params: setattr(sim.world, "leaves_out", [never])

    message = refused(sim, replace(), group, Exit.AWS)

    missing = {"DescribeContainerInstances": "1 of 2", "DescribeCapacityProviders": "0 of 1"}
    assert message == f"ERROR: {never} described {missing[never]}\n"
    assert [call.at_s for call in sim.calls if call.operation == never] == [0, 1, 2]
    sim.world.leaves_out = []


def test_what_is_not_described_for_a_while_during_the_run_is_looked_at_again(
    sim: Simulator, replace: Callable[..., Result]
) -> None:
    group = workers(sim)
    old = outdated(sim, group)
    sim.on_call = lambda index, operation, params: setattr(
        sim.world, "leaves_out", ["DescribeContainerInstances"] if 7 < sim.now_s < 14 or 22 < sim.now_s < 27 else []
    )

    result = replace()

    assert result.code == Exit.OK
    said = [line for line in result.err.splitlines() if line.endswith("looking again.")]
    assert said == ["DescribeContainerInstances described 1 of 2; looking again."] * 2
    assert_replaced(sim, group, old)


@pytest.mark.parametrize(
    ("operation", "code"), [("SetDesiredCapacity", "ResourceContention"), ("UpdateContainerInstancesState", "INACTIVE")]
)
def test_what_is_in_the_way_for_a_while_is_waited_for(
    sim: Simulator, replace: Callable[..., Result], operation: str, code: str
) -> None:
    group = workers(sim)
    old = outdated(sim, group)
    refusals = iter([AwsError(code, "Not now.")])
    sim.on_call = lambda index, name, params: next(refusals, None) if name == operation else None

    result = replace()

    assert result.code == Exit.OK
    assert f"AWS refused {operation}: Not now. ({code}); looking again." in result.err.splitlines()
    assert_replaced(sim, group, old)


def test_a_group_that_is_deleted_during_the_run(sim: Simulator, replace: Callable[..., Result]) -> None:
    outdated(sim, sim.instances.group("workers", "prod", desired=2))
    sim.world.at(sim.now_s + 7, lambda: sim.instances.groups.pop("workers"))

    result = replace("-t", "30")

    assert result.code == Exit.TIMED_OUT
    gone = "The Auto Scaling group workers was not found in us-east-1"
    assert result.err.splitlines()[0] == f"{gone}; looking again."
    assert f"\nERROR: Not replaced within 30 seconds: {gone}\n" in result.err


def test_two_looks_before_anything_is_terminated(sim: Simulator, replace: Callable[..., Result]) -> None:
    group = workers(sim)
    old = outdated(sim, group)

    result = replace()

    calls = [(call.operation, call.params) for call in result.calls]
    for instance in old:
        end = calls.index(
            ("TerminateInstanceInAutoScalingGroup", {"InstanceId": instance.id, "ShouldDecrementDesiredCapacity": True})
        )
        looks = [p for o, p in calls[:end] if o == "ListTasks" and p["containerInstance"] == instance.arn]
        assert len(looks) >= 4  # what runs and what stops, twice


def test_an_instance_that_is_listed_after_its_end_is_terminated_once(
    sim: Simulator, replace: Callable[..., Result]
) -> None:
    group = workers(sim, desired=3)
    group.lists_late_s, group.hook_s = 20.0, 60.0
    old = outdated(sim, group)

    result = replace()

    assert result.code == Exit.OK
    terminated = [request["InstanceId"] for request in result.requests("TerminateInstanceInAutoScalingGroup")]
    assert terminated == ids(old)
    assert result.lines[-1] == "Instances replaced in workers: 3"
    assert f"{old[2].id} is Terminating, tasks left: none\n" in result.err
    assert_replaced(sim, group, old, desired=3)


# Going wrong, and going on


CHANGED = "If the group's template changed in the meantime, run it again.\n"
GO_ON = (
    "To go on, which takes back what is left:\n"
    "  ecs-deploy replace-instances --cluster prod --asg workers --region us-east-1\n"
)


def test_without_a_replacement_it_says_that_the_capacity_is_one_more(
    sim: Simulator, replace: Callable[..., Result]
) -> None:
    group = workers(sim)
    old = outdated(sim, group)
    group.launches = False

    result = replace("-t", "60")

    assert result.code == Exit.TIMED_OUT
    assert "ERROR: Not replaced within 60 seconds: 2 of 3 in service\nRun it again to go on.\n" in result.err
    left = (
        "workers is left with a desired capacity of 3, 2 before. Do not lower it by hand:"
        " the group would choose itself which instance to terminate, with the tasks on it.\n"
    )
    assert left + GO_ON in result.err
    assert sim.instances.alive() == old
    assert group.tags == {"ecs-deploy:replacing": "capacity=2 by= beats=0"}

    group.launches = True
    group.reconcile()
    again = replace()

    assert again.code == Exit.OK
    assert again.lines[2] == "workers returns to a desired capacity of 2: an earlier run left something to do"
    assert_replaced(sim, group, old)


def test_a_capacity_of_one_more_is_taken_back_even_where_nothing_is_out_of_date_any_more(
    sim: Simulator, replace: Callable[..., Result]
) -> None:
    group = workers(sim)
    before = group.launch
    group.launch = with_version(sim, "1")
    sim.instances.new_version("workers")
    group.launch = with_version(sim, "2")
    group.launches = False
    assert replace("-t", "60").code == Exit.TIMED_OUT
    group.launch, group.launches = with_version(sim, "1"), True
    group.reconcile()
    sim.advance(60)
    assert len(group.members) == 3
    assert before

    result = replace()

    assert result.code == Exit.OK
    assert result.lines[-1] == "Nothing to replace in workers."
    sim.advance(60)
    assert_in_order(sim, group)


def one_too_many(sim: Simulator, *busy: int) -> tuple[Group, list[Instance]]:
    """Three current instances where a run has left a capacity of two to return to; those named run jobs for long."""
    group: Group = sim.instances.group("workers", "prod", desired=3)
    group.tags["ecs-deploy:replacing"] = "capacity=2 by= beats=0"
    for number in busy:
        long_job_on(sim, group.members[number], exits_after_s=100)
    return group, group.members


def test_tasks_that_have_not_started_yet_are_tasks_as_well(sim: Simulator, replace: Callable[..., Result]) -> None:
    sim.image("job:1").starts_after(1000)
    _, (first, second, last) = one_too_many(sim, 0, 0, 1, 2, 2)

    result = replace("-t", "20")

    assert result.code == Exit.TIMED_OUT
    assert f"DRAINING: {second.id}" in result.lines
    assert (first.draining, last.draining) == (False, False)


@pytest.mark.parametrize("batch", ["1", "2"])
def test_what_is_above_the_capacity_is_taken_from_where_the_fewest_tasks_run(
    sim: Simulator, replace: Callable[..., Result], batch: str
) -> None:
    group, (first, idle, last) = one_too_many(sim, 0, 2)

    result = replace("--batch", batch)

    assert result.code == Exit.OK
    assert f"Terminated: {idle.id}" in result.lines
    assert (group.members, group.desired) == ([first, last], 2)


def test_what_is_above_the_capacity_is_taken_from_what_drains_already(
    sim: Simulator, replace: Callable[..., Result]
) -> None:
    group, (first, draining, last) = one_too_many(sim, 1)
    sim.instances.set_status(draining, "DRAINING")

    result = replace()

    assert result.code == Exit.OK
    assert result.requests("UpdateContainerInstancesState") == []
    assert (group.members, group.desired) == ([first, last], 2)


def test_an_instance_whose_agent_is_lost_during_the_run_is_not_drained(
    sim: Simulator, replace: Callable[..., Result]
) -> None:
    group = workers(sim)
    first, lost = outdated(sim, group)
    sim.on_call = lambda index, operation, params: (
        setattr(lost, "agent_connected", False) if operation == "TerminateInstanceInAutoScalingGroup" else None
    )

    result = replace("-t", "60")

    assert result.code == Exit.TIMED_OUT
    assert f"within 60 seconds: {lost.id} cannot be drained, its agent is not connected" in result.err
    assert [r["containerInstances"] for r in result.requests("UpdateContainerInstancesState")] == [[first.arn]]
    assert (lost.state, lost.container_status) == ("running", "ACTIVE")


def test_an_instance_that_does_not_drain_in_time_serves_again(sim: Simulator, replace: Callable[..., Result]) -> None:
    group = workers(sim)
    old = outdated(sim, group)
    batch_job = long_job_on(sim, old[0])

    result = replace("-t", "60")

    assert result.code == Exit.TIMED_OUT
    assert f"{old[0].id} is DRAINING, tasks left: 1 × family:job" in result.err
    assert result.lines[-1] == f"ACTIVE again: {old[0].id}"
    assert "DRAINING, not empty" not in result.err
    assert (old[0].lifecycle, old[0].container_status) == ("InService", "ACTIVE")
    assert batch_job.stays
    sim.advance(30)
    assert group.capacity == group.desired == 3


def test_what_keeps_an_instance_is_named_by_its_groups(sim: Simulator, replace: Callable[..., Result]) -> None:
    group = workers(sim)
    old = outdated(sim, group)
    for name in ("family:job", "family:job", "family:sync"):
        long_job_on(sim, old[0], group=name)

    result = replace("-t", "60")

    assert result.code == Exit.TIMED_OUT
    assert f"{old[0].id} is DRAINING, tasks left: 2 × family:job, 1 × family:sync\n" in result.err
    assert {name for request in result.requests("DescribeServices") for name in request["services"]} == {"web"}


def test_instances_that_do_not_drain_in_time_are_named_together(sim: Simulator, replace: Callable[..., Result]) -> None:
    old = outdated(sim, workers(sim))
    for instance in old:
        long_job_on(sim, instance)

    result = replace("-t", "60", "--batch", "2")

    assert result.code == Exit.TIMED_OUT
    assert result.lines[-1] == f"ACTIVE again: {old[0].id}, {old[1].id}"
    left = "; ".join(f"{instance.id} is DRAINING, tasks left: 1 × family:job" for instance in old)
    assert f"\nERROR: Not replaced within 60 seconds: {left}\nRun it again to go on.\n" in result.err


@pytest.mark.parametrize("at_s", [3, 40])
def test_what_an_earlier_run_has_set_draining_is_put_back_as_well(
    sim: Simulator, replace: Callable[..., Result], at_s: float
) -> None:
    group = sim.instances.group("workers", "prod", desired=2)
    old = outdated(sim, group)
    if at_s > 3:
        long_job_on(sim, old[0])
    sim.instances.set_status(old[0], "DRAINING")
    foreign_claim(group)
    sim.world.at(sim.now_s + at_s, lambda: signal.raise_signal(signal.SIGTERM))

    result = replace("--take-over")

    assert result.code == Exit.SIGTERM
    assert result.lines[-1] == f"ACTIVE again: {old[0].id}"


def long_job_on(sim: Simulator, instance: Instance, exits_after_s: float = 5000, group: str = "family:job") -> Any:
    """A task that nobody's service runs, on that instance."""
    sim.image("job:1").exits(0, after_s=exits_after_s)
    definition = sim.task_definition("job", "job:1")
    task = sim.world.new_task("prod", definition, started_by="somebody", group=group)
    task.host = instance
    task.launch()
    sim.advance(5)
    return task


def test_a_job_that_ends_in_time_is_waited_for(sim: Simulator, replace: Callable[..., Result]) -> None:
    group = workers(sim)
    old = outdated(sim, group)
    job = long_job_on(sim, old[0], exits_after_s=300)

    result = replace()

    assert result.code == Exit.OK
    assert job.stop_code == "EssentialContainerExited"
    assert_replaced(sim, group, old)


def test_a_drained_instance_that_may_not_be_terminated_is_left_to_the_next_run(
    sim: Simulator, replace: Callable[..., Result]
) -> None:
    group = workers(sim)
    old = outdated(sim, group)
    sim.deny("autoscaling:TerminateInstanceInAutoScalingGroup")

    result = replace()

    assert result.code == Exit.AWS
    assert GO_ON in result.err
    assert (old[0].state, old[0].container_status) == ("running", "DRAINING")

    sim.allow("autoscaling:TerminateInstanceInAutoScalingGroup")
    assert replace().code == Exit.OK
    assert_replaced(sim, group, old)


@pytest.mark.parametrize(
    ("signum", "at_s"),
    [(signum, at_s) for at_s, signum in zip((1, 7, 12, 26, 33, 37), (signal.SIGINT, signal.SIGTERM) * 3, strict=True)],
)
def test_a_signal_puts_back_what_is_not_drained(
    sim: Simulator, replace: Callable[..., Result], signum: signal.Signals, at_s: float
) -> None:
    group = workers(sim)
    sim.service("prod", "slow", "slow:1", desired_count=2, drain_s=40)
    old = outdated(sim, group)
    sim.world.at(sim.now_s + at_s, lambda: signal.raise_signal(signum))

    result = replace()

    assert result.code == 128 + signum
    assert result.err.endswith("Interrupted.\n")
    assert [(i.state, i.container_status) for i in old] == [("running", "ACTIVE")] * 2
    assert ("is left with a desired capacity of 3, 2 before" in result.err) == (group.desired == 3)
    assert bool(group.tags) == (group.desired == 3)
    assert replace().code == Exit.OK
    assert_replaced(sim, group, old)


def test_a_signal_leaves_an_instance_alone_that_an_operator_had_set_draining_before(
    sim: Simulator, replace: Callable[..., Result]
) -> None:
    group = workers(sim)
    long_job_on(sim, group.members[0])
    old = outdated(sim, group)
    sim.instances.set_status(old[0], "DRAINING")
    sim.advance(30)
    sim.world.at(sim.now_s + 30, lambda: signal.raise_signal(signal.SIGTERM))

    assert replace().code == Exit.SIGTERM
    assert old[0].container_status == "DRAINING"


def test_goes_on_while_the_only_new_instance_has_not_joined_the_cluster_yet(
    sim: Simulator, replace: Callable[..., Result]
) -> None:
    group = workers(sim, desired=1)
    group.registers_s = 200
    old = outdated(sim, group)
    sim.world.at(sim.now_s + 40, lambda: signal.raise_signal(signal.SIGTERM))
    assert replace().code == Exit.SIGTERM
    assert [(i.lifecycle, i.container_status) for i in group.members] == [("InService", "ACTIVE"), ("InService", "")]

    result = replace()

    assert result.code == Exit.OK
    assert_replaced(sim, group, old, desired=1)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param({"agent_connected": False}, "is DRAINING, tasks left: 2 × service:web", id="no agent"),
        pytest.param({"container_status": "INACTIVE"}, "is not registered in the cluster any more", id="deregistered"),
    ],
)
def test_nothing_is_terminated_that_the_cluster_cannot_speak_for(
    sim: Simulator, replace: Callable[..., Result], change: dict[str, Any], said: str
) -> None:
    group = workers(sim)
    sim.image("app:1").starts_after(500)
    old = outdated(sim, group)
    sim.world.at(sim.now_s + 36, lambda: vars(old[0]).update(change))
    sim.world.at(sim.now_s + 36, lambda: vars(old[1]).update(change))

    result = replace("-t", "60")

    assert result.code == Exit.TIMED_OUT
    assert f"{old[0].id} {said}" in result.err
    assert (old[0].state, old[1].state) == ("running", "running")


def test_a_group_whose_maximum_is_lowered_during_the_run(sim: Simulator, replace: Callable[..., Result]) -> None:
    group = workers(sim, maximum=3)
    old = outdated(sim, group)
    sim.on_call = lambda index, operation, params: (
        setattr(group, "maximum", 2) if operation == "TerminateInstanceInAutoScalingGroup" else None
    )

    result = replace("-t", "120")

    assert result.code == Exit.TIMED_OUT
    assert "ERROR: Not replaced within 120 seconds: the group has no capacity for one more" in result.err
    assert (old[0].state, old[1].lifecycle) == ("terminated", "InService")
    assert (group.desired, group.tags) == (2, {})


def test_does_not_end_well_while_an_instance_can_neither_serve_nor_leave(
    sim: Simulator, replace: Callable[..., Result]
) -> None:
    group = sim.instances.group("workers", "prod", desired=2)
    old = outdated(sim, group)
    old[1].lifecycle, group.desired = "Quarantined", 1

    result = replace("-t", "60")

    assert result.code == Exit.TIMED_OUT
    assert f"ERROR: Not replaced within 60 seconds: {old[1].id} is Quarantined" in result.err
    assert old[0].state == "terminated"
    assert group.tags == {}


def test_a_service_that_is_not_described_is_waited_for_and_one_that_is_gone_is_not(
    sim: Simulator, replace: Callable[..., Result]
) -> None:
    group = workers(sim)
    old = outdated(sim, group)
    sim.on_call = lambda index, operation, params: setattr(
        sim.world, "leaves_out", ["DescribeServices"] if sim.now_s < 17 else []
    )

    result = replace()

    assert result.code == Exit.OK
    assert "[   0 s] web is not steady: it was not described" in result.err.splitlines()
    assert times(result, "ListServices")[:4] == [0, 5, 10, 15]
    assert times(result, "CreateOrUpdateTags")[0] == 20
    assert_replaced(sim, group, old)


def test_a_service_that_is_being_deleted_is_not_waited_for(sim: Simulator, replace: Callable[..., Result]) -> None:
    group = workers(sim)
    sim.service("prod", "old", "old:1", desired_count=1, drain_s=120)
    old = outdated(sim, group)
    sim.delete_service("prod", "old")

    result = replace()

    assert result.code == Exit.OK
    assert times(result, "SetDesiredCapacity")[0] < 10
    assert f"{old[0].id} is DRAINING, tasks left: 1 × service:old" in result.err


def test_a_template_that_changes_during_the_run_ends_it_between_two_batches(
    sim: Simulator, replace: Callable[..., Result]
) -> None:
    group = workers(sim)
    old = outdated(sim, group)

    def change(index: int, operation: str, params: dict[str, Any]) -> None:
        if operation == "TerminateInstanceInAutoScalingGroup":
            sim.on_call = None
            sim.instances.new_version("workers")

    sim.on_call = change
    result = replace()

    assert result.code == Exit.FAILED
    new = group.members[-1]
    reason = "launch template workers version 2, not launch template workers version 3"
    assert f"ERROR: The new instance {new.id} is out of date as well: {reason}\n{CHANGED}" in result.err
    assert old[1].lifecycle == "InService"
    assert (group.desired, group.tags) == (2, {})
    assert replace().code == Exit.OK
    assert_replaced(sim, group, [*old, new])


def test_after_a_template_rollback_the_next_run_leaves_current_instances_alone(
    sim: Simulator, replace: Callable[..., Result]
) -> None:
    group = workers(sim, with_version(sim, "1"))
    old = group.members
    sim.instances.new_version("workers")
    group.launch = with_version(sim, "2")
    long_job_on(sim, old[0])
    assert replace("-t", "60").code == Exit.TIMED_OUT
    group.launch = with_version(sim, "1")

    result = replace()

    assert result.code == Exit.OK
    assert group.members == old
    sim.advance(60)
    assert_in_order(sim, group)


@pytest.mark.parametrize("at_s", [0.1, 3, 9, 17, 24, 26, 34, 38, 42])
def test_a_spot_instance_that_is_taken_away_during_its_replacement(
    sim: Simulator, replace: Callable[..., Result], at_s: float
) -> None:
    group = sim.instances.group("workers", "prod")
    sim.service("prod", "web", desired_count=6, drain_s=20)
    old = outdated(sim, group)
    sim.world.at(sim.now_s + at_s, lambda: sim.instances.vanish(old[0]))

    result = replace()

    assert result.code == Exit.OK
    assert_replaced(sim, group, old, desired=3)


def test_an_instance_that_vanishes_just_before_it_is_set_draining(
    sim: Simulator, replace: Callable[..., Result]
) -> None:
    group = sim.instances.group("workers", "prod", desired=2)
    sim.service("prod", "web", desired_count=4)
    old = outdated(sim, group)

    def vanish(index: int, operation: str, params: dict[str, Any]) -> None:
        if operation == "UpdateContainerInstancesState" and old[0].state == "running":
            sim.instances.vanish(old[0])
            old[0].container_status = "INACTIVE"

    sim.on_call = vanish
    result = replace()

    assert result.code == Exit.OK
    refused = f"AWS refused UpdateContainerInstancesState of {old[0].arn} to DRAINING: MISSING; looking again."
    assert refused in result.err.splitlines()
    assert_replaced(sim, group, old)


@pytest.mark.parametrize(
    ("forgotten", "refused"),
    [
        (False, "The instance {} is being terminated. (ScalingActivityInProgress)"),
        (True, "Instance Id not found - No managed instance found for instance ID {} (ValidationError)"),
    ],
    ids=["on its way out", "gone from the group"],
)
def test_an_instance_that_vanishes_just_before_it_is_terminated(
    sim: Simulator, replace: Callable[..., Result], forgotten: bool, refused: str
) -> None:
    group = sim.instances.group("workers", "prod", desired=2)
    sim.service("prod", "web", desired_count=4)
    old = outdated(sim, group)

    def vanish(index: int, operation: str, params: dict[str, Any]) -> None:
        if operation == "TerminateInstanceInAutoScalingGroup" and old[0].state == "running":
            sim.instances.vanish(old[0])
            old[0].group = "" if forgotten else old[0].group

    sim.on_call = vanish
    result = replace()

    assert result.code == Exit.OK
    said = f"AWS refused TerminateInstanceInAutoScalingGroup: {refused.format(old[0].id)}; looking again."
    assert result.err.splitlines().count(said) == 1
    assert result.lines.count(f"Terminated: {old[0].id}") == 1
    assert result.lines[-1] == "Instances replaced in workers: 2"
    assert_replaced(sim, group, old)


def test_a_replacement_that_is_taken_away_is_replaced_before_tasks_move(
    sim: Simulator, replace: Callable[..., Result]
) -> None:
    group = workers(sim)
    old = outdated(sim, group)
    taken: list[Instance] = []
    sim.world.at(sim.now_s + 29, lambda: taken.append(group.members[-1]))
    sim.world.at(sim.now_s + 29, lambda: sim.instances.vanish(taken[0]))

    result = replace()

    assert result.code == Exit.OK
    assert f"Terminated: {taken[0].id}" not in result.lines
    assert_replaced(sim, group, old)


@pytest.mark.parametrize("launch", [workers, by_refresh])
def test_an_answer_that_is_lost_is_not_taken_for_a_failure(
    sim: Simulator, replace: Callable[..., Result], launch: Callable[[Simulator], Group]
) -> None:
    group = launch(sim)
    old = outdated(sim, group)
    lost = set()

    def lose_the_first_answer_of_each(index: int, operation: str, params: dict[str, Any]) -> Fault | None:
        fresh = operation not in lost and not operation.startswith(("Describe", "List"))
        lost.add(operation)
        return Fault.DROP_AFTER if fresh else None

    sim.on_call = lose_the_first_answer_of_each
    result = replace()

    assert result.code == Exit.OK
    ways = {
        workers: {
            "CreateOrUpdateTags",
            "SetDesiredCapacity",
            "UpdateContainerInstancesState",
            "TerminateInstanceInAutoScalingGroup",
            "DeleteTags",
        },
        by_refresh: {"StartInstanceRefresh"},
    }
    assert {operation for operation in lost if not operation.startswith(("Describe", "List"))} == ways[launch]
    assert_replaced(sim, group, old)


# The desired capacity is changed by others


@pytest.mark.parametrize(("at_s", "more", "seen"), [(12, 1, 4), (30, 2, 5), (37, 2, 5), (45, 2, 4), (60, 2, 5)])
def test_a_capacity_that_somebody_raises_stays_raised(
    sim: Simulator, replace: Callable[..., Result], at_s: float, more: int, seen: int
) -> None:
    group = workers(sim)
    old = outdated(sim, group)
    sim.world.at(sim.now_s + at_s, lambda: setattr(group, "desired", group.desired + more))
    sim.world.at(sim.now_s + at_s, group.soon)

    result = replace()

    assert result.code == Exit.OK
    said = [line for line in result.err.splitlines() if line.startswith("Somebody")]
    assert said == [f"Somebody else changed the desired capacity to {seen}; it is to be {2 + more} in the end."]
    assert_replaced(sim, group, old, desired=2 + more)


def test_a_capacity_that_somebody_sets_back_is_the_one_to_return_to(
    sim: Simulator, replace: Callable[..., Result]
) -> None:
    group = sim.instances.group("workers", "prod", desired=2)
    sim.service("prod", "web", desired_count=4)
    old = outdated(sim, group)
    sim.world.at(sim.now_s + 30, lambda: setattr(group, "desired", 2))

    result = replace()

    assert result.code == Exit.OK
    assert_replaced(sim, group, old)


def test_a_capacity_that_somebody_lowers_stays_lowered(sim: Simulator, replace: Callable[..., Result]) -> None:
    group = sim.instances.group("workers", "prod", desired=3)
    outdated(sim, group)
    sim.world.at(sim.now_s + 12, lambda: setattr(group, "desired", 1))

    result = replace()

    assert result.code == Exit.OK
    said = "Somebody else changed the desired capacity to 1; it is to be 1 in the end."
    assert result.err.splitlines().count(said) == 1
    sim.advance(60)
    assert_in_order(sim, group, desired=1)


# Two runs


def foreign_claim(group: Group, *, capacity: int = 2, beats: int = 1) -> None:
    group.tags["ecs-deploy:replacing"] = f"capacity={capacity} by=runner-7 beats={beats}"


def test_a_run_that_is_at_work_is_followed(sim: Simulator, replace: Callable[..., Result]) -> None:
    group = workers(sim)
    old = outdated(sim, group)
    for beat in range(1, 12):
        sim.world.at(sim.now_s + 30 * beat, partial(foreign_claim, group, beats=beat))
    sim.world.at(sim.now_s + 340, lambda: sim.instances.vanish(old[0]))
    sim.world.at(sim.now_s + 341, lambda: group.tags.clear())
    foreign_claim(group, beats=0)
    sim.violations.clear()

    result = replace()

    assert result.code == Exit.OK
    assert min(times(result, "CreateOrUpdateTags")) > 340
    assert result.lines[2] == "workers returns to a desired capacity of 2: runner-7 replaces its instances"
    assert "runner-7 replaces the instances of this group" in result.err
    sim.violations.clear()
    assert group.outdated() == []


def test_what_waits_for_its_replacement_is_named_while_a_run_is_followed(
    sim: Simulator, replace: Callable[..., Result]
) -> None:
    group = workers(sim)
    group.launches, group.desired = False, 3
    draining, waiting = outdated(sim, group)
    sim.instances.set_status(draining, "DRAINING")
    foreign_claim(group)

    result = replace("-t", "60")

    assert result.code == Exit.TIMED_OUT
    rows = [line.partition("] ")[2] for line in result.err.splitlines()]
    assert f"{waiting.id} waits for its replacement: 2 of 3 in service" in rows
    assert any(row.startswith(f"{draining.id} is DRAINING, tasks left: ") for row in rows)
    assert f"{draining.id} waits" not in result.err


def test_a_run_that_is_followed_too_long_is_named(sim: Simulator, replace: Callable[..., Result]) -> None:
    group = workers(sim)
    outdated(sim, group)
    foreign_claim(group)

    result = replace("-t", "119")

    assert result.code == Exit.TIMED_OUT
    assert result.changes == []
    assert result.err.splitlines()[-2:] == [
        "ERROR: Not replaced within 119 seconds: runner-7 replaces the instances of this group",
        "If runner-7 is gone: --take-over",
    ]
    assert "has taken over" not in result.err


def test_a_tag_that_nobody_renews_is_taken_over_after_two_minutes(
    sim: Simulator, replace: Callable[..., Result]
) -> None:
    group = workers(sim)
    old = outdated(sim, group)
    foreign_claim(group)

    result = replace()

    assert result.code == Exit.OK
    assert min(times(result, "CreateOrUpdateTags")) == 120
    assert_replaced(sim, group, old)


def test_a_tag_is_taken_over_at_once_if_asked(sim: Simulator, replace: Callable[..., Result]) -> None:
    group = workers(sim)
    old = outdated(sim, group)
    foreign_claim(group)

    result = replace("--take-over")

    assert result.code == Exit.OK
    assert min(times(result, "CreateOrUpdateTags")) == 0
    assert_replaced(sim, group, old)


def test_a_run_whose_tag_is_taken_over_follows_the_other(sim: Simulator, replace: Callable[..., Result]) -> None:
    group = workers(sim)
    old = outdated(sim, group)
    sim.world.at(sim.now_s + 36, lambda: foreign_claim(group))
    sim.world.at(sim.now_s + 50, lambda: group.tags.clear())

    result = replace()

    assert result.code == Exit.OK
    assert result.err.splitlines().count("runner-7 has taken over.") == 1
    assert_in_order_after(sim, group, old, capacity=3)


def test_a_tag_that_is_taken_over_during_a_call_that_fails_is_left_to_the_other_run(
    sim: Simulator, replace: Callable[..., Result]
) -> None:
    group = workers(sim)
    outdated(sim, group)
    sim.deny("autoscaling:SetDesiredCapacity")
    sim.on_call = lambda index, operation, params: foreign_claim(group) if operation == "SetDesiredCapacity" else None

    result = replace()

    assert result.code == Exit.AWS
    said, error, hint = result.err.splitlines()
    assert said == "runner-7 has taken over."
    assert error.startswith("ERROR: AWS denied SetDesiredCapacity: ")
    assert hint == "Allow autoscaling:SetDesiredCapacity in the IAM policy of these credentials."
    assert group.tags == {"ecs-deploy:replacing": "capacity=2 by=runner-7 beats=1"}


def test_a_run_whose_tag_is_taken_over_leaves_nothing_to_be_mended(
    sim: Simulator, replace: Callable[..., Result]
) -> None:
    group = workers(sim)
    outdated(sim, group)
    sim.world.at(sim.now_s + 36, lambda: foreign_claim(group))
    sim.world.at(sim.now_s + 43, lambda: signal.raise_signal(signal.SIGTERM))

    result = replace()

    assert result.code == Exit.SIGTERM
    assert result.err.splitlines()[-1] == "Interrupted."
    assert "is left with a desired capacity" not in result.err
    assert group.tags == {"ecs-deploy:replacing": "capacity=2 by=runner-7 beats=1"}


def assert_in_order_after(sim: Simulator, group: Group, old: list[Instance], *, capacity: int) -> None:
    """As `assert_replaced`, where a tag was removed by hand while the capacity was raised."""
    assert all(instance.state in ("terminated", "shutting-down") for instance in old)
    assert group.desired == capacity
    assert sim.instances.killed == []


def test_a_tag_that_somebody_writes_just_before_ours_stays(sim: Simulator, replace: Callable[..., Result]) -> None:
    group = workers(sim)
    old = outdated(sim, group)

    def write_a_tag(index: int, operation: str, params: dict[str, Any]) -> None:
        if operation == "ListServices":
            sim.on_call = None
            foreign_claim(group)
            sim.world.at(sim.now_s + 20, group.tags.clear)

    sim.on_call = write_a_tag
    result = replace()

    assert result.code == Exit.OK
    assert min(times(result, "CreateOrUpdateTags")) >= 20
    assert_replaced(sim, group, old)


def test_a_tag_that_somebody_removes_is_written_again(sim: Simulator, replace: Callable[..., Result]) -> None:
    group = workers(sim)
    old = outdated(sim, group)
    sim.world.at(sim.now_s + 36, lambda: group.tags.clear())

    result = replace()

    assert result.code == Exit.OK
    assert times(result, "CreateOrUpdateTags")[:3] == [0, 30, 40]
    assert_replaced(sim, group, old)


def test_a_tag_that_cannot_be_read_is_written_anew(sim: Simulator, replace: Callable[..., Result]) -> None:
    group = workers(sim)
    old = outdated(sim, group)
    group.tags["ecs-deploy:replacing"] = "workers"

    assert replace().code == Exit.OK
    assert_replaced(sim, group, old)


# The group's own engine


def test_a_group_that_ecs_drains_replaces_its_instances_by_itself(
    sim: Simulator, replace: Callable[..., Result]
) -> None:
    group = by_refresh(sim, desired=4, protection=True)
    sim.instances.daemon("prod", "agent")
    old = outdated(sim, group)

    result = replace("--batch", "2")

    assert result.code == Exit.OK
    assert result.changes == ["StartInstanceRefresh"]
    assert result.requests("StartInstanceRefresh") == [
        {
            "AutoScalingGroupName": "workers",
            "Strategy": "Rolling",
            "Preferences": {
                "MinHealthyPercentage": 100,
                "MaxHealthyPercentage": 150,
                "SkipMatching": True,
                "ScaleInProtectedInstances": "Refresh",
                "StandbyInstances": "Ignore",
            },
        }
    ]
    id_ = group.refreshes[0].id
    assert result.lines[4] == f"Started instance refresh {id_} of workers"
    assert result.lines[-1] == "Instances replaced in workers: 4"
    for instance in old:
        assert sum(instance.id in line for line in result.lines if line.startswith("DRAINING: ")) == 1
        assert sum(instance.id in line for line in result.lines if line.startswith("Terminated: ")) == 1
    rows = [line.partition("] ")[2] for line in result.err.splitlines()]
    assert f"refresh {id_} is about to begin, 0 %" in rows
    assert f"refresh {id_} is InProgress, 50 %" in rows
    assert_replaced(sim, group, old, desired=4)


@pytest.mark.parametrize(
    ("desired", "batch", "percent"), [(1, "1", 200), (3, "1", 134), (10, "1", 110), (10, "25%", 120), (2, "5", 200)]
)
def test_a_batch_is_what_the_refresh_may_launch_above_the_capacity(
    sim: Simulator, replace: Callable[..., Result], desired: int, batch: str, percent: int
) -> None:
    group = by_refresh(sim, desired=desired)
    old = outdated(sim, group)

    result = replace("--batch", batch)

    assert result.code == Exit.OK
    assert result.requests("StartInstanceRefresh")[0]["Preferences"]["MaxHealthyPercentage"] == percent
    assert_replaced(sim, group, old, desired=desired)


def test_a_refresh_that_is_under_way_is_followed(sim: Simulator, replace: Callable[..., Result]) -> None:
    group = by_refresh(sim)
    old = outdated(sim, group)
    sim.world.handle("autoscaling", "StartInstanceRefresh", started_by_somebody())

    result = replace()

    assert result.code == Exit.OK
    assert result.changes == []
    assert f"Following instance refresh {group.refreshes[0].id} of workers" in result.lines
    assert_replaced(sim, group, old)


@pytest.mark.parametrize("status", ["Pending", "Baking", "RollbackInProgress"])
def test_a_refresh_that_is_not_at_its_end_yet_is_waited_for(
    sim: Simulator, replace: Callable[..., Result], status: str
) -> None:
    group = by_refresh(sim)
    old = outdated(sim, group)
    sim.world.handle("autoscaling", "StartInstanceRefresh", started_by_somebody())
    refresh = group.refreshes[0]
    refresh.status, refresh.reason = status, "Waiting for instances to warm up."
    sim.world.at(sim.now_s + 20, lambda: setattr(refresh, "status", "InProgress"))
    sim.world.at(sim.now_s + 20, refresh.tick)

    result = replace()

    assert result.code == Exit.OK
    assert result.changes == []
    assert f"refresh {refresh.id} is {status}, 0 %: Waiting for instances to warm up.\n" in result.err
    assert_replaced(sim, group, old)


def test_a_refresh_needs_no_room_between_the_capacity_and_the_maximum(
    sim: Simulator, replace: Callable[..., Result]
) -> None:
    group = by_refresh(sim)
    group.maximum = 2
    old = outdated(sim, group)

    assert replace().code == Exit.OK
    assert_replaced(sim, group, old)


def started_by_somebody(**preferences: Any) -> dict[str, Any]:
    chosen = {"MinHealthyPercentage": 100, "MaxHealthyPercentage": 150, **preferences}
    return {"AutoScalingGroupName": "workers", "Preferences": chosen}


def test_what_a_followed_refresh_leaves_is_replaced_by_one_of_our_own(
    sim: Simulator, replace: Callable[..., Result]
) -> None:
    group = by_refresh(sim)
    old = outdated(sim, group)
    sim.world.handle("autoscaling", "StartInstanceRefresh", started_by_somebody(ScaleInProtectedInstances="Ignore"))
    old[0].protected = True

    result = replace("--include-protected")

    assert result.code == Exit.OK
    assert result.changes == ["StartInstanceRefresh"]
    assert_replaced(sim, group, old)


def test_a_refresh_of_a_group_that_ecs_does_not_drain_is_followed_as_well(
    sim: Simulator, replace: Callable[..., Result]
) -> None:
    group = sim.instances.group("workers", "prod", desired=2)
    old = outdated(sim, group)
    sim.world.handle("autoscaling", "StartInstanceRefresh", started_by_somebody(ScaleInProtectedInstances="Ignore"))
    old[0].protected = True

    result = replace("--include-protected")

    assert result.code == Exit.OK
    assert result.changes[0] == "CreateOrUpdateTags"
    assert times(result, "SetDesiredCapacity")[0] > 20
    assert_in_order_after(sim, group, old, capacity=2)


def test_a_refresh_that_has_failed_before_is_not_followed(sim: Simulator, replace: Callable[..., Result]) -> None:
    group = by_refresh(sim)
    old = outdated(sim, group)
    sim.world.handle("autoscaling", "StartInstanceRefresh", started_by_somebody())
    group.refreshes[0].status = "Failed"

    result = replace()

    assert result.code == Exit.OK
    assert "Following" not in result.out
    assert result.changes == ["StartInstanceRefresh"]
    assert_replaced(sim, group, old)


def test_a_refresh_that_is_not_listed_yet_is_waited_for(sim: Simulator, replace: Callable[..., Result]) -> None:
    group = by_refresh(sim)
    group.lists_refresh_late_s = 12.0
    old = outdated(sim, group)

    result = replace()

    assert result.code == Exit.OK
    assert result.changes == ["StartInstanceRefresh"]
    assert f"[   0 s] refresh {group.refreshes[0].id} is about to begin, 0 %" in result.err.splitlines()
    assert_replaced(sim, group, old)


def test_two_runs_that_start_a_refresh_at_once(sim: Simulator, replace: Callable[..., Result]) -> None:
    group = by_refresh(sim)
    old = outdated(sim, group)

    def start_before(index: int, operation: str, params: dict[str, Any]) -> None:
        if operation == "StartInstanceRefresh" and not group.refreshes:
            sim.on_call = None
            sim.world.handle("autoscaling", operation, started_by_somebody())

    sim.on_call = start_before
    result = replace()

    assert result.code == Exit.OK
    assert len(group.refreshes) == 1
    assert_replaced(sim, group, old)


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        ("Failed", "No more capacity"),
        ("Cancelled", "Cancelled due to user request."),
        ("RollbackFailed", "no reason given"),
    ],
)
def test_ends_as_the_refresh_ends(sim: Simulator, replace: Callable[..., Result], status: str, reason: str) -> None:
    group = by_refresh(sim)
    outdated(sim, group)

    def end() -> None:
        if status == "Failed":
            group.refresh_fails = reason
        elif status == "Cancelled":
            sim.world.handle("autoscaling", "CancelInstanceRefresh", {"AutoScalingGroupName": "workers"})
        else:
            group.refreshes[0].status = status

    sim.world.at(sim.now_s + 10, end)

    result = replace()

    assert result.code == Exit.FAILED
    said = f"ERROR: Instance refresh {group.refreshes[0].id} of workers is {status}: {reason}"
    assert result.err.splitlines()[-1] == said
    assert "goes on" not in result.err


CANCEL = "  aws autoscaling cancel-instance-refresh --auto-scaling-group-name workers --region us-east-1\n"


@pytest.mark.parametrize("at_s", [1, 4, 12, 20])
def test_a_signal_leaves_the_refresh_running(sim: Simulator, replace: Callable[..., Result], at_s: float) -> None:
    group = by_refresh(sim)
    old = outdated(sim, group)
    sim.world.at(sim.now_s + at_s, lambda: signal.raise_signal(signal.SIGTERM))

    result = replace()

    assert result.code == Exit.SIGTERM
    assert result.changes == ["StartInstanceRefresh"]
    assert f"Instance refresh {group.refreshes[0].id} of workers goes on. To cancel it:\n{CANCEL}" in result.err
    again = replace()
    assert (again.code, again.changes) == (Exit.OK, [])
    assert_replaced(sim, group, old)


def test_a_refresh_whose_start_was_not_answered_is_named(sim: Simulator, replace: Callable[..., Result]) -> None:
    group = by_refresh(sim)
    old = outdated(sim, group)

    def lose_the_answer(index: int, operation: str, params: dict[str, Any]) -> Fault | None:
        if operation != "StartInstanceRefresh":
            return None
        if not group.refreshes:
            sim.world.at(sim.now_s + 3, lambda: signal.raise_signal(signal.SIGTERM))
        return Fault.DROP_AFTER

    sim.on_call = lose_the_answer
    result = replace()

    assert result.code == Exit.SIGTERM
    assert f"Instance refresh (if it was started) of workers goes on. To cancel it:\n{CANCEL}" in result.err
    sim.on_call = None
    assert replace().code == Exit.OK
    assert_replaced(sim, group, old)


def test_a_refresh_that_may_not_be_started(sim: Simulator, replace: Callable[..., Result]) -> None:
    group = by_refresh(sim)
    outdated(sim, group)
    sim.deny("autoscaling:StartInstanceRefresh")

    result = replace()

    assert result.code == Exit.AWS
    assert "goes on" not in result.err
    assert group.refreshes == []


def test_the_time_out_cancels_the_refresh(sim: Simulator, replace: Callable[..., Result]) -> None:
    group = by_refresh(sim)
    old = outdated(sim, group)
    long_job_on(sim, old[0])

    result = replace("-t", "60")

    assert result.code == Exit.TIMED_OUT
    assert result.changes == ["StartInstanceRefresh", "CancelInstanceRefresh"]
    id_ = group.refreshes[0].id
    assert f"Instance refresh {id_} is being cancelled; what it has replaced stays." in result.err.splitlines()
    assert "goes on" not in result.err
    assert result.err.splitlines()[-2:] == [
        f"ERROR: Not replaced within 60 seconds: refresh {id_} is InProgress, 50 %;"
        f" {old[0].id} is Terminating:Wait, tasks left: 1 × family:job",
        "Run it again to go on.",
    ]
    assert old[0].state == "running"


def test_the_time_out_leaves_a_refresh_alone_that_this_run_has_not_started(
    sim: Simulator, replace: Callable[..., Result]
) -> None:
    group = by_refresh(sim)
    old = outdated(sim, group)
    long_job_on(sim, old[0])
    sim.world.handle("autoscaling", "StartInstanceRefresh", started_by_somebody())

    result = replace("-t", "60")

    assert (result.code, result.changes) == (Exit.TIMED_OUT, [])
    assert f"Instance refresh {group.refreshes[0].id} of workers goes on." in result.err
    assert CANCEL in result.err


def test_a_refresh_that_cannot_be_cancelled_is_named(sim: Simulator, replace: Callable[..., Result]) -> None:
    group = by_refresh(sim)
    long_job_on(sim, outdated(sim, group)[0])
    sim.deny("autoscaling:CancelInstanceRefresh")

    result = replace("-t", "60")

    assert result.code == Exit.TIMED_OUT
    denied = "AWS denied CancelInstanceRefresh: "
    assert sum(line.startswith(denied) for line in result.err.splitlines()) == 1
    assert f"Instance refresh {group.refreshes[0].id} of workers goes on. To cancel it:\n{CANCEL}" in result.err


def test_a_template_that_changes_during_a_refresh(sim: Simulator, replace: Callable[..., Result]) -> None:
    group = by_refresh(sim)
    old = outdated(sim, group)

    def change_at_the_end(index: int, operation: str, params: dict[str, Any]) -> None:
        if group.refreshes and group.refreshes[0].status == "Successful" and sim.on_call:
            sim.on_call = None
            sim.instances.new_version("workers")

    sim.on_call = change_at_the_end
    result = replace()

    assert result.code == Exit.FAILED
    left = ", ".join(ids(group.members))
    said = f"ERROR: Instance refresh {group.refreshes[0].id} has ended, but these are out of date: {left}\n{CHANGED}"
    assert result.err.endswith(said)
    assert all(instance.state == "terminated" for instance in old)
    assert replace().code == Exit.OK


def test_instances_that_are_protected_by_hand_are_left_alone_by_a_refresh(
    sim: Simulator, replace: Callable[..., Result]
) -> None:
    group = by_refresh(sim)
    kept, other = outdated(sim, group)
    kept.protected = True

    result = replace()

    assert result.code == Exit.FAILED
    assert result.requests("StartInstanceRefresh")[0]["Preferences"]["ScaleInProtectedInstances"] == "Ignore"
    assert f"ERROR: Out of date and left alone in workers: {kept.id}: it is protected from scale-in" in result.err
    assert (kept.state, other.state) == ("running", "terminated")


# The command line


def test_the_spelling_and_the_environment_of_its_predecessor(sim: Simulator, cli: Cli) -> None:
    group = workers(sim, {"LaunchConfigurationName": "small-1"})
    old = group.members
    group.launch = {"LaunchConfigurationName": "small-2"}

    result = cli("replace-instances", "-asg", "workers", "-cluster", "prod", env={"AWS_REGION": "eu-west-1"})

    assert result.code == Exit.OK
    assert_replaced(sim, group, old)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        pytest.param(("--asg", "workers"), Exit.NO_CLUSTER, "CLUSTER is required: -c/--cluster", id="no cluster"),
        pytest.param(("-c", "prod"), Exit.NO_TARGET, "The Auto Scaling group is required: --asg", id="no group"),
        pytest.param((*REPLACE[1:], "--batch", "0"), Exit.USAGE, "'0' is neither a whole number", id="batch 0"),
        pytest.param((*REPLACE[1:], "--batch", "101%"), Exit.USAGE, "'101%' is neither", id="more than all"),
        pytest.param((*REPLACE[1:], "--batch", "half"), Exit.USAGE, "'half' is neither", id="a word"),
        pytest.param((*REPLACE[1:], "--timeout", "soon"), Exit.USAGE, "'soon' is not a whole number", id="time-out"),
        pytest.param((*REPLACE[1:], "-i", "app:2"), Exit.USAGE, "unknown option: -i", id="the classic command's"),
        pytest.param((*REPLACE[1:], "-k", "AKIA"), Exit.USAGE, "must be given together", id="half of the keys"),
    ],
)
def test_a_wrong_command_line_calls_nothing(
    sim: Simulator, cli: Cli, arguments: tuple[str, ...], code: int, message: str
) -> None:
    result = cli("replace-instances", *arguments)

    assert result.code == code
    assert message in result.err
    assert result.calls == ()


def test_help_names_every_option(sim: Simulator, cli: Cli) -> None:
    result = cli("replace-instances", "--help")

    assert result.code == Exit.OK
    for option in ("--cluster", "--asg", "--batch", "--timeout", "--include-protected", "--take-over", "--dry-run"):
        assert option in result.out


def test_a_document_of_what_was_done(sim: Simulator, replace: Callable[..., Result]) -> None:
    group = workers(sim)
    old = outdated(sim, group)

    result = replace("--output", "json")

    reason = "launch template workers version 1, not launch template workers version 2"
    assert json.loads(result.out) == {
        "cluster": "prod",
        "group": "workers",
        "outdated": [{"instance": instance.id, "reason": reason} for instance in old],
        "verdict": "completed",
        "replaced": ids(old),
        "exit_code": 0,
    }


def test_a_document_where_there_is_nothing_to_do(sim: Simulator, replace: Callable[..., Result]) -> None:
    sim.instances.group("workers", "prod", desired=1)

    result = replace("--output", "json")

    assert json.loads(result.out) == {
        "cluster": "prod",
        "group": "workers",
        "outdated": [],
        "verdict": "nothing to do",
        "exit_code": 0,
    }


def test_a_document_of_an_interrupted_run_names_what_it_has_replaced(
    sim: Simulator, replace: Callable[..., Result]
) -> None:
    group = workers(sim)
    first, second = outdated(sim, group)
    long_job_on(sim, second)
    sim.world.at(sim.now_s + 100, lambda: signal.raise_signal(signal.SIGTERM))

    result = replace("--output", "json")

    reason = "launch template workers version 1, not launch template workers version 2"
    assert result.code == Exit.SIGTERM
    assert json.loads(result.out) == {
        "cluster": "prod",
        "group": "workers",
        "outdated": [{"instance": instance.id, "reason": reason} for instance in (first, second)],
        "verdict": "failed",
        "replaced": [first.id],
        "error": "interrupted",
        "exit_code": 143,
    }


def test_a_document_of_a_dry_run_and_one_of_instances_that_are_left_alone(
    sim: Simulator, replace: Callable[..., Result]
) -> None:
    group = sim.instances.group("workers", "prod", desired=1)
    kept = outdated(sim, group)[0]

    dry = replace("--output", "json", "--dry-run")
    kept.protected = True
    left = replace("--output", "json")

    assert (dry.code, json.loads(dry.out)["verdict"]) == (Exit.OK, "dry run")
    document = json.loads(left.out)
    assert left.code == Exit.FAILED
    assert (document["verdict"], document["replaced"]) == ("error", [])
    assert [row["instance"] for row in document["outdated"]] == [kept.id]


def test_progress_says_how_far_it_is_and_what_each_instance_waits_for(
    sim: Simulator, replace: Callable[..., Result]
) -> None:
    group = workers(sim)
    sim.service("prod", "slow", "slow:1", desired_count=2, drain_s=12)
    group.hook_s = 20
    first, second = ids(outdated(sim, group))

    result = replace("--batch", "2")

    rows = [line.partition("] ")[2] for line in result.err.splitlines()]
    assert [row for row in rows if row.startswith((first, "workers", "2 of", "i-00000000000000002,"))] == [
        "workers: 0 of 2 replaced",
        "2 of 4 in service",
        f"{', '.join(ids(group.members))} not ACTIVE in the cluster",
        f"{first} is DRAINING, tasks left: 1 × service:slow",
        f"{first} is DRAINING, tasks left: none",
        f"{first} is Terminating:Wait, tasks left: none",
    ]
    assert any(row.startswith(second) for row in rows)


def test_with_expired_credentials_it_names_what_it_cannot_put_back(sim: Simulator, cli: Cli) -> None:
    group = workers(sim)
    first, second = outdated(sim, group)
    long_job_on(sim, first)
    long_job_on(sim, second)
    sim.on_call = lambda index, operation, params: Fault.EXPIRED if sim.now_s > 60 else None

    result = cli(*REPLACE, "--batch", "2")

    assert result.code == Exit.AWS
    assert "Not put back: The AWS credentials have expired (DescribeAutoScalingGroups)" in result.err.splitlines()
    assert f"\nDRAINING, not empty: {first.id}, {second.id}. To have them take tasks again:\n" in result.err
    assert (
        "  aws ecs update-container-instances-state --cluster prod --status ACTIVE"
        f" --container-instances {first.arn} {second.arn} --region us-east-1\n" in result.err
    )
    assert "workers is left with a desired capacity of 4, 2 before." in result.err
    assert GO_ON in result.err


def test_what_it_offers_names_the_profile(sim: Simulator, cli: Cli, tmp_path: Any) -> None:
    group = workers(sim)
    outdated(sim, group)
    group.launches = False
    config = tmp_path / "config"
    config.write_text("[profile ops]\nregion = us-east-1\naws_access_key_id = AKIA\naws_secret_access_key = secret\n")

    result = cli(*REPLACE, "-t", "60", "-p", "ops", env={"AWS_CONFIG_FILE": str(config)})

    assert result.code == Exit.TIMED_OUT
    assert GO_ON.replace("us-east-1\n", "us-east-1 --profile ops\n") in result.err
