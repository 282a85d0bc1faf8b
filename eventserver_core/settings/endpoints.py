"""Addresses of services that speak HTTP, as deployers write them."""

from __future__ import annotations

import ipaddress
from urllib.parse import SplitResult, urlsplit


def parse_endpoint(text: str) -> SplitResult:
    """Read ``http://host:port`` or ``https://host:port``; the port can be left out.

    Raises:
        ValueError: it is something else, or more than that.
    """
    expected = "expected http://host:port or https://host:port and nothing else"
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as ex:
        raise ValueError(expected) from ex
    if (
        parts.scheme not in ("http", "https")
        or not parts.hostname
        or not parts.hostname.isascii()
        or any(character.isspace() for character in text)
        or port == 0
        or "@" in parts.netloc
        or parts.path not in ("", "/")
        or "?" in text
        or "#" in text
    ):
        raise ValueError(expected)
    return parts


def is_loopback(host: str) -> bool:
    """Tell whether a host, without a port or an IPv6 address's brackets, is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
