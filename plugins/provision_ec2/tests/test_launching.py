"""What a machine is launched with, and when it isn't."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import boto3
import pytest
import yaml
from eventserver_provision_ec2 import EC2Provisioning

from eventserver_core.backends.provisioning import Enrollment, LaunchRequest, MachineState
from eventserver_core.errors import (
    BackendUnavailableError,
    InvalidInputError,
    QuotaExceededError,
)
from eventserver_core.testing.parts import Moto

Make = Callable[..., EC2Provisioning]
MakeRequest = Callable[..., LaunchRequest]
MakeEnrollment = Callable[..., Enrollment]
InstanceOf = Callable[[str], dict[str, Any]]


def tags(described: dict[str, Any]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in described["Tags"]}


def test_a_machine_says_whose_it_is(
    provisioning: EC2Provisioning,
    make_request: MakeRequest,
    make_enrollment: MakeEnrollment,
    instance_of: InstanceOf,
    client: Any,
    deployment: str,
) -> None:
    enrollment = make_enrollment()
    request = make_request("a-key", enrollment)
    instance = instance_of(provisioning.launch(request).id)
    wanted = {
        "Name": f"{deployment}-relay",
        "eventserver:deployment": deployment,
        "eventserver:idempotency-key": "a-key",
        "eventserver:relay-id": enrollment.relay_id,
    }
    assert tags(instance) == wanted
    volume = instance["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]
    assert tags(client.describe_volumes(VolumeIds=[volume])["Volumes"][0]) == wanted


def test_without_an_enrolment_a_machine_is_given_nothing(
    provisioning: EC2Provisioning,
    make_request: MakeRequest,
    instance_of: InstanceOf,
    moto: Moto,
) -> None:
    machine = provisioning.launch(make_request())
    assert moto.user_data(machine.id) == ""
    assert "eventserver:relay-id" not in tags(instance_of(machine.id))


def test_metadata_need_a_token_and_a_machine_that_shuts_down_is_gone(
    behind_gateway: EC2Provisioning,
    gateway: Any,
    make_request: MakeRequest,
    instance_of: InstanceOf,
    client: Any,
) -> None:
    machine = behind_gateway.launch(make_request())
    options = instance_of(machine.id)["MetadataOptions"]
    assert (options["HttpTokens"], options["HttpPutResponseHopLimit"]) == ("required", 1)
    attribute = client.describe_instance_attribute(
        InstanceId=machine.id.partition("/")[2], Attribute="instanceInitiatedShutdownBehavior"
    )
    assert attribute["InstanceInitiatedShutdownBehavior"]["Value"] == "terminate"
    (asked,) = [parameters for action, parameters in gateway.asked if action == "RunInstances"]
    assert (asked["MinCount"], asked["MaxCount"]) == ("1", "1")


def test_a_machine_starts_from_its_image_and_type(
    provisioning: EC2Provisioning, instance_of: InstanceOf, moto: Moto
) -> None:
    machine = provisioning.launch(LaunchRequest("a-key", "us-east-1", "t3.small"))
    instance = instance_of(machine.id)
    assert (instance["ImageId"], instance["InstanceType"]) == (moto.image_id, "t3.small")
    assert (machine.region, machine.instance_type) == ("us-east-1", "t3.small")
    assert machine.id == f"us-east-1/{instance['InstanceId']}"


@pytest.mark.parametrize(
    "root",
    [
        "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
        "\"'\n  - runcmd: [evil]\n#cloud-config\n$(reboot) `reboot` \\x00 \u2028 ö",
    ],
    ids=["a certificate", "something hostile"],
)
def test_a_machine_is_given_its_enrolment_and_what_starts_it(
    make_provisioning: Make,
    make_request: MakeRequest,
    make_enrollment: MakeEnrollment,
    moto: Moto,
    root: str,
) -> None:
    command = "printf '%s\\n' \"$HOME\" # : { ö"
    provisioning = make_provisioning(ec2__start_command=command)
    enrollment = make_enrollment(root_certificate=root)
    user_data = moto.user_data(provisioning.launch(make_request(None, enrollment)).id)
    assert user_data.startswith("#cloud-config\n")
    config = yaml.safe_load(user_data)
    assert config.keys() == {"write_files", "runcmd"}
    assert config["runcmd"] == [["sh", "-c", command]]
    (file,) = config["write_files"]
    content = json.loads(base64.b64decode(file.pop("content")))
    assert file == {
        "path": "/etc/eventserver-relay/enrollment.json",
        "owner": "root:root",
        "permissions": "0600",
        "encoding": "b64",
    }
    assert content == {
        "serverUrl": enrollment.server_url,
        "relayId": enrollment.relay_id,
        "token": enrollment.token,
        "expiresAt": "2030-01-02T03:04:05.000Z",
        "rootCertificate": root,
    }
    assert enrollment.token not in user_data


def test_more_than_ec2_takes_is_not_sent(
    behind_gateway: EC2Provisioning,
    gateway: Any,
    make_request: MakeRequest,
    make_enrollment: MakeEnrollment,
) -> None:
    enrollment = make_enrollment(root_certificate="x" * 16_000)
    with pytest.raises(BackendUnavailableError, match="EC2 takes 16384"):
        behind_gateway.launch(make_request(None, enrollment))
    assert gateway.asked == []


def test_a_relay_is_reached_at_its_public_address(
    provisioning: EC2Provisioning, make_request: MakeRequest, instance_of: InstanceOf
) -> None:
    machine = provisioning.launch(make_request())
    described = provisioning.describe(machine.id)
    assert described is not None
    assert described.state is MachineState.RUNNING
    assert described.address == instance_of(machine.id)["PublicIpAddress"]


@pytest.mark.parametrize(("address", "is_public"), [("public", True), ("private", False)])
def test_a_machine_in_a_subnet_of_ours_has_the_address_that_is_wanted(
    make_provisioning: Make,
    make_request: MakeRequest,
    instance_of: InstanceOf,
    moto: Moto,
    address: str,
    is_public: bool,
) -> None:
    subnet = moto.make_loopback_subnet()
    provisioning = make_provisioning(
        ec2__subnet_ids=f"us-east-1={subnet}", ec2__address=address, ec2__relay_port="8443"
    )
    machine = provisioning.launch(make_request())
    instance = instance_of(machine.id)
    assert instance["SubnetId"] == subnet
    assert ("PublicIpAddress" in instance) is is_public
    described = provisioning.describe(machine.id)
    assert described is not None
    host = instance["PublicIpAddress" if is_public else "PrivateIpAddress"]
    assert described.address == f"{host}:8443"
    assert moto.private_address(machine.id).startswith("127.0.0.")


@pytest.mark.parametrize("with_subnet", [True, False])
def test_a_machine_is_in_its_security_groups(
    make_provisioning: Make,
    make_request: MakeRequest,
    instance_of: InstanceOf,
    client: Any,
    deployment: str,
    with_subnet: bool,
) -> None:
    (subnet, *_) = client.describe_subnets()["Subnets"]
    groups = {
        client.create_security_group(
            GroupName=f"{deployment}-{number}", Description="-", VpcId=subnet["VpcId"]
        )["GroupId"]
        for number in range(2)
    }
    keys = {"ec2__security_group_ids": ",".join(f"us-east-1={group}" for group in groups)}
    if with_subnet:
        keys["ec2__subnet_ids"] = f"us-east-1={subnet['SubnetId']}"
    machine = make_provisioning(**keys).launch(make_request())
    (interface,) = instance_of(machine.id)["NetworkInterfaces"]
    assert {group["GroupId"] for group in interface["Groups"]} >= groups


def test_a_key_pair_and_a_profile_go_along(
    make_provisioning: Make,
    make_request: MakeRequest,
    instance_of: InstanceOf,
    moto: Moto,
    deployment: str,
) -> None:
    iam = boto3.client("iam", region_name=moto.region, endpoint_url=moto.url)
    profile = iam.create_instance_profile(InstanceProfileName=deployment)["InstanceProfile"]
    for named in (profile["Arn"], deployment):
        provisioning = make_provisioning(ec2__instance_profile=named, ec2__key_name="a key")
        instance = instance_of(provisioning.launch(make_request()).id)
        assert instance["IamInstanceProfile"]["Arn"] == profile["Arn"]
        assert instance["KeyName"] == "a key"


def test_a_template_gives_what_is_not_set_here(
    make_provisioning: Make,
    make_request: MakeRequest,
    make_enrollment: MakeEnrollment,
    instance_of: InstanceOf,
    client: Any,
    moto: Moto,
    deployment: str,
) -> None:
    for member, image in (("create_launch_template", "ami-1"), ("", "ami-2")):
        data = {"ImageId": image, "KeyName": f"key of {image}", "UserData": "ZXZpbA=="}
        if member:
            made = client.create_launch_template(
                LaunchTemplateName=deployment, LaunchTemplateData=data
            )
        else:
            client.create_launch_template_version(
                LaunchTemplateName=deployment, LaunchTemplateData=data
            )
    template_id = made["LaunchTemplate"]["LaunchTemplateId"]
    for named, image in (
        (deployment, "ami-1"),
        (f"{deployment}:2", "ami-2"),
        (f"us-east-1={template_id}:$Latest", "ami-2"),
    ):
        provisioning = make_provisioning(ec2__launch_template=named, ec2__image_ids="")
        machine = provisioning.launch(make_request(None, make_enrollment()))
        instance = instance_of(machine.id)
        assert (instance["ImageId"], instance["KeyName"]) == (image, f"key of {image}")
        assert instance["InstanceType"] == "t3.micro"
        assert moto.user_data(machine.id).startswith("#cloud-config\n")
    both = make_provisioning(ec2__launch_template=deployment).launch(make_request())
    assert instance_of(both.id)["ImageId"] == moto.image_id


def test_only_what_is_listed_may_be_launched(behind_gateway: EC2Provisioning, gateway: Any) -> None:
    with pytest.raises(InvalidInputError) as caught:
        behind_gateway.launch(LaunchRequest("a-key", "eu-west-1", "m7i.48xlarge"))
    assert [(fault.pointer, fault.detail) for fault in caught.value.faults] == [
        ("/region", "expected one of us-east-1"),
        ("/instanceType", "expected one of t3.micro, t3.small"),
    ]
    assert gateway.asked == []


def test_there_are_no_more_machines_than_there_may_be(
    make_provisioning: Make, make_request: MakeRequest
) -> None:
    provisioning = make_provisioning(
        ec2__max_instances="2",
        ec2__regions="us-east-1,eu-west-1",
        ec2__image_ids=f"us-east-1={Moto.image_id},eu-west-1={Moto.image_id}",
    )
    first = make_request()
    machine = provisioning.launch(first)
    elsewhere = provisioning.launch(LaunchRequest("a-key", "eu-west-1", "t3.micro"))
    with pytest.raises(QuotaExceededError, match=r"ec2\.max_instances"):
        provisioning.launch(make_request())
    assert provisioning.launch(first).id == machine.id
    provisioning.terminate(elsewhere.id)
    assert provisioning.launch(make_request()).state is not MachineState.TERMINATED


def test_one_key_gives_one_machine_wherever_it_is_asked_for(make_provisioning: Make) -> None:
    provisioning = make_provisioning(
        ec2__regions="us-east-1,eu-west-1",
        ec2__image_ids=f"us-east-1={Moto.image_id},eu-west-1={Moto.image_id}",
    )
    first = provisioning.launch(LaunchRequest("a-key", "eu-west-1", "t3.micro"))
    again = provisioning.launch(LaunchRequest("a-key", "us-east-1", "t3.small"))
    assert (again.id, again.region) == (first.id, "eu-west-1")


def test_a_key_whose_machine_was_ended_gets_no_other(
    provisioning: EC2Provisioning, make_request: MakeRequest
) -> None:
    request = make_request()
    machine = provisioning.launch(request)
    provisioning.terminate(machine.id)
    late = provisioning.launch(request)
    assert (late.id, late.state) == (machine.id, MachineState.TERMINATED)
    assert provisioning.launched() == []


def test_two_deployments_use_one_key_for_two_machines(
    make_provisioning: Make, gateway: Any, make_request: MakeRequest
) -> None:
    gateway.heed_client_tokens()
    request = make_request()
    ids = {
        make_provisioning(ec2__endpoint=gateway.url, ec2__deployment=name).launch(request).id
        for name in ("here", "there")
    }
    assert len(ids) == 2
