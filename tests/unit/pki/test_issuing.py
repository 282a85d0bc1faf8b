"""Issued certificates: RFC 5280's profile, and nothing of the request but its key and names."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import (
    AuthorityInformationAccessOID,
    ExtendedKeyUsageOID,
    ExtensionOID,
    NameOID,
)

from eventserver_core.errors import ConfigurationError
from eventserver_core.pki.authority import CertificateAuthority, TlsCertificate
from eventserver_core.pki.names import AllowedNames
from eventserver_core.pki.requests import read_request

from .samples import (
    CRL_URL,
    ED25519_KEY,
    ISSUER_URL,
    KEY,
    NOW,
    PASSPHRASE,
    RELAY_ID,
    RelayPrivateKey,
    checked,
    request,
)

DAY = timedelta(days=1)
ISSUING_END = NOW + timedelta(days=5 * 365)


def chain(issued: TlsCertificate) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(issued.chain_pem.encode())


@pytest.fixture
def issued(authority: CertificateAuthority) -> TlsCertificate:
    return authority.issue(checked(), RELAY_ID, 30 * DAY, NOW)


@pytest.fixture
def leaf(issued: TlsCertificate) -> x509.Certificate:
    return chain(issued)[0]


def test_a_chain_is_the_certificate_and_the_issuing_one(
    authority: CertificateAuthority, issued: TlsCertificate
) -> None:
    leaf, issuing = chain(issued)
    leaf.verify_directly_issued_by(issuing)
    issuing.verify_directly_issued_by(x509.load_der_x509_certificate(authority.root_der))
    assert issuing == x509.load_der_x509_certificate(authority.issuing_der)
    assert "PRIVATE" not in issued.chain_pem


def test_what_is_told_is_what_is_in_the_certificate(
    issued: TlsCertificate, leaf: x509.Certificate
) -> None:
    assert int(issued.serial_hex, 16) == leaf.serial_number
    assert issued.serial_hex == issued.serial_hex.lower()
    assert len(issued.serial_hex) % 2 == 0
    assert issued.not_before == leaf.not_valid_before_utc == NOW - timedelta(minutes=5)
    assert issued.not_after == leaf.not_valid_after_utc == NOW + 30 * DAY
    assert issued.names == ("relay.example.org", "127.0.0.1")


def test_the_profile_is_that_of_a_tls_server(leaf: x509.Certificate) -> None:
    assert leaf.version is x509.Version.v3
    assert isinstance(leaf.signature_hash_algorithm, SHA256)
    by_oid = {extension.oid: extension for extension in leaf.extensions}
    assert {oid for oid, extension in by_oid.items() if extension.critical} == {
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.KEY_USAGE,
    }
    constraints = by_oid[ExtensionOID.BASIC_CONSTRAINTS].value
    assert constraints == x509.BasicConstraints(ca=False, path_length=None)
    usage = by_oid[ExtensionOID.KEY_USAGE].value
    assert isinstance(usage, x509.KeyUsage)
    assert usage.digital_signature
    assert not any(
        (
            usage.content_commitment,
            usage.key_encipherment,
            usage.data_encipherment,
            usage.key_agreement,
            usage.key_cert_sign,
            usage.crl_sign,
        )
    )
    purposes = by_oid[ExtensionOID.EXTENDED_KEY_USAGE].value
    assert purposes == x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])


def test_the_key_identifiers_link_it_to_the_issuer(
    authority: CertificateAuthority, leaf: x509.Certificate
) -> None:
    issuing = x509.load_der_x509_certificate(authority.issuing_der)
    own = leaf.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    theirs = leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    issuers = issuing.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    assert own == x509.SubjectKeyIdentifier.from_public_key(KEY.public_key())
    assert theirs.key_identifier == issuers.digest


def test_it_says_where_the_list_and_the_issuer_are(leaf: x509.Certificate) -> None:
    points = leaf.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    assert [point.full_name for point in points] == [[x509.UniformResourceIdentifier(CRL_URL)]]
    access = leaf.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    assert [(one.access_method, one.access_location.value) for one in access] == [
        (AuthorityInformationAccessOID.CA_ISSUERS, ISSUER_URL)
    ]


def test_without_addresses_it_says_nothing_of_them(made: Path) -> None:
    quiet = CertificateAuthority.load(made, PASSPHRASE, crl_url=None, issuer_url=None, now=NOW)
    leaf = chain(quiet.issue(checked(), RELAY_ID, DAY, NOW))[0]
    oids = {extension.oid for extension in leaf.extensions}
    assert ExtensionOID.CRL_DISTRIBUTION_POINTS not in oids
    assert ExtensionOID.AUTHORITY_INFORMATION_ACCESS not in oids


@pytest.mark.parametrize("key", [KEY, ED25519_KEY], ids=["p256", "ed25519"])
def test_it_binds_the_requests_key(authority: CertificateAuthority, key: RelayPrivateKey) -> None:
    leaf = chain(authority.issue(checked(key=key), RELAY_ID, DAY, NOW))[0]
    assert leaf.public_key() == key.public_key()


def test_nothing_else_of_the_request_gets_in(authority: CertificateAuthority) -> None:
    allowed = AllowedNames.of(RELAY_ID, ["relay.example.org", "10.0.0.7"])
    purposes = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    asked = request(
        ["relay.example.org"],
        common_names=["10.0.0.7"],
        extensions=[(x509.ExtendedKeyUsage(purposes), True)],
    )
    leaf = chain(authority.issue(read_request(asked, allowed), RELAY_ID, DAY, NOW))[0]
    assert [(one.oid, one.value) for one in leaf.subject] == [(NameOID.COMMON_NAME, RELAY_ID)]
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(names) == [x509.DNSName("relay.example.org")]
    usage = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.SERVER_AUTH]


def test_serial_numbers_are_long_and_never_the_same(authority: CertificateAuthority) -> None:
    request = checked()
    serials = {authority.issue(request, RELAY_ID, DAY, NOW).serial_hex for _ in range(50)}
    assert len(serials) == 50
    assert all(0 < int(serial, 16) < 2**159 for serial in serials)
    assert max(int(serial, 16) for serial in serials).bit_length() > 128


def test_it_never_outlives_the_issuing_certificate(authority: CertificateAuthority) -> None:
    issued = authority.issue(checked(), RELAY_ID, 90 * DAY, ISSUING_END - 30 * DAY)
    assert issued.not_after == chain(issued)[0].not_valid_after_utc == ISSUING_END


def test_it_never_begins_before_the_issuing_certificate(authority: CertificateAuthority) -> None:
    issued = authority.issue(checked(), RELAY_ID, DAY, NOW - timedelta(minutes=2))
    assert issued.not_before == NOW - timedelta(minutes=5)


def test_on_its_last_day_the_issuing_certificate_issues_nothing(
    authority: CertificateAuthority,
) -> None:
    assert authority.issue(checked(), RELAY_ID, DAY, ISSUING_END - DAY)
    with pytest.raises(ConfigurationError, match="last day"):
        authority.issue(checked(), RELAY_ID, DAY, ISSUING_END - DAY + timedelta(seconds=1))


def test_a_common_name_has_at_most_64_characters(authority: CertificateAuthority) -> None:
    assert authority.issue(checked(), "x" * 64, DAY, NOW)
    for common_name in ("", "x" * 65):
        with pytest.raises(ValueError):
            authority.issue(checked(), common_name, DAY, NOW)


def test_the_fingerprint_is_the_digest_of_the_root(authority: CertificateAuthority) -> None:
    assert authority.fingerprint == hashlib.sha256(authority.root_der).hexdigest()
    root = x509.load_pem_x509_certificate(authority.root_pem.encode())
    assert root == x509.load_der_x509_certificate(authority.root_der)
