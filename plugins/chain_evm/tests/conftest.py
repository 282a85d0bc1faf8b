"""What the tests of this plugin share: nodes of their own, accounts, settings, a clock."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from eventserver_chain_evm import EvmChain, EvmSettings
from eventserver_chain_evm.account import Account
from eventserver_chain_evm.composing import chain_from_settings

from eventserver_core.backends.chain import AnchorReceipt, AnchorTransaction
from eventserver_core.domain.proof import Anchor
from eventserver_core.sections import CORE_SECTIONS
from eventserver_core.settings import Settings, Sources
from eventserver_core.testing.clock import ManualClock
from eventserver_core.testing.parts import Anvil

ETHER = 10**18
GWEI = 10**9

_HERE = Path(__file__).parent
_NODES = frozenset({"node", "legacy_node"})


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what starts a node, be it only because a fixture that it uses does so."""
    for item in items:
        is_here = item.path.is_relative_to(_HERE)
        if is_here and _NODES.intersection(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.real)


class Owner:
    """An account with a key of its own, and what can be done with it besides the plugin."""

    def __init__(self, node: Anvil, ether: float = 100) -> None:
        self._node = node
        self.account = Account.from_key(os.urandom(32))
        self.address = str(self.account.address)
        self.key = "0x" + bytes(self.account.key).hex()
        self.set_balance(int(ether * ETHER))

    def set_balance(self, wei: int) -> None:
        self._node.rpc("anvil_setBalance", self.address, hex(wei))

    def nonce(self, block: str = "latest") -> int:
        return int(self._node.rpc("eth_getTransactionCount", self.address, block), 16)

    def send(self, nonce: int, *, max_fee: int = 100 * GWEI, tip: int = 2 * GWEI) -> str:
        """Send a transaction that the plugin knows nothing of, and return its hash."""
        members = {
            "type": 2,
            "chainId": self._node.chain_id,
            "nonce": nonce,
            "to": self.address,
            "value": 1,
            "gas": 21_000,
            "maxFeePerGas": max_fee,
            "maxPriorityFeePerGas": tip,
        }
        raw = bytes(self.account.sign_transaction(members).raw_transaction)
        return str(self._node.rpc("eth_sendRawTransaction", "0x" + raw.hex()))


class Batch:
    """A batch's root and its transactions, taken along as the core's worker does it."""

    def __init__(self, backend: EvmChain, others: Sequence[Batch] = ()) -> None:
        self.backend = backend
        self.root = os.urandom(32)
        self.transactions: list[AnchorTransaction] = []
        self.others = list(others)
        self.anchor: Anchor | None = None

    def prepare(self) -> AnchorTransaction:
        """Prepare the next transaction, and keep it if it is a new one."""
        others = [one for other in self.others for one in other.transactions]
        prepared = self.backend.prepare(self.root, list(self.transactions), others)
        if prepared not in self.transactions:
            self.transactions.append(prepared)
        return prepared

    def find(self) -> AnchorReceipt | None:
        found = (self.backend.find(one, self.known(one)) for one in reversed(self.transactions))
        receipt = next((receipt for receipt in found if receipt is not None), None)
        self.anchor = None if receipt is None else receipt.anchor
        return receipt

    def known(self, transaction: AnchorTransaction) -> Anchor | None:
        """Return where a transaction was found before."""
        if self.anchor and self.anchor.transaction_hash == transaction.transaction_hash:
            return self.anchor
        return None

    def step(self) -> AnchorReceipt | None:
        """Do what the worker does each time that it looks at a batch."""
        if (receipt := self.find()) is not None:
            return receipt
        transaction = self.prepare()
        self.backend.publish(transaction)
        return self.backend.find(transaction)

    @property
    def last(self) -> dict[str, Any]:
        """What is kept of the newest transaction."""
        members: dict[str, Any] = json.loads(self.transactions[-1].payload)
        return members

    @property
    def nonces(self) -> list[int]:
        return [json.loads(one.payload)["nonce"] for one in self.transactions]


def open_client() -> httpx.Client:
    """Return a client for plain http; loading certificates would take a tenth of a second."""
    return httpx.Client(timeout=10, verify=False)  # noqa: S501


def count_anchors(node: Anvil, root: bytes) -> int:
    """Return how many transactions of the newest blocks hold a root."""
    head = int(node.rpc("eth_blockNumber"), 16)
    count = 0
    with open_client() as client:
        for number in range(max(head - 40, 0), head + 1):
            parameters = [hex(number), True]
            request = {"method": "eth_getBlockByNumber", "params": parameters}
            answer = client.post(node.url, json=request | {"jsonrpc": "2.0", "id": number}).json()
            inputs = [one["input"] for one in answer["result"]["transactions"]]
            count += sum(content.endswith(root.hex()) for content in inputs)
    return count


class RpcProxy:
    """Stands between the plugin and a node, and answers some methods in its own way.

    Attributes:
        asked: the methods, in order.
        parameters: those of the newest request.
        answers: for a method, what makes its answer of the node's: a result, or an exception of
            this class's to be thrown at the caller.
    """

    class RefusalError(Exception):
        """Answer with an error of JSON-RPC."""

    class LostAnswerError(Exception):
        """Hang up without an answer."""

    class RawAnswerError(Exception):
        """Answer with these bytes, whatever they are, under this HTTP status."""

    def __init__(self, url: str) -> None:
        self._upstream = url
        self._client = open_client()
        self.asked: list[str] = []
        self.parameters: list[Any] = []
        self.answers: dict[str, Callable[[Any], Any]] = {}
        self.seconds_per_byte = 0.0
        self.seconds_per_answer = 0.0
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                proxy._serve(self)

            def log_message(self, *args: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, *args: object) -> None:
                """Say nothing: the plugin hangs up where it gives up."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self._client.close()

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        request = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        method = request["method"]
        self.asked.append(method)
        self.parameters = request["params"]
        time.sleep(self.seconds_per_answer)
        status, body = 200, b""
        try:
            body = json.dumps(self._answer(method, request)).encode()
        except self.RawAnswerError as ex:
            status, body = ex.args
        except self.LostAnswerError:
            handler.close_connection = True
            return
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        try:
            self._write(handler, body)
        except OSError:
            handler.close_connection = True  # the plugin has given up

    def _answer(self, method: str, request: dict[str, Any]) -> dict[str, Any]:
        change = self.answers.get(method)
        answer = {"jsonrpc": "2.0", "id": request["id"]}
        try:
            if change is not None and getattr(change, "alone", False):
                return answer | {"result": change(None)}
            upstream: dict[str, Any] = self._client.post(self._upstream, json=request).json()
            if change is not None:
                upstream = answer | {"result": change(upstream.get("result"))}
        except self.RefusalError as ex:
            return answer | {"error": {"code": -32000, "message": str(ex)}}
        return upstream

    def _write(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        if not self.seconds_per_byte:
            handler.wfile.write(body)
            return
        for byte in body:
            handler.wfile.write(bytes([byte]))
            handler.wfile.flush()
            time.sleep(self.seconds_per_byte)

    def throw(self, method: str, exception: Exception, *, alone: bool = False) -> None:
        """Answer a method with an exception; ``alone`` keeps it from the node."""

        def change(_result: Any) -> Any:
            raise exception

        change.alone = alone  # type: ignore[attr-defined]
        self.answers[method] = change

    def put(self, method: str, result: Any) -> None:
        """Answer a method with one result, whatever the node says."""
        self.answers[method] = lambda _result: result

    def change(self, method: str, **members: Any) -> None:
        """Change members of a method's result, where there is one."""
        self.answers[method] = lambda result: None if result is None else result | members


def read_settings(environment: str = "development", **keys: object) -> Settings:
    environ = {"EVENTSERVER_ENVIRONMENT": environment}
    environ |= {f"EVENTSERVER__{name.upper()}": str(value) for name, value in keys.items()}
    return Sources(None, environ).load([*CORE_SECTIONS, EvmSettings])


@pytest.fixture
def make_settings() -> Callable[..., Settings]:
    """Return a function that reads settings, such as ``evm__finality``, and from nowhere else."""
    return read_settings


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Anvil]:
    """Return an Anvil that makes a block only when told to."""
    with Anvil(tmp_path_factory.mktemp("node"), block_time=None) as part:
        yield part


@pytest.fixture
def make_owner() -> Callable[..., Owner]:
    """Return a function that makes an account on a node."""
    return Owner


@pytest.fixture
def owner(node: Anvil) -> Owner:
    return Owner(node)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def make_chain(node: Anvil, owner: Owner, clock: ManualClock) -> Callable[..., EvmChain]:
    """Return a function that makes a backend on this chain, with settings as it is told."""

    def make(**keys: object) -> EvmChain:
        known: dict[str, object] = {
            "blockchain__rpc_url": node.url,
            "blockchain__account_key": owner.key,
        }
        return chain_from_settings(read_settings(**(known | keys)), clock.now)

    return make


@pytest.fixture
def backend(make_chain: Callable[..., EvmChain]) -> EvmChain:
    return make_chain()


@pytest.fixture
def contract(node: Anvil, backend: EvmChain) -> str:
    """Return the address of an anchoring contract on the node."""
    node.rpc("evm_setAutomine", True)
    try:
        return backend.deploy_contract().address
    finally:
        node.rpc("evm_setAutomine", False)


@pytest.fixture
def make_batch(backend: EvmChain) -> Callable[..., Batch]:
    """Return a function that makes a batch, by default on the fixture ``backend``."""
    return lambda chain=backend, others=(): Batch(chain, others)


@pytest.fixture
def batch(make_batch: Callable[..., Batch]) -> Batch:
    return make_batch()


@pytest.fixture
def anchors(node: Anvil) -> Callable[[Batch], int]:
    """Return a function that counts how often a batch's root is on the chain."""
    return lambda batch: count_anchors(node, batch.root)


@pytest.fixture
def proxy(node: Anvil) -> Iterator[RpcProxy]:
    """Return a proxy before the node."""
    made = RpcProxy(node.url)
    yield made
    made.close()


@pytest.fixture
def through_proxy(make_chain: Callable[..., EvmChain], proxy: RpcProxy) -> EvmChain:
    """Return a backend that asks the proxy."""
    return make_chain(blockchain__rpc_url=proxy.url)
