"""Names that nobody reads: typos, told with what was probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence

from eventserver_core.settings.layers import (
    DIRECTORY_VARIABLE,
    ENVIRONMENT_VARIABLE,
    PREFIX,
    FileLayer,
    variable_name,
)

_STEM = "EVENTSERVER_"
_VERY_NEAR = 0.85
"""Names without our prefix are mostly somebody else's."""


def unknown_names(
    files: Sequence[FileLayer],
    environ: Mapping[str, str],
    known: Mapping[str, Sequence[str]],
    own_names: Sequence[str],
    *,
    others: bool,
) -> Iterator[str]:
    """Say where each name stands that nobody reads.

    Args:
        files: the files.
        environ: the environment variables.
        known: the keys of each section.
        own_names: environment variables with a name of their own, such as DATABASE_URL.
        others: whether there may be more sections than these.
    """
    for layer in files:
        for section, members in layer.sections.items():
            if section in known:
                unread = [key for key in members if key not in known[section]]
                yield from (f"{layer.path}: {_no_setting(section, key, known)}" for key in unread)
            elif not others:
                yield f"{layer.path}: {_no_section(section, known)}"
    for variable in environ:
        if variable.upper().startswith(PREFIX):
            section, _, key = variable[len(PREFIX) :].lower().partition("__")
            if section not in known:
                if not others:
                    yield f"{variable}: {_no_section(section, known)}"
            elif key not in known[section]:
                yield f"{variable}: {_no_setting(section, key, known)}"
            elif variable != (name := variable_name(section, key)):
                yield f"{variable}: nobody reads this; did you mean {name}?"
        elif (meant := _misspelt(variable, known)) is not None:
            yield f"{variable}: nobody reads this; did you mean {meant}?"
        else:
            near = difflib.get_close_matches(variable, own_names, 1, _VERY_NEAR)
            if near and near[0] != variable and near[0] not in environ:
                yield f"{variable}: nobody reads this; did you mean {near[0]}?"


def _no_section(section: str, known: Mapping[str, Sequence[str]]) -> str:
    near = difflib.get_close_matches(section, known, 1)
    return f"there is no section {section}" + (f"; did you mean {near[0]}?" if near else "")


def _no_setting(section: str, key: str, known: Mapping[str, Sequence[str]]) -> str:
    near = difflib.get_close_matches(key, known[section], 1)
    near = near or [f"{name}.{key}" for name, keys in known.items() if key in keys]
    return f"there is no setting {section}.{key}" + (f"; did you mean {near[0]}?" if near else "")


def _misspelt(variable: str, known: Mapping[str, Sequence[str]]) -> str | None:
    """Return what was meant by a name that only looks like one of ours.

    Most others must be let through: Kubernetes sets EVENTSERVER_PORT and the like by itself, where
    a service has the name eventserver.
    """
    if not variable.startswith(_STEM) or variable in (ENVIRONMENT_VARIABLE, DIRECTORY_VARIABLE):
        return None
    rest = variable.removeprefix(_STEM)
    if "__" in rest:
        return PREFIX + rest
    for section, keys in known.items():
        for key in keys:
            if rest.lower() == f"{section}_{key}":
                return variable_name(section, key)
    names = [name.removeprefix(_STEM) for name in (ENVIRONMENT_VARIABLE, DIRECTORY_VARIABLE)]
    near = [name for name in names if name.startswith(rest)] if rest else []
    near = near or difflib.get_close_matches(rest, names, 1)
    return _STEM + near[0] if near else None
