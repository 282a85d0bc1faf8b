"""Makes event packages for tests."""

from __future__ import annotations

import base64
import uuid
from pathlib import Path
from typing import Any

MEDIA_TYPES = {
    ".jpg": "image/jpeg",
    ".png": "image/png",
    ".gif": "image/gif",
    ".mp4": "video/mp4",
}


def make_package(
    media: Path | None = None, *, inline: bool = True, **members: Any
) -> dict[str, Any]:
    """Return a valid event package with an id of its own.

    Args:
        media: the photo or video to carry.
        inline: whether its bytes go inside, or beside it in a form.
        members: what to set besides, or instead.
    """
    package: dict[str, Any] = {
        "id": str(uuid.uuid4()),
        "version": "1.0",
        "annotations": [
            {"labelId": "category", "value": "Music", "timestamp": "2024-01-01T00:00:00Z"},
            {"labelId": "visitors", "value": 120, "timestamp": "2024-01-01T00:00:00Z"},
        ],
        "media": None,
        "metadata": {
            "createdAt": "2024-01-01T00:00:00Z",
            "createdBy": "someone",
            "source": "web",
        },
    }
    if media is not None:
        content = media.read_bytes()
        package["media"] = {
            "type": MEDIA_TYPES[media.suffix],
            "name": media.name,
            "size": len(content),
            "lastModified": 1704067200000,
        }
        if inline:
            package["media"]["data"] = base64.b64encode(content).decode()
    return package | members
