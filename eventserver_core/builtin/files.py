"""Durable files: what POSIX promises of directories, renames and locks, in one place."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from eventserver_core.errors import BackendUnavailableError


@contextmanager
def reported(backend: str, what: str) -> Iterator[None]:
    """Turn what the operating system refuses into the error that the core understands.

    Args:
        backend: as ``role=name``.
        what: the start of a sentence, such as "the object cannot be stored".

    Raises:
        BackendUnavailableError: from any ``OSError`` inside.
    """
    try:
        yield
    except OSError as ex:
        raise BackendUnavailableError(backend, f"{what}: {ex}") from ex


def write_all(fd: int, content: bytes) -> None:
    """Write all of ``content``: one system call may take only a part of it."""
    rest = memoryview(content)
    while len(rest):
        rest = rest[os.write(fd, rest) :]


def sync_directory(path: Path) -> None:
    """Make what was created, renamed or removed in a directory survive a power cut."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def make_directory(path: Path) -> None:
    """Make a directory, and those above it, durably; what is there already is left as it is."""
    missing = [place for place in (path, *path.parents) if not place.exists()]
    for place in reversed(missing):
        place.mkdir(mode=0o750, exist_ok=True)
        sync_directory(place.parent)
    if not path.is_dir():
        raise NotADirectoryError(f"{path} is not a directory")


@contextmanager
def locked(path: Path, *, shared: bool = False) -> Iterator[int]:
    """Hold a lock file, waiting for it; the kernel lets go of it when the process dies.

    Every use opens the file anew, so threads keep each other out as well as processes do.

    Yields:
        The lock file's descriptor, open for writing.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        yield fd
    finally:
        os.close(fd)
