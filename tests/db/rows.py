"""Rows for tests."""

from __future__ import annotations

import hashlib
import subprocess
import uuid
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from eventserver_core.backends.chain import AnchorReceipt, AnchorTransaction
from eventserver_core.db.batches import BatchRepository
from eventserver_core.db.connection import Database
from eventserver_core.db.event_rows import NewEvent
from eventserver_core.db.events import EventRepository
from eventserver_core.domain.proof import Anchor
from eventserver_core.testing.clock import ManualClock

PATIENCE = 60.0
ONLY_SQLITE = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
ONLY_POSTGRESQL = pytest.mark.parametrize(
    "dialect", [pytest.param("postgresql", marks=pytest.mark.real)], indirect=True
)
NOW = ManualClock().now()


def new_event(number: int = 0, **members: Any) -> NewEvent:
    """Return an event's row; another number is another event."""
    digest_hex = hashlib.sha256(str(number).encode()).hexdigest()
    event = NewEvent(
        digest_hex=digest_hex,
        event_id=str(uuid.UUID(int=number)),
        received_at=NOW + timedelta(milliseconds=number),
        submitted_by="relay-1",
        device=None,
        pack_key=f"pack-{digest_hex}",
        pack_offset=0,
        pack_length=100,
        storage_location="somewhere",
        media_key=None,
        media_type=None,
        media_size=None,
        signed_package_key=None,
        public_key=None,
    )
    return replace(event, **members)


def fill(events: EventRepository, count: int, first: int = 0) -> list[NewEvent]:
    """Insert so many events, and return them."""
    rows = [new_event(number) for number in range(first, first + count)]
    for row in rows:
        assert events.insert(row)
    return rows


def digest_of(number: int) -> str:
    """Return the hash of an event that ``fill_by_sql`` made."""
    return f"{number:064d}"


def fill_by_sql(database: Database, count: int) -> None:
    """Insert as many events as a test may want, fast."""
    digest, id_ = (f"substr('{'0' * size}' || i, length('' || i) + 1)" for size in (64, 36))
    columns = "digest_hex, event_id, received_at, submitted_by, pack_key, pack_offset, pack_length"
    numbers = f"SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {count - 1}"  # noqa: S608
    with database.transaction() as peewee:
        peewee.execute_sql(
            f"WITH RECURSIVE n (i) AS ({numbers})"  # noqa: S608
            f" INSERT INTO events ({columns}, storage_location)"
            f" SELECT {digest}, {id_}, i, 'relay-1', 'pack', 0, 1, 'here' FROM n"
        )


def receipt(root_hex: str, *, final: bool = True, number: int = 7) -> AnchorReceipt:
    """Return a receipt for a root."""
    anchor = Anchor(
        chain="evm",
        network="testnet",
        chain_id=5,
        contract=None,
        transaction_hash="0x" + root_hex,
        block_number=number,
        block_hash="0x" + "ab" * 32,
        block_time=NOW,
    )
    return AnchorReceipt(anchor, confirmations=3, final=final)


def transaction(root_hex: str, payload: bytes = b"raw") -> AnchorTransaction:
    return AnchorTransaction(bytes.fromhex(root_hex), payload, "0x" + "cd" * 32)


def batch_of(batches: BatchRepository, batch_id: int, now: datetime) -> Any:
    """Return one open batch as it is now."""
    return next(batch for batch in batches.due(now, 1000) if batch.id == batch_id)


def output(process: subprocess.Popen[str]) -> str:
    """Wait for a process, and return what it printed; it must have ended well."""
    printed, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, said
    return printed


def go_on(*processes: subprocess.Popen[str]) -> None:
    """Let processes go on that wait for a line."""
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
