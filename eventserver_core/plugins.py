"""Finding, choosing and checking plugins.

Only the entry point that the settings name is loaded for each role, so a plugin that isn't chosen
is never imported.
"""

from __future__ import annotations

import difflib
import inspect
import os
import re
import threading
import time
import typing
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeGuard

import pluggy

from eventserver_core import __version__, hookspecs, log
from eventserver_core.backends.auth import (
    AuthBackend,
    ChallengesDevices,
    ChecksSignedPackages,
    IssuesCertificates,
)
from eventserver_core.backends.chain import ChainBackend, UsesAccount
from eventserver_core.backends.promptness import AnswersPromptly
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
    "auth": (IssuesCertificates, ChallengesDevices, ChecksSignedPackages, AnswersPromptly),
    "ratelimit": (DependsOnService, AnswersPromptly),
    "storage": (RetainsObjects,),
    "chain": (UsesAccount,),
    "provisioning": (SweepsMachines,),
}
"""The Protocols that a backend of a role may have besides."""

TRACE_VARIABLE = "EVENTSERVER_TRACE_HOOKS"
"""Set to 1 in the environment, it has every hook call logged."""


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


def abilities(role: str, name: str) -> list[str] | None:
    """Return the names of the abilities that a plugin's backend has.

    The plugin is imported, but none of it is called: its backend's class is what its hook says
    that it returns, or the only class with the role's methods that the plugin's module shows.

    Returns:
        The names, or None where the class can't be told.

    Raises:
        ConfigurationError: the plugin isn't there, is there twice, or can't be loaded.
    """
    plugin = _load(role, name)
    hook = getattr(plugin, f"eventserver_{role}_backend", None)
    try:
        returned = typing.get_type_hints(hook).get("return")
    except Exception:  # noqa: BLE001 - annotations may name what is there for type checkers only
        returned = None
    shown: list[Any] = [returned] if _is_backend(role, returned) else list(vars(plugin).values())
    kinds: set[type] = {kind for kind in shown if _is_backend(role, kind)}
    if len(kinds) != 1:
        return None
    kind = kinds.pop()
    return [ability.__name__ for ability in ABILITIES[role] if issubclass(kind, ability)]


class Plugins:
    """The chosen plugins, loaded.

    With ``EVENTSERVER_TRACE_HOOKS=1`` in the environment each hook call is logged, by its name,
    the plugins that were called, and the time that it took, never what went in or came out.

    Args:
        chosen: the name of the plugin for each role.

    Raises:
        ConfigurationError: one isn't there, is there twice, or can't be loaded.
    """

    def __init__(self, chosen: Mapping[str, str]) -> None:
        self.chosen = dict(chosen)
        self._manager = pluggy.PluginManager(hookspecs.PROJECT)
        self._manager.add_hookspecs(hookspecs)
        if os.environ.get(TRACE_VARIABLE) == "1":
            # the settings, which say how to log, are read after the first of the hooks
            log.configure("info", "json")
            trace = _HookTrace()
            self._manager.add_hookcall_monitoring(trace.before, trace.after)
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


class _HookTrace(threading.local):
    """Logs how long hook calls take; each thread's calls are nested in its own."""

    def __init__(self) -> None:
        self._began: list[float] = []

    def before(self, _name: str, _implementations: Any, _arguments: Any) -> None:
        """Remember when a hook call began."""
        self._began.append(time.perf_counter())

    def after(self, outcome: Any, name: str, implementations: Any, _arguments: Any) -> None:
        """Log a hook call that ended."""
        milliseconds = (time.perf_counter() - self._began.pop()) * 1000
        log.get_logger().info(
            "hook_called",
            hook=name,
            plugin=[implementation.plugin_name for implementation in implementations],
            processing_time_ms=round(milliseconds, 3),
            outcome="returned" if outcome.exception is None else type(outcome.exception).__name__,
        )


def _points(role: str) -> list[EntryPoint]:
    return sorted(entry_points(group=f"eventserver.{role}"), key=lambda point: point.name)


def _load(role: str, name: str) -> Any:
    matching = [point for point in _points(role) if point.name == name]
    if not matching:
        near = difflib.get_close_matches(name, [point.name for point in _points(role)], 1)
        meant = f"; did you mean {near[0]}?" if near else "."
        raise ConfigurationError(
            f"plugins.{role} = {name}: no such plugin{meant} {_installed_text(role)}"
        )
    if len(matching) > 1:
        owners = ", ".join(" ".join(_distribution(point)) for point in matching)
        raise ConfigurationError(
            f"plugins.{role} = {name}: offered by more than one distribution ({owners}); "
            "uninstall all but one"
        )
    where = f"plugins.{role} = {name}"
    try:
        plugin = matching[0].load()
    except Exception as ex:  # importing a plugin runs its code, which may raise anything
        asks = _asks_for(matching[0])
        hint = f"; {asks}, and this is {__version__}" if asks else ""
        raise ConfigurationError(f"{where}: cannot be imported: {ex!r}{hint}") from ex
    if fault := _wrong_interface(plugin, matching[0]):
        raise ConfigurationError(f"{where}: {fault}")
    return plugin


def _wrong_interface(plugin: Any, point: EntryPoint) -> str | None:
    """Return what to do about a plugin for another version of the interface, None for ours."""
    ours = hookspecs.INTERFACE
    stated = getattr(plugin, "EVENTSERVER_INTERFACE", 1)
    if type(stated) is not int:
        return f"its EVENTSERVER_INTERFACE is {stated!r:.100}; expected a whole number"
    if stated == ours:
        return None
    distribution, version = _distribution(point)
    remedy = f"a release of {distribution} for version {ours}"
    if stated > ours:
        remedy = f"a newer eventserver-core with version {stated}, or {remedy}"
    asks = _asks_for(point)
    return (
        f"{distribution} {version} was made for version {stated} of the plugin interface, and "
        f"eventserver-core {__version__} has version {ours}; install {remedy}"
        + (f" ({asks})" if asks else "")
    )


def _asks_for(point: EntryPoint) -> str | None:
    """Return which core a plugin's distribution says that it needs; None where it doesn't."""
    for requirement in (point.dist and point.dist.requires) or ():
        if re.match(r"eventserver[-_.]+core(?![\w.-])", requirement, re.IGNORECASE):
            return f"it asks for {requirement.partition(';')[0].strip()}"
    return None


def _is_backend(role: str, kind: object) -> TypeGuard[type]:
    """Tell whether something is a class with a role's methods, and no Protocol itself."""
    return (
        isinstance(kind, type)
        and not getattr(kind, "_is_protocol", False)
        and issubclass(kind, PROTOCOLS[role])
    )


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
