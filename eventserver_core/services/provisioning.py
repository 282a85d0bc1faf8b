"""Follows launched relays until they take part, and ends machines that nobody needs.

Done by the worker, one step at a time, each of which begins with what is on record and what the
provider says: it can be broken off anywhere and done again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from eventserver_core.backends.provisioning import (
    Enrollment,
    LaunchRequest,
    Machine,
    MachineState,
    ProvisioningBackend,
    SweepsMachines,
)
from eventserver_core.db.relays import RelayRecord, RelayRepository
from eventserver_core.domain.network_address import NetworkAddress
from eventserver_core.domain.relay import ENDED, STANDING, RelayState
from eventserver_core.errors import (
    AddressNotAllowedError,
    BackendContractError,
    BackendUnavailableError,
    ConflictError,
    InvalidInputError,
    LeaseLostError,
    QuotaExceededError,
)
from eventserver_core.log import get_logger
from eventserver_core.services.audit import WORKER, AuditTrail
from eventserver_core.services.enrollment import Invitations
from eventserver_core.services.relay_health import HealthReport
from eventserver_core.services.relays import hosts_of

_AT_ONCE = 10
_LOOK_AFTER_INTERVAL = timedelta(minutes=5)
_OVER = (MachineState.TERMINATED, MachineState.FAILED)
_SWEEP_INTERVAL = timedelta(minutes=5)
_log = get_logger()


@dataclass(frozen=True, slots=True)
class FollowLimits:
    """How patient to be.

    Attributes:
        interval: how often a relay is looked at.
        sweep_after: how long a machine may be without a relay.
        can_enroll: whether machines are told where to enrol; without the server's public address
            they can't be.
    """

    interval: timedelta
    sweep_after: timedelta
    can_enroll: bool


class FollowRelays:
    """What a worker does for relays.

    Args:
        provisioning: launches and ends machines.
        relays: the registry.
        invitations: makes the tokens that machines enrol with.
        audit: where it is written down.
        check_health: asks a relay; a launched one takes part once it answers.
        limits: how patient to be.
        clock: tells the time.
    """

    def __init__(
        self,
        provisioning: Callable[[], ProvisioningBackend],
        relays: RelayRepository,
        invitations: Invitations,
        audit: AuditTrail,
        check_health: Callable[[NetworkAddress], HealthReport],
        limits: FollowLimits,
        clock: Callable[[], datetime],
    ) -> None:
        self._provisioning = provisioning
        self._relays = relays
        self._invitations = invitations
        self._audit = audit
        self._check_health = check_health
        self._limits = limits
        self._clock = clock
        self._sweep_at: datetime | None = None

    def run(self, still_mine: Callable[[], None]) -> None:
        """Take every relay that is due one step further, and sweep from time to time.

        Args:
            still_mine: called before each call of the provider; raises LeaseLostError where
                another worker has taken over.

        Raises:
            LeaseLostError: another worker has taken over.
        """
        for due in self._relays.due(self._clock(), _AT_ONCE):
            still_mine()
            relay = self._relays.find(due.id)  # what was done for others before took its time
            if relay is None:
                continue
            try:
                self._step(relay)
            except BackendUnavailableError as ex:
                _log.warning("relay_not_followed", relay=relay.id, error=str(ex))
                if self._is_late(relay) and relay.enrolled_at is None:
                    self._fail(relay, f"it could not be launched in time: {ex}")
                else:
                    self._look_again(relay, str(ex))
                return  # the others would wait for the same provider
            except LeaseLostError:
                raise
            except Exception as ex:  # noqa: BLE001 - one relay must never stop all others
                _log.warning("relay_not_followed", relay=relay.id, error=str(ex), exc_info=ex)
                if relay.state is RelayState.PROVISIONING and self._is_late(relay):
                    self._fail(relay, f"it could not be launched: {type(ex).__name__}")
                else:
                    self._look_again(relay, type(ex).__name__)
        self._sweep(still_mine)

    def _step(self, relay: RelayRecord) -> None:
        if relay.state in ENDED:
            self._end(relay)
        elif relay.state is not RelayState.PROVISIONING:
            self._look_after(relay)
        elif relay.machine_id is None:
            self._launch(relay)
        else:
            self._follow(relay, relay.machine_id)

    def _look_after(self, relay: RelayRecord) -> None:
        """See whether the machine of a relay that takes part is still there."""
        if relay.machine_id is None:
            self._put_off(relay, None)
            return
        machine = self._provisioning().describe(relay.machine_id)
        if machine is not None and machine.state in _OVER:
            self._fail(relay, "its machine has ended")
            return
        if machine is None:
            # that nobody knows it is not that it ended: another plugin or account may be asked
            _log.warning("machine_not_found", relay=relay.id, machine=relay.machine_id)
        self._put_off(relay, self._clock() + _LOOK_AFTER_INTERVAL)

    def _put_off(self, relay: RelayRecord, until: datetime | None) -> None:
        with self._audit.changing():
            current = self._relays.find(relay.id)
            if current is not None and current.state not in ENDED:
                self._relays.update(relay.id, next_look_at=until)

    def _launch(self, relay: RelayRecord) -> None:
        if self._is_late(relay):
            self._fail(relay, "no machine could be launched in time")
            return
        enrollment: Enrollment | None = None
        if self._limits.can_enroll:
            try:
                enrollment = self._invitations.invite(relay.id, WORKER)
            except ConflictError:
                return  # it was decommissioned meanwhile, and is looked at again for that
        try:
            machine = self._provisioning().launch(
                LaunchRequest(relay.id, relay.region, relay.instance_type or "", enrollment)
            )
        except (InvalidInputError, QuotaExceededError) as ex:
            self._fail(relay, str(ex))
            return
        with self._audit.changing():
            # whatever became of the relay meanwhile, its machine is on record now
            self._relays.update(relay.id, machine_id=machine.id, next_look_at=self._clock())
            self._audit.record(WORKER, "relay_launched", relay.id, machineId=machine.id)
        _log.info("relay_launched", relay=relay.id, machine=machine.id)

    def _follow(self, relay: RelayRecord, machine_id: str) -> None:
        machine = self._provisioning().describe(machine_id)
        relay = self._relays.find(relay.id) or relay  # it may have enrolled meanwhile
        if machine is None or machine.state in _OVER:
            said = machine.reason if machine else None
            self._fail(relay, f"its machine has ended{f': {said}' if said else ''}")
        elif relay.network_address is None and machine.address is not None:
            self._take_address(relay, _address_of(machine))
        elif relay.enrolled_at is not None and relay.network_address is not None:
            self._await_answer(relay, relay.network_address)
        elif self._is_late(relay):
            self._fail(relay, machine.reason or self._why_late())
        else:
            self._look_again(relay, machine.reason)

    def _why_late(self) -> str:
        if self._limits.can_enroll:
            return "it did not enrol in time"
        return "it did not enrol in time: server.public_url is not set, so it was not told where"

    def _take_address(self, relay: RelayRecord, address: NetworkAddress) -> None:
        with self._audit.changing():
            others = self._relays.in_states(STANDING)
            if any(address.host in hosts_of(other) for other in others if other.id != relay.id):
                taken = True
            else:
                taken = False
                self._relays.update(
                    relay.id, network_address=str(address), next_look_at=self._clock()
                )
        if taken:
            self._fail(relay, f"another relay is at {address.host} already")

    def _await_answer(self, relay: RelayRecord, network_address: str) -> None:
        """Let a relay that has its certificates take part once it serves with them."""
        try:
            report = self._check_health(NetworkAddress.parse(network_address))
        except AddressNotAllowedError as ex:
            self._fail(relay, f"{ex}; see relays.allowed_networks")
            return
        detail = _not_serving(report, relay.id)
        if detail is not None:
            if self._is_late(relay):
                self._fail(relay, f"it enrolled, but does not serve: {detail}")
            else:
                self._look_again(relay, f"it enrolled, but does not serve yet: {detail}")
            return
        with self._audit.changing():
            current = self._relays.find(relay.id)
            if current is None or current.state is not RelayState.PROVISIONING:
                return
            self._relays.update(
                relay.id,
                state=RelayState.ACTIVE,
                reason=None,
                state_changed_at=self._clock(),
                next_look_at=self._clock() + _LOOK_AFTER_INTERVAL,
                give_up_at=None,
            )
            self._audit.record(WORKER, "relay_activated", relay.id)
        _log.info("relay_activated", relay=relay.id)

    def _fail(self, relay: RelayRecord, reason: str) -> None:
        now = self._clock()
        with self._audit.changing():
            current = self._relays.find(relay.id)
            if current is None or current.state in ENDED:
                return  # it was decommissioned while this was found out
            self._relays.update(
                relay.id,
                state=RelayState.FAILED,
                reason=reason,
                state_changed_at=now,
                next_look_at=now,
                give_up_at=None,
            )
            self._audit.record(WORKER, "relay_failed", relay.id, reason=reason)
        _log.warning("relay_failed", relay=relay.id, reason=reason)

    def _end(self, relay: RelayRecord) -> None:
        """End a relay's machine, and look until the provider says that it is gone."""
        provisioning = self._provisioning()
        if relay.machine_id is None:
            # the answer to its launch may have been lost, and the machine run all the same
            found = _machine_of(provisioning, relay.id)
            self._relays.update(
                relay.id, machine_id=found, next_look_at=self._clock() if found else None
            )
            return
        machine = provisioning.describe(relay.machine_id)
        if machine is not None and machine.state is not MachineState.TERMINATED:
            provisioning.terminate(relay.machine_id)
            machine = provisioning.describe(relay.machine_id)
        if machine is not None and machine.state is not MachineState.TERMINATED:
            self._look_again(relay)
            return
        with self._audit.changing():
            self._relays.update(relay.id, machine_id=None, next_look_at=None)
            self._audit.record(WORKER, "machine_ended", relay.id, machineId=relay.machine_id)
        _log.info("machine_ended", relay=relay.id, machine=relay.machine_id)

    def _sweep(self, still_mine: Callable[[], None]) -> None:
        """End machines that no relay has claimed for long.

        Long, since a database that was restored from yesterday knows nothing of today's relays.
        """
        now = self._clock()
        if self._sweep_at is not None and now < self._sweep_at:
            return
        self._sweep_at = now + min(_SWEEP_INTERVAL, self._limits.sweep_after)
        provisioning = self._provisioning()
        if not isinstance(provisioning, SweepsMachines):
            return
        try:
            still_mine()
            found = {machine.id: (key, machine) for key, machine in provisioning.launched()}
            strays = {id_ for id_, (key, _) in found.items() if not self._claimed(key, id_)}
            for machine_id, since in self._relays.unclaimed(strays, now).items():
                if now - since < self._limits.sweep_after:
                    continue
                still_mine()
                provisioning.terminate(machine_id)
                self._audit.record(WORKER, "machine_swept", machine_id, key=found[machine_id][0])
                _log.warning("machine_swept", machine=machine_id)
        except BackendUnavailableError as ex:
            _log.warning("machines_not_swept", error=str(ex))

    def _claimed(self, key: str, machine_id: str) -> bool:
        relay = self._relays.find(key)
        if relay is None:
            return False
        return relay.machine_id in (None, machine_id) and relay.state not in ENDED

    def _is_late(self, relay: RelayRecord) -> bool:
        return relay.give_up_at is not None and self._clock() >= relay.give_up_at

    def _look_again(self, relay: RelayRecord, reason: str | None = None) -> None:
        changes: dict[str, Any] = {"next_look_at": self._clock() + self._limits.interval}
        if relay.state is RelayState.PROVISIONING:
            changes["reason"] = reason  # admins see why it takes so long
        self._relays.update(relay.id, **changes)


def _machine_of(provisioning: ProvisioningBackend, relay_id: str) -> str | None:
    if not isinstance(provisioning, SweepsMachines):
        return None
    return next((machine.id for key, machine in provisioning.launched() if key == relay_id), None)


def _address_of(machine: Machine) -> NetworkAddress:
    try:
        return NetworkAddress.parse(machine.address or "")
    except ValueError as ex:
        detail = f"describe answered with the address {machine.address!r}: {ex}"
        raise BackendContractError("provisioning", detail) from ex


def _not_serving(report: HealthReport, relay_id: str) -> str | None:
    if not report.healthy:
        return report.detail
    named = (report.answer or {}).get("relayId", relay_id)
    if named != relay_id:  # TLS shows the address only, and an old relay may still serve there
        return f"what answers at its address says that it is relay {named!r:.80}"
    return None
