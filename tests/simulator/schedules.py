"""EventBridge's rules and EventBridge Scheduler's schedules, as far as a deployment asks for them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote, urlsplit

from tests.simulator.errors import AwsError, Json

if TYPE_CHECKING:
    from tests.simulator.model import World

PAGE = 2
_DEFAULTS = {"ScheduleExpressionTimezone": "UTC", "State": "ENABLED", "ActionAfterCompletion": "NONE"}
_RETRIES = {"MaximumEventAgeInSeconds": 86400, "MaximumRetryAttempts": 185}
_ROUTES = (
    ("GET", r"/schedules/([^/]+)", "GetSchedule"),
    ("PUT", r"/schedules/([^/]+)", "UpdateSchedule"),
    ("GET", r"/schedules", "ListSchedules"),
)
_IN_QUERY = {"groupName": "GroupName", "ScheduleGroup": "GroupName"}


def routed(method: str, path: str, body: Json) -> tuple[str, Json]:
    """The operation of Scheduler's REST protocol, and its parameters from path, query and body."""
    address = urlsplit(path)
    query = {_IN_QUERY.get(name, name): value for name, value in parse_qsl(address.query)}
    numbers = {name: int(value) for name, value in query.items() if name == "MaxResults"}
    for verb, pattern, operation in _ROUTES:
        if verb == method and (match := re.fullmatch(pattern, address.path)):
            named = {"Name": unquote(match[1])} if match.groups() else {}
            return operation, {**body, **query, **numbers, **named}
    raise AwsError("UnknownOperationException", f"Scheduler has no {method} {address.path}", 404)


def page(items: list[Json] | list[str], params: Json, member: str) -> Json:
    """Two at a time, so that whoever does not go on misses some."""
    start = int(params.get("NextToken") or 0)
    more = {"NextToken": str(start + PAGE)} if start + PAGE < len(items) else {}
    return {member: items[start : start + PAGE], **more}


class EventsApi:
    """EventBridge: rules by bus and name, each with its targets as they were put."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.rules: dict[tuple[str, str], list[Json]] = {}
        self.managed_by: dict[tuple[str, str], str] = {}
        self.refused_targets: dict[str, tuple[str, str]] = {}
        """Target ids that PutTargets answers in FailedEntries, with code and message."""

    def rule(self, name: str, targets: list[Json], *, bus: str = "default", managed_by: str = "") -> None:
        """Make a rule."""
        self.rules[bus, name] = targets
        if managed_by:
            self.managed_by[bus, name] = managed_by

    def describe_rule(self, params: Json) -> Json:
        bus, name = self._key(params, "Name")
        managed = self.managed_by.get((bus, name))
        answer = {"Name": name, "EventBusName": bus, "State": "ENABLED", "ScheduleExpression": "rate(1 hour)"}
        return {**answer, **({"ManagedBy": managed} if managed else {})}

    def list_targets_by_rule(self, params: Json) -> Json:
        return page(self.rules[self._key(params, "Rule")], params, "Targets")

    def list_rule_names_by_target(self, params: Json) -> Json:
        bus = params.get("EventBusName", "default")
        wanted = params["TargetArn"]
        names = [
            name
            for (owner, name), targets in self.rules.items()
            if owner == bus and any(target["Arn"] == wanted for target in targets)
        ]
        return page(names, params, "RuleNames")

    def put_targets(self, params: Json) -> Json:
        key = self._key(params, "Rule")
        if key in self.managed_by:
            raise AwsError("ManagedRuleException", f"Rule {key[1]} is managed by {self.managed_by[key]}.")
        failed = []
        for target in params["Targets"]:
            if target["Id"] in self.refused_targets:
                code, message = self.refused_targets[target["Id"]]
                failed.append({"TargetId": target["Id"], "ErrorCode": code, "ErrorMessage": message})
                continue
            kept = [old for old in self.rules[key] if old["Id"] != target["Id"]]
            place = next((i for i, old in enumerate(self.rules[key]) if old["Id"] == target["Id"]), len(kept))
            self.rules[key] = [*kept[:place], target, *kept[place:]]
        return {"FailedEntryCount": len(failed), "FailedEntries": failed}

    def _key(self, params: Json, member: str) -> tuple[str, str]:
        key = (params.get("EventBusName", "default"), params[member])
        if key not in self.rules:
            raise AwsError("ResourceNotFoundException", f"Rule {key[1]} does not exist on EventBus {key[0]}.")
        return key


class SchedulerApi:
    """EventBridge Scheduler: what an update leaves out goes back to its default."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.schedules: dict[tuple[str, str], Json] = {}

    def schedule(self, name: str, target: Json, *, group: str = "default", **members: object) -> None:
        """Make a schedule; every hour, unless `members` say otherwise."""
        given = {"ScheduleExpression": "rate(1 hour)", "FlexibleTimeWindow": {"Mode": "OFF"}, **members}
        self._keep(group, name, {**given, "Target": target}, self.world.stamp(self.world.now_s))

    def get_schedule(self, params: Json) -> Json:
        return self.schedules[self._key(params)]

    def update_schedule(self, params: Json) -> Json:
        group, name = self._key(params)
        if params.get("StartDate", float("inf")) < self.world.stamp(self.world.now_s) - 300:
            refused = "The StartDate you specify cannot be earlier than 5 minutes ago."
            raise AwsError("ValidationException", refused)
        self._keep(group, name, params, self.schedules[group, name]["CreationDate"])
        return {"ScheduleArn": self.schedules[group, name]["Arn"]}

    def list_schedules(self, params: Json) -> Json:
        if not 1 <= params.get("MaxResults", 100) <= 100:
            raise AwsError("ValidationException", "Value at 'maxResults' must be between 1 and 100.")
        shown = ("Arn", "Name", "GroupName", "State", "CreationDate", "LastModificationDate")
        listed = [
            {**{name: kept[name] for name in shown}, "Target": {"Arn": kept["Target"]["Arn"]}}
            for kept in self.schedules.values()
            if params.get("GroupName") in (None, kept["GroupName"])
        ]
        return page(listed, params, "Schedules")

    def _keep(self, group: str, name: str, given: Json, created: float) -> None:
        now = self.world.stamp(self.world.now_s)
        told = {
            "Arn": f"arn:aws:scheduler:{self.world.region}:{self.world.account}:schedule/{group}/{name}",
            "CreationDate": created,
            "LastModificationDate": now,
        }
        target = {"RetryPolicy": _RETRIES, **given["Target"]}
        given = {member: value for member, value in given.items() if member != "ClientToken"}
        self.schedules[group, name] = {**_DEFAULTS, **given, **told, "Name": name, "GroupName": group, "Target": target}

    def _key(self, params: Json) -> tuple[str, str]:
        key = (params.get("GroupName", "default"), params["Name"])
        if key not in self.schedules:
            raise AwsError("ResourceNotFoundException", f"Schedule {key[1]} does not exist.", 404)
        return key
