"""Load over HTTP/1.1, from one process that costs little: it shares the machine with the server.

Raw sockets that stay open, requests made before they are due, and of an answer no more is read
than its status, its length and its bytes.
"""

from __future__ import annotations

import selectors
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

_READ_SIZE = 256 * 1024
_PATIENCE_SECONDS = 60.0
_ARRIVAL_SECONDS = 0.01
"""Between two connections: of those that come at once, one of the server's processes takes most."""
_HEAD_END = b"\r\n\r\n"
_LENGTH = b"\r\ncontent-length:"
_CHUNKED = b"\r\ntransfer-encoding: chunked"
_LAST_CHUNK = b"\r\n0\r\n\r\n"

Check = Callable[[int, bytes], None]
"""Gets an answer's status and body; raises LoadError where they are not what was wanted."""


class LoadError(Exception):
    """The server did not answer as it should; the message says what came."""


@dataclass(frozen=True, slots=True)
class Load:
    """What came of a load.

    Attributes:
        count: how many requests were answered, all as they should be.
        seconds: from the first request to the last answer.
        latencies_ms: of each request, in the order of the answers.
    """

    count: int
    seconds: float
    latencies_ms: list[float]


def expect(status: int) -> Check:
    """Return a check of an answer's status alone."""

    def check(found: int, body: bytes) -> None:
        if found != status:
            raise LoadError(f"the server answered {found}, not {status}: {body[:500]!r}")

    return check


def closed_loop(
    url: str, requests: Iterator[bytes], check: Check, *, connections: int, seconds: float
) -> Load:
    """Send on every connection, and again as soon as it was answered, for so long.

    Args:
        url: the server's address.
        requests: whole requests, without end or until they are used up.
        check: looks at each answer.
        connections: how many at once.
        seconds: when to stop sending; what is under way is waited for.
    """
    with _Connections(url, connections) as opened:
        began = time.perf_counter()
        end = began + seconds
        for connection in opened.all:
            if (request := next(requests, None)) is not None:
                opened.begin(connection, request, time.perf_counter())
        latencies: list[float] = []
        while opened.busy:
            for connection in opened.answered(_PATIENCE_SECONDS):
                now = time.perf_counter()
                latencies.append((now - connection.due) * 1000)
                check(*connection.answer())
                if now < end and (request := next(requests, None)) is not None:
                    opened.begin(connection, request, time.perf_counter())
        return Load(len(latencies), time.perf_counter() - began, latencies)


def open_loop(
    url: str,
    requests: Iterator[bytes],
    check: Check,
    *,
    rate: float,
    connections: int,
    seconds: float,
) -> Load:
    """Send at a fixed rate, whatever the answers do; a latency counts from when it was due.

    So a server that stalls is charged for every request that it kept waiting.

    Args:
        url: the server's address.
        requests: whole requests, without end.
        check: looks at each answer.
        rate: requests a second.
        connections: the most at once; a request that finds none free waits for one.
        seconds: when to stop sending; what is under way is waited for.
    """
    with _Connections(url, connections) as opened:
        idle = deque(opened.all)
        began = time.perf_counter()
        total = int(rate * seconds)
        sent = 0
        latencies: list[float] = []
        while len(latencies) < total:
            due = began + sent / rate
            while sent < total and idle and due <= time.perf_counter():
                opened.begin(idle.popleft(), next(requests), due)
                sent += 1
                due = began + sent / rate
            waits = sent < total and idle
            pause = max(due - time.perf_counter(), 0.0) if waits else _PATIENCE_SECONDS
            for connection in opened.answered(pause, quiet=bool(waits)):
                latencies.append((time.perf_counter() - connection.due) * 1000)
                check(*connection.answer())
                idle.append(connection)
        return Load(len(latencies), time.perf_counter() - began, latencies)


def send_parts(url: str, head: bytes, body: list[bytes | memoryview], check: Check) -> float:
    """Send one large request on a connection of its own, and return the seconds it took."""
    with _connect(url) as connection:
        began = time.perf_counter()
        connection.sendall(head)
        for part in body:
            connection.sendall(part)
        answer = Answer()
        while not answer.is_whole:
            answer.add(_received(connection))
        check(answer.status, answer.body)
        return time.perf_counter() - began


@dataclass(slots=True)
class Answer:
    """An answer as it comes in.

    Attributes:
        status: the status code, once the head is there.
        is_whole: whether all of it is there.
    """

    status: int = 0
    is_whole: bool = False
    _bytes: bytearray = field(default_factory=bytearray)
    _body: int = 0
    _length: int | None = None

    def add(self, received: bytes) -> None:
        """Take bytes as they were received."""
        self._bytes += received
        if not self._body:
            end = self._bytes.find(_HEAD_END)
            if end < 0:
                return
            self._read_head(bytes(self._bytes[:end]).lower())
            self._body = end + len(_HEAD_END)
        if self._length is None:
            self.is_whole = self._bytes.endswith(_LAST_CHUNK)
        else:
            self.is_whole = len(self._bytes) >= self._body + self._length

    @property
    def body(self) -> bytes:
        """The body, without the framing of its chunks."""
        body = bytes(self._bytes[self._body :])
        if self._length is not None:
            return body
        chunks = []
        while body:
            size, _, rest = body.partition(b"\r\n")
            length = int(size.partition(b";")[0], 16)
            chunks.append(rest[:length])
            body = rest[length + 2 :] if length else b""
        return b"".join(chunks)

    def _read_head(self, head: bytes) -> None:
        self.status = int(head[9:12])
        start = head.find(_LENGTH)
        if start >= 0:
            self._length = int(head[start + len(_LENGTH) :].partition(b"\r\n")[0])
        elif _CHUNKED not in head:
            self._length = 0


@dataclass(slots=True)
class _Connection:
    socket: socket.socket
    due: float = 0.0
    incoming: Answer = field(default_factory=Answer)
    outgoing: memoryview | None = None
    is_busy: bool = False

    def answer(self) -> tuple[int, bytes]:
        return self.incoming.status, self.incoming.body


class _Connections:
    """Connections that are open all the time, and watched together."""

    def __init__(self, url: str, count: int) -> None:
        self._selector = selectors.DefaultSelector()
        self.busy = 0
        self.all: list[_Connection] = []
        for _ in range(count):
            connection = _Connection(_connect(url))
            self.all.append(connection)
            time.sleep(_ARRIVAL_SECONDS)
            connection.socket.setblocking(False)
            self._selector.register(connection.socket, selectors.EVENT_READ, connection)

    def __enter__(self) -> _Connections:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._selector.close()
        for connection in self.all:
            connection.socket.close()

    def begin(self, connection: _Connection, request: bytes, due: float) -> None:
        """Send a request on a connection that is free."""
        connection.due, connection.incoming, connection.is_busy = due, Answer(), True
        self.busy += 1
        sent = _send(connection.socket, memoryview(request))
        if sent < len(request):
            connection.outgoing = memoryview(request)[sent:]
            both = selectors.EVENT_READ | selectors.EVENT_WRITE
            self._selector.modify(connection.socket, both, connection)

    def answered(self, pause: float, *, quiet: bool = False) -> Iterator[_Connection]:
        """Wait until something comes, and return the connections whose answer is whole.

        Args:
            pause: how long to wait, in seconds.
            quiet: whether nothing may come.
        """
        ready = self._selector.select(pause)
        if not ready and not quiet:
            raise LoadError(f"no answer within {pause:.0f} seconds")
        for key, events in ready:
            connection: _Connection = key.data
            if events & selectors.EVENT_WRITE and connection.outgoing is not None:
                self._send_on(connection)
            if events & selectors.EVENT_READ:
                connection.incoming.add(_received(connection.socket))
                if connection.incoming.is_whole and connection.is_busy:
                    connection.is_busy = False
                    self.busy -= 1
                    yield connection

    def _send_on(self, connection: _Connection) -> None:
        assert connection.outgoing is not None  # noqa: S101 - the caller looked
        sent = _send(connection.socket, connection.outgoing)
        connection.outgoing = connection.outgoing[sent:] or None
        if connection.outgoing is None:
            self._selector.modify(connection.socket, selectors.EVENT_READ, connection)


def _connect(url: str) -> socket.socket:
    address = urlsplit(url)
    connection = socket.create_connection((address.hostname, address.port), _PATIENCE_SECONDS)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def _send(connection: socket.socket, content: memoryview) -> int:
    try:
        return connection.send(content)
    except BlockingIOError:
        return 0


def _received(connection: socket.socket) -> bytes:
    received = connection.recv(_READ_SIZE)
    if not received:
        raise LoadError("the server closed a connection that was in use")
    return received


def request_head(method: str, path: str, headers: Mapping[str, str], length: int | None) -> bytes:
    """Return a request's head; ``length`` is its body's, None where it has no body."""
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if length is not None:
        lines.append(f"Content-Length: {length}")
    return "\r\n".join(lines).encode("ascii") + _HEAD_END
