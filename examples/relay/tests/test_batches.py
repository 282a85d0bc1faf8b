"""Sending what has waited, many events at once: each keeps its own fate."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from eventserver_client.testing import Drop, Received, Reply, ScriptedServer, problem
from eventserver_relay.forwarding import Forwarder
from eventserver_relay.outbox import Outbox

from .relays import BATCH, EVENTS, in_batches, package, receipt, wait_until

NOTHING_BUT_BATCHES = [
    (Reply(404), 1),
    (problem(405, "method_not_allowed"), 1),  # a server of before there were batches
    (problem(400, "invalid_request"), 2),
    (problem(413, "content_too_large"), 2),
    (problem(401, "signature_invalid"), 2),
    (problem(500, "internal_error"), 2),
    (Reply(504), 2),
    (Reply(200), 2),
]


@pytest.fixture(autouse=True)
def _takes_batches(server: ScriptedServer) -> None:
    server.script("POST", BATCH, in_batches(receipt))


@contextmanager
def running(forwarder: Forwarder) -> Iterator[None]:
    thread = threading.Thread(target=forwarder.run)
    thread.start()
    try:
        yield
    finally:
        forwarder.stop()
        thread.join()


def sent(server: ScriptedServer) -> list[list[bytes]]:
    """Return the events of each request."""
    return [
        one.body.split(b"\n") if one.path == BATCH else [one.body]
        for one in server.received
        if one.path in (BATCH, EVENTS)
    ]


def waiting(outbox: Outbox, bodies: Sequence[bytes]) -> None:
    for body in bodies:
        outbox.put(body, 0)


def forward_all(forwarder: Forwarder, outbox: Outbox) -> None:
    with running(forwarder):
        wait_until(lambda: outbox.backlog()[0] == 0, "all are forwarded")


def status_of(outbox: Outbox, body: bytes) -> int | None:
    """Return what a device that sends an event again is answered with."""
    answer = outbox.put(body, 0)[0].answer
    return answer.status if answer else None


def test_what_has_waited_goes_in_ever_larger_batches_the_oldest_first(
    server: ScriptedServer, forwarder: Forwarder, outbox: Outbox
) -> None:
    bodies = [package(f"event-{number}") for number in range(20)]
    waiting(outbox, bodies)
    forward_all(forwarder, outbox)
    assert [len(events) for events in sent(server)] == [1, 2, 4, 8, 5]
    assert [body for events in sent(server) for body in events] == bodies
    assert {status_of(outbox, body) for body in bodies} == {201}


def test_an_event_that_its_device_is_sending_is_in_no_batch(
    server: ScriptedServer, forwarder: Forwarder, outbox: Outbox
) -> None:
    bodies = [package(f"event-{number}") for number in range(4)]
    waiting(outbox, bodies[:2])
    reserved, _ = outbox.put(bodies[2], 60)
    waiting(outbox, bodies[3:])
    with running(forwarder):
        wait_until(lambda: outbox.backlog()[0] == 1, "the others are forwarded")
    assert sent(server) == [[bodies[0]], [bodies[1], bodies[3]]]
    assert outbox.oldest() == []
    outbox.release(reserved)
    assert outbox.oldest() == [reserved]


def test_each_event_of_a_batch_keeps_its_own_fate(
    server: ScriptedServer, forwarder: Forwarder, outbox: Outbox, tmp_path: Path
) -> None:
    away = threading.Event()
    away.set()

    def answer(request: Received) -> Reply:
        name = request.document()["id"]
        if name == "bad":
            return problem(422, "clock_skew")
        if name == "stumble":
            return problem(500, "internal_error")
        return problem(503, "backend_unavailable") if name == "later" and away.is_set() else stored

    stored = receipt(Received("POST", EVENTS, "", {}, package()))
    server.script("POST", BATCH, in_batches(answer))
    names = ["alone", "good", "bad", "stumble", "later", "fine", "worst"]
    bodies = {name: package(name) for name in names}
    waiting(outbox, list(bodies.values()))
    with running(forwarder):
        wait_until(lambda: outbox.backlog()[0] == 2, "the others are answered")
        wait_until(lambda: forwarder.pause_left() > 0, "the server is left alone")
    assert [len(events) for events in sent(server)][:3] == [1, 2, 4]
    found = [status_of(outbox, bodies[name]) for name in names]
    assert found == [201, 201, 422, None, None, 201, 201]
    with closing(sqlite3.connect(tmp_path / "outbox.sqlite")) as database:
        rows = database.execute("SELECT body FROM events WHERE status >= 400").fetchall()
    assert rows == [(bodies["bad"],)]  # its device doesn't know yet
    assert [entry.body for entry in outbox.oldest(9, 9999)] == [bodies["later"]]


@pytest.mark.parametrize(("reply", "batches"), NOTHING_BUT_BATCHES)
def test_where_batches_fail_events_go_one_by_one(
    reply: Reply, batches: int, server: ScriptedServer, forwarder: Forwarder, outbox: Outbox
) -> None:
    server.script("POST", BATCH, reply)
    bodies = [package(f"event-{number}") for number in range(4)]
    waiting(outbox, bodies)
    forward_all(forwarder, outbox)
    assert [one.body for one in server.calls("POST", EVENTS)] == bodies
    assert len(server.calls("POST", BATCH)) == batches
    assert outbox.refused() == 0
    assert forwarder.refusal == ""


@pytest.mark.parametrize(
    ("reply", "refusal"),
    [
        (problem(503, "backend_unavailable"), ""),
        (Drop(), ""),
        (problem(403, "relay_not_active"), "relay_not_active"),
        (problem(401, "certificate_revoked"), "certificate_revoked"),
    ],
)
def test_while_the_server_takes_no_batch_everything_is_kept_and_one_event_goes_ahead(
    reply: Reply | Drop,
    refusal: str,
    server: ScriptedServer,
    forwarder: Forwarder,
    outbox: Outbox,
) -> None:
    may_go = threading.Event()

    def receipt_later(request: Received) -> Reply:
        assert may_go.wait(30)
        return receipt(request)

    server.script("POST", EVENTS, receipt, receipt_later)
    server.script("POST", BATCH, reply, in_batches(receipt))
    bodies = [package(f"event-{number}") for number in range(6)]
    waiting(outbox, bodies)
    with running(forwarder):
        wait_until(lambda: len(server.calls("POST", EVENTS)) == 2, "one goes ahead")
        assert forwarder.refusal == refusal
        assert outbox.backlog()[0] == 5
        may_go.set()
        wait_until(lambda: outbox.backlog()[0] == 0, "all are forwarded")
    assert [len(events) for events in sent(server)] == [1, 2, 1, 2, 2]
    assert {status_of(outbox, body) for body in bodies} == {201}


def test_a_batch_that_comes_too_fast_comes_again_as_it_is(
    server: ScriptedServer, forwarder: Forwarder, outbox: Outbox
) -> None:
    limited = problem(429, "rate_limited", headers={"Retry-After": "1"})
    server.script("POST", BATCH, limited, in_batches(receipt))
    waiting(outbox, [package() for _ in range(5)])
    forward_all(forwarder, outbox)
    assert [len(events) for events in sent(server)] == [1, 2, 2, 2]


def test_an_event_on_many_lines_is_one_line_of_a_batch(
    server: ScriptedServer, forwarder: Forwarder, outbox: Outbox
) -> None:
    bodies = [package(), b'{"id":\n"spread"}\n', b'{"id": "spread",\r\n "more": 1}']
    waiting(outbox, bodies)
    forward_all(forwarder, outbox)
    assert [len(events) for events in sent(server)] == [1, 2]
    assert {status_of(outbox, body) for body in bodies} == {201}
