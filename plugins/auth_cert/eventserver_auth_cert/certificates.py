"""Certificates: who somebody is, said by a token that every instance can check."""

from __future__ import annotations

import math
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, Final, NoReturn

from eventserver_auth_cert.claims import LAST_SECOND, moment, require, text
from eventserver_auth_cert.jwk import public_jwk
from eventserver_auth_cert.keys import KeyRing
from eventserver_auth_cert.tokens import ExpiredTokenError, TokenError
from eventserver_core.backends.auth import Credentials, IssuedCertificate, Role
from eventserver_core.domain.instant import from_milliseconds
from eventserver_core.errors import AuthenticationError, InvalidInputError

LEEWAY: Final = timedelta(seconds=5)
"""How far the clocks of two instances may differ, for a certificate that was made just now."""

_MAX_SUBJECT: Final = 255
_REMEMBERED: Final = 4096
"""How many certificates are not read anew each time; only what holds is remembered."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate whose signature holds; whether it is in date is another question.

    Attributes:
        credentials: whom it names.
        not_before: when it begins.
    """

    credentials: Credentials
    not_before: datetime

    def require_valid(self, at: datetime, leeway: timedelta = LEEWAY) -> None:
        """Demand that the certificate holds at a moment.

        Args:
            at: the moment.
            leeway: how much earlier than its beginning it is taken; it ends exactly.

        Raises:
            TokenError: it doesn't.
        """
        if at >= self.credentials.expires_at:
            raise ExpiredTokenError("out of date")
        if at + leeway < self.not_before:
            raise TokenError("not valid yet")


class Certificates:
    """Makes certificates, and reads them.

    Args:
        keys: what they are signed with.
        issuer: the claim ``iss``.
        audience: the claim ``aud``.
    """

    def __init__(self, keys: KeyRing, issuer: str, audience: str) -> None:
        self._keys = keys
        self._issuer = issuer
        self._audience = audience
        self._remembered = lru_cache(_REMEMBERED)(self._read)

    def issue(
        self, subject: str, role: Role, lifetime: timedelta, public_key: object, now: datetime
    ) -> IssuedCertificate:
        """Make a certificate; a lifetime of nothing or less gives one that is out of date.

        Raises:
            InvalidInputError: the subject, the lifetime or the key can't be put in one.
        """
        if not 0 < len(subject) <= _MAX_SUBJECT or not subject.isprintable():
            raise InvalidInputError(
                f"the subject is not a text of 1 to {_MAX_SUBJECT} printable characters"
            )
        issued = int(now.timestamp())
        expires = issued + math.ceil(lifetime.total_seconds())
        if not 0 <= expires <= LAST_SECOND:
            raise InvalidInputError("the certificate would end beyond the calendar")
        key = None if public_key is None else public_jwk(public_key)
        if key is not None and role == Role.DEVICE and key["kty"] != "EC":
            raise InvalidInputError("a device's public key is one of the curve P-256")
        claims: dict[str, Any] = {
            "iss": self._issuer,
            "aud": self._audience,
            "sub": subject,
            "role": Role(role).value,
            "jti": uuid.uuid4().hex,
            "iat": issued,
            "exp": expires,
        }
        if key is not None:
            claims["cnf"] = {"jwk": key}
        credentials = Credentials(
            subject=subject,
            role=Role(role),
            certificate_id=claims["jti"],
            issued_at=from_milliseconds(issued * 1000),
            expires_at=from_milliseconds(expires * 1000),
            public_key=key,
        )
        return IssuedCertificate(self._keys.sign(claims), credentials)

    def read(self, token: str) -> Certificate:
        """Read a certificate that was signed here; its dates are not checked.

        Raises:
            TokenError: it is none of ours.
        """
        return self._remembered(token)

    def _read(self, token: str) -> Certificate:
        claims = self._keys.open(token)
        require(claims, iss=self._issuer, aud=self._audience)
        role = text(claims, "role")
        if role not in list(Role):
            raise TokenError("the claim role names none")
        issued_at = moment(claims, "iat")
        credentials = Credentials(
            subject=text(claims, "sub"),
            role=Role(role),
            certificate_id=text(claims, "jti"),
            issued_at=issued_at,
            expires_at=moment(claims, "exp"),
            public_key=_bound_key(claims, Role(role)),
        )
        begins = max(issued_at, moment(claims, "nbf")) if "nbf" in claims else issued_at
        return Certificate(credentials, begins)

    def authenticate(self, token: str, now: datetime) -> Credentials:
        """Return whom a certificate names that holds now.

        Raises:
            AuthenticationError: with the code ``certificate_expired`` or ``certificate_invalid``.
        """
        try:
            certificate = self.read(token)
            certificate.require_valid(now)
        except TokenError as ex:
            _refuse(ex)
        return certificate.credentials


def _bound_key(claims: dict[str, Any], role: Role) -> dict[str, str] | None:
    if "cnf" not in claims:
        return None
    confirmation = claims["cnf"]
    try:
        key = public_jwk(confirmation.get("jwk") if isinstance(confirmation, dict) else None)
    except InvalidInputError as ex:
        raise TokenError("the claim cnf holds no key") from ex
    if role is Role.DEVICE and key["kty"] != "EC":
        raise TokenError("the claim cnf holds no key that a device signs with")
    return key


def _refuse(ex: TokenError) -> NoReturn:
    code = "certificate_expired" if isinstance(ex, ExpiredTokenError) else "certificate_invalid"
    raise AuthenticationError(f"the certificate is refused: {ex}", code) from ex
