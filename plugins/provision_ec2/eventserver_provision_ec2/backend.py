"""The backend."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import structlog
from botocore.exceptions import ClientError

from eventserver_core.backends.provisioning import LaunchRequest, Machine, MachineState
from eventserver_core.errors import (
    BackendUnavailableError,
    Fault,
    InvalidInputError,
    QuotaExceededError,
)
from eventserver_core.settings import Settings
from eventserver_provision_ec2.clients import Clients, Deadline
from eventserver_provision_ec2.configuration import Configuration, configure
from eventserver_provision_ec2.faults import BACKEND, NO_SUCH_MACHINE, code_of
from eventserver_provision_ec2.machines import (
    DEPLOYMENT_TAG,
    KEY_TAG,
    NOT_GONE,
    Instance,
    parse_machine_id,
    tags_of,
    to_machine,
)
from eventserver_provision_ec2.request import run_instances_request
from eventserver_provision_ec2.user_data import make_user_data

LISTING_PAUSES = (0.2, 0.5, 1.0, 2.0)
"""Seconds between looks for a machine that EC2 has, and may not list yet."""

_launching = threading.Lock()
"""Held by whoever counts the machines and launches one: EC2 tells keys apart, and not quotas."""

_log = structlog.get_logger()


class EC2Provisioning:
    """Launches machines on EC2.

    Args:
        configuration: which, and how.
        clients: EC2 in each region.
    """

    def __init__(self, configuration: Configuration, clients: Clients) -> None:
        self._configuration = configuration
        self._clients = clients

    @classmethod
    def from_settings(cls, settings: Settings) -> EC2Provisioning:
        """Make the backend.

        Raises:
            ConfigurationError: settings are wrong, with every fault.
        """
        configuration = configure(settings)
        return cls(configuration, Clients(configuration))

    def accept(self, region: str, instance_type: str) -> None:
        """Compare with ``ec2.regions`` and ``ec2.instance_types``."""
        asked = (
            ("/region", region, self._configuration.places),
            ("/instanceType", instance_type, self._configuration.instance_types),
        )
        faults = [
            Fault(pointer, f"expected one of {', '.join(allowed)}")
            for pointer, word, allowed in asked
            if word not in allowed
        ]
        if faults:
            raise InvalidInputError("such a machine may not be launched here", faults)

    def launch(self, request: LaunchRequest) -> Machine:
        """Launch an instance; see ``ProvisioningBackend.launch``.

        A key whose machine was ended gets that answer again while EC2 remembers it.

        Raises:
            QuotaExceededError: there are as many machines as there may be.
        """
        self.accept(request.region, request.instance_type)
        user_data = None
        if request.enrollment is not None:
            user_data = make_user_data(request.enrollment, self._configuration.start_command)
        deadline = self._clients.deadline()
        with _held(_launching, deadline):
            known = self._find(request, deadline) or self._count(request, deadline)
            if known is not None:
                return known
            machine = self._run(request, user_data, deadline)
        _log.info("ec2_machine_launched", machine=machine.id, type=machine.instance_type)
        self._await_listing(machine, deadline)
        return machine

    def describe(self, machine_id: str) -> Machine | None:
        """Return the machine as it is now; see ``ProvisioningBackend.describe``.

        One of another deployment is not known.
        """
        parsed = parse_machine_id(machine_id)
        if parsed is None:
            return None
        region, instance_id = parsed
        instance = self._own_instance(region, instance_id, self._clients.deadline())
        return None if instance is None else to_machine(instance, region, self._configuration)

    def terminate(self, machine_id: str) -> None:
        """End a machine; one of another deployment is left alone."""
        parsed = parse_machine_id(machine_id)
        if parsed is None:
            return
        region, instance_id = parsed
        deadline = self._clients.deadline()
        if self._own_instance(region, instance_id, deadline) is None:
            return
        with _may_be_gone():
            self._clients.call(
                "terminate_instances",
                "the machine can't be ended",
                region,
                deadline,
                InstanceIds=[instance_id],
            )

    def launched(self) -> Sequence[tuple[str, Machine]]:
        """Return the machines of this deployment in the regions of the settings."""
        return self._living(self._clients.deadline())

    def check(self) -> None:
        """Ask every region for this deployment's machines, all at once.

        A dry run of a launch would prove more, but EC2 lets few of those through, and they would
        be missing when a machine is to be launched.
        """
        filters = {f"tag:{DEPLOYMENT_TAG}": [self._configuration.deployment]}
        regions = list(self._configuration.places)
        pool = ThreadPoolExecutor(len(regions), "ec2-check")
        try:
            for _ in pool.map(lambda region: self._clients.check(region, filters), regions):
                pass
        finally:
            pool.shutdown(wait=False)

    def _find(self, request: LaunchRequest, deadline: Deadline) -> Machine | None:
        """Return what this key launched before; one that lives before one that is gone."""
        region = request.region
        found = [
            to_machine(instance, region, self._configuration)
            for instance in self._clients.instances(
                region,
                {
                    f"tag:{DEPLOYMENT_TAG}": [self._configuration.deployment],
                    f"tag:{KEY_TAG}": [request.idempotency_key],
                },
                deadline,
            )
        ]
        found.sort(key=lambda machine: machine.state is MachineState.TERMINATED)
        return found[0] if found else None

    def _count(self, request: LaunchRequest, deadline: Deadline) -> Machine | None:
        """Count all machines; return the one that this key launched in another region, if any.

        Raises:
            QuotaExceededError: there are as many as there may be.
        """
        living = self._living(deadline)
        for key, machine in living:
            if key == request.idempotency_key:
                return machine
        limit = self._configuration.max_instances
        if len(living) >= limit:
            raise QuotaExceededError(
                f"there are {len(living)} machines, and may be {limit}; decommission a relay, or "
                "raise ec2.max_instances"
            )
        return None

    def _living(self, deadline: Deadline) -> list[tuple[str, Machine]]:
        filters = {
            f"tag:{DEPLOYMENT_TAG}": [self._configuration.deployment],
            "tag-key": [KEY_TAG],
            "instance-state-name": list(NOT_GONE),
        }
        return [
            (tags_of(instance)[KEY_TAG], to_machine(instance, region, self._configuration))
            for region in self._configuration.places
            for instance in self._clients.instances(region, filters, deadline)
        ]

    def _run(self, request: LaunchRequest, user_data: str | None, deadline: Deadline) -> Machine:
        region = request.region
        parameters = run_instances_request(request, user_data, self._configuration)
        try:
            answer = self._clients.call(
                "run_instances", "the machine can't be launched", region, deadline, **parameters
            )
        except BackendUnavailableError as ex:
            if not _is_refusal(ex, ("IdempotentParameterMismatch",)):
                raise
            # a launch whose answer was lost, with another enrolment; it will be listed soon
            for pause in LISTING_PAUSES:
                time.sleep(min(pause, deadline.remaining))
                known = self._find(request, deadline)
                if known is not None:
                    return known
            raise
        return to_machine(answer["Instances"][0], region, self._configuration)

    def _await_listing(self, machine: Machine, deadline: Deadline) -> None:
        """Wait a moment until EC2 lists a new machine, so that nobody takes it for gone."""
        instance_id = machine.id.removeprefix(f"{machine.region}/")
        try:
            for pause in LISTING_PAUSES:
                if self._own_instance(machine.region, instance_id, deadline) is not None:
                    return
                time.sleep(min(pause, deadline.remaining))
        except BackendUnavailableError as ex:
            _log.warning("ec2_machine_not_listed", machine=machine.id, error=str(ex))
        else:
            _log.warning("ec2_machine_not_listed", machine=machine.id)

    def _own_instance(self, region: str, instance_id: str, deadline: Deadline) -> Instance | None:
        answer: Any = {}
        with _may_be_gone():
            answer = self._clients.call(
                "describe_instances",
                "the machine can't be described",
                region,
                deadline,
                InstanceIds=[instance_id],
            )
        for reservation in answer.get("Reservations", ()):
            for instance in reservation["Instances"]:
                if tags_of(instance).get(DEPLOYMENT_TAG) == self._configuration.deployment:
                    return dict(instance)
                _log.warning("ec2_machine_not_ours", machine=f"{region}/{instance_id}")
        return None


@contextmanager
def _held(lock: threading.Lock, deadline: Deadline) -> Iterator[None]:
    if not lock.acquire(timeout=deadline.remaining):
        raise BackendUnavailableError(BACKEND, "other launches take long; try again")
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _may_be_gone() -> Iterator[None]:
    try:
        yield
    except BackendUnavailableError as ex:
        if not _is_refusal(ex, NO_SUCH_MACHINE):
            raise


def _is_refusal(ex: BackendUnavailableError, codes: Sequence[str]) -> bool:
    return isinstance(ex.__cause__, ClientError) and code_of(ex.__cause__) in codes
