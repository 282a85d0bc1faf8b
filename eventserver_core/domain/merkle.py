"""Merkle trees as RFC 9162 (section 2.1) has them.

Leaf: ``SHA-256(0x00 || data)``; node: ``SHA-256(0x01 || left || right)``; a tree of ``n`` leaves
splits at the largest power of two below ``n``. The prefixes keep a leaf from passing for a node,
and no leaf is ever doubled.

A large tree is cut into tiles: the digests of up to 256 nodes that lie side by side, at the leaves
and at every eighth level above (as tlog-tiles have them, https://c2sp.org/tlog-tiles; here the
last of a level may be the root of a subtree that isn't full). A leaf's path needs one tile of each
of these levels, however many leaves there are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

ALGORITHM = "RFC9162-SHA256"
MAX_PATH_LENGTH = 64
"""No tree has more levels: a longer path is refused before it is walked."""
TILE_WIDTH = 256
"""So many digests are in a tile, but for the last one of a level."""
_SIZE = hashlib.sha256().digest_size


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
        path += level[index ^ 1 : (index ^ 1) + 1]  # nothing for an odd one out
        level, index = _above(level), index >> 1
    return path


@dataclass(frozen=True, slots=True)
class TilePlace:
    """Where a leaf, or the subtree that has it, is in a tile.

    Attributes:
        number: the tile's, in the order of ``tiles``.
        index: of the digest in the tile.
        count: how many digests the tile has.
    """

    number: int
    index: int
    count: int


def tiles(leaves: Iterable[bytes]) -> Iterator[bytes]:
    """Cut a tree into tiles, those of the leaves first, in memory that hardly grows with it.

    The last one is the top: its root is the root of the tree.
    """
    level: Iterable[bytes] = map(leaf_digest, leaves)
    while True:
        roots: list[bytes] = []
        for tile in _cut(level):
            yield b"".join(tile)
            roots.append(_root_of(tile))
        if len(roots) <= 1:
            return
        level = roots


def tile_places(index: int, size: int) -> list[TilePlace]:
    """Return where a leaf of a tree of that size is, lowest tile first.

    Raises:
        IndexError: the tree has no such leaf.
    """
    if not 0 <= index < size:
        raise IndexError(f"leaf {index} of a tree with {size}")
    places: list[TilePlace] = []
    before = 0  # tiles of the levels below
    while True:
        number, inside = divmod(index, TILE_WIDTH)
        count = min(TILE_WIDTH, size - number * TILE_WIDTH)
        places.append(TilePlace(before + number, inside, count))
        if size <= TILE_WIDTH:
            return places
        index, size = number, -(-size // TILE_WIDTH)
        before += size


def tile_levels(tile: bytes) -> tuple[bytes, ...]:
    """Return a tile's digests, and those of each level above them, the last of which is its root.

    Raises:
        ValueError: these are no digests.
    """
    if not tile or len(tile) % _SIZE:
        raise ValueError(f"a tile has {len(tile)} bytes")
    level = [tile[begin : begin + _SIZE] for begin in range(0, len(tile), _SIZE)]
    levels = [tile]
    while len(level) > 1:
        level = _above(level)
        levels.append(b"".join(level))
    return tuple(levels)


def path_from_tiles(
    index: int, size: int, root: bytes, found: Sequence[tuple[bytes, ...]]
) -> list[bytes]:
    """Return the inclusion proof from the levels of the tiles that ``tile_places`` names.

    Raises:
        IndexError: the tree has no such leaf.
        ValueError: a tile is missing, or is none of this tree, whose root is ``root``.
    """
    places, expected = tile_places(index, size), root
    for place, levels in reversed(list(zip(places, found, strict=True))):
        if levels[-1] != expected or len(levels[0]) != place.count * _SIZE:
            raise ValueError(f"tile {place.number} is none of the tree")
        expected = _digest_at(place.index, levels[0])
    return [
        sibling
        for place, levels in zip(places, found, strict=True)
        for height, level in enumerate(levels)
        if (sibling := _digest_at((place.index >> height) ^ 1, level))
    ]


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


def _digest_at(index: int, level: bytes) -> bytes:
    """Return a level's digest, or nothing: an odd one out has no sibling."""
    return level[index * _SIZE : (index + 1) * _SIZE]


def _cut(level: Iterable[bytes]) -> Iterator[list[bytes]]:
    rest = iter(level)
    while tile := list(islice(rest, TILE_WIDTH)):
        yield tile


def _above(level: list[bytes]) -> list[bytes]:
    pairs = [node_digest(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
    # an odd one out rises as it is: it is the right part of an unbalanced split
    return pairs + level[len(level) & ~1 :]


def _root_of(level: list[bytes]) -> bytes:
    while len(level) > 1:
        level = _above(level)
    return level[0]
