"""From settings to what the plugin works with; every fault is found at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from eventserver_core.errors import ConfigurationError
from eventserver_core.sections import PluginSettings
from eventserver_core.settings import Settings
from eventserver_core.settings.endpoints import is_loopback, parse_endpoint
from eventserver_provision_ec2.settings import EC2Settings

ATTEMPTS = 2
"""How often a request is sent in all."""

_SHARE_OF_TIME_LIMIT = 0.9


@dataclass(frozen=True, slots=True)
class Place:
    """What machines of one region are launched with.

    Attributes:
        image_id: None where the template has one.
        template: its name or id, as EC2 names the two, and its version; empty where there is none.
    """

    image_id: str | None = None
    template: Mapping[str, str] = field(default_factory=dict)
    subnet_id: str | None = None
    security_group_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Configuration:
    """The settings, read and checked against each other.

    Attributes:
        places: by region, in the settings' order.
        endpoint: None is Amazon's own.
        call_limit: seconds after which a call of the backend has ended, unless EC2 hangs twice.
    """

    places: Mapping[str, Place]
    instance_types: tuple[str, ...]
    is_public: bool
    relay_port: int
    max_instances: int
    deployment: str
    key_name: str
    instance_profile: str
    start_command: str
    endpoint: str | None = field(repr=False)
    connect_timeout: float
    read_timeout: float
    call_limit: float


def configure(settings: Settings) -> Configuration:
    """Make the plugin's configuration.

    Raises:
        ConfigurationError: with every fault, each naming its setting.
    """
    own = settings[EC2Settings]
    call_limit = settings[PluginSettings].time_limit_of("provisioning") * _SHARE_OF_TIME_LIMIT
    faults = [*_faults_of_places(own), *_faults_of_endpoint(own.endpoint)]
    if ATTEMPTS * (own.connect_timeout + own.read_timeout) > call_limit:
        faults.append(
            f"ec2.read_timeout: with ec2.connect_timeout, {ATTEMPTS} times, it must fit into a "
            f"call, which has {call_limit:g} s (plugins.time_limit)"
        )
    if faults:
        raise ConfigurationError(faults)
    return Configuration(
        places={region: _place(own, region) for region in own.regions},
        instance_types=tuple(own.instance_types),
        is_public=own.address == "public",
        relay_port=own.relay_port,
        max_instances=own.max_instances,
        deployment=own.deployment,
        key_name=own.key_name,
        instance_profile=own.instance_profile,
        start_command=own.start_command,
        endpoint=own.endpoint.rstrip("/") or None,
        connect_timeout=own.connect_timeout,
        read_timeout=own.read_timeout,
        call_limit=call_limit,
    )


def _place(own: EC2Settings, region: str) -> Place:
    template: dict[str, str] = {}
    if named := own.launch_template.get(region) or own.launch_template.get(""):
        name, _, version = named.partition(":")
        member = "LaunchTemplateId" if name.startswith("lt-") else "LaunchTemplateName"
        template = {member: name, "Version": version or "$Default"}
    return Place(
        image_id=own.image_ids.get(region),
        template=template,
        subnet_id=own.subnet_ids.get(region),
        security_group_ids=tuple(own.security_group_ids.get(region, ())),
    )


def _faults_of_places(own: EC2Settings) -> Iterator[str]:
    for key in ("image_ids", "launch_template", "subnet_ids", "security_group_ids"):
        for region in getattr(own, key):
            if region and region not in own.regions:
                yield f"ec2.{key}: {region} is not in ec2.regions"
    everywhere = own.launch_template.get("", "")
    if everywhere.startswith("lt-") and len(own.regions) > 1:
        yield (
            "ec2.launch_template: an id belongs to one region, and ec2.regions has "
            f"{len(own.regions)}; expected a name, or REGION=lt-… for each"
        )
    for region in own.regions:
        if not (everywhere or region in own.launch_template or region in own.image_ids):
            yield f"ec2.image_ids: {region} has no image, and no launch template either"


def _faults_of_endpoint(endpoint: str) -> Iterator[str]:
    if not endpoint:
        return
    try:
        parts = parse_endpoint(endpoint)
    except ValueError as ex:
        yield f"ec2.endpoint: {ex}"
        return
    if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        yield (
            "ec2.endpoint: what a machine enrols with is sent there, so it must begin with "
            "https://, unless it is on this machine"
        )
