"""What is special about provisioning from a list; the contract has its own tests."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from eventserver_core.backends.provisioning import LaunchRequest, Machine, MachineState
from eventserver_core.builtin.provisioning_static import (
    ProvisioningSettings,
    StaticProvisioning,
    eventserver_provisioning_backend,
    eventserver_settings,
)
from eventserver_core.errors import (
    BackendUnavailableError,
    ConfigurationError,
    InvalidInputError,
)
from eventserver_core.testing.contracts.processes import run_and_kill
from tests.unit.builtin.children import run_at_once, run_with_full_disk
from tests.unit.builtin.conftest import Load

ADDRESSES = ["relay-1.example", "relay-2.example:8443", "[2001:db8::1]:8443"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "provisioning.json"


@pytest.fixture
def provisioning(path: Path) -> StaticProvisioning:
    return StaticProvisioning(path, ADDRESSES)


def request(key: str) -> LaunchRequest:
    return LaunchRequest(key, "us-east-1", "t3.micro")


def test_the_hook_hands_out_what_the_settings_list(load: Load, tmp_path: Path) -> None:
    assert eventserver_settings() == [ProvisioningSettings]
    settings = load(
        ProvisioningSettings, EVENTSERVER__PROVISIONING__ADDRESSES="relay-1.example, 10.0.0.7:8443"
    )
    backend = eventserver_provisioning_backend(settings)
    launched = [backend.launch(request(key)).address for key in "ab"]
    assert launched == ["relay-1.example", "10.0.0.7:8443"]
    assert (tmp_path / "data" / "provisioning.json").exists()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("https://relay.example", "neither host nor host:port"),
        ("relay example", "neither host nor host:port"),
        ("relay.example:port", "neither host nor host:port"),
        ("relay.example,relay.example", "twice"),
    ],
)
def test_a_wrong_address_is_a_wrong_setting(load: Load, text: str, complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        load(ProvisioningSettings, EVENTSERVER__PROVISIONING__ADDRESSES=text)


def test_any_region_and_type_will_do_but_not_none(provisioning: StaticProvisioning) -> None:
    provisioning.accept("the cellar", "an old laptop")
    with pytest.raises(InvalidInputError) as caught:
        provisioning.accept("", "t3.micro")
    assert [fault.pointer for fault in caught.value.faults] == ["/region"]
    with pytest.raises(InvalidInputError):
        provisioning.launch(LaunchRequest("a", "us-east-1", ""))
    assert provisioning.launched() == []


def test_addresses_are_handed_out_in_their_order(provisioning: StaticProvisioning) -> None:
    machines = [provisioning.launch(request(key)) for key in "abc"]
    assert [machine.address for machine in machines] == ADDRESSES
    assert machines[0] == Machine(
        "a", MachineState.RUNNING, "relay-1.example", "us-east-1", "t3.micro"
    )


def test_when_none_is_free_the_deployer_is_told_what_to_do(
    provisioning: StaticProvisioning, path: Path
) -> None:
    for key in "abc":
        provisioning.launch(request(key))
    with pytest.raises(BackendUnavailableError, match=r"add one to provisioning\.addresses"):
        provisioning.launch(request("d"))
    provisioning.check()
    with pytest.raises(BackendUnavailableError, match=r"add one to provisioning\.addresses"):
        StaticProvisioning(path.with_name("none.json"), []).launch(request("a"))


def test_a_freed_address_goes_to_the_next_key(provisioning: StaticProvisioning) -> None:
    for key in "abc":
        provisioning.launch(request(key))
    provisioning.terminate("b")
    assert provisioning.launch(request("d")).address == "relay-2.example:8443"


def test_what_was_handed_out_is_listed_with_its_holders_key(
    provisioning: StaticProvisioning, path: Path
) -> None:
    machines = {key: provisioning.launch(request(key)) for key in "abc"}
    provisioning.terminate(machines.pop("b").id)
    assert dict(StaticProvisioning(path, []).launched()) == machines
    machines["d"] = provisioning.launch(request("d"))
    assert dict(provisioning.launched()) == machines
    assert machines["d"].address == "relay-2.example:8443"


def test_a_key_whose_machine_was_ended_gets_no_other(provisioning: StaticProvisioning) -> None:
    provisioning.launch(request("a"))
    provisioning.terminate("a")
    late = provisioning.launch(request("a"))
    assert (late.address, late.state) == ("relay-1.example", MachineState.TERMINATED)
    provisioning.launch(request("b"))
    assert provisioning.launch(request("a")).state is MachineState.TERMINATED
    assert provisioning.launch(request("b")).state is MachineState.RUNNING


def test_each_holder_of_an_address_is_described_for_itself(
    provisioning: StaticProvisioning,
) -> None:
    assert provisioning.describe("a") is None
    for key, ended in (("a", True), ("b", True), ("c", False)):
        provisioning.launch(LaunchRequest(key, f"region-{key}", "t3.micro"))
        if ended:
            provisioning.terminate(key)
    for key, ended in (("a", True), ("b", True), ("c", False)):
        machine = provisioning.describe(key)
        assert machine is not None
        assert (machine.address, machine.region) == ("relay-1.example", f"region-{key}")
        assert (machine.state is MachineState.TERMINATED) is ended


def test_an_address_that_was_taken_off_the_list_keeps_its_machine(
    provisioning: StaticProvisioning, path: Path
) -> None:
    machine = provisioning.launch(request("a"))
    shorter = StaticProvisioning(path, ADDRESSES[1:])
    assert shorter.describe(machine.id) == machine
    assert shorter.launch(request("a")) == machine
    shorter.terminate(machine.id)
    assert shorter.launch(request("b")).address == ADDRESSES[1]


def test_a_launch_survives_kill_9(path: Path) -> None:
    run_and_kill(lambda: StaticProvisioning(path, ADDRESSES).launch(request("a")))
    assert StaticProvisioning(path, ADDRESSES).launch(request("b")).address == ADDRESSES[1]


def test_the_record_is_synced_and_then_its_directory(
    provisioning: StaticProvisioning, path: Path, synced: list[Path]
) -> None:
    provisioning.launch(request("a"))
    assert synced == [path.with_name("provisioning.json.new"), path.parent]
    provisioning.launch(request("a"))
    assert synced[2:] == [path.parent]


def test_processes_that_launch_at_once_get_along(path: Path) -> None:
    addresses = [f"relay-{number}.example" for number in range(9)]

    def work(name: str) -> None:
        provisioning = StaticProvisioning(path, addresses)
        for number in range(2):
            provisioning.launch(request(f"{name} {number}"))
            provisioning.launch(request("shared"))

    run_at_once(*(lambda name=name: work(name) for name in "abcd"))
    launches = json.loads(path.read_text("utf-8"))["launches"]
    assert sorted(launch["address"] for launch in launches) == addresses
    assert len({launch["key"] for launch in launches}) == 9


def test_a_full_disk_leaves_the_record_as_it_was(
    provisioning: StaticProvisioning, path: Path
) -> None:
    machine = provisioning.launch(request("a"))
    before = path.read_bytes()

    def fill() -> None:
        with pytest.raises(BackendUnavailableError, match="File too large"):
            provisioning.launch(request("b"))
        with pytest.raises(BackendUnavailableError):
            provisioning.check()
        assert provisioning.launch(request("a")) == machine

    run_with_full_disk(fill, room=64)
    assert path.read_bytes() == before
    assert provisioning.launch(request("b")).address == ADDRESSES[1]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"\xff",
        b'{"format":"eventserver-provisioning/2","launches":[]}',
        b'{"format":"eventserver-provisioning/1"}',
        b'{"format":"eventserver-provisioning/1","launches":[{"key":"a"}]}',
    ],
)
def test_a_damaged_record_is_reported_and_left_alone(
    provisioning: StaticProvisioning, path: Path, content: bytes
) -> None:
    path.write_bytes(content)
    for call in (
        lambda: provisioning.launch(request("a")),
        lambda: provisioning.describe("relay-1.example"),
        lambda: provisioning.terminate("relay-1.example"),
        provisioning.launched,
        provisioning.check,
    ):
        with pytest.raises(BackendUnavailableError, match="restore it from a backup"):
            call()
    assert path.read_bytes() == content


def test_a_directory_that_cannot_be_made_is_reported(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    with pytest.raises(BackendUnavailableError, match="data directory"):
        StaticProvisioning(tmp_path / "data" / "provisioning.json", [])
