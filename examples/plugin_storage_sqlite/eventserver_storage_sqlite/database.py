"""The file: its tables, how it is opened, and what its errors become."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from eventserver_core.errors import BackendUnavailableError

BACKEND = "storage=sqlite"

_TABLES = """
CREATE TABLE IF NOT EXISTS uploads (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    began REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS pieces (
    upload INTEGER NOT NULL,
    number INTEGER NOT NULL,
    content BLOB NOT NULL,
    PRIMARY KEY (upload, number)
);
CREATE TABLE IF NOT EXISTS objects (
    key TEXT PRIMARY KEY,
    upload INTEGER NOT NULL UNIQUE,
    size INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS checks (
    id INTEGER PRIMARY KEY,
    times INTEGER NOT NULL
);
"""

_LOCK_PAUSE = 0.02


class ObjectFile:
    """Opens the file anew for each operation: nothing is shared by threads, or over a fork.

    Args:
        path: where the file is; it and its folder are made here, and never again later: a disk
            that went away must not be replaced by an empty file in silence.
        busy_timeout: seconds that a write waits for those of others.

    Raises:
        BackendUnavailableError: the file can't be made or opened.
    """

    def __init__(self, path: Path, busy_timeout: float) -> None:
        self._path = path.absolute()
        self._busy_timeout = busy_timeout
        with reported("the file cannot be used; see to sqlite.file and its disk"):
            self._path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            with self._opened() as connection:
                _use_a_journal_of_writes(connection, time.monotonic() + busy_timeout)
                connection.executescript(_TABLES)
            _sync_folder(self._path.parent)

    @contextmanager
    def reading(self, what: str) -> Iterator[sqlite3.Connection]:
        """Open the file for a few questions; ``what`` begins the message if that fails."""
        with reported(what), self._opened() as connection:
            yield connection

    @contextmanager
    def writing(self, what: str) -> Iterator[sqlite3.Connection]:
        """Open the file for one transaction, which is on the disk when this ends."""
        with reported(what), self._opened() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.rollback()
                raise
            connection.commit()

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        address = f"{self._path.as_uri()}?mode=rw"  # never makes a file
        with closing(
            sqlite3.connect(address, self._busy_timeout, isolation_level=None, uri=True)
        ) as connection:
            # with a journal of writes, FULL has each commit on the disk before it returns
            connection.execute("PRAGMA synchronous = FULL")
            yield connection


def _use_a_journal_of_writes(connection: sqlite3.Connection, deadline: float) -> None:
    """Turn the journal into WAL; SQLite waits for every lock of others but for this one."""
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as ex:
            if "locked" not in str(ex) or time.monotonic() > deadline:
                raise
            time.sleep(_LOCK_PAUSE)
        else:
            return


@contextmanager
def reported(what: str) -> Iterator[None]:
    """Turn what SQLite and the system refuse into the error that the core understands."""
    try:
        yield
    except (sqlite3.Error, OSError) as ex:
        raise BackendUnavailableError(BACKEND, f"{what}: {ex}") from ex


def _sync_folder(folder: Path) -> None:
    """Make it durable that the file is there."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
