"""How well the server says it is, and that saying so costs little."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import falcon.testing
import pytest

import eventserver_core
from eventserver_core.errors import BackendUnavailableError
from eventserver_core.services import health as health_module
from eventserver_core.testing.factories import make_package
from eventserver_core.wiring import Services

from .exchange import Answer, Client, Headers, post_event, replace_backend

ROLES = {"storage": "storage", "blockchain": "chain", "auth": "auth", "ratelimit": "ratelimit"}


def down(*_args: object) -> None:
    raise BackendUnavailableError("role=faulty", "in /srv/secret: connection refused")


def crashes(*_args: object) -> None:
    raise ZeroDivisionError("in /srv/secret")


def ask(services: Services, path: str = "/health") -> Answer:
    client = falcon.testing.TestClient(services.application())
    answer = client.simulate_get(path)
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-type"] == "application/json"
    assert "secret" not in answer.text
    return answer


def assert_unhealthy(answer: Answer, *wrong: str) -> None:
    assert answer.status_code == 503
    assert answer.json["status"] == "unhealthy"
    assert int(answer.headers["retry-after"]) > 0
    assert {name for name, well in answer.json["services"].items() if not well} == set(wrong)


def assert_degraded(answer: Answer, *wrong: str) -> None:
    assert answer.status_code == 200
    assert answer.json["status"] == "degraded"
    assert "retry-after" not in answer.headers
    assert {name for name, well in answer.json["services"].items() if not well} == set(wrong)


def test_a_server_that_is_ready_asks_only_what_events_need(services: Services) -> None:
    answer = ask(services, "/health/ready")
    assert answer.status_code == 200
    assert answer.json["status"] == "healthy"
    assert answer.json["services"] == dict.fromkeys(["storage", "database", "auth"], True)
    assert "anchoring" not in answer.json


def test_a_server_that_is_well_says_so(services: Services) -> None:
    answer = ask(services, "/health")
    assert answer.status_code == 200
    document = answer.json
    assert document["status"] == "healthy"
    assert document["version"] == eventserver_core.__version__
    told = datetime.fromisoformat(document["timestamp"])
    assert abs((datetime.now(UTC) - told).total_seconds()) < 60
    assert document["services"] == dict.fromkeys(
        ["storage", "blockchain", "database", "auth", "ratelimit"], True
    )
    assert document["anchoring"] == {"backlog": 0, "oldestAgeSeconds": None, "failing": False}


class TestWhatMakesItWorse:
    @pytest.mark.parametrize("path", ["/health", "/health/ready"])
    @pytest.mark.parametrize("name", ["storage", "auth"])
    @pytest.mark.parametrize("fault", [down, crashes])
    def test_without_what_events_need_it_is_unhealthy(
        self, services: Services, path: str, name: str, fault: Callable[..., None]
    ) -> None:
        replace_backend(services, ROLES[name], check=fault)
        assert_unhealthy(ask(services, path), name)

    @pytest.mark.parametrize("name", ["blockchain", "ratelimit"])
    @pytest.mark.parametrize("fault", [down, crashes])
    def test_without_anything_else_it_is_degraded(
        self, services: Services, name: str, fault: Callable[..., None]
    ) -> None:
        replace_backend(services, ROLES[name], check=fault)
        assert_degraded(ask(services), name)
        client = falcon.testing.TestClient(services.application())
        assert client.simulate_get("/health/ready").status_code == 200

    def test_a_dependency_that_hangs_is_not_waited_for(self, services: Services) -> None:
        released = threading.Event()
        replace_backend(services, "storage", 0.2, check=lambda: released.wait(60))
        try:
            assert_unhealthy(ask(services), "storage")
        finally:
            released.set()

    def test_a_data_directory_that_went_away_is_seen(self, services: Services) -> None:
        path = services.database.path
        assert path is not None
        objects = path.parent / "objects"
        services.storage.check()
        objects.rename(objects.with_name("unmounted"))
        assert_unhealthy(ask(services), "storage")

    def test_a_database_that_went_away_is_seen(self, services: Services, relay: Headers) -> None:
        path = services.database.path
        assert path is not None
        client = falcon.testing.TestClient(services.application())
        services.database.close()
        for file in path.parent.glob(path.name + "*"):
            file.rename(file.with_name("away-" + file.name))
        path.mkdir()
        answer = ask(services)
        assert_unhealthy(answer, "database")
        assert "anchoring" not in answer.json
        answer = post_event(client, relay, make_package())
        assert (answer.status_code, answer.json["code"]) == (503, "backend_unavailable")
        assert "retry-after" in answer.headers

    def test_a_file_that_is_no_database_is_seen(self, services: Services, relay: Headers) -> None:
        path = services.database.path
        assert path is not None
        client = falcon.testing.TestClient(services.application())
        services.database.close()
        for file in path.parent.glob(path.name + "-*"):
            file.unlink()
        path.write_bytes(b"this is no database " * 1000)
        assert_unhealthy(ask(services), "database")
        answer = post_event(client, relay, make_package())
        assert (answer.status_code, answer.json["code"]) == (503, "backend_unavailable")


class TestTheBacklog:
    def test_what_waits_is_counted(
        self, services: Services, client: Client, relay: Headers
    ) -> None:
        for _ in range(3):
            post_event(client, relay, make_package())
        answer = ask(services)
        assert answer.json["status"] == "healthy"
        anchoring = answer.json["anchoring"]
        assert (anchoring["backlog"], anchoring["failing"]) == (3, False)
        assert 0 <= anchoring["oldestAgeSeconds"] < 60

    def test_an_event_that_waits_too_long_makes_it_degraded(
        self, services: Services, client: Client, relay: Headers
    ) -> None:
        post_event(client, relay, make_package())
        with services.database.transaction() as database:
            database.execute_sql("UPDATE events SET received_at = received_at - 601000")
        answer = ask(services)
        assert_degraded(answer)
        assert answer.json["anchoring"]["oldestAgeSeconds"] > 600

    def test_a_batch_that_cannot_be_anchored_is_told(
        self, services: Services, relay: Headers, anchor_all: Callable[[], None]
    ) -> None:
        replace_backend(services, "chain", publish=down)
        client = falcon.testing.TestClient(services.application())
        post_event(client, relay, make_package())
        anchor_all()
        anchoring = ask(services).json["anchoring"]
        assert (anchoring["backlog"], anchoring["failing"]) == (1, True)

    def test_what_is_anchored_waits_no_longer(
        self, services: Services, client: Client, relay: Headers, anchor_all: Callable[[], None]
    ) -> None:
        post_event(client, relay, make_package())
        anchor_all()
        anchoring = ask(services).json["anchoring"]
        assert anchoring == {"backlog": 0, "oldestAgeSeconds": None, "failing": False}


class TestWhatItCosts:
    @staticmethod
    def counting(services: Services) -> list[str]:
        asked: list[str] = []

        def note(name: str) -> Callable[..., Any]:
            return lambda *_args: asked.append(name)

        for name, role in ROLES.items():
            replace_backend(services, role, check=note(name))
        return asked

    def test_live_asks_nobody(self, services: Services) -> None:
        for role in ROLES.values():
            replace_backend(services, role, check=down)
        services.database.close()
        path = services.database.path
        assert path is not None
        path.unlink()
        answer = ask(services, "/health/live")
        assert (answer.status_code, answer.json) == (200, {"status": "alive"})

    def test_live_opens_no_connection_and_makes_no_call(self, services: Services) -> None:
        asked = self.counting(services)
        services.database.close()
        assert ask(services, "/health/live").status_code == 200
        assert asked == []
        assert services.database.peewee.is_closed()

    def test_an_answer_is_remembered_for_a_second(
        self, services: Services, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        now = [1000.0]
        monkeypatch.setattr(health_module, "time", SimpleNamespace(monotonic=lambda: now[0]))
        asked = self.counting(services)
        client = falcon.testing.TestClient(services.application())
        for _ in range(15):
            assert client.simulate_get("/health").status_code == 200
        assert sorted(asked) == sorted(ROLES)
        now[0] += 0.99
        client.simulate_get("/health")
        assert len(asked) == len(ROLES)
        now[0] += 0.02
        client.simulate_get("/health")
        assert len(asked) == 2 * len(ROLES)

    def test_no_certificate_is_asked_for(self, client: Client) -> None:
        for path in ("/health", "/health/live", "/health/ready"):
            headers = {"Authorization": "Bearer nonsense"}
            assert client.simulate_get(path, headers=headers).status_code == 200
