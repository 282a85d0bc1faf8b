"""Who runs the network, and what they did."""

from __future__ import annotations

from typing import Annotated, Any

import falcon
from pydantic import Field

from eventserver_core.db.admins import AdminRecord
from eventserver_core.domain.instant import format_rfc3339
from eventserver_core.http.access import ADMINS, ENROLLING, Resource, caller
from eventserver_core.http.documents import Document, read_document, whole_number
from eventserver_core.services.admins import Admins
from eventserver_core.services.audit import AuditTrail

_MAX_PAGE = 1000
_MAX_SEQUENCE = 2**53 - 1
_Jws = Annotated[str, Field(min_length=1, max_length=16384)]


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

    def __init__(self, admins: Admins) -> None:
        self._admins = admins

    def on_delete(self, req: falcon.Request, resp: falcon.Response, admin_id: str) -> None:
        self._admins.withdraw(admin_id, caller(req))
        resp.status = falcon.HTTP_204


class AdminCertificateResource(Resource):
    """``POST /api/v1/admins/{admin_id}/certificate``: a certificate for whoever has the key."""

    access = {"POST": ENROLLING}

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
