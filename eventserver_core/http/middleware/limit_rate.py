"""Keeps callers to their pace, and tells them what is left.

Whoever shows a certificate is counted by identity; where none is asked for, the address counts.
"""

from __future__ import annotations

import ipaddress
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import falcon

from eventserver_core.backends.ratelimit import Quota, RateDecision, RateLimiter
from eventserver_core.errors import RateLimitedError
from eventserver_core.http.access import Access
from eventserver_core.metrics.definitions import RATELIMIT_REFUSALS

_LONGEST_ADDRESS = 64
_MAX_REMEMBERED = 10_000
_SHORTEST_PAUSE = 1.0
"""Seconds; for so long who has used up all that there is has no batch read."""

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class RateLimits:
    """What an identity may use.

    Attributes:
        plain: for every class of routes that has none of its own; these share it.
        finer: for single classes, by their names in ``http.access``.
        unit_size: so many bytes of a body count as one more call.
        max_body_size: in bytes; what a body counts as whose length isn't said.
    """

    plain: Quota
    finer: Mapping[str, Quota]
    unit_size: int
    max_body_size: int

    def quota(self, route_class: str) -> Quota:
        """Return the limit that a class of routes counts against."""
        return self.finer.get(route_class, self.plain)

    def cost(self, req: falcon.Request, quota: Quota, calls: int = 1) -> int:
        """Return how many calls a request counts as: a video is not a ping, nor is a batch.

        Never more than there are: whatever may be sent at all can be sent by who is patient.

        Args:
            req: the request.
            quota: what it counts against.
            calls: how many it stands for, whatever its size.
        """
        chunked = req.content_length is None and req.get_header("Transfer-Encoding") is not None
        declared = self.max_body_size if chunked and calls == 1 else req.content_length or 0
        size = min(declared, self.max_body_size)  # of more, nothing is read
        return min(max(calls, 1 + size // self.unit_size), quota.limit)


class LimitRate:
    """Counts limited calls.

    Args:
        limiter: counts.
        limits: what an identity may use.
        trusted_proxies: addresses or networks whose X-Forwarded-For is believed.
    """

    def __init__(
        self, limiter: RateLimiter, limits: RateLimits, trusted_proxies: Sequence[_Network]
    ) -> None:
        self._limiter = limiter
        self._limits = limits
        self._trusted = trusted_proxies
        self._refused: dict[tuple[str, str], tuple[float, int]] = {}

    def process_resource(
        self, req: falcon.Request, resp: falcon.Response, _resource: Any, _params: Any
    ) -> None:
        access: Access | None = getattr(req.context, "access", None)
        if access is None or access.route_class is None:
            return
        credentials = getattr(req.context, "credentials", None)
        identity = credentials.subject if credentials else f"address:{self._network(req)}"
        charge = partial(self._charge, req, resp, identity, access.route_class)
        if not access.counts_lines or credentials is None or credentials.role not in access.roles:
            charge(1)
        else:
            self._refuse_at_once(resp, identity, access.route_class)
            req.context.charge = charge  # by the resource, once it has read how much it is

    def _charge(
        self,
        req: falcon.Request,
        resp: falcon.Response,
        identity: str,
        route_class: str,
        calls: int,
    ) -> None:
        quota = self._limits.quota(route_class)
        cost = self._limits.cost(req, quota, calls)
        decision = self._limiter.hit(identity, quota, cost)
        if not decision.allowed or not decision.remaining:
            self._remember(identity, route_class, decision)
        _tell(resp, quota, decision.remaining, decision.reset_after)
        if not decision.allowed:
            RATELIMIT_REFUSALS.labels(route_class).inc()
            size = f"; this one counts as {cost}, for what it holds" if cost > 1 else ""
            raise RateLimitedError(
                f"more than {quota.limit} calls in {quota.window} seconds{size}",
                decision.retry_after,
            )

    def _remember(self, identity: str, route_class: str, decision: RateDecision) -> None:
        if len(self._refused) >= _MAX_REMEMBERED:
            self._refused.clear()
        until = time.monotonic() + max(decision.retry_after, _SHORTEST_PAUSE)
        self._refused[identity, route_class] = until, decision.remaining

    def _refuse_at_once(self, resp: falcon.Response, identity: str, route_class: str) -> None:
        """Refuse who comes back before it was told to: reading a batch costs more than a refusal.

        Raises:
            RateLimitedError: it did.
        """
        until, remaining = self._refused.get((identity, route_class), (0.0, 0))
        left = until - time.monotonic()
        if left <= 0:
            return
        quota = self._limits.quota(route_class)
        _tell(resp, quota, remaining, left)
        RATELIMIT_REFUSALS.labels(route_class).inc()
        raise RateLimitedError(f"more than {quota.limit} calls in {quota.window} seconds", left)

    def address(self, req: falcon.Request) -> str:
        """Return the address that a request came from, past the proxies that are trusted."""
        address: str = req.remote_addr
        forwarded = [hop.strip() for hop in (req.get_header("X-Forwarded-For") or "").split(",")]
        while forwarded and self._is_trusted(address):
            nearest = forwarded.pop()
            if _parsed(nearest) is None:
                break
            address = nearest
        return address

    def _network(self, req: falcon.Request) -> str:
        """Return what is counted as one caller: an IPv6 host has a whole /64 to itself."""
        address = _parsed(self.address(req))
        if isinstance(address, ipaddress.IPv6Address):
            return str(ipaddress.ip_network((address, 64), strict=False))
        return str(address)

    def _is_trusted(self, address: str) -> bool:
        parsed = _parsed(address)
        return parsed is not None and any(parsed in network for network in self._trusted)


def _tell(resp: falcon.Response, quota: Quota, remaining: int, reset_after: float) -> None:
    name = f'"{quota.policy}"'
    resp.set_header("RateLimit-Policy", f"{name};q={quota.limit};w={quota.window}")
    resp.set_header("RateLimit", f"{name};r={remaining};t={math.ceil(reset_after)}")


def _parsed(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Read an address; an IPv4 one that was written as IPv6 (RFC 4291, 2.5.5.2) is what it is."""
    return _read_address(text) if len(text) <= _LONGEST_ADDRESS else None


@lru_cache(maxsize=4096)
def _read_address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
