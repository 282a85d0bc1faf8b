"""Where signed packages are kept: small ones in the event's envelope, others by themselves."""

from __future__ import annotations

from eventserver_core.backends.storage import StorageBackend
from eventserver_core.domain.digest import sha256_hex
from eventserver_core.domain.envelope import PACK_PREFIX, Envelope
from eventserver_core.errors import ObjectNotFoundError

MAX_SIZE_IN_PACK = 16 * 1024
"""In bytes. A larger signed package, such as one with media in it, is an object of its own."""


def is_in_pack(key: str) -> bool:
    """Tell whether the signed package that a row names is in the event's own envelope."""
    return key.startswith(PACK_PREFIX)


def read_signed_package(storage: StorageBackend, key: str, envelope: Envelope | None) -> bytes:
    """Return an event's signed package.

    Args:
        storage: where objects are.
        key: as the event's row has it.
        envelope: the event's own, where it could be read.

    Raises:
        ObjectNotFoundError: it is not there.
    """
    if not is_in_pack(key):
        return b"".join(storage.read(key))
    signature = envelope.signature if envelope else None
    if signature is None or signature.jws is None:
        raise ObjectNotFoundError(f"{key} has no signed package of this event")
    return signature.jws


def is_changed(key: str, jws: bytes) -> bool:
    """Tell whether a signed package has another digest than its key; in a pack it has no key."""
    return not is_in_pack(key) and not key.endswith(sha256_hex(jws))
