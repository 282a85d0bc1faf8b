"""What processes use: CPU time and memory, by the system's own account."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

import psutil

Family = Callable[[], Iterable[psutil.Process]]
"""Returns the processes that are counted as one."""

_MIB = 1024 * 1024


def family(pid: int) -> list[psutil.Process]:
    """Return a process and all that it started."""
    with suppress(psutil.NoSuchProcess):
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    return []


class CpuMeter:
    """Counts CPU seconds from its making on.

    Args:
        families: what to count, by name; this process is counted besides, as ``load``.
    """

    def __init__(self, families: Mapping[str, Family]) -> None:
        self._families = families
        self._began = self._read()
        # last, and first in the end: finding all processes costs this one something, too
        self._load_began = time.process_time()

    def milliseconds_each(self, count: int) -> dict[str, float]:
        """Return the milliseconds since the beginning for each of ``count`` events, by name."""
        spent = {"load": time.process_time() - self._load_began}
        now = self._read()
        spent |= {name: now[name] - self._began[name] for name in now}
        return {name: seconds * 1000 / count for name, seconds in spent.items()}

    def _read(self) -> dict[str, float]:
        return {name: _cpu_seconds(find()) for name, find in self._families.items()}


def _cpu_seconds(processes: Iterable[psutil.Process]) -> float:
    """Return what processes used, and those of their children that have ended."""
    total = 0.0
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


def private_mib(process: psutil.Process) -> float:
    """Return a process's memory in MiB, with its share of what it shares (PSS)."""
    return float(process.memory_full_info().pss) / _MIB


def peak_mib(process: psutil.Process) -> float:
    """Return the most memory that a process had since ``forget_peak``, in MiB (VmHWM)."""
    for line in Path(f"/proc/{process.pid}/status").read_text("ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise LookupError(f"the system does not tell the peak memory of process {process.pid}")


def forget_peak(process: psutil.Process) -> None:
    """Let the peak begin anew (proc(5), clear_refs)."""
    Path(f"/proc/{process.pid}/clear_refs").write_text("5", "ascii")
