"""Which transaction anchors a root: one that was signed before, one in its place, or a new one.

What keeps a root from being anchored twice is the nonce. An account's nonce gets into the chain
once, so all transactions for a root have the same one, until it is used up by something else and
no reorganisation can bring them back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import structlog
from eth_account.signers.local import LocalAccount
from eth_typing import ChecksumAddress
from eth_utils.address import to_checksum_address

from eventserver_chain_evm.answers import Block
from eventserver_chain_evm.contract import input_for, require_code
from eventserver_chain_evm.fees import FeePolicy, Fees, LimitReachedError, in_ether
from eventserver_chain_evm.finality import Finality
from eventserver_chain_evm.node import BACKEND, LATEST, PENDING, Node, RefusedError
from eventserver_chain_evm.receipts import why_no_anchor
from eventserver_chain_evm.sending import send
from eventserver_chain_evm.transactions import SignedTransaction, sign

_DAY: Final = timedelta(days=1)
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Terms:
    """What the settings say of transactions.

    Attributes:
        contract: what roots are sent to; None for the account itself.
        gas_limit: the most gas that one may use.
        replace_after_blocks: how long one may wait for its block.
        daily_budget: the most that those of 24 hours may cost, in wei; None is no limit.
    """

    contract: ChecksumAddress | None
    gas_limit: int
    replace_after_blocks: int
    daily_budget: int | None
    fees: FeePolicy
    finality: Finality


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
        waiting = [one for one in earlier if not self._is_void(root, one)]
        if waiting:
            return self._followed(waiting[-1], earlier)
        if earlier:
            _log.warning("anchor_nonce_lost", root=root.hex(), nonce=earlier[-1].nonce)
        contract = self._terms.contract
        if contract is not None:
            require_code(self._node, contract)
        to, data = contract or self._account, input_for(root, contract)
        fees = self._offer()
        gas = self._gas(to, data)
        return self._signed(self._next_nonce(), to, data, gas, fees, earlier)

    def _is_void(self, root: bytes, signed: SignedTransaction) -> bool:
        """Tell whether a transaction can't anchor its root any longer, whatever happens."""
        if self._node.count(signed.account, LATEST) <= signed.nonce:
            return False
        used = self._terms.finality.settled_nonces(self._node, signed.account, self._head.number)
        if used <= signed.nonce:
            return False
        receipt = self._node.receipt(signed.transaction_hash)
        if receipt is None:
            # a node that knows the transaction but has no receipt yet is one that is not to be
            # relied on for signing again
            return self._node.sent(signed.transaction_hash) is None
        return why_no_anchor(root, signed, receipt) is not None

    def _followed(
        self, signed: SignedTransaction, earlier: Sequence[SignedTransaction]
    ) -> SignedTransaction:
        """Return a transaction that waits for its block, or what takes its place."""
        if self._head.number - signed.signed_at_block < self._terms.replace_after_blocks:
            return signed
        if not self._is_own(signed):
            return signed  # another key's, so that nothing can be done but to wait
        used = self._node.count(self._account, LATEST)
        try:
            if used < signed.nonce:
                self._fill_gap(signed)
            elif used == signed.nonce:
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

    def _fill_gap(self, waiting: SignedTransaction) -> None:
        """Use up a nonce that nobody else will, and that keeps a transaction from its block.

        It happens where a transaction that is unknown here had a nonce and was dropped by the
        nodes. What fills the gap holds no root, so it needs not be kept before it is sent.
        """
        nonce = self._node.count(self._account, PENDING)
        if nonce >= waiting.nonce or nonce in {one.nonce for one in self._others}:
            return
        gas = self._gas(self._account, b"")
        filler = self._signed(nonce, self._account, b"", gas, self._offer(), [waiting])
        send(self._node, filler)
        _log.warning(
            "nonce_gap_filled",
            nonce=nonce,
            transaction_hash=filler.transaction_hash,
            waiting=waiting.transaction_hash,
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
        self._require_balance(gas * fees.max_fee)
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
        self._require_budget([*self._others, *filter(self._is_own, earlier), signed])
        return signed

    def _gas(self, to: ChecksumAddress, data: bytes) -> int:
        try:
            estimate = self._node.gas(self._account, to, data)
        except RefusedError:
            self._require_balance(1)  # some nodes estimate nothing for an account that has nothing
            raise
        if estimate > self._terms.gas_limit:
            raise LimitReachedError(
                BACKEND,
                f"an anchor would use {estimate} gas, more than blockchain.gas_limit "
                f"({self._terms.gas_limit})",
            )
        return min(estimate * 6 // 5, self._terms.gas_limit)

    def _require_balance(self, cost: int) -> None:
        balance = self._node.balance(self._account)
        if balance >= cost:
            return
        _log.error("account_empty", account=self._account, balance=balance, anchor_cost=cost)
        raise LimitReachedError(
            BACKEND,
            f"the account {self._account} has {in_ether(balance)} ether, and one anchor may cost "
            f"{in_ether(cost)}; send it some",
        )

    def _require_budget(self, known: Sequence[SignedTransaction]) -> None:
        budget = self._terms.daily_budget
        if budget is None:
            return
        costs: dict[int, int] = {}
        for one in known:
            if self._now - one.signed_at < _DAY:
                # of those that share a nonce only one is ever paid for
                costs[one.nonce] = max(costs.get(one.nonce, 0), one.greatest_cost)
        if (total := sum(costs.values())) > budget:
            raise LimitReachedError(
                BACKEND,
                f"with one more the transactions of 24 hours may cost {in_ether(total)} ether, "
                f"above evm.daily_budget ({in_ether(budget)}); nothing is signed until it is "
                "raised or time has passed",
            )

    def _is_own(self, signed: SignedTransaction) -> bool:
        return (signed.chain_id, signed.account) == (self._chain_id, self._account)
