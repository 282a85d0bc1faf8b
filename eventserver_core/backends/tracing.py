"""Which trace a call belongs to (W3C Trace Context), for whoever calls others while it lasts.

A plugin that speaks HTTP puts ``outgoing_headers()`` into its requests; everything it does within a
call of the core is in the right trace, in whichever of the core's threads.
"""

from __future__ import annotations

import contextvars
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?\Z")
_STATE_MEMBER = re.compile(
    r"[a-z0-9][a-z0-9_*/@-]{0,255}=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]\Z"
)
_MAX_STATE_MEMBERS = 32
_MAX_STATE_SIZE = 512
_SAMPLED = 1


@dataclass(frozen=True, slots=True)
class TraceContext:
    """A place in a trace.

    Attributes:
        trace_id: 32 hex digits, the whole trace's.
        span_id: 16 hex digits, this step's.
        sampled: whether somebody before us, or we, may have recorded it.
        state: what others put into ``tracestate``, as it came.
    """

    trace_id: str
    span_id: str
    sampled: bool = False
    state: str = ""

    @property
    def traceparent(self) -> str:
        """The header that says so."""
        return f"00-{self.trace_id}-{self.span_id}-{int(self.sampled):02x}"

    def child(self) -> TraceContext:
        """Return another step of the same trace."""
        return TraceContext(self.trace_id, secrets.token_hex(8), self.sampled, self.state)


class Span(Protocol):
    """A step that is being recorded."""

    context: TraceContext

    def end(self, attributes: Mapping[str, str | int], failed: bool) -> None:
        """Say that it is over, and how it went."""


class Recorder(Protocol):
    """Records steps, for those who look at traces."""

    def start(
        self, name: str, parent: TraceContext | None, attributes: Mapping[str, str | int]
    ) -> Span:
        """Begin a step; without a parent it begins a trace."""


class _Recording:
    recorder: Recorder | None = None


_current: contextvars.ContextVar[TraceContext | None] = contextvars.ContextVar(
    "eventserver_trace", default=None
)


def current() -> TraceContext | None:
    """Return where in which trace this is; None where nothing is being traced."""
    return _current.get()


def outgoing_headers() -> dict[str, str]:
    """Return the headers that pass the trace on with a request; none where there is no trace."""
    context = _current.get()
    if context is None:
        return {}
    headers = {"traceparent": context.traceparent}
    if context.state:
        headers["tracestate"] = context.state
    return headers


def read_headers(traceparent: str | None, tracestate: str | None) -> TraceContext | None:
    """Return where a caller is in its trace; None where it says nothing that is right.

    By W3C Trace Context, section 3.2 and 3.3: of a version to come its first four fields are read,
    and a ``tracestate`` that is wrong is left out without harm to the trace.
    """
    match = _TRACEPARENT.match(traceparent or "")
    if match is None:
        return None
    version, trace_id, span_id, flags, more = match.groups()
    if version == "ff" or (version == "00" and more is not None):
        return None
    if not int(trace_id, 16) or not int(span_id, 16):
        return None
    sampled = bool(int(flags, 16) & _SAMPLED)
    return TraceContext(trace_id, span_id, sampled, _sane_state(tracestate or ""))


def _sane_state(text: str) -> str:
    members = [member.strip(" \t") for member in text.split(",")]
    members = [member for member in members if member]
    if len(text) > _MAX_STATE_SIZE or len(members) > _MAX_STATE_MEMBERS:
        return ""
    keys = {member.partition("=")[0] for member in members}
    if len(keys) != len(members) or not all(_STATE_MEMBER.match(member) for member in members):
        return ""
    return ",".join(members)


def record_with(recorder: Recorder | None) -> None:
    """Have every step from now on recorded, or none."""
    _Recording.recorder = recorder


def enter(
    name: str, parent: TraceContext | None, attributes: Mapping[str, str | int]
) -> tuple[TraceContext, Span | None]:
    """Begin to answer a request; the trace holds for all that is called from now on.

    Args:
        name: what is done.
        parent: where the caller is in its trace; without it a trace begins here.
        attributes: what is known of it.

    Returns:
        The place in the trace, and what is recorded of it.
    """
    recorder, span = _Recording.recorder, None
    if recorder is not None:
        span = recorder.start(name, parent, attributes)
        context = span.context
    elif parent is not None:
        context = parent.child()
    else:
        context = TraceContext(secrets.token_hex(16), secrets.token_hex(8))
    _current.set(context)
    return context, span


@contextmanager
def recorded(name: str, attributes: Mapping[str, str | int]) -> Iterator[None]:
    """Record a step within another one, where steps are recorded."""
    recorder = _Recording.recorder
    if recorder is None:
        yield
        return
    span = recorder.start(name, _current.get(), attributes)
    token = _current.set(span.context)
    failed = True
    try:
        yield
        failed = False
    finally:
        _current.reset(token)
        span.end({}, failed)
