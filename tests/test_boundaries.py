"""Every limit at, one below and one above: the application file's, the options', and those of AWS that are kept."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from ecs_deploy import Exit
from tests.conftest import Cli
from tests.simulator import Simulator
from tests.vocabulary import DEPLOY, WEB, Json

# --- The application file

APPLICATION: Json = {
    "version": "v1",
    "cluster": "c",
    "tasks": {
        "pre": [
            {
                "family": "f",
                "count": 1,
                "containers": ["a"],
                "capacity_provider_strategies": [{"capacity_provider": "p", "base": 0, "weight": 0}],
                "network_configuration": {"vpc_configuration": {"security_groups": ["s"], "subnets": ["n"]}},
            }
        ]
    },
    "services": [{"name": "w", "containers": ["a"], "max_wait": 1}],
}
PRE = "tasks.pre[0]"
PROVIDER = f"{PRE}.capacity_provider_strategies[0]"
VPC = f"{PRE}.network_configuration.vpc_configuration"
NUMBERS = {
    f"{PRE}.count": (1, 10),
    f"{PROVIDER}.base": (0, 100_000),
    f"{PROVIDER}.weight": (0, 1000),
    "services[0].max_wait": (1, 1_000_000),
}
LISTS = {
    f"{PRE}.capacity_provider_strategies": (0, 6),
    f"{VPC}.security_groups": (1, 5),
    f"{VPC}.subnets": (1, 16),
}
NEVER_EMPTY_LISTS = (f"{PRE}.containers", "services[0].containers")
NEVER_EMPTY_TEXTS = (
    "cluster", f"{PRE}.family", f"{PRE}.containers[0]", f"{PROVIDER}.capacity_provider", f"{VPC}.security_groups[0]",
    f"{VPC}.subnets[0]", "services[0].name", "services[0].containers[0]",
)  # fmt: skip


@pytest.fixture
def application(sim: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder to write the file into, and the shortest names that there can be."""
    monkeypatch.chdir(tmp_path)
    container = {"name": "a", "image": "app:1", "memory": 64}
    sim.service("c", "w", containers=[container])
    sim.task_definition("f", containers=[container])


def dry_run(cli: Cli, path: str, value: Any) -> Any:
    """The dry run of the application with that value in that place."""
    document: Any = deepcopy(APPLICATION)
    place = document
    *parents, last = path.replace("[", ".[").split(".")
    for name in parents:
        place = place[int(name[1:-1]) if name.startswith("[") else name]
    place[int(last[1:-1]) if last.startswith("[") else last] = value
    Path("a.json").write_text(json.dumps(document))
    return cli("app", "-t", "2", "-f", "a.json", "--dry-run")


def entries(path: str, count: int) -> list[Any]:
    """A list of so many of the entries that the application has there."""
    return [{"capacity_provider": "p"} if path.endswith("strategies") else f"x{number}" for number in range(count)]


@pytest.mark.usefixtures("application")
@pytest.mark.parametrize("path", NUMBERS)
def test_a_number_of_the_file_is_taken_from_its_lowest_to_its_highest(cli: Cli, path: str) -> None:
    for number in NUMBERS[path]:
        assert dry_run(cli, path, number).code == Exit.OK, number


@pytest.mark.usefixtures("application")
@pytest.mark.parametrize("path", NUMBERS)
def test_a_number_of_the_file_beyond_its_limits_is_refused(cli: Cli, path: str) -> None:
    low, high = NUMBERS[path]
    for number in (low - 1, high + 1):
        result = dry_run(cli, path, number)
        assert (result.code, result.operations) == (Exit.USAGE, []), number
        assert f"  {path}: {number} where there should be between {low} and {high}" in result.err


@pytest.mark.usefixtures("application")
@pytest.mark.parametrize("path", LISTS)
def test_a_list_of_the_file_is_taken_from_its_shortest_to_its_longest(cli: Cli, path: str) -> None:
    for count in LISTS[path]:
        assert dry_run(cli, path, entries(path, count)).code == Exit.OK, count


@pytest.mark.usefixtures("application")
@pytest.mark.parametrize("path", LISTS)
def test_a_list_of_the_file_beyond_its_limits_is_refused(cli: Cli, path: str) -> None:
    low, high = LISTS[path]
    for count in {max(0, low - 1), high + 1} - {low}:
        result = dry_run(cli, path, entries(path, count))
        assert (result.code, result.operations) == (Exit.USAGE, []), count
        assert f"  {path}: {count} entries where there should be between {low} and {high}" in result.err


@pytest.mark.usefixtures("application")
@pytest.mark.parametrize(
    ("path", "nothing", "said"),
    [
        *((path, [], "0 entries where there should be 1 or more") for path in NEVER_EMPTY_LISTS),
        *((path, "", "0 characters where there should be 1 or more") for path in NEVER_EMPTY_TEXTS),
    ],
)
def test_what_the_file_must_name_cannot_be_empty(cli: Cli, path: str, nothing: Any, said: str) -> None:
    result = dry_run(cli, path, nothing)

    assert (result.code, result.operations) == (Exit.USAGE, [])
    assert f"  {path}: {said}" in result.err


# --- The options

RUN = ("-c", "prod", "-d", "job", "-i", "app:2", "--run-task")
APP = ("app", "-t", "2", "-f", "app.json")
REPLACE = ("replace-instances", "-c", "prod", "--asg", "workers")
LARGEST, TOO_LARGE = "999999999", "1000000000"


@pytest.fixture
def world(sim: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Simulator:
    """A service, also as an application, a definition to run, and a group of instances."""
    monkeypatch.chdir(tmp_path)
    application = {"version": "v1", "cluster": "prod", "services": [{"name": "web", "containers": ["web"]}]}
    Path("app.json").write_text(json.dumps(application))
    sim.instances.group("workers", "prod", desired=1)
    sim.service("prod", "web", image="app:1")
    sim.task_definition("job", "app:1")
    return sim


@pytest.mark.usefixtures("world")
@pytest.mark.parametrize(
    ("command", "option", "taken", "refused", "code"),
    [
        (DEPLOY, "--timeout", ("0", "1", LARGEST), ("-1", TOO_LARGE), Exit.USAGE),
        (DEPLOY, "--fail-fast", ("0", "1", LARGEST), ("-1", TOO_LARGE), Exit.USAGE),
        (DEPLOY, "--min", ("0", "1", "100", "101", LARGEST), ("-1", TOO_LARGE), Exit.USAGE),
        (DEPLOY, "--max", ("0", "1", "200", "201", LARGEST), ("-1", TOO_LARGE), Exit.USAGE),
        (DEPLOY, "--max-definitions", ("1", LARGEST), ("-1", "0", TOO_LARGE), Exit.BAD_MAX_DEFINITIONS),
        (DEPLOY, "--desired-count", ("-2", "-1", "0", "1", "9" * 18), ("", "1.0", "x", f"1{'0' * 18}"), Exit.USAGE),
        (RUN, "--count", ("1", "10", "11", LARGEST), ("-1", "0", TOO_LARGE), Exit.USAGE),
        (APP, "--fail-fast", ("0", "1", LARGEST), ("-1", TOO_LARGE), Exit.USAGE),
        (REPLACE, "--timeout", ("0", "1", LARGEST), ("-1", TOO_LARGE), Exit.USAGE),
        (REPLACE, "--batch", ("1", "1%", "100%", LARGEST), ("-1", "0", "0%", "101%", TOO_LARGE), Exit.USAGE),
    ],
)
def test_a_number_is_taken_or_refused(
    cli: Cli, command: tuple[str, ...], option: str, taken: tuple[str, ...], refused: tuple[str, ...], code: Exit
) -> None:
    for value in taken:
        assert cli(*command, f"{option}={value}", "--dry-run").code == Exit.OK, value
    for value in refused:
        result = cli(*command, f"{option}={value}", "--dry-run")
        assert (result.code, result.operations) == ((code, []) if value else (Exit.OK, result.operations)), value


@pytest.mark.parametrize(
    ("count", "sent"),
    [("-1", {}), ("0", {"desiredCount": 0}), ("1", {"desiredCount": 1}), (" +1 ", {"desiredCount": 1})],
)
def test_a_count_is_sent_from_zero_on(world: Simulator, cli: Cli, count: str, sent: Json) -> None:
    world.service("prod", "api", image="app:1", desired_count=2)

    result = cli("-c", "prod", "-n", "api", "-i", "app:2", "-D", count)

    (update,) = result.requests("UpdateService")
    assert result.code == Exit.OK
    assert {name: value for name, value in update.items() if name == "desiredCount"} == sent


@pytest.mark.parametrize(("allowed", "given_up"), [("3", True), ("4", False)], ids=["as many", "one more"])
def test_it_gives_up_at_the_number_of_stopped_tasks_that_is_named(
    sim: Simulator, cli: Cli, allowed: str, given_up: bool
) -> None:
    """Three tasks stop at the same moment, and start again well."""
    sim.service("prod", "web", image="app:1", desired_count=3)
    sim.image("app:2").crashes(after_s=2)
    sim.world.at(4.5, lambda: sim.world.repair("app:2"))

    result = cli(*DEPLOY, "--fail-fast", allowed, "-t", "0")

    assert result.code == (Exit.FAILED if given_up else Exit.OK)
    assert ("3 of its tasks stopped (--fail-fast)" in result.err) == given_up


@pytest.mark.parametrize(("revisions", "pruned"), [(2, []), (3, [1]), (4, [1, 2])])
def test_as_many_revisions_are_kept_as_are_named(sim: Simulator, cli: Cli, revisions: int, pruned: list[int]) -> None:
    """Ours is the one after those that there are; the one before it ran until now, and stops at once."""
    for _ in range(revisions - 1):
        sim.task_definition("web", "app:1")
    sim.service("prod", "web", image="app:1")

    result = cli(*DEPLOY, "--max-definitions", "3")

    assert result.code == Exit.OK
    assert sim.active_revisions("web") == [n for n in range(1, revisions + 2) if n not in pruned]


@pytest.mark.parametrize("lines", [19, 20, 21])
def test_the_last_twenty_lines_of_a_log_are_shown(sim: Simulator, cli: Cli, lines: int) -> None:
    options = {"awslogs-group": "/ecs/web", "awslogs-region": "us-east-1", "awslogs-stream-prefix": "ecs"}
    logs = {"logDriver": "awslogs", "options": options}
    sim.service("prod", "web", containers=[{"name": "web", "image": "app:1", "memory": 64, "logConfiguration": logs}])
    sim.image("app:2").crashes(after_s=2).logs([f"line {number}" for number in range(lines)])

    result = cli(*DEPLOY, "--fail-fast", "1")

    assert result.code == Exit.FAILED
    shown = [line.removeprefix("  | ") for line in result.err.splitlines() if line.startswith("  | ")]
    assert shown == [f"line {number}" for number in range(max(0, lines - 20), lines)]


@pytest.mark.parametrize("timeout", [1, 2])
def test_the_shortest_time_outs_end_the_wait_on_time(sim: Simulator, cli: Cli, timeout: int) -> None:
    sim.service("prod", "web", image="app:1")
    sim.image("app:2").starts_after(100)

    result = cli(*DEPLOY, "-t", str(timeout))

    assert (result.code, sim.now_s) == (Exit.TIMED_OUT, timeout)


# --- What AWS takes in one call


@pytest.mark.parametrize(("count", "calls"), [(9, [9]), (10, [10]), (11, [10, 1])])
def test_ten_tasks_are_started_in_one_call(world: Simulator, cli: Cli, count: int, calls: list[int]) -> None:
    result = cli(*RUN, "--count", str(count))

    assert result.code == Exit.OK
    assert [request["count"] for request in result.requests("RunTask")] == calls


@pytest.mark.parametrize(("count", "calls"), [(9, {9}), (10, {10}), (11, {10, 1})])
def test_ten_services_are_looked_at_in_one_call(
    sim: Simulator, cli: Cli, tmp_path: Path, count: int, calls: set[int]
) -> None:
    names = [f"web-{number}" for number in range(count)]
    for name in names:
        sim.service("prod", name, containers=[{"name": "web", "image": "app:1", "memory": 64}])
    services = [{"name": name, "containers": ["web"]} for name in names]
    file = tmp_path / "a.json"
    file.write_text(json.dumps({"version": "v1", "cluster": "prod", "services": services}))

    result = cli("app", "-t", "2", "-f", str(file), "--dry-run")

    assert result.code == Exit.OK
    assert {len(request["services"]) for request in result.requests("DescribeServices")} == calls


@pytest.mark.parametrize(("count", "calls"), [(99, [99]), (100, [100]), (101, [100, 1])])
def test_a_hundred_stopped_tasks_are_asked_for_in_one_call(
    sim: Simulator, cli: Cli, count: int, calls: list[int]
) -> None:
    sim.page_size = 100
    sim.service("prod", "web", image="app:1", desired_count=count)
    sim.image("app:2").crashes(after_s=2)

    result = cli(*WEB, "-i", "app:2", "--fail-fast", str(count))

    assert result.code == Exit.FAILED
    assert [len(request["tasks"]) for request in result.requests("DescribeTasks")][: len(calls)] == calls


def test_instances_are_drained_ten_at_a_time(sim: Simulator, cli: Cli) -> None:
    """The simulator refuses more, as AWS does."""
    sim.page_size = 100
    sim.instances.group("workers", "prod", desired=21, maximum=50)
    sim.instances.new_version("workers")

    result = cli(*REPLACE, "--batch", "21")

    assert result.code == Exit.OK
    drained = [len(request["containerInstances"]) for request in result.requests("UpdateContainerInstancesState")]
    assert (max(drained), sum(drained)) == (10, 21)
