"""Walks all of what is stored, or a random sample of it, and has each part checked."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from eventserver_core.backends.chain import ChainBackend
from eventserver_core.backends.storage import StorageBackend
from eventserver_core.db.batches import BatchRecord, BatchRepository
from eventserver_core.db.events import EventRecord, EventRepository, Extent
from eventserver_core.domain.envelope import PACK_PREFIX
from eventserver_core.errors import BackendUnavailableError
from eventserver_core.services.integrity import (
    CheckBatch,
    CheckEventBytes,
    Finding,
    Kind,
    Tally,
)

_PAGE = 200
_TRIES = 20
"""Draws for each event of a sample, at most: ids have gaps, and are drawn twice."""
_STORAGE_PATIENCE = 5
"""So many events in a row that can't be read, and the rest is left for another time."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What is to be checked.

    Attributes:
        sample: how many events, chosen at random; None is all of them.
        since: only events that were received since then.
    """

    sample: int | None
    since: datetime | None = None


class Listener(Protocol):
    """Whoever follows a walk."""

    def begin(self, total: int) -> None:
        """Hear how many events will be checked."""

    def advance(self) -> None:
        """Hear that one more was checked."""

    def found(self, finding: Finding) -> None:
        """Hear of a finding at once; there may be any number."""


class CheckIntegrity:
    """Checks events, and the batches that they are in, whole.

    Args:
        storage: where the objects are.
        events: the events' rows.
        batches: the batches' rows.
        chain: is asked whether roots are there; None leaves that out.
    """

    def __init__(
        self,
        storage: StorageBackend,
        events: EventRepository,
        batches: BatchRepository,
        chain: ChainBackend | None,
    ) -> None:
        self._storage = storage
        self._events = events
        self._batches = batches
        self._chain = chain

    def run(self, scope: Scope, listener: Listener) -> Tally:
        """Check what is in scope, in memory that does not grow with it, past all damage.

        What can't be checked is told as a finding, too; nothing is raised for it.
        """
        tally = Tally()
        try:
            self._walk(scope, listener, tally)
        except BackendUnavailableError as ex:
            listener.found(Finding(Kind.NOT_CHECKED, f"the rest was not checked: {ex}"))
        if tally.not_asked:
            detail = f"{tally.not_asked} more anchors: the chain was not asked, it did not answer"
            listener.found(Finding(Kind.NOT_CHECKED, detail))
        return tally

    def _walk(self, scope: Scope, listener: Listener, tally: Tally) -> None:
        extent = self._events.extent(scope.since)
        everything = scope.sample is None or scope.sample >= extent.count
        total = extent.count if everything else scope.sample or 0
        listener.begin(total)
        if extent.count == 0 and scope.since is None and any(self._storage.list(PACK_PREFIX)):
            detail = "storage has events, and the database has not one"
            listener.found(Finding(Kind.ROWS_MISSING, detail))
        check_event = CheckEventBytes(self._storage, tally)
        check_batch = CheckBatch(self._batches, self._chain, tally)
        seen: set[int] = set()
        batches_are_done = everything and scope.since is None
        if batches_are_done:
            for each in self._all_batches():
                _tell(listener, check_batch.findings(each))
        chosen = self._every(extent, scope) if everything else self._some(extent, scope, total)
        unread = 0
        for event in chosen:
            findings = list(check_event.findings(event))
            _tell(listener, iter(findings))
            batch = None if batches_are_done else event.batch
            if batch is not None and batch.id not in seen:
                seen.add(batch.id)
                _tell(listener, check_batch.findings(batch))
            listener.advance()
            unread = unread + 1 if any(not found.is_damage for found in findings) else 0
            if unread >= _STORAGE_PATIENCE:
                detail = f"the rest was not checked: {unread} events in a row could not be read"
                listener.found(Finding(Kind.NOT_CHECKED, detail))
                return

    def _all_batches(self) -> Iterator[BatchRecord]:
        after = 0
        while page := self._batches.page(after, _PAGE):
            yield from page
            after = page[-1].id

    def _every(self, extent: Extent, scope: Scope) -> Iterator[EventRecord]:
        """Return the events there were at the start; later ones are another run's."""
        after = extent.first_id - 1
        while page := self._events.page(after, _PAGE, scope.since):
            for id_, event in page:
                if id_ > extent.last_id:
                    return
                yield event
            after = page[-1][0]

    def _some(self, extent: Extent, scope: Scope, size: int) -> Iterator[EventRecord]:
        """Draw ids; an event after a gap is a little likelier than its neighbours."""
        draw = random.SystemRandom()  # nobody knows before which ones are looked at
        seen: set[int] = set()
        for _ in range(size * _TRIES):
            if len(seen) == size:
                return
            drawn = draw.randint(extent.first_id, extent.last_id)
            for id_, event in self._events.page(drawn - 1, 1, scope.since):
                if id_ not in seen:
                    seen.add(id_)
                    yield event
        # few ids between wide gaps are hardly drawn: go on with those that follow some place
        begin = draw.randint(extent.first_id, extent.last_id)
        for after in (begin - 1, extent.first_id - 1):
            position = after
            while len(seen) < size and (page := self._events.page(position, _PAGE, scope.since)):
                for id_, event in page[:_PAGE]:
                    if id_ not in seen and len(seen) < size:
                        seen.add(id_)
                        yield event
                position = page[-1][0]


def _tell(listener: Listener, findings: Iterator[Finding]) -> None:
    for finding in findings:
        listener.found(finding)
