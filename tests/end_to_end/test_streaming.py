"""However large a file is, the server's memory stays flat; what is too large leaves nothing."""

from __future__ import annotations

import hashlib
import io
import itertools
import struct
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO

import httpx
import pytest

from eventserver_core.testing.factories import make_package
from eventserver_core.testing.server import EventServerProcess
from tests.end_to_end.conftest import Start
from tests.end_to_end.memory import MIB, growth_limited
from tests.end_to_end.raw_http import Answer, RawConnection, chunked
from tests.end_to_end.stored import Stored
from tests.end_to_end.submissions import FORM_TYPE, form_end, form_start
from tests.end_to_end.waiting import group

LARGEST = 100 * MIB
GROWTH = 32 * MIB
CHUNK = 256 * 1024

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("heavy")]


@pytest.fixture
def film(tmp_path: Path, clip: Path) -> Path:
    """An MP4 of exactly the largest size: a real one, and a box of free space after it."""
    content = clip.read_bytes()
    padding = LARGEST - len(content)
    film = tmp_path / "film.mp4"
    with film.open("wb") as file:
        file.write(content + struct.pack(">I4s", padding, b"free"))
        for number in range(8, padding, CHUNK):
            size = min(CHUNK, padding - number)
            # no two pieces alike, so that none can stand in for another
            file.write((number.to_bytes(8) * (CHUNK // 8))[:size])
    assert film.stat().st_size == LARGEST
    return film


@pytest.fixture
def server(start: Start, relay: Mapping[str, str], clip: Path) -> EventServerProcess:
    """A server that has done once what is measured, so that all of its code is in memory."""
    server = start("serve", server__workers=2, server__threads=4)
    for _ in range(8):  # either process gets its turn
        answer = _upload(server, relay, clip)
        assert answer.status == 201
        assert _download(server, relay, answer.json["hash"], io.BytesIO()) > 0
    return server


def test_a_video_of_the_largest_size_is_streamed_in(
    server: EventServerProcess, relay: Mapping[str, str], film: Path, tmp_path: Path
) -> None:
    with growth_limited(group(server), GROWTH):
        answer = _upload(server, relay, film)
    _assert_stored(answer, film, tmp_path)


def test_a_video_without_a_length_is_streamed_in(
    server: EventServerProcess, relay: Mapping[str, str], film: Path, tmp_path: Path
) -> None:
    with growth_limited(group(server), GROWTH):
        answer = _upload(server, relay, film, in_chunks=True)
    _assert_stored(answer, film, tmp_path)


def test_evidence_with_the_largest_video_is_streamed_out(
    server: EventServerProcess, relay: Mapping[str, str], film: Path, tmp_path: Path
) -> None:
    answer = _upload(server, relay, film)
    assert answer.status == 201, answer.content
    archive = tmp_path / "evidence.zip"
    with growth_limited(group(server), GROWTH), archive.open("wb") as file:
        _download(server, relay, answer.json["hash"], file)
    with zipfile.ZipFile(archive) as evidence:
        assert evidence.testzip() is None
        with evidence.open("media.mp4") as media:
            assert _sha256(iter(lambda: media.read(CHUNK), b"")) == _sha256(_chunks(film))


@pytest.mark.parametrize(
    ("in_chunks", "max_json_size"),
    [(False, MIB), (False, LARGEST), (True, LARGEST)],
    ids=["by its length", "as it is counted", "without a length"],
)
def test_media_over_the_limit_is_refused_while_it_arrives(
    start: Start,
    relay: Mapping[str, str],
    film: Path,
    tmp_path: Path,
    in_chunks: bool,
    max_json_size: int,
) -> None:
    server = start(
        "serve",
        server__workers=1,
        server__max_json_size=max_json_size,  # a form may be larger than its media by so much
        storage__max_file_size=16 * MIB,
    )

    def send() -> Answer:
        return _upload(server, relay, film, in_chunks=in_chunks)

    _assert_refused(server, relay, tmp_path, send)


def test_json_over_the_limit_is_refused_before_it_arrives(
    start: Start, relay: Mapping[str, str], tmp_path: Path
) -> None:
    server = start("serve", server__workers=1)
    headers = {**relay, "Content-Type": "application/json", "Content-Length": str(64 * MIB)}

    def send() -> Answer:
        with RawConnection(server.url) as connection:
            connection.send_head("POST", "/api/v1/events", headers)
            return connection.answer()

    _assert_refused(server, relay, tmp_path, send)


def test_json_over_the_limit_without_a_length_is_refused_while_it_arrives(
    start: Start, relay: Mapping[str, str], tmp_path: Path
) -> None:
    server = start("serve", server__workers=1, server__max_json_size=4 * MIB)
    headers = {**relay, "Content-Type": "application/json", "Transfer-Encoding": "chunked"}

    def send() -> Answer:
        with RawConnection(server.url) as connection:
            connection.send_head("POST", "/api/v1/events", headers)
            spaces = (b" " * CHUNK for _ in range(64 * MIB // CHUNK))
            sent = connection.send_while_unanswered(chunked(spaces))
            assert sent < 48 * MIB
            return connection.answer()

    _assert_refused(server, relay, tmp_path, send)


def test_a_body_from_nobody_is_refused_before_it_arrives(start: Start, tmp_path: Path) -> None:
    server = start("serve", server__workers=1)
    with RawConnection(server.url) as connection:
        headers = {"Content-Type": FORM_TYPE, "Content-Length": str(LARGEST)}
        connection.send_head("POST", "/api/v1/events", headers)
        assert connection.answer().status == 401
    assert Stored(tmp_path / "data").incoming() == []


def _assert_refused(
    server: EventServerProcess,
    relay: Mapping[str, str],
    tmp_path: Path,
    send: Callable[[], Answer],
) -> None:
    small = httpx.post(f"{server.url}/api/v1/events", json={}, headers=relay)
    assert small.status_code == 400
    with growth_limited(group(server), GROWTH):
        answer = send()
    assert (answer.status, answer.json["code"]) == (413, "content_too_large")
    assert answer.headers["content-type"] == "application/problem+json"
    stored = Stored(tmp_path / "data")
    assert (stored.objects(), stored.incoming(), stored.events()) == ([], [], [])
    again = httpx.post(f"{server.url}/api/v1/events", json=make_package(), headers=relay)
    assert again.status_code == 201


def _upload(
    server: EventServerProcess, relay: Mapping[str, str], media: Path, *, in_chunks: bool = False
) -> Answer:
    """Send a form, piece by piece, until it ends or the server answers."""
    size = media.stat().st_size
    members = {"type": "video/mp4", "name": media.name, "size": size}
    head, tail = form_start(make_package() | {"media": members}), form_end()
    length = len(head) + size + len(tail)
    framing = {"Transfer-Encoding": "chunked"} if in_chunks else {"Content-Length": str(length)}
    pieces = itertools.chain([head], _chunks(media), [tail])
    with RawConnection(server.url, seconds=120) as connection:
        headers = {**relay, "Content-Type": FORM_TYPE, **framing}
        connection.send_head("POST", "/api/v1/events", headers)
        sent = connection.send_while_unanswered(chunked(pieces) if in_chunks else pieces)
        answer = connection.answer()
    assert answer.status < 400 or sent < length / 2, "answered only when all had arrived"
    return answer


def _download(
    server: EventServerProcess, relay: Mapping[str, str], digest_hex: str, target: IO[bytes]
) -> int:
    url = f"{server.url}/api/v1/events/{digest_hex}/package"
    size = 0
    with httpx.stream("GET", url, headers=relay, timeout=60) as answer:
        assert answer.status_code == 200
        for chunk in answer.iter_bytes():
            size += target.write(chunk)
    return size


def _assert_stored(answer: Answer, media: Path, tmp_path: Path) -> None:
    assert answer.status == 201, answer.content
    stored = Stored(tmp_path / "data")
    event = next(e for e in stored.events() if e["digest_hex"] == answer.json["hash"])
    assert event["media_key"] == f"media-{_sha256(_chunks(media))}"
    stored.check_event(event)
    assert stored.incoming() == []


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield from iter(lambda: file.read(CHUNK), b"")


def _sha256(chunks: Iterable[bytes]) -> str:
    hasher = hashlib.sha256()
    for chunk in chunks:
        hasher.update(chunk)
    return hasher.hexdigest()
