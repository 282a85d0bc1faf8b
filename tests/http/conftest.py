"""The whole application in this process, on real embedded backends, without a socket."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr
from datetime import timedelta
from pathlib import Path

import falcon.testing
import pytest
import structlog

from eventserver_core import log
from eventserver_core.backends.auth import Role
from eventserver_core.db.leases import LeaseRepository
from eventserver_core.demo.device import Device
from eventserver_core.domain import instant
from eventserver_core.services.anchoring import AnchorBatches, AnchoringLimits
from eventserver_core.services.worker import Worker
from eventserver_core.wiring import Services, load_configuration, prepare_schema
from eventserver_core.wiring.authority import make_authority

from .network import Admin


@pytest.fixture
def make_services(tmp_path: Path) -> Iterator[Callable[..., Services]]:
    """Make services over one data directory, with settings as environment variables."""
    made: list[Services] = []

    def make(**settings: str) -> Services:
        environ = {"EVENTSERVER__SERVER__DATA_DIR": str(tmp_path / "data"), **settings}
        services = Services(load_configuration(tmp_path, environ))
        prepare_schema(services.database)
        made.append(services)
        return services

    yield make
    for services in made:
        services.database.close()


@pytest.fixture
def services(make_services: Callable[..., Services]) -> Services:
    return make_services(EVENTSERVER__SECURITY__RATE_LIMIT_PER_MINUTE="10000")


@pytest.fixture
def client(services: Services) -> falcon.testing.TestClient:
    return falcon.testing.TestClient(services.application())


def bearer(services: Services, role: Role, subject: str, **kwargs: object) -> dict[str, str]:
    """Return the header of a new certificate."""
    issued = services.identities.issue(subject, role, timedelta(hours=1))
    return {"Authorization": f"Bearer {issued.token}"}


@pytest.fixture
def relay(services: Services) -> dict[str, str]:
    return bearer(services, Role.RELAY, "relay-1")


@pytest.fixture
def admin(services: Services) -> dict[str, str]:
    return bearer(services, Role.ADMIN, "admin-1")


@pytest.fixture
def device() -> Device:
    return Device()


@pytest.fixture
def device_token(client: falcon.testing.TestClient, device: Device) -> str:
    """A device's certificate, for real work."""
    challenge = client.simulate_post("/api/v1/pow/challenge").json
    answer = client.simulate_post("/api/v1/pow/verify", json=device.solve(challenge))
    assert answer.status_code == 200, answer.text
    return str(answer.json["token"])


@pytest.fixture
def anchor_all(services: Services) -> Callable[[], None]:
    """Seal and anchor all that waits, at once, as a worker does that waits for nothing."""

    def run() -> None:
        if not workers:
            limits = AnchoringLimits(1024, timedelta(0), timedelta(0), timedelta(seconds=1))
            anchoring = AnchorBatches(services.chain, services.batches, limits, instant.now)
            leases = LeaseRepository(services.database)
            lease = timedelta(seconds=30)
            workers.append(Worker(anchoring, leases, services.certificates, 1, lease, instant.now))
        while workers[0].run_once():
            pass

    workers: list[Worker] = []
    return run


@pytest.fixture
def authority(services: Services) -> None:
    """A certificate authority, as `eventserver ca init` makes it."""
    make_authority(services.settings, "Test")


@pytest.fixture
def alice(services: Services, client: falcon.testing.TestClient) -> Admin:
    """The first admin."""
    return Admin(client).bootstrap(services)


@pytest.fixture
def log_lines(services: Services) -> Iterator[Callable[[], list[str]]]:
    """Configure logging as a server does once it has its settings; returns what was written."""
    loggers = [logging.getLogger(name) for name in (None, "gunicorn.error", "httpx", "peewee")]
    before = [(logger, logger.level, logger.handlers[:], logger.propagate) for logger in loggers]
    stream = io.StringIO()
    with redirect_stderr(stream):
        log.configure("debug", "json")
    yield lambda: stream.getvalue().splitlines()
    structlog.reset_defaults()
    for logger, level, handlers, propagate in before:
        logger.setLevel(level)
        logger.handlers[:] = handlers
        logger.propagate = propagate
