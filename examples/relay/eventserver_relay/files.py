"""Files that are there whole or not at all, also after a power loss."""

from __future__ import annotations

import os
import uuid
from pathlib import Path


def make_directory(path: Path) -> None:
    """Make a directory that only its owner may enter, where there is none."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    _sync(path.parent)


def write(path: Path, text: str) -> None:
    """Replace a file that only its owner may read."""
    part = path.with_name(f".{path.name}.{uuid.uuid4()}")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
        _sync(path.parent)
    finally:
        part.unlink(missing_ok=True)


def _sync(directory: Path) -> None:
    # a rename is in the directory, which has to reach the disk as well
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
