"""Problem details as the description has them: which codes there are, and with which status."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from http import HTTPStatus
from typing import Any, NotRequired

from pydantic import ConfigDict, with_config
from pydantic.config import JsonDict
from typing_extensions import TypedDict

from eventserver_core.domain.package import Moment
from eventserver_core.errors import ConfigurationError, EventServerError
from eventserver_core.http.access import Access
from eventserver_core.http.errors import status_of
from eventserver_core.http.openapi.answers import Digest

_EXAMPLE: JsonDict = {
    "type": "about:blank",
    "title": "Bad Request",
    "status": 400,
    "detail": "the body is not what is asked for",
    "code": "invalid_request",
    "requestId": "3f9f5f0c1f6b4f0e8a1f2d3c4b5a6978",
    "errors": [{"pointer": "/region", "detail": "Field required"}],
}


class Fault(TypedDict):
    """One thing that is wrong with what was sent: where, as a JSON pointer, and what."""

    pointer: str
    detail: str


@with_config(ConfigDict(json_schema_extra={"examples": [_EXAMPLE]}))
class Problem(TypedDict):
    """What is wrong (RFC 9457); `code` is a stable word, the rest is for people."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    requestId: str
    errors: NotRequired[list[Fault]]
    serverTime: NotRequired[Moment]
    storedHash: NotRequired[Digest]


_NEVER_ANSWERED = frozenset({"error", "configuration", "lease_lost", "object_not_found"})
_WITHOUT_A_CLASS: Mapping[HTTPStatus, tuple[str, ...]] = {
    HTTPStatus.BAD_REQUEST: ("bad_request", "malformed_request"),
    HTTPStatus.UNAUTHORIZED: (
        "certificate_invalid",
        "certificate_expired",
        "authorization_invalid",
        "assertion_invalid",
        "device_certificate_missing",
        "device_certificate_invalid",
        "signature_invalid",
        "package_expired",
    ),
    HTTPStatus.METHOD_NOT_ALLOWED: ("method_not_allowed",),
    HTTPStatus.INTERNAL_SERVER_ERROR: ("internal_error",),
}
"""Codes that are given where an error is raised, or by what stands before the resources."""


def statuses() -> dict[str, HTTPStatus]:
    """Return the status of every code that is answered."""
    found = {code: status for status, codes in _WITHOUT_A_CLASS.items() for code in codes}
    for kind in _tree(EventServerError):
        if kind.code not in _NEVER_ANSWERED and not issubclass(kind, ConfigurationError):
            found.setdefault(kind.code, status_of(kind))
    return found


def _tree(kind: type[EventServerError]) -> Iterator[type[EventServerError]]:
    for child in kind.__subclasses__():
        yield child
        yield from _tree(child)


def codes_of(access: Access, *, sends: bool, has_path: bool) -> Iterator[str]:
    """Yield the codes that an operation has by who may call it, and by what it takes."""
    yield from ("invalid_request", "bad_request", "malformed_request", "internal_error")
    if access.roles:
        yield from ("unauthenticated", "certificate_invalid", "certificate_expired")
        yield from ("certificate_revoked", "relay_suspended", "relay_not_active")
        yield "relay_decommissioned"
        if not access.anyone:
            yield "forbidden"
    if access.roles or access.route_class:
        yield "backend_unavailable"
    if access.route_class:
        yield "rate_limited"
    if sends:
        yield from ("request_timeout", "content_too_large", "unsupported_media_type")
    if has_path:
        yield "not_found"


def responses(codes: Iterable[str], problem: Mapping[str, Any]) -> dict[int, dict[str, Any]]:
    """Return a response for each status that codes have.

    Args:
        codes: what can go wrong.
        problem: the schema of problem details.
    """
    known = statuses()
    by_status: dict[HTTPStatus, list[str]] = {}
    for code in dict.fromkeys(codes):
        by_status.setdefault(known[code], []).append(code)
    return {
        status.value: {
            "description": f"{status.phrase}: " + ", ".join(f"`{code}`" for code in found),
            "headers": _headers(status),
            "content": {
                "application/problem+json": {
                    "schema": {"allOf": [problem, {"properties": {"code": {"enum": found}}}]},
                }
            },
        }
        for status, found in sorted(by_status.items())
    }


def _headers(status: HTTPStatus) -> dict[str, Any]:
    if status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
        return {"Retry-After": required_header("retry-after")}
    if status is HTTPStatus.UNAUTHORIZED:
        return {"WWW-Authenticate": required_header("www-authenticate")}
    return {}


def required_header(name: str) -> dict[str, str]:
    """Return the reference to a header that the document has among its components."""
    return {"$ref": f"#/components/headers/{name}"}
