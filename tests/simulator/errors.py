"""What a call may end in, and how calls are remembered."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

Json = dict[str, Any]


class AwsError(Exception):
    """An error as AWS answers it: code, message, HTTP status."""

    def __init__(self, code: str, message: str, http_status: int = 400) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.http_status = http_status


class Dropped(Exception):
    """The connection is to be closed without an answer."""


class Fault(Enum):
    """What may go wrong with one call; `World.on_call` picks."""

    THROTTLED = "ThrottlingException"
    SERVER_ERROR = "ServerException"
    DROP_BEFORE = "connection closed before the call was carried out"
    DROP_AFTER = "connection closed after the call was carried out"
    EXPIRED = "ExpiredTokenException"
    STALE = "DescribeServices as it was before the last UpdateService"
    MISSING = "DescribeServices or DescribeTasks that does not know the first of what it was asked for"


@dataclass
class Call:
    """One API call that reached the simulator; `error_code` is None where it succeeded."""

    operation: str
    params: Json
    at_s: float
    service: str
    access_key: str
    error_code: str | None = None
    actions: tuple[str, ...] = ()
    """The IAM actions it needs."""

    @property
    def status(self) -> str:
        return self.error_code or "OK"

    @property
    def mutates(self) -> bool:
        return not self.operation.startswith(("Describe", "List", "Get", "BatchGet", "Filter", "AssumeRole"))


@dataclass(frozen=True)
class Sender:
    """Who sent a request, and to which service of which region, as its headers say; nobody checks the signature."""

    access_key: str
    session_token: str
    region: str
    service: str
    user_agent: str


def invalid(message: str) -> AwsError:
    return AwsError("InvalidParameterException", message)


def client_error(message: str) -> AwsError:
    return AwsError("ClientException", message)
