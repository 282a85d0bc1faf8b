"""What PostgreSQL's errors mean: what may go away, what an operator must do, what is our fault."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peewee
import pytest

from eventserver_core.db.connection import Database
from eventserver_core.db.events import EventRepository
from eventserver_core.errors import BackendUnavailableError
from eventserver_core.testing.parts import PostgreSQL

from .calls import assert_unavailable, readers, writers
from .rows import PATIENCE, fill, new_event

pytestmark = pytest.mark.real

SECRET = "pa55word"


@pytest.fixture
def dialect() -> str:
    """PostgreSQL only."""
    return "postgresql"


def raised(database: Database, code: str) -> Callable[[], Any]:
    """Return a call in which the server raises an error with a code."""

    def call() -> None:
        with database.transaction() as session:
            session.execute_sql(
                "DO $$ BEGIN RAISE EXCEPTION 'something is wrong' "
                f"USING ERRCODE = '{code}', DETAIL = '{SECRET}'; END $$"
            )

    return call


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        ("08006", ""),  # the connection failed
        ("25006", "it is read-only"),
        ("3F000", "grant its role"),  # no schema to create tables in
        ("40001", ""),  # could not be serialized
        ("40P01", ""),  # deadlock
        ("42501", "grant its role"),
        ("42703", "eventserver migrate up"),  # no such column
        ("42P01", "eventserver migrate up"),  # no such table
        ("53100", ""),  # disk full
        ("53200", ""),  # out of memory
        ("53300", "database.max_connections"),
        ("54000", ""),  # a limit of the server
        ("55P03", ""),  # a lock was not to be had
        ("57014", ""),  # cancelled, or the statement's time was up
        ("57P01", ""),  # shut down by the administrator
        ("57P03", ""),  # starting up
        ("58030", ""),  # disk damaged
        ("XX001", ""),  # data damaged
    ],
)
def test_what_may_go_away_is_an_outage_with_advice(
    database: Database, code: str, advice: str
) -> None:
    error = assert_unavailable(raised(database, code))
    assert "something is wrong" in str(error)
    assert advice in str(error)
    assert SECRET not in str(error)
    assert "\n" not in str(error)
    database.check()


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("0A000", peewee.NotSupportedError),
        ("22001", peewee.DataError),  # too long
        ("23502", peewee.IntegrityError),
        ("23505", peewee.IntegrityError),
        ("42601", peewee.ProgrammingError),  # syntax
        ("42883", peewee.ProgrammingError),  # no such function
    ],
)
def test_our_own_faults_pass_through(database: Database, code: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        raised(database, code)()
    database.check()


def test_a_schema_that_is_not_there_is_told(open_database: Callable[..., Database]) -> None:
    database = open_database()
    database.check()
    for call in [*readers(database)[1:], *writers(database)]:
        error = assert_unavailable(call)
        assert "does not exist" in str(error)
        assert "eventserver migrate up" in str(error)


def test_a_database_that_is_read_only_takes_no_events(
    database: Database, events: EventRepository, url: str, postgresql: PostgreSQL
) -> None:
    name = url.rpartition("/")[2]
    fill(events, 1)
    database.close()
    postgresql.run_sql(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
    assert "it is read-only" in str(assert_unavailable(database.check))
    for call in readers(database)[1:]:
        call()
    for call in writers(database):
        assert "it is read-only" in str(assert_unavailable(call))


def test_a_role_that_may_not_is_told_without_its_password(
    database: Database, url: str, postgresql: PostgreSQL
) -> None:
    role = url.rpartition("/")[2].replace("db_", "role_")
    postgresql.run_sql(f'CREATE ROLE "{role}" LOGIN CONNECTION LIMIT 1')
    try:
        other_url = url.replace("postgres@", f"{role}:{SECRET}@")
        other = Database(other_url, Path("unused"), timeout=PATIENCE)
        for call in [*readers(other)[1:], *writers(other)]:
            error = assert_unavailable(call)
            assert "grant its role" in str(error)
            assert SECRET not in str(error)
        with other.session():
            crowded = Database(other_url, Path("unused"), timeout=PATIENCE)
            error = assert_unavailable(crowded.check)
        assert "too many connections" in str(error)
        assert SECRET not in str(error)
        other.close()
    finally:
        postgresql.run_sql(f'DROP ROLE "{role}"')


@pytest.mark.parametrize("wrong", ["nobody:{}@127", "postgres:{}@127"])
def test_who_is_not_let_in_is_told_without_the_password(
    url: str, wrong: str, open_database: Callable[..., Database]
) -> None:
    address = url.replace("postgres@127", wrong.format(SECRET))
    if wrong.startswith("postgres"):
        address += "_gone"
    error = assert_unavailable(Database(address, Path("unused"), timeout=PATIENCE).check)
    assert "does not exist" in str(error)
    assert SECRET not in str(error)


def test_a_lock_is_waited_for_and_then_given_up(
    database: Database, open_database: Callable[..., Database]
) -> None:
    impatient = EventRepository(open_database(timeout=0.05))
    with database.transaction() as session:
        session.execute_sql("LOCK TABLE events IN EXCLUSIVE MODE")
        assert "lock timeout" in str(assert_unavailable(lambda: impatient.insert(new_event(1))))
        assert impatient.find(new_event(1).digest_hex) is None
    assert impatient.insert(new_event(1))


def test_of_two_that_wait_for_each_other_one_is_told(
    database: Database, at_once: Callable[..., list[Any]]
) -> None:
    events = EventRepository(database)
    both_have_one = threading.Barrier(2)

    def insert(first: int, second: int) -> bool:
        with database.transaction():
            events.insert(new_event(first))
            both_have_one.wait(PATIENCE)
            return events.insert(new_event(second))

    results = at_once([lambda: insert(1, 2), lambda: insert(2, 1)])
    assert [r for r in results if not isinstance(r, BaseException)] == [True]
    (error,) = (r for r in results if isinstance(r, BaseException))
    assert isinstance(error, BackendUnavailableError)
    assert "deadlock" in str(error)
    assert events.find(new_event(1).digest_hex) is not None
    assert events.find(new_event(2).digest_hex) is not None


def test_a_statement_that_takes_too_long_is_cut_off(url: str) -> None:
    limited = Database(f"{url}?options=-c%20statement_timeout%3D20", Path("unused"))

    def dawdle() -> None:
        with limited.session() as session:
            session.execute_sql(f"SELECT pg_sleep({PATIENCE})")

    assert "statement timeout" in str(assert_unavailable(dawdle))
    limited.check()
    limited.close()
