"""Signals as the program gets them: its own handler is called in the main thread, right where that was interrupted."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from tests.faults.faults import KILL

NEVER_S = 20.0
"""Nothing takes so long; whoever waits for another thread goes on after that, and the seed turns red."""

AGAIN_S = 0.05
"""A signal right before the main thread begins to wait in the system wakes nobody, so it is sent again."""


class Killed(BaseException):
    """The end of the process at any point; nothing of the program may hold it up."""


class Relay:
    """Delivers signals at exact moments, and knows whether the program left the place where it was.

    A real signal would do the same at a time that nobody could repeat: the server's thread and the main thread race.
    """

    def __init__(self) -> None:
        self.dead = False
        self._number = 0
        self._left = self._waiting = False
        self._handled, self._acknowledged = threading.Event(), threading.Event()

    def here(self, number: int) -> None:
        """Deliver in the main thread; what the handler raises comes out of here."""
        handler = signal.getsignal(number) if number != KILL else signal.SIG_DFL
        if handler is signal.SIG_DFL:
            self.dead = True
            raise Killed
        if callable(handler):
            handler(number, sys._getframe())

    def there(self, number: int) -> bool:
        """Deliver from the server's thread, while the main thread waits for an answer; True if it does no longer."""
        self._number, self._left, self._waiting = number, False, True
        self._handled.clear()
        self._acknowledged.clear()
        for _ in range(int(NEVER_S / AGAIN_S)):
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)
            if self._handled.wait(AGAIN_S):
                return self._left
        raise AssertionError("the main thread takes no signals")

    def acknowledge(self) -> None:
        """The server's thread has noted everything; the main thread may go on."""
        self._acknowledged.set()

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Take signals for the program inside of the block; what comes before its own handlers are there is ignored."""
        handlers = {signal.SIGUSR1: self._take, signal.SIGINT: _ignore, signal.SIGTERM: _ignore}
        before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        try:
            yield
        finally:
            self.dead = False
            for number, handler in before.items():
                signal.signal(number, handler)

    def _take(self, _number: int, _frame: FrameType | None) -> None:
        if not self._waiting:
            return  # it was sent again, and had been taken
        self._waiting = False
        try:
            self.here(self._number)
        except BaseException:
            self._left = True
            self._handled.set()
            self._acknowledged.wait(NEVER_S)
            raise
        self._handled.set()


def _ignore(_number: int, _frame: FrameType | None) -> None:
    pass
