"""What the server answers, member by member; what it may say besides is passed over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Receipt:
    """The server has an event: stored, committed, and to be anchored, whatever happens next.

    Attributes:
        digest_hex: the event hash.
        answer: all that was said.
    """

    event_id: str
    digest_hex: str = field(metadata={"name": "hash"})
    storage_location: str
    processed_at: datetime
    status: str
    answer: Mapping[str, Any] = field(repr=False, metadata={"name": ""})


@dataclass(frozen=True, slots=True)
class Verification:
    """Whether an event is on the blockchain.

    Attributes:
        digest_hex: the event hash.
        exists: the anchoring transaction is in a block.
        status: unknown, stored, batched, anchored or confirmed.
        checked_against: ``chain`` or ``database``.
        block_time: the block's own time.
    """

    digest_hex: str = field(metadata={"name": "hash"})
    exists: bool
    status: str
    verified_at: datetime | None
    checked_against: str | None
    merkle_root: str | None
    block_number: int | None
    block_time: datetime | None = field(metadata={"name": "timestamp"})
    transaction_hash: str | None
    network: str | None
    confirmations: int | None


@dataclass(frozen=True, slots=True)
class Health:
    """How well the server is.

    Attributes:
        status: healthy, degraded or unhealthy; the last cannot take events.
        services: for each dependency, whether it answers.
    """

    status: str
    services: Mapping[str, Any]
    version: str | None
    timestamp: datetime | None


@dataclass(frozen=True, slots=True)
class ListedRelay:
    """A relay as everybody sees it.

    Attributes:
        network_address: host, or host and port; None only while one is being launched.
    """

    network_address: str | None


@dataclass(frozen=True, slots=True)
class Relay(ListedRelay):
    """A relay in full, as admins see it.

    Attributes:
        relay_id: a UUID, which its certificates name.
        state: pending, provisioning, active, suspended, failed or decommissioned.
        names: DNS names and IP addresses that its TLS certificate may have besides.
        public_key: the JWK of its one key.
        machine_id: of what the provisioning backend launched.
        reason: why it is in its state.
    """

    relay_id: str
    state: str
    region: str | None
    instance_type: str | None
    names: tuple[str, ...] | None
    public_key: Mapping[str, Any] | None
    machine_id: str | None
    reason: str | None
    created_at: datetime
    created_by: str | None
    state_changed_at: datetime | None
    enrolled_at: datetime | None
    certificate_expires_at: datetime | None
    tls_certificate_expires_at: datetime | None
    tls_serial_number: str | int | None


@dataclass(frozen=True, slots=True)
class RelayHealth:
    """What a relay said of itself when the server asked it.

    Attributes:
        address: where it was asked.
        latency_ms: how long its answer took, in milliseconds.
        answer: what it said, where it said something.
    """

    relay_id: str
    healthy: bool
    checked_at: datetime
    address: str | None
    latency_ms: float | None
    detail: str | None
    answer: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class EnrollmentToken:
    """What a relay enrols with, once.

    Attributes:
        token: a secret; it works once, until ``expires_at``.
        server_url: where to enrol.
        root_certificate: PEM of the authority that signs relays' TLS certificates.
    """

    relay_id: str
    token: str = field(repr=False)
    expires_at: datetime
    server_url: str | None
    root_certificate: str | None


@dataclass(frozen=True, slots=True)
class EnrolledCertificates:
    """What a relay gets for its signing request.

    Attributes:
        certificate: the bearer's JWT, a secret.
        tls_certificate: PEM of its TLS certificate, and of the one that issued it.
        root_certificate: PEM.
    """

    relay_id: str
    certificate: str = field(repr=False)
    certificate_expires_at: datetime
    tls_certificate: str = field(repr=False)
    tls_certificate_expires_at: datetime
    tls_serial_number: str | int
    root_certificate: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Admin:
    """An admin, and who let it in."""

    admin_id: str
    name: str
    public_key: Mapping[str, Any] | None
    authorized_by: str | None
    authorized_at: datetime | None
    state: str


@dataclass(frozen=True, slots=True)
class AdminCertificate:
    """An admin's certificate.

    Attributes:
        certificate: the bearer's JWT, a secret.
    """

    certificate: str = field(repr=False)
    certificate_expires_at: datetime


@dataclass(frozen=True, slots=True)
class AuditPage:
    """Some entries of the audit trail.

    Attributes:
        head: ``sequence`` and ``digest`` of the trail's last entry; None while it is empty.
        checkpoints: heads that were anchored.
    """

    entries: tuple[Mapping[str, Any], ...]
    head: Mapping[str, Any] | None
    checkpoints: tuple[Mapping[str, Any], ...] | None
