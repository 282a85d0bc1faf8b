"""A batch of 65,536: sealed page by page, and proven from a few rows."""

from __future__ import annotations

import json
from pathlib import Path

from eventserver_core.builtin.chain_ledger import FileLedger
from eventserver_core.db.batches import BatchRepository
from eventserver_core.db.connection import Database
from eventserver_core.db.events import EventRepository
from eventserver_core.db.leases import HeldLease
from eventserver_core.domain import merkle
from eventserver_core.domain.proof import Verdict, check_proof, verdict
from eventserver_core.services.chain_answers import ChainAnswers
from eventserver_core.services.verification import Verifications
from eventserver_core.testing.clock import ManualClock

from .rows import NOW, digest_of, fill_by_sql, receipt

SIZE = 65_536
PAGE = 4096


def rows_read(database: Database, queries: list[tuple[str, tuple[object, ...]]]) -> list[int]:
    """Return how many rows each query read."""
    asked = [query for query in queries if query[0].startswith("SELECT")]
    with database.session() as peewee:
        return [len(peewee.execute_sql(*query).fetchall()) for query in asked]


def test_it_is_sealed_page_by_page_and_a_proof_reads_three_rows(
    database: Database,
    batches: BatchRepository,
    events: EventRepository,
    lease: HeldLease,
    clock: ManualClock,
    tmp_path: Path,
    queries: list[tuple[str, tuple[object, ...]]],
) -> None:
    fill_by_sql(database, SIZE)
    queries.clear()
    batch = batches.seal(lease, SIZE, NOW)
    assert batch is not None
    assert batch.root_hex == merkle.root(bytes.fromhex(digest_of(n)) for n in range(SIZE)).hex()
    assert sum(counts := rows_read(database, list(queries))) >= SIZE
    assert max(counts) == PAGE
    batches.record_receipt(lease, batch.id, receipt(batch.root_hex), NOW, NOW)
    answers = ChainAnswers(FileLedger(tmp_path / "ledger"), batches, clock.now)
    for index in (0, 255, 256, 40_000, SIZE - 1):
        verifications = Verifications(events, batches, answers, clock.now)  # remembers nothing
        queries.clear()
        proof = json.loads(verifications.give_proof(digest_of(index)).content)
        assert verdict(check_proof(proof)) is Verdict.VALID
        assert (proof["merkle"]["leafIndex"], proof["merkle"]["treeSize"]) == (index, SIZE)
        assert rows_read(database, list(queries)) == [1, 2]
    queries.clear()
    assert verifications.give_proof(digest_of(SIZE - 2)).final
    assert rows_read(database, list(queries)) == [1]
