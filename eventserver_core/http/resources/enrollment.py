"""How relays get their certificates."""

from __future__ import annotations

from typing import Annotated, Any

import falcon
from pydantic import Field

from eventserver_core.domain.instant import format_rfc3339
from eventserver_core.http.access import ADMINS, ENROLLING, RELAYS_AND_ADMINS, Resource, caller
from eventserver_core.http.documents import Document, read_document
from eventserver_core.http.openapi.answers.network import Invitation
from eventserver_core.http.openapi.answers.network import RelayCertificates as CertificatesAnswer
from eventserver_core.http.openapi.operation import (
    JSON,
    Answer,
    Operation,
    RequestBody,
)
from eventserver_core.pki.refusals import RefusedRequestError
from eventserver_core.services.enrollment import Enrollments, Invitations, RelayCertificates

_MAX_SIZE = 1024 * 1024
"""Enough for a request with ten thousand names to be told what is wrong with it."""
_Csr = Annotated[str, Field(min_length=1)]
_PEM = "-----BEGIN CERTIFICATE REQUEST-----\n…\n-----END CERTIFICATE REQUEST-----\n"
_REFUSALS = (
    "relay_not_approved",
    "conflict",
    *(refusal.code for refusal in RefusedRequestError.__subclasses__()),
)


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
    describes = {
        "POST": Operation(
            id="inviteRelay",
            summary="Make a one-time token for a relay to enrol with",
            tag="relays",
            answers={201: Answer("What the relay needs.", Invitation)},
            errors=("relay_not_approved", "conflict"),
        )
    }

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
    describes = {
        "POST": Operation(
            id="enrollRelay",
            summary="Trade a token and a signing request for certificates, once",
            tag="relays",
            body=RequestBody(
                {JSON: EnrollmentRequest}, {"a new relay": {"token": "…", "csr": _PEM}}
            ),
            answers={201: Answer("The relay's certificates.", CertificatesAnswer)},
            errors=(
                "enrollment_token_invalid",
                "enrollment_token_expired",
                "enrollment_token_mismatch",
                "enrollment_token_used",
                "public_key_mismatch",
                *_REFUSALS,
            ),
        )
    }

    def __init__(self, enrollments: Enrollments) -> None:
        self._enrollments = enrollments

    def on_post(self, req: falcon.Request, resp: falcon.Response, relay_id: str) -> None:
        sent = read_document(req, EnrollmentRequest, _MAX_SIZE)
        _answer(resp, self._enrollments.enroll(relay_id, sent.token, sent.csr))


class RelayCertificateResource(Resource):
    """``POST /api/v1/relays/{relay_id}/certificate``: renews a relay's certificates."""

    access = {"POST": RELAYS_AND_ADMINS}
    describes = {
        "POST": Operation(
            id="renewRelayCertificates",
            summary="Renew a relay's certificates",
            tag="relays",
            details="A relay its own ones only, and with the key that is on record.",
            body=RequestBody({JSON: RenewalRequest}, {"a renewal": {"csr": _PEM}}),
            answers={201: Answer("New ones; the old ones hold on.", CertificatesAnswer)},
            errors=("public_key_mismatch", *_REFUSALS),
        )
    }

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
