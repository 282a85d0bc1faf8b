"""What the worker looks up for its metrics."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from eventserver_core.backends.chain import AccountStatus, AnchorTransaction, DeployedContract
from eventserver_core.errors import BackendUnavailableError
from eventserver_core.metrics.definitions import (
    ACCOUNT_ANCHORS,
    ACCOUNT_ASKED_AT,
    ACCOUNT_BALANCE,
    REGISTRY,
)
from eventserver_core.services.measurements import MeasureAccount

NOW = datetime(2024, 1, 1, tzinfo=UTC)


class Chain:
    """A chain whose account has something, or that can't be asked.

    Attributes:
        asked: how often it was.
    """

    def __init__(self, network: str, balance: int | None, *, away: bool = False) -> None:
        self._status = AccountStatus(network, 1, 9, 8, "0x1", balance, 1000, None)
        self._away = away
        self.asked = 0

    def account_status(self) -> AccountStatus:
        self.asked += 1
        if self._away:
            raise BackendUnavailableError("chain=odd", "away")
        return self._status

    def deploy_contract(self) -> DeployedContract:
        raise NotImplementedError

    def prepare(self, *_args: object) -> AnchorTransaction:
        raise NotImplementedError

    def publish(self, _transaction: object) -> None: ...

    def find(self, *_args: object) -> None: ...

    def check(self) -> None: ...


def _sample(name: str, network: str) -> float | None:
    return REGISTRY.get_sample_value(f"eventserver_{name}", {"network": network})


def test_what_the_account_has_is_told_and_asked_for_once_a_minute() -> None:
    chain = Chain("measured", 2500)
    measure = MeasureAccount(chain, lambda: NOW)
    for _ in range(3):
        measure.run()
    assert chain.asked == 1
    assert _sample("account_balance_wei", "measured") == 2500
    assert _sample("account_anchors", "measured") == 2
    assert _sample("account_asked_timestamp_seconds", "measured") == NOW.timestamp()


def test_without_an_account_nothing_is_told_of_it() -> None:
    MeasureAccount(Chain("keyless", None), lambda: NOW).run()
    assert _sample("account_balance_wei", "keyless") is None
    assert _sample("account_anchors", "keyless") is None


def test_a_chain_that_is_away_leaves_what_is_known() -> None:
    MeasureAccount(Chain("shaky", 5000), lambda: NOW).run()
    with pytest.raises(BackendUnavailableError):
        MeasureAccount(Chain("shaky", 1, away=True), lambda: NOW).run()
    assert _sample("account_balance_wei", "shaky") == 5000
    for gauge in (ACCOUNT_BALANCE, ACCOUNT_ANCHORS, ACCOUNT_ASKED_AT):
        gauge.remove("shaky")


def test_a_chain_that_uses_no_account_is_left_alone() -> None:
    class Ledger:
        def prepare(self, *_args: object) -> AnchorTransaction:
            raise NotImplementedError

        def publish(self, _transaction: object) -> None: ...

        def find(self, *_args: object) -> None: ...

        def check(self) -> None: ...

    MeasureAccount(Ledger(), lambda: NOW).run()
