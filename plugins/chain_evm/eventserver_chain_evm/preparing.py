"""Which transaction anchors a root: one that was signed before, one in its place, or a new one.

What keeps a root from being anchored twice is the nonce. An account's nonce gets into the chain
once, so all transactions for a root have the same one, until it is used up by something else and
no reorganisation can bring them back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

import structlog
from eth_account.signers.local import LocalAccount
from eth_typing import ChecksumAddress
from eth_utils.address import to_checksum_address

from eventserver_chain_evm.answers import Block
from eventserver_chain_evm.contract import input_for, require_code
from eventserver_chain_evm.costs import anchor_gas, require_balance, require_budget
from eventserver_chain_evm.fees import Fees, LimitReachedError
from eventserver_chain_evm.node import LATEST, PENDING, Node
from eventserver_chain_evm.receipts import block_of, why_no_anchor
from eventserver_chain_evm.terms import Terms
from eventserver_chain_evm.transactions import SignedTransaction, sign
from eventserver_chain_evm.used_nonces import final_user

_log = structlog.get_logger(__name__)


class Preparation:
    """One root's next transaction.

    Args:
        node: the node.
        terms: what the settings say.
        key: who signs.
        chain_id: which chain the node is of.
        others: the account's transactions on it that were made for other roots.
        clock: tells the time.
    """

    def __init__(
        self,
        node: Node,
        terms: Terms,
        key: LocalAccount,
        chain_id: int,
        others: Sequence[SignedTransaction],
        clock: Callable[[], datetime],
    ) -> None:
        self._node = node
        self._terms = terms
        self._key = key
        self._account = to_checksum_address(key.address)
        self._chain_id = chain_id
        self._others = [one for one in others if self._is_own(one)]
        self._now = clock()
        self._head: Block = node.head()

    def transaction(self, root: bytes, earlier: Sequence[SignedTransaction]) -> SignedTransaction:
        """Return one of ``earlier``, one that can only take its place, or a new one.

        Raises:
            LimitReachedError: a new one would cost too much.
            BackendUnavailableError: the node can't be asked.
        """
        waiting = self._not_void(root, earlier)
        if waiting:
            return self._followed(waiting[-1], earlier)
        if earlier:
            _log.warning("anchor_nonce_lost", root=root.hex(), nonce=earlier[-1].nonce)
        contract = self._terms.contract
        if contract is not None:
            require_code(self._node, contract)
        to, data = contract or self._account, input_for(root, contract)
        fees = self._offer()
        gas = anchor_gas(self._node, self._terms, self._account, root)
        return self._signed(self._next_nonce(), to, data, gas, fees, earlier)

    def _not_void(
        self, root: bytes, earlier: Sequence[SignedTransaction]
    ) -> list[SignedTransaction]:
        """Return those of a root's transactions that may still anchor it, or have done so."""
        users: dict[tuple[str, int], str | None] = {}
        left = []
        for one in earlier:
            place = (one.account, one.nonce)
            if place not in users:
                users[place] = final_user(
                    self._node,
                    self._terms.finality,
                    self._head.number,
                    one.account,
                    one.nonce,
                    one.signed_at_block,
                )
            user = users[place]
            if user is None or (user == one.transaction_hash and self._is_anchor(root, one)):
                left.append(one)
        return left

    def _is_anchor(self, root: bytes, mined: SignedTransaction) -> bool:
        """Tell whether a transaction that is in a block anchors its root."""
        receipt = self._node.receipt(mined.transaction_hash)
        if receipt is None:
            return True  # a node that has forgotten what became of it is no reason to sign again
        block_of(self._node, receipt, mined.transaction_hash)
        return mined.holds(root) and why_no_anchor(root, mined.contract, receipt) is None

    def _followed(
        self, signed: SignedTransaction, earlier: Sequence[SignedTransaction]
    ) -> SignedTransaction:
        """Return a transaction that waits for its block, or what takes its place."""
        if self._head.number - signed.signed_at_block < self._terms.replace_after_blocks:
            return signed
        if not self._is_own(signed):
            return signed  # another key's, so that nothing can be done but to wait
        used = self._node.count(self._account, LATEST)
        if used < signed.nonce:
            self._report_gap(signed)
        try:
            if used == signed.nonce:
                return self._replacement(signed, earlier) or signed
        except LimitReachedError as ex:
            _log.warning("anchor_not_replaced", nonce=signed.nonce, error=str(ex))
        return signed

    def _replacement(
        self, signed: SignedTransaction, earlier: Sequence[SignedTransaction]
    ) -> SignedTransaction | None:
        fees = self._terms.fees.raised(signed.fees, self._offer())
        if fees is None:
            _log.warning(
                "anchor_fee_capped",
                transaction_hash=signed.transaction_hash,
                nonce=signed.nonce,
                max_fee=signed.fees.max_fee,
                cap=self._terms.fees.max_fee,
            )
            return None
        replacement = self._signed(signed.nonce, signed.to, signed.data, signed.gas, fees, earlier)
        _log.warning(
            "anchor_replaced",
            transaction_hash=signed.transaction_hash,
            by=replacement.transaction_hash,
            nonce=signed.nonce,
            max_fee=fees.max_fee,
            tip=fees.tip,
        )
        return replacement

    def _report_gap(self, waiting: SignedTransaction) -> None:
        """Say that a nonce belongs to nobody, and keeps a transaction from its block.

        It happens where a transaction that is unknown here had the nonce and was dropped by the
        nodes. Nothing is sent for it here: the next root takes it.
        """
        nonce = self._next_nonce()
        if nonce < waiting.nonce:
            _log.warning(
                "nonce_gap",
                account=self._account,
                nonce=nonce,
                waiting=waiting.transaction_hash,
                hint="the next batch takes the nonce; sooner, send any transaction with it",
            )

    def _offer(self) -> Fees:
        return self._terms.fees.offer(self._terms.fees.quote(self._node, self._head))

    def _next_nonce(self) -> int:
        """Return the smallest nonce that no transaction has, sent or only kept."""
        taken = {one.nonce for one in self._others}
        nonce = self._node.count(self._account, PENDING)
        while nonce in taken:
            nonce += 1
        return nonce

    def _signed(
        self,
        nonce: int,
        to: ChecksumAddress | None,
        data: bytes,
        gas: int,
        fees: Fees,
        earlier: Sequence[SignedTransaction],
    ) -> SignedTransaction:
        require_balance(self._node, self._account, gas * fees.max_fee)
        signed = sign(
            self._key,
            chain_id=self._chain_id,
            nonce=nonce,
            to=to,
            data=data,
            gas=gas,
            fees=fees,
            signed_at_block=self._head.number,
            signed_at=self._now,
        )
        known = [*self._others, *filter(self._is_own, earlier), signed]
        require_budget(self._terms.daily_budget, known, self._now)
        return signed

    def _is_own(self, signed: SignedTransaction) -> bool:
        return (signed.chain_id, signed.account) == (self._chain_id, self._account)
