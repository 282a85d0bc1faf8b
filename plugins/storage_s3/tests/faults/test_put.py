"""A put that fails at the store or on the way: retried with a limit, acknowledged only if whole."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from eventserver_storage_s3 import S3Storage

from eventserver_core.domain.digest import sha256_hex
from eventserver_core.errors import BackendUnavailableError

CONTENT = b"what somebody witnessed " * 1000
KEY = f"media-{sha256_hex(CONTENT)}"
SENT_ONCE_MORE = ("slow down", "drop", "lose")


@pytest.fixture
def unconditional(make_proxied: Callable[..., S3Storage], proxy: Any) -> S3Storage:
    """Return a backend on a store that writes what is there already, whatever it is asked."""
    proxy.fail("PUT object", "ignore condition")
    return make_proxied()


@pytest.mark.usefixtures("forgetful")
@pytest.mark.parametrize("fault", SENT_ONCE_MORE)
@pytest.mark.parametrize("kind", ["HEAD object", "HEAD bucket", "PUT object"])
def test_a_put_survives_a_fault_that_passes(
    unconditional: S3Storage, storage: S3Storage, proxy: Any, kind: str, fault: str
) -> None:
    proxy.fail(kind, fault, times=2)
    assert unconditional.put(KEY, CONTENT).size == len(CONTENT)
    assert b"".join(storage.read(KEY)) == CONTENT


@pytest.mark.usefixtures("forgetful")
@pytest.mark.parametrize("fault", SENT_ONCE_MORE)
@pytest.mark.parametrize("kind", ["HEAD object", "HEAD bucket", "PUT object"])
def test_a_put_gives_up_on_a_fault_that_stays(
    unconditional: S3Storage, proxy: Any, kind: str, fault: str
) -> None:
    proxy.fail(kind, fault)
    with pytest.raises(BackendUnavailableError, match="storage=s3"):
        unconditional.put(KEY, CONTENT)
    assert proxy.counts()[kind] == 3


@pytest.mark.parametrize("fault", SENT_ONCE_MORE)
def test_a_new_object_survives_a_fault_that_passes(
    proxied: S3Storage, storage: S3Storage, proxy: Any, fault: str
) -> None:
    proxy.fail("PUT object", fault, times=2)
    assert proxied.put(KEY, CONTENT).size == len(CONTENT)
    assert b"".join(storage.read(KEY)) == CONTENT


def test_an_object_that_another_is_just_writing_is_waited_for_or_written(
    proxied: S3Storage, storage: S3Storage, proxy: Any
) -> None:
    proxy.fail("PUT object", "conflict", times=1)
    assert proxied.put(KEY, CONTENT).size == len(CONTENT)
    assert b"".join(storage.read(KEY)) == CONTENT


def test_an_object_that_is_whole_is_never_replaced_by_one_that_arrives_damaged(
    proxied: S3Storage, unconditional: S3Storage, storage: S3Storage, proxy: Any
) -> None:
    first = storage.put(KEY, CONTENT)
    proxy.fail("PUT object", "truncate")
    for again in (proxied, unconditional):
        assert again.put(KEY, CONTENT) == first
    assert b"".join(storage.read(KEY)) == CONTENT


def test_an_answer_that_says_nothing_of_the_bytes_is_asked_about(
    proxied: S3Storage, proxy: Any
) -> None:
    proxy.fail("PUT object", "say nothing")
    proxied.put(KEY, CONTENT)
    assert proxy.counts() == {"PUT object": 1, "HEAD object": 1}


def test_an_object_that_the_store_cut_short_is_sent_again(
    proxied: S3Storage, storage: S3Storage, proxy: Any
) -> None:
    proxy.fail("PUT object", "truncate", times=1)
    assert proxied.put(KEY, CONTENT).size == len(CONTENT)
    assert b"".join(storage.read(KEY)) == CONTENT


def test_an_object_that_the_store_keeps_cutting_short_is_not_acknowledged(
    proxied: S3Storage, proxy: Any
) -> None:
    proxy.fail("PUT object", "truncate")
    with pytest.raises(BackendUnavailableError, match="something else than was sent"):
        proxied.put(KEY, CONTENT)
    assert proxy.counts()["PUT object"] == 2


def test_an_object_that_was_left_cut_short_is_written_again_by_a_retry(
    proxied: S3Storage, storage: S3Storage, proxy: Any
) -> None:
    proxy.fail("PUT object", "truncate")
    with pytest.raises(BackendUnavailableError):
        proxied.put(KEY, CONTENT)
    proxy.heal()
    assert proxied.put(KEY, CONTENT).size == len(CONTENT)
    assert b"".join(storage.read(KEY)) == CONTENT


def test_an_object_with_another_etag_than_its_bytes_have_is_not_acknowledged(
    proxied: S3Storage, proxy: Any
) -> None:
    for kind in ("PUT object", "HEAD object"):
        proxy.fail(kind, "wrong etag")
    with pytest.raises(BackendUnavailableError, match="something else than was sent"):
        proxied.put(KEY, CONTENT)
    assert proxy.counts()["PUT object"] == 2


def test_a_wrong_etag_that_passes_costs_one_more_put(
    proxied: S3Storage, storage: S3Storage, proxy: Any
) -> None:
    for kind in ("PUT object", "HEAD object"):
        proxy.fail(kind, "wrong etag", times=1)
    proxied.put(KEY, CONTENT)
    assert proxy.counts() == {"PUT object": 2, "HEAD object": 1}
    assert b"".join(storage.read(KEY)) == CONTENT


@pytest.mark.usefixtures("forgetful")
@pytest.mark.parametrize("kind", ["HEAD object", "HEAD bucket", "PUT object"])
def test_a_store_that_hangs_is_given_up_within_the_time_limit(
    make_proxied: Callable[..., S3Storage], proxy: Any, monotonic: Callable[[], float], kind: str
) -> None:
    proxy.fail("PUT object", "ignore condition")
    proxied = make_proxied(plugins__time_limit="6", s3__read_timeout="2", s3__max_retries="9")
    proxy.fail(kind, "hang")
    began = monotonic()
    with pytest.raises(BackendUnavailableError, match="does not answer"):
        proxied.put(KEY, CONTENT)
    assert monotonic() - began < 12
    assert 2 <= proxy.counts()[kind] <= 4


def test_a_put_survives_a_request_that_hangs(
    make_proxied: Callable[..., S3Storage], storage: S3Storage, proxy: Any
) -> None:
    proxied = make_proxied(s3__read_timeout="3")
    proxy.fail("PUT object", "hang", times=1)
    proxied.put(KEY, CONTENT)
    assert b"".join(storage.read(KEY)) == CONTENT


def test_a_new_object_costs_one_request_while_the_bucket_was_seen(
    proxied: S3Storage, proxy: Any
) -> None:
    proxied.put(KEY, CONTENT)
    assert proxy.counts() == {"PUT object": 1}


def test_what_is_there_already_is_looked_up(proxied: S3Storage, proxy: Any) -> None:
    first = proxied.put(KEY, CONTENT)
    proxy.heal()
    assert proxied.put(KEY, CONTENT) == first
    assert proxy.counts() == {"PUT object": 1, "HEAD object": 1}


def test_a_store_that_would_write_it_again_is_asked_before(
    unconditional: S3Storage, proxy: Any
) -> None:
    first = unconditional.put(KEY, CONTENT)
    assert proxy.counts() == {"HEAD object": 1, "PUT object": 1}
    proxy.heal()
    assert unconditional.put(KEY, CONTENT) == first
    assert proxy.counts() == {"HEAD object": 1}


@pytest.mark.usefixtures("forgetful")
def test_a_bucket_that_was_not_seen_for_a_while_is_asked_for(
    proxied: S3Storage, proxy: Any
) -> None:
    proxied.put(KEY, CONTENT)
    assert proxy.counts() == {"HEAD bucket": 1, "PUT object": 1}


@pytest.mark.parametrize(
    ("kind", "fault"),
    [("PUT object", "garbage"), ("PUT object", "redirect"), ("HEAD object", "redirect")],
)
def test_an_answer_that_is_not_s3s_is_not_taken_for_one(
    unconditional: S3Storage, proxy: Any, kind: str, fault: str
) -> None:
    proxy.fail(kind, fault)
    with pytest.raises(BackendUnavailableError, match="storage=s3"):
        unconditional.put(KEY, CONTENT)


def test_the_digest_of_what_is_sent_is_signed(proxied: S3Storage, proxy: Any) -> None:
    proxied.put(KEY, CONTENT)
    (put,) = (r for r in proxy.seen if r.kind == "PUT object" and KEY in r.target)
    assert put.headers["x-amz-content-sha256"] == sha256_hex(CONTENT)


@pytest.mark.parametrize("takes_checksums", [True, False])
def test_over_tls_a_body_has_a_checksum_or_an_md5(
    make_storage: Callable[..., S3Storage],
    tls_proxy: Any,
    certificate_files: tuple[Path, Path],
    takes_checksums: bool,
) -> None:
    if not takes_checksums:
        for kind in ("PUT object", "begin", "part", "copy"):
            tls_proxy.fail(kind, "refuse checksums")
    storage = make_storage(storage__endpoint=tls_proxy.url, s3__ca_file=str(certificate_files[0]))
    tls_proxy.heal()
    storage.put(KEY, CONTENT)
    large = CONTENT * 300
    with storage.upload() as upload:
        upload.write(large)
        upload.commit(f"media-{sha256_hex(large)}")
    sent = [request for request in tls_proxy.seen if request.kind in ("PUT object", "part")]
    assert len(sent) > 2
    for request in sent:
        md5 = base64.b64encode(hashlib.md5(request.body, usedforsecurity=False).digest()).decode()
        signed = sha256_hex(request.body) if takes_checksums else "UNSIGNED-PAYLOAD"
        assert request.headers["x-amz-content-sha256"] == signed
        assert request.headers.get("content-md5") == (None if takes_checksums else md5)
        assert ("x-amz-checksum-sha256" in request.headers) is takes_checksums
