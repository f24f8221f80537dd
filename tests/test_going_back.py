"""Going back: the rollback, what comes between, and the command for it where there is none."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.conftest import Cli
from tests.simulator import Fault, Simulator
from tests.vocabulary import BREAKER, DEPLOY, PREFIX, WEB, Json, last_paragraph

# --- Rolling back


def test_a_failed_deployment_goes_back_and_is_stable_again(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1", desired_count=2)
    sim.image("app:2").crashes(after_s=2)

    result = cli(*DEPLOY, "-t", "60", "--enable-rollback", "-D", "3", "--min", "50")

    assert result.code == 20
    assert f"Rolling back to {PREFIX}/web:1" in result.lines
    assert "Service deployment successful." not in result.out
    assert f"The service is back on {PREFIX}/web:1, and stable." in result.err
    assert "Deregistered web:2, a revision that failed." in result.err
    assert result.requests("UpdateService")[1]["desiredCount"] == 2
    assert result.requests("UpdateService")[1]["deploymentConfiguration"]["minimumHealthyPercent"] == 100
    assert sim.running("prod", "web") == {"app:1": 2}
    assert sim.active_revisions("web") == [1]


def test_the_failed_revision_is_kept_while_a_deployment_still_uses_it(sim: Simulator, cli: Cli) -> None:
    early = {"enable": True, "healthyPercent": 100, "sourceServiceRevisionCleanup": "DEFERRED"}
    configuration = {"earlySuccessCriteria": early, "maximumPercent": 400}
    sim.service("prod", "web", image="app:1", health_check=True, drain_s=100, deploymentConfiguration=configuration)
    sim.image("app:2").never_healthy()

    result = cli(*DEPLOY, "-t", "12", "--enable-rollback")

    assert result.code == 20
    assert f"{PREFIX}/web:2 is left ACTIVE: a deployment of the service still uses it." in result.err.splitlines()
    assert "DeregisterTaskDefinition" not in result.operations
    assert sim.active_revisions("web") == [1, 2]
    deregister = f"aws ecs deregister-task-definition --task-definition {PREFIX}/web:2 --region us-east-1"
    assert (
        f"{PREFIX}/web:2 is left ACTIVE: a deployment of the service still uses it.\n"
        f"The new revision web:2 stays registered. To deregister it:\n  {deregister}\n"
    ) in result.err


def test_the_failed_revision_can_be_kept(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")
    sim.image("app:2").crashes(after_s=2)

    result = cli(*DEPLOY, "-t", "60", "--enable-rollback", "--keep-failed-revision")

    assert result.code == 20
    assert sim.active_revisions("web") == [1, 2]


def test_a_rollback_that_ecs_began_is_waited_for(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1", deploymentConfiguration=BREAKER)
    sim.image("app:2").crashes(after_s=2)

    result = cli(*DEPLOY, "-t", "300", "--enable-rollback")

    assert result.code == 20
    assert "The service is going back already; waiting for that." in result.err
    assert result.changes == ["RegisterTaskDefinition", "UpdateService", "DeregisterTaskDefinition"]
    assert sim.steady("prod", "web")


def test_of_what_ecs_takes_back_the_count_is_ours_whatever_it_still_tells(sim: Simulator, cli: Cli) -> None:
    """Events are the newest hundred, and a failed deployment without tasks is not listed any more."""
    service = sim.service("prod", "web", image="app:1", deploymentConfiguration=BREAKER)
    sim.image("app:2").crashes(after_s=2)

    def forget(index: int, operation: str, params: Json) -> None:
        service.events.clear()
        service.deployments[:] = [d for d in service.deployments if d.rollout_state != "FAILED"]

    sim.on_call = forget

    result = cli(*DEPLOY, "-D", "3", "-t", "300", "--enable-rollback")

    assert result.code == 20
    assert result.requests("UpdateService")[1:] == [{"cluster": "prod", "service": "web", "desiredCount": 1}]
    assert sim.running("prod", "web") == {"app:1": 1}


def test_of_what_somebody_else_takes_back_the_count_is_theirs(sim: Simulator, cli: Cli) -> None:
    """ECS's own rollback brings back only the definition; somebody who deploys says what else is to hold."""
    service = sim.service("prod", "web", image="app:1")
    before = service.primary.definition
    sim.image("app:2").starts_after(60)
    sim.world.at(5, lambda: service.deploy(before))

    result = cli(*DEPLOY, "-D", "3", "--enable-rollback")

    assert result.code == 20
    assert "The service is going back already; waiting for that." in result.err
    assert result.changes == ["RegisterTaskDefinition", "UpdateService", "DeregisterTaskDefinition"]
    assert sim.running("prod", "web") == {"app:1": 3}


def test_a_rollback_that_does_not_become_stable_is_said(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")
    sim.image("app:2").crashes(after_s=2)
    sim.image("app:1").crashes(after_s=2)
    sim.services["prod", "web"].configuration["minimumHealthyPercent"] = 0
    sim.services["prod", "web"].configuration["maximumPercent"] = 100

    result = cli(*DEPLOY, "-t", "30", "--enable-rollback")

    assert result.code == 21
    reason = "the deployment was not complete within 30 seconds"
    assert f"The rollback to {PREFIX}/web:1 did not complete: {reason}." in result.err.splitlines()


def test_a_rollback_that_aws_refuses_is_said(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")
    sim.image("app:2").starts_after(500)
    sim.world.at(10, lambda: sim.deny("ecs:UpdateService"))

    result = cli(*DEPLOY, "-t", "30", "--enable-rollback")

    *_, refused = (line for line in result.err.splitlines() if line not in last_paragraph(result))
    assert result.code == 21
    assert refused.startswith("The rollback failed. AWS denied UpdateService: ")
    assert [re.sub(r"ecs-svc/\d+", "ecs-svc/…", line) for line in last_paragraph(result)] == [
        "ERROR: The deployment ecs-svc/… of service web failed, and so did its rollback: no task of the new deployment"
        " was seen running within 30 seconds.",
        "Likeliest cause: unknown, ECS gave no reason so far.",
        "Ended after 30 s; no task stopped.",
        f"The service still points at {PREFIX}/web:2.",
        "Look at the service's events, and give a longer time-out (-t; in an application file max_wait) if it only"
        " takes long.",
        "To go back:",
        f"  aws ecs update-service --cluster prod --service web --task-definition {PREFIX}/web:1 --region us-east-1",
    ]


def test_a_forced_redeploy_has_nothing_to_go_back_to(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")
    sim.image("app:1").starts_after(500)

    result = cli(*WEB, "--force-new-deployment", "-t", "30", "--enable-rollback")

    assert result.code == 22
    assert "Not rolled back: there is nothing to go back to, the definition is the same." in result.err
    assert result.changes == ["UpdateService"]


def test_a_time_out_of_a_forced_redeploy_gives_no_way_back(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")
    sim.image("app:1").starts_after(500)

    result = cli(*WEB, "--force-new-deployment", "-t", "30")

    assert result.code == 22
    assert "To go back:" not in result.err


def test_a_rollback_that_is_not_complete_in_time_says_where_the_service_is_by_then(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")
    sim.image("app:2").crashes(after_s=2)
    sim.image("app:1").starts_after(500)

    result = cli("-c", "prod", "-n", "web", "-i", "app:2", "-t", "30", "--enable-rollback")

    assert result.code == 21
    last = result.err.rpartition("ERROR: ")[2]
    assert "failed, and so did its rollback" in last
    assert f"The service now points at {PREFIX}/web:1 (ecs-svc/" in last
    assert "still points at" not in result.err
    assert "aws ecs update-service" not in last


@pytest.mark.parametrize("options", [[], ["--enable-rollback"]], ids=["plain", "rollback"])
def test_expired_credentials_say_that_nothing_was_rolled_back(sim: Simulator, cli: Cli, options: list[str]) -> None:
    sim.service("prod", "web", image="app:1")
    sim.on_call = lambda index, operation, params: Fault.EXPIRED if index > 5 else None

    result = cli(*DEPLOY, *options)

    assert result.code == 24
    assert ("The rollback could not be sent. The AWS credentials have expired" in result.err) == bool(options)
    deployment = sim.services["prod", "web"].primary.id
    goes_on = f"Deployment {deployment} of service web goes on, to {PREFIX}/web:2. That is as last seen, "
    assert [line.startswith(goes_on) for line in result.err.splitlines()].count(True) == 1
    assert f". The outcome of deployment {deployment} of service web is unknown\n" in result.err


# --- What comes between


def test_a_rollback_is_not_sent_over_a_deployment_that_came_just_before_it(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")
    sim.image("app:2").starts_after(500)
    looks: list[float] = []

    def deploy_before_the_rollback(index: int, operation: str, params: Json) -> None:
        looks.append(sim.world.now_s) if operation == "DescribeServices" else None
        if looks.count(30) == 2 and operation == "DescribeServices":
            sim.someone_deploys("prod", "web", "app:3")

    sim.world.on_call = deploy_before_the_rollback

    result = cli(*DEPLOY, "-t", "30", "--enable-rollback")

    assert result.code == 23
    assert "Not rolled back: " in result.err
    assert result.changes == ["RegisterTaskDefinition", "UpdateService"]


@pytest.mark.parametrize("told", [True, False], ids=["by its state", "by its counts"])
def test_a_rollback_does_not_lead_to_what_has_not_completed(sim: Simulator, cli: Cli, told: bool) -> None:
    balancer = {"loadBalancerName": "classic", "containerName": "web", "containerPort": 80}
    sim.service("prod", "web", image="app:1", drain_s=15, **({} if told else {"loadBalancers": [balancer]}))
    sim.image("app:2").starts_after(1 if told else 500)
    sim.image("app:3").crashes(after_s=1)
    sim.someone_deploys("prod", "web", "app:2")
    sim.advance(5)

    result = cli(*WEB, "-i", "app:3", "--fail-fast", "1", "--enable-rollback", "-t", "60")

    assert f"Rolling back to {PREFIX}/web:1" in result.lines
    assert result.code == 20


def test_where_nothing_has_completed_a_rollback_leads_to_what_is_there(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")
    sim.services["prod", "web"].primary.becomes("IN_PROGRESS", "", 0.0)
    sim.image("app:2").crashes(after_s=1)

    result = cli(*DEPLOY, "--fail-fast", "1", "--enable-rollback")

    assert result.code == 20
    said = "Warning: The deployment of web:1 has not completed; a rollback goes to it all the same."
    assert said in result.err.splitlines()
    assert f"Rolling back to {PREFIX}/web:1" in result.lines


def test_a_rollback_leads_to_what_completed_while_the_revision_was_registered(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")
    sim.image("app:2").crashes(after_s=1)
    registered: list[int] = []

    def deploy_before_the_update(index: int, operation: str, params: Json) -> None:
        if operation == "RegisterTaskDefinition" and not registered:
            registered.append(index)
            sim.someone_deploys("prod", "web", "app:3")
            sim.advance(60)

    sim.world.on_call = deploy_before_the_update

    result = cli(*DEPLOY, "-t", "30", "--enable-rollback")

    assert result.code == 20
    assert sim.running("prod", "web") == {"app:3": 1}


def test_a_rollback_whose_end_cannot_be_seen_is_said(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1", drain_s=60)
    sim.image("app:2").starts_after(500)
    sim.image("app:1").starts_after(60)
    sim.services["prod", "web"].configuration["minimumHealthyPercent"] = 0
    sim.services["prod", "web"].configuration["maximumPercent"] = 100
    sim.world.at(32, lambda: sim.deny("ecs:DescribeServices"))

    result = cli(*DEPLOY, "-t", "30", "--enable-rollback")

    assert result.code == 21
    assert "The outcome of the rollback is unknown. AWS denied DescribeServices" in result.err
    unseen = f"The rollback to {PREFIX}/web:1 was not seen to complete."
    assert unseen in result.err.splitlines()


def second_look_at(at_s: float, sim: Simulator, act: Any) -> Any:
    """An `on_call` that acts on the second DescribeServices of that moment: the one before a rollback."""
    looks: list[float] = []

    def on_call(index: int, operation: str, params: Json) -> Any:
        if operation == "DescribeServices":
            looks.append(sim.world.now_s)
        return act() if operation == "DescribeServices" and looks.count(at_s) == 2 else None

    return on_call


def test_a_rollback_is_sent_even_after_an_answer_of_before_the_update(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")
    sim.image("app:2").starts_after(500)
    sim.world.on_call = second_look_at(30, sim, lambda: Fault.STALE)

    result = cli(*DEPLOY, "-t", "30", "--enable-rollback")

    assert result.code == 20
    assert sim.running("prod", "web") == {"app:1": 1}


def test_a_rollback_is_not_sent_over_somebody_elses_deployment_of_the_same_revision(sim: Simulator, cli: Cli) -> None:
    service = sim.service("prod", "web", image="app:1")
    sim.image("app:2").starts_after(500)

    def redeploy() -> None:
        service.deploy(service.primary.definition)

    sim.world.on_call = second_look_at(30, sim, redeploy)

    result = cli(*DEPLOY, "-t", "30", "--enable-rollback")

    assert result.code == 23
    assert result.changes == ["RegisterTaskDefinition", "UpdateService"]


def test_a_service_that_is_deleted_before_the_rollback_cannot_be_brought_back(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")
    sim.image("app:2").starts_after(500)
    sim.world.on_call = second_look_at(30, sim, lambda: sim.delete_service("prod", "web"))

    result = cli(*DEPLOY, "-t", "30", "--enable-rollback")

    assert result.code == 21
    assert "The rollback failed. The service web was deleted" in result.err


def test_a_rollback_is_not_sent_where_our_deployment_is_gone_already(sim: Simulator, cli: Cli) -> None:
    service = sim.service("prod", "web", image="app:1")
    sim.image("app:2").starts_after(500)

    def deploy_and_forget() -> None:
        sim.someone_deploys("prod", "web", "app:3")
        del service.deployments[1:]

    sim.world.on_call = second_look_at(30, sim, deploy_and_forget)

    result = cli(*DEPLOY, "-t", "30", "--enable-rollback")

    assert result.code == 23
    assert "Not rolled back: our deployment is not the service's PRIMARY any more." in result.err


# --- The way back by hand


def test_the_command_that_undoes_it_undoes_all_of_it(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1", deploymentConfiguration={"minimumHealthyPercent": 100})
    sim.image("app:2").starts_after(500)

    result = cli("-c", "prod", "-n", "web", "-i", "app:2", "-D", "5", "-m", "50", "-t", "10")

    assert result.code == 22
    undo = result.err.rpartition("To go back:\n")[2]
    assert "--desired-count 1 " in undo
    assert "--deployment-configuration '{" in undo
    assert undo.rstrip().endswith("--region us-east-1")


def test_what_was_switched_on_is_switched_off_again(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1", enableExecuteCommand=False, propagateTags="NONE")
    sim.image("app:2").starts_after(500)

    result = cli(*DEPLOY, "--service-set", "enableExecuteCommand=true", "-t", "10")

    assert result.code == 22
    undo = result.err.rpartition("To go back:\n")[2]
    assert " --no-enable-execute-command " in undo
