"""Against a real EventServer: events sent, verified, proved and fetched."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from eventserver_client import AdminClient, Client, RefusedError, RelayClient
from eventserver_client.keys import decode_base64url

from eventserver_core.testing.factories import make_package
from eventserver_core.testing.server import EventServerProcess, clean_environ

pytestmark = pytest.mark.real
_SETTINGS = {
    "EVENTSERVER__SERVER__WORKERS": "1",
    "EVENTSERVER__ANCHORING__BATCH_MAX_AGE": "1",
}


@dataclass(frozen=True)
class Running:
    """A server with its worker, and certificates that it takes."""

    url: str
    directory: Path

    def certificate(self, role: str) -> str:
        """Issue one as the command line does."""
        command = [sys.executable, "-m", "eventserver_core", "certificate", "issue"]
        arguments = ["--role", role, "--subject", f"{role}-1"]
        environ = clean_environ() | {
            "EVENTSERVER__SERVER__DATA_DIR": str(self.directory / "data"),
        }
        return subprocess.run(
            [*command, *arguments],
            cwd=self.directory,
            env=environ,
            check=True,
            capture_output=True,
            text=True,
            timeout=60,
        ).stdout.strip()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    directory = tmp_path_factory.mktemp("server")
    with EventServerProcess(["serve", "--with-worker"], directory, _SETTINGS) as server:
        yield Running(server.url, directory)


@pytest.fixture(scope="module")
def sender(running: Running) -> Iterator[RelayClient]:
    with RelayClient(running.url, running.certificate("relay")) as client:
        yield client


def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 500)
    return path


def test_an_event_is_stored_once_however_often_it_is_sent(sender: Client) -> None:
    package = make_package()
    receipt = sender.submit(package)
    assert receipt.event_id == package["id"]
    assert sender.submit(package) == receipt
    assert sender.submit(json.dumps(package, indent=2).encode()) == receipt
    assert sender.verify(receipt.digest_hex).status in ("stored", "batched", "anchored")


@pytest.mark.slow  # the server asks to be asked again after ten seconds
def test_an_event_with_media_is_proved(sender: Client, tmp_path: Path) -> None:
    media = photo(tmp_path)
    package = make_package(media, inline=False)
    receipt = sender.submit(package, media)
    assert sender.submit(package, media.read_bytes()) == receipt
    with media.open("rb") as file:
        assert sender.submit(package, file) == receipt
    proof = sender.wait_for_proof(receipt.digest_hex, timeout=60)
    assert proof["hash"] == receipt.digest_hex
    verification = sender.verify(receipt.digest_hex)
    assert verification.exists
    assert verification.transaction_hash == proof["anchor"]["transactionHash"]
    target = tmp_path / "evidence.zip"
    sender.download_evidence(receipt.digest_hex, target)
    digest = hashlib.sha256(media.read_bytes()).hexdigest()
    with zipfile.ZipFile(target) as archive:
        assert "proof.json" in archive.namelist()
        contents = [archive.read(name) for name in archive.namelist()]
    assert digest in [hashlib.sha256(content).hexdigest() for content in contents]


def test_a_package_at_fault_is_refused_with_all_its_faults(sender: Client) -> None:
    with pytest.raises(RefusedError) as caught:
        sender.submit(make_package(id="no-uuid", annotations=[]))
    assert (caught.value.status, caught.value.code) == (400, "invalid_package")
    assert {error["pointer"] for error in caught.value.errors} >= {"/id", "/annotations"}
    assert caught.value.request_id


def test_the_same_id_with_other_content_is_a_conflict(sender: Client) -> None:
    package = make_package()
    stored = sender.submit(package).digest_hex
    with pytest.raises(RefusedError) as caught:
        sender.submit(package | {"version": "2.0"})
    assert caught.value.code == "event_id_conflict"
    assert caught.value.document["storedHash"] == stored


def test_a_signed_package_that_is_none_is_refused(sender: Client) -> None:
    with pytest.raises(RefusedError) as caught:
        sender.submit_signed("not.a.jws")
    assert caught.value.status in (400, 401)


def test_many_events_are_sent_in_a_few_requests(sender: RelayClient) -> None:
    packages: list[Any] = [make_package() for _ in range(5)]
    packages[1] = json.dumps(packages[1], indent=2).encode()
    events = [*packages, "not.a.jws", make_package(id="no-uuid"), packages[0]]
    *stored, signed, bad, again = [r for _, r in sender.submit_many(events, most_events=3)]
    assert stored == [sender.submit(package) for package in packages]
    assert again == stored[0]
    for event, error in ((events[5], signed), (events[6], bad)):
        with pytest.raises(RefusedError) as caught:
            sender.submit_signed(event) if isinstance(event, str) else sender.submit(event)
        alone = caught.value
        assert isinstance(error, RefusedError)
        assert (error.status, error.code, error.errors) == (alone.status, alone.code, alone.errors)


def test_nobody_sends_without_a_certificate(running: Running) -> None:
    with Client(running.url) as nobody:
        with pytest.raises(RefusedError) as caught:
            nobody.submit(make_package())
        assert (caught.value.status, caught.value.code) == (401, "unauthenticated")
        assert nobody.health().status in ("healthy", "degraded")
        assert nobody.verify("00" * 32).status == "unknown"
        with pytest.raises(RefusedError, match="not_found"):
            nobody.proof("00" * 32)


def test_an_admin_revokes_a_certificate(running: Running) -> None:
    token = running.certificate("relay")
    claims = json.loads(decode_base64url(token.split(".")[1]))
    with (
        AdminClient(running.url, running.certificate("admin")) as admin,
        Client(running.url, token) as relay,
    ):
        relay.submit(make_package())
        admin.revoke_certificate(claims["jti"])
        pause = threading.Event()
        with pytest.raises(RefusedError) as caught:
            for _ in range(60):  # refused everywhere within five seconds
                relay.submit(make_package())
                pause.wait(0.1)
        assert caught.value.code == "certificate_revoked"
