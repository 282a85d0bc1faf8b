"""What tests of the core's units share: settings, distributions, and the log."""

from __future__ import annotations

import io
import json
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import pytest

from eventserver_core import log
from eventserver_core.sections import CORE_SECTIONS
from eventserver_core.settings import Settings, Sources

from .logging_state import logging_put_back

Install = Callable[..., Path]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """The core's settings, all of them defaults but the data directory."""
    environ = {"EVENTSERVER__SERVER__DATA_DIR": str(tmp_path / "data")}
    return Sources(tmp_path, environ).load(CORE_SECTIONS)


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Install a distribution: its modules, its metadata and its entry points, as pip leaves them.

    It is found by ``importlib.metadata`` as any other, and gone when the test ends.
    """
    before = set(sys.modules)

    def install_distribution(
        name: str, entry_points: str, modules: Mapping[str, str], version: str = "1.0"
    ) -> Path:
        site = tmp_path / f"site-{name}-{version}"
        info = site / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(textwrap.dedent(entry_points))
        for module, source in modules.items():
            (site / f"{module}.py").write_text(textwrap.dedent(source))
        monkeypatch.syspath_prepend(str(site))
        return site

    yield install_distribution
    for module in set(sys.modules) - before:
        if getattr(sys.modules[module], "__file__", None) is not None and str(tmp_path) in str(
            sys.modules[module].__file__
        ):
            del sys.modules[module]


@pytest.fixture
def json_log() -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """Log as a server in production does; returns what was logged."""
    stream = io.StringIO()
    with logging_put_back():
        with redirect_stderr(stream):
            log.configure("debug", "json")
        yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
