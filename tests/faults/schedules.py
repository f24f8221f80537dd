"""Rules and schedules of the campaign: what there is, what a command line asks of them, and what must hold of them."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any

from ecs_deploy import Exit
from tests.faults.worlds import CANARY, CLUSTER, SERVICE
from tests.simulator.errors import Json

if TYPE_CHECKING:
    from tests.faults.runs import Run
    from tests.simulator import World


NAMES = ("rule nightly", "schedule weekly", "schedule reports/monthly")
_BY_NAME = ("--schedule", "nightly", "--schedule", "schedule:weekly", "--schedule", "reports/monthly")


def asked(rng: Random, command: str) -> tuple[str, ...]:
    """What stands on the command line for them: nothing most often; a definition alone has no cluster to look in."""
    if command not in ("service", "definition", "task") or rng.random() > 0.25:
        return ()
    return _BY_NAME if command == "definition" or rng.random() < 0.5 else ("--schedules",)


def furnish(world: World) -> None:
    """A rule with five targets of which two run the family, and a schedule in each of two groups."""
    first, last = (world.definitions.families[SERVICE][at].arn for at in (0, -1))
    queue = f"arn:aws:sqs:{world.region}:{world.account}:queue"
    others = [{"Id": f"other-{n}", "Arn": queue, "Input": f'{{"key": "{CANARY}-target"}}'} for n in range(3)]
    world.events.rule("nightly", [others[0], _target(world, first, Id="a"), *others[1:], _target(world, last, Id="b")])
    window = {"Mode": "FLEXIBLE", "MaximumWindowInMinutes": 5}
    for name, group in (("weekly", "default"), ("monthly", "reports")):
        world.scheduler.schedule(
            name, _target(world, last, DeadLetterConfig={"Arn": queue}), group=group, State="DISABLED",
            ScheduleExpressionTimezone="Africa/Accra", FlexibleTimeWindow=window, Description="while all sleep",
        )  # fmt: skip


def _target(world: World, definition: str, **members: Any) -> Json:
    role = f"arn:aws:iam::{world.account}:role/starts-tasks"
    overrides = f'{{"containerOverrides": [{{"name": "c", "environment": [{{"name": "K", "value": "{CANARY}-in"}}]}}]}}'
    parameters = {"TaskDefinitionArn": definition, "TaskCount": 2, "LaunchType": "FARGATE"}
    return {
        "Arn": world.cluster_arn(CLUSTER),
        "RoleArn": role,
        "Input": overrides,
        **members,
        "EcsParameters": parameters,
    }


def definitions(world: World) -> dict[str, list[str]]:
    """What each of them runs, by its name."""
    targets = {f"rule {name}": targets for (_, name), targets in world.events.rules.items()}
    for (group, name), kept in world.scheduler.schedules.items():
        targets[f"schedule {name if group == 'default' else f'{group}/{name}'}"] = [kept["Target"]]
    return {
        name: [target["EcsParameters"]["TaskDefinitionArn"] for target in of if "EcsParameters" in target]
        for name, of in targets.items()
    }


def all_else(world: World) -> Json:
    """All of them but what they run, and when they were changed."""
    rules, schedules = copy.deepcopy(world.events.rules), copy.deepcopy(world.scheduler.schedules)
    for target in [*(t for of in rules.values() for t in of), *(kept["Target"] for kept in schedules.values())]:
        target.get("EcsParameters", {}).pop("TaskDefinitionArn", None)
    for kept in schedules.values():
        kept.pop("LastModificationDate")
    return {"rules": rules, "schedules": schedules}


def judged(run: Run) -> Iterator[str]:
    """Success moves all, nothing else changes anything, and nothing but the revision changes."""
    world, made = run.world, run.world.made
    if all_else(world) != world.else_before:
        yield f"more than the revision changed: {all_else(world)}, before it was {world.else_before}"
    now, before = definitions(world), world.definitions_before
    moved = made.scheduled and not made.has("--dry-run")
    if run.code == Exit.OK and moved and not world.signalled:
        updated = {track.updates[0].after.definition.arn for track in world.tracks.values() if track.updates}
        wanted = updated or {definition.arn for definition in world.registered[-1:]}
        if not {arn for of in now.values() for arn in of} <= wanted:
            yield f"they run {now}, not {wanted}"
    elif now != before and not moved:
        yield f"they run {now}, before it was {before}"


@dataclass(frozen=True)
class Swap:
    """An offered command that puts one back: what is read, in what, and what is written."""

    name: str
    target_id: str
    new: str
    old: str
    region: str
    profile: str
    members: tuple[str, ...] = ()


_WHERE = r"--region (?P<{0}>\S+)(?: --profile (?P<{1}>\S+))?"
_SWAP = r"--output json " + _WHERE.format("r", "p") + r""" \| sed 's\|(?P<new>[^|"]+)"\|(?P<old>[^|"]+)"\|'\)"$"""
_RULE = re.compile(
    r"aws events put-targets --rule (?P<name>\S+) " + _WHERE.format("region", "profile")
    + r' --targets "\$\(aws events list-targets-by-rule --rule (?P=name)'
    + r' --query "Targets\[\?Id==\'(?P<target>[\w-]+)\'\]" ' + _SWAP
)  # fmt: skip
_SCHEDULE = re.compile(
    r"aws scheduler update-schedule " + _WHERE.format("region", "profile")
    + r' --cli-input-json "\$\(aws scheduler get-schedule --name (?P<name>\S+)(?: --group-name (?P<group>\S+))?'
    + r" --query '\{(?P<members>[\w:,]+)\}' " + _SWAP
)  # fmt: skip


def swap_in(text: str) -> Swap | None:
    """The command, if it is one that puts a rule or schedule back, whole."""
    found = _RULE.fullmatch(text) or _SCHEDULE.fullmatch(text)
    if found is None or (found["r"], found["p"]) != (found["region"], found["profile"]):
        return None
    parts = {"target": "", "group": "", "members": "", **found.groupdict(default="")}
    kind, group = ("rule" if parts["target"] else "schedule"), f"{parts['group']}/" if parts["group"] else ""
    members = tuple(member.partition(":")[0] for member in parts["members"].split(","))
    name = f"{kind} {group}{parts['name']}"
    return Swap(name, parts["target"], found["new"], found["old"], found["region"], parts["profile"], members)


def swap(world: World, one: Swap) -> None:
    """Do what the command does: read, replace, write."""
    kind, name = one.name.split()
    group, _, name = name.rpartition("/")
    if kind == "rule":
        targets = [target for target in world.events.rules["default", name] if target["Id"] == one.target_id]
        world.handle("events", "PutTargets", {"Rule": name, "Targets": [_swapped(target, one) for target in targets]})
    else:
        told = world.handle("scheduler", "GetSchedule", {"Name": name, "GroupName": group or "default"})
        given = {member: told[member] for member in one.members}
        world.handle("scheduler", "UpdateSchedule", {**given, "Target": _swapped(told["Target"], one)})


def _swapped(target: Json, one: Swap) -> Json:
    parameters = target["EcsParameters"]
    runs = one.old if parameters["TaskDefinitionArn"] == one.new else parameters["TaskDefinitionArn"]
    return {**target, "EcsParameters": {**parameters, "TaskDefinitionArn": runs}}
