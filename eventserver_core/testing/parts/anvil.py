"""Anvil, an EVM node for development."""

from __future__ import annotations

import itertools
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx

from eventserver_core.testing.parts.process import Part, PartError

ACCOUNT_KEYS = (
    "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80",
    "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d",
)
"""Keys of accounts that have 10,000 ether on every Anvil, and nothing anywhere else."""

_ids = itertools.count(1)


class Anvil(Part):
    """An Anvil that makes a block every second and keeps the chain in a file when it stops.

    Args:
        directory: where the chain is kept.
        chain_id: the chain's id.
        block_time: seconds between two blocks; None makes one only when ``rpc`` asks for it.
        arguments: further ones, as ``anvil --help`` has them.
    """

    name = "anvil"

    def __init__(
        self,
        directory: Path,
        *,
        chain_id: int = 31337,
        block_time: float | None = 1,
        arguments: tuple[str, ...] = (),
    ) -> None:
        super().__init__(directory)
        self.chain_id = chain_id
        self._client = httpx.Client(timeout=10)
        self._block_time = block_time
        self._arguments = arguments

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        super().__exit__(exc_type, exc, traceback)
        self._client.close()

    @property
    def url(self) -> str:
        """Where clients find it, as ``blockchain.rpc_url`` takes it."""
        return f"http://127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        """Return the command."""
        blocks = (
            ["--no-mining"] if self._block_time is None else ["--block-time", f"{self._block_time}"]
        )
        return [
            _program(),
            *("--host", "127.0.0.1"),
            *("--port", str(self.port)),
            *("--chain-id", str(self.chain_id)),
            *("--state", str(self.directory / "state.json")),
            "--preserve-historical-states",
            "--silent",
            *blocks,
            *self._arguments,
        ]

    def environ(self) -> Mapping[str, str]:
        """Return a home of its own: Anvil keeps caches there."""
        return {"HOME": str(self.directory)}

    def is_ready(self) -> bool:
        """Tell whether it answers."""
        try:
            return int(self.rpc("eth_chainId"), 16) == self.chain_id
        except (httpx.HTTPError, PartError):
            return False

    def rpc(self, method: str, *params: Any) -> Any:
        """Call a method of its JSON-RPC interface, and return the result.

        Raises:
            PartError: it refused.
        """
        request = {"jsonrpc": "2.0", "id": next(_ids), "method": method, "params": list(params)}
        answer = self._client.post(self.url, json=request).json()
        if "error" in answer:
            raise PartError(f"{method}: {answer['error']}")
        return answer["result"]

    def mine(self, blocks: int = 1) -> None:
        """Make blocks at once."""
        self.rpc("anvil_mine", hex(blocks))


def _program() -> str:
    named = os.environ.get("ANVIL")
    prefix = Path(sys.prefix)
    found = [
        *([Path(named)] if named else []),
        *sorted(prefix.glob("lib/node_modules/@foundry-rs/**/@foundry-rs/anvil-*/bin/anvil")),
        *sorted(prefix.glob("lib/node_modules/@foundry-rs/anvil-*/bin/anvil")),
    ]
    program = str(found[0]) if found else shutil.which("anvil")
    if program is None:
        raise PartError("Anvil is not installed; run: npm install --global @foundry-rs/anvil")
    return program
