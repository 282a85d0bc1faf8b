"""Receipts, checked against what else the node says."""

from __future__ import annotations

from eventserver_chain_evm.answers import Block, Receipt
from eventserver_chain_evm.contract import has_log, is_input_for
from eventserver_chain_evm.node import BACKEND, Node
from eventserver_chain_evm.transactions import SignedTransaction
from eventserver_core.errors import BackendUnavailableError


def block_of(node: Node, receipt: Receipt, transaction_hash: str) -> Block:
    """Return the block that a transaction's receipt names.

    Raises:
        BackendUnavailableError: what the node says doesn't agree with itself: it lies, or it is
            taking blocks back at this moment. Nothing is concluded from it.
    """
    if receipt.transaction_hash != transaction_hash:
        raise _contradiction(f"gave the receipt of another transaction for {transaction_hash}")
    block = node.block(receipt.block_number)
    where = f"has {transaction_hash} in block {receipt.block_number}"
    if block is None:
        raise _contradiction(f"{where}, which it doesn't have")
    if (block.number, block.block_hash) != (receipt.block_number, receipt.block_hash):
        raise _contradiction(f"{where}, and another block in that place")
    if transaction_hash not in block.transactions:
        raise _contradiction(f"{where}, which doesn't list it")
    return block


def why_no_anchor(root: bytes, signed: SignedTransaction, receipt: Receipt) -> str | None:
    """Return why a transaction that is in a block doesn't anchor a root; None where it does."""
    # the hash is one of the raw bytes, so what they hold is what is in the block
    if not is_input_for(root, signed.data, signed.contract) or signed.data not in signed.raw:
        return "it holds another root"
    if not receipt.succeeded:
        return "it was reverted"
    if signed.contract is not None and not has_log(root, receipt.logs, signed.contract):
        return "the contract logged nothing"
    return None


def _contradiction(what: str) -> BackendUnavailableError:
    return BackendUnavailableError(BACKEND, f"the node {what}; is it in order?")
