"""Evidence that must not be deleted."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from eventserver_storage_s3 import S3Storage
from minio import Minio
from minio.commonconfig import GOVERNANCE
from minio.error import S3Error
from minio.retention import Retention

from eventserver_core.domain.digest import sha256_hex
from eventserver_core.errors import ConfigurationError, ObjectNotFoundError
from eventserver_core.testing.parts import SeaweedFS

SMALL = b"evidence"
LARGE = bytes(range(256)) * 4096 * 11
DAYS = 7


def key_of(content: bytes) -> str:
    return f"media-{sha256_hex(content)}"


@pytest.fixture
def bucket(locked_bucket: str) -> str:
    return locked_bucket


@pytest.fixture
def locking(make_storage: Callable[..., S3Storage]) -> S3Storage:
    return make_storage(s3__object_lock="governance", s3__retention_days=str(DAYS))


def commit(storage: S3Storage, key: str | None) -> str:
    with storage.upload(key) as incoming:
        incoming.write(LARGE)
        return incoming.commit(key_of(LARGE)).key


STORED: list[Callable[[S3Storage], str]] = [
    lambda storage: storage.put(key_of(SMALL), SMALL).key,
    lambda storage: commit(storage, None),
    lambda storage: commit(storage, key_of(LARGE)),
]


@pytest.mark.parametrize("store", STORED, ids=["put", "upload", "upload to a known key"])
def test_what_is_stored_cannot_be_deleted(
    locking: S3Storage, client: Minio, bucket: str, store: Callable[[S3Storage], str]
) -> None:
    key = store(locking)
    until = locking.retained_until(key)
    assert until is not None
    assert abs(until - datetime.now(UTC) - timedelta(days=DAYS)) < timedelta(hours=1)
    version = client.stat_object(bucket, key).version_id
    with pytest.raises(S3Error, match="AccessDenied"):
        client.remove_object(bucket, key, version)
    assert locking.stat(key) is not None


@pytest.mark.parametrize("store", STORED, ids=["put", "upload", "upload to a known key"])
def test_storing_again_makes_no_further_version(
    locking: S3Storage, client: Minio, bucket: str, store: Callable[[S3Storage], str]
) -> None:
    store(locking)
    store(locking)
    versions = list(client.list_objects(bucket, recursive=True, include_version=True))
    assert len(versions) == 1  # nor is anything left of what was on its way


@pytest.mark.parametrize("store", STORED, ids=["put", "upload", "upload to a known key"])
def test_a_lock_that_ends_too_soon_is_put_off_when_the_object_is_stored_again(
    make_storage: Callable[..., S3Storage], locking: S3Storage, store: Callable[[S3Storage], str]
) -> None:
    key = store(locking)
    longer = make_storage(s3__object_lock="governance", s3__retention_days="30")
    assert store(longer) == key
    until = longer.retained_until(key)
    assert until is not None
    assert abs(until - datetime.now(UTC) - timedelta(days=30)) < timedelta(hours=1)


def test_a_lock_is_never_made_shorter(
    make_storage: Callable[..., S3Storage], locking: S3Storage
) -> None:
    longer = make_storage(s3__object_lock="governance", s3__retention_days="30")
    key = longer.put(key_of(SMALL), SMALL).key
    until = longer.retained_until(key)
    locking.put(key, SMALL)
    assert locking.retained_until(key) == until


@pytest.mark.parametrize(("missing", "is_put_off"), [(16, False), (17, True)])
def test_what_lacks_less_than_a_tenth_of_its_time_is_left_alone(
    storage: S3Storage,
    locking: S3Storage,
    client: Minio,
    bucket: str,
    missing: int,
    is_put_off: bool,
) -> None:
    key = storage.put(key_of(SMALL), SMALL).key
    until = datetime.now(UTC).replace(microsecond=0) + timedelta(days=DAYS, hours=-missing)
    client.set_object_retention(bucket, key, Retention(GOVERNANCE, until))
    locking.put(key, SMALL)
    assert (locking.retained_until(key) != until) == is_put_off


def test_a_lock_that_runs_keeps_its_mode(
    make_storage: Callable[..., S3Storage], locking: S3Storage, client: Minio, bucket: str
) -> None:
    key = locking.put(key_of(SMALL), SMALL).key
    make_storage(s3__object_lock="compliance", s3__retention_days="30").put(key, SMALL)
    lock = client.get_object_retention(bucket, key)
    assert lock is not None
    assert lock.mode == GOVERNANCE
    assert lock.retain_until_date > datetime.now(UTC) + timedelta(days=29)


def test_a_lock_for_good_holds_against_everybody(
    make_storage: Callable[..., S3Storage],
    seaweedfs_with_more: SeaweedFS,
    make_client: Callable[[SeaweedFS], Minio],
) -> None:
    client = make_client(seaweedfs_with_more)
    client.make_bucket("for-good", object_lock=True)  # and it can't be removed after this test
    storage = make_storage(
        storage__endpoint=seaweedfs_with_more.url,
        storage__bucket="for-good",
        s3__object_lock="compliance",
        s3__retention_days="1",
    )
    key = storage.put(key_of(SMALL), SMALL).key
    version = {"versionId": client.stat_object("for-good", key).version_id or ""}
    bypass: dict[str, Any] = {"x-amz-bypass-governance-retention": "true"}
    with pytest.raises(S3Error, match="AccessDenied"):
        client._execute("DELETE", "for-good", key, headers=bypass, query_params={**version})
    assert b"".join(storage.read(key)) == SMALL


def test_a_bucket_is_made_with_a_lock_where_one_is_set(
    make_storage: Callable[..., S3Storage], seaweedfs_with_more: SeaweedFS
) -> None:
    storage = make_storage(
        storage__endpoint=seaweedfs_with_more.url,
        storage__bucket="made-with-a-lock",
        s3__create_bucket="true",
        s3__object_lock="governance",
        s3__retention_days="1",
    )
    assert storage.retained_until(storage.put(key_of(SMALL), SMALL).key) is not None


def test_the_retention_of_what_is_not_there_is_not_found(locking: S3Storage) -> None:
    with pytest.raises(ObjectNotFoundError):
        locking.retained_until(key_of(b"nothing"))


class TestInABucketWithoutLock:
    @pytest.fixture
    def bucket(self, plain_bucket: str) -> str:
        return plain_bucket

    def test_a_lock_is_refused_at_the_start(self, make_storage: Callable[..., S3Storage]) -> None:
        with pytest.raises(ConfigurationError, match=r"s3.object_lock: .* has no object lock"):
            make_storage(s3__object_lock="compliance", s3__retention_days="1")

    def test_nothing_is_retained(self, storage: S3Storage) -> None:
        storage.put(key_of(SMALL), SMALL)
        assert storage.retained_until(key_of(SMALL)) is None
