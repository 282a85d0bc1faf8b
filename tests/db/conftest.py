"""A database for each test, on SQLite and on PostgreSQL, with the schema in it."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from eventserver_core.db.batches import BatchRepository
from eventserver_core.db.connection import Database
from eventserver_core.db.events import EventRepository
from eventserver_core.db.leases import HeldLease, LeaseRepository
from eventserver_core.db.migrate import Migrations
from eventserver_core.testing.clock import ManualClock
from eventserver_core.testing.parts import PostgreSQL

from .rows import PATIENCE


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.real)])
def dialect(request: pytest.FixtureRequest) -> str:
    """Which database: each test runs on both, unless it says otherwise."""
    return str(request.param)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where an SQLite file is, or will be."""
    return tmp_path / "eventserver.sqlite3"


@pytest.fixture
def new_url(
    dialect: str, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Callable[[], str]]:
    """Return the address of an empty database, each time of another one."""
    names: list[str] = []

    def make() -> str:
        names.append(f"db_{uuid.uuid4().hex}")
        if dialect == "sqlite":
            return f"sqlite:///{tmp_path}/{names[-1]}"
        return server().create_database(names[-1])

    def server() -> PostgreSQL:
        part: PostgreSQL = request.getfixturevalue("postgresql")
        return part

    yield make
    if dialect == "postgresql":
        for name in names:
            server().drop_database(name)


@pytest.fixture
def url(dialect: str, path: Path, new_url: Callable[[], str]) -> str:
    """The address of an empty database."""
    return f"sqlite:///{path}" if dialect == "sqlite" else new_url()


@pytest.fixture
def open_database(url: str) -> Iterator[Callable[..., Database]]:
    """Open the database, as often as wanted."""
    opened: list[Database] = []

    def make(timeout: float = PATIENCE, **arguments: Any) -> Database:
        opened.append(Database(url, Path("unused"), timeout=timeout, **arguments))
        return opened[-1]

    yield make
    for database in opened:
        database.close()


@pytest.fixture
def database(open_database: Callable[..., Database]) -> Database:
    """A database with its schema."""
    made = open_database()
    Migrations(made).up()
    return made


@pytest.fixture
def events(database: Database) -> EventRepository:
    return EventRepository(database)


@pytest.fixture
def batches(database: Database) -> BatchRepository:
    return BatchRepository(database)


@pytest.fixture
def leases(database: Database) -> LeaseRepository:
    return LeaseRepository(database)


@pytest.fixture
def lease(leases: LeaseRepository, clock: ManualClock) -> HeldLease:
    """A lease that is held."""
    held = leases.acquire("anchoring", "worker-1", timedelta(hours=1), clock.now())
    assert held is not None
    return held


@pytest.fixture
def queries() -> Iterator[list[tuple[str, tuple[object, ...]]]]:
    """Every query from here on, with its parameters, as peewee logs it."""
    seen: list[tuple[str, tuple[object, ...]]] = []

    class Collecting(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            sql, parameters = record.msg
            seen.append((sql, tuple(parameters or ())))

    logger, handler = logging.getLogger("peewee"), Collecting()
    level = logger.level
    logger.setLevel(logging.DEBUG)
    logger.addHandler(handler)
    yield seen
    logger.removeHandler(handler)
    logger.setLevel(level)


@pytest.fixture
def at_once(database: Database) -> Callable[..., list[Any]]:
    """Run functions in a thread each, all let go at the same moment; returns what they return."""

    def run(functions: Sequence[Callable[[], Any]]) -> list[Any]:
        barrier = threading.Barrier(len(functions))
        results: list[Any] = [None] * len(functions)

        def work(number: int) -> None:
            barrier.wait(PATIENCE)
            try:
                results[number] = functions[number]()
            except BaseException as ex:  # noqa: BLE001 - the test looks at it
                results[number] = ex
            finally:
                database.close()

        threads = [threading.Thread(target=work, args=(n,)) for n in range(len(functions))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        return results

    return run


@pytest.fixture
def start_python() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start Python processes; those that still run when the test ends are killed."""
    started: list[subprocess.Popen[str]] = []

    def start(source: str, *arguments: object) -> subprocess.Popen[str]:
        started.append(
            subprocess.Popen(
                [sys.executable, "-c", source, *map(str, arguments)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def soon(clock: ManualClock) -> Callable[[float], datetime]:
    """Return the moment so many seconds from now."""
    return lambda seconds: clock.now() + timedelta(seconds=seconds)
