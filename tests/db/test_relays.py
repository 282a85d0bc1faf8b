"""Relays' rows: what is on record, what is found, and what is counted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import peewee
import pytest

from eventserver_core.db.connection import Database
from eventserver_core.db.relays import RelayRecord, RelayRepository
from eventserver_core.domain.relay import ENDED, STANDING, RelayState

from .network_rows import JWK, new_relay, relay_id
from .rows import NOW

FULL: dict[str, Any] = {
    "state": RelayState.PROVISIONING,
    "region": "eu-west-1",
    "instance_type": "t3.micro",
    "network_address": "[2001:db8::1]:8443",
    "names": ("relay.example", "192.0.2.1"),
    "public_key": JWK,
    "machine_id": "i-0123",
    "reason": "«why» 🦊",
    "idempotency_key": "cd" * 32,
    "created_by": "admin-7",
    "enrolled_at": NOW + timedelta(seconds=1),
    "certificate_expires_at": NOW + timedelta(seconds=2),
    "tls_serial": "0a",
    "tls_expires_at": NOW + timedelta(seconds=3),
    "next_look_at": NOW + timedelta(seconds=4),
    "give_up_at": NOW + timedelta(seconds=5),
}


@pytest.fixture
def relays(database: Database) -> RelayRepository:
    return RelayRepository(database)


def fill(relays: RelayRepository, *rows: RelayRecord) -> None:
    for row in rows:
        relays.insert(row)


class TestOneRelay:
    def test_it_is_read_as_it_was_put_on_record(self, relays: RelayRepository) -> None:
        bare = new_relay(0, network_address=None, public_key=None)
        full = new_relay(1, **FULL)
        fill(relays, bare, full)
        assert relays.find(bare.id) == bare
        assert relays.find(full.id) == full
        assert relays.find(relay_id(2)) is None

    @pytest.mark.parametrize("name", sorted(FULL))
    def test_each_member_can_be_changed_alone(self, relays: RelayRepository, name: str) -> None:
        fill(relays, new_relay(0), new_relay(1))
        relays.update(relay_id(0), **{name: FULL[name]})
        assert relays.find(relay_id(0)) == replace(new_relay(0), **{name: FULL[name]})
        assert relays.find(relay_id(1)) == new_relay(1)

    def test_members_can_be_taken_away(self, relays: RelayRepository) -> None:
        fill(relays, new_relay(0, **FULL))
        nothing: dict[str, Any] = dict.fromkeys(
            ("public_key", "machine_id", "reason", "next_look_at", "give_up_at")
        )
        relays.update(relay_id(0), **nothing)
        assert relays.find(relay_id(0)) == new_relay(0, **(FULL | nothing))

    def test_there_is_one_for_an_idempotency_key(self, relays: RelayRepository) -> None:
        asked = new_relay(0, idempotency_key="ab" * 32)
        fill(relays, asked, new_relay(1), new_relay(2))
        assert relays.find_by_idempotency_key("ab" * 32) == asked
        assert relays.find_by_idempotency_key("cd" * 32) is None
        with pytest.raises(peewee.IntegrityError):
            relays.insert(new_relay(3, idempotency_key="ab" * 32))
        assert relays.find(relay_id(3)) is None

    def test_of_many_at_once_one_gets_an_idempotency_key(
        self, relays: RelayRepository, at_once: Callable[..., list[Any]]
    ) -> None:
        rows = [new_relay(number, idempotency_key="ab" * 32) for number in range(10)]
        results = at_once([lambda row=row: relays.insert(row) for row in rows])
        assert sum(result is None for result in results) == 1
        assert all(isinstance(r, peewee.IntegrityError) for r in results if r is not None)
        assert relays.find_by_idempotency_key("ab" * 32) == rows[results.index(None)]

    def test_those_that_stand_are_told_from_those_that_ended(self, relays: RelayRepository) -> None:
        rows = [new_relay(n, state=state) for n, state in enumerate(RelayState)]
        fill(relays, *rows)
        assert relays.in_states(STANDING) == [row for row in rows if row.state not in ENDED]
        assert relays.in_states([]) == []

    def test_machines_that_nobody_claims_are_remembered_as_long_as_they_are_seen(
        self, relays: RelayRepository, soon: Callable[[float], datetime]
    ) -> None:
        assert relays.unclaimed(["m-1", "m-2"], soon(0)) == {"m-1": soon(0), "m-2": soon(0)}
        assert relays.unclaimed(["m-2", "m-3"], soon(5)) == {"m-2": soon(0), "m-3": soon(5)}
        assert relays.unclaimed([], soon(6)) == {}
        assert relays.unclaimed(["m-2"], soon(7)) == {"m-2": soon(7)}


class TestLists:
    def test_pages_follow_the_ids_and_leave_none_out(self, relays: RelayRepository) -> None:
        rows = [new_relay(number) for number in range(7)]
        fill(relays, *reversed(rows))
        found: list[RelayRecord] = []
        after: str | None = None
        while page := relays.page(after, 3):
            assert len(page) <= 3
            found += page
            after = page[-1].id
        assert found == rows

    def test_a_page_can_be_of_one_state(self, relays: RelayRepository) -> None:
        states = list(RelayState)
        rows = [new_relay(n, state=states[n % len(states)]) for n in range(12)]
        fill(relays, *rows)
        for state in states:
            wanted = [row for row in rows if row.state is state]
            assert relays.page(None, 100, state) == wanted
            assert relays.page(wanted[0].id, 100, state) == wanted[1:]

    def test_only_the_active_ones_that_have_certificates_are_told(
        self, relays: RelayRepository
    ) -> None:
        for number, state in enumerate(RelayState):
            fill(relays, new_relay(number, state=state, enrolled_at=NOW))
        fill(relays, new_relay(20), *(new_relay(n, enrolled_at=NOW) for n in (21, 30)))
        active = list(RelayState).index(RelayState.ACTIVE)
        told = [f"relay-{number}.example" for number in (active, 21, 30)]
        assert relays.active_addresses() == told

    def test_the_most_overdue_comes_first(
        self, relays: RelayRepository, soon: Callable[[float], datetime]
    ) -> None:
        rows = [new_relay(n, next_look_at=soon(seconds)) for n, seconds in enumerate((5, 0, 3, 9))]
        fill(relays, *rows, new_relay(9))
        assert relays.due(soon(-0.001), 10) == []
        assert relays.due(soon(5), 10) == [rows[1], rows[2], rows[0]]
        assert relays.due(soon(100), 2) == [rows[1], rows[2]]


class TestCounts:
    def test_nothing_is_counted_at_first(self, relays: RelayRepository) -> None:
        assert relays.count_by("state") == relays.count_by("region") == {}
        assert relays.count_launched() == relays.count_expiring(NOW) == 0

    def test_relays_are_counted_by_state_and_by_region(self, relays: RelayRepository) -> None:
        states = [*RelayState, RelayState.ACTIVE]
        regions = [f"region-{state}" for state in states]
        rows = zip(states, regions, strict=True)
        fill(relays, *[new_relay(n, state=s, region=r) for n, (s, r) in enumerate(rows)])
        assert relays.count_by("state") == dict.fromkeys(RelayState, 1) | {RelayState.ACTIVE: 2}
        assert relays.count_by("region") == {"region-active": 2, "region-suspended": 1}

    def test_whoever_has_a_machine_or_will_counts_as_launched(
        self, relays: RelayRepository
    ) -> None:
        fill(relays, *[new_relay(n, state=state) for n, state in enumerate(RelayState)])
        assert relays.count_launched() == 1
        relays.update(relay_id(list(RelayState).index(RelayState.PROVISIONING)), machine_id="i-0")
        assert relays.count_launched() == 1
        for number, state in enumerate(RelayState):
            fill(relays, new_relay(20 + number, state=state, machine_id=f"i-{number}"))
        assert relays.count_launched() == 1 + len(RelayState)

    def test_active_relays_whose_certificates_end_are_counted(
        self, relays: RelayRepository, soon: Callable[[float], datetime]
    ) -> None:
        fill(
            relays,
            new_relay(0, certificate_expires_at=soon(5), tls_expires_at=soon(100)),
            new_relay(1, certificate_expires_at=soon(100), tls_expires_at=soon(6)),
            new_relay(2, certificate_expires_at=soon(5), state=RelayState.SUSPENDED),
            new_relay(3),
        )
        assert relays.count_expiring(soon(5)) == 0
        assert relays.count_expiring(soon(5.001)) == 1
        assert relays.count_expiring(soon(6.001)) == 2
        assert relays.count_expiring(soon(200)) == 2
