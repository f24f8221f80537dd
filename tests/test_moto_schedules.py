"""`--schedule` and `--schedules` against moto's EventBridge and Scheduler, which somebody else wrote."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from io import StringIO
from threading import Thread
from typing import Any

import boto3
import pytest

import ecs_deploy
from ecs_deploy import Exit

make_server = pytest.importorskip("werkzeug.serving", reason="moto[server] is not installed").make_server
moto_server = pytest.importorskip("moto.moto_server.werkzeug_app", reason="moto[server] is not installed")
pytestmark = pytest.mark.slow
REGION = "us-east-1"
ACCOUNT = "123456789012"
CLUSTER = f"arn:aws:ecs:{REGION}:{ACCOUNT}:cluster/prod"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/starts-tasks"
Answer = Callable[..., Any]


class Refusing:
    """moto's application; calls in which `words` stand are refused, as long as there are some."""

    def __init__(self) -> None:
        self._moto = moto_server.DomainDispatcherApplication(moto_server.create_backend_app)
        self.words = ""

    def __call__(self, environ: dict[str, Any], start_response: Answer) -> Any:
        asked = f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']} {environ.get('HTTP_X_AMZ_TARGET', '')}"
        if not self.words or self.words not in asked:
            return self._moto(environ, start_response)
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        start_response("400 Bad Request", [("Content-Type", "application/json"), ("x-amzn-ErrorType", "Refusal")])
        return [b'{"__type": "Refusal", "message": "not this one"}']


@pytest.fixture(scope="module")
def gate() -> Refusing:
    return Refusing()


@pytest.fixture(scope="module")
def address(gate: Refusing) -> Iterator[str]:
    server = make_server("127.0.0.1", 0, gate, threaded=True, request_handler=moto_server.MotoRequestHandler)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


class Account:
    """A cluster, a family with three revisions, and what EventBridge and Scheduler say of themselves."""

    def __init__(self, address: str) -> None:
        keys = {"aws_access_key_id": "AKIAMOTO", "aws_secret_access_key": "secret"}
        session = boto3.Session(region_name=REGION, **keys)
        self.events, self.scheduler, self.ecs = (
            session.client(name, endpoint_url=address) for name in ("events", "scheduler", "ecs")
        )
        self.ecs.create_cluster(clusterName="prod")
        container = {"name": "report", "image": "report:1", "memory": 64, "essential": True}
        for _ in range(3):
            self.ecs.register_task_definition(family="report", containerDefinitions=[container])
        self.environ = {
            "AWS_ENDPOINT_URL": address,
            "AWS_REGION": REGION,
            "AWS_ACCESS_KEY_ID": keys["aws_access_key_id"],
        }
        self.environ |= {"AWS_SECRET_ACCESS_KEY": "secret", "AWS_MAX_ATTEMPTS": "1"}

    def targets(self, rule: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.events.list_targets_by_rule(Rule=rule)["Targets"]
        return found

    def schedule(self, name: str, group: str) -> dict[str, Any]:
        told: dict[str, Any] = self.scheduler.get_schedule(Name=name, GroupName=group)
        return {member: told[member] for member in told if member not in ("ResponseMetadata", "LastModificationDate")}


@pytest.fixture
def account(address: str, gate: Refusing) -> Account:
    import urllib.request

    gate.words = ""
    urllib.request.urlopen(urllib.request.Request(f"{address}/moto-api/reset", method="POST"), timeout=10).close()
    return Account(address)


@pytest.fixture
def deploy(account: Account, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str]]:
    for name, value in account.environ.items():
        monkeypatch.setenv(name, value)

    def run(*words: str) -> tuple[int, str]:
        out, err = StringIO(), StringIO()
        code = ecs_deploy.main(["-c", "prod", "-d", "report", "-to", "4", *words], out=out, err=err)
        return int(code), out.getvalue() + err.getvalue()

    return run


def arn(revision: int) -> str:
    return f"arn:aws:ecs:{REGION}:{ACCOUNT}:task-definition/report:{revision}"


def parameters(revision: int) -> dict[str, Any]:
    vpc: dict[str, Any] = {"Subnets": ["subnet-1"], "SecurityGroups": ["sg-1"], "AssignPublicIp": "ENABLED"}
    return {
        "TaskDefinitionArn": arn(revision),
        "TaskCount": 2,
        "LaunchType": "FARGATE",
        "PlatformVersion": "LATEST",
        "NetworkConfiguration": {"awsvpcConfiguration": vpc},
        "PropagateTags": "TASK_DEFINITION",
        "EnableExecuteCommand": True,
    }


def make(account: Account) -> None:
    """A rule with five targets of which two run the family, and schedules in two groups."""
    account.events.put_rule(Name="nightly", ScheduleExpression="cron(0 3 * * ? *)", State="DISABLED")
    queue = {"Id": "queue", "Arn": f"arn:aws:sqs:{REGION}:{ACCOUNT}:q", "Input": '{"a": "b"}'}
    function = {"Id": "function", "Arn": f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:f", "InputPath": "$.detail"}
    topic = {"Id": "topic", "Arn": f"arn:aws:sns:{REGION}:{ACCOUNT}:t", "RetryPolicy": {"MaximumRetryAttempts": 1}}
    ours = {"Arn": CLUSTER, "RoleArn": ROLE, "DeadLetterConfig": {"Arn": queue["Arn"]}, "Input": '{"x": 1}'}
    first, second = ({**ours, "Id": f"ecs-{n}", "EcsParameters": parameters(n)} for n in (1, 2))
    account.events.put_targets(Rule="nightly", Targets=[queue, first, function, second, topic])
    account.scheduler.create_schedule_group(Name="reports")
    tomorrow = datetime.now(timezone.utc) + timedelta(days=1)
    for name, group in (("weekly", "default"), ("monthly", "reports"), ("yearly", "reports")):
        account.scheduler.create_schedule(
            Name=name, GroupName=group, ScheduleExpression="cron(0 3 * * ? *)", State="DISABLED",
            ScheduleExpressionTimezone="Asia/Kathmandu", Description=f"{name} reports",
            StartDate=tomorrow, EndDate=tomorrow + timedelta(days=9),
            FlexibleTimeWindow={"Mode": "FLEXIBLE", "MaximumWindowInMinutes": 5},
            Target={
                "Arn": CLUSTER, "RoleArn": ROLE, "EcsParameters": parameters(2), "Input": "{}",
                "DeadLetterConfig": {"Arn": str(queue["Arn"])},
                "RetryPolicy": {"MaximumEventAgeInSeconds": 60, "MaximumRetryAttempts": 0},
            },
        )  # fmt: skip


SCHEDULES = (("weekly", "default"), ("monthly", "reports"), ("yearly", "reports"))


def everything(account: Account) -> str:
    found = [account.targets("nightly"), *(account.schedule(name, group) for name, group in SCHEDULES)]
    return json.dumps(found, default=str, sort_keys=True, indent=1)


def with_revision(text: str, revision: int) -> str:
    for old in (1, 2, 3):
        text = text.replace(f'{arn(old)}"', f'{arn(revision)}"')
    return text


@pytest.mark.parametrize(
    "words",
    [
        ["--schedules"],
        [
            "--schedule",
            "nightly",
            "--schedule=weekly",
            "--schedule=reports/monthly",
            "--schedule=schedule:reports/yearly",
        ],
    ],
    ids=["all", "by name"],
)
def test_all_are_moved_and_nothing_else_changes(
    account: Account, deploy: Callable[..., tuple[int, str]], words: list[str]
) -> None:
    make(account)
    before = everything(account)

    code, said = deploy(*words)

    assert code == Exit.OK, said
    assert everything(account) == with_revision(before, 4)
    assert "~ schedule reports/monthly: report:2 -> 4" in said


def test_one_that_is_refused_takes_the_others_back(
    account: Account, gate: Refusing, deploy: Callable[..., tuple[int, str]]
) -> None:
    make(account)
    before = everything(account)
    gate.words = "PUT /schedules/yearly"

    code, said = deploy("--schedules")

    assert code == Exit.FAILED, said
    assert everything(account) == before
    assert "The schedule reports/yearly could not be moved" in said
    assert "report:4 stays registered." in said


def test_names_that_are_not_there_and_both_kinds(account: Account, deploy: Callable[..., tuple[int, str]]) -> None:
    make(account)
    account.scheduler.create_schedule(
        Name="nightly", ScheduleExpression="rate(1 day)", FlexibleTimeWindow={"Mode": "OFF"},
        Target={"Arn": CLUSTER, "RoleArn": ROLE, "EcsParameters": parameters(2)},
    )  # fmt: skip

    missing, both = deploy("--schedule", "gone"), deploy("--schedule", "nightly")

    assert (missing[0], both[0]) == (Exit.AWS, Exit.USAGE)
    assert "There is neither a rule nor a schedule gone" in missing[1]
    assert "There are both a rule and a schedule nightly\nSay which one is meant" in both[1]
    assert deploy("--schedule", "rule:nightly")[0] == Exit.OK
    assert [t["EcsParameters"]["TaskDefinitionArn"] for t in account.targets("nightly") if "EcsParameters" in t] == [
        arn(4), arn(4),
    ]  # fmt: skip
