"""What is asked of a database, and that an outage is told."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest

from eventserver_core.backends.auth import Role
from eventserver_core.db.admins import AdminRepository
from eventserver_core.db.audit import AuditRepository
from eventserver_core.db.batches import BatchRepository
from eventserver_core.db.certificates import CertificateRepository
from eventserver_core.db.connection import Database
from eventserver_core.db.enrollment import EnrollmentRepository
from eventserver_core.db.event_rows import NewSignature
from eventserver_core.db.events import EventRepository
from eventserver_core.db.labels import LabelRepository
from eventserver_core.db.leases import LeaseRepository
from eventserver_core.db.relays import RelayRepository
from eventserver_core.errors import BackendUnavailableError
from eventserver_core.testing.clock import ManualClock

from .network_rows import (
    DIGEST,
    append,
    credentials,
    label,
    new_admin,
    new_certificate,
    new_relay,
    relay_id,
)
from .rows import NOW, new_event


def readers(database: Database) -> list[Callable[[], Any]]:
    events, batches = EventRepository(database), BatchRepository(database)
    entries, relays = AuditRepository(database), RelayRepository(database)
    enrollment = EnrollmentRepository(database)
    return [
        database.check,
        lambda: events.find(new_event(0).digest_hex),
        lambda: events.find_by_id(new_event(0).event_id),
        lambda: events.state(new_event(0).digest_hex),
        lambda: batches.unsealed(10_000),
        lambda: batches.due(NOW),
        lambda: batches.backlog(),
        lambda: batches.leaves(1),
        lambda: batches.tiles(1, [0]),
        lambda: batches.transactions(1),
        lambda: CertificateRepository(database).standing(credentials("relay-1", Role.RELAY)),
        lambda: AdminRepository(database).find("admin-1"),
        lambda: entries.head(),
        lambda: entries.entries(0, 10),
        lambda: entries.last_checkpoint(),
        lambda: relays.find(relay_id(0)),
        lambda: relays.active_addresses(),
        lambda: relays.due(NOW, 10),
        lambda: enrollment.find_token(DIGEST),
        lambda: enrollment.revoked(NOW),
        lambda: LabelRepository(database).in_force(),
    ]


def writers(database: Database) -> list[Callable[[], Any]]:
    events, certificates = EventRepository(database), CertificateRepository(database)
    entries, relays = AuditRepository(database), RelayRepository(database)
    enrollment = EnrollmentRepository(database)
    return [
        lambda: events.insert(new_event(99)),
        lambda: events.attach_signature(
            NewSignature(new_event(0).digest_hex, "device:1", "jws-1", "{}")
        ),
        lambda: certificates.revoke("c-1", "lost", NOW),
        lambda: certificates.redeem("challenge", NOW),
        lambda: certificates.forget_expired(NOW),
        lambda: LeaseRepository(database).acquire("other", "b", ManualClock().now() - NOW, NOW),
        lambda: AdminRepository(database).insert(new_admin(id=once(), thumbprint=once())),
        lambda: append(entries),
        lambda: hold(entries),
        lambda: entries.add_checkpoint(entries.head(), DIGEST, NOW),
        lambda: relays.insert(new_relay(id=once())),
        lambda: relays.update(relay_id(0), reason="why"),
        lambda: enrollment.add_token(once(), relay_id(0), NOW),
        lambda: enrollment.use_tokens(relay_id(0), NOW),
        lambda: enrollment.add_certificate(new_certificate(once())),
        lambda: enrollment.revoke("99", "unspecified", NOW),
        lambda: LabelRepository(database).add(label()),
    ]


def once() -> str:
    """Return a text of 32 characters that was nowhere before: each call can be made again."""
    return uuid.uuid4().hex


def hold(entries: AuditRepository) -> None:
    with entries.held():
        pass


def assert_unavailable(call: Callable[[], Any]) -> BackendUnavailableError:
    with pytest.raises(BackendUnavailableError) as caught:
        call()
    assert caught.value.backend == "database"
    return caught.value
