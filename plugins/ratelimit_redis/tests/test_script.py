"""The script's arithmetic, on a real server that is told the time."""

from __future__ import annotations

from collections.abc import Callable
from importlib import resources
from typing import NamedTuple
from uuid import uuid4

import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from eventserver_core.testing.parts import Valkey

SCRIPT = (
    resources.files("eventserver_ratelimit_redis")
    .joinpath("count.lua")
    .read_text("utf-8")
    .replace("redis.call('TIME')", "{ARGV[7], ARGV[8]}")
)
SECOND = 1_000_000
START = 1_700_000_000 * SECOND + 123_456

PAUSES = st.integers(0, 2 * SECOND) | st.just(0) | st.sampled_from([16_666, 16_667, SECOND])
CALLS = st.lists(st.tuples(PAUSES, st.integers(1, 11)), max_size=60)


class Answer(NamedTuple):
    allowed: int
    remaining: int
    retry_in: int
    reset_in: int
    epoch: int
    grants: int
    noticed: int


Run = Callable[..., Answer]


@pytest.fixture(scope="module")
def start_run(valkey: Valkey) -> Callable[[], Run]:
    """Return a function that returns a function that runs the script on keys of its own."""
    script = redis.Redis(port=valkey.port).register_script(SCRIPT)

    def start() -> Run:
        keys = [f"test:{uuid4()}", f"test:{uuid4()}"]

        def run(
            now: int,
            cost: int = 1,
            *,
            limit: int = 10,
            window: int = 1,
            lowered: int = 1,
            seen: tuple[int, int] = (0, 0),
        ) -> Answer:
            told = divmod(now, SECOND)
            return Answer(*script(keys, [limit, window, cost, lowered, *seen, *told]))

        return run

    return start


def units_between(log: list[tuple[int, int]], begin: int, end: int) -> int:
    """Count what was granted after ``begin`` and up to ``end``."""
    return sum(cost for moment, cost in log if begin < moment <= end)


@settings(max_examples=100, deadline=None)
@given(calls=CALLS, limit=st.integers(1, 12), window=st.sampled_from([1, 7, 60, 86_400]))
def test_the_limit_holds_in_every_window_and_is_granted_in_little_more(
    start_run: Callable[[], Run], calls: list[tuple[int, int]], limit: int, window: int
) -> None:
    run, now, log = start_run(), START, list[tuple[int, int]]()
    length = window * SECOND
    for pause, cost in calls:
        now += pause * window
        answer = run(now, cost, limit=limit, window=window)
        if answer.allowed:
            log.append((now, cost))
            assert units_between(log, now - length, now) <= limit
        else:
            assert units_between(log, now - length * 62 // 60, now) + cost > limit
        assert 0 <= answer.remaining <= limit - units_between(log, now - length, now)


@pytest.mark.parametrize("phase", range(0, 16_667, 1_667))
@pytest.mark.parametrize("window", [1, 60, 3600])
def test_at_a_windows_edge_a_unit_is_back_neither_early_nor_much_later(
    start_run: Callable[[], Run], phase: int, window: int
) -> None:
    run, length = start_run(), window * SECOND
    now = START + phase * window
    assert run(now, 10, window=window).allowed
    assert not run(now + length - 1, 1, window=window).allowed
    assert run(now + length * 61 // 60 + 1, 10, window=window).allowed


@settings(max_examples=100, deadline=None)
@given(calls=CALLS)
def test_after_the_time_it_names_a_call_is_allowed(
    start_run: Callable[[], Run], calls: list[tuple[int, int]]
) -> None:
    run, now, answer = start_run(), START, None
    for pause, cost in calls:
        now += pause // 4
        answer = run(now, cost)
        if not answer.allowed and cost <= 10:
            assert 0 < answer.retry_in <= SECOND * 62 // 60
            now += answer.retry_in
            answer = run(now, cost)
            assert answer.allowed
        assert 0 <= answer.reset_in <= SECOND * 62 // 60
    now += answer.reset_in if answer else 0
    assert run(now, 10).allowed


@settings(max_examples=100, deadline=None)
@given(calls=CALLS, steps=st.lists(st.integers(0, 5 * SECOND), max_size=60))
def test_a_clock_that_is_set_back_never_gives_more(
    start_run: Callable[[], Run], calls: list[tuple[int, int]], steps: list[int]
) -> None:
    run, now, log, elapsed = start_run(), START, list[tuple[int, int]](), 0
    for number, (pause, cost) in enumerate(calls):
        now += pause - (steps[number] if number < len(steps) else 0)
        elapsed += pause
        if run(now, cost).allowed:
            log.append((elapsed, cost))
            assert units_between(log, elapsed - SECOND, elapsed) <= 10


@pytest.mark.parametrize("step", [1, 16_667, 40_000, SECOND, 61 * SECOND, 10**9 * SECOND])
def test_a_clock_that_is_set_back_keeps_nobody_out_for_long(
    start_run: Callable[[], Run], step: int
) -> None:
    run, bucket = start_run(), 16_667
    assert run(START, 10).allowed
    now = START - step
    for _ in range(3):
        answer = run(now)
        assert not answer.allowed
        assert 0 < answer.retry_in <= SECOND + 3 * bucket
    assert run(now + SECOND + 3 * bucket, 10).allowed


class TestLostCounts:
    """The epochs."""

    def test_the_first_epoch_begins_with_full_limits(self, start_run: Callable[[], Run]) -> None:
        answer = start_run()(START, 10)
        assert answer == (1, 0, 0, answer.reset_in, START, 1, 0)

    def test_who_knows_the_present_epoch_has_lost_nothing(
        self, start_run: Callable[[], Run]
    ) -> None:
        run = start_run()
        run(START)
        for seen in ((0, 0), (START, 0), (START, 1)):
            assert not run(START + 1, 1, seen=seen).noticed

    @pytest.mark.parametrize("seen", [(START - 5, 7), (START + 5, 1), (START, 2)])
    def test_who_knows_another_epoch_or_more_grants_has_lost_counts(
        self, start_run: Callable[[], Run], seen: tuple[int, int]
    ) -> None:
        run = start_run()
        run(START)
        answer = run(START + 1, 1, seen=seen)
        assert (answer.allowed, answer.noticed) == (0, 1)
        assert (answer.epoch, answer.grants) >= seen
        again = run(START + 2, 1, seen=(answer.epoch, answer.grants))
        assert (again.allowed, again.noticed) == (0, 0)

    def test_the_lowered_limit_holds_for_a_window_and_no_longer(
        self, start_run: Callable[[], Run]
    ) -> None:
        run = start_run()
        first = run(START, 1, lowered=3, seen=(5, 5))
        assert (first.allowed, first.remaining, first.noticed) == (1, 2, 1)
        refused = run(START, 3, lowered=3)
        assert not refused.allowed
        assert run(START + SECOND - 1, 3, lowered=3).allowed == 0
        assert run(START + refused.retry_in, 3, lowered=3).allowed

    def test_what_costs_more_than_the_lowered_limit_waits_for_the_full_one(
        self, start_run: Callable[[], Run]
    ) -> None:
        run = start_run()
        refused = run(START, 8, seen=(5, 5))
        assert not refused.allowed
        assert SECOND < refused.retry_in < SECOND * 11 // 10
        assert refused.reset_in == SECOND
        assert run(START + refused.retry_in, 8).allowed

    def test_a_loss_that_is_noticed_after_a_window_lowers_nothing(
        self, start_run: Callable[[], Run]
    ) -> None:
        run = start_run()
        run(START)
        late = run(START + SECOND, 9, seen=(START - 5, 7))
        assert (late.allowed, late.noticed) == (1, 1)
        assert not run(START + SECOND, 1, seen=(START - 5, 7)).noticed
