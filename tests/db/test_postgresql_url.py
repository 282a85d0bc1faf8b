"""What an address of a PostgreSQL database may say, and what is told of one that is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from psycopg.conninfo import conninfo_to_dict

from eventserver_core.db.connection import Database
from eventserver_core.db.postgresql_url import read_url
from eventserver_core.errors import ConfigurationError

SECRET = "pa55word"
SIMPLE = f"postgresql://user:{SECRET}@host/name"
OURS = (
    "-c lock_timeout=20000 -c statement_timeout=30000 -c idle_in_transaction_session_timeout=30000"
    " -c synchronous_commit=on"
)


def told_to_libpq(url: str, timeout: float = 20) -> dict[str, Any]:
    return dict(conninfo_to_dict(read_url(url, timeout, timeout + 10)[1]))


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        (f"postgresql://user:{SECRET}@host", "the name of the database is missing"),
        (f"postgresql://user:{SECRET}@host/", "the name of the database is missing"),
        (f"postgresql://user:{SECRET}@host:port/name", "the port is a number"),
        (f"postgresql://user:{SECRET}@host:0/name", "the port is a number"),
        (f"postgresql://user:{SECRET}@one,two:70000/name", "the port is a number"),
        (f"postgresql://user:{SECRET}%zz@host/name", "it can't be read"),
        (f"postgresql://user:{SECRET}/1@host/name", "write @, / and ? in"),
        (f"postgresql://user:1?{SECRET}@host/name", "write @, / and ? in"),
        (f"postgresql://user:1@{SECRET}@host/name", "write @, / and ? in"),
        (f"postgresql://user:{SECRET}@[::1/name", "it can't be read"),
        (SIMPLE + "?sslmode=very", 'invalid sslmode value: "very"'),
        (SIMPLE + "?sslmod=require", "PostgreSQL has no parameter sslmod"),
        (SIMPLE + "?channel_binding=a", 'invalid channel_binding value: "a"'),
        (SIMPLE + "?target_session_attrs=a", 'invalid target_session_attrs value: "a"'),
        (SIMPLE + "?connect_timeout=soon", "connect_timeout is a whole number"),
        (SIMPLE + "?keepalives_idle=1.5", "keepalives_idle is a whole number"),
    ],
)
def test_a_wrong_address_is_told_without_its_password(url: str, reason: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Database(url, Path("unused"))
    (fault,) = caught.value.faults
    assert fault.startswith("database.url: expected sqlite:///file or postgresql://")
    assert reason in fault
    assert SECRET not in fault
    assert caught.value.__cause__ is None


def test_what_is_said_nowhere_has_limits_that_follow_the_connection_timeout() -> None:
    told = told_to_libpq(SIMPLE)
    assert {name: told[name] for name in ("host", "user", "password", "dbname")} == {
        "host": "host",
        "user": "user",
        "password": SECRET,
        "dbname": "name",
    }
    assert told["connect_timeout"] == "10"
    assert told["options"] == OURS
    assert told["fallback_application_name"] == "eventserver"
    assert "target_session_attrs" not in told
    assert told_to_libpq(SIMPLE, timeout=3)["connect_timeout"] == "3"
    assert "lock_timeout=20 " in told_to_libpq(SIMPLE, timeout=0.02)["options"]
    assert "lock_timeout=2147483647 " in told_to_libpq(SIMPLE, timeout=float("inf"))["options"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("connect_timeout=3", {"connect_timeout": "3"}),
        ("tcp_user_timeout=0&keepalives=0", {"tcp_user_timeout": "0", "keepalives": "0"}),
        ("application_name=one", {"application_name": "one"}),
        ("options=-c%20lock_timeout%3D1", {"options": f"{OURS} -c lock_timeout=1"}),
        ("options=", {"options": ""}),
        ("sslmode=verify-full&sslrootcert=/a", {"sslmode": "verify-full", "sslrootcert": "/a"}),
        ("sslcert=/c&sslkey=/k&channel_binding=require", {"sslcert": "/c", "sslkey": "/k"}),
        ("sslmode=disable", {"sslmode": "disable"}),
        ("ssl=true", {"sslmode": "require"}),
        ("host=/run/postgresql", {"host": "/run/postgresql"}),
    ],
)
def test_what_the_address_says_wins(query: str, expected: dict[str, str]) -> None:
    told = told_to_libpq(f"{SIMPLE}?{query}")
    assert {name: told[name] for name in expected} == expected


def test_of_several_hosts_one_that_can_be_written_is_wanted() -> None:
    several = "postgresql://one:5433,two/name"
    assert told_to_libpq(several)["target_session_attrs"] == "read-write"
    assert told_to_libpq(several)["host"] == "one,two"
    chosen = told_to_libpq(several + "?target_session_attrs=any")
    assert chosen["target_session_attrs"] == "any"


def test_a_service_file_may_say_the_rest() -> None:
    name, conninfo = read_url("postgresql://?service=events", 20, 30)
    assert name == "events"
    assert conninfo_to_dict(conninfo)["service"] == "events"


def test_nothing_is_asked_of_the_server_until_it_is_used() -> None:
    database = Database("postgresql://user@192.0.2.1:9/name", Path("unused"))
    assert not database.is_sqlite
    assert database.path is None
    database.close()
