"""The directory in which the processes of one server count together.

It is chosen before ``metrics`` is imported, which this module doesn't do. The directory lies in
memory where that can be had: its files are written with each request, and of no use afterwards.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from operator import add
from pathlib import Path

from eventserver_core.errors import ConfigurationError
from eventserver_core.log import get_logger

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""prometheus_client's own name for it; who sets it chooses the directory."""

_log = get_logger()
_PREFIX = "eventserver-metrics-"
_STARTING = "eventserver-starting-"
_LOCK = "lock"
_MEMORY = "/dev/shm"  # noqa: S108 - mkdtemp makes a directory there that is ours alone
_COUNTED = re.compile(r"(counter|histogram|summary|gauge_[a-z]+)_\d+\.db\Z")
_ROOM = 32 * 1024 * 1024
"""What some thirty processes count in; containers have 64 MiB of such memory unless told."""
_SIZES = {
    "histogram": 512 * 1024,
    "counter": 128 * 1024,
    "gauge_liveall": 64 * 1024,
    "gauge_livemax": 64 * 1024,
    "gauge_livemostrecent": 64 * 1024,
    "gauge_livesum": 64 * 1024,
    "gauge_max": 64 * 1024,
}


_ADDED_UP: dict[str, Callable[[float, float], float]] = {
    "counter": add,
    "histogram": add,
    "gauge_max": max,
}
_ENDED = 0
"""In place of a process id, of which none is 0."""


def open_directory() -> None:
    """Have this process, and all that it starts, count in a fresh directory.

    What servers left behind that were killed is removed.

    Raises:
        ConfigurationError: there is nowhere to put it.
    """
    try:
        if chosen := os.environ.get(VARIABLE):
            Path(chosen).mkdir(parents=True, exist_ok=True)
            for path in Path(chosen).glob("*.db"):
                if _COUNTED.match(path.name):  # what else is there is not ours
                    path.unlink()
            reserve_or_warn()
            return
        parent = _MEMORY if _has_room(_MEMORY) else tempfile.gettempdir()
        _remove_abandoned(Path(parent))
        starting = Path(tempfile.mkdtemp(prefix=_STARTING, dir=parent))
        lock = os.open(starting / _LOCK, os.O_CREAT | os.O_RDWR, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)  # held until this process and its forks have ended
        # it has its name once it is locked, or another server would take it for abandoned
        made = starting.rename(starting.with_name(starting.name.replace(_STARTING, _PREFIX)))
    except OSError as ex:
        raise ConfigurationError(
            f"{VARIABLE}: no directory to count in can be made: {ex.strerror}"
        ) from ex
    os.environ[VARIABLE] = str(made)
    atexit.register(_remove, made, os.getpid())
    reserve_or_warn()


def _has_room(directory: str) -> bool:
    try:
        return os.access(directory, os.W_OK | os.X_OK) and (
            shutil.disk_usage(directory).free >= _ROOM
        )
    except OSError:
        return False


def reserve_or_warn() -> None:
    """Take the space that this process will count in, where it counts in files.

    A file's page that can't be had when it is written to would kill the process (``SIGBUS``).
    """
    if directory := os.environ.get(VARIABLE):
        for name, size in _SIZES.items():
            path = Path(directory) / f"{name}_{os.getpid()}.db"
            # under another name until it has its space: an empty file ends whoever scrapes
            new = path if path.exists() else path.with_suffix(".new")
            try:
                with new.open("ab") as file:
                    os.posix_fallocate(file.fileno(), 0, size)
                new.rename(path)
            except OSError as ex:
                _log.warning("metrics_short_of_space", directory=directory, error=ex.strerror)
                return


def forget(pid: int) -> None:
    """Take a process that has ended out of what holds for the living; what it counted stays.

    Its counts go to those of all that have ended, in one file for each kind: processes are
    replaced for as long as the server runs, and memory for their files is limited.
    """
    from prometheus_client.multiprocess import mark_process_dead

    from eventserver_core.metrics.scrape import undisturbed

    directory = os.environ.get(VARIABLE)
    if not directory:
        return
    with suppress(OSError), undisturbed(Path(directory), alone=True):
        mark_process_dead(pid)  # type: ignore[no-untyped-call]
        for kind, together in _ADDED_UP.items():
            _add_up(Path(directory), kind, pid, together)


def _add_up(
    directory: Path, kind: str, pid: int, together: Callable[[float, float], float]
) -> None:
    from prometheus_client.mmap_dict import MmapedDict

    path = directory / f"{kind}_{pid}.db"
    if not path.exists():
        return
    ended = MmapedDict(str(directory / f"{kind}_{_ENDED}.db"))  # type: ignore[no-untyped-call]
    try:
        for key, value, timestamp, _ in MmapedDict.read_all_values_from_file(str(path)):  # type: ignore[no-untyped-call]
            so_far, _ = ended.read_value(key)  # type: ignore[no-untyped-call]
            ended.write_value(key, together(so_far, value), timestamp)  # type: ignore[no-untyped-call]
    finally:
        ended.close()  # type: ignore[no-untyped-call]
    path.unlink()


def _remove(directory: Path, owner: int) -> None:
    if os.getpid() == owner:  # a fork ends before its master does
        shutil.rmtree(directory, ignore_errors=True)


def _remove_abandoned(parent: Path) -> None:
    for directory in parent.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            if directory.stat().st_uid != os.getuid() or directory.is_symlink():
                continue
            lock = os.open(directory / _LOCK, os.O_RDWR | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(directory, ignore_errors=True)
            finally:
                os.close(lock)
