"""Whatever is typed or stands in a file: an error with a documented code, never a traceback, and nothing is changed.

What the options and files look like is known here, so that most of what is made is nearly right. Never `--eval-image`,
which runs what it is given.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from ecs_deploy import Exit
from tests.conftest import Cli, Result
from tests.simulator import Simulator

Json = dict[str, Any]
examples = int(os.environ.get("BAD_INPUT_EXAMPLES", "100"))
nasty = settings(max_examples=examples, suppress_health_check=list(HealthCheck), deadline=None)

WRONG = range(Exit.USAGE, Exit.NO_CONTAINER + 1)
"""Codes that say that the input is wrong."""
BEFORE_ANY_CALL = range(Exit.USAGE, Exit.NO_CONTAINER)
HUGE = "9" * 400
LONGER_THAN_PYTHON_READS = "9" * 5000

FLAGS = """--use-latest-task-def --copy-task-definition-tags --force-new-deployment --skip-deployments-check
    --enable-rollback --keep-failed-revision --run-task --wait-for-success --propagate-exit-code --stop-on-interrupt
    --dry-run -v --aws-instance-profile""".split()  # noqa: SIM905 - three lines, not thirty
VALUED = """-n -d -c --taskdef --max-definitions -i -e -to --container -toc -l --env-file --container-envvar
    --container-secret -D -m -M -t --fail-fast --count --launch-type --platform-version --network-configuration
    --capacity-provider-strategy --network-from-service --overrides --command --watch-container --task-definition-file
    --output -k -s -r --service -desired-count""".split()  # noqa: SIM905

texts = st.text(st.characters(exclude_characters="\0"), max_size=12) | st.text(
    "ab1/:@=.,-_ {}[]'\"$`\\|\n", max_size=16
)
numbers = st.sampled_from(
    ("0", "1", "2", "-1", "+1", "007", "1.5", "1e3", "٣", "²", "", HUGE, LONGER_THAN_PYTHON_READS)
)
names = st.sampled_from(
    ("prod", "web", "job", "web:1", "nobody", "web=app:3", "web=COLOR=red", "web=COLOR=", "web=echo 'x")
)
images = st.sampled_from(
    ("app:2", "app", "registry.example.com:5000/app:2", "app@sha256:00", "app:", ":2", "a/b/c:d:e", "APP")
)
shorthands = st.sampled_from(
    (
        "awsvpcConfiguration={subnets=[subnet-1],securityGroups=[sg-1]}",
        "awsvpcConfiguration={subnets=[",
        '{"awsvpcConfiguration": {"subnets": 1}}',
        '{"awsvpcConfiguration": {"subnets": [{}]}}',
        "capacityProvider=a",
        "capacityProvider=a,weight=x",
        '[{"capacityProvider": []}]',
        '[{"capacityProvider": "a", "weight": 1e999}]',
        '{"containerOverrides": null}',
        '{"containerOverrides": [{"name": 1}]}',
        '{"containerOverrides": [{"name": "job", "environment": 3}]}',
        '{"a": NaN}',
        "a=b",
        "{}",
        "[]",
        "[1]",
        "null",
        "[" * 3000,
        "file:///nowhere",
    )
)
values = texts | numbers | names | images | shorthands | st.just("\udcff")
options = st.tuples(st.sampled_from(FLAGS)) | st.tuples(st.sampled_from(VALUED), values) | st.tuples(values)
begins = st.sampled_from(
    (
        ("-c", "prod", "-n", "web", "-i", "app:2"),
        ("-c", "prod", "-n", "web"),
        ("-d", "job"),
        ("-d", "job", "-i", "app:2"),
        ("-c", "prod", "-d", "job", "-i", "app:2", "--run-task"),
        (),
    )
)


def furnish(sim: Simulator) -> None:
    """A new world: a service, a definition to run, and a container with a secret."""
    sim.reset()
    container = {"name": "web", "image": "app:1", "memory": 128, "environment": [{"name": "COLOR", "value": "green"}]}
    sim.service("prod", "web", containers=[container])
    sim.task_definition("job", "app:1")


def assert_documented(sim: Simulator, result: Result) -> None:
    """The code is one of the table's and not a bug's; input that is wrong has changed nothing."""
    assert result.code in set(Exit) - {Exit.BUG}, result.err
    assert "Traceback" not in result.out + result.err
    if result.code in WRONG:
        assert result.changes == [], result.code
        assert re.search(r"ERROR: |usage: ", result.err + result.out)
    by_definition = " give container " in result.err  # only it says which container two edits are about
    if result.code in BEFORE_ANY_CALL and result.code != Exit.BAD_IMAGE and not by_definition:
        assert result.operations == [], result.code
    assert sim.violations == []


def unaffordable(argv: list[str]) -> bool:
    """Whether it asks for more tasks than a test can make; ECS itself would refuse."""
    counts = (value for option, value in pairwise(argv) if "count" in option or option == "-D")
    return any(len(value) > 3 for value in counts)


@pytest.fixture
def play(sim: Simulator, cli: Cli) -> Callable[[list[str]], Result]:
    def run(argv: list[str]) -> Result:
        furnish(sim)
        result = cli(*argv)
        assert_documented(sim, result)
        return result

    return run


Play = Callable[[list[str]], Result]


@nasty
@given(begins, st.lists(options, max_size=4), st.randoms(use_true_random=False))
def test_any_command_line_ends_with_a_documented_code(play: Play, begin: Any, more: Any, random: Any) -> None:
    parts = [*([begin] if begin else []), *more]
    random.shuffle(parts)
    argv = [word for part in parts for word in part]
    assume(not unaffordable(argv))

    play(argv)


@nasty
@given(begins, st.sampled_from(VALUED), values)
def test_any_value_of_any_option_ends_with_a_documented_code(play: Play, begin: Any, option: str, value: str) -> None:
    argv = [*begin, option, value]
    assume(not unaffordable(argv))

    play(argv)


@nasty
@given(texts | images)
def test_an_image_is_deployed_or_refused_before_anything_changes(play: Play, image: str) -> None:
    result = play(["-c", "prod", "-n", "web", f"--image={image}"])

    assert result.code in (Exit.OK, Exit.NO_CONTAINER, Exit.BAD_IMAGE, Exit.NOTHING_TO_DO, Exit.USAGE)
    assert result.changes == ([] if result.code else ["RegisterTaskDefinition", "UpdateService"])


@nasty
@given(st.sampled_from(("--network-configuration", "--capacity-provider-strategy", "--overrides")), texts | shorthands)
def test_shorthand_is_understood_or_refused_before_anything_changes(play: Play, option: str, text: str) -> None:
    result = play(["-c", "prod", "-d", "job", "-i", "app:2", "--run-task", f"{option}={text}"])

    assert result.code in (Exit.OK, Exit.USAGE, Exit.NO_CONTAINER, Exit.AWS)


@pytest.mark.parametrize("byte", [b"\x80", b"\xff"])
@pytest.mark.parametrize("option", ["-n", "-i", "-k", "-s", "-r", "-t", "--overrides"])
def test_an_argument_that_is_no_text_is_refused(play: Play, option: str, byte: bytes) -> None:
    result = play(["-c", "prod", "-n", "web", "-i", "app:2", option, byte.decode("utf-8", "surrogateescape")])

    assert (result.code, result.operations) == (Exit.USAGE, [])
    assert result.err == "ERROR: an argument is not UTF-8 text\nSee ecs-deploy --help.\n"


def test_a_session_token_that_no_header_can_carry_is_not_printed(sim: Simulator, cli: Cli) -> None:
    furnish(sim)

    result = cli("-c", "prod", "-n", "web", "-i", "app:2", "-v", env={"AWS_SESSION_TOKEN": "canary-token\n"})

    assert (result.code, result.operations) == (Exit.AWS, [])
    assert "canary" not in result.out + result.err


# --- Files

scalars = st.none() | st.booleans() | st.integers() | st.just(10**400) | st.floats() | st.text(max_size=6)
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=6
)
CONTAINER_MEMBERS = (
    "name",
    "image",
    "essential",
    "environment",
    "secrets",
    "healthCheck",
    "logConfiguration",
    "command",
)
entries = st.lists(
    st.fixed_dictionaries({"name": anything}, optional={"value": anything, "valueFrom": anything}), max_size=2
)
containers = st.fixed_dictionaries(
    {"name": st.just("web"), "image": st.just("app:1")},
    optional={
        "environment": entries | anything,
        "secrets": entries | anything,
        **dict.fromkeys(CONTAINER_MEMBERS[2:], anything),
    },
)
definitions = st.fixed_dictionaries(
    {
        "family": st.just("web") | anything,
        "containerDefinitions": st.lists(containers | anything, min_size=1, max_size=2) | anything,
    },
    optional={"tags": anything, "volumes": anything, "revision": anything},
)


@nasty
@given(st.binary(max_size=30) | anything.map(lambda value: json.dumps(value).encode()))
def test_any_file_as_definition_is_refused(play: Play, tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "definition.json"
    file.write_bytes(content)

    result = play(["-d", "web", "--task-definition-file", str(file)])

    assert result.code == Exit.USAGE
    assert str(file) in result.err


@nasty
@given(
    definitions
    | definitions.map(lambda definition: {"taskDefinition": definition, "tags": [{"key": "a", "value": "b"}]})
)
def test_a_definition_with_wrong_members_is_refused_by_the_program_or_by_ecs(
    play: Play, tmp_path: Path, made: Json
) -> None:
    file = tmp_path / "definition.json"
    file.write_text(json.dumps(made))

    play(["-d", "web", "--task-definition-file", str(file), "--container-envvar", "web=COLOR=red", "-to", "2"])
    play(["-c", "prod", "-n", "web", "--task-definition-file", str(file), "--dry-run"])


@nasty
@given(st.binary(max_size=40) | st.text("AB_=#\n \r\"'\x1c\u2028", max_size=30).map(str.encode))
def test_a_file_of_variables_is_taken_or_refused_before_anything_changes(
    play: Play, tmp_path: Path, content: bytes
) -> None:
    file = tmp_path / "variables"
    file.write_bytes(content)

    result = play(["-c", "prod", "-n", "web", "--env-file", f"web={file}"])

    assert result.code in (Exit.OK, Exit.USAGE)


tasks = st.fixed_dictionaries(
    {"family": st.just("job"), "count": st.just(1) | scalars, "containers": st.just(["job"]) | anything},
    optional={
        "launch_type": st.just("ec2") | anything,
        "capacity_provider_strategies": anything,
        "network_configuration": anything,
    },
)
services = st.fixed_dictionaries(
    {"name": st.just("web") | anything, "containers": st.just(["web"]) | anything},
    optional={"force": st.booleans() | anything, "max_wait": st.just(1) | scalars},
)
applications = st.fixed_dictionaries(
    {"version": st.just("v1"), "cluster": st.just("prod")},
    optional={
        "services": st.lists(services, max_size=2) | anything,
        "tasks": st.fixed_dictionaries({"pre": st.lists(tasks, max_size=1) | anything}) | anything,
        "nonsense": anything,
    },
)


@nasty
@given(
    st.sampled_from((".yml", ".json", ".toml")),
    st.binary(max_size=30) | st.text(":-[]{}&*!%@\"'#=ab\n\t ", max_size=20).map(str.encode),
)
def test_any_file_as_application_is_refused(play: Play, tmp_path: Path, suffix: str, content: bytes) -> None:
    file = tmp_path / f"application{suffix}"
    file.write_bytes(content)

    assert play(["app", "-t", "2", "-f", str(file)]).code in (Exit.USAGE, Exit.REQUIREMENT)


@nasty
@given(applications)
def test_an_application_with_wrong_values_is_refused_before_any_call(play: Play, tmp_path: Path, made: Json) -> None:
    file = tmp_path / "application.json"
    file.write_text(json.dumps(made))

    play(["app", "-t", "2", "-f", str(file)])
