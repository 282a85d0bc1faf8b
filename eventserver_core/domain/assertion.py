"""What an admin signs with its own key: who else may be one, and that it is itself."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from eventserver_core.domain.signature import protected_header, signed_payload
from eventserver_core.errors import InvalidPackageError

AUDIENCE = "eventserver"
AUTHORIZATION_TYPE = "admin-authorization+jwt"
ASSERTION_TYPE = "admin-assertion+jwt"
_LEEWAY_SECONDS = 60


def check_assertion(
    jws: str,
    public_key: Mapping[str, Any],
    *,
    type_: str,
    expected: Mapping[str, str],
    longest: timedelta,
    now: datetime,
) -> Mapping[str, Any]:
    """Check a JWT (RFC 7519) that its author signed by ES256, and return its claims.

    Args:
        jws: the compact serialization.
        public_key: the author's EC P-256 JWK; nothing in the header chooses another one.
        type_: what ``typ`` must say (RFC 8725, section 3.11), so that one kind is never taken for
            another.
        expected: claims that must be there with just these values.
        longest: how long it may live, from ``iat`` to ``exp``.
        now: the time.

    Raises:
        ValueError: it doesn't hold; the message says why.
    """
    from joserfc.errors import JoseError
    from joserfc.jwt import JWTClaimsRegistry

    try:
        encoded = jws.encode("ascii")
        claims = signed_payload(encoded, public_key)
    except (UnicodeEncodeError, InvalidPackageError) as ex:
        raise ValueError("not a JWT with a JSON object as its claims") from ex
    if protected_header(encoded).get("typ") != type_:
        raise ValueError(f"its typ is not {type_}")
    if not isinstance(claims, dict):
        raise ValueError("its claims are no JSON object")  # noqa: TRY004 - of the caller's JSON
    wanted: Any = {name: {"essential": True, "value": value} for name, value in expected.items()}
    registry = JWTClaimsRegistry(
        now=lambda: int(now.timestamp()),
        leeway=_LEEWAY_SECONDS,
        aud={"essential": True, "value": AUDIENCE},
        iat={"essential": True},
        exp={"essential": True},
        **wanted,
    )
    try:
        registry.validate(claims)
    except (JoseError, ValueError, TypeError) as ex:
        raise ValueError(f"its claims do not hold: {ex}") from ex
    # the library takes a list that has the value in it
    if any(claims[name] != value for name, value in expected.items()):
        raise ValueError("its claims do not hold: not the values that were asked for")
    if claims["exp"] - claims["iat"] > longest.total_seconds():
        raise ValueError(f"it lives longer than the {longest} that are allowed")
    return claims
