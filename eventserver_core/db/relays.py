"""Queries on relays."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from peewee import fn

from eventserver_core.db.connection import Database
from eventserver_core.db.models import Relay, UnclaimedMachine
from eventserver_core.domain.relay import RelayState


@dataclass(frozen=True, slots=True)
class RelayRecord:
    """A relay, as it is on record.

    Attributes:
        id: what its certificates have as their subject.
        network_address: host, or host and port, where devices reach it.
        names: further names and addresses that its TLS certificate may have.
        public_key: the JWK of its key; None until it enrolled, where it was launched.
        machine_id: the provider's name of its machine, while there is one.
        reason: why it is in its state, where somebody or something gave one.
        next_look_at: when the worker looks after it; None where there is nothing to do.
        give_up_at: when a relay that is being provisioned has failed.
    """

    id: str
    state: RelayState
    region: str
    instance_type: str | None
    network_address: str | None
    names: Sequence[str]
    public_key: Mapping[str, Any] | None
    machine_id: str | None
    reason: str | None
    idempotency_key: str | None
    created_at: datetime
    created_by: str
    state_changed_at: datetime
    enrolled_at: datetime | None = None
    certificate_expires_at: datetime | None = None
    tls_serial: str | None = None
    tls_expires_at: datetime | None = None
    next_look_at: datetime | None = None
    give_up_at: datetime | None = None


_COLUMNS = tuple(RelayRecord.__dataclass_fields__)


class RelayRepository:
    """The registry. Whoever changes it writes that down in the same transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def insert(self, relay: RelayRecord) -> None:
        """Put a relay on record."""
        values = {name: getattr(relay, name) for name in _COLUMNS}
        with self._database.transaction() as database:
            Relay.insert(**_stored(values)).execute(database)

    def update(self, relay_id: str, **changes: Any) -> None:
        """Change some of a relay's members."""
        query = Relay.update(**_stored(changes)).where(Relay.id == relay_id)
        with self._database.transaction() as database:
            query.execute(database)

    def find(self, relay_id: str) -> RelayRecord | None:
        """Return a relay."""
        return self._first(Relay.id == relay_id)

    def find_by_idempotency_key(self, key: str) -> RelayRecord | None:
        """Return the relay that was asked for with this key."""
        return self._first(Relay.idempotency_key == key)

    def in_states(self, states: Collection[RelayState]) -> list[RelayRecord]:
        """Return every relay that is in one of these states."""
        return self._all(Relay.select().where(Relay.state.in_(list(states))).order_by(Relay.id))

    def page(
        self, after: str | None, limit: int, state: RelayState | None = None
    ) -> list[RelayRecord]:
        """Return relays in the order of their ids, from the one after ``after`` on."""
        query = Relay.select().order_by(Relay.id).limit(limit)
        if after is not None:
            query = query.where(Relay.id > after)
        if state is not None:
            query = query.where(Relay.state == state)
        return self._all(query)

    def active_addresses(self) -> list[str]:
        """Return where the active relays are that have certificates."""
        query = (
            Relay.select(Relay.network_address)
            .where(Relay.state == RelayState.ACTIVE, Relay.enrolled_at.is_null(False))
            .order_by(Relay.network_address)
        )
        with self._database.session() as database:
            return [address for (address,) in query.tuples().execute(database)]

    def due(self, now: datetime, limit: int) -> list[RelayRecord]:
        """Return the relays that the worker must look after now, the most overdue first."""
        query = Relay.select().where(Relay.next_look_at <= now)
        return self._all(query.order_by(Relay.next_look_at, Relay.id).limit(limit))

    def count_launched(self) -> int:
        """Return how many relays have a machine, or are about to get one."""
        launched = Relay.machine_id.is_null(False) | (Relay.state == RelayState.PROVISIONING)
        with self._database.session() as database:
            return int(Relay.select().where(launched).count(database))

    def count_by(self, column: str) -> dict[str, int]:
        """Return how many relays there are by ``state`` or, of those not ended, by ``region``."""
        field = getattr(Relay, column)
        query = Relay.select(field, fn.COUNT(Relay.id)).group_by(field).order_by(field)
        if column != "state":
            query = query.where(Relay.state.in_([RelayState.ACTIVE, RelayState.SUSPENDED]))
        with self._database.session() as database:
            return {str(name): int(count) for name, count in query.tuples().execute(database)}

    def count_expiring(self, before: datetime) -> int:
        """Return how many active relays have certificates that end before a moment."""
        ending = (Relay.tls_expires_at < before) | (Relay.certificate_expires_at < before)
        query = Relay.select().where(Relay.state == RelayState.ACTIVE, ending)
        with self._database.session() as database:
            return int(query.count(database))

    def unclaimed(self, machine_ids: Collection[str], now: datetime) -> dict[str, datetime]:
        """Remember the machines that nobody claims, and forget the others.

        Returns:
            Since when each of them has been seen so.
        """
        row = UnclaimedMachine
        with self._database.transaction() as database:
            row.delete().where(row.machine_id.not_in(list(machine_ids))).execute(database)
            for machine_id in machine_ids:
                row.insert(machine_id=machine_id, seen_at=now).on_conflict_ignore().execute(
                    database
                )
            seen = row.select().where(row.machine_id.in_(list(machine_ids)))
            return {found.machine_id: found.seen_at for found in seen.execute(database)}

    def _first(self, *conditions: Any) -> RelayRecord | None:
        with self._database.session() as database:
            row = Relay.select().where(*conditions).first(database)
        return None if row is None else _record(row)

    def _all(self, query: Any) -> list[RelayRecord]:
        with self._database.session() as database:
            return [_record(row) for row in query.execute(database)]


def _stored(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values as the columns have them."""
    stored = dict(values)
    if "names" in stored:
        stored["names"] = json.dumps(list(stored["names"]))
    if stored.get("public_key") is not None:
        stored["public_key"] = json.dumps(dict(stored["public_key"]), sort_keys=True)
    return stored


def _record(row: Any) -> RelayRecord:
    values = {name: getattr(row, name) for name in _COLUMNS}
    values["state"] = RelayState(row.state)
    values["names"] = tuple(json.loads(row.names))
    values["public_key"] = json.loads(row.public_key) if row.public_key else None
    return RelayRecord(**values)
