"""The bucket: there or not, whose it is, what else is in it."""

from __future__ import annotations

import io
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from eventserver_storage_s3 import S3Storage
from minio import Minio

from eventserver_core.domain.digest import sha256_hex
from eventserver_core.errors import BackendUnavailableError
from eventserver_core.testing.parts import SeaweedFS

KEY = f"media-{sha256_hex(b'x')}"


@pytest.fixture
def elsewhere(seaweedfs_with_more: SeaweedFS) -> dict[str, str]:
    """Return settings for a bucket that isn't there."""
    return {
        "storage__endpoint": seaweedfs_with_more.url,
        "storage__bucket": f"test-{secrets.token_hex(8)}",
    }


def test_a_bucket_that_is_not_there_is_told_and_not_made(
    make_storage: Callable[..., S3Storage],
    elsewhere: dict[str, str],
    seaweedfs_with_more: SeaweedFS,
    make_client: Callable[[SeaweedFS], Minio],
) -> None:
    storage = make_storage(**elsewhere)
    calls: list[Callable[[], object]] = [
        storage.check,
        lambda: storage.put(KEY, b"x"),
        lambda: storage.stat(KEY),
        lambda: storage.read(KEY),
        lambda: list(storage.list()),
    ]
    for call in calls:
        with pytest.raises(BackendUnavailableError, match=r"s3.create_bucket = true"):
            call()
    client = make_client(seaweedfs_with_more)
    assert not client.bucket_exists(elsewhere["storage__bucket"])


@pytest.mark.usefixtures("forgetful")
def test_a_bucket_that_went_away_is_not_made_again(
    make_storage: Callable[..., S3Storage],
    elsewhere: dict[str, str],
    seaweedfs_with_more: SeaweedFS,
    make_client: Callable[[SeaweedFS], Minio],
) -> None:
    client = make_client(seaweedfs_with_more)
    storage = make_storage(**elsewhere, s3__create_bucket="true")
    client.remove_bucket(elsewhere["storage__bucket"])
    with storage.upload() as incoming, pytest.raises(BackendUnavailableError):
        incoming.write(bytes(6 * 1024 * 1024))
    for call in (storage.check, lambda: storage.put(KEY, b"x")):
        with pytest.raises(BackendUnavailableError, match="no such bucket"):
            call()
    assert not client.bucket_exists(elsewhere["storage__bucket"])


def test_absence_is_never_said_of_a_bucket_that_is_not_there(
    make_storage: Callable[..., S3Storage],
    elsewhere: dict[str, str],
    seaweedfs_with_more: SeaweedFS,
    make_client: Callable[[SeaweedFS], Minio],
) -> None:
    storage = make_storage(**elsewhere, s3__create_bucket="true")
    assert storage.stat(KEY) is None
    make_client(seaweedfs_with_more).remove_bucket(elsewhere["storage__bucket"])
    with pytest.raises(BackendUnavailableError, match="no such bucket"):
        storage.stat(KEY)
    with pytest.raises(BackendUnavailableError, match="no such bucket"):
        storage.put(KEY, b"x")  # once it was found missing, the next write asks
    assert not make_client(seaweedfs_with_more).bucket_exists(elsewhere["storage__bucket"])


def test_many_make_the_bucket_at_once(
    make_storage: Callable[..., S3Storage], elsewhere: dict[str, str]
) -> None:
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: make_storage(**elsewhere, s3__create_bucket="true"), "1234"))
    for storage in made:
        storage.put(KEY, b"x")


def test_who_may_only_read_is_told_what_is_missing(
    make_storage: Callable[..., S3Storage], elsewhere: dict[str, str], seaweedfs_with_more: Any
) -> None:
    make_storage(**elsewhere, s3__create_bucket="true").put(KEY, b"x")
    access_key, secret_key = seaweedfs_with_more.reader
    reader = make_storage(**elsewhere, s3__access_key=access_key, s3__secret_key=secret_key)
    assert b"".join(reader.read(KEY)) == b"x"
    for call in (reader.check, lambda: reader.put(KEY, b"x")):
        with pytest.raises(BackendUnavailableError, match="permissions"):
            call()


def test_what_else_is_in_the_bucket_is_not_listed(
    storage: S3Storage, client: Minio, bucket: str
) -> None:
    strangers = ("incoming/left", "incoming/" + KEY, "media-short", "notes.txt", "zoo/" + KEY)
    for name in strangers:
        client.put_object(bucket, name, io.BytesIO(b"y"), 1)
    stored = storage.put(KEY, b"x")
    assert list(storage.list()) == [stored]
    assert list(storage.list("media-")) == [stored]


def test_a_long_list_comes_in_order(storage: S3Storage, client: Minio, bucket: str) -> None:
    keys = [f"media-{sha256_hex(b'%d' % number)}" for number in range(1100)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: client.put_object(bucket, key, io.BytesIO(b""), 0), keys))
    assert [stored.key for stored in storage.list()] == sorted(keys)


def test_a_location_is_the_objects_address(storage: S3Storage, bucket: str) -> None:
    assert storage.put(KEY, b"x").location == f"s3://{bucket}/{KEY}"


def test_a_store_that_never_answers_delays_the_start_by_seconds_only(
    make_storage: Callable[..., S3Storage],
    seaweedfs_alone: SeaweedFS,
    monotonic: Callable[[], float],
) -> None:
    seaweedfs_alone.pause()
    try:
        began = monotonic()
        make_storage(storage__endpoint=seaweedfs_alone.url)
        assert monotonic() - began < 15
    finally:
        seaweedfs_alone.resume()
