"""Until when storage keeps what there is of an event, as its owner sees it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import falcon.testing
import pytest

from eventserver_core.backends.auth import Role
from eventserver_core.errors import ObjectNotFoundError
from eventserver_core.testing.factories import make_package
from eventserver_core.wiring import Services

from .exchange import EVENTS, bearer, certificate, post_event, replace_backend

UNTIL = datetime(2040, 1, 1, tzinfo=UTC)


def recorded(services: Services, photo: Path, moments: dict[str, Any]) -> Any:
    """Return what the record of an event with a photo says, given each object's moment."""

    def retained_until(key: str) -> datetime | None:
        moment = moments[key.split("-")[0]]
        if isinstance(moment, Exception):
            raise moment
        return moment  # type: ignore[no-any-return]

    replace_backend(services, "storage", retained_until=retained_until)
    client = falcon.testing.TestClient(services.application())
    relay = bearer(certificate(services, Role.RELAY, "relay-1"))
    digest_hex = post_event(client, relay, make_package(photo)).json["hash"]
    return client.simulate_get(f"{EVENTS}/{digest_hex}", headers=relay).json["retainedUntil"]


def test_the_first_object_that_may_go_counts(services: Services, photo: Path) -> None:
    later = UNTIL + timedelta(days=1)
    assert recorded(services, photo, {"pack": later, "media": UNTIL}) == "2040-01-01T00:00:00.000Z"


@pytest.mark.parametrize("missing", [None, ObjectNotFoundError("gone")])
def test_an_object_without_a_lock_leaves_the_event_without_one(
    services: Services, photo: Path, missing: object
) -> None:
    assert recorded(services, photo, {"pack": UNTIL, "media": missing}) is None
