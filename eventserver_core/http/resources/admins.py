"""Who runs the network, and what they did."""

from __future__ import annotations

from typing import Annotated, Any

import falcon
from pydantic import Field

from eventserver_core.db.admins import AdminRecord
from eventserver_core.domain.instant import format_rfc3339
from eventserver_core.http.access import ADMINS, ENROLLING, Resource, caller
from eventserver_core.http.documents import Document, read_document, whole_number
from eventserver_core.http.openapi.answers.network import (
    Admin,
    AdminCertificate,
    AdminList,
    AuditPage,
)
from eventserver_core.http.openapi.operation import (
    EXAMPLE_JWS,
    EXAMPLE_KEY,
    JSON,
    NOTHING,
    Answer,
    Operation,
    Parameter,
    RequestBody,
)
from eventserver_core.services.admins import Admins
from eventserver_core.services.audit import AuditTrail

_MAX_PAGE = 1000
_MAX_SEQUENCE = 2**53 - 1
_Jws = Annotated[str, Field(min_length=1, max_length=16384)]
_BOB = {"name": "bob", "publicKey": EXAMPLE_KEY, "authorization": EXAMPLE_JWS}


class AdminAuthorization(Document):
    """Another admin's key, and the caller's word for it."""

    name: Annotated[str, Field(min_length=1, max_length=64)]
    public_key: Annotated[dict[str, Any], Field(alias="publicKey")]
    authorization: _Jws


class AdminAssertion(Document):
    """Shows that an admin has its key."""

    assertion: _Jws


class AdminsResource(Resource):
    """``/api/v1/admins``: who runs the network."""

    access = {"GET": ADMINS, "POST": ADMINS}
    describes = {
        "GET": Operation(
            id="listAdmins",
            summary="Who runs the network",
            tag="admins",
            answers={200: Answer("The withdrawn ones too.", AdminList)},
        ),
        "POST": Operation(
            id="authorizeAdmin",
            summary="Let another admin in",
            tag="admins",
            details="`authorization` is a JWT by the caller's key; the guide to the network has "
            "its claims.",
            body=RequestBody({JSON: AdminAuthorization}, {"another admin": _BOB}),
            answers={
                200: Answer("The same was asked for before.", Admin),
                201: Answer("The admin is on record.", Admin),
            },
            errors=("authorization_invalid", "conflict"),
        ),
    }

    def __init__(self, admins: Admins) -> None:
        self._admins = admins

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        resp.cache_control = ["no-store"]
        resp.media = {"admins": [admin_document(admin) for admin in self._admins.all()]}

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        sent = read_document(req, AdminAuthorization)
        admin, created = self._admins.authorize(
            sent.name, sent.public_key, sent.authorization, caller(req)
        )
        resp.status = falcon.HTTP_201 if created else falcon.HTTP_200
        resp.cache_control = ["no-store"]
        resp.media = admin_document(admin)


class AdminResource(Resource):
    """``DELETE /api/v1/admins/{admin_id}``: withdraws an admin."""

    access = {"DELETE": ADMINS}
    describes = {
        "DELETE": Operation(
            id="withdrawAdmin",
            summary="Withdraw an admin, for good",
            tag="admins",
            answers={204: NOTHING},
            errors=("last_admin",),
        )
    }

    def __init__(self, admins: Admins) -> None:
        self._admins = admins

    def on_delete(self, req: falcon.Request, resp: falcon.Response, admin_id: str) -> None:
        self._admins.withdraw(admin_id, caller(req))
        resp.status = falcon.HTTP_204


class AdminCertificateResource(Resource):
    """``POST /api/v1/admins/{admin_id}/certificate``: a certificate for whoever has the key."""

    access = {"POST": ENROLLING}
    describes = {
        "POST": Operation(
            id="issueAdminCertificate",
            summary="Get a certificate for an admin's key",
            tag="admins",
            details="`assertion` is a JWT by the admin's key, good for one certificate.",
            body=RequestBody({JSON: AdminAssertion}, {"an assertion": {"assertion": EXAMPLE_JWS}}),
            answers={201: Answer("The certificate.", AdminCertificate)},
            errors=("assertion_invalid",),
        )
    }

    def __init__(self, admins: Admins) -> None:
        self._admins = admins

    def on_post(self, req: falcon.Request, resp: falcon.Response, admin_id: str) -> None:
        sent = read_document(req, AdminAssertion)
        issued = self._admins.issue_certificate(admin_id, sent.assertion)
        resp.status = falcon.HTTP_201
        resp.cache_control = ["no-store"]
        resp.media = {
            "certificate": issued.token,
            "certificateId": issued.credentials.certificate_id,
            "certificateExpiresAt": format_rfc3339(issued.credentials.expires_at),
        }


class AuditResource(Resource):
    """``GET /api/v1/audit``: what was done, in order."""

    access = {"GET": ADMINS}
    describes = {
        "GET": Operation(
            id="listAuditEntries",
            summary="What was done, in order",
            tag="admins",
            answers={200: Answer("A page of the trail.", AuditPage)},
            parameters=(
                Parameter(
                    "after",
                    "The number of the last entry that you have.",
                    {"type": "integer", "minimum": 0, "maximum": _MAX_SEQUENCE, "default": 0},
                ),
                Parameter(
                    "limit",
                    "How many.",
                    {"type": "integer", "minimum": 1, "maximum": _MAX_PAGE, "default": 100},
                ),
            ),
        )
    }

    def __init__(self, audit: AuditTrail) -> None:
        self._audit = audit

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        after = whole_number(req, "after", 0, 0, _MAX_SEQUENCE)
        limit = whole_number(req, "limit", 100, 1, _MAX_PAGE)
        entries, head, checkpoints = self._audit.page(after, limit)
        resp.cache_control = ["no-store"]
        resp.media = {
            "entries": [entry.document() | {"digest": entry.digest_hex} for entry in entries],
            "head": {"sequence": head.sequence, "digest": head.digest_hex},
            # each is an event, with a proof of its own
            "checkpoints": [
                {
                    "sequence": found.head.sequence,
                    "digest": found.head.digest_hex,
                    "eventHash": found.event_hash,
                    "madeAt": format_rfc3339(found.made_at),
                }
                for found in checkpoints
            ],
        }


def admin_document(admin: AdminRecord) -> dict[str, Any]:
    """Return an admin, as admins see each other."""
    return {
        "adminId": admin.id,
        "name": admin.name,
        "state": admin.state,
        "publicKey": dict(admin.public_key),
        "authorizedBy": admin.authorized_by,
        "authorizedAt": format_rfc3339(admin.authorized_at),
        "withdrawnBy": admin.withdrawn_by,
        "withdrawnAt": format_rfc3339(admin.withdrawn_at) if admin.withdrawn_at else None,
    }
