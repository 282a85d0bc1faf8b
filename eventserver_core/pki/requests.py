"""Certificate signing requests (PKCS#10, RFC 2986): read, and held against what a relay may ask.

What is in a request is only ever compared. The certificate is made from the result here, so that
nothing gets into it by being copied.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, TypeAlias

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.dsa import DSAPublicKey
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from eventserver_core.pki.names import AllowedNames, HostName, normalized
from eventserver_core.pki.refusals import (
    CaNotAllowedError,
    ExtensionNotAllowedError,
    KeyNotAllowedError,
    NameNotAllowedError,
    TooManyNamesError,
    UnreadableRequestError,
    WeakKeyError,
)

MAX_SIZE: Final = 1024 * 1024
"""Characters of PEM: far more than 16 names take."""
MAX_NAMES: Final = 16

RelayKey: TypeAlias = EllipticCurvePublicKey | Ed25519PublicKey

_TAKEN: Final = "expected an EC key of the curve P-256, or an Ed25519 key"
_MIN_RSA_BITS: Final = 2048
_MIN_CURVE_BITS: Final = 256
_MIN_DIGEST_BYTES: Final = 32
_PURPOSES: Final = {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
_EXTENSION_ATTRIBUTES: Final = {
    ObjectIdentifier("1.2.840.113549.1.9.14"),
    ObjectIdentifier("1.3.6.1.4.1.311.2.1.14"),  # Microsoft's own number for the same
}
_MAX_SHOWN: Final = 100
_UNREADABLE: Final = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.AttributeNotFound,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    UserWarning,  # of a subject's odd lengths, where warnings are made errors
)


@dataclass(frozen=True, slots=True)
class CheckedRequest:
    """What a certificate may be made from.

    Attributes:
        public_key: the key that signed the request.
        jwk: the same as a public JWK (RFC 7517), for the relay's other certificate.
        names: host names and IP addresses, each of which was allowed, each once; all that are
            allowed where the request has none, as of a machine that doesn't know its own.
    """

    public_key: RelayKey
    jwk: Mapping[str, str]
    names: tuple[HostName, ...]


def read_request(pem: str, allowed: AllowedNames) -> CheckedRequest:
    """Read a request and hold it against what its sender may ask for.

    Args:
        pem: one PKCS#10 request.
        allowed: the names it may ask for.

    Raises:
        RefusedRequestError: a subclass, whose ``code`` says why.
    """
    csr, extensions, subject = _parse(pem)
    names = _requested_names(extensions)
    key = _relay_key(csr)
    _check_signature(csr)
    for extension in extensions:
        _check_extension(extension)
    _check_names(subject, names, allowed)
    asked = (normalized(name) for name in names if isinstance(name, HostName))
    kept = asked if names else allowed.all()
    return CheckedRequest(key, _jwk(key), tuple(dict.fromkeys(kept)))


@contextmanager
def _reading() -> Iterator[None]:
    """Turn whatever the library says about hostile bytes into the one refusal."""
    message = "the request is not a PKCS#10 certificate signing request"
    try:
        yield
    except x509.UnsupportedGeneralNameType as ex:
        raise NameNotAllowedError(
            "a name in the request is neither a DNS name nor an IP address"
        ) from ex
    except _UNREADABLE as ex:
        raise UnreadableRequestError(message) from ex
    except BaseException as ex:
        # a failed assertion in the library's Rust comes as a class that can't be imported
        if type(ex).__name__ == "PanicException":
            raise UnreadableRequestError(message) from ex
        raise


def _parse(pem: str) -> tuple[x509.CertificateSigningRequest, x509.Extensions, x509.Name]:
    if len(pem) > MAX_SIZE:
        raise UnreadableRequestError(f"the request is longer than {MAX_SIZE} bytes")
    if pem.count("-----BEGIN ") != 1:  # the library takes the first, and leaves a second unread
        raise UnreadableRequestError(
            "expected one certificate signing request in PEM, and nothing else in PEM with it"
        )
    with _reading():
        csr = x509.load_pem_x509_csr(pem.encode("ascii"))
        asked = [one for one in csr.attributes if one.oid in _EXTENSION_ATTRIBUTES]
        if len(asked) > 1:  # the library takes the first
            raise UnreadableRequestError("the request asks for extensions more than once")
        return csr, csr.extensions, csr.subject


def _requested_names(extensions: x509.Extensions) -> list[x509.GeneralName]:
    names = [
        name
        for extension in extensions
        if isinstance(extension.value, x509.SubjectAlternativeName)
        for name in extension.value
    ]
    if len(names) > MAX_NAMES:
        raise TooManyNamesError(f"the request has {len(names)} names; at most {MAX_NAMES} may be")
    return names


def _relay_key(csr: x509.CertificateSigningRequest) -> RelayKey:
    try:
        with _reading():
            key = csr.public_key()
    except UnreadableRequestError as ex:
        if isinstance(ex.__cause__, UnsupportedAlgorithm):
            raise KeyNotAllowedError(f"the key is of an unknown kind; {_TAKEN}") from ex
        raise
    if isinstance(key, RSAPublicKey | DSAPublicKey) and key.key_size < _MIN_RSA_BITS:
        raise WeakKeyError(f"the key has {key.key_size} bits, which can be broken; {_TAKEN}")
    if isinstance(key, EllipticCurvePublicKey) and key.key_size < _MIN_CURVE_BITS:
        raise WeakKeyError(f"the curve {key.curve.name} can be broken; {_TAKEN}")
    if isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1):
        return key
    if isinstance(key, Ed25519PublicKey):
        return key
    raise KeyNotAllowedError(f"the key is of a kind that is not taken; {_TAKEN}")


def _check_signature(csr: x509.CertificateSigningRequest) -> None:
    """Hold the sender to having the private key; an old digest could be anybody's signature."""
    with _reading():
        digest = csr.signature_hash_algorithm
        if digest is not None and digest.digest_size < _MIN_DIGEST_BYTES:
            raise UnreadableRequestError(
                f"the request is signed over {digest.name}; sign it over sha256"
            )
        if not csr.is_signature_valid:
            raise UnreadableRequestError("the request is not signed by the key that is in it")


def _check_extension(extension: x509.Extension[x509.ExtensionType]) -> None:
    value = extension.value
    match value:
        case x509.SubjectAlternativeName() | x509.SubjectKeyIdentifier():
            return
        case x509.BasicConstraints():
            if value.ca:
                raise CaNotAllowedError("the request asks for a certificate authority's (CA:TRUE)")
        case x509.KeyUsage():
            if value.key_cert_sign or value.crl_sign:
                raise CaNotAllowedError("the request asks for a key usage that certifies others")
        case x509.ExtendedKeyUsage():
            if more := [purpose.dotted_string for purpose in value if purpose not in _PURPOSES]:
                raise ExtensionNotAllowedError(
                    "the request asks for extended key usages other than serverAuth, clientAuth",
                    more,
                )
        case _:
            raise ExtensionNotAllowedError(
                f"the request asks for the extension {extension.oid.dotted_string}; it may have "
                "subjectAltName, basicConstraints, keyUsage, extendedKeyUsage and "
                "subjectKeyIdentifier"
            )


def _check_names(subject: x509.Name, names: list[x509.GeneralName], allowed: AllowedNames) -> None:
    strange = [_shown(name) for name in names if not allowed.hold(name)]
    for attribute in subject.get_attributes_for_oid(NameOID.COMMON_NAME):
        common_name = attribute.value
        if not isinstance(common_name, str) or not allowed.hold_common_name(common_name):
            strange.append(f"CN {str(common_name)[:_MAX_SHOWN]!r}")
    if strange:
        raise NameNotAllowedError(
            "the request has names that are not this relay's",
            [f"{name} is not a name of this relay" for name in strange],
        )


def _shown(name: x509.GeneralName) -> str:
    return f"{type(name).__name__} {str(name.value)[:_MAX_SHOWN]!r}"


def _jwk(key: RelayKey) -> dict[str, str]:
    if isinstance(key, Ed25519PublicKey):
        return {"kty": "OKP", "crv": "Ed25519", "x": _base64url(key.public_bytes_raw())}
    point = key.public_numbers()
    x, y = (_base64url(number.to_bytes(32)) for number in (point.x, point.y))
    return {"kty": "EC", "crv": "P-256", "x": x, "y": y}


def _base64url(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode("ascii")
