"""Receipts, checked against what else the node says."""

from __future__ import annotations

from eventserver_chain_evm.answers import Block, Receipt
from eventserver_chain_evm.contract import has_log
from eventserver_chain_evm.node import BACKEND, Node
from eventserver_core.errors import BackendUnavailableError


def block_of(node: Node, receipt: Receipt, transaction_hash: str) -> Block:
    """Return the block that a transaction's receipt names.

    Raises:
        BackendUnavailableError: what the node says doesn't agree with itself: it lies, or it is
            taking blocks back at this moment. Nothing is concluded from it.
    """
    if receipt.transaction_hash != transaction_hash:
        raise contradiction(f"gave the receipt of another transaction for {transaction_hash}")
    block = node.block(receipt.block_number)
    where = f"has {transaction_hash} in block {receipt.block_number}"
    if block is None:
        raise contradiction(f"{where}, which it doesn't have")
    if (block.number, block.block_hash) != (receipt.block_number, receipt.block_hash):
        raise contradiction(f"{where}, and another block in that place")
    if transaction_hash not in block.transactions:
        raise contradiction(f"{where}, which doesn't list it")
    return block


def why_no_anchor(root: bytes, contract: str | None, receipt: Receipt) -> str | None:
    """Return why a transaction that holds a root doesn't anchor it; None where it does."""
    if not receipt.succeeded:
        return "it was reverted"
    if contract is not None and not has_log(root, receipt.logs, contract):
        return "the contract logged nothing"
    return None


def contradiction(what: str) -> BackendUnavailableError:
    """Return what is raised where a node doesn't agree with itself."""
    return BackendUnavailableError(BACKEND, f"the node {what}; is it in order?")
