"""Tokens that somebody made up, with all that a header can say of keys and algorithms."""

from __future__ import annotations

import hmac
import json
import socket
from collections.abc import Callable
from typing import Any

import pytest
from joserfc import jws

from eventserver_core.demo.device import Device
from eventserver_core.testing.factories import make_package
from eventserver_core.wiring import Services

from .exchange import (
    Client,
    assert_nothing_stored,
    assert_problem,
    base64url,
    bearer,
    craft_token,
    device_claims,
    post_event,
    post_signed,
    private_key,
    seconds,
)

SECRET = "w7Qz0pLr5TnB2yVhX9kGdM4cJfE8sAuR"


class TestForgedTokens:
    """Whatever a token's own header says of keys and algorithms, nobody listens to it."""

    @pytest.fixture
    def services(self, make_services: Callable[..., Services]) -> Services:
        return make_services(JWT_SECRET=SECRET)

    @pytest.fixture(autouse=True)
    def _no_calls(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*args: object) -> None:
            raise AssertionError(f"an outbound connection: {args}")

        monkeypatch.setattr(socket.socket, "connect", refuse)
        monkeypatch.setattr(socket, "getaddrinfo", refuse)

    @staticmethod
    def forge(header: dict[str, Any], claims: dict[str, Any], secret: bytes | None = None) -> str:
        """Return a token with the HMAC that a secret gives, or none; no library would make it."""
        parts = [json.dumps(header).encode(), json.dumps(claims).encode()]
        if secret is not None:
            content = ".".join(map(base64url, parts)).encode()
            parts.append(hmac.digest(secret, content, "sha256"))
        return ".".join(map(base64url, parts)) + ("." if secret is None else "")

    @staticmethod
    def sign(header: dict[str, Any], claims: dict[str, Any], device: Device) -> str:
        registry = jws.JWSRegistry(algorithms=["ES256"], strict_check_header=False)
        return jws.serialize_compact(
            header, json.dumps(claims), private_key(device), registry=registry
        )

    def test_a_certificate_crafted_with_the_right_secret_would_pass(
        self, client: Client, device: Device
    ) -> None:
        token = craft_token(SECRET, device_claims(device, seconds(-5), seconds(60)))
        assert post_event(client, bearer(token), make_package()).status_code == 201

    @pytest.mark.parametrize(
        "header",
        [
            {"alg": "none", "typ": "JWT"},
            {"alg": "None", "typ": "JWT"},
            {"alg": "HS512", "typ": "JWT"},
            {"alg": "HS256", "typ": "JWT", "kid": "../../../dev/null"},
            {"alg": "HS256", "typ": "JWT", "kid": "/etc/passwd"},
            {"alg": "HS256", "typ": "JWT", "kid": "' OR 1=1 --"},
            {"alg": "HS256", "typ": "JWT", "kid": {"a": 1}},
            {"alg": "HS256", "typ": "JWT", "jku": "https://evil.example/jwks.json"},
            {"alg": "HS256", "typ": "JWT", "x5u": "https://evil.example/cert.pem"},
            {"alg": "HS256", "typ": "JWT", "jwk": {"kty": "oct", "k": "AAAA"}},
            {"alg": "HS256", "typ": "pow+jwt"},
            {"alg": "HS256", "typ": "JWT", "crit": ["b64"], "b64": False},
        ],
    )
    def test_a_forged_certificate_is_refused(
        self, client: Client, device: Device, services: Services, header: dict[str, Any]
    ) -> None:
        claims = device_claims(device, seconds(-5), seconds(60), role="admin")
        tokens = [self.forge(header, claims)]
        if header["alg"] == "HS256":
            tokens += [self.forge(header, claims, key) for key in (b"", b"\0" * 32)]
        for token in tokens:
            assert_problem(
                post_event(client, bearer(token), make_package()), 401, "certificate_invalid"
            )
        assert_nothing_stored(services)

    def test_a_challenge_is_no_certificate(self, client: Client) -> None:
        challenge = client.simulate_post("/api/v1/pow/challenge").json["challenge_id"]
        answer = post_event(client, bearer(challenge), make_package())
        assert_problem(answer, 401, "certificate_invalid")

    @pytest.mark.parametrize(
        "changed",
        [
            {"role": "superuser"},
            {"role": None},
            {"aud": "somebody-else"},
            {"iss": "somebody-else"},
            {"jti": None},
            {"sub": ""},
            {"cnf": {"jwk": {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}}},
            {"nbf": seconds(3600)},
        ],
    )
    def test_a_certificate_that_lacks_something_is_refused(
        self, client: Client, device: Device, changed: dict[str, Any]
    ) -> None:
        token = craft_token(SECRET, device_claims(device, seconds(-5), seconds(600), **changed))
        answer = post_event(client, bearer(token), make_package())
        assert_problem(answer, 401, "certificate_invalid")

    def test_a_certificate_that_has_ended_says_so(self, client: Client, device: Device) -> None:
        token = craft_token(SECRET, device_claims(device, seconds(-600), seconds(-1)))
        answer = post_event(client, bearer(token), make_package())
        assert_problem(answer, 401, "certificate_expired")
        assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"'

    def test_a_package_is_signed_with_es256_and_nothing_else(
        self, client: Client, device: Device, services: Services
    ) -> None:
        token = craft_token(SECRET, device_claims(device, seconds(-5), seconds(600)))
        claims = {
            "sub": "event_submission",
            "aud": "event_server",
            "iss": "event_client",
            "iat": seconds(),
            "exp": seconds(60),
            "payload": make_package(),
        }
        es256 = {"alg": "ES256", "typ": "JWT", "jwk": device.public_key}
        hs256 = {"alg": "HS256", "typ": "JWT"}
        forged = [
            self.forge(es256 | {"alg": "none"}, claims),
            # HS256 with what everybody knows: the public key
            self.forge(hs256, claims, json.dumps(device.public_key).encode()),
            self.forge(hs256, claims, private_key(device).as_pem(private=False)),
            self.forge(es256, claims, b""),
            self.sign(es256 | {"typ": "JOSE"}, claims, device),
            self.sign(es256 | {"jku": "https://evil.example/"}, claims, Device()),
        ]
        for text in forged:
            answer = post_signed(client, bearer(token), text)
            assert_problem(answer, 401, "signature_invalid")
        assert_nothing_stored(services)
