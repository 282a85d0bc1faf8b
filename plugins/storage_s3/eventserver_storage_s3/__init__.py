"""Storage in S3, Amazon's own or any store that speaks it.

The entry point ``s3`` in the group ``eventserver.storage`` names this module.
"""

from __future__ import annotations

from collections.abc import Sequence

from eventserver_core.hookspecs import hookimpl
from eventserver_core.settings import Section, Settings
from eventserver_storage_s3.backend import S3Storage
from eventserver_storage_s3.settings import S3Settings

__all__ = [
    "S3Settings",
    "S3Storage",
    "eventserver_settings",
    "eventserver_storage_backend",
]


@hookimpl
def eventserver_settings() -> Sequence[type[Section]]:
    """Bring the section ``s3``."""
    return [S3Settings]


@hookimpl
def eventserver_storage_backend(settings: Settings) -> S3Storage:
    """Make the backend, and find out what the store can do if it answers.

    Raises:
        ConfigurationError: settings are wrong, with every fault, or the store can't keep them.
    """
    return S3Storage.from_settings(settings)
