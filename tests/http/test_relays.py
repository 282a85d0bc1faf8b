"""The registry of relays."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import falcon.testing
import pytest

from eventserver_core.backends.auth import Role
from eventserver_core.domain import instant
from eventserver_core.domain.relay import RelayState
from eventserver_core.testing.factories import make_package
from eventserver_core.wiring import Services

from .exchange import assert_problem, bearer, certificate, pointers, post_event
from .network import RELAYS, Admin, Relay, repository

ORDER = {"region": "us-east-1", "instance_type": "t3.micro"}


@pytest.fixture
def relay(client: falcon.testing.TestClient) -> Relay:
    return Relay(client)


@pytest.fixture
def enrolled(authority: None, alice: Admin, relay: Relay) -> Relay:
    """A relay that takes part."""
    assert alice.register(relay).status_code == 201
    assert alice.approve(relay).status_code == 200
    assert relay.enroll(alice.invite(relay)).status_code == 201
    return relay


def sends(relay: Relay) -> int:
    """Return what sending an event is answered with."""
    return post_event(relay.client, relay.headers, make_package()).status_code


def test_a_registered_relay_waits_for_approval(alice: Admin, relay: Relay) -> None:
    answer = alice.register(relay, names=["relay.example.org"])
    assert answer.status_code == 201
    assert answer.headers["location"] == f"{RELAYS}/{relay.id}"
    assert answer.json["state"] == "pending"
    assert answer.json["networkAddress"] == relay.address
    assert answer.json["names"] == ["relay.example.org"]
    assert alice.get(f"{RELAYS}/{relay.id}").json == answer.json
    assert alice.approve(relay).json["state"] == "active"
    assert alice.approve(relay).json["state"] == "active"
    assert alice.actions()[1:] == ["relay_registered", "relay_approved"]


def test_the_public_list_has_the_active_ones_addresses_and_nothing_more(
    services: Services, alice: Admin, client: falcon.testing.TestClient
) -> None:
    relays = [Relay(client, f"198.51.101.{number}") for number in range(1, 6)]
    for relay in relays:
        alice.register(relay)
    for relay in relays[:4]:
        alice.approve(relay)
    for relay in relays[:3]:  # the fourth has no certificate yet
        repository(services).update(relay.id, enrolled_at=instant.now())
    alice.suspend(relays[0])
    alice.delete(f"{RELAYS}/{relays[1].id}")
    answer = client.simulate_get(RELAYS)
    assert answer.json == {"relays": [{"networkAddress": "198.51.101.3"}]}
    assert answer.headers["cache-control"] == "public, max-age=30"
    assert answer.headers["vary"] == "Authorization"


@pytest.mark.parametrize("role", [Role.RELAY, Role.DEVICE])
def test_who_is_no_admin_gets_the_public_list(
    services: Services, alice: Admin, relay: Relay, role: Role
) -> None:
    alice.register(relay)
    headers = bearer(certificate(services, role, "somebody"))
    assert alice.client.simulate_get(RELAYS, headers=headers).json == {"relays": []}


def test_admins_get_all_in_full_page_by_page(
    alice: Admin, client: falcon.testing.TestClient
) -> None:
    for number in range(1, 6):
        alice.register(Relay(client, f"198.51.101.{number}"))
    found, after = [], {}
    while True:
        page = alice.get(RELAYS, limit=2, **after).json
        found += [relay["networkAddress"] for relay in page["relays"]]
        if page["next"] is None:
            break
        after = {"after": page["next"]}
    assert sorted(found) == [f"198.51.101.{number}" for number in range(1, 6)]
    assert alice.get(RELAYS, state="active").json["relays"] == []
    assert len(alice.get(RELAYS, state="pending").json["relays"]) == 5
    assert_problem(alice.get(RELAYS, state="sleepy"), 400, "invalid_request")


@pytest.mark.parametrize(
    ("address", "code"),
    [
        ("169.254.169.254", "address_not_allowed"),
        ("[fd00:ec2::254]", "address_not_allowed"),
        ("127.0.0.1:8443", "address_not_allowed"),
        ("[::1]", "address_not_allowed"),
        ("10.1.2.3", "address_not_allowed"),
        ("[::ffff:10.1.2.3]", "address_not_allowed"),
        ("2130706433", "invalid_request"),
        ("0x7f.1", "invalid_request"),
        ("relay.example.org/path", "invalid_request"),
        ("user@relay.example.org", "invalid_request"),
        ("relay.example.org:99999", "invalid_request"),
        ("", "invalid_request"),
    ],
)
def test_an_address_that_must_not_be_called_is_refused(
    alice: Admin, relay: Relay, address: str, code: str
) -> None:
    status = 422 if code == "address_not_allowed" else 400
    answer = alice.register(relay, networkAddress=address)
    assert_problem(answer, status, code)
    assert pointers(answer) == ["/networkAddress"]


def test_private_addresses_are_for_settings_to_allow(
    make_services: Callable[..., Services],
) -> None:
    services = make_services(EVENTSERVER__RELAYS__ALLOWED_NETWORKS="10.0.0.0/8,169.254.0.0/16")
    client = falcon.testing.TestClient(services.application())
    alice, relay = Admin(client).bootstrap(services), Relay(client)
    assert alice.register(relay, networkAddress="10.1.2.3:8443").status_code == 201
    answer = alice.register(relay, networkAddress="169.254.169.254")
    assert_problem(answer, 422, "address_not_allowed")


def test_two_relays_have_two_addresses(alice: Admin, relay: Relay) -> None:
    alice.register(relay)
    first = relay.id
    assert (alice.register(relay).status_code, relay.id) == (200, first)
    other = Relay(relay.client)
    problem = assert_problem(alice.register(other), 409, "conflict")
    assert first in problem["detail"]
    alice.delete(f"{RELAYS}/{first}")
    assert alice.register(other).status_code == 201


@pytest.mark.parametrize(
    "changed",
    [
        {"publicKey": {"kty": "RSA", "n": "AQAB", "e": "AQAB"}},
        {"publicKey": None},
        {"region": ""},
        {"region": "x" * 65},
        {"names": ["*.example.org"]},
        {"names": ["relay.example.org"] * 16},
        {"names": "relay.example.org"},
        {"more": 1},
        {"networkAddress": 7},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_what_is_no_relay_is_refused(
    alice: Admin, relay: Relay, changed: dict[str, object]
) -> None:
    answer = alice.register(relay, **changed)
    assert_problem(answer, 400, "invalid_request")
    assert pointers(answer)[0].startswith(f"/{next(iter(changed))}")


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"a": 1, "a": 2}', b"\xff"])
def test_what_is_no_json_object_is_refused(alice: Admin, body: bytes) -> None:
    answer = alice.client.simulate_post(
        RELAYS, body=body, headers=alice.headers | {"Content-Type": "application/json"}
    )
    assert_problem(answer, 400, "invalid_request")
    answer = alice.client.simulate_post(
        RELAYS, body=body, headers=alice.headers | {"Content-Type": "text/plain"}
    )
    assert_problem(answer, 415, "unsupported_media_type")


def test_a_suspended_relay_is_refused_at_once_on_every_instance(
    make_services: Callable[..., Services], services: Services, alice: Admin, enrolled: Relay
) -> None:
    other = falcon.testing.TestClient(make_services().application())
    assert sends(enrolled) == 201
    assert alice.suspend(enrolled).json["state"] == "suspended"
    for client in (enrolled.client, other):
        answer = post_event(client, enrolled.headers, make_package())
        assert_problem(answer, 403, "relay_suspended")
    assert alice.approve(enrolled).json["state"] == "active"
    for client in (enrolled.client, other):
        assert post_event(client, enrolled.headers, make_package()).status_code == 201


def test_a_decommissioned_relay_never_comes_back(alice: Admin, enrolled: Relay) -> None:
    assert alice.delete(f"{RELAYS}/{enrolled.id}").status_code == 204
    assert alice.delete(f"{RELAYS}/{enrolled.id}").status_code == 204
    assert_problem(
        post_event(enrolled.client, enrolled.headers, make_package()), 403, "relay_decommissioned"
    )
    assert_problem(alice.approve(enrolled), 409, "conflict")
    assert_problem(alice.post(f"{RELAYS}/{enrolled.id}/enrollment"), 409, "conflict")
    assert alice.actions().count("relay_decommissioned") == 1


@pytest.mark.parametrize(
    ("before", "wanted"),
    [("pending", "suspended"), ("provisioning", "active"), ("failed", "active")],
)
def test_a_relay_cannot_become_anything(
    services: Services, alice: Admin, relay: Relay, before: str, wanted: str
) -> None:
    alice.register(relay)
    repository(services).update(relay.id, state=RelayState(before))
    answer = alice.patch(f"{RELAYS}/{relay.id}", {"state": wanted})
    problem = assert_problem(answer, 409, "conflict")
    assert before in problem["detail"]


@pytest.mark.parametrize(
    "sent", [{}, {"state": "decommissioned"}, {"state": "active", "region": "x"}, {"state": None}]
)
def test_what_cannot_be_patched_is_refused(
    alice: Admin, relay: Relay, sent: dict[str, object]
) -> None:
    alice.register(relay)
    assert_problem(alice.patch(f"{RELAYS}/{relay.id}", sent), 400, "invalid_request")


@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
def test_what_is_not_there_is_not_found(alice: Admin, method: str) -> None:
    answer = alice.client.simulate_request(
        method, f"{RELAYS}/no-relay", headers=alice.headers, json={"state": "active"}
    )
    assert_problem(answer, 404, "not_found")
    for path in ("health", "enrollment"):
        method = "GET" if path == "health" else "POST"
        answer = alice.client.simulate_request(
            method, f"{RELAYS}/no-relay/{path}", headers=alice.headers
        )
        assert answer.status_code in (404, 503)


def test_stats_count_the_network(alice: Admin, enrolled: Relay, client: object) -> None:
    alice.register(Relay(alice.client, "198.51.101.99"))
    sends(enrolled)
    stats = alice.get(f"{RELAYS}/stats").json
    assert stats["relays"]["total"] == 2
    assert stats["relays"]["byState"]["active"] == 1
    assert stats["relays"]["byState"]["pending"] == 1
    assert stats["relays"]["byState"]["failed"] == 0
    assert stats["relays"]["byRegion"] == {"eu-west-1": 1}
    assert stats["events"] == {"total": 1, "notAnchored": 1}


@pytest.mark.parametrize("name", ["instance_type", "instanceType"])
def test_a_relay_is_asked_for_in_either_spelling(alice: Admin, name: str) -> None:
    answer = alice.post(f"{RELAYS}/provision", {"region": "us-east-1", name: "t3.micro"})
    assert answer.status_code == 202
    assert answer.json["state"] == "provisioning"
    assert answer.json["instanceType"] == "t3.micro"
    assert answer.headers["location"] == f"{RELAYS}/{answer.json['relayId']}"


def test_one_key_gives_one_relay_however_often_it_is_sent(alice: Admin) -> None:
    def ask() -> str:
        answer = alice.post(f"{RELAYS}/provision", ORDER, Idempotency_Key="order-1")
        assert answer.status_code == 202
        return str(answer.json["relayId"])

    with ThreadPoolExecutor(8) as pool:
        asked = set(pool.map(lambda _: ask(), range(16)))
    assert len(asked) == 1
    assert len(alice.get(RELAYS).json["relays"]) == 1
    assert alice.actions().count("relay_requested") == 1


def test_a_key_is_for_one_request_of_one_admin(services: Services, alice: Admin) -> None:
    first = alice.post(f"{RELAYS}/provision", ORDER, Idempotency_Key="order-1").json
    other = alice.post(
        f"{RELAYS}/provision", ORDER | {"region": "eu-west-1"}, Idempotency_Key="order-1"
    )
    assert_problem(other, 422, "idempotency_key_reused")
    bob = Admin(alice.client, "bob").bootstrap(services, force=True)
    second = bob.post(f"{RELAYS}/provision", ORDER, Idempotency_Key="order-1").json
    assert first["relayId"] != second["relayId"]


@pytest.mark.parametrize("key", ["", "x" * 256, "a\tb"])
def test_a_key_that_is_none_is_refused(alice: Admin, key: str) -> None:
    answer = alice.post(f"{RELAYS}/provision", ORDER, Idempotency_Key=key)
    assert_problem(answer, 400, "invalid_request")


def test_without_a_key_each_request_is_a_relay(alice: Admin) -> None:
    asked = {alice.post(f"{RELAYS}/provision", ORDER).json["relayId"] for _ in range(3)}
    assert len(asked) == 3


def test_there_is_a_quota_and_a_flood_stays_within_it(
    make_services: Callable[..., Services],
) -> None:
    services = make_services(
        EVENTSERVER__RELAYS__MAX_PROVISIONED="3",
        EVENTSERVER__SECURITY__RATE_LIMIT_PER_MINUTE="10000",
    )
    client = falcon.testing.TestClient(services.application())
    alice = Admin(client).bootstrap(services)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: alice.post(f"{RELAYS}/provision", ORDER), range(12)))
    assert sorted(answer.status_code for answer in answers) == [202] * 3 + [409] * 9
    refused = next(answer for answer in answers if answer.status_code == 409)
    assert_problem(refused, 409, "quota_exceeded")
    asked = next(answer for answer in answers if answer.status_code == 202)
    alice.delete(asked.headers["location"])
    assert alice.post(f"{RELAYS}/provision", ORDER).status_code == 202


@pytest.mark.parametrize(
    "order", [{}, {"region": "us-east-1"}, {"region": 1, "instance_type": "x"}, ORDER | {"a": 1}]
)
def test_an_order_that_is_none_is_refused(alice: Admin, order: dict[str, object]) -> None:
    assert_problem(alice.post(f"{RELAYS}/provision", order), 400, "invalid_request")


def test_a_relay_without_an_address_has_no_health(alice: Admin) -> None:
    asked = alice.post(f"{RELAYS}/provision", ORDER).json
    assert_problem(alice.get(f"{RELAYS}/{asked['relayId']}/health"), 404, "not_found")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/v1/relays/%00"),
        ("GET", "/api/v1/relays?after=%00"),
        ("DELETE", "/api/v1/certificates/%00"),
        ("DELETE", "/api/v1/admins/a%00"),
        ("POST", "/api/v1/admins/%00/certificate"),
        ("GET", "/api/v1/events/%00"),
        ("GET", "/%00"),
    ],
)
def test_a_nul_is_refused_wherever_it_stands(alice: Admin, method: str, path: str) -> None:
    path, _, query = path.partition("?")
    answer = alice.client.simulate_request(
        method, path, headers=alice.headers, query_string=query, json={"assertion": "x"}
    )
    assert_problem(answer, 400, "invalid_request")


@pytest.mark.parametrize("reason", ["x" * 501, "a\0b", "a\nb"])
def test_a_reason_that_cannot_be_kept_is_refused(alice: Admin, relay: Relay, reason: str) -> None:
    alice.register(relay)
    answer = alice.patch(f"{RELAYS}/{relay.id}", {"state": "active", "reason": reason})
    assert_problem(answer, 400, "invalid_request")


@pytest.mark.parametrize("instance_type", ["a b", "a\0", "\u2603", "a\n"])
def test_a_type_that_is_no_name_is_refused(alice: Admin, instance_type: str) -> None:
    answer = alice.post(f"{RELAYS}/provision", ORDER | {"instance_type": instance_type})
    assert_problem(answer, 400, "invalid_request")


@pytest.mark.parametrize(
    ("address", "names"),
    [
        ("198.51.101.7:8443", []),
        ("198.51.101.8", ["198.51.101.7"]),
        ("198.51.101.8", ["relay.example.org"]),
        ("relay.example.org:8443", []),
    ],
)
def test_a_name_is_one_relays(alice: Admin, relay: Relay, address: str, names: list[str]) -> None:
    alice.register(relay, names=["relay.example.org"])
    answer = alice.register(Relay(relay.client, address), names=names)
    assert_problem(answer, 409, "conflict")


def test_a_name_has_no_port(alice: Admin, relay: Relay) -> None:
    answer = alice.register(relay, names=["relay.example.org:99"])
    assert_problem(answer, 400, "invalid_request")
    assert pointers(answer) == ["/names/0"]


def test_no_relay_has_the_servers_own_name(make_services: Callable[..., Services]) -> None:
    services = make_services(EVENTSERVER__SERVER__PUBLIC_URL="https://Events.example.org/api")
    client = falcon.testing.TestClient(services.application())
    alice, relay = Admin(client).bootstrap(services), Relay(client, "events.example.org:8443")
    assert_problem(alice.register(relay), 400, "invalid_request")
    relay.address = "relay.example.org"
    answer = alice.register(relay, names=["events.example.org"])
    assert_problem(answer, 400, "invalid_request")


def test_a_key_means_the_same_in_quotes(alice: Admin) -> None:
    first, second = (
        alice.post(f"{RELAYS}/provision", ORDER, Idempotency_Key=key).json["relayId"]
        for key in ("order-1", '"order-1"')
    )
    assert first == second


def test_another_reason_for_the_same_state_is_kept(alice: Admin, enrolled: Relay) -> None:
    alice.suspend(enrolled)
    answer = alice.patch(
        f"{RELAYS}/{enrolled.id}", {"state": "suspended", "reason": "stolen machine"}
    )
    assert answer.json["reason"] == "stolen machine"
