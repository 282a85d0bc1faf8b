"""The key for sse-c, from a file."""

from __future__ import annotations

import base64
import binascii
import stat
from pathlib import Path

from eventserver_core.errors import ConfigurationError

KEY_SIZE = 32

_MAX_FILE = 4096
_HOW = "make one with: openssl rand -hex 32 > key && chmod 600 key"


def read_customer_key(setting: str, name: str) -> bytes:
    """Return the 32 bytes of a key: a file of just them, or text in hex or in base64.

    Args:
        setting: the setting's name, for messages.
        name: the file's.

    Raises:
        ConfigurationError: there is no such file, it is open to everybody, or holds no such key.
    """
    if not name:
        raise ConfigurationError(f"{setting}: missing; storage.encryption = sse-c needs it; {_HOW}")
    path = Path(name)
    try:
        if not path.is_file():
            raise ConfigurationError(f"{setting}: {path}: there is no such file")
        if path.stat().st_mode & stat.S_IRWXO:
            raise ConfigurationError(
                f"{setting}: {path}: everybody on this machine can get at this key; "
                f"run: chmod 600 {path}"
            )
        with path.open("rb") as file:
            content = file.read(_MAX_FILE)
    except OSError as ex:
        raise ConfigurationError(f"{setting}: {path}: cannot be read: {ex.strerror}") from ex
    key = _decoded(content)
    if key is None:
        raise ConfigurationError(
            f"{setting}: {path}: expected {KEY_SIZE} bytes as they are, in hex or in base64; {_HOW}"
        )
    return key


def _decoded(content: bytes) -> bytes | None:
    if len(content) == KEY_SIZE:
        return content
    text = content.strip()
    for decode in (binascii.unhexlify, _from_base64):
        try:
            key = decode(text)
        except ValueError:
            continue
        if len(key) == KEY_SIZE:
            return key
    return None


def _from_base64(text: bytes) -> bytes:
    return base64.b64decode(text, validate=True)
