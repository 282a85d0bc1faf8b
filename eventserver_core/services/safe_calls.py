"""Calls over HTTPS to addresses that somebody gave: checked first, bounded in time and in bytes.

A name is resolved once, every address that it resolves to is judged, and one of those is called.
Nothing is followed, no proxy is asked, and the other side holds nobody up: TLS works on memory, so
that each read of the socket is counted and ends at the deadline, whatever the bytes do inside.
"""

from __future__ import annotations

import io
import queue
import socket
import ssl
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from ipaddress import ip_address
from typing import Any, cast

from eventserver_core.backends.tracing import outgoing_headers
from eventserver_core.domain.network_address import IPAddress, IPNetwork, NetworkAddress, refusal
from eventserver_core.errors import AddressNotAllowedError

MAX_ANSWER_SIZE = 64 * 1024
"""How many bytes of an answer are read, its headers among them."""

_MAX_RECEIVED = 2 * MAX_ANSWER_SIZE
"""The same on the wire: a handshake, and records that carry nothing, come on top."""
_MAX_CALLED = 4
"""How many of a name's addresses are tried, one after the other, until one can be connected to."""
_MAX_RESOLVING = 8
"""A resolver can't be interrupted: how many names may be waiting for theirs at once."""
_CHUNK = 16 * 1024

_resolving = threading.BoundedSemaphore(_MAX_RESOLVING)


class CallFailedError(Exception):
    """There was no answer that can be used; the message says so in a few words, for an admin.

    Args:
        message: what went wrong.
        called: where, if anything was connected to.
    """

    def __init__(self, message: str, called: NetworkAddress | None = None) -> None:
        super().__init__(message)
        self.called = called


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back.

    Attributes:
        called: the address that was connected to.
        status: the HTTP status, whatever it is.
        body: at most ``MAX_ANSWER_SIZE`` bytes.
        seconds: from connecting to the answer's last byte.
    """

    called: NetworkAddress
    status: int
    body: bytes
    seconds: float


class Deadline:
    """A moment after which nothing more is waited for.

    Args:
        seconds: how long from now.
    """

    def __init__(self, seconds: float) -> None:
        self._limit = seconds
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Return the seconds that are left, more than none.

        Raises:
            CallFailedError: none are.
        """
        left = self._end - time.monotonic()
        if left <= 0:
            raise self.passed()
        return left

    def passed(self) -> CallFailedError:
        """Return what is raised when it is over."""
        return CallFailedError(f"there was no whole answer within {self._limit:g} s")


def safe_addresses(
    address: NetworkAddress, allowed_networks: Sequence[IPNetwork], deadline: Deadline
) -> list[IPAddress]:
    """Return what an address resolves to, if all of it may be called.

    Raises:
        AddressNotAllowedError: some of it must not be.
        CallFailedError: it doesn't resolve, or not in time.
    """
    found = [address.ip] if address.ip is not None else _resolve(address, deadline)
    for ip in found:
        if reason := refusal(ip, allowed_networks):
            raise AddressNotAllowedError(f"{address} must not be called: {reason}")
    return found


def get(
    address: NetworkAddress,
    path: str,
    ips: Sequence[IPAddress],
    context: ssl.SSLContext,
    deadline: Deadline,
) -> Answer:
    """Get a path over HTTPS, from the addresses given and no others.

    Args:
        address: whom the certificate must be for; what the request names as its host.
        path: from the slash on.
        ips: what the address was resolved to.
        context: whom to trust.
        deadline: when to stop, whatever is under way.

    Raises:
        CallFailedError: there was no answer.
    """
    started = time.monotonic()
    connection, called = _connect(ips, address.port, deadline)
    with closing(connection):
        try:
            stream = _TlsStream(connection, context, address.host, deadline)
            stream.send(
                f"GET {path} HTTP/1.1\r\nHost: {address}\r\nUser-Agent: EventServer\r\n"
                f"Accept: application/json\r\nConnection: close\r\n{_trace_headers()}\r\n".encode(
                    "ascii"
                )
            )
            # all that it asks of a socket is a file to read from
            response = HTTPResponse(cast("socket.socket", stream), method="GET")
            response.begin()
            # with a limit nothing is allocated by the length that the other side claims
            body = response.read(MAX_ANSWER_SIZE)
        except CallFailedError as ex:
            raise CallFailedError(str(ex), called) from ex
        except TimeoutError as ex:
            raise CallFailedError(str(deadline.passed()), called) from ex
        except ssl.SSLCertVerificationError as ex:
            detail = f"its certificate doesn't hold: {ex.verify_message}"
            raise CallFailedError(detail, called) from ex
        except ssl.SSLError as ex:
            raise CallFailedError("it doesn't speak TLS as it must", called) from ex
        except OSError as ex:
            raise CallFailedError("it closed the connection", called) from ex
        except (HTTPException, ValueError) as ex:
            raise CallFailedError("its answer is not HTTP", called) from ex
        return Answer(called, response.status, body, time.monotonic() - started)


def _trace_headers() -> str:
    return "".join(f"{name}: {value}\r\n" for name, value in outgoing_headers().items())


def _resolve(address: NetworkAddress, deadline: Deadline) -> list[IPAddress]:
    if not _resolving.acquire(timeout=deadline.left()):
        raise CallFailedError("too many other names are being resolved")
    answers: queue.SimpleQueue[list[Any] | None] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answers.put(socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError):
            answers.put(None)
        finally:
            _resolving.release()

    threading.Thread(target=ask, name="resolve", daemon=True).start()
    try:
        entries = answers.get(timeout=deadline.left())
    except queue.Empty as ex:
        raise deadline.passed() from ex
    if not entries:
        raise CallFailedError("its name doesn't resolve")
    # a scope comes apart from its address, and nothing public has one
    texts = (f"{at[0]}%{at[3]}" if len(at) == 4 and at[3] else at[0] for *_, at in entries)
    return [ip_address(text) for text in dict.fromkeys(texts)]


def _connect(
    ips: Sequence[IPAddress], port: int, deadline: Deadline
) -> tuple[socket.socket, NetworkAddress]:
    tried = ips[:_MAX_CALLED]
    for number, ip in enumerate(tried):
        # one that doesn't answer leaves time for the others
        time_limit = deadline.left() / (len(tried) - number)
        try:
            return _dial(ip, port, time_limit), NetworkAddress(str(ip), port)
        except OSError:
            continue
    raise CallFailedError("it can't be connected to")


def _dial(ip: IPAddress, port: int, time_limit: float) -> socket.socket:
    # not create_connection, which would resolve once more
    connection = socket.socket(socket.AF_INET if ip.version == 4 else socket.AF_INET6)
    try:
        connection.settimeout(time_limit)
        connection.connect((str(ip), port))
    except OSError:
        connection.close()
        raise
    return connection


class _TlsStream(io.RawIOBase):
    """TLS over a socket, every byte of which is counted and in time.

    With ``ssl.SSLSocket`` OpenSSL reads the socket by itself, and goes on for as long as what
    comes is records without content.
    """

    def __init__(
        self, connection: socket.socket, context: ssl.SSLContext, host: str, deadline: Deadline
    ) -> None:
        self._connection = connection
        self._deadline = deadline
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._received = 0
        self._read = 0
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self._exchange(self._tls.do_handshake)

    def send(self, content: bytes) -> None:
        """Send a little, all at once."""
        self._exchange(lambda: self._tls.write(content))

    def makefile(self, *_: object) -> io.BufferedReader:
        """Return a file to read from, as a socket does."""
        return io.BufferedReader(self, _CHUNK)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            count = int(self._exchange(lambda: self._tls.read(len(buffer), buffer)))
        except ssl.SSLEOFError:
            # whoever cuts an answer short is found out by its length
            return 0
        self._read += count
        if self._read > MAX_ANSWER_SIZE:
            raise CallFailedError(f"it answered with more than {MAX_ANSWER_SIZE // 1024} KiB")
        return count

    def _exchange(self, step: Any) -> Any:
        """Do a step, with as many bytes from the other side as it takes."""
        while True:
            try:
                done = step()
            except ssl.SSLWantReadError:
                self._flush()
                self._receive()
            else:
                self._flush()
                return done

    def _flush(self) -> None:
        if pending := self._outgoing.read():
            self._connection.settimeout(self._deadline.left())
            self._connection.sendall(pending)

    def _receive(self) -> None:
        self._connection.settimeout(self._deadline.left())
        received = self._connection.recv(_CHUNK)
        self._received += len(received)
        if self._received > _MAX_RECEIVED:
            raise CallFailedError("it sent far more than an answer takes")
        if received:
            self._incoming.write(received)
        else:
            self._incoming.write_eof()
