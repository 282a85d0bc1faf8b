"""The floors: what the work costs without HTTP and without EventServer, with usual libraries.

A floor writes what EventServer writes: an object to the store, rows to a table with the same
indexes, and a count; and it acknowledges as late: the object is there, the rows are committed.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import time
import uuid
from collections.abc import Callable
from typing import Any, Literal

import minio
import psycopg
import redis
import rfc8785
import urllib3
from pydantic import BaseModel, ConfigDict, Field

from benchmarks.events import event_maker, lines_maker
from benchmarks.floor_processes import Call, Places

BULK = 500
VIDEO_SIZE = 100_000_000
HEAD_SIZE = 24

_COUNT = """
local used = redis.call('INCRBY', KEYS[1], ARGV[1])
if used == tonumber(ARGV[1]) then redis.call('EXPIRE', KEYS[1], 60) end
return used
"""
_COLUMNS = (
    "digest_hex, event_id, received_at, submitted_by, pack_key, pack_offset, pack_length, "
    "storage_location"
)


class _Annotation(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True)
    label_id: str = Field(alias="labelId", min_length=1)
    value: str | int | float | bool | None
    timestamp: str | None = None


class _Metadata(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True)
    created_at: str = Field(alias="createdAt")
    created_by: str | None = Field(alias="createdBy", default=None)
    source: Literal["web", "mobile", "api"]


class _Package(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True)
    id: str = Field(min_length=36, max_length=36)
    version: str = Field(min_length=1)
    annotations: list[_Annotation] = Field(min_length=1)
    media: dict[str, Any] | None = None
    metadata: _Metadata


def flat(places: Places) -> Callable[[], Call]:
    """For each event one PUT, one script, one INSERT; nothing is parsed, checked or hashed."""
    store, count = _store(places), _counter(places)
    make = event_maker()

    def make_call() -> Call:
        connection = psycopg.connect(places.database, autocommit=True)

        def call() -> int:
            content, digest_hex = make(), os.urandom(32).hex()
            count(1)
            key = f"pack-{digest_hex}"
            store.put_object(places.bucket, key, io.BytesIO(content), len(content))
            row = _row(digest_hex, str(uuid.uuid4()), key, 0, len(content))
            connection.execute(
                f"INSERT INTO events ({_COLUMNS}) VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",  # noqa: S608
                row,
            )
            return 1

        return call

    return make_call


def bulk(places: Places) -> Callable[[], Call]:
    """For each 500 events one PUT, one script, one INSERT, and all the work on each event.

    Each is parsed, validated, put into its canonical form and hashed. The rows go in by an array
    for each column, which is the quickest way of the driver's to write many in one statement.
    """
    store, count = _store(places), _counter(places)
    make = lines_maker(BULK)

    def make_call() -> Call:
        connection = psycopg.connect(places.database, autocommit=True)

        def call() -> int:
            lines = make().splitlines()
            count(len(lines))
            digests, ids, contents = [], [], []
            for line in lines:
                document = json.loads(line)
                ids.append(_Package.model_validate(document).id)
                content = rfc8785.dumps(document)
                digests.append(hashlib.sha256(content).hexdigest())
                contents.append(content)
            pack = b"\n".join(contents)
            key = f"pack-{hashlib.sha256(pack).hexdigest()}"
            store.put_object(places.bucket, key, io.BytesIO(pack), len(pack))
            offset, rows = 0, []
            for digest_hex, event_id, content in zip(digests, ids, contents, strict=True):
                rows.append(_row(digest_hex, event_id, key, offset, len(content)))
                offset += len(content) + 1
            connection.execute(
                f"INSERT INTO events ({_COLUMNS}) SELECT * FROM unnest("  # noqa: S608
                "%s::text[], %s::text[], %s::bigint[], %s::text[], %s::text[], %s::bigint[], "
                "%s::int[], %s::text[])",
                [list(column) for column in zip(*rows, strict=True)],
            )
            return len(lines)

        return call

    return make_call


def media(places: Places) -> Callable[[], Call]:
    """One video by the store's client, as it comes."""
    store = _store(places)
    stream = io.BytesIO(video(VIDEO_SIZE))

    def call() -> int:
        stream.seek(HEAD_SIZE)
        stream.write(os.urandom(16))
        stream.seek(0)
        key = f"media-{os.urandom(32).hex()}"
        store.put_object(places.bucket, key, stream, VIDEO_SIZE)
        return 1

    return lambda: call


def video(size: int) -> bytes:
    """Return bytes that begin as an MP4 does, and can't be made smaller."""
    head = b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom"
    return head + os.urandom(size - len(head))


def _row(digest_hex: str, event_id: str, key: str, offset: int, length: int) -> tuple[Any, ...]:
    location = f"s3://floor/{key}"
    now = int(time.time() * 1000)
    return digest_hex, event_id, now, "relay-1", key, offset, length, location


def _store(places: Places) -> minio.Minio:
    return minio.Minio(
        places.endpoint,
        places.access_key,
        places.secret_key,
        secure=False,
        region="us-east-1",
        http_client=urllib3.PoolManager(maxsize=32),
    )


def _counter(places: Places) -> Callable[[int], int]:
    connection = redis.Redis.from_url(places.redis_url)
    digest = str(connection.script_load(_COUNT))
    key = f"floor:{os.getpid()}"

    def count(units: int) -> int:
        return int(str(connection.evalsha(digest, 1, key, str(units))))

    return count
