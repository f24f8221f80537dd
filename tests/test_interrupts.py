"""Interruptions: what a signal ends, what it lets finish, and what is said then."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import threading
from types import FrameType
from typing import Any

import pytest

import ecs_deploy
from tests.conftest import Cli, Result
from tests.simulator import AwsError, Fault, Simulator
from tests.vocabulary import DEPLOY, PREFIX, WEB, Json


@pytest.mark.parametrize(("signum", "code", "name"), [(signal.SIGINT, 130, "SIGINT"), (signal.SIGTERM, 143, "SIGTERM")])
def test_interrupted_it_says_what_goes_on_and_how_to_undo_it(
    sim: Simulator, cli: Cli, signum: signal.Signals, code: int, name: str
) -> None:
    sim.service("prod", "web", image="app:1")
    sim.image("app:2").starts_after(60)
    sim.world.at(10, lambda: signal.raise_signal(signum))

    result = cli(*DEPLOY)

    deployment = sim.services["prod", "web"].primary.id
    back = f"--task-definition {PREFIX}/web:1 --region us-east-1"
    assert result.code == code
    assert result.err.splitlines()[-4:] == [
        f"{name}: deployment {deployment} of service web goes on, to {PREFIX}/web:2. That is as last seen, 1 s ago.",
        "To undo it:",
        f"  aws ecs update-service --cluster prod --service web {back}",
        "Interrupted.",
    ]
    assert result.changes == ["RegisterTaskDefinition", "UpdateService"]


def test_the_document_of_an_interrupted_run_says_what_was_begun(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")
    sim.image("app:2").starts_after(60)
    sim.world.at(10, lambda: signal.raise_signal(signal.SIGTERM))

    result = cli(*DEPLOY, "--output", "json")

    document = json.loads(result.out)
    assert document["exit_code"] == result.code == 143
    assert document["error"] == "interrupted"
    assert document["deployment_id"] == sim.services["prod", "web"].primary.id
    assert document["new_task_definition"] == f"{PREFIX}/web:2"


def test_the_document_of_a_run_that_is_cut_short_by_the_update_names_the_revision(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")

    def interrupt(index: int, operation: str, params: Json) -> None:
        if operation == "RegisterTaskDefinition":
            signal.raise_signal(signal.SIGTERM)

    sim.on_call = interrupt

    result = cli(*DEPLOY, "--output", "json")

    assert result.code == 143
    assert json.loads(result.out)["new_task_definition"] == f"{PREFIX}/web:2"


def test_interrupted_it_says_what_is_complete_and_what_has_failed(sim: Simulator, cli: Cli) -> None:
    breaker = {"deploymentCircuitBreaker": {"enable": True, "rollback": False}}
    for name in ("web", "api", "bad"):
        sim.service("prod", name, image="app:1", drain_s=60 if name == "web" else 0, deploymentConfiguration=breaker)
    sim.world.at(4, lambda: sim.services["prod", "bad"].primary.becomes("FAILED", "tasks failed to start.", 4.0))
    sim.world.at(30, lambda: signal.raise_signal(signal.SIGTERM))

    result = cli(*DEPLOY, "-n", "api", "-n", "bad")

    ends = [("bad", "has failed; the service points at"), ("api", "is complete, on"), ("web", "goes on, to")]
    said = [line for line in result.err.splitlines() if line.startswith("SIGTERM: ")]
    assert result.code == 143
    assert [line.partition(". That is as last seen, ")[0] for line in said] == [
        f"SIGTERM: deployment {sim.services['prod', name].primary.id} of service {name} {how} {PREFIX}/{name}:2"
        for name, how in ends
    ]


def test_an_interrupted_redeploy_has_nothing_to_undo(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")
    sim.image("app:1").starts_after(60)
    sim.world.at(10, lambda: signal.raise_signal(signal.SIGINT))

    result = cli(*WEB, "--force-new-deployment", "--enable-rollback")

    assert result.code == 130
    assert "goes on" in result.err
    assert "To undo it:" not in result.err


def test_what_was_accepted_and_is_not_waited_for_is_left_alone(sim: Simulator, cli: Cli) -> None:
    for number in range(3):
        sim.task_definition("web", f"app:{number}")
    sim.service("prod", "web", image="app:1")
    sim.on_call = lambda index, operation, params: (
        signal.raise_signal(signal.SIGTERM) if operation == "DeregisterTaskDefinition" else None
    )

    result = cli(*DEPLOY, "--no-wait", "--max-definitions", "1")

    assert result.code == 143
    assert result.changes == ["RegisterTaskDefinition", "UpdateService", "DeregisterTaskDefinition"]
    assert result.err.splitlines()[-2:] == [
        "SIGTERM: all else is done and stays; the outdated revisions are not all deregistered.",
        "Interrupted.",
    ]
    assert "web:5" not in result.err


def test_interrupted_it_sends_the_rollback_that_was_asked_for(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")
    sim.image("app:2").starts_after(60)
    sim.world.at(10, lambda: signal.raise_signal(signal.SIGTERM))

    result = cli(*DEPLOY, "--enable-rollback")

    assert result.code == 143
    assert result.requests("UpdateService")[1]["taskDefinition"] == f"{PREFIX}/web:1"
    deployment = sim.services["prod", "web"].deployments[1].id
    command = f"aws ecs deregister-task-definition --task-definition {PREFIX}/web:2 --region us-east-1"
    assert result.err.partition("web:1 --region us-east-1\n")[2].splitlines() == [
        f"SIGTERM: the rollback of deployment {deployment} of service web was sent, and is not waited for.",
        "web:2 stays registered; once nothing uses it:",
        f"  {command}",
        "Interrupted.",
    ]


def test_the_same_signal_again_ends_the_clean_up_at_once_and_another_one_does_not(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")
    sim.image("app:2").starts_after(60)
    sim.world.at(10, lambda: signal.raise_signal(signal.SIGINT))
    handled: list[tuple[bool, bool]] = []

    def look(index: int, operation: str, params: Json) -> None:
        if operation == "UpdateService":
            handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
            handled.append((handlers[0] is not signal.SIG_DFL, handlers[1] is not signal.SIG_DFL))

    sim.on_call = look

    result = cli(*DEPLOY, "--enable-rollback")

    assert result.code == 130
    assert handled == [(True, True), (False, True)], "before the first signal, and after it"


def test_interrupted_it_says_that_the_rollback_was_refused(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")
    sim.image("app:2").starts_after(60)
    sim.world.at(9, lambda: sim.deny("ecs:UpdateService"))
    sim.world.at(10, lambda: signal.raise_signal(signal.SIGTERM))

    result = cli(*DEPLOY, "--enable-rollback")

    assert result.code == 143
    assert "SIGTERM: the rollback could not be sent. AWS denied UpdateService" in result.err
    assert "goes on" in result.err


def test_interrupted_it_sends_no_rollback_over_somebody_elses_deployment(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")
    sim.image("app:2").starts_after(60)
    sim.world.at(9.5, lambda: sim.someone_deploys("prod", "web", "app:3"))
    sim.world.at(9.9, lambda: signal.raise_signal(signal.SIGTERM))

    result = cli(*DEPLOY, "--enable-rollback")

    assert result.code == 143
    assert "Not rolled back: " in result.err
    assert "was sent" not in result.err
    assert result.changes == ["RegisterTaskDefinition", "UpdateService"]


@pytest.mark.parametrize("until_s", [30, 1000])
def test_interrupted_it_sits_a_throttle_out_for_half_a_minute(sim: Simulator, cli: Cli, until_s: int) -> None:
    sim.service("prod", "web", image="app:1")
    sim.image("app:2").starts_after(60)
    sim.world.at(10, lambda: signal.raise_signal(signal.SIGTERM))
    sim.world.on_call = lambda index, operation, params: (
        Fault.THROTTLED if operation == "UpdateService" and 10 <= sim.world.now_s < until_s else None
    )

    result = cli(*DEPLOY, "--enable-rollback")

    assert result.code == 143
    assert ("of service web was sent, and is not waited for." in result.err) == (until_s == 30)
    assert ("SIGTERM: the rollback could not be sent. AWS throttled UpdateService" in result.err) == (until_s > 30)
    assert 30 <= sim.world.now_s <= 40


def test_interrupted_it_tries_for_half_a_minute_to_send_the_rollback(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")
    sim.image("app:2").starts_after(60)
    sim.world.at(10, lambda: signal.raise_signal(signal.SIGTERM))
    tried_s: list[float] = []

    def throttled_after_a_second(index: int, operation: str, params: Json) -> Fault | None:
        if operation != "UpdateService" or sim.now_s < 10:
            return None
        tried_s.append(sim.now_s)
        sim.advance(1)
        return Fault.THROTTLED

    sim.world.on_call = throttled_after_a_second

    result = cli(*DEPLOY, "--enable-rollback")

    assert result.code == 143
    assert tried_s == [10, 12, 15, 20, 29, 45]
    assert "SIGTERM: the rollback could not be sent. AWS throttled UpdateService (Rate exceeded)" in result.err


def test_what_was_discarded_before_the_signal_is_not_discarded_again(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")
    sim.service("prod", "api", image="app:1")
    sim.image("app:2").starts_after(60)
    refused = AwsError("InvalidParameterException", "not so")
    sim.world.on_call = lambda index, operation, params: (
        refused if operation == "UpdateService" and params["service"] == "api" else None
    )
    sim.world.at(10, lambda: signal.raise_signal(signal.SIGTERM))

    result = cli(*WEB, "-n", "api", "-to", "2")

    assert result.code == 143
    assert result.requests("DeregisterTaskDefinition") == [{"taskDefinition": f"{PREFIX}/api:2"}]


@pytest.mark.parametrize("operation", ["RegisterTaskDefinition", "UpdateService"])
def test_a_signal_during_a_call_that_changes_something_waits_for_its_answer(
    sim: Simulator, cli: Cli, operation: str
) -> None:
    sim.service("prod", "web", image="app:1")
    sim.world.on_call = lambda index, called, params: (
        os.kill(os.getpid(), signal.SIGTERM) if called == operation else None
    )

    result = cli(*DEPLOY)

    assert result.code == 143
    assert result.calls[-1].status == "OK"
    registered = operation == "RegisterTaskDefinition"
    assert sim.active_revisions("web") == ([1] if registered else [1, 2])
    assert ("goes on" in result.err) != registered


def test_a_signal_ends_a_call_that_only_reads_before_its_answer_comes(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")
    main = threading.main_thread().ident or 0

    def on_call(_index: int, called: str, _params: object) -> None:
        if called == "DescribeTaskDefinition":
            signal.pthread_kill(main, signal.SIGTERM)
            threading.Event().wait(0.2)  # the answer comes later than that

    sim.world.on_call = on_call

    result = cli(*DEPLOY, "-v")

    assert result.code == 143
    assert re.search(r"^> DescribeTaskDefinition .* -> no answer, ", result.err, re.MULTILINE)


@pytest.mark.parametrize("fault", [Fault.THROTTLED, Fault.DROP_BEFORE])
def test_a_signal_between_two_attempts_tells_apart_what_was_refused_and_what_may_be_done(
    sim: Simulator, cli: Cli, fault: Fault
) -> None:
    sim.service("prod", "web", image="app:1")

    def on_call(_: int, operation: str, __: Any) -> Fault | None:
        if operation != "UpdateService":
            return None
        os.kill(os.getpid(), signal.SIGTERM)
        return fault

    sim.world.on_call = on_call

    result = cli(*DEPLOY)

    lost = fault is Fault.DROP_BEFORE
    assert (result.code, result.changes.count("UpdateService")) == (143, 1)
    said = f"SIGTERM: the update of service web to {PREFIX}/web:2 was sent, and its answer was not seen."
    assert (said in result.err.splitlines()) == lost
    assert sim.active_revisions("web") == [1]


@pytest.mark.parametrize("at", range(12))
def test_a_signal_at_any_line_before_a_sleep_ends_the_run_before_it(sim: Simulator, cli: Cli, at: int) -> None:
    """Between the last check and the sleep as well: the sleep would have to end before anybody looked again."""
    sim.service("prod", "web", image="app:1")
    sim.image("app:2").starts_after(600)
    passed: list[int] = []
    sent_s: list[float] = []

    def trace(frame: FrameType, event: str, _argument: object) -> Any:
        if frame.f_code.co_filename != ecs_deploy.__file__ or frame.f_code.co_name not in ("sleep", "allowed", "check"):
            return None
        if event == "line" and sim.services["prod", "web"].primary.definition.revision == 2:
            passed.append(frame.f_lineno)
            if len(passed) == at + 1:
                sent_s.append(sim.world.now_s)
                os.kill(os.getpid(), signal.SIGTERM)
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        result = cli(*DEPLOY, "-t", "300")
    finally:
        sys.settrace(before)

    assert result.code == 143
    assert [sim.world.now_s] == sent_s


def test_a_signal_before_anything_changed_leaves_everything_as_it_was(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")
    sim.world.on_call = lambda index, called, params: (
        os.kill(os.getpid(), signal.SIGINT) if called == "DescribeTaskDefinition" else None
    )

    result = cli(*DEPLOY)

    assert result.code == 130
    assert result.changes == []
    assert result.err.endswith("Interrupted.\n")


def test_a_signal_ends_a_run_too_that_had_lost_the_answer_to_its_update(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")
    sim.image("app:2").starts_after(600)
    sim.world.on_call = lambda index, called, params: Fault.DROP_AFTER if called == "UpdateService" else None
    sim.world.at(60, lambda: signal.raise_signal(signal.SIGTERM))

    result = cli(*DEPLOY, "-t", "300")

    assert result.code == 143
    assert sim.world.now_s < 70
    assert "of service web goes on" in result.err


def test_the_handlers_of_the_caller_are_put_back(sim: Simulator, cli: Cli) -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    sim.service("prod", "web", image="app:1")

    cli(*DEPLOY)

    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_outside_the_main_thread_it_runs_without_handlers(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")
    results: list[Result] = []
    thread = threading.Thread(target=lambda: results.append(cli(*DEPLOY)))

    thread.start()
    thread.join()

    assert results[0].code == 0


def test_an_interrupted_rollback_says_that_it_was_sent_and_is_not_sent_again(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1", drain_s=60)
    sim.image("app:2").starts_after(500)
    sim.image("app:1").starts_after(60)
    sim.services["prod", "web"].configuration["minimumHealthyPercent"] = 0
    sim.services["prod", "web"].configuration["maximumPercent"] = 100
    sim.world.at(32, lambda: signal.raise_signal(signal.SIGTERM))

    result = cli(*DEPLOY, "-t", "30", "--enable-rollback")

    assert result.code == 143
    said = f"SIGTERM: the rollback was sent, and is not waited for. It takes service web to {PREFIX}/web:1."
    assert said in result.err
    assert "Not rolled back" not in result.err
    assert [request["taskDefinition"] for request in result.requests("UpdateService")] == [
        f"{PREFIX}/web:2", f"{PREFIX}/web:1",
    ]  # fmt: skip
