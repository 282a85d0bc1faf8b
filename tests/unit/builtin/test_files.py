"""Durable files and locks."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from eventserver_core.builtin.files import locked, make_directory, reported, write_all
from eventserver_core.errors import BackendUnavailableError
from tests.unit.builtin.children import kill, paused_child, run_at_once


def test_what_the_system_refuses_is_reported_with_its_cause() -> None:
    with (
        pytest.raises(BackendUnavailableError, match="role=name: it failed") as caught,
        reported("role=name", "it failed"),
    ):
        raise PermissionError(13, "Permission denied")
    assert isinstance(caught.value.__cause__, PermissionError)
    assert caught.value.backend == "role=name"


def test_what_is_no_fault_of_the_system_is_left_alone() -> None:
    with pytest.raises(KeyError), reported("role=name", "it failed"):
        raise KeyError


def test_all_is_written_where_one_call_takes_only_a_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, content: write(fd, content[:7]))
    content = bytes(range(256))
    with (tmp_path / "file").open("wb") as file:
        write_all(file.fileno(), content)
    assert (tmp_path / "file").read_bytes() == content


def test_a_lock_keeps_processes_apart(tmp_path: Path) -> None:
    counter, lock = tmp_path / "counter", tmp_path / "lock"
    counter.write_text("0")

    def count() -> None:
        for _ in range(50):
            with locked(lock):
                counter.write_text(str(int(counter.read_text()) + 1))

    run_at_once(*[count] * 4)
    assert counter.read_text() == "200"


def test_a_lock_ends_with_its_process(tmp_path: Path) -> None:
    lock = tmp_path / "lock"

    def hold(pause: object) -> None:
        with locked(lock):
            pause()  # type: ignore[operator]

    with paused_child(hold) as child:
        kill(child)
        with locked(lock):
            assert lock.exists()


def test_shared_locks_get_along(tmp_path: Path) -> None:
    with locked(tmp_path / "lock", shared=True), locked(tmp_path / "lock", shared=True):
        assert (tmp_path / "lock").exists()


def test_a_directory_may_be_there_already(tmp_path: Path) -> None:
    for _ in range(2):
        make_directory(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError):
        make_directory(tmp_path / "file")
