"""Forged tokens: what a header says of keys and algorithms is not believed."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from eventserver_auth_cert import CertificateAuth

from eventserver_core.backends.auth import Role
from eventserver_core.errors import AuthenticationError

HOUR = timedelta(hours=1)


def test_a_token_that_no_header_could_carry_is_refused(
    auth: CertificateAuth, claims: dict[str, Any], forge: Callable[..., str]
) -> None:
    assert auth.authenticate(forge(claims | {"more": "m" * 5000}))
    with pytest.raises(AuthenticationError, match="longer than 8192"):
        auth.authenticate(forge(claims | {"more": "m" * 8000}))


@pytest.mark.parametrize(
    "header",
    [{"alg": name} for name in ("none", "None", "", None, 0, ["HS256"], {}, "HS512")] + [{}],
)
def test_a_token_with_no_or_another_algorithm_is_refused(
    auth: CertificateAuth, header: dict[str, Any], forge_header: Callable[..., str]
) -> None:
    """Even if it was signed as it should be: what the header says must agree."""
    token = forge_header(header)
    for text in (token, token[: token.rindex(".") + 1]):
        with pytest.raises(AuthenticationError):
            auth.authenticate(text)


@pytest.mark.parametrize("header", [{}, {"typ": "JWT"}, {"typ": "jwt"}, {"more": {"a": 1}}])
def test_a_header_may_say_more_than_it_must(
    auth: CertificateAuth, header: dict[str, Any], forge_header: Callable[..., str]
) -> None:
    assert auth.authenticate(forge_header({"alg": "HS256"} | header)).subject == "relay-1"


@pytest.mark.parametrize("algorithm", ["HS384", "HS512"])
def test_the_key_decides_the_algorithm(
    auth: CertificateAuth, claims: dict[str, Any], forge: Callable[..., str], algorithm: str
) -> None:
    with pytest.raises(AuthenticationError):
        auth.authenticate(forge(claims, algorithm=algorithm))


def test_a_public_key_is_no_secret(
    make_auth: Callable[..., CertificateAuth],
    write_key: Callable[..., str],
    signing_key: Ed25519PrivateKey,
    forge_header: Callable[..., str],
) -> None:
    """HS256 with what everybody can read: the oldest confusion there is."""
    auth = make_auth(auth__signing_key_file=write_key(signing_key))
    (jwk,) = auth.public_keys()["keys"]
    public = signing_key.public_key()
    encodings = [
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes_raw(),
        jwk["x"].encode(),
        json.dumps(jwk).encode(),
    ]
    for key in encodings:
        for header in ({"alg": "HS256"}, {"alg": "HS256", "kid": jwk["kid"]}):
            with pytest.raises(AuthenticationError) as caught:
                auth.authenticate(forge_header(header, key))
            assert caught.value.code == "certificate_invalid"


def test_a_secret_does_not_stand_in_for_a_named_key(
    make_auth: Callable[..., CertificateAuth],
    write_key: Callable[..., str],
    signing_key: Ed25519PrivateKey,
    secret: str,
    claims: dict[str, Any],
    forge: Callable[..., str],
) -> None:
    auth = make_auth(auth__jwt_secret=secret, auth__signing_key_file=write_key(signing_key))
    (jwk,) = auth.public_keys()["keys"]
    auth.authenticate(forge(claims))
    auth.authenticate(forge(claims, signing_key, "EdDSA", kid=jwk["kid"]))
    for token in (
        forge(claims, kid=jwk["kid"]),
        forge(claims, signing_key, "EdDSA"),
        forge(claims, signing_key, "EdDSA", kid="another"),
    ):
        with pytest.raises(AuthenticationError):
            auth.authenticate(token)


@pytest.mark.parametrize(
    "kid",
    [
        "",
        "../../data/keys/jwt_secret",
        "/dev/null",
        "' OR 1=1 --",
        "jwt_secret",
        "\x00",
        "k" * 4000,
    ],
)
def test_a_kid_is_a_name_and_never_a_path(
    auth: CertificateAuth, claims: dict[str, Any], forge: Callable[..., str], kid: str
) -> None:
    for key in (None, "\0" * 32):
        token = forge(claims, kid=kid) if key is None else forge(claims, key, kid=kid)
        with pytest.raises(AuthenticationError):
            auth.authenticate(token)


@pytest.mark.parametrize("kid", [None, 1, ["a"], {"a": 1}])
def test_a_kid_that_is_no_text_is_refused(
    auth: CertificateAuth, kid: object, forge_header: Callable[..., str]
) -> None:
    with pytest.raises(AuthenticationError):
        auth.authenticate(forge_header({"alg": "HS256", "kid": kid}))


def test_keys_and_addresses_in_a_header_are_ignored_and_nothing_is_fetched(
    auth: CertificateAuth,
    claims: dict[str, Any],
    forge: Callable[..., str],
    device: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[object] = []
    monkeypatch.setattr(socket.socket, "connect", lambda *args: calls.append(args))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **_: calls.append(args))
    address = "http://127.0.0.1:9/keys"
    for header in ({"jku": address}, {"x5u": address}, {"jwk": device.jwk}, {"x5c": ["AAAA"]}):
        assert auth.authenticate(forge(claims, **header)).subject == "relay-1"
        with pytest.raises(AuthenticationError):
            auth.authenticate(forge(claims, device.key, "ES256", **header))
        with pytest.raises(AuthenticationError):
            auth.authenticate(forge(claims, "another secret of thirty-two bytes", **header))
    assert calls == []


@pytest.mark.parametrize(
    "header",
    [
        {"crit": ["exp"]},
        {"crit": []},
        {"crit": ["b64"], "b64": True},
        {"b64": False},
        {"b64": True},
        {"typ": "pow+jwt"},
        {"typ": 7},
        {"typ": None},
    ],
)
def test_a_header_that_changes_the_meaning_is_refused(
    auth: CertificateAuth, header: dict[str, Any], forge_header: Callable[..., str]
) -> None:
    with pytest.raises(AuthenticationError) as caught:
        auth.authenticate(forge_header({"alg": "HS256"} | header))
    assert caught.value.code == "certificate_invalid"


@pytest.mark.parametrize(
    "header",
    [
        b'{"alg":"HS256"',
        b'"HS256"',
        b"[" * 3000,
        b"\xff\xfe",
    ],
)
def test_a_header_that_is_not_one_json_object_is_refused(
    auth: CertificateAuth, header: bytes, forge_header: Callable[..., str]
) -> None:
    with pytest.raises(AuthenticationError):
        auth.authenticate(forge_header(header))


def test_no_character_of_a_certificate_can_be_changed(auth: CertificateAuth) -> None:
    """The last character of a part has bits that decode to nothing; they count all the same."""
    token = auth.issue("relay-1", Role.RELAY, HOUR).token
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    for place, character in enumerate(token):
        if character != ".":
            other = alphabet[alphabet.index(character) ^ 1]
            with pytest.raises(AuthenticationError):
                auth.authenticate(token[:place] + other + token[place + 1 :])


def test_what_is_not_a_compact_jws_is_refused(auth: CertificateAuth) -> None:
    token = auth.issue("relay-1", Role.RELAY, HOUR).token
    header, claims, signature = token.split(".")
    for text in (
        "",
        ".",
        "..",
        "...",
        header,
        f"{header}.{claims}",
        f"{header}.{claims}.",
        f"{header}..{signature}",
        f"{token}.{signature}",
        f"{token}\n",
        f" {token}",
        token.replace(".", "\u2024"),
        "\ud800",
        "a" * 8193,
        json.dumps({"protected": header, "payload": claims, "signature": signature}),
    ):
        with pytest.raises(AuthenticationError) as caught:
            auth.authenticate(text)
        assert caught.value.code == "certificate_invalid"
