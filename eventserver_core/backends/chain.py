"""The ``chain`` role: puts roots where nobody can change them later.

To anchor is to make a transaction, to publish it, and to find it again until it is final. The core
keeps the transaction in its database between the first step and the second, so that a crash at any
moment leads to looking for it, never to a second one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from eventserver_core.domain.proof import Anchor


@dataclass(frozen=True, slots=True)
class AnchorTransaction:
    """A transaction that anchors a root, ready to be published.

    Attributes:
        root: the 32 bytes that it anchors.
        payload: whatever the backend needs to publish it, such as the signed bytes.
        transaction_hash: 0x-prefixed hex where it is known before publishing.
    """

    root: bytes
    payload: bytes
    transaction_hash: str | None


@dataclass(frozen=True, slots=True)
class AnchorReceipt:
    """A transaction that is in a block.

    Attributes:
        anchor: where it is.
        confirmations: how many blocks stand on it, itself included.
        final: whether it is deep enough to be relied on, by the backend's own settings.
    """

    anchor: Anchor
    confirmations: int
    final: bool


@runtime_checkable
class ChainBackend(Protocol):
    """Where roots are anchored. Only a worker that holds the lease prepares and publishes."""

    def prepare(self, root: bytes, earlier: Sequence[AnchorTransaction] = ()) -> AnchorTransaction:
        """Make a transaction that anchors ``root``; it MUST NOT be visible to anybody yet.

        Args:
            root: 32 bytes.
            earlier: the transactions made before for the same root; a backend MAY replace them
                with one that outbids them.

        Raises:
            BackendUnavailableError: it can't be made now; a retry is safe.
        """

    def publish(self, transaction: AnchorTransaction) -> None:
        """Send the transaction. Publishing the same one again MUST NOT anchor the root twice.

        Raises:
            BackendUnavailableError: it may or may not have been sent; a retry is safe.
        """

    def find(self, transaction: AnchorTransaction) -> AnchorReceipt | None:
        """Return the receipt, or None where the transaction is in no block (yet, or any longer).

        A receipt MUST be of a transaction that holds this very root.

        Raises:
            BackendUnavailableError: the chain can't be asked now.
        """

    def check(self) -> None:
        """Find out whether roots can be anchored now.

        Raises:
            BackendUnavailableError: they can't; the message says what to do about it.
        """
