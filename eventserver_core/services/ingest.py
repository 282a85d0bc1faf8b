"""Takes events in: checks and hashes them, and has them recorded before anybody is answered.

An event that was acknowledged is stored, whatever dies; one that was not can be sent again: the
first answer is given again, and nothing is stored twice.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from eventserver_core.backends.auth import Credentials, SignedPackage
from eventserver_core.backends.storage import StorageBackend
from eventserver_core.db.events import EventRepository
from eventserver_core.domain import media as media_types
from eventserver_core.domain.audit import CHECKPOINT_LABELS, SERVER_SUBJECT
from eventserver_core.domain.canonical import WRAPPED_DEPTH, parse_ijson
from eventserver_core.domain.digest import sha256_hex
from eventserver_core.domain.instant import format_rfc3339
from eventserver_core.domain.package import ParsedPackage, make_statement
from eventserver_core.errors import (
    BackendContractError,
    BackendUnavailableError,
    ClockSkewError,
    ContentTooLargeError,
    EventServerError,
    EventTooOldError,
    Fault,
    InvalidPackageError,
)
from eventserver_core.log import get_logger
from eventserver_core.metrics.definitions import MEDIA_BYTES
from eventserver_core.metrics.events import count_events
from eventserver_core.services.group_commit import GroupCommit
from eventserver_core.services.media import (
    Content,
    ReceivedMedia,
    check_beside,
    check_content,
    check_inline,
)
from eventserver_core.services.recording import RecordEvents
from eventserver_core.services.submission import Outcome, Receipt, SignedBytes, Submission

CLOCK_TOLERANCE = timedelta(minutes=15)

_CREATED_AT = "/metadata/createdAt"
_MAX_GROUP = 500
_MAX_GROUP_SIZE = 8 * 1024 * 1024

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
        self._limits = limits
        self._clock = clock
        self._check_labels = check_labels
        self._recorder = RecordEvents(storage, events, self._check_new)
        self._group = GroupCommit(
            self._recorder.record,
            lambda submission: submission.weight,
            _outage,
            max_items=_MAX_GROUP,
            max_weight=_MAX_GROUP_SIZE,
        )

    def ingest_package(self, document: Any, submitter: Credentials) -> Receipt:
        """Take a package whose media, if any, is inside.

        Args:
            document: JSON as ``parse_ijson`` reads it.
            submitter: who brings it.
        """
        return self._ingest(lambda: self.check_package(document, submitter))

    def ingest_signed(self, jws: str, signed: SignedPackage, submitter: Credentials) -> Receipt:
        """Take a package that its device signed; the JWS is kept byte for byte.

        Args:
            jws: the compact JWS, checked.
            signed: what it says and who signed it.
            submitter: who brings it.
        """
        return self._ingest(lambda: self.check_signed(jws, signed, submitter))

    def ingest_with_media(
        self, document: Any, received: ReceivedMedia | None, submitter: Credentials
    ) -> Receipt:
        """Take a package whose media came beside it.

        Args:
            document: JSON as ``parse_ijson`` reads it; its media has no ``data``.
            received: the media; None where none was sent.
            submitter: who brings it.
        """
        return self._ingest(lambda: self._check_with_media(document, received, submitter))

    def ingest_batch(self, checked: Sequence[Submission | Exception]) -> list[Outcome]:
        """Take many events by one write; each gets what it would have got by itself.

        Args:
            checked: what ``check_package`` and ``check_signed`` returned or raised, in order.

        Raises:
            BackendUnavailableError: storage or database are away. What was stored before is
                known when the batch comes again.
        """
        began = time.perf_counter()
        submissions = [found for found in checked if isinstance(found, Submission)]
        recorded: list[Outcome] | None = None
        try:
            recorded = self._recorder.record(submissions)
        except EventServerError as ex:
            count_events(found if isinstance(found, Exception) else ex for found in checked)
            raise
        except Exception:  # noqa: BLE001 - one event must not stand in the way of all others
            _log.exception("batch_split", events=len(submissions))
        if recorded is None:
            recorded = [self._recorded_alone(found) for found in submissions]
        answers = iter(recorded)
        outcomes = [next(answers) if isinstance(f, Submission) else f for f in checked]
        _count(checked, outcomes)
        created = [o for o in outcomes if isinstance(o, Receipt) and o.created]
        _log.info(
            "batch_taken",
            events=len(outcomes),
            stored=len(created),
            refused=sum(isinstance(outcome, Exception) for outcome in outcomes),
            storage_locations=sorted({receipt.storage_location for receipt in created}),
            processing_time_ms=round((time.perf_counter() - began) * 1000, 1),
        )
        return outcomes

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

    def check_package(self, document: Any, submitter: Credentials) -> Submission:
        """Check a package whose media, if any, is inside, and hash it.

        Raises:
            InvalidInputError: with each fault that it has in itself.
        """
        return self._check_inline(document, submitter, None)

    def check_signed(self, jws: str, signed: SignedPackage, submitter: Credentials) -> Submission:
        """Check a package that its device signed, and hash it; see ``ingest_signed``.

        Raises:
            InvalidInputError: with each fault that it has in itself.
        """
        claims = parse_ijson(signed.claims, max_depth=WRAPPED_DEPTH)
        if not isinstance(claims, dict) or "payload" not in claims:
            fault = Fault("/payload", "the signed claims have no event package")
            raise InvalidPackageError("the signed package has no payload", [fault])
        signature = SignedBytes(jws.encode("ascii"), signed)
        return self._check_inline(claims["payload"], submitter, signature)

    def _check_inline(
        self, document: Any, submitter: Credentials, signature: SignedBytes | None
    ) -> Submission:
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
        return self._submission(parsed, content, submitter, signature)

    def _check_with_media(
        self, document: Any, received: ReceivedMedia | None, submitter: Credentials
    ) -> Submission:
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
        return self._submission(parsed, content, submitter, None)

    def _submission(
        self,
        parsed: ParsedPackage,
        content: Content | None,
        submitter: Credentials,
        signature: SignedBytes | None,
    ) -> Submission:
        if content is not None:
            check_content(parsed, content)
        if submitter.subject != SERVER_SUBJECT:
            _refuse_servers_own(parsed)
        statement = make_statement(parsed.document, content.digest_hex if content else None)
        return Submission(parsed, statement, submitter, self._clock(), content, signature)

    def _ingest(self, check: Callable[[], Submission]) -> Receipt:
        """Check an event and have it written together with those that come meanwhile."""
        began = time.perf_counter()
        try:
            submission = check()
            if submission.is_large:
                self._recorder.publish(submission)  # so that nobody else waits for it
            outcome = self._group.submit(submission)
        except EventServerError as ex:
            count_events([ex])
            raise
        _count([submission], [outcome])
        if isinstance(outcome, Exception):
            try:
                raise outcome
            finally:
                del outcome  # or it and this frame would keep each other, and the event
        if outcome.created:
            _log.info(
                "event_stored",
                event_hash=outcome.digest_hex,
                event_id=outcome.event_id,
                submitted_by=submission.submitter.subject,
                storage_location=outcome.storage_location,
                processing_time_ms=round((time.perf_counter() - began) * 1000, 1),
            )
        return outcome

    def _recorded_alone(self, submission: Submission) -> Outcome:
        try:
            return self._recorder.record([submission])[0]
        except EventServerError:
            raise
        except Exception as ex:  # noqa: BLE001 - it is this event's answer
            return ex

    def _check_new(self, submission: Submission) -> None:
        """Refuse an event that may not come now; a repetition was on time when it came first."""
        parsed, now = submission.parsed, submission.received_at
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
        if self._check_labels is not None:
            self._check_labels(parsed)


def _refuse_servers_own(parsed: ParsedPackage) -> None:
    """Keep others from saying what the audit trail's head is, in the server's words."""
    faults = [
        Fault(f"/annotations/{index}/labelId", "is the server's own")
        for index, annotation in enumerate(parsed.model.annotations)
        if annotation.label_id in CHECKPOINT_LABELS
    ]
    if faults:
        raise InvalidPackageError("the package speaks for the server", faults)


def _outage(ex: Exception) -> Exception | None:
    """Return an outage for each who was in a group; a fault may be one event's alone."""
    if isinstance(ex, BackendUnavailableError) and not isinstance(ex, BackendContractError):
        return BackendUnavailableError(ex.backend, str(ex).removeprefix(f"{ex.backend}: "))
    return None


def _count(checked: Sequence[Submission | Exception], outcomes: Sequence[Outcome]) -> None:
    count_events(outcomes)
    media_size = sum(
        submission.content.size
        for submission, outcome in zip(checked, outcomes, strict=True)
        if isinstance(outcome, Receipt) and outcome.created
        if isinstance(submission, Submission) and submission.content
    )
    if media_size:
        MEDIA_BYTES.inc(media_size)


def _too_large(taken: str) -> ContentTooLargeError:
    return ContentTooLargeError(f"the media is larger than the {taken}")
