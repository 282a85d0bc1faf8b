"""The description: valid, whole, and cached; and the page that shows it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Any

import falcon.inspect
import falcon.testing
import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from eventserver_core.backends.auth import Role
from eventserver_core.http.openapi import page, problems
from eventserver_core.wiring import Services

from .exchange import Client, assert_problem

PAGE = Path(str(files(page)))


@pytest.fixture
def document(client: Client) -> dict[str, Any]:
    answer = client.simulate_get("/openapi.json")
    assert answer.headers["content-type"] == "application/json"
    return answer.json  # type: ignore[no-any-return]


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for template, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), template, operation


def test_it_is_valid_openapi(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1.")
    assert not list(OpenAPIV31SpecValidator(document).iter_errors())


def test_every_route_and_method_is_in_it(services: Services, document: dict[str, Any]) -> None:
    routes = falcon.inspect.inspect_routes(services.application())
    there = {
        (method.method, route.path)
        for route in routes
        for method in route.methods
        # what Falcon answers by itself is 405, and HEAD is GET without the body
        if not method.internal and method.method != "HEAD"
    }
    assert len(there) >= 40
    assert {(method, template) for method, template, _ in operations(document)} == there


def test_no_two_operations_have_one_name(document: dict[str, Any]) -> None:
    names = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(names) == len(set(names))
    assert all(re.fullmatch("[a-z][A-Za-z]+", name) for name in names)
    tags = {tag["name"] for tag in document["tags"]}
    assert {operation["tags"][0] for _, _, operation in operations(document)} == tags


def test_it_says_who_may_call(document: dict[str, Any]) -> None:
    said = {
        operation["operationId"]: (operation.get("x-roles"), operation.get("security"))
        for _, _, operation in operations(document)
    }
    certificate = {"certificate": []}
    assert said["sendEvent"] == (["device", "relay"], [certificate])
    assert said["listAdmins"] == (["admin"], [certificate])
    assert said["listRelays"] == (["admin"], [{}, certificate])
    assert said["getEvent"] == (sorted(role.value for role in Role), [certificate])
    assert said["getHealth"] == (None, None)


def test_every_code_is_answered_by_some_operation(document: dict[str, Any]) -> None:
    said = {
        code
        for _, _, operation in operations(document)
        for response in operation["responses"].values()
        for code in _codes(response)
    }
    # a path's own methods are all described; anything else is 405
    assert set(problems.statuses()) - said == {"method_not_allowed"}


def test_a_code_without_a_class_is_still_in_the_code() -> None:
    core = Path(problems.__file__).parents[2]
    sources = [*core.rglob("*.py"), *core.parent.glob("plugins/*/eventserver_*/*.py")]
    text = "".join(path.read_text() for path in sources if path.name != "problems.py")
    for codes in problems._WITHOUT_A_CLASS.values():
        for code in codes:
            # Falcon's own errors have the names of their statuses
            assert f'"{code}"' in text or code in ("bad_request", "method_not_allowed"), code


def test_its_examples_are_what_it_describes(document: dict[str, Any]) -> None:
    components = document["components"]
    count = 0
    for _, template, operation in operations(document):
        for content in operation.get("requestBody", {}).get("content", {}).values():
            for name, example in content.get("examples", {}).items():
                schema = content["schema"] | {"components": components}
                faults = list(Draft202012Validator(schema).iter_errors(example["value"]))
                assert not faults, f"{template}: {name}"
                count += 1
        for parameter in operation["parameters"]:
            if "example" in parameter:
                Draft202012Validator(parameter["schema"]).validate(parameter["example"])
    assert count >= 12


def test_it_is_fetched_once(client: Client) -> None:
    first = client.simulate_get("/openapi.json")
    assert first.headers["cache-control"] == "public, max-age=300"
    again = client.simulate_get("/openapi.json", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]
    other = client.simulate_get("/openapi.json", headers={"If-None-Match": '"another"'})
    assert other.content == first.content
    assert client.simulate_get("/openapi-json").content == first.content
    assert client.simulate_head("/openapi.json").headers["etag"] == first.headers["etag"]


class TestPage:
    def test_it_runs_and_loads_nothing_but_its_own(self, client: Client) -> None:
        answer = client.simulate_get("/docs")
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert answer.headers["x-content-type-options"] == "nosniff"
        policy = dict(
            directive.split(" ", 1)
            for directive in answer.headers["content-security-policy"].split("; ")
        )
        assert policy["default-src"] == "'none'"
        assert policy["frame-ancestors"] == "'none'"
        assert {policy["script-src"], policy["style-src"], policy["connect-src"]} == {"'self'"}
        assert "unsafe" not in str(policy)
        assert "://" not in answer.text
        assert not re.findall(r"<script(?![^>]*\bsrc=)|\bon\w+=|style=|<style", answer.text)

    def test_its_files_are_kept_for_ever(self, client: Client) -> None:
        links = re.findall(r'(?:src|href)="(docs/[^"]+)"', client.simulate_get("/docs").text)
        assert len(links) == 4
        for link in links:
            answer = client.simulate_get(f"/{link}")
            assert answer.status_code == 200
            assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.content == (PAGE / link.rpartition("/")[2]).read_bytes()

    @pytest.mark.parametrize(
        "path",
        [
            "0123456789abcdef/start.js",
            f"{page.edition()}/vendored.json",
            f"{page.edition()}/__init__.py",
            f"{page.edition()}/..%2f__init__.py",
        ],
    )
    def test_it_has_no_other_files(self, client: Client, path: str) -> None:
        assert_problem(client.simulate_get(f"/docs/{path}"), 404, "not_found")

    def test_what_is_not_ours_is_as_it_was_published(self) -> None:
        vendored = json.loads((PAGE / "vendored.json").read_text())
        assert vendored["name"] == "swagger-ui-dist"
        assert re.fullmatch(r"\d+\.\d+\.\d+", vendored["version"])
        assert {"LICENSE", "NOTICE"} <= vendored["files"].keys()
        for name, digest in vendored["files"].items():
            assert sha256((PAGE / name).read_bytes()).hexdigest() == digest, name
        ours = {"__init__.py", "index.html", "start.js", "vendored.json"}
        there = {path.name for path in PAGE.iterdir() if path.is_file()}
        assert there == vendored["files"].keys() | ours


def _codes(response: dict[str, Any]) -> list[str]:
    content = response.get("content", {}).get("application/problem+json")
    return content["schema"]["allOf"][1]["properties"]["code"]["enum"] if content else []
