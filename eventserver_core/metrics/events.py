"""Counting what becomes of the events that are handed in."""

from __future__ import annotations

from typing import Protocol

from eventserver_core.errors import EventServerError
from eventserver_core.metrics.definitions import EVENTS


class _Receipt(Protocol):
    @property
    def created(self) -> bool: ...


def count_event(outcome: _Receipt | Exception) -> None:
    """Count an event as stored, repeated, or refused for a reason."""
    if isinstance(outcome, EventServerError):
        EVENTS.labels("refused", outcome.code).inc()
    elif not isinstance(outcome, Exception):
        EVENTS.labels("stored" if outcome.created else "repeated", "").inc()
