"""JSON in and out: I-JSON (RFC 7493) as it is read, JCS (RFC 8785) as it is hashed.

A proof covers what was sent, so whatever two readers could understand differently is refused:
names that occur twice, numbers that a double can't hold, characters that Unicode doesn't have.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from decimal import Decimal
from itertools import islice
from typing import Any

import orjson
import rfc8785

from eventserver_core.errors import Fault, InvalidPackageError

MAX_DEPTH = 64
"""How deep arrays and objects may nest: far more than a package needs, far less than the stack."""
WRAPPED_DEPTH = MAX_DEPTH + 1
"""The same for what has a package as a member: an envelope, a signed package's claims."""

MAX_VALUES = 200_000
"""How many members and elements there may be: a small body could otherwise fill the memory.
Commas and opening brackets are counted, before anything is read; base64 has none of them."""
MAX_FAULTS = 100
"""How many faults are reported at once; whoever has more is not helped by reading them."""
MAX_EXACT_INTEGER = 2**53 - 1
"""Up to here every integer is a double of its own (RFC 7493, section 2.2)."""

_MAX_POINTER_LENGTH = 1000
_MAX_NUMBER_LENGTH = 400
_SIGNIFICANT_DIGITS = 17
"""What it takes to tell any two doubles apart; more digits than that would be lost in silence."""

_NOT_A_CHARACTER = re.compile(
    "[\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff"
    + "".join(f"{chr(p + 0xFFFE)}{chr(p + 0xFFFF)}" for p in range(0x10000, 0x110000, 0x10000))
    + "]"
)


_MARKS_OF_NONCHARACTERS = (b"\xef\xb7", b"\xbf\xbe", b"\xbf\xbf")
"""In UTF-8 every noncharacter has one of these."""
_SURELY_EXACT_DIGITS = 15
_WRITTEN_ALIKE = frozenset({str, bool, type(None)})


class _OddError(ValueError):
    """Something was read that only the long way can tell of."""


class _Refused:
    """Stands where a value was read that can't be kept, until its place is known."""

    __slots__ = ("detail",)

    def __init__(self, detail: str) -> None:
        self.detail = detail


class _Duplicated(dict[str, Any]):
    """An object in which a name occurs twice."""

    names: tuple[str, ...] = ()


def parse_ijson(content: bytes, *, max_depth: int = MAX_DEPTH) -> Any:
    """Read I-JSON.

    Integers beyond 2**53 - 1 come back as floats, as every reader with doubles has them.

    Args:
        content: UTF-8 bytes, no byte-order mark.
        max_depth: how deep arrays and objects may nest.

    Raises:
        InvalidPackageError: with each fault and where it is, the first ``MAX_FAULTS`` of them.
    """
    if count_values(content) > MAX_VALUES:
        detail = f"more than {MAX_VALUES} members and elements, by commas and opening brackets"
        raise _invalid(Fault("", detail))
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as ex:
        raise _invalid(Fault("", f"not UTF-8 at byte {ex.start}")) from ex
    if _may_be_plain(content, max_depth):
        with suppress(ValueError):
            return _PLAIN_DECODER.decode(text)
    # whatever is odd is read again, to say what it is and where
    try:
        value = json.loads(
            text,
            object_pairs_hook=_object,
            parse_int=_integer,
            parse_float=_float,
            parse_constant=lambda name: _Refused(f"{name} is not a JSON number"),
        )
    except json.JSONDecodeError as ex:
        where = f"line {ex.lineno}, column {ex.colno}"
        raise _invalid(Fault("", f"not JSON: {ex.msg} at {where}")) from ex
    except RecursionError as ex:
        raise _invalid(_too_deep("", max_depth)) from ex
    faults = first_faults(_faults(value, max_depth))
    if faults:
        raise _invalid(*faults)
    return value


def count_values(content: bytes) -> int:
    """Return how many members and elements JSON has at most, before it is read."""
    return content.count(b",") + content.count(b"[") + content.count(b"{")


def canonicalize(value: Any) -> bytes:
    """Write a value in the JSON Canonicalization Scheme (RFC 8785)."""
    if _is_plain(value):
        with suppress(orjson.JSONEncodeError):  # a lone surrogate
            return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    return rfc8785.dumps(value)


def pointer(*tokens: str | int) -> str:
    """Join reference tokens to a JSON pointer (RFC 6901)."""
    return "".join("/" + str(token).replace("~", "~0").replace("/", "~1") for token in tokens)


def first_faults(faults: Iterator[Fault]) -> list[Fault]:
    """Return the first ``MAX_FAULTS`` faults, and a word where there are more."""
    listed = list(islice(faults, MAX_FAULTS))
    if next(faults, None) is not None:
        listed.append(Fault("", f"and more: the first {MAX_FAULTS} faults are listed"))
    return listed


def _invalid(*faults: Fault) -> InvalidPackageError:
    return InvalidPackageError("the body is not I-JSON (RFC 7493)", faults)


def _too_deep(where: str, max_depth: int) -> Fault:
    return Fault(where, f"nested deeper than {max_depth} levels")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) == len(pairs):
        return members
    seen: set[str] = set()
    duplicated = _Duplicated(members)
    repeated = (n for n, _ in pairs if n in seen or seen.add(n))  # type: ignore[func-returns-value]
    duplicated.names = tuple(dict.fromkeys(repeated))
    return duplicated


def _integer(text: str) -> Any:
    if len(text) <= _MAX_NUMBER_LENGTH:
        integer = int(text)
        if -MAX_EXACT_INTEGER <= integer <= MAX_EXACT_INTEGER:
            return integer
        number = float(text)
        # JavaScript, and so JCS, fills up a double's shortest digits with zeros below 1e21: such
        # an integer stands for its double, though the double's exact value is another.
        if Decimal(number) == integer or Decimal(repr(number)) == integer:
            return number
    return _Refused("a double cannot hold this integer; send it as a string")


def _float(text: str) -> Any:
    if len(text) <= _MAX_NUMBER_LENGTH:
        number = float(text)
        digits = re.split("[eE]", text)[0].replace(".", "").lstrip("-0").rstrip("0")
        lost = abs(number) == float("inf") or (number == 0 and digits != "")
        if not lost and (len(digits) <= _SIGNIFICANT_DIGITS or Decimal(text) == Decimal(number)):
            return number
    return _Refused("a double cannot hold this number; send it as a string")


def _may_be_plain(content: bytes, max_depth: int) -> bool:
    """Tell whether no text in it is at fault, and it can't nest too deep; the rest may be odd.

    Brackets are counted and not their depth, which is told in no time: what has more of them, such
    as a package with some sixty annotations, is read the slower way.
    """
    if content.count(b"[") + content.count(b"{") > max_depth:
        return False
    if b"\\" in content and b"\\u" in content:  # an escape by number may stand for anything
        return False
    return content.isascii() or not any(mark in content for mark in _MARKS_OF_NONCHARACTERS)


def _plain_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _OddError
    return members


def _plain_number(read: Callable[[str], Any]) -> Callable[[str], Any]:
    def number(text: str) -> Any:
        value = read(text)
        if type(value) is _Refused:
            raise _OddError
        return value

    return number


def _plain_integer(text: str) -> Any:
    return int(text) if len(text) <= _SURELY_EXACT_DIGITS else _big_integer(text)


def _no_constant(_name: str) -> Any:
    raise _OddError


_big_integer = _plain_number(_integer)
_PLAIN_DECODER = json.JSONDecoder(
    object_pairs_hook=_plain_object,
    parse_int=_plain_integer,
    parse_float=_plain_number(_float),
    parse_constant=_no_constant,
)


def _is_plain(root: Any) -> bool:
    """Tell whether orjson writes a value as RFC 8785 has it.

    It does but for numbers that are no small integers, and for the order of names beyond ASCII.
    """
    waiting = [root]
    for value in waiting:  # it grows as it goes
        kind = type(value)
        if kind is dict:
            if not _are_ascii(value):
                return False
            waiting.extend(value.values())
        elif kind is list:
            waiting.extend(value)
        elif kind is int:
            if not -MAX_EXACT_INTEGER <= value <= MAX_EXACT_INTEGER:
                return False
        elif kind not in _WRITTEN_ALIKE:
            return False
    return True


def _are_ascii(names: Iterable[Any]) -> bool:
    try:
        return "".join(names).isascii()
    except TypeError:  # not every name is text
        return False


def _faults(root: Any, max_depth: int) -> Iterator[Fault]:
    stack: list[tuple[Any, tuple[str | int, ...]]] = [(root, ())]
    while stack:
        value, place = stack.pop()
        if isinstance(value, _Refused):
            yield Fault(_printable(place), value.detail)
        elif isinstance(value, str):
            if not value.isascii() and _NOT_A_CHARACTER.search(value):
                yield Fault(_printable(place), "holds a lone surrogate or a Unicode noncharacter")
        elif isinstance(value, dict | list):
            if len(place) >= max_depth:
                yield _too_deep(_printable(place), max_depth)
                continue
            if isinstance(value, list):
                stack.extend((value[i], (*place, i)) for i in reversed(range(len(value))))
                continue
            if isinstance(value, _Duplicated):
                for name in value.names:
                    yield Fault(_printable((*place, name)), "this name occurs twice")
            for name, member in reversed(value.items()):
                if not name.isascii() and _NOT_A_CHARACTER.search(name):
                    detail = "a member's name holds a lone surrogate or a Unicode noncharacter"
                    yield Fault(_printable(place), detail)
                else:
                    stack.append((member, (*place, name)))


def _printable(place: tuple[str | int, ...]) -> str:
    """Point to a place, or to what is around it where its names are too long to be repeated."""
    near: list[str | int] = []
    room = _MAX_POINTER_LENGTH
    for token in place:
        room -= len(str(token)) + 1
        if room < 0:
            break
        near.append(token)
    return pointer(*near).encode("utf-8", "replace").decode("utf-8")
