"""Where a run took place: the machine, and the versions of all that took part."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
import psycopg

from benchmarks.stage import SETTINGS, Stage

_LIBRARIES = (
    "eventserver-core",
    "falcon",
    "gunicorn",
    "peewee",
    "psycopg",
    "minio",
    "redis",
    "pydantic",
    "rfc8785",
    "pyjwt",
)


def describe(stage: Stage) -> dict[str, Any]:
    """Return the facts without which the figures say little."""
    return {
        "machine": {
            "cpus": os.cpu_count(),
            "cpuModel": _cpu_model(),
            "memoryBytes": psutil.virtual_memory().total,
            "system": f"{platform.system()} {platform.release()}",
            "python": platform.python_version(),
            "loadAverage": os.getloadavg(),
        },
        "versions": {
            **{name: version(name) for name in _LIBRARIES},
            "postgresql": _postgresql(stage.postgresql.url),
            **{
                part.name: _version(part.command()[0], arguments)
                for part, arguments in (
                    (stage.valkey, ["--version"]),
                    (stage.seaweedfs, ["version"]),
                )
            },
        },
        "settings": {name.replace("__", "."): str(value) for name, value in SETTINGS.items()},
    }


def _cpu_model() -> str:
    found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text("utf-8"), re.M)
    return found[1] if found else platform.processor()


def _postgresql(url: str) -> str:
    with psycopg.connect(url) as connection:
        return str(connection.info.parameter_status("server_version"))


def _version(program: str, arguments: list[str]) -> str:
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    found = re.search(r"\d+(?:\.\d+)+", done.stdout)
    return found[0] if found else "unknown"
