"""The anchoring contract, and the two ways of putting a root into a transaction."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any, Final

from eth_typing import ChecksumAddress
from eth_utils.abi import event_signature_to_log_topic, function_signature_to_4byte_selector

from eventserver_chain_evm.answers import Log
from eventserver_chain_evm.node import BACKEND, Node
from eventserver_core.errors import BackendUnavailableError

_SELECTOR: Final = function_signature_to_4byte_selector("anchor(bytes32)")
_TOPIC: Final = "0x" + event_signature_to_log_topic("Anchored(bytes32)").hex()


@cache
def artefact() -> dict[str, Any]:
    """Return what the compiler made of ``anchor.vy``."""
    content: dict[str, Any] = json.loads(
        files("eventserver_chain_evm").joinpath("anchor.json").read_text("utf-8")
    )
    return content


def creation_code() -> bytes:
    """Return the data of the transaction that puts the contract on a chain."""
    return bytes.fromhex(artefact()["bytecode"].removeprefix("0x"))


def runtime_code() -> bytes:
    """Return the code that is then at its address."""
    return bytes.fromhex(artefact()["runtimeBytecode"].removeprefix("0x"))


def input_for(root: bytes, contract: ChecksumAddress | None) -> bytes:
    """Return the data of the transaction that anchors a root.

    Args:
        root: 32 bytes.
        contract: what it is sent to; None for a transaction from an account to itself.
    """
    return root if contract is None else _SELECTOR + root


def is_input_for(root: bytes, data: bytes, contract: str | None) -> bool:
    """Tell whether a transaction's data anchors this root, as proofs define it."""
    return data[-32:] == root if contract is None else data == _SELECTOR + root


def has_log(root: bytes, logs: Sequence[Log], contract: str) -> bool:
    """Tell whether the contract said that it anchored this root."""
    wanted = Log(contract.lower(), (_TOPIC, "0x" + root.hex()))
    return wanted in logs


def require_code(node: Node, contract: str) -> None:
    """Make sure that the anchoring contract is where the settings say.

    Raises:
        BackendUnavailableError: it isn't.
    """
    code = node.code(contract)
    if code == runtime_code():
        return
    what = "is another contract" if code else "is no contract"
    raise BackendUnavailableError(
        BACKEND,
        f"at {contract} there {what}; set blockchain.contract to one that `eventserver chain "
        "deploy` made on this chain, or leave it empty to do without",
    )
