"""The HTTPS server: TLS, limits, and clients that misbehave."""

from __future__ import annotations

import socket
import ssl
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from eventserver_client.testing import ScriptedServer, problem

from .relays import EVENTS, RENEW, Authority, RelayProcess, package, wait_until

pytestmark = pytest.mark.real
POST = b"POST /events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


def told(relay: RelayProcess, request: bytes) -> bytes:
    """Return the answer to raw bytes."""
    with relay.connect() as connection:
        connection.sendall(request)
        answer = b""
        while b"\r\n\r\n" not in answer and (more := connection.recv(65536)):
            answer += more
    return answer


def test_its_certificate_is_for_its_address(relay: RelayProcess) -> None:
    with relay.connect() as connection:
        assert connection.version() in ("TLSv1.2", "TLSv1.3")
        found = connection.getpeercert()
    assert found
    assert ("IP Address", "127.0.0.1") in found["subjectAltName"]


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
def test_older_tls_is_refused(relay: RelayProcess) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises(ssl.SSLError):
        relay.connect(context)


def test_what_is_no_json_object_is_refused_at_once(
    relay: RelayProcess, server: ScriptedServer
) -> None:
    for body in (b"", b"[]", b"nonsense", b'"text"', b"\xff", b"[" * 100_000):
        answer = relay.post(body)
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_package")
    assert relay.post(package(), **{"Content-Type": "text/plain"}).status_code == 415
    assert not server.calls("POST", EVENTS)
    assert relay.health()["queued"] == 0


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (POST + b"Content-Length: 16777217\r\n\r\n", b"413"),
        (POST + b"Content-Length: 99999999999999999999\r\n\r\n", b"413"),
        (POST + b"Content-Length: -1\r\n\r\n", b"400"),
        (POST + b"Content-Length: \xb2\r\n\r\n", b"400"),
        (POST + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", b"400"),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", b"411"),
        (POST + b"\r\n", b"411"),
        (b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n", b"404"),
        (b"POST /health HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", b"404"),
        (b"GET /../identity.json HTTP/1.1\r\nHost: x\r\n\r\n", b"404"),
        (b"DELETE /events HTTP/1.1\r\nHost: x\r\n\r\n", b"501"),
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\n\r\n", b"414"),
    ],
)
def test_what_is_no_event_is_refused(request_: bytes, status: bytes, relay: RelayProcess) -> None:
    answer = told(relay, request_)
    assert status in answer.split(b"\r\n")[0] or (b'"status": ' + status) in answer
    assert relay.health()["queued"] == 0


def test_a_body_of_the_largest_size_is_taken(relay: RelayProcess) -> None:
    largest = 16 * 1024 * 1024
    empty = len(package("large", filler=""))
    body = package("large", filler="x" * (largest - empty))
    assert len(body) == largest
    assert relay.post(body).status_code == 201
    assert relay.post(body + b" ").status_code == 413


def test_a_client_that_hangs_up_in_its_body_leaves_nothing(relay: RelayProcess) -> None:
    with relay.connect() as connection:
        connection.sendall(POST + b'Content-Length: 100\r\n\r\n{"id":')
    assert relay.health()["queued"] == 0


def test_silent_clients_do_not_keep_others_out(relay: RelayProcess) -> None:
    port = int(relay.url.rpartition(":")[2])
    with ExitStack() as opened:
        for _ in range(3):  # they never begin a handshake
            opened.enter_context(socket.create_connection(("127.0.0.1", port)))
        for _ in range(3):  # they never end a request
            connection = opened.enter_context(relay.connect())
            connection.sendall(POST)
        assert relay.post(package()).status_code == 201
        assert relay.health()["status"] == "healthy"


def test_connections_are_bounded(
    document: Path, authority: Authority, server: ScriptedServer, tmp_path: Path
) -> None:
    arguments = ["--enrollment", str(document), "--max-per-address", "1000"]
    with RelayProcess(tmp_path, authority.root_pem, *arguments) as relay, ExitStack() as opened:
        port = int(relay.url.rpartition(":")[2])
        silent = [
            opened.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30))
            for _ in range(64)
        ]

        def is_hung_up_on() -> bool:
            with socket.create_connection(("127.0.0.1", port), timeout=30) as one_more:
                one_more.settimeout(0.2)
                try:
                    return one_more.recv(1) == b""
                except TimeoutError:
                    return False
                except ConnectionError:
                    return True

        wait_until(is_hung_up_on, "one connection too many is hung up on")
        assert len(silent) == 64
        for one in silent:
            one.close()
        wait_until(lambda: _is_served(relay), "others are served again")


def _is_served(relay: RelayProcess) -> bool:
    try:
        return bool(relay.health()["status"] == "healthy")
    except httpx.TransportError:
        return False


@pytest.mark.slow
def test_slow_clients_are_hung_up_on(relay: RelayProcess) -> None:
    port = int(relay.url.rpartition(":")[2])
    with (
        socket.create_connection(("127.0.0.1", port), timeout=60) as silent,
        relay.connect() as slow,
    ):
        slow.settimeout(1)
        slow.sendall(POST + b"Content-Length: 1000\r\n\r\n")
        assert silent.recv(1) == b""  # within five seconds
        answer = None
        for _ in range(60):  # a byte a second is never silent, and still too slow
            try:
                slow.sendall(b"x")
                answer = slow.recv(65536)
                break
            except TimeoutError:
                continue
            except OSError:
                answer = b""
                break
        assert answer == b""
    assert relay.health()["queued"] == 0


def test_headers_that_drip_are_left(relay: RelayProcess) -> None:
    with relay.connect() as slow:
        slow.settimeout(0.1)
        slow.sendall(POST + b"X-A: ")
        answer = None
        for _ in range(200):  # twenty seconds, and less than a whole request may take
            try:
                slow.sendall(b"x")
                answer = slow.recv(65536)
                break
            except TimeoutError:
                continue
            except OSError:
                answer = b""
                break
        assert answer == b""


def test_certificates_are_renewed_in_good_time(
    authority: Authority, server: ScriptedServer, document: Path, tmp_path: Path
) -> None:
    authority.life = timedelta(seconds=6)
    with RelayProcess(tmp_path, authority.root_pem, "--enrollment", str(document)) as relay:
        key = (relay.data / "key.pem").read_bytes()
        authority.life = timedelta(days=1)
        relay.wait_for("certificates_renewed")
        # the root is the first that was signed, and what it enrolled with the second
        assert _serial_number(relay) == 3
        (renewal,) = server.calls("POST", RENEW)
        assert renewal.headers["Authorization"] == "Bearer certificate-canary-4c5b6a-2"
        assert (relay.data / "key.pem").read_bytes() == key
        relay.post(package())
        sent = server.calls("POST", EVENTS)[0].headers["Authorization"]
        assert sent == "Bearer certificate-canary-4c5b6a-3"
        assert relay.stop() == 0
        with relay:
            assert _serial_number(relay) == 3


def test_a_renewal_that_fails_ends_nothing(
    authority: Authority, server: ScriptedServer, document: Path, tmp_path: Path
) -> None:
    authority.life = timedelta(seconds=3)
    server.script("POST", RENEW, problem(403, "relay_suspended"))
    with RelayProcess(tmp_path, authority.root_pem, "--enrollment", str(document)) as relay:
        assert relay.wait_for("renewal_failed")["code"] == "relay_suspended"
        assert relay.health()["status"] == "healthy"
        assert relay.stop() == 0
        # what it keeps has ended then, and its token is used
        ended = datetime.now(UTC) + authority.life
        wait_until(lambda: datetime.now(UTC) > ended, "its certificates end")
        relay.launch()
        assert "enrollment_token_used" in relay.wait_for("relay_failed")["detail"]
        assert relay.ended() == 1


def _serial_number(relay: RelayProcess) -> int:
    with relay.connect() as connection:
        found = connection.getpeercert(binary_form=True)
    assert found
    return x509.load_der_x509_certificate(found).serial_number
