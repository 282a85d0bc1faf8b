"""The ``storage`` role: keeps objects under flat keys, for decades.

Keys are made by the core from digests (``[a-z]+-[0-9a-f]{64}``): an object never changes, and the
same key always means the same bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, runtime_checkable

KEY_PATTERN = re.compile(r"[a-z]{1,16}-[0-9a-f]{64}\Z")


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object that is durable.

    Attributes:
        key: what it is asked for by.
        size: in bytes.
        location: where it is, for people, such as ``s3://bucket/key``; never a machine's path.
    """

    key: str
    size: int
    location: str


class Upload(Protocol):
    """An object on its way in, as a context manager; leaving it uncommitted discards it."""

    def __enter__(self) -> Upload: ...

    def __exit__(self, *exc_info: object) -> None: ...

    def write(self, chunk: bytes) -> None:
        """Take the next bytes; memory MUST stay flat however many come.

        Raises:
            BackendUnavailableError: the store is down or full.
        """

    def commit(self, key: str) -> StoredObject:
        """Publish all that was written under ``key``, at once, durably.

        The object MUST be durable on return, and MUST NOT be visible in part before. Where the
        key exists already the outcome MUST be the same as if it had not.

        Raises:
            BackendUnavailableError: nothing was published, or the same commit may be repeated.
        """


@runtime_checkable
class StorageBackend(Protocol):
    """Where bytes are kept. Every method may be called from many threads at once."""

    def put(self, key: str, content: bytes) -> StoredObject:
        """Store a small object; as an upload that is written once and committed.

        A put MUST be durable on return. Putting the same key again MUST change nothing and
        succeed, so every caller may retry.

        Raises:
            ValueError: the key is not one that the core makes.
            BackendUnavailableError: the store is down or full; a retry is safe.
        """

    def upload(self, key: str | None = None) -> Upload:
        """Begin a large object.

        Args:
            key: the key that it will be committed under, where it is known already; a backend
                MAY use it to stream straight to its place.
        """

    def read(self, key: str, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Return an object's bytes in chunks of at most 1 MiB.

        A range MUST be answered without reading the whole object. A range past the end gives
        what there is. The object MUST be looked up before this returns, not at the first chunk.

        Raises:
            ObjectNotFoundError: there is no such object.
            BackendUnavailableError: the store is down.
        """

    def stat(self, key: str) -> StoredObject | None:
        """Return what is known of an object, or None where there is none."""

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Return the committed objects whose keys begin with ``prefix``, in the keys' order."""

    def check(self) -> None:
        """Find out whether objects can be stored now.

        Raises:
            BackendUnavailableError: they can't; the message says what to do about it.
        """


@runtime_checkable
class RetainsObjects(Protocol):
    """What a storage backend can say besides, where it keeps objects from being deleted."""

    def retained_until(self, key: str) -> datetime | None:
        """Return until when the store refuses to delete an object; None where it doesn't.

        Raises:
            ObjectNotFoundError: there is no such object.
            BackendUnavailableError: the store is down; a retry is safe.
        """
