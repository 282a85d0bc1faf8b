"""Reading I-JSON: every fault, where it is, and nothing that costs more than it should."""

from __future__ import annotations

import time
from typing import Any

import pytest

from eventserver_core.domain.canonical import (
    MAX_DEPTH,
    MAX_FAULTS,
    MAX_VALUES,
    WRAPPED_DEPTH,
    parse_ijson,
)
from eventserver_core.errors import Fault, InvalidPackageError


def faults_of(content: bytes, **options: Any) -> list[Fault]:
    with pytest.raises(InvalidPackageError) as caught:
        parse_ijson(content, **options)
    assert caught.value.code == "invalid_package"
    return caught.value.faults


def pointers_of(content: bytes) -> list[str]:
    return [fault.pointer for fault in faults_of(content)]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (
            '{"a": [1, -2.5, "x", true, false, null, {}]}',
            {"a": [1, -2.5, "x", True, False, None, {}]},
        ),
        ('"\\ud83d\\ude00"', "\U0001f600"),
        ("9007199254740991", 2**53 - 1),
        ("9007199254740992", float(2**53)),
        ("-9007199254740992", -float(2**53)),
        ("1000000000000000000000", 1e21),
        ("100000000000000000000000", 1e23),
        ("123456789012345670000", 1.2345678901234567e20),
        ("18446744073709551616", 2.0**64),
        ("-1180591620717411303424", -(2.0**70)),
        ("0.10000000000000000000000000", 0.1),
        ("0.1000000000000000055511151231257827021181583404541015625", 0.1),
        ("333333333.33333329", 333333333.3333333),
        ("0e400", 0.0),
        ("5e-324", 5e-324),
        (" \t\r\n1 ", 1),
    ],
)
def test_what_every_reader_understands_alike_is_taken(text: str, value: Any) -> None:
    assert parse_ijson(text.encode()) == value


@pytest.mark.parametrize(
    "number",
    [
        "9007199254740993",
        "-9007199254740993",
        "123456789012345678901",
        "9" * 300,
        "9" * 309,
        "1" + "0" * 399,
        "7" * 5000,
        "-" + "7" * 5000,
        "1e400",
        "-1e400",
        "1e-400",
        "1E-99999999999999999999",
        "1e99999999999999999999",
        "0.100000000000000001",
        "123456789012345678.5",
        "0.1000000000000000055511151231257827",
        "1." + "0" * 5000 + "1",
        "NaN",
        "Infinity",
        "-Infinity",
    ],
)
def test_a_number_that_no_double_holds_is_refused_where_it_is(number: str) -> None:
    assert pointers_of(b'{"a": [0, %s]}' % number.encode()) == ["/a/1"]


@pytest.mark.parametrize(
    ("content", "detail"),
    [
        (b"", "not JSON"),
        (b"   ", "not JSON"),
        (b"{", "not JSON"),
        (b'{"a": 1,}', "not JSON"),
        (b"{'a': 1}", "not JSON"),
        (b"[1] [2]", "not JSON"),
        (b"01", "not JSON"),
        (b"+1", "not JSON"),
        (b".5", "not JSON"),
        (b"0x10", "not JSON"),
        (b"nan", "not JSON"),
        (b'"line\nfeed"', "not JSON"),
        (b'"\\x41"', "not JSON"),
        (b"// 1\n1", "not JSON"),
        (b"\xef\xbb\xbf{}", "not JSON"),
        ("{}".encode("utf-16"), "not UTF-8 at byte 0"),
        (b'{"a": "\xff"}', "not UTF-8 at byte 7"),
        (b'"\xed\xa0\x80"', "not UTF-8 at byte 1"),
        (b'"\xc0\xaf"', "not UTF-8 at byte 1"),
    ],
)
def test_what_is_no_json_is_refused_as_a_whole(content: bytes, detail: str) -> None:
    (fault,) = faults_of(content)
    assert fault.pointer == ""
    assert fault.detail.startswith(detail)


def test_a_syntax_error_is_shown_by_line_and_column() -> None:
    (fault,) = faults_of(b'{"a": 1,\n "b": ?}')
    assert "line 2, column 7" in fault.detail


@pytest.mark.parametrize(
    ("text", "pointers"),
    [
        ('{"a": 1, "a": 1}', ["/a"]),
        ('{"a": 1, "\\u0061": 2}', ["/a"]),
        ('{"a": 1, "a": 2, "a": 3}', ["/a"]),
        ('{"a": 1, "b": 1, "b": 2, "a": 2}', ["/b", "/a"]),
        ('[0, {"x": {"": 1, "": 2}}]', ["/1/x/"]),
        ('{"a/b~c": {"~1": 1, "~1": 2}}', ["/a~1b~0c/~01"]),
    ],
)
def test_a_name_that_occurs_twice_is_refused(text: str, pointers: list[str]) -> None:
    assert pointers_of(text.encode()) == pointers


@pytest.mark.parametrize(
    "text",
    [
        "\\ud800",
        "\\udc00",
        "\\ude00\\ud83d",
        "a\\ud83dz",
        "\\ufffe",
        "\\uffff",
        "\ufdd0",
        "\ufdef",
        "\U0001fffe",
        "\U0010ffff",
    ],
)
def test_a_lone_surrogate_or_a_noncharacter_is_refused(text: str) -> None:
    assert pointers_of(f'{{"a": ["{text}"]}}'.encode()) == ["/a/0"]
    assert pointers_of(f'{{"a": {{"{text}": 1}}}}'.encode()) == ["/a"]


@pytest.mark.parametrize("text", ["\ud7ff", "\ue000", "\ufdcf", "\ufdf0", "\ufffd", "\U0010fffd"])
def test_their_neighbours_are_taken(text: str) -> None:
    assert parse_ijson(f'"{text}"'.encode()) == text


def test_every_fault_is_told_at_once_and_in_the_documents_order() -> None:
    faults = faults_of(
        b'{"a": NaN, "b/c": [1e400, {"~": "\\ud800"}], "d": {"x": 1, "x": 2}, '
        b'"e": 9007199254740993, "f": %s}' % (b"[" * MAX_DEPTH + b"]" * MAX_DEPTH)
    )
    assert [fault.pointer for fault in faults] == [
        "/a",
        "/b~1c/0",
        "/b~1c/1/~0",
        "/d/x",
        "/e",
        "/f" + "/0" * (MAX_DEPTH - 1),
    ]
    assert all(fault.detail for fault in faults)


def test_a_pointer_can_always_be_sent() -> None:
    (fault,) = faults_of(b'{"\\ud800": 1}')
    assert fault.pointer.encode("utf-8") == b""
    duplicated = faults_of(b'{"\\ud800": 1, "\\ud800": 1}')
    assert [fault.pointer.encode("utf-8") for fault in duplicated] == [b"/?", b""]


@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_the_deepest_nesting_is_taken_and_one_level_more_is_not(opening: str) -> None:
    closing = "]" if opening == "[" else "}"
    inner = "" if opening == "[" else "1"

    def nested(depth: int) -> bytes:
        return (opening * depth + inner + closing * depth).encode()

    parse_ijson(nested(MAX_DEPTH))
    parse_ijson(nested(WRAPPED_DEPTH), max_depth=WRAPPED_DEPTH)
    (fault,) = faults_of(nested(MAX_DEPTH + 1))
    assert f"{MAX_DEPTH} levels" in fault.detail
    faults_of(nested(WRAPPED_DEPTH + 1), max_depth=WRAPPED_DEPTH)


@pytest.mark.parametrize("depth", [900, 10_000, 300_000])
@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'[{"a":'])
def test_nesting_without_end_is_refused_and_costs_little(depth: int, opening: bytes) -> None:
    began = time.process_time()
    (fault,) = faults_of(opening * depth + b"1")
    assert time.process_time() - began < 5
    assert fault.pointer == ""


def test_a_well_formed_abyss_is_refused() -> None:
    (fault,) = faults_of(b"[" * 10_000 + b"]" * 10_000)
    assert "nested deeper" in fault.detail


def test_a_flood_of_values_is_refused_before_it_is_read() -> None:
    parse_ijson(b"[" + b"0," * (MAX_VALUES - 2) + b"0]")
    (fault,) = faults_of(b"[" + b"0," * MAX_VALUES + b"0]")
    assert "commas" in fault.detail


def test_a_flood_of_faults_is_cut_short_and_says_so() -> None:
    faults = faults_of(b"[" + b",".join([b"NaN"] * 50_000) + b"]")
    assert [fault.pointer for fault in faults[:-1]] == [f"/{i}" for i in range(MAX_FAULTS)]
    assert faults[-1].pointer == ""
    assert "and more" in faults[-1].detail


def test_a_name_of_a_megabyte_is_not_repeated_for_every_fault() -> None:
    name = b"n" * 1_000_000
    faults = faults_of(b'{"a": {"%s": [%s]}}' % (name, b",".join([b"NaN"] * 1000)))
    assert {fault.pointer for fault in faults[:-1]} == {"/a"}


def test_a_long_text_is_no_flood() -> None:
    media = b"A" * 3_000_000
    assert parse_ijson(b'{"data": "%s"}' % media) == {"data": media.decode()}
