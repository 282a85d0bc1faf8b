"""The limiter: Redis counts, and while it is away the settings say what happens."""

from __future__ import annotations

import time
from collections.abc import Collection
from contextlib import suppress

import structlog

from eventserver_core.backends.ratelimit import Dependency, Quota, RateDecision
from eventserver_core.errors import BackendUnavailableError
from eventserver_core.sections import RedisSettings
from eventserver_core.settings import Settings
from eventserver_ratelimit_redis.address import CONNECT_SECONDS, connection_maker
from eventserver_ratelimit_redis.circuit import Circuit
from eventserver_ratelimit_redis.connections import Connections
from eventserver_ratelimit_redis.counting import Counter, counter_key
from eventserver_ratelimit_redis.local_share import LocalShare
from eventserver_ratelimit_redis.settings import CLOSED, OPEN, RateLimitSettings
from eventserver_ratelimit_redis.trouble import ConnectingError, NotCountedError

BACKEND = "ratelimit=redis"

_PART_FOR_REDIS = 0.9
"""How much of the time-out is for Redis; what is left is for deciding without it."""
_CHECK = Quota("check", limit=1_000_000_000, window=60)

_log = structlog.get_logger(__name__)


class RedisRateLimiter:
    """Counts in Redis, over all processes that have the same one.

    Args:
        url: where Redis is.
        pool_size: the most connections at once.
        on_failure: ``local``, ``open`` or ``closed``.
        local_share: of each limit, what one process lets through while Redis is away.
        timeout: the most that a call may take, in seconds.

    Raises:
        ConfigurationError: the address is none.
    """

    def __init__(
        self, url: str, *, pool_size: int, on_failure: str, local_share: float, timeout: float
    ) -> None:
        self._connections = Connections(connection_maker(url), pool_size)
        self._counter = Counter(self._connections)
        self._circuit = Circuit()
        self._local = LocalShare()
        self._on_failure = on_failure
        self._share = local_share
        self._time_for_redis = timeout * _PART_FOR_REDIS
        # a connection may take longer than a call, and nobody waits for an answer yet; whatever
        # is wrong, the first call says it
        with suppress(NotCountedError):
            self._connections.prepare(time.monotonic() + CONNECT_SECONDS)

    @classmethod
    def from_settings(cls, settings: Settings) -> RedisRateLimiter:
        """Make the backend that the settings describe.

        Raises:
            ConfigurationError: ``redis.url`` is no address.
        """
        redis, ratelimit = settings[RedisSettings], settings[RateLimitSettings]
        return cls(
            redis.url,
            pool_size=redis.pool_size,
            on_failure=ratelimit.on_failure,
            local_share=ratelimit.local_share,
            timeout=ratelimit.timeout,
        )

    def hit(self, identity: str, quota: Quota, cost: int = 1) -> RateDecision:
        """Take units from a quota; see ``RateLimiter.hit``.

        Where a call can never be allowed, since it costs more than the limit, ``retry_after`` is
        one window.

        Raises:
            BackendUnavailableError: Redis is away, and the settings want nothing through then.
            ValueError: the cost is under 1.
        """
        if cost < 1:
            raise ValueError(f"a call costs at least 1, not {cost}")
        key = counter_key(identity, quota)
        failure = None
        if self._circuit.admits():
            try:
                return self._count(quota, key, cost)
            except NotCountedError as ex:
                failure = ex
        self._circuit.count_bypass()
        return self._decide_alone(quota, key, cost, failure)

    def check(self) -> None:
        """Count a call of nobody's, as a request would; see ``RateLimiter.check``."""
        try:
            self._connections.prepare(time.monotonic() + CONNECT_SECONDS)
            self._count(_CHECK, counter_key("", _CHECK), 1)
        except NotCountedError as ex:
            raise BackendUnavailableError(BACKEND, str(ex)) from ex

    def prompt_methods(self) -> Collection[str]:
        """Return those that wait for Redis within their own time-out, or for nothing."""
        return ("hit", "dependency")

    def dependency(self) -> Dependency:
        """Return that Redis is needed where nothing is let through without it."""
        return Dependency("redis", needed=self._on_failure == CLOSED)

    def _count(self, quota: Quota, key: str, cost: int) -> RateDecision:
        began = time.monotonic()
        lowered = quota.limit if self._on_failure == OPEN else self._share_of(quota)
        try:
            counted = self._counter.count(began + self._time_for_redis, quota, key, cost, lowered)
        except ConnectingError:
            raise
        except NotCountedError as ex:
            self._connections.close_idle()
            if self._circuit.fail():
                _log.error(
                    "rate_limit_degraded",
                    on_failure=self._on_failure,
                    error=ex.kind,
                    advice=ex.advice,
                )
            raise
        outage = self._circuit.succeed(began)
        if outage:
            _log.warning(
                "rate_limit_recovered", calls=outage.calls, seconds=round(outage.seconds, 3)
            )
        if counted.noticed_loss:
            _log.error("rate_limit_counts_lost", on_failure=self._on_failure)
        return counted.decision

    def _decide_alone(
        self, quota: Quota, key: str, cost: int, failure: NotCountedError | None
    ) -> RateDecision:
        if self._on_failure == CLOSED:
            reason = (
                str(failure) if failure else "Redis is away; calls are refused until it is back"
            )
            raise BackendUnavailableError(BACKEND, reason) from failure
        if self._on_failure == OPEN:
            if cost <= quota.limit:
                return RateDecision(True, quota.limit - cost, 0.0, 0.0)
            return RateDecision(False, quota.limit, float(quota.window), 0.0)
        return self._local.hit(key, self._share_of(quota), quota.window, cost)

    def _share_of(self, quota: Quota) -> int:
        return max(1, int(quota.limit * self._share + 1e-9))
