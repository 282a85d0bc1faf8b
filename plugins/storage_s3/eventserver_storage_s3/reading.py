"""Reads ranges of objects; a connection that breaks is taken up again where it broke."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import structlog
from minio.error import S3Error
from urllib3.exceptions import HTTPError
from urllib3.response import BaseHTTPResponse

from eventserver_core.errors import BackendUnavailableError, ObjectNotFoundError
from eventserver_storage_s3.bucket import Bucket
from eventserver_storage_s3.faults import BACKEND

CHUNK_SIZE = 256 * 1024

_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(?:\d+|\*)\Z")
_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Body:
    """A range on its way: what is left of it begins at ``first`` and ends at ``last``."""

    answer: BaseHTTPResponse
    first: int
    last: int


def read(
    bucket: Bucket, key: str, offset: int, length: int | None, max_resumptions: int
) -> Iterator[bytes]:
    """Return the range in chunks, after the object was found; see ``StorageBackend.read``.

    Args:
        max_resumptions: how often in all a body that was cut short is asked for again.
    """
    what = f"{key} cannot be read"
    body = None
    with bucket.call(what):
        if length == 0:
            if bucket.find(key) is None:
                raise not_found(key)
        else:
            body = _open(bucket, key, offset, None if length is None else offset + length - 1)
    if body is None:
        return iter(())
    chunks = _chunks(bucket, key, body, max_resumptions)
    next(chunks)  # a generator that has begun gives its connection back even if nobody reads on
    return chunks


def not_found(key: str) -> ObjectNotFoundError:
    """Return the error for an object that isn't there."""
    return ObjectNotFoundError(f"there is no object {key!r:.100}")


def _open(bucket: Bucket, key: str, first: int, last: int | None) -> _Body | None:
    """Begin to read; None where the object ends before the range begins."""
    try:
        answer = bucket.get(key, first, last)
    except S3Error as ex:
        if ex.code == "NoSuchKey":
            raise not_found(key) from ex
        if ex.response.status == 416:
            return None
        raise
    if answer.headers.get("content-length") == "0":
        answer.close()
        return None
    found = _CONTENT_RANGE.match(answer.headers.get("content-range", ""))
    if answer.status != 206 or found is None or int(found[1]) != first:
        answer.close()
        raise BackendUnavailableError(
            BACKEND, f"{key} cannot be read ({bucket.place}): the store gave another range"
        )
    return _Body(answer, first, int(found[2]))


def _chunks(bucket: Bucket, key: str, body: _Body, resumptions: int) -> Iterator[bytes]:
    try:
        yield b""
        while body.first <= body.last:
            with bucket.call(f"{key} cannot be read"):
                chunk = _next(body)
                while not chunk:
                    if not resumptions:
                        raise BackendUnavailableError(
                            BACKEND, f"{key} ends early ({bucket.place}), at byte {body.first}"
                        )
                    resumptions -= 1
                    _log.warning("s3_read_resumed", key=key, offset=body.first)
                    _resume(bucket, key, body)
                    chunk = _next(body)
            body.first += len(chunk)
            yield chunk
    finally:
        # back to the pool if it was read to its end, and closed if it wasn't
        body.answer.close()
        body.answer.release_conn()


def _next(body: _Body) -> bytes:
    """Return the next bytes, none where the connection broke or there are too few."""
    try:
        return body.answer.read1(min(CHUNK_SIZE, body.last + 1 - body.first), decode_content=False)
    except (HTTPError, OSError):
        return b""


def _resume(bucket: Bucket, key: str, body: _Body) -> None:
    body.answer.close()
    again = _open(bucket, key, body.first, body.last)
    if again is None or again.last != body.last:
        if again is not None:
            again.answer.close()
        raise BackendUnavailableError(
            BACKEND, f"{key} ends early ({bucket.place}): the store has less of it than it said"
        )
    body.answer = again.answer
