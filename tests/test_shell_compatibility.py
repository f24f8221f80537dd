"""What wrappers and pipelines of the shell script rely on: options, exit codes, printed lines, calls."""

from __future__ import annotations

import json
import shlex
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Cli
from tests.simulator import Simulator

TABLE: dict[str, Any] = json.loads((Path(__file__).parent / "cases" / "command_lines.json").read_text("utf-8"))
PREFIX = "arn:aws:ecs:us-east-1:123456789012:task-definition"
WEB = "registry.example:5000/shop/web"
JOB = "registry.example:5000/shop/job"


@pytest.fixture
def shop(sim: Simulator) -> Simulator:
    """The world of the table."""
    containers = [
        {"name": "web", "image": f"{WEB}:1", "memory": 128},
        {"name": "proxy", "image": "envoy:v1", "memory": 64},
    ]
    sim.service("prod", "web", containers=containers)
    sim.task_definition("job", f"{JOB}:1")
    sim.registries.parameter("key")
    return sim


@pytest.mark.parametrize("case", TABLE["cases"], ids=lambda case: case["line"] or "(no arguments)")
def test_a_command_line_has_its_exit_code_its_words_and_its_calls(shop: Simulator, cli: Cli, case: Any) -> None:
    result = cli(*shlex.split(case["line"]), env=case.get("env"))

    assert result.code == case["exit"]
    assert case.get("out", "") in result.out
    if case["exit"] and case["calls"] == "nothing" and "err" in case:
        assert result.err == f"ERROR: {case['err']}\n"
    assert case.get("err", "") in result.err
    assert [name for name, _ in groupby(result.operations)] == TABLE["sequences"][case["calls"]]


def test_a_deployment_prints_the_lines_of_the_shell_script(shop: Simulator, cli: Cli) -> None:
    result = cli("-c", "prod", "-n", "web", "-i", f"{WEB}:2")

    assert result.lines == [
        f"Using image name: {WEB}:2",
        f"Current task definition: {PREFIX}/web:1",
        f"New task definition: {PREFIX}/web:2",
        "Service updated successfully, new task definition running.",
        "Waiting for service deployment to complete...",
        "Service deployment successful.",
    ]
    assert shop.running("prod", "web") == {f"{WEB}:2": 1, "envoy:v1": 1}
    assert shop.steady("prod", "web")


def test_a_definition_prints_the_lines_of_the_shell_script(shop: Simulator, cli: Cli) -> None:
    result = cli("-d", "job", "-i", f"{JOB}:2")

    assert result.lines == [
        f"Using image name: {JOB}:2",
        f"Current task definition: {PREFIX}/job:1",
        f"New task definition: {PREFIX}/job:2",
        "Task definition updated successfully",
    ]


def test_a_task_prints_the_lines_of_the_shell_script(shop: Simulator, cli: Cli) -> None:
    result = cli("-c", "prod", "-d", "job", "-i", f"{JOB}:2", "--run-task", "--wait-for-success")

    (task,) = shop.tasks_of("prod")[1:]
    assert result.lines == [
        f"Using image name: {JOB}:2",
        f"Current task definition: {PREFIX}/job:1",
        f"New task definition: {PREFIX}/job:2",
        f"Run task: {PREFIX}/job:2",
        f"Executed task: {task.arn}",
        f"Task {task.arn} executed successfully!",
    ]


def test_a_forced_redeploy_prints_the_lines_of_the_shell_script(shop: Simulator, cli: Cli) -> None:
    result = cli("-c", "prod", "-n", "web", "--force-new-deployment")

    assert result.lines == [
        "Force a new deployment of the service",
        "Waiting for service deployment to complete...",
        "Service deployment successful.",
    ]
    assert result.requests("UpdateService") == [{"cluster": "prod", "service": "web", "forceNewDeployment": True}]


def test_a_forced_redeploy_with_an_image_does_both(shop: Simulator, cli: Cli) -> None:
    result = cli("-c", "prod", "-n", "web", "-i", f"{WEB}:2", "--force-new-deployment")

    expected = {"cluster": "prod", "service": "web", "forceNewDeployment": True, "taskDefinition": f"{PREFIX}/web:2"}
    assert result.requests("UpdateService") == [expected]


def test_only_what_was_asked_for_is_sent(shop: Simulator, cli: Cli) -> None:
    result = cli("-c", "prod", "-n", "web", "-i", f"{WEB}:2", "--min", "", "--max=", "-D", "-1")

    expected = {"cluster": "prod", "service": "web", "taskDefinition": f"{PREFIX}/web:2"}
    assert result.requests("UpdateService") == [expected]


@pytest.mark.parametrize(
    "line",
    [
        pytest.param("--secret-value=hunter2", id="after an equals sign"),
        pytest.param("--secret-value hunter2", id="as the next word"),
        pytest.param("hunter2", id="alone"),
        pytest.param("-secret-value=hunter2", id="after one dash and an equals sign"),
    ],
)
def test_what_follows_an_unknown_option_is_never_printed(cli: Cli, line: str) -> None:
    result = cli("-c", "prod", "-n", "web", "-i", "app:2", *line.split())

    assert result.code == 3
    assert "hunter2" not in result.out + result.err


@pytest.mark.parametrize("position", range(7))
def test_an_empty_argument_is_ignored_wherever_it_stands(shop: Simulator, cli: Cli, position: int) -> None:
    words = ["--skip-deployments-check", "--cluster=prod", "--service-name=web", f"--image={WEB}:2", "-v", "-t=", "-D1"]
    words[-2] = "--timeout="

    result = cli(*words[:position], "", *words[position:])

    assert result.code == 0
    assert shop.steady("prod", "web") or result.changes == ["RegisterTaskDefinition", "UpdateService"]


def test_the_time_out_line_is_printed_word_for_word(shop: Simulator, cli: Cli) -> None:
    shop.image(f"{WEB}:2").starts_after(1000)

    result = cli("-c", "prod", "-n", "web", "-i", f"{WEB}:2", "-t", "30")

    assert result.code == 22
    assert result.lines[-1] == "ERROR: New task definition not running within 30 seconds"
    assert shop.now_s == 30


def test_the_rollback_line_is_printed_word_for_word(shop: Simulator, cli: Cli) -> None:
    shop.image(f"{WEB}:2").starts_after(1000)

    result = cli("-c", "prod", "-n", "web", "-i", f"{WEB}:2", "-t", "30", "--enable-rollback")

    assert result.code == 20
    assert result.lines[-2:] == [
        "ERROR: New task definition not running within 30 seconds",
        f"Rolling back to {PREFIX}/web:1",
    ]


def test_the_line_of_a_service_without_tasks_is_printed_word_for_word(shop: Simulator, cli: Cli) -> None:
    result = cli("-c", "prod", "-n", "web", "-i", f"{WEB}:2", "-D", "0")

    assert result.code == 0
    assert result.lines[3:] == [
        "Skipping check for running task definition, as desired-count <= 0",
        "Waiting for service deployment to complete...",
        "Service deployment successful.",
    ]


def test_the_line_of_a_pruned_revision_is_printed_word_for_word(shop: Simulator, cli: Cli) -> None:
    result = cli("-c", "prod", "-n", "web", "-i", f"{WEB}:2", "--max-definitions", "1")

    assert result.lines[-1] == f"Deregistering outdated task revision: {PREFIX}/web:1"
    assert shop.active_revisions("web") == [2]


def test_progress_goes_to_stderr_and_results_to_stdout(shop: Simulator, cli: Cli) -> None:
    result = cli("-c", "prod", "-n", "web", "-i", f"{WEB}:2")

    assert "new: 0 running" in result.err
    assert "new: 0 running" not in result.out
    assert "event: " not in result.out
