"""Putting the anchoring contract on a chain."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Final

from eth_account.signers.local import LocalAccount
from eth_utils.address import to_checksum_address
from web3.types import Nonce
from web3.utils import get_create_address

from eventserver_chain_evm.answers import Receipt
from eventserver_chain_evm.contract import creation_code, require_code
from eventserver_chain_evm.fees import FeePolicy, in_ether
from eventserver_chain_evm.node import BACKEND, LATEST, PENDING, Node
from eventserver_chain_evm.receipts import block_of
from eventserver_chain_evm.sending import send
from eventserver_chain_evm.transactions import SignedTransaction, sign
from eventserver_core.backends.chain import DeployedContract
from eventserver_core.errors import BackendUnavailableError

DEPLOY_SECONDS: Final = 100.0
"""How long all of it may take, more than any other call: whoever runs it waits for its end."""

_BLOCK_SECONDS: Final = 90.0
"""How much of that until the transaction is in a block."""

_POLL_SECONDS: Final = 0.5


def deploy(
    node: Node,
    key: LocalAccount,
    chain_id: int,
    fees: FeePolicy,
    moment: datetime,
) -> DeployedContract:
    """Send the transaction that makes the contract, and wait until it is in a block.

    Nothing is sent while another transaction of the account is in no block: it may be an earlier
    deployment, and nobody wants to pay for two.

    Raises:
        BackendUnavailableError: it can't be sent, failed, or is in no block in time; the message
            says whether something was sent, and what the address will be.
    """
    deadline = time.monotonic() + _BLOCK_SECONDS
    signed = _signed(node, key, chain_id, fees, moment)
    address = to_checksum_address(get_create_address(signed.account, Nonce(signed.nonce)))
    what = f"transaction {signed.transaction_hash}, which makes the contract {address},"
    hint = (
        f"before trying again, set blockchain.contract = {address}, and `eventserver chain status` "
        "tells whether the contract is there"
    )
    try:
        send(node, signed)
    except BackendUnavailableError as ex:
        raise BackendUnavailableError(
            BACKEND, f"{what} may not have been sent: {ex}; {hint}"
        ) from ex
    try:
        receipt = _wait(node, signed, deadline)
        if receipt is not None:
            block_of(node, receipt, signed.transaction_hash)
            require_code(node, address)
    except BackendUnavailableError as ex:
        raise BackendUnavailableError(BACKEND, f"{what} was sent, but: {ex}; {hint}") from ex
    if receipt is None:
        raise BackendUnavailableError(
            BACKEND,
            f"{what} was sent and is in no block after {_BLOCK_SECONDS:g} s; {hint}",
        )
    return DeployedContract(
        address, signed.transaction_hash, receipt.block_number, receipt.gas_used
    )


def _signed(
    node: Node, key: LocalAccount, chain_id: int, fees: FeePolicy, moment: datetime
) -> SignedTransaction:
    head = node.head()
    offer = fees.offer(fees.quote(node, head))
    address = to_checksum_address(key.address)
    nonce, waiting = node.count(address, LATEST), node.count(address, PENDING)
    if waiting > nonce:
        raise BackendUnavailableError(
            BACKEND,
            f"nothing was sent: the account {address} has sent {waiting - nonce} that is in no "
            "block yet, which may be a deployment; wait for it, and stop the workers meanwhile",
        )
    code = creation_code()
    balance = node.balance(address)
    gas = node.gas(address, None, code) * 6 // 5
    if balance < gas * offer.max_fee:
        raise BackendUnavailableError(
            BACKEND,
            f"nothing was sent: the account {address} has {in_ether(balance)} ether, and the "
            f"contract may cost {in_ether(gas * offer.max_fee)}",
        )
    return sign(
        key,
        chain_id=chain_id,
        nonce=nonce,
        to=None,
        data=code,
        gas=gas,
        fees=offer,
        signed_at_block=head.number,
        signed_at=moment,
    )


def _wait(node: Node, signed: SignedTransaction, deadline: float) -> Receipt | None:
    while (receipt := node.receipt(signed.transaction_hash)) is None:
        if time.monotonic() > deadline - _POLL_SECONDS:
            return None
        time.sleep(_POLL_SECONDS)
    return receipt
