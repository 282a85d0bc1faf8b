"""What ``GET /health`` answers."""

from __future__ import annotations

from typing import Any

from eventserver_relay import __version__
from eventserver_relay.forwarding import NOT_ACTIVE, Forwarder
from eventserver_relay.identity import Identity
from eventserver_relay.outbox import Outbox


def health(identity: Identity, outbox: Outbox, forwarder: Forwarder) -> dict[str, Any]:
    """Say how well a relay is, and why it is no better."""
    queued, oldest = outbox.backlog()
    faults = _faults(outbox, forwarder)
    found: dict[str, Any] = {
        "status": "degraded" if faults else "healthy",
        "relayId": identity.relay_id,
        "queued": queued,
        "oldestQueuedSeconds": oldest,
        "refused": outbox.refused(),
        "certificateExpiresAt": identity.expires_at.isoformat(),
        "version": __version__,
    }
    return found | ({"detail": "; ".join(faults)} if faults else {})


def _faults(outbox: Outbox, forwarder: Forwarder) -> list[str]:
    faults = ["the last write to the outbox failed"] if outbox.has_failed() else []
    refusal = forwarder.refusal
    if refusal == NOT_ACTIVE:
        # the server makes it active once it says here that it is healthy: until then nothing
        # can be forwarded, and whoever fills the outbox must not keep it so
        return faults
    if outbox.is_full():
        faults.append("the outbox is full")
    if refusal:
        faults.append(f"the server refuses this relay: {refusal}")
    return faults
