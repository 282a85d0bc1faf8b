"""Who sends what, and a storage and rows that note when something became durable."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from eventserver_core.backends.auth import Credentials, Role, SignedPackage
from eventserver_core.backends.storage import StoredObject, Upload
from eventserver_core.builtin.storage_filesystem import FilesystemStorage
from eventserver_core.db.connection import Database
from eventserver_core.db.event_rows import NewEvent
from eventserver_core.db.events import EventRepository
from eventserver_core.domain.canonical import canonicalize
from eventserver_core.services.ingest import IngestEvents, IngestLimits
from eventserver_core.services.submission import Receipt
from tests.db.rows import NOW
from tests.unit.services.scripted_chain import Crash

LIMITS = IngestLimits(max_file_size=100_000, max_inline_size=50_000, max_age=None)
KEY = {"kty": "EC", "crv": "P-256", "x": "x", "y": "y"}


def credentials(subject: str = "relay-1", role: Role = Role.RELAY) -> Credentials:
    return Credentials(subject, role, "c-1", NOW, NOW + timedelta(hours=1), KEY)


RELAY = credentials()
DEVICE = credentials("device:1", Role.DEVICE)


class RecordingStorage:
    """A real storage, and a note of what was made durable when."""

    def __init__(self, storage: FilesystemStorage, notes: list[str]) -> None:
        self._storage = storage
        self._notes = notes

    def put(self, key: str, content: bytes) -> StoredObject:
        stored = self._storage.put(key, content)
        self._notes.append(key.partition("-")[0])
        return stored

    def upload(self, key: str | None = None) -> Upload:
        upload = self._storage.upload(key)
        original, notes = upload.commit, self._notes

        def commit(key: str) -> StoredObject:
            stored = original(key)
            notes.append(key.partition("-")[0])
            return stored

        upload.commit = commit  # type: ignore[method-assign]
        return upload

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)


class RecordingEvents(EventRepository):
    """The real rows, a note of when one was committed, and a crash before or after it."""

    def __init__(self, database: Database, notes: list[str], crash: str = "") -> None:
        super().__init__(database)
        self._notes = notes
        self._crash = crash

    def record(self, events: Sequence[NewEvent]) -> set[str]:
        if self._crash == "before the row":
            raise Crash
        inserted = super().record(events)
        self._notes.append("row")
        if self._crash == "after the row":
            raise Crash
        return inserted


def signed(
    package: dict[str, Any], jws: str = "header.claims.signature"
) -> tuple[str, SignedPackage]:
    return jws, SignedPackage(canonicalize({"payload": package}), DEVICE)


def chunks_of(path: Path, size: int = 1000) -> Iterator[bytes]:
    content = path.read_bytes()
    return (content[start : start + size] for start in range(0, len(content), size))


def send_form(ingest: IngestEvents, package: dict[str, Any], media: Path) -> Receipt:
    with ingest.receive_media(chunks_of(media)) as received:
        return ingest.ingest_with_media(package, received, RELAY)
