"""A relay that takes signed events only, as one on the open internet does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from eventserver_client.testing import ScriptedServer

from .relays import EVENTS, Authority, RelayProcess, package

pytestmark = pytest.mark.real
JWS = "eyJhbGciOiJFUzI1NiJ9.e30.c2lnbmF0dXJl-_"


@pytest.fixture
def strict(document: Path, authority: Authority, tmp_path: Path) -> Iterator[RelayProcess]:
    """Return a relay that takes signed events only."""
    arguments = ["--enrollment", str(document), "--signed-only"]
    with RelayProcess(tmp_path, authority.root_pem, *arguments) as made:
        yield made


@pytest.mark.parametrize(
    "body",
    [
        json.dumps({"jwtEventData": JWS}).encode(),
        b' {\n\t"jwtEventData" :\r\n"' + JWS.encode() + b'" } \n',
        b'{"jwtEventData":"' + b"a" * 8_000_000 + b".b.c" + b'"}',
    ],
    ids=["usual", "spaced", "large"],
)
def test_signed_events_are_taken(body: bytes, strict: RelayProcess, server: ScriptedServer) -> None:
    assert strict.post(body).status_code == 201
    assert server.calls("POST", EVENTS)[0].body == body


def test_others_are_refused_and_not_kept(strict: RelayProcess, server: ScriptedServer) -> None:
    for body in (
        package(),
        b"{}",
        b'{"jwtEventData": "no jws"}',
        b'{"jwtEventData": "a.b"}',
        b'{"jwtEventData": "a.b.c.d"}',
        b'{"jwtEventData": "a..c"}',
        b'{"jwtEventData": {"a": "b.c.d"}}',
        b'{"jwtEventData": "a.b.c", "more": 1}',
        b'{"jwtEventData": "a.b.c"} {}',
        b'{"jwtEventData": "a.b.c", "jwtEventData": "a.b.c"}',
        b'{"jwtEventData": "' + b"a" * 16_000_000,
        b"{" + b" " * 16_000_000,
    ):
        answer = strict.post(body)
        assert (answer.status_code, answer.json()["code"]) == (400, "unsigned_package")
    assert not server.calls("POST", EVENTS)
    assert strict.health()["refused"] == 0
