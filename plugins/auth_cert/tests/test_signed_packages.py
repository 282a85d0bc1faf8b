"""Packages that devices signed: brought by the device itself."""

from __future__ import annotations

import base64
import dataclasses
import hmac
import json
import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from eventserver_auth_cert import CertificateAuth

from eventserver_core.backends.auth import Credentials, IssuedCertificate, Role
from eventserver_core.domain.signature import signed_payload
from eventserver_core.errors import InvalidPackageError

HOUR = timedelta(hours=1)
Refused = Callable[[str, Credentials], str]


def test_a_device_brings_its_own_package(
    auth: CertificateAuth, device: Any, bearer: Credentials, certificate: IssuedCertificate
) -> None:
    content = json.dumps(device.claims(), indent=2).encode()
    for header in ({}, {"x-device-cert": certificate.token}, {"typ": None}, {"typ": "jwt"}):
        signed = auth.check_signed_package(device.sign(content, **header), bearer)
        assert signed.claims == content
        assert signed.device == bearer


def test_what_is_accepted_can_be_checked_again_offline(
    auth: CertificateAuth, device: Any, bearer: Credentials
) -> None:
    jws = device.sign(device.claims(payload={"name": "Zoë", "n": 1e21}))
    signed = auth.check_signed_package(jws, bearer)
    assert signed.device.public_key is not None
    assert signed_payload(jws.encode(), signed.device.public_key) == json.loads(signed.claims)


def test_a_package_with_a_photo_is_read_to_the_last_byte(
    auth: CertificateAuth, device: Any, bearer: Credentials
) -> None:
    data = base64.b64encode(os.urandom(2**20)).decode()
    claims = device.claims(payload={"media": {"data": data}})
    signed = auth.check_signed_package(device.sign(claims), bearer)
    assert json.loads(signed.claims)["payload"]["media"]["data"] == data


def test_the_key_in_the_header_counts_for_nothing(
    auth: CertificateAuth,
    device: Any,
    make_device: Callable[[], Any],
    bearer: Credentials,
    refused: Refused,
) -> None:
    stranger = make_device()
    assert refused(stranger.sign(jwk=stranger.jwk), bearer) == "signature_invalid"
    assert refused(stranger.sign(jwk=device.jwk), bearer) == "signature_invalid"
    assert auth.check_signed_package(device.sign(jwk=stranger.jwk), bearer)
    assert auth.check_signed_package(device.sign(jwk="no key", kid="../x", jku="x"), bearer)


def test_a_package_under_another_devices_certificate_is_refused(
    auth: CertificateAuth,
    device: Any,
    make_device: Callable[[], Any],
    relay: Credentials,
    refused: Refused,
) -> None:
    other = auth.issue("device:y", Role.DEVICE, HOUR, make_device().jwk)
    assert refused(device.sign(), other.credentials) == "signature_invalid"
    assert refused(device.sign(**{"x-device-cert": other.token}), relay) == "signature_invalid"


def test_only_es256_signs_packages(
    device: Any, bearer: Credentials, refused: Refused, signing_key: Ed25519PrivateKey, secret: str
) -> None:
    content = json.dumps(device.claims()).encode()
    pem = device.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    p384 = ec.generate_private_key(ec.SECP384R1())
    header, claims, signature = device.sign().split(".")
    tokens = [
        jwt.api_jws.encode(content, signing_key, "EdDSA"),
        jwt.api_jws.encode(content, secret, "HS256"),
        jwt.api_jws.encode(content, p384, "ES384"),
        jwt.api_jws.encode(content, None, "none"),
        f"{header}.{claims}.",
        f"{header}.{claims}",
    ]
    for algorithm in ("none", "HS256", "ES384", "es256", None, ["ES256"]):
        text = base64.urlsafe_b64encode(json.dumps({"alg": algorithm}).encode()).decode()
        text = text.rstrip("=")
        tokens.append(f"{text}.{claims}.{signature}")
        mac = hmac.digest(pem, f"{text}.{claims}".encode(), "sha256")
        right = jwt.get_algorithm_by_name("ES256").sign(f"{text}.{claims}".encode(), device.key)
        for end in (mac, right):
            tokens.append(f"{text}.{claims}.{base64.urlsafe_b64encode(end).decode().rstrip('=')}")
    for token in tokens:
        assert refused(token, bearer) == "signature_invalid"


def test_a_package_that_was_altered_is_refused(
    device: Any, bearer: Credentials, refused: Refused
) -> None:
    header, claims, signature = device.sign().split(".")
    other_header, other_claims, _ = device.sign(device.claims(extra=1), kid="x").split(".")
    for jws in (
        f"{header}.{other_claims}.{signature}",
        f"{other_header}.{claims}.{signature}",
        f"{header}.{claims}.{signature[:-4]}AAAA",
        f"{header}.{claims}.{'A' * 86}",
        f"{header}.{claims}.AAAA",
        f" {header}.{claims}.{signature}",
        "",
    ):
        assert refused(jws, bearer) == "signature_invalid"


@pytest.mark.parametrize("header", [{"crit": ["exp"]}, {"typ": "pow+jwt"}, {"typ": 1}])
def test_a_header_that_changes_the_meaning_is_refused(
    device: Any, bearer: Credentials, refused: Refused, header: dict[str, Any]
) -> None:
    assert refused(device.sign(**header), bearer) == "signature_invalid"


def test_an_unencoded_payload_is_refused(
    device: Any, bearer: Credentials, refused: Refused
) -> None:
    """RFC 7797: a verifier that honours ``b64`` would see another package than one that doesn't."""
    _, claims, _ = device.sign().split(".")
    for members in ({"alg": "ES256", "b64": False}, {"alg": "ES256", "b64": True}):
        text = base64.urlsafe_b64encode(json.dumps(members).encode()).rstrip(b"=").decode()
        algorithm = jwt.get_algorithm_by_name("ES256")
        signature = algorithm.sign(f"{text}.{claims}".encode(), device.key)
        end = base64.urlsafe_b64encode(signature).rstrip(b"=").decode()
        assert refused(f"{text}.{claims}.{end}", bearer) == "signature_invalid"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("aud", "another"),
        ("aud", ["event_server"]),
        ("aud", ...),
        ("iss", "another"),
        ("iss", ...),
        ("sub", "another"),
        ("sub", ...),
        ("iat", ...),
        ("iat", "now"),
        ("iat", True),
        ("iat", None),
        ("iat", -1),
        ("exp", ...),
        ("exp", 1e300),
        ("exp", []),
    ],
)
def test_the_documented_claims_are_required(
    device: Any,
    bearer: Credentials,
    relay: Credentials,
    certificate: IssuedCertificate,
    refused: Refused,
    name: str,
    value: object,
) -> None:
    jws = device.sign(device.claims(**{name: value}), **{"x-device-cert": certificate.token})
    assert refused(jws, bearer) == "signature_invalid"
    assert refused(jws, relay) == "signature_invalid"


def test_claims_that_are_no_object_are_refused(
    device: Any, bearer: Credentials, refused: Refused
) -> None:
    for content in (b"[]", b"null", b'"event_server"', b"7"):
        assert refused(device.sign(content), bearer) == "signature_invalid"


@pytest.mark.parametrize(
    "member",
    [
        b'"payload":{"id":1}',
        b'"iat":0',
        b'"more":{"a":1,"a":2}',
        b'"more":NaN',
        b'"more":"\\ud800"',
        b'"more":1e999',
        b'"more":' + b"[" * 100 + b"]" * 100,
        b'"more":"\xff"',
    ],
)
def test_claims_that_two_readers_could_understand_differently_are_no_i_json(
    auth: CertificateAuth, device: Any, bearer: Credentials, member: bytes
) -> None:
    content = json.dumps(device.claims()).encode()[:-1] + b"," + member + b"}"
    with pytest.raises(InvalidPackageError) as caught:
        auth.check_signed_package(device.sign(content), bearer)
    assert caught.value.faults


def test_from_the_device_a_package_must_be_in_date(
    auth: CertificateAuth, device: Any, bearer: Credentials, clock: Any, refused: Refused
) -> None:
    jws = device.sign()
    clock.advance(seconds=3599.749)
    assert auth.check_signed_package(jws, bearer)
    clock.advance(seconds=0.001)
    assert refused(jws, bearer) == "package_expired"


def test_a_device_whose_clock_is_a_quarter_of_an_hour_ahead_gets_through_and_no_further(
    auth: CertificateAuth,
    device: Any,
    bearer: Credentials,
    relay: Credentials,
    certificate: IssuedCertificate,
    clock: Any,
    refused: Refused,
) -> None:
    header = {"x-device-cert": certificate.token}
    for seconds, who in ((900, bearer), (900, relay)):
        jws = device.sign(device.claims(iat=clock.seconds(seconds)), **header)
        assert auth.check_signed_package(jws, who)
    for who in (bearer, relay):
        jws = device.sign(device.claims(iat=clock.seconds(902)), **header)
        assert refused(jws, who) == "package_expired"


def test_fractions_of_a_second_are_times_too(
    auth: CertificateAuth, device: Any, bearer: Credentials, clock: Any
) -> None:
    claims = device.claims(iat=clock.now.timestamp(), exp=clock.now.timestamp() + 0.001)
    assert auth.check_signed_package(device.sign(claims), bearer)


def test_a_devices_certificate_without_a_key_signs_nothing(
    auth: CertificateAuth, device: Any, refused: Refused
) -> None:
    bearer = auth.issue("device:x", Role.DEVICE, HOUR).credentials
    assert refused(device.sign(), bearer) == "device_certificate_invalid"


def test_a_key_that_is_none_signs_nothing(
    bearer: Credentials, device: Any, refused: Refused
) -> None:
    broken = dataclasses.replace(bearer, public_key={})
    assert refused(device.sign(), broken) == "device_certificate_invalid"
    nowhere = {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}
    broken = dataclasses.replace(bearer, public_key=nowhere)
    assert refused(device.sign(), broken) == "signature_invalid"


@pytest.mark.parametrize("member", ["d", "p", "q", "dp", "dq", "qi", "oth", "k"])
def test_a_header_with_a_private_key_is_refused(
    bearer: Credentials, device: Any, refused: Refused, member: str
) -> None:
    assert refused(device.sign(jwk={**device.jwk, member: "AA"}), bearer) == "signature_invalid"


def test_a_header_that_would_fill_the_memory_is_refused_unread(
    bearer: Credentials, device: Any, refused: Refused
) -> None:
    for text in ("a" * 40_000 + ".e30.AA", "." * 1_000_000, device.sign(x="x" * 40_000)):
        assert refused(text, bearer) == "signature_invalid"
