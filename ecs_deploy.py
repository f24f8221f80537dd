#!/usr/bin/env python3
# /// script
# requires-python = ">=3.10"
# dependencies = ["boto3>=1.43.0", "botocore>=1.43.0", "PyYAML>=6"]
# ///
"""ecs-deploy: put a new image into an Amazon ECS service or task definition, and see it run.

    ecs-deploy -c production1 -n doorman-service -i docker.repo.com/doorman:18
    ecs-deploy -d open-door-task -i docker.repo.com/doorman:17
    ecs-deploy -c production1 -d open-door-task -i docker.repo.com/doorman:17 --run-task --wait-for-success

It copies the live task definition without losing a member, registers a new revision, updates the service or runs a
task, and watches its own deployment until ECS has decided. Exit code 0 means that the asked-for state was seen.

The map of this file, top to bottom; each section uses only those above it:

    Vocabulary              imports and type names
    Records                 `Value`, `Record`: classes made of their fields
    Exit codes and errors   `Exit`, `DeployError` and its kinds
    Options                 what the user asked for, as frozen values
    Images                  `ImageReference`: parse, print, compare
    Members                 `member_edit`, `with_member`: any member, typed as botocore's model says; `shorthand`
    Task definitions        `registrable`, `edited`, `changes`: pure copies and edits
    Application file        `parse_application`: YAML, JSON or TOML, checked, errors with their path
    Verdicts                `rollout_verdict`, `task_verdict`, `likely_cause`, …: what an answer of ECS means
    Reporting               `Reporter`: every line that is printed; masking
    Clock                   the only place that reads or spends time; signals; patience
    Ledger                  `Begun`: what this run leaves behind if it ends now
    AWS                     `connect`, `Aws`: calls, pages and batches, retries, error translation
    Operations              the story: Deploying (`deploy`), Preflight, Following (`watch`), BLUE_GREEN, LINEAR, CANARY,
                            Saying why (`diagnose`), The way back (`roll_back`), Pruning, Schedules (`move_schedules`),
                            Tasks (`run_tasks`), Applications (`deploy_app`), The day after (`status`, `rollback`)
    Instances               `Fleet`: what a group and its cluster say of its instances, and which may go next
    Replacing instances     `replace_instances`: by the group's own refresh, or grow, drain, shrink
    Command line            `OPTIONS`: the table of all options; what follows from it: parsers, rules, values
    GitHub Actions          the action's inputs, annotations, outputs and summary
    Entry                   `main`
"""

# --- Vocabulary ------------------------------------------------------------------ may not import boto3

from __future__ import annotations

import sys

if sys.version_info < (3, 10):  # noqa: UP036 - the bare file may be run by any Python
    sys.stderr.write("ERROR: ecs-deploy needs Python 3.10 or newer; this is {}.{}\n".format(*sys.version_info))
    sys.exit(4)

import argparse
import contextlib
import gc
import io
import itertools
import json
import os
import re
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import Enum, IntEnum
from functools import cache, partial

TYPE_CHECKING = False  # what is only for the type checker would cost every start some milliseconds
if TYPE_CHECKING:
    from typing import Any, NoReturn, Protocol, TextIO, TypeVar

    from typing_extensions import dataclass_transform

    JSON = dict[str, Any]
    T = TypeVar("T", bound="_Fields")
else:

    def dataclass_transform(**_: object) -> Callable[[type], type]:
        """Tells the type checker that subclasses are built from their annotations."""
        return lambda base: base


__version__ = "1.0.0"

UNSEEN_GRACE_S = 15.0  # DescribeServices may not show a deployment right after the update that made it
UNREACHABLE_S = 300.0  # with no time-out, so long without any answer ends the wait
PACED_S = 600.0  # a call that ECS throttles hard is repeated for so long
INFINITE_S = float("inf")
FOREVER_S = 86_400.0  # "as long as ECS takes" still ends after a day
LOG_LINES = 20
LATE_LOG_S = 2.0
MISSING_S = 3.0  # what is missing from an answer may be there in the next; only after so long it counts as gone
LOOK_S = 1.0  # so long an answer may be on its way
PROOF_S = 5.0  # what was seen to be unused so long ago may be in use now

_OPENS, _CLOSES = "\ue000", "\ue001"  # around what came from elsewhere; of Unicode's private use, and never printed


def theirs(text: object) -> str:
    """What AWS, a log or a file said, marked so that `Reporter` masks the secrets in it (and none of our own words)."""
    return f"{_OPENS}{str(text).replace(_OPENS, '').replace(_CLOSES, '')}{_CLOSES}"


def undotted(text: str) -> str:
    """The text without a full stop at its end, to go on with a sentence."""
    return re.sub(rf"\.({_CLOSES}?)$", r"\1", text)


def shell_word(value: Any) -> str:
    """The value as one word of a shell; structures as JSON."""
    import shlex

    return shlex.quote(value if isinstance(value, str) else json.dumps(value))


# --- Records ------------------------------------------------------------------------------ pure: no I/O


def field(*, default_factory: Callable[[], Any]) -> Any:
    """The default of a field that holds something mutable, made anew for each record."""
    return _Fresh(default_factory)


class _Fresh:
    def __init__(self, make: Callable[[], Any]) -> None:
        self.make = make


class _Fields:
    """A class whose annotated names are its fields: given by position or by name, or left at their default.

    The standard `dataclasses` do this too, and take 30 ms of every start, twice what Python itself takes.
    """

    _names: tuple[str, ...] = ()

    def __init_subclass__(cls) -> None:
        cls._names = (*cls._names, *cls.__annotations__)

    def __init__(self, *values: Any, **named: Any) -> None:
        given = {**dict(zip(self._names, values, strict=False)), **named}
        if len(given) < len(values) + len(named) or not given.keys() <= set(self._names):
            raise TypeError(f"{type(self).__name__} takes each of {', '.join(self._names)} once")
        for name in self._names:
            value = given[name] if name in given else getattr(type(self), name)
            vars(self)[name] = value.make() if isinstance(value, _Fresh) else value


@dataclass_transform(field_specifiers=(field,))
class Record(_Fields):
    """Named fields that may change."""


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
class Value(_Fields):
    """Named fields that never change; equal if all of them are. Not shown by `repr`: some are secret."""

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__}.{name} does not change")

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)


def replace(record: T, **changed: Any) -> T:
    """A copy of the record with some fields changed."""
    return type(record)(**{**vars(record), **changed})


# --- Exit codes and errors ---------------------------------------------------------- may not print


class Exit(IntEnum):
    """The exit codes and what each means; `--help` and the README print this table."""

    meaning: str

    def __new__(cls, code: int, meaning: str) -> Exit:
        """An int that carries its meaning."""
        member = int.__new__(cls, code)
        member._value_ = code
        member.meaning = meaning
        return member

    OK = 0, "the asked-for state was seen"
    FAILED = 1, "failed"
    USAGE = 3, "usage: a wrong, missing or contradictory option"
    REQUIREMENT = 4, "a requirement (boto3) is missing"
    NO_TARGET = 5, "neither -n nor -d"
    TWO_TARGETS = 6, "both -n and -d"
    NO_CLUSTER = 7, "no cluster"
    NOTHING_TO_DO = 8, "nothing to change was asked for"
    BAD_MAX_DEFINITIONS = 9, "--max-definitions is not a whole number of 1 or more"
    LAUNCH_TYPE_ALONE = 10, "--launch-type without --run-task"
    NETWORK_ALONE = 11, "--network-configuration or --wait-for-success without --run-task"
    PLATFORM_ALONE = 12, "--platform-version without --run-task"
    BAD_IMAGE = 13, "the image cannot be read, is not there, or is for another platform"
    NO_CONTAINER = 14, "no container matches"
    CANNOT_WORK = 15, "it cannot work, found before anything was changed"
    ROLLED_BACK = 20, "failed, and rolled back"
    ROLLBACK_FAILED = 21, "failed, and the rollback failed too"
    TIMED_OUT = 22, "timed out, undecided (with --enable-rollback: 20 or 21)"
    SUPERSEDED = 23, "superseded by another deployment"
    AWS = 24, "AWS refused, was not reached, or does not have what was named; a deployment that had begun goes on"
    BUG = 70, "a bug in ecs-deploy"
    SIGINT = 130, "interrupted (SIGINT)"
    SIGTERM = 143, "interrupted (SIGTERM)"


class DeployError(Exception):
    """An expected failure: the exit code, what and why in one sentence, and what to do next."""

    def __init__(self, message: str, exit_code: Exit = Exit.FAILED, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.exit_code = exit_code
        self.hint = hint


class UsageError(DeployError):
    """The command line is wrong; nothing was called."""

    def __init__(self, message: str, exit_code: Exit = Exit.USAGE, hint: str = "") -> None:
        super().__init__(message, exit_code, hint)


class BadValue(Exception):
    """What was given for an option is not what it expects."""


class AwsError(DeployError):
    """AWS refused or was not reached.

    `code` is AWS's error code, botocore's exception name or empty; `transient`: trying again later may work;
    `throttled`: there were too many calls; `maybe_done`: the answer was lost, so AWS may have acted.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str = "",
        hint: str = "",
        transient: bool = False,
        throttled: bool = False,
        maybe_done: bool = False,
    ) -> None:
        super().__init__(message, Exit.AWS, hint)
        self.code = code
        self.transient = transient
        self.throttled = throttled
        self.maybe_done = maybe_done

    @property
    def definition_missing(self) -> bool:
        """True if AWS said that there is no such task definition."""
        return self.code == "ClientException" and "Unable to describe task definition" in self.message


class Interrupted(BaseException):
    """SIGINT or SIGTERM; a BaseException so that no handler of errors takes it for one."""

    def __init__(self, signum: int) -> None:
        self.exit_code = Exit.SIGINT if signum == signal.SIGINT else Exit.SIGTERM
        self.name = signal.Signals(signum).name
        self.maybe_done = False  # what was about to be sent may have been carried out


# --- Options ---------------------------------------------------------------- may not see the arguments they are from


class AwsOptions(Value):
    """Where the credentials and the region come from; empty means boto3's usual chain."""

    access_key: str = ""
    secret_key: str = ""
    region: str = ""
    profile: str = ""
    instance_profile: bool = False
    assume_role_arn: str = ""


class Source(Value):
    """The definition to start from; with all empty, the one in use (or the one that -d names)."""

    file: JSON | None = None
    taskdef: str = ""
    latest: bool = False


class Edits(Value):
    """What changes in the definition: first the images, then the members in their order."""

    tag: str = ""
    tag_containers: tuple[str, ...] = ()
    image: ImageReference | None = None
    images: tuple[tuple[str, str], ...] = ()
    members: tuple[MemberEdit, ...] = ()

    def __bool__(self) -> bool:
        """True if anything is to change."""
        return bool(self.tag or self.image or self.images or self.members)


class ServiceOptions(Value):
    """What changes in the service; `Changes:`, the undo command and a rollback follow from it."""

    members: tuple[MemberEdit, ...] = ()  # of UpdateService's request
    force_new_deployment: bool = False


class WaitOptions(Value):
    """How long to follow a deployment, and what to do when it goes wrong."""

    timeout_s: float = 90.0
    skip_deployments_check: bool = False
    no_wait: bool = False
    until_draining: bool = False  # of a service with a target group: as soon as an old target is drained
    fail_fast: float = INFINITE_S  # so many stopped tasks end the wait; with 0 nothing ends it early
    rollback: bool = False
    keep_failed_revision: bool = False
    in_total: bool = False  # the time-out holds for both waits together


class RunOptions(Value):
    """Whether and how to run tasks."""

    run_task: bool = False
    count: int = 1
    wait_for_success: bool = False
    network_from_service: str = ""
    watch_container: str = ""
    propagate_exit_code: bool = False
    stop_on_interrupt: bool = False
    members: tuple[MemberEdit, ...] = ()  # of RunTask's request


class ScheduleName(Value):
    """name ::= ["rule:" | "schedule:"] [BUS "/" | GROUP "/"] NAME; what is empty was not given, or is the default."""

    kind: str
    place: str
    name: str

    @property
    def path(self) -> str:
        """Its name and where it is."""
        return (f"{self.place}/" if self.place else "") + self.name

    @property
    def label(self) -> str:
        """Its name in sentences and in the ledger."""
        return f"{self.kind} {self.path}"

    @property
    def where(self) -> JSON:
        """Where it is, as a member of a request."""
        return {("EventBusName" if self.kind == "rule" else "GroupName"): self.place} if self.place else {}


class OutputOptions(Value):
    """How to say it."""

    verbose: bool = False
    json: bool = False
    dry_run: bool = False


class CommandOptions(Value):
    """What every command takes."""

    aws: AwsOptions = AwsOptions()
    output: OutputOptions = OutputOptions()
    cluster: str = ""
    wait: WaitOptions = WaitOptions()
    warnings: tuple[str, ...] = ()


class DeployOptions(CommandOptions):
    """The classic command: deploy a service, or register a definition and perhaps run it."""

    services: tuple[str, ...] = ()
    task_definition: str = ""
    source: Source = Source()
    edits: Edits = Edits()
    tags_required: bool = False
    max_definitions: int = 0
    change: ServiceOptions = ServiceOptions()
    run: RunOptions = RunOptions()
    no_preflight: bool = False
    schedules: tuple[ScheduleName, ...] = ()
    all_schedules: bool = False


class AppOptions(CommandOptions):
    """The command `app`: the entries of the application file, without the tasks that are skipped."""

    tag: str = ""
    before: Sequence[JSON] = ()
    services: Sequence[JSON] = ()
    after: Sequence[JSON] = ()
    no_preflight: bool = False


class StatusOptions(CommandOptions):
    """The command `status`: named services, or every one of the cluster; `expected` is what each of them should run."""

    services: tuple[str, ...] = ()
    every: bool = False
    follow: bool = False
    expected: tuple[str, ...] = ()


class RollbackOptions(CommandOptions):
    """The command `rollback`: to the revision `to`, or to what worked before; with `candidates` only list these."""

    services: tuple[str, ...] = ()
    to: str = ""
    candidates: bool = False


class ReplaceInstancesOptions(CommandOptions):
    """Replace the out-of-date instances of one Auto Scaling group, a batch at a time."""

    group: str = ""
    batch: tuple[int, int] = (1, 0)  # so many instances, or that percentage of the group
    timeout_s: float = 900.0
    include_protected: bool = False
    take_over: bool = False


# --- Images --------------------------------------------------------------------------- pure: no I/O

_COMPONENT = r"[A-Za-z0-9]+(?:(?:\.|__?|-+)[A-Za-z0-9]+)*"
_REFERENCE = re.compile(
    rf"""(?P<name> (?: (?:[A-Za-z0-9][A-Za-z0-9.-]*|\[[0-9A-Fa-f:]+\]) (?::[0-9]+)? / )?
          {_COMPONENT} (?:/{_COMPONENT})* )
        (?: : (?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{{0,127}}) )?
        (?: @ (?P<digest>[A-Za-z][A-Za-z0-9]*(?:[+._-][A-Za-z0-9]+)*:[0-9A-Fa-f]+) )?""",
    re.VERBOSE,
)


class ImageReference(Value):
    """reference ::= name [":" tag] ["@" digest]; name ::= [host [":" port] "/"] component {"/" component}"""

    name: str
    tag: str = ""
    digest: str = ""

    @classmethod
    def parse(cls, text: str) -> ImageReference:
        """The reference that `text` spells; raises `UsageError` (13) that quotes it otherwise."""
        match = _REFERENCE.fullmatch(text)
        if match is None:
            raise UsageError(
                f"Unable to parse image name: {text}",
                Exit.BAD_IMAGE,
                "The format is [domain][:port][/repo][/]image[:tag][@digest], for example"
                " private.registry.com:8000/repo/image:tag",
            )
        return cls(match["name"], match["tag"] or "", match["digest"] or "")

    def __str__(self) -> str:
        """The spelling that ECS is sent."""
        return self.name + (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")

    def with_tag(self, tag: str) -> ImageReference:
        """The same image at another tag; a digest would contradict it, so it goes."""
        return replace(self, tag=tag, digest="")

    def tagged(self) -> ImageReference:
        """The same image, at `latest` if it names neither a tag nor a digest."""
        return self if self.tag or self.digest else self.with_tag("latest")

    def repository(self) -> tuple[str, str]:
        """Registry and repository, Docker Hub's short names spelled out (`redis` is docker.io/library/redis)."""
        first, slash, rest = self.name.partition("/")
        if slash and ("." in first or ":" in first or first == "localhost"):
            registry, path = first.lower(), rest
        else:
            registry, path = "docker.io", self.name
        if registry in ("docker.io", "index.docker.io", "registry-1.docker.io"):
            return "docker.io", path if "/" in path else f"library/{path}"
        return registry, path


def repository_of(image: object) -> tuple[str, str]:
    """Registry and repository of a container's image; empty if it cannot be read."""
    try:
        return ImageReference.parse(str(image)).repository()
    except UsageError:
        return "", ""


# --- Members --------------------------------------------------------------------------- pure: no I/O


PathStep = str | tuple[str, str]


class MemberEdit(Value):
    """One member of a definition or a request and its new value; None takes it away.

    A step is a member or a key, or in a list a pair: what names the things of the list, and the name.
    """

    steps: tuple[PathStep, ...]
    value: Any = None

    @property
    def path(self) -> str:
        """Where it is, as people read it."""
        return ".".join(step if isinstance(step, str) else step[1] for step in self.steps)

    def applied(self, document: Any) -> Any:
        """A copy of the document with that member changed."""
        return with_member(document, self)


class VariableEdit(MemberEdit):
    """A variable or secret of a container; ECS allows a name only once, in one of the two lists."""

    def applied(self, document: Any) -> Any:
        """A copy of the definition where the variable is set or unset, in its place."""
        container, member, named = self.steps[:2], self.steps[2], self.steps[3]
        other = "secrets" if member == "environment" else "environment"
        document = with_member(document, MemberEdit((*container, other, named)))
        entries = member_at(document, (*container, member)) or []
        if sum(entry.get("name") == named[1] for entry in entries) > 1:
            document = with_member(document, MemberEdit((*container, member, named)))
        return with_member(document, self)


class LogEdit(MemberEdit):
    """A member of a container's `logConfiguration` or all of it, where the container logs with that driver or none."""

    driver: str = ""

    def applied(self, document: Any) -> Any:
        """A copy of the definition with that changed; raises `DeployError` 14 if it logs with another driver."""
        logs = self.steps[:3]
        driver, name = member_at(document, (*logs, "logDriver")), self.steps[1][1]
        if driver not in (None, self.driver):
            hint = f"To change the driver, take the old one away first: --container-logopt {name}={driver}=="
            raise DeployError(f"Container {name} logs with {driver}, not {self.driver}", Exit.NO_CONTAINER, hint)
        if driver is None and self.value is None:
            return document
        return with_member(with_member(document, MemberEdit((*logs, "logDriver"), self.driver)), self)


_NAMING = ("name", "key", "containerName", "capacityProvider", "sourceVolume", "namespace", "hostname", "portName")
_TYPES = {"string": "text", "boolean": "true or false", "list": "a list", "map": "a table", "structure": "a table"}
_TYPES |= {"integer": "a whole number", "long": "a whole number", "float": "a number", "double": "a number"}
_DECIDED = {"cluster": "-c", "service": "-n", "taskDefinition": "--taskdef or -d", "family": "-d", "count": "--count"}
_DECIDED |= {"clientToken": ""}


def member_edit(shape: Any, path: str, text: str | None) -> MemberEdit:
    """The edit that gives the member at `path` what `text` says, in the type that it has; None takes it away.

    path ::= member{.member | .key | [name]}, as AWS spells it; `shape` is botocore's, of the whole document. Raises
    `BadValue` that says what there is at that place.
    """
    steps: list[PathStep] = []
    rest = f".{path}"
    while rest:
        done = f".{path}"[: -len(rest)].lstrip(".")
        step, rest, shape = _first_step(shape, rest, done)
        steps.append(step)
    if steps[0] in _DECIDED:
        option = _DECIDED[str(steps[0])]
        instead = f"; use {option}" if option else ""
        raise BadValue(f"{path} is what this command decides{instead}")
    return MemberEdit(tuple(steps), None if text is None else typed(shape, text, path))


def variable_edit(container: str, name: str, value: str, *, secret: bool = False) -> VariableEdit:
    """The edit that gives a container a variable or secret; an empty value unsets it."""
    member, leaf = ("secrets", "valueFrom") if secret else ("environment", "value")
    steps = ("containerDefinitions", ("name", container), member, ("name", name))
    return VariableEdit((*steps, leaf), value) if value else VariableEdit(steps)


def _first_step(shape: Any, rest: str, done: str) -> tuple[PathStep, str, Any]:
    """The first step of the rest of a path, what then is left of it, and the shape at that place."""
    match: re.Match[str] | None
    if shape.type_name == "structure":
        match = re.match(r"\.(\w+)", rest, re.ASCII)
        if match is None or match[1] not in shape.members:
            raise _no_member(shape, match[1] if match else rest, done)
        return match[1], rest[match.end() :], shape.members[match[1]]
    match = re.fullmatch(r"\.(.+)|\[(.+)\]", rest, re.DOTALL)
    if match and shape.type_name == "map":  # its keys may have dots
        return match[1] or match[2], "", shape.value
    match = re.match(r"\[([^\]]+)\]", rest)
    naming = _naming(shape)
    if match and naming:
        return (naming, match[1]), rest[match.end() :], shape.member
    further = {"list": f", {done}[{naming.upper()}]" if naming else ", to be given as a whole", "map": f", {done}.KEY"}
    said = f"{done} is {_TYPES[shape.type_name]}{further.get(shape.type_name, ' and has no members')}"
    raise BadValue(said)


def _naming(shape: Any) -> str:
    """The member that names the things of a list; empty if they have no names."""
    members = getattr(shape.member, "members", {}) if shape.type_name == "list" else {}
    return next((name for name in _NAMING if name in members), "")


def _no_member(shape: Any, name: str, done: str) -> BadValue:
    import difflib

    near = difflib.get_close_matches(name, list(shape.members))
    meant = f" (did you mean {near[0]}?)" if near else ""
    said = f"{done} has no member {name}" if done else f"there is no member {name}"
    return BadValue(f"{said}{meant}; the members are {', '.join(shape.members)}")


def typed(shape: Any, text: str, path: str, *, strict: bool = True) -> Any:
    """What the text says, in the type of the shape: JSON, the AWS CLI's shorthand, or plain text.

    Raises `BadValue`, with `strict` also for a member that the shape does not know; else that stays as it is.
    """
    value: Any = text
    if shape.type_name in ("list", "map", "structure"):
        if text.lstrip()[:1] in ("{", "["):
            value = _parsed_json(text, path)
        elif shape.type_name != "list":
            value = shorthand(text)
        elif shape.member.type_name == "structure":
            value = [shorthand(item) for item in re.findall(rf"""(?:[^\s"']|{_QUOTED})+""", text)]
        else:
            value = text.split(",")
    return _converted(shape, value, path, strict)


def _converted(shape: Any, value: Any, path: str, strict: bool) -> Any:
    """The value in the type of the shape; the error does not show it, since it may be secret."""
    kind = shape.type_name
    if kind == "list":
        items = value if isinstance(value, list) else [value]
        return [_converted(shape.member, item, path, strict) for item in items]
    if kind in ("map", "structure") and isinstance(value, dict):
        shapes = shape.members if kind == "structure" else dict.fromkeys(value, shape.value)
        unknown = [name for name in value if name not in shapes]
        if unknown and strict:
            raise _no_member(shape, unknown[0], path)
        known = [name for name in value if name in shapes]
        return {**value, **{name: _converted(shapes[name], value[name], f"{path}.{name}", strict) for name in known}}
    scalar = _scalar(kind, value)
    if scalar is None:
        raise BadValue(f"{path} must be {_TYPES[kind]}")
    return scalar


def _scalar(kind: str, value: Any) -> Any:
    """Text, number or truth value; None if the value is none of that kind."""
    text = str(value).strip()
    if kind == "string":
        return str(value) if type(value) in (str, int, float) else None
    if kind == "boolean":
        return {"true": True, "false": False}.get(text.lower())
    if kind in ("integer", "long"):
        return int(text) if re.fullmatch(r"[+-]?\d{1,18}", text, re.ASCII) else None
    is_number = kind in ("float", "double") and re.fullmatch(r"[+-]?\d{1,18}(\.\d{1,18})?", text, re.ASCII)
    return float(text) if is_number else None


def with_member(document: Any, edit: MemberEdit) -> Any:
    """A copy of the document with that member changed; what the way to it lacks is made, unless it is taken away."""
    if not edit.steps:
        return edit.value
    step, inner = edit.steps[0], MemberEdit(edit.steps[1:], edit.value)
    if isinstance(step, tuple):
        return _with_thing(document or [], step, inner)
    members = dict(document or {})
    if edit.value is None and (not inner.steps or members.get(step) is None):
        members.pop(step, None)
        return members
    return {**members, step: with_member(members.get(step), inner)}


def _with_thing(things: list[JSON], named: tuple[str, str], inner: MemberEdit) -> list[JSON]:
    """The list with the thing of that name changed; without the thing, if nothing is left of it."""
    naming, name = named
    if inner == MemberEdit(()):
        return [thing for thing in things if thing.get(naming) != name]
    known = any(thing.get(naming) == name for thing in things)
    things = things if known or inner.value is None else [*things, {naming: name}]
    return [{**with_member(t, inner), naming: name} if t.get(naming) == name else t for t in things]


def member_at(document: Any, steps: Sequence[PathStep]) -> Any:
    """What the document has at that place; None if it has nothing there."""
    for step in steps:
        if isinstance(step, tuple):
            document = next((thing for thing in document or [] if thing.get(step[0]) == step[1]), None)
        else:
            document = (document or {}).get(step)
    return document


def _parsed_json(text: str, what: str) -> Any:
    signs = re.sub(r'"(?:\\.|[^"\\])*"', "", text)
    depths = itertools.accumulate((sign in "[{") - (sign in "]}") for sign in signs)
    if max(depths, default=0) > 100:  # of what AWS takes nothing is; all that walks through it would run out of stack
        raise BadValue(f"{what} is not JSON (nesting)")
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise BadValue(f"{what} is not JSON (line {error.lineno} column {error.colno})") from error


_QUOTED = r""""[^"]*"|'[^']*'"""
_SIGNS = tuple("{}[],=\"'")


def shorthand(text: str) -> JSON:
    """The AWS CLI's shorthand: pairs ::= key=value{,key=value}; value ::= {pairs} | [value{,value}] | word{,word}.

    https://docs.aws.amazon.com/cli/latest/userguide/cli-usage-shorthand.html; raises `BadValue`.
    """
    tokens = re.findall(rf"""{_QUOTED}|[^\s{{}}\[\],="']+|\S""", text)
    spelled = [_in_json(token) for token in tokens]
    kinds = "".join(token if token in _SIGNS else "w" for token in tokens)
    for bare in re.finditer(r"=(w(?:,w)+)(?!=)", kinds):  # a list of words needs no brackets
        spelled[bare.start(1)] = f"[{spelled[bare.start(1)]}"
        spelled[bare.end(1) - 1] += "]"
    pairs: JSON = {}
    with contextlib.suppress(BadValue):  # of the JSON, which nobody wrote
        pairs = _parsed_json(f"{{{''.join(spelled)}}}", text)
    if not pairs:
        raise BadValue("expected key=value,key={…},key=[…] or JSON")
    return pairs


def _in_json(token: str) -> str:
    """A sign or a word of the shorthand, as JSON spells it."""
    if token in _SIGNS:
        return ":" if token == "=" else token
    return json.dumps(token[1:-1] if token[0] in "\"'" else token)


# --- Task definitions ------------------------------------------------------------------ pure: no I/O


def registrable(described: JSON, output_only: Iterable[str]) -> JSON:
    """A definition as it was described, with its tags, as RegisterTaskDefinition takes it; nothing else is lost.

    `output_only` are the members that only the answer has (`Aws.output_only_members`). Nulls and an empty
    `tags` are left out because AWS refuses them, and so are tags that AWS itself set (`aws:`).
    """
    gone = {*output_only, "tags"}
    copied = {name: value for name, value in _without_nulls(described).items() if name not in gone}
    own_tags = [tag for tag in described.get("tags") or [] if not str(tag.get("key", "")).startswith("aws:")]
    return {**copied, "tags": own_tags} if own_tags else copied


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nulls(member) for name, member in value.items() if member is not None}
    if isinstance(value, list):
        return [_without_nulls(member) for member in value if member is not None]
    return value


def containers_of(definition: JSON) -> list[JSON]:
    """The container definitions, in order."""
    found: list[JSON] = definition.get("containerDefinitions") or []
    return found


def edited(definition: JSON, edits: Edits) -> JSON:
    """A copy of the definition with the edits applied, in the order of the fields of `Edits`.

    Raises `DeployError` 14 where a container that is named, or an image that is given, is not in the
    definition, and 13 where a tag cannot be put on an image.
    """
    containers = containers_of(definition)
    of_members = [
        edit.steps[1][1] for edit in edits.members if edit.steps[0] == "containerDefinitions" and edit.steps[1:]
    ]
    named = [*edits.tag_containers, *dict(edits.images), *of_members]
    require_containers([str(container.get("name")) for container in containers], named)
    if edits.image:
        _require_match(definition, edits.image)
    new = {**definition, "containerDefinitions": [_with_image(container, edits) for container in containers]}
    for edit in sorted(edits.members, key=_leaves_a_driver, reverse=True):
        new = edit.applied(new)
    return {name: value for name, value in new.items() if name != "tags" or value}


def _leaves_a_driver(edit: MemberEdit) -> bool:
    """True if it takes a container's log driver away, which goes before another comes."""
    return isinstance(edit, LogEdit) and edit.steps[-1] == "logConfiguration"


def _with_image(container: JSON, edits: Edits) -> JSON:
    """The container with the image that is given for it; raises `UsageError` if two edits give it different ones."""
    name, live = container.get("name"), str(container.get("image"))
    own = dict(edits.images).get(str(name), "")
    tag = edits.tag if not edits.tag_containers or name in edits.tag_containers else ""
    image = str(edits.image) if edits.image and repository_of(live) == edits.image.repository() else ""
    if own and (image not in ("", own) or (tag and ImageReference.parse(own).tag != tag)):
        option = f"--image {image}" if image else f"--tag-only {tag}"
        raise UsageError(f"{option} and --container-image give container {name} different images")
    new = own or image or (tag and str(ImageReference.parse(live).with_tag(tag)))
    return {**container, "image": new} if new else container


def require_containers(known: Sequence[str], named: Iterable[str]) -> None:
    """Raises `DeployError` 14 that lists the containers there are, if one of `named` is not `known`."""
    unknown = sorted(set(named) - set(known))
    if unknown:
        raise DeployError(
            f"No container is named {' or '.join(unknown)}; the task definition has: {', '.join(known)}",
            Exit.NO_CONTAINER,
        )


def _require_match(definition: JSON, image: ImageReference) -> None:
    if any(repository_of(container.get("image")) == image.repository() for container in containers_of(definition)):
        return
    found = "; ".join(f"{c.get('name')} runs {c.get('image')}" for c in containers_of(definition))
    raise DeployError(
        f"No container of the task definition uses the image {image.name}: {found}",
        Exit.NO_CONTAINER,
        "Give the image with the registry and repository that it has there, name the container"
        " (-l NAME=IMAGE), or give only a tag (-to TAG).",
    )


def changes(old: JSON, new: JSON) -> list[str]:
    """One line per difference, in the definition's order: images by value, all else by name only."""
    before, after = _by_name(containers_of(old)), _by_name(containers_of(new))
    lines = [f"- container {name}" for name in before if name not in after]
    for name, container in after.items():
        if name in before:
            lines += [f"{sign} {name}: {what}" for sign, what in _member_changes(before[name], container)]
        else:
            lines.append(f"+ container {name}: {container.get('image')}")
    others = [(name, sign) for sign, name in _differences(old, new) if name != "containerDefinitions"]
    return lines + [f"{sign} {name}" for name, sign in sorted(others)]


def image_changes(old: JSON, new: JSON) -> list[JSON]:
    """Container, old and new image, of every container whose image changes."""
    before, after = ({name: c.get("image") for name, c in _by_name(containers_of(d)).items()} for d in (old, new))
    changed = [name for sign, name in _differences(before, after) if sign != "-"]
    return [{"container": name, "old": before.get(name) or "", "new": after[name]} for name in changed]


def _member_changes(old: JSON, new: JSON) -> Iterator[tuple[str, str]]:
    for sign, member in _differences(old, new):
        if member == "image":
            yield "~", f"image {old.get(member)} -> {new.get(member)}"
        elif member in ("environment", "secrets"):
            entries = _differences(_by_name(old.get(member)), _by_name(new.get(member)))
            yield from ((entry_sign, f"{member} {name}") for entry_sign, name in entries)
        else:
            yield sign, member


def _by_name(entries: Iterable[JSON] | None) -> JSON:
    return {str(entry.get("name")): entry for entry in entries or []}


def _differences(old: JSON, new: JSON) -> Iterator[tuple[str, str]]:
    """The names whose values differ, each behind its sign: + for new, - for gone, ~ for changed."""
    for name in dict.fromkeys([*old, *new]):
        if old.get(name) != new.get(name):
            yield "+" if name not in old else "-" if name not in new else "~", name


def has_health_check(definition: JSON) -> bool:
    """True if ECS derives a task's health from a container: an essential one with a health check."""
    return any(
        container.get("essential", True) and (container.get("healthCheck") or {}).get("command") not in (None, ["NONE"])
        for container in containers_of(definition)
    )


def family_of(definition: str) -> str:
    """The family in a family, family:revision or ARN."""
    return definition.rpartition("task-definition/")[2].partition(":")[0]


def revision_of(arn: str) -> int:
    """The revision number at the end of a definition's ARN."""
    return int(arn.rpartition(":")[2])


def short_name(arn: str) -> str:
    """`family:revision`, task id, … : what follows the last slash."""
    return arn.rpartition("/")[2]


# --- Application file ------------------------------------------------------------ no I/O after the one read


KeyPath = tuple[str | int, ...]

# What the file may hold: by key the type of the value, a list of what the items are, or a table of further keys
_VPC = {"assign_public_ip": bool, "security_groups": [str], "subnets": [str]}
_TASK = {
    "family": str,
    "count": int,
    "containers": [str],
    "launch_type": str,
    "capacity_provider_strategies": [{"capacity_provider": str, "base": int, "weight": int}],
    "network_configuration": {"vpc_configuration": _VPC},
}
_SERVICE = {"name": str, "containers": [str], "force": bool, "max_wait": int}
_TASKS = {"pre": [_TASK], "post": [_TASK]}
_APPLICATION = {"version": str, "cluster": str, "tasks": _TASKS, "services": [_SERVICE]}
_REQUIRED: tuple[str, ...] = ("version", "family", "count", "containers", "name", "capacity_provider")
_REQUIRED += ("vpc_configuration", "security_groups", "subnets")
_CHOICES = {"version": ("v1",), "launch_type": ("ec2", "fargate", "external")}
_LIMITS = {  # of a number, or of how many entries a list has
    "count": (1, 10),
    "max_wait": (1, 1_000_000),
    "base": (0, 100_000),
    "weight": (0, 1000),
    "containers": (1, sys.maxsize),
    "capacity_provider_strategies": (0, 6),
    "security_groups": (1, 5),
    "subnets": (1, 16),
}
_KINDS = {str: "text", int: "a whole number", bool: "true or false", list: "a list", dict: "a table of keys"}


def parse_application(text: str, suffix: str, cluster: str = "") -> JSON:
    """The application that a YAML, JSON or TOML text (by suffix) describes, checked; `cluster` wins over the file's.

    Raises `UsageError` that lists all that is wrong, each with its path (and in YAML its line).
    """
    value, lines = _read_application(text, suffix)
    problems = list(_problems(value, _APPLICATION, ()))
    if not problems and not (cluster or value.get("cluster")):
        problems.append((("cluster",), "missing; name it here or with --cluster"))
    if problems:
        placed = sorted((_placed(problem, lines) for problem in problems), key=lambda at: at[0])
        raise UsageError("\n".join(["The application file is wrong:", *(said for _, said in placed)]))
    return {**value, "cluster": cluster or value["cluster"]}


def task_request(task: JSON) -> JSON:
    """What an entry of `tasks.pre` or `tasks.post` says of RunTask's parameters."""
    vpc = (task.get("network_configuration") or {}).get("vpc_configuration") or {}
    network = {
        "subnets": vpc.get("subnets"),
        "securityGroups": vpc.get("security_groups"),
        "assignPublicIp": "ENABLED" if vpc.get("assign_public_ip") else "DISABLED",
    }
    providers = [
        {"capacityProvider": each["capacity_provider"], "base": each.get("base"), "weight": each.get("weight")}
        for each in task.get("capacity_provider_strategies") or []
    ]
    request = {
        "launchType": (task.get("launch_type") or "").upper(),
        "capacityProviderStrategy": _without_nulls(providers),
        "networkConfiguration": vpc and {"awsvpcConfiguration": network},
    }
    return {name: value for name, value in request.items() if value}


def _problems(value: Any, wanted: Any, path: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    """What is wrong with a value, and with all below it."""
    kind: Any = wanted if isinstance(wanted, type) else type(wanted)
    key = str(path[-1]) if path else ""
    if type(value) is not kind:
        yield path, f"expected {_KINDS[kind]}, got {_KINDS.get(type(value), type(value).__name__)}"
    elif key in _CHOICES and value.lower() not in _CHOICES[key]:
        yield path, f"{value} is not {' or '.join(_CHOICES[key])}"
    elif out_of_bounds := _out_of_bounds(value, key):
        yield path, out_of_bounds
    elif kind is list:
        for index, item in enumerate(value):
            yield from _problems(item, wanted[0], (*path, index))
    elif kind is dict:
        yield from _key_problems(value, wanted, path)
        yield from _contradictions(value, path)


def _out_of_bounds(value: Any, key: str) -> str:
    """What is wrong with a number, or with the length of a list or a text; empty if nothing is."""
    low, high = _LIMITS.get(key, (int(isinstance(value, str)), sys.maxsize))
    size = value if isinstance(value, int) else len(value)
    bounds = f"{low} or more" if high == sys.maxsize else f"between {low} and {high}"
    unit = " entries" if isinstance(value, list) else " characters" if isinstance(value, str) else ""
    return "" if low <= size <= high else f"{size}{unit} where there should be {bounds}"


def _key_problems(table: JSON, wanted: JSON, path: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    for key in table:
        if key not in wanted:
            yield (*path, str(key)), f"unknown key; the known ones are {', '.join(wanted)}"
    for key, inner in wanted.items():
        if table.get(key) is not None:
            yield from _problems(table[key], inner, (*path, key))
        elif key in _REQUIRED:
            yield (*path, key), "missing"


def _contradictions(table: JSON, path: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    """What does not go together in a task's table, or in the whole file's."""
    strategies = _tables(table.get("capacity_provider_strategies"))
    place = (*path, "capacity_provider_strategies")
    if strategies and table.get("launch_type"):
        yield place, "not together with launch_type"
    if sum(bool(item.get("base")) for item in strategies) > 1:
        yield place, "only one capacity provider may have a base"
    names = [service.get("name") for service in _tables(table.get("services"))]
    for index, name in enumerate(names):
        if name is not None and name in names[:index]:
            yield (*path, "services", index, "name"), f"{name} is there twice"


def _tables(value: Any) -> list[JSON]:
    """The items of a list of tables; none where it is not one, which is a problem of its own."""
    items = value if isinstance(value, list) else []
    return items if all(isinstance(item, dict) for item in items) else []


def _placed(problem: tuple[KeyPath, str], lines: Mapping[KeyPath, int]) -> tuple[int, str]:
    """The line of that value, or of the nearest one around it that is known, and the problem in words."""
    path, message = problem
    line = next((lines[path[:end]] for end in range(len(path), -1, -1) if path[:end] in lines), 0)
    spelled = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).lstrip(".")
    return line, f"  {spelled or 'the file'}: {message}" + (f" (line {line})" if line else "")


def _read_application(text: str, suffix: str) -> tuple[Any, Mapping[KeyPath, int]]:
    """What the text says, and of YAML the line of each value; raises `UsageError`."""
    kind = {".json": "JSON", ".toml": "TOML"}.get(suffix, "YAML")
    try:
        if kind == "YAML":
            return _read_yaml(text)
        if kind == "JSON":
            return json.loads(text), {}
        hint = "Write the file as .ecs-deploy.json, or as YAML."
        return _module("tomllib", "To read TOML, Python 3.11 is needed", hint).loads(text), {}
    except RecursionError as error:
        raise UsageError("The application file is nested too deeply") from error
    except (ValueError, TypeError) as error:
        raise UsageError(f"The application file is not {kind}: {' '.join(str(error).split())}") from error


def _read_yaml(text: str) -> tuple[Any, dict[KeyPath, int]]:
    hint = "pip install pyyaml, or write the file as .ecs-deploy.json or .ecs-deploy.toml."
    yaml = _module("yaml", "To read YAML, PyYAML is needed, and it is not installed", hint)
    lines: dict[KeyPath, int] = {(): 1}
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        _note_lines(node, (), lines)
        return (loader.construct_document(node) if node else None), lines
    except yaml.MarkedYAMLError as error:  # its own text quotes the line, which may hold a secret
        at = error.problem_mark
        raise ValueError(f"line {at.line + 1} column {at.column + 1}: {error.problem}") from error
    except yaml.reader.ReaderError as error:  # a character that YAML does not allow
        raise ValueError(error.reason) from error


def _module(name: str, needed: str, hint: str) -> Any:
    try:
        return __import__(name)
    except ImportError as error:
        raise UsageError(needed, Exit.REQUIREMENT, hint) from error


def _note_lines(node: Any, path: KeyPath, lines: dict[KeyPath, int]) -> None:
    """Where each value stands; a key that is there twice raises `UsageError`, since YAML would drop one."""
    if node is None or len(path) > 20:
        return
    lines.setdefault(path, node.start_mark.line + 1)
    if node.id == "sequence":
        for index, item in enumerate(node.value):
            _note_lines(item, (*path, index), lines)
    elif node.id == "mapping":
        for key, value in node.value:
            place = (*path, str(key.value))
            if place in lines:
                raise UsageError("The application file is wrong:\n" + _placed((place, "is there twice"), lines)[1])
            lines[place] = key.start_mark.line + 1
            _note_lines(value, place, lines)


# --- Verdicts ------------------------------------------------------- total functions: no I/O, no loop, no print


class RolloutState(Enum):
    """Where a roll-out stands: in a word; and if it ends there the exit code, and how a sentence says it."""

    WAITING = "in progress", Exit.FAILED, "failed"
    COMPLETED = "completed", Exit.OK, ""
    RUNNING = "running", Exit.OK, ""  # the first wait is over and no more was asked for
    FAILED = "failed", Exit.FAILED, "failed"
    ROLLING_BACK = "rolling back", Exit.FAILED, "failed, and the service is going back"  # ECS does so by itself
    ROLLED_BACK = "rolled back", Exit.FAILED, "failed, and the service went back"  # ECS has done so by itself
    ROLLBACK_FAILED = "rollback failed", Exit.ROLLBACK_FAILED, "failed, and so did ECS's rollback"
    SUPERSEDED = "superseded", Exit.SUPERSEDED, "was superseded"
    GONE = "gone", Exit.FAILED, "cannot complete"
    TIMED_OUT = "timed out", Exit.TIMED_OUT, "timed out"


BY_ECS = (RolloutState.ROLLING_BACK, RolloutState.ROLLED_BACK, RolloutState.ROLLBACK_FAILED)


class Verdict(Value):
    """A state and why."""

    state: RolloutState
    reason: str = ""


class Rollout(Record):
    """One service's deployment, ours or with `returning` the one that leads back: which it is, and what was seen of it.

    `previous_definition` is empty where there is nothing to go back to (a forced redeploy). `after_s` is AWS's time of
    the update, by which an older answer is told; 0 where it was not told. `left_id` is the deployment that a rollback
    leaves. With `steady` the tasks count as well: a deployment that completed once may have lost them since; and where
    a count was asked for, it must be that one.
    """

    cluster: str
    part: PlannedService
    wait: WaitOptions
    label: str
    started_s: float
    deployment_id: str = ""
    definition: str = ""
    previous_definition: str = ""
    after_s: float = 0.0
    left_id: str = ""
    steady: bool = False
    left_alone: bool = False  # nothing changes in the service
    returning: bool = False
    back: Rollout | None = None
    verdict: Verdict | None = None
    took_s: float = 0.0  # until the verdict
    last: JSON = field(default_factory=dict)  # the service, as AWS showed it last
    last_s: float = 0.0
    current: bool = False  # the last look was answered with something that counts
    missing_s: float = INFINITE_S  # since when AWS shows no such service
    unsure: bool = False  # a rollback was sent, and its answer not seen
    tried: bool = False  # one was, at some time
    running_s: float | None = None  # when the first wait was over
    counts: Counter[str] = field(default_factory=Counter)
    most_running: int = 0
    known_events: set[str] = field(default_factory=set)
    events: list[JSON] = field(default_factory=list)
    stopped: dict[str, JSON] = field(default_factory=dict)  # by their ARNs the tasks that failed
    causes: dict[CauseRow | None, list[JSON]] = field(default_factory=dict)  # and by what does not pass, or None
    crowded: bool | None = None  # the cluster has several instances
    logs: list[JSON] = field(default_factory=list)
    log: tuple[str, list[str]] = ("", [])  # title and lines of the log to show at the end
    native: str = ""  # the ARN of its service deployment (BLUE_GREEN, LINEAR and CANARY)
    native_state: JSON = field(default_factory=dict)
    old_targets: set[str] = field(default_factory=set)
    said: set[str] = field(default_factory=set)  # what is to be said once

    @property
    def service(self) -> str:
        """The name of its service."""
        return self.part.name

    @property
    def key(self) -> str:
        """Its place in the ledger."""
        return f"service {self.service}"

    @property
    def what(self) -> str:
        """Its name in sentences."""
        return f"{f'deployment {self.deployment_id}' if self.deployment_id else 'the update'} of service {self.service}"

    @property
    def state(self) -> RolloutState:
        """Where it stands."""
        return self.verdict.state if self.verdict else RolloutState.WAITING

    @property
    def reason(self) -> str:
        """Why it stands there."""
        return self.verdict.reason if self.verdict else ""

    @property
    def succeeded(self) -> bool:
        """True if what was asked for was seen."""
        return self.state in (RolloutState.COMPLETED, RolloutState.RUNNING)

    @property
    def latest(self) -> Rollout:
        """What was begun last: the way back, if that has begun."""
        return self.back or self

    @property
    def reasons(self) -> Counter[str]:
        """Why tasks stopped, counted."""
        return Counter(map(stop_reason, self.stopped.values()))

    @property
    def stoppable(self) -> bool:
        """True if ECS can roll its service deployment back (BLUE_GREEN, LINEAR and CANARY)."""
        failed = find_deployment(self.last, self.deployment_id).get("rolloutState") == "FAILED"
        return bool(self.native) and not failed and strategy_verdict(self.native_state).state is RolloutState.WAITING

    @property
    def deadline_s(self) -> float:
        """When the present wait is over; each of the two waits has the whole time-out."""
        begun_s = self.started_s if self.wait.in_total or self.running_s is None else self.running_s
        return begun_s + (self.wait.timeout_s or FOREVER_S)

    @property
    def leads_back(self) -> bool:
        """True if there is something to go back to: another definition, or what else of the service was changed."""
        return bool(self.previous_definition or (self.part.undo and not self.part.deploys))

    @property
    def way_back(self) -> JSON:
        """UpdateService's request that takes the service back to what it was before."""
        back = {"taskDefinition": self.previous_definition} if self.previous_definition else {}
        return {"cluster": self.cluster, "service": self.service, **back, **self.part.undo}


def find_deployment(service: JSON, deployment_id: str) -> JSON:
    """The deployment with that id, {} if the service does not list it."""
    return next((d for d in service.get("deployments") or [] if d.get("id") == deployment_id), {})


def primary_of(service: JSON) -> JSON:
    """The service's PRIMARY deployment, or {} if the answer has none."""
    return next((d for d in service.get("deployments") or [] if d.get("status") == "PRIMARY"), {})


def definitions_in_use(services: Iterable[JSON]) -> set[str]:
    """The ARNs of the definitions of all deployments that still have a part in one of the services."""
    deployments = [d for service in services for d in service.get("deployments") or [] if d.get("status") != "INACTIVE"]
    return {str(deployment.get("taskDefinition")) for deployment in deployments}


def is_completed(deployment: JSON) -> bool:
    """True if ECS said so, or says nothing and all its tasks run (behind a Classic Load Balancer)."""
    state = deployment.get("rolloutState")
    return state == "COMPLETED" if state else number(deployment, "runningCount") >= number(deployment, "desiredCount")


def last_completed(service: JSON) -> str:
    """The ARN of the definition that last worked: of the newest deployment that completed; empty if none did."""
    completed = [d for d in service.get("deployments") or [] if is_completed(d) and d.get("status") != "INACTIVE"]
    newest: JSON = max(completed, key=lambda d: (d.get("status") == "PRIMARY", stamp_s(d)), default={})
    return str(newest.get("taskDefinition") or "")


def is_older(service: JSON, last: JSON) -> bool:
    """True if a DescribeServices answer is older than the one before it: its newest event is, and events only grow.

    ECS's answers are eventually consistent; seconds after an update the state before it may show once more.
    """
    return _newest_s(service.get("events")) < _newest_s(last.get("events"))


def changed_s(service: JSON) -> float:
    """AWS's time of the newest change that a DescribeServices answer shows in the service's deployments or events."""
    return max(_newest_s(service.get("deployments")), _newest_s(service.get("events")))


def _newest_s(made: Iterable[JSON] | None) -> float:
    return max((max(stamp_s(each), stamp_s(each, "updatedAt")) for each in made or []), default=0.0)


def stamp_s(made: JSON, member: str = "createdAt") -> float:
    """When something was created, in AWS's seconds; 0 if that is not told, or not as AWS tells it."""
    stamp = made.get(member)
    return float(stamp) if isinstance(stamp, (int, float)) else 0.0


def number(described: JSON, member: str) -> int:
    """A count; 0 where AWS does not tell it."""
    return int(described.get(member) or 0)


def counts_of(service: JSON, deployment_id: str) -> Counter[str]:
    """How many tasks of our deployment are running, pending, desired and failed, and how many of others run ("old")."""
    ours = find_deployment(service, deployment_id)
    others = [d for d in service.get("deployments") or [] if d.get("id") != deployment_id]
    counts = Counter({name: number(ours, f"{name}Count") for name in ("running", "pending", "desired")})
    return counts + Counter(failed=number(ours, "failedTasks"), old=sum(number(d, "runningCount") for d in others))


def named(deployment: JSON) -> str:
    """A deployment's id and the definition that it runs."""
    return f"{deployment.get('id')} ({short_name(str(deployment.get('taskDefinition')))})"


def rollout_verdict(service: JSON | None, rollout: Rollout, now_s: float) -> Verdict:
    """What a DescribeServices answer means for our deployment: the first row that holds.

    Success is our id with `rolloutState` COMPLETED, or, where AWS gives no state, our id alone as PRIMARY with
    all its tasks running. One deployment left proves nothing: so ends a circuit breaker's rollback, too.
    """
    service, young = service or {}, now_s - rollout.started_s < UNSEEN_GRACE_S
    ours, primary = find_deployment(service, rollout.deployment_id), primary_of(service)
    status, said = service.get("status"), theirs(primary.get("rolloutStateReason") or "")
    displaced = ours.get("status") != "PRIMARY"
    back = _back_by_ecs(service, rollout) if displaced else ""
    is_back = (primary.get("rolloutState") or "COMPLETED") == "COMPLETED"
    other = named(primary) if primary else "another deployment"
    missing = not service and (young or now_s - rollout.missing_s < MISSING_S)
    rows: tuple[tuple[object, RolloutState, str], ...] = (
        (missing, RolloutState.WAITING, "not visible"),
        (not service or status == "INACTIVE", RolloutState.GONE, "the service was deleted"),
        (status == "DRAINING", RolloutState.GONE, "the service is being deleted (DRAINING)"),
        (is_outdated(service, rollout, young=young), RolloutState.WAITING, "not visible yet"),
        (back, RolloutState.ROLLED_BACK if is_back else RolloutState.ROLLING_BACK, back),
        (ours.get("rolloutState") == "FAILED", RolloutState.FAILED, _failure(ours)),
        (displaced, RolloutState.SUPERSEDED, f"{other} is the service's PRIMARY deployment now"),
        (_is_done(service, ours, rollout), RolloutState.COMPLETED, said),
        (True, RolloutState.WAITING, said),
    )
    return next(Verdict(state, reason) for holds, state, reason in rows if holds)


def is_outdated(service: JSON, rollout: Rollout, *, young: bool) -> bool:
    """True if the answer is from before our update, or may be; if that is `young`, what is not shown may still come."""
    if is_older(service, rollout.last):
        return True
    changed, primary, after_s = changed_s(service), primary_of(service), rollout.after_s
    shown = bool(find_deployment(service, rollout.deployment_id))
    before = changed < after_s or (changed == after_s > 0 and not shown)
    proof = _told_failed(service, rollout) or stamp_s(primary) > after_s > 0
    left = bool(rollout.left_id) and primary.get("id") == rollout.left_id
    return before or left or (young and not shown and not proof)


def _told_failed(service: JSON, rollout: Rollout) -> bool:
    """True if our deployment is listed as FAILED, or an event says so: all that is left after a quick rollback."""
    ours = find_deployment(service, rollout.deployment_id)
    told = f"(deployment {rollout.deployment_id}) deployment failed"
    events = service.get("events") or []
    return ours.get("rolloutState") == "FAILED" or any(told in str(event.get("message")) for event in events)


def is_told_to_go_back(service: JSON, rollout: Rollout) -> bool:
    """True if ECS says that it goes back, and not only the same definition as before is there again."""
    said = str(primary_of(service).get("rolloutStateReason") or "")
    return _told_failed(service, rollout) or "rolling back" in said.lower()


def _back_by_ecs(service: JSON, rollout: Rollout) -> str:
    """How it shows that ECS itself goes back to the previous definition (of a forced redeploy: the same); or ""."""
    ours, primary = find_deployment(service, rollout.deployment_id), primary_of(service)
    definition, said = str(primary.get("taskDefinition") or ""), str(primary.get("rolloutStateReason") or "")
    told = _told_failed(service, rollout)
    if primary and ours.get("rolloutState") == "FAILED":
        return f"{undotted(_failure(ours))}; ECS is rolling back to {short_name(definition)}"
    if "rolling back" in said.lower():
        return f"{theirs(said.rstrip('.'))} ({short_name(definition)})"
    before = rollout.part.service.get("taskDefinition") if told else ""  # even if it is INACTIVE: ECS may go there
    if definition != (rollout.previous_definition or before) or not definition:
        return ""
    made = f"{primary.get('id')} made the previous task definition PRIMARY again"
    return f"{'ECS said that the deployment failed' if told else made} ({short_name(definition)})"


def _failure(ours: JSON) -> str:
    said = ours.get("rolloutStateReason")
    return theirs(said) if said else "ECS marked the deployment as FAILED"


def _is_done(service: JSON, ours: JSON, rollout: Rollout) -> bool:
    state, desired = ours.get("rolloutState"), number(ours, "desiredCount")
    if state is not None and not rollout.steady:
        return bool(state == "COMPLETED")
    wanted = {} if rollout.returning else rollout.part.update
    settled = number(ours, "runningCount") == desired == wanted.get("desiredCount", desired)
    return state in (None, "COMPLETED") and settled and len(service.get("deployments") or []) == 1


_STRATEGY_STATES = {  # of a service deployment; and where its rollback is what was asked for
    "SUCCESSFUL": (RolloutState.COMPLETED, RolloutState.COMPLETED),
    "STOPPED": (RolloutState.FAILED, RolloutState.FAILED),
    "ROLLBACK_REQUESTED": (RolloutState.ROLLING_BACK, RolloutState.WAITING),
    "ROLLBACK_IN_PROGRESS": (RolloutState.ROLLING_BACK, RolloutState.WAITING),
    "ROLLBACK_SUCCESSFUL": (RolloutState.ROLLED_BACK, RolloutState.COMPLETED),
    "ROLLBACK_FAILED": (RolloutState.ROLLBACK_FAILED, RolloutState.ROLLBACK_FAILED),
}


def strategy_verdict(service_deployment: JSON, *, wanted_back: bool = False) -> Verdict:
    """What a DescribeServiceDeployments entry means (BLUE_GREEN, LINEAR and CANARY).

    With `wanted_back`, its rollback is what was asked for.
    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ServiceDeployment.html
    """
    status = str(service_deployment.get("status"))
    rollback = service_deployment.get("rollback") or {}
    said = rollback.get("reason") or service_deployment.get("statusReason")
    state = _STRATEGY_STATES.get(status, (RolloutState.WAITING, RolloutState.WAITING))[wanted_back]
    return Verdict(state, theirs(said) if said else f"the service deployment is {status}")


def strategy_of(service: JSON) -> str:
    """How ECS replaces the service's tasks: ROLLING, BLUE_GREEN, LINEAR or CANARY."""
    return str((service.get("deploymentConfiguration") or {}).get("strategy") or "ROLLING")


def bake_time_s(configuration: JSON) -> float:
    """The seconds that a deployment configuration waits on purpose, whatever the tasks do."""
    minutes = float(configuration.get("bakeTimeInMinutes") or 0)
    linear = configuration.get("linearConfiguration") or {}
    canary = configuration.get("canaryConfiguration") or {}
    if configuration.get("strategy") == "LINEAR" and linear.get("stepPercent"):
        steps = -(-100 // float(linear["stepPercent"]))
        minutes += (steps - 1) * float(linear.get("stepBakeTimeInMinutes") or 0)
    if configuration.get("strategy") == "CANARY":
        minutes += float(canary.get("canaryBakeTimeInMinutes") or 0)
    return minutes * 60


class TaskVerdict(Value):
    """How a stopped task ended: `exit_code` is None where a deciding container never started."""

    ok: bool
    exit_code: int | None
    reason: str


_STOPPED_FROM_OUTSIDE = (
    "UserInitiated", "SpotInterruption", "TerminationNotice", "InfrastructureHealth", "ServiceSchedulerInitiated"
)  # fmt: skip


def task_verdict(task: JSON, definition: JSON, watch_container: str = "") -> TaskVerdict:
    """Success only if every essential container (or the watched one alone) ended with 0, and by itself.

    A task that a person, Spot or a failing host stopped may end with 0, too: it was asked to, and did not finish.
    """
    essential = {c.get("name") for c in containers_of(definition) if c.get("essential", True)}
    deciding = {watch_container} if watch_container else essential
    codes = {c.get("name"): c.get("exitCode") for c in task.get("containers") or [] if c.get("name") in deciding}
    all_zero = deciding <= {name for name, code in codes.items() if code == 0}
    if all_zero and task.get("stopCode") not in _STOPPED_FROM_OUTSIDE:
        return TaskVerdict(True, 0, "")
    return TaskVerdict(False, next((code for code in codes.values() if code), None), stop_reason(task))


def stop_reason(task: JSON) -> str:
    """Why a task stopped, in one line without ids: stop code, reason, and each container that did not end well."""
    code, said = str(task.get("stopCode") or ""), str(task.get("stoppedReason") or "")
    why = ": ".join(part for part in (code if code not in said else "", said) if part)
    endings = [_ending(container, said) for container in task.get("containers") or []]
    parts = [why or "stopped without a reason", *(ending for ending in endings if ending)]
    return theirs(re.sub(r"\b[0-9a-f]{32}\b", "…", "; ".join(parts)))


def _ending(container: JSON, said: str) -> str:
    """How a container ended, beyond what was said of its task."""
    code, why = container.get("exitCode"), str(container.get("reason") or "")
    ended = f"exit code {code}" if code is not None else "" if why else "never started"
    parts = ", ".join(part for part in (ended, why if why not in said else "") if part)
    return f"container {container.get('name')}: {parts}" if parts else ""


def stop_words(task: JSON) -> str:
    """All that AWS says of a stopped task, without the names that its owner gave: evidence for `likely_cause`."""
    containers = task.get("containers") or []
    said = [task.get("stopCode"), task.get("stoppedReason"), *(c.get("reason") for c in containers)]
    codes = [f"exit code {c['exitCode']}" for c in containers if c.get("exitCode") is not None]
    return without_names(" ".join([*(str(part) for part in said if part), *codes]))


def without_names(event: str) -> str:
    """An event or reason of ECS without the names in it: `(service alarm-api)` tells of no alarm."""
    return re.sub(r"\((?:service|deployment|task|task-set|port|target-group|instance)s? [^)]*\)", "", event)


def event_text(event: str, label: str) -> str:
    """An event as people read it: without the tasks that it lists, or a service's name that the label has, too."""
    listed = re.sub(r":( \(task [^)]*\))+", "", event)
    shortened = re.sub(r"\(task (\w{8})\w+\)", r"(task \1)", listed)
    named = re.match(r"\(service ([^)]*)\) ", shortened)
    return shortened[named.end() :] if named and label.startswith(f"{named[1]}: ") else shortened


def counts_as_failure(task: JSON) -> bool:
    """False for tasks that ECS or a person stopped on purpose: scaling in, a newer deployment, StopTask."""
    reason = str(task.get("stoppedReason") or "")
    return not reason.startswith("Scaling activity initiated by") and task.get("stopCode") != "UserInitiated"


CauseRow = tuple[tuple[str, ...], str, str, str]  # the sources that tell of it, a pattern, the cause, and what to do

# Reasons that do not pass, however long one waits, as `_CAUSES` has the others. What one bad instance would explain (on
# the next the task may run) has the source "host" as well.
_LASTING: tuple[CauseRow, ...] = (
    (("stop", "event", "host"), r"no matching manifest|descriptor matching platform|no match for platform",
     "the image cannot be pulled, it is for another platform", "Build it for the platform of runtimePlatform, or"
     " change that member of the task definition."),
    (("stop", "event"), r"CannotPull.*(?:manifest unknown|name unknown|: not found\b|manifest for \S+ not found)",
     "the image cannot be pulled, there is none of that name and tag",
     "Push it, or correct the image's name, and deploy again."),
    (("stop", "event", "host"), r"CannotPull.*(?:AccessDenied|pull access denied|not authorized|manifests\b.*"
     r"403 Forbidden)|ecr registry auth.*AccessDenied", "the image cannot be pulled, the registry refuses it",
     "Allow the task's execution role (or the instance's role) to pull it, or correct the image's name."),
    (("stop", "event"), r"log group does not exist", "a log group of the definition does not exist",
     "Create it, or set awslogs-create-group."),
    (("stop", "event"), r"(?:secret|ssm).*(?:ResourceNotFoundException|invalid (?:ssm )?parameters?:|"
     r"ParameterNotFound|did not contain json key)", "a secret or parameter of the definition does not exist",
     "Create it in the region that the definition names, or correct its name."),
    (("stop", "event"), r"(?:ResourceInitializationError|secret).*(?:AccessDenied|not authorized to perform)",
     "the task's execution role is refused what the task needs (AccessDenied)",
     "Allow it in the policy of the execution role."),
    (("stop", "log", "host"), r"exec format error", "the image was built for another CPU architecture",
     "Build for the architecture of runtimePlatform, or change that member of the task definition."),
    (("event",), r"unable to place.*memberOf placement constraint unsatisfied",
     "no instance meets the placement constraints", "Correct them in the definition or the service, or add instances"
     " that meet them."),
)  # fmt: skip
_HEALING = (  # beside one of those reasons: the registry, the network or AWS may do better next time
    r"time-?out|timed out|deadline exceeded|too ?many ?requests|rate (?:exceeded|limit)|throttl|no such host"
    r"|connection (?:refused|reset)|unreachable|unexpected EOF|temporar(?:y|ily)|try again|unavailable|bad gateway"
    r"|internal (?:server )?error|internal(?:server|service)"
)


# What the sources of evidence can tell: the roll-out's own reason, events, stopped tasks, pause hooks, the stage of a
# strategy, health, and logs. A cause is looked for only where it would be said: an application writes what it likes.
_CAUSES: tuple[CauseRow, ...] = (
    (("rollout", "event"), r"\balarms? (?:detected|breach|went)|deployment alarms",
     "a CloudWatch alarm of the service went off", "Look at the alarm and the metric behind it."),
    (("hook",), r"AWAITING_ACTION",
     "a pause hook waits for somebody", "Continue it with the command above, or give a longer time-out."),
    (("stage",), r"BAKE_TIME",
     "the bake time is longer than the time-out", "Give a time-out that is longer than the bake time."),
    (("stop", "event"), r"CannotPull|pull image|manifest unknown|ImagePull",
     "the image cannot be pulled", "Check that the tag was pushed to that registry, that the execution role may pull"
     " it, and that the task's subnets reach the registry."),
    (("stop", "event"), r"ResourceInitializationError|unable to (?:pull|retrieve) secret|ssm:|secretsmanager",
     "ECS could not prepare the task (secrets, logs, volumes or network)", "Check the execution role's permissions and"
     " that the subnets reach Secrets Manager, SSM, ECR and CloudWatch."),
    (("stop",), r"OutOfMemory", "a container was killed, most often because it ran out of memory",
     "Raise the memory of the container or the task, or find what uses it."),
    (("stop", "event", "health"), r"health check|unhealthy|none healthy|Target\.", "the tasks run, but are not healthy",
     "Look at the health check's command or path, its grace period (healthCheckGracePeriodSeconds), and the"
     " container's log."),
    (("stop", "event"),
     r"unable to place|RESOURCE:|no container instance|capacity is unavailable|insufficient (?:cpu|memory)",
     "there is no room for the new tasks", "Add capacity, lower the task's cpu and memory, or lower --min so that old"
     " tasks may stop first."),
    (("stop",), r"SpotInterruption|TerminationNotice|Host EC2|InfrastructureHealth", "the host went away",
     "Deploy again; nothing points at the image."),
    (("stop",), r"exit code 137", "a container was killed, perhaps because it ran out of memory",
     "Look at the container's log and its memory use; raise its memory if that was it."),
    (("stop",), r"exit code|EssentialContainerExited|Essential container",
     "the application ends by itself soon after it starts",
     "Read the container's log; a missing variable, secret or migration is the usual reason."),
    (("rollout", "stop"), r"", "unknown, ECS gave no reason so far",
     "Look at the service's events, and give a longer time-out (-t; in an application file max_wait) if it only takes"
     " long."),
)  # fmt: skip


def _causes_told(rows: Iterable[CauseRow], evidence: Mapping[str, Iterable[str]]) -> Iterator[CauseRow]:
    """The causes that a source tells of which can know it."""
    for row in rows:
        said = [text for source in row[0] for text in evidence.get(source, ())]
        if any(re.search(row[1], text, re.IGNORECASE | re.DOTALL) for text in said):
            yield row


def lasting_cause(source: str, said: str) -> CauseRow | None:
    """The cause in what a source says, if it is one that does not pass."""
    heals = re.search(_HEALING, said, re.IGNORECASE)
    return None if heals else next(_causes_told(_LASTING, {source: [said]}), None)


def likely_cause(evidence: Mapping[str, Iterable[str]]) -> tuple[str, str]:
    """The likeliest cause in what each source says, and what to do next."""
    return next(_causes_told((*_LASTING, *_CAUSES), evidence))[2:]


def revisions_to_prune(active: Iterable[str], keep: int, in_use: Iterable[str]) -> list[str]:
    """The ARNs to deregister, oldest first: all beyond the newest `keep`, but never one in use."""
    oldest_first = sorted(active, key=revision_of)
    used = set(in_use)
    return [arn for arn in oldest_first[: max(0, len(oldest_first) - keep)] if arn not in used]


# The day after: how a service does, and what it ran before


class Standing(Enum):
    """How a service does by one answer; the worst first."""

    MISSING = "not there"
    DELETED = "being deleted"
    FAILED = "deployment failed"
    SHORT = "short of tasks"
    GOING_BACK = "going back"
    ROLLING_OUT = "rolling out"
    SCALING = "scaling"
    LINGERING = "old tasks left"
    STEADY = "steady"


def running_definitions(service: JSON) -> list[str]:
    """The ARNs of the definitions of which the service runs tasks, that of the PRIMARY deployment first."""
    deployments = [primary_of(service), *others_of(service)]
    return list(dict.fromkeys(str(d["taskDefinition"]) for d in deployments if number(d, "runningCount")))


def with_deployments(service: JSON) -> JSON:
    """The service; where another controller deploys it, with its task sets as its deployments."""
    states = {"STEADY_STATE": "COMPLETED", "STABILIZING": "IN_PROGRESS"}
    deployments: list[JSON] = list(service.get("deployments") or [])
    for task_set in [] if deployments else service.get("taskSets") or []:
        state = states.get(str(task_set.get("stabilityStatus")))
        deployments.append({**task_set, "desiredCount": task_set.get("computedDesiredCount"), "rolloutState": state})
    return {**service, "deployments": deployments}


def others_of(service: JSON) -> list[JSON]:
    """The deployments that are not PRIMARY and still have tasks."""
    others = [d for d in service.get("deployments") or [] if d.get("status") != "PRIMARY"]
    return [d for d in others if number(d, "runningCount") + number(d, "pendingCount")]


def listed_text(names: Sequence[str]) -> str:
    """One or more names in a sentence."""
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]


def tasks_text(count: int) -> str:
    """So many tasks, in words."""
    return f"{count} task{'' if count == 1 else 's'}"


def counts_text(service: JSON) -> str:
    """Tasks of the PRIMARY deployment that run, of those desired, and what is pending."""
    counted = primary_of(service) or service
    pending = number(counted, "pendingCount")
    running = f"{number(counted, 'runningCount')} of {number(counted, 'desiredCount')} running"
    return running + (f", {pending} pending" if pending else "")


def standing_of(service: JSON) -> tuple[Standing, str]:
    """How a service does by a DescribeServices answer, {} where it is not there, and why: the first row that holds."""
    primary, others, counts = primary_of(service), others_of(service), counts_text(service)
    missing = number(service, "desiredCount") - number(primary or service, "runningCount")
    state, said = primary.get("rolloutState"), theirs(primary.get("rolloutStateReason") or "ECS gave no reason")
    failed, (back, _) = number(primary, "failedTasks"), setback_of(service)
    trouble = f"{tasks_text(failed)} failed in a row" if failed else next(iter(troubles_of(service)), "")
    moving = state == "IN_PROGRESS" or (not state and bool(others))
    left = ", ".join(f"{number(d, 'runningCount')} of {short_name(str(d.get('taskDefinition')))}" for d in others)
    because = f"{counts}; {trouble}" if trouble else counts
    rows: tuple[tuple[object, Standing, str], ...] = (
        (service.get("status", "INACTIVE") == "INACTIVE", Standing.MISSING, ""),
        (service.get("status") == "DRAINING", Standing.DELETED, counts),
        (state == "FAILED", Standing.FAILED, f"{undotted(said)}; {counts}"),
        (moving and back, Standing.GOING_BACK, f"{undotted(back)}; {counts}"),
        (moving, Standing.ROLLING_OUT, because),
        (missing > 0 and not primary, Standing.SHORT, f"{counts}; nothing was deployed to it"),
        (missing > 0 and trouble, Standing.SHORT, because),
        (missing > 0, Standing.SCALING, counts),
        (others, Standing.LINGERING, f"{left} still running"),
        (missing or number(service, "pendingCount"), Standing.SCALING, counts),
        (True, Standing.STEADY, ""),
    )
    return next((standing, reason) for holds, standing, reason in rows if holds)


def is_trouble(event: JSON) -> bool:
    """True if an event tells of trouble, by its words and not by the names in it."""
    words = r"unable|fail|unhealthy|error|insufficient"
    return re.search(words, without_names(str(event.get("message", ""))), re.IGNORECASE) is not None


def troubles_of(service: JSON) -> list[str]:
    """What the events tell of trouble since the service was last steady, newest first, each once."""
    told = service.get("events") or []
    since = itertools.takewhile(lambda event: "has reached a steady state" not in str(event.get("message")), told)
    return list(dict.fromkeys(theirs(event["message"]) for event in since if is_trouble(event)))


def setback_of(service: JSON) -> tuple[str, str]:
    """Why ECS went back to the PRIMARY deployment by itself, in its words, and the id of what it left; "" if not."""
    primary, told = primary_of(service), [str(event.get("message")) for event in service.get("events") or []]
    said = str(primary.get("rolloutStateReason") or "")
    back = [text for text in told if f"rolling back to deployment {primary.get('id')}" in text]
    if not back and "rolling back" not in said.lower():
        return "", ""
    ends = [re.search(r"\(deployment (\S+)\) deployment failed", text) for text in told]
    if failed := next((match for match in ends if match and match[1] != primary.get("id")), None):
        return theirs(failed.string), failed[1]
    listed = [d for d in service.get("deployments") or [] if d.get("rolloutState") == "FAILED"]
    return theirs([*back, said][0]), next((str(deployment["id"]) for deployment in listed), "")


class Past(Value):
    """A definition that a service ran or may run, how that ended, and when it began."""

    definition: str
    ended: str = ""
    at_s: float = 0.0
    release: str = ""  # the ARN of the service deployment

    @property
    def known_by(self) -> str:
        """How it is known that it may be gone back to."""
        if not self.ended:
            return "the next older ACTIVE revision; ECS does not tell whether it ever worked"
        return f"deployed {date_text(self.at_s)}, {self.ended}" + ("" if self.release else " and still listed")


def worked_before(succeeded: Iterable[str], current: str) -> list[str]:
    """The definitions that worked before the current one, newest first, of all that succeeded, oldest first.

    Who deploys what had worked before, or an older revision of the family, goes back: what came after it was left,
    and is no way back any more.
    """
    kept: list[str] = []
    for definition in succeeded:
        if definition in kept:
            kept = kept[: kept.index(definition)]
        newer = [e for e in kept if family_of(e) == family_of(definition) and revision_of(e) > revision_of(definition)]
        kept = [*(each for each in kept if each not in newer), definition]
    return kept[: kept.index(current)][::-1] if current in kept else kept[::-1]


def date_text(at_s: float) -> str:
    """A time of AWS's as people read it."""
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(at_s)) if at_s else "an unknown time"


def is_expected(expected: str, definition: JSON, digests: Mapping[str, Iterable[str]]) -> bool | None:
    """Whether a definition is, or its containers run, what is expected; None if it has nothing to do with that."""
    arn = str(definition.get("taskDefinitionArn"))
    found = [fits for c in containers_of(definition) if (fits := _fits(expected, c, digests)) is not None]
    revision = expected.rpartition("task-definition/")[2]
    if revision == short_name(arn) or (found and all(found)):
        return True
    return False if found or re.fullmatch(rf"{re.escape(family_of(arn))}:\d+", revision) else None


def _fits(expected: str, container: JSON, digests: Mapping[str, Iterable[str]]) -> bool | None:
    """Whether a container runs that image; None if its image is of another repository."""
    try:
        wanted, image = ImageReference.parse(expected), ImageReference.parse(str(container.get("image")))
    except UsageError:
        return None
    if wanted.repository() != image.repository():
        return None
    if wanted.digest:
        return wanted.digest == image.digest or {wanted.digest} == set(digests.get(str(container.get("name")), ()))
    return wanted.tagged().tag == image.tagged().tag


# What is known before anything is changed

_ECR_HOST = re.compile(
    r"(?P<account>\d{12})\.dkr[.-]ecr(?:-fips)?\.(?P<region>[a-z0-9-]+)\.(?:amazonaws\.(?:com|com\.cn|eu)|on\.aws"
    r"|on\.amazonwebservices\.(?:com\.cn|eu)|c2s\.ic\.gov|sc2s\.sgov\.gov|cloud\.adc-e\.uk|csp\.hci\.ic\.gov)"
)
_ARCHITECTURES = {"X86_64": ("amd64", "386"), "ARM64": ("arm64", "arm")}  # what a processor runs, as images name it


def ecr_repository(image: str) -> tuple[str, JSON] | None:
    """The region of an image that is in ECR, and its repository as requests name it; None for any other."""
    host, name = repository_of(image)
    found = _ECR_HOST.fullmatch(host)
    return (found["region"], {"registryId": found["account"], "repositoryName": name}) if found else None


def ecr_image_id(image: str) -> dict[str, str]:
    """The image as ECR looks it up: where there is a digest a pull goes by that, wherever the tag has gone."""
    reference = ImageReference.parse(image).tagged()
    return {"imageDigest": reference.digest} if reference.digest else {"imageTag": reference.tag}


def platforms_of(manifest: str) -> set[str]:
    """The platforms that an index (or manifest list) is for, as os/architecture; empty if it does not tell them all."""
    named: set[str] = set()
    with contextlib.suppress(ValueError, AttributeError, TypeError):  # what it cannot read it cannot tell
        listed = [each.get("platform") or {} for each in json.loads(manifest).get("manifests") or []]
        named = {f"{platform.get('os')}/{platform.get('architecture')}" for platform in listed}
    return set() if "None/None" in named else named - {"unknown/unknown"}  # those attest how the others were built


def platforms_for(definition: JSON) -> list[str]:
    """The platforms of which an image must have one to run under the definition; empty for what nobody foresaw."""
    runtime = definition.get("runtimePlatform") or {}
    system = "windows" if str(runtime.get("operatingSystemFamily")).startswith("WINDOWS") else "linux"
    return [f"{system}/{each}" for each in _ARCHITECTURES.get(str(runtime.get("cpuArchitecture") or "X86_64"), ())]


def secret_uses(definition: JSON) -> dict[str, str]:
    """Where the definition's secrets come from (`valueFrom`), and what uses each."""
    found: dict[str, str] = {}
    for container in containers_of(definition):
        logged = (container.get("logConfiguration") or {}).get("secretOptions") or []
        for secret in [*(container.get("secrets") or []), *logged]:
            found.setdefault(str(secret.get("valueFrom")), f"{secret.get('name')} of container {container.get('name')}")
    return found


def secret_place(value_from: str) -> tuple[str, str, str]:
    """Service, region ("" for the service's own) and name that a `valueFrom` stands for; no service if unforeseen."""
    words = value_from.split(":")
    if words[0] != "arn":  # what SSM would have to fetch elsewhere, it refuses as long as it may not decrypt it
        return "" if value_from.startswith("/aws/reference/") else "ssm", "", value_from
    service, region = words[2:4] if len(words) > 5 else ("", "")
    return service, region, ":".join(words[:7])  # behind the name a secret's key, stage and version may be named


def misfits(definition: JSON, service: JSON) -> list[str]:
    """Where the definition and the service do not agree, so that ECS would refuse it or could start no task."""
    found = []
    mode, needs = definition.get("networkMode"), definition.get("requiresCompatibilities")
    configured = bool((service.get("networkConfiguration") or {}).get("awsvpcConfiguration"))
    if configured != (mode == "awsvpc"):
        has = "has a network configuration, which needs awsvpc" if configured else "has no network configuration"
        found.append(f"the definition's network mode is {mode or 'the default'}, and the service {has}")
    providers = {str(each.get("capacityProvider")) for each in service.get("capacityProviderStrategy") or []}
    fargate = bool(providers & {"FARGATE", "FARGATE_SPOT"})
    launch_type = "FARGATE" if fargate else "" if providers else service.get("launchType")
    if launch_type in ("FARGATE", "EXTERNAL") and needs and launch_type not in needs:
        found.append(f"the service's launch type is {launch_type}, the definition is for {', '.join(needs)}")
    if launch_type == "FARGATE" and not (definition.get("cpu") and definition.get("memory")):
        found.append("the service's launch type is FARGATE, which needs cpu and memory of the whole task")
    return [*found, *_balancer_misfits(definition, service)]


def _balancer_misfits(definition: JSON, service: JSON) -> Iterator[str]:
    mappings = {container.get("name"): container.get("portMappings") or [] for container in containers_of(definition)}
    for balancer in service.get("loadBalancers") or []:
        name, port = balancer.get("containerName"), balancer.get("containerPort")
        fits = any(
            port == each.get("containerPort") or each.get("containerPortRange") for each in mappings.get(name, ())
        )
        if name and not fits:
            has = f"its container {name} has no such port" if name in mappings else "it has no such container"
            yield f"a load balancer sends to port {port} of container {name}, and {has}"


# Rules of EventBridge and schedules of EventBridge Scheduler

_TOLD_ONLY = ("Arn", "CreationDate", "LastModificationDate")  # by GetSchedule; UpdateSchedule does not take them


class Aims(Value):
    """What rules and schedules are to run, by the family, and in which cluster; in any if that is empty."""

    arns: Mapping[str, str]
    cluster: str


class Schedule(Value):
    """A rule or a schedule as it was seen, and what it is to run.

    `request` is what would write it back as it is: of PutTargets with all targets, or of UpdateSchedule.
    """

    name: ScheduleName
    request: JSON
    aims: Aims
    managed_by: str = ""

    @property
    def targets(self) -> dict[str, JSON]:
        """Its targets by their ids; the only one of a schedule has none."""
        if self.name.kind == "rule":
            return {str(target.get("Id")): target for target in self.request["Targets"]}
        return {"": self.request.get("Target") or {}}

    @property
    def now(self) -> dict[str, str]:
        """What those targets run that run one of the families there, by their ids."""
        there = {i: runs(target) for i, target in self.targets.items() if in_cluster(target, self.aims.cluster)}
        return {i: arn for i, arn in there.items() if family_of(arn) in self.aims.arns}

    @property
    def new(self) -> dict[str, str]:
        """What those targets are to run that name another revision, by their ids."""
        aims = {i: self.aims.arns[family_of(arn)] for i, arn in self.now.items() if not follows(arn)}
        return {i: arn for i, arn in aims.items() if arn != self.now[i]}

    def rows(self, result: str) -> list[JSON]:
        """Each change and what became of it, for the JSON document."""
        pairs = dict.fromkeys((short_name(self.now[i]), short_name(arn)) for i, arn in self.new.items())
        return [{"name": self.name.label, "old": old, "new": new, "result": result} for old, new in pairs]


def move_line(row: JSON) -> str:
    """The line of one change; the family is named once."""
    return f"~ {row['name']}: {row['old']} -> {row['new'].rpartition(':')[2]}"


def short_names(arns: Iterable[str]) -> str:
    """The definitions in words, each once."""
    return ", ".join(dict.fromkeys(map(short_name, arns)))


def runs(target: JSON) -> str:
    """The definition that a target runs; empty if it is none of ECS's."""
    return str((target.get("EcsParameters") or {}).get("TaskDefinitionArn") or "")


def target_secrets(target: JSON) -> Iterator[str]:
    """What of a rule's or schedule's target must not be printed wherever it turns up."""
    yield from secret_values(target)
    with contextlib.suppress(ValueError, RecursionError):
        yield from secret_values(json.loads(target.get("Input") or "{}"))


def follows(definition: str) -> bool:
    """True if a definition is named without a revision: the newest one is meant, whenever it is run."""
    return ":" not in short_name(definition)


def in_cluster(target: JSON, cluster: str) -> bool:
    """True if a target runs in that cluster (a name or an ARN); any is meant where none is named."""
    arn = str(target.get("Arn"))
    return not cluster or cluster in (arn, short_name(arn))


# --- Reporting --------------------------------------------------------------------- may not decide anything

_HARMLESS = re.compile(r".{1,3}|\d{1,5}|true|false|none|null|file", re.IGNORECASE)  # masked, a log would say nothing
_USER_INFO = re.compile(r"(?<=://)[^/\s@]+(?=@)")
_MARKED = re.compile(f"{_OPENS}([^{_CLOSES}]*){_CLOSES}")


class Masker:
    """Takes secrets out of what came from elsewhere (`theirs`); our own words are never taken apart."""

    def __init__(self) -> None:
        self._secrets: set[str] = set()
        self._pattern: re.Pattern[str] | None = None

    def hide(self, values: Iterable[str], *, always: bool = False) -> None:
        """Mask these from now on, whole and line by line; what is no secret by its looks only if `always`."""
        chosen = {part for value in values for part in (value, json.dumps(value)[1:-1], *value.split("\n"))}
        chosen = {part.strip() for part in chosen}
        self._secrets |= {part for part in chosen if part and (always or not _HARMLESS.fullmatch(part))}
        self._pattern = None

    def text(self, text: str) -> str:
        """The text as it may be printed: in its marked parts every secret is ***, and the marks are gone."""
        return _MARKED.sub(lambda part: self._masked(part[1]), text)

    def within(self, value: Any) -> Any:
        """The same structure with every text as it may be printed (once it is JSON, quotes would hide a secret)."""
        if isinstance(value, dict):
            return {name: self.within(member) for name, member in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.within(item) for item in value]
        return self.text(value) if isinstance(value, str) else value

    def _masked(self, text: str) -> str:
        if self._pattern is None:
            longer_first = sorted(self._secrets, reverse=True)  # before what it begins with
            self._pattern = re.compile("|".join(map(_whole_words, longer_first)) or r"(?!)")
        return _USER_INFO.sub("***", self._pattern.sub("***", text))


def _whole_words(secret: str) -> str:
    """A pattern for the secret, but not inside of a longer word."""
    before, after = (r"(?<!\w)" if secret[0].isalnum() else ""), (r"(?!\w)" if secret[-1].isalnum() else "")
    return before + re.escape(secret) + after


_SECRET_NAME = re.compile(
    r"secret|token|passw|credential|api.?key|access.?key|licen[cs]e.?key|header|^input", re.IGNORECASE
)
_WORDS = ("command", "entryPoint", "dockerLabels", "driverOpts")  # may hold anything
_HIDDEN = (*_WORDS, "options", "Names")


def masked(value: Any, name: str = "") -> Any:
    """A request as it may be shown: variables, secrets, commands, labels, options and whatever is named so are ***."""
    if isinstance(value, dict):
        return {member: "***" if _is_hidden(value, member, name) else masked(value[member], member) for member in value}
    if isinstance(value, list):
        return [masked(item, name) for item in value]
    return "***" if name in _HIDDEN else value


def secret_values(value: Any, name: str = "", hidden: bool = False) -> Iterator[str]:
    """What `masked` hides, as far as it must not be printed wherever it turns up; a short word of a command may be."""
    if isinstance(value, dict):
        for member, inner in value.items():
            within = hidden or _is_hidden(value, member, name)
            is_word = name in _WORDS and not _SECRET_NAME.search(member)
            if member != "healthCheck":
                yield from secret_values(inner, name if is_word else member, within)
    elif isinstance(value, list):
        for item in value:
            yield from secret_values(item, name, hidden)
    elif (hidden or name in _HIDDEN) and (name not in _WORDS or len(str(value)) > 8):
        yield str(value)


def _is_hidden(table: JSON, member: str, name: str) -> bool:
    """True if the member of the table, which is called `name`, may hold a secret."""
    if name in _HIDDEN:
        return not member.startswith("awslogs-")
    if isinstance(table[member], list):
        return False
    secret = _SECRET_NAME.search(str(table.get("key", "")) if member == "value" else member)
    return bool(secret) or ("name" in table and member in ("value", "valueFrom"))


QUIET_S = 45.0  # some CI ends a job that says nothing for a minute; the next look is at most 15 s later


def in_columns(rows: Sequence[Sequence[str]], gap: str = "  ") -> list[str]:
    """The rows with their cells one below the other."""
    widths = [max(map(len, column)) for column in itertools.zip_longest(*rows, fillvalue="")]
    return [gap.join(map(str.ljust, row, widths)).rstrip() for row in rows]


def lined_up(rows: Sequence[str]) -> list[str]:
    """The rows with their parts, which end with a colon, a semicolon or a comma, one below the other."""
    return in_columns([re.split(r"(?<=[:;,]) ", row) for row in rows], " ")


RED, GREEN, DIM = "31", "32", "2"


class Reporter:
    """Prints: results to stdout, everything else to stderr, and progress that redraws itself on a terminal."""

    def __init__(self, out: TextIO, err: TextIO, output: OutputOptions) -> None:
        self.out, self.err = out, err
        self.output = output
        self.mask = Masker()
        self.facts: JSON = {}
        self._redraw = err.isatty() and os.environ.get("TERM") != "dumb"
        self._colours = self._redraw and not os.environ.get("NO_COLOR")
        self._drawn = 0
        self._last_progress: dict[str, str] = {}
        self._last_progress_s = 0.0

    def line(self, text: str) -> None:
        """A line that scripts read: on stdout, or on stderr when stdout is a JSON document."""
        self._say(self.err if self.output.json else self.out, text)

    def request(self, title: str, request: JSON) -> None:
        """A request with its values masked, on one line for scripts and on several for people."""
        indent = 2 if self.out.isatty() else None
        self.line(f"{title}: {json.dumps(masked(request), indent=indent, ensure_ascii=False)}")

    def note(self, text: str, colour: str = "") -> None:
        """A line for people, on stderr; of several the first is in that colour, on a terminal."""
        self._say(self.err, text, colour)

    def warning(self, text: str) -> None:
        """Something that is not as asked, but does not fail the run."""
        self.note(f"Warning: {text}")

    def left(self, text: str) -> None:
        """What a run that is cut short leaves behind."""
        self.note(text)

    def error(self, text: str, hint: str = "", why: str = "", log: tuple[str, Sequence[str]] = ("", ())) -> None:
        """What failed, why, the last lines of a log, and what to do next."""
        title, lines = log
        shown = [title, *(f"  {line}" for line in lines)] if lines else []
        self.note("\n".join(part for part in (f"ERROR: {text}", why, *shown, hint) if part), RED)

    def block(self, title: str, lines: Sequence[str]) -> None:
        """A title and what belongs to it."""
        self.note("\n".join([title, *(f"  {line}" for line in lines)]))

    def progress(self, rows: Mapping[str, str], elapsed_s: float) -> None:
        """On a terminal the rows are redrawn; elsewhere each is printed when it has changed, and all once a minute."""
        begun = f"[{elapsed_s:4.0f} s] "
        if self._redraw:
            self._draw([begun + row for row in lined_up([self.mask.text(row) for row in rows.values()])])
            return
        quiet = not 0 <= elapsed_s - self._last_progress_s < QUIET_S  # each wait begins at 0
        told = [key for key, row in rows.items() if quiet or self._last_progress.get(key) != row]
        for key in told:
            self.note(begun + rows[key])
        self._last_progress |= rows
        self._last_progress_s = elapsed_s if told else self._last_progress_s

    def _draw(self, rows: Sequence[str]) -> None:
        """Draw the rows over those drawn before, at most a screenful."""
        import shutil

        columns, lines = shutil.get_terminal_size()
        shown = list(rows[: max(1, lines - 2)])
        if len(shown) < len(rows):
            shown[-1] = f"… and {len(rows) - len(shown) + 1} more"
        self._clear()
        self._write(self.err, "\n".join(row[: columns - 1] for row in shown))
        self._drawn = len(shown)

    def call(self, operation: str, params: JSON, outcome: str, duration_s: float) -> None:
        """With --verbose: one API call."""
        if self.output.verbose:
            request = json.dumps(masked(params), ensure_ascii=False)
            self.note(f"> {operation} {request} -> {outcome}, {duration_s * 1000:.0f} ms")

    def learn(self, **facts: Any) -> None:
        """Keep facts for the JSON document."""
        self.facts.update(facts)

    def finish(self, exit_code: int) -> None:
        """The JSON document, if asked for."""
        self._clear()
        self.learn(exit_code=exit_code)
        if self.output.json:
            narrow = (getattr(self.out, "encoding", None) or "utf-8").lower() not in ("utf-8", "utf8")
            text = json.dumps(self.mask.within(self.facts), indent=2, ensure_ascii=narrow, default=str)
            self._write(self.out, text + "\n")

    def _say(self, stream: TextIO, text: str, colour: str = "") -> None:
        self._clear()
        first, end, rest = f"{self.mask.text(text)}\n".partition("\n")
        shown = f"\x1b[{colour}m{first}\x1b[0m" if colour and self._colours else first
        self._write(stream, shown + end + rest)

    def _clear(self) -> None:
        if self._drawn:
            self._write(self.err, "\r\x1b[K" + "\x1b[A\x1b[K" * (self._drawn - 1))
            self._drawn = 0

    def _write(self, stream: TextIO, text: str) -> None:
        """A closed pipe or a narrow encoding must never end a deployment."""
        with contextlib.suppress(OSError, ValueError):
            try:
                stream.write(text)
            except UnicodeEncodeError:
                stream.write(text.encode("ascii", "backslashreplace").decode())
            stream.flush()


# --- Clock ------------------------------------- the only place that reads time, or decides how long to wait for it


if TYPE_CHECKING:

    class Clock(Protocol):
        """Time as a parameter: seconds that only grow, and a way to spend them."""

        def now(self) -> float:
            """Seconds since some fixed moment."""

        def sleep(self, seconds: float, /) -> None:
            """Let that many seconds pass."""


class SystemClock:
    """Real time."""

    now = staticmethod(time.monotonic)
    sleep = staticmethod(time.sleep)


class Interrupts:
    """Holds SIGINT and SIGTERM back, except where stopping leaves nothing half done: sleeps and reading calls.

    The first signal raises `Interrupted` there, or at the next such place, and at every one after it: an exception
    that is swallowed on its way (a finalizer may) must not let a run go on. The same signal a second time ends the
    process at once; another one is what a CI runner sends while it waits for the clean-up (SIGINT, later SIGTERM).
    """

    def __init__(self) -> None:
        self._came: list[int] = []
        self._allowed = self._held = False

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        """Handle the two signals inside this block (in the main thread; elsewhere Python has no handlers)."""
        try:
            before = {s: signal.signal(s, self._handle) for s in (signal.SIGINT, signal.SIGTERM)}
        except ValueError:
            before = {}
        try:
            yield
        finally:
            for signum, handler in before.items():
                signal.signal(signum, handler)

    @contextlib.contextmanager
    def allowed(self) -> Iterator[None]:
        """A signal may end this block at any point."""
        try:
            self._allowed = True
            self.check()
            yield
        finally:
            self._allowed = False

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """A signal waits until after this block: a clean-up, which decides what is left behind."""
        before, self._held = self._held, True
        try:
            yield
        finally:
            self._held = before

    def check(self) -> None:
        """Raises `Interrupted` if a signal came."""
        if self._came and not self._held:
            raise Interrupted(self._came[0])

    def _handle(self, signum: int, _frame: object) -> None:
        self._came.append(signum)
        signal.signal(signum, signal.SIG_DFL)
        if self._allowed:
            self.check()


class Patience(Record):
    """How long to go on looking, and how soon to look again, from when AWS was first asked and when it last answered.

    The pause is a fortieth of the time waited: what it adds to a wait stays below 2.5 % of it, and nobody has to
    know when something last moved.
    """

    begun_s: float
    endless: bool = False
    answered_s: float = 0.0
    backoff_s: float = 0.0
    said_s: float = 0.0

    def answered(self, now_s: float) -> None:
        """A look worked."""
        self.answered_s, self.backoff_s = now_s, 0.0

    def excuse(self, error: AwsError, now_s: float, report: Reporter) -> None:
        """A look failed: say it, once a minute; raises the error where looking again can't help, or would never end."""
        since_s = now_s - max(self.answered_s, self.begun_s)
        if not error.transient or (self.endless and since_s > UNREACHABLE_S):
            raise error
        if not self.backoff_s or now_s - self.said_s >= QUIET_S:
            report.note(f"{error.message}; looking again.")
            self.said_s = now_s
        self.backoff_s = min(15.0, max(1.0, self.backoff_s * 2))

    def pause_s(self, now_s: float, *, only_end_missing: bool = False) -> float:
        """The seconds until the next look."""
        pace_s = 1.0 if only_end_missing else min(5.0, max(1.0, (now_s - self.begun_s) / 40))
        return max(pace_s, self.backoff_s)


# --- Ledger -------------------------------------------------------- may not call AWS, only what was entered may


class Begun:
    """The ledger: what this run leaves behind if it ends now.

    A thing is entered when it is about to be sent, and settled when its end was seen; so no way out of the program
    has to remember it.
    """

    def __init__(self) -> None:
        self._unsettled: dict[str, tuple[Callable[[BaseException], str], Callable[[BaseException], bool] | None]] = {}

    def enter(
        self, key: str, says: Callable[[BaseException], str], undo: Callable[[BaseException], bool] | None = None
    ) -> None:
        """Something is about to be sent; under a key that is there already, it takes that one's place.

        `says` tells how it stands as last seen and the command that undoes it, without a call; `undo` takes it back,
        says so, and is true if it could. Both are given what ended the run.
        """
        self._unsettled[key] = (says, undo)

    @contextlib.contextmanager
    def sending(self, key: str) -> Iterator[None]:
        """What was entered is sent in this block; it is settled if AWS says that it was not carried out."""
        try:
            yield
        except (AwsError, Interrupted) as error:  # a signal comes before a write, or between two attempts
            if not error.maybe_done:
                self.settle(key)
            raise

    def settle(self, key: str) -> None:
        """Its end was seen, or it was never sent."""
        self._unsettled.pop(key, None)

    def abandon(self, cause: BaseException, report: Reporter, only: Sequence[str] | None = None) -> None:
        """Take back what is unsettled (or `only` these), newest first, and name what stays.

        After a signal all of it is named first, in one write: whoever sent it may kill within seconds. What could
        not be taken back is named again if by then it stands otherwise.
        """
        left = {k: self._unsettled[k] for k in reversed(list(self._unsettled)) if only is None or k in only}
        signalled = isinstance(cause, Interrupted)
        if signalled and (said := [text for says, _ in left.values() if (text := says(cause))]):
            report.left("\n".join(said))
        for key, (says, undo) in left.items():
            before = says(cause) if signalled else ""
            undone = undo is not None and undo(cause)
            if not undone and (text := says(cause)) != before:
                report.left(text)
            self.settle(key)  # not before: a signal may come in between, and begins anew


# --- AWS --------------------------------------------------------------------------- may not decide anything

_READS = ("Describe", "List", "Get", "BatchGet")
_SERVICES: Mapping[str, str] = {  # their operations; what is not here is ECS's
    "logs": "GetLogEvents",
    "autoscaling": "DescribeAutoScalingGroups DescribeWarmPool DescribeInstanceRefreshes StartInstanceRefresh"
    " CancelInstanceRefresh CreateOrUpdateTags DeleteTags SetDesiredCapacity TerminateInstanceInAutoScalingGroup",
    "ec2": "DescribeLaunchTemplates",
    "elbv2": "DescribeTargetHealth",
    "ecr": "BatchGetImage DescribeImages DescribePullThroughCacheRules",
    "ssm": "GetParameters",
    "secretsmanager": "DescribeSecret",
    "events": "ListRuleNamesByTarget ListTargetsByRule DescribeRule PutTargets",
    "scheduler": "ListSchedules GetSchedule UpdateSchedule",
}
_LOOKED_UP = ("ecr", "ssm", "secretsmanager")  # only before a deployment, which does not wait long for their answers
_RAW = ("ecs", "events", "scheduler")  # what is written back there must be whole, so botocore does not read it
_BATCHES: Mapping[str, tuple[str, int, str]] = {  # parameter, how many at once, member of the answer
    "DescribeServices": ("services", 10, "services"),
    "DescribeTasks": ("tasks", 100, "tasks"),
    "DescribeServiceDeployments": ("serviceDeploymentArns", 20, "serviceDeployments"),
    "DescribeServiceRevisions": ("serviceRevisionArns", 20, "serviceRevisions"),
    "DescribeContainerInstances": ("containerInstances", 100, "containerInstances"),
    "UpdateContainerInstancesState": ("containerInstances", 10, "failures"),
    "DescribeClusters": ("clusters", 100, "clusters"),
    "DescribeCapacityProviders": ("capacityProviders", 100, "capacityProviders"),
}
_PACED = ("RegisterTaskDefinition", "DeregisterTaskDefinition")  # what ECS throttles hard
_ONCE = (  # not sent again where the answer was lost; an update may be, its answer names the deployment that counts
    "RegisterTaskDefinition",  # a second time it makes a second revision
    "TerminateInstanceInAutoScalingGroup",  # a second time it lowers the capacity twice
)
_UNREADABLE = "UnreadableAnswer"  # a broken proxy answers so each time, and a look is repeated anyway
_DENIED = ("AccessDeniedException", "AccessDenied", "UnauthorizedOperation")


def service_of(operation: str) -> str:
    """The service that an operation belongs to, as botocore and IAM call it."""
    return next((service for service, operations in _SERVICES.items() if operation in operations.split()), "ecs")


def connect(options: AwsOptions, env: Mapping[str, str], clock: Clock, report: Reporter, interrupts: Interrupts) -> Aws:
    """A connection with the asked-for credentials; raises `DeployError` 4 without boto3 and `AwsError` otherwise."""
    try:
        import boto3
        import botocore.exceptions
        import botocore.session
    except ImportError as error:
        raise not_installed(error) from error
    with translating(""):
        no_profile: Any = {"profile": (None, [], None, None)} if options.instance_profile else None
        session = botocore.session.Session(no_profile, profile=options.profile or None)
        session.register_component("data_loader", _model_loader())
        region = options.region or env.get("AWS_REGION", "") or session.get_config_variable("region")
        if not region:
            raise botocore.exceptions.NoRegionError
        _choose_credentials(session, options, region)
        attempts = int(session.get_config_variable("max_attempts") or 5)
        clients = boto3.Session(botocore_session=session).client
        aws = Aws(region, session, clients, clock, report, interrupts, attempts)
        aws.hide_credentials(fetch=False)
        return aws


def not_installed(error: ImportError) -> DeployError:
    """What to say without boto3."""
    message = "Some of the required software is not installed: please install boto3"
    return DeployError(message, Exit.REQUIREMENT, f"pip install boto3   ({error})")


def input_shape(operation: str) -> Any:
    """botocore's model of what an operation of ECS takes; raises `DeployError` 4 without botocore."""
    try:
        import botocore.model
    except ImportError as error:
        raise not_installed(error) from error
    model = botocore.model.ServiceModel(_model_loader().load_service_model("ecs", "service-2"), "ecs")
    return model.operation_model(operation).input_shape


def _model_loader(cache: list[Any] = []) -> Any:  # noqa: B006 - the service models are files that never change
    """One loader for the process: a fresh one would read and parse the service model again (45 ms)."""
    if not cache:
        import botocore.loaders

        class Loader(botocore.loaders.Loader):
            def list_available_services(self, type_name: str) -> list[str]:
                """Every folder there is; botocore's own looks into all 400 of them, twice (40 ms)."""
                folders = dict.fromkeys(path for path in self.search_paths if os.path.isdir(path))
                return sorted({name for path in folders for name in os.listdir(path)})

        cache.append(Loader())
    return cache[0]


def _choose_credentials(session: Any, options: AwsOptions, region: str) -> None:
    """Have the session take its credentials from where the options say."""
    from types import SimpleNamespace

    from botocore import credentials, exceptions

    load = session.get_component("credential_provider").load_credentials
    if options.instance_profile:
        providers = credentials.create_credential_resolver(session).providers
        roles = [provider for provider in providers if provider.METHOD in ("container-role", "iam-role")]
        load = credentials.CredentialResolver(roles).load_credentials
    elif options.access_key:
        load = partial(credentials.Credentials, options.access_key, options.secret_key)
    if options.assume_role_arn:
        source = load()
        if source is None:
            raise exceptions.NoCredentialsError
        client, named = partial(session.create_client, region_name=region), {"RoleSessionName": "ecs-deploy"}
        fetcher = credentials.AssumeRoleCredentialFetcher(client, source, options.assume_role_arn, extra_args=named)
        load = partial(credentials.DeferredRefreshableCredentials, fetcher.fetch_credentials, "assume-role")
    session.register_component("credential_provider", SimpleNamespace(load_credentials=load))


class Aws(Record):
    """Calls AWS; its errors come out as `AwsError`.

    Requests and answers of ECS and of EventBridge travel as raw JSON, so that members which the installed botocore
    does not know are neither dropped nor refused; botocore signs, sends and names the errors. With `read_only`, a call
    that would change something is a bug.
    """

    region: str
    _session: Any  # botocore's
    _new_client: Any  # boto3's
    _clock: Clock
    _report: Reporter
    _interrupts: Interrupts
    _attempts: int
    read_only: bool = False
    _paced_s: float = -INFINITE_S
    _clients: dict[tuple[str, str], Any] = field(default_factory=dict)
    _request: bytes = b""
    _answer: bytes = b""

    @property
    def place(self) -> str:
        """The region and the profile as options of a command that is printed."""
        profile = self._session.get_config_variable("profile")
        return f"--region {self.region}" + (f" --profile {shell_word(profile)}" if profile else "")

    # Calling

    def call(self, operation: str, params: JSON, *, region: str = "", retries: bool = True) -> JSON:
        """The answer. Errors that may pass are sat out: a few attempts, or ten minutes where ECS throttles hard.

        `maybe_done` of what is raised, a signal too, tells whether any of the attempts may have been carried out.
        """
        attempt, lost = 1, False
        give_up_s = self._clock.now() + (PACED_S if operation in _PACED else 0.0)
        while True:
            try:
                self._sleep(_backoff_s(attempt - 1) if attempt > 1 else 0.0)
                self._pace(operation)
                return self._call_once(operation, params, region)
            except Interrupted as stop:
                stop.maybe_done = lost
                raise
            except AwsError as error:
                lost = error.maybe_done = error.maybe_done or lost
                may = error.transient and error.code != _UNREADABLE and not (lost and operation in _ONCE)
                left = attempt < self._attempts or (error.throttled and self._clock.now() < give_up_s)
                if not (retries and may and left):
                    raise
            attempt += 1

    def pages(self, operation: str, params: JSON) -> list[Any]:
        """All pages of the list that an operation answers; not every list has a paginator in botocore."""
        service = service_of(operation)
        token_name = "nextToken" if service == "ecs" else "NextToken"
        answered = self._client(service, self.region).meta.service_model.operation_model(operation).output_shape.members
        listed = next(name for name, shape in answered.items() if shape.type_name == "list")
        found: list[Any] = []
        while True:
            page = self.call(operation, params)
            found += page.get(listed) or []
            if not page.get(token_name):
                return found
            params = {**params, token_name: page[token_name]}

    def described(self, operation: str, names: Sequence[str], params: JSON, *, retries: bool = True) -> list[JSON]:
        """What the operation answers for all these names, as many at a time as it takes."""
        parameter, size, member = _BATCHES[operation]
        found: list[JSON] = []
        for start in range(0, len(names), size):
            batch = {parameter: list(names[start : start + size])}
            found += self.call(operation, {**params, **batch}, retries=retries).get(member) or []
        return found

    # What needs more than the call

    def describe_services(self, cluster: str, names: Sequence[str], *, retries: bool = True) -> dict[str, JSON]:
        """The services by the name they were asked for; one that does not exist is left out."""
        found = self.described("DescribeServices", names, {"cluster": cluster}, retries=retries)
        known = {service.get(name): service for service in found for name in ("serviceName", "serviceArn")}
        return {name: known[name] for name in names if name in known}

    def service_names(self, cluster: str) -> list[str]:
        """The names of the cluster's services."""
        return [short_name(arn) for arn in self.pages("ListServices", {"cluster": cluster, "maxResults": 100})]

    def describe_tasks(self, cluster: str, arns: Sequence[str], *, retries: bool = True) -> list[JSON]:
        """The tasks that ECS still (or already) knows."""
        return self.described("DescribeTasks", arns, {"cluster": cluster}, retries=retries)

    def update_service(self, params: JSON) -> JSON:
        """The service as UpdateService answers it."""
        service: JSON = self.call("UpdateService", params)["service"]
        return service

    def describe_task_definition(self, name: str, *, tags: bool = False) -> JSON:
        """The raw definition, its tags in it if asked for; its secrets are masked from now on."""
        params: JSON = {"taskDefinition": name, **({"include": ["TAGS"]} if tags else {})}
        answer = self.call("DescribeTaskDefinition", params)
        self._report.mask.hide(secret_values(answer["taskDefinition"]))
        return {**answer["taskDefinition"], "tags": answer.get("tags")}

    def active_revisions(self, family: str) -> list[str]:
        """The ARNs of the family's ACTIVE revisions (and not of families whose name begins the same)."""
        params = {"familyPrefix": family, "status": "ACTIVE", "sort": "ASC", "maxResults": 100}
        return [arn for arn in self.pages("ListTaskDefinitions", params) if family_of(arn) == family]

    def output_only_members(self) -> set[str]:
        """The members of an answered definition that RegisterTaskDefinition does not take (botocore's model)."""
        model = self._client("ecs", self.region).meta.service_model
        accepted = model.operation_model("RegisterTaskDefinition").input_shape.members
        return set(model.shape_for("TaskDefinition").members) - set(accepted)

    def set_container_instances(self, cluster: str, arns: Sequence[str], status: str) -> None:
        """Set instances ACTIVE or DRAINING; ECS answers a refusal with HTTP 200, which is an `AwsError` here."""
        for failure in self.described("UpdateContainerInstancesState", arns, {"cluster": cluster, "status": status}):
            what = f"AWS refused UpdateContainerInstancesState of {failure.get('arn')} to {status}"
            raise AwsError(f"{what}: {theirs(failure.get('reason'))}", code=str(failure.get("reason")))

    def put_targets(self, params: JSON) -> None:
        """PutTargets; EventBridge answers refusals with HTTP 200, and may have taken the other targets."""
        refused = self.call("PutTargets", params).get("FailedEntries") or []
        if refused:
            said = "; ".join(f"{f.get('TargetId')}: {f.get('ErrorMessage')} ({f.get('ErrorCode')})" for f in refused)
            raise AwsError(f"AWS refused PutTargets of {theirs(said)}", maybe_done=True)

    def hide_credentials(self, *, fetch: bool = True) -> None:
        """Have the credentials in use masked: some refusals of AWS repeat the request that was signed with them."""
        from botocore.credentials import DeferredRefreshableCredentials

        credentials = self._session.get_credentials()
        if credentials is not None and (fetch or not isinstance(credentials, DeferredRefreshableCredentials)):
            frozen = credentials.get_frozen_credentials()
            self._report.mask.hide([frozen.secret_key or "", frozen.token or ""], always=True)

    # How one call is made

    def _call_once(self, operation: str, params: JSON, region: str) -> JSON:
        """One attempt; a signal may end it only if it reads."""
        from botocore import xform_name
        from botocore.exceptions import ClientError

        reads, service = operation.startswith(_READS), service_of(operation)
        if self.read_only and not reads:
            raise AssertionError(f"{operation} in a dry run")
        client = self._client(service, region or self.region)
        placed = self._placed(client, operation, params) if service in _RAW else params
        self._interrupts.check()
        started_s, outcome = self._clock.now(), "no answer"
        try:
            with self._interrupts.allowed() if reads else contextlib.nullcontext(), translating(operation):
                answer: JSON = getattr(client, xform_name(operation))(**placed)
            outcome = answer.get("ResponseMetadata", {}).get("RequestId", "no request id")
            return self._parsed(operation) if service in _RAW else answer
        except AwsError as error:
            outcome, refusal = error.code, error.__cause__
            if isinstance(refusal, ClientError) and not str(refusal.operation_name).startswith("Assume"):
                self.hide_credentials()
            raise
        finally:
            self._report.call(operation, params, outcome, self._clock.now() - started_s)

    def _placed(self, client: Any, operation: str, params: JSON) -> JSON:
        """What of the parameters stands in a request's path or query, which botocore writes; the rest is its body."""
        model = client.meta.service_model.operation_model(operation)
        shapes = model.input_shape.members
        placed = {n: v for n, v in params.items() if n in shapes and shapes[n].serialization.get("location")}
        body = {name: value for name, value in params.items() if name not in placed}
        self._request = json.dumps(body).encode() if model.http["method"] != "GET" else b""
        return placed

    def _parsed(self, operation: str) -> JSON:
        try:
            answer: JSON = json.loads(self._answer)
        except ValueError as error:
            said = f"The answer of {operation} cannot be read; something between here and AWS may have replaced it"
            raise AwsError(said, code=_UNREADABLE, hint=_NETWORK, transient=True, maybe_done=True) from error
        return answer

    def _pace(self, operation: str) -> None:
        """Stay below ECS's throttle for registering and deregistering: 20 calls at once, then one a second.

        https://docs.aws.amazon.com/AmazonECS/latest/APIReference/request-throttling.html
        """
        if operation in _PACED:
            now_s = self._clock.now()
            self._paced_s = max(self._paced_s, now_s - 20.0) + 1.0
            self._sleep(self._paced_s - now_s)

    def _sleep(self, seconds: float) -> None:
        if seconds > 0:
            with self._interrupts.allowed():
                self._clock.sleep(seconds)

    def _client(self, service: str, region: str) -> Any:
        from botocore.config import Config

        if (service, region) in self._clients:
            return self._clients[service, region]
        mode: Any = "adaptive" if self._session.get_config_variable("retry_mode") == "adaptive" else "standard"
        with translating(""):
            config = Config(
                retries={"mode": mode, "total_max_attempts": 1},
                connect_timeout=3 if service in _LOOKED_UP else 10,
                read_timeout=5 if service in _LOOKED_UP else 30,
                tcp_keepalive=True,
                parameter_validation=service not in _RAW,
                user_agent_extra=f"ecs-deploy/{__version__}",
            )
            client = self._new_client(service, region_name=region, config=config)
        if service in _RAW:
            client.meta.events.register("before-call", self._put_request)
            client.meta.events.register("before-parse", self._keep_answer)
        self._clients[service, region] = client
        return client

    def _put_request(self, params: JSON, **_: Any) -> None:
        params["body"] = self._request

    def _keep_answer(self, response_dict: JSON, **_: Any) -> None:
        """The raw answer; botocore gets an empty one, as its parser would take most of a poll's time."""
        if response_dict["status_code"] < 300:
            self._answer, response_dict["body"] = response_dict["body"], b"{}"


def _backoff_s(attempt: int) -> float:
    """The wait before the next attempt: longer each time, and not as long as everybody else's who was refused."""
    import random

    return random.random() * min(8.0, 2.0 ** (attempt - 1))


_PASSING, _LOST = {"transient": True}, {"transient": True, "maybe_done": True}
_THROTTLED = {"transient": True, "throttled": True}
_NOT_REACHED = "AWS was not reached{during}: {said}"
_NETWORK = "Check the network, the proxy and the region's name, and try again."
_MEANINGS: tuple[tuple[str, str, str, Mapping[str, bool]], ...] = (  # of what an error says of itself; the first holds
    (r"^\d+ (ExpiredToken|ExpiredTokenException|RequestExpired) ", "The AWS credentials have expired ({what})",
     "Get new credentials and run again. With -a/--aws-assume-role they renew themselves during the wait.", {}),
    (r"^\d+ RequestTimeTooSkewed |Signature (expired|not yet current)",
     "AWS refused {what}: this machine's clock is wrong ({said})", "Set the clock.", {}),
    (r"^\d+ ((UnrecognizedClientException|InvalidClientTokenId|AuthFailure) |\S*Signature)",
     "AWS does not accept these credentials ({what}: {said})",
     "Check the access key, the secret key and the session token; they must belong together.", {}),
    (rf"^\d+ ({'|'.join(_DENIED)}) |not authorized to perform: [\w-]+:\w+", "AWS denied {what}: {said}",
     "Allow {action} in the IAM policy of these credentials.", {}),
    (r"^(429|\d+ (TooManyRequestsException|RequestLimitExceeded|SlowDown|\S*Throttl\S*)) ",
     "AWS throttled {what} ({said})",
     "Other programs use the same account's budget of calls; try again in a minute.", _THROTTLED),
    (r"^5", "AWS had an error of its own in {what}: {said} ({code})", "Try again.", _LOST),
    (r"^\d", "AWS refused {what}: {said} ({code})", "", {}),
    (r"NoRegionError", "No AWS region is set", "Give -r REGION, or set AWS_DEFAULT_REGION.", {}),
    (r"(No|Partial)CredentialsError", "No AWS credentials were found",
     "Give -k and -s or -p, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run with a role.", {}),
    (r"(ConnectTimeout|EndpointConnection|ProxyConnection)Error", _NOT_REACHED, _NETWORK, _PASSING),  # never sent
    (r"botocore\.exceptions\.(HTTPClient|Connection)Error", _NOT_REACHED, _NETWORK, _LOST),
    (r"builtins\.UnicodeDecodeError",
     "An answer cannot be read{during}; something between here and AWS may have replaced it", _NETWORK, _LOST),
    (r"builtins\.OSError", "The AWS credentials cannot be loaded{during}: {said}",
     "Check the token file or the credential_process that the environment or the profile names.", {}),
    (r"", "AWS cannot be used with these settings{during}: {said}",
     "Check the profile, the credentials and the region.", {}),
)  # fmt: skip


@contextlib.contextmanager
def translating(operation: str) -> Iterator[None]:
    """botocore's exceptions come out as `AwsError`."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except (BotoCoreError, ClientError, OSError, ValueError) as error:
        raise translated(error, operation) from error


def translated(error: Exception, operation: str) -> AwsError:
    """botocore's exception as one sentence with what to do next."""
    from botocore.exceptions import ClientError

    code, said, what = type(error).__name__, str(error), operation
    itself = " ".join(f"{kind.__module__}.{kind.__name__}" for kind in type(error).__mro__)
    if isinstance(error, ClientError):
        told, about = error.response.get("Error", {}), error.response.get("ResponseMetadata", {})
        code, said, what = str(told.get("Code", "")), str(told.get("Message", "")), error.operation_name or operation
        itself = f"{about.get('HTTPStatusCode', 0)} {code} {said}"
    action = re.search(r"not authorized to perform: ([\w-]+:\w+)", said)
    words = {"what": what, "said": theirs(said), "code": code, "during": f" ({operation})" if operation else ""}
    words["action"] = action[1] if action else f"{service_of(what)}:{what}"
    _, sentence, hint, flags = next(row for row in _MEANINGS if re.search(row[0], itself))
    return AwsError(sentence.format(**words), code=code, hint=hint.format(**words), **flags)


# --- Operations -------------------------------------------------------------- may not build API calls by hand


class Context(Record):
    """Everything impure, in one parameter."""

    aws: Aws
    clock: Clock
    report: Reporter
    interrupts: Interrupts
    begun: Begun

    def sleep(self, seconds: float) -> None:
        """Wait; a signal may end it."""
        with self.interrupts.allowed():
            self.clock.sleep(seconds)


def persistently(ctx: Context, act: Callable[[], JSON], *, for_s: float) -> JSON:
    """What `act` returns; AWS's passing errors are sat out for so long, and `act` looks anew each time."""
    patience = Patience(ctx.clock.now())
    while True:
        try:
            return act()
        except AwsError as error:
            now_s = ctx.clock.now()
            if now_s - patience.begun_s >= for_s:
                raise
            patience.excuse(error, now_s, ctx.report)
            ctx.sleep(patience.pause_s(now_s))


# Planning: everything is looked up, nothing is changed


class Draft(Value):
    """A definition before and after the edits.

    `current` is the ARN of the one in use, or empty; `start` that of the one that is copied, as far as it has one;
    `ready` that of a revision to use as it is, so that nothing is registered.
    """

    current: str
    old: JSON
    new: JSON
    ready: str = ""
    start: str = ""
    tags_required: bool = False
    deregistered: bool = False  # the one in use is INACTIVE: a service cannot go back to it


class Planned(Value):
    """A definition to register, or to use as it is."""

    name: str
    draft: Draft

    @property
    def registers(self) -> bool:
        """True if there is something to register."""
        return not self.draft.ready

    @property
    def family(self) -> str:
        """The family of the definition."""
        return str(self.draft.new.get("family") or family_of(self.draft.current))

    @property
    def goal(self) -> str:
        """The revision to be used, in words if it is yet to be registered."""
        return self.draft.ready or f"{self.family}:<new revision>"


class PlannedTask(Planned):
    """Tasks to run: `request` is RunTask's but for definition, count and token."""

    run: RunOptions = RunOptions()
    request: JSON = field(default_factory=dict)


class PlannedService(Planned):
    """A service as DescribeServices answered it, and UpdateService's request but for the definition."""

    service: JSON = field(default_factory=dict)
    update: JSON = field(default_factory=dict)
    wait: WaitOptions = WaitOptions()
    stops: str = ""  # the service deployment in progress, if ECS is to take that back by itself
    goes_back: bool = False  # that is what the user asked for

    @property
    def points_elsewhere(self) -> bool:
        """True if the update names a definition."""
        return self.draft.ready != self.draft.current

    @property
    def touched(self) -> bool:
        """True if the service is to be updated."""
        return self.points_elsewhere or len(self.update) > 2

    @property
    def deploys(self) -> bool:
        """True if the update starts a deployment, and does not only change what of the service needs none."""
        return self.points_elsewhere or bool(self.update.get("forceNewDeployment"))

    @property
    def undo(self) -> JSON:
        """UpdateService's members that undo the update: as the service or its deployment has them."""
        live = {**primary_of(self.service), **self.service}
        return {member: live[member] for member in sorted(self.update) if live.get(member) is not None}


class Plan(Value):
    """All that is to be done, in this order, and how long to wait for tasks.

    With `several` the parts are named in what is printed; `keep` is how many revisions of a family are to stay
    ACTIVE, 0 for all.
    """

    cluster: str
    before: tuple[PlannedTask, ...] = ()
    services: tuple[PlannedService, ...] = ()
    definitions: tuple[Planned, ...] = ()
    after: tuple[PlannedTask, ...] = ()
    task_timeout_s: float = 0.0
    several: bool = False
    keep: int = 0
    schedules: tuple[Schedule, ...] = ()  # those that are to run the new revisions
    scheduled: frozenset[str] = frozenset()  # the definitions that the others that were seen go on to run

    def parts(self) -> tuple[Planned, ...]:
        """All of it, in the order in which it is carried out."""
        return (*self.before, *self.services, *self.definitions, *self.after)

    def label(self, part: Planned) -> str:
        """What a line about the part begins with."""
        return f"{part.name}: " if self.several else ""


def deploy(ctx: Context, options: DeployOptions) -> int:
    """The classic command; the exit code. Raises `DeployError` for what is known before anything changed."""
    ctx.report.learn(cluster=options.cluster or None, service=", ".join(options.services) or None)
    members = [*options.edits.members, *options.change.members, *options.run.members]
    for document in (options.source.file or {}, *(with_member({}, edit) for edit in members)):
        ctx.report.mask.hide(secret_values(document))
    plan = plan_services(ctx, options) if options.services else plan_definition(ctx, options)
    if not options.no_preflight:
        raise_all(preflight(ctx, plan))
    plan = with_schedules(ctx, options, plan)
    return show_dry_run(ctx, plan) if options.output.dry_run else carry_out(ctx, plan).code


def plan_services(ctx: Context, options: DeployOptions) -> Plan:
    """The named services, and the definition that each is to run."""
    several = len(options.services) > 1
    wanted = options.edits or options.source != Source() or options.change != ServiceOptions(force_new_deployment=True)
    followed = wanted or options.schedules or options.all_schedules
    if options.wait.skip_deployments_check and not followed:
        ctx.report.line("Force a new deployment of the service")
        return Plan(options.cluster, services=tuple(blind_redeploy(options, name) for name in options.services))
    found = require_services(ctx, options.cluster, options.services)
    show_images(ctx, options.edits)
    parts = tuple(plan_service(ctx, options, each, f"{name}: " if several else "") for name, each in found.items())
    return Plan(options.cluster, services=parts, several=several, keep=options.max_definitions)


def blind_redeploy(options: DeployOptions, name: str) -> PlannedService:
    """A redeployment that is not followed, so that nothing needs to be read: one call, which old policies allow."""
    update = service_update(options.cluster, name, options.change, {})
    draft = Draft(name, {}, {}, ready=name)  # whatever it runs
    return PlannedService(name, draft, {}, update, replace(options.wait, no_wait=True, until_draining=False))


def plan_service(ctx: Context, options: DeployOptions, service: JSON, label: str) -> PlannedService:
    """One service, and the definition that it is to run; says what changes."""
    name, current = str(service["serviceName"]), str(service.get("taskDefinition"))
    update = service_update(options.cluster, name, options.change, service)
    wanted = bool(options.edits) or options.source != Source()
    draft = drafted(ctx, options, current)
    if wanted:
        show_draft(ctx, draft, service_changes(service, options.change), label)
    elif update.get("forceNewDeployment"):
        ctx.report.line(f"{label}Force a new deployment of the service")
        images = ", ".join(str(container.get("image")) for container in containers_of(draft.old))
        ctx.report.note(f"{label}Redeploying {short_name(current)}: {images}")
    else:
        ctx.report.block(f"{label}Changes:", service_changes(service, options.change) or ["nothing changes"])
    warn_at_start(ctx, options.wait, service, label)
    if options.wait.until_draining and not target_group_of(service):
        raise DeployError(f"The service {name} has no target group whose draining --wait-until could wait for")
    return PlannedService(name, draft, service, update, options.wait)


def plan_definition(ctx: Context, options: DeployOptions) -> Plan:
    """One definition, and perhaps tasks that run it."""
    name, run = options.task_definition, options.run
    show_images(ctx, options.edits)
    draft = drafted(ctx, options, name)
    draft = draft if run.run_task else replace(draft, ready="")  # there is nothing that could use it as it is
    show_draft(ctx, draft, [f"+ run {tasks_text(run.count)}"] if run.run_task else [], "")
    if not run.run_task:
        return Plan(options.cluster, definitions=(Planned(name, draft),), keep=options.max_definitions)
    if run.network_from_service:
        lender = run.network_from_service
        run = borrowed_network(run, require_services(ctx, options.cluster, [lender])[lender])
    task = PlannedTask(name, draft, run, run_request(options.cluster, draft.new, run))
    return Plan(options.cluster, before=(task,), task_timeout_s=options.wait.timeout_s, keep=options.max_definitions)


def require_services(ctx: Context, cluster: str, names: Sequence[str]) -> dict[str, JSON]:
    """The services by name, ACTIVE and deployed by ECS itself; raises `DeployError` otherwise."""
    with explained(ctx, cluster, names[0]):
        found = ctx.aws.describe_services(cluster, names)
    return {name: usable_service(ctx, cluster, name, found.get(name)) for name in names}


def usable_service(ctx: Context, cluster: str, name: str, service: JSON | None) -> JSON:
    """The service, if ECS may deploy it; raises `DeployError` otherwise."""
    if service is None or service.get("status") == "INACTIVE":
        with explained(ctx, cluster, name):
            raise AwsError("", code="ServiceNotFoundException")
    controller = (service.get("deploymentController") or {}).get("type", "ECS")
    if controller != "ECS":
        said = f"The service {name} is deployed by {controller}; UpdateService refuses a new task definition for it"
        with_codedeploy = "Deploy it with CodeDeploy (aws deploy create-deployment)."
        elsewhere = "Deploy it with the controller that owns its task sets."
        raise DeployError(said, hint=with_codedeploy if controller == "CODE_DEPLOY" else elsewhere)
    return service


@contextlib.contextmanager
def explained(ctx: Context, cluster: str, name: str = "") -> Iterator[None]:
    """AWS's "not found" errors, of the service or the definition of that name, with the names that do exist."""
    try:
        yield
    except AwsError as error:
        region = ctx.aws.region
        if error.code == "ClusterNotFoundException":
            clusters = lambda: [short_name(arn) for arn in ctx.aws.pages("ListClusters", {"maxResults": 100})]  # noqa: E731
            error.message = f"The cluster {cluster} was not found in {region}"
            error.hint = names_hint(clusters, f"clusters in {region}", cluster)
        elif error.code in ("ServiceNotFoundException", "ServiceNotActiveException"):
            or_not = ", or is not ACTIVE" if error.message else ""
            error.message = f"The service {name} was not found in cluster {cluster}{or_not}"
            error.hint = names_hint(lambda: ctx.aws.service_names(cluster), "services of the cluster", name)
        elif error.definition_missing:
            error.message = f"The task definition {name} was not found in {region}"
            error.hint = "Give a family with an ACTIVE revision, family:revision, or an ARN."
        error.args = (error.message,)
        raise


def names_hint(names: Callable[[], list[str]], what: str, wanted: str) -> str:
    """A hint with the names there are, the nearest ones if there are many; empty if they may not be listed."""
    try:
        found = sorted(names())
    except AwsError:
        return ""
    if len(found) <= 20:
        return f"The {what}: {', '.join(found)}" if found else f"There are no {what}."
    import difflib

    nearest = difflib.get_close_matches(wanted, found, 5, 0.5) or found[:20]
    return f"The {what}: {', '.join(nearest)}, and {len(found) - len(nearest)} more"


def drafted(ctx: Context, options: DeployOptions, current: str) -> Draft:
    """The definition to start from, copied and edited, beside the one in use; without an edit that revision itself."""
    source, file = options.source, options.source.file or {}
    name = family_of(current) if source.latest else source.taskdef or current
    base: JSON = {**file.get("taskDefinition", file), "tags": file.get("tags")}
    base = base if file else describe_definition(ctx, name, options.tags_required)
    arn = str(base.get("taskDefinitionArn") or "")
    same = not file and (current in (name, arn) or (source.latest and not options.services))
    live = base if same else live_definition(ctx, options, current)
    if source.taskdef and options.task_definition:
        base = {**base, "family": family_of(options.task_definition)}
    draft = draft_of(ctx, live, base, options.edits, "" if file or options.edits else arn)
    return replace(draft, start=arn if source.latest else draft.current, tags_required=options.tags_required)


def draft_of(ctx: Context, live: JSON, base: JSON, edits: Edits, ready: str) -> Draft:
    """The draft that begins with the definition `base`, beside the `live` one. Registers nothing."""
    output_only, in_use = ctx.aws.output_only_members(), str(live.get("taskDefinitionArn", "none"))
    old = registrable({**live, "tags": base.get("tags")}, output_only)
    new = edited(registrable(base, output_only), edits)
    for edit in edits.members:
        with contextlib.suppress(DeployError):  # of a log driver that comes with another edit
            if edit.value is None and edit.applied(base) == base:
                ctx.report.note(f"{edit.path} is not there, so there is nothing to unset.")
    return Draft(in_use, old, new, ready, deregistered=live.get("status") == "INACTIVE")


def live_definition(ctx: Context, options: DeployOptions, current: str) -> JSON:
    """The definition in use, to compare with; {} where -d names a family that is yet to be made."""
    try:
        return ctx.aws.describe_task_definition(current)
    except AwsError as error:
        if options.services or not error.definition_missing:
            raise
        return {}


def describe_definition(ctx: Context, name: str, tags_required: bool) -> JSON:
    """The definition with its tags; without its tags, and a warning, where they may not be read."""
    with explained(ctx, "", name):
        return tagged(ctx, tags_required, f" of {name}", lambda tags: ctx.aws.describe_task_definition(name, tags=tags))


def tagged(ctx: Context, required: bool, of: str, call: Callable[[bool], JSON]) -> JSON:
    """The answer of a call with tags; without them, and a warning, where they are denied and not required."""
    try:
        return call(True)
    except AwsError as error:
        if required or error.code not in _DENIED or not re.search(r"\becs:\w*Tag", error.message):
            raise
        ctx.report.warning(f"The tags{of} are not copied. {error.message}")
        return call(False)


def show_images(ctx: Context, edits: Edits) -> None:
    """Print the images and tags that were given, in the shell script's words."""
    for image in [edits.tag or str(edits.image or ""), *(image for _, image in edits.images)]:
        if image:
            ctx.report.line(f"Using image name: {image}")


def show_draft(ctx: Context, draft: Draft, more: Sequence[str], label: str) -> None:
    """Print the definition in use and what changes."""
    ctx.report.line(f"{label}Current task definition: {draft.start}")
    ctx.report.learn(previous_task_definition=draft.current, images=image_changes(draft.old, draft.new))
    lines = changes(draft.old, draft.new)
    if draft.ready and not lines:
        lines = [f"nothing changes in the definition; {short_name(draft.ready)} is used as it is"]
    again = "nothing changes; the same definition is registered again"
    ctx.report.block(f"{label}Changes:", [*lines, *more] or [again])


def warn_at_start(ctx: Context, wait: WaitOptions, service: JSON, label: str) -> None:
    """Say at the start what can't end in time, and where a way back does not lead to what is in use now."""
    baking_s = bake_time_s(service.get("deploymentConfiguration") or {})
    if wait.timeout_s and baking_s > wait.timeout_s and not wait.skip_deployments_check:
        ctx.report.warning(
            f"{label}The bake times of this service alone take {baking_s:.0f} s, longer than the time-out of"
            f" {wait.timeout_s:.0f} s (-t); the wait may end undecided."
        )
    current, worked = str(service.get("taskDefinition")), last_completed(service)
    if wait.rollback and worked != current:
        leads = f"to {short_name(worked)}, which did" if worked else "to it all the same"
        ctx.report.warning(
            f"{label}The deployment of {short_name(current)} has not completed; a rollback goes {leads}."
        )


def service_update(cluster: str, name: str, change: ServiceOptions, service: JSON) -> JSON:
    """UpdateService's parameters but for the definition: only what was asked for, merged into what is live."""
    update: JSON = {"cluster": cluster, "service": name}
    for edit in change.members:
        top = edit.steps[0]
        live = {str(top): service.get(str(top))} if top not in update else {}
        update = with_member({**update, **live}, edit)
    return {**update, "forceNewDeployment": True} if change.force_new_deployment else update


def service_changes(service: JSON, change: ServiceOptions) -> list[str]:
    """One line per member of the service that is to be changed, without values that may be secret."""
    lines: list[str] = []
    for edit in change.members:
        before = member_at(service, edit.steps)
        if before != edit.value:
            plain = not isinstance(edit.value, (dict, list)) and not _SECRET_NAME.search(edit.path)
            path = edit.path.removeprefix("deploymentConfiguration.")
            lines.append(f"~ service: {path}" + (f" {before} -> {edit.value}" if plain else ""))
    return lines


def show_dry_run(ctx: Context, plan: Plan) -> int:
    """The plan, printed; nothing was changed."""
    for part in plan.parts():
        (show_part if plan.several else show_requests)(ctx, part)
    ctx.report.line("Dry run: nothing was changed.")
    ctx.report.learn(verdict="dry run")
    return Exit.OK


def show_part(ctx: Context, part: Planned) -> None:
    """What would be done to one of several parts."""
    verb = ("update" if part.touched else "leave") if isinstance(part, PlannedService) else "run"
    ctx.report.line(f"Would {verb} {part.name} ({short_name(part.draft.current)})")
    for line in changes(part.draft.old, part.draft.new) or ["nothing changes"]:
        ctx.report.line(f"  {line}")


def show_requests(ctx: Context, part: Planned) -> None:
    """What would be sent for the only part, with the values masked."""
    new = {"taskDefinition": part.goal}
    operation, request = "RunTask", {}
    if isinstance(part, PlannedTask):
        request = {**part.request, "count": part.run.count, **new}
    elif isinstance(part, PlannedService) and part.stops:
        operation, request = "StopServiceDeployment", {"serviceDeploymentArn": part.stops, "stopType": "ROLLBACK"}
    elif isinstance(part, PlannedService) and part.touched:
        operation, request = "UpdateService", {**part.update, **(new if part.points_elsewhere else {})}
    if part.registers:
        ctx.report.request("Would register", part.draft.new)
    if request:
        ctx.report.request(f"Would send {operation}", request)
    registered = masked(part.draft.new) if part.registers else None
    ctx.report.learn(would_register=registered, would_send={operation: masked(request)})


# Preflight: what is known to fail is said before anything is changed

_PREFLIGHT = {Exit.BAD_IMAGE, Exit.CANNOT_WORK}
_MANIFESTS = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
]


def preflight(ctx: Context, plan: Plan) -> list[DeployError]:
    """What of the plan is known to fail; in a dry run and with -v also what was looked up, and what could not be."""
    looked = Lookup(ctx)
    problems = [*image_problems(looked, plan), *secret_problems(looked, plan), *fit_problems(plan)]
    if ctx.report.output.verbose or ctx.report.output.dry_run:
        for line in looked.said:
            ctx.report.note(line)
    return problems


class Lookup(Record):
    """Asks what a deployment can do without: what AWS does not tell is left out, and only noted."""

    ctx: Context
    said: list[str] = field(default_factory=list)
    silent: set[tuple[str, str]] = field(default_factory=set)  # service and region that were not reached
    images: dict[str, JSON | None] = field(default_factory=dict)

    def ask(self, operation: str, params: JSON, region: str, absent: str = "") -> JSON | None:
        """The answer; {} if the error is `absent`, and None where AWS does not tell."""
        where = (service_of(operation), region)
        if where in self.silent:
            return None
        try:
            return self.ctx.aws.call(operation, params, region=region, retries=False)
        except AwsError as error:
            if error.transient:
                self.silent.add(where)
            if error.code != absent:
                self.said.append(f"Not looked up: {error.message}")
            return {} if error.code == absent else None

    def image(self, image: str) -> JSON | None:
        """What ECR says of an image, {} if its repository is not there; None if it does not tell, or has it not."""
        place = ecr_repository(image)
        if place and image not in self.images:
            region, repository = place
            request = {**repository, "imageIds": [ecr_image_id(image)], "acceptedMediaTypes": _MANIFESTS}
            self.images[image] = self.ask("BatchGetImage", request, region, absent="RepositoryNotFoundException")
        return self.images.get(image)

    def platforms(self, image: str) -> set[str]:
        """The platforms that an image is for; empty if that is not told."""
        found = (self.image(image) or {}).get("images") or []
        return {platform for each in found for platform in platforms_of(each.get("imageManifest"))}


def image_problems(looked: Lookup, plan: Plan) -> Iterator[DeployError]:
    """The images in ECR that the plan puts in and that are not there, or not for the platform."""
    for part in plan.parts():
        for change in image_changes(part.draft.old, part.draft.new):
            image = change["new"]
            place, told = ecr_repository(image), looked.image(image)
            if place is None or told is None:
                continue
            if told and "ImageNotFound" not in str(told.get("failures")):
                yield from wrong_platform(looked, plan.label(part), image, change["old"], part.draft.new)
            elif not may_be_cached(looked, place, image):
                said = f"The image {image} is not in ECR{'' if told else ', nor is its repository'}"
                hint = nearest_tags(looked, place, image) if told else ""
                yield DeployError(f"{plan.label(part)}{said}", Exit.BAD_IMAGE, hint)


def wrong_platform(looked: Lookup, label: str, image: str, replaced: str, definition: JSON) -> Iterator[DeployError]:
    """The problem of an image that is for other platforms than the definition's.

    A definition that names none runs on whatever instances there are: what the image before was for, is right then.
    """
    there, wanted = looked.platforms(image), platforms_for(definition)
    if there and wanted and there.isdisjoint(wanted):
        before = set() if definition.get("runtimePlatform") else looked.platforms(replaced)
        if not before or before & set(wanted):
            said = f"{label}The image {image} is for {', '.join(sorted(there))}, not for {wanted[0]}"
            yield DeployError(said, Exit.BAD_IMAGE, "Build it for that platform, or change runtimePlatform.")
    looked.said.append(f"{label}Looked up {image}: {', '.join(sorted(there)) or 'no platform is told'}")


def may_be_cached(looked: Lookup, place: tuple[str, JSON], image: str) -> bool:
    """True if a pull-through cache fills the repository at the first pull, or ECR does not tell."""
    region, repository = place
    request = {"registryId": repository["registryId"], "maxResults": 1000}
    answer = looked.ask("DescribePullThroughCacheRules", request, region)
    prefixes = {str(rule.get("ecrRepositoryPrefix")) for rule in (answer or {}).get("pullThroughCacheRules") or []}
    of_it = any(repository["repositoryName"].startswith(f"{prefix}/") for prefix in prefixes)
    cached = answer is None or "ROOT" in prefixes or of_it
    if cached:
        looked.said.append(f"The image {image} is not there; a pull-through cache may fetch it")
    return cached


def nearest_tags(looked: Lookup, place: tuple[str, JSON], image: str) -> str:
    """The tags that are most like the image's, or the newest; empty if they may not be listed."""
    import difflib

    region, repository = place
    request = {**repository, "filter": {"tagStatus": "TAGGED"}, "maxResults": 1000}
    details = (looked.ask("DescribeImages", request, region) or {}).get("imageDetails") or []
    newest = sorted(details, key=lambda each: str(each.get("imagePushedAt")), reverse=True)
    tags = [tag for each in newest for tag in each.get("imageTags") or []]
    near = difflib.get_close_matches(ImageReference.parse(image).tag, tags, 3)
    said = f"{'Like it' if near else 'Newest'} in {repository['repositoryName']}: {', '.join(near or tags[:5])}"
    return said if tags else ""


def secret_problems(looked: Lookup, plan: Plan) -> Iterator[DeployError]:
    """The secrets and parameters that the plan adds or changes and that do not exist; nothing is decrypted."""
    uses: dict[str, str] = {}
    for part in plan.parts():
        before = secret_uses(part.draft.old)
        new = {value: use for value, use in secret_uses(part.draft.new).items() if value not in before}
        uses |= {value: f"{plan.label(part)}The secret {use}" for value, use in new.items() if value not in uses}
    parameters: dict[str, list[str]] = {}
    for value, use in uses.items():
        service, region, name = secret_place(value)
        if service == "secretsmanager":
            if looked.ask("DescribeSecret", {"SecretId": name}, region, absent="ResourceNotFoundException") == {}:
                yield DeployError(f"{use} does not exist: there is no {name}", Exit.CANNOT_WORK)
        elif service == "ssm":
            parameters.setdefault(region or looked.ctx.aws.region, []).append(name)
    for region, names in parameters.items():
        for start in range(0, len(names), 10):
            answer = looked.ask("GetParameters", {"Names": names[start : start + 10]}, region) or {}
            for name in set(answer.get("InvalidParameters") or []) & set(names):
                what = f"there is no {name}" if name.startswith("arn:") else f"no parameter of that name is in {region}"
                yield DeployError(f"{uses[name]} does not exist: {what}", Exit.CANNOT_WORK)


def fit_problems(plan: Plan) -> Iterator[DeployError]:
    """Where a new definition and its service do not agree; what is so already works, whatever it looks like."""
    for part in plan.services:
        service = {**part.service, **part.update}
        known = misfits(part.draft.old, part.service)
        for misfit in misfits(part.draft.new, service) if part.draft.new else ():
            if misfit not in known:
                yield DeployError(
                    f"{plan.label(part)}The service {part.name} cannot run it: {misfit}", Exit.CANNOT_WORK
                )


# Carrying out


class Results(Record):
    """What became of each part, for the report at the end, the JSON document and the exit code.

    It is filled as the run goes on, so that a run that is cut short leaves what it knows.
    """

    report: Reporter
    plan: Plan
    parts: dict[str, JSON] = field(default_factory=dict)
    revisions: dict[str, str] = field(default_factory=dict)  # a definition as JSON -> its ARN

    def add(self, part: Planned, **facts: Any) -> None:
        """Keep facts about a part: `result` and `exit_code` where it ended, and whatever the document says of it."""
        draft = part.draft
        images = image_changes(draft.old, draft.new)
        known = {"name": part.name, "images": images, "previous_task_definition": draft.current}
        self.parts.setdefault(part.name, known).update(facts)
        if self.plan.several:
            self.report.learn(cluster=self.plan.cluster, parts=list(self.parts.values()))
        else:
            self.report.learn(**{name: fact for name, fact in facts.items() if name not in ("result", "exit_code")})

    def fail(self, part: Planned, error: DeployError) -> None:
        """Say why a part failed, and keep that."""
        self.report.error(f"{self.plan.label(part)}{error.message}", error.hint)
        said = {"verdict": "error", "error": error.message, "hint": error.hint}
        self.add(part, result=error.message, exit_code=error.exit_code, **said)

    @property
    def codes(self) -> set[int]:
        """The exit codes of what failed."""
        return {known["exit_code"] for known in self.parts.values() if known.get("exit_code")}

    @property
    def code(self) -> int:
        """The exit code of all: of a kind if all failures are, else 1."""
        of_a_kind = not self.plan.several or self.codes in ({Exit.ROLLED_BACK}, {Exit.ROLLBACK_FAILED})
        return (max(self.codes) if of_a_kind else Exit.FAILED) if self.codes else Exit.OK

    def arn(self, part: Planned) -> str:
        """The ARN that the part's new definition has."""
        return part.draft.ready or self.revisions[json.dumps(part.draft.new)]


def carry_out(ctx: Context, plan: Plan) -> Results:
    """Tasks before, all services at once, tasks after; a failure ends it after its phase. What became of each part."""
    results = Results(ctx.report, plan)
    for phase in (plan.before, plan.services, plan.definitions, plan.after):
        if phase and not results.codes:
            register_all(ctx, results, phase)
            if phase is plan.services:
                roll_out(ctx, results, plan.services)
            elif phase is plan.definitions:
                ctx.report.line("Task definition updated successfully")
                ctx.report.learn(verdict="completed")
            else:
                run_tasks(ctx, results, plan.before if phase is plan.before else plan.after)
    if plan.schedules and not results.codes:
        move_schedules(ctx, results)
    if plan.keep and not results.codes:
        prune(ctx, results)
    return results


def register_all(ctx: Context, results: Results, parts: Iterable[Planned]) -> None:
    """Register each new definition once, however many parts share it; until a service uses it, it is in the ledger."""
    for part in parts:
        key = json.dumps(part.draft.new)
        if not part.registers or key in results.revisions:
            continue
        if results.plan.several:
            for line in changes(part.draft.old, part.draft.new):
                ctx.report.note(f"{part.name}:  {line}")
        results.revisions[key] = arn = register(ctx, results.plan.cluster, part)
        results.add(part, new_task_definition=arn)
        if part in results.plan.definitions:
            ctx.begun.settle(arn)


def register(ctx: Context, cluster: str, part: Planned) -> str:
    """Register the part's definition and print the new ARN, which is in the ledger from now on.

    Until something uses it, it is discarded if the run ends; one to run tasks of is only named. A lost answer is an
    error, since a second call would make a second revision.
    """
    draft, key = part.draft, f"family {part.family}"
    look = f"aws ecs list-task-definitions --family-prefix {part.family} --sort DESC {ctx.aws.place}"
    doubt = f"A revision of {part.family} may have been registered, the answer was not seen. Look:\n  {look}"
    requests = {True: draft.new, False: {name: draft.new[name] for name in draft.new if name != "tags"}}
    ctx.begun.enter(key, lambda _: doubt)
    with ctx.begun.sending(key):
        send = lambda tags: ctx.aws.call("RegisterTaskDefinition", requests[tags])  # noqa: E731
        arn = str(tagged(ctx, draft.tags_required, "", send)["taskDefinition"]["taskDefinitionArn"])
    discards = isinstance(part, PlannedService)
    undo = (lambda _: discard(ctx, cluster, arn, "that no service uses")) if discards else None
    ctx.begun.enter(arn, lambda _: _registered(ctx, arn), undo)
    ctx.begun.settle(key)
    ctx.report.line(f"New task definition: {arn}")
    return arn


def _registered(ctx: Context, arn: str) -> str:
    return f"The new revision {short_name(arn)} stays registered. To deregister it:\n  {deregister_command(ctx, arn)}"


def deregister_command(ctx: Context, arn: str) -> str:
    """The AWS CLI command that makes a revision INACTIVE."""
    return f"aws ecs deregister-task-definition --task-definition {arn} {ctx.aws.place}"


def discard(ctx: Context, cluster: str, arn: str, what: str, ends: Mapping[str, Rollout] | None = None) -> bool:
    """Deregister a revision that this run made, once no service is seen to use it; False where it stays.

    `ends` has this run's services, each with what was begun last of it: an older answer proves nothing.
    """
    known, left = ends or {}, ""
    try:
        services = services_of(ctx, cluster, known)
        if any(is_outdated(services.get(name) or {}, end, young=False) for name, end in known.items()):
            left = "AWS does not show yet that nothing uses it"
        elif arn in definitions_in_use(services.values()):
            left = "a deployment of the service still uses it"
        else:
            ctx.aws.call("DeregisterTaskDefinition", {"taskDefinition": arn})
    except AwsError as error:
        if not (error.maybe_done and is_inactive(ctx, arn)):
            ctx.report.warning(f"{arn}, a revision {what}, could not be deregistered. {error.message}")
            return False
    done = f"Deregistered {short_name(arn)}, a revision {what}."
    ctx.report.note(f"{arn} is left ACTIVE: {left}." if left else done)
    return not left


def is_inactive(ctx: Context, arn: str) -> bool:
    """True if a definition is seen not to be ACTIVE any more."""
    status = "ACTIVE"
    with contextlib.suppress(AwsError):
        status = str(ctx.aws.describe_task_definition(arn).get("status"))
    return status != "ACTIVE"


def services_of(ctx: Context, cluster: str, known: Iterable[str]) -> dict[str, JSON]:
    """The cluster's services as they are now, those of this run (`known`) even where they may not be listed."""
    names = list(known)
    try:
        names += [name for name in ctx.aws.service_names(cluster) if name not in names]
    except AwsError as error:
        if error.code not in _DENIED:
            raise
    return ctx.aws.describe_services(cluster, names)


def roll_out(ctx: Context, results: Results, parts: Sequence[PlannedService]) -> None:
    """Update all services, follow them in one loop, and conclude; a refused update does not keep the others waiting."""
    rollouts: list[Rollout] = []
    refused: list[tuple[PlannedService, AwsError]] = []
    for part in parts:
        try:
            rollouts.append(begin_rollout(ctx, results, part))
        except AwsError as error:
            refused.append((part, error))
    for part, refusal in refused:
        give_up_update(ctx, results, part, refusal)
    if rollouts and not parts[0].wait.no_wait:
        watch_updates(ctx, rollouts)
        conclude(ctx, results, rollouts)
        return
    for rollout in rollouts:
        ctx.report.line(f"{rollout.label}Accepted: {rollout.definition}, {rollout.deployment_id}")
        results.add(rollout.part, result="accepted", exit_code=Exit.OK, verdict="accepted")
        ctx.begun.settle(rollout.key)


def begin_rollout(ctx: Context, results: Results, part: PlannedService) -> Rollout:
    """Update one service; the roll-out to watch. One where nothing changes is left alone, but must run."""
    arn = results.arn(part) if part.points_elsewhere else ""
    now_there = "" if part.touched else str(primary_of(part.service).get("id") or "")
    rollout = rollout_of(ctx, results.plan, part, now_there, arn or str(part.service.get("taskDefinition")))
    rollout.steady, rollout.left_alone = not part.deploys, not part.touched
    rollout.previous_definition = what_worked(part, part.service) if arn else ""
    rollout.old_targets = set(target_states(ctx, rollout))
    if not part.touched:
        return rollout
    results.add(part, result="not finished")
    if part.stops and (back := taken_back_by_ecs(ctx, results, rollout)):
        return back
    enter_rollout(ctx, rollout)
    with ctx.begun.sending(rollout.key):
        answer = send_update(ctx, {**part.update, **({"taskDefinition": arn} if arn else {})})
    note_start(rollout, started_deployment(answer, arn), answer)
    if arn:  # while it was registered, which takes minutes where ECS throttles, somebody else's may have completed
        rollout.previous_definition = what_worked(part, before_ours(answer, rollout))
    rollout.known_events |= event_ids(answer)
    ctx.begun.settle(arn)
    results.add(part, new_task_definition=arn or None, deployment_id=rollout.deployment_id)
    return rollout


def send_update(ctx: Context, update: JSON) -> JSON:
    """The service as UpdateService answers it; where the answer was lost for good, as it shows itself then."""
    try:
        with explained(ctx, update["cluster"], update["service"]):
            return ctx.aws.update_service(update)
    except AwsError as error:
        if not (error.maybe_done and "taskDefinition" in update):
            raise
        with contextlib.suppress(AwsError), ctx.interrupts.held():
            service = ctx.aws.describe_services(update["cluster"], [update["service"]]).get(update["service"]) or {}
            if primary_of(service).get("taskDefinition") == update["taskDefinition"]:
                return service
        raise


def give_up_update(ctx: Context, results: Results, part: PlannedService, error: AwsError) -> None:
    """An update was refused, or its answer lost for good: discard what no service uses, or leave it, and say so."""
    arn = results.arn(part)
    if error.maybe_done:
        error.hint = f"UpdateService may have been carried out; {arn} is left as it is. Look at the service."
        ctx.begun.settle(arn)
    ctx.begun.abandon(error, ctx.report, [f"service {part.name}", arn])
    results.fail(part, error)


# Following


def rollout_of(ctx: Context, plan: Plan, part: PlannedService, deployment_id: str, definition: str) -> Rollout:
    """A deployment of the part's service, of which nothing was seen yet but the service."""
    service, now_s = part.service, ctx.clock.now()
    rollout = Rollout(plan.cluster, part, part.wait, plan.label(part), now_s, deployment_id, definition)
    rollout.last, rollout.last_s, rollout.known_events = service, now_s, event_ids(service)
    return rollout


def event_ids(service: JSON) -> set[str]:
    """The ids of the events that an answer shows."""
    return {str(event.get("id")) for event in service.get("events") or []}


def what_worked(part: PlannedService, seen: JSON) -> str:
    """The definition that a rollback leads to: what last worked, else what was in use; empty if that is INACTIVE."""
    current = str(part.service.get("taskDefinition") or "")
    target = last_completed(seen) or last_completed(part.service) or current
    return "" if (target == current and part.draft.deregistered) or target == part.draft.ready else target


def before_ours(answer: JSON, rollout: Rollout) -> JSON:
    """Of UpdateService's answer the deployments before ours that tell how they stand: counts are zero by then."""
    others = [d for d in answer.get("deployments") or [] if d.get("id") != rollout.deployment_id]
    return {"deployments": [deployment for deployment in others if deployment.get("rolloutState")]}


def note_start(rollout: Rollout, started: JSON, answer: JSON) -> None:
    """Keep which deployment UpdateService says has begun."""
    rollout.deployment_id = str(started.get("id") or "")
    rollout.definition = str(started.get("taskDefinition") or rollout.definition)
    rollout.after_s = max(stamp_s(started), stamp_s(started, "updatedAt"), rollout.after_s)
    rollout.last = answer


def started_deployment(answer: JSON, arn: str) -> JSON:
    """The deployment that UpdateService started: the answer's PRIMARY, if it runs the definition that was sent."""
    primary = primary_of(answer)
    if not arn or primary.get("taskDefinition") == arn:
        return primary
    return next((d for d in answer.get("deployments") or [] if d.get("taskDefinition") == arn), {})


def target_group_of(service: JSON) -> str:
    """The ARN of the service's first target group; empty without one."""
    groups = [balancer.get("targetGroupArn") for balancer in service.get("loadBalancers") or []]
    return str(next(filter(None, groups), ""))


def target_states(ctx: Context, rollout: Rollout, *, retries: bool = True) -> dict[str, str]:
    """The state of each target of the service's target group, if its draining is waited for."""
    if not rollout.wait.until_draining:
        return {}
    params = {"TargetGroupArn": target_group_of(rollout.part.service)}
    described = ctx.aws.call("DescribeTargetHealth", params, retries=retries).get("TargetHealthDescriptions") or []
    return {f"{t['Target']['Id']}:{t['Target'].get('Port')}": str(t["TargetHealth"].get("State")) for t in described}


def draining_started(ctx: Context, rollout: Rollout) -> bool:
    """True once the load balancer drains a target that was there before, or all of those are gone: the new serve."""
    if not rollout.wait.until_draining or rollout.running_s is None:
        return False
    states = target_states(ctx, rollout, retries=False)
    old = [states[target] for target in rollout.old_targets if target in states]
    return "draining" in old or not old


def watch_updates(ctx: Context, rollouts: Sequence[Rollout]) -> None:
    """`watch`; where that is cut short by an error, the error says whose outcome is unknown."""
    try:
        watch(ctx, rollouts)
    except AwsError as error:
        flying = listed_text([rollout.what for rollout in rollouts if rollout.verdict is None])
        said = f"{error.message}. The outcome of {flying} is unknown"
        raise AwsError(said, code=error.code, hint=error.hint) from error


def watch(ctx: Context, rollouts: Sequence[Rollout]) -> None:
    """Follow the deployments until each has its verdict: one DescribeServices per ten services a tick.

    A throttled or failed look is never a verdict; raises `AwsError` only where looking again cannot help.
    """
    patience = Patience(ctx.clock.now(), endless=any(not rollout.wait.timeout_s for rollout in rollouts))
    while waiting := [rollout for rollout in rollouts if rollout.verdict is None]:
        try:
            look(ctx, waiting)
            patience.answered(ctx.clock.now())
        except AwsError as error:
            patience.excuse(error, ctx.clock.now(), ctx.report)
        now_s = ctx.clock.now()
        for rollout in waiting:
            rollout.took_s = now_s - rollout.started_s
            if rollout.verdict is None and now_s >= rollout.deadline_s:
                rollout.verdict = expired(ctx, rollout, now_s)
        if waiting := [rollout for rollout in waiting if rollout.verdict is None]:
            ending = any(r.counts["running"] >= r.counts["desired"] and not r.counts["old"] for r in waiting)
            left_s = min(rollout.deadline_s - now_s for rollout in waiting)
            ctx.sleep(min(patience.pause_s(now_s, only_end_missing=ending), left_s))


def look(ctx: Context, waiting: Sequence[Rollout]) -> None:
    """One tick: ask once for all, and let each deployment draw its conclusion."""
    for rollout in waiting:
        rollout.current = False
    services = ctx.aws.describe_services(waiting[0].cluster, [r.service for r in waiting], retries=False)
    now_s = ctx.clock.now()
    for rollout in waiting:  # at once: a signal may come before all of it is looked at
        keep_answer(ctx, rollout, services.get(rollout.service))
    look_at_strategies(ctx, waiting)
    for rollout in waiting:
        observe(ctx, rollout, services.get(rollout.service), now_s)
    rows = {rollout.service: progress_of(rollout) for rollout in waiting if rollout.verdict is None}
    ctx.report.progress(rows, ctx.clock.now() - min(rollout.started_s for rollout in waiting))


def keep_answer(ctx: Context, rollout: Rollout, service: JSON | None) -> bool:
    """Keep what AWS shows of the service, unless it is older than what was shown, or than our update."""
    now_s = ctx.clock.now()
    if not service:
        rollout.missing_s = min(rollout.missing_s, now_s)
        return False
    if is_outdated(service, rollout, young=False):
        return False
    rollout.last, rollout.last_s, rollout.missing_s, rollout.current = service, now_s, INFINITE_S, True
    return True


def observe(ctx: Context, rollout: Rollout, service: JSON | None, now_s: float) -> None:
    """Report what is new of one service, as it was answered at that time, and set the verdict once ECS has decided."""
    if rollout.current:
        note_counts(ctx, rollout)
    verdict = judged(rollout, service, now_s)
    if verdict.state in (RolloutState.WAITING, RolloutState.COMPLETED) and rollout.running_s is None:
        first_wait(ctx, rollout, verdict, now_s)
    if rollout.verdict is None:
        rollout.verdict = verdict if verdict.state is not RolloutState.WAITING else ended_early(ctx, rollout)
    if rollout.state is RolloutState.COMPLETED:
        say(ctx, rollout, "unchanged, and stable" if rollout.left_alone else "Service deployment successful.")
        if rollout.part.goes_back:  # at once: while others are waited for, somebody may deploy
            ctx.report.line(f"{rollout.label}The service is back on {rollout.part.draft.ready}, and stable.")


def say(ctx: Context, rollout: Rollout, text: str) -> None:
    """Print a line that scripts read, unless this is a rollback, whose success is not the user's."""
    if not rollout.returning:
        ctx.report.line(f"{rollout.label}{text}")


def note_counts(ctx: Context, rollout: Rollout) -> None:
    """Keep the counts, print new events, and look at stopped tasks if there may be some."""
    counted = rollout.deployment_id
    if rollout.native and rollout.returning:  # ECS leaves this one: the other tells how far it is
        counted = next((str(d["id"]) for d in rollout.last.get("deployments") or [] if d.get("id") != counted), "")
    before, counts = rollout.counts, counts_of(rollout.last, counted)
    bad = report_events(ctx, rollout)
    fell = counts["running"] + counts["pending"] < before["running"] + before["pending"]
    if fell or bad or counts["failed"] > before["failed"]:
        diagnose(ctx, rollout)
    rollout.counts, rollout.most_running = counts, max(rollout.most_running, counts["running"])


def report_events(ctx: Context, rollout: Rollout) -> bool:
    """Print the service's events that are newer than the update; True if one of them tells of trouble."""
    listed = reversed(rollout.last.get("events") or [])
    fresh = [event for event in listed if str(event.get("id")) not in rollout.known_events]
    for event in fresh:
        said = theirs(event_text(str(event.get("message", "")), rollout.label))
        ctx.report.note(f"{rollout.label}event: {said}", DIM)
    rollout.known_events |= event_ids(rollout.last)
    rollout.events += fresh
    return any(map(is_trouble, fresh))


def judged(rollout: Rollout, service: JSON | None, now_s: float) -> Verdict:
    """The verdict of one answer; of a service deployment, its own word where it has one."""
    verdict = rollout_verdict(service, rollout, now_s)
    if not rollout.native_state or rollout.steady or verdict.state is RolloutState.GONE:
        return verdict  # a service deployment that succeeded says nothing of the tasks since then
    native = strategy_verdict(rollout.native_state, wanted_back=rollout.returning)
    overruled = verdict.state is not RolloutState.SUPERSEDED
    return native if overruled or native.state not in (RolloutState.WAITING, RolloutState.FAILED) else verdict


def first_wait(ctx: Context, rollout: Rollout, verdict: Verdict, now_s: float) -> None:
    """End the first wait as soon as a task of our deployment runs (and is healthy, where ECS checks that)."""
    complete = verdict.state is RolloutState.COMPLETED
    if number(rollout.last, "desiredCount") <= 0 or (complete and not rollout.counts["desired"]):
        say(ctx, rollout, "Skipping check for running task definition, as desired-count <= 0")
    elif not complete and not (rollout.counts["running"] and is_healthy(ctx, rollout)):
        return
    elif rollout.part.points_elsewhere:
        say(ctx, rollout, "Service updated successfully, new task definition running.")
    rollout.running_s = now_s
    if rollout.wait.skip_deployments_check:
        rollout.verdict = Verdict(RolloutState.RUNNING, "the deployment itself was not waited for")
    elif not rollout.left_alone:
        say(ctx, rollout, "Waiting for service deployment to complete...")


def is_healthy(ctx: Context, rollout: Rollout) -> bool:
    """True if a task of our deployment passes its health check, has none, or that may not be read."""
    if not has_health_check(rollout.part.draft.new):
        return True
    try:
        arns = ctx.aws.call("ListTasks", started_by(rollout, "RUNNING"), retries=False).get("taskArns") or []
        tasks = ctx.aws.describe_tasks(rollout.cluster, arns, retries=False)
    except AwsError as error:
        if error.code not in _DENIED or rollout.wait.skip_deployments_check:
            raise
        say_once(ctx, rollout, "The tasks' health cannot be read, so only the deployment counts.", error.message)
        return True
    return any(task.get("healthStatus") == "HEALTHY" for task in tasks)


def is_news(rollout: Rollout, what: str) -> bool:
    """True the first time that this is to be said of a roll-out."""
    told = what in rollout.said
    rollout.said.add(what)
    return not told


def say_once(ctx: Context, rollout: Rollout, what: str, *more: str) -> None:
    """Say something about a roll-out that one look after the other may find."""
    if is_news(rollout, what):
        ctx.report.note(rollout.label + " ".join([what, *more]))


def started_by(rollout: Rollout, status: str) -> JSON:
    """ListTasks' parameters for the tasks of our deployment whose desired status is RUNNING or STOPPED."""
    params = {"cluster": rollout.cluster, "startedBy": rollout.deployment_id}
    return {**params, "desiredStatus": status, "maxResults": 100}


def ended_early(ctx: Context, rollout: Rollout) -> Verdict | None:
    """The verdict where more was not asked for, or would not help, although ECS has not decided."""
    if draining_started(ctx, rollout):
        return Verdict(RolloutState.RUNNING, "the load balancer drains the old targets")
    stopped = len(rollout.stopped)
    if rollout.wait.fail_fast and stopped >= rollout.wait.fail_fast:
        return Verdict(RolloutState.FAILED, f"{stopped} of its tasks stopped (--fail-fast)")
    why = hopeless(ctx, rollout)
    return Verdict(RolloutState.FAILED, why) if why else None


def expired(ctx: Context, rollout: Rollout, now_s: float) -> Verdict:
    """The verdict of a wait that has run out: what was seen, and how long ago."""
    timeout_s, counts = f"{rollout.wait.timeout_s:g}", rollout.counts
    if rollout.steady:
        reason = f"not steady within {timeout_s} seconds: {counts['running']} of {counts['desired']} running"
    elif rollout.running_s is not None:
        reason = f"the deployment was not complete within {timeout_s} seconds"
    else:
        say(ctx, rollout, f"ERROR: New task definition not running within {timeout_s} seconds")
        state = "healthy" if rollout.most_running else "running"
        reason = f"no task of the new deployment was seen {state} within {timeout_s} seconds"
        ran = f"{rollout.most_running} ran, " if rollout.most_running else ""
        reason += f" ({ran}{len(rollout.stopped)} stopped)" if ran or rollout.stopped else ""
    if not rollout.current:
        reason += f"; AWS has shown nothing new of it for {now_s - rollout.last_s:.0f} seconds"
    return Verdict(RolloutState.TIMED_OUT, reason)


def progress_of(rollout: Rollout) -> str:
    """Counts of the new and the old, and the stage where a strategy has stages."""
    counts, stage = rollout.counts, rollout.native_state.get("lifecycleStage")
    new, old = ("back", "others") if rollout.returning else ("new", "old")
    text = f"{rollout.label}{new}: {counts['running']} running, {counts['pending']} pending of {counts['desired']}"
    text += f"; {old}: {counts['old']} running" if counts["old"] else f"; {old}: none left"
    text += f"; {len(rollout.stopped)} stopped" if rollout.stopped else ""
    text += "; none healthy yet" if is_unhealthy(rollout) else ""
    weight = (rollout.native_state.get("targetServiceRevision") or {}).get("requestedProductionTrafficWeight")
    text += f"; stage {stage}" if stage else ""
    return text + (f", {weight:g} % of the traffic on the new" if weight is not None else "")


def is_unhealthy(rollout: Rollout) -> bool:
    """True if tasks run, and none was seen to pass its health check so far."""
    return bool(rollout.most_running) and rollout.running_s is None and has_health_check(rollout.part.draft.new)


# BLUE_GREEN, LINEAR and CANARY

_UNFOLLOWED = "The service deployment cannot be followed."


def look_at_strategies(ctx: Context, waiting: Sequence[Rollout]) -> None:
    """Ask how the service deployments stand, for the services that have one; a refusal leaves the roll-out state."""
    changing = [rollout for rollout in waiting if not rollout.left_alone and _UNFOLLOWED not in rollout.said]
    native = [rollout for rollout in changing if strategy_of(rollout.last) != "ROLLING"]
    try:
        for rollout in native:
            find_service_deployment(ctx, rollout)
        known = {rollout.native: rollout for rollout in native if rollout.native}
        for state in ctx.aws.described("DescribeServiceDeployments", list(known), {}, retries=False):
            rollout = known[state["serviceDeploymentArn"]]
            rollout.native_state = state
            report_hooks(ctx, rollout)
    except AwsError as error:
        if error.transient:
            raise
        for rollout in native:
            say_once(ctx, rollout, _UNFOLLOWED, error.message)


def find_service_deployment(ctx: Context, rollout: Rollout) -> None:
    """Set `native` to the ARN of the service deployment that our update started, once AWS shows it."""
    ours = find_deployment(rollout.last, rollout.deployment_id)
    if rollout.native or rollout.returning or ours.get("status") != "PRIMARY":
        return  # the service deployment of this answer would be somebody else's
    current = str(rollout.last.get("currentServiceDeployment") or "")
    if not current:
        listed = ctx.aws.pages("ListServiceDeployments", {"cluster": rollout.cluster, "service": rollout.service})
        young = [brief for brief in listed if stamp_s(brief) >= stamp_s(ours) - 1]
        newest: JSON = max(young, key=stamp_s, default={})
        current = str(newest.get("serviceDeploymentArn") or "")
    if not (rollout.part.touched and current == rollout.part.service.get("currentServiceDeployment")):
        rollout.native = current


def report_hooks(ctx: Context, rollout: Rollout) -> None:
    """Name each pause hook that waits for somebody, with the command that continues it."""
    for hook in rollout.native_state.get("lifecycleHookDetails") or []:
        if hook.get("status") == "AWAITING_ACTION":
            proceed = f"--service-deployment-arn {rollout.native} --hook-id {hook.get('hookId')} --action CONTINUE"
            said = f"The hook {hook.get('hookId')} waits (AWAITING_ACTION). Continue with:\n"
            say_once(ctx, rollout, f"{said}  aws ecs continue-service-deployment {proceed} {ctx.aws.place}")


# Saying why


def diagnose(ctx: Context, rollout: Rollout) -> None:
    """Keep the stopped tasks of our deployment, and print each reason when it is new; never fails."""
    try:
        arns = ctx.aws.pages("ListTasks", started_by(rollout, "STOPPED"))
        tasks = ctx.aws.describe_tasks(rollout.cluster, [arn for arn in arns if arn not in rollout.stopped])
    except AwsError as error:
        say_once(ctx, rollout, "The stopped tasks cannot be read.", error.message)
        return
    told = set(rollout.reasons)
    for task in tasks:
        if task.get("lastStatus") != "STOPPED" or not counts_as_failure(task):
            continue
        arn, reason = str(task["taskArn"]), stop_reason(task)
        rollout.stopped[arn] = task
        note_cause(ctx, rollout, task)
        if reason not in told:
            told.add(reason)
            ctx.report.note(f"{rollout.label}Task {short_name(arn)[:8]} stopped: {reason}")


def explain(ctx: Context, rollout: Rollout) -> dict[str, list[str]]:
    """Why tasks stopped and the last log lines of one container per reason, by source.

    The log of what happened most often is kept for the end, the others are printed.
    """
    diagnose(ctx, rollout)
    samples = {stop_reason(task): task for task in reversed(rollout.stopped.values())}
    for reason, _ in rollout.reasons.most_common(5):
        title, lines = last_log(ctx, rollout, samples[reason])
        if lines:
            shown = title, [f"| {line}" for line in lines]
            if rollout.logs:
                ctx.report.block(*shown)
            rollout.log = rollout.log if rollout.logs else shown
            rollout.logs.append({"title": reason, "lines": lines})
    return {
        "rollout": [without_names(rollout.reason)],
        "event": troubles_told(rollout),
        "stop": list(map(stop_words, rollout.stopped.values())),
        "hook": [str(hook.get("status")) for hook in rollout.native_state.get("lifecycleHookDetails") or []],
        "stage": [] if rollout.returning else [str(rollout.native_state.get("lifecycleStage"))],
        "health": ["none healthy"] if is_unhealthy(rollout) and not rollout.stopped else [],
        "log": [line for log in rollout.logs for line in log["lines"]],
    }


def troubles_told(rollout: Rollout) -> list[str]:
    """What the events since the update tell of trouble."""
    return [without_names(str(event.get("message"))) for event in rollout.events if is_trouble(event)]


def last_log(ctx: Context, rollout: Rollout, task: JSON) -> tuple[str, list[str]]:
    """The last lines that a stopped task's first bad container wrote to CloudWatch Logs, and a title for them."""
    for container in sorted(task.get("containers") or [], key=lambda c: not c.get("exitCode")):
        log = log_of(rollout.part.draft.new, str(container.get("name")), str(task["taskArn"]))
        if log is None or container.get("exitCode") is None:
            continue
        try:
            lines = read_log(ctx, log, last=LOG_LINES)
        except AwsError as error:
            said = f"The log {log.name} cannot be read ({error.code})."
            if is_news(rollout, said):
                ctx.report.note(said)
            break
        return f"{rollout.label}Last log lines of container {container.get('name')} ({log.name}):", lines
    return "", []


class Log(Record):
    """The log of a container of one task in CloudWatch Logs, read as far as `token`."""

    group: str
    stream: str
    region: str
    token: str = ""
    prefix: str = ""  # of its lines where they stand among others

    @property
    def name(self) -> str:
        """Its name in sentences."""
        return f"{self.group} {self.stream}"


def read_log(ctx: Context, log: Log, *, last: int = 0) -> list[str]:
    """The `last` lines, or a page of what is new; each is printed behind a prefix, so that no CI runner obeys it."""
    params: JSON = {"logGroupName": log.group, "logStreamName": log.stream, "startFromHead": not last}
    params |= {"limit": last} if last else {"nextToken": log.token} if log.token else {}
    page = ctx.aws.call("GetLogEvents", params, region=log.region, retries=False)
    log.token = str(page.get("nextForwardToken") or log.token)
    messages = [str(event.get("message") or "") for event in page.get("events") or []]
    return [theirs(line) for message in messages for line in message.splitlines() or [""]]


def log_of(definition: JSON, container: str, task_arn: str) -> Log | None:
    """The log of a container that logs with `awslogs` to a group, with a prefix; None otherwise.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/specify-log-config.html
    """
    wanted = next((c for c in containers_of(definition) if c.get("name") == container), {})
    logs = wanted.get("logConfiguration") or {}
    options = logs.get("options") or {}
    group, prefix = options.get("awslogs-group"), options.get("awslogs-stream-prefix")
    if logs.get("logDriver") != "awslogs" or not (group and prefix):
        return None
    return Log(group, f"{prefix}/{container}/{short_name(task_arn)}", str(options.get("awslogs-region") or ""))


# As soon as it is hopeless


def note_cause(ctx: Context, rollout: Rollout, task: JSON) -> None:
    """Keep a stopped task under the cause, if that is one that does not pass.

    What cannot be executed is said only in the log: of the first two tasks its last line is looked at.
    """
    if 0 < stamp_s(task) < rollout.after_s:
        return
    cause = lasting_cause("stop", stop_words(task))
    if not cause and len(rollout.stopped) <= 2:
        cause = lasting_cause("log", "".join(last_log(ctx, rollout, task)[1][-1:]))
    rollout.causes.setdefault(cause, []).append(task)


def hopeless(ctx: Context, rollout: Rollout) -> str:
    """Why waiting does not help; empty as long as it may.

    That takes two tasks with the same reason, or two events of it where ECS starts none, and none that ever ran. Of
    what is not a deployment of its own (nothing changed, ECS's own rollback) the reasons may be from before.
    """
    if not rollout.wait.fail_fast or rollout.steady or (rollout.returning and rollout.native) or has_run(rollout):
        return ""
    for cause, tasks in rollout.causes.items():
        if cause and len(tasks) >= 2 and not ("host" in cause[0] and one_bad_host(ctx, rollout, tasks)):
            return f"{cause[2]}; {len(tasks)} tasks stopped for that, and waiting does not help"
    started = rollout.most_running or rollout.counts["pending"] or rollout.stopped
    return "" if started else hopeless_start(rollout)


def hopeless_start(rollout: Rollout) -> str:
    """Why ECS starts no task, if two events say so."""
    told = Counter(lasting_cause("event", text) for text in troubles_told(rollout))
    often = ((cause[2], count) for cause, count in told.most_common() if cause and count >= 2)
    return next((f"{cause}; ECS said so {count} times, and waiting does not help" for cause, count in often), "")


def has_run(rollout: Rollout) -> bool:
    """True if a task ran, but for those that ran for a moment and stopped for a reason that does not pass."""
    started = [cause for cause, tasks in rollout.causes.items() for task in tasks if task.get("startedAt")]
    moments = len(started) - started.count(None)
    return None in started or rollout.counts["running"] > 0 or rollout.most_running > moments


def one_bad_host(ctx: Context, rollout: Rollout, tasks: Sequence[JSON]) -> bool:
    """True if all the tasks were on one instance, and the cluster has others (or does not tell)."""
    hosts = {task.get("containerInstanceArn") for task in tasks}
    if len(hosts) > 1 or None in hosts:
        return False
    if rollout.crowded is None:
        rollout.crowded = True
        with contextlib.suppress(AwsError):
            rollout.crowded = len(ctx.aws.pages("ListContainerInstances", {"cluster": rollout.cluster})) > 1
    return rollout.crowded


# Concluding


def conclude(ctx: Context, results: Results, rollouts: Sequence[Rollout]) -> None:
    """Of each failure the reasons, the way back if that was asked for, and one paragraph; what became of each service.

    Only then are the roll-outs settled: whatever cuts this short leaves them to the ledger.
    """
    failed = [rollout for rollout in rollouts if not rollout.succeeded]
    evidence = {rollout.service: explain(ctx, rollout) for rollout in failed}
    concerned = rollouts if failed or results.codes else ()
    backs = roll_back(ctx, [rollout for rollout in concerned if is_to_go_back(rollout)])
    for rollout in rollouts:
        code, ending = ending_of(rollout, backs.get(rollout.service))
        if (code and code != Exit.ROLLED_BACK) or not rollout.succeeded:
            say_ending(ctx, rollout, code, ending, evidence.get(rollout.service, {}))
        results.add(rollout.part, result=result_of(rollout, code), exit_code=code, **outcome_of(ctx, rollout))
        ctx.begun.settle(rollout.key)
        if not code and not rollout.left_alone:
            ctx.report.note(what_runs(rollout), GREEN)


def is_to_go_back(rollout: Rollout) -> bool:
    """True if a rollback was asked for, and would not go over what somebody else did."""
    taken = rollout.state in (RolloutState.SUPERSEDED, RolloutState.GONE)
    return rollout.wait.rollback and not rollout.left_alone and not taken


def what_runs(rollout: Rollout) -> str:
    """One line: what the service was last seen to run, on how many tasks, and how long that took."""
    images = [short_name(str(container.get("image"))) for container in containers_of(rollout.part.draft.new)]
    runs, counts = ", ".join(images) or short_name(rollout.definition), rollout.counts
    tasks = f"{counts['running']} of {tasks_text(counts['desired'])}"
    return f"{rollout.service} runs {runs} on {tasks} after {rollout.took_s:.0f} s."


def result_of(rollout: Rollout, code: int) -> str:
    """The word of the report for a service: what became of it, by what was seen."""
    if rollout.succeeded:
        ended = {int(Exit.OK): "skipped" if rollout.left_alone else "successful", int(Exit.ROLLED_BACK): "rolled back"}
        return ended.get(code, "not rolled back, though that was to be")
    return rollout.reason


def outcome_of(ctx: Context, rollout: Rollout) -> JSON:
    """What the JSON document says of a deployment."""
    running_s = rollout.running_s
    total_s = ctx.clock.now() - rollout.started_s if rollout.back else rollout.took_s
    return {
        "new_task_definition": rollout.definition if rollout.part.points_elsewhere else None,
        "task_definition": rollout.definition,
        "previous_task_definition": rollout.part.draft.current,
        "deployment_id": rollout.deployment_id,
        "verdict": rollout.state.value[0],
        "reason": rollout.reason,
        "failed_tasks": failed_tasks(rollout),
        "events": [theirs(event.get("message", "")) for event in rollout.events],
        "logs": rollout.logs,
        "durations": {
            "until_running_s": None if running_s is None else round(running_s - rollout.started_s, 1),
            "total_s": round(total_s, 1),
        },
    }


def failed_tasks(rollout: Rollout) -> list[JSON]:
    """Why tasks stopped, as the JSON document says it."""
    return [{"count": count, "reason": reason} for reason, count in rollout.reasons.most_common()]


def ending_of(rollout: Rollout, back: Exit | None) -> tuple[int, str]:
    """How a roll-out ends: the exit code, and the words for it; `back` is the code of its rollback, if any."""
    _, code, words = rollout.state.value
    if not back:
        return code, words
    if rollout.succeeded:
        return back, "is complete, but was to be rolled back with the others, and that failed"
    went = "failed, and the service went back" if rollout.state in BY_ECS else "failed and was rolled back"
    said = {Exit.ROLLED_BACK: went, Exit.ROLLBACK_FAILED: "failed, and so did its rollback"}
    return back, said.get(back, "failed")


def say_ending(ctx: Context, rollout: Rollout, code: int, ending: str, evidence: Mapping[str, list[str]]) -> None:
    """One paragraph: what failed, why, the log, what the service does now, what to do next, and one command."""
    stands, command = "", ""
    cause, next_step = likely_cause(evidence) if evidence else ("", "")
    why = [f"Likeliest cause: {cause}.", time_taken(rollout)] if evidence else []
    if rollout.state is RolloutState.SUPERSEDED:
        why, next_step = [], "Somebody else deployed in the meantime; their deployment was left alone."
    elif rollout.state is RolloutState.GONE:
        why, next_step = [], "Create the service again, or deploy to another one."
    elif code == Exit.ROLLED_BACK and rollout.back:
        stands = f"The service is back on {short_name(rollout.back.definition)}."
    elif rollout.state not in (RolloutState.ROLLED_BACK, RolloutState.ROLLING_BACK):
        stands, command = standing_after(ctx, rollout)
    why += [f"{count} × {reason}" for reason, count in rollout.reasons.most_common()] if evidence else []
    left = "" if code == Exit.ROLLED_BACK else left_revision(ctx, rollout).strip()
    what = f"The {rollout.what} {ending}"
    what += "" if rollout.succeeded else f": {undotted(rollout.reason)}"
    hint = "\n".join(part for part in (stands, next_step, command, left) if part)
    ctx.report.error(f"{what}.", hint, "\n".join(why), rollout.log)


def time_taken(rollout: Rollout) -> str:
    """What the failure cost, as far as it was followed."""
    failed = rollout.state is RolloutState.FAILED or rollout.state in BY_ECS
    stopped = len(rollout.stopped)
    tasks = f"{tasks_text(stopped)} stopped" if stopped else "no task stopped"
    return f"{'Failed' if failed else 'Ended'} after {rollout.took_s:.0f} s; {tasks}."


def standing_after(ctx: Context, rollout: Rollout) -> tuple[str, str]:
    """What the service was last seen to do after a failure, and the command that goes back if it is still ours."""
    with contextlib.suppress(AwsError):
        refresh(ctx, rollout)
    if rollout.unsure:
        look = f"aws ecs describe-services --cluster {rollout.cluster} --services {rollout.service} {ctx.aws.place}"
        return "A rollback may have been carried out, its answer was lost.", f"Look:\n  {look}"
    primary, seen_s = primary_of(rollout.latest.last), ctx.clock.now() - rollout.latest.last_s
    ours = primary.get("id") == rollout.deployment_id
    points = f"The service {'still' if ours else 'now'} points at"
    if not is_fresh(ctx, rollout):
        points = f"When last seen, {seen_s:.0f} s ago, the service pointed at"
    command, by = (undo_command(ctx, rollout), "") if ours else ("", f" ({primary.get('id')})")
    said = f"{points} {primary.get('taskDefinition')}{by}."
    if rollout.left_alone and rollout.state is RolloutState.FAILED:
        again = {"cluster": rollout.cluster, "service": rollout.service, "forceNewDeployment": True}
        return said, f"Nothing changes in it, so it is not deployed again unless by:\n  {update_command(ctx, again)}"
    return said, f"To go back:\n  {command}" if command else ""


def undo_command(ctx: Context, rollout: Rollout) -> str:
    """The AWS CLI command that takes the service back to what it was before; empty where there is no way back."""
    if rollout.stoppable and rollout.previous_definition:
        stop = f"--service-deployment-arn {rollout.native} --stop-type ROLLBACK"
        return f"aws ecs stop-service-deployment {stop} {ctx.aws.place}"
    return update_command(ctx, rollout.way_back) if rollout.leads_back else ""


def update_command(ctx: Context, update: JSON) -> str:
    """The AWS CLI command that sends UpdateService's request."""
    given = [_cli_option(name, value) for name, value in update.items()]
    return " ".join(["aws ecs update-service", *given, ctx.aws.place])


def _cli_option(member: str, value: Any) -> str:
    """A member of a request as the AWS CLI takes it."""
    name = re.sub(r"[A-Z]", lambda letter: f"-{letter[0].lower()}", member)
    return f"--{'' if value else 'no-'}{name}" if isinstance(value, bool) else f"--{name} {shell_word(value)}"


def is_fresh(ctx: Context, rollout: Rollout) -> bool:
    """True if AWS has shown the service a moment ago, and after all that was sent."""
    return not rollout.unsure and ctx.clock.now() - rollout.latest.last_s <= PROOF_S


def left_revision(ctx: Context, rollout: Rollout) -> str:
    """Our revision, if the service was last seen to point elsewhere, and the command that deregisters it."""
    ours = primary_of(rollout.latest.last).get("taskDefinition") == rollout.definition
    used = ours and is_fresh(ctx, rollout) and rollout.state is not RolloutState.GONE
    if used or not rollout.part.registers:
        return ""
    command = deregister_command(ctx, rollout.definition)
    return f"\n{short_name(rollout.definition)} stays registered; once nothing uses it:\n  {command}"


def refresh(ctx: Context, rollout: Rollout, *, retries: bool = False) -> JSON:
    """The service as AWS shows it now, or as it was seen last if that answer is older; {} if it is not there.

    Where it `retries`, one answer that does not know the service is none.
    """
    latest = rollout.latest
    while True:
        service = ctx.aws.describe_services(rollout.cluster, [rollout.service], retries=retries).get(rollout.service)
        if keep_answer(ctx, latest, service):
            rollout.unsure = False
        if service or not retries or ctx.clock.now() - latest.missing_s >= MISSING_S:
            return latest.last if service else {}
        ctx.sleep(LOOK_S)


# The way back


def enter_rollout(ctx: Context, rollout: Rollout) -> None:
    """Enter the roll-out into the ledger: named, and taken back if that was asked for."""
    ctx.begun.enter(
        rollout.key,
        lambda cause: after(cause, as_last_seen(ctx, rollout)),
        lambda cause: taken_back(ctx, rollout, cause),
    )


def after(cause: BaseException, text: str) -> str:
    """A sentence about what a run leaves behind, after the signal that ended it if there was one."""
    return f"{cause.name}: {text}" if isinstance(cause, Interrupted) else text[:1].upper() + text[1:]


def as_last_seen(ctx: Context, rollout: Rollout) -> str:
    """How an unfinished roll-out stands as last seen, and the command that undoes it; makes no call."""
    back, seen_s = rollout if rollout.returning else rollout.back, ctx.clock.now() - rollout.last_s
    command, left, to = undo_command(ctx, rollout), left_revision(ctx, rollout), f"to {rollout.definition}"
    undo = f"\nTo undo it:\n  {command}" if command else ""
    if back is not None:
        said = f"the rollback was sent, and is not waited for. It takes service {rollout.service} to"
        return f"{said} {back.definition}.{left}"
    if not rollout.deployment_id:
        return f"the update of service {rollout.service} {to} was sent, and its answer was not seen.{undo}{left}"
    primary = primary_of(rollout.last)
    if primary.get("id") != rollout.deployment_id:
        return f"{rollout.what} is over: {named(primary)} was PRIMARY {seen_s:.0f} s ago.{left}"
    states = {RolloutState.COMPLETED: "is complete, on", RolloutState.FAILED: "has failed; the service points at"}
    state = states.get(rollout_verdict(rollout.last, rollout, ctx.clock.now()).state, "goes on, to")
    return f"{rollout.what} {state} {rollout.definition}. That is as last seen, {seen_s:.0f} s ago.{undo}"


def taken_back(ctx: Context, rollout: Rollout, cause: BaseException) -> bool:
    """Send the rollback of a roll-out that was cut short, without waiting for it; True if it is on its way."""
    if rollout.back or rollout.state in BY_ECS or not (is_to_go_back(rollout) and rollout.leads_back):
        return False
    try:
        sent = persistently(ctx, lambda: rollback_once(ctx, rollout), for_s=2 * UNSEEN_GRACE_S)
    except AwsError as error:
        ctx.report.left(after(cause, f"the rollback could not be sent. {error.message}"))
        return False
    if sent:
        left = left_revision(ctx, rollout)
        ctx.report.left(after(cause, f"the rollback of {rollout.what} was sent, and is not waited for.{left}"))
    return bool(sent)


def roll_back(ctx: Context, rollouts: Sequence[Rollout]) -> dict[str, Exit | None]:
    """Bring services back to what they ran before, and wait for that too; 20, 21 or 23 by service."""
    codes = {rollout.service: begin_rollback(ctx, rollout) for rollout in rollouts}
    begun = [rollout for rollout in rollouts if codes[rollout.service] is None]
    try:
        watch(ctx, [rollout.latest for rollout in begun])
    except AwsError as error:
        ctx.report.note(f"The outcome of the rollback is unknown. {error.message}")
    codes |= {rollout.service: end_rollback(ctx, rollout) for rollout in begun}
    discard_failed(ctx, [rollout for rollout in begun if codes[rollout.service] == Exit.ROLLED_BACK])
    return codes


def begin_rollback(ctx: Context, rollout: Rollout) -> Exit | None:
    """Have `back` be the roll-out to watch: ECS's own rollback where there is one, else ours; or the code, if none."""
    by_ecs, for_s = rollout.state in BY_ECS, min(PACED_S, rollout.wait.timeout_s or PACED_S)
    if rollout.state is RolloutState.ROLLBACK_FAILED:
        return Exit.ROLLBACK_FAILED
    if not (rollout.leads_back or by_ecs):
        gone = rollout.part.points_elsewhere
        same = "there is nothing to go back to, the definition is the same"
        why = "the definition before it is INACTIVE" if gone else same
        ctx.report.note(f"{rollout.label}Not rolled back: {why}.")
        return Exit.ROLLBACK_FAILED if gone else Exit.OK
    try:
        if by_ecs:
            join_rollback(ctx, rollout)
        elif not persistently(ctx, lambda: rollback_once(ctx, rollout), for_s=for_s):
            return Exit.SUPERSEDED
    except AwsError as error:
        ctx.report.note(f"{rollout.label}The rollback failed. {error.message}")
        return Exit.ROLLBACK_FAILED
    return None


def end_rollback(ctx: Context, rollout: Rollout) -> Exit:
    """Say where the rollback ended."""
    back = rollout.latest
    if back.succeeded and back.native:
        back.left_id = rollout.deployment_id  # ECS has taken it back: only an old answer shows it as PRIMARY
    if back.succeeded and (back.native or ctx.clock.now() - back.last_s > LOOK_S):
        with contextlib.suppress(AwsError):  # some calls ago nobody else had deployed
            primary = primary_of(refresh(ctx, rollout))
            others = primary.get("id") != rollout.deployment_id
            if others and primary.get("taskDefinition", back.definition) != back.definition:
                back.verdict = Verdict(RolloutState.SUPERSEDED, f"{named(primary)} is PRIMARY now")
    if back.state is RolloutState.SUPERSEDED:
        ctx.report.note(f"{rollout.label}The way back was left to somebody else's deployment: {back.reason}.")
        return Exit.SUPERSEDED
    if not back.succeeded:
        reason = f": {undotted(back.reason)}" if back.reason else ""
        fresh = back.current and ctx.clock.now() - back.last_s <= LOOK_S
        did = "did not complete" if fresh else "was not seen to complete"
        ctx.report.note(f"{rollout.label}The rollback to {back.definition} {did}{reason}.")
        return Exit.ROLLBACK_FAILED
    ctx.report.note(f"{rollout.label}The service is back on {back.definition}, and stable.")
    return Exit.ROLLED_BACK


def discard_failed(ctx: Context, rollouts: Sequence[Rollout]) -> None:
    """Deregister each revision that was rolled back, once, and only if no service of the cluster is seen to use it."""
    discardable = [rollout for rollout in rollouts if rollout.part.registers and not rollout.wait.keep_failed_revision]
    for definition in dict.fromkeys(rollout.definition for rollout in discardable):
        owners = [rollout for rollout in discardable if rollout.definition == definition]
        worked = any(rollout.succeeded or completed_late(rollout) for rollout in owners)
        what = "that was rolled back" if worked else "that failed"
        known = {rollout.service: rollout.latest for rollout in owners}
        if not discard(ctx, owners[0].cluster, definition, what, known):
            ctx.report.note(_registered(ctx, definition))


def completed_late(rollout: Rollout) -> bool:
    """True if an event tells that a deployment that was given up completed after all."""
    told = f"(deployment {rollout.deployment_id}) deployment completed"
    return any(told in str(event.get("message")) for event in rollout.latest.events)


def join_rollback(ctx: Context, rollout: Rollout) -> None:
    """Watch the way back that began without us, and bring back what ECS leaves as we changed it."""
    ctx.report.note(f"{rollout.label}The service is going back already; waiting for that.")
    primary = primary_of(rollout.last)
    told = rollout.native_state or is_told_to_go_back(rollout.last, rollout)
    answer = (undo_the_rest(ctx, rollout) if told else {}) or rollout.last
    begin_back(ctx, rollout, answer, None if rollout.native_state else primary)


def rollback_once(ctx: Context, rollout: Rollout) -> JSON:
    """Look, and send the rollback once; the service then, or {} where that would go over somebody else's deployment.

    Who is PRIMARY is looked up anew before each attempt: waiting out a throttle takes minutes, and others deploy.
    """
    service = require_ours(ctx, rollout)
    if not service:
        return {}
    if is_news(rollout, _ANNOUNCED):
        ctx.report.line(f"{_ANNOUNCED} {rollout.previous_definition or 'what was there before'}")
    if rollout.stoppable and stopped_natively(ctx, rollout):
        begin_back(ctx, rollout, service, None)
        undo_the_rest(ctx, rollout)
        return service
    try:
        answer: JSON = ctx.aws.call("UpdateService", rollout.way_back, retries=False)["service"]
    except AwsError as error:
        if error.maybe_done:
            rollout.unsure = rollout.tried = True
        raise
    begin_back(ctx, rollout, answer, started_deployment(answer, rollout.previous_definition))
    return answer


_ANNOUNCED = "Rolling back to"


def require_ours(ctx: Context, rollout: Rollout) -> JSON:
    """The service as it is now, if our deployment (or what was there before it) is PRIMARY; {} and a note otherwise."""
    service = refresh(ctx, rollout, retries=True)
    if service.get("status") != "ACTIVE":
        raise AwsError(f"The service {rollout.service} was deleted")
    primary, ours = primary_of(service), rollout.deployment_id
    listed = bool(find_deployment(service, ours))
    is_ours = primary.get("id") == ours or (not ours and primary.get("taskDefinition") == rollout.definition)
    leads_back = primary.get("taskDefinition") == rollout.previous_definition != ""
    untold = not rollout.after_s and not listed
    if is_ours or (leads_back and (rollout.tried or untold)):  # by our own lost call, or from before our update
        return service
    now = f"{primary.get('id')} is the service's PRIMARY deployment now"
    now = now if listed else "our deployment is not the service's PRIMARY any more"
    ctx.report.note(f"Not rolled back: {now}.")
    return {}


def undo_the_rest(ctx: Context, rollout: Rollout) -> JSON:
    """Desired count and percentages as they were; ECS's own rollback brings only the definition back."""
    undo = rollout.part.undo
    if not undo:
        return {}
    ours = (rollout.deployment_id, primary_of(rollout.last).get("id"))
    service = refresh(ctx, rollout, retries=True)
    if primary_of(service).get("id") not in ours:
        ctx.report.note(f"{rollout.label}{', '.join(undo)} left as it is: somebody else has deployed.")
        return {}
    return ctx.aws.update_service({"cluster": rollout.cluster, "service": rollout.service, **undo})


def stopped_natively(ctx: Context, rollout: Rollout) -> bool:
    """Have ECS roll a BLUE_GREEN, LINEAR or CANARY deployment back; False where that call is not allowed."""
    params = {"serviceDeploymentArn": rollout.native, "stopType": "ROLLBACK"}
    try:
        ctx.aws.call("StopServiceDeployment", params)
    except AwsError as error:
        ctx.report.note(f"StopServiceDeployment is not possible, using UpdateService instead. {error.message}")
        return False
    return True


def begin_back(ctx: Context, rollout: Rollout, answer: JSON, started: JSON | None) -> None:
    """Set the roll-out that leads back, by the deployment that was started; by None, ECS takes its own one back.

    It is watched like any other, but silent about the lines that mean success.
    """
    wait = replace(rollout.wait, skip_deployments_check=False, fail_fast=rollout.wait.fail_fast and INFINITE_S)
    back = Rollout(rollout.cluster, rollout.part, wait, f"{rollout.label}rollback: ", ctx.clock.now())
    back.deployment_id, back.definition = rollout.deployment_id, rollout.previous_definition
    back.last, back.last_s, back.known_events = answer, back.started_s, rollout.known_events
    back.returning, rollout.back, rollout.unsure = True, back, False
    if started is None:
        back.native = rollout.native
        return
    back.after_s = rollout.after_s
    note_start(back, started, answer)
    back.left_id = "" if back.deployment_id == rollout.deployment_id else rollout.deployment_id


# Pruning


def prune(ctx: Context, results: Results) -> None:
    """The last of a run: deregister the ACTIVE revisions beyond the newest `keep` that no service uses, or warn."""
    arns = {results.arn(part) for part in results.plan.parts()}
    if not results.plan.cluster:
        ctx.report.warning("Nobody could tell which of the old revisions are in use: no cluster was given (-c).")
    left = "all else is done and stays; the outdated revisions are not all deregistered."
    ctx.begun.enter("outdated revisions", lambda cause: after(cause, left))
    for family in dict.fromkeys(map(family_of, arns)):
        try:
            in_use = arns | results.plan.scheduled
            outdated = revisions_to_prune(ctx.aws.active_revisions(family), results.plan.keep, in_use)
            prune_revisions(ctx, results.plan, outdated)
        except AwsError as error:
            ctx.report.warning(f"The old revisions of {family} are not deregistered. {error.message}")


def prune_revisions(ctx: Context, plan: Plan, outdated: Iterable[str]) -> None:
    """Deregister these revisions, but for those that a service of the cluster was seen to use seconds ago."""
    used: set[str] = set()
    looked_s = -INFINITE_S
    for arn in outdated:
        if plan.cluster and ctx.clock.now() - looked_s > PROOF_S:
            looked_s = ctx.clock.now()
            used = definitions_in_use(services_of(ctx, plan.cluster, [part.name for part in plan.services]).values())
        if arn in used:
            ctx.report.note(f"{arn} is kept: a service of the cluster {plan.cluster} uses it.")
            continue
        ctx.report.line(f"Deregistering outdated task revision: {arn}")
        try:
            ctx.aws.call("DeregisterTaskDefinition", {"taskDefinition": arn})
        except AwsError as error:
            ctx.report.warning(f"{arn} is not deregistered. {error.message}")


# Schedules


def with_schedules(ctx: Context, options: DeployOptions, plan: Plan) -> Plan:
    """The plan with the rules and schedules that are to run its definitions; says what changes in them."""
    if not (options.schedules or options.all_schedules):
        return plan
    aims = aims_of(plan, lambda part: part.goal)
    named = [require_concerned(named_schedule(ctx, name, aims)) for name in options.schedules]
    found = [look_at(ctx, name, aims) for name in names_in(ctx, plan, named)] if options.all_schedules else []
    schedules = list({schedule.name.label: schedule for schedule in [*named, *found]}.values())
    for schedule in schedules:
        if schedule.managed_by and schedule.new:
            said = f"The {schedule.name.label} is managed by {theirs(schedule.managed_by)}, and only that may change it"
            raise DeployError(said)
    show_schedules(ctx, schedules, aims)
    stay = {runs(target) for schedule in schedules for i, target in schedule.targets.items() if i not in schedule.new}
    return replace(plan, schedules=tuple(each for each in schedules if each.new), scheduled=frozenset(stay))


def aims_of(plan: Plan, arn_of: Callable[[Planned], str]) -> Aims:
    """What schedules of each family are to run; raises `DeployError` if a family has two new revisions."""
    for one, other in itertools.combinations(plan.parts(), 2):
        if one.family == other.family and (one.goal, one.draft.new) != (other.goal, other.draft.new):
            which = f"different revisions of {one.family}; which one its schedules are to run?"
            raise DeployError(f"The services get {which}")
    return Aims({part.family: arn_of(part) for part in plan.parts()}, plan.cluster)


def require_concerned(schedule: Schedule) -> Schedule:
    """The schedule that was named; raises `DeployError` if it has nothing to do with what is deployed."""
    if schedule.now:
        return schedule
    targets = [target for target in schedule.targets.values() if runs(target)]
    ran = [f"{short_name(runs(target))} in {short_name(str(target.get('Arn')))}" for target in targets]
    hint = f"It runs {', '.join(ran)}." if ran else "It runs no task definition."
    here = f" in the cluster {schedule.aims.cluster}" if schedule.aims.cluster else ""
    raise DeployError(f"The {schedule.name.label} does not run {' or '.join(schedule.aims.arns)}{here}", hint=hint)


def look_at(ctx: Context, name: ScheduleName, aims: Aims) -> Schedule:
    """The rule or schedule as AWS has it now."""
    operation = "DescribeRule" if name.kind == "rule" else "GetSchedule"
    described = ctx.aws.call(operation, {"Name": name.name, **name.where})
    if name.kind == "rule":
        request: JSON = {"Rule": name.name, **name.where}
        request["Targets"] = ctx.aws.pages("ListTargetsByRule", request)
    else:
        request = {n: value for n, value in _without_nulls(described).items() if n not in _TOLD_ONLY}
    schedule = Schedule(name, request, aims, str(described.get("ManagedBy") or ""))
    for target in schedule.targets.values():
        ctx.report.mask.hide(target_secrets(target))
    return schedule


def named_schedule(ctx: Context, wanted: ScheduleName, aims: Aims) -> Schedule:
    """What has that name; where one kind may not be looked at and the other has it, that is enough."""
    found: list[Schedule] = []
    denied: list[AwsError] = []
    for kind in (wanted.kind,) if wanted.kind else ("rule", "schedule"):
        try:
            found.append(look_at(ctx, replace(wanted, kind=kind), aims))
        except AwsError as error:
            if error.code in _DENIED:
                denied.append(error)
            elif error.code not in ("ResourceNotFoundException", "" if wanted.kind else "ValidationException"):
                raise
    if len(found) > 1:
        asks = f"Say which one is meant: --schedule rule:{wanted.path} or --schedule schedule:{wanted.path}"
        raise DeployError(f"There are both a rule and a schedule {wanted.path}", Exit.USAGE, asks)
    if found:
        return found[0]
    if denied:
        raise denied[0]
    hint = "A schedule outside of the default group is GROUP/NAME, a rule on another bus than the default one BUS/NAME."
    what = f"no {wanted.kind}" if wanted.kind else "neither a rule nor a schedule"
    said = f"There is {what} {wanted.path} in {ctx.aws.region}"
    raise AwsError(said, hint=hint)


def names_in(ctx: Context, plan: Plan, named: Iterable[Schedule]) -> Iterator[ScheduleName]:
    """Every schedule with a target in the cluster, and every rule of the default bus and of those that were named."""
    arn = cluster_arn(plan)
    for bus in dict.fromkeys(["", *(schedule.name.place for schedule in named if schedule.name.kind == "rule")]):
        where = {"TargetArn": arn, **({"EventBusName": bus} if bus else {})}
        yield from (ScheduleName("rule", bus, name) for name in ctx.aws.pages("ListRuleNamesByTarget", where))
    for listed in ctx.aws.pages("ListSchedules", {"MaxResults": 100}):
        if (listed.get("Target") or {}).get("Arn") == arn:
            group = "" if listed["GroupName"] == "default" else str(listed["GroupName"])
            yield ScheduleName("schedule", group, str(listed["Name"]))


def cluster_arn(plan: Plan) -> str:
    """The ARN of the plan's cluster, which stands in the same account as the definitions in use."""
    known = next((part.draft.current for part in plan.parts() if ":task-definition/" in part.draft.current), "")
    if plan.cluster.startswith("arn:"):
        return plan.cluster
    if not known:
        raise DeployError("--schedules needs a family that has a revision, or the ARN of the cluster (-c)")
    return f"{known.partition(':task-definition/')[0]}:cluster/{plan.cluster}"


def show_schedules(ctx: Context, schedules: Sequence[Schedule], aims: Aims) -> None:
    """Print what is to run something else, and what is left alone and why."""
    for schedule in schedules:
        for target in [target for target in schedule.targets.values() if family_of(runs(target)) in aims.arns]:
            what = f"The {schedule.name.label} runs {short_name(runs(target))}"
            if not in_cluster(target, aims.cluster):
                ctx.report.note(f"{what} in {short_name(str(target.get('Arn')))}; that is left alone.")
            elif follows(runs(target)):
                ctx.report.note(f"{what} without a revision, so it follows by itself; it is left alone.")
    if not any(schedule.now for schedule in schedules):
        ctx.report.warning(f"No rule or schedule runs {' or '.join(aims.arns)} in the cluster {aims.cluster}.")
    rows = [row for schedule in schedules for row in schedule.rows("not moved")]
    ctx.report.block("Changes:", [move_line(row) for row in rows] or ["nothing changes in rules and schedules"])
    ctx.report.learn(schedules=rows)


def move_schedules(ctx: Context, results: Results) -> None:
    """Have the rules and schedules run the new revisions: all of them, or none if one cannot be moved."""
    plan, aims = results.plan, aims_of(results.plan, results.arn)
    stays = [f"The service {part.name} stays deployed." for part in plan.services]
    stays += [f"{short_name(arn)} stays registered." for arn in aims.arns.values()]
    keys = ["what is deployed", *(schedule.name.label for schedule in plan.schedules)]
    ctx.begun.enter(keys[0], lambda _: "\n".join(stays))
    for schedule in plan.schedules:
        try:
            move(ctx, look_at(ctx, schedule.name, aims))  # as it is now: others may have changed it meanwhile
        except AwsError as error:
            said = f"The {schedule.name.label} could not be moved"
            ctx.report.error(f"{said}. {error.message}", move_hint(schedule, error))
            ctx.begun.abandon(error, ctx.report, keys)
            ctx.report.learn(error=f"{said}: {error.message}")
            for part in plan.parts():
                results.add(part, exit_code=Exit.FAILED)
            return
    for key in keys:
        ctx.begun.settle(key)


def move(ctx: Context, schedule: Schedule) -> None:
    """Have one rule or schedule run the new revisions, as far as it does not yet."""
    if not schedule.new:
        return
    ctx.report.block("Changes:", [move_line(row) for row in schedule.rows("moved")])
    enter_move(ctx, schedule, "may run")
    with ctx.begun.sending(schedule.name.label):
        point(ctx, schedule, schedule.new)
    enter_move(ctx, schedule, "runs")
    ctx.report.note(f"The {schedule.name.label} runs {short_names(schedule.new.values())}.")
    learn_moves(ctx, schedule, "moved")


def enter_move(ctx: Context, schedule: Schedule, does: str) -> None:
    """Enter a move into the ledger: it is put back, or named with the commands that do that."""
    says = [f"The {schedule.name.label} {does} {short_names(schedule.new.values())}. To put it back:"]
    says += [f"  {move_back_command(ctx.aws, schedule, target_id)}" for target_id in schedule.new]
    ctx.begun.enter(schedule.name.label, lambda _: "\n".join(says), lambda _: move_back(ctx, schedule))


def move_back(ctx: Context, moved: Schedule) -> bool:
    """Have the targets that run our revision run again what they ran; False if that was not seen to be done."""
    try:
        schedule = look_at(ctx, moved.name, moved.aims)
        back = {i: moved.now[i] for i, target in schedule.targets.items() if runs(target) == moved.new.get(i)}
        if back:
            point(ctx, schedule, back)
    except AwsError as error:
        ctx.report.warning(f"The {moved.name.label} could not be put back. {error.message}")
        learn_moves(ctx, moved, "not put back")
        return False
    old, new = short_names(moved.now[i] for i in moved.new), short_names(moved.new.values())
    did = f"was put back: it runs {old} again" if back else f"does not run {new}"
    ctx.report.note(f"The {moved.name.label} {did}.")
    learn_moves(ctx, moved, "put back" if back else "not moved")
    return True


def point(ctx: Context, schedule: Schedule, arns: Mapping[str, str]) -> None:
    """Have targets run these definitions, by their ids; all else of them goes back as it came, known here or not."""
    at = ("EcsParameters", "TaskDefinitionArn")
    targets = [with_member(schedule.targets[i], MemberEdit(at, arn)) for i, arn in arns.items()]
    if schedule.name.kind == "rule":
        ctx.aws.put_targets({**schedule.request, "Targets": targets})
    else:
        ctx.aws.call("UpdateSchedule", {**schedule.request, "Target": targets[0]})


def learn_moves(ctx: Context, schedule: Schedule, result: str) -> None:
    """Keep for the JSON document what became of a rule or schedule."""
    others = [row for row in ctx.report.facts["schedules"] if row["name"] != schedule.name.label]
    ctx.report.learn(schedules=[*others, *schedule.rows(result)])


def move_back_command(aws: Aws, schedule: Schedule, target_id: str) -> str:
    """The shell command that has a target run what it ran; it reads all else from AWS, since that may be secret."""
    name = schedule.name
    swap = f"--output json {aws.place} | sed 's|{schedule.new[target_id]}\"|{schedule.now[target_id]}\"|'"
    if name.kind == "rule":
        of = f"--rule {name.name}" + (f" --event-bus-name {name.place}" if name.place else "")
        read = f"aws events list-targets-by-rule {of} --query \"Targets[?Id=='{target_id}']\" {swap}"
        return f'aws events put-targets {of} {aws.place} --targets "$({read})"'
    of = f"--name {name.name}" + (f" --group-name {name.place}" if name.place else "")
    query = "--query '{" + ",".join(f"{member}:{member}" for member in schedule.request) + "}'"
    read = f"aws scheduler get-schedule {of} {query} {swap}"
    return f'aws scheduler update-schedule {aws.place} --cli-input-json "$({read})"'


def move_hint(schedule: Schedule, error: AwsError) -> str:
    """What to do so that it can be moved; a refusal to pass a role names the role."""
    if "iam:PassRole" not in error.message:
        return error.hint
    roles = dict.fromkeys(str(t["RoleArn"]) for t in schedule.targets.values() if t.get("RoleArn"))
    service = f"{'events' if schedule.name.kind == 'rule' else 'scheduler'}.amazonaws.com"
    return f"Allow iam:PassRole on {' and '.join(roles)} for {service} in the policy of these credentials."


# Tasks


def borrowed_network(run: RunOptions, service: JSON) -> RunOptions:
    """The run with a service's network, launch type or capacity providers, and platform version where none is given."""
    given = {edit.steps[0] for edit in run.members if len(edit.steps) == 1}
    names = ["networkConfiguration", "platformVersion"]
    if not given & {"launchType", "capacityProviderStrategy"}:
        names.append("capacityProviderStrategy" if service.get("capacityProviderStrategy") else "launchType")
    borrowed = [MemberEdit((name,), service[name]) for name in names if service.get(name) and name not in given]
    return replace(run, members=(*borrowed, *run.members))


def run_request(cluster: str, definition: JSON, run: RunOptions) -> JSON:
    """RunTask's parameters but for definition, count and token; raises `DeployError` 14 for unknown containers."""
    request: JSON = {"cluster": cluster}
    for edit in run.members:
        request = with_member(request, edit)
    overridden = (request.get("overrides") or {}).get("containerOverrides") or []
    named = [*(each.get("name") for each in overridden), run.watch_container]
    require_containers([str(container.get("name")) for container in containers_of(definition)], filter(None, named))
    return request


class StartedTask(Record):
    """A task that this run started, and what was seen of it."""

    arn: str
    part: PlannedTask
    last: JSON = field(default_factory=dict)
    missing_s: float | None = None
    logs: list[Log] = field(default_factory=list)  # those that can be read
    lines: list[str] = field(default_factory=list)  # the last ones of them

    @property
    def verdict(self) -> TaskVerdict | None:
        """How it ended; None as long as it was not seen to have stopped."""
        if self.last.get("lastStatus") != "STOPPED":
            return None
        return task_verdict(self.last, self.part.draft.new, self.part.run.watch_container)

    def to_stop(self, aws: Aws) -> str:
        """How to stop it."""
        command = f"aws ecs stop-task --cluster {self.part.request['cluster']} --task {self.arn} {aws.place}"
        return f"To stop it:\n  {command}"


def run_tasks(ctx: Context, results: Results, parts: Sequence[PlannedTask]) -> None:
    """Start all tasks of a phase, and wait for them if their end decides; the results go to `results`."""
    started = {part.name: start_part(ctx, results, part) for part in parts}
    tasks = [task for each in started.values() for task in each]
    if tasks and parts[0].run.wait_for_success:
        answered = wait_for_tasks(ctx, results.plan, tasks)
        judge_tasks(ctx, results.plan, tasks, answered)
        for part in parts:
            if started[part.name]:
                end_part(results, part, started[part.name])
    elif tasks:
        ctx.report.note("The end of the task is not waited for (--wait-for-success does).")
        ctx.report.learn(verdict="started")
    for part in parts:
        ctx.begun.settle(f"tasks of {part.name}")


def start_part(ctx: Context, results: Results, part: PlannedTask) -> list[StartedTask]:
    """Start a part's tasks; none, all said, if not all of them could be: those that were are named, not waited for."""
    arn, key, tasks = results.arn(part), f"tasks of {part.name}", list[StartedTask]()
    stop = (lambda cause: stopped(ctx, tasks, cause)) if part.run.stop_on_interrupt else None
    ctx.report.line(f"Run task: {arn}")
    ctx.begun.enter(key, lambda cause: going_on(ctx, tasks, cause), stop)
    try:
        with explained(ctx, results.plan.cluster):
            start_tasks(ctx, part, arn, tasks)
    except DeployError as error:
        ctx.begun.abandon(error, ctx.report, [f"RunTask of {part.name}", key, arn])
        results.fail(part, error)
        return []
    finally:
        results.add(part, tasks=[task.arn for task in tasks])
    ctx.begun.settle(arn)
    return tasks


def start_tasks(ctx: Context, part: PlannedTask, definition: str, tasks: list[StartedTask]) -> None:
    """RunTask in batches of ten, adding to `tasks`; raises `DeployError` if fewer tasks than asked were started."""
    key, family = f"RunTask of {part.name}", part.draft.new.get("family")
    look = f"aws ecs list-tasks --cluster {part.request['cluster']} --family {family} {ctx.aws.place}"
    doubt = f"RunTask may have started tasks of {family} that are not named here. Look:\n  {look}"
    for left in range(part.run.count, 0, -10):
        request = {**part.request, "taskDefinition": definition, "count": min(10, left)}
        ctx.begun.enter(key, lambda cause: after(cause, doubt))
        with ctx.begun.sending(key):
            answer = ctx.aws.call("RunTask", {**request, "clientToken": os.urandom(16).hex()})
        arns = [str(task["taskArn"]) for task in answer.get("tasks") or []]
        tasks += [StartedTask(arn, part) for arn in arns]
        ctx.begun.settle(key)
        for arn in arns:
            ctx.report.line(f"Executed task: {arn}")
        if answer.get("failures") or len(arns) < request["count"]:
            hint = "Those that were started go on. " if tasks else ""
            hint += "Check the cluster's capacity, the launch type and the network."
            said = f"{len(tasks)} of {part.run.count} tasks were started: {failures_text(answer)}"
            raise DeployError(said, hint=hint)


def failures_text(answer: JSON) -> str:
    """The reasons in a RunTask answer, counted."""
    told = [(failure.get("reason"), failure.get("detail")) for failure in answer.get("failures") or []]
    reasons = Counter(": ".join(filter(None, each)) or "no reason" for each in told)
    return "; ".join(f"{count} × {theirs(reason)}" for reason, count in reasons.items()) or "AWS gave no reason"


def running(tasks: Iterable[StartedTask]) -> list[StartedTask]:
    """The tasks that were not seen to have stopped."""
    return [task for task in tasks if task.verdict is None]


def going_on(ctx: Context, tasks: Iterable[StartedTask], cause: BaseException) -> str:
    """Which tasks go on as far as was seen, and the commands that stop them; makes no call."""
    return "\n".join(after(cause, f"the task goes on. {task.to_stop(ctx.aws)}") for task in running(tasks))


def stopped(ctx: Context, tasks: Iterable[StartedTask], cause: BaseException) -> bool:
    """Interrupted: have the tasks stopped; True if that was tried."""
    if not isinstance(cause, Interrupted):
        return False
    for task in running(tasks):
        request = {"cluster": task.part.request["cluster"], "task": task.arn}
        try:
            ctx.aws.call("StopTask", {**request, "reason": f"ecs-deploy was interrupted ({cause.name})"})
            ctx.report.note(f"{cause.name}: the task {task.arn} is being stopped.")
        except AwsError as error:
            ctx.report.note(f"{cause.name}: the task {task.arn} goes on. {error.message}")
    return True


def wait_for_tasks(ctx: Context, plan: Plan, tasks: Sequence[StartedTask]) -> bool:
    """Look until every task has stopped or time is up, showing the logs; True if the last look was answered."""
    patience = Patience(ctx.clock.now(), endless=not plan.task_timeout_s)
    for task in tasks:
        task.logs = logs_of(task, several=len(tasks) > 1)
    while True:
        try:
            look_at_tasks(ctx, tasks, patience)
        except AwsError as error:
            patience.excuse(error, ctx.clock.now(), ctx.report)
        now_s = ctx.clock.now()
        left_s = patience.begun_s + (plan.task_timeout_s or FOREVER_S) - now_s
        if not running(tasks):
            show_late_logs(ctx, tasks, min(LATE_LOG_S, left_s))
        if not running(tasks) or left_s <= 0:
            return not patience.backoff_s
        ctx.sleep(min(patience.pause_s(now_s), left_s))


def look_at_tasks(ctx: Context, tasks: Sequence[StartedTask], patience: Patience) -> None:
    """Ask how the tasks are, show what they logged, and say how many are in which state."""
    arns, cluster = [task.arn for task in running(tasks)], tasks[0].part.request["cluster"]
    found = {task["taskArn"]: task for task in ctx.aws.describe_tasks(cluster, arns, retries=False)}
    now_s = ctx.clock.now()
    patience.answered(now_s)
    for task in running(tasks):
        if task.arn in found:
            task.last, task.missing_s = found[task.arn], None
            for log in list(task.logs):
                show_page(ctx, task, log)
        else:
            require_known(task, now_s, now_s - patience.begun_s)
    states = Counter(task.last["lastStatus"] for task in tasks if task.last)
    told = ", ".join(f"{count} {state}" for state, count in states.items()) or "not visible yet"
    ctx.report.progress({"tasks": f"tasks: {told}"}, now_s - patience.begun_s)


def require_known(task: StartedTask, now_s: float, elapsed_s: float) -> None:
    """Raises `AwsError` for a task that ECS did not know twice, seconds apart, after it did or should."""
    task.missing_s = now_s if task.missing_s is None else task.missing_s
    if now_s - task.missing_s >= MISSING_S and (task.last or elapsed_s >= UNSEEN_GRACE_S):
        raise AwsError(f"ECS does not know the task {task.arn} any more; its end is unknown")


def logs_of(task: StartedTask, *, several: bool) -> list[Log]:
    """The logs of a task's containers as far as they can be followed; of `several` tasks each line names its own."""
    containers = containers_of(task.part.draft.new)
    found: list[Log] = []
    for name in (str(container.get("name")) for container in containers):
        if log := log_of(task.part.draft.new, name, task.arn):
            log.prefix = f"{short_name(task.arn)[:8]} " if several else ""
            log.prefix += f"{name} " if several or len(containers) > 1 else ""
            found.append(log)
    return found


def show_late_logs(ctx: Context, tasks: Iterable[StartedTask], delay_s: float) -> None:
    """CloudWatch shows the last lines a moment after the task has stopped; a chatty task has pages of them."""
    logs = [(task, log) for task in tasks for log in task.logs]
    if any(log.token for _, log in logs) and delay_s > 0:
        ctx.sleep(delay_s)
        for task, log in logs:
            while show_page(ctx, task, log):
                pass


def show_page(ctx: Context, task: StartedTask, log: Log) -> bool:
    """Print what is new in a container's log; True if there may be more. One that cannot be read is left out then."""
    before = log.token
    try:
        lines = read_log(ctx, log)
    except AwsError as error:
        if error.code != "ResourceNotFoundException" and not error.transient:
            task.logs.remove(log)
            ctx.report.note(f"The log {log.name} cannot be read ({error.code}).")
        return False
    task.lines = [*task.lines, *(f"{log.prefix}| {line}" if log.prefix else line for line in lines)][-LOG_LINES:]
    for line in lines:
        ctx.report.note(f"{log.prefix}| {line}")
    return log.token != before


def judge_tasks(ctx: Context, plan: Plan, tasks: Iterable[StartedTask], answered: bool) -> None:
    """Say how each task ended, or that it did not stop in time."""
    for task in tasks:
        verdict = task.verdict
        if verdict is None:
            goes_on, did = ("It goes on. ", "did not") if answered else ("", "was not seen to")
            said = f"Task {task.arn} {did} stop within {plan.task_timeout_s or FOREVER_S:g} seconds."
            ctx.report.error(said, f"{goes_on}{task.to_stop(ctx.aws)}")
        elif verdict.ok:
            ctx.report.note(f"Task {short_name(task.arn)[:8]} ended well: {stop_reason(task.last)}")
            ctx.report.line(f"Task {task.arn} executed successfully!")
        else:
            of = short_name(str(task.last.get("taskDefinitionArn")))
            advice = task_advice(verdict, task.last)
            ctx.report.error(f"Task {task.arn} of {of} failed: {undotted(verdict.reason)}.", advice)
    failed = [(task, task.verdict.reason) for task in tasks if task.verdict and not task.verdict.ok]
    ctx.report.learn(failed_tasks=[{"count": 1, "reason": reason} for _, reason in failed])
    ctx.report.learn(logs=[{"title": short_name(task.arn), "lines": task.lines} for task, _ in failed])


def task_advice(verdict: TaskVerdict, task: JSON) -> str:
    """What to do about a task that was to end, and ended badly: its own exit code is no riddle, the rest may be."""
    if verdict.exit_code is not None and "OutOfMemory" not in verdict.reason:
        return "A container that decides ended with a code other than 0; --watch-container NAME lets only one decide."
    cause, advice = likely_cause({"stop": [stop_words(task)]})
    return f"Likeliest cause: {cause}. {advice}"


def end_part(results: Results, part: PlannedTask, tasks: Iterable[StartedTask]) -> None:
    """The result of a part's tasks: the worst of them; 0, 1 (or its container's code, if asked for), or 22."""
    verdicts = [task.verdict for task in tasks]
    bad = [verdict for verdict in verdicts if verdict and not verdict.ok]
    code = Exit.TIMED_OUT if None in verdicts else Exit.FAILED if bad else Exit.OK
    result = bad[0].reason if bad else "did not stop in time" if code else "successful"
    told = [verdict.exit_code for verdict in bad if verdict.exit_code and part.run.propagate_exit_code]
    results.add(
        part, result=result, exit_code=told[0] if told else int(code), verdict="failed" if code else "completed"
    )


# Applications


def deploy_app(ctx: Context, options: AppOptions) -> int:
    """Tasks before, all services at once, tasks after; the exit code."""
    plan = plan_app(ctx, options)
    if not plan.parts():
        raise UsageError("The application has no services, and no tasks that are not skipped", Exit.NOTHING_TO_DO)
    return show_dry_run(ctx, plan) if options.output.dry_run else report_app(ctx, carry_out(ctx, plan))


def plan_app(ctx: Context, options: AppOptions) -> Plan:
    """Find everything that is named; raises `DeployError` that lists all that is missing, and changes nothing."""
    cluster, problems = options.cluster, list[DeployError]()
    with explained(ctx, cluster):
        found = ctx.aws.describe_services(cluster, [entry["name"] for entry in options.services])
    described = cache(lambda name: describe_definition(ctx, name, tags_required=False))

    def planned_task(named: tuple[str, JSON]) -> PlannedTask:
        name, entry = named
        draft = tagged_draft(ctx, name, described(entry["family"]), entry, options.tag)
        tagged = {"enableECSManagedTags": True, "propagateTags": "TASK_DEFINITION"}  # as ecs-toolkit sends
        request = {"cluster": cluster, **tagged, **task_request(entry)}
        return PlannedTask(name, draft, RunOptions(count=entry["count"], wait_for_success=True), request)

    def planned_service(entry: JSON) -> PlannedService:
        name = entry["name"]
        service = usable_service(ctx, cluster, name, found.get(name))
        draft = tagged_draft(ctx, name, described(service["taskDefinition"]), entry, options.tag)
        change = ServiceOptions(force_new_deployment=bool(entry.get("force")))
        wait = replace(options.wait, timeout_s=(entry.get("max_wait") or 15) * 60.0, in_total=True)
        return PlannedService(name, draft, service, service_update(cluster, name, change, service), wait)

    plan = Plan(
        cluster,
        before=collected(problems, planned_task, named_tasks("pre", options.before)),
        services=collected(problems, planned_service, options.services),
        after=collected(problems, planned_task, named_tasks("post", options.after)),
        several=True,
    )
    raise_all([*problems, *([] if options.no_preflight else preflight(ctx, plan))])
    return plan


def named_tasks(when: str, entries: Sequence[JSON]) -> Iterator[tuple[str, JSON]]:
    """The entries by what they are called: when and their family, with a number from the second of a family on."""
    seen: Counter[str] = Counter()
    for entry in entries:
        family = str(entry["family"])
        seen[family] += 1
        yield f"{when} {family}" + (f" ({seen[family]})" if seen[family] > 1 else ""), entry


def tagged_draft(ctx: Context, owner: str, definition: JSON, entry: JSON, tag: str) -> Draft:
    """A part's definition before and after; raises `DeployError` that names the part."""
    try:
        draft = draft_of(ctx, definition, definition, Edits(tag, tuple(entry["containers"])), "")
    except DeployError as error:
        raise DeployError(f"{owner}: {error.message}", error.exit_code, error.hint) from error
    return replace(draft, ready=draft.current) if draft.old == draft.new else draft


def collected(problems: list[DeployError], plan: Callable[[Any], Any], entries: Iterable[Any]) -> tuple[Any, ...]:
    """The planned entries; what can't be planned for its own sake is a problem, other errors of AWS are raised."""
    planned = []
    for entry in entries:
        try:
            planned.append(plan(entry))
        except DeployError as error:
            if isinstance(error, AwsError) and error.code not in ("ClientException", "ServiceNotFoundException"):
                raise
            problems.append(error)
    return tuple(planned)


def raise_all(problems: Sequence[DeployError]) -> None:
    """Raises a `DeployError` that lists the problems, if there are any."""
    if problems:
        listed = "\n".join(f"  {problem.message}" for problem in problems)
        hints = "\n".join(dict.fromkeys(problem.hint for problem in problems if problem.hint))
        codes = {problem.exit_code for problem in problems}
        mixed = Exit.CANNOT_WORK if codes <= _PREFLIGHT else Exit.FAILED
        raise DeployError(f"Nothing was changed:\n{listed}", codes.pop() if len(codes) == 1 else mixed, hints)


def report_app(ctx: Context, results: Results) -> int:
    """The report at the end: totals, and each failure with its reason; the exit code."""
    plan = results.plan
    for title, parts in (("tasks before", plan.before), ("services", plan.services), ("tasks after", plan.after)):
        known = {part.name: results.parts.get(part.name, {}) for part in parts}
        ended = Counter(str(facts.get("result", "not begun")) for facts in known.values())
        failed = {name: facts for name, facts in known.items() if facts.get("exit_code")}
        counts = {"total": len(parts), "successful": ended["successful"], "skipped": ended["skipped"]}
        counts["failed"] = len(failed) - ended["rolled back"]
        counts |= {word: ended[word] for word in ("rolled back", "not begun") if ended[word]}
        if parts:
            ctx.report.line(f"Report on {title}: {', '.join(f'{word}: {count}' for word, count in counts.items())}")
        for name, facts in failed.items():
            ctx.report.line(f"  {name}: {facts['result']}")
    return results.code


# The day after: status


class Subject(Rollout):
    """The present deployment of a service that is asked about, and what the JSON document says of the service."""

    facts: JSON = field(default_factory=dict)

    @property
    def standing(self) -> Standing:
        """How the service does."""
        return Standing(self.facts["state"])


def status(ctx: Context, options: StatusOptions) -> int:
    """What services run, how they do, and why not better; the exit code. Changes nothing."""
    subjects = look_at_services(ctx, options)
    codes = follow_all(ctx, options, subjects) if options.follow else {}
    subjects = look_at_services(ctx, options) if codes else subjects
    for subject in subjects:
        code = codes.get(subject.service)
        if code is not None and subject.standing is not Standing.MISSING:
            subject.facts["exit_code"] = code
        if options.every:
            note_reasons(ctx, subject)
        else:
            show(ctx, subject, well=bool(code) or subject.standing is Standing.STEADY)
    if options.every:
        show_table(ctx, options.cluster, subjects)
    if options.expected:
        expect(ctx, options, subjects)
    facts = [subject.facts for subject in subjects]
    code = max((each["exit_code"] for each in facts), default=Exit.FAILED if options.expected else Exit.OK)
    ctx.report.learn(cluster=options.cluster, verdict="not steady" if code else "steady", parts=facts)
    return code


def look_at_services(ctx: Context, options: StatusOptions) -> list[Subject]:
    """The named services, or with --all those of the cluster, the worst first."""
    with explained(ctx, options.cluster):
        names = list(options.services) or ctx.aws.service_names(options.cluster)
        found = ctx.aws.describe_services(options.cluster, names)
    services = {name: with_deployments(found.get(name) or {}) for name in names}
    subjects = [subject_of(ctx, options, name, each, several=len(names) > 1) for name, each in services.items()]
    worst = list(Standing)
    return sorted(subjects, key=lambda s: (worst.index(s.standing), s.service)) if options.every else subjects


def subject_of(ctx: Context, options: StatusOptions, name: str, service: JSON, *, several: bool) -> Subject:
    """The service's present deployment, to be followed or explained; where ECS goes back, the one that failed."""
    facts, primary = facts_of(name, service), primary_of(service)
    arn = facts["task_definition"] or ""
    part = PlannedService(name, Draft(arn, {}, {}, arn), service, {}, options.wait)
    failed = setback_of(service)[1] if facts["state"] == Standing.GOING_BACK.value else ""
    deployment_id = failed or str(primary.get("id") or "")
    present = rollout_of(ctx, Plan(options.cluster, several=several), part, deployment_id, arn)
    subject = Subject(**vars(present), facts=facts)
    subject.previous_definition = arn if failed else what_worked(part, service)
    subject.steady, subject.after_s = is_completed(primary), 0.0 if failed else stamp_s(primary)
    subject.counts = counts_of(service, subject.deployment_id)
    return subject


def facts_of(name: str, service: JSON) -> JSON:
    """What the JSON document says of any service; `show` adds to it."""
    primary, (standing, reason) = primary_of(service), standing_of(service)
    return {
        "name": name,
        "state": standing.value,
        "steady": standing is Standing.STEADY,
        "reason": reason,
        "task_definition": primary.get("taskDefinition") or service.get("taskDefinition") or None,
        "deployment_id": primary.get("id"),
        "rollout_state": primary.get("rolloutState"),
        "since": date_text(stamp_s(primary)) if primary else None,
        **{f"{kind}_count": number(service, f"{kind}Count") for kind in ("desired", "running", "pending")},
        "went_back": setback_of(service)[0] or None,
        "exit_code": {Standing.STEADY: Exit.OK, Standing.MISSING: Exit.AWS}.get(standing, Exit.FAILED),
    }


def follow_all(ctx: Context, options: StatusOptions, subjects: Sequence[Subject]) -> dict[str, int]:
    """Follow what is in progress to its end, ECS's own way back too; each service's exit code is a deployment's."""
    followed = [s for s in subjects if s.deployment_id and s.standing is not Standing.STEADY]
    for subject in followed:
        read_definition(ctx, subject)
    watch_updates(ctx, followed)
    backs = roll_back(ctx, [subject for subject in followed if subject.state is RolloutState.ROLLING_BACK])
    codes: dict[str, int] = {}
    for subject in followed:
        code, ending = ending_of(subject, backs.get(subject.service))
        code = Exit.FAILED if code == Exit.ROLLED_BACK else code  # nobody asked for that way back
        if code:
            say_ending(ctx, subject, code, ending, explain(ctx, subject))
        codes[subject.service] = code
    return codes


def as_told(ctx: Context, look: Callable[[], Any], otherwise: Any, what: str = "") -> Any:
    """What a look finds that is not what was asked first; where AWS does not tell, that is said.

    Where it is said `what` is missing, an error that may pass is raised all the same: it is not an answer.
    """
    try:
        return look()
    except AwsError as error:
        if what and error.transient:
            raise
        ctx.report.note(f"{what} {error.message}".strip())
        return otherwise


def definition_of(ctx: Context, arn: str) -> JSON:
    """A definition; {} and a note where it cannot be read."""
    what = f"{short_name(arn)} cannot be read."
    found: JSON = as_told(ctx, lambda: ctx.aws.describe_task_definition(arn), {}, what) if arn else {}
    return found


def read_definition(ctx: Context, subject: Subject) -> None:
    """Have the subject's definition known: what its containers are, and where they log."""
    definition = definition_of(ctx, subject.definition)
    subject.part = replace(subject.part, draft=replace(subject.part.draft, new=definition))


def running_digests(ctx: Context, subject: Subject, arn: str) -> dict[str, set[str]]:
    """The digests that each container of that definition runs, by a page of tasks; {} where they are not told."""
    what, cluster = f"{subject.label}The digests that run cannot be read.", subject.cluster
    params = {"cluster": cluster, "serviceName": subject.service, "desiredStatus": "RUNNING", "maxResults": 100}
    listed = as_told(ctx, lambda: ctx.aws.call("ListTasks", params), {}, what)
    tasks = as_told(ctx, lambda: ctx.aws.describe_tasks(cluster, listed.get("taskArns") or []), [], what)
    found: dict[str, set[str]] = {}
    for task in tasks:
        for container in task.get("containers") or [] if task.get("taskDefinitionArn") == arn else []:
            if digest := container.get("imageDigest"):
                found.setdefault(str(container.get("name")), set()).add(str(digest))
    return found


def note_reasons(ctx: Context, subject: Subject) -> None:
    """Add the commonest reason why tasks stopped; where they stop, a service does not just scale."""
    if subject.standing in (Standing.STEADY, Standing.MISSING, Standing.DELETED) or not subject.deployment_id:
        return
    diagnose(ctx, subject)
    for reason, count in subject.reasons.most_common(1):
        subject.facts["reason"] += f"; {count} × {reason}"
        if subject.standing is Standing.SCALING:
            subject.facts["state"] = Standing.SHORT.value


def show_table(ctx: Context, cluster: str, subjects: Sequence[Subject]) -> None:
    """A line for each service, and how many are steady."""
    rows = [("SERVICE", "STATE", "TASKS", "DEFINITION", "SINCE", "WHY")]
    for subject in subjects:
        facts = subject.facts
        why = facts["reason"] or (f"ECS went back: {facts['went_back']}" if facts["went_back"] else "")
        counted = primary_of(subject.last) or subject.last
        counts = f"{number(counted, 'runningCount')}/{number(counted, 'desiredCount')}"
        definition = short_name(subject.definition)
        rows.append((subject.service, facts["state"], counts, definition, facts["since"] or "", why))
    for line in in_columns(rows) if subjects else []:
        ctx.report.line(line)
    steady = sum(subject.facts["steady"] for subject in subjects)
    ctx.report.line(f"{steady} of {len(subjects)} services of {cluster} steady")


def show(ctx: Context, subject: Subject, *, well: bool) -> None:
    """A screenful about one service: what runs, since when, how it does and why, and what it may go back to."""
    name, cluster, facts = subject.service, subject.cluster, subject.facts
    if subject.standing is Standing.MISSING:
        hint = names_hint(lambda: ctx.aws.service_names(cluster), "services of the cluster", name)
        ctx.report.error(f"The service {name} was not found in cluster {cluster}", hint)
        return
    as_told(ctx, lambda: read_definition(ctx, subject), None)
    digests = as_told(ctx, lambda: running_digests(ctx, subject, subject.definition), {})
    as_told(ctx, lambda: look_at_strategies(ctx, [subject]), None)
    if not well:
        note_reasons(ctx, subject)
    images = [(str(c.get("name")), str(c.get("image"))) for c in containers_of(subject.part.draft.new)]
    facts["images"] = [{"container": n, "image": i, "digests": sorted(digests.get(n, ()))} for n, i in images]
    facts["stage"] = None if well else subject.native_state.get("lifecycleStage")
    leads = as_told(ctx, lambda: look_back(ctx, subject), "unknown")
    ctx.report.line(f"{name}: {facts['state']}, {counts_text(subject.last)}")
    for title, text in [*standing_rows(subject), ("a rollback leads to", leads)]:
        ctx.report.line(f"  {title}: {text}")
    if not well:
        say_why(ctx, subject)


def look_back(ctx: Context, subject: Subject) -> str:
    """What `rollback` would go back to, and how that is known; the facts about the way back."""
    service, facts = subject.last, subject.facts
    facts["way_back"] = None
    if (service.get("deploymentController") or {}).get("type", "ECS") != "ECS":
        return "nowhere"
    history = deployed_before(ctx, subject.cluster, service)
    if history and history[0].ended == "ROLLBACK_SUCCESSFUL":
        facts["went_back"] = facts["went_back"] or f"from {short_name(history[0].definition)}"
    past, definition = way_back_of(ctx, service, history, subject.label)
    if past is None:
        return "nowhere"
    facts["way_back"] = {"task_definition": past.definition, "known_by": past.known_by}
    return f"{short_name(past.definition)} ({images_text(definition)}), {past.known_by}"


def standing_rows(subject: Subject) -> Iterator[tuple[str, str]]:
    """What runs, by which deployment, since when, and how it does."""
    facts = subject.facts
    yield "definition", facts["task_definition"] or "none"
    for image in facts["images"]:
        yield f"image of {image['container']}", " ".join([image["image"], *image["digests"]])
    if facts["since"]:
        yield "deployment", f"{facts['deployment_id']}, {facts['rollout_state'] or 'PRIMARY'}, since {facts['since']}"
    for other in others_of(subject.last):
        definition = short_name(str(other.get("taskDefinition")))
        yield "also", f"{definition} ({other.get('id')}), {number(other, 'runningCount')} running"
    if subject.standing in (Standing.ROLLING_OUT, Standing.GOING_BACK):
        counts, back = counts_of(subject.last, facts["deployment_id"]), subject.standing is Standing.GOING_BACK
        yield "roll-out", progress_of(replace(subject, label="", counts=counts, returning=back))
    if facts["went_back"]:
        yield "ECS went back to this", facts["went_back"]
    for text in troubles_of(subject.last)[:5] if subject.standing is not Standing.STEADY else []:
        yield "event", text


def say_why(ctx: Context, subject: Subject) -> None:
    """Why tasks stopped, their last log lines, and one paragraph: why it is not steady, the likeliest cause."""
    facts, troubles = subject.facts, troubles_of(subject.last)
    evidence = {**explain(ctx, subject), "event": [*map(without_names, troubles)]}
    cause, next_step = likely_cause({**evidence, "stage": []})  # here is no time-out for a bake time
    known = "" if cause.startswith("unknown") else f"Likeliest cause: {cause}. {next_step}"
    said = f"The service {subject.service} is not steady, but {facts['state']}: {undotted(facts['reason'])}."
    reasons = failed_tasks(subject)
    told = [f"{each['count']} × {each['reason']}" for each in reasons]
    ctx.report.error(said, known, "\n".join(text for text in told if undotted(text) not in said), subject.log)
    facts |= {"failed_tasks": reasons, "events": troubles, "logs": subject.logs, "cause": known or None}


def expect(ctx: Context, options: StatusOptions, subjects: Sequence[Subject]) -> None:
    """Set for each service whether it runs what is expected and nothing else, and say of each that it does not."""
    met: set[str] = set()
    for subject in subjects:
        running = {arn: definition_of(ctx, arn) for arn in running_definitions(subject.last)}
        found = [expectations_met(ctx, options, subject, arn, running[arn]) for arn in running]
        met = met.union(*found)
        subject.facts["expected"] = bool(found) and all(found)
        if not subject.facts["expected"]:
            runs = ", ".join(f"{short_name(arn)} ({images_text(running[arn])})" for arn in running) or "nothing"
            ctx.report.error(f"The service {subject.service} does not run just what is expected; it runs {runs}.")
    failing = [subject for subject in subjects if not subject.facts["expected"]]
    unmet = [text for text in options.expected if text not in met]
    if unmet and not failing:
        ctx.report.error(f"None of the services runs {', '.join(unmet)}.")
        failing = list(subjects[:1])
    for subject in failing:
        subject.facts["expected"] = False
        subject.facts["exit_code"] = subject.facts["exit_code"] or Exit.FAILED


def expectations_met(ctx: Context, options: StatusOptions, subject: Subject, arn: str, definition: JSON) -> set[str]:
    """What of the expected a definition is, or its containers run; nothing if it goes against any of it."""
    by_digest = any("@" in text for text in options.expected)
    digests = running_digests(ctx, subject, arn) if by_digest else {}
    held = {text: is_expected(text, definition, digests) for text in options.expected}
    return set() if False in held.values() else {text for text in held if held[text]}


def images_text(definition: JSON) -> str:
    """The images of a definition's containers."""
    return ", ".join(str(container.get("image")) for container in containers_of(definition))


# The day after: rollback

HISTORY = 60  # so many deployments are looked at; each twenty cost a call


def deployed_before(ctx: Context, cluster: str, service: JSON) -> list[Past]:
    """The newest deployments that ECS remembers (for 90 days), newest first; [] where it tells nothing of them."""
    name = str(service.get("serviceName"))
    what, params = f"The earlier deployments of {name} cannot be read.", {"cluster": cluster, "service": name}
    listed = as_told(ctx, lambda: ctx.aws.pages("ListServiceDeployments", {**params, "maxResults": 100}), [], what)
    newest = sorted(listed, key=stamp_s, reverse=True)[:HISTORY]
    arns = list(dict.fromkeys(str(each.get("targetServiceRevisionArn")) for each in newest))
    revisions = as_told(ctx, lambda: ctx.aws.described("DescribeServiceRevisions", arns, {}), [], what)
    definitions = {str(each.get("serviceRevisionArn")): str(each.get("taskDefinition")) for each in revisions}
    found: list[Past] = []
    for each in newest:
        if definition := definitions.get(str(each.get("targetServiceRevisionArn"))):
            release = str(each.get("serviceDeploymentArn"))
            found.append(Past(definition, str(each.get("status")), stamp_s(each), release))
    return found


def ways_back(ctx: Context, service: JSON, history: Sequence[Past]) -> Iterator[Past]:
    """What the service may go back to, the best first; older revisions are asked for once nothing else is left.

    What ECS remembers says as well what failed or was left by going back: that is no way back by any source.
    """
    current, remembered = str(service["taskDefinition"]), {past.definition for past in history}
    completed = [d for d in service.get("deployments") or [] if is_completed(d)]
    listed = [Past(str(d.get("taskDefinition")), "COMPLETED", stamp_s(d)) for d in completed]
    unknown = [past for past in listed if past.definition not in remembered]
    known = sorted([*unknown, *reversed(history)], key=lambda past: past.at_s)
    worked = [past for past in known if past.ended in ("SUCCESSFUL", "COMPLETED")]
    newest = {past.definition: past for past in worked}
    yield from (newest[each] for each in worked_before([past.definition for past in worked], current))
    left = {past.definition for past in known}
    yield from (Past(arn) for arn in older_revisions(ctx, current) if arn not in left)


def older_revisions(ctx: Context, current: str) -> list[str]:
    """The ARNs of the ACTIVE revisions before the current one, newest first; none, and a note, if they are not told."""
    family = family_of(current)
    what = f"The revisions of {family} cannot be listed."
    active = as_told(ctx, lambda: ctx.aws.active_revisions(family), [], what)
    older = [arn for arn in active if revision_of(arn) < revision_of(current)]
    return sorted(older, key=revision_of, reverse=True)


def way_back_of(ctx: Context, service: JSON, history: Sequence[Past], label: str) -> tuple[Past | None, JSON]:
    """The first way back that is ACTIVE, and its definition; names those that are not."""
    for past in ways_back(ctx, service, history):
        definition = definition_of(ctx, past.definition)
        state = definition.get("status") or "not there any more"
        if state == "ACTIVE":
            return past, definition
        ctx.report.note(f"{label}{short_name(past.definition)} is skipped: it is {state}, no service can go there.")
    return None, {}


def rollback(ctx: Context, options: RollbackOptions) -> int:
    """Take services back to what worked before, or to a revision that is named; the exit code."""
    ctx.report.learn(cluster=options.cluster, service=", ".join(options.services))
    problems: list[DeployError] = []
    with explained(ctx, options.cluster):
        found = ctx.aws.describe_services(options.cluster, options.services)
    usable = lambda name: usable_service(ctx, options.cluster, name, found.get(name))  # noqa: E731
    services = collected(problems, usable, options.services)
    raise_all(problems)
    if options.candidates:
        ctx.report.learn(parts=[list_ways_back(ctx, options, service) for service in services])
        return Exit.OK
    parts = collected(problems, lambda service: plan_way_back(ctx, options, service), services)
    raise_all(problems)
    plan = Plan(options.cluster, services=parts, several=len(parts) > 1)
    if options.output.dry_run:
        return show_dry_run(ctx, plan)
    for part in parts:
        ctx.report.line(f"{plan.label(part)}{_ANNOUNCED} {part.draft.ready}")
    return carry_out(ctx, plan).code


def plan_way_back(ctx: Context, options: RollbackOptions, service: JSON) -> PlannedService:
    """The service and where it is to go back to; raises `DeployError` if there is nothing to go back to."""
    name, current = str(service["serviceName"]), str(service["taskDefinition"])
    label = f"{name}: " if len(options.services) > 1 else ""
    history = deployed_before(ctx, options.cluster, service)
    release = open_release(service, history)
    best = next(ways_back(ctx, service, history), None) if release else None
    if options.to:
        arn, how = revision_named(ctx, options.to, current), "as it was named"
    elif standing_of(service)[0] is Standing.GOING_BACK:
        arn, how = current, "where ECS is going back by itself already"
    elif past := best or way_back_of(ctx, service, history, label)[0]:
        arn, how = past.definition, past.known_by
    else:
        given = f"-c {shell_word(options.cluster)} -n {name} {ctx.aws.place}"
        hint = f"Name a revision with --to. To see what was deployed:\n  ecs-deploy rollback {given} --list"
        raise DeployError(f"The service {name} has nothing to go back to from {short_name(current)}", hint=hint)
    live, wanted = definition_of(ctx, current), definition_of(ctx, arn)
    draft = replace(draft_of(ctx, live, wanted, Edits(), arn), current=current, start=current)
    ctx.report.note(f"{label}Going back to {short_name(arn)}, {how}.")
    if arn != current:
        show_draft(ctx, draft, [], label)
    stops = release if best and best.definition == arn else ""
    if not stops:
        warn_at_start(ctx, options.wait, service, label)
    update = {"cluster": options.cluster, "service": name}
    return PlannedService(name, draft, service, update, options.wait, stops, goes_back=True)


def open_release(service: JSON, history: Sequence[Past]) -> str:
    """The ARN of the service deployment in progress under a strategy that ECS can take back by itself; or empty."""
    if strategy_of(service) == "ROLLING" or primary_of(service).get("rolloutState") != "IN_PROGRESS":
        return ""
    states = (RolloutState.WAITING, RolloutState.ROLLING_BACK)
    opened = [past.release for past in history if strategy_verdict({"status": past.ended}).state in states]
    return str(service.get("currentServiceDeployment") or next(iter(opened), ""))


def revision_named(ctx: Context, revision: str, current: str) -> str:
    """The ARN of what --to names; raises `DeployError` if a service of that family cannot be pointed at it."""
    family = family_of(current)
    name = f"{family}:{revision}" if revision.isdigit() else revision
    if family_of(name) != family:
        raise DeployError(f"{name} is no revision of {family}, which the service runs")
    definition: JSON = {}
    try:
        definition = ctx.aws.describe_task_definition(name)
    except AwsError as error:
        if not error.definition_missing:
            raise
    if definition.get("status") == "ACTIVE":
        return str(definition["taskDefinitionArn"])
    what = f"ACTIVE revisions of {family}"
    hint = names_hint(lambda: [short_name(arn) for arn in ctx.aws.active_revisions(family)], what, name)
    if not definition:
        said = f"The task definition {name} was not found in {ctx.aws.region}"
        raise AwsError(said, code="ClientException", hint=hint)
    raise DeployError(f"{name} is {definition.get('status')}; no service can be pointed at it any more", hint=hint)


def list_ways_back(ctx: Context, options: RollbackOptions, service: JSON) -> JSON:
    """Print what was deployed, newest first: when, which images, how that ended, where a rollback leads; the facts."""
    name, current = str(service["serviceName"]), str(service["taskDefinition"])
    history = deployed_before(ctx, options.cluster, service)
    best, _ = way_back_of(ctx, service, history, f"{name}: " if len(options.services) > 1 else "")
    rows = [*history[:20], *([best] if best and best not in history[:20] else [])]
    read = {arn: definition_of(ctx, arn) for arn in dict.fromkeys(past.definition for past in rows)}
    ctx.report.line(f"{name} runs {short_name(current)}; {'' if best else 'nothing to go back to; '}it was deployed:")
    facts = [candidate(past, read[past.definition], chosen=past == best) for past in rows]
    cells = []
    for each in facts:
        notes = [each["status"]] if each["status"] != "ACTIVE" else []
        notes += ["<- a rollback leads here"] if each["chosen"] else []
        last = "  ".join([each["images"], *notes])
        cells.append((short_name(each["task_definition"]), each["deployed"], each["ended"], last))
    for line in in_columns(cells):
        ctx.report.line(f"  {line}")
    return {"name": name, "task_definition": current, "candidates": facts}


def candidate(past: Past, definition: JSON, *, chosen: bool) -> JSON:
    """What the JSON document says of a definition that was deployed, or may be gone back to."""
    return {
        "task_definition": past.definition,
        "deployed": date_text(past.at_s) if past.ended else "never, as far as ECS tells",
        "ended": past.ended,
        "status": definition.get("status") or "gone",
        "images": images_text(definition),
        "chosen": chosen,
    }


def taken_back_by_ecs(ctx: Context, results: Results, rollout: Rollout) -> Rollout | None:
    """Have ECS take its own deployment back, the roll-out to watch then; None where it can't, so that we deploy."""
    part, deployment_id = rollout.part, str(primary_of(rollout.last).get("id") or "")
    back = replace(rollout, deployment_id=deployment_id, previous_definition="", returning=True, native=part.stops)
    what = "What ECS takes back by itself cannot be followed, using UpdateService instead."
    now = as_told(ctx, lambda: ctx.aws.described("DescribeServiceDeployments", [part.stops], {}), None, what)
    if now is None:
        return None
    if strategy_verdict(next(iter(now), {})).state is not RolloutState.ROLLING_BACK:
        enter_rollout(ctx, back)
        if not stopped_natively(ctx, back):
            return None  # the update takes its place in the ledger
    results.add(part, new_task_definition=part.draft.ready, deployment_id=deployment_id)
    return back


# --- Instances ------------------------------------------------------------------------------ pure: no I/O

REPLACING_TAG = "ecs-deploy:replacing"  # on a group: the capacity to return to, and the run that sees to it
BEAT_S = 30.0  # a run renews its tag so often
GONE_S = 120.0  # a tag that is not renewed for so long was left by a run that is gone
_REFRESHING = ("Pending", "InProgress", "Baking", "Cancelling", "RollbackInProgress")


class Claim(Value):
    """What a group's tag says: the capacity to return to, for which run, and how often that has renewed it."""

    capacity: int
    by: str | None = None  # empty: the run has ended; None: there is no tag
    beats: int = 0


def claim_on(group: JSON) -> Claim:
    """What the group's tag says; where there is none that this program wrote, the capacity is as it is."""
    values = {tag.get("Key"): tag.get("Value") for tag in group.get("Tags") or []}
    match = re.fullmatch(r"capacity=(\d+) by=(\S*) beats=(\d+)", str(values.get(REPLACING_TAG)), re.ASCII)
    return Claim(int(match[1]), match[2], int(match[3])) if match else Claim(int(group["DesiredCapacity"]))


class Instance(Value):
    """One EC2 instance, as its group and the cluster describe it."""

    id: str
    state: str  # in its group
    in_service: bool  # it counts for the group's desired capacity
    weight: int  # its share of that
    arn: str  # in the cluster; empty if it is not there
    connected: bool  # ECS can move tasks there and away
    ready: bool  # ECS may place tasks there
    draining: bool  # ECS places no more tasks there, and moves the services' tasks away
    load: int  # its tasks by its own count
    outdated: str  # why it is not current
    kept: str  # why it is left alone even if it is out of date
    tasks: Mapping[str, int] = field(default_factory=dict)  # what keeps one that drains, by the group of the task
    proved: bool = False  # nothing was seen that would die with it, neither now nor at the look before

    @property
    def serves(self) -> bool:
        """True if it is current, and takes tasks."""
        return self.in_service and self.ready and not self.outdated

    @property
    def waits_for(self) -> str:
        """Why it is not gone yet, as a row of the progress."""
        if self.draining:
            state = "DRAINING" if self.in_service else self.state
            tasks = ", ".join(f"{count} × {group}" for group, count in self.tasks.items())
            return f"{self.id} is {state}, tasks left: {tasks or 'none'}"
        if not self.in_service:
            return f"{self.id} is {self.state}"
        if not self.arn:
            return f"{self.id} is not registered in the cluster any more"
        return "" if self.ready else f"{self.id} cannot be drained, its agent is not connected"


class Fleet(Value):
    """A group and its instances as one look shows them."""

    group: JSON
    claim: Claim = Claim(0)
    desired: int = 0
    instances: Sequence[Instance] = ()

    @property
    def left(self) -> list[Instance]:
        """The instances that are to be replaced, those that are on their way out included."""
        return [instance for instance in self.instances if instance.outdated and not instance.kept]

    @property
    def going(self) -> list[Instance]:
        """The instances in service that are to go: those out of date; then what is above the capacity to return to."""
        if self.left:
            return [instance for instance in self.left if instance.in_service]
        spare = [i for i in self.instances if i.in_service and not i.outdated and (i.ready or i.draining)]
        return fitting(sorted(spare, key=lambda i: (not i.draining, i.load)), self.desired - self.claim.capacity)

    @property
    def missing(self) -> str:
        """What the group lacks before anything may go: capacity in service, or new instances in the cluster."""
        in_service, going = [instance for instance in self.instances if instance.in_service], self.going
        capacity = sum(instance.weight for instance in in_service)
        if capacity < self.desired:
            return f"{capacity} of {self.desired} in service"
        absent = [i.id for i in in_service if not i.outdated and not i.ready and i not in going]
        return f"{', '.join(absent)} not ACTIVE in the cluster" if absent else ""

    def batch(self, size: int) -> list[Instance]:
        """Those that are to go and drain; else at most `size` of them, as many as there is room for."""
        ready = [instance for instance in self.going if instance.ready]
        draining = [instance for instance in self.going if instance.draining]
        return draining or fitting(ready, int(self.group["MaxSize"]) - self.claim.capacity)[:size]


def fitting(instances: Iterable[Instance], room: int) -> list[Instance]:
    """Those of the instances, in their order, that fit into so much capacity together."""
    chosen: list[Instance] = []
    for instance in instances:
        if instance.weight <= room:
            room -= instance.weight
            chosen.append(instance)
    return chosen


def origin(launched: JSON, versions: Mapping[tuple[str, str], str]) -> tuple[str, str]:
    """What an instance or a group is launched from: a key (empty if not known), and in words."""
    if template := launched.get("LaunchTemplate"):
        key = str(template.get("LaunchTemplateId") or template.get("LaunchTemplateName"))
        version = str(template.get("Version") or "$Default")
        version = versions.get((key, version), version)
        return f"{key} {version}", f"launch template {template.get('LaunchTemplateName') or key} version {version}"
    configuration = str(launched.get("LaunchConfigurationName") or "")
    known = f"launch configuration {configuration}" if configuration else "no known launch configuration or template"
    return configuration, known


def outdated_reason(member: JSON, launched: Sequence[tuple[str, tuple[str, str]]]) -> str:
    """Why a group's instance is not as the group would launch it now, or an empty string."""
    instance_type = member.get("InstanceType")
    wanted = dict(each for kind, each in launched if kind in ("", instance_type))
    if not wanted:
        return f"instance type {instance_type}, not {' or '.join(sorted({kind for kind, _ in launched}))}"
    key, text = origin(member, {})
    return "" if key and key in wanted else f"{text}, not {' or '.join(dict.fromkeys(wanted.values()))}"


def unsteady_reason(service: JSON) -> str:
    """Why a service is not steady, or an empty string: one completed deployment, and as many running as desired."""
    desired, running = number(service, "desiredCount"), number(service, "runningCount")
    deployments = service.get("deployments") or []
    if service.get("status") != "ACTIVE":
        return ""
    if len(deployments) > 1 or any(d.get("rolloutState", "COMPLETED") != "COMPLETED" for d in deployments):
        return "its deployment is not completed"
    return "" if running >= desired else f"{running} of {desired} running"


# --- Replacing instances --------------------------------------------------------- may not build API calls by hand

INSTANCE_POLL_S = 5.0  # also how long a tag must stand before its run acts: two that begin at once see each other's
_CHANGED = "If the group's template changed in the meantime, run it again."
_MEANWHILE = ("MISSING", "INACTIVE", "ResourceContention", "ScalingActivityInProgress", "InstanceRefreshInProgress")


class Replacement(Record):
    """What one run of `replace_instances` remembers; all that decides is read from AWS before every step."""

    options: ReplaceInstancesOptions
    me: str
    moved_s: float  # when an instance was last replaced
    managed: bool  # ECS drains what the group terminates
    protected_too: bool  # what is protected from scale-in is replaced as well
    size: int = 1
    fleet: Fleet = Fleet({})
    expected: set[int] = field(default_factory=set)  # the capacities that a look may show, if nobody else changes it
    claim: Claim = Claim(0)  # the tag as this run has written it, or last seen another's
    claim_s: float = 0.0  # since when
    known: frozenset[str] = frozenset()  # the instances at the start
    joined: set[str] = field(default_factory=set)  # those that came since, and were told to be in service
    empty: frozenset[str] = frozenset()  # what drained at the last look, and had no task
    drained: set[str] = field(default_factory=set)
    terminated: set[str] = field(default_factory=set)
    replaced: list[str] = field(default_factory=list)
    unsteady: Sequence[str] | None = None  # the services that were not steady at the last look
    refresh: str = ""
    started: bool = False

    @property
    def by_refresh(self) -> bool:
        """True if the group's own engine does the work: ECS drains what it terminates, or it is at work already."""
        return bool(self.refresh) or (self.managed and self.fleet.claim.by is None)


def replace_instances(ctx: Context, options: ReplaceInstancesOptions) -> int:
    """Replace the out-of-date instances of a group; the exit code, 0 only if a last look shows every one current."""
    ctx.report.learn(cluster=options.cluster, group=options.group)
    run = plan_replacement(ctx, options)
    if run.fleet.left or run.fleet.claim.by is not None:
        require_replaceable(ctx, run)
        if options.output.dry_run:
            ctx.report.line("Dry run: nothing was changed.")
            ctx.report.learn(verdict="dry run")
            return Exit.OK
        ctx.report.learn(verdict="failed", replaced=run.replaced)
        carry_on(ctx, run)
    if run.replaced:
        ctx.report.line(f"Instances replaced in {options.group}: {len(run.replaced)}")
    require_current(ctx, run)
    if not run.replaced:
        ctx.report.line(f"Nothing to replace in {options.group}.")
    ctx.report.learn(verdict="completed" if run.replaced else "nothing to do")
    return Exit.OK


def plan_replacement(ctx: Context, options: ReplaceInstancesOptions) -> Replacement:
    """What there is to do; prints each out-of-date instance with the reason, and those that are left alone."""
    group = require_group(ctx, options.group)
    provider = provider_of(ctx, options.cluster, str(group.get("AutoScalingGroupARN")))
    protected_too = options.include_protected or provider.get("managedTerminationProtection") == "ENABLED"
    managed = provider.get("managedDraining") == "ENABLED"
    run = Replacement(options, new_name(), ctx.clock.now(), managed, protected_too)
    run.fleet = heeded(ctx, run, look_at_fleet(ctx, run))
    outdated = [instance for instance in run.fleet.instances if instance.outdated]
    for each in outdated:
        why = f" ({each.outdated}), but left alone: {each.kept}" if each.kept else f": {each.outdated}"
        ctx.report.line(f"{each.id} is out of date{why}")
    ctx.report.learn(outdated=[{"instance": each.id, "reason": each.outdated} for each in outdated])
    claim = run.fleet.claim
    if claim.by is not None:
        who = f"{theirs(claim.by)} replaces its instances" if claim.by else "an earlier run left something to do"
        ctx.report.line(f"{options.group} returns to a desired capacity of {claim.capacity}: {who}")
        run.claim_s -= GONE_S if options.take_over else 0.0
    run.known = frozenset(instance.id for instance in run.fleet.instances)
    count, percent = options.batch
    run.size = max(1, len(run.known) * percent // 100) if percent else count
    if run.fleet.left:
        present_refresh(ctx, run)
    return run


def new_name() -> str:
    """A name for this run that no other has, and that says where it runs."""
    import socket

    return re.sub(r"[^\w.-]", "-", f"{socket.gethostname()[:60]}-{os.urandom(4).hex()}", flags=re.ASCII)


def require_replaceable(ctx: Context, run: Replacement) -> None:
    """Raises `DeployError` for what would leave an instance half replaced, or where no current one would come."""
    fleet, name, cluster = run.fleet, run.options.group, run.options.cluster
    if not any(instance.arn for instance in fleet.instances):
        hint = "Name the cluster that the group's instances join."
        raise DeployError(f"No instance of {name} is registered in the cluster {cluster}", hint=hint)
    if absent := [instance.id for instance in fleet.going if not instance.arn]:
        hint = "Without it nobody can tell what runs there. Look at its ECS agent, or terminate the instance."
        raise DeployError(f"Not registered in the cluster {cluster}: {', '.join(absent)}", hint=hint)
    if lost := [instance.id for instance in fleet.going if not instance.connected]:
        hint = "Its tasks cannot be moved. Restart its ECS agent, or terminate the instance."
        raise DeployError(f"Cannot be drained, the agent is not connected: {', '.join(lost)}", hint=hint)
    if "Launch" in [process.get("ProcessName") for process in fleet.group.get("SuspendedProcesses") or []]:
        hint = scaling_command(ctx, run, "resume-processes", "--scaling-processes Launch")
        raise DeployError(f"{name} launches no instances, its process Launch is suspended", hint=hint)
    if run.by_refresh:
        return
    if fleet.group.get("DesiredCapacityType") not in (None, "units"):
        raise DeployError(f"{name} counts its capacity in {fleet.group['DesiredCapacityType']}, which is not supported")
    if fleet.going and not fleet.batch(1):
        room = f"{fleet.claim.capacity} are desired, {fleet.group['MaxSize']} allowed"
        hint = "New instances come before the old ones go: raise the group's maximum by one."
        raise DeployError(f"{name} has no capacity for one more instance: {room}", hint=hint)
    if old := outdated_warm(ctx, run):
        message = f"The warm pool of {name} would replace old instances by old ones: {', '.join(old)}"
        hint = scaling_command(ctx, run, "delete-warm-pool", "--force-delete")
        raise DeployError(message, hint=f"Delete it, and make it again afterwards:\n{hint}")


def require_current(ctx: Context, run: Replacement) -> None:
    """Raises `DeployError` unless the last look showed every instance current; it names those that are not."""
    name, kept, old = run.options.group, [i for i in run.fleet.instances if i.outdated], outdated_warm(ctx, run)
    if kept or old:
        ctx.report.learn(replaced=run.replaced)
    if kept:
        why = "; ".join(f"{instance.id}: {instance.kept}" for instance in kept)
        hints = ["Run it again after this, or with --include-protected for those that are protected:"]
        for instance in kept:
            allow = "set-instance-protection --no-protected-from-scale-in" if instance.in_service else "exit-standby"
            hints.append(scaling_command(ctx, run, allow, f"--instance-ids {instance.id}"))
        raise DeployError(f"Out of date and left alone in {name}: {why}", hint="\n".join(hints))
    if old:
        hint = "They were launched from what the group had before. An instance refresh replaces them, too."
        raise DeployError(f"Out of date in the warm pool of {name}: {', '.join(old)}", hint=hint)


def scaling_command(ctx: Context, run: Replacement, verb: str, more: str = "") -> str:
    """A command about the group, ready to be pasted."""
    words = ["  aws autoscaling", verb, "--auto-scaling-group-name", shell_word(run.options.group), more, ctx.aws.place]
    return " ".join(word for word in words if word)


def carry_on(ctx: Context, run: Replacement) -> None:
    """Take one safe step after the other until nothing is left; raises `DeployError` 22 where one takes too long."""
    name, timeout_s = run.options.group, run.options.timeout_s
    patience = Patience(ctx.clock.now(), endless=not timeout_s)
    while True:
        try:
            waits_for = take_step(ctx, run)
            patience.answered(ctx.clock.now())
        except AwsError as error:
            error.transient |= error.code in _MEANWHILE or "No managed instance" in error.message
            patience.excuse(error, ctx.clock.now(), ctx.report)
            waits_for = [error.message]
        if waits_for is None:
            return
        now_s = ctx.clock.now()
        left_s = run.moved_s + (timeout_s or FOREVER_S) - now_s
        reached = f"{name}: {len(run.replaced)} of {len(run.replaced) + len(run.fleet.left)} replaced"
        if waits_for:
            rows = {"": reached, **{row.split()[0]: row for row in waits_for}}
            ctx.report.progress(rows, now_s - patience.begun_s)
        if left_s <= 0:
            other = run.fleet.claim.by
            hint = f"If {theirs(other)} is gone: --take-over" if other and other != run.me else "Run it again to go on."
            waited = f"within {timeout_s:g} seconds: {'; '.join(waits_for) or reached}"
            raise DeployError(f"Not replaced {waited}", Exit.TIMED_OUT, hint)
        ctx.sleep(min(max(INSTANCE_POLL_S, patience.backoff_s), left_s))


def take_step(ctx: Context, run: Replacement) -> Sequence[str] | None:
    """Look, and do the one next thing that is safe; what is waited for, or None if nothing is left to be done.

    What is safe depends on what AWS shows alone, so any run can go on where another has ended.
    """
    before, run.fleet = run.fleet, heeded(ctx, run, look_at_fleet(ctx, run))
    tell(ctx, run, before)
    fleet, claim = run.fleet, run.fleet.claim
    if run.by_refresh:
        return follow_refresh(ctx, run)
    if claim.by and claim.by != run.me:
        lacking = fleet.missing and f" waits for its replacement: {fleet.missing}"
        rows = [each.waits_for or (lacking and each.id + lacking) for each in fleet.left]
        return [f"{theirs(claim.by)} replaces the instances of this group", *filter(None, rows)]
    if not fleet.left and fleet.desired <= fleet.claim.capacity:
        if claim.by is None:
            return None
        write_claim(ctx, run, replace(claim, by=None))
        return ()
    batch = fleet.batch(run.size)
    return obstacles(ctx, run, batch) or replace_batch(ctx, run, batch)


def obstacles(ctx: Context, run: Replacement, batch: Sequence[Instance]) -> Sequence[str]:
    """What is waited for before this batch can begin, or go on; raises `DeployError` where it would never end."""
    fleet = run.fleet
    if fleet.missing:
        return [instance.waits_for for instance in batch if instance.draining] or [fleet.missing]
    if not batch:
        waiting = [instance.waits_for for instance in fleet.left if instance.waits_for]
        return waiting or ["the group has no capacity for one more"]
    if batch[0].draining:
        return ()
    if new := [instance for instance in fleet.left if instance.id not in run.known]:
        raise DeployError(f"The new instance {new[0].id} is out of date as well: {new[0].outdated}", hint=_CHANGED)
    return look_at_steadiness(ctx, run)


def replace_batch(ctx: Context, run: Replacement, batch: Sequence[Instance]) -> Sequence[str]:
    """Claim the group, let it grow, drain the batch, or terminate what is empty of it; what is waited for.

    What is about to be sent is remembered first, since its answer may be lost.
    """
    fleet, group = run.fleet, run.options.group
    needed = fleet.claim.capacity + sum(instance.weight for instance in batch)
    if fleet.claim.by != run.me:
        claim_group(ctx, run)
    elif fleet.desired < needed:
        run.expected = {fleet.desired, needed}
        run.fleet = replace(fleet, desired=needed)
        ctx.aws.call("SetDesiredCapacity", {"AutoScalingGroupName": group, "DesiredCapacity": needed})
        ctx.report.line(f"Desired capacity of {group}: {fleet.desired} -> {needed}")
    elif not batch[0].draining:
        run.drained |= {instance.id for instance in batch}
        run.unsteady = None
        ctx.aws.set_container_instances(run.options.cluster, [instance.arn for instance in batch], "DRAINING")
    else:
        proved = [instance for instance in batch if instance.proved]
        for instance in proved:
            lowered = run.fleet.desired - instance.weight
            run.expected.add(lowered)
            params = {"InstanceId": instance.id, "ShouldDecrementDesiredCapacity": True}
            ctx.aws.call("TerminateInstanceInAutoScalingGroup", params)
            run.fleet = replace(run.fleet, desired=lowered)
            run.terminated.add(instance.id)
        return [] if proved else [instance.waits_for for instance in batch]
    return []


# The tag of the group


def claim_group(ctx: Context, run: Replacement) -> None:
    """Write our tag, unless somebody else has done so since the last look."""
    fleet, name = run.fleet, run.options.group
    if claim_on(require_group(ctx, name)) == claim_on(fleet.group):
        run.expected = {fleet.desired}
        run.drained = {i.id for i in fleet.going if i.draining and fleet.claim.by is not None}
        ctx.begun.enter(name, lambda cause: left_over(ctx, run), lambda cause: put_back(ctx, run))
        write_claim(ctx, run, Claim(fleet.claim.capacity, run.me))


def write_claim(ctx: Context, run: Replacement, claim: Claim) -> None:
    """Set the group's tag, or remove it, since nothing is left to be remembered."""
    tag = {"ResourceId": run.options.group, "ResourceType": "auto-scaling-group", "Key": REPLACING_TAG}
    run.claim, run.claim_s = claim, ctx.clock.now()
    if claim.by is None:
        ctx.aws.call("DeleteTags", {"Tags": [tag]})
        ctx.begun.settle(run.options.group)
    else:
        value = f"capacity={claim.capacity} by={claim.by} beats={claim.beats}"
        ctx.aws.call("CreateOrUpdateTags", {"Tags": [{**tag, "Value": value, "PropagateAtLaunch": False}]})


def heeded(ctx: Context, run: Replacement, fleet: Fleet) -> Fleet:
    """The fleet with the claim that counts: ours, renewed; one that its run has left or that is gone is nobody's."""
    now_s, found, ours = ctx.clock.now(), fleet.claim, run.claim.by == run.me
    if not found.by:
        return replace(fleet, claim=replace(run.claim, by="")) if ours else fleet
    if found.by == run.me:
        return replace(fleet, claim=renewed_claim(ctx, run, run.claim if ours else found, fleet.desired))
    if ours:
        ctx.report.note(f"{theirs(found.by)} has taken over.")
        ctx.begun.settle(run.options.group)
    if found != run.claim:
        run.claim, run.claim_s = found, now_s
    return replace(fleet, claim=replace(found, by="")) if now_s - run.claim_s >= GONE_S else fleet


def renewed_claim(ctx: Context, run: Replacement, claim: Claim, desired: int) -> Claim:
    """Our claim, written again where it is old, or where somebody else has changed the desired capacity."""
    capacity = claim.capacity
    if desired not in run.expected:
        more = desired - run.fleet.desired  # what is added stays, what is taken away is obeyed
        capacity = capacity + more if more > 0 else min(capacity, desired)
        run.expected = {desired}
        ctx.report.note(f"Somebody else changed the desired capacity to {desired}; it is to be {capacity} in the end.")
    if capacity != claim.capacity or ctx.clock.now() - run.claim_s >= BEAT_S:
        claim = Claim(capacity, run.me, claim.beats + 1)
        write_claim(ctx, run, claim)
    return claim


def put_back(ctx: Context, run: Replacement) -> bool:
    """Set ACTIVE what drains and is not empty; true if the capacity is as before, else the tag tells the next run."""
    try:
        run.fleet = fleet = heeded(ctx, run, look_at_fleet(ctx, run))
        if fleet.claim.by != run.me:
            return True
        if back := unfinished(run):
            ctx.aws.set_container_instances(run.options.cluster, [instance.arn for instance in back], "ACTIVE")
            ctx.report.line(f"ACTIVE again: {', '.join(instance.id for instance in back)}")
            run.drained = set()
        capacity = fleet.claim.capacity
        raised = fleet.desired > capacity  # and is not lowered: the group would choose itself what to terminate
        write_claim(ctx, run, Claim(capacity, "" if raised else None))
        return not raised
    except AwsError as error:
        ctx.report.note(f"Not put back: {error.message}")
        return False


def unfinished(run: Replacement) -> list[Instance]:
    """The instances that this run has set DRAINING, or taken over so, and that cannot be spared: they are not empty."""
    spare = run.fleet.desired > run.fleet.claim.capacity
    ours = [i for i in run.fleet.instances if i.id in run.drained and i.in_service]
    return [i for i in ours if i.tasks or not (i.draining and spare)]


def left_over(ctx: Context, run: Replacement) -> str:
    """How the group stands as last seen, or as it was last told to be; and the commands that mend it."""
    desired, capacity = run.fleet.desired, run.fleet.claim.capacity
    options, said = run.options, list[str]()
    cluster, group = shell_word(options.cluster), shell_word(options.group)
    if back := unfinished(run):
        active = f"aws ecs update-container-instances-state --cluster {cluster} --status ACTIVE --container-instances"
        said.append(f"DRAINING, not empty: {', '.join(i.id for i in back)}. To have them take tasks again:")
        said.append(f"  {active} {' '.join(i.arn for i in back)} {ctx.aws.place}")
    if desired > capacity:
        said.append(
            f"{options.group} is left with a desired capacity of {desired}, {capacity} before. Do not lower"
            " it by hand: the group would choose itself which instance to terminate, with the tasks on it."
        )
    again = f"  ecs-deploy replace-instances --cluster {cluster} --asg {group} {ctx.aws.place}"
    return "\n".join([*said, "To go on, which takes back what is left:", again])


# An instance refresh


def present_refresh(ctx: Context, run: Replacement) -> JSON:
    """The group's instance refresh that is under way, from now on the one to follow; else the one followed, or {}."""
    pages: list[JSON] = ctx.aws.pages("DescribeInstanceRefreshes", {"AutoScalingGroupName": run.options.group})
    found = {str(refresh["InstanceRefreshId"]): refresh for refresh in pages}
    present = next((name for name, refresh in found.items() if refresh["Status"] in _REFRESHING), run.refresh)
    if present != run.refresh:
        run.refresh, run.started = present, False
        enter_refresh(ctx, run)
        ctx.report.line(f"Following instance refresh {present} of {run.options.group}")
    return found.get(present, {})


def follow_refresh(ctx: Context, run: Replacement) -> Sequence[str] | None:
    """Start an instance refresh if none is under way, and wait for its end; raises `DeployError` for a bad one."""
    refresh, name, left = present_refresh(ctx, run), run.options.group, run.fleet.left
    leaving = [instance.waits_for for instance in left if not instance.in_service]
    status = refresh.get("Status")
    if status in _REFRESHING or (run.refresh and not status):
        return [refresh_row(run, refresh), *leaving]
    ctx.begun.settle(name)
    if status not in (None, "Successful"):
        reason = theirs(refresh.get("StatusReason") or "no reason given")
        raise DeployError(f"Instance refresh {run.refresh} of {name} is {status}: {reason}")
    if len(leaving) == len(left):
        return leaving or None
    if run.started:
        message = f"Instance refresh {run.refresh} has ended, but these are out of date"
        raise DeployError(f"{message}: {', '.join(instance.id for instance in left)}", hint=_CHANGED)
    run.refresh = ""
    if not run.by_refresh:
        return []
    start_refresh(ctx, run)
    return [refresh_row(run, {}), *leaving]


def refresh_row(run: Replacement, refresh: JSON) -> str:
    """How far the refresh is."""
    reason = f": {theirs(refresh['StatusReason'])}" if refresh.get("StatusReason") else ""
    state = f"{refresh.get('Status') or 'about to begin'}, {refresh.get('PercentageComplete') or 0} %{reason}"
    return f"refresh {run.refresh} is {state}"


def start_refresh(ctx: Context, run: Replacement) -> None:
    """Have the group replace its instances by itself: a batch of new ones first, and only for those out of date."""
    name, desired = run.options.group, run.fleet.desired
    preferences = {
        "MinHealthyPercentage": 100,
        "MaxHealthyPercentage": min(200, 100 + -(-100 * run.size // max(1, desired))),
        "SkipMatching": True,
        "ScaleInProtectedInstances": "Refresh" if run.protected_too else "Ignore",
        "StandbyInstances": "Ignore",
    }
    params = {"AutoScalingGroupName": name, "Strategy": "Rolling", "Preferences": preferences}
    enter_refresh(ctx, run)
    with ctx.begun.sending(name):
        run.refresh = str(ctx.aws.call("StartInstanceRefresh", params)["InstanceRefreshId"])
    run.started = True
    ctx.report.line(f"Started instance refresh {run.refresh} of {name}")


def enter_refresh(ctx: Context, run: Replacement) -> None:
    """Enter the instance refresh that is followed or about to be started into the ledger: it goes on without us."""
    name, cancel = run.options.group, scaling_command(ctx, run, "cancel-instance-refresh")
    goes_on = f"of {name} goes on. To cancel it:\n{cancel}"
    says = lambda cause: f"Instance refresh {run.refresh or '(if it was started)'} {goes_on}"  # noqa: E731
    ctx.begun.enter(name, says, lambda cause: cancelled(ctx, run, cause))


def cancelled(ctx: Context, run: Replacement, cause: BaseException) -> bool:
    """After a time-out: cancel the instance refresh that this run has started; true if that was taken."""
    if not run.started or getattr(cause, "exit_code", None) != Exit.TIMED_OUT:
        return False
    try:
        ctx.aws.call("CancelInstanceRefresh", {"AutoScalingGroupName": run.options.group})
    except AwsError as error:
        ctx.report.note(error.message)
        return False
    ctx.report.note(f"Instance refresh {run.refresh} is being cancelled; what it has replaced stays.")
    return True


# Looking


def look_at_fleet(ctx: Context, run: Replacement) -> Fleet:
    """The group and its instances as they are now."""
    group, cluster = require_group(ctx, run.options.group), run.options.cluster
    launched = launches(ctx, group)
    with explained(ctx, cluster):
        names = lambda: ctx.aws.pages("ListContainerInstances", {"cluster": cluster})  # noqa: E731
        described = complete(ctx, "DescribeContainerInstances", names, {"cluster": cluster})
    containers = {str(container.get("ec2InstanceId")): container for container in described}
    instances = [
        look_at_instance(ctx, run, member, containers.get(member["InstanceId"], {}), outdated_reason(member, launched))
        for member in group.get("Instances") or []
    ]
    run.empty = frozenset(instance.id for instance in instances if instance.draining and not instance.tasks)
    return Fleet(group, claim_on(group), int(group["DesiredCapacity"]), instances)


def look_at_instance(ctx: Context, run: Replacement, member: JSON, container: JSON, outdated: str) -> Instance:
    """An instance as its group and the cluster ({}: it is not there) describe it, and what runs there if it drains."""
    name, state = str(member["InstanceId"]), str(member.get("LifecycleState"))
    if name in run.terminated and state == "InService":
        state = "Terminating"  # not listed so yet; a second call would lower the capacity twice
    protected = member.get("ProtectedFromScaleIn") and not run.protected_too
    kept = "it is in Standby" if "Standby" in state else "it is protected from scale-in" if protected else ""
    instance = Instance(
        id=name,
        state=state,
        in_service=state == "InService",
        weight=int(member.get("WeightedCapacity") or 1),
        arn=str(container.get("containerInstanceArn") or ""),
        connected=bool(container.get("agentConnected")),
        ready=bool(container.get("agentConnected")) and container.get("status") == "ACTIVE",
        draining=container.get("status") == "DRAINING",
        load=number(container, "runningTasksCount") + number(container, "pendingTasksCount"),
        outdated=outdated,
        kept=kept,
    )
    if not instance.draining:
        return instance
    tasks = tasks_left(ctx, run.options.cluster, instance)
    return replace(instance, tasks=tasks, proved=not tasks and name in run.empty)


def complete(ctx: Context, operation: str, names: Callable[[], Sequence[str]], params: JSON) -> list[JSON]:
    """What these names stand for, all of it: asked again if some are missing, and an `AwsError` if they stay so."""
    for _ in range(3):
        wanted = names()
        found = ctx.aws.described(operation, wanted, params)
        if len(found) >= len(wanted):
            return found
        ctx.sleep(1.0)
    raise AwsError(f"{operation} described {len(found)} of {len(wanted)}", code="MISSING")


def tell(ctx: Context, run: Replacement, before: Fleet) -> None:
    """Print what has changed since the look before: what serves now, what drains, and what is gone."""
    fleet, drained = run.fleet, {instance.id for instance in before.instances if instance.draining}
    now = {instance.id for instance in fleet.instances}
    gone = [i for i in before.instances if i.id not in now and (i.outdated or i.id in run.terminated)]
    changes = {
        "In service": [i.id for i in fleet.instances if i.serves and i.id not in run.known | run.joined],
        "DRAINING": [i.id for i in fleet.instances if i.draining and i.id not in drained],
        "Terminated": [instance.id for instance in gone],
    }
    for what, ids in changes.items():
        if ids:
            ctx.report.line(f"{what}: {', '.join(ids)}")
    run.joined.update(changes["In service"])
    run.moved_s = ctx.clock.now() if gone else run.moved_s
    run.replaced += [instance.id for instance in gone if instance.outdated]


def require_group(ctx: Context, name: str) -> JSON:
    """The Auto Scaling group; raises `AwsError` with the names that exist otherwise."""
    listed: list[JSON] = ctx.aws.pages("DescribeAutoScalingGroups", {"AutoScalingGroupNames": [name]})
    if listed:
        return listed[0]
    everything = lambda: [str(g["AutoScalingGroupName"]) for g in ctx.aws.pages("DescribeAutoScalingGroups", {})]  # noqa: E731
    hint = names_hint(everything, "Auto Scaling groups", name)
    raise AwsError(f"The Auto Scaling group {name} was not found in {ctx.aws.region}", code="MISSING", hint=hint)


def provider_of(ctx: Context, cluster: str, group_arn: str) -> JSON:
    """What the cluster's capacity provider says of that group; {} if it has none."""
    with explained(ctx, cluster):
        described = ctx.aws.described("DescribeClusters", [cluster], {})
        if not described:
            raise AwsError("", code="ClusterNotFoundException")
    names = described[0].get("capacityProviders") or []
    providers = complete(ctx, "DescribeCapacityProviders", lambda: names, {})
    groups: list[JSON] = [provider.get("autoScalingGroupProvider") or {} for provider in providers]
    return next((group for group in groups if group.get("autoScalingGroupArn") == group_arn), {})


def launches(ctx: Context, group: JSON) -> list[tuple[str, tuple[str, str]]]:
    """The `origin` of what the group launches now, for each instance type ("" for any)."""
    policy: JSON = (group.get("MixedInstancesPolicy") or {}).get("LaunchTemplate") or {}
    usual = policy.get("LaunchTemplateSpecification") or group.get("LaunchTemplate")
    overrides = policy.get("Overrides") or [{}]
    templates = [(each.get("InstanceType"), each.get("LaunchTemplateSpecification") or usual) for each in overrides]
    versions = template_versions(ctx, [template for _, template in templates if template])
    return [(kind or "", origin({**group, "LaunchTemplate": template}, versions)) for kind, template in templates]


def template_versions(ctx: Context, templates: Sequence[JSON]) -> dict[tuple[str, str], str]:
    """The numbers that $Latest and $Default stand for in these launch templates."""
    ids = {str(t["LaunchTemplateId"]) for t in templates if str(t.get("Version", "$"))[0] == "$"}
    found = ctx.aws.pages("DescribeLaunchTemplates", {"LaunchTemplateIds": sorted(ids)}) if ids else []
    names = ("$Latest", "$Default")
    return {(t["LaunchTemplateId"], name): str(t[f"{name[1:]}VersionNumber"]) for t in found for name in names}


def outdated_warm(ctx: Context, run: Replacement) -> list[str]:
    """The ids of the warm pool's instances that are out of date."""
    group = run.fleet.group
    if not group.get("WarmPoolConfiguration"):
        return []
    launched = launches(ctx, group)
    warm = ctx.aws.pages("DescribeWarmPool", {"AutoScalingGroupName": run.options.group})
    return [str(member["InstanceId"]) for member in warm if outdated_reason(member, launched)]


def tasks_left(ctx: Context, cluster: str, instance: Instance) -> Counter[str]:
    """How many tasks of which group keep an instance: all but daemons', and those that are counted, not described."""
    params, listed = {"cluster": cluster, "containerInstance": instance.arn}, list[str]()
    for status in ("RUNNING", "STOPPED"):
        listed += ctx.aws.pages("ListTasks", {**params, "desiredStatus": status})
    tasks = ctx.aws.describe_tasks(cluster, listed)
    groups = [str(task.get("group")) for task in tasks if task.get("lastStatus") != "STOPPED"]
    names = sorted({group.removeprefix("service:") for group in groups if group.startswith("service:")})
    services = ctx.aws.describe_services(cluster, names)
    daemons = [f"service:{n}" for n, service in services.items() if service.get("schedulingStrategy") == "DAEMON"]
    unseen = max(len(listed) - len(tasks), instance.load - len(groups))
    found = Counter(group for group in groups if group not in daemons)
    return found + Counter({"a task that was not described": unseen})


def look_at_steadiness(ctx: Context, run: Replacement) -> list[str]:
    """The cluster's services that have not been seen steady since the last batch began, with the reason."""
    cluster = run.options.cluster
    names = ctx.aws.service_names(cluster) if run.unsteady is None else run.unsteady
    services = ctx.aws.describe_services(cluster, names)
    reasons = {n: unsteady_reason(services[n]) if n in services else "it was not described" for n in names}
    unsteady = {name: reason for name, reason in reasons.items() if reason}
    run.unsteady = list(unsteady) if len(services) == len(names) else None  # one that has gone is not waited for
    return [f"{name} is not steady: {reason}" for name, reason in unsteady.items()]


# --- Command line ---------------------------------------------------------------------------- may not act

# Values: each makes of a text what an option means, or raises `BadValue`


def _reads(pattern: str, otherwise: str, make: Callable[[re.Match[str]], Any]) -> Callable[[str], Any]:
    """Reads a text of that pattern; what is said `otherwise` names the text."""

    def read(text: str) -> Any:
        match = re.fullmatch(pattern, text, re.ASCII)
        if match is None:
            raise BadValue(otherwise.format(text))
        return make(match)

    return read


def _number(low: int) -> Callable[[str], int]:
    """Reads a whole number from `low` on, which is 0 or 1."""
    digits = r"0*([1-9]\d{0,8})" if low else r"0*(\d{1,9})"
    return _reads(digits, f"{{!r}} is not a whole number of {low} or more", lambda match: int(match[1]))


_desired_count = _reads(  # a negative number means that the count stays
    r"\s*([+-]?\d{1,18})\s*", "invalid int value: {!r}", lambda match: int(match[1]) if int(match[1]) >= 0 else None
)
_json_output = _reads(
    r"text|(json)", "invalid choice: {!r} (choose from 'text', 'json')", lambda match: match[1] is not None
)
_until_draining = _reads(
    r"primary-rolled|(draining-started)",
    "{!r} is neither primary-rolled nor draining-started",
    lambda match: match[1] is not None,
)
_launch_type = _reads(
    r"(?i)EC2|FARGATE|EXTERNAL|MANAGED_INSTANCES",
    "{!r} is none of EC2, FARGATE, EXTERNAL, MANAGED_INSTANCES",
    lambda match: match[0].upper(),
)
_batch = _reads(  # a number of instances and 0, or 0 and a percentage
    r"0*(?:([1-9]\d{0,8})|([1-9]\d?|100)%)",
    "{!r} is neither a whole number of 1 or more nor a percentage",
    lambda match: (int(match[1] or 0), int(match[2] or 0)),
)
_revision = _reads(
    r"(?:(?:arn:.*/)?[\w-]+:)?0*[1-9]\d{0,8}",
    "{!r} is neither a revision's number, family:revision nor an ARN",
    lambda match: match[0],
)
_schedule_name = _reads(
    r"\s*(?:(rule|schedule):)?(?:default/|([\w.-]+(?:/[\w.-]+)*)/)?([\w.-]+)\s*",
    "{!r} is not NAME, GROUP/NAME, BUS/NAME, rule:… or schedule:…",
    lambda match: ScheduleName(match[1] or "", match[2] or "", match[3]),
)


def _tag(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", text):
        raise UsageError(f"Unable to parse image tag: {text}", Exit.BAD_IMAGE)
    return text


def _expected(text: str) -> str:
    """An image, family:revision, or a definition's ARN."""
    if "task-definition/" not in text:
        ImageReference.parse(text.strip())
    return text.strip()


def _read_file(path: str) -> str:
    try:
        with open(os.path.expanduser(path), encoding="utf-8-sig", newline="") as file:
            return file.read()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise BadValue(f"{path} cannot be read: {reason}") from error


def _lines(text: str) -> list[str]:
    """The lines of what may hold any value: only a newline ends one, not what else Unicode takes for an end."""
    return re.split(r"\r?\n", text)


def _definition_file(path: str) -> JSON:
    """`describe-task-definition`'s output or a `register-task-definition` input."""
    document = _parsed_json(_read_file(path), path)
    definition = document.get("taskDefinition", document) if isinstance(document, dict) else None
    containers = definition.get("containerDefinitions") if isinstance(definition, dict) else None
    named = isinstance(containers, list) and all(isinstance(c, dict) and c.get("name") for c in containers)
    if not (isinstance(definition, dict) and isinstance(definition.get("family"), str) and containers and named):
        raise BadValue(f"{path} is not a task definition (family, containerDefinitions with names)")
    _require_kinds(path, document, tags=list)
    for container in containers:
        _require_kinds(path, container, environment=list, secrets=list, healthCheck=dict, logConfiguration=dict)
        _require_kinds(path, container.get("logConfiguration") or {}, options=dict, secretOptions=list)
    found: JSON = document
    return found


def _require_kinds(where: str, place: JSON, **kinds: type) -> None:
    """Raises `BadValue` if one of these members is not an object, or not a list of objects."""
    for name, kind in kinds.items():
        value = kind() if place.get(name) is None else place[name]
        items = value if isinstance(value, list) else []
        if not isinstance(value, kind) or not all(isinstance(item, dict) for item in items):
            what = "a list of objects" if kind is list else "an object"
            raise BadValue(f"{where}: {name} is not {what}")


def _sets(path: str, read: Callable[[str], Any]) -> Callable[[str], MemberEdit | None]:
    """Reads the value of one member of a request."""

    def edit(text: str) -> MemberEdit | None:
        value = read(text)
        return None if value is None else MemberEdit(tuple(path.split(".")), value)

    return edit


def _for_task(
    member: str, what: str, expected: str, unfit: str, fits: Callable[[Any], object]
) -> Callable[[str], MemberEdit | None]:
    """Reads a member of RunTask's request as the AWS CLI takes it: JSON, shorthand, or a file:// with either."""

    def read(text: str) -> Any:
        if text.startswith("file://"):
            text = _read_file(text.removeprefix("file://")).strip()
        try:
            value = typed(input_shape("RunTask").members[member], text, what, strict=False)
            if not fits(value):
                raise BadValue(unfit)
        except BadValue as error:
            raise BadValue(f"{error}; expected {expected}") from error
        return value or None

    return _sets(member, read)


_network = _for_task(
    "networkConfiguration",
    "the network configuration",
    "awsvpcConfiguration={subnets=[subnet-1],securityGroups=[sg-1],assignPublicIp=ENABLED}",
    "it names no subnets",
    lambda value: value.get("awsvpcConfiguration", {}).get("subnets"),
)
_strategy = _for_task(
    "capacityProviderStrategy",
    "the capacity provider strategy",
    "capacityProvider=NAME,weight=1,base=0 (or a JSON list of these); weight and base are whole numbers",
    "it names no capacity provider",
    lambda value: value and all(item.get("capacityProvider") for item in value),
)
_task_overrides = _for_task(
    "overrides",
    "the value",
    "a JSON object",
    "containerOverrides is not a list of objects with a name",
    lambda value: all(override.get("name") for override in value.get("containerOverrides", [])),
)


# Values that add to a list: pairs of what an item is about, and the item


def _parts(pattern: str, text: str) -> Sequence[str]:
    """A container's name and what the pattern says; it may be secret, so the error does not show it."""
    match = re.fullmatch(rf"\s*([A-Za-z0-9_-]+)\s*{pattern}", text, re.DOTALL)
    if match is None:
        raise BadValue
    return match.groups()


def _container_names(text: str) -> Iterator[tuple[str, str]]:
    yield from ((name.strip(), name.strip()) for name in text.split(",") if name.strip())


def _container_image(text: str) -> Iterator[tuple[str, tuple[str, str]]]:
    name, image = _parts("[=|](.*)", text)
    yield f"The image of container {name}", (name, str(ImageReference.parse(image.strip())))


def _container_command(text: str) -> Iterator[tuple[str, MemberEdit]]:
    import shlex

    name, words = _parts("=(.*)", text)
    try:
        steps = ("overrides", "containerOverrides", ("name", name), "command")
        yield f"--command for {name}", MemberEdit(steps, shlex.split(words))
    except ValueError as error:
        raise UsageError(f"--command cannot be split as a shell would: {error}") from error


def _variable(text: str, *, secret: bool = False) -> Iterator[tuple[str, MemberEdit]]:
    container, name, value = _parts(r"=\s*([^=]*[^=\s])\s*=(.*)", text)
    yield f"Variable {name} of container {container}", variable_edit(container, name, value, secret=secret)


def _member(operation: str) -> Callable[[str], Iterator[tuple[str, MemberEdit]]]:
    """Reads PATH=VALUE, a member of what the operation takes."""

    def read(text: str) -> Iterator[tuple[str, MemberEdit]]:
        match = re.fullmatch(r"((?:[^=\[]|\[[^\]]*\])+)=(.*)", text, re.DOTALL)
        if match is None:
            raise BadValue
        yield match[1], member_edit(input_shape(operation), match[1], match[2])

    return read


def _no_more(text: str) -> Iterator[tuple[str, MemberEdit]]:
    yield text, member_edit(input_shape("RegisterTaskDefinition"), text, None)


def _task_role(text: str) -> Iterator[tuple[str, MemberEdit]]:
    yield "taskRoleArn", MemberEdit(("taskRoleArn",), None if text == "None" else text)


def _log_option(text: str, *, secret: bool = False) -> Iterator[tuple[str, MemberEdit]]:
    container, driver, name, value = _parts("=([^=]+)=([^=]*)=(.*)", text)
    logs = ("containerDefinitions", ("name", container), "logConfiguration")
    if not name:
        yield f"Log driver {driver} of container {container}", LogEdit(logs, None, driver)
        return
    steps: tuple[PathStep, ...] = ("options", name)
    if secret:
        steps = ("secretOptions", ("name", name), "valueFrom") if value else ("secretOptions", ("name", name))
    yield f"Log option {name} of container {container}", LogEdit((*logs, *steps), value or None, driver)


def _env_file(text: str) -> Iterator[tuple[str, MemberEdit]]:
    """Blank lines, # comments, and plain KEY=VALUE lines, whose value is taken as it stands."""
    container, path = _parts(r"=\s*(.*?)\s*", text)
    for number, line in enumerate(_lines(_read_file(path)), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = re.fullmatch(r"\s*([A-Za-z_][A-Za-z0-9_.-]*)=(.*)", line)
        if match is None:
            raise BadValue(f"{path} line {number} is not KEY=VALUE")
        yield f"{path} line {number} for {container}", variable_edit(container, match[1], match[2])


# The table

_GO_AWSECS = (
    "--cluster --service --taskdef --container-image --container-envvar --container-secret --container-logopt"
    " --container-logsecret --task-role --desired-count --wait-until --region --profile"
)


class Option(Value):
    """One row of the table: how an option is spelled and read, which field it fills, and what it goes with.

    Without the name of a value behind its flags it is only on or off. A field is `part.name`, or `part.` if it is
    called as the option is; one with [] may be given several times. `read` makes a value, or pairs of what it is about
    and a value; two values about the same must be the same.
    """

    spelled: str
    help: str
    into: str = "given."  # a part that no command has: it is only asked whether this was given, or as what
    read: Callable[[str], Any] = str
    needs: str = ""  # the flags that must be given as well; for what fills `run` that is --run-task, too
    code: Exit = Exit.USAGE  # the exit code if one of them is not
    excludes: str = ""

    @property
    def flags(self) -> list[str]:
        """All its spellings that the help shows."""
        return [part for part in self.spelled.split() if part.startswith("-")]

    @property
    def hidden(self) -> list[str]:
        """Spellings of go-awsecs that the help leaves out: a long flag with one dash."""
        return [flag[1:] for flag in self.flags if flag in _GO_AWSECS.split()]

    @property
    def metavar(self) -> str:
        """The name of its value; empty if it is only on or off."""
        return "".join(part for part in self.spelled.split() if not part.startswith("-"))

    @property
    def name(self) -> str:
        """Its first long flag."""
        return next(flag for flag in self.flags if flag.startswith("--"))

    @property
    def input(self) -> str:
        """Its name as an input of the action."""
        return self.name[2:].replace("-", "_")

    @property
    def field(self) -> tuple[str, str]:
        """The part of the command's options that it fills, and the field there."""
        part, _, name = self.into.removesuffix("[]").rpartition(".")
        return part, name or self.input

    @property
    def label(self) -> str:
        """Its name in messages."""
        return "/".join(self.flags)

    @property
    def adds(self) -> bool:
        """True if it may be given several times."""
        return self.into.endswith("[]")

    @property
    def needed(self) -> list[str]:
        """The flags that must be given as well."""
        return ["--run-task"] * self.into.startswith("run.") + self.needs.split()


class Group(Value):
    """Options that stand together in the help of some commands, which are named by their first word."""

    title: str
    words: tuple[str, ...]
    options: tuple[Option, ...]


_APP_FILES = (".ecs-toolkit.yml", ".ecs-deploy.yml", ".ecs-deploy.json", ".ecs-deploy.toml")
_SHOWN = ("--completion", "--version", "--help")

# fmt: off
_EVERYWHERE = ("", "app", "status", "rollback", "replace-instances")
_IN_CLUSTER = Option("-c --cluster CLUSTER", "the cluster", ".")
_OF_SERVICES = Option("-n --service-name --service SERVICE", "this service (repeatable)", "services[]", str.strip)
_WAITS = Option("-t --timeout S", "seconds for each of the two waits (default 90; 0: as long as ECS takes)",
                  "wait.timeout_s", _number(0))
OPTIONS = (
    Group("what most deployments need", ("",), (
        replace(_IN_CLUSTER, help="the cluster; needed with -n and with --run-task"),
        replace(_OF_SERVICES, help="deploy this service (repeatable)"),
        Option("-i --image IMAGE",
               "[domain][:port][/repo][/]image[:tag][@digest] for every container of that repository"),
        Option("-to --tag-only TAG", "put this tag on every image of the definition", "edits.tag", _tag),
        _WAITS,
        Option("--enable-rollback", "on failure go back, and wait for that too", "wait.rollback"),
        Option("-d --task-definition DEFINITION", "register a new revision of this family, family:revision or ARN",
               "."),
    )),
    Group("which task definition", ("",), (
        Option("--taskdef DEFINITION", "start from this definition instead of the one in use", "source."),
        Option("--use-latest-task-def", "start from the newest ACTIVE revision of the family", "source.latest"),
        Option("--task-definition-file FILE", "start from this JSON file", "source.file", _definition_file),
        Option("--copy-task-definition-tags", "fail if the definition's tags cannot be copied", "tags_required"),
        Option("--max-definitions N", "after success keep only the newest N ACTIVE revisions of the family", ".", int),
    )),
    Group("what changes in the task definition", ("",), (
        Option("-e --tag-env-var NAME", "take the image's tag from this variable"),
        Option("--container NAME", "limit -to to this container (repeatable)",
               "edits.tag_containers[]", _container_names, needs="--tag-only"),
        Option("-toc --tag-only-container-names --tag_only_container_names NAME,…", "the same, comma-separated",
               "edits.tag_containers[]", _container_names, needs="--tag-only"),
        Option("--eval-image", "run `…` and $(…) in the image with bash"),
        Option("-l --container-image NAME=IMAGE", "the image of a container", "edits.images[]", _container_image),
        Option("--env-file NAME=PATH", "variables of a container from plain KEY=VALUE lines",
               "edits.members[]", _env_file),
        Option("--container-envvar NAME=VAR=VALUE", "set a variable of a container; an empty value unsets it",
               "edits.members[]", _variable),
        Option("--container-secret NAME=VAR=VALUEFROM", "set a secret of a container; an empty value unsets it",
               "edits.members[]", partial(_variable, secret=True)),
        Option("--container-logopt NAME=DRIVER=KEY=VALUE",
               "an option of a container's log driver; an empty value unsets it, an empty key the driver",
               "edits.members[]", _log_option),
        Option("--container-logsecret NAME=DRIVER=KEY=VALUEFROM", "the same, from a secret",
               "edits.members[]", partial(_log_option, secret=True)),
        Option("--task-role ARN", "the role of the definition's tasks; None for none", "edits.members[]", _task_role),
        Option("--set PATH=VALUE", "set any member, as AWS spells it: memory=512, containerDefinitions[api].cpu=256",
               "edits.members[]", _member("RegisterTaskDefinition")),
        Option("--unset PATH", "take any member away", "edits.members[]", _no_more),
    )),
    Group("what changes in the service", ("",), (
        Option("-D --desired-count N", "how many tasks (negative: no change)",
               "change.members", _sets("desiredCount", _desired_count)),
        Option("-m --min PERCENT", "minimumHealthyPercent",
               "change.members", _sets("deploymentConfiguration.minimumHealthyPercent", _number(0))),
        Option("-M --max PERCENT", "maximumPercent",
               "change.members", _sets("deploymentConfiguration.maximumPercent", _number(0))),
        Option("--force-new-deployment", "redeploy what runs; with an image, deploy that", "change."),
        Option("--service-set PATH=VALUE", "set any member of UpdateService's request, as AWS spells it",
               "change.members[]", _member("UpdateService")),
    )),
    Group("rules and schedules", ("",), (
        Option("--schedule NAME", "then have this EventBridge rule or schedule run it: NAME, GROUP/NAME, BUS/NAME"
               " (repeatable)", "schedules[]", _schedule_name, excludes="--no-wait"),
        Option("--schedules", "then have every rule and schedule of the cluster that runs the family run it",
               "all_schedules", needs="--cluster", code=Exit.NO_CLUSTER, excludes="--no-wait"),
    )),
    Group("waiting, and what to do when it goes wrong", ("",), (
        Option("--skip-deployments-check", "stop as soon as a task of the new definition runs", "wait."),
        Option("--wait-until primary-rolled|draining-started",
               "the end of the wait: the default, or as soon as the load balancer drains an old target",
               "wait.until_draining", _until_draining, excludes="--no-wait"),
        Option("--no-wait", "end once AWS has accepted the deployment",
               "wait.", excludes="--enable-rollback --fail-fast --wait-for-success"),
        Option("--keep-failed-revision", "do not deregister the revision that was rolled back", "wait."),
        Option("--fail-fast N", "give up after N stopped tasks; 0: not even where it is hopeless", "wait.", _number(0)),
        Option("--no-preflight", "do not look up images, secrets and the service's fit first", "."),
    )),
    Group("running tasks", ("",), (
        Option("--run-task", "with -d and -c: run the new revision", "run."),
        Option("--wait-for-success", "wait until every essential container ended with 0",
               "run.", code=Exit.NETWORK_ALONE),
        Option("--count N", "how many tasks (default 1)", "run.", _number(1)),
        Option("--launch-type TYPE", "EC2, FARGATE or EXTERNAL", "run.members", _sets("launchType", _launch_type),
               code=Exit.LAUNCH_TYPE_ALONE, excludes="--capacity-provider-strategy"),
        Option("--platform-version VERSION", "Fargate's platform version",
               "run.members", _sets("platformVersion", str), code=Exit.PLATFORM_ALONE),
        Option("--network-configuration CONFIG", "the AWS CLI's shorthand, JSON or file://…",
               "run.members", _network, code=Exit.NETWORK_ALONE),
        Option("--capacity-provider-strategy LIST", "the AWS CLI's shorthand, JSON or file://…",
               "run.members", _strategy),
        Option("--network-from-service SERVICE", "network, launch type and platform as this service has", "run."),
        Option("--overrides JSON", "RunTask's overrides, JSON or file://…", "run.members", _task_overrides),
        Option("--command NAME=COMMAND", "the command of a container", "run.members[]", _container_command),
        Option("--task-set PATH=VALUE", "set any member of RunTask's request, as AWS spells it",
               "run.members[]", _member("RunTask")),
        Option("--watch-container NAME", "only this container's exit code decides", "run.", needs="--wait-for-success"),
        Option("--propagate-exit-code", "exit with the container's exit code", "run.", needs="--wait-for-success"),
        Option("--stop-on-interrupt", "stop the tasks on SIGINT and SIGTERM", "run.", needs="--wait-for-success"),
    )),
    Group("what to deploy", ("app",), (
        Option("-f --config FILE", f"the application file (default: the first of {', '.join(_APP_FILES)})"),
        Option("-t --image-tag TAG", "the tag for the containers that the file lists", "tag", _tag),
        replace(_IN_CLUSTER, help="instead of the file's cluster"),
        Option("--skip-tasks", "no tasks before and after"),
        Option("--skip-pre-tasks", "no tasks before"),
        Option("--skip-post-tasks", "no tasks after"),
    )),
    Group("when it goes wrong", ("app",), (
        Option("--enable-rollback", "if a service fails, take all back", "wait.rollback"),
        Option("--keep-failed-revision", "do not deregister revisions that were rolled back", "wait."),
        Option("--fail-fast N", "give a service up after N stopped tasks; 0: not even where it is hopeless",
               "wait.", _number(0)),
        Option("--no-preflight", "do not look up images, secrets and the services' fit first", "."),
    )),
    Group("what to look at", ("status",), (
        _IN_CLUSTER,
        _OF_SERVICES,
        Option("--all", "every service of the cluster, a line each, the worst first", "every", excludes="-n"),
        Option("--expect IMAGE|FAMILY:REVISION", "fail unless each service runs this and nothing else (repeatable)",
               "expected[]", _expected),
        Option("--wait", "follow what is in progress to its end, as a deployment is followed", "follow"),
        _WAITS,
    )),
    Group("what to take back", ("rollback",), (
        _IN_CLUSTER,
        _OF_SERVICES,
        Option("--to REVISION", "to this revision, a number, family:revision or ARN; else to what worked before",
               ".", _revision),
        Option("--list", "only list what was deployed, and where a rollback would lead", "candidates"),
        _WAITS,
        Option("--no-wait", "end once AWS has accepted the rollback", "wait."),
    )),
    Group("what to replace", ("replace-instances",), (
        replace(_IN_CLUSTER, help="the cluster that the group's instances belong to"),
        Option("-asg --asg --auto-scaling-group GROUP", "the Auto Scaling group", "group"),
        Option("--batch N|N%", "how many instances at a time, or what share of the group (default 1)", ".", _batch),
        Option("-t --timeout S", "seconds for each batch (default 900; 0: as long as it takes)",
               "timeout_s", _number(0)),
        Option("--include-protected", "replace instances that are protected from scale-in as well", "."),
        Option("--take-over", "do not wait for the run that the group's tag names: it is gone", "."),
    )),
    Group("credentials (what is not given comes from boto3's usual chain)", _EVERYWHERE, (
        Option("-k --aws-access-key KEY", "access key id", "aws.access_key", needs="--aws-secret-key"),
        Option("-s --aws-secret-key KEY", "secret access key", "aws.secret_key", needs="--aws-access-key"),
        Option("-r --region --aws-region REGION", "region", "aws."),
        Option("-p --profile PROFILE", "profile of the AWS configuration files", "aws."),
        Option("--aws-instance-profile", "only the role of this instance or container",
               "aws.instance_profile", excludes="-k -s -p"),
        Option("-a --aws-assume-role ARN", "assume this role first", "aws.assume_role_arn"),
    )),
    Group("output", _EVERYWHERE, (
        Option("--dry-run", "change nothing; print what would be sent", "output."),
        Option("--output {text,json}", "json: one document on stdout", "output.json", _json_output),
        Option("-v --verbose", "print every API call, secrets masked", "output."),
        Option("--completion {bash,zsh,fish}", "print the shell's completion of this command"),
        Option("--version", "print the version"),
        Option("-h --help", "print this help"),
    )),
)
# fmt: on


def options_of(word: str) -> list[Option]:
    """The options of the command with that first word."""
    return [option for group in OPTIONS if word in group.words for option in group.options]


def flags_of(word: str) -> dict[str, Option]:
    """Every spelling of the command's options."""
    return {flag: option for option in options_of(word) for flag in [*option.flags, *option.hidden]}


# The commands

_EXIT_CODES = "\n".join(f"  {code.value:>3}  {code.meaning}".replace("; ", ";\n       ") for code in Exit)
_EXAMPLES = f"""other commands:
  ecs-deploy app --help                deploy an application file
  ecs-deploy status --help             what services run, how they do, and why
  ecs-deploy rollback --help           take services back to what worked before
  ecs-deploy replace-instances --help  replace a cluster's out-of-date instances

examples:
  deploy a service:
    ecs-deploy -c production1 -n doorman-service -i docker.repo.com/doorman:18
  only a new tag, on every image of the definition, and back if it fails:
    ecs-deploy -c production1 -n doorman-service -to 18 --enable-rollback
  register a new revision of a task definition:
    ecs-deploy -d open-door-task -i docker.repo.com/doorman:17
  run it once and wait for it:
    ecs-deploy -c production1 -d open-door-task -i docker.repo.com/doorman:17 \\
      --run-task --wait-for-success

exit codes:
{_EXIT_CODES}"""
_BARE = """
Deploy a service, register a task definition, or run a task, on Amazon ECS:
  ecs-deploy -c production1 -n doorman-service -i docker.repo.com/doorman:18

All options, more examples and the exit codes: ecs-deploy --help
The other commands have a --help of their own."""


class Command(Value):
    """What the help of a command says above and below its options, the values of these, and what carries it out."""

    usage: str
    about: str
    epilog: str
    targets: str  # the flags of which one must be given, and what to say without
    required: str
    options: type[CommandOptions]
    act: Callable[..., int]


COMMANDS: Mapping[str, Command] = {  # by the first word
    "": Command(
        "ecs-deploy -c CLUSTER -n SERVICE (-i IMAGE | -to TAG | …) [options]\n"
        "       ecs-deploy -d DEFINITION (-i IMAGE | -to TAG | …) [options]\n"
        "       ecs-deploy app | status | rollback | replace-instances [options]",
        "Deploy a service, register a task definition, or run a task, on Amazon ECS.",
        _EXAMPLES,
        "--service-name --task-definition",
        "One of SERVICE or TASK DEFINITION is required: -n/--service-name or -d/--task-definition",
        DeployOptions,
        deploy,
    ),
    "app": Command(
        "ecs-deploy app --image-tag TAG [--config FILE] [options]",
        "Deploy an application file: tasks before, all services at once, tasks after.",
        "example:\n  ecs-deploy app --image-tag 18 --config production.yml --enable-rollback",
        "--image-tag",
        "--image-tag is required: -t/--image-tag TAG",
        AppOptions,
        deploy_app,
    ),
    "status": Command(
        "ecs-deploy status -c CLUSTER (-n SERVICE … | --all) [options]",
        "What services run, how they do, and why not better; changes nothing.\nExit code 0 if each of them is steady.",
        "examples:\n  ecs-deploy status -c production1 --all\n"
        "  ecs-deploy status -c production1 -n doorman-service --wait -t 300",
        "--service-name --all",
        "SERVICE is required: -n/--service-name, or --all",
        StatusOptions,
        status,
    ),
    "rollback": Command(
        "ecs-deploy rollback -c CLUSTER -n SERVICE … [--to REVISION] [options]",
        "Take services back to the definition that worked before the present one,\nand see it run.",
        "examples:\n  ecs-deploy rollback -c production1 -n doorman-service --list\n"
        "  ecs-deploy rollback -c production1 -n doorman-service --to 17",
        "--service-name",
        "SERVICE is required: -n/--service-name",
        RollbackOptions,
        rollback,
    ),
    "replace-instances": Command(
        "ecs-deploy replace-instances --cluster CLUSTER --asg GROUP [options]",
        "Replace the EC2 instances of a cluster that are not as their Auto Scaling group\n"
        "would launch them now: new ones first, then drain, then terminate.\n"
        "A run that was stopped is continued by the next.",
        "example:\n  ecs-deploy replace-instances --cluster production1 --asg workers --batch 25%",
        "--asg",
        "The Auto Scaling group is required: --asg",
        ReplaceInstancesOptions,
        replace_instances,
    ),
}


# argparse's part: help, and the texts that each option was given

Given = Mapping[str, Sequence[str]]  # by the option's name


class Shown(Exception):
    """--help, --version or --completion: text to print, and exit 0."""


class _Show(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, _: Any, values: Any, __: Any = None) -> NoReturn:
        if self.dest == "--completion":
            raise Shown(completion(values[0]))
        raise Shown(parser.format_help() if self.dest == "--help" else __version__)


class _Help(argparse.RawDescriptionHelpFormatter):
    def _format_action_invocation(self, action: argparse.Action) -> str:
        """All spellings, and the value once (as Python 3.13 has it)."""
        return " ".join([", ".join(action.option_strings), *([str(action.metavar)] if action.metavar else [])])

    def _split_lines(self, text: str, width: int) -> list[str]:
        """The lines of a text; a file's name is not broken at its hyphen."""
        import textwrap

        return textwrap.wrap(" ".join(text.split()), width, break_on_hyphens=False)


class _Parser(argparse.ArgumentParser):
    """argparse without `SystemExit`, abbreviations, or values in error messages about unknown options."""

    def error(self, message: str) -> NoReturn:
        """Raises `UsageError`; a value that was attached to a flag may be secret and is not shown."""
        message = re.sub(r"ignored explicit argument .*", "takes no value", message)
        message = re.sub(r"(ambiguous option: [^=\s]*)=.* (?=could match)", r"\1 ", message, flags=re.DOTALL)
        raise UsageError(message, hint=f"See {self.prog} --help.")


def parser_of(word: str) -> argparse.ArgumentParser:
    """The parser of the command with that first word."""
    about = COMMANDS[word]
    parser = _Parser(
        _program(word),
        about.usage,
        about.about,
        about.epilog,
        allow_abbrev=False,
        add_help=False,
        formatter_class=_Help,
        argument_default=argparse.SUPPRESS,
    )
    for group in OPTIONS:
        if word in group.words:
            titled = parser.add_argument_group(group.title)
            for option in group.options:
                _add(titled, option)
    return parser


def _add(group: Any, option: Option) -> None:
    kind: dict[str, Any] = {"action": "append_const", "const": "true"}
    if option.name in _SHOWN:
        kind = {"action": _Show, "nargs": 1 if option.metavar else 0, "metavar": option.metavar or None}
    elif option.metavar:
        kind = {"action": "append", "metavar": option.metavar}
    group.add_argument(*option.flags, dest=option.name, help=option.help, **kind)
    if option.hidden:
        group.add_argument(*option.hidden, dest=option.name, help=argparse.SUPPRESS, **kind)


def given_options(word: str, argv: Sequence[str]) -> Given:
    """The texts of each option that was given, by its name; an empty one was not. Raises `UsageError` or `Shown`."""
    parser = parser_of(word)
    if any("\udc80" <= letter <= "\udcff" for argument in argv for letter in argument):
        parser.error("an argument is not UTF-8 text")
    namespace, rest = parser.parse_known_args(argv)
    unknown = [_unknown(word, argument) for argument in rest if argument.startswith("-")]
    if unknown or any(rest):
        parser.error(f"unknown option: {', '.join(unknown)}" if unknown else _stray(word, argv))
    given = {name: [text for text in texts if text] for name, texts in vars(namespace).items()}
    return {name: texts for name, texts in given.items() if texts}


def _program(word: str) -> str:
    return f"ecs-deploy {word}".strip()


def _unknown(word: str, argument: str) -> str:
    """The option without its value, which may be secret, and what may have been meant."""
    import difflib

    name = _without_value(argument)
    others = [other for other in COMMANDS if name in flags_of(other)]
    near = difflib.get_close_matches(name, [flag for option in options_of(word) for flag in option.flags])
    here = "here -to TAG; " if name == "--image-tag" else ""
    if others:
        return f"{name} ({here}it is an option of {_program(others[0])})"
    return f"{name} (did you mean {near[0]}?)" if near else name


def _stray(word: str, argv: Sequence[str]) -> str:
    """Where the first argument stands that belongs to no option; it may be secret, unless it is a command's word."""
    known, before, place = flags_of(word), "", 0
    while not argv[place] or argv[place].startswith("-"):
        before = argv[place] or before
        place += 2 if argv[place] in known and known[argv[place]].metavar else 1
    flag = before.partition("=")[0]
    after_flag = f" (after {flag if flag in known else _without_value(before)})" if before else ""
    said = f"argument {place + 1} belongs to no option{after_flag}"
    if argv[place] in COMMANDS:
        return f"{said}; a command comes first: {_program(argv[place])} …"
    import difflib

    words = [*filter(None, COMMANDS)]
    near = difflib.get_close_matches(argv[place], words)
    meant = f" (did you mean {_program(near[0])}?)" if near else ""
    return said if before else f"{said}{meant}; the commands are {listed_text(words)}"


def _without_value(argument: str) -> str:
    """The flag alone: a value follows `=`, or is attached to one letter."""
    long = re.match(r"--[\w-]+", argument)
    return long[0] if long else argument[:2] + ("…" if argument[2:] else "")


def _last(given: Given, name: str) -> str:
    return given[name][-1] if name in given else ""


# Completion, printed from the table

_BASH = """_ecs_deploy() {
  local current="${COMP_WORDS[COMP_CWORD]}" words
  COMPREPLY=()
  [[ $COMP_CWORD -gt 1 && $current != -* ]] && return
  case "${COMP_WORDS[1]}" in
%(told)s
  esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -o default -F _ecs_deploy ecs-deploy ecs-deploy-py
"""
_ZSH = """#compdef ecs-deploy ecs-deploy-py
_ecs_deploy() {
  local -a flags
  case $words[2] in
%(told)s
  esac
  if [[ $PREFIX == -* ]]; then _describe -o option flags
  elif (( CURRENT == 2 )); then compadd %(commands)s
  else _files; fi
}
if [[ $funcstack[1] == _ecs-deploy ]]; then _ecs_deploy; else compdef _ecs_deploy ecs-deploy ecs-deploy-py; fi
"""
_FISH = """function __ecs_deploy_is
  set -l given (commandline -opc)
  contains -- "$given[2]" %(commands)s; or set given[2] ''
  test "$given[2]" = "$argv[1]"
end
complete -c ecs-deploy -n 'test (count (commandline -opc)) = 1' -f -a '%(commands)s'
%(told)s
complete -c ecs-deploy-py -w ecs-deploy
"""


def completion(shell: str) -> str:
    """The script that completes the commands and their options in that shell. Raises `UsageError` for another."""
    shells = {"bash": (_BASH, _bash_case), "zsh": (_ZSH, _zsh_case), "fish": (_FISH, _fish_rows)}
    if shell not in shells:
        raise UsageError(f"--completion is for bash, zsh or fish, not for {shell!r}")
    script, told = shells[shell]
    last_is_any = [*COMMANDS][::-1]  # where the first word is no command's, the last branch of a `case` holds
    return script % {"commands": " ".join(filter(None, COMMANDS)), "told": "\n".join(map(told, last_is_any))}


def _bash_case(word: str) -> str:
    offered = [*filter(None, COMMANDS), *(flag for option in options_of(word) for flag in option.flags)]
    return f'    {word or "*"}) words="{" ".join(offered)}" ;;'


def _zsh_case(word: str) -> str:
    described = [shell_word(f"{flag}:{option.help}") for option in options_of(word) for flag in option.flags]
    return f"    {word or '*'}) flags=({' '.join(described)}) ;;"


def _fish_rows(word: str) -> str:
    rows = []
    for option in options_of(word):
        kinds = [("l" if flag.startswith("--") else "s" if len(flag) == 2 else "o", flag) for flag in option.flags]
        spelled = " ".join(f"-{kind} {flag.lstrip('-')}" for kind, flag in kinds) + (" -r" if option.metavar else "")
        rows.append(f"complete -c ecs-deploy -n '__ecs_deploy_is {word}' {spelled} -d {shell_word(option.help)}")
    return "\n".join(rows)


# The rules across options

_MISSING: Mapping[str, tuple[str, str]] = {  # what an option needs -> what to say, {0} being it and {1} all like it
    "--cluster": ("CLUSTER is required: {0} looks for what runs in -c/--cluster", "Or name each with --schedule NAME."),
    "--run-task": ("{0} requires --run-task", "Add --run-task to run the new revision."),
    "--wait-for-success": ("{1} require --wait-for-success", ""),
    "--tag-only": ("--container limits --tag-only, which was not given", ""),
    "--aws-access-key": ("-k/--aws-access-key and -s/--aws-secret-key must be given together", ""),
    "--aws-secret-key": ("-k/--aws-access-key and -s/--aws-secret-key must be given together", ""),
}
_OF_TASKS_TOO = ("--timeout", "--keep-failed-revision")
_STARTS = ("--task-definition-file", "--taskdef", "--use-latest-task-def")


def _wrong(word: str, given: Given) -> Iterator[UsageError]:
    """What is wrong with the options together, in the order of the shell script's own checks."""
    present = [option for option in options_of(word) if option.name in given]
    for option in present:
        if not option.adds and len(set(given[option.name])) > 1:
            yield UsageError(f"{option.label} was given twice, with different values")
    for wrong, message, code, hint in _rules(word, given):
        if wrong:
            yield UsageError(message, code, hint)
    for option in sorted(present, key=lambda option: (option.code == Exit.USAGE, option.code)):
        for needed in option.needed:
            if needed not in given:
                alike = [other.name for other in options_of(word) if needed in other.needed]
                message, hint = _MISSING[needed]
                yield UsageError(message.format(option.name, listed_text(alike)), option.code, hint)
        excluded = option.excludes.split()
        if any(flag in excluded for other in present for flag in other.flags):
            several = f"{option.name} excludes {listed_text(excluded)}"
            yield UsageError(several if excluded[1:] else f"{option.name} and {excluded[0]} exclude each other")


def _rules(word: str, given: Given) -> tuple[tuple[object, str, Exit, str], ...]:
    """What does not stand in the table: whether it is wrong, what to say, the exit code, and what to do."""
    service, run = "--service-name" in given, "--run-task" in given
    no_cluster = ("--cluster" not in given, "CLUSTER is required: -c/--cluster", Exit.NO_CLUSTER, "")
    kept = re.fullmatch(r"(0*[1-9]\d{0,8})?", _last(given, "--max-definitions"), re.ASCII)
    asked = word or any(_asks(option, given) for option in options_of("") if option.name in given)
    others = "-to TAG, -l NAME=IMAGE, --container-envvar, --task-definition-file, --force-new-deployment"
    return (
        *((no_cluster,) if word == "replace-instances" else ()),
        (not given.keys() & set(COMMANDS[word].targets.split()), COMMANDS[word].required,
         Exit.NOTHING_TO_DO if word == "app" else Exit.NO_TARGET, ""),
        (service and "--task-definition" in given,
         "Only one of -n and -d may be given, but both were", Exit.TWO_TARGETS, ""),
        (service and run, "-n and --run-task exclude each other", Exit.USAGE,
         "To run a task, name its definition with -d instead of a service."),
        *((no_cluster,) if service or run or word == "status" else ()),
        (not asked, "Nothing to change was asked for: IMAGE is required (-i/--image)", Exit.NOTHING_TO_DO,
         f"Other changes are {others}."),
        (not kept, "MAX_DEFINITIONS must be a whole number of 1 or more", Exit.BAD_MAX_DEFINITIONS,
         "Leave --max-definitions out to keep every revision."),
        (len(given.keys() & set(_STARTS)) > 1, f"Only one of {listed_text(_STARTS)}", Exit.USAGE, ""),
        ("--tag-env-var" in given and not given.keys() & {"--image", "--tag-only"},
         "-e/--tag-env-var needs -i/--image", Exit.USAGE, ""),
    )  # fmt: skip


def _asks(option: Option, given: Given) -> bool:
    """True if the option alone is something to do; a negative count says that it stays."""
    idle = "--min", "--max", "--desired-count" if _last(given, "--desired-count").startswith("-") else ""
    if option.name in idle or not given.keys() >= {*option.needed}:
        return False
    asks = ("edits.", "source.", "change.") if "--service-name" in given else ("edits.", "source.")
    return option.name in ("--image", "--run-task") or option.into.startswith(asks)


def _unused(word: str, given: Given) -> Iterator[str]:
    """What was given but has no effect here; wrappers pass such options, so it is only said."""
    for option in options_of("") if not word and "--service-name" not in given else ():
        of_service = option.into.startswith(("change.", "wait.")) and option.name not in _OF_TASKS_TOO
        if of_service and option.name in given:
            yield f"{option.name} has no effect without a service (-n)."
    image = _last(given, "--image")
    if "--tag-only" in given and image not in ("", "ignore"):
        yield f"--image {image} is not used: --tag-only changes the tag of every image (or of each --container)."
    if "--tag-only" in given and "--tag-env-var" in given:
        yield "--tag-env-var has no effect: --tag-only gives the tag."


# From texts to the values of the options


def parse(word: str, argv: Sequence[str], env: Mapping[str, str]) -> Any:
    """The options of the command with that first word; raises `UsageError` for whatever is wrong with them."""
    given = given_options(word, argv)
    for error in _wrong(word, given):
        raise error
    options = replace(_from_table(word, given), warnings=tuple(_unused(word, given)))
    if isinstance(options, AppOptions):
        return replace(options, **_app_fields(given, options.cluster))
    if isinstance(options, DeployOptions):
        _require_family(options)
        return replace(options, edits=replace(options.edits, image=_image(given, env)))
    return options


def _from_table(word: str, given: Given) -> CommandOptions:
    """The command's options as its rows of the table make them; raises `UsageError`."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for option in options_of(word):
        for about, value in (pair for text in given.get(option.name, ()) for pair in _meant(option, text)):
            if found.setdefault(option.field, {}).setdefault(about, value) != value:
                raise UsageError(f"{about} was given twice, with different values")
    lists = {option.field for option in options_of(word) if option.adds}
    parts: dict[str, dict[str, Any]] = {"": {}, "given": {}}
    for (part, name), values in found.items():
        meant = tuple(value for value in values.values() if value is not None)
        if meant:
            parts.setdefault(part, {})[name] = meant if (part, name) in lists else meant[0]
    own, _ = parts.pop(""), parts.pop("given")
    made = COMMANDS[word].options
    return made(**own, **{part: replace(getattr(made, part), **members) for part, members in parts.items()})


def _meant(option: Option, text: str) -> list[tuple[str, Any]]:
    """What the text says: pairs of what it is about, and a value; raises `UsageError`."""
    if not option.metavar:
        return [(option.label, True)]
    try:
        value = option.read(text)
        alone = (text.strip() if option.adds else option.label, value)
        return list(value) if isinstance(value, Iterator) else [alone]
    except BadValue as error:
        expects = f"{option.name} expects {option.metavar}"
        raise UsageError(f"argument {option.label}: {error}" if str(error) else expects) from error


def _require_family(options: DeployOptions) -> None:
    """Raises `UsageError` if the file is of another family than the one that is named."""
    file, named = options.source.file or {}, family_of(options.task_definition)
    family = file.get("taskDefinition", file).get("family")
    if file and named and family != named:
        raise UsageError(f"-d is {named}, but the file's family is {family}")


def _image(given: Given, env: Mapping[str, str]) -> ImageReference | None:
    """The image of -i with the tag of -e; None with -to, where -i is only a placeholder."""
    text = _last(given, "--image")
    if not text or "--tag-only" in given:
        return None
    if "--eval-image" in given:
        text = _evaluated(text, env)
    elif "`" in text or "$(" in text:
        hint = f'Let your shell run it, in double quotes: -i "{text}"; or give --eval-image.'
        raise UsageError(f"The image contains a command, which is not run: {text}", Exit.BAD_IMAGE, hint)
    image = ImageReference.parse(text)
    variable = _last(given, "--tag-env-var")
    if not variable:
        return image.tagged()
    if not env.get(variable):
        raise UsageError(f"-e {variable}: the environment variable is {'empty' if variable in env else 'not set'}")
    return image.with_tag(_tag(env[variable]))


def _evaluated(image: str, env: Mapping[str, str]) -> str:
    """What bash makes of the image in double quotes; raises `UsageError` (13) if a command in it fails."""
    import subprocess

    script = f'image="{image}" && printf %s "$image"'
    try:
        done = subprocess.run(["bash", "-c", script], env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    except OSError as error:
        raise UsageError(f"--eval-image needs bash: {error.strerror}", Exit.REQUIREMENT) from error
    if done.returncode:
        raise UsageError(f"A command in the image failed: {image}", Exit.BAD_IMAGE, done.stderr.strip())
    return done.stdout.strip()


def _app_fields(given: Given, cluster: str) -> dict[str, Any]:
    """The cluster and the entries of the application file, without the tasks that are skipped."""
    application = _application(_last(given, "--config"), cluster)
    tasks = application.get("tasks") or {}
    kept = {when for when in tasks if not given.keys() & {"--skip-tasks", f"--skip-{when}-tasks"}}
    before, after = (tasks[when] or [] if when in kept else [] for when in ("pre", "post"))
    services = application.get("services") or []
    return {"cluster": application["cluster"], "before": before, "services": services, "after": after}


def _application(path: str, cluster: str) -> JSON:
    path = path or next((name for name in _APP_FILES if os.path.exists(name)), "")
    if not path:
        none = f"There is no application file here: none of {', '.join(_APP_FILES)}"
        raise UsageError(none, hint="Give --config FILE.")
    try:
        text = _read_file(path)
    except BadValue as error:
        raise UsageError(str(error)) from error
    return parse_application(text, os.path.splitext(path)[1].lower(), cluster)


# --- GitHub Actions -------------------------------------------------- speaks with the runner; may not decide anything

_LOOKS_LIKE_A_COMMAND = re.compile(r"(?:^|[\r\n])\s*::|##\[")


_INPUTS = {o.input: o for group in OPTIONS for o in group.options if o.name not in _SHOWN}


def is_action(env: Mapping[str, str]) -> bool:
    """True if the runner started this program as an action: it then sets a variable for every input."""
    return env.get("GITHUB_ACTIONS") == "true" and any(f"INPUT_{name.upper()}" in env for name in _INPUTS)


def _input(env: Mapping[str, str], name: str) -> str:
    return env.get(f"INPUT_{name.upper()}", "")


def action_arguments(env: Mapping[str, str]) -> list[str]:
    """The command line that the inputs spell; an empty input was not given. Raises `UsageError`.

    The input `command` is the first word, or the lines of --command. The shell script's action wanted the option's
    name in a `_cmd` twin of each input: the twin of a flag still switches it on, the others say nothing new.
    """
    command = _input(env, "command").strip()
    word = command if command in COMMANDS else ""
    if command and not word and "=" not in command:
        raise UsageError(f"The input command is {', '.join(filter(None, COMMANDS))} or NAME=COMMAND, not {command!r}")
    words = [word] if word else []
    for name, option in _INPUTS.items():
        if not word or name != "command":
            words += _input_words(word, option, _input(env, name), _input(env, f"{name}_cmd").strip())
    if not words:
        hint = "Give at least cluster, service_name and image, or task_definition and image."
        raise UsageError("No input of the action is set", Exit.NO_TARGET, hint)
    return words


def _input_words(word: str, option: Option, value: str, twin: str) -> list[str]:
    """A flag is true or false; a repeatable option takes one value a line, or a JSON list of texts."""
    text, name = value.strip(), option.input
    if text and option.name not in flags_of(word):
        raise UsageError(f"The input {name} does not belong to {_program(word)}")
    if twin not in option.flags and any(twin in flags_of(each) for each in COMMANDS):
        raise UsageError(f"The input {name}_cmd is {twin}, which is another option than {name}")
    if not option.metavar:
        switch = text or twin
        if switch.lower() not in ("", "true", "false", *option.flags):
            raise UsageError(f"The input {name} is true or false, not {switch!r}")
        return [] if switch.lower() in ("", "false") else [option.name]
    texts = [text]
    if option.adds:
        texts = _listed_texts(name, text) if text.startswith("[") else _lines(value)
    return [f"{option.name}={each}" for each in texts if each.strip()]


def _listed_texts(name: str, value: str) -> list[str]:
    with contextlib.suppress(ValueError):
        texts = json.loads(value)
        if isinstance(texts, list) and all(isinstance(text, str) for text in texts):
            return texts
    raise UsageError(f"The input {name} begins like a JSON list, and is no JSON list of texts")


def in_inputs(error: UsageError, word: str) -> UsageError:
    """The same error in the words of a workflow: an option's flags are its input."""
    inputs = {flag: option.input for flag, option in flags_of(word).items()}

    def renamed(found: re.Match[str]) -> str:
        named = [inputs[flag] for flag in found[2].split("/") if flag in inputs]
        return ("input " if found[1] else "") + named[0] if named else found[0]

    pattern = r"(?<![\w-])(argument )?(--?[A-Za-z][\w-]*(?:/--?[A-Za-z][\w-]*)*)"
    message, hint = (re.sub(pattern, renamed, text) for text in (error.message, error.hint))
    return UsageError(message, error.exit_code, hint)


def reporter_for(env: Mapping[str, str], out: TextIO, err: TextIO, wants_json: bool, clock: Clock) -> Reporter:
    """The face for where this runs: the runner's, if that started this program, or the plain one."""
    if not is_action(env):
        return Reporter(out, err, OutputOptions(json=wants_json))
    wants_json = wants_json or _input(env, "output").strip() == "json"
    return GitHubReporter(out, err, OutputOptions(json=wants_json), env, clock)


class GitHubReporter(Reporter):
    """Speaks the runner's language: masks, annotations, groups; at the end outputs and the step summary.

    The runner reads stdout and stderr apart and loses their order, so all goes to stdout (unless that is for JSON).
    """

    def __init__(self, out: TextIO, err: TextIO, output: OutputOptions, env: Mapping[str, str], clock: Clock) -> None:
        super().__init__(out, err if output.json else out, output)
        self._env, self._clock, self._started_s = env, clock, clock.now()
        self._errors: list[str] = []
        for secret in [*_input(env, "aws_access_key").split(), *_input(env, "aws_secret_key").split()]:
            self._tell("add-mask", secret)
            self.mask.hide([secret], always=True)

    def warning(self, text: str) -> None:
        """An annotation."""
        self._tell("warning", self.mask.text(text))

    def left(self, text: str) -> None:
        """As an error: it is what somebody has to see to."""
        self.error(text)

    def error(self, text: str, hint: str = "", why: str = "", log: tuple[str, Sequence[str]] = ("", ())) -> None:
        """An annotation, and a group for the log; it is kept for the summary and the output `failure-reason`."""
        if log[1]:
            self.block(*log)
        said = "\n".join(part for part in (text, why, hint) if part)
        self._errors.append(said)
        self._tell("error", self.mask.text(said))

    def block(self, title: str, lines: Sequence[str]) -> None:
        """A group that folds."""
        self._tell("group", self.mask.text(title))
        for line in lines:
            self.note(f"  {line}")
        self._tell("endgroup")

    def finish(self, exit_code: int) -> None:
        """The JSON document, the outputs and the summary."""
        super().finish(exit_code)
        facts, errors = self.mask.within(self.facts), self.mask.within(self._errors)
        self._append("GITHUB_OUTPUT", output_lines(action_outputs(facts, errors)))
        self._append("GITHUB_STEP_SUMMARY", summary_of(facts, errors, self._clock.now() - self._started_s))

    def _tell(self, name: str, message: str = "") -> None:
        """A workflow command, escaped as the runner's toolkit does it.

        https://github.com/actions/toolkit/blob/main/packages/core/src/command.ts
        """
        self._clear()
        escaped = message.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
        super()._write(self.err, f"::{name}::{escaped}\n")

    def _write(self, stream: TextIO, text: str) -> None:
        """Text is not for the runner: what looks like a command (a container's log line may) is shown, not obeyed."""
        if _LOOKS_LIKE_A_COMMAND.search(text) and not (self.output.json and stream is self.out):
            token = os.urandom(16).hex()
            text = f"::stop-commands::{token}\n{text}::{token}::\n"
        super()._write(stream, text)

    def _append(self, variable: str, text: str) -> None:
        path = self._env.get(variable, "")
        if not path:
            return
        try:
            with open(path, "a", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            self.warning(f"{variable} cannot be written: {error.strerror}")


def output_lines(outputs: Mapping[str, str]) -> str:
    """The outputs as GITHUB_OUTPUT takes them; no value can end early, because the delimiter is random."""
    delimiter = f"ghadelimiter_{os.urandom(16).hex()}"
    return "".join(f"{name}<<{delimiter}\n{value}\n{delimiter}\n" for name, value in outputs.items())


def action_outputs(facts: JSON, errors: Sequence[str]) -> dict[str, str]:
    """The action's outputs; of an application's parts, one value a line."""

    def each(name: str) -> str:
        return "\n".join(dict.fromkeys(str(item[name]) for item in facts.get("parts") or [facts] if item.get(name)))

    return {
        "status": status_of(facts),
        "task-definition-arn": each("new_task_definition") or each("task_definition"),
        "previous-task-definition-arn": each("previous_task_definition"),
        "deployment-id": each("deployment_id"),
        "exit-code": str(int(facts["exit_code"])),
        "failure-reason": "\n".join(errors),
        "schedules": "\n".join(
            f"{row['name']}: {row['old']} -> {row['new']}, {row['result']}" for row in facts.get("schedules") or []
        ),
    }


_KINDS_OF_FAILURE = (Exit.ROLLED_BACK, Exit.ROLLBACK_FAILED, Exit.TIMED_OUT, Exit.SUPERSEDED)


def status_of(facts: JSON) -> str:
    """success, cancelled, failure, or the kind of failure; the exit code of a task's container says nothing of that."""
    if facts["exit_code"] == Exit.OK:
        return "success"
    if facts.get("error") == "interrupted":
        return "cancelled"
    kind = next((kind for kind in _KINDS_OF_FAILURE if kind == facts["exit_code"]), None)
    return kind.name.lower().replace("_", "-") if kind and "tasks" not in facts else "failure"


def summary_of(facts: JSON, errors: Sequence[str], duration_s: float) -> str:
    """The step summary in GitHub's Markdown: what was deployed where, and on failure why that failed."""
    code, status = int(facts["exit_code"]), status_of(facts)
    mark = {"success": "✅", "cancelled": "⚠️"}.get(status, "❌")
    ending = status.replace("-", " ") if code else str(facts.get("verdict") or "completed")
    lines = [f"### {mark} ecs-deploy: {ending}" + (f" ({code})" if code else ""), ""]
    parts = facts.get("parts") or [facts]
    if "state" in parts[0]:
        lines += _table(_STANDING, [_standing(part, facts) for part in parts])
    else:
        lines += _table(_DEPLOYED, [_deployed(part, facts, ending, duration_s) for part in parts])
    moved = [[row[member] for member in ("name", "old", "new", "result")] for row in facts.get("schedules") or []]
    lines += _table(_MOVED, moved)
    details = [detail for item in [*facts.get("parts", []), facts] for detail in _details(item)]
    explained = [("What failed", errors), *details] if code else []
    return _bounded("\n".join(lines), [_folded(title, told) for title, told in explained if told])


def _bounded(page: str, parts: Iterable[str]) -> str:
    """The page with as many of the parts as the runner takes, and how many there are more."""
    left = 0
    for part in parts:
        if len(f"{page}\n{part}".encode()) < SUMMARY_BYTES:
            page = f"{page}\n{part}"
        else:
            left += 1
    return page + (f"\n{left} more parts are in the log of this step.\n" if left else "\n")


SUMMARY_BYTES = 1_000_000  # the runner refuses a summary beyond 1 MiB
_DEPLOYED = ("Deployed", "Cluster", "Task definition", "Old image", "New image", "Duration", "Result")
_STANDING = ("Service", "Cluster", "Task definition", "Tasks", "Since", "State", "Why")
_MOVED = ("Rule or schedule", "Old revision", "New revision", "Result")


def _table(titles: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """A table; none if its rows are about nothing."""
    cells = [titles, ["---"] * len(titles), *(list(map(_cell, row)) for row in rows)]
    return [f"| {' | '.join(row)} |" for row in cells] + [""] if any(row[0] for row in rows) else []


def _deployed(item: JSON, facts: JSON, ending: str, duration_s: float) -> tuple[object, ...]:
    arns = [item.get(f"{which}task_definition") for which in ("previous_", "new_", "")]
    short = tuple(dict.fromkeys(short_name(str(arn)) for arn in arns if arn))
    name = item.get("name") or item.get("service") or item.get("group") or family_of(short[-1] if short else "")
    images: list[JSON] = item.get("images") or []
    old, new = (
        [f"{image['container']}: {image[side]}" if len(images) > 1 else image[side] for image in images]
        for side in ("old", "new")
    )
    total_s = duration_s if item is facts else (item.get("durations") or {}).get("total_s")
    return name, facts.get("cluster"), short, old, new, total_s, item.get("result") or ending


def _standing(item: JSON, facts: JSON) -> tuple[object, ...]:
    """How a service does, of the command `status`."""
    counts, why = f"{item['running_count']} of {item['desired_count']}", item["reason"] or item["went_back"]
    definition = short_name(item["task_definition"] or "")
    return item["name"], facts["cluster"], definition, counts, item["since"], item["state"], why


def _cell(value: object) -> str:
    """Code, in which nothing is taken for Markdown or HTML; a list line by line, a tuple as steps, seconds as words."""
    if isinstance(value, (list, tuple)):
        return ("<br>" if isinstance(value, list) else " → ").join(map(_cell, value))
    if isinstance(value, float):
        minutes, rest_s = divmod(round(value), 60)
        return f"{minutes} min {rest_s} s" if minutes else f"{rest_s} s"
    shown = re.sub(r"[&<>|*_`\[\]\\~\r\n]|:(?=//)|\.(?<=www\.)", _entity, str(value or "")[:1000])
    text = re.sub(r"@(?=[\w-]+\.)", "@<wbr>", shown)  # an entity would not keep it from being a link
    return text and f"<code>{text}</code>"


def _entity(found: re.Match[str]) -> str:
    return f"&#{ord(found[0])};"


def _details(item: JSON) -> Iterator[tuple[str, list[str]]]:
    """What explains a failure: titles and lines."""
    of = f" of {item['name']}" if "name" in item else ""
    reasons = item.get("failed_tasks") or []
    yield f"Why tasks stopped{of}", [f"{each['count']} × {each['reason']}" for each in reasons]
    yield f"Events{of}", item.get("events") or []
    for log in item.get("logs") or []:
        yield f"Last log lines{of}: {log['title']}", log["lines"]


def _folded(title: str, lines: Sequence[str]) -> str:
    """A part that folds, with the last lines."""
    import html

    tag = "<details open>" if title == "What failed" else "<details>"
    text = html.escape("\n".join(line[:1000] for line in lines[-50:]))
    return f"{tag}<summary>{html.escape(title[:200])}</summary>\n\n<pre>\n{text}\n</pre>\n\n</details>\n"


# --- Entry --------------------------------------------------- the one place where an exception becomes an exit code


def main(
    argv: Sequence[str] | None = None,
    *,
    env: Mapping[str, str] | None = None,
    out: TextIO | None = None,
    err: TextIO | None = None,
    clock: Clock | None = None,
) -> int:
    """Run one command; the exit code, one of `Exit` (or a container's, with --propagate-exit-code)."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    environment = dict(os.environ if env is None else env)  # os.environ refuses to look for a name that it can't encode
    wants_json = "--output=json" in arguments or "--output json" in " ".join(arguments)
    clock = clock or SystemClock()
    out, err = out or sys.stdout or io.StringIO(), err or sys.stderr or io.StringIO()  # closed ones are None
    report = reporter_for(environment, out, err, wants_json, clock)
    interrupts = Interrupts()
    with interrupts.installed():  # to the end: what is said last must not end in a traceback of a second signal's
        try:
            code = run(arguments, environment, report, interrupts, clock)
        except Shown as shown:
            report.line(str(shown).rstrip("\n"))
            return Exit.OK
        except DeployError as error:
            report.learn(verdict="error", error=error.message, hint=error.hint)
            report.error(error.message, error.hint)
            code = error.exit_code
        except Interrupted as stop:
            report.learn(error="interrupted")
            report.left("Interrupted.")
            code = stop.exit_code
        except Exception:
            code = report_bug(report)
        report.finish(code)
    return code


def run(arguments: list[str], env: Mapping[str, str], report: Reporter, interrupts: Interrupts, clock: Clock) -> int:
    """Parse, connect, and carry the command out."""
    by_inputs = not any(arguments) and is_action(env)
    if by_inputs:
        arguments = action_arguments(env)
    if not any(arguments):
        report.line(parser_of("").format_usage() + _BARE)
        return Exit.USAGE
    word = arguments[0] if arguments[0] in COMMANDS else ""
    try:
        with interrupts.allowed():
            options = parse(word, arguments[1:] if word else arguments, env)
    except UsageError as error:
        if by_inputs:
            raise in_inputs(error, word) from error
        raise
    report.output = options.output
    secrets = [options.aws.secret_key, env.get("AWS_SECRET_ACCESS_KEY", ""), env.get("AWS_SESSION_TOKEN", "")]
    report.mask.hide([*secrets, *(secret.strip() for secret in secrets)], always=True)
    for warning in options.warnings:
        report.warning(warning)
    aws = connect(options.aws, env, clock, report, interrupts)
    aws.read_only = options.output.dry_run or word == "status"
    ctx = Context(aws, clock, report, interrupts, Begun())
    try:
        return COMMANDS[word].act(ctx, options)
    except BaseException as cause:  # a signal, an error of AWS, a bug: nothing of ours is left without a word
        with interrupts.held():
            ctx.begun.abandon(cause, report)
        raise


def report_bug(report: Reporter) -> Exit:
    """The traceback, secrets masked, and where to send it."""
    import traceback

    report.note(theirs(traceback.format_exc()))
    report.error(
        f"This is a bug in ecs-deploy {__version__}.",
        "Please report it with the text above and the command line, secrets removed. Check the service: the"
        " deployment may have begun.",
    )
    report.learn(error="a bug in ecs-deploy")
    return Exit.BUG


def command() -> NoReturn:
    """The console command. Empty AWS_* variables, as CI passes them, would hide what a profile says."""
    for name in [name for name, value in os.environ.items() if name.startswith("AWS_") and not value]:
        del os.environ[name]
    code = main()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):  # closed by the reader; Python would end with 120 for that
            with contextlib.suppress(OSError, ValueError, AttributeError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    gc.freeze()  # else Python walks through all of botocore once more on its way out (0.1 s)
    sys.exit(code)


if __name__ == "__main__":
    command()
