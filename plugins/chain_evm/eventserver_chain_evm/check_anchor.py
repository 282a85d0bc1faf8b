"""Asking any node whether a proof's anchor holds its root."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime
from typing import Final

from eventserver_chain_evm.answers import Block, Receipt, Sent
from eventserver_chain_evm.contract import has_log, is_input_for
from eventserver_chain_evm.node import Connection, Node, is_http_address
from eventserver_core.domain.proof import Anchor, Outcome, Step
from eventserver_core.errors import BackendUnavailableError

NAME: Final = "chain"

_REQUEST_SECONDS: Final = 5.0
_SECONDS: Final = 15.0


def check_anchor(anchor: Anchor, root: bytes, rpc_url: str) -> Step:
    """Return what a node says of an anchor; see ``eventserver_check_anchor``.

    The block is asked for by its number and not by the transaction: many nodes forget after a
    while which block a transaction was in, and none of them loses its headers.
    """
    if not is_http_address(rpc_url):
        return _step(Outcome.MISSING, "the chain was not asked: the node has no http address")
    try:
        with closing(Connection(rpc_url, _REQUEST_SECONDS)) as connection:
            return _checked(connection.node(_SECONDS), anchor, root)
    except BackendUnavailableError as ex:
        return _step(Outcome.MISSING, f"the chain was not asked: {ex}")


def _checked(node: Node, anchor: Anchor, root: bytes) -> Step:
    chain_id = node.chain_id()
    if chain_id != anchor.chain_id:
        return _step(
            Outcome.MISSING,
            f"the chain was not asked: the node is of chain {chain_id}, the proof of chain "
            f"{anchor.chain_id}",
        )
    height = node.height()
    block = node.block(anchor.block_number)
    if block is None:
        missing = "is not there yet" if height < anchor.block_number else "is not kept"
        return _step(Outcome.MISSING, f"at this node block {anchor.block_number} {missing}")
    if block.number != anchor.block_number or height < block.number:
        return _contradicts("it gives another block, or one above its newest")
    if (fault := _block_fault(block, anchor)) is not None:
        return _step(Outcome.FAILED, fault)
    sent, receipt = node.sent(anchor.transaction_hash), node.receipt(anchor.transaction_hash)
    if sent is None or receipt is None:
        return _step(
            Outcome.MISSING,
            f"block {block.number} lists the transaction, but this node no longer has its content",
        )
    about = (receipt.transaction_hash, receipt.block_number)
    if about != (anchor.transaction_hash, anchor.block_number):
        return _contradicts("its receipt is of another transaction or block")
    if (fault := _transaction_fault(sent, receipt, anchor, root)) is not None:
        return _step(Outcome.FAILED, fault)
    confirmations = height - block.number + 1
    many = "confirmation" if confirmations == 1 else "confirmations"
    return _step(
        Outcome.PASSED,
        f"block {block.number} of chain {chain_id} holds the root, with {confirmations} {many}",
    )


def _block_fault(block: Block, anchor: Anchor) -> str | None:
    where = f"block {anchor.block_number}"
    if block.block_hash != anchor.block_hash:
        return f"{where} of this chain is another one, {block.block_hash}"
    if datetime.fromtimestamp(block.timestamp, UTC) != anchor.block_time:
        return f"{where} was made at another time than the proof says"
    if anchor.transaction_hash not in block.transactions:
        return f"{where} has no such transaction"
    return None


def _transaction_fault(sent: Sent, receipt: Receipt, anchor: Anchor, root: bytes) -> str | None:
    if receipt.block_hash != anchor.block_hash:
        return "the transaction is in another block"
    if not receipt.succeeded:
        return "the transaction was reverted"
    if not is_input_for(root, sent.data, anchor.contract):
        return "the transaction holds another root"
    if anchor.contract is None:
        return None if sent.to == sent.sender else "the transaction goes to somebody else"
    if sent.to != anchor.contract.lower():
        return "the transaction calls another contract"
    return None if has_log(root, receipt.logs, anchor.contract) else "the contract logged no root"


def _contradicts(how: str) -> Step:
    return _step(Outcome.MISSING, f"the chain was not asked: the node contradicts itself, {how}")


def _step(outcome: Outcome, detail: str) -> Step:
    return Step(NAME, outcome, detail)
