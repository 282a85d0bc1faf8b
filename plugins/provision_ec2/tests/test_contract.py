"""The backend keeps the contract of its role, with EC2's idempotency and with Moto's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from eventserver_provision_ec2 import EC2Provisioning

from eventserver_core.testing.contracts.provisioning import (
    ProvisioningContract,
    SweepsMachinesContract,
)
from eventserver_core.testing.parts import free_port


class WithEC2:
    """Brings the fixtures that the suites ask for."""

    refused_region = "eu-west-1"
    refused_type = "m7i.48xlarge"

    @pytest.fixture
    def keys(self) -> dict[str, str]:
        """Return further settings."""
        return {}

    @pytest.fixture
    def backend_factory(
        self, make_provisioning: Callable[..., EC2Provisioning], keys: dict[str, str]
    ) -> Callable[..., EC2Provisioning]:
        def make(*, down: bool = False) -> EC2Provisioning:
            elsewhere = {"ec2__endpoint": f"http://127.0.0.1:{free_port()}"}
            return make_provisioning(**keys, **(elsewhere if down else {}))

        return make

    @pytest.fixture
    def another_deployment(
        self, make_provisioning: Callable[..., EC2Provisioning]
    ) -> EC2Provisioning:
        return make_provisioning(ec2__deployment=f"another-{uuid4()}")


class TestEC2Provisioning(WithEC2, ProvisioningContract): ...


class TestEC2ProvisioningSweepsMachines(WithEC2, SweepsMachinesContract): ...


class TestEC2ProvisioningWithoutRoomForMore(WithEC2, ProvisioningContract):
    @pytest.fixture
    def keys(self) -> dict[str, str]:
        return {"ec2__max_instances": "4"}


class TestEC2ProvisioningWithClientTokens(WithEC2, ProvisioningContract):
    @pytest.fixture
    def backend_factory(
        self, make_provisioning: Callable[..., EC2Provisioning], gateway: Any
    ) -> Callable[..., EC2Provisioning]:
        gateway.heed_client_tokens()

        def make(*, down: bool = False) -> EC2Provisioning:
            endpoint = f"http://127.0.0.1:{free_port()}" if down else gateway.url
            return make_provisioning(ec2__endpoint=endpoint)

        return make
