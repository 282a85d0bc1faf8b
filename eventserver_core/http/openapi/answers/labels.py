"""What is said of labels."""

from __future__ import annotations

from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict

from eventserver_core.domain.labels import LabelType
from eventserver_core.domain.package import Moment
from eventserver_core.http.openapi.answers import Count


class LabelOption(TypedDict):
    """A value of an `enum`, and what it is called."""

    value: str
    name_en: str
    name_fr: str


class LabelMeaning(TypedDict):
    """What a label means."""

    name_en: str
    name_fr: str
    description_en: str | None
    description_fr: str | None
    type: LabelType
    required: bool
    constraints: dict[str, Any]
    options: list[LabelOption]


class Label(LabelMeaning):
    """A label in one of its versions."""

    labelId: str
    version: Count
    updatedAt: Moment


class DeletedLabel(TypedDict):
    """The version by which a label was deleted."""

    labelId: str
    version: Count
    deleted: Literal[True]
    updatedAt: Moment


class LabelVersion(TypedDict):
    """What a label meant from a moment on, or that it was deleted."""

    version: Count
    madeAt: Moment
    definition: NotRequired[LabelMeaning]
    deleted: NotRequired[Literal[True]]


class LabelWithVersions(Label):
    """A label, and each version that it ever had."""

    versions: list[LabelVersion]


class LabelList(TypedDict):
    """The labels in force."""

    labels: list[Label]
