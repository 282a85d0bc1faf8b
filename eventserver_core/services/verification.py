"""Answers whoever wants to know whether an event's hash is on the blockchain, and proves it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from eventserver_core.db.batches import (
    ANCHORED,
    BATCHED,
    CONFIRMED,
    AnchorLoss,
    BatchRepository,
)
from eventserver_core.db.events import EventRecord, EventRepository
from eventserver_core.domain import merkle
from eventserver_core.domain.proof import (
    Anchor,
    Verdict,
    check_proof,
    make_pending_proof,
    make_proof,
    verdict,
)
from eventserver_core.errors import BackendContractError, NotFoundError
from eventserver_core.log import get_logger
from eventserver_core.services.chain_answers import ChainAnswers

_log = get_logger()


@dataclass(frozen=True, slots=True)
class Verification:
    """What is known of a hash.

    Attributes:
        status: ``unknown``, ``stored``, ``batched``, ``anchored`` or ``confirmed``.
        verified_at: when the chain was asked, or this was looked up.
        asked_chain: whether this is what the chain said then; otherwise it is what was recorded.
    """

    digest_hex: str
    status: str
    anchor: Anchor | None
    root_hex: str | None
    confirmations: int | None
    verified_at: datetime
    asked_chain: bool

    @property
    def exists(self) -> bool:
        """Whether the anchoring transaction is in a block."""
        return self.anchor is not None


class Verifications:
    """Looks hashes up and makes proofs.

    Args:
        events: the events' rows.
        batches: the batches' rows.
        chain: says whether an anchor still stands.
        clock: tells the time.
    """

    def __init__(
        self,
        events: EventRepository,
        batches: BatchRepository,
        chain: ChainAnswers,
        clock: Callable[[], datetime],
    ) -> None:
        self._events = events
        self._batches = batches
        self._chain = chain
        self._clock = clock

    def verify(self, digest_hex: str) -> Verification:
        """Say whether a hash is on the chain; a hash that nobody sent is ``unknown``."""
        event = self._events.find(digest_hex)
        if event is None:
            return Verification(digest_hex, "unknown", None, None, None, self._clock(), False)
        batch = event.batch
        if batch is None or batch.anchor is None:
            root = batch.root_hex if batch else None
            return Verification(digest_hex, event.status, None, root, None, self._clock(), False)
        answer = self._chain.get(batch)
        if answer is None:
            return Verification(
                digest_hex,
                batch.state,
                batch.anchor,
                batch.root_hex,
                batch.confirmations,
                self._clock(),
                False,
            )
        receipt = answer.receipt
        if receipt is None:
            _log.error("anchor_missing", batch=batch.id, root=batch.root_hex)
            return Verification(
                digest_hex, BATCHED, None, batch.root_hex, None, answer.asked_at, True
            )
        return Verification(
            digest_hex,
            CONFIRMED if receipt.final else ANCHORED,
            receipt.anchor,
            batch.root_hex,
            receipt.confirmations,
            answer.asked_at,
            True,
        )

    def proof(self, event: EventRecord) -> dict[str, Any] | None:
        """Return an event's proof, checked, or None while it waits to be anchored."""
        batch = event.batch
        if batch is None or batch.anchor is None or event.leaf_index is None:
            return None
        leaves = self._batches.leaves(batch.id)
        if len(leaves) != batch.size:
            raise BackendContractError("database", f"batch {batch.id} does not have all its leaves")
        document = make_proof(
            event_id=event.event_id,
            digest_hex=event.digest_hex,
            leaf_index=event.leaf_index,
            tree_size=batch.size,
            path=merkle.inclusion_path(event.leaf_index, leaves),
            root=bytes.fromhex(batch.root_hex),
            anchor=batch.anchor,
        )
        steps = check_proof(document)
        if verdict(steps) is not Verdict.VALID:
            details = "; ".join(f"{step.name}: {step.detail}" for step in steps)
            raise BackendContractError("database", f"a proof does not check: {details}")
        return document

    def proof_or_pending(self, event: EventRecord) -> dict[str, Any]:
        """Return an event's proof, or what stands in its place while it waits."""
        return self.proof(event) or make_pending_proof(
            event.event_id, event.digest_hex, event.status
        )

    def lost_anchors(self, event: EventRecord) -> list[AnchorLoss]:
        """Return where an event was anchored until the chain took the block back."""
        return self._batches.losses(event.batch.id) if event.batch else []

    def event(self, digest_hex: str) -> EventRecord:
        """Return an event's row.

        Raises:
            NotFoundError: there is none with this hash.
        """
        event = self._events.find(digest_hex)
        if event is None:
            raise NotFoundError("no event with this hash is stored here")
        return event
