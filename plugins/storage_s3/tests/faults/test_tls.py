"""A store behind TLS, as it is in production."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from eventserver_storage_s3 import S3Storage
from eventserver_storage_s3.configuration import configure

from eventserver_core.domain.digest import sha256_hex
from eventserver_core.errors import BackendUnavailableError
from eventserver_core.settings import Settings

MIB = 1024 * 1024
CONTENT = bytes(range(256)) * 4096 * 11
KEY = f"media-{sha256_hex(CONTENT)}"


@pytest.fixture
def trusted(certificate_files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate_files[0]))


def test_a_further_certificate_is_trusted_beside_the_public_ones(
    make_storage: Callable[..., S3Storage],
    tls_proxy: Any,
    certificate_files: tuple[Path, Path],
    make_settings: Callable[..., Settings],
) -> None:
    ca_file = str(certificate_files[0])
    storage = make_storage(storage__endpoint=tls_proxy.url, s3__ca_file=ca_file)
    assert storage.put(KEY, b"x").size == 1
    trusted = [
        configure(make_settings(**keys)).trust.cert_store_stats()["x509"]
        for keys in ({}, {"s3__ca_file": ca_file})
    ]
    assert trusted[1] == trusted[0] + 1 > 50


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize("encryption", ["none", "sse-c"])
def test_objects_are_stored_and_read_over_tls(
    make_storage: Callable[..., S3Storage], tls_proxy: Any, customer_key: str, encryption: str
) -> None:
    keys = {"storage__encryption": encryption}
    if encryption == "sse-c":
        keys["s3__customer_key_file"] = customer_key
    storage = make_storage(storage__endpoint=tls_proxy.url, **keys)
    tls_proxy.fail("part", "drop", times=1)
    with storage.upload() as incoming:
        incoming.write(CONTENT)
        incoming.commit(KEY)
    tls_proxy.fail("GET object", "cut", times=1)
    assert b"".join(storage.read(KEY)) == CONTENT
    small = CONTENT[:MIB]
    storage.put(f"pack-{sha256_hex(small)}", small)
    assert b"".join(storage.read(f"pack-{sha256_hex(small)}", 10, 5)) == small[10:15]
    storage.check()


@pytest.mark.usefixtures("trusted")
def test_a_store_that_hangs_is_given_up_over_tls_too(
    make_storage: Callable[..., S3Storage], tls_proxy: Any, monotonic: Callable[[], float]
) -> None:
    storage = make_storage(
        storage__endpoint=tls_proxy.url, plugins__time_limit="6", s3__read_timeout="2"
    )
    tls_proxy.fail("part", "hang")
    began = monotonic()
    with storage.upload() as incoming, pytest.raises(BackendUnavailableError, match="not answer"):
        incoming.write(CONTENT)
        incoming.commit(KEY)
    assert monotonic() - began < 20


def test_a_certificate_that_nobody_trusts_is_refused(
    make_storage: Callable[..., S3Storage], tls_proxy: Any
) -> None:
    storage = make_storage(storage__endpoint=tls_proxy.url, s3__max_retries="0")
    with pytest.raises(BackendUnavailableError, match=r"certificate .* s3\.ca_file"):
        storage.put(KEY, b"x")
    assert not tls_proxy.seen
