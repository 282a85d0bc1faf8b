"""Takes events in. The order is: bytes, then row, then answer.

Whatever dies in between, an event that was acknowledged is stored, and one that was not can be
sent again: the first answer is given again, and nothing is stored twice.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from eventserver_core.backends.auth import Credentials, Role, SignedPackage
from eventserver_core.backends.storage import StorageBackend
from eventserver_core.db.events import EventRecord, EventRepository, NewEvent
from eventserver_core.domain import media as media_types
from eventserver_core.domain.audit import CHECKPOINT_LABELS, SERVER_SUBJECT
from eventserver_core.domain.canonical import WRAPPED_DEPTH, parse_ijson
from eventserver_core.domain.digest import sha256_hex
from eventserver_core.domain.envelope import (
    MEDIA_PREFIX,
    SIGNED_PACKAGE_PREFIX,
    Envelope,
    Signature,
    make_pack,
)
from eventserver_core.domain.instant import format_rfc3339
from eventserver_core.domain.package import ParsedPackage, Statement, make_statement
from eventserver_core.errors import (
    BackendUnavailableError,
    ClockSkewError,
    ContentTooLargeError,
    EventIdConflictError,
    EventTooOldError,
    Fault,
    InvalidPackageError,
)
from eventserver_core.log import get_logger
from eventserver_core.metrics.definitions import MEDIA_BYTES
from eventserver_core.metrics.events import counted_event
from eventserver_core.services.media import (
    Content,
    ReceivedMedia,
    check_beside,
    check_content,
    check_inline,
)

CLOCK_TOLERANCE = timedelta(minutes=15)

_CREATED_AT = "/metadata/createdAt"

_log = get_logger()


@dataclass(frozen=True, slots=True)
class IngestLimits:
    """What is taken.

    Attributes:
        max_file_size: the largest media in bytes.
        max_inline_size: the largest media inside JSON, in bytes once decoded.
        max_age: how far back an event's creation may lie; None is any time.
    """

    max_file_size: int
    max_inline_size: int
    max_age: timedelta | None


@dataclass(frozen=True, slots=True)
class Receipt:
    """The answer to a submission, the same for every repetition of it.

    Attributes:
        created: whether this very call stored the event.
    """

    event_id: str
    digest_hex: str
    storage_location: str
    processed_at: datetime
    created: bool


class IngestEvents:
    """Checks, stores and records events.

    Args:
        storage: where bytes are kept.
        events: where rows are kept.
        limits: what is taken.
        clock: tells the time.
        check_labels: refuses what is not annotated as the labels say; None takes any annotation.
    """

    def __init__(
        self,
        storage: StorageBackend,
        events: EventRepository,
        limits: IngestLimits,
        clock: Callable[[], datetime],
        check_labels: Callable[[ParsedPackage], None] | None = None,
    ) -> None:
        self._storage = storage
        self._events = events
        self._limits = limits
        self._clock = clock
        self._check_labels = check_labels

    @counted_event
    def ingest_package(self, document: Any, submitter: Credentials) -> Receipt:
        """Take a package whose media, if any, is inside.

        Args:
            document: JSON as ``parse_ijson`` reads it.
            submitter: who brings it.
        """
        return self._ingest_inline(document, submitter, None, None)

    @counted_event
    def ingest_signed(self, jws: str, signed: SignedPackage, submitter: Credentials) -> Receipt:
        """Take a package that its device signed; the JWS is kept byte for byte.

        Args:
            jws: the compact JWS, checked.
            signed: what it says and who signed it.
            submitter: who brings it.
        """
        claims = parse_ijson(signed.claims, max_depth=WRAPPED_DEPTH)
        if not isinstance(claims, dict) or "payload" not in claims:
            fault = Fault("/payload", "the signed claims have no event package")
            raise InvalidPackageError("the signed package has no payload", [fault])
        return self._ingest_inline(claims["payload"], submitter, jws.encode("ascii"), signed)

    @contextmanager
    def receive_media(
        self, chunks: Iterator[bytes], key: str | None = None
    ) -> Iterator[ReceivedMedia]:
        """Stream media into storage; unless it is ingested within the context, it is discarded.

        Raises:
            ContentTooLargeError: as soon as it is larger than is taken.
        """
        hasher, size, head = hashlib.sha256(), 0, b""
        with self._storage.upload(key) as upload:
            for chunk in chunks:
                size += len(chunk)
                if size > self._limits.max_file_size:
                    raise _too_large(f"{self._limits.max_file_size} bytes taken")
                if len(head) < media_types.HEAD_SIZE:
                    head = (head + chunk)[: media_types.HEAD_SIZE]
                hasher.update(chunk)
                upload.write(chunk)
            yield ReceivedMedia(upload, size, hasher.hexdigest(), head)

    @counted_event
    def ingest_with_media(
        self, document: Any, received: ReceivedMedia | None, submitter: Credentials
    ) -> Receipt:
        """Take a package whose media came beside it.

        Args:
            document: JSON as ``parse_ijson`` reads it; its media has no ``data``.
            received: the media; None where none was sent.
            submitter: who brings it.
        """
        parsed = check_beside(document)
        media = parsed.model.media
        if media is not None and received is None:
            fault = Fault("/media", "the event names media, but there is no part named media")
            raise InvalidPackageError("the media is missing", [fault])
        if media is None and received is not None:
            fault = Fault("/media", "there is a part named media, but the event names none")
            raise InvalidPackageError("the event does not name its media", [fault])
        content = None
        if received is not None:
            content = Content(
                received.digest_hex, received.size, received.head, received.upload.commit
            )
        return self._ingest(parsed, content, submitter, None, None)

    def _ingest_inline(
        self,
        document: Any,
        submitter: Credentials,
        jws: bytes | None,
        signed: SignedPackage | None,
    ) -> Receipt:
        parsed, decoded = check_inline(document)
        content = None
        if decoded is not None:
            media = decoded
            if len(decoded) > self._limits.max_inline_size:
                hint = "send it as multipart/form-data with the parts event and media"
                raise _too_large(f"{self._limits.max_inline_size} bytes taken inside JSON; {hint}")
            content = Content(
                sha256_hex(decoded),
                len(decoded),
                decoded[: media_types.HEAD_SIZE],
                lambda key: self._storage.put(key, media),
            )
        return self._ingest(parsed, content, submitter, jws, signed)

    def _ingest(
        self,
        parsed: ParsedPackage,
        content: Content | None,
        submitter: Credentials,
        jws: bytes | None,
        signed: SignedPackage | None,
    ) -> Receipt:
        began = time.perf_counter()
        if content is not None:
            check_content(parsed, content)
        if submitter.subject != SERVER_SUBJECT:
            _refuse_servers_own(parsed)
        now = self._clock()
        statement = make_statement(parsed.document, content.digest_hex if content else None)
        known = self._known(statement, parsed.event_id)
        if known is not None and not _takes_signature(known, signed, submitter):
            return _receipt(known, created=False)
        if known is None:
            # a repetition was on time, and as the labels say, when it came first
            self._check_clock(parsed, now)
            if self._check_labels is not None:
                self._check_labels(parsed)

        media_key = None
        if content is not None:
            media_key = MEDIA_PREFIX + content.digest_hex
            if known is None:
                content.publish(media_key)
        signature = None
        if jws is not None and signed is not None:
            signature = Signature(
                SIGNED_PACKAGE_PREFIX + sha256_hex(jws),
                signed.device.subject,
                signed.device.public_key or {},
            )
            self._storage.put(signature.object_key, jws)
        envelope = Envelope(
            statement.digest_hex,
            statement.document,
            submitter.subject,
            submitter.role.value,
            now,
            media_key,
            signature,
        )
        pack = make_pack([envelope])
        stored = self._storage.put(pack.key, pack.content)
        offset, length = pack.spans[0]
        public_key = json.dumps(signature.public_key) if signature else None
        media = parsed.model.media
        device = submitter.subject if submitter.role is Role.DEVICE else None
        inserted = known is None and self._events.insert(
            NewEvent(
                digest_hex=statement.digest_hex,
                event_id=parsed.event_id,
                received_at=now,
                submitted_by=submitter.subject,
                device=signature.signer if signature else device,
                pack_key=pack.key,
                pack_offset=offset,
                pack_length=length,
                storage_location=stored.location,
                media_key=media_key,
                media_type=media.type if media else None,
                media_size=content.size if content else None,
                signed_package_key=signature.object_key if signature else None,
                public_key=public_key,
            )
        )
        recorded = self._known(statement, parsed.event_id)
        if recorded is None:
            raise BackendUnavailableError("database", "a row that was just written is not there")
        if signature is not None and _takes_signature(recorded, signed, submitter):
            # it had come unsigned before: the first receipt stays, the signature is added
            self._events.attach_signature(
                recorded.digest_hex, signature.signer, signature.object_key, public_key or "{}"
            )
        if inserted:
            MEDIA_BYTES.inc(content.size if content else 0)
            _log.info(
                "event_stored",
                event_hash=statement.digest_hex,
                event_id=parsed.event_id,
                submitted_by=submitter.subject,
                storage_location=stored.location,
                processing_time_ms=round((time.perf_counter() - began) * 1000, 1),
            )
        return _receipt(recorded, created=inserted)

    def _known(self, statement: Statement, event_id: str) -> EventRecord | None:
        known = self._events.find(statement.digest_hex)
        if known is None:
            same_id = self._events.find_by_id(event_id)
            if same_id is not None and same_id.digest_hex != statement.digest_hex:
                raise EventIdConflictError(event_id, same_id.digest_hex)
            known = same_id
        return known

    def _check_clock(self, parsed: ParsedPackage, now: datetime) -> None:
        created = parsed.created_at
        if created - now > CLOCK_TOLERANCE:
            raise ClockSkewError(
                "metadata.createdAt lies more than 15 minutes ahead of this server's clock",
                format_rfc3339(now),
                [Fault(_CREATED_AT, "lies in the future")],
            )
        if self._limits.max_age is not None and now - created > self._limits.max_age:
            raise EventTooOldError(
                "metadata.createdAt lies further back than this server takes",
                [Fault(_CREATED_AT, "lies too far back")],
            )


def _refuse_servers_own(parsed: ParsedPackage) -> None:
    """Keep others from saying what the audit trail's head is, in the server's words."""
    faults = [
        Fault(f"/annotations/{index}/labelId", "is the server's own")
        for index, annotation in enumerate(parsed.model.annotations)
        if annotation.label_id in CHECKPOINT_LABELS
    ]
    if faults:
        raise InvalidPackageError("the package speaks for the server", faults)


def _too_large(taken: str) -> ContentTooLargeError:
    return ContentTooLargeError(f"the media is larger than the {taken}")


def _takes_signature(
    event: EventRecord, signed: SignedPackage | None, submitter: Credentials
) -> bool:
    """Tell whether an event is without a signature and may have this one.

    Only from whoever sent the event: nobody becomes another's event's author by signing the same
    bytes.
    """
    return (
        signed is not None
        and event.signed_package_key is None
        and event.submitted_by == submitter.subject
        and event.device in (None, signed.device.subject)
    )


def _receipt(event: EventRecord, *, created: bool) -> Receipt:
    return Receipt(
        event.event_id, event.digest_hex, event.storage_location, event.received_at, created
    )
