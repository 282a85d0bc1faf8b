"""What checking and rebuilding ask of the database: pages, spans, and rows by the hundred."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import timedelta

from eventserver_core.db.batches import BatchRepository
from eventserver_core.db.connection import Database
from eventserver_core.db.event_rows import NewEvent
from eventserver_core.db.events import EventRepository, Extent
from eventserver_core.db.leases import HeldLease
from eventserver_core.db.models import Batch, Event

from .rows import NOW, fill, new_event


def inserted(event: NewEvent) -> NewEvent:
    """Return a record as the row that was inserted."""
    return NewEvent(**{name: getattr(event, name) for name in NewEvent.__dataclass_fields__})


def test_rows_are_inserted_together_and_come_back_as_they_were(events: EventRepository) -> None:
    rows = [new_event(number) for number in range(450)]
    assert len(events.record(rows)) == 450
    assert [inserted(event) for _, event in events.page(0, 1000)] == rows
    assert events.record([]) == set()


def test_of_rows_that_are_inserted_together_those_that_are_there_are_left_out(
    events: EventRepository,
) -> None:
    first = fill(events, 3)
    same_id = replace(new_event(7), event_id=first[0].event_id)
    changed = replace(first[1], submitted_by="somebody-else")
    assert events.record([same_id, changed, new_event(8), new_event(8)]) == {
        new_event(8).digest_hex
    }
    assert [inserted(event) for _, event in events.page(0, 10)] == [*first, new_event(8)]


def test_of_many_that_insert_the_same_rows_each_row_is_one_persons(
    events: EventRepository,
) -> None:
    rows = [new_event(number) for number in range(100)]
    counts: list[int] = []

    def insert() -> None:
        counts.append(len(events.record(rows)))

    threads = [threading.Thread(target=insert) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(counts) == 100
    assert events.extent().count == 100


def test_events_are_known_by_hash_or_by_id(events: EventRepository) -> None:
    rows = fill(events, 5)
    known = events.known(
        [rows[0].digest_hex, rows[1].digest_hex, new_event(9).digest_hex],
        [rows[1].event_id, rows[2].event_id, new_event(9).event_id],
    )
    assert {event.digest_hex for event in known} == {row.digest_hex for row in rows[:3]}
    assert events.known([], []) == []


def test_the_extent_is_of_all_or_of_what_came_since(events: EventRepository) -> None:
    assert events.extent() == Extent(0, 0, 0)
    fill(events, 5)
    ids = [id_ for id_, _ in events.page(0, 10)]
    assert events.extent() == Extent(5, ids[0], ids[-1])
    since = NOW + timedelta(milliseconds=3)
    assert events.extent(since) == Extent(2, ids[3], ids[4])
    assert events.extent(NOW + timedelta(days=1)) == Extent(0, 0, 0)


def test_pages_follow_the_ids_and_leave_none_out(events: EventRepository) -> None:
    rows = fill(events, 7)
    found: list[NewEvent] = []
    after = 0
    while page := events.page(after, 3):
        found += [inserted(event) for _, event in page]
        after = page[-1][0]
    assert found == rows
    since = NOW + timedelta(milliseconds=5)
    assert [inserted(event) for _, event in events.page(0, 10, since)] == rows[5:]


def test_spans_say_what_rows_name_of_packs(events: EventRepository) -> None:
    rows = fill(events, 3)
    spans = events.spans(0, 2)
    assert [(pack, length) for _, pack, length in spans] == [
        (row.pack_key, row.pack_length) for row in rows[:2]
    ]
    assert [pack for _, pack, _ in events.spans(spans[-1][0], 2)] == [rows[2].pack_key]


def test_leaves_come_with_the_numbers_that_their_rows_have(
    database: Database, events: EventRepository, batches: BatchRepository, lease: HeldLease
) -> None:
    rows = fill(events, 3)
    batch = batches.seal(lease, 3, NOW)
    assert batch is not None
    wanted = [(index, row.digest_hex) for index, row in enumerate(rows)]
    assert batches.numbered_leaves(batch.id) == wanted
    with database.transaction() as open_database:
        change = Event.update(leaf_index=7).where(Event.digest_hex == rows[0].digest_hex)
        change.execute(open_database)
    assert batches.numbered_leaves(batch.id) == [*wanted[1:], (7, rows[0].digest_hex)]
    assert batches.numbered_leaves(batch.id + 1) == []


def test_batches_come_page_by_page(
    events: EventRepository, batches: BatchRepository, lease: HeldLease
) -> None:
    fill(events, 3)
    made = [batches.seal(lease, 1, NOW) for _ in range(3)]
    first, second, third = (batch for batch in made if batch is not None)
    assert batches.page(0, 2) == [first, second]
    assert batches.page(second.id, 2) == [third]
    assert batches.page(third.id, 2) == []


def test_an_event_whose_batch_is_gone_is_still_found(
    database: Database, events: EventRepository, batches: BatchRepository, lease: HeldLease
) -> None:
    (row,) = fill(events, 1)
    batch = batches.seal(lease, 1, NOW)
    assert batch is not None
    with database.transaction() as open_database:
        Batch.delete().where(Batch.id == batch.id).execute(open_database)
    event = events.find(row.digest_hex)
    assert event is not None
    assert (event.batch, event.leaf_index) == (None, 0)
