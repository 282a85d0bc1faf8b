"""What a body is read by: as gunicorn's own reader reads it."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from gunicorn.http.unreader import SocketUnreader

from eventserver_core.serving.direct_unreader import DirectUnreader


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


@pytest.mark.parametrize("kind", [DirectUnreader, SocketUnreader])
@pytest.mark.parametrize(
    "read",
    [
        lambda reader: [reader.read(4), reader.read(2), reader.read(100), reader.read(1)],
        lambda reader: [reader.read(0), reader.read(10), reader.read(4)],
        lambda reader: [reader.read(), reader.read(3), reader.read(-1), reader.read()],
        lambda reader: [reader.read(2), reader.unread(b"new"), reader.read(4), reader.read(20)],
        lambda reader: [reader.read(3, 100), reader.take_buffered(), reader.read(50)],
    ],
)
def test_it_reads_as_gunicorns_does(
    pair: tuple[socket.socket, socket.socket],
    kind: Callable[[socket.socket], Any],
    read: Callable[[Any], list[Any]],
) -> None:
    ours, theirs = pair
    theirs.sendall(b"efghijklmnop")
    theirs.shutdown(socket.SHUT_WR)
    reader = kind(ours)
    reader.unread(b"abcd")
    got = b"".join(piece for piece in read(reader) if piece) + reader.take_buffered()
    while chunk := ours.recv(100):
        got += chunk
    assert got.replace(b"new", b"") == b"abcdefghijklmnop"


def test_it_returns_what_is_asked_for_however_it_comes(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    class Dripping:
        """A connection on which one byte comes at a time."""

        def recv(self, _size: int) -> bytes:
            return pair[0].recv(1)

    pair[1].sendall(b"abcdef")
    pair[1].close()
    reader = DirectUnreader(Dripping())
    assert [reader.read(4), reader.read(4), reader.read(4)] == [b"abcd", b"ef", b""]


def test_it_reads_no_further_than_asked(pair: tuple[socket.socket, socket.socket]) -> None:
    pair[1].sendall(b"body" + b"next request")
    reader = DirectUnreader(pair[0])
    assert reader.read(4, 4) == b"body"
    assert pair[0].recv(100) == b"next request"
