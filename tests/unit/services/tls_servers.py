"""Servers that relays could be, good ones and bad ones, with certificates of their own."""

from __future__ import annotations

import socket
import ssl
import tempfile
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

PATIENCE = 30.0
Talk = Callable[[Any, "Listener"], None]


class Authority:
    """A root, an issuing certificate under it, and what they sign."""

    def __init__(self) -> None:
        self._root_key = ec.generate_private_key(ec.SECP256R1())
        self._issuing_key = ec.generate_private_key(ec.SECP256R1())
        root = _signed("root", "root", self._root_key, self._root_key, authority=True)
        self._issuing = _signed(
            "issuing", "root", self._issuing_key, self._root_key, authority=True
        )
        self.root_pem = _pem(root)

    def context(
        self, names: Sequence[str] = (), *, days: int = 1, common_name: str = "relay"
    ) -> ssl.SSLContext:
        """Return what a server has: a certificate for these names and IP addresses."""
        key = ec.generate_private_key(ec.SECP256R1())
        leaf = _signed(common_name, "issuing", key, self._issuing_key, names=names, days=days)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "chain.pem"
            private = key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
            path.write_text(_pem(leaf) + _pem(self._issuing) + private.decode())
            context.load_cert_chain(path)
        return context


class Listener:
    """Listens on a free port, and lets ``talk`` answer whoever connects.

    Attributes:
        address: host and port.
        came: how many connected.
        talking: set when the first one was answered to.
        leaving: set when it stops; whoever hangs waits for it.
    """

    def __init__(
        self, talk: Talk, context: ssl.SSLContext | None = None, host: str = "127.0.0.1"
    ) -> None:
        self._talk = talk
        self._context = context
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.create_server((host, 0), family=family)
        self._socket.settimeout(0.02)
        self.port: int = self._socket.getsockname()[1]
        self.came = 0
        self.talking = threading.Event()
        self.leaving = threading.Event()
        self._accepting = threading.Thread(target=self._accept)
        self._threads = [self._accepting]
        self._accepting.start()

    def nobody_came(self) -> bool:
        """Stop, and tell whether nobody has connected, nor waits to be accepted."""
        self.leaving.set()
        self._accepting.join(PATIENCE)
        with suppress(BlockingIOError, TimeoutError):
            self._socket.accept()[0].close()
            self.came += 1
        return self.came == 0

    def stop(self) -> None:
        """Send everyone away, and wait until they are gone."""
        self.leaving.set()
        for thread in self._threads:
            thread.join(PATIENCE)
        self._socket.close()

    def _accept(self) -> None:
        while not self.leaving.is_set():
            with suppress(TimeoutError):
                connection, _ = self._socket.accept()
                self.came += 1
                thread = threading.Thread(target=self._answer, args=(connection,))
                self._threads.append(thread)
                thread.start()

    def _answer(self, connection: socket.socket) -> None:
        connection.settimeout(PATIENCE)
        # whoever called may be gone at any moment
        with connection, suppress(OSError):
            if self._context is None:
                self.talking.set()
                self._talk(connection, self)
                return
            with self._context.wrap_socket(connection, server_side=True) as over_tls:
                self.talking.set()
                self._talk(over_tls, self)


def answers(status: str, body: bytes, *headers: str) -> Talk:
    """Return a server that reads the request and gives one answer."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return sends("\r\n".join([*lines, "", ""]).encode() + body)


def sends(content: bytes) -> Talk:
    """Return a server that reads the request, sends just this and closes."""

    def talk(connection: Any, _: Listener) -> None:
        read_request(connection)
        connection.sendall(content)
        # without this, bytes under way could be thrown away with the connection
        connection.shutdown(socket.SHUT_WR)
        connection.recv(1)

    return talk


def drips(start: bytes, drop: bytes) -> Talk:
    """Return a server that sends a start and then, never ending, a drop at a time."""

    def talk(connection: Any, listener: Listener) -> None:
        connection.sendall(start)
        while not listener.leaving.wait(0.01):
            connection.sendall(drop)

    return talk


def read_request(connection: Any) -> bytes:
    """Return the request's head."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        received = connection.recv(4096)
        if not received:
            break
        head += received
    return head


def _signed(
    subject: str,
    issuer: str,
    key: ec.EllipticCurvePrivateKey,
    issuer_key: ec.EllipticCurvePrivateKey,
    *,
    names: Sequence[str] = (),
    days: int = 1,
    authority: bool = False,
) -> x509.Certificate:
    moment = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(moment - timedelta(days=10))
        .not_valid_after(moment + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
    )
    if not authority:
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
        builder = builder.add_extension(usage, critical=False)
    if names:
        alternatives = x509.SubjectAlternativeName([_general_name(name) for name in names])
        builder = builder.add_extension(alternatives, critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()
