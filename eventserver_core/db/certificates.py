"""Queries on what must be remembered of certificates and challenges."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from peewee import SQL

from eventserver_core.backends.auth import Credentials, Role
from eventserver_core.db.connection import Database
from eventserver_core.db.models import Admin, RedeemedChallenge, Relay, Revocation
from eventserver_core.domain.relay import RelayState

_REVOKED, _WITHDRAWN = "revoked", "withdrawn"


@dataclass(frozen=True, slots=True)
class Standing:
    """What is on record against a certificate.

    Attributes:
        revoked: it was taken back, or its holder's every one was.
        relay_state: the holder's, where it is a relay that is registered here.
    """

    revoked: bool
    relay_state: RelayState | None


class CertificateRepository:
    """Revoked certificates and used challenges, for every instance."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def standing(self, credentials: Credentials) -> Standing:
        """Return what is on record of a certificate and its holder, in one question.

        Who is on no record stands as its certificate says.
        """
        query: Any = Revocation.select(SQL(f"'{_REVOKED}'").alias("found")).where(
            Revocation.certificate_id == credentials.certificate_id
        )
        if credentials.role is Role.ADMIN:
            query = query.union_all(
                Admin.select(SQL(f"'{_WITHDRAWN}'").alias("found")).where(
                    Admin.id == credentials.subject, Admin.withdrawn_at.is_null(False)
                )
            )
        elif credentials.role is Role.RELAY:
            query = query.union_all(
                Relay.select(Relay.state.alias("found")).where(Relay.id == credentials.subject)
            )
        with self._database.session() as database:
            found = {text for (text,) in query.tuples().execute(database)}
        states = [RelayState(text) for text in found - {_REVOKED, _WITHDRAWN}]
        return Standing(bool(found & {_REVOKED, _WITHDRAWN}), states[0] if states else None)

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
