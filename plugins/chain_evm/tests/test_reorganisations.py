"""Blocks that the chain takes back: the root is anchored again, and once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from eventserver_core.errors import BackendUnavailableError
from eventserver_core.testing.parts import Anvil

GWEI = 10**9


def reorganise(node: Anvil, depth: int) -> None:
    """Put as many other blocks in the place of the newest ones, without what was in them."""
    node.rpc("anvil_reorg", depth, [])
    for pooled in node.rpc("txpool_content")["pending"].values():
        for transaction in pooled.values():
            node.rpc("anvil_dropTransaction", transaction["hash"])


@pytest.mark.parametrize("depth", [1, 3])
def test_a_root_is_anchored_again_after_its_block_was_taken_back(
    node: Anvil, batch: Any, anchors: Callable[[Any], int], depth: int
) -> None:
    batch.step()
    node.mine(depth)
    before = batch.step()
    assert before.confirmations == depth
    reorganise(node, depth)
    assert batch.find() is None
    assert batch.step() is None
    assert len(batch.transactions) == 1
    node.mine(2)
    after = batch.step()
    assert after.anchor.block_hash != before.anchor.block_hash
    assert after.anchor.transaction_hash == before.anchor.transaction_hash
    assert after.confirmations == 2
    assert anchors(batch) == 1


def test_an_anchor_is_final_at_the_set_depth_and_not_before(
    node: Anvil, make_chain: Callable[..., Any], make_batch: Callable[..., Any]
) -> None:
    batch = make_batch(make_chain(blockchain__confirmation_blocks=4))
    batch.step()
    depths = []
    for _ in range(5):
        node.mine()
        receipt = batch.step()
        depths.append((receipt.confirmations, receipt.final))
    assert depths == [(1, False), (2, False), (3, False), (4, True), (5, True)]


def test_an_anchor_can_be_final_by_the_chains_own_word(
    node: Anvil, make_chain: Callable[..., Any], make_batch: Callable[..., Any]
) -> None:
    backend = make_chain(evm__finality="finalized")
    batch = make_batch(backend)
    batch.step()
    node.mine(10)
    receipt = batch.step()
    assert (receipt.confirmations, receipt.final) == (10, False)
    node.mine(100)
    status = backend.account_status()
    assert receipt.anchor.block_number <= status.finalized < status.head
    assert batch.step().final


def test_a_taken_nonce_is_waited_out_by_the_chains_own_word_where_that_is_the_rule(
    node: Anvil, owner: Any, make_chain: Callable[..., Any], make_batch: Callable[..., Any]
) -> None:
    batch = make_batch(make_chain(evm__finality="finalized"))
    batch.prepare()
    owner.send(batch.last["nonce"])
    node.mine(20)
    with pytest.raises(BackendUnavailableError, match="used by another transaction"):
        batch.step()
    node.mine(100)
    batch.step()
    assert batch.nonces == [0, 1]


def test_a_nonce_that_somebody_else_took_is_waited_out_before_another_is_signed(
    node: Anvil, owner: Any, batch: Any, anchors: Callable[[Any], int]
) -> None:
    batch.step()
    node.mine()
    first = batch.step()
    reorganise(node, 1)
    owner.send(batch.last["nonce"])
    node.mine()
    for _ in range(3):  # the other one is 1, 2 and 3 blocks deep
        with pytest.raises(BackendUnavailableError, match="used by another transaction"):
            batch.step()
        assert len(batch.transactions) == 1
        node.mine()
    batch.step()
    assert batch.nonces == [first_nonce := batch.nonces[0], first_nonce + 1]
    node.mine()
    again = batch.step()
    assert again.anchor.transaction_hash != first.anchor.transaction_hash
    assert anchors(batch) == 1


def test_the_first_transaction_counts_again_where_the_one_that_took_its_nonce_is_taken_back(
    node: Anvil, owner: Any, batch: Any, anchors: Callable[[Any], int]
) -> None:
    batch.prepare()
    owner.send(batch.last["nonce"])
    node.mine(2)
    with pytest.raises(BackendUnavailableError):
        batch.step()
    reorganise(node, 2)
    batch.step()
    node.mine()
    assert batch.step() is not None
    assert len(batch.transactions) == 1
    assert anchors(batch) == 1


def test_a_reorganisation_takes_a_replacement_back_and_the_root_is_still_anchored_once(
    node: Anvil,
    make_chain: Callable[..., Any],
    make_batch: Callable[..., Any],
    anchors: Callable[[Any], int],
) -> None:
    batch = make_batch(make_chain(evm__replace_after_blocks=1))
    batch.prepare()
    node.mine()
    batch.step()
    assert len(batch.transactions) == 2
    node.mine()
    assert batch.step().anchor.transaction_hash == batch.transactions[1].transaction_hash
    reorganise(node, 1)
    batch.backend.publish(batch.transactions[0])
    node.mine()
    assert batch.step().anchor.transaction_hash == batch.transactions[0].transaction_hash
    with pytest.raises(BackendUnavailableError):
        batch.backend.publish(batch.transactions[1])
    node.mine(5)
    assert batch.step().final
    assert anchors(batch) == 1
