"""TLS, through a proxy that ends it: the Valkey of the tests has none."""

from __future__ import annotations

import datetime
import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from eventserver_ratelimit_redis import RedisRateLimiter

from eventserver_core.backends.ratelimit import Quota
from eventserver_core.errors import BackendUnavailableError
from eventserver_core.testing.parts import Valkey


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """Return a PEM file with a key and a certificate for 127.0.0.1."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "redis")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "redis.pem"
    path.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        + made.public_bytes(Encoding.PEM)
    )
    return path


def pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while content := source.recv(65536):
            sink.sendall(content)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def tls_port(valkey: Valkey, certificate: Path) -> Iterator[int]:
    """Return the port of a proxy that takes TLS, and passes on to Valkey what is in it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    listener = socket.create_server(("127.0.0.1", 0))
    opened: list[socket.socket] = [listener]
    threads: list[threading.Thread] = []

    def start(target: Callable[..., None], *args: object) -> None:
        threads.append(threading.Thread(target=target, args=args))
        threads[-1].start()

    def serve(raw: socket.socket) -> None:
        with suppress(OSError):
            client = context.wrap_socket(raw, server_side=True)
            server = socket.create_connection(("127.0.0.1", valkey.port))
            opened.extend((client, server))
            start(pump, client, server)
            pump(server, client)
        raw.close()

    def listen() -> None:
        with suppress(OSError):
            while True:
                start(serve, listener.accept()[0])

    start(listen)
    yield listener.getsockname()[1]
    for opening in opened:
        with suppress(OSError):
            opening.shutdown(socket.SHUT_RDWR)
    for thread in threads:
        thread.join()
    for opening in opened:
        opening.close()


def test_redis_is_reached_over_tls(
    tls_port: int, certificate: Path, make_limiter: Callable[..., RedisRateLimiter], quota: Quota
) -> None:
    limiter = make_limiter(f"rediss://127.0.0.1:{tls_port}?ssl_ca_certs={certificate}")
    limiter.check()
    assert limiter.hit("caller", quota).remaining == quota.limit - 1


def test_a_certificate_that_nobody_vouches_for_is_refused(
    tls_port: int, make_limiter: Callable[..., RedisRateLimiter]
) -> None:
    with pytest.raises(BackendUnavailableError, match="can't be reached"):
        make_limiter(f"rediss://127.0.0.1:{tls_port}").check()
