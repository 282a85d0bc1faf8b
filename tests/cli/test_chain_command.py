"""``eventserver chain``: the account, and the contract."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from eventserver_core.testing.parts import Anvil, free_port
from eventserver_core.testing.parts.anvil import ACCOUNT_KEYS

from .conftest import Run


@pytest.fixture
def on_anvil(anvil: Anvil) -> dict[str, str]:
    return {
        "EVENTSERVER__PLUGINS__CHAIN": "evm",
        "EVENTSERVER__BLOCKCHAIN__NETWORK": "anvil",
        "EVENTSERVER__BLOCKCHAIN__CHAIN_ID": str(anvil.chain_id),
        "EVENTSERVER__BLOCKCHAIN__ACCOUNT_KEY": ACCOUNT_KEYS[1],
        "BLOCKCHAIN_RPC_URL": anvil.url,
    }


def test_the_status_says_what_the_account_pays_for(
    run: Run, anvil: Anvil, on_anvil: dict[str, str]
) -> None:
    result = run("chain", "status", "--json", **on_anvil)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["chain_id"] == anvil.chain_id
    assert found["network"] == "anvil"
    assert found["balance"] == int(anvil.rpc("eth_getBalance", found["account"], "latest"), 16)
    assert found["anchors"] == found["balance"] // found["anchor_cost"]
    assert found["contract"] is None


def test_people_get_ether_and_blocks(run: Run, on_anvil: dict[str, str]) -> None:
    result = run("chain", "status", **on_anvil)
    assert result.exit_code == 0, result.output
    lines = dict(line.split(":", 1) for line in result.stdout.splitlines())
    assert lines["balance"].strip().endswith("ether")
    assert int(lines["pays for anchors"]) > 1000
    assert "transaction to itself" in lines["contract"]


def test_without_a_key_there_is_no_account(run: Run, on_anvil: dict[str, str]) -> None:
    keyless = on_anvil | {"EVENTSERVER__BLOCKCHAIN__ACCOUNT_KEY": ""}
    result = run("chain", "status", **keyless)
    assert result.exit_code == 0, result.output
    assert "no key is set" in result.stdout


def test_the_contract_is_deployed_and_then_used(
    run: Run, anvil: Anvil, on_anvil: dict[str, str]
) -> None:
    result = run("chain", "deploy", "--yes", "--json", **on_anvil)
    assert result.exit_code == 0, result.output
    deployed = json.loads(result.stdout)
    assert len(anvil.rpc("eth_getCode", deployed["address"], "latest")) > len("0x")
    contract = {"EVENTSERVER__BLOCKCHAIN__CONTRACT": deployed["address"]}
    status = run("chain", "status", "--json", **on_anvil, **contract)
    assert json.loads(status.stdout)["contract"] == deployed["address"]


def test_nothing_is_deployed_where_nobody_says_yes(
    run: Run, anvil: Anvil, on_anvil: dict[str, str]
) -> None:
    account = json.loads(run("chain", "status", "--json", **on_anvil).stdout)["account"]
    before = anvil.rpc("eth_getTransactionCount", account, "pending")
    result = run("chain", "deploy", **on_anvil)
    assert result.exit_code == 1
    assert account in result.stderr
    assert anvil.rpc("eth_getTransactionCount", account, "pending") == before


@pytest.mark.parametrize("command", ["status", "deploy"])
def test_a_chain_without_an_account_is_said_so(run: Run, command: str) -> None:
    result = run("chain", command)
    assert result.exit_code == 78
    assert "plugins.chain = ledger" in result.stderr


@pytest.mark.parametrize("command", [["status"], ["deploy", "--yes"]])
def test_a_node_that_is_away_is_said_so_without_its_key(
    run: Run, on_anvil: dict[str, str], command: list[str], home: Path
) -> None:
    away = {"BLOCKCHAIN_RPC_URL": f"http://127.0.0.1:{free_port()}/secret-key"}
    result = run("chain", *command, **on_anvil | away)
    assert result.exit_code == 1
    assert "chain=evm" in result.stderr
    assert "secret-key" not in result.output + result.stderr
    assert not (home / "data").exists() or not list((home / "data").glob("*.sqlite3"))


def test_a_worker_without_a_key_does_not_start(run: Run, on_anvil: dict[str, str]) -> None:
    keyless = on_anvil | {"EVENTSERVER__BLOCKCHAIN__ACCOUNT_KEY": ""}
    result = run("worker", "--once", **keyless)
    assert result.exit_code == 78
    assert "blockchain.account_key" in result.stderr
