"""Gives out what is kept of an event: its record, and the evidence package (a ZIP).

What comes from storage is checked against the row before it is given out; what doesn't agree is
given out all the same, it may be all there is, but never silently.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from eventserver_core.backends.auth import Credentials, Role
from eventserver_core.backends.storage import RetainsObjects, StorageBackend
from eventserver_core.db.events import EventRecord
from eventserver_core.domain.canonical import canonicalize
from eventserver_core.domain.digest import sha256_hex
from eventserver_core.domain.envelope import Envelope, parse_envelope
from eventserver_core.domain.evidence import (
    EVENT_FILE,
    MEDIA_STEM,
    PROOF_FILE,
    PUBLIC_KEY_FILE,
    SIGNED_PACKAGE_FILE,
    check_signature,
)
from eventserver_core.domain.instant import format_rfc3339
from eventserver_core.domain.media import EXTENSIONS
from eventserver_core.domain.proof import Outcome
from eventserver_core.errors import (
    EvidenceDamagedError,
    InvalidPackageError,
    ObjectNotFoundError,
    PermissionDeniedError,
)
from eventserver_core.log import get_logger
from eventserver_core.services.signed_packages import (
    is_changed,
    is_in_pack,
    read_signed_package,
)
from eventserver_core.services.verification import Verifications

README_FILE = "README.txt"
WARNING_FILE = "WARNING.txt"

_log = get_logger()

_README = """\
Evidence package of event {event_id}

  {event:<20} the statement: what was recorded, in canonical form (RFC 8785)
{files}
  {proof:<20} the proof that the statement's hash is anchored on a blockchain

How to check it

With EventServer:  eventserver verify {name}

By hand, with nothing of EventServer's:

1. SHA-256 of {event} is the event hash:      sha256sum {event}
     {digest}
   A signed package may hold the certificate of the device that signed it, which lets its bearer
   send events for the hours that it lives: pass it on with care.
2. The media's SHA-256 stands in the statement under media.sha256.
3. The event hash leads through the Merkle path in {proof} to the root (RFC 9162,
   section 2.1.3.2; leaf = SHA-256(0x00 || hash), node = SHA-256(0x01 || left || right)).
4. The root is in the transaction that {proof} names: look it up in any block explorer or
   at any node of that chain. A proof whose chain is "ledger" shows what this server said, and
   nothing more.

The whole format, with code to check it: docs/proof-format.md in EventServer's documentation.
"""


@dataclass(frozen=True, slots=True)
class Damage:
    """Something in storage that is not what was stored."""

    part: str
    detail: str


class EvidenceArchive:
    """Reads what is kept of events.

    Args:
        storage: where the bytes are.
        verifications: finds rows and makes proofs.
    """

    def __init__(self, storage: StorageBackend, verifications: Verifications) -> None:
        self._storage = storage
        self._verifications = verifications

    def find(self, digest_hex: str, reader: Credentials) -> EventRecord:
        """Return an event's row, to whoever may see the event.

        Raises:
            NotFoundError: there is none.
            PermissionDeniedError: it is somebody else's.
        """
        event = self._verifications.event(digest_hex)
        owners = {event.submitted_by, event.device}
        if reader.role is not Role.ADMIN and reader.subject not in owners:
            raise PermissionDeniedError("this event was sent by somebody else")
        return event

    def record(self, event: EventRecord) -> dict[str, Any]:
        """Return what is recorded of an event."""
        envelope = self._envelope(event)
        return {
            "eventId": event.event_id,
            "hash": event.digest_hex,
            "status": event.status,
            "processedAt": format_rfc3339(event.received_at),
            "storageLocation": event.storage_location,
            "submittedBy": {"subject": envelope.submitted_by, "role": envelope.submitter_role},
            "device": event.device,
            "signed": event.signed_package_key is not None,
            "lostAnchors": [
                {
                    "transactionHash": loss.anchor.transaction_hash,
                    "blockNumber": loss.anchor.block_number,
                    "blockHash": loss.anchor.block_hash,
                    "lostAt": format_rfc3339(loss.lost_at),
                }
                for loss in self._verifications.lost_anchors(event)
            ],
            "retainedUntil": self._retained_until(event),
            "event": envelope.statement,
        }

    def _retained_until(self, event: EventRecord) -> str | None:
        """Return until when storage keeps what there is of an event from being deleted."""
        if not isinstance(self._storage, RetainsObjects):
            return None
        moments = []
        for key in filter(None, (event.pack_key, event.media_key, event.signed_package_key)):
            try:
                moment = self._storage.retained_until(key)
            except ObjectNotFoundError:
                moment = None
            if moment is None:
                return None  # one object without a lock leaves the event without one
            moments.append(moment)
        return format_rfc3339(min(moments))

    def package(self, event: EventRecord) -> Iterator[bytes]:
        """Return an event's evidence package as a ZIP, in chunks; memory stays flat.

        Everything is looked up and checked before the first chunk.

        Raises:
            BackendUnavailableError: storage or database are away.
            EvidenceDamagedError: the statement itself is no longer what was stored.
        """
        envelope = self._envelope(event)
        statement = canonicalize(envelope.statement)
        proof = self._verifications.proof_or_pending(event)
        files: dict[str, bytes] = {EVENT_FILE: statement}
        described: list[str] = []
        damage: list[Damage] = []
        media_name = None
        if event.media_key is not None and event.media_type is not None:
            media_name = MEDIA_STEM + EXTENSIONS[event.media_type]
            damage += self._media_damage(event.media_key, media_name)
            if any(found.detail == _MISSING for found in damage):
                media_name = None
            else:
                described.append(f"  {media_name:<20} the media, {event.media_type}")
        if event.signed_package_key is not None:
            try:
                jws = read_signed_package(self._storage, event.signed_package_key, envelope)
            except ObjectNotFoundError:
                damage.append(Damage(SIGNED_PACKAGE_FILE, _MISSING))
            else:
                files[SIGNED_PACKAGE_FILE] = jws
                described.append(f"  {SIGNED_PACKAGE_FILE:<20} the package as its author signed it")
                if _is_altered(event, jws, envelope):
                    damage.append(Damage(SIGNED_PACKAGE_FILE, _CHANGED))
            files[PUBLIC_KEY_FILE] = (event.public_key or "{}").encode()
            described.append(f"  {PUBLIC_KEY_FILE:<20} the key it was signed with (JWK)")
        files[PROOF_FILE] = json.dumps(proof, indent=2).encode()
        files[README_FILE] = _README.format(
            event_id=event.event_id,
            name=package_name(event),
            event=EVENT_FILE,
            proof=PROOF_FILE,
            files="\n".join(described),
            digest=event.digest_hex,
        ).encode()
        if damage:
            _log.error(
                "evidence_altered", event_hash=event.digest_hex, parts=[d.part for d in damage]
            )
            lines = [f"{found.part}: {found.detail}" for found in damage]
            files[WARNING_FILE] = "\n".join(["THIS EVIDENCE IS DAMAGED", *lines, ""]).encode()
        media = self._storage.read(event.media_key) if media_name and event.media_key else None
        return _zip(files, media_name, media)

    def _envelope(self, event: EventRecord) -> Envelope:
        where = f"pack {event.pack_key} at {event.pack_offset}"
        try:
            line = b"".join(
                self._storage.read(event.pack_key, event.pack_offset, event.pack_length)
            )
            envelope = parse_envelope(line)
            digest_hex = sha256_hex(canonicalize(envelope.statement))
        except (ObjectNotFoundError, InvalidPackageError, ValueError) as ex:
            _log.error("evidence_altered", event_hash=event.digest_hex, parts=[where])
            raise EvidenceDamagedError(_DAMAGED) from ex
        kept = (envelope.digest_hex, envelope.submitted_by, envelope.received_at)
        stored = (event.digest_hex, event.submitted_by, event.received_at)
        if digest_hex != event.digest_hex or kept != stored:
            _log.error("evidence_altered", event_hash=event.digest_hex, parts=[where])
            raise EvidenceDamagedError(_DAMAGED)
        return envelope

    def _media_damage(self, key: str, name: str) -> Iterator[Damage]:
        hasher = hashlib.sha256()
        try:
            for chunk in self._storage.read(key):
                hasher.update(chunk)
        except ObjectNotFoundError:
            yield Damage(name, _MISSING)
            return
        if not key.endswith(hasher.hexdigest()):
            yield Damage(name, _CHANGED)


def _is_altered(event: EventRecord, jws: bytes, envelope: Envelope) -> bool:
    key = event.signed_package_key or ""
    if not is_in_pack(key):
        return is_changed(key, jws)
    # no key has its digest: it is told by what it signs
    step = check_signature(envelope.statement, jws, (event.public_key or "{}").encode())
    return step.outcome is not Outcome.PASSED


_DAMAGED = (
    "what is kept of this event was changed or lost after it was stored; its operator must restore "
    "it from a copy"
)
_MISSING = "missing from storage"
_CHANGED = "changed after it was stored"


def package_name(event: EventRecord) -> str:
    """Return the file name that an evidence package is offered under."""
    return f"event-{event.event_id}.zip"


def _zip(
    files: dict[str, bytes], media_name: str | None, media: Iterator[bytes] | None
) -> Iterator[bytes]:
    sink = _Sink()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name, _ZIP_EPOCH), content)
            yield sink.take()
        if media_name is not None and media is not None:
            entry = zipfile.ZipInfo(media_name, _ZIP_EPOCH)
            with archive.open(entry, "w", force_zip64=True) as target:
                for chunk in media:
                    target.write(chunk)
                    yield sink.take()
    yield sink.take()


# the same event gives the same bytes: when the ZIP was made is no part of the evidence
_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)


class _Sink:
    """A file that can't be sought, and gives back what was written to it."""

    def __init__(self) -> None:
        self._chunks: list[bytes] = []

    def write(self, chunk: bytes) -> int:
        self._chunks.append(bytes(chunk))
        return len(chunk)

    def flush(self) -> None:
        """Do nothing: there is nothing behind this."""

    def take(self) -> bytes:
        taken = b"".join(self._chunks)
        self._chunks.clear()
        return taken
