"""Makes events durable, any number of them by one object in storage and one statement.

The order is: bytes, then rows. Whatever dies in between, what has no row can be sent again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from eventserver_core.backends.storage import StorageBackend
from eventserver_core.db.event_rows import NewEvent, NewSignature, StoredEvent
from eventserver_core.db.events import EventRepository
from eventserver_core.domain.envelope import Envelope, Pack, make_pack
from eventserver_core.errors import (
    BackendUnavailableError,
    EventIdConflictError,
    EventServerError,
)
from eventserver_core.services.submission import Outcome, Receipt, Submission

_MAX_ROUNDS = 8


class RecordEvents:
    """Puts events into storage and their rows into the database.

    Args:
        storage: where bytes are kept.
        events: where rows are kept.
        check_new: refuses an event that may not come now; a repetition came in time.
    """

    def __init__(
        self,
        storage: StorageBackend,
        events: EventRepository,
        check_new: Callable[[Submission], None],
    ) -> None:
        self._storage = storage
        self._events = events
        self._check_new = check_new

    def record(self, submissions: Sequence[Submission]) -> list[Outcome]:
        """Store what is new, and return what became of each, in order.

        Events that come twice, here or from elsewhere at the same time, are stored once, and all
        who sent them get the first one's receipt.

        Raises:
            BackendUnavailableError: storage or database are away; what of it has no row is not
                stored, and may be sent again.
        """
        outcomes: dict[int, Outcome] = {}
        undecided = list(range(len(submissions)))
        for _ in range(_MAX_ROUNDS):
            if not undecided:
                return [outcomes[number] for number in range(len(submissions))]
            stored = _Stored.of(self._events, [submissions[number] for number in undecided])
            sorted_out = self._sort(submissions, undecided, stored, outcomes)
            undecided = self._write(submissions, sorted_out, stored, outcomes)
        raise BackendUnavailableError("database", "a row that was just written is not there")

    def publish(self, submission: Submission) -> None:
        """Store what of an event is an object of its own, unless it is there or is refused.

        To be called before ``record`` by whoever would else hold others up with it.
        """
        stored = _Stored.of(self._events, [submission])
        known = stored.find(submission)
        if known is None and stored.conflict(submission) is None:
            self._check_new(submission)
            self._publish(submission, known)

    def _publish(self, submission: Submission, known: StoredEvent | None) -> None:
        signature = submission.signature
        if known is not None:
            if signature is not None:
                # a row leads to one pack only, and what comes later isn't in that
                self._storage.put(signature.object_key, signature.jws)
            return
        if submission.is_published:
            return
        if submission.content is not None:
            submission.content.publish(submission.media_key or "")
        if signature is not None and not signature.fits_in_pack:
            self._storage.put(signature.object_key, signature.jws)
        submission.is_published = True

    def _sort(
        self,
        submissions: Sequence[Submission],
        numbers: Sequence[int],
        stored: _Stored,
        outcomes: dict[int, Outcome],
    ) -> _Sorted:
        """Tell what is to be written from what is there or is refused."""
        found = _Sorted()
        claimed: set[str] = set()
        for number in numbers:
            submission = submissions[number]
            known = stored.find(submission)
            if conflict := stored.conflict(submission):
                outcomes[number] = conflict
            elif known is not None and not submission.signs(known):
                outcomes[number] = _receipt(known)
            elif submission.event_id in claimed:
                found.later.append(number)  # once it is known what became of the one before
            else:
                try:
                    if known is None:
                        self._check_new(submission)
                    self._publish(submission, known)
                except BackendUnavailableError:
                    raise  # it isn't this event's fault, and wouldn't be any other's
                except EventServerError as ex:
                    outcomes[number] = ex.with_traceback(None)  # which would keep all of them
                else:
                    claimed.add(submission.event_id)
                    (found.new if known is None else found.signing).append(number)
        return found

    def _write(
        self,
        submissions: Sequence[Submission],
        found: _Sorted,
        stored: _Stored,
        outcomes: dict[int, Outcome],
    ) -> list[int]:
        """Write what is to be written; return the numbers of those that are still undecided."""
        if not found.new and not found.signing:
            return found.later
        envelopes = [_envelope(submissions[n], is_new=True) for n in found.new]
        envelopes += [_envelope(submissions[n], is_new=False) for n in found.signing]
        pack = make_pack(envelopes)
        location = self._storage.put(pack.key, pack.content).location
        rows = {
            number: _row(submissions[number], envelopes[place], pack, place, location)
            for place, number in enumerate(found.new)
        }
        # in one order everywhere: who writes some of the same events elsewhere then waits for this,
        # or this for it, and never both
        in_order = sorted(rows.values(), key=lambda row: row.event_id)
        inserted = self._events.record(in_order)
        # each by itself: a transaction that holds several rows could meet one that seals them
        for envelope in envelopes[len(rows) :]:
            self._events.attach_signature(_new_signature(envelope))
        for number in found.signing:
            known = stored.find(submissions[number])
            assert known is not None  # noqa: S101 - else it would be a new one
            outcomes[number] = _receipt(known)
        lost = []
        for number, row in rows.items():
            if row.digest_hex in inserted:
                outcomes[number] = Receipt(
                    row.event_id, row.digest_hex, row.storage_location, row.received_at, True
                )
            else:
                lost.append(number)  # somebody else was faster: what did they store?
        return [*lost, *found.later]


@dataclass(frozen=True, slots=True)
class _Sorted:
    """What is to be done, by the submissions' numbers.

    Attributes:
        new: to be stored.
        signing: stored unsigned before; to be given their signature.
        later: to be looked at once the others are written.
    """

    new: list[int] = field(default_factory=list)
    signing: list[int] = field(default_factory=list)
    later: list[int] = field(default_factory=list)


class _Stored:
    """The events that are there already, of those that were asked for."""

    def __init__(self, events: Sequence[StoredEvent]) -> None:
        self._by_digest = {event.digest_hex: event for event in events}
        self._by_id = {event.event_id: event for event in events}

    @classmethod
    def of(cls, events: EventRepository, submissions: Sequence[Submission]) -> _Stored:
        digests = [submission.digest_hex for submission in submissions]
        return cls(events.stored(digests, [submission.event_id for submission in submissions]))

    def find(self, submission: Submission) -> StoredEvent | None:
        return self._by_digest.get(submission.digest_hex)

    def conflict(self, submission: Submission) -> EventIdConflictError | None:
        """Return the error for an event under whose id another content is stored."""
        other = self._by_id.get(submission.event_id)
        if other is None or other.digest_hex == submission.digest_hex:
            return None
        return EventIdConflictError(submission.event_id, other.digest_hex)


def _receipt(stored: StoredEvent) -> Receipt:
    return Receipt(
        stored.event_id, stored.digest_hex, stored.storage_location, stored.received_at, False
    )


def _envelope(submission: Submission, *, is_new: bool) -> Envelope:
    signature = submission.signature
    return Envelope(
        submission.digest_hex,
        submission.statement.document,
        submission.submitter.subject,
        submission.submitter.role.value,
        submission.received_at,
        submission.media_key,
        signature.evidence(in_pack=is_new and signature.fits_in_pack) if signature else None,
        submission.statement.content,
    )


def _row(
    submission: Submission, envelope: Envelope, pack: Pack, place: int, location: str
) -> NewEvent:
    offset, length = pack.spans[place]
    media, content = submission.parsed.model.media, submission.content
    signature = envelope.signature
    return NewEvent(
        digest_hex=submission.digest_hex,
        event_id=submission.event_id,
        received_at=submission.received_at,
        submitted_by=submission.submitter.subject,
        device=submission.device,
        pack_key=pack.key,
        pack_offset=offset,
        pack_length=length,
        storage_location=location,
        media_key=submission.media_key,
        media_type=media.type if media else None,
        media_size=content.size if content else None,
        signed_package_key=(signature.object_key or pack.key) if signature else None,
        public_key=json.dumps(signature.public_key) if signature else None,
    )


def _new_signature(envelope: Envelope) -> NewSignature:
    signature = envelope.signature
    assert signature is not None  # noqa: S101 - whoever has none signs nothing
    key, public_key = signature.object_key or "", json.dumps(signature.public_key)
    return NewSignature(envelope.digest_hex, signature.signer, key, public_key)
