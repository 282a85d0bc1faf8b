"""Storage in a directory: one file an object, flat, named by its key.

An object is written to a file in ``incoming/``, synced, and renamed to its place, whose directory
is then synced too; so it is there in full or not at all, whatever dies. A file in ``incoming/``
is locked for as long as its writer lives. What isn't locked was left by a dead process, and goes
at the next start.
"""

from __future__ import annotations

import fcntl
import filecmp
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Self

from eventserver_core.backends.storage import KEY_PATTERN, StorageBackend, StoredObject, Upload
from eventserver_core.builtin.files import make_directory, reported, sync_directory, write_all
from eventserver_core.errors import BackendUnavailableError, ObjectNotFoundError
from eventserver_core.hookspecs import hookimpl
from eventserver_core.sections import ServerSettings
from eventserver_core.settings import Settings

BACKEND = "storage=filesystem"
CHUNK_SIZE = 256 * 1024

_PROBE = ".probe"


@hookimpl
def eventserver_storage_backend(settings: Settings) -> StorageBackend:
    """Return the storage in the data directory."""
    return FilesystemStorage(settings[ServerSettings].data_dir / "objects")


class FilesystemStorage:
    """Keeps objects as files in one directory.

    Args:
        root: the directory; ``incoming/`` lies beside it, on the same file system. Both are made
            here, and never again later: a disk that went away must not be replaced by an empty
            directory in silence.

    Raises:
        BackendUnavailableError: the directories can't be made.
    """

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()
        self._incoming = self._root.with_name("incoming")
        with reported(BACKEND, "the data directory cannot be used"):
            make_directory(self._root)
            make_directory(self._incoming)
            self._sweep()

    def put(self, key: str, content: bytes) -> StoredObject:
        """Store a small object; see ``StorageBackend.put``."""
        _require(key)
        if self._holds(key, content):
            with reported(BACKEND, f"{key} cannot be made durable"):
                return self._settle(key, len(content))
        with self.upload(key) as upload:
            upload.write(content)
            return upload.commit(key)

    def upload(self, key: str | None = None) -> Upload:
        """Begin a large object; see ``StorageBackend.upload``."""
        if key is not None:
            _require(key)
        return _FileUpload(self)

    def read(self, key: str, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Return an object's bytes in chunks; see ``StorageBackend.read``."""
        found = self.stat(key)
        if found is None:
            raise ObjectNotFoundError(f"there is no object {key!r:.100}")
        if offset < 0 or (length is not None and length < 0):
            raise ValueError("a range begins at 0 or later and has no negative length")
        end = found.size if length is None else min(found.size, offset + length)
        with reported(BACKEND, f"{key} cannot be read"):
            fd = os.open(self._root / key, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        chunks = _chunks(fd, key, offset, end)
        next(chunks)  # a generator that has begun closes its file even if nobody reads on
        return chunks

    def stat(self, key: str) -> StoredObject | None:
        """Return what is known of an object; anything but a plain file counts as none."""
        if not KEY_PATTERN.match(key):
            return None
        with reported(BACKEND, f"{key} cannot be looked up"):
            try:
                status = os.lstat(self._root / key)
            except FileNotFoundError:
                os.lstat(self._root)  # without its directory, an object isn't known to be absent
                return None
        return _described(key, status.st_size) if stat.S_ISREG(status.st_mode) else None

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Return the objects in the order of their keys; holds their names in memory."""
        with reported(BACKEND, "the objects cannot be listed"), os.scandir(self._root) as entries:
            keys = sorted(
                entry.name
                for entry in entries
                if entry.name.startswith(prefix) and KEY_PATTERN.match(entry.name)
            )
        return (found for key in keys if (found := self.stat(key)))

    def check(self) -> None:
        """Store a small file for good, and remove it."""
        with (
            reported(BACKEND, "nothing can be stored; see to the data directory and its disk"),
            self._incoming_file() as (fd, path),
        ):
            write_all(fd, b"probe")
            os.fsync(fd)
            path.replace(self._root / _PROBE)
            sync_directory(self._root)
            (self._root / _PROBE).unlink(missing_ok=True)  # another check may have been faster

    @contextmanager
    def _incoming_file(self) -> Iterator[tuple[int, Path]]:
        """Make a locked file in ``incoming/``, which in the end is gone or was renamed."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        while True:
            path = self._incoming / secrets.token_hex(16)
            fd = os.open(path, flags, 0o600)
            try:
                if _lock(fd) and os.fstat(fd).st_nlink:
                    yield fd, path
                    return  # else a starting process took it for a dead one's, in this very moment
            finally:
                os.close(fd)
                path.unlink(missing_ok=True)

    def _holds(self, key: str, content: bytes) -> bool:
        """Tell whether this very object is there already."""
        found = self.stat(key)
        if found is None or found.size != len(content):
            return False
        return b"".join(self.read(key)) == content

    def _holds_file(self, key: str, path: Path) -> bool:
        """Tell whether an object is there already, byte for byte; a damaged one isn't."""
        return self.stat(key) is not None and filecmp.cmp(path, self._root / key, shallow=False)

    def _publish(self, fd: int, path: Path, key: str) -> None:
        """Put a written file in its object's place; ``_settle`` makes that durable."""
        os.fsync(fd)
        path.replace(self._root / key)

    def _settle(self, key: str, size: int) -> StoredObject:
        """Make it durable that an object is there: whoever renamed it may have died before."""
        sync_directory(self._root)
        return _described(key, size)

    def _sweep(self) -> None:
        with os.scandir(self._incoming) as entries:
            left = [Path(entry.path) for entry in entries if entry.is_file(follow_symlinks=False)]
        for path in left:
            try:
                fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            except FileNotFoundError:
                continue  # its writer has just finished
            try:
                if _lock(fd):
                    path.unlink(missing_ok=True)
            finally:
                os.close(fd)


class _FileUpload:
    """An object on its way in; used by one thread at a time."""

    def __init__(self, storage: FilesystemStorage) -> None:
        self._storage = storage
        self._resources = ExitStack()
        self._file: tuple[int, Path] | None = None
        self._size = 0
        self._published: str | None = None

    def __enter__(self) -> Self:
        with reported(BACKEND, "no upload can begin"):
            self._file = self._resources.enter_context(self._storage._incoming_file())
        return self

    def __exit__(self, *exc_info: object) -> None:
        with suppress(OSError):  # what can't be removed now is swept at the next start
            self._resources.close()

    def write(self, chunk: bytes) -> None:
        fd, path = self._take()
        with reported(BACKEND, "the object cannot be written"):
            write_all(fd, chunk)
        self._size += len(chunk)
        self._file = fd, path

    def commit(self, key: str) -> StoredObject:
        _require(key)
        with reported(BACKEND, f"{key} cannot be stored"):
            if self._published != key:
                fd, path = self._take()
                if not self._storage._holds_file(key, path):
                    self._storage._publish(fd, path, key)
                self._published = key
            return self._storage._settle(key, self._size)

    def _take(self) -> tuple[int, Path]:
        """Return the file, for good: after a failure nobody knows which bytes it has."""
        taken, self._file = self._file, None
        if taken is None:
            raise BackendUnavailableError(BACKEND, "this upload has failed or ended; begin again")
        return taken


def _require(key: str) -> None:
    if not KEY_PATTERN.match(key):
        raise ValueError(f"not a storage key: {key!r:.100}")


def _described(key: str, size: int) -> StoredObject:
    return StoredObject(key, size, f"filesystem:{key}")


def _lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _chunks(fd: int, key: str, offset: int, end: int) -> Iterator[bytes]:
    try:
        yield b""
        while offset < end:
            with reported(BACKEND, f"{key} cannot be read"):
                chunk = os.pread(fd, min(CHUNK_SIZE, end - offset), offset)
            if not chunk:
                raise BackendUnavailableError(BACKEND, f"{key} ends early, at byte {offset}")
            offset += len(chunk)
            yield chunk
    finally:
        os.close(fd)
