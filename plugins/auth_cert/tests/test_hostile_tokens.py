"""Whatever is thrown at the backend, it answers with an error that says whose fault it is."""

from __future__ import annotations

import base64
import contextlib
import json
import secrets
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from eventserver_auth_cert import CertificateAuth
from eventserver_auth_cert.keys import KeyRing, ed25519_key, secret_key
from hypothesis import given, settings
from hypothesis import strategies as st
from jwt.algorithms import ECAlgorithm

from eventserver_core.backends.auth import Role, Solution
from eventserver_core.errors import AuthenticationError, InvalidInputError

unhurried = settings(deadline=None)

NOW = datetime(2025, 3, 1, 12, 0, tzinfo=UTC)
SECRET = secrets.token_hex(32)
PAIR = Ed25519PrivateKey.generate()
AUTH = CertificateAuth(
    KeyRing(secret_key(SECRET), [secret_key(SECRET), ed25519_key(PAIR)]),
    issuer="eventserver",
    audience="eventserver",
    pow_difficulty=4,
    forwarded_max_age=timedelta(days=7),
    clock=lambda: NOW,
)
(PUBLIC,) = AUTH.public_keys()["keys"]
DEVICE_KEY = ec.generate_private_key(ec.SECP256R1())
DEVICE_JWK: dict[str, Any] = ECAlgorithm.to_jwk(DEVICE_KEY.public_key(), as_dict=True)
DEVICE = AUTH.issue("device:x", Role.DEVICE, timedelta(hours=1), DEVICE_JWK)
RELAY = AUTH.issue("relay-1", Role.RELAY, timedelta(hours=1))
SECONDS = int(NOW.timestamp())

CERTIFICATE = {
    "iss": "eventserver",
    "aud": "eventserver",
    "sub": "device:x",
    "role": "device",
    "jti": "1",
    "iat": SECONDS,
    "exp": SECONDS + 60,
    "cnf": {"jwk": DEVICE_JWK},
}
PACKAGE = {
    "sub": "event_submission",
    "aud": "event_server",
    "iss": "event_client",
    "iat": SECONDS,
    "exp": SECONDS + 60,
    "payload": {"id": "1"},
    "event_hash": "x",
}

texts = st.text(st.characters()) | st.sampled_from(["", "JWT", "HS256", "EdDSA", "ES256", "none"])
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from([1e308, 10**400, SECONDS, -SECONDS, 2**63])
    | texts
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
headers = st.dictionaries(
    st.sampled_from(["alg", "typ", "kid", "crit", "b64", "jwk", "jku", "x5u", "x-device-cert"])
    | texts,
    values | st.sampled_from([PUBLIC["kid"], DEVICE.token, RELAY.token, DEVICE_JWK]),
    max_size=4,
)


def changed(claims: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Return claims of which some have another value."""
    names = st.sampled_from(sorted(claims)) | texts
    return st.dictionaries(names, values, max_size=4).map(lambda changes: claims | changes)


def part(value: Any) -> str:
    content = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def signed(header: dict[str, Any], claims: Any, algorithm: str, key: Any) -> str:
    text = f"{part({'alg': algorithm} | header)}.{part(claims)}"
    signer = jwt.get_algorithm_by_name(algorithm)
    return f"{text}.{part(signer.sign(text.encode(), signer.prepare_key(key)))}"


def throw_certificate(token: str) -> None:
    with contextlib.suppress(AuthenticationError):
        assert AUTH.authenticate(token).role in Role
    with contextlib.suppress(InvalidInputError):
        AUTH.check_solution(Solution(token, 1, b""))


def throw_package(jws: str) -> None:
    for bearer in (DEVICE.credentials, RELAY.credentials):
        with contextlib.suppress(AuthenticationError, InvalidInputError):
            assert AUTH.check_signed_package(jws, bearer).device.role is Role.DEVICE


@unhurried
@given(text=st.text(st.characters()) | st.from_regex(r"\A[\w-]*\.[\w-]*\.[\w-]*\Z"))
def test_any_text(text: str) -> None:
    throw_certificate(text)
    throw_package(text)


@unhurried
@given(parts=st.lists(st.binary(max_size=60), min_size=2, max_size=4))
def test_any_bytes_as_parts(parts: list[bytes]) -> None:
    token = ".".join(part(content) for content in parts)
    throw_certificate(token)
    throw_package(token)


@unhurried
@given(header=headers, claims=changed(CERTIFICATE) | values)
def test_any_certificate_signed_with_the_right_key(header: dict[str, Any], claims: Any) -> None:
    throw_certificate(signed(header, claims, "HS256", SECRET))
    throw_certificate(signed({"kid": PUBLIC["kid"]} | header, claims, "EdDSA", PAIR))


@unhurried
@given(claims=changed(CERTIFICATE | {"aud": "eventserver/pow", "chd": "x", "dif": 1}))
def test_any_challenge_signed_with_the_right_key(claims: dict[str, Any]) -> None:
    throw_certificate(signed({"typ": "pow+jwt"}, claims, "HS256", SECRET))


@unhurried
@given(
    header=headers,
    claims=changed(PACKAGE) | values,
    certificate=st.none() | changed(CERTIFICATE),
)
def test_any_package_signed_with_the_right_key(
    header: dict[str, Any], claims: Any, certificate: dict[str, Any] | None
) -> None:
    token = DEVICE.token if certificate is None else signed({}, certificate, "HS256", SECRET)
    throw_package(signed({"x-device-cert": token} | header, claims, "ES256", DEVICE_KEY))


@unhurried
@given(nonce=st.integers() | scalars, digest=st.binary())
def test_any_solution_of_a_real_challenge(nonce: Any, digest: bytes) -> None:
    solution = Solution(AUTH.make_challenge().challenge_id, nonce, digest)
    with contextlib.suppress(InvalidInputError):
        AUTH.check_solution(solution)


@unhurried
@given(content=st.binary() | values.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_as_a_public_key(content: bytes) -> None:
    with contextlib.suppress(InvalidInputError):
        AUTH.identify_device(content)


@unhurried
@given(jwk=changed(DEVICE_JWK) | changed(PUBLIC), role=st.sampled_from(Role), subject=texts)
def test_any_jwk(jwk: dict[str, Any], role: Role, subject: str) -> None:
    with contextlib.suppress(InvalidInputError):
        AUTH.identify_device(json.dumps(jwk).encode())
    with contextlib.suppress(InvalidInputError):
        token = AUTH.issue(subject, role, timedelta(hours=1), jwk).token
        assert AUTH.authenticate(token).subject == subject
