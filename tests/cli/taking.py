"""A server in this process that takes events of every kind, and what lies in its storage."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

from eventserver_core.backends.auth import Credentials, Role
from eventserver_core.demo.device import Device
from eventserver_core.domain.instant import now
from eventserver_core.services.ingest import IngestEvents, IngestLimits
from eventserver_core.services.submission import Receipt
from eventserver_core.testing.factories import make_package
from eventserver_core.wiring import Services


class Taking:
    """Takes events as an instance does.

    Args:
        services: what it works with.
        photo: what events with media carry.
    """

    def __init__(self, services: Services, photo: Path) -> None:
        self._identities = services.identities
        self._photo = photo
        limits = IngestLimits(10**8, 10**8, None)
        self.ingest = IngestEvents(services.storage, services.events, limits, now)
        self.relay = self._credentials("relay-1", Role.RELAY)
        self.signer = Device()
        auth: Any = services.auth
        subject, key = auth.identify_device(json.dumps(self.signer.public_key).encode())
        self.device = self._credentials(subject, Role.DEVICE, key)

    def plain(self) -> Receipt:
        """Take an event without media."""
        return self.ingest.ingest_package(make_package(), self.relay)

    def with_photo(self) -> Receipt:
        """Take an event with a photo."""
        return self.ingest.ingest_package(make_package(self._photo), self.relay)

    def signed(self, package: dict[str, Any] | None = None) -> Receipt:
        """Take an event that its device signed, one with a photo unless it is given."""
        jws = self.signer.sign(package or make_package(self._photo))
        checked = self._identities.check_signed_package(jws, self.device)
        return self.ingest.ingest_signed(jws, checked, self.device)

    def _credentials(self, subject: str, role: Role, key: Any = None) -> Credentials:
        issued = self._identities.issue(subject, role, timedelta(hours=1), key)
        return self._identities.authenticate(issued.token)


class Kept:
    """The files of a data directory, as somebody sees them who gets at the disk.

    Args:
        data_dir: where they are.
    """

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.objects = data_dir / "objects"

    def sql(self, statement: str, parameters: Sequence[object] = ()) -> list[dict[str, Any]]:
        """Ask or change the database, behind the server's back."""
        with closing(sqlite3.connect(self.data_dir / "eventserver.sqlite3")) as db, db:
            db.row_factory = sqlite3.Row
            return [dict(row) for row in db.execute(statement, parameters)]

    def row(self, digest_hex: str) -> dict[str, Any]:
        """Return an event's row."""
        (row,) = self.sql("SELECT * FROM events WHERE digest_hex = ?", [digest_hex])
        return row

    def rows(self) -> dict[str, dict[str, Any]]:
        """Return all rows by their hashes, without the ids that the database gave them."""
        found = self.sql("SELECT * FROM events")
        return {row.pop("digest_hex"): row for row in found if row.pop("id")}

    def alter(self, key: str) -> None:
        """Turn one bit of an object."""
        path = self.objects / key
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.chmod(0o600)
        path.write_bytes(content)

    def remove(self, key: str) -> None:
        """Remove an object."""
        (self.objects / key).unlink()


def report(stdout: str) -> dict[str, Any]:
    """Read a command's JSON."""
    found: dict[str, Any] = json.loads(stdout)
    return found
