"""What a run leaves behind and what it says of it: cut short, throttled, misled by old answers, overtaken by others."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

import ecs_deploy
from ecs_deploy import Exit
from tests.conftest import Cli, SimClock
from tests.simulator import AwsError, Fault, Simulator
from tests.vocabulary import BREAKER, DEPLOY, PREFIX, WEB, Json, last_paragraph

LOGGED = {"logDriver": "awslogs", "options": {"awslogs-group": "g", "awslogs-stream-prefix": "p"}}


def at_call(operation: str, act: Callable[[], object], nth: int = 1) -> Callable[[int, str, Json], Fault | None]:
    """Has `act` happen while the nth call of that operation is under way."""
    left = [nth]

    def on_call(_: int, called: str, __: Json) -> Fault | None:
        left[0] -= called == operation
        if called == operation and left[0] == 0:
            outcome = act()
            return outcome if isinstance(outcome, Fault) else None
        return None

    return on_call


def terminated() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


# --- Signals in between


@pytest.mark.parametrize("operation", ["ListTasks", "GetLogEvents"])
def test_a_signal_while_it_explains_still_sends_the_rollback(sim: Simulator, cli: Cli, operation: str) -> None:
    container = {"name": "web", "image": "app:1", "memory": 64, "logConfiguration": LOGGED}
    sim.service("prod", "web", containers=[container])
    sim.image("app:2").crashes(after_s=1).logs(["no"])
    nth = 1 if operation == "GetLogEvents" else 3
    sim.world.on_call = at_call(operation, terminated, nth)

    result = cli(*DEPLOY, "--fail-fast", "2", "--enable-rollback")

    assert result.code == 143
    assert result.requests("UpdateService")[1]["taskDefinition"] == f"{PREFIX}/web:1"
    assert "the rollback of deployment ecs-svc/" in result.err


def test_a_signal_between_two_rollbacks_names_and_takes_back_all(
    sim: Simulator, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = [{"name": name, "containers": ["app"]} for name in ("a", "b", "c")]
    for name in ("a", "b", "c"):
        sim.service("prod", name, containers=[{"name": "app", "image": f"{name}:1", "memory": 64}])
    sim.image("a:2").crashes(after_s=1)
    (tmp_path / "app.json").write_text(json.dumps({"version": "v1", "cluster": "prod", "services": services}))
    monkeypatch.chdir(tmp_path)
    sim.world.on_call = at_call("UpdateService", terminated, 5)

    result = cli("app", "-f", "app.json", "-t", "2", "--enable-rollback", "--fail-fast", "1", "--output", "json")

    assert result.code == 143
    for name in ("a", "b", "c"):
        assert f"of service {name}" in result.err or f"service {name} to" in result.err
        assert sim.services["prod", name].primary.definition.arn.endswith(f"/{name}:1")
    assert [part["name"] for part in json.loads(result.out)["parts"]] == ["a", "b", "c"]


def test_after_a_signal_all_is_said_before_anything_is_asked(
    sim: Simulator, clock: SimClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(12):
        sim.service("prod", f"s{number}", image="app:1")
        sim.image("app:2").starts_after(500)
    out, err, seen = StringIO(), StringIO(), [""]

    def on_call(_: int, operation: str, __: Json) -> None:
        if sim.world.now_s >= 20 and not seen[0]:
            seen[0] = err.getvalue()

    sim.world.on_call = on_call
    sim.world.at(20, terminated)
    names = [word for number in range(12) for word in ("-n", f"s{number}")]

    for name, value in sim.environment().items():
        monkeypatch.setenv(name, value)
    code = ecs_deploy.main(
        ["-c", "prod", *names, "-i", "app:2", "--enable-rollback"], env=os.environ, out=out, err=err, clock=clock
    )

    assert code == 143
    assert seen[0].count("To undo it:\n  aws ecs update-service --cluster prod --service s") == 12


def test_the_same_signal_twice_ends_at_once_another_one_does_not() -> None:
    interrupts = ecs_deploy.Interrupts()
    with interrupts.installed():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        for _ in range(2):  # it is remembered, whatever becomes of the first exception
            with pytest.raises(ecs_deploy.Interrupted) as stopped:
                interrupts.check()
            assert stopped.value.exit_code == Exit.SIGINT
        with interrupts.held():
            interrupts.check()


def test_tasks_that_are_being_started_are_stopped_as_well(sim: Simulator, cli: Cli) -> None:
    sim.cluster("prod")
    sim.task_definition("job", "app:1")
    sim.image("app:2").exits(0, after_s=500)
    sim.world.on_call = at_call("RunTask", terminated)
    run = ("-c", "prod", "-d", "job", "-i", "app:2", "--run-task", "--wait-for-success", "--count", "15")

    result = cli(*run, "--stop-on-interrupt")

    assert result.code == 143
    assert len(result.requests("StopTask")) == 10
    assert all(not task.stays for task in sim.tasks_of("prod"))


# --- Throttles, lost and late answers


def test_the_way_back_sits_a_throttle_out(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")
    sim.image("app:2").crashes(after_s=1)
    sim.world.on_call = lambda index, operation, params: (
        Fault.THROTTLED if operation == "UpdateService" and 1 < sim.world.now_s < 200 else None
    )

    result = cli(*DEPLOY, "--fail-fast", "2", "--enable-rollback", "-t", "600")

    assert result.code == 20
    assert sim.running("prod", "web") == {"app:1": 1}
    assert result.out.count("Rolling back to") == 1


def test_the_way_back_is_tried_for_as_long_as_the_time_out(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")
    sim.image("app:2").starts_after(500)
    sim.world.on_call = lambda index, operation, params: (
        Fault.THROTTLED if operation == "UpdateService" and sim.world.now_s >= 30 else None
    )

    result = cli(*DEPLOY, "--enable-rollback", "-t", "30")

    assert result.code == 21
    tried_s = [call.at_s for call in result.calls if call.operation == "UpdateService"]
    assert tried_s == [0, 30, 31, 33, 37, 45, 60]
    assert "The rollback failed. AWS throttled UpdateService (Rate exceeded)" in result.err.splitlines()


def test_each_attempt_of_the_way_back_looks_who_is_there(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")
    sim.image("app:2").crashes(after_s=1)
    sim.world.on_call = lambda index, operation, params: (
        Fault.THROTTLED if operation == "UpdateService" and 1 < sim.world.now_s < 60 else None
    )
    sim.world.at(30, lambda: sim.someone_deploys("prod", "web", "app:3"))

    result = cli(*DEPLOY, "--fail-fast", "2", "--enable-rollback", "-t", "600")

    assert result.code == 23
    assert "app:3" in sim.running("prod", "web")
    assert "still points at" not in result.err
    assert "To go back:" not in result.err


def test_old_answers_neither_prove_a_rollback_nor_let_anything_be_deregistered(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")
    sim.image("app:2").crashes(after_s=1)
    sim.world.at(20, lambda: setattr(sim.world, "stale_reads", 1000))

    result = cli(*DEPLOY, "-t", "30", "--enable-rollback")

    assert result.code == 21
    assert "and stable" not in result.err
    assert "DeregisterTaskDefinition" not in result.operations
    assert sim.active_revisions("web") == [1, 2]


def test_throttled_looks_are_no_end_before_the_time_out_is(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")
    sim.world.on_call = lambda index, operation, params: (
        Fault.THROTTLED if operation == "DescribeServices" and 3 < sim.world.now_s < 400 else None
    )

    result = cli(*DEPLOY, "-t", "900")

    assert result.code == 0


@pytest.mark.parametrize("at_s", [5.0, 30.0])
def test_a_service_that_is_missing_once_is_not_deleted(sim: Simulator, cli: Cli, at_s: float) -> None:
    sim.service("prod", "web", image="app:1")
    sim.image("app:2").starts_after(40)
    missing = [1]

    def on_call(_: int, operation: str, __: Json) -> Fault | None:
        if operation == "DescribeServices" and sim.world.now_s >= at_s and missing:
            missing.pop()
            return Fault.MISSING
        return None

    sim.world.on_call = on_call

    assert cli(*DEPLOY).code == 0


def test_a_service_that_is_missing_from_one_slow_look_is_not_deleted(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")
    sim.service("prod", "api", image="app:1", deploymentConfiguration={"strategy": "BLUE_GREEN"})
    sim.image("app:2").starts_after(40)
    missing = [1]

    def on_call(_: int, operation: str, __: Json) -> Fault | None:
        if operation == "DescribeServiceDeployments":
            sim.world.advance(4)
        if operation == "DescribeServices" and sim.world.now_s >= 30 and missing:
            missing.pop()
            return Fault.MISSING
        return None

    sim.world.on_call = on_call

    assert cli(*DEPLOY, "-n", "api").code == 0


@pytest.mark.parametrize("by_ecs", [False, True])
def test_a_service_that_is_missing_once_is_brought_back(sim: Simulator, cli: Cli, by_ecs: bool) -> None:
    sim.service("prod", "web", image="app:1", deploymentConfiguration=BREAKER if by_ecs else {})
    sim.image("app:2").crashes(after_s=1)
    missing: list[int] = []

    def on_call(index: int, operation: str, __: Json) -> Fault | None:
        stopped = sum(call.operation == "DescribeTasks" for call in sim.calls)
        if operation == "DescribeServices" and stopped and not missing:
            missing.append(index)
            return Fault.MISSING
        return None

    sim.world.on_call = on_call

    result = cli(*DEPLOY, "-D", "3", "--fail-fast", "1", "--enable-rollback")

    missed, again = sim.calls[missing[0] : missing[0] + 2]
    assert result.code == 20
    assert (again.operation, again.at_s) == ("DescribeServices", missed.at_s + 1)
    assert "deleted" not in result.err
    assert sim.services["prod", "web"].desired_count == 1


def test_a_service_that_is_missing_is_asked_for_again_every_second(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")
    sim.image("app:2").starts_after(500)
    looks: list[float] = []

    def on_call(_: int, operation: str, __: Json) -> Fault | None:
        looks.extend([sim.now_s] * (operation == "DescribeServices"))
        missed = operation == "DescribeServices" and 30 <= sim.now_s < 32 and looks.count(30) > 1
        return Fault.MISSING if missed else None

    sim.world.on_call = on_call

    result = cli(*DEPLOY, "-t", "30", "--enable-rollback")

    assert result.code == 20
    assert [at_s for at_s in looks if at_s >= 30][:4] == [30, 30, 31, 32]


def test_a_task_that_is_missing_once_is_not_lost(sim: Simulator, cli: Cli) -> None:
    sim.cluster("prod")
    sim.task_definition("job", "app:1")
    sim.world.on_call = at_call("DescribeTasks", lambda: Fault.MISSING, 4)

    result = cli("-c", "prod", "-d", "job", "-i", "app:2", "--run-task", "--wait-for-success")

    assert result.code == 0


# --- Where a way back leads


def test_the_way_back_leads_to_what_last_worked(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")
    sim.image("app:2").starts_after(500)
    sim.image("app:3").crashes(after_s=1)
    assert cli(*DEPLOY, "-t", "20").code == 22

    result = cli(*WEB, "-i", "app:3", "--fail-fast", "2", "--enable-rollback")

    assert result.code == 20
    assert "Warning: The deployment of web:2 has not completed; a rollback goes to web:1, which did." in (
        result.err.splitlines()
    )
    assert sim.running("prod", "web") == {"app:1": 1}


def test_a_rollback_to_what_works_is_not_warned_of(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")

    assert "Warning" not in cli(*DEPLOY, "--enable-rollback").err


def test_the_command_that_goes_back_leads_there_too(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")
    sim.image("app:2").starts_after(500)
    sim.image("app:3").crashes(after_s=1)
    assert cli(*DEPLOY, "-t", "20").code == 22

    result = cli(*WEB, "-i", "app:3", "--fail-fast", "2", "-t", "30")

    assert result.code == 1
    assert f"--task-definition {PREFIX}/web:1" in result.err
    assert "has not completed" not in result.err


def test_nothing_leads_back_to_what_was_deregistered(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")
    sim.world.definitions.find("web:1").status = "INACTIVE"  # type: ignore[union-attr]
    sim.image("app:2").crashes(after_s=1)

    result = cli(*DEPLOY, "--fail-fast", "2", "--enable-rollback")

    assert result.code == 21
    assert "Not rolled back: the definition before it is INACTIVE." in result.err
    assert "To go back:" not in result.err


def test_the_count_is_not_undone_over_somebody_elses_deployment(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1", deploymentConfiguration=BREAKER)
    sim.image("app:2").crashes(after_s=1)
    sim.world.on_call = at_call("ListTasks", lambda: None)
    deployed: list[Any] = []

    def on_call(_: int, operation: str, __: Json) -> None:
        service = sim.services["prod", "web"]
        if operation == "ListTasks" and service.primary.is_rollback and not deployed:
            deployed.append(sim.someone_deploys("prod", "web", "app:3"))

    sim.world.on_call = on_call

    result = cli(*DEPLOY, "-D", "4", "--enable-rollback")

    assert deployed
    assert result.code == 23
    assert "desiredCount left as it is: somebody else has deployed." in result.err
    assert "and stable" not in result.err
    assert sim.active_revisions("web") == [1, 2, 3]
    assert [r.get("desiredCount") for r in result.requests("UpdateService")] == [4]


def test_another_service_that_runs_a_revision_keeps_it_from_being_pruned(sim: Simulator, cli: Cli) -> None:
    common = sim.task_definition("web", "app:1")
    sim.service("prod", "web", task_definition=common)
    sim.service("prod", "other", task_definition=common)

    result = cli(*DEPLOY, "--max-definitions", "1")

    assert result.code == 0
    assert sim.active_revisions("web") == [1, 2]
    assert f"{PREFIX}/web:1 is kept: a service of the cluster prod uses it." in result.err


# --- What is said


@pytest.mark.parametrize("stop_code", ["SpotInterruption", "UserInitiated"])
def test_a_task_that_was_stopped_from_outside_did_not_succeed(sim: Simulator, cli: Cli, stop_code: str) -> None:
    sim.cluster("prod")
    sim.task_definition("job", "app:1")
    sim.image("app:2").exits(0, after_s=500)

    def stop() -> None:
        for task in sim.tasks_of("prod"):
            task.stop(stop_code, "Your Spot Task was interrupted.", drain_s=0)
            for container in task.containers:
                container.exit_code = 0

    sim.world.at(20, stop)

    result = cli("-c", "prod", "-d", "job", "-i", "app:2", "--run-task", "--wait-for-success")

    assert result.code == 1
    assert "executed successfully!" not in result.out
    assert stop_code in result.err


@pytest.mark.parametrize(
    ("service", "line", "guessed"),
    [
        ("web", "smoke alarm module loaded", "CloudWatch alarm"),
        ("web", "Missing `secret_key_base` for 'production'", "execution role"),
        ("web", "FATAL: insufficient privilege on relation users", "no room"),
        ("alarm-api", "ready", "CloudWatch alarm"),
    ],
)
def test_neither_an_applications_log_nor_a_name_explains_what_it_cannot_know(
    sim: Simulator, cli: Cli, service: str, line: str, guessed: str
) -> None:
    container = {"name": "web", "image": "app:1", "memory": 64, "logConfiguration": LOGGED}
    sim.service("prod", service, containers=[container])
    sim.image("app:2").crashes(after_s=1).logs([line])

    result = cli("-c", "prod", "-n", service, "-i", "app:2", "--fail-fast", "2")

    assert result.code == 1
    cause = next(text for text in last_paragraph(result) if text.startswith("Likeliest cause:"))
    assert guessed not in cause
    assert "the application ends by itself soon after it starts" in cause


def test_tasks_that_ran_but_were_not_healthy_are_not_said_not_to_have_run(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1", health_check=True, desired_count=3)
    sim.image("app:2").never_healthy()

    result = cli(*DEPLOY, "-t", "30")

    assert result.code == 22
    assert "no task of the new deployment was seen healthy within 30 seconds (3 ran" in result.err


def test_commands_that_are_offered_name_the_profile(sim: Simulator, cli: Cli, tmp_path: Path) -> None:
    sim.service("prod", "web", image="app:1")
    sim.image("app:2").starts_after(500)
    config = tmp_path / "config"
    config.write_text("[profile deployer]\naws_access_key_id = AKIAGIVEN\naws_secret_access_key = given-secret\n")

    result = cli(*DEPLOY, "-t", "10", "-p", "deployer", env={"AWS_CONFIG_FILE": str(config)})

    assert result.code == 22
    assert "--region us-east-1 --profile deployer" in result.err


def test_what_a_person_called_a_variable_takes_no_sentence_apart(sim: Simulator, cli: Cli) -> None:
    words = ("cluster", "service", "update", "completed", "ERROR", "info", "test", "deployment", "aws", "ecs-svc")
    environment = [{"name": word, "value": word} for word in words]
    sim.service("prod", "web", containers=[{"name": "web", "image": "app:1", "memory": 64, "environment": environment}])
    sim.image("app:2").crashes(after_s=1)

    result = cli(*DEPLOY, "--fail-fast", "2", "--output", "json")

    document = json.loads(result.out)
    assert result.code == 1
    assert document["cluster"] == "prod"
    assert document["verdict"] == "failed"
    assert f"\nThe service still points at {PREFIX}/web:2.\n" in result.err
    assert "\nTo go back:\n  aws ecs update-service --cluster" in result.err
    assert "***" not in last_paragraph(result)[0]


def test_secrets_of_every_kind_are_masked_wherever_they_turn_up(sim: Simulator, cli: Cli) -> None:
    key = "-----BEGIN KEY-----\ncanary-first-line\ncanary-second-line\n-----END KEY-----"
    container: Json = {
        "name": "web", "image": "app:1", "memory": 64, "entryPoint": ["run", "--token=canary-entry"],
        "dockerLabels": {"note": "canary-label"}, "command": ["serve", "canary-command"],
        "environment": [{"name": "KEY", "value": key}, {"name": "QUOTED", "value": 'canary-"quoted"\\value'}],
        "logConfiguration": {"logDriver": "awslogs", "options": {**LOGGED["options"], "Header": "canary-header"}},  # type: ignore[dict-item]
    }  # fmt: skip
    sim.service("prod", "web", containers=[container])
    sim.image("app:2").crashes(after_s=1).logs(["canary-second-line is wrong", 'got canary-"quoted"\\value'])

    failed = cli(*DEPLOY, "--fail-fast", "2", "-v", "--output", "json")
    dry = cli(*DEPLOY, "--dry-run", "-v")

    assert (failed.code, dry.code) == (1, 0)
    for said in (failed.out, failed.err, dry.out, dry.err):
        assert "canary" not in said
    assert "*** is wrong" in failed.err


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("credential_process = /nowhere/at-all", ": [Errno 2] No such file or directory: '/nowhere/at-all'"),
        (
            "role_arn = arn:aws:iam::123456789012:role/r\nweb_identity_token_file = /nowhere/token",
            " (DescribeServices): [Errno 2] No such file or directory: '/nowhere/token'",
        ),
    ],
)
def test_credentials_that_cannot_be_loaded_are_named(
    sim: Simulator, cli: Cli, tmp_path: Path, settings: str, said: str
) -> None:
    config = tmp_path / "config"
    config.write_text(f"[default]\n{settings}\n")
    env = {"AWS_CONFIG_FILE": str(config), "AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}

    result = cli(*DEPLOY, env=env)

    assert result.code == 24
    assert result.err.splitlines() == [
        f"ERROR: The AWS credentials cannot be loaded{said}",
        "Check the token file or the credential_process that the environment or the profile names.",
    ]
    assert result.operations == []


def test_a_document_for_a_narrow_stdout_is_json_still(
    sim: Simulator, clock: SimClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Narrow(StringIO):
        encoding = "ascii"

    sim.service("prod", "web", image="app:1")
    out = Narrow()
    for name, value in sim.environment().items():
        monkeypatch.setenv(name, value)

    ecs_deploy.main(
        ["-c", "prod", "-n", "café", "-i", "app:2", "--output", "json"], env=os.environ, out=out, err=StringIO(),
        clock=clock,
    )  # fmt: skip

    assert out.getvalue().isascii()
    assert json.loads(out.getvalue())["service"] == "café"


def test_the_last_lines_of_a_chatty_task_are_printed_page_by_page(sim: Simulator, cli: Cli) -> None:
    sim.cluster("prod")
    sim.task_definition("job", containers=[{"name": "job", "image": "app:1", "memory": 64, "logConfiguration": LOGGED}])
    sim.page_size = 10
    sim.image("app:2").exits(0, after_s=0.5).logs([f"line {number}" for number in range(57)])

    result = cli("-c", "prod", "-d", "job", "-i", "app:2", "--run-task", "--wait-for-success")

    assert result.code == 0
    assert [line for line in result.err.splitlines() if line.startswith("| line")] == [
        f"| line {number}" for number in range(57)
    ]


def test_each_line_of_a_log_event_stands_behind_a_prefix(sim: Simulator, cli: Cli) -> None:
    sim.cluster("prod")
    sim.task_definition("job", containers=[{"name": "job", "image": "app:1", "memory": 64, "logConfiguration": LOGGED}])
    sim.image("app:2").exits(0, after_s=1).logs(["first\n::error::not ours\r\n::stop-commands::x"])

    result = cli("-c", "prod", "-d", "job", "-i", "app:2", "--run-task", "--wait-for-success")

    assert result.code == 0
    assert "| first\n| ::error::not ours\n| ::stop-commands::x\n" in result.err


# --- What is left when the answers are lost


def test_a_rollback_whose_answer_is_lost_for_good_is_not_said_to_have_been_refused(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")
    sim.image("app:2").crashes(after_s=1)
    sim.world.on_call = lambda index, operation, params: (
        Fault.DROP_AFTER if operation in ("UpdateService", "DescribeServices") and sim.now_s > 30 else None
    )

    result = cli(*DEPLOY, "-t", "31", "--enable-rollback")

    assert result.code == 21
    assert "still points at" not in result.err


def test_a_rollback_whose_answer_was_lost_once_is_our_own(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1", drain_s=0)
    sim.image("app:2").crashes(after_s=1)
    sim.world.on_call = at_call("UpdateService", lambda: Fault.DROP_AFTER, 2)

    result = cli(*DEPLOY, "--fail-fast", "1", "--enable-rollback")

    assert result.code == 20
    assert len(result.requests("UpdateService")) == 3
    assert result.out.count("Rolling back to") == 1


@pytest.mark.parametrize("afterwards", [Fault.SERVER_ERROR, Fault.STALE, Fault.MISSING])
def test_a_rollback_that_may_have_been_carried_out_is_looked_at(sim: Simulator, cli: Cli, afterwards: Fault) -> None:
    sim.service("prod", "web", image="app:1")
    sim.image("app:2").crashes(after_s=1)
    sent: list[float] = []

    def on_call(_: int, operation: str, __: Json) -> Fault | None:
        if operation == "UpdateService" and sim.now_s > 1:
            sent.append(sim.now_s)
            return Fault.DROP_BEFORE
        return afterwards if operation == "DescribeServices" and sent and sim.now_s > sent[0] + 20 else None

    sim.world.on_call = on_call

    result = cli(*DEPLOY, "-t", "25", "--fail-fast", "1", "--enable-rollback")

    assert result.code == 21
    assert "A rollback may have been carried out, its answer was lost." in result.err
    assert "Look:\n  aws ecs describe-services --cluster prod --services web --region us-east-1" in result.err


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (Fault.DROP_AFTER, "Deregistered web:2, a revision that failed."),
        (Fault.DROP_BEFORE, "web:2, a revision that failed, could not be deregistered."),
    ],
)
def test_a_deregistration_whose_answer_is_lost_is_looked_up(sim: Simulator, cli: Cli, fault: Fault, said: str) -> None:
    sim.service("prod", "web", image="app:1")
    sim.image("app:2").crashes(after_s=1)
    sim.world.on_call = lambda index, operation, params: fault if operation == "DeregisterTaskDefinition" else None

    result = cli(*DEPLOY, "--fail-fast", "1", "--enable-rollback")

    assert result.code == 20
    assert said in result.err
    assert ("To deregister it:" in result.err) == (fault is Fault.DROP_BEFORE)


def test_where_nothing_can_be_looked_up_a_revision_stays(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")
    sim.image("app:2").crashes(after_s=1)
    lost: list[bool] = []

    def on_call(_: int, operation: str, __: Json) -> Fault | None:
        lost.extend([True] * (operation == "DeregisterTaskDefinition"))
        asked = operation == "DescribeTaskDefinition" and lost
        return Fault.DROP_BEFORE if operation == "DeregisterTaskDefinition" or asked else None

    sim.world.on_call = on_call

    result = cli(*DEPLOY, "--fail-fast", "1", "--enable-rollback")

    assert result.code == 20
    assert "could not be deregistered. AWS was not reached" in result.err


@pytest.mark.parametrize(("action", "gone"), [("ecs:ListServices", True), ("", False)])
def test_without_leave_to_list_only_the_services_that_were_named_count(
    sim: Simulator, cli: Cli, action: str, gone: bool
) -> None:
    sim.service("prod", "web", image="app:1")
    sim.image("app:2").crashes(after_s=1)
    sim.deny(*filter(None, [action]))
    if not gone:
        sim.world.on_call = lambda index, operation, params: Fault.SERVER_ERROR if operation == "ListServices" else None

    result = cli(*DEPLOY, "--fail-fast", "1", "--enable-rollback")

    assert result.code == 20
    assert sim.active_revisions("web") == ([1] if gone else [1, 2])


@pytest.mark.parametrize("nth", [1, 2, 3])
def test_a_signal_after_ecs_went_back_names_what_is_there(sim: Simulator, cli: Cli, nth: int) -> None:
    sim.service("prod", "web", image="app:1", deploymentConfiguration=BREAKER, desired_count=2)
    sim.image("app:2").crashes(after_s=1)
    looks = [0]

    def on_call(_: int, operation: str, __: Json) -> None:
        looks[0] += operation == "ListTasks" and sim.services["prod", "web"].primary.is_rollback
        if operation == "ListTasks" and looks[0] == nth:
            terminated()

    sim.world.on_call = on_call

    result = cli(*DEPLOY, "--enable-rollback")

    assert result.code == 143
    assert re.search(r"SIGTERM: deployment \S+ of service web is over: \S+ \(web:1\) was PRIMARY 0 s ago\.", result.err)
    assert "web:2 stays registered; once nothing uses it:\n  aws ecs deregister-task-definition" in result.err


def test_after_a_signal_it_says_what_stands_otherwise_by_then(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")
    sim.image("app:2").starts_after(500)
    sim.world.at(20.5, lambda: sim.world.someone_deploys("prod", "web", "app:9"))
    sim.world.at(20.6, terminated)

    result = cli(*DEPLOY, "--enable-rollback")

    said = result.err.partition("SIGTERM: ")[2]
    assert result.code == 143
    assert re.search(r"Not rolled back: \S+ is the service's PRIMARY deployment now\.", said)
    assert re.search(r"SIGTERM: deployment \S+ of service web is over: \S+ \(web:3\) was PRIMARY 0 s ago\.", said)
    assert "web:2 stays registered; once nothing uses it:\n  aws ecs deregister-task-definition" in said


@pytest.mark.parametrize("fault", [Fault.DROP_BEFORE, Fault.SERVER_ERROR])
def test_tasks_that_may_have_been_started_are_to_be_looked_for(sim: Simulator, cli: Cli, fault: Fault) -> None:
    sim.cluster("prod")
    sim.task_definition("job", "app:1")
    sim.world.on_call = lambda index, operation, params: fault if operation == "RunTask" else None

    result = cli("-c", "prod", "-d", "job", "-i", "app:2", "--run-task", "--wait-for-success")

    assert result.code == 24
    look = "aws ecs list-tasks --cluster prod --family job --region us-east-1"
    assert f"RunTask may have started tasks of job that are not named here. Look:\n  {look}\n" in result.err


@pytest.mark.slow
def test_the_same_signal_a_second_time_ends_the_process() -> None:
    script = (
        "import os, signal, ecs_deploy\n"
        "with ecs_deploy.Interrupts().installed():\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    print('still here')\n"
    )

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)

    assert done.returncode == -signal.SIGTERM
    assert done.stdout == ""


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="there is no kill")
def test_another_signal_while_the_last_words_are_said_takes_nothing_from_them() -> None:
    """A CI runner that cancels sends SIGINT, and SIGTERM while the program may be writing its outputs."""
    script = (
        "import os, signal, sys, ecs_deploy\n"
        "class Out:\n"
        "    isatty = flush = lambda self: False\n"
        "    def write(self, text):\n"
        "        if 'Interrupted.' in text: os.kill(os.getpid(), signal.SIGTERM)\n"
        "        sys.stderr.write(text)\n"
        "words = ['-d', 'job', '-i', 'web:$(kill -INT $PPID; sleep 1)', '--eval-image', '--output=json']\n"
        "sys.exit(ecs_deploy.main(words, err=Out()))\n"
    )

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (130, "Interrupted.\n")
    assert json.loads(done.stdout) == {"error": "interrupted", "exit_code": 130}


def test_a_second_reasons_log_is_printed_as_well(sim: Simulator, cli: Cli) -> None:
    container = {"name": "web", "image": "app:1", "memory": 64, "logConfiguration": LOGGED}
    sim.service("prod", "web", containers=[container], desired_count=2)
    sim.image("app:2").crashes(after_s=1).logs(["first trouble"])
    sim.world.at(4, lambda: sim.image("app:2").crashes(after_s=1, exit_code=7))

    result = cli(*DEPLOY, "--fail-fast", "6", "-t", "120")

    assert result.code == 1
    assert result.err.count("Last log lines of container web") == 2


def test_an_image_that_nobody_can_read_is_not_looked_up(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")

    result = cli(*WEB, "--set", "containerDefinitions[web].image=not an image", "--dry-run")

    assert result.code == 0
    assert "BatchGetImage" not in result.operations


def test_a_character_that_yaml_does_not_allow_is_named(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "app.yml"
    file.write_bytes(b"version: v1\ncluster: \x07\n")

    result = cli("app", "-f", str(file), "-t", "2")

    assert result.code == 3
    assert result.err == "ERROR: The application file is not YAML: special characters are not allowed\n"


def test_an_application_can_leave_its_look_ups_out(sim: Simulator, cli: Cli, tmp_path: Path) -> None:
    sim.service("prod", "web", image="app:1")
    file = tmp_path / "app.json"
    services = [{"name": "web", "containers": ["web"]}]
    file.write_text(json.dumps({"version": "v1", "cluster": "prod", "services": services}))

    assert cli("app", "-f", str(file), "-t", "2", "--no-preflight").code == 0


def test_a_schedules_name_that_cannot_be_one_is_a_usage_error(cli: Cli) -> None:
    result = cli(*WEB, "-i", "app:2", "--schedule", "a b")

    assert result.code == 3
    assert "'a b' is not NAME, GROUP/NAME, BUS/NAME" in result.err


def test_a_member_of_a_thing_that_the_service_does_not_have_is_shown_as_new(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")

    result = cli(*WEB, "--service-set", "capacityProviderStrategy[spot].weight=1", "--dry-run")

    assert result.code == 0
    assert "~ service: capacityProviderStrategy.spot.weight None -> 1" in result.err


def test_nothing_is_deregistered_while_aws_shows_what_was_before_our_last_write(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")
    sim.image("app:2").crashes(after_s=1)
    service = sim.services["prod", "web"]
    sim.world.on_call = at_call("ListServices", lambda: setattr(service, "stale_reads_left", 5))

    result = cli(*DEPLOY, "--fail-fast", "1", "--enable-rollback")

    assert result.code == 20
    assert f"{PREFIX}/web:2 is left ACTIVE: AWS does not show yet that nothing uses it." in result.err
    assert "To deregister it:\n  aws ecs deregister-task-definition" in result.err
    assert sim.active_revisions("web") == [1, 2]


def test_an_answer_from_the_second_of_the_rollback_does_not_show_who_uses_what(sim: Simulator, cli: Cli) -> None:
    service = sim.service("prod", "web", image="app:1")
    sim.image("app:2").starts_after(500)
    sim.world.at(20, lambda: service.primary.becomes("FAILED", "tasks failed to start.", sim.world.now_s))
    sim.world.on_call = at_call("ListServices", lambda: setattr(service, "stale_reads_left", 5))

    result = cli(*DEPLOY, "--enable-rollback")

    assert result.code == 20
    assert "is left ACTIVE: AWS does not show yet that nothing uses it." in result.err


def test_without_botocore_a_member_cannot_be_typed(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "botocore.model", None)

    result = cli(*WEB, "--set", "cpu=512")

    assert result.code == 4
    assert "please install boto3" in result.err


def test_what_is_deployed_while_a_rollback_ends_is_not_taken_for_it(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1", deploymentConfiguration={**BREAKER, "strategy": "BLUE_GREEN"})
    sim.image("app:2").crashes(after_s=1)
    service = sim.services["prod", "web"]
    deployed: list[Any] = []

    def on_call(_: int, operation: str, __: Json) -> None:
        if operation == "DescribeServiceDeployments" and service.release.status == "ROLLBACK_SUCCESSFUL":
            deployed.extend([] if deployed else [sim.someone_deploys("prod", "web", "app:3")])

    sim.world.on_call = on_call

    result = cli(*DEPLOY, "--enable-rollback", "-t", "200")

    assert deployed
    assert result.code == 23
    left = f"The way back was left to somebody else's deployment: {service.primary.id} (web:3) is PRIMARY now."
    assert left in result.err.splitlines()
    assert "and stable" not in result.err


def test_a_deployment_that_completed_after_its_time_out_did_not_fail(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1", drain_s=1)
    sim.world.settle_s = 20
    sim.image("app:2").starts_after(12)
    sim.world.on_call = at_call("ListTasks", lambda: sim.advance(40))

    result = cli(*DEPLOY, "-t", "10", "--enable-rollback")

    assert result.code == 20
    assert "Deregistered web:2, a revision that was rolled back." in result.err


def test_a_refused_update_says_nothing_of_the_services_that_were_updated(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")
    sim.service("prod", "api", image="app:1")
    refused = AwsError("AccessDeniedException", "not this one")
    sim.world.on_call = lambda index, operation, params: (
        refused if operation == "UpdateService" and params["service"] == "api" else None
    )

    result = cli("-c", "prod", "-n", "web", "-n", "api", "-i", "app:2")

    assert result.code == 1
    assert sim.running("prod", "web") == {"app:2": 1}
    assert "goes on" not in result.err
    assert "To undo it" not in result.err
    assert "Deregistered api:2, a revision that no service uses." in result.err


def test_a_refused_update_leaves_the_revision_to_the_service_that_shares_it(sim: Simulator, cli: Cli) -> None:
    common = sim.task_definition("web", "app:1")
    for name in ("web", "api"):
        sim.service("prod", name, task_definition=common)
    refused = AwsError("AccessDeniedException", "not this one")
    sim.world.on_call = lambda index, operation, params: (
        refused if operation == "UpdateService" and params["service"] == "web" else None
    )

    result = cli(*DEPLOY, "-n", "api")

    assert (result.code, sim.running("prod", "api")) == (1, {"app:2": 1})
    assert result.changes == ["RegisterTaskDefinition", "UpdateService", "UpdateService"]
    assert "web:2" not in result.err
