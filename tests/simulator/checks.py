"""Requests and answers held against botocore's own service model."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import botocore
from botocore.loaders import Loader
from botocore.model import OperationNotFoundError, ServiceModel, Shape

from tests.simulator.errors import Json

WRITTEN_AGAINST = (1, 44)
"""The botocore whose model knows every member that the simulator answers with; an older one may know fewer."""

_PYTHON_TYPES: dict[str, tuple[type, ...]] = {
    "structure": (dict,),
    "map": (dict,),
    "list": (list,),
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "long": (int,),
    "float": (int, float),
    "double": (int, float),
    "timestamp": (int, float),
}
_LOADER = Loader()


@cache
def service_model(service: str) -> ServiceModel:
    return ServiceModel(_LOADER.load_service_model(service, "service-2"), service)


def knows_everything() -> bool:
    """Whether the installed botocore is new enough for an unknown member in an answer to be a mistake."""
    return tuple(int(part) for part in botocore.__version__.split(".")[:2]) >= WRITTEN_AGAINST


def request_faults(service: str, operation: str, params: Json, future_members: set[str]) -> list[str]:
    """What is wrong with a request; members named in `future_members` are known to AWS alone, or may be null."""
    shape = _shape_of(service, operation, "input")
    return [] if shape is None else list(_faults(params, shape, "", frozenset(future_members), True))


def answer_faults(service: str, operation: str, answer: Json, future_members: set[str]) -> list[str]:
    """What is wrong with an answer: a bug of the simulator."""
    shape = _shape_of(service, operation, "output")
    return [] if shape is None else list(_faults(answer, shape, "", frozenset(future_members), knows_everything()))


@cache
def _shape_of(service: str, operation: str, side: str) -> Shape | None:
    if service == "sts":
        return None  # the query protocol sends texts only, and its answers are written by hand
    try:
        model = service_model(service).operation_model(operation)
    except OperationNotFoundError:
        return None
    return model.input_shape if side == "input" else model.output_shape


def _faults(value: Any, shape: Shape, path: str, future: frozenset[str], strict: bool) -> Iterator[str]:
    kind, types, members, required, enum, most = _anatomy(shape)
    if not _is_of(value, kind, types):
        yield f"{path or 'input'}: {kind} expected, got {value!r}"
    elif kind == "structure":
        for name in required:
            if name not in value:
                yield f'Missing required parameter in {path or "input"}: "{name}"'
        for name, inner in value.items():
            if name in future and inner is None:
                continue
            if name in members:
                yield from _faults(inner, members[name], f"{path}.{name}" if path else name, future, strict)
            elif strict and name not in future:
                yield f'Unknown parameter in {path or "input"}: "{name}"'
    elif kind == "list":
        for index, inner in enumerate(value):
            yield from _faults(inner, members["member"], f"{path}[{index}]", future, strict)
    elif kind == "map":
        for name, inner in value.items():
            yield from _faults(inner, members["value"], f"{path}.{name}", future, strict)
    elif enum and strict and value not in enum:
        yield f"{path}: {value!r} is not one of {', '.join(sorted(enum))}"
    elif kind == "integer" and value > most:
        yield f"{path}: {value} is more than {most:.0f}"


def _is_of(value: object, kind: str, types: tuple[type, ...]) -> bool:
    """Whether a JSON value is of the kind; to Python a boolean is an integer, to JSON not."""
    return isinstance(value, types) and (kind == "boolean" or not isinstance(value, bool))


Anatomy = tuple[str, tuple[type, ...], dict[str, Shape], tuple[str, ...], frozenset[str], float]
_ANATOMIES: dict[int, Anatomy] = {}


def _anatomy(shape: Shape) -> Anatomy:
    """The parts of a shape that are looked at, computed once: botocore's properties are slow."""
    found = _ANATOMIES.get(id(shape))
    if found is None:
        found = _ANATOMIES[id(shape)] = _dissect(shape)
    return found


def _dissect(shape: Any) -> Anatomy:
    kind = str(shape.type_name)
    members: dict[str, Shape] = {}
    required: tuple[str, ...] = ()
    enum: frozenset[str] = frozenset()
    if kind == "structure":
        members, required = dict(shape.members), tuple(shape.required_members)
    elif kind == "list":
        members = {"member": shape.member}
    elif kind == "map":
        members = {"value": shape.value}
    elif kind == "string":
        enum = frozenset(shape.enum)
    most = float(shape.metadata.get("max", "inf"))
    return kind, _PYTHON_TYPES.get(kind, (object,)), members, required, enum, most
