"""The two statements that admins sign: for another admin's key, and for a certificate."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP256R1,
    EllipticCurvePrivateKey,
)
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from eventserver_client.keys import SigningKey, decode_base64url, encode_base64url, thumbprint

AUDIENCE = "eventserver"
_AUTHORIZATION_SECONDS = 10 * 60
_ASSERTION_SECONDS = 2 * 60


def authorize_key(
    admin_id: str, name: str, public_key: Mapping[str, Any], signing_key: SigningKey
) -> str:
    """Sign for a new admin's public key.

    Args:
        admin_id: who signs.
        name: the new admin's.
        public_key: the new admin's, as a JWK.
        signing_key: the key that the signing admin's certificate binds.

    Returns:
        A compact JWS that holds for ten minutes.

    Raises:
        ValueError: the key is not EC P-256.
    """
    claims = {"iss": admin_id, "sub": thumbprint(public_key), "name": name}
    return _sign("admin-authorization+jwt", claims, _AUTHORIZATION_SECONDS, signing_key)


def assert_admin(admin_id: str, signing_key: SigningKey) -> str:
    """Sign for a certificate of one's own.

    Returns:
        A compact JWS that holds for two minutes, and works once.

    Raises:
        ValueError: the key is not EC P-256.
    """
    claims = {"iss": admin_id, "sub": admin_id, "jti": str(uuid.uuid4())}
    return _sign("admin-assertion+jwt", claims, _ASSERTION_SECONDS, signing_key)


def subject_of(certificate: str) -> str:
    """Return whom a certificate (a JWT) names; its signature is the server's to check.

    Raises:
        ValueError: it is none.
    """
    try:
        claims = json.loads(decode_base64url(certificate.split(".")[1]))
        return str(claims["sub"])
    except (IndexError, KeyError, TypeError, ValueError) as ex:
        raise ValueError("the certificate is no JWT with a subject") from ex


def _sign(kind: str, claims: Mapping[str, Any], seconds: int, key: SigningKey) -> str:
    if not (isinstance(key, EllipticCurvePrivateKey) and isinstance(key.curve, SECP256R1)):
        # the key was read from a file: a wrong value, not a wrong program
        raise ValueError("an admin signs with an EC P-256 key, and no other")  # noqa: TRY004
    now = int(time.time())
    header = {"alg": "ES256", "typ": kind}
    claims = {**claims, "aud": AUDIENCE, "iat": now, "exp": now + seconds}
    text = ".".join(encode_base64url(json.dumps(part).encode()) for part in (header, claims))
    # RFC 7518, section 3.4: both numbers in 32 bytes, not DER
    numbers = decode_dss_signature(key.sign(text.encode(), ECDSA(hashes.SHA256())))
    signature = b"".join(number.to_bytes(32, "big") for number in numbers)
    return f"{text}.{encode_base64url(signature)}"
