"""What a resource says of itself: each of its methods, what that takes, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

JSON = "application/json"
NDJSON = "application/x-ndjson"
MERGE_PATCH = "application/merge-patch+json"

EXAMPLE_JWS = "eyJhbGciOiJFUzI1NiJ9.e30.c2lnbmF0dXJl"
EXAMPLE_KEY = {
    "kty": "EC",
    "crv": "P-256",
    "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
}
"""The key of RFC 7515, appendix A.3."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """What is in a path, a query or a header.

    Attributes:
        name: as it is on the wire.
        what: what it says, for people.
        schema: JSON Schema.
        place: ``path``, ``query`` or ``header``.
        example: one that is taken; none where the schema has a default.
    """

    name: str
    what: str
    schema: Mapping[str, Any]
    place: str = "query"
    example: Any = None


@dataclass(frozen=True, slots=True)
class RequestBody:
    """What is sent.

    Attributes:
        types: what checks it, by its media type; of several any may be sent.
        examples: by what they show; JSON.
        form: the parts of a form, where one may be sent: what checks JSON, which must be there, or
            the media types of bytes, which may be left out.
    """

    types: Mapping[str, Any]
    examples: Mapping[str, Any] = field(default_factory=dict)
    form: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answer:
    """What comes back.

    Attributes:
        what: when, for people.
        type: what it is, as Python has it; None is no body, or one that isn't JSON.
        media_type: of the body.
        headers: those that it always has, by name, and their schema.
        example: one of its bodies.
    """

    what: str
    type: Any = None
    media_type: str | None = JSON
    headers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    example: Any = None


NOTHING = Answer("Done; it is the same however often it is asked for.", media_type=None)
ETAG: Mapping[str, Mapping[str, Any]] = {"ETag": {"type": "string"}}
NOT_MODIFIED = Answer("What you have is the newest.", media_type=None)


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of a resource.

    Attributes:
        id: what generated clients call it.
        summary: what it does, in a line.
        tag: what it is listed under.
        answers: what comes back where all is well, by status.
        body: what is sent.
        parameters: those of the query and the headers; a path's are known by their names.
        errors: codes that this operation has besides those that its access and its body bring.
        details: more of what it does, in Markdown.
    """

    id: str
    summary: str
    tag: str
    answers: Mapping[int, Answer]
    body: RequestBody | None = None
    parameters: tuple[Parameter, ...] = ()
    errors: tuple[str, ...] = ()
    details: str = ""


IF_NONE_MATCH = Parameter(
    "If-None-Match",
    "The `ETag` of what you have: 304 where that is the newest.",
    {"type": "string"},
    "header",
)

_HASH = {"type": "string", "pattern": "^[0-9A-Fa-f]{64}$"}
_ID = {"type": "string", "minLength": 1}
_EXAMPLE_ID = "0b1f6a52-6f0e-4f7e-9a55-3a1b8a6d4c11"

IN_PATHS: Mapping[str, Parameter] = {
    parameter.name: parameter
    for parameter in (
        Parameter("digest_hex", "The event's hash.", _HASH, "path", "0" * 64),
        Parameter("relay_id", "The relay's id.", _ID, "path", _EXAMPLE_ID),
        Parameter("admin_id", "The admin's id.", _ID, "path", _EXAMPLE_ID),
        Parameter(
            "certificate_id",
            "A certificate's `jti`, or a TLS certificate's serial number in hex.",
            {"type": "string", "pattern": "^[A-Za-z0-9_:-]{1,128}$"},
            "path",
            "5f6d2c1e8a9b4c7d",
        ),
        Parameter(
            "label_id",
            "The label's id.",
            {"type": "string", "pattern": r"^(?!\.{1,2}$)[A-Za-z0-9._-]{1,64}$"},
            "path",
            "category",
        ),
        Parameter(
            "edition",
            "Which edition of the page's files.",
            {"type": "string", "pattern": "^[0-9a-f]{16}$"},
            "path",
        ),
        Parameter("file_name", "The file.", _ID, "path"),
    )
}
"""What the names in URI templates stand for."""
