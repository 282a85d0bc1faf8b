"""Taking events in: bytes, then row, then answer, and nothing is stored twice."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from eventserver_core.backends.auth import Credentials, Role, SignedPackage
from eventserver_core.backends.storage import StoredObject, Upload
from eventserver_core.builtin.storage_filesystem import FilesystemStorage
from eventserver_core.db.connection import Database
from eventserver_core.db.events import EventRepository, NewEvent
from eventserver_core.domain.canonical import canonicalize
from eventserver_core.domain.digest import sha256_hex
from eventserver_core.domain.envelope import parse_envelope
from eventserver_core.domain.instant import format_rfc3339
from eventserver_core.errors import (
    BackendUnavailableError,
    ClockSkewError,
    ContentMismatchError,
    ContentTooLargeError,
    EventIdConflictError,
    EventTooOldError,
    InvalidPackageError,
    UnsupportedMediaError,
)
from eventserver_core.services.ingest import IngestEvents, IngestLimits, Receipt
from eventserver_core.testing.clock import ManualClock
from eventserver_core.testing.factories import make_package
from tests.db.rows import NOW, PATIENCE

from .scripted_chain import Crash

LIMITS = IngestLimits(max_file_size=100_000, max_inline_size=50_000, max_age=None)
KEY = {"kty": "EC", "crv": "P-256", "x": "x", "y": "y"}


def credentials(subject: str = "relay-1", role: Role = Role.RELAY) -> Credentials:
    return Credentials(subject, role, "c-1", NOW, NOW + timedelta(hours=1), KEY)


RELAY = credentials()
DEVICE = credentials("device:1", Role.DEVICE)


class RecordingStorage:
    """A real storage, and a note of what was made durable when."""

    def __init__(self, storage: FilesystemStorage, notes: list[str]) -> None:
        self._storage = storage
        self._notes = notes

    def put(self, key: str, content: bytes) -> StoredObject:
        stored = self._storage.put(key, content)
        self._notes.append(key.partition("-")[0])
        return stored

    def upload(self, key: str | None = None) -> Upload:
        upload = self._storage.upload(key)
        original, notes = upload.commit, self._notes

        def commit(key: str) -> StoredObject:
            stored = original(key)
            notes.append(key.partition("-")[0])
            return stored

        upload.commit = commit  # type: ignore[method-assign]
        return upload

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)


class RecordingEvents(EventRepository):
    """The real rows, a note of when one was committed, and a crash before or after it."""

    def __init__(self, database: Database, notes: list[str], crash: str = "") -> None:
        super().__init__(database)
        self._notes = notes
        self._crash = crash

    def insert(self, event: NewEvent) -> bool:
        if self._crash == "before the row":
            raise Crash
        inserted = super().insert(event)
        self._notes.append("row")
        if self._crash == "after the row":
            raise Crash
        return inserted


@pytest.fixture
def clock() -> ManualClock:
    """A clock that is later than when the packages were made."""
    return ManualClock(1_717_200_000.0)


@pytest.fixture
def notes() -> list[str]:
    """What became durable, in order."""
    return []


@pytest.fixture
def start(
    storage: FilesystemStorage, database: Database, notes: list[str], clock: ManualClock
) -> Callable[..., IngestEvents]:
    def make(limits: IngestLimits = LIMITS, crash: str = "") -> IngestEvents:
        recording = RecordingStorage(storage, notes)
        return IngestEvents(recording, RecordingEvents(database, notes, crash), limits, clock.now)

    return make


@pytest.fixture
def ingest(start: Callable[..., IngestEvents]) -> IngestEvents:
    return start()


@pytest.fixture
def stored(storage: FilesystemStorage) -> Callable[[], list[str]]:
    """Return what is in storage, by the objects' kinds."""
    return lambda: [found.key.partition("-")[0] for found in storage.list()]


def signed(
    package: dict[str, Any], jws: str = "header.claims.signature"
) -> tuple[str, SignedPackage]:
    return jws, SignedPackage(canonicalize({"payload": package}), DEVICE)


def chunks_of(path: Path, size: int = 1000) -> Iterator[bytes]:
    content = path.read_bytes()
    return (content[start : start + size] for start in range(0, len(content), size))


def send_form(ingest: IngestEvents, package: dict[str, Any], media: Path) -> Receipt:
    with ingest.receive_media(chunks_of(media)) as received:
        return ingest.ingest_with_media(package, received, RELAY)


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
        assert notes == ["media", "jws", "pack", "row"]

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
        assert b"".join(storage.read(row.signed_package_key)) == b"header.claims.signature"
        line = b"".join(storage.read(row.pack_key, row.pack_offset, row.pack_length))
        envelope = parse_envelope(line)
        assert sha256_hex(canonicalize(envelope.statement)) == receipt.digest_hex
        assert (envelope.submitted_by, envelope.submitter_role) == ("device:1", "device")
        assert envelope.received_at == row.received_at == receipt.processed_at == clock.now()
        assert envelope.signature is not None
        assert envelope.signature.public_key == KEY


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

    def test_a_signature_that_comes_later_is_added(
        self, ingest: IngestEvents, events: EventRepository, storage: FilesystemStorage
    ) -> None:
        package = make_package()
        first = ingest.ingest_package(package, RELAY)
        again = ingest.ingest_signed(*signed(package), DEVICE)
        assert (again.created, again.processed_at) == (False, first.processed_at)
        row = events.find(first.digest_hex)
        assert row is not None
        assert (row.submitted_by, row.device) == ("relay-1", "device:1")
        assert row.signed_package_key is not None
        assert storage.stat(row.signed_package_key) is not None

    def test_the_first_signature_stays(self, ingest: IngestEvents, events: EventRepository) -> None:
        package = make_package()
        first = ingest.ingest_signed(*signed(package), DEVICE)
        ingest.ingest_signed(*signed(package, "another.signed.package"), DEVICE)
        row = events.find(first.digest_hex)
        assert row is not None
        assert row.signed_package_key == "jws-" + sha256_hex(b"header.claims.signature")

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


class TestTooLarge:
    def test_it_is_told_while_it_streams_and_leaves_nothing(
        self, ingest: IngestEvents, storage: FilesystemStorage, tmp_path: Path
    ) -> None:
        sent = 0

        def endless() -> Iterator[bytes]:
            nonlocal sent
            while True:
                sent += 10_000
                yield b"x" * 10_000

        with (
            pytest.raises(ContentTooLargeError, match="100000 bytes"),
            ingest.receive_media(endless()),
        ):
            pytest.fail("there is no end of it to receive")
        assert sent == 110_000
        assert list(storage.list()) == []
        assert list((tmp_path / "incoming").iterdir()) == []

    def test_as_much_as_is_taken_is_taken(self, ingest: IngestEvents) -> None:
        with ingest.receive_media(iter([b"x" * 60_000, b"x" * 40_000])) as received:
            assert received.size == 100_000

    def test_inside_json_less_is_taken(
        self, start: Callable[..., IngestEvents], photo: Path, notes: list[str]
    ) -> None:
        size = photo.stat().st_size
        tight = start(IngestLimits(max_file_size=size, max_inline_size=size - 1, max_age=None))
        with pytest.raises(ContentTooLargeError, match="multipart/form-data"):
            tight.ingest_package(make_package(photo), RELAY)
        assert notes == []
        assert send_form(tight, make_package(photo, inline=False), photo).created


class TestRefusals:
    @pytest.fixture(autouse=True)
    def _nothing_is_left(self, storage: FilesystemStorage, tmp_path: Path) -> Iterator[None]:
        yield
        assert list(storage.list()) == []
        assert list((tmp_path / "incoming").iterdir()) == []

    def test_media_that_no_event_claims_is_discarded(
        self, ingest: IngestEvents, photo: Path
    ) -> None:
        with ingest.receive_media(chunks_of(photo)) as received:
            assert received.digest_hex == sha256_hex(photo.read_bytes())

    @pytest.mark.parametrize("inline", [True, False])
    def test_a_size_that_is_not_the_medias(
        self, ingest: IngestEvents, photo: Path, inline: bool
    ) -> None:
        package = make_package(photo, inline=inline)
        package["media"]["size"] += 1
        with pytest.raises(ContentMismatchError) as caught:
            self._send(ingest, package, photo, inline)
        (fault,) = caught.value.faults
        assert fault.pointer == "/media/size"

    @pytest.mark.parametrize("inline", [True, False])
    def test_a_size_and_a_digest_that_are_not_the_medias_are_told_together(
        self, ingest: IngestEvents, photo: Path, inline: bool
    ) -> None:
        package = make_package(photo, inline=inline)
        package["media"] |= {"size": 1, "sha256": "0" * 64}
        with pytest.raises(ContentMismatchError) as caught:
            self._send(ingest, package, photo, inline)
        assert [f.pointer for f in caught.value.faults] == ["/media/size", "/media/sha256"]

    @pytest.mark.parametrize("inline", [True, False])
    def test_bytes_that_are_not_what_they_say(
        self, ingest: IngestEvents, photo: Path, inline: bool
    ) -> None:
        package = make_package(photo, inline=inline)
        package["media"]["type"] = "image/png"
        with pytest.raises(UnsupportedMediaError):
            self._send(ingest, package, photo, inline)

    def test_media_that_is_missing_or_there_twice(self, ingest: IngestEvents, photo: Path) -> None:
        beside, inside = make_package(photo, inline=False), make_package(photo)
        for send, pointer in (
            (lambda: ingest.ingest_package(beside, RELAY), "/media/data"),
            (lambda: ingest.ingest_with_media(beside, None, RELAY), "/media"),
            (lambda: send_form(ingest, inside, photo), "/media/data"),
            (lambda: send_form(ingest, make_package(), photo), "/media"),
        ):
            with pytest.raises(InvalidPackageError) as caught:
                send()
            assert [fault.pointer for fault in caught.value.faults] == [pointer]

    def test_an_event_of_the_future(self, ingest: IngestEvents, clock: ManualClock) -> None:
        with pytest.raises(ClockSkewError) as caught:
            ingest.ingest_package(self._made(clock, timedelta(minutes=15, milliseconds=1)), RELAY)
        assert caught.value.server_time == format_rfc3339(clock.now())

    def test_an_event_too_old_where_there_is_a_limit(
        self, start: Callable[..., IngestEvents], clock: ManualClock
    ) -> None:
        strict = start(IngestLimits(100_000, 50_000, max_age=timedelta(days=1)))
        with pytest.raises(EventTooOldError):
            strict.ingest_package(self._made(clock, -timedelta(days=1, milliseconds=1)), RELAY)

    def test_a_signed_package_without_a_payload(self, ingest: IngestEvents) -> None:
        for claims in (b"{}", b"[]", b'"payload"'):
            with pytest.raises(InvalidPackageError):
                ingest.ingest_signed("a.b.c", SignedPackage(claims, DEVICE), DEVICE)

    @staticmethod
    def _made(clock: ManualClock, ago: timedelta) -> dict[str, Any]:
        moment = format_rfc3339(clock.now() + ago)
        return make_package(metadata={"createdAt": moment, "source": "api"})

    @staticmethod
    def _send(ingest: IngestEvents, package: dict[str, Any], media: Path, inline: bool) -> None:
        if inline:
            ingest.ingest_package(package, RELAY)
        else:
            send_form(ingest, package, media)


@pytest.mark.parametrize(
    ("seconds", "max_age"), [(15 * 60, None), (-86400, 86400), (-(10**9), None)]
)
def test_at_the_limit_an_event_is_in_time(
    start: Callable[..., IngestEvents], clock: ManualClock, seconds: int, max_age: int | None
) -> None:
    limit = timedelta(seconds=max_age) if max_age else None
    moment = format_rfc3339(clock.now() + timedelta(seconds=seconds))
    package = make_package(metadata={"createdAt": moment, "source": "api"})
    assert start(IngestLimits(100_000, 50_000, limit)).ingest_package(package, RELAY).created


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
