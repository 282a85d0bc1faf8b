"""Instances and workers over PostgreSQL, Valkey, SeaweedFS and an EVM node, all of them real."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

import httpx
import minio
import psycopg
from psycopg.rows import dict_row

from eventserver_core.backends.auth import IssuedCertificate, Role
from eventserver_core.demo.real_stage import real_settings
from eventserver_core.testing.parts import Anvil, PostgreSQL, SeaweedFS, Valkey
from eventserver_core.testing.server import EventServerProcess, clean_environ
from eventserver_core.wiring import Services, load_configuration
from tests.end_to_end.conftest import variables
from tests.end_to_end.stored import Stored

BUCKET = "eventserver-storage"

SETTINGS: dict[str, object] = {
    "server__workers": 1,
    "server__threads": 8,
    "security__pow_difficulty": 1,
    "security__rate_limit_per_minute": 1_000_000,
    "security__rate_limit_public": "1000000/60",
    "anchoring__batch_max_age": 0.5,
    "anchoring__poll_interval": 0.1,
    "anchoring__lease_duration": 1,
    "anchoring__retry_max_delay": 1,
}


class RealSystem:
    """A production system on this machine; a context manager that ends all of it.

    Args:
        directory: where everything is kept.
        settings: on top of those above, as keywords such as ``server__workers``.

    Attributes:
        instances: the API's processes.
        workers: the anchoring workers' processes.
        parts: the servers that they run on.
    """

    def __init__(self, directory: Path, **settings: object) -> None:
        self._directory = directory
        self._open = ExitStack()
        self.postgresql = PostgreSQL(directory / "postgresql")
        self.valkey = Valkey(directory / "valkey")
        self.seaweedfs = SeaweedFS(directory / "seaweedfs")
        self.anvil = Anvil(directory / "anvil")
        self.parts = (self.postgresql, self.valkey, self.seaweedfs, self.anvil)
        self.environ = real_settings(
            self.postgresql.url, self.valkey.url, self.seaweedfs, self.anvil
        ) | variables(SETTINGS | settings)
        self.instances: list[EventServerProcess] = []
        self.workers: list[EventServerProcess] = []

    def __enter__(self) -> Self:
        with self._open as opened:
            for part in self.parts:
                opened.enter_context(part)
            self.run("migrate", "up")
            self._open = opened.pop_all()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._open.close()

    def use_contract(self) -> None:
        """Put the anchoring contract on the chain; what starts later uses it."""
        deployed = json.loads(self.run("chain", "deploy", "--yes", "--json"))
        self.environ["EVENTSERVER__BLOCKCHAIN__CONTRACT"] = deployed["address"]

    def run(self, *arguments: str) -> str:
        """Run a command under the system's settings, and return what it printed."""
        done = subprocess.run(
            [sys.executable, "-m", "eventserver_core", *arguments],
            cwd=self._directory,
            env=self.command_environ(),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def command_environ(self) -> dict[str, str]:
        """Return the environment that a command needs to see the system's settings."""
        return clean_environ() | self.environ

    def start_instance(self) -> EventServerProcess:
        """Start an instance of the API."""
        process = EventServerProcess(["serve"], self._directory, self.environ)
        self.instances.append(self._open.enter_context(process))
        return process

    def start_worker(self) -> EventServerProcess:
        """Start an anchoring worker."""
        process = EventServerProcess(
            ["worker"], self._directory, self.environ, ready_event="worker_started"
        )
        self.workers.append(self._open.enter_context(process))
        return process

    def issue(self) -> Callable[[Role, str], IssuedCertificate]:
        """Return what issues certificates as the command line does."""
        services = Services(load_configuration(self._directory, self.environ))
        self._open.callback(services.database.close)
        return lambda role, subject: services.identities.issue(subject, role, timedelta(hours=1))

    def stored(self) -> RealStored:
        """Return what lies in the parts."""
        return RealStored(self)

    def anchored_roots(self) -> Counter[str]:
        """Return how often each root is on the chain, from the chain alone."""
        return Counter(root for root, _ in self._anchors())

    def gas_used(self) -> list[int]:
        """Return the gas that each anchor used."""
        return [gas for _, gas in self._anchors()]

    def _anchors(self) -> Iterator[tuple[str, int]]:
        rpc = self.anvil.rpc
        for number in range(1, int(rpc("eth_blockNumber"), 16) + 1):
            for transaction in rpc("eth_getBlockByNumber", hex(number), True)["transactions"]:
                if transaction["to"] is None:
                    continue  # that is the contract
                receipt = rpc("eth_getTransactionReceipt", transaction["hash"])
                assert receipt["status"] == "0x1", "an anchor failed"
                yield transaction["input"][-64:], int(receipt["gasUsed"], 16)


class RealStored(Stored):
    """What lies in the database and the bucket, read with nothing of EventServer's.

    Args:
        system: whose.
    """

    def __init__(self, system: RealSystem) -> None:
        self._url = system.postgresql.url
        self._client = minio.Minio(
            system.seaweedfs.url.removeprefix("http://"),
            system.seaweedfs.access_key,
            system.seaweedfs.secret_key,
            secure=False,
        )

    def rows(self, statement: str) -> list[dict[str, Any]]:
        """Return the rows of a query."""
        with psycopg.connect(self._url, row_factory=dict_row) as connection:
            return connection.execute(statement.encode()).fetchall()

    def object(self, key: str) -> bytes:
        """Return an object's bytes."""
        answer = self._client.get_object(BUCKET, key)
        try:
            return answer.read()
        finally:
            answer.close()
            answer.release_conn()

    def objects(self) -> list[str]:
        """Return the keys of all objects."""
        found = self._client.list_objects(BUCKET, recursive=True)
        return sorted(str(item.object_name) for item in found)


def clients(system: RealSystem) -> list[httpx.Client]:
    """Return a client of each instance."""
    return [httpx.Client(base_url=instance.url, timeout=60) for instance in system.instances]
