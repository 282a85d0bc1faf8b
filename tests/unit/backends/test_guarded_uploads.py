"""Uploads through the guard: each step may fail on its own, and the block's own error wins."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from eventserver_core.backends.guard import GuardedBackend
from eventserver_core.backends.storage import StoredObject
from eventserver_core.builtin.storage_filesystem import FilesystemStorage
from eventserver_core.domain.digest import sha256_hex
from eventserver_core.errors import (
    BackendContractError,
    BackendUnavailableError,
    ContentTooLargeError,
)

PATIENCE = 60.0
CONTENT = b"some bytes"
KEY = "media-" + sha256_hex(CONTENT)


class Upload:
    """An upload that keeps what it is told, and fails where it is asked to."""

    def __init__(self, failing: str = "", error: BaseException | None = None) -> None:
        self.failing = failing
        self.error = error or ValueError("odd")
        self.written: list[bytes] = []
        self.left_with: Any = "not left"

    def _step(self, name: str) -> None:
        if name == self.failing:
            raise self.error

    def __enter__(self) -> Upload:
        self._step("enter")
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.left_with = exc_info[1]
        self._step("exit")

    def write(self, chunk: bytes) -> None:
        self._step("write")
        self.written.append(chunk)

    def commit(self, key: str) -> Any:
        self._step("commit")
        return StoredObject(key, 1, "here")


class Storage:
    """A storage that hands one upload out."""

    def __init__(self, upload: Any) -> None:
        self._upload = upload

    def upload(self, key: str | None = None) -> Any:
        return self._upload


def guard(upload: Any, time_limit: float = PATIENCE) -> GuardedBackend:
    return GuardedBackend("storage", "odd", Storage(upload), time_limit)


def send(guarded: GuardedBackend) -> StoredObject:
    with guarded.upload(KEY) as upload:
        upload.write(b"a")
        upload.write(b"b")
        stored: StoredObject = upload.commit(KEY)
    return stored


def test_an_upload_goes_through() -> None:
    upload = Upload()
    assert send(guard(upload)).key == KEY
    assert upload.written == [b"a", b"b"]
    assert upload.left_with is None


def test_a_real_upload_goes_through(tmp_path: Path) -> None:
    storage = FilesystemStorage(tmp_path / "objects")
    guarded = GuardedBackend("storage", "filesystem", storage, PATIENCE)
    with guarded.upload() as upload:
        upload.write(CONTENT)
        assert guarded.stat(KEY) is None
        upload.commit(KEY)
    assert b"".join(guarded.read(KEY)) == CONTENT


@pytest.mark.parametrize(
    ("step", "name"),
    [
        ("enter", "upload"),
        ("write", "upload.write"),
        ("commit", "upload.commit"),
        ("exit", "upload"),
    ],
)
def test_a_step_that_fails_is_told_with_the_plugins_name(step: str, name: str) -> None:
    with pytest.raises(BackendContractError) as caught:
        send(guard(Upload(step)))
    assert str(caught.value) == f"storage=odd: {name} raised ValueError"


@pytest.mark.parametrize("step", ["enter", "write", "commit"])
def test_our_own_error_passes_through(step: str) -> None:
    error = BackendUnavailableError("storage=odd", "full")
    with pytest.raises(BackendUnavailableError) as caught:
        send(guard(Upload(step, error)))
    assert caught.value is error


@pytest.mark.parametrize("step", ["write", "commit"])
def test_after_a_failure_the_upload_is_discarded(step: str) -> None:
    upload = Upload(step)
    with pytest.raises(BackendContractError):
        send(guard(upload))
    assert isinstance(upload.left_with, BackendContractError)


def test_the_callers_own_error_reaches_the_upload_and_the_caller() -> None:
    upload = Upload()
    error = ContentTooLargeError("too large")
    with pytest.raises(ContentTooLargeError) as caught, guard(upload).upload() as incoming:
        incoming.write(b"a")
        raise error
    assert caught.value is error
    assert upload.left_with is error


def test_a_plugin_cannot_swallow_the_callers_error() -> None:
    class Swallowing(Upload):
        def __exit__(self, *exc_info: object) -> bool:  # type: ignore[override]
            return True

    with pytest.raises(ContentTooLargeError), guard(Swallowing()).upload():
        raise ContentTooLargeError("too large")


def test_an_upload_may_be_made_with_contextmanager() -> None:
    inner = Upload()

    @contextmanager
    def made() -> Iterator[Upload]:
        yield inner

    assert send(guard(made())).key == KEY
    assert inner.written == [b"a", b"b"]


@pytest.mark.parametrize("upload", [None, 5, object()])
def test_what_is_no_upload_is_refused(upload: object) -> None:
    with pytest.raises(BackendContractError, match="storage=odd: upload raised AttributeError"):
        send(guard(upload))


def test_a_commit_that_says_nothing_is_refused() -> None:
    class Silent(Upload):
        def commit(self, key: str) -> Any:
            return None

    with pytest.raises(BackendContractError) as caught:
        send(guard(Silent()))
    assert str(caught.value) == "storage=odd: upload.commit answered with NoneType"


@pytest.mark.parametrize("step", ["write", "commit"])
def test_a_step_that_hangs_is_given_up(step: str) -> None:
    released = threading.Event()

    class Slow(Upload):
        def _step(self, name: str) -> None:
            if name == step:
                released.wait(PATIENCE)

    with pytest.raises(BackendUnavailableError, match=f"upload.{step} did not answer within"):
        send(guard(Slow(), time_limit=2))
    released.set()
