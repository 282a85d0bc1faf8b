"""One event as JSON: what is taken, what is refused, and what is said about it."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from eventserver_core.domain.package import make_statement
from eventserver_core.testing.factories import make_package
from eventserver_core.wiring import Services

from .exchange import (
    EVENTS,
    RECEIPT_MEMBERS,
    SIGNED_EVENTS,
    Client,
    Headers,
    assert_nothing_stored,
    assert_problem,
    pointers,
    post_event,
)

MEDIA = Path(__file__).parents[1] / "media"
PHOTOS = ["photo.jpg", "photo.png", "photo.gif", "clip.mp4"]
HTML = b"<!doctype html><script>alert(1)</script>"


def with_media(**members: Any) -> dict[str, Any]:
    """Return a package whose photo's description is altered; None leaves a member out."""
    package = make_package(MEDIA / "photo.jpg")
    package["media"] |= members
    package["media"] = {name: v for name, v in package["media"].items() if v is not None}
    return package


def without(name: str, part: str | None = None) -> dict[str, Any]:
    """Return a package that lacks a member."""
    package = make_package()
    del (package if part is None else package[part])[name]
    return package


def annotated(*annotations: Any) -> dict[str, Any]:
    return make_package(annotations=list(annotations))


def described(**metadata: Any) -> dict[str, Any]:
    package = make_package()
    package["metadata"] |= metadata
    return package


class TestWhatIsTaken:
    @pytest.mark.parametrize("path", [EVENTS, SIGNED_EVENTS])
    def test_an_event_is_answered_with_its_receipt(
        self, client: Client, relay: Headers, path: str
    ) -> None:
        package = make_package()
        answer = post_event(client, relay, package, path)
        assert answer.status_code == 201
        assert list(answer.json) == RECEIPT_MEMBERS
        assert answer.json["eventId"] == package["id"]
        assert answer.json["hash"] == make_statement(package, None).digest_hex
        assert answer.json["storageLocation"].startswith("filesystem:pack-")
        assert answer.json["processedAt"].endswith("Z")
        assert answer.json["status"] == "stored"
        assert answer.headers["location"] == f"{EVENTS}/{answer.json['hash']}"
        assert answer.headers["content-type"] == "application/json"

    @pytest.mark.parametrize("name", PHOTOS)
    def test_media_may_come_as_base64(
        self, client: Client, relay: Headers, services: Services, name: str
    ) -> None:
        package = make_package(MEDIA / name)
        answer = post_event(client, relay, package)
        assert answer.status_code == 201, answer.text
        content = (MEDIA / name).read_bytes()
        (stored,) = services.storage.list("media-")
        assert b"".join(services.storage.read(stored.key)) == content
        statement = make_statement(package, stored.key.removeprefix("media-"))
        assert answer.json["hash"] == statement.digest_hex

    def test_media_may_have_a_data_urls_prefix(self, client: Client, relay: Headers) -> None:
        package = make_package(MEDIA / "photo.jpg")
        plain = post_event(client, relay, package)
        package["media"]["data"] = "data:image/jpeg;base64," + package["media"]["data"]
        again = post_event(client, relay, package)
        assert (plain.status_code, again.status_code) == (201, 200)
        assert again.content == plain.content

    @pytest.mark.parametrize("value", ["Music", "", 120, -0.5, 1e21, True, False, None])
    def test_a_value_is_a_string_a_number_a_boolean_or_null(
        self, client: Client, relay: Headers, value: object
    ) -> None:
        package = annotated({"labelId": "label", "value": value})
        answer = post_event(client, relay, package)
        assert answer.status_code == 201
        assert answer.json["hash"] == make_statement(package, None).digest_hex

    @pytest.mark.parametrize(
        "package",
        [
            without("media"),
            described(createdBy=None),
            without("createdBy", "metadata"),
            described(source="mobile"),
            described(source="api"),
            described(createdAt="2024-01-01T01:30:00.123456789+01:30"),
            make_package(version="0"),
        ],
        ids=["no media", "nobody", "no createdBy", "mobile", "api", "offset", "version"],
    )
    def test_what_may_be_absent_or_null_may(
        self, client: Client, relay: Headers, package: dict[str, Any]
    ) -> None:
        assert post_event(client, relay, package).status_code == 201

    def test_members_that_nobody_named_are_hashed_and_kept(
        self, client: Client, relay: Headers
    ) -> None:
        package = make_package(MEDIA / "photo.jpg")
        package["app"] = {"build": 7, "ünïcödé": ["🦊", 0.1, None]}
        package["annotations"][0]["confidence"] = 0.25
        package["media"]["camera"] = "rear"
        package["metadata"]["location"] = {"lat": 52.5, "lon": 13.4}
        answer = post_event(client, relay, package)
        record = client.simulate_get(answer.headers["location"], headers=relay).json
        digest_hex = record["event"]["media"].pop("sha256")
        assert answer.json["hash"] == make_statement(package, digest_hex).digest_hex
        del package["media"]["data"]
        assert record["event"] == package

    def test_an_id_in_upper_case_is_the_same_id(self, client: Client, relay: Headers) -> None:
        package = make_package()
        package["id"] = package["id"].upper()
        answer = post_event(client, relay, package)
        assert answer.status_code == 201
        assert answer.json["eventId"] == package["id"].lower()
        assert answer.json["hash"] == make_statement(package, None).digest_hex
        lower = package | {"id": package["id"].lower()}
        problem = assert_problem(post_event(client, relay, lower), 409, "event_id_conflict")
        assert problem["storedHash"] == answer.json["hash"]

    @pytest.mark.parametrize(
        "content_type",
        [
            "application/json",
            "application/json; charset=utf-8",
            "APPLICATION/JSON;charset=UTF-8",
            'application/json ; charset="utf-8"',
        ],
    )
    def test_json_is_taken_however_it_is_announced(
        self, client: Client, relay: Headers, content_type: str
    ) -> None:
        headers = dict(relay) | {"Content-Type": content_type}
        assert post_event(client, headers, make_package()).status_code == 201


INVALID = [
    (make_package(id="not-a-uuid"), "/id"),
    (make_package(id="..%2f..%2fetc%2fpasswd"), "/id"),
    (make_package(id="/etc/passwd"), "/id"),
    (make_package(id="a" * 10_000), "/id"),
    (make_package(id="550e8400e29b41d4a716446655440000"), "/id"),
    (make_package(id="550e8400-e29b-41d4-a716-446655440000\n"), "/id"),
    (make_package(id=7), "/id"),
    (without("id"), "/id"),
    (make_package(version=""), "/version"),
    (make_package(version=1), "/version"),
    (without("version"), "/version"),
    (annotated(), "/annotations"),
    (make_package(annotations=None), "/annotations"),
    (make_package(annotations={}), "/annotations"),
    (without("annotations"), "/annotations"),
    (annotated("text"), "/annotations/0"),
    (annotated({"value": 1}), "/annotations/0/labelId"),
    (annotated({"labelId": "", "value": 1}), "/annotations/0/labelId"),
    (annotated({"labelId": "a", "value": [1]}), "/annotations/0/value"),
    (annotated({"labelId": "a", "value": {}}), "/annotations/0/value"),
    (annotated({"labelId": "a"}), "/annotations/0/value"),
    (
        annotated({"labelId": "a", "value": 1}, {"labelId": "a", "value": 1, "timestamp": "now"}),
        "/annotations/1/timestamp",
    ),
    (make_package() | {"media": "photo.jpg"}, "/media"),
    (with_media(type="text/html"), "/media/type"),
    (with_media(type="image/webp"), "/media/type"),
    (with_media(type=None), "/media/type"),
    (with_media(size=-1), "/media/size"),
    (with_media(size="27835"), "/media/size"),
    (with_media(size=None), "/media/size"),
    (with_media(data=None), "/media/data"),
    (with_media(data="!!!"), "/media/data"),
    (with_media(data="AAA"), "/media/data"),
    (with_media(data="_-_-"), "/media/data"),
    (with_media(data=5), "/media/data"),
    (with_media(sha256="ABC"), "/media/sha256"),
    (with_media(name=5), "/media/name"),
    (with_media(name="n" * 10_000), "/media/name"),
    (without("metadata"), "/metadata"),
    (without("createdAt", "metadata"), "/metadata/createdAt"),
    (described(createdAt="yesterday"), "/metadata/createdAt"),
    (described(createdAt="2024-02-30T00:00:00Z"), "/metadata/createdAt"),
    (described(createdAt="2024-01-01T00:00:00"), "/metadata/createdAt"),
    (described(createdAt=1704067200), "/metadata/createdAt"),
    (described(source="fax"), "/metadata/source"),
    (without("source", "metadata"), "/metadata/source"),
    (described(createdBy=5), "/metadata/createdBy"),
    ([], ""),
    ("text", ""),
    (None, ""),
]


class TestWhatIsRefused:
    @pytest.mark.parametrize(("package", "pointer"), INVALID)
    def test_a_package_at_fault_is_told_where(
        self, client: Client, relay: Headers, services: Services, package: Any, pointer: str
    ) -> None:
        answer = post_event(client, relay, json.dumps(package))
        problem = assert_problem(answer, 400, "invalid_package")
        assert pointers(answer) == [pointer]
        assert all(fault.keys() == {"pointer", "detail"} for fault in problem["errors"])
        assert_nothing_stored(services)

    def test_every_fault_is_answered_at_once(self, client: Client, relay: Headers) -> None:
        package = make_package(
            id="nobody",
            version="",
            annotations=[{"value": 1}, {"labelId": "a", "value": [], "timestamp": "soon"}],
            metadata={"createdAt": "never", "source": "fax"},
        )
        package["media"] = {"type": "text/html", "size": -5, "data": "?"}
        answer = post_event(client, relay, package)
        assert_problem(answer, 400, "invalid_package")
        assert sorted(pointers(answer)) == [
            "/annotations/0/labelId",
            "/annotations/1/timestamp",
            "/annotations/1/value",
            "/id",
            "/media/data",
            "/media/size",
            "/media/type",
            "/metadata/createdAt",
            "/metadata/source",
            "/version",
        ]

    def test_a_pointer_escapes_what_it_must(self, client: Client, relay: Headers) -> None:
        body = json.dumps(make_package())[:-1] + ', "a/b~c": {"twice": 1, "twice": 2}}'
        answer = post_event(client, relay, body)
        assert_problem(answer, 400, "invalid_package")
        assert pointers(answer) == ["/a~1b~0c/twice"]

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"{",
            b"not json",
            b'{"id": 1,}',
            b"\xef\xbb\xbf{}",
            b'{"id": "\xff"}',
            b"[" * 10_000,
            b"[" * 10_000 + b"]" * 10_000,
            b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
            b'{"a": NaN}',
            b'{"a": Infinity}',
            b'{"a": -Infinity}',
            b'{"a": 1e400}',
            b'{"a": 1e-400}',
            b'{"a": 9007199254740993}',
            b'{"a": ' + b"9" * 100_000 + b"}",
            b'{"a": 1, "a": 1}',
            b'{"a": "\\ud800"}',
            b'{"\\udfff": 1}',
            b"[" + b"," * 2_000_000 + b"]",
        ],
        ids=lambda body: repr(body[:24]),
    )
    def test_what_is_not_i_json_is_refused(
        self, client: Client, relay: Headers, services: Services, body: bytes
    ) -> None:
        answer = post_event(client, relay, body)
        problem = assert_problem(answer, 400, "invalid_package")
        assert problem["errors"]
        assert len(answer.content) < 10_000
        assert_nothing_stored(services)

    @pytest.mark.parametrize("declared", ["image/jpeg", "image/png", "image/gif", "video/mp4"])
    @pytest.mark.parametrize("name", [*PHOTOS, "page.html", "nothing"])
    def test_a_file_that_is_not_what_it_says_is_refused(
        self, client: Client, relay: Headers, services: Services, declared: str, name: str
    ) -> None:
        real = {"page.html": HTML, "nothing": b""}
        content = real[name] if name in real else (MEDIA / name).read_bytes()
        data = base64.b64encode(content).decode()
        package = with_media(type=declared, size=len(content), data=data)
        answer = post_event(client, relay, package)
        kinds = dict(
            zip(PHOTOS, ("image/jpeg", "image/png", "image/gif", "video/mp4"), strict=True)
        )
        if kinds.get(name) == declared:
            assert answer.status_code == 201
        else:
            assert_problem(answer, 415, "unsupported_media_type")
            assert_nothing_stored(services)

    @pytest.mark.parametrize(
        ("members", "wrong"),
        [
            ({"size": 1}, ["/media/size"]),
            ({"sha256": "0" * 64}, ["/media/sha256"]),
            ({"size": 0, "sha256": "f" * 64}, ["/media/size", "/media/sha256"]),
        ],
    )
    def test_a_size_or_digest_that_disagrees_is_refused(
        self,
        client: Client,
        relay: Headers,
        services: Services,
        members: dict[str, Any],
        wrong: list[str],
    ) -> None:
        answer = post_event(client, relay, with_media(**members))
        assert_problem(answer, 422, "content_mismatch")
        assert pointers(answer) == wrong
        assert_nothing_stored(services)

    @pytest.mark.parametrize(
        "content_type",
        ["text/plain", "application/jsonp", "application/x-ndjson", "application/octet-stream", ""],
    )
    @pytest.mark.parametrize("path", [EVENTS, SIGNED_EVENTS])
    def test_another_content_type_is_refused(
        self, client: Client, relay: Headers, content_type: str, path: str
    ) -> None:
        headers = dict(relay) | {"Content-Type": content_type}
        answer = post_event(client, headers, make_package(), path)
        assert_problem(answer, 415, "unsupported_media_type")

    def test_no_content_type_at_all_is_refused(self, client: Client, relay: Headers) -> None:
        body = json.dumps(make_package())
        answer = client.simulate_post(EVENTS, body=body, headers=dict(relay))
        assert_problem(answer, 415, "unsupported_media_type")

    def test_the_eventapps_route_takes_no_form(self, client: Client, relay: Headers) -> None:
        headers = dict(relay) | {"Content-Type": "multipart/form-data; boundary=x"}
        answer = post_event(client, headers, b"--x--", SIGNED_EVENTS)
        assert_problem(answer, 415, "unsupported_media_type")

    @pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "gzip, gzip", "GZIP"])
    def test_a_compressed_body_is_refused(
        self, client: Client, relay: Headers, encoding: str
    ) -> None:
        headers = dict(relay) | {"Content-Encoding": encoding}
        answer = post_event(client, headers, make_package())
        assert_problem(answer, 415, "unsupported_media_type")

    def test_a_body_that_says_it_is_not_compressed_is_taken(
        self, client: Client, relay: Headers
    ) -> None:
        headers = dict(relay) | {"Content-Encoding": "identity"}
        assert post_event(client, headers, make_package()).status_code == 201

    def test_a_signed_package_that_is_no_text_is_refused(
        self, client: Client, relay: Headers
    ) -> None:
        for value in (None, 5, {}, ["a.b.c"], "ä.ö.ü"):
            answer = post_event(client, relay, {"jwtEventData": value})
            assert_problem(answer, 400, "invalid_package")
            assert pointers(answer) == ["/jwtEventData"]


def test_a_callers_words_are_not_repeated_at_length(
    client: Client, relay: Headers, make_services: Callable[..., Services]
) -> None:
    names = {f"{n}{'x' * 5_000}": [1, 1] for n in range(50)}
    body = json.dumps(names).replace("[1, 1]", '{"a": 1, "a": 1}')
    answer = post_event(client, relay, body)
    assert_problem(answer, 400, "invalid_package")
    assert len(answer.content) < 100_000
