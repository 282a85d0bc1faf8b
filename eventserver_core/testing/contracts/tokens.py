"""What devices and those who attack them send: keys, signed packages, forged tokens."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from joserfc import jws
from joserfc.jwk import ECKey

from eventserver_core.backends.auth import Challenge, Solution
from eventserver_core.domain.digest import sha256, sha256_hex

_MAX_TRIES = 5_000_000


def make_key(curve: str = "P-256") -> ECKey:
    """Make a key pair, as an EventApp does."""
    return ECKey.generate_key(curve)


def public_jwk(key: ECKey) -> dict[str, Any]:
    """Return the public members of a key."""
    return dict(key.as_dict(private=False))


def private_jwk(key: ECKey) -> dict[str, Any]:
    """Return all members of a key, the secret one too."""
    return dict(key.as_dict(private=True))


def solve(challenge: Challenge, *, zeros: int | None = None) -> Solution:
    """Do a proof of work.

    Args:
        challenge: what was asked for.
        zeros: how many zero hex digits the digest begins with, exactly; by default what the
            challenge asks for, or more.
    """
    for nonce in range(_MAX_TRIES):
        solution = attempt(challenge, nonce)
        found = 64 - len(solution.digest.hex().lstrip("0"))
        if found == zeros or (zeros is None and found >= challenge.difficulty):
            return solution
    raise ValueError(f"no solution in {_MAX_TRIES} tries; set a lower difficulty for the suite")


def attempt(challenge: Challenge, nonce: int) -> Solution:
    """Return what one nonce comes to, whether it is a solution or not."""
    content = challenge.challenge_data.encode() + nonce.to_bytes(8, "little")
    return Solution(challenge.challenge_id, nonce, sha256(content))


def package_claims(signed_at: datetime, **changes: Any) -> dict[str, Any]:
    """Return what an EventApp signs: a package and, for an hour, the right to send it."""
    payload = {
        "id": "550e8400-e29b-41d4-a716-446655440000",
        "version": "1.0",
        "annotations": [{"labelId": "category", "value": "Music"}],
    }
    issued = int(signed_at.timestamp())
    return {
        "sub": "event_submission",
        "aud": "event_server",
        "iss": "event_client",
        "iat": issued,
        "exp": issued + int(timedelta(hours=1).total_seconds()),
        "payload": payload,
        "event_hash": sha256_hex(_json(payload)),
    } | changes


def sign_package(key: ECKey, claims: Mapping[str, Any], **header: Any) -> str:
    """Sign claims as an EventApp does (compact JWS, ES256).

    Args:
        key: what to sign with.
        claims: what to sign.
        header: members to add to the header or to put in the place of the usual ones; a name is
            written with a hyphen for each underscore.
    """
    members = {"typ": "JWT", "alg": "ES256", "jwk": public_jwk(key)}
    members |= {name.replace("_", "-"): value for name, value in header.items()}
    registry = jws.JWSRegistry(algorithms=["ES256"], strict_check_header=False)
    return jws.serialize_compact(members, _json(claims), key, registry=registry)


def forge(header: Mapping[str, Any], payload: bytes, secret: bytes | None = None) -> str:
    """Write a token that nobody should believe.

    Args:
        header: whatever it claims of itself.
        payload: what it claims.
        secret: makes an HMAC-SHA-256 for a signature; without one the signature is empty.
    """
    signed = f"{b64url(_json(header))}.{b64url(payload)}"
    signature = hmac.digest(secret, signed.encode(), hashlib.sha256) if secret is not None else b""
    return f"{signed}.{b64url(signature)}"


def altered(token: str) -> Iterator[str]:
    """Return versions of a token that each differ from it a little.

    The last character of a part is left as it is: of its bits some carry nothing.
    """
    start = 0
    for part in token.split("."):
        for index in {0, len(part) // 3, len(part) // 2} if len(part) > 1 else ():
            at = start + index
            other = "B" if token[at] == "A" else "A"
            yield token[:at] + other + token[at + 1 :]
        start += len(part) + 1
    yield token[: len(token) // 2]
    yield token + "A" * 4
    yield token + "." + token
    yield "." + token


def payload_of(token: str) -> bytes:
    """Return what stands between a token's dots, or of what an attacker would put there."""
    parts = token.split(".")
    try:
        return base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4))
    except (IndexError, ValueError):
        return b"{}"


def b64url(content: bytes) -> str:
    """Write base64url without padding (RFC 7515, section 2)."""
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
