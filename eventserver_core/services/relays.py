"""The registry of relays: who they are, and whether they take part."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from eventserver_core.backends.auth import Credentials
from eventserver_core.backends.provisioning import ProvisioningBackend
from eventserver_core.db.batches import BatchRepository
from eventserver_core.db.enrollment import EnrollmentRepository
from eventserver_core.db.relays import RelayRecord, RelayRepository
from eventserver_core.domain.digest import sha256_hex
from eventserver_core.domain.keys import public_jwk, thumbprint
from eventserver_core.domain.network_address import (
    DEFAULT_PORT,
    IPNetwork,
    NetworkAddress,
    refusal,
)
from eventserver_core.domain.relay import MAY_BECOME, STANDING, RelayState
from eventserver_core.errors import (
    AddressNotAllowedError,
    ConflictError,
    Fault,
    IdempotencyKeyReusedError,
    InvalidInputError,
    MachineNotAllowedError,
    NotFoundError,
    QuotaExceededError,
)
from eventserver_core.services.audit import AuditTrail

_MAX_REGION = 64
_MAX_NAMES = 15
_MAX_REASON = 500
_EXPIRING_WITHIN = timedelta(days=2)


@dataclass(frozen=True, slots=True)
class RelayLimits:
    """What relays may be.

    Attributes:
        allowed_networks: where they may be besides the public Internet.
        max_provisioned: how many may have a machine.
        provisioning_timeout: how long a launched one may take to enrol.
        own_host: the server's own name, which no relay may have; empty where nobody said.
    """

    allowed_networks: Sequence[IPNetwork]
    max_provisioned: int
    provisioning_timeout: timedelta
    own_host: str = ""


class Relays:
    """The registry.

    Args:
        relays: what is on record.
        enrollment: what they enrolled with.
        batches: counts events.
        provisioning: says what may be launched.
        audit: where it is written down.
        limits: what relays may be.
        clock: tells the time.
    """

    def __init__(
        self,
        relays: RelayRepository,
        enrollment: EnrollmentRepository,
        batches: BatchRepository,
        provisioning: Callable[[], ProvisioningBackend],
        audit: AuditTrail,
        limits: RelayLimits,
        clock: Callable[[], datetime],
    ) -> None:
        self._relays = relays
        self._enrollment = enrollment
        self._batches = batches
        self._provisioning = provisioning
        self._audit = audit
        self._limits = limits
        self._clock = clock

    def register(
        self,
        network_address: str,
        public_key: object,
        region: str,
        names: Sequence[str],
        by: Credentials,
    ) -> tuple[RelayRecord, bool]:
        """Put a relay on record that runs already; it waits for approval.

        Args:
            network_address: host, or host and port, where devices reach it.
            public_key: the JWK of the key that it will enrol with.
            region: where it is, for people.
            names: further names and addresses for its TLS certificate.
            by: the admin.

        Returns:
            The relay, and whether it is new; the same one again changes nothing.

        Raises:
            InvalidInputError: the address, a name, the key or the region can't be used.
            AddressNotAllowedError: it is at an address that must not be called.
            ConflictError: another relay has this address, or one of these names.
        """
        address = self._read_address(network_address, "/networkAddress")
        if len(names) > _MAX_NAMES:
            fault = Fault("/names", f"more than {_MAX_NAMES}")
            raise InvalidInputError("the relay has too many names", [fault])
        relay = self._new(
            RelayState.PENDING,
            region,
            by,
            network_address=str(address),
            names=tuple(self._read_name(name, f"/names/{i}") for i, name in enumerate(names)),
            public_key=public_jwk(public_key),
        )
        with self._audit.changing(by):
            for other in self._relays.in_states(STANDING):
                if _is_same(other, relay):
                    return other, False
                if clash := hosts_of(other) & hosts_of(relay):
                    raise ConflictError(
                        f"relay {other.id}, which is {other.state}, has {', '.join(sorted(clash))} "
                        "already"
                    )
            self._relays.insert(relay)
            self._audit.record(
                by,
                "relay_registered",
                relay.id,
                networkAddress=str(address),
                names=list(relay.names),
                region=region,
                thumbprint=thumbprint(relay.public_key or {}),
            )
        return relay, True

    def provision(
        self, region: str, instance_type: str, idempotency_key: str | None, by: Credentials
    ) -> RelayRecord:
        """Ask for a relay to be launched, which the worker then does.

        Args:
            region: the provider's name of a region.
            instance_type: the provider's name of a size.
            idempotency_key: the same key of the same admin gives the same relay.
            by: the admin.

        Raises:
            MachineNotAllowedError: the region or the type isn't allowed.
            IdempotencyKeyReusedError: the key came with another request.
            QuotaExceededError: there are as many as there may be.
        """
        key = None
        if idempotency_key is not None:
            key = sha256_hex(json.dumps([by.subject, idempotency_key]).encode())
        known = self._asked_before(key, region, instance_type)
        if known is not None:
            return known
        try:
            self._provisioning().accept(region, instance_type)
        except InvalidInputError as ex:
            raise MachineNotAllowedError(str(ex), ex.faults) from ex
        relay = self._new(
            RelayState.PROVISIONING,
            region,
            by,
            instance_type=instance_type,
            idempotency_key=key,
            next_look_at=self._clock(),
            give_up_at=self._clock() + self._limits.provisioning_timeout,
        )
        with self._audit.changing(by):
            # again, since the same request may have come in twice at once
            known = self._asked_before(key, region, instance_type)
            if known is not None:
                return known
            if self._relays.count_launched() >= self._limits.max_provisioned:
                raise QuotaExceededError(
                    f"{self._limits.max_provisioned} relays have machines, and no more may "
                    "(relays.max_provisioned); decommission one first"
                )
            self._relays.insert(relay)
            self._audit.record(
                by, "relay_requested", relay.id, region=region, instanceType=instance_type
            )
        return relay

    def find(self, relay_id: str) -> RelayRecord:
        """Return a relay.

        Raises:
            NotFoundError: there is none.
        """
        relay = self._relays.find(relay_id)
        if relay is None:
            raise NotFoundError("there is no such relay")
        return relay

    def page(self, after: str | None, limit: int, state: RelayState | None) -> list[RelayRecord]:
        """Return relays in full, in the order of their ids."""
        return self._relays.page(after, limit, state)

    def active_addresses(self) -> list[str]:
        """Return where the active relays are, and nothing more of them."""
        return self._relays.active_addresses()

    def set_state(
        self, relay_id: str, state: RelayState, reason: str | None, by: Credentials
    ) -> RelayRecord:
        """Approve or suspend a relay; every instance sees it within 5 seconds.

        Raises:
            ConflictError: it can't become that from what it is.
        """
        if reason is not None and (len(reason) > _MAX_REASON or not reason.isprintable()):
            fault = Fault("/reason", f"expected at most {_MAX_REASON} printable characters")
            raise InvalidInputError("the reason cannot be kept", [fault])
        with self._audit.changing(by):
            relay = self.find(relay_id)
            if relay.state is state and reason in (None, relay.reason):
                return relay
            if relay.state is not state and relay.state not in MAY_BECOME.get(state, ()):
                raise ConflictError(f"a relay that is {relay.state} cannot become {state}")
            self._relays.update(
                relay_id, state=state, reason=reason, state_changed_at=self._clock()
            )
            action = "relay_approved" if state is RelayState.ACTIVE else "relay_suspended"
            self._audit.record(by, action, relay_id, reason=reason)
            return self.find(relay_id)

    def decommission(self, relay_id: str, by: Credentials) -> None:
        """Take a relay out for good: its certificates end now, its machine soon.

        Doing it again changes nothing.
        """
        now = self._clock()
        with self._audit.changing(by):
            relay = self.find(relay_id)
            if relay.state is RelayState.DECOMMISSIONED:
                return
            self._enrollment.use_tokens(relay_id, now)
            self._enrollment.revoke_all_of(relay_id, "cessationOfOperation", now)
            self._relays.update(
                relay_id,
                state=RelayState.DECOMMISSIONED,
                state_changed_at=now,
                # the worker ends its machine; one that is being launched now has no id yet
                next_look_at=now if relay.instance_type is not None else None,
            )
            self._audit.record(by, "relay_decommissioned", relay_id, machineId=relay.machine_id)

    def stats(self) -> dict[str, Any]:
        """Return numbers over the network."""
        by_state = self._relays.count_by("state")
        return {
            "relays": {
                "total": sum(by_state.values()),
                "byState": {state.value: by_state.get(state, 0) for state in RelayState},
                "byRegion": self._relays.count_by("region"),
                "certificatesExpiringWithin2Days": self._relays.count_expiring(
                    self._clock() + _EXPIRING_WITHIN
                ),
            },
            "events": {
                "total": self._batches.count_events(),
                "notAnchored": self._batches.backlog().waiting,
            },
        }

    def _asked_before(self, key: str | None, region: str, instance_type: str) -> RelayRecord | None:
        known = self._relays.find_by_idempotency_key(key) if key else None
        if known is not None and (known.region, known.instance_type) != (region, instance_type):
            raise IdempotencyKeyReusedError(
                "this Idempotency-Key came with another region or type; use another one"
            )
        return known

    def _new(self, state: RelayState, region: str, by: Credentials, **members: Any) -> RelayRecord:
        if not 1 <= len(region) <= _MAX_REGION or not region.isprintable():
            fault = Fault("/region", f"expected 1 to {_MAX_REGION} printable characters")
            raise InvalidInputError("the region cannot be used", [fault])
        now = self._clock()
        blank: Mapping[str, Any] = dict.fromkeys(
            (
                "instance_type",
                "network_address",
                "public_key",
                "machine_id",
                "reason",
                "idempotency_key",
            )
        )
        return RelayRecord(
            **{
                "id": str(uuid.uuid4()),
                "state": state,
                "region": region,
                "names": (),
                "created_at": now,
                "created_by": by.subject,
                "state_changed_at": now,
                **blank,
                **members,
            }
        )

    def _read_address(self, text: str, where: str) -> NetworkAddress:
        try:
            address = NetworkAddress.parse(text)
        except ValueError as ex:
            raise InvalidInputError(
                "the network address cannot be used", [Fault(where, str(ex))]
            ) from ex
        if address.host == self._limits.own_host:
            raise InvalidInputError(
                "the network address cannot be used",
                [Fault(where, "that is EventServer's own (server.public_url)")],
            )
        if address.ip is not None:
            reason = refusal(address.ip, self._limits.allowed_networks)
            if reason is not None:
                raise AddressNotAllowedError(
                    f"{reason}; relays.allowed_networks may allow it", [Fault(where, reason)]
                )
        return address

    def _read_name(self, text: str, where: str) -> str:
        address = self._read_address(text, where)
        if address.port != DEFAULT_PORT:
            fault = Fault(where, "a name has no port")
            raise InvalidInputError("the name cannot be used", [fault])
        return address.host


def hosts_of(relay: RelayRecord) -> set[str]:
    """Return the names and addresses that a relay's TLS certificate may have."""
    hosts = set(relay.names)
    if relay.network_address is not None:
        hosts.add(NetworkAddress.parse(relay.network_address).host)
    return hosts


def _is_same(known: RelayRecord, sent: RelayRecord) -> bool:
    members = ("network_address", "region", "names", "public_key")
    return all(getattr(known, name) == getattr(sent, name) for name in members)
