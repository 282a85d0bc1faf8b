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


@pytest.mark.parametrize(
    "read",
    [
        lambda reader: [reader.read(4), reader.read(2), reader.read(100), reader.read(1)],
        lambda reader: [reader.read(0), reader.read(10), reader.read(4)],
        lambda reader: [reader.read(), reader.read(3), reader.read(1)],
        lambda reader: [reader.read(2), reader.unread(b"new"), reader.read(4), reader.read(20)],
        lambda reader: [reader.read(3), reader.take_buffered(), reader.read(50)],
    ],
)
def test_it_reads_as_gunicorns_does(read: Callable[[Any], list[Any]]) -> None:
    got = []
    for kind in (DirectUnreader, SocketUnreader):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            theirs.sendall(b"efghijklmnop")
            theirs.shutdown(socket.SHUT_WR)
            reader = kind(ours)
            reader.unread(b"abcd")
            got.append(read(reader))
    assert got[0] == got[1]


def test_what_came_early_does_not_stay_in_the_way(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    pair[1].sendall(b"cdefghij")
    reader = DirectUnreader(pair[0])
    reader.unread(b"ab")
    assert reader.read(4, 10) == b"abcd"
    assert reader.buf.getvalue() == b""
    assert pair[0].recv(100) == b"efghij"


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
