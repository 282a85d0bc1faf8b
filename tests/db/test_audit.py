"""The trail: one chain without gaps or forks, however many append, and no change unnoticed."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from eventserver_core.db.audit import AuditRepository, Checkpoint
from eventserver_core.db.connection import Database
from eventserver_core.domain.audit import FIRST_PREVIOUS, AuditEntry, AuditHead, chain_faults
from eventserver_core.services.audit import AuditTrail
from eventserver_core.testing.clock import ManualClock

from .network_rows import DIGEST, append, append_many
from .rows import NOW, go_on, output

START = AuditHead(0, FIRST_PREVIOUS)
Faults = Callable[[], list[str]]


@pytest.fixture
def entries(database: Database) -> AuditRepository:
    return AuditRepository(database)


@pytest.fixture
def trail(entries: AuditRepository, clock: ManualClock) -> AuditTrail:
    return AuditTrail(entries, clock.now, tuple)


@pytest.fixture
def faults(trail: AuditTrail) -> Faults:
    return lambda: list(trail.faults())


@pytest.fixture
def execute(database: Database) -> Callable[..., None]:
    """Do to the rows what only somebody with the database's password can."""

    def run(*statements: str) -> None:
        with database.transaction() as peewee:
            for statement in statements:
                peewee.execute_sql(statement)

    return run


def digest_of(entry: AuditEntry, **changes: Any) -> str:
    """Return an entry's digest as anyone can compute it: no package of ours takes part.

    ``json`` writes what RFC 8785 does, where names are ASCII and numbers are small and whole.
    """
    document = {
        "sequence": entry.sequence,
        "at": entry.at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{entry.at.microsecond // 1000:03}Z",
        "actor": entry.actor,
        "role": entry.role,
        "action": entry.action,
        "target": entry.target,
        "details": entry.details,
        "requestId": entry.request_id,
        "previousDigest": entry.previous_digest_hex,
    } | changes
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


class TestAppending:
    def test_at_first_there_is_a_head_and_nothing_else(
        self, entries: AuditRepository, faults: Faults
    ) -> None:
        assert entries.head() == START
        assert entries.entries(0, 10) == list(entries.all_entries()) == []
        assert entries.find(1) is None
        assert entries.last_checkpoint() is None
        assert faults() == []

    def test_an_entry_is_read_as_it_was_written(self, entries: AuditRepository) -> None:
        details = {
            "text": "«é» 🦊\0\n",
            "list": [1, -2.5, True, None],
            "object": {"b": {}, "a": []},
        }
        written = append(entries, details=details, request_id=None)
        assert entries.find(1) == written
        assert (written.details, written.request_id) == (details, None)
        assert list(chain_faults([written], START)) == []

    def test_a_moment_is_kept_to_the_millisecond(self, entries: AuditRepository) -> None:
        written = append(entries, at=NOW + timedelta(microseconds=1999))
        assert written.at == NOW + timedelta(milliseconds=1)
        assert entries.find(1) == written

    def test_each_has_the_digest_of_the_one_before(self, entries: AuditRepository) -> None:
        written = append_many(entries, 5)
        assert [entry.sequence for entry in written] == [1, 2, 3, 4, 5]
        assert [e.previous_digest_hex for e in written] == [
            FIRST_PREVIOUS,
            *(entry.digest_hex for entry in written[:-1]),
        ]
        assert [digest_of(entry) for entry in written] == [entry.digest_hex for entry in written]
        assert entries.head() == AuditHead(5, written[-1].digest_hex)

    def test_pages_follow_the_numbers(self, entries: AuditRepository) -> None:
        written = append_many(entries, 7)
        assert entries.entries(0, 3) == written[:3]
        assert entries.entries(3, 3) == written[3:6]
        assert entries.entries(6, 3) == written[6:]
        assert list(entries.all_entries(4)) == written[4:]
        assert entries.find(7) == written[6]
        assert entries.find(8) is None

    def test_what_is_rolled_back_leaves_no_entry_and_no_gap(
        self, database: Database, entries: AuditRepository, faults: Faults
    ) -> None:
        first = append(entries)
        with pytest.raises(RuntimeError), database.transaction():
            append(entries, 1)
            append(entries, 2)
            raise RuntimeError
        assert entries.head() == AuditHead(1, first.digest_hex)
        second = append(entries, 3)
        assert list(entries.all_entries()) == [first, second]
        assert second.sequence == 2
        assert faults() == []

    def test_inside_another_transaction_it_stands_or_falls_with_it(
        self, database: Database, entries: AuditRepository, faults: Faults
    ) -> None:
        with database.transaction(), entries.held(), entries.held():
            written = append_many(entries, 2)
            # an inner one falls alone
            with pytest.raises(RuntimeError), database.transaction():
                append(entries, 9)
                raise RuntimeError
            written.append(append(entries, 2))
        assert list(entries.all_entries()) == written
        assert [entry.sequence for entry in written] == [1, 2, 3]
        assert faults() == []

    def test_nobody_appends_while_it_is_held(
        self, entries: AuditRepository, at_once: Callable[..., list[Any]]
    ) -> None:
        def look_and_append(number: int) -> int:
            with entries.held():
                seen = len(entries.entries(0, 100))
                append(entries, number)
                return seen

        results = at_once([lambda n=n: look_and_append(n) for n in range(12)])
        assert sorted(results) == list(range(12))

    def test_many_threads_make_one_chain(
        self, entries: AuditRepository, at_once: Callable[..., list[Any]], faults: Faults
    ) -> None:
        results = at_once([lambda: append_many(entries, 10) for _ in range(8)])
        written = sorted((e for many in results for e in many), key=lambda e: e.sequence)
        assert [entry.sequence for entry in written] == list(range(1, 81))
        assert list(entries.all_entries()) == written
        assert faults() == []

    def test_many_processes_make_one_chain(
        self,
        entries: AuditRepository,
        url: str,
        start_python: Callable[..., subprocess.Popen[str]],
        faults: Faults,
    ) -> None:
        source = """
import sys
from pathlib import Path
from eventserver_core.db.audit import AuditRepository
from eventserver_core.db.connection import Database
from eventserver_core.domain import instant
from eventserver_core.services.audit import WORKER, AuditTrail

database = Database(sys.argv[1], Path("unused"))
trail = AuditTrail(AuditRepository(database), instant.now, tuple)
sys.stdin.readline()
for number in range(20):
    try:
        with trail.changing():
            trail.record(WORKER, "counted", sys.argv[2], number=number)
            if number % 4 == 3:
                raise RuntimeError("rolled back")
    except RuntimeError:
        pass
"""
        processes = [start_python(source, url, f"process-{n}") for n in range(4)]
        go_on(*processes)
        for process in processes:
            output(process)
        written = list(entries.all_entries())
        assert [entry.sequence for entry in written] == list(range(1, 61))
        for name in {entry.target for entry in written}:
            numbers = [entry.details["number"] for entry in written if entry.target == name]
            assert numbers == [number for number in range(20) if number % 4 != 3]
        assert faults() == []


class TestCheckpoints:
    def test_they_are_read_in_the_order_of_their_heads(
        self, entries: AuditRepository, soon: Callable[[float], datetime]
    ) -> None:
        heads = []
        for number in range(4):
            append(entries, number)
            heads.append(entries.head())
        for number in (2, 0, 3):
            entries.add_checkpoint(heads[number], f"{number}" * 64, soon(number))
        made = [Checkpoint(heads[number], f"{number}" * 64, soon(number)) for number in (0, 2, 3)]
        assert entries.checkpoints() == made
        assert entries.checkpoints(1, 1) == [made[1]]
        assert entries.checkpoints(4) == []
        assert entries.last_checkpoint() == made[2]

    def test_the_first_word_stays(
        self, entries: AuditRepository, soon: Callable[[float], datetime]
    ) -> None:
        append(entries)
        entries.add_checkpoint(entries.head(), DIGEST, NOW)
        entries.add_checkpoint(AuditHead(1, "cd" * 32), "cd" * 32, soon(5))
        assert entries.checkpoints() == [Checkpoint(entries.head(), DIGEST, NOW)]

    def test_a_page_of_entries_comes_with_theirs(
        self, entries: AuditRepository, trail: AuditTrail
    ) -> None:
        assert trail.page(0, 10) == ([], START, [])
        for number in range(6):
            append(entries, number)
            entries.add_checkpoint(entries.head(), f"{number}" * 64, NOW)
        page, head, checkpoints = trail.page(2, 2)
        assert [entry.sequence for entry in page] == [3, 4]
        assert head == entries.head()
        assert [found.head.sequence for found in checkpoints] == [3, 4]
        assert trail.page(6, 10) == ([], head, [])


CHANGES = {
    "at": "at + 1",
    "actor": "'admin-2'",
    "role": "'operator'",
    "action": "'relay_suspended'",
    "target": "'another'",
    "details": '\'{"number": 3, "reason": null}\'',
    "request_id": "NULL",
    "previous_digest": f"'{DIGEST}'",
    "digest": f"'{DIGEST}'",
}
FIRST, MIDDLE, LAST, COUNT = 1, 3, 5, 5


class TestWhateverIsChangedIsFound:
    @pytest.fixture(autouse=True)
    def written(self, entries: AuditRepository, faults: Faults) -> list[AuditEntry]:
        made = append_many(entries, COUNT)
        assert faults() == []
        return made

    @pytest.mark.parametrize("sequence", [FIRST, MIDDLE, LAST])
    @pytest.mark.parametrize("column", sorted(CHANGES))
    def test_a_member(
        self, execute: Callable[..., None], faults: Faults, sequence: int, column: str
    ) -> None:
        change = CHANGES[column]
        execute(f"UPDATE audit_entries SET {column} = {change} WHERE sequence = {sequence}")  # noqa: S608
        assert any(str(sequence) in fault for fault in faults())

    @pytest.mark.parametrize("details", ["", "{", "[]", '"text"', "null", "7", '{"a": 1e999}'])
    def test_details_that_are_no_json_object_any_more(
        self, execute: Callable[..., None], faults: Faults, details: str
    ) -> None:
        execute(f"UPDATE audit_entries SET details = '{details}' WHERE sequence = {MIDDLE}")  # noqa: S608
        assert any(str(MIDDLE) in fault for fault in faults())

    @pytest.mark.parametrize("sequence", [FIRST, MIDDLE, LAST])
    def test_a_removed_entry(
        self, execute: Callable[..., None], faults: Faults, sequence: int
    ) -> None:
        execute(f"DELETE FROM audit_entries WHERE sequence = {sequence}")  # noqa: S608
        assert faults()

    def test_all_entries_removed(self, execute: Callable[..., None], faults: Faults) -> None:
        execute("DELETE FROM audit_entries")
        assert faults()

    @pytest.mark.parametrize(("one", "other"), [(1, 2), (2, 4), (4, 5)])
    def test_two_entries_swapped(
        self, execute: Callable[..., None], faults: Faults, one: int, other: int
    ) -> None:
        execute(*moved(one, -1), *moved(other, one), *moved(-1, other))
        assert faults()

    @pytest.mark.parametrize("consistent", [False, True])
    def test_an_entry_put_in_between(
        self,
        execute: Callable[..., None],
        faults: Faults,
        written: list[AuditEntry],
        consistent: bool,
    ) -> None:
        """Even one that follows the one before it: the one after it doesn't follow it."""
        execute(*moved(5, 6), *moved(4, 5), *copied(3, 4))
        if consistent:
            before = written[MIDDLE - 1]
            digest = digest_of(before, sequence=4, previousDigest=before.digest_hex)
            execute(
                f"UPDATE audit_entries SET previous_digest = '{before.digest_hex}', "  # noqa: S608
                f"digest = '{digest}' WHERE sequence = 4"
            )
        assert faults()

    @pytest.mark.parametrize(
        "change",
        [
            f"digest = '{DIGEST}'",
            "sequence = sequence + 1",
            "sequence = sequence - 1",
            "sequence = 0",
            "sequence = 4, digest = (SELECT digest FROM audit_entries WHERE sequence = 4)",
            f"sequence = 0, digest = '{FIRST_PREVIOUS}'",
        ],
    )
    def test_another_head(self, execute: Callable[..., None], faults: Faults, change: str) -> None:
        execute(f"UPDATE audit_head SET {change}")  # noqa: S608
        assert faults()

    def test_everything_rewritten_after_a_checkpoint(
        self,
        entries: AuditRepository,
        execute: Callable[..., None],
        faults: Faults,
        written: list[AuditEntry],
    ) -> None:
        entries.add_checkpoint(entries.head(), DIGEST, NOW)
        append(entries, COUNT)
        rewrite(execute, list(entries.all_entries()), MIDDLE)
        assert faults() == [f"event {DIGEST}, which anchors the trail, is on no record"]

    def test_everything_rewritten_with_nothing_anchored_is_all_that_is_not(
        self, execute: Callable[..., None], faults: Faults, written: list[AuditEntry]
    ) -> None:
        """Which is what checkpoints are for."""
        rewrite(execute, written, MIDDLE)
        assert faults() == []

    def test_the_end_cut_off_after_a_checkpoint(
        self, entries: AuditRepository, execute: Callable[..., None], faults: Faults
    ) -> None:
        entries.add_checkpoint(entries.head(), DIGEST, NOW)
        execute(
            "DELETE FROM audit_entries WHERE sequence = 5",
            "UPDATE audit_head SET sequence = 4, "
            "digest = (SELECT digest FROM audit_entries WHERE sequence = 4)",
        )
        assert faults() == [f"entry 5, anchored as event {DIGEST}, is missing"]


def moved(sequence: int, to: int) -> list[str]:
    return [f"UPDATE audit_entries SET sequence = {to} WHERE sequence = {sequence}"]  # noqa: S608


def copied(sequence: int, to: int) -> list[str]:
    columns = "at, actor, role, action, target, details, request_id, previous_digest, digest"
    return [
        f"INSERT INTO audit_entries (sequence, {columns}) "  # noqa: S608
        f"SELECT {to}, {columns} FROM audit_entries WHERE sequence = {sequence}"
    ]


def rewrite(execute: Callable[..., None], written: list[AuditEntry], sequence: int) -> None:
    """Change an entry's actor, and every digest that follows from it."""
    previous, statements = FIRST_PREVIOUS, []
    for entry in written:
        changes = {"previousDigest": previous}
        if entry.sequence == sequence:
            changes["actor"] = "somebody else"
            statements.append(
                f"UPDATE audit_entries SET actor = 'somebody else' WHERE sequence = {sequence}"  # noqa: S608
            )
        digest = digest_of(entry, **changes)
        statements.append(
            f"UPDATE audit_entries SET previous_digest = '{previous}', digest = '{digest}' "  # noqa: S608
            f"WHERE sequence = {entry.sequence}"
        )
        previous = digest
    execute(*statements, f"UPDATE audit_head SET digest = '{previous}'")  # noqa: S608
