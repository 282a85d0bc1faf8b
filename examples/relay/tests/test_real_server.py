"""A relay before a real EventServer: what devices bring ends there, once."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from eventserver_client import Client
from eventserver_client.testing import Received, Reply, ScriptedServer

from eventserver_core.testing.factories import make_package
from eventserver_core.testing.server import EventServerProcess, clean_environ

from .relays import BATCH, ENROLL, EVENTS, Authority, RelayProcess, wait_until

pytestmark = pytest.mark.real


@pytest.fixture
def behind(tmp_path: Path) -> Iterator[EventServerProcess]:
    """Return a real server."""
    directory = tmp_path / "server"
    directory.mkdir()
    settings = {"EVENTSERVER__SERVER__WORKERS": "1"}
    with EventServerProcess(["serve"], directory, settings) as running:
        yield running


def issued(directory: Path) -> str:
    """Issue a relay's certificate as the command line does."""
    command = [sys.executable, "-m", "eventserver_core", "certificate", "issue"]
    return subprocess.run(
        [*command, "--role", "relay", "--subject", "relay-1"],
        cwd=directory,
        env=clean_environ(),
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    ).stdout.strip()


def passing_on(url: Callable[[], str]) -> Callable[[Received], Reply]:
    """Return a script that has the real server answer."""

    def ask(request: Received) -> Reply:
        headers = {name: request.headers[name] for name in ("Authorization", "Content-Type")}
        try:
            answer = httpx.post(f"{url()}{request.path}", content=request.body, headers=headers)
        except httpx.TransportError:
            return Reply(503)
        return Reply(answer.status_code, answer.json())

    return ask


def test_what_devices_bring_ends_at_the_server(
    behind: EventServerProcess,
    server: ScriptedServer,
    authority: Authority,
    document: Path,
    tmp_path: Path,
) -> None:
    token = issued(tmp_path / "server")

    def enroll(request: Received) -> Reply:
        answer = authority.answer(request)
        return Reply(201, answer.document | {"certificate": token})

    server.script("POST", ENROLL, enroll)
    for path in (EVENTS, BATCH):
        server.script("POST", path, passing_on(lambda: behind.url))
    with (
        RelayProcess(tmp_path, authority.root_pem, "--enrollment", str(document)) as relay,
        Client(behind.url) as anybody,
    ):
        package = make_package()
        taken = relay.post(json.dumps(package).encode())
        assert taken.status_code == 201
        assert anybody.verify(taken.json()["hash"]).status == "stored"

        conflict = relay.post(json.dumps(package | {"version": "2.0"}).encode())
        assert conflict.status_code == 409
        assert conflict.json()["storedHash"] == taken.json()["hash"]
        bad = relay.post(json.dumps(make_package(annotations=[])).encode())
        assert (bad.status_code, bad.json()["code"]) == (400, "invalid_package")

        behind.kill_all()
        later = [json.dumps(make_package(), indent=2).encode() for _ in range(6)]
        worse = json.dumps(make_package(annotations=[])).encode()
        for body in (*later[:2], worse, *later[2:]):
            assert relay.post(body).status_code == 202
        behind.start()
        wait_until(lambda: relay.health()["queued"] == 0, "all are forwarded")
        assert server.calls("POST", BATCH)
        assert relay.post(worse).json()["code"] == "invalid_package"
        receipts = [relay.post(body).json() for body in later]
    assert [one["eventId"] for one in receipts] == [json.loads(body)["id"] for body in later]
    with Client(behind.url) as anybody:
        for one in receipts:
            assert anybody.verify(one["hash"]).status == "stored"
