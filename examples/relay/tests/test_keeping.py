"""What is acknowledged is kept until the server has it, or has said why it won't."""

from __future__ import annotations

import json
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from eventserver_client.testing import Drop, Hang, Received, Reply, ScriptedServer, problem

from .relays import EVENTS, Authority, RelayProcess, package, receipt, wait_until

pytestmark = pytest.mark.real
ABOUT_THE_EVENT = [
    (400, "invalid_package"),
    (401, "signature_invalid"),
    (401, "device_certificate_invalid"),
    (401, "package_expired"),
    (409, "event_id_conflict"),
    (413, "content_too_large"),
    (415, "unsupported_media_type"),
    (422, "clock_skew"),
]
ABOUT_THE_RELAY = [
    (401, "certificate_expired"),
    (401, "certificate_revoked"),
    (401, "unauthenticated"),
    (403, "relay_suspended"),
]


def is_empty(relay: RelayProcess) -> bool:
    return bool(relay.health()["queued"] == 0)


@pytest.mark.parametrize("reply", [Reply(503), Drop(), problem(429, "rate_limited")])
def test_what_the_server_cannot_take_now_is_sent_later(
    reply: Reply | Drop, relay: RelayProcess, server: ScriptedServer
) -> None:
    server.script("POST", EVENTS, reply, receipt)
    body = package()
    answer = relay.post(body)
    assert answer.status_code == 202
    assert answer.json()["status"] == "queued"
    wait_until(lambda: is_empty(relay), "the event is forwarded")
    assert [one.body for one in server.calls("POST", EVENTS)] == [body, body]
    assert relay.post(body).json()["eventId"] == "one"


def test_a_server_that_is_away_gets_all_events_in_order_once(
    relay: RelayProcess, server: ScriptedServer
) -> None:
    server.script("POST", EVENTS, Reply(503))
    bodies = [package(f"event-{number}") for number in range(10)]
    assert {relay.post(body).status_code for body in bodies} == {202}
    health = relay.health()
    assert health["queued"] == 10
    assert health["oldestQueuedSeconds"] >= 0
    before = len(server.calls("POST", EVENTS))
    assert before < 10  # a server that is away is left alone
    server.script("POST", EVENTS, receipt)
    wait_until(lambda: is_empty(relay), "all are forwarded")
    sent = [one.body for one in server.calls("POST", EVENTS)]
    assert sent[-10:] == bodies


def test_killed_between_taking_and_forwarding_it_loses_nothing(
    relay: RelayProcess, server: ScriptedServer, authority: Authority
) -> None:
    server.script("POST", EVENTS, Hang())
    body = package()
    device = threading.Thread(target=_post_into_the_void, args=(relay, body))
    device.start()
    wait_until(lambda: bool(server.calls("POST", EVENTS)), "the event is being sent")
    relay.kill()
    device.join()
    server.script("POST", EVENTS, receipt)
    with relay:
        wait_until(lambda: is_empty(relay), "the event is forwarded")
        assert relay.post(body).status_code == 200
    assert [one.body for one in server.calls("POST", EVENTS)] == [body, body]


def _post_into_the_void(relay: RelayProcess, body: bytes) -> None:
    with pytest.raises(httpx.TransportError):
        relay.post(body)


def test_what_was_acknowledged_survives_kill(relay: RelayProcess, server: ScriptedServer) -> None:
    server.script("POST", EVENTS, Reply(503))
    bodies = [package(f"event-{number}") for number in range(5)]
    for body in bodies:
        assert relay.post(body).status_code == 202
    relay.kill()
    server.script("POST", EVENTS, receipt)
    with relay:
        wait_until(lambda: is_empty(relay), "all are forwarded")
    assert {one.body for one in server.calls("POST", EVENTS)} == set(bodies)


@pytest.mark.parametrize(("status", "code"), ABOUT_THE_EVENT)
def test_a_refused_event_is_remembered_with_the_answer_alone(
    status: int, code: str, relay: RelayProcess, server: ScriptedServer
) -> None:
    server.script("POST", EVENTS, problem(status, code, storedHash="ab"))
    body = package()
    for _ in range(2):
        answer = relay.post(body)
        assert answer.status_code == status
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.json()["code"] == code
        assert answer.json()["storedHash"] == "ab"
    assert len(server.calls("POST", EVENTS)) == 1
    health = relay.health()
    assert (health["status"], health["queued"], health["refused"]) == ("healthy", 0, 1)
    assert relay.stop() == 0
    assert kept(relay) == [(None, code)]  # the device was told, and has its event


def test_an_event_that_is_refused_later_is_set_aside_with_the_answer(
    relay: RelayProcess, server: ScriptedServer
) -> None:
    server.script("POST", EVENTS, Reply(503), problem(422, "clock_skew"))
    body = package()
    assert relay.post(body).status_code == 202
    wait_until(lambda: is_empty(relay), "the event is answered")
    assert relay.post(body).json()["code"] == "clock_skew"
    assert relay.stop() == 0
    assert kept(relay) == [(body, "clock_skew")]


def kept(relay: RelayProcess) -> list[tuple[bytes | None, str]]:
    with closing(sqlite3.connect(relay.data / "outbox.sqlite")) as database:
        rows = database.execute("SELECT body, answer FROM events").fetchall()
    return [(body, json.loads(answer)["code"]) for body, answer in rows]


def test_refused_events_do_not_fill_the_outbox(
    document: Path, authority: Authority, server: ScriptedServer, tmp_path: Path
) -> None:
    server.script("POST", EVENTS, problem(400, "invalid_package"))
    limited = ["--enrollment", str(document), "--max-outbox", "1"]
    with RelayProcess(tmp_path, authority.root_pem, *limited) as relay:
        for _ in range(5):
            assert relay.post(package(filler="x" * 700_000)).status_code == 400
        server.script("POST", EVENTS, receipt)
        assert relay.post(package(filler="x" * 700_000)).status_code == 201


@pytest.mark.parametrize(("status", "code"), ABOUT_THE_RELAY)
def test_an_event_is_kept_while_the_relay_itself_is_refused(
    status: int, code: str, relay: RelayProcess, server: ScriptedServer
) -> None:
    server.script("POST", EVENTS, problem(status, code), problem(status, code), receipt)
    assert relay.post(package()).status_code == 202
    assert relay.wait_for("relay_refused")["code"] == code
    wait_until(lambda: is_empty(relay), "the event is forwarded")
    health = relay.health()
    assert (health["status"], health["refused"]) == ("healthy", 0)


def test_one_event_that_the_server_stumbles_over_holds_no_other_up(
    relay: RelayProcess, server: ScriptedServer
) -> None:
    def stumble(request: Received) -> Reply:
        bad = request.document()["id"] == "bad"
        return problem(500, "internal_error") if bad else receipt(request)

    server.script("POST", EVENTS, stumble)
    assert relay.post(package("bad")).status_code == 202
    assert relay.post(package("good")).status_code == 201
    wait_until(lambda: len(server.calls("POST", EVENTS)) >= 3, "the bad one is tried again")
    assert relay.health()["queued"] == 1
    server.script("POST", EVENTS, receipt)
    wait_until(lambda: is_empty(relay), "the bad one is forwarded")


@pytest.mark.parametrize("reply", [Reply(413, pieces=(b"<h1>proxy</h1>",)), Reply(302), Reply(200)])
def test_an_answer_of_something_else_settles_nothing(
    reply: Reply, relay: RelayProcess, server: ScriptedServer
) -> None:
    server.script("POST", EVENTS, reply, receipt)
    assert relay.post(package()).status_code == 202
    wait_until(lambda: is_empty(relay), "the event is forwarded")
    assert relay.health()["refused"] == 0


def test_a_full_outbox_takes_no_more_and_still_forwards(
    document: Path, authority: Authority, server: ScriptedServer, tmp_path: Path
) -> None:
    server.script("POST", EVENTS, Reply(503))
    limited = ["--enrollment", str(document), "--max-outbox", "1"]
    with RelayProcess(tmp_path, authority.root_pem, *limited) as relay:
        large = package("large", filler="x" * 700_000)
        assert relay.post(large).status_code == 202
        refused = relay.post(package("second", filler="x" * 700_000))
        assert refused.status_code == 503
        assert refused.headers["Retry-After"]
        health = relay.health()
        assert (health["status"], health["detail"]) == ("degraded", "the outbox is full")
        assert relay.post(large).status_code == 202
        server.script("POST", EVENTS, receipt)
        wait_until(lambda: is_empty(relay), "the large one is forwarded")
        assert relay.health()["status"] == "healthy"
        assert relay.post(package("second", filler="x" * 700_000)).status_code == 201


def test_the_same_event_from_many_devices_at_once_is_one(
    relay: RelayProcess, server: ScriptedServer
) -> None:
    body = package()
    statuses: list[int] = []

    def send() -> None:
        statuses.append(relay.post(body).status_code)

    threads = [threading.Thread(target=send) for _ in range(8)]  # as many as one address may
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(statuses) <= {200, 201, 202}
    assert statuses.count(201) == 1
    assert len(server.calls("POST", EVENTS)) == 1
