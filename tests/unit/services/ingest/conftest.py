"""Ingest on a real storage and real rows, each of which notes what became durable."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from eventserver_core.builtin.storage_filesystem import FilesystemStorage
from eventserver_core.db.connection import Database
from eventserver_core.services.ingest import IngestEvents, IngestLimits
from eventserver_core.testing.clock import ManualClock

from .sending import LIMITS, RecordingEvents, RecordingStorage


@pytest.fixture
def clock() -> ManualClock:
    """A clock that is later than when the packages were made."""
    return ManualClock(1_717_200_000.0)


@pytest.fixture
def notes() -> list[str]:
    """What became durable, in order."""
    return []


@pytest.fixture
def start(
    storage: FilesystemStorage, database: Database, notes: list[str], clock: ManualClock
) -> Callable[..., IngestEvents]:
    def make(limits: IngestLimits = LIMITS, crash: str = "") -> IngestEvents:
        recording = RecordingStorage(storage, notes)
        return IngestEvents(recording, RecordingEvents(database, notes, crash), limits, clock.now)

    return make


@pytest.fixture
def ingest(start: Callable[..., IngestEvents]) -> IngestEvents:
    return start()


@pytest.fixture
def stored(storage: FilesystemStorage) -> Callable[[], list[str]]:
    """Return what is in storage, by the objects' kinds."""
    return lambda: [found.key.partition("-")[0] for found in storage.list()]
