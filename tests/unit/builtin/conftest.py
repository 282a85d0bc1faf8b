"""What the tests of the built-in backends share."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from eventserver_core.sections import CORE_SECTIONS
from eventserver_core.settings import Section, Settings, Sources

Load = Callable[..., Settings]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Return a function that reads settings whose data directory is the test's own."""

    def load(*sections: type[Section], **environ: str) -> Settings:
        data_dir = {"EVENTSERVER__SERVER__DATA_DIR": str(tmp_path / "data")}
        return Sources(environ=data_dir | environ).load([*CORE_SECTIONS, *sections])

    return load


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Return what is synced from now on, in order; it really is."""
    paths: list[Path] = []
    fsync = os.fsync

    def record(fd: int) -> None:
        fsync(fd)
        paths.append(Path(f"/proc/self/fd/{fd}").readlink())

    monkeypatch.setattr(os, "fsync", record)
    return paths
