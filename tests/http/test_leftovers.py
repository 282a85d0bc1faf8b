"""What was answered is gone: no request lives on in a circle until garbage is looked for."""

from __future__ import annotations

import gc
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import falcon
import pytest

from eventserver_core.errors import BackendContractError, BackendUnavailableError
from eventserver_core.services.recording import RecordEvents
from eventserver_core.services.submission import Outcome, Submission
from eventserver_core.testing.factories import make_package
from eventserver_core.wiring import Services

from .exchange import EVENTS, Client, Headers

pytestmark = pytest.mark.usefixtures("no_garbage_collection")

JSON = {"Content-Type": "application/json"}
LINES = {"Content-Type": "application/x-ndjson"}
FORM = {"Content-Type": "multipart/form-data; boundary=b"}
PHOTO = (Path(__file__).parents[1] / "media" / "photo.jpg").read_bytes()


def package(**members: Any) -> bytes:
    return json.dumps(make_package() | members).encode()


TO_COME = package(metadata={"createdAt": "2999-01-01T00:00:00Z", "source": "web"})


def form(media: bytes) -> bytes:
    described = {"type": "image/jpeg", "name": "photo.jpg", "size": len(PHOTO)}
    head = b'--b\r\nContent-Disposition: form-data; name="%s"\r\n\r\n'
    event = head % b"event" + package(media=described)
    return event + b"\r\n" + head % b"media" + media + b"\r\n--b--\r\n"


CASES: list[tuple[str, str, Headers, bytes, int]] = [
    ("GET", "/health/live", {}, b"", 200),
    ("GET", "/health", {}, b"", 200),
    ("GET", "/nowhere", {}, b"", 404),
    ("PUT", EVENTS, {}, b"", 405),
    ("GET", f"{EVENTS}/{'0' * 64}/verify", {}, b"", 200),
    ("POST", EVENTS, JSON, package(), 201),
    ("POST", EVENTS, JSON, package(id="none"), 400),
    ("POST", EVENTS, JSON, b'{"a":', 400),
    ("POST", EVENTS, {"Content-Type": "text/plain"}, b"x", 415),
    ("POST", EVENTS, FORM, form(PHOTO), 201),
    ("POST", EVENTS, FORM, form(b"no photo"), 415),
    ("POST", EVENTS, FORM, b"--b\r\n", 400),
    ("POST", f"{EVENTS}/package", JSON, b'{"jwtEventData":"a.b.c"}', 401),
    ("POST", f"{EVENTS}/batch", LINES, package() + b"\n" + package(), 200),
    ("POST", f"{EVENTS}/batch", LINES, package(id="none") + b"\n{", 200),
    ("POST", f"{EVENTS}/batch", LINES, b"", 400),
    ("POST", f"{EVENTS}/batch", JSON, b"", 415),
    ("POST", EVENTS, JSON, TO_COME, 422),
    ("POST", f"{EVENTS}/batch", LINES, TO_COME, 200),
    ("POST", EVENTS, JSON | {"Authorization": "Bearer a.b.c"}, package(), 401),
]


@pytest.mark.parametrize(
    ("method", "path", "headers", "body", "status"),
    CASES,
    ids=[
        f"{number} {method} {path} {status}"
        for number, (method, path, _, _, status) in enumerate(CASES)
    ],
)
def test_nothing_of_a_request_is_left_in_a_circle(
    client: Client,
    relay: Headers,
    method: str,
    path: str,
    headers: Headers,
    body: bytes,
    status: int,
) -> None:
    _ask(client, {**relay, **headers}, method, path, body, status)


@pytest.mark.parametrize("path", [EVENTS, f"{EVENTS}/batch"])
def test_nothing_is_left_of_what_failed(
    client: Client, relay: Headers, services: Services, path: str
) -> None:
    first = json.loads(package())
    _ask(client, {**relay, **JSON}, "POST", EVENTS, json.dumps(first).encode(), 201)
    other = package(id=first["id"], version="2.0")
    kind, status = (JSON, 409) if path == EVENTS else (LINES, 200)
    _ask(client, {**relay, **kind}, "POST", path, other, status)

    def fails(*_: object) -> None:
        raise BackendUnavailableError("storage", "it is away")

    services.storage.__dict__["put"] = fails
    _ask(client, {**relay, **kind}, "POST", path, package(), 503)


@pytest.mark.parametrize("fault", [RuntimeError, BackendContractError])
def test_nothing_is_left_of_a_batch_of_which_one_line_fails(
    client: Client,
    relay: Headers,
    services: Services,
    monkeypatch: pytest.MonkeyPatch,
    fault: type[Exception],
) -> None:
    def fails(*_: object) -> None:
        raise fault("auth", "as the test has it")

    services.auth.__dict__["check_signed_package"] = fails
    headers = {**relay, **LINES}
    lines = b'{"jwtEventData":"a.b.c"}\n' + package()
    _ask(client, headers, "POST", f"{EVENTS}/batch", lines, 200)

    def fails_for_two(found: RecordEvents, submissions: Sequence[Submission]) -> list[Outcome]:
        if len(submissions) > 1:
            raise RuntimeError("as the test has it")
        return record(found, submissions)

    record = RecordEvents.record
    monkeypatch.setattr(RecordEvents, "record", fails_for_two)
    _ask(client, headers, "POST", f"{EVENTS}/batch", TO_COME + b"\n" + package(), 200)


def _ask(
    client: Client, headers: Headers, method: str, path: str, body: bytes, status: int
) -> None:
    before = _requests()
    answer = client.simulate_request(method, path, headers=headers, body=body)
    assert answer.status_code == status
    assert _requests() == before


def _requests() -> int:
    return sum(isinstance(found, falcon.Request) for found in gc.get_objects())
