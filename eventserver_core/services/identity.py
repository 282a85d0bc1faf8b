"""Who is calling: certificates, their revocation, and proofs of work.

The auth backend checks what can be checked without memory; what must be remembered is in the
database, where every instance finds it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, TypeVar

from eventserver_core.backends.auth import (
    AuthBackend,
    Challenge,
    ChallengesDevices,
    ChecksSignedPackages,
    Credentials,
    IssuedCertificate,
    IssuesCertificates,
    Role,
    SignedPackage,
    Solution,
)
from eventserver_core.db.certificates import CertificateRepository
from eventserver_core.domain.audit import SERVER_SUBJECT
from eventserver_core.errors import (
    AuthenticationError,
    ChallengeUsedError,
    ConfigurationError,
    InvalidInputError,
    NotFoundError,
    RevokedCertificateError,
)
from eventserver_core.log import get_logger
from eventserver_core.services.standing import Standings

_CERTIFICATE_ID = re.compile(r"[A-Za-z0-9_:-]{1,128}\Z")

_log = get_logger()
_Ability = TypeVar("_Ability")


class Identities:
    """Authenticates callers and issues certificates.

    Args:
        auth: the auth backend.
        certificates: what is remembered of certificates.
        device_lifetime: how long a device's certificate holds.
        clock: tells the time.
        standings: knows whose certificates still count.
    """

    def __init__(
        self,
        auth: AuthBackend,
        certificates: CertificateRepository,
        device_lifetime: timedelta,
        clock: Callable[[], datetime],
        standings: Standings,
    ) -> None:
        self._auth = auth
        self._certificates = certificates
        self._standings = standings
        self._device_lifetime = device_lifetime
        self._clock = clock

    def authenticate(self, token: str) -> Credentials:
        """Return whom a bearer token names.

        Raises:
            AuthenticationError: nobody, or its certificate was revoked.
            PermissionDeniedError: it names a relay that is not active.
        """
        credentials = self._auth.authenticate(token)
        self._standings.require_recent(credentials)
        return credentials

    def require_standing(self, credentials: Credentials) -> None:
        """Look again at whom a certificate names; a body may have taken minutes to arrive.

        Raises:
            AuthenticationError: the certificate was taken back meanwhile.
            PermissionDeniedError: it names a relay that is not active any longer.
        """
        self._standings.require(credentials)

    def check_signed_package(self, jws: str, bearer: Credentials) -> SignedPackage:
        """Check a signed package, and that its device's certificate was not revoked.

        Raises:
            AuthenticationError: the package or the device's certificate doesn't hold.
        """
        signed = self._ability(ChecksSignedPackages).check_signed_package(jws, bearer)  # type: ignore[type-abstract]
        try:
            self._standings.require_recent(signed.device)
        except RevokedCertificateError as ex:
            if signed.device.certificate_id == bearer.certificate_id:
                raise
            # the code for the bearer's own would turn a relay off for one device's sake
            raise AuthenticationError(
                "the device's certificate was revoked", "device_certificate_invalid"
            ) from ex
        return signed

    def issue(
        self,
        subject: str,
        role: Role,
        lifetime: timedelta,
        public_key: Mapping[str, Any] | None = None,
    ) -> IssuedCertificate:
        """Issue a certificate.

        Raises:
            InvalidInputError: the subject or the key won't do.
        """
        if subject == SERVER_SUBJECT:
            raise InvalidInputError(f"{SERVER_SUBJECT} is the server's own name")
        issued = self._ability(IssuesCertificates).issue(subject, role, lifetime, public_key)  # type: ignore[type-abstract]
        _log.info(
            "certificate_issued",
            subject=subject,
            role=role.value,
            certificate_id=issued.credentials.certificate_id,
        )
        return issued

    def revoke(self, certificate_id: str, reason: str) -> bool:
        """Revoke a certificate, everywhere; returns whether it was not revoked before.

        Raises:
            InvalidInputError: this is no certificate's id; a whole token isn't either.
        """
        require_certificate_id(certificate_id)
        first = self._certificates.revoke(certificate_id, reason, self._clock())
        self._standings.forget()
        if first:
            _log.info("certificate_revoked", certificate_id=certificate_id)
        return first

    def make_challenge(self) -> Challenge:
        """Make a proof of work for a device."""
        return self._ability(ChallengesDevices).make_challenge()  # type: ignore[type-abstract]

    def redeem_challenge(self, solution: Solution, public_key: bytes) -> IssuedCertificate:
        """Trade a proof of work for a device's certificate, once.

        Args:
            solution: the work.
            public_key: JSON text of the device's JWK.

        Raises:
            InvalidInputError: the key or the work doesn't hold.
            ChallengeUsedError: the challenge was redeemed before, on whichever instance.
        """
        ability: Any = self._ability(ChallengesDevices)  # type: ignore[type-abstract]
        subject, jwk = ability.identify_device(public_key)
        solved = ability.check_solution(solution)
        if not self._certificates.redeem(solved.challenge_key, solved.expires_at):
            raise ChallengeUsedError("this challenge was used; ask for another one")
        return self.issue(subject, Role.DEVICE, self._device_lifetime, jwk)

    def public_keys(self) -> Mapping[str, Any]:
        """Return the JWK set that certificates can be checked with."""
        return self._ability(IssuesCertificates).public_keys()  # type: ignore[type-abstract]

    def _ability(self, ability: type[_Ability]) -> _Ability:
        if not isinstance(self._auth, ability):
            raise NotFoundError("the auth backend of this server does not do this")
        return self._auth


def require_certificate_id(text: str) -> None:
    """Make sure that a text can be a certificate's id.

    Raises:
        InvalidInputError: it can't; a whole token isn't one either.
    """
    if not _CERTIFICATE_ID.match(text):
        raise InvalidInputError(
            "that is no certificate's id; the id is its jti, which "
            "`eventserver certificate show TOKEN` tells"
        )


def require_issuer(auth: AuthBackend) -> None:
    """Make sure that an auth backend can issue certificates.

    Raises:
        ConfigurationError: it can't.
    """
    if not isinstance(auth, IssuesCertificates):
        raise ConfigurationError("plugins.auth: this backend does not issue certificates")
