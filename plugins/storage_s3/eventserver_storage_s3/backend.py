"""The backend."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from datetime import datetime

import structlog

from eventserver_core.backends.storage import KEY_PATTERN, StoredObject, Upload
from eventserver_core.errors import BackendUnavailableError
from eventserver_core.settings import Settings
from eventserver_storage_s3.bucket import INCOMING, Bucket
from eventserver_storage_s3.configuration import Configuration, configure
from eventserver_storage_s3.evidence import Digests
from eventserver_storage_s3.probe import Probe
from eventserver_storage_s3.reading import not_found, read
from eventserver_storage_s3.transport import time_limit
from eventserver_storage_s3.upload import S3Upload, require
from eventserver_storage_s3.writing import Writer

_START_SECONDS = 5.0
_CHECK_SECONDS = 1.9
"""The core takes a backend for ill that needs two seconds for a check."""

_log = structlog.get_logger(__name__)


class S3Storage:
    """Keeps objects in a bucket, flat, each named by its key.

    Args:
        configuration: the settings, checked.

    Raises:
        ConfigurationError: the store answers, and can't do what the settings ask for. One that
            doesn't answer is asked again when it is first needed.
    """

    def __init__(self, configuration: Configuration) -> None:
        self._configuration = configuration
        self._bucket = Bucket(configuration)
        self._probe = Probe(self._bucket, configuration)
        self._writer = Writer(self._bucket, self._probe, configuration)
        self._check_name = f"{INCOMING}check-{secrets.token_hex(8)}"
        try:
            with time_limit(min(_START_SECONDS, configuration.call_limit)):
                self._probe.abilities()
        except BackendUnavailableError as ex:
            _log.warning("s3_probe_put_off", error=str(ex))

    @classmethod
    def from_settings(cls, settings: Settings) -> S3Storage:
        """Make the backend that the settings describe.

        Raises:
            ConfigurationError: with every fault.
        """
        return cls(configure(settings))

    def put(self, key: str, content: bytes) -> StoredObject:
        """Store a small object; see ``StorageBackend.put``."""
        require(key)
        with self._bucket.call(f"{key} cannot be stored"):
            if len(content) <= self._configuration.part_size:
                return self._writer.store(key, content, Digests.of(content))
            with self.upload(key) as upload:
                upload.write(content)
                return upload.commit(key)

    def upload(self, key: str | None = None) -> Upload:
        """Begin a large object; see ``StorageBackend.upload``."""
        if key is not None:
            require(key)
        return S3Upload(self._writer, key)

    def read(self, key: str, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Return an object's bytes in chunks; see ``StorageBackend.read``."""
        if not KEY_PATTERN.match(key):
            raise not_found(key)
        if offset < 0 or (length is not None and length < 0):
            raise ValueError("a range begins at 0 or later and has no negative length")
        return read(self._bucket, key, offset, length, self._configuration.max_retries)

    def stat(self, key: str) -> StoredObject | None:
        """Return what is known of an object; see ``StorageBackend.stat``."""
        if not KEY_PATTERN.match(key):
            return None
        with self._bucket.call(f"{key} cannot be looked up"):
            word = self._bucket.find(key)
        return None if word is None else self._writer.describe(key, word.size)

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Return the objects in the order of their keys, a thousand to a request."""
        found = self._bucket.list(prefix)
        while True:
            with self._bucket.call("the objects cannot be listed"):
                entry = next(found, None)
            if entry is None:
                return
            if KEY_PATTERN.match(entry.object_name or ""):
                yield self._writer.describe(entry.object_name or "", entry.size or 0)

    def check(self) -> None:
        """Store a few bytes, and remove them."""
        self._writer.abilities()  # in its own time: what it finds is there for the next check
        with time_limit(_CHECK_SECONDS):
            with self._bucket.call("nothing can be stored"):
                self._bucket.require()
                self._bucket.put(self._check_name, b"check")
            self._bucket.discard(self._check_name)

    def retained_until(self, key: str) -> datetime | None:
        """Return until when an object can't be deleted, None where it can.

        Raises:
            ObjectNotFoundError: there is no such object.
            BackendUnavailableError: the store is down.
        """
        if self.stat(key) is None:
            raise not_found(key)
        with self._bucket.call(f"the retention of {key} cannot be looked up"):
            lock = self._bucket.lock_of(key)
        return lock.retain_until_date if lock else None
