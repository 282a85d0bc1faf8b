"""The section ``evm``."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

from eventserver_core.settings import (
    COUNT,
    SECONDS,
    Section,
    one_of,
    option,
    parse_count,
    parse_seconds,
)

DEPTH, FINALIZED = "depth", "finalized"
GWEI = 10**9
ETHER = 10**18

_MOST = Decimal(10**12)


def _amount(text: str, unit: int) -> Decimal:
    try:
        amount = Decimal(text)
    except InvalidOperation as ex:
        raise ValueError("not a number") from ex
    if not amount.is_finite() or not 0 < amount <= _MOST or amount * unit < 1:
        raise ValueError("not above 0")
    return amount


def _gwei(text: str) -> Decimal:
    return _amount(text, GWEI)


def _budget(text: str) -> Decimal | None:
    return _amount(text, ETHER) if text else None


class EvmSettings(Section, name="evm"):
    """What an anchor on an EVM chain may cost, and when it is final."""

    max_fee_gwei: Decimal = option(
        "200",
        parser=_gwei,
        expected="a number of gwei above 0",
        doc="The most to pay for a unit of gas, tip and base fee together.",
    )
    max_priority_fee_gwei: Decimal = option(
        "30",
        parser=_gwei,
        expected="a number of gwei above 0",
        doc="The most to believe the node of what a tip should be.",
    )
    daily_budget: Decimal | None = option(
        "",
        parser=_budget,
        expected="a number of ether above 0, or nothing",
        doc="The most that the transactions signed in 24 hours may cost, in ether; empty is no "
        "limit.",
    )
    finality: str = option(
        DEPTH,
        parser=one_of(DEPTH, FINALIZED),
        expected="depth or finalized",
        doc="What makes an anchor confirmed: blockchain.confirmation_blocks, or the chain's own "
        "word.",
    )
    replace_after_blocks: int = option(
        "12",
        parser=parse_count,
        expected=COUNT,
        doc="After so many blocks in none of them a transaction is replaced by a dearer one.",
    )
    request_timeout: float = option(
        "5",
        parser=parse_seconds,
        expected=SECONDS,
        doc="How long the node may take for one answer.",
    )
    account_password: str = option(
        "", secret=True, doc="What decrypts the keystore that account_key_file names."
    )
    account_password_file: str = option("", doc="A file with that password.")

    @property
    def max_fee(self) -> int:
        """The most for a unit of gas, in wei."""
        return int(self.max_fee_gwei * GWEI)

    @property
    def max_priority_fee(self) -> int:
        """The most for a suggested tip, in wei."""
        return int(self.max_priority_fee_gwei * GWEI)

    @property
    def daily_budget_wei(self) -> int | None:
        """The budget in wei."""
        return None if self.daily_budget is None else int(self.daily_budget * ETHER)
