"""A device's key: which are taken, and that one key is one device."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from eventserver_auth_cert import CertificateAuth
from eventserver_auth_cert.jwk import public_jwk
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from eventserver_core.backends.auth import Role
from eventserver_core.errors import InvalidInputError

PRIME = 2**256 - 2**224 + 2**192 + 2**96 - 1
B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B


def text(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def short_key() -> dict[str, Any]:
    """Return a key whose x begins with a zero byte."""
    for scalar in range(1, 100_000):
        key = ec.derive_private_key(scalar, ec.SECP256R1()).public_key()
        if key.public_numbers().x < 2**248:
            return ECAlgorithm.to_jwk(key, as_dict=True)
    raise AssertionError("there is one among the first few hundred")


def test_a_device_is_named_by_its_keys_thumbprint(auth: CertificateAuth, device: Any) -> None:
    subject, jwk = auth.identify_device(json.dumps(device.jwk).encode())
    x, y = device.jwk["x"], device.jwk["y"]
    required = f'{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}'
    assert subject == f"device:{text(hashlib.sha256(required.encode()).digest())}"
    assert jwk == device.jwk


def test_another_key_is_another_device(
    auth: CertificateAuth, make_device: Callable[[], Any]
) -> None:
    keys = [make_device().jwk for _ in range(10)]
    keys += [keys[0] | {"y": text((PRIME - int.from_bytes(decode(keys[0]["y"]))).to_bytes(32))}]
    subjects = {auth.identify_device(json.dumps(key).encode())[0] for key in keys}
    assert len(subjects) == len(keys)


def test_what_browsers_add_is_tolerated_and_not_kept(auth: CertificateAuth, device: Any) -> None:
    extras = {"ext": True, "key_ops": ["verify"], "alg": "ES256", "use": "sig", "kid": "relay-1"}
    assert auth.identify_device(json.dumps(extras | device.jwk).encode()) == auth.identify_device(
        json.dumps(device.jwk).encode()
    )


def decode(value: str) -> bytes:
    return base64.urlsafe_b64decode(value + "=" * (-len(value) % 4))


def test_one_key_is_one_device_however_it_is_written(auth: CertificateAuth) -> None:
    jwk = short_key()
    x = decode(jwk["x"])
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    spare_bits = jwk["x"][:-1] + alphabet[alphabet.index(jwk["x"][-1]) | 1]
    writings = [
        jwk["x"] + "=",
        text(x.lstrip(b"\0")),
        text(b"\0" + x),
        text(b"\0" * 100 + x),
        spare_bits,
    ]
    assert all(writing != jwk["x"] for writing in writings)
    expected = auth.identify_device(json.dumps(jwk).encode())
    for writing in writings:
        assert auth.identify_device(json.dumps(jwk | {"x": writing}).encode()) == expected
    reordered = json.dumps(dict(reversed(jwk.items())), indent=3).replace("P-256", "P\\u002d256")
    assert auth.identify_device(reordered.encode()) == expected


def test_a_coordinate_beyond_the_prime_makes_no_second_device(auth: CertificateAuth) -> None:
    """OpenSSL takes coordinates modulo the prime: x and x + p would be two names for one key."""
    x = next(n for n in range(1, 100) if pow(n**3 - 3 * n + B, (PRIME - 1) // 2, PRIME) == 1)
    y = pow(x**3 - 3 * x + B, (PRIME + 1) // 4, PRIME)
    subjects = set()
    for written in (x, x + PRIME):
        coordinates = {"x": text(written.to_bytes(32)), "y": text(y.to_bytes(32))}
        jwk = {"kty": "EC", "crv": "P-256"} | coordinates
        subjects.add(auth.identify_device(json.dumps(jwk).encode())[0])
    assert len(subjects) == 1
    longer = jwk | {"x": text((x + 2 * PRIME).to_bytes(33))}
    with pytest.raises(InvalidInputError, match="longer"):
        auth.identify_device(json.dumps(longer).encode())


def test_a_private_part_is_refused_and_not_repeated(auth: CertificateAuth, device: Any) -> None:
    private = device.private_jwk
    for content in (private, private | {"d": None}, private | {"d": ""}):
        with pytest.raises(InvalidInputError) as caught:
            auth.identify_device(json.dumps(content).encode())
        assert caught.value.code == "invalid_request"
        assert private["d"] not in str(caught.value)


def other_keys() -> list[dict[str, Any]]:
    ed25519 = Ed25519PrivateKey.generate()
    return [
        ECAlgorithm.to_jwk(ec.generate_private_key(curve).public_key(), as_dict=True)
        for curve in (ec.SECP384R1(), ec.SECP521R1(), ec.SECP256K1())
    ] + [
        OKPAlgorithm.to_jwk(ed25519.public_key(), as_dict=True),
        RSAAlgorithm.to_jwk(
            rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key(),
            as_dict=True,
        ),
        {"kty": "oct", "k": text(b"k" * 32)},
    ]


def test_keys_of_other_kinds_are_refused(auth: CertificateAuth) -> None:
    for jwk in other_keys():
        with pytest.raises(InvalidInputError):
            auth.identify_device(json.dumps(jwk).encode())


@pytest.mark.parametrize(
    "changed",
    [
        {"x": text(bytes(32)), "y": text(bytes(32))},
        {"x": text(b"\1" * 32)},
        {"x": text(b"\xff" * 32)},
        {"x": text(b"\1" * 33)},
        {"y": text(b"")},
        {"y": None},
        {"y": 5},
        {"y": ["AAAA"]},
        {"x": "A"},
        {"x": "A+/="},
        {"x": "A" * 300},
        {"x": "é"},
        {"crv": "P-384"},
        {"crv": "p-256"},
        {"crv": ["P-256"]},
        {"kty": "RSA"},
        {"kty": None},
        {"kty": {}},
    ],
)
def test_what_is_no_point_on_the_curve_is_refused(
    auth: CertificateAuth, device: Any, changed: dict[str, Any]
) -> None:
    jwk = device.jwk | changed
    with pytest.raises(InvalidInputError):
        auth.identify_device(json.dumps(jwk).encode())
    for role in Role:
        with pytest.raises(InvalidInputError):
            auth.issue("one", role, timedelta(hours=1), jwk)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"null",
        b"[]",
        b'"key"',
        b"5",
        b"{",
        b"\xff",
        b"[" * 5000,
        b'{"kty":"EC","kty":"EC"}',
        b"NaN",
    ],
)
def test_what_is_no_json_object_is_refused(auth: CertificateAuth, content: bytes) -> None:
    with pytest.raises(InvalidInputError) as caught:
        auth.identify_device(content)
    assert caught.value.code == "invalid_request"


def test_a_text_that_is_longer_than_any_key_is_refused(auth: CertificateAuth, device: Any) -> None:
    content = json.dumps(device.jwk).encode()
    assert auth.identify_device(content.ljust(8192))
    with pytest.raises(InvalidInputError, match="longer"):
        auth.identify_device(content.ljust(8193))


def test_real_ed25519_keys_are_on_their_curve() -> None:
    for _ in range(50):
        public = Ed25519PrivateKey.generate().public_key()
        jwk = OKPAlgorithm.to_jwk(public, as_dict=True)
        assert public_jwk(jwk)["x"] == jwk["x"]


@pytest.mark.parametrize(
    "x",
    [
        text(bytes(31)),
        text(bytes(33)),
        "",
        7,
        None,
    ],
)
def test_what_is_no_ed25519_key_is_not_bound(auth: CertificateAuth, x: object) -> None:
    with pytest.raises(InvalidInputError):
        auth.issue(
            "relay-1", Role.RELAY, timedelta(hours=1), {"kty": "OKP", "crv": "Ed25519", "x": x}
        )
