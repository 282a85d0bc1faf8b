"""The contract of the ``provisioning`` role; see ``eventserver_core.backends.provisioning``."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Protocol
from uuid import uuid4

import pytest

from eventserver_core.backends.provisioning import (
    Enrollment,
    LaunchRequest,
    Machine,
    MachineState,
    ProvisioningBackend,
    SweepsMachines,
)
from eventserver_core.errors import BackendUnavailableError, InvalidInputError

ALIVE = (MachineState.PENDING, MachineState.RUNNING)


class ProvisioningFactory(Protocol):
    """What the fixture ``backend_factory`` returns."""

    def __call__(self, *, down: bool = False) -> ProvisioningBackend:
        """Return a new instance, with the same account at the same provider.

        Args:
            down: make one whose provider can't be reached; from then on, the test that does this
                asks nothing of any other.
        """


class ProvisioningSuite:
    """What the suites of this role have in common: what they ask for.

    The fixture ``backend_factory`` gives a :class:`ProvisioningFactory`. Each test begins with
    room for at least four machines.

    Attributes:
        region: one that the backend allows.
        instance_type: one that the backend allows.
        refused_region: one that it doesn't; nobody allows the empty text.
        refused_type: the same.
    """

    region = "us-east-1"
    instance_type = "t3.micro"
    refused_region = ""
    refused_type = ""

    @pytest.fixture
    def backend(self, backend_factory: ProvisioningFactory) -> ProvisioningBackend:
        """Return an instance for tests that need only one."""
        return backend_factory()

    def request(self, key: str | None = None) -> LaunchRequest:
        """Return a request for a machine, by default under a key of its own."""
        return LaunchRequest(key or str(uuid4()), self.region, self.instance_type)


class ProvisioningContract(ProvisioningSuite):
    """What every provisioning backend must do; see :class:`ProvisioningSuite`."""

    def test_it_is_a_provisioning_backend(self, backend: ProvisioningBackend) -> None:
        """It has every method of the Protocol."""
        assert isinstance(backend, ProvisioningBackend)

    def test_what_is_allowed_is_accepted(self, backend: ProvisioningBackend) -> None:
        """Find out whether such a machine may be launched at all, before one is asked for."""
        backend.accept(self.region, self.instance_type)

    def test_what_is_not_allowed_is_refused(self, backend: ProvisioningBackend) -> None:
        """InvalidInputError: the region or the type is not allowed; it says which by a pointer."""
        refused = [
            (self.refused_region, self.instance_type, {"/region"}),
            (self.region, self.refused_type, {"/instanceType"}),
            (self.refused_region, self.refused_type, {"/region", "/instanceType"}),
        ]
        for region, instance_type, pointers in refused:
            with pytest.raises(InvalidInputError) as caught:
                backend.accept(region, instance_type)
            assert {fault.pointer for fault in caught.value.faults} == pointers

    def test_what_is_not_allowed_is_not_launched(
        self, backend_factory: ProvisioningFactory
    ) -> None:
        """InvalidInputError: the region or the type is not allowed."""
        request = self.request()
        for refused in (
            replace(request, region=self.refused_region),
            replace(request, instance_type=self.refused_type),
        ):
            with pytest.raises(InvalidInputError):
                backend_factory().launch(refused)
        assert backend_factory().launch(request).state in ALIVE

    def test_what_is_allowed_is_known_without_the_provider(
        self, backend_factory: ProvisioningFactory
    ) -> None:
        """Nothing MUST be asked of the provider: the answer comes from the settings."""
        down = backend_factory(down=True)
        down.accept(self.region, self.instance_type)
        with pytest.raises(InvalidInputError):
            down.accept(self.refused_region, self.refused_type)

    def test_a_launched_machine_is_what_was_asked_for(self, backend: ProvisioningBackend) -> None:
        """Launch a machine, or return the one that this request's key launched before."""
        machine = backend.launch(self.request())
        assert machine.id
        assert machine.state in ALIVE
        assert (machine.region, machine.instance_type) == (self.region, self.instance_type)
        assert machine.address is not None or machine.state is MachineState.PENDING

    def test_one_key_gives_one_machine(self, backend_factory: ProvisioningFactory) -> None:
        """Two launches with one key MUST give one machine; two keys MUST give two."""
        request = self.request()
        first = backend_factory().launch(request)
        assert backend_factory().launch(request).id == first.id

    def test_another_enrollment_makes_no_other_machine(
        self, backend_factory: ProvisioningFactory
    ) -> None:
        """A repeated launch may bring another one, which MUST NOT make another machine."""
        request = self.request()
        launched = [
            backend_factory().launch(replace(request, enrollment=enrollment)).id
            for enrollment in (make_enrollment("first"), make_enrollment("second"), None)
        ]
        assert len(set(launched)) == 1

    def test_two_keys_give_two_machines(self, backend_factory: ProvisioningFactory) -> None:
        """Two launches with one key MUST give one machine; two keys MUST give two."""
        machines = [backend_factory().launch(self.request()) for _ in range(3)]
        assert len({machine.id for machine in machines}) == 3

    def test_launches_at_once_are_told_apart_by_their_keys(
        self, backend_factory: ProvisioningFactory
    ) -> None:
        """Two launches with one key MUST give one machine; two keys MUST give two."""
        requests = [self.request() for _ in range(3)] * 3

        def launch(request: LaunchRequest) -> tuple[str, str]:
            return request.idempotency_key, backend_factory().launch(request).id

        with ThreadPoolExecutor(len(requests)) as pool:
            launched = set(pool.map(launch, requests))
        assert len(launched) == 3
        assert len({machine_id for _, machine_id in launched}) == 3

    def test_a_machine_is_described_as_it_is(self, backend_factory: ProvisioningFactory) -> None:
        """Return the machine as it is now, or None where the provider knows none such."""
        machine = backend_factory().launch(self.request())
        described = backend_factory().describe(machine.id)
        assert described is not None
        assert described.state in ALIVE
        assert (described.id, described.region) == (machine.id, self.region)
        assert backend_factory().describe("no-such-machine") is None

    def test_a_terminated_machine_is_gone(self, backend_factory: ProvisioningFactory) -> None:
        """End a machine; another machine goes on."""
        kept, ended = (backend_factory().launch(self.request()) for _ in range(2))
        backend_factory().terminate(ended.id)
        assert is_gone(backend_factory().describe(ended.id))
        assert not is_gone(backend_factory().describe(kept.id))

    def test_ending_again_succeeds(self, backend_factory: ProvisioningFactory) -> None:
        """Ending one that is gone already MUST succeed."""
        machine = backend_factory().launch(self.request())
        for _ in range(3):
            backend_factory().terminate(machine.id)
        assert is_gone(backend_factory().describe(machine.id))
        another = backend_factory().launch(self.request())
        backend_factory().terminate(machine.id)
        assert not is_gone(backend_factory().describe(another.id))

    def test_a_terminated_machine_makes_room(self, backend_factory: ProvisioningFactory) -> None:
        """End a machine; what it took can be had again, under another key."""
        for _ in range(12):
            machine = backend_factory().launch(self.request())
            assert machine.state in ALIVE
            backend_factory().terminate(machine.id)

    def test_a_provider_that_works_passes_its_check(self, backend: ProvisioningBackend) -> None:
        """Find out whether machines can be launched now."""
        backend.check()

    def test_a_provider_that_is_down_is_reported(
        self, backend_factory: ProvisioningFactory
    ) -> None:
        """BackendUnavailableError: it can't be had now; a retry with the same key is safe."""
        machine = backend_factory().launch(self.request())
        down = backend_factory(down=True)
        calls: list[Callable[[], object]] = [
            lambda: down.launch(self.request()),
            lambda: down.describe(machine.id),
            lambda: down.terminate(machine.id),
            down.check,
        ]
        for call in calls:
            with pytest.raises(BackendUnavailableError):
                call()


class SweepsMachinesContract(ProvisioningSuite):
    """What a backend must do that finds its machines; see :class:`ProvisioningSuite`.

    The fixture ``another_deployment`` gives a backend whose machines are another EventServer's, at
    the same provider.
    """

    @pytest.fixture
    def backend(self, backend_factory: ProvisioningFactory) -> SweepsMachines:
        """Return an instance for tests that need only one."""
        backend = backend_factory()
        assert isinstance(backend, SweepsMachines)
        return backend

    def test_a_machine_is_listed_with_its_key(
        self, backend: SweepsMachines, backend_factory: ProvisioningFactory
    ) -> None:
        """Return every machine that this backend launched and that is not gone."""
        assert list(backend.launched()) == []
        machines = {}
        for _ in range(3):
            request = self.request()
            machines[request.idempotency_key] = backend_factory().launch(request).id
        listed = list(backend.launched())
        assert {key: machine.id for key, machine in listed} == machines
        assert len(listed) == 3
        for _, machine in listed:
            assert machine.state in ALIVE
            assert (machine.region, machine.instance_type) == (self.region, self.instance_type)

    def test_what_is_gone_is_not_listed(
        self, backend: SweepsMachines, backend_factory: ProvisioningFactory
    ) -> None:
        """Return every machine that this backend launched and that is not gone."""
        kept, ended = (backend_factory().launch(self.request()) for _ in range(2))
        backend_factory().terminate(ended.id)
        assert [machine.id for _, machine in backend.launched()] == [kept.id]

    def test_what_is_not_its_own_is_not_listed(
        self,
        backend: SweepsMachines,
        backend_factory: ProvisioningFactory,
        another_deployment: ProvisioningBackend,
    ) -> None:
        """Only its own are there.

        Machines of another deployment, or of anything else in the same account, MUST NOT be
        among them.
        """
        own = backend_factory().launch(self.request())
        another_deployment.launch(self.request())
        assert [machine.id for _, machine in backend.launched()] == [own.id]

    def test_a_provider_that_is_down_is_not_taken_for_an_empty_one(
        self, backend_factory: ProvisioningFactory
    ) -> None:
        """BackendUnavailableError: the provider can't be asked now."""
        backend_factory().launch(self.request())
        down = backend_factory(down=True)
        assert isinstance(down, SweepsMachines)
        with pytest.raises(BackendUnavailableError):
            list(down.launched())


def make_enrollment(token: str) -> Enrollment:
    """Return what a machine could enrol with."""
    return Enrollment(
        server_url="https://eventserver.example",
        relay_id=str(uuid4()),
        token=token,
        expires_at=datetime.now(UTC) + timedelta(minutes=15),
        root_certificate="-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
    )


def is_gone(machine: Machine | None) -> bool:
    """Tell whether a machine runs no longer, whether or not it is remembered."""
    return machine is None or machine.state is MachineState.TERMINATED
