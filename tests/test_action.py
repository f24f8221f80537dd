"""The GitHub Action as its users run it: from a workflow's `with:` to outputs, annotations and summary.

`Runner` does what GitHub's runner does for an action in a container: it sets `INPUT_*` from `with:` and action.yml's
defaults, obeys the workflow commands in the output, and reads the output file.
"""

from __future__ import annotations

import html
import json
import os
import re
import shlex
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cmarkgfm
import pytest
import yaml

import ecs_deploy
from ecs_deploy import Exit
from tests.conftest import Cli, Result
from tests.simulator import AwsError, Simulator

ROOT = Path(__file__).parent.parent
ACTION: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
PREFIX = "arn:aws:ecs:us-east-1:123456789012:task-definition"
CREDENTIALS = {"aws_access_key": "AKIAINPUT", "aws_secret_key": "secret/of+the%workflow"}


@dataclass
class Step:
    """How a step ended, as the runner and the workflow see it."""

    result: Result
    outputs: dict[str, str] = field(default_factory=dict)
    summary: str = ""
    masks: list[str] = field(default_factory=list)
    annotations: list[tuple[str, str]] = field(default_factory=list)
    groups: dict[str, list[str]] = field(default_factory=dict)
    unknown_commands: list[str] = field(default_factory=list)
    log: list[str] = field(default_factory=list)

    @property
    def code(self) -> int:
        return self.result.code

    def obey(self, text: str) -> None:
        """Read the log as the runner does: a line that begins with :: is a command, unless commands are stopped."""
        resume, group = "", ""
        for line in text.splitlines():
            match = re.match(r"\s*::([\w-]+)(?: [^:]*)?::(.*)", line)
            if resume or match is None:
                if resume and line.strip() == f"::{resume}::":
                    resume = ""
                    continue
                self.log.append(line)
                if group:
                    self.groups[group].append(line)
                continue
            name = match[1]
            message = match[2].replace("%0A", "\n").replace("%0D", "\r").replace("%25", "%")
            if name == "stop-commands":
                resume = message
            elif name == "add-mask":
                assert not self.log, "something was printed before the mask"
                self.masks.append(message)
            elif name in ("error", "warning"):
                self.annotations.append((name, message))
            elif name == "group":
                assert not group, "groups cannot be nested"
                group = message
                self.groups[group] = []
            elif name == "endgroup":
                group = ""
            else:
                self.unknown_commands.append(name)
        assert not resume
        assert not group

    def read_outputs(self, text: str) -> None:
        """The output file: name<<delimiter, lines, delimiter."""
        lines = iter(text.splitlines())
        for line in lines:
            name, _, delimiter = line.partition("<<")
            assert delimiter, line
            value = []
            while (part := next(lines)) != delimiter:
                value.append(part)
            self.outputs[name] = "\n".join(value)


Run = Callable[..., Step]


@pytest.fixture
def step(cli: Cli, tmp_path: Path) -> Run:
    """`step('cluster: prod …', env={…})` runs this action with that `with:` block."""

    def run(given: str, env: Mapping[str, str] | None = None) -> Step:
        inputs, argv = as_the_runner_does(given)
        files = {name: tmp_path / name for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
        for file in files.values():
            file.write_text("")
        runner = {"GITHUB_ACTIONS": "true", "CI": "true", **{name: str(file) for name, file in files.items()}}
        result = cli(*argv, env={**runner, **inputs, **(env or {})})
        done = Step(result, summary=files["GITHUB_STEP_SUMMARY"].read_text("utf-8"))
        done.read_outputs(files["GITHUB_OUTPUT"].read_text("utf-8"))
        done.obey(result.err if inputs.get("INPUT_OUTPUT") == "json" else result.out)
        return done

    return run


def as_the_runner_does(given: str) -> tuple[dict[str, str], list[str]]:
    """The INPUT_* variables and the arguments that the runner makes of a `with:` block and action.yml."""
    block = {name.lower(): _as_text(value) for name, value in (yaml.safe_load(given) or {}).items()}
    assert set(block) <= {*ACTION["inputs"], "args", "entrypoint"}, "the runner warns of unexpected inputs"
    values = {name: str(declared.get("default", "")) for name, declared in ACTION["inputs"].items()} | block
    variables = {f"INPUT_{name.replace(' ', '_').upper()}": value for name, value in values.items()}
    assert "args" not in ACTION["runs"]
    return variables, shlex.split(values.get("args", ""))


def _as_text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else "" if value is None else str(value)


@pytest.fixture
def shop(sim: Simulator) -> Simulator:
    sim.service("prod", "web", image="shop/web:1")
    sim.task_definition("job", "shop/job:1")
    return sim


# action.yml


NO_INPUT = ("--help", "--version", "--completion")


def input_names() -> dict[str, str]:
    """The input of each option of each command, and the option's first long name."""
    options = [option for group in ecs_deploy.OPTIONS for option in group.options]
    long = [next(flag for flag in option.flags if flag.startswith("--")) for option in options]
    return {flag.removeprefix("--").replace("-", "_"): flag for flag in long if flag not in NO_INPUT}


def test_every_option_of_every_command_has_an_input_and_every_input_its_twin() -> None:
    options = set(input_names())

    assert {name for name in ACTION["inputs"] if not name.endswith("_cmd")} == options
    assert {name for name in ACTION["inputs"] if name.endswith("_cmd")} == {f"{name}_cmd" for name in options}


def test_an_input_is_named_as_its_options_first_long_name() -> None:
    for name, long in input_names().items():
        assert ACTION["inputs"][f"{name}_cmd"] == {"description": long}


def test_the_readmes_workflow_deploys_and_its_outputs_exist(sim: Simulator, step: Run) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (block,) = [text for text in re.findall(r"```yaml\n(.*?)```", readme, re.DOTALL) if "/ecs-deploy@v1" in text]
    steps = yaml.safe_load(block.replace("${{ github.sha }}", "18"))["jobs"]["deploy"]["steps"]
    (given,) = [step["with"] for step in steps if "/ecs-deploy@v1" in step.get("uses", "")]
    sim.service("production1", "doorman-service", image="docker.repo.com/doorman:17")

    done = step(yaml.safe_dump(given))

    assert done.code == Exit.OK
    assert sim.running("production1", "doorman-service") == {"docker.repo.com/doorman:18": 1}
    assert set(re.findall(r"outputs\.([\w-]+)", block)) <= set(done.outputs)
    assert f"- Outputs: {', '.join(f'`{name}`' for name in ACTION['outputs'])}." in readme


def test_no_input_has_a_default_is_required_or_reaches_the_command_line() -> None:
    for name, declared in ACTION["inputs"].items():
        assert set(declared) == {"description"}, name
    released = rf"docker://ghcr\.io/[a-z0-9._/-]+:{re.escape(ecs_deploy.__version__)}@sha256:[0-9a-f]{{64}}"
    assert ACTION["runs"].keys() == {"using", "image"}
    assert ACTION["runs"]["using"] == "docker"
    assert re.fullmatch(f"Dockerfile|{released}", ACTION["runs"]["image"])


def test_every_declared_output_is_set(shop: Simulator, step: Run) -> None:
    deployed, refused = step("{cluster: prod, service_name: web, image: shop/web:2}"), step("")

    assert (deployed.code, refused.code) == (Exit.OK, Exit.NO_TARGET)
    assert set(deployed.outputs) == set(refused.outputs) == set(ACTION["outputs"])


# Inputs

WITH_TWINS = """
aws_access_key_cmd: '--aws-access-key'
aws_access_key: AKIAINPUT
aws_secret_key_cmd: '--aws-secret-key'
aws_secret_key: secret/of+the%workflow
cluster_cmd: '--cluster'
cluster: 'cluster-name'
image_cmd: '--image'
image: '123456789012.dkr.ecr.us-east-1.amazonaws.com/cluster-name/image_name:latest'
region_cmd: '--region'
region: 'us-east-1'
service_name_cmd: '--service-name'
service_name: 'aws-service-name'
timeout_cmd: '--timeout'
timeout: '360'
"""
WITHOUT_TWINS = "\n".join(line for line in WITH_TWINS.splitlines() if "_cmd" not in line)


@pytest.mark.parametrize("given", [WITH_TWINS, WITHOUT_TWINS], ids=["with twins", "without twins"])
def test_the_workflow_of_the_shell_scripts_readme_deploys(sim: Simulator, step: Run, given: str) -> None:
    image = "123456789012.dkr.ecr.us-east-1.amazonaws.com/cluster-name/image_name"
    sim.service("cluster-name", "aws-service-name", image=f"{image}:1")
    sim.image(f"{image}:latest").starts_after(300)
    sim.registries.repository("cluster-name/image_name").push("latest")

    done = step(given)

    assert done.code == Exit.OK
    assert sim.running("cluster-name", "aws-service-name") == {f"{image}:latest": 1}
    assert {call.access_key for call in done.result.calls} == {"AKIAINPUT"}
    assert done.outputs["status"] == "success"


@pytest.mark.parametrize("command", ["app", "status", "rollback", "replace-instances"])
def test_the_input_command_is_the_first_word(command: str) -> None:
    inputs, _ = as_the_runner_does(f"{{cluster: prod, command: {command}}}")

    assert ecs_deploy.action_arguments(inputs) == [command, "--cluster=prod"]


FLAGS = ["use_latest_task_def", "enable_rollback", "force_new_deployment", "skip_deployments_check", "verbose"]


@pytest.mark.parametrize("name", FLAGS)
@pytest.mark.parametrize("form", ["{0}: true", "{0}: 'TRUE'", "{0}_cmd: {1}", "{0}_cmd: {1}\n{0}: ''", "{0}: {1}"])
def test_a_flag_is_on_when_it_is_true_or_its_twin_stands_alone(name: str, form: str) -> None:
    spelling = "--" + name.replace("_", "-")
    inputs, _ = as_the_runner_does(f"cluster: prod\n{form.format(name, spelling)}")

    assert sorted(ecs_deploy.action_arguments(inputs)) == sorted(["--cluster=prod", spelling])


@pytest.mark.parametrize("form", ["verbose: false", "verbose: ''", "verbose: false\nverbose_cmd: --verbose"])
def test_a_flag_is_off_when_it_is_false_or_empty(form: str) -> None:
    inputs, _ = as_the_runner_does(f"cluster: prod\n{form}")

    assert ecs_deploy.action_arguments(inputs) == ["--cluster=prod"]


def test_what_a_flag_cannot_be_is_refused(shop: Simulator, step: Run) -> None:
    done = step("{cluster: prod, service_name: web, image: shop/web:2, enable_rollback: yess}")

    assert done.code == Exit.USAGE
    assert done.annotations == [("error", "The input enable_rollback is true or false, not 'yess'")]
    assert done.result.calls == ()


def test_a_twin_that_names_another_option_is_refused(shop: Simulator, step: Run) -> None:
    done = step("{cluster: prod, service_name: web, image_cmd: --tag-only, image: shop/web:2}")

    assert done.code == Exit.USAGE
    assert done.annotations == [("error", "The input image_cmd is --tag-only, which is another option than image")]


def test_a_twin_that_names_another_option_is_refused_without_a_value_as_well(shop: Simulator, step: Run) -> None:
    done = step("{cluster: prod, service_name: web, image: shop/web:2, timeout_cmd: --tag-only}")

    assert done.code == Exit.USAGE
    assert done.annotations == [("error", "The input timeout_cmd is --tag-only, which is another option than timeout")]


@pytest.mark.parametrize(
    ("given", "code", "said"),
    [
        ("{image: x:1}", 5, "One of SERVICE or TASK DEFINITION is required: service_name or task_definition"),
        ("{service_name: web, image: x:1}", 7, "CLUSTER is required: cluster"),
        (
            "{cluster: c, service_name: web, image: x:1, timeout: soon}",
            3,
            "input timeout: 'soon' is not a whole number",
        ),
        ("{task_definition: job, image: x:1, count: 2}", 3, "count requires run_task\nAdd run_task to run the new"),
        (
            "{cluster: c, service_name: w, image: x:1, aws_access_key: K}",
            3,
            "aws_access_key and aws_secret_key must be",
        ),
        ("{cluster: c, service_name: w, container_image: x}", 3, "container_image expects NAME=IMAGE"),
        ("{command: app}", 8, "image_tag is required: image_tag TAG"),
        (
            "{command: deploy, cluster: c}",
            3,
            "The input command is app, status, rollback, replace-instances or NAME=COMMAND, not 'deploy'",
        ),
        ("{service_name: web, batch: 2}", 3, "The input batch does not belong to ecs-deploy"),
        ("{cluster: c, service_name: w, image: '(-x)'}", 13, "Unable to parse image name: (-x)"),
    ],
)
def test_errors_name_the_inputs(shop: Simulator, step: Run, given: str, code: int, said: str) -> None:
    done = step(given)

    assert done.code == code
    ((kind, message),) = done.annotations
    assert kind == "error"
    assert message.startswith(said)
    assert " -" not in message.replace("ecs-deploy --help", "")


def test_errors_of_arguments_in_the_workflow_name_options(shop: Simulator, step: Run) -> None:
    done = step("args: -n web -i shop/web:2")

    assert done.code == Exit.NO_CLUSTER
    assert done.annotations == [("error", "CLUSTER is required: -c/--cluster")]


@pytest.mark.parametrize("end", ["\u2028", "\x85", "\x0b", "\x1c"])
def test_only_a_newline_separates_the_values_of_an_input(shop: Simulator, step: Run, end: str) -> None:
    value = json.dumps(f"web=TITLE=a{end}web=ADMIN=1\r\nweb=PAD= x \n")

    done = step(f"{{cluster: prod, service_name: web, tag_only: 2, container_envvar: {value}}}")

    (request,) = done.result.requests("RegisterTaskDefinition")
    assert request["containerDefinitions"][0]["environment"] == [
        {"name": "TITLE", "value": f"a{end}web=ADMIN=1"},
        {"name": "PAD", "value": " x "},
    ]


def test_a_value_of_several_lines_is_given_in_a_json_list(shop: Simulator, step: Run) -> None:
    key = "-----BEGIN KEY-----\nabc\n-----END KEY-----\n"

    done = step(yaml.safe_dump({
        "cluster": "prod", "service_name": "web", "tag_only": "2",
        "container_envvar": json.dumps([f"web=KEY={key}", "web=A=1"]),
    }))  # fmt: skip

    (request,) = done.result.requests("RegisterTaskDefinition")
    assert request["containerDefinitions"][0]["environment"] == [
        {"name": "KEY", "value": key},
        {"name": "A", "value": "1"},
    ]


@pytest.mark.parametrize("value", ["[", '["web=A=1", 2]', '[{"a": 1}]'])
def test_what_begins_like_a_json_list_and_is_none_is_refused(shop: Simulator, step: Run, value: str) -> None:
    done = step(yaml.safe_dump({"cluster": "prod", "service_name": "web", "container_envvar": value}))

    assert done.code == Exit.USAGE
    said = "The input container_envvar begins like a JSON list, and is no JSON list of texts"
    assert done.annotations == [("error", said)]


def test_a_repeatable_input_takes_one_value_a_line(shop: Simulator, step: Run) -> None:
    done = step("""
        cluster: prod
        service_name: web
        tag_only: 2
        container_envvar: |
          web=MODE=fast lane

          web=LEVEL=3
    """)

    assert done.code == Exit.OK
    (request,) = done.result.requests("RegisterTaskDefinition")
    assert request["containerDefinitions"][0]["environment"] == [
        {"name": "MODE", "value": "fast lane"},
        {"name": "LEVEL", "value": "3"},
    ]
    assert request["containerDefinitions"][0]["image"] == "shop/web:2"


def test_a_value_may_begin_with_a_dash_and_span_lines(shop: Simulator, step: Run) -> None:
    done = step("""
        cluster: prod
        task_definition: job
        image: shop/job:2
        desired_count: -1
        run_task: true
        overrides: |
          {"containerOverrides":
            [{"name": "job", "command": ["-x"]}]}
    """)

    assert done.code == Exit.OK
    (request,) = done.result.requests("RunTask")
    assert request["overrides"] == {"containerOverrides": [{"name": "job", "command": ["-x"]}]}


def test_the_input_command_also_gives_the_command_of_a_container(shop: Simulator, step: Run) -> None:
    done = step("{cluster: prod, task_definition: job, image: shop/job:2, run_task: true, command: job=sync --all}")

    assert done.code == Exit.OK
    (request,) = done.result.requests("RunTask")
    assert request["overrides"]["containerOverrides"] == [{"name": "job", "command": ["sync", "--all"]}]


def test_what_is_left_out_is_not_changed(shop: Simulator, step: Run) -> None:
    done = step("{cluster: prod, service_name: web, image: shop/web:2}")

    (request,) = done.result.requests("UpdateService")
    assert request == {"cluster": "prod", "service": "web", "taskDefinition": f"{PREFIX}/web:2"}


def test_credentials_come_from_the_environment_where_no_input_gives_them(shop: Simulator, step: Run) -> None:
    done = step("{cluster: prod, service_name: web, image: shop/web:2}", env={"AWS_ACCESS_KEY_ID": "AKIAOIDC"})

    assert done.code == Exit.OK
    assert done.masks == []
    assert {call.access_key for call in done.result.calls} == {"AKIAOIDC"}


def test_without_any_input_the_error_says_so(shop: Simulator, step: Run) -> None:
    done = step("")

    assert done.code == Exit.NO_TARGET
    (error,) = done.annotations
    assert error[1].startswith("No input of the action is set\n")
    assert done.outputs["status"] == "failure"


def test_arguments_in_the_workflow_win_over_inputs(shop: Simulator, step: Run) -> None:
    done = step("args: -c prod -n web -i shop/web:2")

    assert done.code == Exit.OK
    assert done.outputs["task-definition-arn"] == f"{PREFIX}/web:2"


@pytest.mark.parametrize(
    "env", [{"GITHUB_ACTIONS": "true"}, {"INPUT_CLUSTER": "x"}, {}], ids=["run step", "other", "none"]
)
def test_elsewhere_nothing_is_said_to_a_runner(shop: Simulator, cli: Cli, env: dict[str, str]) -> None:
    result = cli("-c", "prod", "-n", "web", "-i", "shop/web:2", "-d", "job", env=env)

    assert result.code == Exit.TWO_TARGETS
    assert result.out == ""
    assert result.err == "ERROR: Only one of -n and -d may be given, but both were\n"


# Secrets


def test_credentials_are_masked_before_anything_else_and_never_shown(shop: Simulator, step: Run) -> None:
    keys = "\n".join(f"{name}: '{value}'" for name, value in CREDENTIALS.items())

    done = step(f"{keys}\ncluster: prod\nservice_name: web\nimage: shop/web:2\nverbose: true")

    assert done.masks == list(CREDENTIALS.values())
    everything = "\n".join([*done.log, done.summary, *done.outputs.values(), *map(str, done.annotations)])
    assert not [value for value in CREDENTIALS.values() if value in everything]


def test_an_error_of_aws_that_repeats_a_key_does_not_show_it(shop: Simulator, step: Run) -> None:
    shop.on_call = lambda *_: AwsError("IncompleteSignature", "Credential=AKIAINPUT/20250101 is not complete")
    keys = "\n".join(f"{name}: '{value}'" for name, value in CREDENTIALS.items())

    done = step(f"{keys}\ncluster: prod\nservice_name: web\nimage: shop/web:2")

    assert done.code == Exit.AWS
    assert "Credential=***/20250101 is not complete" in done.outputs["failure-reason"]
    assert "AKIAINPUT" not in done.summary + str(done.annotations)


def test_a_key_is_masked_that_does_not_look_like_a_secret(shop: Simulator, step: Run) -> None:
    shop.on_call = lambda *_: AwsError("IncompleteSignature", "Credential=abc is not complete")

    done = step("{aws_access_key: abc, aws_secret_key: '123', cluster: prod, service_name: web, image: shop/web:2}")

    assert done.code == Exit.AWS
    assert done.masks == ["abc", "123"]
    assert "Credential=*** is not complete" in done.outputs["failure-reason"]


def test_a_secret_with_quotes_is_masked_in_the_json_document_and_the_summary(shop: Simulator, step: Run) -> None:
    secret = 'pass"word\\<&'
    shop.image("shop/web:2").crashes(after_s=1, reason=f"cannot log in with {secret}")

    done = step(f"""
        cluster: prod
        service_name: web
        image: shop/web:2
        fail_fast: 1
        output: json
        container_envvar: 'web=PASSWORD={secret}'
    """)

    assert done.code == Exit.FAILED
    assert "cannot log in with ***" in done.summary
    document = json.loads(done.result.out)
    assert "cannot log in with ***" in json.dumps(document)
    for text in (done.result.out, done.result.err, done.summary, str(done.outputs)):
        assert "pass" not in text.replace("password", "")


# What the runner is told


def test_outputs_and_summary_of_a_success(shop: Simulator, step: Run) -> None:
    done = step("{cluster: prod, service_name: web, image: shop/web:2}")

    assert done.code == Exit.OK
    deployment = done.outputs.pop("deployment-id")
    assert deployment.startswith("ecs-svc/")
    assert done.outputs == {
        "status": "success",
        "task-definition-arn": f"{PREFIX}/web:2",
        "previous-task-definition-arn": f"{PREFIX}/web:1",
        "exit-code": "0",
        "failure-reason": "",
        "schedules": "",
    }
    head, row = re.findall(r"^\| (?!---)(.*) \|$", done.summary, re.MULTILINE)
    assert head == "Deployed | Cluster | Task definition | Old image | New image | Duration | Result"
    cells = re.sub(r"</?code>", "", row).split(" | ")
    assert re.fullmatch(r"\d+ s", cells.pop(5))
    assert cells == ["web", "prod", "web:1 → web:2", "shop/web:1", "shop/web:2", "completed"]
    assert done.summary.startswith("### ✅ ecs-deploy: completed\n\n| Deployed |")
    assert "<details" not in done.summary
    assert done.annotations == []
    assert done.groups == {"Changes:": ["  ~ web: image shop/web:1 -> shop/web:2"]}


def test_outputs_and_summary_of_a_rollback(shop: Simulator, step: Run) -> None:
    logs = {"logDriver": "awslogs", "options": {"awslogs-group": "shop", "awslogs-stream-prefix": "web"}}
    container = {"name": "api", "image": "shop/api:1", "memory": 64, "logConfiguration": logs}
    shop.service("prod", "api", containers=[container, {"name": "proxy", "image": "envoy:1", "memory": 64}])
    shop.image("shop/api:2").crashes(after_s=1, exit_code=3).logs(["<starting>", "no such table: users"])

    done = step("{cluster: prod, service_name: api, image: shop/api:2, enable_rollback: true, fail_fast: 1}")

    assert done.code == Exit.ROLLED_BACK
    assert done.outputs["status"] == "rolled-back"
    assert done.outputs["exit-code"] == "20"
    assert done.outputs["previous-task-definition-arn"] == f"{PREFIX}/api:1"
    (error,) = done.annotations
    assert error == ("error", done.outputs["failure-reason"])
    assert "exit code 3" in done.summary
    assert done.summary.startswith("### ❌ ecs-deploy: rolled back (20)\n")
    titles = re.findall(r"<details(?: open)?><summary>(.*)</summary>", done.summary)
    assert re.findall(r"<details open><summary>(.*)</summary>", done.summary) == ["What failed"]
    assert titles[:3] == ["What failed", "Why tasks stopped", "Events"]
    assert titles[3].startswith("Last log lines: ")
    assert "\n<pre>\n&lt;starting&gt;\nno such table: users\n</pre>\n" in done.summary
    (log,) = [lines for title, lines in done.groups.items() if title.startswith("Last log lines")]
    assert log == ["  | <starting>", "  | no such table: users"]


def test_an_annotation_escapes_what_the_runner_would_misread(shop: Simulator, step: Run) -> None:
    done = step("{cluster: 100%, service_name: web, image: shop/web:2}")

    assert done.code == Exit.AWS
    (line,) = [line for line in done.result.out.splitlines() if line.startswith("::error::")]
    assert line.startswith("::error::The cluster 100%25 was not found in us-east-1%0AThe clusters in us-east-1: prod")


def test_a_warning_is_an_annotation(shop: Simulator, step: Run) -> None:
    done = step("{task_definition: job, image: shop/job:2, desired_count: 2}")

    assert done.code == Exit.OK
    assert done.annotations == [("warning", "--desired-count has no effect without a service (-n).")]


def test_what_a_container_logs_cannot_command_the_runner(shop: Simulator, step: Run) -> None:
    logs = {"logDriver": "awslogs", "options": {"awslogs-group": "shop", "awslogs-stream-prefix": "job"}}
    container = {"name": "sync", "image": "shop/sync:1", "memory": 64, "logConfiguration": logs}
    shop.task_definition("sync", containers=[container])
    lines = ["::add-mask::prod", "a\n::set-output name=status::success", "b\r::error::c", "##[error]d"]
    shop.image("shop/sync:2").exits(0, after_s=2).logs(lines)

    done = step("{cluster: prod, task_definition: sync, image: shop/sync:2, run_task: true, wait_for_success: true}")

    assert done.code == Exit.OK
    assert done.masks == []
    assert done.annotations == []
    assert done.unknown_commands == []
    assert "| ::set-output name=status::success" in done.log
    (row,) = re.findall(r"^\| <code>sync</code> .*$", done.summary, re.MULTILINE)
    assert " | 6 s | " in row, "how long it took"
    bare = re.sub(r"::stop-commands::(\w+)\n.*?::\1::\n", "", done.result.out, flags=re.DOTALL)
    assert "| ##[error]d\n" in done.result.out
    assert "##[" not in bare


def test_a_failed_task_puts_its_reason_and_log_into_the_summary_and_its_code_says_no_more(
    shop: Simulator, step: Run
) -> None:
    logs = {"logDriver": "awslogs", "options": {"awslogs-group": "shop", "awslogs-stream-prefix": "job"}}
    container = {"name": "sync", "image": "shop/sync:1", "memory": 64, "logConfiguration": logs}
    shop.task_definition("sync", containers=[container])
    shop.image("shop/sync:2").exits(20, after_s=2).logs(["disk full"])

    done = step("""
        cluster: prod
        task_definition: sync
        image: shop/sync:2
        run_task: true
        wait_for_success: true
        propagate_exit_code: true
    """)

    assert done.code == 20
    assert done.outputs["status"] == "failure"
    assert done.outputs["exit-code"] == "20"
    assert "exit code 20" in done.summary
    assert "<pre>\ndisk full\n</pre>" in done.summary
    assert "| <code>sync</code> | <code>prod</code> | <code>sync:1</code> → <code>sync:2</code> |" in done.summary


def test_with_json_stdout_is_one_document_and_the_runner_is_told_on_stderr(shop: Simulator, step: Run) -> None:
    done = step("{cluster: prod, service_name: web, image: shop/web:2, output: json}")

    assert done.code == Exit.OK
    document = json.loads(done.result.out)
    assert document["images"] == [{"container": "web", "old": "shop/web:1", "new": "shop/web:2"}]
    assert "Changes:" in done.groups


def test_a_file_that_cannot_be_written_is_a_warning(shop: Simulator, step: Run, tmp_path: Path) -> None:
    env = {"GITHUB_OUTPUT": str(tmp_path / "missing" / "file"), "GITHUB_STEP_SUMMARY": ""}

    done = step("{cluster: prod, service_name: web, image: shop/web:2}", env=env)

    assert done.code == Exit.OK
    assert done.annotations == [("warning", "GITHUB_OUTPUT cannot be written: No such file or directory")]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM to catch")
def test_a_cancelled_step_says_so(shop: Simulator, step: Run) -> None:
    shop.image("shop/web:2").starts_after(600)

    def cancel(_number: int, operation: str, _params: Any) -> None:
        if operation == "UpdateService":
            os.kill(os.getpid(), signal.SIGTERM)

    shop.on_call = cancel

    done = step("{cluster: prod, service_name: web, image: shop/web:2, timeout: 0}")

    assert done.code == Exit.SIGTERM
    assert done.outputs["status"] == "cancelled"
    assert done.outputs["task-definition-arn"] == f"{PREFIX}/web:2"
    said = done.outputs["failure-reason"]
    assert "of service web goes on" in said
    assert f"--task-definition {PREFIX}/web:1" in said
    assert said.endswith("\nInterrupted.")
    assert [kind for kind, _ in done.annotations] == ["error", "error"]
    assert done.summary.startswith("### ⚠️ ecs-deploy: cancelled (143)\n")
    assert "of service web goes on" in done.summary


def test_a_redeployment_has_the_outputs_of_a_deployment(shop: Simulator, step: Run) -> None:
    done = step("{cluster: prod, service_name: web, force_new_deployment: true}")

    assert done.code == Exit.OK
    assert done.outputs["task-definition-arn"] == f"{PREFIX}/web:1"
    assert done.outputs["previous-task-definition-arn"] == f"{PREFIX}/web:1"
    assert done.outputs["deployment-id"] == shop.services["prod", "web"].primary.id
    assert "| <code>web</code> | <code>prod</code> | <code>web:1</code> |" in done.summary


def test_what_keeps_instances_from_being_replaced_is_said_like_any_failure(shop: Simulator, step: Run) -> None:
    done = step("{command: replace-instances, cluster: prod, asg: workers}")

    assert done.code == Exit.AWS
    assert done.outputs["status"] == "failure"
    assert done.outputs["failure-reason"].startswith("The Auto Scaling group workers was not found in us-east-1")
    assert [kind for kind, _ in done.annotations] == ["error"]
    assert "| <code>workers</code> | <code>prod</code> |" in done.summary


# Applications

APPLICATION = """
version: v1
cluster: prod
tasks:
  pre:
    - {family: job, containers: [job], count: 1, launch_type: ec2}
services:
  - {name: web, containers: [web]}
  - {name: api, containers: [api]}
"""


def test_an_application_is_deployed_and_each_part_has_its_row(shop: Simulator, step: Run, tmp_path: Path) -> None:
    shop.service("prod", "api", image="shop/api:1")
    file = tmp_path / "app.yml"
    file.write_text(APPLICATION)

    done = step(f"{{command: app, config: {file}, image_tag: '2'}}")

    assert done.code == Exit.OK
    assert shop.running("prod", "api") == {"shop/api:2": 1}
    assert done.outputs["task-definition-arn"].splitlines() == [f"{PREFIX}/{name}:2" for name in ("job", "web", "api")]
    assert len(done.outputs["deployment-id"].splitlines()) == 2
    rows = re.findall(r"^\| <code>(.*)</code> \|$", done.summary, re.MULTILINE)
    names = [re.sub(r"</?code>", "", row).split(" | ")[0] for row in rows]
    assert names == ["pre job", "web", "api"]
    assert re.search(r"<code>shop/api:1</code> \| <code>shop/api:2</code> \| \d+ s \|", done.summary)


def test_a_failing_application_says_which_part_and_why(shop: Simulator, step: Run, tmp_path: Path) -> None:
    shop.service("prod", "api", image="shop/api:1")
    shop.image("shop/api:2").cannot_be_pulled("CannotPullContainerError: a | b <c>")
    file = tmp_path / "app.yml"
    file.write_text(APPLICATION)

    done = step(f"{{command: app, config: {file}, image_tag: '2', fail_fast: 1, enable_rollback: true}}")

    assert done.code == Exit.ROLLED_BACK
    assert done.outputs["status"] == "rolled-back"
    assert "<summary>Why tasks stopped of api</summary>" in done.summary
    assert "a | b &lt;c&gt;" in done.summary
    assert shop.running("prod", "web") == {"shop/web:1": 1}


def row_of_a_failed_task(shop: Simulator, step: Run, tmp_path: Path, reason: str) -> str:
    """The summary's row of an application's task whose image cannot be pulled for that reason."""
    shop.service("prod", "api", image="shop/api:1")
    shop.image("shop/job:2").cannot_be_pulled(reason)
    file = tmp_path / "app.yml"
    file.write_text(APPLICATION)

    done = step(f"{{command: app, config: {file}, image_tag: '2'}}")

    assert done.code == Exit.FAILED
    (row,) = [line for line in done.summary.splitlines() if line.startswith("| <code>pre job")]
    return row


def test_a_reason_cannot_break_the_table(shop: Simulator, step: Run, tmp_path: Path) -> None:
    row = row_of_a_failed_task(shop, step, tmp_path, "CannotPullContainerError: a | b <c> `d`")

    assert len(row.split(" | ")) == 7
    assert "CannotPullContainerError: a &#124; b &#60;c&#62; &#96;d&#96;" in row


def test_a_summary_stays_below_what_the_runner_takes(shop: Simulator, step: Run) -> None:
    logs = {"logDriver": "awslogs", "options": {"awslogs-group": "shop", "awslogs-stream-prefix": "api"}}
    container = {"name": "api", "image": "shop/api:1", "memory": 64, "logConfiguration": logs}
    shop.service("prod", "api", containers=[container])
    shop.image("shop/api:2").crashes(after_s=1).logs([f"{number} " + "x" * 100_000 for number in range(30)])

    done = step("{cluster: prod, service_name: api, image: shop/api:2, fail_fast: 1}")

    assert done.code == Exit.FAILED
    assert "\n29 xxx" in done.summary
    assert len(done.summary.encode()) < 1024 * 1024


def test_a_summary_of_fifty_failures_stays_below_it_too(shop: Simulator, step: Run, tmp_path: Path) -> None:
    logs = {"logDriver": "awslogs", "options": {"awslogs-group": "shop", "awslogs-stream-prefix": "api"}}
    container = {"name": "api", "image": "shop/api:1", "memory": 64, "logConfiguration": logs}
    names = [f"api-{number}" for number in range(50)]
    for name in names:
        shop.service("prod", name, containers=[container])
    shop.image("shop/api:2").crashes(after_s=1).logs([f"{number} " + "x" * 2_000 for number in range(60)])
    services = "".join(f"  - {{name: {name}, containers: [api]}}\n" for name in names)
    file = tmp_path / "app.yml"
    file.write_text(f"version: v1\ncluster: prod\nservices:\n{services}")

    done = step(f"{{command: app, config: {file}, image_tag: '2', fail_fast: 1}}")

    assert done.code == Exit.FAILED
    assert 500_000 < len(done.summary.encode()) < 1024 * 1024
    assert all(f"| <code>{name}</code> |" in done.summary for name in names)
    assert done.summary.count("<details") == done.summary.count("</details>")
    more = re.search(r"\n(\d+) more parts are in the log of this step\.\n$", done.summary)
    assert more
    assert done.summary.count("<details") + int(more[1]) == 1 + len(names) * len(("reasons", "events", "log"))


def test_each_service_of_an_application_has_a_duration_of_its_own(shop: Simulator, step: Run, tmp_path: Path) -> None:
    for name, starts_s in (("quick", 1), ("slow", 200)):
        shop.service("prod", name, containers=[{"name": name, "image": f"shop/{name}:1", "memory": 64}])
        shop.image(f"shop/{name}:2").starts_after(starts_s)
    services = "".join(f"  - {{name: {name}, containers: [{name}]}}\n" for name in ("quick", "slow"))
    file = tmp_path / "app.yml"
    file.write_text(f"version: v1\ncluster: prod\nservices:\n{services}")

    done = step(f"{{command: app, config: {file}, image_tag: '2'}}")

    assert done.code == Exit.OK
    took = dict(
        re.findall(r"^\| <code>(\w+)</code> .* \| ([^|]*) \| <code>successful</code>", done.summary, re.MULTILINE)
    )
    assert took["slow"].startswith("3 min ")
    assert re.fullmatch(r"\d+ s", took["quick"])


def test_a_reason_is_no_markdown(shop: Simulator, step: Run, tmp_path: Path) -> None:
    row = row_of_a_failed_task(shop, step, tmp_path, "_a_ see https://a.example/b, www.a.example or a@b.example")

    table = f"| a | b | c | d | e | f | g |\n{'|---' * 7}|\n{row}\n"
    rendered = cmarkgfm.github_flavored_markdown_to_html(table).replace("<!-- raw HTML omitted -->", "")
    assert "_a_ see https://a.example/b, www.a.example or a@b.example" in html.unescape(rendered)
    assert "<em>" not in rendered
    assert "<a " not in rendered


def test_of_several_containers_the_summary_has_each_ones_image_on_a_line(shop: Simulator, step: Run) -> None:
    containers = [{"name": name, "image": f"shop/{name}:1", "memory": 64} for name in ("api", "proxy")]
    shop.service("prod", "api", containers=containers)

    done = step("{cluster: prod, service_name: api, tag_only: 2}")

    assert done.code == Exit.OK
    old, new = ("<br>".join(f"<code>{name}: shop/{name}:{tag}</code>" for name in ("api", "proxy")) for tag in (1, 2))
    assert f"| {old} | {new} |" in done.summary


def test_status_has_a_row_for_each_service_and_its_definition_as_output(shop: Simulator, step: Run) -> None:
    shop.service("prod", "api", image="shop/api:1")
    shop.image("shop/api:2").crashes(after_s=1)
    shop.someone_deploys("prod", "api", "shop/api:2")
    shop.advance(5)

    bad = step('{command: status, cluster: prod, service_name: "web\\napi"}')
    good = step("{command: status, cluster: prod, service_name: web, expect: 'shop/web:1'}")

    assert (bad.code, bad.outputs["status"], good.outputs["status"]) == (1, "failure", "success")
    assert good.outputs["task-definition-arn"] == f"{PREFIX}/web:1"
    titles = "| Service | Cluster | Task definition | Tasks | Since | State | Why |"
    assert good.summary.startswith(f"### ✅ ecs-deploy: steady\n\n{titles}\n")
    assert "| <code>web</code> | <code>prod</code> | <code>web:1</code> | <code>1 of 1</code> |" in bad.summary
    assert "<code>rolling out</code> | <code>0 of 1 running; " in bad.summary
    assert "Why tasks stopped of api" in bad.summary
    assert "The service api is not steady, but rolling out" in bad.outputs["failure-reason"]


def test_a_service_without_a_definition_has_an_empty_cell(shop: Simulator, step: Run) -> None:
    shop.service("prod", "sets", "app:1", deploymentController={"type": "EXTERNAL"}, runningCount=0, taskDefinition="")

    done = step("{command: status, cluster: prod, service_name: sets}")

    assert done.code == Exit.FAILED
    assert "| <code>sets</code> | <code>prod</code> |  | <code>0 of 1</code> |" in done.summary


def test_a_rollback_has_the_outputs_of_a_deployment(shop: Simulator, step: Run) -> None:
    shop.someone_deploys("prod", "web", "shop/web:2")
    shop.advance(60)

    listed = step("{command: rollback, cluster: prod, service_name: web, list: true}")
    done = step("{command: rollback, cluster: prod, service_name: web}")

    assert (listed.code, listed.result.changes, done.code) == (0, [], 0)
    assert done.outputs["task-definition-arn"] == f"{PREFIX}/web:1"
    assert done.outputs["previous-task-definition-arn"] == f"{PREFIX}/web:2"
    assert "<code>web:2</code> → <code>web:1</code>" in done.summary


def test_an_option_of_the_other_command_is_refused(shop: Simulator, step: Run) -> None:
    done = step("{command: app, image_tag: '2', service_name: web}")

    assert done.code == Exit.USAGE
    (error,) = done.annotations
    assert error[1] == "The input service_name does not belong to ecs-deploy app"
