"""What the tests of the domain share: published vectors, packages, proofs, signatures, JSON."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from joserfc import jws
from joserfc.jwk import ECKey

from eventserver_core.domain import merkle
from eventserver_core.domain.digest import sha256
from eventserver_core.domain.proof import Anchor, ledger_block_hash, make_proof

ROOT = Path(__file__).parents[3]
EVENT_ID = "550e8400-e29b-41d4-a716-446655440000"
PARENT_HASH = "0x" + "00" * 31 + "2a"
BLOCK_TIME = datetime(2024, 1, 1, 0, 1, tzinfo=UTC)
BLOCK_TIMESTAMP = "2024-01-01T00:01:00.000Z"

_NONCHARACTERS = [chr(c) for c in range(0xFDD0, 0xFDF0)] + [
    chr(plane + last) for plane in range(0, 0x110000, 0x10000) for last in (0xFFFE, 0xFFFF)
]
characters = st.characters(exclude_categories=["Cs"], exclude_characters=_NONCHARACTERS)
texts = st.text(characters, max_size=12)
numbers = st.one_of(
    st.integers(-(2**53) + 1, 2**53 - 1), st.floats(allow_nan=False, allow_infinity=False)
)
scalars = st.one_of(st.none(), st.booleans(), numbers, texts)
json_values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=5), st.dictionaries(texts, inner, max_size=5)),
    max_leaves=12,
)
"""Whatever I-JSON can say."""


def vectors(name: str) -> dict[str, Any]:
    """Read a file of published vectors."""
    content: dict[str, Any] = json.loads((ROOT / "tests" / "vectors" / name).read_bytes())
    return content


def encoded(value: Any) -> bytes:
    """Write JSON as any app may: not canonical."""
    return json.dumps(value, indent=1).encode()


def package(**members: Any) -> dict[str, Any]:
    """Return a valid package, with members put in or replaced."""
    return {
        "id": EVENT_ID,
        "version": "1.0",
        "annotations": [{"labelId": "visitors", "value": 120, "timestamp": "2024-01-01T00:00:00Z"}],
        "metadata": {"createdAt": "2024-01-01T00:00:00Z", "createdBy": "someone", "source": "web"},
    } | members


def altered(document: Any, place: Sequence[str | int], value: Any) -> Any:
    """Return a copy of a JSON value in which one place has another value."""
    changed = copy.deepcopy(document)
    target = changed
    for token in place[:-1]:
        target = target[token]
    target[place[-1]] = value
    return changed


def without(document: Any, place: Sequence[str | int]) -> Any:
    """Return a copy of a JSON value that lacks one place."""
    changed = copy.deepcopy(document)
    target = changed
    for token in place[:-1]:
        target = target[token]
    del target[place[-1]]
    return changed


def places(document: Any, start: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Return where every member and every item of a JSON value is."""
    pairs = (
        document.items()
        if isinstance(document, dict)
        else enumerate(document)
        if isinstance(document, list)
        else ()
    )
    found: list[tuple[str | int, ...]] = []
    for token, inner in pairs:
        found += [(*start, token), *places(inner, (*start, token))]
    return found


def anchor_of(root: bytes, chain: str = "ledger") -> Anchor:
    """Return an anchor that holds a root; on ``evm`` one that nobody can check offline."""
    if chain == "evm":
        return Anchor(
            "evm", "mainnet", 1, None, "0x" + "a1" * 32, 123, "0x" + "b2" * 32, BLOCK_TIME
        )
    entry = ledger_block_hash(7, PARENT_HASH, root.hex(), BLOCK_TIMESTAMP)
    return Anchor("ledger", "local", None, None, entry, 7, entry, BLOCK_TIME, PARENT_HASH)


def proof_of(digest_hex: str, *, index: int = 5, size: int = 11, chain: str = "ledger") -> Any:
    """Return the valid proof of an event at some place of a batch."""
    leaves = [sha256(i.to_bytes(4)) for i in range(size)]
    leaves[index] = bytes.fromhex(digest_hex)
    root = merkle.root(leaves)
    return make_proof(
        event_id=EVENT_ID,
        digest_hex=digest_hex,
        leaf_index=index,
        tree_size=size,
        path=merkle.inclusion_path(index, leaves),
        root=root,
        anchor=anchor_of(root, chain),
    )


def turns(index: int, size: int) -> list[bool]:
    """Return on which side each step of a path has its sibling (True: left), lowest first.

    Straight from the recursive definition of RFC 9162, section 2.1.3.1.
    """
    if size == 1:
        return []
    split = 1 << (size - 1).bit_length() - 1
    if index < split:
        return [*turns(index, split), False]
    return [*turns(index - split, size - split), True]


def signed(payload: bytes, key: ECKey, **header: Any) -> bytes:
    """Return a compact JWS, ES256."""
    registry = jws.JWSRegistry(algorithms=["ES256"], strict_check_header=False)
    return jws.serialize_compact(
        {"alg": "ES256"} | header, payload, key, registry=registry
    ).encode()


def claims(payload: Any) -> bytes:
    """Return what the EventApp signs around a package."""
    return json.dumps(
        {
            "sub": "event_submission",
            "aud": "event_server",
            "iss": "event_client",
            "iat": 1704067200,
            "exp": 1704070800,
            "payload": payload,
            "event_hash": "0" * 64,
        }
    ).encode()
