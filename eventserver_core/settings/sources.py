"""All layers together: reading and checking every section at once."""

from __future__ import annotations

import dataclasses
import difflib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from everett import NO_VALUE, ConfigurationMissingError, InvalidValueError
from everett.manager import ConfigManager

from eventserver_core.errors import ConfigurationError
from eventserver_core.settings.layers import (
    DIRECTORY_VARIABLE,
    ENVIRONMENT_VARIABLE,
    SUFFIXES,
    FileLayer,
    VariableLayer,
    read_file,
    variable_name,
)
from eventserver_core.settings.options import OptionSpec, Section
from eventserver_core.settings.unknown import unknown_names

DEVELOPMENT = "development"
PRODUCTION = "production"

_ENVIRONMENT_NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}\Z")
_MISSING = object()


@dataclasses.dataclass(frozen=True, slots=True)
class Origin:
    """Where a value came from, for ``check-config``: text to show, and the layer's name."""

    section: str
    spec: OptionSpec
    shown: str
    source: str


_S = TypeVar("_S", bound=Section)


class Settings:
    """All settings, read and checked. ``settings[ServerSettings].port`` is typed.

    Attributes:
        origins: where each value came from.
        warnings: what is no fault, and probably not meant.
    """

    def __init__(
        self,
        environment: str,
        sections: Mapping[type[Section], Section],
        origins: Sequence[Origin],
        warnings: Sequence[str] = (),
        at_fault: Iterable[type[Section]] = (),
    ) -> None:
        self.environment = environment
        self._sections = dict(sections)
        self.origins = list(origins)
        self.warnings = list(warnings)
        self._at_fault = frozenset(at_fault)

    @property
    def is_production(self) -> bool:
        """Whether secrets must be given, and good ones."""
        return self.environment == PRODUCTION

    def __getitem__(self, section: type[_S]) -> _S:
        if section in self._at_fault:
            # whoever surveys faults has told what is wrong with it
            raise ConfigurationError([])
        found = self._sections[section]
        assert isinstance(found, section)  # noqa: S101 - tells the type checker what load() made
        return found


class Sources:
    """The layers, opened but not yet read: files are parsed once, for all sections.

    Args:
        directory: where the files are; without it ``EVENTSERVER_CONFIG_DIR``, else ``config``.
        environ: the environment variables, ``os.environ`` unless given.
    """

    def __init__(
        self, directory: Path | None = None, environ: Mapping[str, str] | None = None
    ) -> None:
        self._environ = dict(os.environ if environ is None else environ)
        self.faults: list[str] = []
        self.environment = self._environ.get(ENVIRONMENT_VARIABLE) or DEVELOPMENT
        stems = [self.environment, "default"]
        if not _ENVIRONMENT_NAME.match(self.environment):
            stems = ["default"]
            self.faults.append(
                f"{ENVIRONMENT_VARIABLE}: expected a short lower-case name such as production"
            )
        named = directory is not None or bool(self._environ.get(DIRECTORY_VARIABLE))
        directory = directory or Path(self._environ.get(DIRECTORY_VARIABLE) or "config")
        if named and not directory.is_dir():
            self.faults.append(f"{directory}: there is no such directory to read settings from")
        self._files = [
            layer
            for stem in stems
            if (layer := read_file(directory, stem, self.faults)) is not None
        ]
        self.warnings: list[str] = []
        if (doubt := _unread_environment(self.environment, directory)) is not None:
            said, is_typo = doubt
            # where production was meant, weak secrets must not be taken for want of two letters
            (self.faults if is_typo else self.warnings).append(said)

    def load(self, sections: Iterable[type[Section]]) -> Settings:
        """Read and check every section.

        Raises:
            ConfigurationError: with every fault, of all layers.
        """
        settings, faults = self.survey(sections)
        if faults:
            raise ConfigurationError(faults)
        return settings

    def survey(
        self, sections: Iterable[type[Section]], *, others: bool = False
    ) -> tuple[Settings, list[str]]:
        """Read and check every section, and return what could be made, with every fault.

        A section at fault is not in the settings: who asks for it gets a ``ConfigurationError``
        that tells nothing twice.

        Args:
            sections: what to read.
            others: whether there may be more sections than these.
        """
        wanted: dict[str, type[Section]] = {}
        faults = list(self.faults)
        for section in sections:
            if wanted.setdefault(section.name, section) is not section:
                faults.append(
                    f"{section.__module__} brings the section {section.name}, which "
                    f"{wanted[section.name].__module__} has already"
                )
        faults += self._unknown(wanted.values(), others=others)
        made: dict[type[Section], Section] = {}
        origins: list[Origin] = []
        for section in wanted.values():
            values: dict[str, Any] = {}
            for spec in section.options():
                value, origin = self._value(section.name, spec, faults)
                values[spec.key] = value
                origins.append(origin)
            if all(value is not _MISSING for value in values.values()):
                made[section] = section(**values)
        at_fault = set(wanted.values()) - set(made)
        return Settings(self.environment, made, origins, self.warnings, at_fault), faults

    def peek(self, section: type[_S]) -> _S:
        """Read one section ahead of the others, whatever is wrong.

        A value at fault is taken for its default here; ``load`` reports it with all others.
        """
        values = {}
        for spec in section.options():
            value, _ = self._value(section.name, spec, [])
            values[spec.key] = spec.parser(spec.default or "") if value is _MISSING else value
        return section(**values)

    def faults_of(self, sections: Iterable[type[Section]]) -> list[str]:
        """Return what is wrong with these sections, whatever others there are."""
        sections = list(sections)
        faults = [*self.faults, *self._unknown(sections, others=True)]
        for section in sections:
            for spec in section.options():
                self._value(section.name, spec, faults)
        return faults

    def _value(self, section: str, spec: OptionSpec, faults: list[str]) -> tuple[Any, Origin]:
        layers: list[FileLayer | VariableLayer] = [
            VariableLayer(self._environ, spec.environment_variable),
            *self._files,
        ]
        source = next(
            (
                layer.source(spec.key, section)
                for layer in layers
                if layer.get(spec.key, [section]) not in (NO_VALUE, "")
            ),
            "default",
        )
        manager = ConfigManager(layers, with_override=False)
        where = f"{section}.{spec.key} (from {source})"
        try:
            value = manager(
                spec.key,
                namespace=section,
                parser=spec.parser,
                default=NO_VALUE if spec.default is None else spec.default,
            )
            raw = manager(
                spec.key,
                namespace=section,
                default=NO_VALUE if spec.default is None else spec.default,
            )
        except ConfigurationMissingError:
            names = " or ".join(
                filter(None, (variable_name(section, spec.key), spec.environment_variable))
            )
            faults.append(
                f"{section}.{spec.key}: missing; expected {spec.expected}: {spec.doc} "
                f"Set it in a file, or in {names}."
            )
            return _MISSING, Origin(section, spec, "", "nowhere")
        except InvalidValueError as ex:
            why = f" ({ex.__cause__})" if ex.__cause__ and not spec.secret else ""
            faults.append(f"{where}: expected {spec.expected}{why}")
            return _MISSING, Origin(section, spec, "", source)
        return value, Origin(section, spec, spec.shown(raw), source)

    def _unknown(self, sections: Iterable[type[Section]], *, others: bool) -> Iterable[str]:
        known = {section.name: [spec.key for spec in section.options()] for section in sections}
        own_names = [
            spec.environment_variable
            for section in sections
            for spec in section.options()
            if spec.environment_variable
        ]
        return unknown_names(self._files, self._environ, known, own_names, others=others)


def _unread_environment(environment: str, directory: Path) -> tuple[str, bool] | None:
    """Tell of a name that changes nothing, and whether it looks like another one misspelt."""
    stems = sorted(path.stem for path in directory.glob("*") if path.suffix in SUFFIXES)
    known = [DEVELOPMENT, PRODUCTION, *(stem for stem in stems if stem != "default")]
    if environment in known or not _ENVIRONMENT_NAME.match(environment):
        return None
    # "prod" is near to production for people, and not for difflib
    near = [name for name in known if name.startswith(environment)]
    near = near or difflib.get_close_matches(environment, known, 1)
    meant = f"; did you mean {near[0]}?" if near else ""
    said = (
        f"{ENVIRONMENT_VARIABLE}: {environment} has no file of its own in {directory}, and "
        f"only {PRODUCTION} refuses weak and missing secrets{meant}"
    )
    return said, bool(near)
