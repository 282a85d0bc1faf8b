"""The ``auth`` role: says who is calling.

A backend is stateless: whatever must be remembered (which certificates were revoked, which
challenges were redeemed) the core keeps in its database and checks around these calls, so that
every instance knows it. Issuing certificates, proofs of work and signed packages are abilities of
their own; a backend has them by having the methods.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Protocol, runtime_checkable


class Role(StrEnum):
    """What a caller is."""

    DEVICE = "device"
    RELAY = "relay"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who a certificate names.

    Attributes:
        subject: the identity; for a device it comes from its key, never from what it calls itself.
        role: what it is.
        certificate_id: the certificate's own id (``jti``), by which it can be revoked.
        issued_at: when the certificate was made.
        expires_at: when it ends.
        public_key: the JWK (RFC 7517) of the key that the holder signs with, public members
            only; None where the certificate binds none.
    """

    subject: str
    role: Role
    certificate_id: str
    issued_at: datetime
    expires_at: datetime
    public_key: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class IssuedCertificate:
    """A new certificate: the token for its holder, and what it says."""

    token: str
    credentials: Credentials


@dataclass(frozen=True, slots=True)
class Challenge:
    """A proof of work to be done, as the EventApp reads it.

    Attributes:
        challenge_id: comes back with the solution; any instance can check it.
        challenge_data: base64 text of 32 random bytes.
        difficulty: how many zero hex digits the digest must begin with.
    """

    challenge_id: str
    challenge_data: str
    difficulty: int
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Solution:
    """A proof of work that was done.

    Attributes:
        digest: SHA-256 over the challenge's data as UTF-8 and the nonce as 8 bytes,
            little-endian; as the solver computed it.
    """

    challenge_id: str
    nonce: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class SolvedChallenge:
    """A solution that holds; whether it is the challenge's first is the core's to find out.

    Attributes:
        challenge_key: short and unique to the challenge, the same on every instance.
        expires_at: when the challenge ends; until then its use must be remembered.
    """

    challenge_key: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class SignedPackage:
    """A package whose signature holds.

    Attributes:
        claims: what was signed, as bytes of JSON.
        device: who signed it.
    """

    claims: bytes
    device: Credentials


@runtime_checkable
class AuthBackend(Protocol):
    """Says who is calling. Every method may be called from many threads at once."""

    def authenticate(self, token: str) -> Credentials:
        """Return whom a bearer token names.

        Whatever the token's own header says of keys, algorithms or addresses MUST NOT be
        believed, and nothing MUST be fetched. A token that is out of date, for another
        audience, altered, or not a token at all MUST be refused.

        Raises:
            AuthenticationError: the token names nobody.
            BackendUnavailableError: it can't be told now.
        """

    def check(self) -> None:
        """Find out whether callers can be authenticated now.

        Raises:
            BackendUnavailableError: they can't; the message says what to do about it.
        """


@runtime_checkable
class IssuesCertificates(Protocol):
    """The ability to make certificates; any instance MUST accept what any other made."""

    def issue(
        self,
        subject: str,
        role: Role,
        lifetime: timedelta,
        public_key: Mapping[str, Any] | None = None,
    ) -> IssuedCertificate:
        """Make a certificate.

        Args:
            subject: the identity that it names.
            role: what the holder is.
            lifetime: how long it holds from now on.
            public_key: a JWK to bind; its private members MUST NOT be kept.

        Raises:
            InvalidInputError: the key is none, or not one to sign with.
        """

    def public_keys(self) -> Mapping[str, Any]:
        """Return the JWK set (RFC 7517, section 5) that certificates can be checked with.

        It MUST NOT hold anything private or symmetric.
        """


@runtime_checkable
class ChallengesDevices(Protocol):
    """The ability to let devices in that did a proof of work."""

    def make_challenge(self) -> Challenge:
        """Make a challenge that every instance can check, and that nobody can alter."""

    def check_solution(self, solution: Solution) -> SolvedChallenge:
        """Check that the work was done, for a challenge of ours, in time.

        Raises:
            InvalidSolutionError: it wasn't; the message says which of these it was.
        """

    def identify_device(self, public_key: bytes) -> tuple[str, Mapping[str, Any]]:
        """Return the subject that a device's key stands for, and the key as a JWK.

        The same key MUST always give the same subject, another key another.

        Args:
            public_key: JSON text of an EC P-256 JWK.

        Raises:
            InvalidInputError: it is no such key, or it has a private part.
        """


@runtime_checkable
class ChecksSignedPackages(Protocol):
    """The ability to check packages that devices signed."""

    def check_signed_package(self, jws: str, bearer: Credentials) -> SignedPackage:
        """Check a device's signed package against the key in its certificate.

        The key and the algorithm MUST come from the certificate, never from the package's own
        header. From a device the package MUST be in date; a relay MAY forward one later, within
        the limit that is set, if the device's certificate held when it was signed.

        Args:
            jws: a compact JWS.
            bearer: who brings it, a device or a relay.

        Raises:
            AuthenticationError: the package or the device's certificate doesn't hold.
        """
