"""Settings read from a folder of their own and from made-up environment variables."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from eventserver_core.errors import ConfigurationError
from eventserver_core.sections import CORE_SECTIONS
from eventserver_core.settings import Settings, Sources

Load = Callable[..., Settings]
Faults = Callable[..., list[str]]
Write = Callable[[str, str], Path]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """The folder that settings are read from."""
    folder = tmp_path / "config"
    folder.mkdir()
    return folder


@pytest.fixture
def write(config: Path) -> Write:
    """Write a file into the folder."""

    def write_file(name: str, text: str) -> Path:
        path = config / name
        path.write_text(text, "utf-8")
        return path

    return write_file


@pytest.fixture
def load(config: Path) -> Load:
    """Read the core's sections, with environment variables given as keywords."""

    def load_settings(**environ: str) -> Settings:
        return Sources(config, environ).load(CORE_SECTIONS)

    return load_settings


@pytest.fixture
def faults(load: Load) -> Faults:
    """Read the core's sections, and return what is wrong with them."""

    def load_badly(**environ: str) -> list[str]:
        with pytest.raises(ConfigurationError) as caught:
            load(**environ)
        assert all("\n" not in fault for fault in caught.value.faults)
        assert str(caught.value) == "\n".join(caught.value.faults)
        return caught.value.faults

    return load_badly
