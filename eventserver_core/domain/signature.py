"""Whether a signed package (a compact JWS, ES256) was signed by a key, and what it says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from eventserver_core.domain.canonical import WRAPPED_DEPTH, parse_ijson

if TYPE_CHECKING:
    from joserfc.jwk import ECKey
    from joserfc.jws import CompactSignature, JWSRegistry

ALGORITHM = "ES256"
MAX_HEADER_SIZE = 32 * 1024
"""Bytes of base64url: a key and a certificate take a tenth of it."""


def protected_header(jws: bytes) -> Mapping[str, Any]:
    """Return a JWS's header; nobody vouches for it until the signature was checked.

    Raises:
        ValueError: it is no compact JWS, or asks for extensions.
    """
    return _extract(jws, _registry(jws)).headers()


def signed_content(jws: bytes, public_key: Mapping[str, Any]) -> bytes:
    """Check a JWS (RFC 7515) and return what was signed.

    Only the given key counts: nothing in the header chooses a key or an algorithm.

    Args:
        jws: the compact serialization.
        public_key: an EC P-256 JWK (RFC 7517).

    Raises:
        ValueError: the signature doesn't hold, or the parts are not what they should be.
    """
    from joserfc import jws as jose
    from joserfc.errors import JoseError

    registry = _registry(jws)
    parsed = _extract(jws, registry)
    try:
        holds = jose.validate_compact(parsed, _p256_key(public_key), registry=registry)
    except (JoseError, ValueError, KeyError, TypeError) as ex:
        raise ValueError(f"the signature does not hold: {ex}") from ex
    if not holds:
        raise ValueError("the signature does not hold")
    return parsed.payload


def signed_payload(jws: bytes, public_key: Mapping[str, Any]) -> Any:
    """Check a JWS and return what was signed as JSON; see ``signed_content``.

    Raises:
        ValueError: the signature doesn't hold, or the parts are not what they should be.
        InvalidPackageError: the payload is not I-JSON.
    """
    return parse_ijson(signed_content(jws, public_key), max_depth=WRAPPED_DEPTH)


def _registry(jws: bytes) -> JWSRegistry:
    from joserfc.jws import JWSRegistry  # loaded only where a package was signed

    registry = JWSRegistry(algorithms=[ALGORITHM], strict_check_header=False)
    registry.header_registry = {}  # whatever else the header says counts for nothing
    registry.max_payload_length = registry.max_header_length = len(jws)
    registry.max_signature_length = 1024
    return registry


def _extract(jws: bytes, registry: JWSRegistry) -> CompactSignature:
    from joserfc.errors import JoseError
    from joserfc.jws import extract_compact

    # before anything is decoded: a header is JSON that nobody has signed for yet
    if jws.count(b".") != 2 or jws.index(b".") > MAX_HEADER_SIZE:
        raise ValueError("the signature does not hold: no compact JWS, or a header too large")
    try:
        parsed = extract_compact(jws, registry=registry)
        header = parsed.headers()
    except (JoseError, ValueError, KeyError, TypeError, RecursionError) as ex:
        raise ValueError(f"the signature does not hold: {ex}") from ex
    if not isinstance(header, dict):  # the library takes a list or a text that holds "alg"
        raise ValueError("the signature does not hold: its header is no JSON object")  # noqa: TRY004
    # Extensions change what the bytes mean: b64 (RFC 7797) even which of them were signed.
    if "crit" in header or "b64" in header:
        raise ValueError("the signature does not hold: its header asks for extensions")
    return parsed


def _p256_key(jwk: Mapping[str, Any]) -> ECKey:
    from joserfc.jwk import ECKey

    # the library does not look at kty where it is asked for an elliptic curve's key
    if (jwk["kty"], jwk["crv"]) != ("EC", "P-256"):
        raise ValueError("the key is not an EC P-256 key")
    return ECKey.import_key({name: jwk[name] for name in ("kty", "crv", "x", "y")})
