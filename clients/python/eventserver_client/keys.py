"""Keys of relays and admins: kept in a file, said as JWKs, put into signing requests."""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import json
import os
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

SigningKey = EllipticCurvePrivateKey | Ed25519PrivateKey
"""EC P-256 or Ed25519: what EventServer takes."""


def make_key() -> EllipticCurvePrivateKey:
    """Make an EC P-256 key."""
    return generate_private_key(SECP256R1())


def save_key(path: Path, key: SigningKey) -> None:
    """Write a key to a new file that only its owner may read, whole or not at all.

    Raises:
        FileExistsError: the file is there already; it is left as it is.
    """
    content = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    part = path.with_name(f".{path.name}.{uuid.uuid4()}")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.link(part, path)  # unlike a rename, never over a key that is there
    finally:
        part.unlink()
    _sync(path.parent)


def load_key(path: Path) -> SigningKey:
    """Read a key from a PEM file without a password.

    Raises:
        OSError: the file can't be read.
        ValueError: it has no such key.
    """
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except TypeError as ex:
        raise ValueError(f"{path}: the key has a password") from ex
    if isinstance(key, EllipticCurvePrivateKey) and isinstance(key.curve, SECP256R1):
        return key
    if isinstance(key, Ed25519PrivateKey):
        return key
    raise ValueError(f"{path}: the key is neither EC P-256 nor Ed25519")


def load_or_make_key(path: Path) -> SigningKey:
    """Read the key in a file; where there is none, make one and keep it there."""
    if not path.exists():
        with suppress(FileExistsError):  # another process was first, and its key counts
            save_key(path, make_key())
    return load_key(path)


def public_jwk(key: SigningKey) -> dict[str, str]:
    """Return a key's public part as a JWK (RFC 7517)."""
    public = key.public_key()
    if isinstance(public, EllipticCurvePublicKey):
        point = public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        return {
            "kty": "EC",
            "crv": "P-256",
            "x": encode_base64url(point[1:33]),
            "y": encode_base64url(point[33:]),
        }
    raw = public.public_bytes(Encoding.Raw, PublicFormat.Raw)
    return {"kty": "OKP", "crv": "Ed25519", "x": encode_base64url(raw)}


def thumbprint(jwk: Mapping[str, object]) -> str:
    """Return a public key's SHA-256 thumbprint (RFC 7638), in base64url.

    Raises:
        ValueError: it is no EC or OKP key, or a member lacks.
    """
    members = {"EC": ("crv", "kty", "x", "y"), "OKP": ("crv", "kty", "x")}.get(str(jwk.get("kty")))
    if members is None or not all(isinstance(jwk.get(name), str) for name in members):
        raise ValueError("the JWK is no whole EC or OKP key")
    text = json.dumps({name: jwk[name] for name in members}, separators=(",", ":"))
    return encode_base64url(hashlib.sha256(text.encode()).digest())


def make_csr(key: SigningKey, common_name: str, names: Sequence[str] = ()) -> str:
    """Make a signing request (PKCS #10) for a relay's TLS certificate.

    Args:
        key: the relay's one key.
        common_name: the relay's id.
        names: its DNS names and IP addresses; without any it asks for all that the server has
            on record.

    Returns:
        PEM.

    Raises:
        ValueError: a name is none.
    """
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    if names:
        wanted = x509.SubjectAlternativeName([_general_name(name) for name in names])
        builder = builder.add_extension(wanted, critical=False)
    request = builder.sign(key, None if isinstance(key, Ed25519PrivateKey) else hashes.SHA256())
    return request.public_bytes(Encoding.PEM).decode()


def names_of(certificate_pem: str) -> tuple[str, ...]:
    """Return the DNS names and IP addresses that a TLS certificate is for, as they come in it.

    Args:
        certificate_pem: the certificate, or a chain that begins with it.

    Raises:
        ValueError: it is none.
    """
    extensions = x509.load_pem_x509_certificate(certificate_pem.encode()).extensions
    try:
        names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    kinds = (x509.DNSName, x509.IPAddress)
    return tuple(str(name.value) for name in names if isinstance(name, kinds))


def encode_base64url(content: bytes) -> str:
    """Return bytes in base64url without padding (RFC 7515, section 2)."""
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def decode_base64url(text: str) -> bytes:
    """Return the bytes of a text in base64url without padding.

    Raises:
        ValueError: it is none.
    """
    return base64.urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))


def _sync(directory: Path) -> None:
    """Have a directory's entries outlive a power loss, too."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
