"""Certificates outlive the key that they were signed with, until they end."""

from __future__ import annotations

from collections.abc import Callable

import falcon.testing
import pytest

from eventserver_core.testing.factories import make_package
from eventserver_core.wiring import Services
from eventserver_core.wiring.authority import make_authority

from .exchange import assert_problem, post_event
from .network import ADMINS, Admin, Relay

OLD = "b6d1c0f4a97e4e5c8a3f2d1b0c9e8f7a6b5c4d3e2f1a0b9c"
NEW = "1f9e8d7c6b5a4f3e2d1c0b9a8f7e6d5c4b3a2f1e0d9c8b7a"


@pytest.fixture
def before(make_services: Callable[..., Services]) -> tuple[Admin, Relay]:
    """An admin and a relay with certificates under the old key."""
    services = make_services(JWT_SECRET=OLD)
    make_authority(services.settings, "Test")
    client = falcon.testing.TestClient(services.application())
    alice, relay = Admin(client).bootstrap(services), Relay(client)
    alice.register(relay)
    alice.approve(relay)
    assert relay.enroll(alice.invite(relay)).status_code == 201
    return alice, relay


def test_certificates_under_the_old_key_work_until_they_end(
    make_services: Callable[..., Services], before: tuple[Admin, Relay]
) -> None:
    alice, relay = before
    services = make_services(JWT_SECRET=NEW, EVENTSERVER__AUTH__PREVIOUS_JWT_SECRETS=OLD)
    alice.client = relay.client = falcon.testing.TestClient(services.application())
    assert alice.get(ADMINS).status_code == 200
    assert post_event(relay.client, relay.headers, make_package()).status_code == 201
    assert relay.renew().status_code == 201
    assert alice.obtain_certificate().status_code == 201
    only_new = make_services(JWT_SECRET=NEW)
    alice.client = relay.client = falcon.testing.TestClient(only_new.application())
    assert alice.get(ADMINS).status_code == 200
    assert post_event(relay.client, relay.headers, make_package()).status_code == 201


def test_once_the_old_key_is_dropped_they_are_refused(
    make_services: Callable[..., Services], before: tuple[Admin, Relay]
) -> None:
    alice, relay = before
    client = falcon.testing.TestClient(make_services(JWT_SECRET=NEW).application())
    answer = client.simulate_get(ADMINS, headers=alice.headers)
    assert_problem(answer, 401, "certificate_invalid")
    answer = post_event(client, relay.headers, make_package())
    assert_problem(answer, 401, "certificate_invalid")
