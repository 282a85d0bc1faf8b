"""What devices brought, in a SQLite file until the server has it: the relay's memory."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eventserver_relay.log import log

_SCHEMA = """
CREATE TABLE IF NOT EXISTS events (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    digest TEXT NOT NULL UNIQUE,  -- of the bytes, so that the same again is the same event
    body BLOB,                    -- none once it isn't needed any more
    received_at REAL NOT NULL,
    not_before REAL NOT NULL,     -- who is sending it now, or failed to, has it until then
    tries INTEGER NOT NULL DEFAULT 0,
    status INTEGER,               -- of the server's answer; none while it is queued
    answer TEXT,
    settled_at REAL
);
CREATE INDEX IF NOT EXISTS queued ON events (number) WHERE status IS NULL;
CREATE INDEX IF NOT EXISTS settled ON events (settled_at) WHERE status IS NOT NULL;
CREATE INDEX IF NOT EXISTS refused ON events (settled_at) WHERE status >= 400 AND body IS NOT NULL;
"""
_SET_ASIDE = "status >= 400 AND body IS NOT NULL"
_COUNT = """
SELECT COALESCE(SUM(CASE WHEN status IS NULL THEN LENGTH(body) + ? END), 0),
    COALESCE(SUM(CASE WHEN status IS NOT NULL THEN LENGTH(body) END), 0),
    COUNT(status)
FROM events
"""
_ENTRY = "SELECT number, digest, body, tries, status, answer FROM events"
_WAITING = f"{_ENTRY} WHERE status IS NULL AND not_before <= ? ORDER BY number LIMIT ?"
_DAY = 86400.0
KEEP_ANSWERS = 7 * _DAY
KEEP_REFUSED = 30 * _DAY
MAX_ANSWERS = 100_000
"""So many answers are remembered at most; the oldest go first."""
ROW_SIZE = 512
"""Bytes that the file needs for an event besides its own."""
_BYTES_PER_ANSWER = 10 * 1024
"""Of room: a smaller outbox remembers fewer answers, though a hundred always."""
_LEAST_ANSWERS = 100
_MAX_REFUSAL = 4096
"""Characters; of a longer one what is at fault in the event is left out."""
_MAX_MEMBER = 512
_SHORT = ("type", "title", "status", "detail", "code", "requestId")
_REFUSED_SHARE = 10
"""Refused events get one part in so many of the room, and only what nothing else needs."""


class OutboxFullError(Exception):
    """No more can be kept until the server takes some."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server said of an event, for good.

    Attributes:
        status: its HTTP status.
        document: a receipt, or problem details.
    """

    status: int
    document: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Entry:
    """An event that was kept.

    Attributes:
        digest_hex: SHA-256 of its bytes.
        tries: how often it was put off.
        answer: the server's, once there is one.
    """

    number: int
    digest_hex: str
    body: bytes
    tries: int
    answer: Answer | None


@dataclass(slots=True)
class _Kept:
    """What is kept, or by how much that has changed.

    Attributes:
        queued: bytes of the events that wait, and of their rows.
        refused: bytes of the refused events that were set aside.
        answers: how many events were answered.
        forgotten: how many refused events were forgotten.
    """

    queued: int = 0
    refused: int = 0
    answers: int = 0
    forgotten: int = 0

    def add(self, change: _Kept) -> None:
        """Count a change."""
        self.queued += change.queued
        self.refused += change.refused
        self.answers += change.answers


class Outbox:
    """Keeps events in the order they came; safe to share between threads.

    Args:
        path: the file; it outlives the process.
        max_bytes: how much may be kept.
    """

    def __init__(self, path: Path, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        path.chmod(0o600)
        self._database.execute("PRAGMA journal_mode = WAL")
        # what was acknowledged is on the disk, not only on its way there
        self._database.execute("PRAGMA synchronous = FULL")
        self._database.executescript(_SCHEMA)
        # whoever was sending something before the last end no longer is
        self._database.execute("UPDATE events SET not_before = 0 WHERE status IS NULL")
        self._max_answers = min(MAX_ANSWERS, max(max_bytes // _BYTES_PER_ANSWER, _LEAST_ANSWERS))
        self._kept = _Kept(*self._one(_COUNT, ROW_SIZE))
        self._lacking = 0
        self._failed = False

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._database.close()

    def put(self, body: bytes, reserve: float) -> tuple[Entry, bool]:
        """Keep an event; it is on the disk when this returns.

        Args:
            body: its bytes.
            reserve: seconds for which the caller alone sends it.

        Returns:
            The entry, and whether it is new.

        Raises:
            OutboxFullError: there is no room.
            sqlite3.Error: the disk is full, or broken.
        """
        digest_hex, now = hashlib.sha256(body).hexdigest(), time.time()
        with self._changing() as change:
            found = self._one(f"{_ENTRY} WHERE digest = ?", digest_hex)
            if found:
                return _entry(found), False
            self._make_room(_size(body), change)
            cursor = self._database.execute(
                "INSERT INTO events (digest, body, received_at, not_before) VALUES (?, ?, ?, ?)",
                (digest_hex, body, now, now + reserve),
            )
            number = int(cursor.lastrowid or 0)
            change.queued = _size(body)
        self._lacking = 0
        return Entry(number, digest_hex, body, 0, None), True

    def is_full(self) -> bool:
        """Tell whether there was no room for the last event, and still is none."""
        return self._kept.queued + self._lacking > self._max_bytes

    def has_failed(self) -> bool:
        """Tell whether the last thing that was to be written could not be."""
        return self._failed

    def oldest(self, most: int = 1, most_bytes: int = 0) -> list[Entry]:
        """Return the oldest events that are to be sent now; the first, however large it is."""
        found: list[Entry] = []
        with self._lock, closing(self._rows(_WAITING, time.time(), most)) as rows:
            for row in rows:
                entry = _entry(row)
                most_bytes -= len(entry.body)
                if found and most_bytes < 0:
                    break
                found.append(entry)
        return found

    def settle(self, answers: Iterable[tuple[Entry, Answer]], keeps_refused: bool) -> None:
        """Remember the server's answers.

        Args:
            answers: an event each, and what the server said of it.
            keeps_refused: whether an event that was refused is set aside: not where its device
                is given the answer, and has the event.
        """
        with self._changing() as change:
            for entry, answer in answers:
                keeps = answer.status >= 400 and keeps_refused
                cursor = self._database.execute(
                    "UPDATE events SET status = ?, answer = ?, settled_at = ?,"
                    " body = CASE WHEN ? THEN body END WHERE number = ? AND status IS NULL",
                    (answer.status, _remembered(answer), time.time(), keeps, entry.number),
                )
                if cursor.rowcount:
                    change.queued -= _size(entry.body)
                    change.refused += len(entry.body) if keeps else 0
                    change.answers += 1
            if change.refused:
                share = self._max_bytes // _REFUSED_SHARE
                self._drop_refused(self._kept.refused + change.refused - share, change)
            if (over := self._kept.answers + change.answers - self._max_answers) > 0:
                self._delete("ORDER BY settled_at LIMIT ?", (over,), change)

    def put_off(self, entry: Entry, seconds: float) -> None:
        """Send an event later, and others before it."""
        with self._changing():
            self._database.execute(
                "UPDATE events SET not_before = ?, tries = tries + 1 WHERE number = ?",
                (time.time() + seconds, entry.number),
            )

    def release(self, entry: Entry) -> None:
        """Let an event be sent by whoever comes first."""
        with self._changing():
            self._database.execute(
                "UPDATE events SET not_before = 0 WHERE number = ?", (entry.number,)
            )

    def backlog(self) -> tuple[int, float | None]:
        """Return how many events wait, and for how many seconds the oldest does."""
        with self._lock:
            count, since = self._one(
                "SELECT COUNT(*), MIN(received_at) FROM events WHERE status IS NULL"
            )
        return count, None if since is None else max(0.0, time.time() - since)

    def refused(self) -> int:
        """Return how many events the server refused, of those that are remembered."""
        with self._lock:
            return int(self._one("SELECT COUNT(*) FROM events WHERE status >= 400")[0])

    def forget(self) -> None:
        """Forget answers of a week ago, and refused events that were set aside a month ago."""
        now = time.time()
        with self._changing() as change:
            self._delete(
                "AND settled_at < CASE WHEN body IS NULL THEN ? ELSE ? END",
                (now - KEEP_ANSWERS, now - KEEP_REFUSED),
                change,
            )

    def _make_room(self, size: int, change: _Kept) -> None:
        """Drop refused events, the oldest first, where a new one needs their room.

        Raises:
            OutboxFullError: the events that wait leave too little.
        """
        if self._kept.queued + size > self._max_bytes:
            if size <= self._max_bytes:
                self._lacking = size
            raise OutboxFullError
        self._drop_refused(self._kept.queued + self._kept.refused + size - self._max_bytes, change)

    def _drop_refused(self, size: int, change: _Kept) -> None:
        """Forget the oldest refused events until so many bytes are free; answers stay."""
        numbers = []
        rows = self._database.execute(
            f"SELECT number, LENGTH(body) FROM events WHERE {_SET_ASIDE} ORDER BY settled_at"  # noqa: S608 - ours
        )
        while size > 0 and (row := rows.fetchone()):
            number, length = row
            numbers.append((number,))
            size -= length
            change.refused -= length
        rows.close()
        self._database.executemany("UPDATE events SET body = NULL WHERE number = ?", numbers)
        change.forgotten += len(numbers)

    def _delete(self, which: str, values: tuple[float, ...], change: _Kept) -> None:
        """Forget answered events, and their answers."""
        chosen = f"number IN (SELECT number FROM events WHERE status IS NOT NULL {which})"  # noqa: S608
        answers, freed, forgotten = self._database.execute(
            "SELECT COUNT(*), COALESCE(SUM(LENGTH(body)), 0), COUNT(body) FROM events"  # noqa: S608 - ours
            f" WHERE {chosen}",
            values,
        ).fetchone()
        self._database.execute(f"DELETE FROM events WHERE {chosen}", values)  # noqa: S608 - ours
        change.answers -= answers
        change.refused -= freed
        change.forgotten += forgotten

    @contextmanager
    def _changing(self) -> Iterator[_Kept]:
        """Hold the lock and a transaction; the change that is yielded counts once committed."""
        change = _Kept()
        with self._lock:
            before = self._database.total_changes
            try:
                self._database.execute("BEGIN IMMEDIATE")
                yield change
                self._database.execute("COMMIT")
            except BaseException as ex:
                self._failed = self._failed or isinstance(ex, sqlite3.Error)
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                raise
            if self._database.total_changes > before:  # else nothing had to be written
                self._failed = False
            self._kept.add(change)
        if change.forgotten:
            log("refused_events_forgotten", count=change.forgotten)

    def _rows(self, query: str, *values: object) -> sqlite3.Cursor:
        return self._database.execute(query, values)

    def _one(self, query: str, *values: object) -> Any:
        return self._rows(query, *values).fetchone()


def _entry(row: tuple[Any, ...]) -> Entry:
    number, digest_hex, body, tries, status, answer = row
    found = None if status is None else Answer(status, json.loads(answer))
    return Entry(number, digest_hex, body or b"", tries, found)


def _size(body: bytes) -> int:
    return len(body) + ROW_SIZE


def _remembered(answer: Answer) -> str:
    text = json.dumps(answer.document)
    if answer.status < 400 or len(text) <= _MAX_REFUSAL:
        return text
    short = {name: value for name in _SHORT if (value := answer.document.get(name)) is not None}
    return json.dumps(
        {
            name: value if isinstance(value, int) else str(value)[:_MAX_MEMBER]
            for name, value in short.items()
        }
    )
