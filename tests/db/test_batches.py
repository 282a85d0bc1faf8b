"""Batches: every event in exactly one, and the numbers that operators look at."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

from eventserver_core.db.batches import BatchRecord, BatchRepository
from eventserver_core.db.connection import Database
from eventserver_core.db.events import EventRepository
from eventserver_core.db.leases import HeldLease
from eventserver_core.domain import merkle
from eventserver_core.testing.clock import ManualClock

from .rows import NOW, batch_of, fill, new_event, output, receipt, transaction

Soon = Callable[[float], datetime]


def seal(batches: BatchRepository, lease: HeldLease, limit: int = 100) -> BatchRecord:
    batch = batches.seal(lease, limit, NOW)
    assert batch is not None
    return batch


def assert_each_event_is_in_one_batch(database: Database, batches: BatchRepository) -> None:
    """Look at all rows: no event is left out, no leaf is missing or there twice."""
    with database.session() as peewee:
        rows = peewee.execute_sql(
            "SELECT batch_id, leaf_index, digest_hex FROM events ORDER BY batch_id, leaf_index"
        ).fetchall()
        sizes = dict(peewee.execute_sql("SELECT id, size FROM batches").fetchall())
        roots = dict(peewee.execute_sql("SELECT id, root_hex FROM batches").fetchall())
    assert all(batch_id is not None for batch_id, _, _ in rows)
    assert len({digest for _, _, digest in rows}) == len(rows) == sum(sizes.values())
    for batch_id, size in sizes.items():
        leaves = [(index, digest) for owner, index, digest in rows if owner == batch_id]
        assert [index for index, _ in leaves] == list(range(size))
        digests = [bytes.fromhex(digest) for _, digest in leaves]
        assert merkle.root(digests).hex() == roots[batch_id]
        assert batches.leaves(batch_id) == digests


class TestSealing:
    def test_nothing_waits_at_first(
        self, batches: BatchRepository, lease: HeldLease, database: Database
    ) -> None:
        assert batches.unsealed(10) == (0, None)
        assert batches.seal(lease, 10, NOW) is None
        assert batches.due(NOW) == []
        with database.session() as peewee:
            assert peewee.execute_sql("SELECT COUNT(*) FROM batches").fetchone() == (0,)

    def test_those_who_came_first_are_sealed_first(
        self,
        batches: BatchRepository,
        events: EventRepository,
        lease: HeldLease,
        database: Database,
    ) -> None:
        rows = fill(events, 10)
        assert batches.unsealed(100) == (10, rows[0].received_at)
        assert batches.unsealed(4) == (4, rows[0].received_at)
        first = seal(batches, lease, 4)
        assert (first.state, first.size, first.attempts) == ("batched", 4, 0)
        assert (first.anchor, first.confirmations, first.last_error) == (None, None, None)
        assert first.sealed_at == NOW
        assert batches.leaves(first.id) == [bytes.fromhex(row.digest_hex) for row in rows[:4]]
        assert batches.unsealed(100) == (6, rows[4].received_at)
        second, third = seal(batches, lease, 4), seal(batches, lease, 4)
        assert (second.size, third.size) == (4, 2)
        assert batches.seal(lease, 4, NOW) is None
        assert_each_event_is_in_one_batch(database, batches)

    def test_an_event_knows_its_batch_and_leaf(
        self, batches: BatchRepository, events: EventRepository, lease: HeldLease
    ) -> None:
        rows = fill(events, 3)
        batch = seal(batches, lease)
        found = [events.find(row.digest_hex) for row in rows]
        assert [event.leaf_index for event in found if event] == [0, 1, 2]
        assert all(event is not None and event.batch == batch for event in found)
        assert {event.status for event in found if event} == {"batched"}

    def test_while_threads_insert_every_event_gets_into_one_batch(
        self,
        batches: BatchRepository,
        events: EventRepository,
        lease: HeldLease,
        database: Database,
        at_once: Callable[..., list[Any]],
    ) -> None:
        def insert(thread: int) -> Callable[[], Any]:
            return lambda: fill(events, 15, first=thread * 15)

        def keep_sealing() -> int:
            sealed = 0
            while sealed < 60:
                if batches.unsealed(1)[0]:
                    sealed += seal(batches, lease, 7).size
            return sealed

        results = at_once([*(insert(thread) for thread in range(4)), keep_sealing])
        assert [r for r in results if isinstance(r, BaseException)] == []
        assert results[-1] == 60
        assert_each_event_is_in_one_batch(database, batches)

    def test_while_processes_insert_every_event_gets_into_one_batch(
        self,
        batches: BatchRepository,
        lease: HeldLease,
        database: Database,
        url: str,
        start_python: Callable[..., subprocess.Popen[str]],
    ) -> None:
        source = """
import hashlib, sys
from datetime import UTC, datetime
from pathlib import Path
from eventserver_core.db.connection import Database
from eventserver_core.db.event_rows import NewEvent
from eventserver_core.db.events import EventRepository

events = EventRepository(Database(sys.argv[1], Path("unused")))
for number in range(40):
    digest_hex = hashlib.sha256(f"{sys.argv[2]}-{number}".encode()).hexdigest()
    assert events.insert(NewEvent(digest_hex, digest_hex[:36], datetime.now(UTC), "relay", None,
        "pack", 0, 1, "here", None, None, None, None, None))
print("done")
"""
        processes = [start_python(source, url, number) for number in range(3)]
        sealed = 0
        while any(process.poll() is None for process in processes) or batches.unsealed(1)[0]:
            if batches.unsealed(1)[0]:
                sealed += seal(batches, lease, 9).size
        assert [output(process) for process in processes] == ["done\n"] * 3
        assert sealed == 120
        assert_each_event_is_in_one_batch(database, batches)


class TestFollowing:
    def test_a_new_batch_is_due_at_once(
        self, batches: BatchRepository, events: EventRepository, lease: HeldLease
    ) -> None:
        fill(events, 1)
        batch = seal(batches, lease)
        assert batches.due(NOW) == [batch]

    def test_a_postponed_batch_is_due_again_at_its_time(
        self, batches: BatchRepository, events: EventRepository, lease: HeldLease, soon: Soon
    ) -> None:
        fill(events, 1)
        batch = seal(batches, lease)
        batches.postpone(lease, batch.id, "the chain is down", soon(5))
        assert batches.due(soon(4.999)) == []
        (again,) = batches.due(soon(5))
        assert (again.attempts, again.last_error) == (1, "the chain is down")

    def test_failed_tries_are_counted_and_stay_until_the_batch_is_anchored(
        self, batches: BatchRepository, events: EventRepository, lease: HeldLease
    ) -> None:
        fill(events, 1)
        batch = seal(batches, lease)
        for attempt in range(1, 4):
            batches.postpone(lease, batch.id, "down", NOW)
            assert batch_of(batches, batch.id, NOW).attempts == attempt
        batches.postpone(lease, batch.id, None, NOW)
        found = batch_of(batches, batch.id, NOW)
        assert (found.attempts, found.last_error) == (3, "down")

    def test_the_most_overdue_come_first_and_only_so_many(
        self, batches: BatchRepository, events: EventRepository, lease: HeldLease, soon: Soon
    ) -> None:
        fill(events, 3)
        first, second, third = (seal(batches, lease, 1) for _ in range(3))
        batches.postpone(lease, first.id, "down", soon(3))
        batches.postpone(lease, second.id, "down", soon(1))
        assert [b.id for b in batches.due(soon(9))] == [third.id, second.id, first.id]
        assert [b.id for b in batches.due(soon(9), limit=2)] == [third.id, second.id]

    def test_transactions_are_kept_in_order_and_byte_for_byte(
        self, batches: BatchRepository, events: EventRepository, lease: HeldLease
    ) -> None:
        fill(events, 2)
        batch, other = seal(batches, lease, 1), seal(batches, lease, 1)
        made = [transaction(batch.root_hex, bytes([n]) * 3) for n in (255, 0, 7)]
        for one in made:
            batches.add_transaction(lease, batch.id, one, NOW)
        assert batches.transactions(batch.id) == made
        assert batches.transactions(other.id) == []

    def test_a_receipt_that_is_not_final_is_looked_at_again(
        self, batches: BatchRepository, events: EventRepository, lease: HeldLease, soon: Soon
    ) -> None:
        fill(events, 1)
        batch = seal(batches, lease)
        batches.postpone(lease, batch.id, "down", NOW)
        seen = receipt(batch.root_hex, final=False)
        batches.record_receipt(lease, batch.id, seen, soon(5), NOW)
        assert batches.due(NOW) == []
        (found,) = batches.due(soon(5))
        assert found.state == "anchored"
        assert found.anchor == seen.anchor
        assert (found.confirmations, found.attempts, found.last_error) == (3, 0, None)

    def test_a_final_receipt_ends_it(
        self, batches: BatchRepository, events: EventRepository, lease: HeldLease, soon: Soon
    ) -> None:
        (row,) = fill(events, 1)
        batch = seal(batches, lease)
        batches.record_receipt(lease, batch.id, receipt(batch.root_hex), NOW, NOW)
        assert batches.due(soon(10**6)) == []
        event = events.find(row.digest_hex)
        assert event is not None
        assert event.status == "confirmed"
        assert event.batch is not None
        assert event.batch.anchor == receipt(batch.root_hex).anchor

    def test_a_lost_anchor_puts_the_batch_back_and_keeps_what_was_tried(
        self, batches: BatchRepository, events: EventRepository, lease: HeldLease, soon: Soon
    ) -> None:
        fill(events, 1)
        batch = seal(batches, lease)
        made = transaction(batch.root_hex)
        batches.add_transaction(lease, batch.id, made, NOW)
        batches.record_receipt(lease, batch.id, receipt(batch.root_hex, final=False), soon(5), NOW)
        batches.record_loss(lease, batch.id, NOW)
        (found,) = batches.due(NOW)
        assert (found.state, found.anchor, found.confirmations) == ("batched", None, None)
        assert found.last_error == "the anchoring transaction is in no block any longer"
        assert batches.transactions(batch.id) == [made]


class TestBacklog:
    def test_with_nothing_stored_nothing_waits(self, batches: BatchRepository) -> None:
        backlog = batches.backlog()
        assert (backlog.waiting, backlog.oldest, backlog.last_error) == (0, None, None)

    def test_it_counts_what_is_in_no_block(
        self, batches: BatchRepository, events: EventRepository, lease: HeldLease
    ) -> None:
        rows = fill(events, 10)
        assert batches.backlog().waiting == 10
        assert batches.backlog().oldest == rows[0].received_at
        first, second = seal(batches, lease, 3), seal(batches, lease, 3)
        assert batches.backlog().waiting == 10
        assert batches.backlog().oldest == rows[0].received_at
        batches.record_receipt(lease, first.id, receipt(first.root_hex, final=False), NOW, NOW)
        assert batches.backlog().waiting == 7
        assert batches.backlog().oldest == rows[3].received_at
        batches.record_receipt(lease, second.id, receipt(second.root_hex), NOW, NOW)
        assert batches.backlog().waiting == 4
        assert batches.backlog().oldest == rows[6].received_at

    def test_an_event_that_waits_unsealed_may_be_the_oldest(
        self, batches: BatchRepository, events: EventRepository, lease: HeldLease, soon: Soon
    ) -> None:
        fill(events, 1)
        seal(batches, lease)
        late = new_event(50, received_at=soon(-3600))
        events.insert(late)
        assert batches.backlog().oldest == late.received_at

    def test_it_tells_why_the_oldest_batch_waits(
        self, batches: BatchRepository, events: EventRepository, lease: HeldLease
    ) -> None:
        fill(events, 2)
        first, second = seal(batches, lease, 1), seal(batches, lease, 1)
        assert batches.backlog().last_error is None
        batches.postpone(lease, first.id, "the wallet is empty", NOW)
        batches.postpone(lease, second.id, "something else", NOW)
        assert batches.backlog().last_error == "the wallet is empty"
        batches.record_receipt(lease, first.id, receipt(first.root_hex), NOW, NOW)
        assert batches.backlog().last_error == "something else"

    def test_a_lost_anchor_waits_again(
        self, batches: BatchRepository, events: EventRepository, lease: HeldLease
    ) -> None:
        rows = fill(events, 2)
        batch = seal(batches, lease)
        batches.record_receipt(lease, batch.id, receipt(batch.root_hex, final=False), NOW, NOW)
        assert batches.backlog().waiting == 0
        batches.record_loss(lease, batch.id, NOW)
        backlog = batches.backlog()
        assert (backlog.waiting, backlog.oldest) == (2, rows[0].received_at)
        assert backlog.last_error == "the anchoring transaction is in no block any longer"


@pytest.mark.parametrize("count", [1, 2, 3, 1024, 1025])
def test_a_batch_of_any_size_has_the_root_of_its_leaves(
    batches: BatchRepository,
    events: EventRepository,
    database: Database,
    lease: HeldLease,
    clock: ManualClock,
    count: int,
) -> None:
    with database.transaction():
        rows = fill(events, count)
    batch = seal(batches, lease, 5000)
    assert batch.size == count
    assert batch.root_hex == merkle.root([bytes.fromhex(row.digest_hex) for row in rows]).hex()
