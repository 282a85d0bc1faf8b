"""Finding, choosing and checking plugins.

Only the entry point that the settings name is loaded for each role, so a plugin that isn't chosen
is never imported.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import pluggy

from eventserver_core import hookspecs
from eventserver_core.backends.auth import (
    AuthBackend,
    ChallengesDevices,
    ChecksSignedPackages,
    IssuesCertificates,
)
from eventserver_core.backends.chain import ChainBackend, UsesAccount
from eventserver_core.backends.provisioning import ProvisioningBackend, SweepsMachines
from eventserver_core.backends.ratelimit import DependsOnService, RateLimiter
from eventserver_core.backends.storage import RetainsObjects, StorageBackend
from eventserver_core.domain.proof import Anchor, Step
from eventserver_core.errors import ConfigurationError, EventServerError
from eventserver_core.settings import Section, Settings

PROTOCOLS: Mapping[str, type] = {
    "auth": AuthBackend,
    "ratelimit": RateLimiter,
    "storage": StorageBackend,
    "chain": ChainBackend,
    "provisioning": ProvisioningBackend,
}
"""The roles, and the Protocol that a backend of each must have."""

ABILITIES: Mapping[str, tuple[type, ...]] = {
    "auth": (IssuesCertificates, ChallengesDevices, ChecksSignedPackages),
    "ratelimit": (DependsOnService,),
    "storage": (RetainsObjects,),
    "chain": (UsesAccount,),
    "provisioning": (SweepsMachines,),
}
"""The Protocols that a backend of a role may have besides."""


@dataclass(frozen=True, slots=True)
class InstalledPlugin:
    """An entry point that some distribution offers for a role."""

    role: str
    name: str
    distribution: str
    version: str


def installed(role: str) -> list[InstalledPlugin]:
    """Return what is installed for a role; nothing is imported."""
    return [InstalledPlugin(role, point.name, *_distribution(point)) for point in _points(role)]


class Plugins:
    """The chosen plugins, loaded.

    Args:
        chosen: the name of the plugin for each role.

    Raises:
        ConfigurationError: one isn't there, is there twice, or can't be loaded.
    """

    def __init__(self, chosen: Mapping[str, str]) -> None:
        self.chosen = dict(chosen)
        self._manager = pluggy.PluginManager(hookspecs.PROJECT)
        self._manager.add_hookspecs(hookspecs)
        faults: list[str] = []
        for role, name in self.chosen.items():
            try:
                plugin = _load(role, name)
                if not self._manager.is_registered(plugin):
                    faults += _unmarked(plugin, f"plugins.{role} = {name}")
                    self._manager.register(plugin, name=f"{role}={name}")
            except ConfigurationError as ex:
                faults += ex.faults
            except (pluggy.PluginValidationError, ValueError) as ex:
                faults.append(f"plugins.{role} = {name}: {' '.join(str(ex).split())}")
        if not faults:
            faults += self._pending()
        if faults:
            raise ConfigurationError(faults)

    def sections(self) -> list[type[Section]]:
        """Return the settings' sections that the plugins bring.

        Raises:
            ConfigurationError: a plugin fails, or answers with anything else.
        """
        try:
            answers: Iterable[Any] = self._manager.hook.eventserver_settings()
            sections = [section for answer in answers for section in answer]
        except Exception as ex:  # a plugin may raise anything, and must not look like our fault
            raise ConfigurationError(
                f"a plugin's eventserver_settings failed: {ex!r}; chosen: {self._chosen_text()}"
            ) from ex
        for section in sections:
            if not (isinstance(section, type) and issubclass(section, Section)):
                raise ConfigurationError(
                    f"a plugin's eventserver_settings answers with {section!r:.100}, which is no "
                    f"Section; chosen: {self._chosen_text()}"
                )
        return sections

    def backend(self, role: str, settings: Settings) -> Any:
        """Return the one backend for a role.

        Raises:
            ConfigurationError: the plugin answers with none, with several, with another thing
                than the role's Protocol asks for, or fails.
        """
        name = self.chosen[role]
        where = f"plugins.{role} = {name}"
        try:
            answers = getattr(self._manager.hook, f"eventserver_{role}_backend")(settings=settings)
        except EventServerError:
            raise
        except Exception as ex:  # a plugin may raise anything, and must not look like our fault
            raise ConfigurationError(f"{where}: the plugin failed: {ex!r}") from ex
        if len(answers) != 1:
            hook = f"eventserver_{role}_backend"
            hint = (
                f"of the chosen plugins ({self._chosen_text()}) only one may implement {hook}"
                if answers
                else f"does the plugin have {hook}, marked with @hookimpl?"
            )
            raise ConfigurationError(
                f"{where}: expected one backend, got {len(answers)}; {hint} {_installed_text(role)}"
            )
        if faults := list(_mismatches(role, answers[0])):
            raise ConfigurationError(
                [f"{where}: {fault} {_installed_text(role)}" for fault in faults]
            )
        return answers[0]

    def check_anchor(self, anchor: Anchor, root: bytes, rpc_url: str) -> Step | None:
        """Ask a node whether an anchor holds a root; None where the plugin doesn't know how."""
        answers: list[Step] = self._manager.hook.eventserver_check_anchor(
            anchor=anchor, root=root, rpc_url=rpc_url
        )
        return answers[0] if answers else None

    def _chosen_text(self) -> str:
        return ", ".join(f"{role} = {name}" for role, name in self.chosen.items())

    def _pending(self) -> Iterable[str]:
        try:
            self._manager.check_pending()
        except pluggy.PluginValidationError as ex:
            yield f"a plugin implements a hook that does not exist: {' '.join(str(ex).split())}"


def _points(role: str) -> list[EntryPoint]:
    return sorted(entry_points(group=f"eventserver.{role}"), key=lambda point: point.name)


def _load(role: str, name: str) -> Any:
    matching = [point for point in _points(role) if point.name == name]
    if not matching:
        raise ConfigurationError(
            f"plugins.{role} = {name}: no such plugin. {_installed_text(role)}"
        )
    if len(matching) > 1:
        owners = ", ".join(" ".join(_distribution(point)) for point in matching)
        raise ConfigurationError(
            f"plugins.{role} = {name}: offered by more than one distribution ({owners}); "
            "uninstall all but one"
        )
    try:
        return matching[0].load()
    except Exception as ex:  # importing a plugin runs its code, which may raise anything
        raise ConfigurationError(f"plugins.{role} = {name}: cannot be imported: {ex!r}") from ex


def _installed_text(role: str) -> str:
    found = [f"{p.name} ({p.distribution} {p.version})" for p in installed(role)]
    return f"Installed for {role}: {', '.join(found) or 'nothing'}."


def _distribution(point: EntryPoint) -> tuple[str, str]:
    return (point.dist.name, point.dist.version) if point.dist else ("unknown", "unknown")


def _unmarked(plugin: Any, where: str) -> Iterator[str]:
    """Tell of functions that look like hooks; pluggy ignores them without a word."""
    for name in _methods(hookspecs):
        function = getattr(plugin, name, None)
        if inspect.isroutine(function) and not hasattr(function, f"{hookspecs.PROJECT}_impl"):
            yield f"{where}: {name} is not marked with @hookimpl"


def _mismatches(role: str, backend: Any) -> Iterator[str]:
    """Tell where a backend is not what the role's Protocols ask for."""
    abilities = [p for p in ABILITIES.get(role, ()) if isinstance(backend, p)]
    kind = type(backend).__name__
    for protocol in (PROTOCOLS[role], *abilities):
        absent = [m for m in _methods(protocol) if not callable(getattr(backend, m, None))]
        if absent:
            yield f"{kind} is no {protocol.__name__}; it lacks {', '.join(absent)}."
        for method in _methods(protocol):
            if method not in absent and (why := _why_uncallable(protocol, backend, method)):
                yield (
                    f"{kind}.{method} cannot be called as {protocol.__name__}.{method} is ({why}); "
                    "the plugin was written for another version of the interface."
                )


def _why_uncallable(protocol: type, backend: Any, method: str) -> str | None:
    """Return why a backend's method does not take a Protocol's parameters, or None if it does."""
    _, *asked = inspect.signature(getattr(protocol, method)).parameters.values()
    required = [p.name for p in asked if p.default is p.empty]
    try:
        taken = inspect.signature(getattr(backend, method))
    except (TypeError, ValueError):
        return None  # a function in C may not tell
    for names in (required, [p.name for p in asked]):
        try:
            taken.bind(*names)
            taken.bind(**dict.fromkeys(names))
        except TypeError as ex:
            return str(ex)
    return None


def _methods(namespace: Any) -> list[str]:
    return sorted(
        name
        for name, value in vars(namespace).items()
        if not name.startswith("_") and inspect.isfunction(value)
    )
