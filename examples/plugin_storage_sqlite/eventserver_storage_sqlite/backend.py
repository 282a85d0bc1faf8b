"""The backend: an object is a row that names an upload, and an upload's bytes are in pieces."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from eventserver_core.backends.storage import KEY_PATTERN, StoredObject
from eventserver_core.errors import BackendUnavailableError, ObjectNotFoundError
from eventserver_core.sections import ServerSettings
from eventserver_core.settings import Settings
from eventserver_storage_sqlite.database import BACKEND, ObjectFile
from eventserver_storage_sqlite.settings import SqliteSettings

PIECE_SIZE = 256 * 1024
PAGE = 500
ABANDONED_SECONDS = 24 * 3600.0
"""How old an upload is that nobody can be writing to any longer."""


class SqliteStorage:
    """Keeps objects in one SQLite file.

    Args:
        path: where the file is.
        busy_timeout: seconds that a write waits for those of others.

    Raises:
        BackendUnavailableError: the file can't be made or opened.
    """

    def __init__(self, path: Path, busy_timeout: float = 10.0) -> None:
        self._file = ObjectFile(path, busy_timeout)
        self._sweep()

    @classmethod
    def from_settings(cls, settings: Settings) -> SqliteStorage:
        """Make the backend that the settings describe."""
        section = settings[SqliteSettings]
        path = settings[ServerSettings].data_dir / (section.file or "objects.sqlite3")
        return cls(path, section.busy_timeout)

    def put(self, key: str, content: bytes) -> StoredObject:
        """Store a small object; see ``StorageBackend.put``."""
        _require(key)
        with self.upload(key) as upload:
            upload.write(content)
            return upload.commit(key)

    def upload(self, key: str | None = None) -> SqliteUpload:
        """Begin a large object; see ``StorageBackend.upload``."""
        if key is not None:
            _require(key)
        return SqliteUpload(self._file)

    def read(self, key: str, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Return an object's bytes in chunks; see ``StorageBackend.read``."""
        row = None
        if KEY_PATTERN.match(key):
            with self._file.reading(f"{key} cannot be looked up") as connection:
                asked = "SELECT upload, size FROM objects WHERE key = ?"
                row = connection.execute(asked, (key,)).fetchone()
        if row is None:
            raise ObjectNotFoundError(f"there is no object {key!r:.100}")
        if offset < 0 or (length is not None and length < 0):
            raise ValueError("a range begins at 0 or later and has no negative length")
        upload, size = row
        end = size if length is None else min(size, offset + length)
        return self._pieces(key, upload, offset, end)

    def stat(self, key: str) -> StoredObject | None:
        """Return what is known of an object; see ``StorageBackend.stat``."""
        if not KEY_PATTERN.match(key):
            return None
        with self._file.reading(f"{key} cannot be looked up") as connection:
            asked = "SELECT size FROM objects WHERE key = ?"
            row = connection.execute(asked, (key,)).fetchone()
        return None if row is None else _described(key, row[0])

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Return the objects in the order of their keys; see ``StorageBackend.list``."""
        after = ""
        while True:
            with self._file.reading("the objects cannot be listed") as connection:
                asked = (
                    "SELECT key, size FROM objects WHERE key >= ? AND key > ? ORDER BY key LIMIT ?"
                )
                rows = connection.execute(asked, (prefix, after, PAGE)).fetchall()
            for key, size in rows:
                if not key.startswith(prefix):
                    return
                yield _described(key, size)
            if len(rows) < PAGE:
                return
            after = rows[-1][0]

    def check(self) -> None:
        """Write a row for good; see ``StorageBackend.check``."""
        what = "nothing can be stored; see to sqlite.file and its disk"
        with self._file.writing(what) as connection:
            connection.execute(
                "INSERT INTO checks VALUES (1, 1) ON CONFLICT (id) DO UPDATE SET times = times + 1"
            )

    def _pieces(self, key: str, upload: int, offset: int, end: int) -> Iterator[bytes]:
        while offset < end:
            number, skipped = divmod(offset, PIECE_SIZE)
            with self._file.reading(f"{key} cannot be read") as connection:
                asked = "SELECT content FROM pieces WHERE upload = ? AND number = ?"
                row = connection.execute(asked, (upload, number)).fetchone()
            chunk: bytes = row[0][skipped : skipped + end - offset] if row else b""
            if not chunk:
                raise BackendUnavailableError(BACKEND, f"{key} ends early, at byte {offset}")
            offset += len(chunk)
            yield chunk

    def _sweep(self) -> None:
        """Forget the uploads that dead processes left."""
        with self._file.writing("abandoned uploads cannot be removed") as connection:
            old = connection.execute(
                "SELECT id FROM uploads WHERE began < ?", (time.time() - ABANDONED_SECONDS,)
            ).fetchall()
            for (upload,) in old:
                connection.execute("DELETE FROM pieces WHERE upload = ?", (upload,))
                connection.execute("DELETE FROM uploads WHERE id = ?", (upload,))


class SqliteUpload:
    """An object on its way in; used by one thread at a time.

    Its pieces are written as they come, each in a transaction of its own, so that nobody waits
    for a slow upload. They are an object's as soon as a row in ``objects`` names the upload.
    """

    def __init__(self, file: ObjectFile) -> None:
        self._file = file
        self._upload: int | None = None
        self._rest = b""
        self._written = 0
        self._committed = False
        self._failed = False

    def __enter__(self) -> Self:
        with self._file.writing("no upload can begin") as connection:
            began = (time.time(),)
            self._upload = connection.execute(
                "INSERT INTO uploads (began) VALUES (?)", began
            ).lastrowid
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._committed:
            return
        try:
            with self._file.writing("an upload cannot be discarded") as connection:
                # a commit whose outcome was lost may have happened, or another came before
                named = "SELECT 1 FROM objects WHERE upload = ?"
                if connection.execute(named, (self._upload,)).fetchone() is None:
                    connection.execute("DELETE FROM pieces WHERE upload = ?", (self._upload,))
                connection.execute("DELETE FROM uploads WHERE id = ?", (self._upload,))
        except BackendUnavailableError:
            pass  # it is swept at a later start

    def write(self, chunk: bytes) -> None:
        """Take the next bytes; see ``Upload.write``."""
        self._require_whole()
        waiting = self._rest + chunk
        whole = len(waiting) - len(waiting) % PIECE_SIZE
        if whole:
            self._failed = True  # until it is known to be stored
            self._store(waiting[:whole])
            self._failed = False
        self._written += whole
        self._rest = waiting[whole:]

    def commit(self, key: str) -> StoredObject:
        """Publish all that was written; see ``Upload.commit``. It may be repeated."""
        _require(key)
        self._require_whole()
        size = self._written + len(self._rest)
        with self._file.writing(f"{key} cannot be stored") as connection:
            there = connection.execute("SELECT size FROM objects WHERE key = ?", (key,)).fetchone()
            if there is None:
                if self._rest:
                    connection.execute(
                        "INSERT INTO pieces VALUES (?, ?, ?)",
                        (self._upload, self._written // PIECE_SIZE, self._rest),
                    )
                row = (key, self._upload, size)
                connection.execute("INSERT INTO objects VALUES (?, ?, ?)", row)
                gone = connection.execute("DELETE FROM uploads WHERE id = ?", (self._upload,))
                if gone.rowcount != 1:  # its pieces were swept: this upload took longer than a day
                    raise BackendUnavailableError(BACKEND, "this upload has ended; begin again")
        self._committed = there is None
        return _described(key, size if there is None else there[0])

    def _require_whole(self) -> None:
        """After a failure nobody knows which bytes are there."""
        if self._failed:
            raise BackendUnavailableError(BACKEND, "this upload has failed; begin again")

    def _store(self, content: bytes) -> None:
        first = self._written // PIECE_SIZE
        with self._file.writing("the object cannot be written") as connection:
            connection.executemany(
                "INSERT INTO pieces VALUES (?, ?, ?)",
                (
                    (self._upload, first + number, content[start : start + PIECE_SIZE])
                    for number, start in enumerate(range(0, len(content), PIECE_SIZE))
                ),
            )


def _require(key: str) -> None:
    if not KEY_PATTERN.match(key):
        raise ValueError(f"not a storage key: {key!r:.100}")


def _described(key: str, size: int) -> StoredObject:
    return StoredObject(key, size, f"sqlite:{key}")
