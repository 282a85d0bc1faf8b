"""What certificates are checked with, and how they are taken back."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from typing import Any

import falcon.testing
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from joserfc.jwk import OKPKey

from eventserver_core.backends.auth import Role
from eventserver_core.demo.device import Device
from eventserver_core.testing.factories import make_package
from eventserver_core.wiring import Services
from tests.end_to_end.waiting import wait_until

from .exchange import (
    Client,
    Headers,
    assert_problem,
    bearer,
    certificate,
    claims_of,
    decoded,
    enroll,
    post_event,
)

CERTIFICATES = "/api/v1/certificates"


class TestTheKeySet:
    def test_with_a_secret_it_is_empty(self, client: Client) -> None:
        answer = client.simulate_get("/.well-known/jwks.json")
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "application/jwk-set+json"
        assert answer.json == {"keys": []}

    def test_with_a_key_pair_it_is_what_certificates_are_checked_with(
        self, make_services: Callable[..., Services], tmp_path: Any
    ) -> None:
        pair = OKPKey.generate_key("Ed25519", private=True)
        path = tmp_path / "signing.pem"
        path.write_bytes(pair.as_pem(private=True))
        path.chmod(0o600)
        services = make_services(EVENTSERVER__AUTH__SIGNING_KEY_FILE=str(path))
        client = falcon.testing.TestClient(services.application())
        answer = client.simulate_get("/.well-known/jwks.json")
        assert answer.headers["content-type"] == "application/jwk-set+json"
        assert re.search(r"max-age=\d+", answer.headers["cache-control"])
        (key,) = answer.json["keys"]
        assert key.keys() == {"kty", "crv", "x", "kid", "alg", "use"}
        assert (key["kty"], key["crv"], key["alg"], key["use"]) == (
            "OKP",
            "Ed25519",
            "EdDSA",
            "sig",
        )
        assert key["x"] == pair.as_dict(private=False)["x"]
        token = enroll(client, Device()).json["token"]
        header, claims, signature = token.split(".")
        assert decoded(header)["kid"] == key["kid"]
        public = Ed25519PublicKey.from_public_bytes(base64.urlsafe_b64decode(key["x"] + "=="))
        public.verify(base64.urlsafe_b64decode(signature + "=="), f"{header}.{claims}".encode())


class TestRevocation:
    def test_an_admin_takes_a_certificate_back_for_every_instance(
        self, make_services: Callable[..., Services]
    ) -> None:
        limit = {"EVENTSERVER__SECURITY__RATE_LIMIT_PER_MINUTE": "1000000"}
        clients = [falcon.testing.TestClient(make_services(**limit).application()) for _ in "ab"]
        services = make_services()
        admin = bearer(certificate(services, Role.ADMIN, "admin-1"))
        token = certificate(services, Role.RELAY, "relay-1")
        assert post_event(clients[1], bearer(token), make_package()).status_code == 201
        path = f"{CERTIFICATES}/{claims_of(token)['jti']}"
        for _ in range(2):
            answer = clients[0].simulate_delete(path, headers=admin)
            assert (answer.status_code, answer.content) == (204, b"")
        # where it was taken back it is refused at once, elsewhere soon
        answer = post_event(clients[0], bearer(token), make_package())
        assert_problem(answer, 401, "certificate_revoked")
        wait_until(
            lambda: post_event(clients[1], bearer(token), make_package()).status_code == 401,
            "the other instance refuses it",
            seconds=5,
        )
        other = certificate(services, Role.RELAY, "relay-1")
        assert post_event(clients[0], bearer(other), make_package()).status_code == 201

    @pytest.mark.parametrize("name", ["x" * 129, "a%00b", "%0a", "a%1b%5b31m", ""])
    def test_an_id_that_can_be_none_is_refused(
        self, client: Client, admin: Headers, name: str
    ) -> None:
        answer = client.simulate_delete(f"{CERTIFICATES}/{name}", headers=admin)
        assert_problem(answer, 400, "invalid_request")

    def test_only_an_admin_may(self, client: Client, relay: Headers, device_token: str) -> None:
        for headers, status, code in (
            (relay, 403, "forbidden"),
            (bearer(device_token), 403, "forbidden"),
            ({}, 401, "unauthenticated"),
        ):
            answer = client.simulate_delete(f"{CERTIFICATES}/x", headers=headers)
            assert_problem(answer, status, code)
