"""Public keys that certificates bind: JWKs (RFC 7517) in one form, public members only."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePublicKey,
    EllipticCurvePublicNumbers,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from jwt.utils import base64url_encode

from eventserver_core.domain.canonical import canonicalize, parse_ijson
from eventserver_core.domain.digest import sha256
from eventserver_core.errors import InvalidInputError, InvalidPackageError

_SIZE: Final = 32
_MAX_JSON: Final = 8192
_COORDINATE = re.compile(r"[A-Za-z0-9_-]{1,256}={0,2}\Z", re.ASCII)


def public_jwk(jwk: object) -> dict[str, str]:
    """Return the public members of a key that signs, each in its one form.

    Whatever else the JWK holds, a private part too, is left behind.

    Raises:
        InvalidInputError: it is no EC P-256 or Ed25519 key, or not a point on its curve.
    """
    if isinstance(jwk, Mapping):
        kind = (jwk.get("kty"), jwk.get("crv"))
        if kind == ("EC", "P-256"):
            return _p256(jwk)
        if kind == ("OKP", "Ed25519"):
            return _ed25519(jwk)
    raise InvalidInputError("the public key is not a JWK of the curve P-256 or Ed25519")


def parse_device_jwk(content: bytes) -> dict[str, str]:
    """Read the key that a device sent; what browsers add when they export one is left behind.

    Args:
        content: JSON text of an EC P-256 JWK.

    Raises:
        InvalidInputError: it is no such key, or it has a private part.
    """
    if len(content) > _MAX_JSON:
        raise InvalidInputError(f"the public key is longer than {_MAX_JSON} bytes")
    try:
        jwk = parse_ijson(content)
    except InvalidPackageError as ex:
        raise InvalidInputError("the public key is not JSON") from ex
    if isinstance(jwk, dict) and "d" in jwk:
        raise InvalidInputError(
            "the public key has a private part, which is nobody else's to see; make a new pair"
        )
    public = public_jwk(jwk)
    if public["kty"] != "EC":
        raise InvalidInputError("the public key is not a JWK of the curve P-256")
    return public


def load_p256(jwk: Mapping[str, Any]) -> EllipticCurvePublicKey:
    """Return a P-256 key as ES256 takes it.

    Raises:
        InvalidInputError: the coordinates are none, or not a point on the curve.
    """
    try:
        numbers = EllipticCurvePublicNumbers(_number(jwk, "x"), _number(jwk, "y"), SECP256R1())
        return numbers.public_key()
    except ValueError as ex:
        raise InvalidInputError("the public key is not a point on the curve P-256") from ex


def ed25519_jwk(key: Ed25519PrivateKey | Ed25519PublicKey) -> dict[str, str]:
    """Write the public half of a key as a JWK (RFC 8037)."""
    public = key.public_key() if isinstance(key, Ed25519PrivateKey) else key
    return {"kty": "OKP", "crv": "Ed25519", "x": _text(public.public_bytes_raw())}


def thumbprint(jwk: Mapping[str, str]) -> str:
    """Return the thumbprint (RFC 7638, SHA-256) of what ``public_jwk`` made, as base64url."""
    return _text(sha256(canonicalize(dict(jwk))))


def _p256(jwk: Mapping[str, Any]) -> dict[str, str]:
    # The library takes a coordinate modulo the field's prime, so x and x + p load as one point:
    # only what it reads back is the same for the same key.
    point = load_p256(jwk).public_numbers()
    x, y = (_text(number.to_bytes(_SIZE)) for number in (point.x, point.y))
    return {"kty": "EC", "crv": "P-256", "x": x, "y": y}


def _ed25519(jwk: Mapping[str, Any]) -> dict[str, str]:
    content = _bytes(jwk, "x")
    if len(content) != _SIZE:
        raise InvalidInputError("the public key is not one of the curve Ed25519")
    return {"kty": "OKP", "crv": "Ed25519", "x": _text(content)}


def _number(jwk: Mapping[str, Any], name: str) -> int:
    """Read a coordinate, with or without leading zeros: some writers drop them, some add one."""
    number = int.from_bytes(_bytes(jwk, name))
    if number.bit_length() > 8 * _SIZE:
        raise InvalidInputError(f"the public key's {name} is longer than the curve P-256 has it")
    return number


def _bytes(jwk: Mapping[str, Any], name: str) -> bytes:
    value = jwk.get(name)
    if isinstance(value, str) and _COORDINATE.match(value):
        digits = value.rstrip("=")
        try:
            return base64.urlsafe_b64decode(digits + "=" * (-len(digits) % 4))
        except binascii.Error:
            pass
    raise InvalidInputError(f"the public key's {name} is not base64url")


def _text(content: bytes) -> str:
    return base64url_encode(content).decode()
