"""When a certificate ends."""

from __future__ import annotations

from datetime import datetime

from cryptography import x509


def expires_at(certificate_der: bytes) -> datetime:
    """Return when a certificate, in DER, ends."""
    return x509.load_der_x509_certificate(certificate_der).not_valid_after_utc
