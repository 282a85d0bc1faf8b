"""What admins do, call by call."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from eventserver_client import (
    AdminClient,
    NotYetError,
    ProtocolError,
    RefusedError,
)
from eventserver_client.keys import SigningKey, make_key, public_jwk, thumbprint
from eventserver_client.testing import Drop, Received, Reply, ScriptedServer, problem
from joserfc import jws as jose
from joserfc.jwk import ECKey

RELAY: dict[str, Any] = {
    "relayId": "relay-1",
    "state": "active",
    "region": "us-east-1",
    "instanceType": None,
    "networkAddress": "relay.example:8443",
    "names": ["10.0.0.7"],
    "publicKey": {"kty": "EC"},
    "machineId": None,
    "reason": None,
    "createdAt": "2024-01-01T00:00:00Z",
    "createdBy": "admin-1",
    "stateChangedAt": "2024-01-01T00:00:00Z",
    "enrolledAt": None,
    "certificateExpiresAt": None,
    "tlsCertificateExpiresAt": None,
    "tlsSerialNumber": None,
}
ADMIN: dict[str, Any] = {
    "adminId": "admin-2",
    "name": "Second",
    "publicKey": {"kty": "EC"},
    "authorizedBy": "admin-1",
    "authorizedAt": "2024-01-01T00:00:00Z",
    "state": "active",
}


def in_state(state: str) -> Reply:
    return Reply(200, RELAY | {"state": state})


def signed(jws: str, key: SigningKey) -> tuple[dict[str, Any], dict[str, Any]]:
    """Check a JWS with a library of others, and return its header and claims."""
    imported = ECKey.import_key(dict(public_jwk(key)))  # type: ignore[arg-type]
    checked = jose.deserialize_compact(jws, imported, algorithms=["ES256"])
    return dict(checked.headers()), json.loads(checked.payload)


def test_a_relay_is_registered(server: ScriptedServer, admin: AdminClient) -> None:
    server.script("POST", "/api/v1/relays", Reply(201, RELAY | {"state": "pending"}))
    relay = admin.register_relay("relay.example:8443", {"kty": "EC"}, "us-east-1", ["10.0.0.7"])
    assert (relay.relay_id, relay.state, relay.names) == ("relay-1", "pending", ("10.0.0.7",))
    assert server.received[0].document() == {
        "networkAddress": "relay.example:8443",
        "publicKey": {"kty": "EC"},
        "region": "us-east-1",
        "names": ["10.0.0.7"],
    }


def test_a_registration_whose_answer_was_lost_is_repeated(
    server: ScriptedServer, admin: AdminClient
) -> None:
    server.script("POST", "/api/v1/relays", Drop(), Reply(200, RELAY))
    relay = admin.register_relay("relay.example", {"kty": "EC"}, "us-east-1")
    assert relay.relay_id == "relay-1"
    first, second = server.received
    assert first.body == second.body


def test_provisioning_keeps_its_key_over_its_tries(
    server: ScriptedServer, admin: AdminClient
) -> None:
    provisioning = Reply(202, RELAY | {"state": "provisioning", "networkAddress": None})
    server.script("POST", "/api/v1/relays/provision", Drop(), Reply(503), provisioning)
    relay = admin.provision_relay("us-east-1", "t3.micro")
    assert (relay.state, relay.network_address) == ("provisioning", None)
    keys = {request.headers["Idempotency-Key"] for request in server.received}
    assert len(server.received) == 3
    assert len(keys) == 1
    admin.provision_relay("us-east-1", "t3.micro")
    assert server.received[3].headers["Idempotency-Key"] not in keys
    admin.provision_relay("us-east-1", "t3.micro", "my-key")
    assert server.received[4].headers["Idempotency-Key"] == "my-key"
    assert server.received[4].document() == {"region": "us-east-1", "instance_type": "t3.micro"}


def test_relays_are_read_in_full(server: ScriptedServer, admin: AdminClient) -> None:
    server.script("GET", "/api/v1/relays", Reply(200, {"relays": [RELAY]}))
    server.script("GET", "/api/v1/relays/relay-1", Reply(200, RELAY))
    assert admin.relays() == [admin.relay("relay-1")]
    assert admin.relays()[0].created_by == "admin-1"
    assert "Authorization" in server.received[0].headers


def test_relays_are_read_page_by_page(server: ScriptedServer, admin: AdminClient) -> None:
    def page(request: Received) -> Reply:
        first = RELAY | {"relayId": "relay-1"}
        second = RELAY | {"relayId": "relay-2"}
        if request.query == "after=relay-1":
            return Reply(200, {"relays": [second], "next": None})
        return Reply(200, {"relays": [first], "next": "relay-1"})

    server.script("GET", "/api/v1/relays", page)
    assert [relay.relay_id for relay in admin.relays()] == ["relay-1", "relay-2"]
    server.script("GET", "/api/v1/relays", Reply(200, {"relays": [RELAY], "next": "relay-1"}))
    with pytest.raises(ProtocolError, match="circles"):
        admin.relays()


def test_a_relay_is_approved_suspended_and_ended(
    server: ScriptedServer, admin: AdminClient
) -> None:
    server.script("PATCH", "/api/v1/relays/relay-1", in_state("active"), in_state("suspended"))
    server.script("DELETE", "/api/v1/relays/relay-1", Drop(), Reply(204))
    assert admin.approve("relay-1").state == "active"
    assert admin.suspend("relay-1", "it lies").state == "suspended"
    admin.decommission("relay-1")
    assert [one.document() for one in server.received[:2]] == [
        {"state": "active"},
        {"state": "suspended", "reason": "it lies"},
    ]


def test_a_token_to_enrol_with_is_never_printed(server: ScriptedServer, admin: AdminClient) -> None:
    made = {
        "relayId": "relay-1",
        "token": "the-token",
        "expiresAt": "2024-01-01T00:10:00Z",
        "serverUrl": "https://events.example",
        "rootCertificate": "PEM",
    }
    server.script("POST", "/api/v1/relays/relay-1/enrollment", Reply(201, made))
    enrollment = admin.enrollment("relay-1")
    assert enrollment.token == "the-token"
    assert "the-token" not in repr(enrollment)


def test_health_and_numbers(server: ScriptedServer, admin: AdminClient) -> None:
    health = {
        "relayId": "relay-1",
        "healthy": False,
        "checkedAt": "2024-01-01T00:00:00Z",
        "address": "relay.example:8443",
        "latencyMs": 12,
        "detail": "no answer",
        "answer": None,
    }
    server.script("GET", "/api/v1/relays/relay-1/health", Reply(200, health))
    server.script("GET", "/api/v1/relays/stats", Reply(200, {"total": 1}))
    found = admin.relay_health("relay-1")
    assert (found.healthy, found.latency_ms, found.answer) == (False, 12.0, None)
    assert admin.relay_stats() == {"total": 1}


def test_a_relay_is_waited_for(server: ScriptedServer, admin: AdminClient) -> None:
    path = "/api/v1/relays/relay-1"
    server.script("GET", path, in_state("provisioning"), in_state("active"))
    assert admin.wait_until_active("relay-1", timeout=30).state == "active"
    server.script("GET", path, Reply(200, RELAY | {"state": "failed", "reason": "no capacity"}))
    with pytest.raises(NotYetError, match="no capacity"):
        admin.wait_until_active("relay-1", timeout=30)
    server.script("GET", path, in_state("pending"))
    with pytest.raises(NotYetError, match="within"):
        admin.wait_until_active("relay-1", timeout=0.2)


def test_an_admin_signs_for_anothers_key(server: ScriptedServer, admin: AdminClient) -> None:
    server.script("POST", "/api/v1/admins", Reply(201, ADMIN))
    key, others = make_key(), public_jwk(make_key())
    assert admin.authorize_admin("Second", others, key).authorized_by == "admin-1"
    document = server.received[0].document()
    assert (document["name"], document["publicKey"]) == ("Second", others)
    header, claims = signed(document["authorization"], key)
    assert header["typ"] == "admin-authorization+jwt"
    assert claims["iss"] == "admin-1"
    assert claims["aud"] == "eventserver"
    assert (claims["sub"], claims["name"]) == (thumbprint(others), "Second")
    assert 0 < claims["exp"] - claims["iat"] <= 3600
    assert abs(claims["iat"] - time.time()) < 60


def test_an_authorization_whose_answer_was_lost_is_sent_again(
    server: ScriptedServer, admin: AdminClient
) -> None:
    server.script("POST", "/api/v1/admins", Drop(), Reply(200, ADMIN))
    assert admin.authorize_admin("Second", public_jwk(make_key()), make_key()).state == "active"
    first, second = server.received
    assert first.body == second.body


@pytest.mark.parametrize(
    "certificate", [None, "", "no-jwt", "a.b.c", "a.W10.c", "a.e30.c", "a.é.c"]
)
def test_nobody_signs_without_a_certificate(
    certificate: str | None, server: ScriptedServer
) -> None:
    with AdminClient(server.url, certificate) as admin, pytest.raises(ValueError, match="JWT"):
        admin.authorize_admin("Second", public_jwk(make_key()), make_key())


def test_a_certificate_is_obtained_by_ones_own_key(
    server: ScriptedServer, admin: AdminClient
) -> None:
    made = {"certificate": "a-secret", "certificateExpiresAt": "2024-04-01T00:00:00Z"}
    path = "/api/v1/admins/admin-2/certificate"
    server.script("POST", path, Drop(), Reply(201, made))
    key = make_key()
    obtained = admin.obtain_certificate("admin-2", key)
    assert obtained.certificate == "a-secret"
    assert "a-secret" not in repr(obtained)
    sent = [signed(one.document()["assertion"], key) for one in server.received]
    assert len({claims["jti"] for _, claims in sent}) == 2
    for header, claims in sent:
        assert header["typ"] == "admin-assertion+jwt"
        assert (claims["iss"], claims["sub"]) == ("admin-2", "admin-2")
        assert claims["aud"] == "eventserver"
        assert 0 < claims["exp"] - claims["iat"] <= 300
    assert "Authorization" not in server.received[0].headers


@pytest.mark.parametrize(
    "key", [Ed25519PrivateKey.generate(), ec.generate_private_key(ec.SECP384R1())]
)
def test_nobody_signs_with_a_key_that_the_server_refuses(
    key: SigningKey, server: ScriptedServer, admin: AdminClient
) -> None:
    with pytest.raises(ValueError, match="P-256"):
        admin.authorize_admin("Second", public_jwk(make_key()), key)
    with pytest.raises(ValueError, match="P-256"):
        admin.obtain_certificate("admin-2", key)
    assert not server.received


def test_admins_are_listed_and_withdrawn(server: ScriptedServer, admin: AdminClient) -> None:
    server.script("GET", "/api/v1/admins", Reply(200, {"admins": [ADMIN]}))
    server.script("DELETE", "/api/v1/admins/admin-2", Reply(204))
    server.script("DELETE", "/api/v1/certificates/jti-1", Reply(204))
    assert [one.admin_id for one in admin.admins()] == ["admin-2"]
    admin.withdraw_admin("admin-2")
    admin.revoke_certificate("jti-1")
    assert [one.method for one in server.received] == ["GET", "DELETE", "DELETE"]


def test_labels_are_defined_and_taken_back(server: ScriptedServer, admin: AdminClient) -> None:
    definition = {"name_en": "Category", "name_fr": "Catégorie", "type": "text"}
    server.script("PUT", "/api/v1/labels/category", Reply(200, definition | {"version": 1}))
    server.script("DELETE", "/api/v1/labels/category", Drop(), Reply(204))
    assert admin.put_label("category", definition)["version"] == 1
    admin.delete_label("category")
    assert server.received[0].document() == definition


def trail(length: int, page: int) -> Callable[[Received], Reply]:
    """Return a script that answers from a trail of this many entries."""

    def answer(request: Received) -> Reply:
        query = dict(pair.split("=") for pair in request.query.split("&"))
        after = int(query["after"])
        numbers = range(after + 1, min(after + page, length) + 1)
        entries = [{"sequence": number} for number in numbers]
        head = {"sequence": length, "digest": "ab"}
        return Reply(200, {"entries": entries, "head": head, "checkpoints": []})

    return answer


def test_the_audit_trail_is_read_page_by_page(server: ScriptedServer, admin: AdminClient) -> None:
    server.script("GET", "/api/v1/audit", trail(length=25, page=10))
    assert [entry["sequence"] for entry in admin.audit_entries()] == list(range(1, 26))
    assert [entry["sequence"] for entry in admin.audit_entries(after=23)] == [24, 25]
    page = admin.audit(after=3, limit=2)
    assert page.head == {"sequence": 25, "digest": "ab"}
    assert server.received[-1].query == "after=3&limit=2"


def test_a_trail_that_goes_in_circles_is_left(server: ScriptedServer, admin: AdminClient) -> None:
    same = {"entries": [{"sequence": 1}], "head": None, "checkpoints": []}
    server.script("GET", "/api/v1/audit", Reply(200, same))
    with pytest.raises(ProtocolError, match="order"):
        list(admin.audit_entries())


def test_what_is_refused_says_why(server: ScriptedServer, admin: AdminClient) -> None:
    server.script("DELETE", "/api/v1/admins/admin-1", problem(409, "last_admin"))
    with pytest.raises(RefusedError, match="last_admin"):
        admin.withdraw_admin("admin-1")
    assert len(server.received) == 1
