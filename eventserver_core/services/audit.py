"""Writes down what the network's admins do, so that it can't be rewritten in silence."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from eventserver_core.backends.auth import Credentials, Role
from eventserver_core.db.audit import AuditRepository, Checkpoint
from eventserver_core.domain import instant
from eventserver_core.domain.audit import (
    FIRST_PREVIOUS,
    SERVER_SUBJECT,
    AuditEntry,
    AuditHead,
    chain_faults,
    checkpoint_hash,
    checkpoint_package,
)
from eventserver_core.log import bound_request_id, get_logger
from eventserver_core.services.ingest import IngestEvents

OPERATOR = "operator"
_MAX_TARGET = 255
_PAGE = 500
_log = get_logger()

SERVER = Credentials(
    SERVER_SUBJECT,
    Role.ADMIN,
    "",
    instant.from_milliseconds(0),
    instant.from_milliseconds(0),
)
"""Who hands in checkpoints."""


@dataclass(frozen=True, slots=True)
class Operator:
    """Whoever has the command line, or the server itself, which needs no certificate.

    Attributes:
        subject: ``command-line`` or ``worker``.
    """

    subject: str


COMMAND_LINE = Operator("command-line")
WORKER = Operator("worker")
Actor = Credentials | Operator


class AuditTrail:
    """The trail of what was done, and to what.

    Args:
        entries: where it is kept.
        clock: tells the time.
        handed_in: returns the hash and the id of each event that the server itself handed in.
        require_standing: raises AuthenticationError or PermissionDeniedError for whom was taken
            back.
        changed: is called when something was done and committed, or was not.
    """

    def __init__(
        self,
        entries: AuditRepository,
        clock: Callable[[], datetime],
        handed_in: Callable[[], Iterable[tuple[str, str]]],
        require_standing: Callable[[Credentials], None] = lambda _credentials: None,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._entries = entries
        self._clock = clock
        self._handed_in = handed_in
        self._require_standing = require_standing
        self._changed = changed

    @contextmanager
    def changing(self, by: Actor | None = None) -> Iterator[None]:
        """Open the transaction of something that is recorded.

        One at a time in the whole network, so that what was looked up in it stays true.

        Args:
            by: who does it, and must still stand: a request may have been under way for a while.

        Raises:
            AuthenticationError: its certificate was taken back meanwhile.
        """
        try:
            with self._entries.held():
                if isinstance(by, Credentials):
                    self._require_standing(by)
                yield
        finally:
            self._changed()

    def record(self, actor: Actor, action: str, target: str, **details: object) -> AuditEntry:
        """Write down what is being done.

        Called inside the transaction that does it, so that neither is there without the other.

        Args:
            actor: who does it.
            action: what, in the past tense.
            target: to what, by its id.
            details: JSON values that say more; never a secret.
        """
        role = actor.role.value if isinstance(actor, Credentials) else OPERATOR
        return self._entries.append(
            at=self._clock(),
            actor=actor.subject,
            role=role,
            action=action,
            target=target[:_MAX_TARGET],
            details=details,
            request_id=bound_request_id(),
        )

    def page(self, after: int, limit: int) -> tuple[list[AuditEntry], AuditHead, list[Checkpoint]]:
        """Return entries that follow a number, the head, and the checkpoints of these entries."""
        entries = self._entries.entries(after, limit)
        if not entries:
            return [], self._entries.head(), []
        checkpoints = self._entries.checkpoints(after, limit)
        last = entries[-1].sequence
        return (
            entries,
            self._entries.head(),
            [found for found in checkpoints if found.head.sequence <= last],
        )

    def faults(self) -> Iterator[str]:
        """Say what is wrong with the trail: entries, head, checkpoints, and what was anchored.

        Whoever rewrites all of these together is found by the events that were handed in before,
        and whoever removes those, too, by what storage and the chain have of them.
        """
        checkpoints = {found.head.sequence: found for found in self._all_checkpoints()}
        ids = dict(self._handed_in())
        unnamed = set(ids) - {found.event_hash for found in checkpoints.values()}
        head = self._entries.head()
        last = AuditHead(0, FIRST_PREVIOUS)
        for entry in self._entries.all_entries():
            yield from chain_faults([entry], last)
            last = AuditHead(entry.sequence, entry.digest_hex)
            checkpoint = checkpoints.pop(entry.sequence, None)
            if checkpoint is not None:
                yield from _checkpoint_faults(checkpoint, entry, ids.get(checkpoint.event_hash))
            # handed in by a worker that died before it could write that down
            unnamed = {found for found in unnamed if checkpoint_hash(entry, ids[found]) != found}
            if entry.sequence == head.sequence and last != head:
                yield f"entry {entry.sequence} is not the head that is on record"
        # entries may have come in since the head was read, never gone
        if last.sequence < head.sequence:
            yield f"the trail ends at entry {last.sequence}, but {head.sequence} were made"
        # the head moves together with the entries, so one that is read later is never behind
        head = self._entries.head()
        if head.sequence < last.sequence:
            yield f"the head on record is entry {head.sequence}, but the trail has {last.sequence}"
        for sequence, checkpoint in checkpoints.items():
            if sequence > last.sequence:
                yield f"entry {sequence}, anchored as event {checkpoint.event_hash}, is missing"
        for event_hash in sorted(unnamed):
            yield f"event {event_hash} anchors a trail that is not this one"

    def _all_checkpoints(self) -> Iterator[Checkpoint]:
        after = 0
        while page := self._entries.checkpoints(after, _PAGE):
            yield from page
            after = page[-1].head.sequence


def _checkpoint_faults(
    checkpoint: Checkpoint, entry: AuditEntry, event_id: str | None
) -> Iterator[str]:
    if event_id is None:
        yield f"event {checkpoint.event_hash}, which anchors the trail, is on no record"
    elif (
        checkpoint.head != AuditHead(entry.sequence, entry.digest_hex)
        or checkpoint_hash(entry, event_id) != checkpoint.event_hash
    ):
        yield (
            f"entry {entry.sequence} is not the one that was anchored as event "
            f"{checkpoint.event_hash}"
        )


class CheckpointAudit:
    """Hands the trail's head in as an event, which is then anchored like every other.

    Args:
        entries: where the trail is kept.
        ingest: returns what takes events; asked for only when there is one to take.
        interval: how long an entry waits at most.
        clock: tells the time.
    """

    def __init__(
        self,
        entries: AuditRepository,
        ingest: Callable[[], IngestEvents],
        interval: timedelta,
        clock: Callable[[], datetime],
    ) -> None:
        self._entries = entries
        self._ingest = ingest
        self._interval = interval
        self._clock = clock

    def run(self) -> None:
        """Hand the head in, if it has moved and the last time lies long enough back.

        Raises:
            BackendUnavailableError: storage or the database is away.
        """
        head, last = self._entries.head(), self._entries.last_checkpoint()
        now = self._clock()
        if head.sequence == (last.head.sequence if last else 0):
            return
        if last is not None and now - last.made_at < self._interval:
            return
        entry = self._entries.find(head.sequence)
        if entry is None:
            _log.error("audit_trail_damaged", missing_entry=head.sequence)
            return
        package = checkpoint_package(head, entry.at, str(uuid.uuid4()))
        receipt = self._ingest().ingest_package(package, SERVER)
        self._entries.add_checkpoint(head, receipt.digest_hex, now)
        _log.info("audit_checkpointed", sequence=head.sequence, event_hash=receipt.digest_hex)
