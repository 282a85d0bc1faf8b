"""Clients that are slow, silent or never hang up: their slot is freed, and others are served."""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from eventserver_core.serving.deadline_socket import DeadlineSocket
from eventserver_core.testing.factories import make_package
from eventserver_core.testing.server import EventServerProcess
from tests.end_to_end.conftest import Start
from tests.end_to_end.memory import MIB
from tests.end_to_end.raw_http import RawConnection
from tests.end_to_end.stored import Stored
from tests.end_to_end.submissions import FORM_TYPE, form_end, form_start
from tests.end_to_end.waiting import wait_until

READ_TIMEOUT = 1.0
REQUEST_TIMEOUT = 3.0
CROWD = 12
"""So many hostile connections at once, against a single thread."""

Connect = Callable[[], RawConnection]


@pytest.fixture
def server(start: Start) -> EventServerProcess:
    """A server that serves one request at a time."""
    return start(
        "serve",
        server__workers=1,
        server__threads=1,
        server__read_timeout=READ_TIMEOUT,
        server__request_timeout=REQUEST_TIMEOUT,
    )


@pytest.fixture
def connect(server: EventServerProcess) -> Iterator[Connect]:
    """Open connections that stay open until the test's end."""
    with ExitStack() as connections:
        yield lambda: connections.enter_context(RawConnection(server.url))


def test_connections_that_say_nothing_hold_nobody_up(
    server: EventServerProcess, connect: Connect
) -> None:
    silent = [connect() for _ in range(CROWD)]
    _assert_served_at_once(server)
    assert [connection.everything() for connection in silent] == [b""] * CROWD


def test_connections_that_stop_after_a_byte_hold_nobody_up(
    server: EventServerProcess, connect: Connect
) -> None:
    stopped = [connect() for _ in range(CROWD)]
    for connection in stopped:
        connection.send(b"G")
    _assert_served_at_once(server)
    assert [connection.everything() for connection in stopped] == [b""] * CROWD


def test_headers_that_trickle_end_with_their_deadline(
    server: EventServerProcess, connect: Connect
) -> None:
    trickling = [connect() for _ in range(CROWD)]
    for connection in trickling:
        connection.send(b"GET /health/live HTTP/1.1\r\nX-Slow: ")
    _assert_served_at_once(server)
    began = time.monotonic()
    _trickle(trickling[0])
    assert time.monotonic() - began < READ_TIMEOUT + 5


def test_headers_that_trickle_on_a_kept_alive_connection_end_too(
    server: EventServerProcess, connect: Connect
) -> None:
    connection = connect()
    connection.send(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert connection.answer().status == 200
    connection.send(b"GET /health/live HTTP/1.1\r\nX-Slow: ")
    _assert_served_at_once(server)
    _trickle(connection)


def test_half_a_request_behind_a_whole_one_holds_nobody_up(
    server: EventServerProcess, connect: Connect
) -> None:
    half = b"GET /health/live HTTP/1.1\r\nX-Slow: "
    connections = [connect() for _ in range(CROWD)]
    for connection in connections:
        connection.send(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n" + half)
        assert connection.answer().status == 200
    _assert_served_at_once(server)


def test_callers_that_never_hang_up_hold_nobody_up(
    server: EventServerProcess, connect: Connect
) -> None:
    connections = [connect() for _ in range(CROWD)]
    for connection in connections:
        connection.send(b"garbage\r\n\r\n")
    assert [connection.answer().status for connection in connections] == [400] * CROWD
    _assert_served_at_once(server)


@pytest.mark.parametrize("framing", [{"Content-Length": "60000"}, {"Transfer-Encoding": "chunked"}])
def test_a_body_that_nobody_wanted_holds_nobody_up(
    server: EventServerProcess, connect: Connect, framing: Mapping[str, str]
) -> None:
    refused = [connect() for _ in range(CROWD)]
    for connection in refused:
        connection.send_head("POST", "/api/v1/events", {"Content-Type": "text/plain", **framing})
        connection.send(b"3e8\r\n" if "Transfer-Encoding" in framing else b"x")
    assert [connection.answer().status for connection in refused] == [401] * CROWD
    for connection in refused:
        connection.send(b"x")  # each byte of it begins a new wait
    _assert_served_at_once(server)
    assert [connection.everything() for connection in refused] == [b""] * CROWD


@pytest.mark.parametrize(
    ("framing", "body"),
    [
        ({"Content-Length": "1000"}, b"x" * 1000),
        ({"Transfer-Encoding": "chunked"}, b"3e8\r\n" + b"x" * 1000 + b"\r\n0\r\n\r\n"),
    ],
)
def test_a_body_that_nobody_wanted_and_that_came_costs_no_connection(
    connect: Connect, framing: Mapping[str, str], body: bytes
) -> None:
    connection = connect()
    for _ in range(3):
        head = {"Host": "localhost", "Content-Type": "text/plain", **framing}
        lines = ["POST /api/v1/events HTTP/1.1", *(f"{n}: {v}" for n, v in head.items()), "", ""]
        connection.send("\r\n".join(lines).encode() + body)
        assert connection.answer().status == 401


def test_an_idle_kept_alive_connection_holds_nobody_up(
    server: EventServerProcess, connect: Connect
) -> None:
    idle = connect()
    for _ in range(2):
        idle.send(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert idle.answer().status == 200
        _assert_served_at_once(server)


@pytest.mark.parametrize(
    ("headers", "begun"),
    [
        ({"Content-Type": "application/json", "Content-Length": "1000"}, b'{"id": '),
        ({"Content-Type": "application/json", "Transfer-Encoding": "chunked"}, b"4\r\n{   \r\n"),
        ({"Content-Type": "application/json", "Transfer-Encoding": "chunked"}, b"ff"),
        ({"Content-Type": FORM_TYPE, "Content-Length": "100000"}, b"media"),
    ],
    ids=["json", "chunks", "within a chunk's size", "form"],
)
def test_a_body_that_stalls_is_answered_408_and_leaves_nothing(
    server: EventServerProcess,
    connect: Connect,
    relay: Mapping[str, str],
    clip: Path,
    tmp_path: Path,
    headers: Mapping[str, str],
    begun: bytes,
) -> None:
    if begun == b"media":
        begun = form_start(make_package(clip, inline=False)) + clip.read_bytes()[:1000]
    connection = connect()
    connection.send_head("POST", "/api/v1/events", {**relay, **headers})
    connection.send(begun)
    _assert_served(server)
    answer = connection.answer()
    assert (answer.status, answer.json["code"]) == (408, "request_timeout")
    assert answer.headers["content-type"] == "application/problem+json"
    assert connection.everything() == b""
    stored = Stored(tmp_path / "data")
    assert (stored.objects(), stored.incoming(), stored.events()) == ([], [], [])


def test_a_body_that_trickles_for_ever_is_answered_408_at_its_deadline(
    server: EventServerProcess, connect: Connect, relay: Mapping[str, str]
) -> None:
    connection = connect()
    headers = {**relay, "Content-Type": "application/json", "Content-Length": "100000"}
    began = time.monotonic()
    connection.send_head("POST", "/api/v1/events", headers)
    _trickle(connection)  # never a pause that would be too long by itself
    assert REQUEST_TIMEOUT - 0.5 < time.monotonic() - began < REQUEST_TIMEOUT + 5
    assert connection.answer().status == 408
    _assert_served_at_once(server)


def test_an_answer_that_is_never_read_frees_its_slot(
    start: Start, relay: Mapping[str, str], clip: Path
) -> None:
    server = start("serve", server__workers=1, server__threads=1, server__read_timeout=READ_TIMEOUT)
    digest_hex = _send_film(server, relay, clip, 24 * MIB)
    with RawConnection(server.url, receive_buffer=4096) as connection:
        connection.send_head("GET", f"/api/v1/events/{digest_hex}/package", relay)
        wait_until(connection.has_answer, "the answer has begun")
        _assert_served(server)
        assert len(connection.everything()) < 24 * MIB


def test_an_answer_that_is_read_slowly_is_sent_in_full(
    start: Start, relay: Mapping[str, str], clip: Path
) -> None:
    server = start("serve", server__workers=1, server__threads=1, server__read_timeout=READ_TIMEOUT)
    digest_hex = _send_film(server, relay, clip, 12 * MIB)
    pause = threading.Event()
    received = b""
    began = time.monotonic()
    with RawConnection(server.url, receive_buffer=65536) as connection:
        connection.send_head("GET", f"/api/v1/events/{digest_hex}/package", relay)
        while not received.endswith(b"\r\n0\r\n\r\n"):
            chunk = connection.socket.recv(65536)
            assert chunk, "the answer was cut off"
            received += chunk
            pause.wait(0.02)
    assert time.monotonic() - began > 2 * READ_TIMEOUT
    assert len(received) > 12 * MIB


def test_answers_that_are_never_read_free_their_slot_however_small_they_are(
    server: EventServerProcess,
) -> None:
    request = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n\r\n"
    with RawConnection(server.url, seconds=0.5, receive_buffer=4096) as connection:
        with pytest.raises((TimeoutError, ConnectionError)):
            while True:
                connection.send(request * 100)
        _assert_served(server)


def test_a_write_to_whoever_stopped_reading_gives_up() -> None:
    ours, theirs = socket.socketpair()
    with DeadlineSocket(ours, 0.1) as connection, theirs:
        for write in (connection.sendall, connection.send):
            with pytest.raises(ConnectionResetError):
                while True:
                    write(bytes(65536))


def _send_film(server: EventServerProcess, relay: Mapping[str, str], clip: Path, size: int) -> str:
    media = clip.read_bytes().ljust(size, b"\0")
    members = {"type": "video/mp4", "name": "film.mp4", "size": size}
    content = form_start(make_package() | {"media": members}) + media + form_end()
    headers = {**relay, "Content-Type": FORM_TYPE}
    answer = httpx.post(f"{server.url}/api/v1/events", content=content, headers=headers)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["hash"])


def _trickle(connection: RawConnection) -> None:
    """Send a byte every tenth of a second, until the server answers or hangs up."""
    patience = time.monotonic() + 2 * (READ_TIMEOUT + REQUEST_TIMEOUT) + 5
    while not select.select([connection.socket], [], [], 0.1)[0]:
        assert time.monotonic() < patience, "the server takes bytes for ever"
        try:
            connection.send(b"x")
        except OSError:
            return


def _assert_served_at_once(server: EventServerProcess) -> None:
    began = time.monotonic()
    _assert_served(server)
    assert time.monotonic() - began < READ_TIMEOUT, "others had to wait"


def _assert_served(server: EventServerProcess) -> None:
    """Make sure that others are served, at the latest when a deadline has passed."""
    timeout = REQUEST_TIMEOUT + 10
    assert httpx.get(f"{server.url}/health/live", timeout=timeout).status_code == 200
