"""A relay's certificate in real TLS, over loopback."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from eventserver_core.domain import instant
from eventserver_core.pki.authority import CertificateAuthority
from eventserver_core.pki.profile import relay_certificate
from eventserver_core.pki.revocation import RevocationReason, RevokedSerial

from .samples import ED25519_KEY, KEY, RELAY_ID, RelayPrivateKey, checked, private_pem

DAY = timedelta(days=1)
NAMES = ("relay.example.org", "127.0.0.1")
GREETING = b"hello"


@contextmanager
def relay(chain_pem: str, key: RelayPrivateKey, folder: Path) -> Iterator[int]:
    """Serve TLS with a certificate, one client after the other, on the port that is yielded."""
    (folder / "relay.pem").write_bytes(private_pem(key) + chain_pem.encode())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "relay.pem")

    def serve() -> None:
        while True:
            try:
                raw, _ = listener.accept()
            except OSError:
                return
            with suppress(OSError), raw:
                raw.settimeout(10)
                with context.wrap_socket(raw, server_side=True) as client:
                    client.sendall(GREETING)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def trusting(root_pem: str) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=root_pem)
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    return context


def greeting(port: int, context: ssl.SSLContext, name: str) -> bytes:
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as raw,
        context.wrap_socket(raw, server_hostname=name) as connection,
    ):
        return connection.recv(100)


@pytest.fixture
def port(live: CertificateAuthority, tmp_path: Path) -> Iterator[int]:
    issued = live.issue(checked(NAMES), RELAY_ID, DAY, instant.now())
    with relay(issued.chain_pem, KEY, tmp_path) as port:
        yield port


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("key", [KEY, ED25519_KEY], ids=["p256", "ed25519"])
def test_a_client_that_trusts_the_root_connects_by_each_name(
    live: CertificateAuthority, tmp_path: Path, key: RelayPrivateKey, name: str
) -> None:
    issued = live.issue(checked(NAMES, key), RELAY_ID, DAY, instant.now())
    with relay(issued.chain_pem, key, tmp_path) as port:
        assert greeting(port, trusting(live.root_pem), name) == GREETING


@pytest.mark.parametrize("name", ["other.example.org", "127.0.0.2", RELAY_ID, "localhost"])
def test_a_name_that_is_not_in_the_certificate_is_refused(
    live: CertificateAuthority, port: int, name: str
) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
        greeting(port, trusting(live.root_pem), name)


def test_a_client_with_another_root_refuses(authority: CertificateAuthority, port: int) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="local issuer"):
        greeting(port, trusting(authority.root_pem), NAMES[0])


def test_a_client_that_reads_the_list_refuses_what_is_on_it(
    live: CertificateAuthority, tmp_path: Path
) -> None:
    now = instant.now()
    issued = live.issue(checked(NAMES), RELAY_ID, DAY, now)
    gone = RevokedSerial(issued.serial_hex, now, RevocationReason.CESSATION_OF_OPERATION)

    def informed(*revoked: RevokedSerial) -> ssl.SSLContext:
        context = trusting(live.root_pem)
        crl = ssl.DER_cert_to_PEM_cert(live.revocation_list(revoked, now, DAY, 7))
        path = tmp_path / "issuing.crl"
        path.write_text(crl.replace("CERTIFICATE", "X509 CRL"))
        context.load_verify_locations(path)
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
        return context

    with relay(issued.chain_pem, KEY, tmp_path) as port:
        assert greeting(port, informed(), NAMES[0]) == GREETING
        with pytest.raises(ssl.SSLCertVerificationError, match="revoked"):
            greeting(port, informed(gone), NAMES[0])


def test_a_relays_certificate_vouches_for_no_other(
    live: CertificateAuthority, tmp_path: Path
) -> None:
    now = instant.now()
    own = live.issue(checked(NAMES), RELAY_ID, DAY, now)
    leaf = x509.load_pem_x509_certificate(own.chain_pem.encode())
    names = checked(["other.example.org"]).names
    period = (own.not_before, own.not_after)
    forged = relay_certificate("other", leaf, KEY.public_key(), period, names).sign(KEY, SHA256())
    chain = forged.public_bytes(Encoding.PEM).decode() + own.chain_pem
    with (
        relay(chain, KEY, tmp_path) as port,
        pytest.raises(ssl.SSLCertVerificationError, match=r"invalid CA certificate|key usage"),
    ):
        greeting(port, trusting(live.root_pem), "other.example.org")
