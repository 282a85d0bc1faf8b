"""Requests that share a connection keep their bytes, wherever the packets are cut."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from eventserver_core.testing.server import EventServerProcess

FIRST = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"
SECOND = b"GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


def _read_one(connection: socket.socket) -> bytes:
    """Read one answer, by its Content-Length."""
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += connection.recv(4096)
    head, _, body = answer.partition(b"\r\n\r\n")
    size = next(
        int(line.split(b":")[1])
        for line in head.split(b"\r\n")
        if line.lower().startswith(b"content-length:")
    )
    while len(body) < size:
        body += connection.recv(4096)
    return head.split(b"\r\n")[0]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    settings = {"EVENTSERVER__SERVER__WORKERS": "1", "EVENTSERVER__SERVER__THREADS": "2"}
    directory: Path = tmp_path_factory.mktemp("server")
    with EventServerProcess(["serve"], directory, settings) as server:
        parts = urlsplit(server.url)
        assert parts.hostname
        assert parts.port
        yield parts.hostname, parts.port


@pytest.mark.parametrize("cut", [1, 4, 20, len(SECOND) - 2, len(SECOND) - 1])
def test_a_request_that_begins_in_the_packet_before_is_whole(
    address: tuple[str, int], cut: int
) -> None:
    with socket.create_connection(address, timeout=30) as connection:
        connection.sendall(FIRST + SECOND[:cut])
        assert _read_one(connection) == b"HTTP/1.1 200 OK"
        connection.sendall(SECOND[cut:])
        assert _read_one(connection) == b"HTTP/1.1 200 OK"


def test_what_follows_in_a_header_is_no_request_of_its_own(address: tuple[str, int]) -> None:
    smuggled = b"DELETE /api/v1/certificates/abc HTTP/1.1\r\nHost: x\r\n\r\n"
    with socket.create_connection(address, timeout=30) as connection:
        connection.sendall(FIRST + b"GET /health/live HTTP/1.1\r\nX-Note: ")
        assert _read_one(connection) == b"HTTP/1.1 200 OK"
        connection.sendall(smuggled)
        assert _read_one(connection) == b"HTTP/1.1 200 OK"
