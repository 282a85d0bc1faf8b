"""Everything that EventServer raises on purpose.

::

    EventServerError
    ├── ConfigurationError            wrong settings or plugins; nothing starts
    ├── InvalidInputError             the caller's bytes are at fault, never retry
    │   ├── InvalidPackageError       not an event package; carries every fault
    │   ├── ContentTooLargeError      over a size limit
    │   ├── UnsupportedMediaError     the bytes are of another type than declared
    │   ├── ContentMismatchError      a declared size or digest disagrees with the bytes
    │   ├── ClockSkewError            created in the future
    │   ├── EventTooOldError          created longer ago than is taken
    │   ├── InvalidSolutionError      a proof of work that does not hold
    │   ├── LabelsViolatedError       annotations that are not as their labels say
    │   ├── AddressNotAllowedError    a network address that must not be called
    │   ├── MachineNotAllowedError    a region or a type that no relay may have
    │   ├── PublicKeyMismatchError    a key that is not the one on record
    │   ├── IdempotencyKeyReusedError a key that came with another request before
    │   └── RequestTimeoutError       sent too slowly
    ├── AuthenticationError           who is calling is not established
    │   ├── RevokedCertificateError
    │   ├── EnrollmentTokenError
    │   └── EnrollmentTokenExpiredError
    ├── PermissionDeniedError         who is calling may not do this
    │   ├── RelayNotActiveError
    │   ├── RelayDecommissionedError
    │   ├── RelaySuspendedError
    │   └── EnrollmentTokenMismatchError
    ├── NotFoundError
    ├── ConflictError                 clashes with what is stored already
    │   ├── EventIdConflictError
    │   ├── ChallengeUsedError
    │   ├── EnrollmentTokenUsedError
    │   ├── RelayNotApprovedError
    │   ├── LastAdminError
    │   └── QuotaExceededError
    ├── RateLimitedError              who is calling goes too fast
    ├── ObjectNotFoundError           a storage backend has no such object
    ├── EvidenceDamagedError          storage no longer has what was stored
    ├── BackendUnavailableError       a dependency is down or full: try again later
    │   └── BackendContractError      a plugin broke its Protocol
    └── LeaseLostError                another worker has taken over

No class here knows HTTP: one table in ``eventserver_core.http.errors`` maps them to status codes.
``code`` is a stable word that callers may rely on; the message is for people and may change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with a document.

    Attributes:
        pointer: where, as a JSON pointer (RFC 6901); the empty string is the whole document.
        detail: what is wrong and what was expected, for people.
    """

    pointer: str
    detail: str


class EventServerError(Exception):
    """The root of the tree."""

    code = "error"

    @property
    def extras(self) -> Mapping[str, object]:
        """Further members that a caller can act on, by their names on the wire."""
        return {}


class ConfigurationError(EventServerError):
    """The settings or the plugins are wrong; the message lists every fault found.

    Args:
        faults: a sentence for each fault.
    """

    code = "configuration"

    def __init__(self, faults: Sequence[str] | str) -> None:
        self.faults = [faults] if isinstance(faults, str) else list(faults)
        super().__init__("\n".join(self.faults))


class InvalidInputError(EventServerError):
    """The request can never succeed as it is; carries where each fault is, if that is known."""

    code = "invalid_request"

    def __init__(self, message: str, faults: Sequence[Fault] = ()) -> None:
        super().__init__(message)
        self.faults = list(faults)


class InvalidPackageError(InvalidInputError):
    """The bytes are not JSON, or not an event package."""

    code = "invalid_package"


class ContentTooLargeError(InvalidInputError):
    """More bytes than a limit allows; raised before they are all read."""

    code = "content_too_large"


class UnsupportedMediaError(InvalidInputError):
    """The bytes or the encoding are of a type that isn't taken."""

    code = "unsupported_media_type"


class ContentMismatchError(InvalidInputError):
    """A declared size or digest disagrees with the bytes."""

    code = "content_mismatch"


class ClockSkewError(InvalidInputError):
    """The package says it was made in the future."""

    code = "clock_skew"

    def __init__(self, message: str, server_time: str, faults: Sequence[Fault] = ()) -> None:
        super().__init__(message, faults)
        self.server_time = server_time

    @property
    def extras(self) -> Mapping[str, object]:
        return {"serverTime": self.server_time}


class EventTooOldError(InvalidInputError):
    """The package says it was made longer ago than this server takes."""

    code = "event_too_old"


class LabelsViolatedError(InvalidInputError):
    """An annotation is not as its label's definition says."""

    code = "labels_violated"


class AddressNotAllowedError(InvalidInputError):
    """Something at a network address was to be called that must not be."""

    code = "address_not_allowed"


class MachineNotAllowedError(InvalidInputError):
    """No relay may be launched in this region, or on a machine of this type."""

    code = "machine_not_allowed"


class PublicKeyMismatchError(InvalidInputError):
    """The key is not the one that is on record."""

    code = "public_key_mismatch"


class IdempotencyKeyReusedError(InvalidInputError):
    """The idempotency key came with another request before."""

    code = "idempotency_key_reused"


class RequestTimeoutError(InvalidInputError):
    """The caller sent its bytes too slowly."""

    code = "request_timeout"


class AuthenticationError(EventServerError):
    """No certificate, or one that doesn't hold."""

    code = "unauthenticated"

    def __init__(self, message: str, code: str | None = None) -> None:
        super().__init__(message)
        if code:
            self.code = code


class RevokedCertificateError(AuthenticationError):
    """The certificate was taken back."""

    code = "certificate_revoked"


class EnrollmentTokenError(AuthenticationError):
    """Nobody was given this token."""

    code = "enrollment_token_invalid"


class EnrollmentTokenExpiredError(AuthenticationError):
    """The token's minutes are over."""

    code = "enrollment_token_expired"


class PermissionDeniedError(EventServerError):
    """The certificate is good, and doesn't allow this."""

    code = "forbidden"


class RelayNotActiveError(PermissionDeniedError):
    """The relay is not, or no longer, part of the network."""

    code = "relay_not_active"


class RelayDecommissionedError(PermissionDeniedError):
    """The relay was taken out of the network for good."""

    code = "relay_decommissioned"


class RelaySuspendedError(PermissionDeniedError):
    """The relay is suspended."""

    code = "relay_suspended"


class EnrollmentTokenMismatchError(PermissionDeniedError):
    """The token was given to another relay."""

    code = "enrollment_token_mismatch"


class NotFoundError(EventServerError):
    """There is no such thing, or it isn't the caller's to see."""

    code = "not_found"


class ConflictError(EventServerError):
    """What is stored already says otherwise."""

    code = "conflict"


class EventIdConflictError(ConflictError):
    """The same event id came with another content; the first stays."""

    code = "event_id_conflict"

    def __init__(self, event_id: str, stored_digest_hex: str) -> None:
        super().__init__(
            f"event {event_id} is stored already with another content, hash {stored_digest_hex}; "
            "the first stays"
        )
        self.stored_digest_hex = stored_digest_hex

    @property
    def extras(self) -> Mapping[str, object]:
        return {"storedHash": self.stored_digest_hex}


class ChallengeUsedError(ConflictError):
    """A challenge is good for one certificate."""

    code = "challenge_used"


class EnrollmentTokenUsedError(ConflictError):
    """A token enrols once."""

    code = "enrollment_token_used"


class RelayNotApprovedError(ConflictError):
    """The relay waits for an admin's approval."""

    code = "relay_not_approved"


class LastAdminError(ConflictError):
    """Without this admin nobody could run the network."""

    code = "last_admin"


class QuotaExceededError(ConflictError):
    """There are as many machines as there may be."""

    code = "quota_exceeded"


class InvalidSolutionError(InvalidInputError):
    """The proof of work doesn't hold, or its challenge is out of date."""

    code = "invalid_solution"


class RateLimitedError(EventServerError):
    """The caller goes too fast.

    Args:
        retry_after: seconds until the same call would be let through.
    """

    code = "rate_limited"

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class BackendUnavailableError(EventServerError):
    """A dependency is down, full or too slow; the same call may succeed later.

    Args:
        backend: which, as ``role=name`` or ``database``.
        message: what went wrong, for the log; callers are told the backend's role only.
    """

    code = "backend_unavailable"

    def __init__(self, backend: str, message: str) -> None:
        super().__init__(f"{backend}: {message}")
        self.backend = backend


class BackendContractError(BackendUnavailableError):
    """A plugin answered what its Protocol forbids."""

    code = "backend_unavailable"


class ObjectNotFoundError(EventServerError):
    """A storage backend has no object under this key."""

    code = "object_not_found"


class EvidenceDamagedError(EventServerError):
    """Storage no longer has what was stored, and no retry brings it back."""

    code = "evidence_damaged"


class LeaseLostError(EventServerError):
    """Another worker holds the lease now; what this one was doing is void."""

    code = "lease_lost"
