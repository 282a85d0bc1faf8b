"""What was used last, kept for whoever asks again, in memory that has a bound."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

_Key = TypeVar("_Key", bound=Hashable)
_Value = TypeVar("_Value")


class Recent(Generic[_Key, _Value]):
    """Keeps so many entries, and so many bytes; what was not used for longest goes first.

    Any thread may use it. How long an entry is good for is its user's business.

    Args:
        entries: the most entries.
        size: the most bytes of all values together.
        weigh: tells a value's bytes.
    """

    def __init__(
        self,
        entries: int,
        size: int | None = None,
        weigh: Callable[[_Value], int] = lambda _value: 0,
    ) -> None:
        self._entries = entries
        self._size = size
        self._weigh = weigh
        self._weight = 0
        self._lock = threading.Lock()
        self._kept: OrderedDict[_Key, _Value] = OrderedDict()

    def get(self, key: _Key) -> _Value | None:
        """Return what is kept under a key."""
        with self._lock:
            value = self._kept.get(key)
            if value is not None:
                self._kept.move_to_end(key)
            return value

    def put(self, key: _Key, value: _Value) -> None:
        """Keep a value, which must not change from now on, in the place of the one before."""
        with self._lock:
            before = self._kept.pop(key, None)
            self._weight += self._weigh(value) - (self._weigh(before) if before is not None else 0)
            self._kept[key] = value
            while self._is_full():
                _, gone = self._kept.popitem(last=False)
                self._weight -= self._weigh(gone)

    def _is_full(self) -> bool:
        too_heavy = self._size is not None and self._weight > self._size
        return len(self._kept) > self._entries or too_heavy
