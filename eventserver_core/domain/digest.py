"""SHA-256, as bytes (``digest``) and as lower-case hex (``digest_hex``)."""

from __future__ import annotations

import hashlib
import re

DIGEST_SIZE = 32
_HEX = re.compile(r"[0-9a-f]{64}\Z")


def sha256(content: bytes) -> bytes:
    """Return the 32 bytes of SHA-256 (FIPS 180-4)."""
    return hashlib.sha256(content).digest()


def sha256_hex(content: bytes) -> str:
    """Return SHA-256 as 64 lower-case hex digits."""
    return hashlib.sha256(content).hexdigest()


def is_digest_hex(text: object) -> bool:
    """Tell whether ``text`` is 64 lower-case hex digits."""
    return isinstance(text, str) and _HEX.match(text) is not None
