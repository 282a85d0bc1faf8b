"""What an anchor may cost, for whoever signs one and for whoever only wants to know."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

import structlog
from eth_typing import ChecksumAddress

from eventserver_chain_evm.contract import input_for
from eventserver_chain_evm.fees import LimitReachedError, in_ether
from eventserver_chain_evm.node import BACKEND, Node, RefusedError
from eventserver_chain_evm.terms import Terms
from eventserver_chain_evm.transactions import SignedTransaction

_DAY: Final = timedelta(days=1)
_DEAREST_ROOT: Final = b"\xff" * 32
"""A byte of a transaction's data costs more where it isn't 0."""

_log = structlog.get_logger(__name__)


def anchor_gas(node: Node, terms: Terms, account: ChecksumAddress, root: bytes) -> int:
    """Return the gas limit of a transaction that anchors a root.

    Raises:
        LimitReachedError: it would use more than the settings allow, or the account is empty.
        BackendUnavailableError: the node can't tell.
    """
    to, data = terms.contract or account, input_for(root, terms.contract)
    try:
        estimate = node.gas(account, to, data)
    except RefusedError:
        require_balance(node, account, 1)  # some nodes estimate nothing for an empty account
        raise
    if estimate > terms.gas_limit:
        raise LimitReachedError(
            BACKEND,
            f"an anchor would use {estimate} gas, more than blockchain.gas_limit "
            f"({terms.gas_limit})",
        )
    return min(estimate * 6 // 5, terms.gas_limit)


def greatest_cost(node: Node, terms: Terms, account: ChecksumAddress, price: int) -> int:
    """Return the most that an anchor may cost, in wei.

    Args:
        node: the node.
        terms: what the settings say.
        account: who would sign it.
        price: the most that a unit of gas may cost, in wei.
    """
    return anchor_gas(node, terms, account, _DEAREST_ROOT) * price


def require_balance(node: Node, account: str, cost: int) -> None:
    """Make sure that an account can pay for an anchor.

    Raises:
        LimitReachedError: it can't.
    """
    balance = node.balance(account)
    if balance >= cost:
        return
    _log.error("account_empty", account=account, balance=balance, anchor_cost=cost)
    raise LimitReachedError(
        BACKEND,
        f"the account {account} has {in_ether(balance)} ether, and one anchor may cost "
        f"{in_ether(cost)}; send it some",
    )


def require_budget(
    budget: int | None, transactions: Sequence[SignedTransaction], moment: datetime
) -> None:
    """Make sure that the transactions of the last 24 hours don't cost more than they may.

    Raises:
        LimitReachedError: they could.
    """
    if budget is None:
        return
    costs: dict[int, int] = {}
    for one in transactions:
        if moment - one.signed_at < _DAY:
            # of those that share a nonce only one is ever paid for
            costs[one.nonce] = max(costs.get(one.nonce, 0), one.greatest_cost)
    if (total := sum(costs.values())) > budget:
        raise LimitReachedError(
            BACKEND,
            f"with one more the transactions of 24 hours may cost {in_ether(total)} ether, "
            f"above evm.daily_budget ({in_ether(budget)}); nothing is signed until it is "
            "raised or time has passed",
        )
