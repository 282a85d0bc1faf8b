"""Certificates: what they say, who accepts them, and what is refused."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from eventserver_auth_cert import CertificateAuth
from jwt.algorithms import OKPAlgorithm

from eventserver_core.backends.auth import Role
from eventserver_core.errors import AuthenticationError, InvalidInputError

HOUR = timedelta(hours=1)


def header_and_claims(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    parts = token.split(".")
    header, claims = (json.loads(base64.urlsafe_b64decode(part + "==")) for part in parts[:2])
    return header, claims


def test_a_certificate_says_who_its_holder_is(auth: CertificateAuth, clock: Any) -> None:
    issued = auth.issue("relay-1", Role.RELAY, HOUR)
    who = auth.authenticate(issued.token)
    assert who == issued.credentials
    assert (who.subject, who.role, who.public_key) == ("relay-1", Role.RELAY, None)
    assert who.issued_at == clock.now.replace(microsecond=0)
    assert who.expires_at - who.issued_at == HOUR


def test_a_certificate_has_the_documented_claims_and_no_others(
    auth: CertificateAuth, device: Any, clock: Any, secret: str
) -> None:
    issued = auth.issue("device:x", Role.DEVICE, HOUR, device.jwk)
    header, claims = header_and_claims(issued.token)
    assert header == {"alg": "HS256", "typ": "JWT"}
    assert claims == {
        "iss": "eventserver",
        "aud": "eventserver",
        "sub": "device:x",
        "role": "device",
        "jti": issued.credentials.certificate_id,
        "iat": clock.seconds(),
        "exp": clock.seconds() + 3600,
        "cnf": {"jwk": device.jwk},
    }
    assert jwt.decode(
        issued.token, secret, ["HS256"], audience="eventserver", options={"verify_exp": False}
    )


def test_each_certificate_has_an_id_of_its_own(auth: CertificateAuth) -> None:
    ids = {auth.issue("relay-1", Role.RELAY, HOUR).credentials.certificate_id for _ in range(50)}
    assert len(ids) == 50
    assert all(len(certificate_id) == 32 and int(certificate_id, 16) for certificate_id in ids)


def test_any_instance_accepts_what_another_made(
    make_auth: Callable[..., CertificateAuth], secret: str, device: Any
) -> None:
    one, other = (make_auth(auth__jwt_secret=secret) for _ in range(2))
    issued = one.issue("device:x", Role.DEVICE, HOUR, device.jwk)
    assert other.authenticate(issued.token) == issued.credentials


def test_a_stranger_made_certificate_with_the_right_claims_is_accepted(
    auth: CertificateAuth, claims: dict[str, Any], forge: Callable[..., str]
) -> None:
    """The other tests change one thing of this token at a time."""
    assert auth.authenticate(forge(claims)).subject == "relay-1"


def test_a_certificate_ends_on_the_second(auth: CertificateAuth, clock: Any) -> None:
    token = auth.issue("relay-1", Role.RELAY, HOUR).token
    clock.advance(seconds=3599.749)
    auth.authenticate(token)
    clock.advance(seconds=0.001)
    with pytest.raises(AuthenticationError) as caught:
        auth.authenticate(token)
    assert caught.value.code == "certificate_expired"


@pytest.mark.parametrize("lifetime", [timedelta(0), timedelta(seconds=-1), -HOUR])
def test_a_lifetime_of_nothing_is_over_at_once(auth: CertificateAuth, lifetime: timedelta) -> None:
    with pytest.raises(AuthenticationError) as caught:
        auth.authenticate(auth.issue("relay-1", Role.RELAY, lifetime).token)
    assert caught.value.code == "certificate_expired"


@pytest.mark.parametrize("name", ["iat", "nbf"])
def test_a_certificate_from_a_clock_a_little_ahead_is_accepted_and_from_one_far_ahead_not(
    auth: CertificateAuth,
    claims: dict[str, Any],
    forge: Callable[..., str],
    clock: Any,
    name: str,
) -> None:
    auth.authenticate(forge(claims | {name: clock.seconds(5)}))
    with pytest.raises(AuthenticationError) as caught:
        auth.authenticate(forge(claims | {name: clock.seconds(7)}))
    assert caught.value.code == "certificate_invalid"


def test_a_certificate_cannot_begin_before_it_was_made(
    auth: CertificateAuth, claims: dict[str, Any], forge: Callable[..., str], clock: Any
) -> None:
    with pytest.raises(AuthenticationError, match="not valid yet"):
        auth.authenticate(forge(claims | {"iat": clock.seconds(60), "nbf": clock.seconds(-60)}))


@pytest.mark.parametrize("name", ["iss", "aud", "sub", "role", "jti", "iat", "exp"])
def test_every_claim_is_required(
    auth: CertificateAuth, claims: dict[str, Any], forge: Callable[..., str], name: str
) -> None:
    del claims[name]
    with pytest.raises(AuthenticationError) as caught:
        auth.authenticate(forge(claims))
    assert caught.value.code == "certificate_invalid"
    assert name in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("iss", "somebody"),
        ("iss", None),
        ("aud", "another"),
        ("aud", "eventserver/pow"),
        ("aud", ["eventserver"]),
        ("sub", ""),
        ("sub", 7),
        ("sub", "s" * 513),
        ("sub", ["relay-1"]),
        ("role", "root"),
        ("role", "ADMIN"),
        ("role", ["admin"]),
        ("role", True),
        ("jti", ""),
        ("jti", 1),
        ("jti", {}),
        ("iat", True),
        ("iat", "1740830400"),
        ("iat", -1),
        ("iat", None),
        ("exp", True),
        ("exp", "9999999999"),
        ("exp", 1e300),
        ("exp", 10**30),
        ("exp", 253402300800),
        ("exp", None),
        ("exp", []),
        ("nbf", None),
        ("nbf", "now"),
        ("cnf", None),
        ("cnf", {}),
        ("cnf", {"jwk": None}),
        ("cnf", {"jwk": {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}}),
        ("cnf", {"jwk": {"kty": "oct", "k": "AAAA"}}),
        ("cnf", "jwk"),
    ],
)
def test_a_claim_of_the_wrong_kind_is_refused(
    auth: CertificateAuth,
    claims: dict[str, Any],
    forge: Callable[..., str],
    name: str,
    value: object,
) -> None:
    with pytest.raises(AuthenticationError) as caught:
        auth.authenticate(forge(claims | {name: value}))
    assert caught.value.code == "certificate_invalid"


@pytest.mark.parametrize(
    "text",
    [
        b'{"iat": NaN}',
        b'{"exp": Infinity}',
        b'{"exp": 1e999}',
        b'{"exp": ' + b"9" * 5000 + b"}",
        b'{"role": "relay", "role": "admin"}',
        b'{"sub": "\\ud800"}',
        b"\xff",
        b"[]",
        b"null",
        b"[" * 2000,
    ],
)
def test_claims_that_two_readers_could_understand_differently_are_refused(
    auth: CertificateAuth, forge: Callable[..., str], claims: dict[str, Any], text: bytes
) -> None:
    if text.startswith(b"{"):
        text = json.dumps(claims).encode()[:-1] + b"," + text[1:]
    with pytest.raises(AuthenticationError) as caught:
        auth.authenticate(forge(text))
    assert caught.value.code == "certificate_invalid"


def test_only_the_public_members_of_a_key_are_bound(auth: CertificateAuth, device: Any) -> None:
    extras = {"ext": True, "key_ops": ["sign"], "kid": "mine", "use": "sig", "alg": "ES256"}
    issued = auth.issue("relay-1", Role.RELAY, HOUR, device.private_jwk | extras)
    assert issued.credentials.public_key == device.jwk
    assert auth.authenticate(issued.token).public_key == device.jwk
    assert header_and_claims(issued.token)[1]["cnf"] == {"jwk": device.jwk}


def test_a_private_part_in_a_foreign_certificate_goes_no_further(
    auth: CertificateAuth, claims: dict[str, Any], forge: Callable[..., str], device: Any
) -> None:
    token = forge(claims | {"cnf": {"jwk": device.private_jwk}})
    assert auth.authenticate(token).public_key == device.jwk


def test_relays_and_admins_may_sign_with_ed25519_and_devices_not(
    auth: CertificateAuth,
    claims: dict[str, Any],
    forge: Callable[..., str],
    signing_key: Ed25519PrivateKey,
) -> None:
    jwk = OKPAlgorithm.to_jwk(signing_key.public_key(), as_dict=True)
    for role in (Role.RELAY, Role.ADMIN):
        token = auth.issue("one", role, HOUR, jwk).token
        assert auth.authenticate(token).public_key == jwk
    with pytest.raises(InvalidInputError):
        auth.issue("device:x", Role.DEVICE, HOUR, jwk)
    with pytest.raises(AuthenticationError):
        auth.authenticate(forge(claims | {"role": "device", "cnf": {"jwk": jwk}}))


@pytest.mark.parametrize("subject", ["", "s" * 256, "a\nb", "a\x00", "\ud800"])
def test_a_subject_that_cannot_be_a_name_is_refused(auth: CertificateAuth, subject: str) -> None:
    with pytest.raises(InvalidInputError):
        auth.issue(subject, Role.RELAY, HOUR)


@pytest.mark.parametrize("subject", ["s" * 255, "Zoë's relay \U0001f4f7", "device:x"])
def test_a_subject_may_be_any_printable_text(auth: CertificateAuth, subject: str) -> None:
    assert auth.authenticate(auth.issue(subject, Role.RELAY, HOUR).token).subject == subject


@pytest.mark.parametrize("lifetime", [timedelta.max, timedelta.min])
def test_a_lifetime_beyond_the_calendar_is_refused(
    auth: CertificateAuth, lifetime: timedelta
) -> None:
    with pytest.raises(InvalidInputError):
        auth.issue("relay-1", Role.RELAY, lifetime)


class TestRemembering:
    """A certificate's signature is checked once; whether it holds now, each time."""

    def test_one_that_was_read_before_still_ends(self, auth: CertificateAuth, clock: Any) -> None:
        token = auth.issue("relay-1", Role.RELAY, HOUR).token
        assert auth.authenticate(token) == auth.authenticate(token)
        clock.advance(hours=1)
        with pytest.raises(AuthenticationError) as caught:
            auth.authenticate(token)
        assert caught.value.code == "certificate_expired"

    def test_what_is_refused_is_not_remembered_and_what_is_has_its_limit(
        self, auth: CertificateAuth
    ) -> None:
        remembered = auth._certificates._remembered
        token = auth.issue("relay-1", Role.RELAY, HOUR).token
        for tail in ("x", "y", ".z"):
            with pytest.raises(AuthenticationError):
                auth.authenticate(token + tail)
        assert remembered.cache_info().currsize == 0
        auth.authenticate(token)
        assert remembered.cache_info().currsize == 1
        assert remembered.cache_info().maxsize == 4096
