"""With ``logging.format = "json"`` every line that a server writes is one JSON object."""

from __future__ import annotations

import json
import signal
from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest

from eventserver_core.testing.factories import make_package
from eventserver_core.testing.server import EventServerProcess
from tests.end_to_end.conftest import Start
from tests.end_to_end.raw_http import RawConnection
from tests.end_to_end.spies import Spies
from tests.end_to_end.waiting import children, wait_until

_BROKEN_STORAGE = """\
from eventserver_core.hookspecs import hookimpl


class Broken:
    def put(self, key, content):
        raise RuntimeError("several\\nlines")

    def upload(self, key=None): ...
    def read(self, key, offset=0, length=None): ...
    def stat(self, key): ...
    def list(self, prefix=""): ...
    def check(self): ...


@hookimpl
def eventserver_storage_backend(settings):
    return Broken()
"""


@pytest.mark.parametrize("level", ["info", "debug"])
def test_every_line_of_a_servers_life_is_a_json_object(
    start: Start, relay: Mapping[str, str], level: str
) -> None:
    server = start("serve", "--with-worker", server__workers=1, logging__level=level)
    server.wait_for_event("worker_started")
    with httpx.Client(base_url=server.url, headers=relay) as client:
        assert client.post("/api/v1/events", json=make_package()).status_code == 201
        assert client.post("/api/v1/events", json={}).status_code == 400
        assert client.get("/nowhere").status_code == 404
    for nonsense in (b"garbage\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"):
        with RawConnection(server.url) as connection:
            connection.send(nonsense)
            assert connection.answer().status == 400
    with RawConnection(server.url) as connection:
        connection.send(b"POST /api/v1/events HTTP/1.1\r\nContent-Le")  # and gone
    for process in wait_until(lambda: children(server), "processes run"):
        process.kill()
    server.wait_for_event("anchoring_worker_ended")
    server.wait_for_event("worker_started")
    server.signal(signal.SIGHUP)
    server.wait_for_log(lambda record: "Hang up" in str(record.get("event")))
    assert httpx.get(f"{server.url}/health").status_code == 200
    assert server.stop() == 0
    records = _records(server)
    told = " ".join(str(record["event"]) for record in records)
    for said in (
        "Starting gunicorn",
        "Listening at",
        "Booting worker",
        "request_finished",
        "event_stored",
        "Invalid request",
        "SIGKILL",
        "Handling signal: term",
        "Shutting down",
        "worker_stopped",
    ):
        assert said in told, f"nothing was said of: {said}"


def test_what_a_request_binds_is_not_logged_with_the_next(
    start: Start, relay: Mapping[str, str]
) -> None:
    server = start("serve", server__workers=1, server__threads=1)
    assert httpx.get(f"{server.url}/api/v1/events/{'0' * 64}", headers=relay).status_code == 404
    with RawConnection(server.url) as connection:
        connection.send(b"garbage\r\n\r\n")
        assert connection.answer().status == 400
    assert server.stop() == 0
    (finished,) = [r for r in _records(server) if r["event"] == "request_finished"]
    assert finished["caller"] == "relay-1"
    (invalid,) = [r for r in _records(server) if str(r["event"]).startswith("Invalid request")]
    assert not {"caller", "request_id"} & set(invalid)


def test_an_error_with_a_traceback_is_one_line(tmp_path: Path, relay: Mapping[str, str]) -> None:
    spies = Spies(tmp_path / "site", {"storage": _BROKEN_STORAGE})
    settings = spies.environ | spies.chosen("storage")
    with EventServerProcess(["serve"], tmp_path, settings) as server:
        url = f"{server.url}/api/v1/events"
        answer = httpx.post(url, json=make_package(), headers=relay)
        assert answer.status_code == 503
        assert "several" not in answer.text
    (failed,) = [r for r in _records(server) if r["event"] == "backend_unavailable"]
    assert "storage=spy" in failed["error"]
    assert "RuntimeError" in json.dumps(failed["exception"])


def _records(server: EventServerProcess) -> list[dict[str, object]]:
    records = [json.loads(line) for line in server.lines]
    assert all(isinstance(record, dict) for record in records)
    assert all({"event", "level", "timestamp"} <= set(record) for record in records)
    return records
