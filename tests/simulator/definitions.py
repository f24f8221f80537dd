"""Task definitions: families, revisions, their status."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from tests.simulator.errors import Json, client_error, invalid


def digest_of(image: str) -> str:
    """The digest that a registry would have for an image: the same for the same reference."""
    return image.partition("@")[2] or f"sha256:{hashlib.sha256(image.encode()).hexdigest()}"


INACTIVE_GRACE_S = 600.0
"""How long a deregistered revision may still be used: ten minutes, says AWS."""


@dataclass
class Definition:
    """One revision; `raw` is what RegisterTaskDefinition was sent, without the tags."""

    arn: str
    family: str
    revision: int
    raw: Json
    registered_s: float
    registered_by: str
    status: str = "ACTIVE"
    deregistered_s: float | None = None
    delete_requested_s: float | None = None

    @cached_property
    def containers(self) -> list[Json]:
        return list(self.raw["containerDefinitions"])

    @cached_property
    def images(self) -> list[str]:
        return [container.get("image", "") for container in self.containers]

    @cached_property
    def health_checks(self) -> list[Json]:
        return [container["healthCheck"] for container in self.containers if "healthCheck" in container]

    def usable_at(self, now_s: float) -> bool:
        """Whether a service or a task may still be started from it."""
        return self.deregistered_s is None or now_s < self.deregistered_s + INACTIVE_GRACE_S

    def described(self, epoch_s: float) -> Json:
        """The TaskDefinition of an answer: what came in, and what ECS adds."""
        dates = {
            "registeredAt": self.registered_s,
            "deregisteredAt": self.deregistered_s,
            "deleteRequestedAt": self.delete_requested_s,
        }
        return {
            **self.raw,
            "taskDefinitionArn": self.arn,
            "revision": self.revision,
            "status": self.status,
            "requiresAttributes": [{"name": "com.amazonaws.ecs.capability.docker-remote-api.1.18"}],
            "compatibilities": ["EXTERNAL", "EC2", *self._fargate()],
            "registeredBy": self.registered_by,
            **{name: round(epoch_s + at_s, 3) for name, at_s in dates.items() if at_s is not None},
        }

    def _fargate(self) -> list[str]:
        return ["FARGATE"] if "FARGATE" in self.raw.get("requiresCompatibilities", []) else []


@dataclass
class DefinitionStore:
    """All revisions of all families."""

    arn_prefix: str
    families: dict[str, list[Definition]] = field(default_factory=dict)
    _last_revision: dict[str, int] = field(default_factory=dict)

    def register(self, raw: Json, *, now_s: float, registered_by: str) -> Definition:
        """The next revision of the family; numbers are never used again."""
        family = raw["family"]
        revision = self._last_revision[family] = self._last_revision.get(family, 0) + 1
        kept = {name: value for name, value in raw.items() if name != "tags"}
        arn = f"{self.arn_prefix}:task-definition/{family}:{revision}"
        definition = Definition(arn, family, revision, kept, now_s, registered_by)
        self.families.setdefault(family, []).append(definition)
        return definition

    def find(self, reference: str) -> Definition | None:
        """By ARN, family:revision, or family alone (its newest ACTIVE revision)."""
        family, _, revision = reference.rpartition("/")[2].partition(":")
        if reference.startswith("arn:") and not reference.startswith(f"{self.arn_prefix}:task-definition/"):
            return None
        revisions = self.families.get(family, [])
        if revision:
            return next((found for found in revisions if str(found.revision) == revision), None)
        return next((found for found in reversed(revisions) if found.status == "ACTIVE"), None)

    def of_status(self, family: str | None, status: str) -> list[Definition]:
        """The revisions of that status, by family, oldest first."""
        names = sorted(self.families) if family is None else [family]
        return [found for name in names for found in self.families.get(name, []) if found.status == status]


def refuse_bad_definition(raw: Json) -> None:
    """Raise what ECS raises for a definition that fits the model and still makes no sense."""
    containers: list[Any] = raw["containerDefinitions"]
    if not containers:
        raise client_error("Container list cannot be empty.")
    names = [container.get("name", "") for container in containers]
    if len(set(names)) < len(names) or "" in names:
        raise client_error("Container names must be given, and be unique.")
    if not any(container.get("essential", True) for container in containers):
        raise client_error("Task definition does not have any essential containers.")
    for container in containers:
        if not container.get("image"):
            raise client_error("Container.image should not be null or empty.")
        variables = {entry.get("name") for entry in container.get("environment", [])}
        if twice := variables & {entry["name"] for entry in container.get("secrets", [])}:
            raise client_error(
                f"The secret name must be unique and not shared with any new or existing environment "
                f"variables set on the container, such as '{sorted(map(str, twice))[0]}'."
            )


def refuse_bad_tags(params: Json) -> None:
    """Raise what ECS raises for tags that it does not take."""
    if "tags" not in params:
        return
    if not params["tags"]:
        raise invalid("Tags can not be empty.")
    if any(str(tag.get("key", "")).lower().startswith("aws:") for tag in params["tags"]):
        raise invalid("Tag keys may not start with the reserved prefix 'aws:'.")
