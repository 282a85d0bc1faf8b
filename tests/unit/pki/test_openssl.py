"""What OpenSSL, which many relays and clients are built on, makes of all this."""

from __future__ import annotations

import ssl
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest

from eventserver_core.domain import instant
from eventserver_core.pki.authority import CertificateAuthority, TlsCertificate
from eventserver_core.pki.names import AllowedNames
from eventserver_core.pki.refusals import RefusedRequestError
from eventserver_core.pki.requests import read_request
from eventserver_core.pki.revocation import RevocationReason, RevokedSerial

from .samples import CRL_URL, ED25519_KEY, ISSUER_URL, KEY, RELAY_ID, RelayPrivateKey, checked

pytestmark = pytest.mark.real

DAY = timedelta(days=1)
SPLIT = "-----END CERTIFICATE-----\n"
NAMES = AllowedNames.of(RELAY_ID, ["relay.example.org", "127.0.0.1"])
SAN = "subjectAltName=DNS:relay.example.org,IP:127.0.0.1"


def openssl(*arguments: str | Path, cwd: Path, check: bool = True) -> str:
    done = subprocess.run(
        ["openssl", *map(str, arguments)],
        cwd=cwd,
        check=False,
        capture_output=True,
        text=True,
        timeout=30,
        stdin=subprocess.DEVNULL,
    )
    assert not check or done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def put(
    authority: CertificateAuthority, folder: Path, key: RelayPrivateKey = KEY
) -> TlsCertificate:
    """Issue a certificate, and write what a reader of it has."""
    issued = authority.issue(checked(key=key), RELAY_ID, 30 * DAY, instant.now())
    leaf, issuing, _ = issued.chain_pem.split(SPLIT)
    (folder / "leaf.pem").write_text(leaf + SPLIT)
    (folder / "issuing.pem").write_text(issuing + SPLIT)
    (folder / "root.pem").write_text(authority.root_pem)
    return issued


def verify(folder: Path, *options: str, check: bool = True) -> str:
    trusted = ("-CAfile", "root.pem", "-untrusted", "issuing.pem", "-no-CApath", "-no-CAstore")
    return openssl("verify", *options, *trusted, "leaf.pem", cwd=folder, check=check)


def csr(folder: Path, *options: str, subject: str = f"/CN={RELAY_ID}") -> str:
    openssl(
        *("req", "-new", "-nodes", "-keyout", "key.pem", "-out", "request.pem"),
        *("-subj", subject, *options),
        cwd=folder,
    )
    return (folder / "request.pem").read_text()


@pytest.mark.parametrize("key", [KEY, ED25519_KEY], ids=["p256", "ed25519"])
def test_a_chain_holds_by_the_letter(
    live: CertificateAuthority, tmp_path: Path, key: RelayPrivateKey
) -> None:
    put(live, tmp_path, key)
    assert verify(tmp_path, "-x509_strict", "-purpose", "sslserver") == "leaf.pem: OK\n"


@pytest.mark.parametrize("name", ["-verify_hostname relay.example.org", "-verify_ip 127.0.0.1"])
def test_a_certificate_is_good_for_its_names(
    live: CertificateAuthority, tmp_path: Path, name: str
) -> None:
    put(live, tmp_path)
    assert verify(tmp_path, *name.split()) == "leaf.pem: OK\n"


@pytest.mark.parametrize(
    "name",
    [
        "-verify_hostname other.example.org",
        "-verify_ip 127.0.0.2",
        "-purpose sslclient",
        "-purpose smimesign",
    ],
)
def test_a_certificate_is_good_for_nothing_else(
    live: CertificateAuthority, tmp_path: Path, name: str
) -> None:
    put(live, tmp_path)
    assert "verification failed" in verify(tmp_path, *name.split(), check=False)


def test_another_root_does_not_hold(
    live: CertificateAuthority, authority: CertificateAuthority, tmp_path: Path
) -> None:
    put(live, tmp_path)
    (tmp_path / "root.pem").write_text(authority.root_pem)
    assert "verification failed" in verify(tmp_path, check=False)


def test_a_certificate_reads_as_what_it_is(live: CertificateAuthority, tmp_path: Path) -> None:
    issued = put(live, tmp_path)
    text = openssl("x509", "-in", "leaf.pem", "-noout", "-text", cwd=tmp_path)
    shown = " ".join(text.split())
    for said in (
        "Version: 3 (0x2)",
        f"Subject: CN = {RELAY_ID}",
        "X509v3 Basic Constraints: critical CA:FALSE",
        "X509v3 Key Usage: critical Digital Signature X509v3",
        "X509v3 Extended Key Usage: TLS Web Server Authentication X509v3",
        "X509v3 Subject Alternative Name: DNS:relay.example.org, IP Address:127.0.0.1 X509v3",
        f"URI:{CRL_URL}",
        f"CA Issuers - URI:{ISSUER_URL}",
    ):
        assert said in shown
    serial = openssl("x509", "-in", "leaf.pem", "-noout", "-serial", cwd=tmp_path)
    assert serial.strip().lower() == f"serial={issued.serial_hex}"


def test_a_certificate_ends_when_it_says(live: CertificateAuthority, tmp_path: Path) -> None:
    put(live, tmp_path)
    check = ("x509", "-in", "leaf.pem", "-noout", "-checkend")
    day = 24 * 3600
    assert "will not expire" in openssl(*check, str(29 * day), cwd=tmp_path)
    assert "will expire" in openssl(*check, str(31 * day), cwd=tmp_path, check=False)


def test_a_certificate_holds_until_it_is_on_the_list(
    live: CertificateAuthority, tmp_path: Path
) -> None:
    issued, now = put(live, tmp_path), instant.now()
    other = RevokedSerial("0a", now, RevocationReason.SUPERSEDED)
    own = RevokedSerial(issued.serial_hex, now, RevocationReason.KEY_COMPROMISE)
    with_list = ("-crl_check", "-x509_strict", "-CRLfile", "issuing.crl")
    for revoked in ([], [other]):
        (tmp_path / "issuing.crl").write_bytes(live.revocation_list(revoked, now, DAY, 7))
        assert verify(tmp_path, *with_list) == "leaf.pem: OK\n"
    (tmp_path / "issuing.crl").write_bytes(live.revocation_list([other, own], now, DAY, 7))
    assert "certificate revoked" in verify(tmp_path, *with_list, check=False)


def test_a_list_reads_as_what_it_is(live: CertificateAuthority, tmp_path: Path) -> None:
    now = instant.now()
    revoked = [RevokedSerial("0a1b", now, RevocationReason.CESSATION_OF_OPERATION)]
    (tmp_path / "issuing.crl").write_bytes(live.revocation_list(revoked, now, DAY, 7))
    (tmp_path / "issuing.pem").write_text(ssl.DER_cert_to_PEM_cert(live.issuing_der))
    text = openssl(
        *("crl", "-inform", "DER", "-in", "issuing.crl", "-noout", "-text"),
        *("-CAfile", "issuing.pem"),
        cwd=tmp_path,
    )
    shown = " ".join(text.split())
    assert "verify OK" in shown
    for said in ("Version 2 (0x1)", "Serial Number: 0A1B", "Cessation Of Operation", "CRL Number"):
        assert said in shown


@pytest.mark.parametrize(
    "key",
    [("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"), ("-newkey", "ed25519")],
    ids=["p256", "ed25519"],
)
def test_a_request_that_openssl_made_is_taken(tmp_path: Path, key: tuple[str, ...]) -> None:
    pem = csr(tmp_path, *key, "-addext", SAN)
    assert [str(name.value) for name in read_request(pem, NAMES).names] == [
        "relay.example.org",
        "127.0.0.1",
    ]


def test_a_request_with_its_text_and_another_subject_is_taken(tmp_path: Path) -> None:
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-text")
    subject = "/C=NL/O=Sample/CN=relay.example.org"
    assert read_request(csr(tmp_path, *key, "-addext", SAN, subject=subject), NAMES).names


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (("-newkey", "rsa:1024"), "csr_weak_key"),
        (("-newkey", "rsa:2048"), "csr_key_not_allowed"),
        (("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:secp224r1"), "csr_weak_key"),
        (("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:sect283k1"), "csr_key_not_allowed"),
        (("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-sha1"), "csr_invalid"),
        (("-newkey", "ed25519", "-addext", "basicConstraints=CA:TRUE"), "csr_ca_not_allowed"),
        (("-newkey", "ed25519", "-addext", "keyUsage=keyCertSign"), "csr_ca_not_allowed"),
        (("-newkey", "ed25519", "-addext", "1.2.3.4=ASN1:NULL"), "csr_extension_not_allowed"),
    ],
    ids=["rsa-1024", "rsa-2048", "p224", "sect283k1", "sha1", "ca", "cert-sign", "unknown"],
)
def test_a_request_that_openssl_made_badly_is_refused(
    tmp_path: Path, options: tuple[str, ...], code: str
) -> None:
    with pytest.raises(RefusedRequestError) as caught:
        read_request(csr(tmp_path, *options, "-addext", SAN), NAMES)
    assert caught.value.code == code


def test_the_encrypted_key_opens_with_the_passphrase_only(made: Path, tmp_path: Path) -> None:
    def opened(passphrase: str) -> str:
        key = made / "issuing.key"
        command = ("pkey", "-in", key, "-passin", f"pass:{passphrase}", "-noout", "-check")
        return openssl(*command, cwd=tmp_path, check=False)

    assert "Key is valid" in opened("a passphrase for tests only")
    assert "Key is valid" not in opened("another")
