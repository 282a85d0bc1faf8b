"""The core's own settings, section by section; the docs are checked against them."""

from __future__ import annotations

import ipaddress
from pathlib import Path

from eventserver_core.settings import (
    COUNT,
    DELAY,
    DEVELOPMENT,
    LIST,
    NATURAL,
    PORT,
    RATE,
    SECONDS,
    Rate,
    Section,
    Settings,
    one_of,
    option,
    parse_count,
    parse_delay,
    parse_list,
    parse_natural,
    parse_optional_count,
    parse_optional_rate,
    parse_port,
    parse_seconds,
    up_to,
)


def _difficulty(text: str) -> int:
    number = int(text)
    if not 1 <= number <= 16:
        raise ValueError("not from 1 to 16")
    return number


def _short(text: str) -> str:
    if not 1 <= len(text) <= 64:
        raise ValueError("not 1 to 64 characters")
    return text


Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _networks(text: str) -> list[Network]:
    return [ipaddress.ip_network(item, strict=False) for item in parse_list(text)]


class ServerSettings(Section, name="server"):
    """How the API is served."""

    host: str = option("0.0.0.0", doc="The address to listen on.")  # noqa: S104
    port: int = option("3000", parser=parse_port, expected=PORT, doc="The port to listen on.")
    workers: int = option(
        "4",
        parser=up_to(1024),
        expected="a whole number from 1 to 1024",
        doc="How many processes serve requests.",
    )
    threads: int = option(
        "8",
        parser=up_to(1024),
        expected="a whole number from 1 to 1024",
        doc="How many requests a process serves at once.",
    )
    request_timeout: float = option(
        "300",
        parser=parse_seconds,
        expected=SECONDS,
        doc="How long one request may take to arrive in full.",
    )
    read_timeout: float = option(
        "15",
        parser=parse_seconds,
        expected=SECONDS,
        doc="How long the headers may take to arrive, and any pause within a body may last.",
    )
    graceful_timeout: float = option(
        "30",
        parser=parse_seconds,
        expected=SECONDS,
        doc="How long requests under way may go on after the server was told to stop.",
    )
    drain_delay: float = option(
        "0",
        parser=parse_delay,
        expected=DELAY,
        doc="How long, after the server was told to stop, it goes on taking requests while "
        "/health/ready sends them elsewhere.",
    )
    max_json_size: int = option(
        "16777216",
        parser=parse_count,
        expected="a number of bytes",
        doc="The largest JSON body in bytes; larger media goes as multipart/form-data.",
    )
    trusted_proxies: list[Network] = option(
        "",
        parser=_networks,
        expected="a list of addresses or networks",
        doc="Addresses of the proxies whose X-Forwarded-For is believed.",
    )
    data_dir: Path = option(
        "data",
        parser=Path,
        expected="a directory",
        doc="Where the embedded defaults keep everything.",
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


class SecuritySettings(Section, name="security"):
    """Who may do what, and how fast."""

    rate_limit_per_minute: int = option(
        "100",
        parser=parse_count,
        expected=COUNT,
        doc="How many calls one identity may make in any 60 seconds.",
    )
    rate_limit_events: Rate | None = option(
        "",
        parser=parse_optional_rate,
        expected=RATE,
        doc="A limit of its own for sending events, as CALLS/SECONDS; empty shares the plain one.",
    )
    rate_limit_reads: Rate | None = option(
        "", parser=parse_optional_rate, expected=RATE, doc="The same for records and evidence."
    )
    rate_limit_challenges: Rate | None = option(
        "",
        parser=parse_optional_rate,
        expected=RATE,
        doc="The same for proofs of work, counted by address.",
    )
    rate_limit_admin: Rate | None = option(
        "", parser=parse_optional_rate, expected=RATE, doc="The same for what only admins may do."
    )
    rate_limit_public: Rate | None = option(
        "1200/60",
        parser=parse_optional_rate,
        expected=RATE,
        doc="The same for verifying and for proofs, counted by address.",
    )
    rate_limit_unit_size: int = option(
        "10485760",
        parser=parse_count,
        expected="a number of bytes",
        doc="So many bytes of a request's body count as one more call.",
    )
    pow_difficulty: int = option(
        "4",
        parser=_difficulty,
        expected="a whole number from 1 to 16",
        doc="How many zero hex digits a proof of work must begin with.",
    )
    certificate_validity_hours: int = option(
        "24",
        parser=up_to(87600),
        expected="a whole number from 1 to 87600",
        doc="How long a device's certificate holds, in hours.",
    )
    forwarded_max_age: float = option(
        "604800",
        parser=parse_seconds,
        expected=SECONDS,
        doc="How old a device's signed package may be when a relay forwards it.",
    )
    event_max_age: int = option(
        "0",
        parser=parse_natural,
        expected=NATURAL,
        doc="How far back createdAt may lie, in seconds; 0 is any time.",
    )
    allowed_origins: list[str] = option(
        "",
        parser=parse_list,
        expected=LIST,
        doc="Web origins whose pages may call the API; * is any.",
    )


class BlockchainSettings(Section, name="blockchain"):
    """Which chain, for backends that use one."""

    rpc_url: str = option(
        "",
        secret=True,
        environment_variable="BLOCKCHAIN_RPC_URL",
        doc="The node's JSON-RPC address; never shown, since hosted nodes have a key in it.",
    )
    network: str = option(
        "mainnet",
        parser=_short,
        expected="1 to 64 characters",
        doc="The network's name, as proofs show it.",
    )
    chain_id: int | None = option(
        "", parser=parse_optional_count, expected=COUNT, doc="The chain id the node must have."
    )
    gas_limit: int = option(
        "100000", parser=parse_count, expected=COUNT, doc="The most gas an anchor may use."
    )
    confirmation_blocks: int = option(
        "3", parser=parse_count, expected=COUNT, doc="How many blocks make an anchor confirmed."
    )
    account_key: str = option("", secret=True, doc="The account's private key in hex.")
    account_key_file: str = option("", doc="A file with the account's private key.")
    verify_time_limit: float = option(
        "3",
        parser=parse_seconds,
        expected=SECONDS,
        doc="How long a verification may ask the chain before it answers with what was recorded.",
    )
    contract: str = option(
        "", doc="The anchoring contract's address; empty sends a transaction to the account itself."
    )


class AnchoringSettings(Section, name="anchoring"):
    """When events are sealed into a batch, and how the worker goes about it."""

    batch_max_events: int = option(
        "1024", parser=parse_count, expected=COUNT, doc="So many events are sealed at once."
    )
    batch_max_age: float = option(
        "60",
        parser=parse_seconds,
        expected=SECONDS,
        doc="An event waits this long at most to be sealed.",
    )
    poll_interval: float = option(
        "1", parser=parse_seconds, expected=SECONDS, doc="How often the worker looks for work."
    )
    follow_interval: float = option(
        "15",
        parser=parse_seconds,
        expected=SECONDS,
        doc="How often an anchor that is not final yet is looked at.",
    )
    lease_duration: float = option(
        "60",
        parser=parse_seconds,
        expected=SECONDS,
        doc="How long a silent worker keeps others out; twice plugins.time_limit at least.",
    )
    retry_max_delay: float = option(
        "300",
        parser=parse_seconds,
        expected=SECONDS,
        doc="The longest pause between two tries to anchor a batch.",
    )


class LoggingSettings(Section, name="logging"):
    """What is logged, and how it looks."""

    level: str = option(
        "info",
        parser=one_of("debug", "info", "warning", "error"),
        expected="debug, info, warning or error",
        doc="The least severe level that is logged.",
    )
    format: str = option(
        "",
        parser=one_of("pretty", "json", ""),
        expected="pretty or json",
        doc="How lines look; unset is pretty in development and json elsewhere.",
    )

    def format_in(self, settings: Settings) -> str:
        """Return ``pretty`` or ``json``, whichever holds where nothing was set."""
        return self.format or ("pretty" if settings.environment == DEVELOPMENT else "json")


class PluginSettings(Section, name="plugins"):
    """Which plugin takes each role."""

    auth: str = option("cert", doc="Who says who is calling.")
    ratelimit: str = option("memory", doc="Who counts how fast callers go.")
    storage: str = option("filesystem", doc="Where bytes are kept.")
    chain: str = option("ledger", doc="Where roots are anchored.")
    provisioning: str = option("static", doc="Who launches relays.")
    time_limit: float = option(
        "30",
        parser=parse_seconds,
        expected=SECONDS,
        doc="How long one call of a plugin may take before the request is told to try later.",
    )


CORE_SECTIONS: tuple[type[Section], ...] = (
    ServerSettings,
    DatabaseSettings,
    StorageSettings,
    RedisSettings,
    SecuritySettings,
    BlockchainSettings,
    AnchoringSettings,
    LoggingSettings,
    PluginSettings,
)
