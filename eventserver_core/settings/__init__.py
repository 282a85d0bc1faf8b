"""Settings: what can be set, where each value came from, and every fault at once.

Layers, the later the stronger: defaults, ``default.toml`` (or ``.yaml``), ``<environment>.toml``
(or ``.yaml``), environment variables. A section is a frozen dataclass; a plugin brings sections of
its own through the hook ``eventserver_settings``. This is the one place that knows everett.
"""

from __future__ import annotations

from eventserver_core.settings.layers import DIRECTORY_VARIABLE, ENVIRONMENT_VARIABLE, PREFIX
from eventserver_core.settings.options import (
    BOOLEAN,
    COUNT,
    DELAY,
    LIST,
    NATURAL,
    PORT,
    RATE,
    SECONDS,
    OptionSpec,
    Rate,
    Section,
    one_of,
    option,
    parse_bool,
    parse_count,
    parse_delay,
    parse_list,
    parse_natural,
    parse_optional_count,
    parse_optional_rate,
    parse_optional_seconds,
    parse_port,
    parse_seconds,
    up_to,
)
from eventserver_core.settings.sources import (
    DEVELOPMENT,
    PRODUCTION,
    Origin,
    Settings,
    Sources,
)

__all__ = [
    "BOOLEAN",
    "COUNT",
    "DELAY",
    "DEVELOPMENT",
    "DIRECTORY_VARIABLE",
    "ENVIRONMENT_VARIABLE",
    "LIST",
    "NATURAL",
    "PORT",
    "PREFIX",
    "PRODUCTION",
    "RATE",
    "SECONDS",
    "OptionSpec",
    "Origin",
    "Rate",
    "Section",
    "Settings",
    "Sources",
    "one_of",
    "option",
    "parse_bool",
    "parse_count",
    "parse_delay",
    "parse_list",
    "parse_natural",
    "parse_optional_count",
    "parse_optional_rate",
    "parse_optional_seconds",
    "parse_port",
    "parse_seconds",
    "up_to",
]
