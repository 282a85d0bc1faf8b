"""What a process leaves behind, and how much it takes: for suites that must look from outside."""

from __future__ import annotations

import os
import select
import signal
import traceback
import tracemalloc
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

_PATIENCE = 60.0
_DONE = b"done"


def run_and_kill(action: Callable[[], object]) -> None:
    """Run ``action`` in a child process that is killed (SIGKILL) the moment it returns.

    Whatever the child had in its memory, its buffers or its threads is gone then. This is as near
    to a power cut as a test gets: what the operating system holds for the disk survives it.
    """
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the caller may have threads
        child = os.fork()
    if child == 0:
        try:
            action()
            os.write(writing, _DONE)
        except BaseException:  # noqa: BLE001 - it is told to the parent, and the child ends
            os.write(writing, traceback.format_exc().encode()[-4096:])
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    os.close(writing)
    try:
        ready, _, _ = select.select([reading], [], [], _PATIENCE)
        said = os.read(reading, 4096) if ready else b"the child process did not finish"
    finally:
        os.close(reading)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    if said != _DONE:
        pytest.fail(f"in the child process: {said.decode(errors='replace')}")


@dataclass
class Usage:
    """What was used, known in the end.

    Attributes:
        peak_memory: the most bytes that Python held at once beyond what it held before.
        bytes_read: by system calls of this process, files above all; 0 where it can't be told.
    """

    peak_memory: int = 0
    bytes_read: int = 0


@contextmanager
def measured() -> Iterator[Usage]:
    """Measure what the block uses."""
    usage = Usage()
    began_here = not tracemalloc.is_tracing()
    if began_here:
        tracemalloc.start()
    tracemalloc.reset_peak()
    held, _ = tracemalloc.get_traced_memory()
    read = _bytes_read()
    try:
        yield usage
        usage.bytes_read = _bytes_read() - read
        usage.peak_memory = tracemalloc.get_traced_memory()[1] - held
    finally:
        if began_here:
            tracemalloc.stop()


def _bytes_read() -> int:
    counters = Path("/proc/self/io")
    if not counters.exists():
        return 0
    return int(counters.read_text("ascii").split()[1])
