"""The contract of the ``provisioning`` role; see ``eventserver_core.backends.provisioning``."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol
from uuid import uuid4

import pytest

from eventserver_core.backends.provisioning import (
    LaunchRequest,
    Machine,
    MachineState,
    ProvisioningBackend,
)
from eventserver_core.errors import BackendUnavailableError

ALIVE = (MachineState.PENDING, MachineState.RUNNING)


class ProvisioningFactory(Protocol):
    """What the fixture ``backend_factory`` returns."""

    def __call__(self, *, down: bool = False) -> ProvisioningBackend:
        """Return a new instance, with the same account at the same provider.

        Args:
            down: make one whose provider can't be reached; nothing else is asked of a provider in
                the test that does this.
        """


class ProvisioningContract:
    """What every provisioning backend must do.

    The fixture ``backend_factory`` gives a :class:`ProvisioningFactory`. Each test begins with
    room for at least four machines.

    Attributes:
        region: one that the backend allows.
        instance_type: one that the backend allows.
    """

    region = "us-east-1"
    instance_type = "t3.micro"

    @pytest.fixture
    def backend(self, backend_factory: ProvisioningFactory) -> ProvisioningBackend:
        """Return an instance for tests that need only one."""
        return backend_factory()

    def request(self, key: str | None = None) -> LaunchRequest:
        """Return a request for a machine, by default under a key of its own."""
        return LaunchRequest(key or str(uuid4()), self.region, self.instance_type)

    def test_it_is_a_provisioning_backend(self, backend: ProvisioningBackend) -> None:
        """It has every method of the Protocol."""
        assert isinstance(backend, ProvisioningBackend)

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
        down = backend_factory(down=True)
        calls: list[Callable[[], object]] = [
            lambda: down.launch(self.request()),
            lambda: down.describe("any"),
            lambda: down.terminate("any"),
            down.check,
        ]
        for call in calls:
            with pytest.raises(BackendUnavailableError):
                call()


def is_gone(machine: Machine | None) -> bool:
    """Tell whether a machine runs no longer, whether or not it is remembered."""
    return machine is None or machine.state is MachineState.TERMINATED
