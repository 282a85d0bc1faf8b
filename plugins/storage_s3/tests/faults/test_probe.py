"""What the plugin makes of stores that are not quite S3."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from eventserver_storage_s3 import S3Storage
from structlog.testing import capture_logs

from eventserver_core.domain.digest import sha256_hex
from eventserver_core.errors import BackendUnavailableError, ConfigurationError

SMALL = b"small"
LARGE = bytes(6 * 1024 * 1024)
LACKING = {
    "sha256 of objects",
    "refusal of a wrong sha256",
    "refusal of what is there",
    "sha256 of objects in parts",
    "refusal of a wrong sha256 in parts",
    "md5 as etag of objects",
    "md5 as etag of objects in parts",
    "md5 as etag of copies",
}


def key_of(content: bytes) -> str:
    return f"media-{sha256_hex(content)}"


def stores(storage: S3Storage) -> None:
    """Make sure that a small and a large object come back as they were."""
    storage.put(key_of(SMALL), SMALL)
    with storage.upload() as incoming:
        incoming.write(LARGE)
        incoming.commit(key_of(LARGE))
    for content in (SMALL, LARGE):
        assert b"".join(storage.read(key_of(content))) == content


def test_what_the_store_can_do_is_said_in_one_line(make_storage: Callable[..., S3Storage]) -> None:
    with capture_logs() as lines:
        make_storage(storage__encryption="sse-s3")
    (line,) = [line for line in lines if line["event"] == "s3_probed"]
    assert (line["encryption"], line["object_lock"]) == ("sse-s3", None)
    assert set(line["cannot"]) <= LACKING


def test_a_store_that_refuses_checksums_gets_none(
    make_storage: Callable[..., S3Storage], proxy: Any
) -> None:
    for kind in ("PUT object", "begin", "part", "copy"):
        proxy.fail(kind, "refuse checksums")
    with capture_logs() as lines:
        storage = make_storage(storage__endpoint=proxy.url)
    assert "sha256 of objects" in lines[-1]["cannot"]
    assert "sha256 of objects in parts" in lines[-1]["cannot"]
    stores(storage)


def test_a_store_that_says_nothing_of_the_bytes_is_gone_by_the_size(
    make_storage: Callable[..., S3Storage], proxy: Any
) -> None:
    proxy.fail("HEAD object", "say nothing")
    with capture_logs() as lines:
        storage = make_storage(storage__endpoint=proxy.url)
    assert set(lines[-1]["cannot"]) == {what for what in LACKING if "refusal" not in what}
    stores(storage)
    proxy.fail("PUT object", "truncate")
    with pytest.raises(BackendUnavailableError, match="something else than was sent"):
        storage.put(key_of(b"another"), b"another")


def test_etags_that_are_no_md5_are_not_gone_by(
    make_storage: Callable[..., S3Storage], proxy: Any
) -> None:
    proxy.fail("HEAD object", "wrong etag")
    with capture_logs() as lines:
        storage = make_storage(storage__endpoint=proxy.url)
    assert {"md5 as etag of objects", "md5 as etag of copies"} < set(lines[-1]["cannot"])
    stores(storage)
    proxy.heal()
    proxy.fail("HEAD object", "wrong etag")
    storage.put(key_of(SMALL), SMALL)
    assert proxy.counts() == {"PUT object": 1, "HEAD object": 1}  # refused, and taken as it is


@pytest.mark.parametrize("kind", ["PUT object", "part"])
def test_a_sha256_that_is_only_said_back_proves_nothing(
    make_storage: Callable[..., S3Storage], proxy: Any, kind: str
) -> None:
    proxy.fail(kind, "echo checksum")
    with capture_logs() as lines:
        storage = make_storage(storage__endpoint=proxy.url)
    assert any("refusal of a wrong sha256" in what for what in lines[-1]["cannot"])
    proxy.heal()
    proxy.fail(kind, "truncate and echo", times=1)
    stores(storage)


def test_a_store_that_means_not_modified_by_a_refusal_is_looked_into_before(
    make_storage: Callable[..., S3Storage], proxy: Any
) -> None:
    proxy.fail("PUT object", "nothing", times=1)
    proxy.fail("PUT object", "not modified", times=1)
    with capture_logs() as lines:
        storage = make_storage(storage__endpoint=proxy.url)
    assert lines[-1]["cannot"] == ["refusal of what is there"]
    stores(storage)


@pytest.mark.parametrize(
    ("kind", "fault", "said"),
    [
        ("begin", "refuse", "storage.endpoint: .* cannot take objects in parts"),
        ("copy", "refuse", "storage.endpoint: .* cannot copy objects"),
        ("GET object", "ignore range", "storage.endpoint: .* cannot read a part of an object"),
    ],
)
def test_a_store_that_lacks_what_is_needed_is_refused_at_the_start(
    make_storage: Callable[..., S3Storage], proxy: Any, kind: str, fault: str, said: str
) -> None:
    proxy.fail(kind, fault)
    with pytest.raises(ConfigurationError, match=said):
        make_storage(storage__endpoint=proxy.url)


def test_a_store_that_only_pretends_to_encrypt_is_refused(
    make_storage: Callable[..., S3Storage], proxy: Any
) -> None:
    proxy.fail("HEAD object", "ignore encryption")
    with pytest.raises(ConfigurationError, match=r"storage.encryption: .* did not"):
        make_storage(storage__endpoint=proxy.url, storage__encryption="sse-s3")


def test_a_store_that_is_down_at_the_start_is_asked_when_it_is_back(
    make_storage: Callable[..., S3Storage], proxy: Any
) -> None:
    proxy.fail("HEAD bucket", "drop")
    with capture_logs() as lines:
        storage = make_storage(storage__endpoint=proxy.url, s3__max_retries="0")
    assert [line["event"] for line in lines] == ["s3_probe_put_off"]
    with pytest.raises(BackendUnavailableError):
        storage.put(key_of(SMALL), SMALL)
    proxy.heal()
    stores(storage)


def test_a_store_that_turns_out_unable_later_is_unavailable(
    make_storage: Callable[..., S3Storage], proxy: Any
) -> None:
    proxy.fail("HEAD bucket", "drop", times=1)
    storage = make_storage(storage__endpoint=proxy.url, s3__max_retries="0")
    proxy.fail("begin", "refuse")
    for call in (storage.check, lambda: storage.put(key_of(SMALL), SMALL)):
        with pytest.raises(BackendUnavailableError, match="cannot take objects in parts"):
            call()


def test_a_probe_leaves_nothing_behind(
    make_proxied: Callable[..., S3Storage], proxy: Any, client: Any, bucket: str
) -> None:
    make_proxied().check()
    assert [entry.object_name for entry in client.list_objects(bucket, recursive=True)] == []
    assert proxy.counts()["PUT object"] == 1


def test_a_check_is_cheap(make_proxied: Callable[..., S3Storage], proxy: Any) -> None:
    make_proxied().check()
    assert proxy.counts().total() == 4
    assert all(len(request.body) < 100 for request in proxy.seen)
