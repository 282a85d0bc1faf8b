"""Moments in time: aware datetimes in UTC, RFC 3339 on the wire, whole milliseconds."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache

_RFC3339 = re.compile(
    r"\d{4}-\d{2}-\d{2}[Tt]([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,9})?"
    r"([Zz]|[+-]([01]\d|2[0-3]):[0-5]\d)\Z",
    re.ASCII,
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def now() -> datetime:
    """Return the present in UTC, cut to the millisecond so that it survives being stored."""
    return from_milliseconds(to_milliseconds(datetime.now(UTC)))


def parse_rfc3339(text: str) -> datetime:
    """Read an RFC 3339 date-time.

    Raises:
        ValueError: it is none, or names no moment (a leap second counts as none).
    """
    if not _RFC3339.match(text):
        raise ValueError("expected an RFC 3339 date and time, such as 2024-01-01T00:00:00Z")
    try:
        return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except OverflowError as ex:
        raise ValueError("the date is out of range") from ex


@lru_cache(maxsize=1024)  # those of a batch, each several times
def format_rfc3339(moment: datetime) -> str:
    """Write a moment as RFC 3339 in UTC with milliseconds."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def to_milliseconds(moment: datetime) -> int:
    """Return whole milliseconds since 1970-01-01T00:00:00Z."""
    return (moment - _EPOCH) // _MILLISECOND


def from_milliseconds(count: int) -> datetime:
    """Return the moment that many milliseconds after 1970-01-01T00:00:00Z."""
    return _EPOCH + count * _MILLISECOND
