"""The demo's stage with the parts of a production system."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Self, TypeVar

from eventserver_core.demo.expectations import StepFailedError, expect
from eventserver_core.demo.narration import Narrator
from eventserver_core.demo.server import LocalServer
from eventserver_core.demo.stage import require_health
from eventserver_core.testing.parts import (
    Anvil,
    Part,
    PartError,
    PostgreSQL,
    SeaweedFS,
    Valkey,
)
from eventserver_core.testing.parts.anvil import ACCOUNT_KEYS

_Part = TypeVar("_Part", bound=Part)


class RealStage:
    """PostgreSQL, Valkey, SeaweedFS and an EVM node; two instances and two workers over them.

    Args:
        say: tells what happens.
        folder: where they keep everything.
    """

    chain = "an EVM chain"

    def __init__(self, say: Narrator, folder: Path) -> None:
        self._say = say
        self._folder = folder
        self._open = ExitStack()
        self._servers: list[LocalServer] = []
        self._settings: Mapping[str, str] = {}
        self.rpc_url: str | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._open.close()

    def start(self) -> tuple[str, str]:
        """Start the parts, prepare them, and start servers and workers over them."""
        self._start_parts()
        self._prepare()
        return self._start_servers()

    def run_command(self) -> LocalServer:
        """Return what runs commands under the servers' settings."""
        return LocalServer(self._folder, self._settings)

    def stop_servers(self) -> list[int | None]:
        """Stop the instances and the workers."""
        return [server.stop() for server in self._servers]

    def _start_parts(self) -> None:
        self._say.step(
            "Start the real parts",
            "A database, a place for counters, an object store and a node of an EVM chain, each "
            "a server of its own on this machine.",
        )
        postgresql = self._start_part(PostgreSQL)
        self._say.held("PostgreSQL, for rows")
        valkey = self._start_part(Valkey)
        self._say.held("Valkey, which speaks Redis's protocol, for counting calls")
        seaweedfs = self._start_part(SeaweedFS)
        self._say.held("SeaweedFS, which speaks S3's, for packages, photos and videos")
        anvil = self._start_part(Anvil)
        self._say.held("Anvil, a node of an EVM chain that makes a block every second, for roots")
        self.rpc_url = anvil.url
        self._settings = real_settings(postgresql.url, valkey.url, seaweedfs, anvil)

    def _start_part(self, kind: type[_Part]) -> _Part:
        try:
            part = kind(self._folder / kind.name)
            self._open.enter_context(part)
        except PartError as ex:
            raise StepFailedError(f"{kind.name} to start", str(ex)) from ex
        return part

    def _prepare(self) -> None:
        self._say.step(
            "Prepare them, on the command line",
            "The schema goes into the database; the anchoring contract, which keeps nothing and "
            "only logs, onto the chain.",
        )
        self._run("migrate", "up")
        self._say.held("the schema is there")
        deployed = json.loads(self._run("chain", "deploy", "--yes", "--json"))
        self._settings = {
            **self._settings,
            "EVENTSERVER__BLOCKCHAIN__CONTRACT": deployed["address"],
        }
        self._say.held(f"contract {deployed['address']}, for {deployed['gas_used']:,} gas")
        status = json.loads(self._run("chain", "status", "--json"))
        self._say.held(f"the account's balance pays for {status['anchors']:,} anchors")

    def _start_servers(self) -> tuple[str, str]:
        self._say.step(
            "Start two instances and two workers",
            "What one instance is told the other knows: nothing is in a process's memory. Of the "
            "workers one at a time does the work.",
        )
        urls = []
        for command, number in (("serve", 1), ("serve", 2), ("worker", 1), ("worker", 2)):
            name = f"{'instance' if command == 'serve' else 'worker'}-{number}"
            server = LocalServer(self._folder, self._settings, [command], name)
            self._servers.append(self._open.enter_context(server))
            self._say.command(f"eventserver {command}")
            url = server.start()
            if command == "serve":
                require_health(self._say, url)
                urls.append(url)
        return urls[0], urls[1]

    def _run(self, *arguments: str) -> str:
        self._say.command(f"eventserver {' '.join(arguments)}")
        done = self.run_command().run_command(*arguments)
        expect(done.returncode == 0, "exit status 0", done.stderr.strip())
        return done.stdout


def real_settings(
    database_url: str, redis_url: str, seaweedfs: SeaweedFS, anvil: Anvil
) -> dict[str, str]:
    """Return the environment variables under which EventServer runs on the real parts."""
    return {
        "DATABASE_URL": database_url,
        "JWT_SECRET": secrets.token_hex(32),
        "AWS_ACCESS_KEY_ID": seaweedfs.access_key,
        "AWS_SECRET_ACCESS_KEY": seaweedfs.secret_key,
        "BLOCKCHAIN_RPC_URL": anvil.url,
        "EVENTSERVER__PLUGINS__STORAGE": "s3",
        "EVENTSERVER__PLUGINS__RATELIMIT": "redis",
        "EVENTSERVER__PLUGINS__CHAIN": "evm",
        "EVENTSERVER__REDIS__URL": redis_url,
        "EVENTSERVER__STORAGE__ENDPOINT": seaweedfs.url,
        "EVENTSERVER__S3__CREATE_BUCKET": "true",
        "EVENTSERVER__BLOCKCHAIN__NETWORK": "anvil",
        "EVENTSERVER__BLOCKCHAIN__CHAIN_ID": str(anvil.chain_id),
        "EVENTSERVER__BLOCKCHAIN__ACCOUNT_KEY": ACCOUNT_KEYS[0],
        "EVENTSERVER__ANCHORING__FOLLOW_INTERVAL": "0.5",
    }
