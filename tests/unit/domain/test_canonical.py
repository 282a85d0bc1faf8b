"""The canonical form against the RFC's own examples and against a second implementation."""

from __future__ import annotations

import json
import math
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventserver_core.domain.canonical import canonicalize, parse_ijson, pointer
from eventserver_core.errors import InvalidPackageError

from . import oracle
from .samples import json_values

thorough = settings(max_examples=120, deadline=None)

# RFC 8785, appendix B
NUMBERS = {
    "0000000000000000": "0",
    "8000000000000000": "0",
    "0000000000000001": "5e-324",
    "8000000000000001": "-5e-324",
    "7fefffffffffffff": "1.7976931348623157e+308",
    "ffefffffffffffff": "-1.7976931348623157e+308",
    "4340000000000000": "9007199254740992",
    "c340000000000000": "-9007199254740992",
    "4430000000000000": "295147905179352830000",
    "44b52d02c7e14af5": "9.999999999999997e+22",
    "44b52d02c7e14af6": "1e+23",
    "44b52d02c7e14af7": "1.0000000000000001e+23",
    "444b1ae4d6e2ef4e": "999999999999999700000",
    "444b1ae4d6e2ef4f": "999999999999999900000",
    "444b1ae4d6e2ef50": "1e+21",
    "3eb0c6f7a0b5ed8c": "9.999999999999997e-7",
    "3eb0c6f7a0b5ed8d": "0.000001",
    "41b3de4355555553": "333333333.3333332",
    "41b3de4355555554": "333333333.33333325",
    "41b3de4355555555": "333333333.3333333",
    "41b3de4355555556": "333333333.3333334",
    "41b3de4355555557": "333333333.33333343",
    "becbf647612f3696": "-0.0000033333333333333333",
    "43143ff3c1cb0959": "1424953923781206.2",
}


@pytest.mark.parametrize(("bits", "text"), NUMBERS.items())
def test_a_double_is_written_as_rfc_8785_has_it(bits: str, text: str) -> None:
    (number,) = struct.unpack(">d", bytes.fromhex(bits))
    assert canonicalize(number) == text.encode()


def test_the_example_of_rfc_8785_comes_out_byte_for_byte() -> None:
    # section 3.2.2 gives the input, section 3.2.4 the bytes
    sent = rb"""{
      "numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
      "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
      "literals": [null, true, false]
    }"""
    expected = (
        '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
        '"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
    )
    assert canonicalize(parse_ijson(sent)) == expected.encode()


def test_names_are_sorted_by_utf16_code_units_and_not_by_code_points() -> None:
    # RFC 8785, section 3.2.3: the emoji's code point is the highest, its first unit is not
    sent = {"\u20ac": 1, "\r": 2, "\ufb33": 3, "1": 4, "\U0001f600": 5, "\u0080": 6, "\u00f6": 7}
    written = json.loads(canonicalize(sent))
    assert list(written) == ["\r", "1", "\u0080", "\u00f6", "\u20ac", "\U0001f600", "\ufb33"]
    assert list(written) != sorted(written)


@pytest.mark.parametrize(("bits", "text"), NUMBERS.items())
def test_the_second_implementation_agrees_with_rfc_8785(bits: str, text: str) -> None:
    (number,) = struct.unpack(">d", bytes.fromhex(bits))
    assert oracle.number(number) == text


@thorough
@given(json_values)
def test_two_implementations_give_the_same_canonical_form(value: Any) -> None:
    assert canonicalize(value).decode() == oracle.canonical(value)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=10, max_size=20))
def test_two_implementations_write_the_same_numbers(values: list[float]) -> None:
    assert canonicalize(values).decode() == oracle.canonical(values)


def test_powers_of_two_are_written_with_the_fewest_digits() -> None:
    # their neighbours lie at unequal distances, and that is where writers of doubles go wrong
    powers = [2.0**exponent for exponent in range(-1074, 1024)]
    assert canonicalize(powers).decode() == oracle.canonical(powers)


def test_of_two_equally_close_the_even_digit_is_written() -> None:
    assert canonicalize(1727212508250068.75) == b"1727212508250068.8"
    assert oracle.number(1727212508250068.75) == "1727212508250068.8"


@thorough
@given(json_values)
def test_what_was_canonicalized_is_read_again_as_the_same(value: Any) -> None:
    written = canonicalize(value)
    again = parse_ijson(written)
    assert again == value
    assert canonicalize(again) == written


@thorough
@given(st.floats(1e15, 1e25) | st.integers(2**53, 10**22).map(float))
def test_large_numbers_are_read_again_as_javascript_writes_them(number: float) -> None:
    # 123456789012345670000 is how 1.2345678901234567e20 is written, and is not its exact value
    assert parse_ijson(oracle.number(number).encode()) == number


@thorough
@given(st.from_regex(r"\A-?(0|[1-9][0-9]{0,22})(\.[0-9]{1,22})?([eE][+-]?[0-9]{1,3})?\Z"))
def test_a_number_is_taken_as_the_nearest_double_or_refused(text: str) -> None:
    double = float(text)
    try:
        number = parse_ijson(text.encode())
    except InvalidPackageError:
        # nobody who writes doubles writes this
        assert math.isinf(double) or oracle.number(double) != text
    else:
        assert number == double
        assert canonicalize(number).decode() == oracle.number(double)


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), 2**53, "\ud800", {1: 2}, b"", object]
)
def test_what_json_cannot_say_is_not_written(value: Any) -> None:
    with pytest.raises(ValueError):
        canonicalize(value)


def test_a_pointer_escapes_tilde_before_slash() -> None:
    assert pointer() == ""
    assert pointer("a/b", 0, "m~n", "~1", "") == "/a~1b/0/m~0n/~01/"
