"""Reading an authority back, and not starting with one that doesn't hold together."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from eventserver_core.errors import ConfigurationError
from eventserver_core.pki.files import (
    ISSUING_CERTIFICATE,
    ISSUING_KEY,
    ROOT_CERTIFICATE,
    ROOT_KEY,
    read_private,
    read_public,
)

_NEEDED: Final = (ROOT_CERTIFICATE, ISSUING_KEY, ISSUING_CERTIFICATE)
_NONE: Final = "there is no certificate authority; run: eventserver ca init"
_UNREADABLE: Final = (
    ValueError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
)


@dataclass(frozen=True, slots=True)
class LoadedAuthority:
    """What certificates are issued with.

    Attributes:
        root: what relays and clients trust.
        issuing: what the root signed.
        key: the private key of ``issuing``.
    """

    root: x509.Certificate
    issuing: x509.Certificate
    key: EllipticCurvePrivateKey = field(repr=False)


def load_authority(directory: Path, passphrase: bytes, now: datetime) -> LoadedAuthority:
    """Read an authority's files; the root's key may be elsewhere.

    Raises:
        ConfigurationError: something is missing, can't be read, is open to others, has ended or
            doesn't belong together; the message says what to do.
    """
    _check_complete(directory)
    root_path, issuing_path = directory / ROOT_CERTIFICATE, directory / ISSUING_CERTIFICATE
    root, issuing = _certificate(root_path), _certificate(issuing_path)
    for path, certificate in ((root_path, root), (issuing_path, issuing)):
        _check_authority(path, certificate, now)
    _check_signed(root_path, root, root)
    _check_signed(issuing_path, issuing, root)
    key_path = directory / ISSUING_KEY
    key = _private_key(key_path, passphrase)
    if key.public_key() != issuing.public_key():
        raise ConfigurationError(
            f"{key_path}: this is not the key of {issuing_path}; put back the one that is"
        )
    return LoadedAuthority(root, issuing, key)


def load_root(directory: Path) -> str:
    """Return the root's certificate in PEM, for which no key is needed.

    Raises:
        ConfigurationError: it is missing, or can't be read.
    """
    if not (directory / ROOT_CERTIFICATE).exists():
        raise ConfigurationError(f"{directory}: {_NONE}")
    root = _certificate(directory / ROOT_CERTIFICATE)
    return root.public_bytes(Encoding.PEM).decode("ascii")


def load_issuing(directory: Path) -> x509.Certificate:
    """Return the issuing certificate as it is there, ended or not.

    Raises:
        ConfigurationError: it is missing, or can't be read.
    """
    return _certificate(directory / ISSUING_CERTIFICATE)


def load_root_key(
    directory: Path, passphrase: bytes, now: datetime
) -> tuple[x509.Certificate, EllipticCurvePrivateKey]:
    """Return the root's certificate and its key, which is at hand only when it is needed.

    Raises:
        ConfigurationError: one of them is missing, can't be read or has ended.
    """
    root_path, key_path = directory / ROOT_CERTIFICATE, directory / ROOT_KEY
    if not key_path.exists():
        raise ConfigurationError(
            f"{key_path}: bring the root's key back from where it is kept, and take it away again"
        )
    root = _certificate(root_path)
    _check_authority(root_path, root, now)
    key = _private_key(key_path, passphrase)
    if key.public_key() != root.public_key():
        raise ConfigurationError(f"{key_path}: this is not the key of {root_path}")
    return root, key


def _check_complete(directory: Path) -> None:
    try:
        there = [name for name in (*_NEEDED, ROOT_KEY) if (directory / name).exists()]
    except OSError as ex:
        raise ConfigurationError(f"{directory}: cannot be read: {ex.strerror}") from ex
    missing = [name for name in _NEEDED if name not in there]
    if not there:
        raise ConfigurationError(f"{directory}: {_NONE}")
    if missing:
        raise ConfigurationError(
            f"{directory}: {', '.join(missing)} missing, though {', '.join(there)} is there: put "
            "back what was lost; if making the authority was cut short, remove what is there and "
            "run: eventserver ca init"
        )
    if ROOT_KEY in there:
        read_private(directory / ROOT_KEY)


def _certificate(path: Path) -> x509.Certificate:
    content = read_public(path)
    try:
        certificate = x509.load_pem_x509_certificate(content)
        _ = certificate.extensions  # read only when asked for
    except _UNREADABLE as ex:
        raise ConfigurationError(f"{path}: expected a certificate in PEM; put it back") from ex
    return certificate


def _check_authority(path: Path, certificate: x509.Certificate, now: datetime) -> None:
    if not certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc:
        raise ConfigurationError(
            f"{path}: this certificate holds from {certificate.not_valid_before_utc:%Y-%m-%d %H:%M}"
            f" to {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC, and it is"
            f" {now:%Y-%m-%d %H:%M}; set the clock, or make another authority with: eventserver"
            " ca init"
        )
    try:
        extensions = certificate.extensions
        is_authority = extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        usage = extensions.get_extension_for_class(x509.KeyUsage).value
        extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    except x509.ExtensionNotFound:
        is_authority = False
    if not is_authority or not usage.key_cert_sign or not usage.crl_sign:
        raise ConfigurationError(
            f"{path}: this certificate may not sign others; put back the authority's"
        )


def _check_signed(path: Path, certificate: x509.Certificate, issuer: x509.Certificate) -> None:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (*_UNREADABLE, InvalidSignature, TypeError) as ex:
        raise ConfigurationError(
            f"{path}: this certificate was not signed by {path.parent / ROOT_CERTIFICATE}; put "
            "back the one that was"
        ) from ex


def _private_key(path: Path, passphrase: bytes) -> EllipticCurvePrivateKey:
    content = read_private(path)
    if b"-----BEGIN ENCRYPTED PRIVATE KEY-----" not in content:
        raise ConfigurationError(
            f"{path}: expected an encrypted private key (PKCS#8 in PEM); "
            f"encrypt it with: openssl pkcs8 -topk8 -in {path}"
        )
    try:
        key = load_pem_private_key(content, passphrase or None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as ex:  # TypeError: an empty passphrase
        raise ConfigurationError(
            f"{path}: cannot be decrypted: give the passphrase that it was made with, or put the "
            "file back if it is damaged"
        ) from ex
    if not isinstance(key, EllipticCurvePrivateKey):
        raise ConfigurationError(f"{path}: expected an EC key; put back the authority's")
    return key
