"""The certificate authority: a root that is kept offline, and what issues in its name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
)

from eventserver_core.domain import instant
from eventserver_core.errors import ConfigurationError
from eventserver_core.pki import files, profile
from eventserver_core.pki.loading import (
    LoadedAuthority,
    load_authority,
    load_issuing,
    load_root_key,
)
from eventserver_core.pki.requests import CheckedRequest
from eventserver_core.pki.revocation import RevokedSerial, sign_revocation_list

_ROOT_LIFETIME: Final = timedelta(days=20 * 365)
_ISSUING_LIFETIME: Final = timedelta(days=5 * 365)
_LAST_DAY: Final = timedelta(days=1)
_MAX_NAME: Final = profile.MAX_COMMON_NAME - len(" issuing")
_MAX_PASSPHRASE: Final = 1023  # OpenSSL's


def create_authority(directory: Path, passphrase: bytes, name: str, now: datetime) -> None:
    """Make a root and an issuing certificate, and put them into a directory with their keys.

    Once this is done the root's key is needed only for the next issuing certificate: it is to be
    kept elsewhere.

    Args:
        directory: made if it isn't there; only its owner can enter it.
        passphrase: what both keys are encrypted with.
        name: the authority's, for people.
        now: when the certificates begin.

    Raises:
        ConflictError: an authority, or a part of one, is there already; it stays as it is.
        ConfigurationError: the name or the passphrase won't do, or the directory can't be used.
    """
    if not 0 < len(name) <= _MAX_NAME:
        raise ConfigurationError(f"the authority's name must have 1 to {_MAX_NAME} characters")
    if not 0 < len(passphrase) <= _MAX_PASSPHRASE:
        raise ConfigurationError(f"the passphrase must have 1 to {_MAX_PASSPHRASE} bytes")
    files.make_private_directory(directory)
    root_name, issuing_name = f"{name} root", f"{name} issuing"
    root_key, issuing_key = generate_private_key(SECP256R1()), generate_private_key(SECP256R1())
    start = now - profile.CLOCK_SKEW
    period = (start, now + _ROOT_LIFETIME)
    root = profile.authority_certificate(
        root_name, root_name, root_key.public_key(), period, path_length=1
    ).sign(root_key, SHA256())
    issuing = _sign_issuing(root, root_key, issuing_name, issuing_key, now)
    new = files.NewFile
    files.put_new(
        directory,
        [  # a certificate is of no use without its key, so the key comes first
            new(files.ROOT_KEY, _encrypted(root_key, passphrase), 0o600),
            new(files.ROOT_CERTIFICATE, root.public_bytes(Encoding.PEM), 0o644),
            new(files.ISSUING_KEY, _encrypted(issuing_key, passphrase), 0o600),
            new(files.ISSUING_CERTIFICATE, issuing.public_bytes(Encoding.PEM), 0o644),
        ],
    )


def renew_issuing(directory: Path, passphrase: bytes, now: datetime) -> None:
    """Put a new issuing key and certificate in place of the present ones, by the root's key.

    The present ones are kept beside them as ``issuing-<serial number>``; what was issued with them
    holds until its end, since each certificate comes with the one that signed it.

    Args:
        directory: where the authority is, ``root.key`` included.
        passphrase: what the keys are encrypted with.
        now: when the certificate begins.

    Raises:
        ConfigurationError: the authority or its root's key is not there, or can't be used.
    """
    root, root_key = load_root_key(directory, passphrase, now)
    present = load_issuing(directory)  # which may have ended
    name = profile.common_name(present)
    key = generate_private_key(SECP256R1())
    issuing = _sign_issuing(root, root_key, name, key, now)
    files.replace_pair(
        directory,
        f"issuing-{_serial_hex(present)}",
        files.NewFile(files.ISSUING_KEY, _encrypted(key, passphrase), 0o600),
        files.NewFile(files.ISSUING_CERTIFICATE, issuing.public_bytes(Encoding.PEM), 0o644),
    )


def _sign_issuing(
    root: x509.Certificate,
    root_key: EllipticCurvePrivateKey,
    name: str,
    key: EllipticCurvePrivateKey,
    now: datetime,
) -> x509.Certificate:
    end = min(now + _ISSUING_LIFETIME, root.not_valid_after_utc)
    builder = profile.authority_certificate(
        name,
        profile.common_name(root),
        key.public_key(),
        (now - profile.CLOCK_SKEW, end),
        path_length=0,
    )
    return builder.add_extension(profile.authority_key(root), critical=False).sign(
        root_key, SHA256()
    )


@dataclass(frozen=True, slots=True)
class TlsCertificate:
    """A certificate that was issued.

    Attributes:
        serial_hex: its serial number, in lower case, whole bytes.
        chain_pem: itself and the issuing certificate, as TLS servers take them.
        not_before: its first moment.
        not_after: its last moment.
        names: the host names and IP addresses it is good for.
    """

    serial_hex: str
    chain_pem: str
    not_before: datetime
    not_after: datetime
    names: tuple[str, ...]


class CertificateAuthority:
    """Issues certificates to relays, and signs the list of those that were taken back.

    Several threads may use one at once.

    Args:
        loaded: the certificates, and the key to sign with.
        crl_url: where the revocation list can be got; None leaves it out of certificates.
        issuer_url: the same for the issuing certificate.

    Raises:
        ConfigurationError: an address can't be put into a certificate.
    """

    def __init__(
        self, loaded: LoadedAuthority, *, crl_url: str | None, issuer_url: str | None
    ) -> None:
        self._root, self._issuing, self._key = loaded.root, loaded.issuing, loaded.key
        self._authority_key = profile.authority_key(loaded.issuing)
        try:
            self._published = profile.published(crl_url, issuer_url)
        except ValueError as ex:
            raise ConfigurationError(
                f"{crl_url}, {issuer_url}: addresses in certificates must be ASCII"
            ) from ex

    @classmethod
    def load(
        cls,
        directory: Path,
        passphrase: bytes,
        *,
        crl_url: str | None,
        issuer_url: str | None,
        now: datetime | None = None,
    ) -> CertificateAuthority:
        """Read what ``create_authority`` made; the root's key may be elsewhere.

        Args:
            directory: where it is.
            passphrase: what the issuing key is encrypted with.
            crl_url: where the revocation list can be got; None leaves it out of certificates.
            issuer_url: the same for the issuing certificate.
            now: what the certificates are checked against; the present if None.

        Raises:
            ConfigurationError: something is missing, can't be read, is open to others, has ended
                or doesn't belong together; the message names it and says what to do.
        """
        loaded = load_authority(directory, passphrase, now or instant.now())
        return cls(loaded, crl_url=crl_url, issuer_url=issuer_url)

    @property
    def root_pem(self) -> str:
        """The root's certificate in PEM: what to trust."""
        return _pem(self._root)

    @property
    def root_der(self) -> bytes:
        """The root's certificate in DER."""
        return self._root.public_bytes(Encoding.DER)

    @property
    def issuing_der(self) -> bytes:
        """The issuing certificate in DER."""
        return self._issuing.public_bytes(Encoding.DER)

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of the root's certificate in DER, as hexadecimal digits."""
        return self._root.fingerprint(SHA256()).hex()

    def issue(
        self, request: CheckedRequest, common_name: str, lifetime: timedelta, now: datetime
    ) -> TlsCertificate:
        """Certify a relay's key for its names.

        Args:
            request: what was asked for and allowed.
            common_name: the relay's id.
            lifetime: how long it holds from now; it is cut at the issuing certificate's end.
            now: the present; the certificate begins a little earlier.

        Raises:
            ConfigurationError: the issuing certificate has less than a day left.
            ValueError: the common name is empty, or longer than 64 characters.
        """
        end = self._issuing.not_valid_after_utc
        if end - now < _LAST_DAY:
            raise ConfigurationError(
                f"the issuing certificate ends at {instant.format_rfc3339(end)} and issues nothing "
                "on its last day; make another one with: eventserver ca renew"
            )
        start = max(now - profile.CLOCK_SKEW, self._issuing.not_valid_before_utc)
        builder = profile.relay_certificate(
            common_name,
            self._issuing,
            request.public_key,
            (start, min(now + lifetime, end)),
            request.names,
        )
        for extension in self._published:
            builder = builder.add_extension(extension, critical=False)
        leaf = builder.sign(self._key, SHA256())
        return TlsCertificate(
            serial_hex=_serial_hex(leaf),
            chain_pem=_pem(leaf) + _pem(self._issuing),
            not_before=leaf.not_valid_before_utc,
            not_after=leaf.not_valid_after_utc,
            names=tuple(str(name.value) for name in request.names),
        )

    def revocation_list(
        self,
        revoked: Sequence[RevokedSerial],
        now: datetime,
        next_update: timedelta,
        sequence: int,
    ) -> bytes:
        """Return the revocation list (RFC 5280) in DER.

        Args:
            revoked: every certificate that was taken back and hasn't ended, each once.
            now: the present.
            next_update: how long until readers must have another list.
            sequence: never smaller than for a list before, on whichever instance.
        """
        return sign_revocation_list(
            revoked,
            issuer=self._issuing.subject,
            authority_key=self._authority_key,
            key=self._key,
            now=now,
            next_update=next_update,
            sequence=sequence,
        )


def _encrypted(key: EllipticCurvePrivateKey, passphrase: bytes) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(passphrase))


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode("ascii")


def _serial_hex(certificate: x509.Certificate) -> str:
    serial = certificate.serial_number
    return serial.to_bytes((serial.bit_length() + 7) // 8).hex()  # as OpenSSL prints it
