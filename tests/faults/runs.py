"""One run of the program, as it was: in which world, how it ended, what it wrote, and what is wrong with that."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass, field

from tests.faults.witness import WatchedWorld
from tests.simulator import Call

MANY = 200
"""More calls than that are not printed all."""


@dataclass
class Run:
    """One run of the program; `code` is None where it was killed, `written` what it put into files."""

    world: WatchedWorld
    argv: tuple[str, ...]
    code: int | None = None
    out: str = ""
    err: str = ""
    written: str = ""
    calls: tuple[Call, ...] = ()
    wrongs: list[tuple[str, str]] = field(default_factory=list)

    @property
    def said(self) -> str:
        """All that it wrote to stdout and stderr, the runner's escapes undone."""
        return unescaped(self.out + self.err)

    @property
    def wants_json(self) -> bool:
        return "json" in self.argv and self.code is not None and not self.world.made.is_unreadable


def unescaped(text: str) -> str:
    """A workflow command's message as a person reads it."""
    return text.replace("%0D", "\r").replace("%0A", "\n").replace("%25", "%") if "%" in text else text


def report(run: Run) -> str:
    """The seed, the command line, the world, the calls and the output."""
    world, made = run.world, run.world.made
    calls = [
        f"  {number:4} {call.at_s - world.begun_s:8.2f} s  {call.operation} {json.dumps(call.params)[:160]}"
        f" -> {call.status}"
        for number, call in enumerate(run.calls)
    ]
    if len(calls) > MANY:
        calls[MANY // 2 : -MANY // 2] = [f"  … {len(calls) - MANY} calls …"]
    signals = [
        f"{number} at {at_s - world.begun_s:.2f} s, after {calls} calls" for at_s, number, calls in world.signalled
    ]
    return "\n".join(
        (
            f"seed {made.seed}: {len(run.wrongs)} wrong", *(f"  ✗ {rule}: {wrong}" for rule, wrong in run.wrongs),
            f"$ ecs-deploy {shlex.join(run.argv)}    -> {run.code}",
            f"{made}", f"others did: {world.acts}", f"signals: {signals}", "calls:", *calls,
            "stdout:", run.out, "stderr:", run.err,
        )
    )  # fmt: skip
