"""HTTP by hand: what no well-behaved client would send, or would leave unread."""

from __future__ import annotations

import http.client
import json
import select
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Answer:
    """What the server answered."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.content)


class RawConnection:
    """A TCP connection to a server, a context manager.

    Args:
        url: the server's.
        seconds: how long any one read or write may take.
        receive_buffer: bytes that the system takes for us before the server has to wait.
    """

    def __init__(self, url: str, seconds: float = 30, receive_buffer: int | None = None) -> None:
        parts = urlsplit(url)
        self.socket = socket.socket()
        self.socket.settimeout(seconds)
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        try:
            self.socket.connect((parts.hostname, parts.port))
        except OSError:
            self.socket.close()
            raise

    def __enter__(self) -> RawConnection:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.socket.close()

    def send(self, content: bytes) -> None:
        """Send bytes as they are."""
        self.socket.sendall(content)

    def send_head(self, method: str, path: str, headers: Mapping[str, str]) -> None:
        """Send a request line and its headers."""
        lines = [f"{method} {path} HTTP/1.1", "Host: localhost"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self.send("\r\n".join([*lines, "", ""]).encode())

    def send_while_unanswered(self, chunks: Iterable[bytes]) -> int:
        """Send chunks until they end or an answer comes; return how many bytes went out."""
        sent = 0
        for chunk in chunks:
            if self.has_answer():
                break
            try:
                self.send(chunk)
            except (BrokenPipeError, ConnectionResetError):
                break
            sent += len(chunk)
        return sent

    def has_answer(self) -> bool:
        """Tell whether there is something to read now, or the connection was closed."""
        return bool(select.select([self.socket], [], [], 0)[0])

    def answer(self) -> Answer:
        """Read one answer."""
        response = http.client.HTTPResponse(self.socket)
        response.begin()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, headers, response.read())

    def everything(self) -> bytes:
        """Read until the server closes the connection."""
        received = b""
        try:
            while chunk := self.socket.recv(65536):
                received += chunk
        except ConnectionResetError:
            pass
        return received


def chunked(chunks: Iterable[bytes]) -> Iterable[bytes]:
    """Frame chunks for ``Transfer-Encoding: chunked``."""
    for chunk in chunks:
        yield b"%x\r\n%s\r\n" % (len(chunk), chunk)
    yield b"0\r\n\r\n"
