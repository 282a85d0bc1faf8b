"""Settings, backends, services: the one place where everything is put together."""

from eventserver_core.wiring.configuration import (
    Configuration,
    load_configuration,
    open_database,
    prepare_schema,
)
from eventserver_core.wiring.services import Services

__all__ = ["Configuration", "Services", "load_configuration", "open_database", "prepare_schema"]
