"""Leases: one holder at a time, and a stale one changes nothing."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from eventserver_core.db.batches import BatchRecord, BatchRepository
from eventserver_core.db.events import EventRepository
from eventserver_core.db.leases import HeldLease, LeaseRepository
from eventserver_core.errors import LeaseLostError
from eventserver_core.testing.clock import ManualClock

from .rows import fill, go_on, new_event, output, receipt, transaction

TEN = timedelta(seconds=10)


@pytest.fixture
def acquire(leases: LeaseRepository, clock: ManualClock) -> Callable[[str], HeldLease | None]:
    return lambda holder: leases.acquire("anchoring", holder, TEN, clock.now())


def held(lease: HeldLease | None) -> HeldLease:
    assert lease is not None
    return lease


def test_the_first_takes_it_and_others_wait(acquire: Callable[[str], Any]) -> None:
    assert held(acquire("a")).holder == "a"
    assert acquire("b") is None
    assert acquire("c") is None


def test_renewing_keeps_the_token(acquire: Callable[[str], Any], clock: ManualClock) -> None:
    first = held(acquire("a"))
    for _ in range(5):
        clock.advance(9)
        assert acquire("a") == first
        assert acquire("b") is None


def test_it_can_be_taken_over_when_it_ends_and_no_sooner(
    acquire: Callable[[str], Any], clock: ManualClock
) -> None:
    first = held(acquire("a"))
    clock.advance(9.999)
    assert acquire("b") is None
    clock.advance(0.001)
    second = held(acquire("b"))
    assert second.token > first.token
    assert acquire("a") is None


def test_its_last_holder_gets_a_new_token_after_the_end(
    acquire: Callable[[str], Any], clock: ManualClock
) -> None:
    first = held(acquire("a"))
    clock.advance(11)
    assert held(acquire("a")).token > first.token


def test_a_lease_that_was_given_back_is_free_at_once(
    acquire: Callable[[str], Any], leases: LeaseRepository, clock: ManualClock
) -> None:
    first = held(acquire("a"))
    leases.release(first, clock.now())
    assert held(acquire("b")).token > first.token


def test_giving_a_lost_lease_back_takes_it_from_nobody(
    acquire: Callable[[str], Any], leases: LeaseRepository, clock: ManualClock
) -> None:
    first = held(acquire("a"))
    clock.advance(11)
    second = held(acquire("b"))
    leases.release(first, clock.now())
    assert acquire("c") is None
    assert acquire("b") == second


def test_leases_of_other_names_are_others(
    acquire: Callable[[str], Any], leases: LeaseRepository, clock: ManualClock
) -> None:
    held(acquire("a"))
    assert leases.acquire("cleaning", "b", TEN, clock.now()) is not None


def test_of_many_threads_exactly_one_gets_it(
    acquire: Callable[[str], Any], at_once: Callable[..., list[Any]], clock: ManualClock
) -> None:
    def take(number: int) -> Callable[[], Any]:
        return lambda: acquire(f"worker-{number}")

    for _ in range(3):
        winners = [lease for lease in at_once([take(n) for n in range(12)]) if lease is not None]
        assert len(winners) == 1
        clock.advance(11)


class TestAStaleHolder:
    """Whatever it does raises LeaseLostError and leaves the rows as they are."""

    @pytest.fixture
    def batch(
        self,
        events: EventRepository,
        batches: BatchRepository,
        stale: HeldLease,
        fresh: HeldLease,
        clock: ManualClock,
    ) -> BatchRecord:
        fill(events, 2)
        sealed = batches.seal(fresh, 10, clock.now())
        assert sealed is not None
        fill(events, 2, first=2)
        return sealed

    @pytest.fixture
    def stale(self, acquire: Callable[[str], Any]) -> HeldLease:
        return held(acquire("a"))

    @pytest.fixture
    def fresh(
        self, stale: HeldLease, acquire: Callable[[str], Any], clock: ManualClock
    ) -> HeldLease:
        clock.advance(11)
        return held(acquire("b"))

    @pytest.mark.parametrize(
        "change",
        ["seal", "add_transaction", "record_receipt", "record_loss", "postpone"],
    )
    def test_changes_nothing(
        self,
        change: str,
        batches: BatchRepository,
        events: EventRepository,
        batch: BatchRecord,
        stale: HeldLease,
        fresh: HeldLease,
        clock: ManualClock,
    ) -> None:
        now = clock.now()
        arguments: dict[str, tuple[Any, ...]] = {
            "seal": (10, now),
            "add_transaction": (batch.id, transaction(batch.root_hex), now),
            "record_receipt": (batch.id, receipt(batch.root_hex), now, now),
            "record_loss": (batch.id, now),
            "postpone": (batch.id, "an error", now),
        }
        with pytest.raises(LeaseLostError, match="anchoring"):
            getattr(batches, change)(stale, *arguments[change])
        assert batches.due(now) == [batch]
        assert batches.transactions(batch.id) == []
        assert batches.unsealed(10)[0] == 2
        getattr(batches, change)(fresh, *arguments[change])

    def test_is_fenced_off_by_one_in_another_process(
        self,
        events: EventRepository,
        batches: BatchRepository,
        url: str,
        leases: LeaseRepository,
        start_python: Callable[..., subprocess.Popen[str]],
        clock: ManualClock,
    ) -> None:
        source = """
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from eventserver_core.db.batches import BatchRepository
from eventserver_core.db.connection import Database
from eventserver_core.db.leases import LeaseRepository
from eventserver_core.errors import LeaseLostError

database = Database(sys.argv[1], Path("unused"))
now = datetime.fromisoformat(sys.argv[2])
lease = LeaseRepository(database).acquire("anchoring", "slow", timedelta(seconds=10), now)
print("held" if lease else "not held", flush=True)
sys.stdin.readline()
try:
    BatchRepository(database).seal(lease, 10, now)
    print("sealed")
except LeaseLostError:
    print("lost")
"""
        fill(events, 3)
        slow = start_python(source, url, clock.now().isoformat())
        assert slow.stdout is not None
        assert slow.stdout.readline() == "held\n"
        assert leases.acquire("anchoring", "quick", TEN, clock.now()) is None
        clock.advance(11)
        quick = held(leases.acquire("anchoring", "quick", TEN, clock.now()))
        go_on(slow)
        assert output(slow) == "lost\n"
        assert batches.unsealed(10)[0] == 3
        sealed = batches.seal(quick, 10, clock.now())
        assert sealed is not None
        assert sealed.size == 3
        found = events.find(new_event(0).digest_hex)
        assert found is not None
        assert found.batch == sealed
