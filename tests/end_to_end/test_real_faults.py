"""What callers see while a real part is away, and that nothing is lost by it."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import minio
import pytest

from eventserver_core.backends.auth import IssuedCertificate, Role
from eventserver_core.testing.factories import make_package
from eventserver_core.testing.parts import Part
from tests.end_to_end.real_system import BUCKET, RealSystem, clients
from tests.end_to_end.waiting import wait_until

EVENTS = "/api/v1/events"
REVOKED_WITHIN = 5.0

pytestmark = [pytest.mark.slow, pytest.mark.real, pytest.mark.xdist_group("heavy")]


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealSystem]:
    with RealSystem(tmp_path_factory.mktemp("real")) as made:
        made.start_instance()
        made.start_instance()
        made.start_worker()
        yield made


@pytest.fixture
def client(system: RealSystem) -> Iterator[httpx.Client]:
    first, second = clients(system)
    with first, second:
        yield first


@pytest.fixture(scope="module")
def issue(system: RealSystem) -> Callable[[Role, str], IssuedCertificate]:
    return system.issue()


@pytest.fixture
def relay(issue: Callable[[Role, str], IssuedCertificate]) -> dict[str, str]:
    return bearer(issue(Role.RELAY, "relay-1"))


def bearer(certificate: IssuedCertificate) -> dict[str, str]:
    return {"Authorization": f"Bearer {certificate.token}"}


def health(client: httpx.Client) -> dict[str, Any]:
    found: dict[str, Any] = client.get("/health").json()
    return found


def wait_for_health(client: httpx.Client, **wanted: object) -> None:
    def as_wanted() -> bool:
        found = health(client)
        known = {"status": found["status"], **found["services"]}
        return {name: known.get(name) for name in wanted} == wanted

    wait_until(as_wanted, f"the health is {wanted}", seconds=60)


def stored_at_last(client: httpx.Client, relay: dict[str, str], package: object) -> str:
    """Send a package until it is taken, as a relay does, and return its hash."""

    def taken() -> str | None:
        answer = client.post(EVENTS, json=package, headers=relay)
        assert answer.status_code in (200, 201, 503), answer.text
        return answer.json()["hash"] if answer.is_success else None

    return wait_until(taken, "the event is taken", seconds=60)


def test_everything_that_is_depended_on_is_in_the_health(client: httpx.Client) -> None:
    wait_for_health(client, status="healthy")
    assert set(health(client)["services"]) == {"storage", "blockchain", "database", "auth", "redis"}


@pytest.mark.parametrize(
    ("name", "service"), [("postgresql", "database"), ("seaweedfs", "storage")]
)
def test_while_what_events_need_is_away_it_is_later_and_then_taken(
    system: RealSystem, client: httpx.Client, relay: dict[str, str], name: str, service: str
) -> None:
    part: Part = getattr(system, name)
    package = make_package()
    wait_for_health(client, status="healthy")
    part.kill()
    try:
        answer = client.post(EVENTS, json=package, headers=relay)
        assert (answer.status_code, answer.json()["code"]) == (503, "backend_unavailable")
        assert int(answer.headers["Retry-After"]) > 0
        wait_for_health(client, status="unhealthy", **{service: False})
        assert client.get("/health/ready").status_code == 503
        assert client.get("/health/live").status_code == 200
    finally:
        part.start()
    digest_hex = stored_at_last(client, relay, package)
    wait_for_health(client, status="healthy")
    wait_until_confirmed(client, digest_hex)


def test_while_the_chain_is_away_events_are_taken_and_anchored_later(
    system: RealSystem, client: httpx.Client, relay: dict[str, str]
) -> None:
    anchored = stored_at_last(client, relay, make_package())
    wait_until_confirmed(client, anchored)
    system.anvil.stop()
    try:
        answer = client.post(EVENTS, json=make_package(), headers=relay)
        assert answer.status_code == 201
        digest_hex = answer.json()["hash"]
        wait_for_health(client, status="degraded", blockchain=False)

        # the other instance was not asked about it before, so it remembers no answer of the chain
        _, other = clients(system)
        with other:
            found = other.get(f"{EVENTS}/{anchored}/verify").json()
        assert (found["status"], found["exists"]) == ("confirmed", True)
        assert found["checkedAgainst"] == "database"
        waiting = client.get(f"{EVENTS}/{digest_hex}/proof")
        assert (waiting.status_code, "Retry-After" in waiting.headers) == (202, True)
    finally:
        system.anvil.start()
    wait_until_confirmed(client, digest_hex)
    assert client.get(f"{EVENTS}/{anchored}/verify").json()["exists"]


def test_while_redis_is_away_calls_are_let_through_by_share_and_certificates_are_revoked(
    system: RealSystem,
    client: httpx.Client,
    relay: dict[str, str],
    issue: Callable[[Role, str], IssuedCertificate],
) -> None:
    certificate = issue(Role.RELAY, "relay-2")
    admin = bearer(issue(Role.ADMIN, "admin-1"))
    system.valkey.kill()
    try:
        assert client.post(EVENTS, json=make_package(), headers=relay).status_code == 201
        wait_for_health(client, status="degraded", redis=False)
        certificate_id = certificate.credentials.certificate_id
        path = f"/api/v1/certificates/{certificate_id}"
        assert client.delete(path, headers=admin).status_code == 204
        everywhere = clients(system)
        for instance in everywhere:
            with instance:
                wait_until(
                    lambda instance=instance: (
                        instance.get(
                            f"{EVENTS}/{'0' * 64}", headers=bearer(certificate)
                        ).status_code
                        == 401
                    ),
                    "the certificate is refused",
                    seconds=REVOKED_WITHIN,
                )
    finally:
        system.valkey.start()
    wait_for_health(client, status="healthy")


def test_media_that_was_changed_in_the_bucket_is_said_so_loudly(
    system: RealSystem, client: httpx.Client, relay: dict[str, str], photo: Path
) -> None:
    digest_hex = stored_at_last(client, relay, make_package(photo))
    row = next(e for e in system.stored().events() if e["digest_hex"] == digest_hex)
    store = minio.Minio(
        system.seaweedfs.url.removeprefix("http://"),
        system.seaweedfs.access_key,
        system.seaweedfs.secret_key,
        secure=False,
    )
    forged = photo.read_bytes()[:-1] + b"\x00"
    store.put_object(BUCKET, row["media_key"], io.BytesIO(forged), len(forged))
    answer = client.get(f"{EVENTS}/{digest_hex}/package", headers=relay)
    assert answer.status_code == 200
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        warning = archive.read("WARNING.txt").decode()
    assert "media" in warning
    again = client.post(EVENTS, json=make_package(photo), headers=relay)
    assert again.status_code in (201, 503)


def test_a_record_says_that_nothing_keeps_its_objects_from_being_deleted(
    client: httpx.Client, relay: dict[str, str]
) -> None:
    digest_hex = stored_at_last(client, relay, make_package())
    record = client.get(f"{EVENTS}/{digest_hex}", headers=relay)
    assert (record.status_code, record.json()["retainedUntil"]) == (200, None)


def wait_until_confirmed(client: httpx.Client, digest_hex: str) -> None:
    def confirmed() -> bool:
        found = client.get(f"{EVENTS}/{digest_hex}/verify").json()
        return bool(found["status"] == "confirmed")

    wait_until(confirmed, "the event is confirmed", seconds=60)
