"""A relay's life: it enrols, takes events, restarts and ends."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography import x509
from eventserver_client.keys import encode_base64url, thumbprint
from eventserver_client.testing import Drop, Hang, ScriptedServer, problem

from .relays import (
    CERTIFICATE,
    ENROLL,
    EVENTS,
    RELAY_ID,
    TOKEN,
    Authority,
    RelayProcess,
    package,
    wait_until,
)

pytestmark = pytest.mark.real


def test_an_event_is_forwarded_under_the_relays_certificate(
    relay: RelayProcess, server: ScriptedServer
) -> None:
    body = b'{"id" : "one",  "number": 1e2}'
    answer = relay.post(body)
    assert answer.status_code == 201
    assert answer.json()["eventId"] == "one"
    (sent,) = server.calls("POST", EVENTS)
    assert sent.body == body
    assert sent.headers["Authorization"].startswith(f"Bearer {CERTIFICATE}")


def test_a_signed_package_is_forwarded_as_it_is(
    relay: RelayProcess, server: ScriptedServer
) -> None:
    body = json.dumps({"jwtEventData": "a.b.c"}).encode()
    assert relay.post(body).status_code == 201
    assert server.calls("POST", EVENTS)[0].body == body


def test_it_says_how_it_is(relay: RelayProcess) -> None:
    health = relay.health()
    assert health["status"] == "healthy"
    assert health["relayId"] == RELAY_ID
    assert (health["queued"], health["oldestQueuedSeconds"]) == (0, None)
    assert health["certificateExpiresAt"]
    assert health["version"]


def test_the_same_bytes_get_the_same_answer(relay: RelayProcess, server: ScriptedServer) -> None:
    body = package()
    first, second = relay.post(body), relay.post(body)
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json() == second.json()
    assert len(server.calls("POST", EVENTS)) == 1


def test_it_starts_again_without_its_document(
    relay: RelayProcess, document: Path, server: ScriptedServer, authority: Authority
) -> None:
    body = package()
    relay.post(body)
    assert relay.stop() == 0
    document.unlink()
    with RelayProcess(relay.directory, authority.root_pem) as again:
        assert again.health()["relayId"] == RELAY_ID
        assert again.post(body).status_code == 200
    assert len(server.calls("POST", ENROLL)) == 1


def test_it_starts_again_with_its_used_document(
    relay: RelayProcess, server: ScriptedServer
) -> None:
    assert relay.stop() == 0
    with relay:
        assert relay.health()["status"] == "healthy"
    assert len(server.calls("POST", ENROLL)) == 1


def test_what_it_keeps_is_its_owners_only(relay: RelayProcess) -> None:
    relay.post(package())
    assert stat.S_IMODE(relay.data.stat().st_mode) == 0o700
    kept = {path.name: stat.S_IMODE(path.stat().st_mode) for path in relay.data.iterdir()}
    assert {"key.pem", "identity.json", "tls.pem", "outbox.sqlite"} <= set(kept)
    assert set(kept.values()) == {0o600}


def test_no_line_of_its_log_tells_a_secret(relay: RelayProcess, server: ScriptedServer) -> None:
    server.script("POST", EVENTS, problem(403, "relay_suspended"), Drop())
    relay.post(package(secret="event-canary-7a8b9c"))
    relay.wait_for("event_put_off", reason="relay_suspended")
    key = (relay.data / "key.pem").read_text().splitlines()[1]
    assert relay.stop() == 0
    log = "".join(relay.lines)
    for secret in (TOKEN, CERTIFICATE, "event-canary-7a8b9c", key, "BEGIN"):
        assert secret not in log
    for line in relay.lines:
        assert json.loads(line)["event"]


@pytest.mark.parametrize(
    "code", ["enrollment_token_invalid", "enrollment_token_expired", "relay_not_approved"]
)
def test_a_refused_enrolment_says_why(
    code: str, server: ScriptedServer, document: Path, tmp_path: Path, authority: Authority
) -> None:
    server.script("POST", ENROLL, problem(401, code))
    relay = RelayProcess(tmp_path, authority.root_pem, "--enrollment", str(document))
    relay.launch()
    assert code in relay.wait_for("relay_failed")["detail"]
    assert relay.ended() == 1
    assert TOKEN not in "".join(relay.lines)
    assert len(server.received) == 1


def test_a_token_whose_answer_was_lost_is_not_used_again(
    server: ScriptedServer, document: Path, tmp_path: Path, authority: Authority
) -> None:
    server.script("POST", ENROLL, Drop())
    relay = RelayProcess(tmp_path, authority.root_pem, "--enrollment", str(document))
    relay.launch()
    assert "may have done it" in relay.wait_for("relay_failed")["detail"]
    assert relay.ended() == 1
    assert len(server.received) == 1


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"serverUrl": "http://127.0.0.1"}', "null"])
def test_what_is_no_enrolment_document_is_refused(
    content: str, tmp_path: Path, authority: Authority
) -> None:
    path = tmp_path / "enrollment.json"
    path.write_text(content)
    relay = RelayProcess(tmp_path, authority.root_pem, "--enrollment", str(path))
    relay.launch()
    assert "no enrolment document" in relay.wait_for("relay_failed")["detail"]
    assert relay.ended() == 1


def test_without_a_document_it_does_not_start(tmp_path: Path, authority: Authority) -> None:
    relay = RelayProcess(tmp_path, authority.root_pem)
    relay.launch()
    assert "--enrollment" in relay.wait_for("relay_failed")["detail"]
    assert relay.ended() == 1


def test_damaged_certificates_are_not_used(relay: RelayProcess) -> None:
    assert relay.stop() == 0
    (relay.data / "identity.json").write_text("{")
    relay.launch()
    assert "restore" in relay.wait_for("relay_failed")["detail"]
    assert relay.ended() == 1


def test_two_relays_do_not_share_a_directory(relay: RelayProcess, authority: Authority) -> None:
    second = RelayProcess(relay.directory, authority.root_pem)
    second.launch()
    assert "another relay" in second.wait_for("relay_failed")["detail"]
    assert second.ended() == 1
    assert relay.health()["status"] == "healthy"


def test_the_key_that_is_shown_is_the_one_that_enrols(
    server: ScriptedServer, document: Path, tmp_path: Path, authority: Authority
) -> None:
    relay = RelayProcess(tmp_path, authority.root_pem, "--enrollment", str(document))
    command = [sys.executable, "-m", "eventserver_relay", "--data-dir", str(relay.data)]
    shown = [
        subprocess.run(
            [*command, "--show-key"], check=True, capture_output=True, text=True, timeout=60
        ).stdout
        for _ in range(2)
    ]
    assert shown[0] == shown[1]
    with relay:
        pass
    csr = x509.load_pem_x509_csr(server.calls("POST", ENROLL)[0].document()["csr"].encode())
    numbers = csr.public_key().public_numbers()  # type: ignore[union-attr]
    enrolled = {"kty": "EC", "crv": "P-256", "x": encode_base64url(numbers.x.to_bytes(32, "big"))}
    enrolled["y"] = encode_base64url(numbers.y.to_bytes(32, "big"))
    assert thumbprint(json.loads(shown[0])) == thumbprint(enrolled)


def test_a_request_under_way_is_finished_when_it_is_told_to_stop(
    relay: RelayProcess, server: ScriptedServer
) -> None:
    server.script("POST", EVENTS, Hang())
    with relay.connect() as connection:
        body = package()
        connection.sendall(
            b"POST /events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n" % len(body) + body
        )
        wait_until(lambda: bool(server.calls("POST", EVENTS)), "the event is being sent")
        relay.terminate()
        relay.wait_for("relay_stopping")
        server.release()
        assert b" 202 " in connection.recv(65536)
    assert relay.ended() == 0
    relay.wait_for("relay_stopped")
