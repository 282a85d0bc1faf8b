"""Handing traces over to a collector by OpenTelemetry, where that is wanted.

It is wanted where ``OTEL_EXPORTER_OTLP_ENDPOINT`` is set; nothing of OpenTelemetry is imported
otherwise. Its other variables (``OTEL_SERVICE_NAME``, ``OTEL_TRACES_SAMPLER``,
``OTEL_EXPORTER_OTLP_HEADERS``) hold as they are.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from eventserver_core.backends import tracing
from eventserver_core.backends.tracing import Span, TraceContext
from eventserver_core.errors import ConfigurationError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span as OtelSpan
    from opentelemetry.trace import SpanContext, Tracer

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
_SERVICE = "eventserver"


def record_traces() -> None:
    """Have traces recorded from now on, where they are wanted.

    Raises:
        ConfigurationError: they are, and OpenTelemetry isn't installed.
    """
    if not os.environ.get(ENDPOINT) or _Recording.provider is not None:
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as ex:
        raise ConfigurationError(
            f"{ENDPOINT}: traces need OpenTelemetry; run: pip install 'eventserver-core[otel]'"
        ) from ex
    named = Resource({SERVICE_NAME: os.environ.get("OTEL_SERVICE_NAME") or _SERVICE})
    provider = TracerProvider(resource=Resource.create().merge(named))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    _Recording.provider = provider
    tracing.record_with(OpenTelemetryRecorder(provider.get_tracer("eventserver")))


class _Recording:
    provider: TracerProvider | None = None


class OpenTelemetryRecorder:
    """Records steps as OpenTelemetry's spans.

    Args:
        tracer: makes them.
    """

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def start(
        self, name: str, parent: TraceContext | None, attributes: Mapping[str, str | int]
    ) -> Span:
        """Begin a step; see ``Recorder.start``."""
        from opentelemetry import trace
        from opentelemetry.context import Context

        context = Context()
        if parent is not None:
            context = trace.set_span_in_context(trace.NonRecordingSpan(_outside(parent)), context)
        kind = trace.SpanKind.SERVER if name == "request" else trace.SpanKind.CLIENT
        span = self._tracer.start_span(name, context, kind=kind, attributes=dict(attributes))
        return _RecordedSpan(span)


class _RecordedSpan:
    """A span that is being recorded."""

    def __init__(self, span: OtelSpan) -> None:
        self._span = span
        said = span.get_span_context()
        self.context = TraceContext(
            f"{said.trace_id:032x}",
            f"{said.span_id:016x}",
            said.trace_flags.sampled,
            said.trace_state.to_header(),
        )

    def end(self, attributes: Mapping[str, str | int], failed: bool) -> None:
        """Say that it is over; see ``Span.end``."""
        from opentelemetry.trace import StatusCode

        self._span.set_attributes(dict(attributes))
        if route := attributes.get("http.route"):
            self._span.update_name(f"{attributes.get('http.request.method')} {route}")
        if failed:
            # without a word of what went wrong: that is for the log, where secrets are hidden
            self._span.set_status(StatusCode.ERROR)
        self._span.end()


def _outside(parent: TraceContext) -> SpanContext:
    from opentelemetry import trace

    return trace.SpanContext(
        int(parent.trace_id, 16),
        int(parent.span_id, 16),
        is_remote=True,
        trace_flags=trace.TraceFlags(int(parent.sampled)),
        trace_state=trace.TraceState.from_header([parent.state]),
    )
