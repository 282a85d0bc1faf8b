"""The ``provisioning`` role: launches machines that become relays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol, runtime_checkable


class MachineState(StrEnum):
    """Where a machine is in its life."""

    PENDING = "pending"
    RUNNING = "running"
    TERMINATED = "terminated"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Enrollment:
    """What a new machine needs to enrol by itself, once.

    Attributes:
        server_url: where EventServer is, without a slash at the end.
        relay_id: the relay that the machine becomes.
        token: trades a certificate signing request for certificates, once; keep it secret.
        expires_at: when the token ends, minutes from now.
        root_certificate: PEM text of the root that relays' TLS certificates lead to.
    """

    server_url: str
    relay_id: str
    token: str = field(repr=False)
    expires_at: datetime
    root_certificate: str


@dataclass(frozen=True, slots=True)
class LaunchRequest:
    """What is asked for.

    Attributes:
        idempotency_key: one key, one machine, however often it is sent. 1 to 64 characters of
            ``A-Za-z0-9-``.
        region: the provider's name of a region.
        instance_type: the provider's name of a size.
        enrollment: what the machine is given to enrol with; a repeated launch may bring another
            one, which MUST NOT make another machine. None where it needs nothing.
    """

    idempotency_key: str
    region: str
    instance_type: str
    enrollment: Enrollment | None = None


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine that was launched.

    Attributes:
        id: the provider's name of it, at most 128 characters, enough to find it again.
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

    def accept(self, region: str, instance_type: str) -> None:
        """Find out whether such a machine may be launched at all, before one is asked for.

        Nothing MUST be asked of the provider: the answer comes from the settings.

        Raises:
            InvalidInputError: the region or the type is not allowed.
        """

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


@runtime_checkable
class SweepsMachines(Protocol):
    """The ability to find machines that nobody claims any longer."""

    def launched(self) -> Sequence[tuple[str, Machine]]:
        """Return every machine that this backend launched and that is not gone.

        Machines of another deployment, or of anything else in the same account, MUST NOT be
        among them.

        Returns:
            Pairs of the idempotency key that a machine was launched with, and the machine.
        """
