"""The schema's history: up, down, up again, with rows, and by many processes at once."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from eventserver_core.db import migrate
from eventserver_core.db.batches import BatchRepository
from eventserver_core.db.certificates import CertificateRepository
from eventserver_core.db.connection import Database
from eventserver_core.db.events import EventRepository
from eventserver_core.db.leases import HeldLease
from eventserver_core.db.migrate import Migrations, migrations_directory
from eventserver_core.db.models import MODELS
from eventserver_core.errors import BackendUnavailableError, ConfigurationError

from .network_rows import fill_network
from .rows import NOW, fill, go_on, new_event, output, receipt, transaction

FIRST = "0001_initial"
TABLES = {model._meta.table_name for model in MODELS}


def tables(database: Database) -> set[str]:
    with database.session() as peewee:
        return set(peewee.get_tables()) - {"schema_migration"}


@pytest.fixture
def scripts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the migrations' folder that a test may add to."""
    folder = tmp_path / "migrations"
    folder.mkdir()
    for script in migrations_directory().glob("*.py"):
        (folder / script.name).write_text(script.read_text())
    monkeypatch.setattr(migrate, "migrations_directory", lambda: folder)
    return folder


def test_an_empty_database_gets_every_table(open_database: Callable[..., Database]) -> None:
    database = open_database()
    migrations = Migrations(database)
    assert migrations.pending()[0] == FIRST
    assert migrations.up() == [status.name for status in migrations.status()]
    assert migrations.pending() == []
    assert tables(database) == TABLES


def test_up_to_date_there_is_nothing_to_do(database: Database) -> None:
    assert Migrations(database).up() == []


def test_down_takes_everything_back_and_up_brings_it_again(database: Database) -> None:
    migrations = Migrations(database)
    events = EventRepository(database)
    fill(events, 3)
    names = [status.name for status in migrations.status()]
    assert migrations.down(FIRST) == names[::-1]
    assert tables(database) == set()
    assert migrations.pending() == names
    assert migrations.down() == []
    assert migrations.up() == names
    assert events.find(new_event(0).digest_hex) is None
    fill(events, 3)
    assert events.find(new_event(0).digest_hex) is not None


def test_each_step_goes_back_and_forth_with_rows_in_every_table(
    database: Database,
    events: EventRepository,
    batches: BatchRepository,
    lease: HeldLease,
) -> None:
    rows = fill(events, 3)
    batch = batches.seal(lease, 2, NOW)
    assert batch is not None
    batches.add_transaction(lease, batch.id, transaction(batch.root_hex), NOW)
    batches.record_receipt(lease, batch.id, receipt(batch.root_hex, final=False), NOW, NOW)
    batches.record_loss(lease, batch.id, NOW)
    certificates = CertificateRepository(database)
    certificates.revoke("c-1", "lost", NOW)
    certificates.redeem("challenge", NOW)
    fill_network(database)
    with database.session() as session:
        for table in TABLES:
            assert session.execute_sql(f"SELECT COUNT(*) FROM {table}").fetchone() != (0,)  # noqa: S608
    migrations = Migrations(database)
    names = [status.name for status in migrations.status()]
    for name in reversed(names):
        assert migrations.down() == [name]
        assert migrations.up(name) == [name]
        if name != FIRST:
            assert all(events.find(row.digest_hex) is not None for row in rows)
            assert batches.leaves(batch.id) == [bytes.fromhex(r.digest_hex) for r in rows[:2]]
        assert migrations.down() == [name]
    assert tables(database) == set()
    assert migrations.up() == names
    fill(events, 3)


def test_each_step_can_be_taken_back_alone(database: Database) -> None:
    migrations = Migrations(database)
    last = migrations.status()[-1].name
    assert migrations.down() == [last]
    assert migrations.pending() == [last]
    assert migrations.up(last) == [last]


def test_rows_outlive_a_new_migration_and_its_end(database: Database, scripts: Path) -> None:
    events, migrations = EventRepository(database), Migrations(database)
    rows = fill(events, 3)
    path = migrations.new("Add a note!")
    assert path.parent == scripts
    assert path.name.endswith("_add_a_note.py")
    path.write_text(
        "from peewee import TextField\n"
        "def up(migrator, db):\n"
        "    migrator.migrate(migrator.add_column('events', 'note', TextField(null=True)))\n"
        "def down(migrator, db):\n"
        "    migrator.migrate(migrator.drop_column('events', 'note'))\n"
    )
    assert migrations.pending() == [path.stem]
    assert migrations.up() == [path.stem]
    # the previous release's code goes on working
    fill(events, 1, first=10)
    assert migrations.down() == [path.stem]
    with database.session() as peewee:
        assert "note" not in [column.name for column in peewee.get_columns("events")]
    found = [events.find(row.digest_hex) for row in [*rows, new_event(10)]]
    assert all(row is not None for row in found)
    assert not events.insert(rows[0])


def test_a_new_script_does_nothing_until_it_is_written(database: Database, scripts: Path) -> None:
    migrations = Migrations(database)
    first, second = migrations.new("one"), migrations.new("two")
    assert int(second.name[:4]) == int(first.name[:4]) + 1
    assert migrations.up() == [first.stem, second.stem]
    assert tables(database) == TABLES


def test_a_migration_that_fails_leaves_nothing(database: Database, scripts: Path) -> None:
    migrations = Migrations(database)
    fill(EventRepository(database), 1)
    path = migrations.new("broken")
    path.write_text(
        "def up(migrator, db):\n"
        "    db.execute_sql('CREATE TABLE half (id INTEGER)')\n"
        "    db.execute_sql('DELETE FROM events')\n"
        "    raise RuntimeError('half way')\n"
    )
    with pytest.raises(RuntimeError, match="half way"):
        migrations.up()
    assert "half" not in tables(database)
    assert migrations.pending() == [path.stem]
    assert EventRepository(database).find(new_event(0).digest_hex) is not None


@pytest.mark.parametrize("move", ["up", "down"])
def test_a_target_that_does_not_exist_is_refused(database: Database, move: str) -> None:
    with pytest.raises(ConfigurationError, match="0099_nonesuch"):
        getattr(Migrations(database), move)("0099_nonesuch")
    assert tables(database) == TABLES


def test_a_migration_without_a_way_back_says_so(database: Database, scripts: Path) -> None:
    migrations = Migrations(database)
    migrations.new("one way").write_text("def up(migrator, db):\n    pass\n")
    migrations.up()
    with pytest.raises(ConfigurationError, match=r"does not define down\(\)"):
        migrations.down()


def test_many_processes_migrate_one_database_once(
    url: str, start_python: Callable[..., subprocess.Popen[str]]
) -> None:
    source = """
import sys
from pathlib import Path
from eventserver_core.db.connection import Database
from eventserver_core.db.migrate import Migrations

migrations = Migrations(Database(sys.argv[1], Path("unused")))
print("ready", flush=True)
sys.stdin.readline()
print(len(migrations.up()), len(migrations.pending()))
"""
    processes = [start_python(source, url) for _ in range(6)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    go_on(*processes)
    answers = sorted(output(process).strip() for process in processes)
    count = len(list(migrations_directory().glob("[0-9]*.py")))
    assert answers == ["0 0"] * 5 + [f"{count} 0"]


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    database = Database("", tmp_path / "gone" / "eventserver.sqlite3")
    with pytest.raises(BackendUnavailableError, match="cannot be used"):
        Migrations(database).up()


def test_the_lock_never_touches_the_database_itself(tmp_path: Path) -> None:
    database = Database("", tmp_path / "events.lock")
    Migrations(database).up()
    fill(EventRepository(database), 1)
    database.close()
    assert Migrations(database).up() == []
    assert EventRepository(database).find(new_event(0).digest_hex) is not None
    database.close()


def test_the_scripts_are_inside_the_package_or_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "site-packages" / "eventserver_core"
    package.mkdir(parents=True)
    monkeypatch.setattr(migrate, "_PACKAGE", package)
    assert migrations_directory() == tmp_path / "site-packages" / "migrations"
    (package / "migrations").mkdir()
    assert migrations_directory() == package / "migrations"


def test_the_scripts_of_this_checkout_are_found() -> None:
    assert (migrations_directory() / f"{FIRST}.py").is_file()
