"""Where a transaction is, and whether the chain took back the block that it was in."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

import structlog

from eventserver_chain_evm.answers import Block
from eventserver_chain_evm.contract import is_input_for
from eventserver_chain_evm.finality import Finality
from eventserver_chain_evm.node import BACKEND, Node
from eventserver_chain_evm.receipts import block_of, contradiction, why_no_anchor
from eventserver_chain_evm.transactions import SignedTransaction
from eventserver_core.backends.chain import AnchorReceipt, AnchorTransaction
from eventserver_core.domain.proof import Anchor
from eventserver_core.errors import BackendUnavailableError

CHAIN: Final = "evm"

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A transaction that is looked for.

    Attributes:
        signed: what was sent; None where that is lost, and only ``known`` tells of it.
        known: where it was found before.
    """

    root: bytes
    transaction_hash: str
    chain_id: int
    contract: str | None
    signed: SignedTransaction | None
    known: Anchor | None

    @classmethod
    def read(cls, transaction: AnchorTransaction, known: Anchor | None) -> Wanted:
        """Read what the core kept.

        Raises:
            BackendUnavailableError: it is nothing that was made here.
        """
        is_ours = known is not None and (known.chain, transaction.transaction_hash) in (
            (CHAIN, known.transaction_hash),
            (CHAIN, None),
        )
        if is_ours and known and known.chain_id is not None and not transaction.payload:
            tx_hash, chain_id = known.transaction_hash, known.chain_id
            return cls(transaction.root, tx_hash, chain_id, known.contract, None, known)
        signed = SignedTransaction.read(transaction)
        if known and (known.chain, known.chain_id, known.transaction_hash) != (
            CHAIN,
            signed.chain_id,
            signed.transaction_hash,
        ):
            known = None  # it tells of another transaction
        tx_hash = signed.transaction_hash
        return cls(transaction.root, tx_hash, signed.chain_id, signed.contract, signed, known)

    def anchor(self, network: str, block: Block) -> Anchor:
        """Return where it is, if that is this block."""
        time = datetime.fromtimestamp(block.timestamp, UTC)
        if self.signed is None and self.known is not None:
            return replace(
                self.known,
                block_number=block.number,
                block_hash=block.block_hash,
                block_time=time,
            )
        return Anchor(
            chain=CHAIN,
            network=network,
            chain_id=self.chain_id,
            contract=self.contract,
            transaction_hash=self.transaction_hash,
            block_number=block.number,
            block_hash=block.block_hash,
            block_time=time,
        )


def find(node: Node, wanted: Wanted, network: str, finality: Finality) -> AnchorReceipt | None:
    """Return where a transaction is; see ``ChainBackend.find``.

    Raises:
        BackendUnavailableError: the node can't tell, or contradicts itself.
    """
    block = _block(node, wanted)
    if block is None:
        return None
    head = node.height()
    if head < block.number:
        raise BackendUnavailableError(BACKEND, "the node's newest block lies before the anchor")
    return AnchorReceipt(
        wanted.anchor(network, block),
        confirmations=head - block.number + 1,
        final=finality.is_final(node, block.number, head),
    )


def _block(node: Node, wanted: Wanted) -> Block | None:
    if not _holds_root(node, wanted):
        _report_refused(wanted, "it holds another root")
        return None
    receipt = node.receipt(wanted.transaction_hash)
    if receipt is None:
        return None if wanted.known is None else _block_where_it_was(node, wanted.known)
    block = block_of(node, receipt, wanted.transaction_hash)
    if (reason := why_no_anchor(wanted.root, wanted.contract, receipt)) is not None:
        _report_refused(wanted, reason)
        return None
    return block


def _holds_root(node: Node, wanted: Wanted) -> bool:
    if wanted.signed is not None:
        return wanted.signed.holds(wanted.root)
    # it was found for this root before, so a node that has forgotten it changes nothing
    sent = node.sent(wanted.transaction_hash)
    return sent is None or is_input_for(wanted.root, sent.data, wanted.contract)


def _block_where_it_was(node: Node, known: Anchor) -> Block | None:
    """Return the block that a transaction was in; None where the chain took it back.

    The node has no receipt, but that may be because it is behind, or because it has forgotten
    which block the transaction was in: only another block in that place says that it is lost.
    """
    head = node.height()
    if head < known.block_number:
        raise BackendUnavailableError(
            BACKEND,
            f"the node is behind: its newest block is {head}, and {known.transaction_hash} was "
            f"found in block {known.block_number}; nothing is concluded until it has caught up",
        )
    block = node.block(known.block_number)
    if block is None or block.number != known.block_number:
        raise contradiction(f"is at block {head}, but has no block {known.block_number} to show")
    if block.block_hash != known.block_hash:
        return None
    if known.transaction_hash not in block.transactions:
        raise contradiction(
            f"has block {block.block_hash}, where {known.transaction_hash} was found, and doesn't "
            "list it there now"
        )
    return block


def _report_refused(wanted: Wanted, reason: str) -> None:
    _log.warning("anchor_refused", transaction_hash=wanted.transaction_hash, reason=reason)
