"""What the tests of this plugin share: buckets of their own, and settings for them."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from eventserver_storage_s3 import S3Settings, S3Storage
from minio import Minio

from eventserver_core.sections import CORE_SECTIONS
from eventserver_core.settings import Settings, Sources
from eventserver_core.testing.parts import SeaweedFS


def client_of(server: SeaweedFS) -> Minio:
    """Return a client that looks at what the plugin did, past the plugin."""
    address = server.url.removeprefix("http://")
    return Minio(address, server.access_key, server.secret_key, secure=False, region="us-east-1")


class SeaweedFSWithMore(SeaweedFS):
    """A SeaweedFS with a KMS, whose keys are gone when it stops, and somebody who only reads."""

    reader = ("eventserver-reader", "eventserver-reader-secret")

    def command(self) -> list[str]:
        command = super().command()
        path = self.directory / "identities.json"
        content = json.loads(path.read_text("utf-8"))
        access_key, secret_key = self.reader
        credentials = [{"accessKey": access_key, "secretKey": secret_key}]
        identity = {"name": "reader", "credentials": credentials, "actions": ["Read", "List"]}
        content["identities"].append(identity)
        local = {"type": "local", "enableOnDemandCreate": True}
        content["kms"] = {"default_provider": "local", "providers": {"local": local}}
        path.write_text(json.dumps(content), "utf-8")
        return command


@pytest.fixture(scope="session")
def seaweedfs_with_more(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedFSWithMore]:
    with SeaweedFSWithMore(tmp_path_factory.mktemp("seaweedfs-with-more")) as part:
        yield part


@pytest.fixture
def seaweedfs_alone(tmp_path: Path) -> Iterator[SeaweedFS]:
    """Return a server of the test's own, to stop and kill."""
    with SeaweedFS(tmp_path / "seaweedfs") as part:
        yield part


@pytest.fixture
def make_client() -> Callable[[SeaweedFS], Minio]:
    return client_of


@pytest.fixture
def client(seaweedfs: SeaweedFS) -> Minio:
    return client_of(seaweedfs)


@pytest.fixture
def bucket(plain_bucket: str) -> str:
    return plain_bucket


@pytest.fixture
def plain_bucket(client: Minio) -> Iterator[str]:
    with own_bucket(client) as name:
        yield name


@pytest.fixture
def locked_bucket(client: Minio) -> Iterator[str]:
    with own_bucket(client, object_lock=True) as name:
        yield name


@contextmanager
def own_bucket(client: Minio, *, object_lock: bool = False) -> Iterator[str]:
    """Make a bucket for a while: each takes several of the server's volumes, which has few."""
    name = f"test-{secrets.token_hex(8)}"
    client.make_bucket(name, object_lock=object_lock)
    try:
        yield name
    finally:
        bypass: dict[str, Any] = {"x-amz-bypass-governance-retention": "true"}
        for found in client.list_objects(name, recursive=True, include_version=True):
            version = {"versionId": found.version_id} if found.version_id else {}
            client._execute("DELETE", name, found.object_name, headers=bypass, query_params=version)
        client.remove_bucket(name)


@pytest.fixture
def make_settings(tmp_path: Path) -> Callable[..., Settings]:
    """Return a function that reads settings from environment variables, and from nothing else."""

    def make(environment: str = "development", **keys: str) -> Settings:
        environ = {
            "EVENTSERVER_ENVIRONMENT": environment,
            "EVENTSERVER__SERVER__DATA_DIR": str(tmp_path / "data"),
        }
        environ |= {f"EVENTSERVER__{name.upper()}": value for name, value in keys.items()}
        config = tmp_path / "config"
        config.mkdir(exist_ok=True)
        return Sources(config, environ).load([*CORE_SECTIONS, S3Settings])

    return make


@pytest.fixture
def own_keys(seaweedfs: SeaweedFS, bucket: str) -> dict[str, str]:
    """Return the settings that lead to this test's bucket."""
    return {
        "storage__endpoint": seaweedfs.url,
        "storage__bucket": bucket,
        "s3__access_key": seaweedfs.access_key,
        "s3__secret_key": seaweedfs.secret_key,
    }


@pytest.fixture
def make_storage(
    make_settings: Callable[..., Settings], own_keys: dict[str, str]
) -> Callable[..., S3Storage]:
    """Return a function that makes a backend for this test's bucket, with other settings too."""

    def make(**keys: str) -> S3Storage:
        return S3Storage.from_settings(make_settings(**(own_keys | keys)))

    return make


@pytest.fixture
def storage(make_storage: Callable[..., S3Storage]) -> S3Storage:
    return make_storage()


@pytest.fixture
def forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each write ask whether the bucket is there, as after a while without any."""
    monkeypatch.setattr("eventserver_storage_s3.bucket.SEEN_SECONDS", 0.0)


@pytest.fixture
def monotonic() -> Callable[[], float]:
    """Return the clock by which a call's time is limited."""
    return time.monotonic


@pytest.fixture
def customer_key(tmp_path: Path) -> str:
    """Return the name of a file with a key for sse-c."""
    path = tmp_path / "customer.key"
    path.write_text(secrets.token_hex(32) + "\n", "ascii")
    path.chmod(0o600)
    return str(path)
