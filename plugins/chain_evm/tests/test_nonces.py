"""Nonces: one for a root, one root for a nonce, and no gap for long."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from structlog.testing import capture_logs

from eventserver_core.backends.chain import AnchorTransaction
from eventserver_core.errors import BackendUnavailableError
from eventserver_core.testing.parts import Anvil


def test_what_is_kept_says_all_that_the_transaction_is(
    node: Anvil, owner: Any, batch: Any, clock: Any
) -> None:
    node.mine()
    head = int(node.rpc("eth_blockNumber"), 16)
    transaction = batch.prepare()
    kept = batch.last
    assert kept["chainId"] == 31337
    assert kept["account"] == kept["to"] == owner.address
    assert kept["nonce"] == 0
    assert kept["input"] == "0x" + batch.root.hex()
    assert kept["signedAtBlock"] == head
    assert kept["signedAt"] == "2023-11-14T23:00:00.000Z"
    assert 0 < kept["maxPriorityFeePerGas"] < kept["maxFeePerGas"]
    batch.backend.publish(transaction)
    node.mine()
    on_chain = node.rpc("eth_getTransactionByHash", transaction.transaction_hash)
    assert int(on_chain["maxFeePerGas"], 16) == kept["maxFeePerGas"]
    assert int(on_chain["gas"], 16) == kept["gas"]
    assert on_chain["input"] == kept["input"]


def test_each_root_gets_a_nonce_of_its_own_whatever_was_published(
    node: Anvil, make_batch: Callable[..., Any], anchors: Callable[[Any], int]
) -> None:
    batches: list[Any] = []
    for number in range(5):
        batch = make_batch(others=batches)
        transaction = batch.prepare()
        if number in (2, 4):
            batch.backend.publish(transaction)
        batches.append(batch)
    assert [batch.nonces for batch in batches] == [[0], [1], [2], [3], [4]]
    node.mine()
    assert [batch.find() for batch in batches] == [None] * 5
    for batch in reversed(batches):
        batch.step()
    node.mine()
    assert all(batch.step() is not None for batch in batches)
    assert [anchors(batch) for batch in batches] == [1] * 5


def test_a_root_keeps_its_transaction_until_it_is_in_a_block(node: Anvil, batch: Any) -> None:
    first = batch.prepare()
    for _ in range(3):
        assert batch.prepare() == first
        batch.backend.publish(first)
        node.rpc("anvil_dropTransaction", first.transaction_hash)
    assert batch.step() is None
    node.mine()
    assert batch.step().anchor.transaction_hash == first.transaction_hash


def test_a_transaction_that_a_node_forgot_is_sent_again(node: Anvil, batch: Any) -> None:
    batch.step()
    node.rpc("anvil_dropTransaction", batch.transactions[0].transaction_hash)
    node.mine()
    assert batch.step() is None
    node.mine()
    assert batch.step() is not None
    assert len(batch.transactions) == 1


def test_a_nonce_after_somebody_elses_waiting_transaction_is_the_next_one(
    node: Anvil, owner: Any, batch: Any
) -> None:
    owner.send(0)
    batch.step()
    assert batch.nonces == [1]
    node.mine()
    assert batch.step() is not None


def test_a_gap_that_a_dropped_transaction_left_is_filled_by_the_next_root(
    node: Anvil, owner: Any, make_batch: Callable[..., Any]
) -> None:
    foreign = owner.send(0)
    first = make_batch()
    first.step()
    node.rpc("anvil_dropTransaction", foreign)
    second = make_batch(others=[first])
    second.step()
    assert (first.nonces, second.nonces) == ([1], [0])
    first.step()
    node.mine()
    assert first.step() is not None
    assert second.step() is not None


def test_a_gap_that_no_root_comes_to_fill_is_reported_and_nothing_is_sent_for_it(
    node: Anvil,
    owner: Any,
    proxy: Any,
    make_chain: Callable[..., Any],
    make_batch: Callable[..., Any],
    anchors: Callable[[Any], int],
) -> None:
    foreign = [owner.send(0), owner.send(1)]
    batch = make_batch(make_chain(blockchain__rpc_url=proxy.url, evm__replace_after_blocks=3))
    batch.step()
    for transaction_hash in foreign:
        node.rpc("anvil_dropTransaction", transaction_hash)
    node.mine(3)
    proxy.asked.clear()
    with capture_logs() as logs:
        assert batch.prepare() == batch.transactions[0]
    (line,) = [line for line in logs if line["event"] == "nonce_gap"]
    assert (line["nonce"], line["waiting"]) == (0, batch.transactions[0].transaction_hash)
    assert "eth_sendRawTransaction" not in proxy.asked
    owner.send(0)
    owner.send(1)
    batch.step()
    node.mine()
    assert batch.step() is not None
    assert set(batch.nonces) == {2}
    assert anchors(batch) == 1


def test_a_gap_that_a_kept_transaction_will_fill_is_left_to_it(
    node: Anvil, owner: Any, make_chain: Callable[..., Any], make_batch: Callable[..., Any]
) -> None:
    backend = make_chain(evm__replace_after_blocks=1)
    first = make_batch(backend)
    first.prepare()
    second = make_batch(backend, [first])
    second.step()
    node.mine(5)
    with capture_logs() as logs:
        second.step()
    assert "nonce_gap" not in [line["event"] for line in logs]
    assert owner.nonce("pending") == 0
    first.step()
    second.step()
    node.mine()
    assert first.find() is not None
    assert second.find() is not None


def test_a_reverted_transaction_is_no_anchor_and_the_root_gets_another_one_once_it_is_deep(
    node: Anvil, contract: str, make_chain: Callable[..., Any], make_batch: Callable[..., Any]
) -> None:
    batch = make_batch(make_chain(blockchain__contract=contract))
    batch.prepare()
    code = node.rpc("eth_getCode", contract, "latest")
    node.rpc("anvil_setCode", contract, "0x60006000fd")  # it reverts, whatever is asked of it
    batch.backend.publish(batch.transactions[0])
    node.mine()
    node.rpc("anvil_setCode", contract, code)
    for _ in range(3):
        assert batch.step() is None
        node.mine()
    assert len(batch.transactions) == 1
    batch.step()
    node.mine()
    assert batch.step() is not None
    assert batch.nonces[1] == batch.nonces[0] + 1


def test_a_root_whose_anchor_was_overlooked_gets_no_second_one(
    node: Anvil, proxy: Any, through_proxy: Any, make_batch: Callable[..., Any]
) -> None:
    batch = make_batch(through_proxy)
    batch.step()
    node.mine(20)
    assert batch.prepare() == batch.transactions[0]
    proxy.put("eth_getTransactionReceipt", None)
    assert batch.find() is None
    assert batch.prepare() == batch.transactions[0]
    assert len(batch.transactions) == 1


def test_a_transaction_by_another_key_is_waited_for_and_never_signed_again(
    node: Anvil,
    make_owner: Callable[..., Any],
    make_chain: Callable[..., Any],
    make_batch: Callable[..., Any],
    anchors: Callable[[Any], int],
) -> None:
    before = make_batch(make_chain())
    before.prepare()
    after = make_batch(
        make_chain(blockchain__account_key=make_owner(node).key, evm__replace_after_blocks=1)
    )
    after.root, after.transactions = before.root, before.transactions
    node.mine(20)
    after.step()
    node.mine()
    assert after.step() is not None
    assert len(after.transactions) == 1
    assert anchors(after) == 1


def test_transactions_of_another_plugin_don_t_stand_in_another_roots_way(
    node: Anvil, batch: Any
) -> None:
    ledgers = AnchorTransaction(os.urandom(32), b"", None)
    assert batch.backend.prepare(batch.root, [], [ledgers]) is not None
    for call in (
        lambda: batch.backend.prepare(ledgers.root, [ledgers]),
        lambda: batch.backend.find(ledgers),
        lambda: batch.backend.publish(ledgers),
    ):
        with pytest.raises(BackendUnavailableError, match="none of this plugin's"):
            call()


def test_a_kept_transaction_whose_hash_is_another_one_is_not_used(batch: Any) -> None:
    changed = replace(batch.prepare(), transaction_hash="0x" + "ab" * 32)
    with pytest.raises(BackendUnavailableError, match="another hash than kept"):
        batch.backend.publish(changed)


def test_a_root_that_is_no_root_is_a_fault_of_the_caller(batch: Any) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        batch.backend.prepare(b"short")
