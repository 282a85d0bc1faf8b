"""Takes certificates back, and publishes what relays' TLS certificates are checked with."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from eventserver_core.db.enrollment import EnrollmentRepository
from eventserver_core.pki.authority import CertificateAuthority
from eventserver_core.pki.revocation import RevocationReason, RevokedSerial
from eventserver_core.services.audit import Actor, AuditTrail
from eventserver_core.services.identity import Identities, require_certificate_id


class RevokeCertificates:
    """Takes certificates back, of either kind.

    Args:
        identities: knows the certificates that callers show.
        enrollment: knows relays' TLS certificates.
        audit: where it is written down.
        clock: tells the time.
    """

    def __init__(
        self,
        identities: Identities,
        enrollment: EnrollmentRepository,
        audit: AuditTrail,
        clock: Callable[[], datetime],
    ) -> None:
        self._identities = identities
        self._enrollment = enrollment
        self._audit = audit
        self._clock = clock

    def revoke(self, certificate_id: str, by: Actor, reason: str | None = None) -> bool:
        """Take a certificate back, everywhere; returns whether it was not revoked before.

        Args:
            certificate_id: a certificate's ``jti``, or a TLS certificate's serial number in hex,
                which then is on the revocation list.
            by: who does it.
            reason: for people.

        Raises:
            InvalidInputError: this is no certificate's id.
        """
        require_certificate_id(certificate_id)
        with self._audit.changing():
            tls = self._enrollment.find_certificate(certificate_id.lower())
            if tls is not None:
                first = self._enrollment.revoke(
                    tls.serial, RevocationReason.UNSPECIFIED, self._clock()
                )
            else:
                said = f"by {by.subject}" + (f": {reason}" if reason else "")
                first = self._identities.revoke(certificate_id, said)
            if first:
                self._audit.record(
                    by,
                    "tls_certificate_revoked" if tls else "certificate_revoked",
                    certificate_id,
                    reason=reason,
                )
        return first


class PublishAuthority:
    """What anyone may have of the certificate authority.

    Args:
        authority: signs; raises BackendUnavailableError where there is none.
        enrollment: knows what was taken back.
        list_lifetime: how long a revocation list may be kept.
        clock: tells the time.
    """

    def __init__(
        self,
        authority: Callable[[], CertificateAuthority],
        enrollment: EnrollmentRepository,
        list_lifetime: timedelta,
        clock: Callable[[], datetime],
    ) -> None:
        self._authority = authority
        self._enrollment = enrollment
        self._list_lifetime = list_lifetime
        self._clock = clock

    def root_der(self) -> bytes:
        """Return the root's certificate."""
        return self._authority().root_der

    def issuing_der(self) -> bytes:
        """Return the issuing certificate."""
        return self._authority().issuing_der

    def revocation_list(self) -> bytes:
        """Return the list of TLS certificates that were taken back, as it is now."""
        now = self._clock()
        revoked = [
            RevokedSerial(
                found.serial,
                found.revoked_at or now,
                RevocationReason(found.reason or RevocationReason.UNSPECIFIED),
            )
            for found in self._enrollment.revoked(now)
        ]
        return self._authority().revocation_list(revoked, now, self._list_lifetime)
