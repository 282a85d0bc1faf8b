"""Signed transactions, and the form in which the core keeps them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from eth_account.signers.local import LocalAccount
from eth_typing import ChecksumAddress
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from eventserver_chain_evm.contract import is_input_for
from eventserver_chain_evm.fees import Fees
from eventserver_chain_evm.node import BACKEND
from eventserver_core.backends.chain import AnchorTransaction
from eventserver_core.domain.instant import format_rfc3339, parse_rfc3339
from eventserver_core.errors import BackendUnavailableError


@dataclass(frozen=True, slots=True)
class SignedTransaction:
    """A transaction that only has to be sent.

    Attributes:
        raw: what is sent.
        to: the contract, or the account itself.
        data: what is called the transaction's input once it is in a block.
        gas: the most that it may use.
        signed_at_block: the newest block's number at that time.
    """

    raw: bytes
    chain_id: int
    account: ChecksumAddress
    nonce: int
    to: ChecksumAddress | None
    data: bytes
    gas: int
    fees: Fees
    signed_at_block: int
    signed_at: datetime

    @property
    def transaction_hash(self) -> str:
        """Its hash, which is known before anybody has seen it."""
        return "0x" + keccak(self.raw).hex()

    @property
    def contract(self) -> ChecksumAddress | None:
        """The contract that it calls; None where it is sent to the account itself."""
        return None if self.to == self.account else self.to

    @property
    def greatest_cost(self) -> int:
        """The most that it can cost, in wei."""
        return self.gas * self.fees.max_fee

    def holds(self, root: bytes) -> bool:
        """Tell whether it anchors this root, once it is in a block."""
        # the hash is one of the raw bytes, so what they hold is what gets into the block
        return is_input_for(root, self.data, self.contract) and self.data in self.raw

    def anchoring(self, root: bytes) -> AnchorTransaction:
        """Return it in the form that the core keeps."""
        members = {
            "raw": "0x" + self.raw.hex(),
            "chainId": self.chain_id,
            "account": self.account,
            "nonce": self.nonce,
            "to": self.to,
            "input": "0x" + self.data.hex(),
            "gas": self.gas,
            "maxFeePerGas": self.fees.max_fee,
            "maxPriorityFeePerGas": self.fees.tip,
            "signedAtBlock": self.signed_at_block,
            "signedAt": format_rfc3339(self.signed_at),
        }
        return AnchorTransaction(root, json.dumps(members).encode(), self.transaction_hash)

    @classmethod
    def read(cls, transaction: AnchorTransaction) -> SignedTransaction:
        """Read what the core kept.

        Raises:
            BackendUnavailableError: it is nothing that was made here.
        """
        try:
            members: dict[str, Any] = json.loads(transaction.payload)
            signed = cls(
                raw=_bytes(members["raw"]),
                chain_id=int(members["chainId"]),
                account=to_checksum_address(members["account"]),
                nonce=int(members["nonce"]),
                to=to_checksum_address(members["to"]),
                data=_bytes(members["input"]),
                gas=int(members["gas"]),
                fees=Fees(members["maxFeePerGas"], members["maxPriorityFeePerGas"]),
                signed_at_block=int(members["signedAtBlock"]),
                signed_at=parse_rfc3339(members["signedAt"]),
            )
        except (ValueError, KeyError, TypeError) as ex:
            raise BackendUnavailableError(
                BACKEND,
                "the transaction that was kept is none of this plugin's; was plugins.chain "
                "another one when it was made? Set it back until the batch is anchored",
            ) from ex
        if transaction.transaction_hash not in (None, signed.transaction_hash):
            raise BackendUnavailableError(BACKEND, "a kept transaction has another hash than kept")
        return signed

    @classmethod
    def read_own(cls, transactions: Iterable[AnchorTransaction]) -> Iterator[SignedTransaction]:
        """Read those that were made here; for a day there may be some of the plugin before."""
        for transaction in transactions:
            with suppress(BackendUnavailableError):
                yield cls.read(transaction)


def sign(
    key: LocalAccount,
    *,
    chain_id: int,
    nonce: int,
    to: ChecksumAddress | None,
    data: bytes,
    gas: int,
    fees: Fees,
    signed_at_block: int,
    signed_at: datetime,
) -> SignedTransaction:
    """Sign a transaction that moves nothing; with ``to`` None it makes a contract."""
    members: dict[str, Any] = {
        "chainId": chain_id,
        "nonce": nonce,
        "value": 0,
        "data": data,
        "gas": gas,
        **fees.members(),
    }
    if to is not None:
        members["to"] = to
    raw = bytes(key.sign_transaction(members).raw_transaction)
    address = to_checksum_address(key.address)
    return SignedTransaction(
        raw, chain_id, address, nonce, to, data, gas, fees, signed_at_block, signed_at
    )


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))
