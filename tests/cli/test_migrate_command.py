"""``eventserver migrate``"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from eventserver_core.db import migrate
from eventserver_core.db.migrate import migrations_directory

from .conftest import Run

NAMES = sorted(path.stem for path in migrations_directory().glob("[0-9]*.py"))


def test_a_new_database_waits_for_its_migrations(run: Run) -> None:
    result = run("migrate", "status")
    assert result.exit_code == 1
    assert result.stdout == "".join(f"{name}  pending\n" for name in NAMES)


def test_up_and_down_and_up_again(run: Run) -> None:
    up = run("migrate", "up")
    assert (up.exit_code, up.stdout) == (0, "".join(f"applied: {name}\n" for name in NAMES))
    assert run("migrate", "up").stdout == "nothing to do\n"
    status = run("migrate", "status")
    assert status.exit_code == 0
    assert "pending" not in status.stdout
    down = run("migrate", "down", NAMES[0])
    assert down.exit_code == 0
    assert down.stdout == "".join(f"taken back: {name}\n" for name in reversed(NAMES))
    assert run("migrate", "down").stdout == "nothing to do\n"
    assert run("migrate", "up", NAMES[0]).stdout == f"applied: {NAMES[0]}\n"


def test_a_program_may_read_the_status(run: Run) -> None:
    pending = run("migrate", "status", "--json")
    assert pending.exit_code == 1
    assert json.loads(pending.stdout) == [{"name": name, "appliedAt": None} for name in NAMES]
    run("migrate", "up")
    applied = run("migrate", "status", "--json")
    assert applied.exit_code == 0
    assert all(row["appliedAt"] for row in json.loads(applied.stdout))


@pytest.mark.parametrize("move", ["up", "down"])
def test_a_target_that_does_not_exist_is_told(run: Run, move: str) -> None:
    result = run("migrate", move, "0099_nonesuch")
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


def test_a_database_that_is_away_is_told(run: Run, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/gone/file.db"
    for move in ("up", "down", "status"):
        result = run("migrate", move, DATABASE_URL=url)
        assert result.exit_code == 1
        assert result.stderr.startswith("backend_unavailable: database: ")
