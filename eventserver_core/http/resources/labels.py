"""Labels: what an event's fields mean, for everyone to read and for admins to define."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, TypeVar

import falcon
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError

from eventserver_core.domain.canonical import first_faults, parse_ijson
from eventserver_core.domain.digest import sha256_hex
from eventserver_core.domain.instant import format_rfc3339
from eventserver_core.domain.labels import Definition, LabelVersion, read_definition, read_span
from eventserver_core.errors import (
    Fault,
    InvalidInputError,
    InvalidPackageError,
    NotFoundError,
    UnsupportedMediaError,
)
from eventserver_core.http.access import ADMINS, PUBLIC, Resource, caller
from eventserver_core.http.body import Body
from eventserver_core.http.errors import validation_faults
from eventserver_core.services.labels import Labels

MAX_OPTIONS = 1000

_MAX_BODY = 1024 * 1024
_BODY_SECONDS = 5.0
_MAX_NAME_LENGTH = 200
_MAX_DESCRIPTION_LENGTH = 2000
_CACHE_CONTROL = ["public", "max-age=60"]
# web clients take . and .. out of a path, so nobody could ask for such a label
_LABEL_ID = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9._-]{1,64}\Z")
_VERSION = re.compile(r"[1-9][0-9]{0,8}\Z")

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


def _no_value_twice(options: list[_Option]) -> list[_Option]:
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


_Name = Annotated[str, Field(min_length=1, max_length=_MAX_NAME_LENGTH), AfterValidator(_name)]
_Description = Annotated[str, Field(max_length=_MAX_DESCRIPTION_LENGTH)] | None
_Length = Annotated[int, Field(ge=0)] | None
_Number = Annotated[Any, AfterValidator(_number)]
_Date = Annotated[str, AfterValidator(_date)] | None


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class _Constraints(_Closed):
    """None: most types have none."""


class _Lengths(_Constraints):
    min_length: _Length = Field(default=None, alias="minLength")
    max_length: _Length = Field(default=None, alias="maxLength")

    _order = model_validator(mode="after")(_in_order("minLength", "maxLength", _span_of_number))


class _Bounds(_Constraints):
    minimum: _Number = None
    maximum: _Number = None

    _order = model_validator(mode="after")(_in_order("minimum", "maximum", _span_of_number))


class _Period(_Constraints):
    earliest: _Date = None
    latest: _Date = None

    _order = model_validator(mode="after")(_in_order("earliest", "latest", read_span))


class _Option(_Closed):
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


class _Plain(LabelDefinition):
    constraints: _Constraints = _Constraints()
    options: Annotated[list[Any], Field(max_length=0)] = []


class _Text(_Plain):
    constraints: _Lengths = _Lengths()


class _NumberLabel(_Plain):
    constraints: _Bounds = _Bounds()


class _DateLabel(_Plain):
    constraints: _Period = _Period()


class _Enum(_Plain):
    options: Annotated[
        list[Annotated[_Option, BeforeValidator(_option)]],
        Field(min_length=1, max_length=MAX_OPTIONS),
        AfterValidator(_no_value_twice),
    ]


_BY_TYPE: Mapping[Any, type[LabelDefinition]] = {
    "text": _Text,
    "number": _NumberLabel,
    "boolean": _Plain,
    "date": _DateLabel,
    "enum": _Enum,
    "media": _Plain,
}


class LabelsResource(Resource):
    """``GET /api/v1/labels``: the labels in force."""

    access = {"GET": PUBLIC}

    def __init__(self, labels: Labels) -> None:
        self._labels = labels

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        _answer(req, resp, {"labels": [_record(version) for version in self._labels.list()]})


class LabelResource(Resource):
    """``/api/v1/labels/{labelId}``: one label, for admins to define and to delete."""

    access = {"GET": PUBLIC, "PUT": ADMINS, "DELETE": ADMINS}

    def __init__(self, labels: Labels) -> None:
        self._labels = labels

    def on_get(self, req: falcon.Request, resp: falcon.Response, label_id: str) -> None:
        history = self._labels.get(_checked(label_id))
        if (wanted := req.get_param("version")) is not None:
            if not _VERSION.match(wanted):
                raise InvalidInputError("a version is a whole number from 1 on")
            found = [version for version in history if version.version == int(wanted)]
            if not found:
                raise NotFoundError("this label has no such version")
            _answer(req, resp, _record(found[0]))
            return
        if history[-1].definition is None:
            raise NotFoundError("this label was deleted; its versions can be asked for")
        versions = [_version(version) for version in history]
        _answer(req, resp, _record(history[-1]) | {"versions": versions})

    def on_put(self, req: falcon.Request, resp: falcon.Response, label_id: str) -> None:
        if (req.content_type or "").partition(";")[0].strip().lower() != falcon.MEDIA_JSON:
            raise UnsupportedMediaError("send application/json")
        definition = _definition(Body(req, _MAX_BODY, _BODY_SECONDS).read_all())
        version, created, _ = self._labels.put(_checked(label_id), definition, caller(req))
        if created:
            resp.status = falcon.HTTP_201
            resp.set_header("Location", f"/api/v1/labels/{label_id}")
        resp.cache_control = ["no-store"]
        resp.media = _record(version)

    def on_delete(self, req: falcon.Request, resp: falcon.Response, label_id: str) -> None:
        self._labels.delete(_checked(label_id), caller(req))
        resp.status = falcon.HTTP_204


def _checked(label_id: str) -> str:
    if not _LABEL_ID.match(label_id):
        raise InvalidInputError(
            "a label's id is 1 to 64 of the letters A to Z and a to z, digits, '.', '_' and '-'"
        )
    return label_id


def _definition(content: bytes) -> Definition:
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


def _record(version: LabelVersion) -> dict[str, Any]:
    return {
        "labelId": version.label_id,
        "version": version.version,
        **_meaning(version),
        "updatedAt": format_rfc3339(version.made_at),
    }


def _version(version: LabelVersion) -> dict[str, Any]:
    return {
        "version": version.version,
        **_meaning(version, "definition"),
        "madeAt": format_rfc3339(version.made_at),
    }


def _meaning(version: LabelVersion, name: str = "") -> dict[str, Any]:
    if version.definition is None:
        return {"deleted": True}
    document = version.definition.document()
    return {name: document} if name else document


def _answer(req: falcon.Request, resp: falcon.Response, document: dict[str, Any]) -> None:
    """Answer with a document, or with 304 to whoever has it already (RFC 9110, section 13.1.2)."""
    content = json.dumps(document).encode()
    tag = sha256_hex(content)[:32]
    resp.etag = tag
    resp.cache_control = _CACHE_CONTROL
    if any(known in ("*", tag) for known in req.if_none_match or ()):
        resp.status = falcon.HTTP_304
        return
    resp.content_type = falcon.MEDIA_JSON
    resp.data = content
