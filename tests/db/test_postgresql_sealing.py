"""Two sealers and several inserters at once: every event gets into exactly one batch."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from eventserver_core.db.batches import BatchRepository
from eventserver_core.db.connection import Database
from eventserver_core.db.event_rows import NewSignature
from eventserver_core.db.events import EventRepository
from eventserver_core.db.leases import HeldLease, LeaseRepository
from eventserver_core.errors import LeaseLostError

from .rows import NOW, PATIENCE, fill, new_event
from .test_batches import assert_each_event_is_in_one_batch

pytestmark = pytest.mark.real

INSERTERS = 4
EACH = 60
TOTAL = INSERTERS * EACH


@pytest.fixture
def dialect() -> str:
    """PostgreSQL only: on SQLite one writer at a time is let in."""
    return "postgresql"


def insert(database: Database, inserter: int) -> None:
    events = EventRepository(database)
    for number in range(inserter * EACH, (inserter + 1) * EACH):
        if number % 7 == 3:
            with pytest.raises(ZeroDivisionError), database.transaction():
                events.insert(new_event(number))
                raise ZeroDivisionError  # its id is never seen again: a gap
        assert events.insert(new_event(number))
        assert not events.insert(new_event(number))
        if number % 3 == 0:
            digest_hex = new_event(number).digest_hex
            assert events.attach_signature(NewSignature(digest_hex, "device:1", "jws-1", "{}"))


def keep_sealing(
    database: Database, leases: list[HeldLease], done: threading.Event, sealed: list[int]
) -> int:
    """Seal until all is sealed; returns how often the lease was gone."""
    batches, lost = BatchRepository(database), 0
    while sum(sealed) < TOTAL and not done.is_set():
        try:
            batch = batches.seal(leases[-1], 7, NOW)
        except LeaseLostError:
            lost += 1
            continue
        if batch is not None:
            sealed.append(batch.size)
    return lost


def test_with_one_lease_between_two_sealers(
    database: Database, url: str, lease: HeldLease, at_once: Callable[..., list[Any]]
) -> None:
    """The worst that a worker which does not know of another one could do."""
    results, sealed = race(url, [lease], at_once, hand_over=None)
    assert [r for r in results if isinstance(r, BaseException)] == []
    assert sum(sealed) == TOTAL
    assert_each_event_is_in_one_batch(database, BatchRepository(database))


def test_while_the_lease_goes_from_hand_to_hand(
    database: Database,
    url: str,
    lease: HeldLease,
    leases: LeaseRepository,
    at_once: Callable[..., list[Any]],
) -> None:
    held = [lease]

    def hand_over(sealed: list[int]) -> None:
        moment, turn = NOW, 0
        while sum(sealed) < TOTAL:
            moment += timedelta(hours=2)
            turn += 1
            taken = leases.acquire("anchoring", f"worker-{turn}", timedelta(hours=1), moment)
            assert taken is not None
            held.append(taken)

    results, sealed = race(url, held, at_once, hand_over=hand_over)
    assert [r for r in results if isinstance(r, BaseException)] == []
    assert sum(sealed) == TOTAL
    assert len(held) > 1
    assert_each_event_is_in_one_batch(database, BatchRepository(database))


def race(
    url: str,
    held: list[HeldLease],
    at_once: Callable[..., list[Any]],
    hand_over: Callable[[list[int]], None] | None,
) -> tuple[list[Any], list[int]]:
    """Let all go at once, each with connections of its own; returns what came of it."""
    instances = [Database(url, Path("unused"), timeout=PATIENCE) for _ in range(INSERTERS + 2)]
    sealed: list[int] = []
    done = threading.Event()
    workers: list[Callable[[], Any]] = [
        lambda n=n: insert(instances[n], n) for n in range(INSERTERS)
    ]
    workers += [
        lambda n=n: keep_sealing(instances[INSERTERS + n], held, done, sealed) for n in range(2)
    ]
    if hand_over is not None:
        workers.append(lambda: hand_over(sealed))
    watchdog = threading.Timer(PATIENCE / 2, done.set)
    watchdog.start()
    results = at_once(workers)
    watchdog.cancel()
    for instance in instances:
        instance.close()
    return results, sealed


def test_a_sealer_waits_for_the_other_and_seals_what_is_left(
    database: Database, url: str, lease: HeldLease, batches: BatchRepository
) -> None:
    """Not only is nothing sealed twice: no leaf is missing in between."""
    fill(EventRepository(database), 5)
    other = Database(url, Path("unused"), timeout=PATIENCE)
    results: list[Any] = []
    with database.transaction() as session:
        first = batches.seal(lease, 3, NOW)
        thread = threading.Thread(
            target=lambda: results.append(BatchRepository(other).seal(lease, 3, NOW))
        )
        thread.start()
        blocked = (
            "SELECT COUNT(*), pg_stat_clear_snapshot()::text FROM pg_stat_activity "
            "WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        while session.execute_sql(blocked).fetchone()[0] == 0:
            pass
    thread.join(PATIENCE)
    assert first is not None
    assert (first.size, results[0].size) == (3, 2)
    other.close()
    assert_each_event_is_in_one_batch(database, batches)
