"""Declaring settings: sections, their keys, and what makes values of text."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from typing import Any, ClassVar, dataclass_transform

from everett.manager import ListOf
from everett.manager import parse_bool as _everett_bool

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_PASSWORD = re.compile(r"(://[^:/@\s]*):\S*@")
_PASSWORD_MEMBER = re.compile(r"(?i)([?&][^=&\s]*(?:pass|secret|token|key)[^=&\s]*=)[^&\s]+")


@dataclasses.dataclass(frozen=True, slots=True)
class OptionSpec:
    """What is known of one key."""

    key: str
    default: str | None
    doc: str
    parser: Callable[[str], Any]
    expected: str
    secret: bool
    environment_variable: str | None
    address: bool = False

    def shown(self, value: object) -> str:
        """Return a value as it may be shown: no secret, and no password inside an address."""
        if self.secret:
            return "(hidden)" if value else ""
        if self.address and value and not _ADDRESS.match(str(value)):
            return "(hidden: it is no address, and may hold a password)"
        return _PASSWORD_MEMBER.sub(r"\1(hidden)", _PASSWORD.sub(r"\1:(hidden)@", str(value)))


def option(
    default: str | None = "",
    *,
    doc: str,
    parser: Callable[[str], Any] = str,
    expected: str = "text",
    secret: bool = False,
    environment_variable: str | None = None,
    address: bool = False,
) -> Any:
    """Declare a key of a section.

    Args:
        default: as it would stand in a file; ``None`` means that the deployer must set it, ``""``
            that it may be left out (the value is then the empty string, or what the parser makes
            of it).
        doc: one sentence for the person who sets it.
        parser: makes the value from text, and raises ``ValueError`` for a bad one.
        expected: completes "expected …" in a message.
        secret: never shown.
        environment_variable: a name that works besides ``EVENTSERVER__SECTION__KEY``.
        address: an address that may hold a password, which is hidden when it is shown.
    """
    spec = OptionSpec("", default, doc, parser, expected, secret, environment_variable, address)
    return dataclasses.field(metadata={"option": spec})


@dataclass_transform(frozen_default=True, field_specifiers=(option,))
class Section:
    """The base of every section: subclass it with a name and declare keys with ``option``."""

    name: ClassVar[str]

    def __init_subclass__(cls, *, name: str) -> None:
        cls.name = name
        dataclasses.dataclass(frozen=True, repr=False)(cls)

    def __repr__(self) -> str:
        values = ((spec.key, spec.shown(getattr(self, spec.key))) for spec in self.options())
        return f"{type(self).__name__}({', '.join(f'{key}={shown}' for key, shown in values)})"

    @classmethod
    def options(cls) -> list[OptionSpec]:
        """Return the section's keys."""
        return [
            dataclasses.replace(field.metadata["option"], key=field.name)
            for field in dataclasses.fields(cls)  # type: ignore[arg-type]
        ]


def parse_port(text: str) -> int:
    """Read a TCP port; 0 lets the system choose."""
    return _bounded(text, 0, 65535)


def parse_count(text: str) -> int:
    """Read a whole number of at least 1."""
    return _bounded(text, 1, 2**53)


def parse_natural(text: str) -> int:
    """Read a whole number of at least 0."""
    return _bounded(text, 0, 2**53)


def parse_seconds(text: str) -> float:
    """Read a positive number of seconds."""
    seconds = float(text)
    if not 0 < seconds < 1e9:
        raise ValueError("not a positive number of seconds")
    return seconds


def parse_delay(text: str) -> float:
    """Read a number of seconds, which may be 0."""
    seconds = float(text)
    if not 0 <= seconds < 1e9:
        raise ValueError("not a number of seconds")
    return seconds


def parse_bool(text: str) -> bool:
    """Read a yes or no, as everett has it."""
    return bool(_everett_bool(text))


def parse_optional_count(text: str) -> int | None:
    """Read a whole number of at least 1, or nothing."""
    return parse_count(text) if text else None


def parse_optional_seconds(text: str) -> float | None:
    """Read a positive number of seconds, or nothing."""
    return parse_seconds(text) if text else None


@dataclasses.dataclass(frozen=True, slots=True)
class Rate:
    """So many calls in so many seconds."""

    calls: int
    seconds: int

    def __str__(self) -> str:
        return f"{self.calls}/{self.seconds}"


def parse_optional_rate(text: str) -> Rate | None:
    """Read a rate, or nothing."""
    if not text:
        return None
    calls, _, seconds = text.partition("/")
    return Rate(parse_count(calls), parse_count(seconds))


def up_to(high: int) -> Callable[[str], int]:
    """Return a parser that takes whole numbers from 1 to ``high``."""
    return lambda text: _bounded(text, 1, high)


def one_of(*choices: str) -> Callable[[str], str]:
    """Return a parser that takes these words only."""

    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError("not one of these")
        return text

    return parse


def parse_list(text: str) -> list[str]:
    """Read a comma-separated list."""
    return [item for item in ListOf(str)(text) if item] if text else []


def _bounded(text: str, low: int, high: int) -> int:
    number = int(text)
    if not low <= number <= high:
        raise ValueError(f"not from {low} to {high}")
    return number


PORT = "a port from 0 to 65535"
COUNT = "a whole number of at least 1"
NATURAL = "a whole number of at least 0"
SECONDS = "a positive number of seconds"
DELAY = "a number of seconds, which may be 0"
RATE = "CALLS/SECONDS, such as 600/60"
BOOLEAN = "true or false"
LIST = "a list of texts"
