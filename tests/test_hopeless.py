"""As soon as it is hopeless: what cannot heal by itself ends the wait, and what may heal never does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Cli
from tests.simulator import Simulator
from tests.simulator.behaviours import ContainerRun
from tests.vocabulary import BREAKER, DEPLOY, PREFIX, last_paragraph

REFUSED = "User: arn:aws:sts::123456789012:assumed-role/task/1 is not authorized to perform"
UNPREPARED = (
    "ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval failed:"
)
AWSLOGS = "failed to create Cloudwatch log stream: ResourceNotFoundException: The specified log group does not exist."
NO_MATCH = "was unable to place a task because no container instance met all of its requirements. The closest matching "
HOPELESS = {
    "no tag, containerd": (
        "CannotPullContainerError: pull image manifest has been retried 5 time(s): failed to resolve ref"
        " docker.io/app:2: docker.io/app:2: not found",
        "the image cannot be pulled, there is none",
    ),
    "no tag, docker": (
        "CannotPullContainerError: Error response from daemon: manifest for app:2 not found: manifest unknown: manifest"
        " unknown",
        "the image cannot be pulled, there is none",
    ),
    "no repository": (
        "CannotPullContainerError: Error response from daemon: repository"
        " 123456789012.dkr.ecr.us-east-1.amazonaws.com/app not found: name unknown: The repository with name 'app' does"
        " not exist in the registry with id '123456789012'",
        "the image cannot be pulled, there is none",
    ),
    "another platform, containerd": (
        "CannotPullContainerError: image Manifest does not contain descriptor matching platform 'linux/amd64'",
        "it is for another platform",
    ),
    "another platform, docker": (
        "CannotPullContainerError: Error response from daemon: no matching manifest for linux/arm64/v8 in the manifest"
        " list entries",
        "it is for another platform",
    ),
    "a refused pull, ECR": (
        f"CannotPullECRContainerError: AccessDeniedException: {REFUSED}: ecr:BatchGetImage on resource: app",
        "the registry refuses it",
    ),
    "a refused pull, elsewhere": (
        "CannotPullContainerError: Error response from daemon: pull access denied for app, repository does not exist or"
        " may require 'docker login': denied: requested access to the resource is denied",
        "the registry refuses it",
    ),
    "no secret": (
        f"{UNPREPARED} unable to retrieve secret from asm: service call has been retried 1 time(s): failed to fetch"
        " secret arn:x from asm: ResourceNotFoundException: Secrets Manager can't find the specified secret.",
        "a secret or parameter of the definition does not exist",
    ),
    "no parameter, Fargate": (
        f"{UNPREPARED} unable to retrieve secrets from ssm: service call has been retried 1 time(s): invalid ssm"
        " parameters: /app/key",
        "a secret or parameter of the definition does not exist",
    ),
    "no parameter, EC2": (
        "Fetching secret data from SSM Parameter Store in us-east-1: invalid parameters: /app/key",
        "a secret or parameter of the definition does not exist",
    ),
    "a refused secret": (
        f"{UNPREPARED} unable to retrieve secret from asm: AccessDeniedException: {REFUSED}:"
        " secretsmanager:GetSecretValue on resource: arn:x",
        "execution role is refused",
    ),
    "no log group, Fargate": (
        "ResourceInitializationError: failed to validate logger args: create stream has been retried 1 times:"
        f" {AWSLOGS} : exit status 1",
        "a log group of the definition does not exist",
    ),
    "no log group, EC2": (
        f"CannotStartContainerError: Error response from daemon: failed to initialize logging driver: {AWSLOGS}",
        "a log group of the definition does not exist",
    ),
    "exec format error": (
        "CannotStartContainerError: Error response from daemon: failed to create task for container: exec format error",
        "another CPU architecture",
    ),
}


@pytest.mark.parametrize(("stopped", "reason"), HOPELESS.values(), ids=HOPELESS)
def test_two_tasks_with_a_reason_that_does_not_pass_end_the_wait(
    sim: Simulator, cli: Cli, stopped: str, reason: str
) -> None:
    sim.service("prod", "web", image="app:1", desired_count=2)
    sim.image("app:2").cannot_be_pulled(stopped)

    result = cli(*DEPLOY, "-t", "300")

    assert result.code == 1
    assert reason in last_paragraph(result)[0]
    assert "; 2 tasks stopped for that, and waiting does not help." in last_paragraph(result)[0]
    assert reason in last_paragraph(result)[1]
    assert sim.world.now_s <= 4


def test_one_task_is_not_enough(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")
    sim.image("app:2").cannot_be_pulled()
    sim.world.at(3, lambda: sim.repair("app:2"))

    assert cli(*DEPLOY, "-t", "300").code == 0


@pytest.mark.parametrize("where", ["reason", "log"])
def test_a_refused_execution_is_hopeless_although_it_ran_for_a_moment(sim: Simulator, cli: Cli, where: str) -> None:
    logs = {"logDriver": "awslogs", "options": {"awslogs-group": "/ecs/web", "awslogs-stream-prefix": "ecs"}}
    container = {"name": "web", "image": "app:1", "memory": 64, "logConfiguration": logs}
    sim.service("prod", "web", containers=[container], desired_count=2)
    said = "exec /app: exec format error"
    sim.image("app:2").crashes(after_s=0.5, exit_code=255, reason=said if where == "reason" else "")
    sim.image("app:2").logs([said] if where == "log" else [])

    result = cli(*DEPLOY, "-t", "300")

    assert result.code == 1
    assert "another CPU architecture; 2 tasks stopped for that" in last_paragraph(result)[0]
    assert sim.world.now_s < 20


def test_two_events_where_no_task_is_started_end_the_wait(sim: Simulator, cli: Cli) -> None:
    service = sim.service("prod", "web", image="app:1")
    sim.image("app:2").cannot_be_placed()
    said = f'{NO_MATCH}(container-instance 1) encountered error "MemberOf placement constraint unsatisfied.".'
    sim.world.at(1, lambda: service.add_event(said))
    sim.world.at(5, lambda: service.add_event(said))

    result = cli(*DEPLOY, "-t", "300")

    assert result.code == 1
    assert "no instance meets the placement constraints; ECS said so 2 times" in last_paragraph(result)[0]
    assert sim.world.now_s < 10


def test_events_beside_a_task_that_is_started_do_not_end_the_wait(sim: Simulator, cli: Cli) -> None:
    service = sim.service("prod", "web", image="app:1")
    sim.image("app:2").starts_after(30)
    said = f'{NO_MATCH}(container-instance 1) encountered error "MemberOf placement constraint unsatisfied.".'
    for at_s in (1, 5, 9):
        sim.world.at(at_s, lambda: service.add_event(said))

    assert cli(*DEPLOY, "-t", "300").code == 0


def test_what_stopped_before_tells_nothing_of_a_service_that_is_left_as_it_is(
    sim: Simulator, cli: Cli, tmp_path: Path
) -> None:
    sim.service("prod", "web", image="app:1", desired_count=2, deploymentConfiguration={"minimumHealthyPercent": 0})
    sim.image("app:2").cannot_be_pulled()
    sim.someone_deploys("prod", "web", "app:2")
    sim.advance(4)
    sim.repair("app:2")
    sim.image("app:2").starts_after(20)
    file = tmp_path / "app.json"
    file.write_text('{"version": "v1", "cluster": "prod", "services": [{"name": "web", "containers": ["web"]}]}')

    result = cli("app", "-f", str(file), "-t", "2")

    assert result.code == 0
    assert result.changes == []


@pytest.mark.parametrize("in_total", ["2", "0"])
def test_fail_fast_counts_beside_it_and_0_turns_both_off(sim: Simulator, cli: Cli, in_total: str) -> None:
    sim.service("prod", "web", image="app:1", desired_count=2)
    sim.image("app:2").cannot_be_pulled()
    sim.world.at(100, lambda: sim.repair("app:2"))

    result = cli(*DEPLOY, "-t", "300", "--fail-fast", in_total)

    assert result.code == (0 if in_total == "0" else 1)
    assert (sim.world.now_s > 100) == (in_total == "0")
    assert ("(--fail-fast)" in result.err) == (in_total == "2")


# --- The way back


def test_it_is_rolled_back_and_the_first_reason_stays_first(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1", desired_count=2)
    sim.image("app:2").cannot_be_pulled()

    result = cli(*DEPLOY, "-t", "300", "--enable-rollback")

    cause = "the image cannot be pulled, there is none of that name and tag"
    of_web = f"The deployment {result.requests('ListTasks')[0]['startedBy']} of service web"
    assert result.code == 20
    assert last_paragraph(result) == [
        f"ERROR: {of_web} failed and was rolled back: {cause}; 2 tasks stopped for that, and waiting does not help.",
        f"Likeliest cause: {cause}.",
        "Failed after 3 s; 2 tasks stopped.",
        "2 × TaskFailedToStart: CannotPullContainerError: pull image manifest has been retried 5 time(s):"
        " failed to resolve ref app:2: app:2: not found",
        "The service is back on web:1.",
        "Push it, or correct the image's name, and deploy again.",
    ]
    assert sim.running("prod", "web") == {"app:1": 2}


def test_a_way_back_that_is_hopeless_is_given_up_too(sim: Simulator, cli: Cli) -> None:
    service = sim.service("prod", "web", image="app:1", desired_count=2)
    sim.image("app:2").cannot_be_pulled()

    def image_is_gone() -> None:
        sim.image("app:1").cannot_be_pulled()
        for task in [*service.deployments[-1].tasks.values()]:
            task.stop("UserInitiated", "gone")

    sim.world.at(2, image_is_gone)

    result = cli(*DEPLOY, "-t", "300", "--enable-rollback")

    assert result.code == 21
    assert "did not complete: the image cannot be pulled, there is none of that name and tag" in result.err
    assert sim.world.now_s < 30


@pytest.mark.parametrize("updated", [True, False], ids=["its update is told", "only its creation is told"])
def test_tasks_that_stopped_before_are_none_of_the_way_back(sim: Simulator, cli: Cli, updated: bool) -> None:
    """ECS goes back to a deployment whose tasks could not be pulled once, and for a while none of its tasks run."""
    alone = {**BREAKER, "minimumHealthyPercent": 0, "maximumPercent": 100}
    service = sim.service("prod", "web", image="app:1", desired_count=2, deploymentConfiguration=alone)
    sim.image("app:1").cannot_be_pulled()
    for task in [*service.primary.tasks.values()]:
        task.stop("UserInitiated", "to start it anew")
    sim.advance(4)
    sim.repair("app:1")
    sim.advance(60)
    assert sim.running("prod", "web") == {"app:1": 2}
    sim.image("app:1").starts_after(20)
    sim.image("app:2").crashes(after_s=1)
    for after_s in range(60):
        sim.world.at(sim.world.now_s + after_s, lambda: service.add_event("is unhealthy"))

    def untold(_index: int, _operation: str, _params: Any) -> None:
        for deployment in service.deployments if not updated else ():
            deployment.updated_s = deployment.created_s

    sim.world.on_call = untold

    result = cli(*DEPLOY, "-t", "300", "--enable-rollback")

    assert result.code == 20
    assert sim.running("prod", "web") == {"app:1": 2}


def test_once_a_task_ran_it_is_not_hopeless_however_it_ended(sim: Simulator, cli: Cli) -> None:
    service = sim.service("prod", "web", image="app:1", health_check=True)
    sim.image("app:2").healthy_after(100)

    def lose_it() -> None:
        sim.image("app:2").cannot_be_pulled()
        for task in [*service.primary.tasks.values()]:
            task.stop("UserInitiated", "by somebody")

    sim.world.at(5, lose_it)
    sim.world.at(60, lambda: sim.repair("app:2"))

    assert cli(*DEPLOY, "-t", "300").code == 0
    assert sim.world.now_s > 60


def test_the_way_back_of_a_native_strategy_is_not_given_up(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1", deploymentConfiguration={"strategy": "BLUE_GREEN"}, desired_count=2)
    sim.image("app:2").cannot_be_pulled()

    result = cli(*DEPLOY, "-t", "300", "--enable-rollback")

    assert result.code == 20
    assert sim.running("prod", "web") == {"app:1": 2}


# --- What looks hopeless, and heals

HEALING = {
    "the registry times out": "CannotPullContainerError: failed to resolve app:2: dial tcp 1.2.3.4:443: i/o timeout",
    "the registry is slow": "CannotPullContainerError: context deadline exceeded: app:2: not found",
    "the registry is down": "CannotPullContainerError: dial tcp 1.2.3.4:443: connect: connection refused",
    "the registry fails": "CannotPullContainerError: unexpected status from HEAD request: 503 Service Unavailable",
    "the registry is broken": "CannotPullContainerError: received unexpected HTTP status: 500 Internal Server Error",
    "the registry's gate is broken": "CannotPullContainerError: app:2: 502 Bad Gateway: not found",
    "throttled pulls": "CannotPullContainerError: toomanyrequests: You have reached your pull rate limit.",
    "throttled pulls, 429": "CannotPullContainerError: unexpected status code: 429 Too Many Requests",
    "a throttled secret": f"{UNPREPARED} unable to retrieve secret from asm: ThrottlingException: Rate exceeded",
    "the network at the first task": f'{UNPREPARED} RequestError: Post "https://ssm.aws": dial tcp: i/o timeout',
    "no name service": "CannotPullContainerError: dial tcp: lookup registry on 10.0.0.2:53: no such host",
    "an upload that expired": "CannotPullContainerError: failed to copy: httpReadSeeker: failed open: 403 Forbidden",
}


@pytest.mark.parametrize("stopped", HEALING.values(), ids=HEALING)
def test_what_may_pass_is_waited_for(sim: Simulator, cli: Cli, stopped: str) -> None:
    sim.service("prod", "web", image="app:1", desired_count=2)
    sim.image("app:2").cannot_be_pulled(stopped)
    sim.world.at(60, lambda: sim.repair("app:2"))

    assert cli(*DEPLOY, "-t", "300").code == 0
    assert sim.world.now_s > 60


@pytest.mark.parametrize(
    "said",
    [
        "Reason: No Container Instances were found in your cluster.",
        "The closest matching (container-instance 1) has insufficient memory available.",
        "The closest matching (container-instance 1) has insufficient CPU units available.",
        'The closest matching (container-instance 1) encountered error "DistinctInstance placement constraint'
        ' unsatisfied.".',
        "The closest matching (container-instance 1) is missing an attribute required by your task.",
        "Reason: Capacity is unavailable at this time. Please try again later or in a different availability zone.",
    ],
)
def test_capacity_that_comes_is_waited_for(sim: Simulator, cli: Cli, said: str) -> None:
    service = sim.service("prod", "web", image="app:1")
    sim.image("app:2").cannot_be_placed()
    for at_s in (1, 5, 20, 40):
        sim.world.at(at_s, lambda: service.add_event(f"was unable to place a task. {said}"))
    sim.world.at(60, lambda: sim.repair("app:2"))

    assert cli(*DEPLOY, "-t", "300").code == 0
    assert sim.world.now_s > 60


def first_fail(sim: Simulator, times: int, reason: str) -> None:
    """The first tasks of app:2 stop for that reason, the others run."""
    behaviour: Any = sim.image("app:2")
    left = [reason] * times
    next_run = behaviour.next_run

    def run(*, standalone: bool) -> ContainerRun:
        behaviour.pull_error = left.pop() if left else ""
        made: ContainerRun = next_run(standalone=standalone)
        return made

    behaviour.next_run = run


def test_as_long_as_one_task_runs_it_is_not_hopeless(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1", desired_count=3)
    first_fail(sim, 2, HOPELESS["no tag, docker"][0])

    assert cli(*DEPLOY, "-t", "300").code == 0


def test_a_task_that_ran_and_ended_by_itself_shows_that_it_can(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")
    sim.image("app:2").crashes(after_s=0.2)
    sim.world.at(4, lambda: sim.repair("app:2"))
    sim.world.at(4, lambda: first_fail(sim, 2, HOPELESS["no tag, docker"][0]))

    assert cli(*DEPLOY, "-t", "300").code == 0


def test_a_container_that_ends_with_its_own_code_is_not_hopeless(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1", desired_count=2)
    sim.image("app:2").crashes(after_s=1, exit_code=1).logs(["manifest unknown", "AccessDeniedException", "not found"])
    sim.world.at(60, lambda: sim.repair("app:2"))

    assert cli(*DEPLOY, "-t", "300").code == 0
    assert sim.world.now_s > 60


PAGES_OF = {1: 1, 2: 1, 3: 2}  # of the list of instances, which is asked for once


@pytest.mark.parametrize(("instances", "code"), [(1, 1), (2, 0), (3, 0)], ids=["the only one", "of two", "of several"])
def test_one_bad_host_counts_only_if_it_is_the_only_one(sim: Simulator, cli: Cli, instances: int, code: int) -> None:
    sim.instances.group("workers", "prod", desired=instances)
    sim.service("prod", "web", image="app:1")
    bad = sim.instances.registered("prod")[-1]
    sim.image("app:2").cannot_be_pulled(HOPELESS["exec format error"][0])
    for instance in sim.instances.registered("prod"):
        instance.container_status = "ACTIVE" if instance is bad else "DRAINING"

    def heal() -> None:
        sim.repair("app:2")
        for instance in sim.instances.registered("prod"):
            instance.container_status = "ACTIVE"

    sim.world.at(60, heal)

    result = cli(*DEPLOY, "-t", "300")

    assert result.code == code
    assert len(result.requests("ListContainerInstances")) == PAGES_OF[instances]


def test_where_the_instances_may_not_be_counted_it_is_waited_for(sim: Simulator, cli: Cli) -> None:
    sim.instances.group("workers", "prod", desired=1)
    sim.service("prod", "web", image="app:1")
    sim.image("app:2").cannot_be_pulled(HOPELESS["exec format error"][0])
    sim.deny("ecs:ListContainerInstances")
    sim.world.at(60, lambda: sim.repair("app:2"))

    assert cli(*DEPLOY, "-t", "300").code == 0


def test_on_two_hosts_it_is_hopeless(sim: Simulator, cli: Cli) -> None:
    sim.instances.group("workers", "prod", desired=3)
    sim.service("prod", "web", image="app:1", desired_count=2)
    sim.image("app:2").cannot_be_pulled(HOPELESS["exec format error"][0])

    result = cli(*DEPLOY, "-t", "300")

    assert result.code == 1
    assert "ListContainerInstances" not in result.operations
    assert sim.world.now_s <= 4


# --- Said well


def test_the_last_paragraph_has_all_of_it_in_order(sim: Simulator, cli: Cli) -> None:
    options = {"awslogs-group": "/ecs/web", "awslogs-region": "us-east-1", "awslogs-stream-prefix": "ecs"}
    logs = {"logDriver": "awslogs", "options": options}
    sim.service("prod", "web", containers=[{"name": "web", "image": "app:1", "memory": 64, "logConfiguration": logs}])
    sim.image("app:2").crashes(after_s=1).logs(["starting", "no such table"])

    result = cli(*DEPLOY, "-t", "300", "--fail-fast", "2")

    said = last_paragraph(result)
    assert result.code == 1
    deployment = sim.services["prod", "web"].primary.id
    assert result.code == 1
    assert said[0] == f"ERROR: The deployment {deployment} of service web failed: 2 of its tasks stopped (--fail-fast)."
    assert said[1] == "Likeliest cause: the application ends by itself soon after it starts."
    assert re.fullmatch(r"Failed after \d+ s; 2 tasks stopped\.", said[2])
    assert said[3].startswith("2 × EssentialContainerExited: ")
    assert said[4].startswith("Last log lines of container web (/ecs/web ")
    assert said[5:7] == ["  | starting", "  | no such table"]
    assert said[7] == f"The service still points at {PREFIX}/web:2."
    assert said[8].startswith("Read the container's log; ")
    assert said[9] == "To go back:"
    assert said[10].startswith("  aws ecs update-service ")
    assert len(said) == 11
    assert result.err.count("no such table") == 1


def test_a_time_out_says_that_nothing_stopped(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")
    sim.image("app:2").starts_after(500)

    result = cli(*DEPLOY, "-t", "40")

    assert result.code == 22
    assert "Ended after 40 s; no task stopped." in last_paragraph(result)
