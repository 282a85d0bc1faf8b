"""Labels: admins define them, everyone reads them, and events are held to them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from eventserver_core.backends.auth import Credentials
from eventserver_core.db.labels import LabelRepository
from eventserver_core.domain.canonical import first_faults
from eventserver_core.domain.labels import Definition, LabelHistory, LabelVersion
from eventserver_core.domain.package import ParsedPackage
from eventserver_core.errors import ConflictError, LabelsViolatedError, NotFoundError
from eventserver_core.log import get_logger
from eventserver_core.services.audit import AuditTrail

REMEMBERED_FOR = timedelta(seconds=5)
"""How long a process checks events by what it has read; a new version counts that much later."""

_log = get_logger()


class Labels:
    """The labels, each change of which goes to the audit trail.

    Args:
        repository: where the versions are kept.
        clock: tells the time.
        audit: the trail of what admins do.
    """

    def __init__(
        self, repository: LabelRepository, clock: Callable[[], datetime], audit: AuditTrail
    ) -> None:
        self._repository = repository
        self._clock = clock
        self._audit = audit

    def list(self) -> Sequence[LabelVersion]:
        """Return the versions in force, by their labels' ids."""
        return self._repository.in_force()

    def get(self, label_id: str) -> Sequence[LabelVersion]:
        """Return a label's versions in the order of their numbers; the last is in force.

        Raises:
            NotFoundError: it was never defined.
        """
        history = self._repository.history(label_id)
        if not history:
            raise _undefined()
        return history

    def put(
        self, label_id: str, definition: Definition, by: Credentials
    ) -> tuple[LabelVersion, bool, bool]:
        """Define a label, unless it is defined like this already.

        Returns:
            The version in force; whether there was none before; whether this call made it.
        """
        with self._audit.changing(by):
            last = self._repository.last(label_id)
            in_force = last.definition if last else None
            if last and in_force and in_force.canonical() == definition.canonical():
                return last, False, False
            made = self._add(label_id, last, definition, by)
            self._audit.record(
                by,
                "label_defined",
                label_id,
                version=made.version,
                definition=definition.document(),
            )
        _log.info("label_defined", label_id=label_id, version=made.version)
        return made, in_force is None, True

    def delete(self, label_id: str, by: Credentials) -> None:
        """Delete a label; its versions stay on record.

        Raises:
            NotFoundError: none is in force.
        """
        with self._audit.changing(by):
            last = self._repository.last(label_id)
            if last is None or last.definition is None:
                raise _undefined()
            made = self._add(label_id, last, None, by)
            self._audit.record(by, "label_deleted", label_id, version=made.version)
        _log.info("label_deleted", label_id=label_id, version=made.version)

    def _add(
        self,
        label_id: str,
        last: LabelVersion | None,
        definition: Definition | None,
        by: Credentials,
    ) -> LabelVersion:
        now = self._clock()
        made = LabelVersion(
            label_id,
            last.version + 1 if last else 1,
            definition,
            # an instance whose clock is behind must not turn the history round
            max(now, last.made_at) if last else now,
            by.subject,
        )
        if not self._repository.add(made):
            raise ConflictError("somebody else changed this label at the same moment")
        return made


class CheckLabels:
    """Holds events to the labels of their day.

    Args:
        repository: where the versions are kept; asked once in ``REMEMBERED_FOR`` at most.
        clock: tells the time.
    """

    def __init__(self, repository: LabelRepository, clock: Callable[[], datetime]) -> None:
        self._repository = repository
        self._clock = clock
        self._lock = threading.Lock()
        self._history = LabelHistory([])
        self._read_at: datetime | None = None

    def check(self, parsed: ParsedPackage) -> None:
        """Check an event's annotations.

        Raises:
            LabelsViolatedError: with each fault and where it is.
            BackendUnavailableError: the labels can't be read.
        """
        faults = first_faults(self._known().faults(parsed))
        if faults:
            raise LabelsViolatedError("the annotations are not as their labels say", faults)

    def _known(self) -> LabelHistory:
        with self._lock:
            now = self._clock()
            age = None if self._read_at is None else now - self._read_at
            # a clock that was put back must not keep what is known for longer
            if age is None or not timedelta(0) <= age < REMEMBERED_FOR:
                self._history = LabelHistory(self._repository.versions())
                self._read_at = now
                if not self._history:
                    _log.warning("no_labels_defined", effect="every event is refused")
            return self._history


def _undefined() -> NotFoundError:
    return NotFoundError("no label with this id is defined")
