"""How well this server is: what it depends on, and what waits to be anchored."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from eventserver_core.db.batches import Backlog, BatchRepository
from eventserver_core.errors import BackendUnavailableError, EventServerError
from eventserver_core.log import get_logger

_REMEMBERED_FOR = 1.0
_TRUSTED_FOR = 5.0
_PATIENCE = 2.0
_log = get_logger()


@dataclass(frozen=True, slots=True)
class Health:
    """What was found.

    Attributes:
        status: ``healthy``, ``degraded`` (events are taken, something else is wrong) or
            ``unhealthy`` (events can't be taken).
        services: what is depended on, by name, and whether it answers.
        backlog: what is not anchored yet; None where the database is away.
        oldest_age: seconds since the oldest event that is not anchored came in.
    """

    status: str
    services: Mapping[str, bool]
    backlog: Backlog | None
    oldest_age: float | None


class CheckHealth:
    """Asks every dependency; an answer is remembered for a second, as anyone may ask.

    Args:
        checks: what to ask, by the name that callers see.
        needed: the names without which events can't be taken.
        batches: knows what waits to be anchored.
        late_after: an event that waits longer than this makes the server degraded.
        clock: tells the time.
    """

    def __init__(
        self,
        checks: Mapping[str, Callable[[], None]],
        needed: frozenset[str],
        batches: BatchRepository,
        late_after: timedelta,
        clock: Callable[[], datetime],
    ) -> None:
        self._checks = checks
        self._needed = needed
        self._batches = batches
        self._late_after = late_after
        self._clock = clock
        self._lock = threading.Lock()
        self._remembered: tuple[float, Health] | None = None

    def check(self) -> Health:
        """Return how well the server is now, or was within the last second."""
        remembered = self._remembered
        fresh = remembered is not None and time.monotonic() - remembered[0] < _TRUSTED_FOR
        if not self._lock.acquire(timeout=0 if fresh else _PATIENCE):
            # somebody else is asking: if a dependency hangs, nobody queues up behind it
            if fresh and remembered is not None:
                return remembered[1]
            return Health("unhealthy", dict.fromkeys(self._checks, False), None, None)
        try:
            if self._remembered and time.monotonic() - self._remembered[0] < _REMEMBERED_FOR:
                return self._remembered[1]
            health = self._ask()
            self._remembered = (time.monotonic(), health)
            return health
        finally:
            self._lock.release()

    def _ask(self) -> Health:
        services = {name: self._answers(name, check) for name, check in self._checks.items()}
        backlog, age = None, None
        try:
            backlog = self._batches.backlog()
        except BackendUnavailableError:
            services["database"] = False
        else:
            if backlog.oldest is not None:
                age = max(0.0, (self._clock() - backlog.oldest).total_seconds())
        late = age is not None and age > self._late_after.total_seconds()
        if any(not services[name] for name in self._needed):
            status = "unhealthy"
        elif late or not all(services.values()):
            status = "degraded"
        else:
            status = "healthy"
        return Health(status, services, backlog, age)

    @staticmethod
    def _answers(name: str, check: Callable[[], None]) -> bool:
        try:
            check()
        except EventServerError as ex:
            _log.warning("dependency_unavailable", dependency=name, error=str(ex))
            return False
        return True
