"""Who did what is written down, and the trail's head becomes an event like any other."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import structlog

from eventserver_core.backends.auth import Role
from eventserver_core.backends.storage import StoredObject
from eventserver_core.builtin.storage_filesystem import FilesystemStorage
from eventserver_core.db.audit import AuditRepository
from eventserver_core.db.batches import BatchRepository
from eventserver_core.db.connection import Database
from eventserver_core.db.events import EventRepository
from eventserver_core.domain.audit import checkpoint_package
from eventserver_core.domain.envelope import parse_envelope
from eventserver_core.domain.package import make_statement
from eventserver_core.errors import BackendUnavailableError
from eventserver_core.services.audit import COMMAND_LINE, WORKER, AuditTrail, CheckpointAudit
from eventserver_core.services.ingest import IngestEvents, Receipt
from eventserver_core.testing.clock import ManualClock
from tests.db.network_rows import append, credentials
from tests.db.rows import PATIENCE

from .ingest.sending import LIMITS, RecordingEvents
from .scripted_chain import Crash

INTERVAL = timedelta(seconds=60)
Records = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def entries(database: Database) -> AuditRepository:
    return AuditRepository(database)


@pytest.fixture
def trail(entries: AuditRepository, events: EventRepository, clock: ManualClock) -> AuditTrail:
    return AuditTrail(entries, clock.now, lambda: events.submitted_by("eventserver"))


class TestRecording:
    @pytest.mark.parametrize("role", Role)
    def test_it_says_who_comes_with_which_certificate(self, trail: AuditTrail, role: Role) -> None:
        made = trail.record(credentials("somebody", role), "relay_renewed", "relay-1", serial="0a")
        assert (made.actor, made.role) == ("somebody", role.value)
        assert (made.action, made.target, made.details) == (
            "relay_renewed",
            "relay-1",
            {"serial": "0a"},
        )

    def test_whoever_needs_no_certificate_is_an_operator(self, trail: AuditTrail) -> None:
        made = [trail.record(actor, "swept", "m-1") for actor in (COMMAND_LINE, WORKER)]
        assert [(e.actor, e.role) for e in made] == [
            ("command-line", "operator"),
            ("worker", "operator"),
        ]

    def test_the_request_is_named_where_there_is_one(self, trail: AuditTrail) -> None:
        assert trail.record(WORKER, "swept", "m-1").request_id is None
        with structlog.contextvars.bound_contextvars(request_id="request-1"):
            assert trail.record(WORKER, "swept", "m-1").request_id == "request-1"

    def test_a_target_that_is_too_long_is_cut(self, trail: AuditTrail) -> None:
        assert trail.record(WORKER, "revoked", "é" * 300).target == "é" * 255
        assert not list(trail.faults())

    def test_what_is_undone_was_never_written_down(
        self, trail: AuditTrail, entries: AuditRepository
    ) -> None:
        with pytest.raises(Crash), trail.changing():
            trail.record(WORKER, "swept", "m-1")
            raise Crash
        assert entries.head().sequence == 0


class AwayStorage:
    """A real storage, and whether it can be reached."""

    def __init__(self, storage: FilesystemStorage) -> None:
        self._storage = storage
        self.away = True

    def put(self, key: str, content: bytes) -> StoredObject:
        if self.away:
            raise BackendUnavailableError("storage=filesystem", "away")
        return self._storage.put(key, content)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)


class TestCheckpoints:
    @pytest.fixture
    def start(
        self,
        storage: FilesystemStorage,
        database: Database,
        entries: AuditRepository,
        clock: ManualClock,
    ) -> Callable[..., CheckpointAudit]:
        def make(storage: Any = storage, crash: str = "") -> CheckpointAudit:
            events = RecordingEvents(database, [], crash)
            ingest = IngestEvents(storage, events, LIMITS, clock.now)
            return CheckpointAudit(entries, lambda: ingest, INTERVAL, clock.now)

        return make

    @pytest.fixture
    def checkpoint(self, start: Callable[..., CheckpointAudit]) -> CheckpointAudit:
        return start()

    @pytest.fixture
    def waiting(self, batches: BatchRepository) -> Callable[[], int]:
        """Return how many events wait to be anchored."""
        return lambda: batches.unsealed(100)[0]

    def test_a_trail_without_entries_is_not_handed_in(
        self,
        checkpoint: CheckpointAudit,
        entries: AuditRepository,
        waiting: Callable[[], int],
    ) -> None:
        checkpoint.run()
        assert entries.last_checkpoint() is None
        assert waiting() == 0

    def test_the_head_becomes_an_event_that_will_be_anchored(
        self,
        checkpoint: CheckpointAudit,
        trail: AuditTrail,
        entries: AuditRepository,
        events: EventRepository,
        storage: FilesystemStorage,
        waiting: Callable[[], int],
        clock: ManualClock,
    ) -> None:
        append(entries, 0)
        last = append(entries, 1)
        checkpoint.run()
        made = entries.last_checkpoint()
        assert made is not None
        assert (made.head, made.made_at) == (entries.head(), clock.now())
        row = events.find(made.event_hash)
        assert row is not None
        assert row.submitted_by == "eventserver"
        assert waiting() == 1
        envelope = parse_envelope(
            b"".join(storage.read(row.pack_key, row.pack_offset, row.pack_length))
        )
        expected = make_statement(checkpoint_package(made.head, last.at, row.event_id), None)
        assert envelope.statement == expected.document
        assert expected.digest_hex == made.event_hash
        assert not list(trail.faults())

    def test_a_head_is_handed_in_once(
        self,
        checkpoint: CheckpointAudit,
        entries: AuditRepository,
        waiting: Callable[[], int],
        clock: ManualClock,
    ) -> None:
        append(entries)
        for _ in range(3):
            checkpoint.run()
            clock.advance(600)
        assert len(entries.checkpoints()) == waiting() == 1

    def test_the_next_one_waits_for_the_interval_and_has_all_that_came_meanwhile(
        self,
        checkpoint: CheckpointAudit,
        entries: AuditRepository,
        waiting: Callable[[], int],
        clock: ManualClock,
    ) -> None:
        append(entries, 0)
        checkpoint.run()
        append(entries, 1)
        clock.advance(INTERVAL.total_seconds() - 0.001)
        append(entries, 2)
        checkpoint.run()
        assert waiting() == 1
        clock.advance(0.001)
        checkpoint.run()
        assert [found.head.sequence for found in entries.checkpoints()] == [1, 3]
        assert waiting() == 2

    def test_a_new_process_knows_what_was_handed_in(
        self, start: Callable[..., CheckpointAudit], entries: AuditRepository, clock: ManualClock
    ) -> None:
        append(entries, 0)
        start().run()
        append(entries, 1)
        start().run()
        assert len(entries.checkpoints()) == 1
        clock.advance(60)
        start().run()
        assert len(entries.checkpoints()) == 2

    @pytest.mark.parametrize("crash", ["before the row", "after the row"])
    def test_after_a_crash_the_head_is_handed_in(
        self,
        trail: AuditTrail,
        start: Callable[..., CheckpointAudit],
        entries: AuditRepository,
        waiting: Callable[[], int],
        clock: ManualClock,
        crash: str,
    ) -> None:
        append(entries)
        with pytest.raises(Crash):
            start(crash=crash).run()
        assert entries.last_checkpoint() is None
        clock.advance(3600)
        start().run()
        made = entries.last_checkpoint()
        assert made is not None
        assert made.head == entries.head()
        # what died after the row is an event, too, and says the same
        assert waiting() == (1 if crash == "before the row" else 2)
        assert not list(trail.faults())

    def test_a_storage_that_is_away_is_told_and_tried_again(
        self,
        start: Callable[..., CheckpointAudit],
        storage: FilesystemStorage,
        entries: AuditRepository,
        waiting: Callable[[], int],
    ) -> None:
        away = AwayStorage(storage)
        checkpoint = start(away)
        append(entries)
        for _ in range(2):
            with pytest.raises(BackendUnavailableError):
                checkpoint.run()
        assert entries.last_checkpoint() is None
        away.away = False
        checkpoint.run()
        assert entries.last_checkpoint() is not None
        assert waiting() == 1

    def test_two_at_once_do_no_harm(
        self,
        trail: AuditTrail,
        database: Database,
        storage: FilesystemStorage,
        entries: AuditRepository,
        waiting: Callable[[], int],
        clock: ManualClock,
    ) -> None:
        barrier = threading.Barrier(2)
        raised: list[BaseException] = []

        class Together(IngestEvents):
            def ingest_package(self, *arguments: Any) -> Receipt:
                barrier.wait(PATIENCE)  # both have seen the head, and no checkpoint of it
                return super().ingest_package(*arguments)

        def run() -> None:
            ingest = Together(storage, EventRepository(database), LIMITS, clock.now)
            try:
                CheckpointAudit(entries, lambda: ingest, INTERVAL, clock.now).run()
            except BaseException as ex:  # noqa: BLE001 - the test looks at it
                raised.append(ex)
            finally:
                database.close()

        append(entries)
        threads = [threading.Thread(target=run) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        assert raised == []
        assert (len(entries.checkpoints()), waiting()) == (1, 2)
        assert not list(trail.faults())

    def test_a_head_without_its_entry_is_told_and_not_handed_in(
        self,
        checkpoint: CheckpointAudit,
        database: Database,
        entries: AuditRepository,
        waiting: Callable[[], int],
        json_log: Records,
    ) -> None:
        append(entries)
        with database.transaction() as peewee:
            peewee.execute_sql("DELETE FROM audit_entries")
        checkpoint.run()
        assert waiting() == 0
        (line,) = [line for line in json_log() if line["event"] == "audit_trail_damaged"]
        assert (line["level"], line["missing_entry"]) == ("error", 1)

    @pytest.mark.parametrize("column", ["digest", "event_hash"])
    def test_a_checkpoint_that_was_changed_is_found(
        self,
        checkpoint: CheckpointAudit,
        database: Database,
        entries: AuditRepository,
        trail: AuditTrail,
        column: str,
    ) -> None:
        """Or a trail that was rewritten could be made to fit what was anchored before."""
        append(entries)
        checkpoint.run()
        made = entries.last_checkpoint()
        assert made is not None
        assert not list(trail.faults())
        with database.transaction() as peewee:
            peewee.execute_sql(f"UPDATE audit_checkpoints SET {column} = '{'ab' * 32}'")  # noqa: S608
        told = list(trail.faults())
        if column == "digest":
            assert told == [f"entry 1 is not the one that was anchored as event {made.event_hash}"]
        else:
            assert told == [f"event {'ab' * 32}, which anchors the trail, is on no record"]

    def test_a_trail_that_was_rewritten_with_its_checkpoints_is_found(
        self,
        checkpoint: CheckpointAudit,
        database: Database,
        entries: AuditRepository,
        trail: AuditTrail,
    ) -> None:
        append(entries)
        checkpoint.run()
        made = entries.last_checkpoint()
        assert made is not None
        with database.transaction() as peewee:
            peewee.execute_sql("DELETE FROM audit_entries")
            peewee.execute_sql(f"UPDATE audit_head SET sequence = 0, digest = '{'0' * 64}'")  # noqa: S608
        rewritten = append(entries, actor="somebody else")
        with database.transaction() as peewee:
            peewee.execute_sql(
                f"UPDATE audit_checkpoints SET digest = '{rewritten.digest_hex}'"  # noqa: S608
            )
        assert list(trail.faults()) == [
            f"entry 1 is not the one that was anchored as event {made.event_hash}"
        ]
