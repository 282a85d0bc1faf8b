"""What is said of events."""

from __future__ import annotations

from typing import Annotated, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from eventserver_core.domain.package import EventPackage, Moment
from eventserver_core.http.openapi.answers import ChainHash, Count, Digest
from eventserver_core.http.openapi.problems import Problem

Status = Literal["stored", "batched", "anchored", "confirmed"]


class SignedEvent(TypedDict):
    """An event package in a compact JWS (RFC 7515) by its device's key."""

    jwtEventData: str


class Receipt(TypedDict):
    """The event is stored, and will be anchored."""

    eventId: str
    hash: Digest
    storageLocation: str
    processedAt: Moment
    status: Literal["stored"]


class BatchResult(TypedDict):
    """What became of a line: as if it had been sent by itself."""

    line: Annotated[int, Field(ge=1)]
    status: int
    receipt: NotRequired[Receipt]
    problem: NotRequired[Problem]


class BatchAnswer(TypedDict):
    """What became of each line, in order; empty lines have no result."""

    results: list[BatchResult]


class Submitter(TypedDict):
    """Who brought an event."""

    subject: str
    role: str


class LostAnchor(TypedDict):
    """Where an event was anchored until the chain took the block back."""

    transactionHash: ChainHash
    blockNumber: Count
    blockHash: ChainHash
    lostAt: Moment


class EventRecord(TypedDict):
    """What is recorded of an event; `event` is the statement that was hashed."""

    eventId: str
    hash: Digest
    status: Status
    processedAt: Moment
    storageLocation: str
    submittedBy: Submitter
    device: str | None
    signed: bool
    lostAnchors: list[LostAnchor]
    retainedUntil: Moment | None
    event: EventPackage


class Verification(TypedDict):
    """Whether a hash is on the blockchain, and where."""

    hash: Digest
    exists: bool
    status: Literal["unknown", "stored", "batched", "anchored", "confirmed"]
    verifiedAt: Moment
    checkedAgainst: Literal["chain", "database"]
    merkleRoot: NotRequired[Digest]
    blockNumber: NotRequired[Count]
    timestamp: NotRequired[Moment]
    transactionHash: NotRequired[ChainHash]
    network: NotRequired[str]
    confirmations: NotRequired[Count | None]


class MerklePath(TypedDict):
    """How the event's hash leads to the root (RFC 9162, section 2.1.3)."""

    algorithm: Literal["RFC9162-SHA256"]
    leafIndex: Count
    treeSize: Annotated[int, Field(ge=1)]
    path: list[Digest]
    root: Digest


class ProofAnchor(TypedDict):
    """Which transaction holds the root."""

    chain: Literal["ledger", "evm"]
    network: str
    chainId: int | None
    contract: str | None
    transactionHash: ChainHash
    blockNumber: Count
    blockHash: ChainHash
    timestamp: Moment
    parentHash: NotRequired[ChainHash]


class Proof(TypedDict):
    """The proof, which can be checked without this server."""

    format: Literal["eventserver-proof/1"]
    eventId: str
    hash: Digest
    merkle: MerklePath
    anchor: ProofAnchor


class PendingProof(TypedDict):
    """What stands in the proof's place while the event waits to be anchored."""

    format: Literal["eventserver-proof/1"]
    eventId: str
    hash: Digest
    status: Literal["stored", "batched"]
