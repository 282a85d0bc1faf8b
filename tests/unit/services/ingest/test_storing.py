"""Bytes, then row, then answer; and nothing is stored twice."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from eventserver_core.builtin.storage_filesystem import FilesystemStorage
from eventserver_core.db.connection import Database
from eventserver_core.db.events import EventRepository
from eventserver_core.domain.canonical import canonicalize
from eventserver_core.domain.digest import sha256_hex
from eventserver_core.domain.envelope import parse_envelope
from eventserver_core.errors import (
    BackendUnavailableError,
    EventIdConflictError,
)
from eventserver_core.services.ingest import IngestEvents
from eventserver_core.services.signed_packages import MAX_SIZE_IN_PACK
from eventserver_core.services.submission import Receipt
from eventserver_core.testing.clock import ManualClock
from eventserver_core.testing.factories import make_package
from tests.db.rows import PATIENCE
from tests.unit.services.scripted_chain import Crash

from .sending import DEVICE, KEY, RELAY, credentials, send_form, signed


class TestTheOrderOfWrites:
    def test_a_package_without_media(self, ingest: IngestEvents, notes: list[str]) -> None:
        assert ingest.ingest_package(make_package(), RELAY).created
        assert notes == ["pack", "row"]

    def test_a_package_with_its_media_inside(
        self, ingest: IngestEvents, notes: list[str], photo: Path
    ) -> None:
        ingest.ingest_package(make_package(photo), RELAY)
        assert notes == ["media", "pack", "row"]

    def test_a_package_with_its_media_beside_it(
        self, ingest: IngestEvents, notes: list[str], clip: Path
    ) -> None:
        send_form(ingest, make_package(clip, inline=False), clip)
        assert notes == ["media", "pack", "row"]

    def test_a_signed_package(self, ingest: IngestEvents, notes: list[str], photo: Path) -> None:
        ingest.ingest_signed(*signed(make_package(photo)), DEVICE)
        assert notes == ["media", "pack", "row"]

    def test_a_long_signed_package(self, ingest: IngestEvents, notes: list[str]) -> None:
        ingest.ingest_signed(*signed(make_package(), "x" * (MAX_SIZE_IN_PACK + 1)), DEVICE)
        assert notes == ["jws", "pack", "row"]

    def test_what_is_stored_is_what_was_sent(
        self,
        ingest: IngestEvents,
        storage: FilesystemStorage,
        events: EventRepository,
        photo: Path,
        clock: ManualClock,
    ) -> None:
        receipt = ingest.ingest_signed(*signed(make_package(photo)), DEVICE)
        row = events.find(receipt.digest_hex)
        assert row is not None
        assert row.media_key is not None
        assert row.signed_package_key is not None
        assert b"".join(storage.read(row.media_key)) == photo.read_bytes()
        line = b"".join(storage.read(row.pack_key, row.pack_offset, row.pack_length))
        envelope = parse_envelope(line)
        assert sha256_hex(canonicalize(envelope.statement)) == receipt.digest_hex
        assert (envelope.submitted_by, envelope.submitter_role) == ("device:1", "device")
        assert envelope.received_at == row.received_at == receipt.processed_at == clock.now()
        assert envelope.signature is not None
        assert envelope.signature.public_key == KEY
        assert envelope.signature.jws == b"header.claims.signature"
        assert row.signed_package_key == row.pack_key

    def test_a_long_signed_package_is_an_object_of_its_own(
        self, ingest: IngestEvents, storage: FilesystemStorage, events: EventRepository
    ) -> None:
        jws = "x" * (MAX_SIZE_IN_PACK + 1)
        receipt = ingest.ingest_signed(*signed(make_package(), jws), DEVICE)
        row = events.find(receipt.digest_hex)
        assert row is not None
        assert row.signed_package_key == "jws-" + sha256_hex(jws.encode())
        assert b"".join(storage.read(row.signed_package_key)) == jws.encode()


class TestCrashes:
    @pytest.mark.parametrize(
        ("crash", "created"), [("before the row", True), ("after the row", False)]
    )
    def test_after_a_crash_a_retry_gives_one_event(
        self,
        start: Callable[..., IngestEvents],
        events: EventRepository,
        database: Database,
        clock: ManualClock,
        photo: Path,
        stored: Callable[[], list[str]],
        crash: str,
        created: bool,
    ) -> None:
        package = make_package(photo)
        with pytest.raises(Crash):
            start(crash=crash).ingest_package(package, RELAY)
        clock.advance(60)
        receipt = start().ingest_package(package, RELAY)
        assert receipt.created is created
        assert start().ingest_package(package, RELAY).digest_hex == receipt.digest_hex
        with database.session() as peewee:
            assert peewee.execute_sql("SELECT COUNT(*) FROM events").fetchone() == (1,)
        assert events.find(receipt.digest_hex) is not None
        assert stored().count("media") == 1

    def test_media_of_a_form_that_crashed_is_sent_again(
        self, start: Callable[..., IngestEvents], clip: Path, stored: Callable[[], list[str]]
    ) -> None:
        package = make_package(clip, inline=False)
        with pytest.raises(Crash):
            send_form(start(crash="before the row"), package, clip)
        assert send_form(start(), package, clip).created
        assert stored().count("media") == 1

    def test_when_storage_fails_there_is_no_row(
        self, ingest: IngestEvents, notes: list[str], tmp_path: Path, database: Database
    ) -> None:
        (tmp_path / "objects").rename(tmp_path / "elsewhere")
        with pytest.raises(BackendUnavailableError):
            ingest.ingest_package(make_package(), RELAY)
        assert notes == []
        with database.session() as peewee:
            assert peewee.execute_sql("SELECT COUNT(*) FROM events").fetchone() == (0,)

    def test_when_the_database_fails_it_can_be_sent_again(
        self, start: Callable[..., IngestEvents], database: Database
    ) -> None:
        package = make_package()
        with database.session() as peewee:
            peewee.execute_sql("PRAGMA query_only = 1")
        with pytest.raises(BackendUnavailableError):
            start().ingest_package(package, RELAY)
        with database.session() as peewee:
            peewee.execute_sql("PRAGMA query_only = 0")
        assert start().ingest_package(package, RELAY).created


class TestTheSameAgain:
    def test_a_retry_gets_the_first_answer(
        self, ingest: IngestEvents, clock: ManualClock, photo: Path, stored: Callable[[], list[str]]
    ) -> None:
        package = make_package(photo)
        first = ingest.ingest_package(package, RELAY)
        before = stored()
        clock.advance(3600)
        again = ingest.ingest_package(package, credentials("relay-2"))
        assert (first.created, again.created) == (True, False)
        assert again.processed_at == first.processed_at
        assert (again.event_id, again.digest_hex) == (first.event_id, first.digest_hex)
        assert again.storage_location == first.storage_location
        assert stored() == before

    def test_media_inside_and_beside_make_the_same_event(
        self, ingest: IngestEvents, photo: Path, stored: Callable[[], list[str]]
    ) -> None:
        package = make_package(photo)
        first = ingest.ingest_package(package, RELAY)
        beside = {**package, "media": {k: v for k, v in package["media"].items() if k != "data"}}
        again = send_form(ingest, beside, photo)
        assert not again.created
        assert again.digest_hex == first.digest_hex
        assert stored() == ["media", "pack"]

    def test_the_same_id_with_another_content_is_a_conflict(self, ingest: IngestEvents) -> None:
        package = make_package()
        first = ingest.ingest_package(package, RELAY)
        with pytest.raises(EventIdConflictError) as caught:
            ingest.ingest_package({**package, "version": "2.0"}, RELAY)
        assert caught.value.stored_digest_hex == first.digest_hex
        with pytest.raises(EventIdConflictError):
            ingest.ingest_package({**package, "id": package["id"].upper()}, RELAY)
        assert not ingest.ingest_package(package, RELAY).created

    def test_two_events_with_one_photo_share_its_bytes(
        self, ingest: IngestEvents, photo: Path, stored: Callable[[], list[str]]
    ) -> None:
        assert ingest.ingest_package(make_package(photo), RELAY).created
        assert ingest.ingest_package(make_package(photo), RELAY).created
        assert stored() == ["media", "pack", "pack"]

    def test_a_signature_that_the_sender_brings_later_is_added(
        self, ingest: IngestEvents, events: EventRepository, storage: FilesystemStorage
    ) -> None:
        package = make_package()
        first = ingest.ingest_package(package, RELAY)
        by_another = ingest.ingest_signed(*signed(package), DEVICE)
        unchanged = events.find(first.digest_hex)
        assert unchanged is not None
        assert (by_another.created, unchanged.device) == (False, None)
        assert unchanged.signed_package_key is None
        again = ingest.ingest_signed(*signed(package), RELAY)
        assert (again.created, again.processed_at) == (False, first.processed_at)
        row = events.find(first.digest_hex)
        assert row is not None
        assert (row.submitted_by, row.device) == ("relay-1", "device:1")
        assert row.signed_package_key is not None
        assert storage.stat(row.signed_package_key) is not None

    def test_the_first_signature_stays(
        self, ingest: IngestEvents, events: EventRepository, storage: FilesystemStorage
    ) -> None:
        package = make_package()
        first = ingest.ingest_signed(*signed(package), DEVICE)
        ingest.ingest_signed(*signed(package, "another.signed.package"), DEVICE)
        row = events.find(first.digest_hex)
        assert row is not None
        line = b"".join(storage.read(row.pack_key, row.pack_offset, row.pack_length))
        signature = parse_envelope(line).signature
        assert row.signed_package_key == row.pack_key
        assert signature is not None
        assert signature.jws == b"header.claims.signature"

    def test_of_many_at_once_one_stores_it_and_all_get_its_answer(
        self, ingest: IngestEvents, database: Database, photo: Path
    ) -> None:
        package = make_package(photo)
        barrier = threading.Barrier(12)
        receipts: list[Receipt] = []

        def send() -> None:
            barrier.wait(PATIENCE)
            try:
                receipts.append(ingest.ingest_package(package, RELAY))
            finally:
                database.close()

        threads = [threading.Thread(target=send) for _ in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        assert sorted(receipt.created for receipt in receipts) == [False] * 11 + [True]
        answers = {(r.digest_hex, r.processed_at, r.storage_location) for r in receipts}
        assert len(answers) == 1
        with database.session() as peewee:
            assert peewee.execute_sql("SELECT COUNT(*) FROM events").fetchone() == (1,)


def test_a_device_is_named_as_the_author_of_what_it_brings(
    ingest: IngestEvents, events: EventRepository
) -> None:
    receipt = ingest.ingest_package(make_package(), DEVICE)
    row = events.find(receipt.digest_hex)
    assert row is not None
    assert (row.submitted_by, row.device) == ("device:1", "device:1")


def test_a_relay_is_not_named_as_the_author_of_what_it_forwards(
    ingest: IngestEvents, events: EventRepository
) -> None:
    receipt = ingest.ingest_signed(*signed(make_package()), RELAY)
    row = events.find(receipt.digest_hex)
    assert row is not None
    assert (row.submitted_by, row.device) == ("relay-1", "device:1")
