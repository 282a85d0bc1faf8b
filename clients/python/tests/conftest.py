"""What the tests share: a server whose answers are scripted, and clients in a hurry."""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from eventserver_client import AdminClient, Client, RelayClient, RetryPolicy
from eventserver_client.keys import make_key, save_key
from eventserver_client.testing import Reply, ScriptedServer

HASTY = RetryPolicy(deadline=30, first_wait=0.01, longest_wait=0.05)


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    """Return a real server on loopback that answers as it is told."""
    with ScriptedServer() as running:
        yield running


@pytest.fixture
def client(server: ScriptedServer) -> Iterator[Client]:
    """Return a client with a certificate."""
    with Client(server.url, "a-certificate", retry=HASTY) as made:
        yield made


@pytest.fixture
def relay(server: ScriptedServer) -> Iterator[RelayClient]:
    """Return a relay's client."""
    with RelayClient(server.url, "a-certificate", retry=HASTY) as made:
        yield made


@pytest.fixture
def admin(server: ScriptedServer) -> Iterator[AdminClient]:
    """Return an admin's client; its certificate names ``admin-1``."""
    # {"alg":"ES256"}.{"sub":"admin-1"}: nobody checks it here
    certificate = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhZG1pbi0xIn0.c2lnbmF0dXJl"
    with AdminClient(server.url, certificate, retry=HASTY) as made:
        yield made


@pytest.fixture
def tls_server(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """Return the address of a healthy server with TLS, and the PEM file that vouches for it."""
    key = make_key()
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "events")])
    now = datetime.now(UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    save_key(tmp_path / "key.pem", key)
    root = tmp_path / "root.pem"
    root.write_bytes(made.public_bytes(Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(root, tmp_path / "key.pem")
    with ScriptedServer(context) as running:
        health = {"status": "healthy", "services": {"storage": True}, "version": "1"}
        running.script("GET", "/health", Reply(200, health))
        yield running.url, root
