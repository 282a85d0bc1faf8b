"""Anchors that were found before: only another block in their place says that they are lost."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from eventserver_core.backends.chain import AnchorTransaction
from eventserver_core.errors import BackendUnavailableError
from eventserver_core.testing.parts import Anvil

RECEIPT = "eth_getTransactionReceipt"
SENT = "eth_getTransactionByHash"
BLOCK = "eth_getBlockByNumber"
HEIGHT = "eth_blockNumber"


@pytest.fixture(params=["contract", "plain"])
def batch(
    node: Anvil,
    proxy: Any,
    contract: str,
    make_chain: Callable[..., Any],
    make_batch: Callable[..., Any],
    request: pytest.FixtureRequest,
) -> Any:
    """Return a batch that was found two blocks deep, and whose node is behind the proxy."""
    keys = {"blockchain__contract": contract if request.param == "contract" else ""}
    batch = make_batch(make_chain(blockchain__rpc_url=proxy.url, **keys))
    batch.step()
    node.mine(2)
    assert batch.find().confirmations == 2
    return batch


@pytest.fixture(params=["kept", "lost"])
def transaction(batch: Any, request: pytest.FixtureRequest) -> AnchorTransaction:
    """Return the batch's transaction, as it was kept, or as the core gives one that was lost."""
    kept: AnchorTransaction = batch.transactions[0]
    return kept if request.param == "kept" else replace(kept, payload=b"")


def forget(proxy: Any) -> None:
    """Take the node's index of transactions away."""
    proxy.put(RECEIPT, None)
    proxy.put(SENT, None)


def take_back(node: Anvil, blocks: int) -> None:
    """Put other blocks in the place of the newest ones, without what was in them."""
    node.rpc("anvil_reorg", blocks, [])
    for pooled in node.rpc("txpool_content")["pending"].values():
        for waiting in pooled.values():
            node.rpc("anvil_dropTransaction", waiting["hash"])


def test_what_was_found_is_found_again(batch: Any, transaction: AnchorTransaction) -> None:
    again = batch.backend.find(transaction, batch.anchor)
    assert (again.anchor, again.confirmations) == (batch.anchor, 2)


def test_a_node_that_is_behind_takes_nothing_back(
    node: Anvil, proxy: Any, batch: Any, transaction: AnchorTransaction
) -> None:
    forget(proxy)
    proxy.put(HEIGHT, hex(batch.anchor.block_number - 1))
    with pytest.raises(BackendUnavailableError, match="the node is behind: its newest block is"):
        batch.backend.find(transaction, batch.anchor)
    proxy.answers.clear()
    assert batch.backend.find(transaction, batch.anchor) is not None


def test_another_block_in_its_place_says_that_it_was_taken_back(
    node: Anvil, batch: Any, transaction: AnchorTransaction
) -> None:
    before = batch.anchor
    take_back(node, 2)
    assert batch.backend.find(transaction, before) is None
    assert batch.step() is None
    node.mine()
    assert batch.step().anchor.block_hash != before.block_hash


def test_a_node_that_was_behind_and_catches_up_with_another_chain_takes_it_back_then(
    node: Anvil, proxy: Any, batch: Any, transaction: AnchorTransaction
) -> None:
    take_back(node, 2)
    proxy.put(HEIGHT, hex(batch.anchor.block_number - 1))
    with pytest.raises(BackendUnavailableError, match="the node is behind"):
        batch.backend.find(transaction, batch.anchor)
    proxy.answers.clear()
    assert batch.backend.find(transaction, batch.anchor) is None


def test_where_it_was_mined_again_it_is_found_there(
    node: Anvil, batch: Any, transaction: AnchorTransaction
) -> None:
    before = batch.anchor
    take_back(node, 2)
    batch.backend.publish(batch.transactions[0])
    node.mine()
    receipt = batch.backend.find(transaction, before)
    assert receipt.anchor.block_number > before.block_number
    assert receipt.anchor.transaction_hash == before.transaction_hash
    assert receipt.anchor.contract == before.contract


def test_a_transaction_that_the_node_has_forgotten_stands_while_its_block_lists_it(
    node: Anvil, proxy: Any, batch: Any, transaction: AnchorTransaction
) -> None:
    forget(proxy)
    receipt = batch.backend.find(transaction, batch.anchor)
    assert (receipt.anchor, receipt.confirmations) == (batch.anchor, 2)
    assert not receipt.final
    node.mine(10)
    receipt = batch.backend.find(transaction, batch.anchor)
    assert (receipt.anchor, receipt.confirmations, receipt.final) == (batch.anchor, 12, True)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda block: block | {"transactions": []}, "doesn't list it there now"),
        (lambda _block: None, "has no block"),
        (lambda block: block | {"number": "0x0"}, "has no block"),
    ],
    ids=["not listed", "no block", "another number"],
)
def test_a_node_that_contradicts_itself_takes_nothing_back(
    proxy: Any,
    batch: Any,
    transaction: AnchorTransaction,
    answer: Callable[[Any], Any],
    words: str,
) -> None:
    forget(proxy)
    proxy.answers[BLOCK] = answer
    with pytest.raises(BackendUnavailableError, match=words):
        batch.backend.find(transaction, batch.anchor)


def test_what_holds_another_root_is_no_anchor_wherever_it_was_found(
    proxy: Any, batch: Any, transaction: AnchorTransaction
) -> None:
    changed = replace(transaction, root=os.urandom(32))
    assert batch.backend.find(changed, batch.anchor) is None
    proxy.put(RECEIPT, None)
    assert batch.backend.find(changed, batch.anchor) is None


def test_where_another_transaction_was_found_says_nothing_of_this_one(
    proxy: Any, batch: Any
) -> None:
    forget(proxy)
    other = replace(batch.anchor, transaction_hash="0x" + "ab" * 32)
    for known in (other, replace(batch.anchor, chain="ledger", chain_id=None), None):
        assert batch.backend.find(batch.transactions[0], known) is None


@pytest.mark.parametrize("changed", [{"chain": "ledger", "chain_id": None}, {"chain_id": None}])
def test_a_lost_transaction_of_another_plugin_is_not_looked_for(
    batch: Any, changed: dict[str, Any]
) -> None:
    lost = replace(batch.transactions[0], payload=b"")
    for known in (replace(batch.anchor, **changed), None):
        with pytest.raises(BackendUnavailableError, match="none of this plugin's"):
            batch.backend.find(lost, known)


def test_a_lost_transaction_is_not_looked_for_on_another_chain(proxy: Any, batch: Any) -> None:
    proxy.put("eth_chainId", "0x1")
    lost = replace(batch.transactions[0], payload=b"", transaction_hash=None)
    with pytest.raises(BackendUnavailableError, match="the node is of chain 1"):
        batch.backend.find(lost, batch.anchor)
