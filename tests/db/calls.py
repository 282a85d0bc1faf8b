"""What is asked of a database, and that an outage is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from eventserver_core.db.batches import BatchRepository
from eventserver_core.db.certificates import CertificateRepository
from eventserver_core.db.connection import Database
from eventserver_core.db.events import EventRepository
from eventserver_core.db.leases import LeaseRepository
from eventserver_core.errors import BackendUnavailableError
from eventserver_core.testing.clock import ManualClock

from .rows import NOW, new_event


def readers(database: Database) -> list[Callable[[], Any]]:
    events, batches = EventRepository(database), BatchRepository(database)
    return [
        database.check,
        lambda: events.find(new_event(0).digest_hex),
        lambda: events.find_by_id(new_event(0).event_id),
        lambda: batches.unsealed(10_000),
        lambda: batches.due(NOW),
        lambda: batches.backlog(),
        lambda: batches.leaves(1),
        lambda: batches.transactions(1),
        lambda: CertificateRepository(database).revoked(["c-1"]),
    ]


def writers(database: Database) -> list[Callable[[], Any]]:
    events, certificates = EventRepository(database), CertificateRepository(database)
    return [
        lambda: events.insert(new_event(99)),
        lambda: events.attach_signature(new_event(0).digest_hex, "device:1", "jws-1", "{}"),
        lambda: certificates.revoke("c-1", "lost", NOW),
        lambda: certificates.redeem("challenge", NOW),
        lambda: certificates.forget_expired(NOW),
        lambda: LeaseRepository(database).acquire("other", "b", ManualClock().now() - NOW, NOW),
    ]


def assert_unavailable(call: Callable[[], Any]) -> BackendUnavailableError:
    with pytest.raises(BackendUnavailableError) as caught:
        call()
    assert caught.value.backend == "database"
    return caught.value
