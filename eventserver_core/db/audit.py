"""Queries on the audit trail, which only ever grows."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from eventserver_core.db.connection import Database
from eventserver_core.db.models import AuditCheckpoint, AuditEntry, AuditHead
from eventserver_core.domain import audit
from eventserver_core.domain.instant import from_milliseconds, to_milliseconds
from eventserver_core.errors import EvidenceDamagedError

_HEAD = 1
_PAGE = 1000


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A head that was handed in as an event.

    Attributes:
        event_hash: the event's hash, in hex, under which its proof is found.
    """

    head: audit.AuditHead
    event_hash: str
    made_at: datetime


class AuditRepository:
    """The trail. Whoever appends has its one head row until the transaction ends."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @contextmanager
    def held(self) -> Iterator[None]:
        """Open a transaction in which nobody else appends."""
        with self._database.transaction() as database:
            AuditHead.update(sequence=AuditHead.sequence).where(AuditHead.id == _HEAD).execute(
                database
            )
            yield

    def append(
        self,
        *,
        at: datetime,
        actor: str,
        role: str,
        action: str,
        target: str,
        details: Mapping[str, Any],
        request_id: str | None,
    ) -> audit.AuditEntry:
        """Append an entry; inside a transaction it stands or falls with it."""
        with self._database.transaction() as database:
            mine = AuditHead.id == _HEAD
            # first of all, so that nobody else appends until this transaction ends
            AuditHead.update(sequence=AuditHead.sequence + 1).where(mine).execute(database)
            head = AuditHead.select().where(mine).get(database)
            draft = audit.AuditEntry(
                head.sequence,
                from_milliseconds(to_milliseconds(at)),  # as it will be read again
                actor,
                role,
                action,
                target,
                details,
                request_id,
                head.digest,
            )
            entry = replace(draft, digest_hex=draft.computed_digest_hex())
            AuditEntry.insert(
                sequence=entry.sequence,
                at=entry.at,
                actor=actor,
                role=role,
                action=action,
                target=target,
                details=json.dumps(dict(details), sort_keys=True),
                request_id=request_id,
                previous_digest=entry.previous_digest_hex,
                digest=entry.digest_hex,
            ).execute(database)
            AuditHead.update(digest=entry.digest_hex).where(mine).execute(database)
            return entry

    def head(self) -> audit.AuditHead:
        """Return the trail's head."""
        with self._database.session() as database:
            row = AuditHead.select().where(AuditHead.id == _HEAD).first(database)
        if row is None:
            raise EvidenceDamagedError("the audit trail's head is on no record")
        return audit.AuditHead(row.sequence, row.digest)

    def find(self, sequence: int) -> audit.AuditEntry | None:
        """Return one entry."""
        found = self.entries(sequence - 1, 1)
        return found[0] if found and found[0].sequence == sequence else None

    def entries(self, after: int, limit: int) -> list[audit.AuditEntry]:
        """Return the entries that follow a number, in order."""
        query = (
            AuditEntry.select()
            .where(AuditEntry.sequence > after)
            .order_by(AuditEntry.sequence)
            .limit(limit)
        )
        with self._database.session() as database:
            return [_entry(row) for row in query.execute(database)]

    def all_entries(self, after: int = 0) -> Iterator[audit.AuditEntry]:
        """Return every entry that follows a number, read page by page."""
        while page := self.entries(after, _PAGE):
            yield from page
            after = page[-1].sequence

    def checkpoints(self, after: int = 0, limit: int = _PAGE) -> list[Checkpoint]:
        """Return the checkpoints of heads that follow a number, in order."""
        query = (
            AuditCheckpoint.select()
            .where(AuditCheckpoint.sequence > after)
            .order_by(AuditCheckpoint.sequence)
            .limit(limit)
        )
        with self._database.session() as database:
            return [_checkpoint(row) for row in query.execute(database)]

    def last_checkpoint(self) -> Checkpoint | None:
        """Return the newest checkpoint."""
        query = AuditCheckpoint.select().order_by(AuditCheckpoint.sequence.desc())
        with self._database.session() as database:
            row = query.first(database)
        return None if row is None else _checkpoint(row)

    def add_checkpoint(self, head: audit.AuditHead, event_hash: str, now: datetime) -> None:
        """Remember which event a head was handed in as; the first word stays."""
        query = AuditCheckpoint.insert(
            sequence=head.sequence, digest=head.digest_hex, event_hash=event_hash, made_at=now
        )
        with self._database.transaction() as database:
            query.on_conflict_ignore().execute(database)


def _entry(row: Any) -> audit.AuditEntry:
    return audit.AuditEntry(
        row.sequence,
        row.at,
        row.actor,
        row.role,
        row.action,
        row.target,
        _details(row.details),
        row.request_id,
        row.previous_digest,
        row.digest,
    )


def _details(text: str) -> Mapping[str, Any]:
    """Return an entry's details; what somebody spoilt gives others, which its digest tells."""
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {"": text}


def _checkpoint(row: Any) -> Checkpoint:
    return Checkpoint(audit.AuditHead(row.sequence, row.digest), row.event_hash, row.made_at)
