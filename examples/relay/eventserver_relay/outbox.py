"""What devices brought, in a SQLite file until the server has it: the relay's memory."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_SCHEMA = """
CREATE TABLE IF NOT EXISTS events (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    digest TEXT NOT NULL UNIQUE,  -- of the bytes, so that the same again is the same event
    body BLOB,                    -- none once the server has it
    received_at REAL NOT NULL,
    not_before REAL NOT NULL,     -- who is sending it now, or failed to, has it until then
    tries INTEGER NOT NULL DEFAULT 0,
    status INTEGER,               -- of the server's answer; none while it is queued
    answer TEXT,
    settled_at REAL
);
CREATE INDEX IF NOT EXISTS queued ON events (number) WHERE status IS NULL;
CREATE INDEX IF NOT EXISTS settled ON events (settled_at) WHERE status IS NOT NULL;
"""
_DAY = 86400.0
KEEP_ANSWERS = 7 * _DAY
KEEP_REFUSED = 30 * _DAY


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
        (self._bytes,) = self._one("SELECT COALESCE(SUM(LENGTH(body)), 0) FROM events")

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
        with self._changing() as grown:
            found = self._find("digest = ?", digest_hex)
            if found:
                return found, False
            if self._bytes + len(body) > self._max_bytes:
                raise OutboxFullError
            cursor = self._database.execute(
                "INSERT INTO events (digest, body, received_at, not_before) VALUES (?, ?, ?, ?)",
                (digest_hex, body, now, now + reserve),
            )
            number = int(cursor.lastrowid or 0)
            grown.append(len(body))
        return Entry(number, digest_hex, body, 0, None), True

    def oldest(self) -> Entry | None:
        """Return the oldest event that is to be sent now."""
        with self._lock:
            return self._find("status IS NULL AND not_before <= ? ORDER BY number", time.time())

    def settle(self, entry: Entry, answer: Answer) -> None:
        """Remember the server's answer; what it has is forgotten, what it refused is kept."""
        keeps = answer.status >= 400
        with self._changing() as grown:
            cursor = self._database.execute(
                "UPDATE events SET status = ?, answer = ?, settled_at = ?,"
                " body = CASE WHEN ? THEN body END WHERE number = ? AND status IS NULL",
                (answer.status, json.dumps(answer.document), time.time(), keeps, entry.number),
            )
            if cursor.rowcount and not keeps:
                grown.append(-len(entry.body))

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
        """Return how many events are set aside, with the server's refusal."""
        with self._lock:
            return int(self._one("SELECT COUNT(*) FROM events WHERE status >= 400")[0])

    def forget(self) -> int:
        """Forget answers of a week ago and refused events of a month ago.

        Returns:
            How many refused events were forgotten.
        """
        now = time.time()
        with self._changing() as grown:
            self._database.execute(
                "DELETE FROM events WHERE status < 400 AND settled_at < ?", (now - KEEP_ANSWERS,)
            )
            old = "FROM events WHERE status >= 400 AND settled_at < ?"
            count, freed = self._one(
                f"SELECT COUNT(*), COALESCE(SUM(LENGTH(body)), 0) {old}",
                now - KEEP_REFUSED,
            )
            self._database.execute(f"DELETE {old}", (now - KEEP_REFUSED,))
            grown.append(-freed)
        return int(count)

    @contextmanager
    def _changing(self) -> Iterator[list[int]]:
        """Hold the lock and a transaction; sizes in the list count once committed."""
        grown: list[int] = []
        with self._lock:
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield grown
                self._database.execute("COMMIT")
            except BaseException:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                raise
            self._bytes += sum(grown)

    def _one(self, query: str, *values: object) -> Any:
        return self._database.execute(query, values).fetchone()

    def _find(self, condition: str, value: object) -> Entry | None:
        row = self._one(
            "SELECT number, digest, body, tries, status, answer FROM events"  # noqa: S608 - ours
            f" WHERE {condition} LIMIT 1",
            value,
        )
        if row is None:
            return None
        number, digest_hex, body, tries, status, answer = row
        found = None if status is None else Answer(status, json.loads(answer))
        return Entry(number, digest_hex, body or b"", tries, found)
