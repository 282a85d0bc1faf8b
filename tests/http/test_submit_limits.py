"""How much is taken, how fast, and how old or young an event may be."""

from __future__ import annotations

import base64
import itertools
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import falcon.testing
import pytest

from eventserver_core.backends.auth import Role
from eventserver_core.http import body as body_module
from eventserver_core.testing.factories import make_package
from eventserver_core.wiring import Services

from .exchange import (
    EVENTS,
    SIGNED_EVENTS,
    Client,
    CountedStream,
    Headers,
    Part,
    assert_nothing_stored,
    assert_problem,
    bearer,
    certificate,
    post_event,
    post_form,
    post_stream,
)

PHOTO = Path(__file__).parents[1] / "media" / "photo.jpg"
JSON = "application/json"
MAX_JSON, MAX_INLINE, MAX_FILE = 40_000, 20_000, 25_000
FORM = "multipart/form-data; boundary=B"


@pytest.fixture
def services(make_services: Callable[..., Services]) -> Services:
    return make_services(
        EVENTSERVER__SERVER__MAX_JSON_SIZE=str(MAX_JSON),
        EVENTSERVER__STORAGE__MAX_INLINE_SIZE=str(MAX_INLINE),
        EVENTSERVER__STORAGE__MAX_FILE_SIZE=str(MAX_FILE),
    )


def photo_of(size: int, *, inline: bool) -> tuple[dict[str, Any], bytes]:
    """Return a package with a photo of a size."""
    content = (PHOTO.read_bytes() * 2)[:size]
    package = make_package(PHOTO, inline=inline)
    package["media"]["size"] = size
    if inline:
        package["media"]["data"] = base64.b64encode(content).decode()
    return package, content


def endless(head: bytes) -> Iterator[bytes]:
    return itertools.chain([head], itertools.repeat(b"x" * 1000, 10**9))


class TestHowMuchIsTaken:
    def test_media_inside_json_is_taken_up_to_its_limit(
        self, client: Client, relay: Headers, services: Services
    ) -> None:
        package, _ = photo_of(MAX_INLINE + 1, inline=True)
        problem = assert_problem(post_event(client, relay, package), 413, "content_too_large")
        assert "multipart/form-data" in problem["detail"]
        assert str(MAX_INLINE) in problem["detail"]
        assert_nothing_stored(services)
        package, _ = photo_of(MAX_INLINE, inline=True)
        assert post_event(client, relay, package).status_code == 201

    def test_media_in_a_form_is_taken_up_to_its_limit(
        self, client: Client, relay: Headers, services: Services
    ) -> None:
        package, content = photo_of(MAX_FILE + 1, inline=False)
        for parts in (
            [Part.event(package), Part.media(content)],
            [Part.media(content), Part.event(package)],
        ):
            problem = assert_problem(post_form(client, relay, *parts), 413, "content_too_large")
            assert str(MAX_FILE) in problem["detail"]
            # it came as a form already
            assert "multipart" not in problem["detail"]
        assert_nothing_stored(services)
        package, content = photo_of(MAX_FILE, inline=False)
        answer = post_form(client, relay, Part.event(package), Part.media(content))
        assert answer.status_code == 201

    def test_an_event_in_a_form_is_taken_up_to_the_limit_of_json(
        self, client: Client, relay: Headers, services: Services
    ) -> None:
        answer = post_form(client, relay, Part.event(make_package(note="x" * MAX_JSON)))
        assert_problem(answer, 413, "content_too_large")
        assert_nothing_stored(services)

    @pytest.mark.parametrize("path", [EVENTS, SIGNED_EVENTS])
    def test_json_is_taken_up_to_its_limit(self, client: Client, relay: Headers, path: str) -> None:
        package = make_package(note="")
        package["note"] = "x" * (MAX_JSON - len(json.dumps(package)))
        assert post_event(client, relay, package, path).status_code == 201
        answer = post_event(client, relay, json.dumps(package) + " ", path)
        problem = assert_problem(answer, 413, "content_too_large")
        assert "multipart/form-data" in problem["detail"]

    @pytest.mark.parametrize("path", [EVENTS, SIGNED_EVENTS])
    def test_a_length_over_the_limit_is_refused_before_a_byte_is_read(
        self, client: Client, relay: Headers, path: str
    ) -> None:
        stream = CountedStream(endless(b"{"))
        status, problem, _ = post_stream(
            client, relay, stream, JSON, path=path, length=MAX_JSON + 1
        )
        assert (status, problem["code"]) == (413, "content_too_large")
        assert stream.taken == 0

    @pytest.mark.parametrize("path", [EVENTS, SIGNED_EVENTS])
    def test_a_body_without_a_length_is_refused_while_it_streams(
        self, client: Client, relay: Headers, services: Services, path: str
    ) -> None:
        stream = CountedStream(endless(b"{"))
        status, problem, _ = post_stream(client, relay, stream, JSON, path=path)
        assert (status, problem["code"]) == (413, "content_too_large")
        assert stream.taken < MAX_JSON + 128 * 1024
        assert_nothing_stored(services)

    @pytest.mark.parametrize(
        ("head", "expected"),
        [
            (Part.media(b"\xff\xd8\xff").encode("B")[:-2], (413, "content_too_large")),
            (Part.event(b"{").encode("B")[:-2], (413, "content_too_large")),
            (b"a preamble without an end ", (413, "content_too_large")),
            (b"--B\r\nX: ", (400, "invalid_package")),
        ],
        ids=["media", "event", "preamble", "headers"],
    )
    def test_an_endless_form_is_refused_while_it_streams(
        self,
        client: Client,
        relay: Headers,
        services: Services,
        head: bytes,
        expected: tuple[int, str],
    ) -> None:
        stream = CountedStream(endless(head))
        status, problem, _ = post_stream(client, relay, stream, FORM)
        assert (status, problem["code"]) == expected
        assert stream.taken < MAX_FILE + MAX_JSON + 256 * 1024
        assert_nothing_stored(services)

    def test_a_chunked_body_within_the_limits_is_taken(
        self, client: Client, relay: Headers
    ) -> None:
        body = json.dumps(make_package()).encode()
        stream = CountedStream(body[i : i + 7] for i in range(0, len(body), 7))
        status, receipt, headers = post_stream(client, relay, stream, JSON)
        assert status == 201
        assert headers["location"].endswith(receipt["hash"])

    @pytest.mark.parametrize("length", ["-1", "seven", "1e3"])
    def test_a_length_that_is_none_is_refused(
        self, client: Client, relay: Headers, length: str
    ) -> None:
        headers = dict(relay) | {"Content-Length": length, "Content-Type": JSON}
        stream = CountedStream([b"{}"])
        status, problem, _ = post_stream(client, headers, stream, JSON, length=length)  # type: ignore[arg-type]
        assert (status, problem["code"]) == (400, "bad_request")


class TestHowFastItComes:
    def test_a_body_that_comes_too_slowly_is_given_up(
        self,
        client: Client,
        relay: Headers,
        services: Services,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        moments = itertools.count(step=100)
        clock = SimpleNamespace(monotonic=lambda: float(next(moments)))
        monkeypatch.setattr(body_module, "time", clock)
        stream = CountedStream(itertools.repeat(b" ", 1000))
        status, problem, _ = post_stream(client, relay, stream, JSON)
        assert (status, problem["code"]) == (408, "request_timeout")
        assert stream.taken < 10
        assert_nothing_stored(services)

    @pytest.mark.parametrize(
        ("raised", "status", "code"),
        [
            (TimeoutError("timed out"), 408, "request_timeout"),
            (ConnectionResetError(104, "reset by peer"), 400, "invalid_request"),
        ],
        ids=["idle", "gone"],
    )
    @pytest.mark.parametrize("content_type", [JSON, FORM])
    def test_a_socket_that_fails_is_the_callers_fault(
        self,
        client: Client,
        relay: Headers,
        services: Services,
        raised: Exception,
        status: int,
        code: str,
        content_type: str,
    ) -> None:
        def breaking() -> Iterator[bytes]:
            yield b"--B\r\n"
            raise raised

        answered, problem, _ = post_stream(client, relay, CountedStream(breaking()), content_type)
        assert (answered, problem["code"]) == (status, code)
        assert_nothing_stored(services)

    def test_a_body_shorter_than_it_says_is_refused(
        self, client: Client, relay: Headers, services: Services
    ) -> None:
        body = json.dumps(make_package()).encode()
        status, problem, _ = post_stream(
            client, relay, CountedStream([body]), JSON, length=len(body) + 1
        )
        assert (status, problem["code"]) == (400, "invalid_request")
        assert_nothing_stored(services)


def created(offset: timedelta) -> dict[str, Any]:
    package = make_package()
    package["metadata"]["createdAt"] = (datetime.now(UTC) + offset).isoformat()
    return package


class TestWhenItWasMade:
    def test_an_event_from_the_future_is_refused_with_the_servers_time(
        self, client: Client, relay: Headers, services: Services
    ) -> None:
        before = datetime.now(UTC).replace(microsecond=0)
        for offset in (timedelta(minutes=16), timedelta(days=365)):
            answer = post_event(client, relay, created(offset))
            problem = assert_problem(answer, 422, "clock_skew")
            told = datetime.fromisoformat(problem["serverTime"])
            assert before <= told <= datetime.now(UTC)
            assert problem["serverTime"].endswith("Z")
        assert_nothing_stored(services)

    @pytest.mark.parametrize(
        "offset",
        [timedelta(minutes=14), timedelta(0), timedelta(days=-7), timedelta(days=-20_000)],
        ids=["a little ahead", "now", "last week", "long ago"],
    )
    def test_an_event_of_any_earlier_time_is_taken(
        self, client: Client, relay: Headers, offset: timedelta
    ) -> None:
        assert post_event(client, relay, created(offset)).status_code == 201

    def test_how_far_back_it_may_lie_can_be_set(
        self, make_services: Callable[..., Services]
    ) -> None:
        services = make_services(EVENTSERVER__SECURITY__EVENT_MAX_AGE="3600")
        client = falcon.testing.TestClient(services.application())
        relay = bearer(certificate(services, Role.RELAY, "relay-1"))
        assert post_event(client, relay, created(timedelta(minutes=-59))).status_code == 201
        answer = post_event(client, relay, created(timedelta(minutes=-61)))
        assert_problem(answer, 422, "event_too_old")

    def test_an_event_that_grew_old_after_it_was_taken_still_gets_its_receipt(
        self, make_services: Callable[..., Services]
    ) -> None:
        package = created(timedelta(minutes=-61))
        clients = []
        for max_age in ("0", "3600"):
            services = make_services(EVENTSERVER__SECURITY__EVENT_MAX_AGE=max_age)
            clients.append(falcon.testing.TestClient(services.application()))
        relay = bearer(certificate(services, Role.RELAY, "relay-1"))
        first = post_event(clients[0], relay, package)
        again = post_event(clients[1], relay, package)
        assert (first.status_code, again.status_code) == (201, 200)
        assert again.content == first.content
