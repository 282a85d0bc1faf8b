"""Counting in Redis: one script, one round trip."""

from __future__ import annotations

import hashlib
import threading
import time
from dataclasses import dataclass
from importlib import resources

from redis.exceptions import NoScriptError, RedisError

from eventserver_core.backends.ratelimit import Quota, RateDecision
from eventserver_ratelimit_redis.connections import Connections
from eventserver_ratelimit_redis.trouble import diagnose

PREFIX = "eventserver:ratelimit:"
STATE_KEY = PREFIX + "state"

_MAX_LIMIT = 2**52
"""Lua's numbers are exact up to 2^53."""
_SCRIPT = resources.files(__package__).joinpath("count.lua").read_bytes()
_SCRIPT_DIGEST = hashlib.sha1(_SCRIPT, usedforsecurity=False).hexdigest()
_MICROSECONDS = 1_000_000
_MOST = 2**53
_CLOCKS_APART = 86_400.0
"""Seconds that Redis's clock may be ahead of this machine's."""


@dataclass(frozen=True, slots=True)
class Counted:
    """What Redis answered.

    Attributes:
        decision: whether the call may go on.
        noticed_loss: whether this call was the first to notice that counts were lost.
    """

    decision: RateDecision
    noticed_loss: bool


class Counter:
    """Counts calls in Redis.

    It remembers how far Redis's own account of its counts had come. A Redis that is behind that
    was emptied or set back: it then lets less through until a window has passed.

    Args:
        connections: what Redis is asked by.
    """

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._lock = threading.Lock()
        self._seen = (0, 0)

    def count(self, deadline: float, quota: Quota, key: str, cost: int, lowered: int) -> Counted:
        """Take units from a quota.

        Args:
            deadline: on the monotonic clock.
            quota: what may be used.
            key: whose units they are; see ``counter_key``.
            cost: how many.
            lowered: the limit for a window after counts were lost.

        Raises:
            NotCountedError: no answer came in time, or it was an error.
        """
        limit = min(quota.limit, _MAX_LIMIT)
        with self._lock:
            seen = self._seen
        keys = (PREFIX + key, STATE_KEY)
        arguments = (limit, quota.window, min(cost, limit + 1), min(lowered, limit), *seen)
        try:
            answer = self._run(deadline, len(keys), *keys, *arguments)
            numbers = [_plausible(number) for number in answer]
            allowed, remaining, retry_in, reset_in, epoch, grants, noticed = numbers
            _require_near(epoch)
        except (RedisError, OSError, RuntimeError, TypeError, ValueError) as ex:
            raise diagnose(ex) from ex
        with self._lock:
            self._seen = max(self._seen, (epoch, grants))
        decision = RateDecision(
            bool(allowed), remaining, retry_in / _MICROSECONDS, reset_in / _MICROSECONDS
        )
        return Counted(decision, bool(noticed))

    def _run(self, deadline: float, *words: str | int) -> list[int]:
        ask = self._connections.ask
        try:
            answer: list[int] = ask(deadline, "EVALSHA", _SCRIPT_DIGEST, *words)
        except NoScriptError:
            # it forgets scripts as it restarts or is told to
            ask(deadline, "SCRIPT", "LOAD", _SCRIPT)
            answer = ask(deadline, "EVALSHA", _SCRIPT_DIGEST, *words)
        return answer


def _plausible(number: object) -> int:
    """Return a number that the script can have answered with; a server may say anything."""
    if not isinstance(number, int) or not 0 <= number < _MOST:
        raise ValueError("no number that the script answers with")
    return number


def _require_near(epoch: int) -> None:
    """Refuse an epoch far ahead: remembered and told again, it would lower all limits for long."""
    if epoch > (time.time() + _CLOCKS_APART) * _MICROSECONDS:
        raise ValueError("an epoch far ahead of the clock")


def counter_key(identity: str, quota: Quota) -> str:
    """Return a name for an identity's units in a quota; any text gives one of the same length."""
    text = f"{len(quota.policy)}:{quota.policy}{quota.window}:{identity}"
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:40]
