"""The backend keeps the contract of its role, whichever way it fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from eventserver_ratelimit_redis import RedisRateLimiter

from eventserver_core.testing.clock import Clock, RealClock
from eventserver_core.testing.contracts.ratelimit import RateLimiterContract
from eventserver_core.testing.parts import Valkey


@pytest.fixture(scope="module")
def hanging(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """Return a Valkey whose port is open, and that answers nothing."""
    with Valkey(tmp_path_factory.mktemp("hanging")) as part:
        part.pause()
        yield part
        part.resume()


class TestRedisRateLimiter(RateLimiterContract):
    clock_type = RealClock
    on_failure = "local"

    @pytest.fixture
    def backend_factory(
        self,
        valkey: Valkey,
        hanging: Valkey,
        make_limiter: Callable[..., RedisRateLimiter],
    ) -> Callable[..., RedisRateLimiter]:
        def make(_: Clock, *, down: bool = False) -> RedisRateLimiter:
            if down:
                return make_limiter(hanging.url, on_failure=self.on_failure, timeout=0.05)
            return make_limiter(valkey.url, on_failure=self.on_failure)

        return make


class TestOpenRedisRateLimiter(TestRedisRateLimiter):
    on_failure = "open"
