"""The row that an envelope says its event has: what ingest wrote, and what can be made again."""

from __future__ import annotations

import json
from collections.abc import Set

from eventserver_core.backends.auth import Role
from eventserver_core.db.event_rows import NewEvent
from eventserver_core.domain.audit import CHECKPOINT_LABELS, SERVER_SUBJECT
from eventserver_core.domain.canonical import canonicalize
from eventserver_core.domain.digest import sha256_hex
from eventserver_core.domain.envelope import MEDIA_PREFIX, Envelope
from eventserver_core.domain.package import check_package
from eventserver_core.services.signed_packages import is_in_pack


def row_of(
    envelope: Envelope, *, pack_key: str, offset: int, length: int, location: str
) -> NewEvent:
    """Return an event's row.

    Args:
        envelope: what is kept of it.
        pack_key: the pack that has it.
        offset: where in it.
        length: how many bytes.
        location: where the pack is, for people, as the receipt names it.

    Raises:
        InvalidPackageError: the statement is no event package.
        ValueError: the envelope does not agree with itself.
    """
    digest_hex = sha256_hex(canonicalize(envelope.statement))
    if digest_hex != envelope.digest_hex:
        raise ValueError("the statement has another hash than its envelope says")
    parsed = check_package(envelope.statement)
    _check_submitter(envelope, {annotation.label_id for annotation in parsed.model.annotations})
    media, signature = parsed.model.media, envelope.signature
    if envelope.media_key != (MEDIA_PREFIX + str(media.sha256) if media else None):
        raise ValueError("the envelope names other media than the statement")
    device = envelope.submitted_by if envelope.submitter_role == Role.DEVICE.value else None
    return NewEvent(
        digest_hex=digest_hex,
        event_id=parsed.event_id,
        received_at=envelope.received_at,
        submitted_by=envelope.submitted_by,
        device=signature.signer if signature else device,
        pack_key=pack_key,
        pack_offset=offset,
        pack_length=length,
        storage_location=location,
        media_key=envelope.media_key,
        media_type=media.type if media else None,
        media_size=media.size if media else None,
        # without an object of its own it is where the envelope is
        signed_package_key=(signature.object_key or pack_key) if signature else None,
        public_key=json.dumps(dict(signature.public_key)) if signature else None,
    )


def _check_submitter(envelope: Envelope, labels: Set[str]) -> None:
    """Hold an envelope to what ingest lets whom bring."""
    if envelope.submitted_by == SERVER_SUBJECT:
        if labels != CHECKPOINT_LABELS:
            raise ValueError("the server itself is said to have brought what is no checkpoint")
        return
    if envelope.submitter_role not in (Role.RELAY, Role.DEVICE):
        raise ValueError(f"a {envelope.submitter_role!r:.40} is said to have brought it")
    if labels & CHECKPOINT_LABELS:
        raise ValueError("it speaks for the server, and somebody else brought it")


def takes_signature(row: NewEvent, line: NewEvent) -> bool:
    """Tell whether an event is without a signature and this line of a pack has one for it.

    The rule is the one of ingest: only from whoever sent the event, the first one stays. A signed
    package in an envelope is the signature of the row that leads there, and of no other.
    """
    return (
        line.signed_package_key is not None
        and not is_in_pack(line.signed_package_key)
        and row.signed_package_key is None
        and row.submitted_by == line.submitted_by
        and row.device in (None, line.device)
    )
