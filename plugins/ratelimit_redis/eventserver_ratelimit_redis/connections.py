"""Connections to Redis, lent to one call at a time.

The client library's own pools connect within the call that wants a connection, and the steps of
that (a name to look up, TLS, a password) each have a limit of their own or none. Here a call waits
for nothing longer than until its deadline: a thread that ends with the attempt does the connecting.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from eventserver_ratelimit_redis.trouble import ConnectingError, NotCountedError, diagnose

PATIENCE = 5.0
"""Seconds without any connection, of which some is being made, after which that is a failure."""

_SHORTEST_READ = 0.001


class Connection(Protocol):
    """The part of the client library's connections that is used here."""

    def connect(self) -> None:
        """Connect, and say who we are."""

    def disconnect(self) -> None:
        """Close it; it may be closed already."""

    def send_command(self, *words: str | bytes | int) -> None:
        """Send a command."""

    def read_response(self, *, timeout: float) -> Any:
        """Return the next answer."""

    def can_read(self, timeout: float) -> bool:
        """Tell whether an answer is waiting; raise where the server closed."""


class Connections:
    """A few connections that are kept open.

    Args:
        make: makes one that isn't connected yet.
        size: the most that are open at once.
    """

    def __init__(self, make: Callable[[], Connection], size: int) -> None:
        self._make = make
        self._size = size
        self._changed = threading.Condition()
        self._idle: list[Connection] = []
        self._open = 0
        self._connecting = 0
        self._waiting = 0
        self._failures = 0
        self._failure = NotCountedError("", "")
        self._without_since: float | None = None
        self._was_waited_for = False

    def ask(self, deadline: float, *command: str | bytes | int) -> Any:
        """Send a command and return the answer.

        Args:
            deadline: on the monotonic clock; nothing is waited for any longer.
            command: its words.

        Raises:
            ConnectingError: the first connection is still being made.
            NotCountedError: no connection could be had.
            RedisError: the answer is an error, or none came. A command that was sent isn't sent
                again, since it may have been done.
        """
        connection = self._borrow(deadline)
        try:
            connection.send_command(*command)
            left = max(deadline - time.monotonic(), _SHORTEST_READ)
            answer = connection.read_response(timeout=left)
        except ResponseError:
            self._give_back(connection)
            raise
        except BaseException:
            self._close(connection)
            raise
        self._give_back(connection)
        return answer

    def prepare(self, deadline: float) -> None:
        """Have a connection ready.

        Raises:
            NotCountedError: none could be had.
        """
        self._give_back(self._borrow(deadline, patiently=True))

    def close_idle(self) -> None:
        """Close all that no call uses: the next one looks the server up anew."""
        with self._changed:
            idle, self._idle = self._idle, []
        for connection in idle:
            self._close(connection)

    def _borrow(self, deadline: float, *, patiently: bool = False) -> Connection:
        with self._changed:
            failures = self._failures
            while True:
                while self._idle:
                    connection = self._idle.pop()
                    if _is_usable(connection):
                        return connection
                    self._forget(connection)
                if self._failures != failures:
                    raise NotCountedError(self._failure.kind, self._failure.advice)
                if self._connecting <= self._waiting and self._open < self._size:
                    self._start_connecting()
                # one call waits for a first connection in vain, and not all the others too
                if self._was_waited_for and not patiently and self._is_beginning():
                    raise _connecting()
                self._wait(deadline)

    def _is_beginning(self) -> bool:
        """Tell whether there is no connection yet, and one may still come."""
        return (
            self._without_since is not None
            and time.monotonic() - self._without_since < PATIENCE
            and 0 < self._connecting == self._open
        )

    def _wait(self, deadline: float) -> None:
        left = deadline - time.monotonic()
        if left <= 0:
            if self._is_beginning():
                self._was_waited_for = True
                raise _connecting()
            if self._connecting:
                raise diagnose(RedisTimeoutError())
            raise NotCountedError("PoolTimeout", "no connection was free; raise redis.pool_size")
        self._waiting += 1
        try:
            self._changed.wait(left)
        finally:
            self._waiting -= 1

    def _start_connecting(self) -> None:
        threading.Thread(target=self._connect, name="ratelimit=redis", daemon=True).start()
        if self._without_since is None and self._open == 0:
            self._without_since = time.monotonic()
        self._open += 1
        self._connecting += 1

    def _connect(self) -> None:
        connection = self._make()
        failure = None
        try:
            connection.connect()
        except Exception as ex:  # noqa: BLE001 - it belongs to whoever waits for the connection
            failure = diagnose(ex)
        with self._changed:
            self._connecting -= 1
            self._was_waited_for = False
            if failure is None:
                self._without_since = None
                self._idle.append(connection)
            else:
                self._forget(connection)
                self._failures += 1
                self._failure = failure
            self._changed.notify_all()

    def _give_back(self, connection: Connection) -> None:
        with self._changed:
            self._idle.append(connection)
            self._changed.notify()

    def _close(self, connection: Connection) -> None:
        with self._changed:
            self._forget(connection)
            self._changed.notify()

    def _forget(self, connection: Connection) -> None:
        connection.disconnect()
        self._open -= 1


def _connecting() -> ConnectingError:
    late = diagnose(RedisTimeoutError())
    return ConnectingError(late.kind, late.advice)


def _is_usable(connection: Connection) -> bool:
    """Tell whether it is still open, with no answer waiting that belongs to somebody else."""
    try:
        return not connection.can_read(0)
    except (RedisError, OSError):
        return False
