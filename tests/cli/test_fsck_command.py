"""``eventserver fsck``: what is whole is found whole, and each kind of damage is told."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from eventserver_core.testing.factories import make_package
from eventserver_core.wiring import Services

from .conftest import Run
from .taking import Kept, Taking, report


@pytest.fixture
def taking(services: Services, photo: Path) -> Taking:
    return Taking(services, photo)


@pytest.fixture
def kept(home: Path) -> Kept:
    return Kept(home / "data")


@pytest.fixture
def hashes(taking: Taking, services: Services) -> dict[str, str]:
    """The hashes of three events that are anchored, and of one that waits."""
    found = {
        "plain": taking.plain().digest_hex,
        "with_photo": taking.with_photo().digest_hex,
        "signed": taking.signed().digest_hex,
    }
    services.worker().run_until_idle()
    return found | {"waiting": taking.plain().digest_hex}


def findings(run: Run, *arguments: str, status: int = 1) -> list[dict[str, Any]]:
    result = run("fsck", "--all", "--json", "-", *arguments)
    assert result.exit_code == status, result.output
    found: list[dict[str, Any]] = report(result.stdout)["findings"]
    return found


def only(found: list[dict[str, Any]]) -> tuple[str, str | None, str | None]:
    (finding,) = found
    assert finding["advice"]
    return finding["kind"], finding["eventHash"], finding["object"]


def test_what_is_whole_is_found_whole(run: Run, hashes: dict[str, str]) -> None:
    result = run("fsck", "--all", "--json", "-")
    assert result.exit_code == 0
    found = report(result.stdout)
    assert (found["format"], found["findings"]) == ("eventserver-fsck/1", [])
    checked = found["checked"]
    assert (checked["events"], checked["media"], checked["signedPackages"]) == (4, 2, 1)
    assert checked["batches"] == checked["anchors"] == 3
    pretty = run("fsck", "--all")
    assert pretty.exit_code == 0
    assert "events:          4 of 4" in pretty.stdout


def test_with_nothing_stored_nothing_is_wrong(run: Run) -> None:
    assert run("fsck").exit_code == 0
    assert run("fsck", "--all").exit_code == 0


@pytest.mark.parametrize("which", [["--all"], ["--sample", "5"]])
def test_an_empty_database_over_a_full_storage_is_told(
    run: Run, taking: Taking, kept: Kept, which: list[str]
) -> None:
    taking.plain()
    kept.sql("DELETE FROM events")
    result = run("fsck", *which)
    assert result.exit_code == 1
    assert "rows_missing" in result.stdout
    assert "rebuild-index" in result.stdout


@pytest.mark.parametrize("column", ["pack_key", "media_key", "signed_package_key"])
def test_an_object_that_was_changed_is_told(
    run: Run, hashes: dict[str, str], kept: Kept, column: str
) -> None:
    key = kept.row(hashes["signed"])[column]
    kept.alter(key)
    kind, _, where = only([f for f in findings(run) if f["eventHash"] == hashes["signed"]])
    assert (kind, where) == ("object_changed", key)


def test_a_signed_package_in_its_pack_is_checked_with_the_pack_and_by_what_it_signs(
    run: Run, taking: Taking, kept: Kept
) -> None:
    digest_hex = taking.signed(make_package()).digest_hex
    key = kept.row(digest_hex)["signed_package_key"]
    assert findings(run, status=0) == []
    kept.sql("UPDATE events SET public_key = '{}'")
    assert {finding["kind"] for finding in findings(run)} == {"row_changed", "signature_invalid"}
    kept.alter(key)
    assert only(findings(run)) == ("object_changed", digest_hex, key)


@pytest.mark.parametrize("column", ["pack_key", "media_key", "signed_package_key"])
def test_an_object_that_is_gone_is_told(
    run: Run, hashes: dict[str, str], kept: Kept, column: str
) -> None:
    key = kept.row(hashes["signed"])[column]
    kept.remove(key)
    kind, _, where = only([f for f in findings(run) if f["eventHash"] == hashes["signed"]])
    assert (kind, where) == ("object_missing", key)


def test_it_goes_on_after_damage(run: Run, hashes: dict[str, str], kept: Kept) -> None:
    for kind in ("plain", "with_photo", "waiting"):
        kept.alter(kept.row(hashes[kind])["pack_key"])
    told = {(finding["kind"], finding["eventHash"]) for finding in findings(run)}
    assert told == {("object_changed", hashes[kind]) for kind in ("plain", "with_photo", "waiting")}


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("submitted_by", "'somebody-else'"),
        ("received_at", "received_at + 1"),
        ("event_id", "'00000000-0000-4000-8000-000000000000'"),
        ("media_size", "media_size + 1"),
        ("public_key", "'{}'"),
        ("device", "'device:another'"),
        ("pack_offset", "1"),
        ("pack_key", "'../../etc/passwd'"),
        ("media_key", "NULL"),
        ("leaf_index", "7"),
    ],
)
def test_a_row_that_was_changed_is_told(
    run: Run, hashes: dict[str, str], kept: Kept, column: str, value: str
) -> None:
    digest_hex = hashes["signed"]
    change = f"UPDATE events SET {column} = {value} WHERE digest_hex = ?"  # noqa: S608
    kept.sql(change, [digest_hex])
    found = [f for f in findings(run) if f["eventHash"] == digest_hex]
    assert "row_changed" in {finding["kind"] for finding in found}
    assert all(finding["kind"] in ("row_changed", "signature_invalid") for finding in found)


def test_a_signature_by_another_key_is_told(
    run: Run, hashes: dict[str, str], kept: Kept, taking: Taking
) -> None:
    other = json.loads(kept.row(hashes["signed"])["public_key"])
    other["x"], other["y"] = other["y"], other["x"]
    kept.sql("UPDATE events SET public_key = ? WHERE public_key <> ''", [json.dumps(other)])
    assert "signature_invalid" in {finding["kind"] for finding in findings(run)}


def test_a_hash_that_was_exchanged_in_the_database_is_told_by_bytes_and_by_root(
    run: Run, hashes: dict[str, str], kept: Kept
) -> None:
    other = "ab" * 32
    kept.sql("UPDATE events SET digest_hex = ? WHERE digest_hex = ?", [other, hashes["plain"]])
    told = {(finding["kind"], finding["eventHash"]) for finding in findings(run)}
    assert told == {("row_changed", other), ("batch_changed", None)}


def test_a_leaf_that_was_removed_is_told(run: Run, hashes: dict[str, str], kept: Kept) -> None:
    kept.sql("DELETE FROM events WHERE digest_hex = ?", [hashes["plain"]])
    (finding,) = findings(run)
    assert (finding["kind"], finding["batch"]) == ("batch_changed", 1)
    assert "not all there" in finding["detail"]


def test_tiles_that_were_altered_are_told(run: Run, hashes: dict[str, str], kept: Kept) -> None:
    kept.sql("DELETE FROM merkle_tiles WHERE batch_id = 1")
    assert findings(run, status=0) == []
    kept.sql("UPDATE merkle_tiles SET digests = ? WHERE batch_id = 2", [b"x" * 32])
    (finding,) = findings(run)
    assert (finding["kind"], finding["batch"]) == ("batch_changed", 2)
    assert "merkle_tiles" in finding["detail"]


def test_a_batch_that_was_removed_is_told(run: Run, hashes: dict[str, str], kept: Kept) -> None:
    kept.sql("DELETE FROM batches WHERE id = 1")
    assert only(findings(run))[:2] == ("row_changed", hashes["plain"])


def test_a_root_that_the_chain_does_not_have_is_told(
    run: Run, hashes: dict[str, str], kept: Kept
) -> None:
    ledger = kept.data_dir / "ledger.ndjson"
    ledger.write_bytes(b"".join(ledger.read_bytes().splitlines(keepends=True)[:2]))
    (finding,) = findings(run)
    assert (finding["kind"], finding["batch"]) == ("anchor_missing", 3)
    assert findings(run, "--skip-chain", status=0) == []


def test_an_anchor_that_is_elsewhere_is_told(run: Run, hashes: dict[str, str], kept: Kept) -> None:
    kept.sql("UPDATE batches SET block_number = 77 WHERE id = 2")
    (finding,) = findings(run)
    assert (finding["kind"], finding["batch"]) == ("anchor_changed", 2)


def test_a_chain_that_cannot_be_asked_is_not_damage(
    run: Run, hashes: dict[str, str], kept: Kept
) -> None:
    (kept.data_dir / "ledger.ndjson").write_text("this is no ledger\n" * 100)
    found = findings(run, status=3)
    assert {finding["kind"] for finding in found} == {"not_checked"}
    assert len(found) == 3


def test_damage_counts_more_than_what_could_not_be_checked(
    run: Run, hashes: dict[str, str], kept: Kept
) -> None:
    (kept.data_dir / "ledger.ndjson").write_text("this is no ledger\n" * 100)
    kept.remove(kept.row(hashes["plain"])["pack_key"])
    kinds = {finding["kind"] for finding in findings(run, status=1)}
    assert kinds == {"not_checked", "object_missing"}


def test_a_database_that_is_away_is_not_damage(run: Run, home: Path) -> None:
    (home / "data").mkdir()
    (home / "data" / "eventserver.sqlite3").write_bytes(b"no database at all" * 1000)
    result = run("fsck")
    assert result.exit_code == 3
    assert "backend_unavailable" in result.stderr


def test_a_sample_checks_so_many_events_and_their_whole_batches(
    run: Run, hashes: dict[str, str], kept: Kept
) -> None:
    result = run("fsck", "--sample", "2", "--json", "-")
    assert result.exit_code == 0
    found = report(result.stdout)
    assert (found["sample"], found["inScope"], found["checked"]["events"]) == (2, 2, 2)
    for digest_hex in hashes.values():
        kept.alter(kept.row(digest_hex)["pack_key"])
    result = run("fsck", "--sample", "1", "--json", "-")
    assert result.exit_code == 1
    (finding,) = report(result.stdout)["findings"]
    assert finding["eventHash"] in hashes.values()


def test_only_what_came_since_a_moment_can_be_checked(
    run: Run, hashes: dict[str, str], kept: Kept
) -> None:
    kept.sql("UPDATE events SET received_at = 0 WHERE digest_hex = ?", [hashes["plain"]])
    assert findings(run, "--since", "2001-01-01", status=0) == []
    assert len(findings(run, "--since", "1969-12-31T00:00:00Z")) == 1
    assert run("fsck", "--since", "yesterday").exit_code == 2


def test_a_report_can_be_written_beside_what_is_printed(
    run: Run, hashes: dict[str, str], kept: Kept, home: Path
) -> None:
    key = kept.row(hashes["plain"])["pack_key"]
    kept.alter(key)
    result = run("fsck", "--all", "--json", "report.json")
    assert result.exit_code == 1
    assert f"object_changed, event {hashes['plain']}, {key}" in result.stdout
    assert "put the object back" in result.stdout
    written = report((home / "report.json").read_text())
    assert [finding["object"] for finding in written["findings"]] == [key]


def test_all_and_a_sample_exclude_each_other(run: Run) -> None:
    assert run("fsck", "--all", "--sample", "3").exit_code == 2


def test_a_signature_that_came_later_is_no_difference(
    run: Run, taking: Taking, kept: Kept, photo: Path
) -> None:
    package = make_package(photo)
    first = taking.ingest.ingest_package(package, taking.device)
    again = taking.signed(package)
    assert (first.created, again.created) == (True, False)
    assert kept.row(first.digest_hex)["signed_package_key"]
    assert findings(run, status=0) == []


def test_a_script_can_trust_the_exit_status(
    run_process: Callable[..., subprocess.CompletedProcess[str]],
    hashes: dict[str, str],
    kept: Kept,
) -> None:
    assert run_process("fsck", "--all").returncode == 0
    kept.alter(kept.row(hashes["plain"])["pack_key"])
    done = run_process("fsck", "--all", "--json", "-")
    assert done.returncode == 1
    assert report(done.stdout)["damage"] == 1
    assert "Traceback" not in done.stderr
