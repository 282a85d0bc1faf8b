"""Moments in time, as RFC 3339 has them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventserver_core.domain.instant import (
    format_rfc3339,
    from_milliseconds,
    now,
    parse_rfc3339,
    to_milliseconds,
)

MOMENT = datetime(2024, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2024-01-01T00:00:00Z", MOMENT),
        ("2024-01-01t00:00:00z", MOMENT),
        ("2024-01-01T00:00:00+00:00", MOMENT),
        ("2024-01-01T00:00:00-00:00", MOMENT),
        ("2024-01-01T05:30:00+05:30", MOMENT),
        ("2023-12-31T16:00:00-08:00", MOMENT),
        ("2024-01-01T23:59:00+23:59", MOMENT),
        ("2024-01-01T00:00:00.5Z", MOMENT + timedelta(milliseconds=500)),
        ("2024-01-01T00:00:00.123Z", MOMENT + timedelta(milliseconds=123)),
        ("2024-01-01T00:00:00.123456789Z", MOMENT + timedelta(microseconds=123456)),
        ("2024-02-29T00:00:00Z", datetime(2024, 2, 29, tzinfo=UTC)),
        ("0001-01-01T00:00:00Z", datetime(1, 1, 1, tzinfo=UTC)),
        ("9999-12-31T23:59:59Z", datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)),
    ],
)
def test_a_date_and_time_of_rfc_3339_is_read(text: str, moment: datetime) -> None:
    assert parse_rfc3339(text) == moment
    assert parse_rfc3339(text).tzinfo is UTC


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2024-01-01",
        "2024-01-01T00:00:00",
        "2024-01-01 00:00:00Z",
        "2024-01-01T00:00Z",
        "2024-W01-1T00:00:00Z",
        "20240101T000000Z",
        "2024-1-1T0:0:0Z",
        "24-01-01T00:00:00Z",
        "+2024-01-01T00:00:00Z",
        "12024-01-01T00:00:00Z",
        "0000-01-01T00:00:00Z",
        "2024-00-01T00:00:00Z",
        "2024-13-01T00:00:00Z",
        "2023-02-29T00:00:00Z",
        "2024-01-01T24:00:00Z",
        "2024-01-01T00:60:00Z",
        "2016-12-31T23:59:60Z",
        "2024-01-01T00:00:00,5Z",
        "2024-01-01T00:00:00.Z",
        "2024-01-01T00:00:00.1234567890Z",
        "2024-01-01T00:00:00+0000",
        "2024-01-01T00:00:00+00",
        "2024-01-01T00:00:00+24:00",
        "2024-01-01T00:00:00+00:60",
        "2024-01-01T00:00:00 UTC",
        "2024-01-01T00:00:00Z\n",
        " 2024-01-01T00:00:00Z",
        "\u0662\u0660\u0662\u0664-01-01T00:00:00Z",
        "0001-01-01T00:00:00+01:00",
        "9999-12-31T23:59:59-01:00",
        "1704067200",
    ],
)
def test_anything_else_names_no_moment(text: str) -> None:
    with pytest.raises(ValueError):
        parse_rfc3339(text)


@given(st.text(max_size=40))
def test_any_text_is_read_or_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError):
        parse_rfc3339(text)


@given(
    st.datetimes(
        datetime(1, 1, 3),  # noqa: DTZ001 - the strategy puts the time zone in
        datetime(9999, 12, 29),  # noqa: DTZ001
        timezones=st.builds(timezone, st.integers(-1439, 1439).map(lambda m: timedelta(minutes=m))),
    )
)
def test_what_is_written_is_read_again_to_the_millisecond(moment: datetime) -> None:
    written = format_rfc3339(moment)
    assert written.endswith("Z")
    assert len(written) == len("2024-01-01T00:00:00.000Z")
    again = parse_rfc3339(written)
    assert timedelta(0) <= moment - again < timedelta(milliseconds=1)
    assert from_milliseconds(to_milliseconds(moment)) == again
    assert format_rfc3339(again) == written


def test_the_present_is_in_utc_and_survives_being_stored() -> None:
    before = datetime.now(UTC) - timedelta(milliseconds=1)
    present = now()
    assert before <= present <= datetime.now(UTC)
    assert from_milliseconds(to_milliseconds(present)) == present
    assert parse_rfc3339(format_rfc3339(present)) == present


def test_milliseconds_count_from_1970() -> None:
    assert to_milliseconds(datetime(1970, 1, 1, tzinfo=UTC)) == 0
    assert to_milliseconds(MOMENT) == 1704067200000
    assert to_milliseconds(datetime(1969, 12, 31, 23, 59, 59, 999_500, tzinfo=UTC)) == -1
    assert from_milliseconds(1704067200000) == MOMENT
