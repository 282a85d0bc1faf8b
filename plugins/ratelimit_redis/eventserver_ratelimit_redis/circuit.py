"""Whether Redis may be asked now, and the account of the time when it could not."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

PAUSE = 1.0
"""Seconds after a failure in which nobody asks; then one call tries again."""


@dataclass(frozen=True, slots=True)
class Outage:
    """What happened while Redis was away.

    Attributes:
        calls: how many were decided without it.
        seconds: how long that went on.
    """

    calls: int
    seconds: float


class Circuit:
    """Opens with a failure, and closes with the next success.

    Args:
        clock: seconds on a clock that runs evenly.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._began: float | None = None
        self._last_failure = 0.0
        self._next_try = 0.0
        self._calls = 0

    def admits(self) -> bool:
        """Tell whether this call may ask; while the circuit is open, one in each pause."""
        with self._lock:
            if self._began is None:
                return True
            now = self._clock()
            if now < self._next_try:
                return False
            self._next_try = now + PAUSE
            return True

    def fail(self) -> bool:
        """Note a failure; tell whether the circuit was closed until now."""
        with self._lock:
            now = self._clock()
            was_closed = self._began is None
            if was_closed:
                self._began = now
                self._calls = 0
            self._last_failure = now
            self._next_try = now + PAUSE
            return was_closed

    def count_bypass(self) -> None:
        """Note a call that was decided without Redis."""
        with self._lock:
            self._calls += 1

    def succeed(self, asked_at: float) -> Outage | None:
        """Note an answer; return the outage that ends with it.

        What was asked before the last failure ends nothing, or a server that answers now and then
        would open and close the circuit with each call.
        """
        with self._lock:
            if self._began is None or asked_at < self._last_failure:
                return None
            outage = Outage(self._calls, self._clock() - self._began)
            self._began = None
            return outage
