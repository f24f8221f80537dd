"""Virtual time: what is due when."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count


class Timeline:
    """A clock that jumps from one due act to the next; those due at one time run in the order they were asked for."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._due: list[tuple[float, int, Callable[[], object]]] = []
        self._order = count()

    def at(self, at_s: float, act: Callable[[], object]) -> None:
        """Have `act` called at `at_s`, or at the next advance if that has passed."""
        heapq.heappush(self._due, (max(at_s, self.now_s), next(self._order), act))

    def after(self, delay_s: float, act: Callable[[], object]) -> None:
        self.at(self.now_s + delay_s, act)

    @property
    def next_s(self) -> float:
        """When the next act is due; infinite where there is none."""
        return self._due[0][0] if self._due else float("inf")

    def advance(self, seconds: float) -> None:
        self.advance_to(self.now_s + seconds)

    def advance_to(self, at_s: float) -> None:
        """Move on to `at_s`, doing on the way what falls due; never backwards."""
        due = self._due
        while due and due[0][0] <= at_s:
            self.now_s, _, act = heapq.heappop(due)
            act()
        self.now_s = max(self.now_s, at_s)
