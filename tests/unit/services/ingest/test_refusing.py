"""What is not taken leaves nothing behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from eventserver_core.backends.auth import SignedPackage
from eventserver_core.builtin.storage_filesystem import FilesystemStorage
from eventserver_core.domain.digest import sha256_hex
from eventserver_core.domain.instant import format_rfc3339
from eventserver_core.errors import (
    ClockSkewError,
    ContentMismatchError,
    ContentTooLargeError,
    EventTooOldError,
    InvalidPackageError,
    UnsupportedMediaError,
)
from eventserver_core.services.ingest import IngestEvents, IngestLimits
from eventserver_core.testing.clock import ManualClock
from eventserver_core.testing.factories import make_package

from .sending import DEVICE, RELAY, chunks_of, send_form


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
