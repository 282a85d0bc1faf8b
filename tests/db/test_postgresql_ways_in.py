"""TLS, passwords and sockets: what the address says of them reaches libpq."""

from __future__ import annotations

import socket
import socketserver
import ssl
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from eventserver_core.db.connection import Database
from eventserver_core.testing.parts import PostgreSQL

from .calls import assert_unavailable
from .rows import PATIENCE

pytestmark = pytest.mark.real

PASSWORD = "pa55 wörd/@?"
SSL_REQUEST = bytes.fromhex("0000000804d2162f")
QUOTED = "pa55%20w%C3%B6rd%2F%40%3F"


def self_signed(folder: Path) -> tuple[Path, Path]:
    """Write a certificate for 127.0.0.1 and its key; returns where."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    folder.mkdir(parents=True)
    paths = folder / "server.crt", folder / "server.key"
    paths[0].write_bytes(certificate.public_bytes(pem))
    paths[1].write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return paths


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return self_signed(tmp_path_factory.mktemp("tls") / "pair")


class Terminator(socketserver.ThreadingTCPServer):
    """Speaks TLS for a PostgreSQL that was built without it."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, context: ssl.SSLContext, target: int) -> None:
        super().__init__(("127.0.0.1", 0), Passing)
        self.context = context
        self.target = target

    @property
    def port(self) -> int:
        return int(self.server_address[1])


class Passing(socketserver.BaseRequestHandler):
    """One connection: TLS on this side, none on the other."""

    def handle(self) -> None:
        asked = self.request.recv(len(SSL_REQUEST), socket.MSG_WAITALL)
        if asked != SSL_REQUEST:
            return
        self.request.sendall(b"S")
        assert isinstance(self.server, Terminator)
        try:
            client = self.server.context.wrap_socket(self.request, server_side=True)
        except (ssl.SSLError, OSError):
            return  # the client did not trust it
        with client, socket.create_connection(("127.0.0.1", self.server.target)) as server:
            answers = threading.Thread(target=pass_on, args=(server, client), daemon=True)
            answers.start()
            pass_on(client, server)
            answers.join(PATIENCE)


def pass_on(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, certificate: tuple[Path, Path]
) -> Iterator[Terminator]:
    """A server with TLS, and a role that needs its password."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    with PostgreSQL(tmp_path_factory.mktemp("server")) as part:
        part.run_sql(f"CREATE ROLE events LOGIN PASSWORD '{PASSWORD}'")
        rules = Path(part.run_sql("SHOW hba_file"))
        rules.write_text("host all events all scram-sha-256\n" + rules.read_text())
        part.restart()
        with Terminator(context, part.port) as terminator:
            thread = threading.Thread(target=terminator.serve_forever)
            thread.start()
            yield terminator
            terminator.shutdown()
            thread.join(PATIENCE)


def database(server: Terminator, query: str, password: str = QUOTED) -> Database:
    address = f"postgresql://events:{password}@127.0.0.1:{server.port}/postgres{query}"
    return Database(address, Path("unused"), timeout=PATIENCE)


@pytest.mark.parametrize(
    "query",
    [
        "?sslmode=require",
        "?sslmode=verify-ca&sslrootcert={certificate}",
        "?sslmode=verify-full&sslrootcert={certificate}&channel_binding=disable",
        "?sslmode=require&ssl_min_protocol_version=TLSv1.3&require_auth=scram-sha-256",
    ],
)
def test_the_address_says_how_it_is_encrypted(
    server: Terminator, certificate: tuple[Path, Path], query: str
) -> None:
    made = database(server, query.format(certificate=certificate[0]))
    made.check()  # there is nothing but TLS behind this port
    made.close()


def test_the_environment_may_say_it_too(
    server: Terminator, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGSSLMODE", "verify-full")
    monkeypatch.setenv("PGSSLROOTCERT", str(certificate[0]))
    made = database(server, "")
    made.check()
    made.close()


def test_a_server_that_nobody_known_vouches_for_is_not_trusted(
    server: Terminator, tmp_path: Path
) -> None:
    other, _ = self_signed(tmp_path / "other")
    made = database(server, f"?sslmode=verify-full&sslrootcert={other}")
    error = str(assert_unavailable(made.check))
    assert "certificate verify failed" in error
    assert QUOTED not in error
    assert PASSWORD not in error


def test_a_server_of_another_name_is_not_trusted(
    server: Terminator, certificate: tuple[Path, Path]
) -> None:
    query = f"?sslmode=verify-full&sslrootcert={certificate[0]}&host=localhost&hostaddr=127.0.0.1"
    error = str(assert_unavailable(database(server, query).check))
    assert 'does not match host name "localhost"' in error


def test_an_authority_that_is_not_there_is_told(server: Terminator, tmp_path: Path) -> None:
    made = database(server, f"?sslmode=verify-full&sslrootcert={tmp_path}/gone.crt")
    assert f"{tmp_path}/gone.crt" in str(assert_unavailable(made.check))


def test_a_channel_that_must_be_bound_and_is_not_is_refused(server: Terminator) -> None:
    # whoever speaks TLS for the server in between can't do it
    made = database(server, "?sslmode=require&channel_binding=require")
    assert "channel binding" in str(assert_unavailable(made.check))


def test_without_encryption_nobody_is_let_in(server: Terminator) -> None:
    error = str(assert_unavailable(database(server, "?sslmode=disable").check))
    assert "closed the connection" in error
    assert PASSWORD not in error


def test_a_wrong_password_is_told_and_not_shown(server: Terminator) -> None:
    error = str(assert_unavailable(database(server, "?sslmode=require", "wr0ng").check))
    assert "password authentication failed" in error
    assert "wr0ng" not in error


class PassingBySocket(socketserver.BaseRequestHandler):
    """One connection by a Unix socket."""

    def handle(self) -> None:
        assert isinstance(self.server, SocketServer)
        with socket.create_connection(("127.0.0.1", self.server.target)) as server:
            answers = threading.Thread(target=pass_on, args=(server, self.request), daemon=True)
            answers.start()
            pass_on(self.request, server)
            answers.join(PATIENCE)


class SocketServer(socketserver.ThreadingUnixStreamServer):
    """Gives a PostgreSQL a Unix socket."""

    daemon_threads = True

    def __init__(self, path: Path, target: int) -> None:
        super().__init__(str(path), PassingBySocket)
        self.target = target


def test_a_unix_socket_is_reached(postgresql: PostgreSQL) -> None:
    with TemporaryDirectory() as folder:  # a socket's path must be short
        path = Path(folder) / ".s.PGSQL.5433"
        with SocketServer(path, postgresql.port) as passing:
            thread = threading.Thread(target=passing.serve_forever)
            thread.start()
            address = f"postgresql://postgres@/postgres?host={folder}&port=5433"
            made = Database(address, Path("unused"), timeout=PATIENCE)
            made.check()
            made.close()
            passing.shutdown()
            thread.join(PATIENCE)
        assert folder in str(assert_unavailable(made.check))
