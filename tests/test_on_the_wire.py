"""On the wire: who signs, for which region, how often it is tried and how far it is paged, as AWS sees it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import botocore.session
import pytest

import ecs_deploy
from ecs_deploy import Exit
from tests.conftest import Cli
from tests.simulator import AwsError, Fault, Simulator
from tests.vocabulary import DEPLOY, Json

ROLE = ("-a", "arn:aws:iam::123456789012:role/deployer")
REPLACE = ("replace-instances", "--cluster", "prod", "--asg", "workers")
NO_KEYS = {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}
NO_REGION: dict[str, str | None] = {"AWS_DEFAULT_REGION": None}
Outcome = Fault | AwsError | None


@pytest.fixture
def web(sim: Simulator) -> Simulator:
    """A service of one task."""
    sim.service("prod", "web", image="app:1")
    return sim


@pytest.fixture
def profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Write the profile `ci` of the AWS configuration file."""

    def write(**settings: str) -> None:
        keys = {"aws_access_key_id": "AKIAPROFILE", "aws_secret_access_key": "x"}
        lines = [f"{name} = {value}" for name, value in {**keys, **settings}.items()]
        (tmp_path / "config").write_text("\n".join(["[profile ci]", *lines, ""]))
        monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))

    return write


def always(operation: str, outcome: Outcome = Fault.SERVER_ERROR) -> Callable[[int, str, Json], Outcome]:
    """An `on_call` that answers every call of the operation so."""
    return lambda index, called, params: outcome if called == operation else None


# --- Who signs, and for where


@pytest.mark.parametrize("role", [(), ROLE], ids=["own keys", "a role"])
@pytest.mark.parametrize(
    ("options", "environment"),
    [
        pytest.param(("-r", "eu-west-3"), {"AWS_REGION": "eu-west-1"}, id="the option before the environment"),
        pytest.param(("-r", "eu-west-3", "-p", "ci"), NO_REGION, id="the option before the profile"),
        pytest.param((), {"AWS_REGION": "eu-west-3"}, id="AWS_REGION before AWS_DEFAULT_REGION"),
        pytest.param((), {"AWS_DEFAULT_REGION": "eu-west-3"}, id="AWS_DEFAULT_REGION"),
        pytest.param(("-p", "ci"), {"AWS_DEFAULT_REGION": "eu-west-3"}, id="the environment before the profile"),
    ],
)
def test_every_call_is_signed_for_the_region(
    web: Simulator,
    cli: Cli,
    profile: Callable[..., None],
    options: tuple[str, ...],
    environment: dict[str, str | None],
    role: tuple[str, ...],
) -> None:
    profile(region="ap-south-1")

    result = cli(*DEPLOY, *options, *role, env=environment)

    assert result.code == Exit.OK
    assert {sender.service for sender in web.senders} == ({"sts", "ecs"} if role else {"ecs"})
    assert {sender.region for sender in web.senders} == {"eu-west-3"}


@pytest.mark.parametrize("role", [(), ROLE], ids=["own keys", "a role"])
def test_a_profiles_region_is_used_where_no_other_is_named(
    web: Simulator, cli: Cli, profile: Callable[..., None], role: tuple[str, ...]
) -> None:
    profile(region="ap-south-1")

    result = cli(*DEPLOY, "-p", "ci", *role, env={**NO_REGION, **NO_KEYS})

    assert result.code == Exit.OK
    assert {sender.region for sender in web.senders} == {"ap-south-1"}


@pytest.mark.parametrize(("region", "signed"), [("eu-west-3", "eu-west-3"), ("", "us-east-1")], ids=["named", "ours"])
def test_a_log_is_read_in_its_own_region(sim: Simulator, cli: Cli, region: str, signed: str) -> None:
    options = {"awslogs-group": "/ecs/web", "awslogs-region": region, "awslogs-stream-prefix": "ecs"}
    logs = {"logDriver": "awslogs", "options": options}
    sim.service("prod", "web", containers=[{"name": "web", "image": "app:1", "memory": 64, "logConfiguration": logs}])
    sim.image("app:2").crashes(after_s=2).logs(["no such file"])

    result = cli(*DEPLOY, "--fail-fast", "1")

    assert result.code == Exit.FAILED
    assert "  | no such file" in result.err.splitlines()
    assert {(sender.service, sender.region) for sender in sim.senders} == {("ecs", "us-east-1"), ("logs", signed)}


def test_the_log_of_a_task_that_is_waited_for_is_read_in_its_own_region(sim: Simulator, cli: Cli) -> None:
    options = {"awslogs-group": "/ecs/job", "awslogs-region": "eu-west-3", "awslogs-stream-prefix": "ecs"}
    logs = {"logDriver": "awslogs", "options": options}
    sim.cluster("prod")
    sim.task_definition("job", containers=[{"name": "job", "image": "app:1", "memory": 64, "logConfiguration": logs}])
    sim.image("app:2").crashes(after_s=2, exit_code=0).logs(["all done"])

    result = cli("-c", "prod", "-d", "job", "-i", "app:2", "--run-task", "--wait-for-success")

    assert result.code == Exit.OK
    assert "all done" in result.out + result.err
    assert {sender.region for sender in sim.senders if sender.service == "logs"} == {"eu-west-3"}


def test_the_keys_that_are_given_go_without_the_session_token_of_others(web: Simulator, cli: Cli) -> None:
    result = cli(*DEPLOY, "-k", "AKIAGIVEN", "-s", "x", env={"AWS_SESSION_TOKEN": "of-others"})

    assert result.code == Exit.OK
    assert {(sender.access_key, sender.session_token) for sender in web.senders} == {("AKIAGIVEN", "")}


def test_a_session_token_goes_with_its_keys(web: Simulator, cli: Cli) -> None:
    result = cli(*DEPLOY, env={"AWS_SESSION_TOKEN": "ours"})

    assert result.code == Exit.OK
    assert {(sender.access_key, sender.session_token) for sender in web.senders} == {("AKIASIMULATED", "ours")}


def test_with_a_role_every_service_gets_its_keys_and_its_token(sim: Simulator, cli: Cli) -> None:
    outdated_group(sim, desired=1)

    result = cli(*REPLACE, *ROLE)

    assert result.code == Exit.OK
    asked, *others = sim.senders
    assert (asked.service, asked.access_key, asked.session_token) == ("sts", "AKIASIMULATED", "")
    assert {sender.service for sender in others} == {"ecs", "ec2", "autoscaling"}
    ((key, token),) = {(sender.access_key, sender.session_token) for sender in others}
    assert key.startswith("ASIA")
    assert token.startswith("arn:aws:sts::123456789012:assumed-role/deployer/ecs-deploy/")


@pytest.mark.parametrize("role", [(), ROLE], ids=["own keys", "a role"])
def test_every_service_is_told_which_program_asks(sim: Simulator, cli: Cli, role: tuple[str, ...]) -> None:
    outdated_group(sim, desired=1)

    result = cli(*REPLACE, *role)

    ours = f"ecs-deploy/{ecs_deploy.__version__}"
    assert result.code == Exit.OK
    assert {s.service for s in sim.senders if ours in s.user_agent.split()} == {"ecs", "ec2", "autoscaling"}


# --- How often it is tried


@pytest.mark.parametrize("role", [(), ROLE], ids=["own keys", "a role"])
@pytest.mark.parametrize(
    ("attempts", "environment", "settings"),
    [
        pytest.param(1, {"AWS_MAX_ATTEMPTS": "1"}, {}, id="once"),
        pytest.param(3, {"AWS_MAX_ATTEMPTS": "3"}, {}, id="the environment"),
        pytest.param(7, {"AWS_MAX_ATTEMPTS": "7"}, {}, id="more than usual"),
        pytest.param(3, {}, {"max_attempts": "3"}, id="the profile"),
        pytest.param(3, {"AWS_MAX_ATTEMPTS": "3"}, {"max_attempts": "9"}, id="the environment before the profile"),
        pytest.param(5, {}, {}, id="neither"),
    ],
)
def test_what_may_pass_is_tried_as_often_as_the_settings_say(
    web: Simulator,
    cli: Cli,
    profile: Callable[..., None],
    attempts: int,
    environment: dict[str, str | None],
    settings: dict[str, str],
    role: tuple[str, ...],
) -> None:
    profile(**settings)
    web.world.on_call = always("DescribeServices")

    result = cli(*DEPLOY, "-p", "ci", *role, env={**NO_KEYS, **environment})

    assert result.code == Exit.AWS
    assert [sender.service for sender in web.senders].count("ecs") == attempts


@pytest.mark.parametrize(
    "operation", ["DescribeAutoScalingGroups", "DescribeLaunchTemplates", "ListContainerInstances"]
)
def test_every_service_is_tried_as_often(sim: Simulator, cli: Cli, operation: str) -> None:
    outdated_group(sim, desired=1)
    sim.world.on_call = always(operation)

    result = cli(*REPLACE, env={"AWS_MAX_ATTEMPTS": "3"})

    assert result.code == Exit.AWS
    assert result.operations.count(operation) == 3


@pytest.mark.parametrize(("mode", "adaptive"), [("adaptive", True), ("standard", False), ("legacy", False)])
@pytest.mark.parametrize("by_profile", [True, False], ids=["the profile", "the environment"])
def test_an_adaptive_retry_mode_is_kept(
    web: Simulator, cli: Cli, profile: Callable[..., None], mode: str, adaptive: bool, by_profile: bool
) -> None:
    profile(**({"retry_mode": mode} if by_profile else {}))
    environment = {} if by_profile else {"AWS_RETRY_MODE": mode}

    result = cli(*DEPLOY, "-p", "ci", env={**NO_KEYS, **environment})

    assert result.code == Exit.OK
    assert {"cfg/retry-mode#adaptive" in sender.user_agent for sender in web.senders} == {adaptive}


def test_what_is_only_looked_up_before_a_deployment_is_not_waited_for_as_long(
    sim: Simulator, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Connecting, and reading each part of an answer; botocore's own 60 s would hide that nothing is to be reached."""
    waits_s: dict[str, tuple[float, float]] = {}
    create_client = botocore.session.Session.create_client

    def created(session: Any, service: str, **named: Any) -> Any:
        waits_s[service] = named["config"].connect_timeout, named["config"].read_timeout
        assert named["config"].tcp_keepalive, "a firewall may forget a connection over which nobody speaks"
        return create_client(session, service, **named)

    monkeypatch.setattr(botocore.session.Session, "create_client", created)
    image = "123456789012.dkr.ecr.us-east-1.amazonaws.com/app"
    sim.registries.repository("app").push("2")
    sim.service("prod", "web", f"{image}:1")

    assert cli("-c", "prod", "-n", "web", "-i", f"{image}:2").code == Exit.OK
    assert waits_s == {"ecs": (10, 30), "ecr": (3, 5)}


# --- How far it is paged


def test_the_services_of_a_cluster_are_listed_to_the_end(sim: Simulator, cli: Cli) -> None:
    for number in range(5):
        sim.service("prod", f"web-{number}")

    result = cli(*DEPLOY)

    assert result.code == Exit.AWS
    assert "The services of the cluster: web-0, web-1, web-2, web-3, web-4" in result.err.splitlines()


def test_the_groups_of_a_region_are_listed_to_the_end(sim: Simulator, cli: Cli) -> None:
    for number in range(5):
        sim.instances.group(f"group-{number}", "prod", desired=0)

    result = cli(*REPLACE)

    assert result.code == Exit.AWS
    assert "The Auto Scaling groups: group-0, group-1, group-2, group-3, group-4" in result.err.splitlines()


def test_stopped_tasks_are_listed_to_the_end(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1", desired_count=5)
    sim.image("app:2").crashes(after_s=2, exit_code=3)

    result = cli(*DEPLOY, "--fail-fast", "5", "--output", "json")

    assert result.code == Exit.FAILED
    assert [failed["count"] for failed in json.loads(result.out)["failed_tasks"]] == [5]


def test_of_all_service_deployments_ours_is_the_youngest(sim: Simulator, cli: Cli) -> None:
    """Where the service does not name its current one, it is found among five."""
    strategy = {"strategy": "BLUE_GREEN", "bakeTimeInMinutes": 0}
    sim.service("prod", "web", image="app:0", deploymentConfiguration=strategy, currentServiceDeployment="")
    for number in range(4):
        sim.someone_deploys("prod", "web", f"app:old-{number}")
        sim.advance(120)

    result = cli(*DEPLOY)

    described = result.requests("DescribeServiceDeployments")
    assert result.code == Exit.OK
    assert sim.running("prod", "web") == {"app:2": 1}
    assert {arn for request in described for arn in request["serviceDeploymentArns"]} == {
        sim.services["prod", "web"].releases[0].arn
    }


def test_the_launch_templates_of_a_group_are_read_to_the_end(sim: Simulator, cli: Cli) -> None:
    """Three types, each from a template of its own; only the third has a new version."""
    names = {"t3.large": "first", "m5.large": "second", "c5.large": "third"}
    overrides = [
        {"InstanceType": type_, "LaunchTemplateSpecification": sim.instances.template(name)}
        for type_, name in names.items()
    ]
    policy = {"LaunchTemplateSpecification": sim.instances.template("first"), "Overrides": overrides}
    group = sim.instances.group("workers", "prod", {"MixedInstancesPolicy": {"LaunchTemplate": policy}})
    third = group.members[2]
    sim.instances.new_version("third")

    result = cli(*REPLACE, "--dry-run")

    assert result.code == Exit.OK
    assert [line for line in result.lines if "is out of date" in line] == [
        f"{third.id} is out of date: launch template third version 1, not launch template third version 2"
    ]


def test_the_instances_of_a_group_are_read_to_the_end(sim: Simulator, cli: Cli) -> None:
    old = outdated_group(sim, desired=5)

    result = cli(*REPLACE, "--batch", "5")

    assert result.code == Exit.OK
    ended = [request["InstanceId"] for request in result.requests("TerminateInstanceInAutoScalingGroup")]
    assert sorted(ended) == sorted(instance.id for instance in old)


def outdated_group(sim: Simulator, *, desired: int) -> list[Any]:
    """The instances of a group whose template has a newer version than theirs."""
    group = sim.instances.group("workers", "prod", desired=desired)
    old: list[Any] = group.members
    sim.instances.new_version("workers")
    return old
