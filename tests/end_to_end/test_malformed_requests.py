"""What is no valid HTTP is refused with problem details, and is never taken for two requests."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from eventserver_core.serving.worker import MAX_HEAD_SIZE
from eventserver_core.testing.server import EventServerProcess
from tests.end_to_end.raw_http import RawConnection
from tests.end_to_end.waiting import children, wait_until

LIVE = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n"
POST = b"POST /api/v1/pow/challenge HTTP/1.1\r\nHost: localhost\r\n"
SMUGGLED = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"

NO_HTTP = {
    "words": b"garbage\r\n\r\n",
    "bytes": bytes(range(256)) + b"\r\n\r\n",
    "http 2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "http 0.9": b"GET /health/live\r\n\r\n",
    "another version": b"GET /health/live HTTP/9.9\r\n\r\n",
    "another protocol": b"GET /health/live RTSP/1.0\r\n\r\n",
    "a method in small letters": b"get /health/live HTTP/1.1\r\n\r\n",
    "a space in the path": b"GET /health /live HTTP/1.1\r\n\r\n",
    "bare line feeds": b"GET /health/live HTTP/1.1\n\n",
    "a bare line feed": LIVE + b"A: b\n\r\n",
    "a header without a colon": LIVE + b"nonsense\r\n\r\n",
    "a header without a name": LIVE + b": b\r\n\r\n",
    "a space before the colon": LIVE + b"A : b\r\n\r\n",
    "a folded header": LIVE + b"A: b\r\n c\r\n\r\n",
    "a null byte": LIVE + b"A: b\0c\r\n\r\n",
    "two hosts": LIVE + b"Host: elsewhere\r\n\r\n",
    "an unknown expectation": LIVE + b"Expect: wonders\r\n\r\n",
}

SMUGGLING = {
    "a length and chunks": b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks and a length": b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
    "two lengths": b"Content-Length: 0\r\nContent-Length: 4\r\n\r\n",
    "two equal lengths": b"Content-Length: 0\r\nContent-Length: 0\r\n\r\n",
    "a list of lengths": b"Content-Length: 0, 0\r\n\r\n",
    "a negative length": b"Content-Length: -1\r\n\r\n",
    "a length with a sign": b"Content-Length: +0\r\n\r\n",
    "a length in hex": b"Content-Length: 0x0\r\n\r\n",
    "chunked twice": b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "chunked, then something": b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "no coding of ours": b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "a hidden coding": b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "a coding without chunks": b"Transfer-Encoding: gzip\r\n\r\n",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EventServerProcess]:
    settings = {"EVENTSERVER__SERVER__WORKERS": "1"}
    directory = tmp_path_factory.mktemp("malformed")
    with EventServerProcess(["serve"], directory, settings) as server:
        workers = wait_until(lambda: children(server), "a process serves requests")
        yield server
        assert children(server) == workers, "a request ended a process"


@pytest.fixture
def connection(server: EventServerProcess) -> Iterator[RawConnection]:
    with RawConnection(server.url) as connection:
        yield connection


@pytest.mark.parametrize("sent", NO_HTTP.values(), ids=NO_HTTP)
def test_what_is_no_http_is_refused(connection: RawConnection, sent: bytes) -> None:
    connection.send(sent)
    _assert_refused(connection, {400, 417})


@pytest.mark.parametrize("framing", SMUGGLING.values(), ids=SMUGGLING)
def test_a_request_that_may_be_read_in_two_ways_is_refused(
    connection: RawConnection, framing: bytes
) -> None:
    connection.send(POST + framing + SMUGGLED)
    _assert_refused(connection, {400, 501})


def test_chunks_in_http_1_0_are_refused(connection: RawConnection) -> None:
    head = b"POST /api/v1/pow/challenge HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"
    connection.send(head + b"0\r\n\r\n" + SMUGGLED)
    _assert_refused(connection, {400})


@pytest.mark.parametrize(
    "chunks",
    [b"zz\r\n", b"-1\r\n", b"1\r\n{}\r\n0\r\n\r\n", b"5;a=\rb\r\n{   }\r\n0\r\n\r\n"],
    ids=["no size", "a negative size", "more than the size", "an extension with a line break"],
)
def test_chunks_that_are_none_are_refused(connection: RawConnection, chunks: bytes) -> None:
    head = b"POST /api/v1/pow/verify HTTP/1.1\r\nHost: localhost\r\n"
    headers = b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    connection.send(head + headers + chunks + SMUGGLED)
    _assert_refused(connection, {400})


@pytest.mark.parametrize(
    ("status", "sent"),
    [
        (414, b"GET /" + b"a" * 10_000 + b" HTTP/1.1\r\n\r\n"),
        (431, LIVE + b"A: " + b"b" * 17_000 + b"\r\n\r\n"),
        (431, LIVE + b"A: b\r\n" * 70 + b"\r\n"),
        (431, LIVE + b"A: " + b"b" * (MAX_HEAD_SIZE + 1)),
    ],
    ids=["a long path", "a long header", "many headers", "headers without an end"],
)
def test_a_head_that_is_too_large_is_refused(
    connection: RawConnection, status: int, sent: bytes
) -> None:
    connection.send(sent)
    _assert_refused(connection, {status})


@pytest.mark.parametrize(
    "head",
    [
        b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"CONNECT localhost:1 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET //health//live HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /%ff%00 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /health/live/../../etc HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"BREW /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n",
        LIVE + b"SCRIPT_NAME: /elsewhere\r\n\r\n",
        LIVE + b"X-Forwarded-Proto: https\r\nX-Forwarded-Ssl: off\r\n\r\n",
    ],
)
def test_an_odd_request_is_the_callers_fault_and_never_the_servers(
    connection: RawConnection, head: bytes
) -> None:
    connection.send(head)
    answer = connection.answer()
    assert 400 <= answer.status < 500
    assert answer.headers["content-type"] == "application/problem+json"


def test_requests_that_come_together_are_answered_one_by_one(connection: RawConnection) -> None:
    connection.send((LIVE + b"\r\n") * 3 + LIVE + b"Connection: close\r\n\r\n")
    received = connection.everything()
    assert received.count(b"HTTP/1.1 200 OK\r\n") == 4
    assert received.count(b'{"status":"alive"}') == 4


def test_a_request_may_come_byte_by_byte(connection: RawConnection) -> None:
    connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    body = b'{"solution": 1}'
    head = b"POST /api/v1/pow/verify HTTP/1.1\r\nHost: localhost\r\n"
    headers = b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
    for byte in head + headers + body:
        connection.send(bytes([byte]))
    answer = connection.answer()
    assert (answer.status, answer.json["code"]) == (400, "invalid_package")


def test_who_expects_to_be_told_to_go_on_is_told(connection: RawConnection) -> None:
    headers = {"Content-Type": "application/json", "Content-Length": "2", "Expect": "100-continue"}
    connection.send_head("POST", "/api/v1/pow/verify", headers)
    assert connection.socket.recv(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
    connection.send(b"{}")
    assert connection.answer().status == 400


def _assert_refused(connection: RawConnection, statuses: set[int]) -> None:
    """Make sure of one answer, of problem details, and of the connection's end."""
    answer = connection.answer()
    assert answer.status in statuses, answer
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json["status"] == answer.status
    assert answer.json["code"]
    assert b"<" not in answer.content
    assert connection.everything() == b""
