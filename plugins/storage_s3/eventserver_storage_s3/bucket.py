"""The bucket: each thing that is asked of it, with the encryption and the lock that it takes.

The client has no public way to send a part, nor to write only what is new, so the requests for
these go through its ``_execute``, which signs and sends any request.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import structlog
from minio.commonconfig import CopySource
from minio.datatypes import Object
from minio.error import S3Error
from minio.retention import Retention
from urllib3.response import BaseHTTPResponse

from eventserver_core.errors import BackendUnavailableError, ConfigurationError
from eventserver_storage_s3.client import Client, signed_digest
from eventserver_storage_s3.configuration import Configuration
from eventserver_storage_s3.evidence import CHECKSUM_HEADER, Digests, Receipt, SentPart, Word
from eventserver_storage_s3.faults import BACKEND, NO_BUCKET, reported
from eventserver_storage_s3.transport import open_pool, time_limit

INCOMING = "incoming/"
"""Where objects are that nobody has committed, and those of the probe; never listed."""

SEEN_SECONDS = 30.0
"""How long a bucket that was seen is taken to be there, by a write."""

_TIDYING_SECONDS = 5.0
_MOST_MISSING = timedelta(days=1)
_SHARE_MISSING = 0.1
"""How much of its time a lock may lack: else an object that many name is locked anew by each."""
_ALGORITHM: dict[str, Any] = {"x-amz-checksum-algorithm": "SHA256"}
_NO_LOCK = (
    "ObjectLockConfigurationNotFoundError",
    "NoSuchObjectLockConfiguration",
    "InvalidRequest",  # of the bucket, or of an object in a bucket that has none
)

_log = structlog.get_logger(__name__)


class Bucket:
    """What is asked of the bucket; raises what the client raises, but for what ``call`` reports.

    Args:
        configuration: where it is.

    Raises:
        ConfigurationError: the client can't make sense of the endpoint.
    """

    def __init__(self, configuration: Configuration) -> None:
        self.name = configuration.bucket
        self._configuration = configuration
        self._sse = configuration.sse
        self._key = configuration.customer_key
        self._seen_at = -math.inf
        try:
            self._client = Client(
                configuration.host,
                secure=configuration.secure,
                region=configuration.region,
                credentials=configuration.provider,
                http_client=open_pool(configuration),
            )
        except ValueError as ex:
            raise ConfigurationError(
                f"storage.endpoint: not an address that the S3 client takes ({ex})"
            ) from ex
        if configuration.addressing == "virtual":
            self._client.enable_virtual_style_endpoint()  # type: ignore[no-untyped-call]
        elif configuration.addressing == "path":
            self._client.disable_virtual_style_endpoint()  # type: ignore[no-untyped-call]

    @property
    def place(self) -> str:
        """Where it is, for people."""
        return f"bucket {self.name} at {self._configuration.host}"

    @contextmanager
    def call(self, what: str) -> Iterator[None]:
        """Bound what is asked inside in time, and report what goes wrong.

        Args:
            what: what has failed if it does.
        """
        with time_limit(self._configuration.call_limit), reported(what, self.place):
            yield

    @contextmanager
    def tidying(self, name: str) -> Iterator[None]:
        """Let what is asked inside fail: nobody misses what it should have removed."""
        try:
            with time_limit(_TIDYING_SECONDS), self.call("it cannot be removed"):
                yield
        except BackendUnavailableError as ex:
            _log.info("s3_object_left_behind", object=name, error=str(ex))

    def exists(self) -> bool:
        """Tell whether there is such a bucket."""
        return self._client.bucket_exists(self.name)

    def require(self) -> None:
        """Make sure that there is such a bucket.

        Raises:
            BackendUnavailableError: there isn't.
        """
        if not self.exists():
            self._seen_at = -math.inf
            raise BackendUnavailableError(BACKEND, f"{self.place}: {NO_BUCKET}")
        self._note_seen()

    def require_for_writing(self) -> None:
        """Make sure that there is such a bucket, or was a moment ago.

        Some stores make one of any name that is written to; all others refuse the write, so a
        question before each would tell nothing new.

        Raises:
            BackendUnavailableError: there isn't.
        """
        if time.monotonic() - self._seen_at >= SEEN_SECONDS:
            self.require()

    def make(self) -> None:
        """Make the bucket, unless another process just did."""
        try:
            self._client.make_bucket(
                self.name,
                self._configuration.region,
                object_lock=self._configuration.lock_mode is not None,
            )
        except S3Error as ex:
            if ex.code not in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
                raise

    def has_lock(self) -> bool:
        """Tell whether objects in this bucket can be locked."""
        try:
            self._client.get_object_lock_config(self.name)
        except S3Error as ex:
            if ex.code in _NO_LOCK:
                return False
            raise
        return True

    def head(self, name: str) -> Word | None:
        """Return what the store says of an object."""
        try:
            found = self._client.stat_object(
                self.name,
                name,
                ssec=self._key,
                extra_headers={"x-amz-checksum-mode": "ENABLED"},
            )
        except S3Error as ex:
            if ex.code == "NoSuchKey":
                return None
            raise
        self._note_seen()
        return Word.of(found)

    def find(self, name: str) -> Word | None:
        """Return what the store says of an object; without the bucket nobody knows of absence."""
        word = self.head(name)
        if word is None:
            self.require()
        return word

    def put(
        self,
        name: str,
        content: bytes,
        digests: Digests | None = None,
        *,
        sha256: bytes | None = None,
        only_new: bool = False,
        locked: bool = False,
        encrypted: bool = True,
    ) -> Receipt:
        """Write an object at once.

        Args:
            digests: sent along for the store to check, if it knows how.
            sha256: of the content, where it is known.
            only_new: have the store refuse it where there is such an object, if it knows how.
        """
        headers = self._object_headers(locked=locked, encrypted=encrypted) | signed_digest(sha256)
        if digests:
            headers[CHECKSUM_HEADER] = digests.checksum
        if only_new:
            headers["If-None-Match"] = "*"
        return Receipt.of(self._execute("PUT", name, headers, {}, content).headers)

    def get(self, name: str, first: int, last: int | None) -> BaseHTTPResponse:
        """Begin to read a range, whose body is not read yet."""
        return self._client.get_object(
            self.name,
            name,
            request_headers={"Range": f"bytes={first}-{'' if last is None else last}"},
            ssec=self._key,
        )

    def begin(self, name: str, *, checksummed: bool, locked: bool) -> str:
        """Begin an object in parts, and return the id that its parts are sent under."""
        headers = self._object_headers(locked=locked) | (_ALGORITHM if checksummed else {})
        answer = self._execute("POST", name, headers, {"uploads": ""})
        found = ElementTree.fromstring(answer.data).findtext("{*}UploadId")  # noqa: S314 - the store
        if not found:
            raise ValueError("an upload without an id")
        return found

    def send(
        self,
        name: str,
        upload_id: str,
        number: int,
        content: bytes,
        checksum: str | None,
        sha256: bytes | None = None,
    ) -> Receipt:
        """Send a part, in full or again.

        Args:
            checksum: its SHA-256, sent along for the store to check, if it knows how.
            sha256: the same, where it is known.
        """
        headers = self._key_headers() | signed_digest(sha256)
        if checksum:
            headers[CHECKSUM_HEADER] = checksum
        query = {"partNumber": str(number), "uploadId": upload_id}
        return Receipt.of(self._execute("PUT", name, headers, query, content).headers)

    def finish(
        self, name: str, upload_id: str, parts: Sequence[SentPart], *, checksummed: bool
    ) -> None:
        """Make an object of the parts, in one moment.

        An error in the answer's body goes unseen, and so does an upload that is no more, since it
        may have been finished by a request whose answer was lost: only the object's ``head`` tells.
        """
        text = "".join(
            f"<Part><PartNumber>{part.number}</PartNumber><ETag>{escape(part.etag)}</ETag>"
            + (f"<ChecksumSHA256>{part.checksum}</ChecksumSHA256>" if checksummed else "")
            + "</Part>"
            for part in parts
        )
        space = "http://s3.amazonaws.com/doc/2006-03-01/"
        body = f'<CompleteMultipartUpload xmlns="{space}">{text}</CompleteMultipartUpload>'
        headers = self._key_headers() | {"Content-Type": "application/xml"}
        try:
            self._execute("POST", name, headers, {"uploadId": upload_id}, body.encode("ascii"))
        except S3Error as ex:
            if ex.code != "NoSuchUpload":
                raise

    def abort(self, name: str, upload_id: str) -> None:
        """Discard the parts."""
        self._execute("DELETE", name, {}, {"uploadId": upload_id})

    def copy(self, source: str, name: str, *, checksummed: bool, locked: bool) -> None:
        """Copy an object inside the store."""
        self._client.copy_object(
            self.name,
            name,
            CopySource(self.name, source, ssec=self._key),
            sse=self._sse,
            metadata=_ALGORITHM if checksummed else None,
            retention=self._retention() if locked else None,
        )

    def discard(self, name: str) -> None:
        """Remove an object for good, if that is allowed; a bucket's rules do it otherwise."""
        with self.tidying(name):
            word = self.head(name)
            if word is not None:
                self._client.remove_object(self.name, name, word.version)

    def list(self, prefix: str) -> Iterator[Object]:
        """Return what is in the bucket, but for what is in folders, in the keys' order."""
        found: Iterator[Object] = self._client.list_objects(
            self.name, prefix=prefix, recursive=False
        )
        return found

    def lock_of(self, name: str) -> Retention | None:
        """Return an object's lock, which may have ended."""
        try:
            return self._client.get_object_retention(self.name, name)
        except S3Error as ex:
            if ex.code in _NO_LOCK:
                return None
            raise

    def retain(self, name: str) -> None:
        """Make sure that an object is locked for as long as the settings have it, from now on.

        Most stores take the lock along with the object. Some forget it in a copy; what was stored
        before there was a lock has none; and that of an object which is stored again was set then.
        """
        wanted = self._retention()
        if wanted is None:
            return
        found = self.lock_of(name)
        if found is not None:
            missing = wanted.retain_until_date - found.retain_until_date
            if missing < min(_MOST_MISSING, self._configuration.retention * _SHARE_MISSING):
                return
            if found.retain_until_date > datetime.now(UTC):
                # while a lock runs stores let its end be put off, and not the mode be changed
                wanted = Retention(found.mode, wanted.retain_until_date)
        self._client.set_object_retention(self.name, name, wanted)

    def _retention(self) -> Retention | None:
        mode = self._configuration.lock_mode
        if mode is None:
            return None
        until = datetime.now(UTC) + self._configuration.retention
        return Retention(mode, until.replace(microsecond=0))

    def _object_headers(self, *, locked: bool, encrypted: bool = True) -> dict[str, Any]:
        headers: dict[str, Any] = {"Content-Type": "application/octet-stream"}
        headers |= self._sse.headers() if self._sse and encrypted else {}
        retention = self._retention() if locked else None
        if retention is not None:
            until = retention.retain_until_date.strftime("%Y-%m-%dT%H:%M:%SZ")
            headers["x-amz-object-lock-mode"] = retention.mode
            headers["x-amz-object-lock-retain-until-date"] = until
        return headers

    def _note_seen(self) -> None:
        self._seen_at = time.monotonic()

    def _key_headers(self) -> dict[str, Any]:
        return dict(self._key.headers()) if self._key else {}

    def _execute(
        self,
        method: str,
        name: str,
        headers: dict[str, Any],
        query: dict[str, Any],
        body: bytes | None = None,
    ) -> BaseHTTPResponse:
        return self._client._execute(
            method, self.name, name, body=body, headers=headers, query_params=query
        )
