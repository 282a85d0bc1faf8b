"""What the settings say of transactions."""

from __future__ import annotations

from dataclasses import dataclass

from eth_typing import ChecksumAddress

from eventserver_chain_evm.fees import FeePolicy
from eventserver_chain_evm.finality import Finality


@dataclass(frozen=True, slots=True)
class Terms:
    """What the settings say of transactions.

    Attributes:
        contract: what roots are sent to; None for the account itself.
        gas_limit: the most gas that one may use.
        replace_after_blocks: how long one may wait for its block.
        daily_budget: the most that those of 24 hours may cost, in wei; None is no limit.
    """

    contract: ChecksumAddress | None
    gas_limit: int
    replace_after_blocks: int
    daily_budget: int | None
    fees: FeePolicy
    finality: Finality
