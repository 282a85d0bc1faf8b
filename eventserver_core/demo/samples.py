"""Sample events, and the media that they carry."""

from __future__ import annotations

import base64
import hashlib
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from eventserver_core.domain.instant import format_rfc3339, now, to_milliseconds
from eventserver_core.domain.package import Statement, make_statement

PHOTO = Path(__file__).with_name("photo.jpg")
CLIP = Path(__file__).with_name("clip.mp4")
_MEDIA_TYPES = {".jpg": "image/jpeg", ".mp4": "video/mp4"}


def make_event(media: Path, annotations: Mapping[str, Any], *, inline: bool) -> dict[str, Any]:
    """Return an event package that was made just now, with an id of its own.

    Args:
        media: the photo or video.
        annotations: what is said about it, by label.
        inline: whether the media's bytes go inside (base64); otherwise they travel beside it.
    """
    content = media.read_bytes()
    moment = now()
    timestamp = format_rfc3339(moment)
    about: dict[str, Any] = {
        "type": _MEDIA_TYPES[media.suffix],
        "name": media.name,
        "size": len(content),
        "lastModified": to_milliseconds(moment),
    }
    if inline:
        about["data"] = base64.b64encode(content).decode()
    return {
        "id": str(uuid.uuid4()),
        "version": "1.0",
        "annotations": [
            {"labelId": label, "value": value, "timestamp": timestamp}
            for label, value in annotations.items()
        ],
        "media": about,
        "metadata": {"createdAt": timestamp, "createdBy": "demo", "source": "api"},
    }


def statement_of(package: Mapping[str, Any], media: Path) -> Statement:
    """Return what the server will hash of a package: anyone can work it out beforehand."""
    return make_statement(package, hashlib.sha256(media.read_bytes()).hexdigest())
