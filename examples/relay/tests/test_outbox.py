"""The outbox: what counts, what is kept for how long, what a restart finds."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from eventserver_relay import outbox as module
from eventserver_relay.outbox import Answer, Outbox, OutboxFullError

RECEIPT = Answer(201, {"eventId": "one"})
REFUSAL = Answer(422, {"code": "clock_skew"})


@pytest.fixture
def rows_are_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have events count what they are long, which is easier to follow."""
    monkeypatch.setattr(module, "ROW_SIZE", 0)


@pytest.fixture
def outbox(tmp_path: Path, rows_are_free: None) -> Iterator[Outbox]:
    made = Outbox(tmp_path / "outbox.sqlite", max_bytes=10)
    yield made
    made.close()


def test_the_oldest_comes_first(outbox: Outbox) -> None:
    first, _ = outbox.put(b"one", 0)
    outbox.put(b"two", 0)
    assert outbox.oldest() == [first]
    outbox.settle([(first, RECEIPT)], True)
    (second,) = outbox.oldest()
    assert second.body == b"two"
    assert outbox.backlog()[0] == 1


def test_what_somebody_is_sending_is_left_to_them(outbox: Outbox) -> None:
    entry, is_new = outbox.put(b"one", 60)
    assert is_new
    assert outbox.oldest() == []
    outbox.release(entry)
    assert outbox.oldest() == [entry]


def test_what_was_put_off_lets_others_pass(outbox: Outbox) -> None:
    first, _ = outbox.put(b"one", 0)
    second, _ = outbox.put(b"two", 0)
    outbox.put_off(first, 60)
    assert outbox.oldest() == [second]


def test_several_come_at_once_up_to_a_number_and_a_size(outbox: Outbox) -> None:
    one, _ = outbox.put(b"one", 0)
    two, _ = outbox.put(b"two", 0)
    six, _ = outbox.put(b"six", 0)
    assert outbox.oldest(2, 100) == [one, two]
    assert outbox.oldest(9, 9) == [one, two, six]
    assert outbox.oldest(9, 8) == [one, two]
    assert outbox.oldest(9, 2) == [one]
    outbox.put_off(two, 60)
    assert outbox.oldest(9, 9) == [one, six]


@pytest.mark.usefixtures("rows_are_free")
def test_a_restart_takes_up_what_was_being_sent(tmp_path: Path) -> None:
    path = tmp_path / "restarted.sqlite"
    before = Outbox(path, 10)
    entry, _ = before.put(b"one", 3600)
    before.close()
    after = Outbox(path, 10)
    assert after.oldest() == [entry]
    with pytest.raises(OutboxFullError):
        after.put(b"12345678", 0)
    after.close()


def test_only_what_is_kept_counts(outbox: Outbox) -> None:
    entry, _ = outbox.put(b"12345678", 0)
    with pytest.raises(OutboxFullError):
        outbox.put(b"123", 0)
    outbox.settle([(entry, RECEIPT)], True)
    outbox.settle([(entry, RECEIPT)], True)  # by two threads: it counts once
    other, _ = outbox.put(b"123", 0)
    outbox.put(b"1234567", 0)
    with pytest.raises(OutboxFullError):
        outbox.put(b"x", 0)
    outbox.settle([(other, REFUSAL)], False)  # its device has it
    assert outbox.put(b"xyz", 0)[1]
    assert outbox.refused() == 1


def refuse(outbox: Outbox, body: bytes) -> None:
    outbox.settle([(outbox.put(body, 0)[0], REFUSAL)], True)


def set_aside(path: Path) -> list[bytes]:
    with closing(sqlite3.connect(path)) as database:
        rows = database.execute("SELECT body FROM events WHERE status >= 400 ORDER BY number")
        return [body for (body,) in rows if body is not None]


@pytest.mark.usefixtures("rows_are_free")
def test_refused_events_get_a_tenth_of_the_room(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "small.sqlite"
    outbox = Outbox(path, 100)
    for body in (b"first", b"other", b"third"):
        refuse(outbox, body)
    assert set_aside(path) == [b"other", b"third"]
    assert "refused_events_forgotten" in capsys.readouterr().err
    refuse(outbox, b"longer than a tenth of it")
    assert set_aside(path) == []
    found, is_new = outbox.put(b"first", 0)
    assert (found.answer, is_new) == (REFUSAL, False)
    outbox.close()


@pytest.mark.usefixtures("rows_are_free")
def test_events_that_are_answered_at_once_count_as_one_by_one(tmp_path: Path) -> None:
    path = tmp_path / "small.sqlite"
    outbox = Outbox(path, 100)
    bodies = (b"first", b"other", b"third", b"fifth")
    entries = [outbox.put(body, 0)[0] for body in bodies]
    answers = [(entry, REFUSAL) for entry in entries[:3]] + [(entries[3], RECEIPT)]
    outbox.settle(answers, True)
    assert set_aside(path) == [b"other", b"third"]
    assert outbox.refused() == 3
    assert outbox.backlog() == (0, None)
    assert outbox.put(b"x" * 100, 0)[1]  # all that waited is gone, and makes room
    outbox.close()


@pytest.mark.usefixtures("rows_are_free")
@pytest.mark.parametrize("restarts", [False, True])
def test_refused_events_make_room_for_new_ones_the_oldest_first(
    restarts: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "small.sqlite"
    outbox = Outbox(path, 100)
    refuse(outbox, b"first")
    refuse(outbox, b"other")
    if restarts:
        outbox.close()
        outbox = Outbox(path, 100)
    assert outbox.put(b"x" * 92, 0)[1]
    assert set_aside(path) == [b"other"]
    assert '"count": 1' in capsys.readouterr().err
    assert outbox.put(b"y" * 8, 0)[1]
    assert set_aside(path) == []
    with pytest.raises(OutboxFullError):
        outbox.put(b"z", 0)
    outbox.close()


def test_so_many_answers_are_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ANSWERS", 3)
    outbox = Outbox(tmp_path / "outbox.sqlite", 10_000)
    for body, answer in ((b"1", RECEIPT), (b"2", REFUSAL), (b"3", RECEIPT), (b"4", REFUSAL)):
        outbox.settle([(outbox.put(body, 0)[0], answer)], True)
    assert [outbox.put(body, 0)[1] for body in (b"2", b"3", b"4", b"1")] == [False] * 3 + [True]
    outbox.close()


def test_a_long_refusal_is_remembered_in_short(outbox: Outbox) -> None:
    document = {
        "status": 422,
        "code": "clock_skew",
        "errors": ["x" * 100] * 1000,
        "detail": "é" * 999,
    }
    outbox.settle([(outbox.put(b"one", 0)[0], Answer(422, document))], False)
    found, _ = outbox.put(b"one", 0)
    assert found.answer is not None
    assert found.answer.status == 422
    assert found.answer.document == {"status": 422, "code": "clock_skew", "detail": "é" * 512}


def test_it_tells_that_it_is_full_while_it_is(outbox: Outbox) -> None:
    entry, _ = outbox.put(b"12345678", 0)
    assert not outbox.is_full()
    with pytest.raises(OutboxFullError):
        outbox.put(b"123", 0)
    assert outbox.is_full()
    outbox.settle([(entry, RECEIPT)], True)
    assert not outbox.is_full()
    with pytest.raises(OutboxFullError):
        outbox.put(b"it never fits", 0)
    assert not outbox.is_full()  # nobody makes it so by sending what is too large


def test_the_first_answer_stays(outbox: Outbox) -> None:
    entry, _ = outbox.put(b"one", 0)
    outbox.settle([(entry, REFUSAL)], True)
    outbox.settle([(entry, RECEIPT)], True)
    found, is_new = outbox.put(b"one", 0)
    assert not is_new
    assert found.answer == REFUSAL


@pytest.mark.usefixtures("rows_are_free")
def test_old_answers_are_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    outbox = Outbox(tmp_path / "outbox.sqlite", 100)
    for body, answer, keeps in (
        (b"1", RECEIPT, True),
        (b"2", REFUSAL, True),
        (b"3", REFUSAL, False),
    ):
        outbox.settle([(outbox.put(body, 0)[0], answer)], keeps)
    waiting, _ = outbox.put(b"4", 0)
    outbox.forget()
    assert [outbox.put(body, 0)[1] for body in (b"1", b"2", b"3")] == [False] * 3
    monkeypatch.setattr(module, "KEEP_ANSWERS", -1.0)
    outbox.forget()
    assert not outbox.put(b"2", 0)[1]  # set aside for longer
    assert "refused_events_forgotten" not in capsys.readouterr().err
    monkeypatch.setattr(module, "KEEP_REFUSED", -1.0)
    outbox.forget()
    assert '"count": 1' in capsys.readouterr().err
    assert outbox.oldest() == [waiting]
    assert [outbox.put(body, 0)[1] for body in (b"1", b"2", b"3")] == [True] * 3
    outbox.close()


@pytest.mark.usefixtures("rows_are_free")
def test_what_could_not_be_written_does_not_count(tmp_path: Path) -> None:
    path = tmp_path / "full.sqlite"
    outbox = Outbox(path, 10)
    outbox._database.execute("PRAGMA query_only = ON")  # as a disk that takes nothing more
    for _ in range(5):
        with pytest.raises(sqlite3.Error):
            outbox.put(b"12345678", 0)
        assert outbox.has_failed()
    outbox._database.execute("PRAGMA query_only = OFF")
    outbox.forget()
    assert outbox.has_failed()  # there was nothing to write
    assert outbox.put(b"12345678", 0)[1]
    assert not outbox.has_failed()
    outbox.close()


def test_many_small_events_take_no_more_of_the_disk(tmp_path: Path) -> None:
    path, most = tmp_path / "small.sqlite", 128 * 1024
    outbox = Outbox(path, most)
    with pytest.raises(OutboxFullError):
        for number in range(most):
            outbox.put(b"%020d" % number, 0)
    assert outbox.backlog()[0] > 100
    outbox.close()
    assert path.stat().st_size <= most


def test_a_small_outbox_remembers_fewer_answers(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "small.sqlite", 1024 * 1024)
    for number in range(110):
        outbox.settle([(outbox.put(b"%d" % number, 0)[0], REFUSAL)], False)
    assert outbox.refused() == 102
    outbox.close()
