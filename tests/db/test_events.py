"""Events' rows: one for each hash and each id, whoever else inserts at the same moment."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import pytest

from eventserver_core.db.event_rows import NewSignature
from eventserver_core.db.events import EventRepository

from .rows import NOW, fill, go_on, new_event, output


def test_a_row_comes_back_as_it_was_inserted(events: EventRepository) -> None:
    row = new_event(
        1,
        device="device:1",
        media_key="media-1",
        media_type="image/jpeg",
        media_size=2**40,
        pack_offset=2**41,
        signed_package_key="jws-1",
        public_key='{"kty":"EC"}',
        submitted_by="ünïcödé \U0001f5fd",
    )
    assert events.insert(row)
    for found in (events.find(row.digest_hex), events.find_by_id(row.event_id)):
        assert found is not None
        assert {name: getattr(found, name) for name in asdict(row)} == asdict(row)
        assert (found.leaf_index, found.batch, found.status) == (None, None, "stored")


def test_what_is_not_there_is_not_found(events: EventRepository) -> None:
    fill(events, 2)
    assert events.find("0" * 64) is None
    assert events.find_by_id(new_event(7).event_id) is None


def test_the_same_hash_again_changes_nothing(events: EventRepository) -> None:
    assert events.insert(new_event(1))
    assert not events.insert(new_event(1, event_id=new_event(2).event_id, submitted_by="other"))
    found = events.find(new_event(1).digest_hex)
    assert found is not None
    assert found.submitted_by == "relay-1"
    assert events.find_by_id(new_event(2).event_id) is None


def test_the_same_id_again_changes_nothing(events: EventRepository) -> None:
    assert events.insert(new_event(1))
    assert not events.insert(new_event(2, event_id=new_event(1).event_id))
    assert events.find(new_event(2).digest_hex) is None
    found = events.find_by_id(new_event(1).event_id)
    assert found is not None
    assert found.digest_hex == new_event(1).digest_hex


def test_of_many_threads_exactly_one_inserts(
    events: EventRepository, at_once: Callable[..., list[Any]]
) -> None:
    def insert(number: int) -> Callable[[], bool]:
        return lambda: events.insert(new_event(1, submitted_by=f"relay-{number}"))

    results = at_once([insert(number) for number in range(20)])
    assert sorted(results) == [False] * 19 + [True]
    found = events.find(new_event(1).digest_hex)
    assert found is not None
    assert found.submitted_by == f"relay-{results.index(True)}"


def test_of_two_contents_with_one_id_exactly_one_is_stored(
    events: EventRepository, at_once: Callable[..., list[Any]]
) -> None:
    shared = new_event(1).event_id

    def insert(number: int) -> Callable[[], bool]:
        return lambda: events.insert(new_event(number, event_id=shared))

    results = at_once([insert(number) for number in range(10)])
    assert sorted(results) == [False] * 9 + [True]
    found = events.find_by_id(shared)
    assert found is not None
    assert found.digest_hex == new_event(results.index(True)).digest_hex


def test_of_many_processes_exactly_one_inserts(
    events: EventRepository, url: str, start_python: Callable[..., subprocess.Popen[str]]
) -> None:
    source = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from eventserver_core.db.connection import Database
from eventserver_core.db.event_rows import NewEvent, NewSignature
from eventserver_core.db.events import EventRepository

events = EventRepository(Database(sys.argv[1], Path("unused")))
inserted = 0
sys.stdin.readline()
for number in range(50):
    digest_hex = f"{number:064x}"
    inserted += events.insert(NewEvent(digest_hex, digest_hex[-36:], datetime.now(UTC), "relay",
        None, "pack", 0, 1, "here", None, None, None, None, None))
print(inserted)
"""
    processes = [start_python(source, url) for _ in range(4)]
    go_on(*processes)
    assert sum(int(output(process)) for process in processes) == 50
    assert all(events.find(f"{number:064x}") is not None for number in range(50))


def test_the_first_signature_stays(events: EventRepository) -> None:
    (row,) = fill(events, 1)
    assert events.attach_signature(
        NewSignature(row.digest_hex, "device:1", "jws-1", '{"kty":"EC"}')
    )
    assert not events.attach_signature(NewSignature(row.digest_hex, "device:2", "jws-2", "{}"))
    found = events.find(row.digest_hex)
    assert found is not None
    assert (found.device, found.signed_package_key) == ("device:1", "jws-1")
    assert found.public_key == '{"kty":"EC"}'
    assert found.submitted_by == row.submitted_by


def test_an_event_that_came_signed_keeps_its_signature(events: EventRepository) -> None:
    row = new_event(1, device="device:1", signed_package_key="jws-1", public_key="{}")
    events.insert(row)
    assert not events.attach_signature(NewSignature(row.digest_hex, "device:2", "jws-2", "{}"))


def test_nothing_is_signed_where_there_is_no_event(events: EventRepository) -> None:
    assert not events.attach_signature(NewSignature("0" * 64, "device:1", "jws-1", "{}"))


def test_of_many_signatures_exactly_one_stays(
    events: EventRepository, at_once: Callable[..., list[Any]]
) -> None:
    (row,) = fill(events, 1)

    def attach(number: int) -> Callable[[], bool]:
        return lambda: events.attach_signature(
            NewSignature(row.digest_hex, f"device:{number}", f"jws-{number}", "{}")
        )

    results = at_once([attach(number) for number in range(10)])
    assert sorted(results) == [False] * 9 + [True]
    found = events.find(row.digest_hex)
    assert found is not None
    assert found.device == f"device:{results.index(True)}"


@pytest.mark.parametrize("column", ["submitted_by", "storage_location", "pack_key"])
def test_text_is_never_taken_for_sql(events: EventRepository, column: str) -> None:
    odd = "x'; DROP TABLE events; --\"`\\ %s ?"
    row = new_event(1, **{column: odd})
    events.insert(row)
    found = events.find(row.digest_hex)
    assert found is not None
    assert getattr(found, column) == odd
    assert events.find(odd) is None


def test_a_moment_keeps_its_milliseconds(events: EventRepository) -> None:
    row = new_event(999, received_at=NOW.replace(microsecond=123_000))
    events.insert(row)
    found = events.find(row.digest_hex)
    assert found is not None
    assert found.received_at == row.received_at
    assert found.received_at.tzinfo is not None
