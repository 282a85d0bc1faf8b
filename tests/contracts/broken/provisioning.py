"""Provisioning backends that each break a promise."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import ClassVar
from uuid import uuid4

import pytest

from eventserver_core.backends.provisioning import LaunchRequest, Machine, MachineState
from eventserver_core.errors import (
    BackendUnavailableError,
    Fault,
    InvalidInputError,
    NotFoundError,
)
from eventserver_core.testing.contracts.provisioning import (
    ProvisioningContract,
    SweepsMachinesContract,
)

ROOM = 4
REGIONS = ("us-east-1",)
TYPES = ("t3.micro",)


class PlainProvider:
    """Launches machines in memory, four at most; it works, so that one thing can be broken."""

    accounts: ClassVar[dict[Path, dict[str, Machine]]] = {}
    lock = threading.RLock()

    def __init__(self, path: Path, *, down: bool) -> None:
        self.path = path
        self.machines = self.accounts.setdefault(path, {})
        self.down = down

    def accept(self, region: str, instance_type: str) -> None:
        faults = []
        if region not in REGIONS:
            faults.append(Fault("/region", "not allowed"))
        if instance_type not in TYPES:
            faults.append(Fault("/instanceType", "not allowed"))
        if faults:
            raise InvalidInputError("not allowed", faults)

    def launch(self, request: LaunchRequest) -> Machine:
        self.accept(request.region, request.instance_type)
        self.require()
        with self.lock:
            if request.idempotency_key not in self.machines:
                running = [m for m in self.machines.values() if m.state is MachineState.RUNNING]
                if len(running) == ROOM:
                    raise BackendUnavailableError("provisioning=memory", "full")
                self.machines[request.idempotency_key] = self.machine(request)
            return self.machines[request.idempotency_key]

    def machine(self, request: LaunchRequest) -> Machine:
        return Machine(
            str(uuid4()),
            MachineState.RUNNING,
            "relay.example",
            request.region,
            request.instance_type,
        )

    def describe(self, machine_id: str) -> Machine | None:
        self.require()
        return next((m for m in self.machines.values() if m.id == machine_id), None)

    def terminate(self, machine_id: str) -> None:
        self.require()
        for key, machine in self.machines.items():
            if machine.id == machine_id:
                self.machines[key] = replace(machine, state=MachineState.TERMINATED)

    def launched(self) -> list[tuple[str, Machine]]:
        self.require()
        return [(k, m) for k, m in self.machines.items() if m.state is MachineState.RUNNING]

    def check(self) -> None:
        self.require()

    def require(self) -> None:
        if self.down:
            raise BackendUnavailableError("provisioning=memory", "down")


def suite_of(contract: type, kind: Callable[..., object], *catches: str) -> type:
    class Suite(contract):  # type: ignore[misc, valid-type]
        @pytest.fixture
        def backend_factory(self, tmp_path: Path) -> Callable[..., object]:
            def make(*, down: bool = False) -> object:
                return kind(tmp_path / "own", down=down)

            return make

        @pytest.fixture
        def another_deployment(self, tmp_path: Path) -> object:
            return kind(tmp_path / "another", down=False)

    Suite.catches = frozenset(catches)
    return Suite


def suite(kind: Callable[..., object], *catches: str) -> type:
    return suite_of(ProvisioningContract, kind, *catches)


def sweeping(kind: Callable[..., object], *catches: str) -> type:
    return suite_of(SweepsMachinesContract, kind, *catches)


TestPlainProvider = suite(PlainProvider)
TestPlainSweeper = sweeping(PlainProvider)


class NoCheck:
    def __init__(self, path: Path, *, down: bool) -> None:
        good = PlainProvider(path, down=down)
        self.launch, self.describe, self.terminate = good.launch, good.describe, good.terminate
        self.accept = good.accept


TestNoCheck = suite(
    NoCheck,
    "test_it_is_a_provisioning_backend",
    "test_a_provider_that_works_passes_its_check",
    "test_a_provider_that_is_down_is_reported",
)


class RefusesAll(PlainProvider):
    def accept(self, region: str, instance_type: str) -> None:
        if (region, instance_type) in zip(REGIONS, TYPES, strict=True):
            raise InvalidInputError("never")
        super().accept(region, instance_type)

    def launch(self, request: LaunchRequest) -> Machine:
        return PlainProvider(self.path, down=self.down).launch(request)


TestRefusesAll = suite(
    RefusesAll,
    "test_what_is_allowed_is_accepted",
    "test_what_is_allowed_is_known_without_the_provider",
)


class AcceptsAll(PlainProvider):
    def accept(self, region: str, instance_type: str) -> None:
        pass


TestAcceptsAll = suite(
    AcceptsAll,
    "test_what_is_allowed_is_known_without_the_provider",
    "test_what_is_not_allowed_is_not_launched",
    "test_what_is_not_allowed_is_refused",
)


class AsksTheProvider(PlainProvider):
    def accept(self, region: str, instance_type: str) -> None:
        self.require()
        super().accept(region, instance_type)


TestAsksTheProvider = suite(AsksTheProvider, "test_what_is_allowed_is_known_without_the_provider")


class SaysTheFirstFaultOnly(PlainProvider):
    def accept(self, region: str, instance_type: str) -> None:
        try:
            super().accept(region, instance_type)
        except InvalidInputError as ex:
            raise InvalidInputError("not allowed", ex.faults[:1]) from ex


TestSaysTheFirstFaultOnly = suite(SaysTheFirstFaultOnly, "test_what_is_not_allowed_is_refused")


class LaunchesWhatItRefuses(PlainProvider):
    def launch(self, request: LaunchRequest) -> Machine:
        return super().launch(replace(request, region=REGIONS[0], instance_type=TYPES[0]))


TestLaunchesWhatItRefuses = suite(LaunchesWhatItRefuses, "test_what_is_not_allowed_is_not_launched")


class TakesAnotherEnrollmentForAnotherMachine(PlainProvider):
    def launch(self, request: LaunchRequest) -> Machine:
        token = request.enrollment.token if request.enrollment else ""
        key = f"{request.idempotency_key} {token}"
        return super().launch(replace(request, idempotency_key=key))


TestTakesAnotherEnrollmentForAnotherMachine = suite(
    TakesAnotherEnrollmentForAnotherMachine, "test_another_enrollment_makes_no_other_machine"
)


class ChoosesTheRegion(PlainProvider):
    def machine(self, request: LaunchRequest) -> Machine:
        return replace(super().machine(request), region="elsewhere")


TestChoosesTheRegion = suite(
    ChoosesTheRegion,
    "test_a_launched_machine_is_what_was_asked_for",
    "test_a_machine_is_described_as_it_is",
)


class LaunchesAgain(PlainProvider):
    def launch(self, request: LaunchRequest) -> Machine:
        return super().launch(replace(request, idempotency_key=str(uuid4())))


TestLaunchesAgain = suite(
    LaunchesAgain,
    "test_another_enrollment_makes_no_other_machine",
    "test_one_key_gives_one_machine",
    "test_launches_at_once_are_told_apart_by_their_keys",
)


class RemembersForItself(PlainProvider):
    def __init__(self, path: Path, *, down: bool) -> None:
        super().__init__(path, down=down)
        self.machines = {}


TestRemembersForItself = suite(
    RemembersForItself,
    "test_a_machine_is_described_as_it_is",
    "test_a_terminated_machine_is_gone",
    "test_another_enrollment_makes_no_other_machine",
    "test_ending_again_succeeds",
    "test_launches_at_once_are_told_apart_by_their_keys",
    "test_one_key_gives_one_machine",
)


class OneForAll(PlainProvider):
    def launch(self, request: LaunchRequest) -> Machine:
        return super().launch(replace(request, idempotency_key="the one"))


TestOneForAll = suite(
    OneForAll,
    "test_a_terminated_machine_is_gone",
    "test_a_terminated_machine_makes_room",
    "test_ending_again_succeeds",
    "test_launches_at_once_are_told_apart_by_their_keys",
    "test_two_keys_give_two_machines",
)


class Races(PlainProvider):
    def launch(self, request: LaunchRequest) -> Machine:
        self.accept(request.region, request.instance_type)
        self.require()
        known = self.machines.get(request.idempotency_key)
        if known is None:
            known = self.machine(request)
            time.sleep(0.05)
            self.machines[request.idempotency_key] = known
        return known


TestRaces = suite(Races, "test_launches_at_once_are_told_apart_by_their_keys")


class WantsToKnowIt(PlainProvider):
    def describe(self, machine_id: str) -> Machine | None:
        machine = super().describe(machine_id)
        if machine is None:
            raise NotFoundError(machine_id)
        return machine


TestWantsToKnowIt = suite(WantsToKnowIt, "test_a_machine_is_described_as_it_is")


class KeepsRunning(PlainProvider):
    def terminate(self, machine_id: str) -> None:
        self.require()


TestKeepsRunning = suite(
    KeepsRunning,
    "test_a_terminated_machine_is_gone",
    "test_a_terminated_machine_makes_room",
    "test_ending_again_succeeds",
)


class EndsThemAll(PlainProvider):
    def terminate(self, machine_id: str) -> None:
        self.require()
        self.machines.clear()


TestEndsThemAll = suite(
    EndsThemAll, "test_a_terminated_machine_is_gone", "test_ending_again_succeeds"
)


class EndsOnlyOnce(PlainProvider):
    def terminate(self, machine_id: str) -> None:
        machine = self.describe(machine_id)
        if machine is None or machine.state is MachineState.TERMINATED:
            raise NotFoundError(machine_id)
        super().terminate(machine_id)


TestEndsOnlyOnce = suite(
    EndsOnlyOnce,
    "test_ending_again_succeeds",
)


class AlwaysComplains(PlainProvider):
    def check(self) -> None:
        raise BackendUnavailableError("provisioning=memory", "never well")


TestAlwaysComplains = suite(AlwaysComplains, "test_a_provider_that_works_passes_its_check")


class LetsErrorsThrough(PlainProvider):
    def require(self) -> None:
        if self.down:
            raise ConnectionRefusedError


TestLetsErrorsThrough = suite(LetsErrorsThrough, "test_a_provider_that_is_down_is_reported")


class ListsTheGone(PlainProvider):
    def launched(self) -> list[tuple[str, Machine]]:
        self.require()
        return list(self.machines.items())


TestListsTheGone = sweeping(ListsTheGone, "test_what_is_gone_is_not_listed")


class ListsTheLatestOnly(PlainProvider):
    def launched(self) -> list[tuple[str, Machine]]:
        return super().launched()[-1:]


TestListsTheLatestOnly = sweeping(ListsTheLatestOnly, "test_a_machine_is_listed_with_its_key")


class ListsTheWholeAccount(PlainProvider):
    def launched(self) -> list[tuple[str, Machine]]:
        self.require()
        within = [
            machines
            for path, machines in self.accounts.items()
            if path.is_relative_to(self.path.parent)
        ]
        return [
            (key, machine)
            for machines in within
            for key, machine in machines.items()
            if machine.state is MachineState.RUNNING
        ]


TestListsTheWholeAccount = sweeping(ListsTheWholeAccount, "test_what_is_not_its_own_is_not_listed")


class ListsNothingWhenDown(PlainProvider):
    def launched(self) -> list[tuple[str, Machine]]:
        return [] if self.down else super().launched()


TestListsNothingWhenDown = sweeping(
    ListsNothingWhenDown, "test_a_provider_that_is_down_is_not_taken_for_an_empty_one"
)
