"""Anchors on a chain that speaks the Ethereum JSON-RPC."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Final

import structlog
from eth_account.signers.local import LocalAccount
from eth_utils.address import to_checksum_address

from eventserver_chain_evm import finding
from eventserver_chain_evm.answers import Block
from eventserver_chain_evm.contract import require_code
from eventserver_chain_evm.costs import greatest_cost, require_balance
from eventserver_chain_evm.deploying import DEPLOY_SECONDS, deploy
from eventserver_chain_evm.fees import LimitReachedError
from eventserver_chain_evm.finding import Wanted
from eventserver_chain_evm.node import BACKEND, Connection, Node, RefusedError
from eventserver_chain_evm.preparing import Preparation
from eventserver_chain_evm.sending import send
from eventserver_chain_evm.settings import FINALIZED
from eventserver_chain_evm.terms import Terms
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

_NOBODY: Final = to_checksum_address("0x" + "00" * 20)
"""Whose anchor's cost is told where there is no account."""

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

    def find(
        self, transaction: AnchorTransaction, known: Anchor | None = None
    ) -> AnchorReceipt | None:
        """Return where the transaction is; see ``ChainBackend.find``.

        Raises:
            BackendUnavailableError: the node can't be asked, is of another chain or behind, has
                forgotten the transaction, or contradicts itself.
        """
        wanted = Wanted.read(transaction, known)
        node = self._node()
        self._require_chain(node, {wanted.chain_id})
        return finding.find(node, wanted, self._network, self._terms.finality)

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
        fees, account = self._terms.fees, to_checksum_address(self._key.address)
        price = fees.offer(fees.quote(node, node.head())).max_fee
        require_balance(node, account, greatest_cost(node, self._terms, account, price))

    def account_status(self) -> AccountStatus:
        """Return what the account has; see ``UsesAccount.account_status``.

        Raises:
            BackendUnavailableError: the node can't be asked, is of another chain, or has no
                anchoring contract where the settings say.
        """
        node = self._node()
        chain_id = self._require_chain(node, ())
        if self._terms.contract:
            require_code(node, self._terms.contract)
        head = node.head()
        address = None if self._key is None else str(self._key.address)
        return AccountStatus(
            network=self._network,
            chain_id=chain_id,
            head=head.number,
            finalized=node.finalized(),
            account=address,
            balance=None if address is None else node.balance(address),
            anchor_cost=self._anchor_cost(node, head),
            contract=self._terms.contract,
        )

    def deploy_contract(self) -> DeployedContract:
        """Put the anchoring contract on the chain; see ``UsesAccount.deploy_contract``.

        Raises:
            BackendUnavailableError: it can't be done, or isn't in a block in time.
        """
        key = self._require_key()
        node = self._connection.node(DEPLOY_SECONDS)
        chain_id = self._require_chain(node, ())
        return deploy(node, key, chain_id, self._terms.fees, self._clock())

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

    def _anchor_cost(self, node: Node, head: Block) -> int | None:
        """Return the most that an anchor may cost now; None where the node can't tell."""
        fees = self._terms.fees
        account = _NOBODY if self._key is None else to_checksum_address(self._key.address)
        price = fees.greatest_price(fees.quote(node, head))
        try:
            return greatest_cost(node, self._terms, account, price)
        except (LimitReachedError, RefusedError):
            return None
