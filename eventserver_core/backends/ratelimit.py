"""The ``ratelimit`` role: how fast one caller may go."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class Quota:
    """So many units in so many seconds.

    Attributes:
        policy: the quota's name, as callers see it in ``RateLimit-Policy``.
        limit: units in a window; also the largest burst.
        window: seconds.
    """

    policy: str
    limit: int
    window: int


@dataclass(frozen=True, slots=True)
class RateDecision:
    """Whether a call may go on.

    Attributes:
        allowed: whether it may.
        remaining: units that are left now.
        retry_after: seconds until the same call would be allowed; 0 where it is.
        reset_after: seconds until all units are there again.
    """

    allowed: bool
    remaining: int
    retry_after: float
    reset_after: float


@runtime_checkable
class RateLimiter(Protocol):
    """Counts what callers use. Every method may be called from many threads at once."""

    def hit(self, identity: str, quota: Quota, cost: int = 1) -> RateDecision:
        """Take ``cost`` units from an identity's quota, if they are there.

        What is refused MUST cost nothing. In no window of the quota's length, wherever it
        begins, MUST an identity get more than the limit. Identities and policies MUST NOT share
        units.

        This MUST take at most 50 ms, also while a dependency is down. What happens then is the
        backend's own setting: it lets calls through, or some of them, or it raises.

        Args:
            identity: who is calling; any text.
            quota: what it may use.
            cost: at least 1; more than the limit is never allowed.

        Raises:
            BackendUnavailableError: calls can't be counted, and the deployer wants none then.
        """

    def check(self) -> None:
        """Find out whether calls are counted as they should be.

        Raises:
            BackendUnavailableError: they aren't; the message says what to do about it.
        """


@dataclass(frozen=True, slots=True)
class Dependency:
    """A service that a backend needs.

    Attributes:
        name: what callers see it as in ``/health``, such as ``redis``.
        needed: whether calls are refused while it is away.
    """

    name: str
    needed: bool


@runtime_checkable
class DependsOnService(Protocol):
    """What a rate limiter can say besides, where it counts in a service of its own."""

    def dependency(self) -> Dependency:
        """Return the service that it needs; it is not asked whether it answers."""
