"""What the devices share, and nobody takes all of: connections, and memory for what they send."""

from __future__ import annotations

import ipaddress
import threading
from collections import Counter

_NETWORK_BITS = 64
"""Of an IPv6 address: whoever has one has the whole network."""


class Shares:
    """So much of something, and not more than so much for each; safe to share between threads.

    Args:
        most: how much there is.
        most_each: how much each may take.
    """

    def __init__(self, most: int, most_each: int) -> None:
        self._left = most
        self._most_each = most_each
        self._taken: Counter[str] = Counter()
        self._lock = threading.Lock()

    def take(self, whom: str, amount: int) -> bool:
        """Take some; tell whether there was as much."""
        with self._lock:
            if amount > self._left or self._taken[whom] + amount > self._most_each:
                return False
            self._left -= amount
            self._taken[whom] += amount
            return True

    def give_back(self, whom: str, amount: int) -> None:
        """Give back what was taken."""
        with self._lock:
            self._left += amount
            self._taken[whom] -= amount
            if not self._taken[whom]:
                del self._taken[whom]


def whose(address: str) -> str:
    """Return who counts as one: an IPv4 address, or a network of IPv6 addresses."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    if found.ipv4_mapped:
        return str(found.ipv4_mapped)
    network = ipaddress.ip_network((found, _NETWORK_BITS), strict=False)
    return str(network.network_address)
