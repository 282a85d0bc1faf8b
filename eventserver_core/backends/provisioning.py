"""The ``provisioning`` role: launches machines that become relays."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, runtime_checkable


class MachineState(StrEnum):
    """Where a machine is in its life."""

    PENDING = "pending"
    RUNNING = "running"
    TERMINATED = "terminated"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class LaunchRequest:
    """What is asked for.

    Attributes:
        idempotency_key: one key, one machine, however often it is sent.
        region: the provider's name of a region.
        instance_type: the provider's name of a size.
    """

    idempotency_key: str
    region: str
    instance_type: str


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine that was launched.

    Attributes:
        id: the provider's name of it.
        state: where it is in its life.
        address: host, or host and port, where it can be reached; None until it has one.
        reason: why it failed.
    """

    id: str
    state: MachineState
    address: str | None
    region: str
    instance_type: str
    reason: str | None = None


@runtime_checkable
class ProvisioningBackend(Protocol):
    """Launches and ends machines. Every call is safe to repeat."""

    def launch(self, request: LaunchRequest) -> Machine:
        """Launch a machine, or return the one that this request's key launched before.

        Two launches with one key MUST give one machine; two keys MUST give two.

        Raises:
            InvalidInputError: the region or the type is not allowed.
            BackendUnavailableError: it can't be had now; a retry with the same key is safe.
        """

    def describe(self, machine_id: str) -> Machine | None:
        """Return the machine as it is now, or None where the provider knows none such."""

    def terminate(self, machine_id: str) -> None:
        """End a machine. Ending one that is gone already MUST succeed."""

    def check(self) -> None:
        """Find out whether machines can be launched now.

        Raises:
            BackendUnavailableError: they can't; the message says what to do about it.
        """
