"""Counting what becomes of the events that are handed in."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, Protocol, TypeVar

from eventserver_core.errors import EventServerError
from eventserver_core.metrics.definitions import EVENTS

_P = ParamSpec("_P")


class _Answer(Protocol):
    @property
    def created(self) -> bool: ...


_A = TypeVar("_A", bound=_Answer)


def counted_event(ingest: Callable[_P, _A]) -> Callable[_P, _A]:
    """Make what takes an event count it as stored, repeated, or refused for a reason."""

    @wraps(ingest)
    def count(*args: _P.args, **kwargs: _P.kwargs) -> _A:
        try:
            receipt = ingest(*args, **kwargs)
        except EventServerError as ex:
            EVENTS.labels("refused", ex.code).inc()
            raise
        EVENTS.labels("stored" if receipt.created else "repeated", "").inc()
        return receipt

    return count
