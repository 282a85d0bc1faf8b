"""What is looked up for ``/metrics``: what waits, what is well, what ends, what can be spent."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from eventserver_core.backends.chain import ChainBackend, UsesAccount
from eventserver_core.db.audit import AuditRepository
from eventserver_core.db.batches import BatchRepository
from eventserver_core.db.connection import Database
from eventserver_core.db.relays import RelayRepository
from eventserver_core.domain.relay import RelayState
from eventserver_core.errors import BackendUnavailableError
from eventserver_core.metrics.definitions import (
    ACCOUNT_ANCHORS,
    ACCOUNT_ASKED_AT,
    ACCOUNT_BALANCE,
    ANCHOR_COST,
)
from eventserver_core.metrics.scrape import Reading
from eventserver_core.pki.authority import CertificateAuthority
from eventserver_core.pki.expiry import expires_at
from eventserver_core.services.health import CheckHealth

_ENDING = timedelta(days=1)
_ACCOUNT_PAUSE = 60.0


@dataclass(frozen=True, slots=True)
class ReadDatabase:
    """Reads what waits and how much there is of what.

    Attributes:
        database: is asked in a thread that ends with the answer.
        clock: tells the time.
    """

    database: Database
    batches: BatchRepository
    relays: RelayRepository
    audit: AuditRepository
    clock: Callable[[], datetime]

    def __call__(self) -> list[Reading]:
        """Return what the database says now.

        Raises:
            BackendUnavailableError: it says nothing.
        """
        try:
            return list(self._readings())
        finally:
            if self.database.is_sqlite:  # the connection is this thread's own
                self.database.close()

    def _readings(self) -> Iterator[Reading]:
        now = self.clock()
        backlog = self.batches.backlog()
        age = (now - backlog.oldest).total_seconds() if backlog.oldest else 0.0
        head, checkpoint = self.audit.head(), self.audit.last_checkpoint()
        states = dict.fromkeys((state.value for state in RelayState), 0)
        states |= self.relays.count_by("state")
        for name, doc, value in (
            ("events_unanchored", "Events that are in no block.", backlog.waiting),
            (
                "events_oldest_unanchored_age_seconds",
                "How long the oldest of them has waited.",
                max(0.0, age),
            ),
            ("batches_unanchored", "Batches that are in no block.", self.batches.waiting_batches()),
            (
                "anchoring_failing",
                "Whether the last try to anchor the oldest batch failed.",
                backlog.last_error is not None,
            ),
            ("audit_head", "The audit trail's last number.", head.sequence),
            (
                "audit_checkpoint",
                "The last number of it that was handed in as an event.",
                checkpoint.head.sequence if checkpoint else 0,
            ),
            (
                "relays_certificates_ending",
                "Active relays with a certificate that ends within a day.",
                self.relays.count_expiring(now + _ENDING),
            ),
        ):
            yield Reading(f"eventserver_{name}", doc, (), [((), float(value))])
        by_state = [((state,), float(count)) for state, count in states.items()]
        yield Reading("eventserver_relays", "Relays on record.", ("state",), by_state)


@dataclass(frozen=True, slots=True)
class ReadDependencies:
    """Asks whether what the server depends on answers, as ``/health`` does."""

    health: CheckHealth

    def __call__(self) -> list[Reading]:
        """Return what answers."""
        found = self.health.check().services
        up = [((name,), float(well)) for name, well in found.items()]
        doc = "Whether a dependency answers."
        return [Reading("eventserver_dependency_up", doc, ("dependency",), up)]


@dataclass(frozen=True, slots=True)
class ReadAuthority:
    """Reads when the certificate authority ends.

    Attributes:
        authority: returns it, or raises where there is none.
    """

    authority: Callable[[], CertificateAuthority]

    def __call__(self) -> list[Reading]:
        """Return when its certificates end; nothing where there is no authority."""
        try:
            authority = self.authority()
        except BackendUnavailableError:
            return []
        ends = [
            (("root",), expires_at(authority.root_der).timestamp()),
            (("issuing",), expires_at(authority.issuing_der).timestamp()),
        ]
        doc = "When a certificate of the authority ends."
        name = "eventserver_authority_expires_timestamp_seconds"
        return [Reading(name, doc, ("certificate",), ends)]


class MeasureAccount:
    """Looks up what the account that anchors has left, once a minute.

    Args:
        chain: whose account it is; one that uses none is left alone.
        clock: tells the time.
    """

    def __init__(self, chain: ChainBackend, clock: Callable[[], datetime]) -> None:
        self._chain = chain
        self._clock = clock
        self._next = 0.0

    def run(self) -> None:
        """Look it up, if that wasn't done just now.

        Raises:
            BackendUnavailableError: the chain can't be asked.
        """
        if time.monotonic() < self._next or not isinstance(self._chain, UsesAccount):
            return
        self._next = time.monotonic() + _ACCOUNT_PAUSE
        status = self._chain.account_status()
        for gauge, value in (
            (ACCOUNT_BALANCE, status.balance),
            (ANCHOR_COST, status.anchor_cost),
            (ACCOUNT_ANCHORS, status.anchors),
            (ACCOUNT_ASKED_AT, self._clock().timestamp()),
        ):
            if value is not None:
                gauge.labels(status.network).set(value)
