"""Reading from a connection with few copies."""

from __future__ import annotations

from typing import Any

from gunicorn.http.unreader import SocketUnreader


class DirectUnreader(SocketUnreader):  # type: ignore[misc]
    """gunicorn's reader, which copies each byte of a body four times on its way.

    What came with the head is in its buffer; all else comes straight from the socket, and no more
    of it than was asked for, so that nothing has to be put back.
    """

    def read(self, size: int | None = None, read_ahead: int | None = None) -> Any:
        """Return ``size`` bytes, or what there is before the end; see ``Unreader.read``."""
        if not size or size < 0:
            return super().read(size, read_ahead)
        chunks: list[bytes] = []
        if early := self.take_buffered():
            chunks.append(early[:size])
            self.buf.write(early[size:])
            size -= len(chunks[0])
        while size > 0:
            chunk = self.sock.recv(size)
            if not chunk:
                break
            chunks.append(chunk)
            size -= len(chunk)
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)
