"""Many events in one request: a line for each, and what the server says of each line."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from http import HTTPStatus
from typing import Any

from eventserver_client.answers import Receipt
from eventserver_client.client import members
from eventserver_client.errors import EventServerError, ProtocolError
from eventserver_client.reading import read
from eventserver_client.transport import Answer, error_of

MEDIA_TYPE = "application/x-ndjson"

Event = Mapping[str, Any] | bytes | str
"""A package, its JSON, or a package as a device signed it (a compact JWS)."""


def line_of(event: Event) -> bytes:
    """Return an event as a line, without its end.

    Raises:
        ValueError: it is no JSON, or there is nothing of it.
    """
    if isinstance(event, str) and event.lstrip().startswith("{"):
        event = event.encode()  # no JWS begins so
    if isinstance(event, bytes):
        # both are blanks in JSON and neither may be in a string: nothing but the line changes
        line = event.replace(b"\n", b"\r")
    else:
        document = {"jwtEventData": event} if isinstance(event, str) else event
        try:
            line = json.dumps(document, ensure_ascii=False, allow_nan=False).encode()
        except TypeError as ex:
            raise ValueError(f"an event is no JSON: {ex}") from ex
    if not line.strip():
        raise ValueError("an event has no content")
    return line


def cut(
    events: Iterable[Event], most_lines: int, most_bytes: int
) -> Iterator[list[tuple[Event, bytes]]]:
    """Return events with their lines in batches as large as may be.

    An event whose line is larger has a batch of its own.
    """
    batch: list[tuple[Event, bytes]] = []
    size = 0
    for event in events:
        line = line_of(event)
        if batch and (len(batch) >= most_lines or size + len(line) + 1 > most_bytes):
            yield batch
            batch, size = [], 0
        batch.append((event, line))
        size += len(line) + 1
    if batch:
        yield batch


def results_in(answer: Answer, count: int) -> list[Receipt | EventServerError]:
    """Return what the server says of each of so many lines.

    Raises:
        ProtocolError: it doesn't say it of each, in order.
    """
    results = members(answer.document(), "results")
    if [result.get("line") for result in results] != list(range(1, count + 1)):
        raise ProtocolError("the answer has other lines than the batch")
    return [_result(result, answer.retry_after) for result in results]


def _result(result: Mapping[str, Any], retry_after: float | None) -> Receipt | EventServerError:
    status = result.get("status")
    if status in (HTTPStatus.CREATED, HTTPStatus.OK):
        return read(Receipt, result.get("receipt"))
    if not isinstance(status, int) or status < HTTPStatus.BAD_REQUEST:
        raise ProtocolError("the answer has a line without a status")
    problem = result.get("problem")
    return error_of(status, problem if isinstance(problem, Mapping) else {}, retry_after)
