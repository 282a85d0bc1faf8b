"""Server-side encryption: what is set is done, and what the store can't do is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from eventserver_storage_s3 import S3Storage
from minio import Minio
from minio.error import S3Error

from eventserver_core.domain.digest import sha256_hex
from eventserver_core.errors import BackendUnavailableError, ConfigurationError

SMALL = b"small" * 100
LARGE = bytes(range(256)) * 4096 * 11


def key_of(content: bytes) -> str:
    return f"media-{sha256_hex(content)}"


def store(storage: S3Storage) -> None:
    """Store an object of each kind, and read them again."""
    storage.put(key_of(SMALL), SMALL)
    with storage.upload() as incoming:
        incoming.write(LARGE)
        incoming.commit(key_of(LARGE))
    for content in (SMALL, LARGE):
        assert b"".join(storage.read(key_of(content))) == content
        assert b"".join(storage.read(key_of(content), 100, 50)) == content[100:150]


def test_nothing_is_encrypted_unless_it_is_set(
    storage: S3Storage, client: Minio, bucket: str
) -> None:
    store(storage)
    metadata = client.stat_object(bucket, key_of(SMALL)).metadata or {}
    assert not [name for name in metadata if "server-side-encryption" in name.lower()]


def test_the_stores_own_key_encrypts(
    make_storage: Callable[..., S3Storage], client: Minio, bucket: str
) -> None:
    store(make_storage(storage__encryption="sse-s3"))
    for content in (SMALL, LARGE):
        metadata = client.stat_object(bucket, key_of(content)).metadata or {}
        assert metadata["x-amz-server-side-encryption"] == "AES256"


def test_without_the_customers_key_nobody_reads(
    make_storage: Callable[..., S3Storage],
    storage: S3Storage,
    client: Minio,
    bucket: str,
    customer_key: str,
    tmp_path: Path,
) -> None:
    store(make_storage(storage__encryption="sse-c", s3__customer_key_file=customer_key))
    with pytest.raises(S3Error):
        client.get_object(bucket, key_of(SMALL))
    other = tmp_path / "other.key"
    other.write_bytes(bytes(32))
    other.chmod(0o600)
    stranger = make_storage(storage__encryption="sse-c", s3__customer_key_file=str(other))
    for wrong in (storage, stranger):
        with pytest.raises(BackendUnavailableError):
            b"".join(wrong.read(key_of(SMALL)))


@pytest.fixture
def with_kms(seaweedfs_with_more: Any, make_storage: Callable[..., S3Storage]) -> dict[str, str]:
    return {
        "storage__endpoint": seaweedfs_with_more.url,
        "storage__encryption": "sse-kms",
        "s3__kms_key_id": "evidence",
        "s3__create_bucket": "true",
    }


def test_a_key_in_the_kms_encrypts(
    make_storage: Callable[..., S3Storage],
    with_kms: dict[str, str],
    make_client: Callable[[Any], Minio],
    seaweedfs_with_more: Any,
    bucket: str,
) -> None:
    store(make_storage(**with_kms))
    client = make_client(seaweedfs_with_more)
    for content in (SMALL, LARGE):
        metadata = client.stat_object(bucket, key_of(content)).metadata or {}
        assert metadata["x-amz-server-side-encryption"] == "aws:kms"
        assert metadata["x-amz-server-side-encryption-aws-kms-key-id"] == "evidence"


def test_a_store_without_a_kms_is_refused(make_storage: Callable[..., S3Storage]) -> None:
    with pytest.raises(ConfigurationError, match=r"storage.encryption: .*does not encrypt"):
        make_storage(storage__encryption="sse-kms", s3__kms_key_id="evidence")


@pytest.fixture(params=["raw", "hex", "base64"])
def key_in_each_form(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    key = bytes(range(32))
    path = tmp_path / "key"
    forms = {
        "raw": key,
        "hex": key.hex().encode() + b"\n",
        "base64": b"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n",
    }
    path.write_bytes(forms[request.param])
    path.chmod(0o600)
    return str(path)


def test_a_customers_key_is_the_same_in_each_form(
    make_storage: Callable[..., S3Storage], key_in_each_form: str, tmp_path: Path
) -> None:
    raw = tmp_path / "raw"
    raw.write_bytes(bytes(range(32)))
    raw.chmod(0o600)
    make_storage(storage__encryption="sse-c", s3__customer_key_file=str(raw)).put(
        key_of(SMALL), SMALL
    )
    again = make_storage(storage__encryption="sse-c", s3__customer_key_file=key_in_each_form)
    assert b"".join(again.read(key_of(SMALL))) == SMALL
