"""Queries on events."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from peewee import JOIN

from eventserver_core.db.batches import BatchRecord, batch_record
from eventserver_core.db.connection import Database
from eventserver_core.db.models import Batch, Event


@dataclass(frozen=True, slots=True)
class NewEvent:
    """A row to be; see ``models.Event``."""

    digest_hex: str
    event_id: str
    received_at: datetime
    submitted_by: str
    device: str | None
    pack_key: str
    pack_offset: int
    pack_length: int
    storage_location: str
    media_key: str | None
    media_type: str | None
    media_size: int | None
    signed_package_key: str | None
    public_key: str | None


@dataclass(frozen=True, slots=True)
class EventRecord(NewEvent):
    """A row that is, with its batch once it was sealed."""

    leaf_index: int | None
    batch: BatchRecord | None

    @property
    def status(self) -> str:
        """``stored``, ``batched``, ``anchored`` or ``confirmed``."""
        return self.batch.state if self.batch else "stored"


_COLUMNS = tuple(NewEvent.__dataclass_fields__)


class EventRepository:
    """The events that are stored."""

    def __init__(self, database: Database) -> None:
        self._database = database

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
        values = {name: getattr(event, name) for name in _COLUMNS}
        query = Event.insert(values).on_conflict_ignore().as_rowcount()
        with self._database.transaction() as database:
            return bool(query.execute(database))

    def attach_signature(
        self, digest_hex: str, device: str, signed_package_key: str, public_key: str
    ) -> bool:
        """Record who signed an event that had come unsigned; the first signature stays.

        Returns:
            Whether it was recorded.
        """
        query = Event.update(
            device=device, signed_package_key=signed_package_key, public_key=public_key
        ).where(Event.digest_hex == digest_hex, Event.signed_package_key.is_null())
        with self._database.transaction() as database:
            return bool(query.execute(database))

    def _first(self, condition: Any) -> EventRecord | None:
        query = (
            Event.select(Event, Batch)
            .join(Batch, JOIN.LEFT_OUTER, on=(Event.batch_id == Batch.id), attr="batch")
            .where(condition)
        )
        with self._database.session() as database:
            row = query.first(database)
        if row is None:
            return None
        values = {name: getattr(row, name) for name in _COLUMNS}
        batch = batch_record(row.batch) if row.batch_id is not None else None
        return EventRecord(**values, leaf_index=row.leaf_index, batch=batch)
