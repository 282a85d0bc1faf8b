"""An event that the demo sent, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eventserver_core.demo.client import Receipt
from eventserver_core.domain.package import Statement


@dataclass(slots=True)
class SentEvent:
    """An event on its way.

    Attributes:
        name: what it is, for the table.
        how: how it was sent.
        media: the photo or video.
        statement: what its hash is made of, worked out on this side.
        receipt: what the server answered.
        verification: what ``verify`` said last.
        verdict: what a check of its proof came to.
    """

    name: str
    how: str
    media: Path
    statement: Statement
    receipt: Receipt
    verification: dict[str, Any]
    verdict: str = ""


def short(digest_hex: str) -> str:
    """Return the beginning of a hash, enough for the eye."""
    return digest_hex[:8] + "..."
