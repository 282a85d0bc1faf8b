"""Child processes that tests start, stop in the middle, and starve."""

from __future__ import annotations

import os
import resource
import signal
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from eventserver_core.testing.contracts.processes import run_and_kill


def fork() -> int:
    """Fork, as ``os.fork``, though there may be other threads: what the child does is simple."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def run_with_full_disk(action: Callable[[], object], *, room: int) -> None:
    """Run ``action`` in a child where no file may grow beyond ``room`` bytes (EFBIG)."""

    def starved() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
        action()

    run_and_kill(starved)


@contextmanager
def paused_child(begin: Callable[[Callable[[], None]], object]) -> Iterator[int]:
    """Run ``begin`` in a child until it calls what it is given, and kill the child in the end.

    Args:
        begin: gets a function that reports to the parent and then never returns.

    Yields:
        The child's process id; ``kill`` ends it earlier.
    """
    reading, writing = os.pipe()
    child = fork()
    if child == 0:
        try:
            begin(lambda: _pause(writing))
        finally:
            os._exit(1)
    os.close(writing)
    try:
        assert os.read(reading, 1) == b"!", "the child died before it paused"
        yield child
    finally:
        os.close(reading)
        kill(child)


def kill(child: int) -> None:
    """Kill a child (SIGKILL), unless it was killed already, and wait for its end."""
    try:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    except (ProcessLookupError, ChildProcessError):
        return


def run_at_once(*actions: Callable[[], object]) -> None:
    """Run each action in a child of its own, all at the same time, and wait for them all."""
    gate_reading, gate_writing = os.pipe()
    children = []
    for action in actions:
        child = fork()
        if child == 0:
            status = 1
            try:
                os.close(gate_writing)
                os.read(gate_reading, 1)  # ends when the parent closes its side
                action()
                status = 0
            finally:
                os._exit(status)
        children.append(child)
    os.close(gate_reading)
    os.close(gate_writing)
    statuses = [os.waitpid(child, 0)[1] for child in children]
    assert statuses == [0] * len(actions)


def _pause(writing: int) -> None:
    os.write(writing, b"!")
    while True:
        signal.pause()
