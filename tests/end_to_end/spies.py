"""Plugins that leave a trace when they are imported, in a distribution of their own."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

NAME = "spy"

_METADATA = "Metadata-Version: 2.1\nName: eventserver-spies\nVersion: 1.0\n"

_BUILT_IN = """\
from pathlib import Path

from eventserver_core.builtin.{module} import *
from eventserver_core.builtin import {module} as built_in

Path(__file__).with_suffix(".imported").touch()
globals().update({{k: v for k, v in vars(built_in).items() if k.startswith("eventserver_")}})
"""

_AUTH = """\
from pathlib import Path

from eventserver_core.errors import AuthenticationError
from eventserver_core.hookspecs import hookimpl

Path(__file__).with_suffix(".imported").touch()


class Nobody:
    def authenticate(self, token):
        raise AuthenticationError("nobody is known here")

    def check(self):
        pass


@hookimpl
def eventserver_auth_backend(settings):
    return Nobody()
"""

SOURCES: Mapping[str, str] = {
    "auth": _AUTH,
    "ratelimit": _BUILT_IN.format(module="ratelimit_memory"),
    "storage": _BUILT_IN.format(module="storage_filesystem"),
    "chain": _BUILT_IN.format(module="chain_ledger"),
    "provisioning": _BUILT_IN.format(module="provisioning_static"),
}
"""For each role a backend that works."""


class Spies:
    """One plugin for each role, all of the same name.

    Args:
        directory: where the distribution is put.
        sources: the plugins' code by role.
    """

    def __init__(self, directory: Path, sources: Mapping[str, str] = SOURCES) -> None:
        self._directory = directory
        info = directory / "eventserver_spies-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(_METADATA)
        points = ""
        for role, source in sources.items():
            (directory / f"spy_{role}.py").write_text(source)
            points += f"[eventserver.{role}]\n{NAME} = spy_{role}\n"
        (info / "entry_points.txt").write_text(points)

    @property
    def imported(self) -> set[str]:
        """The roles whose plugins some process has imported."""
        traces = self._directory.glob("spy_*.imported")
        return {trace.stem.removeprefix("spy_") for trace in traces}

    @property
    def environ(self) -> dict[str, str]:
        """The environment variable that makes processes find them."""
        places = [str(self._directory), os.environ.get("PYTHONPATH", "")]
        return {"PYTHONPATH": os.pathsep.join(filter(None, places))}

    @staticmethod
    def chosen(*roles: str) -> dict[str, str]:
        """Return the settings that choose the spies for these roles."""
        return {f"EVENTSERVER__PLUGINS__{role.upper()}": NAME for role in roles}
