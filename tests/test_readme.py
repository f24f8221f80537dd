"""The README says what is true: its tables, its commands, their output, and the policy."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from xml.etree import ElementTree

import pytest

from ecs_deploy import Exit
from tests.conftest import Cli
from tests.picture import COLUMNS, Screen, drawn
from tests.readme import README, written
from tests.simulator import Simulator
from tests.test_replace_instances import workers

TEXT = README.read_text(encoding="utf-8")
ROOT = README.parent


def block(name: str) -> str:
    """The fenced text after a marker."""
    match = re.search(rf"<!-- {re.escape(name)} -->\n```\w*\n(.*?)\n```", TEXT, re.DOTALL)
    assert match is not None, name
    return match[1]


def test_the_tables_of_options_and_exit_codes_are_the_programs_own() -> None:
    assert written(TEXT) == TEXT, "run python -m tests.readme"


@pytest.mark.parametrize("name", ["main command", "test command"])
def test_the_commands_for_newcomers_are_one_line_each(name: str) -> None:
    assert len(block(name).splitlines()) == 1


def test_ci_runs_the_readmes_test_command_word_for_word() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    assert "<!-- test command -->" in script
    assert 'bash -c "$command"' in script


def test_every_link_within_the_repository_leads_somewhere() -> None:
    links = re.findall(r"\]\((?!https?:)([^)]+)\)", TEXT)
    titles = re.findall(r"^#+ (.*)$", TEXT, re.MULTILINE)
    places = {"#" + re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}

    assert "#options" in links
    assert [link for link in links if link not in places and not (ROOT / link).is_file()] == []


def against_the_local_ecs(script: str) -> subprocess.CompletedProcess[str]:
    """Commands as processes of their own, in a world of their own that runs faster than real time."""
    command = [sys.executable, "-m", "tests.simulator", "--rate", "2", "--", "bash", "-ec", script]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


def undated(text: str) -> str:
    """The text with its dates, which are those of the run, as one and the same."""
    return re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", "DATE", text)


@pytest.mark.slow
def test_the_commands_print_what_the_readme_shows(tmp_path: Path) -> None:
    file = tmp_path / "app.json"
    file.write_text(block("local application"))
    program, names = f"{shlex.quote(sys.executable)} ecs_deploy.py", "-c production1 -n doorman-service"
    (failing,) = set(re.findall(r"`-i (docker\.repo\.com/doorman:crash[^`]*)`", TEXT))
    the_day_after = [
        f"{program} {names} -i docker.repo.com/doorman:18 >/dev/null", f"{program} status {names}",
        f"{program} status -c production1 --all", f"{program} rollback {names} --list", f"{program} rollback {names}",
    ]  # fmt: skip
    scripts = [
        f"{program} {block('main command').rpartition(' .venv/bin/ecs-deploy ')[2]}",
        f"{program} {names} -i {failing}",
        f"{program} app --image-tag 18 --config {file}",
        "\n".join(the_day_after),
    ]

    with ThreadPoolExecutor() as pool:  # side by side: they mostly wait
        main, failed, application, day_after = pool.map(against_the_local_ecs, scripts)

    assert (main.returncode, main.stdout) == (Exit.OK, block("main output") + "\n")
    assert failed.returncode == Exit.ROLLED_BACK
    shown = block("failure output").splitlines()
    assert [line for line in failed.stderr.splitlines() if line in shown] == shown
    assert application.returncode == Exit.OK
    assert "Report on services: total: 2, successful: 2, skipped: 0, failed: 0" in application.stdout
    blocks = [block(name) for name in ("status output", "status table", "rollback list", "rollback output")]
    assert day_after.returncode == Exit.OK
    assert undated(day_after.stdout) == undated("\n".join([*blocks, ""]))


def test_the_policy_of_status_names_exactly_the_actions_that_are_called(sim: Simulator, cli: Cli) -> None:
    native(sim)
    sim.service("prod", "new", "app:3")
    for options in (["-n", "green", "-n", "new"], ["--all"]):
        assert cli("status", "-c", "prod", *options).code == Exit.FAILED

    (statement,) = json.loads(block("status policy"))["Statement"]
    assert statement["Action"] == sorted(sim.actions_used())


def test_the_policy_of_rollback_names_exactly_the_actions_that_are_called(sim: Simulator, cli: Cli) -> None:
    native(sim)
    assert cli("rollback", "-c", "prod", "-n", "green").code == Exit.OK
    assert cli("rollback", "-c", "prod", "-n", "green", "--to", "2").code == Exit.TIMED_OUT
    assert cli("rollback", "-c", "prod", "-n", "green").code == Exit.OK
    assert cli("rollback", "-c", "prod", "-n", "green").code == Exit.FAILED

    (statement,) = json.loads(block("rollback policy"))["Statement"]
    assert statement["Action"] == sorted(sim.actions_used())


def native(sim: Simulator) -> None:
    """A service whose first deployment crashes, at a stage of a blue/green deployment."""
    logs = {"logDriver": "awslogs", "options": {"awslogs-group": "g", "awslogs-stream-prefix": "p"}}
    app = {"name": "app", "image": "app:1", "memory": 64, "essential": True, "logConfiguration": logs}
    sim.service("prod", "green", containers=[app], deploymentConfiguration={"strategy": "BLUE_GREEN"})
    sim.image("app:2").crashes(after_s=1).logs(["no"])
    sim.someone_deploys("prod", "green", "app:2")
    sim.advance(15)


def test_the_policy_names_exactly_the_actions_that_are_called(sim: Simulator, cli: Cli, tmp_path: Path) -> None:
    logs = {
        "logDriver": "awslogs",
        "options": {"awslogs-group": "g", "awslogs-region": "us-east-1", "awslogs-stream-prefix": "p"},
    }
    app = {"name": "app", "image": "app:1", "memory": 64, "essential": True, "logConfiguration": logs}
    checked = {**app, "healthCheck": {"command": ["CMD", "true"]}}
    sim.service(
        "prod", "web", task_definition={"containerDefinitions": [checked], "tags": [{"key": "a", "value": "b"}]}
    )
    sim.service("prod", "green", containers=[app], deploymentConfiguration={"strategy": "BLUE_GREEN"})
    sim.image("app:bad").crashes(after_s=1).logs(["no"])
    sim.image("app:long").exits(0, after_s=500)

    assert cli("-c", "prod", "-n", "web", "-i", "app:2", "--max-definitions", "1").code == Exit.OK
    assert cli("-c", "prod", "-n", "web", "-i", "app:bad", "--fail-fast", "1", "--enable-rollback").code == 20
    assert cli("-c", "prod", "-n", "green", "-i", "app:bad", "--fail-fast", "1", "--enable-rollback").code == 20
    sim.world.shows_releases = False
    assert cli("-c", "prod", "-n", "green", "-i", "app:4", "-t", "0").code == Exit.OK
    run = ["-c", "prod", "-d", "web", "-i", "app:3", "--run-task", "--wait-for-success"]
    assert cli(*run).code == Exit.OK
    sim.world.at(sim.world.now_s + 5, interrupt)
    assert cli(*run[:4], "-i", "app:long", *run[6:], "--stop-on-interrupt").code == Exit.SIGTERM

    policy = json.loads(block("iam policy"))
    ecs, passing = policy["Statement"]
    assert ecs["Action"] == sorted(sim.actions_used())
    assert passing["Action"] == "iam:PassRole"


def service_with_logs(sim: Simulator) -> None:
    logs = {"awslogs-group": "g", "awslogs-region": "us-east-1", "awslogs-stream-prefix": "p"}
    app = {"name": "app", "image": "app:1", "memory": 64, "essential": True}
    app |= {"logConfiguration": {"logDriver": "awslogs", "options": logs}}
    sim.service("prod", "web", task_definition={"containerDefinitions": [app]})
    sim.image("app:bad").crashes(after_s=1).logs(["no"])


CLUSTER = "arn:aws:ecs:us-east-1:123456789012:cluster/prod"
WEB = "arn:aws:ecs:us-east-1:123456789012:task-definition/web:1"
COMMANDS = {
    "`-n`, a new image": "-c prod -n web -i app:2",
    "`-n --force-new-deployment`": "-c prod -n web --force-new-deployment",
    "`-n --dry-run`": "-c prod -n web -i app:2 --dry-run",
    "`-d`": "-d web -i app:2",
    "`-d --run-task`": "-c prod -d web -i app:2 --run-task",
    "`-d --run-task --wait-for-success`": "-c prod -d web -i app:2 --run-task --wait-for-success",
}


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_calls_the_actions_that_its_row_names(sim: Simulator, cli: Cli, command: str) -> None:
    service_with_logs(sim)

    assert cli(*COMMANDS[command].split()).code == Exit.OK

    (row,) = [line for line in table("actions by command") if line.startswith(f"| {command} |")]
    assert re.findall(r"`(\w+:\w+)`", row) == sorted(sim.actions_used())


def table(name: str) -> list[str]:
    """The lines between two markers."""
    return TEXT.partition(f"<!-- {name} -->\n")[2].partition(f"\n<!-- end of {name} -->")[0].splitlines()


def test_every_field_of_the_json_document_is_in_its_table(sim: Simulator, cli: Cli, tmp_path: Path) -> None:
    service_with_logs(sim)
    app = tmp_path / "app.json"
    app.write_text('{"version": "v1", "cluster": "prod", "services": [{"name": "web", "containers": ["app"]}]}')
    runs = [
        "-c prod -n web -i app:2",
        "-c prod -n web -i app:bad --fail-fast 1 --enable-rollback",
        "-c prod -n other -i app:2",
        "-c prod -d web -i app:3 --run-task --wait-for-success",
        f"app -f {app} -t 4",
        "-c prod -d web -i app:5 --schedule nightly",
    ]
    sim.world.events.rule("nightly", [{"Id": "1", "Arn": CLUSTER, "EcsParameters": {"TaskDefinitionArn": WEB}}])

    results = [cli(*run.split(), "--output", "json") for run in runs]

    documents = [json.loads(result.out) for result in results]
    assert [result.code for result in results] == [document["exit_code"] for document in documents]
    parts = [part for document in documents for part in document.get("parts", [])]
    fields = {field for document in [*documents, *parts] for field in document}
    inner = {
        field
        for document in documents
        for name in ("failed_tasks", "logs", "images", "schedules")
        for field in inside(document, name)
    }
    rows = table("json fields")
    assert fields - {"name", "result"} == {
        name for row in rows[2:] for name in re.findall(r"`(\w+)`", row.split("|")[1])
    }
    assert inner | {"name", "result"} <= {name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[2])}


def inside(document: dict[str, list[dict[str, object]]], name: str) -> set[str]:
    return {field for entry in document.get(name, []) for field in entry}


def test_the_picture_shows_the_main_commands_run() -> None:
    (place,) = re.findall(r"^!\[.*\]\((.*\.svg)\)$", TEXT, re.MULTILINE)
    (command,) = re.findall(r" -- \.venv/bin/(ecs-deploy .*)", block("main command"))
    shown = "".join(ElementTree.parse(ROOT / place).getroot().itertext()).replace("\n", "")

    assert shown.startswith(f"$ {command}")
    for line in block("main output").splitlines():
        assert line in shown


def test_the_picture_is_what_a_terminal_shows() -> None:
    screen = Screen()

    screen.show("one\r\n\x1b[2mtwo, long\r\x1b[Kthree\x1b[0m\r\n" + "x" * (COLUMNS + 1) + "\x1b[31m<")

    assert ["".join(cell.text for cell in row) for row in screen.rows] == ["one", "three", "x" * COLUMNS, "x<"]
    svg = drawn(screen.rows, "a & b")
    assert [text.text for text in ElementTree.fromstring(svg).iter() if text.tag.endswith("text")] == [
        "one", "three", "x" * COLUMNS, "x", "<",
    ]  # fmt: skip
    assert ">three</text>" in svg.partition('opacity="0.6"')[2][:20]


def test_the_policy_for_instances_names_exactly_the_actions_that_are_called(sim: Simulator, cli: Cli) -> None:
    group = workers(sim)
    replace = ("replace-instances", "--cluster", "prod", "--asg", "workers")
    sim.instances.new_version("workers")
    group.warm_up(1)
    assert cli(*replace).code == Exit.OK
    sim.instances.capacity_provider("workers", group)
    sim.instances.new_version("workers")
    group.launches = False
    assert cli(*replace, "-t", "20").code == Exit.TIMED_OUT

    (statement,) = json.loads(block("replace-instances policy"))["Statement"]
    assert statement["Action"] == sorted(sim.actions_used())


def test_the_policy_for_schedules_names_exactly_the_actions_that_are_called(sim: Simulator, cli: Cli) -> None:
    target = {
        "Arn": CLUSTER,
        "RoleArn": "arn:aws:iam::123456789012:role/r",
        "EcsParameters": {"TaskDefinitionArn": WEB},
    }
    sim.cluster("prod")
    sim.task_definition("web")
    sim.world.events.rule("hourly", [{"Id": "1", **target}])
    sim.world.scheduler.schedule("nightly", target)

    assert cli("-c", "prod", "-d", "web", "-to", "2", "--schedules").code == Exit.OK

    calls, passing = json.loads(block("schedules policy"))["Statement"]
    used = {action for action in sim.actions_used() if not action.startswith("ecs:")}
    assert {*calls["Action"], passing["Action"]} == used
    assert calls["Action"] == sorted(calls["Action"])


def interrupt() -> None:
    """What a cancelled CI job does to the process."""
    import os
    import signal

    os.kill(os.getpid(), signal.SIGTERM)
