"""Machines as they are found, and whose they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from eventserver_provision_ec2 import EC2Provisioning
from eventserver_provision_ec2.machines import parse_machine_id

from eventserver_core.backends.provisioning import LaunchRequest, Machine, MachineState
from eventserver_core.testing.parts import Moto

Make = Callable[..., EC2Provisioning]
MakeRequest = Callable[..., LaunchRequest]

DESCRIBED = """<DescribeInstancesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">
<requestId>1</requestId><reservationSet><item><instancesSet><item>
<instanceId>i-0123456789abcdef0</instanceId><instanceType>t3.micro</instanceType>
<instanceState><code>16</code><name>{state}</name></instanceState>
<tagSet><item><key>eventserver:deployment</key><value>{deployment}</value></item></tagSet>
{more}</item></instancesSet></item></reservationSet></DescribeInstancesResponse>"""
REASON = "<stateReason><code>{code}</code><message>{message}</message></stateReason>"
IPV6 = (
    "<networkInterfaceSet><item><ipv6AddressesSet><item><ipv6Address>2001:db8::7</ipv6Address>"
    "</item></ipv6AddressesSet></item></networkInterfaceSet>"
)
BOTH = "<ipAddress>198.51.100.7</ipAddress><privateIpAddress>10.0.0.7</privateIpAddress>"


@pytest.fixture
def describe(make_provisioning: Make, gateway: Any, deployment: str) -> Callable[..., Machine]:
    """Return a function that describes the one machine that EC2 answers with."""

    def look(state: str, more: str, **keys: str) -> Machine:
        body = DESCRIBED.format(state=state, deployment=deployment, more=more).encode()
        gateway.rules["DescribeInstances"] = lambda *_: (200, body)
        provisioning = make_provisioning(ec2__endpoint=gateway.url, **keys)
        machine = provisioning.describe("us-east-1/i-0123456789abcdef0")
        assert machine is not None
        return machine

    return look


@pytest.mark.parametrize(
    ("state", "reason", "wanted", "said"),
    [
        ("pending", "", MachineState.PENDING, None),
        ("running", "", MachineState.RUNNING, None),
        (
            "stopping",
            REASON.format(code="Server.SpotInstanceShutdown", message="Spot ended"),
            MachineState.FAILED,
            "stopping: Spot ended",
        ),
        ("stopped", "", MachineState.FAILED, "stopped: EC2 says no reason"),
        (
            "shutting-down",
            REASON.format(code="Client.UserInitiatedShutdown", message="asked for"),
            MachineState.TERMINATED,
            None,
        ),
        (
            "terminated",
            REASON.format(code="Client.InternalError", message="the volume's key is disabled"),
            MachineState.TERMINATED,
            "the volume's key is disabled",
        ),
        ("something new", "", MachineState.PENDING, None),
    ],
)
def test_a_state_is_told_in_the_cores_words(
    describe: Callable[..., Machine],
    state: str,
    reason: str,
    wanted: MachineState,
    said: str | None,
) -> None:
    machine = describe(state, BOTH + reason)
    assert (machine.state, machine.reason) == (wanted, said)


@pytest.mark.parametrize(
    ("more", "keys", "address"),
    [
        (BOTH, {}, "198.51.100.7"),
        (BOTH, {"ec2__address": "private"}, "10.0.0.7"),
        (BOTH, {"ec2__relay_port": "8443"}, "198.51.100.7:8443"),
        (IPV6, {}, "[2001:db8::7]"),
        (IPV6, {"ec2__address": "private", "ec2__relay_port": "8443"}, "[2001:db8::7]:8443"),
        ("<ipv6Address>2001:db8::8</ipv6Address>" + IPV6, {}, "[2001:db8::8]"),
    ],
)
def test_a_relay_is_reached_at_one_address(
    describe: Callable[..., Machine], more: str, keys: dict[str, str], address: str
) -> None:
    machine = describe("running", more, **keys)
    assert (machine.state, machine.address) == (MachineState.RUNNING, address)


def test_a_machine_that_runs_without_an_address_is_not_there_yet(
    describe: Callable[..., Machine],
) -> None:
    machine = describe("running", "<privateIpAddress>10.0.0.7</privateIpAddress>")
    assert (machine.state, machine.address) == (MachineState.PENDING, None)
    assert machine.reason == "it runs, and has no public address"


def test_a_machine_that_somebody_stopped_has_failed(
    provisioning: EC2Provisioning, make_request: MakeRequest, client: Any
) -> None:
    machine = provisioning.launch(make_request())
    client.stop_instances(InstanceIds=[machine.id.partition("/")[2]])
    described = provisioning.describe(machine.id)
    assert described is not None
    assert described.state is MachineState.FAILED
    assert "User initiated shutdown" in (described.reason or "")
    assert [listed.id for _, listed in provisioning.launched()] == [machine.id]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "i-0123456789abcdef0",
        "us-east-1/",
        "us-east-1/x-0123",
        "us-east-1/i-",
        "us-east-1/i-0/1",
        "evil.example/i-0123",
        "us-east-1.evil.example#/i-0123",
        "us-east-1/i-0123\n",
    ],
)
def test_an_id_that_is_none_of_ec2s_is_not_asked_for(
    behind_gateway: EC2Provisioning, gateway: Any, text: str
) -> None:
    assert parse_machine_id(text) is None
    assert behind_gateway.describe(text) is None
    behind_gateway.terminate(text)
    assert gateway.asked == []


def test_a_machine_that_ec2_never_had_is_gone(provisioning: EC2Provisioning) -> None:
    unknown = "us-east-1/i-0123456789abcdef0"
    assert provisioning.describe(unknown) is None
    provisioning.terminate(unknown)


def test_a_machine_that_goes_while_it_is_ended_is_gone(
    behind_gateway: EC2Provisioning, gateway: Any, make_request: MakeRequest
) -> None:
    machine = behind_gateway.launch(make_request())
    gateway.refuse("TerminateInstances", "InvalidInstanceID.NotFound")
    behind_gateway.terminate(machine.id)
    assert gateway.count("TerminateInstances") == 1


def test_another_deployments_machine_is_left_alone(
    make_provisioning: Make, make_request: MakeRequest
) -> None:
    provisioning, other = (make_provisioning(), make_provisioning(ec2__deployment="another"))
    machine = other.launch(make_request())
    assert provisioning.describe(machine.id) is None
    provisioning.terminate(machine.id)
    described = other.describe(machine.id)
    assert described is not None
    assert described.state is MachineState.RUNNING
    other.terminate(machine.id)


def test_anything_else_in_the_account_is_left_alone(
    provisioning: EC2Provisioning, client: Any, deployment: str
) -> None:
    tagged = [{"Key": "eventserver:deployment", "Value": deployment}]
    for tags in ([], [{"Key": "eventserver:idempotency-key", "Value": "a-key"}], tagged):
        specification = [{"ResourceType": "instance", "Tags": tags}] if tags else []
        client.run_instances(
            ImageId=Moto.image_id, MinCount=1, MaxCount=1, TagSpecifications=specification
        )
    assert provisioning.launched() == []


def test_machines_of_all_regions_are_listed_page_by_page(
    make_provisioning: Make,
    make_request: MakeRequest,
    monkeypatch: pytest.MonkeyPatch,
    gateway: Any,
) -> None:
    monkeypatch.setattr("eventserver_provision_ec2.clients.PAGE_SIZE", 5)
    provisioning = make_provisioning(
        ec2__endpoint=gateway.url,
        ec2__regions="us-east-1,eu-west-1",
        ec2__image_ids=f"us-east-1={Moto.image_id},eu-west-1={Moto.image_id}",
    )
    launched = {}
    for number in range(12):
        region = "eu-west-1" if number == 11 else "us-east-1"
        request = LaunchRequest(f"key-{number}", region, "t3.micro")
        launched[request.idempotency_key] = provisioning.launch(request).id
    gateway.asked.clear()
    assert {key: machine.id for key, machine in provisioning.launched()} == launched
    assert gateway.count("DescribeInstances") == 4


def test_a_region_that_was_taken_off_the_list_keeps_its_machines(
    make_provisioning: Make,
) -> None:
    both = make_provisioning(
        ec2__regions="us-east-1,eu-west-1",
        ec2__image_ids=f"us-east-1={Moto.image_id},eu-west-1={Moto.image_id}",
    )
    machine = both.launch(LaunchRequest("a-key", "eu-west-1", "t3.micro"))
    fewer = make_provisioning()
    described = fewer.describe(machine.id)
    assert described is not None
    assert described.region == "eu-west-1"
    fewer.terminate(machine.id)
    ended = both.describe(machine.id)
    assert ended is not None
    assert ended.state is MachineState.TERMINATED
