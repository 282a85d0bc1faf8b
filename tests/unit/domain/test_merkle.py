"""Merkle trees against the definition, the published vectors, and whoever wants to cheat."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventserver_core.domain import merkle

from .samples import turns, vectors

TREES = vectors("merkle.json")
LEAVES = [bytes.fromhex(leaf) for leaf in TREES["leaves"]]
DATA = [i.to_bytes(4, "big") for i in range(300)]


@cache
def defined_root(begin: int, end: int) -> bytes:
    """The definition of RFC 9162, section 2.1.1, over a range of ``DATA``."""
    if end - begin == 0:
        return hashlib.sha256().digest()
    if end - begin == 1:
        return hashlib.sha256(b"\x00" + DATA[begin]).digest()
    split = begin + (1 << (end - begin - 1).bit_length() - 1)
    return hashlib.sha256(b"\x01" + defined_root(begin, split) + defined_root(split, end)).digest()


@cache
def defined_path(index: int, begin: int, end: int) -> tuple[bytes, ...]:
    """The definition of RFC 9162, section 2.1.3.1, over a range of ``DATA``."""
    if end - begin == 1:
        return ()
    split = begin + (1 << (end - begin - 1).bit_length() - 1)
    if index < split:
        return (*defined_path(index, begin, split), defined_root(split, end))
    return (*defined_path(index, split, end), defined_root(begin, split))


@pytest.mark.parametrize("case", TREES["roots"], ids=lambda case: str(case["treeSize"]))
def test_a_tree_of_certificate_transparency_has_its_known_root(case: dict[str, Any]) -> None:
    assert merkle.root(LEAVES[: case["treeSize"]]).hex() == case["root"]


@pytest.mark.parametrize(
    "case", TREES["inclusion"], ids=lambda case: f"{case['leafIndex']} of {case['treeSize']}"
)
def test_a_leaf_of_certificate_transparency_has_its_known_path(case: dict[str, Any]) -> None:
    index, size = case["leafIndex"], case["treeSize"]
    path = merkle.inclusion_path(index, LEAVES[:size])
    assert [step.hex() for step in path] == case["path"]
    root = merkle.root_from_path(LEAVES[index], index, size, path)
    assert root.hex() == TREES["roots"][size]["root"]


def test_the_known_root_of_eight_leaves_is_the_one_everybody_has() -> None:
    assert (
        merkle.root(LEAVES).hex()
        == "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"
    )
    assert TREES["algorithm"] == merkle.ALGORITHM


def test_every_tree_to_three_hundred_leaves_has_the_root_that_is_defined() -> None:
    for size in range(len(DATA) + 1):
        assert merkle.root(DATA[:size]) == defined_root(0, size)


def test_every_leaf_of_every_tree_to_three_hundred_leads_to_the_root() -> None:
    for size in range(1, len(DATA) + 1):
        root = defined_root(0, size)
        for index in range(size):
            path = defined_path(index, 0, size)
            assert merkle.root_from_path(DATA[index], index, size, path) == root


@pytest.mark.parametrize("size", [*range(1, 34), 63, 64, 65, 127, 128, 129, 255, 257, 300])
def test_every_path_is_the_one_that_is_defined(size: int) -> None:
    for index in {*range(min(size, 40)), size // 2, size - 2, size - 1} - {-1}:
        assert tuple(merkle.inclusion_path(index, DATA[:size])) == defined_path(index, 0, size)


MANY = [i.to_bytes(4, "big") for i in range(2**16 + 300)]


def test_the_tiles_of_a_tree_have_its_root_and_its_paths() -> None:
    for size in (*range(1, 600), 65280, 65281, 65535, 65536, 65537, 65793):
        leaves = MANY[:size]
        tiles, root = list(merkle.tiles(iter(leaves))), merkle.root(leaves)
        levels = [merkle.tile_levels(tile) for tile in tiles]
        assert levels[-1][-1] == root
        assert all(len(tile) <= 256 * 32 for tile in tiles)
        some = {0, 1, 254, 255, 256, 257, size // 2, size - 257, size - 2, size - 1}
        for index in some & set(range(size)):
            places = merkle.tile_places(index, size)
            assert len(places) == (1 if size <= 256 else 2 if size <= 65536 else 3)
            found = [levels[place.number] for place in places]
            path = merkle.path_from_tiles(index, size, root, found)
            assert merkle.root_from_path(leaves[index], index, size, path) == root
            assert size > 300 or path == merkle.inclusion_path(index, leaves)


def test_a_tree_has_no_tiles_where_it_has_no_leaves() -> None:
    assert list(merkle.tiles([])) == []
    for index, size in ((0, 0), (-1, 5), (5, 5)):
        with pytest.raises(IndexError):
            merkle.tile_places(index, size)


def test_a_tile_that_is_missing_or_of_another_tree_gives_no_path() -> None:
    low, high, top = (merkle.tile_levels(tile) for tile in merkle.tiles(DATA))
    (other,) = (merkle.tile_levels(tile) for tile in merkle.tiles(DATA[:44]))
    root = merkle.root(DATA)
    path = merkle.path_from_tiles(299, 300, root, [high, top])
    assert tuple(path) == defined_path(299, 0, 300)
    for tiles in ([low, top], [other, top], [high, other], [high], [], [high, top, top]):
        with pytest.raises(ValueError, match=r"none of the tree|zip"):
            merkle.path_from_tiles(299, 300, root, tiles)
    with pytest.raises(ValueError, match="tile 2"):
        merkle.path_from_tiles(299, 300, bytes(32), [high, top])
    with pytest.raises(ValueError, match="tile 1"):
        merkle.path_from_tiles(298, 299, root, [high, top])
    for tile in (b"", bytes(31), bytes(33)):
        with pytest.raises(ValueError, match="bytes"):
            merkle.tile_levels(tile)


def test_a_root_needs_its_leaves_only_once() -> None:
    def once() -> Iterator[bytes]:
        yield from DATA

    assert merkle.root(once()) == defined_root(0, len(DATA))


def test_a_place_that_the_tree_does_not_have_has_no_path() -> None:
    for index, size in ((0, 0), (-1, 5), (5, 5), (6, 5)):
        with pytest.raises(IndexError):
            merkle.inclusion_path(index, DATA[:size])


def reached(data: bytes, index: int, size: int, path: tuple[bytes, ...]) -> bytes | None:
    try:
        return merkle.root_from_path(data, index, size, path)
    except ValueError:
        return None


def test_a_path_holds_in_another_place_only_if_it_turns_the_same_ways() -> None:
    # a root does not say how many leaves are under it: (1 of 2) and (4 of 5) are both one left turn
    places = [(index, size) for size in range(1, 21) for index in range(size)]
    for index, size in places:
        path, root = defined_path(index, 0, size), defined_root(0, size)
        for other_index, other_size in places:
            holds = reached(DATA[index], other_index, other_size, path) == root
            assert holds == (turns(other_index, other_size) == turns(index, size))


def test_no_other_index_of_the_same_tree_holds() -> None:
    for size in range(1, 100):
        shapes = [tuple(turns(index, size)) for index in range(size)]
        assert len(set(shapes)) == size


@settings(max_examples=100, deadline=None)
@given(data=st.data(), size=st.integers(1, 300))
def test_no_other_leaf_path_or_root_holds(data: st.DataObject, size: int) -> None:
    index = data.draw(st.integers(0, size - 1))
    path, root = defined_path(index, 0, size), defined_root(0, size)
    other = data.draw(st.binary(max_size=64).filter(lambda content: content != DATA[index]))
    assert reached(other, index, size, path) != root
    if path:
        i = data.draw(st.integers(0, len(path) - 1))
        sibling = data.draw(st.binary(min_size=32, max_size=32).filter(lambda d: d != path[i]))
        assert reached(DATA[index], index, size, (*path[:i], sibling, *path[i + 1 :])) != root
        assert reached(DATA[index], index, size, (*path[:i], *path[i + 1 :])) is None
        assert reached(DATA[index], index, size, (*path[:i], path[i], *path[i:])) is None
        if path != path[::-1]:
            assert reached(DATA[index], index, size, path[::-1]) != root


def test_a_node_does_not_pass_for_a_leaf() -> None:
    # without the prefixes, left || right would be a leaf of the tree with half the leaves
    left, right = merkle.leaf_digest(DATA[0]), merkle.leaf_digest(DATA[1])
    forged = left + right
    assert merkle.leaf_digest(forged) != merkle.node_digest(left, right)
    assert reached(forged, 0, 2, (defined_root(2, 4),)) != defined_root(0, 4)


def test_a_leaf_does_not_pass_for_a_node() -> None:
    inner = merkle.leaf_digest(DATA[0])
    assert merkle.root([inner, DATA[1]]) != merkle.root(DATA[:2])


@pytest.mark.parametrize("size", [1, 3, 5, 7, 9, 299])
def test_the_last_leaf_is_never_doubled(size: int) -> None:
    # Bitcoin's trees have the same root with the last leaf twice (CVE-2012-2459)
    assert merkle.root([*DATA[:size], DATA[size - 1]]) != merkle.root(DATA[:size])


@pytest.mark.parametrize(
    ("index", "size"), [(0, 0), (5, 5), (6, 5), (-1, 5), (2**200, 5), (0, -1), (2**64, 2**64)]
)
def test_an_index_past_the_tree_is_refused(index: int, size: int) -> None:
    with pytest.raises(ValueError, match="outside"):
        merkle.root_from_path(DATA[0], index, size, ())


@pytest.mark.parametrize(("index", "size", "steps"), [(0, 1, 1), (0, 2, 2), (4, 5, 2), (0, 8, 4)])
def test_a_path_too_long_is_refused(index: int, size: int, steps: int) -> None:
    with pytest.raises(ValueError, match="too long"):
        merkle.root_from_path(DATA[0], index, size, [bytes(32)] * steps)


@pytest.mark.parametrize(("index", "size", "steps"), [(0, 2, 0), (0, 5, 2), (3, 8, 2)])
def test_a_path_too_short_is_refused(index: int, size: int, steps: int) -> None:
    with pytest.raises(ValueError, match="too short"):
        merkle.root_from_path(DATA[0], index, size, [bytes(32)] * steps)


class NeverWalked(list[bytes]):
    """A path that fails whoever takes a step on it."""

    def __iter__(self) -> Iterator[bytes]:
        raise AssertionError("the path was walked")


@pytest.mark.parametrize("size", [1, 2**64, 2**10_001])
def test_a_path_of_ten_thousand_steps_is_refused_before_it_is_walked(size: int) -> None:
    with pytest.raises(ValueError, match="longer than any tree"):
        merkle.root_from_path(DATA[0], 0, size, NeverWalked([bytes(32)] * 10_000))


def test_the_highest_tree_is_still_walked() -> None:
    steps = [bytes([i]) * 32 for i in range(merkle.MAX_PATH_LENGTH)]
    digest = merkle.leaf_digest(DATA[0])
    for step in steps:
        digest = merkle.node_digest(digest, step)
    assert merkle.root_from_path(DATA[0], 0, 2**64, steps) == digest
