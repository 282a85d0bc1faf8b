"""The audit trail: what is in it, and that it can't be changed in silence."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import falcon.testing
import pytest

from eventserver_core.backends.auth import Role
from eventserver_core.errors import EvidenceDamagedError, InvalidInputError
from eventserver_core.testing.factories import make_package
from eventserver_core.wiring import Services

from .exchange import EVENTS, assert_problem, bearer, certificate, pointers, post_event
from .network import ADMINS, AUDIT, Admin


def test_each_entry_follows_the_one_before(alice: Admin) -> None:
    for number in range(4):
        alice.authorize(Admin(alice.client, f"admin-{number}"))
    found = alice.get(AUDIT).json
    entries = found["entries"]
    assert [entry["sequence"] for entry in entries] == [1, 2, 3, 4, 5]
    assert entries[0]["previousDigest"] == "0" * 64
    for before, entry in itertools.pairwise(entries):
        assert entry["previousDigest"] == before["digest"]
    assert found["head"] == {"sequence": 5, "digest": entries[-1]["digest"]}


def test_it_is_read_page_by_page(alice: Admin) -> None:
    for number in range(4):
        alice.authorize(Admin(alice.client, f"admin-{number}"))
    pages, after = [], 0
    while entries := alice.get(AUDIT, after=after, limit=2).json["entries"]:
        pages.append([entry["sequence"] for entry in entries])
        after = entries[-1]["sequence"]
    assert pages == [[1, 2], [3, 4], [5]]


@pytest.mark.parametrize(
    "query",
    ["after=-1", "after=x", "limit=0", "limit=1001", "limit=1e2", "after=99999999999999999999"],
)
def test_a_page_that_cannot_be_is_refused(alice: Admin, query: str) -> None:
    answer = alice.client.simulate_get(AUDIT, headers=alice.headers, query_string=query)
    assert_problem(answer, 400, "invalid_request")


def test_who_tried_an_admins_door_is_written_down(services: Services, alice: Admin) -> None:
    relay = bearer(certificate(services, Role.RELAY, "relay-9"))
    assert_problem(alice.client.simulate_get(ADMINS, headers=relay), 403, "forbidden")
    entry = alice.get(AUDIT).json["entries"][-1]
    assert (entry["action"], entry["actor"], entry["role"]) == (
        "permission_denied",
        "relay-9",
        "relay",
    )
    assert entry["target"] == f"GET {ADMINS}"
    assert entry["requestId"]


def test_whoever_tries_doors_is_slowed_down(
    make_services: Callable[..., Services],
) -> None:
    services = make_services(EVENTSERVER__SECURITY__RATE_LIMIT_PER_MINUTE="5")
    client = falcon.testing.TestClient(services.application())
    relay = bearer(certificate(services, Role.RELAY, "relay-9"))
    statuses = [client.simulate_get(ADMINS, headers=relay).status_code for _ in range(20)]
    assert statuses == [403] * 5 + [429] * 15
    # once an hour for each door, since entries are kept for good
    assert services.network.audit_entries.head().sequence == 1


def test_the_head_is_anchored_with_the_events(
    services: Services, alice: Admin, anchor_all: Callable[[], None]
) -> None:
    worker = services.worker()
    worker.run_until_idle()
    anchor_all()
    (checkpoint,) = alice.get(AUDIT).json["checkpoints"]
    assert checkpoint["sequence"] == 1
    assert checkpoint["digest"] == alice.get(AUDIT).json["head"]["digest"]
    verified = alice.client.simulate_get(f"{EVENTS}/{checkpoint['eventHash']}/verify").json
    assert verified["exists"] is True
    proof = alice.client.simulate_get(f"{EVENTS}/{checkpoint['eventHash']}/proof")
    assert proof.status_code == 200
    package = alice.get(f"{EVENTS}/{checkpoint['eventHash']}")
    assert package.json["submittedBy"]["subject"] == "eventserver"


def test_a_trail_that_holds_has_no_faults(services: Services, alice: Admin) -> None:
    alice.authorize(Admin(alice.client, "bob"))
    services.worker().run_until_idle()
    assert list(services.network.audit.faults()) == []


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE audit_entries SET actor = 'nobody' WHERE sequence = 2",
        "UPDATE audit_entries SET details = '{}' WHERE sequence = 2",
        "UPDATE audit_entries SET at = at + 1 WHERE sequence = 1",
        "DELETE FROM audit_entries WHERE sequence = 2",
        "DELETE FROM audit_entries WHERE sequence = 3",
        "DELETE FROM audit_entries",
        "UPDATE audit_head SET sequence = 2",
    ],
)
def test_a_change_is_found(services: Services, alice: Admin, change: str) -> None:
    for name in ("bob", "carol"):
        alice.authorize(Admin(alice.client, name))
    assert list(services.network.audit.faults()) == []
    with services.database.transaction() as database:
        database.execute_sql(change)
    assert list(services.network.audit.faults())


def test_a_trail_that_was_cut_off_with_its_checkpoints_is_found(
    services: Services, alice: Admin
) -> None:
    alice.authorize(Admin(alice.client, "bob"))
    services.worker().run_until_idle()
    with services.database.transaction() as database:
        database.execute_sql("DELETE FROM audit_checkpoints")
        database.execute_sql("DELETE FROM audit_entries WHERE sequence > 1")
        database.execute_sql(
            "UPDATE audit_head SET sequence = 1, digest = (SELECT digest FROM audit_entries)"
        )
    (fault,) = services.network.audit.faults()
    assert "anchors a trail that is not this one" in fault


def test_a_checkpoint_that_a_worker_could_not_write_down_is_no_fault(
    services: Services, alice: Admin
) -> None:
    services.worker().run_until_idle()
    with services.database.transaction() as database:
        database.execute_sql("DELETE FROM audit_checkpoints")
    assert list(services.network.audit.faults()) == []


def test_nobody_else_speaks_for_the_trail(services: Services, alice: Admin) -> None:
    relay = bearer(certificate(services, Role.RELAY, "relay-9"))
    package = make_package(
        annotations=[
            {"labelId": "note", "value": "x"},
            {"labelId": "audit_digest", "value": "ab" * 32},
        ]
    )
    answer = post_event(alice.client, relay, package)
    assert_problem(answer, 400, "invalid_package")
    assert pointers(answer) == ["/annotations/1/labelId"]
    with pytest.raises(InvalidInputError):
        certificate(services, Role.RELAY, "eventserver")


def test_a_head_that_is_gone_is_told(services: Services, alice: Admin) -> None:
    with services.database.transaction() as database:
        database.execute_sql("DELETE FROM audit_head")
    with pytest.raises(EvidenceDamagedError, match="head"):
        list(services.network.audit.faults())
