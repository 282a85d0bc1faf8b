"""Leases: one worker at a time, and no harm from one that was away for too long.

Each time a lease changes hands its token grows. Whatever is changed under a lease first makes
sure, in the same transaction, that the token is still the newest.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from eventserver_core.db.connection import Database
from eventserver_core.db.models import Lease
from eventserver_core.errors import LeaseLostError

_LOST = "the lease {} has gone to another worker"


@dataclass(frozen=True, slots=True)
class HeldLease:
    """A lease that was held when this was made.

    Attributes:
        token: the fencing token.
    """

    name: str
    holder: str
    token: int


class LeaseRepository:
    """Who may work on what."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def acquire(
        self, name: str, holder: str, duration: timedelta, now: datetime
    ) -> HeldLease | None:
        """Take or renew a lease.

        Returns:
            The lease, or None where somebody else holds it.
        """
        until = now + duration
        with self._database.session() as database:
            seen = Lease.select().where(Lease.name == name).first(database)
        if seen is not None and seen.expires_at > now:
            if seen.holder != holder:
                return None
            if seen.expires_at - now > duration / 2:
                return HeldLease(name, holder, seen.token)  # long enough: nothing to write
        mine = (Lease.name == name) & (Lease.holder == holder) & (Lease.expires_at > now)
        free = (Lease.name == name) & (Lease.expires_at <= now)
        with self._database.transaction() as database:
            Lease.insert(
                name=name, holder="", token=0, expires_at=now
            ).on_conflict_ignore().execute(database)
            renewed = Lease.update(expires_at=until).where(mine).execute(database)
            if not renewed:
                taken = (
                    Lease.update(holder=holder, token=Lease.token + 1, expires_at=until)
                    .where(free)
                    .execute(database)
                )
                if not taken:
                    return None
            row = Lease.select().where(Lease.name == name).get(database)
            return HeldLease(name, holder, row.token)

    def renew(self, lease: HeldLease, duration: timedelta, now: datetime) -> None:
        """Make sure that a lease lasts for at least half of its duration.

        Raises:
            LeaseLostError: another worker has it.
        """
        if self.acquire(lease.name, lease.holder, duration, now) != lease:
            raise LeaseLostError(_LOST.format(lease.name))

    def release(self, lease: HeldLease, now: datetime) -> None:
        """Give a lease back early; nothing happens if it was lost already."""
        with self._database.transaction() as database:
            Lease.update(expires_at=now).where(
                Lease.name == lease.name, Lease.token == lease.token
            ).execute(database)


def require(database: Any, lease: HeldLease) -> None:
    """Make sure, inside a transaction, that a lease has not changed hands; it then can't until
    the transaction ends.

    Raises:
        LeaseLostError: another worker has it.
    """
    held = (
        Lease.update(holder=lease.holder)
        .where(Lease.name == lease.name, Lease.token == lease.token)
        .execute(database)
    )
    if not held:
        raise LeaseLostError(_LOST.format(lease.name))
