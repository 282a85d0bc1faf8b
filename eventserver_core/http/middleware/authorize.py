"""Lets callers do what their role may do."""

from __future__ import annotations

import time
from typing import Any

import falcon

from eventserver_core.backends.auth import Credentials, Role
from eventserver_core.errors import PermissionDeniedError
from eventserver_core.http.access import Access
from eventserver_core.log import get_logger
from eventserver_core.services.audit import AuditTrail

_ONCE_IN = 3600.0
_MAX_REMEMBERED = 10_000
_log = get_logger()


class Authorize:
    """Refuses whom the resource's ``access`` does not name.

    It comes after the limits: whoever tries doors is counted like whoever walks through them, and
    can't fill the audit trail.

    Args:
        audit: where it is written down who tried what only admins may do.
    """

    def __init__(self, audit: AuditTrail) -> None:
        self._audit = audit
        self._written: dict[tuple[str, str], float] = {}

    def process_resource(
        self, req: falcon.Request, _resp: falcon.Response, _resource: Any, _params: Any
    ) -> None:
        access: Access | None = getattr(req.context, "access", None)
        credentials: Credentials | None = getattr(req.context, "credentials", None)
        if access is None or credentials is None or access.anyone:
            return
        if credentials.role in access.roles:
            return
        _log.warning("permission_denied", method=req.method, route=req.uri_template)
        if access.roles == {Role.ADMIN}:
            self._write_down(credentials, f"{req.method} {req.uri_template}")
        raise PermissionDeniedError(f"a {credentials.role.value} may not do this")

    def _write_down(self, credentials: Credentials, target: str) -> None:
        """Record who tried a door: once an hour, since each entry is kept for good."""
        now, tried = time.monotonic(), (credentials.subject, target)
        if now - self._written.get(tried, -_ONCE_IN) < _ONCE_IN:
            return
        if len(self._written) >= _MAX_REMEMBERED:
            self._written.clear()
        self._written[tried] = now
        self._audit.record(credentials, "permission_denied", target)
