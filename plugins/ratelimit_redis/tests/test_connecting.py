"""Connections: nobody waits for one any longer than a call may take."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any

import pytest
import redis
from eventserver_ratelimit_redis import RedisRateLimiter
from eventserver_ratelimit_redis.address import connection_maker
from eventserver_ratelimit_redis.connections import Connections
from eventserver_ratelimit_redis.trouble import NotCountedError
from structlog.testing import capture_logs

from eventserver_core.backends.ratelimit import Quota
from eventserver_core.errors import BackendUnavailableError
from eventserver_core.testing.parts import Valkey

MakeLimiter = Callable[..., RedisRateLimiter]
WaitUntil = Callable[[Callable[[], object]], None]


class SocketValkey(Valkey):
    """Listens on a Unix socket too."""

    def command(self) -> list[str]:
        return [*super().command(), "--unixsocket", str(self.directory / "redis.sock")]


@pytest.fixture
def stranger() -> Iterator[int]:
    """Return the port of a server that speaks something else."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))

        def answer() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection:
                        connection.recv(100)
                        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_a_name_that_is_looked_up_slowly_keeps_no_request_waiting(
    valkey: Valkey,
    make_limiter: MakeLimiter,
    quota: Quota,
    wait_until: WaitUntil,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found, look_up = threading.Event(), socket.getaddrinfo

    def look_up_slowly(*args: Any, **keywords: Any) -> Any:
        found.wait()
        return look_up(*args, **keywords)

    monkeypatch.setattr(socket, "getaddrinfo", look_up_slowly)
    patience = "eventserver_ratelimit_redis.connections.PATIENCE"
    monkeypatch.setattr(patience, float("inf"))
    limiter = make_limiter(valkey.url, timeout=0.05)
    with capture_logs() as lines:
        # each of these comes back while the name is still being looked up
        assert [limiter.hit("caller", quota).allowed for _ in range(6)] == [True] * 5 + [False]
        assert lines == []
        monkeypatch.setattr(patience, 0.0)
        limiter.hit("caller", quota)
        assert [line["event"] for line in lines] == ["rate_limit_degraded"]
        found.set()
        wait_until(lambda: limiter.hit("caller", quota).allowed)
    assert lines[1]["event"] == "rate_limit_recovered"


@pytest.mark.real
def test_no_more_connections_are_opened_than_the_setting_says(
    own_valkey: Valkey, make_limiter: MakeLimiter, quota: Quota
) -> None:
    limiter = make_limiter(own_valkey.url, pool_size=3)
    with redis.Redis(port=own_valkey.port) as client:
        before = client.info("stats")["total_connections_received"]
        threads = [
            threading.Thread(target=lambda: [limiter.hit("caller", quota) for _ in range(50)])
            for _ in range(12)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert client.info("stats")["total_connections_received"] - before <= 3


@pytest.mark.real
def test_a_pool_that_is_too_small_is_named(own_valkey: Valkey, wait_until: WaitUntil) -> None:
    connections = Connections(connection_maker(own_valkey.url), 1)
    with redis.Redis(port=own_valkey.port) as client, ThreadPoolExecutor(1) as pool:
        wait = pool.submit(connections.ask, time.monotonic() + 60, "BLPOP", "list", 0)
        wait_until(lambda: client.info("clients")["blocked_clients"] == 1)
        with pytest.raises(NotCountedError, match=r"redis\.pool_size"):
            connections.ask(time.monotonic() + 0.01, "PING")
        client.lpush("list", "go on")
        assert wait.result() == [b"list", b"go on"]
    assert connections.ask(time.monotonic() + 10, "PING") == b"PONG"


def test_what_is_no_redis_is_named(stranger: int, make_limiter: MakeLimiter, quota: Quota) -> None:
    limiter = make_limiter(f"redis://127.0.0.1:{stranger}")
    with pytest.raises(BackendUnavailableError, match="not a Redis"):
        limiter.check()
    assert limiter.hit("caller", quota).allowed


@pytest.mark.real
def test_a_socket_in_the_file_system_and_a_database_number_are_taken(
    tmp_path: Path, make_limiter: MakeLimiter, quota: Quota
) -> None:
    with SocketValkey(tmp_path) as valkey:
        limiter = make_limiter(f"unix://{tmp_path}/redis.sock?db=3")
        assert limiter.hit("caller", quota).allowed
        with closing(redis.Redis(port=valkey.port, db=3)) as client:
            assert client.dbsize() == 2


@pytest.mark.real
def test_a_user_who_may_do_just_what_is_documented_is_enough(
    own_valkey: Valkey, make_limiter: MakeLimiter, quota: Quota, take: Callable[..., int]
) -> None:
    readme = (Path(__file__).parent.parent / "README.md").read_text("utf-8")
    rules = next(line for line in readme.splitlines() if line.startswith("ACL SETUSER"))
    assert own_valkey.ask(*rules.split()) == b"+OK"
    limiter = make_limiter(f"redis://eventserver:a-password@127.0.0.1:{own_valkey.port}")
    limiter.check()
    assert take(limiter, quota) == quota.limit
    own_valkey.ask("ACL", "SETUSER", "eventserver", "-hincrby")
    with pytest.raises(BackendUnavailableError, match="denies"):
        limiter.check()
