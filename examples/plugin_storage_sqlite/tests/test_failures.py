"""What the contract doesn't ask: disks that go and come back, and what dead processes left."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from eventserver_storage_sqlite import SqliteStorage
from eventserver_storage_sqlite.backend import ABANDONED_SECONDS, PIECE_SIZE

from eventserver_core.errors import BackendUnavailableError

CONTENT = bytes(range(256)) * (PIECE_SIZE // 100)


def key_of(content: bytes) -> str:
    return f"media-{hashlib.sha256(content).hexdigest()}"


KEY = key_of(CONTENT)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "disk" / "objects.sqlite3"


def execute(path: Path, statement: str, *values: object) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as connection, connection:
        return connection.execute(statement, values).fetchall()


def unmount(path: Path) -> None:
    path.parent.rename(path.parent.with_name("unmounted"))


def mount(path: Path) -> None:
    path.parent.with_name("unmounted").rename(path.parent)


def test_the_file_is_for_its_owner_only(path: Path) -> None:
    SqliteStorage(path).put(KEY, CONTENT)
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_place_where_no_file_can_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("this is no folder")
    with pytest.raises(BackendUnavailableError, match=r"see to sqlite\.file"):
        SqliteStorage(tmp_path / "file" / "objects.sqlite3")


def test_a_file_that_is_none_of_sqlites_is_told(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("this is no database, and it is long enough to be read as one" * 100)
    with pytest.raises(BackendUnavailableError, match="not a database"):
        SqliteStorage(path)


def test_a_commit_that_failed_may_be_repeated(path: Path) -> None:
    storage = SqliteStorage(path)
    with storage.upload() as upload:
        upload.write(CONTENT)
        unmount(path)
        with pytest.raises(BackendUnavailableError):
            upload.commit(KEY)
        mount(path)
        stored = upload.commit(KEY)
        assert upload.commit(KEY) == stored
    assert b"".join(storage.read(KEY)) == CONTENT


def test_an_upload_that_missed_a_write_is_never_an_object(path: Path) -> None:
    storage = SqliteStorage(path)
    with storage.upload() as upload:
        unmount(path)
        with pytest.raises(BackendUnavailableError):
            upload.write(CONTENT)
        mount(path)
        with pytest.raises(BackendUnavailableError, match="begin again"):
            upload.write(CONTENT)
        with pytest.raises(BackendUnavailableError, match="begin again"):
            upload.commit(KEY)
    assert storage.stat(KEY) is None
    assert storage.put(KEY, CONTENT).size == len(CONTENT)


def test_what_cannot_be_discarded_now_does_not_hide_what_happened(path: Path) -> None:
    storage = SqliteStorage(path)
    with pytest.raises(KeyError, match="of the caller"), storage.upload() as upload:
        upload.write(CONTENT)
        unmount(path)
        raise KeyError("of the caller")
    mount(path)
    assert storage.stat(KEY) is None


def test_what_is_discarded_takes_no_room(path: Path) -> None:
    storage = SqliteStorage(path)
    storage.put(KEY, CONTENT)
    storage.put(KEY, CONTENT)
    with storage.upload() as upload:
        upload.write(CONTENT)
    assert execute(path, "SELECT count(DISTINCT upload) FROM pieces") == [(1,)]
    assert execute(path, "SELECT count(*) FROM uploads") == [(0,)]


def test_what_a_dead_process_left_goes_at_a_start_a_day_later(path: Path) -> None:
    storage = SqliteStorage(path)
    storage.put(KEY, CONTENT)
    for _ in range(2):
        upload = storage.upload()
        upload.__enter__()
        upload.write(CONTENT)
    execute(path, "UPDATE uploads SET began = began - ? WHERE id = 2", ABANDONED_SECONDS + 60)
    again = SqliteStorage(path)
    assert execute(path, "SELECT DISTINCT upload FROM pieces ORDER BY upload") == [(1,), (3,)]
    assert b"".join(again.read(KEY)) == CONTENT


def test_an_upload_that_was_swept_is_never_an_object(path: Path) -> None:
    storage = SqliteStorage(path)
    with storage.upload() as upload:
        upload.write(CONTENT)
        execute(path, "UPDATE uploads SET began = 0")
        SqliteStorage(path)
        with pytest.raises(BackendUnavailableError, match="begin again"):
            upload.commit(KEY)
    assert storage.stat(KEY) is None
    assert execute(path, "SELECT count(*) FROM pieces") == [(0,)]


def test_a_missing_piece_is_told_where_it_is(path: Path) -> None:
    storage = SqliteStorage(path)
    storage.put(KEY, CONTENT)
    execute(path, "DELETE FROM pieces WHERE number = 1")
    chunks = storage.read(KEY)
    assert len(next(chunks)) == PIECE_SIZE
    with pytest.raises(BackendUnavailableError, match=f"ends early, at byte {PIECE_SIZE}"):
        next(chunks)


def test_a_range_that_makes_no_sense_is_refused(path: Path) -> None:
    storage = SqliteStorage(path)
    storage.put(KEY, CONTENT)
    for offset, length in ((-1, None), (0, -1)):
        with pytest.raises(ValueError, match="range"):
            storage.read(KEY, offset, length)


def test_more_objects_than_are_listed_at_once_are_all_listed(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eventserver_storage_sqlite.backend.PAGE", 3)
    storage = SqliteStorage(path)
    keys = sorted(storage.put(key_of(b"%d" % n), b"%d" % n).key for n in range(7))
    assert [stored.key for stored in storage.list()] == keys
    assert [stored.key for stored in storage.list(keys[-1])] == keys[-1:]


def start_and_put(path: Path, number: int) -> None:
    storage = SqliteStorage(path)
    for turn in range(5):
        content = f"{number} {turn}".encode() * 1000
        storage.put(key_of(content), content)


def test_processes_that_start_at_once_share_one_file(path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=start_and_put, args=(path, n)) for n in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * 4
    assert len(list(SqliteStorage(path).list())) == 20
    assert not os.path.exists(f"{path}-wal")
