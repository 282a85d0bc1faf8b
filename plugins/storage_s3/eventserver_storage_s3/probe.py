"""Finds out what a store can do: S3-compatible is not S3."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass

import structlog
from minio.error import S3Error, ServerError
from urllib3.exceptions import HTTPError

from eventserver_core.errors import BackendUnavailableError, ConfigurationError
from eventserver_storage_s3.bucket import INCOMING, Bucket
from eventserver_storage_s3.configuration import Configuration
from eventserver_storage_s3.evidence import Digests, Evidence, SentPart, Word
from eventserver_storage_s3.faults import BACKEND, is_damaged, is_taken
from eventserver_storage_s3.transport import remaining

_CONTENT = b"EventServer asks what this store can do."
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Abilities:
    """What the store can do, with the encryption that is set.

    Attributes:
        checksums: it takes a SHA-256 that is sent along, and reports it.
        checks: it refuses what has another SHA-256 than was sent along.
        conditions: it refuses to write what is there already, if it is asked to.
        part_checksums, part_checks: the same for objects in parts.
        etags: the ETag is the MD5.
        part_etags: of objects in parts, it is the MD5 over the parts', and a part's is its MD5.
        copy_etags: a copy's is one of these too.
        needs_md5: a copy's is the MD5 of all the bytes, and not the one over the parts'.
    """

    checksums: bool
    checks: bool
    conditions: bool
    part_checksums: bool
    part_checks: bool
    etags: bool
    part_etags: bool
    copy_etags: bool
    needs_md5: bool

    def trusts_etag_of(self, word: Word) -> bool:
        """Tell whether an object's ETag says anything of its bytes."""
        return self.part_etags if word.is_in_parts else self.etags

    def lacking(self) -> list[str]:
        """Return what it can't do."""
        named = {
            "sha256 of objects": self.checksums,
            "refusal of a wrong sha256": self.checks,
            "refusal of what is there": self.conditions,
            "sha256 of objects in parts": self.part_checksums,
            "refusal of a wrong sha256 in parts": self.part_checks,
            "md5 as etag of objects": self.etags,
            "md5 as etag of objects in parts": self.part_etags,
            "md5 as etag of copies": self.copy_etags,
        }
        return [what for what, can in named.items() if not can]


class Probe:
    """Knows what the store can do, once it could be asked.

    Args:
        bucket: where to ask.
        configuration: what the store must keep.
    """

    def __init__(self, bucket: Bucket, configuration: Configuration) -> None:
        self._bucket = bucket
        self._configuration = configuration
        self._lock = threading.Lock()
        self._known: Abilities | None = None

    def abilities(self) -> Abilities:
        """Return what the store can do; asks it as long as it hasn't answered.

        Raises:
            ConfigurationError: it can't do what the settings ask for.
            BackendUnavailableError: it doesn't answer, or has no such bucket.
        """
        if self._known is not None:
            return self._known
        if not self._lock.acquire(
            timeout=max(0.0, min(remaining(), self._configuration.call_limit))
        ):
            raise BackendUnavailableError(BACKEND, f"{self._bucket.place} does not answer in time")
        try:
            if self._known is None:
                self._known = self._ask()
            return self._known
        finally:
            self._lock.release()

    def _ask(self) -> Abilities:
        configuration, bucket = self._configuration, self._bucket
        with bucket.call("what the store can do is not known"):
            if configuration.create_bucket and not bucket.exists():
                bucket.make()
                _log.info("s3_bucket_created", bucket=bucket.name)
            bucket.require()
            if configuration.lock_mode and not bucket.has_lock():
                raise ConfigurationError(
                    f"s3.object_lock: {bucket.place} has no object lock, which is for the store to "
                    "turn on, best when the bucket is made; or set s3.object_lock = none"
                )
            abilities = self._try_out()
        _log.info(
            "s3_probed",
            bucket=bucket.name,
            host=configuration.host,
            encryption=configuration.encryption,
            object_lock=configuration.lock_mode,
            cannot=abilities.lacking(),
        )
        return abilities

    def _try_out(self) -> Abilities:
        bucket, name = self._bucket, INCOMING + secrets.token_hex(16)
        digests, wrong = Digests.of(_CONTENT), Digests.of(b"")
        with ExitStack() as objects:
            for made in ("", "-wrong", "-parts", "-copy"):
                objects.enter_context(self._removed(name + made))
            with self._encrypting(name):
                checksums, whole = self._written(lambda sent: self._put(name, sent))
            self._check_range(name)
            conditions = self._refuses(is_taken, lambda: bucket.put(name, _CONTENT, only_new=True))
            checks = checksums and self._refuses(
                is_damaged, lambda: bucket.put(f"{name}-wrong", _CONTENT, wrong)
            )
            with self._required("take objects in parts"):
                part_checksums, parted = self._written(
                    lambda sent: self._put_in_parts(f"{name}-parts", sent)
                )
            part_checks = part_checksums and self._refuses(
                is_damaged, lambda: self._send_part(f"{name}-wrong", wrong)
            )
            with self._required("copy objects"):
                bucket.copy(f"{name}-parts", f"{name}-copy", checksummed=checksums, locked=False)
            copied = self._found(f"{name}-copy")
            for word in (whole, parted, copied):
                self._check_encryption(word)
            part = SentPart(1, digests.etag, digests.sha256)
            evidence = Evidence.of(len(_CONTENT), digests)
            in_parts = Evidence.of_parts(len(_CONTENT), [part], digests.sha256, None)
            return Abilities(
                checksums=checksums and whole.checksum in evidence.checksums,
                checks=checks,
                conditions=conditions,
                part_checksums=part_checksums and parted.checksum in in_parts.checksums,
                part_checks=part_checks,
                etags=whole.etag in evidence.etags,
                part_etags=parted.etag in in_parts.etags,
                copy_etags=copied.etag in evidence.etags | in_parts.etags,
                needs_md5=copied.etag in evidence.etags,
            )

    def _written(self, write: Callable[[Digests | None], Word]) -> tuple[bool, Word]:
        """Write with a checksum, and without one where the store doesn't take it."""
        try:
            return True, write(Digests.of(_CONTENT))
        except S3Error as ex:
            if not _is_refusal(ex):
                raise
            return False, write(None)

    def _put(self, name: str, digests: Digests | None) -> Word:
        self._bucket.put(name, _CONTENT, digests)
        return self._found(name)

    def _put_in_parts(self, name: str, digests: Digests | None) -> Word:
        bucket, checksummed = self._bucket, digests is not None
        upload_id = bucket.begin(name, checksummed=checksummed, locked=False)
        try:
            checksum = digests.checksum if digests else None
            receipt = bucket.send(name, upload_id, 1, _CONTENT, checksum)
            part = SentPart(1, receipt.etag, digests.sha256 if digests else b"")
            bucket.finish(name, upload_id, [part], checksummed=checksummed)
        except S3Error:
            with suppress(S3Error):
                bucket.abort(name, upload_id)
            raise
        return self._found(name)

    def _send_part(self, name: str, digests: Digests) -> None:
        upload_id = self._bucket.begin(name, checksummed=True, locked=False)
        try:
            self._bucket.send(name, upload_id, 1, _CONTENT, digests.checksum)
        finally:
            with suppress(S3Error):
                self._bucket.abort(name, upload_id)

    def _refuses(self, is_expected: Callable[[S3Error], bool], write: Callable[[], object]) -> bool:
        """Tell whether the store refuses a write as it should."""
        try:
            write()
        except S3Error as ex:
            if is_expected(ex):
                return True
            if not _is_refusal(ex):
                raise
        except ServerError as ex:
            if ex.status_code != 304:  # by which some mean that it is there
                raise
        return False

    @contextmanager
    def _encrypting(self, name: str) -> Iterator[None]:
        """Tell a store that can't encrypt from one that can't store."""
        try:
            yield
        except (S3Error, ServerError) as ex:
            if not self._is_writable(name):
                raise
            code = ex.code if isinstance(ex, S3Error) else ex.status_code
            raise ConfigurationError(
                f"storage.encryption: {self._bucket.place} takes objects, but does not encrypt "
                f"them by {self._configuration.encryption} ({code})"
            ) from ex

    def _is_writable(self, name: str) -> bool:
        """Tell whether the store takes an object that isn't to be encrypted."""
        if self._configuration.sse is None:
            return False
        with suppress(S3Error, ServerError):
            self._bucket.put(name, _CONTENT, encrypted=False)
            return True
        return False

    def _check_encryption(self, word: Word) -> None:
        wanted = self._configuration.encryption
        if wanted not in ("none", word.encryption):
            raise ConfigurationError(
                f"storage.encryption: {self._bucket.place} was asked to encrypt by {wanted} and "
                f"did not (it says {word.encryption})"
            )

    def _check_range(self, name: str) -> None:
        answer = self._bucket.get(name, 6, 9)
        try:
            if answer.status != 206 or answer.read() != _CONTENT[6:10]:
                raise ConfigurationError(self._cannot("read a part of an object"))
        finally:
            answer.close()

    def _found(self, name: str) -> Word:
        word = self._bucket.head(name)
        if word is None or word.size != len(_CONTENT):
            raise BackendUnavailableError(
                BACKEND, f"{self._bucket.place} does not have what was just stored"
            )
        return word

    @contextmanager
    def _required(self, what: str) -> Iterator[None]:
        try:
            yield
        except S3Error as ex:
            if _is_refusal(ex):
                raise ConfigurationError(self._cannot(what)) from ex
            raise

    def _cannot(self, what: str) -> str:
        return (
            f"storage.endpoint: {self._bucket.place} cannot {what}, so EventServer can't use it; "
            "choose another store"
        )

    @contextmanager
    def _removed(self, name: str) -> Iterator[None]:
        """Remove an object afterwards, where that is allowed."""
        try:
            yield
        except HTTPError:
            raise  # a store that doesn't answer now won't remove it either
        except BaseException:
            self._bucket.discard(name)
            raise
        self._bucket.discard(name)


def _is_refusal(ex: S3Error) -> bool:
    """Tell whether the store understood and doesn't do such a thing."""
    return (
        ex.response.status in (400, 405, 501)
        and ex.code not in ("RequestTimeout", "SlowDown")
        and not is_damaged(ex)
    )
