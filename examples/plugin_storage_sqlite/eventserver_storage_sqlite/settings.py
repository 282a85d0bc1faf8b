"""The section ``sqlite``."""

from __future__ import annotations

from eventserver_core.settings import SECONDS, Section, option, parse_seconds


class SqliteSettings(Section, name="sqlite"):
    """Where the file is."""

    file: str = option("", doc="The file, seen from server.data_dir; unset is objects.sqlite3.")
    busy_timeout: float = option(
        "10",
        parser=parse_seconds,
        expected=SECONDS,
        doc="How long a write may wait for those of others.",
    )
