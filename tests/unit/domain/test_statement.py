"""The statement and the event hash, against the published vectors."""

from __future__ import annotations

import base64
import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings

from eventserver_core.domain.digest import is_digest_hex, sha256, sha256_hex
from eventserver_core.domain.package import decode_media_data, make_statement, parse_package
from eventserver_core.errors import InvalidPackageError

from . import oracle
from .samples import altered, encoded, json_values, package, vectors

HASHES = vectors("event_hash.json")
BY_NAME = {vector["name"]: vector for vector in HASHES["vectors"]}


def media_of(document: Any, beside: str | None) -> bytes | None:
    """Return the media's bytes, wherever they travel."""
    if document.get("media") is None:
        return None
    data = document["media"].get("data")
    return base64.b64decode(beside) if data is None and beside else decode_media_data(data)


@pytest.mark.parametrize("vector", HASHES["vectors"], ids=lambda vector: vector["name"])
def test_a_published_package_has_its_published_hash(vector: dict[str, Any]) -> None:
    parsed = parse_package(vector["package"].encode())
    media = media_of(parsed.document, vector.get("mediaBase64"))
    statement = make_statement(parsed.document, None if media is None else sha256_hex(media))
    assert statement.content.decode() == vector["statement"]
    assert statement.digest_hex == vector["hash"] == sha256_hex(vector["statement"].encode())


@pytest.mark.parametrize("vector", HASHES["vectors"], ids=lambda vector: vector["name"])
def test_a_published_statement_is_canonical(vector: dict[str, Any]) -> None:
    assert oracle.canonical(json.loads(vector["statement"])) == vector["statement"]


@pytest.mark.parametrize("case", HASHES["refused"], ids=lambda case: case["name"])
def test_a_package_published_as_refused_is_refused(case: dict[str, Any]) -> None:
    with pytest.raises(InvalidPackageError) as caught:
        parse_package(case["package"].encode())
    assert [fault.pointer for fault in caught.value.faults] == [case["pointer"]]


def test_the_same_photo_gives_the_same_hash_however_it_travels() -> None:
    names = ["JPEG, plain base64", "JPEG, data URL", "JPEG beside the package"]
    assert len({BY_NAME[name]["hash"] for name in names}) == 1
    assert len({BY_NAME[name]["package"] for name in names}) == 3


def test_different_packages_have_different_hashes() -> None:
    statements = {vector["statement"] for vector in HASHES["vectors"]}
    assert len({vector["hash"] for vector in HASHES["vectors"]}) == len(statements) == 7


def test_the_statement_leaves_the_package_as_it_was() -> None:
    sent = package(media={"type": "image/gif", "size": 0, "data": "", "camera": {"iso": 400}})
    before = copy.deepcopy(sent)
    statement = make_statement(sent, "ab" * 32)
    assert sent == before
    assert statement.document["media"] == {
        "type": "image/gif",
        "size": 0,
        "camera": {"iso": 400},
        "sha256": "ab" * 32,
    }


def test_the_server_s_own_digest_stands_in_the_statement() -> None:
    sent = package(media={"type": "image/gif", "size": 0, "sha256": "00" * 32})
    assert make_statement(sent, "ab" * 32).document["media"]["sha256"] == "ab" * 32


def test_a_package_without_media_is_its_own_statement() -> None:
    for sent in (package(), package(media=None)):
        assert make_statement(sent, None).document == sent
    without, null = make_statement(package(), None), make_statement(package(media=None), None)
    assert without.digest_hex != null.digest_hex


def test_spelling_is_not_hashed() -> None:
    spaced = encoded(package(note="\u00e9"))
    dense = (
        spaced.replace(b"\n", b"").replace(b"\\u00e9", "\u00e9".encode()).replace(b"120", b"1.2e2")
    )
    assert spaced != dense
    hashes = {
        make_statement(parse_package(sent).document, None).digest_hex for sent in (spaced, dense)
    }
    assert len(hashes) == 1


@settings(max_examples=100, deadline=None)
@given(json_values, json_values)
def test_another_value_is_another_hash(one: Any, other: Any) -> None:
    first, second = (make_statement(package(extra=value), None) for value in (one, other))
    assert (first.content == second.content) == (first.digest_hex == second.digest_hex)
    changed = make_statement(altered(package(extra=one), ("version",), "1.1"), None)
    assert changed.digest_hex != first.digest_hex


def test_a_digest_is_sha256_in_lower_case_hex() -> None:
    # FIPS 180-4's example
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256_hex(b"abc") == sha256(b"abc").hex() == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ab",
        "AB" * 32,
        "ab" * 32 + "\n",
        "ab" * 33,
        "gg" * 32,
        "\uff10" * 64,
        None,
        5,
        b"ab" * 32,
    ],
)
def test_nothing_else_passes_for_a_digest(text: object) -> None:
    assert is_digest_hex("ab" * 32)
    assert not is_digest_hex(text)
