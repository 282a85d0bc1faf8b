"""Merkle trees as RFC 9162 (section 2.1) has them.

Leaf: ``SHA-256(0x00 || data)``; node: ``SHA-256(0x01 || left || right)``; a tree of ``n`` leaves
splits at the largest power of two below ``n``. The prefixes keep a leaf from passing for a node,
and no leaf is ever doubled.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

ALGORITHM = "RFC9162-SHA256"
MAX_PATH_LENGTH = 64
"""No tree has more levels: a longer path is refused before it is walked."""


def leaf_digest(data: bytes) -> bytes:
    """Return the digest of a leaf."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_digest(left: bytes, right: bytes) -> bytes:
    """Return the digest of an inner node."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def root(leaves: Iterable[bytes]) -> bytes:
    """Return the root over the leaves' data, in memory that grows with the tree's height only.

    The root of no leaves is the digest of the empty string (RFC 9162, section 2.1.1).
    """
    stack: list[tuple[int, bytes]] = []  # complete subtrees: height, digest
    for data in leaves:
        height, digest = 0, leaf_digest(data)
        while stack and stack[-1][0] == height:
            digest = node_digest(stack.pop()[1], digest)
            height += 1
        stack.append((height, digest))
    if not stack:
        return hashlib.sha256(b"").digest()
    digest = stack.pop()[1]
    while stack:
        digest = node_digest(stack.pop()[1], digest)
    return digest


def inclusion_path(index: int, leaves: Sequence[bytes]) -> list[bytes]:
    """Return the inclusion proof of RFC 9162, section 2.1.3.1, lowest sibling first.

    Raises:
        IndexError: the tree has no such leaf.
    """
    if not 0 <= index < len(leaves):
        raise IndexError(f"leaf {index} of a tree with {len(leaves)}")
    level = [leaf_digest(data) for data in leaves]
    path: list[bytes] = []
    while len(level) > 1:
        sibling = index ^ 1
        if sibling < len(level):
            path.append(level[sibling])
        pairs = [node_digest(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
        # an odd one out rises as it is: it is the right part of an unbalanced split
        level = pairs + level[len(level) & ~1 :]
        index >>= 1
    return path


def root_from_path(data: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes:
    """Return the root that a leaf and its path lead to (RFC 9162, section 2.1.3.2).

    Raises:
        ValueError: no tree of that size has such a leaf with such a path.
    """
    if not 0 <= index < size:
        raise ValueError(f"leaf index {index} lies outside a tree of {size}")
    if len(path) > MAX_PATH_LENGTH:
        raise ValueError(f"a path of {len(path)} steps is longer than any tree is high")
    digest = leaf_digest(data)
    node, last = index, size - 1
    for sibling in path:
        if last == 0:
            raise ValueError("the path is too long for the tree's size")
        if node & 1 or node == last:
            digest = node_digest(sibling, digest)
            while not node & 1 and node:
                node >>= 1
                last >>= 1
        else:
            digest = node_digest(digest, sibling)
        node >>= 1
        last >>= 1
    if last != 0:
        raise ValueError("the path is too short for the tree's size")
    return digest
