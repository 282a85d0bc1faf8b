"""Sending a signed transaction, and finding out what became of it when that isn't clear."""

from __future__ import annotations

import structlog

from eventserver_chain_evm.node import BACKEND, LATEST, Node
from eventserver_chain_evm.transactions import SignedTransaction
from eventserver_core.errors import BackendUnavailableError

_log = structlog.get_logger(__name__)


def send(node: Node, signed: SignedTransaction) -> None:
    """Send a transaction; one that the node has already is as good as sent.

    Clients refuse in different words what they know already, and an answer may get lost after the
    transaction went out. So whatever went wrong, the chain is looked at, never the words.

    Raises:
        BackendUnavailableError: it may or may not have been sent.
    """
    transaction_hash = signed.transaction_hash
    try:
        answered = node.send(signed.raw)
    except BackendUnavailableError as ex:
        if _is_known(node, signed, ex):
            _log.debug("transaction_known", transaction_hash=transaction_hash, error=str(ex))
            return
        raise
    if answered != transaction_hash:
        raise BackendUnavailableError(BACKEND, "the node says that it took another transaction")


def _is_known(node: Node, signed: SignedTransaction, refusal: BackendUnavailableError) -> bool:
    try:
        if node.sent(signed.transaction_hash) is not None:
            return True
        is_used = node.count(signed.account, LATEST) > signed.nonce
    except BackendUnavailableError:
        return False  # why it wasn't sent says more than why it can't be looked for
    if is_used:
        raise BackendUnavailableError(
            BACKEND,
            f"nonce {signed.nonce} of {signed.account} was used by another transaction; once that "
            "is final this one is signed anew; does anybody else use the account?",
        ) from refusal
    return False
