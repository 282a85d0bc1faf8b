"""Events to send, each with an id of its own, made at little cost."""

from __future__ import annotations

import itertools
import json
import uuid
from collections.abc import Callable, Iterator

from benchmarks.load import Check, LoadError, request_head
from benchmarks.stage import RunningServer
from eventserver_core.testing.factories import make_package

_MARK = "the id"


def event_maker() -> Callable[[], bytes]:
    """Return what makes a package without media in JSON, always of the same length."""
    template = json.dumps(make_package(id=_MARK), separators=(",", ":"))
    before, after = (part.encode() for part in template.split(_MARK))

    def make() -> bytes:
        return before + str(uuid.uuid4()).encode() + after

    return make


def lines_maker(count: int) -> Callable[[], bytes]:
    """Return what makes so many packages as NDJSON."""
    make = event_maker()
    return lambda: b"".join([make() + b"\n" for _ in range(count)])


def single_events(server: RunningServer) -> Iterator[bytes]:
    """Make requests that send one event each, from the relays in turn."""
    return _posts(server, "/api/v1/events", "application/json", event_maker())


def batches(server: RunningServer, count: int) -> Iterator[bytes]:
    """Make requests that send so many events each, from the relays in turn."""
    return _posts(server, "/api/v1/events/batch", "application/x-ndjson", lines_maker(count))


def reads(paths: list[str]) -> Iterator[bytes]:
    """Make requests that read these, over and over."""
    return itertools.cycle([request_head("GET", path, {}, None) for path in paths])


def expect_created(count: int) -> Check:
    """Return a check that each line of a batch was stored by this request."""

    def check(status: int, body: bytes) -> None:
        if status != 200:
            raise LoadError(f"the server answered {status}, not 200: {body[:500]!r}")
        found = [result["status"] for result in json.loads(body)["results"]]
        if found != [201] * count:
            raise LoadError(f"not each of {count} lines was answered 201: {body[:500]!r}")

    return check


def _posts(
    server: RunningServer, path: str, media_type: str, make: Callable[[], bytes]
) -> Iterator[bytes]:
    heads = [
        request_head(
            "POST", path, {"Authorization": value, "Content-Type": media_type}, len(make())
        )
        for value in server.authorizations
    ]
    return (head + make() for head in itertools.cycle(heads))
