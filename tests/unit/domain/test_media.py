"""What files look like by their leading bytes."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from eventserver_core.domain.media import EXTENSIONS, HEAD_SIZE, agrees

BOX = b"\x00\x00\x00\x18ftyp"


def picture(kind: str) -> bytes:
    sink = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(sink, kind)
    return sink.getvalue()


FILES = {
    "image/jpeg": [picture("JPEG")],
    "image/png": [picture("PNG")],
    "image/gif": [picture("GIF"), b"GIF89a" + bytes(20)],
    "video/mp4": [
        BOX + brand + bytes(8) for brand in (b"isom", b"mp42", b"avc1", b"M4V ", b"iso6")
    ],
}
OTHERS = [
    b"",
    b"\xff",
    b"<!DOCTYPE html><script>alert(1)</script>",
    b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    b"%PDF-1.7",
    b"PK\x03\x04",
    b"MZ\x90\x00",
    b"GIF88a",
    b"\n\xff\xd8\xff",
    b"\xff\xd8",
    b"\x89PNG\n\x1a\n",
    b"RIFF\x00\x00\x00\x00WEBPVP8 ",
    b"\x00\x00\x00\x18ftyp",
    b"ftypisom",
    BOX + b"qt  ",
    BOX + b"heic",
    BOX + b"avif",
    BOX + b"mif1",
]


@pytest.mark.parametrize("media_type", EXTENSIONS)
def test_a_file_agrees_with_its_own_type_and_no_other(media_type: str) -> None:
    for content in FILES[media_type]:
        agreeing = [other for other in EXTENSIONS if agrees(other, content[:HEAD_SIZE])]
        assert agreeing == [media_type]


@pytest.mark.parametrize("content", OTHERS)
def test_any_other_file_agrees_with_none(content: bytes) -> None:
    assert not [media_type for media_type in EXTENSIONS if agrees(media_type, content[:HEAD_SIZE])]


def test_the_head_is_enough_to_tell() -> None:
    for media_type, files in FILES.items():
        for content in files:
            assert agrees(media_type, content) == agrees(media_type, content[:HEAD_SIZE])


def test_every_type_has_a_file_extension_of_its_own() -> None:
    assert list(EXTENSIONS) == list(FILES)
    assert len(set(EXTENSIONS.values())) == len(EXTENSIONS)
    assert all(extension.startswith(".") for extension in EXTENSIONS.values())
