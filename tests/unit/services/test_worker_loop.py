"""The worker's loop: through outages, beside others, and away when it is told."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

from eventserver_core.db.batches import BatchRepository
from eventserver_core.db.connection import Database
from eventserver_core.db.events import EventRepository
from eventserver_core.db.leases import LeaseRepository
from eventserver_core.domain import instant
from eventserver_core.services.worker import LEASE_NAME, Worker
from eventserver_core.testing.clock import ManualClock
from tests.db.rows import PATIENCE, fill, new_event

from .conftest import LEASE
from .scripted_chain import ScriptedChain

Records = Callable[[], list[dict[str, Any]]]


class Running:
    """A worker that runs in a thread of its own."""

    def __init__(self, worker: Worker, database: Database) -> None:
        self._worker = worker
        self._database = database
        self.raised: BaseException | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._worker.run()
        except BaseException as ex:  # noqa: BLE001 - the test looks at it
            self.raised = ex
        finally:
            self._database.close()

    def stop(self) -> None:
        self._worker.stop()
        self.wait()

    def wait(self) -> None:
        """Wait for its end, which must be a good one."""
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()
        assert self.raised is None


@pytest.fixture
def run(database: Database) -> Iterator[Callable[..., Running]]:
    running: list[Running] = []

    def start(worker: Worker, database: Database = database) -> Running:
        running.append(Running(worker, database))
        return running[-1]

    yield start
    for one in running:
        one.stop()


def until(condition: Callable[[], bool]) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + PATIENCE
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline
        pause.wait(0.005)


def statuses(events: EventRepository, count: int) -> set[str]:
    found = [events.find(new_event(number).digest_hex) for number in range(count)]
    return {event.status for event in found if event is not None}


class TestTheLoop:
    def test_it_stops_when_it_is_told_and_gives_the_lease_back(
        self,
        worker: Worker,
        run: Callable[..., Running],
        leases: LeaseRepository,
        clock: ManualClock,
        json_log: Records,
    ) -> None:
        running = run(worker)
        until(lambda: any(record["event"] == "lease_acquired" for record in json_log()))
        assert leases.acquire(LEASE_NAME, "other", LEASE, clock.now()) is None
        running.stop()
        assert leases.acquire(LEASE_NAME, "other", LEASE, clock.now()) is not None
        assert [record["event"] for record in json_log()] == [
            "worker_started",
            "lease_acquired",
            "worker_stopped",
        ]

    def test_it_ends_the_batch_it_is_at_and_begins_no_other(
        self,
        worker: Worker,
        run: Callable[..., Running],
        events: EventRepository,
        chain: ScriptedChain,
        clock: ManualClock,
    ) -> None:
        fill(events, 30)
        chain.down = True
        worker.run_until_idle()
        chain.down = False
        clock.advance(600)
        chain.before["publish"] = worker.stop
        run(worker).wait()
        assert len(chain.published) == 1

    def test_it_goes_on_after_the_lease_was_lost_and_takes_it_from_nobody(
        self,
        worker: Worker,
        run: Callable[..., Running],
        events: EventRepository,
        leases: LeaseRepository,
        chain: ScriptedChain,
        clock: ManualClock,
        json_log: Records,
    ) -> None:
        def fall_silent() -> None:
            chain.after.clear()
            clock.advance(LEASE.total_seconds() + 1)
            assert leases.acquire(LEASE_NAME, "other", LEASE, clock.now()) is not None

        fill(events, 10)
        chain.after["prepare"] = fall_silent
        running = run(worker)
        until(lambda: any(record["event"] == "lease_lost" for record in json_log()))
        clock.advance(LEASE.total_seconds() + 1)  # the other one falls silent too
        until(lambda: len(chain.published) > 0)
        running.stop()

    def test_a_worker_that_was_overtaken_gives_back_nothing_in_the_end(
        self,
        worker: Worker,
        run: Callable[..., Running],
        events: EventRepository,
        leases: LeaseRepository,
        chain: ScriptedChain,
        clock: ManualClock,
    ) -> None:
        def fall_silent() -> None:
            clock.advance(LEASE.total_seconds() + 1)
            assert leases.acquire(LEASE_NAME, "other", LEASE, clock.now()) is not None
            worker.stop()

        fill(events, 10)
        chain.after["prepare"] = fall_silent
        run(worker).wait()
        assert leases.acquire(LEASE_NAME, "third", LEASE, clock.now()) is None

    def test_a_database_that_is_away_is_waited_for(
        self,
        make_worker: Callable[..., Worker],
        run: Callable[..., Running],
        events: EventRepository,
        database: Database,
        chain: ScriptedChain,
        json_log: Records,
    ) -> None:
        assert database.path is not None
        fill(events, 10)
        impatient = Database("", database.path, timeout=0.02)
        with closing(sqlite3.connect(database.path, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            running = run(make_worker(impatient), impatient)
            until(lambda: sum(r["event"] == "worker_waits" for r in json_log()) > 1)
            assert chain.published == []
            other.execute("ROLLBACK")
        until(lambda: len(chain.published) > 0)
        running.stop()

    def test_a_database_that_goes_away_while_it_stops_holds_it_up_no_longer_than_its_patience(
        self,
        make_worker: Callable[..., Worker],
        run: Callable[..., Running],
        database: Database,
        json_log: Records,
    ) -> None:
        assert database.path is not None
        impatient = Database("", database.path, timeout=0.02)
        worker = make_worker(impatient)
        running = run(worker, impatient)
        until(lambda: any(record["event"] == "lease_acquired" for record in json_log()))
        with closing(sqlite3.connect(database.path, isolation_level=None)) as other:
            other.execute("PRAGMA busy_timeout = 60000")
            other.execute("BEGIN EXCLUSIVE")
            running.stop()
        said = [record["event"] for record in json_log()]
        assert "lease_not_released" in said
        assert said[-1] == "worker_stopped"

    def test_of_two_at_once_each_event_gets_into_one_batch_and_each_root_to_the_chain_once(
        self,
        make_worker: Callable[..., Worker],
        run: Callable[..., Running],
        events: EventRepository,
        batches: BatchRepository,
        database: Database,
        chain: ScriptedChain,
    ) -> None:
        running = [run(make_worker(now=instant.now)) for _ in range(2)]
        fill(events, 60)
        until(lambda: batches.unsealed(1)[0] == 0)

        def all_are_confirmed() -> bool:
            chain.make_block()
            return statuses(events, 60) == {"confirmed"}

        until(all_are_confirmed)
        for one in running:
            one.stop()
        assert batches.backlog().waiting == 0
        with database.session() as peewee:
            leaves = peewee.execute_sql("SELECT batch_id, leaf_index FROM events").fetchall()
            roots = peewee.execute_sql("SELECT root_hex FROM batches").fetchall()
            made = peewee.execute_sql("SELECT COUNT(*) FROM anchor_transactions").fetchone()
        assert len(set(leaves)) == 60
        assert made == (len(roots),)
        published = {transaction.root.hex() for transaction in chain.published}
        assert len(set(chain.published)) == len(published)
        assert published == {root for (root,) in roots}

    def test_another_takes_over_when_one_falls_silent(
        self,
        make_worker: Callable[..., Worker],
        run: Callable[..., Running],
        events: EventRepository,
        chain: ScriptedChain,
        clock: ManualClock,
    ) -> None:
        silent = make_worker()
        silent.run_once()
        fill(events, 10)
        running = run(make_worker())
        clock.advance(LEASE.total_seconds())
        until(lambda: len(chain.published) > 0)
        running.stop()
