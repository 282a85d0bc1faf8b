"""Packages that devices signed, brought by the device itself or later by a relay."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from eventserver_auth_cert.certificates import Certificate, Certificates
from eventserver_auth_cert.claims import moment, require, require_object
from eventserver_auth_cert.event_hash import check_event_hash
from eventserver_auth_cert.tokens import TokenError
from eventserver_core.backends.auth import Credentials, Role, SignedPackage
from eventserver_core.domain.canonical import WRAPPED_DEPTH, parse_ijson
from eventserver_core.domain.signature import protected_header, signed_content
from eventserver_core.errors import AuthenticationError

LEEWAY: Final = timedelta(minutes=15)
"""How far a device's clock may be from ours; as far as an event's ``createdAt`` may be ahead."""

CERTIFICATE_HEADER: Final = "x-device-cert"

_PRIVATE_MEMBERS: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
"""Of any kind of key (RFC 7518, sections 6.2.2, 6.3.2 and 6.4)."""

_SIGNATURE: Final = "signature_invalid"
_EXPIRED: Final = "package_expired"
_CERTIFICATE: Final = "device_certificate_invalid"
_NO_CERTIFICATE: Final = "device_certificate_missing"


class SignedPackages:
    """Checks signed packages.

    Args:
        certificates: reads the devices' certificates.
        forwarded_max_age: how long after it was signed a relay may bring one.
    """

    def __init__(self, certificates: Certificates, forwarded_max_age: timedelta) -> None:
        self._certificates = certificates
        self._forwarded_max_age = forwarded_max_age

    def check(self, jws: str, bearer: Credentials, now: datetime) -> SignedPackage:
        """Check a package.

        Raises:
            AuthenticationError: the package or the device's certificate doesn't hold.
            InvalidPackageError: it holds, and what was signed is not I-JSON.
            ContentMismatchError: it holds, and its ``event_hash`` is of something else.
        """
        content = jws.encode("utf-8", "replace")
        header = _read_header(content)
        certificate = None
        if bearer.role == Role.DEVICE:
            device = bearer
        elif bearer.role == Role.RELAY:
            certificate = self._read_certificate(header)
            device = certificate.credentials
        else:
            raise AuthenticationError("only devices and relays bring signed packages")
        signed = _check_signature(content, device)
        claims = parse_ijson(signed, max_depth=WRAPPED_DEPTH)
        signed_at, expires_at = _read_claims(claims)
        if signed_at > now + LEEWAY:
            raise AuthenticationError("the signed package is from the future", _EXPIRED)
        if certificate is None:
            if now >= expires_at:
                raise AuthenticationError("the signed package is out of date", _EXPIRED)
        else:
            if now - signed_at > self._forwarded_max_age:
                raise AuthenticationError("the signed package was forwarded too late", _EXPIRED)
            _require_valid(certificate, signed_at)
        check_event_hash(signed.decode(), claims)
        return SignedPackage(signed, device)

    def _read_certificate(self, header: Mapping[str, Any]) -> Certificate:
        token = header.get(CERTIFICATE_HEADER)
        if not isinstance(token, str) or not token:
            raise AuthenticationError(
                f"a package from a relay has the device's certificate in {CERTIFICATE_HEADER}",
                _NO_CERTIFICATE,
            )
        try:
            certificate = self._certificates.read(token)
        except TokenError as ex:
            raise _refused_certificate(str(ex)) from ex
        if certificate.credentials.role is not Role.DEVICE:
            raise _refused_certificate("it is not a device's")
        return certificate


def _read_header(jws: bytes) -> Mapping[str, Any]:
    try:
        header = protected_header(jws)
    except ValueError as ex:
        raise AuthenticationError(
            "the signed package is refused: not a compact JWS without extensions", _SIGNATURE
        ) from ex
    jwk = header.get("jwk")
    if isinstance(jwk, Mapping) and _PRIVATE_MEMBERS & jwk.keys():
        # it would be kept with the package, and given out with the evidence
        raise AuthenticationError(
            "the signed package is refused: its header holds a private key, which is nobody "
            "else's to see; make a new pair",
            _SIGNATURE,
        )
    if str(header.get("typ", "JWT")).upper() != "JWT":
        raise AuthenticationError("the signed package is refused: its typ is not JWT", _SIGNATURE)
    return header


def _check_signature(jws: bytes, device: Credentials) -> bytes:
    if device.public_key is None:
        raise _refused_certificate("it binds no key")
    if device.public_key.get("kty") != "EC":
        raise _refused_certificate("it binds no key that signs packages")
    try:
        return signed_content(jws, device.public_key)
    except ValueError as ex:
        raise AuthenticationError(
            "the signed package is refused: altered, or not signed with ES256 by the key in the "
            "device's certificate",
            _SIGNATURE,
        ) from ex


def _read_claims(claims: Any) -> tuple[datetime, datetime]:
    """Return when a package was signed, and until when the device itself may send it."""
    try:
        members = require_object("the claims", claims)
        require(members, aud="event_server", iss="event_client", sub="event_submission")
        return moment(members, "iat"), moment(members, "exp")
    except TokenError as ex:
        raise AuthenticationError(f"the signed package is refused: {ex}", _SIGNATURE) from ex


def _require_valid(certificate: Certificate, signed_at: datetime) -> None:
    try:
        certificate.require_valid(signed_at, LEEWAY)
    except TokenError as ex:
        raise _refused_certificate(f"{ex} when the package was signed") from ex


def _refused_certificate(why: str) -> AuthenticationError:
    return AuthenticationError(f"the device's certificate is refused: {why}", _CERTIFICATE)
