"""Group commit: what comes during a write is written together, and each gets its own answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from eventserver_core.services.group_commit import GroupCommit

PATIENCE = 30.0


class Writer:
    """Writes numbers, and stands still while the gate is closed.

    Attributes:
        error: what is raised where it fails.
        groups: what was written together, in order.
        threads: by which threads.
    """

    def __init__(self, fails: Callable[[Sequence[int]], bool] = lambda _group: False) -> None:
        self.error: type[Exception] = ValueError
        self.gate = threading.Event()
        self.began = threading.Semaphore(0)
        self.groups: list[list[int]] = []
        self.threads: list[int] = []
        self._fails = fails

    def write(self, group: Sequence[int]) -> list[str]:
        self.began.release()
        assert self.gate.wait(PATIENCE)
        if self._fails(group):
            raise self.error(f"failed: {list(group)}")
        self.groups.append(list(group))
        self.threads.append(threading.get_ident())
        return [f"wrote {number}" for number in group]


def outage(ex: Exception) -> Exception | None:
    return ConnectionError(*ex.args) if isinstance(ex, ConnectionError) else None


def commits(writer: Writer, max_items: int = 100, max_weight: int = 1000) -> GroupCommit[int, str]:
    limits = {"max_items": max_items, "max_weight": max_weight}
    return GroupCommit(writer.write, lambda n: n, outage, **limits)


def hand_in(
    writer: Writer, commit: GroupCommit[int, str], numbers: Sequence[int], pool: ThreadPoolExecutor
) -> list[Future[str]]:
    """Hand numbers in: the first one is being written while the others come, in this order."""
    futures = [pool.submit(commit.submit, numbers[0])]
    assert writer.began.acquire(timeout=PATIENCE)
    for count, number in enumerate(numbers[1:], start=1):
        futures.append(pool.submit(commit.submit, number))
        deadline = time.monotonic() + PATIENCE
        while len(commit._waiting) < count and time.monotonic() < deadline:
            time.sleep(0)
        assert len(commit._waiting) == count
    writer.gate.set()
    return futures


def test_a_lone_item_is_written_at_once_by_its_own_thread() -> None:
    writer = Writer()
    writer.gate.set()
    commit = commits(writer)
    assert [commit.submit(7), commit.submit(8)] == ["wrote 7", "wrote 8"]
    assert writer.groups == [[7], [8]]
    assert set(writer.threads) == {threading.get_ident()}


def test_what_comes_during_a_write_is_written_together_in_the_next() -> None:
    writer = Writer()
    with ThreadPoolExecutor(10) as pool:
        futures = hand_in(writer, commits(writer), range(1, 11), pool)
        assert [f.result(PATIENCE) for f in futures] == [f"wrote {n}" for n in range(1, 11)]
    assert writer.groups == [[1], list(range(2, 11))]


def test_a_group_has_its_limits_and_something_larger_goes_alone() -> None:
    writer = Writer()
    with ThreadPoolExecutor(10) as pool:
        commit = commits(writer, max_items=3, max_weight=100)
        numbers = [1, 2, 3, 4, 5, 96, 500, 6]
        futures = hand_in(writer, commit, numbers, pool)
        assert [f.result(PATIENCE) for f in futures] == [f"wrote {n}" for n in numbers]
    assert writer.groups == [[1], [2, 3, 4], [5], [96], [500], [6]]


def test_one_that_cannot_be_written_fails_by_itself() -> None:
    writer = Writer(fails=lambda group: 5 in group)
    with ThreadPoolExecutor(10) as pool:
        commit = commits(writer)
        futures = dict(zip(range(1, 9), hand_in(writer, commit, range(1, 9), pool), strict=True))
        with pytest.raises(ValueError, match=r"failed: \[5\]"):
            futures.pop(5).result(PATIENCE)
        assert all(f.result(PATIENCE) == f"wrote {n}" for n, f in futures.items())
        assert commit.submit(9) == "wrote 9"
    assert sorted(number for group in writer.groups for number in group) == [1, 2, 3, 4, 6, 7, 8, 9]


def test_an_outage_that_took_its_time_is_everybodys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eventserver_core.services.group_commit._SECOND_TRY_SECONDS", -1.0)
    writer = Writer(fails=lambda group: len(group) > 1)
    writer.error = ConnectionError
    with ThreadPoolExecutor(10) as pool:
        futures = hand_in(writer, commits(writer), range(1, 4), pool)
        assert futures[0].result(PATIENCE) == "wrote 1"
        raised = [future.exception(PATIENCE) for future in futures[1:]]
    assert [str(ex) for ex in raised] == ["failed: [2, 3]"] * 2
    assert raised[0] is not raised[1]


def test_a_fault_is_nobody_elses_however_long_it_took(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eventserver_core.services.group_commit._SECOND_TRY_SECONDS", -1.0)
    writer = Writer(fails=lambda group: 3 in group)
    with ThreadPoolExecutor(10) as pool:
        futures = hand_in(writer, commits(writer), range(1, 5), pool)
        with pytest.raises(ValueError, match=r"failed: \[3\]"):
            futures.pop(2).result(PATIENCE)
        assert [f.result(PATIENCE) for f in futures] == ["wrote 1", "wrote 2", "wrote 4"]


def test_a_leader_that_dies_takes_nobody_with_it() -> None:
    class Dying(Writer):
        def write(self, group: Sequence[int]) -> list[str]:
            answers = super().write(group)
            if len(group) > 1:
                raise SystemExit
            return answers

    writer = Dying()
    with ThreadPoolExecutor(10) as pool:
        commit = commits(writer)
        futures = hand_in(writer, commit, range(1, 6), pool)
        assert futures[0].result(PATIENCE) == "wrote 1"
        with pytest.raises(SystemExit):
            futures[1].result(PATIENCE)
        assert [f.result(PATIENCE) for f in futures[2:]] == ["wrote 3", "wrote 4", "wrote 5"]
        assert commit.submit(6) == "wrote 6"
