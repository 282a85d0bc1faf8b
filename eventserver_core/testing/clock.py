"""Clocks for tests: one that stands still until it is told, and one that really runs."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Tells the time in both of the core's forms, and lets time pass."""

    def __call__(self) -> float:
        """Return the seconds since 1970-01-01T00:00:00Z."""

    def now(self) -> datetime:
        """Return the present in UTC."""

    def advance(self, seconds: float) -> None:
        """Return once so many seconds have passed on this clock."""


class ManualClock:
    """Stands still until it is moved on, so that a test takes no time.

    Args:
        start: seconds since 1970-01-01T00:00:00Z; by default a full hour in November 2023.
    """

    def __init__(self, start: float = 1_700_002_800.0) -> None:
        self._seconds = start

    def __call__(self) -> float:
        return self._seconds

    def now(self) -> datetime:
        return datetime.fromtimestamp(self._seconds, UTC)

    def advance(self, seconds: float) -> None:
        self._seconds += seconds


class RealClock:
    """The machine's own clock, for backends that ask somebody else for the time."""

    def __call__(self) -> float:
        return time.time()

    def now(self) -> datetime:
        return datetime.now(UTC)

    def advance(self, seconds: float) -> None:
        time.sleep(max(seconds, 0.0))
