"""The pool: bounded, clean, and never shared with another process."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from eventserver_core.db.connection import Database
from eventserver_core.db.events import EventRepository
from eventserver_core.errors import NotFoundError

from .calls import assert_unavailable
from .rows import PATIENCE, fill, output

pytestmark = pytest.mark.real


@pytest.fixture
def dialect() -> str:
    """PostgreSQL only."""
    return "postgresql"


def one(database: Database, question: str) -> Any:
    with database.session() as session:
        return session.execute_sql(question).fetchone()[0]


def process(database: Database) -> int:
    """Return which of the server's processes is at the connection's other end."""
    return int(one(database, "SELECT pg_backend_pid()"))


def test_a_connection_is_used_again(open_database: Callable[..., Database]) -> None:
    database = open_database()
    assert len({process(database) for _ in range(5)}) == 1


def test_many_threads_share_a_few_connections(
    open_database: Callable[..., Database], at_once: Callable[..., list[Any]]
) -> None:
    database = open_database(max_connections=2)
    seen = at_once([lambda: process(database)] * 12)
    assert all(isinstance(found, int) for found in seen)
    connected = "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database()"
    assert one(open_database(), connected) <= 2 + 1 + 1  # this one, and the fixture's


def test_who_gets_no_connection_in_time_is_told(
    open_database: Callable[..., Database], at_once: Callable[..., list[Any]]
) -> None:
    database = open_database(max_connections=1, timeout=0.05)
    others: list[str] = []
    with database.session():
        thread = threading.Thread(
            target=lambda: others.append(str(assert_unavailable(database.check)))
        )
        thread.start()
        thread.join(PATIENCE)
    assert "all 1 of this process are in use, see database.max_connections" in others[0]
    database.check()


def test_who_waits_gets_the_next_that_is_free(open_database: Callable[..., Database]) -> None:
    database = open_database(max_connections=1)
    results: list[Any] = []
    with database.session() as session:
        first = session.execute_sql("SELECT pg_backend_pid()").fetchone()[0]
        thread = threading.Thread(target=lambda: results.append(process(database)))
        thread.start()
    thread.join(PATIENCE)
    assert results == [first]


def test_a_failed_try_to_connect_takes_no_place(url: str) -> None:
    database = Database(url + "_gone", Path("unused"), max_connections=1, timeout=0.05)
    for _ in range(3):
        assert "does not exist" in str(assert_unavailable(database.check))


def test_a_transaction_that_failed_leaves_a_clean_connection(
    database: Database, events: EventRepository
) -> None:
    before = process(database)
    with pytest.raises(NotFoundError), database.transaction():
        fill(events, 1)
        raise NotFoundError("something else went wrong")
    assert process(database) == before
    fill(events, 1)


def test_a_transaction_that_was_left_open_is_not_passed_on(database: Database) -> None:
    with database.session() as session:
        session.execute_sql("BEGIN")
        session.execute_sql("INSERT INTO revocations VALUES ('c-1', 0, 'lost')")
    assert one(database, "SELECT COUNT(*) FROM revocations") == 0


def test_what_nobody_uses_is_closed_after_a_while(
    open_database: Callable[..., Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    database = open_database()
    before = process(database)
    assert process(database) == before
    monkeypatch.setattr("eventserver_core.db.postgresql._KEPT_SECONDS", -1)
    database.check()
    assert process(database) != before


def test_what_was_idle_for_long_is_asked_whether_it_lives(
    open_database: Callable[..., Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    database = open_database()
    before = process(database)
    monkeypatch.setattr("eventserver_core.db.postgresql._TRUSTED_SECONDS", 0)
    assert process(database) == before


def test_the_server_knows_its_limits_and_who_calls(url: str) -> None:
    database = Database(url, Path("unused"), timeout=20)
    expected = {
        "lock_timeout": "20s",
        "statement_timeout": "30s",
        "idle_in_transaction_session_timeout": "30s",
        "application_name": "eventserver",
        "transaction_isolation": "read committed",
    }
    assert {name: one(database, f"SHOW {name}") for name in expected} == expected
    database.close()
    without = Database(f"{url}?options=&application_name=mine", Path("unused"), timeout=20)
    assert one(without, "SHOW lock_timeout") == "0"
    assert one(without, "SHOW application_name") == "mine"
    without.close()


def test_no_statement_is_prepared_on_the_server(database: Database) -> None:
    with database.session() as session:
        for number in range(20):
            session.execute_sql("SELECT %s::int", (number,)).fetchone()
        prepared = session.execute_sql("SELECT COUNT(*) FROM pg_prepared_statements").fetchone()
    assert prepared == (0,)


def test_a_process_that_was_forked_has_connections_of_its_own(
    database: Database, url: str, start_python: Callable[..., subprocess.Popen[str]]
) -> None:
    source = """
import os, sys
from pathlib import Path
from eventserver_core.db.connection import Database

database = Database(sys.argv[1], Path("unused"))

def process():
    with database.session() as session:
        return session.execute_sql("SELECT pg_backend_pid()").fetchone()[0]

def child():
    os.write(answers, f"{process()} {process()}\\n".encode())
    database.close()

parent = process()
answer, answers = os.pipe()
for when in ("between", "within a session"):
    if when == "between":
        forked = os.fork()
    else:
        with database.session():
            forked = os.fork()
    if forked == 0:
        child()
        os._exit(0)
    assert os.waitpid(forked, 0)[1] == 0
    first, second = os.read(answer, 100).split()
    assert first == second, (first, second)
    assert int(first) != parent
    assert process() == parent
database.close()
print("apart")
"""
    assert output(start_python(source, url)) == "apart\n"


CHANGED = "ALTER TABLE things ALTER COLUMN name TYPE text"
DROPPED = """
DO $$ DECLARE found RECORD; BEGIN
    FOR found IN SELECT name FROM pg_prepared_statements LOOP
        EXECUTE 'DEALLOCATE ' || quote_ident(found.name);
    END LOOP;
END $$
"""


class TestPreparing:
    def test_nothing_is_prepared_unless_it_is_asked_for(
        self, open_database: Callable[..., Database]
    ) -> None:
        prepared = "SELECT COUNT(*) FROM pg_prepared_statements WHERE statement LIKE 'SELECT 7%%'"
        for wanted, count in ((False, 0), (True, 1)):
            database = open_database(prepared=wanted, max_connections=1)
            for _ in range(7):
                one(database, "SELECT 7")
            assert one(database, prepared) == count

    @pytest.mark.parametrize("change", [CHANGED, DROPPED], ids=["changed", "dropped"])
    def test_one_that_is_not_what_it_was_is_prepared_anew_with_the_next_try(
        self, open_database: Callable[..., Database], change: str
    ) -> None:
        database = open_database(prepared=True, max_connections=1)
        with database.session() as session:
            session.execute_sql("CREATE TABLE things (name INTEGER)")
        question = "SELECT COUNT(name), MAX(name) FROM things"
        for _ in range(7):
            assert one(database, question) == 0
        # of what is changed on its own connection psycopg takes notice by itself
        with (open_database() if change == CHANGED else database).session() as session:
            session.execute_sql(change)
        refusal = assert_unavailable(lambda: one(database, question))
        assert "the next try prepares it anew" in str(refusal)
        assert one(database, question) == 0
