"""Events that are held to the labels, where ``security.enforce_labels`` says so."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from eventserver_core.db.labels import LabelRepository
from eventserver_core.domain.instant import format_rfc3339
from eventserver_core.domain.labels import LabelVersion, read_definition
from eventserver_core.testing.factories import make_package
from eventserver_core.wiring import Services

from .exchange import (
    Answer,
    Client,
    Headers,
    Part,
    assert_nothing_stored,
    assert_problem,
    pointers,
    post_event,
    post_form,
)

PHOTO = Path(__file__).parents[1] / "media" / "photo.jpg"
DAY = timedelta(days=1)
FIRST_DAY = datetime(2024, 1, 1, tzinfo=UTC)


@pytest.fixture
def services(make_services: Callable[..., Services]) -> Services:
    return make_services(EVENTSERVER__SECURITY__ENFORCE_LABELS="true")


@pytest.fixture
def define(services: Services) -> Callable[..., None]:
    """Add a version of a label that is in force from a day of January 2024 on."""
    repository = LabelRepository(services.database)

    def add(label_id: str, day: int = 1, **members: Any) -> None:
        definition = read_definition(
            {
                "name_en": "Field",
                "name_fr": "Champ",
                "type": "text",
                "required": False,
                "constraints": {},
                "options": [],
            }
            | members
        )
        made_at = FIRST_DAY + (day - 1) * DAY
        number = len(repository.history(label_id)) + 1
        assert repository.add(
            LabelVersion(
                label_id, number, definition if members.get("type") else None, made_at, "admin-1"
            )
        )

    return add


def event(*annotations: tuple[str, Any], day: int = 1) -> dict[str, Any]:
    """Return an event that was created on a day of January 2024."""
    created = format_rfc3339(FIRST_DAY + (day - 1) * DAY)
    return make_package(
        annotations=[{"labelId": label_id, "value": value} for label_id, value in annotations],
        metadata={"createdAt": created, "source": "api"},
    )


def assert_violated(answer: Answer, *wrong: str) -> None:
    assert_problem(answer, 422, "labels_violated")
    assert pointers(answer) == list(wrong)


def test_an_event_that_keeps_to_the_labels_is_taken(
    client: Client, relay: Headers, define: Callable[..., None]
) -> None:
    define("title", type="text", required=True, constraints={"maxLength": 10})
    define("visitors", type="number", constraints={"minimum": 0})
    package = event(("title", "A path"), ("visitors", 120))
    assert post_event(client, relay, package).status_code == 201


def test_an_event_that_does_not_hears_of_every_fault_at_once(
    client: Client, relay: Headers, services: Services, define: Callable[..., None]
) -> None:
    define("title", type="text", required=True)
    define("visitors", type="number", constraints={"minimum": 0})
    define("open", type="boolean")
    package = event(("visitors", -1), ("open", "yes"), ("colour", "red"), ("visitors", 3))
    assert_violated(
        post_event(client, relay, package),
        "/annotations/0/value",
        "/annotations/1/value",
        "/annotations/2/labelId",
        "/annotations",
    )
    assert_nothing_stored(services)


def test_where_nothing_is_defined_every_event_is_refused(client: Client, relay: Headers) -> None:
    assert_violated(post_event(client, relay, event(("title", "a"))), "/annotations/0/labelId")


def test_an_event_with_a_form_is_held_to_them_too(
    client: Client, relay: Headers, services: Services, define: Callable[..., None]
) -> None:
    define("photo", type="media")
    package = event(("photo", "photo.jpg"))
    assert_violated(post_form(client, relay, Part.event(package)), "/annotations/0/value")
    described = make_package(PHOTO, inline=False)["media"]
    media = Part.media(PHOTO.read_bytes())
    wrong = Part.event(event(("photo", 5)) | {"media": described})
    assert_violated(post_form(client, relay, wrong, media), "/annotations/0/value")
    assert_nothing_stored(services)
    right = Part.event(event(("photo", "photo.jpg")) | {"media": described})
    assert post_form(client, relay, right, media).status_code == 201


@pytest.mark.parametrize(
    ("day", "taken"), [(1, "text"), (9, "text"), (10, 1), (19, 1), (30, True), (31, True)]
)
def test_an_event_is_held_to_the_labels_of_its_day(
    client: Client, relay: Headers, define: Callable[..., None], day: int, taken: Any
) -> None:
    define("field", 5, type="text")
    define("field", 10, type="number")
    define("field", 20)
    define("field", 30, type="boolean")
    for value in ("text", 1, True):
        answer = post_event(client, relay, event(("field", value), day=day))
        if type(value) is type(taken):
            assert answer.status_code == 201
        else:
            assert_violated(answer, "/annotations/0/value")


def test_an_event_of_a_day_without_the_label_is_refused(
    client: Client, relay: Headers, define: Callable[..., None]
) -> None:
    define("field", 5, type="text")
    define("field", 10)
    answer = post_event(client, relay, event(("field", "a"), day=11))
    assert_violated(answer, "/annotations/0/labelId")
    assert post_event(client, relay, event(("field", "a"), day=9)).status_code == 201


def test_a_repetition_gets_the_first_answer_whatever_was_defined_since(
    client: Client, relay: Headers, make_services: Callable[..., Services]
) -> None:
    package = event(("field", "a"))
    unchecked = Client(make_services().application())
    first = post_event(unchecked, relay, package)
    again = post_event(client, relay, package)
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.content == first.content
    other = post_event(client, relay, event(("field", "a")))
    assert_violated(other, "/annotations/0/labelId")


def test_a_label_as_admins_define_it_counts(client: Client, relay: Headers, admin: Headers) -> None:
    definition = {
        "name_en": "Category",
        "name_fr": "Catégorie",
        "type": "enum",
        "required": True,
        "options": ["Music", {"value": "arts", "name_en": "Arts", "name_fr": "Arts"}],
    }
    headers = dict(admin) | {"Content-Type": "application/json"}
    defined = client.simulate_put(
        "/api/v1/labels/category", body=json.dumps(definition), headers=headers
    )
    package = event(("category", "arts"))
    # made in the very moment in which the label came into force
    package["metadata"]["createdAt"] = defined.json["updatedAt"]
    package["annotations"][0]["value"] = "Arts"
    assert_violated(post_event(client, relay, package), "/annotations/0/value")
    package["annotations"][0]["value"] = "arts"
    assert post_event(client, relay, package).status_code == 201


def test_without_the_setting_labels_are_not_even_read(
    relay: Headers, make_services: Callable[..., Services], monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(_: LabelRepository) -> list[LabelVersion]:
        raise AssertionError("the labels were read")

    monkeypatch.setattr(LabelRepository, "versions", read)
    unchecked = Client(make_services().application())
    assert post_event(unchecked, relay, event(("field", "a"))).status_code == 201
