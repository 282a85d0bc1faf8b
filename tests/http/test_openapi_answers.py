"""What is answered is what is described: each operation, and each way in which it succeeds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from eventserver_core.backends.auth import Role
from eventserver_core.demo.device import Device
from eventserver_core.errors import BackendUnavailableError
from eventserver_core.testing.factories import make_package
from eventserver_core.wiring import Services

from .described import DescribedClient
from .exchange import (
    CHALLENGE,
    EVENTS,
    SOLUTION,
    Part,
    bearer,
    certificate,
    enroll,
    post_event,
    post_form,
    post_signed,
    replace_backend,
)
from .network import ADMINS, AUDIT, RELAYS, Admin, Relay

PHOTO = Path(__file__).parents[1] / "media" / "photo.jpg"
LABEL = "/api/v1/labels/category"
TEXT = {"name_en": "Category", "name_fr": "Catégorie", "type": "text"}

pytestmark = pytest.mark.usefixtures("authority")


@pytest.fixture
def services(make_services: Callable[..., Services]) -> Services:
    return make_services(
        EVENTSERVER__SECURITY__RATE_LIMIT_PER_MINUTE="10000",
        # where nothing listens
        EVENTSERVER__RELAYS__ALLOWED_NETWORKS="127.0.0.0/8",
    )


@pytest.fixture
def client(services: Services) -> DescribedClient:
    return DescribedClient(services.application())


@pytest.fixture
def alice(client: DescribedClient, services: Services) -> Admin:
    return Admin(client).bootstrap(services)


def test_every_operation_answers_as_it_is_described(
    client: DescribedClient, services: Services, alice: Admin, anchor_all: Callable[[], None]
) -> None:
    run_events(client, services, anchor_all)
    run_network(client, alice)
    run_labels(client, alice)
    run_everything_public(client)
    missing = {
        (method, template, int(status))
        for method, template, operation in client.operations()
        for status in operation["responses"]
        if int(status) < 400
    } - client.seen
    assert not missing


def run_events(client: DescribedClient, services: Services, anchor_all: Callable[[], None]) -> None:
    relay = bearer(certificate(services, Role.RELAY, "relay-1"))
    device = Device()
    token = enroll(client, device).json["token"]
    beside = make_package(PHOTO, inline=False)
    form = [Part.event(beside), Part.media(PHOTO.read_bytes())]
    package = make_package(PHOTO)
    signed = device.sign(make_package(), certificate=token)
    sent = [
        post_form(client, relay, *form),
        post_form(client, relay, *form),
        post_event(client, relay, package),
        post_event(client, relay, package | {"version": "2.0"}),
        post_signed(client, relay, signed),
        post_signed(client, relay, signed),
    ]
    assert [answer.status_code for answer in sent] == [201, 200, 201, 409, 201, 200]
    lines = [json.dumps(make_package()), "{}", json.dumps(package)]
    ndjson = {**relay, "Content-Type": "application/x-ndjson"}
    batch = client.simulate_post(f"{EVENTS}/batch", body="\n".join(lines), headers=ndjson)
    assert [result["status"] for result in batch.json["results"]] == [201, 400, 200]
    for _ in ("before", "after"):
        for answer in (sent[0], sent[2], sent[4]):
            for what in ("", "/verify", "/proof", "/package"):
                location = answer.headers["location"]
                client.simulate_get(f"{location}{what}", headers=relay)
        anchor_all()
    for what in ("/verify", "/proof"):
        known = {"If-None-Match": "*"}
        assert client.simulate_get(f"{location}{what}", headers=known).status_code == 304
    client.simulate_get(f"{EVENTS}/{'0' * 64}/verify")
    client.simulate_get(f"{EVENTS}/{'0' * 64}/proof")


def run_network(client: DescribedClient, alice: Admin) -> None:
    relay = Relay(client, "127.0.0.1:1")
    assert [alice.register(relay).status_code for _ in range(2)] == [201, 200]
    assert alice.approve(relay).status_code == 200
    assert relay.enroll(alice.invite(relay), relay.csr(["127.0.0.1"])).status_code == 201
    assert relay.renew(relay.csr(["127.0.0.1"])).status_code == 201
    assert relay.renew(relay.csr(["192.0.2.1"])).status_code == 422
    assert alice.get(f"{RELAYS}/{relay.id}/health").json["healthy"] is False
    order = {"region": "us-east-1", "instance_type": "t3.micro"}
    assert alice.post(f"{RELAYS}/provision", order, Idempotency_Key="1").status_code == 202
    assert alice.get(RELAYS, limit=1).json["next"] is not None
    assert alice.get(f"{RELAYS}/stats").json["relays"]["total"] == 2
    assert alice.suspend(relay).status_code == 200
    assert alice.get(f"{RELAYS}/{relay.id}").json["reason"] == "odd traffic"
    bob = Admin(client, "bob")
    assert [alice.authorize(bob).status_code for _ in range(2)] == [201, 200]
    assert bob.obtain_certificate().status_code == 201
    assert bob.delete(f"{ADMINS}/{alice.id}").status_code == 204
    assert [admin["state"] for admin in bob.get(ADMINS).json["admins"]] == ["withdrawn", "active"]
    assert bob.delete(f"{RELAYS}/{relay.id}").status_code == 204
    assert bob.delete("/api/v1/certificates/0123").status_code == 204
    assert len(bob.get(AUDIT).json["entries"]) > 5
    alice.id, alice.headers = bob.id, bob.headers


def run_labels(client: DescribedClient, alice: Admin) -> None:
    choices = TEXT | {"type": "enum", "options": ["Music"]}
    for definition, status in ((TEXT, 201), (choices, 200), (TEXT | {"type": "none"}, 400)):
        answer = client.simulate_put(LABEL, json=definition, headers=alice.headers)
        assert answer.status_code == status, answer.text
    for path in (LABEL, "/api/v1/labels"):
        tag = client.simulate_get(path).headers["etag"]
        assert client.simulate_get(path, headers={"If-None-Match": tag}).status_code == 304
    assert alice.delete(LABEL).status_code == 204
    assert client.simulate_get(LABEL, params={"version": 1}).status_code == 200
    assert client.simulate_get(LABEL, params={"version": 3}).json["deleted"] is True
    assert client.simulate_get(LABEL).status_code == 404


def run_everything_public(client: DescribedClient) -> None:
    files = client.simulate_get("/docs").text.split('"')
    paths = [
        "/openapi.json",
        "/openapi-json",
        "/health",
        "/health/live",
        "/health/ready",
        "/metrics",
    ]
    paths += [RELAYS, "/.well-known/jwks.json", "/pki/root.crt", "/pki/issuing.crt"]
    for path in [*paths, "/pki/issuing.crl", *(f"/{f}" for f in files if f.startswith("docs/"))]:
        assert client.simulate_get(path).status_code == 200, path
    for path in ("/openapi.json", "/openapi-json"):
        assert client.simulate_get(path, headers={"If-None-Match": "*"}).status_code == 304


@pytest.fixture
def without_storage(services: Services) -> DescribedClient:
    """A client of a server whose storage is away."""

    def down(*_args: object) -> None:
        raise BackendUnavailableError("storage=faulty", "connection refused")

    replace_backend(services, "storage", check=down, put=down)
    return DescribedClient(services.application())


def test_a_server_that_takes_nothing_says_so_as_it_is_described(
    without_storage: DescribedClient, services: Services
) -> None:
    assert without_storage.simulate_get("/health").status_code == 503
    assert without_storage.simulate_get("/health/ready").status_code == 503
    relay = bearer(certificate(services, Role.RELAY, "relay-1"))
    assert post_event(without_storage, relay, make_package()).status_code == 503


def test_refusals_are_as_they_are_described(client: DescribedClient, services: Services) -> None:
    device = bearer(certificate(services, Role.DEVICE, "device-1"))
    statuses = [
        client.simulate_get("/openapi.json", query_string="a=%00").status_code,
        client.simulate_get(AUDIT).status_code,
        client.simulate_get(AUDIT, headers=bearer("a.b.c")).status_code,
        client.simulate_get(AUDIT, headers=device).status_code,
        client.simulate_get("/docs/0123456789abcdef/start.js").status_code,
        client.simulate_post(SOLUTION, json={}).status_code,
        client.simulate_post(SOLUTION, body="{}").status_code,
        client.simulate_post(CHALLENGE).status_code,
        post_event(client, device, make_package() | {"id": 1}).status_code,
        post_event(client, device, b"x" * 20_000_000).status_code,
    ]
    assert statuses == [400, 401, 401, 403, 404, 400, 415, 200, 400, 413]


def test_who_goes_too_fast_is_told_as_it_is_described(
    make_services: Callable[..., Services],
) -> None:
    services = make_services(EVENTSERVER__SECURITY__RATE_LIMIT_PER_MINUTE="1")
    client = DescribedClient(services.application())
    statuses = [client.simulate_post(CHALLENGE).status_code for _ in range(2)]
    assert statuses == [200, 429]
