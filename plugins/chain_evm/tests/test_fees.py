"""Fees: what is offered, what is raised, and what is never paid."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from eventserver_chain_evm.fees import FeePolicy, Fees, LimitReachedError, Quote
from structlog.testing import capture_logs

from eventserver_core.errors import BackendUnavailableError
from eventserver_core.testing.parts import Anvil

GWEI = 10**9
ETHER = 10**18


def set_base_fee(node: Anvil, wei: int) -> None:
    """Make a block whose base fee is this."""
    node.rpc("anvil_setNextBlockBaseFeePerGas", hex(wei))
    node.mine()


@pytest.fixture(autouse=True)
def usual_base_fee(node: Anvil) -> None:
    set_base_fee(node, GWEI)


def test_an_offer_leaves_the_base_fee_room_to_double() -> None:
    policy = FeePolicy(max_fee=100 * GWEI, max_tip=3 * GWEI)
    assert policy.offer(Quote(10 * GWEI, GWEI)) == Fees(21 * GWEI, GWEI)


def test_an_offer_is_never_above_the_cap() -> None:
    policy = FeePolicy(max_fee=15 * GWEI, max_tip=30 * GWEI)
    assert policy.offer(Quote(10 * GWEI, 20 * GWEI)) == Fees(15 * GWEI, 15 * GWEI)
    with pytest.raises(LimitReachedError, match=r"16 gwei, above the cap evm.max_fee_gwei \(15\)"):
        policy.offer(Quote(16 * GWEI, GWEI))
    with pytest.raises(LimitReachedError, match="the gas price is 16 gwei"):
        policy.offer(Quote(None, 16 * GWEI))


@pytest.mark.parametrize("old", [0, 1, 7, 8, 999_999_999, 10**9, 3 * 10**18 + 1])
def test_a_raise_is_an_eighth_and_a_wei_at_least(old: int) -> None:
    policy = FeePolicy(max_fee=10**30, max_tip=1)
    raised = policy.raised(Fees(old, old), Fees(0, 0))
    assert raised is not None
    for new in (raised.max_fee, raised.tip):
        assert new is not None
        assert new * 8 >= old * 9
        assert new > old


def test_a_raise_goes_to_what_is_asked_now_where_that_is_more() -> None:
    policy = FeePolicy(max_fee=100 * GWEI, max_tip=30 * GWEI)
    assert policy.raised(Fees(10, 1), Fees(50 * GWEI, 2 * GWEI)) == Fees(50 * GWEI, 2 * GWEI)
    assert policy.raised(Fees(90 * GWEI, GWEI), Fees(50 * GWEI, GWEI)) is None


def test_a_tip_that_the_node_made_up_is_not_believed(
    proxy: Any, make_chain: Callable[..., Any], make_batch: Callable[..., Any]
) -> None:
    proxy.put("eth_maxPriorityFeePerGas", hex(500 * GWEI))
    keys = {"blockchain__rpc_url": proxy.url, "evm__max_priority_fee_gwei": "2.5"}
    batch = make_batch(make_chain(**keys))
    batch.prepare()
    assert batch.last["maxPriorityFeePerGas"] == 2_500_000_000


def test_a_node_that_knows_no_tips_is_asked_for_the_price(
    proxy: Any, node: Anvil, through_proxy: Any, make_batch: Callable[..., Any]
) -> None:
    proxy.throw("eth_maxPriorityFeePerGas", proxy.RefusalError("the method does not exist"))
    proxy.put("eth_gasPrice", hex(5 * GWEI))
    batch = make_batch(through_proxy)
    batch.prepare()
    assert batch.last["maxPriorityFeePerGas"] == 4 * GWEI


def test_above_the_cap_nothing_is_signed_until_the_base_fee_falls(
    node: Anvil, make_chain: Callable[..., Any], make_batch: Callable[..., Any]
) -> None:
    backend = make_chain(evm__max_fee_gwei=50)
    batch = make_batch(backend)
    set_base_fee(node, 51 * GWEI)
    for call in (batch.step, backend.check):
        with pytest.raises(BackendUnavailableError, match="base fee is 51 gwei, above the cap"):
            call()
    assert batch.transactions == []
    assert backend.account_status().anchor_cost > 0
    set_base_fee(node, 10 * GWEI)
    batch.step()
    node.mine()
    assert batch.step() is not None
    backend.check()


def test_a_transaction_that_never_mines_is_replaced_by_a_dearer_one_with_its_nonce(
    node: Anvil,
    make_chain: Callable[..., Any],
    make_batch: Callable[..., Any],
    anchors: Callable[[Any], int],
) -> None:
    batch = make_batch(make_chain(evm__replace_after_blocks=3))
    batch.step()
    for _ in range(3):
        set_base_fee(node, 60 * GWEI)
        assert batch.find() is None
        assert len(batch.transactions) == 1
    batch.step()
    first, second = batch.transactions
    set_base_fee(node, 60 * GWEI)
    receipt = batch.step()
    assert receipt.anchor.transaction_hash == second.transaction_hash
    assert batch.nonces == [0, 0]
    assert batch.last["maxFeePerGas"] >= 60 * GWEI
    assert batch.last["maxPriorityFeePerGas"] * 8 > 9 * GWEI
    batch.backend.publish(second)
    with pytest.raises(BackendUnavailableError, match="used by another transaction"):
        batch.backend.publish(first)
    assert anchors(batch) == 1


def test_the_node_takes_every_replacement_in_a_row(
    node: Anvil, make_chain: Callable[..., Any], make_batch: Callable[..., Any]
) -> None:
    batch = make_batch(make_chain(evm__replace_after_blocks=1, evm__max_fee_gwei=10_000))
    batch.step()
    for count in range(2, 6):
        set_base_fee(node, batch.last["maxFeePerGas"] + 1)
        batch.step()
        assert len(batch.transactions) == count
    assert batch.last["maxPriorityFeePerGas"] > GWEI * 9**4 // 8**4
    node.mine()
    assert batch.find().anchor.transaction_hash == batch.transactions[-1].transaction_hash


@pytest.mark.parametrize(
    ("limit", "event"),
    [
        ({"evm__max_fee_gwei": "3.1"}, "anchor_fee_capped"),
        ({"evm__max_fee_gwei": "20"}, "anchor_not_replaced"),
        ({"evm__daily_budget": "0.00009"}, "anchor_not_replaced"),
    ],
    ids=["offer at the cap", "base fee above the cap", "budget"],
)
def test_at_a_limit_the_transaction_waits_and_the_log_says_so(
    node: Anvil,
    make_chain: Callable[..., Any],
    make_batch: Callable[..., Any],
    limit: dict[str, str],
    event: str,
) -> None:
    batch = make_batch(make_chain(evm__replace_after_blocks=1, **limit))
    batch.step()
    set_base_fee(node, 3_050_000_000 if event == "anchor_fee_capped" else 50 * GWEI)
    # some nodes take what can't be in the next block, some refuse it
    with capture_logs() as logs, suppress(BackendUnavailableError):
        assert batch.step() is None
    assert event in [line["event"] for line in logs]
    assert len(batch.transactions) == 1
    set_base_fee(node, GWEI)
    batch.step()
    node.mine()
    assert batch.step() is not None
    assert set(batch.nonces) == {0}


def test_an_empty_account_is_reported_with_what_it_has_and_what_it_needs(
    node: Anvil, owner: Any, backend: Any, batch: Any
) -> None:
    owner.set_balance(10**12)
    refused = pytest.raises(BackendUnavailableError, match=r"has 0\.000001 ether, and one anchor")
    with capture_logs() as logs, refused:
        batch.step()
    (alarm,) = [line for line in logs if line["event"] == "account_empty"]
    assert alarm["log_level"] == "error"
    assert alarm["balance"] == 10**12 < alarm["anchor_cost"]
    with pytest.raises(BackendUnavailableError, match=f"{owner.address} has 0.000001 ether"):
        backend.check()
    assert batch.transactions == []
    assert backend.account_status().anchors == 0
    owner.set_balance(ETHER)
    backend.check()
    batch.step()
    node.mine()
    assert batch.step() is not None


def test_the_check_and_the_status_reckon_with_what_would_be_signed(
    node: Anvil, owner: Any, backend: Any, make_batch: Callable[..., Any]
) -> None:
    batch = make_batch()
    batch.root = b"\xff" * 32
    cost = backend.account_status().anchor_cost
    said = []
    owner.set_balance(cost - 1)
    for call in (backend.check, batch.prepare):
        with pytest.raises(BackendUnavailableError, match="and one anchor may cost") as caught:
            call()
        said.append(str(caught.value))
    assert said[0] == said[1]
    assert backend.account_status().anchors == 0
    owner.set_balance(cost)
    backend.check()
    batch.prepare()
    assert batch.last["gas"] * batch.last["maxFeePerGas"] == cost
    assert backend.account_status().anchors == 1


def test_the_status_can_be_had_where_no_anchor_s_cost_can(
    owner: Any, proxy: Any, through_proxy: Any, make_chain: Callable[..., Any]
) -> None:
    proxy.throw("eth_estimateGas", proxy.RefusalError("would revert"))
    for balance in (ETHER, 0):
        owner.set_balance(balance)
        status = through_proxy.account_status()
        assert (status.balance, status.anchor_cost, status.anchors) == (balance, None, None)
    owner.set_balance(ETHER)
    assert make_chain(blockchain__account_key="").account_status().anchor_cost > 0


def test_a_key_without_a_budget_is_warned_of_at_the_start(
    make_chain: Callable[..., Any],
) -> None:
    def events(**keys: object) -> list[str]:
        with capture_logs() as logs:
            make_chain(**keys)
        return [line["event"] for line in logs]

    assert events() == ["daily_budget_not_set"]
    assert events(evm__daily_budget="0.01") == []
    assert events(blockchain__account_key="") == []


def test_an_account_that_was_emptied_after_signing_is_reported_too(
    node: Anvil, owner: Any, batch: Any
) -> None:
    batch.prepare()
    owner.set_balance(0)
    with pytest.raises(BackendUnavailableError, match=r"(?i)insufficient funds"):
        batch.step()
    owner.set_balance(ETHER)
    batch.step()
    node.mine()
    assert batch.step() is not None


def test_a_budget_holds_for_any_24_hours(
    node: Anvil, make_chain: Callable[..., Any], make_batch: Callable[..., Any], clock: Any
) -> None:
    backend = make_chain(evm__daily_budget="0.0002")
    batches: list[Any] = []
    for _ in range(2):
        batch = make_batch(backend, batches)
        batch.step()
        node.mine()
        assert batch.step() is not None
        set_base_fee(node, GWEI)
        batches.append(batch)
        clock.advance(3600)
    third = make_batch(backend, batches)
    with pytest.raises(BackendUnavailableError, match=r"above evm.daily_budget \(0.0002\)"):
        third.step()
    assert third.transactions == []
    clock.advance(22 * 3600 - 1)
    with pytest.raises(BackendUnavailableError, match="daily_budget"):
        third.step()
    clock.advance(1)
    third.step()
    assert len(third.transactions) == 1


@pytest.mark.parametrize(
    ("balance", "words"), [(0, "has 0 ether"), (ETHER, "refused eth_estimateGas: would revert")]
)
def test_where_gas_can_t_be_estimated_the_account_is_looked_at(
    owner: Any,
    proxy: Any,
    through_proxy: Any,
    make_batch: Callable[..., Any],
    balance: int,
    words: str,
) -> None:
    owner.set_balance(balance)
    proxy.throw("eth_estimateGas", proxy.RefusalError("would revert"))
    with pytest.raises(BackendUnavailableError, match=words):
        make_batch(through_proxy).step()


def test_an_anchor_that_would_use_too_much_gas_is_not_signed(
    make_chain: Callable[..., Any], make_batch: Callable[..., Any]
) -> None:
    batch = make_batch(make_chain(blockchain__gas_limit=21_500))
    with pytest.raises(BackendUnavailableError, match=r"more than blockchain.gas_limit \(21500\)"):
        batch.step()


@pytest.fixture(scope="module")
def legacy_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Anvil]:
    """Return a node of a chain from before EIP-1559."""
    arguments = ("--hardfork", "berlin")
    with Anvil(tmp_path_factory.mktemp("legacy"), block_time=None, arguments=arguments) as part:
        yield part


def test_a_chain_without_eip_1559_gets_legacy_transactions(
    legacy_node: Anvil,
    make_owner: Callable[..., Any],
    make_chain: Callable[..., Any],
    make_batch: Callable[..., Any],
) -> None:
    keys = {
        "blockchain__rpc_url": legacy_node.url,
        "blockchain__account_key": make_owner(legacy_node).key,
        "evm__replace_after_blocks": 1,
    }
    backend = make_chain(**keys)
    backend.check()
    batch = make_batch(backend)
    batch.prepare()
    assert batch.last["maxPriorityFeePerGas"] is None
    legacy_node.mine()
    batch.step()
    price = batch.last["maxFeePerGas"]
    assert len(batch.transactions) == 2
    legacy_node.mine()
    receipt = batch.step()
    assert receipt.anchor.transaction_hash == batch.transactions[1].transaction_hash
    on_chain = legacy_node.rpc("eth_getTransactionByHash", receipt.anchor.transaction_hash)
    assert int(on_chain["type"], 16) == 0
    assert int(on_chain["gasPrice"], 16) == price
