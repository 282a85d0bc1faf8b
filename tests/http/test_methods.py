"""HEAD, OPTIONS, and methods that no route has."""

from __future__ import annotations

import re

import falcon.testing
import pytest

from eventserver_core.demo.device import Device
from eventserver_core.testing.factories import make_package

from .exchange import (
    EVENTS,
    UNKNOWN,
    Answer,
    Client,
    Headers,
    assert_problem,
    bearer,
    enroll,
    post_event,
)


class TestHeadAndOptions:
    @pytest.mark.parametrize(
        "path",
        ["/health", "/health/live", "/health/ready", "/.well-known/jwks.json", f"{UNKNOWN}/verify"],
    )
    def test_head_is_get_without_the_body(self, client: Client, path: str) -> None:
        got, head = client.simulate_get(path), client.simulate_head(path)
        assert (got.status_code, head.status_code) == (200, 200)
        assert head.content == b""
        own = {"x-request-id", "content-length", "ratelimit", "traceresponse"}
        assert {n: v for n, v in head.headers.items() if n not in own} == {
            n: v for n, v in got.headers.items() if n not in own
        }
        assert int(head.headers["content-length"]) > 0

    def test_head_needs_what_get_needs(
        self, client: Client, relay: Headers, admin: Headers
    ) -> None:
        receipt = post_event(client, relay, make_package())
        location = receipt.headers["location"]
        other = bearer(enroll(client, Device()).json["token"])
        for headers, status in ((relay, 200), (admin, 200), (other, 403), ({}, 401)):
            for path in (location, f"{location}/package"):
                answer = client.simulate_head(path, headers=headers)
                assert answer.status_code == status
                assert answer.content == b""
        assert client.simulate_head(EVENTS, headers=relay).status_code == 405

    def test_options_names_the_methods(self, client: Client) -> None:
        answer = client.simulate_options(EVENTS)
        assert answer.status_code == 200
        assert answer.headers["allow"] == "POST"
        assert answer.content == b""
        assert_problem(client.simulate_options("/nowhere"), 404, "not_found")

    @pytest.mark.parametrize("method", ["WEBSOCKET", "BREW", "get", "CONNECT", "PROPFIND"])
    @pytest.mark.parametrize("path", ["/health", "/nowhere"])
    def test_a_method_that_nobody_knows_is_refused(
        self, client: Client, method: str, path: str
    ) -> None:
        environ = falcon.testing.create_environ(path=path)
        environ["REQUEST_METHOD"] = method
        started = falcon.testing.StartResponseMock()
        body = b"".join(client.app(environ, started))
        answer = Answer([body], started.status, started.headers)
        assert answer.status_code in (400, 403, 404, 405)
        assert_problem(answer, answer.status_code, answer.json["code"])
        assert re.fullmatch(r"[0-9a-f]{32}", answer.headers["x-request-id"])
