"""Puts objects in their places, and acknowledges only what the store itself says is whole."""

from __future__ import annotations

import structlog
from minio.error import S3Error

from eventserver_core.backends.storage import StoredObject
from eventserver_core.errors import BackendUnavailableError, ConfigurationError
from eventserver_storage_s3.bucket import Bucket
from eventserver_storage_s3.configuration import Configuration
from eventserver_storage_s3.evidence import Digests, Evidence, Word
from eventserver_storage_s3.faults import BACKEND, is_damaged, is_taken
from eventserver_storage_s3.probe import Abilities, Probe

_TRIES = 2
"""How often something is sent that the store gets wrong; what it refuses, the pool sends again."""

_log = structlog.get_logger(__name__)


class Writer:
    """Writes objects, each step checked.

    Args:
        bucket: where.
        probe: knows what the store's word is worth.
        configuration: says how things are encrypted.
    """

    def __init__(self, bucket: Bucket, probe: Probe, configuration: Configuration) -> None:
        self.bucket = bucket
        self.part_size = configuration.part_size
        self._probe = probe
        self._encryption = configuration.encryption

    def abilities(self) -> Abilities:
        """Return what the store can do; by now what it can't is a fault of its own.

        Raises:
            BackendUnavailableError: it doesn't answer, or can't keep the settings.
        """
        try:
            return self._probe.abilities()
        except ConfigurationError as ex:
            raise BackendUnavailableError(BACKEND, str(ex)) from ex

    def acknowledge(self, key: str, size: int) -> StoredObject:
        """Return what the core is told of an object that is whole, once it is locked too."""
        self.bucket.retain(key)
        return self.describe(key, size)

    def describe(self, key: str, size: int) -> StoredObject:
        """Return what is known of an object."""
        return StoredObject(key, size, f"s3://{self.bucket.name}/{key}")

    def holds(self, key: str, evidence: Evidence) -> bool:
        """Tell whether an object is there already, as far as the store can tell in one request."""
        abilities = self.abilities()
        word = self.bucket.head(key)
        if word is None:
            self.bucket.require_for_writing()
            return False
        # under another encryption the probe's findings don't count
        by_etag = word.encryption == self._encryption and abilities.trusts_etag_of(word)
        if evidence.agrees_with(word, by_etag=by_etag):
            return True
        # cut short, damaged, or in parts of another size, which can't be compared
        _log.warning("s3_object_written_again", key=key, size=word.size, expected=evidence.size)
        return False

    def store(self, key: str, content: bytes, digests: Digests) -> StoredObject:
        """Store an object that fits in one request, and if all is well with one request.

        Where the store can tell, only what isn't there is written, so that a good object never
        gives way to one that arrives damaged; else it is looked up before.
        """
        evidence, abilities = Evidence.of(len(content), digests), self.abilities()
        only_new = abilities.conditions
        if only_new:
            self.bucket.require_for_writing()
        elif self.holds(key, evidence):
            return self.acknowledge(key, len(content))
        for _ in range(_TRIES):
            if self._put(key, content, digests, evidence, only_new=only_new):
                return self.acknowledge(key, len(content))
            only_new = False
        raise self.disagreement(key)

    def publish(self, source: str, key: str, evidence: Evidence) -> StoredObject:
        """Copy an object that is whole to its place."""
        abilities = self.abilities()
        for _ in range(_TRIES):
            self.bucket.copy(source, key, checksummed=abilities.checksums, locked=True)
            if self.confirms(key, evidence, by_etag=abilities.copy_etags):
                return self.acknowledge(key, evidence.size)
        raise self.disagreement(key)

    def confirms(self, name: str, evidence: Evidence, *, by_etag: bool) -> bool:
        """Ask the store for what was just written, and compare."""
        word = self.bucket.head(name)
        if word is not None and evidence.agrees_with(word, by_etag=by_etag):
            return True
        _log_disagreement(name, word, evidence)
        return False

    def disagreement(self, name: str) -> BackendUnavailableError:
        """Return the error for a store that has something else than it was sent."""
        return BackendUnavailableError(
            BACKEND,
            f"{name} cannot be stored ({self.bucket.place}): the store holds something else than "
            "was sent; look at it, and at what is between it and this machine",
        )

    def _put(
        self, key: str, content: bytes, digests: Digests, evidence: Evidence, *, only_new: bool
    ) -> bool:
        """Write an object, and tell whether it is whole, now or already."""
        abilities = self.abilities()
        sent = digests if abilities.checksums else None
        try:
            receipt = self.bucket.put(
                key, content, sent, sha256=digests.sha256, only_new=only_new, locked=True
            )
        except S3Error as ex:
            if only_new and is_taken(ex):
                return self.holds(key, evidence)
            if not is_damaged(ex):
                raise
            _log.warning("s3_content_damaged_on_the_way", key=key, code=ex.code)
            return False
        by_etag = abilities.etags
        if evidence.is_confirmed_by(receipt, by_etag=by_etag, by_checksum=abilities.checks):
            return True
        return self.confirms(key, evidence, by_etag=by_etag)


def _log_disagreement(name: str, word: Word | None, evidence: Evidence) -> None:
    _log.warning(
        "s3_object_disagreed",
        object=name,
        found=word is not None,
        size=word.size if word else None,
        expected_size=evidence.size,
    )
