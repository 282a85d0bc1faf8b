"""Rows of the network for tests: admins, relays, TLS certificates, entries of the trail."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from eventserver_core.backends.auth import Credentials, Role
from eventserver_core.db.admins import AdminRecord, AdminRepository
from eventserver_core.db.audit import AuditRepository
from eventserver_core.db.connection import Database
from eventserver_core.db.enrollment import EnrollmentRepository, TlsRecord
from eventserver_core.db.labels import LabelRepository
from eventserver_core.db.relays import RelayRecord, RelayRepository
from eventserver_core.domain.audit import AuditEntry
from eventserver_core.domain.labels import Definition, LabelType, LabelVersion
from eventserver_core.domain.relay import RelayState

from .rows import NOW

JWK = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
DIGEST = "ab" * 32


def credentials(subject: str, role: Role, certificate_id: str = "c-1") -> Credentials:
    """Return who comes with a certificate."""
    return Credentials(subject, role, certificate_id, NOW, NOW + timedelta(hours=1))


def relay_id(number: int) -> str:
    return str(uuid.UUID(int=number))


def new_admin(number: int = 0, **members: Any) -> AdminRecord:
    """Return an admin's row; another number is another admin."""
    admin = AdminRecord(
        id=str(uuid.UUID(int=number)),
        name=f"admin {number}",
        public_key=JWK,
        thumbprint=f"thumbprint-{number}",
        authorized_by="command-line",
        authorized_at=NOW + timedelta(seconds=number),
    )
    return replace(admin, **members)


def new_relay(number: int = 0, **members: Any) -> RelayRecord:
    """Return a relay's row; another number is another relay."""
    relay = RelayRecord(
        id=relay_id(number),
        state=RelayState.ACTIVE,
        region="us-east-1",
        instance_type=None,
        network_address=f"relay-{number}.example",
        names=(),
        public_key=JWK,
        machine_id=None,
        reason=None,
        idempotency_key=None,
        created_at=NOW,
        created_by="admin-1",
        state_changed_at=NOW,
    )
    return replace(relay, **members)


def new_certificate(serial: str = "01", **members: Any) -> TlsRecord:
    """Return a TLS certificate's row."""
    record = TlsRecord(serial, relay_id(0), NOW, NOW + timedelta(days=30))
    return replace(record, **members)


def append(entries: AuditRepository, number: int = 0, **members: Any) -> AuditEntry:
    """Append an entry to the trail."""
    values: dict[str, Any] = {
        "at": NOW + timedelta(seconds=number),
        "actor": "admin-1",
        "role": "admin",
        "action": "relay_approved",
        "target": relay_id(number),
        "details": {"reason": None, "number": number},
        "request_id": f"request-{number}",
    }
    return entries.append(**(values | members))


def append_many(entries: AuditRepository, count: int) -> list[AuditEntry]:
    return [append(entries, number) for number in range(count)]


def label(label_id: str = "title", version: int = 1, made_at: datetime = NOW) -> LabelVersion:
    """Return a label's version."""
    definition = Definition("Title", "Titre", LabelType.TEXT, False, {}, {})
    return LabelVersion(label_id, version, definition, made_at, "admin-1")


def fill_network(database: Database) -> None:
    """Put at least one row into every table of the network."""
    enrollment, entries = EnrollmentRepository(database), AuditRepository(database)
    AdminRepository(database).insert(new_admin())
    RelayRepository(database).insert(new_relay())
    RelayRepository(database).unclaimed(["m-1"], NOW)
    enrollment.add_token(DIGEST, relay_id(0), NOW)
    enrollment.add_certificate(new_certificate())
    append(entries)
    entries.add_checkpoint(entries.head(), DIGEST, NOW)
    assert LabelRepository(database).add(label())
