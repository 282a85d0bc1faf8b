"""Which keys sign, which are accepted, how they are rotated, and what is refused at the start."""

from __future__ import annotations

import base64
import hashlib
import json
import logging
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    PublicFormat,
)
from eventserver_auth_cert import AuthSettings, CertificateAuth
from eventserver_auth_cert.jwk import thumbprint
from eventserver_auth_cert.keys import KeyRing, secret_key

from eventserver_core.backends.auth import Role
from eventserver_core.errors import (
    AuthenticationError,
    BackendUnavailableError,
    ConfigurationError,
)
from eventserver_core.settings import Sources

HOUR = timedelta(hours=1)
Make = Callable[..., CertificateAuth]


def faults(make_auth: Make, *args: str, **keys: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        make_auth(*args, **keys)
    return caught.value.faults


def test_the_thumbprint_is_the_one_of_rfc_8037() -> None:
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
    assert thumbprint(jwk) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


def test_an_ed25519_key_signs_under_its_thumbprint(
    make_auth: Make, write_key: Callable[..., str], signing_key: Ed25519PrivateKey
) -> None:
    auth = make_auth("production", auth__signing_key_file=write_key(signing_key))
    token = auth.issue("relay-1", Role.RELAY, HOUR).token
    x = base64.urlsafe_b64encode(signing_key.public_key().public_bytes_raw()).decode().rstrip("=")
    text = f'{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}'
    kid = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")
    assert jwt.get_unverified_header(token) == {"alg": "EdDSA", "kid": kid, "typ": "JWT"}
    assert auth.authenticate(token).subject == "relay-1"
    auth.check()


def test_anybody_can_check_a_certificate_with_the_public_keys(
    make_auth: Make, write_key: Callable[..., str], signing_key: Ed25519PrivateKey
) -> None:
    auth = make_auth(auth__signing_key_file=write_key(signing_key))
    token = auth.issue("relay-1", Role.RELAY, HOUR).token
    keys = jwt.PyJWKSet.from_dict(json.loads(json.dumps(auth.public_keys())))
    key = keys[jwt.get_unverified_header(token)["kid"]]
    claims = jwt.decode(
        token,
        key,
        algorithms=["EdDSA"],
        audience="eventserver",
        issuer="eventserver",
        options={"verify_exp": False, "verify_iat": False},
    )
    assert claims["sub"] == "relay-1"


def test_the_public_keys_hold_nothing_private_or_symmetric(
    make_auth: Make, write_key: Callable[..., str], signing_key: Ed25519PrivateKey, secret: str
) -> None:
    older = Ed25519PrivateKey.generate()
    auth = make_auth(
        auth__jwt_secret=secret,
        auth__signing_key_file=write_key(signing_key),
        auth__verification_key_files=write_key(older, "older.pem"),
    )
    keys = auth.public_keys()["keys"]
    assert len(keys) == 2
    for key in keys:
        assert set(key) == {"kty", "crv", "x", "kid", "alg", "use"}
        assert (key["kty"], key["alg"], key["use"]) == ("OKP", "EdDSA", "sig")


def test_with_secrets_alone_there_are_no_public_keys(auth: CertificateAuth) -> None:
    assert auth.public_keys() == {"keys": []}


@pytest.mark.parametrize("kept", ["private", "public"])
def test_certificates_under_the_old_key_work_until_it_is_dropped(
    make_auth: Make, write_key: Callable[..., str], signing_key: Ed25519PrivateKey, kept: str
) -> None:
    old_file = write_key(signing_key, "old.pem")
    token = make_auth(auth__signing_key_file=old_file).issue("relay-1", Role.RELAY, HOUR).token
    if kept == "public":
        old_file = write_key(signing_key.public_key(), "old.pub", mode=0o644)
    new_file = write_key(Ed25519PrivateKey.generate(), "new.pem")
    rotated = make_auth(auth__signing_key_file=new_file, auth__verification_key_files=old_file)
    assert rotated.authenticate(token).subject == "relay-1"
    new_token = rotated.issue("relay-1", Role.RELAY, HOUR).token
    assert rotated.authenticate(new_token).subject == "relay-1"
    finished = make_auth(auth__signing_key_file=new_file)
    assert finished.authenticate(new_token).subject == "relay-1"
    with pytest.raises(AuthenticationError):
        finished.authenticate(token)


def test_certificates_under_the_old_secret_work_until_it_is_dropped(
    make_auth: Make, secret: str
) -> None:
    old, oldest, new = secret, secret[::-1], secret.upper()[:40]
    tokens = [
        make_auth(auth__jwt_secret=s).issue("relay-1", Role.RELAY, HOUR).token
        for s in (old, oldest)
    ]
    rotated = make_auth(
        "production", auth__jwt_secret=new, auth__previous_jwt_secrets=f"{old}, {oldest}"
    )
    for token in tokens:
        assert rotated.authenticate(token).subject == "relay-1"
    with pytest.raises(AuthenticationError):
        make_auth(auth__jwt_secret=old).authenticate(
            rotated.issue("relay-1", Role.RELAY, HOUR).token
        )
    with pytest.raises(AuthenticationError):
        make_auth(auth__jwt_secret=new).authenticate(tokens[0])


def test_a_challenge_under_the_old_secret_can_still_be_solved(
    make_auth: Make, secret: str, solve: Callable[..., Any]
) -> None:
    easy = {"security__pow_difficulty": "1"}
    solution = solve(make_auth(auth__jwt_secret=secret, **easy).make_challenge())
    rotated = make_auth(auth__jwt_secret=secret[::-1], auth__previous_jwt_secrets=secret, **easy)
    assert rotated.check_solution(solution).challenge_key


def test_one_can_go_over_from_a_secret_to_a_key_pair(
    make_auth: Make, secret: str, write_key: Callable[..., str], signing_key: Ed25519PrivateKey
) -> None:
    token = make_auth(auth__jwt_secret=secret).issue("relay-1", Role.RELAY, HOUR).token
    auth = make_auth(auth__jwt_secret=secret, auth__signing_key_file=write_key(signing_key))
    assert auth.authenticate(token).subject == "relay-1"
    new_token = auth.issue("relay-1", Role.RELAY, HOUR).token
    assert jwt.get_unverified_header(new_token)["alg"] == "EdDSA"


def test_the_secret_may_come_from_its_well_known_variable(secret: str, tmp_path: Path) -> None:
    settings = Sources(tmp_path, {"JWT_SECRET": secret}).load([AuthSettings])
    assert settings[AuthSettings].jwt_secret == secret
    shown = [origin.shown for origin in settings.origins if origin.spec.key == "jwt_secret"]
    assert shown == ["(hidden)"]


@pytest.mark.parametrize("environment", ["production", "staging"])
def test_outside_development_a_missing_secret_is_refused(
    make_auth: Make, environment: str, tmp_path: Path
) -> None:
    (fault,) = faults(make_auth, environment)
    assert fault.startswith("auth.jwt_secret: missing")
    assert "openssl rand -hex 32" in fault
    assert "auth.signing_key_file" in fault
    assert not (tmp_path / "data").exists()


def test_in_production_a_secret_under_32_bytes_is_refused(make_auth: Make, secret: str) -> None:
    (fault,) = faults(make_auth, "production", auth__jwt_secret=secret[:31])
    assert fault.startswith("auth.jwt_secret: it is shorter than 32 bytes")
    assert "openssl rand -hex 32" in fault
    make_auth("production", auth__jwt_secret=secret[:32])


def test_in_production_a_secret_from_an_example_is_refused(make_auth: Make) -> None:
    for example in ("changeme" * 5, "your-256-bit-secret-goes-right-here", "x" * 40):
        (fault,) = faults(make_auth, "production", auth__jwt_secret=example)
        assert fault.startswith("auth.jwt_secret: it is ")
        assert example not in fault


def test_in_production_a_weak_secret_is_refused_wherever_it_is_accepted(
    make_auth: Make, secret: str, write_key: Callable[..., str], signing_key: Ed25519PrivateKey
) -> None:
    found = faults(
        make_auth,
        "production",
        auth__signing_key_file=write_key(signing_key),
        auth__jwt_secret="x" * 40,
        auth__previous_jwt_secrets=f"{secret},short",
    )
    assert [fault.split(":")[0] for fault in found] == [
        "auth.jwt_secret",
        "auth.previous_jwt_secrets (number 2)",
    ]


@pytest.mark.parametrize("environment", ["development", "staging"])
def test_elsewhere_a_weak_secret_is_accepted_with_a_warning(
    make_auth: Make, environment: str, caplog: pytest.LogCaptureFixture
) -> None:
    auth = make_auth(environment, auth__jwt_secret="hunter22")
    token = auth.issue("relay-1", Role.RELAY, HOUR).token
    assert auth.authenticate(token).subject == "relay-1"
    (record,) = caplog.records
    assert (record.levelno, record.message) == (logging.WARNING, "weak_secret_accepted")
    assert vars(record)["setting"] == "auth.jwt_secret"
    assert vars(record)["weakness"] == "shorter than 32 bytes"
    assert "hunter22" not in repr(vars(record))


def test_a_good_secret_is_accepted_in_silence(
    make_auth: Make, secret: str, caplog: pytest.LogCaptureFixture
) -> None:
    make_auth(auth__jwt_secret=secret)
    assert caplog.records == []


def test_the_text_of_a_key_is_no_secret(
    make_auth: Make, signing_key: Ed25519PrivateKey, device: Any
) -> None:
    pem = signing_key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    for text in (pem.decode(), json.dumps(device.jwk)):
        (fault,) = faults(make_auth, auth__jwt_secret=text)
        assert fault.startswith("auth.jwt_secret: it is the text of a key")
        assert text not in fault


def test_a_file_that_is_no_ed25519_key_is_refused_by_the_settings_name(
    make_auth: Make, write_key: Callable[..., str], signing_key: Ed25519PrivateKey, tmp_path: Path
) -> None:
    garbage = tmp_path / "garbage.pem"
    garbage.write_bytes(b"-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n")
    garbage.chmod(0o600)
    locked = tmp_path / "locked.pem"
    locked.write_bytes(
        signing_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"p"))
    )
    locked.chmod(0o600)
    rsa_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    files = {
        str(tmp_path / "absent.pem"): "there is no such file",
        str(tmp_path): "there is no such file",
        str(tmp_path / "a\0b"): "there is no such file",
        str(garbage): "expected an Ed25519 key",
        str(locked): "without a password",
        write_key(rsa_key, "rsa.pem"): "expected an Ed25519 key",
        write_key(ec.generate_private_key(ec.SECP256R1()), "ec.pem"): "expected an Ed25519 key",
        write_key(signing_key, "open.pem", mode=0o604): "chmod 600",
    }
    for path, message in files.items():
        for setting in ("signing_key_file", "verification_key_files"):
            (fault,) = faults(make_auth, **{f"auth__{setting}": path})
            assert fault.startswith(f"auth.{setting}: {path}: ")
            assert message in fault
            assert "BEGIN" not in fault


def test_a_file_that_cannot_be_read_is_refused(make_auth: Make, tmp_path: Path) -> None:
    """Such a name fails for everybody, where permissions don't stop the superuser."""
    (fault,) = faults(make_auth, auth__signing_key_file=str(tmp_path / ("n" * 300)))
    assert fault.startswith("auth.signing_key_file: ")
    assert "cannot be read: File name too long" in fault


def test_a_public_key_cannot_sign(
    make_auth: Make, write_key: Callable[..., str], signing_key: Ed25519PrivateKey
) -> None:
    path = write_key(signing_key.public_key(), "key.pub", mode=0o644)
    (fault,) = faults(make_auth, auth__signing_key_file=path)
    assert "this is a public key" in fault


def test_a_private_key_may_be_shared_with_a_group(
    make_auth: Make, write_key: Callable[..., str], signing_key: Ed25519PrivateKey
) -> None:
    make_auth(auth__signing_key_file=write_key(signing_key, mode=0o640)).check()


def test_every_fault_is_reported_at_once(
    make_auth: Make, write_key: Callable[..., str], tmp_path: Path
) -> None:
    ec_file = write_key(ec.generate_private_key(ec.SECP256R1()), "ec.pem")
    found = faults(
        make_auth,
        "production",
        auth__jwt_secret="short",
        auth__previous_jwt_secrets="a" * 40,
        auth__signing_key_file=str(tmp_path / "absent.pem"),
        auth__verification_key_files=f"{ec_file},{tmp_path / 'gone.pem'}",
    )
    assert [fault.split(":")[0] for fault in found] == [
        "auth.jwt_secret",
        "auth.previous_jwt_secrets (number 1)",
        "auth.signing_key_file",
        "auth.verification_key_files",
        "auth.verification_key_files",
    ]


def test_no_secret_is_made_while_something_else_is_wrong(make_auth: Make, tmp_path: Path) -> None:
    faults(make_auth, auth__verification_key_files=str(tmp_path / "gone.pem"))
    assert not (tmp_path / "data").exists()


def test_issuer_and_audience_keep_two_deployments_apart(make_auth: Make, secret: str) -> None:
    one = make_auth(auth__jwt_secret=secret, auth__audience="one")
    for keys in ({"auth__audience": "two"}, {"auth__audience": "one", "auth__issuer": "other"}):
        with pytest.raises(AuthenticationError):
            make_auth(auth__jwt_secret=secret, **keys).authenticate(
                one.issue("relay-1", Role.RELAY, HOUR).token
            )


def test_an_issuer_that_is_no_name_is_refused(make_settings: Callable[..., Any]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        make_settings(auth__issuer=" ", auth__audience="a\nb")
    assert len(caught.value.faults) == 2


def test_check_tells_of_a_signing_key_that_nothing_accepts(secret: str, clock: Any) -> None:
    rest = {
        "issuer": "i",
        "audience": "a",
        "pow_difficulty": 1,
        "forwarded_max_age": HOUR,
        "clock": clock,
    }
    signing, other = secret_key(secret), secret_key(secret[::-1])
    CertificateAuth(KeyRing(signing, [other, signing]), **rest).check()
    with pytest.raises(BackendUnavailableError):
        CertificateAuth(KeyRing(signing, [other]), **rest).check()


def test_a_key_is_not_shown(secret: str) -> None:
    assert secret not in repr(secret_key(secret))
