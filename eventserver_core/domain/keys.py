"""Public keys as callers send them: JWKs (RFC 7517), and their thumbprints (RFC 7638)."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from eventserver_core.domain.canonical import canonicalize
from eventserver_core.domain.digest import sha256
from eventserver_core.errors import Fault, InvalidInputError

_MEMBERS: dict[tuple[object, object], tuple[str, ...]] = {
    ("EC", "P-256"): ("crv", "kty", "x", "y"),
    ("OKP", "Ed25519"): ("crv", "kty", "x"),
}
_SIZE = 32


def public_jwk(
    document: object, *, signs: bool = False, where: str = "/publicKey"
) -> dict[str, str]:
    """Return a key's own members, and nothing else of what was sent.

    Args:
        document: a JWK: EC P-256, or Ed25519.
        signs: whether only a P-256 key will do, which signs by ES256.
        where: the JSON pointer that faults have.

    Raises:
        InvalidInputError: it is no such key, is not on its curve, or has a private part.
    """
    from joserfc.errors import JoseError
    from joserfc.jwk import ECKey, OKPKey

    def refuse(detail: str) -> InvalidInputError:
        return InvalidInputError("the public key cannot be used", [Fault(where, detail)])

    if not isinstance(document, Mapping):
        raise refuse("not a JWK, a JSON object (RFC 7517)")
    if "d" in document:
        raise refuse("has a private part, which is nobody else's business: make another key")
    kind = (document.get("kty"), document.get("crv"))
    members = _MEMBERS.get(kind) if all(isinstance(part, str) for part in kind) else None
    if members is None or (signs and kind[0] != "EC"):
        raise refuse("not an EC P-256 key" if signs else "neither an EC P-256 nor an Ed25519 key")
    key = {name: document.get(name) for name in members}
    try:
        imported: Any = (ECKey if kind[0] == "EC" else OKPKey).import_key(key)  # type: ignore[arg-type]
        point = imported.public_key  # only now is it looked for on its curve
    except (JoseError, ValueError, TypeError, KeyError, AttributeError) as ex:
        raise refuse("its coordinates are not those of a key on its curve") from ex
    if kind[0] == "OKP":
        return {"crv": "Ed25519", "kty": "OKP", "x": _text(point.public_bytes_raw())}
    # the library takes leading zeros, and coordinates modulo the field's prime: only what it reads
    # back is the same for the same key
    numbers = point.public_numbers()
    x, y = (_text(number.to_bytes(_SIZE)) for number in (numbers.x, numbers.y))
    return {"crv": "P-256", "kty": "EC", "x": x, "y": y}


def thumbprint(jwk: Mapping[str, Any]) -> str:
    """Return a key's thumbprint (RFC 7638, SHA-256) as base64url without padding."""
    required = _MEMBERS[jwk["kty"], jwk["crv"]]
    return _text(sha256(canonicalize({name: jwk[name] for name in required})))


def _text(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
