"""Finds out who is calling, before a byte of the body is read."""

from __future__ import annotations

from typing import Any

import falcon
import structlog

from eventserver_core.backends.auth import Role
from eventserver_core.errors import AuthenticationError, PermissionDeniedError
from eventserver_core.http.access import Access
from eventserver_core.services.identity import Identities


class Authenticate:
    """Says who is calling where the resource's ``access`` names roles."""

    def __init__(self, identities: Identities) -> None:
        self._identities = identities

    def process_resource(
        self, req: falcon.Request, _resp: falcon.Response, resource: Any, _params: Any
    ) -> None:
        if resource is None or not hasattr(resource, f"on_{req.method.lower()}"):
            return  # Falcon answers 404, 405 and OPTIONS by itself
        access: Access | None = resource.access_of(req.method)
        if access is None:
            raise PermissionDeniedError("nobody may do this")
        req.context.access = access
        if not access.roles or (access.anyone and not req.auth):
            return
        credentials = self._identities.authenticate(_bearer_token(req))
        structlog.contextvars.bind_contextvars(
            caller=credentials.subject, caller_role=credentials.role.value
        )
        if credentials.role is Role.RELAY:
            structlog.contextvars.bind_contextvars(relay_id=credentials.subject)
        req.context.credentials = credentials


def _bearer_token(req: falcon.Request) -> str:
    scheme, _, token = (req.auth or "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise AuthenticationError("send a certificate: Authorization: Bearer <certificate>")
    return token.strip()
