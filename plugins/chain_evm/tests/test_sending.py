"""What may go wrong with sending: the chain is looked at, and nothing is signed twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from eventserver_core.errors import BackendUnavailableError
from eventserver_core.testing.parts import Anvil

SEND = "eth_sendRawTransaction"


@pytest.fixture
def batch(through_proxy: Any, make_batch: Callable[..., Any]) -> Any:
    """Return a batch whose node is behind the proxy."""
    return make_batch(through_proxy)


def test_a_response_that_is_lost_after_the_broadcast_does_no_harm(
    node: Anvil, proxy: Any, batch: Any, anchors: Callable[[Any], int]
) -> None:
    proxy.throw(SEND, proxy.LostAnswerError())
    assert batch.step() is None
    node.mine()
    assert batch.step().confirmations == 1
    assert len(batch.transactions) == proxy.asked.count(SEND) == 1
    assert anchors(batch) == 1


def test_where_nothing_answers_after_a_broadcast_the_same_transaction_is_sent_again(
    node: Anvil, proxy: Any, batch: Any, anchors: Callable[[Any], int]
) -> None:
    proxy.throw(SEND, proxy.LostAnswerError())
    proxy.throw("eth_getTransactionByHash", proxy.LostAnswerError())
    with pytest.raises(BackendUnavailableError, match="cannot be reached"):
        batch.step()
    proxy.answers.clear()
    batch.step()
    node.mine()
    assert batch.step().confirmations == 1
    assert len(batch.transactions) == 1
    assert anchors(batch) == 1


def test_a_transaction_that_never_reached_the_node_is_sent_again(
    node: Anvil, proxy: Any, batch: Any
) -> None:
    proxy.throw(SEND, proxy.LostAnswerError(), alone=True)
    with pytest.raises(BackendUnavailableError):
        batch.step()
    proxy.answers.clear()
    batch.step()
    node.mine()
    assert batch.step() is not None
    assert len(batch.transactions) == 1


@pytest.mark.parametrize(
    "words",
    [
        "already known",
        "transaction already imported",
        "AlreadyKnown",
        "Known transaction",
        "Transaction with the same hash was already imported",
        "nonce too low",
        "nonce too low: next nonce 1, tx nonce 0",
        "OldNonce, Current nonce: 1, nonce of rejected tx: 0",
        "replacement transaction underpriced",
        "ein Fehler",
        "",
    ],
)
@pytest.mark.parametrize("is_mined", [True, False])
def test_a_refusal_of_what_the_node_has_already_counts_as_sent_in_whatever_words(
    node: Anvil, proxy: Any, batch: Any, words: str, is_mined: bool
) -> None:
    batch.step()
    if is_mined:
        node.mine()
    proxy.throw(SEND, proxy.RefusalError(words), alone=True)
    batch.backend.publish(batch.transactions[0])


def test_the_node_itself_says_already_known_and_nonce_too_low(
    node: Anvil, owner: Any, batch: Any, anchors: Callable[[Any], int]
) -> None:
    """What was put through the proxy above is what a node says without one."""
    batch.step()
    raw = batch.last["raw"]
    with pytest.raises(Exception, match="already imported"):
        node.rpc(SEND, raw)
    batch.backend.publish(batch.transactions[0])
    node.mine()
    with pytest.raises(Exception, match="nonce too low"):
        node.rpc(SEND, raw)
    batch.backend.publish(batch.transactions[0])
    assert anchors(batch) == 1


def test_nonce_too_low_by_somebody_elses_transaction_is_an_error_and_signs_nothing(
    node: Anvil, owner: Any, batch: Any, anchors: Callable[[Any], int]
) -> None:
    batch.prepare()
    owner.send(batch.last["nonce"])
    node.mine()
    with pytest.raises(BackendUnavailableError, match="used by another transaction"):
        batch.step()
    assert len(batch.transactions) == 1
    assert anchors(batch) == 0


def test_a_refusal_of_what_the_node_does_not_have_is_an_error_with_its_words(
    proxy: Any, batch: Any
) -> None:
    proxy.throw(SEND, proxy.RefusalError("txpool is full"), alone=True)
    with pytest.raises(BackendUnavailableError, match="txpool is full"):
        batch.step()
    assert len(batch.transactions) == 1


def test_a_node_that_took_another_transaction_is_not_believed(proxy: Any, batch: Any) -> None:
    proxy.put(SEND, "0x" + "ab" * 32)
    with pytest.raises(BackendUnavailableError, match="another transaction"):
        batch.step()


def test_two_instances_that_prepare_for_one_root_anchor_it_once(
    node: Anvil,
    make_chain: Callable[..., Any],
    make_batch: Callable[..., Any],
    anchors: Callable[[Any], int],
) -> None:
    one = make_batch(make_chain())
    # the other one has other settings, so that its transaction is another
    other = make_batch(make_chain(evm__max_priority_fee_gwei="0.5"))
    other.root = one.root
    transactions = {one.prepare().transaction_hash, other.prepare().transaction_hash}
    assert len(transactions) == 2
    refused = 0
    for batch in (one, other):
        try:
            batch.backend.publish(batch.transactions[0])
        except BackendUnavailableError:
            refused += 1
    assert refused == 1
    node.mine(5)
    receipts = [receipt for batch in (one, other) if (receipt := batch.find()) is not None]
    assert [receipt.final for receipt in receipts] == [True]
    assert anchors(one) == 1
    for _ in (one, other):
        late = make_batch(make_chain())
        late.root, late.transactions = one.root, one.transactions + other.transactions
        assert late.step() == receipts[0]
    assert anchors(one) == 1
