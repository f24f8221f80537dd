"""Deploying a service: what is asked, what is refused, and what is left behind where the update fails."""

from __future__ import annotations

import pytest

from ecs_deploy import names_hint
from tests.conftest import Cli
from tests.simulator import AwsError, Fault, Simulator
from tests.vocabulary import BREAKER, DEPLOY, NO_UTF_8, PREFIX, WEB, Json

# --- Success


@pytest.mark.parametrize("desired_count", [1, 3])
def test_a_deployment_is_followed_to_its_end(sim: Simulator, cli: Cli, desired_count: int) -> None:
    sim.service("prod", "web", image="app:1", desired_count=desired_count)

    result = cli(*DEPLOY)

    assert result.code == 0
    assert result.changes == ["RegisterTaskDefinition", "UpdateService"]
    assert sim.steady("prod", "web")
    assert sim.running("prod", "web") == {"app:2": desired_count}


def test_a_service_without_rollout_states_is_done_when_the_new_tasks_are_alone(sim: Simulator, cli: Cli) -> None:
    balancer = {"loadBalancerName": "classic", "containerName": "web", "containerPort": 80}
    sim.service("prod", "web", image="app:1", desired_count=2, loadBalancers=[balancer], drain_s=20)

    result = cli(*DEPLOY)

    assert result.code == 0
    assert result.lines[-1] == "Service deployment successful."
    assert sim.running("prod", "web") == {"app:2": 2}
    assert len(sim.services["prod", "web"].deployments) == 1


def test_without_rollout_states_a_deployment_that_is_alone_but_not_yet_running_is_not_done(
    sim: Simulator, cli: Cli
) -> None:
    balancer = {"loadBalancerName": "classic", "containerName": "web", "containerPort": 80}
    one_after_the_other = {"minimumHealthyPercent": 0, "maximumPercent": 100}
    sim.service(
        "prod",
        "web",
        image="app:1",
        desired_count=2,
        loadBalancers=[balancer],
        deploymentConfiguration=one_after_the_other,
    )
    sim.image("app:2").starts_after(20)

    result = cli(*DEPLOY)

    assert result.code == 0
    assert sim.running("prod", "web") == {"app:2": 2}


@pytest.mark.parametrize("reads", [1, 5])
def test_the_update_may_not_be_visible_at_once(sim: Simulator, cli: Cli, reads: int) -> None:
    sim.service("prod", "web", image="app:1")
    sim.world.stale_reads = reads

    result = cli(*DEPLOY)

    assert result.code == 0
    assert sim.steady("prod", "web")


def test_answers_that_are_older_than_the_update_prove_nothing_however_late_they_come(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1", desired_count=0)
    sim.world.stale_reads = 1000
    sim.services["prod", "web"].scale(1)

    result = cli(*WEB, "--force-new-deployment")

    assert result.code == 22
    assert sim.now_s == pytest.approx(90)
    assert "AWS has shown nothing new of it for 90 seconds" in result.err


def test_the_definition_before_ours_in_an_older_answer_is_not_taken_for_a_rollback(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")
    sim.world.stale_reads = 1000

    result = cli(*DEPLOY)

    assert result.code == 22
    assert sim.now_s == pytest.approx(90)
    assert "Service deployment successful." not in result.out
    assert "made the previous task definition PRIMARY again" not in result.err


@pytest.mark.parametrize("strategy", [{}, {"strategy": "BLUE_GREEN"}], ids=["rolling", "blue/green"])
def test_minimum_and_maximum_are_merged_into_the_live_configuration(sim: Simulator, cli: Cli, strategy: Json) -> None:
    live = {**BREAKER, "alarms": {"alarmNames": ["errors"], "enable": True, "rollback": True}, **strategy}
    sim.service("prod", "web", image="app:1", deploymentConfiguration=live)

    result = cli(*DEPLOY, "--min", "0", "-M", "150")

    (update,) = result.requests("UpdateService")
    assert result.code == 0
    assert update["deploymentConfiguration"] == {**live, "minimumHealthyPercent": 0, "maximumPercent": 150}
    assert sim.services["prod", "web"].configuration == update["deploymentConfiguration"]


@pytest.mark.parametrize(
    ("options", "sent"),
    [
        pytest.param(["-D", "3"], {"desiredCount": 3}, id="a count"),
        pytest.param(["-D", "0"], {"desiredCount": 0}, id="zero"),
        pytest.param(["-D", "-1"], {}, id="a negative count is not given"),
        pytest.param([], {}, id="nothing"),
    ],
)
def test_a_desired_count_is_sent_only_if_given(sim: Simulator, cli: Cli, options: list[str], sent: Json) -> None:
    sim.service("prod", "web", image="app:1", desired_count=2)

    (update,) = cli(*DEPLOY, *options).requests("UpdateService")

    assert update == {"cluster": "prod", "service": "web", "taskDefinition": f"{PREFIX}/web:2", **sent}


def test_a_service_that_runs_nothing_only_waits_for_its_deployment(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1", desired_count=0)

    result = cli(*DEPLOY)

    assert result.code == 0
    assert result.lines[3:] == [
        "Skipping check for running task definition, as desired-count <= 0",
        "Waiting for service deployment to complete...",
        "Service deployment successful.",
    ]


def test_a_cluster_and_a_service_can_be_given_as_arns(sim: Simulator, cli: Cli) -> None:
    service = sim.service("prod", "web", image="app:1")

    result = cli("-c", sim.cluster_arn("prod"), "-n", service.arn, "-i", "app:2")

    assert result.code == 0
    assert sim.running("prod", "web") == {"app:2": 1}


# --- Not found


@pytest.mark.parametrize(
    ("controller", "advice"),
    [
        ("CODE_DEPLOY", "Deploy it with CodeDeploy (aws deploy create-deployment)."),
        ("EXTERNAL", "Deploy it with the controller that owns its task sets."),
    ],
)
def test_a_service_that_something_else_deploys_is_refused_before_anything_changes(
    sim: Simulator, cli: Cli, controller: str, advice: str
) -> None:
    sim.service("prod", "web", image="app:1", deploymentController={"type": controller})

    result = cli(*DEPLOY)

    assert result.code == 1
    assert f"The service web is deployed by {controller}; UpdateService refuses" in result.err
    assert advice in result.err
    assert result.operations == ["DescribeServices"]


def test_a_service_that_is_not_found_is_followed_by_those_that_are(sim: Simulator, cli: Cli) -> None:
    for name in ("gate", "web", "worker"):
        sim.service("prod", name, image="app:1")

    result = cli("-c", "prod", "-n", "wbe", "-i", "app:2")

    assert result.code == 24
    assert result.err.splitlines() == [
        "ERROR: The service wbe was not found in cluster prod",
        "The services of the cluster: gate, web, worker",
    ]


def test_among_many_services_the_nearest_names_are_said_and_few_calls_made(sim: Simulator, cli: Cli) -> None:
    sim.page_size = 100
    for number in range(250):
        sim.service("prod", f"batch-{number:03}", image="app:1")
    sim.service("prod", "doorman", image="app:1")

    result = cli("-c", "prod", "-n", "dorman", "-i", "app:2")

    assert result.code == 24
    assert result.err.splitlines()[1] == "The services of the cluster: doorman, and 250 more"
    assert result.operations.count("ListServices") == 3


MANY = [f"batch-{number:02}" for number in range(21)]


@pytest.mark.parametrize(
    ("there", "said"),
    [
        (["web", "api"], "The clusters: api, web"),
        (MANY[:20], f"The clusters: {', '.join(MANY[:20])}"),
        (MANY, f"The clusters: {', '.join(MANY[:20])}, and 1 more"),
        (
            [*MANY, *(f"prod-{n}" for n in range(6))],
            "The clusters: prod-5, prod-4, prod-3, prod-2, prod-1, and 22 more",
        ),
    ],
    ids=["few", "twenty", "more, none alike", "more, some alike"],
)
def test_up_to_twenty_names_are_said_or_the_five_nearest(there: list[str], said: str) -> None:
    assert names_hint(lambda: there, "clusters", "prod") == said


def test_where_there_is_nothing_to_list_that_is_said(sim: Simulator, cli: Cli) -> None:
    without_clusters = cli(*DEPLOY)
    sim.cluster("prod")
    without_services = cli(*DEPLOY)

    assert (without_clusters.code, without_services.code) == (24, 24)
    assert "There are no clusters in us-east-1." in without_clusters.err
    assert "There are no services of the cluster." in without_services.err


@pytest.mark.parametrize("cluster", ["prod", "nowhere"])
def test_names_that_may_not_be_listed_are_left_out(sim: Simulator, cli: Cli, cluster: str) -> None:
    sim.cluster("prod")
    sim.deny("ecs:ListServices", "ecs:ListClusters")

    result = cli("-c", cluster, "-n", "web", "-i", "app:2")

    assert result.code == 24
    assert len(result.err.splitlines()) == 1
    assert "was not found in" in result.err


def test_a_deleted_service_is_not_found(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1", desired_count=0)
    sim.delete_service("prod", "web")
    sim.advance(5)

    result = cli(*DEPLOY)

    assert result.code == 24
    assert "The service web was not found in cluster prod" in result.err


# --- When UpdateService fails


def test_a_revision_that_no_service_uses_is_deregistered(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")
    sim.deny("ecs:UpdateService")

    result = cli(*DEPLOY)

    assert result.code == 24
    assert result.operations == [
        "DescribeServices", "DescribeTaskDefinition", "RegisterTaskDefinition", "UpdateService",
        "ListServices", "DescribeServices", "DeregisterTaskDefinition",
    ]  # fmt: skip
    assert "Deregistered web:2, a revision that no service uses." in result.err
    assert "Allow ecs:UpdateService in the IAM policy of these credentials." in result.err
    assert sim.active_revisions("web") == [1]


def test_a_revision_that_cannot_be_deregistered_is_named(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")
    sim.deny("ecs:UpdateService", "ecs:DeregisterTaskDefinition")

    result = cli(*DEPLOY)

    assert result.code == 24
    assert f"Warning: {PREFIX}/web:2, a revision that no service uses, could not be deregistered." in result.err
    assert sim.active_revisions("web") == [1, 2]


def test_a_service_that_is_deleted_before_the_update_is_said(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")
    sim.service("prod", "other", image="app:1")
    sim.world.on_call = lambda index, operation, params: (
        sim.delete_service("prod", "web") if operation == "UpdateService" else None
    )

    result = cli(*DEPLOY)

    assert result.code == 24
    assert "The service web was not found in cluster prod, or is not ACTIVE" in result.err
    assert "The services of the cluster: other" in result.err
    assert sim.active_revisions("web") == [1]


def test_an_update_whose_answer_is_lost_is_repeated_and_makes_one_revision(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")
    lost: list[str] = []
    sim.world.on_call = lambda index, operation, params: first_time(lost, operation, "UpdateService")

    result = cli(*DEPLOY)

    assert result.code == 0
    assert result.changes == ["RegisterTaskDefinition", "UpdateService", "UpdateService"]
    assert sim.active_revisions("web") == [1, 2]
    assert sim.steady("prod", "web")


@pytest.mark.parametrize(
    ("fault", "revisions"),
    [(Fault.DROP_AFTER, [1, 2]), (Fault.DROP_BEFORE, [1]), (Fault.SERVER_ERROR, [1]), (NO_UTF_8, [1])],
    ids=["carried out", "never arrived", "an error of AWS", "a page of a proxy"],
)
def test_a_registration_whose_answer_is_lost_is_not_sent_again(
    sim: Simulator, cli: Cli, fault: Fault | AwsError, revisions: list[int]
) -> None:
    sim.service("prod", "web", image="app:1")
    sim.world.on_call = lambda index, operation, params: fault if operation == "RegisterTaskDefinition" else None

    result = cli(*DEPLOY)

    assert result.code == 24
    assert result.changes == ["RegisterTaskDefinition"]
    look = "aws ecs list-task-definitions --family-prefix web --sort DESC --region us-east-1"
    assert f"A revision of web may have been registered, the answer was not seen. Look:\n  {look}\n" in result.err
    assert sim.active_revisions("web") == revisions


def test_an_update_that_was_carried_out_but_never_answered_is_found_and_followed(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")
    sim.world.on_call = lambda index, operation, params: Fault.DROP_AFTER if operation == "UpdateService" else None

    result = cli(*DEPLOY)

    assert result.code == 0
    assert sim.active_revisions("web") == [1, 2]
    assert sim.steady("prod", "web")


def test_an_update_that_never_arrived_leaves_the_revision_and_says_so(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")
    sim.world.on_call = lambda index, operation, params: Fault.DROP_BEFORE if operation == "UpdateService" else None

    result = cli(*DEPLOY)

    assert result.code == 24
    sent, *undo, error, look = result.err.splitlines()[2:]
    assert sent == f"The update of service web to {PREFIX}/web:2 was sent, and its answer was not seen."
    assert undo == [
        "To undo it:",
        f"  aws ecs update-service --cluster prod --service web --task-definition {PREFIX}/web:1 --region us-east-1",
        "web:2 stays registered; once nothing uses it:",
        f"  aws ecs deregister-task-definition --task-definition {PREFIX}/web:2 --region us-east-1",
    ]
    assert error.startswith("ERROR: AWS was not reached (UpdateService): ")
    assert look == f"UpdateService may have been carried out; {PREFIX}/web:2 is left as it is. Look at the service."
    assert sim.active_revisions("web") == [1, 2]


def test_a_redeployment_that_never_arrived_is_not_looked_for_and_may_go_on(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")
    sim.world.on_call = lambda index, operation, params: Fault.DROP_BEFORE if operation == "UpdateService" else None

    result = cli(*WEB, "--force-new-deployment")

    assert result.code == 24
    assert result.operations[-1] == "UpdateService"
    assert result.err.splitlines()[1] == (
        f"The update of service web to {PREFIX}/web:1 was sent, and its answer was not seen."
    )


def first_time(seen: list[str], operation: str, wanted: str, fault: Fault = Fault.DROP_AFTER) -> Fault | None:
    """The fault, for the first call of the wanted operation alone."""
    if operation != wanted or seen:
        return None
    seen.append(operation)
    return fault


def test_a_refused_redeploy_leaves_nothing_to_clean_up(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")
    sim.deny("ecs:UpdateService")

    result = cli(*WEB, "--force-new-deployment")

    assert result.code == 24
    assert result.changes == ["UpdateService"]


def test_a_registration_waits_while_others_use_up_the_budget_of_the_account(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")
    sim.world.on_call = lambda index, operation, params: (
        Fault.THROTTLED if operation == "RegisterTaskDefinition" and sim.world.now_s < 40 else None
    )

    result = cli(*DEPLOY)

    assert result.code == 0
    assert result.requests("UpdateService")[0]["taskDefinition"] == f"{PREFIX}/web:2"
    assert sim.active_revisions("web") == [1, 2]
    assert sim.now_s > 40
