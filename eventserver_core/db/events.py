"""Queries on events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from types import SimpleNamespace
from typing import Any

from peewee import JOIN, fn

from eventserver_core.db.batches import BatchRecord, batch_record
from eventserver_core.db.connection import Database
from eventserver_core.db.event_rows import (
    COLUMNS,
    NewEvent,
    NewSignature,
    StoredEvent,
    find_stored,
    insert_rows,
)
from eventserver_core.db.models import Batch, Event


@dataclass(frozen=True, slots=True)
class EventRecord(NewEvent):
    """A row that is, with its batch once it was sealed."""

    leaf_index: int | None
    batch: BatchRecord | None

    @property
    def status(self) -> str:
        """``stored``, ``batched``, ``anchored`` or ``confirmed``."""
        return self.batch.state if self.batch else "stored"


@dataclass(frozen=True, slots=True)
class EventState:
    """What of a row can be verified and proven; it never changes once its batch is confirmed."""

    event_id: str
    digest_hex: str
    leaf_index: int | None
    batch: BatchRecord | None

    @property
    def status(self) -> str:
        """``stored``, ``batched``, ``anchored`` or ``confirmed``."""
        return self.batch.state if self.batch else "stored"


@dataclass(frozen=True, slots=True)
class Extent:
    """How many rows there are, and the ids of the first and the last of them."""

    count: int
    first_id: int
    last_id: int


_BATCH_FIELDS = tuple(Batch._meta.sorted_fields)


class EventRepository:
    """The events that are stored."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @cached_property
    def _state_query(self) -> str:
        """The text of the query that anyone may have asked, any number of times a second.

        Most of what such a query costs, peewee takes to write it; so that is done once.
        """
        query = Event.select(Event.event_id, Event.leaf_index, *_BATCH_FIELDS)
        query = query.join(Batch, JOIN.LEFT_OUTER, on=(Event.batch_id == Batch.id))
        text: str = query.where(Event.digest_hex == "").bind(self._database.peewee).sql()[0]
        return text

    def state(self, digest_hex: str) -> EventState | None:
        """Return how far the event with this hash has come."""
        with self._database.session() as database:
            row = database.execute_sql(self._state_query, (digest_hex,)).fetchone()
        if row is None:
            return None
        event_id, leaf_index, *values = row
        batch = SimpleNamespace(
            **{f.name: f.python_value(v) for f, v in zip(_BATCH_FIELDS, values, strict=True)}
        )
        # a batch that is named may be gone
        known = batch_record(batch) if batch.id is not None else None
        return EventState(event_id, digest_hex, leaf_index, known)

    def find(self, digest_hex: str) -> EventRecord | None:
        """Return the event with this hash."""
        return self._first(Event.digest_hex == digest_hex)

    def find_by_id(self, event_id: str) -> EventRecord | None:
        """Return the event with this id, in lower case."""
        return self._first(Event.event_id == event_id)

    def insert(self, event: NewEvent) -> bool:
        """Insert a row and commit it, unless its hash or its id is there already.

        Returns:
            Whether it was inserted.
        """
        return bool(self.record([event]))

    def record(self, events: Sequence[NewEvent]) -> set[str]:
        """Insert rows and commit them, leaving out those whose hash or id is there already.

        Returns:
            The hashes of the rows that were inserted.
        """
        with self._database.session() as database:
            return insert_rows(database, self._database.is_sqlite, events)

    def stored(self, digests: Sequence[str], event_ids: Sequence[str]) -> list[StoredEvent]:
        """Return what a receipt needs of the events with one of these hashes or ids."""
        with self._database.session() as database:
            return find_stored(database, self._database.is_sqlite, digests, event_ids)

    def submitted_by(self, subject: str) -> list[tuple[str, str]]:
        """Return the hash and the id of each event that somebody submitted; reads every row."""
        query = Event.select(Event.digest_hex, Event.event_id).where(Event.submitted_by == subject)
        with self._database.session() as database:
            return [(digest, id_) for digest, id_ in query.tuples().execute(database)]

    def known(self, digests: Sequence[str], event_ids: Sequence[str]) -> list[EventRecord]:
        """Return the events that have one of these hashes or one of these ids."""
        found = {
            event.digest_hex: event
            for condition in (Event.digest_hex.in_(digests), Event.event_id.in_(event_ids))
            for _, event in self._records(_joined().where(condition))
        }
        return list(found.values())

    def extent(self, since: datetime | None = None) -> Extent:
        """Return how many events there are, of all or of those received since a moment."""
        query = Event.select(fn.COUNT(Event.id), fn.MIN(Event.id), fn.MAX(Event.id))
        query = query if since is None else query.where(Event.received_at >= since)
        with self._database.session() as database:
            count, first, last = query.tuples().first(database)
        return Extent(count, first or 0, last or 0)

    def page(
        self, after: int, limit: int, since: datetime | None = None
    ) -> list[tuple[int, EventRecord]]:
        """Return the events that follow a row's id, each with its own row's id."""
        query = _joined().where(Event.id > after).order_by(Event.id).limit(limit)
        return self._records(query if since is None else query.where(Event.received_at >= since))

    def spans(self, after: int, limit: int) -> list[tuple[int, str, int]]:
        """Return id, pack and length of the rows that follow a row's id."""
        query = Event.select(Event.id, Event.pack_key, Event.pack_length)
        query = query.where(Event.id > after).order_by(Event.id).limit(limit)
        with self._database.session() as database:
            return list(query.tuples().execute(database))

    def attach_signature(self, signature: NewSignature) -> bool:
        """Record who signed an event that had come unsigned; the first signature stays.

        Returns:
            Whether it was recorded.
        """
        with self._database.transaction() as database:
            return bool(
                Event.update(
                    device=signature.device,
                    signed_package_key=signature.signed_package_key,
                    public_key=signature.public_key,
                )
                .where(Event.digest_hex == signature.digest_hex, Event.signed_package_key.is_null())
                .execute(database)
            )

    def _first(self, condition: Any) -> EventRecord | None:
        found = self._records(_joined().where(condition).limit(1))
        return found[0][1] if found else None

    def _records(self, query: Any) -> list[tuple[int, EventRecord]]:
        with self._database.session() as database:
            return [(row.id, _record(row)) for row in query.execute(database)]


def _joined() -> Any:
    return Event.select(Event, Batch).join(
        Batch, JOIN.LEFT_OUTER, on=(Event.batch_id == Batch.id), attr="batch"
    )


def _record(row: Any) -> EventRecord:
    values = {name: getattr(row, name) for name in COLUMNS}
    # a batch that is named may be gone: whoever looks for damage must get the row all the same
    batch = getattr(row, "batch", None) if row.batch_id is not None else None
    return EventRecord(
        **values, leaf_index=row.leaf_index, batch=batch_record(batch) if batch else None
    )
