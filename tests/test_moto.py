"""`replace-instances` against moto's server, which somebody else wrote: Auto Scaling, EC2 and ECS in its words.

moto launches within SetDesiredCapacity's answer. It neither boots agents nor drains, so while the program sleeps new
instances are registered in the cluster, and the tasks of those that drain are stopped. It describes every instance
with the group's launch configuration and the template's default version of today, so here an instance gets out of
date by its type. It has no instance refreshes: the gate answers that there are none.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from io import BytesIO, StringIO
from threading import Thread
from typing import Any

import boto3
import pytest

import ecs_deploy
from ecs_deploy import Exit
from tests.conftest import BOOTED_S

make_server = pytest.importorskip("werkzeug.serving", reason="moto[server] is not installed").make_server
moto_server = pytest.importorskip("moto.moto_server.werkzeug_app", reason="moto[server] is not installed")
pytestmark = pytest.mark.slow
REGION = "us-east-1"
PROGRAM = "AKIAPROGRAM"
CHANGING = (
    "CreateOrUpdateTags",
    "SetDesiredCapacity",
    "UpdateContainerInstancesState",
    "TerminateInstanceInAutoScalingGroup",
    "DeleteTags",
)
NO_REFRESHES = b"""<DescribeInstanceRefreshesResponse xmlns="http://autoscaling.amazonaws.com/doc/2011-01-01/">
<DescribeInstanceRefreshesResult><InstanceRefreshes/></DescribeInstanceRefreshesResult>
</DescribeInstanceRefreshesResponse>"""


class Gate:
    """moto's application; after `strike` it answers the program's calls no more, as if the program had been killed."""

    def __init__(self) -> None:
        self._moto = moto_server.DomainDispatcherApplication(moto_server.create_backend_app)
        self.open()

    def open(self) -> None:
        self._calls_left, self._carried_out = -1, False

    def strike(self, at: int, *, carried_out: bool) -> None:
        """At the program's changing call number `at`, which may be the last one that is carried out."""
        self._calls_left, self._carried_out = at + 1, carried_out

    @property
    def closed(self) -> bool:
        return self._calls_left == 0

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = BytesIO(body)
        if f"Credential={PROGRAM}/" not in environ.get("HTTP_AUTHORIZATION", ""):
            return self._moto(environ, start_response)
        closed_before = self.closed
        words = f"{environ.get('HTTP_X_AMZ_TARGET', '')} {body.decode()}"
        if self._calls_left > 0 and any(operation in words for operation in CHANGING):
            self._calls_left -= 1
        if not self.closed and "Action=DescribeInstanceRefreshes" in words:
            start_response("200 OK", [("Content-Type", "text/xml")])
            return [NO_REFRESHES]
        if not self.closed:
            return self._moto(environ, start_response)
        if self._carried_out and not closed_before:
            list(self._moto(environ, lambda status, headers, error=None: lambda written: None))
        return self._refuse(environ, start_response)

    def _refuse(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        start_response("400 Bad Request", [("Content-Type", "text/plain")])
        if "HTTP_X_AMZ_TARGET" in environ:
            return [b'{"__type": "ExpiredTokenException", "message": "expired"}']
        return [b"<ErrorResponse><Error><Code>ExpiredToken</Code><Message>expired</Message></Error></ErrorResponse>"]


@pytest.fixture(scope="module")
def gate() -> Gate:
    return Gate()


@pytest.fixture(scope="module")
def address(gate: Gate) -> Iterator[str]:
    os.environ["MOTO_EC2_LOAD_DEFAULT_AMIS"] = "false"  # which takes seconds at every reset
    server = make_server("127.0.0.1", 0, gate, threaded=True, request_handler=moto_server.MotoRequestHandler)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


class Account:
    """One account of moto's, and what happens in it while the program sleeps."""

    def __init__(self, address: str) -> None:
        keys = {"aws_access_key_id": "AKIAMOTO", "aws_secret_access_key": "secret"}
        session = boto3.Session(region_name=REGION, **keys)
        self.scaling, self.ec2, self.ecs = (
            session.client(name, endpoint_url=address) for name in ("autoscaling", "ec2", "ecs")
        )
        self.now_s = BOOTED_S
        self.image = self.ec2.register_image(Name="with-an-agent")["ImageId"]
        self.ecs.create_cluster(clusterName="prod")
        self.agents_start = True
        self.draining: set[str] = set()
        self.template: dict[str, str] = {}

    def now(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        """Agents join and instances drain."""
        assert 0 <= seconds < float("inf")
        self.now_s += seconds
        registered = self.registered()
        for instance_id in self.members():
            if instance_id not in registered and self.agents_start:
                self.register(instance_id)
        for container in registered.values():
            if container["status"] == "DRAINING":
                self.drain(container["containerInstanceArn"])

    def drain(self, container_instance: str) -> None:
        """The tasks stop the second time."""
        if container_instance not in self.draining:
            self.draining.add(container_instance)
            return
        for arn in self.ecs.list_tasks(cluster="prod", containerInstance=container_instance)["taskArns"]:
            self.ecs.stop_task(cluster="prod", task=arn)

    def register(self, instance_id: str) -> None:
        document = json.dumps({"instanceId": instance_id})
        self.ecs.register_container_instance(cluster="prod", instanceIdentityDocument=document)

    def registered(self) -> dict[str, Any]:
        arns = self.ecs.list_container_instances(cluster="prod")["containerInstanceArns"]
        if not arns:
            return {}
        found = self.ecs.describe_container_instances(cluster="prod", containerInstances=arns)["containerInstances"]
        return {container["ec2InstanceId"]: container for container in found}

    def group(self) -> dict[str, Any]:
        found = self.scaling.describe_auto_scaling_groups(AutoScalingGroupNames=["workers"])["AutoScalingGroups"]
        return found[0]  # type: ignore[no-any-return]

    def members(self) -> list[str]:
        return [member["InstanceId"] for member in self.group()["Instances"]]

    def states(self, ids: list[str]) -> list[str]:
        described = self.ec2.describe_instances(InstanceIds=ids)["Reservations"]
        return [instance["State"]["Name"] for reservation in described for instance in reservation["Instances"]]

    def make_group(self, **launch: Any) -> None:
        sizes = {"MinSize": 0, "MaxSize": 6, "DesiredCapacity": 3}
        self.scaling.create_auto_scaling_group(
            AutoScalingGroupName="workers", AvailabilityZones=["us-east-1a"], **sizes, **launch
        )
        self.sleep(0)

    def change_group(self, **launch: Any) -> None:
        self.scaling.update_auto_scaling_group(AutoScalingGroupName="workers", **launch)

    def launch_policy(self, type_: str) -> dict[str, Any]:
        """A policy that launches instances of that type, by the default version of the group's template."""
        settings = {"ImageId": self.image, "InstanceType": type_}
        if not self.template:
            made = self.ec2.create_launch_template(LaunchTemplateName="workers", LaunchTemplateData=settings)
            self.template = {"LaunchTemplateId": made["LaunchTemplate"]["LaunchTemplateId"]}
        else:
            made = self.ec2.create_launch_template_version(**self.template, LaunchTemplateData=settings)
            version = str(made["LaunchTemplateVersion"]["VersionNumber"])
            self.ec2.modify_launch_template(**self.template, DefaultVersion=version)
        specification = {**self.template, "Version": "$Default"}
        policy = {"LaunchTemplateSpecification": specification, "Overrides": [{"InstanceType": type_}]}
        return {"MixedInstancesPolicy": {"LaunchTemplate": policy}}

    def start_task(self, instance_id: str) -> None:
        """A task of somebody's on that instance."""
        container = {"name": "job", "image": "job:1", "memory": 64, "cpu": 10, "essential": True}
        self.ecs.register_task_definition(family="job", containerDefinitions=[container])
        arn = self.registered()[instance_id]["containerInstanceArn"]
        self.ecs.start_task(cluster="prod", taskDefinition="job", containerInstances=[arn], group="family:job")


@pytest.fixture
def account(address: str, monkeypatch: pytest.MonkeyPatch) -> Account:
    import urllib.request

    urllib.request.urlopen(urllib.request.Request(f"{address}/moto-api/reset", method="POST"))
    settings = {"AWS_ENDPOINT_URL": address, "AWS_DEFAULT_REGION": REGION, "AWS_EC2_METADATA_DISABLED": "true"}
    for name, value in {**settings, "AWS_ACCESS_KEY_ID": PROGRAM, "AWS_SECRET_ACCESS_KEY": "secret"}.items():
        monkeypatch.setenv(name, value)
    return Account(address)


def replace(account: Account, *more: str) -> tuple[int, list[str], str]:
    out, err = StringIO(), StringIO()
    argv = ["replace-instances", "-c", "prod", "--asg", "workers", *more]
    code = ecs_deploy.main(argv, env=os.environ, out=out, err=err, clock=account)
    return code, out.getvalue().splitlines(), err.getvalue()


def furnish(account: Account) -> list[str]:
    """A group of three instances that are out of date; their ids."""
    account.make_group(**account.launch_policy("t3.large"))
    old = account.members()
    account.change_group(**account.launch_policy("m5.large"))
    return old


def assert_replaced(account: Account, old: list[str]) -> None:
    group = account.group()
    assert account.states(old) == ["terminated"] * 3
    assert len(account.members()) == group["DesiredCapacity"] == 3
    assert set(account.members()).isdisjoint(old)
    assert set(account.members()) <= set(account.registered())
    assert group["Tags"] == []


@pytest.mark.parametrize("batch", ["1", "2", "100%"])
def test_replaces_every_instance(account: Account, batch: str) -> None:
    old = furnish(account)

    code, lines, errors = replace(account, "--batch", batch)

    assert code == Exit.OK, errors
    assert lines[-1] == "Instances replaced in workers: 3"
    assert_replaced(account, old)
    assert replace(account)[:2] == (Exit.OK, ["Nothing to replace in workers."])


def test_a_dry_run_names_the_reasons_and_changes_nothing(account: Account) -> None:
    old = furnish(account)

    code, lines, _ = replace(account, "--dry-run")

    assert code == Exit.OK
    assert lines[:3] == [f"{instance} is out of date: instance type t3.large, not m5.large" for instance in old]
    assert account.members() == old


def test_waits_for_the_tasks_of_an_instance_that_drains(account: Account) -> None:
    old = furnish(account)
    account.start_task(old[0])

    code, _, errors = replace(account)

    assert code == Exit.OK, errors
    assert f"{old[0]} is DRAINING, tasks left: 1 × family:job" in errors
    assert_replaced(account, old)


def test_an_instance_whose_replacement_never_joins(account: Account) -> None:
    old = furnish(account)
    account.agents_start = False

    code, _, errors = replace(account, "-t", "60")

    assert code == Exit.TIMED_OUT
    assert "not ACTIVE in the cluster" in errors
    assert "workers is left with a desired capacity of 4, 3 before." in errors
    assert set(old) < set(account.members())
    assert [tag["Value"] for tag in account.group()["Tags"]] == ["capacity=3 by= beats=0"]

    account.agents_start = True
    account.sleep(0)
    assert replace(account)[0] == Exit.OK
    assert_replaced(account, old)


@pytest.mark.parametrize(
    ("at", "carried_out"),
    [
        (2, True),
        (3, False),
        *(pytest.param(at, done, marks=pytest.mark.long) for at in (0, 1, 4, 5) for done in (False, True)),
    ],
)
def test_killed_at_a_call_and_started_again(account: Account, gate: Gate, at: int, carried_out: bool) -> None:
    old = furnish(account)
    account.start_task(old[0])
    gate.strike(at, carried_out=carried_out)
    assert replace(account, "--batch", "3")[0] == Exit.AWS
    assert gate.closed
    gate.open()

    code, _, errors = replace(account, "--batch", "3", "--take-over")

    assert code == Exit.OK, errors
    assert_replaced(account, old)


def test_a_group_that_does_not_exist(account: Account) -> None:
    furnish(account)
    out, err = StringIO(), StringIO()

    code = ecs_deploy.main(["replace-instances", "-c", "prod", "--asg", "worker"], env=os.environ, out=out, err=err)

    assert code == Exit.AWS
    assert (
        "The Auto Scaling group worker was not found in us-east-1\nThe Auto Scaling groups: workers" in err.getvalue()
    )
