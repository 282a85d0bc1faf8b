"""The loop that follows relays: one of many at a time, and whatever happens it goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta

import pytest

from eventserver_core.db.leases import LeaseRepository
from eventserver_core.errors import BackendUnavailableError, LeaseLostError
from eventserver_core.services.relay_worker import LEASE_NAME, RelayWorker
from eventserver_core.testing.clock import ManualClock
from tests.db.rows import PATIENCE

from .conftest import LEASE
from .launching import Network, Provider

Make = Callable[..., RelayWorker]


@pytest.fixture
def make(network: Network, leases: LeaseRepository, clock: ManualClock) -> Make:
    def start(name: str = "worker-1", follow: object = None) -> RelayWorker:
        followed = follow or network._follow
        return RelayWorker(followed, leases, name, 0.01, LEASE, clock.now)  # type: ignore[arg-type]

    return start


class Scripted:
    """Follows nothing, and says so.

    Attributes:
        rounds: how often it was asked.
        errors: what it raises, in turn.
    """

    def __init__(self, *errors: Exception) -> None:
        self.rounds = 0
        self.errors = list(errors)
        self.enough = threading.Event()

    def run(self, still_mine: Callable[[], None]) -> None:
        self.rounds += 1
        still_mine()
        if self.errors:
            raise self.errors.pop(0)
        self.enough.set()


def test_relays_are_followed(make: Make, network: Network, provider: Provider) -> None:
    relay_id = network.ask()
    make().run_once()
    assert network.get(relay_id).machine_id == "m-0"


def test_one_worker_at_a_time(
    make: Make, network: Network, provider: Provider, clock: ManualClock
) -> None:
    network.ask()
    make("worker-1").run_once()
    provider.calls.clear()
    with pytest.raises(LeaseLostError):
        make("worker-2").run_once()
    assert provider.calls == []
    clock.advance(LEASE.total_seconds() + 1)
    make("worker-2").run_once()
    assert provider.calls


def test_it_does_not_need_the_lease_that_anchoring_has(
    make: Make, leases: LeaseRepository, clock: ManualClock
) -> None:
    assert leases.acquire("anchoring", "worker-9", timedelta(days=1), clock.now())
    make().run_once()


def test_what_fails_is_tried_again(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eventserver_core.services.relay_worker._PAUSE_AFTER_FAILURE", 0.01)
    follow = Scripted(BackendUnavailableError("database", "away"), RuntimeError("a fault"))
    worker = make(follow=follow)
    thread = threading.Thread(target=worker.run)
    thread.start()
    assert follow.enough.wait(PATIENCE)
    worker.stop()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert follow.rounds >= 3


def test_it_gives_the_lease_back_when_it_stops(
    make: Make, leases: LeaseRepository, clock: ManualClock
) -> None:
    follow = Scripted()
    worker = make("worker-1", follow=follow)
    thread = threading.Thread(target=worker.run)
    thread.start()
    assert follow.enough.wait(PATIENCE)
    worker.stop()
    thread.join(PATIENCE)
    assert leases.acquire(LEASE_NAME, "worker-2", LEASE, clock.now()) is not None


def test_a_worker_that_was_told_to_stop_asks_nothing_more(
    make: Make, network: Network, provider: Provider
) -> None:
    network.ask()
    worker = make()
    worker.stop()
    with pytest.raises(LeaseLostError):
        worker.run_once()
    assert provider.calls == []
