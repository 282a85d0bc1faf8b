"""Several instances are one server, over one data directory as over the real parts."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from eventserver_core.backends.auth import IssuedCertificate, Role
from eventserver_core.demo.device import Device
from eventserver_core.testing.factories import make_package
from eventserver_core.testing.server import EventServerProcess, clean_environ
from eventserver_core.wiring import Services, load_configuration, prepare_schema
from tests.end_to_end.conftest import variables
from tests.end_to_end.real_system import RealSystem, clients
from tests.end_to_end.stored import Stored
from tests.end_to_end.submissions import enroll
from tests.end_to_end.waiting import wait_until

INSTANCES = 3
REPETITIONS = 1000
REVOKED_WITHIN = 5.0
LIMIT = 200
SETTINGS: dict[str, object] = {
    "server__workers": 1,
    "security__pow_difficulty": 2,
    "security__rate_limit_per_minute": 100_000,
    "security__rate_limit_public": "100000/60",
    "security__rate_limit_reads": f"{LIMIT}/60",
    "anchoring__batch_max_age": 0.1,
}

pytestmark = [pytest.mark.slow, pytest.mark.real, pytest.mark.xdist_group("heavy")]


@dataclass(frozen=True)
class Cluster:
    """Three instances and a worker.

    Attributes:
        clients: one for each instance.
        issue: issues certificates as the command line does.
        run: runs a command under the instances' settings.
        stored: what lies in their database and storage.
        anchored_roots: how often each root is on their chain.
    """

    clients: list[httpx.Client]
    issue: Callable[[Role, str], IssuedCertificate]
    run: Callable[..., object]
    stored: Stored
    anchored_roots: Callable[[], Counter[str]]


@pytest.fixture(scope="module", params=["embedded", "real"])
def cluster(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp(request.param)
    with ExitStack() as running:
        yield (_embedded if request.param == "embedded" else _real)(folder, running)


def _embedded(folder: Path, running: ExitStack) -> Cluster:
    environ = variables(SETTINGS)
    services = Services(load_configuration(folder, environ | _data_dir(folder)))
    running.callback(services.database.close)
    prepare_schema(services.database)
    started = [
        running.enter_context(EventServerProcess(["serve"], folder, environ))
        for _ in range(INSTANCES)
    ]
    worker = EventServerProcess(["worker"], folder, environ, ready_event="worker_started")
    running.enter_context(worker)
    stored = Stored(folder / "data")

    def run(*arguments: str) -> object:
        return subprocess.run(
            [sys.executable, "-m", "eventserver_core", *arguments],
            cwd=folder,
            env=clean_environ() | environ,
            check=True,
            capture_output=True,
        )

    return Cluster(
        [running.enter_context(httpx.Client(base_url=one.url, timeout=60)) for one in started],
        lambda role, subject: services.identities.issue(subject, role, timedelta(hours=1)),
        run,
        stored,
        lambda: Counter(entry["root"] for entry in stored.ledger()),
    )


def _data_dir(folder: Path) -> dict[str, str]:
    return {"EVENTSERVER__SERVER__DATA_DIR": str(folder / "data")}


def _real(folder: Path, running: ExitStack) -> Cluster:
    system = running.enter_context(RealSystem(folder, **SETTINGS))
    for _ in range(INSTANCES):
        system.start_instance()
    system.start_worker()
    return Cluster(
        [running.enter_context(client) for client in clients(system)],
        system.issue(),
        system.run,
        system.stored(),
        system.anchored_roots,
    )


def test_a_challenge_of_one_instance_is_redeemed_at_another_once(cluster: Cluster) -> None:
    first, second, third = cluster.clients
    device = Device()
    solution = device.solve(first.post("/api/v1/pow/challenge").json())
    assert second.post("/api/v1/pow/verify", json=solution).status_code == 200
    for instance in (first, second, third):
        again = instance.post("/api/v1/pow/verify", json=solution)
        assert (again.status_code, again.json()["code"]) == (409, "challenge_used")


def test_a_challenge_redeemed_at_all_instances_at_once_gives_one_certificate(
    cluster: Cluster,
) -> None:
    for _ in range(5):
        solution = Device().solve(cluster.clients[0].post("/api/v1/pow/challenge").json())
        redeem = partial(httpx.Client.post, url="/api/v1/pow/verify", json=solution)
        answers = _at_once(cluster.clients, 12, redeem)
        assert Counter(answer.status_code for answer in answers) == {200: 1, 409: 11}


def test_a_certificate_of_one_instance_works_at_the_others(cluster: Cluster) -> None:
    device, token = enroll(str(cluster.clients[0].base_url))
    for instance in cluster.clients:
        jws = device.sign(make_package())
        headers = {"Authorization": f"Bearer {token}"}
        content = {"jwtEventData": jws}
        answer = instance.post("/api/v1/events/package", json=content, headers=headers)
        assert answer.status_code == 201, answer.text


def test_a_certificate_revoked_at_one_instance_is_refused_by_all(cluster: Cluster) -> None:
    certificate = cluster.issue(Role.RELAY, "relay-1")
    _assert_taken_by_all(cluster.clients, certificate)
    admin = _bearer(cluster.issue(Role.ADMIN, "admin-1"))
    certificate_id = certificate.credentials.certificate_id
    revoked = cluster.clients[0].delete(f"/api/v1/certificates/{certificate_id}", headers=admin)
    assert revoked.status_code == 204
    _assert_soon_refused_by_all(cluster.clients, certificate)


def test_a_certificate_revoked_on_the_command_line_is_refused_by_all(cluster: Cluster) -> None:
    certificate = cluster.issue(Role.RELAY, "relay-2")
    _assert_taken_by_all(cluster.clients, certificate)
    cluster.run("certificate", "revoke", certificate.credentials.certificate_id)
    _assert_soon_refused_by_all(cluster.clients, certificate)


def test_a_package_sent_a_thousand_times_everywhere_at_once_is_one_event(
    cluster: Cluster, photo: Path
) -> None:
    content = json.dumps(make_package(photo)).encode()
    relay = _bearer(cluster.issue(Role.RELAY, "relay-3"))
    headers = {**relay, "Content-Type": "application/json"}
    media_before = _media(cluster)

    def send(client: httpx.Client) -> httpx.Response:
        answer = client.post("/api/v1/events", content=content, headers=headers)
        # 429: too many of one caller at the very same moment to be counted; it tries again
        return send(client) if answer.status_code == 429 else answer

    answers = _at_once(cluster.clients, REPETITIONS, send)
    assert Counter(answer.status_code for answer in answers) == {201: 1, 200: REPETITIONS - 1}
    assert len({answer.text for answer in answers}) == 1
    digest_hex = answers[0].json()["hash"]

    def confirmed() -> dict[str, Any] | None:
        (event,) = [row for row in cluster.stored.events() if row["digest_hex"] == digest_hex]
        return event if event["batch_state"] == "confirmed" else None

    event = wait_until(confirmed, "the event is anchored for good", seconds=60)
    cluster.stored.check_event(event)
    cluster.stored.check_batches()
    assert cluster.anchored_roots()[event["batch_root"]] == 1
    assert _media(cluster) - media_before == {event["media_key"]}


def test_the_rate_limit_holds_over_all_instances_together(cluster: Cluster) -> None:
    relay = _bearer(cluster.issue(Role.RELAY, "relay-4"))
    began = time.monotonic()

    def ask(client: httpx.Client) -> httpx.Response:
        return client.get(f"/api/v1/events/{'0' * 64}", headers=relay)

    answers = _at_once(cluster.clients, 2 * LIMIT, ask)
    assert time.monotonic() - began < 60, "so slow that units came back: nothing was shown"
    statuses = Counter(answer.status_code for answer in answers)
    assert statuses == {404: LIMIT, 429: LIMIT}
    refused = [answer for answer in answers if answer.status_code == 429]
    assert all(1 <= int(answer.headers["Retry-After"]) <= 61 for answer in refused)


def _media(cluster: Cluster) -> set[str]:
    return {key for key in cluster.stored.objects() if key.startswith("media-")}


def _bearer(certificate: IssuedCertificate) -> dict[str, str]:
    return {"Authorization": f"Bearer {certificate.token}"}


def _at_once(
    clients: list[httpx.Client], calls: int, call: Callable[[httpx.Client], httpx.Response]
) -> list[httpx.Response]:
    """Make so many calls, spread over the instances, from threads that begin together."""
    threads = min(calls, 12)
    barrier = threading.Barrier(threads)

    def run(number: int) -> list[httpx.Response]:
        barrier.wait()
        mine = range(number, calls, threads)
        return [call(clients[turn % len(clients)]) for turn in mine]

    with ThreadPoolExecutor(threads) as pool:
        return [answer for answers in pool.map(run, range(threads)) for answer in answers]


def _ask(client: httpx.Client, certificate: IssuedCertificate) -> Any:
    return client.get(f"/api/v1/events/{'0' * 64}", headers=_bearer(certificate))


def _assert_taken_by_all(clients: list[httpx.Client], certificate: IssuedCertificate) -> None:
    assert [_ask(client, certificate).status_code for client in clients] == [404] * len(clients)


def _assert_soon_refused_by_all(
    clients: list[httpx.Client], certificate: IssuedCertificate
) -> None:
    wait_until(
        lambda: all(_ask(client, certificate).status_code == 401 for client in clients),
        "every instance refuses the certificate",
        seconds=REVOKED_WITHIN,
    )
    for client in clients:
        assert _ask(client, certificate).json()["code"] == "certificate_revoked"
