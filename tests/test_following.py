"""Following a deployment: the two waits, how often it looks, and answers that are late, wrong or missing."""

from __future__ import annotations

import http.server
import re
import threading
import urllib.request
from collections.abc import Iterator

import pytest

from ecs_deploy import Draft, PlannedService, Rollout, WaitOptions, is_outdated
from tests.conftest import Cli, SimClock
from tests.simulator import AwsError, Fault, Simulator
from tests.vocabulary import DEPLOY, NO_UTF_8, PREFIX, WEB, Json, last_paragraph

# --- The two waits


def test_each_wait_has_the_whole_time_out(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1", drain_s=25)
    sim.image("app:2").starts_after(25)

    result = cli(*DEPLOY, "-t", "30")

    assert result.code == 0
    assert 50 < sim.now_s < 60
    assert sim.steady("prod", "web")


def test_the_first_wait_ends_undecided_when_no_task_runs_in_time(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")
    sim.image("app:2").starts_after(500)

    result = cli(*DEPLOY, "-t", "40")

    assert result.code == 22
    assert sim.now_s == 40
    assert result.lines[-1] == "ERROR: New task definition not running within 40 seconds"
    assert "timed out: no task of the new deployment was seen running within 40 seconds." in last_paragraph(result)[0]
    assert f"\nThe service still points at {PREFIX}/web:2.\n" in result.err
    assert last_paragraph(result)[-2] == "To go back:"
    assert f"aws ecs update-service --cluster prod --service web --task-definition {PREFIX}/web:1" in result.err


def test_the_second_wait_ends_undecided_when_the_deployment_is_not_complete(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1", drain_s=500)

    result = cli(*DEPLOY, "-t", "40")

    assert result.code == 22
    assert sim.now_s == pytest.approx(43)
    assert result.lines[-1] == "Waiting for service deployment to complete..."
    assert "timed out: the deployment was not complete within 40 seconds." in last_paragraph(result)[0]


@pytest.mark.parametrize(("starts_after_s", "code"), [(30.0, 0), (30.5, 22)], ids=["at the deadline", "after it"])
def test_the_last_look_is_at_the_deadline(sim: Simulator, cli: Cli, starts_after_s: float, code: int) -> None:
    sim.service("prod", "web", image="app:1", desired_count=1, health_check=False)
    sim.image("app:2").starts_after(starts_after_s - 0.5)

    result = cli(*DEPLOY, "-t", "30", "--skip-deployments-check")

    assert result.code == code
    assert sim.now_s == 30
    assert result.calls[-1].at_s == 30 or code == 22


def test_a_time_out_of_zero_waits_as_long_as_ecs_takes(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")
    sim.image("app:2").starts_after(400)

    result = cli(*DEPLOY, "-t", "0")

    assert result.code == 0
    assert sim.now_s > 400


def test_the_deployment_itself_need_not_be_waited_for(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1", drain_s=500)

    result = cli(*DEPLOY, "--skip-deployments-check")

    assert result.code == 0
    assert result.lines[-1] == "Service updated successfully, new task definition running."
    assert "Waiting for service deployment to complete..." not in result.out
    assert not sim.steady("prod", "web")


@pytest.mark.parametrize("more", [[], ["--wait-until", "draining-started"]])
@pytest.mark.parametrize("desired_count", [0, 1])
def test_a_forced_redeploy_that_is_not_followed_is_one_call(
    sim: Simulator, cli: Cli, desired_count: int, more: list[str]
) -> None:
    sim.service("prod", "web", image="app:1", desired_count=desired_count)

    result = cli(*WEB, "--force-new-deployment", "--skip-deployments-check", *more)

    deployment = sim.services["prod", "web"].primary
    assert result.code == 0
    assert result.operations == ["UpdateService"]
    assert result.lines == [
        "Force a new deployment of the service",
        f"Accepted: {deployment.definition.arn}, {deployment.id}",
    ]


def test_the_first_wait_is_for_a_healthy_task_where_there_are_health_checks(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1", health_check=True)
    sim.image("app:2").starts_after(2).healthy_after(30)

    result = cli(*DEPLOY, "--skip-deployments-check")

    assert result.code == 0
    assert 32.5 <= sim.now_s < 36
    assert [line for line in result.err.splitlines() if line.startswith("[")] == [
        "[   0 s] new: 0 running, 0 pending of 1; old: 1 running",
        "[   1 s] new: 0 running, 1 pending of 1; old: 1 running",
        "[   3 s] new: 1 running, 0 pending of 1; old: 1 running; none healthy yet",
    ]
    assert {"ListTasks", "DescribeTasks"} <= set(result.operations)


def test_once_a_task_was_healthy_it_is_not_said_that_none_is(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1", health_check=True, drain_s=10)
    sim.image("app:2").starts_after(2).healthy_after(30)

    lines = cli(*DEPLOY, "-t", "100").err.splitlines()

    healthy = next(line for line in lines if line.startswith("[  33 s]"))
    assert healthy == "[  33 s] new: 1 running, 0 pending of 1; old: 1 running"


def test_a_container_that_does_not_say_that_it_is_essential_is_and_its_health_counts(sim: Simulator, cli: Cli) -> None:
    check = {"command": ["CMD", "true"], "interval": 5, "retries": 3}
    sim.service("prod", "web", containers=[{"name": "web", "image": "app:1", "memory": 64, "healthCheck": check}])
    sim.image("app:2").starts_after(2).healthy_after(30)

    assert cli(*DEPLOY, "--skip-deployments-check").code == 0
    assert sim.now_s > 32


def test_a_task_that_never_gets_healthy_ends_the_first_wait_undecided(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1", health_check=True)
    sim.image("app:2").never_healthy()

    result = cli(*DEPLOY, "-t", "60")

    assert result.code == 22
    assert result.lines[-1] == "ERROR: New task definition not running within 60 seconds"
    assert "Task failed container health checks" in result.err
    assert "Likeliest cause: the tasks run, but are not healthy." in result.err
    said = "[  20 s] new: 0 running, 1 pending of 1; old: 1 running; 1 stopped; none healthy yet"
    assert said in result.err.splitlines()


@pytest.mark.parametrize(
    "containers",
    [
        pytest.param([{"healthCheck": {"command": ["NONE"]}}], id="a health check that is switched off"),
        pytest.param(
            [{}, {"essential": False, "healthCheck": {"command": ["CMD", "x"]}}], id="one that decides nothing"
        ),
    ],
)
def test_tasks_are_not_asked_for_where_no_health_check_decides(
    sim: Simulator, cli: Cli, containers: list[Json]
) -> None:
    named = [{"name": f"c{i}", "image": "app:1", "memory": 64, **more} for i, more in enumerate(containers)]
    sim.service("prod", "web", containers=named)

    result = cli(*DEPLOY, "--skip-deployments-check")

    assert result.code == 0
    assert "DescribeTasks" not in result.operations


def test_tasks_that_run_but_are_not_healthy_are_told_apart_from_none_running(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", health_check=True)
    sim.image("app:2").never_healthy()

    result = cli("-c", "prod", "-n", "web", "-i", "app:2", "-t", "8")

    assert result.code == 22
    assert "no task of the new deployment was seen healthy within 8 seconds" in result.err


def test_where_the_health_may_not_be_read_the_deployment_decides(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1", health_check=True)
    sim.image("app:2").healthy_after(20)
    sim.deny("ecs:ListTasks")

    waiting = cli(*DEPLOY)
    said = "The tasks' health cannot be read, so only the deployment counts. AWS denied ListTasks: User: arn:"
    assert waiting.code == 0
    assert [line.startswith(said) for line in waiting.err.splitlines() if "AWS denied" in line] == [True]
    assert "none healthy yet" not in waiting.err
    skipping = cli("-c", "prod", "-n", "web", "-i", "app:3", "--skip-deployments-check")
    assert skipping.code == 24
    assert "Allow ecs:ListTasks" in skipping.err
    sim.advance(60)
    sim.services["prod", "web"].drain_s = 500
    draining = cli(*WEB, "-i", "app:4", "-t", "40")
    assert (draining.code, draining.lines[-1]) == (22, "Waiting for service deployment to complete...")


# --- Pacing


def test_while_something_moves_it_looks_every_second(sim: Simulator, cli: Cli, clock: SimClock) -> None:
    sim.service("prod", "web", image="app:1")

    cli(*DEPLOY)

    assert set(clock.slept) == {1.0}


def test_where_nothing_moves_it_looks_less_and_less(sim: Simulator, cli: Cli, clock: SimClock) -> None:
    sim.service("prod", "web", image="app:1")
    sim.image("app:2").starts_after(1000)

    result = cli(*DEPLOY, "-t", "180")

    assert result.code == 22
    at_s = 0.0
    paces = []
    for pause_s in clock.slept:
        paces.append((at_s, pause_s))
        at_s += pause_s
    assert {pause_s for when_s, pause_s in paces if when_s <= 40} == {1.0}
    assert all(pause_s == pytest.approx(when_s / 40) for when_s, pause_s in paces[:-1] if when_s > 40)
    assert at_s == pytest.approx(180)


def test_in_a_long_wait_it_looks_every_five_seconds(sim: Simulator, cli: Cli, clock: SimClock) -> None:
    sim.service("prod", "web", image="app:1")
    sim.image("app:2").starts_after(1000)

    assert cli(*DEPLOY, "-t", "600").code == 22
    assert max(clock.slept) == 5.0
    assert len(clock.slept) < 230


def test_where_no_old_task_is_left_and_none_starts_it_looks_less_and_less(
    sim: Simulator, cli: Cli, clock: SimClock
) -> None:
    stopped_first = {"minimumHealthyPercent": 0, "maximumPercent": 100}
    sim.service("prod", "web", image="app:1", deploymentConfiguration=stopped_first)
    sim.image("app:2").starts_after(1000)

    assert cli(*DEPLOY, "-t", "180").code == 22
    assert sim.running("prod", "web") == {}
    assert max(clock.slept) > 4


def test_while_old_tasks_drain_it_looks_less_and_less(sim: Simulator, cli: Cli, clock: SimClock) -> None:
    sim.service("prod", "web", image="app:1", drain_s=500)

    assert cli(*DEPLOY, "-t", "180").code == 22
    assert max(clock.slept) > 4


def test_stopped_tasks_are_asked_for_only_where_something_stops(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1", health_check=False)
    sim.image("app:2").starts_after(60)

    assert "ListTasks" not in cli(*DEPLOY).operations


def test_once_only_the_end_is_missing_it_looks_every_second(sim: Simulator, cli: Cli, clock: SimClock) -> None:
    sim.world.settle_s = 100
    sim.service("prod", "web", image="app:1")

    result = cli(*DEPLOY, "-t", "200")

    assert result.code == 0
    assert sim.now_s > 100
    assert set(clock.slept) == {1.0}


def test_a_look_is_one_call_whatever_the_number_of_tasks(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1", desired_count=150)

    result = cli(*DEPLOY)

    assert result.code == 0
    assert set(result.operations[4:]) == {"DescribeServices"}


def test_on_a_throttle_it_backs_off_to_fifteen_seconds_and_recovers(sim: Simulator, cli: Cli, clock: SimClock) -> None:
    sim.service("prod", "web", image="app:1", drain_s=60)
    sim.world.on_call = lambda index, operation, params: (
        Fault.THROTTLED if operation == "DescribeServices" and 3 <= sim.world.now_s < 40 else None
    )

    result = cli(*DEPLOY)

    assert result.code == 0
    assert clock.slept[3:9] == [1.0, 2.0, 4.0, 8.0, 15.0, 15.0]
    assert all(1.0 <= pause_s <= 2.5 for pause_s in clock.slept[9:])
    assert "AWS throttled DescribeServices (Rate exceeded); looking again." in result.err


@pytest.mark.parametrize("fault", [Fault.SERVER_ERROR, Fault.DROP_BEFORE, Fault.DROP_AFTER, Fault.THROTTLED, NO_UTF_8])
def test_a_look_that_fails_is_no_failed_deployment(sim: Simulator, cli: Cli, fault: Fault | AwsError) -> None:
    sim.service("prod", "web", image="app:1")
    sim.world.on_call = lambda index, operation, params: (
        fault if operation == "DescribeServices" and 0 < sim.world.now_s < 10 else None
    )

    result = cli(*DEPLOY)

    assert result.code == 0
    assert sim.steady("prod", "web")


@pytest.mark.parametrize(
    ("operation", "members", "more"),
    [
        ("DescribeServices", {}, []),
        ("ListTasks", {}, []),
        ("DescribeTasks", {}, []),
        ("DescribeServiceDeployments", {"deploymentConfiguration": {"strategy": "BLUE_GREEN"}}, []),
        (
            "DescribeTargetHealth",
            {"loadBalancers": [{"targetGroupArn": "arn:t", "containerName": "web", "containerPort": 80}]},
            ["--wait-until", "draining-started"],
        ),
    ],
)
def test_after_a_throttle_it_is_the_next_look_that_asks_again(
    sim: Simulator, cli: Cli, operation: str, members: Json, more: list[str]
) -> None:
    sim.service("prod", "web", image="app:1", health_check=True, drain_s=10, **members)
    throttled: list[int] = []

    def throttle_once(index: int, called: str, _params: Json) -> Fault | None:
        if called != operation or sim.now_s == 0 or throttled:
            return None
        throttled.append(index)
        return Fault.THROTTLED

    sim.world.on_call = throttle_once

    result = cli(*DEPLOY, *more)

    refused, following = sim.calls[throttled[0] : throttled[0] + 2]
    assert result.code == 0
    assert (following.operation, following.at_s) == ("DescribeServices", refused.at_s + 1)


def test_without_any_answer_the_time_out_still_holds(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")
    sim.world.on_call = lambda index, operation, params: Fault.SERVER_ERROR if sim.world.now_s > 0 else None

    result = cli(*DEPLOY, "-t", "60")

    assert result.code == 22
    assert [call.at_s for call in result.calls if call.operation == "DescribeServices" and call.at_s <= 60][-1] == 60


def test_what_was_not_seen_of_late_is_told_with_its_age(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")
    sim.image("app:2").starts_after(500)
    sim.world.on_call = lambda index, operation, params: Fault.SERVER_ERROR if sim.world.now_s > 20 else None

    result = cli(*DEPLOY, "-t", "60")

    assert result.code == 22
    assert "AWS has shown nothing new of it for 40 seconds" in result.err
    seen = re.search(r"When last seen, (\d+) s ago, the service pointed at (\S+)", result.err)
    assert seen
    assert 40 <= int(seen[1]) < 90
    assert seen[2].startswith(f"{PREFIX}/web:2")
    assert "The service still points at" not in result.err


def test_without_a_time_out_five_minutes_without_an_answer_are_the_end(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")
    sim.world.on_call = lambda index, operation, params: Fault.SERVER_ERROR if sim.world.now_s > 0 else None

    result = cli(*DEPLOY, "-t", "0")

    assert result.code == 24
    assert 300 < sim.now_s < 330
    assert ". The outcome of deployment ecs-svc/" in result.err


@pytest.mark.parametrize("code", ["AccessDeniedException", "ExpiredTokenException", "ClusterNotFoundException"])
def test_a_look_that_can_never_succeed_ends_the_watch_with_the_outcome_unknown(
    sim: Simulator, cli: Cli, code: str
) -> None:
    services = [sim.service("prod", name, image="app:1") for name in ("web", "api")]
    sim.world.on_call = lambda index, operation, params: AwsError(code, "no") if sim.world.now_s > 0 else None

    result = cli(*DEPLOY, "-n", "api")

    web, api = (service.primary.id for service in services)
    flying = f"deployment {web} of service web and deployment {api} of service api"
    assert result.code == 24
    assert f". The outcome of {flying} is unknown\n" in result.err


def test_a_watch_that_is_cut_short_names_each_service_whose_outcome_is_unknown(sim: Simulator, cli: Cli) -> None:
    for name in ("web", "api", "old"):
        sim.service("prod", name, image="app:1")
    sim.image("app:2").starts_after(20)
    sim.world.at(3, lambda: sim.someone_deploys("prod", "old", "app:3"))
    sim.world.at(6, lambda: sim.deny("ecs:DescribeServices"))

    result = cli(*DEPLOY, "-n", "api", "-n", "old")

    assert result.code == 24
    flying = " and ".join(f"deployment {sim.services['prod', n].primary.id} of service {n}" for n in ("web", "api"))
    assert last_paragraph(result)[0].endswith(f". The outcome of {flying} is unknown")
    assert last_paragraph(result)[1:] == ["Allow ecs:DescribeServices in the IAM policy of these credentials."]
    left = re.findall(r"^Deployment (\S+) of service (\w+) (goes on|is over)", result.err, re.MULTILINE)
    assert [(name, how) for _, name, how in left] == [("old", "is over"), ("api", "goes on"), ("web", "goes on")]


def test_of_several_services_only_what_was_in_progress_has_an_unknown_outcome(sim: Simulator, cli: Cli) -> None:
    done, flying = (sim.service("prod", name, image=f"{name}:1") for name in ("done", "flying"))
    sim.image("flying:2").starts_after(500)
    sim.world.on_call = lambda *_: AwsError("AccessDeniedException", "no") if sim.now_s > 30 else None

    result = cli("-c", "prod", "-n", "done", "-n", "flying", "-to", "2")

    assert result.code == 24
    assert f". The outcome of deployment {flying.primary.id} of service flying is unknown\n" in result.err
    assert done.is_steady


# --- Answers that are not what they seem


def test_an_answer_from_before_what_was_seen_already_is_passed_over(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")
    sim.image("app:2").starts_after(40)
    sim.world.on_call = lambda index, operation, params: (
        Fault.STALE if operation == "DescribeServices" and 20 < sim.world.now_s < 30 else None
    )

    result = cli(*DEPLOY)

    assert result.code == 0
    assert result.err.count("new: 0 running, 0 pending of 1; old: 1 running") == 1


def test_a_service_that_is_missing_for_a_moment_is_not_taken_for_deleted(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")
    looks = iter(range(100))
    hidden = sim.world.services.copy()

    def hide(_index: int, operation: str, _params: Json) -> None:
        sim.world.services.update(hidden)
        if operation == "DescribeServices" and next(looks) == 2:
            sim.world.services.clear()

    sim.on_call = hide

    result = cli(*DEPLOY)

    assert result.code == 0


@pytest.fixture
def proxied(sim: Simulator) -> Iterator[tuple[str, list[int]]]:
    """A proxy before the local ECS that answers the calls with these numbers with a page of its own, and 200."""
    broken: list[int] = []
    seen = iter(range(1000))

    class Proxy(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if next(seen) in broken:
                answer = b"<html>Please log in</html>"
            else:
                request = urllib.request.Request(sim.url, body, dict(self.headers.items()))
                answer = urllib.request.urlopen(request).read()
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", broken
        server.shutdown()


def test_a_look_that_is_answered_by_somebody_else_is_repeated(
    sim: Simulator, cli: Cli, proxied: tuple[str, list[int]]
) -> None:
    sim.service("prod", "web", image="app:1")
    url, broken = proxied
    broken += [5, 6]

    result = cli(*DEPLOY, "-v", env={"AWS_ENDPOINT_URL": url})

    assert result.code == 0
    said = "The answer of DescribeServices cannot be read; something between here and AWS may have replaced it"
    assert result.err.splitlines().count(f"{said}; looking again.") == 1
    outcomes = re.findall(r"^> DescribeServices .* -> (.*), 0 ms$", result.err, re.MULTILINE)
    assert outcomes[:5] == [*["no request id"] * 2, *["UnreadableAnswer"] * 2, "no request id"]


def test_a_first_answer_that_cannot_be_read_ends_the_run(
    sim: Simulator, cli: Cli, proxied: tuple[str, list[int]]
) -> None:
    sim.service("prod", "web", image="app:1")
    url, broken = proxied
    broken += [0]

    result = cli(*DEPLOY, env={"AWS_ENDPOINT_URL": url})

    assert result.code == 24
    said = "The answer of DescribeServices cannot be read; something between here and AWS may have replaced it"
    assert result.err == f"ERROR: {said}\nCheck the network, the proxy and the region's name, and try again.\n"
    assert result.operations == []


def test_an_update_whose_answer_cannot_be_read_may_have_been_carried_out(
    sim: Simulator, cli: Cli, proxied: tuple[str, list[int]]
) -> None:
    sim.service("prod", "web", image="app:1")
    url, broken = proxied
    broken += [3]

    result = cli(*DEPLOY, env={"AWS_ENDPOINT_URL": url})

    assert result.code == 24
    assert result.changes == ["RegisterTaskDefinition"]
    left = f"UpdateService may have been carried out; {PREFIX}/web:2 is left as it is. Look at the service."
    assert result.err.splitlines()[-1] == left
    assert sim.active_revisions("web") == [1, 2]


def test_a_count_that_aws_does_not_tell_is_none_and_ends_no_run(sim: Simulator, cli: Cli) -> None:
    sim.service("prod", "web", image="app:1")
    sim.services["prod", "web"].members["desiredCount"] = None
    sim.world.future_members.add("desiredCount")

    result = cli(*DEPLOY)

    assert result.code == 0
    assert sim.running("prod", "web") == {"app:2": 1}


def test_it_looks_each_second_again_where_only_ecs_word_is_missing(sim: Simulator, cli: Cli, clock: SimClock) -> None:
    sim.service("prod", "web", image="app:1")
    sim.image("app:2").starts_after(200)

    result = cli(*DEPLOY, "-t", "400")

    assert result.code == 0
    assert max(clock.slept) > 4
    assert clock.slept[-3:] == [1.0, 1.0, 1.0]


OURS = {"id": "ecs-svc/2", "status": "PRIMARY", "createdAt": 100.0}
OTHER = {"id": "ecs-svc/1", "status": "PRIMARY", "createdAt": 50.0}
LATER = {"id": "ecs-svc/3", "status": "PRIMARY", "createdAt": 101.0}
LEFT = {"id": "ecs-svc/9", "status": "PRIMARY", "createdAt": 90.0}


@pytest.mark.parametrize(
    ("primary", "event_s", "young", "outdated"),
    [
        pytest.param(OURS, 110, False, False, id="ours"),
        pytest.param(OURS, 109, False, True, id="older events than in the last answer"),
        pytest.param(OURS, 111, True, False, id="ours, seconds after the update"),
        pytest.param(OTHER, 110, False, False, id="another one, long after"),
        pytest.param(OTHER, 110, True, True, id="another one, seconds after: ours may still come"),
        pytest.param(LATER, 110, True, False, id="another one that is newer than the update"),
        pytest.param({**OURS, "id": "ecs-svc/3"}, 110, True, True, id="another one, of the moment of the update"),
        pytest.param(LEFT, 120, False, True, id="what the rollback has left"),
    ],
)
def test_an_answer_that_is_from_before_proves_nothing(
    primary: Json, event_s: float, young: bool, outdated: bool
) -> None:
    rollout = Rollout("prod", PlannedService("web", Draft("", {}, {})), WaitOptions(), "", 0.0)
    rollout.deployment_id, rollout.left_id, rollout.after_s = "ecs-svc/2", "ecs-svc/9", 100.0
    rollout.last = {"events": [{"createdAt": 110.0}]}

    assert is_outdated({"deployments": [primary], "events": [{"createdAt": event_s}]}, rollout, young=young) == outdated


@pytest.mark.parametrize(
    ("primary", "event_s", "outdated"),
    [
        pytest.param(OTHER, 99, True, id="nothing since the update"),
        pytest.param(OTHER, 100, True, id="of the moment of the update, and without ours"),
        pytest.param(OTHER, 101, False, id="an event since the update"),
        pytest.param(OURS, 99, False, id="ours, of the moment of the update"),
    ],
)
def test_an_answer_counts_from_the_update_on(primary: Json, event_s: float, outdated: bool) -> None:
    rollout = Rollout("prod", PlannedService("web", Draft("", {}, {})), WaitOptions(), "", 0.0)
    rollout.deployment_id, rollout.after_s = "ecs-svc/2", 100.0

    assert is_outdated({"deployments": [primary], "events": [{"createdAt": event_s}]}, rollout, young=False) == outdated
