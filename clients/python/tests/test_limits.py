"""How long a server may hold a call, and how much it may send: no longer, and no more."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from eventserver_client import Client, ProtocolError, RetryPolicy, UnavailableError, network
from eventserver_client.testing import Received, Reply, ScriptedServer

DIGEST = "ab" * 32
EVIDENCE = f"/api/v1/events/{DIGEST}/package"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
STORED = (
    b'{"eventId": "an-event", "hash": "' + DIGEST.encode() + b'", "storageLocation": "here",'
    b' "processedAt": "2024-01-01T00:00:05Z", "status": "stored"}'
)
DRIPS = 150
SECONDS = 0.1
PIECE = 64 * 1024


class SlowServer:
    """Takes one connection, and does things on it ever so slowly; a context manager.

    Args:
        begin: sent at once, after the first bytes of the request.
        drip: what is done again and again, ``DRIPS`` times.

    Attributes:
        was_left: whether the client hung up before the end.
    """

    def __init__(self, begin: bytes, drip: Callable[[socket.socket], None]) -> None:
        self.was_left = False
        self._begin = begin
        self._drip = drip
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve)
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"

    def __enter__(self) -> SlowServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.wait()
        self._listening.close()

    def wait(self) -> None:
        """Return once the connection has ended."""
        self._thread.join()

    def _serve(self) -> None:
        pause = threading.Event()
        connection, _ = self._listening.accept()
        with closing(connection):
            connection.recv(1024)
            try:
                connection.sendall(self._begin)
                for _ in range(DRIPS):
                    self._drip(connection)
                    pause.wait(SECONDS)
            except OSError:
                self.was_left = True


def sends(content: bytes) -> Callable[[socket.socket], None]:
    return lambda connection: connection.sendall(content)


def reads(connection: socket.socket) -> None:
    if not connection.recv(4 * PIECE):
        raise ConnectionError("hung up")


def impatient(url: str, deadline: float = 0.5) -> Client:
    return Client(url, "c", timeout=30, retry=RetryPolicy(deadline=deadline, most_tries=1))


@pytest.fixture
def evidence(server: ScriptedServer) -> Iterator[Client]:
    """Return a client that tries once."""
    with impatient(server.url) as client:
        yield client


@pytest.mark.parametrize(
    ("begin", "drip"),
    [
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (b"HTTP/1.1 201 Created\r\nX-A: ", b"a"),
        (CHUNKED, b"1\r\n \r\n"),
        (CHUNKED, b"0"),
        (b"HTTP/1.1 503 Later\r\nContent-Length: 500\r\n\r\n", b"a"),
    ],
)
def test_no_answer_takes_longer_than_the_deadline(begin: bytes, drip: bytes) -> None:
    with SlowServer(begin, sends(drip)) as slow:
        with impatient(slow.url) as client, pytest.raises(UnavailableError):
            client.submit(b"{}")
        slow.wait()
        assert slow.was_left


def test_no_handshake_takes_longer_than_the_deadline() -> None:
    # the header of a TLS record, and then its bytes, one by one
    with SlowServer(b"\x16\x03\x03\x3f\xff", sends(b"\x02")) as slow:
        url = slow.url.replace("http:", "https:")
        with impatient(url) as client, pytest.raises(UnavailableError):
            client.submit(b"{}")
        slow.wait()
        assert slow.was_left


def test_a_server_that_hardly_reads_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "LEAST_RATE", 1024**3)
    with SlowServer(b"", reads) as slow:
        with impatient(slow.url) as client, pytest.raises(UnavailableError):
            client.submit(b"x" * 64 * 1024 * 1024)
        slow.wait()
        assert slow.was_left


def test_what_is_sent_fast_enough_may_pass_the_deadline() -> None:
    size, read = 4 * 1024 * 1024, [0]  # three seconds, at least

    def drip(connection: socket.socket) -> None:
        if read[0] < size:
            read[0] += len(connection.recv(2 * PIECE))
            return
        length = str(len(STORED)).encode()
        connection.sendall(b"HTTP/1.1 201 Created\r\nContent-Length: " + length + b"\r\n\r\n")
        connection.sendall(STORED)
        raise ConnectionAbortedError("it is done")

    with SlowServer(b"", drip) as slow, impatient(slow.url, 2) as client:
        assert client.submit(b"x" * size).event_id == "an-event"


def test_evidence_that_drips_is_given_up(tmp_path: Path) -> None:
    with SlowServer(CHUNKED, sends(b"1\r\na\r\n")) as slow:
        with impatient(slow.url) as client, pytest.raises(UnavailableError):
            client.download_evidence(DIGEST, tmp_path / "evidence.zip")
        slow.wait()
        assert slow.was_left
    assert not list(tmp_path.iterdir())


def test_evidence_that_comes_fast_enough_may_pass_the_deadline(tmp_path: Path) -> None:
    left = [40]  # four seconds

    def drip(connection: socket.socket) -> None:
        left[0] -= 1
        connection.sendall(b"10000\r\n" + b"x" * 65536 + b"\r\n" if left[0] else b"0\r\n\r\n")
        if not left[0]:
            raise ConnectionAbortedError("it is done")

    target = tmp_path / "evidence.zip"
    with SlowServer(CHUNKED, drip) as slow, impatient(slow.url, 2) as client:
        client.download_evidence(DIGEST, target)
    assert target.stat().st_size == 39 * 65536


def whole(_request: Received) -> Reply:
    return Reply(200, pieces=(b"P" * 600, b"K" * 400))


def in_chunks(_request: Received) -> Reply:
    chunks = b"258\r\n" + b"P" * 600 + b"\r\n190\r\n" + b"K" * 400 + b"\r\n0\r\n\r\n"
    return Reply(200, pieces=(chunks,), headers={"Transfer-Encoding": "chunked"})


@pytest.mark.parametrize("reply", [whole, in_chunks])
def test_evidence_is_read_up_to_a_size(
    reply: Callable[[Received], Reply], server: ScriptedServer, evidence: Client, tmp_path: Path
) -> None:
    server.script("GET", EVIDENCE, reply)
    with pytest.raises(ProtocolError, match="larger than 999 bytes"):
        evidence.download_evidence(DIGEST, tmp_path / "evidence.zip", max_size=999)
    assert not list(tmp_path.iterdir())
    evidence.download_evidence(DIGEST, tmp_path / "evidence.zip", max_size=1000)
    assert (tmp_path / "evidence.zip").stat().st_size == 1000


def test_evidence_whose_end_is_not_told_is_refused(tmp_path: Path) -> None:
    # it ends with the connection: nobody can tell whether it is whole
    def drip(connection: socket.socket) -> None:
        connection.sendall(b"PKcut")
        raise ConnectionAbortedError("it breaks off")

    with (
        SlowServer(b"HTTP/1.1 200 OK\r\n\r\n", drip) as slow,
        impatient(slow.url) as client,
        pytest.raises(ProtocolError, match="length"),
    ):
        client.download_evidence(DIGEST, tmp_path / "evidence.zip")
    assert not list(tmp_path.iterdir())
