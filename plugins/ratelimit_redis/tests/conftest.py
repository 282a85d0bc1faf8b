"""What the tests of this plugin share: limiters on a Valkey, and a Valkey that may be harmed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from eventserver_ratelimit_redis import RedisRateLimiter

from eventserver_core.backends.ratelimit import Quota
from eventserver_core.testing.parts import Valkey

MakeLimiter = Callable[..., RedisRateLimiter]
WAITING_SECONDS = 30.0
DEFAULT = 0.05
PATIENT = 10.0
"""Longer than the settings allow, for tests of what is counted: the machine may be busy."""


@pytest.fixture
def make_limiter() -> MakeLimiter:
    """Return a function that makes a limiter on a server, one with patience."""

    def make(
        url: str,
        *,
        on_failure: str = "local",
        local_share: float = 0.1,
        timeout: float = PATIENT,
        pool_size: int = 10,
    ) -> RedisRateLimiter:
        return RedisRateLimiter(
            url,
            pool_size=pool_size,
            on_failure=on_failure,
            local_share=local_share,
            timeout=timeout,
        )

    return make


@pytest.fixture
def own_valkey(tmp_path: Path) -> Iterator[Valkey]:
    """Return a Valkey of this test's own, to be stopped, paused and reconfigured."""
    with Valkey(tmp_path / "valkey") as part:
        yield part
        if part.is_running():
            part.resume()


@pytest.fixture
def quota() -> Quota:
    """Return a quota whose units nobody else uses."""
    return Quota(f"policy-{uuid4()}", limit=50, window=60)


@pytest.fixture
def wait_until() -> Callable[[Callable[[], object]], None]:
    """Return a function that asks until the answer is true."""

    def wait(condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + WAITING_SECONDS
        while not condition():
            assert time.monotonic() < deadline, "it did not come true"
            time.sleep(0.02)

    return wait


@pytest.fixture
def take() -> Callable[..., int]:
    """Return a function that calls so many times, and returns how many were allowed."""

    def take(limiter: RedisRateLimiter, quota: Quota, calls: int = 0, who: str = "caller") -> int:
        calls = calls or 2 * quota.limit
        return sum(limiter.hit(who, quota).allowed for _ in range(calls))

    return take
