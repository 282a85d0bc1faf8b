"""Queries on what must be remembered of certificates and challenges."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from eventserver_core.db.connection import Database
from eventserver_core.db.models import RedeemedChallenge, Revocation


class CertificateRepository:
    """Revoked certificates and used challenges; every instance asks here, every time."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def revoked(self, certificate_ids: Sequence[str]) -> bool:
        """Tell whether any of these certificates was taken back."""
        query = Revocation.select().where(Revocation.certificate_id.in_(list(certificate_ids)))
        with self._database.session() as database:
            return query.first(database) is not None

    def revoke(self, certificate_id: str, reason: str, now: datetime) -> bool:
        """Take a certificate back.

        Returns:
            Whether it was not revoked before.
        """
        query = Revocation.insert(certificate_id=certificate_id, revoked_at=now, reason=reason)
        with self._database.transaction() as database:
            return bool(query.on_conflict_ignore().as_rowcount().execute(database))

    def redeem(self, challenge_key: str, expires_at: datetime) -> bool:
        """Use a challenge up.

        Returns:
            Whether this was its first use, of all instances.
        """
        query = RedeemedChallenge.insert(challenge_key=challenge_key, expires_at=expires_at)
        with self._database.transaction() as database:
            return bool(query.on_conflict_ignore().as_rowcount().execute(database))

    def forget_expired(self, before: datetime) -> int:
        """Delete used challenges that ended before a moment; returns how many."""
        query = RedeemedChallenge.delete().where(RedeemedChallenge.expires_at < before)
        with self._database.transaction() as database:
            return int(query.execute(database))
