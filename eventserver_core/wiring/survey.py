"""All that is wrong with the settings at once, for whoever asks before anything is started."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path

from eventserver_core.errors import ConfigurationError, EventServerError
from eventserver_core.plugins import PROTOCOLS, Plugins
from eventserver_core.sections import CORE_SECTIONS, DatabaseSettings, PluginSettings
from eventserver_core.settings import Section, Settings, Sources
from eventserver_core.wiring.configuration import (
    Configuration,
    load_configuration,
    open_database,
)
from eventserver_core.wiring.services import Services


class Process(StrEnum):
    """What is to run under the settings; each needs other parts and other secrets."""

    API = "api"
    WORKER = "worker"
    MIGRATE = "migrate"


ROLES: Mapping[Process, Sequence[str]] = {
    Process.API: tuple(PROTOCOLS),
    Process.WORKER: ("storage", "chain", "provisioning"),
    Process.MIGRATE: (),
}
"""The backends that each process works with."""

_ATTRIBUTES = {"ratelimit": "limiter"}


@dataclass(frozen=True, slots=True)
class Survey:
    """What was found.

    Attributes:
        settings: what could be read.
        services: what works with them; None where something is at fault.
        faults: all that keeps a process from starting.
        warnings: what is no fault, and probably not meant.
    """

    settings: Settings
    services: Services | None
    faults: list[str]
    warnings: list[str]


def survey_configuration(
    directory: Path | None = None,
    environ: Mapping[str, str] | None = None,
    process: Process = Process.API,
) -> Survey:
    """Read the settings, load the plugins, make the backends, and gather every fault.

    Args:
        directory: where the files are.
        environ: the environment variables, ``os.environ`` unless given.
        process: what is to run.
    """
    sources = Sources(directory, environ)
    chosen = sources.peek(PluginSettings)
    plugins, faults = _load_plugins({role: getattr(chosen, role) for role in PROTOCOLS})
    sections: list[type[Section]] = list(CORE_SECTIONS)
    try:
        sections += plugins.sections()
    except ConfigurationError as ex:
        faults += ex.faults
    settings, more = sources.survey(sections, others=bool(faults))
    faults += more
    services, more = _make_backends(settings, plugins, process)
    # a section that several need is told once
    faults += [fault for fault in more if fault not in faults]
    if not faults:
        # settings that are sound one by one may be at odds with each other
        _find(partial(load_configuration, directory, environ), faults)
    return Survey(
        settings,
        None if faults else services,
        faults,
        [*settings.warnings, *_doubts(settings, chosen)],
    )


def _load_plugins(chosen: Mapping[str, str]) -> tuple[Plugins, list[str]]:
    """Load the plugins that can be loaded."""
    try:
        return Plugins(chosen), []
    except ConfigurationError as ex:
        faults = ex.faults
    sound = {}
    for role, name in chosen.items():
        try:
            Plugins({role: name})
        except ConfigurationError:
            continue
        sound[role] = name
    try:
        return Plugins(sound), faults
    except ConfigurationError:  # they are at odds with each other
        return Plugins({}), faults


def _make_backends(
    settings: Settings, plugins: Plugins, process: Process
) -> tuple[Services | None, list[str]]:
    """Make what a process works with, and tell what is wrong with its settings."""
    faults: list[str] = []
    services = None
    try:
        services = Services(Configuration(settings, plugins))
    except ConfigurationError as ex:
        faults += ex.faults
        _find(partial(open_database, settings), faults)
    for role in ROLES[process]:
        if role not in plugins.chosen:
            continue
        if services is None:
            _find(partial(plugins.backend, role, settings), faults)
        else:
            _find(partial(getattr, services, _ATTRIBUTES.get(role, role)), faults)
    if process is Process.WORKER and services is not None and "chain" in plugins.chosen:
        _find(services.require_account, faults)
    return services, faults


def _find(make: Callable[[], object], faults: list[str]) -> None:
    try:
        make()
    except ConfigurationError as ex:
        faults += [fault for fault in ex.faults if fault not in faults]
    except EventServerError:
        return  # away, and no fault of the settings: whoever asks it is told


def _doubts(settings: Settings, chosen: PluginSettings) -> list[str]:
    try:
        database = settings[DatabaseSettings]
    except ConfigurationError:
        return []
    if settings.is_production and chosen.storage == "s3" and not database.url:
        return [
            "database.url: not set, so rows go into a SQLite file in the data directory, though "
            "objects go into a bucket: other machines will not see them. Set DATABASE_URL"
        ]
    return []
