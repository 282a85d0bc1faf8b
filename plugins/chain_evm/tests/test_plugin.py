"""The plugin as the core finds it: hooks, settings, and what it does to the process."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from eventserver_chain_evm import EvmChain, EvmSettings, eventserver_chain_backend
from structlog.testing import capture_logs

from eventserver_core.backends.chain import ChainBackend, UsesAccount
from eventserver_core.errors import BackendUnavailableError, ConfigurationError
from eventserver_core.plugins import Plugins
from eventserver_core.sections import CORE_SECTIONS
from eventserver_core.settings import Settings, Sources
from eventserver_core.testing.parts import Anvil, free_port

KEY = "0x" + "5a" * 32
READERS = ("everett", "everett.manager", "httpx", "httpcore.connection", "httpcore.http11")
"""The loggers of what reads settings, and of the proxy's own client."""

README = Path(__file__).parent.parent / "README.md"


def test_the_core_finds_the_plugin_and_gets_a_backend() -> None:
    plugins = Plugins({"chain": "evm"})
    assert plugins.sections() == [EvmSettings]
    environ = {"BLOCKCHAIN_RPC_URL": "https://node.example/v2/abc"}
    settings = Sources(None, environ).load([*CORE_SECTIONS, *plugins.sections()])
    backend = plugins.backend("chain", settings)
    assert isinstance(backend, EvmChain)
    assert isinstance(backend, ChainBackend)
    assert isinstance(backend, UsesAccount)


def test_importing_the_plugin_leaves_the_process_as_it_was() -> None:
    """One of web3's libraries raises the recursion limit, and deep JSON kills the process then."""
    program = """
import json, sys
before = sys.getrecursionlimit()
import eventserver_chain_evm
assert sys.getrecursionlimit() == before, sys.getrecursionlimit()
try:
    json.loads("[" * 100_000)
except RecursionError:
    print("alive")
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "alive\n"


def test_everything_that_is_wrong_is_said_at_once(
    make_settings: Callable[..., Settings],
) -> None:
    keys = {"blockchain__contract": "0x12", "blockchain__account_key": "7"}
    with pytest.raises(ConfigurationError) as caught:
        eventserver_chain_backend(make_settings(**keys))
    starts = [fault.split(":")[0] for fault in caught.value.faults]
    assert starts == ["blockchain.rpc_url", "blockchain.contract", "blockchain.account_key"]


@pytest.mark.parametrize("url", ["", "node", "ws://node:8546", "http://", "http://[", "/ipc"])
def test_a_node_s_address_must_be_http(make_chain: Callable[..., Any], url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"blockchain\.rpc_url: expected the http"):
        make_chain(blockchain__rpc_url=url)


@pytest.mark.parametrize(
    "contract",
    [
        "0x" + "ab" * 19,
        "ab" * 20,
        "0xf39fd6e51aad88F6F4ce6aB8827279cffFb92266",
        "0x" + "zz" * 20,
        "vitalik.eth",
    ],
)
def test_a_contract_s_address_must_be_one(make_chain: Callable[..., Any], contract: str) -> None:
    with pytest.raises(ConfigurationError, match=r"blockchain\.contract: expected an address"):
        make_chain(blockchain__contract=contract)


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("max_fee_gwei", ["0", "-1", "much", "nan", "inf", "1e-10", "1e13", ""]),
        ("max_priority_fee_gwei", ["0", "x"]),
        ("daily_budget", ["0", "-0.1", "1e-19", "x"]),
        ("finality", ["safe"]),
        ("replace_after_blocks", ["0"]),
        ("request_timeout", ["0"]),
    ],
)
def test_a_bad_value_is_refused_with_its_name(
    make_settings: Callable[..., Settings], key: str, values: list[str]
) -> None:
    for value in values:
        if value:
            with pytest.raises(ConfigurationError, match=rf"evm\.{key}"):
                make_settings(**{f"evm__{key}": value})


def test_amounts_are_exact(make_settings: Callable[..., Settings]) -> None:
    keys = {"evm__max_fee_gwei": "0.000000001", "evm__daily_budget": "0.000000000000000001"}
    options = make_settings(**keys)[EvmSettings]
    assert (options.max_fee, options.daily_budget_wei) == (1, 1)
    assert make_settings()[EvmSettings].daily_budget_wei is None


def test_every_setting_is_documented_with_its_default() -> None:
    readme = README.read_text("utf-8")
    for spec in EvmSettings.options():
        default = f"| `{spec.default}` |" if spec.default else "| |"
        assert f"| `{spec.key}` {default} {spec.doc}" in readme, spec.key


def test_every_log_event_is_documented() -> None:
    readme = README.read_text("utf-8")
    package = Path(sys.modules["eventserver_chain_evm"].__file__ or "").parent
    for path in package.glob("*.py"):
        for event in re.findall(r'_log\.\w+\(\s*"(\w+)"', path.read_text("utf-8")):
            assert f"`{event}`" in readme, event


def test_no_key_and_no_address_is_said_however_things_fail(
    node: Anvil,
    proxy: Any,
    make_chain: Callable[..., Any],
    make_batch: Callable[..., Any],
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:
    caplog.set_level(logging.DEBUG)  # the loggers of web3 and urllib3 above all
    token, password = "hosted-node-key-1234567890", "a-password-that-nobody-knows"
    key_file = tmp_path / "key"
    key_file.write_text(KEY[:-1], "ascii")
    key_file.chmod(0o600)
    keystore = tmp_path / "keystore"
    keystore.write_text("{}", "ascii")
    down = f"http://127.0.0.1:{free_port()}/v2/{token}"
    backend = make_chain(
        blockchain__rpc_url=f"{proxy.url}/v2/{token}?apikey={token}", blockchain__account_key=KEY
    )
    unreachable = make_chain(blockchain__rpc_url=down, blockchain__account_key=KEY)
    batch = make_batch(backend)
    attempts: list[Callable[[], object]] = [
        batch.step,  # the account has nothing
        lambda: make_chain(blockchain__account_key=KEY[:-1]),
        lambda: make_chain(blockchain__account_key="", blockchain__account_key_file=key_file),
        lambda: make_chain(
            blockchain__account_key="",
            blockchain__account_key_file=keystore,
            evm__account_password=password,
        ),
        lambda: make_chain(blockchain__rpc_url=f"ws://node/{token}"),
        unreachable.check,
        unreachable.deploy_contract,
    ]
    said: list[str] = []
    with capture_logs() as logs:
        for attempt in attempts:
            said.append(failure(attempt))
        proxy.throw("eth_chainId", proxy.RefusalError(f"the key {token} is over its limit"))
        said.append(failure(backend.check))
        assert "the key (hidden) is over its limit" in said[-1]
        for status in (301, 403, 500):
            proxy.throw("eth_chainId", proxy.RawAnswerError(status, token.encode()))
            said.append(failure(backend.check))
    said += [repr(line) for line in logs]
    own = [record for record in caplog.records if record.name not in READERS]
    said += [f"{record.getMessage()} {vars(record)}" for record in own]
    said += [repr(backend), repr(vars(backend)), repr(batch.transactions)]
    assert "account_empty" in repr(logs)
    for secret in (KEY[2:-1], token, password, os.path.basename(down)):
        assert not [line for line in said if secret in line], secret


def failure(attempt: Callable[[], object]) -> str:
    """Return all that is said of what an attempt raises."""
    with pytest.raises((BackendUnavailableError, ConfigurationError)) as caught:
        attempt()
    return "".join(traceback.format_exception(caught.value)) + repr(caught.value)
