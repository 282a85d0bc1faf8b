"""Machines as EC2 describes them, and as the core knows them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eventserver_core.backends.provisioning import Machine, MachineState
from eventserver_provision_ec2.configuration import Configuration
from eventserver_provision_ec2.settings import HTTPS_PORT, REGION

DEPLOYMENT_TAG = "eventserver:deployment"
KEY_TAG = "eventserver:idempotency-key"
RELAY_TAG = "eventserver:relay-id"

NOT_GONE = ("pending", "running", "stopping", "stopped")

_STATES = {
    "pending": MachineState.PENDING,
    "running": MachineState.RUNNING,
    # nobody here stops a machine, and what somebody else stopped is no relay any longer
    "stopping": MachineState.FAILED,
    "stopped": MachineState.FAILED,
    "shutting-down": MachineState.TERMINATED,
    "terminated": MachineState.TERMINATED,
}
_ASKED_FOR = "Client.UserInitiatedShutdown"

Instance = Mapping[str, Any]


def machine_id(region: str, instance: Instance) -> str:
    """Return the id under which the core knows a machine."""
    return f"{region}/{instance['InstanceId']}"


def parse_machine_id(text: str) -> tuple[str, str] | None:
    """Return region and instance id, or None where no machine of EC2's has this id."""
    region, separator, instance_id = text.partition("/")
    well_formed = (
        bool(separator)
        and bool(REGION.match(region))
        and instance_id.startswith("i-")
        and instance_id.isascii()
        and instance_id[2:].isalnum()
    )
    return (region, instance_id) if well_formed else None


def tags_of(instance: Instance) -> dict[str, str]:
    """Return an instance's tags by their keys."""
    return {tag["Key"]: tag["Value"] for tag in instance.get("Tags", ())}


def to_machine(instance: Instance, region: str, configuration: Configuration) -> Machine:
    """Make of an instance what the core knows."""
    state = _STATES.get(instance["State"]["Name"], MachineState.PENDING)
    address = _address(instance, configuration)
    reason = _reason(instance) if state in (MachineState.FAILED, MachineState.TERMINATED) else None
    if state is MachineState.RUNNING and address is None:
        # it may still get one, as when somebody gives it an elastic address
        kind = "public" if configuration.is_public else "private"
        state, reason = MachineState.PENDING, f"it runs, and has no {kind} address"
    return Machine(
        id=machine_id(region, instance),
        state=state,
        address=address,
        region=region,
        instance_type=instance["InstanceType"],
        reason=reason,
    )


def _address(instance: Instance, configuration: Configuration) -> str | None:
    own = "PublicIpAddress" if configuration.is_public else "PrivateIpAddress"
    # IPv6 has no private addresses of this kind
    host = instance.get(own) or instance.get("Ipv6Address") or _ipv6(instance)
    if not host:
        return None
    host = f"[{host}]" if ":" in host else str(host)
    port = configuration.relay_port
    return host if port == HTTPS_PORT else f"{host}:{port}"


def _ipv6(instance: Instance) -> str | None:
    for interface in instance.get("NetworkInterfaces", ()):
        for address in interface.get("Ipv6Addresses", ()):
            return str(address["Ipv6Address"])
    return None


def _reason(instance: Instance) -> str | None:
    state, why = instance["State"]["Name"], instance.get("StateReason") or {}
    if state in ("stopping", "stopped"):
        return f"{state}: {why.get('Message') or 'EC2 says no reason'}"
    return None if why.get("Code") in (None, "", _ASKED_FOR) else str(why.get("Message"))
