"""The page that shows the description and sends requests: Swagger UI, and a few lines of ours.

Swagger UI's files are its publisher's, byte for byte; ``vendored.json`` says which they are.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from eventserver_core.domain.digest import sha256_hex

_MEDIA_TYPES = {
    "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
    "swagger-ui.css": "text/css; charset=utf-8",
    "favicon-32x32.png": "image/png",
    "start.js": "text/javascript; charset=utf-8",
}
"""What is given out; the rest of the folder is licences and lists."""


@cache
def edition() -> str:
    """Return what changes with any of the files, so that each may be kept for ever."""
    digests = "".join(sha256_hex(_content(name)) for name in sorted(_MEDIA_TYPES))
    return sha256_hex(digests.encode())[:16]


def index() -> bytes:
    """Return the page itself."""
    return _content("index.html").replace(b"EDITION", edition().encode())


def find(name: str) -> tuple[str, bytes] | None:
    """Return a file's media type and its bytes, if there is such a file."""
    media_type = _MEDIA_TYPES.get(name)
    return None if media_type is None else (media_type, _content(name))


@cache
def _content(name: str) -> bytes:
    return files(__name__).joinpath(name).read_bytes()
