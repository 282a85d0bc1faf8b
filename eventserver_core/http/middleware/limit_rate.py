"""Keeps callers to their pace, and tells them what is left.

Whoever shows a certificate is counted by identity; where none is asked for, the address counts.
"""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Sequence
from typing import Any

import falcon

from eventserver_core.backends.ratelimit import Quota, RateLimiter
from eventserver_core.errors import RateLimitedError
from eventserver_core.http.access import Access

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class LimitRate:
    """Counts limited calls.

    Args:
        limiter: counts.
        quota: what an identity may use.
        trusted_proxies: addresses or networks whose X-Forwarded-For is believed.
    """

    def __init__(
        self, limiter: RateLimiter, quota: Quota, trusted_proxies: Sequence[_Network]
    ) -> None:
        self._limiter = limiter
        self._quota = quota
        self._trusted = trusted_proxies

    def process_resource(
        self, req: falcon.Request, resp: falcon.Response, _resource: Any, _params: Any
    ) -> None:
        access: Access | None = getattr(req.context, "access", None)
        if access is None or not access.limited:
            return
        credentials = getattr(req.context, "credentials", None)
        identity = credentials.subject if credentials else f"address:{self._network(req)}"
        quota = self._quota
        decision = self._limiter.hit(identity, quota)
        name = f'"{quota.policy}"'
        resp.set_header("RateLimit-Policy", f"{name};q={quota.limit};w={quota.window}")
        reset = math.ceil(decision.reset_after)
        resp.set_header("RateLimit", f"{name};r={decision.remaining};t={reset}")
        if not decision.allowed:
            raise RateLimitedError(
                f"more than {quota.limit} calls in {quota.window} seconds", decision.retry_after
            )

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


def _parsed(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Read an address; an IPv4 one that was written as IPv6 (RFC 4291, 2.5.5.2) is what it is."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
