"""The load that the benchmarks make, on a server of the standard library."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from benchmarks.load import Answer, LoadError, closed_loop, expect, open_loop, request_head

LARGE = 8 * 1024 * 1024


class Echo(BaseHTTPRequestHandler):
    """Answers 201 with the body that came, or 404 to a GET."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(201, body)

    def do_GET(self) -> None:
        self._answer(404, b"no")

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def url() -> Iterator[str]:
    """The address of a server that runs."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def post(body: bytes) -> bytes:
    return request_head("POST", "/", {}, len(body)) + body


def test_every_request_is_sent_once_and_its_answer_looked_at(url: str) -> None:
    bodies: list[bytes] = []
    sent = [b"%d" % number for number in range(50)]
    load = closed_loop(
        url,
        iter([post(body) for body in sent]),
        lambda status, body: bodies.append(body),
        connections=4,
        seconds=60,
    )
    assert sorted(bodies) == sorted(sent)
    assert load.count == len(load.latencies_ms) == 50


def test_a_request_larger_than_the_socket_takes_arrives_whole(url: str) -> None:
    bodies: list[bytes] = []
    requests = iter([post(bytes(LARGE))])
    closed_loop(url, requests, lambda _, body: bodies.append(body), connections=1, seconds=60)
    assert bodies == [bytes(LARGE)]


def test_an_answer_that_was_not_wanted_ends_the_load(url: str) -> None:
    requests = iter([request_head("GET", "/", {}, None)])
    with pytest.raises(LoadError, match="404, not 201"):
        closed_loop(url, requests, expect(201), connections=1, seconds=60)


def test_what_waited_for_a_connection_is_counted_from_when_it_was_due(url: str) -> None:
    requests = iter([post(b"x")] * 20)
    # all are due at nearly once, and one connection takes them one after the other
    load = open_loop(url, requests, expect(201), rate=1e6, connections=1, seconds=2e-5)
    assert load.count == 20
    assert load.latencies_ms == sorted(load.latencies_ms)


@pytest.mark.parametrize(
    ("received", "body"),
    [
        (b"HTTP/1.1 201 Created\r\ncontent-length: 5\r\n\r\nhello", b"hello"),
        (
            b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\n\r\n",
            b"hello",
        ),
        (b"HTTP/1.1 201 Created\r\nX-Length: 5\r\n\r\n", b""),
    ],
)
def test_an_answer_is_whole_with_its_last_byte_and_not_before(received: bytes, body: bytes) -> None:
    answer = Answer()
    for position in range(len(received)):
        assert not answer.is_whole
        answer.add(received[position : position + 1])
    assert answer.is_whole
    assert (answer.status, answer.body) == (201, body)
