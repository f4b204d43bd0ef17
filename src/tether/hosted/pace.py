"""How fast requests go out: as many at a time as the server bears, no more a minute than the user allows."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

MOST = 16  # requests under way
FIRST = 4


class Pace:
    """Requests under way: one more after each round that went well, half as many after a refusal (AIMD).

    Args:
        per_minute: Requests a minute, at most.
        clock: Seconds that never go back, whatever happens to the date.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.between, self.clock = 60.0 / per_minute, clock
        self.limit, self.under_way = float(FIRST), 0
        self._next = self._resume = clock()
        self._changed = threading.Condition()

    def enter(self) -> None:
        """Wait until one more request may go out."""
        with self._changed:
            while True:
                now = self.clock()
                wait = max(self._next, self._resume) - now
                if wait <= 0 and self.under_way < int(self.limit):
                    break
                self._changed.wait(wait if wait > 0 else None)
            self._next = now + self.between
            self.under_way += 1

    def leave(self) -> None:
        """A request went well."""
        with self._changed:
            self.under_way -= 1
            self.limit = min(MOST, self.limit + 1 / self.limit)
            self._changed.notify_all()

    def back_off(self, seconds: float) -> None:
        """A request was turned away: nothing goes out for so long, and then half as many at a time."""
        with self._changed:
            self.under_way -= 1
            now = self.clock()
            if now >= self._resume:  # several refusals of one moment are one refusal
                self.limit = max(1.0, self.limit / 2)
            self._resume = max(self._resume, now + seconds)
            self._changed.notify_all()
