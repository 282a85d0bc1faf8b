"""Packages that devices signed, brought by a relay, which may have been offline."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from eventserver_auth_cert import CertificateAuth

from eventserver_core.backends.auth import Credentials, IssuedCertificate, Role
from eventserver_core.errors import AuthenticationError

HOUR = timedelta(hours=1)
Refused = Callable[[str, Credentials], str]


def test_a_relay_brings_it_and_both_are_known(
    auth: CertificateAuth, device: Any, relay: Credentials, certificate: IssuedCertificate
) -> None:
    jws = device.sign(**{"x-device-cert": certificate.token})
    signed = auth.check_signed_package(jws, relay)
    assert signed.device == certificate.credentials
    assert json.loads(signed.claims) == device.claims()


def test_a_relay_may_forward_for_a_week(
    auth: CertificateAuth,
    device: Any,
    relay: Credentials,
    certificate: IssuedCertificate,
    clock: Any,
    refused: Refused,
) -> None:
    """By then both the package and the device's certificate are out of date, and may be."""
    jws = device.sign(**{"x-device-cert": certificate.token})
    clock.advance(days=7, seconds=-0.25)
    assert auth.check_signed_package(jws, relay).device == certificate.credentials
    clock.advance(seconds=0.001)
    assert refused(jws, relay) == "package_expired"


def test_how_long_a_relay_may_forward_is_a_setting(
    make_auth: Callable[..., CertificateAuth],
    secret: str,
    device: Any,
    relay: Credentials,
    certificate: IssuedCertificate,
    clock: Any,
) -> None:
    brief = make_auth(auth__jwt_secret=secret, security__forwarded_max_age="10")
    jws = device.sign(**{"x-device-cert": certificate.token})
    clock.advance(seconds=9)
    assert brief.check_signed_package(jws, relay)
    clock.advance(seconds=2)
    with pytest.raises(AuthenticationError):
        brief.check_signed_package(jws, relay)


def test_the_devices_certificate_must_have_held_when_the_package_was_signed(
    auth: CertificateAuth,
    device: Any,
    relay: Credentials,
    certificate: IssuedCertificate,
    clock: Any,
    refused: Refused,
) -> None:
    header = {"x-device-cert": certificate.token}
    day = 24 * 3600
    last = device.sign(device.claims(iat=clock.seconds(day - 1)), **header)
    late = device.sign(device.claims(iat=clock.seconds(day)), **header)
    early = device.sign(device.claims(iat=clock.seconds(-900)), **header)
    earlier = device.sign(device.claims(iat=clock.seconds(-901)), **header)
    clock.advance(days=2)
    assert auth.check_signed_package(last, relay)
    assert auth.check_signed_package(early, relay)
    assert refused(late, relay) == "device_certificate_invalid"
    assert refused(earlier, relay) == "device_certificate_invalid"


def test_a_relay_must_bring_the_devices_certificate(
    device: Any, relay: Credentials, refused: Refused
) -> None:
    for header in ({}, {"x-device-cert": ""}, {"x-device-cert": 7}, {"x-device-cert": [""]}):
        assert refused(device.sign(**header), relay) == "device_certificate_missing"


def test_a_certificate_that_is_not_a_devices_or_not_ours_is_refused(
    auth: CertificateAuth,
    make_auth: Callable[..., CertificateAuth],
    device: Any,
    relay: Credentials,
    secret: str,
    refused: Refused,
) -> None:
    elsewhere = make_auth(auth__jwt_secret=secret[::-1])
    other_audience = make_auth(auth__jwt_secret=secret, auth__audience="other")
    other_issuer = make_auth(auth__jwt_secret=secret, auth__issuer="other")
    tokens = [
        auth.issue("relay-1", Role.RELAY, HOUR, device.jwk).token,
        auth.issue("root", Role.ADMIN, HOUR, device.jwk).token,
        auth.issue("device:x", Role.DEVICE, HOUR).token,
        auth.make_challenge().challenge_id,
        "not a certificate",
    ]
    tokens += [
        backend.issue("device:x", Role.DEVICE, HOUR, device.jwk).token
        for backend in (elsewhere, other_audience, other_issuer)
    ]
    for token in tokens:
        jws = device.sign(**{"x-device-cert": token})
        assert refused(jws, relay) == "device_certificate_invalid"


def test_a_package_in_a_package_is_no_certificate(
    device: Any, relay: Credentials, refused: Refused
) -> None:
    jws = device.sign(**{"x-device-cert": device.sign()})
    assert refused(jws, relay) == "device_certificate_invalid"


def test_an_admin_brings_no_packages(
    auth: CertificateAuth, device: Any, certificate: IssuedCertificate, refused: Refused
) -> None:
    admin = auth.issue("root", Role.ADMIN, HOUR, device.jwk).credentials
    jws = device.sign(**{"x-device-cert": certificate.token})
    assert refused(jws, admin) == "unauthenticated"
