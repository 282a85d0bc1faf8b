"""A connection whose reads and writes give up."""

from __future__ import annotations

import errno
import select
import socket
import time
from typing import Any

from eventserver_core.metrics.definitions import HTTP_RECEIVED_BYTES

_LONGEST_WAIT = 86_400.0
_MAX_RECEIVED = 128 * 1024
"""The most bytes that are received at once: gunicorn copies what is left over with each read."""


class DeadlineSocket(socket.socket):
    """A connection whose reads and writes give up.

    The descriptor itself never waits, which saves the system calls that switch it to and fro: who
    may wait does so here, and only where nothing is there to be read, or no room to write.

    Args:
        accepted: the connection; it is taken over.
        pause: seconds that one read or write may wait.
    """

    def __init__(self, accepted: socket.socket, pause: float) -> None:
        super().__init__(fileno=accepted.detach())
        super().setblocking(False)
        self._limit: float | None = None
        self._pause = pause
        self._deadline = float("inf")
        self._quietly = False

    def setblocking(self, flag: bool) -> None:
        """Say whether to wait; see ``settimeout``."""
        self._limit = None if flag else 0.0

    def settimeout(self, value: float | None) -> None:
        """Set a limit of gunicorn's own, in seconds; None is back to ours, and 0 never waits."""
        self._limit = value

    def gettimeout(self) -> float | None:
        """Return gunicorn's own limit."""
        return self._limit

    def expect_headers(self) -> None:
        """Begin a request: all of its headers come within one pause's time."""
        self._deadline = time.monotonic() + self._pause
        self._quietly = True

    def expect_body(self, seconds: float) -> None:
        """Go on to its body, which comes within that many seconds."""
        self._deadline = time.monotonic() + seconds
        self._quietly = False

    def expect_nothing(self) -> None:
        """Wait for nothing more of this request: what has come in may be read, and that is all."""
        self._deadline = time.monotonic()

    def recv(self, size: int, flags: int = 0) -> bytes:
        began = time.monotonic()
        until = min(began + self._pause, self._deadline)
        if self._limit is not None:
            until = min(began + self._limit, self._deadline)
        elif until <= began:
            raise self._too_late()
        while True:
            try:
                received = super().recv(min(size, _MAX_RECEIVED), flags)
            except BlockingIOError:
                if not self._waited(select.POLLIN, until - time.monotonic()):
                    raise self._too_late() from None
            else:
                HTTP_RECEIVED_BYTES.inc(len(received))
                return received

    def _too_late(self) -> OSError:
        if self._limit is not None:
            return _given_up(self._limit)
        if self._quietly:
            # gunicorn closes a connection that was reset without a word in the log
            return ConnectionResetError(errno.ECONNRESET, "the headers took too long to arrive")
        return TimeoutError("the request took too long to arrive")

    def send(self, data: Any, flags: int = 0) -> int:
        return self._send(data, flags, time.monotonic() + self._pause)

    def sendall(self, data: Any, flags: int = 0) -> None:
        deadline = time.monotonic() + self._pause
        left = memoryview(data)
        while left:
            left = left[self._send(left, flags, deadline) :]

    def _send(self, data: Any, flags: int, deadline: float) -> int:
        while True:
            try:
                return super().send(data, flags)
            except BlockingIOError:
                seconds = deadline - time.monotonic() if self._limit is None else self._limit
                if self._waited(select.POLLOUT, seconds):
                    continue
                if self._limit is not None:
                    raise _given_up(self._limit) from None
                detail = "the caller stopped reading"
                raise ConnectionResetError(errno.ECONNRESET, detail) from None

    def _waited(self, event: int, seconds: float) -> bool:
        """Wait until the connection is ready; tell whether it became so in time."""
        waiting = select.poll()
        waiting.register(self, event)
        return bool(waiting.poll(min(max(seconds, 0.0), _LONGEST_WAIT) * 1000))


def _given_up(limit: float) -> OSError:
    """Return what a socket raises that has waited for so long: at once, or in the end."""
    return TimeoutError("timed out") if limit else BlockingIOError(errno.EAGAIN, "not ready")
