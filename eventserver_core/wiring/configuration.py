"""From the settings to a database with its schema."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from eventserver_core.db.connection import Database
from eventserver_core.db.migrate import Migrations
from eventserver_core.errors import ConfigurationError
from eventserver_core.plugins import PROTOCOLS, Plugins
from eventserver_core.sections import (
    CORE_SECTIONS,
    DatabaseSettings,
    PluginSettings,
    ServerSettings,
)
from eventserver_core.settings import Settings, Sources


@dataclass(frozen=True, slots=True)
class Configuration:
    """The settings, and the plugins that they choose."""

    settings: Settings
    plugins: Plugins


def load_configuration(
    directory: Path | None = None, environ: Mapping[str, str] | None = None
) -> Configuration:
    """Read the settings, load the chosen plugins, and check both together.

    Raises:
        ConfigurationError: with every fault that can be told.
    """
    sources = Sources(directory, environ)
    chosen = sources.peek(PluginSettings)
    try:
        plugins = Plugins({role: getattr(chosen, role) for role in PROTOCOLS})
    except ConfigurationError as ex:
        # the rest is checked all the same; only what the missing plugins bring can't be known
        raise ConfigurationError([*ex.faults, *sources.faults_of(CORE_SECTIONS)]) from ex
    return Configuration(sources.load([*CORE_SECTIONS, *plugins.sections()]), plugins)


def open_database(settings: Settings) -> Database:
    """Open the database."""
    section = settings[DatabaseSettings]
    data_dir = settings[ServerSettings].data_dir
    if not section.url:
        try:
            data_dir.mkdir(parents=True, exist_ok=True)
        except OSError as ex:
            raise ConfigurationError(
                f"server.data_dir: {data_dir} cannot be made: {ex.strerror}"
            ) from ex
    return Database(
        section.url,
        data_dir.resolve() / "eventserver.sqlite3",
        max_connections=section.max_connections,
        timeout=section.connection_timeout,
    )


def prepare_schema(database: Database) -> None:
    """Make sure that the schema is there; an SQLite file's is brought up to date by itself.

    Raises:
        ConfigurationError: another database's schema is behind.
    """
    if database.is_sqlite:
        Migrations(database).up()
    elif pending := pending_migrations(database):
        raise ConfigurationError(pending)


def pending_migrations(database: Database) -> str | None:
    """Return what to do about migrations that are pending, or None where none are."""
    names = Migrations(database).pending()
    if not names:
        return None
    return f"database: {len(names)} migrations are pending; run: eventserver migrate up"
