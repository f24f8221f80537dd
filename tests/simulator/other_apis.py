"""What a deployment asks of other services: STS, CloudWatch Logs, and the metadata of instances and containers."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

from tests.simulator.errors import AwsError, Json

if TYPE_CHECKING:
    from tests.simulator.model import World


class TargetsApi:
    """Elastic Load Balancing, as far as its target groups show the tasks of services."""

    def __init__(self, world: World) -> None:
        self.world = world

    def describe_target_health(self, params: Json) -> Json:
        """Each task of the services behind the group: initial until it is healthy, draining once it is told to stop."""
        found: list[Json] = []
        for service in self.world.services.values():
            balancers = service.members.get("loadBalancers", [])
            port = next(
                (b["containerPort"] for b in balancers if b.get("targetGroupArn") == params["TargetGroupArn"]), 0
            )
            for task in (t for d in service.deployments for t in d.tasks.values() if port and t.runs):
                state = "healthy" if task.healthy else "initial"
                target = {"Id": task.arn.rpartition("/")[2][:8], "Port": port}
                if task.host_arn and task.definition.raw.get("networkMode") != "awsvpc":  # each task its own port
                    number = list(self.world.tasks).index(task.arn)
                    target = {"Id": task.host_arn.rpartition("/")[2], "Port": 32768 + number}
                found.append({"Target": target, "TargetHealth": {"State": state if task.stays else "draining"}})
        return {"TargetHealthDescriptions": found}


class StsApi:
    """Security Token Service; its answers are trees that `as_xml` writes."""

    def __init__(self, world: World) -> None:
        self.world = world

    def assume_role(self, params: Json) -> Json:
        if not params.get("RoleArn", "").startswith("arn:") or not params.get("RoleSessionName"):
            raise AwsError("ValidationError", "RoleArn and RoleSessionName are required.")
        role = params["RoleArn"].replace(":iam:", ":sts:").replace(":role/", ":assumed-role/")
        session = f"{role}/{params['RoleSessionName']}"
        issued = self.world.issue_credentials(session)
        return {
            "Credentials": issued,
            "AssumedRoleUser": {"AssumedRoleId": f"AROASIMULATED:{params['RoleSessionName']}", "Arn": session},
        }

    def get_caller_identity(self, params: Json) -> Json:
        return {"Arn": self.world.caller_arn, "UserId": "AIDASIMULATED", "Account": self.world.account}


def as_xml(operation: str, answer: Json, request_id: str) -> str:
    """The answer of a query-protocol service."""
    space = "https://sts.amazonaws.com/doc/2011-06-15/"
    return (
        f'<{operation}Response xmlns="{space}"><{operation}Result>{_elements(answer)}</{operation}Result>'
        f"<ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata></{operation}Response>"
    )


def error_as_xml(error: AwsError, request_id: str) -> str:
    body = _elements({"Type": "Sender", "Code": error.code, "Message": error.message})
    return f"<ErrorResponse><Error>{body}</Error><RequestId>{request_id}</RequestId></ErrorResponse>"


def _elements(tree: Json) -> str:
    return "".join(
        f"<{name}>{_elements(value) if isinstance(value, dict) else escape(str(value))}</{name}>"
        for name, value in tree.items()
    )


class LogsApi:
    """CloudWatch Logs: what containers with the awslogs driver wrote."""

    def __init__(self, world: World) -> None:
        self.world = world

    def get_log_events(self, params: Json) -> Json:
        streams = self._streams(params["logGroupName"])
        if params["logStreamName"] not in streams:
            raise AwsError("ResourceNotFoundException", "The specified log stream does not exist.")
        events = streams[params["logStreamName"]]
        limit = params.get("limit", 10000)
        if token := params.get("nextToken", ""):
            start = int(token.rpartition("/")[2])
        else:
            start = 0 if params.get("startFromHead") else max(0, len(events) - limit)
        end = min(len(events), start + limit)
        tokens = {"nextForwardToken": f"f/{end}", "nextBackwardToken": f"b/{max(0, start - limit)}"}
        return {"events": events[start:end], **tokens}

    def filter_log_events(self, params: Json) -> Json:
        streams = self._streams(params["logGroupName"])
        wanted, prefix = params.get("logStreamNames"), params.get("logStreamNamePrefix", "")
        if wanted and any(name not in streams for name in wanted):
            raise AwsError("ResourceNotFoundException", "The specified log stream does not exist.")
        pattern = params.get("filterPattern", "").strip('"')
        found: list[Json] = [
            {**event, "logStreamName": name, "eventId": f"{event['timestamp']}{index:04}"}
            for name, events in streams.items()
            if name in (wanted or streams) and name.startswith(prefix)
            for index, event in enumerate(events)
            if pattern in event["message"]
        ]
        start = int(params.get("nextToken", "0"))
        end = start + params.get("limit", 10000)
        return {"events": found[start:end], **({"nextToken": str(end)} if end < len(found) else {})}

    def _streams(self, group: str) -> dict[str, list[Json]]:
        """The streams of a group: one per container that ran, with its lines."""
        found: dict[str, list[Json]] = {}
        known = False
        for definition in (d for revisions in self.world.definitions.families.values() for d in revisions):
            options = [c.get("logConfiguration", {}).get("options", {}) for c in definition.containers]
            known = known or any(option.get("awslogs-group") == group for option in options)
        if not known:
            raise AwsError("ResourceNotFoundException", "The specified log group does not exist.")
        for task in self.world.tasks.values():
            for container in task.containers:
                if task.running_s is not None and container.log_stream and container.log_stream[0] == group:
                    found[container.log_stream[1]] = self._events(container.run.log_lines, task.running_s)
        return found

    def _events(self, lines: tuple[str, ...], at_s: float) -> list[Json]:
        at_ms = int((self.world.epoch_s + at_s) * 1000)
        return [
            {"timestamp": at_ms + index, "ingestionTime": at_ms + index, "message": line}
            for index, line in enumerate(lines)
        ]


ROLE_NAME = "simulated-instance-role"
METADATA_ROLES = "/latest/meta-data/iam/security-credentials/"


def metadata(world: World, path: str) -> str | Json | None:
    """What the metadata address answers to that path, or None."""
    if path == METADATA_ROLES:
        return ROLE_NAME
    if path == METADATA_ROLES + ROLE_NAME:
        return {"Code": "Success", "Type": "AWS-HMAC", **_for_sdks(world.issue_credentials("instance-profile"))}
    if path.startswith("/v2/credentials/"):
        return _for_sdks(world.issue_credentials("container-role"))
    if path == "/latest/meta-data/placement/region":
        return world.region
    return None


def _for_sdks(issued: dict[str, Any]) -> Json:
    """The same credentials with the names that metadata uses."""
    return {("Token" if name == "SessionToken" else name): value for name, value in issued.items()}


def iso_time(epoch_s: float) -> str:
    return datetime.fromtimestamp(epoch_s, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
