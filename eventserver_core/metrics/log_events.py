"""Counting warnings and errors by their events, which are constant words."""

from __future__ import annotations

import logging
import re
import threading

from eventserver_core.metrics.definitions import LOG_EVENTS

_EVENT = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)+\Z")
_MAX_EVENTS = 200
_OTHER = "other"
_WATCHED = (
    ("error", "anchor_missing"),
    ("warning", "anchor_lost"),
    ("error", "audit_trail_damaged"),
    ("error", "evidence_altered"),
    ("error", "rate_limit_counts_lost"),
    ("error", "rate_limit_degraded"),
    ("error", "rate_limit_not_counted"),
    ("error", "unexpected_error"),
    ("error", "wrong_chain_refused"),
)
"""There at 0 from the start: a counter's first step isn't seen where it begins with 1."""


class CountLogEvents(logging.Handler):
    """Counts what is logged; a library's sentences all count as one event."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._known: set[str] = set()
        self._knowing = threading.Lock()

    def emit(self, record: logging.LogRecord) -> None:
        said = record.msg.get("event") if isinstance(record.msg, dict) else None
        event = said if isinstance(said, str) and _EVENT.match(said) else _OTHER
        with self._knowing:
            if event not in self._known and len(self._known) >= _MAX_EVENTS:
                event = _OTHER
            self._known.add(event)
        LOG_EVENTS.labels(record.levelname.lower(), event).inc()


def count_log_events() -> None:
    """Count what is logged from now on; logging has been set up."""
    root = logging.getLogger()
    if not any(isinstance(handler, CountLogEvents) for handler in root.handlers):
        root.addHandler(CountLogEvents())
    for level, event in _WATCHED:
        LOG_EVENTS.labels(level, event)
