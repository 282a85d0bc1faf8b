"""A provider that does as it is told, and the registry and the worker that ask it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from eventserver_auth_cert import CertificateAuth
from eventserver_auth_cert.keys import KeyRing, secret_key

from eventserver_core.backends.auth import Role
from eventserver_core.backends.provisioning import (
    Enrollment,
    LaunchRequest,
    Machine,
    MachineState,
    ProvisioningBackend,
)
from eventserver_core.db.audit import AuditRepository
from eventserver_core.db.batches import BatchRepository
from eventserver_core.db.certificates import CertificateRepository
from eventserver_core.db.connection import Database
from eventserver_core.db.enrollment import EnrollmentRepository
from eventserver_core.db.relays import RelayRecord, RelayRepository
from eventserver_core.domain.network_address import NetworkAddress
from eventserver_core.errors import (
    AddressNotAllowedError,
    BackendUnavailableError,
    LeaseLostError,
)
from eventserver_core.pki.authority import CertificateAuthority, create_authority
from eventserver_core.services.audit import AuditTrail
from eventserver_core.services.enrollment import EnrollmentLimits, Enrollments, Invitations
from eventserver_core.services.identity import Identities
from eventserver_core.services.provisioning import FollowLimits, FollowRelays
from eventserver_core.services.relay_health import HealthReport
from eventserver_core.services.relays import RelayLimits, Relays
from eventserver_core.services.standing import Standings
from eventserver_core.testing.clock import ManualClock
from tests.db.network_rows import credentials
from tests.unit.pki.samples import PASSPHRASE, request

INTERVAL, SWEEP_AFTER, TIMEOUT = 5, 3600, 900
ADMIN = credentials("admin-1", Role.ADMIN)
SERVER = "https://server.example"
ADDRESS = "203.0.113.7:8443"
RUNNING = MachineState.RUNNING


class Provider:
    """A provider in memory that keeps the contract, and does as it is told.

    Attributes:
        down: whether it can't be reached.
        refusal: what launches are refused with.
        lingers: whether a machine takes until the test says so to end.
        before: what to call at the start of a method, by its name.
        after: what to call when its work is done.
        machines: every machine there ever was, by its id.
        enrollments: what each launch brought, by its key.
        calls: the names of the methods that were called.
    """

    def __init__(self) -> None:
        self.down = False
        self.refusal: Exception | None = None
        self.lingers = False
        self.before: dict[str, Callable[[], object]] = {}
        self.after: dict[str, Callable[[], object]] = {}
        self.machines: dict[str, Machine] = {}
        self.enrollments: dict[str, list[Enrollment | None]] = {}
        self.calls: list[str] = []
        self._ids: dict[str, str] = {}

    def accept(self, region: str, instance_type: str) -> None: ...

    def check(self) -> None:
        self._begin("check")

    def launch(self, request: LaunchRequest) -> Machine:
        self._begin("launch")
        if self.refusal is not None:
            raise self.refusal
        key = request.idempotency_key
        self.enrollments.setdefault(key, []).append(request.enrollment)
        if key not in self._ids:
            self._ids[key] = f"m-{len(self._ids)}"
            self.machines[self._ids[key]] = Machine(
                self._ids[key], MachineState.PENDING, None, request.region, request.instance_type
            )
        self._end("launch")
        return self.machines[self._ids[key]]

    def describe(self, machine_id: str) -> Machine | None:
        self._begin("describe")
        self._end("describe")
        return self.machines.get(machine_id)

    def terminate(self, machine_id: str) -> None:
        self._begin("terminate")
        if not self.lingers and machine_id in self.machines:
            self.become(machine_id, MachineState.TERMINATED)
        self._end("terminate")

    def launched(self) -> list[tuple[str, Machine]]:
        self._begin("launched")
        alive = [
            (key, self.machines[machine_id])
            for key, machine_id in self._ids.items()
            if machine_id in self.machines
        ]
        return [(key, m) for key, m in alive if m.state is not MachineState.TERMINATED]

    def become(self, machine_id: str, state: MachineState, **members: Any) -> None:
        self.machines[machine_id] = replace(self.machines[machine_id], state=state, **members)

    def states(self) -> list[MachineState]:
        return [machine.state for machine in self.machines.values()]

    def _begin(self, name: str) -> None:
        self.calls.append(name)
        self.before.get(name, lambda: None)()
        if self.down:
            raise BackendUnavailableError("provisioning=scripted", "down")

    def _end(self, name: str) -> None:
        self.after.get(name, lambda: None)()


class Network:
    """The registry, and the worker that looks after it, on a real database.

    Attributes:
        serves: whether relays answer who asks for their health.
        serves_as: the relay that they say they are; None if they don't say.
        not_allowed: whether they are where nobody may be asked.
        asked: where relays were asked.
    """

    def __init__(self, database: Database, clock: ManualClock, folder: Path) -> None:
        self.clock = clock
        self.serves, self.not_allowed = True, False
        self.serves_as: str | None = None
        self.asked: list[str] = []
        self.provider: ProvisioningBackend = Provider()
        self.relays = RelayRepository(database)
        self.entries = AuditRepository(database)
        self.trail = AuditTrail(self.entries, clock.now, tuple)
        tokens, self._folder = EnrollmentRepository(database), folder
        self.registry = Relays(
            self.relays,
            tokens,
            BatchRepository(database),
            lambda: self.provider,
            self.trail,
            RelayLimits((), 20, timedelta(seconds=TIMEOUT)),
            clock.now,
        )
        minutes = timedelta(minutes=15)
        self._invitations = Invitations(
            self.relays, tokens, lambda: "root", self.trail, minutes, SERVER, clock.now
        )
        key = secret_key("a secret for tests only, of 32 bytes and more")
        auth = CertificateAuth(
            KeyRing(key, [key]),
            issuer="i",
            audience="a",
            pow_difficulty=1,
            forwarded_max_age=minutes,
            clock=clock.now,
        )
        certificates = CertificateRepository(database)
        identities = Identities(auth, certificates, minutes, clock.now, Standings(certificates))
        self._enrollments = Enrollments(
            self.relays,
            tokens,
            self._authority,
            identities,
            self.trail,
            EnrollmentLimits(timedelta(hours=1), timedelta(hours=1)),
            clock.now,
        )
        self.start()

    def start(self, *, can_enroll: bool = True) -> None:
        """Start the worker anew, as a process does that knows only the database."""
        self._follow = FollowRelays(
            lambda: self.provider,
            self.relays,
            self._invitations,
            self.trail,
            self._ask,
            FollowLimits(timedelta(seconds=INTERVAL), timedelta(seconds=SWEEP_AFTER), can_enroll),
            self.clock.now,
        )

    def _ask(self, address: NetworkAddress) -> HealthReport:
        self.asked.append(str(address))
        if self.not_allowed:
            raise AddressNotAllowedError(f"{address.host} is a private address")
        detail = "It says that it is healthy." if self.serves else "It refused the connection."
        answer = {"status": "healthy", "relayId": self.serves_as} if self.serves_as else None
        return HealthReport(self.serves, self.clock.now(), None, None, detail, answer)

    def work(self, still_mine: Callable[[], None] = lambda: None, after: float = 0) -> None:
        """Do one round, a while later."""
        self.clock.advance(after)
        self._follow.run(still_mine)

    def ask(self) -> str:
        """Ask for a relay; returns its id."""
        return self.registry.provision("us-east-1", "t3.micro", None, ADMIN).id

    def enroll(self, relay_id: str, token: str | None = None) -> None:
        """Do what the relay does once it runs."""
        host = (self.get(relay_id).network_address or "").partition(":")[0]
        token = token or self._invitations.invite(relay_id, ADMIN).token
        self._enrollments.enroll(relay_id, token, request([host], common_names=[relay_id]))

    def decommission(self, relay_id: str) -> None:
        self.registry.decommission(relay_id, ADMIN)

    def get(self, relay_id: str) -> RelayRecord:
        found = self.relays.find(relay_id)
        assert found is not None
        return found

    def actions(self) -> list[str]:
        return [entry.action for entry in self.entries.all_entries()]

    def _authority(self) -> CertificateAuthority:
        if not self._folder.exists():
            create_authority(self._folder, PASSPHRASE, "Sample", self.clock.now())
        return CertificateAuthority.load(
            self._folder, PASSPHRASE, crl_url=None, issuer_url=None, now=self.clock.now()
        )


def lose_the_lease() -> None:
    raise LeaseLostError("another worker has taken over")
