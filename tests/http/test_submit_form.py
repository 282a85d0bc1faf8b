"""One event as a form: the package in one part, its media in another."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from eventserver_core.domain.package import make_statement
from eventserver_core.testing.factories import make_package
from eventserver_core.wiring import Services

from .exchange import (
    EVENTS,
    RECEIPT_MEMBERS,
    Answer,
    Client,
    CountedStream,
    Headers,
    Part,
    assert_nothing_stored,
    assert_problem,
    encode_form,
    pointers,
    post_form,
    post_stream,
)

MEDIA = Path(__file__).parents[1] / "media"
PHOTO = MEDIA / "photo.jpg"
BYTES = PHOTO.read_bytes()
BOUNDARY = "multipart/form-data; boundary=B"


def beside(media: Path = PHOTO, **members: Any) -> dict[str, Any]:
    """Return a package whose media is a part of its own."""
    package = make_package(media, inline=False)
    package["media"] |= members
    return package


def post_raw(client: Client, headers: Headers, body: bytes, content_type: str = BOUNDARY) -> Answer:
    return client.simulate_post(
        EVENTS, body=body, headers=dict(headers) | {"Content-Type": content_type}
    )


class TestWhatIsTaken:
    @pytest.mark.parametrize("name", ["photo.jpg", "photo.png", "photo.gif", "clip.mp4"])
    @pytest.mark.parametrize("media_first", [False, True], ids=["event first", "media first"])
    def test_the_parts_may_come_in_either_order(
        self, client: Client, relay: Headers, services: Services, name: str, media_first: bool
    ) -> None:
        content = (MEDIA / name).read_bytes()
        package = beside(MEDIA / name)
        parts = [Part.event(package), Part.media(content)]
        answer = post_form(client, relay, *(reversed(parts) if media_first else parts))
        assert answer.status_code == 201, answer.text
        assert list(answer.json) == RECEIPT_MEMBERS
        digest_hex = sha256(content).hexdigest()
        assert answer.json["hash"] == make_statement(package, digest_hex).digest_hex
        assert b"".join(services.storage.read(f"media-{digest_hex}")) == content

    @pytest.mark.parametrize("media_first", [False, True], ids=["event first", "media first"])
    def test_a_declared_digest_is_hashed_as_if_it_was_not(
        self, client: Client, relay: Headers, media_first: bool
    ) -> None:
        package = beside()
        parts = [Part.event(package), Part.media(BYTES)]
        plain = post_form(client, relay, *parts)
        package["media"]["sha256"] = sha256(BYTES).hexdigest()
        parts = [Part.event(package), Part.media(BYTES)]
        again = post_form(client, relay, *(reversed(parts) if media_first else parts))
        assert (plain.status_code, again.status_code) == (201, 200)
        assert again.content == plain.content

    def test_an_event_without_media_may_come_as_a_form(
        self, client: Client, relay: Headers
    ) -> None:
        package = make_package()
        answer = post_form(client, relay, Part.event(package))
        assert answer.status_code == 201
        assert answer.json["hash"] == make_statement(package, None).digest_hex

    def test_a_device_may_send_a_form(self, client: Client, device_token: str) -> None:
        headers = {"Authorization": f"Bearer {device_token}"}
        answer = post_form(client, headers, Part.event(beside()), Part.media(BYTES))
        assert answer.status_code == 201

    def test_what_stands_before_and_after_the_form_is_passed_over(
        self, client: Client, relay: Headers
    ) -> None:
        body, content_type = encode_form(Part.event(make_package()))
        answer = post_raw(client, relay, b"a preamble\r\n" + body + b"an epilogue", content_type)
        assert answer.status_code == 201

    def test_media_that_looks_like_a_delimiter_is_kept_whole(
        self, client: Client, relay: Headers, services: Services
    ) -> None:
        content = BYTES + b"\r\n--form-\r\n--\r\n\r\n--form-0000--" + BYTES
        package = beside(size=len(content))
        answer = post_form(client, relay, Part.event(package), Part.media(content))
        assert answer.status_code == 201, answer.text
        key = f"media-{sha256(content).hexdigest()}"
        assert b"".join(services.storage.read(key)) == content


class TestWhatIsRefused:
    @pytest.mark.parametrize(
        ("parts", "pointer"),
        [
            ([Part.event(beside())], "/media"),
            ([Part.event(make_package()), Part.media(BYTES)], "/media"),
            ([Part.media(BYTES), Part.event(make_package())], "/media"),
            ([Part.event(make_package(PHOTO)), Part.media(BYTES)], "/media/data"),
            ([Part.event(beside(data=None)), Part.media(BYTES)], "/media/data"),
            ([Part.event(beside(sha256="short")), Part.media(BYTES)], "/media/sha256"),
            ([Part.event([]), Part.media(BYTES)], ""),
            ([Part.event(b"{"), Part.media(BYTES)], ""),
            ([Part.event(b'{"a": NaN}'), Part.media(BYTES)], "/a"),
            ([Part.event({"jwtEventData": "a.b.c"}), Part.media(BYTES)], "/id"),
        ],
        ids=[
            "no media",
            "unnamed media",
            "unnamed media first",
            "media twice",
            "media null",
            "digest",
            "array",
            "no JSON",
            "NaN",
            "signed",
        ],
    )
    def test_parts_that_do_not_fit_each_other_are_told_where(
        self,
        client: Client,
        relay: Headers,
        services: Services,
        parts: list[Part],
        pointer: str,
    ) -> None:
        answer = post_form(client, relay, *parts)
        assert_problem(answer, 400, "invalid_package")
        assert pointers(answer)[0] == pointer
        assert_nothing_stored(services)

    def test_every_fault_of_the_event_is_answered_at_once(
        self, client: Client, relay: Headers
    ) -> None:
        package = make_package(PHOTO, version="")
        package["media"]["name"] = "n" * 10_000
        answer = post_form(client, relay, Part.event(package), Part.media(BYTES))
        assert_problem(answer, 400, "invalid_package")
        assert sorted(pointers(answer)) == ["/media/data", "/media/name", "/version"]

    @pytest.mark.parametrize(
        ("parts", "said"),
        [
            ([], "no part named event"),
            ([Part.media(BYTES)], "no part named event"),
            ([Part.event(make_package()), Part.event(make_package())], "event twice"),
            ([Part.event(beside()), Part.media(BYTES), Part.media(BYTES)], "media twice"),
            ([Part.event(beside()), Part("photo", BYTES)], "a part besides event and media"),
            ([Part("", BYTES)], "a part besides event and media"),
            ([Part("note", b"1"), Part.event(make_package())], "a part besides"),
            ([Part("n", b"1")] * 10_000, "a part besides"),
        ],
        ids=["empty", "no event", "two", "two media", "other", "nameless", "first", "endless"],
    )
    def test_a_form_of_other_parts_is_refused(
        self, client: Client, relay: Headers, services: Services, parts: list[Part], said: str
    ) -> None:
        answer = post_form(client, relay, *parts)
        problem = assert_problem(answer, 400, "invalid_package")
        assert said in problem["detail"]
        assert_nothing_stored(services)

    @pytest.mark.parametrize(
        "content_type",
        [
            "multipart/form-data",
            "multipart/form-data; boundary=",
            "multipart/form-data; boundary=" + "b" * 71,
            "multipart/form-data; boundary=other",
            "multipart/form-data; charset=utf-8",
        ],
    )
    def test_a_form_without_its_boundary_is_refused(
        self, client: Client, relay: Headers, services: Services, content_type: str
    ) -> None:
        body, _ = encode_form(Part.event(make_package()))
        answer = post_raw(client, relay, body, content_type)
        assert_problem(answer, 400, "invalid_package")
        assert_nothing_stored(services)

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"--B",
            b"--B\r\n",
            b"no delimiter",
            b'--B\r\nContent-Disposition: form-data; name="event"\r\n\r\n{}',
            b'--B\r\nContent-Disposition: form-data; name="media"\r\n\r\n' + BYTES,
            b'--B\r\nContent-Disposition: form-data; name="ev\xff"\r\n\r\n{}\r\n--B--',
            b"--B\r\nContent-Disposition: form-data; name*=utf-8''%ff\r\n\r\n{}\r\n--B--",
            b"--B\r\nContent-Disposition: \xc3\x28\r\n\r\n{}\r\n--B--",
            b"--B\r\nContent-Transfer-Encoding: base64\r\n\r\ne30=\r\n--B--",
            b"--B\r\n\r\n{}\r\n--B--",
            b"--B\r\nX: " + b"x" * 100_000 + b"\r\n\r\n{}\r\n--B--",
            b"--B\r\n" + b"X: x\r\n" * 10_000 + b"\r\n{}\r\n--B--",
            b"--B" + b" " * 100_000 + b"\r\n\r\n{}\r\n--B--",
        ],
        ids=range(14),
    )
    def test_a_form_that_is_none_is_refused(
        self, client: Client, relay: Headers, services: Services, body: bytes
    ) -> None:
        answer = post_raw(client, relay, body)
        assert_problem(answer, 400, "invalid_package")
        assert_nothing_stored(services)

    def test_a_form_that_breaks_off_stores_nothing(
        self, client: Client, relay: Headers, services: Services
    ) -> None:
        body, content_type = encode_form(Part.event(beside()), Part.media(BYTES))
        for cut in (len(body) - 2 - len("--"), len(body) // 2, 40):
            answer = post_raw(client, relay, body[:cut], content_type)
            assert_problem(answer, 400, "invalid_package")
            status, problem, _ = post_stream(
                client, relay, CountedStream([body[:cut]]), content_type, length=len(body)
            )
            assert (status, problem["code"]) == (400, "invalid_request")
            assert_nothing_stored(services)

    @pytest.mark.parametrize(
        ("members", "content", "wrong"),
        [
            ({"size": 1}, BYTES, ["/media/size"]),
            ({}, BYTES[:-1], ["/media/size"]),
            ({"sha256": "0" * 64}, BYTES, ["/media/sha256"]),
            ({"sha256": "0" * 64}, BYTES + b"x", ["/media/size", "/media/sha256"]),
        ],
    )
    @pytest.mark.parametrize("media_first", [False, True], ids=["event first", "media first"])
    def test_a_size_or_digest_that_disagrees_is_refused(
        self,
        client: Client,
        relay: Headers,
        services: Services,
        members: dict[str, Any],
        content: bytes,
        wrong: list[str],
        media_first: bool,
    ) -> None:
        parts = [Part.event(beside(**members)), Part.media(content)]
        answer = post_form(client, relay, *(reversed(parts) if media_first else parts))
        assert_problem(answer, 422, "content_mismatch")
        assert pointers(answer) == wrong
        assert_nothing_stored(services)

    @pytest.mark.parametrize(
        "content",
        [b"<!doctype html><script>", b"", b"\xff\xd8", (MEDIA / "photo.png").read_bytes()],
    )
    @pytest.mark.parametrize("declared", ["image/jpeg", "video/mp4"])
    def test_a_file_that_is_not_what_it_says_is_refused(
        self, client: Client, relay: Headers, services: Services, content: bytes, declared: str
    ) -> None:
        package = beside(type=declared, size=len(content))
        # what the part says of itself counts for nothing
        part = Part("media", content, declared)
        answer = post_form(client, relay, Part.event(package), part)
        assert_problem(answer, 415, "unsupported_media_type")
        assert_nothing_stored(services)


def form_stream(package: Any, media: Iterable[bytes]) -> Iterator[bytes]:
    """Yield a form whose media is made as it is read."""
    yield Part.event(package).encode("B")
    yield b'--B\r\nContent-Disposition: form-data; name="media"\r\n\r\n'
    yield from media
    yield b"\r\n--B--\r\n"


class TestHowItIsStreamed:
    SIZE = 48 * 2**20

    def test_memory_stays_flat_however_large_the_media(
        self, client: Client, relay: Headers, services: Services
    ) -> None:
        block = bytes(2**16)
        package = beside(size=len(BYTES) + self.SIZE)

        def media() -> Iterator[bytes]:
            yield BYTES
            for _ in range(self.SIZE // len(block)):
                yield block

        stream = CountedStream(form_stream(package, media()))
        tracemalloc.start()
        try:
            status, receipt, _ = post_stream(client, relay, stream, BOUNDARY)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert status == 201, receipt
        (stored,) = services.storage.list("media-")
        assert stored.size == len(BYTES) + self.SIZE
        assert peak < 8 * 2**20

    def test_a_bad_event_is_refused_before_its_media_arrives(
        self, client: Client, relay: Headers, services: Services
    ) -> None:
        endless = (bytes(2**16) for _ in range(2**20))
        stream = CountedStream(form_stream(beside(size="large"), endless))
        status, problem, _ = post_stream(client, relay, stream, BOUNDARY)
        assert (status, problem["code"]) == (400, "invalid_package")
        assert stream.taken < 2**18
        assert_nothing_stored(services)

    def test_whoever_may_not_send_is_refused_before_a_byte_is_read(
        self, client: Client, admin: Headers
    ) -> None:
        body = json.dumps(make_package()).encode()
        for headers, expected in ((admin, 403), ({}, 401), ({"Authorization": "Bearer x"}, 401)):
            stream = CountedStream([body])
            status, _, _ = post_stream(client, headers, stream, "application/json")
            assert status == expected
            assert stream.taken == 0
