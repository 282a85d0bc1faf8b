"""What a store says of an object, and what it must say of one that is whole.

A store may report a SHA-256: of all the bytes, or of an object in parts the one over the parts'
own, with their number behind it. Most report an ETag that is the MD5 in the same two forms; some
don't, and with most encryptions it is something else. The probe finds out what to go by.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from minio.datatypes import Object

CHECKSUM_HEADER = "x-amz-checksum-sha256"

_MD5 = re.compile(r"[0-9a-f]{32}\Z")


@dataclass(frozen=True, slots=True)
class Word:
    """What the store says of an object.

    Attributes:
        etag: without quotes.
        checksum: base64, and ``-`` and the number of parts where it is over parts; empty where
            none is reported.
        encryption: as ``storage.encryption`` has it.
        version: its id, where the store keeps versions.
    """

    size: int
    etag: str
    checksum: str
    encryption: str
    version: str | None

    @classmethod
    def of(cls, found: Object) -> Word:
        """Read the client's answer."""
        headers: Mapping[str, str] = found.metadata or {}
        return cls(
            found.size or 0,
            found.etag or "",
            headers.get(CHECKSUM_HEADER, ""),
            _encryption(headers),
            found.version_id,
        )

    @property
    def is_in_parts(self) -> bool:
        """Whether the ETag is in the form that objects in parts have."""
        return "-" in self.etag


@dataclass(frozen=True, slots=True)
class Receipt:
    """What the store says in its answer to a write; either may be empty."""

    etag: str
    checksum: str

    @classmethod
    def of(cls, headers: Mapping[str, str]) -> Receipt:
        """Read an answer's headers."""
        return cls(headers.get("etag", "").strip('"'), headers.get(CHECKSUM_HEADER, ""))


@dataclass(frozen=True, slots=True)
class Digests:
    """Of some bytes."""

    md5: bytes
    sha256: bytes

    @classmethod
    def of(cls, content: bytes) -> Digests:
        """Take the digests of bytes that are at hand."""
        md5 = hashlib.md5(content, usedforsecurity=False).digest()
        return cls(md5, hashlib.sha256(content).digest())

    @property
    def etag(self) -> str:
        """The ETag that says this MD5."""
        return self.md5.hex()

    @property
    def checksum(self) -> str:
        """The SHA-256 as S3's headers have it."""
        return _base64(self.sha256)


@dataclass(frozen=True, slots=True)
class SentPart:
    """A part that the store has.

    Attributes:
        etag: as the store says it; known to be the MD5 where that means something.
        sha256: of its bytes.
    """

    number: int
    etag: str
    sha256: bytes

    @property
    def checksum(self) -> str:
        """The SHA-256 as S3's headers have it."""
        return _base64(self.sha256)


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a store may say of an object that is whole."""

    size: int
    etags: frozenset[str]
    checksums: frozenset[str]

    @classmethod
    def of(cls, size: int, digests: Digests) -> Evidence:
        """Return what proves an object that was sent at once."""
        return cls(size, frozenset({digests.etag}), frozenset({digests.checksum}))

    @classmethod
    def of_parts(
        cls, size: int, parts: Sequence[SentPart], sha256: bytes, md5: bytes | None
    ) -> Evidence:
        """Return what proves an object that was sent in parts, however it is kept.

        Args:
            parts: whose ETags are their MD5s, where ETags are gone by.
            sha256: of all the bytes.
            md5: the same, where it is known.
        """
        over = hashlib.sha256(b"".join(part.sha256 for part in parts)).digest()
        checksums = {_base64(sha256), f"{_base64(over)}-{len(parts)}"}
        etags = {md5.hex()} if md5 else set()
        if all(_MD5.match(part.etag) for part in parts):
            md5s = b"".join(bytes.fromhex(part.etag) for part in parts)
            over = hashlib.md5(md5s, usedforsecurity=False).digest()
            etags.add(f"{over.hex()}-{len(parts)}")
        return cls(size, frozenset(etags), frozenset(checksums))

    def agrees_with(self, word: Word, *, by_etag: bool) -> bool:
        """Tell whether all that the store says of an object is true of this one.

        Args:
            by_etag: whether the ETag says anything.
        """
        return (
            word.size == self.size
            and (not word.checksum or word.checksum in self.checksums)
            and (not by_etag or word.etag in self.etags)
        )

    def is_confirmed_by(self, receipt: Receipt, *, by_etag: bool, by_checksum: bool) -> bool:
        """Tell whether the answer to a write says by itself that all of it arrived.

        Args:
            by_etag: whether the ETag is the MD5 of what arrived.
            by_checksum: whether the SHA-256 was taken from what arrived, and isn't said back.
        """
        if receipt.checksum and receipt.checksum not in self.checksums:
            return False
        if by_etag and receipt.etag in self.etags:
            return True
        return by_checksum and bool(receipt.checksum) and not (by_etag and receipt.etag)


def _base64(digest: bytes) -> str:
    return base64.b64encode(digest).decode("ascii")


def _encryption(headers: Mapping[str, str]) -> str:
    if headers.get("x-amz-server-side-encryption-customer-algorithm"):
        return "sse-c"
    named = headers.get("x-amz-server-side-encryption", "")
    return {"": "none", "AES256": "sse-s3"}.get(named, "sse-kms")
