"""Reading ``redis.url``, without ever showing the password in it."""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import parse_qsl, urlsplit

from redis.connection import Connection as TcpConnection
from redis.connection import parse_url
from redis.exceptions import RedisError

from eventserver_core.errors import ConfigurationError
from eventserver_ratelimit_redis.connections import Connection

CONNECT_SECONDS = 1.0
"""The longest that one step of connecting may take; no request waits for it."""

_OPTIONS = {"db", "username", "password", "client_name"}
"""What may follow the ?, besides ssl_…: the library has options that make a call wait longer."""
_FORM = (
    "redis.url: expected redis://user:password@host:6379/0, rediss:// for TLS or "
    "unix:///path/to/socket?db=0 for a socket; in a password the marks / ? # @ : % are written "
    "as %2F %3F %23 %40 %3A %25"
)


def connection_maker(url: str) -> Callable[[], Connection]:
    """Return what makes connections to an address; none is opened yet.

    Raises:
        ConfigurationError: it is no such address; the message has nothing of it.
    """
    fault = _fault(url)
    if fault:
        raise ConfigurationError(f"{_FORM} ({fault})")
    try:
        options = parse_url(url)  # type: ignore[no-untyped-call]
        kind = options.pop("connection_class", TcpConnection)
        options = {
            "protocol": 2,
            "driver_info": None,
            "socket_timeout": CONNECT_SECONDS,
            "socket_connect_timeout": CONNECT_SECONDS,
        } | options
        kind(**options)
    except (RedisError, TypeError, ValueError):
        # a library's message can have a piece of the password in it
        raise ConfigurationError(f"{_FORM} (an option after the ? can't be used)") from None

    def make() -> Connection:
        connection: Connection = kind(**options)
        return connection

    return make


def _fault(url: str) -> str | None:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "the port is not a number, or the password has a mark that ends it"
    if parts.scheme not in ("redis", "rediss", "unix"):
        return "it begins otherwise"
    if parts.fragment or not url.isprintable():
        return "it has a #, a line's end or another control character"
    for name, _ in parse_qsl(parts.query):
        if name not in _OPTIONS and not name.startswith("ssl_"):
            return "after the ? there may be db, username, password, client_name and ssl_..."
    if parts.scheme == "unix":
        return None if parts.path.strip("/") else "it names no socket"
    if not parts.hostname or port == 0:
        return "it names no host"
    if not re.fullmatch(r"/?|/\d{1,4}", parts.path):
        return "a database's number was expected after the host"
    return None
