"""Seals events into batches, anchors their roots and follows them until they are final.

Every step begins with what the database and the chain say, so it can be broken off anywhere and
done again: a transaction is in the database before it is published, and looked for before another
one is made.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from eventserver_core.backends.chain import AnchorReceipt, ChainBackend
from eventserver_core.db.batches import ANCHORED, BatchRecord, BatchRepository
from eventserver_core.db.leases import HeldLease
from eventserver_core.errors import EventServerError, LeaseLostError
from eventserver_core.log import get_logger
from eventserver_core.metrics.definitions import ANCHORED_AT, BATCHES

_FIRST_DELAY = 1.0
_DAY = timedelta(days=1)
_MAX_DOUBLINGS = 20
_log = get_logger()


@dataclass(frozen=True, slots=True)
class AnchoringLimits:
    """When to seal, and how patient to be.

    Attributes:
        max_events: so many events are sealed at once.
        max_age: an event waits this long at most to be sealed.
        follow_interval: how often an anchor that is not final is looked at.
        max_delay: the longest pause between two tries.
    """

    max_events: int
    max_age: timedelta
    follow_interval: timedelta
    max_delay: timedelta


class AnchorBatches:
    """What a worker does while it holds the lease.

    Args:
        chain: where roots are anchored.
        batches: the batches' rows.
        limits: when to seal, how patient to be.
        clock: tells the time.
        renew: makes sure, before each call of the chain, that the lease lasts for it; raises
            LeaseLostError where another worker has it.
    """

    def __init__(
        self,
        chain: ChainBackend,
        batches: BatchRepository,
        limits: AnchoringLimits,
        clock: Callable[[], datetime],
        renew: Callable[[HeldLease], None] = lambda _lease: None,
    ) -> None:
        self._chain = chain
        self._batches = batches
        self._limits = limits
        self._clock = clock
        self._renew = renew

    def seal_batch(self, lease: HeldLease) -> BatchRecord | None:
        """Seal the next batch, if enough events wait or one has waited long enough.

        What is long enough doubles with each batch that is in no block yet: while nothing can be
        anchored events gather in few batches, each of which costs an anchor later.

        Raises:
            LeaseLostError: another worker has taken over.
        """
        now = self._clock()
        count, oldest = self._batches.unsealed(self._limits.max_events)
        if oldest is None:
            return None
        if count < self._limits.max_events and now - oldest < self._patience():
            return None
        batch = self._batches.seal(lease, self._limits.max_events, now)
        if batch is not None:
            BATCHES.labels("sealed").inc()
            _log.info("batch_sealed", batch=batch.id, events=batch.size, root=batch.root_hex)
        return batch

    def _patience(self) -> timedelta:
        waiting = min(self._batches.waiting_batches(), _MAX_DOUBLINGS)
        return max(self._limits.max_age, min(self._limits.max_age * (1 << waiting), _DAY))

    def due(self) -> list[BatchRecord]:
        """Return the batches that want looking after now."""
        return self._batches.due(self._clock())

    def anchor_batch(self, lease: HeldLease, batch: BatchRecord) -> None:
        """Take one batch as far as it goes now.

        A chain that can't be reached is noted on the batch, which is tried again later.

        Raises:
            LeaseLostError: another worker has taken over.
        """
        try:
            self._advance(lease, batch)
        except LeaseLostError:
            raise
        except Exception as ex:  # noqa: BLE001 - one batch must never stop all others
            delay = self._delay(batch.attempts)
            self._batches.postpone(lease, batch.id, str(ex), self._clock() + delay)
            BATCHES.labels("failed").inc()
            _log.warning(
                "anchoring_failed",
                batch=batch.id,
                attempt=batch.attempts + 1,
                retry_in_seconds=round(delay.total_seconds(), 1),
                error=str(ex),
                exc_info=None if isinstance(ex, EventServerError) else ex,
            )

    def _advance(self, lease: HeldLease, batch: BatchRecord) -> None:
        receipt = self._look(lease, batch) or self._publish(lease, batch)
        next_look = self._clock() + self._limits.follow_interval
        if receipt is None:
            self._batches.postpone(lease, batch.id, None, next_look)
            return
        self._batches.record_receipt(lease, batch.id, receipt, next_look, self._clock())
        ANCHORED_AT.set(self._clock().timestamp())
        if receipt.anchor == batch.anchor and not receipt.final:
            return  # nothing new but that it is deeper
        BATCHES.labels("confirmed" if receipt.final else "anchored").inc()
        _log.info(
            "batch_confirmed" if receipt.final else "batch_anchored",
            batch=batch.id,
            events=batch.size,
            transaction_hash=receipt.anchor.transaction_hash,
            block_number=receipt.anchor.block_number,
            confirmations=receipt.confirmations,
        )

    def _look(self, lease: HeldLease, batch: BatchRecord) -> AnchorReceipt | None:
        for transaction in reversed(self._batches.transactions(batch.id)):
            self._renew(lease)
            receipt = self._chain.find(transaction, batch.anchor_of(transaction))
            if receipt is not None:
                return receipt
        if batch.state == ANCHORED:
            self._batches.record_loss(lease, batch.id, self._clock())
            BATCHES.labels("lost").inc()
            _log.warning("anchor_lost", batch=batch.id)
        return None

    def _publish(self, lease: HeldLease, batch: BatchRecord) -> AnchorReceipt | None:
        earlier = self._batches.transactions(batch.id)
        others = self._batches.other_transactions(batch.id, self._clock() - _DAY)
        self._renew(lease)
        transaction = self._chain.prepare(bytes.fromhex(batch.root_hex), earlier, others)
        if transaction not in earlier:
            self._batches.add_transaction(lease, batch.id, transaction, self._clock())
        self._renew(lease)
        self._chain.publish(transaction)
        return self._chain.find(transaction)

    def _delay(self, attempts: int) -> timedelta:
        """Return a pause that doubles with each try, up to a limit, and is never twice the same."""
        longest = min(self._limits.max_delay.total_seconds(), _FIRST_DELAY * 2 ** min(attempts, 30))
        return timedelta(seconds=random.uniform(longest / 2, longest))  # noqa: S311 - jitter
