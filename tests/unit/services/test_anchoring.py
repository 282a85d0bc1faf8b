"""Batches on their way to a block, through outages, under a lease."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from eventserver_core.backends.chain import AnchorTransaction
from eventserver_core.db.batches import BatchRecord, BatchRepository
from eventserver_core.db.events import EventRepository
from eventserver_core.db.leases import HeldLease, LeaseRepository
from eventserver_core.domain import merkle
from eventserver_core.errors import (
    BackendUnavailableError,
    InvalidInputError,
    LeaseLostError,
)
from eventserver_core.services.anchoring import AnchorBatches
from eventserver_core.services.worker import LEASE_NAME
from eventserver_core.testing.clock import ManualClock
from tests.db.rows import fill

from .conftest import LIMITS
from .rounds import status, step
from .scripted_chain import FINAL_DEPTH, ScriptedChain

Start = Callable[..., AnchorBatches]

_numbers = itertools.count(1000, LIMITS.max_events)


class TestSealing:
    def test_nothing_is_sealed_where_nothing_waits(
        self, anchoring: AnchorBatches, lease: HeldLease
    ) -> None:
        assert anchoring.seal_batch(lease) is None

    def test_enough_events_are_sealed_at_once(
        self, anchoring: AnchorBatches, events: EventRepository, lease: HeldLease
    ) -> None:
        fill(events, LIMITS.max_events - 1)
        assert anchoring.seal_batch(lease) is None
        fill(events, 6, first=LIMITS.max_events - 1)
        sealed = anchoring.seal_batch(lease)
        assert sealed is not None
        assert sealed.size == LIMITS.max_events
        assert anchoring.seal_batch(lease) is None

    def test_few_events_are_sealed_when_the_first_has_waited_long_enough(
        self,
        anchoring: AnchorBatches,
        events: EventRepository,
        lease: HeldLease,
        clock: ManualClock,
    ) -> None:
        rows = fill(events, 3)
        clock.advance(59.999)
        assert anchoring.seal_batch(lease) is None
        clock.advance(0.001)
        sealed = anchoring.seal_batch(lease)
        assert sealed is not None
        assert sealed.root_hex == merkle.root([bytes.fromhex(r.digest_hex) for r in rows]).hex()


class TestTheWay:
    def test_a_batch_is_anchored_and_then_confirmed(
        self,
        anchoring: AnchorBatches,
        events: EventRepository,
        lease: HeldLease,
        chain: ScriptedChain,
        clock: ManualClock,
        batch: BatchRecord,
    ) -> None:
        assert status(events) == "batched"
        step(anchoring, lease, clock)
        assert status(events) == "batched"
        chain.make_block()
        step(anchoring, lease, clock)
        assert status(events) == "anchored"
        chain.make_block(FINAL_DEPTH - 1)
        step(anchoring, lease, clock)
        assert status(events) == "confirmed"
        assert anchoring.due() == []
        assert {transaction.root.hex() for transaction in chain.published} == {batch.root_hex}

    def test_a_batch_that_is_in_no_block_yet_is_looked_at_after_the_interval(
        self, anchoring: AnchorBatches, lease: HeldLease, clock: ManualClock, batch: BatchRecord
    ) -> None:
        anchoring.anchor_batch(lease, batch)
        assert anchoring.due() == []
        clock.advance(LIMITS.follow_interval.total_seconds())
        assert [due.id for due in anchoring.due()] == [batch.id]

    def test_the_transaction_is_in_the_database_before_it_is_published(
        self,
        anchoring: AnchorBatches,
        batches: BatchRepository,
        lease: HeldLease,
        chain: ScriptedChain,
        batch: BatchRecord,
    ) -> None:
        kept: list[list[AnchorTransaction]] = []
        chain.before["publish"] = lambda: kept.append(batches.transactions(batch.id))
        anchoring.anchor_batch(lease, batch)
        assert kept == [chain.published]
        assert len(chain.published) == 1

    def test_what_was_made_before_is_given_to_the_backend(
        self,
        anchoring: AnchorBatches,
        lease: HeldLease,
        chain: ScriptedChain,
        clock: ManualClock,
        batch: BatchRecord,
    ) -> None:
        step(anchoring, lease, clock)
        step(anchoring, lease, clock)
        first = chain.published[0]
        assert chain.given == [[], [first]]
        assert chain.published == [first, first]

    def test_other_batches_transactions_are_given_to_the_backend_while_they_matter(
        self,
        anchoring: AnchorBatches,
        events: EventRepository,
        lease: HeldLease,
        chain: ScriptedChain,
        clock: ManualClock,
        batch: BatchRecord,
    ) -> None:
        anchoring.anchor_batch(lease, batch)
        first = chain.published[0]
        second = anchor_another(anchoring, events, lease, chain)
        assert chain.others[-1] == [first]
        chain.make_block(FINAL_DEPTH)
        step(anchoring, lease, clock)
        third = anchor_another(anchoring, events, lease, chain)
        assert chain.others[-1] == [first, second]  # final, but of the last 24 hours
        clock.advance(86400)
        anchor_another(anchoring, events, lease, chain)
        assert chain.others[-1] == [third]  # older, but in no block

    def test_several_batches_do_not_wait_for_each_other(
        self,
        anchoring: AnchorBatches,
        events: EventRepository,
        lease: HeldLease,
        chain: ScriptedChain,
        clock: ManualClock,
        batch: BatchRecord,
    ) -> None:
        fill(events, LIMITS.max_events, first=100)
        assert anchoring.seal_batch(lease) is not None
        failures = iter([BackendUnavailableError("chain=scripted", "once")])

        def fail_once() -> None:
            for failure in failures:
                raise failure

        chain.before["publish"] = fail_once
        step(anchoring, lease, clock)
        assert len({transaction.root for transaction in chain.published}) == 1
        step(anchoring, lease, clock)
        assert len({transaction.root for transaction in chain.published}) == 2


class TestOutages:
    @pytest.mark.parametrize("method", ["find", "prepare", "publish"])
    def test_a_chain_that_is_down_is_noted_and_tried_again(
        self,
        anchoring: AnchorBatches,
        events: EventRepository,
        batches: BatchRepository,
        lease: HeldLease,
        chain: ScriptedChain,
        clock: ManualClock,
        batch: BatchRecord,
        method: str,
    ) -> None:
        anchoring.anchor_batch(lease, batch)  # so that there is something to find
        chain.before[method] = lambda: setattr(chain, "down", True)
        step(anchoring, lease, clock)
        (noted,) = batches.due(clock.now() + timedelta(days=1))
        assert noted.attempts == 1
        assert batches.backlog().last_error == "chain=scripted: the node does not answer"
        assert status(events) == "batched"
        chain.before.clear()
        chain.down = False
        chain.make_block()
        step(anchoring, lease, clock)
        assert status(events) == "anchored"
        assert batches.backlog().last_error is None
        assert len(set(chain.published)) == 1

    @pytest.mark.parametrize(
        "error",
        [InvalidInputError("not this root"), ValueError("not this root")],
        ids=lambda error: type(error).__name__,
    )
    def test_whatever_else_is_raised_for_one_batch_stops_no_other(
        self,
        anchoring: AnchorBatches,
        batches: BatchRepository,
        lease: HeldLease,
        chain: ScriptedChain,
        batch: BatchRecord,
        error: Exception,
    ) -> None:
        def refuse() -> None:
            raise error

        chain.before["prepare"] = refuse
        anchoring.anchor_batch(lease, batch)
        assert batches.backlog().last_error == "not this root"
        assert anchoring.due() == []

    def test_a_receipt_that_no_database_takes_stops_no_other(
        self,
        anchoring: AnchorBatches,
        events: EventRepository,
        batches: BatchRepository,
        lease: HeldLease,
        chain: ScriptedChain,
        clock: ManualClock,
        batch: BatchRecord,
    ) -> None:
        anchoring.anchor_batch(lease, batch)
        chain.make_block()
        absurd = chain.find(chain.published[0])
        assert absurd is not None
        anchor = replace(absurd.anchor, block_number=2**70)
        chain.find = lambda *_: replace(absurd, anchor=anchor)  # type: ignore[method-assign]
        step(anchoring, lease, clock)
        assert status(events) == "batched"
        assert batches.backlog().last_error is not None

    def test_a_failure_stays_visible_until_the_batch_is_in_a_block(
        self,
        anchoring: AnchorBatches,
        batches: BatchRepository,
        lease: HeldLease,
        chain: ScriptedChain,
        clock: ManualClock,
        batch: BatchRecord,
    ) -> None:
        chain.down = True
        anchoring.anchor_batch(lease, batch)
        chain.down = False
        step(anchoring, lease, clock)
        assert chain.published
        assert batches.backlog().last_error == "chain=scripted: the node does not answer"
        chain.make_block()
        step(anchoring, lease, clock)
        assert batches.backlog().last_error is None

    def test_the_pause_doubles_up_to_its_limit_and_is_never_the_same_twice(
        self,
        anchoring: AnchorBatches,
        batches: BatchRepository,
        lease: HeldLease,
        chain: ScriptedChain,
        clock: ManualClock,
        batch: BatchRecord,
    ) -> None:
        chain.down = True
        pauses: list[float] = []
        for _ in range(20):
            (due,) = anchoring.due()
            anchoring.anchor_batch(lease, due)
            moment = _next_attempt(batches, batch.id, clock)
            pauses.append(moment)
            clock.advance(moment + 0.001)
        for attempt, pause in enumerate(pauses):
            longest = min(2.0**attempt, LIMITS.max_delay.total_seconds())
            assert longest / 2 - 0.002 <= pause <= longest + 0.002
        assert max(pauses) > 150
        assert len(set(pauses[-8:])) > 1

    def test_after_very_many_failures_there_is_still_a_pause(
        self, anchoring: AnchorBatches, lease: HeldLease, chain: ScriptedChain, batch: BatchRecord
    ) -> None:
        chain.down = True
        anchoring.anchor_batch(lease, replace(batch, attempts=10**6))
        assert anchoring.due() == []

    def test_pauses_of_two_batches_differ(
        self,
        anchoring: AnchorBatches,
        batches: BatchRepository,
        lease: HeldLease,
        chain: ScriptedChain,
        clock: ManualClock,
        events: EventRepository,
        batch: BatchRecord,
    ) -> None:
        fill(events, 50, first=100)
        while anchoring.seal_batch(lease) is not None:
            pass
        chain.down = True
        step(anchoring, lease, clock)
        due = batches.due(clock.now() + timedelta(days=1))
        assert len(due) == 6
        assert len({_next_attempt(batches, one.id, clock) for one in due}) > 1


def _next_attempt(batches: BatchRepository, batch_id: int, clock: ManualClock) -> float:
    """Return in how many seconds a batch is due, to the millisecond."""
    low, high = 0, 1_000_000
    while low < high:
        middle = (low + high) // 2
        moment = clock.now() + timedelta(milliseconds=middle)
        if any(batch.id == batch_id for batch in batches.due(moment)):
            high = middle
        else:
            low = middle + 1
    return low / 1000


class TestTheLease:
    def test_without_it_nothing_is_published_or_recorded(
        self,
        anchoring: AnchorBatches,
        batches: BatchRepository,
        leases: LeaseRepository,
        lease: HeldLease,
        chain: ScriptedChain,
        clock: ManualClock,
        batch: BatchRecord,
    ) -> None:
        clock.advance(2 * 86400)
        assert leases.acquire(LEASE_NAME, "worker-2", timedelta(seconds=30), clock.now())
        with pytest.raises(LeaseLostError):
            anchoring.anchor_batch(lease, batch)
        assert chain.published == []
        assert batches.transactions(batch.id) == []

    def test_a_failure_is_not_noted_by_one_who_lost_it(
        self,
        anchoring: AnchorBatches,
        batches: BatchRepository,
        leases: LeaseRepository,
        lease: HeldLease,
        chain: ScriptedChain,
        clock: ManualClock,
        batch: BatchRecord,
    ) -> None:
        chain.down = True
        clock.advance(2 * 86400)
        assert leases.acquire(LEASE_NAME, "worker-2", timedelta(seconds=30), clock.now())
        with pytest.raises(LeaseLostError):
            anchoring.anchor_batch(lease, batch)
        assert batches.backlog().last_error is None


def anchor_another(
    anchoring: AnchorBatches, events: EventRepository, lease: HeldLease, chain: ScriptedChain
) -> AnchorTransaction:
    """Seal another batch and publish its transaction."""
    fill(events, LIMITS.max_events, first=next(_numbers))
    sealed = anchoring.seal_batch(lease)
    assert sealed is not None
    anchoring.anchor_batch(lease, sealed)
    return chain.published[-1]
