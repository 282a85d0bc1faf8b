"""Many events in one request: what is sent, and what is made of each line's result."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest
from eventserver_client import (
    EventServerError,
    ProtocolError,
    RateLimitedError,
    Receipt,
    RefusedError,
    RelayClient,
    RetryPolicy,
    UnavailableError,
)
from eventserver_client.testing import Drop, Received, Reply, ScriptedServer, problem

BATCH = "/api/v1/events/batch"
RECEIPT = {
    "eventId": "an-event",
    "hash": "ab" * 32,
    "storageLocation": "filesystem:pack-1",
    "processedAt": "2024-01-01T00:00:05.123Z",
    "status": "stored",
}


def lines(request: Received) -> list[bytes]:
    return request.body.split(b"\n")


def echo(request: Received) -> Reply:
    """Store each event, and say so under its id."""
    ids = [json.loads(line)["id"] for line in lines(request)]
    return results(*({"status": 201, "receipt": RECEIPT | {"eventId": one}} for one in ids))


def results(*found: dict[str, Any], **headers: str) -> Reply:
    numbered = [{"line": number} | one for number, one in enumerate(found, 1)]
    return Reply(200, {"results": numbered}, headers)


def refused(status: int, code: str, **members: Any) -> dict[str, Any]:
    return {"status": status, "problem": problem(status, code, **members).document}


def ids(found: list[Receipt | EventServerError]) -> list[str]:
    return [one.event_id for one in found if isinstance(one, Receipt)]


def test_each_event_is_a_line(server: ScriptedServer, relay: RelayClient) -> None:
    stored = {"status": 201, "receipt": RECEIPT}
    server.script("POST", BATCH, results(stored, stored, stored))
    assert len(relay.submit_batch([{"id": "é"}, b'{"id" :  1e2}', "a.b.c"])) == 3
    (request,) = server.received
    expected = ['{"id": "é"}', '{"id" :  1e2}', '{"jwtEventData": "a.b.c"}']
    assert request.body.decode().split("\n") == expected
    assert request.headers["Content-Type"] == "application/x-ndjson"
    assert request.headers["Authorization"] == "Bearer a-certificate"


def test_json_on_many_lines_becomes_one_that_says_the_same(
    server: ScriptedServer, relay: RelayClient
) -> None:
    server.script("POST", BATCH, echo)
    package = {"id": "two\nlines", "annotations": [1, 2]}
    relay.submit_batch([json.dumps(package, indent=2).encode()])
    (line,) = lines(server.received[0])
    assert json.loads(line) == package


def test_what_is_no_json_does_not_become_json(server: ScriptedServer, relay: RelayClient) -> None:
    server.script("POST", BATCH, results(refused(400, "invalid_package")))
    relay.submit_batch([b'{"id": "a line feed\n in a string"}'])
    (line,) = lines(server.received[0])
    with pytest.raises(ValueError, match="control character"):
        json.loads(line)


def test_each_event_gets_what_sending_it_alone_would_have_got(
    server: ScriptedServer, relay: RelayClient
) -> None:
    fault = {"pointer": "/id", "detail": "it is no UUID"}
    answer = results(
        {"status": 201, "receipt": RECEIPT},
        refused(400, "invalid_package", errors=[fault]),
        {"status": 200, "receipt": RECEIPT},
        refused(409, "event_id_conflict", storedHash="cd"),
        refused(503, "backend_unavailable"),
        refused(429, "rate_limited"),
        refused(500, "internal_error"),
        **{"Retry-After": "5"},
    )
    server.script("POST", BATCH, answer)
    first, bad, again, conflict, later, slower, fallen = relay.submit_batch([{}] * 7)
    assert isinstance(first, Receipt)
    assert first == again
    assert first.answer == RECEIPT
    assert isinstance(bad, RefusedError)
    assert (bad.status, bad.code, bad.errors) == (400, "invalid_package", (fault,))
    assert (bad.detail, bad.request_id) == ("it is invalid_package", "r-1")
    assert isinstance(conflict, RefusedError)
    assert conflict.document["storedHash"] == "cd"
    assert isinstance(later, UnavailableError)
    assert (later.status, later.retry_after) == (503, 5)
    assert isinstance(slower, RateLimitedError)
    assert isinstance(fallen, RefusedError)
    assert fallen.status == 500
    assert len(server.received) == 1  # a line that may fare better later is the caller's to send


def test_a_batch_whose_answer_was_lost_or_put_off_is_sent_again_whole(
    server: ScriptedServer, relay: RelayClient
) -> None:
    limited = problem(429, "rate_limited", headers={"Retry-After": "0"})
    away = problem(503, "backend_unavailable")
    server.script("POST", BATCH, Drop(), away, limited, echo)
    assert ids(relay.submit_batch([{"id": "a"}, {"id": "b"}])) == ["a", "b"]
    assert len(server.received) == 4
    assert len({request.body for request in server.received}) == 1


@pytest.mark.parametrize(
    ("status", "error"), [(413, RefusedError), (429, RateLimitedError), (503, UnavailableError)]
)
def test_a_batch_may_fail_as_a_whole(
    status: int, error: type[EventServerError], server: ScriptedServer
) -> None:
    server.script("POST", BATCH, problem(status, "a_code"))
    retry = RetryPolicy(most_tries=1)
    with RelayClient(server.url, retry=retry) as relay, pytest.raises(error, match="a_code"):
        relay.submit_batch([{}, {}])


@pytest.mark.parametrize(
    "document",
    [
        [],
        {"results": [{"line": 1, "status": 201, "receipt": RECEIPT}]},
        {"results": [{"line": n, "status": 201, "receipt": RECEIPT} for n in (2, 1)]},
        {"results": [{"line": n, "status": 201, "receipt": {}} for n in (1, 2)]},
        {"results": [{"line": n, "status": 302, "receipt": RECEIPT} for n in (1, 2)]},
        {"results": [{"line": n, "status": "400"} for n in (1, 2)]},
    ],
)
def test_an_answer_that_does_not_fit_the_batch_is_none(
    document: Any, server: ScriptedServer, relay: RelayClient
) -> None:
    server.script("POST", BATCH, Reply(200, document))
    with pytest.raises(ProtocolError):
        relay.submit_batch([{}, {}])
    assert len(server.received) == 1


@pytest.mark.parametrize("event", [b"", b" \r\n", {"value": float("nan")}])
def test_what_would_be_no_line_is_not_sent(
    event: Any, server: ScriptedServer, relay: RelayClient
) -> None:
    with pytest.raises(ValueError):
        relay.submit_batch([{"id": "a"}, event])
    assert relay.submit_batch([]) == []
    assert not server.received


def test_many_events_are_cut_into_batches(server: ScriptedServer, relay: RelayClient) -> None:
    server.script("POST", BATCH, echo)
    events = [{"id": str(number)} for number in range(7)]
    found = list(relay.submit_many(iter(events), most_events=3))
    assert [event for event, _ in found] == events
    assert ids([result for _, result in found]) == list("0123456")
    assert [len(lines(request)) for request in server.received] == [3, 3, 1]


def test_no_batch_has_more_bytes_unless_an_event_has(
    server: ScriptedServer, relay: RelayClient
) -> None:
    server.script("POST", BATCH, echo)
    events = [{"id": one} for one in ("a", "b", "c" * 200, "d", "e", "f")]
    assert len(list(relay.submit_many(events, most_bytes=26))) == 6
    assert [len(lines(request)) for request in server.received] == [2, 1, 2, 1]


def test_endless_events_are_sent_while_results_are_read(
    server: ScriptedServer, relay: RelayClient
) -> None:
    server.script("POST", BATCH, echo, echo, problem(413, "content_too_large"))
    endless: Iterator[Any] = ({"id": str(number)} for number in itertools.count())
    found = relay.submit_many(endless, most_events=2)
    assert ids([result for _, result in itertools.islice(found, 4)]) == list("0123")
    assert len(server.received) == 2
    with pytest.raises(RefusedError, match="content_too_large"):
        next(found)


def test_an_event_that_is_too_large_by_itself_fails_by_itself(
    server: ScriptedServer, relay: RelayClient
) -> None:
    server.script("POST", BATCH, echo, problem(413, "content_too_large"), echo)
    events = [{"id": "0"}, {"id": "1", "note": "x" * 100}, {"id": "2"}]
    first, large, last = relay.submit_many(events, most_bytes=60)
    assert [event for event, _ in (first, large, last)] == events
    assert ids([first[1], last[1]]) == ["0", "2"]
    assert isinstance(large[1], RefusedError)
    assert large[1].status == 413


def test_json_is_taken_as_text_too_and_one_event_is_no_list(
    server: ScriptedServer, relay: RelayClient
) -> None:
    server.script("POST", BATCH, echo)
    assert ids(relay.submit_batch([' {"id":\n"7"}'])) == ["7"]
    with pytest.raises(TypeError, match="list"):
        relay.submit_batch({"id": "7"})
    with pytest.raises(ValueError, match="no JSON"):
        relay.submit_batch([{"id": object()}])
