"""The plugin as the core finds it, and what it must never say."""

from __future__ import annotations

import base64
import logging
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
from eventserver_storage_s3 import S3Settings, S3Storage, eventserver_storage_backend
from structlog.testing import capture_logs

from eventserver_core.backends.storage import StorageBackend
from eventserver_core.errors import EventServerError
from eventserver_core.plugins import Plugins
from eventserver_core.sections import CORE_SECTIONS
from eventserver_core.settings import Settings, Sources

KEY = "media-" + "0" * 64


def test_the_core_finds_the_plugin_and_gets_a_backend(own_keys: dict[str, str]) -> None:
    plugins = Plugins({"storage": "s3"})
    assert plugins.sections() == [S3Settings]
    environ = {f"EVENTSERVER__{name.upper()}": value for name, value in own_keys.items()}
    settings = Sources(None, environ).load([*CORE_SECTIONS, *plugins.sections()])
    backend = plugins.backend("storage", settings)
    assert isinstance(backend, S3Storage)
    assert isinstance(backend, StorageBackend)
    backend.check()


def test_every_setting_is_documented() -> None:
    readme = (Path(__file__).parent.parent / "README.md").read_text("utf-8")
    for option in S3Settings.options():
        assert f"| `{option.key}` | " in readme


def test_nothing_secret_is_said_however_things_fail(
    make_settings: Callable[..., Settings],
    own_keys: dict[str, str],
    customer_key: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    secret, token = "canary-secret-key-of-this-test", "canary-token-of-this-test"
    key_hex = Path(customer_key).read_text("ascii").strip()
    key_base64 = base64.b64encode(bytes.fromhex(key_hex)).decode()
    wrong = own_keys | {
        "s3__secret_key": secret,
        "s3__session_token": token,
        "s3__customer_key_file": customer_key,
        "storage__encryption": "sse-c",
        "s3__max_retries": "0",
    }
    said: list[str] = []
    with capture_logs() as lines:
        settings = make_settings(**wrong)
        caplog.set_level(logging.DEBUG)
        storage = eventserver_storage_backend(settings)
        said += [repr(settings[S3Settings]), repr(storage), repr(vars(storage))]
        attempts: list[Callable[[], object]] = [
            storage.check,
            lambda: storage.put(KEY, b"x"),
            lambda: storage.read(KEY),
            lambda: storage.stat(KEY),
            lambda: list(storage.list()),
        ]
        for attempt in attempts:
            with pytest.raises(EventServerError) as caught:
                attempt()
            said += traceback.format_exception(caught.value)
            said.append(repr(caught.value))
    said += [repr(line) for line in lines]
    said += [f"{record.getMessage()} {vars(record)}" for record in caplog.records]
    assert any("s3_probe_put_off" in line for line in said)
    for canary in (secret, token, key_hex, key_base64):
        assert not [line for line in said if canary in line]
