"""``eventserver migrate``"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from eventserver_core.db import migrate
from eventserver_core.db.migrate import migrations_directory
from eventserver_core.testing.parts import PostgreSQL

from .conftest import Run

NAMES = sorted(path.stem for path in migrations_directory().glob("[0-9]*.py"))


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.real)])
def migrate_(request: pytest.FixtureRequest, run: Run) -> Iterator[Run]:
    """Run ``migrate`` on an empty database, of either kind."""
    if request.param == "sqlite":
        yield lambda *arguments: run("migrate", *arguments)
        return
    server: PostgreSQL = request.getfixturevalue("postgresql")
    name = f"db_{uuid.uuid4().hex}"
    url = server.create_database(name)
    yield lambda *arguments: run("migrate", *arguments, DATABASE_URL=url)
    server.drop_database(name)


def test_a_new_database_waits_for_its_migrations(migrate_: Run) -> None:
    result = migrate_("status")
    assert result.exit_code == 1
    assert result.stdout == "".join(f"{name}  pending\n" for name in NAMES)


def test_up_and_down_and_up_again(migrate_: Run) -> None:
    up = migrate_("up")
    assert (up.exit_code, up.stdout) == (0, "".join(f"applied: {name}\n" for name in NAMES))
    assert migrate_("up").stdout == "nothing to do\n"
    status = migrate_("status")
    assert status.exit_code == 0
    assert "pending" not in status.stdout
    down = migrate_("down", NAMES[0])
    assert down.exit_code == 0
    assert down.stdout == "".join(f"taken back: {name}\n" for name in reversed(NAMES))
    assert migrate_("down").stdout == "nothing to do\n"
    assert migrate_("up", NAMES[0]).stdout == f"applied: {NAMES[0]}\n"


def test_a_program_may_read_the_status(migrate_: Run) -> None:
    pending = migrate_("status", "--json")
    assert pending.exit_code == 1
    assert json.loads(pending.stdout) == [{"name": name, "appliedAt": None} for name in NAMES]
    migrate_("up")
    applied = migrate_("status", "--json")
    assert applied.exit_code == 0
    assert all(row["appliedAt"] for row in json.loads(applied.stdout))


@pytest.mark.parametrize("move", ["up", "down"])
def test_a_target_that_does_not_exist_is_told(migrate_: Run, move: str) -> None:
    result = migrate_(move, "0099_nonesuch")
    assert result.exit_code == 78
    assert "0099_nonesuch" in result.stderr


def test_a_new_script_is_written_and_its_path_printed(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrate, "migrations_directory", lambda: tmp_path / "scripts")
    result = run("migrate", "new", "add a note")
    assert result.exit_code == 0
    assert result.stdout == f"{tmp_path}/scripts/0001_add_a_note.py\n"
    assert "def up(migrator, db):" in (tmp_path / "scripts" / "0001_add_a_note.py").read_text()


@pytest.mark.parametrize(
    "url",
    ["sqlite:///{folder}/gone/file.db", "postgresql://user:pa55word@/name?host={folder}/gone"],
)
def test_a_database_that_is_away_is_told(run: Run, tmp_path: Path, url: str) -> None:
    for move in ("up", "down", "status"):
        result = run("migrate", move, DATABASE_URL=url.format(folder=tmp_path))
        assert result.exit_code == 1
        assert result.stderr.startswith("backend_unavailable: database: ")
        assert "pa55word" not in result.output
