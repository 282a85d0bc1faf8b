"""Revocation lists."""

from __future__ import annotations

from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtensionOID

from eventserver_core.domain.instant import to_milliseconds
from eventserver_core.pki.authority import CertificateAuthority
from eventserver_core.pki.profile import CLOCK_SKEW
from eventserver_core.pki.revocation import RevocationReason, RevokedSerial

from .samples import NOW

DAY = timedelta(days=1)
SERIALS = ["0a", "7f" + "00" * 18 + "01", "7f01", "01"]


def crl(authority: CertificateAuthority, *revoked: RevokedSerial) -> x509.CertificateRevocationList:
    return x509.load_der_x509_crl(authority.revocation_list(revoked, NOW, DAY, 7))


def gone(serial: str, reason: RevocationReason = RevocationReason.UNSPECIFIED) -> RevokedSerial:
    return RevokedSerial(serial, NOW - DAY, reason)


def test_an_empty_list_is_signed_and_dated(authority: CertificateAuthority) -> None:
    found = crl(authority)
    issuing = x509.load_der_x509_certificate(authority.issuing_der)
    assert found.is_signature_valid(issuing.public_key())  # type: ignore[arg-type]
    assert found.issuer == issuing.subject
    assert (found.last_update_utc, found.next_update_utc) == (NOW - CLOCK_SKEW, NOW + DAY)
    assert list(found) == []


def test_a_list_names_its_issuer_and_has_a_number(authority: CertificateAuthority) -> None:
    extensions = {extension.oid: extension for extension in crl(authority).extensions}
    assert set(extensions) == {ExtensionOID.AUTHORITY_KEY_IDENTIFIER, ExtensionOID.CRL_NUMBER}
    number = extensions[ExtensionOID.CRL_NUMBER].value
    assert number == x509.CRLNumber((7 << 48) + to_milliseconds(NOW))
    issuing = x509.load_der_x509_certificate(authority.issuing_der)
    own = issuing.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    identifier = extensions[ExtensionOID.AUTHORITY_KEY_IDENTIFIER].value
    assert isinstance(identifier, x509.AuthorityKeyIdentifier)
    assert identifier.key_identifier == own.digest


def test_a_later_list_has_a_higher_number(authority: CertificateAuthority) -> None:
    numbers = [
        x509.load_der_x509_crl(authority.revocation_list([], NOW + later, DAY, 7))
        .extensions.get_extension_for_class(x509.CRLNumber)
        .value.crl_number
        for later in (timedelta(), timedelta(milliseconds=1), timedelta(seconds=1))
    ]
    assert numbers == sorted(set(numbers))


def test_a_list_after_something_was_done_has_a_higher_number_whatever_the_clock_says(
    authority: CertificateAuthority,
) -> None:
    before, after = (
        x509.load_der_x509_crl(authority.revocation_list([], NOW - DAY * sequence, DAY, sequence))
        .extensions.get_extension_for_class(x509.CRLNumber)
        .value.crl_number
        for sequence in (1, 2)
    )
    assert before < after


def test_entries_are_sorted_by_serial_number(authority: CertificateAuthority) -> None:
    found = [entry.serial_number for entry in crl(authority, *map(gone, SERIALS))]
    assert found == sorted(int(serial, 16) for serial in SERIALS)


def test_what_is_not_on_the_list_is_not_found(authority: CertificateAuthority) -> None:
    found = crl(authority, gone("0a"))
    entry = found.get_revoked_certificate_by_serial_number(10)
    assert entry is not None
    assert entry.revocation_date_utc == NOW - DAY
    assert found.get_revoked_certificate_by_serial_number(11) is None


@pytest.mark.parametrize("reason", list(RevocationReason))
def test_a_reason_is_said_unless_there_is_none(
    authority: CertificateAuthority, reason: RevocationReason
) -> None:
    (entry,) = crl(authority, gone("0a", reason))
    said = [extension.value for extension in entry.extensions]
    if reason is RevocationReason.UNSPECIFIED:
        assert said == []
    else:
        assert said == [x509.CRLReason(x509.ReasonFlags(reason.value))]
