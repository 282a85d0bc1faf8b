"""What a worker does in one round, and what has come of an event."""

from __future__ import annotations

from eventserver_core.db.events import EventRepository
from eventserver_core.db.leases import HeldLease
from eventserver_core.services.anchoring import AnchorBatches
from eventserver_core.testing.clock import ManualClock
from tests.db.rows import new_event


def step(anchoring: AnchorBatches, lease: HeldLease, clock: ManualClock) -> None:
    """Do what a worker does in one round, a good while later."""
    clock.advance(600)
    for due in anchoring.due():
        anchoring.anchor_batch(lease, due)


def status(events: EventRepository) -> str:
    found = events.find(new_event(0).digest_hex)
    assert found is not None
    return found.status
