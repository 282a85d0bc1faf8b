"""JSON as it is written: quickly where that can be, and never less than the standard library."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import pytest

from eventserver_core.json_text import write_json


class Word(StrEnum):
    """An enumeration as the core has them."""

    STORED = "stored"


@pytest.mark.parametrize(
    "value",
    [
        {"a": [1, 2.5, True, None, "Genève \U0001f600"], "b": {"c": Word.STORED}},
        {"balance": 10**20, "least": -(2**63) - 1},
        {"lone": "\ud800"},
        {1: "a name that isn't text"},
        '\x00\x1f\x7f\u2028"\\/',
        [],
    ],
)
def test_what_is_written_is_read_again_as_the_standard_library_has_it(value: Any) -> None:
    assert json.loads(write_json(value)) == json.loads(json.dumps(value))


def test_no_space_is_wasted() -> None:
    for number in (1, 2**70):
        assert write_json({"a": [number, "é"]}).count(b" ") == 0


def test_what_json_does_not_take_is_refused() -> None:
    for value in (datetime.now(UTC), object(), {"a": b"bytes"}):
        with pytest.raises(TypeError):
            write_json(value)


def test_what_json_does_not_take_is_left_to_the_default() -> None:
    moment = datetime(2024, 1, 1, tzinfo=UTC)
    for number in (1, 2**70):
        written = json.loads(write_json({"at": moment, "n": number}, str))
        assert written == {"at": "2024-01-01 00:00:00+00:00", "n": number}
