"""The backend keeps the contract of its role."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from eventserver_storage_sqlite import SqliteStorage

from eventserver_core.testing.contracts.storage import StorageContract


class TestSqliteStorage(StorageContract):
    @pytest.fixture
    def backend_factory(self, tmp_path: Path) -> Callable[..., SqliteStorage]:
        def make(*, down: bool = False) -> SqliteStorage:
            storage = SqliteStorage(tmp_path / "disk" / "objects.sqlite3")
            if down:
                (tmp_path / "disk").rename(tmp_path / "unmounted")
            return storage

        return make
