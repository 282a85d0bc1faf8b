"""An authority's files: put there whole and once, read only if they are nobody else's to see."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from eventserver_core.errors import ConfigurationError, ConflictError

ROOT_KEY: Final = "root.key"
ROOT_CERTIFICATE: Final = "root.crt"
ISSUING_KEY: Final = "issuing.key"
ISSUING_CERTIFICATE: Final = "issuing.crt"

_MAX_FILE: Final = 65536
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_TOO_OPEN: Final = stat.S_IWGRP | stat.S_IXGRP | stat.S_IRWXO
"""An orchestrator mounts secrets for a group to read; keys are encrypted besides."""


@dataclass(frozen=True, slots=True)
class NewFile:
    """A file to be put in place.

    Attributes:
        name: within the directory.
        content: all of it.
        mode: its permissions.
    """

    name: str
    content: bytes = field(repr=False)
    mode: int


def make_private_directory(path: Path) -> None:
    """Make a directory that only its owner can enter; an empty one is made so.

    Raises:
        ConfigurationError: it can't be, or others can get at what is in it already.
    """
    try:
        missing = [place for place in (path, *path.parents) if not place.exists()]
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        for place in missing:
            _sync_directory(place.parent)
        if not path.stat().st_mode & _OTHERS:
            return
        if any(path.iterdir()):
            raise ConfigurationError(
                f"{path}: others can get into this directory; run: chmod 700 {path}"
            )
        path.chmod(0o700)
    except OSError as ex:
        raise ConfigurationError(f"{path}: cannot be made a directory: {ex.strerror}") from ex


def put_new(directory: Path, files: Sequence[NewFile]) -> None:
    """Put files in place in their order, durably: all of them, or none if that fails.

    A process that is killed in between leaves the first of them whole and the others away.

    Raises:
        ConflictError: one of them is there already; it stays as it is.
        ConfigurationError: the directory can't be written to.
    """
    there = [file.name for file in files if (directory / file.name).exists()]
    if there:
        raise _taken(directory, there)
    staged: list[Path] = []
    placed: list[Path] = []
    try:
        for file in files:
            _stage(directory, file, staged)
        for file, path in zip(files, staged, strict=True):
            # unlike a rename, a link takes the place of nothing
            os.link(path, directory / file.name)
            placed.append(directory / file.name)
            _sync_directory(directory)
    except BaseException as ex:
        for path in reversed(placed):
            with suppress(OSError):
                path.unlink()
        if isinstance(ex, FileExistsError):
            raise _taken(directory, [file.name for file in files]) from ex
        if isinstance(ex, OSError):
            raise ConfigurationError(f"{directory}: cannot be written to: {ex.strerror}") from ex
        raise
    finally:
        for path in staged:
            with suppress(OSError):
                path.unlink()


def replace_pair(directory: Path, old_stem: str, key: NewFile, certificate: NewFile) -> None:
    """Put a key and its certificate in place of others, which are kept under another name.

    Whoever loads both between the two steps is told that they don't belong together.

    Raises:
        ConfigurationError: the directory can't be written to.
    """
    staged: list[Path] = []
    try:
        for file in (key, certificate):
            _stage(directory, file, staged)
        for file in (key, certificate):
            old = directory / f"{old_stem}{Path(file.name).suffix}"
            old.unlink(missing_ok=True)
            os.link(directory / file.name, old)
        for file, path in zip((key, certificate), list(staged), strict=True):
            path.replace(directory / file.name)
            staged.remove(path)
        _sync_directory(directory)
    except OSError as ex:
        raise ConfigurationError(f"{directory}: cannot be written to: {ex.strerror}") from ex
    finally:
        for path in staged:
            with suppress(OSError):
                path.unlink()


def read_public(path: Path) -> bytes:
    """Read a file that anybody may see.

    Raises:
        ConfigurationError: it can't be read.
    """
    return _read(path)[0]


def read_private(path: Path) -> bytes:
    """Read a file that only its owner and perhaps its group may see.

    Raises:
        ConfigurationError: it can't be read, or others can get at it.
    """
    content, mode = _read(path)
    if mode & _TOO_OPEN:
        raise ConfigurationError(
            f"{path}: others can get at this private key; run: chmod 600 {path}"
        )
    return content


def _read(path: Path) -> tuple[bytes, int]:
    try:
        if not path.is_file():  # a pipe would be waited for
            raise ConfigurationError(f"{path}: there is no such file")
        with path.open("rb") as file:
            return file.read(_MAX_FILE), os.fstat(file.fileno()).st_mode
    except OSError as ex:
        raise ConfigurationError(f"{path}: cannot be read: {ex.strerror}") from ex


def _stage(directory: Path, file: NewFile, staged: list[Path]) -> None:
    fd, name = tempfile.mkstemp(prefix=f".{file.name}.", dir=directory)
    staged.append(Path(name))
    with os.fdopen(fd, "wb") as stream:
        stream.write(file.content)
        stream.flush()
        os.fchmod(fd, file.mode)
        os.fsync(fd)


def _sync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _taken(directory: Path, names: Sequence[str]) -> ConflictError:
    return ConflictError(
        f"{directory} has {', '.join(names)} already: an authority is made once, and never over "
        "another; name another directory"
    )
