"""Pages of other origins: who may call, and what they may read."""

from __future__ import annotations

from collections.abc import Callable

import falcon.testing
import pytest

from eventserver_core.wiring import Services

from .exchange import (
    CHALLENGE,
    EVENTS,
    SOLUTION,
    UNKNOWN,
    Client,
)

ORIGIN = "https://app.example"


class TestOrigins:
    PREFLIGHT = {
        "Origin": ORIGIN,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization, content-type",
    }

    @pytest.fixture
    def make_client(self, make_services: Callable[..., Services]) -> Callable[[str], Client]:
        def make(origins: str) -> Client:
            services = make_services(EVENTSERVER__SECURITY__ALLOWED_ORIGINS=origins)
            return falcon.testing.TestClient(services.application())

        return make

    def test_a_page_of_an_allowed_origin_may_call(
        self, make_client: Callable[[str], Client]
    ) -> None:
        client = make_client(f"{ORIGIN}, https://other.example")
        for path, status in (("/health/live", 200), ("/nowhere", 404), (UNKNOWN, 401)):
            answer = client.simulate_get(path, headers={"Origin": ORIGIN})
            assert answer.status_code == status
            assert answer.headers["access-control-allow-origin"] == ORIGIN
            assert "access-control-allow-credentials" not in answer.headers
            exposed = answer.headers["access-control-expose-headers"].lower().split(", ")
            assert {"x-request-id", "retry-after", "ratelimit", "ratelimit-policy"} <= set(exposed)
            assert "location" in exposed

    def test_a_preflight_is_answered(self, make_client: Callable[[str], Client]) -> None:
        client = make_client(ORIGIN)
        for path in (EVENTS, SOLUTION, CHALLENGE, f"{EVENTS}/package"):
            answer = client.simulate_options(path, headers=self.PREFLIGHT)
            assert answer.status_code == 200
            assert answer.headers["access-control-allow-origin"] == ORIGIN
            assert "POST" in answer.headers["access-control-allow-methods"].split(", ")
            allowed = answer.headers["access-control-allow-headers"].lower()
            assert "authorization" in allowed
            assert "content-type" in allowed
            assert answer.content == b""

    @pytest.mark.parametrize(
        "origin", ["https://evil.example", "http://app.example", f"{ORIGIN}.evil.example", "null"]
    )
    def test_a_page_of_another_origin_may_not(
        self, make_client: Callable[[str], Client], origin: str
    ) -> None:
        client = make_client(ORIGIN)
        answers = [
            client.simulate_get("/health/live", headers={"Origin": origin}),
            client.simulate_options(EVENTS, headers=self.PREFLIGHT | {"Origin": origin}),
        ]
        for answer in answers:
            assert not [name for name in answer.headers if name.startswith("access-control-")]

    def test_caches_are_told_that_the_origin_matters(
        self, make_client: Callable[[str], Client]
    ) -> None:
        client = make_client(ORIGIN)
        for headers in ({"Origin": ORIGIN}, {"Origin": "https://evil.example"}, {}):
            answer = client.simulate_get("/.well-known/jwks.json", headers=headers)
            assert answer.headers["vary"] == "Origin"

    def test_where_none_is_set_no_page_may_call(self, client: Client) -> None:
        answers = [
            client.simulate_get("/health/live", headers={"Origin": ORIGIN}),
            client.simulate_options(EVENTS, headers=self.PREFLIGHT),
        ]
        for answer in answers:
            assert answer.status_code == 200
            assert not [name for name in answer.headers if name.startswith("access-control-")]

    def test_a_star_is_any_origin(self, make_client: Callable[[str], Client]) -> None:
        client = make_client("*")
        answer = client.simulate_get("/health/live", headers={"Origin": "https://any.example"})
        assert answer.headers["access-control-allow-origin"] == "*"
        assert "vary" not in answer.headers
