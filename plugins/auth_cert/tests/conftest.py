"""What the tests of this plugin share: settings from a dictionary, a clock, a device."""

from __future__ import annotations

import base64
import hmac
import json
import secrets
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from eventserver_auth_cert import AuthSettings, CertificateAuth
from jwt.algorithms import ECAlgorithm

from eventserver_core.backends.auth import Challenge, Credentials, IssuedCertificate, Role, Solution
from eventserver_core.errors import AuthenticationError
from eventserver_core.sections import CORE_SECTIONS
from eventserver_core.settings import Settings, Sources


class Clock:
    """A clock that stands still until it is told to go on."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **time: float) -> None:
        self.now += timedelta(**time)

    def seconds(self, offset: float = 0) -> int:
        return int(self.now.timestamp() + offset)


@dataclass
class Device:
    """An app with a key pair, which signs as the public EventApp does."""

    clock: Clock
    key: ec.EllipticCurvePrivateKey = field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1())
    )

    @property
    def jwk(self) -> dict[str, Any]:
        return ECAlgorithm.to_jwk(self.key.public_key(), as_dict=True)

    @property
    def private_jwk(self) -> dict[str, Any]:
        return ECAlgorithm.to_jwk(self.key, as_dict=True)

    def claims(self, **changed: Any) -> dict[str, Any]:
        claims = {
            "payload": {"id": "550e8400-e29b-41d4-a716-446655440000", "version": "1.0"},
            "sub": "event_submission",
            "aud": "event_server",
            "iss": "event_client",
            "iat": self.clock.seconds(),
            "exp": self.clock.seconds(3600),
        } | changed
        return {name: value for name, value in claims.items() if value is not ...}

    def sign(self, claims: Mapping[str, Any] | bytes | None = None, **header: Any) -> str:
        """Return a JWS; the claims may be given as text, to the byte."""
        content = self.claims() if claims is None else claims
        if not isinstance(content, bytes):
            content = json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode()
        headers = {"jwk": self.jwk} | header
        return jwt.api_jws.encode(content, self.key, "ES256", headers)


@pytest.fixture
def clock() -> Clock:
    return Clock(datetime(2025, 3, 1, 12, 0, 0, 250_000, tzinfo=UTC))


@pytest.fixture
def device(clock: Clock) -> Device:
    return Device(clock)


@pytest.fixture
def make_device(clock: Clock) -> Callable[[], Device]:
    return lambda: Device(clock)


@pytest.fixture
def secret() -> str:
    return secrets.token_hex(32)


@pytest.fixture
def make_settings(tmp_path: Path) -> Callable[..., Settings]:
    """Return a function that reads settings from environment variables, and from nothing else."""
    config = tmp_path / "config"
    config.mkdir()

    def make(environment: str = "development", **keys: str) -> Settings:
        environ = {
            "EVENTSERVER_ENVIRONMENT": environment,
            "EVENTSERVER__SERVER__DATA_DIR": str(tmp_path / "data"),
        }
        environ |= {f"EVENTSERVER__{name.upper()}": value for name, value in keys.items()}
        return Sources(config, environ).load([*CORE_SECTIONS, AuthSettings])

    return make


@pytest.fixture
def make_auth(
    make_settings: Callable[..., Settings], clock: Clock
) -> Callable[..., CertificateAuth]:
    """Return a function that makes a backend from settings, such as ``auth__jwt_secret``."""
    return lambda *args, **keys: CertificateAuth.from_settings(make_settings(*args, **keys), clock)


@pytest.fixture
def auth(make_auth: Callable[..., CertificateAuth], secret: str) -> CertificateAuth:
    return make_auth(auth__jwt_secret=secret, security__pow_difficulty="1")


@pytest.fixture
def write_key(tmp_path: Path) -> Callable[..., str]:
    """Return a function that writes a private or public key as PEM, and returns its path."""

    def write(key: Any, name: str = "key.pem", mode: int = 0o600) -> str:
        path = tmp_path / name
        if hasattr(key, "private_bytes"):
            content = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        else:
            content = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        path.write_bytes(content)
        path.chmod(mode)
        return str(path)

    return write


@pytest.fixture
def signing_key() -> Ed25519PrivateKey:
    return Ed25519PrivateKey.generate()


@pytest.fixture
def solve() -> Callable[..., Solution]:
    """Return a function that does a proof of work as the EventApp does it."""

    def solve(challenge: Challenge, difficulty: int | None = None) -> Solution:
        wanted = "0" * (challenge.difficulty if difficulty is None else difficulty)
        nonce = 0
        while True:
            content = challenge.challenge_data.encode() + struct.pack("<Q", nonce)
            digest = sha256(content).digest()
            if digest.hex().startswith(wanted):
                return Solution(challenge.challenge_id, nonce, digest)
            nonce += 1

    return solve


@pytest.fixture
def certificate(auth: CertificateAuth, device: Any) -> IssuedCertificate:
    return auth.issue("device:x", Role.DEVICE, timedelta(hours=24), device.jwk)


@pytest.fixture
def bearer(certificate: IssuedCertificate) -> Credentials:
    return certificate.credentials


@pytest.fixture
def relay(auth: CertificateAuth) -> Credentials:
    return auth.issue("relay-1", Role.RELAY, timedelta(days=30)).credentials


@pytest.fixture
def refused(auth: CertificateAuth) -> Callable[[str, Credentials], str]:
    """Return a function that wants a package refused, and returns with which code."""

    def refused(jws: str, bearer: Credentials) -> str:
        with pytest.raises(AuthenticationError) as caught:
            auth.check_signed_package(jws, bearer)
        assert jws == "" or jws not in str(caught.value)
        return caught.value.code

    return refused


@pytest.fixture
def claims(clock: Clock) -> dict[str, Any]:
    """The claims of a certificate that holds."""
    return {
        "iss": "eventserver",
        "aud": "eventserver",
        "sub": "relay-1",
        "role": "relay",
        "jti": "0123456789abcdef",
        "iat": clock.seconds(),
        "exp": clock.seconds(60),
    }


@pytest.fixture
def forge(secret: str) -> Callable[..., str]:
    """Return a function that signs anything with the server's own secret."""

    def forge(claims: Any, key: Any = secret, algorithm: str = "HS256", **header: Any) -> str:
        content = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
        return jwt.api_jws.encode(content, key, algorithm, header)

    return forge


@pytest.fixture
def forge_header(secret: str, claims: dict[str, Any]) -> Callable[..., str]:
    """Return a function that signs any header at all, with HMAC-SHA-256 whatever it says."""

    def part(value: Any) -> str:
        content = value if isinstance(value, bytes) else json.dumps(value).encode()
        return base64.urlsafe_b64encode(content).rstrip(b"=").decode()

    def forge(header: Any, key: bytes = secret.encode()) -> str:
        text = f"{part(header)}.{part(claims)}"
        return f"{text}.{part(hmac.digest(key, text.encode(), 'sha256'))}"

    return forge
