"""The hooks that plugins implement; nothing here does anything.

A plugin's entry point names a module (or an object) with functions of these names, marked with
``@hookimpl``. Only the plugins that the settings choose are imported.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from eventserver_core.backends.auth import AuthBackend
    from eventserver_core.backends.chain import ChainBackend
    from eventserver_core.backends.provisioning import ProvisioningBackend
    from eventserver_core.backends.ratelimit import RateLimiter
    from eventserver_core.backends.storage import StorageBackend
    from eventserver_core.domain.proof import Anchor, Step
    from eventserver_core.settings import Section, Settings

PROJECT = "eventserver"
INTERFACE = 1
"""The version of the interface that plugins are made for: these hooks, the Protocols in
``backends`` and the values that they exchange. A plugin states its own as
``EVENTSERVER_INTERFACE``; what counts as a change is in ``docs/compatibility.md``."""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def eventserver_settings() -> Sequence[type[Section]]:  # type: ignore[empty-body]
    """Return the settings' sections that this plugin brings.

    Called before the settings are read; they are checked together with the core's own.
    """


@hookspec
def eventserver_auth_backend(settings: Settings) -> AuthBackend:  # type: ignore[empty-body]
    """Return the backend that says who is calling."""


@hookspec
def eventserver_ratelimit_backend(settings: Settings) -> RateLimiter:  # type: ignore[empty-body]
    """Return the backend that says how fast a caller may go."""


@hookspec
def eventserver_storage_backend(settings: Settings) -> StorageBackend:  # type: ignore[empty-body]
    """Return the backend that keeps bytes."""


@hookspec
def eventserver_chain_backend(settings: Settings) -> ChainBackend:  # type: ignore[empty-body]
    """Return the backend that anchors roots."""


@hookspec
def eventserver_provisioning_backend(settings: Settings) -> ProvisioningBackend:  # type: ignore[empty-body]
    """Return the backend that launches relays."""


@hookspec
def eventserver_check_anchor(anchor: Anchor, root: bytes, rpc_url: str) -> Step:  # type: ignore[empty-body]
    """Ask a node whether a proof's anchor holds its root, for whoever checks a proof.

    The plugin of the chain that the proof names is asked, whichever plugins the settings choose;
    it gets no settings. The outcome is ``PASSED`` where the chain holds the root there,
    ``FAILED`` where it doesn't, and ``MISSING`` where the node can't tell: it doesn't answer, or
    is of another chain.
    """
