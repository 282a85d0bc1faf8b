"""What a backend of any role can promise of its own time, so that nobody has to watch it."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol, runtime_checkable


@runtime_checkable
class AnswersPromptly(Protocol):
    """The promise that some methods always come back by themselves, and soon.

    Other calls are made in a thread of their own, where one that hangs can be given up; handing a
    call over costs more than checking a signature does. What is promised here is called in the
    request's own thread.
    """

    def prompt_methods(self) -> Collection[str]:
        """Return the names of the methods that this is promised of; the answer never changes.

        Such a method waits for nothing, no network, disk or lock, or gives up by itself within a
        tenth of a second. One that takes longer than ``plugins.time_limit`` all the same is
        reported as one that did not answer, and holds its request up until it ends.
        """
