"""The section ``s3``; what every S3 has in common is in the core's section ``storage``."""

from __future__ import annotations

from eventserver_core.settings import (
    BOOLEAN,
    COUNT,
    NATURAL,
    SECONDS,
    Section,
    one_of,
    option,
    parse_bool,
    parse_natural,
    parse_optional_count,
    parse_seconds,
    up_to,
)

MIB = 1024 * 1024
MIN_PART_SIZE = 5 * MIB
_MAX_PART_SIZE = 64 * MIB

PARTS_IN_FLIGHT = 3
"""How many parts of an upload are on their way at a time."""


def _part_size(text: str) -> int:
    number = int(text)
    if not MIN_PART_SIZE <= number <= _MAX_PART_SIZE:
        raise ValueError(f"not from {MIN_PART_SIZE} to {_MAX_PART_SIZE}")
    return number


class S3Settings(Section, name="s3"):
    """How the store is reached, and what it does with the objects."""

    access_key: str = option(
        "",
        secret=True,
        environment_variable="AWS_ACCESS_KEY_ID",
        doc="The account's access key; empty asks a credentials file, then the machine.",
    )
    secret_key: str = option(
        "",
        secret=True,
        environment_variable="AWS_SECRET_ACCESS_KEY",
        doc="The account's secret key.",
    )
    session_token: str = option(
        "",
        secret=True,
        environment_variable="AWS_SESSION_TOKEN",
        doc="The token that belongs to temporary keys.",
    )
    kms_key_id: str = option("", doc="The key's id in the KMS, for sse-kms.")
    customer_key_file: str = option(
        "", doc="A file with the key for sse-c: 32 bytes as they are, in hex or in base64."
    )
    create_bucket: bool = option(
        "false",
        parser=parse_bool,
        expected=BOOLEAN,
        doc="Whether a bucket that isn't there is made.",
    )
    object_lock: str = option(
        "none",
        parser=one_of("none", "governance", "compliance"),
        expected="none, governance or compliance",
        doc="How objects are kept from being deleted.",
    )
    retention_days: int = option(
        "0",
        parser=parse_natural,
        expected=NATURAL,
        doc="How long objects are kept from being deleted, in days.",
    )
    ca_file: str = option(
        "",
        doc="A file with certificates, in PEM, to trust besides the public ones.",
    )
    pool_size: int | None = option(
        "",
        parser=parse_optional_count,
        expected=COUNT,
        doc="How many connections are kept open; unset is four and three times server.threads.",
    )
    max_retries: int = option(
        "3",
        parser=lambda text: 0 if text == "0" else up_to(10)(text),
        expected="a whole number from 0 to 10",
        doc="How often a request that failed is sent again.",
    )
    connect_timeout: float = option(
        "3", parser=parse_seconds, expected=SECONDS, doc="How long a connection may take to open."
    )
    read_timeout: float = option(
        "8", parser=parse_seconds, expected=SECONDS, doc="How long the store may be silent."
    )
    part_size: int = option(
        str(MIN_PART_SIZE),
        parser=_part_size,
        expected="a number of bytes from 5 to 64 MiB",
        doc="The size of the parts that larger objects are sent in; each upload holds a few.",
    )
    addressing: str = option(
        "auto",
        parser=one_of("auto", "path", "virtual"),
        expected="auto, path or virtual",
        doc="Whether the bucket is in the path or in the host's name; auto is the path for "
        "everybody but Amazon.",
    )
