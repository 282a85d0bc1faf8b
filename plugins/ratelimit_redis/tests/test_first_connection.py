"""A first connection that takes longer than a call may: nobody is refused as if Redis were away."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from eventserver_ratelimit_redis import RedisRateLimiter
from structlog.testing import capture_logs

from eventserver_core.backends.ratelimit import Quota
from eventserver_core.errors import BackendUnavailableError
from eventserver_core.testing.parts import Valkey

MakeLimiter = Callable[..., RedisRateLimiter]
WaitUntil = Callable[[Callable[[], object]], None]
SHARE = 5
CALL_SECONDS = 1.0
"""Longer than the settings allow: the machine may be busy."""


class SlowDoor:
    """Takes connections at once, and passes nothing on until it is opened, or a delay is over.

    A database's number in the address makes the client wait for an answer as it connects.
    """

    def __init__(self, valkey: Valkey) -> None:
        self._valkey = valkey
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._is_closing = False
        self.open = threading.Event()
        self.delay: float | None = None
        self.taken = 0
        self._start(self._listen)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self._listener.getsockname()[1]}/1"

    def cut(self) -> None:
        """Close all connections that are there."""
        for opened in self._sockets:
            with suppress(OSError):
                opened.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._is_closing = True
        self.open.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self.cut()
        for thread in self._threads:
            thread.join()
        for opened in (self._listener, *self._sockets):
            opened.close()

    def _start(self, target: Callable[..., None], *args: object) -> None:
        self._threads.append(threading.Thread(target=target, args=args))
        self._threads[-1].start()

    def _listen(self) -> None:
        with suppress(OSError):
            while True:
                client = self._listener.accept()[0]
                self._sockets.append(client)
                self.taken += 1
                self._start(self._serve, client)

    def _serve(self, client: socket.socket) -> None:
        self.open.wait(self.delay)
        if self._is_closing:
            return
        with suppress(OSError):
            server = socket.create_connection(("127.0.0.1", self._valkey.port))
            self._sockets.append(server)
            self._start(pump, client, server)
            pump(server, client)


def pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while content := source.recv(65536):
            sink.sendall(content)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def door(valkey: Valkey) -> Iterator[SlowDoor]:
    door = SlowDoor(valkey)
    yield door
    door.close()


def test_the_first_call_of_a_process_finds_a_connection(
    door: SlowDoor,
    make_limiter: MakeLimiter,
    quota: Quota,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("eventserver_ratelimit_redis.backend.CONNECT_SECONDS", 30.0)
    door.delay = 0.1  # more than a call may take, and what TLS over some distance takes
    with capture_logs() as lines:
        limiter = make_limiter(door.url, timeout=CALL_SECONDS)
        door.delay = None  # whatever connects from here on comes nowhere
        assert limiter.hit("caller", quota).remaining == quota.limit - 1
    assert lines == []
    assert door.taken == 1


def test_while_the_first_connection_is_made_calls_are_decided_alone_and_no_outage_begins(
    door: SlowDoor,
    make_limiter: MakeLimiter,
    quota: Quota,
    wait_until: WaitUntil,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("eventserver_ratelimit_redis.connections.PATIENCE", float("inf"))
    door.open.set()
    limiter = make_limiter(door.url, timeout=CALL_SECONDS)
    assert limiter.hit("caller", quota).remaining == quota.limit - 1
    door.open.clear()
    door.cut()
    with capture_logs() as lines:
        allowed = [limiter.hit("caller", quota).allowed for _ in range(100)]
        assert allowed == [True] * SHARE + [False] * (100 - SHARE)
        door.open.set()
        # the circuit never opened: the call that finds the connection is counted in Redis
        wait_until(lambda: limiter.hit("caller", quota).allowed)
    assert lines == []


def test_with_closed_a_call_is_refused_meanwhile(
    door: SlowDoor, make_limiter: MakeLimiter, quota: Quota, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eventserver_ratelimit_redis.backend.CONNECT_SECONDS", 0.0)
    limiter = make_limiter(door.url, on_failure="closed", timeout=0.05)
    with capture_logs() as lines, pytest.raises(BackendUnavailableError, match="in time"):
        limiter.hit("caller", quota)
    assert lines == []


def test_after_a_while_without_any_connection_it_is_an_outage(
    door: SlowDoor,
    make_limiter: MakeLimiter,
    quota: Quota,
    wait_until: WaitUntil,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("eventserver_ratelimit_redis.connections.PATIENCE", 0.0)
    limiter = make_limiter(door.url, timeout=CALL_SECONDS)
    with capture_logs() as lines:
        assert limiter.hit("caller", quota).allowed
        assert [line["event"] for line in lines] == ["rate_limit_degraded"]
        door.open.set()
        wait_until(lambda: limiter.hit("another", quota).allowed and len(lines) > 1)
    assert lines[1]["event"] == "rate_limit_recovered"
