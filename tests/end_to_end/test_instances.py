"""Several instances over one database and one data directory are one server."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from eventserver_core.backends.auth import IssuedCertificate, Role
from eventserver_core.demo.device import Device
from eventserver_core.testing.factories import make_package
from eventserver_core.testing.server import clean_environ
from tests.end_to_end.conftest import Start
from tests.end_to_end.stored import Stored
from tests.end_to_end.submissions import enroll
from tests.end_to_end.waiting import wait_until

INSTANCES = 3
REPETITIONS = 1000
REVOKED_WITHIN = 5.0

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("heavy")]


@pytest.fixture
def instances(start: Start) -> Callable[..., list[httpx.Client]]:
    """Start three servers and return a client of each."""

    def run(**settings: object) -> list[httpx.Client]:
        given = {"server__workers": 1, "security__pow_difficulty": 2, **settings}
        return [httpx.Client(base_url=start("serve", **given).url) for _ in range(INSTANCES)]

    return run


@pytest.fixture
def three(instances: Callable[..., list[httpx.Client]]) -> Iterator[list[httpx.Client]]:
    clients = instances(security__rate_limit_per_minute=100_000)
    yield clients
    for client in clients:
        client.close()


def test_a_challenge_of_one_instance_is_redeemed_at_another_once(
    three: list[httpx.Client],
) -> None:
    first, second, third = three
    device = Device()
    solution = device.solve(first.post("/api/v1/pow/challenge").json())
    assert second.post("/api/v1/pow/verify", json=solution).status_code == 200
    for instance in (first, second, third):
        again = instance.post("/api/v1/pow/verify", json=solution)
        assert (again.status_code, again.json()["code"]) == (409, "challenge_used")


def test_a_challenge_redeemed_at_all_instances_at_once_gives_one_certificate(
    three: list[httpx.Client],
) -> None:
    for _ in range(5):
        solution = Device().solve(three[0].post("/api/v1/pow/challenge").json())
        redeem = partial(httpx.Client.post, url="/api/v1/pow/verify", json=solution)
        answers = _at_once(three, 12, redeem)
        assert Counter(answer.status_code for answer in answers) == {200: 1, 409: 11}


def test_a_certificate_of_one_instance_works_at_the_others(three: list[httpx.Client]) -> None:
    device, token = enroll(str(three[0].base_url))
    for instance in three:
        jws = device.sign(make_package())
        headers = {"Authorization": f"Bearer {token}"}
        content = {"jwtEventData": jws}
        answer = instance.post("/api/v1/events/package", json=content, headers=headers)
        assert answer.status_code == 201, answer.text


def test_a_certificate_revoked_at_one_instance_is_refused_by_all(
    three: list[httpx.Client],
    admin: Mapping[str, str],
    issue: Callable[[Role, str], IssuedCertificate],
) -> None:
    certificate = issue(Role.RELAY, "relay-1")
    _assert_taken_by_all(three, certificate)
    certificate_id = certificate.credentials.certificate_id
    revoked = three[0].delete(f"/api/v1/certificates/{certificate_id}", headers=admin)
    assert revoked.status_code == 204
    _assert_soon_refused_by_all(three, certificate)


def test_a_certificate_revoked_on_the_command_line_is_refused_by_all(
    three: list[httpx.Client], issue: Callable[[Role, str], IssuedCertificate], tmp_path: Path
) -> None:
    certificate = issue(Role.RELAY, "relay-1")
    _assert_taken_by_all(three, certificate)
    certificate_id = certificate.credentials.certificate_id
    subprocess.run(
        [sys.executable, "-m", "eventserver_core", "certificate", "revoke", certificate_id],
        cwd=tmp_path,
        env=clean_environ(),
        check=True,
        capture_output=True,
    )
    _assert_soon_refused_by_all(three, certificate)


def test_a_package_sent_a_thousand_times_everywhere_at_once_is_one_event(
    three: list[httpx.Client], relay: Mapping[str, str], photo: Path, tmp_path: Path, start: Start
) -> None:
    content = json.dumps(make_package(photo)).encode()
    headers = {**relay, "Content-Type": "application/json"}

    def send(client: httpx.Client) -> httpx.Response:
        answer = client.post("/api/v1/events", content=content, headers=headers, timeout=60)
        # 429: too many of one caller at the very same moment to be counted; it tries again
        return send(client) if answer.status_code == 429 else answer

    answers = _at_once(three, REPETITIONS, send)
    assert Counter(answer.status_code for answer in answers) == {201: 1, 200: REPETITIONS - 1}
    assert len({answer.text for answer in answers}) == 1
    stored = Stored(tmp_path / "data")
    start("worker", ready="batch_confirmed", anchoring__batch_max_age=0.1)
    (event,) = stored.events()
    assert event["digest_hex"] == answers[0].json()["hash"]
    assert (event["leaf_index"], event["batch_size"]) == (0, 1)
    stored.check_event(event)
    stored.check_batches()
    assert len([key for key in stored.objects() if key.startswith("media-")]) == 1
    assert len(stored.ledger()) == 1


def test_the_rate_limit_holds_over_all_instances_together(
    instances: Callable[..., list[httpx.Client]], relay: Mapping[str, str]
) -> None:
    limit = 50
    clients = instances(security__rate_limit_per_minute=limit)
    began = time.monotonic()

    def ask(client: httpx.Client) -> httpx.Response:
        return client.get(f"/api/v1/events/{'0' * 64}", headers=relay)

    answers = _at_once(clients, 3 * limit, ask)
    assert time.monotonic() - began < 60, "so slow that units came back: nothing was shown"
    statuses = Counter(answer.status_code for answer in answers)
    assert statuses == {404: limit, 429: 2 * limit}
    refused = [answer for answer in answers if answer.status_code == 429]
    assert all(1 <= int(answer.headers["Retry-After"]) <= 61 for answer in refused)
    for client in clients:
        client.close()


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
    headers = {"Authorization": f"Bearer {certificate.token}"}
    return client.get(f"/api/v1/events/{'0' * 64}", headers=headers)


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
