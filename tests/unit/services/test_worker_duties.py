"""What else a worker does under its lease, and that nothing of it holds anything else up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from eventserver_core.db.events import EventRepository
from eventserver_core.db.leases import LeaseRepository
from eventserver_core.errors import BackendUnavailableError, LeaseLostError
from eventserver_core.services.worker import LEASE_NAME, Worker
from eventserver_core.testing.clock import ManualClock
from tests.db.rows import fill

from .conftest import LEASE
from .launching import Network
from .scripted_chain import ScriptedChain

Records = Callable[[], list[dict[str, Any]]]
PAUSE = 30
FAILURES = [BackendUnavailableError("storage=s3", "away"), RuntimeError("a fault"), KeyError("k")]


class Duty:
    """Notes when it is done, and does what the test says.

    Attributes:
        does: gets what makes sure that the lease is held.
    """

    def __init__(self) -> None:
        self.times = 0
        self.does: Callable[[Callable[[], None]], object] = lambda still_mine: still_mine()

    def __call__(self, still_mine: Callable[[], None]) -> None:
        self.times += 1
        self.does(still_mine)


@pytest.fixture
def first() -> Duty:
    return Duty()


@pytest.fixture
def second() -> Duty:
    return Duty()


@pytest.fixture
def worker(make_worker: Callable[..., Worker], first: Duty, second: Duty) -> Worker:
    return make_worker(duties={"first": first, "second": second})


def failing(error: Exception) -> Callable[[Callable[[], None]], None]:
    def fail(_still_mine: Callable[[], None]) -> None:
        raise error

    return fail


def test_each_is_done_in_every_round(worker: Worker, first: Duty, second: Duty) -> None:
    for _ in range(3):
        worker.run_once()
    assert (first.times, second.times) == (3, 3)


def test_without_the_lease_none_is_done(
    worker: Worker, first: Duty, leases: LeaseRepository, clock: ManualClock
) -> None:
    assert leases.acquire(LEASE_NAME, "other", LEASE, clock.now()) is not None
    assert not worker.run_once()
    assert first.times == 0


@pytest.mark.parametrize("error", FAILURES, ids=lambda error: type(error).__name__)
def test_one_that_fails_holds_up_neither_the_others_nor_anchoring(
    worker: Worker,
    first: Duty,
    second: Duty,
    events: EventRepository,
    chain: ScriptedChain,
    error: Exception,
) -> None:
    fill(events, 10)
    first.does = failing(error)
    assert worker.run_once()
    assert second.times == 1
    assert len(chain.published) == 1


def test_one_that_fails_rests_for_a_while(
    worker: Worker, first: Duty, second: Duty, clock: ManualClock
) -> None:
    first.does = failing(RuntimeError("a fault"))
    worker.run_once()
    clock.advance(PAUSE - 0.001)
    worker.run_once()
    assert (first.times, second.times) == (1, 2)
    clock.advance(0.001)
    worker.run_once()
    assert first.times == 2
    first.does = lambda still_mine: still_mine()
    clock.advance(PAUSE)
    for _ in range(3):
        worker.run_once()
    assert first.times == 5


def test_a_failure_is_told_with_what_there_is_to_know(
    worker: Worker, first: Duty, second: Duty, json_log: Records
) -> None:
    first.does, second.does = failing(FAILURES[0]), failing(FAILURES[1])
    worker.run_once()
    expected, unforeseen = [line for line in json_log() if line["event"] == "duty_failed"]
    assert (expected["duty"], expected["error"]) == ("first", "storage=s3: away")
    assert expected["retry_in_seconds"] == PAUSE
    assert not expected.get("exception")
    assert (unforeseen["duty"], unforeseen["error"]) == ("second", "a fault")
    assert unforeseen["exception"][0]["exc_type"] == "RuntimeError"


def test_the_lease_is_renewed_while_one_takes_long(
    worker: Worker, first: Duty, leases: LeaseRepository, clock: ManualClock
) -> None:
    others: list[object] = []

    def take_a_while(still_mine: Callable[[], None]) -> None:
        for _ in range(5):
            clock.advance(LEASE.total_seconds() - 1)
            still_mine()
            others.append(leases.acquire(LEASE_NAME, "other", LEASE, clock.now()))

    first.does = take_a_while
    worker.run_once()
    assert others == [None] * 5


def test_the_lease_is_lost_while_one_is_done(
    worker: Worker,
    first: Duty,
    second: Duty,
    events: EventRepository,
    leases: LeaseRepository,
    chain: ScriptedChain,
    clock: ManualClock,
) -> None:
    def fall_silent(still_mine: Callable[[], None]) -> None:
        clock.advance(LEASE.total_seconds() + 1)
        assert leases.acquire(LEASE_NAME, "other", LEASE, clock.now()) is not None
        still_mine()

    fill(events, 10)
    first.does = fall_silent
    with pytest.raises(LeaseLostError):
        worker.run_once()
    assert second.times == 0
    assert chain.published == []
    assert leases.acquire(LEASE_NAME, "third", LEASE, clock.now()) is None
    # it didn't fail: it is done as soon as the lease is held again
    first.does = lambda still_mine: still_mine()
    clock.advance(LEASE.total_seconds())
    assert worker.run_once()
    assert (first.times, second.times) == (2, 1)


def test_the_lease_is_lost_to_one_that_never_asked(
    worker: Worker,
    first: Duty,
    second: Duty,
    events: EventRepository,
    leases: LeaseRepository,
    chain: ScriptedChain,
    clock: ManualClock,
) -> None:
    def fall_silent(_still_mine: Callable[[], None]) -> None:
        clock.advance(LEASE.total_seconds() + 1)
        assert leases.acquire(LEASE_NAME, "other", LEASE, clock.now()) is not None

    fill(events, 10)
    first.does = fall_silent
    second.does = lambda still_mine: None
    assert not worker.run_once()
    assert chain.published == []


def test_told_to_stop_it_ends_the_one_it_is_at_and_gives_the_lease_back(
    worker: Worker,
    first: Duty,
    second: Duty,
    events: EventRepository,
    leases: LeaseRepository,
    chain: ScriptedChain,
    clock: ManualClock,
    json_log: Records,
) -> None:
    done: list[str] = []

    def be_stopped(still_mine: Callable[[], None]) -> None:
        done.append("this step")
        worker.stop()
        still_mine()
        done.append("another step")

    fill(events, 10)
    first.does = be_stopped
    worker.run()
    assert done == ["this step"]
    assert second.times == 0
    assert chain.published == []
    assert leases.acquire(LEASE_NAME, "other", LEASE, clock.now()) is not None
    said = [line["event"] for line in json_log()]
    assert said[-1] == "worker_stopped"
    assert not {"duty_failed", "lease_lost"} & set(said)


def test_relays_are_followed_under_the_lease(
    make_worker: Callable[..., Worker], network: Network
) -> None:
    relay_id = network.ask()
    make_worker(duties={"follow_relays": network.work}).run_once()
    assert network.get(relay_id).machine_id == "m-0"
