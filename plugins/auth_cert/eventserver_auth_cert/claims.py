"""The claims of a token, read strictly: each is there, and of its type."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from eventserver_auth_cert.tokens import TokenError
from eventserver_core.domain.instant import from_milliseconds

LAST_SECOND: Final = 253402300799
"""9999-12-31T23:59:59Z, the end of the calendar."""

_MAX_TEXT: Final = 512


def text(claims: Mapping[str, Any], name: str) -> str:
    """Return a claim that is a text of 1 to 512 characters.

    Raises:
        TokenError: it is missing, or something else.
    """
    value = claims.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= _MAX_TEXT:
        raise TokenError(f"the claim {name} is missing or not a text")
    return value


def moment(claims: Mapping[str, Any], name: str) -> datetime:
    """Return a claim that is a NumericDate (RFC 7519, section 2), cut to the millisecond.

    Raises:
        TokenError: it is missing, or something else.
    """
    value = claims.get(name)
    # The comparison also refuses what no calendar has: NaN, infinities, a thousand digits.
    if (
        not isinstance(value, int | float)
        or isinstance(value, bool)
        or not 0 <= value <= LAST_SECOND
    ):
        raise TokenError(f"the claim {name} is missing or not a time in seconds")
    return from_milliseconds(int(value * 1000))


def require(claims: Mapping[str, Any], **expected: str) -> None:
    """Demand that each named claim has exactly this text.

    Raises:
        TokenError: one hasn't.
    """
    for name, value in expected.items():
        if claims.get(name) != value:
            raise TokenError(f"the claim {name} is not the one that is expected here")


def require_object(what: str, value: object) -> dict[str, Any]:
    """Return a value that is a JSON object.

    Raises:
        TokenError: it is something else.
    """
    if not isinstance(value, dict):
        raise TokenError(f"{what}: not a JSON object")
    return value
