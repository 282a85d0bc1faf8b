"""The real parts, and servers over them; all of it is this machine's, and ends with the run."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeVar

import minio
import psutil
import psycopg

from benchmarks.floor_processes import FloorProcesses, MakeCall, Places
from benchmarks.processes import CpuMeter, Family, family
from eventserver_core.demo.server import LocalServer
from eventserver_core.testing.parts import PostgreSQL, SeaweedFS, Valkey

BUCKET = "eventserver-storage"
FLOOR_BUCKET = "floor"

SETTINGS: Mapping[str, object] = {
    "server__workers": 2,
    "server__threads": 32,
    "database__max_connections": 16,
    "database__prepared_statements": True,
    "redis__pool_size": 32,
    "security__rate_limit_per_minute": 1_000_000_000,
    "security__rate_limit_public": "1000000000/60",
    "logging__level": "info",
    "logging__format": "json",
    "anchoring__batch_max_age": 1,
    "anchoring__poll_interval": 0.1,
}
"""What the server runs with: as in production on two cores, but that nobody is too fast for it."""

RELAYS = 2
_POLL_SECONDS = 0.1

Say = Callable[[str], None]
_Amount = TypeVar("_Amount", int, float)


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A server that runs.

    Attributes:
        url: where it listens.
        database: its own database's address.
        process: the process itself.
        authorizations: a header value for each relay that may send to it.
    """

    url: str
    database: str
    process: LocalServer
    authorizations: list[str]

    def workers(self) -> list[psutil.Process]:
        """Return the processes that serve requests."""
        found: list[psutil.Process] = psutil.Process(self.process.pid).children()
        return found


class Stage:
    """PostgreSQL, Valkey and SeaweedFS, a context manager; what runs on them is opened from here.

    Args:
        folder: where they keep everything.
        say: tells what happens.
        quick: whether to do less of everything.
    """

    def __init__(self, folder: Path, say: Say, quick: bool) -> None:
        self.say = say
        self.postgresql = PostgreSQL(folder / "postgresql")
        self.valkey = Valkey(folder / "valkey")
        self.seaweedfs = SeaweedFS(folder / "seaweedfs")
        self._folder = folder
        self._quick = quick
        self._settings: dict[str, str] = {}
        self._authorizations: list[str] = []
        self._databases: list[str] = []
        self._open = ExitStack()

    def __enter__(self) -> Self:
        with self._open as opened:
            for part in (self.postgresql, self.valkey, self.seaweedfs):
                self.say(f"starting {part.name}")
                opened.enter_context(part)
            self._prepare()
            self._open = opened.pop_all()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._open.close()

    def pick(self, full: _Amount, quick: _Amount) -> _Amount:
        """Return how much of something to do."""
        return quick if self._quick else full

    @contextmanager
    def server(self, name: str) -> Iterator[RunningServer]:
        """Run a server with an empty database of its own.

        Args:
            name: what the database and the log are called.
        """
        with self.run(name, self.migrated_database(name), ("serve",)) as running:
            yield running

    @contextmanager
    def run(
        self, name: str, database: str, arguments: tuple[str, ...], **settings: object
    ) -> Iterator[RunningServer]:
        """Run a command on a database that is there.

        Args:
            name: what its log is called.
            database: the database's address.
            arguments: the command, ``("serve",)`` or ``("worker",)``.
            settings: on top of ``SETTINGS``, such as ``anchoring__batch_max_events=100``.
        """
        with self._local_server(name, database, arguments, settings) as process:
            url = process.start()
            yield RunningServer(url, database, process, self._authorizations)
            process.stop()

    def migrated_database(self, name: str) -> str:
        """Make a database with the schema in it, and return its address."""
        self.postgresql.create_database(name)
        database = self.postgresql.database_url(name)
        self._databases.append(database)
        with self._local_server(f"{name}-migrate", database) as process:
            _run(process, "migrate", "up")
        return database

    def settle(self) -> None:
        """Have PostgreSQL look at what its tables hold, as it does by itself once a minute.

        Until then it plans for empty ones.
        """
        for database in self._databases:
            with psycopg.connect(database, autocommit=True) as connection:
                connection.execute("ANALYZE")

    def floor(
        self, database: str, make_call: MakeCall, *, processes: int, threads: int
    ) -> AbstractContextManager[FloorProcesses]:
        """Start processes that do a floor's work over a database, when told to."""
        places = Places(
            endpoint=self.seaweedfs.url.removeprefix("http://"),
            access_key=self.seaweedfs.access_key,
            secret_key=self.seaweedfs.secret_key,
            bucket=FLOOR_BUCKET,
            redis_url=self.valkey.url,
            database=database,
        )
        return FloorProcesses(places, make_call, processes=processes, threads=threads)

    def meter(self, **more: Family) -> CpuMeter:
        """Begin to count CPU time, of the parts and of what is named besides."""
        return CpuMeter(
            {
                **more,
                "store": self.seaweedfs.processes,
                "database": self.postgresql.processes,
                "valkey": self.valkey.processes,
            }
        )

    def server_meter(self, running: RunningServer) -> CpuMeter:
        """Begin to count CPU time of a server, the load on it, and the parts."""
        return self.meter(server=lambda: family(running.process.pid))

    def _prepare(self) -> None:
        self._settings = {
            "JWT_SECRET": secrets.token_hex(32),
            "AWS_ACCESS_KEY_ID": self.seaweedfs.access_key,
            "AWS_SECRET_ACCESS_KEY": self.seaweedfs.secret_key,
            "EVENTSERVER__PLUGINS__STORAGE": "s3",
            "EVENTSERVER__PLUGINS__RATELIMIT": "redis",
            "EVENTSERVER__REDIS__URL": self.valkey.url,
            "EVENTSERVER__STORAGE__ENDPOINT": self.seaweedfs.url,
            "EVENTSERVER__STORAGE__BUCKET": BUCKET,
            "EVENTSERVER__S3__CREATE_BUCKET": "true",
            **_variables(SETTINGS),
        }
        store = minio.Minio(
            self.seaweedfs.url.removeprefix("http://"),
            self.seaweedfs.access_key,
            self.seaweedfs.secret_key,
            secure=False,
        )
        store.make_bucket(FLOOR_BUCKET)
        database = self.migrated_database("certificates")
        with self._local_server("certificates", database) as process:
            for number in range(1, RELAYS + 1):
                words = ("certificate", "issue", "--role", "relay", "--subject", f"relay-{number}")
                self._authorizations.append(f"Bearer {_run(process, *words).strip()}")

    def _local_server(
        self,
        name: str,
        database: str,
        arguments: tuple[str, ...] = (),
        settings: Mapping[str, object] | None = None,
    ) -> LocalServer:
        environ = self._settings | {"DATABASE_URL": database} | _variables(settings or {})
        return LocalServer(self._folder, environ, arguments, name)


def wait_until(database: str, question: str) -> None:
    """Ask a database until the answer is true."""
    with psycopg.connect(database, autocommit=True) as connection:
        while connection.execute(question.encode()).fetchone() != (True,):
            time.sleep(_POLL_SECONDS)


def _variables(settings: Mapping[str, object]) -> dict[str, str]:
    return {f"EVENTSERVER__{name.upper()}": str(value) for name, value in settings.items()}


def _run(process: LocalServer, *arguments: str) -> str:
    done = process.run_command(*arguments)
    if done.returncode != 0:
        raise RuntimeError(f"eventserver {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout
