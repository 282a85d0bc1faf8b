"""What a label allows: each type, each limit, and which version an event is held to."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings

from eventserver_core.domain.canonical import MAX_FAULTS, first_faults
from eventserver_core.domain.instant import format_rfc3339
from eventserver_core.domain.labels import (
    Definition,
    LabelHistory,
    LabelVersion,
    read_definition,
    read_span,
)
from eventserver_core.domain.package import check_package

from .samples import package, scalars

NOON = datetime(2024, 1, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
MEDIA = {"type": "image/jpeg", "size": 3}
OF_EACH_TYPE = {
    "text": "a word",
    "number": 4.5,
    "boolean": False,
    "date": "2024-02-29",
    "enum": "Music",
    "media": "photo.jpg",
}


def definition(kind: str, *, required: bool = False, **constraints: Any) -> Definition:
    options = [{"value": value, "name_en": value, "name_fr": value} for value in ("Music", "")]
    return read_definition(
        {
            "name_en": "Field",
            "name_fr": "Champ",
            "type": kind,
            "required": required,
            "constraints": constraints,
            "options": options if kind == "enum" else [],
        }
    )


def versions(label_id: str, *meanings: Definition | None) -> list[LabelVersion]:
    """Return a label's versions: the first made at noon, then one every hour."""
    return [
        LabelVersion(label_id, i + 1, meaning, NOON + i * HOUR, "admin-1")
        for i, meaning in enumerate(meanings)
    ]


def faults(
    history: LabelHistory,
    *annotations: tuple[str, Any],
    created: datetime = NOON,
    media: Any = None,
) -> list[str]:
    """Return where an event is at fault."""
    document = package(
        annotations=[{"labelId": label_id, "value": value} for label_id, value in annotations],
        media=media,
        metadata={"createdAt": format_rfc3339(created), "source": "api"},
    )
    found = list(history.faults(check_package(document)))
    assert all(fault.detail for fault in found)
    return [fault.pointer for fault in found]


def allows(meaning: Definition, value: Any, media: Any = MEDIA) -> bool:
    found = faults(LabelHistory(versions("label", meaning)), ("label", value), media=media)
    assert found in ([], ["/annotations/0/value"])
    return not found


class TestAValue:
    @pytest.mark.parametrize("kind", OF_EACH_TYPE)
    def test_is_of_its_labels_type(self, kind: str) -> None:
        for other, value in OF_EACH_TYPE.items():
            is_string = isinstance(value, str)
            wanted = kind == other or (kind in ("text", "media") and is_string)
            assert allows(definition(kind), value) is wanted, (kind, value)

    @given(scalars)
    @settings(max_examples=100, deadline=None)
    def test_of_any_kind_is_looked_at_without_an_accident(self, value: Any) -> None:
        for kind in OF_EACH_TYPE:
            answer = allows(definition(kind), value)
            assert answer or value is not None

    @pytest.mark.parametrize("value", [True, False])
    def test_that_is_a_boolean_is_no_number(self, value: bool) -> None:
        assert not allows(definition("number"), value)
        assert not allows(definition("number", minimum=0, maximum=1), value)

    @pytest.mark.parametrize("value", [0, 1])
    def test_that_is_a_number_is_no_boolean(self, value: int) -> None:
        assert not allows(definition("boolean"), value)

    @pytest.mark.parametrize("kind", OF_EACH_TYPE)
    def test_is_null_only_where_it_is_not_required(self, kind: str) -> None:
        assert allows(definition(kind), None)
        assert not allows(definition(kind, required=True), None)

    @pytest.mark.parametrize("letter", ["e", "é", "🦊"])
    def test_is_counted_in_code_points(self, letter: str) -> None:
        limited = definition("text", minLength=2, maxLength=3)
        assert [n for n in range(6) if allows(limited, letter * n)] == [2, 3]

    def test_is_counted_as_it_was_sent(self) -> None:
        composed, decomposed = "é", "e\u0301"
        assert allows(definition("text", maxLength=1), composed)
        assert not allows(definition("text", maxLength=1), decomposed)

    def test_lies_within_its_range_ends_included(self) -> None:
        limited = definition("number", minimum=-0.5, maximum=10)
        assert [v for v in (-1, -0.5, 0, 10, 10.0, 10.0001, 1e300) if allows(limited, v)] == [
            -0.5,
            0,
            10,
            10.0,
        ]

    def test_that_is_zero_is_not_left_without_a_limit(self) -> None:
        assert not allows(definition("number", maximum=0), 1)
        assert not allows(definition("number", minimum=0), -1)
        assert not allows(definition("text", maxLength=0), "a")

    @pytest.mark.parametrize(
        "value",
        ["2024-01-01", "2024-02-29", "2024-01-01T00:00:00Z", "2024-01-01T01:30:00.5+01:30"],
    )
    def test_is_a_date_with_or_without_a_time(self, value: str) -> None:
        assert allows(definition("date"), value)

    @pytest.mark.parametrize(
        "value",
        [
            "2023-02-29",
            "2024-1-1",
            "20240101",
            "2024-W01-1",
            "2024-01-01 ",
            "2024-01-01\n",
            "٢٠٢٤-01-01",
            "2024-01-01T00:00:00",
            "2024-01-01T24:00:00Z",
            "0000-01-01",
            "now",
            "",
        ],
    )
    def test_that_names_no_day_is_no_date(self, value: str) -> None:
        assert not allows(definition("date"), value)

    @pytest.mark.parametrize(
        ("value", "wanted"),
        [
            ("2024-01-01", True),
            ("2024-01-31", True),
            ("2023-12-31", False),
            ("2024-02-01", False),
            ("2024-01-01T00:00:00Z", True),
            ("2024-01-31T23:59:59.999Z", True),
            ("2024-02-01T00:00:00Z", False),
            ("2024-02-01T00:30:00+01:00", True),
            ("2024-01-31T23:30:00-01:00", False),
        ],
    )
    def test_lies_between_two_days_both_included(self, value: str, wanted: bool) -> None:
        limited = definition("date", earliest="2024-01-01", latest="2024-01-31")
        assert allows(limited, value) is wanted

    @pytest.mark.parametrize(
        ("value", "wanted"),
        [
            ("2024-01-01T06:00:00Z", True),
            ("2024-01-01T07:00:00+01:00", True),
            ("2024-01-01T05:59:59.999Z", False),
            ("2024-01-01", False),
            ("2024-01-02", True),
            ("2024-01-03", False),
            ("2024-01-03T18:00:00Z", True),
            ("2024-01-03T18:00:00.001Z", False),
        ],
    )
    def test_that_is_a_day_lies_within_two_moments_as_a_whole(
        self, value: str, wanted: bool
    ) -> None:
        limited = definition("date", earliest="2024-01-01T06:00:00Z", latest="2024-01-03T18:00:00Z")
        assert allows(limited, value) is wanted

    @pytest.mark.parametrize("value", ["Music", ""])
    def test_is_an_options_value(self, value: str) -> None:
        assert allows(definition("enum"), value)

    @pytest.mark.parametrize("value", ["music", "Music ", "Sport", 1, True])
    def test_that_no_option_has_is_refused(self, value: Any) -> None:
        assert not allows(definition("enum"), value)

    def test_that_names_media_needs_media(self) -> None:
        assert allows(definition("media"), "photo.jpg")
        assert not allows(definition("media"), "photo.jpg", media=None)
        assert allows(definition("media"), None, media=None)


class TestWhichVersionCounts:
    HISTORY = versions(
        "label", definition("text"), definition("number"), None, definition("boolean")
    )

    @pytest.mark.parametrize(
        ("after", "value"),
        [
            (-1000 * HOUR, "text"),
            (timedelta(0), "text"),
            (HOUR - timedelta(milliseconds=1), "text"),
            (HOUR, 1),
            (2 * HOUR - timedelta(milliseconds=1), 1),
            (3 * HOUR, True),
            (1000 * HOUR, True),
        ],
    )
    def test_it_is_the_one_of_the_events_day(self, after: timedelta, value: Any) -> None:
        history = LabelHistory(self.HISTORY)
        created = NOON + after
        taken = [v for v in ("text", 1, True) if not faults(history, ("label", v), created=created)]
        assert taken == [value]

    def test_a_label_that_was_deleted_then_is_not_defined(self) -> None:
        history = LabelHistory(self.HISTORY)
        for value in ("text", 1, True, None):
            found = faults(history, ("label", value), created=NOON + 2 * HOUR)
            assert found == ["/annotations/0/labelId"]

    def test_of_two_at_the_same_moment_it_is_the_later_one(self) -> None:
        first, second = versions("label", definition("text"), definition("number"))
        moved = LabelVersion("label", 2, second.definition, first.made_at, "admin-1")
        history = LabelHistory([first, moved])
        assert not faults(history, ("label", 1))
        assert faults(history, ("label", "text"))


class TestAnEvent:
    def test_has_no_annotation_without_a_label(self) -> None:
        history = LabelHistory(versions("label", definition("text")))
        found = faults(history, ("Label", "a"), ("label", "a"), ("x", None))
        assert found == ["/annotations/0/labelId", "/annotations/2/labelId"]

    def test_is_refused_whatever_it_says_where_nothing_is_defined(self) -> None:
        assert faults(LabelHistory([]), ("label", "a")) == ["/annotations/0/labelId"]

    def test_hears_of_every_fault_at_once(self) -> None:
        history = LabelHistory(
            [
                *versions("title", definition("text", required=True, maxLength=3)),
                *versions("visitors", definition("number", minimum=0)),
                *versions("place", definition("text", required=True)),
                *versions("day", definition("date", required=True)),
            ]
        )
        found = faults(
            history,
            ("visitors", -1),
            ("title", "four"),
            ("what", 1),
            ("title", "one"),
            ("day", None),
        )
        assert found == [
            "/annotations/0/value",
            "/annotations/1/value",
            "/annotations/2/labelId",
            "/annotations/4/value",
            "/annotations",
        ]

    def test_may_use_a_label_more_than_once(self) -> None:
        history = LabelHistory(versions("label", definition("text", required=True)))
        assert not faults(history, ("label", "a"), ("label", "b"))
        assert faults(history, ("label", "a"), ("label", None)) == ["/annotations/1/value"]

    def test_needs_what_is_required_on_its_day_only(self) -> None:
        history = LabelHistory(
            [
                *versions("other", definition("text")),
                *versions(
                    "label",
                    definition("text", required=True),
                    definition("text"),
                    definition("text", required=True),
                    None,
                ),
            ]
        )
        needed = [
            after
            for after in range(-1, 6)
            if faults(history, ("other", "a"), created=NOON + after * HOUR)
        ]
        assert needed == [0, 2]

    def test_with_very_many_faults_hears_of_the_first(self) -> None:
        document = package(annotations=[{"labelId": "x" * 900, "value": 1}] * 5000)
        found = first_faults(LabelHistory([]).faults(check_package(document)))
        assert len(found) == MAX_FAULTS + 1
        assert sum(len(fault.pointer + fault.detail) for fault in found) < 20_000


class TestADefinition:
    @pytest.mark.parametrize("kind", OF_EACH_TYPE)
    def test_is_read_as_it_was_written(self, kind: str) -> None:
        meaning = definition(kind, required=True)
        assert read_definition(meaning.document()) == meaning

    def test_has_one_canonical_text(self) -> None:
        whole, double = definition("number", minimum=1), definition("number", minimum=1.0)
        assert whole.canonical() == double.canonical()
        assert whole.canonical() != definition("number", minimum=2).canonical()

    def test_keeps_its_options_in_order(self) -> None:
        meaning = definition("enum")
        turned = read_definition(
            meaning.document() | {"options": meaning.document()["options"][::-1]}
        )
        assert list(turned.options) == ["", "Music"]
        assert turned.canonical() != meaning.canonical()


def test_a_day_is_as_long_as_a_day() -> None:
    first, last = read_span("9999-12-31")
    assert first == datetime(9999, 12, 31, tzinfo=UTC)
    assert last == datetime.max.replace(tzinfo=UTC)
    moment, same = read_span("2024-01-01T01:00:00+01:00")
    assert moment == same == datetime(2024, 1, 1, tzinfo=UTC)
