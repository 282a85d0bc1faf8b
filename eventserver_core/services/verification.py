"""Answers whoever wants to know whether an event's hash is on the blockchain, and proves it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from eventserver_core.db.batches import (
    ANCHORED,
    BATCHED,
    CONFIRMED,
    AnchorLoss,
    BatchRecord,
    BatchRepository,
)
from eventserver_core.db.events import EventRecord, EventRepository, EventState
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
from eventserver_core.json_text import write_json
from eventserver_core.log import get_logger
from eventserver_core.services.chain_answers import ChainAnswers
from eventserver_core.services.recent import Recent

_REMEMBERED_EVENTS = 4096
_REMEMBERED_BYTES = 8 * 1024 * 1024
_REMEMBERED_TILES = 256
"""Of 16 KiB each, with their levels: who sent a batch's events asks for all their proofs."""
_REMEMBERED_FOR = timedelta(minutes=5)
_STATE_SIZE = 1536
_NOT_FOUND = "no event with this hash is stored here"
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

    @property
    def final(self) -> bool:
        """Whether this is what the chain said, and will say from now on."""
        return self.asked_chain and self.status == CONFIRMED


@dataclass(frozen=True, slots=True)
class GivenProof:
    """What is given out as an event's proof.

    Attributes:
        content: JSON.
        pending: whether it stands in a proof's place while the event waits to be anchored.
        final: whether it is the same for ever.
    """

    content: bytes
    pending: bool
    final: bool


@dataclass(frozen=True, slots=True)
class _Confirmed:
    """What is remembered of an event whose batch is confirmed.

    Nothing of it changes: no worker looks at such a batch again, which so keeps its anchor, and
    what may still be added to the event, a signature, is no part of it. Only people who mend
    rows that were damaged change more; what they did is seen after ``_REMEMBERED_FOR``.
    """

    event: EventState
    looked_up_at: datetime
    proof: bytes | None = None

    @property
    def size(self) -> int:
        """About how many bytes it takes; no column is long."""
        return _STATE_SIZE + len(self.proof or b"")


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
        self._remembered: Recent[str, _Confirmed] = Recent(
            _REMEMBERED_EVENTS, _REMEMBERED_BYTES, lambda known: known.size
        )
        self._tiles: Recent[tuple[str, int], tuple[bytes, ...]] = Recent(_REMEMBERED_TILES)

    def verify(self, digest_hex: str) -> Verification:
        """Say whether a hash is on the chain; a hash that nobody sent is ``unknown``."""
        event = self._state(digest_hex)
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

    def give_proof(self, digest_hex: str) -> GivenProof:
        """Return an event's proof, checked, as it is given out.

        Raises:
            NotFoundError: there is no event with this hash.
            BackendContractError: what the database has does not add up to a proof.
        """
        known = self._recall(digest_hex)
        if known is not None and known.proof is not None:
            return GivenProof(known.proof, pending=False, final=True)
        event = known.event if known else self._events.state(digest_hex)
        if event is None:
            raise NotFoundError(_NOT_FOUND)
        document = self.proof(event)
        if document is None:
            return GivenProof(write_json(_pending(event)), pending=True, final=False)
        content, final = write_json(document), event.status == CONFIRMED
        if final:
            looked_up_at = known.looked_up_at if known else self._clock()
            self._remembered.put(digest_hex, _Confirmed(event, looked_up_at, content))
        return GivenProof(content, pending=False, final=final)

    def proof(self, event: EventState | EventRecord) -> dict[str, Any] | None:
        """Return an event's proof, checked, or None while it waits to be anchored.

        Raises:
            BackendContractError: what the database has does not add up to a proof.
        """
        batch, index = event.batch, event.leaf_index
        if batch is None or batch.anchor is None or index is None:
            return None
        if not 0 <= index < batch.size:
            raise BackendContractError("database", "a proof's leaf lies outside its batch")
        path = self._path_from_tiles(batch, index)
        document = make_proof(
            event_id=event.event_id,
            digest_hex=event.digest_hex,
            leaf_index=index,
            tree_size=batch.size,
            path=self._path_from_leaves(batch, index) if path is None else path,
            root=bytes.fromhex(batch.root_hex),
            anchor=batch.anchor,
        )
        steps = check_proof(document)
        if verdict(steps) is not Verdict.VALID:
            details = "; ".join(f"{step.name}: {step.detail}" for step in steps)
            raise BackendContractError("database", f"a proof does not check: {details}")
        return document

    def _path_from_tiles(self, batch: BatchRecord, index: int) -> list[bytes] | None:
        """Return the path; None where tiles are wrong, or an earlier release kept none.

        What is remembered can't be stale: of one tree there is one tile with a number.
        """
        numbers = [place.number for place in merkle.tile_places(index, batch.size)]
        tiles = [self._tiles.get((batch.root_hex, number)) or () for number in numbers]
        try:
            if not all(tiles):
                tiles = [merkle.tile_levels(t) for t in self._batches.tiles(batch.id, numbers)]
                if not tiles:
                    return None
            root = bytes.fromhex(batch.root_hex)
            path = merkle.path_from_tiles(index, batch.size, root, tiles)
        except ValueError as ex:
            _log.error("merkle_tiles_wrong", batch=batch.id, error=str(ex))
            return None
        for number, tile in zip(numbers, tiles, strict=True):
            self._tiles.put((batch.root_hex, number), tile)
        return path

    def _path_from_leaves(self, batch: BatchRecord, index: int) -> list[bytes]:
        leaves = self._batches.leaves(batch.id)
        if len(leaves) != batch.size:
            raise BackendContractError("database", f"batch {batch.id} does not have all its leaves")
        return merkle.inclusion_path(index, leaves)

    def proof_or_pending(self, event: EventRecord) -> dict[str, Any]:
        """Return an event's proof, or what stands in its place while it waits."""
        return self.proof(event) or _pending(event)

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
            raise NotFoundError(_NOT_FOUND)
        return event

    def _state(self, digest_hex: str) -> EventState | None:
        """Return how far an event has come, by one query at most."""
        if known := self._recall(digest_hex):
            return known.event
        event = self._events.state(digest_hex)
        if event is not None and event.status == CONFIRMED:
            self._remembered.put(digest_hex, _Confirmed(event, self._clock()))
        return event

    def _recall(self, digest_hex: str) -> _Confirmed | None:
        known = self._remembered.get(digest_hex)
        if known is None or abs(self._clock() - known.looked_up_at) >= _REMEMBERED_FOR:
            return None
        return known


def _pending(event: EventState | EventRecord) -> dict[str, Any]:
    return make_pending_proof(event.event_id, event.digest_hex, event.status)
