"""The command line, in this process and in real ones, in a folder of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from eventserver_core.cli import main
from eventserver_core.wiring import Services, load_configuration, prepare_schema
from tests.unit.logging_state import logging_put_back

PATIENCE = 60.0
Run = Callable[..., Result]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that commands run in; ``data`` in there is the data directory."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def run() -> Iterator[Run]:
    """Run a command in this process; environment variables are given as keywords."""

    def invoke(*arguments: object, **environ: str) -> Result:
        wide = {"COLUMNS": "300"}
        return CliRunner().invoke(main, [*map(str, arguments)], env=wide | environ)

    with logging_put_back():
        yield invoke


@pytest.fixture
def run_process(home: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a command as a process of its own, to its end."""

    def start(*arguments: object, **environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "eventserver_core", *map(str, arguments)],
            cwd=home,
            env=os.environ | environ,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )

    return start


@pytest.fixture
def services(home: Path) -> Iterator[Services]:
    """What the commands work with, over the same data directory; a batch is sealed at once."""
    environ: dict[str, Any] = {
        "EVENTSERVER__SERVER__DATA_DIR": str(home / "data"),
        "EVENTSERVER__ANCHORING__BATCH_MAX_EVENTS": "1",
        "EVENTSERVER__SECURITY__POW_DIFFICULTY": "1",
    }
    made = Services(load_configuration(None, environ))
    prepare_schema(made.database)
    yield made
    made.database.close()
