"""Asks the chain whether an anchor still stands, for whoever verifies.

Anyone may verify, as often as they like: an answer is remembered for a moment, only so many
questions are asked at once, and a chain that doesn't answer is left alone for a while.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from eventserver_core.backends.chain import AnchorReceipt, AnchorTransaction, ChainBackend
from eventserver_core.db.batches import BatchRecord, BatchRepository
from eventserver_core.errors import BackendUnavailableError
from eventserver_core.log import get_logger
from eventserver_core.services.recent import Recent

_REMEMBERED_FOR = timedelta(seconds=5)
_FINAL_REMEMBERED_FOR = timedelta(minutes=1)
_REMEMBERED_BATCHES = 4096
_AT_ONCE = 4
_log = get_logger()


@dataclass(frozen=True, slots=True)
class ChainAnswer:
    """What the chain said of a batch.

    Attributes:
        receipt: None where the chain has none of the batch's transactions.
        asked_at: when it was asked.
    """

    receipt: AnchorReceipt | None
    asked_at: datetime

    @property
    def lasts(self) -> timedelta:
        """How long it is remembered."""
        final = self.receipt is not None and self.receipt.final
        return _FINAL_REMEMBERED_FOR if final else _REMEMBERED_FOR


class ChainAnswers:
    """Asks, and remembers for five seconds, or for a minute what is final.

    Args:
        chain: is asked.
        batches: knows the batches' transactions.
        clock: tells the time.
    """

    def __init__(
        self, chain: ChainBackend, batches: BatchRepository, clock: Callable[[], datetime]
    ) -> None:
        self._chain = chain
        self._batches = batches
        self._clock = clock
        self._turns = threading.BoundedSemaphore(_AT_ONCE)
        self._remembered: Recent[int, ChainAnswer] = Recent(_REMEMBERED_BATCHES)
        self._failed_at: dict[str, datetime] = {}

    def get(self, batch: BatchRecord) -> ChainAnswer | None:
        """Return what the chain says of a batch, or None where it can't be asked now."""
        remembered = self._remembered.get(batch.id)
        if remembered is not None and self._is_fresh(remembered.asked_at, remembered.lasts):
            return remembered
        # what another chain holds, from before the settings changed, says nothing about this one
        chain = batch.anchor.chain if batch.anchor else ""
        if chain in self._failed_at and self._is_fresh(self._failed_at[chain]):
            return None
        if not self._turns.acquire(blocking=False):
            return None
        try:
            answer = ChainAnswer(self._ask(batch), self._clock())
        except BackendUnavailableError as ex:
            self._failed_at[chain] = self._clock()
            _log.warning("chain_not_asked", batch=batch.id, error=str(ex))
            return None
        finally:
            self._turns.release()
        self._remembered.put(batch.id, answer)
        return answer

    def _ask(self, batch: BatchRecord) -> AnchorReceipt | None:
        root, anchor = bytes.fromhex(batch.root_hex), batch.anchor
        transactions = self._batches.transactions(batch.id) or [
            AnchorTransaction(root, b"", anchor.transaction_hash if anchor else None)
        ]
        for transaction in reversed(transactions):
            receipt = self._chain.find(transaction, batch.anchor_of(transaction))
            if receipt is not None:
                return receipt
        return None

    def _is_fresh(self, moment: datetime, lasts: timedelta = _REMEMBERED_FOR) -> bool:
        return abs(self._clock() - moment) < lasts
