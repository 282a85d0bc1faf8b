"""The certificate authority that the settings name."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from eventserver_core.domain import instant
from eventserver_core.errors import ConfigurationError
from eventserver_core.pki.authority import CertificateAuthority, create_authority, renew_issuing
from eventserver_core.pki.loading import load_root
from eventserver_core.sections import CaSettings, ServerSettings
from eventserver_core.settings import DEVELOPMENT, Settings

_MIN_PASSPHRASE = 32
_KEPT = Path("keys") / "ca_passphrase"
_MAKE = "the output of: openssl rand -hex 32"


def authority_directory(settings: Settings) -> Path:
    """Return where the authority's keys and certificates are."""
    directory = settings[CaSettings].directory
    return Path(directory) if directory else settings[ServerSettings].data_dir / "ca"


def make_authority(settings: Settings, name: str) -> None:
    """Make the authority; in development its passphrase, too, where none was given.

    Raises:
        ConflictError: there is one.
        ConfigurationError: no passphrase was given, or it can't be kept.
    """
    if not settings[CaSettings].passphrase and settings.environment == DEVELOPMENT:
        _keep_passphrase(settings)
    create_authority(authority_directory(settings), _passphrase(settings), name, instant.now())


def renew_authority(settings: Settings) -> None:
    """Make another issuing certificate, by the root's key.

    Raises:
        ConfigurationError: the root's key is not there, or something can't be used.
    """
    renew_issuing(authority_directory(settings), _passphrase(settings), instant.now())


def load_authority(settings: Settings) -> CertificateAuthority:
    """Load the authority.

    Raises:
        ConfigurationError: it is not there, or can't be used; the message says what to do.
    """
    url = settings[ServerSettings].public_url
    return CertificateAuthority.load(
        authority_directory(settings),
        _passphrase(settings),
        crl_url=f"{url}/pki/issuing.crl" if url else None,
        issuer_url=f"{url}/pki/issuing.crt" if url else None,
    )


def read_root(settings: Settings) -> str:
    """Return the root's certificate as PEM text, for which no key is needed.

    Raises:
        ConfigurationError: it is not there, or can't be read.
    """
    return load_root(authority_directory(settings))


def _passphrase(settings: Settings) -> bytes:
    given = settings[CaSettings].passphrase
    if not given and settings.environment == DEVELOPMENT:
        path = settings[ServerSettings].data_dir / _KEPT
        try:
            given = path.read_text("ascii").strip()
        except FileNotFoundError:
            raise ConfigurationError(
                f"{authority_directory(settings)}: there is no certificate authority yet; run: "
                "eventserver ca init"
            ) from None
        except (OSError, UnicodeDecodeError) as ex:
            raise ConfigurationError(f"ca.passphrase: {path} cannot be read") from ex
    if not given:
        raise ConfigurationError(f"ca.passphrase: missing; set it to {_MAKE}")
    return given.encode("utf-8", "surrogatepass")


def _keep_passphrase(settings: Settings) -> None:
    path = settings[ServerSettings].data_dir / _KEPT
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(_MIN_PASSPHRASE) + "\n")
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError:
        return  # an earlier try may have ended after this
    except OSError as ex:
        raise ConfigurationError(f"ca.passphrase: {path} cannot be written ({ex.strerror})") from ex
