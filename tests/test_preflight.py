"""What is known to fail is said before anything is changed; what cannot be told is no error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ecs_deploy import platforms_for
from tests.conftest import Cli, Result
from tests.simulator import AwsError, Fault, Simulator
from tests.simulator.registries import INDEX
from tests.test_readme import block
from tests.vocabulary import WEB, Json, last_paragraph

ECR = "123456789012.dkr.ecr.us-east-1.amazonaws.com/shop/web"
MULTI = ("linux/amd64", "linux/arm64", "unknown/unknown")
DONE = ["RegisterTaskDefinition", "UpdateService"]


@pytest.fixture
def shop(sim: Simulator) -> Simulator:
    """A service whose image is in ECR."""
    sim.registries.repository("shop/web").push("1")
    sim.service("prod", "web", image=f"{ECR}:1")
    return sim


def looked_up(result: Result) -> list[str]:
    """The names of the calls that were made to look something up elsewhere than in ECS."""
    return [call.operation for call in result.calls if call.service in ("ecr", "ssm", "secretsmanager")]


# --- Images


@pytest.mark.parametrize("more", [(), ("--dry-run",)], ids=["run", "dry run"])
def test_a_tag_that_was_never_pushed_is_said_at_once(shop: Simulator, cli: Cli, more: Any) -> None:
    for tag in ("2024-01-16", "2024-01-04", "2024-01-05", "2024-01-07", "unlike"):
        shop.registries.repository("shop/web").push(tag)

    result = cli(*WEB, "-i", f"{ECR}:2024-01-06", *more)

    assert result.code == 13
    assert last_paragraph(result) == [
        "ERROR: Nothing was changed:",
        f"  The image {ECR}:2024-01-06 is not in ECR",
        "Like it in shop/web: 2024-01-16, 2024-01-07, 2024-01-05",
    ]
    assert result.changes == []
    assert shop.world.now_s == 0


def test_where_no_tag_is_like_it_the_newest_are_named(shop: Simulator, cli: Cli) -> None:
    for number in range(8):
        shop.registries.repository("shop/web").push(f"release-{number}")

    result = cli(*WEB, "-i", f"{ECR}:zzz")

    assert result.code == 13
    newest = "release-7, release-6, release-5, release-4, release-3"
    assert result.err.endswith(f"Newest in shop/web: {newest}\n")


def test_of_a_repository_without_a_tag_none_is_named(sim: Simulator, cli: Cli) -> None:
    sim.registries.repository("shop/web")
    sim.service("prod", "web", image=f"{ECR}:1")

    result = cli(*WEB, "-i", f"{ECR}:2")

    assert result.code == 13
    assert last_paragraph(result) == ["ERROR: Nothing was changed:", f"  The image {ECR}:2 is not in ECR"]


def test_a_repository_that_does_not_exist_is_said(shop: Simulator, cli: Cli) -> None:
    shop.registries.repositories.clear()

    result = cli(*WEB, "-i", f"{ECR}:2", "--dry-run")

    said = f"  The image {ECR}:2 is not in ECR, nor is its repository"
    assert result.code == 13
    assert last_paragraph(result) == ["ERROR: Nothing was changed:", said]
    assert looked_up(result) == ["BatchGetImage", "DescribePullThroughCacheRules"]
    assert "Not looked up" not in result.err
    assert result.changes == []


@pytest.mark.parametrize(
    ("host", "account", "region"),
    [
        ("111111111111.dkr.ecr.eu-west-1.amazonaws.com", "111111111111", "eu-west-1"),
        ("123456789012.dkr-ecr.us-east-1.on.aws", "123456789012", "us-east-1"),
        ("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn", "123456789012", "cn-north-1"),
        ("123456789012.dkr-ecr.cn-north-1.on.amazonwebservices.com.cn", "123456789012", "cn-north-1"),
        ("123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com", "123456789012", "us-gov-west-1"),
        ("123456789012.dkr.ecr.us-iso-east-1.c2s.ic.gov", "123456789012", "us-iso-east-1"),
        ("123456789012.dkr.ecr.eusc-de-east-1.amazonaws.eu", "123456789012", "eusc-de-east-1"),
    ],
)
def test_an_image_is_looked_up_in_its_own_account_and_region(
    sim: Simulator, cli: Cli, host: str, account: str, region: str
) -> None:
    sim.service("prod", "web", image=f"{host}/web:1")
    sim.registries.repository("web", account=account, region=region).push("2")

    good, bad = cli(*WEB, "-i", f"{host}/web:2"), cli(*WEB, "-i", f"{host}/web:3")

    assert (good.code, bad.code) == (0, 13)
    assert good.requests("BatchGetImage")[0]["registryId"] == account


@pytest.mark.parametrize(
    "host", ["docker.io", "public.ecr.aws", "123456789012.dkr.ecr.us-east-1.example.com", "ecr.example.com:5000", "12"]
)
def test_an_image_elsewhere_is_not_looked_up(sim: Simulator, cli: Cli, host: str) -> None:
    sim.service("prod", "web", image=f"{host}/shop/web:1")

    result = cli(*WEB, "-i", f"{host}/shop/web:2")

    assert result.code == 0
    assert looked_up(result) == []


def test_a_pull_goes_by_the_digest_wherever_the_tag_has_gone(shop: Simulator, cli: Cli) -> None:
    repository = shop.registries.repository("shop/web")
    older = repository.push("2")
    repository.push("2")

    assert cli(*WEB, "-i", f"{ECR}:2@{older}").code == 0
    assert cli(*WEB, "-i", f"{ECR}@{older}").code == 0
    assert cli(*WEB, "-i", f"{ECR}:2@sha256:{'9' * 64}").code == 13


def test_one_call_for_each_repository_and_none_for_what_stays(sim: Simulator, cli: Cli) -> None:
    names = {"a": "shop/web", "b": "shop/web", "c": "shop/job", "d": "shop/other"}
    for name in set(names.values()):
        sim.registries.repository(name).push("2")
    host = ECR.partition("/")[0]
    containers = [{"name": c, "image": f"{host}/{name}:1", "memory": 64} for c, name in names.items()]
    sim.service("prod", "web", containers=containers)

    result = cli(*WEB, "-to", "2", "--container", "a", "--container", "b", "--container", "c")

    assert result.code == 0
    assert [request["repositoryName"] for request in result.requests("BatchGetImage")] == ["shop/web", "shop/job"]


def test_nothing_is_looked_up_where_nothing_is_put_in(shop: Simulator, cli: Cli) -> None:
    assert looked_up(cli(*WEB, "--force-new-deployment")) == []
    assert looked_up(cli(*WEB, "--container-envvar", "web=A=1")) == []


@pytest.mark.parametrize(
    ("runtime", "platforms", "code"),
    [
        pytest.param(None, MULTI, 0, id="several, the default is one of them"),
        pytest.param({"cpuArchitecture": "ARM64"}, MULTI, 0, id="several, one fits"),
        pytest.param(None, ("linux/arm64", "unknown/unknown"), 13, id="the default is X86_64"),
        pytest.param({"cpuArchitecture": "ARM64"}, ("linux/amd64",), 13, id="ARM64 is not there"),
        pytest.param({"operatingSystemFamily": "WINDOWS_SERVER_2022_CORE"}, MULTI, 13, id="Linux is not Windows"),
        pytest.param(
            {"operatingSystemFamily": "WINDOWS_SERVER_2022_CORE"}, ("windows/amd64",), 0, id="Windows is Windows"
        ),
        pytest.param(None, ("linux/386",), 0, id="X86_64 runs what is for 386"),
        pytest.param(None, ("linux/arm64", ""), 0, id="one entry does not tell"),
        pytest.param({"cpuArchitecture": "ARM64"}, (), 0, id="a single manifest does not tell"),
    ],
)
def test_an_index_must_have_the_platform(
    sim: Simulator, cli: Cli, runtime: Json | None, platforms: tuple[str, ...], code: int
) -> None:
    container = {"name": "web", "image": f"{ECR}:1", "memory": 64}
    members = {"runtimePlatform": runtime} if runtime else {}
    sim.service("prod", "web", task_definition={"containerDefinitions": [container], **members})
    sim.registries.repository("shop/web").push("2", platforms=platforms)

    result = cli(*WEB, "-i", f"{ECR}:2")

    assert result.code == code
    assert (f"The image {ECR}:2 is for " in result.err) == bool(code)
    assert bool(result.changes) != bool(code)


def test_an_architecture_that_nobody_foresaw_tells_nothing() -> None:
    assert platforms_for({"runtimePlatform": {"cpuArchitecture": "RISCV"}}) == []


@pytest.mark.parametrize("listed", ["3", "[3]", '["linux/amd64"]', '[{"platform": 3}]'])
def test_an_index_that_nobody_can_read_tells_nothing(shop: Simulator, cli: Cli, listed: str) -> None:
    repository = shop.registries.repository("shop/web")
    digest = repository.push("2", platforms=("linux/arm64",))
    repository.manifests[digest] = f'{{"mediaType": "{INDEX}", "manifests": {listed}}}'

    assert cli(*WEB, "-i", f"{ECR}:2").code == 0


@pytest.mark.parametrize(("architecture", "code"), [("", 0), ("X86_64", 13)], ids=["none is named", "one is named"])
def test_what_the_image_before_is_for_is_right_where_no_platform_is_named(
    sim: Simulator, cli: Cli, architecture: str, code: int
) -> None:
    repository = sim.registries.repository("shop/web")
    repository.push("1", platforms=("linux/arm64",))
    repository.push("2", platforms=("linux/arm64", "linux/arm"))
    runtime = {"runtimePlatform": {"cpuArchitecture": architecture}} if architecture else {}
    container = {"name": "web", "image": f"{ECR}:1", "memory": 64}
    sim.service("prod", "web", task_definition={"containerDefinitions": [container], **runtime})

    result = cli(*WEB, "-i", f"{ECR}:2")

    said = f"  The image {ECR}:2 is for linux/arm, linux/arm64, not for linux/amd64"
    advice = "Build it for that platform, or change runtimePlatform."
    assert result.code == code
    assert (last_paragraph(result)[1:] == [said, advice]) == bool(code)


@pytest.mark.parametrize(("prefix", "code"), [("shop", 0), ("ROOT", 0), ("sho", 13), ("shop/web", 13)])
@pytest.mark.parametrize("repository", [True, False])
def test_what_a_pull_through_cache_may_fetch_is_not_refused(
    sim: Simulator, cli: Cli, prefix: str, code: int, repository: bool
) -> None:
    if repository:
        sim.registries.repository("shop/web")
    sim.registries.cache_prefixes = ["other", prefix]
    sim.service("prod", "web", image=f"{ECR}:1")

    dry = cli(*WEB, "-i", f"{ECR}:2", "--dry-run")

    said = f"The image {ECR}:2 is not there; a pull-through cache may fetch it"
    assert (dry.code, said in dry.err.splitlines()) == (code, not code)
    assert cli(*WEB, "-i", f"{ECR}:2").code == code


# --- What cannot be told


@pytest.mark.parametrize(
    "code", ["UpstreamUnavailable", "UpstreamTooManyRequests", "UpstreamAccessDenied", "KmsError", "ImageInaccessible"]
)
def test_a_failure_that_is_not_an_absence_is_no_error(shop: Simulator, cli: Cli, code: str) -> None:
    shop.registries.failure_code = code

    assert cli(*WEB, "-i", f"{ECR}:2").code == 0


@pytest.mark.parametrize(
    "outcome",
    [Fault.THROTTLED, Fault.SERVER_ERROR, Fault.DROP_BEFORE, AwsError("NobodyForesawThis", "?")],
    ids=["throttled", "5xx", "not reached", "unforeseen"],
)
def test_an_answer_that_does_not_come_is_no_error_and_not_waited_for(
    shop: Simulator, cli: Cli, outcome: Fault | AwsError
) -> None:
    arn = shop.registries.secret("key").replace(":key-", ":missing-")
    secrets = ["--container-secret", "web=A=missing", "--container-secret", f"web=B={arn}"]
    theirs = ("BatchGetImage", "GetParameters", "DescribeSecret")
    shop.world.on_call = lambda index, operation, params: outcome if operation in theirs else None

    result = cli(*WEB, "-i", f"{ECR}:2", *secrets)

    assert result.code == 0
    assert sorted(looked_up(result)) == sorted(theirs)
    assert "Not looked up" not in result.err


def test_what_is_denied_in_one_repository_is_looked_up_in_another(sim: Simulator, cli: Cli) -> None:
    host = ECR.partition("/")[0]
    sim.registries.repository("open").push("1")
    containers = [{"name": name, "image": f"{host}/{name}:1", "memory": 64} for name in ("closed", "open")]
    sim.service("prod", "web", containers=containers)
    sim.on_call = lambda index, operation, params: (
        AwsError("AccessDeniedException", "no") if params.get("repositoryName") == "closed" else None
    )

    result = cli(*WEB, "-to", "2", "--dry-run")

    assert result.code == 13
    assert "Not looked up: AWS denied BatchGetImage: no" in result.err.splitlines()
    assert f"  The image {host}/open:2 is not in ECR" in last_paragraph(result)


def test_a_service_that_was_not_reached_is_not_asked_again(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")
    arns = [sim.registries.secret(name) for name in ("one", "two", "three")]
    given = [word for n, arn in enumerate(arns) for word in ("--container-secret", f"web=S{n}={arn}")]
    sim.world.on_call = lambda index, operation, params: Fault.DROP_BEFORE if operation == "DescribeSecret" else None

    result = cli(*WEB, *given)

    assert result.code == 0
    assert looked_up(result) == ["DescribeSecret"]


@pytest.mark.parametrize(
    "action",
    [
        "ecr:BatchGetImage",
        "ecr:DescribePullThroughCacheRules",
        "ssm:GetParameters",
        "secretsmanager:DescribeSecret",
        "ecr:DescribeImages",
    ],
)
def test_each_permission_that_is_missing_leaves_its_check_out(shop: Simulator, cli: Cli, action: str) -> None:
    arn = shop.registries.secret("key").replace(":key-", ":missing-")
    what = {
        "ssm:GetParameters": ("--container-secret", "web=KEY=missing"),
        "secretsmanager:DescribeSecret": ("--container-secret", f"web=KEY={arn}"),
    }.get(action, ("-i", f"{ECR}:2"))
    shop.deny(action)

    result = cli(*WEB, *what, "-v")

    assert result.code == (13 if action == "ecr:DescribeImages" else 0)
    assert f"Not looked up: AWS denied {action.partition(':')[2]}" in result.err
    assert "Not looked up" not in cli(*WEB, "-i", f"{ECR}:2", "--no-preflight").err


def test_no_preflight_looks_nothing_up(shop: Simulator, cli: Cli) -> None:
    result = cli(*WEB, "-i", f"{ECR}:missing", "--no-preflight", "--container-secret", "web=KEY=missing")

    assert result.code == 0
    assert looked_up(result) == []


# --- Secrets


def test_secrets_are_looked_up_where_they_are(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")
    sim.registries.parameter("plain")
    sim.registries.parameter("/path/to/it", region="eu-west-1")
    arn = sim.registries.secret("database", region="eu-west-1")
    away = "arn:aws:ssm:eu-west-1:123456789012:parameter/path/to/it"
    wanted = {"A": "plain", "B": away, "C": f"{arn}:password::", "D": arn}
    given = [word for name, value in wanted.items() for word in ("--container-secret", f"web={name}={value}")]

    result = cli(*WEB, *given)

    assert result.code == 0
    assert looked_up(result) == ["DescribeSecret", "DescribeSecret", "GetParameters", "GetParameters"]
    assert all(not request.get("WithDecryption") for request in result.requests("GetParameters"))


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("missing", "no parameter of that name is in us-east-1"),
        (
            "arn:aws:ssm:eu-west-1:123456789012:parameter/plain",
            "there is no arn:aws:ssm:eu-west-1:123456789012:parameter/plain",
        ),
        (
            "arn:aws:secretsmanager:us-east-1:123456789012:secret:missing-AbCdEf:key::",
            "there is no arn:aws:secretsmanager:us-east-1:123456789012:secret:missing-AbCdEf",
        ),
    ],
)
@pytest.mark.parametrize("more", [(), ("--dry-run",)], ids=["run", "dry run"])
def test_a_secret_that_does_not_exist_is_said(
    sim: Simulator, cli: Cli, value: str, said: str, more: tuple[str, ...]
) -> None:
    sim.service("prod", "web", image="app:1")
    sim.registries.parameter("plain")

    result = cli(*WEB, "--container-secret", f"web=KEY={value}", *more)

    assert result.code == 15
    missing = f"  The secret KEY of container web does not exist: {said}"
    assert last_paragraph(result) == ["ERROR: Nothing was changed:", missing]
    assert result.changes == []


def test_problems_with_and_without_a_hint_are_listed_without_a_gap(shop: Simulator, cli: Cli) -> None:
    result = cli(*WEB, "--container-secret", "web=KEY=missing", "-i", f"{ECR}:2")

    assert result.code == 15
    assert result.err.partition("ERROR: ")[2].splitlines()[-1] == "Newest in shop/web: 1"
    assert "" not in result.err.splitlines()


@pytest.mark.parametrize("reference", ["/aws/reference/secretsmanager/it", "arn:aws:s3:::bucket/it", "arn:it"])
def test_a_place_that_nobody_foresaw_is_not_looked_up(sim: Simulator, cli: Cli, reference: str) -> None:
    sim.service("prod", "web", image="app:1")

    result = cli(*WEB, "--container-secret", f"web=KEY={reference}")

    assert result.code == 0
    assert looked_up(result) == []


def test_a_name_that_may_be_the_secret_itself_is_not_printed(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")

    result = cli(*WEB, "--container-secret", "web=KEY=hunter2-by-mistake", "-v")

    assert result.code == 15
    assert "hunter2" not in result.out + result.err


def test_a_secret_that_is_marked_for_deletion_is_no_error(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")
    arn = sim.registries.secret("database")
    sim.registries.leaving.add(arn)

    assert cli(*WEB, "--container-secret", f"web=KEY={arn}").code == 0


def test_a_secret_that_was_there_before_is_not_looked_up(sim: Simulator, cli: Cli) -> None:
    container = {"name": "web", "image": "app:1", "memory": 64, "secrets": [{"name": "KEY", "valueFrom": "gone"}]}
    sim.service("prod", "web", containers=[container])

    result = cli(*WEB, "-i", "app:2")

    assert result.code == 0
    assert looked_up(result) == []


def test_many_parameters_are_asked_for_ten_at_a_time(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")
    for number in range(21):
        sim.registries.parameter(f"p{number}")
    given = [word for n in range(21) for word in ("--container-secret", f"web=S{n}=p{n}")]

    result = cli(*WEB, *given)

    assert result.code == 0
    assert [len(request["Names"]) for request in result.requests("GetParameters")] == [10, 10, 1]


# --- The service can take it

NETWORK: Json = {"networkConfiguration": {"awsvpcConfiguration": {"subnets": ["subnet-1"]}}}
FARGATE: Json = {"networkMode": "awsvpc", "requiresCompatibilities": ["FARGATE"], "cpu": "256", "memory": "512"}
PORT: Json = {"portMappings": [{"containerPort": 80}]}


def balancer(name: str, port: int) -> Json:
    """A load balancer that sends there."""
    return {"loadBalancers": [{"targetGroupArn": "arn:t", "containerName": name, "containerPort": port}]}


@pytest.mark.parametrize(
    ("service", "live", "new", "said"),
    [
        pytest.param(
            {}, {}, {"networkMode": "awsvpc"},
            "the definition's network mode is awsvpc, and the service has no network configuration",
            id="awsvpc needs a network",
        ),
        pytest.param(
            NETWORK, {"networkMode": "awsvpc"}, {"networkMode": "bridge"},
            "the definition's network mode is bridge, and the service has a network configuration, which needs awsvpc",
            id="not awsvpc",
        ),
        pytest.param(
            NETWORK, {"networkMode": "awsvpc"}, {},
            "the definition's network mode is the default, and the service has a network configuration,"
            " which needs awsvpc",
            id="no network mode",
        ),
        pytest.param(
            {"launchType": "FARGATE", **NETWORK}, FARGATE, {**FARGATE, "requiresCompatibilities": ["EC2"]},
            "the service's launch type is FARGATE, the definition is for EC2", id="for EC2 only",
        ),
        pytest.param(
            {"launchType": "EXTERNAL"}, {}, {"requiresCompatibilities": ["EC2", "FARGATE"]},
            "the service's launch type is EXTERNAL, the definition is for EC2, FARGATE",
            id="not for one's own machines",
        ),
        pytest.param(
            {"capacityProviderStrategy": [{"capacityProvider": "FARGATE_SPOT"}], **NETWORK}, FARGATE,
            {"networkMode": "awsvpc"},
            "the service's launch type is FARGATE, which needs cpu and memory of the whole task",
            id="no size of the task",
        ),
        pytest.param(
            {"capacityProviderStrategy": [{"capacityProvider": "FARGATE"}], **NETWORK}, FARGATE,
            {**FARGATE, "requiresCompatibilities": ["EC2"]},
            "the service's launch type is FARGATE, the definition is for EC2", id="for EC2 only, by a provider",
        ),
        pytest.param(
            balancer("web", 80), {}, {"name": "app"},
            "a load balancer sends to port 80 of container web, and it has no such container", id="another container",
        ),
        pytest.param(
            balancer("web", 80), {}, {"portMappings": []},
            "a load balancer sends to port 80 of container web, and its container web has no such port", id="no port",
        ),
        pytest.param(
            balancer("web", 80), {}, {"portMappings": [{"containerPort": 8080}]},
            "a load balancer sends to port 80 of container web, and its container web has no such port",
            id="another port",
        ),
    ],
)  # fmt: skip
@pytest.mark.parametrize("more", [(), ("--dry-run",)], ids=["run", "dry run"])
def test_a_definition_that_the_service_cannot_run_is_said(
    sim: Simulator, cli: Cli, tmp_path: Path, service: Json, live: Json, new: Json, said: str, more: tuple[str, ...]
) -> None:
    container = {"name": "web", "image": "app:1", "memory": 64, **PORT}
    sim.service("prod", "web", task_definition={"containerDefinitions": [container], **live}, **service)
    of_container = {name: value for name, value in new.items() if name in ("name", "portMappings")}
    members = {name: value for name, value in new.items() if name not in of_container}
    file = tmp_path / "new.json"
    file.write_text(json.dumps({"family": "web", "containerDefinitions": [{**container, **of_container}], **members}))

    result = cli(*WEB, "--task-definition-file", str(file), *more)

    assert result.code == 15
    assert last_paragraph(result) == ["ERROR: Nothing was changed:", f"  The service web cannot run it: {said}"]
    assert result.changes == []
    if not more:
        assert cli(*WEB, "--task-definition-file", str(file), "--no-preflight").changes == DONE


@pytest.mark.parametrize("more", [(), ("--dry-run",)], ids=["run", "dry run"])
def test_what_changes_only_in_the_service_must_fit_as_well(sim: Simulator, cli: Cli, more: tuple[str, ...]) -> None:
    sim.service("prod", "web", image="app:1")

    result = cli(*WEB, "--service-set", "networkConfiguration.awsvpcConfiguration.subnets=subnet-1", *more)

    said = (
        "the definition's network mode is the default, and the service has a network configuration, which needs awsvpc"
    )
    assert result.code == 15
    assert last_paragraph(result) == ["ERROR: Nothing was changed:", f"  The service web cannot run it: {said}"]
    assert result.changes == []


def test_what_is_so_already_works(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1", launchType="FARGATE", **NETWORK, **balancer("other", 80))

    assert cli(*WEB, "-i", "app:2").code == 0


@pytest.mark.parametrize("port", [{"containerPort": 80}, {"containerPortRange": "80-90"}], ids=["a port", "a range"])
def test_what_mends_the_service_is_deployed(sim: Simulator, cli: Cli, tmp_path: Path, port: Json) -> None:
    sim.service("prod", "web", containers=[{"name": "old", "image": "app:1", "memory": 64}], **balancer("web", 80))
    container = {"name": "web", "image": "app:1", "memory": 64, "portMappings": [port]}
    file = tmp_path / "new.json"
    file.write_text(json.dumps({"family": "web", "containerDefinitions": [container]}))

    assert cli(*WEB, "--task-definition-file", str(file)).code == 0


# --- Together

APPLICATION = """
version: v1
cluster: prod
tasks: {pre: [{family: job, count: 1, containers: [job], launch_type: ec2}]}
services: [{name: web, containers: [web]}, {name: api, containers: [api]}, {name: nobody, containers: [web]}]
"""


def test_of_an_application_all_that_is_wrong_is_said_at_once(sim: Simulator, cli: Cli, tmp_path: Path) -> None:
    host = ECR.partition("/")[0]
    for name in ("web", "api"):
        sim.service("prod", name, image=f"{host}/shop/{name}:1")
    sim.task_definition("job", f"{host}/shop/web:1")
    sim.registries.repository("shop/web").push("3")
    file = tmp_path / "app.yml"
    file.write_text(APPLICATION)

    result = cli("app", "-f", str(file), "-t", "2")

    assert result.code == 1
    assert "nobody" in result.err
    assert f"  pre job: The image {host}/shop/web:2 is not in ECR\n" in result.err
    assert f"  web: The image {host}/shop/web:2 is not in ECR\n" in result.err
    assert f"  api: The image {host}/shop/api:2 is not in ECR, nor is its repository\n" in result.err
    assert [request["repositoryName"] for request in result.requests("BatchGetImage")] == ["shop/web", "shop/api"]
    assert result.changes == []


def test_a_task_is_not_begun_for_an_image_that_is_not_there(sim: Simulator, cli: Cli) -> None:
    sim.registries.repository("shop/web").push("1")
    sim.task_definition("job", f"{ECR}:1")

    result = cli("-c", "prod", "-d", "job", "-i", f"{ECR}:2", "--run-task")

    assert result.code == 13
    assert result.changes == []


def test_an_image_and_a_secret_that_are_missing_end_with_the_code_of_both(shop: Simulator, cli: Cli) -> None:
    result = cli(*WEB, "-i", f"{ECR}:2", "--container-secret", "web=KEY=missing")

    assert result.code == 15
    assert f"The image {ECR}:2 is not in ECR" in result.err
    assert "The secret KEY of container web does not exist" in result.err


def test_a_dry_run_says_what_was_found(shop: Simulator, cli: Cli) -> None:
    shop.registries.repository("shop/web").push("2", platforms=MULTI)

    result = cli(*WEB, "-i", f"{ECR}:2", "--dry-run")

    assert result.code == 0
    assert f"Looked up {ECR}:2: linux/amd64, linux/arm64" in result.err.splitlines()
    assert "Looked up" not in cli(*WEB, "-i", f"{ECR}:2").err


def test_a_dry_run_says_where_no_platform_was_found(shop: Simulator, cli: Cli) -> None:
    shop.registries.repository("shop/web").push("2")

    result = cli(*WEB, "-i", f"{ECR}:2", "--dry-run")

    assert f"Looked up {ECR}:2: no platform is told" in result.err.splitlines()


def test_the_optional_policy_names_exactly_the_actions_that_are_called(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image=f"{ECR}:1")
    sim.registries.repository("shop/web").push("1")
    secrets = [
        "--container-secret",
        "web=A=a",
        "--container-secret",
        "web=B=arn:aws:secretsmanager:us-east-1:1:secret:b",
    ]
    assert cli(*WEB, "-i", f"{ECR}:2", *secrets).code == 15

    (statement,) = json.loads(block("preflight policy"))["Statement"]
    known = {action for action in sim.actions_used() if not action.startswith("ecs:")}
    assert statement["Action"] == sorted({*known, "ecs:ListContainerInstances"})
