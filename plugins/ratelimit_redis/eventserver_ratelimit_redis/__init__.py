"""Rate limits that are counted in Redis, over all processes of all instances.

The entry point ``redis`` in the group ``eventserver.ratelimit`` names this module.
"""

from __future__ import annotations

from collections.abc import Sequence

from eventserver_core.hookspecs import hookimpl
from eventserver_core.settings import Section, Settings
from eventserver_ratelimit_redis.backend import RedisRateLimiter
from eventserver_ratelimit_redis.settings import RateLimitSettings

__all__ = [
    "RateLimitSettings",
    "RedisRateLimiter",
    "eventserver_ratelimit_backend",
    "eventserver_settings",
]


@hookimpl
def eventserver_settings() -> Sequence[type[Section]]:
    """Bring the section ``ratelimit``."""
    return [RateLimitSettings]


@hookimpl
def eventserver_ratelimit_backend(settings: Settings) -> RedisRateLimiter:
    """Make the backend, and a first connection if Redis lets us within a second.

    Raises:
        ConfigurationError: ``redis.url`` is not an address of a Redis.
    """
    return RedisRateLimiter.from_settings(settings)
