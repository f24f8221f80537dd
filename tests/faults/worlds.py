"""The worlds of the campaign: families of definitions, services with a past, and the services beside them. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any

from tests.simulator.errors import Json

Script = tuple[str, dict[str, Any]]
"""A method of `Behaviour` and its arguments."""

CLUSTER, SERVICE = "production", "doorman"
CONTAINER = "doorman"
"""The container that matters, in every definition."""
NEW, OLD, BROKEN, SLOW, THEIRS = "2", "1", "0", "8", "9"
"""The tags: asked for; running before; failed before; on its way before; deployed by somebody else."""
CANARY = "canary-5d41402a"
"""Stands in every secret value; it may appear nowhere in what the program writes."""
WORDS = ("cluster", "service", "update", "completed", "ERROR", "info", "test", "x")
"""Values and names of variables that are words of our own sentences, too."""
PASTS = ("failed", "in progress", "inactive", "dead")


def image(family: str, tag: str) -> str:
    """The image of a family's container."""
    return f"registry.example.com:5000/{family}:{tag}"


@dataclass(frozen=True)
class Family:
    """A family of definitions: how many revisions there are, and how its images do."""

    name: str
    tag: str = OLD
    older_revisions: int = 0
    health_check: bool = False
    sidecar: bool = False
    wordy: bool = False
    new_image: tuple[Script, ...] = ()
    old_image: tuple[Script, ...] = ()

    def definition(self, tag: str) -> Json:
        """What is registered for that tag; every secret in it is a canary, or a word of our own where it is wordy."""
        container: Json = {
            "name": CONTAINER, "image": image(self.name, tag), "memory": 128, "essential": True,
            "environment": _variables(self.wordy),
            "secrets": [{"name": "PASSWORD", "valueFrom": f"{CANARY}-parameter"}],
            "logConfiguration": {"logDriver": "awslogs", "options": {
                "awslogs-group": "/ecs/doors", "awslogs-region": "us-east-1", "awslogs-stream-prefix": "ecs",
            }},
        }  # fmt: skip
        if not self.wordy:
            container |= {
                "entryPoint": ["sh", "-c", f"{CANARY}-entry"], "command": ["--token", f"{CANARY}-argument"],
                "dockerLabels": {"com.example.licence": f"{CANARY}-label"},
            }  # fmt: skip
        if self.health_check:
            container["healthCheck"] = {"command": ["CMD", "true"], "interval": 5, "retries": 2}
        sidecars = [_sidecar(tag)] if self.sidecar else []
        tags = [{"key": "team", "value": "doors"}]
        size: Json = {"ephemeralStorage": {"sizeInGiB": 21}, "tags": tags}
        return {"family": self.name, "containerDefinitions": [container, *sidecars], **size}

    def scripts(self) -> tuple[tuple[str, tuple[Script, ...]], ...]:
        """How the images do, by image."""
        return (image(self.name, NEW), self.new_image), (image(self.name, OLD), self.old_image)


def _variables(wordy: bool) -> list[Json]:
    if wordy:
        entries = [(word, word) for word in WORDS] + [(f"V{n}", word) for n, word in enumerate(WORDS)]
        return [{"name": name, "value": value} for name, value in [("KEY", "info"), *entries]]
    return [
        {"name": "KEY", "value": f"{CANARY}-variable"}, {"name": "COLOUR", "value": "green"},
        {"name": "QUOTED", "value": f'{{"key": "{CANARY}-\\quoted\\"}}'},
        {"name": "PEM", "value": f"-----BEGIN KEY-----\n{CANARY}-first\n{CANARY}-second\n-----END KEY-----"},
    ]  # fmt: skip


def _sidecar(tag: str) -> Json:
    options = {"Name": "http", "licenseKey": f"{CANARY}-licence", "Header": f"Authorization {CANARY}-header"}
    logs = {"logDriver": "awsfirelens", "options": options}
    return {
        "name": "sidecar", "image": image("sidecar", tag), "memory": 64, "essential": False, "logConfiguration": logs,
    }  # fmt: skip


def _logged(wordy: bool) -> Script:
    """What the new image logs: a secret, and one line of a secret that has several; or words of our own."""
    secrets = ["opening the door", f"FATAL: no entry with {CANARY}-variable", f"{CANARY}-second"]
    return "logs", {"lines": ["info: the update of x completed", "ERROR in test"] if wordy else secrets}


@dataclass(frozen=True)
class Kept:
    """A service of the world, and what became of it before the run."""

    name: str
    family: str
    desired_count: int
    configuration: Json
    drain_s: float = 1.0
    classic_balancer: bool = False
    past: str = ""

    @property
    def is_native(self) -> bool:
        """Whether it deploys by BLUE_GREEN, LINEAR or CANARY."""
        return "strategy" in self.configuration


def some_family(rng: Random, name: str, *, good: float, wordy: bool) -> Family:
    """A family whose new image is good with that probability."""
    quick: Script = ("starts_after", {"seconds": rng.choice((0.1, 1.0, 2.0))})
    trouble = () if rng.random() < good else (rng.choice(_troubles(rng)),)
    return Family(
        name=name,
        older_revisions=rng.choice((0, 0, 0, 1, 3)),
        health_check=rng.random() < 0.3,
        sidecar=rng.random() < 0.2,
        wordy=wordy,
        new_image=(quick, _logged(wordy), *trouble),
        old_image=(("crashes", {"after_s": 1}),) if rng.random() < 0.04 else (),
    )


def _troubles(rng: Random) -> tuple[Script, ...]:
    return (
        ("starts_after", {"seconds": rng.choice((5.0, 15.0, 40.0))}),
        ("crashes", {"after_s": rng.choice((0.2, 2.0, 6.0, 30.0))}),
        ("out_of_memory", {"after_s": 2.0}),
        ("cannot_be_pulled", {}),
        ("cannot_be_placed", {}),
        ("never_healthy", {}),
        ("healthy_after", {"seconds": rng.choice((8.0, 30.0))}),
        ("flaps", {"up_s": rng.choice((0.5, 4.0)), "times": rng.randint(1, 6)}),
    )


def some_service(rng: Random, name: str, family: str, *, largest: int = 200, past: float = 0.15) -> Kept:
    """A service of that family, with a past of its own with that probability."""
    configuration = _configuration(rng)
    return Kept(
        name=name,
        family=family,
        desired_count=min(largest, _desired_count(rng)),
        configuration=configuration,
        drain_s=rng.choice((0.0, 1.0, 4.0)),
        classic_balancer="strategy" not in configuration and rng.random() < 0.05,
        past=rng.choice(PASTS) if rng.random() < past else "",
    )


def _desired_count(rng: Random) -> int:
    lowest, highest = rng.choices(((0, 0), (1, 3), (4, 12), (13, 60), (61, 200)), (8, 64, 20, 6, 2))[0]
    return rng.randint(lowest, highest)


def _configuration(rng: Random) -> Json:
    enabled, rolls_back = rng.choice(((False, False), (True, False), (True, True)))
    breaker: Json = {"enable": enabled, "rollback": rolls_back}
    if enabled and rng.random() < 0.3:
        breaker = {**breaker, "thresholdConfiguration": {"type": "COUNT", "value": rng.randint(1, 5)}}
    minimum, maximum = rng.choices(((100, 200), (50, 200), (0, 100), (100, 150)), (10, 3, 3, 3))[0]
    found: Json = {
        "deploymentCircuitBreaker": breaker, "minimumHealthyPercent": minimum, "maximumPercent": maximum,
    }  # fmt: skip
    return {**found, **_strategy(rng)} if rng.random() < 0.12 else found


def _strategy(rng: Random) -> Json:
    minutes = rng.choice((0, 0, 1))
    strategies: tuple[Json, ...] = (
        {"strategy": "BLUE_GREEN", "bakeTimeInMinutes": minutes},
        {"strategy": "LINEAR", "linearConfiguration": {"stepPercent": 50.0, "stepBakeTimeInMinutes": minutes}},
        {"strategy": "CANARY", "canaryConfiguration": {"canaryPercent": 10.0, "canaryBakeTimeInMinutes": minutes}},
    )
    return rng.choice(strategies)
