"""Certificates as JWTs, proofs of work, and packages that devices signed.

The entry point ``cert`` in the group ``eventserver.auth`` names this module.
"""

from __future__ import annotations

from collections.abc import Sequence

from eventserver_auth_cert.backend import CertificateAuth
from eventserver_auth_cert.settings import AuthSettings
from eventserver_core.hookspecs import hookimpl
from eventserver_core.settings import Section, Settings

__all__ = [
    "AuthSettings",
    "CertificateAuth",
    "eventserver_auth_backend",
    "eventserver_settings",
]


@hookimpl
def eventserver_settings() -> Sequence[type[Section]]:
    """Bring the section ``auth``."""
    return [AuthSettings]


@hookimpl
def eventserver_auth_backend(settings: Settings) -> CertificateAuth:
    """Make the backend.

    Raises:
        ConfigurationError: a secret or a key can't be used; with every fault.
    """
    return CertificateAuth.from_settings(settings)
