"""Rate limiters that each break a promise."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest

from eventserver_core.backends.ratelimit import Quota, RateDecision
from eventserver_core.errors import BackendUnavailableError
from eventserver_core.testing.clock import Clock
from eventserver_core.testing.contracts.ratelimit import RateLimiterContract

DOWN = RateDecision(allowed=True, remaining=0, retry_after=0.0, reset_after=0.0)


class PlainLimiter:
    """Remembers every unit in memory; it works, so that one thing can be broken."""

    stores: ClassVar[dict[object, dict[object, list[float]]]] = {}
    lock = threading.Lock()

    def __init__(self, path: Path, clock: Clock, *, down: bool) -> None:
        self.logs = self.stores.setdefault(self.store(path), {})
        self.clock = clock
        self.down = down

    def store(self, path: Path) -> object:
        return path

    def name(self, identity: str, quota: Quota) -> object:
        return identity, quota.policy

    def hit(self, identity: str, quota: Quota, cost: int = 1) -> RateDecision:
        if self.down:
            return self.answer_down(quota, cost)
        with self.lock:
            return self.count(self.name(identity, quota), quota, cost)

    def answer_down(self, quota: Quota, cost: int) -> RateDecision:
        return replace(DOWN, allowed=cost <= quota.limit)

    def count(self, name: object, quota: Quota, cost: int) -> RateDecision:
        now = self.clock()
        log = self.logs[name] = [t for t in self.logs.get(name, []) if self.counts(t, now, quota)]
        allowed = len(log) + cost <= quota.limit
        if allowed:
            log += [now] * cost
        return self.decide(log, quota, cost, now, allowed=allowed)

    def counts(self, taken: float, now: float, quota: Quota) -> bool:
        return now - taken < quota.window

    def decide(
        self, log: list[float], quota: Quota, cost: int, now: float, *, allowed: bool
    ) -> RateDecision:
        retry_after = reset_after = 0.0
        if log:
            reset_after = log[-1] + quota.window - now + 0.001
        if not allowed:
            last = min(len(log) + cost - quota.limit, len(log)) - 1
            retry_after = log[last] + quota.window - now + 0.001 if log else quota.window
        return RateDecision(allowed, quota.limit - len(log), retry_after, reset_after)

    def check(self) -> None:
        if self.down:
            raise BackendUnavailableError("ratelimit=memory", "down")


def suite(kind: Callable[..., object], *catches: str) -> type:
    class Suite(RateLimiterContract):
        @pytest.fixture
        def backend_factory(self, tmp_path: Path) -> Callable[..., object]:
            def make(clock: Clock, *, down: bool = False) -> object:
                return kind(tmp_path, clock, down=down)

            return make

    Suite.catches = frozenset(catches)  # type: ignore[attr-defined]
    return Suite


TestPlainLimiter = suite(PlainLimiter)


class NoCheck:
    def __init__(self, path: Path, clock: Clock, *, down: bool) -> None:
        self.hit = PlainLimiter(path, clock, down=down).hit


TestNoCheck = suite(
    NoCheck,
    "test_it_is_a_rate_limiter",
    "test_a_limiter_that_works_passes_its_check",
    "test_a_limiter_that_is_down_fails_its_check",
)


class FixedWindow(PlainLimiter):
    def counts(self, taken: float, now: float, quota: Quota) -> bool:
        return taken // quota.window == now // quota.window


TestFixedWindow = suite(
    FixedWindow,
    "test_no_window_has_more_than_the_limit",
    "test_the_edge_of_a_window_gives_no_double_burst",
)


class TwoCounters(PlainLimiter):
    """Estimates the window before from its sum, as if its calls had come evenly."""

    def count(self, name: object, quota: Quota, cost: int) -> RateDecision:
        now = self.clock()
        present = now // quota.window
        log = self.logs.setdefault(name, [])
        log[:] = [taken for taken in log if taken // quota.window >= present - 1]
        current = sum(taken // quota.window == present for taken in log)
        weight = 1 - now % quota.window / quota.window
        used = current + int((len(log) - current) * weight)
        allowed = used + cost <= quota.limit
        if allowed:
            log += [now] * cost
            used += cost
        decision = self.decide(log, quota, cost, now, allowed=allowed)
        return replace(decision, remaining=max(quota.limit - used, 0))


TestTwoCounters = suite(
    TwoCounters,
    "test_in_the_end_all_units_are_back",
    "test_no_window_has_more_than_the_limit",
    "test_the_edge_of_a_window_gives_no_double_burst",
    "test_units_come_back",
)


class ChargesForRefusals(PlainLimiter):
    def decide(
        self, log: list[float], quota: Quota, cost: int, now: float, *, allowed: bool
    ) -> RateDecision:
        decision = super().decide(log, quota, cost, now, allowed=allowed)
        if not allowed:
            log += [now] * min(cost, quota.limit - len(log))
        return decision


TestChargesForRefusals = suite(
    ChargesForRefusals,
    "test_what_costs_more_than_the_limit_is_never_allowed",
    "test_what_is_refused_costs_nothing",
)


class CountsDown(PlainLimiter):
    def decide(
        self, log: list[float], quota: Quota, cost: int, now: float, *, allowed: bool
    ) -> RateDecision:
        decision = super().decide(log, quota, cost, now, allowed=allowed)
        return replace(decision, remaining=decision.remaining - 1)


TestCountsDown = suite(CountsDown, "test_units_are_there_until_they_are_used")


class GivesNothingBack(PlainLimiter):
    def counts(self, taken: float, now: float, quota: Quota) -> bool:
        return True


TestGivesNothingBack = suite(
    GivesNothingBack,
    "test_in_the_end_all_units_are_back",
    "test_no_window_has_more_than_the_limit",
    "test_units_come_back",
)


class IsImpatient(PlainLimiter):
    def decide(
        self, log: list[float], quota: Quota, cost: int, now: float, *, allowed: bool
    ) -> RateDecision:
        decision = super().decide(log, quota, cost, now, allowed=allowed)
        return replace(
            decision, retry_after=decision.retry_after / 2, reset_after=decision.reset_after / 2
        )


TestIsImpatient = suite(
    IsImpatient,
    "test_in_the_end_all_units_are_back",
    "test_units_come_back",
)


class AllowsOneLargeCall(PlainLimiter):
    def count(self, name: object, quota: Quota, cost: int) -> RateDecision:
        return super().count(name, quota, min(cost, quota.limit))


TestAllowsOneLargeCall = suite(
    AllowsOneLargeCall, "test_what_costs_more_than_the_limit_is_never_allowed"
)


class TidiesNames(PlainLimiter):
    def name(self, identity: str, quota: Quota) -> object:
        return identity.strip().lower(), quota.policy


TestTidiesNames = suite(TidiesNames, "test_identities_do_not_share_units")


class JoinsNames(PlainLimiter):
    def name(self, identity: str, quota: Quota) -> object:
        return f"{quota.policy}:{identity}"


TestJoinsNames = suite(JoinsNames, "test_policies_do_not_share_units")


class CountsForItself(PlainLimiter):
    def store(self, path: Path) -> object:
        return self


TestCountsForItself = suite(
    CountsForItself,
    "test_calls_at_once_are_all_counted",
    "test_no_window_has_more_than_the_limit",
)


class Races(PlainLimiter):
    def hit(self, identity: str, quota: Quota, cost: int = 1) -> RateDecision:
        if self.down:
            return self.answer_down(quota, cost)
        name = self.name(identity, quota)
        before = list(self.logs.get(name, []))
        decision = self.count(name, quota, cost)
        after = self.logs[name]
        if threading.current_thread() is not threading.main_thread():
            time.sleep(0.001)
            self.logs[name] = before + after[len(before) :]
        return decision


TestRaces = suite(Races, "test_calls_at_once_are_all_counted")


class TakesItsTime(PlainLimiter):
    def hit(self, identity: str, quota: Quota, cost: int = 1) -> RateDecision:
        if quota.limit == 10 and "caller-" in identity and not self.down:
            time.sleep(0.06)  # only where it is timed, so that the rest of the suite is fast
        return super().hit(identity, quota, cost)


TestTakesItsTime = suite(
    TakesItsTime,
    "test_a_call_takes_little_time",
)


class WaitsForWhatIsDown(PlainLimiter):
    def answer_down(self, quota: Quota, cost: int) -> RateDecision:
        time.sleep(0.06)
        return super().answer_down(quota, cost)


TestWaitsForWhatIsDown = suite(WaitsForWhatIsDown, "test_a_limiter_that_is_down_answers")


class LetsErrorsThrough(PlainLimiter):
    def answer_down(self, quota: Quota, cost: int) -> RateDecision:
        raise BackendUnavailableError("ratelimit=memory", "down")


TestLetsErrorsThrough = suite(LetsErrorsThrough, "test_a_limiter_that_is_down_answers")


class NeverComplains(PlainLimiter):
    def check(self) -> None:
        return


TestNeverComplains = suite(NeverComplains, "test_a_limiter_that_is_down_fails_its_check")


class AlwaysComplains(PlainLimiter):
    def check(self) -> None:
        raise BackendUnavailableError("ratelimit=memory", "never well")


TestAlwaysComplains = suite(AlwaysComplains, "test_a_limiter_that_works_passes_its_check")
