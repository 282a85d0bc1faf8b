"""Waiting for something to become true, and looking at processes."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import TypeVar

import psutil

from eventserver_core.testing.server import EventServerProcess

_T = TypeVar("_T")
_POLL_SECONDS = 0.02


def wait_until(condition: Callable[[], _T], what: str, seconds: float = 30) -> _T:
    """Return the condition's first true answer.

    Raises:
        AssertionError: it did not become true in time.
    """
    pause = threading.Event()
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        pause.wait(_POLL_SECONDS)
    return answer


def group(server: EventServerProcess) -> list[psutil.Process]:
    """Return the living processes of a server: its master, and whatever was started by it."""
    return group_of(server.pid)


def group_of(leader: int) -> list[psutil.Process]:
    """Return the living processes of a group."""
    return [process for process in psutil.process_iter() if _lives_in(process, leader)]


def _lives_in(process: psutil.Process, leader: int) -> bool:
    try:
        return os.getpgid(process.pid) == leader and process.status() != psutil.STATUS_ZOMBIE
    except (ProcessLookupError, psutil.NoSuchProcess):
        return False


def children(server: EventServerProcess) -> list[psutil.Process]:
    """Return the living processes of a server's group without its master."""
    return [process for process in group(server) if process.pid != server.pid]
