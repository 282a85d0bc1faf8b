"""Queries on batches: sealing events, and following a root to its block."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

from peewee import SQL, Value, fn

from eventserver_core.backends.chain import AnchorReceipt, AnchorTransaction
from eventserver_core.db.connection import Database
from eventserver_core.db.leases import HeldLease, require
from eventserver_core.db.models import AnchorTransactionRow, Batch, Event, LostAnchor, MerkleTile
from eventserver_core.domain import merkle
from eventserver_core.domain.proof import Anchor

BATCHED, ANCHORED, CONFIRMED = "batched", "anchored", "confirmed"

# A constant and no parameter: only so does a database see that the index of open batches will do.
_OPEN = Batch.state != SQL(f"'{CONFIRMED}'")
_ANCHOR_COLUMNS = tuple(Anchor.__dataclass_fields__)
_LEAVES_AT_ONCE = 4096
_TILES_AT_ONCE = 32


@dataclass(frozen=True, slots=True)
class BatchRecord:
    """A batch, and where it is anchored once its transaction is in a block."""

    id: int
    state: str
    size: int
    root_hex: str
    sealed_at: datetime
    attempts: int
    last_error: str | None
    anchor: Anchor | None
    confirmations: int | None

    def anchor_of(self, transaction: AnchorTransaction) -> Anchor | None:
        """Return where this transaction was found before; None where it wasn't."""
        if self.anchor and transaction.transaction_hash in (None, self.anchor.transaction_hash):
            return self.anchor
        return None


@dataclass(frozen=True, slots=True)
class AnchorLoss:
    """Where a batch was anchored until the chain took the block back."""

    anchor: Anchor
    lost_at: datetime


@dataclass(frozen=True, slots=True)
class Backlog:
    """What is not anchored yet.

    Attributes:
        waiting: how many events are in no block.
        oldest: when the oldest of them was received.
        last_error: why the last try to anchor failed, if the batch still waits.
    """

    waiting: int
    oldest: datetime | None
    last_error: str | None


def batch_record(row: Any) -> BatchRecord:
    """Make a record of a row."""
    anchor = _anchor(row) if row.block_hash is not None else None
    return BatchRecord(
        row.id,
        row.state,
        row.size,
        row.root_hex,
        row.sealed_at,
        row.attempts,
        row.last_error,
        anchor,
        row.confirmations,
    )


class BatchRepository:
    """The batches. Whatever changes one needs the lease, and changes nothing once it is lost."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def unsealed(self, limit: int) -> tuple[int, datetime | None]:
        """Return how many events wait to be sealed, counted up to ``limit``, and since when."""
        waiting = Event.select(Event.received_at).where(Event.batch_id.is_null())
        # the first one in is the oldest, near enough: ids are given in the order of arrival
        oldest = waiting.order_by(Event.id).limit(1)
        with self._database.session() as database:
            first = oldest.first(database)
            count = waiting.limit(limit).count(database)
        return count, first.received_at if first else None

    def waiting_batches(self) -> int:
        """Return how many batches are in no block."""
        query = Batch.select().where(_OPEN, Batch.state == BATCHED)
        with self._database.session() as database:
            return int(query.count(database))

    def seal(self, lease: HeldLease, limit: int, now: datetime) -> BatchRecord | None:
        """Seal the events that came first into a batch, in one transaction.

        Returns:
            The batch, or None where no event waits.
        """
        with self._database.transaction() as database:
            require(database, lease)
            batch_id = Batch.insert(
                state=BATCHED, size=0, root_hex="", sealed_at=now, next_attempt_at=now
            ).returning(Batch.id)
            # the id comes back the same way from SQLite and PostgreSQL only by RETURNING
            (row,) = list(batch_id.execute(database))
            numbered = (
                Event.select(
                    Event.id.alias("event"),
                    (fn.ROW_NUMBER().over(order_by=[Event.id]) - 1).alias("position"),
                )
                .where(Event.batch_id.is_null())
                .order_by(Event.id)
                .limit(limit)
                .alias("numbered")
            )
            size = (
                Event.update(batch_id=row.id, leaf_index=numbered.c.position)
                .from_(numbered)
                # again, since another one may have sealed it; in words that lead no planner to
                # the index of what waits, which it would walk once for each event
                .where(Event.id == numbered.c.event, fn.COALESCE(Event.batch_id, 0) == 0)
                .execute(database)
            )
            if size == 0:
                Batch.delete().where(Batch.id == row.id).execute(database)
                return None
            root = self._write_tiles(database, row.id)
            Batch.update(size=size, root_hex=root.hex()).where(Batch.id == row.id).execute(database)
            return batch_record(Batch.select().where(Batch.id == row.id).get(database))

    def leaves(self, batch_id: int) -> list[bytes]:
        """Return the hashes of a batch's events, in the order of its leaves."""
        with self._database.session() as database:
            return list(self._leaves(database, batch_id))

    def tiles(self, batch_id: int, numbers: Sequence[int] | None = None) -> list[bytes]:
        """Return those tiles of a batch's tree that are kept, of all or of these numbers."""
        query = MerkleTile.select(MerkleTile.digests).where(MerkleTile.batch_id == batch_id)
        query = query if numbers is None else query.where(MerkleTile.number.in_(numbers))
        with self._database.session() as database:
            rows = query.order_by(MerkleTile.number).tuples().execute(database)
            return [bytes(digests) for (digests,) in rows]

    def numbered_leaves(self, batch_id: int) -> list[tuple[int | None, str]]:
        """Return a batch's leaves, each with the index that its row has, whatever that is."""
        query = Event.select(Event.leaf_index, Event.digest_hex).where(Event.batch_id == batch_id)
        with self._database.session() as database:
            return list(query.order_by(Event.leaf_index, Event.id).tuples().execute(database))

    def page(self, after: int, limit: int) -> list[BatchRecord]:
        """Return the batches that follow an id."""
        query = Batch.select().where(Batch.id > after).order_by(Batch.id).limit(limit)
        with self._database.session() as database:
            return [batch_record(row) for row in query.execute(database)]

    def due(self, now: datetime, limit: int = 100) -> list[BatchRecord]:
        """Return the batches that are not final and are due, the most overdue first."""
        query = (
            Batch.select()
            .where(_OPEN, Batch.next_attempt_at <= now)
            .order_by(Batch.next_attempt_at, Batch.id)
            .limit(limit)
        )
        with self._database.session() as database:
            return [batch_record(row) for row in query.execute(database)]

    def transactions(self, batch_id: int) -> list[AnchorTransaction]:
        """Return the transactions that were made for a batch, oldest first."""
        row = AnchorTransactionRow
        query = row.select().where(row.batch_id == batch_id).order_by(row.id)
        with self._database.session() as database:
            return [_transaction(found) for found in query.execute(database)]

    def other_transactions(self, batch_id: int, since: datetime) -> list[AnchorTransaction]:
        """Return the other batches' transactions, oldest first.

        All of those that are not final, and all that were made since a moment.
        """
        row = AnchorTransactionRow
        others = row.select().where(row.batch_id != batch_id)
        recent = others.where(row.made_at >= since)
        # not by a join: SQLite would begin with the transactions, of which there are ever more
        unfinished = others.where(row.batch_id.in_(Batch.select(Batch.id).where(_OPEN)))
        with self._database.session() as database:
            rows = {r.id: r for query in (recent, unfinished) for r in query.execute(database)}
        return [_transaction(rows[id_]) for id_ in sorted(rows)]

    def losses(self, batch_id: int) -> list[AnchorLoss]:
        """Return where a batch was anchored before, oldest first."""
        query = LostAnchor.select().where(LostAnchor.batch_id == batch_id).order_by(LostAnchor.id)
        with self._database.session() as database:
            return [AnchorLoss(_anchor(row), row.lost_at) for row in query.execute(database)]

    def add_transaction(
        self, lease: HeldLease, batch_id: int, transaction: AnchorTransaction, now: datetime
    ) -> None:
        """Keep a transaction, committed, before it is published."""
        query = AnchorTransactionRow.insert(
            batch_id=batch_id,
            root=transaction.root,
            payload=transaction.payload,
            transaction_hash=transaction.transaction_hash,
            made_at=now,
        )
        self._change(lease, query)

    def record_receipt(
        self,
        lease: HeldLease,
        batch_id: int,
        receipt: AnchorReceipt,
        next_look: datetime,
        now: datetime,
    ) -> None:
        """Record where a batch is anchored, and whether for good.

        Where it was in another block before, that is kept as lost.
        """
        moved = Batch.block_hash != receipt.anchor.block_hash
        values = {name: getattr(receipt.anchor, name) for name in _ANCHOR_COLUMNS}
        query = Batch.update(
            **values,
            state=CONFIRMED if receipt.final else ANCHORED,
            confirmations=receipt.confirmations,
            attempts=0,
            last_error=None,
            next_attempt_at=next_look,
        ).where(Batch.id == batch_id)
        self._change(lease, _keep_anchor(batch_id, now, moved), query)

    def record_loss(self, lease: HeldLease, batch_id: int, now: datetime) -> None:
        """Put a batch back whose transaction is in no block any longer; where it was is kept."""
        values: dict[str, Any] = dict.fromkeys(_ANCHOR_COLUMNS)
        query = Batch.update(
            **values,
            state=BATCHED,
            confirmations=None,
            last_error="the anchoring transaction is in no block any longer",
            next_attempt_at=now,
        ).where(Batch.id == batch_id)
        self._change(lease, _keep_anchor(batch_id, now), query)

    def postpone(
        self, lease: HeldLease, batch_id: int, error: str | None, next_attempt: datetime
    ) -> None:
        """Put a batch's next try off; with an error it counts as a failed one."""
        failed = {"last_error": _storable(error), "attempts": Batch.attempts + 1} if error else {}
        query = Batch.update(next_attempt_at=next_attempt, **failed).where(Batch.id == batch_id)
        self._change(lease, query)

    def count_events(self) -> int:
        """Return how many events are stored; those in batches are not counted one by one."""
        waiting = Event.select().where(Event.batch_id.is_null())
        with self._database.session() as database:
            batched = Batch.select(fn.SUM(Batch.size)).scalar(database)
            return int(batched or 0) + int(waiting.count(database))

    def backlog(self) -> Backlog:
        """Return what is not anchored yet."""
        unsealed = Event.select(fn.COUNT(Event.id), fn.MIN(Event.received_at)).where(
            Event.batch_id.is_null()
        )
        open_batches = Batch.select(fn.SUM(Batch.size), fn.MIN(Batch.id)).where(
            _OPEN, Batch.state == BATCHED
        )
        with self._database.session() as database:
            waiting, oldest = unsealed.tuples().first(database)
            in_batches, first_batch = open_batches.tuples().first(database)
            error = None
            if first_batch is not None:
                first = Event.select(fn.MIN(Event.received_at)).where(Event.batch_id == first_batch)
                (batched_since,) = first.tuples().first(database)
                oldest = min(filter(None, (oldest, batched_since)), default=None)
                error = Batch.select().where(Batch.id == first_batch).get(database).last_error
        return Backlog(waiting + (in_batches or 0), oldest, error)

    def _change(self, lease: HeldLease, *queries: Any) -> None:
        with self._database.transaction() as database:
            require(database, lease)
            for query in queries:
                query.execute(database)

    @classmethod
    def _write_tiles(cls, database: Any, batch_id: int) -> bytes:
        """Keep the tiles of a batch's tree; returns its root."""
        # where batches were deleted, SQLite gives their ids again
        MerkleTile.delete().where(MerkleTile.batch_id == batch_id).execute(database)
        numbered, top = enumerate(merkle.tiles(cls._leaves(database, batch_id))), b""
        while some := list(islice(numbered, _TILES_AT_ONCE)):
            MerkleTile.insert_many(
                [(batch_id, number, digests) for number, digests in some],
                (MerkleTile.batch_id, MerkleTile.number, MerkleTile.digests),
            ).execute(database)
            top = some[-1][1]
        return merkle.tile_levels(top)[-1]

    @staticmethod
    def _leaves(database: Any, batch_id: int) -> Iterator[bytes]:
        """Read page by page: a driver holds all rows of an answer at once."""
        query = Event.select(Event.leaf_index, Event.digest_hex).where(Event.batch_id == batch_id)
        query, after = query.order_by(Event.leaf_index).limit(_LEAVES_AT_ONCE).tuples(), -1
        while page := list(query.where(Event.leaf_index > after).execute(database)):
            for _, digest_hex in page:
                yield bytes.fromhex(digest_hex)
            after = page[-1][0]


def _storable(text: str) -> str:
    """Return text that every database takes: a node may have put anything into an error."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()


def _anchor(row: Any) -> Anchor:
    return Anchor(**{name: getattr(row, name) for name in _ANCHOR_COLUMNS})


def _transaction(row: Any) -> AnchorTransaction:
    return AnchorTransaction(bytes(row.root), bytes(row.payload), row.transaction_hash)


def _keep_anchor(batch_id: int, now: datetime, *conditions: Any) -> Any:
    """Make the query that copies a batch's anchor to where the lost ones are kept."""
    moment = Value(LostAnchor.lost_at.db_value(now), converter=False)
    columns = [getattr(Batch, name) for name in _ANCHOR_COLUMNS]
    old = Batch.select(Batch.id, *columns, moment).where(
        Batch.id == batch_id, Batch.block_hash.is_null(False), *conditions
    )
    fields = [getattr(LostAnchor, name) for name in _ANCHOR_COLUMNS]
    return LostAnchor.insert_from(old, [LostAnchor.batch_id, *fields, LostAnchor.lost_at])
