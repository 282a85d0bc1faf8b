"""Labels: what the fields of an event mean, in two languages, and whether annotations keep to it.

A label has versions, which never change. An event is held to those of its day: the ones that were
in force when it was created, even where it arrives much later.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from enum import StrEnum
from typing import Any

from eventserver_core.domain.canonical import canonicalize, pointer
from eventserver_core.domain.instant import parse_rfc3339
from eventserver_core.domain.package import ParsedPackage
from eventserver_core.errors import Fault

_FULL_DATE = re.compile(r"\d{4}-\d{2}-\d{2}\Z", re.ASCII)


class LabelType(StrEnum):
    """What a label's values are."""

    TEXT = "text"
    NUMBER = "number"
    BOOLEAN = "boolean"
    DATE = "date"
    ENUM = "enum"
    MEDIA = "media"


@dataclass(frozen=True, slots=True)
class Option:
    """What a value of an ``enum`` is called."""

    name_en: str
    name_fr: str


@dataclass(frozen=True, slots=True)
class Definition:
    """What a label means; valid in itself.

    Attributes:
        required: whether every event needs a value.
        constraints: what the type allows for: ``minLength`` and ``maxLength`` of a text,
            ``minimum`` and ``maximum`` of a number, ``earliest`` and ``latest`` of a date.
        options: an ``enum``'s options by their values, in the order they are shown in.
    """

    name_en: str
    name_fr: str
    type: LabelType
    required: bool
    constraints: Mapping[str, Any]
    options: Mapping[str, Option]
    description_en: str | None = None
    description_fr: str | None = None

    def document(self) -> dict[str, Any]:
        """Return the definition as JSON has it."""
        return {
            "name_en": self.name_en,
            "name_fr": self.name_fr,
            "description_en": self.description_en,
            "description_fr": self.description_fr,
            "type": self.type.value,
            "required": self.required,
            "constraints": dict(self.constraints),
            "options": [
                {"value": value, "name_en": option.name_en, "name_fr": option.name_fr}
                for value, option in self.options.items()
            ],
        }

    def canonical(self) -> str:
        """Return the canonical text (RFC 8785): equal definitions have the same."""
        return canonicalize(self.document()).decode()


def read_definition(document: Mapping[str, Any]) -> Definition:
    """Read what ``document`` wrote."""
    options = {
        option["value"]: Option(option["name_en"], option["name_fr"])
        for option in document["options"]
    }
    members = dict(document) | {"type": LabelType(document["type"]), "options": options}
    return Definition(**members)


@dataclass(frozen=True, slots=True)
class LabelVersion:
    """One version of a label.

    Attributes:
        version: 1 for the first, and so on without a gap.
        definition: what the label means from then on; None where it was deleted.
        made_at: since when it is in force; never before the version that it follows.
        made_by: the admin.
    """

    label_id: str
    version: int
    definition: Definition | None
    made_at: datetime
    made_by: str


def read_span(text: str) -> tuple[datetime, datetime]:
    """Return the first and the last moment of an RFC 3339 full-date or date-time.

    A full-date is its whole day in UTC; a date-time is one moment.

    Raises:
        ValueError: it is neither.
    """
    if not _FULL_DATE.match(text):
        try:
            moment = parse_rfc3339(text)
        except ValueError as ex:
            raise ValueError("expected an RFC 3339 date, with or without a time") from ex
        return moment, moment
    day = date.fromisoformat(text)
    return datetime.combine(day, time.min, UTC), datetime.combine(day, time.max, UTC)


class LabelHistory:
    """Every version of every label, to check events by.

    Args:
        versions: each label's in the order of their numbers.
    """

    def __init__(self, versions: Iterable[LabelVersion]) -> None:
        self._versions: dict[str, list[LabelVersion]] = {}
        for version in versions:
            self._versions.setdefault(version.label_id, []).append(version)
        self._ever_required = [
            label_id
            for label_id, history in self._versions.items()
            if any(version.definition and version.definition.required for version in history)
        ]

    def __len__(self) -> int:
        return len(self._versions)

    def faults(self, parsed: ParsedPackage) -> Iterator[Fault]:
        """Say where an event's annotations are not as the labels of its day say.

        A label that was defined only after the event was created is held to its first version,
        but not required of it.
        """
        created, has_media = parsed.created_at, parsed.model.media is not None
        given: set[str] = set()
        in_force: dict[str, Definition | None] = {}
        for i, annotation in enumerate(parsed.model.annotations):
            label_id = annotation.label_id
            given.add(label_id)
            if label_id not in in_force:
                in_force[label_id] = self._in_force(label_id, created)
            definition = in_force[label_id]
            if definition is None:
                detail = "no label with this id was defined when the event was created"
                yield Fault(pointer("annotations", i, "labelId"), detail)
            elif detail := _fault(definition, annotation.value, has_media=has_media):
                yield Fault(pointer("annotations", i, "value"), detail)
        for label_id in self._ever_required:
            history = self._versions[label_id]
            if label_id not in given and created >= history[0].made_at:
                definition = self._in_force(label_id, created)
                if definition is not None and definition.required:
                    yield Fault("/annotations", f"the label {label_id} is required")

    def _in_force(self, label_id: str, moment: datetime) -> Definition | None:
        history = self._versions.get(label_id)
        if history is None:
            return None
        count = bisect_right(history, moment, key=lambda version: version.made_at)
        return history[max(count, 1) - 1].definition


def _fault(definition: Definition, value: Any, *, has_media: bool) -> str:
    """Say what is wrong with a value; nothing is an empty text."""
    if value is None:
        return "this label is required: null is no value" if definition.required else ""
    if definition.type is LabelType.MEDIA:
        if not isinstance(value, str):
            return "expected a string"
        return "" if has_media else "the event has no media"
    return _CHECKS[definition.type](definition, value)


def _text(definition: Definition, value: Any) -> str:
    if not isinstance(value, str):
        return "expected a string"
    # Python counts code points, as the definition does
    return _range(definition, len(value), "minLength", "maxLength", "expected {} {} characters")


def _number(definition: Definition, value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "expected a number"
    return _range(definition, value, "minimum", "maximum", "expected {} {}")


def _range(definition: Definition, size: float, low: str, high: str, expected: str) -> str:
    lowest, highest = definition.constraints.get(low), definition.constraints.get(high)
    if lowest is not None and size < lowest:
        return expected.format("at least", lowest)
    if highest is not None and size > highest:
        return expected.format("at most", highest)
    return ""


def _boolean(_definition: Definition, value: Any) -> str:
    return "" if isinstance(value, bool) else "expected true or false"


def _date(definition: Definition, value: Any) -> str:
    if not isinstance(value, str):
        return "expected a string with an RFC 3339 date"
    try:
        first, last = read_span(value)
    except ValueError as ex:
        return str(ex)
    earliest, latest = (definition.constraints.get(name) for name in ("earliest", "latest"))
    if earliest is not None and first < read_span(earliest)[0]:
        return f"expected a date not before {earliest}"
    if latest is not None and last > read_span(latest)[1]:
        return f"expected a date not after {latest}"
    return ""


def _enum(definition: Definition, value: Any) -> str:
    if isinstance(value, str) and value in definition.options:
        return ""
    return "expected the value of one of the label's options"


_CHECKS: Mapping[LabelType, Callable[[Definition, Any], str]] = {
    LabelType.TEXT: _text,
    LabelType.NUMBER: _number,
    LabelType.BOOLEAN: _boolean,
    LabelType.DATE: _date,
    LabelType.ENUM: _enum,
}
