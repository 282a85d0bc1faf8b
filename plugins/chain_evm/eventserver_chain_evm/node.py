"""What is asked of a node, in the words of the Ethereum JSON-RPC specification.

Answers are read here and not by web3's formatters: a node may be wrong, behind or lying, so each
value is checked for its form before anything is made of it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import requests
import urllib3
from eth_typing import ChecksumAddress
from web3.exceptions import Web3Exception

from eventserver_chain_evm import transport
from eventserver_chain_evm.answers import (
    Block,
    MalformedAnswerError,
    Receipt,
    Sent,
    byte_string,
    chain_hash,
    hash_of_sent,
    number,
    quantity,
)
from eventserver_core.errors import BackendUnavailableError

BACKEND: Final = "chain=evm"
LATEST, PENDING, FINAL = "latest", "pending", "finalized"

_MAX_WORDS: Final = 200
_SECRET_LENGTH: Final = 8

_T = TypeVar("_T")


def is_http_address(url: str) -> bool:
    """Tell whether a node can be asked there."""
    try:
        address = urlsplit(url)
        return address.scheme in ("http", "https") and bool(address.hostname)
    except ValueError:
        return False


class RefusedError(BackendUnavailableError):
    """The node understood the question, and answered with an error."""


class Connection:
    """Where a node is, and the connections to it. Its address is never shown.

    Args:
        url: the node's JSON-RPC address.
        request_timeout: seconds that one answer may take.
    """

    def __init__(self, url: str, request_timeout: float) -> None:
        self._url = url
        self._request_timeout = request_timeout
        self._session = transport.open_session()
        self._process = os.getpid()
        address = urlsplit(url)
        parts = [address.username, address.password, address.query, *address.path.split("/")]
        self._secrets = [part for part in parts if part and len(part) >= _SECRET_LENGTH]

    def node(self, seconds: float) -> Node:
        """Return the node, to be asked for so many seconds in all."""
        if self._process != os.getpid():
            # a process that was forked off must not talk on its parent's connections
            self._session, self._process = transport.open_session(), os.getpid()
        request = partial(transport.request, self._url, self._session)
        return Node(request, self._request_timeout, seconds, self._hide)

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def _hide(self, words: object) -> str:
        """Return a node's words as they may be shown."""
        text = " ".join(str(words).split())
        for secret in self._secrets:
            text = text.replace(secret, "(hidden)")
        return text[:_MAX_WORDS]


class Node:
    """A node, for the length of one operation.

    Every method raises ``BackendUnavailableError`` where no answer came or where it is not what an
    answer must look like, and ``RefusedError`` where the node said no.

    Args:
        request: sends a method and its parameters, and returns the answer in so many seconds.
        limit: seconds that one answer may take, where so many are left.
        seconds: how long all of them together may take.
        hide: takes out of the node's words what nobody may see.
    """

    def __init__(
        self,
        request: Callable[[str, list[Any], float], Any],
        limit: float,
        seconds: float,
        hide: Callable[[object], str],
    ) -> None:
        self._request = request
        self._limit = limit
        self._deadline = time.monotonic() + seconds
        self._hide = hide

    def chain_id(self) -> int:
        """Return which chain it is of."""
        return self._ask(number, "eth_chainId")

    def head(self) -> Block:
        """Return the newest block."""
        return self._ask(Block.read, "eth_getBlockByNumber", LATEST, False)

    def height(self) -> int:
        """Return the newest block's number."""
        return self._ask(number, "eth_blockNumber")

    def block(self, height: int) -> Block | None:
        """Return a block of the chain as it is now."""
        return self._ask(_or_none(Block.read), "eth_getBlockByNumber", hex(height), False)

    def sent_in(self, height: int, account: str, nonce: int) -> str | None:
        """Return the hash of an account's transaction in a block; None where there is none."""
        read = _or_none(partial(hash_of_sent, account, nonce))
        return self._ask(read, "eth_getBlockByNumber", hex(height), True)

    def finalized(self) -> int | None:
        """Return the newest final block's number; None where the chain knows none."""
        try:
            block = self._ask(_or_none(Block.read), "eth_getBlockByNumber", FINAL, False)
        except RefusedError:
            return None
        return None if block is None else block.number

    def receipt(self, transaction_hash: str) -> Receipt | None:
        """Return what became of a transaction; None where it is in no block."""
        return self._ask(_or_none(Receipt.read), "eth_getTransactionReceipt", transaction_hash)

    def sent(self, transaction_hash: str) -> Sent | None:
        """Return a transaction, be it in a block or waiting for one."""
        return self._ask(_or_none(Sent.read), "eth_getTransactionByHash", transaction_hash)

    def count(self, account: str, block: str | int) -> int:
        """Return how many transactions an account has sent up to a block: its next nonce."""
        where = hex(block) if isinstance(block, int) else block
        return self._ask(number, "eth_getTransactionCount", account, where)

    def balance(self, account: str) -> int:
        """Return what an account has, in wei."""
        return self._ask(quantity, "eth_getBalance", account, LATEST)

    def code(self, address: str) -> bytes:
        """Return the code at an address; empty where there is none."""
        return self._ask(byte_string, "eth_getCode", address, LATEST)

    def gas(self, sender: ChecksumAddress, to: str | None, data: bytes) -> int:
        """Return how much gas a transaction would use."""
        transaction = {"from": sender, "data": "0x" + data.hex()} | ({"to": to} if to else {})
        return self._ask(number, "eth_estimateGas", transaction)

    def tip(self) -> int:
        """Return the tip that the node suggests, in wei."""
        return self._ask(quantity, "eth_maxPriorityFeePerGas")

    def gas_price(self) -> int:
        """Return the price that the node suggests where there is no base fee, in wei."""
        return self._ask(quantity, "eth_gasPrice")

    def send(self, raw: bytes) -> str:
        """Send a signed transaction, and return its hash as the node has it."""
        return self._ask(chain_hash, "eth_sendRawTransaction", "0x" + raw.hex())

    def is_syncing(self) -> bool:
        """Tell whether it is still catching up with its chain."""
        try:
            return self._ask(lambda answer: answer is not False, "eth_syncing")
        except RefusedError:  # a gateway before many nodes may not say
            return False

    def _ask(self, read: Callable[[Any], _T], method: str, *parameters: Any) -> _T:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise BackendUnavailableError(BACKEND, f"the node was too slow: no time for {method}")
        answer = self._answer(method, parameters, min(self._limit, left))
        if isinstance(answer, Mapping) and (error := answer.get("error")) is not None:
            words = error.get("message") if isinstance(error, Mapping) else error
            words = words if isinstance(words, str) else "without a word"
            raise RefusedError(BACKEND, f"the node refused {method}: {self._hide(words)}")
        try:
            return read(answer["result"])
        except (MalformedAnswerError, TypeError, KeyError) as ex:
            raise BackendUnavailableError(
                BACKEND, f"the node's answer to {method} is not one; is it an Ethereum node?"
            ) from ex

    def _answer(self, method: str, parameters: tuple[Any, ...], seconds: float) -> Any:
        # raised at the end, outside the handlers: what these exceptions say has the node's address
        # in it, and must not come along as a cause
        try:
            return self._request(method, list(parameters), seconds)
        except requests.HTTPError as ex:
            status = "an error" if ex.response is None else f"status {ex.response.status_code}"
            what = f"the node answered {method} with HTTP {status}"
        except (requests.Timeout, urllib3.exceptions.TimeoutError):
            what = f"the node did not answer {method} within {seconds:.2g} s"
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as ex:
            what = f"the node cannot be reached ({type(ex).__name__}, at {method})"
        except (Web3Exception, ValueError, TypeError, RecursionError):
            what = f"the node's answer to {method} is not JSON-RPC"
        raise BackendUnavailableError(BACKEND, f"{what}; does it run, and is its address right?")


def _or_none(read: Callable[[Any], _T]) -> Callable[[Any], _T | None]:
    return lambda answer: None if answer is None else read(answer)
