"""The commands that the campaign drives: a row each, with the command lines that it may be given. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from tests.faults.worlds import CANARY, CLUSTER, CONTAINER, NEW, OLD, Family, Kept, image
from tests.simulator.errors import Json

FOLDER = "{folder}"
"""Stands in a command line for the folder that holds the scenario's files."""
Words = tuple[str, ...]
Optional = tuple[tuple[float, Words], ...]


@dataclass(frozen=True)
class Setting:
    """What a command line is made for."""

    families: tuple[Family, ...]
    services: tuple[Kept, ...]


@dataclass(frozen=True)
class Line:
    """A command line, the files that it names, and what an application lists."""

    argv: Words
    files: tuple[tuple[str, str], ...] = ()
    tasks_before: tuple[tuple[str, int], ...] = ()
    tasks_after: tuple[tuple[str, int], ...] = ()
    forced: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Command:
    """One row: how often, how many services, and the line; what its success means."""

    name: str
    share: int
    line: Callable[[Random, Setting], Line]
    services: Callable[[Random], int] = field(default=lambda _: 0)
    good: float = 0.4
    """How likely the new image of a family is good."""


def _chosen(rng: Random, optional: Optional) -> Words:
    return tuple(word for share, words in optional if rng.random() < share for word in words)


def _output(rng: Random) -> Words:
    return _chosen(rng, ((0.15, ("--output", "json")), (0.2, ("-v",)), (0.04, ("--dry-run",))))


# --- One service


def _deploy_service(rng: Random, setting: Setting) -> Line:
    [service], [family] = setting.services, setting.families
    timeouts = (90, 200) if service.is_native else (3, 10, 20, 30, 30, 45, 60, 120, 900)
    argv = ("-c", CLUSTER, "-n", service.name, "-t", str(rng.choice(timeouts)))
    optional: Optional = (
        (0.5, ("--enable-rollback",)),
        (0.15, ("--keep-failed-revision",)),
        (0.15, ("--fail-fast", str(rng.randint(1, 5)))),
        (0.15, ("--skip-deployments-check",)),
        (0.15, ("--max-definitions", str(rng.randint(1, 4)))),
        (0.15, ("-D", str(rng.choice((0, 1, 2, 3, 5, 20))))),
        (0.1, ("-m", str(rng.choice((0, 50, 100))))),
        (0.1, ("-M", str(rng.choice((100, 150, 200))))),
        (0.05, ("--use-latest-task-def",)),
    )
    edit, files = _edit(rng, family, redeploys=True)
    return Line((*argv, *edit, *_chosen(rng, optional), *_output(rng)), files)


def _edit(rng: Random, family: Family, *, redeploys: bool) -> tuple[Words, tuple[tuple[str, str], ...]]:
    """What is to change in the definition, and the files of that."""
    new = image(family.name, NEW)
    edits: tuple[Words, ...] = (
        ("-i", new),
        ("-i", image(family.name, OLD)),
        ("-to", NEW),
        ("-l", f"{CONTAINER}={new}"),
        ("-i", new, "--container-envvar", f"{CONTAINER}=KEY={CANARY}-new-variable"),
        ("-i", new, "--env-file", f"{CONTAINER}={FOLDER}/variables"),
        ("--force-new-deployment", "-i", new),
        ("--force-new-deployment",),
    )
    shares = (50, 6, 10, 8, 8, 5, 6 if redeploys else 0, 12 if redeploys else 0)
    edit = rng.choices(edits, shares)[0]
    lines = "this is no variable\n" if rng.random() < 0.1 else ""
    files = (("variables", f"KEY={CANARY}-file-variable\n{lines}"),) if "--env-file" in edit else ()
    return edit, files


# --- A definition, and tasks of it


def _register(rng: Random, setting: Setting) -> Line:
    [family] = setting.families
    edit, files = _edit(rng, family, redeploys=False)
    return Line(("-d", family.name, *edit, *_output(rng)), files)


def _run_task(rng: Random, setting: Setting) -> Line:
    [family] = setting.families
    edit, files = _edit(rng, family, redeploys=False)
    argv: Words = (
        "-c",
        CLUSTER,
        "-d",
        family.name,
        *edit,
        "--run-task",
        "--count",
        str(rng.choice((1, 1, 2, 11, 15, 23))),
    )
    waiting: Optional = (
        (0.5, ("--stop-on-interrupt",)),
        (0.15, ("--propagate-exit-code",)),
        (0.15, ("--watch-container", CONTAINER)),
    )
    if rng.random() < 0.7:
        argv = (*argv, "--wait-for-success", "-t", str(rng.choice((3, 10, 30, 60, 400))), *_chosen(rng, waiting))
    variable = {"name": "TOKEN", "value": f'{CANARY}-over\\ride"'}
    overrides = {
        "containerOverrides": [{"name": CONTAINER, "environment": [variable], "command": [f"{CANARY}-override"]}]
    }
    optional: Optional = (
        (0.2, ("--overrides", json.dumps(overrides))),
        (0.1, ("--command", f"{CONTAINER}=migrate --password {CANARY}-command")),
    )
    return Line((*argv, *_chosen(rng, optional), *_output(rng)), files)


# --- An application


def _deploy_application(rng: Random, setting: Setting) -> Line:
    forced = frozenset(service.name for service in setting.services if rng.random() < 0.08)
    listed = [_listed(service, rng.choice((1, 1, 2, 4)), service.name in forced) for service in setting.services]
    document: Json = {"version": "v1", "cluster": CLUSTER, "tasks": {}, "services": listed}
    tasks: dict[str, tuple[tuple[str, int], ...]] = {}
    for when in ("pre", "post"):
        found = [
            (rng.choice(setting.families).name, rng.choice((1, 1, 2, 10))) for _ in range(rng.choice((0, 0, 1, 2)))
        ]
        document["tasks"][when] = [{"family": f, "count": count, "containers": [CONTAINER]} for f, count in found]
        tasks[when] = tuple(found)
    optional: Optional = (
        (0.5, ("--enable-rollback",)),
        (0.15, ("--keep-failed-revision",)),
        (0.2, ("--fail-fast", str(rng.randint(1, 5)))),
    )
    name, text = _application_file(rng, document)
    argv = ("app", "-f", f"{FOLDER}/{name}", "-t", NEW, *_chosen(rng, optional), *_output(rng))
    return Line(argv, ((name, text),), tasks["pre"], tasks["post"], forced)


def _listed(service: Kept, minutes: int, force: bool) -> Json:
    found: Json = {"name": service.name, "containers": [CONTAINER], "max_wait": minutes}
    return {**found, "force": True} if force else found


def _application_file(rng: Random, document: Json) -> tuple[str, str]:
    """The file's name and its text, which is broken at a secret now and then."""
    text = json.dumps(document, indent=1)
    if rng.random() > 0.03:
        return "application.json", text
    name = rng.choice(("application.json", "application.yml", "application.toml"))
    return name, text.replace('"version"', f'"password": "{CANARY}-in-a-file": ]\n "version"', 1)


# --- The day after


def _status(rng: Random, setting: Setting) -> Line:
    names = tuple(word for service in setting.services for word in ("-n", service.name))
    which = ("--all",) if rng.random() < 0.3 else names
    optional: Optional = (
        (0.4, ("--wait",)),
        (0.2, ("--expect", image(setting.families[0].name, rng.choice((OLD, NEW))))),
    )
    timeout = str(rng.choice((3, 10, 30, 60)))
    return Line(("status", "-c", CLUSTER, *which, "-t", timeout, *_chosen(rng, optional), *_output(rng)))


def _rollback(rng: Random, setting: Setting) -> Line:
    names = tuple(word for service in setting.services for word in ("-n", service.name))
    optional: Optional = ((0.1, ("--to", "1")), (0.1, ("--list",)), (0.15, ("--no-wait",)))
    timeout = str(rng.choice((3, 10, 30, 60, 200)))
    return Line(("rollback", "-c", CLUSTER, *names, "-t", timeout, *_chosen(rng, optional), *_output(rng)))


COMMANDS = (
    Command("service", 52, _deploy_service, services=lambda rng: 1),
    Command("definition", 4, _register),
    Command("task", 18, _run_task, good=0.5),
    Command("app", 26, _deploy_application, services=lambda rng: rng.choice((1, 1, 2, 2, 3, 3, 4, 5, 12)), good=0.8),
)
DAY_AFTER = (
    Command("status", 4, _status, services=lambda rng: rng.choice((1, 1, 2, 3))),
    Command("rollback", 8, _rollback, services=lambda rng: rng.choice((1, 1, 1, 2))),
)
"""The commands of each twelfth seed: about a service that is there, whatever became of it."""
