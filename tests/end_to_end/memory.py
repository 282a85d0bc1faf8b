"""How much memory processes took at their worst, as the kernel counts it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

MIB = 1024 * 1024


@contextmanager
def growth_limited(processes: Iterable[psutil.Process], limit: int) -> Iterator[None]:
    """Make sure that no process's resident memory ever grows by more than ``limit`` bytes inside.

    Peaks count, however short: the kernel keeps them (``VmHWM`` in proc(5)).
    """
    before: dict[int, int] = {}
    for process in processes:
        # "5" sets the peak back to what is resident now (proc(5), clear_refs)
        Path(f"/proc/{process.pid}/clear_refs").write_text("5")
        before[process.pid] = _peak(process.pid)
    yield
    grown = {pid: _peak(pid) - peak for pid, peak in before.items()}
    print({pid: f"{growth / MIB:.1f} MiB" for pid, growth in grown.items()})
    assert grown, "nothing was measured"
    assert max(grown.values()) <= limit


def _peak(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024
