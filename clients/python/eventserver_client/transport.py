"""One call over HTTP: sent, tried again where that is right, its answer read within limits."""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx

from eventserver_client.errors import (
    AnswerLostError,
    EventServerError,
    ProtocolError,
    RateLimitedError,
    RefusedError,
    UnavailableError,
    UntrustedServerError,
)
from eventserver_client.network import Patience, PatientTransport
from eventserver_client.retrying import RetryPolicy, seconds_of

_T = TypeVar("_T")

Certificate = str | Callable[[], str] | None
"""A bearer's certificate, or what returns the present one."""

Content = Callable[[ExitStack], Mapping[str, Any]]
"""Makes a request's content for each try anew, as arguments for httpx; what it opens it enters."""

MAX_ANSWER_SIZE = 16 * 1024 * 1024
_SHORTEST_TIMEOUT = 0.05
_LATER = frozenset(
    {HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.GATEWAY_TIMEOUT}
)
_NOT_BEGUN = "backend_unavailable"
"""The code of the server's own 503: it did nothing."""
_PERHAPS_DONE = "the server may have done it, so it wasn't asked again"
_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that was wanted.

    Attributes:
        retry_after: seconds, where the server said when to ask again.
    """

    status: int
    content: bytes
    retry_after: float | None = None

    def document(self) -> Any:
        """Return its JSON.

        Raises:
            ProtocolError: it is none.
        """
        try:
            return json.loads(self.content)
        except (ValueError, RecursionError) as ex:
            raise ProtocolError("the answer is no JSON") from ex


class Transport:
    """Calls a server with a certificate, as patiently as its policy says.

    Args:
        base_url: the server's address.
        certificate: asked for each try, where it is a function.
        timeout: seconds that the network may be silent, and that an answer may take to read.
        retry: when to try again.
        verify: what vouches for the server: a PEM file, a context, or None for the usual.
    """

    def __init__(
        self,
        base_url: str,
        certificate: Certificate,
        timeout: float,
        retry: RetryPolicy,
        verify: ssl.SSLContext | str | Path | None,
    ) -> None:
        address = urlsplit(base_url)
        if address.scheme not in ("http", "https") or not address.hostname or "@" in address.netloc:
            raise ValueError("the server's address is https://HOST[:PORT], or http://")
        if verify is None:
            verify = httpx.create_ssl_context(trust_env=False)
        elif not isinstance(verify, ssl.SSLContext):
            verify = ssl.create_default_context(cafile=verify)
        self._certificate = certificate
        self._timeout = timeout
        self._retry = retry
        self._http = httpx.Client(
            base_url=base_url,
            # a compressed answer could grow past any limit
            headers={"Accept-Encoding": "identity", "User-Agent": "eventserver-client"},
            transport=PatientTransport(verify),
            follow_redirects=False,
            trust_env=False,  # a certificate goes to nobody but the server
        )

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def certificate(self) -> str | None:
        """Return the caller's present certificate."""
        return self._certificate() if callable(self._certificate) else self._certificate

    def call(
        self,
        method: str,
        path: str,
        *,
        wanted: tuple[int, ...] = (200,),
        bearer: bool = True,
        params: Mapping[str, str | int] | None = None,
        content: Content | None = None,
        repeatable: bool = True,
    ) -> Answer:
        """Call, and return an answer with a wanted status.

        Args:
            method: GET, POST …
            path: from the server's address on.
            wanted: the statuses that are answers; anything else is an error.
            bearer: whether to show the certificate.
            params: the query.
            content: the request's.
            repeatable: whether the call may be tried again once its answer may have been lost.

        Raises:
            EventServerError: there was no such answer.
        """

        def send(patience: Patience) -> Answer:
            with self._response(
                method, path, bearer, params, content, patience, repeatable
            ) as response:
                return _checked(response, wanted, self._timeout, repeatable)

        return self._tried(send)

    def download(
        self, path: str, receive: Callable[[Iterator[bytes]], None], max_size: int
    ) -> None:
        """Fetch what may be large, and have its bytes received as they come.

        Args:
            path: from the server's address on.
            receive: called once for each try, and has to begin anew.
            max_size: bytes; more are refused.

        Raises:
            EventServerError: it couldn't be fetched whole.
        """

        def send(patience: Patience) -> None:
            with self._response("GET", path, True, None, None, patience, True) as response:
                if response.status_code == HTTPStatus.OK:
                    receive(_chunks(response, max_size, patience))
                else:
                    _checked(response, (HTTPStatus.OK,), self._timeout, True)

        self._tried(send)

    def _tried(self, send: Callable[[Patience], _T]) -> _T:
        deadline = time.monotonic() + self._retry.deadline

        def attempt() -> _T:
            left = max(deadline - time.monotonic(), _SHORTEST_TIMEOUT)
            return send(Patience(self._timeout, left))

        return self._retry.run(attempt)

    @contextmanager
    def _response(
        self,
        method: str,
        path: str,
        bearer: bool,
        params: Mapping[str, str | int] | None,
        content: Content | None,
        patience: Patience,
        repeatable: bool,
    ) -> Iterator[httpx.Response]:
        with ExitStack() as opened:
            arguments = dict(content(opened)) if content else {}
            timeout = httpx.Timeout(patience, pool=patience.left())
            request = self._http.build_request(
                method, path, params=params, timeout=timeout, **arguments
            )
            certificate = self.certificate() if bearer else None
            if certificate:
                request.headers["Authorization"] = f"Bearer {certificate}"
            try:
                response = self._http.send(request, stream=True)
                opened.callback(response.close)
                yield response
            except httpx.HTTPError as ex:
                raise _network_error(ex, f"{method} {request.url.path}", repeatable) from ex


def post_json(document: Any) -> Content:
    """Return a request's content: JSON."""
    content = json.dumps(document, ensure_ascii=False, allow_nan=False).encode()
    return post_bytes(content)


def post_bytes(content: bytes, media_type: str = "application/json") -> Content:
    """Return a request's content: JSON or what else it is, as bytes."""
    headers = {"Content-Type": media_type}
    return lambda _opened: {"content": content, "headers": headers}


def _network_error(error: httpx.HTTPError, call: str, repeatable: bool) -> EventServerError:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return UntrustedServerError(f"{call}: {cause.verify_message}")
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, httpx.LocalProtocolError | httpx.UnsupportedProtocol):
        return ProtocolError(f"{call}: the request can't be sent: {error}")
    found = f"{call}: {type(error).__name__}: {error}"
    if repeatable or isinstance(error, _NEVER_SENT):
        return UnavailableError(found)
    return AnswerLostError(f"{found}; {_PERHAPS_DONE}")


def _checked(
    response: httpx.Response, wanted: tuple[int, ...], seconds: float, repeatable: bool
) -> Answer:
    status = response.status_code
    retry_after = seconds_of(response.headers.get("Retry-After"))
    content = _content(response, seconds)
    if status in wanted:
        return Answer(status, content, retry_after)
    if status < HTTPStatus.BAD_REQUEST:
        raise ProtocolError(f"the answer is {status}, which is no answer to this call")
    document = _problem(content)
    error = error_of(status, document, retry_after)
    if isinstance(error, UnavailableError) and not repeatable:
        # what stands between may say so of a request that the server has done
        not_begun = _text(document, "code") == _NOT_BEGUN
        if status != HTTPStatus.SERVICE_UNAVAILABLE or not not_begun:
            raise AnswerLostError(f"{error}; {_PERHAPS_DONE}", retry_after, status)
    raise error


def error_of(
    status: int, document: Mapping[str, Any], retry_after: float | None = None
) -> EventServerError:
    """Return what a refusal of something that may be repeated means.

    Args:
        status: the HTTP status, 400 or more.
        document: the problem details; empty where there are none.
        retry_after: seconds, where the server said when to ask again.
    """
    said = _refused(status, document)
    if status in _LATER:
        return UnavailableError(str(said), retry_after, status)
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return RateLimitedError(str(said), retry_after)
    return said


def _content(response: httpx.Response, seconds: float) -> bytes:
    """Read an answer, of a bounded size and in a bounded time."""
    _refuse_encoding(response)
    deadline = time.monotonic() + seconds
    content = bytearray()
    for chunk in response.iter_raw():
        content += chunk
        if len(content) > MAX_ANSWER_SIZE:
            raise ProtocolError(f"the answer is larger than {MAX_ANSWER_SIZE} bytes")
        if time.monotonic() > deadline:
            raise httpx.ReadTimeout(f"the answer took longer than {seconds:g} seconds")
    return bytes(content)


def _chunks(response: httpx.Response, max_size: int, patience: Patience) -> Iterator[bytes]:
    """Read what may be large, for as long as it comes fast enough."""
    _refuse_encoding(response)
    too_large = ProtocolError(f"the answer is larger than {max_size} bytes")
    if "Transfer-Encoding" not in response.headers:
        length = response.headers.get("Content-Length")
        if length is None:
            raise ProtocolError("the answer has no length, so nobody can tell whether it is whole")
        if int(length) > max_size:
            raise too_large
    size = 0
    for chunk in response.iter_raw():
        size += len(chunk)
        if size > max_size:
            raise too_large
        patience.extend(len(chunk))
        yield chunk


def _refuse_encoding(response: httpx.Response) -> None:
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise ProtocolError("the answer is compressed, which wasn't asked for")


def _problem(content: bytes) -> Mapping[str, Any]:
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _refused(status: int, document: Mapping[str, Any]) -> RefusedError:
    errors = document.get("errors")
    return RefusedError(
        status,
        _text(document, "code"),
        _text(document, "detail") or _text(document, "title") or _phrase(status),
        _text(document, "requestId"),
        [error for error in errors if isinstance(error, dict)] if isinstance(errors, list) else [],
        document,
    )


def _text(document: Mapping[str, Any], name: str) -> str:
    value = document.get(name)
    return value if isinstance(value, str) else ""


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "no problem details"
