"""Counting requests, by what few words there are for them."""

from __future__ import annotations

import json
from http import HTTPStatus

import falcon

from eventserver_core.metrics.definitions import (
    HTTP_IN_FLIGHT,
    HTTP_PROBLEMS,
    HTTP_REQUESTS,
    HTTP_SECONDS,
)

_METHODS = frozenset(falcon.HTTP_METHODS)
_OTHER = "other"
UNKNOWN_ROUTE = "unknown"


def begin() -> None:
    """Count a request whose answer is being made."""
    HTTP_IN_FLIGHT.inc()


def finish(req: falcon.Request, resp: falcon.Response, status: int, seconds: float) -> None:
    """Count a request whose answer is made; a body that is streamed is yet to be sent."""
    HTTP_IN_FLIGHT.dec()
    route = req.uri_template or UNKNOWN_ROUTE
    method = req.method if req.method in _METHODS else _OTHER
    HTTP_REQUESTS.labels(method, route, str(status)).inc()
    HTTP_SECONDS.labels(route, f"{status // 100}xx").observe(seconds)
    if status >= HTTPStatus.BAD_REQUEST and (code := _problem_code(resp)):
        HTTP_PROBLEMS.labels(code).inc()


def _problem_code(resp: falcon.Response) -> str | None:
    """Return the stable word that a problem has."""
    if resp.content_type != "application/problem+json" or not isinstance(resp.data, bytes):
        return None
    code = json.loads(resp.data).get("code")
    return code if isinstance(code, str) else None
