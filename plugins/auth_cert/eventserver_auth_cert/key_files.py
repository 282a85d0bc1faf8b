"""Ed25519 keys in PEM files."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from eventserver_core.errors import ConfigurationError

_MAX_FILE: Final = 65536
_HOW: Final = "make one with: openssl genpkey -algorithm ed25519 -out key.pem"


def load_private_key(setting: str, path: Path) -> Ed25519PrivateKey:
    """Read a key to sign with.

    Args:
        setting: the setting's name, for messages.

    Raises:
        ConfigurationError: the file can't be read, is open to others, or is no such key.
    """
    key = _load(setting, path)
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigurationError(
            f"{setting}: {path}: this is a public key, and signing takes a private one; {_HOW}"
        )
    return key


def load_public_key(setting: str, path: Path) -> Ed25519PublicKey:
    """Read a key to check signatures with; of a private one, its public half.

    Args:
        setting: the setting's name, for messages.

    Raises:
        ConfigurationError: the file can't be read, is private and open to others, or is no such
            key.
    """
    key = _load(setting, path)
    return key.public_key() if isinstance(key, Ed25519PrivateKey) else key


def _load(setting: str, path: Path) -> Ed25519PrivateKey | Ed25519PublicKey:
    content, mode = _read(setting, path)
    is_private = b"PRIVATE KEY" in content
    if is_private and mode & stat.S_IRWXO:
        raise ConfigurationError(
            f"{setting}: {path}: everybody on this machine can get at this private key; "
            f"run: chmod 600 {path}"
        )
    try:
        key = load_pem_private_key(content, None) if is_private else load_pem_public_key(content)
    except (ValueError, TypeError, UnsupportedAlgorithm):  # TypeError: it wants a password
        key = None
    if not isinstance(key, Ed25519PrivateKey | Ed25519PublicKey):
        raise ConfigurationError(
            f"{setting}: {path}: expected an Ed25519 key in PEM without a password; {_HOW}"
        )
    return key


def _read(setting: str, path: Path) -> tuple[bytes, int]:
    try:
        if not path.is_file():
            raise ConfigurationError(f"{setting}: {path}: there is no such file")
        with path.open("rb") as file:
            return file.read(_MAX_FILE), os.fstat(file.fileno()).st_mode
    except OSError as ex:
        raise ConfigurationError(f"{setting}: {path}: cannot be read: {ex.strerror}") from ex
