"""Many events at once, each step in one statement: what ingest asks and writes.

A row's columns go to the database as one JSON text, which it takes apart itself: to hand over
thousands of parameters one by one costs several times what the rows do.
"""

# ruff: noqa: S608 - statements are made of the names of columns, and of nothing that came in

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from peewee import IntegrityError

from eventserver_core.domain.instant import from_milliseconds, to_milliseconds
from eventserver_core.json_text import write_json


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
class StoredEvent:
    """What decides whether an event is taken again, and what its receipt says; see ``NewEvent``."""

    digest_hex: str
    event_id: str
    received_at: datetime
    submitted_by: str
    device: str | None
    storage_location: str
    signed_package_key: str | None


@dataclass(frozen=True, slots=True)
class NewSignature:
    """A signature for an event whose row has none.

    Attributes:
        device: the subject of the certificate of who signed.
        signed_package_key: the object that the JWS is in.
        public_key: the JWK, as JSON.
    """

    digest_hex: str
    device: str
    signed_package_key: str
    public_key: str


COLUMNS = tuple(NewEvent.__dataclass_fields__)
_STORED = tuple(StoredEvent.__dataclass_fields__)
_WHOLE_NUMBERS = {"received_at", "pack_offset", "pack_length", "media_size"}

_NAMES = ", ".join(COLUMNS)
_TYPED = ", ".join(f"{name} {'bigint' if name in _WHOLE_NUMBERS else 'text'}" for name in COLUMNS)
_EXTRACTED = ", ".join(f"json_extract(value, '$.{name}')" for name in COLUMNS)
_INSERT = {
    True: f"INSERT INTO events ({_NAMES}) SELECT {_EXTRACTED} FROM json_each(?) WHERE true",
    False: f"INSERT INTO events ({_NAMES})"
    f" SELECT {_NAMES} FROM json_to_recordset(%s) AS row({_TYPED})",
}
_WHERE_NEW = " ON CONFLICT DO NOTHING RETURNING digest_hex"
_FIND = {
    True: f"SELECT {', '.join(_STORED)} FROM events"
    " WHERE digest_hex IN (SELECT value FROM json_each(?))"
    " OR event_id IN (SELECT value FROM json_each(?))",
    False: f"SELECT {', '.join(_STORED)} FROM events"
    " WHERE digest_hex = ANY(string_to_array(%s, ','))"
    " OR event_id = ANY(string_to_array(%s, ','))",
}
"""By whether the database is SQLite, as those below and above."""


def find_stored(
    database: Any, is_sqlite: bool, digests: Iterable[str], event_ids: Iterable[str]
) -> list[StoredEvent]:
    """Return the events that have one of these hashes or one of these ids.

    Args:
        database: a session's.
        is_sqlite: whether it is SQLite, and not PostgreSQL.
        digests: in hex.
        event_ids: UUIDs in lower case.
    """
    lists = (list(digests), list(event_ids))
    parameters = [json.dumps(items) if is_sqlite else ",".join(items) for items in lists]
    rows = database.execute_sql(_FIND[is_sqlite], parameters).fetchall()
    return [StoredEvent(row[0], row[1], from_milliseconds(row[2]), *row[3:]) for row in rows]


def insert_rows(database: Any, is_sqlite: bool, events: Sequence[NewEvent]) -> set[str]:
    """Insert rows, leaving out those whose hash or id is there already.

    Args:
        database: a session's. In no transaction a statement is one by itself, and may fail.
        is_sqlite: whether it is SQLite, and not PostgreSQL.
        events: any number; rows get their numbers in this order.

    Returns:
        The hashes of those that were inserted.
    """
    if not events:
        return set()
    text = write_json([_members(event) for event in events]).decode()
    statement = _INSERT[is_sqlite]
    if not database.in_transaction():
        with suppress(IntegrityError):
            database.execute_sql(statement, [text])
            return {event.digest_hex for event in events}
    # somebody was faster with one of them; to look for each at once takes a quarter longer
    rows = database.execute_sql(statement + _WHERE_NEW, [text]).fetchall()
    return {digest for (digest,) in rows}


def _members(event: NewEvent) -> dict[str, Any]:
    """Return what a row has; what isn't named is NULL."""
    members = {name: value for name in COLUMNS if (value := getattr(event, name)) is not None}
    members["received_at"] = to_milliseconds(event.received_at)
    return members
