"""The media types that an event may carry, and how their bytes begin."""

from __future__ import annotations

HEAD_SIZE = 16
"""How many leading bytes are enough to tell."""

EXTENSIONS = {
    "image/jpeg": ".jpg",
    "image/png": ".png",
    "image/gif": ".gif",
    "video/mp4": ".mp4",
}

_SIGNATURES = {
    "image/jpeg": (b"\xff\xd8\xff",),
    "image/png": (b"\x89PNG\r\n\x1a\n",),
    "image/gif": (b"GIF87a", b"GIF89a"),
}
# ISO base media files that are pictures or QuickTime, not MP4 (ISO/IEC 14496-12, MP4RA's registry)
_NOT_MP4_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1", b"avif", b"avis"}
_NOT_MP4_BRANDS |= {b"qt  ", b"crx "}


def agrees(media_type: str, head: bytes) -> bool:
    """Tell whether a file that begins with ``head`` can be of ``media_type``.

    Args:
        media_type: one of ``EXTENSIONS``.
        head: the file's first ``HEAD_SIZE`` bytes, or all of a shorter one.
    """
    if media_type == "video/mp4":
        return head[4:8] == b"ftyp" and len(head) >= 12 and head[8:12] not in _NOT_MP4_BRANDS
    return head.startswith(_SIGNATURES[media_type])
