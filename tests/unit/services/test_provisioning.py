"""A launched relay's way until it takes part, or has failed, or is ended."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from eventserver_core.backends.provisioning import MachineState
from eventserver_core.domain.relay import RelayState
from eventserver_core.errors import (
    BackendUnavailableError,
    InvalidInputError,
    LeaseLostError,
    QuotaExceededError,
)

from .launching import (
    ADDRESS,
    INTERVAL,
    RUNNING,
    SERVER,
    TIMEOUT,
    Network,
    Provider,
    lose_the_lease,
)
from .scripted_chain import Crash


class TestLaunching:
    def test_from_the_order_to_taking_part(self, network: Network, provider: Provider) -> None:
        relay_id = network.ask()
        network.work()
        assert network.get(relay_id).machine_id == "m-0"
        network.work(after=INTERVAL)
        assert network.get(relay_id).network_address is None
        provider.become("m-0", RUNNING, address=ADDRESS)
        network.work(after=INTERVAL)
        assert network.get(relay_id).network_address == ADDRESS
        (enrollment,) = provider.enrollments[relay_id]
        assert enrollment is not None
        assert (enrollment.server_url, enrollment.relay_id) == (SERVER, relay_id)
        network.serves = False
        network.enroll(relay_id, enrollment.token)
        network.work()
        relay = network.get(relay_id)
        assert relay.state == "provisioning"
        assert "does not serve yet: It refused the connection." in (relay.reason or "")
        network.serves = True
        network.work(after=INTERVAL)
        relay = network.get(relay_id)
        assert network.asked == [ADDRESS, ADDRESS]
        assert (relay.state, relay.reason, relay.give_up_at) == ("active", None, None)
        network.work(after=2 * TIMEOUT)
        assert network.get(relay_id).state == "active"
        assert network.actions() == [
            "relay_requested",
            "relay_launched",
            "relay_enrolled",
            "relay_activated",
        ]

    def test_another_relay_that_still_serves_at_its_address_is_not_taken_for_it(
        self, network: Network, provider: Provider, launched: str
    ) -> None:
        network.serves_as = "an-old-relay"
        network.enroll(launched)
        network.work(after=INTERVAL)
        relay = network.get(launched)
        assert relay.state == "provisioning"
        assert "an-old-relay" in (relay.reason or "")
        network.serves_as = launched
        network.work(after=INTERVAL)
        assert network.get(launched).state == "active"

    def test_a_relay_whose_certificates_were_lost_on_the_way_has_failed(
        self, network: Network, provider: Provider, launched: str
    ) -> None:
        """It enrolled, as far as anybody knows here, and never served."""
        network.serves = False
        network.enroll(launched)
        for after in (INTERVAL, TIMEOUT, 0):
            network.work(after=after)
        relay = network.get(launched)
        assert (relay.state, relay.machine_id) == ("failed", None)
        assert (relay.reason or "").startswith("it enrolled, but does not serve: ")
        assert provider.states() == [MachineState.TERMINATED]

    def test_a_relay_where_nobody_may_be_asked_has_failed(
        self, network: Network, provider: Provider, launched: str
    ) -> None:
        network.not_allowed = True
        network.enroll(launched)
        network.work()
        relay = network.get(launched)
        assert relay.state == "failed"
        assert "see relays.allowed_networks" in (relay.reason or "")

    def test_an_address_that_another_relay_has_is_not_taken(
        self, network: Network, provider: Provider, launched: str
    ) -> None:
        second = network.ask()
        network.work()
        provider.become("m-1", RUNNING, address=ADDRESS)
        for _ in range(3):
            network.work(after=INTERVAL)
        relay = network.get(second)
        assert (relay.state, relay.network_address, relay.machine_id) == ("failed", None, None)
        assert "another relay is at" in (relay.reason or "")
        assert network.get(launched).state == "provisioning"

    def test_a_machine_that_ends_later_takes_its_relay_out(
        self, network: Network, provider: Provider, launched: str
    ) -> None:
        network.enroll(launched)
        network.work()
        assert network.relays.active_addresses() == [ADDRESS]
        provider.become("m-0", MachineState.TERMINATED)
        network.work(after=301)
        relay = network.get(launched)
        assert (relay.state, relay.reason) == ("failed", "its machine has ended")
        assert network.relays.active_addresses() == []

    def test_a_machine_that_nobody_knows_takes_no_relay_out(
        self, network: Network, provider: Provider, launched: str
    ) -> None:
        """As where the settings name another plugin or account for a while."""
        network.enroll(launched)
        network.work()
        known = provider.machines.pop("m-0")
        for _ in range(3):
            network.work(after=301)
        assert network.get(launched).state == "active"
        provider.machines["m-0"] = known
        network.work(after=301)
        assert provider.states() == [RUNNING]

    def test_a_fault_of_one_holds_up_no_other(self, network: Network, provider: Provider) -> None:
        poisoned = network.ask()
        network.clock.advance(0.001)
        other = network.ask()
        attempts: list[int] = []

        def raise_once() -> None:
            attempts.append(1)
            if len(attempts) == 1:
                raise RuntimeError("a fault of the plugin's")

        provider.before["launch"] = raise_once
        network.work()
        assert network.get(other).machine_id == "m-0"
        assert network.get(poisoned).machine_id is None
        network.work(after=INTERVAL)
        assert network.get(poisoned).machine_id == "m-1"

    def test_where_machines_cannot_enrol_by_themselves_they_are_told_nothing(
        self, network: Network, provider: Provider
    ) -> None:
        network.start(can_enroll=False)
        relay_id = network.ask()
        network.work()
        assert provider.enrollments[relay_id] == [None]
        assert "relay_invited" not in network.actions()

    @pytest.mark.parametrize(
        "refusal", [InvalidInputError("no such region"), QuotaExceededError("no room for it")]
    )
    def test_what_the_provider_refuses_has_failed(
        self, network: Network, provider: Provider, refusal: Exception
    ) -> None:
        provider.refusal = refusal
        relay_id = network.ask()
        for _ in range(3):
            network.work(after=INTERVAL)
        relay = network.get(relay_id)
        assert (relay.state, relay.reason) == ("failed", str(refusal))
        assert (relay.machine_id, relay.next_look_at) == (None, None)
        assert provider.calls.count("launch") == 1
        assert network.actions().count("relay_failed") == 1

    def test_an_outage_is_waited_for(self, network: Network, provider: Provider) -> None:
        provider.down = True
        relay_ids = [network.ask() for _ in range(2)]
        network.work()
        assert provider.calls == ["launch"]  # the other one would wait for the same provider
        network.work()
        assert provider.calls == ["launch", "launch"]
        provider.down = False
        network.work(after=INTERVAL)
        assert {network.get(relay_id).machine_id for relay_id in relay_ids} == {"m-0", "m-1"}

    def test_an_outage_that_lasts_too_long_is_given_up(
        self, network: Network, provider: Provider
    ) -> None:
        provider.down = True
        relay_id = network.ask()
        network.work(after=TIMEOUT - 0.001)
        assert network.get(relay_id).state == "provisioning"
        for _ in range(3):
            network.work(after=INTERVAL)
        assert network.get(relay_id).state == "failed"
        provider.down = False
        network.work(after=INTERVAL)
        assert provider.machines == {}
        assert network.get(relay_id).next_look_at is None

    @pytest.mark.parametrize("ended", [Crash, lambda: BackendUnavailableError("p", "timed out")])
    def test_a_launch_that_was_not_put_on_record_is_found_again(
        self, network: Network, provider: Provider, ended: Callable[[], BaseException]
    ) -> None:
        def fail() -> None:
            provider.after.clear()
            raise ended()

        provider.after["launch"] = fail
        relay_id = network.ask()
        try:
            network.work()
        except Crash:
            network.start()
        assert network.get(relay_id).machine_id is None
        network.work(after=INTERVAL)
        assert network.get(relay_id).machine_id == "m-0"
        assert list(provider.machines) == ["m-0"]
        assert network.actions().count("relay_launched") == 1

    def test_more_than_are_looked_at_in_one_round(
        self, network: Network, provider: Provider
    ) -> None:
        relay_ids = [network.ask() for _ in range(15)]
        for _ in range(2):
            network.work(after=1)
        for relay_id in relay_ids:
            assert network.get(relay_id).machine_id is not None


class TestFailing:
    @pytest.mark.parametrize("state", [MachineState.FAILED, MachineState.TERMINATED])
    def test_a_machine_that_ended_by_itself(
        self, network: Network, provider: Provider, launched: str, state: MachineState
    ) -> None:
        provider.become("m-0", state, reason="out of capacity")
        network.work(after=INTERVAL)
        relay = network.get(launched)
        assert (relay.state, relay.reason) == ("failed", "its machine has ended: out of capacity")
        network.work()
        assert network.get(launched).machine_id is None
        assert provider.states() == [MachineState.TERMINATED]

    def test_a_machine_that_is_gone(
        self, network: Network, provider: Provider, launched: str
    ) -> None:
        provider.machines.clear()
        for _ in range(2):
            network.work(after=INTERVAL)
        relay = network.get(launched)
        assert (relay.state, relay.reason) == ("failed", "its machine has ended")
        assert (relay.machine_id, relay.next_look_at) == (None, None)
        assert "terminate" not in provider.calls

    def test_a_relay_that_never_enrols(
        self, network: Network, provider: Provider, launched: str
    ) -> None:
        network.work(after=TIMEOUT - 0.001)
        assert network.get(launched).state == "provisioning"
        network.work(after=INTERVAL)
        assert network.get(launched).state == "failed"
        network.work()
        relay = network.get(launched)
        assert (relay.machine_id, relay.next_look_at) == (None, None)
        assert relay.reason == "it did not enrol in time"
        assert provider.states() == [MachineState.TERMINATED]
        assert network.actions()[-2:] == ["relay_failed", "machine_ended"]

    @pytest.mark.parametrize("late", [False, True])
    def test_a_relay_that_enrols_while_it_is_looked_at_takes_part(
        self, network: Network, provider: Provider, launched: str, late: bool
    ) -> None:
        def enroll() -> None:
            provider.before.clear()
            network.enroll(launched)

        provider.before["describe"] = enroll
        network.work(after=2 * TIMEOUT if late else INTERVAL)
        for _ in range(2):
            network.work(after=INTERVAL)
        relay = network.get(launched)
        assert (relay.state, relay.machine_id) == ("active", "m-0")
        assert provider.states() == [RUNNING]


class TestEnding:
    def test_before_it_was_launched(self, network: Network, provider: Provider) -> None:
        relay_id = network.ask()
        network.decommission(relay_id)
        network.work()
        assert set(provider.calls) <= {"launched"}
        assert network.get(relay_id).next_look_at is None
        assert provider.machines == {}

    def test_while_it_is_launched(self, network: Network, provider: Provider) -> None:
        relay_id = network.ask()
        provider.after["launch"] = lambda: network.decommission(relay_id)
        for _ in range(2):
            network.work()
        relay = network.get(relay_id)
        assert (relay.state, relay.machine_id) == ("decommissioned", None)
        assert provider.states() == [MachineState.TERMINATED]

    def test_while_another_one_is_launched(self, network: Network, provider: Provider) -> None:
        first = network.ask()
        network.clock.advance(1)
        second = network.ask()
        provider.after["launch"] = lambda: network.decommission(second)
        for _ in range(3):
            network.work()
        assert network.get(first).machine_id == "m-0"
        assert list(provider.machines) == ["m-0"]
        assert network.get(second).next_look_at is None

    def test_after_it_enrolled_while_another_one_is_launched(
        self, network: Network, provider: Provider, launched: str
    ) -> None:
        """What the worker has read of a relay may be old by the time it is that one's turn."""

        def enroll() -> None:
            provider.before.clear()
            network.enroll(launched)

        provider.before["describe"] = enroll
        network.work(after=INTERVAL)
        network.ask()
        provider.after["launch"] = lambda: network.decommission(launched)
        network.clock.advance(INTERVAL)
        for _ in range(3):
            network.work()
        assert network.get(launched).machine_id is None
        assert provider.states() == [MachineState.TERMINATED, MachineState.PENDING]

    def test_a_machine_that_takes_its_time_is_looked_at_until_it_is_gone(
        self, network: Network, provider: Provider, launched: str
    ) -> None:
        provider.lingers = True
        network.decommission(launched)
        for _ in range(3):
            network.work(after=INTERVAL)
        assert network.get(launched).machine_id == "m-0"
        provider.become("m-0", MachineState.TERMINATED)
        network.work(after=INTERVAL)
        assert network.get(launched).machine_id is None
        assert network.actions().count("machine_ended") == 1

    def test_a_crash_before_it_is_on_record_ends_it_once(
        self, network: Network, provider: Provider, launched: str
    ) -> None:
        def die() -> None:
            provider.after.clear()
            raise Crash

        network.decommission(launched)
        provider.after["terminate"] = die
        with pytest.raises(Crash):
            network.work()
        network.start()
        network.work()
        assert network.get(launched).machine_id is None
        assert provider.calls.count("terminate") == 1
        assert network.actions().count("machine_ended") == 1

    def test_an_outage_is_waited_for_however_long(
        self, network: Network, provider: Provider, launched: str
    ) -> None:
        network.decommission(launched)
        provider.down = True
        for _ in range(3):
            network.work(after=TIMEOUT)
        assert network.get(launched).machine_id == "m-0"
        provider.down = False
        network.work(after=INTERVAL)
        assert provider.states() == [MachineState.TERMINATED]


def test_without_the_lease_nothing_is_asked_of_the_provider(
    network: Network, provider: Provider
) -> None:
    relay_id = network.ask()
    with pytest.raises(LeaseLostError):
        network.work(lose_the_lease)
    assert provider.calls == []
    assert network.get(relay_id).state is RelayState.PROVISIONING
