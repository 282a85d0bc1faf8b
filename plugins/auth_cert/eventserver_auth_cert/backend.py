"""The backend: all that the ``auth`` role can do, each part a module of its own."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import datetime, timedelta
from typing import Any

from eventserver_auth_cert.certificates import Certificates
from eventserver_auth_cert.challenges import Challenges
from eventserver_auth_cert.jwk import parse_device_jwk, thumbprint
from eventserver_auth_cert.keys import KeyRing, load_keys
from eventserver_auth_cert.packages import SignedPackages
from eventserver_auth_cert.settings import AuthSettings
from eventserver_auth_cert.tokens import TokenError
from eventserver_core.backends.auth import (
    Challenge,
    Credentials,
    IssuedCertificate,
    Role,
    SignedPackage,
    Solution,
    SolvedChallenge,
)
from eventserver_core.domain import instant
from eventserver_core.errors import BackendUnavailableError
from eventserver_core.sections import SecuritySettings
from eventserver_core.settings import Settings


class CertificateAuth:
    """Certificates as JWTs; nothing is remembered, so any instance can check what another made.

    Args:
        keys: what tokens are signed and checked with.
        issuer: the claim ``iss`` of certificates.
        audience: the claim ``aud`` of certificates.
        pow_difficulty: how many zero hex digits a proof of work begins with.
        forwarded_max_age: how long after it was signed a relay may bring a package.
        clock: tells the present.
    """

    def __init__(
        self,
        keys: KeyRing,
        *,
        issuer: str,
        audience: str,
        pow_difficulty: int,
        forwarded_max_age: timedelta,
        clock: Callable[[], datetime] = instant.now,
    ) -> None:
        self._keys = keys
        self._clock = clock
        self._certificates = Certificates(keys, issuer, audience)
        self._challenges = Challenges(keys, issuer, audience, pow_difficulty)
        self._packages = SignedPackages(self._certificates, forwarded_max_age)

    @classmethod
    def from_settings(
        cls, settings: Settings, clock: Callable[[], datetime] = instant.now
    ) -> CertificateAuth:
        """Make the backend that the settings describe.

        Raises:
            ConfigurationError: a secret or a key can't be used; with every fault.
        """
        auth, security = settings[AuthSettings], settings[SecuritySettings]
        return cls(
            load_keys(settings),
            issuer=auth.issuer,
            audience=auth.audience,
            pow_difficulty=security.pow_difficulty,
            forwarded_max_age=timedelta(seconds=security.forwarded_max_age),
            clock=clock,
        )

    def authenticate(self, token: str) -> Credentials:
        """Return whom a certificate names; see ``AuthBackend``."""
        return self._certificates.authenticate(token, self._clock())

    def prompt_methods(self) -> Collection[str]:
        """Return every method: keys are in memory, and the rest is arithmetic."""
        return (
            "authenticate",
            "check",
            "issue",
            "public_keys",
            "make_challenge",
            "check_solution",
            "identify_device",
            "check_signed_package",
        )

    def check(self) -> None:
        """Sign a token and open it again; see ``AuthBackend``."""
        try:
            self._keys.open(self._keys.sign({}))
        except TokenError as ex:
            raise BackendUnavailableError(
                "auth=cert",
                f"the signing key is not among those that are accepted ({ex}); check the keys "
                "that the section auth names",
            ) from ex

    def issue(
        self,
        subject: str,
        role: Role,
        lifetime: timedelta,
        public_key: Mapping[str, Any] | None = None,
    ) -> IssuedCertificate:
        """Make a certificate; see ``IssuesCertificates``."""
        return self._certificates.issue(subject, role, lifetime, public_key, self._clock())

    def public_keys(self) -> Mapping[str, Any]:
        """Return the Ed25519 keys as a JWK set; see ``IssuesCertificates``."""
        return self._keys.public_keys()

    def make_challenge(self) -> Challenge:
        """Make a challenge; see ``ChallengesDevices``."""
        return self._challenges.make(self._clock())

    def check_solution(self, solution: Solution) -> SolvedChallenge:
        """Check a proof of work; see ``ChallengesDevices``."""
        return self._challenges.check(solution, self._clock())

    def identify_device(self, public_key: bytes) -> tuple[str, Mapping[str, Any]]:
        """Return a device's subject, from its key's thumbprint; see ``ChallengesDevices``."""
        key = parse_device_jwk(public_key)
        return f"device:{thumbprint(key)}", key

    def check_signed_package(self, jws: str, bearer: Credentials) -> SignedPackage:
        """Check a package that a device signed; see ``ChecksSignedPackages``."""
        return self._packages.check(jws, bearer, self._clock())
