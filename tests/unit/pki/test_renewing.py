"""Another issuing certificate, by the root that everybody trusts already."""

from __future__ import annotations

import stat
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509

from eventserver_core.errors import ConfigurationError
from eventserver_core.pki.authority import CertificateAuthority, renew_issuing
from eventserver_core.pki.requests import read_request

from .samples import ALLOWED, NOW, PASSPHRASE, RELAY_ID, request

YEARS = timedelta(days=365)


def load(directory: Path, now: object = NOW) -> CertificateAuthority:
    return CertificateAuthority.load(
        directory,
        PASSPHRASE,
        crl_url=None,
        issuer_url=None,
        now=now,  # type: ignore[arg-type]
    )


def chain(authority: CertificateAuthority, now: object = NOW) -> list[x509.Certificate]:
    issued = authority.issue(
        read_request(request(), ALLOWED),
        RELAY_ID,
        timedelta(days=30),
        now,  # type: ignore[arg-type]
    )
    return x509.load_pem_x509_certificates(issued.chain_pem.encode())


def test_the_root_stays_and_what_was_issued_holds(directory: Path) -> None:
    before = load(directory)
    leaf, old = chain(before)
    renew_issuing(directory, PASSPHRASE, NOW)
    after = load(directory)
    assert after.root_pem == before.root_pem
    assert after.issuing_der != before.issuing_der
    root = x509.load_der_x509_certificate(after.root_der)
    leaf.verify_directly_issued_by(old)
    old.verify_directly_issued_by(root)
    new_leaf, new = chain(after)
    new_leaf.verify_directly_issued_by(new)
    new.verify_directly_issued_by(root)
    assert new.subject == old.subject
    assert new.serial_number != old.serial_number


def test_the_present_ones_are_kept(directory: Path) -> None:
    files = {name: (directory / name).read_bytes() for name in ("issuing.key", "issuing.crt")}
    renew_issuing(directory, PASSPHRASE, NOW)
    (key,), (certificate,) = (list(directory.glob(f"issuing-*.{end}")) for end in ("key", "crt"))
    assert key.read_bytes() == files["issuing.key"]
    assert certificate.read_bytes() == files["issuing.crt"]
    for path in directory.glob("*.key"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert b"ENCRYPTED" in path.read_bytes()
    assert not [path for path in directory.iterdir() if path.name.startswith(".")]


def test_one_that_has_ended_is_renewed(directory: Path) -> None:
    later = NOW + 6 * YEARS
    with pytest.raises(ConfigurationError):
        load(directory, later)
    renew_issuing(directory, PASSPHRASE, later)
    leaf, issuing = chain(load(directory, later), later)
    leaf.verify_directly_issued_by(issuing)


def test_it_ends_with_the_root_at_the_latest(directory: Path) -> None:
    later = NOW + 18 * YEARS
    renew_issuing(directory, PASSPHRASE, later)
    authority = load(directory, later)
    root, issuing = map(x509.load_der_x509_certificate, (authority.root_der, authority.issuing_der))
    assert issuing.not_valid_after_utc == root.not_valid_after_utc


def test_it_can_be_done_again(directory: Path) -> None:
    for _ in range(3):
        renew_issuing(directory, PASSPHRASE, NOW)
    assert len(list(directory.glob("issuing-*.crt"))) == 3
    load(directory)


def test_without_the_roots_key_nothing_changes(directory: Path) -> None:
    (directory / "root.key").unlink()
    before = {path.name: path.read_bytes() for path in directory.iterdir()}
    with pytest.raises(ConfigurationError, match="bring the root's key back"):
        renew_issuing(directory, PASSPHRASE, NOW)
    with pytest.raises(ConfigurationError):
        renew_issuing(directory.parent / "nowhere", PASSPHRASE, NOW)
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == before


def test_with_another_key_or_passphrase_nothing_changes(directory: Path) -> None:
    with pytest.raises(ConfigurationError, match="passphrase"):
        renew_issuing(directory, b"another", NOW)
    (directory / "root.key").write_bytes((directory / "issuing.key").read_bytes())
    before = {path.name: path.read_bytes() for path in directory.iterdir()}
    with pytest.raises(ConfigurationError, match="not the key of"):
        renew_issuing(directory, PASSPHRASE, NOW)
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == before


def test_a_root_that_has_ended_signs_nothing(directory: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"root\.crt"):
        renew_issuing(directory, PASSPHRASE, NOW + 21 * YEARS)
