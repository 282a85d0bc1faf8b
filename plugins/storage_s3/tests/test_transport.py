"""What goes out on a connection, and in how many pieces."""

from __future__ import annotations

from typing import Any

import pytest
from eventserver_storage_s3.transport import _TimedConnection


class Wire:
    """What a connection writes to: keeps each piece."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    def settimeout(self, _seconds: float | None) -> None:
        """Wait for nothing."""

    def sendall(self, content: Any) -> None:
        self.pieces.append(bytes(content))

    def close(self) -> None:
        """Nothing is open."""


@pytest.mark.parametrize(
    ("body", "pieces"),
    [(b"x" * 65_536, 1), (b"x" * 65_537, 2), (b"x", 1), (b"", 1), (None, 1)],
)
def test_a_small_body_goes_out_with_its_head(body: bytes | None, pieces: int) -> None:
    connection, wire = _TimedConnection("store"), Wire()
    connection.sock = wire  # type: ignore[assignment]
    for _ in range(2):  # the next request on it begins as the first did
        wire.pieces.clear()
        connection.request("PUT", "/bucket/name", body, {"x-of": "ours"})
        assert len(wire.pieces) == pieces
        sent = b"".join(wire.pieces)
        assert sent.startswith(b"PUT /bucket/name HTTP/1.1\r\n")
        assert sent.partition(b"\r\n\r\n")[2] == (body or b"")
        connection._HTTPConnection__state = "Idle"  # type: ignore[attr-defined]
