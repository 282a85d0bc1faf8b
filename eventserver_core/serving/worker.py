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
import re
import selectors
import signal
import socket
import time
import uuid
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from typing import Any, ClassVar

from gunicorn.http import errors
from gunicorn.workers.gthread import STOP_KEEPALIVE_LINGER, ThreadWorker

from eventserver_core.json_text import write_json
from eventserver_core.metrics.definitions import HTTP_PROBLEMS, HTTP_REQUESTS
from eventserver_core.serving import garbage
from eventserver_core.serving.deadline_socket import DeadlineSocket
from eventserver_core.serving.direct_unreader import DirectUnreader

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
_MAX_DRAIN = 1024 * 1024


class DeadlineThreadWorker(ThreadWorker):  # type: ignore[misc]
    """gunicorn's threaded worker, with deadlines and with errors as problem details."""

    read_timeout: ClassVar[float] = 15
    request_timeout: ClassVar[float] = 300

    def load_wsgi(self) -> None:
        super().load_wsgi()
        garbage.begin()

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
        self._await_head(conn, _received(conn))

    def finish_request(self, conn: Any, fs: Any) -> None:
        """Hang up, or wait for the next request."""
        failed = fs.cancelled() or fs.exception() is not None
        if not failed and fs.result() is False:
            self._hang_up(conn)
        elif not failed and conn.parser.unreader.buf.getvalue():
            self._await_head(conn, conn.parser.unreader.take_buffered())
        else:
            super().finish_request(conn, fs)

    def _await_head(self, conn: Any, begun: bytes | None = None) -> None:
        """Go on once a request's head is there; what came early may be all of it."""
        head = bytearray()
        if _is_settled(head, begun):
            self._go_on(conn, head)
        else:
            self._poll(conn, partial(self._read_head, conn, head))

    def _read_head(self, conn: Any, head: bytearray, _client: Any) -> None:
        received = _received(conn)
        if _is_settled(head, received):
            self._leave_poller(conn)
            self._go_on(conn, head if received else bytearray())

    def _go_on(self, conn: Any, head: bytearray) -> None:
        """Serve whoever sent a whole head, and hang up on whoever sent too much, or no more."""
        if not head:
            self._close(conn)
        elif _HEAD_END.search(head):
            conn.init()
            conn.parser.unreader = DirectUnreader(conn.sock)
            conn.parser.unreader.unread(bytes(head))
            conn.data_ready = True
            super().enqueue_req(conn)
        else:
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
        # a chunked request and what reads its body know each other, and would keep each other
        message = getattr(conn.parser, "mesg", None)
        if message is not None:
            message.body = None

    def _keepalive_after(self, conn: Any, keepalive: bool) -> bool:
        # gunicorn asks for what is left of a body, though it knows that nothing is
        if keepalive and getattr(conn.parser.mesg.body.reader, "length", None) == 0:
            return True
        # a body that nobody wanted may never come, or byte by byte: the poller waits for it
        conn.sock.expect_nothing()
        return bool(super()._keepalive_after(conn, keepalive))

    def _cap_keepalive(self, deadline: float) -> None:
        super()._cap_keepalive(deadline)
        for conn in self.pending_conns:  # nor do these hold up a server that stops
            conn.timeout = min(conn.timeout, deadline)

    def handle(self, conn: Any) -> Any:
        conn.sock.expect_headers()
        # in a context of its own: what one request binds must not be logged with the next
        try:
            return contextvars.copy_context().run(super().handle, conn)
        finally:
            garbage.after_request()

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
        content = write_json(problem)
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


def _is_settled(head: bytearray, received: bytes | None) -> bool:
    """Add to a head what has come in; tell whether it ends, or won't, or is far too long."""
    if received is None:
        return False
    head += received
    begin = max(0, len(head) - len(received) - 2)
    return not received or _HEAD_END.search(head, begin) is not None or len(head) > MAX_HEAD_SIZE


def _received(conn: Any) -> bytes | None:
    """Return what has come in on a connection: None is nothing yet, no bytes are its end."""
    try:
        received: bytes = conn.sock.recv(_READ_SIZE)
    except BlockingIOError:
        return None
    except OSError:
        return b""
    return received
