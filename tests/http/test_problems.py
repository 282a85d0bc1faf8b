"""Every error is problem details: what a caller can act on, and nothing it should not see."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from structlog.testing import capture_logs

from eventserver_core.testing.factories import make_package
from eventserver_core.wiring import Services

from .exchange import (
    CHALLENGE,
    EVENTS,
    UNKNOWN,
    Client,
    Headers,
    assert_problem,
    post_event,
)

_STRING = r'"(?:[\x20-\x21\x23-\x5b\x5d-\x7e]|\\["\\])*"'
_PARAMETER = rf";[ ]*([a-z*][a-z0-9_.*-]*)(?:=(-?[0-9]{{1,15}}|{_STRING}))?"
_MEMBER = re.compile(rf"({_STRING})((?:{_PARAMETER})*)")


def parse_structured(text: str) -> dict[str, dict[str, int]]:
    """Read a list of strings with whole numbers as parameters (RFC 9651, section 3.1)."""
    members = {}
    for item in re.split(r"[ \t]*,[ \t]*", text):
        member = _MEMBER.fullmatch(item)
        assert member, text
        parameters = re.findall(_PARAMETER, member[2])
        members[member[1][1:-1]] = {name: int(value) for name, value in parameters}
    return members


class TestEveryStatus:
    def test_404_for_what_is_not_there(self, client: Client, admin: Headers) -> None:
        for path in ("/", "/nowhere", "/api/v1/events/x/y/z", "/health/", "/..%2f..%2fetc/passwd"):
            assert_problem(client.simulate_get(path), 404, "not_found")
        assert_problem(client.simulate_get(UNKNOWN, headers=admin), 404, "not_found")
        assert_problem(client.simulate_get(f"{UNKNOWN}/proof"), 404, "not_found")

    def test_405_names_what_is_allowed(self, client: Client, relay: Headers) -> None:
        for path, allowed in (
            (EVENTS, {"POST", "OPTIONS"}),
            (UNKNOWN, {"GET", "HEAD", "OPTIONS"}),
            ("/health", {"GET", "HEAD", "OPTIONS"}),
            ("/api/v1/certificates/x", {"DELETE", "OPTIONS"}),
        ):
            answer = client.simulate_put(path, headers=relay)
            assert_problem(answer, 405, "method_not_allowed")
            assert set(answer.headers["allow"].split(", ")) == allowed

    def test_400_for_what_can_never_succeed(self, client: Client, relay: Headers) -> None:
        answer = post_event(client, relay, "{")
        assert assert_problem(answer, 400, "invalid_package")["errors"][0]["pointer"] == ""
        assert_problem(client.simulate_get(f"{EVENTS}/xyz/verify"), 400, "invalid_request")

    @pytest.mark.parametrize(
        ("authorization", "challenge"),
        [
            (None, "Bearer"),
            ("", "Bearer"),
            ("Bearer", "Bearer"),
            ("Bearer ", "Bearer"),
            ("Basic dXNlcjpwYXNz", "Bearer"),
            ("Bearer x", 'Bearer error="invalid_token"'),
            ("bearer a.b.c", 'Bearer error="invalid_token"'),
            ("Bearer " + "x" * 10_000, 'Bearer error="invalid_token"'),
            ("Bearer é", 'Bearer error="invalid_token"'),
        ],
        ids=range(9),
    )
    def test_401_says_how_to_do_better(
        self, client: Client, authorization: str | None, challenge: str
    ) -> None:
        headers = {} if authorization is None else {"Authorization": authorization}
        answer = post_event(client, headers, make_package())
        code = "unauthenticated" if challenge == "Bearer" else "certificate_invalid"
        assert_problem(answer, 401, code)
        assert answer.headers["www-authenticate"] == challenge

    def test_403_for_a_certificate_that_may_not(self, client: Client, relay: Headers) -> None:
        answer = client.simulate_delete("/api/v1/certificates/x", headers=relay)
        assert_problem(answer, 403, "forbidden")
        assert "www-authenticate" not in answer.headers

    def test_413_415_and_422_are_told_apart(self, client: Client, relay: Headers) -> None:
        text = {"Content-Type": "text/plain"}
        answer = post_event(client, dict(relay) | text, "hello")
        assert_problem(answer, 415, "unsupported_media_type")
        large = {"Content-Length": str(2**40), "Content-Type": "application/json"}
        answer = client.simulate_post(EVENTS, body="{}", headers=dict(relay) | large)
        assert_problem(answer, 413, "content_too_large")
        package = make_package()
        package["metadata"]["createdAt"] = "2999-01-01T00:00:00Z"
        assert_problem(post_event(client, relay, package), 422, "clock_skew")


class TestRequestIds:
    @pytest.mark.parametrize("given", ["a", "0f9b-17_x.Y", "x" * 128])
    def test_a_sane_one_comes_back(self, client: Client, given: str) -> None:
        for path, status in (("/health/live", 200), ("/nowhere", 404)):
            answer = client.simulate_get(path, headers={"X-Request-ID": given})
            assert answer.status_code == status
            assert answer.headers["x-request-id"] == given

    @pytest.mark.parametrize(
        "given", ["", " ", "two words", "x" * 129, "../x", "a;b", "ü", '"', "<script>", "{}"]
    )
    def test_any_other_is_replaced(self, client: Client, given: str) -> None:
        answers = [
            client.simulate_get("/nowhere", headers={"X-Request-ID": given}) for _ in range(2)
        ]
        ids = [answer.headers["x-request-id"] for answer in answers]
        assert given not in ids
        assert len(set(ids)) == 2
        assert all(re.fullmatch(r"[0-9a-f]{32}", request_id) for request_id in ids)
        assert_problem(answers[0], 404, "not_found")

    def test_every_log_line_of_a_request_has_it(self, client: Client) -> None:
        from structlog.contextvars import merge_contextvars

        with capture_logs([merge_contextvars]) as lines:
            client.simulate_post(CHALLENGE, headers={"X-Request-ID": "my-id"})
            client.simulate_get("/nowhere", headers={"X-Request-ID": "other-id"})
        finished = [line for line in lines if line["event"] == "request_finished"]
        assert [line["request_id"] for line in finished] == ["my-id", "other-id"]
        assert [line["route"] for line in finished] == [CHALLENGE, "unknown"]
        assert [line["status"] for line in finished] == [200, 404]


class TestLimits:
    @pytest.fixture
    def services(self, make_services: Callable[..., Services]) -> Services:
        return make_services(EVENTSERVER__SECURITY__RATE_LIMIT_PER_MINUTE="3")

    def test_every_limited_answer_says_what_is_left(self, client: Client, relay: Headers) -> None:
        for left, status in ((2, 201), (1, 201), (0, 400)):
            package = make_package() if status == 201 else {}
            answer = post_event(client, relay, package)
            assert answer.status_code == status
            policy = parse_structured(answer.headers["ratelimit-policy"])
            assert policy == {"default": {"q": 3, "w": 60}}
            limit = parse_structured(answer.headers["ratelimit"])
            assert limit["default"]["r"] == left
            assert 0 < limit["default"]["t"] <= 61

    def test_whoever_goes_too_fast_is_told_when_to_come_back(
        self, client: Client, relay: Headers
    ) -> None:
        for _ in range(3):
            post_event(client, relay, {})
        answer = post_event(client, relay, make_package())
        problem = assert_problem(answer, 429, "rate_limited")
        assert "3 calls in 60 seconds" in problem["detail"]
        assert re.fullmatch(r"[1-9][0-9]?", answer.headers["retry-after"])
        assert int(answer.headers["retry-after"]) <= 61
        assert parse_structured(answer.headers["ratelimit"])["default"]["r"] == 0
        assert parse_structured(answer.headers["ratelimit-policy"])

    def test_what_needs_no_limit_has_none(self, client: Client) -> None:
        for _ in range(5):
            answer = client.simulate_get("/health/live")
            assert answer.status_code == 200
            assert not {"ratelimit", "ratelimit-policy"} & answer.headers.keys()
