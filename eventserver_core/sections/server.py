"""How the API is served, what is logged, and which plugins there are."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from urllib.parse import urlsplit

from eventserver_core.settings import (
    DELAY,
    DEVELOPMENT,
    PORT,
    SECONDS,
    Section,
    Settings,
    one_of,
    option,
    parse_count,
    parse_delay,
    parse_list,
    parse_optional_seconds,
    parse_port,
    parse_seconds,
    up_to,
)

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def parse_networks(text: str) -> list[Network]:
    """Read a list of addresses and networks."""
    return [ipaddress.ip_network(item, strict=False) for item in parse_list(text)]


def _public_url(text: str) -> str:
    if not text:
        return ""
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
        raise ValueError("not an http or https address")
    if parts.query or parts.fragment:
        raise ValueError("has more than a host and a path")
    return text.rstrip("/")


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
    max_batch_events: int = option(
        "1000",
        parser=parse_count,
        expected="a number of events",
        doc="The most lines in one batch of events.",
    )
    max_batch_size: int = option(
        "16777216",
        parser=parse_count,
        expected="a number of bytes",
        doc="The largest batch of events in bytes.",
    )
    trusted_proxies: list[Network] = option(
        "",
        parser=parse_networks,
        expected="a list of addresses or networks",
        doc="Addresses of the proxies whose X-Forwarded-For is believed.",
    )
    public_url: str = option(
        "",
        parser=_public_url,
        expected="an address such as https://events.example.org",
        doc="Where callers reach the API; launched relays and their certificates name it.",
    )
    data_dir: Path = option(
        "data",
        parser=Path,
        expected="a directory",
        doc="Where the embedded defaults keep everything.",
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


class MetricsSettings(Section, name="metrics"):
    """Where a worker that runs by itself is scraped; the API is at ``/metrics``."""

    worker_host: str = option(
        "127.0.0.1",
        doc="The address that a worker's /metrics listens on.",
    )
    worker_port: int = option(
        "0",
        parser=parse_port,
        expected=PORT,
        doc="The port of a worker's /metrics; 0 is none. One beside a server counts with it.",
    )


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
    auth_time_limit: float | None = option(
        "",
        parser=parse_optional_seconds,
        expected=SECONDS,
        doc="The same for one call of `plugins.auth`; unset is time_limit.",
    )
    ratelimit_time_limit: float | None = option(
        "",
        parser=parse_optional_seconds,
        expected=SECONDS,
        doc="The same for one call of `plugins.ratelimit`; unset is time_limit.",
    )
    storage_time_limit: float | None = option(
        "",
        parser=parse_optional_seconds,
        expected=SECONDS,
        doc="The same for one call of `plugins.storage`; unset is time_limit.",
    )
    chain_time_limit: float | None = option(
        "",
        parser=parse_optional_seconds,
        expected=SECONDS,
        doc="The same for one call of `plugins.chain`; unset is time_limit.",
    )
    provisioning_time_limit: float | None = option(
        "",
        parser=parse_optional_seconds,
        expected=SECONDS,
        doc="The same for one call of `plugins.provisioning`; unset is time_limit.",
    )

    def time_limit_of(self, role: str) -> float:
        """Return how long one call of a role's plugin may take, in seconds."""
        limit: float | None = getattr(self, f"{role}_time_limit")
        return limit or self.time_limit
