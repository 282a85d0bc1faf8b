"""Services on a real database and a real storage, with a chain that does as it is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from eventserver_core.backends.provisioning import SweepsMachines
from eventserver_core.builtin.storage_filesystem import FilesystemStorage
from eventserver_core.db.batches import BatchRecord, BatchRepository
from eventserver_core.db.certificates import CertificateRepository
from eventserver_core.db.connection import Database
from eventserver_core.db.events import EventRepository
from eventserver_core.db.leases import HeldLease, LeaseRepository
from eventserver_core.db.migrate import Migrations
from eventserver_core.services.anchoring import AnchorBatches, AnchoringLimits
from eventserver_core.services.worker import LEASE_NAME, Duty, Worker
from eventserver_core.testing.clock import ManualClock
from tests.db.rows import fill

from .launching import ADDRESS, RUNNING, Network, Provider
from .scripted_chain import ScriptedChain

LIMITS = AnchoringLimits(
    max_events=10,
    max_age=timedelta(seconds=60),
    follow_interval=timedelta(seconds=1),
    max_delay=timedelta(seconds=300),
)
LEASE = timedelta(seconds=30)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    made = Database("", tmp_path / "eventserver.sqlite3")
    Migrations(made).up()
    yield made
    made.close()


@pytest.fixture
def events(database: Database) -> EventRepository:
    return EventRepository(database)


@pytest.fixture
def batches(database: Database) -> BatchRepository:
    return BatchRepository(database)


@pytest.fixture
def leases(database: Database) -> LeaseRepository:
    return LeaseRepository(database)


@pytest.fixture
def certificates(database: Database) -> CertificateRepository:
    return CertificateRepository(database)


@pytest.fixture
def lease(leases: LeaseRepository, clock: ManualClock) -> HeldLease:
    """The worker's lease, held for as long as a test takes."""
    held = leases.acquire(LEASE_NAME, "worker-1", timedelta(days=1), clock.now())
    assert held is not None
    return held


@pytest.fixture
def storage(tmp_path: Path) -> FilesystemStorage:
    return FilesystemStorage(tmp_path / "objects")


@pytest.fixture
def chain() -> ScriptedChain:
    return ScriptedChain()


@pytest.fixture
def start(
    chain: ScriptedChain, database: Database, clock: ManualClock
) -> Callable[..., AnchorBatches]:
    """Start anchoring anew, as a process does that knows only the database and the chain."""

    def make(
        batches: BatchRepository | None = None, limits: AnchoringLimits = LIMITS
    ) -> AnchorBatches:
        return AnchorBatches(chain, batches or BatchRepository(database), limits, clock.now)

    return make


@pytest.fixture
def anchoring(start: Callable[..., AnchorBatches]) -> AnchorBatches:
    return start()


@pytest.fixture
def batch(anchoring: AnchorBatches, events: EventRepository, lease: HeldLease) -> BatchRecord:
    """A batch that was just sealed, of the events that rows.fill() makes first."""
    fill(events, LIMITS.max_events)
    sealed = anchoring.seal_batch(lease)
    assert sealed is not None
    return sealed


@pytest.fixture
def make_worker(
    chain: ScriptedChain, database: Database, clock: ManualClock
) -> Callable[..., Worker]:
    def make(
        database: Database = database,
        now: Callable[[], Any] = clock.now,
        duties: Mapping[str, Duty] | None = None,
    ) -> Worker:
        return Worker(
            AnchorBatches(chain, BatchRepository(database), LIMITS, now),
            LeaseRepository(database),
            CertificateRepository(database),
            0.01,
            LEASE,
            now,
            duties,
        )

    return make


@pytest.fixture
def worker(make_worker: Callable[..., Worker]) -> Worker:
    return make_worker()


@pytest.fixture
def network(database: Database, clock: ManualClock, tmp_path: Path) -> Network:
    return Network(database, clock, tmp_path / "ca")


@pytest.fixture
def provider(network: Network) -> Provider:
    assert isinstance(network.provider, Provider)
    assert isinstance(network.provider, SweepsMachines)
    return network.provider


@pytest.fixture
def launched(network: Network, provider: Provider) -> str:
    """A relay whose machine runs, and is on record."""
    relay_id = network.ask()
    network.work()
    provider.become("m-0", RUNNING, address=ADDRESS)
    network.work()
    assert network.get(relay_id).network_address == ADDRESS
    return relay_id
