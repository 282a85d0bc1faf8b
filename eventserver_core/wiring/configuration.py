"""From the settings to a database with its schema."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from eventserver_core.db.connection import Database
from eventserver_core.db.migrate import Migrations
from eventserver_core.errors import ConfigurationError
from eventserver_core.plugins import PROTOCOLS, Plugins
from eventserver_core.sections import (
    CORE_SECTIONS,
    CaSettings,
    DatabaseSettings,
    PluginSettings,
    ServerSettings,
)
from eventserver_core.settings import Settings, Sources
from eventserver_core.settings.strength import weakness

_SQLITE_FILE = "eventserver.sqlite3"


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
    settings = sources.load([*CORE_SECTIONS, *plugins.sections()])
    if faults := cross_faults(settings):
        raise ConfigurationError(faults)
    return Configuration(settings, plugins)


def cross_faults(settings: Settings) -> list[str]:
    """Return what is wrong with settings only in view of each other."""
    if not settings.is_production:
        return []
    faults = []
    if settings[ServerSettings].public_url.startswith("http:"):
        faults.append(
            "server.public_url: expected https in production; relays send their tokens there"
        )
    passphrase = settings[CaSettings].passphrase
    if passphrase and (why := weakness(passphrase)) is not None:
        faults.append(f"ca.passphrase: it is {why}; set it to the output of: openssl rand -hex 32")
    return faults


def open_database(settings: Settings) -> Database:
    """Open the database."""
    section = settings[DatabaseSettings]
    data_dir = settings[ServerSettings].data_dir
    if not section.url:
        try:
            data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as ex:
            raise ConfigurationError(
                f"server.data_dir: {data_dir} cannot be made: {ex.strerror}"
            ) from ex
    return Database(
        section.url,
        data_dir.resolve() / _SQLITE_FILE,
        max_connections=section.max_connections,
        timeout=section.connection_timeout,
        prepared=section.prepared_statements,
    )


def prepare_schema(database: Database) -> None:
    """Make sure that the schema is there; an SQLite file's is brought up to date by itself.

    Raises:
        ConfigurationError: another database's schema is behind.
    """
    if database.path is not None:
        # made here with its mode: who sent what is nobody else's to read
        with suppress(OSError):
            database.path.touch(mode=0o600)
        Migrations(database).up()
    elif pending := pending_migrations(database):
        raise ConfigurationError(pending)


def pending_migrations(database: Database) -> str | None:
    """Return what to do about migrations that are pending, or None where none are."""
    names = Migrations(database).pending()
    if not names:
        return None
    return f"database: {len(names)} migrations are pending; run: eventserver migrate up"
