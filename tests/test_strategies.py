"""BLUE_GREEN, LINEAR and CANARY: deployments that ECS takes through stages, and takes back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.conftest import Cli
from tests.simulator import Fault, Simulator
from tests.simulator.services import Service
from tests.vocabulary import BREAKER, DEPLOY, PREFIX, Json, last_paragraph


def blue_green(**more: Any) -> Json:
    """A deployment configuration of that strategy, with a circuit breaker that rolls back."""
    return {"strategy": "BLUE_GREEN", "bakeTimeInMinutes": 0, **BREAKER, **more}


@pytest.mark.parametrize(
    ("known_at_once", "listed_after_s"),
    [(True, 0), (False, 0), (False, 3)],
    ids=["named by the service", "to be looked for", "listed late"],
)
def test_a_blue_green_deployment_is_followed_stage_by_stage(
    sim: Simulator, cli: Cli, known_at_once: bool, listed_after_s: int
) -> None:
    members: Json = {} if known_at_once else {"currentServiceDeployment": ""}
    sim.service("prod", "web", image="app:1", deploymentConfiguration=blue_green(bakeTimeInMinutes=1), **members)
    sim.world.releases_listed_after_s = listed_after_s
    sim.advance(60)

    result = cli(*DEPLOY)

    assert result.code == 0
    assert result.lines[-1] == "Service deployment successful."
    assert sim.running("prod", "web") == {"app:2": 1}
    for words in ("stage SCALE_UP, 0 % of the traffic on the new", "stage BAKE_TIME, 100 % of the traffic on the new"):
        assert words in result.err
    looks = 0 if known_at_once else 1 + listed_after_s  # once a second, until it is found
    assert result.operations.count("ListServiceDeployments") == looks


def test_where_ecs_gives_no_reason_the_state_of_the_service_deployment_is_the_reason(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1", deploymentConfiguration=blue_green())

    document = json.loads(cli(*DEPLOY, "--output", "json").out)

    assert (document["verdict"], document["reason"]) == ("completed", "the service deployment is SUCCESSFUL")


@pytest.mark.parametrize(
    ("before_s", "listed_after_s"), [(0.3, 0), (1.5, 1)], ids=["of one second", "only the older is listed yet"]
)
def test_of_two_service_deployments_the_newer_is_ours(
    sim: Simulator, cli: Cli, before_s: float, listed_after_s: float
) -> None:
    sim.service("prod", "web", image="app:1", deploymentConfiguration=blue_green(), currentServiceDeployment="")
    sim.world.releases_listed_after_s = listed_after_s

    def deploy_just_before(index: int, operation: str, params: Json) -> None:
        if operation == "UpdateService":
            sim.someone_deploys("prod", "web", "app:3")
            sim.advance(before_s)

    sim.world.on_call = deploy_just_before

    result = cli(*DEPLOY)

    assert result.code == 0
    assert sim.running("prod", "web") == {"app:2": 1}
    ours = [sim.services["prod", "web"].release.arn]
    assert all(looked["serviceDeploymentArns"] == ours for looked in result.requests("DescribeServiceDeployments"))


@pytest.mark.parametrize(
    ("configuration", "seconds"),
    [
        pytest.param({"strategy": "BLUE_GREEN", "bakeTimeInMinutes": 5}, 300, id="blue/green"),
        pytest.param(
            {"strategy": "LINEAR", "bakeTimeInMinutes": 1,
             "linearConfiguration": {"stepPercent": 30.0, "stepBakeTimeInMinutes": 2}}, 420, id="linear",
        ),
        pytest.param(
            {"strategy": "LINEAR", "linearConfiguration": {"stepPercent": 50.0, "stepBakeTimeInMinutes": 2}}, 120,
            id="linear, whose last step is a whole one",
        ),
        pytest.param(
            {"strategy": "CANARY", "canaryConfiguration": {"canaryPercent": 5.0, "canaryBakeTimeInMinutes": 10}}, 600,
            id="canary",
        ),
        pytest.param({"strategy": "LINEAR", "bakeTimeInMinutes": 2}, 120, id="linear, not told how"),
        pytest.param(
            {"strategy": "LINEAR", "bakeTimeInMinutes": 2, "linearConfiguration": {"stepPercent": 30.0}}, 120,
            id="linear, without a wait between its steps",
        ),
        pytest.param(
            {"strategy": "CANARY", "bakeTimeInMinutes": 2, "canaryConfiguration": {"canaryPercent": 5.0}}, 120,
            id="canary, without a wait of its own",
        ),
    ],
)  # fmt: skip
def test_bake_times_beyond_the_time_out_are_said_at_the_start(
    sim: Simulator, cli: Cli, configuration: Json, seconds: int
) -> None:
    sim.service("prod", "web", image="app:1", deploymentConfiguration=configuration)

    short = cli(*DEPLOY, "--dry-run")
    long, endless = (cli(*DEPLOY, "--dry-run", "-t", timeout) for timeout in (str(seconds), "0"))

    said = f"Warning: The bake times of this service alone take {seconds} s, longer than the time-out of 90 s (-t);"
    assert f"{said} the wait may end undecided." in short.err.splitlines()
    assert "bake times" not in long.err + endless.err
    assert "bake times" not in cli(*DEPLOY, "--dry-run", "--skip-deployments-check").err
    assert (short.code, long.code, endless.code) == (0, 0, 0)


@pytest.mark.parametrize(
    "configuration",
    [
        pytest.param(
            {"strategy": "LINEAR", "linearConfiguration": {"stepPercent": 50.0, "stepBakeTimeInMinutes": 1}},
            id="linear",
        ),
        pytest.param(
            {"strategy": "CANARY", "canaryConfiguration": {"canaryPercent": 50.0, "canaryBakeTimeInMinutes": 1}},
            id="canary",
        ),
    ],
)
def test_traffic_that_moves_in_steps_is_shown(sim: Simulator, cli: Cli, configuration: Json) -> None:
    sim.service("prod", "web", image="app:1", deploymentConfiguration=configuration)

    result = cli(*DEPLOY)

    assert result.code == 0
    assert "stage PRODUCTION_TRAFFIC_SHIFT, 50 % of the traffic on the new" in result.err
    assert sim.running("prod", "web") == {"app:2": 1}


def continue_hooks(service: Service) -> None:
    """As somebody does who continues what waits."""
    for hook in service.release.hooks:
        if hook.status == "AWAITING_ACTION":
            service.release.resolve_hook(hook.id, "CONTINUE")


def test_a_pause_hook_that_is_continued_before_a_look_is_not_named(sim: Simulator, cli: Cli) -> None:
    hooks = [{"targetType": "PAUSE", "lifecycleStages": ["POST_SCALE_UP"]}]
    service = sim.service("prod", "web", image="app:1", deploymentConfiguration=blue_green(lifecycleHooks=hooks))
    sim.world.on_call = lambda *_: continue_hooks(service)

    result = cli(*DEPLOY)

    assert result.code == 0
    assert [hook.status for hook in service.release.hooks] == ["SUCCEEDED"]
    assert "The hook" not in result.err


def test_a_pause_hook_that_waits_is_named_with_the_command_that_continues_it(sim: Simulator, cli: Cli) -> None:
    hooks = [{"targetType": "PAUSE", "lifecycleStages": ["POST_SCALE_UP"]}]
    service = sim.service("prod", "web", image="app:1", deploymentConfiguration=blue_green(lifecycleHooks=hooks))
    sim.world.at(30, lambda: continue_hooks(service))

    result = cli(*DEPLOY)

    (hook,) = service.release.hooks
    assert result.code == 0
    assert result.err.count(f"The hook {hook.id} waits (AWAITING_ACTION). Continue with:") == 1
    assert (
        f"aws ecs continue-service-deployment --service-deployment-arn {service.release.arn}"
        f" --hook-id {hook.id} --action CONTINUE" in result.err
    )


def test_a_pause_hook_that_nobody_continues_is_the_cause(sim: Simulator, cli: Cli) -> None:
    hooks = [{"targetType": "PAUSE", "lifecycleStages": ["POST_SCALE_UP"]}]
    sim.service("prod", "web", image="app:1", deploymentConfiguration=blue_green(lifecycleHooks=hooks))

    result = cli(*DEPLOY, "-t", "20")

    assert result.code == 22
    assert last_paragraph(result)[1:5] == [
        "Likeliest cause: a pause hook waits for somebody.",
        "Ended after 25 s; no task stopped.",
        f"The service still points at {PREFIX}/web:2.",
        "Continue it with the command above, or give a longer time-out.",
    ]


@pytest.mark.parametrize(("rollback", "code"), [([], 1), (["--enable-rollback"], 20)], ids=["plain", "rollback"])
def test_a_blue_green_deployment_that_ecs_rolls_back_is_a_failure(
    sim: Simulator, cli: Cli, rollback: list[str], code: int
) -> None:
    sim.service("prod", "web", image="app:1", deploymentConfiguration=blue_green())
    sim.image("app:2").crashes(after_s=2)

    result = cli(*DEPLOY, "-t", "300", *rollback, "--output", "json")

    document = json.loads(result.out)
    assert result.code == code
    assert "Service deployment successful." not in result.err
    said = "ECS deployment circuit breaker: tasks failed to start."
    assert (document["verdict"], document["reason"]) == ("rolled back", said)
    assert f"failed, and the service went back: {said}" in last_paragraph(result)[0]
    assert ("points at" in result.err, "is back on" in result.err) == (False, bool(rollback))
    assert "StopServiceDeployment" not in result.operations


def test_a_blue_green_deployment_that_takes_too_long_is_rolled_back_by_ecs(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1", deploymentConfiguration=blue_green())
    sim.image("app:2").starts_after(500)

    result = cli(*DEPLOY, "-t", "30", "--enable-rollback", "-D", "2")

    assert result.code == 20
    assert f"Rolling back to {PREFIX}/web:1" in result.lines
    assert result.requests("StopServiceDeployment")[0]["stopType"] == "ROLLBACK"
    assert result.requests("UpdateService")[1:] == [{"cluster": "prod", "service": "web", "desiredCount": 1}]
    assert sim.active_revisions("web") == [1]


def test_an_old_answer_that_shows_what_ecs_took_back_is_not_somebody_elses_deployment(sim: Simulator, cli: Cli) -> None:
    service = sim.service("prod", "web", image="app:1", deploymentConfiguration=blue_green())
    sim.image("app:2").starts_after(500)
    old: list[Json] = []

    def on_call(_: int, operation: str, __: Json) -> Fault | None:
        if operation == "StopServiceDeployment":
            old.append(service.described())
            service.before_update = old[0]
        return Fault.STALE if old and operation == "DescribeServices" else None

    sim.world.on_call = on_call

    result = cli(*DEPLOY, "-t", "30", "--enable-rollback")

    assert result.code == 20
    assert f"The service is back on {PREFIX}/web:1, and stable." in result.err
    assert f"{PREFIX}/web:2 is left ACTIVE: AWS does not show yet that nothing uses it." in result.err


def test_without_the_permission_to_stop_it_the_service_is_updated_back(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1", deploymentConfiguration=blue_green())
    sim.image("app:2").starts_after(500)
    sim.deny("ecs:StopServiceDeployment")

    result = cli(*DEPLOY, "-t", "30", "--enable-rollback")

    assert result.code == 20
    assert "StopServiceDeployment is not possible, using UpdateService instead. AWS denied" in result.err
    assert [update["taskDefinition"] for update in result.requests("UpdateService")] == [
        f"{PREFIX}/web:2",
        f"{PREFIX}/web:1",
    ]


def test_without_the_permission_to_read_it_the_rollout_state_decides(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1", deploymentConfiguration=blue_green())
    sim.deny("ecs:DescribeServiceDeployments")

    result = cli(*DEPLOY)

    assert result.code == 0
    assert result.err.count("The service deployment cannot be followed. AWS denied DescribeServiceDeployments") == 1


def test_a_throttled_look_at_the_service_deployment_is_no_failed_deployment(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1", deploymentConfiguration=blue_green())
    sim.world.on_call = lambda index, operation, params: (
        Fault.THROTTLED if operation == "DescribeServiceDeployments" and sim.world.now_s < 4 else None
    )

    result = cli(*DEPLOY)

    assert result.code == 0
    assert "AWS throttled DescribeServiceDeployments (Rate exceeded); looking again." in result.err.splitlines()
    assert "; stage " in result.err
    assert "cannot be followed" not in result.err


def test_a_service_deployment_that_somebody_aborts_is_a_failure(sim: Simulator, cli: Cli) -> None:
    service = sim.service("prod", "web", image="app:1", deploymentConfiguration=blue_green())
    sim.image("app:2").starts_after(500)
    sim.world.at(10, lambda: service.release.stop("ABORT"))

    result = cli(*DEPLOY)

    assert result.code == 1
    assert "Service deployment was stopped." in last_paragraph(result)[0]


@pytest.mark.parametrize("rollback", [[], ["--enable-rollback"]], ids=["plain", "rollback"])
def test_a_rollback_of_ecs_that_fails_is_said(sim: Simulator, cli: Cli, rollback: list[str]) -> None:
    service = sim.service("prod", "web", image="app:1", deploymentConfiguration=blue_green())
    sim.image("app:2").starts_after(500)

    def fail_to_roll_back() -> None:
        service.roll_back("ECS deployment alarms", "alarm detected.")
        service.release.fails("ECS could not roll back.", was_rollback=True)

    sim.world.at(10, fail_to_roll_back)

    result = cli(*DEPLOY, *rollback, "--output", "json")

    document = json.loads(result.out)
    assert result.code == 21
    assert (document["verdict"], document["reason"]) == ("rollback failed", "ECS deployment alarms: alarm detected.")
    whose = "its" if rollback else "ECS's"
    assert f"failed, and so did {whose} rollback: ECS deployment alarms: alarm" in last_paragraph(result)[0]
    assert "going back" not in result.err
    assert result.changes == ["RegisterTaskDefinition", "UpdateService"]


def test_a_blue_green_deployment_of_somebody_else_is_superseding(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1", deploymentConfiguration=blue_green())
    sim.image("app:2").starts_after(60)
    sim.world.at(10, lambda: sim.someone_deploys("prod", "web", "app:3"))

    result = cli(*DEPLOY, "--enable-rollback")

    assert result.code == 23
    assert result.changes == ["RegisterTaskDefinition", "UpdateService"]


def test_one_of_somebody_else_that_succeeded_while_nobody_could_look_is_not_taken_for_ours(
    sim: Simulator, cli: Cli
) -> None:
    sim.service("prod", "web", image="app:1", deploymentConfiguration=blue_green())
    sim.world.on_call = lambda index, operation, params: (
        Fault.THROTTLED if operation == "DescribeServices" and index > 3 and sim.now_s < 60 else None
    )
    sim.world.at(0.5, lambda: sim.someone_deploys("prod", "web", "app:3"))

    result = cli(*DEPLOY, "-t", "300")

    assert result.code == 23
    assert sim.running("prod", "web") == {"app:3": 1}


def test_a_service_deployment_of_before_the_update_is_not_taken_for_ours(sim: Simulator, cli: Cli) -> None:
    service = sim.service("prod", "web", image="app:1", deploymentConfiguration=blue_green())
    service.members["currentServiceDeployment"] = service.release.arn

    result = cli(*DEPLOY)

    assert result.code == 0
    assert "DescribeServiceDeployments" not in result.operations
    assert sim.running("prod", "web") == {"app:2": 1}


def test_a_rollback_of_ecs_is_followed_by_its_service_deployment(sim: Simulator, cli: Cli) -> None:
    configuration = {
        "strategy": "BLUE_GREEN",
        "bakeTimeInMinutes": 1,
        "alarms": {"alarmNames": ["errors"], "enable": True, "rollback": True},
    }
    sim.service("prod", "web", image="app:1", deploymentConfiguration=configuration).alarm_fires(at_s=30)

    result = cli(*DEPLOY, "-t", "300", "--enable-rollback")

    assert result.code == 20
    assert sim.running("prod", "web") == {"app:1": 1}
    assert sim.steady("prod", "web")
    assert "StopServiceDeployment" not in result.operations


def test_a_native_deployment_is_undone_by_stopping_it(sim: Simulator, cli: Cli) -> None:
    configuration = {"strategy": "BLUE_GREEN", "bakeTimeInMinutes": 9}
    service = sim.service("prod", "web", image="app:1", deploymentConfiguration=configuration)

    result = cli(*DEPLOY, "-t", "60")

    stop = f"--service-deployment-arn {service.release.arn} --stop-type ROLLBACK --region us-east-1"
    assert result.code == 22
    assert last_paragraph(result) == [
        f"ERROR: The deployment {service.primary.id} of service web timed out: the deployment was not complete within"
        " 60 seconds.",
        "Likeliest cause: the bake time is longer than the time-out.",
        "Ended after 65 s; no task stopped.",
        f"The service still points at {PREFIX}/web:2.",
        "Give a time-out that is longer than the bake time.",
        "To go back:",
        f"  aws ecs stop-service-deployment {stop}",
    ]
