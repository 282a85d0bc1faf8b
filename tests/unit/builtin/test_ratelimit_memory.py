"""What is special about the limiter in a shared file; the contract has its own tests."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from eventserver_core.backends.ratelimit import Quota, RateDecision
from eventserver_core.builtin.ratelimit_memory import (
    MemoryRateLimiter,
    RateLimitSettings,
    eventserver_ratelimit_backend,
    eventserver_settings,
)
from eventserver_core.errors import BackendUnavailableError, ConfigurationError
from eventserver_core.testing.clock import ManualClock
from tests.unit.builtin.children import run_at_once, run_with_full_disk
from tests.unit.builtin.conftest import Load

WINDOW = 60
BUCKET = WINDOW / 60
QUOTA = Quota("calls", limit=10, window=WINDOW)

MOMENTS = st.integers(0, 64 * WINDOW).map(lambda ticks: ticks / 32)
"""Pauses of up to two windows, in fractions that a float holds exactly."""
CALLS = st.lists(st.tuples(MOMENTS | st.just(0.0), st.integers(1, 11)), max_size=80)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ratelimit.bin"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def limiter(path: Path, clock: ManualClock) -> MemoryRateLimiter:
    return MemoryRateLimiter(path, clock=clock)


@pytest.fixture(scope="module")
def shared_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One table for all examples of a property; each has an identity of its own."""
    return tmp_path_factory.mktemp("properties") / "ratelimit.bin"


def units_between(log: Iterable[tuple[float, int]], begin: float, end: float) -> int:
    """Count what was granted after ``begin`` and up to ``end``."""
    return sum(cost for moment, cost in log if begin < moment <= end)


def take(limiter: MemoryRateLimiter, count: int, identity: str = "caller") -> int:
    return sum(limiter.hit(identity, QUOTA).allowed for _ in range(count))


@settings(max_examples=150, deadline=None)
@given(calls=CALLS, limit=st.integers(1, 12), window=st.sampled_from([1, 7, 60, 3600]))
def test_the_limit_holds_in_every_window_and_is_granted_in_little_more(
    shared_path: Path, calls: list[tuple[float, int]], limit: int, window: int
) -> None:
    clock = ManualClock()
    limiter = MemoryRateLimiter(shared_path, clock=clock)
    identity, quota = os.urandom(8).hex(), Quota("calls", limit, window)
    log: list[tuple[float, int]] = []
    for pause, cost in calls:
        clock.advance(pause * window / WINDOW)
        now = clock()
        decision = limiter.hit(identity, quota, cost)
        if decision.allowed:
            log.append((now, cost))
            assert units_between(log, now - window, now) <= limit
        else:
            assert units_between(log, now - window * 61 / 60, now) + cost > limit
        assert 0 <= decision.remaining <= limit - units_between(log, now - window, now)


@settings(max_examples=100, deadline=None)
@given(calls=CALLS)
def test_after_the_time_it_names_a_call_is_allowed(
    shared_path: Path, calls: list[tuple[float, int]]
) -> None:
    clock = ManualClock()
    limiter = MemoryRateLimiter(shared_path, clock=clock)
    identity = os.urandom(8).hex()
    for pause, cost in calls:
        clock.advance(pause / 4)
        decision = limiter.hit(identity, QUOTA, cost)
        if not decision.allowed and cost <= QUOTA.limit:
            assert 0 < decision.retry_after <= WINDOW + BUCKET + 0.01
            clock.advance(decision.retry_after)
            decision = limiter.hit(identity, QUOTA, cost)
            assert decision.allowed
        assert 0 <= decision.reset_after <= WINDOW + BUCKET + 0.01
    clock.advance(decision.reset_after if calls else 0)
    assert limiter.hit(identity, QUOTA, QUOTA.limit).allowed


@settings(max_examples=150, deadline=None)
@given(calls=CALLS, steps=st.lists(st.integers(0, 5 * WINDOW * 32).map(lambda n: n / 32)))
def test_a_clock_that_is_set_back_never_gives_more(
    shared_path: Path, calls: list[tuple[float, int]], steps: list[float]
) -> None:
    clock = ManualClock()
    limiter = MemoryRateLimiter(shared_path, clock=clock)
    identity = os.urandom(8).hex()
    log: list[tuple[float, int]] = []
    elapsed = 0.0
    for number, (pause, cost) in enumerate(calls):
        clock.advance(pause)
        elapsed += pause
        if number < len(steps):
            clock.advance(-steps[number])
        if limiter.hit(identity, QUOTA, cost).allowed:
            log.append((elapsed, cost))
            assert units_between(log, elapsed - WINDOW, elapsed) <= QUOTA.limit


@pytest.mark.parametrize("step", [0.5, 1, 2, 3, 30, 59, 60, 61, 3600, 1_700_000_000])
def test_a_clock_that_is_set_back_keeps_nobody_out_for_long(
    limiter: MemoryRateLimiter, clock: ManualClock, step: float
) -> None:
    assert take(limiter, 20) == QUOTA.limit
    clock.advance(-step)
    decision = limiter.hit("caller", QUOTA)
    assert not decision.allowed
    assert decision.retry_after <= WINDOW + 2 * BUCKET + 0.01
    clock.advance(WINDOW + 2 * BUCKET)
    assert take(limiter, 20) == QUOTA.limit


def test_what_was_used_looks_no_older_once_the_clock_was_set_back(
    limiter: MemoryRateLimiter, clock: ManualClock
) -> None:
    clock.advance(0.99 * BUCKET)
    assert take(limiter, 20) == QUOTA.limit
    clock.advance(0.01 * BUCKET)
    assert take(limiter, 1) == 0
    clock.advance(-3.01 * BUCKET)
    assert take(limiter, 1) == 0
    clock.advance(WINDOW - 0.5 * BUCKET)
    assert take(limiter, 1) == 0


def test_units_come_back_a_bucket_late_at_most(
    limiter: MemoryRateLimiter, clock: ManualClock
) -> None:
    assert take(limiter, 20) == QUOTA.limit
    clock.advance(WINDOW)
    assert take(limiter, 20) == 0
    clock.advance(BUCKET)
    assert take(limiter, 20) == QUOTA.limit


def test_a_refused_caller_is_let_in_again(limiter: MemoryRateLimiter, clock: ManualClock) -> None:
    granted = 0
    for _ in range(61 * 4):
        granted += take(limiter, 3)
        clock.advance(BUCKET)
    assert granted == 4 * QUOTA.limit


def test_processes_count_together(path: Path) -> None:
    clock = ManualClock()
    counts = path.with_name("counts")
    counts.mkdir()

    def work(name: str) -> None:
        limiter = MemoryRateLimiter(path, clock=clock)
        quota = Quota("calls", 150, WINDOW)
        allowed = sum(limiter.hit("caller", quota).allowed for _ in range(100))
        (counts / name).write_text(str(allowed))

    run_at_once(*(lambda name=name: work(name) for name in "abcd"))
    assert sum(int(file.read_text()) for file in counts.iterdir()) == 150


def test_a_limiter_made_before_a_fork_counts_on_in_the_workers(path: Path) -> None:
    limiter = MemoryRateLimiter(path, clock=ManualClock())
    assert take(limiter, 4) == 4

    def work(expected: int) -> None:
        assert take(limiter, 20) == expected

    run_at_once(lambda: work(6))
    run_at_once(lambda: work(0))
    assert take(limiter, 20) == 0


def test_the_same_policy_with_another_window_is_another_quota(limiter: MemoryRateLimiter) -> None:
    assert take(limiter, 20) == QUOTA.limit
    assert limiter.hit("caller", Quota("calls", 10, 3600)).remaining == 9


def test_a_limit_may_be_lowered_and_raised(limiter: MemoryRateLimiter) -> None:
    assert take(limiter, 8) == 8
    lowered = limiter.hit("caller", Quota("calls", 5, WINDOW))
    assert (lowered.allowed, lowered.remaining) == (False, 0)
    assert limiter.hit("caller", Quota("calls", 12, WINDOW)).remaining == 3


def test_a_limit_beyond_what_a_counter_holds_is_cut(limiter: MemoryRateLimiter) -> None:
    huge = Quota("calls", 2**53, WINDOW)
    assert not limiter.hit("caller", huge, 2**32).allowed
    assert limiter.hit("caller", huge, 2**32 - 1).allowed
    assert not limiter.hit("caller", huge).allowed


def test_a_call_costs_at_least_one(limiter: MemoryRateLimiter) -> None:
    for cost in (0, -1):
        with pytest.raises(ValueError, match="at least 1"):
            limiter.hit("caller", QUOTA, cost)


def test_the_identity_that_was_silent_longest_is_forgotten_when_there_is_no_room(
    path: Path, clock: ManualClock
) -> None:
    limiter = MemoryRateLimiter(path, clock=clock, sets=1)
    for number in range(8):
        clock.advance(0.1)
        assert take(limiter, 10, f"caller-{number}") == 10
    clock.advance(0.1)
    assert take(limiter, 1, "caller-0") == 0
    clock.advance(0.1)
    assert take(limiter, 10, "newcomer") == 10
    kept = [take(limiter, 1, f"caller-{number}") for number in (0, 2, 3, 4, 5, 6, 7)]
    assert kept == [0] * 7
    assert take(limiter, 1, "caller-1") == 1


def test_who_was_counted_before_the_clock_was_set_back_makes_room_first(
    path: Path, clock: ManualClock
) -> None:
    limiter = MemoryRateLimiter(path, clock=clock, sets=1)
    for number in range(7):
        take(limiter, 10, f"caller-{number}")
    clock.advance(-1_000_000)
    assert take(limiter, 10, "first") == 10
    assert take(limiter, 10, "second") == 10
    assert take(limiter, 1, "first") == 0


def test_counts_survive_a_restart(path: Path, clock: ManualClock) -> None:
    def work() -> None:
        assert take(MemoryRateLimiter(path, clock=clock), 7) == 7

    run_at_once(work)
    assert take(MemoryRateLimiter(path, clock=clock), 20) == 3


def test_a_damaged_table_lets_calls_through_or_not_as_it_was_set(
    path: Path, clock: ManualClock
) -> None:
    opened = MemoryRateLimiter(path, clock=clock)
    closed = MemoryRateLimiter(path, clock=clock, fail_open=False)
    whole = path.stat().st_size
    os.truncate(path, 4096)
    with capture_logs() as logs:
        for _ in range(20):
            assert opened.hit("caller", QUOTA, 3) == RateDecision(True, 7, 0.0, 0.0)
            assert not opened.hit("caller", QUOTA, 11).allowed
            with pytest.raises(BackendUnavailableError, match="cannot be counted"):
                closed.hit("caller", QUOTA)
    assert [(log["event"], log["fail_open"]) for log in logs] == [
        ("rate_limit_not_counted", True),
        ("rate_limit_not_counted", False),
    ]
    os.truncate(path, whole)
    assert take(opened, 20) == QUOTA.limit
    os.truncate(path, 4096)
    with capture_logs() as logs:
        take(opened, 1)
    assert len(logs) == 1


def test_a_full_disk_ends_no_process(path: Path, clock: ManualClock) -> None:
    limiter = MemoryRateLimiter(path, clock=clock, fail_open=False)
    room = 4096

    def fill() -> None:
        with pytest.raises(BackendUnavailableError, match="cannot be counted"):
            limiter.hit("caller", QUOTA)
        with pytest.raises(BackendUnavailableError, match="see to the data directory"):
            limiter.check()
        with pytest.raises(BackendUnavailableError, match="cannot be used"):
            MemoryRateLimiter(path.with_name("another.bin"), clock=clock)

    run_with_full_disk(fill, room=room)
    assert take(limiter, 20) == QUOTA.limit


def test_the_check_notices_that_the_table_was_replaced(
    limiter: MemoryRateLimiter, path: Path, clock: ManualClock
) -> None:
    limiter.check()
    path.unlink()
    with pytest.raises(BackendUnavailableError, match="restart"):
        limiter.check()
    MemoryRateLimiter(path, clock=clock).check()
    with pytest.raises(BackendUnavailableError, match="restart"):
        limiter.check()


def test_the_hook_counts_in_the_data_directory(load: Load, tmp_path: Path) -> None:
    assert eventserver_settings() == [RateLimitSettings]
    backend = eventserver_ratelimit_backend(load(RateLimitSettings))
    assert take(backend, 20) == QUOTA.limit  # type: ignore[arg-type]
    os.truncate(tmp_path / "data" / "ratelimit.bin", 0)
    assert backend.hit("caller", QUOTA).allowed


def test_what_happens_on_failure_is_a_setting(load: Load, tmp_path: Path) -> None:
    environ = {"EVENTSERVER__RATELIMIT__ON_FAILURE": "closed"}
    backend = eventserver_ratelimit_backend(load(RateLimitSettings, **environ))
    os.truncate(tmp_path / "data" / "ratelimit.bin", 0)
    with pytest.raises(BackendUnavailableError, match="cannot be counted"):
        backend.hit("caller", QUOTA)
    with pytest.raises(ConfigurationError, match="open or closed"):
        load(RateLimitSettings, EVENTSERVER__RATELIMIT__ON_FAILURE="ajar")


def test_the_default_clock_is_one_that_nobody_can_set(path: Path) -> None:
    limiter = MemoryRateLimiter(path)
    decision = limiter.hit("caller", QUOTA)
    assert decision.allowed
    assert WINDOW <= decision.reset_after <= WINDOW + BUCKET + 0.01
