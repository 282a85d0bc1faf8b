"""How a relay enrols: by the document alone, once for each token, and for good."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from eventserver_client.testing import Reply, ScriptedServer, problem
from eventserver_relay.files import write

from .relays import ENROLL, RENEW, Authority, RelayProcess, package

pytestmark = pytest.mark.real

Renewed = Callable[..., None]


@pytest.fixture
def give_token(document: Path) -> Renewed:
    """Return what puts another token into the document."""

    def give(token: str, **members: str) -> None:
        known = json.loads(document.read_text())
        document.write_text(json.dumps(known | {"token": token} | members))

    return give


def test_a_relay_that_knows_no_address_enrols_by_the_document_alone(
    document: Path, authority: Authority, server: ScriptedServer, tmp_path: Path
) -> None:
    authority.life = timedelta(seconds=6)
    enrolling = ["--enrollment", str(document)]
    relay = RelayProcess(tmp_path, authority.root_pem, *enrolling, address=None)
    with relay:
        started = json.loads(next(line for line in relay.lines if "relay_started" in line))
        port = urlsplit(relay.url).port
        assert started["address"] == f"https://127.0.0.1:{port}"
        assert relay.health()["status"] == "healthy"
        assert relay.post(package()).status_code == 201
        relay.wait_for("certificates_renewed")
    for path in (ENROLL, RENEW):
        csr = x509.load_pem_x509_csr(server.calls("POST", path)[0].document()["csr"].encode())
        assert not list(csr.extensions)


def test_another_name_without_an_address_is_no_use(tmp_path: Path, authority: Authority) -> None:
    relay = RelayProcess(tmp_path, authority.root_pem, "--name", "relay.example", address=None)
    relay.launch()
    assert relay.ended() == 2


def test_another_token_is_enrolled_with(
    relay: RelayProcess, authority: Authority, server: ScriptedServer, give_token: Renewed
) -> None:
    assert relay.stop() == 0
    before = json.loads((relay.data / "identity.json").read_text())["certificate"]
    give_token("another-token")
    server.script("POST", ENROLL, authority.answer, problem(409, "enrollment_token_used"))
    for _ in range(2):  # the second time it is the one that was used
        with relay:
            assert relay.health()["status"] == "healthy"
    assert [one.document()["token"] for one in server.calls("POST", ENROLL)][1:] == [
        "another-token"
    ]
    kept = (relay.data / "identity.json").read_text()
    assert json.loads(kept)["certificate"] != before
    assert "another-token" not in kept


def test_a_renewal_does_not_forget_which_token_was_used(
    document: Path, authority: Authority, server: ScriptedServer, tmp_path: Path
) -> None:
    authority.life = timedelta(seconds=6)
    relay = RelayProcess(tmp_path, authority.root_pem, "--enrollment", str(document))
    with relay:
        authority.life = timedelta(days=1)
        relay.wait_for("certificates_renewed")
    with relay:
        pass
    assert len(server.calls("POST", ENROLL)) == 1


@pytest.mark.parametrize("reply", [problem(401, "enrollment_token_expired"), Reply(403)])
def test_where_another_token_does_not_work_it_goes_on_with_what_holds(
    reply: Reply, relay: RelayProcess, server: ScriptedServer, give_token: Renewed
) -> None:
    assert relay.stop() == 0
    give_token("another-token")
    server.script("POST", ENROLL, reply)
    with relay:
        assert str(reply.status) in "".join(relay.lines)
        assert relay.post(package()).status_code == 201
    assert "enrolling_failed" in "".join(relay.lines)
    assert "another-token" not in "".join(relay.lines)


def test_a_document_for_another_relay_is_not_enrolled_with(
    relay: RelayProcess, server: ScriptedServer, give_token: Renewed
) -> None:
    assert relay.stop() == 0
    give_token("another-token", relayId="another-relay")
    with relay:
        assert relay.health()["relayId"] != "another-relay"
    assert "another relay's" in "".join(relay.lines)
    assert len(server.received) == 1


def test_a_document_that_is_gone_is_not_needed(
    relay: RelayProcess, server: ScriptedServer, document: Path
) -> None:
    assert relay.stop() == 0
    document.unlink()
    with relay:
        assert relay.post(package()).status_code == 201
    assert len(server.calls("POST", ENROLL)) == 1


def test_a_file_outlives_a_power_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[tuple[bool, bool]] = []
    path, sync = tmp_path / "identity.json", os.fsync

    def noted(descriptor: int) -> None:
        synced.append((stat.S_ISDIR(os.fstat(descriptor).st_mode), path.exists()))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    write(path, "{}")
    # its bytes before it has its name, then its name
    assert synced == [(False, False), (True, True)]
    assert list(tmp_path.iterdir()) == [path]
