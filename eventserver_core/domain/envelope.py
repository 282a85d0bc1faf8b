"""Envelopes and packs: how events lie in storage, so that the database can be rebuilt from it.

An envelope is one line of a pack: the statement as hashed, who brought it, and when. A pack is
NDJSON; its key is the digest of its bytes. Keys come from digests alone and are flat.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any, TypeVar

from eventserver_core.domain.canonical import WRAPPED_DEPTH, canonicalize, parse_ijson
from eventserver_core.domain.digest import sha256_hex
from eventserver_core.domain.instant import format_rfc3339, parse_rfc3339

FORMAT = "eventserver-envelope/1"

MEDIA_PREFIX = "media-"
PACK_PREFIX = "pack-"
SIGNED_PACKAGE_PREFIX = "jws-"

_SIGNED_PACKAGE_KEY = re.compile(SIGNED_PACKAGE_PREFIX + r"[0-9a-f]{64}\Z")
_MAX_SUBJECT = 255
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Signature:
    """Evidence of who wrote a package.

    Attributes:
        signer: the subject of the device's certificate.
        public_key: the JWK that the certificate binds, public members only.
        jws: the signed package, byte for byte; None where it is an object of its own.
        object_key: that object's key; None where the signed package is in the envelope.
    """

    signer: str
    public_key: Mapping[str, Any]
    jws: bytes | None = None
    object_key: str | None = None


@dataclass(frozen=True, slots=True)
class Envelope:
    """What is kept of an event.

    Attributes:
        digest_hex: the event hash.
        statement: the JSON value that was hashed.
        submitted_by: the subject of the certificate that brought it.
        submitter_role: ``relay`` or ``device``.
        received_at: when it was received.
        media_key: the media's object, if it has media.
        signature: there if the package was signed.
        canonical: the statement in canonical form, for whoever has it at hand.
    """

    digest_hex: str
    statement: Mapping[str, Any]
    submitted_by: str
    submitter_role: str
    received_at: datetime
    media_key: str | None
    signature: Signature | None
    canonical: bytes | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Pack:
    """The bytes of a pack, and where in them each envelope lies.

    Attributes:
        key: the storage key.
        content: NDJSON.
        spans: offset and length of each line without its line feed, in the envelopes' order.
    """

    key: str
    content: bytes
    spans: Sequence[tuple[int, int]]


def make_pack(envelopes: Sequence[Envelope]) -> Pack:
    """Write envelopes as one pack."""
    content = bytearray()
    spans: list[tuple[int, int]] = []
    for envelope in envelopes:
        line = _line(envelope)
        spans.append((len(content), len(line)))
        content += line + b"\n"
    frozen = bytes(content)
    return Pack(PACK_PREFIX + sha256_hex(frozen), frozen, spans)


def parse_envelope(line: bytes) -> Envelope:
    """Read one line of a pack.

    Raises:
        InvalidPackageError: it is not JSON.
        ValueError: it is not an envelope of this format.
    """
    document = parse_ijson(line, max_depth=WRAPPED_DEPTH)
    try:
        if document["format"] != FORMAT:
            raise ValueError(f"not an {FORMAT}: {document['format']!r}")
        submitter, signature = document["submittedBy"], document["signature"]
        return Envelope(
            digest_hex=_of(str, document["hash"]),
            statement=_of(dict, document["statement"]),
            submitted_by=_subject(submitter["subject"]),
            submitter_role=_of(str, submitter["role"]),
            received_at=parse_rfc3339(document["receivedAt"]),
            media_key=None if document["mediaKey"] is None else _of(str, document["mediaKey"]),
            signature=None if signature is None else _signature(_of(dict, signature)),
        )
    except (KeyError, TypeError) as ex:
        raise ValueError(f"not an {FORMAT}") from ex


def _of(kind: type[_T], value: Any) -> _T:
    if not isinstance(value, kind):
        raise TypeError(f"expected {kind.__name__}")
    return value


def _subject(value: Any) -> str:
    subject = _of(str, value)
    if not 0 < len(subject) <= _MAX_SUBJECT or "\0" in subject:
        raise ValueError(f"not an {FORMAT}: no subject of a certificate")
    return subject


def _signature(document: Mapping[str, Any]) -> Signature:
    signer, public_key = _subject(document["signer"]), _of(dict, document["publicKey"])
    if "jws" in document:
        return Signature(signer, public_key, jws=_of(str, document["jws"]).encode("ascii"))
    object_key = _of(str, document["objectKey"])
    if not _SIGNED_PACKAGE_KEY.match(object_key):
        raise ValueError(f"not an {FORMAT}: no key of a signed package")
    return Signature(signer, public_key, object_key=object_key)


def _line(envelope: Envelope) -> bytes:
    """Write an envelope in canonical form, its members in their order.

    What has no character to be escaped is put in as it is: digests, keys and moments.
    """
    statement = envelope.canonical or canonicalize(envelope.statement)
    signature = envelope.signature
    media_key = f'"{envelope.media_key}"' if envelope.media_key else "null"
    head = (
        f'{{"format":"{FORMAT}","hash":"{envelope.digest_hex}","mediaKey":{media_key},'
        f'"receivedAt":"{format_rfc3339(envelope.received_at)}","signature":'
    )
    signed = canonicalize(_signature_members(signature)) if signature else b"null"
    submitter = _submitter(envelope.submitted_by, envelope.submitter_role)
    return b"".join(
        (head.encode(), signed, b',"statement":', statement, b',"submittedBy":', submitter, b"}")
    )


@lru_cache(maxsize=1024)
def _submitter(subject: str, role: str) -> bytes:
    return canonicalize({"subject": subject, "role": role})


def _signature_members(signature: Signature) -> dict[str, Any]:
    members = {"signer": signature.signer, "publicKey": dict(signature.public_key)}
    if signature.jws is not None:
        return members | {"jws": signature.jws.decode("ascii")}
    return members | {"objectKey": signature.object_key}
