"""Rate limiting in the memory of one machine, counted over all processes of its server.

A strict sliding window: time is cut into 60 buckets a window, and what counts is the present
bucket with the 60 before it. A bucket that lies in the window only in part counts in full, so in
no window of the quota's length, wherever it begins, is more let through than the limit; the price
is that units come back up to 1/60 of the window late.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path

import structlog

from eventserver_core.backends.ratelimit import Quota, RateDecision, RateLimiter
from eventserver_core.builtin.counter_table import COUNTERS, MAX_COUNT, Slot, open_table
from eventserver_core.builtin.files import make_directory, reported
from eventserver_core.errors import BackendUnavailableError
from eventserver_core.hookspecs import hookimpl
from eventserver_core.sections import ServerSettings
from eventserver_core.settings import Section, Settings, one_of, option

BACKEND = "ratelimit=memory"

_BUCKETS = COUNTERS - 1
_ROUNDING = 0.001
"""Seconds added to every wait, so that no rounding makes a caller come back too early."""
_BUSY_RETRY = 1.0
_CHECK = Quota("check", limit=MAX_COUNT, window=60)

_log = structlog.get_logger(__name__)


class RateLimitSettings(Section, name="ratelimit"):
    """What happens where calls cannot be counted."""

    on_failure: str = option(
        "open",
        parser=one_of("open", "closed"),
        expected="open or closed",
        doc="Whether calls are let through or refused while they cannot be counted.",
    )


@hookimpl
def eventserver_settings() -> list[type[Section]]:
    """Return the section of this plugin."""
    return [RateLimitSettings]


@hookimpl
def eventserver_ratelimit_backend(settings: Settings) -> RateLimiter:
    """Return the limiter that counts in the data directory."""
    return MemoryRateLimiter(
        settings[ServerSettings].data_dir / "ratelimit.bin",
        fail_open=settings[RateLimitSettings].on_failure == "open",
    )


class MemoryRateLimiter:
    """Counts in a file that stays in the system's page cache.

    The table has room for 131,072 identities. Where a set of eight is full, the identity in it
    that was silent for longest is forgotten, and starts with a full quota when it comes back. To
    have its own count forgotten, a caller needs about as many identities as there is room for:
    which of them share a set depends on a secret in the file. Whoever has that many gains more
    by simply using them all, so making an identity must cost something (a proof of work, an
    admin's word).

    Args:
        path: the file.
        clock: seconds on a clock that all processes of this machine share and that runs evenly.
            Nobody can set the default one, and it begins anew with each boot. Where a clock does
            step back, nothing is forgotten too early and nobody is kept out for longer than a
            window and two buckets.
        fail_open: whether calls go on while the file can't be used.
        sets: how many sets of eight a new file gets.

    Raises:
        BackendUnavailableError: the file can't be made, or is something else.
    """

    def __init__(
        self,
        path: Path,
        *,
        clock: Callable[[], float] = time.monotonic,
        fail_open: bool = True,
        sets: int = 16384,
    ) -> None:
        self._clock = clock
        self._fail_open = fail_open
        self._failing = False
        with reported(BACKEND, "the data directory cannot be used"):
            make_directory(path.absolute().parent)
            self._table = open_table(path, sets)

    def hit(self, identity: str, quota: Quota, cost: int = 1) -> RateDecision:
        """Take units from a quota; see ``RateLimiter.hit``.

        A limit above 2**32 - 1 counts as that. Where a call can never be allowed, since it costs
        more than the limit, ``retry_after`` is one window.

        Raises:
            ValueError: the cost is under 1.
            BackendUnavailableError: the file can't be used, and calls are refused then.
        """
        if cost < 1:
            raise ValueError(f"a call costs at least 1, not {cost}")
        try:
            decision = self._count(identity, quota, cost)
        except TimeoutError:  # only its own set's crowd waits, so this is nobody's way round
            return RateDecision(False, 0, _BUSY_RETRY, _BUSY_RETRY)
        except OSError as ex:
            return self._uncounted(quota, cost, ex)
        self._failing = False
        return decision

    def check(self) -> None:
        """Count a call of nobody's, in the file that other processes would open."""
        with reported(BACKEND, "calls cannot be counted; see to the data directory and its disk"):
            self._count("", _CHECK, 1)
        if not self._table.is_current():
            raise BackendUnavailableError(BACKEND, "the table was replaced; restart the server")

    def _count(self, identity: str, quota: Quota, cost: int) -> RateDecision:
        limit = min(quota.limit, MAX_COUNT)
        with self._table.row(_name(identity, quota)) as row:
            now = self._clock()  # once the set is held, so that it never runs backwards in a slot
            slot = row.load(now)
            _roll(slot, int(now * _BUCKETS // quota.window))
            used = sum(slot.counts)
            allowed = used + cost <= limit
            if allowed:
                slot.counts[0] += cost
                used += cost
            row.store(slot, now)
        if allowed:
            retry_after = 0.0
        elif cost > limit:
            retry_after = float(quota.window)
        else:
            retry_after = _wait(slot, used + cost - limit, quota.window, now)
        reset_after = _wait(slot, used, quota.window, now)
        return RateDecision(allowed, max(limit - used, 0), retry_after, reset_after)

    def _uncounted(self, quota: Quota, cost: int, ex: OSError) -> RateDecision:
        if not self._failing:
            self._failing = True
            _log.error("rate_limit_not_counted", error=str(ex), fail_open=self._fail_open)
        if not self._fail_open:
            raise BackendUnavailableError(BACKEND, f"calls cannot be counted: {ex}") from ex
        if cost <= quota.limit:
            return RateDecision(True, quota.limit - cost, 0.0, 0.0)
        return RateDecision(False, 0, _BUSY_RETRY, _BUSY_RETRY)


def _name(identity: str, quota: Quota) -> bytes:
    text = f"{len(quota.policy)}:{quota.policy}{quota.window}:{identity}"
    return text.encode("utf-8", "surrogatepass")


def _roll(slot: Slot, bucket: int) -> None:
    """Move a slot on to the present bucket.

    Where the clock stepped back by more than a bucket, what was used last is taken to lie one
    bucket ahead: no unit then looks older than it is.
    """
    steps = bucket - slot.newest
    if steps > 0:
        slot.counts = ([0] * min(steps, COUNTERS) + slot.counts)[:COUNTERS]
        slot.newest = bucket
    elif steps < -1:
        slot.newest = bucket + 1


def _wait(slot: Slot, units: int, window: int, now: float) -> float:
    """Return the seconds until this many units have come back, oldest first."""
    if units <= 0:
        return 0.0
    back = accumulate(reversed(slot.counts))
    rolls = next(n for n, total in enumerate(back, start=1) if total >= units)
    return (slot.newest + rolls) * window / _BUCKETS - now + _ROUNDING
