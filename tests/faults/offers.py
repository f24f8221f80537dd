"""The commands that the program offers: read as the AWS CLI would read them, and carried out against the simulator."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

from botocore import xform_name
from botocore.model import Shape, StructureShape

from tests.faults.schedules import Swap, swap, swap_in
from tests.simulator import AwsError, World
from tests.simulator.checks import service_model
from tests.simulator.errors import Json

GLOBAL = ("--region", "--profile", "--output", "--query", "--endpoint-url")
_OFFER = re.compile(r"^  ((?:aws|ecs-deploy) .*)$", re.MULTILINE)


class Unreadable(Exception):
    """The command line is none that its program would take."""


@dataclass(frozen=True)
class Offer:
    """One command that was offered: of the AWS CLI, with the API's parameters, or of ecs-deploy itself."""

    text: str
    operation: str
    params: Json
    region: str
    profile: str
    swap: Swap | None = None

    def addresses(self, *names: str) -> bool:
        """Whether it is about what has one of these names."""
        values = {str(value).rpartition("/")[2] for value in self.params.values() if isinstance(value, str)}
        return any(name.rpartition("/")[2] in values for name in names)

    def carry_out(self, world: World, run: Callable[[Sequence[str]], int]) -> str:
        """Do it; what went wrong, or an empty text."""
        if self.operation == "":
            code = run(shlex.split(self.text)[1:])
            return f"exit code {code}" if code else ""
        try:
            if self.swap:
                swap(world, self.swap)
            else:
                world.handle("ecs", self.operation, self.params)
        except AwsError as error:
            return str(error)
        return ""


def offers_in(text: str) -> Iterator[str]:
    """The lines of the output that are commands to paste."""
    yield from (match[1] for match in _OFFER.finditer(text))


def read(text: str) -> Offer:
    """The command, read strictly; raises `Unreadable`."""
    if found := swap_in(text):
        writes = "PutTargets" if found.target_id else "UpdateSchedule"
        return Offer(text, writes, {"name": found.name}, found.region, found.profile, found)
    try:
        program, *words = shlex.split(text)
    except ValueError as error:
        raise Unreadable(str(error)) from error
    if program == "ecs-deploy":
        given = dict(pairwise(words))
        region = given.get("-r", given.get("--region", ""))
        return Offer(text, "", {"service": given.get("-n", "")}, region, given.get("-p", given.get("--profile", "")))
    if words[:1] != ["ecs"] or len(words) < 2:
        raise Unreadable("only commands of aws ecs are known")
    operation = _operations().get(words[1])
    if operation is None:
        raise Unreadable(f"aws ecs has no command {words[1]}")
    params, others = _read_flags(words[2:], _flags(operation))
    missing = set(_input(operation).required_members) - set(params)
    if missing:
        raise Unreadable(f"{', '.join(sorted(missing))} is required")
    return Offer(text, operation, params, others.get("--region", ""), others.get("--profile", ""))


@cache
def _operations() -> dict[str, str]:
    names = service_model("ecs").operation_names
    return {xform_name(name, "-"): name for name in names}


def _input(operation: str) -> StructureShape:
    shape = service_model("ecs").operation_model(operation).input_shape
    assert shape is not None
    return shape


@cache
def _flags(operation: str) -> dict[str, tuple[str, Shape]]:
    return {f"--{xform_name(name, '-')}": (name, shape) for name, shape in _input(operation).members.items()}


def _read_flags(words: list[str], flags: dict[str, tuple[str, Shape]]) -> tuple[Json, dict[str, str]]:
    """The API's parameters, and the options of every command."""
    params: Json = {}
    others: dict[str, str] = {}
    while words:
        flag, *words = words
        values: list[str] = []
        while words and not words[0].startswith("--"):
            values.append(words.pop(0))
        if flag in GLOBAL and len(values) == 1:
            others[flag] = values[0]
        elif flag == "--no-cli-pager" and not values:
            continue
        else:
            name, value = _member(flag, values, flags)
            params[name] = value
    return params, others


def _member(flag: str, values: list[str], flags: dict[str, tuple[str, Shape]]) -> tuple[str, Any]:
    positive = flag.replace("--no-", "--", 1)
    if flag not in flags and positive not in flags:
        raise Unreadable(f"Unknown options: {flag}")
    name, shape = flags.get(flag) or flags[positive]
    if shape.type_name == "boolean":
        if values:
            raise Unreadable(f"{flag} takes no value")
        return name, flag in flags
    if flag not in flags:
        raise Unreadable(f"Unknown options: {flag}")
    return name, _value(flag, values, shape)


def _value(flag: str, values: list[str], shape: Shape) -> Any:
    if shape.type_name == "list" and not (values and values[0].startswith(("[", "{"))):
        return values
    if len(values) != 1:
        raise Unreadable(f"{flag} expects one argument, not {values}")
    [value] = values
    if shape.type_name in ("structure", "map", "list"):
        try:
            return json.loads(value)
        except ValueError as error:
            raise Unreadable(f"{flag}: {error}") from error
    if shape.type_name in ("integer", "long"):
        if not re.fullmatch(r"-?\d+", value):
            raise Unreadable(f"{flag}: invalid literal {value!r}")
        return int(value)
    return value
