"""PostgreSQL goes away and comes back: what was lost is told, and the next call succeeds."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from eventserver_core.db.connection import Database
from eventserver_core.db.events import EventRepository
from eventserver_core.db.migrate import Migrations
from eventserver_core.testing.parts import PostgreSQL

from .calls import assert_unavailable, readers, writers
from .rows import PATIENCE, fill, new_event

pytestmark = pytest.mark.real

SIZE = 3


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgreSQL]:
    """A server of this file's own, which its tests stop."""
    with PostgreSQL(tmp_path_factory.mktemp("outages")) as part:
        Migrations(Database(part.url, Path("unused"), timeout=PATIENCE)).up()
        yield part


@pytest.fixture
def database(server: PostgreSQL) -> Iterator[Database]:
    """An empty database on it, with as many idle connections as its pool takes."""
    made = Database(server.url, Path("unused"), timeout=PATIENCE, max_connections=SIZE)
    with made.session() as session:
        session.execute_sql("TRUNCATE events")
    fill_pool(made)
    yield made
    made.close()


@pytest.fixture
def events(database: Database) -> EventRepository:
    return EventRepository(database)


def fill_pool(database: Database) -> None:
    """Use as many connections at once as there may be."""
    everybody = threading.Barrier(SIZE)

    def use() -> None:
        with database.session():
            everybody.wait(PATIENCE)

    threads = [threading.Thread(target=use) for _ in range(SIZE)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)


def connections(database: Database) -> int:
    """Return how many connections clients have to the server."""
    with database.session() as session:
        count: int = session.execute_sql(
            "SELECT COUNT(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
        ).fetchone()[0]
        return count


@pytest.mark.parametrize("kill", [False, True], ids=["restarted", "killed and started"])
def test_the_first_call_after_a_restart_succeeds(
    database: Database, events: EventRepository, server: PostgreSQL, kill: bool
) -> None:
    for number in range(2):
        fill_pool(database)
        assert connections(database) == SIZE
        server.restart(kill=kill)
        assert events.insert(new_event(number))
        assert connections(database) == 1, "what was lost is not kept"
    assert events.find(new_event(0).digest_hex) is not None


def test_a_connection_that_an_administrator_ended_is_replaced(
    database: Database, events: EventRepository, server: PostgreSQL
) -> None:
    server.run_sql(
        "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity "
        "WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
    )
    assert events.insert(new_event(1))


def test_news_that_do_not_end_a_connection_do_no_harm(
    database: Database, server: PostgreSQL
) -> None:
    def process() -> int:
        with database.session() as session:
            found: int = session.execute_sql("SELECT pg_backend_pid()").fetchone()[0]
            return found

    def zone() -> str:
        with database.session() as session:
            found: str = session.execute_sql("SHOW TimeZone").fetchone()[0]
            return found

    before = process()
    try:
        # a parameter that the server reports to every client, idle or not
        server.run_sql("ALTER SYSTEM SET timezone = 'Asia/Tokyo'")
        server.run_sql("SELECT pg_reload_conf()")
        while zone() != "Asia/Tokyo":
            pass
        assert process() == before
    finally:
        server.run_sql("ALTER SYSTEM RESET timezone")
        server.run_sql("SELECT pg_reload_conf()")


def test_while_it_is_down_every_call_is_told_and_then_they_go_on(
    database: Database, server: PostgreSQL
) -> None:
    server.stop()
    try:
        for call in [*readers(database), *writers(database), Migrations(database).up]:
            assert "connection failed" in str(assert_unavailable(call))
    finally:
        server.start()
    for call in [*readers(database), *writers(database), Migrations(database).up]:
        call()


def test_what_a_transaction_did_is_gone_when_its_connection_is(
    database: Database, events: EventRepository, server: PostgreSQL
) -> None:
    def lose_it() -> None:
        with database.transaction():
            fill(events, 2)
            server.restart(kill=True)
            fill(events, 1, first=2)

    assert_unavailable(lose_it)
    assert [events.find(new_event(n).digest_hex) for n in range(3)] == [None] * 3
    fill(events, 3)


def test_a_transaction_is_never_done_twice(
    database: Database, events: EventRepository, server: PostgreSQL
) -> None:
    tries: list[int] = []

    def lose_it() -> None:
        with database.transaction() as session:
            tries.append(1)
            session.execute_sql("SELECT pg_terminate_backend(pg_backend_pid())")

    assert_unavailable(lose_it)
    assert tries == [1]


@contextmanager
def hanging(server: PostgreSQL) -> Iterator[None]:
    """Let neither the server nor those of its processes that serve clients go on for a while."""
    serving = server.run_sql(
        "SELECT pid FROM pg_stat_activity "
        "WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
    )
    processes = [int(pid) for pid in serving.split()]  # each in a process group of its own
    server.pause()
    for process in processes:
        os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            os.kill(process, signal.SIGCONT)
        server.resume()


class TestHanging:
    """The port is open, the connections are there, and nothing answers."""

    @pytest.fixture
    def hurried(self, database: Database, monkeypatch: pytest.MonkeyPatch) -> Database:
        """The same, with less patience."""
        monkeypatch.setattr("eventserver_core.db.postgresql._HURRY_SECONDS", 0.2)
        database.close()
        database.peewee.pool.patience = 0.2
        fill_pool(database)
        return database

    def test_what_waits_for_an_answer_gives_up(self, hurried: Database, server: PostgreSQL) -> None:
        with hanging(server):
            for call in [*readers(hurried)[:2], writers(hurried)[0]]:
                assert "no answer came within 0.2 s" in str(assert_unavailable(call))
        for call in [*readers(hurried), *writers(hurried)]:
            call()

    def test_a_new_connection_is_given_up(self, server: PostgreSQL) -> None:
        other = Database(server.url, Path("unused"), timeout=0.2)
        with hanging(server):
            assert "timeout expired" in str(assert_unavailable(other.check))
        other.check()
        other.close()

    def test_idle_connections_of_doubtful_health_are_not_asked_one_after_the_other(
        self, hurried: Database, server: PostgreSQL, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("eventserver_core.db.postgresql._TRUSTED_SECONDS", 0)
        other = Database(server.url, Path("unused"), timeout=0.2, max_connections=SIZE)
        fill_pool(other)
        with hanging(server):
            assert "timeout expired" in str(assert_unavailable(other.check))
        other.check()
        other.close()
        hurried.check()


def test_every_thread_that_finds_it_down_is_told(
    database: Database, server: PostgreSQL, at_once: Callable[..., list[object]]
) -> None:
    server.stop()
    try:
        results = at_once([lambda: str(assert_unavailable(database.check))] * 8)
    finally:
        server.start()
    assert all("connection failed" in str(result) for result in results)
    database.check()
