"""``eventserver rebuild-index``: rows are made of storage alone, once, as they were."""

from __future__ import annotations

import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from eventserver_core.db.event_rows import NewEvent
from eventserver_core.domain.audit import AuditHead, checkpoint_package
from eventserver_core.domain.envelope import Envelope, Pack, make_pack, parse_envelope
from eventserver_core.domain.instant import now
from eventserver_core.domain.package import make_statement
from eventserver_core.services.rebuild import DamagedPack, RebuildIndex, Rebuilt
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


class Silent:
    """Follows a rebuild and says nothing."""

    def __init__(self) -> None:
        self.left_out: list[DamagedPack] = []

    def read(self, packs: int) -> None: ...

    def begin_inserting(self, lines: int) -> None: ...

    def inserted(self, lines: int) -> None: ...

    def damaged(self, pack: DamagedPack) -> None:
        self.left_out.append(pack)


def rebuild(run: Run, *arguments: str, status: int = 0) -> dict[str, Any]:
    result = run("rebuild-index", "--json", *arguments)
    assert result.exit_code == status, result.output
    return report(result.stdout)


def forget(kept: Kept, *hashes: str) -> None:
    """Take rows away, as an older backup has them not; with no hash all of them."""
    if not hashes:
        kept.sql("DELETE FROM events")
        kept.sql("DELETE FROM batches")
    for digest_hex in hashes:
        kept.sql("DELETE FROM events WHERE digest_hex = ?", [digest_hex])


def envelope_of(kept: Kept, digest_hex: str) -> Envelope:
    row = kept.row(digest_hex)
    return parse_envelope((kept.objects / row["pack_key"]).read_bytes().rstrip(b"\n"))


def put(services: Services, *envelopes: Envelope) -> Pack:
    pack = make_pack(envelopes)
    services.storage.put(pack.key, pack.content)
    return pack


def unsealed(rows: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {
        digest_hex: row | {"batch_id": None, "leaf_index": None} for digest_hex, row in rows.items()
    }


def test_from_an_empty_database_every_row_comes_back_as_it_was(
    run: Run, taking: Taking, kept: Kept, services: Services
) -> None:
    for _ in range(2):
        taking.plain()
        taking.with_photo()
        taking.signed()
    services.worker().run_until_idle()
    before = kept.rows()
    services.database.close()
    for path in kept.data_dir.glob("eventserver.sqlite3*"):
        path.unlink()
    found = rebuild(run)
    assert (found["packs"], found["packsRead"], found["inserted"]) == (6, 6, 6)
    after = kept.rows()
    for row in (*before.values(), *after.values()):
        row["public_key"] = row["public_key"] and report(row["public_key"])
    assert after == unsealed(before)
    order = [row["received_at"] for row in kept.sql("SELECT received_at FROM events ORDER BY id")]
    assert order == sorted(order)


def test_what_was_anchored_before_is_anchored_again(
    run: Run, taking: Taking, kept: Kept, services: Services
) -> None:
    digest_hex = taking.signed().digest_hex
    services.worker().run_until_idle()
    forget(kept)
    assert rebuild(run)["inserted"] == 1
    services.worker().run_until_idle()
    event = services.events.find(digest_hex)
    assert event is not None
    assert event.status == "confirmed"
    assert services.verifications.proof(event) is not None
    assert run("fsck", "--all").exit_code == 0


def test_a_retry_gets_the_receipt_of_before(run: Run, taking: Taking, kept: Kept) -> None:
    package = make_package()
    before = taking.ingest.ingest_package(package, taking.relay)
    forget(kept)
    rebuild(run)
    after = taking.ingest.ingest_package(package, taking.relay)
    assert after == replace(before, created=False)


def test_with_nothing_missing_nothing_is_read_or_changed(
    run: Run, taking: Taking, kept: Kept, services: Services
) -> None:
    taking.plain()
    taking.signed()
    services.worker().run_until_idle()
    before = kept.sql("SELECT * FROM events")
    found = rebuild(run)
    assert (found["packs"], found["packsRead"], found["inserted"]) == (2, 0, 0)
    assert kept.sql("SELECT * FROM events") == before


def test_only_what_is_missing_is_made_and_twice_is_once(
    run: Run, taking: Taking, kept: Kept, services: Services
) -> None:
    there, missing = taking.plain().digest_hex, taking.with_photo().digest_hex
    services.worker().run_until_idle()
    stays = kept.row(there)
    forget(kept, missing)
    assert rebuild(run)["inserted"] == 1
    assert kept.row(there) == stays
    assert kept.row(missing)["batch_id"] is None
    again = rebuild(run)
    assert (again["inserted"], again["packsRead"]) == (0, 0)


def test_a_dry_run_tells_and_changes_nothing(run: Run, taking: Taking, kept: Kept) -> None:
    package = make_package()
    taking.ingest.ingest_package(package, taking.device)
    taking.signed(package)
    taking.plain()
    forget(kept)
    found = rebuild(run, "--dry-run")
    assert (found["dryRun"], found["inserted"], found["signaturesAdded"]) == (True, 2, 1)
    assert kept.rows() == {}
    told = run("rebuild-index", "--dry-run")
    assert "rows would be made: 2" in told.stdout
    made = rebuild(run)
    assert (made["inserted"], made["signaturesAdded"]) == (2, 1)


def test_of_two_lines_with_one_hash_the_earlier_one_counts(
    run: Run, taking: Taking, kept: Kept, services: Services
) -> None:
    digest_hex = taking.plain().digest_hex
    first = envelope_of(kept, digest_hex)
    for seconds in (5, -5, 9):
        moment = first.received_at + timedelta(seconds=seconds)
        put(services, replace(first, received_at=moment, submitted_by=f"relay{seconds}"))
    forget(kept)
    found = rebuild(run)
    assert (found["lines"], found["inserted"], found["repeated"]) == (4, 1, 3)
    assert kept.row(digest_hex)["submitted_by"] == "relay-5"


def test_a_row_that_is_there_stays_though_an_earlier_line_turns_up(
    run: Run, taking: Taking, kept: Kept, services: Services
) -> None:
    digest_hex = taking.plain().digest_hex
    first, before = envelope_of(kept, digest_hex), kept.row(digest_hex)
    put(services, replace(first, received_at=first.received_at - timedelta(hours=1)))
    found = rebuild(run)
    assert (found["inserted"], found["repeated"]) == (0, 1)
    assert kept.row(digest_hex) == before


def test_of_two_contents_with_one_id_the_earlier_one_counts(
    run: Run, taking: Taking, kept: Kept
) -> None:
    package = make_package()
    first = taking.ingest.ingest_package(package, taking.relay).digest_hex
    forget(kept, first)
    other = taking.ingest.ingest_package(package | {"version": "2.0"}, taking.relay).digest_hex
    forget(kept)
    found = rebuild(run, status=1)
    assert (found["inserted"], found["conflicting"], found["repeated"]) == (1, 1, 0)
    assert list(kept.rows()) == [first]
    (undecided,) = found["undecidedEvents"]
    assert undecided["eventId"] == package["id"]
    assert (undecided["taken"]["hash"], undecided["leftOut"]["hash"]) == (first, other)
    # once there is a row, it says which one was acknowledged
    again = rebuild(run)
    assert (again["conflicting"], again["undecided"]) == (1, 0)


def test_a_signature_that_came_later_comes_back(run: Run, taking: Taking, kept: Kept) -> None:
    package = make_package()
    digest_hex = taking.ingest.ingest_package(package, taking.device).digest_hex
    unsigned = kept.row(digest_hex)
    taking.signed(package)
    signed = kept.row(digest_hex)
    assert signed["signed_package_key"]
    forget(kept)
    assert rebuild(run)["signaturesAdded"] == 1
    names = ("signed_package_key", "device", "received_at", "pack_key")
    assert [kept.row(digest_hex)[n] for n in names] == [signed[n] for n in names]
    # a backup from between the two lacks the signature only
    forget(kept)
    columns = ", ".join(unsigned)
    marks = ", ".join("?" * len(unsigned))
    kept.sql(f"INSERT INTO events ({columns}) VALUES ({marks})", list(unsigned.values()))  # noqa: S608
    assert rebuild(run)["signaturesAdded"] == 1
    assert kept.row(digest_hex)["signed_package_key"] == signed["signed_package_key"]
    assert run("fsck", "--all").exit_code == 0


def test_nobody_becomes_the_author_of_anothers_event(
    run: Run, taking: Taking, kept: Kept, services: Services
) -> None:
    package = make_package()
    digest_hex = taking.ingest.ingest_package(package, taking.relay).digest_hex
    unsigned = kept.row(digest_hex)
    forget(kept)
    taking.signed(package)
    signed = envelope_of(kept, digest_hex)
    put(services, replace(signed, received_at=signed.received_at + timedelta(hours=1)))
    forget(kept)
    assert rebuild(run)["signaturesAdded"] == 0
    row = kept.row(digest_hex)
    assert (row["submitted_by"], row["signed_package_key"]) == (unsigned["submitted_by"], None)


def test_a_pack_of_many_lines_is_read_line_by_line(
    run: Run, taking: Taking, kept: Kept, services: Services
) -> None:
    hashes = [taking.plain().digest_hex for _ in range(3)]
    pack = put(services, *(envelope_of(kept, digest_hex) for digest_hex in hashes))
    for digest_hex in hashes:
        kept.remove(kept.row(digest_hex)["pack_key"])
    forget(kept)
    assert rebuild(run)["inserted"] == 3
    for digest_hex, (offset, length) in zip(hashes, pack.spans, strict=True):
        row = kept.row(digest_hex)
        assert (row["pack_key"], row["pack_offset"], row["pack_length"]) == (
            pack.key,
            offset,
            length,
        )
    assert run("fsck", "--all").exit_code == 0
    forget(kept, hashes[1])
    found = rebuild(run)
    assert (found["inserted"], found["repeated"]) == (1, 2)


@pytest.mark.parametrize("how", ["a bit", "cut off", "empty"])
def test_a_damaged_pack_is_named_and_left_out(
    run: Run, taking: Taking, kept: Kept, how: str
) -> None:
    whole, damaged = taking.plain().digest_hex, taking.plain().digest_hex
    key = kept.row(damaged)["pack_key"]
    content = (kept.objects / key).read_bytes()
    if how == "a bit":
        kept.alter(key)
    else:
        (kept.objects / key).write_bytes(content[:-1] if how == "cut off" else b"")
    forget(kept)
    found = rebuild(run, status=1)
    assert (found["inserted"], found["damaged"]) == (1, 1)
    assert [pack["key"] for pack in found["damagedPacks"]] == [key]
    assert list(kept.rows()) == [whole]
    told = run("rebuild-index")
    assert (told.exit_code, f"✗ {key}" in told.stdout) == (1, True)
    (kept.objects / key).write_bytes(content)
    assert rebuild(run)["inserted"] == 1


def test_what_is_no_envelope_is_named_and_left_out(
    run: Run, taking: Taking, kept: Kept, services: Services
) -> None:
    envelope = envelope_of(kept, taking.plain().digest_hex)
    other = make_package()
    wrong = put(services, replace(envelope, statement=other), envelope)
    mediated = put(services, replace(envelope, media_key="media-" + "0" * 64))
    forget(kept)
    found = rebuild(run, status=1)
    assert found["inserted"] == 1
    assert {pack["key"] for pack in found["damagedPacks"]} == {wrong.key, mediated.key}


@pytest.mark.parametrize(
    ("subject", "role"), [("admin-1", "admin"), ("eventserver", "admin"), ("x", "root")]
)
def test_what_nobody_could_have_handed_in_is_left_out(
    run: Run, taking: Taking, kept: Kept, services: Services, subject: str, role: str
) -> None:
    digest_hex = taking.plain().digest_hex
    envelope = envelope_of(kept, digest_hex)
    kept.remove(kept.row(digest_hex)["pack_key"])
    forget(kept)
    forged = put(services, replace(envelope, submitted_by=subject, submitter_role=role))
    found = rebuild(run, status=1)
    assert (found["inserted"], found["damaged"]) == (0, 1)
    assert forged.key in str(found["damagedPacks"])


def test_nobody_but_the_server_says_what_the_trails_head_was(
    run: Run, taking: Taking, kept: Kept, services: Services
) -> None:
    said = make_statement(checkpoint_package(AuditHead(9, "ab" * 32), now(), str(uuid4())), None)
    envelope = replace(
        envelope_of(kept, taking.plain().digest_hex),
        digest_hex=said.digest_hex,
        statement=said.document,
    )
    forged = put(services, envelope)
    own = put(services, replace(envelope, submitted_by="eventserver", submitter_role="admin"))
    found = rebuild(run, status=1)
    assert [pack["key"] for pack in found["damagedPacks"]] == [forged.key]
    assert kept.row(said.digest_hex)["pack_key"] == own.key


@pytest.mark.parametrize("how", ["another event's", "gone", "changed"])
def test_a_signature_that_does_not_hold_is_left_out_and_the_event_is_not(
    run: Run, taking: Taking, kept: Kept, services: Services, how: str
) -> None:
    signed, other = taking.signed().digest_hex, taking.signed().digest_hex
    envelope = envelope_of(kept, signed)
    assert envelope.signature
    own, others = envelope.signature.object_key, kept.row(other)["signed_package_key"]
    if how == "another event's":
        kept.remove(kept.row(signed)["pack_key"])
        put(services, replace(envelope, signature=replace(envelope.signature, object_key=others)))
    elif how == "gone":
        kept.remove(own)
    else:
        kept.alter(own)
    forget(kept)
    found = rebuild(run, status=1)
    assert (found["inserted"], found["damaged"]) == (2, 1)
    assert "without signature" in str(found["damagedPacks"])
    assert kept.row(signed)["signed_package_key"] is None
    assert kept.row(other)["signed_package_key"] == others
    if how == "changed":
        kept.alter(own)  # turns the bit back
        assert rebuild(run)["signaturesAdded"] == 0
        assert rebuild(run, "--all")["signaturesAdded"] == 1
        assert kept.row(signed)["signed_package_key"] == own
        assert run("fsck", "--all").exit_code == 0


def test_a_database_that_is_away_is_told_with_a_status_of_its_own(run: Run, home: Path) -> None:
    (home / "data").mkdir()
    (home / "data" / "eventserver.sqlite3").write_bytes(b"no database at all" * 1000)
    result = run("rebuild-index")
    assert result.exit_code == 3
    assert "backend_unavailable" in result.stderr


def test_a_server_that_takes_events_meanwhile_is_not_disturbed(
    taking: Taking, kept: Kept, services: Services
) -> None:
    packages = [make_package() for _ in range(20)]
    receipts = [taking.ingest.ingest_package(package, taking.relay) for package in packages]
    forget(kept)

    class Busy(Silent):
        """Sends everything again at the worst moment: after packs were read."""

        def begin_inserting(self, lines: int) -> None:
            assert lines == 20
            for package in packages[:10]:
                taking.ingest.ingest_package(package, taking.relay)

    summary = RebuildIndex(services.storage, services.events).run(Busy())
    assert summary.inserted + summary.repeated == 20
    assert sorted(kept.rows()) == sorted(receipt.digest_hex for receipt in receipts)


def test_more_lines_than_are_sorted_in_at_once(
    taking: Taking, kept: Kept, services: Services
) -> None:
    envelope = envelope_of(kept, taking.plain().digest_hex)
    statements = [make_package() for _ in range(450)]
    envelopes = list(_envelopes(envelope, statements))
    put(services, *envelopes)
    put(services, *(replace(e, submitted_by="later") for e in reversed(envelopes)))
    forget(kept)
    summary = RebuildIndex(services.storage, services.events).run(Silent())
    assert summary == Rebuilt(packs=3, packs_read=3, lines=901, inserted=451, repeated=450)


def _envelopes(like: Envelope, statements: list[dict[str, Any]]) -> Iterator[Envelope]:
    for number, document in enumerate(statements):
        statement = make_statement(document, None)
        moment = like.received_at + timedelta(milliseconds=number)
        yield replace(
            like,
            digest_hex=statement.digest_hex,
            statement=statement.document,
            received_at=moment,
        )


def test_every_column_of_a_row_is_made(taking: Taking, kept: Kept) -> None:
    row = kept.row(taking.signed().digest_hex)
    assert set(NewEvent.__dataclass_fields__) == set(row) - {"id", "batch_id", "leaf_index"}


def test_a_script_can_trust_the_exit_status(
    run_process: Callable[..., subprocess.CompletedProcess[str]], taking: Taking, kept: Kept
) -> None:
    key = kept.row(taking.plain().digest_hex)["pack_key"]
    forget(kept)
    done = run_process("rebuild-index")
    assert (done.returncode, "rows made:          1" in done.stdout) == (0, True)
    forget(kept)
    kept.alter(key)
    assert run_process("rebuild-index").returncode == 1
    with closing(sqlite3.connect(kept.data_dir / "eventserver.sqlite3")) as db:
        assert db.execute("SELECT COUNT(*) FROM events").fetchone() == (0,)
