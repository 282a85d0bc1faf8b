"""One round of the worker: what it does, and what it leaves to others."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta

import pytest

from eventserver_core.db.batches import BatchRepository
from eventserver_core.db.certificates import CertificateRepository
from eventserver_core.db.connection import Database
from eventserver_core.db.events import EventRepository
from eventserver_core.db.leases import LeaseRepository
from eventserver_core.errors import BackendUnavailableError, LeaseLostError
from eventserver_core.services.worker import LEASE_NAME, Worker
from eventserver_core.testing.clock import ManualClock
from tests.db.rows import fill

from .conftest import LEASE
from .scripted_chain import Crash, ScriptedChain, crash


class TestOneRound:
    def test_it_seals_and_anchors(
        self, worker: Worker, events: EventRepository, chain: ScriptedChain, clock: ManualClock
    ) -> None:
        fill(events, 15)
        assert worker.run_once()
        assert len(chain.published) == 1
        assert not worker.run_once()
        clock.advance(61)
        assert not worker.run_once()  # the first is in no block: more may gather meanwhile
        clock.advance(60)
        assert worker.run_once()
        assert len({transaction.root for transaction in chain.published}) == 2

    def test_it_forgets_challenges_that_have_ended(
        self, worker: Worker, certificates: CertificateRepository, clock: ManualClock
    ) -> None:
        certificates.redeem("old", clock.now() - timedelta(hours=1, seconds=1))
        certificates.redeem("recent", clock.now() - timedelta(minutes=59))
        worker.run_once()
        assert certificates.redeem("old", clock.now())
        assert not certificates.redeem("recent", clock.now())

    def test_while_another_holds_the_lease_it_does_nothing(
        self,
        worker: Worker,
        make_worker: Callable[..., Worker],
        events: EventRepository,
        batches: BatchRepository,
        chain: ScriptedChain,
        clock: ManualClock,
    ) -> None:
        make_worker().run_once()
        fill(events, 10)
        assert not worker.run_once()
        assert batches.unsealed(100)[0] == 10
        clock.advance(LEASE.total_seconds())
        assert worker.run_once()
        assert len(chain.published) == 1

    def test_it_renews_its_lease_between_two_batches(
        self,
        worker: Worker,
        events: EventRepository,
        leases: LeaseRepository,
        chain: ScriptedChain,
        clock: ManualClock,
    ) -> None:
        others: list[object] = []

        def take_a_while() -> None:
            clock.advance(20)
            others.append(leases.acquire(LEASE_NAME, "other", LEASE, clock.now()))

        fill(events, 30)
        chain.down = True
        while worker.run_once():
            pass
        chain.down = False
        clock.advance(600)
        chain.before["publish"] = take_a_while
        worker.run_once()
        assert others == [None, None, None]

    def test_the_lease_is_lost_in_the_middle(
        self,
        worker: Worker,
        events: EventRepository,
        batches: BatchRepository,
        leases: LeaseRepository,
        chain: ScriptedChain,
        clock: ManualClock,
    ) -> None:
        def fall_silent() -> None:
            clock.advance(LEASE.total_seconds() + 1)
            assert leases.acquire(LEASE_NAME, "other", LEASE, clock.now()) is not None

        fill(events, 10)
        chain.after["prepare"] = fall_silent
        with pytest.raises(LeaseLostError):
            worker.run_once()
        assert chain.published == []
        (batch,) = batches.due(clock.now())
        assert batches.transactions(batch.id) == []
        chain.after.clear()
        assert not worker.run_once()
        clock.advance(LEASE.total_seconds())
        worker.run_once()
        assert len(chain.published) == 1

    def test_it_gives_the_lease_back_when_there_is_nothing_left_to_do(
        self,
        worker: Worker,
        make_worker: Callable[..., Worker],
        events: EventRepository,
        chain: ScriptedChain,
    ) -> None:
        fill(events, 20)
        worker.run_until_idle()
        assert len({transaction.root for transaction in chain.published}) == 2
        fill(events, 10, first=100)
        make_worker().run_until_idle()
        assert len({transaction.root for transaction in chain.published}) == 3

    def test_it_gives_the_lease_back_when_it_fails(
        self,
        worker: Worker,
        leases: LeaseRepository,
        events: EventRepository,
        chain: ScriptedChain,
        clock: ManualClock,
    ) -> None:
        fill(events, 10)
        chain.before["prepare"] = crash
        with pytest.raises(Crash):
            worker.run_until_idle()
        assert leases.acquire(LEASE_NAME, "other", LEASE, clock.now()) is not None


def test_every_worker_has_a_name_of_its_own(make_worker: Callable[..., Worker]) -> None:
    assert len({make_worker().name for _ in range(10)}) == 10


def test_the_database_being_away_is_told_by_a_single_round(
    make_worker: Callable[..., Worker], database: Database
) -> None:
    assert database.path is not None
    impatient = Database("", database.path, timeout=0.02)
    with closing(sqlite3.connect(database.path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(BackendUnavailableError):
            make_worker(impatient).run_once()
    impatient.close()
