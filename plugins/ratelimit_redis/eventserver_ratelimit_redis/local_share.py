"""Counting in this process's memory, while Redis is away.

A strict sliding window of 60 buckets, as in Redis. The table has a fixed size: identities that find
no room share a few rows, so that nobody gets more than the limit, and some get less.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import accumulate

from eventserver_core.backends.ratelimit import RateDecision

ROWS = 20_000
SHARED_ROWS = 256

_BUCKETS = 60
_SECOND = 1_000_000_000
_ROUNDING = 0.001


@dataclass(slots=True)
class _Row:
    ends: int = 0
    counts: dict[int, int] = field(default_factory=dict)


class LocalShare:
    """Counts what identities use of a share of their limits.

    Args:
        clock: nanoseconds on a clock that runs evenly.
        rows: how many identities have a row of their own.
    """

    def __init__(self, clock: Callable[[], int] = time.monotonic_ns, rows: int = ROWS) -> None:
        self._clock = clock
        self._size = rows
        self._lock = threading.Lock()
        self._rows: OrderedDict[tuple[str, int], _Row] = OrderedDict()

    def hit(self, key: str, limit: int, window: int, cost: int) -> RateDecision:
        """Take units, if they are there; a cost above the limit is never allowed.

        Args:
            key: whose, in hexadecimal digits.
            limit: units in a window.
            window: seconds.
            cost: units.
        """
        length = -(-window * _SECOND // _BUCKETS)
        with self._lock:
            now = self._clock()
            name, row = self._find(key, window, now)
            bucket = now // length
            for number in [old for old in row.counts if old < bucket - _BUCKETS]:
                del row.counts[number]
            used = sum(row.counts.values())
            allowed = used + cost <= limit
            if allowed:
                row.counts[bucket] = row.counts.get(bucket, 0) + cost
                row.ends = (bucket + _BUCKETS + 1) * length
                used += cost
                self._rows[name] = row
                self._rows.move_to_end(name)
            if allowed:
                retry_after = 0.0
            elif cost > limit:
                retry_after = float(window)
            else:
                retry_after = _wait(row, used + cost - limit, length, now)
            return RateDecision(
                allowed, max(limit - used, 0), retry_after, _wait(row, used, length, now)
            )

    def _find(self, key: str, window: int, now: int) -> tuple[tuple[str, int], _Row]:
        while self._rows and next(iter(self._rows.values())).ends <= now:
            self._rows.popitem(last=False)
        name = (key, window)
        if name not in self._rows and len(self._rows) >= self._size:
            name = (f"shared {int(key, 16) % SHARED_ROWS}", window)
        return name, self._rows.get(name) or _Row()


def _wait(row: _Row, units: int, length: int, now: int) -> float:
    """Return the seconds until this many units have come back, oldest first."""
    if units <= 0:
        return 0.0
    numbers = sorted(row.counts)
    back = accumulate(row.counts[number] for number in numbers)
    number = next(n for n, total in zip(numbers, back, strict=True) if total >= units)
    return ((number + _BUCKETS + 1) * length - now) / _SECOND + _ROUNDING
