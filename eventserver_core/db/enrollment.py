"""Queries on what relays enrol with, and on the TLS certificates that they got."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from eventserver_core.db.connection import Database
from eventserver_core.db.models import EnrollmentToken, TlsCertificateRow


@dataclass(frozen=True, slots=True)
class TokenRecord:
    """A one-time token, of which only the digest is known."""

    relay_id: str
    expires_at: datetime
    used_at: datetime | None


@dataclass(frozen=True, slots=True)
class TlsRecord:
    """A TLS certificate that a relay got."""

    serial: str
    relay_id: str
    not_before: datetime
    not_after: datetime
    revoked_at: datetime | None = None
    reason: str | None = None


class EnrollmentRepository:
    """Tokens and TLS certificates."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add_token(self, digest: str, relay_id: str, expires_at: datetime) -> None:
        """Remember a token by its digest."""
        query = EnrollmentToken.insert(digest=digest, relay_id=relay_id, expires_at=expires_at)
        with self._database.transaction() as database:
            query.execute(database)

    def find_token(self, digest: str) -> TokenRecord | None:
        """Return what is known of a token."""
        query = EnrollmentToken.select().where(EnrollmentToken.digest == digest)
        with self._database.session() as database:
            row = query.first(database)
        return None if row is None else TokenRecord(row.relay_id, row.expires_at, row.used_at)

    def use_tokens(self, relay_id: str, now: datetime) -> None:
        """Use up every token that a relay has."""
        query = EnrollmentToken.update(used_at=now).where(
            EnrollmentToken.relay_id == relay_id, EnrollmentToken.used_at.is_null()
        )
        with self._database.transaction() as database:
            query.execute(database)

    def forget(self, before: datetime) -> None:
        """Delete tokens and certificates that ended before a moment."""
        tokens = EnrollmentToken.delete().where(EnrollmentToken.expires_at < before)
        ended = TlsCertificateRow.delete().where(TlsCertificateRow.not_after < before)
        with self._database.transaction() as database:
            tokens.execute(database)
            ended.execute(database)

    def live_of(self, relay_id: str, now: datetime) -> list[datetime]:
        """Return when each of a relay's TLS certificates ends that still holds."""
        row = TlsCertificateRow
        return [
            found.not_after
            for found in self._certificates(
                row.relay_id == relay_id, row.not_after > now, row.revoked_at.is_null()
            )
        ]

    def add_certificate(self, certificate: TlsRecord) -> None:
        """Remember a TLS certificate, before it is given out."""
        query = TlsCertificateRow.insert(
            serial=certificate.serial,
            relay_id=certificate.relay_id,
            not_before=certificate.not_before,
            not_after=certificate.not_after,
        )
        with self._database.transaction() as database:
            query.execute(database)

    def find_certificate(self, serial: str) -> TlsRecord | None:
        """Return a TLS certificate by its serial number."""
        found = self._certificates(TlsCertificateRow.serial == serial)
        return found[0] if found else None

    def revoke(self, serial: str, reason: str, now: datetime) -> bool:
        """Take a TLS certificate back; returns whether it was not revoked before."""
        return self._revoke(TlsCertificateRow.serial == serial, reason, now)

    def revoke_all_of(self, relay_id: str, reason: str, now: datetime) -> None:
        """Take every TLS certificate back that a relay has and that has not ended."""
        row = TlsCertificateRow
        self._revoke((row.relay_id == relay_id) & (row.not_after > now), reason, now)

    def revoked(self, now: datetime) -> list[TlsRecord]:
        """Return the certificates that were taken back before their end."""
        row = TlsCertificateRow
        return self._certificates(row.revoked_at.is_null(False), row.not_after > now)

    def _revoke(self, condition: Any, reason: str, now: datetime) -> bool:
        query = TlsCertificateRow.update(revoked_at=now, reason=reason).where(
            condition, TlsCertificateRow.revoked_at.is_null()
        )
        with self._database.transaction() as database:
            return bool(query.execute(database))

    def _certificates(self, *conditions: Any) -> list[TlsRecord]:
        query = TlsCertificateRow.select().where(*conditions).order_by(TlsCertificateRow.serial)
        with self._database.session() as database:
            return [
                TlsRecord(
                    row.serial,
                    row.relay_id,
                    row.not_before,
                    row.not_after,
                    row.revoked_at,
                    row.reason,
                )
                for row in query.execute(database)
            ]
