"""What is printed: changes, dry run, JSON, API calls, bugs, the terminal; and never a secret."""

from __future__ import annotations

import io
import itertools
import json
import os
import re
from collections.abc import Callable
from typing import Any

import pytest

import ecs_deploy
from tests.conftest import Cli, SimClock
from tests.simulator import AwsError, Fault, Simulator
from tests.terminal import Terminal, progress_of
from tests.vocabulary import BREAKER, DEPLOY, PREFIX, WEB

CANARY = "c4n4ry-v4lue"


@pytest.fixture
def secretive(sim: Simulator) -> Simulator:
    """A service whose definition is full of values that nobody may read."""
    container = {
        "name": "web",
        "image": "app:1",
        "memory": 64,
        "environment": [{"name": "PASSWORD", "value": f"{CANARY}-environment"}],
        "secrets": [{"name": "KEY", "valueFrom": f"{CANARY}-secret"}],
        "command": ["serve", f"--password={CANARY}-command"],
        "logConfiguration": {
            "logDriver": "splunk",
            "options": {"splunk-token": f"{CANARY}-option"},
            "secretOptions": [{"name": "splunk-token", "valueFrom": f"{CANARY}-option-secret"}],
        },
        "repositoryCredentials": {"credentialsParameter": f"{CANARY}-repository"},
    }
    sim.service("prod", "web", containers=[container])
    return sim


def test_a_dry_run_changes_nothing_and_shows_what_it_would_send(secretive: Simulator, cli: Cli) -> None:
    result = cli(*DEPLOY, "-D", "2", "--dry-run")

    assert result.code == 0
    assert result.operations == ["DescribeServices", "DescribeTaskDefinition"]
    would_register, would_send, last = result.lines[2:]
    definition = json.loads(would_register.removeprefix("Would register: "))
    assert definition["containerDefinitions"][0]["image"] == "app:2"
    assert definition["containerDefinitions"][0]["environment"] == [{"name": "PASSWORD", "value": "***"}]
    assert json.loads(would_send.removeprefix("Would send UpdateService: ")) == {
        "cluster": "prod",
        "service": "web",
        "desiredCount": 2,
        "taskDefinition": "web:<new revision>",
    }
    assert last == "Dry run: nothing was changed."
    assert CANARY not in result.out + result.err


def test_on_a_terminal_the_requests_of_a_dry_run_are_indented_and_come_after_the_changes(
    secretive: Simulator, cli: Cli
) -> None:
    result = cli(*DEPLOY, "-D", "2", "--dry-run", tty=True, env={"COLUMNS": "80"})

    (screen,) = result.screens
    begun = screen.index("Would send UpdateService: {")
    sent = json.loads("\n".join(["{", *screen[begun + 1 : -1]]))
    assert sent == {"cluster": "prod", "service": "web", "desiredCount": 2, "taskDefinition": "web:<new revision>"}
    assert screen.index("Changes:") < screen.index("Would register: {") < begun
    assert CANARY not in result.out + result.err


def test_a_dry_run_of_a_definition_shows_what_it_would_register(sim: Simulator, cli: Cli) -> None:
    sim.task_definition("job", "app:1")

    result = cli("-d", "job", "-i", "app:2", "--dry-run")

    assert result.code == 0
    assert result.operations == ["DescribeTaskDefinition"]
    assert [line.partition(":")[0] for line in result.lines[2:]] == ["Would register", "Dry run"]


@pytest.mark.parametrize(
    ("given", "update", "said"),
    [
        (["-D", "2"], {"desiredCount": 2}, ["Changes:", "  ~ service: desiredCount 1 -> 2"]),
        (["-D", "1"], {"desiredCount": 1}, ["Changes:", "  nothing changes"]),
        (
            ["--force-new-deployment"], {"forceNewDeployment": True},
            ["Force a new deployment of the service", "Redeploying web:1: app:1"],
        ),
    ],
    ids=["a count", "the count that it has", "a redeployment"],
)  # fmt: skip
def test_a_dry_run_of_what_the_service_alone_has_registers_nothing(
    sim: Simulator, cli: Cli, given: list[str], update: dict[str, Any], said: list[str]
) -> None:
    sim.service("prod", "web", image="app:1")

    result = cli(*WEB, *given, "--dry-run", "--output", "json")

    request = {"cluster": "prod", "service": "web", **update}
    would = [f"Would send UpdateService: {json.dumps(request)}", "Dry run: nothing was changed."]
    assert result.err.splitlines() == [*said, *would]
    assert json.loads(result.out) == {
        "cluster": "prod",
        "service": "web",
        "would_register": None,
        "would_send": {"UpdateService": request},
        "verdict": "dry run",
        "exit_code": 0,
    }


def test_a_dry_run_finds_the_errors_that_the_run_would_find(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")

    assert cli(*WEB, "-i", "other:2", "--dry-run").code == 14
    assert cli("-c", "prod", "-n", "nobody", "-i", "app:2", "--dry-run").code == 24


def test_verbose_prints_every_call_and_no_secret(secretive: Simulator, cli: Cli) -> None:
    edit = ["--container-envvar", f"web=NEW={CANARY}-new", "--container-secret", f"web=OTHER={CANARY}-other"]
    environment = {"AWS_SECRET_ACCESS_KEY": f"{CANARY}-key", "AWS_SESSION_TOKEN": f"{CANARY}-token"}
    secretive.registries.parameter(f"{CANARY}-other")

    result = cli(*DEPLOY, *edit, "-v", env=environment)

    said = [line for line in result.err.splitlines() if line.startswith("> ")]
    assert result.code == 0
    assert [line.split()[1] for line in said] == result.operations
    assert all(re.search(r" -> [0-9a-f]{8}-0000-4000-8000-0{12}, \d+ ms$", line) for line in said)
    (registered,) = [line for line in said if line.startswith("> RegisterTaskDefinition")]
    assert '"image": "app:2"' in registered
    assert CANARY not in result.out + result.err


def test_verbose_prints_the_error_of_a_call(sim: Simulator, cli: Cli) -> None:
    sim.cluster("prod")

    sim.on_call = lambda index, operation, params: sim.advance(2)

    result = cli("-c", "nowhere", "-n", "web", "-i", "app:2", "-v")

    assert result.code == 24
    asked = '> DescribeServices {"cluster": "nowhere", "services": ["web"]}'
    assert f"{asked} -> ClusterNotFoundException, 2000 ms\n" in result.err


@pytest.mark.parametrize("refused", ["RegisterTaskDefinition", "UpdateService"])
def test_a_secret_in_an_error_of_aws_is_masked(secretive: Simulator, cli: Cli, refused: str) -> None:
    message = f"cannot use {CANARY}-environment with {CANARY}-new and {CANARY}-key or {CANARY}-option, says the service"
    secretive.world.on_call = lambda index, operation, params: (
        AwsError("ClientException", message) if operation == refused else None
    )

    edit = ["--container-envvar", f"web=NEW={CANARY}-new"]
    result = cli(*DEPLOY, *edit, env={"AWS_SECRET_ACCESS_KEY": f"{CANARY}-key"})

    assert result.code == 24
    assert "cannot use *** with *** and *** or ***, says the service" in result.err
    assert CANARY not in result.out + result.err


@pytest.mark.parametrize("value", ["true", "1", "web", "app"], ids=["a boolean", "short", "the service", "the image"])
def test_names_stay_readable_where_a_variable_has_the_same_text(sim: Simulator, cli: Cli, value: str) -> None:
    container = {"name": "web", "image": "app:1", "memory": 64, "environment": [{"name": "A", "value": value}]}
    sim.service("prod", "web", containers=[container])

    result = cli(*DEPLOY)

    assert result.code == 0
    assert "***" not in result.out + result.err


def test_our_own_words_stay_readable_where_a_variable_has_the_same_text(sim: Simulator, cli: Cli) -> None:
    values = ["checkout", "production", "deployment", "definition"]
    environment = [{"name": f"V{number}", "value": value} for number, value in enumerate(values)]
    container = {"name": "checkout", "image": "checkout:1", "memory": 64, "environment": environment}
    sim.service("production", "checkout", containers=[container])

    result = cli("-c", "production", "-n", "checkout", "-i", "checkout:2", "--skip-deployments-check")

    assert result.code == 0
    assert "Service updated successfully, new task definition running." in result.lines
    assert "  ~ checkout: image checkout:1 -> checkout:2\n" in result.err


def test_rows_with_more_and_fewer_parts_line_up() -> None:
    assert ecs_deploy.lined_up(["web: 1 running, 2 pending; old: 1", "worker: stable", "a: 12 running, none"]) == [
        "web:    1 running,  2 pending; old: 1",
        "worker: stable",
        "a:      12 running, none",
    ]


def test_of_two_secrets_the_longer_one_is_not_half_shown(sim: Simulator, cli: Cli) -> None:
    values = {"PASSWORD": CANARY, "TOKEN": f"{CANARY}-and-more"}
    environment = [{"name": name, "value": value} for name, value in values.items()]
    sim.service("prod", "web", containers=[{"name": "web", "image": "app:1", "memory": 64, "environment": environment}])
    refusal = AwsError("ClientException", f"Bad values: {CANARY}-and-more; {CANARY}")
    sim.world.on_call = lambda index, operation, params: refusal if operation == "RegisterTaskDefinition" else None

    result = cli(*DEPLOY)

    assert result.code == 24
    assert "Bad values: ***; ***" in result.err


@pytest.mark.parametrize(
    ("value", "said", "shown"),
    [
        pytest.param(
            "harbour", "harbour, harbour1, myharbour", "***, harbour1, myharbour", id="a word in a longer one"
        ),
        pytest.param("a-1", "a-1", "a-1", id="three letters"),
        pytest.param("$ecret!", "my$ecret!and", "my***and", id="signs around it"),
        pytest.param("pass-1", "pass-1, pass-12", "***, pass-12", id="a sign in it"),
        pytest.param("Schlüssel", "Schlüssel, \\u0053, Schl\\u00fcssel", "***, \\u0053, ***", id="as JSON spells it"),
        pytest.param("first\n  second line \n", "second line", "***", id="one of its lines"),
        pytest.param("123456", "12345, 123456", "12345, ***", id="a long number"),
    ],
)
def test_a_secret_is_masked_where_it_stands_as_a_word(
    sim: Simulator, cli: Cli, value: str, said: str, shown: str
) -> None:
    environment = [{"name": "A", "value": value}, {"name": "SHORT", "value": "12345"}]
    sim.service("prod", "web", containers=[{"name": "web", "image": "app:1", "memory": 64, "environment": environment}])
    refusal = AwsError("ClientException", f"cannot use: {said}")
    sim.world.on_call = lambda index, operation, params: refusal if operation == "RegisterTaskDefinition" else None

    result = cli(*DEPLOY)

    assert result.code == 24
    assert f"cannot use: {shown} (ClientException)" in result.err


def test_our_own_words_are_not_masked_beside_those_that_are(sim: Simulator, cli: Cli) -> None:
    environment = [{"name": "A", "value": "refused"}]
    sim.service("prod", "web", containers=[{"name": "web", "image": "app:1", "memory": 64, "environment": environment}])
    refusal = AwsError("ClientException", "it is refused.")
    sim.world.on_call = lambda index, operation, params: refusal if operation == "RegisterTaskDefinition" else None

    result = cli(*DEPLOY)

    assert result.code == 24
    assert "AWS refused RegisterTaskDefinition: it is ***. (ClientException)" in result.err


def test_letters_beyond_ascii_stay_readable(sim: Simulator, cli: Cli) -> None:
    sim.task_definition("job", "app:1", tags=[{"key": "team", "value": "Küche"}])
    refusal = AwsError("ClientException", "not in the Küche")
    sim.world.on_call = lambda index, operation, params: refusal if operation == "RegisterTaskDefinition" else None

    dry = cli("-d", "job", "-i", "app:2", "--dry-run")
    refused = cli("-d", "job", "-i", "app:2", "-v", "--output", "json")

    assert (dry.code, refused.code) == (0, 24)
    assert '{"key": "team", "value": "Küche"}' in dry.out
    assert '{"key": "team", "value": "Küche"}' in refused.err
    assert "not in the Küche" in refused.out


def goes_back_by_itself(sim: Simulator) -> None:
    sim.services["prod", "web"].configuration.update(BREAKER)
    sim.image("app:2").crashes(after_s=1)


@pytest.mark.parametrize(
    ("ends", "options", "verdict", "reason", "code"),
    [
        pytest.param(
            lambda sim: None, (), "completed", "ECS deployment ecs-svc/… completed.", 0, id="completed"
        ),
        pytest.param(
            lambda sim: None, ("--skip-deployments-check",),
            "running", "the deployment itself was not waited for", 0, id="running",
        ),
        pytest.param(lambda sim: None, ("--no-wait",), "accepted", None, 0, id="accepted"),
        pytest.param(lambda sim: None, ("--dry-run",), "dry run", None, 0, id="dry run"),
        pytest.param(
            lambda sim: sim.image("app:2").starts_after(500), (),
            "timed out", "no task of the new deployment was seen running within 90 seconds", 22, id="timed out",
        ),
        pytest.param(
            lambda sim: sim.image("app:2").crashes(), ("--fail-fast", "1"),
            "failed", "1 of its tasks stopped (--fail-fast)", 1, id="failed",
        ),
        pytest.param(
            lambda sim: sim.image("app:2").crashes(), ("--fail-fast", "1", "--enable-rollback"),
            "failed", "1 of its tasks stopped (--fail-fast)", 20, id="failed, and back",
        ),
        pytest.param(
            goes_back_by_itself, (), "rolling back",
            "ECS deployment circuit breaker: rolling back to deploymentId ecs-svc/… (web:1)", 1, id="ECS goes back",
        ),
        pytest.param(
            goes_back_by_itself, ("--enable-rollback",), "rolling back",
            "ECS deployment circuit breaker: rolling back to deploymentId ecs-svc/… (web:1)", 20, id="ECS went back",
        ),
        pytest.param(lambda sim: sim.deny("ecs:UpdateService"), (), "error", None, 24, id="refused"),
        pytest.param(
            lambda sim: sim.world.at(1.5, lambda: sim.someone_deploys("prod", "web", "app:3")), (),
            "superseded", "ecs-svc/… (web:3) is the service's PRIMARY deployment now", 23, id="superseded",
        ),
        pytest.param(
            lambda sim: sim.world.at(1.5, lambda: sim.delete_service("prod", "web")), (),
            "gone", "the service is being deleted (DRAINING)", 1, id="deleted",
        ),
    ],
)  # fmt: skip
def test_the_json_document_has_a_verdict_a_reason_and_an_exit_code(
    sim: Simulator, cli: Cli, ends: Callable[[Simulator], object], options: tuple[str, ...], verdict: str,
    reason: str | None, code: int,
) -> None:  # fmt: skip
    sim.service("prod", "web", image="app:1")
    ends(sim)

    result = cli(*DEPLOY, *options, "--output", "json")

    document = json.loads(result.out)
    assert (document["verdict"], document["exit_code"], result.code) == (verdict, code, code)
    told = document.get("reason")
    assert (told and re.sub(r"ecs-svc/\d+", "ecs-svc/…", told)) == reason


def test_the_json_document_says_of_several_services_that_they_were_accepted(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")
    sim.service("prod", "api", image="app:1")

    document = json.loads(cli(*DEPLOY, "-n", "api", "--no-wait", "--output", "json").out)

    assert [(part["name"], part["result"], part["verdict"], part["exit_code"]) for part in document["parts"]] == [
        ("web", "accepted", "accepted", 0), ("api", "accepted", "accepted", 0),
    ]  # fmt: skip


def test_the_json_document_is_alone_on_stdout(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")

    result = cli(*DEPLOY, "--output", "json")

    document = json.loads(result.out)
    assert result.code == 0
    assert result.out == json.dumps(document, indent=2) + "\n"
    assert "Service deployment successful." in result.err
    assert document["exit_code"] == 0
    assert document["verdict"] == "completed"
    assert document["cluster"] == "prod"
    assert document["service"] == "web"
    assert document["previous_task_definition"] == f"{PREFIX}/web:1"
    assert document["new_task_definition"] == f"{PREFIX}/web:2"
    assert document["deployment_id"] == sim.services["prod", "web"].primary.id
    assert document["durations"] == {"until_running_s": 3, "total_s": sim.now_s}


def test_the_json_document_says_why_it_failed(sim: Simulator, cli: Cli) -> None:
    breaker = {"deploymentCircuitBreaker": {"enable": True, "rollback": False}}
    sim.service("prod", "web", image="app:1", deploymentConfiguration=breaker)
    sim.image("app:2").crashes(after_s=2)

    result = cli(*DEPLOY, "--output=json")

    document = json.loads(result.out)
    assert document["exit_code"] == result.code == 1
    assert document["verdict"] == "failed"
    assert document["reason"] == "ECS deployment circuit breaker: tasks failed to start."
    assert document["failed_tasks"][0]["count"] == 3


@pytest.mark.parametrize("arguments", [["--output=json", "--nonsense"], ["-n", "web", "--output", "json"]])
def test_the_json_document_tells_of_a_usage_error(cli: Cli, arguments: list[str]) -> None:
    result = cli(*arguments)

    document = json.loads(result.out)
    assert document["exit_code"] == result.code != 0
    assert document["error"] in result.err


def test_the_json_document_says_what_helps_against_a_usage_error(cli: Cli) -> None:
    document = json.loads((result := cli("-c", "prod", "-n", "web", "--output", "json")).out)

    assert (document["verdict"], document["exit_code"], result.code) == ("error", 8, 8)
    assert document["hint"].startswith("Other changes are -to TAG, ")


def test_the_json_document_tells_of_a_bug(
    sim: Simulator, cli: Cli, clock: SimClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    sim.service("prod", "web", image="app:1")
    monkeypatch.setattr(clock, "sleep", lambda seconds: 1 / 0)

    result = cli(*DEPLOY, "--output", "json", bug=True)

    document = json.loads(result.out)
    assert (document["error"], document["exit_code"], result.code) == ("a bug in ecs-deploy", 70, 70)


@pytest.mark.parametrize("variable", ["AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"])
@pytest.mark.parametrize("value", ["abc", "12345"], ids=["three letters", "a number"])
def test_a_key_is_masked_that_does_not_look_like_a_secret(sim: Simulator, cli: Cli, variable: str, value: str) -> None:
    sim.service("prod", "web", image="app:1")
    sim.on_call = lambda *_: AwsError("IncompleteSignature", f"{value} is not complete")

    result = cli(*DEPLOY, env={variable: value})

    assert result.code == 24
    assert "*** is not complete" in result.err


def test_the_json_document_tells_of_a_dry_run(sim: Simulator, cli: Cli) -> None:
    container = {"name": "web", "image": "app:1", "memory": 64, "environment": [{"name": "KEY", "value": CANARY}]}
    sim.service("prod", "web", containers=[container])

    document = json.loads(cli(*DEPLOY, "--output", "json", "--dry-run").out)

    registered = {**container, "image": "app:2", "environment": [{"name": "KEY", "value": "***"}]}
    assert document == {
        "cluster": "prod",
        "service": "web",
        "previous_task_definition": f"{PREFIX}/web:1",
        "images": [{"container": "web", "old": "app:1", "new": "app:2"}],
        "would_register": {"family": "web", "containerDefinitions": [registered]},
        "would_send": {"UpdateService": {"cluster": "prod", "service": "web", "taskDefinition": "web:<new revision>"}},
        "verdict": "dry run",
        "exit_code": 0,
    }


@pytest.mark.parametrize("columns", [200, 50], ids=["wide", "narrow"])
def test_on_a_terminal_progress_is_one_line_that_redraws_itself(sim: Simulator, cli: Cli, columns: int) -> None:
    service = sim.service("prod", "web", image="app:1", drain_s=5)
    sim.image("app:2").starts_after(20)
    sim.world.at(10.5, lambda: service.add_event("half of it"))

    result = cli(*DEPLOY, tty=True, env={"COLUMNS": str(columns)})

    drawn = [row for (row,) in progress_of(result.screens)]
    seconds = [int(row[1:6]) for row in drawn]
    assert result.code == 0
    assert seconds == sorted(set(seconds))
    assert seconds[:10] == list(range(10))
    assert list(dict.fromkeys(row[7:] for row in drawn)) == [
        "] new: 0 running, 0 pending of 1; old: 1 running"[: columns - 8],
        "] new: 0 running, 1 pending of 1; old: 1 running"[: columns - 8],
        "] new: 1 running, 0 pending of 1; old: 1 running"[: columns - 8],
        "] new: 1 running, 0 pending of 1; old: none left"[: columns - 8],
    ]
    assert "\x1b" not in result.out


def test_in_the_end_a_terminal_shows_what_a_file_would_hold_but_for_the_progress(sim: Simulator, cli: Cli) -> None:
    endings = []
    for term in ("xterm", "dumb"):
        sim.reset()
        sim.service("prod", "web", image="app:1").add_event("from before")
        sim.image("app:2").crashes(after_s=2)
        result = cli(*DEPLOY, "--fail-fast", "2", tty=True, env={"TERM": term})
        assert result.code == 1
        endings.append(result.screens[-1])

    drawn, plain = endings
    assert drawn == [line for line in plain if not line.startswith("[")]
    assert 2 < len(drawn) < len(plain)


@pytest.mark.parametrize(("tty", "term"), [(False, "xterm"), (True, "dumb")], ids=["a file", "a dumb terminal"])
def test_elsewhere_a_line_is_printed_when_something_has_changed(sim: Simulator, cli: Cli, tty: bool, term: str) -> None:
    sim.service("prod", "web", image="app:1", drain_s=5)
    sim.image("app:2").starts_after(40)

    result = cli(*DEPLOY, tty=tty, env={"TERM": term})

    told = [line.partition("] ")[2] for line in result.err.splitlines() if line.startswith("[")]
    assert "\r" not in result.err
    assert told == [
        "new: 0 running, 0 pending of 1; old: 1 running",
        "new: 0 running, 1 pending of 1; old: 1 running",
        "new: 1 running, 0 pending of 1; old: 1 running",
        "new: 1 running, 0 pending of 1; old: none left",
    ]


def test_a_log_is_never_silent_for_more_than_a_minute(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1", drain_s=200)
    sim.image("app:2").starts_after(200)

    result = cli(*DEPLOY, "-t", "600")

    told = [line for line in result.err.splitlines() if line.startswith("[")]
    seconds = [0, *(int(line[1:6]) for line in told)]
    assert told[3].endswith("] new: 0 running, 1 pending of 1; old: 1 running")
    assert max(after - before for before, after in itertools.pairwise(seconds)) <= 60
    assert len(told) < 15


ESCAPE = "\x1b["


def test_on_a_terminal_a_failure_is_red_the_end_green_and_events_are_dim(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")
    sim.world.at(1, lambda: sim.services["prod", "web"].add_event("half of it"))

    good = cli(*DEPLOY, tty=True)
    bad = cli(*DEPLOY, "--nonsense", tty=True)

    shown = [Terminal(200, 100), Terminal(200, 100)]
    shown[0].write(good.err)
    shown[1].write(bad.err)
    assert (good.code, bad.code) == (0, 3)
    assert shown[0].lines_in("green") == [good.screens[-1][-1]]
    assert f"{ESCAPE}2mevent: (service web) half of it{ESCAPE}0m\n" in good.err
    assert shown[1].lines_in("red") == ["ERROR: unknown option: --nonsense"]
    assert ESCAPE not in good.out + bad.out


@pytest.mark.parametrize(
    ("tty", "env"),
    [
        pytest.param(False, {"TERM": "xterm"}, id="a pipe"),
        pytest.param(True, {"TERM": "dumb"}, id="a dumb terminal"),
        pytest.param(True, {"NO_COLOR": "1"}, id="NO_COLOR"),
    ],
)
def test_elsewhere_nothing_has_a_colour(sim: Simulator, cli: Cli, tty: bool, env: dict[str, str]) -> None:
    sim.service("prod", "web", image="app:1")
    sim.image("app:2").crashes(after_s=2)

    result = cli(*DEPLOY, "--fail-fast", "1", tty=tty, env=env)

    assert result.code == 1
    assert not re.search(r"\x1b\[[0-9;]*m", result.out + result.err)


def test_it_ends_with_what_the_service_runs(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="shop/app:1", desired_count=2)

    plain = cli("-c", "prod", "-n", "web", "-i", "shop/app:2")
    early = cli("-c", "prod", "-n", "web", "-i", "shop/app:3", "--skip-deployments-check")
    forced = cli("-c", "prod", "-n", "web", "--force-new-deployment")

    last = [result.err.splitlines()[-1] for result in (plain, early, forced)]
    assert re.fullmatch(r"web runs app:2 on 2 of 2 tasks after \d+ s\.", last[0])
    assert re.fullmatch(r"web runs app:3 on [12] of 2 tasks after \d+ s\.", last[1])
    assert re.fullmatch(r"web runs app:3 on 2 of 2 tasks after \d+ s\.", last[2])


def test_after_a_failure_nothing_says_what_the_service_runs(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")
    sim.image("app:2").crashes(after_s=2)

    result = cli(*DEPLOY, "--fail-fast", "1", "--enable-rollback")

    assert result.code == ecs_deploy.Exit.ROLLED_BACK
    assert "web runs" not in result.err


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("has started 2 tasks: (task 0123456789ab) (task ba9876543210).", "has started 2 tasks."),
        ("(task 0123456789ab) failed container health checks.", "(task 01234567) failed container health checks."),
        ("has reached a steady state.", "has reached a steady state."),
    ],
    ids=["a list", "one of them", "none"],
)
def test_an_event_is_shown_without_the_tasks_it_lists_and_kept_with_them(
    sim: Simulator, cli: Cli, said: str, shown: str
) -> None:
    sim.service("prod", "web", image="app:1")
    sim.world.at(1, lambda: sim.services["prod", "web"].add_event(said))

    result = cli(*DEPLOY, "--output", "json")

    assert f"event: (service web) {shown}\n" in result.err
    assert f"(service web) {said}" in json.loads(result.out)["events"]


def test_a_log_goes_on_saying_that_aws_does_not_answer(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")
    sim.world.on_call = lambda index, operation, params: (
        Fault.THROTTLED if operation == "DescribeServices" and 3 <= sim.world.now_s < 243 else None
    )

    result = cli(*DEPLOY, "-t", "0")

    assert 4 <= result.err.count("AWS throttled DescribeServices (Rate exceeded); looking again.") <= 6


class Broken(io.StringIO):
    """An output that takes nothing."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self._error = error

    def write(self, text: str) -> int:
        raise self._error


@pytest.mark.parametrize("stream", ["closed", "broken", "ascii"])
def test_an_output_that_cannot_be_written_never_ends_a_deployment(
    sim: Simulator, clock: SimClock, monkeypatch: pytest.MonkeyPatch, stream: str
) -> None:
    sim.service("prod", "web", image="app:1", desired_count=1)
    sim.services["prod", "web"].add_event("ümläut")
    sim.world.at(1, lambda: sim.services["prod", "web"].add_event("日本"))
    for name, value in sim.environment().items():
        monkeypatch.setenv(name, value)
    streams: Any = {
        "closed": Broken(ValueError("I/O operation on closed file")),
        "broken": Broken(BrokenPipeError(32, "Broken pipe")),
        "ascii": io.TextIOWrapper(io.BytesIO(), "ascii"),
    }

    code = ecs_deploy.main(list(DEPLOY), env=os.environ, out=streams[stream], err=streams[stream], clock=clock)

    assert code == 0
    assert sim.steady("prod", "web")
    if stream == "ascii":
        assert b"event: (service web) \\u65e5\\u672c\n" in streams[stream].buffer.getvalue()


def test_what_was_said_is_out_before_the_program_waits(
    sim: Simulator, clock: SimClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    sim.service("prod", "web", image="app:1")
    for name, value in sim.environment().items():
        monkeypatch.setenv(name, value)
    taken, seen = io.BytesIO(), []
    out = io.TextIOWrapper(taken, "utf-8")
    clock.before_sleep = lambda: seen.append(taken.getvalue().decode().splitlines()[-1])

    code = ecs_deploy.main(list(DEPLOY), env=os.environ, out=out, err=io.StringIO(), clock=clock)

    assert code == 0
    assert seen[0] == f"New task definition: {PREFIX}/web:2"


def test_a_bug_is_said_to_be_one_with_a_traceback_without_secrets(
    sim: Simulator, cli: Cli, clock: SimClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    container = {"name": "web", "image": "app:1", "memory": 64}
    sim.service("prod", "web", containers=[{**container, "environment": [{"name": "PASSWORD", "value": CANARY}]}])

    def break_down(seconds: float) -> None:
        raise RuntimeError(f"the clock fell off the wall, says {CANARY}")

    monkeypatch.setattr(clock, "sleep", break_down)

    result = cli(*DEPLOY, bug=True)

    assert result.code == 70
    assert "RuntimeError: the clock fell off the wall, says ***" in result.err
    assert "ERROR: This is a bug in ecs-deploy" in result.err
    assert "Check the service: the deployment may have begun." in result.err
    assert CANARY not in result.out + result.err


def test_the_changes_of_the_service_are_printed_too(sim: Simulator, cli: Cli) -> None:
    configuration = {"minimumHealthyPercent": 100, "maximumPercent": 200}
    sim.service("prod", "web", desired_count=2, deploymentConfiguration=configuration)

    result = cli("-c", "prod", "-n", "web", "-i", "app:2", "-D", "4", "-m", "50", "-M", "200")

    assert result.code == 0
    changed = result.err.partition("Changes:\n")[2].splitlines()[:3]
    assert changed == [
        "  ~ web: image app:1 -> app:2",
        "  ~ service: desiredCount 2 -> 4",
        "  ~ service: minimumHealthyPercent 100 -> 50",
    ]


def test_a_forced_redeploy_says_what_it_redeploys(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")

    result = cli("-c", "prod", "-n", "web", "--force-new-deployment")

    assert result.code == 0
    assert result.err.splitlines()[0] == "Redeploying web:1: app:1"


def test_of_several_services_each_line_names_its_own(sim: Simulator, cli: Cli) -> None:
    containers = [{"name": name, "image": f"{name}:1", "memory": 64} for name in ("app", "side")]
    for name in ("web", "api"):
        sim.service("prod", name, containers=containers)
    both = ("-c", "prod", "-n", "web", "-n", "api")

    forced, counted = cli(*both, "--force-new-deployment"), cli(*both, "-D", "2")

    assert forced.lines[:2] == [f"{name}: Force a new deployment of the service" for name in ("web", "api")]
    assert forced.err.splitlines()[:2] == [f"{name}: Redeploying {name}:1: app:1, side:1" for name in ("web", "api")]
    assert counted.err.splitlines()[:4] == [
        "web: Changes:",
        "  ~ service: desiredCount 1 -> 2",
        "api: Changes:",
        "  ~ service: desiredCount 1 -> 2",
    ]


def test_what_is_to_be_unset_and_is_not_there_is_said(sim: Simulator, cli: Cli) -> None:
    variables = [{"name": "HERE", "value": "1"}]
    container = {"name": "web", "image": "app:1", "memory": 64, "environment": variables}
    sim.service("prod", "web", containers=[container])
    unset = ["--container-envvar", "web=HERE=", "--container-envvar", "web=GONE=", "--unset", "pidMode"]

    result = cli("-c", "prod", "-n", "web", *unset, "--container-logopt", "web=awslogs=mode=", "--dry-run")

    assert result.code == 0
    assert [line for line in result.err.splitlines() if "nothing to unset" in line] == [
        "containerDefinitions.web.environment.GONE is not there, so there is nothing to unset.",
        "containerDefinitions.web.logConfiguration.options.mode is not there, so there is nothing to unset.",
        "pidMode is not there, so there is nothing to unset.",
    ]


@pytest.mark.parametrize(("count", "said"), [("1", "+ run 1 task"), ("3", "+ run 3 tasks")])
@pytest.mark.parametrize("image", ["2", ""])
def test_how_many_tasks_are_to_run_stands_in_the_changes(
    sim: Simulator, cli: Cli, count: str, said: str, image: str
) -> None:
    sim.task_definition("job", containers=[{"name": "job", "image": "job:1", "memory": 64}])
    edit = ["-to", image] if image else []

    result = cli("-c", "prod", "-d", "job", *edit, "--run-task", "--count", count, "--dry-run")

    assert result.code == 0
    changed = "~ job: image job:1 -> job:2" if image else "nothing changes in the definition; job:1 is used as it is"
    assert f"Changes:\n  {changed}\n  {said}\n" in result.err


def test_an_event_names_its_service_once_a_line(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")
    sim.service("prod", "api", image="app:1")
    sim.image("app:2").crashes(after_s=1)

    alone = cli("-c", "prod", "-n", "web", "-i", "app:2", "--enable-rollback", "--fail-fast", "1")
    both = cli("-c", "prod", "-n", "web", "-n", "api", "-i", "app:2", "--enable-rollback", "--fail-fast", "1")

    assert (alone.code, both.code) == (20, 20)
    assert "event: (service web) has started 1 tasks." in alone.err
    assert "rollback: event: (service web) has started 1 tasks." in alone.err
    assert "web: event: has started 1 tasks." in both.err
    assert "api: rollback: event: has started 1 tasks." in both.err
