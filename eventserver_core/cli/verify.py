"""``eventserver verify``"""

from __future__ import annotations

import json
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import IO, Any

import click
from rich.console import Console

from eventserver_core.cli.context import EXIT_FAILURE
from eventserver_core.cli.tables import make_table, plain
from eventserver_core.domain.evidence import (
    EVENT_FILE,
    MEDIA_STEM,
    PROOF_FILE,
    PUBLIC_KEY_FILE,
    SIGNED_PACKAGE_FILE,
    Evidence,
    Report,
    check_evidence,
)
from eventserver_core.domain.media import EXTENSIONS
from eventserver_core.domain.proof import Outcome, Step, Verdict, read_anchor
from eventserver_core.errors import ConfigurationError

EXIT_UNREADABLE = 2

_CHUNK_SIZE = 256 * 1024
_MAX_DOCUMENT = 32 * 1024 * 1024
_ZIP_START = b"PK\x03\x04"
_MEDIA_FILES = frozenset(MEDIA_STEM + suffix for suffix in EXTENSIONS.values())
_COLORS = {Verdict.VALID: "green", Verdict.PENDING: "yellow", Verdict.INVALID: "red"}
_MARKS = {Outcome.PASSED: "[green]passed[/green]", Outcome.FAILED: "[red]FAILED[/red]"}
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_UNREADABLE = (
    OSError,
    EOFError,
    RuntimeError,
    ValueError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)
"""What reading a file raises, and what reading a ZIP does: encrypted, cut off, altered."""


class _NoEvidenceError(Exception):
    """The path holds no evidence."""


@click.command("verify")
@click.argument("path", type=click.Path(path_type=Path, exists=True))
@click.option(
    "--proof",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="The proof.  [default: proof.json inside, or beside a package]",
)
@click.option("--rpc-url", metavar="URL", help="The node to ask about a proof on an EVM chain.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(path: Path, proof: Path | None, rpc_url: str | None, as_json: bool) -> None:
    """Check evidence, offline: a ZIP, a folder with its files, or a package with its proof.

    Says which step failed. The verdicts: valid, pending (not anchored yet), incomplete (something
    is missing), unsupported (a format this doesn't know), invalid (something is wrong). Exit
    status 0 only for valid, 2 for what can't be read as evidence, 1 for every other verdict.
    """
    with ExitStack() as stack:
        try:
            evidence = _open(path, proof, stack)
            ask = partial(_ask_chain, rpc_url) if rpc_url else None
            report = check_evidence(evidence, ask)
        except (_NoEvidenceError, *_UNREADABLE) as ex:
            click.echo(f"{path}: cannot be read as evidence: {ex}", err=True)
            sys.exit(EXIT_UNREADABLE)
    _print(report, as_json)
    sys.exit(0 if report.verdict is Verdict.VALID else EXIT_FAILURE)


def _open(path: Path, proof: Path | None, stack: ExitStack) -> Evidence:
    if path.is_dir():
        return _from_folder(path, proof, stack)
    if zipfile.is_zipfile(path):
        archive = stack.enter_context(zipfile.ZipFile(path))
        names = archive.namelist()
        if len(set(names)) != len(names):
            raise _NoEvidenceError("the ZIP has a file twice")
        return _from_names(names, lambda name: stack.enter_context(_member(archive, name)), proof)
    with path.open("rb") as file:
        if file.read(len(_ZIP_START)) == _ZIP_START:
            raise _NoEvidenceError("the ZIP is cut off or damaged")
    if path.name == EVENT_FILE:
        return _from_folder(path.parent, proof, stack)
    proof = proof or path.with_name(PROOF_FILE)
    return Evidence(
        event=_read(path.open("rb")),
        media=None,
        signed_package=None,
        public_key=None,
        proof=_read(proof.open("rb")) if proof.is_file() else None,
    )


def _member(archive: zipfile.ZipFile, name: str) -> IO[bytes]:
    if archive.getinfo(name).compress_type not in _METHODS:
        # the others may ask for gigabytes of memory
        raise _NoEvidenceError(f"{name} is neither stored nor deflated")
    return archive.open(name)


def _from_folder(folder: Path, proof: Path | None, stack: ExitStack) -> Evidence:
    names = [entry.name for entry in folder.iterdir() if entry.is_file()]
    return _from_names(names, lambda name: stack.enter_context((folder / name).open("rb")), proof)


def _from_names(
    names: Collection[str], opened: Callable[[str], IO[bytes]], proof: Path | None
) -> Evidence:
    """Read the files of an evidence package by their exact names; no other name is looked at."""

    def document(name: str) -> bytes | None:
        return _read(opened(name)) if name in names else None

    media = sorted(_MEDIA_FILES.intersection(names))
    if len(media) > 1:
        raise _NoEvidenceError(f"there is more than one media file: {', '.join(media)}")
    return Evidence(
        event=document(EVENT_FILE),
        media=_chunks(opened(media[0])) if media else None,
        signed_package=document(SIGNED_PACKAGE_FILE),
        public_key=document(PUBLIC_KEY_FILE),
        proof=_read(proof.open("rb")) if proof else document(PROOF_FILE),
    )


def _read(stream: IO[bytes]) -> bytes:
    with stream:
        content = stream.read(_MAX_DOCUMENT + 1)
    if len(content) > _MAX_DOCUMENT:
        raise _NoEvidenceError(f"a document is larger than {_MAX_DOCUMENT} bytes")
    return content


def _chunks(stream: IO[bytes]) -> Iterator[bytes]:
    return iter(lambda: stream.read(_CHUNK_SIZE), b"")


def _ask_chain(rpc_url: str, proof: Mapping[str, Any]) -> Step:
    anchor = read_anchor(proof)
    if anchor.chain == "ledger":
        detail = (
            "--rpc-url does not apply: the embedded ledger has no node to ask; it shows what its "
            "server said, and nothing more"
        )
        return Step("chain", Outcome.SKIPPED, detail)
    from eventserver_core.plugins import Plugins

    missing = (
        f"not asked: this needs the plugin for chain = {anchor.chain}; run: "
        f"pip install eventserver-chain-{anchor.chain}"
    )
    try:
        plugins = Plugins({"chain": anchor.chain})
    except ConfigurationError:
        return Step("chain", Outcome.MISSING, missing)
    root = bytes.fromhex(proof["merkle"]["root"])
    try:
        step = plugins.check_anchor(anchor, root, rpc_url)
    except Exception as ex:  # noqa: BLE001 - a plugin's fault says nothing about the evidence
        detail = f"not asked: the plugin for chain = {anchor.chain} failed: {type(ex).__name__}"
        return Step("chain", Outcome.MISSING, detail)
    return step or Step("chain", Outcome.MISSING, missing)


def _print(report: Report, as_json: bool) -> None:
    if as_json:
        steps = [
            {"name": s.name, "outcome": s.outcome.value, "detail": s.detail} for s in report.steps
        ]
        click.echo(json.dumps({"verdict": report.verdict.value, "steps": steps}, indent=2))
        return
    table = make_table("step", "", "what was found")
    for step in report.steps:
        mark = _MARKS.get(step.outcome, step.outcome.value)
        table.add_row(plain(step.name), mark, plain(step.detail))
    console = Console()
    console.print(table)
    color = _COLORS.get(report.verdict, "yellow")
    console.print(f"verdict: [bold {color}]{report.verdict.value}[/]")
