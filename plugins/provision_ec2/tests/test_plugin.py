"""The plugin as the core finds it."""

from __future__ import annotations

from collections.abc import Callable

from eventserver_provision_ec2 import EC2Provisioning, EC2Settings

from eventserver_core.backends.provisioning import ProvisioningBackend, SweepsMachines
from eventserver_core.plugins import Plugins
from eventserver_core.settings import Settings
from eventserver_core.testing.parts import Moto


def test_the_core_finds_the_plugin_and_gets_a_backend(
    make_settings: Callable[..., Settings], moto: Moto
) -> None:
    plugins = Plugins({"provisioning": "ec2"})
    assert plugins.sections() == [EC2Settings]
    backend = plugins.backend("provisioning", make_settings(ec2__endpoint=moto.url))
    assert isinstance(backend, EC2Provisioning)
    assert isinstance(backend, ProvisioningBackend)
    assert isinstance(backend, SweepsMachines)
    backend.check()
