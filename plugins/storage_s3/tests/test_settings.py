"""Settings that are wrong, alone or together, are all told at once and by their names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from eventserver_storage_s3 import S3Storage

from eventserver_core.errors import ConfigurationError
from eventserver_core.testing.parts import free_port

Make = Callable[..., S3Storage]


@pytest.fixture
def bucket() -> str:
    return "nowhere"


@pytest.fixture
def own_keys(bucket: str) -> dict[str, str]:
    """Return settings for a store that isn't there: what is wrong is found before it is asked."""
    return {
        "storage__endpoint": f"http://127.0.0.1:{free_port()}",
        "storage__bucket": bucket,
        "s3__access_key": "access",
        "s3__secret_key": "a-secret-of-this-test",
        "s3__max_retries": "0",
    }


FAULTS: list[tuple[dict[str, str], str]] = [
    ({"storage__endpoint": "127.0.0.1:8333"}, "storage.endpoint"),
    ({"storage__endpoint": "ftp://store"}, "storage.endpoint"),
    ({"storage__endpoint": "https://"}, "storage.endpoint"),
    ({"storage__endpoint": "https://store/bucket"}, "storage.endpoint"),
    ({"storage__endpoint": "https://store?bucket=x"}, "storage.endpoint"),
    ({"storage__endpoint": "https://store#x"}, "storage.endpoint"),
    ({"storage__endpoint": "https://key:secret@store"}, "storage.endpoint"),
    ({"storage__endpoint": "https://store:99999"}, "storage.endpoint"),
    ({"storage__endpoint": "https://st ore"}, "storage.endpoint"),
    ({"storage__endpoint": "https://rubbish.amazonaws.com"}, "storage.endpoint"),
    ({"storage__bucket": "ab"}, "storage.bucket"),
    ({"storage__bucket": "Upper"}, "storage.bucket"),
    ({"storage__bucket": "a/b/c"}, "storage.bucket"),
    ({"storage__bucket": "10.0.0.1"}, "storage.bucket"),
    ({"storage__bucket": "a..b"}, "storage.bucket"),
    ({"storage__region": "not a region"}, "storage.region"),
    ({"storage__encryption": "aes"}, "storage.encryption"),
    ({"storage__encryption": "SSE-S3"}, "storage.encryption"),
    ({"storage__encryption": "sse-kms"}, "s3.kms_key_id"),
    ({"s3__kms_key_id": "key"}, "s3.kms_key_id"),
    ({"storage__encryption": "sse-c"}, "s3.customer_key_file"),
    ({"storage__encryption": "sse-c", "s3__customer_key_file": "/no/such"}, "s3.customer_key_file"),
    ({"s3__customer_key_file": "/no/such"}, "s3.customer_key_file"),
    ({"s3__ca_file": "/no/such"}, "s3.ca_file"),
    ({"s3__ca_file": __file__}, "s3.ca_file"),
    ({"storage__max_file_size": str(6 * 1024**3)}, "storage.max_file_size"),
    ({"s3__object_lock": "forever"}, "s3.object_lock"),
    ({"s3__object_lock": "governance"}, "s3.retention_days"),
    ({"s3__retention_days": "7"}, "s3.retention_days"),
    ({"s3__object_lock": "compliance", "s3__retention_days": "99999999"}, "s3.retention_days"),
    ({"s3__secret_key": ""}, "s3.secret_key"),
    ({"s3__access_key": ""}, "s3.access_key"),
    ({"s3__access_key": "", "s3__secret_key": "", "s3__session_token": "t"}, "s3.session_token"),
    ({"s3__part_size": "1000"}, "s3.part_size"),
    ({"s3__pool_size": "0"}, "s3.pool_size"),
    ({"s3__max_retries": "11"}, "s3.max_retries"),
    ({"s3__max_retries": "-1"}, "s3.max_retries"),
    ({"s3__read_timeout": "60"}, "s3.read_timeout"),
    ({"s3__connect_timeout": "0"}, "s3.connect_timeout"),
    ({"s3__addressing": "host"}, "s3.addressing"),
    ({"s3__create_bucket": "perhaps"}, "s3.create_bucket"),
    ({"plugins__time_limit": "5"}, "s3.read_timeout"),
]


@pytest.mark.parametrize(("keys", "named"), FAULTS)
def test_a_wrong_setting_is_named(make_storage: Make, keys: dict[str, str], named: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        make_storage(**keys)
    (fault,) = caught.value.faults
    assert fault.startswith(named)


def test_all_that_is_wrong_is_told_together(make_storage: Make) -> None:
    with pytest.raises(ConfigurationError) as caught:
        make_storage(
            storage__endpoint="store",
            storage__bucket="B",
            storage__encryption="sse-c",
            s3__kms_key_id="key",
            s3__retention_days="1",
            s3__secret_key="",
        )
    assert sorted(fault.partition(":")[0] for fault in caught.value.faults) == [
        "s3.customer_key_file",
        "s3.kms_key_id",
        "s3.retention_days",
        "s3.secret_key",
        "storage.bucket",
        "storage.endpoint",
    ]


@pytest.mark.parametrize(
    "content", [b"", b"short", b"x" * 33, b"zz" * 32, b"0f" * 31], ids=lambda c: str(len(c))
)
def test_a_file_without_a_key_is_refused(
    make_storage: Make, tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(ConfigurationError, match=r"s3.customer_key_file: .* expected 32 bytes"):
        make_storage(storage__encryption="sse-c", s3__customer_key_file=str(path))


def test_a_key_that_everybody_can_read_is_refused(make_storage: Make, customer_key: str) -> None:
    Path(customer_key).chmod(0o644)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        make_storage(storage__encryption="sse-c", s3__customer_key_file=customer_key)


def test_a_customers_key_is_not_sent_in_the_clear(make_storage: Make, customer_key: str) -> None:
    with pytest.raises(ConfigurationError, match=r"storage.encryption: .* https://"):
        make_storage(
            storage__endpoint="http://store.example:8333",
            storage__encryption="sse-c",
            s3__customer_key_file=customer_key,
        )


@pytest.mark.parametrize("secret", ["minioadmin", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"])
def test_a_secret_from_an_example_is_refused_in_production(make_storage: Make, secret: str) -> None:
    make_storage(s3__secret_key=secret)
    with pytest.raises(ConfigurationError, match=r"s3.secret_key: .* example"):
        make_storage(environment="production", s3__secret_key=secret)


@pytest.mark.parametrize(
    "keys",
    [
        {"storage__encryption": "none"},
        {"storage__region": "eu-central-1"},
        {"s3__addressing": "virtual", "s3__pool_size": "3"},
    ],
    ids=str,
)
def test_right_settings_start_even_if_the_store_is_down(
    make_storage: Make, keys: dict[str, str]
) -> None:
    make_storage(**keys)
