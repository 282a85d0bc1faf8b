"""The names a relay may have in its certificate: host names and IP addresses."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TypeAlias

from cryptography import x509

from eventserver_core.errors import InvalidInputError

HostName: TypeAlias = x509.DNSName | x509.IPAddress

_LABEL = r"(?!-)[a-z0-9-]{1,63}(?<!-)"
# A last label of digits would make it an IPv4 address to some readers and a name to others.
_HOST = re.compile(rf"(?:{_LABEL}\.)*(?!\d+\Z|0x[0-9a-f]*\Z){_LABEL}\Z", re.ASCII)
_MAX_HOST = 253


@dataclass(frozen=True, slots=True)
class AllowedNames:
    """What a request may name.

    Attributes:
        common_name: the relay's id, the subject's CN.
        hosts: DNS names in lower case, an international one as its A-labels.
        addresses: IP addresses; an IPv4 one and the IPv6 one that maps it are two.
    """

    common_name: str
    hosts: frozenset[str]
    addresses: frozenset[IPv4Address | IPv6Address]

    @classmethod
    def of(cls, common_name: str, names: Iterable[str]) -> AllowedNames:
        """Sort names as people write them into host names and IP addresses.

        Raises:
            InvalidInputError: one of them is neither.
        """
        hosts: set[str] = set()
        addresses: set[IPv4Address | IPv6Address] = set()
        for name in names:
            address = _address(name)
            if address is not None:
                addresses.add(address)
            else:
                hosts.add(_host(name))
        return cls(common_name, frozenset(hosts), frozenset(addresses))

    def all(self) -> list[HostName]:
        """Return every name, in one order."""
        addresses = sorted(self.addresses, key=lambda address: (address.version, address))
        return [
            *(x509.DNSName(host) for host in sorted(self.hosts)),
            *(x509.IPAddress(address) for address in addresses),
        ]

    def hold(self, name: x509.GeneralName) -> bool:
        """Say whether a name of a request is one of these; wildcards and URIs never are."""
        if isinstance(name, x509.DNSName):
            return name.value.lower() in self.hosts
        return isinstance(name, x509.IPAddress) and name.value in self.addresses

    def hold_common_name(self, text: str) -> bool:
        """Say whether a CN is the relay's id or one of its names."""
        if text == self.common_name or text.lower() in self.hosts:
            return True
        address = _address(text)
        return address is not None and address in self.addresses


def normalized(name: HostName) -> HostName:
    """Return a name in the one form that is certified."""
    return x509.DNSName(name.value.lower()) if isinstance(name, x509.DNSName) else name


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    # a zone, as in fe80::1%eth0, means something on one machine only
    return None if getattr(address, "scope_id", None) else address


def _host(text: str) -> str:
    host = text.lower().removesuffix(".")
    if len(host) > _MAX_HOST or not _HOST.match(host):
        raise InvalidInputError(
            f"{text[: _MAX_HOST + 1]!r} is neither a DNS name (an international one is written "
            "as its A-labels, xn--…) nor an IP address"
        )
    return host
