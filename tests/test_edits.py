"""Edits of the containers: images, variables, secrets, env files; and what holds for any edits at all."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecs_deploy import Edits, ImageReference, edited, variable_edit
from tests.conftest import Cli, Result
from tests.simulator import Simulator

Json = dict[str, Any]
WEB = ("-c", "prod", "-n", "web")


@pytest.fixture
def site(sim: Simulator) -> Simulator:
    """A service of two containers; the first has a variable and a secret."""
    containers = [
        {
            "name": "web",
            "image": "shop/web:1",
            "memory": 64,
            "environment": [{"name": "LEVEL", "value": "info"}, {"name": "MODE", "value": "fast"}],
            "secrets": [{"name": "KEY", "valueFrom": "arn:aws:ssm:us-east-1:123456789012:parameter/key"}],
        },
        {"name": "proxy", "image": "envoy:v1", "memory": 64},
    ]
    sim.service("prod", "web", containers=containers)
    return sim


def containers(result: Result) -> list[Json]:
    """The containers of the one definition that was sent."""
    (definition,) = result.requests("RegisterTaskDefinition")
    return list(definition["containerDefinitions"])


# --- Images


@pytest.mark.parametrize("separator", ["=", "|", " = "])
@pytest.mark.parametrize("option", ["-l", "--container-image", "-container-image"])
def test_a_container_gets_the_image_that_is_given_for_it(
    site: Simulator, cli: Cli, option: str, separator: str
) -> None:
    result = cli(*WEB, option, f"proxy{separator}other.example:5000/envoy@sha256:00ff")

    assert result.code == 0
    assert [c["image"] for c in containers(result)] == ["shop/web:1", "other.example:5000/envoy@sha256:00ff"]
    assert result.lines[0] == "Using image name: other.example:5000/envoy@sha256:00ff"


def test_an_image_for_a_container_is_sent_as_it_was_given(site: Simulator, cli: Cli) -> None:
    result = cli(*WEB, "-l", "web=shop/web")

    assert containers(result)[0]["image"] == "shop/web"


def test_an_image_for_a_container_that_cannot_be_read_is_refused(cli: Cli) -> None:
    result = cli(*WEB, "-l", "web=shop/web:")

    assert result.code == 13
    assert result.err.startswith("ERROR: Unable to parse image name: shop/web:\n")


@pytest.mark.parametrize(
    "edit",
    [
        ["-l", "nobody=app:1"],
        ["--container-envvar", "nobody=A=1"],
        ["--container-secret", "nobody=A=b"],
        ["-to", "2", "--container", "nobody"],
    ],
    ids=["an image", "a variable", "a secret", "a tag"],
)
def test_an_unknown_container_is_an_error_that_lists_the_ones_there_are(
    site: Simulator, cli: Cli, edit: list[str]
) -> None:
    result = cli(*WEB, *edit)

    assert result.code == 14
    assert "ERROR: No container is named nobody; the task definition has: web, proxy" in result.err.splitlines()
    assert result.changes == []


def test_edits_are_applied_from_the_widest_to_the_narrowest(site: Simulator, cli: Cli) -> None:
    site.task_definition("job", containers=[{"name": n, "image": f"{n}:1", "memory": 64} for n in "abc"])

    wide = cli("-d", "job", "-to", "2", "--container", "a", "--container", "b", "-l", "c=c:4")
    narrow = cli("-d", "job:1", "-i", "b:3", "-l", "c=c:4")

    assert [c["image"] for c in containers(wide)] == ["a:2", "b:2", "c:4"]
    assert [c["image"] for c in containers(narrow)] == ["a:1", "b:3", "c:4"]


@pytest.mark.parametrize(
    ("edits", "said"),
    [
        pytest.param(["-to", "2"], "--tag-only 2", id="another tag"),
        pytest.param(["-i", "c:3"], "--image c:3", id="another image"),
    ],
)
def test_two_images_for_one_container_are_a_usage_error(site: Simulator, cli: Cli, edits: list[str], said: str) -> None:
    site.task_definition("job", containers=[{"name": "c", "image": "c:1", "memory": 64}])

    result = cli("-d", "job", *edits, "-l", "c=c:4")

    assert result.code == 3
    assert f"ERROR: {said} and --container-image give container c different images" in result.err.splitlines()
    assert result.changes == []


# --- Variables and secrets


@pytest.mark.parametrize(
    ("edit", "environment", "secrets"),
    [
        pytest.param("web=LEVEL=debug", {"LEVEL": "debug", "MODE": "fast"}, {"KEY"}, id="changed in its place"),
        pytest.param("web=NEW=1", {"LEVEL": "info", "MODE": "fast", "NEW": "1"}, {"KEY"}, id="added at the end"),
        pytest.param("web=URL=a=b=c", {"LEVEL": "info", "MODE": "fast", "URL": "a=b=c"}, {"KEY"}, id="equals signs"),
        pytest.param("web=LEVEL=", {"MODE": "fast"}, {"KEY"}, id="unset"),
        pytest.param("web=NEVER=", {"LEVEL": "info", "MODE": "fast"}, {"KEY"}, id="unset what is not set"),
        pytest.param("web=KEY=x", {"LEVEL": "info", "MODE": "fast", "KEY": "x"}, set(), id="a secret moves over"),
        pytest.param("web=KEY=", {"LEVEL": "info", "MODE": "fast"}, set(), id="a secret is unset, too"),
    ],
)
def test_a_variable_is_set_or_unset(
    site: Simulator, cli: Cli, edit: str, environment: dict[str, str], secrets: set[str]
) -> None:
    result = cli(*WEB, "--container-envvar", edit)

    web, proxy = containers(result)
    assert result.code == 0
    assert {entry["name"]: entry["value"] for entry in web["environment"]} == environment
    assert [entry["name"] for entry in web["environment"]] == list(environment)
    assert {entry["name"] for entry in web["secrets"]} == secrets
    assert proxy == {"name": "proxy", "image": "envoy:v1", "memory": 64}


@pytest.mark.parametrize(
    ("edit", "variables", "secrets"),
    [
        pytest.param("web=KEY=arn:new", ["LEVEL", "MODE"], {"KEY": "arn:new"}, id="changed"),
        pytest.param("web=LEVEL=arn:l", ["MODE"], {"KEY": "old", "LEVEL": "arn:l"}, id="a variable moves over"),
        pytest.param("web=KEY=", ["LEVEL", "MODE"], {}, id="unset"),
    ],
)
def test_a_secret_is_set_or_unset(
    site: Simulator, cli: Cli, edit: str, variables: list[str], secrets: dict[str, str]
) -> None:
    result = cli(*WEB, "--container-secret", edit)

    web = containers(result)[0]
    old = "arn:aws:ssm:us-east-1:123456789012:parameter/key"
    assert [entry["name"] for entry in web["environment"]] == variables
    assert {e["name"]: e["valueFrom"] for e in web["secrets"]} == {
        n: old if v == "old" else v for n, v in secrets.items()
    }


def test_a_container_without_variables_gets_its_first(site: Simulator, cli: Cli) -> None:
    result = cli(*WEB, "--container-envvar", "proxy=A=1", "--container-secret", "proxy=B=arn:b")

    assert containers(result)[1] == {
        "name": "proxy",
        "image": "envoy:v1",
        "memory": 64,
        "environment": [{"name": "A", "value": "1"}],
        "secrets": [{"name": "B", "valueFrom": "arn:b"}],
    }


def test_a_container_without_variables_stays_without_when_one_is_unset(site: Simulator, cli: Cli) -> None:
    result = cli(*WEB, "--container-envvar", "proxy=A=")

    assert containers(result)[1] == {"name": "proxy", "image": "envoy:v1", "memory": 64}


def test_a_name_that_stands_twice_is_set_once(sim: Simulator, cli: Cli) -> None:
    environment = [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}, {"name": "A", "value": "3"}]
    sim.task_definition("job", containers=[{"name": "job", "image": "a:1", "memory": 64, "environment": environment}])

    result = cli("-d", "job", "--container-envvar", "job=A=9")

    assert containers(result)[0]["environment"] == [{"name": "B", "value": "2"}, {"name": "A", "value": "9"}]


def test_many_edits_make_one_revision_and_one_deployment(site: Simulator, cli: Cli) -> None:
    edits = ["-l", "web=shop/web:2", "-l", "proxy=envoy:v2", "--container-envvar", "web=LEVEL=debug"]
    edits += ["--container-envvar", "web=MODE=", "--container-secret", "web=KEY=arn:new"]

    result = cli(*WEB, *edits, "-D", "2", "-t", "120")

    web, proxy = containers(result)
    assert result.code == 0
    assert result.changes == ["RegisterTaskDefinition", "UpdateService"]
    assert (web["image"], proxy["image"]) == ("shop/web:2", "envoy:v2")
    assert web["environment"] == [{"name": "LEVEL", "value": "debug"}]
    assert web["secrets"] == [{"name": "KEY", "valueFrom": "arn:new"}]
    assert result.requests("UpdateService")[0]["desiredCount"] == 2


# --- Env files


def test_an_env_file_sets_its_plain_lines(site: Simulator, cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "web.env"
    file.write_text('# how much is written\nLEVEL=debug\n\n  QUOTED="as it stands"  \nEMPTY=\nKEY=plain\na.b-c=1=2\n')

    result = cli(*WEB, "--env-file", f"web={file}")

    web = containers(result)[0]
    assert {entry["name"]: entry["value"] for entry in web["environment"]} == {
        "LEVEL": "debug",
        "MODE": "fast",
        "QUOTED": '"as it stands"  ',
        "KEY": "plain",
        "a.b-c": "1=2",
    }
    assert web["secrets"] == []


def test_a_variable_on_the_command_line_wins_over_an_env_file(site: Simulator, cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "web.env"
    file.write_text("LEVEL=debug\nMODE=slow\n")

    result = cli(*WEB, "--container-envvar", "web=LEVEL=trace", "--env-file", f"web={file}")

    web = containers(result)[0]
    assert {entry["name"]: entry["value"] for entry in web["environment"]} == {"LEVEL": "trace", "MODE": "slow"}


# --- Whatever the edits are

NAMES = st.sampled_from(["A", "B", "C", "D"])
IMAGES = st.sampled_from(["shop/web:1", "shop/web@sha256:00", "registry.example:5000/shop/web", "envoy:v1"])


@st.composite
def definitions(draw: st.DrawFn) -> Json:
    """A definition of one to three containers, as ECS would take it."""
    count = draw(st.integers(1, 3))
    return {"family": "job", "cpu": "256", "containerDefinitions": [draw(container(n)) for n in "xyz"[:count]]}


@st.composite
def container(draw: st.DrawFn, name: str) -> Json:
    """A container; no name is both a variable and a secret."""
    variables = draw(st.lists(NAMES, unique=True, max_size=3))
    secrets = draw(st.lists(NAMES.filter(lambda each: each not in variables), unique=True, max_size=2))
    lists: dict[str, list[Json]] = {
        "environment": [{"name": each, "value": draw(st.text(max_size=3))} for each in variables],
        "secrets": [{"name": each, "valueFrom": f"arn:{each}"} for each in secrets],
    }
    empty_ones_too: bool = draw(st.booleans())
    kept = {member: entries for member, entries in lists.items() if entries or empty_ones_too}
    return {"name": name, "image": draw(IMAGES), "memory": 64, **kept}


@st.composite
def changes(draw: st.DrawFn) -> tuple[Json, Edits]:
    """A definition, and edits that its containers allow and that do not contradict one another."""
    definition = draw(definitions())
    names = st.sampled_from([each["name"] for each in definition["containerDefinitions"]])
    live = st.sampled_from([each["image"] for each in definition["containerDefinitions"]])
    image = draw(st.none() | live.map(lambda found: ImageReference.parse(found).with_tag("3")))
    moved = [] if image else [each["name"] for each in definition["containerDefinitions"]]
    variable = st.builds(variable_edit, names, NAMES, st.sampled_from(["", "1", "ü\n"]), secret=st.booleans())
    tag = draw(st.sampled_from(["", "2"]))
    edits = Edits(
        tag=tag,
        tag_containers=tuple(draw(st.lists(names, unique=True, max_size=2))),
        image=image,
        images=tuple((name, f"other:{tag or 4}") for name in moved if draw(st.booleans())),
        members=tuple(draw(st.lists(variable, max_size=4, unique_by=lambda each: (each.steps[1], each.steps[3])))),
    )
    return definition, edits


@given(changes())
def test_an_edit_touches_what_it_names_and_nothing_else(change: tuple[Json, Edits]) -> None:
    old, edits = change
    new = edited(old, edits)

    assert {**new, "containerDefinitions": []} == {**old, "containerDefinitions": []}
    for before, after in zip(old["containerDefinitions"], new["containerDefinitions"], strict=True):
        named = {edit.steps[3][1] for edit in edits.members if edit.steps[1] == ("name", before["name"])}
        assert untouched(after, named) == untouched(before, named)
        assert after["image"] == expected_image(before, edits)


@given(changes())
def test_an_edit_sets_what_it_says(change: tuple[Json, Edits]) -> None:
    old, edits = change
    after = {each["name"]: each for each in edited(old, edits)["containerDefinitions"]}

    for edit in edits.members:
        container, member, name = edit.steps[1][1], edit.steps[2], edit.steps[3][1]
        variables = {e["name"]: e["value"] for e in after[container].get("environment", [])}
        secrets = {e["name"]: e["valueFrom"] for e in after[container].get("secrets", [])}
        wanted, other = (secrets, variables) if member == "secrets" else (variables, secrets)
        assert wanted.get(name) == edit.value
        assert name not in other


@given(changes())
def test_to_edit_twice_is_to_edit_once(change: tuple[Json, Edits]) -> None:
    old, edits = change
    once = edited(old, edits)

    assert edited(once, edits) == once


@given(changes())
def test_an_edit_leaves_the_old_definition_as_it_was(change: tuple[Json, Edits]) -> None:
    old, edits = change
    before = copy.deepcopy(old)

    edited(old, edits)

    assert old == before


def untouched(definition: Json, named: set[str]) -> Json:
    """The container without its image and without the variables and secrets that are named."""
    rest = {member: value for member, value in definition.items() if member not in ("image", "environment", "secrets")}
    lists = {
        member: [entry for entry in definition.get(member, []) if entry["name"] not in named]
        for member in ("environment", "secrets")
    }
    return {**rest, **lists}


def expected_image(before: Json, edits: Edits) -> str:
    """The image that a container has after the edits, said in another way than the program says it."""
    own = ImageReference.parse(before["image"])
    if before["name"] in dict(edits.images):
        return dict(edits.images)[before["name"]]
    if edits.image and edits.image.name == own.name:
        return str(edits.image)
    limited = bool(edits.tag_containers) and before["name"] not in edits.tag_containers
    return f"{own.name}:{edits.tag}" if edits.tag and not limited else str(before["image"])


# --- Log options and the role, as go-awsecs spells them

LOGS = {"logDriver": "awslogs", "options": {"awslogs-group": "web", "awslogs-region": "r"}}


def logged(cli: Cli, *arguments: str) -> Any:
    """What the container's log configuration is in the new revision."""
    result = cli("-d", "job", "-cluster", "prod", *arguments)
    assert result.code == 0, result.err
    (sent,) = result.requests("RegisterTaskDefinition")
    return sent["containerDefinitions"][0].get("logConfiguration")


@pytest.mark.parametrize(
    ("before", "arguments", "after"),
    [
        pytest.param(LOGS, ["-container-logopt", "web=awslogs=awslogs-group=a=b c"],
                     {**LOGS, "options": {"awslogs-group": "a=b c", "awslogs-region": "r"}}, id="an option is set"),
        pytest.param(LOGS, ["-container-logopt", "web=awslogs=awslogs-region="],
                     {**LOGS, "options": {"awslogs-group": "web"}}, id="an empty value unsets"),
        pytest.param(LOGS, ["-container-logopt", "web=awslogs=="], None, id="an empty key takes the driver away"),
        pytest.param(LOGS, ["--container-logopt=web=awslogs==", "--container-logopt=proxy=awslogs=="], None,
                     id="the drivers of two containers"),
        pytest.param(LOGS, ["--container-logopt=web=awslogs==", "--container-logopt=web=splunk=="], None,
                     id="a driver, and one that is not there"),
        pytest.param(None, ["-container-logopt=web=splunk=url=u", "-container-logsecret=web=splunk=token=arn"],
                     {"logDriver": "splunk", "options": {"url": "u"},
                      "secretOptions": [{"name": "token", "valueFrom": "arn"}]}, id="a driver where there is none"),
        pytest.param(LOGS, ["--container-logopt=web=splunk=splunk-url=u", "--container-logopt=web=awslogs=="],
                     {"logDriver": "splunk", "options": {"splunk-url": "u"}}, id="another driver"),
        pytest.param({"logDriver": "splunk", "secretOptions": [{"name": n, "valueFrom": "x"} for n in ("a", "b")]},
                     ["-container-logsecret", "web=splunk=a=y", "-container-logsecret", "web=splunk=b="],
                     {"logDriver": "splunk", "secretOptions": [{"name": "a", "valueFrom": "y"}]}, id="secrets"),
        pytest.param(None, ["-container-logopt", "web=awslogs=awslogs-region=", "--container-envvar", "web=A=1"], None,
                     id="nothing to unset"),
    ],
)  # fmt: skip
def test_log_options_are_set_and_unset(sim: Simulator, cli: Cli, before: Any, arguments: list[str], after: Any) -> None:
    sim.registries.parameter("y")
    container = {"name": "web", "image": "app:1", "memory": 64, **({"logConfiguration": before} if before else {})}
    sim.task_definition("job", containers=[container, {"name": "proxy", "image": "envoy:1", "memory": 64}])

    assert logged(cli, *arguments) == after


def test_an_option_of_another_log_driver_is_refused(sim: Simulator, cli: Cli) -> None:
    sim.task_definition("job", containers=[{"name": "web", "image": "a:1", "memory": 64, "logConfiguration": LOGS}])

    result = cli("-d", "job", "-container-logopt", "web=splunk=splunk-url=u")

    assert (result.code, result.changes) == (14, [])
    assert result.err.splitlines()[-2:] == [
        "ERROR: Container web logs with awslogs, not splunk",
        "To change the driver, take the old one away first: --container-logopt web=awslogs==",
    ]


def test_a_new_log_driver_may_come_with_an_option_that_is_to_be_unset(sim: Simulator, cli: Cli) -> None:
    sim.task_definition("job", containers=[{"name": "web", "image": "a:1", "memory": 64, "logConfiguration": LOGS}])
    options = ["web=awslogs==", "web=splunk=splunk-source=", "web=splunk=splunk-url=u"]

    after = logged(cli, *(word for option in options for word in ("--container-logopt", option)))

    assert after == {"logDriver": "splunk", "options": {"splunk-url": "u"}}


@pytest.mark.parametrize("text", ["web", "web=awslogs", "web=awslogs=a", "web==a=b", "we b=awslogs=a=b"])
def test_half_a_log_option_is_a_usage_error(cli: Cli, text: str) -> None:
    for option in ("--container-logopt", "--container-logsecret"):
        result = cli("-d", "job", option, text)

        assert (result.code, result.operations) == (3, [])
        assert f"{option} expects NAME=DRIVER=KEY=VALUE" in result.err


def test_log_options_of_a_container_that_is_not_there_are_refused(sim: Simulator, cli: Cli) -> None:
    sim.task_definition("job", "app:1")

    assert cli("-d", "job", "-container-logopt", "nobody=awslogs=a=b").code == 14


@pytest.mark.parametrize(("given", "role"), [("arn:aws:iam::1:role/b", "arn:aws:iam::1:role/b"), ("None", None)])
def test_the_role_of_the_tasks_is_set_or_cleared(sim: Simulator, cli: Cli, given: str, role: str | None) -> None:
    sim.task_definition("job", "app:1", taskRoleArn="arn:aws:iam::1:role/a")

    result = cli("-d", "job", "-task-role", given)

    (sent,) = result.requests("RegisterTaskDefinition")
    assert sent.get("taskRoleArn") == role
