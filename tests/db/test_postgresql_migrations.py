"""Migrations on PostgreSQL: one at a time, with all the time they need, and whole or not at all."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from eventserver_core.db import migrate
from eventserver_core.db.connection import Database
from eventserver_core.db.migrate import Migrations
from eventserver_core.errors import BackendUnavailableError

from .rows import PATIENCE, output

pytestmark = pytest.mark.real

UP = """
import sys
from pathlib import Path
from eventserver_core.db.connection import Database
from eventserver_core.db.migrate import Migrations

database = Database(sys.argv[1], Path("unused"), timeout=float(sys.argv[2]))
print(len(Migrations(database).up()))
database.close()
"""


@pytest.fixture
def dialect() -> str:
    """PostgreSQL only."""
    return "postgresql"


@pytest.fixture
def scripts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of migrations."""
    folder = tmp_path / "migrations"
    folder.mkdir()
    monkeypatch.setattr(migrate, "migrations_directory", lambda: folder)
    return folder


def settings(database: Database) -> dict[str, str]:
    names = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
    with database.session() as session:
        return {name: session.execute_sql(f"SHOW {name}").fetchone()[0] for name in names}


def test_who_comes_second_waits_longer_than_any_limit(
    url: str, start_python: Callable[..., subprocess.Popen[str]]
) -> None:
    with psycopg.connect(url, autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(%s)", (migrate._ADVISORY_LOCK,))
        process = start_python(UP, f"{url}?options=-c%20statement_timeout%3D50", 0.05)
        waiting = (
            "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() "
            "AND query LIKE '%%pg_try_advisory_lock%%' AND pid <> pg_backend_pid() "
            "AND backend_start < now() - interval '0.5 s' AND %s"
        )
        while other.execute(waiting, (True,)).fetchone() != (1,):
            assert process.poll() is None
        tables = "SELECT COUNT(*) FROM pg_tables WHERE schemaname = 'public'"
        assert other.execute(tables).fetchone() == (0,)
        other.execute("SELECT pg_advisory_unlock_all()")
        assert int(output(process)) == len(list(migrate.migrations_directory().glob("[0-9]*.py")))


def test_the_lock_is_free_again_even_if_the_migration_fails(
    open_database: Callable[..., Database], url: str, scripts: Path
) -> None:
    database = open_database()
    (scripts / "0001_broken.py").write_text("def up(migrator, db):\n    raise RuntimeError\n")
    for _ in range(2):
        with pytest.raises(RuntimeError):
            Migrations(database).up()
    with psycopg.connect(url, autocommit=True) as other:
        other.execute("SET lock_timeout = '60s'")
        other.execute("SELECT pg_advisory_lock(%s)", (migrate._ADVISORY_LOCK,))


def test_a_migration_takes_its_time_and_later_connections_have_their_limits(
    open_database: Callable[..., Database], scripts: Path
) -> None:
    database = open_database(timeout=0.05)
    database.peewee.pool.patience = 0.3
    before = settings(database)
    (scripts / "0001_slow.py").write_text(
        "def up(migrator, db):\n"
        "    db.execute_sql('SELECT pg_sleep(0.6)')\n"
        "    assert db.execute_sql('SHOW statement_timeout').fetchone() == ('0',)\n"
        "    limit = db.execute_sql('SHOW idle_in_transaction_session_timeout').fetchone()\n"
        "    assert limit == ('0',)\n"
        "    assert db.execute_sql('SHOW lock_timeout').fetchone() == ('50ms',)\n"
    )
    assert Migrations(database).up() == ["0001_slow"]
    assert settings(database) == before


def test_a_table_that_somebody_holds_ends_it_with_nothing_done(
    open_database: Callable[..., Database], url: str, scripts: Path
) -> None:
    (scripts / "0001_first.py").write_text(
        "def up(migrator, db):\n    db.execute_sql('CREATE TABLE first (id INTEGER)')\n"
    )
    Migrations(open_database()).up()
    (scripts / "0002_second.py").write_text(
        "def up(migrator, db):\n"
        "    db.execute_sql('CREATE TABLE second (id INTEGER)')\n"
        "    db.execute_sql('ALTER TABLE first ADD COLUMN note TEXT')\n"
    )
    migrations = Migrations(open_database(timeout=0.05))
    with psycopg.connect(url) as other:
        other.execute("SELECT * FROM first")  # holds a lock until its transaction ends
        with pytest.raises(BackendUnavailableError, match="lock timeout"):
            migrations.up()
        assert migrations.pending() == ["0002_second"]
    assert migrations.up() == ["0002_second"]


def test_an_index_can_be_made_while_others_wait_for_their_turn(
    open_database: Callable[..., Database],
    url: str,
    start_python: Callable[..., subprocess.Popen[str]],
    scripts: Path,
) -> None:
    """Such an index waits for all others' statements; theirs must not wait for it in turn."""
    (scripts / "0001_index.py").write_text(
        "atomic = False\n"
        "def up(migrator, db):\n"
        "    waiting = (\n"
        "        'SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() '\n"
        "        \"AND query LIKE '%%pg_try_advisory_lock%%' AND pid <> pg_backend_pid()\"\n"
        "    )\n"
        "    while db.execute_sql(waiting).fetchone() == (0,):\n"
        "        pass\n"
        "    db.execute_sql('CREATE TABLE t (id INTEGER)')\n"
        "    db.execute_sql('CREATE INDEX CONCURRENTLY t_id ON t (id)')\n"
    )
    process = start_python(UP, url, PATIENCE)
    assert Migrations(open_database(timeout=PATIENCE)).up() == ["0001_index"]
    output(process)
