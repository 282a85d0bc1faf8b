"""What answers a scrape, put together."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping

import eventserver_core
from eventserver_core.db.audit import AuditRepository
from eventserver_core.db.batches import BatchRepository
from eventserver_core.db.connection import Database
from eventserver_core.db.relays import RelayRepository
from eventserver_core.domain import instant
from eventserver_core.metrics.pool import MeasuredPool
from eventserver_core.metrics.scrape import Question, Reading, Scrape
from eventserver_core.pki.authority import CertificateAuthority
from eventserver_core.sections import DatabaseSettings
from eventserver_core.services.health import CheckHealth
from eventserver_core.services.measurements import ReadAuthority, ReadDatabase, ReadDependencies
from eventserver_core.settings import Settings

_AUTHORITY_REMEMBERED_FOR = 60.0


class Measuring:
    """Makes what answers scrapes.

    Args:
        settings: the settings.
        database: where the rows are; how much of its pool is used is measured from now on.
        plugins: which plugin takes each role.
    """

    def __init__(self, settings: Settings, database: Database, plugins: Mapping[str, str]) -> None:
        self._settings = settings
        self._database = database
        self._plugins = plugins
        if not database.is_sqlite:
            database.peewee.pool = MeasuredPool(database.peewee.pool)

    def scrape(
        self,
        health: CheckHealth | None = None,
        authority: Callable[[], CertificateAuthority] | None = None,
    ) -> Scrape:
        """Return what answers.

        Args:
            health: asks what is depended on; None leaves that out.
            authority: returns the certificate authority; None leaves that out.
        """
        database = self._database
        questions = [
            Question(
                "database",
                ReadDatabase(
                    database,
                    BatchRepository(database),
                    RelayRepository(database),
                    AuditRepository(database),
                    instant.now,
                ),
            )
        ]
        if health is not None:
            questions.append(Question("dependencies", ReadDependencies(health)))
        if authority is not None:
            asked = ReadAuthority(authority)
            questions.append(Question("authority", asked, _AUTHORITY_REMEMBERED_FOR))
        return Scrape(questions, [*self._constants()])

    def _constants(self) -> list[Reading]:
        version = (eventserver_core.__version__, platform.python_version())
        build = Reading(
            "eventserver_build_info", "What runs.", ("version", "python"), [(version, 1.0)]
        )
        most = float(self._settings[DatabaseSettings].max_connections)
        limit = Reading(
            "eventserver_database_connections_max",
            "The most connections that one process makes.",
            (),
            [((), most)],
        )
        modes = [
            ((self._plugins["ratelimit"], origin.shown), 1.0)
            for origin in self._settings.origins
            # each limiter has this setting, and its own words for it
            if (origin.section, origin.spec.key) == ("ratelimit", "on_failure")
        ]
        mode = Reading(
            "eventserver_ratelimit_on_failure",
            "What happens to calls that can't be counted.",
            ("plugin", "mode"),
            modes,
        )
        return [build, limit, mode]
