"""What is published about proofs, against the code: the page, the examples, the vectors."""

from __future__ import annotations

import base64
import json
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from eventserver_core.domain import canonical, evidence, merkle, proof
from eventserver_core.domain.proof import Verdict

from .samples import ROOT, places, proof_of, vectors

PAGE = (ROOT / "docs" / "proof-format.md").read_text("utf-8")
EXAMPLE = ROOT / "examples" / "check_proof.py"
HASHES = vectors("event_hash.json")["vectors"]
CASES = vectors("proof.json")["cases"]
UNSIGNED = [case for case in CASES if "signedPackage" not in case]
BY_NAME = {case["name"]: case for case in CASES}


def blocks(language: str) -> list[str]:
    """Return the page's code blocks in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.M | re.S)


@pytest.mark.parametrize(
    ("name", "language"), [("check_proof.py", "python"), ("check_proof.mjs", "js")]
)
def test_the_page_shows_the_example_as_it_is(name: str, language: str) -> None:
    assert blocks(language) == [(ROOT / "examples" / name).read_text("utf-8")]


@pytest.mark.parametrize("vector", HASHES, ids=lambda vector: vector["name"])
def test_the_page_has_every_event_hash(vector: dict[str, Any]) -> None:
    assert f"| {vector['name']} | `{vector['hash']}` |" in PAGE


@pytest.mark.parametrize("name", ["numbers", "no media"])
def test_the_page_has_the_statement_in_full(name: str) -> None:
    (vector,) = (vector for vector in HASHES if vector["name"] == name)
    assert vector["statement"] + "\n" in blocks("json")


def test_the_page_has_the_numbers_as_they_were_sent() -> None:
    (vector,) = (vector for vector in HASHES if vector["name"] == "numbers")
    sent = re.search(r'"numbers":(\[.*?\])', vector["package"])
    assert sent is not None
    assert sent[1] + "\n" in blocks("json")


@pytest.mark.parametrize(
    "case", vectors("event_hash.json")["refused"], ids=lambda case: case["name"]
)
def test_the_page_has_every_refused_package(case: dict[str, Any]) -> None:
    assert f"| {case['name']} | `" in PAGE


@pytest.mark.parametrize("case", vectors("merkle.json")["roots"], ids=lambda c: str(c["treeSize"]))
def test_the_page_has_every_merkle_root(case: dict[str, Any]) -> None:
    assert f"| {case['treeSize']} | `{case['root']}` |" in PAGE


def test_the_page_describes_every_member_of_a_proof() -> None:
    for chain in ("ledger", "evm"):
        for place in places(proof_of("ab" * 32, chain=chain)):
            name = ".".join(str(token) for token in place if isinstance(token, str))
            if name not in ("merkle", "anchor"):
                assert f"| `{name}` |" in PAGE


def test_the_page_names_the_files_and_the_verdicts() -> None:
    for name in ("EVENT_FILE", "PROOF_FILE", "SIGNED_PACKAGE_FILE", "PUBLIC_KEY_FILE"):
        assert f"| `{getattr(evidence, name)}` |" in PAGE
    for word in Verdict:
        assert f"| `{word}` |" in PAGE


def test_the_page_has_the_limits_that_the_code_has() -> None:
    assert f"at most {canonical.MAX_DEPTH} levels deep" in PAGE
    assert f"at most {canonical.MAX_VALUES} commas and opening brackets" in PAGE
    assert f"more than {merkle.MAX_PATH_LENGTH} steps" in PAGE
    assert f"`{proof.FORMAT}`" in PAGE
    assert f"`{merkle.ALGORITHM}`" in PAGE


def test_the_vectors_are_ascii_so_that_no_editor_changes_them() -> None:
    files = sorted((ROOT / "tests" / "vectors").glob("*.json"))
    assert [path.name for path in files] == ["event_hash.json", "merkle.json", "proof.json"]
    assert all(path.read_bytes().isascii() for path in files)


@pytest.mark.parametrize("case", UNSIGNED, ids=lambda case: case["name"])
def test_the_python_example_comes_to_the_same_verdict(case: dict[str, Any]) -> None:
    check = runpy.run_path(str(EXAMPLE))["check"]
    media = base64.b64decode(case["mediaBase64"]) if "mediaBase64" in case else None
    try:
        found = check(case["event"].encode(), case["proof"], media).split(":")[0]
    except (KeyError, TypeError):
        # the page says so: what lacks a member, or is no object at all, stops it
        assert case["name"] in ("no block hash", "no hash", "no format", "not a proof")
    else:
        assert found == case["verdict"]


def run_example(folder: Path, case: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    (folder / "event.json").write_bytes(case["event"].encode())
    (folder / "proof.json").write_text(json.dumps(case["proof"]))
    names = ["event.json", "proof.json"]
    if "mediaBase64" in case:
        (folder / "media.jpg").write_bytes(base64.b64decode(case["mediaBase64"]))
        names.append("media.jpg")
    return subprocess.run(
        [sys.executable, "-I", str(EXAMPLE), *names],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("name", "status"),
    [("an event with its photo", 0), ("another photo", 1), ("the anchor taken out", 1)],
)
def test_the_python_example_runs_on_the_files_of_an_evidence_package(
    tmp_path: Path, name: str, status: int
) -> None:
    done = run_example(tmp_path, BY_NAME[name])
    assert done.stderr == ""
    assert done.stdout.startswith(BY_NAME[name]["verdict"] + ":")
    assert done.returncode == status


def test_the_python_example_needs_nothing_but_the_standard_library() -> None:
    imported = re.findall(r"^(?:import|from) (\w+)", EXAMPLE.read_text("utf-8"), re.M)
    assert imported
    assert set(imported) <= sys.stdlib_module_names
