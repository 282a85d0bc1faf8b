"""What runs the network of relays, each part made when it is first asked for."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import cached_property
from urllib.parse import urlsplit

from eventserver_core.backends.provisioning import ProvisioningBackend
from eventserver_core.db.admins import AdminRepository
from eventserver_core.db.audit import AuditRepository
from eventserver_core.db.batches import BatchRepository
from eventserver_core.db.certificates import CertificateRepository
from eventserver_core.db.connection import Database
from eventserver_core.db.enrollment import EnrollmentRepository
from eventserver_core.db.events import EventRepository
from eventserver_core.db.labels import LabelRepository
from eventserver_core.db.relays import RelayRepository
from eventserver_core.domain import instant
from eventserver_core.domain.audit import SERVER_SUBJECT
from eventserver_core.errors import BackendUnavailableError, ConfigurationError
from eventserver_core.http.network import NetworkServices
from eventserver_core.pki.authority import CertificateAuthority
from eventserver_core.sections import CaSettings, RelaySettings, SecuritySettings, ServerSettings
from eventserver_core.services.admins import Admins
from eventserver_core.services.audit import AuditTrail
from eventserver_core.services.enrollment import EnrollmentLimits, Enrollments, Invitations
from eventserver_core.services.identity import Identities
from eventserver_core.services.labels import CheckLabels, Labels
from eventserver_core.services.provisioning import FollowLimits, FollowRelays
from eventserver_core.services.relay_health import CheckRelayHealth
from eventserver_core.services.relays import RelayLimits, Relays
from eventserver_core.services.revocation import PublishAuthority, RevokeCertificates
from eventserver_core.services.standing import Standings
from eventserver_core.settings import Settings
from eventserver_core.wiring.authority import load_authority, read_root


class Network:
    """Admins, relays, their certificates, labels, and the trail of what was done.

    Args:
        settings: the settings.
        database: where the rows are.
        events: the events' rows.
        standings: knows whose certificates still count.
        identities: returns what authenticates and issues certificates; a worker has no key for it.
        provisioning: returns the backend that launches machines.
    """

    def __init__(
        self,
        settings: Settings,
        database: Database,
        events: EventRepository,
        standings: Standings,
        identities: Callable[[], Identities],
        provisioning: Callable[[], ProvisioningBackend],
    ) -> None:
        self._settings = settings
        self._database = database
        self._identities = identities
        self._provisioning = provisioning
        self._section = settings[RelaySettings]
        self._relays = RelayRepository(database)
        self._enrollment = EnrollmentRepository(database)
        self.audit_entries = AuditRepository(database)
        self.audit = AuditTrail(
            self.audit_entries,
            instant.now,
            lambda: events.submitted_by(SERVER_SUBJECT),
            standings.require,
            standings.forget,
        )

    @cached_property
    def admins(self) -> Admins:
        """Lets admins in and out."""
        hours = self._settings[SecuritySettings].admin_certificate_validity_hours
        return Admins(
            AdminRepository(self._database),
            CertificateRepository(self._database),
            self._identities(),
            self.audit,
            timedelta(hours=hours),
            instant.now,
        )

    @cached_property
    def relays(self) -> Relays:
        """The registry."""
        section = self._section
        return Relays(
            self._relays,
            self._enrollment,
            BatchRepository(self._database),
            self._provisioning,
            self.audit,
            RelayLimits(
                section.allowed_networks,
                section.max_provisioned,
                timedelta(seconds=section.provisioning_timeout),
                urlsplit(self._settings[ServerSettings].public_url).hostname or "",
            ),
            instant.now,
        )

    @cached_property
    def invitations(self) -> Invitations:
        """Gives relays the tokens that they enrol with."""
        return Invitations(
            self._relays,
            self._enrollment,
            self._root_pem,
            self.audit,
            timedelta(minutes=self._section.enrollment_minutes),
            self._settings[ServerSettings].public_url,
            instant.now,
        )

    @cached_property
    def enrollments(self) -> Enrollments:
        """Gives relays their certificates."""
        return Enrollments(
            self._relays,
            self._enrollment,
            self.authority,
            self._identities(),
            self.audit,
            EnrollmentLimits(
                timedelta(hours=self._section.certificate_validity_hours),
                timedelta(days=self._settings[CaSettings].certificate_days),
            ),
            instant.now,
        )

    @cached_property
    def revocation(self) -> RevokeCertificates:
        """Takes certificates back."""
        return RevokeCertificates(self._identities(), self._enrollment, self.audit, instant.now)

    @cached_property
    def labels(self) -> Labels:
        """The fields an event is described with."""
        return Labels(LabelRepository(self._database), instant.now, self.audit)

    @cached_property
    def check_labels(self) -> CheckLabels | None:
        """What holds events to the labels, where the settings want it."""
        if not self._settings[SecuritySettings].enforce_labels:
            return None
        return CheckLabels(LabelRepository(self._database), instant.now)

    @cached_property
    def _check_health(self) -> CheckRelayHealth:
        section = self._section
        return CheckRelayHealth(
            section.allowed_networks, self._root_pem_or_none, section.health_timeout
        )

    def authority(self) -> CertificateAuthority:
        """Return the certificate authority.

        Raises:
            BackendUnavailableError: it is not there, or can't be used.
        """
        try:
            return self._authority
        except ConfigurationError as ex:
            raise BackendUnavailableError("ca", str(ex)) from ex

    @cached_property
    def _authority(self) -> CertificateAuthority:
        return load_authority(self._settings)

    def follow_relays(self) -> FollowRelays:
        """Return what the worker does for relays."""
        section = self._section
        return FollowRelays(
            self._provisioning,
            self._relays,
            self.invitations,
            self.audit,
            self._check_health.check,
            FollowLimits(
                timedelta(seconds=section.follow_interval),
                timedelta(seconds=section.sweep_after),
                can_enroll=bool(self._settings[ServerSettings].public_url),
            ),
            instant.now,
        )

    def services(self) -> NetworkServices:
        """Return what the HTTP side needs of it."""
        hours = self._settings[CaSettings].crl_hours
        return NetworkServices(
            admins=self.admins,
            audit=self.audit,
            relays=self.relays,
            invitations=self.invitations,
            enrollments=self.enrollments,
            check_health=self._check_health,
            revocation=self.revocation,
            authority=PublishAuthority(
                self.authority,
                self._enrollment,
                timedelta(hours=hours),
                lambda: self.audit_entries.head().sequence,
                instant.now,
            ),
            labels=self.labels,
        )

    def _root_pem(self) -> str:
        try:
            return read_root(self._settings)
        except ConfigurationError as ex:
            raise BackendUnavailableError("ca", str(ex)) from ex

    def _root_pem_or_none(self) -> str | None:
        try:
            return self._root_pem()
        except BackendUnavailableError:
            return None
