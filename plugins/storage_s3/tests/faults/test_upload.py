"""An upload that fails at the store or on the way: retried, repeated, or left without a trace."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from eventserver_storage_s3 import S3Storage
from minio import Minio

from eventserver_core.backends.storage import StoredObject
from eventserver_core.domain.digest import sha256_hex
from eventserver_core.errors import BackendUnavailableError

MIB = 1024 * 1024
CONTENT = bytes(range(256)) * 4096 * 11  # two parts and a bit
KEY = f"media-{sha256_hex(CONTENT)}"
STEPS = ("begin", "part", "finish", "copy", "HEAD object", "HEAD bucket")


def upload(storage: S3Storage, key: str | None) -> StoredObject:
    with storage.upload(key) as incoming:
        for start in range(0, len(CONTENT), MIB):
            incoming.write(CONTENT[start : start + MIB])
        return incoming.commit(KEY)


def leftovers(client: Minio, bucket: str) -> list[str | None]:
    entries = client.list_objects(bucket, "incoming/")
    found = [entry.object_name for entry in entries if not entry.is_dir]
    begun = client._list_multipart_uploads(bucket).uploads
    return found + [entry.object_name for entry in begun]


@pytest.fixture
def unchecked(make_proxied: Callable[..., S3Storage], proxy: Any) -> S3Storage:
    """Return a backend on a store that knows no SHA-256, only MD5s."""
    for kind in ("PUT object", "begin", "part", "copy"):
        proxy.fail(kind, "refuse checksums")
    return make_proxied()


def ends_sending() -> bool:
    """Tell whether no thread that sends parts stays."""
    threads = [thread for thread in threading.enumerate() if thread.name.startswith("s3-part")]
    for thread in threads:
        thread.join(timeout=10)
    return not any(thread.is_alive() for thread in threads)


@pytest.mark.usefixtures("forgetful")
@pytest.mark.parametrize("fault", ["slow down", "drop", "lose"])
@pytest.mark.parametrize("step", STEPS)
def test_an_upload_survives_a_fault_that_passes(
    proxied: S3Storage, storage: S3Storage, proxy: Any, step: str, fault: str
) -> None:
    proxy.fail(step, fault, times=2)
    assert upload(proxied, None).size == len(CONTENT)
    assert b"".join(storage.read(KEY)) == CONTENT


@pytest.mark.usefixtures("forgetful")
@pytest.mark.parametrize("fault", ["slow down", "drop"])
@pytest.mark.parametrize("step", STEPS)
def test_an_upload_gives_up_on_a_fault_that_stays(
    proxied: S3Storage,
    storage: S3Storage,
    client: Minio,
    bucket: str,
    proxy: Any,
    step: str,
    fault: str,
) -> None:
    proxy.fail(step, fault)
    with pytest.raises(BackendUnavailableError, match="storage=s3"):
        upload(proxied, None)
    # each of three parts, or the object and once more to be removed
    assert proxy.counts()[step] <= 3 * (3 if step == "part" else 2)
    assert storage.stat(KEY) is None
    assert ends_sending()
    if step != "HEAD object":
        assert leftovers(client, bucket) == []


@pytest.mark.usefixtures("forgetful")
@pytest.mark.parametrize("key", [None, KEY], ids=["key unknown", "key known"])
@pytest.mark.parametrize("step", ["finish", "HEAD object", "HEAD bucket", "copy"])
def test_a_commit_that_failed_may_be_repeated(
    proxied: S3Storage, storage: S3Storage, proxy: Any, step: str, key: str | None
) -> None:
    if (step, key) == ("copy", KEY):
        return  # what is sent to its place isn't copied
    with proxied.upload(key) as incoming:
        incoming.write(CONTENT)
        proxy.fail(step, "lose")
        with pytest.raises(BackendUnavailableError):
            incoming.commit(KEY)
        proxy.heal()
        assert incoming.commit(KEY).size == len(CONTENT)
    assert b"".join(storage.read(KEY)) == CONTENT


def test_an_upload_that_failed_takes_nothing_more(proxied: S3Storage, proxy: Any) -> None:
    with proxied.upload() as incoming:
        proxy.fail("part", "slow down")
        with pytest.raises(BackendUnavailableError, match="overloaded"):
            for _ in range(2):  # what fails while more comes is told with what comes then
                incoming.write(CONTENT)
        proxy.heal()
        with pytest.raises(BackendUnavailableError, match="begin again"):
            incoming.write(CONTENT)
        with pytest.raises(BackendUnavailableError, match="begin again"):
            incoming.commit(KEY)


def test_an_upload_that_lost_a_part_is_never_published(
    proxied: S3Storage, storage: S3Storage, proxy: Any
) -> None:
    with proxied.upload(KEY) as incoming:
        proxy.fail("part", "slow down")
        incoming.write(CONTENT)
        for _ in range(2):
            with pytest.raises(BackendUnavailableError, match="overloaded"):
                incoming.commit(KEY)
            proxy.heal()
    assert storage.stat(KEY) is None


@pytest.mark.parametrize("store", ["proxied", "unchecked"])
@pytest.mark.parametrize("key", [None, KEY], ids=["key unknown", "key known"])
def test_a_part_that_the_store_cut_short_is_sent_again(
    request: pytest.FixtureRequest, storage: S3Storage, proxy: Any, store: str, key: str | None
) -> None:
    upstream = request.getfixturevalue(store)
    proxy.fail("part", "truncate", times=1)
    upload(upstream, key)
    assert proxy.counts()["part"] == 4
    assert b"".join(storage.read(KEY)) == CONTENT


@pytest.mark.parametrize(
    ("store", "fault"),
    [("proxied", "truncate"), ("unchecked", "truncate"), ("unchecked", "wrong etag")],
)
def test_a_part_that_the_store_keeps_getting_wrong_ends_the_upload(
    request: pytest.FixtureRequest, storage: S3Storage, proxy: Any, store: str, fault: str
) -> None:
    upstream = request.getfixturevalue(store)
    proxy.fail("part", fault)
    with pytest.raises(BackendUnavailableError, match="something else than was sent"):
        upload(upstream, KEY)
    assert proxy.counts()["part"] <= 2 * 3
    assert storage.stat(KEY) is None


@pytest.mark.parametrize("key", [None, KEY], ids=["key unknown", "key known"])
def test_an_object_with_another_etag_than_its_parts_make_is_not_acknowledged(
    proxied: S3Storage, proxy: Any, key: str | None
) -> None:
    proxy.fail("HEAD object", "wrong etag")
    with pytest.raises(BackendUnavailableError, match="something else than was sent"):
        upload(proxied, key)


@pytest.mark.parametrize("step", ["part", "finish", "copy"])
def test_a_store_that_hangs_is_given_up_within_the_time_limit(
    make_proxied: Callable[..., S3Storage], proxy: Any, monotonic: Callable[[], float], step: str
) -> None:
    proxied = make_proxied(plugins__time_limit="6", s3__read_timeout="2", s3__max_retries="9")
    with proxied.upload() as incoming:
        proxy.fail(step, "hang")
        incoming.write(CONTENT)
        began = monotonic()
        with pytest.raises(BackendUnavailableError, match="does not answer"):
            incoming.commit(KEY)
        assert monotonic() - began < 12
    assert monotonic() - began < 20
    assert ends_sending()


def test_media_that_are_there_already_are_not_published_again(
    proxied: S3Storage, proxy: Any
) -> None:
    for key in (None, KEY):
        first = upload(proxied, key)
        proxy.heal()
        assert upload(proxied, key) == first
        assert not proxy.counts()["copy"] + proxy.counts()["finish"]


@pytest.mark.parametrize("sizes", [(1, 11 * MIB - 1), (3 * MIB, 2 * MIB, 6 * MIB), (11 * MIB,)])
def test_parts_are_full_however_the_bytes_come(
    proxied: S3Storage, storage: S3Storage, proxy: Any, sizes: tuple[int, ...]
) -> None:
    proxy.heal()  # forget the probe's own part
    rest = CONTENT
    with proxied.upload(KEY) as incoming:
        for size in sizes:
            buffer = bytearray(rest[:size])
            incoming.write(buffer)
            buffer[:] = bytes(size)  # who calls may use it again
            rest = rest[size:]
        assert incoming.commit(KEY).size == len(CONTENT)
    parts = [len(request.body) for request in proxy.seen if request.kind == "part"]
    assert sorted(parts) == [MIB, 5 * MIB, 5 * MIB]
    assert b"".join(storage.read(KEY)) == CONTENT
