"""Whoever checks a proof may ask any node, and gets an answer in plain words."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from eventserver_chain_evm import eventserver_check_anchor

from eventserver_core.domain.proof import Outcome
from eventserver_core.testing.parts import Anvil, free_port

OTHER_HASH = "0x" + "ab" * 32
OTHER_ADDRESS = "0x" + "ab" * 20


@pytest.fixture(params=["contract", "plain"])
def batch(
    node: Anvil,
    contract: str,
    make_chain: Callable[..., Any],
    make_batch: Callable[..., Any],
    request: pytest.FixtureRequest,
) -> Any:
    """Return a batch that is two blocks deep on the chain."""
    batch = make_batch(
        make_chain(blockchain__contract=contract if request.param == "contract" else "")
    )
    batch.step()
    node.mine(2)
    return batch


@pytest.fixture
def anchor(batch: Any) -> Any:
    return batch.step().anchor


def test_an_anchor_passes_at_its_node(node: Anvil, batch: Any, anchor: Any) -> None:
    step = eventserver_check_anchor(anchor, batch.root, node.url)
    assert (step.name, step.outcome) == ("chain", Outcome.PASSED)
    assert step.detail == (
        f"block {anchor.block_number} of chain 31337 holds the root, with 2 confirmations"
    )


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"transaction_hash": OTHER_HASH}, "has no such transaction"),
        ({"block_hash": OTHER_HASH}, "is another one"),
        ({"block_number": 0}, "is another one"),
    ],
)
def test_an_anchor_that_is_elsewhere_fails(
    node: Anvil, batch: Any, anchor: Any, changed: dict[str, Any], words: str
) -> None:
    step = eventserver_check_anchor(replace(anchor, **changed), batch.root, node.url)
    assert step.outcome is Outcome.FAILED
    assert words in step.detail


def test_an_anchor_of_another_time_fails(node: Anvil, batch: Any, anchor: Any) -> None:
    later = replace(anchor, block_time=anchor.block_time + timedelta(seconds=1))
    step = eventserver_check_anchor(later, batch.root, node.url)
    assert step.outcome is Outcome.FAILED
    assert "another time" in step.detail


def test_an_anchor_of_another_root_fails(node: Anvil, batch: Any, anchor: Any) -> None:
    step = eventserver_check_anchor(anchor, os.urandom(32), node.url)
    assert (step.outcome, step.detail) == (Outcome.FAILED, "the transaction holds another root")


def test_an_anchor_by_another_contract_fails(node: Anvil, batch: Any, anchor: Any) -> None:
    step = eventserver_check_anchor(replace(anchor, contract=OTHER_ADDRESS), batch.root, node.url)
    assert step.outcome is Outcome.FAILED


def test_an_anchor_without_its_contract_s_log_fails(
    node: Anvil, proxy: Any, batch: Any, anchor: Any
) -> None:
    proxy.change("eth_getTransactionReceipt", logs=[])
    step = eventserver_check_anchor(anchor, batch.root, proxy.url)
    assert step.outcome is (Outcome.FAILED if anchor.contract else Outcome.PASSED)


@pytest.mark.parametrize("lie", [{"status": "0x0"}, {"blockHash": OTHER_HASH}])
def test_an_anchor_that_was_reverted_or_moved_fails(
    proxy: Any, batch: Any, anchor: Any, lie: dict[str, str]
) -> None:
    proxy.change("eth_getTransactionReceipt", **lie)
    step = eventserver_check_anchor(anchor, batch.root, proxy.url)
    assert step.outcome is Outcome.FAILED


@pytest.mark.parametrize(
    ("method", "lie"),
    [
        ("eth_getBlockByNumber", {"number": "0x1"}),
        ("eth_getTransactionReceipt", {"transactionHash": OTHER_HASH}),
        ("eth_getTransactionReceipt", {"blockNumber": "0x1"}),
    ],
    ids=str,
)
def test_a_node_that_contradicts_itself_can_t_tell(
    proxy: Any, batch: Any, anchor: Any, method: str, lie: dict[str, str]
) -> None:
    proxy.change(method, **lie)
    step = eventserver_check_anchor(anchor, batch.root, proxy.url)
    assert step.outcome is Outcome.MISSING
    assert "contradicts itself" in step.detail


def test_a_node_whose_newest_block_lies_before_it_can_t_tell(
    proxy: Any, batch: Any, anchor: Any
) -> None:
    proxy.put("eth_blockNumber", "0x0")
    step = eventserver_check_anchor(anchor, batch.root, proxy.url)
    assert step.outcome is Outcome.MISSING
    assert "contradicts itself" in step.detail


def test_a_transaction_to_somebody_else_is_no_anchor(proxy: Any, batch: Any, anchor: Any) -> None:
    proxy.change("eth_getTransactionByHash", to=OTHER_ADDRESS)
    step = eventserver_check_anchor(anchor, batch.root, proxy.url)
    assert step.outcome is Outcome.FAILED


@pytest.mark.parametrize(
    "forgotten", ["eth_getTransactionByHash", "eth_getTransactionReceipt", "eth_getBlockByNumber"]
)
def test_what_a_node_no_longer_has_is_missing_and_not_false(
    proxy: Any, batch: Any, anchor: Any, forgotten: str
) -> None:
    proxy.put(forgotten, None)
    step = eventserver_check_anchor(anchor, batch.root, proxy.url)
    assert step.outcome is Outcome.MISSING
    assert "no longer has" in step.detail or "is not kept" in step.detail


@pytest.mark.parametrize(
    "lie",
    [
        {"timestamp": "0xffffffffffffffffffff"},
        {"timestamp": "0xffffffffffff"},
        {"number": "0x" + "f" * 64},
        {"transactions": "all of them"},
    ],
    ids=str,
)
def test_a_node_that_answers_nonsense_can_t_tell(
    proxy: Any, batch: Any, anchor: Any, lie: dict[str, Any]
) -> None:
    proxy.change("eth_getBlockByNumber", **lie)
    step = eventserver_check_anchor(anchor, batch.root, proxy.url)
    assert (step.outcome, "was not asked" in step.detail) == (Outcome.MISSING, True)


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 10_000_000,
        b'{"a":' * 2_000_000,
        b'"' + b"x" * 10_000_000 + b'"',
        b" " * 17_000_000,
        b'{"jsonrpc": "2.0", "id": 0, "error": {"message": ' + b"[" * 900 + b"]" * 900 + b"}}",
    ],
    ids=["deep", "deep objects", "long", "too long", "deep words"],
)
def test_a_hostile_node_can_t_tell_either(proxy: Any, batch: Any, anchor: Any, body: bytes) -> None:
    for method in ("eth_chainId", "eth_getBlockByNumber", "eth_getTransactionReceipt"):
        proxy.answers.clear()
        proxy.throw(method, proxy.RawAnswerError(200, body))
        step = eventserver_check_anchor(anchor, batch.root, proxy.url)
        assert (step.outcome, "was not asked" in step.detail) == (Outcome.MISSING, True)


def test_a_node_that_is_behind_or_of_another_chain_or_down_can_t_tell(
    node: Anvil, proxy: Any, batch: Any, anchor: Any
) -> None:
    ahead = replace(anchor, block_number=10**9)
    step = eventserver_check_anchor(ahead, batch.root, node.url)
    assert (step.outcome, "is not there yet" in step.detail) == (Outcome.MISSING, True)
    elsewhere = replace(anchor, chain_id=1)
    step = eventserver_check_anchor(elsewhere, batch.root, node.url)
    assert (step.outcome, "of chain 31337" in step.detail) == (Outcome.MISSING, True)
    proxy.throw("eth_chainId", proxy.RawAnswerError(200, b"hello"))
    for url in (f"http://127.0.0.1:{free_port()}", proxy.url, "", "ftp://x", "http://[", "http://"):
        step = eventserver_check_anchor(anchor, batch.root, url)
        assert (step.outcome, "was not asked" in step.detail) == (Outcome.MISSING, True)
