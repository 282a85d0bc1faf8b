"""The secret that is made where none was given, so that a first try needs no settings."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import tempfile
from pathlib import Path
from typing import Final

from eventserver_core.errors import ConfigurationError
from eventserver_core.settings.strength import weakness

_log = logging.getLogger(__name__)

_SIZE: Final = 32
_MAX_FILE: Final = 4096


def kept_secret(data_dir: Path) -> str:
    """Return the secret that is kept in the data directory; the first to ask makes it.

    However many processes start at once, all get the same: a finished file is linked to its name,
    which succeeds for exactly one of them, and is never seen half written.

    Raises:
        ConfigurationError: it can't be kept, or what is there is no secret.
    """
    path = data_dir / "keys" / "jwt_secret"
    try:
        if not path.exists():
            _make(path)
        with path.open("rb") as file:
            content = file.read(_MAX_FILE)
    except OSError as ex:
        raise ConfigurationError(
            f"auth.jwt_secret: none was given, and none can be kept at {path} ({ex.strerror}); "
            "set JWT_SECRET, or server.data_dir to a directory that can be written"
        ) from ex
    secret = content.decode("ascii", "replace").strip()
    if weakness(secret):
        raise ConfigurationError(
            f"auth.jwt_secret: what is kept at {path} is no secret that was made here; set "
            "JWT_SECRET, or remove the file to have a new one made, which ends all certificates"
        )
    return secret


def _make(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=".jwt_secret-")  # mode 0600
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(_SIZE) + "\n")
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):  # another process was first
            os.link(draft, path)
            _log.info("jwt_secret_made", extra={"path": str(path)})
    finally:
        os.unlink(draft)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
