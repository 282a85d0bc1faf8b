"""A large object on its way in.

What fits in one part is kept in memory and sent when its key is known. What doesn't goes to the
store in parts as it arrives: to its place where the key is known already, else to a name under
``incoming/``, from which the store copies it to its place. Nothing is written on this machine.

Parts are sent by threads of the upload's own while the next bytes come, a few at a time, so that
memory stays flat. They end with the upload; each part has the time that a call of the backend has.
"""

from __future__ import annotations

import contextvars
import hashlib
import secrets
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Self

from minio.error import S3Error

from eventserver_core.backends.storage import KEY_PATTERN, StoredObject
from eventserver_core.errors import BackendUnavailableError
from eventserver_storage_s3.bucket import INCOMING
from eventserver_storage_s3.evidence import Digests, Evidence, SentPart
from eventserver_storage_s3.faults import BACKEND, is_damaged
from eventserver_storage_s3.settings import PARTS_IN_FLIGHT
from eventserver_storage_s3.transport import remaining
from eventserver_storage_s3.writing import Writer

_TRIES = 2
_ENDING_SECONDS = 5.0
"""How long parts on their way are waited for once nobody wants them."""


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
        self._held: deque[memoryview] = deque()
        self._held_size = 0
        self._size = 0
        self._parts: _Parts | None = None
        self._is_open = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._is_open = False
        self._held.clear()
        if self._parts is not None:
            self._parts.discard()

    def write(self, chunk: bytes) -> None:
        """Take the next bytes; see ``Upload.write``."""
        self._require_open()
        # whatever fails from here on, nobody knows which bytes were taken
        self._is_open = False
        self._size += len(chunk)
        self._held.append(memoryview(bytes(chunk)))
        self._held_size += len(chunk)
        if self._held_size > self._writer.part_size:
            with self._bucket.call("the object cannot be sent"):
                self._send_full_parts()
        self._is_open = True

    def commit(self, key: str) -> StoredObject:
        """Publish what was written; see ``Upload.commit``."""
        require(key)
        if self._key is not None and self._key != key:
            raise ValueError(f"this upload was begun for another key than {key}")
        self._require_open()
        last = b"".join(self._held)  # which stays: the same commit may be repeated
        with self._bucket.call(f"{key} cannot be stored"):
            if self._parts is None:
                return self._writer.store(key, last, Digests.of(last))
            evidence = self._parts.complete(key, self._size, last)
            if self._writer.holds(key, evidence):
                return self._writer.acknowledge(key, self._size)
            self._parts.finish(evidence)
            if self._parts.name == key:
                return self._writer.acknowledge(key, self._size)
            return self._writer.publish(self._parts.name, key, evidence)

    def _send_full_parts(self) -> None:
        if self._parts is None:
            name = self._key or INCOMING + secrets.token_hex(16)
            self._parts = _Parts(self._writer, name, locked=self._key is not None)
        size = self._writer.part_size
        # the last part stays: it is sent by the commit, which may then be repeated
        while self._held_size > size:
            self._parts.make_room()
            self._parts.send(self._take(size))

    def _take(self, size: int) -> bytes:
        taken: list[memoryview] = []
        self._held_size -= size
        while size > 0:
            chunk = self._held.popleft()
            if len(chunk) > size:
                self._held.appendleft(chunk[size:])
            taken.append(chunk[:size])
            size -= len(taken[-1])
        return b"".join(taken)

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
        self._sending: deque[Future[SentPart]] = deque()
        self._last: Future[SentPart] | None = None
        self._sent: list[SentPart] = []
        self._is_complete = False
        self._md5 = hashlib.md5(usedforsecurity=False) if self._abilities.needs_md5 else None
        self._is_temporary = not locked
        self._is_finished = False
        self._bucket.require_for_writing()
        self._upload_id = self._bucket.begin(name, checksummed=self._checksummed, locked=locked)
        self._threads = ThreadPoolExecutor(PARTS_IN_FLIGHT, "s3-part")

    def make_room(self) -> None:
        """Wait until few enough parts are on their way for the next one.

        Raises:
            BackendUnavailableError: one of them couldn't be sent.
        """
        self._collect(PARTS_IN_FLIGHT - 1)

    def send(self, content: bytes) -> None:
        """Begin to send the next part, once there is room."""
        self._sending.append(self._begin(content))
        if self._md5:
            self._md5.update(content)

    def complete(self, key: str, size: int, last: bytes) -> Evidence:
        """Send the last part, and return what proves the object that all make; may be repeated.

        Raises:
            BackendUnavailableError: not all could be sent.
        """
        # sent once: where the answer of a finish was lost, the upload takes no more parts
        if not self._is_complete:
            self._last = self._begin(last)
            self._collect(0)
            self._sent.append(self._last.result(remaining()))
            self._is_complete = True
            if self._md5:
                self._md5.update(last)
        # a key is made from the SHA-256 of the bytes, so this is what it must be
        sha256 = bytes.fromhex(key.rpartition("-")[2])
        return Evidence.of_parts(
            size, self._sent, sha256, self._md5.digest() if self._md5 else None
        )

    def finish(self, evidence: Evidence) -> None:
        """Make the object; may be repeated.

        Raises:
            BackendUnavailableError: the store has something else.
        """
        if not self._is_finished:
            checksummed, by_etag = self._checksummed, self._abilities.part_etags
            self._bucket.finish(self.name, self._upload_id, self._sent, checksummed=checksummed)
            if not self._writer.confirms(self.name, evidence, by_etag=by_etag):
                raise self._writer.disagreement(self.name)
            self._is_finished = True

    def discard(self) -> None:
        """Discard what isn't at its place, if the store allows; its own rules do it otherwise."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        # what arrives after the abort stays; a part that hangs ends by its own deadline
        sending = [*self._sending, *([self._last] if self._last else [])]
        wait([future for future in sending if not future.cancelled()], _ENDING_SECONDS)
        if not self._is_finished:
            with self._bucket.tidying(self.name):
                self._bucket.abort(self.name, self._upload_id)
        if self._is_temporary:
            self._bucket.discard(self.name)

    def _begin(self, content: bytes) -> Future[SentPart]:
        number = len(self._sent) + len(self._sending) + 1
        context = contextvars.copy_context()
        return self._threads.submit(context.run, self._confirmed, number, content)

    def _collect(self, left: int) -> None:
        """Wait until this many parts are on their way; one that failed fails each time."""
        while len(self._sending) > left:
            self._sent.append(self._sending[0].result(remaining()))
            self._sending.popleft()

    def _confirmed(self, number: int, content: bytes) -> SentPart:
        """Send a part, in a thread of its own, until the store has it."""
        sha256 = hashlib.sha256(content).digest()
        with self._bucket.call(f"part {number} of {self.name} cannot be sent"):
            for _ in range(_TRIES):
                part = self._tried(number, content, sha256)
                if part is not None:
                    return part
        raise self._writer.disagreement(f"part {number} of {self.name}")

    def _tried(self, number: int, content: bytes, sha256: bytes) -> SentPart | None:
        abilities, part = self._abilities, SentPart(number, "", sha256)
        checksum = part.checksum if self._checksummed else None
        try:
            receipt = self._bucket.send(
                self.name, self._upload_id, number, content, checksum, sha256
            )
        except S3Error as ex:
            if is_damaged(ex):
                return None
            raise
        if abilities.part_checks and receipt.checksum == part.checksum:
            is_whole = True
        elif abilities.part_etags:
            is_whole = receipt.etag == hashlib.md5(content, usedforsecurity=False).hexdigest()
        else:
            is_whole = receipt.checksum in ("", part.checksum)
        return SentPart(number, receipt.etag, sha256) if is_whole else None


def require(key: str) -> None:
    """Make sure that a key is one that the core makes.

    Raises:
        ValueError: it isn't.
    """
    if not KEY_PATTERN.match(key):
        raise ValueError(f"not a storage key: {key!r:.100}")
