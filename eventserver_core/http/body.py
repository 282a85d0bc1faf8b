"""Reading a request's body: never more than is allowed, never longer than is allowed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import falcon
from falcon.media.multipart import BodyPart, MultipartFormHandler, MultipartParseOptions
from falcon.util import BufferedReader
from gunicorn.http.errors import ParseException

from eventserver_core.errors import (
    ContentTooLargeError,
    InvalidInputError,
    InvalidPackageError,
    RequestTimeoutError,
    UnsupportedMediaError,
)

CHUNK_SIZE = 1024 * 1024
"""Large enough that a video is handed to storage in few steps."""

_READ_SIZE = 64 * 1024


class Body:
    """A request's body as a stream that stops at its limits.

    A body without a length (chunked) is counted as it comes. Pauses are cut off by the server's
    sockets; the whole is cut off here.

    Args:
        req: the request; nothing of its body was read yet.
        limit: the most bytes that are taken.
        seconds: how long the body may take in all.

    Raises:
        UnsupportedMediaError: it is compressed.
        ContentTooLargeError: it says itself that it is too large.
    """

    def __init__(self, req: falcon.Request, limit: int, seconds: float) -> None:
        encoding = (req.get_header("Content-Encoding") or "identity").strip().lower()
        if encoding != "identity":
            raise UnsupportedMediaError(
                "compressed bodies are not taken; send the bytes as they are"
            )
        length = req.content_length
        if length is not None and length > limit:
            raise _too_large(limit)
        self._stream: Any = req.env["wsgi.input"]
        self._remaining = length
        self._limit = limit
        self._count = 0
        self._deadline = time.monotonic() + seconds
        # one read goes on for as long as bytes trickle in, so the socket must know, too
        expect = getattr(req.env.get("gunicorn.socket"), "expect_body", None)
        if expect is not None:
            expect(seconds)

    def read(self, size: int) -> bytes:
        """Return at most ``size`` bytes; none at the end.

        Raises:
            ContentTooLargeError: more came than is taken.
            RequestTimeoutError: it came too slowly.
            InvalidInputError: it broke off, or its framing is wrong.
        """
        if self._remaining is not None:
            size = min(size, self._remaining)
        if size <= 0:
            return b""
        if time.monotonic() > self._deadline:
            raise RequestTimeoutError("the request took too long to arrive")
        try:
            chunk: bytes = self._stream.read(size)
        except TimeoutError as ex:
            raise RequestTimeoutError("the request took too long to arrive") from ex
        except (OSError, ParseException) as ex:
            raise InvalidInputError("the body broke off, or its framing is wrong") from ex
        if self._remaining is not None:
            if not chunk:
                raise InvalidInputError("the body is shorter than Content-Length says")
            self._remaining -= len(chunk)
        self._count += len(chunk)
        if self._count > self._limit:
            raise _too_large(self._limit)
        return chunk

    def read_all(self) -> bytes:
        """Return the whole body."""
        return b"".join(iter(lambda: self.read(_READ_SIZE), b""))


def multipart_parts(req: falcon.Request, body: Body) -> Iterator[BodyPart]:
    """Return the parts of a multipart/form-data body, to be read in turn.

    Raises:
        InvalidPackageError: it is no such form, or one with more parts or longer headers than
            an event has.
    """
    options = MultipartParseOptions()
    options.max_body_part_count = 3  # one more than an event has, so that it can be named
    options.max_body_part_headers_size = 4096
    # a chunked body has no length; Body stops it where it must
    stream = BufferedReader(body.read, 2**62, _READ_SIZE)
    try:
        form = MultipartFormHandler(options).deserialize(stream, req.content_type, None)
        yield from form
    except (falcon.HTTPError, UnicodeDecodeError) as ex:
        detail = getattr(ex, "description", None) or "a part's headers are not text"
        raise InvalidPackageError(f"not a multipart/form-data body: {detail}") from ex


def part_name(part: BodyPart) -> str | None:
    """Return the name of a part.

    Raises:
        InvalidPackageError: its headers cannot be read.
    """
    try:
        return part.name
    except (falcon.HTTPError, UnicodeDecodeError, ValueError) as ex:
        raise InvalidPackageError("a part's headers cannot be read") from ex


def part_content(part: BodyPart, limit: int) -> bytes:
    """Return the whole of a part.

    Raises:
        ContentTooLargeError: it is larger than ``limit``.
    """
    content = part.stream.read(limit + 1)
    if len(content) > limit:
        raise ContentTooLargeError(f"the part is larger than the {limit} bytes taken")
    return content


def part_chunks(part: BodyPart) -> Iterator[bytes]:
    """Return a part in chunks."""
    return iter(lambda: part.stream.read(CHUNK_SIZE), b"")


def _too_large(limit: int) -> ContentTooLargeError:
    return ContentTooLargeError(
        f"the body is larger than the {limit} bytes taken; a photo or video goes as "
        "multipart/form-data with the parts event and media"
    )
