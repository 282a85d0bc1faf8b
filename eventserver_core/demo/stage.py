"""What the demo runs on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Protocol, Self

from eventserver_core.demo.client import ApiClient
from eventserver_core.demo.expectations import expect
from eventserver_core.demo.narration import Narrator
from eventserver_core.demo.server import LocalServer


class Stage(Protocol):
    """What there is to run on, as a context manager that ends all of it.

    Attributes:
        chain: what the blocks are in, for people.
        rpc_url: the node that ``eventserver verify`` can ask; None where there is none.
    """

    chain: str
    rpc_url: str | None

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc_info: object) -> None: ...

    def start(self) -> tuple[str, str]:
        """Start everything, and return where to send to and where to ask."""

    def run_command(self) -> LocalServer:
        """Return what runs commands under the servers' settings."""

    def stop_servers(self) -> list[int | None]:
        """Stop the servers, and return their exit statuses; the chain stays up."""


class EmbeddedStage:
    """One server with its worker, and nothing else.

    Args:
        say: tells what happens.
        folder: where it keeps everything.
    """

    chain = "the ledger"
    rpc_url: str | None = None

    def __init__(self, say: Narrator, folder: Path) -> None:
        self._say = say
        self._server = LocalServer(folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._server.__exit__(None, None, None)

    def start(self) -> tuple[str, str]:
        """Start the server."""
        self._say.step(
            "Start a server",
            "A real one, on the embedded defaults: SQLite, plain files, and a ledger in a file "
            "that stands in for a blockchain.",
        )
        self._say.command("eventserver serve --with-worker")
        url = self._server.start()
        require_health(self._say, url)
        return url, url

    def run_command(self) -> LocalServer:
        """Return the server: it need not be up."""
        return self._server

    def stop_servers(self) -> list[int | None]:
        """Stop the server."""
        return [self._server.stop()]


def require_health(say: Narrator, url: str) -> None:
    """Make sure that a server is well, and say so."""
    with ApiClient(url) as client:
        health = client.health()
    expect(health["status"] == "healthy", "a healthy server", json.dumps(health))
    say.held(f"it listens at {url}")
    say.held(f"it is healthy: {', '.join(health['services'])} all answer")
