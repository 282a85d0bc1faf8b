"""How long the server is left alone, and what a relay says of itself meanwhile."""

from __future__ import annotations

import pytest
from eventserver_client.testing import Reply, ScriptedServer, problem
from eventserver_relay import forwarding
from eventserver_relay.forwarding import Forwarder
from eventserver_relay.outbox import Answer, Outbox

from .relays import EVENTS, RelayProcess, package, receipt, wait_until


def tried(forwarder: Forwarder, outbox: Outbox, times: int) -> None:
    """Have events fail, as if each pause were over."""
    entry, _ = outbox.put(package(), 0)
    for _ in range(times):
        forwarder.wake()
        assert forwarder.forward_at_once(entry) is None


def test_a_relay_that_is_not_active_yet_asks_again_within_seconds(
    server: ScriptedServer, forwarder: Forwarder, outbox: Outbox
) -> None:
    server.script("POST", EVENTS, problem(403, "relay_not_active"))
    tried(forwarder, outbox, 20)
    assert 2 < forwarder.pause_left() <= 5
    server.script("POST", EVENTS, problem(403, "relay_suspended"))
    tried(forwarder, outbox, 1)
    assert forwarder.pause_left() > 20


def test_a_relay_that_never_becomes_active_grows_patient(
    server: ScriptedServer,
    forwarder: Forwarder,
    outbox: Outbox,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(forwarding, "_NOT_ACTIVE_TRIES", 10)
    server.script("POST", EVENTS, problem(403, "relay_not_active"))
    tried(forwarder, outbox, 11)
    assert forwarder.pause_left() > 20


@pytest.mark.parametrize(("asked", "least"), [(7200, 7000), (10**9, 86_000)])
@pytest.mark.parametrize("status", [429, 503])
def test_the_server_is_left_alone_for_as_long_as_it_asks(
    asked: int,
    least: int,
    status: int,
    server: ScriptedServer,
    forwarder: Forwarder,
    outbox: Outbox,
) -> None:
    headers = {"Retry-After": str(asked)}
    server.script("POST", EVENTS, problem(status, "later", headers=headers), receipt)
    tried(forwarder, outbox, 1)
    assert least < forwarder.pause_left() <= 86_400
    tried(forwarder, outbox, 2)  # woken, and still it is left alone
    assert forwarder.pause_left() > least
    assert len(server.calls("POST", EVENTS)) == 1


def test_waking_ends_the_relays_own_patience(
    server: ScriptedServer, forwarder: Forwarder, outbox: Outbox
) -> None:
    server.script("POST", EVENTS, Reply(503), Reply(503), receipt)
    tried(forwarder, outbox, 2)
    assert forwarder.pause_left() > 0
    forwarder.wake()
    entry, _ = outbox.put(package(), 0)
    assert isinstance(forwarder.forward_at_once(entry), Answer)


@pytest.mark.parametrize("status", [408, 504])
def test_an_event_for_which_time_was_too_short_holds_no_other_up(
    status: int, server: ScriptedServer, forwarder: Forwarder, outbox: Outbox
) -> None:
    server.script("POST", EVENTS, Reply(status), receipt)
    tried(forwarder, outbox, 1)
    assert forwarder.pause_left() == 0
    entry, _ = outbox.put(package(), 0)
    assert isinstance(forwarder.forward_at_once(entry), Answer)


@pytest.mark.real
@pytest.mark.parametrize(
    ("status", "code"), [(401, "certificate_revoked"), (403, "relay_suspended")]
)
def test_a_refused_relay_says_that_it_is_degraded(
    status: int, code: str, relay: RelayProcess, server: ScriptedServer
) -> None:
    server.script("POST", EVENTS, problem(status, code))
    assert relay.post(package()).status_code == 202
    health = relay.health()
    assert health["status"] == "degraded"
    assert health["detail"] == f"the server refuses this relay: {code}"
    server.script("POST", EVENTS, receipt)
    wait_until(lambda: bool(relay.health()["status"] == "healthy"), "it is taken again")
    assert "detail" not in relay.health()


@pytest.mark.real
def test_a_relay_that_is_not_active_yet_is_healthy_and_goes_on_once_it_is(
    relay: RelayProcess, server: ScriptedServer
) -> None:
    refusal = problem(403, "relay_not_active")
    server.script("POST", EVENTS, *[refusal] * 4, receipt)
    body = package()
    assert relay.post(body).status_code == 202
    relay.wait_for("relay_refused", code="relay_not_active")
    assert relay.health()["status"] == "healthy"  # else it would never become active
    wait_until(lambda: bool(relay.health()["queued"] == 0), "the event is forwarded")
    assert {one.body for one in server.calls("POST", EVENTS)} == {body}
