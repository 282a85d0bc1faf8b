"""What is special about storage in a directory; the contract has its own tests."""

from __future__ import annotations

import os
import resource
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from eventserver_core.builtin.storage_filesystem import (
    CHUNK_SIZE,
    FilesystemStorage,
    eventserver_storage_backend,
)
from eventserver_core.domain.digest import sha256_hex
from eventserver_core.errors import BackendUnavailableError, ObjectNotFoundError
from eventserver_core.testing.contracts.processes import run_and_kill
from tests.unit.builtin.children import kill, paused_child, run_with_full_disk
from tests.unit.builtin.conftest import Load

CONTENT = bytes(range(256)) * 4096
KEY = "media-" + sha256_hex(CONTENT)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "data" / "objects"


@pytest.fixture
def storage(root: Path) -> FilesystemStorage:
    return FilesystemStorage(root)


def incoming(root: Path) -> list[Path]:
    return list((root.parent / "incoming").iterdir())


def begin_upload(root: Path) -> Callable[[Callable[[], None]], None]:
    def begin(pause: Callable[[], None]) -> None:
        with FilesystemStorage(root).upload(KEY) as upload:
            upload.write(CONTENT[:100_000])
            pause()

    return begin


def test_the_hook_keeps_objects_in_the_data_directory(load: Load, tmp_path: Path) -> None:
    stored = eventserver_storage_backend(load()).put(KEY, CONTENT)
    assert stored.location == f"filesystem:{KEY}"
    assert (tmp_path / "data" / "objects" / KEY).read_bytes() == CONTENT


def test_kill_9_in_the_middle_of_a_write_leaves_nothing_to_see(root: Path) -> None:
    storage = FilesystemStorage(root)
    with paused_child(begin_upload(root)) as child:
        assert len(incoming(root)) == 1
        kill(child)
    assert storage.stat(KEY) is None
    assert list(storage.list()) == []
    assert list(root.iterdir()) == []


def test_what_a_dead_process_left_goes_at_the_next_start(root: Path) -> None:
    with paused_child(begin_upload(root)) as child:
        kill(child)
    assert len(incoming(root)) == 1
    FilesystemStorage(root)
    assert incoming(root) == []


def test_a_start_leaves_the_uploads_of_others_alone(storage: FilesystemStorage, root: Path) -> None:
    with paused_child(begin_upload(root)), storage.upload(KEY) as upload:
        upload.write(CONTENT)
        FilesystemStorage(root)
        assert len(incoming(root)) == 2
        upload.commit(KEY)
    assert b"".join(storage.read(KEY)) == CONTENT


def test_starts_and_uploads_at_the_same_time_get_along(
    storage: FilesystemStorage, root: Path
) -> None:
    done = threading.Event()
    failures: list[Exception] = []

    def restart() -> None:
        while not done.is_set():
            try:
                FilesystemStorage(root)
            except Exception as ex:  # noqa: BLE001 - whatever it is, the test has failed
                failures.append(ex)
                return

    restarting = [threading.Thread(target=restart) for _ in range(2)]
    for thread in restarting:
        thread.start()
    contents = [b"%d" % number for number in range(100)]
    try:
        for content in contents:
            storage.put("pack-" + sha256_hex(content), content)
    finally:
        done.set()
        for thread in restarting:
            thread.join()
    assert failures == []
    assert len(list(storage.list())) == len(contents)
    assert incoming(root) == []


def test_a_full_disk_is_reported_and_leaves_nothing(root: Path) -> None:
    storage = FilesystemStorage(root)

    def fill() -> None:
        with pytest.raises(BackendUnavailableError, match="File too large"):
            storage.put(KEY, CONTENT)
        with pytest.raises(BackendUnavailableError), storage.upload(KEY) as upload:
            for _ in range(100):
                upload.write(bytes(10_000))

    run_with_full_disk(fill, room=CHUNK_SIZE)
    assert incoming(root) == []
    assert list(root.iterdir()) == []


def test_what_is_there_can_be_put_again_on_a_full_disk(storage: FilesystemStorage) -> None:
    first = storage.put(KEY, CONTENT)

    def again() -> None:
        assert storage.put(KEY, CONTENT) == first

    run_with_full_disk(again, room=0)


def test_an_upload_that_failed_cannot_be_committed(root: Path) -> None:
    storage = FilesystemStorage(root)

    def fail() -> None:
        with storage.upload(KEY) as upload:
            upload.write(b"some of it")
            with pytest.raises(BackendUnavailableError):
                upload.write(CONTENT)
            with pytest.raises(BackendUnavailableError, match="begin again"):
                upload.write(b"x")
            with pytest.raises(BackendUnavailableError, match="begin again"):
                upload.commit(KEY)

    run_with_full_disk(fail, room=CHUNK_SIZE)
    assert storage.stat(KEY) is None


def test_the_check_notices_a_full_disk(storage: FilesystemStorage, root: Path) -> None:
    def check() -> None:
        with pytest.raises(BackendUnavailableError, match="see to the data directory"):
            storage.check()

    storage.check()
    run_with_full_disk(check, room=0)
    assert list(root.iterdir()) == []


def test_a_commit_can_be_repeated(storage: FilesystemStorage) -> None:
    def commit() -> None:
        with storage.upload(KEY) as upload:
            upload.write(CONTENT)
            limits = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
            with pytest.raises(BackendUnavailableError, match="Too many open files"):
                upload.commit(KEY)
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            assert upload.commit(KEY) == upload.commit(KEY) == storage.stat(KEY)

    run_and_kill(commit)
    assert b"".join(storage.read(KEY)) == CONTENT


def test_an_object_of_another_size_is_healed(storage: FilesystemStorage, root: Path) -> None:
    for damaged in (b"", CONTENT[:-1], CONTENT + b"more"):
        (root / KEY).write_bytes(damaged)
        storage.put(KEY, CONTENT)
        assert b"".join(storage.read(KEY)) == CONTENT


def test_an_object_that_is_there_is_not_written_again(
    storage: FilesystemStorage, root: Path
) -> None:
    storage.put(KEY, CONTENT)
    before = (root / KEY).stat()
    storage.put(KEY, CONTENT)
    with storage.upload(KEY) as upload:
        upload.write(CONTENT)
        upload.commit(KEY)
    after = (root / KEY).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_the_file_is_synced_before_it_is_visible_and_its_directory_after(
    storage: FilesystemStorage, root: Path, synced: list[Path]
) -> None:
    storage.put(KEY, CONTENT)
    temporary, directory = synced
    assert temporary.parent.name == "incoming"
    assert directory == root


def test_what_is_there_is_made_durable_again(
    storage: FilesystemStorage, root: Path, synced: list[Path]
) -> None:
    (root / KEY).write_bytes(CONTENT)  # as by a process that died before it synced the directory
    storage.put(KEY, CONTENT)
    assert synced == [root]
    with storage.upload(KEY) as upload:
        upload.write(CONTENT)
        upload.commit(KEY)
    assert synced == [root, root]


def test_new_directories_are_durable(tmp_path: Path, synced: list[Path]) -> None:
    FilesystemStorage(tmp_path / "a" / "b" / "objects")
    parents = [tmp_path, tmp_path / "a", tmp_path / "a" / "b", tmp_path / "a" / "b"]
    assert synced == parents


def test_a_link_is_not_followed(storage: FilesystemStorage, root: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"not for everybody")
    (root / KEY).symlink_to(secret)
    assert storage.stat(KEY) is None
    assert list(storage.list()) == []
    with pytest.raises(ObjectNotFoundError):
        storage.read(KEY)
    storage.put(KEY, CONTENT)
    assert secret.read_bytes() == b"not for everybody"
    assert not (root / KEY).is_symlink()
    assert b"".join(storage.read(KEY)) == CONTENT


def test_what_is_no_plain_file_is_no_object(storage: FilesystemStorage, root: Path) -> None:
    other = "media-" + "0" * 64
    (root / KEY).mkdir()
    os.mkfifo(root / other)
    (root / "notes.txt").write_text("not an object")
    assert storage.stat(KEY) is None
    assert storage.stat(other) is None
    assert list(storage.list()) == []
    with pytest.raises(BackendUnavailableError):
        storage.put(KEY, CONTENT)


def test_objects_are_for_the_server_alone(storage: FilesystemStorage, root: Path) -> None:
    storage.put(KEY, CONTENT)
    assert (root / KEY).stat().st_mode & 0o777 == 0o600


def test_a_directory_that_cannot_be_made_is_reported(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    with pytest.raises(BackendUnavailableError, match="data directory"):
        FilesystemStorage(tmp_path / "data" / "objects")
    (tmp_path / "objects").write_text("a file")
    with pytest.raises(BackendUnavailableError, match="not a directory"):
        FilesystemStorage(tmp_path / "objects")


def test_a_directory_that_went_away_is_not_made_again(
    storage: FilesystemStorage, root: Path
) -> None:
    shutil.rmtree(root.parent)
    with pytest.raises(BackendUnavailableError):
        storage.put(KEY, CONTENT)
    with pytest.raises(BackendUnavailableError):
        storage.stat(KEY)
    assert not root.exists()


def test_leaving_an_upload_never_hides_what_went_wrong(
    storage: FilesystemStorage, root: Path
) -> None:
    with pytest.raises(KeyError), storage.upload() as upload:
        upload.write(b"x")
        shutil.rmtree(root.parent / "incoming")
        (root.parent / "incoming").write_text("in the way")
        raise KeyError


def test_another_working_directory_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    storage = FilesystemStorage(Path("data/objects"))
    storage.put(KEY, CONTENT)
    monkeypatch.chdir("/")
    assert b"".join(storage.read(KEY)) == CONTENT


def test_a_file_is_closed_even_if_nobody_reads_on(storage: FilesystemStorage) -> None:
    storage.put(KEY, CONTENT)
    before = len(os.listdir("/proc/self/fd"))
    unread, begun = storage.read(KEY), storage.read(KEY)
    next(begun)
    assert len(os.listdir("/proc/self/fd")) == before + 2
    del unread, begun
    assert len(os.listdir("/proc/self/fd")) == before


def test_an_object_that_is_cut_while_it_is_read_is_reported(
    storage: FilesystemStorage, root: Path
) -> None:
    storage.put(KEY, CONTENT)
    chunks = storage.read(KEY)
    next(chunks)
    os.truncate(root / KEY, CHUNK_SIZE + 1)
    assert next(chunks) == CONTENT[CHUNK_SIZE : CHUNK_SIZE + 1]
    with pytest.raises(BackendUnavailableError, match="ends early"):
        next(chunks)


def test_a_range_that_makes_no_sense_is_refused(storage: FilesystemStorage) -> None:
    storage.put(KEY, CONTENT)
    for offset, length in ((-1, None), (0, -1)):
        with pytest.raises(ValueError, match="range"):
            storage.read(KEY, offset, length)
