"""How containers of an image behave, scripted by tests."""

from __future__ import annotations

from dataclasses import dataclass, field

DEFAULT_START_S = 2.0
SHORTEST_START_S = 0.1
DEFAULT_HEALTHY_S = 3.0
STANDALONE_LIFE_S = 5.0
"""How long a task of RunTask lives where its image says nothing else; a service's tasks run for ever."""


@dataclass(frozen=True)
class ContainerRun:
    """What one container will do, decided when its task starts."""

    start_s: float
    pull_error: str = ""
    exit_after_s: float | None = None
    exit_code: int = 0
    exit_reason: str = ""
    healthy_after_s: float | None = DEFAULT_HEALTHY_S
    log_lines: tuple[str, ...] = ()


@dataclass
class Behaviour:
    """The script of one image; every method changes it and returns it, so that they chain."""

    image: str
    start_s: float = DEFAULT_START_S
    pull_error: str = ""
    exit_after_s: float | None = None
    exit_code: int = 0
    exit_reason: str = ""
    healthy_after_s: float | None = DEFAULT_HEALTHY_S
    placeable: bool = True
    log_lines: list[str] = field(default_factory=list)
    flaps_left: int = 0
    flap_up_s: float = 0.0

    def starts_after(self, seconds: float) -> Behaviour:
        """A task takes that long from its creation to RUNNING; never at once, so that a crash loop takes time."""
        self.start_s = max(seconds, SHORTEST_START_S)
        return self

    def crashes(self, after_s: float = 5, exit_code: int = 1, reason: str | None = None) -> Behaviour:
        """The container ends that long after it runs."""
        self.exit_after_s, self.exit_code, self.exit_reason = after_s, exit_code, reason or ""
        return self

    def exits(self, code: int = 0, after_s: float = STANDALONE_LIFE_S) -> Behaviour:
        """The container ends with `code`, as a task of RunTask should."""
        return self.crashes(after_s, code)

    def out_of_memory(self, after_s: float = 5) -> Behaviour:
        return self.crashes(after_s, 137, "OutOfMemoryError: Container killed due to memory usage")

    def cannot_be_pulled(self, reason: str | None = None) -> Behaviour:
        self.pull_error = reason or (
            "CannotPullContainerError: pull image manifest has been retried 5 time(s): "
            f"failed to resolve ref {self.image}: {self.image}: not found"
        )
        return self

    def cannot_be_placed(self) -> Behaviour:
        """No instance has room: no task is made at all."""
        self.placeable = False
        return self

    def never_healthy(self) -> Behaviour:
        """The container's health check, if the definition has one, fails until ECS gives up on the task."""
        self.healthy_after_s = None
        return self

    def healthy_after(self, seconds: float) -> Behaviour:
        self.healthy_after_s = seconds
        return self

    def flaps(self, up_s: float, times: int) -> Behaviour:
        """The first `times` tasks crash after `up_s`; those after them stay."""
        self.flap_up_s, self.flaps_left = up_s, times
        return self

    def logs(self, lines: list[str]) -> Behaviour:
        """What the container writes as soon as it runs."""
        self.log_lines = list(lines)
        return self

    def next_run(self, *, standalone: bool) -> ContainerRun:
        """What the next container of this image does."""
        exit_after_s, exit_code = self.exit_after_s, self.exit_code
        if self.flaps_left:
            self.flaps_left -= 1
            exit_after_s, exit_code = self.flap_up_s, 1
        elif standalone and exit_after_s is None:
            exit_after_s = STANDALONE_LIFE_S
        return ContainerRun(
            start_s=self.start_s,
            pull_error=self.pull_error,
            exit_after_s=exit_after_s,
            exit_code=exit_code,
            exit_reason=self.exit_reason,
            healthy_after_s=self.healthy_after_s,
            log_lines=tuple(self.log_lines),
        )
