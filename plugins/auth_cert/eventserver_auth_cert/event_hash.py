"""The claim ``event_hash``: what the app itself says that its package hashes to."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from eventserver_core.domain.canonical import canonicalize
from eventserver_core.domain.digest import sha256_hex
from eventserver_core.errors import ContentMismatchError, Fault

CLAIM: Final = "event_hash"
_PAYLOAD: Final = "payload"

_SPACE = re.compile(r"[ \t\r\n]*")


def check_event_hash(content: str, claims: Mapping[str, Any]) -> None:
    """Compare the claim with the package beside it; without either there is nothing to compare.

    It is the hex SHA-256 of ``JSON.stringify(payload)``. Most apps write the claims with that same
    function, so the text is there as it was hashed; a library that writes them its own way leaves
    it to be written again.

    Args:
        content: the claims as they were signed.
        claims: the same, read as I-JSON.

    Raises:
        ContentMismatchError: it is of something else.
    """
    if CLAIM not in claims or _PAYLOAD not in claims:
        return
    stated = claims[CLAIM]
    if isinstance(stated, str):
        if stated.lower() == sha256_hex(_member_text(content, _PAYLOAD).encode()):
            return
        if stated.lower() == sha256_hex(_stringify(claims[_PAYLOAD])):
            return
    raise ContentMismatchError(
        "the package is not the one that the app hashed",
        [Fault(f"/{CLAIM}", "expected the hex SHA-256 of JSON.stringify(payload)")],
    )


def _member_text(content: str, wanted: str) -> str:
    """Return a member's value as it is written; ``content`` is known to be an object with it."""
    read = json.JSONDecoder().raw_decode
    at = _skip(content, content.index("{") + 1)
    while True:
        name, at = read(content, at)
        start = _skip(content, _skip(content, at) + 1)  # over the colon
        _, end = read(content, start)
        if name == wanted:
            return content[start:end]
        at = _skip(content, _skip(content, end) + 1)  # over the comma


def _skip(content: str, at: int) -> int:
    space = _SPACE.match(content, at)
    return space.end() if space else at


def _stringify(value: Any) -> bytes:
    """Write a value as JSON.stringify does: as RFC 8785, but members stay in their order."""
    if isinstance(value, dict):
        members = (canonicalize(name) + b":" + _stringify(v) for name, v in value.items())
        return b"{" + b",".join(members) + b"}"
    if isinstance(value, list):
        return b"[" + b",".join(map(_stringify, value)) + b"]"
    return canonicalize(value)
