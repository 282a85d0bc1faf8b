"""What a valid event package is: each rule of the contract, and where its fault is shown."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from eventserver_core.domain.canonical import MAX_DEPTH, MAX_FAULTS
from eventserver_core.domain.package import (
    EventPackage,
    check_package,
    decode_media_data,
    parse_package,
)
from eventserver_core.errors import Fault, InvalidPackageError

from .samples import EVENT_ID, altered, encoded, json_values, package, places, texts, without

thorough = settings(max_examples=100, deadline=None)
MEDIA = {
    "type": "image/jpeg",
    "name": "photo.jpg",
    "size": 3,
    "lastModified": 1704067200000,
    "data": "/9j/",
}
ABSENT = object()


def pointers_of(document: Any) -> list[str]:
    with pytest.raises(InvalidPackageError) as caught:
        parse_package(encoded(document))
    assert all(fault.detail for fault in caught.value.faults)
    return [fault.pointer for fault in caught.value.faults]


def test_a_package_is_kept_exactly_as_it_was_sent() -> None:
    sent = package(media=MEDIA, extra={"deep": [1, {"a/b": None}]}, Version="not version")
    sent["annotations"][0]["confidence"] = 0.5
    sent["metadata"]["app"] = "2.1"
    parsed = parse_package(encoded(sent))
    assert parsed.document == sent
    assert parsed.model.media is not None
    assert parsed.model.media.size == 3
    assert parsed.created_at == datetime(2024, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("id",), EVENT_ID.upper()),
        (("id",), "00000000-0000-0000-0000-000000000000"),
        (("annotations", 0, "value"), "text"),
        (("annotations", 0, "value"), ""),
        (("annotations", 0, "value"), 1.5),
        (("annotations", 0, "value"), False),
        (("annotations", 0, "value"), None),
        (("annotations", 0, "timestamp"), None),
        (("annotations", 0, "timestamp"), ABSENT),
        (("annotations", 0, "timestamp"), "2024-01-01t00:00:00.123456789+05:30"),
        (("media",), None),
        (("media",), ABSENT),
        (("media", "type"), "image/png"),
        (("media", "type"), "image/gif"),
        (("media", "type"), "video/mp4"),
        (("media", "name"), ABSENT),
        (("media", "name"), "../../etc/passwd"),
        (("media", "lastModified"), ABSENT),
        (("media", "lastModified"), 1704067200000.5),
        (("media", "size"), 0),
        (("media", "data"), ABSENT),
        (("media", "sha256"), "ab" * 32),
        (("metadata", "createdBy"), None),
        (("metadata", "createdBy"), ABSENT),
        (("metadata", "source"), "mobile"),
        (("metadata", "source"), "api"),
    ],
)
def test_what_the_contract_allows_is_taken(place: tuple[str | int, ...], value: Any) -> None:
    sent = package(media=MEDIA)
    sent = without(sent, place) if value is ABSENT else altered(sent, place, value)
    parse_package(encoded(sent))


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("id",), ABSENT),
        (("id",), None),
        (("id",), 5),
        (("id",), ""),
        (("id",), "not-a-uuid"),
        (("id",), EVENT_ID.replace("-", "")),
        (("id",), "{" + EVENT_ID + "}"),
        (("id",), "urn:uuid:" + EVENT_ID),
        (("id",), EVENT_ID + "\n"),
        (("id",), EVENT_ID.replace("5", "\N{FULLWIDTH DIGIT FIVE}")),
        (("version",), ABSENT),
        (("version",), ""),
        (("version",), 1.0),
        (("annotations",), ABSENT),
        (("annotations",), None),
        (("annotations",), []),
        (("annotations",), {}),
        (("annotations", 0), "text"),
        (("annotations", 0), None),
        (("annotations", 0, "labelId"), ABSENT),
        (("annotations", 0, "labelId"), ""),
        (("annotations", 0, "labelId"), 7),
        (("annotations", 0, "value"), ABSENT),
        (("annotations", 0, "value"), []),
        (("annotations", 0, "value"), {"a": 1}),
        (("annotations", 0, "timestamp"), "yesterday"),
        (("annotations", 0, "timestamp"), "2024-01-01"),
        (("annotations", 0, "timestamp"), 1704067200),
        (("media",), "photo.jpg"),
        (("media",), []),
        (("media", "type"), ABSENT),
        (("media", "type"), "image/webp"),
        (("media", "type"), "IMAGE/JPEG"),
        (("media", "type"), "text/html"),
        (("media", "name"), 5),
        (("media", "size"), ABSENT),
        (("media", "size"), None),
        (("media", "size"), -1),
        (("media", "size"), 3.5),
        (("media", "size"), "3"),
        (("media", "size"), True),
        (("media", "lastModified"), "yesterday"),
        (("media", "lastModified"), True),
        (("media", "sha256"), "AB" * 32),
        (("media", "sha256"), "ab"),
        (("media", "data"), 5),
        (("metadata",), ABSENT),
        (("metadata",), []),
        (("metadata", "createdAt"), ABSENT),
        (("metadata", "createdAt"), None),
        (("metadata", "createdAt"), "2024-02-30T00:00:00Z"),
        (("metadata", "createdAt"), "2024-01-01T00:00:00"),
        (("metadata", "createdBy"), 5),
        (("metadata", "source"), ABSENT),
        (("metadata", "source"), "WEB"),
        (("metadata", "source"), "relay"),
    ],
)
def test_a_broken_rule_is_shown_where_it_is_broken(
    place: tuple[str | int, ...], value: Any
) -> None:
    sent = package(media=MEDIA)
    sent = without(sent, place) if value is ABSENT else altered(sent, place, value)
    assert pointers_of(sent) == ["/" + "/".join(map(str, place))]


@pytest.mark.parametrize("document", [[], "text", 5, None, True, [package()]])
def test_what_is_no_object_is_no_package(document: Any) -> None:
    assert pointers_of(document) == [""]


def test_every_fault_is_told_at_once() -> None:
    sent = {
        "id": "?",
        "annotations": [{"labelId": "a", "value": 1}, {"value": []}, 5],
        "media": {"type": "text/html", "size": -1},
        "metadata": {"createdAt": "?", "source": "?"},
    }
    assert sorted(pointers_of(sent)) == [
        "/annotations/1/labelId",
        "/annotations/1/value",
        "/annotations/2",
        "/id",
        "/media/size",
        "/media/type",
        "/metadata/createdAt",
        "/metadata/source",
        "/version",
    ]


def test_an_empty_object_lacks_all_that_is_required() -> None:
    assert sorted(pointers_of({})) == ["/annotations", "/id", "/metadata", "/version"]


def test_names_are_not_taken_for_one_another() -> None:
    sent = package()
    sent["annotations"][0]["label_id"] = sent["annotations"][0].pop("labelId")
    sent["metadata"]["created_at"] = sent["metadata"].pop("createdAt")
    assert sorted(pointers_of(sent)) == ["/annotations/0/labelId", "/metadata/createdAt"]


def test_the_published_schema_is_open_to_members_of_the_apps_own() -> None:
    schema = EventPackage.model_json_schema()
    for described in (schema, *schema["$defs"].values()):
        assert described["additionalProperties"] is True


def test_names_of_python_are_only_names() -> None:
    names = ["__class__", "model_config", "model_fields", "self", "__proto__", "event_id", ""]
    sent = package(**dict.fromkeys(names, 1))
    assert parse_package(encoded(sent)).document == sent


def test_a_flood_of_faults_is_cut_short_and_costs_little() -> None:
    with pytest.raises(InvalidPackageError) as caught:
        check_package(package(annotations=[{}] * 60_000))
    pointers = [fault.pointer for fault in caught.value.faults]
    assert pointers[0] == "/annotations/0/labelId"
    assert len(pointers) == MAX_FAULTS + 1
    assert pointers[-1] == ""
    collected = caught.value.__cause__
    assert isinstance(collected, ValidationError)
    assert collected.error_count() < 10


def test_faults_far_behind_are_found() -> None:
    good = {"labelId": "a", "value": 1}
    assert pointers_of(package(annotations=[*[good] * 5000, {"labelId": "a"}])) == [
        "/annotations/5000/value"
    ]


def test_the_same_uuid_is_the_same_event_however_it_is_written() -> None:
    upper = parse_package(encoded(package(id=EVENT_ID.upper())))
    assert upper.event_id == EVENT_ID
    assert upper.document["id"] == EVENT_ID.upper()


def test_a_package_as_deep_as_json_may_be_is_taken() -> None:
    deep: Any = 1
    for _ in range(MAX_DEPTH - 1):
        deep = [deep]
    parse_package(encoded(package(deep=deep)))
    assert pointers_of(package(deep=[deep])) == ["/deep" + "/0" * (MAX_DEPTH - 1)]


@thorough
@given(st.binary(max_size=200))
def test_any_bytes_are_a_package_or_are_refused(content: bytes) -> None:
    with pytest.raises(InvalidPackageError):
        parse_package(content)


@thorough
@given(json_values)
def test_any_json_is_a_package_or_is_refused(document: Any) -> None:
    with pytest.raises(InvalidPackageError) as caught:
        parse_package(encoded(document))
    assert caught.value.faults


@thorough
@given(data=st.data())
def test_any_json_in_any_place_is_taken_or_refused(data: st.DataObject) -> None:
    sent = package(media=MEDIA)
    place = data.draw(st.sampled_from(places(sent)))
    sent = altered(sent, place, data.draw(json_values))
    faults: list[Fault] = []
    try:
        assert check_package(sent).document == sent
    except InvalidPackageError as ex:
        faults = ex.faults
    assert {fault.pointer.split("/")[1] for fault in faults} <= {place[0]}


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(texts.filter(lambda name: name != "media"), json_values, max_size=4))
def test_members_that_nobody_named_are_always_taken(members: dict[str, Any]) -> None:
    known = package()
    sent = members | known | {"metadata": members | known["metadata"]}
    assert parse_package(encoded(sent)).document == sent


@pytest.mark.parametrize(
    "prefix",
    [
        "",
        "data:image/jpeg;base64,",
        "data:;base64,",
        "data:image/jpeg;name=a%2Cb.jpg;base64,",
        "data:image/jpeg;name=" + "n" * 239 + ";base64,",
    ],
)
@given(content=st.binary(max_size=100))
def test_media_is_base64_with_or_without_a_data_url(prefix: str, content: bytes) -> None:
    assert decode_media_data(prefix + base64.b64encode(content).decode()) == content


@pytest.mark.parametrize(
    "data",
    [
        "/9j",
        "/9j/\n",
        " /9j/",
        "_9j_",
        "/9j/=",
        "/9j/====",
        "/9==/9j/",
        "=/9j/",
        "/9==j/",
        "????",
        "\u00e9\u00e9\u00e9\u00e9",
        "data:image/jpeg,/9j/",
        "data:image/jpeg;base64;/9j/",
        "data:" + "x" * 300 + ";base64,/9j/",
        "image/jpeg;base64,/9j/",
    ],
)
def test_what_is_no_base64_is_refused(data: str) -> None:
    with pytest.raises(InvalidPackageError) as caught:
        decode_media_data(data)
    assert [fault.pointer for fault in caught.value.faults] == ["/media/data"]
