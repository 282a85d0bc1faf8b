"""Envelopes and packs: what was written is found and read again."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventserver_core.backends.storage import KEY_PATTERN
from eventserver_core.domain.canonical import MAX_DEPTH, WRAPPED_DEPTH, canonicalize, parse_ijson
from eventserver_core.domain.digest import sha256_hex
from eventserver_core.domain.envelope import (
    FORMAT,
    MEDIA_PREFIX,
    PACK_PREFIX,
    SIGNED_PACKAGE_PREFIX,
    Envelope,
    Signature,
    make_pack,
    parse_envelope,
)
from eventserver_core.domain.package import make_statement
from eventserver_core.errors import InvalidPackageError

from .samples import altered, encoded, json_values, package, places, without

RECEIVED = datetime(2024, 1, 1, 0, 0, 0, 123_000, tzinfo=UTC)
SIGNATURE = Signature(
    "device-1",
    {"kty": "EC", "crv": "P-256", "x": "a", "y": "b"},
    object_key=SIGNED_PACKAGE_PREFIX + "cd" * 32,
)

IN_ENVELOPE = Signature("device-1", SIGNATURE.public_key, jws=b"header.claims.signature")


def envelope(
    statement: Any = None, signature: Signature | None = None, media_key: str | None = None
) -> Envelope:
    made = make_statement(statement or package(), None)
    return Envelope(
        digest_hex=made.digest_hex,
        statement=made.document,
        submitted_by="relay-1",
        submitter_role="relay",
        received_at=RECEIVED,
        media_key=media_key,
        signature=signature,
    )


@pytest.mark.parametrize("signature", [None, SIGNATURE, IN_ENVELOPE])
@pytest.mark.parametrize("media_key", [None, MEDIA_PREFIX + "ab" * 32])
def test_an_envelope_is_read_again_as_it_was(
    signature: Signature | None, media_key: str | None
) -> None:
    written = envelope(signature=signature, media_key=media_key)
    pack = make_pack([written])
    assert parse_envelope(pack.content.rstrip(b"\n")) == written


@settings(max_examples=100, deadline=None)
@given(st.lists(json_values, max_size=6))
def test_every_span_of_a_pack_is_its_envelope(values: list[Any]) -> None:
    written = [envelope(package(extra=value, text="line\nfeed\u2028")) for value in values]
    pack = make_pack(written)
    lines = [pack.content[offset : offset + length] for offset, length in pack.spans]
    assert [parse_envelope(line) for line in lines] == written
    assert b"".join(line + b"\n" for line in lines) == pack.content
    assert pack.content.count(b"\n") == len(values)
    for line, original in zip(lines, written, strict=True):
        assert sha256_hex(canonicalize(parse_envelope(line).statement)) == original.digest_hex


def test_a_line_is_canonical_whether_its_statement_was_at_hand_or_not() -> None:
    made = make_statement(package(text="\u20ac", number=1e21), None)
    written = envelope(made.document, IN_ENVELOPE, MEDIA_PREFIX + "ab" * 32)
    (line,) = make_pack([written]).content.splitlines()
    assert line == canonicalize(parse_ijson(line, max_depth=WRAPPED_DEPTH))
    at_hand = replace(written, canonical=made.content)
    assert make_pack([at_hand]) == make_pack([written])


def test_a_pack_is_found_by_the_digest_of_its_bytes() -> None:
    pack = make_pack([envelope()])
    assert pack.key == PACK_PREFIX + sha256_hex(pack.content)
    assert make_pack([envelope()]) == pack
    assert make_pack([envelope(), envelope()]).key != pack.key


@pytest.mark.parametrize("prefix", [MEDIA_PREFIX, PACK_PREFIX, SIGNED_PACKAGE_PREFIX])
def test_the_keys_are_such_as_storage_takes(prefix: str) -> None:
    assert KEY_PATTERN.match(prefix + "ab" * 32)


def test_an_empty_pack_is_empty() -> None:
    pack = make_pack([])
    assert (pack.content, list(pack.spans)) == (b"", [])


def test_the_deepest_package_still_fits_into_an_envelope() -> None:
    deep: Any = 1
    for _ in range(MAX_DEPTH - 1):
        deep = [deep]
    written = envelope(package(deep=deep))
    assert parse_envelope(make_pack([written]).content.rstrip(b"\n")) == written


def document() -> Any:
    return parse_ijson(make_pack([envelope(signature=SIGNATURE)]).content)


@pytest.mark.parametrize(
    "place",
    [
        ("format",),
        ("hash",),
        ("statement",),
        ("submittedBy",),
        ("submittedBy", "subject"),
        ("submittedBy", "role"),
        ("receivedAt",),
        ("mediaKey",),
        ("signature",),
        ("signature", "objectKey"),
        ("signature", "signer"),
        ("signature", "publicKey"),
    ],
)
def test_an_envelope_that_lacks_a_member_is_none(place: tuple[str, ...]) -> None:
    assert place in places(document())
    with pytest.raises(ValueError, match=FORMAT):
        parse_envelope(encoded(without(document(), place)))


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("format",), "eventserver-envelope/2"),
        (("submittedBy",), "relay-1"),
        (("receivedAt",), "yesterday"),
        (("receivedAt",), 1704067200000),
        (("signature",), "cd" * 32),
        (("signature",), [1]),
        (("signature",), False),
        (("hash",), 5),
        (("hash",), None),
        (("statement",), "text"),
        (("submittedBy", "subject"), 5),
        (("submittedBy", "subject"), ""),
        (("submittedBy", "subject"), "a\0b"),
        (("submittedBy", "subject"), "a" * 256),
        (("submittedBy", "role"), ["relay"]),
        (("mediaKey",), 5),
        (("mediaKey",), False),
        (("signature", "objectKey"), None),
        (("signature", "objectKey"), "../" + "cd" * 32),
        (("signature", "objectKey"), MEDIA_PREFIX + "cd" * 32),
        (("signature", "signer"), {"a": 1}),
        (("signature", "publicKey"), "key"),
    ],
)
def test_an_envelope_with_a_wrong_member_is_none(place: tuple[str, ...], value: Any) -> None:
    with pytest.raises(ValueError):
        parse_envelope(encoded(altered(document(), place, value)))


@pytest.mark.parametrize("line", [b"[]", b'"text"', b"5", b"null", b"{}"])
def test_other_json_is_no_envelope(line: bytes) -> None:
    with pytest.raises(ValueError):
        parse_envelope(line)


@pytest.mark.parametrize("line", [b"", b"{", b'{"a": 1, "a": 1}', b"\xff"])
def test_what_is_no_json_is_no_envelope_either(line: bytes) -> None:
    with pytest.raises(InvalidPackageError):
        parse_envelope(line)
