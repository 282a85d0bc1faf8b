"""What an address of a PostgreSQL database may say, and what is added where it says nothing.

A connection is told its limits when it is made: how long a lock, a statement and an idle
transaction may take, and when a silent peer counts as dead. What the address itself says wins.
The server learns of its limits by the parameter ``options``, which a pooler in between may
refuse (pgbouncer without ``ignore_startup_parameters = options``): an empty ``options=`` in the
address leaves it out, and the limits are then those that the role was given.
"""

from __future__ import annotations

import math
import re
from typing import Any

import psycopg
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo

_CONNECT_SECONDS = 10.0
_MOST_MILLISECONDS = 2**31 - 1
_NOWHERE = "/eventserver-has-no-socket-here"
_WHOLE_NUMBERS = (
    "connect_timeout",
    "keepalives",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
    "tcp_user_timeout",
)


def read_url(url: str, timeout: float, statement: float) -> tuple[str, str]:
    """Return the database's name, and all that libpq is told.

    Args:
        url: as libpq reads it.
        timeout: seconds to wait for a connection or a lock.
        statement: seconds that a statement may take, or a transaction do nothing.

    Raises:
        ValueError: the address can't be used; the message has nothing of a password.
    """
    parameters = _read(url)
    conninfo = make_conninfo(**_with_limits(parameters, timeout, statement))
    _refuse_what_libpq_refuses(conninfo, parameters)
    return str(parameters.get("dbname") or parameters["service"]), conninfo


def _read(url: str) -> dict[str, Any]:
    """Return an address's parameters, by their names."""
    before, at, after = url.partition("://")[2].partition("@")
    if at and ("@" in after or "/" in before or "?" in before):
        # what libpq would make of it, and tell as a host's name, may be half of a password
        raise ValueError("write @, / and ? in a name, a password or a path as %40, %2F and %3F")
    try:
        parameters = conninfo_to_dict(url)
    except psycopg.Error:
        unknown = _unknown_parameters(url)
        raise ValueError(
            f"PostgreSQL has no parameter {', '.join(unknown)}" if unknown else "it can't be read"
        ) from None
    if not parameters.get("dbname") and not parameters.get("service"):
        raise ValueError("the name of the database is missing")
    for name in _WHOLE_NUMBERS:
        if not re.fullmatch(r"\s*[-+]?\d+\s*", str(parameters.get(name) or 0)):
            raise ValueError(f"{name} is a whole number")
    for port in str(parameters.get("port", "")).split(","):
        if port and not (port.isdecimal() and 0 < int(port) < 65536):
            raise ValueError("the port is a number from 1 to 65535")
    return dict(parameters)


def _unknown_parameters(url: str) -> list[str]:
    known = {option.keyword.decode() for option in pq.Conninfo.get_defaults()}
    names = [member.partition("=")[0] for member in url.partition("?")[2].split("&")]
    return [name for name in names if name not in known | {"ssl"} and name.isidentifier()]


def _with_limits(parameters: dict[str, Any], timeout: float, statement: float) -> dict[str, Any]:
    """Return an address's parameters, with our own where it says nothing."""
    ours = {
        "fallback_application_name": "eventserver",
        "connect_timeout": math.ceil(min(timeout, _CONNECT_SECONDS)),
        "keepalives_idle": 30,
        "keepalives_interval": 10,
        "keepalives_count": 3,
        "tcp_user_timeout": 30_000,
    }
    if "," in str(parameters.get("host") or parameters.get("hostaddr") or ""):
        ours["target_session_attrs"] = "read-write"
    if parameters.get("options") == "":
        return ours | parameters
    on_server = {
        "lock_timeout": timeout,
        "statement_timeout": statement,
        "idle_in_transaction_session_timeout": statement,
    }
    options = [f"-c {name}={_milliseconds(value)}" for name, value in on_server.items()]
    # the server goes by the last word
    # where it is off, what was acknowledged may be gone after a crash of the server
    options.append("-c synchronous_commit=on")
    options.append(str(parameters.get("options", "")))
    return ours | parameters | {"options": " ".join(options).strip()}


def _milliseconds(seconds: float) -> int:
    return int(min(max(seconds * 1000, 1), _MOST_MILLISECONDS))


def _refuse_what_libpq_refuses(conninfo: str, parameters: dict[str, Any]) -> None:
    """Let libpq look at the values, which it does before it connects; here it gets nowhere."""
    if parameters.get("service"):
        return  # a file says the rest, and may by now say something else
    nowhere = make_conninfo(conninfo, host=_NOWHERE, hostaddr="", port="5432")
    attempt = pq.PGconn.connect_start(nowhere.encode())
    try:
        said = attempt.error_message.decode("utf-8", "replace").strip()
    finally:
        attempt.finish()
    if said and _NOWHERE not in said:
        raise ValueError(said)
