"""The real servers that backends are tested on, each a child process on the loopback.

They install with pip and npm (``pip install 'eventserver-core[parts]'``, ``npm install
@foundry-rs/anvil``), and need no root and no daemon.
"""

from eventserver_core.testing.parts.anvil import Anvil
from eventserver_core.testing.parts.moto import Moto
from eventserver_core.testing.parts.postgresql import PostgreSQL
from eventserver_core.testing.parts.process import Part, PartError, free_port
from eventserver_core.testing.parts.seaweedfs import SeaweedFS
from eventserver_core.testing.parts.valkey import Valkey

__all__ = [
    "Anvil",
    "Moto",
    "Part",
    "PartError",
    "PostgreSQL",
    "SeaweedFS",
    "Valkey",
    "free_port",
]
