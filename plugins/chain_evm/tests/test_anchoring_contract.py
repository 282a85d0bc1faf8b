"""The anchoring contract: what is in the package is what its source makes, and what it costs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib.resources import files
from typing import Any

import pytest
from eventserver_chain_evm.contract import artefact, runtime_code

from eventserver_core.errors import BackendUnavailableError
from eventserver_core.testing.parts import Anvil

ROOTS = [bytes(32), b"\xff" * 32, b"\x00" * 31 + b"\x01", b"\x01" + b"\x00" * 31]
ROOTS += [os.urandom(32) for _ in range(4)]


def test_compiling_the_source_gives_the_artefact() -> None:
    source = files("eventserver_chain_evm").joinpath("anchor.vy")
    wanted = ["-f", "abi,bytecode,bytecode_runtime", str(source)]
    # by its command, since a compiler in this process would bring its own settings along
    done = subprocess.run(
        [sys.executable, "-m", "vyper", *wanted], capture_output=True, text=True, check=True
    )
    abi, bytecode, runtime_bytecode = done.stdout.splitlines()
    kept = artefact()
    assert json.loads(abi) == kept["abi"]
    assert bytecode == kept["bytecode"]
    assert runtime_bytecode == kept["runtimeBytecode"]


def test_the_artefact_says_which_compiler_made_it() -> None:
    source = files("eventserver_chain_evm").joinpath("anchor.vy").read_text("utf-8")
    compiler, version = artefact()["compiler"].split()
    assert compiler == "vyper"
    assert f"# pragma version {version}\n" in source
    assert f"# pragma evm-version {artefact()['evmVersion']}\n" in source


@pytest.mark.parametrize(("kind", "most"), [("contract", 24_000), ("plain", 23_000)])
def test_an_anchor_uses_as_little_gas_as_promised(
    node: Anvil,
    contract: str,
    make_chain: Callable[..., Any],
    make_batch: Callable[..., Any],
    kind: str,
    most: int,
) -> None:
    backend = make_chain(blockchain__contract=contract if kind == "contract" else "")
    used = []
    for root in ROOTS:
        batch = make_batch(backend)
        batch.root = root
        batch.step()
        node.mine()
        receipt = batch.step()
        on_chain = node.rpc("eth_getTransactionReceipt", receipt.anchor.transaction_hash)
        used.append(int(on_chain["gasUsed"], 16))
    assert max(used) <= most
    assert len(used) == len(ROOTS)


def test_the_contract_logs_the_root_and_stores_nothing(
    node: Anvil, contract: str, make_chain: Callable[..., Any], make_batch: Callable[..., Any]
) -> None:
    batch = make_batch(make_chain(blockchain__contract=contract))
    batch.step()
    node.mine()
    receipt = batch.step()
    assert receipt.anchor.contract == contract
    (log,) = node.rpc("eth_getTransactionReceipt", receipt.anchor.transaction_hash)["logs"]
    assert log["address"] == contract.lower()
    assert log["topics"][1] == "0x" + batch.root.hex()
    assert log["data"] == "0x"
    assert int(node.rpc("eth_getStorageAt", contract, "0x0", "latest"), 16) == 0
    assert log["topics"][0] == node.rpc("web3_sha3", "0x" + b"Anchored(bytes32)".hex())


def test_a_root_that_somebody_else_logged_first_is_anchored_all_the_same(
    node: Anvil,
    contract: str,
    make_owner: Callable[..., Any],
    make_chain: Callable[..., Any],
    make_batch: Callable[..., Any],
) -> None:
    stranger = make_batch(
        make_chain(blockchain__contract=contract, blockchain__account_key=make_owner(node).key)
    )
    batch = make_batch(make_chain(blockchain__contract=contract))
    stranger.root = batch.root
    stranger.step()
    node.mine()
    batch.step()
    node.mine()
    assert batch.step().anchor.block_number > stranger.step().anchor.block_number


def test_deploying_tells_where_the_contract_is(node: Anvil, owner: Any, backend: Any) -> None:
    node.rpc("evm_setAutomine", True)
    deployed = backend.deploy_contract()
    node.rpc("evm_setAutomine", False)
    receipt = node.rpc("eth_getTransactionReceipt", deployed.transaction_hash)
    assert receipt["contractAddress"] == deployed.address.lower()
    assert int(receipt["blockNumber"], 16) == deployed.block_number
    assert int(receipt["gasUsed"], 16) == deployed.gas_used < 100_000
    assert node.rpc("eth_getCode", deployed.address, "latest") == "0x" + runtime_code().hex()


def test_a_deployment_that_is_in_no_block_in_time_says_that_it_was_sent_and_where_it_will_be(
    node: Anvil, make_chain: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eventserver_chain_evm.deploying._BLOCK_SECONDS", 1.0)
    with pytest.raises(BackendUnavailableError, match="was sent and is in no block") as caught:
        make_chain().deploy_contract()
    words = str(caught.value).replace(",", "").split()
    address = next(word for word in words if len(word) == 42)
    transaction_hash = next(word for word in words if len(word) == 66)
    assert f"set blockchain.contract = {address}, and `eventserver chain status`" in str(
        caught.value
    )
    afterwards = make_chain(blockchain__contract=address)
    with pytest.raises(BackendUnavailableError, match="there is no contract"):
        afterwards.account_status()
    node.mine()
    assert node.rpc("eth_getTransactionReceipt", transaction_hash)["status"] == "0x1"
    assert node.rpc("eth_getCode", address, "latest") == "0x" + runtime_code().hex()
    afterwards.check()
    assert afterwards.account_status().contract == address


def test_a_second_deployment_is_not_paid_for_while_the_first_one_waits(
    node: Anvil, owner: Any, make_chain: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eventserver_chain_evm.deploying._BLOCK_SECONDS", 0.0)
    backend = make_chain()
    for words in ("was sent and is in no block", "nothing was sent: .* has sent 1 that is in no"):
        with pytest.raises(BackendUnavailableError, match=words):
            backend.deploy_contract()
    assert owner.nonce("pending") == 1
    node.mine()
    with pytest.raises(BackendUnavailableError, match="was sent and is in no block"):
        backend.deploy_contract()


def test_a_deployment_has_its_own_time_and_not_that_of_other_calls(
    node: Anvil, make_chain: Callable[..., Any]
) -> None:
    node.rpc("evm_setAutomine", True)
    try:
        assert make_chain(plugins__time_limit="0.01").deploy_contract().address
    finally:
        node.rpc("evm_setAutomine", False)


def test_a_deployment_that_is_not_paid_for_says_that_nothing_was_sent(
    owner: Any, backend: Any
) -> None:
    owner.set_balance(1000)
    with pytest.raises(BackendUnavailableError, match="nothing was sent"):
        backend.deploy_contract()
    assert owner.nonce("pending") == 0


def test_a_deployment_whose_broadcast_fails_says_so(proxy: Any, through_proxy: Any) -> None:
    refusal = proxy.RefusalError("txpool is full")
    proxy.throw("eth_sendRawTransaction", refusal, alone=True)
    with pytest.raises(BackendUnavailableError, match=r"may not have been sent: .* is full"):
        through_proxy.deploy_contract()


def test_a_deployment_that_fails_later_says_that_it_was_sent(
    proxy: Any, through_proxy: Any
) -> None:
    proxy.throw("eth_getTransactionReceipt", proxy.RefusalError("indexing is in progress"))
    with pytest.raises(BackendUnavailableError, match=r"was sent, but: .* in progress"):
        through_proxy.deploy_contract()


@pytest.mark.parametrize(
    ("code", "words"), [("0x", "is no contract"), ("0x00", "another contract")]
)
def test_a_contract_that_is_not_ours_is_never_sent_anything(
    node: Anvil,
    contract: str,
    make_chain: Callable[..., Any],
    make_batch: Callable[..., Any],
    code: str,
    words: str,
) -> None:
    backend = make_chain(blockchain__contract=contract)
    backend.check()
    node.rpc("anvil_setCode", contract, code)
    batch = make_batch(backend)
    for call in (backend.check, batch.step):
        with pytest.raises(BackendUnavailableError, match=words):
            call()
    assert batch.transactions == []


def test_a_transaction_that_met_no_contract_is_no_anchor(
    node: Anvil, contract: str, make_chain: Callable[..., Any], make_batch: Callable[..., Any]
) -> None:
    """A call of an address without code succeeds, and says nothing."""
    batch = make_batch(make_chain(blockchain__contract=contract))
    batch.prepare()
    code = node.rpc("eth_getCode", contract, "latest")
    node.rpc("anvil_setCode", contract, "0x")
    batch.backend.publish(batch.transactions[0])
    node.mine(5)
    assert batch.find() is None
    node.rpc("anvil_setCode", contract, code)
    batch.step()
    node.mine()
    assert batch.step() is not None
    assert len(batch.transactions) == 2


def test_the_account_s_status_is_what_the_chain_says(
    node: Anvil, owner: Any, contract: str, make_chain: Callable[..., Any]
) -> None:
    status = make_chain(
        blockchain__contract=contract, blockchain__network="testnet"
    ).account_status()
    assert (status.network, status.chain_id) == ("testnet", 31337)
    assert status.head == int(node.rpc("eth_blockNumber"), 16)
    assert status.finalized is not None
    assert (status.account, status.contract) == (owner.address, contract)
    assert status.balance == int(node.rpc("eth_getBalance", owner.address, "latest"), 16)
    assert status.anchors == status.balance // status.anchor_cost > 1000


def test_without_a_key_all_but_signing_works(
    node: Anvil, batch: Any, make_chain: Callable[..., Any]
) -> None:
    batch.step()
    node.mine()
    keyless = make_chain(blockchain__account_key="")
    keyless.check()
    assert keyless.find(batch.transactions[0]) == batch.find()
    status = keyless.account_status()
    assert (status.account, status.balance, status.anchors) == (None, None, None)
    for call in (lambda: keyless.prepare(batch.root), keyless.deploy_contract):
        with pytest.raises(BackendUnavailableError, match=r"set blockchain\.account_key, or"):
            call()
