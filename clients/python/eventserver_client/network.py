"""Connections on which a try ends when its time is over, however the server drips."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Self, cast

import httpcore
import httpx

LEAST_RATE = 64 * 1024
"""Bytes a second: whoever takes or sends large content so fast may go on."""
_MAX_CONNECTIONS = 100
_MAX_IDLE = 20
_IDLE_SECONDS = 5.0
_FAILURES = (
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.ProxyError,
    httpcore.TimeoutException,
    httpcore.UnsupportedProtocol,
)


class Patience(float):
    """Seconds that the network may be silent, and the instant at which a try ends at all.

    As a float httpx hands it down to where bytes are read and written.
    """

    _ends_at: float

    def __new__(cls, silence: float, total: float) -> Self:
        """Begin now, and be patient for so many seconds altogether."""
        made = super().__new__(cls, silence)
        made._ends_at = time.monotonic() + total
        return made

    def left(self) -> float:
        """Return for how long the next byte may be waited for; nothing, or less, at the end."""
        return min(float(self), self._ends_at - time.monotonic())

    def extend(self, size: int) -> None:
        """Grant as much more time as so many bytes may take."""
        self._ends_at += size / LEAST_RATE


class PatientTransport(httpx.BaseTransport):
    """HTTP/1.1 as httpx speaks it, but with a ``Patience`` where a timeout is given.

    Args:
        context: for TLS.
    """

    def __init__(self, context: ssl.SSLContext) -> None:
        self._pool = httpcore.ConnectionPool(
            ssl_context=context,
            max_connections=_MAX_CONNECTIONS,
            max_keepalive_connections=_MAX_IDLE,
            keepalive_expiry=_IDLE_SECONDS,
            network_backend=_Network(),
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request, and return the answer, whose content is still to be read."""
        url = request.url
        address = httpcore.URL(
            scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
        )
        sent = httpcore.Request(
            method=request.method,
            url=address,
            headers=request.headers.raw,
            content=cast(httpx.SyncByteStream, request.stream),
            extensions=request.extensions,
        )
        with _as_httpx_says():
            response = self._pool.handle_request(sent)
        return httpx.Response(
            response.status,
            headers=response.headers,
            stream=_Content(response),
            extensions=response.extensions,
        )

    def close(self) -> None:
        """Close the connections."""
        self._pool.close()


class _Content(httpx.SyncByteStream):
    def __init__(self, response: httpcore.Response) -> None:
        self._response = response

    def __iter__(self) -> Iterator[bytes]:
        with _as_httpx_says():
            yield from self._response.iter_stream()

    def close(self) -> None:
        self._response.close()


class _Network(httpcore.NetworkBackend):
    def __init__(self) -> None:
        self._plain = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        failure: Exception = httpcore.ConnectError(f"{host} has no address")
        for address in _addresses_of(host, port):  # one by one: each takes from what is left
            seconds = _left(timeout, httpcore.ConnectTimeout)
            try:
                stream = self._plain.connect_tcp(
                    address, port, seconds, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as ex:
                failure = ex
            else:
                return _Stream(stream)
        raise failure


class _Stream(httpcore.NetworkStream):
    def __init__(self, stream: httpcore.NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _left(timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        connection: socket.socket = self._stream.get_extra_info("socket")
        unsent = memoryview(buffer)
        while unsent:
            connection.settimeout(_left(timeout, httpcore.WriteTimeout))
            try:
                size = connection.send(unsent)
            except TimeoutError as ex:
                raise httpcore.WriteTimeout(str(ex)) from ex
            except OSError as ex:
                raise httpcore.WriteError(str(ex)) from ex
            unsent = unsent[size:]
            if isinstance(timeout, Patience):
                timeout.extend(size)  # what is sent is of a known size

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        seconds = _left(timeout, httpcore.ConnectTimeout)
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, seconds))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)

    def close(self) -> None:
        self._stream.close()


def _left(timeout: float | None, over: type[httpcore.TimeoutException]) -> float | None:
    if not isinstance(timeout, Patience):
        return timeout
    left = timeout.left()
    if left <= 0:
        raise over("the time for this call is over")
    return left


def _addresses_of(host: str, port: int) -> Iterator[str]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as ex:
        raise httpcore.ConnectError(str(ex)) from ex
    for *_, address in found:
        yield socket.getnameinfo(address, socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)[0]


@contextmanager
def _as_httpx_says() -> Iterator[None]:
    """Raise an error of httpcore's as that of httpx, which has the same name."""
    try:
        yield
    except _FAILURES as ex:
        raise getattr(httpx, type(ex).__name__)(str(ex)) from ex
