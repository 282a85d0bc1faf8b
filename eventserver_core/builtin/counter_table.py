"""Counters in one file that all processes of a machine share: the memory of the rate limiter.

The file has a fixed size and is sparse. A name hashes to a set of eight slots, as in a processor's
cache, so a look-up reads one small piece and the file never grows. Sets are locked one by one, by
byte-range locks that the kernel lets go of when a process dies, and by locks among its threads.

The file is read and written with system calls rather than mapped into memory: a full disk is then
an error that can be answered, where a mapping would end the process with SIGBUS.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import secrets
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

COUNTERS = 61
MAX_COUNT = 2**32 - 1
LOCK_TIMEOUT = 0.25
"""How long to wait for a set in seconds: once among threads, once among processes."""

_MAGIC = b"ESRATE01"
_HEADER = struct.Struct("<8sI16s")
_HEADER_SIZE = 4096
_WAYS = 8
_KEY_SIZE = 16
_SLOT = struct.Struct(f"<{_KEY_SIZE}sdq{COUNTERS}I4x")
_USED_AT = struct.Struct(f"<{_KEY_SIZE}xd")
_SET_SIZE = _WAYS * _SLOT.size
_EMPTY = bytes(_KEY_SIZE)
_POLL = 0.0005


@dataclass(slots=True)
class Slot:
    """What is counted under one name.

    Attributes:
        position: where in its set it lies, in bytes.
        newest: the number of the newest bucket.
        counts: what was used in the newest bucket, in the one before, and so on.
    """

    position: int
    newest: int
    counts: list[int]


class Row:
    """A set that is locked, as seen by one name."""

    def __init__(self, fd: int, offset: int, key: bytes) -> None:
        self._fd = fd
        self._offset = offset
        self._key = key

    def load(self, now: float) -> Slot:
        """Return the name's slot, or an empty one in the place of the least recently used.

        A slot last used in the future, before the clock was set back, counts as the oldest.
        """
        cells = os.pread(self._fd, _SET_SIZE, self._offset)
        if len(cells) != _SET_SIZE:
            raise OSError(errno.EIO, "the table was cut short")
        positions = range(0, _SET_SIZE, _SLOT.size)
        for position in positions:
            if cells.startswith(self._key, position):
                _, _, newest, *counts = _SLOT.unpack_from(cells, position)
                return Slot(position, newest, counts)

        def last_use(position: int) -> float:
            if cells.startswith(_EMPTY, position):
                return float("-inf")
            used_at: float = _USED_AT.unpack_from(cells, position)[0]
            return used_at if used_at <= now else -1.0

        return Slot(min(positions, key=last_use), 0, [0] * COUNTERS)

    def store(self, slot: Slot, now: float) -> None:
        """Write the slot back, all of it at once."""
        content = _SLOT.pack(self._key, now, slot.newest, *slot.counts)
        if os.pwrite(self._fd, content, self._offset + slot.position) != len(content):
            raise OSError(errno.ENOSPC, "the table cannot be written")


class CounterTable:
    """The table; one object for each file in a process, from ``open_table``."""

    def __init__(self, path: Path, sets: int) -> None:
        self._path = path
        self.renew_locks()
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        self._fd = os.open(path, flags, 0o600)
        try:
            self._sets, self._secret = _made(self._fd, path, sets)
        except BaseException:
            os.close(self._fd)
            raise

    @contextmanager
    def row(self, name: bytes) -> Iterator[Row]:
        """Lock and return the set that a name belongs to.

        The hash is keyed with a secret of the file's own: nobody outside can look for names that
        share a set.

        Raises:
            TimeoutError: others held the set for too long.
            OSError: the file can't be used.
        """
        key = hashlib.blake2b(name, digest_size=_KEY_SIZE, key=self._secret).digest()
        index = int.from_bytes(key[:8], "little") % self._sets
        lock = self._locks.setdefault(index, threading.Lock())
        if not lock.acquire(timeout=LOCK_TIMEOUT):
            raise TimeoutError(errno.ETIMEDOUT, "other threads hold this set")
        try:
            _lock(self._fd, 1 + index)
            try:
                yield Row(self._fd, _HEADER_SIZE + index * _SET_SIZE, key)
            finally:
                fcntl.lockf(self._fd, fcntl.LOCK_UN, 1, 1 + index)
        finally:
            lock.release()

    def is_current(self) -> bool:
        """Tell whether the file is still the one that a process starting now would open."""
        try:
            return os.path.samestat(self._path.stat(), os.fstat(self._fd))
        except FileNotFoundError:
            return False

    def renew_locks(self) -> None:
        """Forget who holds what among threads: after a fork the others don't exist."""
        self._locks: dict[int, threading.Lock] = {}


_tables: dict[Path, CounterTable] = {}
_tables_lock = threading.Lock()


def open_table(path: Path, sets: int) -> CounterTable:
    """Open a table, making it where there is none.

    A process opens a file once and never closes it: closing any descriptor of a file lets go of
    all the byte-range locks that the process has on it (POSIX, ``fcntl``).

    Args:
        path: the file.
        sets: how many sets a new file gets; one that is there has what it has.

    Raises:
        OSError: the file can't be made, or is none of this kind.
    """
    path = path.resolve()
    with _tables_lock:
        table = _tables.get(path)
        if table is None or not table.is_current():
            table = _tables[path] = CounterTable(path, sets)
        return table


def _renew_locks() -> None:
    global _tables_lock  # the old one may be held by a thread that isn't here
    _tables_lock = threading.Lock()
    for table in _tables.values():
        table.renew_locks()


os.register_at_fork(after_in_child=_renew_locks)


def _made(fd: int, path: Path, sets: int) -> tuple[int, bytes]:
    """Return a file's number of sets and its secret; write them first where there are none."""
    fcntl.lockf(fd, fcntl.LOCK_EX, 1, 0)
    try:
        header = os.pread(fd, _HEADER.size, 0)
        if not header.strip(b"\0"):  # new, or whoever made it died, or the power was cut
            header = _HEADER.pack(_MAGIC, sets, secrets.token_bytes(16))
            os.pwrite(fd, header, 0)
            os.fsync(fd)
        magic, sets, secret = _HEADER.unpack(header.ljust(_HEADER.size, b"\0"))
        if magic != _MAGIC:
            raise OSError(
                errno.EINVAL, f"{path} is no table of this version; remove it while no server runs"
            )
        size = _HEADER_SIZE + sets * _SET_SIZE
        if os.fstat(fd).st_size < size:
            os.ftruncate(fd, size)
        return sets, secret
    finally:
        fcntl.lockf(fd, fcntl.LOCK_UN, 1, 0)


def _lock(fd: int, position: int) -> None:
    deadline = time.monotonic() + LOCK_TIMEOUT
    while True:
        try:
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, position)
        except (BlockingIOError, PermissionError):  # POSIX allows both
            if time.monotonic() > deadline:
                raise TimeoutError(errno.ETIMEDOUT, "another process holds this set") from None
            time.sleep(_POLL)
        else:
            return
