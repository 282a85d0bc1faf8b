"""The connection to the database, its transactions, and what its errors mean."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from peewee import (
    DatabaseError,
    DataError,
    ImproperlyConfigured,
    IntegrityError,
    InterfaceError,
    NotSupportedError,
    OperationalError,
    PeeweeException,
    ProgrammingError,
    SqliteDatabase,
)
from playhouse import db_url
from playhouse.pool import MaxConnectionsExceeded

from eventserver_core.errors import BackendUnavailableError, ConfigurationError

_BACKEND = "database"
_LOCK_PAUSE = 0.02
_OUR_FAULT = (DataError, IntegrityError, NotSupportedError, ProgrammingError)
# peewee lets errors through as sqlite3 has them where they come up between two rows
_OUTAGES = (DatabaseError, InterfaceError, MaxConnectionsExceeded, sqlite3.DatabaseError)
_EXPECTED = "database.url: expected sqlite:///file or postgresql://user:password@host/name"


class Database:
    """A pool of connections. One for each process, made after it was forked.

    Args:
        url: as SQLAlchemy and peewee write it; empty is ``default_path``.
        default_path: the SQLite file of the embedded set-up.
        max_connections: the most connections of this process.
        timeout: seconds to wait for a connection or a lock.

    Raises:
        ConfigurationError: the address is none that can be used.
    """

    def __init__(
        self, url: str, default_path: Path, *, max_connections: int = 10, timeout: float = 30
    ) -> None:
        self._timeout = timeout
        url = url or f"sqlite:///{default_path}"
        scheme, _, rest = url.partition("://")
        if scheme not in ("sqlite", "postgres", "postgresql"):
            raise ConfigurationError(_EXPECTED)
        options: dict[str, Any] = {"max_connections": max_connections, "stale_timeout": 300}
        try:
            if scheme == "sqlite":
                # Every thread keeps its own connection: SQLite needs no pool, only patience.
                self.peewee: Any = db_url.connect(
                    url,
                    timeout=timeout,
                    pragmas={
                        "journal_mode": "wal",
                        # NORMAL may forget the last commits when the power fails
                        "synchronous": "full",
                        "foreign_keys": 1,
                    },
                )
            else:
                self.peewee = db_url.connect(f"{scheme}+pool://{rest}", timeout=timeout, **options)
        except (RuntimeError, ValueError, ImportError) as ex:
            raise ConfigurationError(f"{_EXPECTED}; {type(ex).__name__}") from ex
        if self.is_sqlite and (self.peewee.connect_params or self.peewee.database == ":memory:"):
            # in memory every thread would have a database of its own
            raise ConfigurationError(f"{_EXPECTED}; for SQLite, a file's path and nothing else")

    @property
    def is_sqlite(self) -> bool:
        """Whether this is an SQLite file."""
        return isinstance(self.peewee, SqliteDatabase)

    @property
    def path(self) -> Path | None:
        """The SQLite file."""
        return Path(self.peewee.database) if self.is_sqlite else None

    @contextmanager
    def session(self) -> Iterator[Any]:
        """Lend a connection; inside another session it is the same one.

        Raises:
            BackendUnavailableError: the database is down, locked, full or damaged.
            ConfigurationError: its driver is not installed, or does not know the address.
        """
        try:
            if not self.peewee.is_closed():
                yield self.peewee
                return
            self._connect()
            try:
                yield self.peewee
            finally:
                if not self.is_sqlite:
                    self.peewee.close()
        except _OUR_FAULT:
            raise
        except _OUTAGES as ex:
            first = _first(ex)
            raise BackendUnavailableError(_BACKEND, f"{type(first).__name__}: {first}") from ex

    @contextmanager
    def transaction(self) -> Iterator[Any]:
        """Lend a connection in a transaction that commits at the end, or leaves nothing.

        On SQLite it takes the write lock at once, so that what it reads stays true.
        """
        with self.session() as database:
            arguments = ("IMMEDIATE",) if self.is_sqlite else ()
            with database.atomic(*arguments):
                yield database

    def _connect(self) -> None:
        deadline = time.monotonic() + self._timeout
        while True:
            try:
                self.peewee.connect()
            except (ImproperlyConfigured, ProgrammingError) as ex:
                raise ConfigurationError(f"database.url: {ex}") from ex
            except OperationalError as ex:
                # SQLite waits for every lock but one: to turn a new file's journal into WAL
                if "locked" not in str(ex) or time.monotonic() > deadline:
                    raise
                time.sleep(_LOCK_PAUSE)
            else:
                return

    def check(self) -> None:
        """Find out whether the database answers.

        Raises:
            BackendUnavailableError: it doesn't.
        """
        with self.session() as database:
            try:
                database.execute_sql("SELECT 1")
            except PeeweeException as ex:
                raise BackendUnavailableError(_BACKEND, str(ex)) from ex

    def close(self) -> None:
        """Close this thread's connection."""
        if not self.peewee.is_closed():
            self.peewee.close()


def _first(error: BaseException) -> BaseException:
    """Return what went wrong first: a full disk ends a transaction, which then can't be ended."""
    while isinstance(error.__context__, _OUTAGES):
        error = error.__context__
    return error
