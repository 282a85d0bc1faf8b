"""What EC2 is asked for when a machine is launched."""

from __future__ import annotations

import hashlib
from typing import Any

from eventserver_core.backends.provisioning import LaunchRequest
from eventserver_provision_ec2.configuration import Configuration, Place
from eventserver_provision_ec2.machines import DEPLOYMENT_TAG, KEY_TAG, RELAY_TAG

_TAGGED = ("instance", "volume", "network-interface")


def run_instances_request(
    request: LaunchRequest, user_data: str | None, configuration: Configuration
) -> dict[str, Any]:
    """Return the parameters of RunInstances, as boto3 takes them."""
    place = configuration.places[request.region]
    tags = [{"Key": key, "Value": value} for key, value in _tags(request, configuration).items()]
    parameters: dict[str, Any] = {
        "MinCount": 1,
        "MaxCount": 1,
        "ClientToken": _client_token(request, configuration),
        "InstanceType": request.instance_type,
        "InstanceInitiatedShutdownBehavior": "terminate",
        # what runs on a machine is kept from its credentials and user data by IMDSv2, and what
        # runs in a container there by the hop limit
        "MetadataOptions": {
            "HttpEndpoint": "enabled",
            "HttpTokens": "required",
            "HttpPutResponseHopLimit": 1,
        },
        "TagSpecifications": [{"ResourceType": kind, "Tags": tags} for kind in _TAGGED],
        **_network(place, configuration),
    }
    if place.image_id:
        parameters["ImageId"] = place.image_id
    if place.template:
        parameters["LaunchTemplate"] = dict(place.template)
    if configuration.key_name:
        parameters["KeyName"] = configuration.key_name
    if profile := configuration.instance_profile:
        member = "Arn" if profile.startswith("arn:") else "Name"
        parameters["IamInstanceProfile"] = {member: profile}
    if user_data is not None:
        parameters["UserData"] = user_data
    return parameters


def _tags(request: LaunchRequest, configuration: Configuration) -> dict[str, str]:
    tags = {
        "Name": f"{configuration.deployment}-relay",
        DEPLOYMENT_TAG: configuration.deployment,
        KEY_TAG: request.idempotency_key,
    }
    if request.enrollment is not None:
        tags[RELAY_TAG] = request.enrollment.relay_id
    return tags


def _client_token(request: LaunchRequest, configuration: Configuration) -> str:
    """Return 64 characters, as many as EC2 takes, that no other deployment comes to."""
    text = f"{configuration.deployment}/{request.idempotency_key}"
    return hashlib.sha256(text.encode()).hexdigest()


def _network(place: Place, configuration: Configuration) -> dict[str, Any]:
    groups = list(place.security_group_ids)
    if place.subnet_id is None or place.template:
        # the template's own network, or EC2's default one
        members = {"SubnetId": place.subnet_id, "SecurityGroupIds": groups}
        return {name: value for name, value in members.items() if value}
    interface: dict[str, Any] = {
        "DeviceIndex": 0,
        "SubnetId": place.subnet_id,
        "AssociatePublicIpAddress": configuration.is_public,
        "DeleteOnTermination": True,
    }
    if groups:
        interface["Groups"] = groups
    return {"NetworkInterfaces": [interface]}
