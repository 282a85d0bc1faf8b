"""What the tests of the certificate authority share: keys, requests and names."""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.hazmat.primitives.hashes import SHA256, HashAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from eventserver_core.pki.names import AllowedNames
from eventserver_core.pki.requests import CheckedRequest, read_request

RelayPrivateKey: TypeAlias = EllipticCurvePrivateKey | Ed25519PrivateKey
Extension: TypeAlias = tuple[x509.ExtensionType, bool]

RELAY_ID = "7d0c1f0e-7a55-4a4e-9d5e-0a4f2a6f6f10"
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
CRL_URL = "http://events.example.org/pki/issuing.crl"
ISSUER_URL = "http://events.example.org/pki/issuing.crt"
PASSPHRASE = b"a passphrase for tests only"
ALLOWED = AllowedNames.of(RELAY_ID, ["relay.example.org", "127.0.0.1", "2001:db8::7"])
KEY = generate_private_key(SECP256R1())
ED25519_KEY = Ed25519PrivateKey.generate()


def alternative_names(names: Iterable[str | x509.GeneralName]) -> x509.SubjectAlternativeName:
    """Make a subjectAltName; texts are IP addresses where they can be, and else DNS names."""
    return x509.SubjectAlternativeName(
        [name if isinstance(name, x509.GeneralName) else _general(name) for name in names]
    )


def request(
    names: Iterable[str | x509.GeneralName] = ("relay.example.org", "127.0.0.1"),
    *,
    key: CertificateIssuerPrivateKeyTypes = KEY,
    common_names: Sequence[str] = (RELAY_ID,),
    extensions: Iterable[Extension] = (),
    attributes: Iterable[tuple[x509.ObjectIdentifier, bytes]] = (),
    digest: HashAlgorithm | None = None,
) -> str:
    """Make a signed request; without names it has no subjectAltName."""
    subject = [x509.NameAttribute(NameOID.COMMON_NAME, name) for name in common_names]
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(subject))
    wanted = list(names)
    if wanted:
        builder = builder.add_extension(alternative_names(wanted), critical=False)
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    for oid, value in attributes:
        builder = builder.add_attribute(oid, value)
    digests_itself = isinstance(key, Ed25519PrivateKey | Ed448PrivateKey)
    algorithm = None if digests_itself else digest or SHA256()
    return builder.sign(key, algorithm).public_bytes(Encoding.PEM).decode()


def checked(
    names: Sequence[str] = ("relay.example.org", "127.0.0.1"), key: RelayPrivateKey = KEY
) -> CheckedRequest:
    """Return a request that was allowed."""
    return read_request(request(names, key=key), AllowedNames.of(RELAY_ID, names))


def der(pem: str) -> bytes:
    """Return a request's bytes."""
    return x509.load_pem_x509_csr(pem.encode()).public_bytes(Encoding.DER)


def armoured(content: bytes) -> str:
    """Put bytes into PEM as if they were a request."""
    text = base64.encodebytes(content).decode()
    return f"-----BEGIN CERTIFICATE REQUEST-----\n{text}-----END CERTIFICATE REQUEST-----\n"


def private_pem(key: RelayPrivateKey) -> bytes:
    """Write a relay's key as TLS servers take it."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
