"""Anchors on a chain that speaks the Ethereum JSON-RPC."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Final

import structlog
from eth_account.signers.local import LocalAccount

from eventserver_chain_evm.answers import Block
from eventserver_chain_evm.contract import (
    ANCHOR_GAS,
    PLAIN_ANCHOR_GAS,
    require_code,
)
from eventserver_chain_evm.deploying import deploy
from eventserver_chain_evm.fees import Quote, in_ether
from eventserver_chain_evm.node import BACKEND, Connection, Node
from eventserver_chain_evm.preparing import Preparation, Terms
from eventserver_chain_evm.receipts import block_of, why_no_anchor
from eventserver_chain_evm.sending import send
from eventserver_chain_evm.settings import FINALIZED
from eventserver_chain_evm.transactions import SignedTransaction
from eventserver_core.backends.chain import (
    AccountStatus,
    AnchorReceipt,
    AnchorTransaction,
    DeployedContract,
)
from eventserver_core.domain.digest import DIGEST_SIZE
from eventserver_core.domain.instant import now
from eventserver_core.domain.proof import Anchor
from eventserver_core.errors import BackendUnavailableError

CHECK_SECONDS: Final = 1.5
"""Whoever asks whether the chain is well doesn't wait longer than two seconds."""

_log = structlog.get_logger(__name__)


class EvmChain:
    """Anchors roots by transactions of one account; nothing is remembered between two calls.

    Args:
        connection: the way to a node.
        network: the chain's name, for proofs.
        chain_id: the one that the node must have; None takes what it has at first.
        terms: what the settings say of transactions.
        key: who signs; None where nothing is ever prepared.
        seconds: how long one call may take.
        clock: tells the time.
    """

    def __init__(
        self,
        connection: Connection,
        network: str,
        chain_id: int | None,
        terms: Terms,
        key: LocalAccount | None,
        seconds: float,
        clock: Callable[[], datetime] = now,
    ) -> None:
        self._connection = connection
        self._network = network
        self._set_chain_id = chain_id
        self._chain_id = chain_id
        self._terms = terms
        self._key = key
        self._seconds = seconds
        self._clock = clock

    def prepare(
        self,
        root: bytes,
        earlier: Sequence[AnchorTransaction] = (),
        others: Sequence[AnchorTransaction] = (),
    ) -> AnchorTransaction:
        """Sign what anchors the root, or return what was signed; see ``ChainBackend.prepare``.

        Raises:
            BackendUnavailableError: the node can't be asked or is of another chain, or the
                transaction would cost more than the account has or the settings allow.
            ValueError: the root has not 32 bytes.
        """
        if len(root) != DIGEST_SIZE:
            raise ValueError("a root has 32 bytes")
        key = self._require_key()
        node = self._node()
        of_root = [SignedTransaction.read(one) for one in earlier]
        of_others = list(SignedTransaction.read_own(others))
        known = of_root if self._set_chain_id else [*of_root, *of_others]
        chain_id = self._require_chain(node, {one.chain_id for one in known})
        preparation = Preparation(node, self._terms, key, chain_id, of_others, self._clock)
        signed = preparation.transaction(root, of_root)
        if signed in of_root:
            return earlier[of_root.index(signed)]
        return signed.anchoring(root)

    def publish(self, transaction: AnchorTransaction) -> None:
        """Send the transaction to the node, again if need be; see ``ChainBackend.publish``.

        Raises:
            BackendUnavailableError: it may or may not have been sent.
        """
        signed = SignedTransaction.read(transaction)
        node = self._node()
        self._require_chain(node, {signed.chain_id})
        send(node, signed)

    def find(self, transaction: AnchorTransaction) -> AnchorReceipt | None:
        """Return where the transaction is; see ``ChainBackend.find``.

        Raises:
            BackendUnavailableError: the node can't be asked, is of another chain, or contradicts
                itself.
        """
        signed = SignedTransaction.read(transaction)
        node = self._node()
        self._require_chain(node, {signed.chain_id})
        transaction_hash = signed.transaction_hash
        receipt = node.receipt(transaction_hash)
        if receipt is None:
            return None
        block = block_of(node, receipt, transaction_hash)
        if (reason := why_no_anchor(transaction.root, signed, receipt)) is not None:
            _log.warning("anchor_refused", transaction_hash=transaction_hash, reason=reason)
            return None
        head = node.height()
        if head < block.number:
            raise BackendUnavailableError(BACKEND, "the node's newest block lies before the anchor")
        return AnchorReceipt(
            self._anchor(signed, block),
            confirmations=head - block.number + 1,
            final=self._terms.finality.is_final(node, block.number, head),
        )

    def check(self) -> None:
        """Find out whether roots can be anchored now; see ``ChainBackend.check``.

        Raises:
            BackendUnavailableError: they can't.
        """
        node = self._connection.node(CHECK_SECONDS)
        self._require_chain(node, ())
        if node.is_syncing():
            raise BackendUnavailableError(BACKEND, "the node is still catching up with its chain")
        if self._terms.finality.rule == FINALIZED and node.finalized() is None:
            raise BackendUnavailableError(
                BACKEND, "the chain knows no finalized block; set evm.finality to depth"
            )
        if self._terms.contract:
            require_code(node, self._terms.contract)
        if self._key is None:
            return
        quote = self._terms.fees.quote(node, node.head())
        self._terms.fees.offer(quote)
        balance, cost = node.balance(self._key.address), self._anchor_cost(quote)
        if balance < cost:
            raise BackendUnavailableError(
                BACKEND,
                f"the account {self._key.address} has {in_ether(balance)} ether, and one anchor "
                f"costs {in_ether(cost)}; send it some",
            )

    def account_status(self) -> AccountStatus:
        """Return what the account has; see ``UsesAccount.account_status``.

        Raises:
            BackendUnavailableError: the node can't be asked, or is of another chain.
        """
        node = self._node()
        chain_id = self._require_chain(node, ())
        head = node.head()
        quote = self._terms.fees.quote(node, head)
        address = None if self._key is None else str(self._key.address)
        return AccountStatus(
            network=self._network,
            chain_id=chain_id,
            head=head.number,
            finalized=node.finalized(),
            account=address,
            balance=None if address is None else node.balance(address),
            anchor_cost=self._anchor_cost(quote),
            contract=self._terms.contract,
        )

    def deploy_contract(self) -> DeployedContract:
        """Put the anchoring contract on the chain; see ``UsesAccount.deploy_contract``.

        Raises:
            BackendUnavailableError: it can't be done, or isn't in a block in time.
        """
        key = self._require_key()
        node = self._node()
        chain_id = self._require_chain(node, ())
        return deploy(node, key, chain_id, self._terms.fees, self._clock(), self._seconds)

    def _node(self) -> Node:
        return self._connection.node(self._seconds)

    def _require_key(self) -> LocalAccount:
        if self._key is None:
            raise BackendUnavailableError(
                BACKEND,
                "there is no key to sign with; set blockchain.account_key, or "
                "blockchain.account_key_file to a file with a key or a keystore",
            )
        return self._key

    def _require_chain(self, node: Node, made_for: Iterable[int]) -> int:
        """Return the node's chain id, if it is the one that it must be."""
        actual = node.chain_id()
        expected = {*made_for, *([self._chain_id] if self._chain_id else [])}
        if wrong := sorted(expected - {actual}):
            _log.error("wrong_chain_refused", chain_id=actual, expected=wrong)
            raise BackendUnavailableError(
                BACKEND,
                f"the node is of chain {actual}, and chain {', '.join(map(str, wrong))} is wanted; "
                "nothing is signed or believed until blockchain.rpc_url and blockchain.chain_id "
                "agree",
            )
        self._chain_id = actual
        return actual

    def _anchor_cost(self, quote: Quote) -> int:
        return (ANCHOR_GAS if self._terms.contract else PLAIN_ANCHOR_GAS) * quote.price

    def _anchor(self, signed: SignedTransaction, block: Block) -> Anchor:
        return Anchor(
            chain="evm",
            network=self._network,
            chain_id=signed.chain_id,
            contract=signed.contract,
            transaction_hash=signed.transaction_hash,
            block_number=block.number,
            block_hash=block.block_hash,
            block_time=datetime.fromtimestamp(block.timestamp, UTC),
        )
