"""Takes certificates back, and publishes what relays' TLS certificates are checked with."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta

from eventserver_core.db.enrollment import EnrollmentRepository, TlsRecord
from eventserver_core.errors import NotFoundError
from eventserver_core.pki.authority import CertificateAuthority
from eventserver_core.pki.revocation import RevocationReason, RevokedSerial
from eventserver_core.services.audit import Actor, AuditTrail
from eventserver_core.services.identity import Identities, require_certificate_id

REMEMBERED_FOR = timedelta(seconds=60)
_HEX = re.compile(r"[0-9a-f]{1,40}\Z")
_JTI_DIGITS = 32
"""A certificate's id has as many; a serial number has more, but for one in 2**31."""
_REASONS = frozenset(RevocationReason)


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
                with or without colons, which then is on the revocation list.
            by: who does it.
            reason: for people; where it is a word of RFC 5280's, the revocation list has it.

        Raises:
            InvalidInputError: this is no certificate's id.
            NotFoundError: it is a serial number of no certificate that was made here.
        """
        require_certificate_id(certificate_id)
        with self._audit.changing(by):
            tls = self._find(certificate_id)
            if tls is not None:
                word = reason if reason in _REASONS else RevocationReason.UNSPECIFIED
                first = self._enrollment.revoke(tls.serial, word, self._clock())
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

    def _find(self, certificate_id: str) -> TlsRecord | None:
        """Find a TLS certificate by its serial number, however it is written."""
        digits = certificate_id.replace(":", "").lower()
        if not _HEX.match(digits):
            return None
        padded = digits.zfill(len(digits) + len(digits) % 2)
        found = self._enrollment.find_certificate(padded)
        if found is None and (":" in certificate_id or len(digits) > _JTI_DIGITS):
            raise NotFoundError("no TLS certificate with this serial number was made here")
        return found


class PublishAuthority:
    """What anyone may have of the certificate authority.

    Args:
        authority: signs; raises BackendUnavailableError where there is none.
        enrollment: knows what was taken back.
        list_lifetime: how long a revocation list may be kept.
        sequence: returns what grows with whatever is done in the network.
        clock: tells the time.
    """

    def __init__(
        self,
        authority: Callable[[], CertificateAuthority],
        enrollment: EnrollmentRepository,
        list_lifetime: timedelta,
        sequence: Callable[[], int],
        clock: Callable[[], datetime],
    ) -> None:
        self._authority = authority
        self._enrollment = enrollment
        self._list_lifetime = list_lifetime
        self._sequence = sequence
        self._made: tuple[int, datetime, bytes] | None = None
        self._clock = clock

    def root_der(self) -> bytes:
        """Return the root's certificate."""
        return self._authority().root_der

    def issuing_der(self) -> bytes:
        """Return the issuing certificate."""
        return self._authority().issuing_der

    def revocation_list(self) -> bytes:
        """Return the list of TLS certificates that were taken back.

        As it is now, but for ``REMEMBERED_FOR`` where nothing was done in the network since.
        """
        now, sequence = self._clock(), self._sequence()
        made = self._made
        if made and made[0] == sequence and timedelta(0) <= now - made[1] < REMEMBERED_FOR:
            return made[2]
        revoked = [
            RevokedSerial(
                found.serial,
                found.revoked_at or now,
                RevocationReason(found.reason or RevocationReason.UNSPECIFIED),
            )
            # for one more list after its end, as RFC 5280 (section 3.3) wants it
            for found in self._enrollment.revoked(now - self._list_lifetime)
        ]
        signed = self._authority().revocation_list(revoked, now, self._list_lifetime, sequence)
        self._made = (sequence, now, signed)
        return signed
