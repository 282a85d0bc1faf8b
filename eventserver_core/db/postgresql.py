"""PostgreSQL by psycopg 3: a pool of connections for each process.

Prepared statements are off unless they are asked for: a pooler that lends a server's connection
for one transaction at a time (pgbouncer) need not know them. Where a migration changes what one
returns, or somebody else has dropped it, the connection it was prepared on is closed.
"""

from __future__ import annotations

import os
import select
import threading
import time
import weakref
from collections import deque
from collections.abc import Generator, Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import Any, TypeVar

import psycopg
from peewee import PostgresqlDatabase
from psycopg import pq

from eventserver_core.db.postgresql_url import read_url
from eventserver_core.errors import BackendUnavailableError
from eventserver_core.log import get_logger

_T = TypeVar("_T")

_LEAST_STATEMENT_SECONDS = 30.0
_HURRY_SECONDS = 5.0
_TRUSTED_SECONDS = 30.0
_KEPT_SECONDS = 300.0
_GRACE_SECONDS = 5.0
_LOCK_PAUSE_SECONDS = 0.2
_LOCK_SECONDS = 600.0
_TELL_SECONDS = 5.0
_PREPARED_AFTER = 5
"""How often a statement is run on a connection before it is prepared there, with the next time."""
_STALE = (psycopg.errors.FeatureNotSupported, psycopg.errors.InvalidSqlStatementName)
"""What PostgreSQL says of a prepared statement that isn't what it was, or isn't there."""
_log = get_logger()


def _is_of_a_statement(error: psycopg.Error) -> bool:
    """Tell whether an error is about a prepared statement; the other code has other causes, too."""
    is_unknown = isinstance(error, psycopg.errors.InvalidSqlStatementName)
    return is_unknown or "cached plan" in str(error)


class Connection(psycopg.Connection[Any]):
    """A connection that waits only so long for an answer, whatever became of the server.

    Attributes:
        patience: seconds to wait for an answer; None waits forever.
        idle_since: when it was last given back.
    """

    patience: float | None = None
    idle_since: float = 0.0

    def wait(self, gen: Generator[Any, Any, _T], *args: Any, **kwargs: Any) -> _T:
        """Wait for an answer, as psycopg does; the connection is closed if none comes."""
        if self.patience is not None:
            gen = self._within(gen, self.patience)
        try:
            return super().wait(gen, *args, **kwargs)
        except _STALE as ex:
            if self.prepare_threshold is None or not _is_of_a_statement(ex):
                raise
            self.close()
            detail = "a prepared statement is of another schema; the next try prepares it anew"
            raise psycopg.OperationalError(detail) from ex

    def _within(self, gen: Generator[Any, Any, _T], seconds: float) -> Generator[Any, Any, _T]:
        # psycopg resumes this ten times a second with nothing, for as long as nothing comes
        deadline = time.monotonic() + seconds
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                if not ready and time.monotonic() > deadline:
                    self.close()
                    raise psycopg.OperationalError(f"no answer came within {seconds:g} s")
                wanted = gen.send(ready)
        except StopIteration as ex:
            answer: _T = ex.value
            return answer

    def is_alive(self) -> bool:
        """Tell whether it can be used again, with a round trip only where there is a doubt."""
        if self.closed:
            return False
        # an idle connection is sent nothing but the news of its end, or (seldom) other news
        news = select.poll()
        news.register(self.fileno(), select.POLLIN)
        if not news.poll(0) and time.monotonic() - self.idle_since < _TRUSTED_SECONDS:
            return True
        try:
            with self.in_a_hurry():
                self.execute("SELECT 1")
        except psycopg.Error:
            return False
        return True

    @contextmanager
    def in_a_hurry(self) -> Iterator[None]:
        """Wait but shortly for answers that need no time."""
        patience, self.patience = self.patience, _HURRY_SECONDS
        try:
            yield
        finally:
            self.patience = patience


class Pool:
    """Connections to one address, for the threads of one process.

    Args:
        conninfo: where, as libpq takes it.
        size: the most connections.
        timeout: seconds to wait for one that is free.
        patience: seconds to wait for any answer of the server.
        prepared: whether statements that come again are prepared.
    """

    def __init__(
        self, conninfo: str, size: int, timeout: float, patience: float, *, prepared: bool = False
    ) -> None:
        self._conninfo = conninfo
        self._prepare_threshold = _PREPARED_AFTER if prepared else None
        self._size = size
        self._timeout = timeout
        self.patience = patience
        self._inherited: list[deque[Connection]] = []
        self._start()

    def _start(self) -> None:
        self._process = os.getpid()
        self._free = threading.BoundedSemaphore(self._size)
        self._idle: deque[Connection] = deque()  # the last one used is at the right
        weakref.finalize(self, _close_all, self._idle, self._process)

    def _leave_the_parents(self) -> None:
        """Start anew in a process that was forked: what it inherited is not its own to close."""
        if os.getpid() != self._process:
            self._inherited.append(self._idle)
            self._start()

    def take(self) -> Connection:
        """Return a connection that works.

        Raises:
            BackendUnavailableError: none became free.
            psycopg.OperationalError: the server cannot be reached.
        """
        self._leave_the_parents()
        if not self._free.acquire(timeout=min(self._timeout, threading.TIMEOUT_MAX)):
            raise BackendUnavailableError(
                "database",
                f"no connection became free within {self._timeout:g} s; all {self._size} of this "
                "process are in use, see database.max_connections",
            )
        try:
            return self._idle_one() or self._new_one()
        except BaseException:
            self._free.release()
            raise

    def give_back(self, connection: Connection) -> None:
        """Take a connection back; one that is not fit for the next is closed."""
        if os.getpid() != self._process:
            self._inherited.append(deque([connection]))
            return
        if connection.pgconn.transaction_status == pq.TransactionStatus.IDLE:
            connection.idle_since = time.monotonic()
            self._idle.append(connection)
        else:
            connection.close()
        self._close_unused(time.monotonic() - _KEPT_SECONDS)
        self._free.release()

    def close_idle(self) -> None:
        """Close the connections that nobody uses."""
        self._leave_the_parents()
        self._close_unused(time.monotonic())

    def _idle_one(self) -> Connection | None:
        try:
            connection = self._idle.pop()
        except IndexError:
            return None
        if connection.is_alive():
            return connection
        connection.close()
        # the others were lost together with it, most likely; asking each may take long
        self.close_idle()
        return None

    def _new_one(self) -> Connection:
        connection = Connection.connect(
            self._conninfo, autocommit=True, prepare_threshold=self._prepare_threshold
        )
        connection.patience = self.patience
        return connection

    def _close_unused(self, since: float) -> None:
        with suppress(IndexError):
            while self._idle[0].idle_since <= since:
                self._idle.popleft().close()


def _close_all(connections: deque[Connection], process: int) -> None:
    """Close connections when their pool is gone, or their process ends."""
    if os.getpid() == process:
        for connection in connections:
            connection.close()


class PooledPostgreSQL(PostgresqlDatabase):
    """A PostgreSQL database as peewee sees it, on a pool.

    Args:
        url: as libpq reads it.
        max_connections: the most connections of this process.
        timeout: seconds to wait for a connection or a lock.
        prepared: whether statements that come again are prepared.

    Raises:
        ValueError: the address can't be used; the message has nothing of what it says.
    """

    def __init__(
        self, url: str, max_connections: int, timeout: float, *, prepared: bool = False
    ) -> None:
        # longer than the wait for a lock, so that a lock is what the message is about
        statement = max(timeout + 10, _LEAST_STATEMENT_SECONDS)
        name, conninfo = read_url(url, timeout, statement)
        super().__init__(name, prefer_psycopg3=True)
        patience = statement + _GRACE_SECONDS
        self.pool = Pool(conninfo, max_connections, timeout, patience, prepared=prepared)
        # What peewee's lock would guard is each thread's own here; held while a connection is
        # made, it would let one thread that waits for a dead host hold up all the others.
        self._lock = nullcontext()

    def is_read_only(self) -> bool:
        """Tell by one round trip whether nothing can be written, on a standby or by a setting."""
        with self._open_connection().in_a_hurry():
            return bool(self._ask("SELECT current_setting('transaction_read_only') = 'on'"))

    @contextmanager
    def alone(self, lock: int) -> Iterator[None]:
        """Hold a lock that one session at a time can hold, and take all the time that is needed.

        Only the wait for a table's lock stays limited: whoever waits for one keeps all others
        from that table. The connection is closed in the end, and the lock is free with that; so
        the address must lead to the server, and to no pooler that lends connections for one
        transaction.

        Args:
            lock: the number of the lock.
        """
        connection = self._open_connection()
        connection.patience = None
        try:
            # not every server has each of them
            self._ask(
                "SELECT set_config(name, '0', false) FROM pg_settings WHERE name IN "
                "('statement_timeout', 'transaction_timeout', 'idle_session_timeout', "
                "'idle_in_transaction_session_timeout')"
            )
            # asked again and again: a statement that waits would hold up who waits for all others
            self._lock_within(_LOCK_SECONDS, lock)
            try:
                yield
            finally:
                # a pooler may keep the session that we only seem to end
                with suppress(psycopg.Error):
                    connection.execute(f"SELECT pg_advisory_unlock({lock:d}); RESET ALL")
        finally:
            connection.close()

    def _lock_within(self, seconds: float, lock: int) -> None:
        began = time.monotonic()
        told = False
        while not self._ask("SELECT pg_try_advisory_lock(%s)", lock):
            waited = time.monotonic() - began
            if waited > seconds:
                raise BackendUnavailableError(
                    "database",
                    f"somebody else has been migrating for {seconds:g} s; see pg_locks for who "
                    "holds an advisory lock",
                )
            if waited > _TELL_SECONDS and not told:
                told = True
                _log.warning("migration_waits", why="somebody else is migrating")
            time.sleep(_LOCK_PAUSE_SECONDS)

    def close_idle(self) -> None:
        """Close the connections that nobody uses."""
        self.pool.close_idle()

    def _open_connection(self) -> Connection:
        peewee: Any = self
        connection: Connection = peewee.connection()
        return connection

    def _ask(self, question: str, *parameters: object) -> Any:
        peewee: Any = self
        return peewee.execute_sql(question, parameters).fetchone()[0]

    def _connect(self) -> Connection:
        return self.pool.take()

    def _close(self, conn: Connection) -> None:
        self.pool.give_back(conn)
