"""Crashes and reorganisations: one transaction for a root, unless the first is gone."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from eventserver_core.db.batches import BatchRecord, BatchRepository
from eventserver_core.db.connection import Database
from eventserver_core.db.events import EventRepository
from eventserver_core.db.leases import HeldLease
from eventserver_core.services.anchoring import AnchorBatches
from eventserver_core.testing.clock import ManualClock
from tests.db.rows import new_event

from .conftest import LIMITS
from .rounds import status, step
from .scripted_chain import FINAL_DEPTH, Crash, ScriptedChain, crash

Start = Callable[..., AnchorBatches]


class CrashingBatches(BatchRepository):
    """Rows as they are, in a process that ends before or after a certain change."""

    def __init__(self, database: Database, method: str, *, after: bool) -> None:
        super().__init__(database)
        original = getattr(super(), method)

        def crashing(*arguments: Any) -> None:
            if after:
                original(*arguments)
            raise Crash

        setattr(self, method, crashing)


class TestCrashes:
    @pytest.mark.parametrize(
        ("method", "when"),
        [
            ("prepare", "before"),
            ("prepare", "after"),
            ("publish", "before"),
            ("publish", "after"),
            ("find", "after"),
        ],
    )
    @pytest.mark.parametrize("mined", [False, True], ids=["not mined", "mined meanwhile"])
    def test_a_crash_at_the_chain_leads_to_one_transaction(
        self,
        start: Start,
        events: EventRepository,
        batches: BatchRepository,
        lease: HeldLease,
        chain: ScriptedChain,
        clock: ManualClock,
        batch: BatchRecord,
        method: str,
        when: str,
        mined: bool,
    ) -> None:
        hooks = chain.before if when == "before" else chain.after
        hooks[method] = crash
        with pytest.raises(Crash):
            step(start(), lease, clock)
        hooks.clear()
        self._carry_on(start, events, batches, lease, chain, clock, batch, mined)

    @pytest.mark.parametrize("method", ["add_transaction", "postpone", "record_receipt"])
    @pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
    @pytest.mark.parametrize("mined", [False, True], ids=["not mined", "mined meanwhile"])
    def test_a_crash_at_the_database_leads_to_one_transaction(
        self,
        start: Start,
        database: Database,
        events: EventRepository,
        batches: BatchRepository,
        lease: HeldLease,
        chain: ScriptedChain,
        clock: ManualClock,
        batch: BatchRecord,
        method: str,
        after: bool,
        mined: bool,
    ) -> None:
        if method == "record_receipt":
            chain.after["publish"] = chain.make_block
        crashing = start(CrashingBatches(database, method, after=after))
        with pytest.raises(Crash):
            step(crashing, lease, clock)
        chain.after.clear()
        self._carry_on(start, events, batches, lease, chain, clock, batch, mined)

    @staticmethod
    def _carry_on(
        start: Start,
        events: EventRepository,
        batches: BatchRepository,
        lease: HeldLease,
        chain: ScriptedChain,
        clock: ManualClock,
        batch: BatchRecord,
        mined: bool,
    ) -> None:
        if mined:
            chain.make_block()
        for _ in range(FINAL_DEPTH + 2):
            step(start(), lease, clock)
            chain.make_block()
        assert status(events) == "confirmed"
        assert batches.transactions(batch.id) == [chain.published[0]]
        assert len(set(chain.published)) == 1

    def test_a_transaction_that_was_mined_is_not_published_again(
        self,
        start: Start,
        lease: HeldLease,
        chain: ScriptedChain,
        clock: ManualClock,
        batch: BatchRecord,
    ) -> None:
        chain.after["publish"] = crash
        with pytest.raises(Crash):
            step(start(), lease, clock)
        chain.after.clear()
        chain.make_block()
        step(start(), lease, clock)
        assert len(chain.published) == 1


class TestReorganisations:
    @pytest.fixture
    def anchored(
        self,
        anchoring: AnchorBatches,
        lease: HeldLease,
        chain: ScriptedChain,
        clock: ManualClock,
        batch: BatchRecord,
    ) -> BatchRecord:
        """A batch that is in a block, but not deep."""
        step(anchoring, lease, clock)
        chain.make_block()
        step(anchoring, lease, clock)
        return batch

    def test_a_lost_anchor_is_put_back_and_anchored_again_with_its_history(
        self,
        anchoring: AnchorBatches,
        events: EventRepository,
        batches: BatchRepository,
        lease: HeldLease,
        chain: ScriptedChain,
        clock: ManualClock,
        anchored: BatchRecord,
    ) -> None:
        assert status(events) == "anchored"
        assert batches.losses(anchored.id) == []
        chain.reorganise()
        step(anchoring, lease, clock)
        lost_at = clock.now()
        assert status(events) == "batched"
        chain.make_block()
        step(anchoring, lease, clock)
        assert status(events) == "anchored"
        first, second = batches.transactions(anchored.id)
        assert first != second
        assert set(chain.published) == {first, second}
        found = events.find(new_event(0).digest_hex)
        assert found is not None
        assert found.batch is not None
        assert found.batch.anchor is not None
        assert found.batch.anchor.transaction_hash == second.transaction_hash
        (loss,) = batches.losses(anchored.id)
        assert loss.anchor.transaction_hash == first.transaction_hash
        assert loss.lost_at == lost_at

    def test_a_loss_is_seen_in_the_backlog_while_the_chain_is_down(
        self,
        anchoring: AnchorBatches,
        events: EventRepository,
        batches: BatchRepository,
        lease: HeldLease,
        chain: ScriptedChain,
        clock: ManualClock,
        anchored: BatchRecord,
    ) -> None:
        assert batches.backlog().waiting == 0
        chain.reorganise()
        chain.before["publish"] = lambda: setattr(chain, "down", True)
        step(anchoring, lease, clock)
        assert status(events) == "batched"
        backlog = batches.backlog()
        assert backlog.waiting == LIMITS.max_events
        assert backlog.last_error == "chain=scripted: the node does not answer"

    def test_a_chain_that_does_not_answer_has_not_lost_it(
        self,
        anchoring: AnchorBatches,
        events: EventRepository,
        lease: HeldLease,
        chain: ScriptedChain,
        clock: ManualClock,
        anchored: BatchRecord,
    ) -> None:
        chain.down = True
        step(anchoring, lease, clock)
        assert status(events) == "anchored"

    def test_a_block_at_another_height_is_recorded_anew(
        self,
        anchoring: AnchorBatches,
        batches: BatchRepository,
        lease: HeldLease,
        chain: ScriptedChain,
        clock: ManualClock,
        anchored: BatchRecord,
    ) -> None:
        (before,) = batches.due(clock.now() + timedelta(days=1))
        chain._blocks.insert(0, [])  # the same transaction, one block higher
        step(anchoring, lease, clock)
        (after,) = batches.due(clock.now() + timedelta(days=1))
        assert before.anchor is not None
        assert after.anchor is not None
        assert after.anchor.block_number == before.anchor.block_number + 1
        assert after.anchor.block_hash != before.anchor.block_hash
        assert [loss.anchor for loss in batches.losses(anchored.id)] == [before.anchor]
        step(anchoring, lease, clock)
        assert len(batches.losses(anchored.id)) == 1
