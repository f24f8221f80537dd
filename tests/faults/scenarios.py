"""One seed makes a world, a command line and what goes wrong. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random

from tests.faults.commands import COMMANDS, DAY_AFTER, Command, Line, Setting
from tests.faults.faults import Faults, Meddling, in_moving, some_faults, some_meddling
from tests.faults.schedules import asked
from tests.faults.worlds import CANARY, NEW, SERVICE, Family, Kept, some_family, some_service

CREDENTIALS = ("environment", "given", "profile", "role")
SURROUNDINGS = ("", "github", "user info in the endpoint", "user info in a proxy")
PROFILE, ROLE = "deployer", "arn:aws:iam::123456789012:role/deployer"


@dataclass(frozen=True)
class Scenario:
    """A world, a command line, and what goes wrong."""

    seed: int
    command: Command
    line: Line
    families: tuple[Family, ...]
    services: tuple[Kept, ...]
    neighbours: tuple[Kept, ...]
    settle_s: float
    page_size: int
    rollback_reuses_id: bool
    shows_releases: bool
    tasks_visible_after_s: float
    credentials: str
    surroundings: str
    faults: Faults
    meddling: tuple[Meddling, ...]

    @property
    def scheduled(self) -> bool:
        """Whether rules and schedules are to run the new revision."""
        return self.has("--schedule") or self.has("--schedules")

    @property
    def argv(self) -> tuple[str, ...]:
        return self.line.argv

    def has(self, option: str) -> bool:
        """Whether the option stands on the command line."""
        return option in self.argv

    def option(self, name: str) -> str | None:
        """The value of an option of the command line, None where it was not given."""
        return self.argv[self.argv.index(name) + 1] if name in self.argv else None

    @property
    def timeout_s(self) -> float:
        """How long one wait may take: what is given with -t, or the longest `max_wait` of an application."""
        return 240.0 if self.command.name == "app" else float(self.option("-t") or 90)

    def family(self, name: str) -> Family:
        return next(family for family in self.families if family.name == name)

    @property
    def is_wordy(self) -> bool:
        return any(family.wordy for family in self.families)

    @property
    def is_unreadable(self) -> bool:
        """Whether a file that the command line names is broken on purpose."""
        return any(": ]" in text or "no variable" in text for _, text in self.line.files)

    @property
    def reaches_aws(self) -> bool:
        return self.surroundings != "user info in a proxy" and not self.is_unreadable

    @property
    def is_quiet(self) -> bool:
        """Whether nothing disturbs the run but the images themselves."""
        faults = self.faults
        hit = faults.of_calls or faults.signals or faults.run_task_failures
        return self.reaches_aws and not (hit or self.meddling or faults.of_looks or faults.latency_s[1])


def scenario(seed: int) -> Scenario:
    """The scenario of that seed, always the same."""
    rng = Random(seed)
    commands = DAY_AFTER if seed % 12 == 11 else COMMANDS
    command = rng.choices(commands, [command.share for command in commands])[0]
    families, services = _furniture(rng, command)
    line = command.line(rng, Setting(families, services))
    words = asked(moving := Random(-seed - 1), command.name)
    line = replace(line, argv=(*line.argv, *words))
    credentials = rng.choices(CREDENTIALS, (80, 8, 6, 6))[0]
    made = Scenario(
        seed=seed,
        command=command,
        line=_with_credentials(line, credentials),
        families=families,
        services=services,
        neighbours=_neighbours(rng, families),
        settle_s=rng.choice((1.0, 3.0, 10.0)),
        page_size=100 if any(service.desired_count > 12 for service in services) else rng.choice((2, 3, 100)),
        rollback_reuses_id=rng.random() < 0.7,
        shows_releases=rng.random() < 0.8,
        tasks_visible_after_s=rng.choice((0.0, 0.0, 3.0)),
        credentials=credentials,
        surroundings=rng.choices(SURROUNDINGS, (86, 8, 4, 2))[0],
        faults=some_faults(rng) if rng.random() < 0.7 else Faults(),
        meddling=some_meddling(rng, len(services)) if rng.random() < 0.3 else (),
    )
    return replace(made, faults=in_moving(moving, made.faults)) if made.scheduled else made


def _furniture(rng: Random, command: Command) -> tuple[tuple[Family, ...], tuple[Kept, ...]]:
    """The families and services that the command is about; several services may share a family."""
    count = command.services(rng)
    wordy = rng.random() < 0.12
    names = [SERVICE, *(f"door-{number}" for number in range(2, count + 1))]
    shared = [rng.random() < 0.25 for _ in names]
    owners = [SERVICE if share else name for name, share in zip(names, shared, strict=True)]
    families = tuple(
        some_family(rng, name, good=command.good, wordy=wordy) for name in dict.fromkeys([SERVICE, *owners])
    )
    if command.name == "app":
        families = tuple(_as_new(rng, family) for family in families)
    largest = 200 if count == 1 else 6
    past = 0.2 if count == 1 else 0.1
    services = tuple(
        some_service(rng, name, owner, largest=largest, past=past) for name, owner in zip(names, owners, strict=True)
    )
    return families, services[:count]


def _as_new(rng: Random, family: Family) -> Family:
    """Now and then a family whose definition has the new tag already, so that nothing changes."""
    return replace(family, tag=NEW, new_image=family.new_image[:2]) if rng.random() < 0.2 else family


def _neighbours(rng: Random, families: tuple[Family, ...]) -> tuple[Kept, ...]:
    """Other services of the cluster that run revisions of the same family."""
    count = rng.choice((0, 0, 0, 1, 2))
    return tuple(some_service(rng, f"neighbour-{n}", families[0].name, largest=2, past=0) for n in range(count))


def _with_credentials(line: Line, credentials: str) -> Line:
    words = {
        "given": ("-k", "AKIAGIVEN", "-s", f"{CANARY}-given-key"),
        "profile": ("-p", PROFILE),
        "role": ("-a", ROLE),
    }
    return replace(line, argv=(*line.argv, *words.get(credentials, ())))
