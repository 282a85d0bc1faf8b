"""What callers see when something is wrong: RFC 9457 problem details, for every error there is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import falcon

from eventserver_core.domain.canonical import pointer
from eventserver_core.errors import (
    AddressNotAllowedError,
    AuthenticationError,
    BackendContractError,
    BackendUnavailableError,
    ClockSkewError,
    ConflictError,
    ContentMismatchError,
    ContentTooLargeError,
    EventServerError,
    EventTooOldError,
    EvidenceDamagedError,
    Fault,
    IdempotencyKeyReusedError,
    InvalidInputError,
    InvalidSolutionError,
    LabelsViolatedError,
    LeaseLostError,
    MachineNotAllowedError,
    NotFoundError,
    ObjectNotFoundError,
    PermissionDeniedError,
    PublicKeyMismatchError,
    RateLimitedError,
    RequestTimeoutError,
    UnsupportedMediaError,
)
from eventserver_core.http.middleware.tag_request import tag
from eventserver_core.json_text import write_json
from eventserver_core.log import get_logger, scrub
from eventserver_core.pki.refusals import RefusedRequestError

CONTENT_TYPE = "application/problem+json"
RETRY_AFTER_SECONDS = 5

STATUSES: dict[type[EventServerError], HTTPStatus] = {
    ContentTooLargeError: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    UnsupportedMediaError: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    ContentMismatchError: HTTPStatus.UNPROCESSABLE_ENTITY,
    ClockSkewError: HTTPStatus.UNPROCESSABLE_ENTITY,
    EventTooOldError: HTTPStatus.UNPROCESSABLE_ENTITY,
    InvalidSolutionError: HTTPStatus.UNPROCESSABLE_ENTITY,
    LabelsViolatedError: HTTPStatus.UNPROCESSABLE_ENTITY,
    AddressNotAllowedError: HTTPStatus.UNPROCESSABLE_ENTITY,
    MachineNotAllowedError: HTTPStatus.UNPROCESSABLE_ENTITY,
    PublicKeyMismatchError: HTTPStatus.UNPROCESSABLE_ENTITY,
    IdempotencyKeyReusedError: HTTPStatus.UNPROCESSABLE_ENTITY,
    RefusedRequestError: HTTPStatus.UNPROCESSABLE_ENTITY,
    RequestTimeoutError: HTTPStatus.REQUEST_TIMEOUT,
    InvalidInputError: HTTPStatus.BAD_REQUEST,
    AuthenticationError: HTTPStatus.UNAUTHORIZED,
    PermissionDeniedError: HTTPStatus.FORBIDDEN,
    NotFoundError: HTTPStatus.NOT_FOUND,
    ConflictError: HTTPStatus.CONFLICT,
    RateLimitedError: HTTPStatus.TOO_MANY_REQUESTS,
    BackendUnavailableError: HTTPStatus.SERVICE_UNAVAILABLE,
    ObjectNotFoundError: HTTPStatus.SERVICE_UNAVAILABLE,
    EvidenceDamagedError: HTTPStatus.INTERNAL_SERVER_ERROR,
    LeaseLostError: HTTPStatus.SERVICE_UNAVAILABLE,
}
"""The one table from errors to status codes; the nearest class in an error's tree counts."""

_UNEXPECTED = "something went wrong here, and it was logged under this request id"

_log = get_logger()


def status_of(error: type[EventServerError]) -> HTTPStatus:
    """Return the status that an error is answered with."""
    for ancestor in error.__mro__:
        if ancestor in STATUSES:
            return STATUSES[ancestor]
    return HTTPStatus.INTERNAL_SERVER_ERROR


def install(app: falcon.App[Any, Any]) -> None:
    """Make an application answer every error with problem details."""
    app.add_error_handler(Exception, _unexpected)
    app.add_error_handler(EventServerError, _ours)
    app.add_error_handler(falcon.HTTPError, _falcons)


def problem_of(ex: Exception, request_id: str) -> dict[str, Any]:
    """Return the problem details of an error, and log what is to be logged of it."""
    if not isinstance(ex, EventServerError):
        _log.error("unexpected_error", exc_info=ex)
        status, code = HTTPStatus.INTERNAL_SERVER_ERROR, "internal_error"
        return _document(status, code, _UNEXPECTED, request_id)
    status = status_of(type(ex))
    members: dict[str, Any] = dict(ex.extras)
    if isinstance(ex, InvalidInputError) and ex.faults:
        members["errors"] = [{"pointer": f.pointer, "detail": scrub(f.detail)} for f in ex.faults]
    detail = str(ex)
    if status is HTTPStatus.SERVICE_UNAVAILABLE:
        # where a plugin broke its promise its author wants to see how; an outage explains itself
        cause = ex.__cause__ if isinstance(ex, BackendContractError) else None
        _log.error("backend_unavailable", error=str(ex), exc_info=cause)
        backend = getattr(ex, "backend", "storage").partition("=")[0]
        detail = f"{backend} is not available now; the same request may succeed later"
    return _document(status, ex.code, detail, request_id, **members)


def _ours(req: falcon.Request, resp: falcon.Response, ex: EventServerError, _params: Any) -> None:
    if status_of(type(ex)) is HTTPStatus.SERVICE_UNAVAILABLE:
        resp.set_header("Retry-After", str(RETRY_AFTER_SECONDS))
    if isinstance(ex, RateLimitedError):
        resp.set_header("Retry-After", str(max(1, math.ceil(ex.retry_after))))
    if isinstance(ex, AuthenticationError):
        # a package's fault is not the bearer's: whoever sent it keeps its certificate
        bearer_refused = ex.code.startswith("certificate_")
        challenge = 'Bearer error="invalid_token"' if bearer_refused else "Bearer"
        resp.set_header("WWW-Authenticate", challenge)
    _answer(resp, problem_of(ex, tag(req, resp)))


def _falcons(
    req: falcon.Request, resp: falcon.Response, ex: falcon.HTTPError, _params: Any
) -> None:
    status = HTTPStatus(ex.status_code)
    for name, value in dict(ex.headers or {}).items():
        resp.set_header(name, value)
    detail = ex.description or status.description
    _answer(resp, _document(status, status.name.lower(), detail, tag(req, resp)))


def _unexpected(req: falcon.Request, resp: falcon.Response, ex: Exception, _params: Any) -> None:
    _answer(resp, problem_of(ex, tag(req, resp)))


def _document(
    status: HTTPStatus, code: str, detail: str, request_id: str, **members: Any
) -> dict[str, Any]:
    """Return problem details."""
    return {
        "type": "about:blank",
        "title": status.phrase,
        "status": status.value,
        "detail": scrub(detail),
        "code": code,
        "requestId": request_id,
        **members,
    }


def _answer(resp: falcon.Response, document: Mapping[str, Any]) -> None:
    status = HTTPStatus(document["status"])
    resp.status = f"{status.value} {status.phrase}"
    resp.content_type = CONTENT_TYPE
    resp.cache_control = ["no-store"]
    resp.data = write_json(document)


def validation_faults(errors: list[Any]) -> list[Fault]:
    """Turn pydantic's errors into faults."""
    return [Fault(pointer(*error["loc"]), error["msg"]) for error in errors]
