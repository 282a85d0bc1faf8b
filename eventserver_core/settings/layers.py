"""Where values come from: files and environment variables, as everett asks them."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from everett import NO_VALUE

PREFIX = "EVENTSERVER__"
ENVIRONMENT_VARIABLE = "EVENTSERVER_ENVIRONMENT"
DIRECTORY_VARIABLE = "EVENTSERVER_CONFIG_DIR"

SUFFIXES = (".toml", ".yaml", ".yml")
"""What settings' files end with."""


class FileLayer:
    """A file that was read.

    Args:
        path: where it is, for messages.
        sections: what stands in it.
    """

    def __init__(self, path: str, sections: Mapping[str, Mapping[str, Any]]) -> None:
        self.path = path
        self.sections = sections

    def get(self, key: str, namespace: list[str] | None = None) -> Any:
        """Return a value as text, or everett's ``NO_VALUE``."""
        value = self.sections.get((namespace or [""])[0], {}).get(key)
        return NO_VALUE if value is None else _text(value)

    def source(self, _key: str, _section: str) -> str:
        """Return where a value was read."""
        return self.path


class VariableLayer:
    """The environment variables, for one key.

    Args:
        environ: all of them.
        other_name: a name that works besides ``EVENTSERVER__SECTION__KEY``.
    """

    def __init__(self, environ: Mapping[str, str], other_name: str | None) -> None:
        self._environ = environ
        self._other_name = other_name

    def get(self, key: str, namespace: list[str] | None = None) -> Any:
        """Return a value, or everett's ``NO_VALUE``."""
        name = self.source(key, (namespace or [""])[0])
        return self._environ.get(name, NO_VALUE)

    def source(self, key: str, section: str) -> str:
        """Return the name of the variable that holds the value."""
        name = variable_name(section, key)
        if not self._environ.get(name) and self._other_name and self._environ.get(self._other_name):
            return self._other_name
        return name


def variable_name(section: str, key: str) -> str:
    """Return the environment variable that sets a key."""
    return f"{PREFIX}{section.upper()}__{key.upper()}"


def read_file(directory: Path, stem: str, faults: list[str]) -> FileLayer | None:
    """Read ``<stem>.toml`` or ``<stem>.yaml``, if it is there; what is wrong joins ``faults``."""
    candidates = [directory / f"{stem}{suffix}" for suffix in SUFFIXES]
    found = [path for path in candidates if path.is_file()]
    if not found:
        return None
    if len(found) > 1:
        names = " and ".join(path.name for path in found)
        faults.append(f"{directory}: {names} are both there; keep one")
    path = found[0]
    try:
        text = path.read_text("utf-8")
        content = tomllib.loads(text) if path.suffix == ".toml" else yaml.safe_load(text)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, yaml.YAMLError) as ex:
        faults.append(f"{path}: cannot be read: {_why(ex)}")
        return None
    if content is None:
        content = {}
    if not isinstance(content, dict):
        faults.append(f"{path}: expected sections with keys")
        return None
    sections: dict[str, dict[str, Any]] = {}
    for name, members in content.items():
        if not isinstance(members, dict):
            faults.append(f"{path}: {name}: expected a section with keys")
            continue
        sections[str(name)] = {}
        for key, value in members.items():
            simple = _is_simple(value)
            if not simple:
                faults.append(
                    f"{path}: {name}.{key}: expected one value, or a list of texts without commas"
                )
            sections[str(name)][str(key)] = value if simple else None
    return FileLayer(str(path), sections)


def _why(ex: Exception) -> str:
    if isinstance(ex, yaml.MarkedYAMLError) and ex.problem_mark is not None:
        # its own message quotes the line, which may hold a secret
        mark = ex.problem_mark
        return f"not YAML at line {mark.line + 1}, column {mark.column + 1}"
    return " ".join(str(ex).split())


def _is_simple(value: Any) -> bool:
    if isinstance(value, list):
        return all(isinstance(item, str) and "," not in item for item in value)
    return not isinstance(value, dict)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return ",".join(value) if isinstance(value, list) else str(value)
