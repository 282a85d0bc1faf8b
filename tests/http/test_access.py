"""Who may call what: the whole table, against every route that there is."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import falcon
import falcon.inspect
import falcon.testing
import pytest

from eventserver_core.backends.auth import Role
from eventserver_core.demo.device import Device
from eventserver_core.http.access import ADMINS, ANYONE, Resource
from eventserver_core.wiring import Services

from .exchange import assert_problem, bearer, certificate, subject_of

ROOT = Path(__file__).resolve().parents[2]
ALL = {None, Role.DEVICE, Role.RELAY, Role.ADMIN}
HOLDERS = ALL - {None}
LIMITED, UNLIMITED = True, False

TABLE: dict[tuple[str, str], tuple[set[Role | None], bool]] = {
    ("POST", "/api/v1/events"): ({Role.DEVICE, Role.RELAY}, LIMITED),
    ("POST", "/api/v1/events/package"): ({Role.DEVICE, Role.RELAY}, LIMITED),
    ("POST", "/api/v1/events/batch"): ({Role.RELAY}, LIMITED),
    ("GET", "/api/v1/events/{digest_hex}"): (HOLDERS, LIMITED),
    ("GET", "/api/v1/events/{digest_hex}/verify"): (ALL, LIMITED),
    ("GET", "/api/v1/events/{digest_hex}/proof"): (ALL, LIMITED),
    ("GET", "/api/v1/events/{digest_hex}/package"): (HOLDERS, LIMITED),
    ("POST", "/api/v1/pow/challenge"): (ALL, LIMITED),
    ("POST", "/api/v1/pow/verify"): (ALL, LIMITED),
    ("GET", "/api/v1/relays"): (ALL, LIMITED),
    ("POST", "/api/v1/relays"): ({Role.ADMIN}, LIMITED),
    ("POST", "/api/v1/relays/provision"): ({Role.ADMIN}, LIMITED),
    ("GET", "/api/v1/relays/stats"): ({Role.ADMIN}, LIMITED),
    ("GET", "/api/v1/relays/{relay_id}"): ({Role.ADMIN}, LIMITED),
    ("PATCH", "/api/v1/relays/{relay_id}"): ({Role.ADMIN}, LIMITED),
    ("DELETE", "/api/v1/relays/{relay_id}"): ({Role.ADMIN}, LIMITED),
    ("GET", "/api/v1/relays/{relay_id}/health"): ({Role.ADMIN}, LIMITED),
    ("POST", "/api/v1/relays/{relay_id}/enrollment"): ({Role.ADMIN}, LIMITED),
    ("POST", "/api/v1/relays/{relay_id}/enroll"): (ALL, LIMITED),
    ("POST", "/api/v1/relays/{relay_id}/certificate"): ({Role.RELAY, Role.ADMIN}, LIMITED),
    ("DELETE", "/api/v1/certificates/{certificate_id}"): ({Role.ADMIN}, LIMITED),
    ("GET", "/api/v1/admins"): ({Role.ADMIN}, LIMITED),
    ("POST", "/api/v1/admins"): ({Role.ADMIN}, LIMITED),
    ("DELETE", "/api/v1/admins/{admin_id}"): ({Role.ADMIN}, LIMITED),
    ("POST", "/api/v1/admins/{admin_id}/certificate"): (ALL, LIMITED),
    ("GET", "/api/v1/audit"): ({Role.ADMIN}, LIMITED),
    ("GET", "/api/v1/labels"): (ALL, LIMITED),
    ("GET", "/api/v1/labels/{label_id}"): (ALL, LIMITED),
    ("PUT", "/api/v1/labels/{label_id}"): ({Role.ADMIN}, LIMITED),
    ("DELETE", "/api/v1/labels/{label_id}"): ({Role.ADMIN}, LIMITED),
    ("GET", "/metrics"): (ALL, UNLIMITED),
    ("GET", "/openapi.json"): (ALL, LIMITED),
    ("GET", "/openapi-json"): (ALL, LIMITED),
    ("GET", "/docs"): (ALL, LIMITED),
    ("GET", "/docs/{edition}/{file_name}"): (ALL, LIMITED),
    ("GET", "/pki/root.crt"): (ALL, LIMITED),
    ("GET", "/pki/issuing.crt"): (ALL, LIMITED),
    ("GET", "/pki/issuing.crl"): (ALL, LIMITED),
    ("GET", "/.well-known/jwks.json"): (ALL, UNLIMITED),
    ("GET", "/health"): (ALL, UNLIMITED),
    ("GET", "/health/live"): (ALL, UNLIMITED),
    ("GET", "/health/ready"): (ALL, UNLIMITED),
}
"""Who is let through, and whether calls are counted. Every GET is a HEAD too."""

PLACES = {
    "{digest_hex}": "0" * 64,
    "{certificate_id}": "nobodys",
    "{relay_id}": "no-relay",
    "{admin_id}": "no-admin",
    "{label_id}": "no-label",
    "{edition}": "0" * 16,
    "{file_name}": "start.js",
}
MORE_FOR_ADMINS = ("GET", "/api/v1/relays")
"""Anyone may ask; who shows a certificate that doesn't hold is told so all the same."""


def routes(app: falcon.App[Any, Any]) -> set[tuple[str, str]]:
    """Return each method of each route that the application answers itself."""
    return {
        (method.method, route.path)
        for route in falcon.inspect.inspect_routes(app)
        for method in route.methods
        if not method.internal
    }


def test_every_route_is_in_the_table(services: Services) -> None:
    listed = set(TABLE)
    heads = {("HEAD", path) for method, path in listed if method == "GET"}
    assert routes(services.application()) == listed | heads


def test_no_route_is_answered_by_anything_but_its_resource(services: Services) -> None:
    app = services.application()
    assert not falcon.inspect.inspect_sinks(app)
    assert not falcon.inspect.inspect_static_routes(app)


@pytest.mark.parametrize(("method", "path"), sorted(TABLE), ids=lambda part: part)
def test_each_role_gets_as_far_as_the_table_says(
    services: Services, method: str, path: str
) -> None:
    allowed, limited = TABLE[method, path]
    device = Device()
    client = falcon.testing.TestClient(services.application())
    for name, value in PLACES.items():
        path = path.replace(name, value)
    for role in [None, *Role]:
        headers = {}
        if role is not None:
            subject = subject_of(device) if role is Role.DEVICE else f"{role}-1"
            key = device.public_key if role is Role.DEVICE else None
            headers = bearer(certificate(services, role, subject, key))
        for verb in [method, "HEAD"] if method == "GET" else [method]:
            answer = client.simulate_request(verb, path, headers=headers)
            if role in allowed:
                assert answer.status_code not in (401, 403, 405), (role, answer.text)
                assert ("ratelimit" in answer.headers) is limited
            else:
                assert answer.status_code == (401 if role is None else 403), (role, answer.text)
                if verb != "HEAD":
                    code = "unauthenticated" if role is None else "forbidden"
                    assert_problem(answer, answer.status_code, code)


class Forgetful(Resource):
    """Lists one of its methods, and forgets the others."""

    access = {"GET": ANYONE, "PUT": ADMINS}

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        resp.media = {}

    on_post = on_put = on_patch = on_delete = on_get


@pytest.fixture
def forgetful(services: Services) -> falcon.testing.TestClient:
    app = services.application()
    app.add_route("/forgetful", Forgetful())
    return falcon.testing.TestClient(app)


@pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE"])
def test_a_method_that_nobody_listed_is_refused(
    forgetful: falcon.testing.TestClient,
    services: Services,
    bearer_of: Callable[[Role], dict[str, str]],
    method: str,
) -> None:
    assert_problem(forgetful.simulate_request(method, "/forgetful"), 403, "forbidden")
    for role in Role:
        answer = forgetful.simulate_request(method, "/forgetful", headers=bearer_of(role))
        assert_problem(answer, 403, "forbidden")


def test_what_was_listed_is_not(
    forgetful: falcon.testing.TestClient, bearer_of: Callable[[Role], dict[str, str]]
) -> None:
    assert forgetful.simulate_get("/forgetful").status_code == 200
    assert forgetful.simulate_head("/forgetful").status_code == 200
    assert forgetful.simulate_put("/forgetful", headers=bearer_of(Role.ADMIN)).status_code == 200
    answer = forgetful.simulate_put("/forgetful", headers=bearer_of(Role.RELAY))
    assert_problem(answer, 403, "forbidden")


@pytest.fixture
def bearer_of(services: Services) -> Callable[[Role], dict[str, str]]:
    return lambda role: bearer(certificate(services, role, f"{role}-1"))


@pytest.mark.parametrize("role", Role)
def test_a_revoked_certificate_is_refused_wherever_one_is_asked_for(
    services: Services, bearer_of: Callable[[Role], dict[str, str]], role: Role
) -> None:
    client = falcon.testing.TestClient(services.application())
    headers = bearer_of(role)
    token = headers["Authorization"].split()[1]
    services.identities.revoke(services.identities.authenticate(token).certificate_id, "lost")
    for (method, path), (allowed, _) in TABLE.items():
        for name, value in PLACES.items():
            path = path.replace(name, value)
        answer = client.simulate_request(method, path, headers=headers)
        if None in allowed and (method, path) != MORE_FOR_ADMINS:
            assert answer.status_code != 401
        else:
            assert_problem(answer, 401, "certificate_revoked")
            assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"'


def documented() -> dict[tuple[str, str], str]:
    """Return who may call what, as the table in the docs says it."""
    page = (ROOT / "docs" / "http-api.md").read_text("utf-8")
    rows = re.findall(r"^\| `(\w+) (/\S+)` \| ([^|]+) \|", page, re.M)
    return {(method, path): who for method, path, who in rows}


def test_the_docs_say_who_may_call_what() -> None:
    said = documented()
    assert set(said) == set(TABLE)
    for route, (allowed, _) in TABLE.items():
        if allowed == ALL:
            assert said[route] == "anyone", route
        elif allowed == HOLDERS:
            assert said[route] == "owner, admin", route
        else:
            assert set(said[route].split(", ")) == {role.value for role in allowed if role}, route
