"""Gives every request an id, puts it in every log line and answer, and logs the request's end."""

from __future__ import annotations

import re
import time
import uuid
from typing import Any

import falcon
import structlog

from eventserver_core.errors import InvalidInputError
from eventserver_core.log import get_logger

_SANE = re.compile(r"[A-Za-z0-9._-]{1,128}\Z")
_log = get_logger()


def tag(req: falcon.Request, resp: falcon.Response) -> str:
    """Return the request's id; the first to ask gives it one."""
    if not hasattr(req.context, "request_id"):
        given = req.get_header("X-Request-ID") or ""
        req.context.request_id = given if _SANE.match(given) else uuid.uuid4().hex
        req.context.started = time.perf_counter()
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=req.context.request_id)
        resp.set_header("X-Request-ID", req.context.request_id)
        resp.set_header("X-Content-Type-Options", "nosniff")
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
        elapsed = time.perf_counter() - req.context.started
        _log.info(
            "request_finished",
            method=req.method,
            # the template: a path may hold what a log should not
            route=req.uri_template or "unknown",
            status=int(str(resp.status)[:3]),
            processing_time_ms=round(elapsed * 1000, 1),
        )
