"""What a node answers with, read strictly."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from eventserver_core.domain.canonical import MAX_EXACT_INTEGER

_QUANTITY: Final = re.compile(r"0x[0-9a-fA-F]{1,64}\Z")
_BYTES: Final = re.compile(r"0x([0-9a-fA-F]{2})*\Z")
_HASH: Final = re.compile(r"0x[0-9a-fA-F]{64}\Z")
_LAST_MOMENT: Final = 253_402_300_799
"""The last second of the year 9999, after which Python knows no time."""

_ADDRESS: Final = re.compile(r"0x[0-9a-fA-F]{40}\Z")


class MalformedAnswerError(Exception):
    """An answer doesn't have the form that the specification gives it."""


@dataclass(frozen=True, slots=True)
class Block:
    """A block's header, and the hashes of what is in it.

    Attributes:
        timestamp: seconds since 1970.
        base_fee: in wei; None on a chain without EIP-1559.
    """

    number: int
    block_hash: str
    timestamp: int
    base_fee: int | None
    transactions: tuple[str, ...]

    @classmethod
    def read(cls, answer: Any) -> Block:
        """Read one that was asked for without its transactions' content."""
        base_fee = _members(answer).get("baseFeePerGas")
        return cls(
            number(answer["number"]),
            chain_hash(answer["hash"]),
            _bounded(answer["timestamp"], _LAST_MOMENT),
            None if base_fee is None else quantity(base_fee),
            tuple(chain_hash(one) for one in _list(answer["transactions"])),
        )


@dataclass(frozen=True, slots=True)
class Log:
    """What a contract said during a transaction."""

    address: str
    topics: tuple[str, ...]

    @classmethod
    def read(cls, answer: Any) -> Log:
        """Read one."""
        topics = _list(_members(answer)["topics"])
        return cls(_address(answer["address"]), tuple(chain_hash(topic) for topic in topics))


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a transaction that is in a block. Addresses are in lower case."""

    transaction_hash: str
    block_hash: str
    block_number: int
    succeeded: bool
    gas_used: int
    contract: str | None
    logs: tuple[Log, ...]

    @classmethod
    def read(cls, answer: Any) -> Receipt:
        """Read one."""
        contract = _members(answer).get("contractAddress")
        return cls(
            chain_hash(answer["transactionHash"]),
            chain_hash(answer["blockHash"]),
            number(answer["blockNumber"]),
            quantity(answer["status"]) == 1,
            number(answer["gasUsed"]),
            None if contract is None else _address(contract),
            tuple(Log.read(log) for log in _list(answer["logs"])),
        )


@dataclass(frozen=True, slots=True)
class Sent:
    """A transaction as a node has it. Addresses are in lower case."""

    sender: str
    to: str | None
    data: bytes

    @classmethod
    def read(cls, answer: Any) -> Sent:
        """Read one."""
        to = _members(answer).get("to")
        return cls(
            _address(answer["from"]),
            None if to is None else _address(to),
            byte_string(answer["input"]),
        )


def hash_of_sent(account: str, nonce: int, answer: Any) -> str | None:
    """Read the hash of an account's transaction with a nonce out of a block with its content."""
    for one in _list(_members(answer)["transactions"]):
        is_by_account = _address(_members(one)["from"]) == account.lower()
        if is_by_account and number(one["nonce"]) == nonce:
            return chain_hash(one["hash"])
    return None


def quantity(answer: Any) -> int:
    """Read an amount."""
    return int(_text(_QUANTITY, answer), 16)


def number(answer: Any) -> int:
    """Read what is counted: blocks, nonces, gas. No chain gets far enough to go beyond."""
    return _bounded(answer, MAX_EXACT_INTEGER)


def _bounded(answer: Any, most: int) -> int:
    if (value := quantity(answer)) > most:
        raise MalformedAnswerError("too large a number")
    return value


def chain_hash(answer: Any) -> str:
    """Read a hash, and return it in lower case."""
    return _text(_HASH, answer).lower()


def byte_string(answer: Any) -> bytes:
    """Read bytes."""
    return bytes.fromhex(_text(_BYTES, answer)[2:])


def _address(answer: Any) -> str:
    return _text(_ADDRESS, answer).lower()


def _text(pattern: re.Pattern[str], answer: Any) -> str:
    if not isinstance(answer, str) or not pattern.match(answer):
        raise MalformedAnswerError("expected hex digits after 0x")
    return answer


def _members(answer: Any) -> Mapping[str, Any]:
    if not isinstance(answer, Mapping):
        raise MalformedAnswerError("expected an object")
    return answer


def _list(answer: Any) -> list[Any]:
    if not isinstance(answer, list):
        raise MalformedAnswerError("expected a list")
    return answer
