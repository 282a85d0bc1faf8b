"""Checks what is kept against itself: bytes, hash, leaf, root and chain, each against the next.

Every fault is told as a finding and nothing is repaired: which of two that disagree is right is
for people to say, with a copy in their hands.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from eventserver_core.backends.chain import AnchorReceipt, AnchorTransaction, ChainBackend
from eventserver_core.backends.storage import KEY_PATTERN, StorageBackend
from eventserver_core.db.batches import BATCHED, CONFIRMED, BatchRecord, BatchRepository
from eventserver_core.db.event_rows import NewEvent
from eventserver_core.db.events import EventRecord
from eventserver_core.domain import merkle
from eventserver_core.domain.digest import is_digest_hex, sha256_hex
from eventserver_core.domain.envelope import Envelope, parse_envelope
from eventserver_core.domain.evidence import check_signature
from eventserver_core.domain.proof import Outcome
from eventserver_core.errors import (
    BackendUnavailableError,
    InvalidPackageError,
    ObjectNotFoundError,
)
from eventserver_core.services.index_rows import row_of
from eventserver_core.services.signed_packages import (
    is_changed,
    is_in_pack,
    read_signed_package,
)

_CHAIN_PATIENCE = 3
"""So many unanswered questions in a row, and the chain is asked no more."""

_ALWAYS = ("event_id", "received_at", "submitted_by", "media_key", "media_type", "media_size")
_SIGNED = ("device", "signed_package_key")


class Kind(StrEnum):
    """What a finding is. All but ``NOT_CHECKED`` are damage."""

    OBJECT_MISSING = "object_missing"
    OBJECT_CHANGED = "object_changed"
    ROW_CHANGED = "row_changed"
    ROWS_MISSING = "rows_missing"
    SIGNATURE_INVALID = "signature_invalid"
    BATCH_CHANGED = "batch_changed"
    ANCHOR_MISSING = "anchor_missing"
    ANCHOR_CHANGED = "anchor_changed"
    NOT_CHECKED = "not_checked"


ADVICE = {
    Kind.OBJECT_MISSING: "put the object back from another version or copy of the storage; a key "
    "never has another content",
    Kind.OBJECT_CHANGED: "put the object back from another version or copy of the storage; the "
    "right one has the digest that its key ends with. Then find out who can write there",
    Kind.ROW_CHANGED: "what lies in storage is whole, so the row was changed: compare it with a "
    "backup of the database. Then find out who can write there",
    Kind.ROWS_MISSING: "check that this is the right database, restore its backup, and then make "
    "what is missing with eventserver rebuild-index",
    Kind.SIGNATURE_INVALID: "the signed package is the one that was stored: the row's key or "
    "signature was changed, compare it with a backup of the database",
    Kind.BATCH_CHANGED: "rows of this batch were changed, added or removed: compare them with a "
    "backup of the database. Proofs that were handed out before still check",
    Kind.ANCHOR_MISSING: "look the transaction up in a block explorer and at another node. If it "
    "is there, this node is wrong; if not, the row was changed or the chain was rewritten",
    Kind.ANCHOR_CHANGED: "look the transaction up in a block explorer; where the chain is right, "
    "the row was changed: compare it with a backup of the database",
    Kind.NOT_CHECKED: "bring back what did not answer, and run this again",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, or that could not be checked.

    Attributes:
        detail: what, for people.
        event_hash: the event's, where it is about one.
        event_id: the same.
        batch: the batch's id, where it is about one.
        object_key: the object in storage, where it is about one.
    """

    kind: Kind
    detail: str
    event_hash: str | None = None
    event_id: str | None = None
    batch: int | None = None
    object_key: str | None = None

    @property
    def is_damage(self) -> bool:
        """Whether something is wrong, and not only unknown."""
        return self.kind is not Kind.NOT_CHECKED

    @property
    def advice(self) -> str:
        """What to do."""
        return ADVICE[self.kind]


@dataclass(slots=True)
class Tally:
    """How much was checked.

    Attributes:
        bytes_read: of all objects together.
        waiting: batches that are in no block yet.
        not_asked: anchors that the chain was not asked about, since it didn't answer before.
    """

    events: int = 0
    bytes_read: int = 0
    media: int = 0
    signed_packages: int = 0
    batches: int = 0
    anchors: int = 0
    waiting: int = 0
    not_asked: int = 0


class CheckEventBytes:
    """Checks an event's objects against their keys, its row, and each other.

    Args:
        storage: where the objects are.
        tally: counts what was checked.
    """

    def __init__(self, storage: StorageBackend, tally: Tally) -> None:
        self._storage = storage
        self._tally = tally

    def findings(self, event: EventRecord) -> Iterator[Finding]:
        """Check one event; what can't be read now does not keep the rest from being checked."""
        self._tally.events += 1
        envelope = yield from self._reading(event, event.pack_key, self._pack(event))
        if event.media_key is not None:
            yield from self._reading(event, event.media_key, self._media(event, event.media_key))
        if event.signed_package_key is not None:
            signed = self._signed_package(event, event.signed_package_key, envelope)
            yield from self._reading(event, event.signed_package_key, signed)
        if event.batch is None:
            if event.leaf_index is not None:
                detail = "the row says that the event is in a batch, and there is no such batch"
                yield _about(event, Kind.ROW_CHANGED, detail)
        elif event.leaf_index is None or not 0 <= event.leaf_index < event.batch.size:
            yield _about(event, Kind.ROW_CHANGED, "the row's leaf lies outside its batch")

    def _reading(
        self, event: EventRecord, key: str, check: Generator[Finding, None, Any]
    ) -> Generator[Finding, None, Any]:
        """Go through one object's checks, and tell of an object that isn't there."""
        if not KEY_PATTERN.match(key):
            yield _about(event, Kind.ROW_CHANGED, f"the row names no object: {key!r:.100}")
            return None
        try:
            return (yield from check)
        except ObjectNotFoundError:
            yield _about(event, Kind.OBJECT_MISSING, "the object is not in storage", key)
        except BackendUnavailableError as ex:
            yield _about(event, Kind.NOT_CHECKED, str(ex), key)
        return None

    def _pack(self, event: EventRecord) -> Generator[Finding, None, Envelope | None]:
        line = b"".join(self._storage.read(event.pack_key, event.pack_offset, event.pack_length))
        self._tally.bytes_read += len(line)
        envelope, row, why = _read_line(event, line)
        agrees = row is not None and row.digest_hex == event.digest_hex
        is_whole = self._is_whole(event, line, agrees)
        if not is_whole:
            detail = "the pack was changed: its digest is another"
            yield _about(event, Kind.OBJECT_CHANGED, detail, event.pack_key)
        elif not agrees or row is None:
            detail = f"the row leads to what is not this event: {why or 'it has another hash'}"
            yield _about(event, Kind.ROW_CHANGED, detail, event.pack_key)
        elif differing := list(_differing(event, row)):
            detail = f"the row says otherwise than the pack: {', '.join(differing)}"
            yield _about(event, Kind.ROW_CHANGED, detail, event.pack_key)
        return envelope if agrees and is_whole else None

    def _is_whole(self, event: EventRecord, line: bytes, agrees: bool) -> bool:
        """Tell whether the pack's bytes have the digest in its key.

        Of a pack with several lines, the first one's event speaks for the pack.
        """
        if event.pack_offset == 0 and event.pack_key.endswith(sha256_hex(line + b"\n")):
            return True
        if agrees and event.pack_offset > 0:
            return True
        digest_hex, _ = self._digest(event.pack_key)
        return event.pack_key.endswith(digest_hex)

    def _media(self, event: EventRecord, key: str) -> Generator[Finding, None, None]:
        self._tally.media += 1
        digest_hex, size = self._digest(key)
        if not key.endswith(digest_hex):
            detail = "the media was changed: its digest is another"
            yield _about(event, Kind.OBJECT_CHANGED, detail, key)
        elif size != event.media_size:
            detail = f"the row says that the media has {event.media_size} bytes; it has {size}"
            yield _about(event, Kind.ROW_CHANGED, detail, key)

    def _signed_package(
        self, event: EventRecord, key: str, envelope: Envelope | None
    ) -> Generator[Finding, None, None]:
        if envelope is None and is_in_pack(key):
            return  # the pack has a finding of its own
        self._tally.signed_packages += 1
        jws = read_signed_package(self._storage, key, envelope)
        self._tally.bytes_read += 0 if is_in_pack(key) else len(jws)
        if is_changed(key, jws):
            detail = "the signed package was changed: its digest is another"
            yield _about(event, Kind.OBJECT_CHANGED, detail, key)
        elif envelope is not None:
            key_json = (event.public_key or "{}").encode()
            step = check_signature(envelope.statement, jws, key_json)
            if step.outcome is not Outcome.PASSED:
                yield _about(event, Kind.SIGNATURE_INVALID, step.detail, key)

    def _digest(self, key: str) -> tuple[str, int]:
        hasher, size = hashlib.sha256(), 0
        for chunk in self._storage.read(key):
            hasher.update(chunk)
            size += len(chunk)
        self._tally.bytes_read += size
        return hasher.hexdigest(), size


class CheckBatch:
    """Checks a batch: all its leaves against its root, and its root against the chain.

    Args:
        batches: the rows.
        chain: is asked; None leaves it out.
        tally: counts what was checked.
    """

    def __init__(self, batches: BatchRepository, chain: ChainBackend | None, tally: Tally) -> None:
        self._batches = batches
        self._chain = chain
        self._tally = tally
        self._unanswered = 0

    def findings(self, batch: BatchRecord) -> Iterator[Finding]:
        """Check one batch."""
        self._tally.batches += 1
        leaves = self._batches.numbered_leaves(batch.id)
        digests = [digest_hex for _, digest_hex in leaves]
        if [index for index, _ in leaves] != list(range(batch.size)):
            detail = f"its {batch.size} leaves are not all there, or have other numbers"
            yield Finding(Kind.BATCH_CHANGED, detail, batch=batch.id)
        elif not all(map(is_digest_hex, digests)) or (
            merkle.root(map(bytes.fromhex, digests)).hex() != batch.root_hex
        ):
            detail = "its leaves have another root than the one that was anchored"
            yield Finding(Kind.BATCH_CHANGED, detail, batch=batch.id)
        elif (kept := self._batches.tiles(batch.id)) and kept != list(
            merkle.tiles(map(bytes.fromhex, digests))
        ):
            detail = "its leaves are right, its tiles are not: delete these, from merkle_tiles"
            yield Finding(Kind.BATCH_CHANGED, detail, batch=batch.id)
        if batch.anchor is not None:
            if self._chain is not None:
                yield from self._on_chain(self._chain, batch)
        elif batch.state == BATCHED:
            self._tally.waiting += 1
        else:
            detail = f"it is {batch.state}, and its row does not say where"
            yield Finding(Kind.BATCH_CHANGED, detail, batch=batch.id)

    def _on_chain(self, chain: ChainBackend, batch: BatchRecord) -> Iterator[Finding]:
        if self._unanswered >= _CHAIN_PATIENCE:
            self._tally.not_asked += 1
            return
        try:
            receipt = self._ask(chain, batch)
        except (BackendUnavailableError, ValueError) as ex:
            self._unanswered += 1
            yield Finding(Kind.NOT_CHECKED, f"the chain was not asked: {ex}", batch=batch.id)
            return
        self._unanswered = 0
        self._tally.anchors += 1
        if receipt is not None and _same_place(receipt, batch):
            return
        if batch.state != CONFIRMED:
            detail = "the chain took the block back; the worker anchors the batch again"
            yield Finding(Kind.NOT_CHECKED, detail, batch=batch.id)
        elif receipt is None:
            detail = f"the chain has no transaction with root {batch.root_hex}"
            yield Finding(Kind.ANCHOR_MISSING, detail, batch=batch.id)
        else:
            where = f"block {receipt.anchor.block_number}, {receipt.anchor.transaction_hash}"
            detail = f"the chain has the root elsewhere than the row says: {where}"
            yield Finding(Kind.ANCHOR_CHANGED, detail, batch=batch.id)

    def _ask(self, chain: ChainBackend, batch: BatchRecord) -> AnchorReceipt | None:
        root, anchor = bytes.fromhex(batch.root_hex), batch.anchor
        kept = [made for made in self._batches.transactions(batch.id) if made.root == root]
        if not kept and anchor is not None:
            kept = [AnchorTransaction(root, b"", anchor.transaction_hash)]
        for transaction in reversed(kept):
            receipt = chain.find(transaction, batch.anchor_of(transaction))
            if receipt is not None:
                return receipt
        return None


def _about(event: EventRecord, kind: Kind, detail: str, key: str | None = None) -> Finding:
    batch = event.batch.id if event.batch else None
    return Finding(kind, detail, event.digest_hex, event.event_id, batch, key)


def _read_line(
    event: EventRecord, line: bytes
) -> tuple[Envelope | None, NewEvent | None, str | None]:
    """Return the envelope and the row that it says, or why there is none."""
    try:
        envelope = parse_envelope(line)
        row = row_of(
            envelope,
            pack_key=event.pack_key,
            offset=event.pack_offset,
            length=event.pack_length,
            location=event.storage_location,
        )
    except (InvalidPackageError, ValueError) as ex:
        return None, None, " ".join(str(ex).split())
    return envelope, row, None


def _differing(event: EventRecord, row: NewEvent) -> Iterator[str]:
    # an envelope without a signature says nothing about one that came later
    names = _ALWAYS + (_SIGNED if row.signed_package_key else ())
    yield from (name for name in names if getattr(event, name) != getattr(row, name))
    if row.public_key is not None and _json(event.public_key) != _json(row.public_key):
        yield "public_key"


def _json(text: str | None) -> Any:
    try:
        return json.loads(text or "null")
    except ValueError:
        return text


def _same_place(receipt: AnchorReceipt, batch: BatchRecord) -> bool:
    names = ("chain", "chain_id", "transaction_hash", "block_number", "block_hash", "block_time")
    found = receipt.anchor
    return all(getattr(found, name) == getattr(batch.anchor, name) for name in names)
