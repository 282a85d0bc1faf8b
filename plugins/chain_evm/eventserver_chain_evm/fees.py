"""What a transaction offers for its gas, by EIP-1559 or as it was before."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from eventserver_chain_evm.answers import Block
from eventserver_chain_evm.node import BACKEND, Node, RefusedError
from eventserver_chain_evm.settings import ETHER, GWEI
from eventserver_core.errors import BackendUnavailableError


class LimitReachedError(BackendUnavailableError):
    """A transaction would cost more than the settings or the account allow."""


@dataclass(frozen=True, slots=True)
class Fees:
    """What a unit of gas may cost, in wei.

    Attributes:
        max_fee: the most, base fee and tip together; without EIP-1559 the price.
        tip: the part of it that the block's maker gets; None without EIP-1559.
    """

    max_fee: int
    tip: int | None

    def members(self) -> dict[str, Any]:
        """Return the members of a transaction that say so."""
        if self.tip is None:
            return {"gasPrice": self.max_fee}
        return {"type": 2, "maxFeePerGas": self.max_fee, "maxPriorityFeePerGas": self.tip}


@dataclass(frozen=True, slots=True)
class Quote:
    """What a chain asks for a unit of gas, in wei.

    Attributes:
        base_fee: what is burnt; None without EIP-1559.
        tip: what the block's maker wants; without EIP-1559 the whole price.
    """

    base_fee: int | None
    tip: int

    @property
    def price(self) -> int:
        """What a unit costs now."""
        return (self.base_fee or 0) + self.tip


@dataclass(frozen=True, slots=True)
class FeePolicy:
    """How much to offer.

    Attributes:
        max_fee: the most for a unit of gas, in wei.
        max_tip: the most to believe the node of what a tip should be, in wei.
    """

    max_fee: int
    max_tip: int

    def quote(self, node: Node, head: Block) -> Quote:
        """Return what the chain asks for now, by the newest block and the node's advice.

        Raises:
            BackendUnavailableError: the node can't be asked.
        """
        if head.base_fee is None:
            return Quote(None, node.gas_price())
        try:
            tip = node.tip()
        except RefusedError:  # the method came later than EIP-1559, and some nodes never had it
            tip = max(node.gas_price() - head.base_fee, 0)
        return Quote(head.base_fee, min(tip, self.max_tip))

    def offer(self, quote: Quote) -> Fees:
        """Return what to offer: room for the base fee to double, under the cap.

        Raises:
            LimitReachedError: the chain asks for more than the cap.
        """
        if quote.base_fee is None:
            self._require_under_cap("the gas price", quote.tip)
            return Fees(quote.tip, None)
        self._require_under_cap("the base fee", quote.base_fee)
        max_fee = min(self.max_fee, 2 * quote.base_fee + quote.tip)
        return Fees(max_fee, min(quote.tip, max_fee))

    def greatest_price(self, quote: Quote) -> int:
        """Return the most that a unit may cost: what would be offered, or is asked above the cap.

        It is for whoever only wants to know; nothing is signed above the cap.
        """
        try:
            return self.offer(quote).max_fee
        except LimitReachedError:
            return quote.price

    def raised(self, old: Fees, now: Fees) -> Fees | None:
        """Return what takes the place of an offer that was too low; None where the cap forbids it.

        Nodes want both fields a tenth or an eighth higher. A tip may rise above the most that a
        node is believed of it, since it could never be raised otherwise; the cap holds for it too.

        Args:
            old: the offer.
            now: what would be offered at present.
        """
        max_fee = max(_raised(old.max_fee), now.max_fee)
        if max_fee > self.max_fee:
            return None
        if old.tip is None:
            return Fees(max_fee, None)
        return Fees(max_fee, max(_raised(old.tip), now.tip or 0))

    def _require_under_cap(self, what: str, price: int) -> None:
        if price > self.max_fee:
            raise LimitReachedError(
                BACKEND,
                f"{what} is {in_gwei(price)} gwei, above the cap evm.max_fee_gwei "
                f"({in_gwei(self.max_fee)}); nothing is signed until it falls or the cap is raised",
            )


def _raised(price: int) -> int:
    """Return a price that is an eighth, rounded up, and 1 wei higher."""
    return -(-price * 9 // 8) + 1


def in_gwei(wei: int) -> str:
    """Write an amount in gwei."""
    return _plain(Decimal(wei) / GWEI)


def in_ether(wei: int) -> str:
    """Write an amount in ether."""
    return _plain(Decimal(wei) / ETHER)


def _plain(amount: Decimal) -> str:
    return f"{amount.normalize():f}"
