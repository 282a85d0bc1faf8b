"""What is kept of anchors that the chain took back, and of the transactions that were made."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from eventserver_core.db.batches import BatchRecord, BatchRepository
from eventserver_core.db.events import EventRepository
from eventserver_core.db.leases import HeldLease
from eventserver_core.errors import LeaseLostError

from .rows import NOW, batch_of, fill, receipt, transaction

LATER = NOW + timedelta(minutes=5)


@pytest.fixture
def batch(batches: BatchRepository, events: EventRepository, lease: HeldLease) -> BatchRecord:
    return seal(batches, events, lease, 0)


def seal(
    batches: BatchRepository, events: EventRepository, lease: HeldLease, first: int
) -> BatchRecord:
    fill(events, 1, first)
    sealed = batches.seal(lease, 10, NOW)
    assert sealed is not None
    return sealed


class TestLosses:
    def test_a_batch_that_was_never_anchored_has_lost_nothing(
        self, batches: BatchRepository, batch: BatchRecord, lease: HeldLease
    ) -> None:
        batches.record_loss(lease, batch.id, LATER)
        assert batches.losses(batch.id) == []

    def test_where_it_was_is_kept_in_order(
        self, batches: BatchRepository, batch: BatchRecord, lease: HeldLease
    ) -> None:
        for number in (7, 9):
            seen = receipt(batch.root_hex, final=False, number=number)
            batches.record_receipt(lease, batch.id, seen, NOW, NOW)
            batches.record_loss(lease, batch.id, LATER)
        losses = batches.losses(batch.id)
        assert [loss.anchor.block_number for loss in losses] == [7, 9]
        assert [loss.lost_at for loss in losses] == [LATER, LATER]
        assert losses[0].anchor == receipt(batch.root_hex, number=7).anchor

    def test_to_see_it_deeper_is_no_loss(
        self, batches: BatchRepository, batch: BatchRecord, lease: HeldLease
    ) -> None:
        seen = receipt(batch.root_hex, final=False)
        for confirmations in (1, 2, 3):
            deeper = replace(seen, confirmations=confirmations)
            batches.record_receipt(lease, batch.id, deeper, NOW, LATER)
        assert batches.losses(batch.id) == []

    def test_to_see_it_in_another_block_is_one(
        self, batches: BatchRepository, batch: BatchRecord, lease: HeldLease
    ) -> None:
        seen = receipt(batch.root_hex, final=False)
        batches.record_receipt(lease, batch.id, seen, NOW, NOW)
        moved = replace(seen, anchor=replace(seen.anchor, block_hash="0x" + "12" * 32))
        batches.record_receipt(lease, batch.id, moved, NOW, LATER)
        (loss,) = batches.losses(batch.id)
        assert (loss.anchor, loss.lost_at) == (seen.anchor, LATER)
        assert batch_of(batches, batch.id, NOW).anchor == moved.anchor

    def test_without_the_lease_nothing_is_kept(
        self, batches: BatchRepository, batch: BatchRecord, lease: HeldLease
    ) -> None:
        seen = receipt(batch.root_hex, final=False)
        batches.record_receipt(lease, batch.id, seen, NOW, NOW)
        with pytest.raises(LeaseLostError):
            batches.record_loss(replace(lease, token=lease.token + 1), batch.id, LATER)
        assert batches.losses(batch.id) == []


class TestOtherTransactions:
    def test_its_own_are_not_among_them(
        self, batches: BatchRepository, batch: BatchRecord, lease: HeldLease
    ) -> None:
        batches.add_transaction(lease, batch.id, transaction(batch.root_hex), NOW)
        assert batches.other_transactions(batch.id, NOW - timedelta(days=1)) == []

    def test_those_that_are_not_final_are_and_those_since_a_moment(
        self, batches: BatchRepository, events: EventRepository, lease: HeldLease
    ) -> None:
        old = NOW - timedelta(days=2)
        final, fresh, waiting, asking = (
            seal(batches, events, lease, number) for number in (0, 10, 20, 30)
        )
        for one, made_at in ((final, old), (fresh, NOW), (waiting, old)):
            batches.add_transaction(lease, one.id, transaction(one.root_hex), made_at)
        for one in (final, fresh):
            batches.record_receipt(lease, one.id, receipt(one.root_hex), NOW, NOW)
        others = batches.other_transactions(asking.id, NOW - timedelta(days=1))
        assert others == [transaction(one.root_hex) for one in (fresh, waiting)]


@pytest.mark.parametrize("text", ["with a \0 in it", "with a \ud800 in it"])
def test_an_error_is_kept_whatever_a_node_put_into_it(
    batches: BatchRepository, batch: BatchRecord, lease: HeldLease, text: str
) -> None:
    batches.postpone(lease, batch.id, text, NOW)
    kept = batch_of(batches, batch.id, NOW).last_error
    assert kept is not None
    assert kept.startswith("with a ")
