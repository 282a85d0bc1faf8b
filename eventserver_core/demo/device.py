"""What an EventApp does: makes a key, solves a proof of work, signs packages."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from typing import Any

from joserfc import jws as jose
from joserfc.jwk import ECKey

from eventserver_core.domain.digest import sha256_hex


class Device:
    """A device with a P-256 key of its own."""

    def __init__(self) -> None:
        self._key = ECKey.generate_key("P-256", private=True)
        self.public_key: dict[str, Any] = dict(self._key.as_dict(private=False))
        self.public_key.pop("kid", None)

    def solve(self, challenge: Mapping[str, Any]) -> dict[str, Any]:
        """Solve a challenge and return the body for ``POST /api/v1/pow/verify``."""
        data, difficulty = challenge["challenge_data"].encode(), challenge["difficulty"]
        nonce, digest = next(
            (nonce, digest)
            for nonce, digest in _digests(data)
            if digest.hex().startswith("0" * difficulty)
        )
        key = json.dumps(self.public_key, separators=(",", ":")).encode()
        return {
            "solution": {
                "challenge_id": challenge["challenge_id"],
                "nonce": nonce,
                "hash": base64.b64encode(digest).decode(),
            },
            "public_key": base64.b64encode(key).decode(),
            "relay_id": f"device_{int(time.time() * 1000)}",
        }

    def sign(
        self,
        package: Mapping[str, Any],
        *,
        certificate: str | None = None,
        issued_at: int | None = None,
        **claims: Any,
    ) -> str:
        """Sign a package and return the compact JWS.

        Args:
            package: the event package.
            certificate: the device's certificate, for a relay that forwards the package.
            issued_at: seconds since 1970; now unless given.
            claims: more claims, or others.
        """
        issued_at = int(time.time()) if issued_at is None else issued_at
        header: dict[str, Any] = {"typ": "JWT", "alg": "ES256", "jwk": self.public_key}
        if certificate is not None:
            header["x-device-cert"] = certificate
        text = json.dumps(package, separators=(",", ":"), ensure_ascii=False)
        payload = {
            "sub": "event_submission",
            "aud": "event_server",
            "iss": "event_client",
            "iat": issued_at,
            "exp": issued_at + 3600,
            "payload": package,
            "event_hash": sha256_hex(text.encode()),
            **claims,
        }
        content = json.dumps(payload, separators=(",", ":"), ensure_ascii=False).encode()
        registry = jose.JWSRegistry(algorithms=["ES256"], strict_check_header=False)
        registry.max_payload_length = registry.max_header_length = 2**31
        return jose.serialize_compact(header, content, self._key, registry=registry)


def _digests(data: bytes) -> Iterator[tuple[int, bytes]]:
    for nonce in range(2**64):
        yield nonce, hashlib.sha256(data + nonce.to_bytes(8, "little")).digest()
