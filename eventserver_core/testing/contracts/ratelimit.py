"""The contract of the ``ratelimit`` role; see ``eventserver_core.backends.ratelimit``."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product
from typing import ClassVar, Protocol
from uuid import uuid4

import pytest

from eventserver_core.backends.ratelimit import Quota, RateDecision, RateLimiter
from eventserver_core.errors import BackendUnavailableError
from eventserver_core.testing.clock import Clock, ManualClock

MAX_DURATION = 0.05
"""How long one call may take, in seconds."""
SLACK = 0.05
"""How much later than promised units may come back, in parts of a window."""
TICK = 0.001
"""The shortest time that a limiter has to tell apart, in seconds."""


class RateLimiterFactory(Protocol):
    """What the fixture ``backend_factory`` returns."""

    def __call__(self, clock: Clock, *, down: bool = False) -> RateLimiter:
        """Return a new instance.

        Args:
            clock: what the instance goes by. One that asks another machine for the time ignores
                it; its suite says so with ``clock_type``.
            down: make one whose dependency fails: with what is asked over a network nobody
                answers, what is kept in a file is damaged. Nothing else is asked of a limiter in
                the tests that do this.
        """


@dataclass(frozen=True, slots=True)
class Grant:
    """Units that an identity got, between two moments."""

    units: int
    began: float
    ended: float


class RateLimiterContract:
    """What every rate limiter must do.

    The fixture ``backend_factory`` gives a :class:`RateLimiterFactory`; all instances made in a
    test count together.

    Attributes:
        clock_type: ``ManualClock``, or ``RealClock`` for a backend that can't be given a clock;
            the suite then takes as long as its windows do, some twenty seconds.
        window: seconds in the quotas that the suite waits for.
    """

    clock_type: ClassVar[Callable[[], Clock]] = ManualClock
    window: ClassVar[int] = 2

    @pytest.fixture
    def clock(self) -> Clock:
        """Return the clock that a test goes by."""
        return type(self).clock_type()

    @pytest.fixture
    def backend(self, backend_factory: RateLimiterFactory, clock: Clock) -> RateLimiter:
        """Return an instance for tests that need only one."""
        return backend_factory(clock)

    def quota(self, limit: int = 10, window: int = 0, policy: str = "") -> Quota:
        """Return a quota, by default over the suite's window and under a policy of its own."""
        return Quota(policy or f"policy-{uuid4()}", limit, window or self.window)

    def test_it_is_a_rate_limiter(self, backend: RateLimiter) -> None:
        """It has every method of the Protocol."""
        assert isinstance(backend, RateLimiter)

    def test_units_are_there_until_they_are_used(self, backend: RateLimiter) -> None:
        """Take ``cost`` units from an identity's quota, if they are there."""
        quota = self.quota(limit=10, window=60)
        for cost, remaining in ((1, 9), (4, 5), (5, 0)):
            decision = backend.hit("caller", quota, cost)
            assert (decision.allowed, decision.remaining) == (True, remaining)
            assert decision.retry_after == 0
            assert 0 < decision.reset_after <= 60 * (1 + SLACK)
        refused = backend.hit("caller", quota)
        assert (refused.allowed, refused.remaining) == (False, 0)
        assert 0 < refused.retry_after <= 60 * (1 + SLACK)

    def test_what_is_refused_costs_nothing(self, backend: RateLimiter) -> None:
        """What is refused MUST cost nothing."""
        quota = self.quota(limit=10, window=60)
        assert backend.hit("caller", quota, 7).allowed
        for _ in range(20):
            assert not backend.hit("caller", quota, 4).allowed
        assert backend.hit("caller", quota, 3).allowed

    def test_no_window_has_more_than_the_limit(
        self, backend_factory: RateLimiterFactory, clock: Clock
    ) -> None:
        """In no window of the quota's length, wherever it begins, MUST an identity get more
        than the limit.

        Callers that take all they can get, each with pauses of its own, through two instances.
        """
        instances = [backend_factory(clock), backend_factory(clock)]
        quota = self.quota(limit=7)
        grants: dict[int, list[Grant]] = {caller: [] for caller in range(8)}
        for step in range(60):
            clock.advance(self.window / 20)
            for caller, limiter in product(grants, instances):
                if (step + caller) % 4:
                    cost = 1 + (step + caller) % 3
                    grants[caller] += take_all(limiter, f"caller-{caller}", quota, cost, clock)
        for granted in grants.values():
            assert busiest_window(granted, quota.window) <= quota.limit
            assert sum(grant.units for grant in granted) > quota.limit

    def test_the_edge_of_a_window_gives_no_double_burst(
        self, backend: RateLimiter, clock: Clock
    ) -> None:
        """In no window of the quota's length, wherever it begins, MUST an identity get more
        than the limit.

        One burst, and a tenth of a window later another: some pair lies on each side of any edge.
        """
        quota = self.quota(limit=5)
        grants: dict[int, list[Grant]] = {phase: [] for phase in range(12)}
        for step in range(13):
            for phase in {step, step - 1} & grants.keys():
                grants[phase] += take_all(backend, f"phase-{phase}", quota, 1, clock)
            clock.advance(self.window / 10)
        for granted in grants.values():
            assert busiest_window(granted, quota.window) == quota.limit

    def test_units_come_back(self, backend: RateLimiter, clock: Clock) -> None:
        """retry_after: seconds until the same call would be allowed; 0 where it is."""
        quota = self.quota(limit=10)
        assert backend.hit("caller", quota, 6).allowed
        clock.advance(self.window / 4)
        assert backend.hit("caller", quota, 4).allowed
        refused = backend.hit("caller", quota, 5)
        assert not refused.allowed
        assert refused.retry_after <= self.window * (0.75 + SLACK)
        clock.advance(refused.retry_after)
        assert backend.hit("caller", quota, 5).allowed

    def test_in_the_end_all_units_are_back(self, backend: RateLimiter, clock: Clock) -> None:
        """reset_after: seconds until all units are there again."""
        quota = self.quota(limit=10)
        backend.hit("caller", quota, 3)
        clock.advance(self.window / 4)
        decision = backend.hit("caller", quota, 7)
        assert decision.reset_after <= self.window * (1 + SLACK)
        clock.advance(decision.reset_after)
        assert backend.hit("caller", quota, 10).allowed

    def test_what_costs_more_than_the_limit_is_never_allowed(self, backend: RateLimiter) -> None:
        """cost: at least 1; more than the limit is never allowed."""
        quota = self.quota(limit=10)
        refused = backend.hit("caller", quota, 11)
        assert not refused.allowed
        assert 0 < refused.retry_after < math.inf
        assert backend.hit("caller", quota, 10).allowed

    def test_identities_do_not_share_units(self, backend: RateLimiter) -> None:
        """Identities and policies MUST NOT share units.

        An identity is any text.
        """
        quota = self.quota(limit=1, window=60)
        identities = [
            "",
            "a",
            "A",
            "a ",
            "a\0",
            "a:",
            "a\n",
            "a*",
            "{a}",
            "\N{LATIN SMALL LETTER E WITH ACUTE}",
            "e\N{COMBINING ACUTE ACCENT}",
            "\ud800",
            "?",
            "a" * 10_000,
            "a" * 10_001,
        ]
        assert all(backend.hit(identity, quota).allowed for identity in identities)
        assert not any(backend.hit(identity, quota).allowed for identity in identities)

    def test_policies_do_not_share_units(self, backend: RateLimiter) -> None:
        """Identities and policies MUST NOT share units.

        Whatever stands between the two when they are joined.
        """
        own = str(uuid4())
        pairs = [
            (own, "caller"),
            (f"{own}-2", "caller"),
            *((f"{own}{mark}a", "b") for mark in ":\0/|-"),
            *((own, f"a{mark}b") for mark in ":\0/|-"),
            (f"{own}a", "b"),
            (own, "ab"),
        ]
        quotas = [(self.quota(1, 60, policy), identity) for policy, identity in pairs]
        assert all(backend.hit(identity, quota).allowed for quota, identity in quotas)
        assert not any(backend.hit(identity, quota).allowed for quota, identity in quotas)

    def test_calls_at_once_are_all_counted(
        self, backend_factory: RateLimiterFactory, clock: Clock
    ) -> None:
        """Counts what callers use. Every method may be called from many threads at once."""
        quota = self.quota(limit=50, window=60)
        instances = [backend_factory(clock) for _ in range(2)]

        def call(turn: int) -> bool:
            return instances[turn % 2].hit("caller", quota).allowed

        with ThreadPoolExecutor(8) as pool:
            allowed = sum(pool.map(call, range(200)))
        assert allowed == quota.limit

    def test_a_call_takes_little_time(self, backend: RateLimiter) -> None:
        """This MUST take at most 50 ms, also while a dependency is down.

        What counts is the median: the machine may be busy with something else now and then.
        """
        quota = self.quota(limit=10)
        assert median_duration(backend, quota) < MAX_DURATION

    def test_a_limiter_that_is_down_answers(
        self, backend_factory: RateLimiterFactory, clock: Clock
    ) -> None:
        """This MUST take at most 50 ms, also while a dependency is down. What happens then is the
        backend's own setting: it lets calls through, or some of them, or it raises.

        The factory gives one that doesn't raise.
        """
        down = backend_factory(clock, down=True)
        quota = self.quota(limit=10)
        assert isinstance(down.hit("caller", quota), RateDecision)
        assert median_duration(down, quota) < MAX_DURATION
        assert not down.hit("caller", quota, 11).allowed

    def test_a_limiter_that_works_passes_its_check(self, backend: RateLimiter) -> None:
        """Find out whether calls are counted as they should be."""
        backend.check()

    def test_a_limiter_that_is_down_fails_its_check(
        self, backend_factory: RateLimiterFactory, clock: Clock
    ) -> None:
        """BackendUnavailableError: they aren't; the message says what to do about it."""
        with pytest.raises(BackendUnavailableError):
            backend_factory(clock, down=True).check()


def take_all(
    limiter: RateLimiter, identity: str, quota: Quota, cost: int, clock: Clock
) -> list[Grant]:
    """Call until the answer is no, and return what was granted."""
    grants: list[Grant] = []
    for _ in range(2 * quota.limit):
        began = clock()
        if not limiter.hit(identity, quota, cost).allowed:
            break
        grants.append(Grant(cost, began, clock()))
    return grants


def busiest_window(grants: Iterable[Grant], length: float) -> int:
    """Return the most units that surely lie in one window of this length, wherever it begins."""
    ordered = list(grants)
    return max(
        sum(
            later.units
            for later in ordered[first:]
            if later.ended - ordered[first].began < length - TICK
        )
        for first in range(len(ordered))
    )


def median_duration(limiter: RateLimiter, quota: Quota) -> float:
    """Return how long the middle one of 21 calls takes, in seconds."""
    durations = []
    for number in range(21):
        began = time.perf_counter()
        limiter.hit(f"caller-{number}", quota)
        durations.append(time.perf_counter() - began)
    return sorted(durations)[10]
