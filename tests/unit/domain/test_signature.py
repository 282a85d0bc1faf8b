"""Signed packages: only the given key and ES256 count, whatever the header says."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import socket
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc.jwk import ECKey

from eventserver_core.domain.signature import protected_header, signed_content, signed_payload
from eventserver_core.errors import InvalidPackageError

from .samples import claims, package, signed, vectors

KEY = ECKey.generate_key("P-256")
PUBLIC = dict(KEY.as_dict(private=False))
OTHER = ECKey.generate_key("P-256")
OTHER_PUBLIC = dict(OTHER.as_dict(private=False))
CLAIMS = claims(package())
JWS = signed(CLAIMS, KEY)


def b64u(content: bytes) -> bytes:
    return base64.urlsafe_b64encode(content).rstrip(b"=")


def assembled(header: Any, payload: bytes, signature: bytes) -> bytes:
    head = header if isinstance(header, bytes) else json.dumps(header).encode()
    return b".".join(map(b64u, (head, payload, signature)))


def test_a_signed_payload_comes_back() -> None:
    assert signed_payload(JWS, PUBLIC) == json.loads(CLAIMS)


def test_the_signed_bytes_come_back_as_they_were_signed() -> None:
    odd = b'{ "a":1,\t"a":2 }'
    assert signed_content(signed(odd, KEY), PUBLIC) == odd


def test_the_header_is_read_before_any_key_is_known() -> None:
    header = {"typ": "JWT", "jwk": OTHER_PUBLIC, "x-device-cert": "a.b.c"}
    assert protected_header(signed(CLAIMS, KEY, **header)) == {"alg": "ES256"} | header


def test_a_signature_that_another_library_made_holds() -> None:
    case = next(c for c in vectors("proof.json")["cases"] if c["name"].startswith("signed by the"))
    payload = signed_payload(case["signedPackage"].encode(), case["publicKey"])
    assert payload["sub"] == "event_submission"


def test_another_key_is_refused() -> None:
    with pytest.raises(ValueError, match="does not hold"):
        signed_payload(JWS, OTHER_PUBLIC)


@pytest.mark.parametrize("part", [0, 1, 2])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_no_character_can_be_changed(part: int, data: st.DataObject) -> None:
    parts = JWS.split(b".")
    i = data.draw(st.integers(0, len(parts[part]) - 1))
    other = data.draw(st.integers(0, 255).filter(lambda byte: byte != parts[part][i]))
    parts[part] = parts[part][:i] + bytes([other]) + parts[part][i + 1 :]
    with pytest.raises((ValueError, InvalidPackageError)):
        signed_payload(b".".join(parts), PUBLIC)


def test_another_payload_under_the_same_signature_is_refused() -> None:
    head, _, signature = JWS.split(b".")
    forged = b".".join([head, b64u(claims(package(version="2.0"))), signature])
    with pytest.raises(ValueError, match="does not hold"):
        signed_payload(forged, PUBLIC)


@pytest.mark.parametrize("name", ["none", "None", "NONE", "nOnE", ""])
@pytest.mark.parametrize("signature", [b"", b"\x00" * 64])
def test_no_algorithm_is_no_signature(name: str, signature: bytes) -> None:
    with pytest.raises(ValueError, match="does not hold"):
        signed_payload(assembled({"alg": name}, CLAIMS, signature), PUBLIC)


@pytest.mark.parametrize("name", ["HS256", "HS384", "HS512"])
def test_the_public_key_is_no_shared_secret(name: str) -> None:
    hasher = getattr(hashlib, "sha" + name[2:])
    secrets = [
        json.dumps(PUBLIC).encode(),
        PUBLIC["x"].encode(),
        KEY.as_pem(private=False),
        KEY.as_der(private=False),
        b"",
    ]
    head = b".".join([b64u(json.dumps({"alg": name}).encode()), b64u(CLAIMS)])
    for secret in secrets:
        forged = head + b"." + b64u(hmac.new(secret, head, hasher).digest())
        with pytest.raises(ValueError, match="does not hold"):
            signed_payload(forged, PUBLIC)


@pytest.mark.parametrize("name", ["ES384", "ES512", "ES256K", "RS256", "EdDSA", "dir", "es256"])
def test_no_other_algorithm_is_taken(name: str) -> None:
    _, _, signature = JWS.split(b".")
    forged = b".".join([b64u(json.dumps({"alg": name}).encode()), b64u(CLAIMS), signature])
    with pytest.raises(ValueError, match="does not hold"):
        signed_payload(forged, PUBLIC)


def test_the_key_in_the_header_counts_for_nothing() -> None:
    theirs = signed(CLAIMS, OTHER, jwk=OTHER_PUBLIC)
    with pytest.raises(ValueError, match="does not hold"):
        signed_payload(theirs, PUBLIC)
    ours = signed(CLAIMS, KEY, jwk=OTHER_PUBLIC)
    assert signed_payload(ours, PUBLIC) == json.loads(CLAIMS)


def test_nothing_is_ever_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("somebody went to the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    address = "http://169.254.169.254/keys"
    header = {"jku": address, "x5u": address, "kid": "../../../etc/passwd"}
    assert signed_payload(signed(CLAIMS, KEY, **header), PUBLIC) == json.loads(CLAIMS)


def test_members_that_apps_put_into_the_header_are_taken() -> None:
    header = {"typ": "JWT", "jwk": PUBLIC, "x-device-cert": "a.b.c", "x-anything": {"deep": [1]}}
    assert signed_payload(signed(CLAIMS, KEY, **header), PUBLIC) == json.loads(CLAIMS)


def test_a_critical_extension_that_nobody_knows_is_refused() -> None:
    # RFC 7515, section 4.1.11; the header is signed, so that only crit is at fault
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

    header = json.dumps({"alg": "ES256", "crit": ["x-must"], "x-must": 1}).encode()
    head = b".".join([b64u(header), b64u(CLAIMS)])
    r, s = decode_dss_signature(KEY.private_key.sign(head, ec.ECDSA(hashes.SHA256())))
    with pytest.raises(ValueError, match="extensions"):
        signed_payload(head + b"." + b64u(r.to_bytes(32) + s.to_bytes(32)), PUBLIC)


def test_a_package_of_several_megabytes_is_checked() -> None:
    media = base64.b64encode(bytes(4_000_000)).decode()
    large = claims(package(media={"type": "image/gif", "size": 4_000_000, "data": media}))
    payload = signed_payload(signed(large, KEY, **{"x-device-cert": "c" * 20_000}), PUBLIC)
    assert payload["payload"]["media"]["data"] == media


def test_a_private_part_is_not_needed_and_does_no_harm() -> None:
    assert signed_payload(JWS, KEY.as_dict(private=True)) == json.loads(CLAIMS)


P384 = ECKey.generate_key("P-384").as_dict(private=False)


@pytest.mark.parametrize(
    "key",
    [
        {},
        {name: value for name, value in PUBLIC.items() if name != "y"},
        P384,
        PUBLIC | {"crv": "P-384"},
        PUBLIC | {"crv": ["P-256"]},
        PUBLIC | {"kty": "oct", "k": "AAAA"},
        PUBLIC | {"kty": "RSA"},
        PUBLIC | {"kty": None},
        PUBLIC | {"x": PUBLIC["y"], "y": PUBLIC["x"]},
        PUBLIC | {"x": "AAAA", "y": "AAAA"},
        PUBLIC | {"x": ""},
        PUBLIC | {"x": 5},
        PUBLIC | {"x": "\u00e9"},
        PUBLIC | {"x": "A" * 100_000},
        None,
        5,
        "key",
        [PUBLIC],
    ],
)
def test_what_is_no_key_on_the_curve_is_refused(key: Any) -> None:
    with pytest.raises(ValueError, match="does not hold"):
        signed_payload(JWS, key)


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"null",
        b"5",
        b'"alg"',
        b'["alg"]',
        b"{}",
        b'{"alg":null}',
        b'{"alg":["ES256"]}',
        b'{"alg":"ES256","crit":5}',
        b'{"alg":"ES256","b64":false}',
        b'{"alg":"ES256","b64":false,"crit":["b64"]}',
        b'{"alg":"ES256","typ":5}',
        b'{"alg":' + b"1" * 5000 + b"}",
        b"[" * 200_000,
        b'{"alg":"ES256","a":' + b"[" * 200_000,
        b"\xff\xfe",
    ],
)
def test_a_header_of_any_kind_is_refused_and_raises_nothing_else(header: bytes) -> None:
    with pytest.raises(ValueError, match="does not hold"):
        signed_payload(assembled(header, CLAIMS, b"\x01" * 64), PUBLIC)


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"null",
        b"5",
        b'"alg"',
        b'["alg"]',
        b"{}",
        b"\xff",
        b"[" * 200_000,
        b'{"alg":"ES256","crit":[]}',
        b'{"alg":"ES256","b64":true}',
    ],
)
def test_what_is_no_header_is_a_value_error(header: bytes) -> None:
    with pytest.raises(ValueError):
        protected_header(assembled(header, CLAIMS, b"\x01" * 64))


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=80) | st.lists(st.binary(max_size=30).map(b64u)).map(b".".join))
def test_any_bytes_are_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match="does not hold"):
        signed_payload(content, PUBLIC)


@pytest.mark.parametrize("payload", [b"", b"{", b"\xff", b'{"a":1,"a":1}', b"[" * 10_000])
def test_a_payload_that_is_no_json_is_refused_although_it_was_signed(payload: bytes) -> None:
    with pytest.raises(InvalidPackageError):
        signed_payload(signed(payload, KEY), PUBLIC)
