"""Storage in one SQLite file.

The entry point ``sqlite`` in the group ``eventserver.storage`` names this module.
"""

from __future__ import annotations

from collections.abc import Sequence

from eventserver_core.hookspecs import hookimpl
from eventserver_core.settings import Section, Settings
from eventserver_storage_sqlite.backend import SqliteStorage
from eventserver_storage_sqlite.settings import SqliteSettings

__all__ = [
    "EVENTSERVER_INTERFACE",
    "SqliteSettings",
    "SqliteStorage",
    "eventserver_settings",
    "eventserver_storage_backend",
]

EVENTSERVER_INTERFACE = 1
"""The version of the core's interface that this plugin is made for."""


@hookimpl
def eventserver_settings() -> Sequence[type[Section]]:
    """Bring the section ``sqlite``."""
    return [SqliteSettings]


@hookimpl
def eventserver_storage_backend(settings: Settings) -> SqliteStorage:
    """Make the backend, and its file where there is none."""
    return SqliteStorage.from_settings(settings)
