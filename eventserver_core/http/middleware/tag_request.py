"""Gives every request an id and a place in a trace, and logs and counts the request's end.

Every log line and answer has the id; every log line has ``trace_id`` and ``span_id``.
"""

from __future__ import annotations

import re
import time
import uuid
from typing import Any

import falcon
import structlog

from eventserver_core.backends import tracing
from eventserver_core.errors import InvalidInputError
from eventserver_core.http.middleware import measuring
from eventserver_core.log import get_logger

_SANE = re.compile(r"[A-Za-z0-9._-]{1,128}\Z")
_LEAST_FAULT = 500
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    # an answer is data: where a browser shows it as a page, that page may do nothing
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
}
_log = get_logger()


def tag(req: falcon.Request, resp: falcon.Response) -> str:
    """Return the request's id; the first to ask gives it one."""
    if not hasattr(req.context, "request_id"):
        given = req.get_header("X-Request-ID") or ""
        req.context.request_id = given if _SANE.match(given) else uuid.uuid4().hex
        req.context.started = time.perf_counter()
        measuring.begin()
        parent = tracing.read_headers(req.get_header("traceparent"), req.get_header("tracestate"))
        # the path isn't known to be one of ours yet: the span's end names the route
        trace, req.context.span = tracing.enter("request", parent, {})
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(
            request_id=req.context.request_id, trace_id=trace.trace_id, span_id=trace.span_id
        )
        resp.set_header("X-Request-ID", req.context.request_id)
        if req.get_header("traceparent") is not None:
            # who traces learns what its trace became here (W3C Trace Context Level 2)
            resp.set_header("traceresponse", trace.traceparent)
        for name, value in _HEADERS.items():
            resp.set_header(name, value)
    return str(req.context.request_id)


class TagRequest:
    """The outermost middleware."""

    def process_request(self, req: falcon.Request, resp: falcon.Response) -> None:
        tag(req, resp)
        if "\0" in req.path or "%00" in req.query_string:
            # no name has one, and not every database takes one
            raise InvalidInputError("a path or a query with a NUL is none of ours")

    def process_response(
        self, req: falcon.Request, resp: falcon.Response, _resource: Any, _succeeded: bool
    ) -> None:
        tag(req, resp)  # Falcon refuses some methods before it asks any middleware
        if resp.get_header("Cache-Control") is None:
            resp.cache_control = ["no-store"]
        elapsed = time.perf_counter() - req.context.started
        status = int(str(resp.status)[:3])
        measuring.finish(req, resp, status, elapsed)
        # the template: a path may hold what a log should not
        route = req.uri_template or measuring.UNKNOWN_ROUTE
        if req.context.span is not None:
            attributes: dict[str, str | int] = {
                "http.request.method": req.method,
                "http.route": route,
                "http.response.status_code": status,
                "eventserver.request_id": req.context.request_id,
            }
            req.context.span.end(attributes, status >= _LEAST_FAULT)
        _log.info(
            "request_finished",
            method=req.method,
            route=route,
            status=status,
            processing_time_ms=round(elapsed * 1000, 1),
        )
