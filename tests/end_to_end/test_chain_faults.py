"""The worker on an EVM chain that misbehaves: each root gets there once, and what was is kept."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from eventserver_core.backends.auth import Credentials, Role
from eventserver_core.db.events import EventRecord
from eventserver_core.domain.instant import now
from eventserver_core.services.ingest import IngestEvents, IngestLimits
from eventserver_core.services.worker import Worker
from eventserver_core.testing.factories import make_package
from eventserver_core.testing.parts import Anvil
from eventserver_core.testing.parts.anvil import ACCOUNT_KEYS
from eventserver_core.wiring import Services, load_configuration, prepare_schema
from tests.end_to_end.conftest import variables
from tests.end_to_end.waiting import wait_until

CONFIRMATIONS = 5
SETTINGS: dict[str, object] = {
    "plugins__chain": "evm",
    "blockchain__network": "anvil",
    "blockchain__chain_id": 31337,
    "blockchain__confirmation_blocks": CONFIRMATIONS,
    "blockchain__account_key": ACCOUNT_KEYS[0],
    "anchoring__batch_max_events": 1,
    "anchoring__follow_interval": 0.001,
    "anchoring__retry_max_delay": 0.01,
    "anchoring__lease_duration": 30,
}

pytestmark = [pytest.mark.real]


@pytest.fixture
def anvil(tmp_path: Path) -> Iterator[Anvil]:
    """A chain that makes blocks only when it is told to."""
    with Anvil(tmp_path / "anvil", block_time=None) as part:
        part.mine()
        yield part


@pytest.fixture
def make_services(tmp_path: Path, anvil: Anvil) -> Iterator[Callable[..., Services]]:
    with ExitStack() as opened:

        def make(**settings: object) -> Services:
            given = SETTINGS | {"server__data_dir": tmp_path / "data"} | settings
            environ = {"BLOCKCHAIN_RPC_URL": anvil.url, **variables(given)}
            services = Services(load_configuration(tmp_path, environ))
            opened.callback(services.database.close)
            prepare_schema(services.database)
            return services

        yield make


@pytest.fixture
def services(make_services: Callable[..., Services]) -> Services:
    return make_services()


@pytest.fixture
def worker(services: Services) -> Worker:
    return services.worker()


def store(services: Services) -> str:
    ingest = IngestEvents(services.storage, services.events, IngestLimits(10**6, 10**6, None), now)
    submitter = Credentials("relay-1", Role.RELAY, "c-1", now(), now())
    return ingest.ingest_package(make_package(), submitter).digest_hex


def event(services: Services, digest_hex: str) -> EventRecord:
    found = services.events.find(digest_hex)
    assert found is not None
    return found


def work_until(worker: Worker, services: Services, digest_hex: str, status: str) -> None:
    """Let the worker work until an event has a status."""

    def reached() -> bool:
        worker.run_once()
        return event(services, digest_hex).status == status

    wait_until(reached, f"the event is {status}", seconds=60)


def publish(worker: Worker, services: Services, anvil: Anvil) -> str:
    """Store an event, and have its anchor sent, but in no block yet."""
    digest_hex = store(services)
    worker.run_once()
    wait_until(lambda: pending(anvil), "the transaction is sent")
    return digest_hex


def pending(anvil: Anvil) -> int:
    return len(anvil.rpc("eth_getBlockByNumber", "pending", False)["transactions"])


def roots(anvil: Anvil) -> Counter[str]:
    """Return how often each root is on the chain."""
    head = int(anvil.rpc("eth_blockNumber"), 16)
    blocks = (anvil.rpc("eth_getBlockByNumber", hex(n), True) for n in range(1, head + 1))
    return Counter(one["input"][-64:] for block in blocks for one in block["transactions"])


def root_of(services: Services, digest_hex: str) -> str:
    batch = event(services, digest_hex).batch
    assert batch is not None
    return batch.root_hex


@pytest.mark.parametrize("depth", [1, 3])
def test_a_reorganisation_puts_the_batch_back_and_it_is_anchored_again_once(
    services: Services, worker: Worker, anvil: Anvil, depth: int
) -> None:
    digest_hex = publish(worker, services, anvil)
    anvil.mine(depth)
    work_until(worker, services, digest_hex, "anchored")
    lost = event(services, digest_hex).batch
    assert lost is not None
    assert lost.anchor is not None
    anvil.rpc("anvil_reorg", depth, [])
    work_until(worker, services, digest_hex, "batched")
    (loss,) = services.batches.losses(lost.id)
    assert loss.anchor == lost.anchor

    def confirmed() -> bool:
        anvil.mine()
        worker.run_once()
        return event(services, digest_hex).status == "confirmed"

    wait_until(confirmed, "the event is confirmed", seconds=60)
    anvil.mine(CONFIRMATIONS)
    assert roots(anvil) == {root_of(services, digest_hex): 1}
    again = event(services, digest_hex).batch
    assert again is not None
    assert again.anchor is not None
    assert again.anchor.block_hash != lost.anchor.block_hash
    assert services.batches.losses(lost.id) == [loss]


def test_while_the_node_is_down_nothing_is_lost(
    services: Services, worker: Worker, anvil: Anvil
) -> None:
    first = publish(worker, services, anvil)
    anvil.mine(CONFIRMATIONS)
    work_until(worker, services, first, "confirmed")
    anvil.stop()
    second = store(services)
    worker.run_once()
    assert event(services, second).status == "batched"
    assert "chain=evm" in (services.batches.backlog().last_error or "")
    anvil.start()

    def confirmed() -> bool:
        worker.run_once()
        anvil.mine()
        return event(services, second).status == "confirmed"

    wait_until(confirmed, "the event is confirmed", seconds=60)
    assert roots(anvil) == {root_of(services, one): 1 for one in (first, second)}


def test_nothing_is_sent_to_another_chain(
    make_services: Callable[..., Services], anvil: Anvil
) -> None:
    services = make_services(blockchain__chain_id=1)
    worker = services.worker()
    digest_hex = store(services)
    for _ in range(3):
        worker.run_once()
    assert event(services, digest_hex).status == "batched"
    assert "31337" in (services.batches.backlog().last_error or "")
    assert pending(anvil) == 0


def test_an_empty_account_stops_anchoring_and_nothing_else(
    services: Services, worker: Worker, anvil: Anvil
) -> None:
    account = services.chain.account_status().account  # type: ignore[attr-defined]
    full = anvil.rpc("eth_getBalance", account, "latest")
    anvil.rpc("anvil_setBalance", account, "0x0")
    digest_hex = store(services)
    worker.run_once()
    assert event(services, digest_hex).status == "batched"
    assert account in (services.batches.backlog().last_error or "")
    assert not services.health().check().services["blockchain"]
    other = store(services)
    assert event(services, other).status == "stored"
    anvil.rpc("anvil_setBalance", account, full)

    def confirmed() -> bool:
        worker.run_once()
        anvil.mine()
        return event(services, other).status == "confirmed"

    wait_until(confirmed, "the event is confirmed", seconds=60)


def test_two_workers_anchor_every_root_once(
    make_services: Callable[..., Services], anvil: Anvil
) -> None:
    """Their lease changes hands all the time: each is slower than it lasts."""
    everything = [
        make_services(anchoring__lease_duration=0.05, anchoring__poll_interval=0.01)
        for _ in range(2)
    ]
    workers = [services.worker() for services in everything]
    threads = [threading.Thread(target=worker.run) for worker in workers]
    digests = [store(everything[0]) for _ in range(12)]
    for thread in threads:
        thread.start()
    try:

        def confirmed() -> bool:
            anvil.mine()
            return {event(everything[0], one).status for one in digests} == {"confirmed"}

        wait_until(confirmed, "all events are confirmed", seconds=120)
    finally:
        for worker in workers:
            worker.stop()
        for thread in threads:
            thread.join()
    assert roots(anvil) == {root_of(everything[0], one): 1 for one in digests}
