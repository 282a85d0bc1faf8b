"""A scripted server that enrols relays, and a relay that has enrolled."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from eventserver_client import RelayClient, RetryPolicy
from eventserver_client.testing import ScriptedServer, problem
from eventserver_relay.forwarding import Forwarder
from eventserver_relay.outbox import Outbox

from .relays import ENROLL, EVENTS, RELAY_ID, RENEW, TOKEN, Authority, RelayProcess, receipt


@pytest.fixture
def authority() -> Authority:
    """Return an authority of this test's own."""
    return Authority()


@pytest.fixture
def server(authority: Authority) -> Iterator[ScriptedServer]:
    """Return a server that enrols relays once each, renews, and takes every event."""
    with ScriptedServer() as running:
        used = problem(409, "enrollment_token_used")
        running.script("POST", ENROLL, authority.answer, used)
        running.script("POST", RENEW, authority.answer)
        running.script("POST", EVENTS, receipt)
        yield running


@pytest.fixture
def document(server: ScriptedServer, authority: Authority, tmp_path: Path) -> Path:
    """Return an enrolment document."""
    path = tmp_path / "enrollment.json"
    members = {"serverUrl": server.url, "relayId": RELAY_ID, "token": TOKEN}
    members["rootCertificate"] = authority.root_pem
    path.write_text(json.dumps(members))
    return path


@pytest.fixture
def relay(document: Path, authority: Authority, tmp_path: Path) -> Iterator[RelayProcess]:
    """Return a relay that has enrolled and listens."""
    made = RelayProcess(tmp_path, authority.root_pem, "--enrollment", str(document))
    with made:
        yield made


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    """Return an outbox of a mebibyte."""
    made = Outbox(tmp_path / "outbox.sqlite", 1024 * 1024)
    yield made
    made.close()


@pytest.fixture
def forwarder(server: ScriptedServer, outbox: Outbox) -> Iterator[Forwarder]:
    """Return a forwarder that isn't running."""
    with RelayClient(server.url, "a-certificate", retry=RetryPolicy(most_tries=1)) as client:
        yield Forwarder(outbox, client, client)
