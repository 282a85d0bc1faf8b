"""Loads a plugin as a server does: by its entry point, with settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from eventserver_core.plugins import Plugins
from eventserver_core.sections import CORE_SECTIONS
from eventserver_core.settings import Sources


def load_backend(role: str, name: str, data_dir: Path, **settings: str) -> Any:
    """Return the backend that an installed plugin gives the core.

    Args:
        role: the role.
        name: the plugin's name, which is its entry point's.
        data_dir: where the embedded defaults would keep everything; made where it isn't there.
        settings: those that aren't the defaults, as they stand in the environment: the section
            and the key with two underscores between them, such as ``s3__access_key``.

    Raises:
        ConfigurationError: the plugin or the settings are wrong, with every fault.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    plugins = Plugins({role: name})
    environ = {
        f"EVENTSERVER__{key.upper()}": value
        for key, value in ({"server__data_dir": str(data_dir)} | settings).items()
    }
    return plugins.backend(
        role, Sources(data_dir, environ).load([*CORE_SECTIONS, *plugins.sections()])
    )
