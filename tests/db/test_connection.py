"""Sessions, transactions, and addresses that can or can't be used."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from eventserver_core.db.connection import Database
from eventserver_core.db.events import EventRepository
from eventserver_core.errors import ConfigurationError, NotFoundError

from .rows import ONLY_SQLITE, fill, go_on, new_event, output


def test_without_an_address_the_file_in_the_data_directory_is_used(path: Path) -> None:
    database = Database("", path)
    database.check()
    assert database.is_sqlite
    assert database.path == path
    assert path.is_file()
    database.close()


def test_an_address_names_another_file(tmp_path: Path, path: Path) -> None:
    other = tmp_path / "other.db"
    database = Database(f"sqlite:///{other}", path)
    database.check()
    assert database.path == other
    assert other.is_file()
    assert not path.exists()
    database.close()


@pytest.mark.parametrize(
    "url",
    [
        "nonsense",
        "mysql://user:pa55word@host/name",
        "sqlite://events.db",
        "sqlite://",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite:///events.db?mode=ro",
        "postgresql://user:pa55word@host:port/name",
        "postgresql://user:pa55word@host",
        "postgresql+pool://user:pa55word@host/name",
        "://",
    ],
)
def test_an_address_that_cannot_be_used_is_told_without_its_password(url: str, path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Database(url, path)
    (fault,) = caught.value.faults
    assert fault.startswith("database.url: expected sqlite:///file or postgresql://")
    assert "pa55word" not in fault


def test_a_driver_that_is_not_installed_is_told(
    start_python: Callable[..., subprocess.Popen[str]],
) -> None:
    source = """
import sys
from pathlib import Path
sys.modules.update(psycopg=None, psycopg2=None, psycopg2cffi=None)
from eventserver_core.db.connection import Database
from eventserver_core.errors import ConfigurationError
try:
    Database("postgresql://user:pa55word@127.0.0.1:1/name", Path("unused")).check()
except ConfigurationError as ex:
    print(ex)
"""
    said = output(start_python(source))
    assert said.startswith("database.url: ")
    assert "pip install 'eventserver-core[postgresql]'" in said
    assert "pa55word" not in said


@ONLY_SQLITE
def test_what_is_committed_outlives_a_power_cut(database: Database) -> None:
    with database.session() as peewee:
        found = {
            name: peewee.execute_sql(f"PRAGMA {name}").fetchone()[0]
            for name in ("journal_mode", "synchronous", "foreign_keys")
        }
    assert found == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}


def test_a_session_inside_another_is_the_same(database: Database) -> None:
    with database.session() as outer, database.session() as inner, database.transaction() as last:
        assert outer is inner is last


def test_a_transaction_leaves_nothing_when_it_fails(
    database: Database, events: EventRepository
) -> None:
    with pytest.raises(NotFoundError), database.transaction():
        fill(events, 3)
        raise NotFoundError("something else went wrong")
    assert events.find(new_event(0).digest_hex) is None
    fill(events, 3)


@ONLY_SQLITE
def test_a_transaction_shuts_other_writers_out_from_its_start(
    database: Database, open_database: Callable[..., Database]
) -> None:
    other = open_database(timeout=0.02)
    with database.transaction(), pytest.raises(Exception, match="locked"), other.transaction():
        pass
    with other.transaction():
        pass


def test_reading_goes_on_while_somebody_writes(
    database: Database, events: EventRepository, open_database: Callable[..., Database]
) -> None:
    fill(events, 1)
    reading = EventRepository(open_database(timeout=0.02))
    with database.transaction():
        fill(events, 1, first=1)
        assert reading.find(new_event(0).digest_hex) is not None
        assert reading.find(new_event(1).digest_hex) is None
    assert reading.find(new_event(1).digest_hex) is not None


def test_every_thread_may_use_it(
    events: EventRepository, at_once: Callable[..., list[Any]]
) -> None:
    rows = fill(events, 5)
    found = at_once([lambda row=row: events.find(row.digest_hex) for row in rows * 4])
    assert [event.digest_hex for event in found] == [row.digest_hex for row in rows * 4]


@ONLY_SQLITE
def test_a_new_file_can_be_opened_by_many_processes_at_once(
    url: str, start_python: Callable[..., subprocess.Popen[str]]
) -> None:
    source = """
import sys
from pathlib import Path
from eventserver_core.db.connection import Database
database = Database(sys.argv[1], Path("unused"))
print("ready", flush=True)
sys.stdin.readline()
database.check()
"""
    processes = [start_python(source, url) for _ in range(8)]
    for process in processes:
        assert process.stdout is not None
        process.stdout.readline()
    go_on(*processes)
    for process in processes:
        output(process)
