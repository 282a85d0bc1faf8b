"""A client that holds every answer to the description."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import falcon.testing
from jsonschema import Draft202012Validator

from .exchange import Answer


class DescribedClient(falcon.testing.TestClient):
    """Sends requests, and makes sure that what comes back is described, member by member.

    Attributes:
        document: the description.
        seen: which answers came: method, template and status.
    """

    def __init__(self, app: Any) -> None:
        super().__init__(app)
        self.document: dict[str, Any] = super().simulate_request("GET", "/openapi.json").json
        self.seen: set[tuple[str, str, int]] = set()
        self._components = {
            "schemas": {
                name: closed(schema) if name != "Problem" else schema
                for name, schema in self.document["components"]["schemas"].items()
            }
        }

    def simulate_request(self, *args: Any, **kwargs: Any) -> Answer:
        """Send a request, and check the answer."""
        answer = super().simulate_request(*args, **kwargs)
        method = kwargs.get("method") or args[0]
        path = kwargs.get("path") or args[1]
        self._check(method, path.partition("?")[0], answer)
        return answer

    def operations(self) -> Iterator[tuple[str, str, dict[str, Any]]]:
        """Yield every method, its template and what is said of it."""
        for template, methods in self.document["paths"].items():
            for method, operation in methods.items():
                yield method.upper(), template, operation

    def _check(self, method: str, path: str, answer: Answer) -> None:
        template = self._template(path)
        operation = self.document["paths"][template][method.lower()]
        where = f"{method} {template} {answer.status_code}"
        response = operation["responses"].get(str(answer.status_code))
        assert response is not None, f"{where} is not described: {answer.text}"
        self.seen.add((method, template, answer.status_code))
        self._check_headers(where, response, answer)
        content = response.get("content")
        if content is None:
            assert answer.content == b"", where
            return
        media_type = answer.headers["content-type"].partition(";")[0]
        described = content.get(media_type, content.get("*/*"))
        assert described is not None, f"{where}: {media_type}"
        if "json" in media_type:
            schema = described["schema"] | {"components": self._components}
            checker = Draft202012Validator.FORMAT_CHECKER
            found = Draft202012Validator(schema, format_checker=checker).iter_errors(answer.json)
            faults = [f"{fault.json_path}: {fault.message}" for fault in found]
            assert not faults, f"{where}: {faults}"

    def _check_headers(self, where: str, response: dict[str, Any], answer: Answer) -> None:
        for name, header in response["headers"].items():
            if "$ref" in header:
                header = self.document["components"]["headers"][header["$ref"].split("/")[-1]]
            value = answer.headers.get(name.lower())
            assert value is not None or not header.get("required"), f"{where}: {name}"
            if value is not None:
                schema = header["schema"]
                said: Any = int(value) if schema["type"] == "integer" else value
                Draft202012Validator(schema).validate(said)

    def _template(self, path: str) -> str:
        templates = self.document["paths"]
        if path in templates:
            return path
        for template in templates:
            if re.fullmatch(re.sub(r"{\w+}", "[^/]+", template), path):
                return str(template)
        raise AssertionError(f"{path} is not described")


def closed(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema that takes no member that it doesn't name."""
    return {"additionalProperties": False} | schema if "properties" in schema else schema
