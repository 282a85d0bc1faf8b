"""What a step of the demo expected and didn't get."""

from __future__ import annotations

from typing import Any


class StepFailedError(Exception):
    """A step did not hold.

    Args:
        expected: what should have come.
        found: what came.
    """

    def __init__(self, expected: str, found: str) -> None:
        super().__init__(f"expected {expected}; {found} came")
        self.expected = expected
        self.found = found


def expect(held: bool, expected: str, found: Any) -> None:
    """Go on only if something held.

    Raises:
        StepFailedError: it did not.
    """
    if not held:
        raise StepFailedError(expected, str(found))
