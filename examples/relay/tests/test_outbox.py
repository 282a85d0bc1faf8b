"""The outbox: what counts, what is kept for how long, what a restart finds."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from eventserver_relay import outbox as module
from eventserver_relay.outbox import Answer, Outbox, OutboxFullError

RECEIPT = Answer(201, {"eventId": "one"})
REFUSAL = Answer(422, {"code": "clock_skew"})


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    made = Outbox(tmp_path / "outbox.sqlite", max_bytes=10)
    yield made
    made.close()


def test_the_oldest_comes_first(outbox: Outbox) -> None:
    first, _ = outbox.put(b"one", 0)
    outbox.put(b"two", 0)
    assert outbox.oldest() == first
    outbox.settle(first, RECEIPT)
    second = outbox.oldest()
    assert second is not None
    assert second.body == b"two"
    assert outbox.backlog()[0] == 1


def test_what_somebody_is_sending_is_left_to_them(outbox: Outbox) -> None:
    entry, is_new = outbox.put(b"one", 60)
    assert is_new
    assert outbox.oldest() is None
    outbox.release(entry)
    assert outbox.oldest() == entry


def test_what_was_put_off_lets_others_pass(outbox: Outbox) -> None:
    first, _ = outbox.put(b"one", 0)
    second, _ = outbox.put(b"two", 0)
    outbox.put_off(first, 60)
    assert outbox.oldest() == second


def test_a_restart_takes_up_what_was_being_sent(tmp_path: Path) -> None:
    path = tmp_path / "restarted.sqlite"
    before = Outbox(path, 10)
    entry, _ = before.put(b"one", 3600)
    before.close()
    after = Outbox(path, 10)
    assert after.oldest() == entry
    with pytest.raises(OutboxFullError):
        after.put(b"12345678", 0)
    after.close()


def test_only_what_is_kept_counts(outbox: Outbox) -> None:
    entry, _ = outbox.put(b"12345678", 0)
    with pytest.raises(OutboxFullError):
        outbox.put(b"123", 0)
    outbox.settle(entry, RECEIPT)
    outbox.settle(entry, RECEIPT)  # by two threads: it counts once
    other, _ = outbox.put(b"123", 0)
    outbox.put(b"1234567", 0)
    with pytest.raises(OutboxFullError):
        outbox.put(b"x", 0)
    outbox.settle(other, REFUSAL)  # set aside: still there
    with pytest.raises(OutboxFullError):
        outbox.put(b"x", 0)
    assert outbox.refused() == 1


def test_the_first_answer_stays(outbox: Outbox) -> None:
    entry, _ = outbox.put(b"one", 0)
    outbox.settle(entry, REFUSAL)
    outbox.settle(entry, RECEIPT)
    found, is_new = outbox.put(b"one", 0)
    assert not is_new
    assert found.answer == REFUSAL


def test_old_answers_are_forgotten(outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    for body, answer in ((b"one", RECEIPT), (b"two", REFUSAL)):
        outbox.settle(outbox.put(body, 0)[0], answer)
    waiting, _ = outbox.put(b"3", 0)
    assert outbox.forget() == 0
    assert not outbox.put(b"one", 0)[1]
    monkeypatch.setattr(module, "KEEP_ANSWERS", -1.0)
    monkeypatch.setattr(module, "KEEP_REFUSED", -1.0)
    assert outbox.forget() == 1
    assert outbox.put(b"one", 0)[1]
    assert outbox.put(b"two", 0)[1]
    assert outbox.oldest() == waiting


def test_what_could_not_be_written_does_not_count(tmp_path: Path) -> None:
    path = tmp_path / "full.sqlite"
    outbox = Outbox(path, 10)
    outbox._database.execute("PRAGMA query_only = ON")  # as a disk that takes nothing more
    for _ in range(5):
        with pytest.raises(sqlite3.Error):
            outbox.put(b"12345678", 0)
    outbox._database.execute("PRAGMA query_only = OFF")
    assert outbox.put(b"12345678", 0)[1]
    outbox.close()
