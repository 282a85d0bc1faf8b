"""Where a relay is called, and which addresses must never be.

A server that calls an address somebody gave it can be made to call what only it can reach: the
cloud's metadata service, its own loopback, the network it stands in. So an address is read
strictly, and what its name resolves to is judged before anything is sent.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network

DEFAULT_PORT = 443

_MAX_NAME_LENGTH = 253
_ADDRESS = re.compile(r"(\[(?P<v6>[0-9a-fA-F:.]{2,45})\]|(?P<name>[^\[\]:]+))(:(?P<port>[^:]*))?\Z")
_PORT = re.compile(r"[1-9][0-9]{0,4}\Z")
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\Z")
# as resolvers and the WHATWG's URLs have it: a name that ends in a number is an IPv4 address
_NUMBER = re.compile(r"([0-9]+|0x[0-9a-f]*)\Z")


@dataclass(frozen=True, slots=True)
class NetworkAddress:
    """A host and a TCP port.

    Attributes:
        host: an IP address in its shortest form, without brackets, or a DNS name in lower case.
        port: 1 to 65535.
    """

    host: str
    port: int = DEFAULT_PORT

    @classmethod
    def parse(cls, text: str) -> NetworkAddress:
        """Read ``host``, ``host:port``, ``[IPv6]`` or ``[IPv6]:port``.

        Raises:
            ValueError: it is anything else, or a host that resolvers read in different ways.
        """
        # lower() turns some characters beyond ASCII into letters within it
        if not text.isascii():
            raise ValueError("only ASCII is taken; write an international name with xn-- labels")
        found = _ADDRESS.match(text)
        if found is None:
            raise ValueError("expected host, host:port or [IPv6]:port, and nothing else")
        port = found["port"]
        if port is not None and (not _PORT.match(port) or int(port) > 65535):
            raise ValueError("expected a port from 1 to 65535, without leading zeros")
        host = _ip_host(found["v6"]) if found["v6"] else _host(found["name"].lower())
        return cls(host, DEFAULT_PORT if port is None else int(port))

    @property
    def ip(self) -> IPAddress | None:
        """The host as an IP address; None where it is a name."""
        try:
            return ip_address(self.host)
        except ValueError:
            return None

    @property
    def is_ip(self) -> bool:
        """Whether the host is an IP address, not a name."""
        return self.ip is not None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORT else f"{host}:{self.port}"


def _ip_host(text: str) -> str:
    try:
        return str(IPv6Address(text))
    except ValueError as ex:
        raise ValueError("what is in the brackets is not an IPv6 address") from ex


def _host(text: str) -> str:
    labels = text.split(".")
    if _NUMBER.match(labels[-1]):
        try:
            return str(IPv4Address(text))
        except ValueError as ex:
            raise ValueError("expected four decimal numbers, such as 192.0.2.1, or a name") from ex
    if len(text) > _MAX_NAME_LENGTH or not all(_LABEL.match(label) for label in labels):
        raise ValueError("the host is neither an IP address nor a DNS name (RFC 1123)")
    return text


def _networks(*pairs: tuple[str, str]) -> tuple[tuple[IPNetwork, str], ...]:
    return tuple(
        (ip_network(network), what) for networks, what in pairs for network in networks.split()
    )


_NEVER = _networks(
    ("0.0.0.0/8 ::/128", "unspecified"),
    ("255.255.255.255/32", "a broadcast address"),
    ("224.0.0.0/4 ff00::/8", "a multicast address"),
    ("169.254.0.0/16 fe80::/10", "a link-local address"),
    # metadata and host services that are not link-local: Alibaba Cloud, Azure, Oracle Cloud; then
    # AWS, Google Cloud, Oracle Cloud, Scaleway, Akamai, Alibaba Cloud over IPv6
    ("100.100.100.200/32 168.63.129.16/32 192.0.0.192/32", "a cloud's metadata service"),
    ("fd00:ec2::/32 fd20:ce::254/128 fd00:c1::a9fe:a9fe/128", "a cloud's metadata service"),
    ("fd00:42::42/128 fd00:a9fe:a9fe::1/128 fd00:100::100:200/128", "a cloud's metadata service"),
)
"""What is called under no circumstances."""

_NOT_PUBLIC = _networks(
    ("127.0.0.0/8 ::1/128", "a loopback address"),
    ("10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 fc00::/7 fec0::/10", "a private address"),
    ("100.64.0.0/10", "an address that many networks share"),
    ("192.0.2.0/24 198.51.100.0/24 203.0.113.0/24", "an address for documentation"),
    ("2001:db8::/32 3fff::/20", "an address for documentation"),
    ("198.18.0.0/15", "an address for measurements"),
    ("192.88.99.0/24 2002::/16 2001::/32", "the address of a tunnel"),
    ("192.0.0.0/24 240.0.0.0/4 2001::/23", "a reserved address"),
)
"""IANA's special-purpose registries; ``ipaddress`` knows them as they were when it was made."""

_PUBLIC_IPV6 = IPv6Network("2000::/3")
_SAME_HOST = (IPv6Network("::ffff:0:0/96"), IPv6Network("64:ff9b::/96"))
"""IPv6 that stands for the IPv4 address at its end: mapped (RFC 4291), NAT64 (RFC 6052)."""
_IPV4_AT_END = (
    IPv6Network("::/96"),
    IPv6Network("::ffff:0:0:0/96"),
    IPv6Network("64:ff9b:1::/48"),
)
_SIX_TO_FOUR = IPv6Network("2002::/16")
_TEREDO = IPv6Network("2001::/32")


def refusal(ip: IPAddress, allowed_networks: Iterable[IPNetwork] = ()) -> str | None:
    """Say why an address must not be called.

    Only globally reachable unicast addresses may be.

    Args:
        ip: the address, as resolved.
        allowed_networks: may be called besides; never what is link-local, multicast, unspecified
            or a cloud's metadata service, whatever network it lies in.

    Returns:
        The reason, for people, or None where it may be called.
    """
    if isinstance(ip, IPv6Address):
        if ip.scope_id is not None:
            return f"{ip} belongs to one of this machine's interfaces"
        if _is_in(ip, _SAME_HOST):
            return refusal(_ipv4(int(ip)), allowed_networks)
    for one in (ip, *_embedded(ip)):
        if what := _named(one, _NEVER):
            return f"{ip} is {what}" if one == ip else f"{ip} leads to {one}, which is {what}"
    if _is_in(ip, allowed_networks):
        return None
    what = _named(ip, _NOT_PUBLIC)
    if what is None and isinstance(ip, IPv6Address) and ip not in _PUBLIC_IPV6:
        what = "a reserved address"
    return f"{ip} is {what}" if what else None


def _is_in(ip: IPAddress, networks: Iterable[IPNetwork]) -> bool:
    return any(ip in network for network in networks)


def _named(ip: IPAddress, networks: Iterable[tuple[IPNetwork, str]]) -> str | None:
    return next((what for network, what in networks if ip in network), None)


def _embedded(ip: IPAddress) -> Iterator[IPv4Address]:
    """Yield the IPv4 addresses that packets to an IPv6 address can end up at."""
    if not isinstance(ip, IPv6Address):
        return
    bits = int(ip)
    if ip in _SIX_TO_FOUR:
        yield _ipv4(bits >> 80)
    elif ip in _TEREDO:
        yield _ipv4(bits >> 64)
        yield _ipv4(~bits)
    elif int(ip) > 1 and _is_in(ip, _IPV4_AT_END):
        yield _ipv4(bits)


def _ipv4(bits: int) -> IPv4Address:
    return IPv4Address(bits & 0xFFFFFFFF)
