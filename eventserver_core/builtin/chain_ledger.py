"""A ledger in one file: NDJSON, append-only, each entry holding the hash of the one before.

It shows what this server said, in which order, and that nothing in between was changed since. It
does not keep whoever owns the machine from writing the whole file anew, or from cutting its end
off: for that a root belongs on a public blockchain, or the head's hash with somebody else.

A crash or a full disk may leave the last line incomplete; that line was never acknowledged and is
cut off before the next is written. Anything else that doesn't fit is reported, never repaired.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from eventserver_core.backends.chain import AnchorReceipt, AnchorTransaction, ChainBackend
from eventserver_core.builtin.files import (
    locked,
    make_directory,
    reported,
    sync_directory,
    write_all,
)
from eventserver_core.domain.canonical import canonicalize
from eventserver_core.domain.digest import DIGEST_SIZE, is_digest_hex
from eventserver_core.domain.instant import format_rfc3339, now, parse_rfc3339
from eventserver_core.domain.proof import Anchor, ledger_block_hash
from eventserver_core.errors import BackendUnavailableError
from eventserver_core.hookspecs import hookimpl
from eventserver_core.sections import ServerSettings
from eventserver_core.settings import Settings

BACKEND = "chain=ledger"
FIRST_PARENT = "0x" + "0" * 64

_MAX_LINE = 512
_PROBE_SIZE = 4096


@hookimpl
def eventserver_chain_backend(settings: Settings) -> ChainBackend:
    """Return the ledger in the data directory."""
    return FileLedger(settings[ServerSettings].data_dir / "ledger.ndjson")


@dataclass(frozen=True, slots=True)
class _Entry:
    """A line of the ledger."""

    number: int
    parent_hash: str
    root_hex: str
    timestamp: str

    @property
    def block_hash(self) -> str:
        return ledger_block_hash(self.number, self.parent_hash, self.root_hex, self.timestamp)

    def line(self) -> bytes:
        """Return the line without its line feed, in the one form that it may have."""
        members = {
            "blockNumber": self.number,
            "parentHash": self.parent_hash,
            "root": self.root_hex,
            "timestamp": self.timestamp,
            "blockHash": self.block_hash,
        }
        return canonicalize(members)

    @classmethod
    def read(cls, line: bytes) -> _Entry | None:
        """Return the entry, or None for what is none or has another hash than it says."""
        try:
            members = json.loads(line)
            entry = cls(
                members["blockNumber"], members["parentHash"], members["root"], members["timestamp"]
            )
            moment = parse_rfc3339(entry.timestamp)
            sound = (
                type(entry.number) is int
                and is_digest_hex(entry.root_hex)
                and format_rfc3339(moment) == entry.timestamp
                and entry.line() == line
            )
        except (ValueError, KeyError, TypeError):
            return None
        return entry if sound else None


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the file was like when it was last read."""

    device: int = 0
    inode: int = 0
    size: int = -1
    modified: int = 0

    @classmethod
    def of(cls, status: os.stat_result) -> _Seen:
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)

    def has_grown_to(self, now: _Seen) -> bool:
        same_file = (self.device, self.inode) == (now.device, now.inode)
        return same_file and now.size > self.size


class FileLedger:
    """Anchors roots in a file; any number of processes of one machine may use it at once.

    Args:
        path: the file. A lock file lies beside it.
        clock: gives the entries' timestamps.

    Raises:
        BackendUnavailableError: the directory can't be made.
    """

    def __init__(self, path: Path, clock: Callable[[], datetime] = now) -> None:
        self._path = path.absolute()
        self._lock_path = self._path.with_name(self._path.name + ".lock")
        self._clock = clock
        self._guard = threading.Lock()
        self._forget()
        with reported(BACKEND, "the data directory cannot be used"):
            make_directory(self._path.parent)

    def prepare(
        self,
        root: bytes,
        earlier: Sequence[AnchorTransaction] = (),
        others: Sequence[AnchorTransaction] = (),
    ) -> AnchorTransaction:
        """Return a transaction, which here is the root alone; see ``ChainBackend.prepare``.

        Raises:
            ValueError: the root has not 32 bytes.
        """
        _require_root(root)
        return AnchorTransaction(root=root, payload=b"", transaction_hash=None)

    def publish(self, transaction: AnchorTransaction) -> None:
        """Append the root, unless it is there; durable on return. See ``ChainBackend.publish``.

        Raises:
            BackendUnavailableError: the ledger can't be written, or was altered.
            ValueError: the root has not 32 bytes.
        """
        _require_root(transaction.root)
        with self._guard, reported(BACKEND, "the ledger cannot be written"), self._writing() as fd:
            if transaction.root in self._offsets:
                os.fsync(fd)  # whoever wrote it may have died before this
            else:
                self._append(fd, transaction.root.hex())
            sync_directory(self._path.parent)
            self._catch_up(locks=False)

    def find(
        self, transaction: AnchorTransaction, known: Anchor | None = None
    ) -> AnchorReceipt | None:
        """Return the receipt of a root's entry; see ``ChainBackend.find``.

        Raises:
            BackendUnavailableError: the ledger can't be read, or was altered.
        """
        with self._guard, reported(BACKEND, "the ledger cannot be read"):
            self._catch_up()
            offset = self._offsets.get(transaction.root)
            if offset is None:
                return None
            with self._path.open("rb") as file:
                file.seek(offset)
                entry = _Entry.read(file.readline(_MAX_LINE).rstrip(b"\n"))
            if entry is None or entry.root_hex != transaction.root.hex():
                raise BackendUnavailableError(BACKEND, f"the ledger was altered at byte {offset}")
            return AnchorReceipt(
                anchor=Anchor(
                    chain="ledger",
                    network="local",
                    chain_id=None,
                    contract=None,
                    transaction_hash=entry.block_hash,
                    block_number=entry.number,
                    block_hash=entry.block_hash,
                    block_time=parse_rfc3339(entry.timestamp),
                    parent_hash=entry.parent_hash,
                ),
                confirmations=self._head_number - entry.number + 1,
                final=True,
            )

    def check(self) -> None:
        """Read what is new, and find out whether the disk would take another entry."""
        with (
            self._guard,
            reported(BACKEND, "the ledger cannot be used; see to the data directory and its disk"),
            locked(self._lock_path) as lock,
        ):
            self._catch_up(locks=False)
            try:
                os.pwrite(lock, bytes(_PROBE_SIZE), 0)
                os.fsync(lock)
            finally:
                os.ftruncate(lock, 0)

    @contextmanager
    def _writing(self) -> Iterator[int]:
        """Keep all others out, catch up, and open the file where the next line belongs."""
        with locked(self._lock_path):
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            try:
                tail = self._catch_up(locks=False)
                if tail and self._follows(_Entry.read(tail)):
                    write_all(fd, b"\n")  # all of it is there but the line feed
                    self._catch_up(locks=False)
                elif tail:
                    os.ftruncate(fd, self._end)
                yield fd
            finally:
                os.close(fd)

    def _append(self, fd: int, root_hex: str) -> None:
        timestamp = format_rfc3339(self._clock())
        entry = _Entry(self._head_number + 1, self._head_hash, root_hex, timestamp)
        try:
            write_all(fd, entry.line() + b"\n")
            os.fsync(fd)
        except OSError:
            with suppress(OSError):  # an incomplete line is cut off by the next who writes
                os.ftruncate(fd, self._end)
            raise

    def _forget(self) -> None:
        self._seen = _Seen()
        self._end = 0
        self._head_number = 0
        self._head_hash = FIRST_PARENT
        self._offsets: dict[bytes, int] = {}

    def _catch_up(self, *, locks: bool = True) -> bytes:
        """Read what was written since the last time; a file that was replaced is read anew.

        Returns:
            An incomplete last line, where one was read.
        """
        try:
            seen = _Seen.of(self._path.stat())
        except FileNotFoundError:
            self._path.parent.stat()  # without its directory, the ledger isn't known to be empty
            self._forget()
            return b""
        if seen == self._seen and self._end == seen.size:
            return b""
        if locks:
            with locked(self._lock_path, shared=True):
                return self._catch_up(locks=False)
        if seen != self._seen and not self._seen.has_grown_to(seen):
            self._forget()
        with self._path.open("rb") as file:
            try:
                tail = self._read_on(file)
            except BackendUnavailableError:
                self._forget()  # it may be another file by now; the whole of it tells
                tail = self._read_on(file)
        self._seen = seen
        return tail

    def _read_on(self, file: BinaryIO) -> bytes:
        file.seek(self._end)
        while line := file.readline(_MAX_LINE):
            if not line.endswith(b"\n") and len(line) < _MAX_LINE:
                return line
            entry = _Entry.read(line[:-1])
            if entry is None or not self._follows(entry):
                self._seen = _Seen()
                number = self._head_number + 1
                raise BackendUnavailableError(
                    BACKEND, f"the ledger was altered at entry {number}; restore it from a backup"
                )
            self._offsets.setdefault(bytes.fromhex(entry.root_hex), self._end)
            self._end += len(line)
            self._head_number, self._head_hash = entry.number, entry.block_hash
        return b""

    def _follows(self, entry: _Entry | None) -> bool:
        return (
            entry is not None
            and entry.number == self._head_number + 1
            and entry.parent_hash == self._head_hash
        )


def _require_root(root: bytes) -> None:
    if len(root) != DIGEST_SIZE:
        raise ValueError(f"a root has {DIGEST_SIZE} bytes, not {len(root)}")
