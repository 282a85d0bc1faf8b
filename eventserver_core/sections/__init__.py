"""The core's own settings, section by section; the docs are checked against them."""

from __future__ import annotations

from eventserver_core.sections.chain import AnchoringSettings, BlockchainSettings
from eventserver_core.sections.data import DatabaseSettings, RedisSettings, StorageSettings
from eventserver_core.sections.relays import CaSettings, RelaySettings
from eventserver_core.sections.security import SecuritySettings
from eventserver_core.sections.server import (
    LoggingSettings,
    MetricsSettings,
    PluginSettings,
    ServerSettings,
)
from eventserver_core.settings import Section

CORE_SECTIONS: tuple[type[Section], ...] = (
    ServerSettings,
    DatabaseSettings,
    StorageSettings,
    RedisSettings,
    SecuritySettings,
    BlockchainSettings,
    AnchoringSettings,
    RelaySettings,
    CaSettings,
    LoggingSettings,
    MetricsSettings,
    PluginSettings,
)

__all__ = [
    "CORE_SECTIONS",
    "AnchoringSettings",
    "BlockchainSettings",
    "CaSettings",
    "DatabaseSettings",
    "LoggingSettings",
    "MetricsSettings",
    "PluginSettings",
    "RedisSettings",
    "RelaySettings",
    "SecuritySettings",
    "ServerSettings",
    "StorageSettings",
]
