"""Defining labels and reading them: who may, what is taken, and what is remembered."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from eventserver_core.backends.auth import Role
from eventserver_core.http.resources.labels import MAX_OPTIONS
from eventserver_core.wiring import Services

from .exchange import Answer, Client, Headers, assert_problem, bearer, certificate, pointers

LABELS = "/api/v1/labels"
LABEL = f"{LABELS}/title"
TITLE: dict[str, Any] = {
    "name_en": "Title",
    "name_fr": "Titre",
    "type": "text",
    "required": True,
    "constraints": {"minLength": 1, "maxLength": 80},
}
IN_FULL = {"description_en": None, "description_fr": None, "options": []}
OPTION = {"value": "arts", "name_en": "Arts", "name_fr": "Arts"}
CATEGORY = TITLE | {"type": "enum", "constraints": {}, "options": ["Music", OPTION]}


def put(client: Client, headers: Headers, definition: Any, path: str = LABEL) -> Answer:
    body = definition if isinstance(definition, str | bytes) else json.dumps(definition)
    return client.simulate_put(
        path, body=body, headers={"Content-Type": "application/json"} | dict(headers)
    )


def label(**members: Any) -> dict[str, Any]:
    """Return a definition without constraints, with members put in; None takes one out."""
    definition = {name: v for name, v in TITLE.items() if name != "constraints"} | members
    return {name: v for name, v in definition.items() if v is not None}


def ids(client: Client) -> list[str]:
    return [found["labelId"] for found in client.simulate_get(LABELS).json["labels"]]


class TestWhoMay:
    @pytest.mark.parametrize("role", [Role.RELAY, Role.DEVICE])
    def test_only_admins_define(self, client: Client, services: Services, role: Role) -> None:
        headers = bearer(certificate(services, role, "somebody"))
        assert_problem(put(client, headers, TITLE), 403, "forbidden")
        assert_problem(client.simulate_delete(LABEL, headers=headers), 403, "forbidden")
        assert ids(client) == []

    def test_nobody_defines_without_a_certificate(self, client: Client) -> None:
        assert_problem(put(client, {}, TITLE), 401, "unauthenticated")
        assert_problem(client.simulate_delete(LABEL), 401, "unauthenticated")

    def test_anyone_reads(self, client: Client, admin: Headers) -> None:
        put(client, admin, TITLE)
        assert client.simulate_get(LABELS).status_code == 200
        assert client.simulate_get(LABEL).status_code == 200
        assert client.simulate_head(LABEL).status_code == 200


class TestDefining:
    def test_the_first_time_creates_it(self, client: Client, admin: Headers) -> None:
        answer = put(client, admin, TITLE)
        assert answer.status_code == 201
        assert answer.headers["location"] == LABEL
        updated = answer.json["updatedAt"]
        assert updated.endswith("Z")
        assert answer.json == TITLE | IN_FULL | {
            "labelId": "title",
            "version": 1,
            "updatedAt": updated,
        }

    def test_the_same_again_is_answered_with_what_is_in_force(
        self, client: Client, admin: Headers
    ) -> None:
        first = put(client, admin, TITLE)
        again = put(client, admin, dict(reversed((TITLE | IN_FULL).items())))
        assert again.status_code == 200
        assert again.json == first.json

    def test_a_change_makes_a_version(self, client: Client, admin: Headers) -> None:
        put(client, admin, TITLE)
        answer = put(client, admin, TITLE | {"name_fr": "Intitulé"})
        assert (answer.status_code, answer.json["version"]) == (200, 2)
        assert answer.json["name_fr"] == "Intitulé"

    def test_a_deleted_one_is_gone_until_it_is_defined_again(
        self, client: Client, admin: Headers
    ) -> None:
        put(client, admin, TITLE)
        answer = client.simulate_delete(LABEL, headers=admin)
        assert (answer.status_code, answer.content) == (204, b"")
        assert ids(client) == []
        assert_problem(client.simulate_get(LABEL), 404, "not_found")
        assert_problem(client.simulate_delete(LABEL, headers=admin), 404, "not_found")
        answer = put(client, admin, TITLE)
        assert (answer.status_code, answer.json["version"]) == (201, 3)
        assert ids(client) == ["title"]

    @pytest.mark.parametrize(
        ("definition", "said"),
        [
            (label(), {"constraints": {}}),
            (label(required=None), {"required": False}),
            (label(type="boolean", constraints={}, options=[]), {"options": []}),
            (label(type="media", description_fr="Une photo"), {"description_fr": "Une photo"}),
            (label(type="number", constraints={"minimum": -1}), {"constraints": {"minimum": -1}}),
            (
                label(type="number", constraints={"minimum": 0.5, "maximum": 0.5}),
                {"constraints": {"minimum": 0.5, "maximum": 0.5}},
            ),
            (
                label(type="date", constraints={"earliest": "2024-01-01T23:00:00Z"}),
                {"constraints": {"earliest": "2024-01-01T23:00:00Z"}},
            ),
            (
                label(
                    type="date",
                    constraints={"earliest": "2024-01-01", "latest": "2024-01-01T01:00:00Z"},
                ),
                {"constraints": {"earliest": "2024-01-01", "latest": "2024-01-01T01:00:00Z"}},
            ),
            (
                label(
                    type="date",
                    constraints={"earliest": "2024-01-01T23:00:00Z", "latest": "2024-01-01"},
                ),
                {"constraints": {"earliest": "2024-01-01T23:00:00Z", "latest": "2024-01-01"}},
            ),
            (
                label(constraints={"minLength": 0, "maxLength": None}),
                {"constraints": {"minLength": 0}},
            ),
            (
                CATEGORY,
                {"options": [{"value": "Music", "name_en": "Music", "name_fr": "Music"}, OPTION]},
            ),
            (label(name_en="é" * 200, name_fr="🦊"), {"name_en": "é" * 200, "name_fr": "🦊"}),
        ],
    )
    def test_what_may_be_said_is_taken_and_answered_in_full(
        self, client: Client, admin: Headers, definition: dict[str, Any], said: dict[str, Any]
    ) -> None:
        answer = put(client, admin, definition)
        assert answer.status_code == 201, answer.text
        assert answer.json | said == answer.json
        assert client.simulate_get(LABELS).json["labels"] == [answer.json]

    def test_an_enum_has_up_to_a_thousand_options(self, client: Client, admin: Headers) -> None:
        options = [f"option {n}" for n in range(MAX_OPTIONS)]
        answer = put(client, admin, CATEGORY | {"options": options})
        assert answer.status_code == 201
        assert [option["value"] for option in answer.json["options"]] == options
        answer = put(client, admin, CATEGORY | {"options": [*options, "one more"]})
        assert_problem(answer, 400, "invalid_request")
        assert pointers(answer) == ["/options"]

    @pytest.mark.parametrize("label_id", ["a", "Title.2_en-x", "x" * 64, "..."])
    def test_an_id_is_letters_digits_and_a_few_marks(
        self, client: Client, admin: Headers, label_id: str
    ) -> None:
        assert put(client, admin, TITLE, f"{LABELS}/{label_id}").status_code == 201
        assert ids(client) == [label_id]

    @pytest.mark.parametrize(
        "label_id", ["x" * 65, "a b", "%C3%A9", "a%0A", "a~", "..", ".", "%00"]
    )
    def test_another_id_is_refused(self, client: Client, admin: Headers, label_id: str) -> None:
        path = f"{LABELS}/{label_id}"
        for answer in (
            put(client, admin, TITLE, path),
            client.simulate_get(path),
            client.simulate_delete(path, headers=admin),
        ):
            assert_problem(answer, 400, "invalid_request")

    def test_it_is_written_to_the_audit_trail(
        self, client: Client, admin: Headers, services: Services
    ) -> None:
        put(client, admin, TITLE)
        put(client, admin, TITLE)
        client.simulate_delete(LABEL, headers=admin)
        cursor = services.database.peewee.execute_sql(
            "SELECT action, target, actor FROM audit_entries ORDER BY sequence"
        )
        assert list(cursor) == [
            ("label_defined", "title", "admin-1"),
            ("label_deleted", "title", "admin-1"),
        ]


class TestWhatIsRefused:
    @pytest.mark.parametrize(
        ("definition", "wrong"),
        [
            ({}, ["/name_en", "/name_fr", "/type"]),
            ([], [""]),
            (None, [""]),
            (label(name_en=""), ["/name_en"]),
            (label(name_en=" \n"), ["/name_en"]),
            (label(name_fr="x" * 201), ["/name_fr"]),
            (label(name_fr=5), ["/name_fr"]),
            (label(description_en="x" * 2001), ["/description_en"]),
            (label(type="colour"), ["/type"]),
            (label(type=["text"]), ["/type"]),
            (label(required="yes"), ["/required"]),
            (label(required=1), ["/required"]),
            (label(version=2, colour="red"), ["/version", "/colour"]),
            (label(constraints=[]), ["/constraints"]),
            (label(constraints={"minimum": 1}), ["/constraints/minimum"]),
            (label(constraints={"pattern": ".*"}), ["/constraints/pattern"]),
            (label(constraints={"minLength": -1}), ["/constraints/minLength"]),
            (label(constraints={"minLength": 1.5}), ["/constraints/minLength"]),
            (label(constraints={"minLength": True}), ["/constraints/minLength"]),
            (label(constraints={"minLength": 2, "maxLength": 1}), ["/constraints"]),
            (label(type="boolean", constraints={"minLength": 1}), ["/constraints/minLength"]),
            (label(type="media", constraints={"maximum": 1}), ["/constraints/maximum"]),
            (label(type="number", constraints={"minLength": 1}), ["/constraints/minLength"]),
            (label(type="number", constraints={"minimum": "1"}), ["/constraints/minimum"]),
            (label(type="number", constraints={"minimum": True}), ["/constraints/minimum"]),
            (label(type="number", constraints={"minimum": 1, "maximum": 0.5}), ["/constraints"]),
            (label(type="date", constraints={"earliest": "yesterday"}), ["/constraints/earliest"]),
            (label(type="date", constraints={"latest": 2024}), ["/constraints/latest"]),
            (
                label(type="date", constraints={"earliest": "2024-01-02", "latest": "2024-01-01"}),
                ["/constraints"],
            ),
            (label(options=["a"]), ["/options"]),
            (label(type="boolean", options=["yes", "no"]), ["/options"]),
            (label(type="enum"), ["/options"]),
            (label(type="enum", options=[]), ["/options"]),
            (label(type="enum", options="a"), ["/options"]),
            (label(type="enum", options=["a", 5]), ["/options/1"]),
            (label(type="enum", options=["a", ""]), ["/options/1"]),
            (label(type="enum", options=["a", "x" * 201]), ["/options/1"]),
            (label(type="enum", options=["a", "b", "a"]), ["/options"]),
            (label(type="enum", options=["arts", OPTION]), ["/options"]),
            (
                label(type="enum", options=[{"value": "a", "name_en": "", "more": 1}]),
                ["/options/0/name_en", "/options/0/name_fr", "/options/0/more"],
            ),
            (
                label(type="enum", options=["a"], constraints={"minLength": 1}),
                ["/constraints/minLength"],
            ),
            (
                label(name_en="", type="number", constraints={"minimum": "x"}, more=1),
                ["/name_en", "/constraints/minimum", "/more"],
            ),
        ],
    )
    def test_every_fault_is_shown_at_once(
        self, client: Client, admin: Headers, definition: Any, wrong: list[str]
    ) -> None:
        answer = put(client, admin, definition)
        assert_problem(answer, 400, "invalid_request")
        assert sorted(pointers(answer)) == sorted(wrong)
        assert ids(client) == []

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"{",
            b"\xff",
            b'{"name_en": "a", "name_en": "b"}',
            b'{"name_en": "\\ud800"}',
            b'{"constraints": {"minimum": NaN}}',
            b"[" * 100,
        ],
    )
    def test_what_is_not_i_json_is_no_definition(
        self, client: Client, admin: Headers, body: bytes
    ) -> None:
        assert_problem(put(client, admin, body), 400, "invalid_request")

    def test_another_type_is_refused(self, client: Client, admin: Headers) -> None:
        headers = dict(admin) | {"Content-Type": "text/plain"}
        assert_problem(put(client, headers, TITLE), 415, "unsupported_media_type")

    def test_a_body_that_is_too_large_is_refused(self, client: Client, admin: Headers) -> None:
        body = json.dumps(TITLE) + " " * 1024 * 1024
        assert_problem(put(client, admin, body), 413, "content_too_large")

    def test_very_many_faults_are_not_all_told(self, client: Client, admin: Headers) -> None:
        answer = put(client, admin, TITLE | {f"member{n}": n for n in range(5000)})
        assert_problem(answer, 400, "invalid_request")
        assert len(answer.json["errors"]) == 101


class TestReading:
    def test_the_list_is_sorted_by_id(self, client: Client, admin: Headers) -> None:
        for label_id in ("b", "a", "C"):
            put(client, admin, TITLE, f"{LABELS}/{label_id}")
        assert ids(client) == ["C", "a", "b"]

    def test_a_label_tells_its_history(self, client: Client, admin: Headers) -> None:
        first = put(client, admin, TITLE).json
        client.simulate_delete(LABEL, headers=admin)
        last = put(client, admin, CATEGORY).json
        answer = client.simulate_get(LABEL).json
        versions = answer.pop("versions")
        assert answer == last
        assert [version["version"] for version in versions] == [1, 2, 3]
        assert versions[0] == {
            "version": 1,
            "definition": TITLE | IN_FULL,
            "madeAt": first["updatedAt"],
        }
        assert list(versions[1]) == ["version", "deleted", "madeAt"]
        assert versions[1]["deleted"] is True
        assert versions[2]["madeAt"] == last["updatedAt"]

    def test_a_version_can_be_asked_for_even_of_a_deleted_label(
        self, client: Client, admin: Headers
    ) -> None:
        first = put(client, admin, TITLE).json
        put(client, admin, CATEGORY)
        client.simulate_delete(LABEL, headers=admin)
        assert client.simulate_get(LABEL, params={"version": "1"}).json == first
        gone = client.simulate_get(LABEL, params={"version": "3"}).json
        assert (gone["version"], gone["deleted"]) == (3, True)
        assert "name_en" not in gone

    @pytest.mark.parametrize("version", ["4", "999999999"])
    def test_a_version_that_is_not_there_is_not_found(
        self, client: Client, admin: Headers, version: str
    ) -> None:
        put(client, admin, TITLE)
        answer = client.simulate_get(LABEL, params={"version": version})
        assert_problem(answer, 404, "not_found")

    @pytest.mark.parametrize("version", ["0", "-1", "1.0", "x", "٣", "9999999999", "1\n"])
    def test_a_version_is_a_number(self, client: Client, admin: Headers, version: str) -> None:
        put(client, admin, TITLE)
        answer = client.simulate_get(LABEL, params={"version": version})
        assert_problem(answer, 400, "invalid_request")

    def test_a_label_that_nobody_defined_is_not_found(self, client: Client) -> None:
        assert_problem(client.simulate_get(LABEL), 404, "not_found")
        answer = client.simulate_get(LABEL, params={"version": "1"})
        assert_problem(answer, 404, "not_found")

    @pytest.mark.parametrize("path", [LABELS, LABEL])
    def test_what_is_known_already_is_not_sent_again(
        self, client: Client, admin: Headers, path: str
    ) -> None:
        put(client, admin, TITLE)
        answer = client.simulate_get(path)
        etag = answer.headers["etag"]
        assert etag.startswith('"')
        assert answer.headers["content-type"] == "application/json"
        for known in (etag, f"W/{etag}", f'"other", {etag}', "*"):
            again = client.simulate_get(path, headers={"If-None-Match": known})
            assert (again.status_code, again.content) == (304, b""), known
            for name in ("etag", "cache-control"):
                assert again.headers[name] == answer.headers[name]
            assert again.headers["cache-control"] == "public, max-age=60"
        again = client.simulate_get(path, headers={"If-None-Match": '"other"'})
        assert (again.status_code, again.content) == (200, answer.content)
        put(client, admin, CATEGORY)
        changed = client.simulate_get(path, headers={"If-None-Match": etag})
        assert changed.status_code == 200
        assert changed.headers["etag"] != etag

    def test_another_instance_reads_the_same(
        self, client: Client, admin: Headers, make_services: Callable[..., Services]
    ) -> None:
        put(client, admin, TITLE)
        other = Client(make_services().application())
        here, there = client.simulate_get(LABELS), other.simulate_get(LABELS)
        assert there.content == here.content
        assert there.headers["etag"] == here.headers["etag"]
