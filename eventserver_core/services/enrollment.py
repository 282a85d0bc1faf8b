"""How a relay gets its certificates: once by a token, later by the ones that it has."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from eventserver_core.backends.auth import Credentials, IssuedCertificate, Role
from eventserver_core.backends.provisioning import Enrollment
from eventserver_core.db.enrollment import EnrollmentRepository, TlsRecord
from eventserver_core.db.relays import RelayRecord, RelayRepository
from eventserver_core.domain.digest import sha256_hex
from eventserver_core.domain.keys import thumbprint
from eventserver_core.domain.network_address import NetworkAddress
from eventserver_core.domain.relay import MAY_ENROLL, RelayState
from eventserver_core.errors import (
    BackendUnavailableError,
    ConfigurationError,
    ConflictError,
    EnrollmentTokenError,
    EnrollmentTokenExpiredError,
    EnrollmentTokenMismatchError,
    EnrollmentTokenUsedError,
    Fault,
    NotFoundError,
    PermissionDeniedError,
    PublicKeyMismatchError,
    RateLimitedError,
    RelayNotApprovedError,
)
from eventserver_core.pki.authority import CertificateAuthority, TlsCertificate
from eventserver_core.pki.names import AllowedNames
from eventserver_core.pki.requests import read_request
from eventserver_core.services.audit import WORKER, Actor, AuditTrail
from eventserver_core.services.identity import Identities

_TOKEN_BYTES = 32
_MAX_LIVE = 20
_LONGEST_WAIT = 3600.0
_FORGET_AFTER = timedelta(days=90)
"""Until then a token that comes too late is told so, and not that nobody knows it."""


@dataclass(frozen=True, slots=True)
class EnrollmentLimits:
    """How long things hold.

    Attributes:
        certificate: a relay's certificate.
        tls_certificate: its TLS certificate.
    """

    certificate: timedelta
    tls_certificate: timedelta


@dataclass(frozen=True, slots=True)
class RelayCertificates:
    """What a relay gets."""

    relay_id: str
    certificate: IssuedCertificate
    tls: TlsCertificate
    root_pem: str
    thumbprint: str


class Invitations:
    """Gives relays the one-time tokens that they enrol with.

    Args:
        relays: the registry.
        enrollment: where the tokens' digests are kept.
        root_pem: returns the root that relays' TLS certificates lead to; raises
            BackendUnavailableError where there is none.
        audit: where it is written down.
        lifetime: how long a token lives.
        server_url: where EventServer is reached; empty where nobody said.
        clock: tells the time.
    """

    def __init__(
        self,
        relays: RelayRepository,
        enrollment: EnrollmentRepository,
        root_pem: Callable[[], str],
        audit: AuditTrail,
        lifetime: timedelta,
        server_url: str,
        clock: Callable[[], datetime],
    ) -> None:
        self._relays = relays
        self._enrollment = enrollment
        self._root_pem = root_pem
        self._audit = audit
        self._lifetime = lifetime
        self._server_url = server_url
        self._clock = clock

    def invite(self, relay_id: str, by: Actor, server_url: str = "") -> Enrollment:
        """Make a one-time token for a relay.

        Args:
            relay_id: the relay.
            by: who asks for it.
            server_url: where EventServer is reached, where the settings don't say.

        Raises:
            NotFoundError: there is no such relay.
            RelayNotApprovedError: it waits for approval.
            ConflictError: it takes no part, so it gets no certificates.
        """
        token, now = secrets.token_urlsafe(_TOKEN_BYTES), self._clock()
        root_pem = self._root_pem()
        with self._audit.changing(by):
            _require_enrollable(_find(self._relays, relay_id))
            expires_at = now + self._lifetime
            self._enrollment.forget(now - _FORGET_AFTER)
            self._enrollment.add_token(sha256_hex(token.encode()), relay_id, expires_at)
            if by is not WORKER:  # a launch that is tried again would fill the trail
                self._audit.record(by, "relay_invited", relay_id)
        return Enrollment(self._server_url or server_url, relay_id, token, expires_at, root_pem)


class Enrollments:
    """Gives relays their certificates.

    Args:
        relays: the registry.
        enrollment: tokens, and TLS certificates given out.
        authority: signs TLS certificates; raises BackendUnavailableError where there is none.
        identities: issues relays' certificates.
        audit: where it is written down.
        limits: how long things hold.
        clock: tells the time.
    """

    def __init__(
        self,
        relays: RelayRepository,
        enrollment: EnrollmentRepository,
        authority: Callable[[], CertificateAuthority],
        identities: Identities,
        audit: AuditTrail,
        limits: EnrollmentLimits,
        clock: Callable[[], datetime],
    ) -> None:
        self._relays = relays
        self._enrollment = enrollment
        self._authority = authority
        self._identities = identities
        self._audit = audit
        self._limits = limits
        self._clock = clock

    def enroll(self, relay_id: str, token: str, csr: str) -> RelayCertificates:
        """Trade a token and a signing request for certificates, once.

        A request that is refused for what it asks leaves the token as it is.

        Args:
            relay_id: the relay, as the path names it.
            token: what an admin or the machine's launch gave it.
            csr: a PKCS#10 request (RFC 2986) in PEM.

        Raises:
            AuthenticationError: the token is none of ours, or out of date.
            EnrollmentTokenMismatchError: it is another relay's.
            EnrollmentTokenUsedError: it was used.
            InvalidInputError: the request asks for what this relay may not have.
        """
        now = self._clock()
        # whoever only guesses holds up nobody who changes something
        self._check_token(relay_id, token, now)
        with self._audit.changing():
            self._check_token(relay_id, token, now)
            relay = _find(self._relays, relay_id)
            _require_enrollable(relay)
            certificates = self._certify(relay, csr, now, new_key=relay.public_key is None)
            self._enrollment.use_tokens(relay_id, now)
            # a launched one takes part once the worker has seen it serve
            look = {"next_look_at": now} if relay.state is RelayState.PROVISIONING else {}
            self._relays.update(relay_id, enrolled_at=now, **look)
            self._audit.record(
                certificates.certificate.credentials,
                "relay_enrolled",
                relay_id,
                certificateId=certificates.certificate.credentials.certificate_id,
                tlsSerialNumber=certificates.tls.serial_hex,
                names=list(certificates.tls.names),
                thumbprint=certificates.thumbprint,
            )
        return certificates

    def renew(self, relay_id: str, csr: str, by: Credentials) -> RelayCertificates:
        """Give a relay new certificates; the old ones hold until their end.

        The relay itself keeps its key: whoever stole its certificate gets nothing for another
        one. An admin may let it have a new key.

        Raises:
            PermissionDeniedError: the caller is another relay.
            PublicKeyMismatchError: a relay came with another key than it enrolled with.
        """
        if by.role is Role.RELAY and by.subject != relay_id:
            raise PermissionDeniedError("a relay renews its own certificate only")
        with self._audit.changing(by):
            relay = _find(self._relays, relay_id)
            _require_enrollable(relay)
            now = self._clock()
            if by.role is Role.RELAY:
                self._require_room(relay_id, now)
            certificates = self._certify(relay, csr, now, new_key=by.role is Role.ADMIN)
            self._audit.record(
                by,
                "relay_certificate_renewed",
                relay_id,
                certificateId=certificates.certificate.credentials.certificate_id,
                tlsSerialNumber=certificates.tls.serial_hex,
                names=list(certificates.tls.names),
                thumbprint=certificates.thumbprint,
            )
        return certificates

    def _require_room(self, relay_id: str, now: datetime) -> None:
        """Keep a relay that goes round in circles from filling the revocation list."""
        held = self._enrollment.live_of(relay_id, now)
        if len(held) >= _MAX_LIVE:
            raise RateLimitedError(
                f"this relay has {len(held)} TLS certificates that have not ended",
                min(_LONGEST_WAIT, (min(held) - now).total_seconds()),
            )

    def _check_token(self, relay_id: str, token: str, now: datetime) -> None:
        known = self._enrollment.find_token(sha256_hex(token.encode("utf-8", "replace")))
        if known is None:
            raise EnrollmentTokenError("nobody was given this token")
        if known.relay_id != relay_id:
            raise EnrollmentTokenMismatchError("this token was given to another relay")
        if known.used_at is not None:
            raise EnrollmentTokenUsedError(
                "this token was used, or another one of this relay's was; ask for a new one"
            )
        if now >= known.expires_at:
            raise EnrollmentTokenExpiredError("this token has ended; ask an admin for a new one")

    def _certify(
        self, relay: RelayRecord, csr: str, now: datetime, *, new_key: bool
    ) -> RelayCertificates:
        if relay.network_address is None:
            # its provider has not told where it is yet, which takes seconds
            raise BackendUnavailableError("provisioning", "the relay has no address yet")
        authority = self._authority()
        host = NetworkAddress.parse(relay.network_address).host
        request = read_request(csr, AllowedNames.of(relay.id, [host, *relay.names]))
        if not new_key and thumbprint(request.jwk) != thumbprint(relay.public_key or {}):
            raise PublicKeyMismatchError(
                "the request is for another key than the relay's",
                [Fault("/csr", "sign it with the key that is on record; an admin may change it")],
            )
        try:
            tls = authority.issue(request, relay.id, self._limits.tls_certificate, now)
        except ConfigurationError as ex:
            raise BackendUnavailableError("ca", str(ex)) from ex
        certificate = self._identities.issue(
            relay.id, Role.RELAY, self._limits.certificate, request.jwk
        )
        self._enrollment.add_certificate(
            TlsRecord(tls.serial_hex, relay.id, tls.not_before, tls.not_after)
        )
        self._relays.update(
            relay.id,
            public_key=request.jwk,
            certificate_expires_at=certificate.credentials.expires_at,
            tls_serial=tls.serial_hex,
            tls_expires_at=tls.not_after,
        )
        return RelayCertificates(
            relay.id, certificate, tls, authority.root_pem, thumbprint(request.jwk)
        )


def _find(relays: RelayRepository, relay_id: str) -> RelayRecord:
    relay = relays.find(relay_id)
    if relay is None:
        raise NotFoundError("there is no such relay")
    return relay


def _require_enrollable(relay: RelayRecord) -> None:
    if relay.state is RelayState.PENDING:
        raise RelayNotApprovedError("this relay waits for an admin's approval")
    if relay.state not in MAY_ENROLL:
        raise ConflictError(f"a relay that is {relay.state} gets no certificates")
