"""Event packages: what a valid one is, and the statement that is hashed.

The event hash is ``SHA-256(JCS(statement))``; the statement is the package as received with
``media.data`` left out and ``media.sha256`` put in. Members that nobody named are kept.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    FailFast,
    Field,
    ValidationError,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from eventserver_core.domain.canonical import canonicalize, first_faults, parse_ijson, pointer
from eventserver_core.domain.digest import is_digest_hex, sha256_hex
from eventserver_core.domain.instant import parse_rfc3339
from eventserver_core.errors import Fault, InvalidPackageError

_UUID = r"^[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}$"
_DATA_URL = re.compile(r"data:[^,]{0,255};base64,")

MediaType = Literal["image/jpeg", "image/png", "image/gif", "video/mp4"]


def _scalar(value: Any) -> Any:
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise PydanticCustomError("scalar", "Input should be a string, a number, a boolean or null")


def _moment(text: str) -> str:
    try:
        parse_rfc3339(text)
    except ValueError as ex:
        raise PydanticCustomError("rfc3339", "{why}", {"why": str(ex)}) from ex
    return text


def _digest(text: str) -> str:
    if not is_digest_hex(text):
        raise PydanticCustomError("digest", "Input should be 64 lower-case hex digits")
    return text


Moment = Annotated[
    str,
    AfterValidator(_moment),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
Scalar = Annotated[
    Any,
    AfterValidator(_scalar),
    WithJsonSchema({"type": ["string", "number", "boolean", "null"]}),
]


class _Open(BaseModel):
    """Keeps what it doesn't know: apps grow, and the hash covers what they sent."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)


class Annotation(_Open):
    """One thing that was said about the event."""

    label_id: Annotated[str, Field(alias="labelId", min_length=1)]
    value: Scalar
    timestamp: Moment | None = None


class Media(_Open):
    """The photo or video; ``data`` is there only where the bytes travel inside the JSON."""

    type: MediaType
    name: str | None = None
    size: Annotated[int, Field(ge=0)]
    last_modified: Annotated[float | None, Field(alias="lastModified")] = None
    sha256: Annotated[str, AfterValidator(_digest)] | None = None
    data: str | None = None


class Metadata(_Open):
    """Who made the package, when and by what."""

    created_at: Annotated[Moment, Field(alias="createdAt")]
    created_by: Annotated[str | None, Field(alias="createdBy")] = None
    source: Literal["web", "mobile", "api"]


class EventPackage(_Open):
    """An event as apps send it."""

    id: Annotated[str, Field(pattern=_UUID)]
    version: Annotated[str, Field(min_length=1)]
    annotations: Annotated[list[Annotation], FailFast(), Field(min_length=1)]
    media: Media | None = None
    metadata: Metadata


@dataclass(frozen=True, slots=True)
class ParsedPackage:
    """A package that is valid in itself; its media has not been looked at.

    Attributes:
        document: the JSON value exactly as received.
        model: the same, checked and typed.
        event_id: the id in lower case: the same UUID is the same event however it is written.
    """

    document: Mapping[str, Any]
    model: EventPackage
    event_id: str

    @property
    def created_at(self) -> datetime:
        return parse_rfc3339(self.model.metadata.created_at)


@dataclass(frozen=True, slots=True)
class Statement:
    """What is hashed.

    Attributes:
        document: the package with ``media.sha256`` in the place of ``media.data``.
        content: its canonical form (RFC 8785).
        digest_hex: the event hash.
    """

    document: Mapping[str, Any]
    content: bytes
    digest_hex: str


def parse_package(content: bytes) -> ParsedPackage:
    """Read and check an event package.

    Raises:
        InvalidPackageError: with each fault and where it is.
    """
    return check_package(parse_ijson(content))


def check_package(document: Any) -> ParsedPackage:
    """Check a JSON value that ``parse_ijson`` read.

    Raises:
        InvalidPackageError: with each fault and where it is.
    """
    if not isinstance(document, dict):
        raise InvalidPackageError(
            "the body is not an event package", [Fault("", "Input should be a JSON object")]
        )
    try:
        model = EventPackage.model_validate(document)
    except ValidationError as ex:
        faults = first_faults(_faults(document, ex))
        raise InvalidPackageError("the body is not an event package", faults) from ex
    return ParsedPackage(document, model, model.id.lower())


def _faults(document: Mapping[str, Any], error: ValidationError) -> Iterator[Fault]:
    for e in error.errors(include_url=False, include_input=False):
        if e["loc"][0] != "annotations" or len(e["loc"]) == 1:
            yield Fault(pointer(*e["loc"]), e["msg"])
    annotations = document.get("annotations")
    # one by one, so that a body of nothing but faults costs no more than the listed ones
    for i, annotation in enumerate(annotations if isinstance(annotations, list) else ()):
        try:
            Annotation.model_validate(annotation)
        except ValidationError as ex:
            for e in ex.errors(include_url=False, include_input=False):
                yield Fault(pointer("annotations", i, *e["loc"]), e["msg"])


def decode_media_data(data: str) -> bytes:
    """Decode ``media.data``: base64 (RFC 4648, section 4), with or without a data URL's prefix.

    Raises:
        InvalidPackageError: it is not base64.
    """
    prefix = _DATA_URL.match(data[:300])
    encoded = data[prefix.end() :] if prefix else data
    fault = Fault("/media/data", "not base64 (RFC 4648, section 4)")
    refusal = InvalidPackageError("the media is not base64", [fault])
    try:
        content = binascii.a2b_base64(encoded, strict_mode=True)
    except ValueError as ex:
        raise refusal from ex
    # even the strict mode overlooks padding after the last whole group
    if len(encoded) != (len(content) + 2) // 3 * 4:
        raise refusal
    return content


def make_statement(document: Mapping[str, Any], media_digest_hex: str | None) -> Statement:
    """Make the statement of a package, and hash it.

    Args:
        document: the package as received.
        media_digest_hex: SHA-256 of the decoded media; None where the package has no media.
    """
    statement = dict(document)
    if media_digest_hex is not None:
        media = {name: value for name, value in document["media"].items() if name != "data"}
        statement["media"] = media | {"sha256": media_digest_hex}
    content = canonicalize(statement)
    return Statement(statement, content, sha256_hex(content))
