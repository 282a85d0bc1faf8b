"""What is plain is read and written the short way; it comes out as by the long way, always."""

from __future__ import annotations

import json
from typing import Any

import pytest
import rfc8785
from hypothesis import example, given, settings
from hypothesis import strategies as st

from eventserver_core.domain import canonical
from eventserver_core.domain.canonical import canonicalize, parse_ijson
from eventserver_core.errors import InvalidPackageError

from .samples import json_values

thorough = settings(max_examples=200, deadline=None)

PIECES = [
    *'{}[],: "',
    '"a":',
    '"a"',
    '"é"',
    '"\U0001f600"',
    '"\ufdd0"',
    '"\uffff"',
    '"\\ud800"',
    '"\\u0041"',
    '"\\n"',
    "\\",
    "\x00",
    "\ufeff",
    "1",
    "-0",
    "-0.0",
    "1.0",
    "0.1",
    "1e400",
    "1e-400",
    "9007199254740992",
    "9007199254740993",
    "123456789012345678",
    "1e21",
    "NaN",
    "-Infinity",
    "true",
    "null",
]
ANY_TEXT = st.one_of(
    st.lists(st.sampled_from(PIECES), max_size=12).map("".join),
    json_values.map(lambda value: json.dumps(value, ensure_ascii=False)),
    json_values.map(lambda value: json.dumps(value, indent=1)),
    st.lists(st.tuples(st.sampled_from(["a", "b", "\ud7ff"]), json_values), max_size=4).map(
        lambda pairs: "{" + ",".join(f'"{n}":{json.dumps(v)}' for n, v in pairs) + "}"
    ),
)
ANY_NAME = st.text(max_size=4) | st.sampled_from(["\ue000", "\U00010000"])
ANY_VALUE = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**53) - 2, 2**53 + 2),
        st.integers(-3, 3),
        st.floats(),
        st.text(max_size=8),
        st.just(()),
        st.just(b""),
        st.sampled_from(["\ud800", '\x7f\x00\x1f\u2028"\\/']),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(ANY_NAME, inner, max_size=4),
        st.dictionaries(st.integers(0, 9), inner, max_size=2),
    ),
    max_leaves=10,
)


def outcome(function: Any, *arguments: Any, **options: Any) -> Any:
    """Return what comes out, with every type, or what is raised, with every fault."""
    try:
        return repr(function(*arguments, **options))
    except InvalidPackageError as ex:
        return [(fault.pointer, fault.detail) for fault in ex.faults]
    except rfc8785.CanonicalizationError as ex:
        return type(ex), str(ex)


@thorough
@given(ANY_TEXT, st.integers(1, 4) | st.just(64))
@example('{"a":1,"a":2}', 64)
@example("[[[[]]]]", 3)
def test_what_is_read_the_short_way_is_read_as_by_the_long_way(text: str, depth: int) -> None:
    content = text.encode()
    short = outcome(parse_ijson, content, max_depth=depth)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(canonical, "_may_be_plain", lambda _content, _max_depth: False)
        assert short == outcome(parse_ijson, content, max_depth=depth)


@thorough
@given(ANY_VALUE)
def test_what_is_written_the_short_way_is_as_the_library_writes_it(value: Any) -> None:
    assert outcome(canonicalize, value) == outcome(rfc8785.dumps, value)


def test_a_package_goes_the_short_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(canonical, "_faults", None)
    monkeypatch.setattr(rfc8785, "dumps", None)
    content = '{"a":[{"b":"Genève","c":null,"d":true}],"e":120}'.encode()
    assert canonicalize(parse_ijson(content)) == content
