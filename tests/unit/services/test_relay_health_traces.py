"""A relay that is asked how it is learns which trace it is asked in."""

from __future__ import annotations

import contextvars
import json
from collections.abc import Iterator
from ipaddress import ip_network
from typing import Any

import pytest

from eventserver_core.backends.tracing import TraceContext, enter
from eventserver_core.domain.network_address import NetworkAddress
from eventserver_core.services.relay_health import CheckRelayHealth

from .tls_servers import PATIENCE, Authority, Listener, read_request

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture
def authority() -> Authority:
    return Authority()


@pytest.fixture
def asked() -> list[str]:
    """The header lines of each request that came in."""
    return []


@pytest.fixture
def listener(authority: Authority, asked: list[str]) -> Iterator[Listener]:
    body = json.dumps({"status": "healthy"}).encode()

    def talk(connection: Any, _listener: Listener) -> None:
        asked.extend(read_request(connection).decode().split("\r\n"))
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode() + body)

    listener = Listener(talk, authority.context(["127.0.0.1"]), "127.0.0.1")
    yield listener
    listener.stop()


def _check(authority: Authority, listener: Listener, parent: TraceContext | None) -> TraceContext:
    checking = CheckRelayHealth((ip_network("127.0.0.0/8"),), lambda: authority.root_pem, PATIENCE)
    context, _span = enter("request", parent, {})
    report = checking.check(NetworkAddress("127.0.0.1", listener.port))
    assert report.healthy, report.detail
    return context


def test_the_trace_is_passed_on(authority: Authority, listener: Listener, asked: list[str]) -> None:
    parent = TraceContext(TRACE, SPAN, True, "rojo=1")
    context = contextvars.copy_context().run(_check, authority, listener, parent)
    assert context.trace_id == TRACE
    assert f"traceparent: 00-{TRACE}-{context.span_id}-01" in asked
    assert "tracestate: rojo=1" in asked


def test_outside_of_a_trace_nothing_is_said_of_one(
    authority: Authority, listener: Listener, asked: list[str]
) -> None:
    checking = CheckRelayHealth((ip_network("127.0.0.0/8"),), lambda: authority.root_pem, PATIENCE)
    address = NetworkAddress("127.0.0.1", listener.port)
    assert contextvars.Context().run(checking.check, address).healthy
    assert asked
    assert not [line for line in asked if line.lower().startswith("trace")]
