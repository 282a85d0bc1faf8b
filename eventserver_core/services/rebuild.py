"""Makes the rows of events again from storage alone, for whoever lost them.

Storage does not say which of several lines with one hash or one id was acknowledged: the earliest
is taken for it. A row that is there is never changed; only a signature that it lacks is added, by
the rule of ingest.
"""

from __future__ import annotations

import json
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Protocol

from eventserver_core.backends.storage import StorageBackend, StoredObject
from eventserver_core.db.event_rows import NewEvent, NewSignature
from eventserver_core.db.events import EventRepository
from eventserver_core.domain.canonical import canonicalize
from eventserver_core.domain.envelope import PACK_PREFIX, Envelope, parse_envelope
from eventserver_core.domain.evidence import check_signature
from eventserver_core.domain.instant import from_milliseconds, to_milliseconds
from eventserver_core.domain.proof import Outcome
from eventserver_core.errors import InvalidPackageError, ObjectNotFoundError
from eventserver_core.services.index_rows import row_of, takes_signature
from eventserver_core.services.signed_packages import is_changed, read_signed_package

_PAGE = 1000
_CHUNK = 200
_IN_MEMORY = 8 * 1024 * 1024
"""A larger pack is put into a file while it is read."""

_SCHEMA = """
CREATE TABLE named (pack TEXT PRIMARY KEY, size INTEGER) WITHOUT ROWID;
CREATE TABLE line (received_at INTEGER, pack TEXT, position INTEGER, row TEXT);
CREATE TABLE taken (digest TEXT PRIMARY KEY, event_id TEXT UNIQUE, row TEXT, made INTEGER);
"""


@dataclass(frozen=True, slots=True)
class DamagedPack:
    """A pack, or a line in one, of which no row can be made, or none with its signature."""

    key: str
    detail: str


@dataclass(slots=True)
class Rebuilt:
    """What was found and done.

    Attributes:
        packs: how many there are.
        packs_read: how many had lines that no row names.
        lines: how many of these lines could be read.
        inserted: rows that were made, or would be.
        signatures: signatures that were added to a row, or would be.
        repeated: lines whose event has a row, or came earlier.
        conflicting: lines with an id that another event has.
        undecided: those of them whose other event got its row only now. Where a row could not be
            written after its line, the one that came later under the same id is the one that was
            acknowledged: a person has to look.
        damaged: packs, lines or signatures that were left out.
    """

    packs: int = 0
    packs_read: int = 0
    lines: int = 0
    inserted: int = 0
    signatures: int = 0
    repeated: int = 0
    conflicting: int = 0
    undecided: int = 0
    damaged: int = 0


@dataclass(frozen=True, slots=True)
class Conflict:
    """Two lines with one id and other contents.

    Attributes:
        kept: what has the row, or gets it.
        left: what has none.
    """

    event_id: str
    kept: NewEvent
    left: NewEvent


class Listener(Protocol):
    """Whoever follows the work."""

    def read(self, packs: int) -> None:
        """Hear how many packs were looked at so far."""

    def begin_inserting(self, lines: int) -> None:
        """Hear how many lines are left to be sorted in."""

    def inserted(self, lines: int) -> None:
        """Hear how many of them were."""

    def undecided(self, conflict: Conflict) -> None:
        """Hear of a line that is left out, and may be the one that was acknowledged."""

    def damaged(self, pack: DamagedPack) -> None:
        """Hear of a pack, a line or a signature that is left out; there may be any number."""


class RebuildIndex:
    """Finds the lines that no row names, and makes their rows in the order of their arrival.

    Servers may run meanwhile: the database takes an event once, whoever brings it.

    Args:
        storage: where the packs are.
        events: where the rows are to be.
    """

    def __init__(self, storage: StorageBackend, events: EventRepository) -> None:
        self._storage = storage
        self._events = events

    def run(
        self, listener: Listener, *, dry_run: bool = False, every_pack: bool = False
    ) -> Rebuilt:
        """Make what is missing; with ``dry_run`` only say what that is.

        With ``every_pack`` those are read too of which rows name every byte: a signature may have
        been left out since its object was damaged.

        What is remembered meanwhile lies in a temporary file: it grows with the number of events.

        Raises:
            BackendUnavailableError: storage or database are away. What was done stays, and the
                next run goes on with it.
        """
        summary = Rebuilt()
        with (
            tempfile.TemporaryDirectory(prefix="eventserver-") as folder,
            closing(sqlite3.connect(Path(folder) / "lines.sqlite3")) as notes,
        ):
            notes.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;" + _SCHEMA)
            if not every_pack:
                self._note_named(notes)
            self._note_lines(notes, listener, summary)
            listener.begin_inserting(summary.lines)
            lines = notes.execute("SELECT row FROM line ORDER BY received_at, pack, position")
            while chunk := [_row(text) for (text,) in islice(lines, _CHUNK)]:
                self._take(notes, chunk, summary, listener, dry_run=dry_run)
                listener.inserted(len(chunk))
        return summary

    def _note_named(self, notes: sqlite3.Connection) -> None:
        """Note how many bytes of each pack rows name already."""
        after = 0
        while page := self._events.spans(after, _PAGE):
            notes.executemany(
                "INSERT INTO named VALUES (?, ?)"
                " ON CONFLICT (pack) DO UPDATE SET size = size + excluded.size",
                [(pack, length + len(b"\n")) for _, pack, length in page],
            )
            after = page[-1][0]

    def _note_lines(self, notes: sqlite3.Connection, listener: Listener, summary: Rebuilt) -> None:
        """Note the lines of all packs that rows don't name whole."""
        for stored in self._storage.list(PACK_PREFIX):
            summary.packs += 1
            listener.read(summary.packs)
            named = notes.execute("SELECT size FROM named WHERE pack = ?", [stored.key]).fetchone()
            if named == (stored.size,):
                continue
            summary.packs_read += 1
            for found in self._lines(stored):
                if isinstance(found, DamagedPack):
                    summary.damaged += 1
                    listener.damaged(found)
                else:
                    summary.lines += 1
                    notes.execute("INSERT INTO line VALUES (?, ?, ?, ?)", _note(found))

    def _lines(self, stored: StoredObject) -> Iterator[NewEvent | DamagedPack]:
        hasher = sha256()
        with tempfile.SpooledTemporaryFile(_IN_MEMORY) as content:
            try:
                for chunk in self._storage.read(stored.key):
                    hasher.update(chunk)
                    content.write(chunk)
            except ObjectNotFoundError:
                yield DamagedPack(stored.key, "it is listed, and is not there")
                return
            if not stored.key.endswith(hasher.hexdigest()):
                yield DamagedPack(stored.key, "it was changed: its digest is another")
                return
            content.seek(0)
            offset = 0
            for line in content:
                place = f"at byte {offset}"
                try:
                    envelope = parse_envelope(line.rstrip(b"\n"))
                    why = self._unsigned_because(envelope)
                    if why:
                        yield DamagedPack(stored.key, f"{place}: taken without signature: {why}")
                        envelope = replace(envelope, signature=None)
                    yield row_of(
                        envelope,
                        pack_key=stored.key,
                        offset=offset,
                        length=len(line.rstrip(b"\n")),
                        location=stored.location,
                    )
                except (InvalidPackageError, ValueError) as ex:
                    yield DamagedPack(stored.key, f"{place}: {' '.join(str(ex).split())}")
                offset += len(line)

    def _unsigned_because(self, envelope: Envelope) -> str | None:
        """Say why a signature can't be believed: nobody becomes an author by a line alone."""
        signature = envelope.signature
        if signature is None:
            return None
        key = signature.object_key or PACK_PREFIX
        try:
            jws = read_signed_package(self._storage, key, envelope)
        except ObjectNotFoundError:
            return f"{key} is not in storage"
        if is_changed(key, jws):
            return f"{key} was changed: its digest is another"
        step = check_signature(envelope.statement, jws, canonicalize(signature.public_key))
        return None if step.outcome is Outcome.PASSED else step.detail

    def _take(
        self,
        notes: sqlite3.Connection,
        lines: Sequence[NewEvent],
        summary: Rebuilt,
        listener: Listener,
        *,
        dry_run: bool,
    ) -> None:
        """Sort lines in, of which none came before those that were taken already."""
        there = self._events.known(
            [line.digest_hex for line in lines], [line.event_id for line in lines]
        )
        _remember(notes, there, made=False)
        new: list[NewEvent] = []
        signed: list[NewEvent] = []
        for line in lines:
            known = notes.execute(
                "SELECT row, made FROM taken WHERE digest = ? OR event_id = ?",
                [line.digest_hex, line.event_id],
            ).fetchone()
            if known is None:
                new.append(line)
                _remember(notes, [line], made=True)
                continue
            row = _row(known[0])
            if row.digest_hex != line.digest_hex:
                summary.conflicting += 1
                if known[1]:  # a row that was there says itself which was acknowledged
                    summary.undecided += 1
                    listener.undecided(Conflict(line.event_id, row, line))
                continue
            summary.repeated += 1
            if takes_signature(row, line):
                signed.append(line)
                _remember(notes, [_with_signature(row, line)], made=bool(known[1]))
        summary.inserted += len(new) if dry_run else len(self._events.record(new))
        summary.signatures += len(signed) if dry_run else sum(map(self._sign, signed))

    def _sign(self, line: NewEvent) -> bool:
        # asked again: a server may have taken the event meanwhile, from somebody else
        row = self._events.find(line.digest_hex)
        return (
            row is not None
            and takes_signature(row, line)
            and self._events.attach_signature(
                NewSignature(
                    line.digest_hex,
                    line.device or "",
                    line.signed_package_key or "",
                    line.public_key or "{}",
                )
            )
        )


def _with_signature(row: NewEvent, line: NewEvent) -> NewEvent:
    return replace(
        row,
        device=line.device,
        signed_package_key=line.signed_package_key,
        public_key=line.public_key,
    )


def _remember(notes: sqlite3.Connection, rows: Iterable[NewEvent], *, made: bool) -> None:
    notes.executemany(
        "INSERT OR REPLACE INTO taken VALUES (?, ?, ?, ?)",
        [(row.digest_hex, row.event_id, _text(row), made) for row in rows],
    )


def _note(row: NewEvent) -> tuple[int, str, int, str]:
    return to_milliseconds(row.received_at), row.pack_key, row.pack_offset, _text(row)


_MEMBERS = tuple(NewEvent.__dataclass_fields__)


def _text(row: NewEvent) -> str:
    members = {name: getattr(row, name) for name in _MEMBERS}
    return json.dumps(members | {"received_at": to_milliseconds(row.received_at)})


def _row(text: str) -> NewEvent:
    members = json.loads(text)
    return NewEvent(**members | {"received_at": from_milliseconds(members["received_at"])})
