"""The same events, handed in many times at once, in any order: each is stored once."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from eventserver_core.builtin.storage_filesystem import FilesystemStorage
from eventserver_core.db.connection import Database
from eventserver_core.db.events import EventRepository
from eventserver_core.domain.instant import now
from eventserver_core.services.ingest import IngestEvents, IngestLimits
from eventserver_core.services.submission import Receipt
from eventserver_core.testing.factories import make_package
from tests.unit.services.ingest.sending import RELAY, signed

WRITERS = 8


def test_writes_of_the_same_events_in_any_order_neither_block_nor_double(
    database: Database, events: EventRepository, tmp_path: Path, at_once: Callable[..., list[Any]]
) -> None:
    storage = FilesystemStorage(tmp_path / "objects")
    limits = IngestLimits(10**6, 10**6, None)
    packages = [make_package() for _ in range(120)]

    def send(number: int) -> Callable[[], list[Receipt]]:
        rng = random.Random(number)  # noqa: S311 - chooses, keeps no secret

        def run() -> list[Receipt]:
            # each is a process of its own, as far as groups go
            ingest = IngestEvents(storage, events, limits, now)
            received = []
            for _ in range(4):
                checked = [
                    ingest.check_signed(*signed(package), RELAY)
                    if rng.random() < 0.3
                    else ingest.check_package(package, RELAY)
                    for package in rng.sample(packages, 60)
                ]
                received += ingest.ingest_batch(checked)
            return received

        return run

    receipts = [r for got in at_once([send(n) for n in range(WRITERS)]) for r in got]
    assert all(isinstance(receipt, Receipt) for receipt in receipts)
    created = Counter(receipt.digest_hex for receipt in receipts if receipt.created)
    assert set(created) == {receipt.digest_hex for receipt in receipts}
    assert set(created.values()) == {1}
    locations = {(receipt.digest_hex, receipt.storage_location) for receipt in receipts}
    assert len(locations) == len(created) == events.extent().count
