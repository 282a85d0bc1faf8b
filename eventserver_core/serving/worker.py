"""A gunicorn worker whose connections can't be held open by saying nothing, or too little.

gunicorn's threaded worker reads headers and bodies without a time limit, so a client that stalls
keeps a thread for good. Here every connection has a deadline: for the headers as a whole, for each
pause within a body, and for the request in all.

A connection takes a thread only once its headers are there in full, and gives it back with the
last byte of the answer: whoever sends nothing, trickles headers or never hangs up waits in the
poller, as idle kept-alive connections do, and holds nobody up.
"""

from __future__ import annotations

import contextvars
import errno
import json
import re
import selectors
import signal
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http import HTTPStatus
from typing import Any, ClassVar

from gunicorn.http import errors
from gunicorn.workers.gthread import STOP_KEEPALIVE_LINGER, ThreadWorker

from eventserver_core.metrics.definitions import HTTP_PROBLEMS, HTTP_RECEIVED_BYTES, HTTP_REQUESTS

_STATUSES: tuple[tuple[type[Exception], HTTPStatus], ...] = (
    (errors.LimitRequestLine, HTTPStatus.REQUEST_URI_TOO_LONG),
    (errors.LimitRequestHeaders, HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE),
    (errors.UnsupportedTransferCoding, HTTPStatus.NOT_IMPLEMENTED),
    (errors.ExpectationFailed, HTTPStatus.EXPECTATION_FAILED),
    (errors.ParseException, HTTPStatus.BAD_REQUEST),
)

STOP_SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGQUIT})
"""Blocked when a worker is forked: until it has handlers of its own, it would lose them."""

MAX_HEAD_SIZE = 64 * 1024
"""The most bytes that a request line and its headers may have together."""

_HEAD_END = re.compile(rb"\n\r?\n")
_READ_SIZE = 16 * 1024
_MAX_RECEIVED = 128 * 1024
"""The most bytes that are received at once: gunicorn copies what is left over with each read."""
_MAX_DRAIN = 1024 * 1024


class DeadlineSocket(socket.socket):
    """A connection whose reads and writes give up.

    Args:
        accepted: the connection; it is taken over.
        pause: seconds that one read or write may wait.
    """

    def __init__(self, accepted: socket.socket, pause: float) -> None:
        super().__init__(fileno=accepted.detach())
        self._pause = pause
        self._deadline = float("inf")
        self._quietly = False

    def expect_headers(self) -> None:
        """Begin a request: all of its headers come within one pause's time."""
        self._deadline = time.monotonic() + self._pause
        self._quietly = True

    def expect_body(self, seconds: float) -> None:
        """Go on to its body, which comes within that many seconds."""
        self._deadline = time.monotonic() + seconds
        self._quietly = False

    def recv(self, size: int, flags: int = 0) -> bytes:
        received = self._recv(size, flags)
        HTTP_RECEIVED_BYTES.inc(len(received))
        return received

    def _recv(self, size: int, flags: int) -> bytes:
        if self.gettimeout() is not None:
            return super().recv(size, flags)  # gunicorn has set a limit of its own
        remaining = self._deadline - time.monotonic()
        if remaining <= 0:
            raise self._too_late()
        try:
            self.settimeout(min(self._pause, remaining))
            return super().recv(min(size, _MAX_RECEIVED), flags)
        except TimeoutError as ex:
            raise self._too_late() from ex
        finally:
            self.settimeout(None)

    def _too_late(self) -> OSError:
        if self._quietly:
            # gunicorn closes a connection that was reset without a word in the log
            return ConnectionResetError(errno.ECONNRESET, "the headers took too long to arrive")
        return TimeoutError("the request took too long to arrive")

    def send(self, data: Any, flags: int = 0) -> int:
        with self._pausing():
            return super().send(data, flags)

    def sendall(self, data: Any, flags: int = 0) -> None:
        with self._pausing():
            super().sendall(data, flags)

    @contextmanager
    def _pausing(self) -> Iterator[None]:
        if self.gettimeout() is not None:
            yield
            return
        try:
            self.settimeout(self._pause)
            yield
        except TimeoutError as ex:
            raise ConnectionResetError(errno.ECONNRESET, "the caller stopped reading") from ex
        finally:
            self.settimeout(None)


class DeadlineThreadWorker(ThreadWorker):  # type: ignore[misc]
    """gunicorn's threaded worker, with deadlines and with errors as problem details."""

    read_timeout: ClassVar[float] = 15
    request_timeout: ClassVar[float] = 300

    def init_signals(self) -> None:
        super().init_signals()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)

    def is_parent_alive(self) -> bool:
        """Tell whether to go on; without its master this process stops as if told to."""
        if not super().is_parent_alive():
            self.alive = False
        return bool(self.alive)

    def set_accept_enabled(self, enabled: bool) -> None:
        super().set_accept_enabled(enabled)
        if not self.alive:
            # an open listener would let callers queue up where nobody serves them any longer
            for listener in self.sockets:
                listener.close()

    def enqueue_req(self, conn: Any) -> None:
        """Take a new connection."""
        conn.sock = DeadlineSocket(conn.sock, self.read_timeout)
        self._await_head(conn)

    def on_client_socket_readable(self, conn: Any, client: Any) -> None:
        """Go on with a connection that was idle."""
        self.poller.unregister(client)
        self.keepalived_conns.remove(conn)
        self._await_head(conn)

    def finish_request(self, conn: Any, fs: Any) -> None:
        """Hang up, or wait for the next request."""
        failed = fs.cancelled() or fs.exception() is not None
        if not failed and fs.result() is False:
            self._hang_up(conn)
        elif not failed and conn.parser.unreader.buf.getvalue():
            self._await_head(conn, conn.parser.unreader.take_buffered())
        else:
            super().finish_request(conn, fs)

    def _await_head(self, conn: Any, begun: bytes = b"") -> None:
        head = bytearray()  # one for both: what came early is the beginning of what comes later
        self._poll(conn, partial(self._read_head, conn, head))
        if begun:
            self._take_head(conn, head, begun)

    def _read_head(self, conn: Any, head: bytearray, _client: Any) -> None:
        chunk = _received(conn)
        if chunk:
            self._take_head(conn, head, chunk)
        elif chunk is not None:
            self._leave_poller(conn)
            self._close(conn)

    def _take_head(self, conn: Any, head: bytearray, chunk: bytes) -> None:
        head += chunk
        if _HEAD_END.search(head, max(0, len(head) - len(chunk) - 2)):
            self._leave_poller(conn)
            conn.init()
            conn.parser.unreader.unread(bytes(head))
            conn.data_ready = True
            super().enqueue_req(conn)
        elif len(head) > MAX_HEAD_SIZE:
            self._leave_poller(conn)
            error = errors.LimitRequestHeaders("the headers are too large")
            self.handle_error(None, conn.sock, conn.client, error)
            self._hang_up(conn)

    def _hang_up(self, conn: Any) -> None:
        """Close a connection when its caller does, or soon.

        gunicorn waits for that in its main loop, and serves nobody in the meantime.
        """
        try:
            conn.sock.shutdown(socket.SHUT_WR)
            self._poll(conn, partial(self._drain, conn, [_MAX_DRAIN]))
        except (OSError, ValueError):
            self._close(conn)

    def _drain(self, conn: Any, left: list[int], _client: Any) -> None:
        """Read what nobody wants: closing over it would take the answer back with a reset."""
        chunk = _received(conn)
        if chunk is None:
            return
        left[0] -= len(chunk)
        if not chunk or left[0] <= 0:
            self._leave_poller(conn)
            self._close(conn)

    def _poll(self, conn: Any, when_readable: Callable[..., None]) -> None:
        """Put a connection into the poller, where gunicorn closes it after its time."""
        conn.sock.setblocking(False)
        self.poller.register(conn.sock, selectors.EVENT_READ, when_readable)
        seconds = self.read_timeout if self.alive else STOP_KEEPALIVE_LINGER
        conn.timeout = time.monotonic() + seconds
        self.pending_conns.append(conn)

    def _leave_poller(self, conn: Any) -> None:
        self.poller.unregister(conn.sock)
        self.pending_conns.remove(conn)

    def _close(self, conn: Any) -> None:
        self.nr_conns -= 1
        conn.close()

    def _cap_keepalive(self, deadline: float) -> None:
        super()._cap_keepalive(deadline)
        for conn in self.pending_conns:  # nor do these hold up a server that stops
            conn.timeout = min(conn.timeout, deadline)

    def handle(self, conn: Any) -> Any:
        conn.sock.expect_headers()
        # in a context of its own: what one request binds must not be logged with the next
        return contextvars.copy_context().run(super().handle, conn)

    def handle_request(self, req: Any, conn: Any) -> Any:
        conn.sock.expect_body(self.request_timeout)
        return super().handle_request(req, conn)

    def handle_error(self, req: Any, client: Any, addr: Any, exc: Any) -> None:
        """Answer what is no HTTP request, or what failed outside the application."""
        status = next((s for kind, s in _STATUSES if isinstance(exc, kind)), None)
        malformed, request_id = status is not None, uuid.uuid4().hex
        if status is None:
            self.log.exception("Error handling request %s", request_id)
            status = HTTPStatus.INTERNAL_SERVER_ERROR
        else:
            self.log.warning("Invalid request %s: %s", request_id, type(exc).__name__)
        problem = {
            "type": "about:blank",
            "title": status.phrase,
            "status": status.value,
            "detail": "the request is no valid HTTP/1.1 request"
            if malformed
            else "something went wrong here, and it was logged under this request id",
            "code": "malformed_request" if malformed else "internal_error",
            "requestId": request_id,
        }
        HTTP_REQUESTS.labels("other", "unknown", str(status.value)).inc()
        HTTP_PROBLEMS.labels(problem["code"]).inc()
        content = json.dumps(problem).encode()
        head = (
            f"HTTP/1.1 {status.value} {status.phrase}\r\n"
            "Connection: close\r\n"
            "Content-Type: application/problem+json\r\n"
            "Cache-Control: no-store\r\n"
            "X-Content-Type-Options: nosniff\r\n"
            f"X-Request-ID: {request_id}\r\n"
            f"Content-Length: {len(content)}\r\n\r\n"
        )
        try:
            client.sendall(head.encode() + content)
        except OSError:
            self.log.debug("The caller was gone before its error was sent")


def _received(conn: Any) -> bytes | None:
    """Return what has come in on a connection: None is nothing yet, no bytes are its end."""
    try:
        received: bytes = conn.sock.recv(_READ_SIZE)
    except BlockingIOError:
        return None
    except OSError:
        return b""
    return received
