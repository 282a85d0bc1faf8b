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
    IntegrityError,
    InterfaceError,
    NotSupportedError,
    OperationalError,
    ProgrammingError,
    SqliteDatabase,
)
from playhouse import db_url

from eventserver_core.errors import BackendUnavailableError, ConfigurationError

_BACKEND = "database"
_LOCK_PAUSE = 0.02
_OUR_FAULT = (DataError, IntegrityError, NotSupportedError, ProgrammingError)
# peewee lets errors through as sqlite3 has them where they come up between two rows
_OUTAGES = (DatabaseError, InterfaceError, sqlite3.DatabaseError)
_EXPECTED = "database.url: expected sqlite:///file or postgresql://user:password@host/name"

_BEHIND = "the schema is behind this version; run: eventserver migrate up"
_NOT_ALLOWED = "grant its role what it needs"
_READ_ONLY = "it is read-only (a standby?); database.url must lead to one that can be written"
_ADVICE = {
    "25006": _READ_ONLY,
    "3F000": _NOT_ALLOWED,
    "42501": _NOT_ALLOWED,
    "42703": _BEHIND,
    "42P01": _BEHIND,
    "53300": "all its connections are taken; see database.max_connections, of every process",
}
"""What to do about some of PostgreSQL's errors, by their codes; none of these is our fault."""


class Database:
    """A pool of connections. One for each process; what a fork inherits is left alone.

    A connection that was lost while nobody used it is noticed, and another one is made. One that
    is lost while it is used fails what it was doing, since nobody knows what became of that.

    Args:
        url: ``sqlite:///file``, or an address as libpq reads it, with its parameters for TLS,
            several hosts and so on; empty is ``default_path``.
        default_path: the SQLite file of the embedded set-up.
        max_connections: the most connections of this process.
        timeout: seconds to wait for a connection or a lock.
        prepared: whether PostgreSQL prepares statements that come again.

    Raises:
        ConfigurationError: the address is none that can be used.
    """

    def __init__(
        self,
        url: str,
        default_path: Path,
        *,
        max_connections: int = 10,
        timeout: float = 30,
        prepared: bool = False,
    ) -> None:
        self._timeout = timeout
        url = url or f"sqlite:///{default_path}"
        scheme = url.partition("://")[0]
        if scheme == "sqlite":
            self.peewee: Any = _sqlite(url, timeout)
        elif scheme in ("postgres", "postgresql"):
            self.peewee = _postgresql(url, max_connections, timeout, prepared)
        else:
            raise ConfigurationError(_EXPECTED)

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
            BackendUnavailableError: the database is down, locked, full, damaged or read-only, all
                connections are in use, or its schema is behind.
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
        except _OUTAGES as ex:
            first = _first(ex)
            advice = _ADVICE.get(_code(first), "")
            if isinstance(ex, _OUR_FAULT) and not advice:
                raise
            raise BackendUnavailableError(_BACKEND, _told(first, advice)) from ex

    @contextmanager
    def transaction(self) -> Iterator[Any]:
        """Lend a connection in a transaction that commits at the end, or leaves nothing.

        On SQLite it takes the write lock at once, so that what it reads stays true. On PostgreSQL
        each statement sees what was committed before it (READ COMMITTED): what must stay true is
        said in the statement that changes it, or rests on a row that was locked before.
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
            except OperationalError as ex:
                # SQLite waits for every lock but one: to turn a new file's journal into WAL
                if not self.is_sqlite or "locked" not in str(ex) or time.monotonic() > deadline:
                    raise
                time.sleep(_LOCK_PAUSE)
            else:
                return

    def check(self) -> None:
        """Find out whether the database answers, and takes what is written.

        Raises:
            BackendUnavailableError: it doesn't.
        """
        with self.session() as database:
            if self.is_sqlite:
                database.execute_sql("SELECT 1")
            elif database.is_read_only():
                raise BackendUnavailableError(_BACKEND, _READ_ONLY)

    def close(self) -> None:
        """Close this thread's connection, and those that nobody uses."""
        if not self.peewee.is_closed():
            self.peewee.close()
        if not self.is_sqlite:
            self.peewee.close_idle()


def _sqlite(url: str, timeout: float) -> Any:
    """Open a file. Every thread keeps its own connection: SQLite needs no pool, only patience."""
    try:
        database = db_url.connect(
            url,
            timeout=timeout,
            pragmas={
                "journal_mode": "wal",
                # NORMAL may forget the last commits when the power fails
                "synchronous": "full",
                "foreign_keys": 1,
            },
        )
    except (RuntimeError, ValueError) as ex:
        raise ConfigurationError(f"{_EXPECTED}; {type(ex).__name__}") from ex
    if database.connect_params or database.database == ":memory:":
        # in memory every thread would have a database of its own
        raise ConfigurationError(f"{_EXPECTED}; for SQLite, a file's path and nothing else")
    return database


def _postgresql(url: str, max_connections: int, timeout: float, prepared: bool) -> Any:
    try:
        from eventserver_core.db.postgresql import PooledPostgreSQL
    except ImportError as ex:
        raise ConfigurationError(
            "database.url: PostgreSQL needs a driver; run: "
            "pip install 'eventserver-core[postgresql]'"
        ) from ex
    try:
        return PooledPostgreSQL(url, max_connections, timeout, prepared=prepared)
    except ValueError as ex:
        raise ConfigurationError(f"{_EXPECTED}; {ex}") from None


def _first(error: BaseException) -> BaseException:
    """Return what went wrong first: a full disk ends a transaction, which then can't be ended."""
    while True:
        # the driver's own error lies between, which peewee has put in its words
        driver = getattr(error, "orig", None)
        before = error.__context__ if driver is None else driver.__context__
        if not isinstance(before, _OUTAGES):
            return error
        error = before


def _code(error: BaseException) -> str:
    return getattr(getattr(error, "orig", None), "sqlstate", None) or ""


def _told(error: BaseException, advice: str) -> str:
    """Return one line that says what went wrong, with nothing of the rows in it."""
    diagnosis = getattr(getattr(error, "orig", None), "diag", None)
    primary = getattr(diagnosis, "message_primary", None) or " ".join(str(error).split())
    return f"{type(error).__name__}: {primary}" + (f"; {advice}" if advice else "")
