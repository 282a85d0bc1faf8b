"""Machines that no relay claims, and relays that come from a list."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from eventserver_core.backends.provisioning import LaunchRequest, MachineState, SweepsMachines
from eventserver_core.builtin.provisioning_static import StaticProvisioning
from eventserver_core.domain.relay import ENDED, RelayState
from eventserver_core.errors import BackendUnavailableError, LeaseLostError

from .launching import INTERVAL, RUNNING, SWEEP_AFTER, TIMEOUT, Network, Provider, lose_the_lease
from .scripted_chain import Crash

TERMINATED = MachineState.TERMINATED
STEP = 600


def launch_for_nobody(provider: Provider, key: str = "nobody") -> None:
    provider.launch(LaunchRequest(key, "us-east-1", "t3.micro"))


def wait(network: Network, seconds: float) -> None:
    """Let time pass, with a round every ten minutes."""
    while seconds > 0:
        network.work(after=min(STEP, seconds))
        seconds -= STEP


class TestSweeping:
    def test_a_machine_that_nobody_claims_is_ended_after_a_long_while(
        self, network: Network, provider: Provider
    ) -> None:
        launch_for_nobody(provider)
        network.work()
        wait(network, SWEEP_AFTER - 1)
        assert provider.states() == [MachineState.PENDING]
        wait(network, STEP)
        assert provider.states() == [TERMINATED]
        wait(network, SWEEP_AFTER)
        (entry,) = network.entries.all_entries()
        assert (entry.action, entry.target, entry.actor) == ("machine_swept", "m-0", "worker")
        assert entry.details == {"key": "nobody"}

    def test_the_while_begins_when_it_was_first_seen(
        self, network: Network, provider: Provider
    ) -> None:
        network.work()
        network.clock.advance(10 * SWEEP_AFTER)
        launch_for_nobody(provider)
        network.work()
        wait(network, SWEEP_AFTER - 1)
        assert provider.states() == [MachineState.PENDING]

    def test_a_new_worker_knows_since_when(self, network: Network, provider: Provider) -> None:
        """Or workers that live for minutes would never sweep."""
        launch_for_nobody(provider)
        network.work()
        wait(network, SWEEP_AFTER - 1)
        network.start()
        wait(network, STEP)
        assert provider.states() == [TERMINATED]

    @pytest.mark.parametrize("state", sorted(set(RelayState) - ENDED))
    def test_a_relays_machine_is_never_swept(
        self, network: Network, provider: Provider, launched: str, state: RelayState
    ) -> None:
        network.relays.update(launched, state=state, give_up_at=None)
        wait(network, 3 * SWEEP_AFTER)
        assert provider.states() == [RUNNING]
        assert "machine_swept" not in network.actions()

    @pytest.mark.parametrize("state", sorted(ENDED))
    def test_an_ended_relay_claims_nothing(
        self, network: Network, provider: Provider, launched: str, state: RelayState
    ) -> None:
        network.relays.update(launched, state=state, machine_id=None, next_look_at=None)
        wait(network, SWEEP_AFTER + 2 * STEP)
        assert provider.states() == [TERMINATED]

    def test_a_machine_whose_launch_is_not_on_record_yet_is_never_swept(
        self, network: Network, provider: Provider
    ) -> None:
        def fail() -> None:
            raise Crash

        relay_id = network.ask()
        network.relays.update(relay_id, give_up_at=None)
        provider.after["launch"] = fail
        with pytest.raises(Crash):
            network.work()
        network.relays.update(relay_id, next_look_at=None)  # so that only the sweep sees it
        wait(network, 3 * SWEEP_AFTER)
        assert provider.states() == [MachineState.PENDING]

    def test_a_machine_whose_launch_was_lost_is_ended_with_its_relay(
        self, network: Network, provider: Provider
    ) -> None:
        """The provider launched it, but its answer was lost, and so was all its patience."""

        def fall_silent() -> None:
            provider.down = True
            raise BackendUnavailableError("provisioning=scripted", "no answer came")

        relay_id = network.ask()
        provider.after["launch"] = fall_silent
        network.work()
        network.work(after=TIMEOUT)
        assert network.get(relay_id).state == "failed"
        provider.down = False
        for _ in range(2):
            network.work(after=INTERVAL)
        assert provider.states() == [TERMINATED]
        assert "machine_ended" in network.actions()

    def test_a_second_machine_of_a_relay_is_swept(
        self, network: Network, provider: Provider, launched: str
    ) -> None:
        network.relays.update(launched, machine_id="m-9", state=RelayState.ACTIVE)
        wait(network, SWEEP_AFTER + 2 * STEP)
        assert provider.states() == [TERMINATED]

    def test_one_that_was_claimed_in_between_is_not_swept(
        self, network: Network, provider: Provider, launched: str
    ) -> None:
        """As with a database that was restored, and then restored to a later state."""
        active: dict[str, Any] = {
            "state": RelayState.ACTIVE,
            "give_up_at": None,
            "next_look_at": None,
        }
        network.relays.update(launched, **active, machine_id="m-9")
        wait(network, SWEEP_AFTER - STEP)
        network.relays.update(launched, machine_id="m-0")
        wait(network, STEP)
        network.relays.update(launched, machine_id="m-9")
        wait(network, SWEEP_AFTER - STEP)
        assert provider.states() == [RUNNING]

    def test_it_is_not_asked_for_in_every_round(self, network: Network, provider: Provider) -> None:
        for _ in range(10):
            network.work(after=INTERVAL)
        assert provider.calls == ["launched"]

    def test_an_outage_holds_it_up_and_nothing_else(
        self, network: Network, provider: Provider
    ) -> None:
        launch_for_nobody(provider)
        network.work()
        provider.down = True
        wait(network, 2 * SWEEP_AFTER)
        assert provider.states() == [MachineState.PENDING]
        provider.down = False
        wait(network, STEP)
        assert provider.states() == [TERMINATED]

    def test_it_ends_with_the_lease(self, network: Network, provider: Provider) -> None:
        for number in range(3):
            launch_for_nobody(provider, f"nobody-{number}")
        network.work()
        network.clock.advance(2 * SWEEP_AFTER)
        held = iter([None, None])  # for the question, and for the first machine

        def still_mine() -> None:
            try:
                next(held)
            except StopIteration:
                lose_the_lease()

        with pytest.raises(LeaseLostError):
            network.work(still_mine)
        assert provider.states().count(TERMINATED) == 1

    def test_without_the_lease_nothing_is_asked(self, network: Network, provider: Provider) -> None:
        with pytest.raises(LeaseLostError):
            network.work(lose_the_lease)
        assert provider.calls == []

    def test_a_backend_that_cannot_tell_its_machines_is_not_asked(
        self, network: Network, provider: Provider
    ) -> None:
        class Silent:
            accept, check, launch = provider.accept, provider.check, provider.launch
            describe, terminate = provider.describe, provider.terminate

        network.provider = Silent()
        assert not isinstance(network.provider, SweepsMachines)
        launch_for_nobody(provider)
        wait(network, 2 * SWEEP_AFTER)
        assert provider.states() == [MachineState.PENDING]


class TestAList:
    """The built-in backend hands out the addresses of relays that somebody runs already."""

    @pytest.fixture
    def make(self, network: Network, tmp_path: Path) -> Callable[..., None]:
        def use(*addresses: str) -> None:
            network.provider = StaticProvisioning(tmp_path / "provisioning.json", addresses)

        return use

    def test_from_the_order_to_taking_part(
        self, network: Network, make: Callable[..., None]
    ) -> None:
        make("relay-1.example")
        relay_id = network.ask()
        for _ in range(2):
            network.work()
        assert network.get(relay_id).network_address == "relay-1.example"
        network.enroll(relay_id)
        wait(network, 2 * SWEEP_AFTER)
        relay = network.get(relay_id)
        assert (relay.state, relay.machine_id) == ("active", relay_id)
        assert network.relays.active_addresses() == ["relay-1.example"]

    def test_an_address_that_is_given_back_goes_to_the_next_one(
        self, network: Network, make: Callable[..., None]
    ) -> None:
        make("relay-1.example")
        first, second = network.ask(), network.ask()
        for _ in range(2):
            network.work(after=INTERVAL)
        machines = {network.get(relay_id).machine_id for relay_id in (first, second)}
        assert None in machines
        assert len(machines) == 2
        having = first if network.get(first).machine_id else second
        network.decommission(having)
        for _ in range(4):
            network.work(after=INTERVAL)
        waiting = second if having == first else first
        assert network.get(having).machine_id is None
        assert network.get(waiting).network_address == "relay-1.example"
        network.enroll(waiting)
        network.work()
        assert network.relays.active_addresses() == ["relay-1.example"]

    def test_where_none_becomes_free_it_fails(
        self, network: Network, make: Callable[..., None]
    ) -> None:
        make()
        relay_id = network.ask()
        network.work()
        assert network.get(relay_id).state == "provisioning"
        network.work(after=TIMEOUT)
        assert network.get(relay_id).state == "failed"

    def test_one_that_never_enrols_gives_its_address_back(
        self, network: Network, make: Callable[..., None]
    ) -> None:
        make("relay-1.example")
        first = network.ask()
        for after in (0, 0, TIMEOUT, 0):
            network.work(after=after)
        assert (network.get(first).state, network.get(first).machine_id) == ("failed", None)
        second = network.ask()
        network.work()
        assert network.get(second).machine_id == second
