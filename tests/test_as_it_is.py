"""What needs no new revision: a revision as it is, a count, a redeployment; and several services at once."""

from __future__ import annotations

import json

import pytest

from tests.conftest import Cli
from tests.simulator import AwsError, Fault, Simulator
from tests.vocabulary import PREFIX, WEB


def web(sim: Simulator, revisions: int = 3) -> None:
    """A service that runs web:1, of whose family there are some more revisions."""
    first = sim.task_definition("web", "app:1")
    sim.service("prod", "web", task_definition=first, desired_count=2)
    for number in range(2, revisions + 1):
        sim.task_definition("web", f"app:{number}")


# --- A revision as it is


def test_a_revision_that_is_named_is_deployed_as_it_is(sim: Simulator, cli: Cli) -> None:
    web(sim)

    result = cli(*WEB, "--taskdef", "web:2")

    assert result.code == 0
    assert result.changes == ["UpdateService"]
    assert result.requests("UpdateService")[0]["taskDefinition"] == f"{PREFIX}/web:2"
    assert "Service deployment successful." in result.lines
    assert sim.running("prod", "web") == {"app:2": 2}


def test_the_newest_revision_is_deployed_as_it_is(sim: Simulator, cli: Cli) -> None:
    web(sim)

    result = cli(*WEB, "--use-latest-task-def", "--output", "json")

    document = json.loads(result.out)
    assert result.code == 0
    assert result.requests("UpdateService")[0]["taskDefinition"] == f"{PREFIX}/web:3"
    assert document["previous_task_definition"] == f"{PREFIX}/web:1"
    assert sim.active_revisions("web") == [1, 2, 3]


def test_what_runs_already_is_only_seen_to_run(sim: Simulator, cli: Cli) -> None:
    web(sim)

    result = cli(*WEB, "--taskdef", "web:1")

    assert result.code == 0
    assert result.changes == []
    assert "unchanged, and stable" in result.lines


def test_what_runs_already_must_run(sim: Simulator, cli: Cli) -> None:
    web(sim)
    sim.image("app:1").starts_after(500)
    for task in list(sim.services["prod", "web"].primary.tasks.values()):
        task.stop("UserInitiated", "stopped", drain_s=0)

    result = cli(*WEB, "--taskdef", "web:1", "-t", "30")

    assert result.code == 22
    assert "not steady within 30 seconds: 0 of 2 running" in result.err


def test_a_failed_revision_that_was_there_before_is_not_deregistered(sim: Simulator, cli: Cli) -> None:
    web(sim)
    sim.image("app:2").crashes(after_s=1)

    result = cli(*WEB, "--taskdef", "web:2", "--fail-fast", "2", "--enable-rollback")

    assert result.code == 20
    assert sim.active_revisions("web") == [1, 2, 3]


def test_with_an_edit_a_copy_is_registered(sim: Simulator, cli: Cli) -> None:
    web(sim)

    result = cli(*WEB, "--taskdef", "web:2", "-to", "9")

    assert result.code == 0
    assert sim.running("prod", "web") == {"app:9": 2}
    assert sim.active_revisions("web") == [1, 2, 3, 4]


@pytest.mark.parametrize(("name", "revision"), [("job", 2), ("job:1", 1)])
def test_a_task_runs_a_revision_as_it_is(sim: Simulator, cli: Cli, name: str, revision: int) -> None:
    for image in ("app:1", "app:2"):
        sim.task_definition("job", image)
    sim.cluster("prod")
    sim.image(f"app:{revision}").exits(0, after_s=1)

    result = cli("-c", "prod", "-d", name, "--run-task", "--wait-for-success")

    assert result.code == 0
    assert result.changes == ["RunTask"]
    assert result.requests("RunTask")[0]["taskDefinition"] == f"{PREFIX}/job:{revision}"


# --- A count


def test_the_count_alone_is_waited_for(sim: Simulator, cli: Cli) -> None:
    web(sim)
    before = sim.services["prod", "web"].primary.id

    result = cli(*WEB, "-D", "4")

    assert result.code == 0
    assert result.requests("UpdateService") == [{"cluster": "prod", "service": "web", "desiredCount": 4}]
    assert "~ service: desiredCount 2 -> 4" in result.err
    assert sim.services["prod", "web"].primary.id == before
    assert sim.running("prod", "web") == {"app:1": 4}


def test_a_count_is_not_reached_by_an_answer_of_before(sim: Simulator, cli: Cli) -> None:
    web(sim)
    sim.world.stale_reads = 5

    result = cli(*WEB, "-D", "4")

    assert result.code == 0
    assert sim.running("prod", "web") == {"app:1": 4}


def test_a_count_that_is_not_reached_is_taken_back_if_asked(sim: Simulator, cli: Cli) -> None:
    web(sim)
    sim.image("app:1").starts_after(500)

    result = cli(*WEB, "-D", "4", "-t", "30", "--enable-rollback")

    assert result.code == 20
    assert sim.services["prod", "web"].desired_count == 2
    assert "Rolling back to what was there before" in result.lines
    assert "not steady within 30 seconds: 2 of 4 running" in result.err


def test_without_a_rollback_the_command_that_brings_the_count_back_is_offered(sim: Simulator, cli: Cli) -> None:
    web(sim)
    sim.image("app:1").starts_after(500)

    result = cli(*WEB, "-D", "4", "-t", "30")

    assert result.code == 22
    assert "aws ecs update-service --cluster prod --service web --desired-count 2 --region us-east-1" in result.err


# --- Any member of the service


def test_any_member_of_the_service_is_sent_shown_and_brought_back(sim: Simulator, cli: Cli) -> None:
    web(sim)
    sim.image("app:2").crashes(after_s=1)
    service = sim.services["prod", "web"]
    service.members["healthCheckGracePeriodSeconds"] = 10

    result = cli(
        *WEB, "--taskdef", "web:2", "--service-set", "healthCheckGracePeriodSeconds=60", "--fail-fast", "2",
        "--service-set", "deploymentConfiguration.deploymentCircuitBreaker.enable=true", "--enable-rollback",
    )  # fmt: skip

    first, second = result.requests("UpdateService")
    assert result.code == 20
    assert "~ service: healthCheckGracePeriodSeconds 10 -> 60" in result.err
    assert first["healthCheckGracePeriodSeconds"] == 60
    assert first["deploymentConfiguration"]["deploymentCircuitBreaker"]["enable"] is True
    assert first["deploymentConfiguration"]["maximumPercent"] == 200, "what is not named stays"
    assert second["healthCheckGracePeriodSeconds"] == 10
    assert second["deploymentConfiguration"]["deploymentCircuitBreaker"]["enable"] is False


def test_any_member_of_run_task_is_sent(sim: Simulator, cli: Cli) -> None:
    sim.task_definition("job", "app:1")
    sim.cluster("prod")

    result = cli("-c", "prod", "-d", "job", "--run-task", "--task-set", "startedBy=nightly", "--task-set", "group=jobs")

    assert result.code == 0
    assert result.requests("RunTask")[0]["startedBy"] == "nightly"
    assert result.requests("RunTask")[0]["group"] == "jobs"


# --- Not waiting


def test_without_waiting_it_ends_once_ecs_has_accepted(sim: Simulator, cli: Cli) -> None:
    web(sim)

    result = cli(*WEB, "-i", "app:9", "--no-wait")

    primary = sim.services["prod", "web"].primary
    assert result.code == 0
    assert result.operations[-1] == "UpdateService"
    assert result.lines[-1] == f"Accepted: {primary.definition.arn}, {primary.id}"
    assert "successful" not in result.out + result.err
    assert "running" not in result.out


# --- As soon as the balancer drains

BALANCER = {"targetGroupArn": "arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup/web/1"}


def balanced(sim: Simulator) -> None:
    """A service behind a target group, whose old tasks drain for minutes."""
    balancers = [{**BALANCER, "containerName": "web", "containerPort": 80}]
    container = {"name": "web", "image": "app:1", "memory": 64, "portMappings": [{"containerPort": 80}]}
    sim.service("prod", "web", containers=[container], loadBalancers=balancers, drain_s=300)


def test_the_wait_may_end_once_an_old_target_drains(sim: Simulator, cli: Cli) -> None:
    balanced(sim)

    result = cli(*WEB, "-i", "app:2", "-wait-until", "draining-started", "-t", "600", "--output", "json")

    document = json.loads(result.out)
    assert result.code == 0
    assert sim.now_s < 60
    assert (document["verdict"], document["reason"]) == ("running", "the load balancer drains the old targets")
    assert "Service updated successfully, new task definition running." in result.err.splitlines()
    assert "Service deployment successful." not in result.err
    assert sim.running("prod", "web")["app:2"] == 1


def test_while_old_targets_serve_beside_the_new_nothing_drains_yet(sim: Simulator, cli: Cli) -> None:
    balanced(sim)
    sim.services["prod", "web"].configuration.update(strategy="BLUE_GREEN", bakeTimeInMinutes=1)

    result = cli(*WEB, "-i", "app:2", "-wait-until", "draining-started", "-t", "600")

    assert result.code == 0
    assert 60 < sim.now_s < 120
    assert sim.running("prod", "web") == {"app:2": 1}


@pytest.mark.parametrize("instances", [0, 1], ids=["each its own address", "ports of one instance"])
def test_without_old_targets_left_the_new_serve_as_well(sim: Simulator, cli: Cli, instances: int) -> None:
    sim.instances.group("workers", "prod", desired=instances)
    balanced(sim)
    sim.services["prod", "web"].drain_s = 0

    result = cli(*WEB, "-i", "app:2", "-wait-until", "draining-started", "--output", "json")

    document = json.loads(result.out)
    assert result.code == 0
    assert (document["verdict"], document["reason"]) == ("running", "the load balancer drains the old targets")


def test_a_look_at_the_targets_that_is_throttled_is_said_and_made_again(sim: Simulator, cli: Cli) -> None:
    balanced(sim)
    sim.on_call = lambda index, operation, params: (
        Fault.THROTTLED if operation == "DescribeTargetHealth" and 0 < sim.now_s < 6 else None
    )

    result = cli(*WEB, "-i", "app:2", "-wait-until", "draining-started", "-t", "600")

    assert result.code == 0
    assert result.err.count("AWS throttled DescribeTargetHealth (Rate exceeded); looking again.") == 1
    assert "Service updated successfully, new task definition running." in result.lines


def test_a_new_version_that_does_not_run_drains_nothing(sim: Simulator, cli: Cli) -> None:
    balanced(sim)
    sim.image("app:2").starts_after(500)

    result = cli(*WEB, "-i", "app:2", "-wait-until", "draining-started", "-t", "30")

    assert result.code == 22


def test_the_default_end_is_the_rolled_primary(sim: Simulator, cli: Cli) -> None:
    balanced(sim)

    result = cli(*WEB, "-i", "app:2", "-wait-until", "primary-rolled", "-t", "600")

    assert result.code == 0
    assert "Service deployment successful." in result.lines
    assert "DescribeTargetHealth" not in result.operations


def test_without_a_target_group_there_is_nothing_to_drain(sim: Simulator, cli: Cli) -> None:
    web(sim)

    result = cli(*WEB, "-i", "app:2", "--wait-until", "draining-started")

    assert result.code == 1
    assert result.changes == []
    assert "The service web has no target group whose draining --wait-until could wait for" in result.err


# --- Several services


def two(sim: Simulator) -> None:
    """Two services of one definition, and one of another."""
    common = sim.task_definition("common", "app:1")
    for name in ("web", "worker"):
        sim.service("prod", name, task_definition=common)
    sim.service("prod", "other", image="app:1")


def test_services_that_share_a_definition_share_the_new_revision_and_the_looks(sim: Simulator, cli: Cli) -> None:
    two(sim)

    result = cli("-c", "prod", "-n", "web", "-n", "worker", "-n", "other", "-i", "app:2")

    assert result.code == 0
    assert result.changes.count("RegisterTaskDefinition") == 2
    assert result.changes.count("UpdateService") == 3
    assert all(len(params["services"]) > 1 for params in result.requests("DescribeServices")[:2])
    for name in ("web", "worker", "other"):
        assert f"{name}: Service deployment successful." in result.lines
        assert sim.running("prod", name) == {"app:2": 1}


def test_a_shared_revision_stays_where_only_one_of_the_updates_is_refused(sim: Simulator, cli: Cli) -> None:
    two(sim)
    sim.on_call = lambda index, operation, params: (
        AwsError("AccessDeniedException", "no") if params.get("service") == "web" else None
    )

    result = cli("-c", "prod", "-n", "web", "-n", "worker", "-i", "app:2")

    assert result.code == 1
    assert result.changes == ["RegisterTaskDefinition", "UpdateService", "UpdateService"]
    assert "common:2" not in result.err
    assert sim.running("prod", "worker") == {"app:2": 1}


def test_if_one_of_several_fails_all_go_back(sim: Simulator, cli: Cli) -> None:
    two(sim)
    bad = [{"name": "other", "image": "app:1", "memory": 64}, {"name": "side", "image": "side:1", "memory": 64}]
    sim.service("prod", "bad", containers=bad)
    sim.image("side:2").crashes(after_s=1)

    result = cli(
        "-c", "prod", "-n", "web", "-n", "bad", "-to", "2", "--fail-fast", "2", "--enable-rollback", "--output", "json"
    )

    document = json.loads(result.out)
    assert result.code == 20
    assert sim.running("prod", "web") == {"app:1": 1}
    assert [(part["name"], part["exit_code"]) for part in document["parts"]] == [("web", 20), ("bad", 20)]


def test_one_of_several_that_is_not_there_stops_all(sim: Simulator, cli: Cli) -> None:
    two(sim)

    result = cli("-c", "prod", "-n", "web", "-n", "wroker", "-i", "app:2")

    assert result.code == 24
    assert result.changes == []
    assert "The service wroker was not found in cluster prod" in result.err
