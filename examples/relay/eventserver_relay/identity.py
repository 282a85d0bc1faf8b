"""Who the relay is: its one key, its two certificates, and how it gets and renews them."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from eventserver_client import EnrolledCertificates, EventServerError, RelayClient, RetryPolicy
from eventserver_client.keys import load_or_make_key, make_csr, names_of, public_jwk

from eventserver_relay.enrollment import Enrollment, IdentityError
from eventserver_relay.files import write
from eventserver_relay.log import log

_PATIENT = RetryPolicy(deadline=90)
_QUICK = RetryPolicy(deadline=10)
"""A relay that is told to stop waits for a renewal that is under way."""
_LEFT = 3
"""A certificate is renewed when one part in so many of its life is left."""
_LOOK_SECONDS = 30.0
_TEXTS = ("serverUrl", "relayId", "certificate", "tlsCertificate", "rootCertificate")


class Identity:
    """A relay's key and certificates, kept in its data directory.

    Args:
        directory: where they are kept.
        names: DNS names and IP addresses that devices reach the relay by; where there are none,
            the server puts those into its certificate that it has on record.

    Attributes:
        context: TLS for new connections; another one after a renewal.
    """

    def __init__(self, directory: Path, names: list[str]) -> None:
        self._kept = directory / "identity.json"
        self._chain = directory / "tls.pem"
        self._key_file = directory / "key.pem"
        self._names = names
        try:
            self._key = load_or_make_key(self._key_file)
        except (OSError, ValueError) as ex:
            raise IdentityError(f"there is no key: {ex}") from ex
        self._known: dict[str, Any] = {}
        self.context: ssl.SSLContext

    @property
    def public_key(self) -> dict[str, str]:
        """The public part of its key, as a JWK."""
        return public_jwk(self._key)

    @property
    def relay_id(self) -> str:
        """The relay's id."""
        return str(self._known["relayId"])

    @property
    def server_url(self) -> str:
        """Where EventServer is."""
        return str(self._known["serverUrl"])

    @property
    def expires_at(self) -> datetime:
        """When the first of the certificates ends."""
        ends = (self._known["certificateExpiresAt"], self._known["tlsCertificateExpiresAt"])
        return min(datetime.fromisoformat(end) for end in ends)

    @property
    def renew_at(self) -> datetime:
        """When it is time for new certificates."""
        life = self.expires_at - datetime.fromisoformat(self._known["obtainedAt"])
        return self.expires_at - life / _LEFT

    @property
    def names(self) -> tuple[str, ...]:
        """The names that its TLS certificate is for."""
        return names_of(str(self._known["tlsCertificate"]))

    def certificate(self) -> str:
        """Return the present relay certificate, to show to EventServer."""
        return str(self._known["certificate"])

    def trust(self) -> ssl.SSLContext:
        """Return what vouches for EventServer: the usual authorities, and its own."""
        return _trusting(str(self._known["rootCertificate"]))

    def establish(self, document: Path | None) -> None:
        """Go on with the certificates that are kept, or enrol for new ones.

        Args:
            document: the enrolment document; needed only where nothing is kept, or what is kept
                has ended. One with a token that wasn't used here is always enrolled with: the
                kept certificates may have been revoked.

        Raises:
            IdentityError: there are no certificates, and none are to be had.
        """
        self._load()
        holds = bool(self._known) and self.expires_at > datetime.now(UTC)
        try:
            enrollment = self._invitation(document, holds)
            if enrollment is not None:
                self._enroll(enrollment)
                log("relay_enrolled", relayId=self.relay_id, expiresAt=self.expires_at)
                return
        except IdentityError as ex:
            if not holds:
                raise
            log("enrolling_failed", detail=str(ex))
        self._use(self._known)

    def _invitation(self, document: Path | None, holds: bool) -> Enrollment | None:
        """Return what to enrol with; None where the kept certificates are gone on with."""
        if document is None:
            if holds:
                return None
            raise IdentityError("an enrolment document is needed: --enrollment FILE")
        enrollment = Enrollment.read(document)
        if holds and self._known.get("tokenDigest") == enrollment.token_digest_hex:
            return None
        if self._known and self.relay_id != enrollment.relay_id:
            raise IdentityError(f"this data directory is another relay's: {self.relay_id}")
        return enrollment

    def renew(self) -> None:
        """Get new certificates by the present ones.

        Raises:
            EventServerError: there are none now.
        """
        csr = make_csr(self._key, self.relay_id, self._names)
        with RelayClient(
            self.server_url, self.certificate, timeout=10, retry=_QUICK, verify=self.trust()
        ) as client:
            found = client.renew(self.relay_id, csr)
        self._keep(self.server_url, found, self._known.get("tokenDigest"))

    def keep_renewed(self, stopping: threading.Event, renewed: Callable[[], None]) -> None:
        """Renew in good time, until told to stop.

        Args:
            stopping: set to end this.
            renewed: called after each renewal.
        """
        while not stopping.wait(self._pause()):
            if datetime.now(UTC) < self.renew_at:
                continue
            try:
                self.renew()
            except (EventServerError, IdentityError, OSError) as ex:
                log("renewal_failed", error=type(ex).__name__, code=getattr(ex, "code", ""))
                stopping.wait(_LOOK_SECONDS)
            else:
                log("certificates_renewed", expiresAt=self.expires_at)
                renewed()

    def _pause(self) -> float:
        left = (self.renew_at - datetime.now(UTC)).total_seconds()
        return min(max(left, 1.0), _LOOK_SECONDS)

    def _enroll(self, enrollment: Enrollment) -> None:
        csr = make_csr(self._key, enrollment.relay_id, self._names)
        try:
            with RelayClient(
                enrollment.server_url, retry=_PATIENT, verify=_trusting(enrollment.root_certificate)
            ) as client:
                found = client.enroll(enrollment.relay_id, enrollment.token, csr)
        except (EventServerError, ValueError, OSError) as ex:
            raise IdentityError(f"enrolling failed: {ex}") from ex
        self._keep(enrollment.server_url, found, enrollment.token_digest_hex)

    def _keep(self, server_url: str, found: EnrolledCertificates, token_digest: str | None) -> None:
        known = {
            "serverUrl": server_url,
            "relayId": found.relay_id,
            "certificate": found.certificate,
            "certificateExpiresAt": found.certificate_expires_at.isoformat(),
            "tlsCertificate": found.tls_certificate,
            "tlsCertificateExpiresAt": found.tls_certificate_expires_at.isoformat(),
            "rootCertificate": found.root_certificate,
            "obtainedAt": datetime.now(UTC).isoformat(),
            "tokenDigest": token_digest,
        }
        # the certificates are tried on before they replace others
        self._use(known)
        write(self._kept, json.dumps(known))
        self._known = known

    def _load(self) -> None:
        try:
            known = json.loads(self._kept.read_text("utf-8"))
            times = ("certificateExpiresAt", "tlsCertificateExpiresAt", "obtainedAt")
            whole = all(isinstance(known[name], str) for name in _TEXTS)
            aware = all(datetime.fromisoformat(known[name]).tzinfo for name in times)
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError) as ex:
            raise IdentityError(f"{self._kept} can't be used; restore or remove it") from ex
        if not (whole and aware):
            raise IdentityError(f"{self._kept} can't be used; restore or remove it")
        self._known = known

    def _use(self, known: Mapping[str, Any]) -> None:
        """Serve new connections with a TLS certificate."""
        write(self._chain, known["tlsCertificate"])
        # another context, not the same one loaded anew: a handshake may be under way with that
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            context.load_cert_chain(self._chain, self._key_file)
        except ssl.SSLError as ex:
            raise IdentityError("the TLS certificate is not for this relay's key") from ex
        self.context = context


def _trusting(root_certificate: str) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if root_certificate:
        context.load_verify_locations(cadata=root_certificate)
    return context
