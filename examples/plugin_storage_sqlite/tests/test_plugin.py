"""The plugin as the core finds it."""

from __future__ import annotations

from pathlib import Path

import pytest
from eventserver_storage_sqlite import EVENTSERVER_INTERFACE, SqliteSettings, SqliteStorage

from eventserver_core.hookspecs import INTERFACE
from eventserver_core.testing.loading import load_backend

README = Path(__file__).parents[1] / "README.md"


@pytest.mark.parametrize(
    ("file", "expected"),
    [("", "data/objects.sqlite3"), ("kept/here.db", "data/kept/here.db"), ("{tmp}/at", "at")],
)
def test_the_core_finds_the_plugin_and_gets_a_backend(
    tmp_path: Path, file: str, expected: str
) -> None:
    file = file.format(tmp=tmp_path)
    backend = load_backend("storage", "sqlite", tmp_path / "data", sqlite__file=file)
    assert isinstance(backend, SqliteStorage)
    backend.check()
    assert (tmp_path / expected).is_file()


def test_it_states_the_interface_that_it_is_made_for() -> None:
    assert EVENTSERVER_INTERFACE == INTERFACE


def test_every_setting_is_documented() -> None:
    for spec in SqliteSettings.options():
        assert f"| `{spec.key}` | " in README.read_text("utf-8")
