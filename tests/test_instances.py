"""What a look at a group of instances says: what is out of date, what may go next, and what is waited for."""

from __future__ import annotations

from typing import Any

import pytest

from ecs_deploy import Claim, Fleet, Instance, claim_on, fitting, origin, outdated_reason, unsteady_reason

TEMPLATE = {"LaunchTemplateId": "lt-1", "LaunchTemplateName": "workers", "Version": "3"}
VERSIONS = {("lt-1", "$Default"): "3", ("lt-1", "$Latest"): "4"}


def seen(id_: str, **facts: Any) -> Instance:
    """An instance that is current and serves, but for these facts."""
    usual: dict[str, Any] = {
        "state": "InService",
        "weight": 1,
        "arn": f"arn:{id_}",
        "connected": True,
        "draining": False,
        "load": 0,
        "outdated": "",
        "kept": "",
        **facts,
    }
    return Instance(id=id_, in_service=usual["state"] == "InService", **{"ready": not usual["draining"], **usual})


OLD = {"outdated": "launch configuration small-1, not launch configuration small-2"}
KEPT = {**OLD, "kept": "it is in Standby"}
GOING = {"draining": True}
LEAVING = {"state": "Terminating:Wait"}
LOST = {"ready": False}


def fleet_of(*instances: Instance, desired: int = 2, capacity: int = 2, maximum: int = 20) -> Fleet:
    return Fleet({"MaxSize": maximum}, Claim(capacity), desired, instances)


def ids(instances: list[Instance]) -> list[str]:
    return [instance.id for instance in instances]


# --- The tag of the group


@pytest.mark.parametrize(
    ("tags", "claim"),
    [
        pytest.param({}, (4, None, 0), id="no tags"),
        pytest.param(
            {"Tags": [{"Key": "team", "Value": "capacity=2 by=runner-7 beats=14"}]}, (4, None, 0), id="others"
        ),
        pytest.param(
            {
                "Tags": [
                    {"Key": "team", "Value": "a"},
                    {"Key": "ecs-deploy:replacing", "Value": "capacity=2 by=b beats=14"},
                ]
            },
            (2, "b", 14),
            id="a run at work",
        ),
        pytest.param(
            {"Tags": [{"Key": "ecs-deploy:replacing", "Value": "capacity=12 by= beats=0"}]}, (12, "", 0), id="left"
        ),
        pytest.param(
            {"Tags": [{"Key": "ecs-deploy:replacing", "Value": "capacity=2 by=b"}]}, (4, None, 0), id="not ours"
        ),
        pytest.param({"Tags": [{"Key": "ecs-deploy:replacing"}]}, (4, None, 0), id="no value"),
    ],
)
def test_a_tag_says_the_capacity_to_return_to_and_for_which_run(tags: Any, claim: tuple[int, str | None, int]) -> None:
    found = claim_on({"DesiredCapacity": 4, **tags})

    assert (found.capacity, found.by, found.beats) == claim


# --- One instance


@pytest.mark.parametrize(
    ("facts", "serves"),
    [({}, True), (OLD, False), (LOST, False), (LEAVING, False), ({**OLD, **LOST}, False), (GOING, False)],
)
def test_an_instance_serves_if_it_is_current_in_service_and_takes_tasks(facts: dict[str, Any], serves: bool) -> None:
    assert seen("i-1", **facts).serves == serves


def test_an_instance_of_which_no_task_was_looked_for_is_not_known_to_be_empty() -> None:
    assert (seen("i-1").tasks, seen("i-1").proved) == ({}, False)


@pytest.mark.parametrize(
    ("facts", "row"),
    [
        ({}, ""),
        (
            {**GOING, "tasks": {"family:job": 2, "service:web": 1}},
            "i-1 is DRAINING, tasks left: 2 × family:job, 1 × service:web",
        ),
        ({**GOING, **LEAVING}, "i-1 is Terminating:Wait, tasks left: none"),
        ({"state": "Pending", "arn": "", "ready": False}, "i-1 is Pending"),
        ({"arn": "", "ready": False}, "i-1 is not registered in the cluster any more"),
        (LOST, "i-1 cannot be drained, its agent is not connected"),
    ],
)
def test_why_an_instance_is_not_gone_yet(facts: dict[str, Any], row: str) -> None:
    assert seen("i-1", **facts).waits_for == row


# --- What may go


def test_what_is_out_of_date_goes_and_what_is_left_alone_does_not() -> None:
    fleet = fleet_of(seen("new"), seen("old", **OLD), seen("kept", **KEPT), seen("leaves", **OLD, **LEAVING))

    assert ids(fleet.left) == ["old", "leaves"]
    assert ids(fleet.going) == ["old"]


def test_above_the_capacity_what_drains_goes_first_then_what_has_the_fewest_tasks() -> None:
    spare = [seen("busy", load=9), seen("idle", load=1), seen("drains", **GOING, load=5)]
    others = [seen("kept", **KEPT), seen("leaves", **LEAVING), seen("lost", **LOST)]

    assert ids(fleet_of(*others, *spare, desired=3).going) == ["drains"]
    assert ids(fleet_of(*others, *spare, desired=4).going) == ["drains", "idle"]
    assert ids(fleet_of(*others, *spare, desired=9).going) == ["drains", "idle", "busy"]
    assert ids(fleet_of(*others, *spare, desired=2).going) == []


@pytest.mark.parametrize(
    ("instances", "desired", "missing"),
    [
        pytest.param([seen("a"), seen("b")], 2, "", id="nothing"),
        pytest.param([seen("a"), seen("b", weight=2)], 2, "", id="more than desired"),
        pytest.param([seen("a"), seen("b", **LEAVING)], 2, "1 of 2 in service", id="capacity"),
        pytest.param([seen("a", weight=2), seen("b", weight=2)], 5, "4 of 5 in service", id="weighted capacity"),
        pytest.param(
            [seen("a", **LOST), seen("b", **LOST), seen("c")], 2, "a, b not ACTIVE in the cluster", id="new ones"
        ),
        pytest.param([seen("a"), seen("b", **OLD, **LOST)], 2, "", id="an agent of what is out of date"),
        pytest.param([seen("a"), seen("b"), seen("c", **GOING)], 3, "", id="what drains and is to go"),
        pytest.param([seen("a"), seen("b", **GOING)], 2, "b not ACTIVE in the cluster", id="what drains and is not"),
    ],
)
def test_what_a_group_lacks_before_anything_may_go(instances: list[Instance], desired: int, missing: str) -> None:
    assert fleet_of(*instances, desired=desired).missing == missing


@pytest.mark.parametrize(
    ("instances", "maximum", "batch"),
    [
        pytest.param(
            [seen("a", **OLD), seen("b", **OLD), seen("c", **OLD)], 20, ["a", "b"], id="no more than the size"
        ),
        pytest.param([seen("a", **OLD), seen("b", **OLD), seen("c", **OLD)], 3, ["a"], id="no more than the maximum"),
        pytest.param([seen("a", **OLD), seen("b", **OLD)], 2, [], id="no room"),
        pytest.param([seen("a", **OLD, **LOST), seen("b", **OLD)], 20, ["b"], id="only what can be drained"),
        pytest.param(
            [seen("a", **OLD), *(seen(name, **OLD, **GOING) for name in "bcd")],
            2,
            ["b", "c", "d"],
            id="what drains first",
        ),
    ],
)
def test_a_batch_is_what_drains_or_what_there_is_room_for(
    instances: list[Instance], maximum: int, batch: list[str]
) -> None:
    assert ids(fleet_of(*instances, maximum=maximum).batch(2)) == batch


def test_what_is_too_heavy_for_the_room_is_left_out() -> None:
    weighted = [seen("a", weight=2), seen("b", weight=4), seen("c", weight=3), seen("d", weight=1)]

    assert ids(fitting(weighted, 5)) == ["a", "c"]


# --- What is out of date


@pytest.mark.parametrize(
    ("launched", "known"),
    [
        ({"LaunchTemplate": TEMPLATE}, ("lt-1 3", "launch template workers version 3")),
        ({"LaunchTemplate": {**TEMPLATE, "Version": "$Latest"}}, ("lt-1 4", "launch template workers version 4")),
        ({"LaunchTemplate": {"LaunchTemplateId": "lt-1"}}, ("lt-1 3", "launch template lt-1 version 3")),
        ({"LaunchTemplate": {"LaunchTemplateId": "lt-2"}}, ("lt-2 $Default", "launch template lt-2 version $Default")),
        (
            {"LaunchTemplate": {"LaunchTemplateName": "workers", "Version": "1"}},
            ("workers 1", "launch template workers version 1"),
        ),
        ({"LaunchConfigurationName": "small"}, ("small", "launch configuration small")),
        ({}, ("", "no known launch configuration or template")),
    ],
)
def test_what_an_instance_is_launched_from_in_words(launched: dict[str, Any], known: tuple[str, str]) -> None:
    assert origin(launched, VERSIONS) == known


SMALL, LARGE = ("lt-1 3", "launch template workers version 3"), ("lt-2 1", "launch template large version 1")


@pytest.mark.parametrize(
    ("member", "launched", "reason"),
    [
        pytest.param({"LaunchTemplate": TEMPLATE}, [("", SMALL)], "", id="current"),
        pytest.param({"LaunchTemplate": TEMPLATE}, [("m5", LARGE), ("t3", SMALL)], "", id="current for its type"),
        pytest.param(
            {"LaunchTemplate": TEMPLATE},
            [("t3", LARGE), ("m5", SMALL)],
            "launch template workers version 3, not launch template large version 1",
            id="current for another type",
        ),
        pytest.param(
            {"LaunchConfigurationName": "small"},
            [("", LARGE), ("t3", SMALL), ("t3", ("lt-3 3", SMALL[1]))],
            "launch configuration small, not launch template large version 1 or launch template workers version 3",
            id="one of several",
        ),
        pytest.param(
            {"LaunchTemplate": TEMPLATE},
            [("m5", SMALL), ("c5", SMALL)],
            "instance type t3, not c5 or m5",
            id="its type",
        ),
        pytest.param(
            {},
            [("", ("", "no known launch configuration or template"))],
            "no known launch configuration or template, not no known launch configuration or template",
            id="nothing known",
        ),
    ],
)
def test_why_an_instance_is_not_as_its_group_would_launch_it(
    member: dict[str, Any], launched: list[tuple[str, tuple[str, str]]], reason: str
) -> None:
    assert outdated_reason({"InstanceType": "t3", **member}, launched) == reason


# --- Services


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        pytest.param({}, "", id="steady"),
        pytest.param({"runningCount": 3}, "", id="more than desired"),
        pytest.param({"runningCount": 1}, "1 of 2 running", id="too few"),
        pytest.param({"deployments": None}, "", id="no deployment"),
        pytest.param({"deployments": [{}]}, "", id="no state"),
        pytest.param({"deployments": [{}, {}]}, "its deployment is not completed", id="two deployments"),
        pytest.param(
            {"deployments": [{"rolloutState": "IN_PROGRESS"}]}, "its deployment is not completed", id="one at work"
        ),
        pytest.param({"status": "DRAINING", "runningCount": 0}, "", id="being deleted"),
    ],
)
def test_why_a_service_is_not_steady(facts: dict[str, Any], reason: str) -> None:
    completed = [{"rolloutState": "COMPLETED"}]
    steady = {"status": "ACTIVE", "desiredCount": 2, "runningCount": 2, "deployments": completed}

    assert unsteady_reason({**steady, **facts}) == reason
