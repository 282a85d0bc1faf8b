"""Public keys in files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from eventserver_core.domain.canonical import parse_ijson
from eventserver_core.errors import InvalidInputError, InvalidPackageError


def read_public_key(path: Path) -> dict[str, Any]:
    """Read a file with a JWK.

    Raises:
        InvalidInputError: it can't be read, or is no JSON object.
    """
    try:
        content = path.read_bytes()
        if content.startswith(b"-----BEGIN"):
            raise InvalidInputError(f"{path}: this is PEM; give the key as a JWK, {path}.jwk")
        key = parse_ijson(content)
    except (OSError, InvalidPackageError) as ex:
        raise InvalidInputError(f"{path}: cannot be read as a JWK: {ex}") from ex
    if not isinstance(key, dict):
        raise InvalidInputError(f"{path}: expected a JWK, a JSON object")
    return key
