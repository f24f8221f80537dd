"""What the tests of deploying say again and again: the service `web`, the command that deploys it, its ARNs."""

from __future__ import annotations

from typing import Any

from tests.conftest import Result
from tests.simulator import AwsError

Json = dict[str, Any]
PREFIX = "arn:aws:ecs:us-east-1:123456789012:task-definition"
WEB = ("-c", "prod", "-n", "web")
DEPLOY = (*WEB, "-i", "app:2")
NO_UTF_8 = AwsError("BadGateway", "no \udcff in UTF-8", 502)  # a page of a proxy instead of an answer
BREAKER = {"deploymentCircuitBreaker": {"enable": True, "rollback": True}}


def last_paragraph(result: Result) -> list[str]:
    """What stands at the end of stderr, from the last line that begins with ERROR on."""
    return ("ERROR:" + f"\n{result.err}".rpartition("\nERROR:")[2]).splitlines()
