"""Anchors on Ethereum and every other chain that speaks its JSON-RPC.

The entry point ``evm`` in the group ``eventserver.chain`` names this module.
"""

from __future__ import annotations

from collections.abc import Sequence

from eventserver_chain_evm import libraries  # noqa: F401 - the first, see there
from eventserver_chain_evm.backend import EvmChain
from eventserver_chain_evm.check_anchor import check_anchor
from eventserver_chain_evm.composing import chain_from_settings
from eventserver_chain_evm.settings import EvmSettings
from eventserver_core.domain.proof import Anchor, Step
from eventserver_core.hookspecs import hookimpl
from eventserver_core.settings import Section, Settings

__all__ = [
    "EvmChain",
    "EvmSettings",
    "eventserver_chain_backend",
    "eventserver_check_anchor",
    "eventserver_settings",
]


@hookimpl
def eventserver_settings() -> Sequence[type[Section]]:
    """Bring the section ``evm``."""
    return [EvmSettings]


@hookimpl
def eventserver_chain_backend(settings: Settings) -> EvmChain:
    """Make the backend.

    Raises:
        ConfigurationError: the address, the contract or the key can't be used; with every fault.
    """
    return chain_from_settings(settings)


@hookimpl
def eventserver_check_anchor(anchor: Anchor, root: bytes, rpc_url: str) -> Step:
    """Ask a node whether its chain holds the root where the anchor says."""
    return check_anchor(anchor, root, rpc_url)
