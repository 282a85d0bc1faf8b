"""Counting in memory, while Redis is away."""

from __future__ import annotations

import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256

import pytest
from eventserver_ratelimit_redis.local_share import SHARED_ROWS, LocalShare
from hypothesis import given, settings
from hypothesis import strategies as st

SECOND = 1_000_000_000
PAUSES = st.integers(0, 2 * SECOND) | st.just(0) | st.sampled_from([16_666_667, SECOND])
CALLS = st.lists(st.tuples(PAUSES, st.integers(1, 11)), max_size=80)


class Clock:
    """Nanoseconds that pass when they are told to."""

    def __init__(self) -> None:
        self.now = 123_456_789

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def local(clock: Clock) -> LocalShare:
    return LocalShare(clock)


def key(number: int) -> str:
    return sha256(str(number).encode()).hexdigest()


@settings(max_examples=150, deadline=None)
@given(calls=CALLS, limit=st.integers(1, 12), window=st.sampled_from([1, 7, 60, 86_400]))
def test_the_limit_holds_in_every_window_and_is_granted_in_little_more(
    calls: list[tuple[int, int]], limit: int, window: int
) -> None:
    clock = Clock()
    local, log, length = LocalShare(clock), list[tuple[int, int]](), window * SECOND

    def used_since(moment: int) -> int:
        return sum(units for granted, units in log if granted > moment)

    for pause, cost in calls:
        clock.now += pause * window
        decision = local.hit(key(0), limit, window, cost)
        if decision.allowed:
            log.append((clock.now, cost))
            assert used_since(clock.now - length) <= limit
        else:
            assert used_since(clock.now - length * 62 // 60) + cost > limit
        assert 0 <= decision.remaining <= limit - used_since(clock.now - length)


@pytest.mark.parametrize("phase", range(0, 16_666_667, 1_666_667))
@pytest.mark.parametrize("window", [1, 60, 3600])
def test_at_a_windows_edge_a_unit_is_back_neither_early_nor_much_later(
    local: LocalShare, clock: Clock, phase: int, window: int
) -> None:
    clock.now += phase * window
    assert local.hit(key(0), 10, window, 10).allowed
    clock.now += window * SECOND - 1
    assert not local.hit(key(0), 10, window, 1).allowed
    clock.now += window * SECOND // 60 + 100
    assert local.hit(key(0), 10, window, 10).allowed


@settings(max_examples=100, deadline=None)
@given(calls=CALLS)
def test_after_the_time_it_names_a_call_is_allowed(calls: list[tuple[int, int]]) -> None:
    clock = Clock()
    local, decision = LocalShare(clock), None
    for pause, cost in calls:
        clock.now += pause // 4
        decision = local.hit(key(0), 10, 1, cost)
        if not decision.allowed and cost <= 10:
            assert 0 < decision.retry_after <= 62 / 60
            clock.now += int(decision.retry_after * SECOND)
            decision = local.hit(key(0), 10, 1, cost)
            assert decision.allowed
    if decision:
        clock.now += int(decision.reset_after * SECOND)
        assert local.hit(key(0), 10, 1, 10).allowed


def test_what_costs_more_than_the_limit_is_never_allowed(local: LocalShare) -> None:
    decision = local.hit(key(0), 5, 60, 6)
    assert (decision.allowed, decision.remaining, decision.retry_after) == (False, 5, 60)


def test_identities_and_windows_share_no_units(local: LocalShare) -> None:
    assert all(local.hit(key(number), 1, 60, 1).allowed for number in range(100))
    assert all(local.hit(key(number), 1, 61, 1).allowed for number in range(100))
    assert not any(local.hit(key(number), 1, 60, 1).allowed for number in range(100))


def test_threads_are_all_counted(local: LocalShare) -> None:
    with ThreadPoolExecutor(8) as pool:
        allowed = sum(pool.map(lambda _: local.hit(key(0), 50, 60, 1).allowed, range(500)))
    assert allowed == 50


def test_where_there_is_no_room_rows_are_shared_and_nobody_gets_more(clock: Clock) -> None:
    local = LocalShare(clock, rows=10)
    granted = [
        sum(local.hit(key(number), 2, 60, 1).allowed for _ in range(4)) for number in range(2000)
    ]
    assert granted[:10] == [2] * 10
    assert set(granted[10:]) == {0, 1, 2} or set(granted[10:]) == {0, 2}
    assert sum(granted[10:]) == 2 * SHARED_ROWS


def test_room_is_made_once_windows_are_over(clock: Clock) -> None:
    local = LocalShare(clock, rows=10)
    for _ in range(3):
        assert all(local.hit(key(number), 1, 60, 1).allowed for number in range(10))
        clock.now += 62 * SECOND


def test_identities_without_end_take_little_memory(clock: Clock) -> None:
    local = LocalShare(clock, rows=500)
    for number in range(2000):
        local.hit(key(number), 5, 60, 1)
    tracemalloc.start()
    for number in range(2000, 6000):
        local.hit(key(number), 5, 60, 1)
    grown = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert grown < 200_000
