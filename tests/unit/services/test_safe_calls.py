"""Which addresses are called at all, and that no other one is."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from ipaddress import ip_network
from typing import Any

import pytest

from eventserver_core.domain.network_address import NetworkAddress
from eventserver_core.errors import AddressNotAllowedError
from eventserver_core.services.relay_health import CheckRelayHealth
from eventserver_core.services.safe_calls import Deadline, safe_addresses

from .tls_servers import PATIENCE, Authority, Listener, answers

LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
GOOD = answers("200 OK", b'{"status": "healthy"}')
RESOLVING_AT_ONCE = 8

Resolve = Callable[..., "Resolver"]


class Resolver:
    """Stands in for the system's: each question gets the next answer, the last one for ever."""

    def __init__(self, *answers: list[str]) -> None:
        self._answers = list(answers)
        self.asked: list[str] = []

    def __call__(self, host: str, port: int, **_: Any) -> list[tuple[Any, ...]]:
        self.asked.append(host)
        found = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", _sockaddr(ip, port)) for ip in found]


def _sockaddr(ip: str, port: int) -> tuple[Any, ...]:
    if ":" not in ip:
        return ip, port
    text, _, scope = ip.partition("%")
    return text, port, 0, int(scope or 0)


@pytest.fixture
def resolve(monkeypatch: pytest.MonkeyPatch) -> Resolve:
    """Make every name resolve as told."""

    def install(*answers: list[str]) -> Resolver:
        resolver = Resolver(*answers)
        monkeypatch.setattr(socket, "getaddrinfo", resolver)
        return resolver

    return install


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def listener(authority: Authority) -> Iterator[Listener]:
    listener = Listener(GOOD, authority.context(["relay.example", "127.0.0.1", "localhost"]))
    yield listener
    listener.stop()


@pytest.fixture
def checking(authority: Authority) -> CheckRelayHealth:
    return CheckRelayHealth(LOOPBACK, lambda: authority.root_pem, PATIENCE)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::ffff:7f00:1"])
def test_the_loopback_is_not_called_unless_it_is_allowed(
    host: str, listener: Listener, authority: Authority
) -> None:
    checking = CheckRelayHealth((), lambda: authority.root_pem, PATIENCE)
    with pytest.raises(AddressNotAllowedError, match=r"127\.0\.0\.1 is a loopback address"):
        checking.check(NetworkAddress(host, listener.port))
    assert listener.nobody_came()


@pytest.mark.parametrize(
    "host", ["169.254.169.254", "fd00:ec2::254", "10.0.0.1", "::ffff:a9fe:a9fe", "2002:a9fe:a9fe::"]
)
def test_a_refused_literal_is_not_called(host: str, checking: CheckRelayHealth) -> None:
    with pytest.raises(AddressNotAllowedError, match="must not be called") as caught:
        checking.check(NetworkAddress(host))
    assert caught.value.code == "address_not_allowed"


@pytest.mark.parametrize("bad", ["169.254.169.254", "10.0.0.1", "fe80::1", "2606:4700::1%2"])
@pytest.mark.parametrize("first", [True, False])
def test_one_refused_address_of_a_name_refuses_it_all(
    bad: str, first: bool, resolve: Resolve, listener: Listener, checking: CheckRelayHealth
) -> None:
    resolve([bad, "127.0.0.1"] if first else ["127.0.0.1", bad])
    with pytest.raises(AddressNotAllowedError, match=r"^relay\.example:"):
        checking.check(NetworkAddress("relay.example", listener.port))
    assert listener.nobody_came()


def test_the_address_that_was_checked_is_the_one_that_is_called(
    resolve: Resolve, listener: Listener, checking: CheckRelayHealth
) -> None:
    resolver = resolve(["127.0.0.1"], ["169.254.169.254"])
    report = checking.check(NetworkAddress("relay.example", listener.port))
    assert report.healthy, report.detail
    assert report.address_called == f"127.0.0.1:{listener.port}"
    assert resolver.asked == ["relay.example"]


def test_an_ip_address_is_not_resolved(
    resolve: Resolve, listener: Listener, checking: CheckRelayHealth
) -> None:
    resolver = resolve(["169.254.169.254"])
    assert checking.check(NetworkAddress("127.0.0.1", listener.port)).healthy
    assert resolver.asked == []


def test_where_one_address_is_away_the_next_is_called(
    resolve: Resolve, listener: Listener, checking: CheckRelayHealth
) -> None:
    resolve(["::1", "127.0.0.3", "127.0.0.1"])
    report = checking.check(NetworkAddress("relay.example", listener.port))
    assert report.healthy, report.detail
    assert report.address_called == f"127.0.0.1:{listener.port}"


def test_an_address_that_does_not_answer_leaves_time_for_the_next(
    resolve: Resolve, listener: Listener, authority: Authority
) -> None:
    resolve(["127.0.0.2", "127.0.0.1"])
    checking = CheckRelayHealth(LOOPBACK, lambda: authority.root_pem, 6)
    with ExitStack() as full:
        silent = full.enter_context(socket.create_server(("127.0.0.2", listener.port), backlog=0))
        _fill(silent, full)
        report = checking.check(NetworkAddress("relay.example", listener.port))
    assert report.healthy, report.detail
    assert report.address_called == f"127.0.0.1:{listener.port}"


def _fill(silent: socket.socket, full: ExitStack) -> None:
    """Connect until the queue of those who were not accepted takes nobody more."""
    for _ in range(100):
        waiting = full.enter_context(socket.socket())
        waiting.settimeout(0.2)
        try:
            waiting.connect(silent.getsockname())
        except TimeoutError:
            return
    pytest.fail("the queue has no end")


def test_only_the_first_few_addresses_are_called(
    resolve: Resolve, listener: Listener, checking: CheckRelayHealth
) -> None:
    resolve([*(f"127.0.0.{number}" for number in range(2, 6)), "127.0.0.1"])
    report = checking.check(NetworkAddress("relay.example", listener.port))
    assert report.detail == "It can't be connected to"
    assert listener.nobody_came()


def test_an_address_is_called_once_however_often_it_is_named(resolve: Resolve) -> None:
    resolve(["127.0.0.1", "127.0.0.1", "::1", "127.0.0.1"])
    found = safe_addresses(NetworkAddress("relay.example"), LOOPBACK, Deadline(PATIENCE))
    assert [str(ip) for ip in found] == ["127.0.0.1", "::1"]


@pytest.mark.parametrize("error", [socket.gaierror(-2, "unknown"), UnicodeError("label"), None])
def test_a_name_that_does_not_resolve_is_reported(
    error: Exception | None, monkeypatch: pytest.MonkeyPatch, checking: CheckRelayHealth
) -> None:
    def fail(*_: object, **__: object) -> list[Any]:
        if error is not None:
            raise error
        return []

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    for _ in range(RESOLVING_AT_ONCE + 1):
        report = checking.check(NetworkAddress("relay.example"))
        assert not report.healthy
        assert report.detail == "Its name doesn't resolve"
        assert (report.address_called, report.latency_ms) == (None, None)


def test_a_resolver_that_hangs_holds_up_nobody_and_only_so_many_threads(
    monkeypatch: pytest.MonkeyPatch, listener: Listener, authority: Authority
) -> None:
    go_on = threading.Event()
    hung = threading.Semaphore(0)
    hanging: list[threading.Thread] = []

    def hang(*_: object, **__: object) -> list[Any]:
        hanging.append(threading.current_thread())
        hung.release()
        go_on.wait(PATIENCE)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    checking = CheckRelayHealth(LOOPBACK, lambda: authority.root_pem, 0.1)
    address = NetworkAddress("relay.example", listener.port)
    try:
        for _ in range(RESOLVING_AT_ONCE):
            assert checking.check(address).detail == "There was no whole answer within 0.1 s"
        assert checking.check(address).detail == "Too many other names are being resolved"
        for _ in range(RESOLVING_AT_ONCE):
            assert hung.acquire(timeout=PATIENCE)
        assert len(hanging) == RESOLVING_AT_ONCE
        assert all(thread.daemon for thread in hanging)
        # those who need no resolver are served
        patient = CheckRelayHealth(LOOPBACK, lambda: authority.root_pem, PATIENCE)
        assert patient.check(NetworkAddress("127.0.0.1", listener.port)).healthy
    finally:
        go_on.set()
        for thread in hanging:
            thread.join(PATIENCE)
    assert not [thread for thread in hanging if thread.is_alive()]


def test_when_the_time_is_over_before_it_began_nobody_is_called(
    listener: Listener, authority: Authority
) -> None:
    checking = CheckRelayHealth(LOOPBACK, lambda: authority.root_pem, 0)
    report = checking.check(NetworkAddress("127.0.0.1", listener.port))
    assert report.detail == "There was no whole answer within 0 s"
    assert listener.nobody_came()
