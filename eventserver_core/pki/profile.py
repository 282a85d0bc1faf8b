"""What certificates look like: RFC 5280's profile, as far as this authority uses it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID

from eventserver_core.pki.names import HostName

CLOCK_SKEW: Final = timedelta(minutes=5)
"""How far back a certificate begins, for those whose clock is slow."""
MAX_COMMON_NAME: Final = 64


def named(common_name: str) -> x509.Name:
    """Return a subject that has a common name only.

    Raises:
        ValueError: it is empty, or longer than 64 characters.
    """
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def authority_key(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    """Return the extension that says which certificate's key signed."""
    identifier = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier.value)


def authority_certificate(
    subject: str,
    issuer: str,
    public_key: EllipticCurvePublicKey,
    period: tuple[datetime, datetime],
    path_length: int,
) -> x509.CertificateBuilder:
    """Shape a certificate that signs others.

    Args:
        subject: its own name.
        issuer: the name of who signs it; of a root, its own.
        public_key: what its signatures are checked with.
        period: its first and its last moment.
        path_length: how many authorities may follow below it.
    """
    return (
        _certificate(named(subject), named(issuer), public_key, period)
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(_key_usage(key_cert_sign=True, crl_sign=True), critical=True)
    )


def relay_certificate(
    common_name: str,
    issuer: x509.Certificate,
    public_key: EllipticCurvePublicKey | Ed25519PublicKey,
    period: tuple[datetime, datetime],
    names: Iterable[HostName],
) -> x509.CertificateBuilder:
    """Shape a certificate that a relay serves TLS with, and can do nothing else with.

    Args:
        common_name: the relay's id.
        issuer: the certificate whose key signs it.
        public_key: the relay's.
        period: its first and its last moment.
        names: what it is good for; readers go by these and not by the common name.

    Raises:
        ValueError: the common name is empty, or longer than 64 characters.
    """
    purposes = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    return (
        _certificate(named(common_name), issuer.subject, public_key, period)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(digital_signature=True), critical=True)
        .add_extension(purposes, critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(authority_key(issuer), critical=False)
    )


def published(crl_url: str | None, issuer_url: str | None) -> list[x509.ExtensionType]:
    """Return the extensions that say where the revocation list and the issuer's certificate are.

    Raises:
        ValueError: an address is not ASCII.
    """
    found: list[x509.ExtensionType] = []
    if crl_url:
        place = x509.UniformResourceIdentifier(crl_url)
        found.append(
            x509.CRLDistributionPoints([x509.DistributionPoint([place], None, None, None)])
        )
    if issuer_url:
        place = x509.UniformResourceIdentifier(issuer_url)
        issuers = x509.AccessDescription(AuthorityInformationAccessOID.CA_ISSUERS, place)
        found.append(x509.AuthorityInformationAccess([issuers]))
    return found


def _certificate(
    subject: x509.Name,
    issuer: x509.Name,
    public_key: EllipticCurvePublicKey | Ed25519PublicKey,
    period: tuple[datetime, datetime],
) -> x509.CertificateBuilder:
    identifier = x509.SubjectKeyIdentifier.from_public_key(public_key)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(period[0])
        .not_valid_after(period[1])
        .add_extension(identifier, critical=False)
    )


def _key_usage(
    *, digital_signature: bool = False, key_cert_sign: bool = False, crl_sign: bool = False
) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        encipher_only=False,
        decipher_only=False,
    )


def common_name(certificate: x509.Certificate) -> str:
    """Return the name that an authority's certificate has."""
    (attribute,) = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(attribute.value)
