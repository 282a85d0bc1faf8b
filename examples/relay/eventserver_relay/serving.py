"""The HTTPS server for devices: bounded in connections, in time and in size."""

from __future__ import annotations

import io
import json
import re
import socket
import sqlite3
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from eventserver_relay.forwarding import RESERVED_SECONDS, Forwarder
from eventserver_relay.identity import Identity
from eventserver_relay.log import log
from eventserver_relay.outbox import Outbox, OutboxFullError
from eventserver_relay.sharing import Shares, whose

MAX_BODY = 16 * 1024 * 1024
MAX_PER_ADDRESS = 8
_MAX_CONNECTIONS = 64
_MAX_HELD = 64 * 1024 * 1024
"""Bytes of bodies at once, and half of it for each address."""
_HANDSHAKE_SECONDS = 5.0
_HEADERS_SECONDS = 5.0
_REQUEST_SECONDS = 30.0
_WRITE_SECONDS = 10.0
_LINGER_SECONDS = 1.0
_CHUNK = 64 * 1024
# whether it is JSON at all is for the server to say: parsed it could be thirty times as large
_OBJECT = re.compile(rb"[ \t\r\n]*+\{")
_SIGNED = re.compile(
    rb'[ \t\r\n]*+\{[ \t\r\n]*+"jwtEventData"[ \t\r\n]*+:[ \t\r\n]*+'
    rb'"[A-Za-z0-9_-]++\.[A-Za-z0-9_-]++\.[A-Za-z0-9_-]++"[ \t\r\n]*+\}[ \t\r\n]*+'
)

Health = Callable[[], Mapping[str, Any]]


class RelayServer(ThreadingHTTPServer):
    """Serves devices, a thread for each connection and a request for each connection.

    Args:
        address: host and port to listen on.
        identity: whose TLS certificate is shown.
        outbox: where events are kept first.
        forwarder: sends them.
        health: what ``GET /health`` answers.
        max_per_address: how many connections one address may have.
        signed_only: whether packages that no device signed are refused.
    """

    daemon_threads = False
    request_queue_size = 128
    allow_reuse_address = True

    def __init__(
        self,
        address: tuple[str, int],
        identity: Identity,
        outbox: Outbox,
        forwarder: Forwarder,
        health: Health,
        max_per_address: int = MAX_PER_ADDRESS,
        signed_only: bool = False,
    ) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.identity = identity
        self.outbox = outbox
        self.forwarder = forwarder
        self.health = health
        self.signed_only = signed_only
        self.room = Shares(_MAX_HELD, _MAX_HELD // 2)
        self._connections = Shares(_MAX_CONNECTIONS, max_per_address)
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Begin a connection's thread, or hang up where there are too many."""
        if not self._connections.take(whose(client_address[0]), 1):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:  # no thread was to be had
            self._connections.give_back(whose(client_address[0]), 1)
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve one connection."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._connections.give_back(whose(client_address[0]), 1)

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Do the handshake here, in the connection's thread, and serve its request."""
        request.settimeout(_HANDSHAKE_SECONDS)
        with self.identity.context.wrap_socket(
            request, server_side=True, do_handshake_on_connect=False
        ) as connection:
            connection.do_handshake()
            super().finish_request(connection, client_address)
            _linger(connection)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Write down what went wrong with a connection."""
        error = sys.exception()
        # a client that hangs up, is late or speaks no TLS is nobody's concern
        if not isinstance(error, OSError):
            log("request_failed", error=type(error).__name__)


class _Handler(BaseHTTPRequestHandler):
    server: RelayServer
    protocol_version = "HTTP/1.1"
    server_version = "eventserver-relay"
    sys_version = ""

    def setup(self) -> None:
        super().setup()
        self.rfile.close()  # it would wait as long for each byte as for all of them
        self._timed = _Timed(self.connection, _HEADERS_SECONDS)
        self.rfile = io.BufferedReader(self._timed, _CHUNK)
        self._held = 0

    def handle(self) -> None:
        self.handle_one_request()

    def do_GET(self) -> None:
        if self.path != "/health":
            self._refuse(HTTPStatus.NOT_FOUND, "not_found", "there is no such thing")
            return
        self._answer(HTTPStatus.OK, self.server.health())

    def do_POST(self) -> None:
        if self.path != "/events":
            self._refuse(HTTPStatus.NOT_FOUND, "not_found", "there is no such thing")
            return
        self._timed.extend(_REQUEST_SECONDS - _HEADERS_SECONDS)
        try:
            body = self._body()
            if body is not None:
                self._take(body)
        finally:
            self.server.room.give_back(whose(self.client_address[0]), self._held)

    def _take(self, body: bytes) -> None:
        """Keep an event, then send it, and answer with what is known by then."""
        try:
            entry, is_new = self.server.outbox.put(body, RESERVED_SECONDS)
            answer = entry.answer
            if is_new:
                answer = self.server.forwarder.forward_at_once(entry)
        except OutboxFullError:
            self._refuse_for_now("the relay keeps as much as it can; come again")
            return
        except sqlite3.Error as ex:
            log("outbox_failed", error=type(ex).__name__)
            self._refuse_for_now("the relay can't keep anything now; come again")
            return
        if answer is None:
            queued = {"status": "queued", "id": entry.digest_hex}
            self._answer(HTTPStatus.ACCEPTED, queued)
        elif answer.status >= 400:
            self._answer(answer.status, answer.document, "application/problem+json")
        else:  # as the server itself: 201, and 200 for a repetition
            self._answer(answer.status if is_new else HTTPStatus.OK, answer.document)

    def _body(self) -> bytes | None:
        """Return the body, an object of JSON; None where it was refused."""
        lengths = self.headers.get_all("Content-Length", [])
        if self.headers.get("Transfer-Encoding") or not lengths:
            self._refuse(HTTPStatus.LENGTH_REQUIRED, "length_required", "say the body's length")
            return None
        if len(lengths) > 1 or not (lengths[0].isascii() and lengths[0].isdigit()):
            self._refuse(HTTPStatus.BAD_REQUEST, "bad_request", "the body's length is no number")
            return None
        if len(lengths[0]) > 12 or int(lengths[0]) > MAX_BODY:
            detail = f"an event is at most {MAX_BODY} bytes here"
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "content_too_large", detail)
            return None
        media_type = self.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if media_type != "application/json":
            detail = "send application/json"
            self._refuse(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail)
            return None
        body = self._read(int(lengths[0]))
        if body is None:
            return None
        if self.server.signed_only and not _SIGNED.fullmatch(body):
            detail = 'this relay takes signed events only: {"jwtEventData": "…"}'
            self._refuse(HTTPStatus.BAD_REQUEST, "unsigned_package", detail)
            return None
        if not _OBJECT.match(body):
            self._refuse(HTTPStatus.BAD_REQUEST, "invalid_package", "an event is a JSON object")
            return None
        return body

    def _read(self, length: int) -> bytes | None:
        """Return so many bytes; None where there is no room for them, or the client hung up."""
        pieces = []
        while self._held < length:
            size = min(_CHUNK, length - self._held)
            # as they come: who only promises a large body takes nobody's room
            if not self.server.room.take(whose(self.client_address[0]), size):
                self._refuse_for_now("the relay is taking as much as it can at once; come again")
                return None
            self._held += size
            piece = self.rfile.read(size)
            if len(piece) < size:
                return None
            pieces.append(piece)
        return b"".join(pieces)

    def _refuse_for_now(self, detail: str) -> None:
        status, headers = HTTPStatus.SERVICE_UNAVAILABLE, {"Retry-After": "30"}
        self._refuse(status, "relay_unavailable", detail, headers)

    def _refuse(
        self, status: HTTPStatus, code: str, detail: str, headers: Mapping[str, str] | None = None
    ) -> None:
        document = {
            "type": "about:blank",
            "title": status.phrase,
            "status": status.value,
            "detail": detail,
            "code": code,
        }
        self._answer(status, document, "application/problem+json", headers)

    def _answer(
        self,
        status: int,
        document: Mapping[str, Any],
        media_type: str = "application/json",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        content = json.dumps(document).encode()
        self.connection.settimeout(_WRITE_SECONDS)
        self.send_response(status)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("Connection", "close")
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def handle_expect_100(self) -> bool:
        """Ask for the body only where it will be taken."""
        lengths = self.headers.get_all("Content-Length", [])
        if self.path == "/events" and len(lengths) == 1 and len(lengths[0]) < 9:
            return super().handle_expect_100()
        return True

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer what is no request, or no method, as everything else is answered."""
        self.close_connection = True
        self._refuse(HTTPStatus(code), "malformed_request", message or "this is no request")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Say nothing: what became of an event is logged where it is known."""


class _Timed(io.RawIOBase):
    """A connection's bytes, all of which have to come before one deadline."""

    def __init__(self, connection: socket.socket, seconds: float) -> None:
        self._connection = connection
        self._deadline = time.monotonic() + seconds

    def extend(self, seconds: float) -> None:
        self._deadline += seconds

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the request took too long")
        self._connection.settimeout(left)
        return self._connection.recv_into(buffer)


def _linger(connection: socket.socket) -> None:
    """Read what a refused client still sends, for a moment: else it may never see the answer."""
    deadline = time.monotonic() + _LINGER_SECONDS
    with suppress(OSError):
        connection.shutdown(socket.SHUT_WR)
        while (left := deadline - time.monotonic()) > 0:
            connection.settimeout(left)
            if not connection.recv(_CHUNK):
                return
