"""Whether the server was told to stop: a flag that all its processes see."""

from __future__ import annotations

import mmap


class Draining:
    """A flag in memory that is shared with every process forked later."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 1)

    def begin(self) -> None:
        """Raise the flag; it stays up."""
        self._memory[0] = 1

    def has_begun(self) -> bool:
        """Tell whether the flag is up."""
        return self._memory[0] == 1
