"""Certificate revocation lists (RFC 5280, section 5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from eventserver_core.domain.instant import to_milliseconds
from eventserver_core.pki.profile import CLOCK_SKEW

_CLOCK_BITS = 48
"""Milliseconds since 1970 take 41."""


class RevocationReason(StrEnum):
    """Why a certificate was taken back, in RFC 5280's words."""

    UNSPECIFIED = "unspecified"
    KEY_COMPROMISE = "keyCompromise"
    AFFILIATION_CHANGED = "affiliationChanged"
    SUPERSEDED = "superseded"
    CESSATION_OF_OPERATION = "cessationOfOperation"
    PRIVILEGE_WITHDRAWN = "privilegeWithdrawn"


@dataclass(frozen=True, slots=True)
class RevokedSerial:
    """A certificate that was taken back.

    Attributes:
        serial_hex: its serial number.
        revoked_at: since when.
        reason: why.
    """

    serial_hex: str
    revoked_at: datetime
    reason: RevocationReason


def sign_revocation_list(
    revoked: Sequence[RevokedSerial],
    *,
    issuer: x509.Name,
    authority_key: x509.AuthorityKeyIdentifier,
    key: EllipticCurvePrivateKey,
    now: datetime,
    next_update: timedelta,
    sequence: int,
) -> bytes:
    """Return a list in DER.

    Its number grows with ``sequence``, which all instances share, and between two of these with
    the clock.
    """
    entries = sorted(map(_entry, revoked), key=lambda entry: entry.serial_number)
    builder = (
        # added one by one, each would copy those before it
        x509.CertificateRevocationListBuilder(revoked_certificates=entries)
        .issuer_name(issuer)
        .last_update(now - CLOCK_SKEW)
        .next_update(now + next_update)
        .add_extension(authority_key, critical=False)
        .add_extension(
            x509.CRLNumber((sequence << _CLOCK_BITS) + to_milliseconds(now)), critical=False
        )
    )
    return builder.sign(key, SHA256()).public_bytes(Encoding.DER)


def _entry(revoked: RevokedSerial) -> x509.RevokedCertificate:
    builder = (
        x509.RevokedCertificateBuilder()
        .serial_number(int(revoked.serial_hex, 16))
        .revocation_date(revoked.revoked_at)
    )
    if revoked.reason is not RevocationReason.UNSPECIFIED:  # which is said by saying nothing
        reason = x509.CRLReason(x509.ReasonFlags(revoked.reason.value))
        builder = builder.add_extension(reason, critical=False)
    return builder.build()
