"""`ecs-deploy app`: an application file, rolled out as a whole or not at all."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from collections import Counter
from pathlib import Path

import pytest

from ecs_deploy import Exit
from tests.conftest import Cli, Result
from tests.simulator import Simulator
from tests.simulator.errors import AwsError, Fault, Json
from tests.terminal import progress_of
from tests.vocabulary import PREFIX

SHOP = """\
version: v1
cluster: shop
tasks:
  pre:
    - family: migrate
      count: 1
      containers: [app]
      launch_type: ec2
  post:
    - family: announce
      count: 2
      containers: [app]
services:
  - name: web
    containers: [app]
  - name: worker
    containers: [app]
    max_wait: 2
"""


@pytest.fixture(autouse=True)
def _in_an_empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def container(name: str, image: str) -> Json:
    return {"name": name, "image": image, "memory": 64, "essential": True}


def ended(result: Result) -> list[tuple[str, str, str, int]]:
    """How each part ended, by the JSON document of a run: name, result, verdict, exit code."""
    parts = json.loads(result.out)["parts"]
    assert result.code == json.loads(result.out)["exit_code"]
    return [(part["name"], part["result"], part["verdict"], part["exit_code"]) for part in parts]


def shop(sim: Simulator, text: str = SHOP) -> None:
    """A cluster with two services and the definitions of two tasks, and the file that names them."""
    for name in ("web", "worker"):
        sim.service("shop", name, containers=[container("app", "shop/app:1"), container("proxy", "envoy:3")])
    for family in ("migrate", "announce"):
        sim.task_definition(family, containers=[container("app", "shop/tool:1")])
    Path(".ecs-toolkit.yml").write_text(text, encoding="utf-8")


def test_rolls_an_application_out_tasks_before_services_together_tasks_after(sim: Simulator, cli: Cli) -> None:
    shop(sim)

    result = cli("app", "--image-tag", "2")

    assert result.code == Exit.OK, result.err
    assert Counter(result.changes) == Counter(RegisterTaskDefinition=4, RunTask=2, UpdateService=2)
    assert [c for c in result.changes if c != "RegisterTaskDefinition"] == [
        "RunTask", "UpdateService", "UpdateService", "RunTask",
    ]  # fmt: skip
    for name in ("web", "worker"):
        assert sim.running("shop", name) == {"shop/app:2": 1, "envoy:3": 1}
        assert f"{name}: Service deployment successful." in result.lines
    tagged = {"cluster": "shop", "enableECSManagedTags": True, "propagateTags": "TASK_DEFINITION"}
    assert [{**request, "clientToken": ""} for request in result.requests("RunTask")] == [
        {**tagged, "taskDefinition": f"{PREFIX}/migrate:2", "count": 1, "launchType": "EC2", "clientToken": ""},
        {**tagged, "taskDefinition": f"{PREFIX}/announce:2", "count": 2, "clientToken": ""},
    ]
    assert result.requests("UpdateService") == [
        {"cluster": "shop", "service": name, "taskDefinition": f"{PREFIX}/{name}:2"} for name in ("web", "worker")
    ]
    assert result.lines[-3:] == [
        "Report on tasks before: total: 1, successful: 1, skipped: 0, failed: 0",
        "Report on services: total: 2, successful: 2, skipped: 0, failed: 0",
        "Report on tasks after: total: 1, successful: 1, skipped: 0, failed: 0",
    ]


def test_a_failing_task_before_leaves_every_service_untouched(sim: Simulator, cli: Cli) -> None:
    shop(sim)
    sim.image("shop/tool:2").exits(3, after_s=4)

    result = cli("app", "--image-tag", "2")

    assert result.code == Exit.FAILED
    assert "UpdateService" not in result.changes
    assert (
        "  pre migrate: EssentialContainerExited: Essential container in task exited; container app: exit code 3"
        in (result.lines)
    )
    assert "Report on services: total: 2, successful: 0, skipped: 0, failed: 0, not begun: 2" in result.lines


def test_a_task_that_goes_on_too_long_is_a_failure(sim: Simulator, cli: Cli) -> None:
    shop(sim)
    sim.image("shop/tool:2").exits(0, after_s=200_000)
    hours = iter([90_000.0])
    sim.on_call = lambda _, operation, __: (
        sim.advance(next(hours, 0.0)) if operation == "DescribeTasks" and sim.now_s > 20 else None
    )

    result = cli("app", "--image-tag", "2", "--output", "json")

    assert result.code == Exit.FAILED
    assert "  pre migrate: did not stop in time" in result.err.splitlines()
    (part,) = json.loads(result.out)["parts"]
    assert (part["result"], part["verdict"], part["exit_code"]) == ("did not stop in time", "failed", 22)


def test_a_task_that_cannot_be_started_is_a_failure_with_its_reason(sim: Simulator, cli: Cli) -> None:
    shop(sim)
    sim.fail_run_task("RESOURCE:MEMORY")

    result = cli("app", "--image-tag", "2")

    assert result.code == Exit.FAILED
    assert "  pre migrate: 0 of 1 tasks were started: 1 × RESOURCE:MEMORY" in result.lines
    assert "UpdateService" not in result.changes


@pytest.mark.parametrize(
    ("options", "runs"),
    [
        pytest.param(["--skip-tasks"], 0, id="no tasks"),
        pytest.param(["--skip-pre-tasks"], 1, id="none before"),
        pytest.param(["--skip-post-tasks"], 1, id="none after"),
    ],
)
def test_tasks_can_be_skipped(sim: Simulator, cli: Cli, options: list[str], runs: int) -> None:
    shop(sim)

    result = cli("app", "--image-tag", "2", *options)

    assert result.code == Exit.OK
    assert result.changes.count("RunTask") == runs


def test_everything_missing_is_named_at_once_and_nothing_changes(sim: Simulator, cli: Cli) -> None:
    shop(sim, SHOP.replace("family: migrate", "family: migrant").replace("name: worker", "name: walker"))

    result = cli("app", "--image-tag", "2")

    assert result.code == Exit.AWS
    assert result.changes == []
    assert result.err.splitlines() == [
        "ERROR: Nothing was changed:",
        "  The task definition migrant was not found in us-east-1",
        "  The service walker was not found in cluster shop",
        "Give a family with an ACTIVE revision, family:revision, or an ARN.",
        "The services of the cluster: web, worker",
    ]


def test_problems_of_several_kinds_are_a_failure_of_no_kind(sim: Simulator, cli: Cli) -> None:
    shop(sim, SHOP.replace("web\n    containers: [app]", "web\n    containers: [ap]").replace("worker", "nope"))

    result = cli("app", "--image-tag", "2")

    assert result.code == Exit.FAILED
    assert result.err.splitlines() == [
        "ERROR: Nothing was changed:",
        "  web: No container is named ap; the task definition has: app, proxy",
        "  The service nope was not found in cluster shop",
        "The services of the cluster: web, worker",
    ]


def test_tasks_of_one_family_are_told_apart_by_when_and_by_a_number(sim: Simulator, cli: Cli) -> None:
    shop(sim)
    task = {"family": "migrate", "count": 1, "containers": ["app"]}
    tasks = {"pre": [task, {**task, "family": "announce"}, task, task], "post": [task]}
    Path("app.json").write_text(json.dumps({"version": "v1", "cluster": "shop", "tasks": tasks}))

    result = cli("app", "-t", "2", "-f", "app.json", "--dry-run")

    assert result.code == Exit.OK
    assert [line for line in result.lines if line.startswith("Would")] == [
        "Would run pre migrate (migrate:1)",
        "Would run pre announce (announce:1)",
        "Would run pre migrate (2) (migrate:1)",
        "Would run pre migrate (3) (migrate:1)",
        "Would run post migrate (migrate:1)",
    ]


def test_a_missing_container_is_named_with_those_there_are(sim: Simulator, cli: Cli) -> None:
    shop(sim, SHOP.replace("containers: [app]\n    max_wait", "containers: [ap]\n    max_wait"))

    result = cli("app", "--image-tag", "2")

    assert result.code == Exit.NO_CONTAINER
    assert result.changes == []
    assert result.err.splitlines() == [
        "ERROR: Nothing was changed:",
        "  worker: No container is named ap; the task definition has: app, proxy",
    ]


def test_a_service_that_is_not_deployed_by_ecs_stops_everything(sim: Simulator, cli: Cli) -> None:
    shop(sim)
    sim.service(
        "shop", "web", containers=[container("app", "shop/app:1")], deploymentController={"type": "CODE_DEPLOY"}
    )

    result = cli("app", "--image-tag", "2")

    assert result.code == Exit.FAILED
    assert result.changes == []
    assert "The service web is deployed by CODE_DEPLOY" in result.err


def test_other_refusals_of_aws_end_the_run_before_anything_changes(sim: Simulator, cli: Cli) -> None:
    shop(sim)
    sim.deny("ecs:DescribeTaskDefinition")

    result = cli("app", "--image-tag", "2")

    assert result.code == Exit.AWS
    assert result.changes == []
    denied, hint = result.err.splitlines()
    assert denied.startswith("ERROR: AWS denied DescribeTaskDefinition: ")
    assert hint == "Allow ecs:DescribeTaskDefinition in the IAM policy of these credentials."


def test_what_needs_no_change_is_not_registered_and_not_updated_but_must_be_stable(sim: Simulator, cli: Cli) -> None:
    shop(sim)

    result = cli("app", "--image-tag", "1", "--skip-tasks")

    assert result.code == Exit.OK
    assert result.changes == []
    assert "Report on services: total: 2, successful: 0, skipped: 2, failed: 0" in result.lines


def test_an_unchanged_service_that_is_not_stable_is_a_failure(sim: Simulator, cli: Cli) -> None:
    shop(sim)
    sim.image("shop/app:9").never_healthy().starts_after(3600)
    sim.someone_deploys("shop", "worker", "shop/app:9")

    result = cli("app", "--image-tag", "9", "--skip-tasks")

    assert result.code == Exit.FAILED
    assert "  worker: not steady within 120 seconds: 0 of 1 running" in result.lines


def test_the_time_of_a_service_is_for_both_waits_together(sim: Simulator, cli: Cli) -> None:
    shop(sim, SHOP.replace("  - name: web\n", "  - name: web\n    max_wait: 1\n"))
    sim.services["shop", "web"].drain_s = 600
    sim.image("shop/app:2").starts_after(30)

    result = cli("app", "--image-tag", "2", "--skip-tasks", "--output", "json")

    (web,) = [part for part in json.loads(result.out)["parts"] if part["name"] == "web"]
    assert result.code == Exit.FAILED
    assert (web["result"], web["exit_code"]) == ("the deployment was not complete within 60 seconds", Exit.TIMED_OUT)
    assert 60 <= web["durations"]["total_s"] < 62


def test_a_service_without_a_time_of_its_own_has_fifteen_minutes(sim: Simulator, cli: Cli) -> None:
    shop(sim)
    sim.image("shop/app:2").starts_after(5000)
    sim.on_call = lambda _, operation, __: sim.advance(30) if operation == "DescribeServices" else None

    result = cli("app", "--image-tag", "2", "--skip-tasks")

    assert result.code == Exit.FAILED
    assert result.lines[-3:] == [
        "Report on services: total: 2, successful: 0, skipped: 0, failed: 2",
        "  web: no task of the new deployment was seen running within 900 seconds",
        "  worker: no task of the new deployment was seen running within 120 seconds",
    ]


def test_a_rollback_that_had_no_time_may_be_complete_when_the_others_have_ended(sim: Simulator, cli: Cli) -> None:
    shop(sim, SHOP.replace("  - name: web\n", "  - name: web\n    max_wait: 1\n"))
    sim.image("shop/app:2").starts_after(500)
    sim.image("shop/app:1").starts_after(80)

    result = cli("app", "--image-tag", "2", "--skip-tasks", "--enable-rollback")

    assert result.code == Exit.FAILED  # the worker, which had more time, is back
    assert f"web: The rollback to {PREFIX}/web:1 was not seen to complete: no task of the new" in result.err


def test_an_unchanged_service_that_failed_is_told_how_to_be_deployed_again(sim: Simulator, cli: Cli) -> None:
    shop(sim)
    breaker = {"deploymentCircuitBreaker": {"enable": True, "rollback": False}}
    sim.services["shop", "worker"].configuration.update(breaker)
    sim.image("shop/app:2").crashes(after_s=1)
    first = cli("app", "--image-tag", "2", "--skip-tasks")

    again = cli("app", "--image-tag", "2", "--skip-tasks")

    assert (first.code, again.code, again.changes) == (Exit.FAILED, Exit.FAILED, [])
    force = "aws ecs update-service --cluster shop --service worker --force-new-deployment --region us-east-1"
    assert f"Nothing changes in it, so it is not deployed again unless by:\n  {force}\n" in again.err


def test_force_redeploys_what_does_not_change(sim: Simulator, cli: Cli) -> None:
    shop(sim, SHOP.replace("  - name: web\n", "  - name: web\n    force: true\n"))

    result = cli("app", "--image-tag", "1", "--skip-tasks")

    assert result.code == Exit.OK
    assert result.changes == ["UpdateService"]
    assert result.requests("UpdateService") == [{"cluster": "shop", "service": "web", "forceNewDeployment": True}]


def test_services_that_share_a_definition_share_one_new_revision(sim: Simulator, cli: Cli) -> None:
    definition = sim.task_definition("common", containers=[container("app", "shop/app:1")])
    for name in ("one", "two", "three"):
        sim.service("shop", name, task_definition=definition)
    services = [{"name": name, "containers": ["app"]} for name in ("one", "two", "three")]
    Path(".ecs-deploy.json").write_text(json.dumps({"version": "v1", "cluster": "shop", "services": services}))

    result = cli("app", "--image-tag", "2")

    assert result.code == Exit.OK
    assert Counter(result.changes) == Counter(RegisterTaskDefinition=1, UpdateService=3)
    assert sim.active_revisions("common") == [1, 2]


def test_one_failing_service_does_not_stop_the_others_from_being_followed(sim: Simulator, cli: Cli) -> None:
    shop(sim)
    sim.service("shop", "worker", containers=[container("app", "shop/job:1")])
    sim.image("shop/job:2").crashes(after_s=2)

    result = cli("app", "--image-tag", "2", "--skip-tasks")

    assert result.code == Exit.FAILED
    assert "web: Service deployment successful." in result.lines
    assert sim.running("shop", "web") == {"shop/app:2": 1, "envoy:3": 1}
    assert "Report on services: total: 2, successful: 1, skipped: 0, failed: 1" in result.lines
    assert re.search(r"^ERROR: The deployment \S+ of service worker timed out", result.err, re.MULTILINE)
    assert "--enable-rollback" not in result.err


def test_after_a_failing_service_no_task_is_begun(sim: Simulator, cli: Cli) -> None:
    shop(sim)
    sim.service("shop", "worker", containers=[container("app", "shop/job:1")])
    sim.image("shop/job:2").crashes(after_s=2)

    result = cli("app", "--image-tag", "2")

    assert result.code == Exit.FAILED
    assert [request["taskDefinition"].rpartition("/")[2] for request in result.requests("RunTask")] == ["migrate:2"]
    assert result.lines[-1] == "Report on tasks after: total: 1, successful: 0, skipped: 0, failed: 0, not begun: 1"


def test_with_rollback_one_failure_takes_every_changed_service_back(sim: Simulator, cli: Cli) -> None:
    shop(sim)
    sim.service("shop", "worker", containers=[container("app", "shop/job:1")])
    sim.image("shop/job:2").crashes(after_s=2)

    result = cli("app", "--image-tag", "2", "--skip-tasks", "--enable-rollback", "--output", "json")

    late = "the deployment was not complete within 120 seconds"
    assert result.code == Exit.ROLLED_BACK
    assert sim.running("shop", "web") == {"shop/app:1": 1, "envoy:3": 1}
    assert sim.running("shop", "worker") == {"shop/job:1": 1}
    assert sim.active_revisions("web") == [1]
    assert result.err.splitlines()[-3:] == [
        "Report on services: total: 2, successful: 0, skipped: 0, failed: 1, rolled back: 1",
        "  web: rolled back",
        f"  worker: {late}",
    ]
    assert ended(result) == [("web", "rolled back", "completed", 20), ("worker", late, "timed out", 20)]


def test_what_is_complete_and_cannot_go_back_with_the_others_is_said_to_be_just_that(sim: Simulator, cli: Cli) -> None:
    shop(sim)
    sim.service("shop", "worker", containers=[container("app", "shop/job:1")])
    sim.image("shop/job:2").crashes(after_s=2)
    sim.world.at(60, lambda: sim.image("shop/app:1").crashes(after_s=1))

    result = cli("app", "--image-tag", "2", "--skip-tasks", "--enable-rollback", "--output", "json")

    late = "the deployment was not complete within 120 seconds"
    assert result.code == Exit.FAILED
    said = result.err.splitlines()
    web = sim.services["shop", "web"].primary.id
    first = next(number for number, line in enumerate(said) if line.startswith("ERROR: The deployment"))
    assert said[first].endswith(
        " of service web is complete, but was to be rolled back with the others, and that failed."
    )
    assert said[first + 1 : first + 4] == [
        f"The service now points at {PREFIX}/web:1 ({web}).",
        "web:2 stays registered; once nothing uses it:",
        f"  aws ecs deregister-task-definition --task-definition {PREFIX}/web:2 --region us-east-1",
    ]
    assert said[first + 4].startswith("ERROR: The deployment ")
    assert result.err.splitlines()[-3:] == [
        "Report on services: total: 2, successful: 0, skipped: 0, failed: 2",
        "  web: not rolled back, though that was to be",
        f"  worker: {late}",
    ]
    assert ended(result) == [
        ("web", "not rolled back, though that was to be", "completed", 21), ("worker", late, "timed out", 20),
    ]  # fmt: skip


def test_an_update_that_is_refused_takes_the_others_back_too(sim: Simulator, cli: Cli) -> None:
    shop(sim)

    def refuse(_index: int, operation: str, params: Json) -> AwsError | None:
        if operation == "UpdateService" and params["service"] == "worker":
            return AwsError("AccessDeniedException", "no")
        return None

    sim.on_call = refuse

    result = cli("app", "--image-tag", "2", "--skip-tasks", "--enable-rollback", "--output", "json")

    said = "AWS denied UpdateService: no"
    assert result.code == Exit.FAILED
    assert sim.running("shop", "web") == {"shop/app:1": 1, "envoy:3": 1}
    assert sim.active_revisions("worker") == [1], "the revision that no service uses is gone again"
    assert f"  worker: {said}" in result.err.splitlines()
    assert ended(result) == [("web", "rolled back", "completed", 20), ("worker", said, "error", 24)]
    advice = "Allow ecs:UpdateService in the IAM policy of these credentials."
    worker = json.loads(result.out)["parts"][1]
    assert (worker["error"], worker["hint"]) == (said, advice)
    assert f"ERROR: worker: {said}\n{advice}\n" in result.err


def test_a_registration_that_fails_takes_the_earlier_ones_back(sim: Simulator, cli: Cli) -> None:
    shop(sim)

    def refuse(_index: int, operation: str, params: Json) -> AwsError | None:
        if operation == "RegisterTaskDefinition" and params["family"] == "worker":
            return AwsError("ClientException", "no")
        return None

    sim.on_call = refuse

    result = cli("app", "--image-tag", "2", "--skip-tasks")

    assert result.code == Exit.AWS
    assert "UpdateService" not in result.changes
    assert sim.active_revisions("web") == [1]


def test_fifty_services_cost_five_describe_services_a_tick(sim: Simulator, cli: Cli) -> None:
    names = [f"s{number:02}" for number in range(50)]
    for name in names:
        sim.service("shop", name, containers=[container("app", "shop/app:1")])
    services = [{"name": name, "containers": ["app"]} for name in names]
    Path("app.json").write_text(json.dumps({"version": "v1", "cluster": "shop", "services": services}))
    sim.throttles = True

    result = cli("app", "-t", "2", "-f", "app.json")

    assert result.code == Exit.OK
    at = [call.at_s for call in result.calls if call.operation == "DescribeServices"]
    assert all(len(params["services"]) <= 10 for params in result.requests("DescribeServices"))
    assert all(count <= 5 for moment, count in Counter(at).items() if moment > at[0])
    assert all(sim.running("shop", name) == {"shop/app:2": 1} for name in names)


def test_a_dry_run_says_what_would_be_done_and_changes_nothing(sim: Simulator, cli: Cli) -> None:
    shop(sim)

    result = cli("app", "--image-tag", "2", "--dry-run")

    assert result.code == Exit.OK
    assert result.changes == []
    assert result.lines == [
        "Would run pre migrate (migrate:1)",
        "  ~ app: image shop/tool:1 -> shop/tool:2",
        "Would update web (web:1)",
        "  ~ app: image shop/app:1 -> shop/app:2",
        "Would update worker (worker:1)",
        "  ~ app: image shop/app:1 -> shop/app:2",
        "Would run post announce (announce:1)",
        "  ~ app: image shop/tool:1 -> shop/tool:2",
        "Dry run: nothing was changed.",
    ]
    assert cli("app", "--image-tag", "1", "--dry-run", "--skip-tasks").lines == [
        "Would leave web (web:1)",
        "  nothing changes",
        "Would leave worker (worker:1)",
        "  nothing changes",
        "Dry run: nothing was changed.",
    ]


def test_the_json_document_lists_every_part(sim: Simulator, cli: Cli) -> None:
    shop(sim)

    document = json.loads(cli("app", "--image-tag", "2", "--output", "json").out)

    assert document["exit_code"] == 0
    assert [(part["name"], part["result"]) for part in document["parts"]] == [
        ("pre migrate", "successful"),
        ("web", "successful"),
        ("worker", "successful"),
        ("post announce", "successful"),
    ]
    assert [part["verdict"] for part in document["parts"]] == ["completed"] * 4


def test_the_json_document_says_what_was_not_finished_when_it_was_interrupted(sim: Simulator, cli: Cli) -> None:
    shop(sim)
    sim.image("shop/app:2").starts_after(500)
    sim.world.at(30, lambda: signal.raise_signal(signal.SIGTERM))

    result = cli("app", "-t", "2", "--skip-tasks", "--output", "json")

    assert result.code == Exit.SIGTERM
    document = json.loads(result.out)
    assert (document["error"], document["exit_code"]) == ("interrupted", Exit.SIGTERM)
    assert [(part["name"], part["result"]) for part in document["parts"]] == [
        ("web", "not finished"), ("worker", "not finished"),
    ]  # fmt: skip
    assert not [part for part in document["parts"] if "verdict" in part or "exit_code" in part]


def test_the_json_document_says_of_each_part_how_it_ended(sim: Simulator, cli: Cli) -> None:
    shop(sim)
    sim.service("shop", "worker", containers=[container("app", "shop/job:1")])
    sim.image("shop/job:2").crashes(after_s=2)

    failed = ended(cli("app", "-t", "2", "--skip-tasks", "--output", "json"))
    back = ended(cli("app", "-t", "3", "--skip-tasks", "--output", "json"))
    unchanged = ended(cli("app", "-t", "3", "--skip-tasks", "--output", "json"))

    late = "the deployment was not complete within 120 seconds"
    assert failed == [("web", "successful", "completed", 0), ("worker", late, "timed out", 22)]
    assert back == [("web", "successful", "completed", 0), ("worker", "successful", "completed", 0)]
    assert unchanged == [("web", "skipped", "completed", 0), ("worker", "skipped", "completed", 0)]


def test_on_a_terminal_progress_is_a_table_of_all_services(sim: Simulator, cli: Cli) -> None:
    shop(sim)
    sim.world.at(2.5, lambda: sim.services["shop", "web"].add_event("short"))

    result = cli("app", "--image-tag", "2", "--skip-tasks", tty=True)

    tables = progress_of(result.screens)
    assert result.code == Exit.OK
    assert tables[0] == [
        "[   0 s] web:    new: 0 running, 0 pending of 1; old: 1 running",
        "[   0 s] worker: new: 0 running, 0 pending of 1; old: 1 running",
    ]
    assert {len(table) for table in tables} == {2}
    assert [line for line in result.screens[-1] if "short" in line] == ["web: event: short"]


def test_the_table_fits_a_terminal_and_its_columns_line_up(sim: Simulator, cli: Cli) -> None:
    shop(sim)
    sim.services["shop", "worker"].desired_count = 12

    result = cli("app", "--image-tag", "2", "--skip-tasks", tty=True, env={"COLUMNS": "80"})

    for table in progress_of(result.screens):
        assert max(map(len, table)) < 80
        assert len({row.index("new:") for row in table}) == len({row.index("old:") for row in table}) == 1
        assert [row.count(name) for row, name in zip(table, ["web", "worker"], strict=False)] == [1] * len(table)


def test_tasks_get_the_network_and_the_capacity_providers_of_the_file(sim: Simulator, cli: Cli) -> None:
    shop(sim)
    sim.task_definition("migrate", containers=[container("app", "shop/app:1")], networkMode="awsvpc")
    task = {
        "family": "migrate",
        "count": 1,
        "containers": ["app"],
        "capacity_provider_strategies": [
            {"capacity_provider": "FARGATE", "base": 1, "weight": 1},
            {"capacity_provider": "FARGATE_SPOT", "weight": 3},
        ],
        "network_configuration": {
            "vpc_configuration": {"assign_public_ip": True, "security_groups": ["sg-1"], "subnets": ["subnet-1"]}
        },
    }
    Path("app.json").write_text(json.dumps({"version": "v1", "cluster": "shop", "tasks": {"pre": [task]}}))

    result = cli("app", "-t", "2", "-f", "app.json")

    assert result.code == Exit.OK
    (request,) = result.requests("RunTask")
    assert request["capacityProviderStrategy"] == [
        {"capacityProvider": "FARGATE", "base": 1, "weight": 1},
        {"capacityProvider": "FARGATE_SPOT", "weight": 3},
    ]
    assert request["networkConfiguration"] == {
        "awsvpcConfiguration": {"assignPublicIp": "ENABLED", "securityGroups": ["sg-1"], "subnets": ["subnet-1"]}
    }


WRONG = """\
version: v2
cluster: shop
tasks:
  pre:
    - family: migrate
      count: 0
      containers: app
      launch_type: ec2
      capacity_provider_strategies: []
      colour: red
    - family: two
      count: 1
      containers: [app]
      launch_type: ec2
      capacity_provider_strategies:
        - {capacity_provider: A, base: 1}
        - {capacity_provider: B, base: 1}
services:
  - name: web
    containers: []
  - containers: [app]
    force: 1
"""


def test_every_mistake_in_the_file_is_reported_at_once_with_path_and_line(sim: Simulator, cli: Cli) -> None:
    Path(".ecs-deploy.yml").write_text(WRONG)

    result = cli("app", "-t", "2")

    assert result.code == Exit.USAGE
    assert result.operations == []
    assert result.err.splitlines() == [
        "ERROR: The application file is wrong:",
        "  version: v2 is not v1 (line 1)",
        "  tasks.pre[0].count: 0 where there should be between 1 and 10 (line 6)",
        "  tasks.pre[0].containers: expected a list, got text (line 7)",
        "  tasks.pre[0].colour: unknown key; the known ones are family, count, containers, launch_type,"
        " capacity_provider_strategies, network_configuration (line 10)",
        "  tasks.pre[1].capacity_provider_strategies: not together with launch_type (line 15)",
        "  tasks.pre[1].capacity_provider_strategies: only one capacity provider may have a base (line 15)",
        "  services[0].containers: 0 entries where there should be 1 or more (line 20)",
        "  services[1].name: missing (line 21)",
        "  services[1].force: expected true or false, got a whole number (line 22)",
    ]


TWICE = "version: v1\ncluster: c\nservices: [{name: a, containers: [x]}, {name: a, containers: [x]}]"
NO_CLUSTER = "The application file is wrong:\n  cluster: missing; name it here or with --cluster (line 1)"


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        (
            "a.json",
            '{"version": "v1",\n "cluster": 3}',
            "The application file is wrong:\n  cluster: expected text, got a whole number",
        ),
        (
            "broken.json",
            '{"version":\n',
            "The application file is not JSON: Expecting value: line 2 column 1 (char 12)",
        ),
        ("deep.json", "[" * 100_000, "The application file is nested too deeply"),
        (
            "order.json",
            '{"version": "v2", "cluster": 3, "aside": 1}',
            "The application file is wrong:\n"
            "  aside: unknown key; the known ones are version, cluster, tasks, services\n"
            "  version: v2 is not v1\n  cluster: expected text, got a whole number",
        ),
        (
            "broken.yml",
            "version: v1\na: [1\nb",
            "The application file is not YAML: line 3 column 2: expected ',' or ']', but got '<stream end>'",
        ),
        (
            "key-twice.yml",
            "version: v1\nversion: v1\n",
            "The application file is wrong:\n  version: is there twice (line 1)",
        ),
        (
            "empty.yml",
            "",
            "The application file is wrong:\n  the file: expected a table of keys, got NoneType (line 1)",
        ),
        (
            "texts.yml",
            "version: v1\ncluster: c\nservices: [web, worker]\n",
            "The application file is wrong:\n"
            "  services[0]: expected a table of keys, got text (line 3)\n"
            "  services[1]: expected a table of keys, got text (line 3)",
        ),
        ("no-cluster.yml", "version: v1\n", NO_CLUSTER),
        ("service-twice.yml", TWICE, "The application file is wrong:\n  services[1].name: a is there twice (line 3)"),
    ],
)
def test_a_file_that_cannot_be_used_is_a_usage_error(sim: Simulator, cli: Cli, name: str, text: str, said: str) -> None:
    Path(name).write_text(text)

    result = cli("app", "-t", "2", "-f", name)

    assert result.code == Exit.USAGE
    assert result.err == f"ERROR: {said}\n"
    assert result.operations == []


def test_each_key_that_has_to_be_there_is_named_where_it_is_missing(sim: Simulator, cli: Cli) -> None:
    bare = {"capacity_provider_strategies": [{}], "network_configuration": {"vpc_configuration": {}}}
    tasks = {"pre": [bare], "post": [{"network_configuration": {}}]}
    Path("a.json").write_text(json.dumps({"tasks": tasks, "services": [{}]}))

    result = cli("app", "-t", "2", "-f", "a.json")

    assert result.code == Exit.USAGE
    assert result.err.splitlines()[1:] == [
        "  version: missing",
        "  tasks.pre[0].family: missing",
        "  tasks.pre[0].count: missing",
        "  tasks.pre[0].containers: missing",
        "  tasks.pre[0].capacity_provider_strategies[0].capacity_provider: missing",
        "  tasks.pre[0].network_configuration.vpc_configuration.security_groups: missing",
        "  tasks.pre[0].network_configuration.vpc_configuration.subnets: missing",
        "  tasks.post[0].family: missing",
        "  tasks.post[0].count: missing",
        "  tasks.post[0].containers: missing",
        "  tasks.post[0].network_configuration.vpc_configuration: missing",
        "  services[0].name: missing",
        "  services[0].containers: missing",
    ]


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        pytest.param("count", True, "expected a whole number, got true or false", id="a flag for a number"),
        pytest.param("count", {}, "expected a whole number, got a table of keys", id="a table for a number"),
        pytest.param("count", 1.5, "expected a whole number, got float", id="a fraction"),
        pytest.param("family", ["migrate"], "expected text, got a list", id="a list for a text"),
        pytest.param("network_configuration", "x", "expected a table of keys, got text", id="a text for a table"),
        pytest.param("launch_type", "lambda", "lambda is not ec2 or fargate or external", id="no launch type"),
    ],
)
def test_a_value_of_another_kind_is_refused(sim: Simulator, cli: Cli, key: str, value: object, said: str) -> None:
    task = {"family": "migrate", "count": 1, "containers": ["app"], key: value}
    Path("a.json").write_text(json.dumps({"version": "v1", "cluster": "shop", "tasks": {"post": [task]}}))

    result = cli("app", "-t", "2", "-f", "a.json")

    assert (result.code, result.operations) == (Exit.USAGE, [])
    assert result.err.splitlines()[1:] == [f"  tasks.post[0].{key}: {said}"]


@pytest.mark.parametrize("launch_type", ["ec2", "Fargate", "EXTERNAL"])
def test_a_task_gets_the_launch_type_of_the_file_and_no_public_address_unasked(
    sim: Simulator, cli: Cli, launch_type: str
) -> None:
    shop(sim)
    sim.task_definition("migrate", containers=[container("app", "shop/app:1")], networkMode="awsvpc")
    network = {"vpc_configuration": {"security_groups": ["sg-1"], "subnets": ["subnet-1"]}}
    task = {"family": "migrate", "count": 1, "containers": ["app"], "network_configuration": network}
    application = {"version": "V1", "cluster": "shop", "tasks": {"pre": [{**task, "launch_type": launch_type}]}}
    Path("app.json").write_text(json.dumps(application))

    result = cli("app", "-t", "2", "-f", "app.json")

    assert result.code == Exit.OK
    (request,) = result.requests("RunTask")
    assert request["launchType"] == launch_type.upper()
    assert request["networkConfiguration"]["awsvpcConfiguration"]["assignPublicIp"] == "DISABLED"
    assert "capacityProviderStrategy" not in request


TOML = """\
version = "v1"
cluster = "shop"

[[services]]
name = "web"
containers = ["app"]

[[tasks.pre]]
family = "migrate"
count = 11
containers = ["app"]

[tasks.pre.network_configuration.vpc_configuration]
subnets = []
security_groups = ["sg-1"]
"""


def test_toml_is_read_and_its_mistakes_have_paths(sim: Simulator, cli: Cli) -> None:
    pytest.importorskip("tomllib", reason="TOML needs Python 3.11")
    Path("a.toml").write_text(TOML)

    result = cli("app", "-t", "2", "-f", "a.toml")

    assert result.code == Exit.USAGE
    assert result.err.splitlines()[1:] == [
        "  tasks.pre[0].count: 11 where there should be between 1 and 10",
        "  tasks.pre[0].network_configuration.vpc_configuration.subnets:"
        " 0 entries where there should be between 1 and 16",
    ]
    Path("a.toml").write_text("version = ")
    result = cli("app", "-t", "2", "-f", "a.toml")
    assert result.code == Exit.USAGE
    assert result.err.startswith("ERROR: The application file is not TOML: ")


@pytest.mark.parametrize(
    ("argv", "code", "said"),
    [
        pytest.param([], Exit.NOTHING_TO_DO, "--image-tag is required: -t/--image-tag TAG", id="no tag"),
        pytest.param(
            ["-t", "2"],
            Exit.USAGE,
            "There is no application file here: none of"
            " .ecs-toolkit.yml, .ecs-deploy.yml, .ecs-deploy.json, .ecs-deploy.toml\nGive --config FILE.",
            id="no file",
        ),
        pytest.param(
            ["-t", "2", "-f", "none.yml"],
            Exit.USAGE,
            "none.yml cannot be read: No such file or directory",
            id="not there",
        ),
        pytest.param(["-t", "a b"], Exit.BAD_IMAGE, "Unable to parse image tag: a b", id="not a tag"),
        pytest.param(
            ["-t", "2", "-k", "K"],
            Exit.USAGE,
            "-k/--aws-access-key and -s/--aws-secret-key must be given together",
            id="half the credentials",
        ),
    ],
)
def test_wrong_arguments_are_usage_errors(sim: Simulator, cli: Cli, argv: list[str], code: Exit, said: str) -> None:
    result = cli("app", *argv)

    assert result.code == code
    assert result.err == f"ERROR: {said}\n"
    assert result.operations == []


def test_the_cluster_of_the_command_line_wins(sim: Simulator, cli: Cli) -> None:
    shop(sim, SHOP.replace("cluster: shop", "cluster: elsewhere"))

    assert cli("app", "-t", "2", "--skip-tasks", "--cluster", "shop").code == Exit.OK
    missing = cli("app", "-t", "3", "--skip-tasks")
    assert missing.code == Exit.AWS
    assert "The cluster elsewhere was not found in us-east-1\nThe clusters in us-east-1: shop" in missing.err


@pytest.mark.parametrize(("name", "module", "said"), [
    (".ecs-deploy.yml", "yaml", [
        "ERROR: To read YAML, PyYAML is needed, and it is not installed",
        "pip install pyyaml, or write the file as .ecs-deploy.json or .ecs-deploy.toml.",
    ]),
    (".ecs-deploy.toml", "tomllib", [
        "ERROR: To read TOML, Python 3.11 is needed",
        "Write the file as .ecs-deploy.json, or as YAML.",
    ]),
])  # fmt: skip
def test_a_reader_that_is_not_installed_is_named(
    sim: Simulator, cli: Cli, monkeypatch: pytest.MonkeyPatch, name: str, module: str, said: list[str]
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    Path(name).write_text("")

    result = cli("app", "-t", "2")

    assert result.code == Exit.REQUIREMENT
    assert result.err.splitlines() == said


def test_the_table_is_no_longer_than_the_screen(sim: Simulator, cli: Cli) -> None:
    names = [f"s{number}" for number in range(9)]
    for name in names:
        sim.service("shop", name, containers=[container("app", "shop/app:1")])
    services = [{"name": name, "containers": ["app"]} for name in names]
    Path("app.json").write_text(json.dumps({"version": "v1", "cluster": "shop", "services": services}))

    result = cli("app", "-t", "2", "-f", "app.json", tty=True, env={"LINES": "6", "COLUMNS": "100"})

    *most, others = zip(*progress_of(result.screens), strict=True)
    assert result.code == Exit.OK
    assert [{row[9:11] for row in rows} for rows in most] == [{"s0"}, {"s1"}, {"s2"}]
    assert set(others) == {"… and 6 more"}


def test_interrupted_it_names_what_goes_on_and_not_what_is_done(sim: Simulator, cli: Cli) -> None:
    shop(sim, SHOP + "  - name: api\n    containers: [app]\n")
    breaker = {"deploymentCircuitBreaker": {"enable": True, "rollback": False}}
    sim.service("shop", "worker", containers=[container("app", "shop/job:1")])
    sim.service("shop", "api", containers=[container("app", "shop/api:1")], deploymentConfiguration=breaker)
    sim.image("shop/job:2").starts_after(500)
    sim.image("shop/api:2").crashes(after_s=1)
    sim.world.at(sim.world.now_s + 60, lambda: os.kill(os.getpid(), signal.SIGTERM))

    result = cli("app", "-t", "2", "--skip-tasks")

    undo = "To undo it:\n  aws ecs update-service --cluster shop --service"
    assert result.code == Exit.SIGTERM
    assert re.sub(r"ecs-svc/\d+", "ecs-svc/…", result.err[result.err.index("SIGTERM: ") :]) == (
        "SIGTERM: deployment ecs-svc/… of service api has failed; the service points at "
        f"{PREFIX}/api:2. That is as last seen, 44 s ago.\n"
        f"{undo} api --task-definition {PREFIX}/api:1 --region us-east-1\n"
        f"SIGTERM: deployment ecs-svc/… of service worker goes on, to {PREFIX}/worker:3. That is as last seen,"
        f" 1 s ago.\n{undo} worker --task-definition {PREFIX}/worker:2 --region us-east-1\n"
        f"SIGTERM: deployment ecs-svc/… of service web is complete, on {PREFIX}/web:2. That is as last seen,"
        f" 47 s ago.\n{undo} web --task-definition {PREFIX}/web:1 --region us-east-1\n"
        "Interrupted.\n"
    )


def test_an_application_without_parts_is_a_usage_error(sim: Simulator, cli: Cli) -> None:
    sim.cluster("shop")
    Path("a.yml").write_text("version: v1\ncluster: shop\nservices: []\n")

    result = cli("app", "-t", "2", "-f", "a.yml")

    assert result.code == Exit.NOTHING_TO_DO
    assert result.err == "ERROR: The application has no services, and no tasks that are not skipped\n"


def test_interrupted_with_rollback_it_takes_back_what_is_complete_as_well(sim: Simulator, cli: Cli) -> None:
    shop(sim)
    sim.service("shop", "worker", containers=[container("app", "shop/job:1")])
    sim.image("shop/job:2").starts_after(500)
    sim.world.at(sim.world.now_s + 60, lambda: os.kill(os.getpid(), signal.SIGTERM))

    result = cli("app", "-t", "2", "--skip-tasks", "--enable-rollback")

    assert result.code == Exit.SIGTERM
    assert "web: Service deployment successful." in result.lines
    assert [r["service"] for r in result.requests("UpdateService")] == ["web", "worker", "worker", "web"]
    sim.advance(100)
    assert sim.running("shop", "web") == {"shop/app:1": 1, "envoy:3": 1}
    assert sim.running("shop", "worker") == {"shop/job:1": 1}


def test_interrupted_it_says_nothing_of_what_it_left_alone(sim: Simulator, cli: Cli) -> None:
    shop(sim)
    sim.service("shop", "worker", containers=[container("app", "shop/job:2")])
    sim.image("shop/app:2").starts_after(500)
    sim.world.at(sim.world.now_s + 60, lambda: os.kill(os.getpid(), signal.SIGTERM))

    result = cli("app", "-t", "2", "--skip-tasks")

    assert result.code == Exit.SIGTERM
    assert "worker: unchanged, and stable" in result.lines
    assert "of service web goes on" in result.err
    assert "of service worker" not in result.err


def test_interrupted_between_two_updates_it_names_the_first_and_discards_the_rest(sim: Simulator, cli: Cli) -> None:
    shop(sim)

    def stop(_index: int, operation: str, _params: Json) -> None:
        if operation == "UpdateService":
            os.kill(os.getpid(), signal.SIGTERM)

    sim.on_call = stop

    result = cli("app", "-t", "2", "--skip-tasks")

    assert result.code == Exit.SIGTERM
    assert "of service web goes on" in result.err
    assert result.changes.count("UpdateService") == 1
    assert sim.active_revisions("worker") == [1]
    assert sim.active_revisions("web") == [1, 2]


def test_a_revision_is_kept_where_the_update_may_have_worked(sim: Simulator, cli: Cli) -> None:
    shop(sim)

    def lose(_index: int, operation: str, params: Json) -> Fault | None:
        if operation == "UpdateService" and params["service"] == "worker":
            return Fault.DROP_AFTER
        return Fault.SERVER_ERROR if params.get("services") == ["worker"] else None

    sim.on_call = lose

    result = cli("app", "-t", "2", "--skip-tasks")

    assert result.code == Exit.FAILED
    assert sim.active_revisions("worker") == [1, 2]


def test_a_task_is_waited_for_though_another_cannot_be_started(sim: Simulator, cli: Cli) -> None:
    shop(sim)
    tasks = [{"family": family, "count": 1, "containers": ["app"]} for family in ("migrate", "announce")]
    Path("app.json").write_text(json.dumps({"version": "v1", "cluster": "shop", "tasks": {"pre": tasks}}))
    sim.fail_run_task("RESOURCE:MEMORY")

    result = cli("app", "-t", "2", "-f", "app.json")

    assert result.code == Exit.FAILED
    assert result.lines[-2:] == [
        "Report on tasks before: total: 2, successful: 1, skipped: 0, failed: 1",
        "  pre migrate: 0 of 1 tasks were started: 1 × RESOURCE:MEMORY",
    ]
