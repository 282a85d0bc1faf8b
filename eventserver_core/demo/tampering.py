"""Forges evidence, to show that it is noticed."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path


def change_file(source: Path, target: Path, name: str, change: Callable[[bytes], bytes]) -> None:
    """Copy a ZIP with one of its files changed.

    Args:
        source: the ZIP.
        target: where the copy goes.
        name: the file to change.
        change: makes the new content from the old one.
    """
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for entry in old.infolist():
            content = old.read(entry)
            new.writestr(entry, change(content) if entry.filename == name else content)


def flip_one_bit(content: bytes) -> bytes:
    """Change a single bit in the middle, as little as can be changed at all."""
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def change_annotation(label: str, value: str | int) -> Callable[[bytes], bytes]:
    """Return what gives an annotation of an ``event.json`` another value."""

    def change(content: bytes) -> bytes:
        event = json.loads(content)
        for annotation in event["annotations"]:
            if annotation["labelId"] == label:
                annotation["value"] = value
        return json.dumps(event, sort_keys=True, separators=(",", ":")).encode()

    return change
