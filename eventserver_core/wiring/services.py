"""Backends and services, each made of the settings when it is first asked for."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import cached_property
from typing import Any, cast

import falcon

from eventserver_core.backends.auth import AuthBackend
from eventserver_core.backends.chain import ChainBackend, UsesAccount
from eventserver_core.backends.guard import GuardedBackend
from eventserver_core.backends.provisioning import ProvisioningBackend
from eventserver_core.backends.ratelimit import DependsOnService, Quota, RateLimiter
from eventserver_core.backends.storage import StorageBackend
from eventserver_core.db.batches import BatchRepository
from eventserver_core.db.certificates import CertificateRepository
from eventserver_core.db.events import EventRepository
from eventserver_core.db.leases import LeaseRepository
from eventserver_core.domain import instant
from eventserver_core.errors import BackendUnavailableError, ConfigurationError
from eventserver_core.http.app import HttpOptions, create_app
from eventserver_core.http.middleware.limit_rate import RateLimits
from eventserver_core.log import get_logger
from eventserver_core.metrics.scrape import Scrape
from eventserver_core.plugins import PROTOCOLS
from eventserver_core.sections import (
    AnchoringSettings,
    BlockchainSettings,
    PluginSettings,
    RelaySettings,
    SecuritySettings,
    ServerSettings,
    StorageSettings,
)
from eventserver_core.services.anchoring import AnchorBatches, AnchoringLimits
from eventserver_core.services.audit import CheckpointAudit
from eventserver_core.services.chain_answers import ChainAnswers
from eventserver_core.services.evidence import EvidenceArchive
from eventserver_core.services.health import Anchoring, CheckHealth
from eventserver_core.services.identity import Identities
from eventserver_core.services.ingest import IngestEvents, IngestLimits
from eventserver_core.services.measurements import MeasureAccount
from eventserver_core.services.relay_worker import RelayWorker
from eventserver_core.services.standing import Standings
from eventserver_core.services.verification import Verifications
from eventserver_core.services.worker import Worker
from eventserver_core.wiring.configuration import Configuration, open_database, pending_migrations
from eventserver_core.wiring.measuring import Measuring
from eventserver_core.wiring.network import Network
from eventserver_core.wiring.traces import record_traces

_log = get_logger()

_LATE_AFTER_BATCHES = 10
"""A server is degraded when an event waits this many times the longest age of a batch."""
_READINESS_REMEMBERED_FOR = 3.0
"""Seconds; an orchestrator asks every instance, and asking storage may cost money."""


class Services:
    """Everything that one process needs, each part made when it is first asked for.

    Made after a process was forked: nothing here may be shared with another one.

    Args:
        configuration: the settings and plugins.
    """

    def __init__(self, configuration: Configuration) -> None:
        self.settings = configuration.settings
        self.plugins = configuration.plugins
        self.database = open_database(configuration.settings)
        self.measuring = Measuring(self.settings, self.database, configuration.plugins.chosen)
        self.events = EventRepository(self.database)
        self.batches = BatchRepository(self.database)
        self.certificates = CertificateRepository(self.database)
        self._standings = Standings(self.certificates)
        self._backends: dict[str, Any] = {}

    @cached_property
    def auth(self) -> AuthBackend:
        """The backend that says who is calling."""
        return cast("AuthBackend", self._backend("auth"))

    @cached_property
    def limiter(self) -> RateLimiter:
        """The backend that says how fast a caller may go."""
        return cast("RateLimiter", self._backend("ratelimit"))

    @cached_property
    def storage(self) -> StorageBackend:
        """The backend that keeps bytes."""
        return cast("StorageBackend", self._backend("storage"))

    @cached_property
    def chain(self) -> ChainBackend:
        """The backend that anchors roots."""
        return cast("ChainBackend", self._backend("chain"))

    @cached_property
    def provisioning(self) -> ProvisioningBackend:
        """The backend that launches relays."""
        return cast("ProvisioningBackend", self._backend("provisioning"))

    @cached_property
    def identities(self) -> Identities:
        """Authenticates callers and issues certificates."""
        lifetime = timedelta(hours=self.settings[SecuritySettings].certificate_validity_hours)
        return Identities(self.auth, self.certificates, lifetime, instant.now, self._standings)

    @cached_property
    def network(self) -> Network:
        """What runs the network of relays."""
        return Network(
            self.settings,
            self.database,
            self.events,
            self._standings,
            lambda: self.identities,
            lambda: self.provisioning,
        )

    @cached_property
    def verifications(self) -> Verifications:
        """Looks hashes up and makes proofs."""
        # whoever verifies waits for an answer; the worker can be patient with a slow node
        time_limit = self.settings[BlockchainSettings].verify_time_limit
        answers = ChainAnswers(self.chain_within(time_limit), self.batches, instant.now)
        return Verifications(self.events, self.batches, answers, instant.now)

    def chain_within(self, seconds: float) -> ChainBackend:
        """Return the chain's backend with a time limit of its own for each call."""
        return cast("ChainBackend", self._guarded("chain", self._bare("chain"), seconds))

    def load_backends(self) -> None:
        """Make every backend now.

        Raises:
            ConfigurationError: with what each of them found wrong.
        """
        faults: list[str] = []
        for role in PROTOCOLS:
            try:
                getattr(self, _ATTRIBUTES.get(role, role))
            except ConfigurationError as ex:
                faults += ex.faults
        if faults:
            raise ConfigurationError(faults)

    def check_schema(self) -> None:
        """Find out whether the database has the schema; a file gets it by itself.

        Raises:
            BackendUnavailableError: migrations are pending.
        """
        if not self.database.is_sqlite and (pending := pending_migrations(self.database)):
            raise BackendUnavailableError("database", pending.removeprefix("database: "))

    def require_account(self) -> None:
        """Make sure that there is an account to anchor with, where the chain needs one.

        Raises:
            ConfigurationError: there is none.
        """
        if not isinstance(self.chain, UsesAccount):
            return
        try:
            status = self.chain.account_status()
        except BackendUnavailableError as ex:
            _log.warning("account_not_looked_up", error=str(ex))
            return
        if status.account is None:
            raise ConfigurationError(
                "blockchain.account_key, blockchain.account_key_file: missing; a worker signs "
                "with the account's key (instances of the API need none)"
            )

    def checks(self) -> dict[str, Callable[[], None]]:
        """Return what finds out whether each dependency answers, by the name callers see."""
        return {
            # made when it is asked, so that one that can't be made is reported like the others
            "storage": lambda: self.storage.check(),
            "blockchain": lambda: self.chain.check(),
            "database": lambda: self.database.check(),
            "auth": lambda: self.auth.check(),
            "ratelimit": lambda: self.limiter.check(),
            "provisioning": lambda: self.provisioning.check(),
        }

    def application(self, draining: Callable[[], bool] = lambda: False) -> falcon.App[Any, Any]:
        """Return the WSGI application.

        Args:
            draining: tells whether requests are to go elsewhere, since the server will stop.
        """
        server, storage = self.settings[ServerSettings], self.settings[StorageSettings]
        security = self.settings[SecuritySettings]
        max_age = timedelta(seconds=security.event_max_age) if security.event_max_age else None
        labels = self.network.check_labels
        health = self.health()
        record_traces()
        ingest = IngestEvents(
            self.storage,
            self.events,
            IngestLimits(storage.max_file_size, storage.max_inline_size, max_age),
            instant.now,
            labels.check if labels else None,
        )
        return create_app(
            ingest=ingest,
            identities=self.identities,
            verifications=self.verifications,
            archive=EvidenceArchive(self.storage, self.verifications),
            network=self.network.services(),
            health=health,
            readiness=self.readiness(),
            draining=draining,
            scrape=self.measuring.scrape(health, self.network.authority),
            limiter=self.limiter,
            options=HttpOptions(
                max_json_size=server.max_json_size,
                max_file_size=storage.max_file_size,
                max_batch_events=server.max_batch_events,
                max_batch_size=server.max_batch_size,
                request_timeout=server.request_timeout,
                rate_limits=_rate_limits(security, storage.max_file_size),
                allowed_origins=security.allowed_origins,
                trusted_proxies=server.trusted_proxies,
            ),
        )

    def health(self) -> CheckHealth:
        """Return what asks every dependency that events have."""
        late_after = self.settings[AnchoringSettings].batch_max_age * _LATE_AFTER_BATCHES
        checks, needed = self._dependencies()
        return CheckHealth(
            checks, needed, instant.now, Anchoring(self.batches, timedelta(seconds=late_after))
        )

    def readiness(self) -> CheckHealth:
        """Return what asks only the dependencies without which events can't be taken."""
        checks, needed = self._dependencies()
        wanted = {name: check for name, check in checks.items() if name in needed}
        return CheckHealth(wanted, needed, instant.now, remembered_for=_READINESS_REMEMBERED_FOR)

    def _dependencies(self) -> tuple[dict[str, Callable[[], None]], frozenset[str]]:
        checks = self.checks()
        del checks["provisioning"]  # an event needs no new relay
        needed = {"storage", "database", "auth"}
        if isinstance(self.limiter, DependsOnService):
            dependency = self.limiter.dependency()
            checks[dependency.name] = checks.pop("ratelimit")
            if dependency.needed:
                needed.add(dependency.name)
        return checks, frozenset(needed)

    def worker(self) -> Worker:
        """Return the worker."""
        section = self.settings[AnchoringSettings]
        max_age = timedelta(seconds=section.batch_max_age)
        limits = AnchoringLimits(
            max_events=section.batch_max_events,
            max_age=max_age,
            follow_interval=timedelta(seconds=section.follow_interval),
            max_delay=timedelta(seconds=section.retry_max_delay),
        )
        leases = LeaseRepository(self.database)
        duration = timedelta(seconds=section.lease_duration)
        anchoring = AnchorBatches(
            self.chain,
            self.batches,
            limits,
            instant.now,
            lambda lease: leases.renew(lease, duration, instant.now()),
        )
        checkpoint = CheckpointAudit(
            self.network.audit_entries, self._own_ingest, max_age, instant.now
        )
        account = MeasureAccount(self.chain, instant.now)
        record_traces()
        return Worker(
            anchoring,
            leases,
            self.certificates,
            section.poll_interval,
            duration,
            instant.now,
            duties={
                "checkpoint_audit": lambda _still_mine: checkpoint.run(),
                "measure_account": lambda _still_mine: account.run(),
            },
        )

    def relay_worker(self, name: str) -> RelayWorker:
        """Return what follows launched relays beside a worker of this name."""
        return RelayWorker(
            self.network.follow_relays(),
            LeaseRepository(self.database),
            name,
            self.settings[RelaySettings].follow_interval,
            timedelta(seconds=self.settings[AnchoringSettings].lease_duration),
            instant.now,
        )

    def worker_scrape(self) -> Scrape:
        """Return what answers who scrapes a worker."""
        return self.measuring.scrape()

    def _own_ingest(self) -> IngestEvents:
        """Return what takes the server's own events: whatever they say, however late."""
        storage = self.settings[StorageSettings]
        limits = IngestLimits(storage.max_file_size, storage.max_inline_size, None)
        return IngestEvents(self.storage, self.events, limits, instant.now)

    def _backend(self, role: str) -> Any:
        return self._guarded(
            role, self._bare(role), self.settings[PluginSettings].time_limit_of(role)
        )

    def _bare(self, role: str) -> Any:
        if role not in self._backends:
            self._backends[role] = self.plugins.backend(role, self.settings)
        return self._backends[role]

    def _guarded(self, role: str, backend: Any, time_limit: float) -> GuardedBackend:
        return GuardedBackend(role, self.plugins.chosen[role], backend, time_limit)


_ATTRIBUTES = {"ratelimit": "limiter"}


def _rate_limits(security: SecuritySettings, max_body_size: int) -> RateLimits:
    finer = {
        "events": security.rate_limit_events,
        "reads": security.rate_limit_reads,
        "challenges": security.rate_limit_challenges,
        "admin": security.rate_limit_admin,
        "public": security.rate_limit_public,
    }
    return RateLimits(
        plain=Quota("default", security.rate_limit_per_minute, 60),
        finer={name: Quota(name, rate.calls, rate.seconds) for name, rate in finer.items() if rate},
        unit_size=security.rate_limit_unit_size,
        max_body_size=max_body_size,
    )
