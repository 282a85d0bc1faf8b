"""Queries on admins."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from eventserver_core.db.connection import Database
from eventserver_core.db.models import Admin


@dataclass(frozen=True, slots=True)
class AdminRecord:
    """Somebody who runs the network, or did.

    Attributes:
        id: what certificates have as their subject.
        public_key: the JWK of the key that the admin signs with.
        authorized_by: the admin who vouched for the key, or ``command-line``.
    """

    id: str
    name: str
    public_key: Mapping[str, Any]
    thumbprint: str
    authorized_by: str
    authorized_at: datetime
    withdrawn_at: datetime | None = None
    withdrawn_by: str | None = None

    @property
    def state(self) -> str:
        """``active`` or ``withdrawn``."""
        return "active" if self.withdrawn_at is None else "withdrawn"


class AdminRepository:
    """Who may run the network."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def insert(self, admin: AdminRecord) -> None:
        """Let somebody in."""
        query = Admin.insert(
            id=admin.id,
            name=admin.name,
            public_key=json.dumps(dict(admin.public_key), sort_keys=True),
            thumbprint=admin.thumbprint,
            authorized_by=admin.authorized_by,
            authorized_at=admin.authorized_at,
        )
        with self._database.transaction() as database:
            query.execute(database)

    def find(self, admin_id: str) -> AdminRecord | None:
        """Return an admin."""
        return self._first(Admin.id == admin_id)

    def find_by_key(self, thumbprint: str) -> AdminRecord | None:
        """Return the admin that has, or had, this key."""
        return self._first(Admin.thumbprint == thumbprint)

    def all(self) -> list[AdminRecord]:
        """Return every admin, the withdrawn ones too, in the order in which they came."""
        query = Admin.select().order_by(Admin.authorized_at, Admin.id)
        with self._database.session() as database:
            return [_record(row) for row in query.execute(database)]

    def count_active(self) -> int:
        """Return how many admins there are."""
        query = Admin.select().where(Admin.withdrawn_at.is_null())
        with self._database.session() as database:
            return int(query.count(database))

    def withdraw(self, admin_id: str, by: str, now: datetime) -> bool:
        """Withdraw an admin; returns whether it was not withdrawn before."""
        query = Admin.update(withdrawn_at=now, withdrawn_by=by).where(
            Admin.id == admin_id, Admin.withdrawn_at.is_null()
        )
        with self._database.transaction() as database:
            return bool(query.execute(database))

    def _first(self, condition: Any) -> AdminRecord | None:
        with self._database.session() as database:
            row = Admin.select().where(condition).first(database)
        return None if row is None else _record(row)


def _record(row: Any) -> AdminRecord:
    return AdminRecord(
        row.id,
        row.name,
        json.loads(row.public_key),
        row.thumbprint,
        row.authorized_by,
        row.authorized_at,
        row.withdrawn_at,
        row.withdrawn_by,
    )
