"""An SQLite file that can't be used is reported as that, never as an error of peewee or SQLite."""

from __future__ import annotations

import ctypes
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import peewee
import pytest

from eventserver_core.db.batches import BatchRepository
from eventserver_core.db.connection import Database
from eventserver_core.db.events import EventRepository
from eventserver_core.db.leases import HeldLease
from eventserver_core.db.migrate import Migrations
from eventserver_core.errors import BackendUnavailableError

from .calls import assert_unavailable, readers, writers
from .rows import NOW, PATIENCE, fill, new_event

_PR_CAPBSET_DROP, _CAP_DAC_OVERRIDE = 24, 1


@pytest.fixture
def dialect() -> str:
    """SQLite only; what befalls a PostgreSQL server is in ``test_postgresql_outages.py``."""
    return "sqlite"


@contextmanager
def somebody_else_writing(path: Path) -> Iterator[None]:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield
        other.execute("ROLLBACK")


class TestLocked:
    def test_writing_waits_and_is_then_given_up(
        self, database: Database, path: Path, open_database: Callable[..., Database]
    ) -> None:
        impatient = open_database(timeout=0.02)
        impatient.check()
        with somebody_else_writing(path):
            for call in writers(impatient):
                assert "locked" in str(assert_unavailable(call))
        assert EventRepository(impatient).insert(new_event(99))

    def test_a_connection_waits_and_is_then_given_up(
        self, path: Path, open_database: Callable[..., Database]
    ) -> None:
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("CREATE TABLE t (x)")
            other.execute("BEGIN EXCLUSIVE")  # not in WAL mode yet, so that readers wait too
            impatient = open_database(timeout=0.02)
            assert "locked" in str(assert_unavailable(impatient.check))
            other.execute("ROLLBACK")
        impatient.check()

    def test_who_is_patient_gets_its_turn(
        self, database: Database, path: Path, at_once: Callable[..., list[Any]]
    ) -> None:
        def hold_for_a_while() -> None:
            with somebody_else_writing(path):
                EventRepository(database).find("0" * 64)

        events = EventRepository(database)
        inserts = [lambda n=n: events.insert(new_event(n)) for n in range(5)]
        assert at_once([hold_for_a_while, *inserts])[1:] == [True] * 5


class TestReadOnly:
    def test_what_cannot_be_written_is_told(self, database: Database) -> None:
        with database.session() as session:
            session.execute_sql("PRAGMA query_only = 1")
        for call in writers(database):
            assert "readonly" in str(assert_unavailable(call))
        for call in readers(database):
            call()

    @pytest.mark.parametrize("locked", ["file", "folder"])
    def test_a_file_without_permission_is_told(
        self, database: Database, path: Path, locked: str
    ) -> None:
        database.close()
        path.chmod(0o444)
        if locked == "folder":
            path.parent.chmod(0o555)
        source = """
import sys
from pathlib import Path
from eventserver_core.db.certificates import CertificateRepository
from eventserver_core.db.connection import Database
from eventserver_core.domain.instant import now
from eventserver_core.errors import BackendUnavailableError
try:
    CertificateRepository(Database("", Path(sys.argv[1]), timeout=1)).redeem("c", now())
except BackendUnavailableError as ex:
    print(ex.backend)
"""
        try:
            done = subprocess.run(
                [sys.executable, "-c", source, str(path)],
                capture_output=True,
                text=True,
                timeout=PATIENCE,
                preexec_fn=_obey_permissions,
            )
        finally:
            path.parent.chmod(0o755)
        assert (done.stdout, done.stderr) == ("database\n", "")


def _obey_permissions() -> None:
    """Take from root, should this be root, what lets it write anywhere."""
    if os.getuid() == 0:
        ctypes.CDLL(None).prctl(_PR_CAPBSET_DROP, _CAP_DAC_OVERRIDE, 0, 0, 0)


class TestFull:
    def test_a_full_disk_keeps_what_is_there_and_takes_no_more(
        self, database: Database, events: EventRepository, lease: HeldLease
    ) -> None:
        rows = fill(events, 3)
        with database.session() as session:
            pages = session.execute_sql("PRAGMA page_count").fetchone()[0]
            session.execute_sql(f"PRAGMA max_page_count = {pages}")
        large = "x" * 10_000
        error = assert_unavailable(lambda: events.insert(new_event(99, public_key=large)))
        assert "full" in str(error)
        assert events.find(new_event(99).digest_hex) is None
        assert all(events.find(row.digest_hex) is not None for row in rows)
        with database.session() as session:
            session.execute_sql("PRAGMA max_page_count = 1000000")
        assert events.insert(new_event(99, public_key=large))


class TestDamaged:
    @pytest.mark.parametrize("content", [b"this is no database" * 500, b"\0" * 8192])
    def test_a_file_that_is_no_database_is_told(
        self, path: Path, open_database: Callable[..., Database], content: bytes
    ) -> None:
        path.write_bytes(content)
        database = open_database()
        for call in [*readers(database), *writers(database), Migrations(database).up]:
            assert_unavailable(call)
        assert path.read_bytes() == content

    @pytest.mark.parametrize("first", range(2, 50, 6))
    def test_pages_that_were_overwritten_are_told_and_never_crash(
        self,
        path: Path,
        database: Database,
        events: EventRepository,
        batches: BatchRepository,
        lease: HeldLease,
        first: int,
    ) -> None:
        with database.transaction():
            fill(events, 400)
        assert batches.seal(lease, 300, NOW) is not None
        database.close()
        content = bytearray(path.read_bytes())
        assert len(content) > 56 * 4096
        content[first * 4096 : (first + 6) * 4096] = b"\xa5" * 6 * 4096
        path.write_bytes(content)
        told = 0
        for call in [*readers(database), *writers(database), Migrations(database).status]:
            try:
                call()
            except BackendUnavailableError:
                told += 1
        assert told

    def test_a_file_that_was_cut_off_is_told(
        self, path: Path, database: Database, events: EventRepository
    ) -> None:
        with database.transaction():
            fill(events, 400)
        database.close()
        path.write_bytes(path.read_bytes()[: 20 * 4096])
        for call in (
            lambda: EventRepository(database).insert(new_event(999)),
            lambda: fill(events, 9),
        ):
            assert_unavailable(call)


class TestAbsent:
    def test_a_folder_that_is_gone_is_told(self, tmp_path: Path) -> None:
        database = Database("", tmp_path / "gone" / "eventserver.sqlite3")
        for call in [*readers(database), *writers(database)]:
            assert_unavailable(call)

    def test_a_folder_in_place_of_the_file_is_told(
        self, path: Path, open_database: Callable[..., Database]
    ) -> None:
        path.mkdir()
        assert_unavailable(open_database().check)

    def test_a_schema_that_is_not_there_is_told(
        self, open_database: Callable[..., Database]
    ) -> None:
        database = open_database()
        database.check()
        for call in [*readers(database)[1:], *writers(database)]:
            assert "no such table" in str(assert_unavailable(call))


class TestOurOwnFaults:
    """What is wrong with a query is no outage, and does not pass for one."""

    @pytest.mark.parametrize(
        ("sql", "parameters", "error"),
        [
            ("INSERT INTO leases VALUES (?, NULL, 1, 1)", ("x",), peewee.IntegrityError),
            ("SELECT ?", (), peewee.ProgrammingError),
        ],
    )
    def test_passes_through(
        self, database: Database, sql: str, parameters: tuple[str, ...], error: type[Exception]
    ) -> None:
        with pytest.raises(error), database.transaction() as session:
            session.execute_sql(sql, parameters)
        database.check()
