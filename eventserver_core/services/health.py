"""How well this server is: what it depends on, and what waits to be anchored."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta

from eventserver_core.db.batches import Backlog, BatchRepository
from eventserver_core.errors import BackendUnavailableError, EventServerError
from eventserver_core.log import get_logger

_TRUSTED_FOR = 5.0
_BELIEVED_FOR = 30.0
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


@dataclass(frozen=True, slots=True)
class Anchoring:
    """What tells whether events are anchored in time.

    Attributes:
        batches: knows what waits to be anchored.
        late_after: an event that waits longer than this makes the server degraded.
    """

    batches: BatchRepository
    late_after: timedelta


class CheckHealth:
    """Asks dependencies, all at once; an answer is remembered a moment, as anyone may ask.

    Args:
        checks: what to ask, by the name that callers see.
        needed: the names without which events can't be taken.
        clock: tells the time.
        anchoring: what tells of events that wait; None leaves them out.
        remembered_for: for how many seconds an answer is given again.
    """

    def __init__(
        self,
        checks: Mapping[str, Callable[[], None]],
        needed: frozenset[str],
        clock: Callable[[], datetime],
        anchoring: Anchoring | None = None,
        remembered_for: float = 1.0,
    ) -> None:
        self._checks = checks
        self._needed = needed
        self._clock = clock
        self._anchoring = anchoring
        self._remembered_for = remembered_for
        self._lock = threading.Lock()
        self._remembered: tuple[float, Health] | None = None

    def check(self) -> Health:
        """Return how well the server is now, or was a moment ago."""
        recent = self._recall(_TRUSTED_FOR)
        if not self._lock.acquire(timeout=0 if recent else _PATIENCE):
            # somebody else is asking: if a dependency hangs, nobody queues up behind it
            unknown = Health("unhealthy", dict.fromkeys(self._checks, False), None, None)
            return recent or self._recall(_BELIEVED_FOR) or unknown
        try:
            if fresh := self._recall(self._remembered_for):
                return fresh
            health = self._ask()
            self._remembered = (time.monotonic(), health)
            return health
        finally:
            self._lock.release()

    def _recall(self, seconds: float) -> Health | None:
        remembered = self._remembered
        if remembered is None or time.monotonic() - remembered[0] >= seconds:
            return None
        return remembered[1]

    def _ask(self) -> Health:
        # the database's own connections belong to threads: it is asked in this one
        elsewhere = [name for name in self._checks if name != "database"]
        with ThreadPoolExecutor(max(1, len(elsewhere)), "health") as threads:
            asked = {name: threads.submit(self._answers, name) for name in elsewhere}
            found = {name: self._answers(name) for name in self._checks if name == "database"}
            found |= {name: answer.result() for name, answer in asked.items()}
        services = {name: found[name] for name in self._checks}
        backlog, age = None, None
        if self._anchoring is not None:
            try:
                backlog = self._anchoring.batches.backlog()
            except BackendUnavailableError:
                services["database"] = False
            else:
                if backlog.oldest is not None:
                    age = max(0.0, (self._clock() - backlog.oldest).total_seconds())
        late = (
            self._anchoring is not None
            and age is not None
            and age > self._anchoring.late_after.total_seconds()
        )
        if any(not services[name] for name in self._needed):
            status = "unhealthy"
        elif late or not all(services.values()):
            status = "degraded"
        else:
            status = "healthy"
        return Health(status, services, backlog, age)

    def _answers(self, name: str) -> bool:
        try:
            self._checks[name]()
        except EventServerError as ex:
            _log.warning("dependency_unavailable", dependency=name, error=str(ex))
            return False
        return True
