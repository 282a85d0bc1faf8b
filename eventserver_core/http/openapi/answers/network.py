"""What is said of relays, of admins and of what they did."""

from __future__ import annotations

from typing import Any, Literal

from typing_extensions import TypedDict

from eventserver_core.domain.package import Moment
from eventserver_core.domain.relay import RelayState
from eventserver_core.http.openapi.answers import Count, Digest

Jwk = dict[str, Any]
"""A public key (RFC 7517)."""


class RelayAddress(TypedDict):
    """Where devices reach a relay."""

    networkAddress: str


class RelayAddresses(TypedDict):
    """The active relays, for anyone."""

    relays: list[RelayAddress]


class Relay(TypedDict):
    """A relay in full, for admins."""

    relayId: str
    state: RelayState
    region: str
    instanceType: str | None
    networkAddress: str | None
    names: list[str]
    publicKey: Jwk | None
    machineId: str | None
    reason: str | None
    createdAt: Moment
    createdBy: str
    stateChangedAt: Moment
    enrolledAt: Moment | None
    certificateExpiresAt: Moment | None
    tlsCertificateExpiresAt: Moment | None
    tlsSerialNumber: str | None


class RelayPage(TypedDict):
    """Relays in full, and what to ask for next, as `after`; null where this is the end."""

    relays: list[Relay]
    next: str | None


class RelayCounts(TypedDict):
    """How many relays there are."""

    total: Count
    byState: dict[RelayState, Count]
    byRegion: dict[str, Count]
    certificatesExpiringWithin2Days: Count


class EventCounts(TypedDict):
    """How many events there are."""

    total: Count
    notAnchored: Count


class NetworkStats(TypedDict):
    """Numbers over the network."""

    relays: RelayCounts
    events: EventCounts


class RelayHealth(TypedDict):
    """What a relay said when it was asked; `answer` has its own words."""

    relayId: str
    state: RelayState
    healthy: bool
    checkedAt: Moment
    address: str | None
    latencyMs: Count | None
    detail: str
    answer: dict[str, str | int | float | bool | None] | None


class Invitation(TypedDict):
    """What a relay needs to enrol, once."""

    serverUrl: str
    relayId: str
    token: str
    expiresAt: Moment
    rootCertificate: str


class RelayCertificates(TypedDict):
    """A relay's certificates; TLS ones are PEM."""

    relayId: str
    certificate: str
    certificateExpiresAt: Moment
    tlsCertificate: str
    tlsCertificateExpiresAt: Moment
    tlsSerialNumber: str
    rootCertificate: str


class Admin(TypedDict):
    """An admin, as admins see each other."""

    adminId: str
    name: str
    state: Literal["active", "withdrawn"]
    publicKey: Jwk
    authorizedBy: str
    authorizedAt: Moment
    withdrawnBy: str | None
    withdrawnAt: Moment | None


class AdminList(TypedDict):
    """Every admin, the withdrawn ones too."""

    admins: list[Admin]


class AdminCertificate(TypedDict):
    """A certificate for an admin."""

    certificate: str
    certificateId: str
    certificateExpiresAt: Moment


class AuditEntry(TypedDict):
    """Something that somebody did; `digest` is over all the rest."""

    sequence: Count
    at: Moment
    actor: str
    role: str
    action: str
    target: str
    details: dict[str, Any]
    requestId: str | None
    previousDigest: Digest
    digest: Digest


class AuditHead(TypedDict):
    """The last entry; number 0 stands for a trail without entries."""

    sequence: Count
    digest: Digest


class AuditCheckpoint(TypedDict):
    """An event that says what the head was; it has a proof of its own."""

    sequence: Count
    digest: Digest
    eventHash: Digest
    madeAt: Moment


class AuditPage(TypedDict):
    """What was done, in order."""

    entries: list[AuditEntry]
    head: AuditHead
    checkpoints: list[AuditCheckpoint]
