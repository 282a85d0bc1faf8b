"""Group commit: what is handed in while a write is under way is written together in the next one.

As databases do it with their journals. There is no thread of its own and no waiting for company:
whoever finds nobody writing writes at once, so a lone item is written as if there were no groups;
the others wait for that write, and one of them then writes all that have come.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

_Item = TypeVar("_Item")
_Outcome = TypeVar("_Outcome")

_SECOND_TRY_SECONDS = 2.0
"""What failed sooner is tried by each for itself, whatever it was: one item may be at fault."""


class GroupCommit(Generic[_Item, _Outcome]):
    """Writes items in groups, one group at a time.

    Args:
        write: writes items and returns what became of each, in order; called in the thread of one
            of those who handed them in, and at once in several where a group failed.
        weigh: tells how much an item weighs.
        share: says what all of a group are told where a write failed after a while; None where
            each is tried by itself all the same.
        max_items: the most items of a group.
        max_weight: the most that a group weighs, unless it has one item only.
    """

    def __init__(
        self,
        write: Callable[[Sequence[_Item]], Sequence[_Outcome]],
        weigh: Callable[[_Item], int],
        share: Callable[[Exception], Exception | None],
        *,
        max_items: int,
        max_weight: int,
    ) -> None:
        self._write = write
        self._weigh = weigh
        self._share = share
        self._max_items = max_items
        self._max_weight = max_weight
        self._lock = threading.Lock()
        self._waiting: deque[_Ticket[_Item, _Outcome]] = deque()
        self._is_writing = False

    def submit(self, item: _Item) -> _Outcome:
        """Return what became of an item once it was written, alone or with others.

        Raises:
            Exception: what ``write`` raised for this item alone, or what ``share`` made of what it
                raised for the group.
        """
        ticket: _Ticket[_Item, _Outcome] = _Ticket(item)
        with self._lock:
            self._waiting.append(ticket)
            ticket.leads, self._is_writing = not self._is_writing, True
        if not ticket.leads:
            ticket.woken.wait()
        if ticket.leads:
            self._lead()
        failure, ticket.failure = ticket.failure, None
        if failure is not None:
            try:
                raise failure
            finally:
                del failure  # or it and this frame would keep each other, and the item
        if not ticket.is_written:
            (ticket.outcome,) = self._write([item])
        outcome: _Outcome = ticket.outcome
        return outcome

    def _lead(self) -> None:
        """Write the next group, this thread's item first, and have another thread lead on."""
        began = time.monotonic()
        group: list[_Ticket[_Item, _Outcome]] = []
        try:
            with self._lock:
                group = self._next_group()
            outcomes = self._write([ticket.item for ticket in group])
            for ticket, outcome in zip(group, outcomes, strict=True):
                ticket.outcome, ticket.is_written = outcome, True
        except Exception as ex:  # noqa: BLE001 - it belongs to all of the group
            if len(group) == 1:
                group[0].failure = ex
            elif time.monotonic() - began > _SECOND_TRY_SECONDS:
                for ticket in group:
                    ticket.failure = self._share(ex)
        finally:
            with self._lock:
                if self._waiting:
                    self._waiting[0].leads = True
                    self._waiting[0].woken.set()
                else:
                    self._is_writing = False
            for ticket in group:
                ticket.woken.set()

    def _next_group(self) -> list[_Ticket[_Item, _Outcome]]:
        group = [self._waiting.popleft()]
        weight = self._weigh(group[0].item)
        while self._waiting and len(group) < self._max_items:
            weight += self._weigh(self._waiting[0].item)
            if weight > self._max_weight:
                break
            group.append(self._waiting.popleft())
        return group


class _Ticket(Generic[_Item, _Outcome]):
    """An item that a thread waits with, and what became of it."""

    def __init__(self, item: _Item) -> None:
        self.item = item
        self.leads = False
        self.woken = threading.Event()
        self.is_written = False
        self.outcome: Any = None
        self.failure: Exception | None = None
