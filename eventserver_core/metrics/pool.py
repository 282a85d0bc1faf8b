"""A pool of connections that tells how much of it is in use."""

from __future__ import annotations

from typing import Any

from eventserver_core.metrics.definitions import DATABASE_CONNECTIONS, DATABASE_WAITING


class MeasuredPool:
    """Stands in for a pool, with the same methods.

    Args:
        pool: PostgreSQL's.
    """

    def __init__(self, pool: Any) -> None:
        self._pool = pool
        self._in_use = DATABASE_CONNECTIONS.labels("in_use")
        self._idle = DATABASE_CONNECTIONS.labels("idle")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)

    def take(self) -> Any:
        """Return a connection, as the pool does; making one counts as waiting for it."""
        with DATABASE_WAITING.track_inprogress():
            connection = self._pool.take()
        self._in_use.inc()
        self._idle.set(len(self._pool._idle))
        return connection

    def give_back(self, connection: Any) -> None:
        """Take a connection back."""
        self._in_use.dec()
        self._pool.give_back(connection)
        self._idle.set(len(self._pool._idle))

    def close_idle(self) -> None:
        """Close the connections that nobody uses."""
        self._pool.close_idle()
        self._idle.set(len(self._pool._idle))
