"""The fields that operators build on, in JSON lines."""

from __future__ import annotations

import json
from collections.abc import Callable

import falcon.testing

from eventserver_core.testing.factories import make_package

from .exchange import EVENTS

ALWAYS = {"timestamp", "level", "event"}
OF_REQUESTS = {"request_id", "trace_id", "span_id"}
OF_CALLERS = {"caller", "caller_role", "relay_id"}


def test_an_event_and_its_request_are_a_line_each_with_these_fields(
    client: falcon.testing.TestClient, relay: dict[str, str], log_lines: Callable[[], list[str]]
) -> None:
    package = make_package()
    answer = client.simulate_post(EVENTS, json=package, headers=relay)
    lines = [json.loads(line) for line in log_lines()]
    assert all(line.keys() >= ALWAYS for line in lines)
    (stored,) = [line for line in lines if line["event"] == "event_stored"]
    own = {"event_id", "event_hash", "storage_location", "processing_time_ms", "submitted_by"}
    assert stored.keys() == ALWAYS | OF_REQUESTS | OF_CALLERS | own
    assert stored["event_id"] == package["id"]
    assert stored["relay_id"] == "relay-1"
    assert stored["level"] == "info"
    assert stored["storage_location"] == answer.json["storageLocation"]
    assert stored["request_id"] == answer.headers["x-request-id"]
    (finished,) = [line for line in lines if line["event"] == "request_finished"]
    own = {"method", "route", "status", "processing_time_ms"}
    assert finished.keys() == ALWAYS | OF_REQUESTS | OF_CALLERS | own
    assert finished["processing_time_ms"] >= stored["processing_time_ms"] >= 0


def test_only_a_relay_has_a_relays_id(
    client: falcon.testing.TestClient, admin: dict[str, str], log_lines: Callable[[], list[str]]
) -> None:
    client.simulate_get("/api/v1/admins", headers=admin)
    client.simulate_get("/health/live")
    finished = [
        line for line in map(json.loads, log_lines()) if line["event"] == "request_finished"
    ]
    assert len(finished) == 2
    assert not any("relay_id" in line for line in finished)
