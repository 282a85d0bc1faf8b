"""W3C Trace Context: taken in, logged, answered with, passed on."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import falcon.testing
import pytest

from eventserver_core.backends.tracing import TraceContext, outgoing_headers, read_headers
from eventserver_core.testing.factories import make_package
from eventserver_core.wiring import Services

from .exchange import EVENTS, replace_backend

TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"
GIVEN = f"00-{TRACE}-{SPAN}-01"


@pytest.mark.parametrize(
    "given",
    [
        "",
        "00",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[:-1]}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-01\n",
        f"ff-{TRACE}-{SPAN}-01",
        f"{GIVEN},{GIVEN}",
        f"01-{TRACE}-{SPAN}-01more",
        "x" * 100_000,
    ],
)
def test_a_bad_traceparent_is_as_none(given: str) -> None:
    assert read_headers(given, "a=b") is None


def test_a_good_one_is_read_of_a_later_version_too() -> None:
    assert read_headers(GIVEN, None) == TraceContext(TRACE, SPAN, True)
    assert read_headers(f"00-{TRACE}-{SPAN}-fe", None) == TraceContext(TRACE, SPAN, False)
    assert read_headers(f"cc-{TRACE}-{SPAN}-01-what-comes", None) == TraceContext(TRACE, SPAN, True)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("rojo=00f067aa0ba902b7,congo=t61rcWkgMzE", "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"),
        ("a@b=1 , ,\tc=2", "a@b=1,c=2"),
        ("Upper=1", ""),
        ("a=1,a=2", ""),
        ("a=b\r\nX-Evil: 1", ""),
        ("a=" + "x" * 600, ""),
        (",".join(f"k{number}=1" for number in range(33)), ""),
    ],
)
def test_a_tracestate_is_kept_where_it_is_right(given: str, kept: str) -> None:
    found = read_headers(GIVEN, given)
    assert found is not None
    assert found.state == kept


def test_a_trace_is_in_every_line_and_in_the_answer(
    client: falcon.testing.TestClient, relay: dict[str, str], log_lines: Callable[[], list[str]]
) -> None:
    headers = relay | {"traceparent": GIVEN}
    answer = client.simulate_post(EVENTS, json=make_package(), headers=headers)
    match = re.fullmatch(rf"00-{TRACE}-([0-9a-f]{{16}})-01", answer.headers["traceresponse"])
    assert match
    assert match[1] != SPAN
    lines = [json.loads(line) for line in log_lines()]
    mine = [line for line in lines if line.get("request_id") == answer.headers["x-request-id"]]
    assert {"event_stored", "request_finished"} <= {line["event"] for line in mine}
    assert {(line["trace_id"], line["span_id"]) for line in mine} == {(TRACE, match[1])}


def test_a_bad_one_begins_a_trace_and_says_which(client: falcon.testing.TestClient) -> None:
    traces = set()
    for given in ("made up", f"00-{'0' * 32}-{SPAN}-01", f"{GIVEN},{GIVEN}"):
        answer = client.simulate_get("/health/live", headers={"traceparent": given})
        traces.add(answer.headers["traceresponse"].split("-")[1])
    assert len(traces) == 3
    assert not traces & {"0" * 32, TRACE}


def test_who_does_not_trace_is_told_of_no_trace_but_the_log_has_one(
    client: falcon.testing.TestClient, log_lines: Callable[[], list[str]]
) -> None:
    for _ in range(2):
        assert "traceresponse" not in client.simulate_get("/health/live").headers
    traces = [json.loads(line)["trace_id"] for line in log_lines()]
    assert len(traces) == len(set(traces)) == 2
    assert all(re.fullmatch("[0-9a-f]{32}", trace) for trace in traces)


def test_a_plugin_can_pass_the_trace_on(services: Services, relay: dict[str, str]) -> None:
    passed: list[dict[str, str]] = []
    real = services.storage.put

    def put(key: str, content: bytes) -> object:
        passed.append(outgoing_headers())
        return real(key, content)

    replace_backend(services, "storage", put=put)
    client = falcon.testing.TestClient(services.application())
    headers = relay | {"traceparent": GIVEN, "tracestate": "rojo=1"}
    answer = client.simulate_post(EVENTS, json=make_package(), headers=headers)
    assert answer.status_code == 201
    expected = {"traceparent": answer.headers["traceresponse"], "tracestate": "rojo=1"}
    assert passed == [expected]
