"""Whose account is used: the settings', a file's, the machine's."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from eventserver_storage_s3 import S3Settings, S3Storage

from eventserver_core.errors import BackendUnavailableError
from eventserver_core.sections import CORE_SECTIONS
from eventserver_core.settings import Settings, Sources
from eventserver_core.testing.parts import SeaweedFS

NO_KEYS = {"s3__access_key": "", "s3__secret_key": ""}


@pytest.fixture(autouse=True)
def nothing_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_ROLE_ARN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    # a port that nobody listens on, in place of the cloud's own address
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1:9/")


@pytest.fixture
def machine(seaweedfs: SeaweedFS) -> Iterator[str]:
    """Return where a machine with a role gets its keys."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = json.dumps(
                {
                    "AccessKeyId": seaweedfs.access_key,
                    "SecretAccessKey": seaweedfs.secret_key,
                    "Token": "",
                    "Expiration": "2999-01-01T00:00:00Z",
                }
            ).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()
    thread.join()


def test_keys_are_taken_from_the_environment(seaweedfs: SeaweedFS, bucket: str) -> None:
    environ = {
        "EVENTSERVER__STORAGE__ENDPOINT": seaweedfs.url,
        "EVENTSERVER__STORAGE__BUCKET": bucket,
        "AWS_ACCESS_KEY_ID": seaweedfs.access_key,
        "AWS_SECRET_ACCESS_KEY": seaweedfs.secret_key,
    }
    settings: Settings = Sources(None, environ).load([*CORE_SECTIONS, S3Settings])
    S3Storage.from_settings(settings).check()


def test_keys_are_taken_from_a_file(
    make_storage: Callable[..., S3Storage],
    seaweedfs: SeaweedFS,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / "credentials"
    path.write_text(
        f"[evidence]\naws_access_key_id = {seaweedfs.access_key}\n"
        f"aws_secret_access_key = {seaweedfs.secret_key}\n"
    )
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(path))
    monkeypatch.setenv("AWS_PROFILE", "evidence")
    make_storage(**NO_KEYS).check()


def test_keys_are_taken_from_the_machine(
    make_storage: Callable[..., S3Storage], machine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", machine)
    make_storage(**NO_KEYS).check()


def test_a_file_that_is_no_such_file_does_not_hide_the_machine(
    make_storage: Callable[..., S3Storage],
    machine: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / "credentials"
    path.write_text("no section\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(path))
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", machine)
    make_storage(**NO_KEYS).check()


def test_without_keys_anywhere_it_is_said_where_they_belong(
    make_storage: Callable[..., S3Storage],
) -> None:
    storage = make_storage(**NO_KEYS)
    with pytest.raises(BackendUnavailableError, match="AWS_SHARED_CREDENTIALS_FILE"):
        storage.check()


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"s3__access_key": "nobody"}, "doesn't know the access key|refuses it to this account"),
        ({"s3__secret_key": "wrong"}, "secret key is not|refuses it to this account"),
    ],
    ids=["access key", "secret key"],
)
def test_wrong_keys_are_told(
    make_storage: Callable[..., S3Storage], keys: dict[str, str], said: str
) -> None:
    storage = make_storage(**keys)
    with pytest.raises(BackendUnavailableError, match=said):
        storage.check()
    with pytest.raises(BackendUnavailableError, match=said):
        next(storage.read("media-" + "0" * 64))
