"""Provisioning from a list: relays that somebody runs already, handed out one by one.

Nothing is started or stopped here. To launch is to reserve the first address that is free, to
terminate is to give it back. A machine's id is the key that it was asked for with: an address is
handed out again, an id never.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from eventserver_core.backends.provisioning import (
    LaunchRequest,
    Machine,
    MachineState,
    ProvisioningBackend,
)
from eventserver_core.builtin.files import (
    locked,
    make_directory,
    reported,
    sync_directory,
    write_all,
)
from eventserver_core.errors import BackendUnavailableError, Fault, InvalidInputError
from eventserver_core.hookspecs import hookimpl
from eventserver_core.sections import ServerSettings
from eventserver_core.settings import Section, Settings, option, parse_list

BACKEND = "provisioning=static"
FORMAT = "eventserver-provisioning/1"

_ADDRESS = re.compile(r"([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?\Z")


def _addresses(text: str) -> list[str]:
    addresses = parse_list(text)
    for address in addresses:
        if not _ADDRESS.match(address):
            raise ValueError(f"{address!r} is neither host nor host:port")
    if len(set(addresses)) < len(addresses):
        raise ValueError("an address is there twice")
    return addresses


class ProvisioningSettings(Section, name="provisioning"):
    """Which relays can be handed out."""

    addresses: list[str] = option(
        "",
        parser=_addresses,
        expected="a list of host or host:port",
        doc="Where the relays are that somebody runs already.",
    )


@hookimpl
def eventserver_settings() -> list[type[Section]]:
    """Return the section of this plugin."""
    return [ProvisioningSettings]


@hookimpl
def eventserver_provisioning_backend(settings: Settings) -> ProvisioningBackend:
    """Return the provisioning that hands out the addresses in the settings."""
    return StaticProvisioning(
        settings[ServerSettings].data_dir / "provisioning.json",
        settings[ProvisioningSettings].addresses,
    )


@dataclass(frozen=True, slots=True)
class _Launch:
    """A key, and what it got."""

    key: str
    address: str
    region: str
    instance_type: str
    ended: bool = False

    def machine(self) -> Machine:
        state = MachineState.TERMINATED if self.ended else MachineState.RUNNING
        return Machine(self.key, state, self.address, self.region, self.instance_type)


class StaticProvisioning:
    """Hands out addresses, and remembers in a file who has which.

    Args:
        path: the file, JSON; a lock file lies beside it.
        addresses: host or host:port, in the order in which they are handed out.

    Raises:
        BackendUnavailableError: the directory can't be made.
    """

    def __init__(self, path: Path, addresses: Sequence[str]) -> None:
        self._path = path.absolute()
        self._lock_path = self._path.with_name(self._path.name + ".lock")
        self._addresses = list(addresses)
        with reported(BACKEND, "the data directory cannot be used"):
            make_directory(self._path.parent)

    def accept(self, region: str, instance_type: str) -> None:
        """Take any region and any type: they are recorded as they were asked for."""
        asked = {"/region": region, "/instanceType": instance_type}
        faults = [Fault(pointer, "expected a word") for pointer, word in asked.items() if not word]
        if faults:
            raise InvalidInputError("a machine needs a region and a type", faults)

    def launch(self, request: LaunchRequest) -> Machine:
        """Reserve an address; see ``ProvisioningBackend.launch``.

        A key whose machine was ended gets that answer again, never another machine. Nothing is
        given to the machine: somebody runs it already, and enrols it by hand.
        """
        self.accept(request.region, request.instance_type)
        with self._held() as launches:
            for launch in launches:
                if launch.key == request.idempotency_key:
                    sync_directory(self._path.parent)  # who wrote it may have died before this
                    return launch.machine()
            taken = {launch.address for launch in launches if not launch.ended}
            free = next((a for a in self._addresses if a not in taken), None)
            if free is None:
                raise BackendUnavailableError(
                    BACKEND, "no address is free; add one to provisioning.addresses"
                )
            launch = _Launch(request.idempotency_key, free, request.region, request.instance_type)
            self._write([*launches, launch])
            return launch.machine()

    def describe(self, machine_id: str) -> Machine | None:
        """Return what was reserved under this key."""
        with reported(BACKEND, "the record cannot be read"):
            found = [launch for launch in self._read() if launch.key == machine_id]
        return found[0].machine() if found else None

    def terminate(self, machine_id: str) -> None:
        """Give an address back; see ``ProvisioningBackend.terminate``."""
        with self._held() as launches:
            self._write(
                [
                    replace(launch, ended=True) if launch.key == machine_id else launch
                    for launch in launches
                ]
            )

    def launched(self) -> Sequence[tuple[str, Machine]]:
        """Return every address that was handed out, with its key; see ``SweepsMachines``."""
        with reported(BACKEND, "the record cannot be read"):
            return [(each.key, each.machine()) for each in self._read() if not each.ended]

    def check(self) -> None:
        """Find out whether the record can be read and written.

        Whether an address is free is not asked: that is for the deployer to choose, and no fault.
        """
        with self._held() as launches:
            self._write(launches)

    @contextmanager
    def _held(self) -> Iterator[list[_Launch]]:
        with reported(BACKEND, "the record cannot be kept"), locked(self._lock_path):
            yield self._read()

    def _read(self) -> list[_Launch]:
        try:
            return _launches(self._path.read_bytes())
        except FileNotFoundError:
            self._path.parent.stat()  # without its directory, the record isn't known to be empty
            return []
        except (ValueError, KeyError, TypeError) as ex:
            raise BackendUnavailableError(
                BACKEND, f"{self._path.name} is damaged ({ex}); restore it from a backup"
            ) from ex

    def _write(self, launches: Sequence[_Launch]) -> None:
        document = {"format": FORMAT, "launches": [asdict(launch) for launch in launches]}
        temporary = self._path.with_name(self._path.name + ".new")
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            write_all(fd, json.dumps(document, indent=2).encode() + b"\n")
            os.fsync(fd)
        finally:
            os.close(fd)
        temporary.replace(self._path)
        sync_directory(self._path.parent)


def _launches(content: bytes) -> list[_Launch]:
    document = json.loads(content)
    if document["format"] != FORMAT:
        raise ValueError(f"its format is not {FORMAT}")
    return [_Launch(**launch) for launch in document["launches"]]
