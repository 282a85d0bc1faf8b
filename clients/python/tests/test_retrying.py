"""What is tried again, and what never is."""

from __future__ import annotations

import dataclasses
import socket
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from eventserver_client import (
    Client,
    ProtocolError,
    RateLimitedError,
    RefusedError,
    RetryPolicy,
    UnavailableError,
    UntrustedServerError,
)
from eventserver_client.retrying import seconds_of
from eventserver_client.testing import Drop, Hang, Reply, ScriptedServer, problem

EVENTS = "/api/v1/events"
PACKAGE = {"id": "an-event", "media": {"type": "image/png"}}
RECEIPT = {
    "eventId": "an-event",
    "hash": "ab" * 32,
    "storageLocation": "filesystem:pack-1",
    "processedAt": "2024-01-01T00:00:05.123Z",
    "status": "stored",
}
STORED = Reply(201, RECEIPT)
NEVER = [400, 401, 403, 404, 409, 413, 415, 422, 500, 501, 502]


def hurried(server: ScriptedServer, **policy: Any) -> Client:
    chosen = dataclasses.replace(
        RetryPolicy(deadline=30, first_wait=0.01, longest_wait=0.05), **policy
    )
    return Client(server.url, retry=chosen)


def test_what_is_unavailable_now_is_tried_again(server: ScriptedServer, client: Client) -> None:
    server.script("POST", EVENTS, problem(503, "backend_unavailable"), Reply(503), STORED)
    assert client.submit(PACKAGE).digest_hex == "ab" * 32
    assert len(server.received) == 3
    assert len({request.body for request in server.received}) == 1


@pytest.mark.parametrize("status", [408, 504])
def test_a_time_out_that_is_told_is_tried_again(
    status: int, server: ScriptedServer, client: Client
) -> None:
    server.script("POST", EVENTS, problem(status, "too_slow"), Reply(status), STORED)
    assert client.submit(PACKAGE).event_id == "an-event"
    server.script("POST", EVENTS, Reply(status))
    with hurried(server, most_tries=2) as hasty, pytest.raises(UnavailableError) as caught:
        hasty.submit(PACKAGE)
    assert caught.value.status == status
    assert len(server.received) == 5


def test_a_lost_answer_is_asked_for_again(server: ScriptedServer, client: Client) -> None:
    server.script("POST", EVENTS, Drop(), Reply(200, RECEIPT))
    assert client.submit(PACKAGE).event_id == "an-event"
    assert len(server.received) == 2


def test_an_answer_that_breaks_off_is_asked_for_again(
    server: ScriptedServer, client: Client
) -> None:
    cut_short = Reply(201, pieces=(b'{"eventId"',), headers={"Content-Length": "500"})
    server.script("POST", EVENTS, cut_short, STORED)
    assert client.submit(PACKAGE).event_id == "an-event"


@pytest.mark.parametrize("status", NEVER)
def test_a_refusal_is_never_repeated(status: int, server: ScriptedServer, client: Client) -> None:
    fault = {"pointer": "/media/size", "detail": "it disagrees"}
    server.script("POST", EVENTS, problem(status, "some_code", errors=[fault], serverTime="now"))
    with pytest.raises(RefusedError) as caught:
        client.submit(PACKAGE)
    refusal = caught.value
    assert (refusal.status, refusal.code) == (status, "some_code")
    assert (refusal.detail, refusal.request_id) == ("it is some_code", "r-1")
    assert refusal.errors == (fault,)
    assert refusal.document["serverTime"] == "now"
    assert len(server.received) == 1


@pytest.mark.parametrize(
    "content", [b"<h1>Bad</h1>", b"[1]", b'{"code": 7, "errors": 3}', b"\xff", b"[" * 100_000]
)
def test_a_refusal_without_problem_details_is_one(
    content: bytes, server: ScriptedServer, client: Client
) -> None:
    server.script("POST", EVENTS, Reply(400, pieces=(content,)))
    with pytest.raises(RefusedError) as caught:
        client.submit(PACKAGE)
    assert (caught.value.status, caught.value.code, caught.value.errors) == (400, "", ())
    assert caught.value.detail == "Bad Request"


def test_a_limited_call_waits_as_long_as_it_is_told(server: ScriptedServer, client: Client) -> None:
    server.script(
        "POST", EVENTS, problem(429, "rate_limited", headers={"Retry-After": "1"}), STORED
    )
    began = time.monotonic()
    client.submit(PACKAGE)
    assert time.monotonic() - began >= 1
    assert len(server.received) == 2


def test_a_date_to_wait_for_is_understood(server: ScriptedServer, client: Client) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)
    server.script("POST", EVENTS, problem(503, "later", headers={"Retry-After": date}), STORED)
    client.submit(PACKAGE)
    assert datetime.now(UTC).replace(microsecond=999_999) >= datetime.strptime(
        date, "%a, %d %b %Y %H:%M:%S %Z"
    ).replace(tzinfo=UTC)


@pytest.mark.parametrize("asked", ["86400", "9" * 400, "Fri, 31 Dec 9999 23:59:59 GMT"])
@pytest.mark.parametrize(("status", "error"), [(429, RateLimitedError), (503, UnavailableError)])
def test_an_absurd_wait_is_given_up_at_once(
    asked: str,
    status: int,
    error: type[RateLimitedError | UnavailableError],
    server: ScriptedServer,
    client: Client,
) -> None:
    server.script("POST", EVENTS, problem(status, "later", headers={"Retry-After": asked}))
    began = time.monotonic()
    with pytest.raises(error) as caught:
        client.submit(PACKAGE)
    assert time.monotonic() - began < 20
    assert caught.value.retry_after is not None
    assert caught.value.retry_after > 80_000
    assert len(server.received) == 1


@pytest.mark.parametrize("asked", ["soon", "-5", "", "1.5", "٣", "nan", "Mon, 99 Foo"])
def test_a_wait_that_makes_no_sense_is_a_backoff(
    asked: str, server: ScriptedServer, client: Client
) -> None:
    assert seconds_of(asked) is None
    if asked.isascii():
        server.script("POST", EVENTS, problem(429, "slow", headers={"Retry-After": asked}), STORED)
        assert client.submit(PACKAGE).event_id == "an-event"


def test_a_date_that_has_passed_asks_for_no_wait() -> None:
    assert seconds_of("Wed, 21 Oct 2015 07:28:00 GMT") == 0


def test_it_gives_up_after_the_deadline(server: ScriptedServer) -> None:
    server.script("POST", EVENTS, Reply(503))
    with hurried(server, deadline=1, most_tries=10_000) as client:
        began = time.monotonic()
        with pytest.raises(UnavailableError):
            client.submit(PACKAGE)
        assert time.monotonic() - began < 20
    assert len(server.received) > 1


def test_it_gives_up_after_the_tries(server: ScriptedServer) -> None:
    server.script("POST", EVENTS, Reply(503))
    with hurried(server, most_tries=3) as client, pytest.raises(UnavailableError):
        client.submit(PACKAGE)
    assert len(server.received) == 3


def test_a_server_that_hangs_is_left_and_asked_again(server: ScriptedServer) -> None:
    server.script("POST", EVENTS, Hang(), STORED)
    retry = RetryPolicy(first_wait=0.01)
    with Client(server.url, retry=retry, timeout=0.5) as client:
        assert client.submit(PACKAGE).event_id == "an-event"


def test_a_server_that_hangs_for_good_ends_with_the_deadline(server: ScriptedServer) -> None:
    server.script("POST", EVENTS, Hang())
    with hurried(server, deadline=0.5) as client:
        began = time.monotonic()
        with pytest.raises(UnavailableError, match="ReadTimeout"):
            client.submit(PACKAGE)
        assert time.monotonic() - began < 20


def test_nobody_at_the_address_is_unavailable() -> None:
    with socket.socket() as bound:  # bound, and never listening
        bound.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{bound.getsockname()[1]}"
        retry = RetryPolicy(first_wait=0.01, most_tries=2)
        with Client(address, retry=retry) as client, pytest.raises(UnavailableError):
            client.submit(PACKAGE)


def test_a_redirect_is_not_followed(server: ScriptedServer, client: Client) -> None:
    server.script("POST", EVENTS, Reply(307, headers={"Location": "/elsewhere"}))
    with pytest.raises(ProtocolError, match="307"):
        client.submit(PACKAGE)
    assert len(server.received) == 1


def test_the_certificate_is_asked_for_each_try(server: ScriptedServer) -> None:
    certificates = iter(["the-first", "the-second"])
    server.script("POST", EVENTS, Reply(503), STORED)
    retry = RetryPolicy(first_wait=0.01)
    with Client(server.url, lambda: next(certificates), retry=retry) as client:
        client.submit(PACKAGE)
    sent = [request.headers["Authorization"] for request in server.received]
    assert sent == ["Bearer the-first", "Bearer the-second"]


@pytest.mark.parametrize("kind", ["bytes", "path", "file"])
def test_media_is_sent_whole_with_each_try(
    kind: str, server: ScriptedServer, client: Client, tmp_path: Path
) -> None:
    content = b"\x89PNG" + bytes(range(256)) * 1000
    path = tmp_path / "photo.png"
    path.write_bytes(content)
    server.script("POST", EVENTS, Drop(), Reply(503), STORED)
    with path.open("rb") as file:
        media = {"bytes": content, "path": path, "file": file}[kind]
        client.submit(PACKAGE, media)
    assert len(server.received) == 3
    for request in server.received:
        assert request.headers["Content-Type"].startswith("multipart/form-data; boundary=")
        assert content in request.body
        assert b'name="event"' in request.body
        assert b"Content-Type: image/png" in request.body


def test_a_server_that_nobody_vouches_for_is_not_asked_again(tls_server: tuple[str, Path]) -> None:
    url, root = tls_server
    with Client(url, "secret", retry=RetryPolicy(first_wait=0.01)) as client:
        began = time.monotonic()
        with pytest.raises(UntrustedServerError):
            client.health()
        assert time.monotonic() - began < 20
    with Client(url, verify=root) as client:
        assert client.health().status == "healthy"
