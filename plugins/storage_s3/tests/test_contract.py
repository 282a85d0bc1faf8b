"""The backend keeps the contract of its role, under each encryption and under object lock."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from eventserver_storage_s3 import S3Storage

from eventserver_core.testing.contracts.storage import StorageContract
from eventserver_core.testing.parts import free_port


class WithS3Storage:
    """Brings the one fixture that the suite asks for."""

    @pytest.fixture
    def keys(self) -> dict[str, str]:
        """Return further settings."""
        return {}

    @pytest.fixture
    def backend_factory(
        self, make_storage: Callable[..., S3Storage], keys: dict[str, str]
    ) -> Callable[..., S3Storage]:
        def make(*, down: bool = False) -> S3Storage:
            endpoint = f"http://127.0.0.1:{free_port()}"
            elsewhere = {"storage__endpoint": endpoint, "s3__max_retries": "1"}
            return make_storage(**keys, **(elsewhere if down else {}))

        return make


class TestS3Storage(WithS3Storage, StorageContract): ...


class TestS3StorageThatEncryptsByTheStoresKey(WithS3Storage, StorageContract):
    @pytest.fixture
    def keys(self) -> dict[str, str]:
        return {"storage__encryption": "sse-s3"}


class TestS3StorageThatEncryptsByTheCustomersKey(WithS3Storage, StorageContract):
    @pytest.fixture
    def keys(self, customer_key: str) -> dict[str, str]:
        return {"storage__encryption": "sse-c", "s3__customer_key_file": customer_key}


class TestS3StorageThatLocksObjects(WithS3Storage, StorageContract):
    @pytest.fixture
    def bucket(self, locked_bucket: str) -> str:
        return locked_bucket

    @pytest.fixture
    def keys(self) -> dict[str, str]:
        return {"s3__object_lock": "governance", "s3__retention_days": "1"}
