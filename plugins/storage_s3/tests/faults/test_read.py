"""A read that fails at the store or on the way: what is returned is right, or there is an error."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from eventserver_storage_s3 import S3Storage

from eventserver_core.domain.digest import sha256_hex
from eventserver_core.errors import BackendUnavailableError

CONTENT = bytes(range(256)) * 12_000
KEY = f"media-{sha256_hex(CONTENT)}"
PASSING = ("slow down", "drop", "lose", "cut")


@pytest.fixture
def stored(storage: S3Storage) -> None:
    storage.put(KEY, CONTENT)


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize("fault", PASSING)
def test_a_read_survives_a_fault_that_passes(proxied: S3Storage, proxy: Any, fault: str) -> None:
    proxy.fail("GET object", fault, times=2)
    assert b"".join(proxied.read(KEY)) == CONTENT
    assert proxy.counts()["GET object"] == 3


@pytest.mark.usefixtures("stored")
def test_a_range_that_was_cut_is_taken_up_where_it_broke(proxied: S3Storage, proxy: Any) -> None:
    proxy.fail("GET object", "cut", times=1)
    assert b"".join(proxied.read(KEY, 1000, 2_000_000)) == CONTENT[1000:2_001_000]
    assert [request.headers["range"] for request in proxy.seen] == [
        "bytes=1000-2000999",
        "bytes=1001000-2000999",
    ]


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize("fault", PASSING)
def test_a_read_gives_up_on_a_fault_that_stays(proxied: S3Storage, proxy: Any, fault: str) -> None:
    proxy.fail("GET object", fault)
    got = bytearray()
    with pytest.raises(BackendUnavailableError, match="storage=s3"):
        for chunk in proxied.read(KEY):
            got += chunk
    assert proxy.counts()["GET object"] == 3
    assert CONTENT.startswith(bytes(got))
    assert len(got) < len(CONTENT)


@pytest.mark.usefixtures("stored")
def test_a_store_that_hangs_is_given_up_within_the_time_limit(
    make_proxied: Callable[..., S3Storage], proxy: Any, monotonic: Callable[[], float]
) -> None:
    proxied = make_proxied(plugins__time_limit="6", s3__read_timeout="2", s3__max_retries="9")
    proxy.fail("GET object", "hang")
    began = monotonic()
    with pytest.raises(BackendUnavailableError, match="does not answer"):
        proxied.read(KEY)
    assert monotonic() - began < 12
    assert 2 <= proxy.counts()["GET object"] <= 4


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize("fault", ["garbage", "redirect"])
def test_an_answer_that_is_not_s3s_is_not_taken_for_one(
    proxied: S3Storage, proxy: Any, fault: str
) -> None:
    proxy.fail("GET object", fault)
    with pytest.raises(BackendUnavailableError, match="storage=s3"):
        proxied.read(KEY)


@pytest.mark.usefixtures("stored")
def test_a_reader_that_leaves_gives_its_connection_back(
    make_proxied: Callable[..., S3Storage], proxy: Any
) -> None:
    proxied = make_proxied(s3__pool_size="1")
    for _ in range(5):
        chunks = proxied.read(KEY)
        next(chunks)
        chunks.close()  # type: ignore[attr-defined]
    assert b"".join(proxied.read(KEY)) == CONTENT
    assert proxy.counts()["GET object"] == 6


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize("fault", ["slow down", "drop"])
def test_a_store_that_fails_is_not_a_store_without_the_object(
    proxied: S3Storage, proxy: Any, fault: str
) -> None:
    proxy.fail("HEAD object", fault)
    with pytest.raises(BackendUnavailableError):
        proxied.stat(KEY)


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize("fault", ["slow down", "drop", "cut", "garbage"])
def test_a_list_is_whole_or_fails(proxied: S3Storage, proxy: Any, fault: str) -> None:
    proxy.fail("GET bucket", fault)
    with pytest.raises(BackendUnavailableError):
        list(proxied.list())
    proxy.heal()
    assert [stored.key for stored in proxied.list()] == [KEY]
