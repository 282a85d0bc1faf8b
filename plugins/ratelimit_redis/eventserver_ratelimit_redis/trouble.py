"""What can be wrong with Redis, and what to do about it."""

from __future__ import annotations

from redis import exceptions as redis_errors

_ADVICE: tuple[tuple[type[Exception], str], ...] = (
    (redis_errors.AuthenticationError, "Redis wants another password; see to redis.url"),
    (redis_errors.NoPermissionError, "Redis denies its user a command; see the plugin's README"),
    (redis_errors.OutOfMemoryError, "Redis is out of memory; raise its maxmemory"),
    (redis_errors.ReadOnlyError, "Redis is a read-only replica; redis.url must name the primary"),
    (redis_errors.BusyLoadingError, "Redis is still loading what it kept; wait for it"),
    (redis_errors.MasterDownError, "Redis is a replica that lost its primary; see to both"),
    (redis_errors.ClusterDownError, "redis.url names a cluster; a single Redis is needed"),
    (redis_errors.AskError, "redis.url names a cluster; a single Redis is needed"),
    (redis_errors.ClusterCrossSlotError, "redis.url names a cluster; a single Redis is needed"),
    (redis_errors.InvalidResponse, "what redis.url names is not a Redis"),
    (redis_errors.ResponseError, "Redis refused to count; see to its log"),
    (redis_errors.TimeoutError, "Redis did not answer in time; see to its load and the network"),
    (TimeoutError, "Redis did not answer in time; see to its load and the network"),
    (redis_errors.ConnectionError, "Redis can't be reached; see to redis.url and whether it runs"),
    (OSError, "Redis can't be reached; see to redis.url and whether it runs"),
)
_SAID: tuple[tuple[str, type[redis_errors.RedisError]], ...] = (
    ("unauthenticated", redis_errors.AuthenticationError),
    ("ACL failure", redis_errors.NoPermissionError),
)
"""What the library takes for any error: of a long command without a password, of a script."""


class NotCountedError(Exception):
    """A call could not be counted.

    Attributes:
        kind: which error it was, as one word for the log.
        advice: what to do about it.
    """

    def __init__(self, kind: str, advice: str) -> None:
        super().__init__(f"{advice} ({kind})")
        self.kind = kind
        self.advice = advice


class ConnectingError(NotCountedError):
    """A call could not be counted, since the first connection is still being made.

    That says nothing of Redis yet: a connection may well take longer than a call.
    """


def diagnose(error: Exception) -> NotCountedError:
    """Say in our own words what is wrong; a server's may repeat a password."""
    if isinstance(error, redis_errors.ResponseError):
        error = next((kind() for text, kind in _SAID if text in str(error)), error)
    advice = next((text for kind, text in _ADVICE if isinstance(error, kind)), "")
    word = str(error).partition(" ")[0]
    if type(error) is redis_errors.ResponseError and word.isalpha() and word.isupper():
        return NotCountedError(word, advice)
    return NotCountedError(type(error).__name__, advice or "counting failed; report this")
