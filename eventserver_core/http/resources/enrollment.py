"""How relays get their certificates."""

from __future__ import annotations

from typing import Annotated, Any

import falcon
from pydantic import Field

from eventserver_core.domain.instant import format_rfc3339
from eventserver_core.http.access import ADMINS, ENROLLING, RELAYS_AND_ADMINS, Resource, caller
from eventserver_core.http.documents import Document, read_document
from eventserver_core.services.enrollment import Enrollments, Invitations, RelayCertificates

_MAX_SIZE = 1024 * 1024
"""Enough for a request with ten thousand names to be told what is wrong with it."""
_Csr = Annotated[str, Field(min_length=1)]


class EnrollmentRequest(Document):
    """What a new relay sends."""

    token: Annotated[str, Field(min_length=1, max_length=512)]
    csr: _Csr


class RenewalRequest(Document):
    """What a relay sends, or an admin for it."""

    csr: _Csr


class RelayInvitationResource(Resource):
    """``POST /api/v1/relays/{relay_id}/enrollment``: a one-time token for a relay."""

    access = {"POST": ADMINS}

    def __init__(self, invitations: Invitations) -> None:
        self._invitations = invitations

    def on_post(self, req: falcon.Request, resp: falcon.Response, relay_id: str) -> None:
        invitation = self._invitations.invite(relay_id, caller(req), req.prefix)
        resp.status = falcon.HTTP_201
        resp.cache_control = ["no-store"]
        resp.media = {
            "serverUrl": invitation.server_url,
            "relayId": invitation.relay_id,
            "token": invitation.token,
            "expiresAt": format_rfc3339(invitation.expires_at),
            "rootCertificate": invitation.root_certificate,
        }


class RelayEnrollmentResource(Resource):
    """``POST /api/v1/relays/{relay_id}/enroll``: trades the token for certificates, once."""

    access = {"POST": ENROLLING}

    def __init__(self, enrollments: Enrollments) -> None:
        self._enrollments = enrollments

    def on_post(self, req: falcon.Request, resp: falcon.Response, relay_id: str) -> None:
        sent = read_document(req, EnrollmentRequest, _MAX_SIZE)
        _answer(resp, self._enrollments.enroll(relay_id, sent.token, sent.csr))


class RelayCertificateResource(Resource):
    """``POST /api/v1/relays/{relay_id}/certificate``: renews a relay's certificates."""

    access = {"POST": RELAYS_AND_ADMINS}

    def __init__(self, enrollments: Enrollments) -> None:
        self._enrollments = enrollments

    def on_post(self, req: falcon.Request, resp: falcon.Response, relay_id: str) -> None:
        sent = read_document(req, RenewalRequest, _MAX_SIZE)
        _answer(resp, self._enrollments.renew(relay_id, sent.csr, caller(req)))


def _answer(resp: falcon.Response, certificates: RelayCertificates) -> None:
    resp.status = falcon.HTTP_201
    resp.cache_control = ["no-store"]
    document: dict[str, Any] = {
        "relayId": certificates.relay_id,
        "certificate": certificates.certificate.token,
        "certificateExpiresAt": format_rfc3339(certificates.certificate.credentials.expires_at),
        "tlsCertificate": certificates.tls.chain_pem,
        "tlsCertificateExpiresAt": format_rfc3339(certificates.tls.not_after),
        "tlsSerialNumber": certificates.tls.serial_hex,
        "rootCertificate": certificates.root_pem,
    }
    resp.media = document
