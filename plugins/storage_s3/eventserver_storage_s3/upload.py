"""A large object on its way in.

What fits in one part is kept in memory and sent when its key is known. What doesn't goes to the
store in parts as it arrives: to its place where the key is known already, else to a name under
``incoming/``, from which the store copies it to its place. Nothing is written on this machine.
"""

from __future__ import annotations

import secrets
from typing import Self

from minio.error import S3Error

from eventserver_core.backends.storage import KEY_PATTERN, StoredObject
from eventserver_core.errors import BackendUnavailableError
from eventserver_storage_s3.bucket import INCOMING, SentPart
from eventserver_storage_s3.evidence import Digests, Evidence, Hasher
from eventserver_storage_s3.faults import BACKEND, is_damaged
from eventserver_storage_s3.writing import Writer

_TRIES = 2


class S3Upload:
    """An object on its way in; used by one thread at a time.

    Args:
        writer: stores it.
        key: where it will be, if that is known.
    """

    def __init__(self, writer: Writer, key: str | None) -> None:
        self._writer = writer
        self._bucket = writer.bucket
        self._key = key
        self._buffer = bytearray()
        self._hasher = Hasher()
        self._size = 0
        self._parts: _Parts | None = None
        self._is_open = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._is_open = False
        self._buffer.clear()
        if self._parts is not None:
            self._parts.discard()

    def write(self, chunk: bytes) -> None:
        """Take the next bytes; see ``Upload.write``."""
        self._require_open()
        # whatever fails from here on, nobody knows which bytes were taken
        self._is_open = False
        self._hasher.update(chunk)
        self._size += len(chunk)
        self._buffer += chunk
        if len(self._buffer) > self._writer.part_size:
            with self._bucket.call("the object cannot be sent"):
                self._send_full_parts()
        self._is_open = True

    def commit(self, key: str) -> StoredObject:
        """Publish what was written; see ``Upload.commit``."""
        require(key)
        if self._key is not None and self._key != key:
            raise ValueError(f"this upload was begun for another key than {key}")
        self._require_open()
        digests = self._hasher.digests()
        with self._bucket.call(f"{key} cannot be stored"):
            if self._parts is None:
                return self._writer.store(key, bytes(self._buffer), digests)
            last = bytes(self._buffer)
            evidence = self._parts.evidence(Evidence.of(self._size, digests), last)
            if self._writer.holds(key, evidence):
                return self._writer.acknowledge(key, self._size)
            self._parts.finish(last, evidence)
            if self._parts.name == key:
                return self._writer.acknowledge(key, self._size)
            return self._writer.publish(self._parts.name, key, evidence)

    def _send_full_parts(self) -> None:
        if self._parts is None:
            name = self._key or INCOMING + secrets.token_hex(16)
            self._parts = _Parts(self._writer, name, locked=self._key is not None)
        size = self._writer.part_size
        # the last part stays: it is sent by the commit, which may then be repeated
        while len(self._buffer) > size:
            with memoryview(self._buffer) as view:
                part = bytes(view[:size])
            self._parts.send(part)
            del self._buffer[:size]

    def _require_open(self) -> None:
        if not self._is_open:
            raise BackendUnavailableError(BACKEND, "this upload has failed or ended; begin again")


class _Parts:
    """An object that the store has in parts, until they are made one."""

    def __init__(self, writer: Writer, name: str, *, locked: bool) -> None:
        self.name = name
        self._writer = writer
        self._bucket = writer.bucket
        self._abilities = writer.abilities()
        self._checksummed = self._abilities.part_checksums
        self._sent: list[SentPart] = []
        self._last: SentPart | None = None
        self._is_temporary = not locked
        self._is_finished = False
        self._bucket.require_for_writing()
        self._upload_id = self._bucket.begin(name, checksummed=self._checksummed, locked=locked)

    def send(self, content: bytes) -> None:
        """Send the next part."""
        self._sent.append(self._confirmed(len(self._sent) + 1, content))

    def evidence(self, whole: Evidence, last: bytes) -> Evidence:
        """Return what proves the object that these parts and a last one make."""
        return whole.in_parts([*(part.digests for part in self._sent), Digests.of(last)])

    def finish(self, last: bytes, evidence: Evidence) -> None:
        """Send the last part and make the object; may be repeated.

        Raises:
            BackendUnavailableError: the store has something else.
        """
        if not self._is_finished:
            # sent once: where the answer of a finish was lost, the upload takes no more parts
            self._last = self._last or self._confirmed(len(self._sent) + 1, last)
            parts = [*self._sent, self._last]
            self._bucket.finish(self.name, self._upload_id, parts, checksummed=self._checksummed)
            by_etag = self._abilities.part_etags
            if not self._writer.confirms(self.name, evidence, by_etag=by_etag):
                raise self._writer.disagreement(self.name)
            self._is_finished = True

    def discard(self) -> None:
        """Discard what isn't at its place, if the store allows; its own rules do it otherwise."""
        if not self._is_finished:
            with self._bucket.tidying(self.name):
                self._bucket.abort(self.name, self._upload_id)
        if self._is_temporary:
            self._bucket.discard(self.name)

    def _confirmed(self, number: int, content: bytes) -> SentPart:
        for _ in range(_TRIES):
            try:
                part = self._bucket.send(
                    self.name, self._upload_id, number, content, checksummed=self._checksummed
                )
            except S3Error as ex:
                if not is_damaged(ex):
                    raise
                continue
            if not self._abilities.part_etags or part.etag == part.digests.etag:
                return part
        raise self._writer.disagreement(f"part {number} of {self.name}")


def require(key: str) -> None:
    """Make sure that a key is one that the core makes.

    Raises:
        ValueError: it isn't.
    """
    if not KEY_PATTERN.match(key):
        raise ValueError(f"not a storage key: {key!r:.100}")
