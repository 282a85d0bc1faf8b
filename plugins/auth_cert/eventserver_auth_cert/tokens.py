"""This server's own tokens, signed and opened by PyJWT."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from typing import Any, Final

from jwt import PyJWS
from jwt.exceptions import PyJWTError
from jwt.warnings import InsecureKeyLengthWarning

HS256: Final = "HS256"
EDDSA: Final = "EdDSA"

# short secrets are refused in production, and logged elsewhere when they are read
warnings.filterwarnings("ignore", category=InsecureKeyLengthWarning)

_JWS: Final = PyJWS(algorithms=[HS256, EDDSA])


class TokenError(Exception):
    """A token doesn't hold; the message says why, and holds no part of the token."""


class ExpiredTokenError(TokenError):
    """A token was good once."""


def sign(claims: Mapping[str, Any], key: Any, algorithm: str, header: Mapping[str, Any]) -> str:
    """Return a compact JWS (RFC 7515) over claims."""
    content = json.dumps(claims, separators=(",", ":"), allow_nan=False).encode()
    return _JWS.encode(content, key, algorithm, dict(header))


def unverified_header(token: str) -> Mapping[str, Any]:
    """Return a token's header; nobody vouches for it.

    Raises:
        TokenError: it is no compact JWS, or asks for extensions.
    """
    try:
        header = _JWS.get_unverified_header(token)
    except (PyJWTError, ValueError, TypeError, RecursionError) as ex:
        raise TokenError("not a compact JWS") from ex
    if "crit" in header or "b64" in header:
        raise TokenError("the header asks for extensions, and none is understood")
    return header


def verified_content(token: str, key: Any, algorithm: str) -> bytes:
    """Return what a token's signature covers.

    Args:
        token: a compact JWS.
        key: the one key that counts.
        algorithm: the one algorithm that this key is used with, whatever the header says.

    Raises:
        TokenError: this key didn't sign it so.
    """
    try:
        content: bytes = _JWS.decode_complete(token, key, algorithms=[algorithm])["payload"]
    except (PyJWTError, ValueError, TypeError, RecursionError) as ex:
        raise TokenError("altered, or not signed by a key that is accepted here") from ex
    return content
