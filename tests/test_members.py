"""Any member of a definition: paths, values in the types that AWS has for them, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.model import Shape
from hypothesis import given
from hypothesis import strategies as st

from ecs_deploy import BadValue, MemberEdit, input_shape, member_edit, parse, secret_values, typed, with_member
from tests.conftest import Cli
from tests.simulator import Simulator

DEFINITION = input_shape("RegisterTaskDefinition")
SERVICE = input_shape("UpdateService")
TASK = input_shape("RunTask")
WEB = ("-c", "prod", "-n", "web")


def set_in(document: Any, shape: Any, path: str, text: str | None) -> Any:
    return with_member(document, member_edit(shape, path, text))


# --- Values have the type that the member has


@pytest.mark.parametrize(
    ("path", "text", "document"),
    [
        pytest.param("cpu", "256", {"cpu": "256"}, id="text of digits"),
        pytest.param("taskRoleArn", " a=b,c ", {"taskRoleArn": " a=b,c "}, id="text as it stands"),
        pytest.param("enableFaultInjection", "TRUE", {"enableFaultInjection": True}, id="a truth value"),
        pytest.param("ephemeralStorage.sizeInGiB", "30", {"ephemeralStorage": {"sizeInGiB": 30}}, id="a number below"),
        pytest.param("ephemeralStorage", "sizeInGiB=30", {"ephemeralStorage": {"sizeInGiB": 30}}, id="shorthand"),
        pytest.param("ephemeralStorage", '{"sizeInGiB": "30"}', {"ephemeralStorage": {"sizeInGiB": 30}}, id="JSON"),
        pytest.param("requiresCompatibilities", "EC2,FARGATE", {"requiresCompatibilities": ["EC2", "FARGATE"]},
                     id="a list of words"),
        pytest.param("requiresCompatibilities", '["EC2"]', {"requiresCompatibilities": ["EC2"]}, id="a JSON list"),
        pytest.param("tags", "key=a,value=1 key=b,value='x y'",
                     {"tags": [{"key": "a", "value": "1"}, {"key": "b", "value": "x y"}]}, id="things in shorthand"),
        pytest.param("tags", '[{"key": "a", "value": 1}]', {"tags": [{"key": "a", "value": "1"}]}, id="things in JSON"),
        pytest.param("tags", '{"key": "a"}', {"tags": [{"key": "a"}]}, id="one thing"),
        pytest.param("tags[a].value", "1", {"tags": [{"key": "a", "value": "1"}]}, id="a thing by its key"),
        pytest.param("volumes[data]", "host={sourcePath=/x}",
                     {"volumes": [{"host": {"sourcePath": "/x"}, "name": "data"}]}, id="a thing by name"),
        pytest.param("runtimePlatform.cpuArchitecture", "ARM64", {"runtimePlatform": {"cpuArchitecture": "ARM64"}},
                     id="a member of a member"),
        pytest.param("containerDefinitions[api].dockerLabels.com.example/a.b", "c=d",
                     {"containerDefinitions": [{"name": "api", "dockerLabels": {"com.example/a.b": "c=d"}}]},
                     id="a key with dots"),
        pytest.param("containerDefinitions[api].dockerLabels[a=b]", "c",
                     {"containerDefinitions": [{"name": "api", "dockerLabels": {"a=b": "c"}}]}, id="a key in brackets"),
        pytest.param("containerDefinitions[api].dockerLabels", "a=1,b=2",
                     {"containerDefinitions": [{"name": "api", "dockerLabels": {"a": "1", "b": "2"}}]}, id="a table"),
        pytest.param("containerDefinitions[api].mountPoints[data].readOnly", "false",
                     {"containerDefinitions": [{"name": "api",
                                                "mountPoints": [{"sourceVolume": "data", "readOnly": False}]}]},
                     id="a thing that is named otherwise"),
        pytest.param("containerDefinitions[api].dependsOn[db].condition", "HEALTHY",
                     {"containerDefinitions": [{"name": "api",
                                                "dependsOn": [{"containerName": "db", "condition": "HEALTHY"}]}]},
                     id="a thing named by its container"),
        pytest.param("containerDefinitions[api].systemControls[net.core.x].value", "9",
                     {"containerDefinitions": [{"name": "api",
                                                "systemControls": [{"namespace": "net.core.x", "value": "9"}]}]},
                     id="a thing named by its namespace"),
        pytest.param("containerDefinitions[api].extraHosts[db].ipAddress", "10.0.0.1",
                     {"containerDefinitions": [{"name": "api",
                                                "extraHosts": [{"hostname": "db", "ipAddress": "10.0.0.1"}]}]},
                     id="a thing named by its host"),
    ],
)  # fmt: skip
def test_a_member_of_a_definition_is_set(path: str, text: str, document: Any) -> None:
    assert set_in({}, DEFINITION, path, text) == document


@pytest.mark.parametrize(
    ("shape", "path", "text", "document"),
    [
        (SERVICE, "healthCheckGracePeriodSeconds", "60", {"healthCheckGracePeriodSeconds": 60}),
        (SERVICE, "deploymentConfiguration.deploymentCircuitBreaker.enable", "true",
         {"deploymentConfiguration": {"deploymentCircuitBreaker": {"enable": True}}}),
        (SERVICE, "capacityProviderStrategy[FARGATE_SPOT].weight", "3",
         {"capacityProviderStrategy": [{"capacityProvider": "FARGATE_SPOT", "weight": 3}]}),
        (SERVICE, "deploymentConfiguration.canaryConfiguration.canaryPercent", "12.5",
         {"deploymentConfiguration": {"canaryConfiguration": {"canaryPercent": 12.5}}}),
        (SERVICE, "serviceConnectConfiguration.services[http].discoveryName", "web",
         {"serviceConnectConfiguration": {"services": [{"portName": "http", "discoveryName": "web"}]}}),
        (SERVICE, "loadBalancers[web].containerPort", "-80",
         {"loadBalancers": [{"containerName": "web", "containerPort": -80}]}),
        (TASK, "propagateTags", "TASK_DEFINITION", {"propagateTags": "TASK_DEFINITION"}),
        (TASK, "overrides.containerOverrides[job].memory", "512",
         {"overrides": {"containerOverrides": [{"name": "job", "memory": 512}]}}),
    ],
)  # fmt: skip
def test_a_member_of_a_request_is_set(shape: Any, path: str, text: str, document: Any) -> None:
    assert set_in({}, shape, path, text) == document


# --- What is there stays


def test_only_the_member_changes_and_the_document_does_not() -> None:
    api = {"name": "api", "memory": 64, "logConfiguration": {"logDriver": "awslogs", "options": {"a": "1", "b": "2"}}}
    document = {"family": "web", "containerDefinitions": [{"name": "proxy", "memory": 32}, api]}
    before = json.dumps(document)

    new = set_in(document, DEFINITION, "containerDefinitions[api].logConfiguration.options.b", "3")

    changed = {**api, "logConfiguration": {"logDriver": "awslogs", "options": {"a": "1", "b": "3"}}}
    assert new == {"family": "web", "containerDefinitions": [{"name": "proxy", "memory": 32}, changed]}
    assert json.dumps(document) == before


@pytest.mark.parametrize(
    ("path", "left"),
    [
        ("taskRoleArn", {"volumes": [{"name": "a", "host": {"sourcePath": "/a"}}, {"name": "b"}]}),
        ("volumes", {"taskRoleArn": "r"}),
        ("volumes[a]", {"taskRoleArn": "r", "volumes": [{"name": "b"}]}),
        ("volumes[a].host", {"taskRoleArn": "r", "volumes": [{"name": "a"}, {"name": "b"}]}),
        ("volumes[a].host.sourcePath", {"taskRoleArn": "r", "volumes": [{"name": "a", "host": {}}, {"name": "b"}]}),
    ],
)
def test_a_member_is_taken_away(path: str, left: Any) -> None:
    document = {"taskRoleArn": "r", "volumes": [{"name": "a", "host": {"sourcePath": "/a"}}, {"name": "b"}]}

    assert set_in(document, DEFINITION, path, None) == left


@pytest.mark.parametrize(
    "path", ["cpu", "volumes[c]", "volumes[c].host", "proxyConfiguration.type", "volumes[b].host.sourcePath"]
)
def test_to_take_away_what_is_not_there_changes_nothing(path: str) -> None:
    document = {"volumes": [{"name": "b"}]}

    assert set_in(document, DEFINITION, path, None) == document


def test_a_thing_that_is_set_as_a_whole_keeps_its_name_and_loses_the_rest() -> None:
    document = {"volumes": [{"name": "a", "host": {"sourcePath": "/a"}}]}

    new = set_in(document, DEFINITION, "volumes[a]", "configuredAtLaunch=true")

    assert new == {"volumes": [{"configuredAtLaunch": True, "name": "a"}]}


# --- What is refused


MEMBERS = f"the members are {', '.join(DEFINITION.members)}"


@pytest.mark.parametrize(
    ("path", "text", "said"),
    [
        pytest.param("memori", "1",
                     f"there is no member memori (did you mean memory?); {MEMBERS}", id="a slip"),
        pytest.param("zzzz", "1", f"there is no member zzzz; {MEMBERS}", id="nothing near"),
        pytest.param("runtimePlatform.cpuarchitecture", "1",
                     "runtimePlatform has no member cpuarchitecture (did you mean cpuArchitecture?); the members"
                     " are cpuArchitecture, operatingSystemFamily", id="a slip below"),
        pytest.param("containerDefinitions.memory", "1",
                     "containerDefinitions is a list, containerDefinitions[NAME]", id="a list without a name"),
        pytest.param("tags.a", "1", "tags is a list, tags[KEY]", id="a list without a key"),
        pytest.param("placementConstraints[0].type", "1",
                     "placementConstraints is a list, to be given as a whole", id="a list of things without names"),
        pytest.param("requiresCompatibilities[0]", "1",
                     "requiresCompatibilities is a list, to be given as a whole", id="a list of texts"),
        pytest.param("cpu.x", "1", "cpu is text and has no members", id="below a text"),
        pytest.param("containerDefinitions[api].dockerLabels.", "1",
                     "containerDefinitions[api].dockerLabels is a table, containerDefinitions[api].dockerLabels.KEY",
                     id="no key"),
        pytest.param("runtimePlatform..x", "1",
                     "runtimePlatform has no member ..x; the members are cpuArchitecture, operatingSystemFamily",
                     id="two dots"),
        pytest.param("[x]", "1", f"there is no member .[x]; {MEMBERS}", id="no member"),
        pytest.param("containerDefinitions[api].memory", "much",
                     "containerDefinitions[api].memory must be a whole number", id="no number"),
        pytest.param("containerDefinitions[api].memory", "1.5",
                     "containerDefinitions[api].memory must be a whole number", id="a fraction"),
        pytest.param("containerDefinitions[api].memory", "٣",
                     "containerDefinitions[api].memory must be a whole number", id="digits of another script"),
        pytest.param("containerDefinitions[api].memory", "",
                     "containerDefinitions[api].memory must be a whole number", id="nothing"),
        pytest.param("enableFaultInjection", "yes", "enableFaultInjection must be true or false", id="no truth value"),
        pytest.param("ephemeralStorage", "[1]", "ephemeralStorage must be a table", id="a list for a table"),
        pytest.param("ephemeralStorage", "{", "ephemeralStorage is not JSON (line 1 column 2)", id="half an object"),
        pytest.param("ephemeralStorage", "30", "expected key=value,key={…},key=[…] or JSON", id="no shorthand"),
        pytest.param("ephemeralStorage", "sizeInGB=30",
                     "ephemeralStorage has no member sizeInGB (did you mean sizeInGiB?); the members are sizeInGiB",
                     id="a slip in the value"),
        pytest.param("tags", '[{"key": null}]', "tags.key must be text", id="null"),
        pytest.param("tags", '[{"key": true}]', "tags.key must be text", id="a truth value for a text"),
        pytest.param("containerDefinitions[api].dockerLabels", "[1]",
                     "containerDefinitions[api].dockerLabels must be a table", id="a list for a table of any keys"),
        pytest.param("family", "x", "family is what this command decides; use -d", id="the family"),
    ],
)  # fmt: skip
def test_what_is_not_there_or_of_another_type_is_refused(path: str, text: str, said: str) -> None:
    with pytest.raises(BadValue) as error:
        member_edit(DEFINITION, path, text)

    assert str(error.value) == said


@pytest.mark.parametrize(
    ("shape", "path", "said"),
    [
        (SERVICE, "cluster", "cluster is what this command decides; use -c"),
        (SERVICE, "service", "service is what this command decides; use -n"),
        (SERVICE, "taskDefinition", "taskDefinition is what this command decides; use --taskdef or -d"),
        (TASK, "count", "count is what this command decides; use --count"),
        (TASK, "clientToken", "clientToken is what this command decides"),
    ],
)
def test_what_the_command_decides_is_refused(shape: Any, path: str, said: str) -> None:
    with pytest.raises(BadValue) as error:
        member_edit(shape, path, "1")

    assert str(error.value) == said


@pytest.mark.parametrize(
    ("kind", "text", "number"), [("integer", "7", 7), ("long", "7", 7), ("float", "0.5", 0.5), ("double", "7", 7.0)]
)
def test_a_number_is_read_whatever_kind_of_number_the_model_has(kind: str, text: str, number: float) -> None:
    shape = Shape("Number", {"type": kind})

    assert repr(typed(shape, text, "it")) == repr(number)
    with pytest.raises(BadValue, match=r"^it must be a (whole )?number$"):
        typed(shape, "much", "it")


@pytest.mark.parametrize("text", ["1.2.3", "1e3", "ten", ".5", "1.", ""])
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(BadValue, match=r"canaryPercent must be a number$"):
        member_edit(SERVICE, "deploymentConfiguration.canaryConfiguration.canaryPercent", text)


@given(st.text("abcdN.[]=aefimly", max_size=20), st.text("{}[]=,1a'\" ", max_size=12))
def test_any_path_and_any_value_is_an_edit_or_refused(path: str, text: str) -> None:
    for start in ("", "tags[", "containerDefinitions[api].", "volumes", "ephemeralStorage"):
        try:
            edit = member_edit(DEFINITION, start + path, text)
        except BadValue:
            continue
        assert isinstance(edit, MemberEdit)
        assert with_member(with_member({}, edit), edit) == with_member({}, edit)


# --- Secrets


@pytest.mark.parametrize(
    ("shape", "path", "text", "hidden"),
    [
        (DEFINITION, "containerDefinitions[api].environment", "name=A,value=hunter2 name=B,value=b", {"hunter2", "b"}),
        (DEFINITION, "containerDefinitions[api].environment[A].value", "hunter2", {"hunter2"}),
        (DEFINITION, "containerDefinitions[api].secrets", "name=A,valueFrom=arn", {"arn"}),
        (DEFINITION, "containerDefinitions[api].dockerLabels.api-token", "hunter2", {"hunter2"}),
        (
            DEFINITION,
            "containerDefinitions[api].logConfiguration.options",
            "splunk-token=hunter2,awslogs-group=y",
            {"hunter2"},
        ),
        (DEFINITION, "tags", "key=password,value=hunter2 key=a,value=b", {"hunter2"}),
        (TASK, "overrides.containerOverrides[job]", "environment=[{name=A,value=hunter2}],memory=1", {"hunter2"}),
        (DEFINITION, "containerDefinitions[api].command", "eight888,nine99999", {"nine99999"}),
        (DEFINITION, "containerDefinitions[api].dockerLabels", "short=eight888,long=nine99999", {"nine99999"}),
        (DEFINITION, "containerDefinitions[api].healthCheck", "command=[CMD-SHELL,'curl -f localhost']", set()),
        (DEFINITION, "cpu", "256", set()),
        (DEFINITION, "taskRoleArn", None, set()),
        (SERVICE, "loadBalancers", "containerName=web,containerPort=80", set()),
    ],
)
def test_what_may_be_secret_is_known(shape: Any, path: str, text: str | None, hidden: set[str]) -> None:
    assert set(secret_values(with_member({}, member_edit(shape, path, text)))) == hidden


# --- The command


def test_members_of_the_definition_are_set_and_taken_away_in_one_revision(sim: Simulator, cli: Cli) -> None:
    container = {"name": "api", "image": "app:1", "memory": 64, "dockerLabels": {"version": "1", "old": "x"}}
    sim.service("prod", "web", containers=[container])

    result = cli(
        *WEB, "--set", "containerDefinitions[api].memory=128", "--set=containerDefinitions[api].dockerLabels.version=2",
        "--unset", "containerDefinitions[api].dockerLabels.old", "--set", "cpu=256", "-l", "api=app:2",
    )  # fmt: skip

    assert result.code == 0
    (sent,) = result.requests("RegisterTaskDefinition")
    assert sent["cpu"] == "256"
    (api,) = sent["containerDefinitions"]
    assert (api["image"], api["memory"], api["dockerLabels"]) == ("app:2", 128, {"version": "2"})
    assert "  ~ api: memory\n" in result.err
    assert "  ~ api: dockerLabels\n" in result.err
    assert "  + cpu\n" in result.err


def test_a_member_beside_the_containers_needs_no_container(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")

    result = cli(*WEB, "--set", "runtimePlatform.cpuArchitecture=ARM64", "--set", "volumes[data].host.sourcePath=/x")

    assert result.code == 0
    (sent,) = result.requests("RegisterTaskDefinition")
    assert sent["runtimePlatform"] == {"cpuArchitecture": "ARM64"}
    assert sent["volumes"] == [{"name": "data", "host": {"sourcePath": "/x"}}]


def test_a_dry_run_shows_a_member_and_no_secret(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")

    result = cli(
        *WEB, "--dry-run", "--set", "containerDefinitions[web].environment[DB].value=hunter2",
        "--set", "containerDefinitions[web].memory=77",
    )  # fmt: skip

    assert (result.code, result.changes) == (0, [])
    assert "77" in result.out
    assert "hunter2" not in result.out + result.err


def test_tags_that_are_taken_away_are_not_sent(sim: Simulator, cli: Cli) -> None:
    sim.task_definition("job", "app:1", tags=[{"key": "team", "value": "a"}])

    result = cli("-d", "job", "--unset", "tags[team]")

    (sent,) = result.requests("RegisterTaskDefinition")
    assert "tags" not in sent


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--set", "memory"], 3, "--set expects PATH=VALUE"),
        (["--set", "memori=1"], 3, f"argument --set: there is no member memori (did you mean memory?); {MEMBERS}"),
        (["--unset", "memori"], 3, f"argument --unset: there is no member memori (did you mean memory?); {MEMBERS}"),
        (["--set", "memory=1", "--set", "memory=2"], 3, "memory was given twice, with different values"),
        (["--set", "memory=1", "--unset", "memory"], 3, "memory was given twice, with different values"),
        (["--set", "cluster=x"], 3, f"argument --set: there is no member cluster; {MEMBERS}"),
    ],
)
def test_a_wrong_path_is_a_usage_error(cli: Cli, arguments: list[str], code: int, said: str) -> None:
    result = cli(*WEB, *arguments)

    assert (result.code, result.operations) == (code, [])
    assert result.err == f"ERROR: {said}\n"


@pytest.mark.parametrize("arguments", [["--set", "containerDefinitions[nobody].memory=1"],
                                       ["--unset", "containerDefinitions[nobody]"]])  # fmt: skip
def test_a_container_that_is_not_there_is_named(sim: Simulator, cli: Cli, arguments: list[str]) -> None:
    sim.service("prod", "web", image="app:1")

    result = cli(*WEB, *arguments)

    assert (result.code, result.changes) == (14, [])
    assert "ERROR: No container is named nobody; the task definition has: web" in result.err.splitlines()


def test_a_wrong_value_is_not_shown(cli: Cli) -> None:
    result = cli(*WEB, "--set", "containerDefinitions[web].environment=hunter2")

    assert result.code == 3
    assert "hunter2" not in result.err


def test_members_of_the_requests_are_typed_when_they_are_read() -> None:
    grace = ["--service-set", "healthCheckGracePeriodSeconds=60"]
    tags = ["--task-set", "propagateTags=TASK_DEFINITION", "--task-set", "enableECSManagedTags=true"]

    assert parse("", [*WEB, *grace], {}).change.members == (MemberEdit(("healthCheckGracePeriodSeconds",), 60),)
    run = parse("", ["-c", "prod", "-d", "job", "--run-task", *tags], {}).run
    assert run is not None
    assert run.members == (
        MemberEdit(("propagateTags",), "TASK_DEFINITION"),
        MemberEdit(("enableECSManagedTags",), True),
    )


@pytest.mark.parametrize(
    ("member", "said"),
    [
        ("healthCheckGracePeriodSeconds=60", "  ~ service: healthCheckGracePeriodSeconds None -> 60"),
        ("placementStrategy=type=spread,field=host", "  ~ service: placementStrategy"),
        (
            "serviceConnectConfiguration.logConfiguration.options.splunk-token=hunter2",
            "  ~ service: serviceConnectConfiguration.logConfiguration.options.splunk-token",
        ),
    ],
)
def test_what_changes_in_the_service_is_shown_where_it_is_short_and_no_secret(
    sim: Simulator, cli: Cli, member: str, said: str
) -> None:
    sim.service("prod", "web", image="app:1")

    result = cli(*WEB, "--service-set", member, "--dry-run")

    assert result.code == 0
    assert said in result.err.splitlines()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["-n", "web", "--service-set", "cluster=x"],
            "argument --service-set: cluster is what this command decides; use -c",
        ),
        (
            ["-n", "web", "--service-set", "grace=1"],
            f"argument --service-set: there is no member grace; the members are {', '.join(SERVICE.members)}",
        ),
        (
            ["-d", "job", "--run-task", "--task-set", "count=2"],
            "argument --task-set: count is what this command decides; use --count",
        ),
        (
            ["-d", "job", "--set", "cpu=1", "--task-set", "group=x"],
            "--task-set requires --run-task\nAdd --run-task to run the new revision.",
        ),
    ],
)
def test_a_wrong_member_of_a_request_is_a_usage_error(cli: Cli, arguments: list[str], said: str) -> None:
    result = cli("-c", "prod", *arguments)

    assert (result.code, result.operations) == (3, [])
    assert result.err == f"ERROR: {said}\n"
