"""The audit trail's entries, and whether a trail was changed; checkable without a database.

Each entry has the digest of the one before it, so nothing can be changed, taken out or put in
between without changing every digest that follows. The head, which is the last digest, is anchored
with the events from time to time: from then on it can't be rewritten as a whole either.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from eventserver_core.domain.canonical import canonicalize
from eventserver_core.domain.digest import sha256_hex
from eventserver_core.domain.instant import format_rfc3339
from eventserver_core.domain.package import make_statement

SERVER_SUBJECT = "eventserver"
"""Who hands in what the server itself has to say; nobody gets a certificate for it."""
_SEQUENCE_LABEL, _DIGEST_LABEL = "audit_sequence", "audit_digest"
CHECKPOINT_LABELS = frozenset({_SEQUENCE_LABEL, _DIGEST_LABEL})
"""What only the server's own packages are annotated with."""
FIRST_PREVIOUS = "0" * 64
"""What the first entry has as the digest of the one before it."""


@dataclass(frozen=True, slots=True)
class AuditHead:
    """The last entry's number and digest; number 0 stands for a trail without entries."""

    sequence: int
    digest_hex: str


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """Something that somebody did.

    Attributes:
        sequence: 1 for the first entry, and so on without a gap.
        at: when, to the millisecond.
        actor: who, as certificates name them.
        role: ``admin``, ``relay``, ``device``, or ``operator`` for the command line and the worker.
        action: what, in the past tense: ``relay_suspended``.
        target: what it was done to, by its id.
        details: JSON that says more; never a secret.
        request_id: the HTTP request's id, where there was one.
        previous_digest_hex: the digest of the entry before.
        digest_hex: SHA-256 over the canonical form (RFC 8785) of ``document``.
    """

    sequence: int
    at: datetime
    actor: str
    role: str
    action: str
    target: str
    details: Mapping[str, Any]
    request_id: str | None
    previous_digest_hex: str
    digest_hex: str = ""

    def document(self) -> dict[str, Any]:
        """Return what the digest is made of."""
        return {
            "sequence": self.sequence,
            "at": format_rfc3339(self.at),
            "actor": self.actor,
            "role": self.role,
            "action": self.action,
            "target": self.target,
            "details": dict(self.details),
            "requestId": self.request_id,
            "previousDigest": self.previous_digest_hex,
        }

    def computed_digest_hex(self) -> str:
        """Return the digest that the entry must have."""
        return sha256_hex(canonicalize(self.document()))


def chain_faults(entries: Iterable[AuditEntry], before: AuditHead) -> Iterator[str]:
    """Say what is wrong with a run of entries.

    Args:
        entries: in the order of their numbers.
        before: the entry that the first of them must follow.
    """
    sequence, digest_hex = before.sequence, before.digest_hex
    for entry in entries:
        if entry.sequence != sequence + 1:
            yield f"entry {sequence + 1} is missing; the next one is {entry.sequence}"
        elif entry.previous_digest_hex != digest_hex:
            yield f"entry {entry.sequence} does not follow the one before it"
        if not _is_intact(entry):
            yield f"entry {entry.sequence} was changed: its digest is not that of its content"
        sequence, digest_hex = entry.sequence, entry.digest_hex


def _is_intact(entry: AuditEntry) -> bool:
    try:
        return entry.computed_digest_hex() == entry.digest_hex
    except ValueError:
        return False  # it says what canonical JSON can't


def checkpoint_package(head: AuditHead, at: datetime, event_id: str) -> dict[str, Any]:
    """Return the event package that says what the head is.

    Args:
        head: the trail's head.
        at: when the head's entry was made.
        event_id: a random UUID; one that could be guessed could be taken by somebody else first.
    """
    moment = format_rfc3339(at)
    return {
        "id": event_id,
        "version": "1.0",
        "annotations": [
            {"labelId": _SEQUENCE_LABEL, "value": head.sequence, "timestamp": moment},
            {"labelId": _DIGEST_LABEL, "value": head.digest_hex, "timestamp": moment},
        ],
        "metadata": {"createdAt": moment, "createdBy": "eventserver", "source": "api"},
    }


def checkpoint_hash(entry: AuditEntry, event_id: str) -> str:
    """Return the hash that an event has which says that an entry was the head."""
    head = AuditHead(entry.sequence, entry.digest_hex)
    return make_statement(checkpoint_package(head, entry.at, event_id), None).digest_hex
