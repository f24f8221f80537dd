"""`ecs-deploy rollback`: back to what worked before, from wherever the service is."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecs_deploy import worked_before
from tests.conftest import Cli, Result
from tests.simulator import AwsError, Fault, Simulator
from tests.vocabulary import DEPLOY, PREFIX, WEB, Json, last_paragraph

BLUE_GREEN: Json = {"strategy": "BLUE_GREEN", "bakeTimeInMinutes": 5}


def deployed(sim: Simulator, *images: str, name: str = "web", **members: Any) -> None:
    """A service that has run these images one after the other, each for a day."""
    sim.service("prod", name, images[0], **members)
    for image in images[1:]:
        sim.advance(86_400)
        sim.someone_deploys("prod", name, image)
    sim.advance(86_400)


def sent(result: Result) -> list[str]:
    """The revisions that services were pointed at."""
    return [update["taskDefinition"].rpartition("/")[2] for update in result.requests("UpdateService")]


# --- Where it leads


def test_a_rollback_leads_to_what_worked_before_and_is_seen_to_run(sim: Simulator, cli: Cli) -> None:
    deployed(sim, "app:1", "app:2", "app:3", desired_count=3)

    result = cli("rollback", *WEB)

    assert result.code == 0
    assert result.lines == [
        f"Current task definition: {PREFIX}/web:3",
        f"Rolling back to {PREFIX}/web:2",
        "Service updated successfully, new task definition running.",
        "Waiting for service deployment to complete...",
        "Service deployment successful.",
        f"The service is back on {PREFIX}/web:2, and stable.",
    ]
    assert result.changes == ["UpdateService"]
    assert result.requests("UpdateService") == [
        {"cluster": "prod", "service": "web", "taskDefinition": f"{PREFIX}/web:2"}
    ]
    assert sim.running("prod", "web") == {"app:2": 3}


def test_running_it_again_goes_further_back_and_never_to_what_was_left(sim: Simulator, cli: Cli) -> None:
    deployed(sim, "app:1", "app:2", "app:3")

    runs = [cli("rollback", *WEB) for _ in range(3)]

    assert [run.code for run in runs] == [0, 0, 1]
    assert [run.code for run in runs] == [0, 0, 1]
    assert [sent(run) for run in runs] == [["web:2"], ["web:1"], []]
    listing = "ecs-deploy rollback -c prod -n web --region us-east-1 --list"
    assert (
        "The service web has nothing to go back to from web:1\n"
        f"Name a revision with --to. To see what was deployed:\n  {listing}\n"
    ) in runs[2].err
    assert cli(*shlex.split(listing)[1:]).code == 0
    assert "  a rollback leads to: nowhere" in cli("status", *WEB).lines
    assert sim.running("prod", "web") == {"app:1": 1}


def test_what_a_rollback_left_is_no_way_back_of_a_later_deployment(sim: Simulator, cli: Cli) -> None:
    deployed(sim, "app:1", "app:2")
    assert sent(cli("rollback", *WEB)) == ["web:1"]
    sim.someone_deploys("prod", "web", "app:3")
    sim.advance(60)

    assert sent(cli("rollback", *WEB)) == ["web:1"]


def test_a_rollback_whose_beginning_ecs_has_forgotten_does_not_swing_back(sim: Simulator, cli: Cli) -> None:
    deployed(sim, "app:1", "app:2")
    sim.advance(91 * 86_400)
    sim.someone_deploys("prod", "web", "app:3")
    sim.advance(86_400)

    runs = [cli("rollback", *WEB) for _ in range(3)]

    assert [run.code for run in runs] == [0, 0, 1]
    assert [sent(run) for run in runs] == [["web:2"], ["web:1"], []]
    assert "the next older ACTIVE revision; ECS does not tell whether it ever worked" in runs[0].err


def test_who_goes_back_leaves_what_came_after_whatever_its_family() -> None:
    web, api, next_web = (f"{PREFIX}/{name}" for name in ("web:1", "api:5", "web:2"))

    assert worked_before([web, api, next_web], next_web) == [api, web]
    assert worked_before([web, api, web, next_web], next_web) == [web]
    assert worked_before([web, next_web, web], web) == []


@given(st.lists(st.tuples(st.sampled_from(["web", "api"]), st.integers(1, 6)), min_size=1, max_size=12))
def test_going_back_again_and_again_ends_and_never_leads_to_what_was_left(deployed: list[tuple[str, int]]) -> None:
    history = [f"{PREFIX}/{family}:{revision}" for family, revision in deployed]
    left: list[str] = []

    while ways := worked_before(history, history[-1]):
        left.append(history[-1])
        assert set(ways) <= set(history)
        assert not set(ways) & set(left)
        history.append(ways[0])

    assert len(left) < len(set(history))


def test_a_forced_redeployment_of_the_same_is_no_way_back(sim: Simulator, cli: Cli) -> None:
    deployed(sim, "app:1", "app:2")
    for _ in range(2):
        assert cli(*WEB, "--force-new-deployment").code == 0

    assert sent(cli("rollback", *WEB)) == ["web:1"]


def test_what_failed_is_no_way_back(sim: Simulator, cli: Cli) -> None:
    deployed(sim, "app:1")
    sim.image("app:2").crashes(after_s=1)
    assert cli(*DEPLOY, "--enable-rollback", "--keep-failed-revision", "--fail-fast", "1").code == 20
    sim.someone_deploys("prod", "web", "app:3")
    sim.advance(60)

    assert sent(cli("rollback", *WEB)) == ["web:1"]


def test_what_failed_is_no_way_back_either_where_nothing_else_is_left(sim: Simulator, cli: Cli) -> None:
    deployed(sim, "app:1")
    sim.image("app:2").crashes(after_s=1)
    assert cli(*DEPLOY, "--enable-rollback", "--keep-failed-revision", "--fail-fast", "1").code == 20
    sim.someone_deploys("prod", "web", "app:3")
    sim.advance(60)
    sim.handle("ecs", "DeregisterTaskDefinition", {"taskDefinition": "web:1"})

    result = cli("rollback", *WEB)

    assert (result.code, result.changes) == (1, [])
    assert "  The service web has nothing to go back to from web:3\n" in result.err


def test_an_inactive_revision_is_named_and_skipped(sim: Simulator, cli: Cli) -> None:
    deployed(sim, "app:1", "app:2", "app:3")
    sim.handle("ecs", "DeregisterTaskDefinition", {"taskDefinition": "web:2"})

    result = cli("rollback", *WEB)

    assert (result.code, sent(result)) == (0, ["web:1"])
    assert "web:2 is skipped: it is INACTIVE, no service can go there." in result.err


@pytest.mark.parametrize("command", ["rollback --dry-run", "rollback --list", "status"])
def test_of_several_services_it_is_said_whose_revision_is_skipped(sim: Simulator, cli: Cli, command: str) -> None:
    deployed(sim, "app:1", "app:2", "app:3")
    deployed(sim, "api:1", "api:2", name="api")
    sim.handle("ecs", "DeregisterTaskDefinition", {"taskDefinition": "web:2"})

    one, both = cli(*command.split(), *WEB), cli(*command.split(), *WEB, "-n", "api")

    note = "web:2 is skipped: it is INACTIVE, no service can go there."
    assert note in one.err.splitlines()
    assert f"web: {note}" in both.err.splitlines()


def test_a_revision_that_is_gone_is_named_and_skipped(sim: Simulator, cli: Cli) -> None:
    deployed(sim, "app:1", "app:2", "app:3")
    sim.world.definitions.families["web"].pop(1)

    listed = cli("rollback", *WEB, "--list")
    result = cli("rollback", *WEB)

    assert [" ".join(line.split()) for line in listed.lines[2:]] == [
        "web:2 2025-06-16 15:06:40 UTC SUCCESSFUL gone",
        "web:1 2025-06-15 15:06:40 UTC SUCCESSFUL app:1 <- a rollback leads here",
    ]
    assert sent(result) == ["web:1"]
    assert "web:2 is skipped: it is not there any more, no service can go there." in result.err


def test_a_revision_that_cannot_be_seen_just_now_ends_it_before_anything_is_changed(sim: Simulator, cli: Cli) -> None:
    deployed(sim, "app:1", "app:2")
    sim.world.on_call = lambda index, operation, params: (
        Fault.SERVER_ERROR if operation == "ListServiceDeployments" else None
    )

    result = cli("rollback", *WEB)

    assert (result.code, result.changes) == (24, [])


def test_without_a_history_what_the_service_still_lists_leads_back(sim: Simulator, cli: Cli) -> None:
    deployed(sim, "app:1", "app:2", drain_s=600)
    sim.image("app:3").starts_after(300)
    sim.someone_deploys("prod", "web", "app:3")
    sim.advance(5)
    sim.deny("ecs:ListServiceDeployments")

    result = cli("rollback", *WEB, "-t", "900")

    assert sent(result) == ["web:2"]
    assert "COMPLETED and still listed." in result.err


def test_without_any_word_of_ecs_the_next_older_revision_is_said_to_be_just_that(sim: Simulator, cli: Cli) -> None:
    deployed(sim, "app:1", "app:2", "app:3")
    sim.deny("ecs:DescribeServiceRevisions")

    result = cli("rollback", *WEB)

    assert (result.code, sent(result)) == (0, ["web:2"])
    assert "Going back to web:2, the next older ACTIVE revision; ECS does not tell whether it ever" in result.err
    sim.deny("ecs:ListTaskDefinitions")
    assert cli("rollback", *WEB).code == 1


# --- From where


def test_from_a_roll_out_that_hangs(sim: Simulator, cli: Cli) -> None:
    deployed(sim, "app:1", "app:2")
    sim.image("app:3").starts_after(900)
    assert cli(*WEB, "-i", "app:3", "--no-wait").code == 0

    result = cli("rollback", *WEB)

    assert (result.code, sent(result)) == (0, ["web:2"])
    assert sim.running("prod", "web") == {"app:2": 1}


def test_from_a_deployment_that_failed_for_good(sim: Simulator, cli: Cli) -> None:
    deployed(sim, "app:1", deploymentConfiguration={"deploymentCircuitBreaker": {"enable": True, "rollback": False}})
    sim.image("app:2").crashes(after_s=1)
    assert cli(*DEPLOY, "-t", "300").code == 1

    assert cli("rollback", *WEB).code == 0
    assert sim.running("prod", "web") == {"app:1": 1}


def test_while_ecs_goes_back_by_itself_that_is_waited_for(sim: Simulator, cli: Cli) -> None:
    deployed(sim, "app:1", "app:2")
    sim.image("app:3").starts_after(900)
    sim.someone_deploys("prod", "web", "app:3")
    sim.advance(5)
    sim.services["prod", "web"].roll_back("ECS deployment alarms", "alarm detected.")

    result = cli("rollback", *WEB)

    assert (result.code, result.changes) == (0, [])
    assert "Going back to web:2, where ECS is going back by itself already." in result.err
    assert result.lines[-2:] == ["unchanged, and stable", f"The service is back on {PREFIX}/web:2, and stable."]


@pytest.mark.parametrize("named", [True, False], ids=["named by the service", "to be looked for"])
@pytest.mark.parametrize("after_s", [1.0, 40.0], ids=["at its beginning", "at its bake time"])
def test_a_native_deployment_in_progress_is_taken_back_by_ecs(
    sim: Simulator, cli: Cli, named: bool, after_s: float
) -> None:
    deployed(sim, "app:1", "app:2", deploymentConfiguration=BLUE_GREEN)
    sim.world.shows_releases = named
    sim.someone_deploys("prod", "web", "app:3")
    sim.advance(after_s)
    service = sim.services["prod", "web"]

    dry = cli("rollback", *WEB, "--dry-run")
    result = cli("rollback", *WEB)

    request = {"serviceDeploymentArn": service.release.arn, "stopType": "ROLLBACK"}
    assert dry.lines[-2] == f"Would send StopServiceDeployment: {json.dumps(request)}"
    assert result.requests("StopServiceDeployment") == [request]
    assert (result.code, result.changes) == (0, ["StopServiceDeployment"])
    assert result.lines[-2:] == [
        f"Rolling back to {PREFIX}/web:2",
        f"The service is back on {PREFIX}/web:2, and stable.",
    ]
    assert sim.running("prod", "web") == {"app:2": 1}
    assert sent(cli("rollback", *WEB, "-t", "0")) == ["web:1"]


def test_what_ecs_takes_back_is_told_by_what_it_goes_back_to(sim: Simulator, cli: Cli) -> None:
    deployed(sim, "app:1", "app:2", deploymentConfiguration=BLUE_GREEN, desired_count=2)
    sim.someone_deploys("prod", "web", "app:3")
    sim.advance(7)
    left = sim.services["prod", "web"].primary

    result = cli("rollback", *WEB, "--output", "json")

    document = json.loads(result.out)
    progress = [line for line in result.err.splitlines() if "back: " in line]
    assert result.code == 0
    assert len(progress) > 1
    assert all("back: 2 running, 0 pending of 2; others: " in line for line in progress)
    assert "web runs app:2 on 2 of 2 tasks after " in result.err
    assert "Warning: " not in result.err, "a bake time takes nothing on the way back"
    assert {name: document[name] for name in document if name not in ("events", "durations")} == {
        "cluster": "prod",
        "service": "web",
        "previous_task_definition": f"{PREFIX}/web:3",
        "images": [{"container": "web", "old": "app:3", "new": "app:2"}],
        "new_task_definition": f"{PREFIX}/web:2",
        "deployment_id": left.id,
        "task_definition": f"{PREFIX}/web:2",
        "verdict": "completed",
        "reason": "ECS deployment stopped: service deployment rollback was requested.",
        "failed_tasks": [],
        "logs": [],
        "exit_code": 0,
    }


@pytest.mark.parametrize("named", [True, False], ids=["named by the service", "to be looked for"])
def test_a_native_deployment_that_is_being_taken_back_is_waited_for(sim: Simulator, cli: Cli, named: bool) -> None:
    deployed(sim, "app:1", "app:2", deploymentConfiguration=BLUE_GREEN)
    sim.world.shows_releases = named
    sim.someone_deploys("prod", "web", "app:3")
    sim.advance(40)
    sim.services["prod", "web"].release.stop("ROLLBACK")

    result = cli("rollback", *WEB)

    assert (result.code, result.changes) == (0, [])
    assert sim.running("prod", "web") == {"app:2": 1}


@pytest.mark.parametrize("action", ["StopServiceDeployment", "DescribeServiceDeployments"])
def test_where_ecs_may_not_take_it_back_the_service_is_updated(sim: Simulator, cli: Cli, action: str) -> None:
    deployed(sim, "app:1", "app:2", deploymentConfiguration=BLUE_GREEN)
    sim.someone_deploys("prod", "web", "app:3")
    sim.advance(40)
    sim.deny(f"ecs:{action}")

    result = cli("rollback", *WEB, "-t", "900")

    assert (result.code, sent(result)) == (0, ["web:2"])
    assert f"using UpdateService instead. AWS denied {action}" in result.err


def test_where_neither_ecs_nor_an_update_may_take_it_back_nothing_was_begun(sim: Simulator, cli: Cli) -> None:
    deployed(sim, "app:1", "app:2", deploymentConfiguration=BLUE_GREEN)
    sim.someone_deploys("prod", "web", "app:3")
    sim.advance(40)
    sim.deny("ecs:StopServiceDeployment")
    sim.deny("ecs:UpdateService")

    result = cli("rollback", *WEB)

    assert result.code == 24
    assert result.err.rpartition("ERROR: ")[2].startswith("AWS denied UpdateService: ")
    assert result.err.endswith("\nAllow ecs:UpdateService in the IAM policy of these credentials.\n")
    assert "the rollback was sent" not in result.err


def test_a_native_deployment_is_not_stopped_on_the_way_to_something_else(sim: Simulator, cli: Cli) -> None:
    deployed(sim, "app:1", "app:2", deploymentConfiguration=BLUE_GREEN)
    sim.someone_deploys("prod", "web", "app:3")
    sim.advance(40)

    result = cli("rollback", *WEB, "--to", "1", "-t", "900")

    assert (result.code, result.changes, sent(result)) == (0, ["UpdateService"], ["web:1"])


@pytest.mark.parametrize(
    ("members", "desired_count"),
    [
        pytest.param({"schedulingStrategy": "DAEMON"}, 3, id="a daemon"),
        pytest.param({}, 0, id="without tasks"),
        pytest.param({"loadBalancers": [{"loadBalancerName": "old", "containerPort": 80}]}, 2, id="a classic balancer"),
        pytest.param({"deploymentConfiguration": {"strategy": "BLUE_GREEN", "bakeTimeInMinutes": 1}}, 1, id="native"),
    ],
)
def test_from_services_of_other_kinds(sim: Simulator, cli: Cli, members: Json, desired_count: int) -> None:
    deployed(sim, "app:1", "app:2", desired_count=desired_count, **members)

    result = cli("rollback", *WEB, "-t", "300")

    assert (result.code, sent(result)) == (0, ["web:1"])
    assert sim.running("prod", "web") == ({"app:1": desired_count} if desired_count else {})
    assert sim.services["prod", "web"].primary.definition.revision == 1


@pytest.mark.parametrize("reuses", [True, False], ids=["the same deployment", "a new deployment"])
def test_after_ecs_went_back_the_next_way_back_is_the_one_before(sim: Simulator, cli: Cli, reuses: bool) -> None:
    breaker = {"deploymentCircuitBreaker": {"enable": True, "rollback": True}}
    deployed(sim, "app:1", "app:2", deploymentConfiguration=breaker)
    sim.world.rollback_reuses_id = reuses
    sim.image("app:3").crashes(after_s=1)
    sim.someone_deploys("prod", "web", "app:3")
    sim.advance(600)

    told = cli("status", *WEB)
    result = cli("rollback", *WEB)

    assert told.code == 0
    assert "  ECS went back to this: (service web) (deployment ecs-svc/" in told.out
    assert "  a rollback leads to: web:1 (app:1), deployed " in told.out
    assert (result.code, sent(result)) == (0, ["web:1"])


def test_a_definition_that_cannot_be_read_does_not_keep_ecs_from_taking_its_deployment_back(
    sim: Simulator, cli: Cli
) -> None:
    deployed(sim, "app:1", "app:2", deploymentConfiguration=BLUE_GREEN)
    sim.someone_deploys("prod", "web", "app:3")
    sim.advance(40)
    sim.deny("ecs:DescribeTaskDefinition")

    result = cli("rollback", *WEB)

    assert (result.code, result.changes) == (0, ["StopServiceDeployment"])


# --- How it ends


def test_a_rollback_that_fails_says_why_as_a_deployment_does(sim: Simulator, cli: Cli) -> None:
    deployed(sim, "app:1", "app:2")
    sim.image("app:1").crashes(after_s=1)

    result = cli("rollback", *WEB, "-t", "30")

    assert result.code == 22
    assert "× EssentialContainerExited" in result.err
    assert "Likeliest cause: the application ends by itself soon after it starts." in last_paragraph(result)[1]
    assert f"The service still points at {PREFIX}/web:1." in result.err
    assert "To go back:" in result.err
    assert "The service is back" not in result.out
    assert sim.active_revisions("web") == [1, 2]


@pytest.mark.parametrize("desired_count", [0, 1])
def test_what_ecs_takes_back_too_slowly_is_not_offered_again(
    sim: Simulator, cli: Cli, monkeypatch: pytest.MonkeyPatch, desired_count: int
) -> None:
    monkeypatch.setattr("tests.simulator.releases.STAGE_S", 5.0)
    deployed(sim, "app:1", "app:2", deploymentConfiguration=BLUE_GREEN, desired_count=desired_count)
    sim.someone_deploys("prod", "web", "app:3")
    sim.advance(60)

    result = cli("rollback", *WEB, "-t", "3")

    assert result.code == 22
    assert [re.sub(r"ecs-svc/\d+", "ecs-svc/…", line) for line in last_paragraph(result)] == [
        "ERROR: The deployment ecs-svc/… of service web timed out: the deployment was not complete within 3 seconds.",
        "Likeliest cause: unknown, ECS gave no reason so far.",
        "Ended after 3 s; no task stopped.",
        f"The service still points at {PREFIX}/web:3.",
        "Look at the service's events, and give a longer time-out (-t; in an application file max_wait) if it only"
        " takes long.",
    ]


def test_a_way_back_to_what_is_inactive_is_not_offered(sim: Simulator, cli: Cli) -> None:
    deployed(sim, "app:1", "app:2")
    sim.image("app:1").crashes(after_s=1)
    sim.handle("ecs", "DeregisterTaskDefinition", {"taskDefinition": "web:2"})

    result = cli("rollback", *WEB, "-t", "30")

    assert result.code == 22
    assert "To go back:" not in result.err


@pytest.mark.parametrize("native", [False, True], ids=["rolling", "native"])
def test_a_signal_leaves_the_rollback_and_says_so(sim: Simulator, cli: Cli, native: bool) -> None:
    deployed(sim, "app:1", "app:2", deploymentConfiguration=BLUE_GREEN if native else {})
    sim.image("app:3").starts_after(500)
    sim.image("app:2").starts_after(500)
    sim.someone_deploys("prod", "web", "app:3")
    sim.advance(2)
    sim.world.at(sim.world.now_s + 0.5, lambda: os.kill(os.getpid(), signal.SIGTERM))
    left = sim.services["prod", "web"].primary

    result = cli("rollback", *WEB, "--output", "json")

    assert result.code == 143
    document = json.loads(result.out)
    followed = left if native else sim.services["prod", "web"].primary
    assert document["deployment_id"] == followed.id
    assert (document["cluster"], document["service"]) == ("prod", "web")
    assert document["new_task_definition"] == f"{PREFIX}/web:2"
    said = "the rollback was sent, and is not waited for. It takes service web to" if native else "goes on, to"
    assert f"{said} {PREFIX}/web:2" in result.err


def test_a_rollback_that_somebody_deploys_over_is_superseded(sim: Simulator, cli: Cli) -> None:
    deployed(sim, "app:1", "app:2")
    sim.image("app:1").starts_after(60)
    sim.world.at(sim.world.now_s + 5, lambda: sim.someone_deploys("prod", "web", "app:3"))

    assert cli("rollback", *WEB).code == 23


def test_no_wait_ends_once_it_is_accepted(sim: Simulator, cli: Cli) -> None:
    deployed(sim, "app:1", "app:2")

    result = cli("rollback", *WEB, "--no-wait")

    assert result.code == 0
    assert result.lines[-1].startswith(f"Accepted: {PREFIX}/web:1, ecs-svc/")
    assert cli("status", *WEB, "--wait").code == 0
    assert sim.running("prod", "web") == {"app:1": 1}


def test_a_dry_run_changes_nothing_and_shows_what_would_be_sent(sim: Simulator, cli: Cli) -> None:
    deployed(sim, "app:1", "app:2")

    result = cli("rollback", *WEB, "--dry-run", "--output", "json")

    document = json.loads(result.out)
    assert (result.code, result.changes) == (0, [])
    assert "Going back to web:1, deployed 2025-06-15 15:06:40 UTC, SUCCESSFUL." in result.err
    assert "  ~ web: image app:2 -> app:1" in result.err
    assert document["would_send"]["UpdateService"]["taskDefinition"] == f"{PREFIX}/web:1"


def test_the_document_is_that_of_a_deployment(sim: Simulator, cli: Cli) -> None:
    deployed(sim, "app:1", "app:2")

    document = json.loads(cli("rollback", *WEB, "--output", "json").out)

    assert document["previous_task_definition"] == f"{PREFIX}/web:2"
    assert document["new_task_definition"] == f"{PREFIX}/web:1"
    assert document["images"] == [{"container": "web", "old": "app:2", "new": "app:1"}]
    assert (document["verdict"], document["exit_code"]) == ("completed", 0)


# --- Several services, and a revision that is named


def test_several_services_go_back_together(sim: Simulator, cli: Cli) -> None:
    deployed(sim, "app:1", "app:2")
    deployed(sim, "api:1", "api:2", name="api")

    result = cli("rollback", *WEB, "-n", "api")

    assert (result.code, sorted(sent(result))) == (0, ["api:1", "web:1"])
    assert f"api: The service is back on {PREFIX}/api:1, and stable." in result.lines
    assert "web: Going back to web:1, deployed 2025-06-15 15:06:40 UTC, SUCCESSFUL." in result.err.splitlines()


def test_one_is_back_when_it_is_seen_and_not_when_the_last_one_is(sim: Simulator, cli: Cli) -> None:
    deployed(sim, "app:1", "app:2")
    deployed(sim, "api:1", "api:2", name="api")
    sim.image("app:1").starts_after(30)
    begun_s = sim.world.now_s
    sim.world.at(begun_s + 20, lambda: sim.someone_deploys("prod", "api", "api:9"))

    result = cli("rollback", *WEB, "-n", "api")

    assert result.code == 0
    ends = [line for line in result.lines if "is back on" in line or "Waiting" in line]
    assert [line.partition(": ")[0] for line in ends] == ["api", "api", "web", "web"]


def test_one_without_a_way_back_keeps_all_as_they_are(sim: Simulator, cli: Cli) -> None:
    deployed(sim, "app:1", "app:2")
    deployed(sim, "api:1", name="api")

    result = cli("rollback", *WEB, "-n", "api")

    assert (result.code, result.changes) == (1, [])
    assert "Nothing was changed:\n  The service api has nothing to go back to from api:1" in result.err


def test_services_that_are_not_there_are_all_named(sim: Simulator, cli: Cli) -> None:
    deployed(sim, "app:1", "app:2")

    result = cli("rollback", *WEB, "-n", "wbe", "-n", "nope")

    assert (result.code, result.changes) == (24, [])
    assert result.err.splitlines() == [
        "ERROR: Nothing was changed:",
        "  The service wbe was not found in cluster prod",
        "  The service nope was not found in cluster prod",
        "The services of the cluster: web",
    ]


def test_a_service_of_another_controller_is_refused(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", "app:1", deploymentController={"type": "CODE_DEPLOY"})

    result = cli("rollback", *WEB)

    assert (result.code, result.changes) == (1, [])
    assert "is deployed by CODE_DEPLOY" in result.err


@pytest.mark.parametrize("to", ["1", "web:1", f"{PREFIX}/web:1"])
def test_a_revision_can_be_named(sim: Simulator, cli: Cli, to: str) -> None:
    deployed(sim, "app:1", "app:2", "app:3")

    result = cli("rollback", *WEB, "--to", to)

    assert (result.code, sent(result)) == (0, ["web:1"])
    assert "Going back to web:1, as it was named." in result.err.splitlines()


def test_the_present_revision_must_only_run(sim: Simulator, cli: Cli) -> None:
    deployed(sim, "app:1", "app:2")

    result = cli("rollback", *WEB, "--to", "2")

    assert (result.code, result.changes) == (0, [])
    assert result.err == "Going back to web:2, as it was named.\n"
    assert result.lines == [
        f"Rolling back to {PREFIX}/web:2",
        "unchanged, and stable",
        f"The service is back on {PREFIX}/web:2, and stable.",
    ]
    assert "Would send" not in cli("rollback", *WEB, "--to", "2", "--dry-run").out


def test_the_present_revision_of_a_native_service_must_run_too(sim: Simulator, cli: Cli) -> None:
    deployed(sim, "app:1", "app:2", deploymentConfiguration=BLUE_GREEN)
    sim.image("app:2").cannot_be_placed()
    for task in list(sim.services["prod", "web"].primary.tasks.values()):
        task.stop("EssentialContainerExited", "Essential container in task exited")

    result = cli("rollback", *WEB, "--to", "2", "-t", "10")

    assert (result.code, result.changes) == (22, [])
    assert "The service is back" not in result.out


THERE = "\nThe ACTIVE revisions of web: web:1, web:3\n"


@pytest.mark.parametrize(
    ("to", "code", "said"),
    [
        pytest.param("9", 24, f"The task definition web:9 was not found in us-east-1{THERE}", id="not there"),
        pytest.param("2", 1, f"web:2 is INACTIVE; no service can be pointed at it any more{THERE}", id="INACTIVE"),
        pytest.param("job:1", 1, "job:1 is no revision of web, which the service runs\n", id="of another family"),
    ],
)
def test_a_revision_that_cannot_be_gone_back_to_is_refused(
    sim: Simulator, cli: Cli, to: str, code: int, said: str
) -> None:
    deployed(sim, "app:1", "app:2", "app:3")
    sim.task_definition("job")
    sim.handle("ecs", "DeregisterTaskDefinition", {"taskDefinition": "web:2"})

    result = cli("rollback", *WEB, "--to", to)

    assert (result.code, result.changes) == (code, [])
    assert result.err == f"ERROR: Nothing was changed:\n  {said}"


def test_a_revision_that_may_not_be_read_is_an_error_of_aws(sim: Simulator, cli: Cli) -> None:
    deployed(sim, "app:1", "app:2")
    sim.deny("ecs:DescribeTaskDefinition")

    result = cli("rollback", *WEB, "--to", "1")

    assert result.code == 24
    assert result.err.startswith("ERROR: AWS denied DescribeTaskDefinition: ")


# --- The list


def test_no_more_than_the_newest_sixty_deployments_are_looked_at(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", "app:1", desired_count=0)
    for number in range(2, 63):
        sim.someone_deploys("prod", "web", f"app:{number}")
        sim.advance(5)

    result = cli("rollback", *WEB, "--list")

    looked = [arn for request in result.requests("DescribeServiceRevisions") for arn in request["serviceRevisionArns"]]
    assert (len(looked), len(set(looked))) == (60, 60)
    assert result.operations.count("DescribeServiceRevisions") == 3


def test_the_list_shows_what_was_deployed_and_does_nothing(sim: Simulator, cli: Cli) -> None:
    deployed(sim, "app:1", "app:2", "app:3")
    sim.image("app:4").crashes(after_s=1)
    sim.services["prod", "web"].configuration["deploymentCircuitBreaker"] = {"enable": True, "rollback": True}
    sim.someone_deploys("prod", "web", "app:4")
    sim.advance(600)
    sim.handle("ecs", "DeregisterTaskDefinition", {"taskDefinition": "web:2"})

    result = cli("rollback", *WEB, "--list")

    assert (result.code, result.changes) == (0, [])
    assert [" ".join(line.split()) for line in result.lines] == [
        "web runs web:3; it was deployed:",
        "web:4 2025-06-18 15:06:40 UTC ROLLBACK_SUCCESSFUL app:4",
        "web:3 2025-06-17 15:06:40 UTC SUCCESSFUL app:3",
        "web:2 2025-06-16 15:06:40 UTC SUCCESSFUL app:2 INACTIVE",
        "web:1 2025-06-15 15:06:40 UTC SUCCESSFUL app:1 <- a rollback leads here",
    ]


def test_the_columns_of_the_list_are_as_wide_as_what_stands_in_them(sim: Simulator, cli: Cli) -> None:
    deployed(sim, *(f"app:{number}" for number in range(1, 11)))

    lines = cli("rollback", *WEB, "--list").lines

    assert lines[1:3] == [
        "  web:10  2025-06-24 15:06:40 UTC  SUCCESSFUL  app:10",
        "  web:9   2025-06-23 15:06:40 UTC  SUCCESSFUL  app:9  <- a rollback leads here",
    ]
    assert {line.index("app:") for line in lines[1:]} == {lines[1].index("app:")}


def test_the_list_ends_with_the_twentieth_deployment(sim: Simulator, cli: Cli) -> None:
    deployed(sim, *(f"app:{number}" for number in range(1, 23)))

    result = cli("rollback", *WEB, "--list")

    assert result.code == 0
    assert [line.split()[0] for line in result.lines[1:]] == [f"web:{number}" for number in range(22, 2, -1)]


def test_the_list_has_the_way_back_even_if_it_is_no_longer_among_the_twenty(sim: Simulator, cli: Cli) -> None:
    deployed(sim, *(f"app:{number}" for number in range(1, 23)))
    for number in range(3, 22):
        sim.handle("ecs", "DeregisterTaskDefinition", {"taskDefinition": f"web:{number}"})

    lines = cli("rollback", *WEB, "--list").lines

    assert [line.split()[0] for line in lines[1:]] == [f"web:{number}" for number in range(22, 1, -1)]
    assert lines[-1] == "  web:2   2025-06-16 15:06:40 UTC  SUCCESSFUL  app:2  <- a rollback leads here"


def test_the_list_has_what_ecs_does_not_remember_and_says_where_there_is_nothing(sim: Simulator, cli: Cli) -> None:
    deployed(sim, "app:1", "app:2")
    deployed(sim, "api:1", name="api")
    sim.deny("ecs:ListServiceDeployments")

    document = json.loads(cli("rollback", *WEB, "-n", "api", "--list", "--output", "json").out)
    lines = cli("rollback", *WEB, "-n", "api", "--list").lines

    assert lines == [
        "web runs web:2; it was deployed:",
        "  web:1  never, as far as ECS tells    app:1  <- a rollback leads here",
        "api runs api:1; nothing to go back to; it was deployed:",
    ]
    older = {
        "task_definition": f"{PREFIX}/web:1",
        "deployed": "never, as far as ECS tells",
        "ended": "",
        "status": "ACTIVE",
        "images": "app:1",
        "chosen": True,
    }
    assert document == {
        "cluster": "prod",
        "service": "web, api",
        "parts": [
            {"name": "web", "task_definition": f"{PREFIX}/web:2", "candidates": [older]},
            {"name": "api", "task_definition": f"{PREFIX}/api:1", "candidates": []},
        ],
        "exit_code": 0,
    }


# --- Bad input, and what goes wrong on the way


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ([], 5, "SERVICE is required: -n/--service-name"),
        (["-n", "web"], 7, "CLUSTER is required: -c/--cluster"),
        ([*WEB, "--all"], 3, "unknown option: --all (it is an option of ecs-deploy status)"),
        ([*WEB, "-i", "app:2"], 3, "unknown option: -i (it is an option of ecs-deploy)"),
        ([*WEB, "--to", "web"], 3, "argument --to: 'web' is neither a revision's number, family:revision nor an ARN"),
    ],
    ids=["nothing", "no cluster", "an option of status", "an image", "a family"],
)
def test_bad_input_is_refused_before_any_call(cli: Cli, arguments: list[str], code: int, said: str) -> None:
    result = cli("rollback", *arguments)

    assert result.err.splitlines()[0] == f"ERROR: {said}"
    assert (result.code, result.operations) == (code, [])


def test_an_update_that_is_refused_is_an_error_of_aws(sim: Simulator, cli: Cli) -> None:
    deployed(sim, "app:1", "app:2")
    sim.world.on_call = lambda index, operation, params: (
        AwsError("InvalidParameterException", "no") if operation == "UpdateService" else None
    )

    result = cli("rollback", *WEB)

    assert result.code == 24
    assert "The service is back" not in result.out
    assert sim.active_revisions("web") == [1, 2]
