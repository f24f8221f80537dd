"""Reading the command line: values, rules across options, what is only a warning, and the help."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecs_deploy import BadValue, Exit, UsageError, Value, __version__, given_options, main, parse, parser_of, shorthand
from tests.conftest import Cli
from tests.simulator import Simulator

SERVICE = ("-c", "prod", "-n", "web", "-i", "app:2")
RUN = ("-c", "prod", "-d", "job", "-i", "app:2", "--run-task")


# --- Help and version


def test_help_names_every_exit_code_with_its_meaning(cli: Cli) -> None:
    result = cli("--help")

    unbroken = result.out.replace(";\n       ", "; ")
    assert (result.code, result.err) == (0, "")
    for code in Exit:
        assert re.search(rf"^ +{code.value}  {re.escape(code.meaning)}$", unbroken, re.MULTILINE), code


COMMANDS = ("", "app", "status", "rollback", "replace-instances")


@pytest.mark.parametrize("word", COMMANDS)
def test_help_fits_a_terminal_and_its_examples_can_be_read(cli: Cli, word: str) -> None:
    result = cli(*word.split(), "--help", env={"COLUMNS": "80"})

    examples = re.findall(r"^ +ecs-deploy (.*)$", result.out.replace("\\\n", " ").partition("\nexample")[2], re.M)
    assert result.code == 0
    assert max(map(len, result.lines)) <= 80
    assert result.lines[-1], "it ends with a blank line"
    assert not re.search(r"\w-$", result.out, re.MULTILINE), "a name is broken at its hyphen"
    assert examples
    for example in examples:
        assert example.startswith(word)
        assert given_options(word, shlex.split(example.removeprefix(word)))


HEADS = {
    "": """ecs-deploy -c CLUSTER -n SERVICE (-i IMAGE | -to TAG | …) [options]
       ecs-deploy -d DEFINITION (-i IMAGE | -to TAG | …) [options]
       ecs-deploy app | status | rollback | replace-instances [options]

Deploy a service, register a task definition, or run a task, on Amazon ECS.

what most deployments need:
  -c, --cluster CLUSTER
                        the cluster; needed with -n and with --run-task
  -n, --service-name, --service SERVICE
                        deploy this service (repeatable)
  -i, --image IMAGE     [domain][:port][/repo][/]image[:tag][@digest] for
                        every container of that repository
  -to, --tag-only TAG   put this tag on every image of the definition
  -t, --timeout S       seconds for each of the two waits (default 90; 0: as
                        long as ECS takes)
  --enable-rollback     on failure go back, and wait for that too
""",
    "app": """ecs-deploy app --image-tag TAG [--config FILE] [options]

Deploy an application file: tasks before, all services at once, tasks after.

what to deploy:
  -f, --config FILE     the application file""",
    "status": """ecs-deploy status -c CLUSTER (-n SERVICE … | --all) [options]

What services run, how they do, and why not better; changes nothing.
Exit code 0 if each of them is steady.

what to look at:
  -c, --cluster CLUSTER
""",
    "rollback": """ecs-deploy rollback -c CLUSTER -n SERVICE … [--to REVISION] [options]

Take services back to the definition that worked before the present one,
and see it run.

what to take back:
  -c, --cluster CLUSTER
""",
    "replace-instances": """ecs-deploy replace-instances --cluster CLUSTER --asg GROUP [options]

Replace the EC2 instances of a cluster that are not as their Auto Scaling group
would launch them now: new ones first, then drain, then terminate.
A run that was stopped is continued by the next.

what to replace:
  -c, --cluster CLUSTER
""",
}


@pytest.mark.parametrize("word", COMMANDS)
def test_help_begins_with_how_to_call_the_command_and_what_it_does(cli: Cli, word: str) -> None:
    assert cli(*word.split(), "--help", env={"COLUMNS": "80"}).out.startswith(f"usage: {HEADS[word]}")


def test_help_begins_with_what_most_deployments_need(cli: Cli) -> None:
    result = cli("--help", env={"COLUMNS": "80"})

    titles = re.findall(r"^(\w.*):$", result.out, re.MULTILINE)
    flags = re.findall(r"^  (-[\w-]+)", result.out, re.MULTILINE)
    assert titles[0] == "what most deployments need"
    assert flags[:4] == ["-c", "-n", "-i", "-to"]


def test_no_arguments_print_ten_lines_of_usage_and_are_a_usage_error(cli: Cli) -> None:
    for nothing in (cli(), cli("", "")):
        assert (nothing.code, nothing.err) == (3, "")
        assert len(nothing.lines) <= 10
        assert nothing.out.startswith(cli("--help").out.partition("\n\n")[0])
        assert nothing.lines[4:] == [
            "Deploy a service, register a task definition, or run a task, on Amazon ECS:",
            "  ecs-deploy -c production1 -n doorman-service -i docker.repo.com/doorman:18",
            "",
            "All options, more examples and the exit codes: ecs-deploy --help",
            "The other commands have a --help of their own.",
        ]


def test_the_arguments_are_those_of_the_process_unless_others_are_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["ecs-deploy", "--version"])
    out = StringIO()

    assert main(env={}, out=out) == 0
    assert out.getvalue() == f"{__version__}\n"


def test_the_version_is_one_line(cli: Cli) -> None:
    result = cli("--version")

    assert result.code == 0
    assert re.fullmatch(r"\d+\.\d+\.\d+\n", result.out)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        pytest.param([], 3, id="no arguments"),
        pytest.param(["--help"], 0, id="help"),
        pytest.param(["--version"], 0, id="version"),
        pytest.param(["-n", "web"], 7, id="a missing option"),
        pytest.param(["-n", "web", "--nonsense"], 3, id="an unknown option"),
        pytest.param(["-c", "prod", "-n", "web", "-i", "a b"], 13, id="an unreadable image"),
    ],
)
def test_boto3_is_not_imported_where_nothing_is_called(arguments: list[str], code: int) -> None:
    script = (
        "import sys, ecs_deploy; code = ecs_deploy.main(sys.argv[1:]);"
        " print(sorted({'boto3', 'botocore', 'yaml'} & set(sys.modules)), int(code))"
    )
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=True)

    assert done.stdout.splitlines()[-1] == f"[] {code}"


# --- Values


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(
            ["-t", "1.5"],
            "argument -t/--timeout: '1.5' is not a whole number of 0 or more",
            id="a fraction of a second",
        ),
        pytest.param(
            ["-t", "٣"], "argument -t/--timeout: '٣' is not a whole number of 0 or more", id="a digit of another script"
        ),
        pytest.param(
            ["--max", "-1"], "argument -M/--max: '-1' is not a whole number of 0 or more", id="a negative percentage"
        ),
        pytest.param(
            ["--fail-fast", "1e3"], "argument --fail-fast: '1e3' is not a whole number of 0 or more", id="an exponent"
        ),
        pytest.param(
            ["-e", "\ud800"], "-e \ud800: the environment variable is not set", id="what no variable is called"
        ),
        pytest.param(["-D", "1.0"], "argument -D/--desired-count: invalid int value: '1.0'", id="a fraction of a task"),
        pytest.param(
            ["--output", "yaml"],
            "argument --output: invalid choice: 'yaml' (choose from 'text', 'json')",
            id="another output",
        ),
        pytest.param(
            ["--task-definition-file", "/nowhere"],
            "argument --task-definition-file: /nowhere cannot be read: No such file or directory",
            id="no file",
        ),
        pytest.param(
            ["--env-file", "web=/nowhere"],
            "argument --env-file: /nowhere cannot be read: No such file or directory",
            id="no env file",
        ),
        pytest.param(
            ["--container", "web"], "--container limits --tag-only, which was not given", id="containers without a tag"
        ),
        pytest.param(
            ["-toc", "web"], "--container limits --tag-only, which was not given", id="the same, comma-separated"
        ),
        pytest.param(
            ["--taskdef", "a", "--use-latest-task-def"],
            "Only one of --task-definition-file, --taskdef and --use-latest-task-def",
            id="two starts",
        ),
        pytest.param(["--env-file", "web"], "--env-file expects NAME=PATH", id="an env file of no container"),
        pytest.param(
            ["--container-secret", "web=A"], "--container-secret expects NAME=VAR=VALUEFROM", id="half a secret"
        ),
        pytest.param(["--container-envvar", "web==x"], "--container-envvar expects NAME=VAR=VALUE", id="no name"),
        pytest.param(["--container-envvar", "a b=X=1"], "--container-envvar expects NAME=VAR=VALUE", id="a bad name"),
    ],
)
def test_a_wrong_value_is_a_usage_error_that_says_what_was_expected(cli: Cli, arguments: list[str], said: str) -> None:
    result = cli(*SERVICE, *arguments)

    assert result.code == 3
    assert result.err == f"ERROR: {said}\n"
    assert result.out == ""
    assert result.calls == ()


ALONE = "--watch-container, --propagate-exit-code and --stop-on-interrupt require --wait-for-success"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(
            ["--network-configuration", "file:///nowhere"],
            "argument --network-configuration: /nowhere cannot be read: No such file or directory",
            id="no file",
        ),
        pytest.param(["--command", "job"], "--command expects NAME=COMMAND", id="a command of no container"),
        pytest.param(
            ["--command", "job=echo 'open"], "--command cannot be split as a shell would: No closing quotation",
            id="an open quote",
        ),
        pytest.param(
            ["--command", "job=a", "--command", "job=b"], "--command for job was given twice, with different values",
            id="two commands",
        ),
        pytest.param(["--watch-container", "job"], ALONE, id="a watched container, no wait"),
        pytest.param(["--propagate-exit-code"], ALONE, id="a propagated exit code, no wait"),
        pytest.param(["--stop-on-interrupt"], ALONE, id="stop on interrupt, no wait"),
        pytest.param(
            ["--launch-type", "EC2", "--capacity-provider-strategy", "capacityProvider=A"],
            "--launch-type and --capacity-provider-strategy exclude each other",
            id="a launch type and capacity providers",
        ),
    ],
)  # fmt: skip
def test_a_wrong_value_for_a_task_is_a_usage_error(cli: Cli, arguments: list[str], said: str) -> None:
    result = cli(*RUN, *arguments)

    assert result.code == 3
    assert result.err == f"ERROR: {said}\n"
    assert result.calls == ()


NETWORK = "awsvpcConfiguration={subnets=[subnet-1],securityGroups=[sg-1],assignPublicIp=ENABLED}"
STRATEGY = "capacityProvider=NAME,weight=1,base=0 (or a JSON list of these); weight and base are whole numbers"
OVERRIDES = "a JSON object"
NO_PAIRS = "expected key=value,key={…},key=[…] or JSON"
NOT_JSON = "the value is not JSON"
UNNAMED = "containerOverrides is not a list of objects with a name"


@pytest.mark.parametrize(
    ("option", "value", "wrong", "expected"),
    [
        pytest.param("--overrides", "[1]", "the value must be a table", OVERRIDES, id="overrides that are a list"),
        pytest.param("--overrides", "{", f"{NOT_JSON} (line 1 column 2)", OVERRIDES, id="half an object"),
        pytest.param("--overrides", "[" * 100_000, f"{NOT_JSON} (nesting)", OVERRIDES, id="too deep"),
        pytest.param(
            "--overrides", f'{{"containerOverrides": {"[" * 900}{"]" * 900}}}', f"{NOT_JSON} (nesting)", OVERRIDES,
            id="deep enough for a look to fail",
        ),
        pytest.param("--overrides", '{"containerOverrides": {}}', UNNAMED, OVERRIDES, id="no list"),
        pytest.param("--overrides", '{"containerOverrides": [{"name": "job"}, {}]}', UNNAMED, OVERRIDES, id="no name"),
        pytest.param("--network-configuration", "subnets=[a]", "it names no subnets", NETWORK, id="no awsvpc"),
        pytest.param(
            "--network-configuration", "awsvpcConfiguration=x",
            "the network configuration.awsvpcConfiguration must be a table", NETWORK, id="awsvpc of a word",
        ),
        pytest.param(
            "--network-configuration", "awsvpcConfiguration={subnets=[]}", "it names no subnets", NETWORK,
            id="no subnets",
        ),
        pytest.param(
            "--network-configuration", "{a=1}", "the network configuration is not JSON (line 1 column 2)", NETWORK,
            id="shorthand in braces",
        ),
        pytest.param(
            "--network-configuration", "[1]", "the network configuration must be a table", NETWORK, id="a list"
        ),
        pytest.param(
            "--capacity-provider-strategy", "weight=1", "it names no capacity provider", STRATEGY, id="no provider"
        ),
        pytest.param("--capacity-provider-strategy", "[]", "it names no capacity provider", STRATEGY, id="no item"),
        pytest.param(
            "--capacity-provider-strategy", '[{"capacityProvider": "A"}, {"weight": 1}]',
            "it names no capacity provider", STRATEGY, id="one of two without a provider",
        ),
        pytest.param(
            "--capacity-provider-strategy", "capacityProvider=A,weight=much",
            "the capacity provider strategy.weight must be a whole number", STRATEGY, id="a weight that is no number",
        ),
    ],
)  # fmt: skip
def test_a_wrong_member_of_a_tasks_request_is_named_with_what_was_expected(
    cli: Cli, option: str, value: str, wrong: str, expected: str
) -> None:
    result = cli(*RUN, option, value)

    assert (result.code, result.calls) == (3, ())
    assert result.err == f"ERROR: argument {option}: {wrong}; expected {expected}\n"


@pytest.mark.parametrize(
    "option",
    [
        "--count=2", "--capacity-provider-strategy=capacityProvider=A", "--network-from-service=web", "--overrides={}",
        "--command=job=true", "--watch-container=job", "--propagate-exit-code", "--stop-on-interrupt",
    ],
)  # fmt: skip
def test_options_of_tasks_need_run_task(cli: Cli, option: str) -> None:
    result = cli(
        "-d", "job", "-i", "app:2", *([option] if option != "--overrides={}" else ['--overrides={"cpu": "1"}'])
    )

    assert result.code == 3
    said = f"{option.partition('=')[0]} requires --run-task\nAdd --run-task to run the new revision."
    assert result.err == f"ERROR: {said}\n"


@pytest.mark.parametrize(
    ("arguments", "about"),
    [
        pytest.param(["--container-image", "web=app:1", "-l", "web=app:2"], "The image of container web", id="images"),
        pytest.param(
            ["--container-envvar", "web=A=1", "--container-envvar", "web=A=2"], "Variable A of container web",
            id="two values",
        ),
        pytest.param(
            ["--container-envvar", "web=A=1", "--container-secret", "web=A=1"], "Variable A of container web",
            id="a variable and a secret",
        ),
        pytest.param(
            ["--container-envvar", "web=A=1", "--container-envvar", "web=A="], "Variable A of container web",
            id="set and unset",
        ),
        pytest.param(
            ["--container-logopt", "web=awslogs=a=1", "--container-logopt", "web=awslogs=a=2"],
            "Log option a of container web", id="two values of a log option",
        ),
        pytest.param(
            ["--container-logopt", "web=splunk=a=1", "--container-logsecret", "web=splunk=a=1"],
            "Log option a of container web", id="a log option and a secret",
        ),
        pytest.param(["--task-role", "a", "--set", "taskRoleArn=b"], "taskRoleArn", id="a role and a member"),
    ],
)  # fmt: skip
def test_two_edits_that_contradict_each_other_are_a_usage_error(cli: Cli, arguments: list[str], about: str) -> None:
    result = cli("-c", "prod", "-n", "web", *arguments)

    assert (result.code, result.operations) == (3, [])
    assert result.err == f"ERROR: {about} was given twice, with different values\n"


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["--image=app:3"], id="two images"),
        pytest.param(["-cluster", "stage"], id="two clusters, spelled differently"),
        pytest.param(["-t", "30", "-t", "60"], id="two time-outs"),
        pytest.param(["-to", "1", "--tag-only=2"], id="two tags"),
        pytest.param(["-s", "AKIAHUNTER2", "-s", "AKIAHUNTER3"], id="two secrets"),
        pytest.param(["--output", "json", "--output", "text"], id="two outputs"),
    ],
)
def test_a_second_different_value_is_a_usage_error(cli: Cli, arguments: list[str]) -> None:
    result = cli(*SERVICE, *arguments)

    assert (result.code, result.operations) == (3, [])
    assert re.search(r"^ERROR: (-\w+/)?--[\w/-]+ was given twice, with different values$", result.err, re.MULTILINE)
    assert "AKIAHUNTER" not in result.err


@pytest.mark.parametrize("other", ["--enable-rollback", "--fail-fast=2"])
def test_not_to_wait_contradicts_what_needs_the_wait(cli: Cli, other: str) -> None:
    result = cli(*SERVICE, "--no-wait", other)

    assert (result.code, result.operations) == (3, [])
    assert result.err == "ERROR: --no-wait excludes --enable-rollback, --fail-fast and --wait-for-success\n"


def test_not_to_wait_for_a_task_and_to_wait_for_it_contradict(cli: Cli) -> None:
    result = cli(*RUN, "--no-wait", "--wait-for-success")

    assert (result.code, result.operations) == (3, [])
    assert result.err == "ERROR: --no-wait excludes --enable-rollback, --fail-fast and --wait-for-success\n"


def values(options: Value, within: str = "") -> Iterator[tuple[str, Any]]:
    """The dotted names of the options and their values."""
    for name, value in vars(options).items():
        yield from values(value, f"{within}{name}.") if isinstance(value, Value) else [(within + name, value)]


@pytest.mark.parametrize(
    ("word", "argv", "meant"),
    [
        (
            "",
            "-c prod -n web -i app:2",
            {"services": ("web",), "edits.image.name": "app", "edits.image.tag": "2", "run.count": 1},
        ),
        ("app", "-c prod -t 2 --config app.json", {"tag": "2", "services": [{"name": "web", "containers": ["web"]}]}),
        ("status", "-c prod -n web", {"services": ("web",)}),
        ("rollback", "-c prod -n web", {"services": ("web",)}),
        ("replace-instances", "-c prod --asg workers", {"group": "workers", "batch": (1, 0), "timeout_s": 900}),
    ],
)
def test_what_is_not_given_is_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, word: str, argv: str, meant: dict[str, Any]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("app.json").write_text('{"version": "v1", "services": [{"name": "web", "containers": ["web"]}]}')
    usual = {"cluster": "prod", "wait.timeout_s": 90, "wait.fail_fast": float("inf")}

    found = dict(values(parse(word, argv.split(), {})))

    assert {name: value for name, value in found.items() if value not in ("", (), [], None, False)} == {
        **usual,
        **meant,
    }


@pytest.mark.parametrize(("until", "draining"), [("primary-rolled", False), ("draining-started", True)])
def test_the_end_of_the_wait_is_that_of_go_awsecs(until: str, draining: bool) -> None:
    assert parse("", [*SERVICE, "-wait-until", until], {}).wait.until_draining is draining


def test_several_services_are_several_and_the_same_one_twice_is_one() -> None:
    argv = ["-c", "prod", "-n", "web", "-service", "worker", "--service-name=web", "-i", "app:2"]

    assert parse("", argv, {}).services == ("web", "worker")


def test_another_end_of_the_wait_is_a_usage_error(cli: Cli) -> None:
    unknown = cli(*SERVICE, "--wait-until", "soon")
    both = cli(*SERVICE, "--no-wait", "-wait-until=primary-rolled")

    assert (unknown.code, both.code) == (3, 3)
    assert "'soon' is neither primary-rolled nor draining-started" in unknown.err
    assert "--wait-until and --no-wait exclude each other" in both.err


def test_not_to_wait_is_an_option_of_the_wait() -> None:
    assert parse("", [*SERVICE, "--no-wait"], {}).wait.no_wait
    assert not parse("", SERVICE, {}).wait.no_wait


def test_the_same_value_twice_is_one(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")

    result = cli(*SERVICE, *SERVICE, "-cluster", "prod", "-t", "60", "--timeout=60", "-vvt60", "-v")

    assert (result.code, result.changes) == (0, ["RegisterTaskDefinition", "UpdateService"])


def test_the_same_edit_given_twice_is_one(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")

    result = cli(
        "-c", "prod", "-n", "web", "-l", "web=app:2", "-l", "web=app:2", *["--container-envvar", "web=A=1"] * 2
    )

    (sent,) = result.requests("RegisterTaskDefinition")
    assert sent["containerDefinitions"][0]["image"] == "app:2"
    assert sent["containerDefinitions"][0]["environment"] == [{"name": "A", "value": "1"}]


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["-k", "AKIAHUNTER2"], id="half a key"),
        pytest.param(["-s", "AKIAHUNTER2"], id="the other half"),
        pytest.param(["--container-envvar", "AKIAHUNTER2"], id="no container"),
        pytest.param(["--container-envvar", "web=PASSWORD AKIAHUNTER2"], id="no equals sign"),
        pytest.param(["--container-secret", "we b=KEY=AKIAHUNTER2"], id="a bad name"),
        pytest.param(["--container-envvar=web=A=AKIAHUNTER2", "--container-envvar=web=A=b"], id="a contradiction"),
        pytest.param(["--container-envvar=web=A=b", "--container-secret=web=A=AKIAHUNTER2"], id="two kinds"),
        pytest.param(["-con=AKIAHUNTER2"], id="what several options begin with"),
    ],
)
def test_a_usage_error_never_shows_what_may_be_secret(cli: Cli, arguments: list[str]) -> None:
    result = cli(*SERVICE, *arguments)

    assert result.code == 3
    assert "AKIAHUNTER2" not in result.out + result.err


@pytest.mark.parametrize(
    ("argument", "flag"),
    [
        ("--verbose=hunter2", "-v/--verbose"),
        ("--verbose=hunter2\n2", "-v/--verbose"),
        ("--help=hunter2", "-h/--help"),
    ],
)
def test_of_a_flag_with_a_value_the_value_is_not_shown(cli: Cli, argument: str, flag: str) -> None:
    result = cli(*SERVICE, argument)

    assert (result.code, result.operations) == (3, [])
    assert result.err == f"ERROR: argument {flag}: takes no value\nSee ecs-deploy --help.\n"


def test_of_what_several_options_begin_with_the_value_is_not_shown_either() -> None:
    """So says the argparse of some Pythons; others take what stands before the value for one option or none."""
    with pytest.raises(UsageError) as raised:
        parser_of("").error("ambiguous option: -con=hunter2 could match\nhunter2 could match -c, -container-image")

    assert str(raised.value) == "ambiguous option: -con could match -c, -container-image"


# --- What is something to do


@pytest.mark.parametrize(
    "line",
    ["-n web -D 0", "-n web -D 4", "-n web --taskdef web:5", "-n web --use-latest-task-def", "-d job --run-task"],
)
def test_a_count_a_revision_and_a_task_are_something_to_do(line: str) -> None:
    options = parse("", ["-c", "prod", *line.split()], {})

    assert not options.edits


# --- Errors that help


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(["--enable-rolback"], "--enable-rolback (did you mean --enable-rollback?)", id="a slip"),
        pytest.param(["--timout=5"], "--timout (did you mean --timeout?)", id="a slip before a value"),
        pytest.param(["--clutser", "x"], "--clutser (did you mean --cluster?)", id="letters swapped"),
        pytest.param(["--zzzz"], "--zzzz", id="nothing near"),
        pytest.param(
            ["--image-tag", "2"], "--image-tag (here -to TAG; it is an option of ecs-deploy app)", id="of app, and here"
        ),
        pytest.param(
            ["--batch", "2"], "--batch (it is an option of ecs-deploy replace-instances)", id="of another command"
        ),
        pytest.param(["--zzzz", "--fore"], "--zzzz, --fore", id="two of them"),
    ],
)
def test_an_unknown_option_comes_with_what_may_have_been_meant(cli: Cli, arguments: list[str], said: str) -> None:
    result = cli(*SERVICE, *arguments)

    assert (result.code, result.operations) == (3, [])
    assert result.err == f"ERROR: unknown option: {said}\nSee ecs-deploy --help.\n"


@pytest.mark.parametrize(("argument", "shown"), [("-zhunter2", "-z…"), ("-z7", "-z…"), ("-z", "-z")])
def test_of_an_unknown_option_of_one_letter_nothing_is_shown_that_may_be_its_value(
    cli: Cli, argument: str, shown: str
) -> None:
    result = cli(*SERVICE, argument)

    assert result.code == 3
    assert result.err == f"ERROR: unknown option: {shown}\nSee ecs-deploy --help.\n"


def test_an_option_of_the_classic_command_is_none_of_app(cli: Cli) -> None:
    result = cli("app", "-i", "x")

    assert result.code == 3
    assert result.err == "ERROR: unknown option: -i (it is an option of ecs-deploy)\nSee ecs-deploy app --help.\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param([*SERVICE, "-to", "1", "hunter2"], "argument 9 belongs to no option (after -to)", id="a value"),
        pytest.param(["-n", "hunter2", "", "hunter2"], "argument 4 belongs to no option (after -n)", id="as before"),
        pytest.param(["-n=web", "x"], "argument 2 belongs to no option (after -n)", id="after an equals sign"),
        pytest.param(["-v", "x", "-n", "x"], "argument 2 belongs to no option (after -v)", id="after a flag"),
        pytest.param(["-shunter2", "x"], "argument 2 belongs to no option (after -s…)", id="an attached value"),
        pytest.param(["-service", "a", "b"], "argument 3 belongs to no option (after -service)", id="one dash"),
        pytest.param(
            [*SERVICE, "app", "-t", "2"],
            "argument 7 belongs to no option (after -i); a command comes first: ecs-deploy app …",
            id="a command in the wrong place",
        ),
        pytest.param(
            ["deploy", "staus", *SERVICE],
            "argument 1 belongs to no option; the commands are app, status, rollback and replace-instances",
            id="no command",
        ),
        pytest.param(
            ["staus", "-c", "prod"],
            "argument 1 belongs to no option (did you mean ecs-deploy status?); the commands are app, status, rollback"
            " and replace-instances",
            id="nearly a command",
        ),
    ],
)
def test_an_argument_of_no_option_is_placed_and_not_shown(cli: Cli, arguments: list[str], said: str) -> None:
    result = cli(*arguments)

    assert (result.code, result.operations) == (3, [])
    assert result.err == f"ERROR: {said}\nSee ecs-deploy --help.\n"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        pytest.param(["--launch-type", "MAINFRAME"], 10, id="launch type"),
        pytest.param(["--network-configuration", "nonsense"], 11, id="network"),
        pytest.param(["--capacity-provider-strategy", "nonsense"], 3, id="capacity providers"),
        pytest.param(["--overrides", "nonsense"], 3, id="overrides"),
        pytest.param(["--count", "many"], 3, id="count"),
        pytest.param(["--command", "nonsense"], 3, id="command"),
    ],
)
def test_what_needs_run_task_is_checked_before_its_value_is_read(cli: Cli, arguments: list[str], code: int) -> None:
    result = cli("-d", "job", "-i", "app:2", *arguments)

    assert (result.code, result.operations) == (code, [])
    assert result.err == f"ERROR: {arguments[0]} requires --run-task\nAdd --run-task to run the new revision.\n"


# --- Values as given


def test_a_variable_keeps_its_blanks(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")

    result = cli(*SERVICE, "--container-envvar", " web = PAD =  x  ", "--container-envvar", "web=LINES=a\nb\n")

    (sent,) = result.requests("RegisterTaskDefinition")
    assert sent["containerDefinitions"][0]["environment"] == [
        {"name": "PAD", "value": "  x  "},
        {"name": "LINES", "value": "a\nb\n"},
    ]


@pytest.mark.parametrize("end", ["\u2028", "\x85", "\x0b", "\x0c", "\x1c", "\u2029", "\r"])
def test_only_a_newline_ends_a_line_of_an_env_file(sim: Simulator, cli: Cli, tmp_path: Path, end: str) -> None:
    sim.service("prod", "web", image="app:1")
    file = tmp_path / "web.env"
    file.write_bytes(f"TITLE=a{end}ADMIN=1\r\nLAST= z \n".encode())

    result = cli("-c", "prod", "-n", "web", "--env-file", f"web={file}")

    (sent,) = result.requests("RegisterTaskDefinition")
    assert sent["containerDefinitions"][0]["environment"] == [
        {"name": "TITLE", "value": f"a{end}ADMIN=1"},
        {"name": "LAST", "value": " z "},
    ]


# --- Files


NO_DEFINITION = " is not a task definition (family, containerDefinitions with names)"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param(b"{", " is not JSON (line 1 column 2)", id="not JSON"),
        pytest.param(b"\xff\xfe\x00", " cannot be read: not UTF-8 text", id="not text"),
        pytest.param(b"[]", NO_DEFINITION, id="a list"),
        pytest.param(b'{"taskDefinition": []}', NO_DEFINITION, id="a definition that is a list"),
        pytest.param(b'{"family": "web"}', NO_DEFINITION, id="no containers"),
        pytest.param(b'{"family": "web", "containerDefinitions": []}', NO_DEFINITION, id="zero containers"),
        pytest.param(b'{"family": "web", "containerDefinitions": [{}]}', NO_DEFINITION, id="no name"),
        pytest.param(
            b'{"family": "web", "containerDefinitions": [{"name": "web", "healthCheck": "curl"}]}',
            ": healthCheck is not an object",
            id="a health check that is no object",
        ),
        pytest.param(
            b'{"family": "web", "containerDefinitions": [{"name": "web", "logConfiguration": ["awslogs"]}]}',
            ": logConfiguration is not an object",
            id="a log configuration that is a list",
        ),
        pytest.param(
            b'{"family": "web", "containerDefinitions": [{"name": "web", "logConfiguration": {"options": "a=b"}}]}',
            ": options is not an object",
            id="log options that are a text",
        ),
        pytest.param(
            b'{"family": "web", "containerDefinitions": [{"name": "web", "logConfiguration": {"secretOptions": [1]}}]}',
            ": secretOptions is not a list of objects",
            id="log secrets that are numbers",
        ),
        pytest.param(
            b'{"family": "web", "containerDefinitions": [{"name": "web", "environment": ["A=1"]}]}',
            ": environment is not a list of objects",
            id="variables that are texts",
        ),
        pytest.param(
            b'{"family": "web", "containerDefinitions": [{"name": "web", "secrets": {"A": "arn"}}]}',
            ": secrets is not a list of objects",
            id="secrets that are no list",
        ),
        pytest.param(b'{"containerDefinitions": [{"name": "web"}]}', NO_DEFINITION, id="no family"),
        pytest.param(b'{"family": "web", "containerDefinitions": {"name": "web"}}', NO_DEFINITION, id="no list"),
        pytest.param(
            b'{"family": "web", "containerDefinitions": [{"name": "web"}], "tags": {"a": 1}}',
            ": tags is not a list of objects",
            id="tags that are no list",
        ),
    ],
)
def test_a_file_that_is_no_task_definition_is_a_usage_error(
    cli: Cli, tmp_path: Path, content: bytes, said: str
) -> None:
    file = tmp_path / "definition.json"
    file.write_bytes(content)

    result = cli("-c", "prod", "-n", "web", "--task-definition-file", str(file))

    assert result.code == 3
    assert result.err == f"ERROR: argument --task-definition-file: {file}{said}\n"


def test_a_file_of_another_family_than_the_one_that_is_named_is_a_usage_error(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "definition.json"
    file.write_text(json.dumps({"family": "other", "containerDefinitions": [{"name": "web", "image": "app:1"}]}))

    result = cli("-d", "job:3", "--task-definition-file", str(file))

    assert result.code == 3
    assert result.err == "ERROR: -d is job, but the file's family is other\n"


def test_a_home_directory_and_a_byte_order_mark_in_a_file_are_read(sim: Simulator, cli: Cli, tmp_path: Path) -> None:
    definition = {"family": "job", "containerDefinitions": [{"name": "job", "image": "app:1", "memory": 64}]}
    (tmp_path / "definition.json").write_text("\ufeff" + json.dumps(definition), encoding="utf-8")

    result = cli("-d", "job", "--task-definition-file", "~/definition.json")

    assert result.code == 0
    assert result.requests("RegisterTaskDefinition") == [definition]


def test_an_empty_file_is_no_network_configuration(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "network"
    file.write_text("\n")

    result = cli(*RUN, "--network-configuration", f"file://{file}")

    assert result.code == 3
    said = f"argument --network-configuration: {NO_PAIRS}; expected {NETWORK}"
    assert result.err == f"ERROR: {said}\n"


@pytest.mark.parametrize("line", ["export A=1", "A", "A B=1", "1A=x", "=x"])
def test_a_line_of_an_env_file_that_is_not_plain_is_a_usage_error(cli: Cli, tmp_path: Path, line: str) -> None:
    file = tmp_path / "web.env"
    file.write_text(f"# variables\n\nOK=1\n{line}\n")

    result = cli("-c", "prod", "-n", "web", "--env-file", f"web={file}")

    assert result.code == 3
    assert result.err == f"ERROR: argument --env-file: {file} line 4 is not KEY=VALUE\n"


# --- Warnings


@pytest.mark.parametrize(
    "option",
    ["--desired-count=2", "--min=50", "--max=200", "--force-new-deployment", "--enable-rollback",
     "--skip-deployments-check", "--fail-fast=2"],
)  # fmt: skip
def test_what_has_no_effect_on_a_definition_is_only_a_warning(sim: Simulator, cli: Cli, option: str) -> None:
    sim.task_definition("job", "app:1")

    result = cli("-d", "job", "-i", "app:2", option)

    assert result.code == 0
    assert f"Warning: {option.partition('=')[0]} has no effect without a service (-n)." in result.err.splitlines()
    assert result.operations == ["DescribeTaskDefinition", "RegisterTaskDefinition"]


def test_a_tag_from_the_environment_beside_tag_only_is_a_warning(sim: Simulator, cli: Cli) -> None:
    sim.task_definition("job", "app:1")

    result = cli("-d", "job", "-to", "3", "-e", "RELEASE")

    assert result.code == 0
    assert "Warning: --tag-env-var has no effect: --tag-only gives the tag." in result.err.splitlines()
    assert result.lines[0] == "Using image name: 3"


# --- The AWS CLI's shorthand


@pytest.mark.parametrize(
    ("text", "value"),
    [
        pytest.param("a=1", {"a": "1"}, id="a word"),
        pytest.param("a=1,b=2", {"a": "1", "b": "2"}, id="two words"),
        pytest.param("a=1,2,b=3", {"a": ["1", "2"], "b": "3"}, id="a list without brackets"),
        pytest.param("a=[1,2],b=[]", {"a": ["1", "2"], "b": []}, id="lists"),
        pytest.param("a={b={c=1}}", {"a": {"b": {"c": "1"}}}, id="structures"),
        pytest.param("a=[{b=1},{b=2}]", {"a": [{"b": "1"}, {"b": "2"}]}, id="structures in a list"),
        pytest.param("a='1,2',b=\"x y\"", {"a": "1,2", "b": "x y"}, id="quotes"),
        pytest.param('a=\'"1"\',b="it\'s"', {"a": '"1"', "b": "it's"}, id="quotes in quotes"),
        pytest.param(" a = [ 1 , 2 ] ", {"a": ["1", "2"]}, id="blanks"),
        pytest.param("a='' ", {"a": ""}, id="an empty word"),
    ],
)
def test_shorthand_is_read_as_the_aws_cli_reads_it(text: str, value: Any) -> None:
    assert shorthand(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "a=",
        "=1",
        "a={b=1",
        "a=[1",
        "a=1}",
        "a=1,,b=2",
        "a=[,]",
        "a=[1,]",
        "a='1",
        "a=[b=1]",
        "a={b=1]",
    ],
)
def test_what_is_not_shorthand_is_a_usage_error(cli: Cli, text: str) -> None:
    result = cli("-c", "prod", "-d", "job", "-i", "app:2", "--run-task", f"--network-configuration={text or '='}")

    assert result.code == 3
    assert result.err == f"ERROR: argument --network-configuration: {NO_PAIRS}; expected {NETWORK}\n"


WORDS = st.text("abcXYZ019-_./:", min_size=1, max_size=8)
VALUES = st.recursive(
    WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, min_size=1, max_size=3),
    max_leaves=12,
)


def in_shorthand(value: Any) -> str:
    """The value as the AWS CLI's shorthand spells it."""
    if isinstance(value, dict):
        return "{" + in_pairs(value) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(in_shorthand, value)) + "]"
    return str(value)


def in_pairs(value: dict[str, Any]) -> str:
    """The members of a structure, as shorthand."""
    return ",".join(f"{name}={in_shorthand(inner)}" for name, inner in value.items())


@given(st.dictionaries(WORDS, VALUES, min_size=1, max_size=4))
def test_shorthand_says_what_the_same_value_says_in_json(value: dict[str, Any]) -> None:
    assert shorthand(in_pairs(value)) == json.loads(json.dumps(value))


@given(st.text("ab=,{}[] '\"", max_size=12))
def test_any_text_is_shorthand_or_a_usage_error(text: str) -> None:
    try:
        found = shorthand(text)
    except BadValue:
        found = None
    assert found is None or (isinstance(found, dict) and found)
