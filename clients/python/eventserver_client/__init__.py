"""Calls EventServer as a relay or an admin does, and tries again as its contract says."""

from __future__ import annotations

from eventserver_client.admin import AdminClient
from eventserver_client.answers import (
    Admin,
    AdminCertificate,
    AuditPage,
    EnrolledCertificates,
    EnrollmentToken,
    Health,
    ListedRelay,
    Receipt,
    Relay,
    RelayHealth,
    Verification,
)
from eventserver_client.client import Client
from eventserver_client.errors import (
    AnswerLostError,
    EventServerError,
    NotYetError,
    ProtocolError,
    RateLimitedError,
    RefusedError,
    UnavailableError,
    UntrustedServerError,
)
from eventserver_client.relay import RelayClient
from eventserver_client.retrying import RetryPolicy

__all__ = [
    "Admin",
    "AdminCertificate",
    "AdminClient",
    "AnswerLostError",
    "AuditPage",
    "Client",
    "EnrolledCertificates",
    "EnrollmentToken",
    "EventServerError",
    "Health",
    "ListedRelay",
    "NotYetError",
    "ProtocolError",
    "RateLimitedError",
    "Receipt",
    "RefusedError",
    "Relay",
    "RelayClient",
    "RelayHealth",
    "RetryPolicy",
    "UnavailableError",
    "UntrustedServerError",
    "Verification",
]
