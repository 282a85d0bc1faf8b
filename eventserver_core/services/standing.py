"""Whether a certificate still counts, and its holder still takes part.

That is in the database, where every instance sees it. Who stood a moment ago is let in without
asking again; what was taken back is refused everywhere within ``REMEMBERED_FOR`` seconds, and at
once in the process that took it back.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from eventserver_core.backends.auth import Credentials, Role
from eventserver_core.db.certificates import CertificateRepository
from eventserver_core.domain.relay import RelayState
from eventserver_core.errors import (
    RelayDecommissionedError,
    RelayNotActiveError,
    RelaySuspendedError,
    RevokedCertificateError,
)

REMEMBERED_FOR = 2.0
_MAX_REMEMBERED = 10_000


class Standings:
    """Knows who still stands.

    Args:
        certificates: what is on record.
        clock: seconds that pass evenly.
    """

    def __init__(
        self, certificates: CertificateRepository, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._certificates = certificates
        self._clock = clock
        self._lock = threading.Lock()
        self._stood: dict[tuple[str, str, Role], float] = {}

    def require(self, credentials: Credentials) -> None:
        """Make sure, by the record, that a certificate counts and that its holder takes part.

        Raises:
            AuthenticationError: the certificate was revoked, or its holder withdrawn.
            PermissionDeniedError: it names a relay that is not active.
        """
        standing = self._certificates.standing(credentials)
        if standing.revoked:
            raise RevokedCertificateError("this certificate was revoked")
        if standing.relay_state is RelayState.SUSPENDED:
            raise RelaySuspendedError("this relay is suspended; an admin can approve it again")
        if standing.relay_state is RelayState.DECOMMISSIONED:
            raise RelayDecommissionedError("this relay was decommissioned, for good")
        if standing.relay_state not in (None, RelayState.ACTIVE):
            raise RelayNotActiveError(f"this relay is {standing.relay_state}")

    def require_recent(self, credentials: Credentials) -> None:
        """The same, where an answer that is two seconds old will do; an admin's never will.

        Raises:
            AuthenticationError: as ``require`` does.
            PermissionDeniedError: as ``require`` does.
        """
        if credentials.role is Role.ADMIN:
            self.require(credentials)
            return
        name = (credentials.certificate_id, credentials.subject, credentials.role)
        asked, stood = self._clock(), self._stood
        if asked - stood.get(name, -REMEMBERED_FOR) < REMEMBERED_FOR:
            return
        self.require(credentials)
        with self._lock:
            if len(stood) >= _MAX_REMEMBERED:
                stood.clear()
            # where all was forgotten meanwhile, this goes to what nobody looks at any longer
            stood[name] = asked

    def forget(self) -> None:
        """Ask anew from now on, whoever it is: something was taken back."""
        self._stood = {}
