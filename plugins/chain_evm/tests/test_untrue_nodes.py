"""Nodes that are down, slow, of another chain, or that lie: nothing is believed, nothing signed."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from eventserver_chain_evm.node import Connection

from eventserver_core.errors import BackendUnavailableError
from eventserver_core.testing.parts import Anvil

RECEIPT = "eth_getTransactionReceipt"
BLOCK = "eth_getBlockByNumber"
OTHER_HASH = "0x" + "ab" * 32


@pytest.fixture
def batch(through_proxy: Any, make_batch: Callable[..., Any]) -> Any:
    """Return a batch whose node is behind the proxy."""
    return make_batch(through_proxy)


@pytest.fixture
def mined(node: Anvil, batch: Any) -> Any:
    """Return a batch whose transaction is in a block, two blocks deep."""
    batch.step()
    node.mine(2)
    assert batch.find().confirmations == 2
    return batch


def attempts(batch: Any) -> list[Callable[[], object]]:
    """Return every call that asks a node."""
    transaction = batch.transactions[0]
    return [
        batch.backend.check,
        batch.backend.account_status,
        batch.backend.deploy_contract,
        lambda: batch.backend.prepare(batch.root),
        lambda: batch.backend.prepare(batch.root, [transaction]),
        lambda: batch.backend.publish(transaction),
        lambda: batch.backend.find(transaction),
    ]


def test_a_node_that_is_down_is_reported_and_all_goes_on_when_it_is_back(
    tmp_path: Path,
    make_owner: Callable[..., Any],
    make_chain: Callable[..., Any],
    make_batch: Callable[..., Any],
) -> None:
    with Anvil(tmp_path / "node", block_time=None) as node:
        keys = {"blockchain__rpc_url": node.url, "blockchain__account_key": make_owner(node).key}
        batch = make_batch(make_chain(**keys))
        batch.step()
        node.mine()
        assert batch.step().confirmations == 1
        node.stop()
        for attempt in attempts(batch):
            with pytest.raises(BackendUnavailableError, match="cannot be reached"):
                attempt()
        node.start()
        node.mine()
        assert batch.step().confirmations == 2


def test_a_node_that_hangs_is_given_up_after_the_time_limit(
    tmp_path: Path, make_owner: Callable[..., Any], make_chain: Callable[..., Any]
) -> None:
    with Anvil(tmp_path / "node", block_time=None) as node:
        keys = {"blockchain__rpc_url": node.url, "blockchain__account_key": make_owner(node).key}
        hurried, patient = make_chain(**keys, evm__request_timeout="0.2"), make_chain(**keys)
        node.pause()
        try:
            with pytest.raises(BackendUnavailableError, match=r"within 0\.2 s"):
                hurried.check()
        finally:
            node.resume()
        assert patient.account_status().chain_id == 31337


def test_a_node_that_sends_a_byte_now_and_then_is_given_up_too(
    proxy: Any, make_chain: Callable[..., Any]
) -> None:
    backend = make_chain(blockchain__rpc_url=proxy.url, evm__request_timeout="0.3")
    backend.account_status()
    proxy.seconds_per_byte = 0.05
    with pytest.raises(BackendUnavailableError, match=r"within 0\.3 s"):
        backend.account_status()


def test_all_requests_of_a_call_have_one_end(node: Anvil) -> None:
    with closing(Connection(node.url, request_timeout=5)) as connection:
        late = connection.node(seconds=-1)
        with pytest.raises(BackendUnavailableError, match="no time for eth_chainId"):
            late.chain_id()


def test_a_call_ends_before_the_core_gives_it_up(
    proxy: Any, make_chain: Callable[..., Any]
) -> None:
    backend = make_chain(blockchain__rpc_url=proxy.url, plugins__time_limit="0.5")
    proxy.seconds_per_byte = 0.05
    with pytest.raises(BackendUnavailableError, match=r"within 0\.4 s"):
        backend.account_status()


@pytest.mark.parametrize("call", ["check", "account_status"])
def test_slow_answers_do_not_add_up(
    proxy: Any, make_chain: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    monkeypatch.setattr("eventserver_chain_evm.backend.CHECK_SECONDS", 1.0)
    backend = make_chain(
        blockchain__rpc_url=proxy.url, evm__request_timeout="60", plugins__time_limit="1.25"
    )
    proxy.seconds_per_answer = 0.6
    # the first answer may come in time; the second is given only what is left
    with pytest.raises(BackendUnavailableError, match=r"within (0\.\d+|1) s"):
        getattr(backend, call)()
    assert len(proxy.asked) <= 2


def test_a_process_that_was_forked_off_has_connections_of_its_own(node: Anvil) -> None:
    with closing(Connection(node.url, request_timeout=5)) as connection:
        assert connection.node(5).chain_id() == 31337
        child = os.fork()
        if child == 0:
            # what it would read on its parent's connection is the parent's answer
            height = connection.node(5).height()
            os._exit(0 if isinstance(height, int) else 1)
        assert [connection.node(5).chain_id() for _ in range(20)] == [31337] * 20
        assert os.waitpid(child, 0) == (child, 0)


def test_a_node_that_is_catching_up_anchors_nothing(proxy: Any, through_proxy: Any) -> None:
    proxy.put("eth_syncing", {"currentBlock": "0x1", "highestBlock": "0x2"})
    with pytest.raises(BackendUnavailableError, match="still catching up"):
        through_proxy.check()
    proxy.throw("eth_syncing", proxy.RefusalError("not available here"))
    through_proxy.check()


def test_a_chain_that_calls_no_block_final_can_t_be_believed_to(
    proxy: Any, make_chain: Callable[..., Any]
) -> None:
    backend = make_chain(blockchain__rpc_url=proxy.url, evm__finality="finalized")
    backend.check()
    proxy.answers["eth_getBlockByNumber"] = without_final_block(proxy)
    with pytest.raises(BackendUnavailableError, match=r"set evm\.finality to depth"):
        backend.check()
    assert backend.account_status().finalized is None


def without_final_block(proxy: Any) -> Callable[[Any], Any]:
    """Refuse to tell the final block, and no other."""

    def answer(block: Any) -> Any:
        if proxy.parameters[0] == "finalized":
            raise proxy.RefusalError("finalized block not found")
        return block

    return answer


def test_a_node_of_another_chain_stops_everything(proxy: Any, mined: Any) -> None:
    proxy.put("eth_chainId", "0x1")
    for attempt in attempts(mined):
        asked = len(proxy.asked)
        with pytest.raises(
            BackendUnavailableError, match="the node is of chain 1, and chain 31337"
        ):
            attempt()
        assert proxy.asked[asked:] == ["eth_chainId"]


def test_the_set_chain_id_counts_from_the_start(
    proxy: Any, make_chain: Callable[..., Any], make_batch: Callable[..., Any]
) -> None:
    backend = make_chain(blockchain__rpc_url=proxy.url, blockchain__chain_id=1)
    with pytest.raises(BackendUnavailableError, match="chain 31337, and chain 1 is wanted"):
        make_batch(backend).step()
    with pytest.raises(BackendUnavailableError, match="chain 31337, and chain 1 is wanted"):
        backend.check()
    assert set(proxy.asked) == {"eth_chainId"}


def test_without_a_set_chain_id_kept_transactions_say_which_it_is(
    proxy: Any, mined: Any, make_chain: Callable[..., Any], make_batch: Callable[..., Any]
) -> None:
    proxy.put("eth_chainId", "0x1")
    later = make_batch(make_chain(blockchain__rpc_url=proxy.url), [mined])
    with pytest.raises(BackendUnavailableError, match="chain 31337 is wanted"):
        later.step()


def test_transactions_of_a_chain_that_was_left_don_t_stand_in_the_way(
    node: Anvil,
    mined: Any,
    proxy: Any,
    make_chain: Callable[..., Any],
    make_batch: Callable[..., Any],
) -> None:
    proxy.put("eth_chainId", "0x1")
    later = make_batch(make_chain(blockchain__rpc_url=proxy.url, blockchain__chain_id=1), [mined])
    later.prepare()
    assert later.last["chainId"] == 1
    with pytest.raises(BackendUnavailableError, match="chain 31337 is wanted"):
        later.backend.find(mined.transactions[0])


def test_a_node_that_is_behind_does_not_make_an_anchor_deeper(proxy: Any, mined: Any) -> None:
    proxy.put("eth_blockNumber", "0x0")
    with pytest.raises(BackendUnavailableError, match="lies before the anchor"):
        mined.find()


@pytest.mark.parametrize(
    "lie",
    [
        {"transactionHash": OTHER_HASH},
        {"blockHash": OTHER_HASH},
        {"blockNumber": "0x1"},
        {"blockNumber": "0xffffff"},
        {"status": None},
        {"status": "yes"},
        {"logs": None},
        {"blockNumber": -1},
        {"blockHash": "0x12"},
    ],
    ids=str,
)
def test_a_receipt_that_agrees_with_nothing_is_no_receipt(
    node: Anvil, proxy: Any, mined: Any, lie: dict[str, Any]
) -> None:
    proxy.change(RECEIPT, **lie)
    with pytest.raises(BackendUnavailableError):
        mined.find()
    proxy.answers.clear()
    assert mined.find() is not None


@pytest.mark.parametrize(
    "lie", [{"transactions": []}, {"hash": OTHER_HASH}, {"number": "0x1"}, {"timestamp": "soon"}]
)
def test_a_block_that_does_not_agree_with_the_receipt_is_not_believed(
    proxy: Any, mined: Any, lie: dict[str, Any]
) -> None:
    proxy.change(BLOCK, **lie)
    with pytest.raises(BackendUnavailableError):
        mined.find()


@pytest.mark.parametrize(
    "lie",
    [
        {"timestamp": "0xffffffffffffffffffff"},
        {"timestamp": "0xffffffffffff"},
        {"timestamp": "0x3afff44180"},
        {"timestamp": "-0x1"},
        {"number": "0xffffffffffffffffffff"},
    ],
)
def test_numbers_that_no_chain_has_are_no_answer(
    proxy: Any, mined: Any, lie: dict[str, Any]
) -> None:
    proxy.change(BLOCK, **lie)
    for call in (mined.find, mined.backend.check, lambda: mined.backend.prepare(b"\1" * 32)):
        with pytest.raises(BackendUnavailableError, match="is not one; is it an Ethereum node"):
            call()


def test_a_receipt_made_up_for_a_transaction_that_is_in_no_block_is_not_believed(
    node: Anvil, proxy: Any, mined: Any, make_batch: Callable[..., Any]
) -> None:
    receipt = node.rpc(RECEIPT, mined.transactions[0].transaction_hash)
    waiting = make_batch(mined.backend)
    waiting.prepare()
    made_up = receipt | {"transactionHash": waiting.transactions[0].transaction_hash}
    proxy.put(RECEIPT, made_up)
    with pytest.raises(BackendUnavailableError, match="doesn't list it"):
        waiting.find()


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b""),
        (200, b"not JSON"),
        (200, b"[]"),
        (200, b"null"),
        (200, b"{}"),
        (200, b'{"jsonrpc": "2.0", "id": 0, "result": 7}'),
        (200, b'{"jsonrpc": "2.0", "id": 0, "result": {}}'),
        (200, b'{"jsonrpc": "2.0", "id": 0, "error": null}'),
        (200, b'{"jsonrpc": "2.0", "id": 0, "error": "no"}'),
        (200, b"[" * 100_000),
        (200, b'{"jsonrpc": "2.0", "id": 0, "result": ' + b'{"a":' * 900 + b"1" + b"}" * 901),
        (200, b'{"jsonrpc": "2.0", "id": 0, "error": ' + b"[" * 900 + b"]" * 900 + b"}"),
        (200, b'{"jsonrpc": "2.0", "id": 0, "result": ' + b"9" * 100_000 + b"}"),
        (200, b'{"jsonrpc": "2.0", "id": 0, "result": "0x' + b"f" * 64 + b'"}'),
        (200, b"[" + b"0," * 500_000 + b"0]"),
        (200, b"\xff\xfe"),
        (401, b"{}"),
        (429, b"slow down"),
        (500, b"oh"),
        (302, b""),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_whatever_a_node_answers_it_is_at_worst_unavailable(
    proxy: Any, mined: Any, status: int, body: bytes
) -> None:
    asked_for = ("eth_chainId", RECEIPT, BLOCK, "eth_blockNumber", "eth_getTransactionCount")
    for method in asked_for:
        proxy.answers.clear()
        proxy.throw(method, proxy.RawAnswerError(status, body))
        for call in (mined.find, lambda: mined.backend.prepare(b"\1" * 32)):
            try:
                call()
            except BackendUnavailableError:
                continue


def test_an_answer_without_an_end_is_cut_off(
    proxy: Any, through_proxy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eventserver_chain_evm.transport._MAX_ANSWER", 100_000)
    proxy.throw("eth_chainId", proxy.RawAnswerError(200, b" " * 200_000))
    with pytest.raises(BackendUnavailableError, match="cannot be reached"):
        through_proxy.account_status()
