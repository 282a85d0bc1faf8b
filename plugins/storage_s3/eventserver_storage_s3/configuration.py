"""From settings to what the plugin works with; every fault is found at once."""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeVar
from urllib.parse import urlsplit

import certifi
from minio.commonconfig import COMPLIANCE, GOVERNANCE
from minio.credentials.providers import Provider
from minio.sse import Sse, SseCustomerKey, SseKMS, SseS3
from urllib3.util.ssl_ import create_urllib3_context

from eventserver_core.errors import ConfigurationError
from eventserver_core.sections import PluginSettings, ServerSettings, StorageSettings
from eventserver_core.settings import Settings
from eventserver_core.settings.endpoints import is_loopback, parse_endpoint
from eventserver_storage_s3.credentials import make_provider
from eventserver_storage_s3.customer_key import read_customer_key
from eventserver_storage_s3.settings import PARTS_IN_FLIGHT, S3Settings

ENCRYPTIONS = ("none", "sse-s3", "sse-kms", "sse-c")

_BUCKET = re.compile(
    r"(?!xn--)(?!\d+\.\d+\.\d+\.\d+\Z)[a-z0-9](?:[a-z0-9-]|\.(?!\.)){1,61}[a-z0-9]\Z"
)
_REGION = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}\Z", re.IGNORECASE)
_LOCK_MODES = {"governance": GOVERNANCE, "compliance": COMPLIANCE}
_EXAMPLE_SECRETS = re.compile(r"(?i)EXAMPLE|\A(?:minioadmin|minio123|password|secret|change-?me)\Z")
_MAX_COPY = 5 * 1024**3
_MAX_PARTS = 10_000
_POOL_ROOM = 4
_SHARE_OF_TIME_LIMIT = 0.9

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Configuration:
    """The settings, read and checked against each other.

    Attributes:
        host: with the port, if any.
        lock_mode: as S3 names it; None where objects aren't locked.
        trust: whose certificates are believed.
        call_limit: seconds after which a call of the backend has ended, whatever the store does.
    """

    host: str
    secure: bool
    region: str
    bucket: str
    trust: ssl.SSLContext = field(repr=False)
    provider: Provider = field(repr=False)
    encryption: str
    sse: Sse | None = field(repr=False)
    create_bucket: bool
    lock_mode: str | None
    retention: timedelta
    pool_size: int
    max_retries: int
    connect_timeout: float
    read_timeout: float
    part_size: int
    addressing: str
    call_limit: float

    @property
    def customer_key(self) -> SseCustomerKey | None:
        """The key that every request for an object must bring along, with sse-c."""
        return self.sse if isinstance(self.sse, SseCustomerKey) else None


def configure(settings: Settings) -> Configuration:
    """Make the plugin's configuration.

    Raises:
        ConfigurationError: with every fault, each naming its setting.
    """
    faults: list[str] = []
    storage, own, plugins = (
        settings[StorageSettings],
        settings[S3Settings],
        settings[PluginSettings],
    )

    def checked(check: Callable[[], _T]) -> _T | None:
        with _gathered(faults):
            return check()
        return None

    place = checked(lambda: _parse_endpoint(storage.endpoint, storage.region))
    secure, host = place or (True, "")
    trust = checked(lambda: _trust(own))
    sse = checked(lambda: _encryption(storage, own))
    if (
        storage.encryption == "sse-c"
        and not secure
        and not is_loopback(urlsplit(f"//{host}").hostname or "")
    ):
        faults.append(
            "storage.encryption: sse-c sends the key with every request, so storage.endpoint must "
            "begin with https://"
        )
    checked(lambda: _check_names(storage))
    checked(lambda: _check_sizes(storage, own))
    checked(lambda: _check_lock(own))
    checked(lambda: _check_keys(own, is_production=settings.is_production))
    checked(lambda: _check_times(own, plugins))
    if faults or trust is None:
        raise ConfigurationError(faults)
    return Configuration(
        host=host,
        secure=secure,
        region=storage.region,
        bucket=storage.bucket,
        trust=trust,
        provider=make_provider(own.access_key, own.secret_key, own.session_token),
        encryption=storage.encryption or "none",
        sse=sse,
        create_bucket=own.create_bucket,
        lock_mode=_LOCK_MODES.get(own.object_lock),
        retention=timedelta(days=own.retention_days),
        pool_size=own.pool_size or settings[ServerSettings].threads * PARTS_IN_FLIGHT + _POOL_ROOM,
        max_retries=own.max_retries,
        connect_timeout=own.connect_timeout,
        read_timeout=own.read_timeout,
        part_size=own.part_size,
        addressing=own.addressing,
        call_limit=plugins.time_limit_of("storage") * _SHARE_OF_TIME_LIMIT,
    )


@contextmanager
def _gathered(faults: list[str]) -> Iterator[None]:
    try:
        yield
    except ConfigurationError as ex:
        faults += ex.faults


def _parse_endpoint(endpoint: str, region: str) -> tuple[bool, str]:
    if not endpoint:
        # China's regions are under a domain of their own
        return True, f"s3.{region}.amazonaws.com.cn" if region.startswith(
            "cn-"
        ) else "s3.amazonaws.com"
    try:
        parts = parse_endpoint(endpoint)
    except ValueError as ex:
        raise ConfigurationError(
            f"storage.endpoint: {ex}; "
            "the bucket is storage.bucket, and keys are s3.access_key and s3.secret_key"
        ) from ex
    return parts.scheme == "https", parts.netloc


def _trust(own: S3Settings) -> ssl.SSLContext:
    trust = create_urllib3_context()
    for setting, path in (
        ("SSL_CERT_FILE", os.environ.get("SSL_CERT_FILE") or certifi.where()),
        ("s3.ca_file", own.ca_file),
    ):
        try:
            if path:
                trust.load_verify_locations(path)
        except OSError as ex:
            raise ConfigurationError(
                f"{setting}: expected a file with certificates in PEM that this process may read "
                f"({ex.strerror or 'there is none in it'})"
            ) from ex
    return trust


def _encryption(storage: StorageSettings, own: S3Settings) -> Sse | None:
    kind = storage.encryption or "none"
    faults = []
    if kind not in ENCRYPTIONS:
        raise ConfigurationError(
            f"storage.encryption: expected {', '.join(ENCRYPTIONS[:-1])} or {ENCRYPTIONS[-1]}"
        )
    if own.kms_key_id and kind != "sse-kms":
        faults.append(f"s3.kms_key_id: belongs to sse-kms, and storage.encryption is {kind}")
    if own.customer_key_file and kind != "sse-c":
        faults.append(f"s3.customer_key_file: belongs to sse-c, and storage.encryption is {kind}")
    if kind == "sse-kms" and not own.kms_key_id:
        faults.append("s3.kms_key_id: missing; storage.encryption = sse-kms needs the key's id")
    key = b""
    if kind == "sse-c":
        with _gathered(faults):
            key = read_customer_key("s3.customer_key_file", own.customer_key_file)
    if faults:
        raise ConfigurationError(faults)
    match kind:
        case "sse-s3":
            return SseS3()
        case "sse-kms":
            return SseKMS(own.kms_key_id, {})
        case "sse-c":
            return SseCustomerKey(key)
    return None


def _check_names(storage: StorageSettings) -> None:
    faults = []
    if not _BUCKET.match(storage.bucket):
        faults.append(
            "storage.bucket: expected 3 to 63 small letters, digits, dots and hyphens, with a "
            "letter or digit at both ends"
        )
    if not _REGION.match(storage.region):
        faults.append("storage.region: expected a region such as eu-central-1")
    if faults:
        raise ConfigurationError(faults)


def _check_sizes(storage: StorageSettings, own: S3Settings) -> None:
    largest = min(_MAX_COPY, own.part_size * _MAX_PARTS)
    if storage.max_file_size > largest:
        raise ConfigurationError(
            f"storage.max_file_size: S3 can't copy an object of more than {_MAX_COPY} bytes, nor "
            f"take more than {_MAX_PARTS} parts of s3.part_size bytes; expected {largest} at most"
        )


def _check_lock(own: S3Settings) -> None:
    if own.object_lock == "none" and own.retention_days:
        raise ConfigurationError(
            "s3.retention_days: nothing is kept without s3.object_lock = governance or compliance"
        )
    if own.object_lock != "none" and not 1 <= own.retention_days <= 36_500:
        raise ConfigurationError(
            f"s3.retention_days: s3.object_lock = {own.object_lock} needs from 1 to 36500 days"
        )


def _check_keys(own: S3Settings, *, is_production: bool) -> None:
    faults = []
    if own.access_key and not own.secret_key:
        faults.append("s3.secret_key: missing, and s3.access_key is set; they go together")
    if own.secret_key and not own.access_key:
        faults.append("s3.access_key: missing, and s3.secret_key is set; they go together")
    if own.session_token and not own.access_key:
        faults.append("s3.session_token: belongs to s3.access_key and s3.secret_key")
    if is_production and _EXAMPLE_SECRETS.search(own.secret_key):
        faults.append("s3.secret_key: this one is from an example, and everybody knows it")
    if faults:
        raise ConfigurationError(faults)


def _check_times(own: S3Settings, plugins: PluginSettings) -> None:
    available = plugins.time_limit_of("storage") * _SHARE_OF_TIME_LIMIT
    if own.connect_timeout + own.read_timeout > available:
        raise ConfigurationError(
            "s3.read_timeout: with s3.connect_timeout it must leave time for an answer, and a call "
            f"has {available:g} s (plugins.time_limit = {plugins.time_limit_of('storage'):g})"
        )
