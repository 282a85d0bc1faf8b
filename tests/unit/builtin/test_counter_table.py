"""The file under the rate limiter: how it is made, shared, and locked."""

from __future__ import annotations

import fcntl
import os
import re
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from eventserver_core.backends.ratelimit import Quota
from eventserver_core.builtin.counter_table import CounterTable, open_table
from eventserver_core.builtin.ratelimit_memory import MemoryRateLimiter
from eventserver_core.errors import BackendUnavailableError
from eventserver_core.testing.clock import ManualClock
from tests.unit.builtin.children import fork, kill, paused_child, run_at_once

QUOTA = Quota("calls", limit=10, window=60)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ratelimit.bin"


def make(path: Path) -> MemoryRateLimiter:
    """Return a limiter whose identities all share one set, and so one lock."""
    return MemoryRateLimiter(path, clock=ManualClock(), sets=1)


def test_the_file_is_sparse_and_never_grows(path: Path) -> None:
    limiter = MemoryRateLimiter(path, clock=ManualClock())
    before = path.stat()
    for number in range(200):
        limiter.hit(f"caller-{number}", QUOTA)
    after = path.stat()
    assert before.st_size == after.st_size == 4096 + 16384 * 8 * 280
    assert after.st_blocks * 512 < after.st_size // 2
    assert stat.S_IMODE(after.st_mode) == 0o600


def test_processes_that_start_at_once_make_one_table(path: Path) -> None:
    def work() -> None:
        limiter = make(path)
        assert sum(limiter.hit("caller", QUOTA).allowed for _ in range(2)) == 2

    run_at_once(*[work] * 5)
    assert not make(path).hit("caller", QUOTA).allowed


def test_nobody_can_tell_which_names_share_a_set(tmp_path: Path) -> None:
    sets = [tmp_path / "one.bin", tmp_path / "two.bin"]
    tables = [open_table(path, 16384) for path in sets]
    places = [[offset(table, b"%d" % name) for name in range(10)] for table in tables]
    assert places[0] != places[1]


def offset(table: CounterTable, name: bytes) -> int:
    with table.row(name) as row:
        return row._offset


@pytest.mark.parametrize("content", [b"", bytes(4096), bytes(100_000)])
def test_a_table_that_was_never_finished_is_made_anew(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    limiter = make(path)
    assert sum(limiter.hit("caller", QUOTA).allowed for _ in range(20)) == 10


@pytest.mark.parametrize("content", [b"x", b"ESRATE02" + bytes(4088), b"\0" * 8 + b"x" * 100])
def test_a_file_of_another_kind_is_refused_and_left_alone(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    for _ in range(2):
        with pytest.raises(BackendUnavailableError, match="no table of this version"):
            make(path)
    assert path.read_bytes() == content
    path.unlink()
    assert make(path).hit("caller", QUOTA).allowed


def test_a_link_in_its_place_is_followed_to_the_file_that_all_use(
    path: Path, tmp_path: Path
) -> None:
    (tmp_path / "link.bin").symlink_to(path)
    assert open_table(path, 1) is open_table(tmp_path / "link.bin", 1)


def test_a_table_keeps_the_number_of_sets_it_was_made_with(path: Path) -> None:
    run_at_once(lambda: make(path))
    size = path.stat().st_size
    limiter = MemoryRateLimiter(path, clock=ManualClock())
    assert limiter.hit("caller", QUOTA).allowed
    assert path.stat().st_size == size


def test_a_process_opens_the_file_once(path: Path) -> None:
    limiters = [make(path) for _ in range(5)]
    names = [os.readlink(fd) for fd in Path("/proc/self/fd").iterdir() if fd.is_symlink()]
    assert names.count(str(path)) == 1
    assert sum(limiter.hit("caller", QUOTA).allowed for limiter in limiters * 4) == 10


def test_whoever_opens_a_table_waits_until_it_is_made(path: Path) -> None:
    def make_slowly(pause: Callable[[], None]) -> None:
        fd = os.open(path, os.O_RDWR | os.O_CREAT)
        fcntl.lockf(fd, fcntl.LOCK_EX, 1, 0)
        pause()

    with paused_child(make_slowly) as child:
        opening = threading.Thread(target=make, args=[path])
        opening.start()
        waiting = re.compile(rf"-> POSIX .*:{path.stat().st_ino} 0 0$", re.M)
        while opening.is_alive() and not waiting.search(Path("/proc/locks").read_text("ascii")):
            pass
        assert path.stat().st_size == 0
        kill(child)
        opening.join()
    assert path.stat().st_size > 0


def hold_the_set(path: Path) -> Callable[[Callable[[], None]], None]:
    def begin(pause: Callable[[], None]) -> None:
        with open_table(path, 1).row(b"any"):
            pause()

    return begin


def test_a_process_that_dies_lets_go_of_its_lock(path: Path) -> None:
    limiter = make(path)
    with paused_child(hold_the_set(path)) as child:
        busy = limiter.hit("caller", QUOTA)
        assert not busy.allowed
        assert busy.retry_after > 0
        with pytest.raises(BackendUnavailableError, match="another process"):
            limiter.check()
        kill(child)
        assert limiter.hit("caller", QUOTA).remaining == 9


def test_a_thread_that_holds_a_set_keeps_others_out_and_not_for_long(path: Path) -> None:
    limiter = make(path)
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with open_table(path, 1).row(b"any"):
            held.set()
            done.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        assert held.wait(60)
        assert not limiter.hit("caller", QUOTA).allowed
    finally:
        done.set()
        thread.join()
    assert limiter.hit("caller", QUOTA).remaining == 9


def test_a_lock_that_another_thread_held_at_a_fork_holds_up_no_worker(path: Path) -> None:
    limiter = make(path)
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        with open_table(path, 1).row(b"any"):
            held.set()
            release.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(60)
    reading, writing = os.pipe()
    child = fork()
    if child == 0:
        status = 1
        try:
            os.read(reading, 1)
            status = 0 if limiter.hit("caller", QUOTA).allowed else 2
            open_table(path, 1)
        finally:
            os._exit(status)
    release.set()
    thread.join()
    os.write(writing, b"!")
    assert os.waitpid(child, 0)[1] == 0
    os.close(reading)
    os.close(writing)
