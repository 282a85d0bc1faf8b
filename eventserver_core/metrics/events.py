"""Counting what becomes of the events that are handed in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Protocol

from eventserver_core.errors import EventServerError
from eventserver_core.metrics.definitions import EVENTS


class _Receipt(Protocol):
    @property
    def created(self) -> bool: ...


def count_events(outcomes: Iterable[_Receipt | Exception]) -> None:
    """Count events as stored, repeated, or refused for a reason."""
    for (word, code), number in Counter(map(_labels, outcomes)).items():
        if word:
            EVENTS.labels(word, code).inc(number)


def _labels(outcome: _Receipt | Exception) -> tuple[str, str]:
    """Return what an outcome counts as: nothing where it is a fault of ours."""
    if isinstance(outcome, EventServerError):
        return "refused", outcome.code
    if isinstance(outcome, Exception):
        return "", ""
    return ("stored" if outcome.created else "repeated"), ""
