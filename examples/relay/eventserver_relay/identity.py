"""Who the relay is: its one key, its two certificates, and how it gets and renews them."""

from __future__ import annotations

import json
import os
import ssl
import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from eventserver_client import EnrolledCertificates, EventServerError, RelayClient, RetryPolicy
from eventserver_client.keys import load_or_make_key, make_csr, public_jwk

from eventserver_relay.log import log

_PATIENT = RetryPolicy(deadline=90)
_QUICK = RetryPolicy(deadline=10)
"""A relay that is told to stop waits for a renewal that is under way."""
_LEFT = 3
"""A certificate is renewed when one part in so many of its life is left."""
_LOOK_SECONDS = 30.0
_TEXTS = ("serverUrl", "relayId", "certificate", "tlsCertificate", "rootCertificate")


class IdentityError(Exception):
    """The relay can't be who it should be; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Enrollment:
    """What an admin gives a new relay: where to enrol, as whom, and a token that works once."""

    server_url: str
    relay_id: str
    token: str = field(repr=False)
    root_certificate: str

    @classmethod
    def read(cls, path: Path) -> Enrollment:
        """Read the enrolment document.

        Raises:
            IdentityError: there is none, or something lacks.
        """
        try:
            found = json.loads(path.read_text("utf-8"))
            return cls(
                str(found["serverUrl"]),
                str(found["relayId"]),
                str(found["token"]),
                str(found.get("rootCertificate") or ""),
            )
        except OSError as ex:
            raise IdentityError(f"the enrolment document can't be read: {ex.strerror}") from ex
        except (ValueError, KeyError, TypeError, AttributeError) as ex:
            raise IdentityError(f"{path.name} is no enrolment document") from ex


class Identity:
    """A relay's key and certificates, kept in its data directory.

    Args:
        directory: where they are kept.
        names: DNS names and IP addresses that devices reach the relay by.

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

    def certificate(self) -> str:
        """Return the present relay certificate, to show to EventServer."""
        return str(self._known["certificate"])

    def trust(self) -> ssl.SSLContext:
        """Return what vouches for EventServer: the usual authorities, and its own."""
        return _trusting(str(self._known["rootCertificate"]))

    def establish(self, document: Path | None) -> None:
        """Go on with the certificates that are kept, or enrol for the first ones.

        Args:
            document: the enrolment document; needed only where nothing is kept, or what is kept
                has ended.

        Raises:
            IdentityError: there are no certificates, and none are to be had.
        """
        self._load()
        if self._known and self.expires_at > datetime.now(UTC):
            self._use(self._known)
            return
        if document is None:
            raise IdentityError("an enrolment document is needed: --enrollment FILE")
        enrollment = Enrollment.read(document)
        if self._known and self.relay_id != enrollment.relay_id:
            raise IdentityError(f"this data directory is another relay's: {self.relay_id}")
        self._enroll(enrollment)
        log("relay_enrolled", relayId=self.relay_id, expiresAt=self.expires_at)

    def renew(self) -> None:
        """Get new certificates by the present ones.

        Raises:
            EventServerError: there are none now.
        """
        csr = make_csr(self._key, self.relay_id, self._names)
        with RelayClient(
            self.server_url, self.certificate, timeout=10, retry=_QUICK, verify=self.trust()
        ) as client:
            self._keep(self.server_url, client.renew(self.relay_id, csr))

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
        self._keep(enrollment.server_url, found)

    def _keep(self, server_url: str, found: EnrolledCertificates) -> None:
        known = {
            "serverUrl": server_url,
            "relayId": found.relay_id,
            "certificate": found.certificate,
            "certificateExpiresAt": found.certificate_expires_at.isoformat(),
            "tlsCertificate": found.tls_certificate,
            "tlsCertificateExpiresAt": found.tls_certificate_expires_at.isoformat(),
            "rootCertificate": found.root_certificate,
            "obtainedAt": datetime.now(UTC).isoformat(),
        }
        # the certificates are tried on before they replace others
        self._use(known)
        _write(self._kept, json.dumps(known))
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
        _write(self._chain, known["tlsCertificate"])
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


def _write(path: Path, text: str) -> None:
    """Replace a file that only its owner may read, whole or not at all."""
    part = path.with_name(f".{path.name}.{uuid.uuid4()}")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
