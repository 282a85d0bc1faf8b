"""Traces by OpenTelemetry: spans reach a collector over HTTP; without one nothing is imported."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from eventserver_core.testing.factories import make_package
from eventserver_core.testing.server import EventServerProcess, clean_environ
from tests.end_to_end.waiting import wait_until

TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"


class Collector:
    """Takes spans, as a collector does.

    Attributes:
        spans: those that came in.
        services: what the senders call themselves.
    """

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.services: set[str] = set()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        """Take no more."""
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers["Content-Length"]))
                for resource in ExportTraceServiceRequest.FromString(content).resource_spans:
                    named = {
                        one.key: one.value.string_value for one in resource.resource.attributes
                    }
                    collector.services.add(named["service.name"])
                    for scope in resource.scope_spans:
                        collector.spans.extend(scope.spans)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_args: object) -> None: ...

        return Handler


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.close()


def test_requests_and_calls_of_backends_reach_the_collector(
    collector: Collector, relay: Mapping[str, str], tmp_path: Path
) -> None:
    settings = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_BSP_SCHEDULE_DELAY": "100",
        "EVENTSERVER__SERVER__WORKERS": "1",
    }
    package = make_package(annotations=[{"labelId": "note", "value": "a-word-that-is-ours"}])
    headers = {**relay, "traceparent": f"00-{TRACE}-{SPAN}-01", "tracestate": "rojo=1"}
    with EventServerProcess(["serve"], tmp_path, settings) as server:
        answer = httpx.post(f"{server.url}/api/v1/events", json=package, headers=headers)
        assert answer.status_code == 201
        httpx.get(f"{server.url}/a-path-that-is-theirs")
        unsampled = {"traceparent": f"00-{'a' * 32}-{SPAN}-00"}
        httpx.get(f"{server.url}/health/live", headers=unsampled)
        assert server.stop() == 0
    wait_until(lambda: len(collector.spans) > 4, "spans came in")
    assert collector.services == {"eventserver"}
    mine = [span for span in collector.spans if span.trace_id.hex() == TRACE]
    (request,) = [span for span in mine if span.parent_span_id.hex() == SPAN]
    assert request.name == "POST /api/v1/events"
    assert request.span_id.hex() == answer.headers["traceresponse"].split("-")[2]
    calls = {span.name for span in mine if span.parent_span_id == request.span_id}
    assert {"auth authenticate", "ratelimit hit", "storage put"} <= calls
    assert not [span for span in collector.spans if span.trace_id.hex() == "a" * 32]
    said = str(collector.spans)
    secrets = ["a-word-that-is-ours", "a-path-that-is-theirs", headers["Authorization"][7:40]]
    assert not [secret for secret in secrets if secret in said]


def test_a_collector_that_is_away_harms_nothing(relay: Mapping[str, str], tmp_path: Path) -> None:
    settings = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",
        "OTEL_BSP_SCHEDULE_DELAY": "100",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "1",
        "EVENTSERVER__SERVER__WORKERS": "1",
    }
    with EventServerProcess(["serve"], tmp_path, settings) as server:
        for _ in range(3):
            answer = httpx.post(
                f"{server.url}/api/v1/events", json=make_package(), headers=dict(relay)
            )
            assert answer.status_code == 201
        assert server.stop() == 0


def test_without_a_collector_nothing_of_it_is_imported(tmp_path: Path) -> None:
    program = (
        "import sys, eventserver_core.wsgi\n"
        "found = [name for name in sys.modules if name.startswith('opentelemetry')]\n"
        "sys.exit(repr(found) if found else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=clean_environ(),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
