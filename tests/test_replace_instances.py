"""`ecs-deploy replace-instances`: new instances first, then drain, then terminate; and never a task too few."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from typing import Any

import pytest

from ecs_deploy import Exit
from tests.conftest import Cli, Result
from tests.simulator import Fault, Simulator
from tests.simulator.instances import Group, Instance

REPLACE = ("replace-instances", "--cluster", "prod", "--asg", "workers")


@pytest.fixture
def replace(cli: Cli) -> Callable[..., Result]:
    """The command, for the group `workers` of the cluster `prod`."""
    return lambda *more, **settings: cli(*REPLACE, *more, **settings)


def workers(sim: Simulator, launch: Any = None, *, desired: int = 2, maximum: int = 20) -> Group:
    """A group with a service on it, and every half second a look whether enough tasks run."""
    group = sim.instances.group("workers", "prod", launch, desired=desired, maximum=maximum)
    sim.service("prod", "web", desired_count=desired * 2)
    note_shortage(sim)
    return group  # type: ignore[no-any-return]


def note_shortage(sim: Simulator) -> None:
    for service in sim.services.values():
        running = sum(service.running_images().values())
        if service.members.get("schedulingStrategy") != "DAEMON" and running < service.desired_count:
            sim.violations.append(f"{service.name}: {running} of {service.desired_count} at {sim.now_s} s")
    sim.world.at(sim.now_s + 0.5, lambda: note_shortage(sim))


def ids(instances: list[Instance]) -> list[str]:
    return [instance.id for instance in instances]


def outdated(sim: Simulator, group: Group) -> list[Instance]:
    """The group's instances, after a new version of its template was published."""
    before = group.members
    sim.instances.new_version("workers")
    return before


def assert_replaced(sim: Simulator, group: Group, old: list[Instance], *, desired: int = 2) -> None:
    """The old instances are gone, others are in their place, and no service's task was killed."""
    sim.advance(60)
    assert all(instance.state == "terminated" for instance in old)
    alive = sim.instances.alive()
    assert alive == group.members
    assert [(i.lifecycle, i.container_status) for i in alive] == [("InService", "ACTIVE")] * desired
    assert group.desired == desired
    assert sim.instances.killed == []
    assert all(sim.steady(*key) for key, s in sim.services.items() if "schedulingStrategy" not in s.members)


def policy(sim: Simulator, *overrides: dict[str, Any]) -> dict[str, Any]:
    template = {"LaunchTemplateSpecification": sim.instances.template("workers"), "Overrides": list(overrides)}
    return {"MixedInstancesPolicy": {"LaunchTemplate": template}}


def with_version(sim: Simulator, version: str) -> dict[str, Any]:
    return {"LaunchTemplate": {**sim.instances.template("workers"), "Version": version}}


# What is out of date


def test_replaces_instances_of_another_launch_configuration(sim: Simulator, replace: Callable[..., Result]) -> None:
    group = workers(sim, {"LaunchConfigurationName": "small-1"})
    old = group.members
    group.launch = {"LaunchConfigurationName": "small-2"}

    result = replace()

    assert result.code == Exit.OK
    first, second = ids(old)
    assert result.lines == [
        f"{first} is out of date: launch configuration small-1, not launch configuration small-2",
        f"{second} is out of date: launch configuration small-1, not launch configuration small-2",
        f"Detached from workers: {first}",
        f"DRAINING: {first}",
        f"Terminated: {first}",
        f"Detached from workers: {second}",
        f"DRAINING: {second}",
        f"Terminated: {second}",
        "Instances replaced in workers: 2",
    ]
    assert result.changes == [
        "CreateTags", "DetachInstances", "UpdateContainerInstancesState", "TerminateInstances",
    ] * 2  # fmt: skip
    assert_replaced(sim, group, old)


@pytest.mark.parametrize("version", ["$Latest", "$Default"])
def test_replaces_instances_of_another_template_version(
    sim: Simulator, replace: Callable[..., Result], version: str
) -> None:
    group = workers(sim, with_version(sim, version))
    old = group.members
    sim.instances.new_version("workers", default=version == "$Default")

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


def test_an_instance_that_an_earlier_run_began_to_replace_is_out_of_date(
    sim: Simulator, replace: Callable[..., Result]
) -> None:
    group = workers(sim)
    begun, other = group.members
    begun.tags["ecs-deploy:replacing"] = "workers"

    result = replace()

    assert result.code == Exit.OK
    assert result.lines[0] == f"{begun.id} is out of date: an earlier run began to replace it"
    assert (begun.state, other.state) == ("shutting-down", "running")


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
    assert next(call.at_s for call in result.calls if call.operation == "DetachInstances") >= 50
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


def test_ten_instances_in_two_batches_never_run_a_task_too_few(sim: Simulator, replace: Callable[..., Result]) -> None:
    group = workers(sim, desired=10)
    sim.service("prod", "api", "api:1", desired_count=7, drain_s=20)
    sim.service("prod", "slow", "slow:1", desired_count=3, drain_s=5)
    sim.image("slow:1").starts_after(40)
    sim.instances.daemon("prod", "agent")
    old = outdated(sim, group)

    result = replace("--batch", "50%")

    assert result.code == Exit.OK
    detached = [request["InstanceIds"] for request in result.requests("DetachInstances")]
    assert detached == [ids(old)[:5], ids(old)[5:]]
    assert all(not request["ShouldDecrementDesiredCapacity"] for request in result.requests("DetachInstances"))
    assert_replaced(sim, group, old, desired=10)
    assert sim.running("prod", "agent") == {"app:1": 10}


@pytest.mark.parametrize(
    ("batch", "sizes"),
    [
        ("1", [1, 1, 1, 1]),
        ("3", [3, 1]),
        ("9", [4]),
        ("30%", [1, 1, 1, 1]),
        ("50%", [2, 2]),
        ("100%", [4]),
        ("1%", [1] * 4),
    ],
)
def test_a_batch_is_a_number_of_instances_or_a_share_of_the_group(
    sim: Simulator, replace: Callable[..., Result], batch: str, sizes: list[int]
) -> None:
    group = workers(sim, desired=4)
    old = outdated(sim, group)

    result = replace("--batch", batch)

    assert result.code == Exit.OK
    assert [len(request["InstanceIds"]) for request in result.requests("DetachInstances")] == sizes
    assert_replaced(sim, group, old, desired=4)


def test_a_batch_is_no_larger_than_what_the_group_could_take_back(
    sim: Simulator, replace: Callable[..., Result]
) -> None:
    group = workers(sim, desired=5, maximum=7)
    old = outdated(sim, group)

    result = replace("--batch", "4")

    assert result.code == Exit.OK
    assert [len(request["InstanceIds"]) for request in result.requests("DetachInstances")] == [2, 2, 1]
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
    assert [len(request["InstanceIds"]) for request in result.requests("DetachInstances")] == [20, 3]
    states = [len(r["containerInstances"]) for r in result.requests("UpdateContainerInstancesState")]
    assert states == [10, 10, 3]
    assert_replaced(sim, group, old, desired=23)


def test_the_next_batch_waits_until_the_services_are_steady_again(
    sim: Simulator, replace: Callable[..., Result]
) -> None:
    group = workers(sim)
    old = outdated(sim, group)
    terminated: list[float] = []

    def scale_when_the_first_is_terminated(index: int, operation: str, params: dict[str, Any]) -> None:
        if operation == "TerminateInstances" and not terminated:
            terminated.append(sim.now_s)
            sim.service("prod", "late", "late:1", desired_count=1)
            sim.someone_deploys("prod", "late", "late:2")
            sim.image("late:2").starts_after(100)

    sim.on_call = scale_when_the_first_is_terminated
    result = replace()

    assert result.code == Exit.OK
    second = [call for call in result.calls if call.operation == "DetachInstances"][1]
    assert second.at_s >= terminated[0] + 100
    assert "late is not steady: its deployment is not completed" in result.err
    assert_replaced(sim, group, old)


def test_detaches_nothing_while_a_service_never_gets_steady(sim: Simulator, replace: Callable[..., Result]) -> None:
    group = workers(sim)
    old = outdated(sim, group)
    sim.service("prod", "ill", "ill:1", desired_count=1)
    sim.image("ill:2").cannot_be_pulled()
    sim.someone_deploys("prod", "ill", "ill:2")

    result = replace("--timeout", "120")

    assert result.code == Exit.TIMED_OUT
    assert result.changes == []
    assert "ERROR: Not replaced within 120 seconds: ill is not steady: its deployment is not completed" in result.err
    assert group.members == old


# What is left alone


def test_instances_that_are_protected_are_left_alone_and_named(sim: Simulator, replace: Callable[..., Result]) -> None:
    group = workers(sim)
    protected, other = outdated(sim, group)
    protected.protected = True

    result = replace()

    assert result.code == Exit.OK
    reason = "launch template workers version 1, not launch template workers version 2"
    assert result.lines[0] == (
        f"{protected.id} is out of date ({reason}), but left alone: it is protected from scale-in"
    )
    assert protected.state == "running"
    assert other.state != "running"


def test_protected_instances_are_replaced_if_asked(sim: Simulator, replace: Callable[..., Result]) -> None:
    group = workers(sim)
    old = outdated(sim, group)
    old[0].protected = True

    result = replace("--include-protected")

    assert result.code == Exit.OK
    assert_replaced(sim, group, old)


@pytest.mark.parametrize("more", [(), ("--include-protected",)])
def test_an_instance_in_standby_is_left_alone(
    sim: Simulator, replace: Callable[..., Result], more: tuple[str, ...]
) -> None:
    group = workers(sim)
    old = outdated(sim, group)
    old[0].lifecycle, group.desired = "Standby", 1

    result = replace(*more)

    assert result.code == Exit.OK
    assert result.lines[0].endswith("but left alone: it is in Standby")
    assert (old[0].state, old[1].state) == ("running", "shutting-down")


def test_an_instance_that_was_moved_to_another_group_is_not_ours_any_more(
    sim: Simulator, replace: Callable[..., Result]
) -> None:
    workers(sim)
    moved = sim.instances.group("others", "prod", desired=1).members[0]
    moved.tags["ecs-deploy:replacing"] = "workers"

    result = replace()

    assert (result.code, result.lines) == (Exit.OK, ["Nothing to replace in workers."])
    assert moved.state == "running"


def test_daemon_tasks_do_not_keep_an_instance(sim: Simulator, replace: Callable[..., Result]) -> None:
    group = workers(sim)
    sim.instances.daemon("prod", "agent")
    old = outdated(sim, group)
    seen: list[str] = []
    sim.on_call = lambda index, operation, params: seen.extend(
        task.group for instance in old for task in sim.instances.tasks_on(instance)
        if operation == "TerminateInstances" and instance.id in params["InstanceIds"]
    )  # fmt: skip

    result = replace()

    assert result.code == Exit.OK
    assert seen == ["service:agent"] * 2
    assert_replaced(sim, group, old)


def test_a_dry_run_lists_what_is_out_of_date_and_changes_nothing(
    sim: Simulator, replace: Callable[..., Result]
) -> None:
    group = workers(sim)
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

    assert "ERROR: No instance of workers is registered in the cluster test" in refused(sim, result, group)


def test_an_instance_that_is_not_in_the_cluster(sim: Simulator, replace: Callable[..., Result]) -> None:
    group = workers(sim)
    lost, _ = outdated(sim, group)
    lost.container_status = ""

    assert f"ERROR: Not registered in the cluster prod: {lost.id}" in refused(sim, replace(), group)


def test_a_group_without_capacity_for_one_more(sim: Simulator, replace: Callable[..., Result]) -> None:
    group = workers(sim, maximum=2)
    outdated(sim, group)

    message = refused(sim, replace(), group)

    assert "ERROR: workers has no capacity for one more instance: 2 are desired, 2 allowed" in message


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


def test_tags_that_may_not_be_set_stop_the_run_before_anything_is_detached(
    sim: Simulator, replace: Callable[..., Result]
) -> None:
    group = workers(sim)
    outdated(sim, group)
    sim.deny("ec2:CreateTags")

    result = replace()

    assert result.code == Exit.AWS
    assert "DetachInstances" not in result.operations
    assert all(instance.lifecycle == "InService" for instance in group.members)


# Going wrong, and going on


def test_without_a_replacement_the_instance_is_attached_again(sim: Simulator, replace: Callable[..., Result]) -> None:
    group = workers(sim)
    old = outdated(sim, group)
    group.launches = False

    result = replace("-t", "60")

    assert result.code == Exit.TIMED_OUT
    waited = f"{old[0].id} waits for its replacement: 1 of 2 in service"
    assert f"ERROR: Not replaced within 60 seconds: {waited}" in result.err
    assert result.lines[-1] == f"Attached to workers again: {old[0].id}"
    sim.advance(60)
    assert [(i.lifecycle, i.container_status) for i in group.members] == [("InService", "ACTIVE")] * 2
    assert sim.instances.alive() == old


def test_what_was_attached_again_leaves_no_surplus_instance_behind(
    sim: Simulator, replace: Callable[..., Result]
) -> None:
    group = workers(sim)
    old = outdated(sim, group)
    group.launches = False
    assert replace("-t", "60").code == Exit.TIMED_OUT
    assert group.desired == 3
    group.launches = True
    group.reconcile()

    result = replace()

    assert result.code == Exit.OK
    lowering = [r["ShouldDecrementDesiredCapacity"] for r in result.requests("DetachInstances")]
    assert lowering == [True, False]
    assert_replaced(sim, group, old)


def test_an_instance_that_does_not_drain_in_time_serves_again(sim: Simulator, replace: Callable[..., Result]) -> None:
    group = workers(sim)
    old = outdated(sim, group)
    batch_job = long_job_on(sim, old[0])

    result = replace("-t", "60")

    assert result.code == Exit.TIMED_OUT
    assert f"{old[0].id} is DRAINING, tasks left: 1 × family:job" in result.err
    assert result.changes[-3:] == ["CreateTags", "AttachInstances", "UpdateContainerInstancesState"]
    assert (old[0].lifecycle, old[0].container_status) == ("Pending", "ACTIVE")
    assert batch_job.stays
    sim.advance(30)
    assert group.capacity == group.desired == 3


def long_job_on(sim: Simulator, instance: Instance, exits_after_s: float = 5000) -> Any:
    """A task that nobody's service runs, on that instance."""
    sim.image("job:1").exits(0, after_s=exits_after_s)
    definition = sim.task_definition("job", "job:1")
    task = sim.world.new_task("prod", definition, started_by="somebody", group="family:job")
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


def test_what_cannot_be_attached_again_is_named_with_the_commands_that_mend_it(
    sim: Simulator, replace: Callable[..., Result]
) -> None:
    group = workers(sim)
    old = outdated(sim, group)
    group.launches = False
    sim.world.at(30, lambda: setattr(group, "maximum", 2))

    result = replace("-t", "60")

    assert result.code == Exit.TIMED_OUT
    assert f"{old[0].id} is left detached from workers and ACTIVE: AWS refused AttachInstances: " in result.err
    for command in (
        "  ecs-deploy replace-instances --cluster prod --asg workers\n",
        f"  aws autoscaling attach-instances --auto-scaling-group-name workers --instance-ids {old[0].id}\n",
        "  aws ecs update-container-instances-state --cluster prod --status ACTIVE"
        f" --container-instances {old[0].arn}\n",
    ):
        assert command in result.err
    assert old[0].state == "running"

    group.maximum, group.launches = 20, True
    group.reconcile()
    again = replace()

    assert again.code == Exit.OK
    assert again.lines[0] == f"{old[0].id} was detached by an earlier run"
    assert_replaced(sim, group, old)


def test_a_drained_instance_that_may_not_be_terminated_is_named(sim: Simulator, replace: Callable[..., Result]) -> None:
    group = workers(sim)
    old = outdated(sim, group)
    sim.deny("ec2:TerminateInstances")

    result = replace()

    assert result.code == Exit.AWS
    assert (
        f"{old[0].id} is left detached from workers and DRAINING: it is drained. Terminate it with one of:"
        in result.err
    )
    assert f"  aws ec2 terminate-instances --instance-ids {old[0].id}\n" in result.err
    assert "AttachInstances" not in result.operations

    sim.allow("ec2:TerminateInstances")
    assert replace().code == Exit.OK
    assert_replaced(sim, group, old)


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, Exit.SIGINT), (signal.SIGTERM, Exit.SIGTERM)])
@pytest.mark.parametrize("at_s", [1, 4, 12, 26, 28])
def test_a_signal_puts_back_what_is_not_drained(
    sim: Simulator, replace: Callable[..., Result], signum: signal.Signals, code: int, at_s: float
) -> None:
    group = workers(sim)
    sim.service("prod", "slow", "slow:1", desired_count=2, drain_s=40)
    old = outdated(sim, group)
    sim.world.at(sim.now_s + at_s, lambda: signal.raise_signal(signum))

    result = replace()

    assert result.code == code
    assert result.err.endswith("Interrupted.\n")
    assert old[0].state == "running"
    assert result.lines[-1] == f"Attached to workers again: {old[0].id}"
    assert replace().code == Exit.OK
    assert_replaced(sim, group, old)


def test_goes_on_while_the_only_new_instance_has_not_joined_the_cluster_yet(
    sim: Simulator, replace: Callable[..., Result]
) -> None:
    group = workers(sim, desired=1)
    group.registers_s = 200
    old = outdated(sim, group)
    sim.world.at(sim.now_s + 40, lambda: signal.raise_signal(signal.SIGTERM))
    assert replace().code == Exit.SIGTERM
    assert [(i.lifecycle, i.container_status) for i in group.members] == [("Pending", "ACTIVE"), ("InService", "")]

    result = replace()

    assert result.code == Exit.OK
    assert_replaced(sim, group, old, desired=1)


def test_a_signal_that_comes_while_it_puts_back_does_not_keep_it_from_that(
    sim: Simulator, replace: Callable[..., Result]
) -> None:
    group = workers(sim)
    group.detaches_s = 68
    old = outdated(sim, group)
    group.launches = False
    sim.world.at(sim.now_s + 72, lambda: signal.raise_signal(signal.SIGTERM))

    result = replace("-t", "60")

    assert result.code == Exit.TIMED_OUT
    assert sim.now_s < 73
    assert result.lines[-1] == f"Attached to workers again: {old[0].id}"


def test_a_signal_leaves_a_drained_instance_to_the_next_run(sim: Simulator, replace: Callable[..., Result]) -> None:
    group = workers(sim)
    old = outdated(sim, group)
    draining: list[str] = []

    def interrupt_when_drained(index: int, operation: str, params: dict[str, Any]) -> None:
        if operation == "UpdateContainerInstancesState" and not draining:
            draining.append(operation)
            sim.world.at(sim.now_s + 4.9, lambda: signal.raise_signal(signal.SIGTERM))

    sim.on_call = interrupt_when_drained
    result = replace()

    assert result.code == Exit.SIGTERM
    assert f"{old[0].id} is left detached from workers and DRAINING: it is drained." in result.err
    again = replace()
    assert again.changes[0] == "TerminateInstances"
    assert again.code == Exit.OK
    assert_replaced(sim, group, old)


def test_an_instance_that_is_still_detaching_is_left_to_the_next_run(
    sim: Simulator, replace: Callable[..., Result]
) -> None:
    group = workers(sim)
    group.detaches_s = 100
    old = outdated(sim, group)
    sim.world.at(sim.now_s + 1, lambda: signal.raise_signal(signal.SIGTERM))

    result = replace()

    assert result.code == Exit.SIGTERM
    assert f"{old[0].id} is left detached from workers and ACTIVE: AWS refused AttachInstances: " in result.err
    again = replace()
    assert (again.code, again.lines[0]) == (Exit.OK, f"{old[0].id} was detached by an earlier run")
    sim.advance(100)
    assert_replaced(sim, group, old)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param({"agent_connected": False}, "cannot be drained, its agent is not connected", id="no agent"),
        pytest.param({"container_status": "INACTIVE"}, "is not registered in the cluster any more", id="deregistered"),
    ],
)
def test_nothing_is_terminated_that_the_cluster_cannot_speak_for(
    sim: Simulator, replace: Callable[..., Result], change: dict[str, Any], said: str
) -> None:
    group = workers(sim)
    old = outdated(sim, group)
    sim.world.at(sim.now_s + 7, lambda: vars(old[0]).update(change))

    result = replace("-t", "60")

    assert result.code == Exit.TIMED_OUT
    assert f"ERROR: Not replaced within 60 seconds: {old[0].id} {said}" in result.err
    assert result.lines[-1] == f"Attached to workers again: {old[0].id}"
    assert old[0].state == "running"


def test_a_group_that_grows_to_its_maximum_during_the_run(sim: Simulator, replace: Callable[..., Result]) -> None:
    group = workers(sim, maximum=3)
    old = outdated(sim, group)
    sim.on_call = lambda index, operation, params: (
        setattr(group, "desired", 3) if operation == "TerminateInstances" else None
    )
    sim.world.at(sim.now_s + 45, group.reconcile)

    result = replace("-t", "120")

    assert result.code == Exit.TIMED_OUT
    assert "ERROR: Not replaced within 120 seconds: the group has no capacity for one more" in result.err
    assert (old[0].state, old[1].lifecycle) == ("terminated", "InService")


def test_does_not_end_well_while_an_instance_can_neither_serve_nor_leave(
    sim: Simulator, replace: Callable[..., Result]
) -> None:
    group = workers(sim)
    old = outdated(sim, group)
    old[1].lifecycle, group.desired = "Quarantined", 1

    result = replace("-t", "60")

    assert result.code == Exit.TIMED_OUT
    assert f"ERROR: Not replaced within 60 seconds: {old[1].id} is Quarantined" in result.err
    assert old[0].state == "terminated"


def test_a_service_that_is_being_deleted_is_not_waited_for(sim: Simulator, replace: Callable[..., Result]) -> None:
    group = workers(sim)
    sim.service("prod", "old", "old:1", desired_count=1, drain_s=120)
    old = outdated(sim, group)
    sim.delete_service("prod", "old")

    result = replace()

    assert result.code == Exit.OK
    assert next(call.at_s for call in result.calls if call.operation == "DetachInstances") < 10
    assert f"{old[0].id} is DRAINING, tasks left: 1 × service:old" in result.err


def test_a_template_that_changes_during_the_run_ends_it_between_two_batches(
    sim: Simulator, replace: Callable[..., Result]
) -> None:
    group = workers(sim)
    old = outdated(sim, group)
    sim.on_call = lambda index, operation, params: (
        sim.instances.new_version("workers") if operation == "TerminateInstances" else None
    )

    result = replace()

    assert result.code == Exit.FAILED
    new = group.members[-1]
    reason = "launch template workers version 2, not launch template workers version 3"
    assert f"ERROR: The new instance {new.id} is out of date as well: {reason}" in result.err
    assert old[1].lifecycle == "InService"
    sim.on_call = None
    assert replace().code == Exit.OK
    assert_replaced(sim, group, [*old, new])


@pytest.mark.parametrize("at_s", [0.1, 3, 9, 17, 24, 26])
def test_a_spot_instance_that_is_taken_away_during_its_replacement(
    sim: Simulator, replace: Callable[..., Result], at_s: float
) -> None:
    group = sim.instances.group("workers", "prod")
    sim.service("prod", "web", desired_count=6, drain_s=20)
    old = outdated(sim, group)
    sim.world.at(sim.now_s + at_s, lambda: sim.instances.vanish(old[0]))

    result = replace()

    assert result.code == Exit.OK
    assert f"{old[0].id} was terminated by somebody else." in result.err
    assert_replaced(sim, group, old, desired=3)


def test_an_instance_that_vanishes_just_before_it_is_detached(sim: Simulator, replace: Callable[..., Result]) -> None:
    group = sim.instances.group("workers", "prod", desired=2)
    sim.service("prod", "web", desired_count=4)
    old = outdated(sim, group)
    sim.on_call = lambda index, operation, params: (
        sim.instances.vanish(old[0]) if operation == "DetachInstances" else None
    )

    result = replace()

    assert result.code == Exit.OK
    assert (
        f"The instance {old[0].id} is not part of Auto Scaling group workers. (ValidationError); looking again."
        in result.err
    )
    assert_replaced(sim, group, old)


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
    assert "MISSING; looking again." in result.err
    assert_replaced(sim, group, old)


def test_a_replacement_that_is_taken_away_is_replaced_before_tasks_move(
    sim: Simulator, replace: Callable[..., Result]
) -> None:
    group = workers(sim)
    old = outdated(sim, group)
    sim.world.at(sim.now_s + 19, lambda: sim.instances.vanish(group.members[-1]))

    result = replace()

    assert result.code == Exit.OK
    assert_replaced(sim, group, old)


def test_an_answer_that_is_lost_is_not_taken_for_a_failure(sim: Simulator, replace: Callable[..., Result]) -> None:
    group = workers(sim)
    old = outdated(sim, group)
    lost = set()

    def lose_the_first_answer_of_each(index: int, operation: str, params: dict[str, Any]) -> Fault | None:
        fresh = operation not in lost and not operation.startswith(("Describe", "List"))
        lost.add(operation)
        return Fault.DROP_AFTER if fresh else None

    sim.on_call = lose_the_first_answer_of_each
    result = replace()

    assert result.code == Exit.OK
    assert {"DetachInstances", "TerminateInstances", "UpdateContainerInstancesState"} <= lost
    assert_replaced(sim, group, old)


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
    for option in ("--cluster", "--asg", "--batch", "--timeout", "--include-protected", "--dry-run", "--region"):
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


def test_progress_says_what_each_instance_of_the_batch_waits_for(
    sim: Simulator, replace: Callable[..., Result]
) -> None:
    group = workers(sim)
    sim.service("prod", "slow", "slow:1", desired_count=2, drain_s=12)
    first, second = ids(outdated(sim, group))

    result = replace("--batch", "2")

    rows = [line.partition("] ")[2] for line in result.err.splitlines()]
    assert [row for row in rows if row.startswith(first)] == [
        f"{first} waits for its replacement: 0 of 2 in service",
        f"{first} waits for its replacement: {', '.join(ids(group.members))} not ACTIVE in the cluster",
        f"{first} is DRAINING, tasks left: 1 × service:slow",
    ]
    assert any(row.startswith(second) for row in rows)


def test_with_expired_credentials_it_names_what_it_cannot_put_back(sim: Simulator, cli: Cli) -> None:
    group = workers(sim)
    (first, _) = outdated(sim, group)
    group.launches = False
    sim.on_call = lambda index, operation, params: Fault.EXPIRED if sim.now_s > 30 else None

    result = cli(*REPLACE)

    assert result.code == Exit.AWS
    assert f"{first.id} is left detached from workers and " in result.err
    assert "aws autoscaling attach-instances --auto-scaling-group-name workers" in result.err
