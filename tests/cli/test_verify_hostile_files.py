"""ZIPs that were made to do harm, or damaged: a clear answer, in bounded memory and time."""

from __future__ import annotations

import io
import json
import random
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from .conftest import Run
from .evidence import Files, Given, give_out, make_zip, unzip

CENTRAL, LOCAL = b"PK\x01\x02", b"PK\x03\x04"


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory, photo: Path) -> Given:
    return give_out(tmp_path_factory.mktemp("server"), photo)


@pytest.fixture
def files(given: Given) -> Files:
    return unzip(given.signed)


@pytest.fixture
def verify(run: Run, home: Path) -> Callable[..., Result]:
    def verify_zip(content: bytes | Files, *arguments: object) -> Result:
        path = home / "evidence.zip"
        path.write_bytes(content if isinstance(content, bytes) else make_zip(content))
        return run("verify", path, *arguments)

    return verify_zip


def assert_unreadable(result: Result, said: str = "") -> None:
    assert result.exit_code == 2
    assert isinstance(result.exception, SystemExit)
    assert result.stdout == ""
    assert "cannot be read as evidence: " in result.stderr
    assert said in result.stderr
    assert len(result.stderr.splitlines()) == 1


def patched(content: bytes, offset: int, value: int) -> bytes:
    """Return a ZIP with a 16-bit field changed in every header, by its place in the local one."""
    changed = bytearray(content)
    for signature, place in ((LOCAL, offset), (CENTRAL, offset + 2)):
        at = changed.find(signature)
        while at >= 0:
            struct.pack_into("<H", changed, at + place, value)
            at = changed.find(signature, at + 4)
    return bytes(changed)


@pytest.mark.parametrize(
    "name", ["event.json", "proof.json", "signed-package.jws", "public-key.json"]
)
def test_a_document_that_explodes_is_cut_off(
    verify: Callable[..., Result], files: Files, name: str
) -> None:
    bomb = make_zip(files | {name: b" " * (200 * 1024 * 1024)}, zipfile.ZIP_DEFLATED)
    assert len(bomb) < 2**20
    assert_unreadable(verify(bomb), "a document is larger than")


def test_a_document_that_claims_to_be_huge_is_not_believed(
    verify: Callable[..., Result], files: Files
) -> None:
    content = bytearray(make_zip(files))
    at = content.find(CENTRAL)
    struct.pack_into("<II", content, at + 20, 0xFFFFFFF0, 0xFFFFFFF0)
    result = verify(bytes(content))
    assert result.exit_code in (1, 2)
    assert isinstance(result.exception, SystemExit)


def test_media_that_explodes_is_read_in_pieces_and_is_another(
    verify: Callable[..., Result], files: Files
) -> None:
    bomb = make_zip(files | {"media.jpg": b"\0" * (200 * 1024 * 1024)}, zipfile.ZIP_DEFLATED)
    result = verify(bomb, "--json")
    assert (result.exit_code, json.loads(result.stdout)["verdict"]) == (1, "invalid")


@pytest.mark.parametrize(
    "name",
    ["../event.json", "../../evil.txt", "/etc/evil", "C:\\evil", "a/../../evil", "media.jpg/x"],
)
def test_a_name_that_leads_elsewhere_does_nothing(
    verify: Callable[..., Result], files: Files, tmp_path: Path, name: str
) -> None:
    before = {path.name for path in tmp_path.rglob("*")}
    result = verify(make_zip(files | {name: b"evil"}))
    assert result.exit_code == 0
    assert {path.name for path in tmp_path.rglob("*")} == before | {"evidence.zip"}


@pytest.mark.parametrize("prefix", ["../", "folder/", "/", "./"])
def test_only_a_file_of_the_very_name_counts(
    verify: Callable[..., Result], files: Files, prefix: str
) -> None:
    moved = {name: content for name, content in files.items() if name != "media.jpg"}
    result = verify(make_zip(moved | {f"{prefix}media.jpg": files["media.jpg"]}), "--json")
    assert (result.exit_code, json.loads(result.stdout)["verdict"]) == (1, "incomplete")


@pytest.mark.parametrize("name", ["event.json", "proof.json", "media.jpg", "README.txt"])
def test_a_file_that_is_there_twice_is_refused(
    verify: Callable[..., Result], files: Files, name: str
) -> None:
    twice = [*files.items(), (name, b"another")]
    assert_unreadable(verify(make_zip(twice)), "the ZIP has a file twice")


def test_two_media_files_are_refused(verify: Callable[..., Result], files: Files) -> None:
    assert_unreadable(verify(make_zip(files | {"media.png": b"x"})), "more than one media file")


def test_two_media_files_in_a_folder_are_refused(run: Run, home: Path, files: Files) -> None:
    for name, content in {**files, "media.png": b"x"}.items():
        (home / name).write_bytes(content)
    assert_unreadable(run("verify", home), "more than one media file")


def test_an_encrypted_zip_is_told(verify: Callable[..., Result], given: Given) -> None:
    assert_unreadable(verify(patched(given.signed, 6, 1)), "encrypted")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_compression_that_takes_much_memory_is_refused(
    verify: Callable[..., Result], files: Files, method: int
) -> None:
    assert_unreadable(verify(make_zip(files, method)), "is neither stored nor deflated")


def test_a_compression_that_is_not_known_is_refused(
    verify: Callable[..., Result], given: Given
) -> None:
    assert_unreadable(verify(patched(given.signed, 8, 97)), "is neither stored nor deflated")


def test_compressed_bytes_that_were_altered_are_told(
    verify: Callable[..., Result], files: Files
) -> None:
    content = bytearray(make_zip(files, zipfile.ZIP_DEFLATED))
    assert verify(bytes(content)).exit_code == 0
    start = content.find(b"event.json") + len(b"event.json")
    content[start + 4 : start + 60] = b"\xff" * 56
    assert_unreadable(verify(bytes(content)))


def test_a_name_that_is_no_text_is_told(verify: Callable[..., Result], files: Files) -> None:
    content = make_zip(files | {"n\N{LATIN SMALL LETTER E WITH ACUTE}": b"x"})
    assert_unreadable(
        verify(content.replace("n\N{LATIN SMALL LETTER E WITH ACUTE}".encode(), b"n\xff\xff"))
    )


@pytest.mark.parametrize("keep", [4, 100, 1000, -1, -30])
def test_a_zip_that_was_cut_off_is_told(
    verify: Callable[..., Result], given: Given, keep: int
) -> None:
    assert_unreadable(verify(given.signed[:keep]))


def test_a_zip_without_files_is_incomplete(verify: Callable[..., Result]) -> None:
    result = verify(make_zip({}), "--json")
    assert (result.exit_code, json.loads(result.stdout)["verdict"]) == (1, "incomplete")


@pytest.mark.parametrize(
    "content", [b"", b"\0" * 100, b"hello", b"[]", b"\xff\xfe", b"[" * 100_000]
)
def test_a_file_that_is_no_event_is_invalid(run: Run, home: Path, content: bytes) -> None:
    (home / "thing").write_bytes(content)
    result = run("verify", "thing", "--json")
    assert (result.exit_code, json.loads(result.stdout)["verdict"]) == (1, "invalid")


def test_a_file_larger_than_any_event_is_refused(run: Run, home: Path) -> None:
    with (home / "thing").open("wb") as file:
        file.truncate(10 * 2**30)
    assert_unreadable(run("verify", "thing"), "a document is larger than")


def test_a_path_that_is_not_there_is_told(run: Run) -> None:
    result = run("verify", "nothing.zip")
    assert result.exit_code == 2
    assert "nothing.zip" in result.stderr


def test_an_empty_folder_is_incomplete(run: Run, home: Path) -> None:
    result = run("verify", home, "--json")
    assert (result.exit_code, json.loads(result.stdout)["verdict"]) == (1, "incomplete")


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("seed", range(4))
def test_whatever_is_altered_there_is_an_answer(
    verify: Callable[..., Result], files: Files, method: int, seed: int
) -> None:
    chance = random.Random(f"{method} {seed}")  # noqa: S311 - the same each time
    content = make_zip(files, method)
    central = content.find(CENTRAL)
    for _ in range(60):
        altered = bytearray(content)
        for _ in range(chance.choice((1, 1, 2, 8))):
            # the headers are where most can go wrong
            low = central if chance.random() < 0.6 else 0
            altered[chance.randrange(low, len(altered))] = chance.randrange(256)
        result = verify(bytes(altered), "--json")
        assert result.exit_code in (0, 1, 2), result.exception
        assert result.exception is None or isinstance(result.exception, SystemExit)
        if result.exit_code == 0:
            with zipfile.ZipFile(io.BytesIO(bytes(altered))) as archive:
                for name in ("event.json", "media.jpg", "signed-package.jws"):
                    assert archive.read(name) == files[name]
