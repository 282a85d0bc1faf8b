"""``/metrics``: what it counts, what it looks up, and that nothing makes it fail."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import falcon.testing
import pytest
from prometheus_client.parser import text_string_to_metric_families

from eventserver_core.errors import BackendUnavailableError
from eventserver_core.metrics.scrape import Question, Reading, Scrape
from eventserver_core.testing.factories import make_package
from eventserver_core.wiring import Services
from tests.house.tree import text

from .exchange import EVENTS, replace_backend
from .test_canary import Witness, refused

MADE_UP_METHODS = pytest.mark.filterwarnings("ignore::wsgiref.validate.WSGIWarning")
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def scraped(client: falcon.testing.TestClient) -> Samples:
    """Return the samples by name and labels."""
    answer = client.simulate_get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return read(answer.text)


def read(said: str) -> Samples:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(said)
        for sample in family.samples
    }


def value(samples: Samples, metric: str, **labels: str) -> float:
    return samples.get((f"eventserver_{metric}", frozenset(labels.items())), 0.0)


@pytest.fixture
def grown(client: falcon.testing.TestClient) -> Callable[..., float]:
    """Return by how much a metric has grown since the test began."""
    before = scraped(client)

    def growth(metric: str, **labels: str) -> float:
        return value(scraped(client), metric, **labels) - value(before, metric, **labels)

    return growth


def test_events_are_counted_by_what_became_of_them(
    client: falcon.testing.TestClient, relay: dict[str, str], grown: Callable[..., float]
) -> None:
    package = make_package()
    assert client.simulate_post(EVENTS, json=package, headers=relay).status_code == 201
    assert client.simulate_post(EVENTS, json=package, headers=relay).status_code == 200
    changed = package | {"version": "2.0"}
    assert client.simulate_post(EVENTS, json=changed, headers=relay).status_code == 409
    assert grown("events_total", outcome="stored", code="") == 1
    assert grown("events_total", outcome="repeated", code="") == 1
    assert grown("events_total", outcome="refused", code="event_id_conflict") == 1
    assert grown("http_requests_total", method="POST", route=EVENTS, status="201") == 1
    assert grown("http_requests_total", method="POST", route=EVENTS, status="409") == 1
    assert grown("http_problems_total", code="event_id_conflict") == 1
    assert grown("http_request_seconds_count", route=EVENTS, status_class="2xx") == 2
    put = {"role": "storage", "plugin": "filesystem", "operation": "put"}
    assert grown("backend_calls_total", **put, outcome="answered") == 1
    assert grown("backend_call_seconds_count", **put) == 1


@MADE_UP_METHODS
def test_only_requests_under_way_are_in_flight(client: falcon.testing.TestClient) -> None:
    before = value(scraped(client), "http_requests_in_flight")
    assert before >= 1  # the scrape itself
    client.simulate_get("/nowhere")
    client.simulate_request("BREW", "/health/live")
    assert value(scraped(client), "http_requests_in_flight") == before


@MADE_UP_METHODS
def test_what_a_caller_makes_up_is_no_label(client: falcon.testing.TestClient) -> None:
    for number in range(3):
        client.simulate_get(f"/made-up-{number}")
        client.simulate_get(f"{EVENTS}/made-up-{number}/verify")
        client.simulate_request(f"MADEUP{number}", "/health/live")
    said = client.simulate_get("/metrics").text
    assert "made-up" not in said
    assert "MADEUP" not in said
    assert '{digest_hex}/verify",status="400"' in said


def test_no_secret_and_no_word_of_a_caller_is_in_it(
    make_services: Callable[..., Services], log_lines: Callable[[], list[str]]
) -> None:
    witness = Witness(make_services(JWT_SECRET="mQ4vXz81LwNc7TgYb2RkHs6PfJd0UoEa"))
    assert list(refused(witness))
    said = witness.client.simulate_get("/metrics").text
    assert "eventserver_http_problems_total" in said
    assert not [canary for canary in witness.canaries() if canary in said]


def test_refusals_for_their_number_are_counted(make_services: Callable[..., Services]) -> None:
    services = make_services(EVENTSERVER__SECURITY__RATE_LIMIT_CHALLENGES="1/60")
    client = falcon.testing.TestClient(services.application())
    before = value(scraped(client), "ratelimit_refusals_total", route_class="challenges")
    statuses = [client.simulate_post("/api/v1/pow/challenge").status_code for _ in range(3)]
    assert statuses == [200, 429, 429]
    after = scraped(client)
    assert value(after, "ratelimit_refusals_total", route_class="challenges") == before + 2
    assert value(after, "ratelimit_on_failure", plugin="memory", mode="open") == 1


@pytest.mark.parametrize(
    ("kind", "outcome"),
    [
        ("unavailable", "unavailable"),
        ("raises", "contract_broken"),
        ("wrong type", "contract_broken"),
        ("hangs", "timed_out"),
    ],
)
def test_a_backend_that_fails_is_counted_by_how(
    services: Services, relay: dict[str, str], kind: str, outcome: str
) -> None:
    leave = threading.Event()

    def put(*_args: object) -> Any:
        if kind == "unavailable":
            raise BackendUnavailableError("storage=faulty", "away")
        if kind == "raises":
            raise RuntimeError("of its own")
        if kind == "hangs":
            leave.wait(30)
        return "not what it should be"

    replace_backend(services, "storage", put=put)
    services.storage._time_limit = 0.2  # type: ignore[attr-defined]
    client = falcon.testing.TestClient(services.application())
    labels = {"role": "storage", "operation": "put", "outcome": outcome}

    def counted() -> float:
        return sum(
            number
            for (name, found), number in scraped(client).items()
            if name == "eventserver_backend_calls_total" and labels.items() <= dict(found).items()
        )

    before = counted()
    assert client.simulate_post(EVENTS, json=make_package(), headers=relay).status_code == 503
    leave.set()
    assert counted() == before + 1


def test_what_waits_is_looked_up_at_the_scrape(
    services: Services, relay: dict[str, str], anchor_all: Callable[[], None]
) -> None:
    client = falcon.testing.TestClient(services.application())
    assert client.simulate_post(EVENTS, json=make_package(), headers=relay).status_code == 201
    found = scraped(client)
    assert value(found, "events_unanchored") == 1
    assert value(found, "scrape_errors", part="database") == 0
    assert value(found, "dependency_up", dependency="storage") == 1
    assert ("eventserver_relays", frozenset({("state", "active")})) in found
    anchor_all()
    # an answer is remembered by who gave it
    found = scraped(falcon.testing.TestClient(services.application()))
    assert value(found, "events_unanchored") == 0
    assert value(found, "batches_total", outcome="confirmed") >= 1
    assert value(found, "anchored_timestamp_seconds") > time.time() - 60


def test_a_database_that_is_away_makes_its_part_absent(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_args: object) -> Any:
        raise BackendUnavailableError("database", "away")

    monkeypatch.setattr("eventserver_core.db.batches.BatchRepository.backlog", away)
    found = scraped(falcon.testing.TestClient(services.application()))
    assert value(found, "scrape_errors", part="database") == 1
    assert "eventserver_events_unanchored" not in {name for name, _ in found}
    assert value(found, "build_info", **_build(found)) == 1


def _build(found: Samples) -> dict[str, str]:
    (labels,) = [labels for name, labels in found if name == "eventserver_build_info"]
    return dict(labels)


def test_what_hangs_holds_no_scrape_up_and_is_asked_once() -> None:
    leave, asked = threading.Event(), []

    def hang() -> Iterator[Reading]:
        asked.append(1)
        leave.wait(30)
        yield Reading("eventserver_late", "Late.", (), [((), 1.0)])

    question = Question("slow", hang, remembered_for=60)
    scrape, patient = Scrape([question], patience=0.05), Scrape([question], patience=30)
    for _ in range(3):
        assert value(read(scrape.text().decode()), "scrape_errors", part="slow") == 1
    question._asked_at -= 60  # it hangs since a minute: who asks now doesn't wait once more
    assert value(read(patient.text().decode()), "scrape_errors", part="slow") == 1
    assert len(asked) == 1
    question._asked_at += 60
    leave.set()
    assert value(read(patient.text().decode()), "late") == 1
    assert len(asked) == 1


def test_the_authoritys_end_is_told(services: Services, authority: None) -> None:
    found = scraped(falcon.testing.TestClient(services.application()))
    ends = value(found, "authority_expires_timestamp_seconds", certificate="issuing")
    assert ends > time.time() + 4 * 365 * 86400


def test_warnings_are_counted_by_their_event(
    client: falcon.testing.TestClient, log_lines: Callable[[], list[str]]
) -> None:
    from eventserver_core.log import get_logger
    from eventserver_core.metrics.log_events import count_log_events

    count_log_events()
    labels = {"level": "error", "event": "rate_limit_degraded"}
    before = value(scraped(client), "log_events_total", **labels)
    get_logger().error("rate_limit_degraded", error="x")
    get_logger().warning("A library's sentence with the name of a caller")
    after = scraped(client)
    assert value(after, "log_events_total", **labels) == before + 1
    assert value(after, "log_events_total", level="warning", event="other") >= 1
    assert not [labels for name, labels in after if "name of a caller" in str(labels)]


def test_every_metric_is_documented_and_every_documented_one_exists(
    services: Services, authority: None
) -> None:
    page = text("docs/metrics.md")
    said = falcon.testing.TestClient(services.application()).simulate_get("/metrics").text
    exist = set(re.findall(r"^# TYPE (\S+)", said, re.M))
    documented = set(re.findall(r"^\| `(eventserver_\w+)` \|", page, re.M))
    assert documented == exist
