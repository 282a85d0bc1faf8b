"""Used nonces: a root is signed again only where the chain shows what took its place."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from eventserver_core.errors import BackendUnavailableError
from eventserver_core.testing.parts import Anvil

RECEIPT = "eth_getTransactionReceipt"
SENT = "eth_getTransactionByHash"
COUNT = "eth_getTransactionCount"
BLOCK = "eth_getBlockByNumber"


@pytest.fixture
def batch(through_proxy: Any, make_batch: Callable[..., Any]) -> Any:
    """Return a batch whose node is behind the proxy."""
    return make_batch(through_proxy)


@pytest.fixture
def overtaken(node: Anvil, owner: Any, batch: Any) -> Any:
    """Return a batch whose nonce somebody else's transaction used, twenty blocks deep."""
    batch.prepare()
    owner.send(batch.last["nonce"])
    node.mine(20)
    return batch


def forget(proxy: Any) -> None:
    """Take the node's index of transactions away."""
    proxy.put(RECEIPT, None)
    proxy.put(SENT, None)


def test_a_mined_transaction_that_the_node_knows_nothing_of_is_not_signed_again(
    node: Anvil, proxy: Any, batch: Any, anchors: Callable[[Any], int]
) -> None:
    batch.step()
    node.mine(20)
    forget(proxy)
    assert batch.find() is None
    for _ in range(3):
        assert batch.prepare() == batch.transactions[0]
        node.mine(5)
    assert len(batch.transactions) == 1
    proxy.answers.clear()
    assert batch.step().final
    assert anchors(batch) == 1


def test_of_two_with_one_nonce_the_mined_one_is_returned_even_if_the_node_forgot_it(
    node: Anvil,
    proxy: Any,
    make_chain: Callable[..., Any],
    make_batch: Callable[..., Any],
    anchors: Callable[[Any], int],
) -> None:
    batch = make_batch(make_chain(blockchain__rpc_url=proxy.url, evm__replace_after_blocks=1))
    batch.step()
    node.rpc("anvil_dropTransaction", batch.transactions[0].transaction_hash)
    node.mine()
    batch.prepare()
    assert len(batch.transactions) == 2
    batch.backend.publish(batch.transactions[0])
    node.mine(20)
    forget(proxy)
    assert batch.prepare() == batch.transactions[0]
    assert len(batch.transactions) == 2
    assert anchors(batch) == 1


def test_somebody_elses_transaction_is_found_in_its_block_and_the_root_signed_again(
    node: Anvil, proxy: Any, overtaken: Any, anchors: Callable[[Any], int]
) -> None:
    forget(proxy)  # what it can't tell of the root's own transaction isn't asked
    proxy.asked.clear()
    overtaken.prepare()
    assert overtaken.nonces == [0, 1]
    assert proxy.asked.count(COUNT) <= 16
    proxy.answers.clear()
    overtaken.step()
    node.mine()
    assert overtaken.step() is not None
    assert anchors(overtaken) == 1


def test_without_the_history_nothing_is_signed_and_the_error_says_what_is_wanted(
    proxy: Any, overtaken: Any
) -> None:
    def without_history(answer: Any) -> Any:
        if proxy.parameters[1] not in ("latest", "pending"):
            raise proxy.RefusalError("missing trie node")
        return answer

    forget(proxy)
    proxy.answers[COUNT] = without_history
    with pytest.raises(BackendUnavailableError, match=r"missing trie node; nothing .* an archive"):
        overtaken.prepare()
    assert len(overtaken.transactions) == 1
    del proxy.answers[COUNT]
    overtaken.prepare()
    assert overtaken.nonces == [0, 1]


@pytest.mark.parametrize("content", [[], None], ids=["another block", "no block"])
def test_a_block_that_does_not_show_what_used_the_nonce_is_not_believed(
    proxy: Any, overtaken: Any, content: list[Any] | None
) -> None:
    def without_content(block: Any) -> Any:
        if proxy.parameters[1] is not True:
            return block
        return None if content is None else block | {"transactions": content}

    proxy.answers[BLOCK] = without_content
    with pytest.raises(BackendUnavailableError, match="shows no such transaction in it"):
        overtaken.prepare()
    assert len(overtaken.transactions) == 1


def test_a_node_whose_counts_lag_leads_to_no_second_anchor(
    node: Anvil, proxy: Any, batch: Any, anchors: Callable[[Any], int]
) -> None:
    """Behind one address there may be nodes of which one knows less than another."""
    batch.step()
    node.mine(20)
    head = int(node.rpc("eth_blockNumber"), 16)
    mined_in = int(node.rpc(RECEIPT, batch.transactions[0].transaction_hash)["blockNumber"], 16)

    def lagging(answer: Any) -> Any:
        block = proxy.parameters[1]
        is_late = block.startswith("0x") and mined_in <= int(block, 16) < head - 5
        return "0x0" if is_late else answer

    forget(proxy)
    proxy.answers[COUNT] = lagging
    with pytest.raises(BackendUnavailableError, match="shows no such transaction in it"):
        batch.prepare()
    assert len(batch.transactions) == 1
    assert anchors(batch) == 1


@pytest.mark.parametrize("later", [0, 3, 10, 15, 19, 1000])
def test_the_block_is_found_though_a_reorganisation_put_it_before_the_signing(
    node: Anvil, overtaken: Any, later: int
) -> None:
    kept = overtaken.transactions[0]
    members = json.loads(kept.payload)
    members["signedAtBlock"] += later
    overtaken.transactions = [replace(kept, payload=json.dumps(members).encode())]
    overtaken.prepare()
    assert overtaken.nonces == [0, 1]


def test_every_one_of_many_nonces_is_found_in_its_own_block(
    node: Anvil, owner: Any, make_chain: Callable[..., Any], make_batch: Callable[..., Any]
) -> None:
    backend = make_chain()
    batches: list[Any] = []
    for _ in range(4):
        batch = make_batch(backend, list(batches))
        batch.step()
        node.mine(3)
        batches.append(batch)
    node.mine(5)
    for batch in batches:
        assert batch.prepare() == batch.transactions[0]
    assert [batch.nonces for batch in batches] == [[0], [1], [2], [3]]
