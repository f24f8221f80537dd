"""Task definitions: the copy loses nothing, the diff shows no values, and each place to start from."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Cli, Result
from tests.simulator import AwsError, Simulator
from tests.simulator.checks import service_model

Json = dict[str, Any]
PREFIX = "arn:aws:ecs:us-east-1:123456789012:task-definition"
AWKWARD = "a \"quote\", a back\\slash, a\nline, a\ttab, 'ümläut', 日本, 🚀, \u2028, </script>, $(echo x) `y` %s {z}"
OUTPUT_ONLY = {
    "taskDefinitionArn", "revision", "status", "requiresAttributes", "compatibilities", "registeredAt",
    "deregisteredAt", "deleteRequestedAt", "registeredBy",
}  # fmt: skip


# --- A definition that uses every member, made from botocore's model


def definitions_with_every_member() -> Iterator[Json]:
    """RegisterTaskDefinition inputs that together use every member, and every value of every enumeration."""
    shape = service_model("ecs").operation_model("RegisterTaskDefinition").input_shape
    rounds = max(len(values) for values in enumerations(shape, ()))
    for turn in range(rounds):
        definition = filled(shape, turn, ())
        for index, container in enumerate(definition["containerDefinitions"]):
            container |= {"name": f"container-{index}", "image": "registry.example:5000/shop/web:1", "essential": True}
            container["environment"] = [{"name": "AWKWARD", "value": AWKWARD}]
        yield {**definition, "family": "everything", "tags": [{"key": "team", "value": AWKWARD}]}


def enumerations(shape: Any, above: tuple[str, ...]) -> Iterator[list[str]]:
    """The lists of allowed values below a shape."""
    if shape.name in above:
        return
    if shape.type_name == "structure":
        for member in shape.members.values():
            yield from enumerations(member, (*above, shape.name))
    elif shape.type_name in ("list", "map"):
        yield from enumerations(shape.member if shape.type_name == "list" else shape.value, (*above, shape.name))
    elif shape.type_name == "string" and shape.enum:
        yield shape.enum


def filled(shape: Any, turn: int, above: tuple[str, ...]) -> Any:
    """A value of the shape with every member set; `turn` picks among the values that are allowed."""
    if shape.type_name == "structure":
        members = {name: m for name, m in shape.members.items() if m.name not in above}
        return {name: filled(member, turn, (*above, shape.name)) for name, member in members.items()}
    if shape.type_name == "list":
        return [filled(shape.member, turn + index, (*above, shape.name)) for index in range(2)]
    if shape.type_name == "map":
        return {AWKWARD: filled(shape.value, turn, (*above, shape.name)), "plain": "plain"}
    return leaf(shape, turn)


def leaf(shape: Any, turn: int) -> Any:
    """A value of a shape that holds no other."""
    if shape.type_name == "string":
        return shape.enum[turn % len(shape.enum)] if shape.enum else AWKWARD
    values = {"boolean": turn % 2 == 0, "integer": turn + 1, "long": 2**40 + turn, "float": 0.5, "double": 0.25}
    return values[shape.type_name]


def members_below(shape: Any, above: tuple[str, ...] = ()) -> Iterator[str]:
    """The paths of all members below a shape."""
    inner: dict[str, Any] = {}
    if shape.type_name == "structure":
        inner = shape.members
    elif shape.type_name in ("list", "map"):
        inner = {"[]": shape.member if shape.type_name == "list" else shape.value}
    for name, member in inner.items():
        if member.name not in above:
            path = ".".join((*above, name))
            yield path
            yield from members_below(member, (*above, member.name))


def described_by(sim: Simulator, definition: str) -> Json:
    """What ECS answers to DescribeTaskDefinition."""
    answer: Json = sim.handle("ecs", "DescribeTaskDefinition", {"taskDefinition": definition, "include": ["TAGS"]}, "")
    return answer


EVERYTHING = list(definitions_with_every_member())


@pytest.mark.parametrize("definition", EVERYTHING, ids=range(len(EVERYTHING)))
def test_a_copy_loses_no_member_of_botocores_model(sim: Simulator, cli: Cli, definition: Json) -> None:
    sim.register(definition)

    result = cli("-d", "everything", "-i", "registry.example:5000/shop/web:2")

    (sent,) = result.requests("RegisterTaskDefinition")
    assert result.code == 0
    assert sent == with_images(definition, "registry.example:5000/shop/web:2")


def test_the_definitions_with_every_member_have_every_member() -> None:
    shape: Any = service_model("ecs").operation_model("RegisterTaskDefinition").input_shape

    assert set(EVERYTHING[0]) == set(shape.members)
    assert set(EVERYTHING[0]["containerDefinitions"][0]) == set(shape.members["containerDefinitions"].member.members)
    assert len(list(members_below(shape))) > 120


def test_what_is_sent_is_what_was_described_without_the_members_of_the_answer(sim: Simulator, cli: Cli) -> None:
    definition = sim.register({**EVERYTHING[0], "tags": [{"key": "team", "value": "shop"}]})
    definition.deregistered_s = definition.delete_requested_s = 1.0
    described = described_by(sim, definition.arn)

    (sent,) = cli("-d", definition.arn, "-to", "1").requests("RegisterTaskDefinition")

    assert set(described["taskDefinition"]) - set(sent) == OUTPUT_ONLY
    assert sent == {
        **{name: value for name, value in described["taskDefinition"].items() if name not in OUTPUT_ONLY},
        "tags": described["tags"],
    }


def test_members_that_no_model_knows_travel_too(sim: Simulator, cli: Cli) -> None:
    sim.world.future_members |= {"gravity", "antennas"}
    definition = {
        "family": "job",
        "gravity": {"metresPerSecondSquared": 9.81, "tensor": [[1, 2], [3, None, 4]], "off": False},
        "containerDefinitions": [
            {"name": "job", "image": "app:1", "memory": 64, "antennas": [{"length": 3, "text": AWKWARD}]}
        ],
    }
    sim.register(definition)

    (sent,) = cli("-d", "job", "-i", "app:2").requests("RegisterTaskDefinition")

    assert sent["gravity"] == {"metresPerSecondSquared": 9.81, "tensor": [[1, 2], [3, 4]], "off": False}
    assert sent["containerDefinitions"] == [
        {"name": "job", "image": "app:2", "memory": 64, "antennas": [{"length": 3, "text": AWKWARD}]}
    ]


def test_nulls_and_empty_tags_are_never_sent(sim: Simulator, cli: Cli, tmp_path: Path) -> None:
    described = {
        "taskDefinition": {
            "family": "job",
            "taskRoleArn": None,
            "cpu": None,
            "volumes": [{"name": "a", "host": None}, None],
            "containerDefinitions": [{"name": "job", "image": "app:1", "memory": 64, "user": None, "links": []}],
            "revision": 7,
        },
        "tags": [],
    }
    file = tmp_path / "definition.json"
    file.write_text(json.dumps(described))

    result = cli("-d", "job", "--task-definition-file", str(file))

    assert result.lines[0] == "Current task definition: none"
    assert result.requests("RegisterTaskDefinition") == [
        {
            "family": "job",
            "volumes": [{"name": "a"}],
            "containerDefinitions": [{"name": "job", "image": "app:1", "memory": 64, "links": []}],
        }
    ]


def with_images(definition: Json, image: str) -> Json:
    """The definition with that image in every container."""
    return {**definition, "containerDefinitions": [{**c, "image": image} for c in definition["containerDefinitions"]]}


# --- Tags

TAGS = [{"key": "team", "value": "shop"}, {"key": "aws:cloudformation:stack-name", "value": "shop"}]


def test_tags_are_copied_but_those_of_aws(sim: Simulator, cli: Cli) -> None:
    sim.task_definition("job", "app:1", tags=TAGS)

    result = cli("-d", "job", "-i", "app:2")

    (sent,) = result.requests("RegisterTaskDefinition")
    assert sent["tags"] == [{"key": "team", "value": "shop"}]
    assert result.requests("DescribeTaskDefinition") == [{"taskDefinition": "job", "include": ["TAGS"]}]


def test_where_all_tags_are_those_of_aws_none_is_sent(sim: Simulator, cli: Cli) -> None:
    sim.task_definition("job", "app:1", tags=TAGS[1:])

    (sent,) = cli("-d", "job", "-i", "app:2").requests("RegisterTaskDefinition")

    assert "tags" not in sent


def test_where_aws_refuses_tags_they_are_left_out_with_a_warning(sim: Simulator, cli: Cli) -> None:
    sim.task_definition("job", "app:1", tags=TAGS)
    sim.deny("ecs:TagResource")

    result = cli("-d", "job", "-i", "app:2")

    assert result.code == 0
    assert result.operations == ["DescribeTaskDefinition", "RegisterTaskDefinition", "RegisterTaskDefinition"]
    assert "tags" not in result.requests("RegisterTaskDefinition")[1]
    assert "Warning: The tags are not copied. AWS denied RegisterTaskDefinition" in result.err
    assert "not authorized to perform: ecs:TagResource" in result.err


def test_where_tags_are_required_a_refusal_is_an_error(sim: Simulator, cli: Cli) -> None:
    sim.task_definition("job", "app:1", tags=TAGS)
    sim.deny("ecs:TagResource")

    result = cli("-d", "job", "-i", "app:2", "--copy-task-definition-tags")

    assert result.code == 24
    assert "Allow ecs:TagResource in the IAM policy of these credentials." in result.err
    assert result.changes == ["RegisterTaskDefinition"]
    assert sim.active_revisions("job") == [1]


def test_a_refused_registration_is_no_refused_tag_whatever_the_family_is_called(sim: Simulator, cli: Cli) -> None:
    sim.task_definition("TagWriter", "app:1", tags=TAGS)
    sim.deny("ecs:RegisterTaskDefinition")

    result = cli("-d", "TagWriter", "-i", "app:2")

    assert (result.code, result.changes) == (24, ["RegisterTaskDefinition"])
    assert "not copied" not in result.err


def tags_may_not_be_read(index: int, operation: str, params: Json) -> AwsError | None:
    """ECS as it answers to somebody who may read definitions, but not their tags."""
    if operation != "DescribeTaskDefinition" or "include" not in params:
        return None
    message = "User: someone is not authorized to perform: ecs:ListTagsForResource on resource: *"
    return AwsError("AccessDeniedException", message)


def test_where_tags_cannot_be_read_they_are_left_out_with_a_warning(sim: Simulator, cli: Cli) -> None:
    sim.task_definition("job", "app:1", tags=TAGS)
    sim.world.on_call = tags_may_not_be_read

    result = cli("-d", "job", "-i", "app:2")

    assert result.code == 0
    assert "Warning: The tags of job are not copied. AWS denied DescribeTaskDefinition" in result.err
    assert "tags" not in result.requests("RegisterTaskDefinition")[0]


def test_where_tags_are_required_and_cannot_be_read_it_is_an_error(sim: Simulator, cli: Cli) -> None:
    sim.task_definition("job", "app:1", tags=TAGS)
    sim.world.on_call = tags_may_not_be_read

    result = cli("-d", "job", "-i", "app:2", "--copy-task-definition-tags")

    assert result.code == 24
    assert "Allow ecs:ListTagsForResource in the IAM policy of these credentials." in result.err
    assert result.changes == []


@pytest.mark.parametrize("denied", ["ecs:RegisterTaskDefinition", "ecs:DescribeTaskDefinition"])
def test_another_refusal_has_nothing_to_do_with_tags(sim: Simulator, cli: Cli, denied: str) -> None:
    sim.task_definition("job", "app:1", tags=TAGS)
    sim.deny(denied)

    result = cli("-d", "job", "-i", "app:2")

    assert result.code == 24
    assert f"Allow {denied} in the IAM policy of these credentials." in result.err
    assert "tags" not in result.err
    assert sim.active_revisions("job") == [1]


# --- Where it starts from


def test_a_service_starts_from_the_definition_in_use(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1", family="site")
    sim.task_definition("site", "app:99", cpu="256")

    result = cli("-c", "prod", "-n", "web", "-i", "app:2")

    assert result.lines[1] == f"Current task definition: {PREFIX}/site:1"
    assert "cpu" not in result.requests("RegisterTaskDefinition")[0]


def test_a_service_can_start_from_the_newest_revision(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1", family="site")
    sim.task_definition("site", "app:99", cpu="256")
    inactive = sim.task_definition("site", "app:100", cpu="512")
    inactive.status = "INACTIVE"

    result = cli("-c", "prod", "-n", "web", "-i", "app:2", "--use-latest-task-def")

    assert result.lines[1] == f"Current task definition: {PREFIX}/site:2"
    assert result.requests("RegisterTaskDefinition")[0]["cpu"] == "256"


def test_a_definition_can_start_from_the_newest_revision(sim: Simulator, cli: Cli) -> None:
    sim.task_definition("job", "app:1")
    sim.task_definition("job", "app:1", cpu="256")

    result = cli("-d", "job:1", "-i", "app:2", "--use-latest-task-def")

    assert result.lines[1] == f"Current task definition: {PREFIX}/job:2"


@pytest.mark.parametrize("spelling", ["blueprint", "blueprint:1", f"{PREFIX}/blueprint:1"])
def test_a_service_can_start_from_another_definition(sim: Simulator, cli: Cli, spelling: str) -> None:
    sim.service("prod", "web", image="app:1")
    sim.task_definition("blueprint", "app:1", cpu="1024")

    result = cli("-c", "prod", "-n", "web", "--taskdef", spelling, "-i", "app:2")

    (sent,) = result.requests("RegisterTaskDefinition")
    assert result.code == 0
    assert (sent["family"], sent["cpu"]) == ("blueprint", "1024")
    assert sim.services["prod", "web"].primary.definition.arn == f"{PREFIX}/blueprint:2"


def test_a_definition_that_starts_from_another_one_keeps_its_family(sim: Simulator, cli: Cli) -> None:
    sim.task_definition("job", "app:1")
    sim.task_definition("blueprint", "app:1", cpu="1024")

    result = cli("-d", "job", "--taskdef", "blueprint")

    (sent,) = result.requests("RegisterTaskDefinition")
    assert (sent["family"], sent["cpu"]) == ("job", "1024")
    assert result.lines[-2:] == [f"New task definition: {PREFIX}/job:2", "Task definition updated successfully"]


@pytest.mark.parametrize("indent", [None, 8], ids=["on one line", "indented"])
@pytest.mark.parametrize("described", [True, False], ids=["as it is described", "as it is registered"])
def test_a_file_needs_no_image(sim: Simulator, cli: Cli, tmp_path: Path, indent: int | None, described: bool) -> None:
    sim.service("prod", "web", image="app:1")
    content = {**described_by(sim, "web")["taskDefinition"], "cpu": "256"}
    file = tmp_path / "definition.json"
    file.write_text(json.dumps({"taskDefinition": content, "tags": TAGS} if described else content, indent=indent))

    result = cli("-c", "prod", "-n", "web", "--task-definition-file", str(file))

    (sent,) = result.requests("RegisterTaskDefinition")
    assert result.code == 0
    assert set(sent) == {"family", "containerDefinitions", "cpu"} | ({"tags"} if described else set())
    assert result.changes == ["RegisterTaskDefinition", "UpdateService"]


def test_without_the_permission_to_read_the_live_definition_a_file_is_not_deployed(
    sim: Simulator, cli: Cli, tmp_path: Path
) -> None:
    sim.service("prod", "web", image="app:1")
    file = tmp_path / "definition.json"
    file.write_text(json.dumps(described_by(sim, "web")))
    sim.deny("ecs:DescribeTaskDefinition")

    result = cli("-c", "prod", "-n", "web", "--task-definition-file", str(file))

    assert result.code == 24
    assert result.changes == []


@pytest.mark.parametrize(
    ("command", "live", "code", "message"),
    [
        (("-n", "web"), "web:1", "ClientException", "Unable to describe task definition."),
        (("-d", "job"), "job", "AccessDeniedException", "no"),
    ],
    ids=["of a service, gone", "denied"],
)
def test_beside_another_definition_the_live_one_must_be_readable(
    sim: Simulator, cli: Cli, command: tuple[str, str], live: str, code: str, message: str
) -> None:
    sim.service("prod", "web", image="app:1")
    sim.task_definition("job", "app:1")
    sim.task_definition("blueprint", "app:1")
    sim.on_call = lambda index, operation, params: (
        AwsError(code, message) if str(params.get("taskDefinition")).endswith(live) else None
    )

    result = cli("-c", "prod", *command, "--taskdef", "blueprint", "-i", "app:2")

    assert result.code == 24
    assert result.changes == []


def test_a_file_with_an_image_is_edited(sim: Simulator, cli: Cli, tmp_path: Path) -> None:
    sim.service("prod", "web", image="app:1")
    file = tmp_path / "definition.json"
    file.write_text(json.dumps(described_by(sim, "web")))

    result = cli("-c", "prod", "-n", "web", "--task-definition-file", str(file), "-i", "app:7")

    assert result.requests("RegisterTaskDefinition")[0]["containerDefinitions"][0]["image"] == "app:7"


# --- No container, and what is printed of a change


def test_where_no_container_matches_each_one_is_named_with_its_image(sim: Simulator, cli: Cli) -> None:
    containers = [
        {"name": "web", "image": "registry.example/shop/web:1", "memory": 64},
        {"name": "proxy", "image": "envoy:v1", "memory": 64},
    ]
    sim.service("prod", "web", containers=containers)

    result = cli("-c", "prod", "-n", "web", "-i", "web:2")

    assert result.code == 14
    assert result.err.splitlines() == [
        "ERROR: No container of the task definition uses the image web: web runs registry.example/shop/web:1;"
        " proxy runs envoy:v1",
        "Give the image with the registry and repository that it has there, name the container (-l NAME=IMAGE),"
        " or give only a tag (-to TAG).",
    ]
    assert result.changes == []


def test_the_diff_names_what_changes_and_shows_no_values(sim: Simulator, cli: Cli) -> None:
    environment = [{"name": "LEVEL", "value": "debug-value"}, {"name": "GONE", "value": "gone-value"}]
    container = {"name": "job", "image": "app:1", "memory": 64, "environment": environment}
    sim.task_definition("job", containers=[container])
    edits = ["--container-envvar", "job=LEVEL=info-value", "--container-envvar", "job=GONE="]
    edits += ["--container-envvar", "job=NEW=new-value", "--container-secret", "job=KEY=key-value"]
    sim.registries.parameter("key-value")

    result = cli("-d", "job", "-i", "app:2", *edits)

    assert diff(result) == [
        "~ job: image app:1 -> app:2",
        "~ job: environment LEVEL",
        "- job: environment GONE",
        "+ job: environment NEW",
        "+ job: secrets KEY",
    ]
    assert "-value" not in result.out + result.err


def test_the_diff_of_another_definition_names_containers_and_members(sim: Simulator, cli: Cli) -> None:
    keeps = {"name": "keeps", "image": "app:1", "memory": 64, "cpu": 1, "user": "root"}
    goes = {"name": "goes", "image": "app:1", "memory": 64}
    live = sim.task_definition("web", containers=[keeps, goes], cpu="256", networkMode="bridge")
    sim.service("prod", "web", task_definition=live)
    changed = {"name": "keeps", "image": "app:1", "memory": 128, "user": "root", "privileged": False}
    comes = {"name": "comes", "image": "new:1", "memory": 64}
    sim.task_definition("web", containers=[changed, comes], cpu="512", memory="1024")

    result = cli("-c", "prod", "-n", "web", "--taskdef", "web", "--dry-run")

    assert result.code == 0
    assert diff(result) == [
        "- container goes",
        "~ keeps: memory",
        "- keeps: cpu",
        "+ keeps: privileged",
        "+ container comes: new:1",
        "~ cpu",
        "+ memory",
        "- networkMode",
    ]
    document = json.loads(cli("-c", "prod", "-n", "web", "--taskdef", "web", "--dry-run", "--output", "json").out)
    assert document["images"] == [{"container": "comes", "old": "", "new": "new:1"}]


def test_a_redeployed_file_without_a_change_says_so(sim: Simulator, cli: Cli, tmp_path: Path) -> None:
    sim.service("prod", "web", image="app:1")
    file = tmp_path / "definition.json"
    file.write_text(json.dumps(described_by(sim, "web")))

    result = cli("-c", "prod", "-n", "web", "--task-definition-file", str(file))

    assert diff(result) == ["nothing changes; the same definition is registered again"]


def diff(result: Result) -> list[str]:
    """The lines on stderr that tell of the change: they are indented."""
    return [line[2:] for line in result.err.splitlines() if line.startswith("  ")]
