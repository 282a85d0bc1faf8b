"""Where rows, bytes and counters are."""

from __future__ import annotations

from eventserver_core.settings import (
    BOOLEAN,
    COUNT,
    SECONDS,
    Section,
    option,
    parse_bool,
    parse_count,
    parse_seconds,
)


class DatabaseSettings(Section, name="database"):
    """Where the rows are."""

    url: str = option(
        "",
        address=True,
        environment_variable="DATABASE_URL",
        doc="Such as postgresql://user:password@host/name; empty is a SQLite file in the data "
        "directory.",
    )
    max_connections: int = option(
        "10", parser=parse_count, expected=COUNT, doc="The most connections a process opens."
    )
    connection_timeout: float = option(
        "30",
        parser=parse_seconds,
        expected=SECONDS,
        doc="How long to wait for a connection or a lock.",
    )
    prepared_statements: bool = option(
        "false",
        parser=parse_bool,
        expected=BOOLEAN,
        doc="Whether PostgreSQL prepares statements that come again, which saves it most of the "
        "work; not for a pooler that doesn't know them.",
    )


class StorageSettings(Section, name="storage"):
    """Where the bytes are."""

    max_file_size: int = option(
        "104857600",
        parser=parse_count,
        expected="a number of bytes",
        doc="The largest photo or video in bytes.",
    )
    max_inline_size: int = option(
        "8388608",
        parser=parse_count,
        expected="a number of bytes",
        doc="The largest photo or video that may come as base64 inside JSON, in bytes once "
        "decoded.",
    )
    region: str = option("us-east-1", doc="The S3 region.")
    bucket: str = option("eventserver-storage", doc="The S3 bucket.")
    endpoint: str = option("", address=True, doc="The S3 server's address; empty is Amazon's own.")
    encryption: str = option("", doc="The S3 server-side encryption.")


class RedisSettings(Section, name="redis"):
    """Where the counters are, for backends that use Redis."""

    url: str = option("redis://127.0.0.1:6379", address=True, doc="The server's address.")
    pool_size: int = option(
        "10", parser=parse_count, expected=COUNT, doc="The most connections a process opens."
    )
