"""Writes the OpenAPI document from what the resources say of themselves."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

import eventserver_core
from eventserver_core.http.access import Access, Resource
from eventserver_core.http.openapi.operation import (
    IN_PATHS,
    JSON,
    Answer,
    Operation,
    Parameter,
    RequestBody,
)
from eventserver_core.http.openapi.problems import Problem, codes_of, required_header, responses

_ABOUT = """\
Receives what people witnessed, stores it, anchors its hash on a blockchain, and proves it.

- Certificates are bearer tokens. `x-roles` names those whose certificates are let through.
- Errors are problem details (RFC 9457). Retry 503 and 408 with backoff, and 429 after
  `Retry-After`; a 500 is a fault of the server's that may be gone later; everything else never
  succeeds as it is.
- Every `GET` is a `HEAD` too. A method that a path doesn't have is 405, a path that nobody has 404.
- What is no HTTP/1.1 request at all is `malformed_request`: 400, 414, 417, 431 or 501.
- Where calls are limited, answers have `RateLimit-Policy` and `RateLimit`.
- Members may be added to answers; ignore those that you don't know.
"""
_SCHEME = "certificate"
_TAGS = {
    "events": "Sending events, and what is known of them.",
    "devices": "How a device gets its certificate.",
    "relays": "The registry of relays, and their certificates.",
    "admins": "Who runs the network, and what was done.",
    "labels": "What an event is described with.",
    "keys": "What certificates can be checked with.",
    "server": "How the server is, and what it takes.",
}
_HEADERS: Mapping[str, Any] = {
    "x-request-id": {
        "description": "The request's id: yours, where it was a sane one.",
        "required": True,
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,128}$"},
    },
    "retry-after": {
        "description": "How many seconds to wait.",
        "required": True,
        "schema": {"type": "integer", "minimum": 1},
    },
    "www-authenticate": {
        "description": "RFC 6750.",
        "required": True,
        "schema": {"type": "string", "pattern": "^Bearer"},
    },
    "ratelimit-policy": {
        "description": "The limit, and over how many seconds.",
        "schema": {"type": "string", "pattern": '^"[a-z]+";q=[0-9]+;w=[0-9]+$'},
    },
    "ratelimit": {
        "description": "What is left of it, and in how many seconds it is whole again.",
        "schema": {"type": "string", "pattern": '^"[a-z]+";r=[0-9]+;t=[0-9]+$'},
    },
}
_PARAMETERS: Mapping[str, Any] = {
    "x-request-id": {
        "name": "X-Request-ID",
        "in": "header",
        "description": "An id of your own for the request; one that isn't sane is replaced.",
        "schema": {"type": "string"},
    },
    "traceparent": {
        "name": "traceparent",
        "in": "header",
        "description": "The trace that the request belongs to (W3C Trace Context).",
        "schema": {"type": "string"},
    },
}
"""What every operation takes."""


class _PlainSchema(GenerateJsonSchema):
    """Leaves out the titles that only repeat the members' names, and defaults that say nothing."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def default_schema(self, schema: Any) -> dict[str, Any]:
        if schema.get("default", ...) is None:
            return self.generate_inner(schema["schema"])
        return super().default_schema(schema)


def describe(routes: Mapping[str, Resource]) -> dict[str, Any]:
    """Return the OpenAPI document of an application.

    Args:
        routes: its resources, by their URI templates.
    """
    described = {
        template: dict(getattr(resource, "describes", {})) for template, resource in routes.items()
    }
    types = {found for methods in described.values() for found in _types(methods)} | {Problem}
    schemas, definitions = TypeAdapter.json_schemas(
        [(found, "validation", TypeAdapter(found)) for found in sorted(types, key=repr)],
        schema_generator=_PlainSchema,
        ref_template="#/components/schemas/{model}",
    )
    known = {found: schema for (found, _), schema in schemas.items()}
    paths = {
        template: {
            method.lower(): _operation(template, operation, routes[template].access[method], known)
            for method, operation in methods.items()
        }
        for template, methods in described.items()
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "EventServer",
            "version": eventserver_core.__version__,
            "description": _ABOUT,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": what} for name, what in _TAGS.items()],
        "paths": {template: methods for template, methods in paths.items() if methods},
        "components": {
            "schemas": definitions["$defs"],
            "headers": _HEADERS,
            "parameters": _PARAMETERS,
            "securitySchemes": {
                _SCHEME: {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
            },
        },
    }


def _types(methods: Mapping[str, Operation]) -> Iterator[Any]:
    for operation in methods.values():
        yield from (answer.type for answer in operation.answers.values() if answer.type)
        if operation.body:
            parts = operation.body.form.values()
            yield from operation.body.types.values()
            yield from (part for part in parts if not isinstance(part, tuple))


def _operation(
    template: str, operation: Operation, access: Access, known: Mapping[Any, Any]
) -> dict[str, Any]:
    in_path = [IN_PATHS[name] for name in re.findall(r"{(\w+)}", template)]
    codes = [
        *codes_of(access, sends=operation.body is not None, has_path=bool(in_path)),
        *operation.errors,
    ]
    answers = {
        status: _answer(answer, known, limited=access.route_class is not None)
        for status, answer in operation.answers.items()
    }
    for status, response in responses(codes, known[Problem]).items():
        response["headers"] |= _common_headers(limited=access.route_class is not None)
        answers[status] = response
    document: dict[str, Any] = {
        "operationId": operation.id,
        "summary": operation.summary,
        "tags": [operation.tag],
        "parameters": [
            *(_parameter(parameter) for parameter in (*in_path, *operation.parameters)),
            *({"$ref": f"#/components/parameters/{name}"} for name in _PARAMETERS),
        ],
        "responses": {str(status): answers[status] for status in sorted(answers)},
    }
    if operation.details:
        document["description"] = operation.details
    if operation.body is not None:
        document["requestBody"] = _body(operation.body, known)
    if access.roles:
        document["security"] = [*([{}] if access.anyone else []), {_SCHEME: []}]
        document["x-roles"] = sorted(role.value for role in access.roles)
    return document


def _parameter(parameter: Parameter) -> dict[str, Any]:
    document: dict[str, Any] = {
        "name": parameter.name,
        "in": parameter.place,
        "description": parameter.what,
        "schema": dict(parameter.schema),
    }
    if parameter.place == "path":
        document["required"] = True
    if parameter.example is not None:
        document["example"] = parameter.example
    return document


def _body(body: RequestBody, known: Mapping[Any, Any]) -> dict[str, Any]:
    content: dict[str, Any] = {
        media_type: {"schema": known[type_]} for media_type, type_ in body.types.items()
    }
    if body.examples:
        for document in content.values():
            document["examples"] = {name: {"value": value} for name, value in body.examples.items()}
    if body.form:
        content["multipart/form-data"] = _form(body.form, known)
    return {"required": True, "content": content}


def _form(parts: Mapping[str, Any], known: Mapping[Any, Any]) -> dict[str, Any]:
    schemas: dict[str, Any] = {}
    encoding: dict[str, Any] = {}
    for name, part in parts.items():
        is_bytes = isinstance(part, tuple)
        schemas[name] = (
            {"contentMediaType": "application/octet-stream"} if is_bytes else known[part]
        )
        encoding[name] = {"contentType": ", ".join(part) if is_bytes else JSON}
    return {
        "schema": {
            "type": "object",
            "properties": schemas,
            "required": [name for name, part in parts.items() if not isinstance(part, tuple)],
            "additionalProperties": False,
        },
        "encoding": encoding,
    }


def _answer(answer: Answer, known: Mapping[Any, Any], *, limited: bool) -> dict[str, Any]:
    headers = {
        name: required_header(name.lower())
        if name.lower() in _HEADERS
        else {"required": True, "schema": dict(schema)}
        for name, schema in answer.headers.items()
    }
    document: dict[str, Any] = {
        "description": answer.what,
        "headers": headers | _common_headers(limited=limited),
    }
    if answer.media_type is not None:
        media: dict[str, Any] = {} if answer.type is None else {"schema": known[answer.type]}
        if answer.example is not None:
            media["example"] = answer.example
        document["content"] = {answer.media_type: media}
    return document


def _common_headers(*, limited: bool) -> dict[str, Any]:
    names = ["X-Request-ID", *(["RateLimit-Policy", "RateLimit"] if limited else [])]
    return {name: required_header(name.lower()) for name in names}
