"""An event's media on its way in, inside its package or beside it, against what is declared."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from eventserver_core.backends.storage import Upload
from eventserver_core.domain import media as media_types
from eventserver_core.domain.package import ParsedPackage, check_package, decode_media_data
from eventserver_core.errors import (
    ContentMismatchError,
    Fault,
    InvalidPackageError,
    UnsupportedMediaError,
)

MAX_NAME_LENGTH = 255
"""Characters in a file's name; no file system that a phone or a browser reads from has more."""


@dataclass(frozen=True, slots=True)
class ReceivedMedia:
    """Media that has arrived in full and is in storage, but not published yet.

    Attributes:
        head: the first ``media_types.HEAD_SIZE`` bytes.
    """

    upload: Upload
    size: int
    digest_hex: str
    head: bytes


@dataclass(frozen=True, slots=True)
class Content:
    """A package's media, wherever it came from; ``publish`` makes it durable under a key."""

    digest_hex: str
    size: int
    head: bytes
    publish: Callable[[str], object]


def check_inline(document: Any) -> tuple[ParsedPackage, bytes | None]:
    """Check a package whose media, if any, is inside; return the decoded media too.

    Raises:
        InvalidPackageError: with each fault of the package and of its media.
    """
    media, decoded, faults = _described(document), None, []
    data = media.get("data")
    if isinstance(data, str):
        try:
            decoded = decode_media_data(data)
        except InvalidPackageError as ex:
            faults += ex.faults
    elif media and data is None:
        faults.append(Fault("/media/data", "Field required"))
    return _check(document, faults), decoded


def check_beside(document: Any) -> ParsedPackage:
    """Check a package whose media, if any, is a part of its own.

    Raises:
        InvalidPackageError: with each fault.
    """
    faults = []
    if "data" in _described(document):
        faults.append(Fault("/media/data", "the media is a part of its own; leave data out"))
    return _check(document, faults)


def check_content(parsed: ParsedPackage, content: Content) -> None:
    """Compare media with what its package declares.

    Raises:
        UnsupportedMediaError: it is of another type.
        ContentMismatchError: its size or its digest is another.
    """
    media = parsed.model.media
    assert media is not None  # noqa: S101 - there is content only where there is media
    if not media_types.agrees(media.type, content.head):
        raise UnsupportedMediaError(
            f"the media's first bytes are not those of {media.type}",
            [Fault("/media/type", "not the type of the bytes")],
        )
    faults: list[Fault] = []
    if media.size != content.size:
        detail = f"declared {media.size} bytes, received {content.size}"
        faults.append(Fault("/media/size", detail))
    if media.sha256 is not None and media.sha256 != content.digest_hex:
        faults.append(Fault("/media/sha256", f"the bytes have digest {content.digest_hex}"))
    if faults:
        raise ContentMismatchError("the media is not what the package declares", faults)


def _described(document: Any) -> Mapping[str, Any]:
    media = document.get("media") if isinstance(document, dict) else None
    return media if isinstance(media, dict) else {}


def _check(document: Any, faults: list[Fault]) -> ParsedPackage:
    """Check a package, and tell what is wrong with its media along with the rest."""
    name = _described(document).get("name")
    if isinstance(name, str) and len(name) > MAX_NAME_LENGTH:
        detail = f"String should have at most {MAX_NAME_LENGTH} characters"
        faults.append(Fault("/media/name", detail))
    try:
        parsed = check_package(document)
    except InvalidPackageError as ex:
        ex.faults += faults
        raise
    if faults:
        raise InvalidPackageError("the body is not an event package", faults)
    return parsed
