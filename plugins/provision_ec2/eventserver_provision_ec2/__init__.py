"""Relays on Amazon's EC2.

The entry point ``ec2`` in the group ``eventserver.provisioning`` names this module.
"""

from __future__ import annotations

from collections.abc import Sequence

from eventserver_core.hookspecs import hookimpl
from eventserver_core.settings import Section, Settings
from eventserver_provision_ec2.backend import EC2Provisioning
from eventserver_provision_ec2.settings import EC2Settings

__all__ = [
    "EC2Provisioning",
    "EC2Settings",
    "eventserver_provisioning_backend",
    "eventserver_settings",
]


@hookimpl
def eventserver_settings() -> Sequence[type[Section]]:
    """Bring the section ``ec2``."""
    return [EC2Settings]


@hookimpl
def eventserver_provisioning_backend(settings: Settings) -> EC2Provisioning:
    """Make the backend; nothing is asked of EC2 yet.

    Raises:
        ConfigurationError: settings are wrong, with every fault.
    """
    return EC2Provisioning.from_settings(settings)
