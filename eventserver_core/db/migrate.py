"""The schema's history, by playhouse's migration runner; the scripts are in ``migrations/``."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from playhouse.migrations import MigrationError, Runner

from eventserver_core.db.connection import Database
from eventserver_core.errors import BackendUnavailableError, ConfigurationError

_PACKAGE = Path(__file__).resolve().parent.parent
_ADVISORY_LOCK = int.from_bytes(b"evserver")
"""What instances lock on PostgreSQL while they change the schema; any number, but always this."""


def migrations_directory() -> Path:
    """Return where the scripts are: inside the wheel, or beside the package in a checkout."""
    inside = _PACKAGE / "migrations"
    return inside if inside.is_dir() else _PACKAGE.parent / "migrations"


@dataclass(frozen=True, slots=True)
class MigrationStatus:
    """A script, and when it was applied."""

    name: str
    applied_at: datetime | None


class Migrations:
    """Moves a database's schema up and down."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def status(self) -> list[MigrationStatus]:
        """Return every migration in order."""
        with self._runner() as runner:
            return [MigrationStatus(m.name, m.applied) for m in runner.status()]

    def pending(self) -> list[str]:
        """Return the names of those that were not applied."""
        return [m.name for m in self.status() if m.applied_at is None]

    def up(self, target: str | None = None) -> list[str]:
        """Apply what is pending, up to ``target``; returns the names."""
        with self._lock(), self._runner() as runner:
            return list(runner.up(target))

    def down(self, target: str | None = None) -> list[str]:
        """Take back the last one, or all down to ``target``; returns the names."""
        with self._lock(), self._runner() as runner:
            return list(runner.down(target))

    def new(self, name: str) -> Path:
        """Write the skeleton of a new script; returns where."""
        with self._runner() as runner:
            return Path(runner.create(name))

    @contextmanager
    def _runner(self) -> Iterator[Runner]:
        with self._database.session() as database:
            try:
                yield Runner(database, directory=str(migrations_directory()))
            except MigrationError as ex:
                raise ConfigurationError(f"migrations: {ex}") from ex

    @contextmanager
    def _lock(self) -> Iterator[None]:
        """Let one process at a time change the schema; the others wait."""
        path = self._database.path
        if path is None:
            with self._database.session() as database, database.alone(_ADVISORY_LOCK):
                yield
            return
        try:
            lock = path.with_name(path.name + ".lock").open("a")
        except OSError as ex:
            raise BackendUnavailableError("database", f"{path} cannot be used: {ex}") from ex
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
