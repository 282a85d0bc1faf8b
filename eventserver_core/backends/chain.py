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

    def prepare(
        self,
        root: bytes,
        earlier: Sequence[AnchorTransaction] = (),
        others: Sequence[AnchorTransaction] = (),
    ) -> AnchorTransaction:
        """Make a transaction that anchors ``root``; it MUST NOT be visible to anybody yet.

        A root MUST NOT be anchored twice, whichever of its transactions are published: where one
        of ``earlier`` may still get into a block, a backend returns that one again, or one that
        can only take its place.

        Args:
            root: 32 bytes.
            earlier: the transactions made before for the same root, oldest first.
            others: those made for other roots, oldest first: all that are not final, and all of
                the last 24 hours. A backend MAY need them to number its transactions, or to keep
                to a budget.

        Raises:
            BackendUnavailableError: it can't be made now; a retry is safe.
        """

    def publish(self, transaction: AnchorTransaction) -> None:
        """Send the transaction. Publishing the same one again MUST NOT anchor the root twice.

        Raises:
            BackendUnavailableError: it may or may not have been sent; a retry is safe.
        """

    def find(
        self, transaction: AnchorTransaction, known: Anchor | None = None
    ) -> AnchorReceipt | None:
        """Return the receipt, or None where the transaction is in no block (yet, or any longer).

        A receipt MUST be of a transaction that holds this very root. Where it was found before,
        None means that the chain took that block back: a backend whose node is behind, or has
        forgotten, MUST NOT answer so.

        Args:
            transaction: which.
            known: where this transaction was found before.

        Raises:
            BackendUnavailableError: the chain can't be asked now, or can't tell.
        """

    def check(self) -> None:
        """Find out whether roots can be anchored now.

        Raises:
            BackendUnavailableError: they can't; the message says what to do about it.
        """


@dataclass(frozen=True, slots=True)
class AccountStatus:
    """What an account on a chain has, and how far that goes. Amounts are in wei.

    Attributes:
        network: the chain's name, by the settings.
        chain_id: what the node says.
        head: the newest block's number.
        finalized: the newest final block's number; None where the chain knows none.
        account: the address; None where no key was given.
        balance: what it has.
        anchor_cost: the most that one anchor may cost now.
        contract: the anchoring contract's address; None where there is none.
    """

    network: str
    chain_id: int
    head: int
    finalized: int | None
    account: str | None
    balance: int | None
    anchor_cost: int | None
    contract: str | None

    @property
    def anchors(self) -> int | None:
        """How many anchors the balance pays for."""
        if self.balance is None or not self.anchor_cost:
            return None
        return self.balance // self.anchor_cost


@dataclass(frozen=True, slots=True)
class DeployedContract:
    """An anchoring contract that is in a block."""

    address: str
    transaction_hash: str
    block_number: int
    gas_used: int


@runtime_checkable
class UsesAccount(Protocol):
    """What a chain backend can do besides, where anchoring costs an account something."""

    def account_status(self) -> AccountStatus:
        """Return what the account has.

        Raises:
            BackendUnavailableError: the chain can't be asked now.
        """

    def deploy_contract(self) -> DeployedContract:
        """Put the anchoring contract on the chain, and wait until it is in a block.

        Raises:
            BackendUnavailableError: it can't be done now; the message says whether a transaction
                was sent.
        """
