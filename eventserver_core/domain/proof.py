"""Proofs: the document that shows an event's hash under a root that a blockchain holds.

A proof is checked here with nothing but the document itself; whether the chain really holds the
root is asked of the chain by whoever checks (``docs/proof-format.md`` says how by hand).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from eventserver_core.domain import merkle
from eventserver_core.domain.canonical import MAX_EXACT_INTEGER, canonicalize
from eventserver_core.domain.digest import is_digest_hex, sha256_hex
from eventserver_core.domain.instant import format_rfc3339, parse_rfc3339

FORMAT = "eventserver-proof/1"
_FORMAT_FAMILY = "eventserver-proof/"
_CHAINS = ("ledger", "evm")
_CHAIN_HASH = re.compile(r"0x[0-9a-f]{64}\Z")
_ADDRESS = re.compile(r"0x[0-9A-Fa-f]{40}\Z")


class Verdict(StrEnum):
    """What a check comes to. Only ``VALID`` means that everything held."""

    VALID = "valid"
    PENDING = "pending"
    INCOMPLETE = "incomplete"
    UNSUPPORTED = "unsupported"
    INVALID = "invalid"


class Outcome(StrEnum):
    """What one step of a check comes to."""

    PASSED = "passed"
    SKIPPED = "skipped"
    PENDING = "pending"
    MISSING = "missing"
    UNSUPPORTED = "unsupported"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that was checked.

    Attributes:
        name: what.
        outcome: what it came to.
        detail: in plain words, for whoever reads the result.
    """

    name: str
    outcome: Outcome
    detail: str


@dataclass(frozen=True, slots=True)
class Anchor:
    """Where on which chain a root is. Hashes are 0x-prefixed hex.

    Attributes:
        chain: ``ledger`` or ``evm``.
        parent_hash: the block's parent; only the ledger's entries need it to be checked offline.
        block_time: the block's timestamp.
    """

    chain: str
    network: str
    chain_id: int | None
    contract: str | None
    transaction_hash: str
    block_number: int
    block_hash: str
    block_time: datetime
    parent_hash: str | None = None


def ledger_block_hash(number: int, parent_hash: str, root_hex: str, timestamp: str) -> str:
    """Return the hash of a ledger's entry: SHA-256 over the canonical form of its four members."""
    entry = {
        "blockNumber": number,
        "parentHash": parent_hash,
        "root": root_hex,
        "timestamp": timestamp,
    }
    return "0x" + sha256_hex(canonicalize(entry))


def make_proof(
    *,
    event_id: str,
    digest_hex: str,
    leaf_index: int,
    tree_size: int,
    path: Sequence[bytes],
    root: bytes,
    anchor: Anchor,
) -> dict[str, Any]:
    """Write a proof document."""
    members: dict[str, Any] = {
        "chain": anchor.chain,
        "network": anchor.network,
        "chainId": anchor.chain_id,
        "contract": anchor.contract,
        "transactionHash": anchor.transaction_hash,
        "blockNumber": anchor.block_number,
        "blockHash": anchor.block_hash,
        "timestamp": format_rfc3339(anchor.block_time),
    }
    if anchor.parent_hash is not None:
        members["parentHash"] = anchor.parent_hash
    return make_pending_proof(event_id, digest_hex, status=None) | {
        "merkle": {
            "algorithm": merkle.ALGORITHM,
            "leafIndex": leaf_index,
            "treeSize": tree_size,
            "path": [step.hex() for step in path],
            "root": root.hex(),
        },
        "anchor": members,
    }


def read_anchor(document: Mapping[str, Any]) -> Anchor:
    """Return the anchor of a proof that was checked."""
    members = document["anchor"]
    return Anchor(
        chain=members["chain"],
        network=members["network"],
        chain_id=members.get("chainId"),
        contract=members.get("contract"),
        transaction_hash=members["transactionHash"],
        block_number=members["blockNumber"],
        block_hash=members["blockHash"],
        block_time=parse_rfc3339(members["timestamp"]),
        parent_hash=members.get("parentHash"),
    )


def make_pending_proof(event_id: str, digest_hex: str, status: str | None) -> dict[str, Any]:
    """Write what stands in a proof's place while its event waits to be anchored."""
    head = {"format": FORMAT, "eventId": event_id, "hash": digest_hex}
    return head if status is None else head | {"status": status}


def check_proof(document: Any) -> list[Step]:
    """Check all of a proof that can be checked without asking a chain, in bounded time."""
    return list(_steps(document))


def verdict(steps: Sequence[Step]) -> Verdict:
    """Sum steps up: what is wrong weighs more than what is unknown, that more than missing."""
    outcomes = {step.outcome for step in steps}
    for outcome, result in (
        (Outcome.FAILED, Verdict.INVALID),
        (Outcome.UNSUPPORTED, Verdict.UNSUPPORTED),
        (Outcome.PENDING, Verdict.PENDING),
        (Outcome.MISSING, Verdict.INCOMPLETE),
    ):
        if outcome in outcomes:
            return result
    return Verdict.VALID if Outcome.PASSED in outcomes else Verdict.INCOMPLETE


def _steps(document: Any) -> Iterator[Step]:
    if not isinstance(document, Mapping):
        yield Step("proof", Outcome.FAILED, "the proof is not a JSON object")
        return
    name = document.get("format")
    if name is None:
        yield Step("proof", Outcome.MISSING, "the proof does not name its format")
        return
    if name != FORMAT:
        known = isinstance(name, str) and name.startswith(_FORMAT_FAMILY)
        outcome = Outcome.UNSUPPORTED if known else Outcome.FAILED
        yield Step("proof", outcome, f"this checks {FORMAT}; the proof has another format")
        return
    digest_hex = document.get("hash")
    if not isinstance(digest_hex, str) or not is_digest_hex(digest_hex):
        missing = digest_hex is None
        outcome = Outcome.MISSING if missing else Outcome.FAILED
        yield Step("proof", outcome, "the proof's hash is not 64 lower-case hex digits")
        return
    path, anchor = document.get("merkle"), document.get("anchor")
    if path is None and anchor is None and document.get("status") in ("stored", "batched"):
        detail = f"the event was {document['status']} and waited to be anchored"
        yield Step("proof", Outcome.PENDING, detail)
        return
    yield _merkle_step(digest_hex, path)
    yield _anchor_step(anchor, path)


def _merkle_step(digest_hex: str, path: Any) -> Step:
    name = "merkle path"
    if path is None:
        return Step(name, Outcome.MISSING, "the proof has no Merkle path")
    if not isinstance(path, Mapping):
        return Step(name, Outcome.FAILED, "the Merkle path is not a JSON object")
    members = ("algorithm", "leafIndex", "treeSize", "path", "root")
    if absent := [member for member in members if path.get(member) is None]:
        return Step(name, Outcome.MISSING, f"the Merkle path lacks {', '.join(absent)}")
    if path["algorithm"] != merkle.ALGORITHM:
        return Step(name, Outcome.UNSUPPORTED, f"this checks {merkle.ALGORITHM} only")
    siblings = path["path"]
    if not isinstance(siblings, list) or len(siblings) > merkle.MAX_PATH_LENGTH:
        return Step(name, Outcome.FAILED, "the Merkle path is no list, or longer than any tree")
    if not all(is_digest_hex(sibling) for sibling in siblings) or not is_digest_hex(path["root"]):
        return Step(name, Outcome.FAILED, "a digest is not 64 lower-case hex digits")
    index, size = path["leafIndex"], path["treeSize"]
    if not _is_count(index) or not _is_count(size):
        return Step(name, Outcome.FAILED, "leafIndex or treeSize is not a whole number")
    try:
        steps = [bytes.fromhex(sibling) for sibling in siblings]
        root = merkle.root_from_path(bytes.fromhex(digest_hex), index, size, steps)
    except ValueError as ex:
        return Step(name, Outcome.FAILED, str(ex))
    if root.hex() != path["root"]:
        return Step(name, Outcome.FAILED, "the path does not lead from the hash to the root")
    where = f"leaf index {index} in a tree of {size}"
    return Step(name, Outcome.PASSED, f"{where} leads to root {root.hex()}")


def _anchor_step(anchor: Any, path: Any) -> Step:
    name = "anchor"
    if anchor is None:
        return Step(name, Outcome.MISSING, "the proof has no anchor")
    if not isinstance(anchor, Mapping):
        return Step(name, Outcome.FAILED, "the anchor is not a JSON object")
    chain = anchor.get("chain")
    if chain is not None and chain not in _CHAINS:
        return Step(name, Outcome.UNSUPPORTED, "this checks anchors on: " + ", ".join(_CHAINS))
    members = ["chain", "network", "transactionHash", "blockNumber", "blockHash", "timestamp"]
    members += ["parentHash"] if chain == "ledger" else ["chainId"]
    if absent := [member for member in members if anchor.get(member) is None]:
        return Step(name, Outcome.MISSING, f"the anchor lacks {', '.join(absent)}")
    number, when = anchor["blockNumber"], anchor["timestamp"]
    hashes = [anchor["transactionHash"], anchor["blockHash"]]
    if chain == "ledger":
        hashes.append(anchor["parentHash"])
    if not all(isinstance(text, str) and _CHAIN_HASH.match(text) for text in hashes):
        return Step(name, Outcome.FAILED, "a hash is not 0x and 64 lower-case hex digits")
    chain_id, contract = anchor.get("chainId"), anchor.get("contract")
    typed = {
        "blockNumber": _is_count(number),
        "timestamp": isinstance(when, str),
        "network": isinstance(anchor["network"], str),
        "chainId": chain_id is None or _is_count(chain_id),
        "contract": contract is None or (isinstance(contract, str) and _ADDRESS.match(contract)),
    }
    if wrong := [member for member, right in typed.items() if not right]:
        return Step(name, Outcome.FAILED, f"of the wrong type: {', '.join(wrong)}")
    try:
        parse_rfc3339(when)
    except ValueError:
        return Step(name, Outcome.FAILED, "the timestamp is not an RFC 3339 date and time")
    root_hex = path.get("root") if isinstance(path, Mapping) else None
    if chain == "ledger" and isinstance(root_hex, str):
        expected = ledger_block_hash(number, anchor["parentHash"], root_hex, when)
        if anchor["blockHash"] != expected or anchor["transactionHash"] != expected:
            return Step(name, Outcome.FAILED, "the ledger entry's hash does not cover this root")
    where = f"block {number} of {anchor['chain']} {anchor['network']}"
    return Step(name, Outcome.PASSED, f"{where}, {when}")


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= MAX_EXACT_INTEGER
