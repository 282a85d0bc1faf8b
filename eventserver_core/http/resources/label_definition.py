"""What an admin sends to define a label."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

from eventserver_core.domain.canonical import first_faults, parse_ijson
from eventserver_core.domain.labels import Definition, read_definition, read_span
from eventserver_core.errors import Fault, InvalidInputError, InvalidPackageError
from eventserver_core.http.errors import validation_faults

MAX_OPTIONS = 1000

_MAX_NAME_LENGTH = 200
_MAX_DESCRIPTION_LENGTH = 2000

_Model = TypeVar("_Model", bound="_Closed")


def _name(text: str) -> str:
    if not text.strip():
        raise PydanticCustomError("blank", "String should not be blank")
    return text


def _number(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise PydanticCustomError("number", "Input should be a valid number")
    return value


def _date(text: str) -> str:
    try:
        read_span(text)
    except ValueError as ex:
        raise PydanticCustomError("date", "{why}", {"why": str(ex)}) from ex
    return text


def _option(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if not 1 <= len(value) <= _MAX_NAME_LENGTH or not value.strip():
        detail = f"String should have 1 to {_MAX_NAME_LENGTH} characters and not be blank"
        raise PydanticCustomError("option", detail)
    return {"value": value, "name_en": value, "name_fr": value}


def _no_value_twice(options: list[SentOption]) -> list[SentOption]:
    first: dict[str, int] = {}
    for i, option in enumerate(options):
        if first.setdefault(option.value, i) != i:
            raise PydanticCustomError(
                "repeated",
                "Options {first} and {again} have the same value, counted from 0",
                {"first": first[option.value], "again": i},
            )
    return options


def _in_order(low: str, high: str, key: Callable[[Any], Any]) -> Callable[[_Model], _Model]:
    def check(model: _Model) -> _Model:
        sent = model.model_dump(by_alias=True, exclude_none=True)
        if low in sent and high in sent and key(sent[low])[0] > key(sent[high])[1]:
            detail = f"{low} lies above {high}"
            raise PydanticCustomError("order", detail)
        return model

    return check


def _span_of_number(value: float) -> tuple[float, float]:
    return value, value


_Name = Annotated[
    str,
    Field(min_length=1, max_length=_MAX_NAME_LENGTH, json_schema_extra={"pattern": r"\S"}),
    AfterValidator(_name),
]
_Description = Annotated[str, Field(max_length=_MAX_DESCRIPTION_LENGTH)] | None
_Length = Annotated[int, Field(ge=0)] | None
_Number = Annotated[Any, AfterValidator(_number), WithJsonSchema({"type": "number"})]
_DATES = {"type": "string", "anyOf": [{"format": "date"}, {"format": "date-time"}]}
_Date = Annotated[str, AfterValidator(_date), WithJsonSchema(_DATES)] | None


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class NoConstraints(_Closed):
    """None: most types have none."""


class Lengths(NoConstraints):
    """How long a text may be, in Unicode code points."""

    min_length: _Length = Field(default=None, alias="minLength")
    max_length: _Length = Field(default=None, alias="maxLength")

    _order = model_validator(mode="after")(_in_order("minLength", "maxLength", _span_of_number))


class Bounds(NoConstraints):
    """How small and large a number may be."""

    minimum: _Number = None
    maximum: _Number = None

    _order = model_validator(mode="after")(_in_order("minimum", "maximum", _span_of_number))


class Period(NoConstraints):
    """How early and late a date may be."""

    earliest: _Date = None
    latest: _Date = None

    _order = model_validator(mode="after")(_in_order("earliest", "latest", read_span))


class SentOption(_Closed):
    """A value of an ``enum``, and what it is called."""

    value: _Name
    name_en: _Name
    name_fr: _Name


class LabelDefinition(_Closed):
    """What an admin sends; the constraints and options are those of each type."""

    name_en: _Name
    name_fr: _Name
    description_en: _Description = None
    description_fr: _Description = None
    type: Literal["text", "number", "boolean", "date", "enum", "media"]
    required: bool = False
    constraints: Any = None
    options: Any = None


class PlainLabel(LabelDefinition):
    """What has no options."""

    constraints: NoConstraints = NoConstraints()
    options: Annotated[list[Any], Field(max_length=0)] = []


class BareLabel(PlainLabel):
    """What has no constraints either."""

    type: Literal["boolean", "media"]


class TextLabel(PlainLabel):
    """A text, and how long it may be."""

    type: Literal["text"]
    constraints: Lengths = Lengths()


class NumberLabel(PlainLabel):
    """A number, and how small and large it may be."""

    type: Literal["number"]
    constraints: Bounds = Bounds()


class DateLabel(PlainLabel):
    """A date, and how early and late it may be."""

    type: Literal["date"]
    constraints: Period = Period()


class EnumLabel(PlainLabel):
    """One of the options; a string stands for an option of that name."""

    type: Literal["enum"]
    options: Annotated[
        list[
            Annotated[
                SentOption, BeforeValidator(_option, json_schema_input_type=_Name | SentOption)
            ]
        ],
        Field(min_length=1, max_length=MAX_OPTIONS),
        AfterValidator(_no_value_twice),
    ]


AnyLabel = Annotated[
    TextLabel | NumberLabel | DateLabel | EnumLabel | BareLabel, Field(discriminator="type")
]
"""What is taken, by its type."""

_BY_TYPE: Mapping[Any, type[LabelDefinition]] = {
    "text": TextLabel,
    "number": NumberLabel,
    "boolean": BareLabel,
    "date": DateLabel,
    "enum": EnumLabel,
    "media": BareLabel,
}


def read_sent_definition(content: bytes) -> Definition:
    """Read a definition.

    Raises:
        InvalidInputError: it is none; with each fault and where it is.
    """
    message = "the body is not a label's definition"
    try:
        document = parse_ijson(content)
    except InvalidPackageError as ex:
        raise InvalidInputError(str(ex), ex.faults) from ex
    if not isinstance(document, dict):
        raise InvalidInputError(message, [Fault("", "Input should be a JSON object")])
    kind = document.get("type")
    model = _BY_TYPE.get(kind, LabelDefinition) if isinstance(kind, str) else LabelDefinition
    try:
        sent = model.model_validate(document)
    except ValidationError as ex:
        wrong = validation_faults(ex.errors(include_url=False, include_input=False))
        raise InvalidInputError(message, first_faults(iter(wrong))) from ex
    members = sent.model_dump()
    members["constraints"] = sent.constraints.model_dump(by_alias=True, exclude_none=True)
    return read_definition(members)
