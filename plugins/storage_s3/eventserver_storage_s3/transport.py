"""The connections: a pool of the right size, retries with a limit, one deadline for a whole call.

A call of the backend sends several requests, and each may be sent several times. What bounds them
together is the deadline of the thread that makes the call: no step on a connection outlasts it,
and no retry begins after it.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager, Retry, Timeout
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import MaxRetryError
from urllib3.response import HTTPResponse

from eventserver_storage_s3.configuration import Configuration

RETRIED_STATUSES = frozenset({429, 500, 502, 503, 504})

_BACKOFF_FACTOR = 0.2
_BACKOFF_MAX = 3.0
_BACKOFF_JITTER = 0.1

_LARGEST_WITH_HEAD = 64 * 1024

_thread = threading.local()


def remaining() -> float:
    """Return how many seconds this thread's call has left; infinity outside of one."""
    deadline: float = getattr(_thread, "deadline", math.inf)
    return deadline - time.monotonic()


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Bound all that this thread asks of the store inside; within another limit, the nearer one."""
    before: float = getattr(_thread, "deadline", math.inf)
    _thread.deadline = min(before, time.monotonic() + seconds)
    try:
        yield
    finally:
        _thread.deadline = before


def open_pool(configuration: Configuration) -> PoolManager:
    """Return the connections to the store."""
    pool = PoolManager(
        maxsize=configuration.pool_size,
        timeout=Timeout(connect=configuration.connect_timeout, read=configuration.read_timeout),
        retries=_TimedRetry(
            total=configuration.max_retries,
            # a redirect would take the customer's key along to wherever it leads
            redirect=False,
            # all that is sent here may be sent twice, POST too
            allowed_methods=None,
            status_forcelist=RETRIED_STATUSES,
            # so that the store's last answer is seen, and what it says
            raise_on_status=False,
            respect_retry_after_header=False,
            backoff_factor=_BACKOFF_FACTOR,
            backoff_max=_BACKOFF_MAX,
            backoff_jitter=_BACKOFF_JITTER,
        ),
        cert_reqs="CERT_REQUIRED",
        ssl_context=configuration.trust,
    )
    pool.pool_classes_by_scheme = {"http": _TimedPool, "https": _TimedSecurePool}
    return pool


class _TimedRetry(Retry):
    """Retries that end with the call's time."""

    def increment(self, *args: Any, **kwargs: Any) -> Self:
        retries = super().increment(*args, **kwargs)
        if retries.get_backoff_time() >= remaining():
            error = kwargs.get("error") or TimeoutError("the call's time is over")
            pool = kwargs.get("_pool")
            assert pool is not None  # noqa: S101 - urllib3 always says which
            raise MaxRetryError(pool, "", error) from error
        return retries


class _TimedConnection(HTTPConnection):
    """A connection of which no step outlasts the call.

    A small body goes out together with its head: a store that gets the head by itself wakes up for
    it, and once more for the rest.
    """

    _holds_head = False
    _head = b""

    def request(self, method: str, url: str, body: Any = None, *args: Any, **kwargs: Any) -> None:
        self._holds_head = isinstance(body, bytes) and 0 < len(body) <= _LARGEST_WITH_HEAD
        super().request(method, url, body, *args, **kwargs)

    def connect(self) -> None:
        self.timeout = self._bounded(self.timeout)
        super().connect()

    def send(self, data: Any) -> None:
        if self._holds_head:
            self._holds_head, self._head = False, data
            return
        head, self._head = self._head, b""
        if self.sock is None and self.auto_open:
            self.connect()
        # else a part would have to be sent within the time that connecting may take
        self.sock.settimeout(self._bounded(None))
        super().send(head + data if head else data)

    def getresponse(self) -> HTTPResponse:  # type: ignore[override]  # as urllib3's own
        self.timeout = self._bounded(self.timeout)
        return super().getresponse()

    def _bounded(self, timeout: Any) -> float | None:
        left = remaining()
        if left <= 0:
            raise TimeoutError("the call's time is over")
        bounds = [seconds for seconds in (timeout, left) if isinstance(seconds, float | int)]
        nearest = min(bounds)
        return None if nearest == math.inf else nearest


class _TimedSecureConnection(_TimedConnection, HTTPSConnection):
    """The same over TLS."""


class _TimedPool(HTTPConnectionPool):
    ConnectionCls = _TimedConnection


class _TimedSecurePool(HTTPSConnectionPool):
    ConnectionCls = _TimedSecureConnection
