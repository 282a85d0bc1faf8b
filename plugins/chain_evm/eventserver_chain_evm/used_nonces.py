"""Which transaction used a nonce up, as the chain itself tells.

That a node knows nothing of a transaction proves nothing: it may be behind, or keep no index, or
be another one than the node that was asked just before. So whoever wants to sign a root again has
to see the other transaction that took the first one's place, in its block.
"""

from __future__ import annotations

from eventserver_chain_evm.finality import Finality
from eventserver_chain_evm.node import BACKEND, LATEST, Node, RefusedError
from eventserver_core.errors import BackendUnavailableError


def final_user(
    node: Node, finality: Finality, head: int, account: str, nonce: int, signed_at: int
) -> str | None:
    """Return the hash of the transaction that used a nonce; None where that isn't final.

    Args:
        node: the node.
        finality: what makes a block final.
        head: the newest block's number.
        account: whose nonce.
        nonce: which.
        signed_at: the newest block's number when a transaction with it was first signed.

    Raises:
        BackendUnavailableError: it is used, and the node can't show by what.
    """
    if node.count(account, LATEST) <= nonce:
        return None
    try:
        settled = finality.settled_block(node, head)
        if settled is None or node.count(account, settled) <= nonce:
            return None
        number = _block_that_used(node, account, nonce, min(signed_at, settled), settled)
        user = node.sent_in(number, account, nonce)
    except RefusedError as ex:
        raise BackendUnavailableError(
            BACKEND,
            f"nonce {nonce} of {account} is used, and the node can't show by what: {ex}; nothing "
            "is signed until it can: an archive node knows all blocks, others only the newest",
        ) from ex
    if user is None:
        raise BackendUnavailableError(
            BACKEND,
            f"the node says that block {number} used nonce {nonce} of {account}, and shows no "
            "such transaction in it; is it in order? Nothing is signed until it shows one",
        )
    return user


def _block_that_used(node: Node, account: str, nonce: int, signed_at: int, settled: int) -> int:
    """Return the number of the block in which an account's count passed a nonce.

    It looks at the newest blocks first, which nodes that keep little still know. When the
    transaction was signed the nonce was free, but a reorganisation may have put its block before
    that, so nothing is taken for granted but that the account had sent nothing before block 0.
    """
    used, before, step = settled, settled - 1, 1
    while before >= 0 and node.count(account, before) > nonce:
        used = before
        floor = signed_at if used > signed_at else -1
        before, step = max(used - step * 2, floor), step * 2
    while used - before > 1:
        middle = (used + before) // 2
        if node.count(account, middle) > nonce:
            used = middle
        else:
            before = middle
    return used
