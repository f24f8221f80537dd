"""How often AWS may be asked, and what is allowed to whom."""

from __future__ import annotations

from dataclasses import dataclass

from tests.simulator.errors import Json

_GROUPS: dict[tuple[str, ...], tuple[int, int]] = {
    ("RegisterTaskDefinition", "DeregisterTaskDefinition"): (20, 1),
    ("DescribeTaskDefinition", "ListTaskDefinitions"): (50, 20),
    ("UpdateService",): (50, 5),
    ("DescribeServices", "ListServices"): (100, 20),
    ("DescribeTasks", "ListTasks"): (100, 20),
    ("RunTask", "StopTask"): (100, 40),
    ("ListServiceDeployments", "DescribeServiceDeployments", "StopServiceDeployment", "DescribeServiceRevisions"): (
        50,
        20,
    ),
    ("DeleteTaskDefinitions",): (5, 1),
}
"""Operations that share a bucket: burst, and sustained calls per second."""
_GROUP_OF = {operation: group for group in _GROUPS for operation in group}


@dataclass
class Bucket:
    tokens: float
    filled_s: float


class Throttles:
    """AWS's token buckets, in the world's time."""

    def __init__(self) -> None:
        self._buckets: dict[tuple[str, ...], Bucket] = {}

    def allow(self, operation: str, now_s: float) -> bool:
        """Whether the call may pass; it takes a token if so."""
        group = _GROUP_OF.get(operation)
        if group is None:
            return True
        burst, per_second = _GROUPS[group]
        bucket = self._buckets.setdefault(group, Bucket(burst, now_s))
        bucket.tokens = min(burst, bucket.tokens + (now_s - bucket.filled_s) * per_second)
        bucket.filled_s = now_s
        if bucket.tokens < 1:
            return False
        bucket.tokens -= 1
        return True


def iam_actions(service: str, operation: str, params: Json) -> tuple[str, ...]:
    """The IAM actions that a policy must allow for that call."""
    actions = [] if operation == "GetCallerIdentity" else [f"{service}:{operation}"]
    if operation in ("RegisterTaskDefinition", "RunTask") and "tags" in params:
        actions.append("ecs:TagResource")
    roles = {**params, **params.get("overrides", {})}
    if operation in ("RegisterTaskDefinition", "RunTask") and {"taskRoleArn", "executionRoleArn"} & set(roles):
        actions.append("iam:PassRole")
    if operation == "UpdateSchedule" or any("RoleArn" in target for target in params.get("Targets", [])):
        actions.append("iam:PassRole")
    return tuple(actions)
