"""A real HTTP server on loopback whose answers a test scripts: for callers' own tests, too."""

from __future__ import annotations

import json
import ssl
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Received:
    """A request, as it came."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes

    def document(self) -> Any:
        """Return its JSON."""
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: a document or bytes; a list of bytes is sent piece by piece."""

    status: int = 200
    document: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    pieces: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Drop:
    """Close the connection once the request was read."""


@dataclass(frozen=True, slots=True)
class Hang:
    """Say nothing, until the server is stopped or ``release`` is called; then close."""


Script = Reply | Drop | Hang | Callable[[Received], "Reply | Drop | Hang"]


def problem(status: int, code: str, **members: Any) -> Reply:
    """Return a reply with problem details, as EventServer answers errors."""
    headers = {"Content-Type": "application/problem+json", **members.pop("headers", {})}
    document = {"status": status, "code": code, "detail": f"it is {code}", "requestId": "r-1"}
    return Reply(status, document | members, headers)


class ScriptedServer:
    """Answers as told, and keeps what it was asked; a context manager.

    A call that nothing was said about is answered 404. The last answer of a script counts from
    then on.

    Args:
        context: to speak TLS with.

    Attributes:
        received: every request in the order they came, once it was read.
        url: where it listens.
    """

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.received: list[Received] = []
        self._scripts: dict[tuple[str, str], deque[Script]] = defaultdict(deque)
        self._lock = threading.Lock()
        self._released = threading.Event()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.scripted = self
        self._server.context = context
        scheme = "https" if context else "http"
        self.url = f"{scheme}://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def __enter__(self) -> ScriptedServer:
        self._thread.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def script(self, method: str, path: str, *replies: Script) -> None:
        """Say how the next calls are answered, instead of what was said before."""
        with self._lock:
            self._scripts[method, path] = deque(replies)

    def release(self) -> None:
        """Let go of the calls that hang, now and from now on."""
        self._released.set()

    def hold(self) -> None:
        """Let calls hang again."""
        self._released.clear()

    def calls(self, method: str, path: str) -> list[Received]:
        """Return what was asked of one route."""
        with self._lock:
            return [one for one in self.received if (one.method, one.path) == (method, path)]

    def answer(self, request: Received) -> Reply | Drop:
        """Keep a request, and return what is answered."""
        with self._lock:
            self.received.append(request)
            script = self._scripts[request.method, request.path]
            if not script:
                return problem(404, "not_found")
            reply = script.popleft() if len(script) > 1 else script[0]
        made = reply(request) if callable(reply) else reply
        if isinstance(made, Hang):
            self._released.wait()
            return Drop()
        return made


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    scripted: ScriptedServer
    context: ssl.SSLContext | None

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Do the handshake, if there is one, in the connection's own thread."""
        # clients of the tests hang up, in a handshake too
        with suppress(OSError):
            if self.context is None:
                super().finish_request(request, client_address)
                return
            with self.context.wrap_socket(request, server_side=True) as connection:
                super().finish_request(connection, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    timeout = 30

    def _answer(self) -> None:
        size = int(self.headers.get("Content-Length") or 0)
        address = urlsplit(self.path)
        request = Received(
            self.command, address.path, address.query, dict(self.headers), self.rfile.read(size)
        )
        reply = self.server.scripted.answer(request)
        # one call a connection: none is left waiting when the server stops
        self.close_connection = True
        if isinstance(reply, Drop):
            return
        content = b"" if reply.document is None else json.dumps(reply.document).encode()
        pieces = reply.pieces or (content,)
        self.send_response(reply.status)
        headers = {
            "Content-Type": "application/json",
            "Content-Length": str(sum(len(piece) for piece in pieces)),
            "Connection": "close",
        } | dict(reply.headers)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        for piece in pieces:
            self.wfile.write(piece)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _answer  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Say nothing: the test asks for what it wants to know."""
