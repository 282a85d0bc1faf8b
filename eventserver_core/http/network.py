"""The routes by which the network of relays is run."""

from __future__ import annotations

from dataclasses import dataclass

from eventserver_core.http.access import Resource
from eventserver_core.http.resources.admins import (
    AdminCertificateResource,
    AdminResource,
    AdminsResource,
    AuditResource,
)
from eventserver_core.http.resources.enrollment import (
    RelayCertificateResource,
    RelayEnrollmentResource,
    RelayInvitationResource,
)
from eventserver_core.http.resources.identity import CertificateResource
from eventserver_core.http.resources.labels import LabelResource, LabelsResource
from eventserver_core.http.resources.pki import (
    IssuingCertificateResource,
    RevocationListResource,
    RootCertificateResource,
)
from eventserver_core.http.resources.relays import (
    RelayHealthResource,
    RelayProvisioningResource,
    RelayResource,
    RelaysResource,
    RelayStatsResource,
)
from eventserver_core.services.admins import Admins
from eventserver_core.services.audit import AuditTrail
from eventserver_core.services.enrollment import Enrollments, Invitations
from eventserver_core.services.labels import Labels
from eventserver_core.services.relay_health import CheckRelayHealth
from eventserver_core.services.relays import Relays
from eventserver_core.services.revocation import PublishAuthority, RevokeCertificates


@dataclass(frozen=True, slots=True)
class NetworkServices:
    """What runs the network."""

    admins: Admins
    audit: AuditTrail
    relays: Relays
    invitations: Invitations
    enrollments: Enrollments
    check_health: CheckRelayHealth
    revocation: RevokeCertificates
    authority: PublishAuthority
    labels: Labels


def network_routes(network: NetworkServices) -> dict[str, Resource]:
    """Return the resource for each URI template."""
    relays, enrollments = network.relays, network.enrollments
    return {
        "/api/v1/relays": RelaysResource(relays),
        "/api/v1/relays/provision": RelayProvisioningResource(relays),
        "/api/v1/relays/stats": RelayStatsResource(relays),
        "/api/v1/relays/{relay_id}": RelayResource(relays),
        "/api/v1/relays/{relay_id}/health": RelayHealthResource(relays, network.check_health),
        "/api/v1/relays/{relay_id}/enrollment": RelayInvitationResource(network.invitations),
        "/api/v1/relays/{relay_id}/enroll": RelayEnrollmentResource(enrollments),
        "/api/v1/relays/{relay_id}/certificate": RelayCertificateResource(enrollments),
        "/api/v1/certificates/{certificate_id}": CertificateResource(network.revocation),
        "/api/v1/admins": AdminsResource(network.admins),
        "/api/v1/admins/{admin_id}": AdminResource(network.admins),
        "/api/v1/admins/{admin_id}/certificate": AdminCertificateResource(network.admins),
        "/api/v1/audit": AuditResource(network.audit),
        "/api/v1/labels": LabelsResource(network.labels),
        "/api/v1/labels/{label_id}": LabelResource(network.labels),
        "/pki/root.crt": RootCertificateResource(network.authority),
        "/pki/issuing.crt": IssuingCertificateResource(network.authority),
        "/pki/issuing.crl": RevocationListResource(network.authority),
    }
