"""What is found when a relay is asked how it is, by real TLS servers, good and bad."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Callable, Iterator
from ipaddress import ip_network
from typing import Any

import pytest

from eventserver_core.domain.network_address import NetworkAddress
from eventserver_core.services.relay_health import CheckRelayHealth, HealthReport
from eventserver_core.testing.clock import ManualClock

from .tls_servers import (
    PATIENCE,
    Authority,
    Listener,
    Talk,
    answers,
    drips,
    read_request,
    sends,
)

LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
SHORT, LONGER = 0.3, 5.0
"""For those that would hang for ever; the longer one is for a machine that is busy."""
HUGE = 50_000_000
HEALTHY = {
    "status": "healthy",
    "relayId": "0f0e0d0c-0000-4000-8000-000000000001",
    "queued": 3,
    "oldestQueuedSeconds": None,
    "certificateExpiresAt": "2024-01-02T00:00:00.000Z",
    "version": "1.2.3",
}
GOOD = answers("200 OK", json.dumps(HEALTHY).encode())

Serve = Callable[..., Listener]
Check = Callable[..., HealthReport]


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture(scope="module")
def context(authority: Authority) -> ssl.SSLContext:
    return authority.context(["localhost", "127.0.0.1", "::1"])


@pytest.fixture
def serve(context: ssl.SSLContext) -> Iterator[Serve]:
    """Start servers; they have a good certificate unless told otherwise."""
    listeners: list[Listener] = []

    def start(
        talk: Talk, context: ssl.SSLContext | None = context, host: str = "127.0.0.1"
    ) -> Listener:
        listeners.append(Listener(talk, context, host))
        return listeners[-1]

    yield start
    for listener in listeners:
        listener.stop()


@pytest.fixture
def check(authority: Authority) -> Check:
    """Ask what listens on a port, by any host."""

    def ask(port: int, host: str = "127.0.0.1", time_limit: float = PATIENCE) -> HealthReport:
        checking = CheckRelayHealth(LOOPBACK, lambda: authority.root_pem, time_limit)
        return checking.check(NetworkAddress(host, port))

    return ask


def test_a_healthy_relay_is_reported_with_what_it_says(
    serve: Serve, authority: Authority, clock: ManualClock
) -> None:
    port = serve(GOOD).port
    checking = CheckRelayHealth(LOOPBACK, lambda: authority.root_pem, PATIENCE, clock.now)
    report = checking.check(NetworkAddress("127.0.0.1", port))
    assert report.latency_ms is not None
    assert report == HealthReport(
        healthy=True,
        checked_at=clock.now(),
        latency_ms=report.latency_ms,
        address_called=f"127.0.0.1:{port}",
        detail="It says that it is healthy",
        answer=HEALTHY,
    )


@pytest.mark.parametrize(
    ("host", "named"), [("localhost", "localhost"), ("127.0.0.1", None), ("::1", None)]
)
def test_it_is_asked_by_the_name_it_has(
    host: str, named: str | None, serve: Serve, check: Check, authority: Authority
) -> None:
    requests: list[bytes] = []
    indicated: list[str | None] = []

    def talk(connection: Any, listener: Listener) -> None:
        requests.append(read_request(connection))
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n")
        connection.sendall(b'{"status":"healthy"}')

    context = authority.context([host])
    context.sni_callback = lambda _, name, __: indicated.append(name)
    listener = serve(talk, context, "::1" if host == "::1" else "127.0.0.1")
    report = check(listener.port, host)
    assert report.healthy, report.detail
    head = requests[0].decode().split("\r\n")
    assert head[0] == "GET /health HTTP/1.1"
    assert f"Host: {NetworkAddress(host, listener.port)}" in head
    assert not [line for line in head if line.lower().startswith(("authorization", "cookie"))]
    assert indicated == [named]


@pytest.mark.parametrize(
    "body",
    [
        b'{"status": "unhealthy"}',
        b'{"status": "degraded"}',
        b'{"status": ["healthy"]}',
        b'{"status": true}',
        b"{}",
    ],
)
def test_a_relay_that_does_not_say_that_it_is_healthy_is_not(
    body: bytes, serve: Serve, check: Check
) -> None:
    report = check(serve(answers("200 OK", body)).port)
    assert not report.healthy
    assert report.detail == "It doesn't say that it is healthy"
    assert report.latency_ms is not None


def test_only_what_is_known_short_and_plain_is_passed_on(serve: Serve, check: Check) -> None:
    body = {
        "status": "healthy",
        "relayId": "x" * 101,
        "version": "1.0\u202e\x1b[2J",
        "queued": {"many": 1},
        "oldestQueuedSeconds": 1.5,
        "timestamp": "2024-01-01T00:00:00Z",
        "secret": "s3cr3t",
        "password": None,
    }
    report = check(serve(answers("200 OK", json.dumps(body).encode())).port)
    assert report.healthy
    assert report.answer == {
        "status": "healthy",
        "oldestQueuedSeconds": 1.5,
        "timestamp": "2024-01-01T00:00:00Z",
    }


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b"", "Its answer is not JSON"),
        (b"<html>", "Its answer is not JSON"),
        (b"\xff\xfe", "Its answer is not JSON"),
        (b'{"queued": NaN}', "Its answer is not JSON"),
        (b'{"queued": 1e999}', "Its answer is not JSON"),
        (b'{"queued": ' + b"9" * 5000 + b"}", "Its answer is not JSON"),
        (b'{"status": "healthy", "status": "healthy"}', "Its answer is not JSON"),
        (b"[" * 60_000, "Its answer is not JSON"),
        (b'"healthy"', "Its answer is not a JSON object"),
        (b"null", "Its answer is not a JSON object"),
    ],
)
def test_an_answer_that_is_no_object_is_none(
    body: bytes, detail: str, serve: Serve, check: Check
) -> None:
    report = check(serve(answers("200 OK", body)).port)
    assert not report.healthy
    assert (report.detail, report.answer) == (detail, None)


@pytest.mark.parametrize("status", ["204 No Content", "401 No", "404 Not Found", "503 Later"])
def test_another_status_is_not_healthy(status: str, serve: Serve, check: Check) -> None:
    report = check(serve(sends(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode())).port)
    assert not report.healthy
    assert report.detail == f"It answered with status {status[:3]}"
    assert report.latency_ms is not None


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(status: int, serve: Serve, check: Check) -> None:
    other = serve(GOOD)
    place = f"Location: https://127.0.0.1:{other.port}/health"
    report = check(serve(answers(f"{status} Found", b"", place)).port)
    assert not report.healthy
    assert report.detail == f"It answered with status {status}"
    assert other.nobody_came()


def test_no_proxy_is_asked(serve: Serve, check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = serve(GOOD, None)
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
    assert check(serve(GOOD).port).healthy
    assert proxy.nobody_came()


@pytest.mark.parametrize(
    "content",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 two hundred\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-2\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffff\r\n{}",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 3000,
        b"\x00" * 1000,
        b"",
    ],
)
def test_what_is_not_http_is_no_answer(content: bytes, serve: Serve, check: Check) -> None:
    report = check(serve(sends(content)).port)
    assert not report.healthy
    assert report.detail in (
        "Its answer is not HTTP",
        "It closed the connection",
        "It answered with more than 64 KiB",
    )
    assert (report.latency_ms, report.answer) == (None, None)
    assert report.address_called is not None


@pytest.mark.parametrize("politely", [True, False])
def test_an_answer_may_end_with_its_connection(politely: bool, serve: Serve, check: Check) -> None:
    def talk(connection: Any, listener: Listener) -> None:
        read_request(connection)
        connection.sendall(b'HTTP/1.0 200 OK\r\n\r\n{"status": "healthy"}')
        if politely:
            connection.unwrap()

    report = check(serve(talk).port)
    assert report.healthy, report.detail


@pytest.mark.parametrize("length", [2**31, 2**40, 10**30])
def test_a_length_that_is_claimed_takes_no_memory(length: int, serve: Serve, check: Check) -> None:
    content = f'HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{{"status": "heal'.encode()
    report = check(serve(sends(content)).port)
    assert not report.healthy
    assert report.detail == "Its answer is not JSON"


@pytest.mark.parametrize("how", [f"Content-Length: {HUGE}", "Transfer-Encoding: chunked", "X: y"])
def test_no_more_than_a_little_of_an_answer_is_read(how: str, serve: Serve, check: Check) -> None:
    block = b" " * 65536
    if "chunked" in how:
        block = b"10000\r\n" + block + b"\r\n"
    sent: list[int] = []

    def talk(connection: Any, listener: Listener) -> None:
        read_request(connection)
        connection.sendall(f"HTTP/1.1 200 OK\r\n{how}\r\n\r\n".encode())
        for _ in range(HUGE // 65536):
            connection.sendall(block)
            sent.append(len(block))

    listener = serve(talk)
    report = check(listener.port)
    assert not report.healthy
    assert report.detail == "It answered with more than 64 KiB"
    listener.stop()
    # what was sent beyond that lay in the sockets' buffers
    assert sum(sent) < HUGE / 2


def test_a_relay_under_another_root_is_not_believed(serve: Serve, check: Check) -> None:
    report = check(serve(GOOD, Authority().context(["127.0.0.1"])).port)
    assert not report.healthy
    assert report.detail.startswith("Its certificate doesn't hold: ")
    assert report.answer is None


@pytest.mark.parametrize(
    ("host", "names", "days", "why"),
    [
        ("localhost", ["relay.example"], 1, "ostname mismatch"),
        ("localhost", ["127.0.0.1"], 1, "ostname mismatch"),
        ("localhost", [], 1, "ostname mismatch"),
        ("127.0.0.1", ["127.0.0.2", "localhost"], 1, "IP address mismatch"),
        ("127.0.0.1", ["localhost"], 1, "IP address mismatch"),
        ("127.0.0.1", ["127.0.0.1"], -1, "expired"),
    ],
)
def test_a_certificate_must_be_for_it_and_in_time(
    host: str,
    names: list[str],
    days: int,
    why: str,
    serve: Serve,
    check: Check,
    authority: Authority,
) -> None:
    listener = serve(GOOD, authority.context(names, days=days, common_name=host))
    report = check(listener.port, host)
    assert not report.healthy
    assert report.detail.startswith("Its certificate doesn't hold: ")
    assert why in report.detail


def test_without_a_root_nobody_is_called(serve: Serve) -> None:
    listener = serve(GOOD)
    checking = CheckRelayHealth(LOOPBACK, lambda: None, PATIENCE)
    report = checking.check(NetworkAddress("127.0.0.1", listener.port))
    assert not report.healthy
    assert "no root" in report.detail
    assert listener.nobody_came()


def test_old_tls_is_not_spoken(serve: Serve, check: Check, authority: Authority) -> None:
    context = authority.context(["127.0.0.1"])
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        context.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    report = check(serve(GOOD, context).port)
    assert not report.healthy
    assert report.detail == "It doesn't speak TLS as it must"


def test_plain_http_is_not_spoken(serve: Serve, check: Check) -> None:
    report = check(serve(drips(b"HTTP/1.1 400 Bad Request\r\n\r\n", b""), None).port)
    assert not report.healthy
    assert report.detail == "It doesn't speak TLS as it must"


def test_a_relay_that_is_away_is_not_healthy(check: Check) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    report = check(port)
    assert report == HealthReport(
        False, report.checked_at, None, None, "It can't be connected to", None
    )


def test_a_relay_that_hangs_up_is_not_healthy(serve: Serve, check: Check) -> None:
    report = check(serve(lambda connection, _: connection.close(), None).port)
    assert not report.healthy
    assert report.latency_ms is None


def _nothing(connection: Any, listener: Listener) -> None:
    listener.leaving.wait(PATIENCE)


@pytest.mark.parametrize(
    ("talk", "over_tls"),
    [
        pytest.param(_nothing, False, id="silent in the handshake"),
        pytest.param(drips(b"\x16\x03\x03\x40\x00", b"\x02"), False, id="drips the handshake"),
        pytest.param(_nothing, True, id="silent after the handshake"),
        pytest.param(drips(b"HTTP/1.1 200 OK\r\nX: ", b"y"), True, id="drips a header"),
        pytest.param(drips(b"HTTP/1.1 200 OK\r\n\r\n", b" "), True, id="drips the body"),
        pytest.param(
            drips(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
            True,
            id="drips chunks",
        ),
    ],
)
def test_whoever_holds_the_line_is_left_in_time(
    talk: Talk, over_tls: bool, serve: Serve, check: Check, context: ssl.SSLContext
) -> None:
    listener = serve(talk, context if over_tls else None)
    for time_limit in (SHORT, LONGER, PATIENCE):
        report = check(listener.port, time_limit=time_limit)
        if listener.talking.is_set():
            break
    assert listener.talking.is_set()
    assert not listener.leaving.is_set()
    assert not report.healthy
    assert report.detail == f"There was no whole answer within {time_limit:g} s"
    assert report.address_called == f"127.0.0.1:{listener.port}"


def test_tls_that_never_comes_to_the_point_is_left(
    serve: Serve, check: Check, authority: Authority
) -> None:
    context = authority.context(["127.0.0.1"])
    context.num_tickets = 5000
    report = check(serve(GOOD, context).port)
    assert not report.healthy
    assert report.detail == "It sent far more than an answer takes"
